"""What the sweeps have found, told as what a user would have seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import pytest

import ttsmux
from tests.cancellation.probes import BOUND
from tests.cancellation.scenarios import NEXT, TEXT, check
from tests.scenarios.stage import KEY
from tests.transports.peers import idle, serve
from ttsmux import AsyncClient, AsyncSpeech, Client, Error, PoolLimits, Speech
from ttsmux.adapter import Closed, Frame
from ttsmux.core.connection import Connection
from ttsmux.core.speech import Speech as CoreSpeech
from ttsmux.simulate import AsyncSimulator
from ttsmux.transports.base import Ping, Pong, Target
from ttsmux.transports.websockets import connect


@pytest.fixture
def sim() -> Iterator[AsyncSimulator]:
    with AsyncSimulator("xai", engine="tone") as running:
        yield running


class Interrupted:
    """A function that is interrupted once, before or after it has done its work."""

    def __init__(self, real: Callable[..., Any], *, after: bool = False) -> None:
        self._real = real
        self._after = after
        self._left = 1

    def __get__(self, owner: object, kind: type) -> Callable[..., Any]:
        return lambda *args, **more: self(owner, *args, **more)

    def __call__(self, *args: Any, **more: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KeyboardInterrupt
        result = self._real(*args, **more)
        if self._left == 0:
            raise KeyboardInterrupt
        return result


# --- tasks ----------------------------------------------------------------------------------------


class Ends:
    """A sink that only listens for the end."""

    def __init__(self) -> None:
        self.faults: list[Closed | Error] = []

    def message(self, data: bytes, text: bool) -> None: ...
    def pong(self) -> None: ...
    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None: ...

    def lost(self, fault: Closed | Error) -> None:
        self.faults.append(fault)


@pytest.mark.anyio
async def test_a_connection_that_is_closed_as_soon_as_it_is_open(anyio_backend: object) -> None:
    """
    Its reader has been started and has not had its first turn: on trio, two waited for one socket.

    That is where a client is closed, or a speech given up, just when its dial succeeds.
    """
    with serve(idle) as server:
        transport, _ = await connect(Target(url=server.url()), BOUND)
        ends = Ends()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.read, ends)
            await transport.close(0.05)
        assert ends.faults == [Closed(None)]


@pytest.mark.anyio
async def test_a_dial_of_a_torn_step_is_not_begun_by_tasks(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Mux that asked for it did not know of it yet, and never closed it."""
    no_spares = PoolLimits(min_idle=0)
    async with AsyncClient("xai", base_url=sim.url, api_key=KEY, pool=no_spares) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "touch", Interrupted(Connection.touch))
            with pytest.raises(KeyboardInterrupt):
                client.speak(TEXT)
        check(await client.speak(NEXT).read(), NEXT)
        assert sim.dials == client.pool_stats().dials


@pytest.mark.anyio
async def test_a_speech_that_nobody_got_is_ended_by_tasks(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt came when the speech had begun and `speak` had not returned it."""
    async with AsyncClient("xai", base_url=sim.url, api_key=KEY) as client:
        with monkeypatch.context() as patch:
            patch.setattr(AsyncSpeech, "__init__", Interrupted(AsyncSpeech.__init__))
            with pytest.raises(KeyboardInterrupt):
                client.speak()
        assert not client._engine.mux._pool.speeches


# --- threads --------------------------------------------------------------------------------------


@pytest.fixture
def client(sim: AsyncSimulator) -> Iterator[Client]:
    with Client("xai", base_url=sim.url, api_key=KEY, pool=PoolLimits(min_idle=0)) as opened:
        yield opened


def test_a_dial_of_a_torn_step_is_not_begun_by_threads(
    client: Client, sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Mux that asked for it did not know of it yet, and never closed it."""
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "touch", Interrupted(Connection.touch))
        with pytest.raises(KeyboardInterrupt):
            client.speak(TEXT)
    check(client.speak(NEXT).read(), NEXT)
    assert sim.dials == client.pool_stats().dials


def test_a_speech_that_nobody_got_is_ended_by_threads(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt came when the speech had begun and `speak` had not returned it."""
    with monkeypatch.context() as patch:
        patch.setattr(Speech, "__init__", Interrupted(Speech.__init__))
        with pytest.raises(KeyboardInterrupt):
            client.speak()
    assert not client._engine.mux._pool.speeches


def test_a_clock_whose_start_was_interrupted_is_joined(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran, nobody knew of it, and the next call started another."""
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Interrupted(threading.Thread.start, after=True))
        with pytest.raises(KeyboardInterrupt):
            client.speak(TEXT)
    check(client.speak(NEXT).read(), NEXT)
    clocks = [each.name for each in threading.enumerate() if each.name.endswith("-clock")]
    assert len(clocks) == 1
    client.close()
    assert not [each for each in threading.enumerate() if each.name in clocks]


def test_a_speech_can_be_read_on_after_an_interrupt(client: Client) -> None:
    """It said that another thread was reading, and that was the same one."""
    speech = client.speak(TEXT)
    # What is left by an interrupt behind it, before the `try` that gives it back.
    assert speech._reading.acquire(blocking=False)
    check(speech.read(), TEXT)


def test_a_reader_hears_of_a_speech_that_was_ending_when_its_step_was_torn(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool had forgotten it, and nobody woke its reader."""
    monkeypatch.setattr(CoreSpeech, "_leave", Interrupted(CoreSpeech._leave))
    assert isinstance(answer_to_a_torn_close(client), ttsmux.ClosedError)


def test_a_speech_that_was_failing_when_its_step_was_torn_says_why(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader gets an error of ours, not an AssertionError."""
    monkeypatch.setattr(CoreSpeech, "_step", Interrupted(CoreSpeech._step, after=True))
    assert isinstance(answer_to_a_torn_close(client), ttsmux.ClosedError)


def answer_to_a_torn_close(client: Client) -> bytes | BaseException:
    """Return what a reader gets while another thread is interrupted closing the client."""
    speech = client.speak()
    answers: list[bytes | BaseException] = []

    def read() -> None:
        try:
            answers.append(speech.read())
        except BaseException as exc:
            answers.append(exc)

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    until(lambda: speech._core.reader_waits)
    with pytest.raises(KeyboardInterrupt):
        client.close()
    reader.join(BOUND)
    return answers[0]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
