"""What the benchmarks share: the server's process, rounds, medians, tables, checks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Self

import attrs

HANDSHAKE_MS, TTFA_MS = 300.0, 100.0
LEAST_ROUNDS = 5


class Server:
    """The simulators' process."""

    def __enter__(self) -> Self:
        if (os.cpu_count() or 1) > 1 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {0})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate(timeout=10)

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
            simulated.seen = self.ask(stop=True)


@attrs.define
class Simulated:
    url: str
    voice: str
    seen: dict[str, object] = attrs.field(factory=dict)


@attrs.frozen
class Row:
    """One contestant in one case: what each round measured, merged."""

    case: str
    client: str
    values: dict[str, float]
    bound: str = ""
    kept: bool | None = None


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def rounds(count: int, measure: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    return [measure() for _ in range(count)]


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
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


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


def finish(name: str, rows: Sequence[Row], args: argparse.Namespace) -> None:
    """Print the table, write the JSON, and fail if a bound was asked for and not kept."""
    machine = {
        "python": platform.python_version(),
        "ttsmux": version("ttsmux"),
        "websockets": version("websockets"),
        "cores": os.cpu_count(),
    }
    print(f"\n{name}, {args.rounds} rounds, medians; handshake {HANDSHAKE_MS:g} ms, "
          f"TTFA {TTFA_MS:g} ms; {machine}\n")  # fmt: skip
    print(table(rows))
    if args.json:
        found = {"name": name, "rounds": args.rounds, "machine": machine}
        found["rows"] = [attrs.asdict(row) for row in rows]
        args.json.write_text(json.dumps(found, indent=2))
    broken = [row for row in rows if row.kept is False]
    if args.check and args.rounds < LEAST_ROUNDS:
        sys.exit(f"--check wants at least {LEAST_ROUNDS} rounds")
    if args.check and broken:
        sys.exit("not kept: " + "; ".join(f"{row.case}, {row.client}" for row in broken))
