"""Connections that break on this side: the peer is not blamed, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import pytest

import ttsmux
from tests.scenarios.scripts import LONG
from tests.scenarios.stage import KEY
from tests.transports.peers import Peer, serve
from ttsmux import AsyncClient, Client, PoolLimits, RetryPolicy, Timeouts
from ttsmux.adapter import PING, connect_timeout
from ttsmux.client import _threads, _threads_wire
from ttsmux.core.mux import Mux
from ttsmux.simulate import AsyncSimulator
from ttsmux.transports._asyncio import AsyncioTransport
from ttsmux.transports._trio import TrioTransport
from ttsmux.transports.base import DialError, SendError, SendTimeout, Target
from ttsmux.transports.websocket_client import WebSocketClientTransport

PATIENCE = 20.0
ALONE = PoolLimits(min_idle=0)
ONCE = RetryPolicy(attempts=1)


def threaded(url: str, **settings: object) -> Client:
    alone: dict[str, Any] = {"pool": ALONE, "fallback": None, **settings}
    return Client("xai", base_url=url, api_key=KEY, **alone)


def client_of(url: str, **settings: object) -> AsyncClient:
    alone: dict[str, Any] = {"pool": ALONE, "fallback": None, **settings}
    return AsyncClient("xai", base_url=url, api_key=KEY, **alone)


# --- a dial that uses up its time -----------------------------------------------------------------


def test_a_dial_that_was_too_late_says_what_time_it_had() -> None:
    """All of it, and not what was left when the key was there."""

    def late(target: Target, left: float, given_up: Callable[[], bool]) -> NoReturn:
        assert 0.0 < left < 30.0
        raise DialError(connect_timeout(left))

    with threaded("ws://127.0.0.1:1", retry=ONCE, timeouts=Timeouts(dial=30.0)) as client:
        client._engine.dialler.connect = late  # type: ignore[method-assign]
        with pytest.raises(ttsmux.ConnectTimeout, match=r"^xai: no connection within 30 s$"):
            client.speak("hello").read()


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

    async def read(transport: Any, *more: Any) -> None:
        if errors:
            raise errors.pop()
        await real(transport, *more)

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


def test_a_question_that_gets_no_thread(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no answer to it; to the next one there is."""
    with threaded(sim.url) as client:
        with monkeypatch.context() as patch:
            refusing(patch, "-asker")
            with pytest.raises(ttsmux.ConnectError, match="RuntimeError") as caught:
                client.voices()
        assert (caught.value.provider, caught.value.phase) == ("xai", "dial")
        assert sim.dials == 0 and not client._engine.askers
        assert client.voices()


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


DEADLINES = Timeouts(close=PATIENCE)


class Handler(logging.Handler):
    """Hears of speeches that fail, and does with each what it was told to."""

    def __init__(self, *does: Callable[[], object]) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[object] = []
        self._does = list(does)

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "speech.failed":
            self.heard.append(vars(record)["speech"])
            if self._does:
                self._does.pop(0)()

    def __enter__(self) -> Handler:
        logging.getLogger("ttsmux").addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("ttsmux").removeHandler(self)


def test_a_slow_handler_of_logs_holds_up_no_dial_and_no_deadline(sim: AsyncSimulator) -> None:
    """What the clock finds is told by somebody else; in order, and by the end of `close`."""
    begun, go = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def dawdle() -> None:
        begun.set()
        in_time.append(go.wait(PATIENCE))

    with Handler(dawdle) as handler, threaded(sim.url, timeouts=DEADLINES) as client:
        with pytest.raises(ttsmux.DeadlineExceeded):
            client.speak(deadline=0.05).read()
        assert begun.wait(PATIENCE)
        assert client.speak("hello").read()
        assert client.speak("hello", voice="ara").read(), "which needs a dial of its own"
        with pytest.raises(ttsmux.DeadlineExceeded):
            client.speak(deadline=0.05).read()
        assert handler.heard == [1]
        go.set()
        client.close()
        assert handler.heard == [1, 4]
    assert in_time == [True]


