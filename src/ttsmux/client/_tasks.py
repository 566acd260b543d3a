"""
The machinery of the async client: one clock, a writer and a reader for each connection, no lock.

`Engine.step` runs an input of the Mux and hands its effects over without an await. Nothing here
decides. Its tasks live in a supervisor of their own, so that a client may be opened in one task and
closed in another. The threaded twin is `_threads`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import io
import os
import random
import sys
import threading
import weakref
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from ..adapter import Closed, DialFailure, Frame, Ping, connect_timeout
from ..core.connection import Connection
from ..core.effects import Dial, Effect, Event, HangUp, Report, Send, Wake
from ..core.lane import Ticket
from ..core.mux import Mux
from ..core.speech import Speech
from ..errors import (
    AuthError,
    ClosedError,
    ConnectError,
    ConnectionLost,
    Error,
    ForkedProcess,
    WrongThread,
)
from ..settings import Secret
from ..transports.base import AsyncTransport, DialError, Pong, SendError
from ..transports.websockets import connect
from . import events
from .options import Configuration

if TYPE_CHECKING:
    import trio

_P = ParamSpec("_P")
_S = TypeVar("_S")
_T = TypeVar("_T")

_Reply = Sequence[Frame | Ping | Pong]
_NO_MORE = object()
_CLOSE_MARGIN = 2.0
"""Seconds beyond the closing handshake that `aclose` gives tasks to leave."""


class Bell:
    """
    Something to wait for, rung at most once ahead. For one waiter at a time.

    On asyncio a bare future: an event of anyio costs 8 to 10 µs more for every chunk of audio.
    """

    __slots__ = ("_future", "_loop", "_rung")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._rung = False
        self._future: asyncio.Future[None] | anyio.Event | None = None

    def ring(self) -> None:
        self._rung = True
        waiting, self._future = self._future, None
        if isinstance(waiting, asyncio.Future):
            if not waiting.done():
                waiting.set_result(None)
        elif waiting is not None:
            waiting.set()

    async def wait(self) -> None:
        """Wait until it is rung. Cancelling loses no ring."""
        if not self._rung:
            if self._loop is not None:
                self._future = self._loop.create_future()
                await self._future
            else:
                self._future = event = anyio.Event()
                await event.wait()
        self._rung = False


class Waiter:
    """Who waits behind a speech: its reader and its feeder. The core wakes both; each looks."""

    __slots__ = ("__weakref__", "feeder", "reader")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.reader = Bell(loop)
        self.feeder = Bell(loop)

    def ring(self) -> None:
        self.reader.ring()
        self.feeder.ring()


class Engine:
    """One client's Mux and the tasks that serve it. Bound to an event loop by its first use."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.mux = self._new_mux()
        self.closed = False
        self.waiters: weakref.WeakSet[Waiter] = weakref.WeakSet()
        """Of all speeches, for when a Mux is given up."""
        self.dropped: deque[tuple[Mux, Speech]] = deque()
        """Speeches that were garbage-collected; the clock interrupts them."""
        self.orphaned = False
        """Whether the client itself was; the supervisor closes everything."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = _unbound
        self._trio: trio.lowlevel.TrioToken | None = None
        self._thread: int | None = None
        self._waiting: deque[
            tuple[contextvars.Context, Callable[[], Coroutine[object, object, None]]]
        ] = deque()
        self._bell = Bell(None)
        self._armed: float | None = None
        self._over: anyio.Event | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._wound_up = False
        self._pid = os.getpid()

    def _new_mux(self) -> Mux:
        configuration = self.configuration
        return Mux(configuration.routes, configuration.settings, random.Random())

    # --- the loop ---------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether there are tasks."""
        return self._over is not None

    def bind(self) -> None:
        """
        Belong to the running event loop, and start the supervisor in it.

        Raises:
            WrongThread: there is no running loop, or the client belongs to another.
            ForkedProcess: it was made in another process.
            ClosedError: it is closed, or its tasks were cancelled.
        """
        self.check()
        if self.closed and (self._over is None or self._over.is_set()):
            msg = "the client is closed"
            raise ClosedError(msg, phase="close")
        loop, token = _running()
        if loop is None and token is None:
            msg = "an AsyncClient is used inside a running event loop; use Client for threads"
            raise WrongThread(msg, phase="config")
        if self._thread is None:
            self.loop, self._trio, self._thread = loop, token, threading.get_ident()
            self.now = loop.time if loop is not None else _trio_time()
            self._bell = Bell(loop)
            self._over = anyio.Event()
            self._start(loop)
        elif loop is not self.loop or token is not self._trio:
            msg = "this client belongs to another event loop; make one for each loop"
            raise WrongThread(msg, phase="config")

    def _start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is not None:
            self._supervisor = loop.create_task(self._supervise(), name="ttsmux")
        else:
            import trio

            trio.lowlevel.spawn_system_task(self._supervise, name="ttsmux")

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that made the client."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise `ForkedProcess` in a child of the process that made the client."""
        if self.forked:
            msg = "this client was made before fork(); make a new one in the child process"
            raise ForkedProcess(msg, phase="config")

    def check_thread(self) -> None:
        """Raise `WrongThread` where a plain call would race with the client's loop."""
        if threading.get_ident() != self._thread:
            msg = (
                "this call belongs into the client's event loop; from another thread use "
                "client.from_thread(speech.interrupt)"
            )
            raise WrongThread(msg, phase="speak")

    def from_thread(self, call: Callable[[], _T]) -> _T:
        """Run *call* in the client's loop and return what it returns."""
        if self._thread is None:
            msg = "the client has not been used in an event loop yet"
            raise WrongThread(msg, phase="speak")
        if threading.get_ident() == self._thread:
            msg = "this is the client's own thread: call it directly"
            raise WrongThread(msg, phase="speak")
        if self._trio is not None:
            import trio

            return trio.from_thread.run_sync(call, trio_token=self._trio)
        loop = self.loop
        assert loop is not None, "bound to one of the two"

        async def run() -> _T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), loop).result()

    # --- inputs -----------------------------------------------------------------------------------

    def step(self, mux: Mux, input: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """
        Run *input* of *mux* and hand its effects over.

        An exception that is neither ours nor the speech's own has torn the Mux in the middle of a
        step, a KeyboardInterrupt above all: everything it holds is given up, and a new one made.
        """
        self.check()
        found: list[Event] = []
        try:
            try:
                result = input(*args, **kwargs)
            except BaseException as exc:
                # What a torn step asked for is not begun: the Mux may not know of it.
                if not _tears(exc, args):
                    self._perform(mux, found)
                raise
            self._perform(mux, found)
            return result
        except BaseException as exc:
            if _tears(exc, args):
                self._abandon(mux, exc, found)
            raise
        finally:
            if found:
                events.log(found)

    def _perform(self, mux: Mux, found: list[Event]) -> None:
        if mux.pending:
            self._hand_over(mux, found)
        due = mux.deadline
        if due is not None and (self._armed is None or due < self._armed):
            self._armed = due
            self._bell.ring()

    def _hand_over(self, mux: Mux, found: list[Event]) -> None:
        effects = mux.effects()
        try:
            for effect in effects:
                match effect:
                    case Send(conn=conn):
                        _wire(conn).put(effect)
                    case Wake(handle=handle):
                        assert isinstance(handle, Bell | Waiter), "the shell sets the handles"
                        handle.ring()
                    case Dial(conn=conn):
                        conn.handle = wire = Wire(self, mux, effect)
                        self.start(wire.run)
                    case HangUp(conn=conn):
                        _wire(conn).put(effect)
                    case Report(event=event):
                        found.append(event)
        except BaseException:
            # The Mux will be given up, but a speech that is over already is told by nobody else.
            _salvage(effects, found)
            raise

    def _abandon(self, mux: Mux, exc: BaseException, found: list[Event]) -> None:
        mux.abandon(exc)
        _salvage(mux.effects(), found)
        # Effects may have been lost on the way here, and a speech that is over is not failed again.
        for waiter in self.waiters:
            waiter.ring()
        if mux is self.mux and not self.closed:
            self.mux = self._new_mux()

    # --- tasks ------------------------------------------------------------------------------------

    def start(self, run: Callable[[], Coroutine[object, object, None]]) -> None:
        """
        Have the supervisor start a task, with the caller's context.

        Not from here: an effect may be handed over in a callback of the loop, where there is no
        task that anyio could start another one from.
        """
        self._waiting.append((contextvars.copy_context(), run))
        self._bell.ring()

    def _start_waiting(self, tasks: anyio.abc.TaskGroup) -> None:
        while self._waiting:
            context, run = self._waiting.popleft()
            context.run(functools.partial(tasks.start_soon, self._guard, run))

    async def _guard(self, run: Callable[[], Coroutine[object, object, None]]) -> None:
        """Let nothing out of one task that would end the others."""
        try:
            await run()
        except BaseException as exc:
            if self.stopping(exc) or isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
            events.log([Event("client.fault", {"error": type(exc).__name__})])

    def stopping(self, exc: BaseException) -> bool:
        """
        Return whether *exc* is the supervisor ending the task that it came up in.

        On asyncio anybody's code may raise a CancelledError, or cancel any task.
        """
        if not isinstance(exc, anyio.get_cancelled_exc_class()):
            return False
        return self._trio is not None or (self._scope is not None and self._scope.cancel_called)

    async def _supervise(self) -> None:
        """Hold all tasks of the client. Whatever ends it, nobody is left waiting."""
        assert self._over is not None, "made together"
        cut: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                self._scope = tasks.cancel_scope
                await self._keep_time(tasks)
                await self._wind_up(tasks)
                tasks.cancel_scope.cancel()
        except Exception as exc:
            cut = exc
            events.log([Event("client.fault", {"error": type(exc).__name__})])
        except BaseException as exc:
            cut = exc
            raise
        finally:
            self.closed = True
            if cut is not None or not self._wound_up:
                self._give_up(cut or asyncio.CancelledError())
            self._over.set()

    def _give_up(self, exc: BaseException) -> None:
        """Fail all that still waits: there are no tasks any more."""
        found: list[Event] = []
        try:
            self._waiting.clear()
            self._abandon(self.mux, exc, found)
        finally:
            events.log(found)

    async def _keep_time(self, tasks: anyio.abc.TaskGroup) -> None:
        """The clock, and the only place that starts tasks."""
        while not (self.closed or self.orphaned):
            self._start_waiting(tasks)
            self._armed = due = self.mux.deadline
            with anyio.move_on_after(None if due is None else max(0.0, due - self.now())):
                await self._bell.wait()
            while self.dropped:
                owner, speech = self.dropped.popleft()
                self._quietly(owner, functools.partial(owner.interrupt, speech, self.now()))
            mux = self.mux
            if mux.deadline is not None and mux.deadline <= self.now():
                self._quietly(mux, functools.partial(mux.tick, self.now()))

    def _quietly(self, mux: Mux, input: Callable[[], object]) -> None:
        """Run an input that nobody waits for; whatever it raises has reached those it concerns."""
        try:
            self.step(mux, input)
        except Exception as exc:
            events.log([Event("client.fault", {"error": type(exc).__name__})])

    def ring(self) -> None:
        """Have the clock look at `dropped`. From any thread: a collector runs where it likes."""
        try:
            if self._trio is not None:
                self._trio.run_sync_soon(self._bell.ring)
            elif self.loop is not None:
                self.loop.call_soon_threadsafe(self._bell.ring)
        except RuntimeError:
            pass  # the loop is gone, and everything with it

    # --- ends -------------------------------------------------------------------------------------

    async def wait(self, mux: Mux, ticket: Ticket, seconds: float) -> bool:
        """Wait for *ticket*, at most *seconds*; raise what went wrong with it."""
        bell = Bell(self.loop)
        ticket.handle = bell
        with anyio.move_on_after(seconds):
            while self.step(mux, mux.read, ticket, self.now()) is None:
                await bell.wait()
            return True
        return False

    async def _wind_up(self, tasks: anyio.abc.TaskGroup) -> None:
        """Close the Mux, and wait within limits for its connections; feeders are cancelled then."""
        mux = self.mux
        ticket = self.step(mux, mux.close, self.now())
        # A dial that was just asked for is owed its answer, and a source that was just handed over
        # its end.
        self._start_waiting(tasks)
        grace = self.configuration.settings.timeouts.close
        await self.wait(mux, ticket, grace + _CLOSE_MARGIN)
        self._wound_up = True

    async def close(self) -> None:
        """Have the supervisor close everything, and wait until it has."""
        if self.forked:
            return
        self.closed = True
        if self._over is None or self._over.is_set():
            return
        self.bind()
        self._bell.ring()
        limit = self.configuration.settings.timeouts.close + 2 * _CLOSE_MARGIN
        # A cancelled caller waits all the same, for a bounded time: what it holds must be let go.
        with anyio.move_on_after(limit, shield=True):
            await self._over.wait()


class Wire:
    """The writer and the reader of one connection, and its `Sink`."""

    def __init__(self, engine: Engine, mux: Mux, dial: Dial) -> None:
        self._engine = engine
        self._mux = mux
        self._dial = dial
        self._conn = dial.conn
        self._orders: deque[Send | HangUp | _Reply | None] = deque()
        self._bell = Bell(engine.loop)
        self._dialling: anyio.CancelScope | None = None  # made in the task: a Dial may come from a
        self._given_up = False  # callback of the loop, where anyio knows of no event loop
        self._over = False

    def put(self, order: Send | HangUp) -> None:
        if isinstance(order, HangUp):
            self._given_up = True
            if self._dialling is not None:
                self._dialling.cancel()
        self._orders.append(order)
        self._bell.ring()

    # -- the writer: dials, then is the only one that sends

    async def run(self) -> None:
        try:
            found = await self._connect()
        except BaseException as exc:
            # An adapter's or a key's own fault; it is this dial's alone.
            if self._engine.stopping(exc):
                raise
            found = DialFailure(error=_undialled(exc))
        if isinstance(found, DialFailure):
            self._tell(self._mux.dial_failed, self._conn, found, self._engine.now())
            return
        transport, first_frames = found
        try:
            self._tell(self._mux.dialled, self._conn, self._engine.now())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transport.read, self)
                await self._write(transport, first_frames)
            self._broke("its task was cancelled")
        except BaseException as exc:
            if self._engine.stopping(exc):
                raise
            # Not the peer's doing, for a transport reports that; the others must not suffer.
            events.log([Event("client.fault", {"error": type(exc).__name__})])
            self._broke(type(_only(exc)).__name__)
            if isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
        finally:
            transport.abort()

    def _broke(self, why: str) -> None:
        if not self._over:
            self.lost(ConnectionLost(f"the connection broke within ttsmux ({why})"))

    async def _connect(self) -> tuple[AsyncTransport, Sequence[Frame]] | DialFailure:
        with anyio.CancelScope() as self._dialling:
            if self._given_up:
                self._dialling.cancel()
            try:
                with anyio.fail_after(self._dial.timeout):
                    return await self._open()
            except DialError as exc:
                return exc.failure
            except Error as exc:
                # Without the frames that it came through: the key is in their variables.
                return DialFailure(error=exc.with_traceback(None))
            except TimeoutError:
                return connect_timeout(self._dial.timeout)
        return DialFailure(error=ConnectError("given up while dialling", phase="dial"))

    async def _open(self) -> tuple[AsyncTransport, Sequence[Frame]]:
        configuration, plan = self._engine.configuration, self._conn.plan
        secret = await _secret(configuration.keys[plan.number])
        handshake = self._conn.handshake(secret)
        target = configuration.target(handshake, plan.traits.max_message)
        transport, _ = await connect(target, self._dial.timeout)
        return transport, handshake.first_frames

    async def _write(self, transport: AsyncTransport, first_frames: Sequence[Frame]) -> None:
        if first_frames:
            await self._send(transport, first_frames)
        while True:
            while not self._orders:
                await self._bell.wait()
            order = self._orders.popleft()
            if order is None:
                return
            await self._send(transport, order.frames if isinstance(order, Send | HangUp) else order)
            if isinstance(order, HangUp):
                await transport.close(order.grace)

    async def _send(self, transport: AsyncTransport, frames: _Reply) -> None:
        try:
            await transport.send(frames)
        except SendError:
            # The reader finds the wire cut, and tells.
            transport.abort()

    # -- the reader: always drains

    def message(self, data: bytes, text: bool) -> None:
        engine, mux = self._engine, self._mux
        self._tell(mux.receive, self._conn, data, text, engine.now())

    def answered(self, headers: Mapping[str, str]) -> None:
        self._tell(self._mux.answered, self._conn, headers, self._engine.now())

    def pong(self) -> None:
        self._tell(self._mux.alive, self._conn, self._engine.now())

    def reply(self, frames: _Reply) -> None:
        self._orders.append(frames)
        self._bell.ring()

    def lost(self, fault: Closed | DialFailure | Error) -> None:
        self._over = True
        self._tell(self._mux.lost, self._conn, fault, self._engine.now())
        self._orders.append(None)
        self._bell.ring()

    def _tell(self, fact: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            self._engine.step(self._mux, fact, *args, **kwargs)
        except Exception as exc:
            events.log([Event("client.fault", {"error": type(exc).__name__})])


class Feeder:
    """
    Pulls one text iterator, writes what it gives, and closes it. Nobody else touches it.

    It pauses while much of its text is unsent, and is cancelled when the speech is over.
    """

    def __init__(
        self,
        engine: Engine,
        mux: Mux,
        speech: Speech,
        waiter: Waiter,
        source: Iterable[str] | AsyncIterable[str],
    ) -> None:
        self._engine = engine
        self._mux = mux
        self._speech = speech
        self._waiter = waiter
        self._source = source
        self._room = Bell(engine.loop)
        self._whole = False

    async def run(self) -> None:
        mux, speech, engine = self._mux, self._speech, self._engine
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, tasks.cancel_scope)
                await self._feed(tasks.cancel_scope)
                tasks.cancel_scope.cancel()
            if self._whole and not speech.over:
                engine.step(mux, mux.end, speech, engine.now())
            elif not speech.over:
                self._fail(asyncio.CancelledError())
        except BaseException as exc:
            if engine.stopping(exc):
                raise
            self._fail(_only(exc))

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Leave the source alone once the speech is over; tell when there is room."""
        while not self._speech.over:
            await self._waiter.feeder.wait()
            self._room.ring()
        scope.cancel()

    async def _feed(self, scope: anyio.CancelScope) -> None:
        # Told from in here: a task group cannot tell a CancelledError of the source from its own.
        try:
            await self._pull()
            self._whole = True
        except BaseException as exc:
            cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
            if (cancelled and scope.cancel_called) or self._engine.stopping(exc):
                raise
            self._fail(exc)

    def _fail(self, exc: BaseException) -> None:
        mux, engine = self._mux, self._engine
        engine.step(mux, mux.fail, self._speech, _for_reader(exc), engine.now())

    async def _pull(self) -> None:
        if isinstance(self._source, AsyncIterable):
            iterator = aiter(self._source)
            try:
                async for piece in iterator:
                    await self._write(piece)
            finally:
                await _aclose(iterator)
        else:
            # iter() and next() may block, and a loop must not; a thread can be left behind, though.
            pieces = await _in_thread(iter, self._source)
            try:
                while (found := await _in_thread(_next, pieces)) is not _NO_MORE:
                    await self._write(found)
            finally:
                _close(pieces)

    async def _write(self, piece: object) -> None:
        mux, speech, engine = self._mux, self._speech, self._engine
        if not isinstance(piece, str):
            msg = f"a text source must give str, not {type(piece).__name__}"
            raise TypeError(msg)
        engine.step(mux, mux.write, speech, piece, engine.now())
        while not engine.step(mux, mux.room, speech, engine.now()):
            await self._room.wait()


async def _in_thread(call: Callable[[_S], _T], argument: _S) -> _T:
    # As a value: a GeneratorExit that came through a future would close the task's coroutine.
    found, exc = await anyio.to_thread.run_sync(_caught, call, argument, abandon_on_cancel=True)
    if exc is not None:
        raise exc
    return found[0]


def _caught(call: Callable[[_S], _T], argument: _S) -> tuple[Sequence[_T], BaseException | None]:
    try:
        return [call(argument)], None
    except BaseException as exc:
        return [], exc


def _next(pieces: Iterator[str]) -> object:
    return next(pieces, _NO_MORE)  # StopIteration cannot travel through a future


async def _aclose(iterator: AsyncIterator[str]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        # The source's own clean-up; shielded, or it would be cut off at its first await.
        with anyio.move_on_after(_CLOSE_MARGIN, shield=True):
            await close()


def _close(iterator: object) -> None:
    close = getattr(iterator, "close", None)
    # A file is its owner's to close; a generator or a stream of a model is ours.
    if close is not None and not isinstance(iterator, io.IOBase):
        # ValueError: it still runs, in a thread that was left behind.
        with contextlib.suppress(ValueError):
            close()


def _for_reader(exc: BaseException) -> BaseException:
    """
    Return what a reader is told where its text source raised *exc*.

    *exc* itself, unless it would end the reader's loop, or its task, as if all were well.
    """
    name = type(exc).__name__
    if isinstance(exc, StopIteration | StopAsyncIteration):
        told: Exception = RuntimeError(f"the text source raised {name}")
    elif isinstance(exc, Exception):
        return exc
    else:
        told = Error(f"the text source ended with {name}", phase="speak", retryable=False)
    told.__cause__ = exc
    return told


def _undialled(exc: BaseException) -> Error:
    """Return the error of a dial that somebody's code broke."""
    msg = f"the dial broke before anything was sent ({type(exc).__name__})"
    error = ConnectError(msg, phase="dial", retryable=False)
    # Without the frames that it came through: the key is in their variables.
    error.__cause__ = exc.with_traceback(None)
    return error


