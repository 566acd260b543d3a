"""
What one key may have at once, and which of the process's clients has it.

A provider counts by key, not by client. So clients with the same key share a `Quota`: sockets,
generations, and requests in a minute. Each of their Muxes is a `Member`. What becomes of an input
depends on those before it and on `now`, which is one clock for all of them (`Member.skew`).

**Turns.** Who finds no room waits in line, one place for a client, first come first served; a
client that was served and needs more goes to the end. So each has its turn after one of every
other, however many speeches they have. Whose turn it is has a while to come (`TURN`), and is passed
over then: it may be stuck, or gone without a word.

**Wake-ups.** An input returns whom it concerns; their `news` is set, and the shell that made it
rings for them (`Wake`). Nothing hangs on a ring that is lost: who waits looks again after `TURN`.

**Locks.** Muxes of different threads come here, each with its own lock held. The lock of a quota is
the last one: nothing is called from under it but what stands in this file, so nobody who holds it
waits for anybody, and there can be no deadlock. It must be one that its own thread may take again,
for a signal handler may come in the middle and speak with another client.

**Tears.** That, and a KeyboardInterrupt, may come between any two lines. So what is counted is
lengths of dicts, each changed in one step and gone through as a copy, and what is taken is taken
first and looked at then: whatever comes between, there is never one too many.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext

import msgspec

from ..adapter import Traits

TURN = 1.0
"""Seconds for which a turn waits for its client; and after which a client that waits looks."""
MINUTE = 60.0
_LATE = 1.0
"""Seconds that a request may come later than others do, and still be of another minute."""
PERIOD = MINUTE + _LATE
_CLOSE = 1e-6
"""Seconds that clocks may differ by when they are converted into each other."""


def limited(traits: Traits) -> bool:
    """Return whether there is anything for a quota to count."""
    limits = traits.connections, traits.generations, traits.requests_per_minute
    return any(limit is not None for limit in limits)


class Member:
    """A client's part in a quota; what it holds is given back under its name."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.handle: object = None
        """The shell's to use: whom to ring."""
        self.skew = 0.0
        """What the quota's clock is ahead of the client's, in seconds."""
        self.news = False
        """Whether another client did something that it should look at. Read without the lock."""


class Grant:
    """One thing that a member holds: a connection, or a generation."""

    __slots__ = ()


class _Turn(msgspec.Struct, eq=False):
    traits: Traits
    since: float
    urgent: bool = False
    """Whether there is something to say."""
    called: float | None = None
    """Since when it is its turn, if it is."""


class Demand(msgspec.Struct, frozen=True):
    """Another client waits for a connection, and one of this client's would serve it."""

    since: float
    insists: bool
    """Whether who waits has something to say, and fewer connections."""


class _Pot(ABC):
    """One kind of what a key has a number of, and who waits for it."""

    def __init__(self) -> None:
        self.held: dict[Grant, Member] = {}
        self.queue: dict[Member, _Turn] = {}
        self.granted = 0
        self.returned = 0

    @abstractmethod
    def room(self, traits: Traits, now: float) -> float:
        """Return how many more there may be, for who knows limits as in *traits*."""

    def ahead(self, member: Member) -> int:
        """Count those whose turn comes before that of *member*."""
        for place, other in enumerate(list(self.queue)):
            if other is member:
                return place
        return len(self.queue)

    def take(self, member: Member, grant: Grant, traits: Traits, now: float) -> bool:
        self.held[grant] = member
        room = self.room(traits, now)
        if room >= self.ahead(member):
            if room < math.inf:  # else it took nobody's turn
                self.queue.pop(member, None)
            self.granted += 1
            return True
        del self.held[grant]
        return False

    def join(self, member: Member, traits: Traits, now: float, *, urgent: bool) -> bool:
        """Have *member* wait; return whether that is news to those who could make room."""
        turn = self.queue.get(member)
        if turn is None:
            self.queue[member] = _Turn(traits, now, urgent)
            return True
        # It came; there is less room than when it was called.
        turn.traits, turn.called = traits, None
        more = urgent and not turn.urgent
        turn.urgent = turn.urgent or urgent
        return more

    def leave(self, member: Member) -> list[Member]:
        """Have *member* wait no more; return those who move up."""
        place = self.ahead(member)
        return [] if self.queue.pop(member, None) is None else list(self.queue)[place:]

    def give_back(self, grant: Grant) -> bool:
        if self.held.pop(grant, None) is None:
            return False
        self.returned += 1
        return True

    def forget(self, member: Member) -> list[Member]:
        """Take back all that *member* holds; return those who wait."""
        for grant, holder in list(self.held.items()):
            if holder is member:
                self.give_back(grant)
        self.queue.pop(member, None)
        return list(self.queue)

    def call(self, now: float) -> list[Member]:
        """Return those whose turn it is now, and those who are passed over."""
        late = [m for m, turn in list(self.queue.items()) if _past(turn.called, now)]
        found = [*late, *(other for member in late for other in self.leave(member))]
        for place, (member, turn) in enumerate(list(self.queue.items())):
            if turn.called is None and place < self.room(turn.traits, now):
                turn.called = now
                found.append(member)
        return found


