"""Connections that break on this side: the peer is not blamed, and nobody is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import ttsmux
from tests.scenarios.scripts import LONG
from tests.scenarios.stage import KEY
from tests.transports.peers import Peer, serve
from ttsmux import AsyncClient, Client, PoolLimits, RetryPolicy, Timeouts
from ttsmux.client import _threads
from ttsmux.simulate import AsyncSimulator
from ttsmux.transports._asyncio import AsyncioTransport
from ttsmux.transports._trio import TrioTransport
from ttsmux.transports.base import SendTimeout
from ttsmux.transports.websocket_client import WebSocketClientTransport

PATIENCE = 20.0
ALONE = PoolLimits(min_idle=0)
ONCE = RetryPolicy(attempts=1)


def threaded(url: str, **settings: object) -> Client:
    return Client("xai", base_url=url, api_key=KEY, pool=ALONE, **settings)  # type: ignore[arg-type]


def client_of(url: str, **settings: object) -> AsyncClient:
    return AsyncClient("xai", base_url=url, api_key=KEY, pool=ALONE, **settings)  # type: ignore[arg-type]


# --- a peer that takes nothing --------------------------------------------------------------------

MUCH = "word " * 2_000_000
SLOW = Timeouts(send=0.2, first_audio=60.0)


class Deaf:
    """Takes the first message, and then nothing."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, peer: Peer) -> None:
        self.go.wait(PATIENCE)


def test_a_peer_that_takes_nothing_is_said_to() -> None:
    """Not that the connection ended with no close frame: it was us who cut it."""
    deaf = Deaf()
    with serve(deaf) as server:
        try:
            with threaded(server.url(""), timeouts=SLOW, retry=ONCE) as client:
                with pytest.raises(ttsmux.ConnectionLost, match=r"took nothing for 0\.2 s") as told:
                    client.speak(MUCH).read()
                assert told.value.retryable
                assert told.value.code is None
        finally:
            deaf.go.set()


@pytest.mark.anyio
async def test_a_peer_that_takes_nothing_is_said_to_by_tasks() -> None:
    deaf = Deaf()
    with serve(deaf) as server:
        try:
            async with client_of(server.url(""), timeouts=SLOW, retry=ONCE) as client:
                with anyio.fail_after(PATIENCE):
                    with pytest.raises(ttsmux.ConnectionLost, match=r"took nothing for 0\.2 s"):
                        await client.speak(MUCH).read()
        finally:
            deaf.go.set()


def test_a_close_frame_says_more_than_a_send_that_failed() -> None:
    from ttsmux.adapter import Closed
    from ttsmux.client._shared import told

    late = SendTimeout("far.example:443", 10.0)
    assert told(Closed(1008, "policy"), late) == Closed(1008, "policy")
    assert told(Closed(None), None) == Closed(None)
    assert "far.example:443 took nothing for 10 s" in str(told(Closed(None), late))


# --- a reader that raises -------------------------------------------------------------------------


class Raises:
    """A method that raises the first time, after some of its work."""

    def __init__(self, real: Callable[..., Any], error: BaseException) -> None:
        self._real = real
        self._errors = [error]

    def __get__(self, owner: object, kind: type) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if self._errors:
                raise self._errors.pop()
            return self._real(owner, *args)

        return call


@pytest.mark.parametrize("error", [ValueError("clumsy"), SystemExit(), MemoryError()])
def test_a_reader_that_raises_loses_its_connection_alone(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    read = Raises(WebSocketClientTransport.read, error)
    monkeypatch.setattr(WebSocketClientTransport, "read", read)
    with threaded(sim.url, retry=ONCE) as client:
        kind = type(error).__name__
        with pytest.raises(ttsmux.ConnectionLost, match=rf"within ttsmux \({kind}\)"):
            client.speak(LONG).read()
        assert client.speak("and on").read()
        assert client.pool_stats().dials == 2


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ValueError("clumsy"), MemoryError()])
async def test_a_reader_that_raises_loses_its_connection_alone_in_tasks(
    sim: AsyncSimulator,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    anyio_backend_name: str,
) -> None:
    kind = TrioTransport if anyio_backend_name == "trio" else AsyncioTransport
    real = kind.read
    errors = [error]

    async def read(transport: Any, sink: Any) -> None:
        if errors:
            raise errors.pop()
        await real(transport, sink)

    monkeypatch.setattr(kind, "read", read)
    async with client_of(sim.url, retry=ONCE) as client:
        name = type(error).__name__
        with anyio.fail_after(PATIENCE):
            with pytest.raises(ttsmux.ConnectionLost, match=rf"within ttsmux \({name}\)"):
                await client.speak(LONG).read()
            assert await client.speak("and on").read()
        assert client.pool_stats().dials == 2


