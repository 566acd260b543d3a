"""
Ten turns, each interrupted: what does the next one pay, and does it hear the last?

On every provider that has a simulator, in each of its protocols (`benchmarks.cases`): honoured,
late, ignored, acknowledged in vain, or at the cost of the connection. With two of them two
hand-written clients on raw `websockets` beside it. One keeps its socket and waits for the
acknowledgement; if that does not come soon, it dials. The other dials after each interruption.
``python -m benchmarks.barge_in --check``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import websockets

import ttsmux

from . import harness, raw
from .cases import TURNS, Case, cases, providers
from .harness import HANDSHAKE_MS, TTFA_MS, Calm, Row, Server, Simulated

ADDED_MS, STOP_MS, SLOW_MS = 5.0, 2.0, 50.0
TEXT = "Turn{} goes on for a good while so that it can be interrupted in its middle by a listener"
KEY = "a-key-of-the-benchmark"
BEGIN, END = "<!-- benchmarks.barge_in begin -->", "<!-- benchmarks.barge_in end -->"


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
                harness.stale(TEXT.format(n), data, server.said, case.mode.rate)
                for n, data in enumerate(self.heard)
            ),
            "dials": server.seen["dials"],
            "at once": server.seen["at once"],
            "rules broken": server.seen["refused"] + server.seen["violations"],
        }
        if case.mode.cancels:
            # Others count a speech as interrupted when its text has ended: all of it is late.
            found["sent late"] = server.seen["late"]
        return found


def options(case: Case, server: Simulated) -> dict[str, Any]:
    """Return what a client is made with: where the server is, what the case sets, no more."""
    return {
        "base_url": server.url,
        "voice": server.voice,
        "api_key": KEY,
        "pool": ttsmux.PoolLimits(min_idle=case.min_idle),
        "limits": ttsmux.KeyLimits(connections=case.limit),
        **case.mode.options,
    }


def threads(case: Case, server: Simulated) -> Figures:
    found = Figures()
    with ttsmux.Client(case.mode.provider, **options(case, server)) as tts:
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
        async with ttsmux.AsyncClient(case.mode.provider, **options(case, server)) as tts:
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
                await raw.silence(socket, case.mode.provider)
        except TimeoutError:
            socket.transport.abort()
            socket = await raw.connect(case.mode.provider, server)
        return socket

    async def run() -> Figures:
        found = Figures()
        socket = await raw.connect(case.mode.provider, server)
        for number in range(TURNS):
            began = time.perf_counter()
            if number:
                socket = await clean(socket)
            await raw.speak(socket, case.mode.provider, server.voice, number, TEXT.format(number))
            audio = raw.listen(socket, case.mode.provider, number)
            data = await anext(audio)
            found.turns.append(time.perf_counter() - began)
            until = _until(case)
            while time.perf_counter() < until and (chunk := await anext(audio, None)):
                data += chunk
            began = time.perf_counter()
            if case.mode.provider == "xai":
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
            socket = await raw.connect(case.mode.provider, server)
            await raw.speak(socket, case.mode.provider, server.voice, number, TEXT.format(number))
            found.heard.append(await anext(raw.listen(socket, case.mode.provider, number)))
            found.turns.append(time.perf_counter() - began)
            began = time.perf_counter()
            socket.transport.abort()
            found.stops.append(time.perf_counter() - began)
        return found

    return asyncio.run(run())


def _until(case: Case) -> float:
    return time.perf_counter() + (HANDSHAKE_MS / 1000 if case.apart else 0.0)


Contestant = Callable[[Case, Simulated], Figures]
OURS: dict[str, Contestant] = {"ttsmux, threads": threads, "ttsmux, asyncio": tasks}


def contestants(case: Case) -> dict[str, Contestant]:
    """Name who is measured; those written by hand where the case makes a difference to them."""
    others: dict[str, Contestant] = {}
    if case.mode.provider in raw.PROVIDERS and case.min_idle is None:
        others["raw websockets, socket kept"] = raw_kept
        if case.apart and case.usual:  # it meets neither a listener nor an acknowledgement
            others["raw websockets, dial each turn"] = raw_dialled
    return OURS | others


def main() -> None:
    parser = harness.parser(__doc__ or "", providers())
    parser.add_argument("--page", type=Path, help="a page between whose marks a table is put")
    args = harness.arguments(parser)
    found: dict[Case, list[Row]] = {}
    began, calm = time.monotonic(), Calm()
    with Server() as server:
        for case in (case for name in args.providers for case in cases(name)):
            if args.only in case.name:
                found[case] = _measure(case, server, args.rounds, calm)
                harness.tell(found[case])
        print(f"{(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
        if args.page:
            put(args.page, f"{said(server, args, calm)}\n\n{summary(found)}")
        rows = [row for case in found.values() for row in case]
        harness.finish("barge_in", rows, server, args, calm)


def _measure(case: Case, server: Server, rounds: int, calm: Calm) -> list[Row]:
    clients = contestants(case)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    turns: dict[str, list[list[float]]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name, client in clients.items():  # interleaved: all see the same weather
            values, took = calm.measure(partial(_round, case, server, client))
            found[name].append(values)
            turns[name].append(took)
    return [_row(case, name, found[name], turns[name]) for name in clients]


def _round(case: Case, server: Server, client: Contestant) -> tuple[dict[str, float], list[float]]:
    with server.simulate(case.mode.provider, faults=case.faults, rtf=case.rtf) as simulated:
        figures = client(case, simulated)
    return figures.values(case, simulated), figures.turns


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
    values = harness.merged(found, worst=["stale bytes", "at once", "rules broken"])
    values["slow turns"] = slow(turns)
    if name not in OURS:
        return Row(case.name, name, values)
    turns_bound = f"all but {case.slow}" if case.slow else "each"
    bound = f"{turns_bound} ≤ {TTFA_MS + ADDED_MS:g} ms, stop ≤ {STOP_MS:g} ms, 0 stale"
    kept = (
        (values["median ms"] <= TTFA_MS + ADDED_MS or 2 * case.slow >= TURNS)
        and values["slow turns"] <= case.slow
        and values["stop ms"] <= STOP_MS
        and values["stale bytes"] == 0
        and values["rules broken"] == 0
    )
    return Row(case.name, name, values, bound, kept)


def summary(found: Mapping[Case, Sequence[Row]]) -> str:
    """Write a line a mode, with the figures of the client that fared worse, for the page."""

    def worst(name: str, of: Sequence[Case]) -> str:
        rows = [row for case in of for row in found[case] if row.client in OURS]
        return f"{max(row.values[name] for row in rows):g}" if rows else ""

    lines = [
        "| provider | policy | limit | apart: next turn, ms | back to back: next turn, ms "
        "| slow of ten | may be | open at once | slow with spares | stale bytes |",
        "|---|---|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for mode in dict.fromkeys(case.mode for case in found):
        mine = [case for case in found if case.mode == mode]
        usual = [case for case in mine if case.usual]
        apart = [case for case in usual if case.apart]
        plain = [case for case in usual if not case.apart and case.min_idle is None]
        ready = [case for case in usual if case.min_idle is not None][-1:]
        cells = [
            mode.name,
            f"`{mode.traits.interrupt.value}`",
            mode.limits,
            worst("median ms", apart),
            worst("median ms", plain),
            worst("slow turns", plain),
            str(max((case.slow for case in plain), default="")),
            worst("at once", plain),
            "".join(f"{worst('slow turns', ready)} ({case.set_to})" for case in ready),
            worst("stale bytes", mine),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def said(server: Server, args: argparse.Namespace, calm: Calm) -> str:
    """Say above the table what made it, and on what."""
    on = harness.machine(server)
    words = (
        f"`{harness.command('barge_in', args)}` on {on['system']}, {on['cores']} cores, "
        f"Python {on['python']}, ttsmux {on['ttsmux']}, load {on['load at the end']}; "
        f"{calm.again} rounds were measured again, in which other machines had the processor:"
    )
    return "\n".join(textwrap.wrap(words, 100, break_long_words=False, break_on_hyphens=False))


def put(page: Path, text: str) -> None:
    """Put *text* between the marks on *page*, in the place of what is there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"{page} has {BEGIN} and, behind it, {END}"
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