@pytest.mark.parametrize("error", [ValueError("clumsy"), SystemExit()])
def test_a_handler_of_logs_that_raises_is_told_the_next_time(
    sim: AsyncSimulator, error: BaseException
) -> None:
    """Whatever it raises, the clock goes on, and so does who tells."""

    def fail() -> None:
        raise error

    with Handler(fail) as handler:
        with threaded(sim.url, timeouts=DEADLINES) as client:
            for _ in range(2):
                with pytest.raises(ttsmux.DeadlineExceeded):
                    client.speak(deadline=0.05).read()
        assert handler.heard == [1, 2]


class Full(Handler):
    """Cannot write anything down, not even that it could not."""

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
        raise OSError("no room")


def test_a_handler_of_logs_that_always_raises_ends_nothing() -> None:
    """Its fault is told to it, too; the speeches, and those who serve them, do not suffer."""
    with (
        Full() as handler,
        AsyncSimulator("xai", faults=["refuse@connect:1"]) as sim,
        threaded(sim.url, timeouts=DEADLINES) as client,
    ):
        for _ in range(2):
            assert client.speak("hello").read()
            with pytest.raises(ttsmux.DeadlineExceeded):
                client.speak(deadline=0.05).read()
        client.close()
    assert handler.heard.count("dial.failed") == 1
    assert handler.heard.count("speech.failed") == 2
    assert handler.heard.count("client.fault") == 3


@pytest.mark.anyio
async def test_a_handler_of_logs_that_always_raises_ends_nothing_in_tasks() -> None:
    with Full() as handler:
        async with (
            AsyncSimulator("xai", faults=["refuse@connect:1"]) as sim,
            client_of(sim.url, timeouts=DEADLINES) as client,
        ):
            for _ in range(2):
                assert await client.speak("hello").read()
                with pytest.raises(ttsmux.DeadlineExceeded):
                    await client.speak(deadline=0.05).read()
    assert handler.heard.count("dial.failed") == 1
    assert handler.heard.count("speech.failed") == 2
    assert handler.heard.count("client.fault") == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_ends_under_such_a_handler_takes_everything_along(
    sim: AsyncSimulator, backend: str
) -> None:
    """What it says of the speeches that it ends is the last that anybody hears of them."""
    client = client_of(sim.url)
    kept: list[ttsmux.AsyncSpeech] = []

    async def main() -> None:
        kept.append(client.speak())
        assert await client.speak("hello").read()

    async def closing() -> None:
        await client.aclose()

    with Full() as handler:
        anyio.run(main, backend=backend)
        assert repr(client) == "<AsyncClient xai cut off>"
        assert client._engine._over is not None and client._engine._over.is_set()
        anyio.run(closing, backend=backend)
    assert handler.heard == ["speech.failed", "client.fault"]


