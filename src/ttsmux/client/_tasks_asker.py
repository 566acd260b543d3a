"""
What asks a provider something beside speaking, for the async client: a task a question.

The threaded twin is `_threads_asker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..adapter import Voice
from ..core.inquiry import Inquiry
from ..errors import Error, without_frames
from ..transports.base import DialError
from . import _shared
from ._tasks_bells import Bell
from ._tasks_wire import fetched

if TYPE_CHECKING:
    from ._tasks import Engine


class Asker:
    """
    Who carries one inquiry out, and who waits for it.

    A task of the client's own fetches the key, dials and reads, so that closing the client ends it;
    the caller waits no longer than it said, and cancels it then.
    """

    def __init__(self, engine: Engine, inquiry: Inquiry, seconds: float) -> None:
        self._engine = engine
        self._inquiry = inquiry
        self._seconds = seconds
        self._bell = Bell(engine.loop)
        self._given_up = False
        self._done = False
        self._scope: anyio.CancelScope | None = None

    async def ask(self) -> tuple[Voice, ...]:
        """Return the answer. Raises what went wrong, also that there was none in time."""
        engine = self._engine
        try:
            engine.askers.add(self)
            if not engine.closed:  # as its tasks may be, whose end nobody would tell
                engine.start(self._run)
                with anyio.move_on_after(self._seconds):
                    await self._bell.wait()
        finally:
            self.give_up()
            engine.askers.discard(self)
        if not self._done:
            raise _shared.unanswered(self._inquiry, self._seconds, engine.closed)
        return self._inquiry.result()

    def give_up(self) -> None:
        """Have the task end, and wake who waits for it."""
        self._given_up = True
        if self._scope is not None:
            self._scope.cancel()
        self._bell.ring()

    async def _run(self) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                if self._given_up:
                    self._scope.cancel()
                while not self._inquiry.over:
                    await self._put()
                self._done = True
        finally:
            self._bell.ring()

    async def _put(self) -> None:
        """Make one request, and report to the inquiry whatever comes of it."""
        inquiry, engine = self._inquiry, self._engine
        try:
            secret = await fetched(engine, inquiry.plan.number, "key-asker")
            target = _shared.question(engine.configuration, engine.carried, inquiry, secret)
            whole = self._seconds  # as its error is to say: who asks gives it up before that
            transport = await engine.dialler.connect(target, whole)
            await transport.send(_shared.BODILESS)  # which a request keeps until it is read
            await transport.read(inquiry)
        except DialError as exc:
            inquiry.lost(exc.failure)
        except Error as exc:
            inquiry.fail(without_frames(exc))
        except BaseException as exc:
            if self._given_up or engine.stopping(exc):
                raise
            inquiry.fail(_shared.undialled(exc))
