"""
Turns, CPU, latency, memory, start-up: ttsmux beside what one could write, and beside others.

Each contestant runs in a process of its own on one core, the server on another; in each round all
of them do the same, one after the other. `workers/README.md` says how they are driven.
``python -m benchmarks.performance --check``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

from . import contestants, harness, measures, startup
from .contestants import PEERS, Contestant, base_of
from .figures import Checked, spread, within
from .harness import LEAST_ROUNDS, Server
from .measures import CASES, Case, Failed
from .page import report

NAME = "performance"
KEY = "a-key-of-the-benchmark"
LIMIT = 120.0
"""Seconds after which a worker is ended."""
WORKERS = Path(__file__).parent / "workers"
MEASURED_WITH = (
    "ttsmux", "websockets", "websocket-client", "aiohttp", "picows", "uvloop", "trio", "anyio",
    "msgspec", "pybase64",
)  # fmt: skip

Round = dict[str, dict[str, float] | None]


@attrs.define
class Measured:
    """A case: the figures of each contestant in each round, and what went wrong."""

    case: str
    about: str
    figure: str
    more: bool = False
    rounds: dict[str, list[dict[str, float] | None]] = attrs.field(factory=dict)
    failed: dict[str, list[str]] = attrs.field(factory=dict)
    of: dict[str, str | None] = attrs.field(factory=dict)
    kinds: dict[str, str] = attrs.field(factory=dict)
    calls: dict[str, str] = attrs.field(factory=dict)
    cannot: dict[str, str] = attrs.field(factory=dict)


class Runner:
    """Starts workers, with the Python of the environment that they need."""

    def __init__(self, server: Server, pythons: dict[str, str]) -> None:
        self.server = server
        self.pythons = pythons

    def run(self, case: Case, contestant: Contestant) -> dict[str, float]:
        """
        Measure *contestant* once.

        Raises:
            Failed: it did not do what it was asked for.
        """
        provider = contestant.provider or case.provider
        serving = (
            self.server.stream(provider)
            if case.simulate is None
            else self.server.simulate(provider, **case.simulate, **contestant.simulate)
        )
        with serving as server:
            job = {
                "mode": case.mode,
                "url": server.url,
                "provider": provider,
                "voice": server.voice,
                "key": KEY,
                "options": dict(contestant.options),
                **case.job,
            }
            found = self._ask(contestant, job)
        _only_its_own(contestant, found)
        return case.read(case, {"rate": contestant.rate, **found}, server)

    def _ask(self, contestant: Contestant, job: dict[str, Any]) -> dict[str, Any]:
        python = self.pythons[contestant.environment] if contestant.environment else sys.executable
        script = WORKERS / f"{contestant.worker}.py"
        try:
            done = subprocess.run(
                [python, str(script), json.dumps(job)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"it was not done after {LIMIT:g} s") from None
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            raise Failed((done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300])
        found: dict[str, Any] = json.loads(lines[-1])
        return found


def _only_its_own(contestant: Contestant, found: dict[str, Any]) -> None:
    """Refuse figures of a worker in whose process there was ttsmux, and it is not measured."""
    if contestant.kind != "own" and "ttsmux" in found["modules"]:
        raise Failed("ttsmux was loaded in its process")


def measure(case: Case, takers: Sequence[Contestant], runner: Runner, rounds: int) -> Measured:
    """Measure all *takers* in *case*: each once a round, a round beginning with another one."""
    found = Measured(case.name, case.about, case.figure, case.more)
    names = {each.name for each in takers}
    for taker in takers:
        base = base_of(taker)
        found.rounds[taker.name] = []
        found.of[taker.name] = base if base in names else None
        found.kinds[taker.name] = taker.kind
        found.calls[taker.name] = taker.call
    for number in range(rounds):
        for taker in rotated(takers, number):
            try:
                figures: dict[str, float] | None = runner.run(case, taker)
            except Failed as exc:
                figures = None
                found.failed.setdefault(taker.name, []).append(str(exc))
            found.rounds[taker.name].append(figures)
            _tell(case.name, number, taker.name, case.figure, figures, found.failed)
    return found


def rotated(takers: Sequence[Contestant], number: int) -> list[Contestant]:
    """Return *takers* in the order of round *number*, so that nobody is always behind the same."""
    at = number % len(takers)
    return [*takers[at:], *takers[:at]]


def _tell(
    case: str,
    number: int,
    name: str,
    figure: str,
    figures: dict[str, float] | None,
    failed: dict[str, list[str]],
) -> None:
    said = failed[name][-1] if figures is None else f"{figures.get(figure, float('nan')):.4g}"
    print(f"{case} · {number + 1} · {name}: {said}", file=sys.stderr, flush=True)


def measure_start(rounds: int, pythons: dict[str, str]) -> Measured:
    """Measure what imports cost."""
    about = "CPU of a fresh interpreter, user and system, less that of one that does nothing"
    found = Measured(startup.CASE, about, startup.FIGURE)
    peers = {name: (python, PEERS[name].statement) for name, python in pythons.items()}
    starts = startup.starts_of(peers)
    for start in starts:
        found.rounds[start.name] = []
        found.of[start.name] = start.of
        found.kinds[start.name] = start.kind
        found.calls[start.name] = start.statement
    for number in range(rounds):
        for name, figures in startup.measure(starts).items():
            found.rounds[name].append(figures)
            _tell(startup.CASE, number, name, startup.FIGURE, figures, {})
    return found


def measure_size(pythons: dict[str, str]) -> Measured:
    """Weigh a fresh install, once, and those of the peers."""
    about = "what a fresh virtual environment has after the install, without .pyc and the installer"
    found = Measured(startup.SIZE_CASE, about, "MB")
    sizes = {"ttsmux": startup.installed([str(startup.ROOT)])}
    calls = {"ttsmux": "pip install ttsmux"}
    for name in ("websockets", "websocket-client", "aiohttp"):
        sizes[name] = startup.installed([name])
        calls[name] = f"pip install {name}"
    for name, python in pythons.items():
        own = startup.names_of(PEERS[name].requirements)
        sizes[name] = startup.weigh(startup.site_packages(python), own=own)
        calls[name] = f"pip install {' '.join(PEERS[name].requirements)}"
    for name, figures in sizes.items():
        found.rounds[name] = [figures]
        found.of[name] = None
        found.kinds[name] = "own" if name == "ttsmux" else "peer" if name in pythons else "raw"
        found.calls[name] = calls[name]
        _tell(startup.SIZE_CASE, 0, name, "MB", figures, {})
    return found


def check(measured: Sequence[Measured]) -> list[Checked]:
    """Hold every bound of the cases that were measured against them."""
    by_name = {each.case: each for each in measured}
    return [
        bound.check(by_name[bound.case].rounds)
        for bound in (*measures.BOUNDS, *startup.BOUNDS)
        if bound.case in by_name
    ]


def environments(directory: Path) -> dict[str, str]:
    """Make the peers' virtual environments in *directory*, and return the Python of each."""
    found = {}
    for name, environment in PEERS.items():
        print(f"{name}: {' '.join(environment.requirements)}", file=sys.stderr, flush=True)
        found[name] = startup.make(directory / name, ["-r", str(environment.file)])
    return found


