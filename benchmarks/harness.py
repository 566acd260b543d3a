"""What the benchmarks share: the server's process, medians, tables, checks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Self, TypeVar

import attrs
import msgspec

from ttsmux.simulate.engines.tone import ToneEngine

RATE = 24000
HANDSHAKE_MS, TTFA_MS = 300.0, 100.0
LEAST_ROUNDS = 5
STOLEN, AGAIN = 0.02, 3
"""The share of all cores that others may have had in a round, and how often it is done again."""

_T = TypeVar("_T")


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
        with self._serving(start=provider, **options) as simulated:
            yield simulated

    @contextmanager
    def stream(self, provider: str) -> Iterator[Simulated]:
        """Run the server that says what the text asks for."""
        with self._serving(stream=provider) as streaming:
            yield streaming

    @contextmanager
    def _serving(self, **request: object) -> Iterator[Simulated]:
        answer = self.ask(**request)
        simulated = Simulated(str(answer["url"]), str(answer["voice"]))
        try:
            yield simulated
        finally:
            found = self.ask(stop=True)
            simulated.seen = msgspec.convert(found["seen"], dict[str, float], strict=False)
            simulated.said = msgspec.convert(found["said"], dict[int, list[str]], strict=False)


@attrs.define
class Simulated:
    """A simulator that runs; once it has ended, what it counted, and the words of each tag."""

    url: str
    voice: str
    seen: dict[str, float] = attrs.field(factory=dict)
    said: dict[int, list[str]] = attrs.field(factory=dict)


@attrs.frozen
class Row:
    """One contestant in one case: what the rounds measured, merged."""

    case: str
    client: str
    values: dict[str, float]
    bound: str = ""
    kept: bool | None = None


@attrs.define
class Calm:
    """
    Measures again what was measured while the hypervisor gave the processor to other machines.

    Attributes:
        again: how often it did.
    """

    again: int = 0

    def measure(self, once: Callable[[], _T]) -> _T:
        """Return what *once* found, in the last of AGAIN + 1 rounds at the latest."""
        for _ in range(AGAIN):
            began, before = time.monotonic(), stolen()
            found = once()
            passed = (time.monotonic() - began) * (os.cpu_count() or 1)
            if stolen() - before <= STOLEN * passed:
                return found
            self.again += 1
        return once()


def stolen() -> float:
    """Return for how many seconds the hypervisor had a core elsewhere; 0 where nobody counts."""
    try:
        with open("/proc/stat", encoding="ascii") as lines:
            return int(next(lines).split()[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def stale(text: str, audio: bytes, said: Mapping[int, Sequence[str]], rate: int = RATE) -> int:
    """
    Count the bytes from where *audio* leaves what one generation says for *text*.

    Which tags that may have is known from the server, by *said*, and not from the audio: the first
    sounds of all turns are alike but for their tag.
    """
    words = text.split()
    tags = [tag for tag, spoken in said.items() if spoken and spoken == words[: len(spoken)]]
    speak = ToneEngine().speak
    heard = (
        _common(audio, speak(text, voice="", language=None, tag=tag, rate=rate).pcm) for tag in tags
    )
    return len(audio) - max(heard, default=0)


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two strings have in common at their beginning."""
    if other.startswith(one):
        return len(one)
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other)
    )


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def merged(found: Sequence[dict[str, float]], worst: Sequence[str] = ()) -> dict[str, float]:
    """Return the median over rounds of each figure, the worst of those named in *worst*."""
    return {
        name: (max if name in worst else median)([each[name] for each in found])
        for name in found[0]
    }


def parser(description: str, providers: Sequence[str]) -> argparse.ArgumentParser:
    def chosen(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in providers]:
            msg = f"no provider is called {unknown[0]!r} here; there are: {', '.join(providers)}"
            raise argparse.ArgumentTypeError(msg)
        return names

    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--check", action="store_true", help="fail where a bound is not kept")
    parser.add_argument(
        "--providers",
        metavar="A,B",
        type=chosen,
        default=list(providers),
        help=f"only these of {', '.join(providers)}",
    )
    parser.set_defaults(known=list(providers))
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--out", type=Path, help="a directory for the figures, JSON and Markdown")
    return parser


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    args = parser.parse_args()
    if args.check and args.rounds < LEAST_ROUNDS:
        parser.error(f"--check wants at least {LEAST_ROUNDS} rounds")
    return args


def command(name: str, args: argparse.Namespace) -> str:
    """Say how to measure the same again."""
    words = [f"python -m benchmarks.{name} --rounds {args.rounds}"]
    if args.providers != args.known:
        words.append(f"--providers {','.join(args.providers)}")
    if args.only:
        words.append(f"--only {shlex.quote(args.only)}")
    return " ".join(words)


def machine(server: Server, calm: Calm | None = None) -> dict[str, object]:
    """Say on what it was measured."""
    again = {} if calm is None else {"rounds measured again": calm.again}
    return again | {
        "python": platform.python_version(),
        "ttsmux": version("ttsmux"),
        "websockets": version("websockets"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "server on another core": server.apart,
        "load at the end": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


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


def finish(
    name: str,
    rows: Sequence[Row],
    server: Server,
    args: argparse.Namespace,
    calm: Calm | None = None,
) -> None:
    """Print the table, write the figures, and fail if a bound was asked for and not kept."""
    if not rows:
        print(f"{name}: no case has {args.only!r} in its name")
        sys.exit(args.check)
    measured_on = machine(server, calm)
    said = (
        f"`{command(name, args)}`: medians over the rounds; "
        f"handshake {HANDSHAKE_MS:g} ms, TTFA {TTFA_MS:g} ms; "
        + ", ".join(f"{key} {value}" for key, value in measured_on.items())
    )
    shown = f"{said}\n\n{table(rows)}\n"
    print(shown)
    if args.out:
        figures = {"name": name, "rounds": args.rounds, "machine": measured_on}
        figures |= {"handshake_ms": HANDSHAKE_MS, "ttfa_ms": TTFA_MS}
        figures["rows"] = [attrs.asdict(row) for row in rows]
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
        (args.out / f"{name}.md").write_text(shown)
    broken = [row for row in rows if row.kept is False]
    if args.check and broken:
        sys.exit("not kept: " + "; ".join(f"{row.case}, {row.client}" for row in broken))
