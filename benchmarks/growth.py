"""
What it costs to have more: speeches at once, connections, speeches that wait for one.

Each point is a process of its own, as in `performance`; medians over the rounds. The plots are
drawn by `draw`, with matplotlib. ``python -m benchmarks.growth``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from . import harness, page
from .contestants import OWN, RAW, Contestant
from .figures import Spread
from .harness import Server, Simulated
from .measures import CHUNK, SPOKEN, Case, Failed, share_of
from .performance import Runner, versions

NAME = "growth"
ALL = ("ttsmux, asyncio", "ttsmux, threads", "websockets")
POOL = 4
ROUNDS = 2
"""By default: a round takes about three minutes, and what grows is seen in one."""


@attrs.frozen(kw_only=True)
class Growth:
    """
    One plot: what grows, in which steps, and what is looked at.

    *case* makes the case of a step. *figures*: what is drawn, and whether it should grow with the
    step (else it should not grow at all). *steps* maps those who go less far to their steps.
    """

    name: str
    about: str
    axis: str
    case: Callable[[int], Case]
    figures: Mapping[str, bool]
    steps: Sequence[int]
    names: Sequence[str] = ALL
    fewer: Mapping[str, int] = attrs.field(factory=dict)


def _speaking(case: Case, found: dict[str, Any], server: Simulated) -> dict[str, float]:
    if not found["complete"] or "cpu" not in found:
        raise Failed("audio is missing, or they did not all speak at once")
    if found["chunks"] < case.job["speeches"] * case.job["chunks"] / 4:
        # A few chunks say nothing: on a busy machine the last begin when the first are done.
        raise Failed("they all spoke at once for too short a time")
    return {
        "share of a core": share_of(case, found),
        "MiB at most": found["peak"] / 1024,
        "µs a chunk": 1e6 * found["cpu"] / found["chunks"],
    }


def _beside(case: Case, found: dict[str, Any], server: Simulated) -> dict[str, float]:
    # Over a minute or so some may have been given up and replaced: no more than that.
    if server.seen["dials"] < case.job["connections"]:
        raise Failed(f"only {server.seen['dials']:g} connections")
    return {"µs a chunk": 1e6 * found["cpu"] / found["chunks"], "MiB": found["rss"] / 1024}


def _waited(case: Case, found: dict[str, Any], server: Simulated) -> dict[str, float]:
    speeches = case.job["speeches"]
    if found["served"] != speeches:
        raise Failed(f"{found['served']} of {speeches} were heard: {found['failed']}")
    return {
        "ms a speech": 1000 * found["seconds"] / speeches,
        "CPU ms a speech": 1000 * found["cpu"] / speeches,
    }


def _case(name: str, mode: str, read: Any, figure: str, **job: Any) -> Case:
    return Case(name=name, mode=mode, provider="xai", read=read, figure=figure, about="", job=job)


GROWTHS = (
    Growth(
        name="speeches",
        about="speeches at once at the rate of their audio, 4,800 bytes each 100 ms, a connection "
        "each",
        axis="speeches at once",
        case=lambda step: _case(
            f"{step} speeches",
            "concurrent",
            _speaking,
            "share of a core",
            speeches=step,
            room=step,
            chunks=30,
            size=SPOKEN,
            gap_us=100_000,
        ),
        figures={"share of a core": True, "MiB at most": True},
        steps=(1, 3, 10, 30, 100, 300, 1000),
        # A core bears some 600 of theirs; beyond, audio that comes late is an audio that stopped.
        fewer={"ttsmux, threads": 300},
    ),
    Growth(
        name="connections",
        about="one speech of a chunk of 4,096 bytes each millisecond, beside connections that are "
        "idle",
        axis="connections",
        case=lambda step: _case(
            f"{step} connections",
            "cpu",
            _beside,
            "µs a chunk",
            connections=step,
            room=step,
            chunks=1000,
            size=CHUNK,
            gap_us=1000,
        ),
        figures={"µs a chunk": False, "MiB": True},
        steps=(1, 3, 10, 30, 100, 300, 1000),
    ),
    Growth(
        name="waiters",
        about=f"speeches begun at once that share {POOL} connections, one chunk each: until all "
        "are heard, by their number",
        axis="speeches waiting",
        case=lambda step: _case(
            f"{step} waiting",
            "storm",
            _waited,
            "ms a speech",
            speeches=step,
            size=SPOKEN,
            room=POOL,
            ready=POOL,
        ),
        figures={"ms a speech": False, "CPU ms a speech": False},
        steps=(1, 4, 16, 64, 250, 1000, 4000),
        names=("ttsmux, asyncio", "ttsmux, threads"),
        fewer={"ttsmux, threads": 1000},
    ),
)


def measure(growth: Growth, runner: Runner, rounds: int) -> dict[str, Any]:
    """Measure every step of everybody, once a round."""
    takers = [each for each in (*OWN, *RAW) if each.name in growth.names]
    found: dict[str, dict[int, list[dict[str, float]]]] = {each.name: {} for each in takers}
    failed: dict[str, list[str]] = {}
    for number in range(rounds):
        for step in growth.steps:
            for taker in takers:
                if step <= growth.fewer.get(taker.name, step):
                    _measure(growth.case(step), taker, runner, found[taker.name], step, failed)
        print(f"{growth.name}: round {number + 1}", file=sys.stderr, flush=True)
    return {
        "name": growth.name,
        "about": growth.about,
        "lines": {name: lines(each) for name, each in found.items()},
        "failed": failed,
    }


def _measure(
    case: Case,
    taker: Contestant,
    runner: Runner,
    found: dict[int, list[dict[str, float]]],
    step: int,
    failed: dict[str, list[str]],
) -> None:
    try:
        found.setdefault(step, []).append(runner.run(case, taker))
    except Failed as exc:
        failed.setdefault(f"{taker.name}, {case.name}", []).append(str(exc))


def lines(found: Mapping[int, Sequence[Mapping[str, float]]]) -> dict[str, list[dict[str, float]]]:
    """Return, by figure, the points: the step, and the median, least and most of its rounds."""
    drawn: dict[str, list[dict[str, float]]] = {}
    for step, rounds in found.items():
        for figure in rounds[0] if rounds else ():
            spread = Spread.of([each[figure] for each in rounds])
            drawn.setdefault(figure, []).append({"step": step, **attrs.asdict(spread)})
    return drawn


def knee(points: Sequence[Mapping[str, float]], *, grows: bool) -> float | None:
    """
    Say by how much the last tenfold step is dearer than it should be; 1 is not at all.

    What should grow is looked at by what it grows for each that is more: over the last factor of
    ten, against the one before it. What should not, by itself, over the last factor of ten.
    """
    at = {point["step"]: point["median"] for point in points}
    last = max(at)
    tenth = min(at, key=lambda step: abs(step - last / 10))
    if not grows:
        return at[last] / at[tenth] if tenth < last and at[tenth] else None
    hundredth = min(at, key=lambda step: abs(step - last / 100))
    if not hundredth < tenth < last or at[tenth] <= at[hundredth]:
        return None
    before = (at[tenth] - at[hundredth]) / (tenth - hundredth)
    return ((at[last] - at[tenth]) / (last - tenth)) / before


def table(grown: Mapping[str, Any]) -> str:
    """Write the points of one growth."""
    growth = next(each for each in GROWTHS if each.name == grown["name"])
    head = ["client", "figure", *(f"{step:,}" for step in growth.steps), "last step"]
    rows = [f"| {' | '.join(head)} |", "|---|---|" + "---:|" * (len(growth.steps) + 1)]
    for name, drawn in grown["lines"].items():
        for figure, grows in growth.figures.items():
            points = drawn.get(figure, [])
            at = {point["step"]: point["median"] for point in points}
            cells = [page.number(at[step]) if step in at else "" for step in growth.steps]
            last = knee(points, grows=grows) if points else None
            cells.append("" if last is None else f"× {last:.2f}")
            shown = f"**{name}**" if name.startswith("ttsmux") else name
            rows.append(f"| {shown} | {figure} | {' | '.join(cells)} |")
    for who, why in grown["failed"].items():
        rows += ["", f"{who} failed {len(why)} times: `{why[0]}`"]
    return "\n".join(rows)


def parts(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands between the marks of a page, by their names."""
    tables = {grown["name"]: table(grown) for grown in found["grown"]}
    return tables | {"growth command": page.command(found)}


