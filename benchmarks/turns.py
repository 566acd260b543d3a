"""
Ten turns in a row: how long from the text to the first audio in hand?

ttsmux (both clients) beside a hand-written client on raw `websockets` that keeps its socket, and
one that dials for each turn. Server on the other core. ``python -m benchmarks.turns --check``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import ttsmux

from . import harness, raw
from .harness import TTFA_MS, Row, Server, Simulated

TURNS = 10
ADDED_MS = 3.0
TEXT = "This is turn number {}, and it is as long as a turn is."

Turn = tuple[float, bytes]
"""Seconds to the first audio, and all that was heard."""


def threads(provider: str, server: Simulated) -> list[Turn]:
    found = []
    with ttsmux.Client(provider, base_url=server.url, voice=server.voice) as tts:
        tts.prewarm()
        for number in range(TURNS):
            began = time.perf_counter()
            with tts.speak(TEXT.format(number)) as speech:
                first = next(speech).data
                took = time.perf_counter() - began
                found.append((took, first + speech.read()))
    return found


def tasks(provider: str, server: Simulated) -> list[Turn]:
    async def run() -> list[Turn]:
        found = []
        async with ttsmux.AsyncClient(provider, base_url=server.url, voice=server.voice) as tts:
            await tts.prewarm()
            for number in range(TURNS):
                began = time.perf_counter()
                async with tts.speak(TEXT.format(number)) as speech:
                    first = (await anext(speech)).data
                    took = time.perf_counter() - began
                    found.append((took, first + await speech.read()))
        return found

    return asyncio.run(run())


def raw_kept(provider: str, server: Simulated) -> list[Turn]:
    async def run() -> list[Turn]:
        found = []
        async with await raw.connect(provider, server) as socket:
            for number in range(TURNS):
                began = time.perf_counter()
                await raw.speak(socket, provider, server.voice, number, TEXT.format(number))
                audio = raw.listen(socket, provider, number)
                first = await anext(audio)
                took = time.perf_counter() - began
                found.append((took, first + b"".join([data async for data in audio])))
        return found

    return asyncio.run(run())


def raw_dialled(provider: str, server: Simulated) -> list[Turn]:
    async def run() -> list[Turn]:
        found = []
        for number in range(TURNS):
            began = time.perf_counter()
            async with await raw.connect(provider, server) as socket:
                await raw.speak(socket, provider, server.voice, number, TEXT.format(number))
                audio = raw.listen(socket, provider, number)
                first = await anext(audio)
                took = time.perf_counter() - began
                found.append((took, first + b"".join([data async for data in audio])))
        return found

    return asyncio.run(run())


OURS: dict[str, Callable[[str, Simulated], list[Turn]]] = {
    "ttsmux, threads": threads,
    "ttsmux, asyncio": tasks,
}
OTHERS: dict[str, Callable[[str, Simulated], list[Turn]]] = {
    "raw websockets, socket kept": raw_kept,
    "raw websockets, dial each turn": raw_dialled,
}


def main() -> None:
    args = harness.arguments(harness.parser(__doc__ or "", raw.PROVIDERS))
    rows: list[Row] = []
    with Server() as server:
        for provider in args.providers:
            if args.only in provider:
                rows += harness.tell(_measure(provider, server, args.rounds))
        harness.finish("turns", rows, server, args)


def _measure(provider: str, server: Server, rounds: int) -> list[Row]:
    clients = OURS | OTHERS
    found: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name, client in clients.items():  # interleaved: all see the same weather
            with server.simulate(provider) as simulated:
                turns = client(provider, simulated)
            found[name].append(_values(turns, simulated))
    return [_row(provider, name, each) for name, each in found.items()]


def _values(turns: list[Turn], server: Simulated) -> dict[str, float]:
    leased = server.seen["leased"]
    took = [seconds for seconds, _ in turns]
    return {
        "median ms": round(1000 * harness.median(took), 1),
        "worst ms": round(1000 * max(took), 1),
        "stale bytes": sum(
            harness.stale(TEXT.format(n), heard, server.said) for n, (_, heard) in enumerate(turns)
        ),
        "leased": leased,
        "spares": server.seen["dials"] - leased,
    }


def _row(provider: str, name: str, found: list[dict[str, float]]) -> Row:
    values = harness.merged(found, worst=["leased", "stale bytes"])
    title = f"{provider}, {TURNS} turns"
    if name not in OURS:
        return Row(title, name, values)
    bound = f"median ≤ {TTFA_MS + ADDED_MS:g} ms, 1 leased, 0 stale"
    kept = (
        values["median ms"] <= TTFA_MS + ADDED_MS
        and values["leased"] == 1
        and values["stale bytes"] == 0
    )
    return Row(title, name, values, bound, kept)


if __name__ == "__main__":
    main()
