"""
A test of the sweep: mistakes that pools and streams have really had, each of which it must find.

Every plant spoils one method. If one is no longer found, the sweep has gone blind.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

import anyio.lowlevel
import pytest
import trio

from tests._totals import Entry
from tests.cancellation.probes import Backend, Who
from tests.cancellation.scenarios import SCENARIOS
from tests.cancellation.sweep import Sweep, sweep
from tests.cancellation.wires import WIRES, WireSweep
from ttsmux import AsyncSpeech, AudioChunk, Error, Voice
from ttsmux.client._tasks import Bell, Engine
from ttsmux.client._tasks_asker import Asker
from ttsmux.core.connection import Connection
from ttsmux.core.generation import LiveGeneration
from ttsmux.transports import _asyncio
from ttsmux.transports._trio import TrioTransport

ENOUGH = 60
"""Runs within which a plant must be found: one or two seconds."""

KEPT: list[socket.socket] = []
"""What a plant loses: closed in the end, or the collector would complain of it."""

Plant = Callable[[pytest.MonkeyPatch], None]


def a_waiter_served_as_it_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    """The ring does not look whether the waiter is still there."""

    def ring(bell: Bell) -> None:
        bell._rung = True
        waiting, bell._future = bell._future, None
        if isinstance(waiting, asyncio.Future):
            waiting.set_result(None)
        elif waiting is not None:
            waiting.set()

    patch.setattr(Bell, "ring", ring)


def a_chunk_lost_with_the_waiter(patch: pytest.MonkeyPatch) -> None:
    """It is taken out of the buffer before the last await."""
    real = AsyncSpeech.__anext__

    async def anext(speech: AsyncSpeech) -> AudioChunk:
        chunk = await real(speech)
        await anyio.lowlevel.checkpoint()
        return chunk

    patch.setattr(AsyncSpeech, "__anext__", anext)


def a_seat_kept_by_one_who_left(patch: pytest.MonkeyPatch) -> None:
    """Leaving a speech, or forgetting it, interrupts nothing."""

    async def aexit(speech: AsyncSpeech, *exc: object) -> None:
        pass

    patch.setattr(AsyncSpeech, "__aexit__", aexit)
    patch.delattr(AsyncSpeech, "__del__")


def a_swallowed_cancellation(patch: pytest.MonkeyPatch) -> None:
    """Except BaseException: pass."""
    real = AsyncSpeech.__anext__

    async def anext(speech: AsyncSpeech) -> AudioChunk:
        try:
            return await real(speech)
        except (StopAsyncIteration, Error):
            raise
        except BaseException:
            pass
        raise StopAsyncIteration

    patch.setattr(AsyncSpeech, "__anext__", anext)


def a_half_sent_frame(patch: pytest.MonkeyPatch) -> None:
    """A cancelled send leaves the connection in use."""
    real = TrioTransport._flush

    async def flush(transport: TrioTransport) -> None:
        try:
            await real(transport)
        except trio.Cancelled:
            transport._doomed = False
            raise

    patch.setattr(TrioTransport, "_flush", flush)


def a_socket_left_by_a_dial(patch: pytest.MonkeyPatch) -> None:
    """One more await between the connect and the clean-up."""
    real = _asyncio._race

    async def race(
        loop: asyncio.AbstractEventLoop, addresses: Iterable[tuple[int, _asyncio.Address]]
    ) -> socket.socket:
        sock = await real(loop, addresses)
        KEPT.append(sock)
        await anyio.lowlevel.checkpoint()
        return sock

    patch.setattr(_asyncio, "_race", race)


def a_drain_that_stays_half_open(patch: pytest.MonkeyPatch) -> None:
    """It closes what it drained after the last await, and nowhere else."""

    async def drain(engine: Engine, timeout: float) -> bool:
        mux = engine.mux
        ticket = engine.step(mux, mux.drain, engine.now())
        await engine.wait(mux, ticket, timeout)
        await engine.close()
        return not mux.cut_short

    patch.setattr(Engine, "drain", drain)


def a_question_that_outlives_who_asked(patch: pytest.MonkeyPatch) -> None:
    """It is called off after the last await, and nowhere else."""

    async def ask(asker: Asker) -> tuple[Voice, ...]:
        engine = asker._engine
        engine.askers.add(asker)
        engine.start(asker._run)
        await asker._bell.wait()
        asker.give_up()
        engine.askers.discard(asker)
        return asker._inquiry.result()

    patch.setattr(Asker, "ask", ask)


def a_turn_kept_by_one_who_left(patch: pytest.MonkeyPatch) -> None:
    """What an interrupted generation holds of the key is forgotten, and never given back."""
    real = Connection.interrupt

    def interrupt(conn: Connection, gen: LiveGeneration, now: float) -> None:
        desk = conn._pool.admission.desk(conn.plan)
        assert desk is not None, "the sweep sets a limit"
        desk.generations.pop(gen.id)
        real(conn, gen, now)

    patch.setattr(Connection, "interrupt", interrupt)


BUGS: list[tuple[Plant, str, Backend]] = [
    (a_waiter_served_as_it_is_cancelled, "waited_for-gradium", "asyncio"),
    (a_waiter_served_as_it_is_cancelled, "waited_for-xai", "asyncio"),
    (a_chunk_lost_with_the_waiter, "waited_for-gradium", "asyncio"),
    (a_chunk_lost_with_the_waiter, "waited_for-xai", "trio"),
    (a_seat_kept_by_one_who_left, "full_pool-xai", "asyncio"),
    (a_seat_kept_by_one_who_left, "full_pool-xai", "trio"),
    (a_swallowed_cancellation, "whole_text-xai", "asyncio"),
    (a_swallowed_cancellation, "whole_text-gradium", "trio"),
    (a_drain_that_stays_half_open, "drained-gradium", "asyncio"),
    (a_drain_that_stays_half_open, "drained-xai", "trio"),
    (a_question_that_outlives_who_asked, "voices-elevenlabs", "asyncio"),
    (a_question_that_outlives_who_asked, "voices-xai", "trio"),
    (a_turn_kept_by_one_who_left, "whole_text-xai", "asyncio"),
    (a_turn_kept_by_one_who_left, "whole_text-gradium", "trio"),
    (a_half_sent_frame, "send", "trio"),
    (a_socket_left_by_a_dial, "dial", "asyncio"),
]


def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sweep, Iterable[Who]], Awaitable[None]]:
    """
    Some are found by what does not come, and one may wait less long for that here.

    Not before it was seen to come without any cancellation, however long that takes.
    """
    real = Sweep._all

    async def shortly(sweep: Sweep, who: Iterable[Who]) -> None:
        for name in ("cancellation.sweep.BOUND", "cancellation.probes.BOUND"):
            monkeypatch.setattr(f"tests.{name}", 1.0)
        monkeypatch.setattr("tests.transports.peers.PATIENCE", 1.0)
        await real(sweep, who)

    return shortly


@pytest.mark.parametrize(
    ("plant", "name", "backend"),
    [pytest.param(*bug, id=f"{bug[0].__name__}-{bug[1]}-{bug[2]}") for bug in BUGS],
)
def test_the_sweep_finds(
    plant: Plant,
    name: str,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    add_to_total: Callable[[Entry], None],
) -> None:
    monkeypatch.setattr(Sweep, "_all", impatient(monkeypatch))
    with monkeypatch.context() as patch:
        plant(patch)
        if name in WIRES:
            report = WireSweep(name, backend, patience=1).run(["scenario"])
        else:
            scenario = next(each for each in SCENARIOS if str(each) == name)
            report = sweep(scenario, backend, ["scenario"], patience=1)
    assert report.faults, f"not found in {report.runs} runs"
    point, words = report.faults[0]
    assert point.k > 0, f"it shows without any cancellation: {words}"
    assert report.runs <= ENOUGH
    while KEPT:
        KEPT.pop().close()
    add_to_total({"words": f"{plant.__name__}: {name}/{backend}/{point}, in run {report.runs}"})


def total(entries: list[Entry], selected: int) -> tuple[str, str]:
    """A reader of the log sees how soon."""
    return "\n".join(sorted(entry["words"] for entry in entries)), ""
