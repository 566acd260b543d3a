"""
What the core asks of a shell, and the agenda that collects it.

An effect is handed over in the same step as the input that caused it, in order. Each names what the
shell owes in return, exactly once.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..adapter import Frame, Ping

if TYPE_CHECKING:
    from .connection import Connection


class Dial(msgspec.Struct, frozen=True):
    """
    Open *conn*. Owed: `dialled` or `dial_failed`.

    `conn.handshake(secret)` says how, with a key that is fetched for this dial where it can be;
    *timeout* is the time left from DNS to ready, in seconds.
    """

    conn: Connection
    timeout: float


class Send(msgspec.Struct, frozen=True):
    """Send *frames* in order. Owed: nothing; `lost` if any of it failed."""

    conn: Connection
    frames: Sequence[Frame | Ping]


class HangUp(msgspec.Struct, frozen=True):
    """
    Send *frames*, do the closing handshake, cut after *grace* seconds.

    Owed: `lost`, or `dial_failed` if it was still being dialled.
    """

    conn: Connection
    frames: Sequence[Frame]
    grace: float


class Wake(msgspec.Struct, frozen=True):
    """Whoever waits behind *handle* has something to look at. Owed: nothing."""

    handle: object


class Event(msgspec.Struct, frozen=True):
    """A fact for logs, metrics and hooks: a stable name and plain fields, never text or keys."""

    name: str
    fields: Mapping[str, object]


class Report(msgspec.Struct, frozen=True):
    """Tell whoever listens, last, outside any lock. Owed: nothing."""

    event: Event


Effect = Dial | Send | HangUp | Wake | Report


_DEAD = 64


class Timed(Protocol):
    """Something with clocks: when it wants to be looked at, and what to do then."""

    armed: float | None
    """The earliest instant at which the agenda will look at it."""

    def deadline(self) -> float | None:
        """Return the earliest instant at which `expire` has something to do, or None."""

    def expire(self, now: float) -> None:
        """Do what is due; afterwards `deadline()` lies after *now* or is None."""


class Agenda:
    """
    What the inputs so far have come to: effects to carry out, and instants to come back at.

    Deadlines are re-armed lazily. Most of them are moved forward by every frame, so the heap keeps
    the old instant, and `due` compares when it comes. Only an *earlier* deadline must be told, with
    `touch`.
    """

    __slots__ = ("_dead", "_heap", "_sequence", "deadline", "effects", "moved", "touched")

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self._heap: list[tuple[float, int, Timed]] = []
        self._sequence = 0
        self._dead = 0
        """Entries of the heap, about, that nobody waits for any more."""
        self.touched: dict[Timed, None] = {}
        """What `arm` has to look at."""
        self.deadline: float | None = None
        """When `due` wants to be called next, as of the last `arm`."""
        self.moved = False
        """Whether that has changed since the effects were last fetched."""

    @property
    def pending(self) -> bool:
        """Whether there is anything to carry out, or the deadline may have come nearer."""
        return self.moved or bool(self.effects)

    def do(self, effect: Effect) -> None:
        self.effects.append(effect)

    def report(self, name: str, **fields: object) -> None:
        self.effects.append(Report(Event(name, fields)))

    def touch(self, timed: Timed) -> None:
        """Say that a clock of *timed* may now be due earlier than before."""
        self.touched[timed] = None

    def expect(self, timed: Timed, at: float) -> None:
        """Say that a clock of *timed* may be due from *at* on: `touch`, without a look at them."""
        if timed.armed is None or at < timed.armed:
            self._push(timed, at)
            if self.deadline is None or at < self.deadline:
                self.deadline, self.moved = at, True

    def _push(self, timed: Timed, at: float) -> None:
        self._dead += timed.armed is not None
        timed.armed = at
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, timed))

    def arm(self) -> None:
        """Put what was touched since into the heap, where it is due earlier than known."""
        for timed in self.touched:
            due = timed.deadline()
            if due is not None and (timed.armed is None or due < timed.armed):
                self._push(timed, due)
            elif due is None and timed.armed is not None:
                timed.armed = None
                self._dead += 1
        self.touched.clear()
        if self._dead > _DEAD and 2 * self._dead > len(self._heap):
            # What is over must not be kept, text and all, until an instant that is hours away.
            self._heap = [entry for entry in self._heap if entry[2].armed == entry[0]]
            heapq.heapify(self._heap)
            self._dead = 0
        while self._heap and self._heap[0][2].armed != self._heap[0][0]:
            heapq.heappop(self._heap)  # else the shell would wake for nothing
            self._dead -= 1
        due = self._heap[0][0] if self._heap else None
        self.moved = self.moved or due != self.deadline
        self.deadline = due

    def due(self, now: float) -> list[Timed]:
        """Return what has something to do now, and move the rest of what came up forward."""
        found: list[Timed] = []
        while self._heap and self._heap[0][0] <= now:
            instant, _, timed = heapq.heappop(self._heap)
            if timed.armed != instant:
                continue  # armed again for an earlier instant since, and looked at then
            timed.armed = None
            self.touch(timed)
            due = timed.deadline()
            if due is not None and due <= now:
                found.append(timed)
        return found