class _Connections(_Pot):
    def __init__(self) -> None:
        super().__init__()
        self.promised: dict[Grant, None] = {}
        """Those that are being given up for who waits."""
        self.wishes: dict[Member, Traits] = {}
        """Who would have one that nobody waits for, to keep it ready."""

    def room(self, traits: Traits, now: float) -> float:
        return math.inf if traits.connections is None else traits.connections - len(self.held)

    def give_back(self, grant: Grant) -> bool:
        self.promised.pop(grant, None)
        return super().give_back(grant)

    def forget(self, member: Member) -> list[Member]:
        self.wishes.pop(member, None)
        return super().forget(member)

    def call(self, now: float) -> list[Member]:
        found = super().call(now)
        if not self.queue:
            for member, traits in list(self.wishes.items()):
                if self.room(traits, now) > 0:
                    self.wishes.pop(member, None)
                    found.append(member)
        return found


class _Generations(_Pot):
    """What speaks at once, and what has begun to within the last minute."""

    def __init__(self, begun: deque[float]) -> None:
        super().__init__()
        self.begun = begun

    def room(self, traits: Traits, now: float) -> float:
        most, each = traits.generations, traits.requests_per_minute
        at_once = math.inf if most is None else most - len(self.held)
        self.forget_old(now)
        return at_once if each is None else min(at_once, each - len(self.begun))

    def take(self, member: Member, grant: Grant, traits: Traits, now: float) -> bool:
        self.begun.append(now)
        if super().take(member, grant, traits, now):
            return True
        self.begun.pop()
        return False

    def forget_old(self, now: float) -> None:
        while self.begun and self.begun[0] + PERIOD <= now + _CLOSE:
            self.begun.popleft()

    def open_at(self, traits: Traits, ahead: int, now: float) -> float:
        """Return when requests allow one more after *ahead* others, if each comes at once."""
        each = traits.requests_per_minute
        if each is None:
            return now
        self.forget_old(now)
        # What must be a minute old by then: the one that is as many before it as a minute bears.
        index, periods = len(self.begun) + ahead - each, 1
        while index >= len(self.begun):  # which has yet to come itself
            index -= each
            periods += 1
        if index < 0:
            return now + (periods - 1) * PERIOD
        return self.begun[index] + periods * PERIOD


