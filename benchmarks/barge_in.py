"""
Ten turns, each interrupted: what does the next one pay, and does it hear the last?

On both providers, the acknowledgement honoured, late, ignored, and given in vain.
Beside them a hand-written client on raw `websockets` that dials again after each interruption: what
one can do safely without a pool. ``python -m benchmarks.barge_in --check``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import attrs
import websockets

import ttsmux
from ttsmux.simulate.engines.tone import decode

from . import harness
from .harness import HANDSHAKE_MS, TTFA_MS, Row, Server, Simulated
from .turns import address, one_turn

TURNS = 10
ADDED_MS, STOP_MS, SLOW_MS = 5.0, 2.0, 50.0
TEXT = "Turn{} goes on for a good while so that it can be interrupted in its middle by a listener"


@attrs.frozen
class Case:
    name: str
    provider: str
    faults: tuple[str, ...] = ()
    apart: bool = True
    min_idle: int | None = None
    slow: int = 0
    """Turns that may be slow."""


CASES = (
    Case("apart", "gradium"),
    Case("apart, honoured", "xai"),
    Case("apart, late", "xai", ("late-ack=200",)),
    Case("apart, ignored", "xai", ("no-ack",)),
    Case("apart, acknowledged in vain", "xai", ("speak-on",)),
    Case("back to back", "gradium", apart=False),
    Case("back to back, honoured", "xai", apart=False),
    Case("back to back, ignored", "xai", ("no-ack",), apart=False, slow=2),
    Case("back to back, ignored, min_idle=3", "xai", ("no-ack",), apart=False, min_idle=3),
    Case("back to back, acknowledged in vain", "xai", ("speak-on",), apart=False, slow=2),
)


@attrs.define
class Figures:
    """Of one client in one round. Seconds."""

    turns: list[float] = attrs.field(factory=list)
    stops: list[float] = attrs.field(factory=list)
    stale: int = 0

    def judge(self, number: int, data: bytes) -> None:
        """Count words that are not of turn *number*'s text, by what the tones say."""
        allowed = set(TEXT.format(number).split())
        self.stale += sum(1 for word in decode(data, 24000) if word.ok and word.text not in allowed)

    def values(self) -> dict[str, float]:
        return {
            "median ms": round(1000 * harness.median(self.turns), 1),
            "worst ms": round(1000 * max(self.turns), 1),
            "slow turns": sum(1000 * turn > TTFA_MS + SLOW_MS for turn in self.turns),
            "stop ms": round(1000 * max(self.stops, default=0.0), 2),
            "stale words": self.stale,
        }


def _settings(case: Case) -> ttsmux.PoolLimits:
    return ttsmux.PoolLimits(min_idle=case.min_idle)


def threads(case: Case, server: Simulated) -> Figures:
    found = Figures()
    with ttsmux.Client(
        case.provider, base_url=server.url, voice=server.voice, pool=_settings(case)
    ) as tts:
        tts.prewarm()
        for number in range(TURNS):
            began = time.perf_counter()
            speech = tts.speak(TEXT.format(number))
            data = next(speech).data
            found.turns.append(time.perf_counter() - began)
            if case.apart:
                until = time.perf_counter() + HANDSHAKE_MS / 1000
                while time.perf_counter() < until and (chunk := next(speech, None)):
                    data += chunk.data
            began = time.perf_counter()
            speech.interrupt()
            found.stops.append(time.perf_counter() - began)
            data += speech.read()
            found.judge(number, data)
    return found


def tasks(case: Case, server: Simulated) -> Figures:
    async def run() -> Figures:
        found = Figures()
        async with ttsmux.AsyncClient(
            case.provider, base_url=server.url, voice=server.voice, pool=_settings(case)
        ) as tts:
            await tts.prewarm()
            for number in range(TURNS):
                began = time.perf_counter()
                speech = tts.speak(TEXT.format(number))
                data = (await anext(speech)).data
                found.turns.append(time.perf_counter() - began)
                if case.apart:
                    until = time.perf_counter() + HANDSHAKE_MS / 1000
                    while time.perf_counter() < until and (chunk := await anext(speech, None)):
                        data += chunk.data
                began = time.perf_counter()
                speech.interrupt()
                found.stops.append(time.perf_counter() - began)
                data += await speech.read()
                found.judge(number, data)
        return found

    return asyncio.run(run())


def raw(case: Case, server: Simulated) -> Figures:
    async def run() -> Figures:
        found = Figures()
        for number in range(TURNS):
            began = time.perf_counter()
            async with websockets.connect(address(case.provider, server)) as socket:
                first = await one_turn(socket, case.provider, server.voice, number)
                found.turns.append(first - began)
        return found

    return asyncio.run(run())


CLIENTS: dict[str, Callable[[Case, Simulated], Figures]] = {
    "ttsmux, threads": threads,
    "ttsmux, asyncio": tasks,
    "raw websockets, dial each turn": raw,
}


def main() -> None:
    args = harness.arguments(__doc__ or "")
    rows = []
    with Server() as server:
        for case in CASES:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
            for _ in range(args.rounds):
                for name, client in CLIENTS.items():
                    with server.simulate(case.provider, faults=case.faults, rtf=0.2) as simulated:
                        figures = client(case, simulated)
                    values = figures.values()
                    values["dials"] = float(str(simulated.seen["dials"]))
                    found[name].append(values)
            rows += [_row(case, name, each) for name, each in found.items()]
    harness.finish("barge-in", rows, args)


def _row(case: Case, name: str, found: list[dict[str, float]]) -> Row:
    values = harness.merged(found, worst=["stale words"])
    title = f"{case.provider}: {case.name}"
    if not name.startswith("ttsmux"):
        return Row(title, name, values)
    bound = f"≤ {TTFA_MS + ADDED_MS:g} ms, ≤ {case.slow} slow, stop ≤ {STOP_MS:g} ms, 0 stale"
    kept = (
        values["median ms"] <= TTFA_MS + ADDED_MS
        and values["slow turns"] <= case.slow
        and values["stop ms"] <= STOP_MS
        and values["stale words"] == 0
    )
    return Row(title, name, values, bound, kept)


if __name__ == "__main__":
    main()