def _cancelled(exc: BaseException) -> bool:
    """Return whether *exc* is a cancellation of the running task itself."""
    if not isinstance(exc, anyio.get_cancelled_exc_class()):
        return False
    if not isinstance(exc, asyncio.CancelledError):
        return True  # trio, where nobody else can make one
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _only(exc: BaseException) -> BaseException:
    """Return what a task group wrapped, where it is one exception."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


def _wire(conn: Connection) -> Wire:
    assert isinstance(conn.handle, Wire), "every connection has its wire from its Dial on"
    return conn.handle


def _salvage(effects: Iterable[Effect], found: list[Event]) -> None:
    """Hand over what ends things, as far as there is anybody: nothing is sent or dialled."""
    for effect in effects:
        match effect:
            case Wake(handle=Bell() | Waiter() as handle):
                handle.ring()
            case HangUp(conn=conn) if isinstance(conn.handle, Wire):
                conn.handle.put(effect)
            case Report(event=event):
                found.append(event)


def _tears(exc: BaseException, args: tuple[object, ...]) -> bool:
    """Return whether *exc* is neither ours nor what a speech failed with, raised to its reader."""
    if isinstance(exc, Error):
        return False
    return not any(isinstance(arg, Speech) and arg.error is exc for arg in args)


def _running() -> tuple[asyncio.AbstractEventLoop | None, trio.lowlevel.TrioToken | None]:
    """Return the running event loop, of one kind or the other."""
    if "trio" in sys.modules:  # first, for trio may run as a guest of asyncio
        import trio

        try:
            return None, trio.lowlevel.current_trio_token()
        except RuntimeError:
            pass
    try:
        return asyncio.get_running_loop(), None
    except RuntimeError:
        return None, None


def _trio_time() -> Callable[[], float]:
    import trio

    # Unlike trio.current_time it may be asked by a thread that is about to be refused.
    return trio.lowlevel.current_clock().current_time


def _unbound() -> float:
    msg = "a client has no time before it has an event loop"
    raise AssertionError(msg)


async def _secret(key: object) -> str | None:
    """
    Return the key for a dial, fetched now where it is a callable.

    Raises:
        AuthError: it could not be fetched.
    """
    if key is None:
        return None
    if isinstance(key, Secret):
        return key.reveal()
    assert callable(key), "configure() let nothing else through"
    try:
        found: object = key()
        if isinstance(found, Awaitable):
            found = await found
    except BaseException as exc:
        if _cancelled(exc):
            raise
        msg = f"the API key could not be fetched: api_key raised {type(exc).__name__}"
        raise AuthError(msg, phase="dial") from exc
    if not isinstance(found, str) or not found:
        msg = f"api_key must return a str, not {type(found).__name__}"
        raise AuthError(msg, phase="dial")
    return found