def test_what_the_clock_finds_is_told_where_there_is_no_thread(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock itself."""
    refusing(monkeypatch, "-teller")
    with Handler() as handler:
        with threaded(sim.url) as client:
            for _ in range(2):
                with pytest.raises(ttsmux.DeadlineExceeded):
                    client.speak(deadline=0.05).read()
        assert handler.heard == [1, 2]


def test_the_clock_looks_at_a_deadline_once(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread, or another client of the key, may move it between two looks."""
    client = threaded(sim.url)
    engine, looks = client._engine, [None, -math.inf]

    def deadline(mux: Mux) -> float | None:
        assert engine.lock._is_owned()  # type: ignore[attr-defined]
        return looks.pop(0)

    engine.ring()
    with monkeypatch.context() as patch:
        patch.setattr(Mux, "deadline", property(deadline))
        assert engine._turn()
    assert not looks, "after the tick"
    client.close()


def test_closing_while_a_step_is_torn_leaves_no_client_open(sim: AsyncSimulator) -> None:
    """The Mux that is made in place of the torn one is closed too, or is not made."""
    client = threaded(sim.url)
    engine = client._engine
    torn = engine.mux

    def tear() -> None:
        raise KeyboardInterrupt

    class Tearing:
        """A configuration; another thread's step is torn as `close` looks at it."""

        @property
        def settings(self) -> object:
            engine.configuration = real
            with pytest.raises(KeyboardInterrupt):
                engine.step(torn, tear)
            return real.settings

    real: Any = engine.configuration
    engine.configuration = Tearing()  # type: ignore[assignment]
    client.close()
    with pytest.raises(ttsmux.ClosedError):
        client.speak("No.")


def _numbers(caplog: pytest.LogCaptureFixture, event: str, field: str) -> list[int]:
    return [vars(one)[field] for one in caplog.records if one.getMessage() == event]


def _tear() -> None:
    raise KeyboardInterrupt


def test_numbers_go_on_after_a_step_was_torn(
    sim: AsyncSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    """No two speeches and no two connections of a client are called the same in its log."""
    caplog.set_level(logging.DEBUG, "ttsmux")
    with threaded(sim.url) as client:
        assert client.speak("hello").read()
        with pytest.raises(KeyboardInterrupt):
            client._engine.step(client._engine.mux, _tear)
        assert client.speak("and on").read()
    opened = _numbers(caplog, "connection.opened", "connection")
    assert len({*opened}) == len(opened) > 1
    assert _numbers(caplog, "speech.completed", "speech") == [1, 2]


@pytest.mark.anyio
async def test_numbers_go_on_after_a_step_was_torn_in_tasks(
    sim: AsyncSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ttsmux")
    async with client_of(sim.url) as client:
        assert await client.speak("hello").read()
        with pytest.raises(KeyboardInterrupt):
            client._engine.step(client._engine.mux, _tear)
        assert await client.speak("and on").read()
    opened = _numbers(caplog, "connection.opened", "connection")
    assert len({*opened}) == len(opened) > 1
    assert _numbers(caplog, "speech.completed", "speech") == [1, 2]


@pytest.mark.anyio
async def test_the_clock_of_tasks_hears_nothing_of_a_torn_mux(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is still told to it wakes nobody, and puts no deadline in front of the new one's."""

    def tear() -> None:
        raise KeyboardInterrupt

    async with client_of(sim.url) as client:
        engine = client._engine
        torn = engine.mux
        with pytest.raises(KeyboardInterrupt):
            engine.step(torn, tear)
        assert engine.mux is not torn
        with monkeypatch.context() as patch:
            looks = property(lambda mux: -1000.0 if mux is torn else None)
            patch.setattr(Mux, "deadline", looks)
            engine._armed = None
            engine.step(torn, lambda: None)
            assert engine._armed is None


# --- what goes first ------------------------------------------------------------------------------


class Watched:
    """What a loop's connections send at once, in order; some of it fails first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[object] = []
        self.errors: list[BaseException] = []
        real = AsyncioTransport.send_now

        def send_now(transport: AsyncioTransport, frames: Any) -> bool:
            self.transport = transport
            if self.errors and frames:
                raise self.errors.pop(0)
            self.sent += frames
            return real(transport, frames)

        monkeypatch.setattr(AsyncioTransport, "send_now", send_now)


async def warm(url: str, watched: Watched, **settings: object) -> AsyncClient:
    """Return a client whose writer has nothing to do."""
    client = client_of(url, **settings)
    await client.prewarm()
    wire: Any = client._engine.mux._pool.connections[0].handle
    while wire._prompt is None:
        await anyio.lowlevel.checkpoint()
    watched.transport = wire._prompt
    watched.sent.clear()
    return client


def test_text_is_on_its_way_when_speak_returns(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else the loop has to do, such as hanging up and dialling, comes after it."""
    watched = Watched(monkeypatch)

    async def main() -> None:
        async with await warm(sim.url, watched) as client:
            speech = client.speak("hello")
            assert [str(frame)[9:19] for frame in watched.sent] == ["text.delta", 'text.done"']
            assert await speech.read()

    asyncio.run(main())


def test_text_does_not_overtake_what_waits_to_be_sent(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)

    async def main() -> None:
        async with await warm(sim.url, watched) as client:
            wire: Any = client._engine.mux._pool.connections[0].handle
            wire.reply([PING])
            speech = client.speak("hello")
            assert not watched.sent
            assert await speech.read()
            assert watched.sent[0] is PING and len(watched.sent) == 3

    asyncio.run(main())


def test_a_peer_that_takes_nothing_is_said_to_where_all_was_sent_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The writer waits for room, although there was nothing left for it to send."""
    deaf, watched = Deaf(), Watched(monkeypatch)

    async def main(url: str) -> None:
        async with await warm(url, watched, timeouts=SLOW, retry=ONCE) as client:
            speech = client.speak(MUCH)
            assert watched.sent
            with anyio.fail_after(PATIENCE):
                with pytest.raises(ttsmux.ConnectionLost, match=r"took nothing for 0\.2 s"):
                    await speech.read()

    with serve(deaf) as server:
        try:
            asyncio.run(main(server.url("")))
        finally:
            deaf.go.set()


def test_a_send_that_fails_at_once_is_the_writers_to_find_out(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller of `speak` hears nothing of it: the speech begins again elsewhere."""
    watched = Watched(monkeypatch)

    async def main() -> None:
        async with await warm(sim.url, watched) as client:
            watched.errors += [SendError("gone"), SendError("gone")]
            first = watched.transport
            assert await client.speak("hello").read()
            assert not watched.errors and watched.transport is not first

    asyncio.run(main())


def test_a_send_that_is_torn_spoils_its_wire_alone(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what of it was sent."""
    watched = Watched(monkeypatch)

    async def main() -> None:
        async with await warm(sim.url, watched) as client:
            watched.errors.append(KeyboardInterrupt())
            torn = watched.transport
            with pytest.raises(KeyboardInterrupt):
                client.speak("hello")
            assert torn._doomed
            assert await client.speak("hello").read()
            assert watched.transport is not torn

    asyncio.run(main())


class Courteous:
    """The time, as a module has it, that keeps who gave way, and before which dials that was."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.seen: list[str] = []

    def sleep(self, seconds: float) -> None:
        assert seconds == _threads_wire.GIVE_WAY
        self.seen.append("gives way")


def test_a_dial_gives_way_to_what_is_said_beside_it(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spare's does; whoever waits for a dial has nothing to give way to."""
    here = Courteous()
    monkeypatch.setattr(_threads, "time", here)
    with threaded(sim.url, pool=PoolLimits(min_idle=1)) as client:
        connect = client._engine.dialler.connect
        up = threading.Event()

        def dial(*args: Any) -> Any:
            here.seen.append("dial")
            found = connect(*args)
            up.set()
            return found

        client._engine.dialler.connect = dial  # type: ignore[method-assign]
        first = client.speak("hello")
        assert first.read()
        assert "gives way" not in here.seen
        client.prewarm()
        here.seen.clear()
        up.clear()
        speeches = [client.speak("hello") for _ in range(client.pool_stats().idle)]
        assert up.wait(PATIENCE)
        assert here.seen[:2] == ["gives way", "dial"]
        assert all(speech.read() for speech in speeches)


def test_a_farewell_gives_way(sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hung up is not needed any more; the next speech may be just behind it."""
    here = Courteous()
    with threaded(sim.url) as client:
        assert client.speak("hello").read()
        monkeypatch.setattr(_threads_wire, "time", here)
        assert client.speak("hello").read()
        assert not here.seen
    assert here.seen == ["gives way"]
