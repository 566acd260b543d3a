"""
The connections of one pool key, and what somebody waits for there who is not a speech.

Values without decisions: the pool keeps them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Error
from .effects import Agenda, Wake
from .route import Plan
from .speech import END, End

if TYPE_CHECKING:
    from .connection import Connection


class Lane:
    """The connections of one pool key, and what is known about dialling there."""

    def __init__(self, plan: Plan, now: float) -> None:
        self.plan = plan
        self.connections: list[Connection] = []
        self.used_at = now
        self.opened_at: float | None = None
        """When the first connection ever came up."""
        self.failures = 0
        self.failed_at = now
        self.error: Error | None = None
        """Why the last dial failed, until one has worked."""
        self.not_before = now
        self.refresh = False
        """The next dial asks for a fresh key."""
        self.refreshed = False
        self.last_with_old_key = 0
        """The number of the last connection that was dialled before a fresh key was asked for."""
        self.spares_from = now
        """When spares are dialled again, after failures that nobody waited through."""
        self.blocked = False
        """The key was refused: no spares until it works again."""
        self.raised = 0
        """How far speeches that had to wait have raised the number of spares."""
        self.raised_at = now

    @property
    def coming(self) -> list[Connection]:
        return [conn for conn in self.connections if conn.coming]


class Ticket:
    """What somebody waits for who is not a speech: a prewarm, or the end of all connections."""

    def __init__(self) -> None:
        self.handle: object = None
        """The shell's to use."""
        self.ready = 0
        """Connections that are ready, once a prewarm is done."""
        self.done = False
        self.error: Error | None = None
        self._waited_for = False

    def finish(self, agenda: Agenda, error: Error | None = None) -> None:
        if not self.done:
            self.done, self.error = True, error
            if self._waited_for:
                agenda.do(Wake(self.handle))

    def read(self) -> End | None:
        """Return END when there is nothing left to wait for, None before; raise what went wrong."""
        if self.error is not None:
            raise self.error
        if self.done:
            return END
        self._waited_for = True
        return None


class Prewarm(Ticket):
    """A ticket for connections of one lane."""

    def __init__(self, lane: Lane, wanted: int, due: float) -> None:
        super().__init__()
        self.lane = lane
        self.wanted = wanted
        self.due = due
        """When it ends with what is ready."""
