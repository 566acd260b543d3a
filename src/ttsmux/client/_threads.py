"""
The machinery of the threaded client: one lock, one clock, a writer and a reader a connection.

`Engine.step` runs an input of the Mux and hands its effects over under the client's lock. Handing
over cannot block: it puts into a queue, rings a bell, or starts a thread. Nothing here decides.
What it starts is in `_threads_wire` and `_threads_feeder`. The async twin is `_tasks`.
"""

from __future__ import annotations

import functools
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from ..core.connection import Connection
from ..core.effects import Dial, Event, HangUp, Report, Send, Wake
from ..core.lane import Ticket
from ..core.mux import Mux
from ..core.quota import Member
from ..core.speech import Speech
from ..errors import ClosedError, ForkedProcess
from ..transports.dial import Dialler
from ..transports.websocket_client import connect
from . import _quotas, _shared
from ._threads_bells import Bell, Waiter
from ._threads_teller import Teller
from ._threads_wire import GIVE_WAY, Wire
from .options import Configuration
from .otel import Observer, Telemetry

if TYPE_CHECKING:
    from ._threads_asker import Asker

_Args = TypeVarTuple("_Args")
_T = TypeVar("_T")

_PAUSE = 0.5
"""Seconds that the clock waits after a fault of its own."""


_HANDLES = (Bell, Waiter, _quotas.Doorbell)