class Quota:
    """
    What one key may have, for all who use it. Inputs return whom to ring for.

    It is needed for as long as anybody has it; its requests, *begun*, for a minute longer.
    """

    def __init__(
        self,
        lock: AbstractContextManager[object] | None = None,
        begun: deque[float] | None = None,
    ) -> None:
        self._lock = nullcontext() if lock is None else lock
        self._now = -math.inf
        self.connections = _Connections()
        self.generations = _Generations(deque() if begun is None else begun)
        self.left: deque[Member] = deque()
        """Members that are gone; a finaliser, which may take no lock, appends to it."""

    # --- members ----------------------------------------------------------------------------------

    def abandon(self, member: Member, closing: Collection[Grant]) -> list[Member]:
        """The client of *member* was torn: it has nothing but connections that are *closing*."""
        with self._lock:
            pot = self.connections
            pot.wishes.pop(member, None)
            for grant, holder in list(pot.held.items()):
                if holder is member and grant not in closing:
                    pot.give_back(grant)
            moved = pot.leave(member) + self.generations.forget(member)
            return _told(moved + self._call(self._now), member)

    def _forget(self, member: Member) -> list[Member]:
        moved = self.connections.forget(member)
        return moved + self.generations.forget(member)

    def _at(self, now: float) -> tuple[float, list[Member]]:
        """Go to *now*, which other clocks may be ahead of a little; see who went meanwhile."""
        self._now = now = max(self._now, now)
        found = []
        while self.left:
            found += self._forget(self.left.popleft())
        self.generations.forget_old(now)
        return now, found

    # --- asking and giving back -------------------------------------------------------------------

    def full(self, traits: Traits, member: Member) -> bool:
        """Return whether *member* would have to wait for a connection."""
        with self._lock:
            pot = self.connections
            return pot.room(traits, self._now) <= pot.ahead(member)

    def connect(
        self, member: Member, traits: Traits, now: float, *, wait: bool, urgent: bool
    ) -> tuple[Grant | None, list[Member]]:
        """
        Return a grant for a connection, or None if there is none to be had now.

        Then *member* waits, and those who hold one may give it up, the more so if it is *urgent*;
        or, if it is not to *wait*, it is told when there is one that nobody waits for.
        """
        with self._lock:
            now, found = self._at(now)
            grant, pot = Grant(), self.connections
            if pot.take(member, grant, traits, now):
                pot.wishes.pop(member, None)
                return grant, _told(found, member)
            if not wait:
                pot.wishes[member] = traits
            elif pot.join(member, traits, now, urgent=urgent):
                found += pot.held.values()
            return None, _told(found + self._call(now), member)

    def speak(
        self, member: Member, traits: Traits, now: float
    ) -> tuple[Grant | None, list[Member]]:
        """Return a grant for a generation; if there is none to be had, have *member* wait."""
        with self._lock:
            now, found = self._at(now)
            grant = Grant()
            if self.generations.take(member, grant, traits, now):
                return grant, _told(found, member)
            self.generations.join(member, traits, now, urgent=True)
            return None, _told(found + self._call(now), member)

    def give_back(self, member: Member, grants: Iterable[Grant], now: float) -> list[Member]:
        with self._lock:
            now, found = self._at(now)
            for grant in grants:
                if not self.connections.give_back(grant):
                    self.generations.give_back(grant)
            return _told(found + self._call(now), member)

    def leave(
        self, member: Member, now: float, *, connections: bool, generations: bool
    ) -> list[Member]:
        """Have *member* wait no more for one or the other."""
        with self._lock:
            now, found = self._at(now)
            found += self.connections.leave(member) if connections else []
            found += self.generations.leave(member) if generations else []
            return _told(found + self._call(now), member)

    def look(self, member: Member, now: float) -> list[Member]:
        """
        Call whose turn it is, and pass over who did not come.

        While *member* waits, all are rung for who hold something, for whom there are news since
        long perhaps: who cannot be rung for any more is gone, and this is how that is found out.
        """
        with self._lock:
            now, found = self._at(now)
            told = _told(found + self._call(now), member)
            holders = [*self.connections.held.values(), *self.generations.held.values()]
            if any(self.waits(member)):
                told += [other for other in dict.fromkeys(holders) if other not in (member, *told)]
            return told

    def _call(self, now: float) -> list[Member]:
        return self.connections.call(now) + self.generations.call(now)

    # --- what members look at ---------------------------------------------------------------------

    def waits(self, member: Member) -> tuple[bool, bool]:
        """Return whether *member* is in line for a connection, and for a generation."""
        return member in self.connections.queue, member in self.generations.queue

    def must_wait(self, member: Member, now: float) -> bool:
        """Return whether *member* is in line for a generation, and its turn has not come."""
        with self._lock:
            turn = self.generations.queue.get(member)
            return turn is not None and not self.may_speak(member, turn.traits, now)

    def may_speak(self, member: Member, traits: Traits, now: float) -> bool:
        """Return whether *member* would be granted a generation now."""
        with self._lock:
            pot = self.generations
            return pot.room(traits, max(self._now, now)) > pot.ahead(member)

    def demand(self, member: Member) -> Demand | None:
        """Return who is first to need a connection that *member* might give up, if anybody is."""
        with self._lock:
            pot = self.connections
            for place, (other, turn) in enumerate(list(pot.queue.items())):
                coming = max(0.0, pot.room(turn.traits, self._now)) + len(pot.promised)
                if other is not member and place >= coming:
                    holders = list(pot.held.values())
                    fewer = holders.count(other) < holders.count(member)
                    return Demand(turn.since, turn.urgent and fewer)
            return None

    def promise(self, grant: Grant) -> None:
        """The connection of *grant* is given up for who waits."""
        with self._lock:
            self.connections.promised[grant] = None

    def open_at(self, traits: Traits, ahead: int, now: float) -> float:
        """Return when requests allow one more after *ahead* others of the same client."""
        with self._lock:
            return self.generations.open_at(traits, ahead, max(self._now, now))

    def opens_for(self, member: Member, now: float) -> float | None:
        """Return when requests allow *member* its turn; None if it does not wait for that."""
        with self._lock:
            turn = self.generations.queue.get(member)
            if turn is None:
                return None
            ahead = self.generations.ahead(member)
            return self.generations.open_at(turn.traits, ahead, max(self._now, now))

    @property
    def held(self) -> tuple[int, int]:
        """How many connections and generations all clients have."""
        with self._lock:
            return len(self.connections.held), len(self.generations.held)

    def others(self, member: Member) -> tuple[int, int]:
        """Return how many connections and generations other clients have."""
        with self._lock:
            held = (self.connections.held, self.generations.held)
            mine, speaking = (sum(who is not member for who in pot.values()) for pot in held)
            return mine, speaking


def recent(begun: deque[float], now: float) -> bool:
    """Return whether there is a request among *begun*, in order, that still counts."""
    return bool(begun) and begun[-1] + PERIOD > now + _CLOSE


def _told(found: Iterable[Member], member: Member) -> list[Member]:
    """Note that there are news for *found*, and return those who must be told of it."""
    told = []
    for other in dict.fromkeys(found):
        if not other.news:
            other.news = True
            if other is not member:
                told.append(other)
    return told


def _past(called: float | None, now: float) -> bool:
    return called is not None and now >= called + TURN