INK = "#808080"
"""Of axes and letters: told from white and from black alike."""
COLOURS = {
    "ttsmux, asyncio": "#2a8fd6",
    "ttsmux, threads": "#d9772b",
    "websockets": "#7f9f3f",
}


def draw(found: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw each growth into a file of its own, readable on light and on dark."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    style = {
        "svg.hashsalt": "ttsmux",  # the same figures make the same file
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    with matplotlib.rc_context(style):
        for grown in found["grown"]:
            growth = next(each for each in GROWTHS if each.name == grown["name"])
            figure, panels = pyplot.subplots(1, len(growth.figures), figsize=(9, 3.4))
            for panel, name in zip(panels, growth.figures, strict=True):
                _panel(panel, grown, name, growth)
            figure.tight_layout()
            file = directory / f"{growth.name}.svg"
            figure.savefig(file, transparent=True, metadata={"Date": None})
            pyplot.close(figure)
            files.append(file)
    return files


def _panel(panel: Any, grown: Mapping[str, Any], figure: str, growth: Growth) -> None:
    for name, drawn in grown["lines"].items():
        points = drawn.get(figure, [])
        steps, medians = ([point[key] for point in points] for key in ("step", "median"))
        down = [point["median"] - point["least"] for point in points]
        up = [point["most"] - point["median"] for point in points]
        panel.errorbar(
            steps,
            medians,
            yerr=(down, up),
            color=COLOURS[name],
            label=name,
            marker="o",
            markersize=3,
            linewidth=1.3,
            capsize=2,
        )
    if not growth.figures[figure]:
        panel.set_xscale("log")  # what should not grow is to be seen at every step
        panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_ylim(bottom=0)
    panel.set_xlabel(growth.axis)
    panel.set_title(figure, fontsize=10)
    panel.grid(visible=True, color=INK, alpha=0.25, linewidth=0.5)
    panel.legend(frameon=False, fontsize=8, labelcolor=INK)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{NAME}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="plots whose name contains this")
    parser.add_argument("--out", type=Path, help="a directory for the figures, JSON and SVG")
    args = parser.parse_args()
    began = time.monotonic()
    with Server() as server:
        chosen = [growth for growth in GROWTHS if args.only in growth.name]
        grown = [measure(growth, Runner(server, {}), args.rounds) for growth in chosen]
        on = harness.machine(server)
    if not grown:
        sys.exit(f"no plot has {args.only!r} in its name")
    only = f" --only {args.only}" if args.only else ""
    found = {
        "name": NAME,
        "command": f"python -m benchmarks.{NAME} --rounds {args.rounds}{only}",
        "rounds": args.rounds,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "machine": on,
        "versions": versions({}),
        "grown": grown,
    }
    for each in grown:
        print(f"{each['name']}: {each['about']}\n\n{table(each)}\n")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{NAME}.json").write_text(json.dumps(found, indent=1) + "\n")
        draw(found, args.out)


if __name__ == "__main__":
    main()
