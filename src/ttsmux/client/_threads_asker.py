"""
What asks a provider something beside speaking, for the threaded client: a thread a question.

The async twin is `_tasks_asker`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..adapter import Voice
from ..core.inquiry import Inquiry
from ..errors import Error, without_frames
from ..transports._socket import CallOff
from ..transports.base import DialError, SyncTransport
from . import _shared
from ._threads_bells import Bell
from ._threads_wire import fetched

if TYPE_CHECKING:
    from ._threads import Engine


class Asker:
    """
    Who carries one inquiry out, and who waits for it.

    A thread of its own fetches the key, dials and reads, for each of these may block; the caller
    waits no longer than it said, and leaves it behind then.
    """

    def __init__(self, engine: Engine, inquiry: Inquiry, seconds: float) -> None:
        self._engine = engine
        self._inquiry = inquiry
        self._seconds = seconds
        self._due = time.monotonic() + seconds
        self._bell = Bell()
        self._given_up = CallOff()
        self._done = False
        self._transport: SyncTransport | None = None

    def ask(self) -> tuple[Voice, ...]:
        """Return the answer. Raises what went wrong, also that there was none in time."""
        engine = self._engine
        try:
            engine.askers.add(self)
            if not engine.closed:  # it may have been, before anybody knew of this
                self._start()
                self._bell.wait(self._due - time.monotonic())
        finally:
            self.give_up()
            engine.askers.discard(self)
        if not self._done:
            raise _shared.unanswered(self._inquiry, self._seconds, engine.closed)
        return self._inquiry.result()

    def _start(self) -> None:
        """Have the thread ask; where none is to be had, there is no answer."""
        try:
            self._engine.start(self._run, "asker")
        except Exception as exc:
            self._inquiry.fail(_shared.undialled(exc))
            self._done = True
            self._bell.ring()

    def give_up(self) -> None:
        """Have the thread leave, and wake who waits for it. From any thread, more than once."""
        self._given_up.set()
        if (transport := self._transport) is not None:
            transport.abort()
        self._bell.ring()

    def _run(self) -> None:
        try:
            while not (self._inquiry.over or self._given_up()):
                self._put()
            self._done = self._inquiry.over and not self._given_up()
        finally:
            self._bell.ring()

    def _put(self) -> None:
        """Make one request, and report to the inquiry whatever comes of it."""
        inquiry, configuration = self._inquiry, self._engine.configuration
        try:
            secret = fetched(self._engine, inquiry.plan.number)
            target = _shared.question(configuration, self._engine.carried, inquiry, secret)
            whole = self._seconds  # as its error is to say: who asks gives it up before that
            transport = self._engine.dialler.connect(target, whole, self._given_up)
            self._transport = transport
            if self._given_up():
                return  # and who gave up may have looked for it a moment too early
            transport.send(_shared.BODILESS)  # which a request keeps until it is read
            transport.read(inquiry)
        except DialError as exc:
            inquiry.lost(exc.failure)
        except Error as exc:
            inquiry.fail(without_frames(exc))
        except BaseException as exc:
            inquiry.fail(_shared.undialled(exc))