# --- threads that are not to be had ---------------------------------------------------------------


def refusing(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if part in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.parametrize("part", ["-wire-", "-reader-"])
def test_a_connection_that_gets_no_thread(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Its dial fails, before anything is dialled; the next one is fine."""
    with threaded(sim.url) as client:
        with monkeypatch.context() as patch:
            refusing(patch, part)
            with pytest.raises(ttsmux.ConnectError, match="RuntimeError"):
                client.speak("hello").read()
        assert sim.dials == 0
        assert client.speak("hello").read()
        assert client.pool_stats().size == 1


def test_a_feeder_that_gets_no_thread(sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`speak` raises, and no speech is left that nobody could end."""
    with threaded(sim.url) as client:
        with monkeypatch.context() as patch:
            refusing(patch, "-feeder-")
            with pytest.raises(RuntimeError, match="new thread"):
                client.speak(iter(["hello"]))
        assert not client._engine.mux._pool.speeches
        assert client.speak(iter(["hello"])).read()


def test_a_clock_that_gets_no_thread(sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call starts it."""
    with threaded(sim.url) as client:
        with monkeypatch.context() as patch:
            refusing(patch, "-clock")
            with pytest.raises(RuntimeError, match="new thread"):
                client.speak("hello")
        assert client.speak("hello").read()
        clocks = [t for t in threading.enumerate() if t.name.endswith("-clock")]
        assert len(clocks) == 1


# --- the clock ------------------------------------------------------------------------------------


def test_the_clock_survives_a_fault(sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else keeps the deadlines."""
    monkeypatch.setattr(_threads, "_PAUSE", 0.001)
    turn, faults = _threads.Engine._turn, [ValueError("clumsy"), MemoryError()]

    def turning(engine: _threads.Engine) -> bool:
        if faults:
            raise faults.pop()
        return turn(engine)

    monkeypatch.setattr(_threads.Engine, "_turn", turning)
    sim.inject("stall@request:1,chunk:1")
    # What is to be missed once, the next speech has to keep, however busy the machine.
    with threaded(sim.url, retry=ONCE, timeouts=Timeouts(gap=2.0)) as client:
        with pytest.raises(ttsmux.StallTimeout):
            client.speak(LONG).read()
        assert not faults
        assert client.speak("and on").read()


@pytest.mark.anyio
async def test_the_clock_of_tasks_survives_an_input_that_fails(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The speech that it was about is failed, and the next one has its deadlines."""
    from ttsmux.core.mux import Mux

    tick, faults = Mux.tick, [ValueError("clumsy")]

    def ticking(mux: Mux, now: float) -> None:
        if faults:
            raise faults.pop()
        tick(mux, now)

    monkeypatch.setattr(Mux, "tick", ticking)
    sim.inject("stall@request:1,chunk:1")
    sim.inject("stall@request:2,chunk:1")
    async with client_of(sim.url, retry=ONCE, timeouts=Timeouts(gap=0.1)) as client:
        with anyio.fail_after(PATIENCE):
            with pytest.raises(ttsmux.ClosedError):
                await client.speak(LONG).read()
            with pytest.raises(ttsmux.StallTimeout):
                await client.speak(LONG).read()


def test_no_caller_waits_for_a_thread_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption that leads to a dial would pay for it: milliseconds beside a busy reader."""
    began: list[str] = []
    start = _threads.Wire.start

    def noting(wire: _threads.Wire) -> None:
        began.append(threading.current_thread().name)
        start(wire)

    monkeypatch.setattr(_threads.Wire, "start", noting)
    # What was received to its end would leave the connection to the next one.
    hangs = [f"stall@request:{n},chunk:1" for n in (1, 2)]
    with (
        AsyncSimulator("xai", faults=hangs) as sim,
        threaded(sim.url, interrupt="discard") as client,
    ):
        for _ in range(2):
            speech = client.speak(LONG)
            next(speech)
            speech.interrupt()
    assert len(began) == 2
    assert all(name.endswith("-clock") for name in began), began


def test_a_dial_that_was_given_up_before_it_began_asks_for_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its thread would be started for nothing, and the user's code called."""
    asked: list[str] = []

    def key() -> str:
        asked.append(threading.current_thread().name)
        return KEY

    dial, me = _threads.Engine._dial, threading.current_thread()

    def late(engine: _threads.Engine) -> None:
        if threading.current_thread() is me:  # who closes it: its clock is asleep
            dial(engine)

    monkeypatch.setattr(_threads.Engine, "_dial", late)
    client = Client("xai", base_url="ws://127.0.0.1:9", api_key=key, pool=ALONE)
    speech = client.speak("never")
    client.close()
    assert client.pool_stats().size == 0
    assert speech.outcome is ttsmux.Outcome.FAILED
    assert not asked