class Engine:
    """One client's Mux and the threads that serve it."""

    gone = False
    """Threads have no loop that could end before them."""

    def __init__(
        self, configuration: Configuration, telemetry: Telemetry | bool | None = None
    ) -> None:
        self.carried = _shared.carried(configuration)
        self.configuration = _shared.guarded(configuration, self.carried)
        self.observer = Observer(telemetry, configuration.routes)
        # Knows its owner: a signal handler must not wait for what it has interrupted.
        self.lock = threading.RLock()
        self._locked_here: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]
        self._quotas = _quotas.quotas_for(configuration)
        self.mux = self._new_mux()
        self.dialler = Dialler(connect)
        self.closed = False
        self.cut_short = False
        """Whether what was drained did not all come to its own end."""
        self.waiters: weakref.WeakSet[Waiter] = weakref.WeakSet()
        """Of all speeches, for when a Mux is given up."""
        self.dropped: deque[tuple[Mux, Speech]] = deque()
        """Speeches that were garbage-collected; the clock interrupts them."""
        self.orphaned = False
        """Whether the client itself was; the clock closes everything."""
        self._dials: deque[Wire] = deque()
        """Connections to begin; the clock does, for a thread may take milliseconds to start."""
        self._dials_give_way = False
        """Whether the last of them was asked for together with something to say."""
        self.askers: set[Asker] = set()
        """Who waits for the answer to a question beside speaking."""
        self._bell = Bell()
        self._armed: float | None = None
        self._clock: threading.Thread | None = None
        self._crew = _shared.Crew()
        self._teller = Teller(self.observer.tell, self._crew.start)
        """For what the clock finds."""
        self._forks = _shared.forks

    def _new_mux(self) -> Mux:
        configuration = self.configuration

        def make(members: Sequence[Member | None]) -> Mux:
            return Mux(configuration.routes, configuration.settings, random.Random(), members)

        return _quotas.new_mux(self, make, self._quotas)

    # --- inputs -----------------------------------------------------------------------------------

    def step(self, mux: Mux, input: Callable[[*_Args], _T], *args: *_Args) -> _T:
        """
        Run *input* of *mux* and hand its effects over.

        An exception that is neither ours nor the speech's own has torn the Mux in the middle of a
        step, a KeyboardInterrupt above all: everything it holds is given up, and a new one made.
        """
        if self._locked_here() or self.forked:
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
                self._tell(mux, found)

    def look(self, at: Callable[[*_Args], _T], *args: *_Args) -> _T:
        """Return what *at* tells of a Mux, which nobody changes meanwhile."""
        self.check()
        with self.lock:
            return at(*args)

    def fault(self, exc: BaseException) -> None:
        """Tell of a fault that ends no more than what it came up in."""
        with suppress(Exception):  # it may be a handler of logs that is at fault, and hears of it
            self._tell(self.mux, [Event("client.fault", {"error": type(exc).__name__})])

    def _tell(self, mux: Mux, found: Sequence[Event]) -> None:
        if threading.current_thread() is self._clock:
            self._teller.put(mux, found)  # nobody else keeps the deadlines, or starts dials
        else:
            self.observer.tell(mux, found)

    def _perform(self, mux: Mux, found: list[Event]) -> None:
        moved, effects, says = mux.agenda.moved, mux.effects(), False
        try:
            for effect in effects:
                match effect:
                    case Send(conn=conn):
                        _wire(conn).put(effect)
                        says = True
                    case Wake(handle=handle):
                        assert isinstance(handle, _HANDLES), "the shell sets them"
                        handle.ring()
                    case Dial(conn=conn):
                        wire = Wire(self, mux, effect)
                        self._dials.append(wire)
                        self._dials_give_way = says
                        self._bell.ring()
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

    @property
    def running(self) -> bool:
        """Whether there are threads."""
        return self._clock is not None

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

    # --- threads ----------------------------------------------------------------------------------

    def start(self, run: Callable[[], None], name: str) -> None:
        """Start a daemon thread that `close` waits for."""
        self._crew.start(run, name)

    def ensure_clock(self) -> None:
        """Start the clock with the first use, so that a client that is only made has no thread."""
        if not self._has_clock and not self.closed:
            with self.lock:
                if not self._has_clock:
                    # Noted before it runs: a KeyboardInterrupt may come between, and a clock that
                    # nobody knows of would neither be joined nor be the only one.
                    self._clock = threading.Thread(
                        target=self._keep_time, name=f"{self._crew.name}-clock", daemon=True
                    )
                    self._clock.start()

    @property
    def _has_clock(self) -> bool:
        return self._clock is not None and self._clock.ident is not None

    def _keep_time(self) -> None:
        going = True
        while going:
            try:
                going = self._turn()
            except Exception as exc:
                # Nobody else keeps the deadlines.
                self.fault(exc)
                self._bell.wait(_PAUSE)
        self.dialler.close()

    def _turn(self) -> bool:
        """Wait for what is due next and do it; return whether there is more to come."""
        with self.lock:
            mux = self.mux
            self._armed = due = mux.deadline
        if self.orphaned and not self.closed:
            mux = self._shut()
            self._quietly(mux, functools.partial(mux.close, time.monotonic()))
        if self._dials_give_way:
            self._dials_give_way = False
            time.sleep(GIVE_WAY)
        self._dial()
        if self.closed and not self.dropped:
            return False
        self._bell.wait(None if due is None else due - time.monotonic())
        while self.dropped:
            owner, speech = self.dropped.popleft()
            self._quietly(owner, functools.partial(owner.interrupt, speech, time.monotonic()))
        with self.lock:  # other threads change it, and other clients with the same key
            mux = self.mux
            due = mux.deadline
        if due is not None and due <= time.monotonic():
            self._quietly(mux, functools.partial(mux.tick, time.monotonic()))
        return True

    def _dial(self) -> None:
        """Begin the connections that were asked for, but for those of a step that was torn."""
        while self._dials:
            with self.lock:  # else one might be met before it is its connection's
                wire = self._dials.popleft() if self._dials else None
            if wire is not None and wire.wanted:
                wire.start()

    def _quietly(self, mux: Mux, input: Callable[[], object]) -> None:
        """Run an input that nobody waits for; whatever it raises has reached those it concerns."""
        try:
            self.step(mux, input)
        except Exception as exc:
            self.fault(exc)

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

    def drain(self, timeout: float) -> bool:
        """Wait for what is speaking, and close; return whether all of it came to its own end."""
        self.check()
        mux, due = self.mux, time.monotonic() + timeout
        try:
            if not self.closed:
                with suppress(ClosedError):  # a step was torn meanwhile
                    ticket = self.step(mux, lambda: mux.drain(time.monotonic()))
                    self.wait(mux, ticket, due)
        finally:
            self.close()
        self.cut_short = self.cut_short or mux.cut_short or self.mux.cut_short
        return not self.cut_short

    def close(self) -> None:
        """Close the Mux and wait, within limits, for all threads to leave."""
        if self.forked:
            return
        self.check()
        grace = self.configuration.settings.timeouts.close
        mux = self._shut()
        for asker in list(self.askers):
            asker.give_up()
        deadline = time.monotonic() + grace + _shared.CLOSE_MARGIN
        ticket = self.step(mux, lambda: mux.close(time.monotonic()))
        self._dial()  # the clock may have left already, and who is not begun does not end
        self.wait(mux, ticket, deadline)
        self.ring()
        self._join(deadline)
        self._crew.warn(stacklevel=3)

    def _shut(self) -> Mux:
        """Have no other Mux made, and return the one that is to be closed."""
        with self.lock:
            self.closed = True
            return self.mux

    def _join(self, deadline: float) -> None:
        """Wait for the threads there are, and for those that they still start."""
        while (others := self._others()) and (left := deadline - time.monotonic()) > 0:
            others[0].join(left)

    def _others(self) -> list[threading.Thread]:
        """Return the client's threads that run, but for the one that asks."""
        clock = self._clock
        keeps_time = clock is not None and clock.is_alive()
        if clock is None or not keeps_time or clock is threading.current_thread():
            return self._crew.present
        return [*self._crew.present, clock]


def _wire(conn: Connection) -> Wire:
    assert isinstance(conn.handle, Wire), "every connection has its wire from its Dial on"
    return conn.handle
