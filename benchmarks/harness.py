"""What the benchmarks share: the server's process, medians, tables, checks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Self

import attrs

from ttsmux.simulate.engines.tone import ToneEngine, tags

RATE = 24000
HANDSHAKE_MS, TTFA_MS = 300.0, 100.0
LEAST_ROUNDS = 5


class Server:
    """The simulators' process, on another core where there is one."""

    def __enter__(self) -> Self:
        self._cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        ours, others = sorted(self._cores)[:1], sorted(self._cores)[1:]
        self.apart = bool(others)
        if self.apart:
            os.sched_setaffinity(0, ours)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", *map(str, others[:1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate(timeout=10)
        if self.apart:
            os.sched_setaffinity(0, self._cores)

    def ask(self, **request: object) -> dict[str, object]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the server's process ended"
        found: dict[str, object] = json.loads(answer)
        return found

    @contextmanager
    def simulate(self, provider: str, **options: object) -> Iterator[Simulated]:
        options = {"handshake_ms": HANDSHAKE_MS, "ttfa_ms": TTFA_MS, **options}
        answer = self.ask(start=provider, **options)
        simulated = Simulated(str(answer["url"]), str(answer["voice"]))
        try:
            yield simulated
        finally:
            seen = self.ask(stop=True)
            simulated.seen = {name: float(str(value)) for name, value in seen.items()}


@attrs.define
class Simulated:
    """A simulator that runs; *seen* is what it counted, once it has ended."""

    url: str
    voice: str
    seen: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen
class Row:
    """One contestant in one case: what the rounds measured, merged."""

    case: str
    client: str
    values: dict[str, float]
    bound: str = ""
    kept: bool | None = None


def stale(text: str, audio: bytes) -> int:
    """Count the bytes from where *audio* leaves what one generation says for *text*."""
    found = tags(audio[: 2 * RATE], RATE)
    tag = min(found, default=0)
    own = ToneEngine().speak(text, voice="", language=None, tag=tag, rate=RATE).pcm
    same = 0 if not own.startswith(audio) else len(audio)
    while same < len(audio) and audio.startswith(own[: same + 1]):
        same += 1
    return len(audio) - same


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def merged(found: Sequence[dict[str, float]], worst: Sequence[str] = ()) -> dict[str, float]:
    """Return the median over rounds of each figure, the worst of those named in *worst*."""
    return {
        name: (max if name in worst else median)([each[name] for each in found])
        for name in found[0]
    }


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--check", action="store_true", help="fail where a bound is not kept")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--out", type=Path, help="a directory for the figures, JSON and Markdown")
    args = parser.parse_args()
    if args.check and args.rounds < LEAST_ROUNDS:
        parser.error(f"--check wants at least {LEAST_ROUNDS} rounds")
    return args


def tell(rows: Sequence[Row]) -> Sequence[Row]:
    """Print what has been measured so far, beside the table that is to come, and return it."""
    for row in rows:
        values = ", ".join(f"{name} {value:g}" for name, value in row.values.items())
        kept = "" if row.kept is None else "  kept" if row.kept else "  NOT KEPT"
        print(f"{row.case} · {row.client}: {values}{kept}", file=sys.stderr, flush=True)
    return rows


def table(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    lines = [
        "| case | client | " + " | ".join(names) + " | bound | kept |",
        "|---|---|" + "---:|" * len(names) + "---|---|",
    ]
    for row in rows:
        cells = [f"{row.values[name]:g}" if name in row.values else "" for name in names]
        kept = "" if row.kept is None else "yes" if row.kept else "**no**"
        lines.append(
            f"| {row.case} | {row.client} | " + " | ".join(cells) + f" | {row.bound} | {kept} |"
        )
    return "\n".join(lines)


def finish(name: str, rows: Sequence[Row], server: Server, args: argparse.Namespace) -> None:
    """Print the table, write the figures, and fail if a bound was asked for and not kept."""
    if not rows:
        print(f"{name}: no case has {args.only!r} in its name")
        sys.exit(args.check)
    machine = {
        "python": platform.python_version(),
        "ttsmux": version("ttsmux"),
        "websockets": version("websockets"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "server on another core": server.apart,
        "load at the end": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    said = (
        f"`python -m benchmarks.{name} --rounds {args.rounds}`: medians over the rounds; "
        f"handshake {HANDSHAKE_MS:g} ms, TTFA {TTFA_MS:g} ms; "
        + ", ".join(f"{key} {value}" for key, value in machine.items())
    )
    shown = f"{said}\n\n{table(rows)}\n"
    print(shown)
    if args.out:
        figures = {"name": name, "rounds": args.rounds, "machine": machine}
        figures |= {"handshake_ms": HANDSHAKE_MS, "ttfa_ms": TTFA_MS}
        figures["rows"] = [attrs.asdict(row) for row in rows]
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
        (args.out / f"{name}.md").write_text(shown)
    broken = [row for row in rows if row.kept is False]
    if args.check and broken:
        sys.exit("not kept: " + "; ".join(f"{row.case}, {row.client}" for row in broken))
