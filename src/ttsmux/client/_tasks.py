"""
The machinery of the async client: one clock, a writer and a reader for each connection.

`Engine.step` runs an input of the Mux and hands its effects over without an await. Nothing here
decides. Its tasks live in a supervisor of their own, so that a client may be opened in one task and
closed in another. What it starts is in `_tasks_wire` and `_tasks_feeder`. The threaded twin is
`_threads`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import math
import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
import anyio.abc

from ..core.connection import Connection
from ..core.effects import Dial, Event, HangUp, Report, Send, Wake
from ..core.lane import Ticket
from ..core.mux import Mux
from ..core.quota import Member
from ..core.speech import Speech
from ..errors import ClosedError, ForkedProcess, WrongThread
from ..transports._begin import begin
from ..transports.dial import AsyncDialler
from ..transports.websockets import connect
from . import _quotas, _shared
from ._tasks_bells import Bell, Waiter
from ._tasks_wire import Wire
from .options import Configuration
from .otel import Observer, Telemetry

if TYPE_CHECKING:
    import trio

    from ._tasks_asker import Asker

_Args = TypeVarTuple("_Args")
_T = TypeVar("_T")

_STOPPED = 1.0
"""Seconds after which an event loop that does not run is taken for one that never will again."""
_LOOK = 0.05
"""Seconds between two looks at whether it does."""


_HANDLES = (Bell, Waiter, _quotas.Doorbell)


class Engine:
    """One client's Mux and the tasks that serve it. Bound to an event loop by its first use."""

    def __init__(
        self, configuration: Configuration, telemetry: Telemetry | bool | None = None
    ) -> None:
        self.carried = _shared.carried(configuration)
        self.configuration = _shared.guarded(configuration, self.carried)
        self.observer = Observer(telemetry, configuration.routes)
        self._quotas = _quotas.quotas_for(configuration)
        self.thread: int | None = None
        self.mux = self._new_mux()
        self.dialler = AsyncDialler(connect)
        self.closed = False
        self.cut_off = False
        """Whether its loop has ended its tasks, and nobody has closed it."""
        self.cut_short = False
        """Whether what was drained did not all come to its own end."""
        self.waiters: weakref.WeakSet[Waiter] = weakref.WeakSet()
        """Of all speeches, for when a Mux is given up."""
        self.dropped: deque[tuple[Mux, Speech]] = deque()
        """Speeches that were garbage-collected; the clock interrupts them."""
        self.orphaned = False
        """Whether the client itself was; the supervisor closes everything."""
        self.askers: set[Asker] = set()
        """Who waits for the answer to a question beside speaking."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = _unbound
        self._trio: trio.lowlevel.TrioToken | None = None
        self._waiting: deque[
            tuple[contextvars.Context, Callable[[], Coroutine[object, object, None]]]
        ] = deque()
        self._bell = Bell(None)
        self._armed: float | None = None
        self._over: anyio.Event | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._wound_up = False
        self._left = Bell(None)
        self.crew = _shared.Crew(on_leave=lambda: self.post(self._left.ring))
        """For what would block the loop."""
        # Held during a step, of which neither a signal handler may see half, nor another thread
        # that looks at what a speech took.
        self.lock = threading.RLock()
        self._locked_here: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]
        self._forks = _shared.forks

    def _new_mux(self) -> Mux:
        configuration = self.configuration

        def make(members: Sequence[Member | None]) -> Mux:
            return Mux(configuration.routes, configuration.settings, random.Random(), members)

        mux = _quotas.new_mux(self, make, self._quotas)
        if self.thread is not None:
            _quotas.set_clock(mux, self.now())
        return mux

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
            if self.cut_off:
                msg = "the client's event loop has ended, and with it all it had; make a new one"
            raise ClosedError(msg, phase="close")
        loop, token = _running()
        if loop is None and token is None:
            msg = "an AsyncClient is used inside a running event loop; use Client for threads"
            raise WrongThread(msg, phase="config")
        if self.thread is None:
            self.loop, self._trio, self.thread = loop, token, threading.get_ident()
            self.now = _clock(loop)
            _quotas.set_clock(self.mux, self.now())
            self._bell, self._left = Bell(loop), Bell(loop)
            self._over = anyio.Event()
            self._start(loop)
        elif loop is not self.loop or token is not self._trio:
            msg = "this client belongs to another event loop; make one for each loop"
            raise WrongThread(msg, phase="config")

    def _start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is not None:
            self._supervisor = loop.create_task(self._supervise(), name="ttsmux")
            # Cancelled before its first step it would never say that it is over.
            self._supervisor.add_done_callback(lambda _: self._ended(None))
        else:
            import trio

            trio.lowlevel.spawn_system_task(self._supervise, name="ttsmux")

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that made the client."""
        return _shared.forks != self._forks

    def check(self) -> None:
        """Raise `ForkedProcess` in another process, `LocalProtocolError` in mid-step."""
        if self.forked:
            msg = "this client was made before fork(); make a new one in the child process"
            raise ForkedProcess(msg, phase="config")
        if self._locked_here():
            raise _shared.Reentered

    def check_thread(self) -> None:
        """Raise `WrongThread` where a plain call would race with the client's loop."""
        if threading.get_ident() != self.thread:
            msg = (
                "this call belongs into the client's event loop; from another thread use "
                "client.from_thread(speech.interrupt)"
            )
            raise WrongThread(msg, phase="speak")

    def from_thread(self, call: Callable[[], _T]) -> _T:
        """Run *call* in the client's loop and return what it returns."""
        if self.thread is None:
            msg = "the client has not been used in an event loop yet"
            raise WrongThread(msg, phase="speak")
        if threading.get_ident() == self.thread:
            msg = "this is the client's own thread: call it directly"
            raise WrongThread(msg, phase="speak")
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as exc:
                    future.set_exception(exc)
                    if isinstance(exc, KeyboardInterrupt | SystemExit):
                        raise

        self.post(run)
        stopped = 0.0
        while stopped < _STOPPED and not self.gone:
            try:
                return future.result(_LOOK)
            except TimeoutError:
                if future.done():
                    return future.result()  # just now, or *call* itself raised this
                running = self.loop is None or self.loop.is_running()
                stopped = 0.0 if running else stopped + _LOOK
        if not future.cancel():
            return future.result()  # it has just begun
        msg = "the client's event loop does not run any more"
        raise ClosedError(msg, phase="speak")

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop call *call*, from any thread. Nothing happens if the loop is gone."""
        try:
            if self._trio is not None:
                self._trio.run_sync_soon(call)
            elif self.loop is not None:
                self.loop.call_soon_threadsafe(call)
        except RuntimeError:
            pass  # and everything with it

    @property
    def gone(self) -> bool:
        """Whether the loop has ended for good."""
        if self._trio is None:
            return self.loop is not None and self.loop.is_closed()
        try:
            self._trio.run_sync_soon(_nothing)
        except RuntimeError:
            return True
        return False

    # --- inputs -----------------------------------------------------------------------------------

    def step(self, mux: Mux, input: Callable[[*_Args], _T], *args: *_Args) -> _T:
        """
        Run *input* of *mux* and hand its effects over.

        An exception that is neither ours nor the speech's own has torn the Mux in the middle of a
        step, a KeyboardInterrupt above all: everything it holds is given up, and a new one made.
        """
        if self._locked_here() or _shared.forks != self._forks:
            self.check()
        found: list[Event] = []
        try:
            with self.lock:
                try:
                    try:
                        result = input(*args)
                    except BaseException as exc:
                        # What a torn step asked for is not begun: the Mux may not know of it.
                        if not _shared.tears(exc, args):
                            self._perform(mux, found)
                        raise
                    # Whether it is `pending`, asked once a chunk.
                    if (agenda := mux.agenda).effects or agenda.moved:
                        self._perform(mux, found)
                    return result
                except BaseException as exc:
                    if _shared.tears(exc, args):
                        self._abandon(mux, exc, found)
                    raise
        finally:
            if found:
                self.observer.tell(mux, found)

    def look(self, at: Callable[[*_Args], _T], *args: *_Args) -> _T:
        """Return what *at* tells of a Mux, which nobody changes meanwhile. From any thread."""
        self.check()
        with self.lock:
            return at(*args)

    def fault(self, exc: BaseException) -> None:
        """Tell of a fault that ends no more than what it came up in."""
        with suppress(Exception):  # it may be a handler of logs that is at fault, and hears of it
            self.observer.tell(self.mux, [Event("client.fault", {"error": type(exc).__name__})])

    def _perform(self, mux: Mux, found: list[Event]) -> None:
        moved, effects = mux.agenda.moved, mux.effects()
        try:
            for effect in effects:
                match effect:
                    case Send(conn=conn):
                        _wire(conn).put(effect)
                    case Wake(handle=handle):
                        assert isinstance(handle, _HANDLES), "the shell sets them"
                        handle.ring()
                    case Dial(conn=conn):
                        wire = Wire(self, mux, effect)
                        self.start(wire.run)
                        # Last: torn before it, the dial counts as not begun, and so it must be.
                        conn.handle = wire
                    case HangUp(conn=conn):
                        _wire(conn).put(effect)
                    case Report(event=event):
                        found.append(event)
        except BaseException:
            # The Mux will be given up, but a speech that is over already is told by nobody else.
            _shared.salvage(effects, found)
            raise
        if moved and mux is self.mux:
            due = mux.deadline
            if due is not None and (self._armed is None or due < self._armed):
                self._armed = due
                self._bell.ring()

    def _abandon(self, mux: Mux, exc: BaseException, found: list[Event]) -> None:
        mux.abandon(exc)
        _shared.salvage(mux.effects(), found)
        # Effects may have been lost on the way here, and a speech that is over is not failed again.
        for waiter in self.waiters:
            waiter.ring()
        if mux is self.mux and not self.closed:
            another = self._new_mux()
            another.number_on(mux)
            self.mux = another

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
            context.run(begin, tasks, self._guard, run)

    async def _guard(self, run: Callable[[], Coroutine[object, object, None]]) -> None:
        """Let nothing out of one task that would end the others."""
        try:
            await run()
        except BaseException as exc:
            if self.stopping(exc) or isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
            self.fault(exc)

    def stopping(self, exc: BaseException) -> bool:
        """
        Return whether *exc* is the supervisor ending the task that it came up in.

        On asyncio anybody's code may raise a CancelledError, or cancel any task; a loop that ends
        cancels all of them.
        """
        if not isinstance(exc, anyio.get_cancelled_exc_class()):
            return False
        if self._supervisor is None or self._scope is None:
            return True  # trio, where nobody else can make one
        return self._scope.cancel_called or self._supervisor.cancelling() > 0

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
            self.fault(exc)
        except BaseException as exc:
            cut = exc
            raise
        finally:
            if not isinstance(cut, GeneratorExit):  # then there is no loop to wait in
                with anyio.CancelScope(shield=True):
                    await self.dialler.aclose()
            self._ended(cut)

    def _ended(self, cut: BaseException | None) -> None:
        assert self._over is not None, "made together"
        if self._over.is_set():
            return
        self.cut_off = not (self.closed or isinstance(cut, Exception))
        self.closed = True
        self._dismiss()
        if cut is not None or not self._wound_up:
            self._give_up(cut or asyncio.CancelledError())
        self._quietly(self.mux, functools.partial(self.mux.deserted, self.now()))
        _quotas.leave(self.mux)
        self._over.set()

    def _give_up(self, exc: BaseException) -> None:
        """Fail all that still waits: there are no tasks any more."""
        found: list[Event] = []
        mux = self.mux
        try:
            self._waiting.clear()
            self._abandon(mux, exc, found)
        finally:
            try:
                self.observer.tell(mux, found)
            except Exception as raised:
                self.fault(raised)  # who waits for the end of it all must hear of that

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
            due = mux.deadline
            if due is not None and due <= self.now():
                self._quietly(mux, functools.partial(mux.tick, self.now()))

    def _quietly(self, mux: Mux, input: Callable[[], object]) -> None:
        """Run an input that nobody waits for; whatever it raises has reached those it concerns."""
        try:
            self.step(mux, input)
        except Exception as exc:
            self.fault(exc)

    def ring(self) -> None:
        """Have the clock look at `dropped`. From any thread: a collector runs where it likes."""
        self.post(self._bell.ring)

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
        self.closed = True  # also where it was forgotten: no other Mux is made from here on
        mux = self.mux
        self._dismiss()
        ticket = self.step(mux, mux.close, self.now())
        # A dial that was just asked for is owed its answer, and a source that was just handed over
        # its end.
        self._start_waiting(tasks)
        grace = self.configuration.settings.timeouts.close
        with anyio.move_on_after(grace + _shared.CLOSE_MARGIN):
            await self.wait(mux, ticket, math.inf)
            while not self.crew.empty:
                await self._left.wait()
        self._wound_up = True

    def _dismiss(self) -> None:
        for asker in list(self.askers):
            asker.give_up()

    async def drain(self, timeout: float) -> bool:
        """Wait for what is speaking, and close; return whether all of it came to its own end."""
        if not self.closed:
            self.bind()
        mux = self.mux
        try:
            if not self.closed:
                with suppress(ClosedError):  # a step was torn meanwhile
                    ticket = self.step(mux, mux.drain, self.now())
                    await self.wait(mux, ticket, timeout)
        finally:
            await self.close()
        self.cut_short = self.cut_short or mux.cut_short or self.mux.cut_short
        return not self.cut_short

    async def close(self) -> None:
        """Have the supervisor close everything, and wait until it has."""
        if self.forked:
            return
        self.check()
        if self._over is None or self._over.is_set() or self.gone:
            self.closed, self.cut_off = True, False
            return
        self.bind()
        self.closed = True
        self._bell.ring()
        limit = self.configuration.settings.timeouts.close + 2 * _shared.CLOSE_MARGIN
        # A cancelled caller waits all the same, for a bounded time: what it holds must be let go.
        with anyio.move_on_after(limit, shield=True):
            await self._over.wait()
        if not self.crew.empty:
            self.crew.warn(stacklevel=3)


def _wire(conn: Connection) -> Wire:
    assert isinstance(conn.handle, Wire), "every connection has its wire from its Dial on"
    return conn.handle


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


def _clock(loop: asyncio.AbstractEventLoop | None) -> Callable[[], float]:
    """Return what tells the time of *loop*, or else that of trio."""
    if loop is not None:
        # `loop.time` of asyncio's own loops is this with one more call, which every chunk makes.
        is_plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
        return time.monotonic if is_plain else loop.time
    import trio

    # Unlike trio.current_time it may be asked by a thread that is about to be refused.
    return trio.lowlevel.current_clock().current_time


def _unbound() -> float:
    msg = "a client has no time before it has an event loop"
    raise AssertionError(msg)


def _nothing() -> None:
    pass