def versions(pythons: dict[str, str]) -> dict[str, str]:
    """Say what was measured, with what."""
    found = {}
    for name in MEASURED_WITH:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    code = "import importlib.metadata as m, sys; print(*(m.version(n) for n in sys.argv[1:]))"
    for name, python in pythons.items():
        own = sorted(startup.names_of(PEERS[name].requirements))
        said = subprocess.check_output([python, "-c", code, *own], text=True).split()
        found |= dict(zip(own, said, strict=True))
    return found


def as_json(
    measured: Sequence[Measured], checked: Sequence[Checked], about: dict[str, Any]
) -> dict[str, Any]:
    """Return all that was found, the rounds themselves included."""
    cases = []
    for each in measured:
        rows = []
        for name in each.rounds:
            row: dict[str, Any] = {
                "contestant": name,
                "kind": each.kinds[name],
                "call": each.calls[name],
                "rounds": each.rounds[name],
                "failed": each.failed.get(name, []),
                "figures": {},
            }
            for figure in figures_of(each, name):
                if (found := spread(each.rounds, name, figure)) is not None:
                    row["figures"][figure] = attrs.asdict(found)
            if (of := each.of[name]) is not None:
                ratio = within(each.rounds, name, of, each.figure)
                row["ratio"] = None if ratio is None else {"of": of, **attrs.asdict(ratio)}
            rows.append(row)
        said = {"case": each.case, "about": each.about, "figure": each.figure}
        cases.append({**said, "rows": rows, "cannot": each.cannot})
    bounds = [
        {
            "case": each.bound.case,
            "contestant": each.bound.name,
            "bound": each.bound.words,
            "value": each.value,
            "kept": each.kept,
        }
        for each in checked
    ]
    return {**about, "cases": cases, "bounds": bounds}


