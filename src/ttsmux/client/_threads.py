"""
The machinery of the threaded client: one lock, one clock, a writer and a reader a connection.

`Engine.step` runs an input of the Mux and hands its effects over under the client's lock. Handing
over cannot block: it puts into a queue, rings a bell, or starts a thread. Nothing here decides.
The async twin is `_tasks`.
"""

from __future__ import annotations

import contextvars
import functools
import io
import itertools
import os
import random
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from ..adapter import Closed, DialFailure, Frame, Ping
from ..core.connection import Connection
from ..core.effects import Dial, Effect, Event, HangUp, Report, Send, Wake
from ..core.lane import Ticket
from ..core.mux import Mux
from ..core.speech import Speech
from ..errors import AuthError, ConnectError, ConnectionLost, Error, ForkedProcess
from ..settings import Secret
from ..transports.base import DialError, Pong, SendError, SyncTransport
from ..transports.websocket_client import connect
from . import events
from .options import Configuration

_P = ParamSpec("_P")
_T = TypeVar("_T")

_Reply = Sequence[Frame | Ping | Pong]
_CLOSE_MARGIN = 2.0
"""Seconds beyond the closing handshake that `close` gives threads to leave."""
_PAUSE = 0.5
"""Seconds that the clock waits after a fault of its own."""
_numbers = itertools.count(1)


class Bell:
    """
    Something to wait for, rung at most once ahead.

    One lock a wait, and `ring` takes none: it is safe in `__del__`, which may run anywhere, also in
    the middle of another `ring`.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # it has been rung already
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is rung, and return whether it was."""
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(0.0, timeout), threading.TIMEOUT_MAX))


class Waiter:
    """Who waits behind a speech: its reader and its feeder. The core wakes both; each looks."""

    __slots__ = ("__weakref__", "feeder", "reader")

    def __init__(self) -> None:
        self.reader = Bell()
        self.feeder = Bell()

    def ring(self) -> None:
        self.reader.ring()
        self.feeder.ring()


