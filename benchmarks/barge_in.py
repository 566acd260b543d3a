"""
Ten turns, each interrupted: what does the next one pay, and does it hear the last?

On both providers, the acknowledgement honoured, late, ignored, and given in vain. Beside them two
hand-written clients on raw `websockets`. One keeps its socket and waits for the acknowledgement; if
that does not come soon, it dials. The other dials after each interruption.
``python -m benchmarks.barge_in --check``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import attrs
import websockets

import ttsmux

from . import harness, raw
from .harness import HANDSHAKE_MS, TTFA_MS, Row, Server, Simulated

TURNS = 10
ADDED_MS, STOP_MS, SLOW_MS = 5.0, 2.0, 50.0
TEXT = "Turn{} goes on for a good while so that it can be interrupted in its middle by a listener"


@attrs.frozen
class Case:
    """
    A server and a listener.

    *apart*: the listener hears the length of a handshake before breaking in, and not just the first
    audio. *rtf*: seconds the server takes for a second of audio, and so how long an interrupted
    Gradium turn goes on. *slow*: how many of the turns may take longer than the others' bound, each
    by its median over the rounds.
    """

    name: str
    provider: str
    faults: tuple[str, ...] = ()
    apart: bool = True
    min_idle: int | None = None
    rtf: float = 0.2
    slow: int = 0


BACK_TO_BACK = (
    Case("release at once", "gradium", rtf=0.0),
    # Two muted speeches fill a connection, and who dialled for the third could not know before.
    Case("late release", "gradium", slow=1),
    Case("late release, min_idle=3", "gradium", min_idle=3),
    Case("honoured", "xai"),
    # Until the first acknowledgement comes, late cannot be told from never.
    Case("honoured late", "xai", ("late-ack=200",), slow=1),
    Case("ignored", "xai", ("no-ack",), slow=2),
    Case("ignored, min_idle=3", "xai", ("no-ack",), min_idle=3),
    Case("acknowledged in vain", "xai", ("speak-on",), slow=2),
)
CASES = (
    Case("apart", "gradium"),
    Case("apart, honoured", "xai"),
    Case("apart, honoured late", "xai", ("late-ack=200",)),
    Case("apart, ignored", "xai", ("no-ack",)),
    Case("apart, acknowledged in vain", "xai", ("speak-on",)),
    *(attrs.evolve(case, name=f"back to back, {case.name}", apart=False) for case in BACK_TO_BACK),
)


@attrs.define
class Figures:
    """Of one client in one round. Seconds."""

    turns: list[float] = attrs.field(factory=list)
    stops: list[float] = attrs.field(factory=list)
    heard: list[bytes] = attrs.field(factory=list)

    def values(self, case: Case, server: Simulated) -> dict[str, float]:
        found = {
            "median ms": round(1000 * harness.median(self.turns), 1),
            "worst ms": round(1000 * max(self.turns), 1),
            "stop ms": round(1000 * max(self.stops), 2),
            "stale bytes": sum(
                harness.stale(TEXT.format(n), data) for n, data in enumerate(self.heard)
            ),
            "dials": server.seen["dials"],
        }
        if case.provider == "xai":
            # Gradium counts a speech as interrupted when its text has ended: all of it is late.
            found["sent late"] = server.seen["late"]
        return found


def threads(case: Case, server: Simulated) -> Figures:
    found = Figures()
    pool = ttsmux.PoolLimits(min_idle=case.min_idle)
    with ttsmux.Client(case.provider, base_url=server.url, voice=server.voice, pool=pool) as tts:
        tts.prewarm()
        for number in range(TURNS):
            began = time.perf_counter()
            speech = tts.speak(TEXT.format(number))
            data = next(speech).data
            found.turns.append(time.perf_counter() - began)
            until = _until(case)
            while time.perf_counter() < until and (chunk := next(speech, None)):
                data += chunk.data
            began = time.perf_counter()
            speech.interrupt()
            found.stops.append(time.perf_counter() - began)
            found.heard.append(data + speech.read())
    return found


def tasks(case: Case, server: Simulated) -> Figures:
    async def run() -> Figures:
        found = Figures()
        pool = ttsmux.PoolLimits(min_idle=case.min_idle)
        async with ttsmux.AsyncClient(
            case.provider, base_url=server.url, voice=server.voice, pool=pool
        ) as tts:
            await tts.prewarm()
            for number in range(TURNS):
                began = time.perf_counter()
                speech = tts.speak(TEXT.format(number))
                data = (await anext(speech)).data
                found.turns.append(time.perf_counter() - began)
                until = _until(case)
                while time.perf_counter() < until and (chunk := await anext(speech, None)):
                    data += chunk.data
                began = time.perf_counter()
                speech.interrupt()
                found.stops.append(time.perf_counter() - began)
                found.heard.append(data + await speech.read())
        return found

    return asyncio.run(run())


def raw_kept(case: Case, server: Simulated) -> Figures:
    async def clean(socket: websockets.ClientConnection) -> websockets.ClientConnection:
        """Return a socket on which the next turn may begin: this one, or another."""
        try:
            async with asyncio.timeout(raw.ACKNOWLEDGED_WITHIN):
                await raw.silence(socket, case.provider)
        except TimeoutError:
            socket.transport.abort()
            socket = await raw.connect(case.provider, server)
        return socket

    async def run() -> Figures:
        found = Figures()
        socket = await raw.connect(case.provider, server)
        for number in range(TURNS):
            began = time.perf_counter()
            if number:
                socket = await clean(socket)
            await raw.speak(socket, case.provider, server.voice, number, TEXT.format(number))
            audio = raw.listen(socket, case.provider, number)
            data = await anext(audio)
            found.turns.append(time.perf_counter() - began)
            until = _until(case)
            while time.perf_counter() < until and (chunk := await anext(audio, None)):
                data += chunk
            began = time.perf_counter()
            if case.provider == "xai":
                await socket.send('{"type": "text.clear"}')
            found.stops.append(time.perf_counter() - began)
            found.heard.append(data)
        socket.transport.abort()
        return found

    return asyncio.run(run())


def raw_dialled(case: Case, server: Simulated) -> Figures:
    async def run() -> Figures:
        found = Figures()
        for number in range(TURNS):
            began = time.perf_counter()
            socket = await raw.connect(case.provider, server)
            await raw.speak(socket, case.provider, server.voice, number, TEXT.format(number))
            found.heard.append(await anext(raw.listen(socket, case.provider, number)))
            found.turns.append(time.perf_counter() - began)
            began = time.perf_counter()
            socket.transport.abort()
            found.stops.append(time.perf_counter() - began)
        return found

    return asyncio.run(run())


def _until(case: Case) -> float:
    return time.perf_counter() + (HANDSHAKE_MS / 1000 if case.apart else 0.0)


OURS: dict[str, Callable[[Case, Simulated], Figures]] = {
    "ttsmux, threads": threads,
    "ttsmux, asyncio": tasks,
}
OTHERS: dict[str, Callable[[Case, Simulated], Figures]] = {
    "raw websockets, socket kept": raw_kept,
    "raw websockets, dial each turn": raw_dialled,
}


def main() -> None:
    args = harness.arguments(__doc__ or "")
    rows: list[Row] = []
    with Server() as server:
        for case in CASES:
            if args.only in f"{case.provider}: {case.name}":
                rows += harness.tell(_measure(case, server, args.rounds))
        harness.finish("barge_in", rows, server, args)


def _measure(case: Case, server: Server, rounds: int) -> list[Row]:
    clients = OURS | OTHERS
    found: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    turns: dict[str, list[list[float]]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name, client in clients.items():  # interleaved: all see the same weather
            with server.simulate(case.provider, faults=case.faults, rtf=case.rtf) as simulated:
                figures = client(case, simulated)
            found[name].append(figures.values(case, simulated))
            turns[name].append(figures.turns)
    return [_row(case, name, found[name], turns[name]) for name in clients]


def slow(rounds: list[list[float]]) -> int:
    """
    Count the turns that took longer than they may.

    The first, the second, … count if their medians over the rounds are too long. Where it is
    another one in each round, as many count as were SLOW_MS too long in the middle round.
    """
    medians = [1000 * harness.median(turn) for turn in zip(*rounds, strict=True)]
    always = sum(turn > TTFA_MS + ADDED_MS for turn in medians)
    each = [sum(1000 * turn > TTFA_MS + SLOW_MS for turn in turns) for turns in rounds]
    return max(always, round(harness.median(each)))


def _row(case: Case, name: str, found: list[dict[str, float]], turns: list[list[float]]) -> Row:
    values = harness.merged(found, worst=["stale bytes"])
    values["slow turns"] = slow(turns)
    title = f"{case.provider}: {case.name}"
    if name not in OURS:
        return Row(title, name, values)
    turns_bound = f"all but {case.slow}" if case.slow else "each"
    bound = f"{turns_bound} ≤ {TTFA_MS + ADDED_MS:g} ms, stop ≤ {STOP_MS:g} ms, 0 stale"
    kept = (
        values["median ms"] <= TTFA_MS + ADDED_MS
        and values["slow turns"] <= case.slow
        and values["stop ms"] <= STOP_MS
        and values["stale bytes"] == 0
    )
    return Row(title, name, values, bound, kept)


if __name__ == "__main__":
    main()