def figures_of(measured: Measured, name: str) -> list[str]:
    """Return the names of the figures of one contestant, the one that is compared first."""
    names = dict.fromkeys([measured.figure])
    for figures in measured.rounds[name]:
        names |= dict.fromkeys(figures or ())
    return list(names)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{NAME}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--check", action="store_true", help="fail where a bound is not kept")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="also other people's clients, in environments of theirs",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=startup.ROOT / ".nox" / "bench-peers",
        help="where those are made",
    )
    parser.add_argument(
        "--try", dest="named", default="", help="contestants whose name contains it"
    )
    parser.add_argument("--out", type=Path, help="a directory for the figures, JSON and Markdown")
    return parser


def command(args: argparse.Namespace) -> str:
    """Say how to measure the same again."""
    words = [f"python -m benchmarks.{NAME} --rounds {args.rounds}"]
    words += [f"--only {shlex.quote(args.only)}"] if args.only else []
    words += [f"--try {shlex.quote(args.named)}"] if args.named else []
    words += ["--peers"] if args.peers else []
    return " ".join(words)


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.check and args.rounds < LEAST_ROUNDS:
        parser().error(f"--check wants at least {LEAST_ROUNDS} rounds")
    pythons = environments(args.environments) if args.peers else {}
    about: dict[str, Any] = {"name": NAME, "command": command(args), "rounds": args.rounds}
    about["versions"] = versions(pythons)
    measured, began = [], time.monotonic()
    with Server() as server:
        for each in _measure_all(server, pythons, args):
            measured.append(each)
            about["minutes"] = round((time.monotonic() - began) / 60, 1)
            about["machine"] = harness.machine(server)
            found = as_json(measured, check(measured), about)
            _write(found, args.out)  # what there is, in case that the rest does not come
    if not measured:
        sys.exit(f"no case has {args.only!r} in its name")
    print(report(found))
    checked = check(measured)
    broken = [each for each in checked if not each.kept]
    for each in broken:
        print(f"not kept: {each.words}", file=sys.stderr)
    if args.check and broken:
        sys.exit(f"{len(broken)} of {len(checked)} bounds are not kept")


def _measure_all(
    server: Server, pythons: dict[str, str], args: argparse.Namespace
) -> Iterator[Measured]:
    runner = Runner(server, pythons)
    everybody = contestants.chosen(peers=args.peers)
    for case in CASES:
        takers = [each for each in everybody if case.takes(each) and args.named in each.name]
        if args.only in case.name and takers and (args.peers or not case.only_peers):
            found = measure(case, takers, runner, args.rounds)
            others = [each for each in everybody if args.named in each.name]
            found.cannot = {each.name: why for each in others if (why := case.leaves_out(each))}
            yield found
    if not args.named:
        if args.only in startup.CASE:
            yield measure_start(args.rounds, pythons)
        if args.only in startup.SIZE_CASE:
            yield measure_size(pythons)


def _write(found: dict[str, Any], out: Path | None) -> None:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{NAME}.json").write_text(json.dumps(found, indent=1) + "\n")
        (out / f"{NAME}.md").write_text(report(found))


if __name__ == "__main__":
    main()