class Engine:
    """One client's Mux and the threads that serve it."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.lock = threading.Lock()
        self.mux = self._new_mux()
        self.closed = False
        self.waiters: weakref.WeakSet[Waiter] = weakref.WeakSet()
        """Of all speeches, for when a Mux is given up."""
        self.dropped: deque[tuple[Mux, Speech]] = deque()
        """Speeches that were garbage-collected; the clock interrupts them."""
        self.orphaned = False
        """Whether the client itself was; the clock closes everything."""
        self._bell = Bell()
        self._armed: float | None = None
        self._clock: threading.Thread | None = None
        self._threads: set[threading.Thread] = set()
        self._pid = os.getpid()
        self._name = f"ttsmux-{next(_numbers)}"

    def _new_mux(self) -> Mux:
        configuration = self.configuration
        return Mux(configuration.routes, configuration.settings, random.Random())

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
            with self.lock:
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
            events.log(found)

    def _perform(self, mux: Mux, found: list[Event]) -> None:
        while mux.pending:
            self._hand_over(mux, found)
        due = mux.deadline
        if due is not None and (self._armed is None or due < self._armed) and mux is self.mux:
            self._bell.ring()

    def _hand_over(self, mux: Mux, found: list[Event]) -> None:
        effects = mux.effects()
        undialled: list[tuple[Connection, Error]] = []
        try:
            for effect in effects:
                match effect:
                    case Send(conn=conn):
                        _wire(conn).put(effect)
                    case Wake(handle=handle):
                        assert isinstance(handle, Bell | Waiter), "the shell sets the handles"
                        handle.ring()
                    case Dial(conn=conn):
                        conn.handle = Wire(self, mux, effect)
                        try:
                            self.start(conn.handle.run, f"wire-{conn.number}")
                        except Exception as exc:  # no thread is to be had
                            undialled.append((conn, _undialled(exc)))
                    case HangUp(conn=conn):
                        _wire(conn).put(effect)
                    case Report(event=event):
                        found.append(event)
        except BaseException:
            # The Mux will be given up, but a speech that is over already is told by nobody else.
            _salvage(effects, found)
            raise
        # Not in the loop: they are inputs of the Mux, in a step that is under way.
        for conn, error in undialled:
            mux.dial_failed(conn, DialFailure(error=error), time.monotonic())

    def _abandon(self, mux: Mux, exc: BaseException, found: list[Event]) -> None:
        mux.abandon(exc)
        _salvage(mux.effects(), found)
        # Effects may have been lost on the way here, and a speech that is over is not failed again.
        for waiter in self.waiters:
            waiter.ring()
        if mux is self.mux and not self.closed:
            self.mux = self._new_mux()

    @property
    def running(self) -> bool:
        """Whether there are threads."""
        return self._clock is not None

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that made the client."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise `ForkedProcess` in a child of the process that made the client."""
        if self.forked:
            msg = "this client was made before fork(); make a new one in the child process"
            raise ForkedProcess(msg, phase="config")

    # --- threads ----------------------------------------------------------------------------------

    def start(self, run: Callable[[], None], name: str) -> None:
        """Start a daemon thread that `close` waits for."""

        def body() -> None:
            try:
                run()
            finally:
                self._threads.discard(thread)

        thread = threading.Thread(target=body, name=f"{self._name}-{name}", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except Exception:
            self._threads.discard(thread)
            raise

    def ensure_clock(self) -> None:
        """Start the clock with the first use, so that a client that is only made has no thread."""
        if (self._clock is None or self._clock.ident is None) and not self.closed:
            with self.lock:
                if self._clock is None or self._clock.ident is None:
                    # Noted before it runs: a KeyboardInterrupt may come between, and a clock that
                    # nobody knows of would neither be joined nor be the only one.
                    self._clock = threading.Thread(
                        target=self._keep_time, name=f"{self._name}-clock", daemon=True
                    )
                    self._clock.start()

    def _keep_time(self) -> None:
        going = True
        while going:
            try:
                going = self._turn()
            except Exception as exc:
                # Nobody else keeps the deadlines.
                events.log([Event("client.fault", {"error": type(exc).__name__})])
                self._bell.wait(_PAUSE)

    def _turn(self) -> bool:
        """Wait for what is due next and do it; return whether there is more to come."""
        with self.lock:
            mux = self.mux
            self._armed = due = mux.deadline
        if self.orphaned and not self.closed:
            self.closed = True
            self._quietly(mux, functools.partial(mux.close, time.monotonic()))
        if self.closed and not self.dropped:
            return False
        self._bell.wait(None if due is None else due - time.monotonic())
        while self.dropped:
            owner, speech = self.dropped.popleft()
            self._quietly(owner, functools.partial(owner.interrupt, speech, time.monotonic()))
        if mux.deadline is not None and mux.deadline <= time.monotonic():
            self._quietly(mux, functools.partial(mux.tick, time.monotonic()))
        return True

    def _quietly(self, mux: Mux, input: Callable[[], object]) -> None:
        """Run an input that nobody waits for; whatever it raises has reached those it concerns."""
        try:
            self.step(mux, input)
        except Exception as exc:
            events.log([Event("client.fault", {"error": type(exc).__name__})])

    def ring(self) -> None:
        """Have the clock look at `dropped`. Takes no lock."""
        self._bell.ring()

    # --- ends -------------------------------------------------------------------------------------

    def wait(self, mux: Mux, ticket: Ticket, deadline: float) -> bool:
        """Wait for *ticket* until *deadline*; raise what went wrong with it."""
        bell = Bell()
        ticket.handle = bell
        while True:
            if self.step(mux, lambda: mux.read(ticket, time.monotonic())) is not None:
                return True
            if not bell.wait(deadline - time.monotonic()):
                return False

    def close(self, drain: float | None = None) -> None:
        """Close the Mux and wait, within limits, for all threads to leave."""
        if self.forked:
            return
        mux = self.mux
        grace = self.configuration.settings.timeouts.close
        if drain is not None and not self.closed:
            ticket = self.step(mux, lambda: mux.drain(time.monotonic()))
            self.wait(mux, ticket, time.monotonic() + drain)
        self.closed = True
        deadline = time.monotonic() + grace + _CLOSE_MARGIN
        ticket = self.step(mux, lambda: mux.close(time.monotonic()))
        self.wait(mux, ticket, deadline)
        self.ring()
        self._join(deadline)
        if stuck := [thread.name for thread in self._others() if thread is not self._clock]:
            warnings.warn(
                f"{len(stuck)} thread(s) did not leave in time and are left behind: a text source "
                f"blocked in next(), or a name look-up ({', '.join(sorted(stuck))})",
                ResourceWarning,
                stacklevel=3,
            )

    def _join(self, deadline: float) -> None:
        """Wait for the threads there are, and for those that they still start."""
        while (others := self._others()) and (left := deadline - time.monotonic()) > 0:
            others[0].join(left)

    def _others(self) -> list[threading.Thread]:
        """Return the client's threads that run, but for the one that asks."""
        me = threading.current_thread()
        clock = [self._clock] if self._clock is not None else []
        # One whose start was torn by a KeyboardInterrupt does not run, and cannot be joined.
        return [t for t in [*self._threads, *clock] if t is not me and t.is_alive()]


class Wire:
    """The writer and the reader of one connection, and its `Sink`."""

    def __init__(self, engine: Engine, mux: Mux, dial: Dial) -> None:
        self._engine = engine
        self._mux = mux
        self._dial = dial
        self._conn = dial.conn
        self._orders: SimpleQueue[Send | HangUp | _Reply | None] = SimpleQueue()
        self._given_up = False
        self._over = False

    def put(self, order: Send | HangUp) -> None:
        if isinstance(order, HangUp):
            self._given_up = True
        self._orders.put(order)

    # -- the writer: dials, then is the only one that sends

    def run(self) -> None:
        try:
            found = self._connect()
        except BaseException as exc:
            # An adapter's own fault; it is this dial's alone.
            found = DialFailure(error=_undialled(exc))
        if isinstance(found, DialFailure):
            failure = found
            self._tell(lambda now: self._mux.dial_failed(self._conn, failure, now))
            return
        transport, first_frames = found
        reading = False
        try:
            self._tell(lambda now: self._mux.dialled(self._conn, now))
            self._engine.start(lambda: self._read(transport), f"reader-{self._conn.number}")
            reading = True
            self._write(transport, first_frames)
        except BaseException as exc:
            events.log([Event("client.fault", {"error": type(exc).__name__})])
            transport.abort()
            if not reading:  # else the reader finds the wire cut, and tells
                self._broke(exc)
        finally:
            transport.abort()

    def _broke(self, exc: BaseException) -> None:
        if not self._over:
            name = type(exc).__name__
            self.lost(ConnectionLost(f"the connection broke within ttsmux ({name})"))

    def _connect(self) -> tuple[SyncTransport, Sequence[Frame]] | DialFailure:
        configuration, plan = self._engine.configuration, self._conn.plan
        try:
            secret = _secret(configuration.keys[plan.number])
            handshake = self._conn.handshake(secret)
            target = configuration.target(handshake, plan.traits.max_message)
            transport, _ = connect(target, self._dial.timeout, lambda: self._given_up)
        except DialError as exc:
            return exc.failure
        except Error as exc:
            # Without the frames that it came through: the key is in their variables.
            return DialFailure(error=exc.with_traceback(None))
        return transport, handshake.first_frames

    def _write(self, transport: SyncTransport, first_frames: Sequence[Frame]) -> None:
        if first_frames:
            self._send(transport, first_frames)
        while (order := self._orders.get()) is not None:
            self._send(transport, order.frames if isinstance(order, Send | HangUp) else order)
            if isinstance(order, HangUp):
                transport.close(order.grace)

    def _send(self, transport: SyncTransport, frames: _Reply) -> None:
        try:
            transport.send(frames)
        except SendError:
            # The reader finds the wire cut, and tells.
            transport.abort()

    # -- the reader: always drains

    def _read(self, transport: SyncTransport) -> None:
        try:
            transport.read(self)
        except BaseException as exc:
            # Not the peer's doing, for a transport reports that.
            events.log([Event("client.fault", {"error": type(exc).__name__})])
            transport.abort()
            self._broke(exc)

    def message(self, data: bytes, text: bool) -> None:
        mux = self._mux
        self._tell(lambda now: mux.receive(self._conn, data, text, now))

    def answered(self, headers: Mapping[str, str]) -> None:
        self._tell(lambda now: self._mux.answered(self._conn, headers, now))

    def pong(self) -> None:
        self._tell(lambda now: self._mux.alive(self._conn, now))

    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        self._orders.put(frames)

    def lost(self, fault: Closed | DialFailure | Error) -> None:
        self._over = True
        self._tell(lambda now: self._mux.lost(self._conn, fault, now))
        self._orders.put(None)

    def _tell(self, fact: Callable[[float], None]) -> None:
        try:
            self._engine.step(self._mux, lambda: fact(time.monotonic()))
        except Exception as exc:
            events.log([Event("client.fault", {"error": type(exc).__name__})])


class Feeder:
    """
    Pulls one text iterator, writes what it gives, and closes it. Nobody else touches it.

    It pauses while much of its text is unsent, and leaves when the speech is over.
    """

    def __init__(
        self, engine: Engine, mux: Mux, speech: Speech, waiter: Waiter, source: Iterable[str]
    ) -> None:
        self._engine = engine
        self._mux = mux
        self._speech = speech
        self._waiter = waiter
        self._source = source
        self._context = contextvars.copy_context()

    def run(self) -> None:
        self._context.run(self._feed)

    def _feed(self) -> None:
        mux, speech = self._mux, self._speech
        try:
            iterator = iter(self._source)
            try:
                self._pull(iterator)
            finally:
                # A file is its owner's to close; a generator or a stream of a model is ours.
                if not isinstance(iterator, io.IOBase):
                    getattr(iterator, "close", _nothing)()
            self._step(lambda now: mux.end(speech, now) if not speech.over else None)
        except BaseException as exc:
            error = _for_reader(exc)
            self._step(lambda now: mux.fail(speech, error, now))

    def _pull(self, iterator: Iterator[str]) -> None:
        mux, speech = self._mux, self._speech
        for piece in iterator:
            if speech.over:
                return
            if not isinstance(piece, str):
                msg = f"a text source must give str, not {type(piece).__name__}"
                raise TypeError(msg)
            self._step(functools.partial(mux.write, speech, piece))
            while not self._step(lambda now: mux.room(speech, now)):
                self._waiter.feeder.wait()

    def _step(self, input: Callable[[float], _T]) -> _T:
        return self._engine.step(self._mux, lambda: input(time.monotonic()))


def _nothing() -> None:
    pass


def _for_reader(exc: BaseException) -> BaseException:
    """
    Return what a reader is told where its text source raised *exc*.

    *exc* itself, unless it would end the reader's loop, or its thread, as if all were well.
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


def _secret(key: object) -> str | None:
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
        found = key()
    except BaseException as exc:
        msg = f"the API key could not be fetched: api_key raised {type(exc).__name__}"
        raise AuthError(msg, phase="dial") from exc
    if not isinstance(found, str) or not found:
        msg = f"api_key must return a str, not {type(found).__name__}"
        raise AuthError(msg, phase="dial")
    return found
