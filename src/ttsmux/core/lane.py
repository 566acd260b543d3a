"""
The connections of one pool key, who waits for them, and what is known about dialling there.

Books without decisions: the pool keeps them.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from ..errors import Error
from .breaker import Breaker
from .budget import Budget
from .crowd import NOTHING, Crowd
from .effects import Agenda, Wake
from .line import Line
from .route import Plan
from .speech import END, End
from .standing import Standing
from .states import ConnectionState

if TYPE_CHECKING:
    from .connection import Connection
    from .pool import Pool

OVERTAKEN_FOR = 1.0
"""Seconds for which speeches of another voice may be served before one that finds no room."""
KEPT_WARM = 600.0
"""Seconds for which a lane other than the last one used is given spares."""
_DEAD = 64
_SERVING = (ConnectionState.OPEN, ConnectionState.BARRIER)


class Lane:
    """The connections of one pool key, and what is known about dialling there."""

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        crowds: tuple[Crowd, Crowd],
        breaker: Breaker,
        budget: Budget,
        standing: Standing,
        now: float,
    ) -> None:
        self.plan = plan
        self.plain = False
        """Whether it is what a speech without options of its own uses."""
        self.breaker = breaker
        self.budget = budget
        self.standing = standing
        self.crowds = crowds
        """With whose connections its own share a limit: all the client's, and its provider's."""
        self.armed: float | None = None
        self.line = Line()
        self.connections: list[Connection] = []
        self.sums = NOTHING
        self.idle: dict[Connection, None] = {}
        """Those that are idle and not to be replaced."""
        self.prewarms: list[Prewarm] = []
        self.seatless = 0
        """Speeches for which there was no seat at the last decision; see `max_waiting`."""
        self.decided_at = now
        self.used_at = now
        self.opened_at: float | None = None
        """When the first connection ever came up."""
        self.failures = 0
        self.failed_at = now
        self.error: Error | None = None
        """Why the last dial failed, until one has worked."""
        self.rests_until = now
        """Until when its own dials that failed keep it from dialling."""
        self.awaits_key = False
        """Whether its key was refused, and another voice's dial finds out about a fresh one."""
        self.spares_from = now
        """When spares are dialled again after a loss, or after failures."""
        self.paid = 0
        """What the dials since the last that worked have cost, those after a failure."""
        self.blocked = False
        """No dial will mend it, as with a key or a certificate: no spares until one has worked."""
        self.raised = 0
        """How far speeches that had to wait have raised the number of spares."""
        self.raised_at = now
        self._pool = pool
        self._choices: list[Choice] = []
        """A heap of connections with a free seat, the best first; some have moved meanwhile."""

    @property
    def serving(self) -> bool:
        """Whether there is a connection on which a seat may become free again."""
        # Not from the sums: this may be in the middle of an input, and they are of before it.
        reusable = self.plan.traits.reusable
        return reusable and any(conn.state in _SERVING for conn in self.connections)

    @property
    def needed(self) -> bool:
        """Whether somebody would miss it."""
        return bool(self.connections or self.line or self.prewarms)

    @property
    def needs(self) -> int:
        """Seats for those who wait; more than may speak at once would lie idle."""
        waiting, most = len(self.line), self.plan.traits.generations
        return min(waiting, most) if most else waiting

    # --- connections ------------------------------------------------------------------------------

    def count(self, conn: Connection, now: float) -> None:
        """Find its place for *conn*, which counts for what its share says."""
        conn.choice = None
        if conn.share.idle and not conn.outdated:
            self.idle[conn] = None
        else:
            self.idle.pop(conn, None)
        if conn.share.free > 0:
            conn.choice = _choice(conn, now)
            heapq.heappush(self._choices, conn.choice)
            if len(self._choices) > 2 * len(self.connections) + _DEAD:
                self._choices = [choice for choice in self._choices if choice[-1].choice is choice]
                heapq.heapify(self._choices)

    def best(self) -> Connection | None:
        """
        Choose among the connections with a free seat.

        One that has just acknowledged a cancel is the last choice, for the provider may not have
        meant it; else the fullest, and of equally full ones the one used last: so the others can
        grow idle and go.
        """
        while self._choices:
            choice = self._choices[0]
            if choice[-1].choice is choice:
                return choice[-1]
            heapq.heappop(self._choices)
        return None

    # --- dials ------------------------------------------------------------------------------------

    @property
    def not_before(self) -> float:
        """When it may dial again."""
        return max(self.rests_until, self.standing.asked_until)

    @property
    def on_trial(self) -> bool:
        """Whether another dial is just finding out for it, and others, whether there is any use."""
        standing = self.standing
        return standing.trial is not None and (self.awaits_key or standing.pauses > 0)

    def ready(self, now: float) -> bool:
        """Return whether, as far as is known, a dial would do."""
        failing = bool(self.failures) and now < self.spares_from
        return not self.blocked and not failing and now >= self.standing.asked_until

    # --- clocks -----------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        if self._pool.closing:
            return None
        # What lies before the last decision could not be done then; it waits for something else.
        since, found = self.decided_at, None
        for instant in self._clocks():
            if instant > since and (found is None or instant < found):
                found = instant
        return found

    def _clocks(self) -> list[float]:
        due: list[float] = []
        waited_for = bool(self.line)
        if waited_for or self.prewarms or not self.blocked:
            due += (self.not_before, self.spares_from, self.breaker.due)
        if waited_for:
            if self.line.first is not None:
                due.append(self.overtaken_until)
            if (alarm := self.line.next_alarm) is not None:
                due.append(alarm)
        if self.prewarms:
            due += [prewarm.due for prewarm in self.prewarms]
        if not self.plain and self.idle:
            due.append(self.unused_at)
        return due

    @property
    def unused_at(self) -> float:
        """When the connection that has been idle for longest is of no more use."""
        return max(self.used_at, next(iter(self.idle)).idle_since) + KEPT_WARM

    @property
    def overtaken_until(self) -> float:
        """When whoever is first here has waited for room for long enough."""
        first = self.line.first
        assert first is not None and first.waiting_since is not None, "whoever is in line waits"
        return first.waiting_since + OVERTAKEN_FOR

    def expire(self, now: float) -> None:
        self._pool.look_at(self)

    def close(self) -> None:
        """There will be nothing to decide here any more."""
        self.decided_at = float("inf")


Choice = tuple[bool, bool, int, float, int, "Connection"]


def _choice(conn: Connection, now: float) -> Choice:
    """Return what is the lower the better a choice *conn* is."""
    return (
        conn.cooling_until > now,
        conn.outdated,
        -len(conn.generations),
        -conn.idle_since,
        conn.number,
        conn,
    )


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
