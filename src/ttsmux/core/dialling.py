"""
When to dial, for whom, and who has to make room.

For those who wait, then for those who asked to have connections ready, then to keep spares; within
the limits of the client and of its provider, and not before a backoff is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..settings import Interrupt
from . import spares
from .connection import Connection
from .crowd import Crowd
from .lane import KEPT_WARM, Lane, Prewarm
from .states import Trust

if TYPE_CHECKING:
    from .pool import Pool


class Dialler:
    """The part of the pool's decision that is about connections there are not, or not for long."""

    def __init__(self, pool: Pool) -> None:
        self.room_for_waiters = True
        """Whether there may be room for those that lack a connection."""
        self.room_for_spares = False
        """Whether there may be room for spares."""
        self.hungry: dict[Lane, None] = {}
        """Lanes that lack a connection: to be looked at again when there may be room."""
        self._pool = pool

    def decide(self, lanes: dict[Lane, None], now: float) -> None:
        """Dial what *lanes* need, and whatever there is room for now."""
        self.dial_for_waiters(lanes, now)
        if self._pool.prewarms:
            self.dial_for_prewarms(now)
        self.dial_for_spares(lanes, now)
        if self._pool.barriers:
            self.hurry(now)

    def dial_for_waiters(self, lanes: dict[Lane, None], now: float) -> None:
        """Dial for those whom no seat that is free or coming will serve."""
        if self.room_for_waiters:
            # What changed elsewhere may have made room for those that lack a connection.
            self.room_for_waiters, lanes = False, lanes | self.hungry
        waited_for = []
        for lane in lanes:
            if lane.line:
                waited_for.append(lane)
            else:
                self._fed(lane)
        if len(waited_for) > 1:
            waited_for.sort(key=lambda lane: lane.line.turn)
        for lane in waited_for:
            waiting, supply = lane.needs, lane.sums.supply
            self._pool.use(lane, now)
            while supply < waiting and self.dial(lane, now, evict=True):
                supply += lane.plan.traits.seats
            if supply < waiting:
                self.hungry[lane] = None
            else:
                self._fed(lane)

    def _fed(self, lane: Lane) -> None:
        """Nobody lacks a connection there any more; spares elsewhere need not stand back."""
        if lane in self.hungry:
            del self.hungry[lane]
            self.room_for_spares = True

    def dial_for_prewarms(self, now: float) -> None:
        for prewarm in self._pool.prewarms:
            lane = prewarm.lane
            if prewarm.due <= now:
                continue
            while lane.sums.warm < self.wanted(prewarm, now):
                if not self.dial(lane, now):
                    break

    def wanted(self, prewarm: Prewarm, now: float) -> int:
        """Return the connections a prewarm stands for: those asked for, and spares behind them."""
        lane, fixed = prewarm.lane, self._pool.settings.pool.min_idle
        seats = spares.target(lane, fixed, mutes=self._mutes(lane), now=now)
        behind = -(-seats // lane.plan.traits.seats)
        return min(prewarm.wanted + behind, self._most(lane))

    def dial_for_spares(self, lanes: dict[Lane, None], now: float) -> None:
        """Keep spare seats in the lanes in use. Never at the cost of another connection."""
        if self.room_for_spares:
            # Also where there was none for them.
            self.room_for_spares, lanes = False, dict.fromkeys(reversed(self._pool.lanes.values()))
        used = lanes if len(lanes) < 2 else sorted(lanes, key=_used_at, reverse=True)
        for lane in used:
            if lane is not self._pool.latest and now >= lane.used_at + KEPT_WARM:
                break
            if lane.blocked or not lane.plan.traits.opens_ahead:
                continue
            if lane.breaker.closed and now < lane.spares_from:
                continue  # else the breaker says when
            while self._short(lane, now) and not self._in_the_way(lane) and self.dial(lane, now):
                pass

    def _in_the_way(self, lane: Lane) -> bool:
        """Return whether who waits elsewhere lacks the room that one more of *lane* would take."""
        # Limits differ: there may be room for *lane* where there is none for them.
        others = (other for other in self.hungry if other is not lane)
        return any(self.full(other) in lane.crowds for other in others)

    def _short(self, lane: Lane, now: float) -> bool:
        if self._pool.draining:
            return False  # nobody comes any more
        # A barrier comes back as a seat, if the provider has ever kept its word.
        acknowledges = self._pool.trust(lane.plan) in (Trust.GIVEN, Trust.EARNED)
        fixed, mutes = self._pool.settings.pool.min_idle, self._mutes(lane)
        return spares.short(lane, fixed, mutes=mutes, acknowledges=acknowledges, now=now)

    def _mutes(self, lane: Lane) -> bool:
        """Return whether an interruption there leaves the connection to the next speech."""
        return lane.plan.traits.ids and self._pool.policy(lane.plan) is not Interrupt.DISCARD

    def dial(self, lane: Lane, now: float, *, evict: bool = False) -> bool:
        """Begin a dial if backoff and limits allow it."""
        if self.rests(lane, now):
            return False
        if not lane.breaker.dials(now, urgent=evict):
            return False
        crowd, number = self._crowded(lane), self._pool.numbered + 1
        if crowd is None and not self._pool.admission.dial(lane, number, now, wait=evict):
            crowd = lane.crowds[1]
        if crowd is not None:
            if evict:
                self._evict(lane, crowd, now)
            return False
        self._pool.numbered = number
        self._pool.counts.dials += 1
        conn = Connection(number, lane, self._pool, now)
        lane.awaits_key = False
        lane.standing.dials(conn)
        lane.breaker.tries(conn, now)
        lane.connections.append(conn)
        for crowd in lane.crowds:
            crowd.connections.append(conn)
        stale = self._pool.stale
        self._pool.changed(conn)
        self._pool.count(now)
        self._pool.looked_at(lane, stale)
        return True

    def rests(self, lane: Lane, now: float) -> bool:
        """Return whether nothing is dialled for *lane* now, room or not: its last dial failed."""
        waits = now < lane.not_before or bool(lane.failures and lane.sums.coming)
        return waits or lane.on_trial or not lane.breaker.dials(now, urgent=bool(lane.line))

    def _most(self, lane: Lane) -> int:
        """Return how many connections *lane* may have at most."""
        allowed, most = lane.plan.traits.connections, self._pool.settings.pool.max_size
        return most if allowed is None else min(allowed, most)

    def full(self, lane: Lane) -> Crowd | None:
        """Return those of which one must go before *lane* may have another; None if it may."""
        if (crowd := self._crowded(lane)) is not None:
            return crowd
        return lane.crowds[1] if self._pool.admission.full(lane) else None

    def _crowded(self, lane: Lane) -> Crowd | None:
        """The same, as far as this client alone is concerned."""
        everyone, mine = lane.crowds
        allowed = lane.plan.traits.connections
        if allowed is not None and len(mine.connections) >= allowed:
            return mine
        return everyone if len(everyone.connections) >= self._pool.settings.pool.max_size else None

    def _evict(self, lane: Lane, crowd: Crowd, now: float) -> None:
        """
        Make room for *lane* in *crowd*: hang up what another lane has had idle for longest.

        Where nothing is idle, a lane that is never short of speeches must not keep out for ever who
        came before them: the connection that will be the first to be done takes no more.
        """
        if crowd.sums.closing:
            return  # room is on its way
        # Two that have nothing to say yet must not take each other's connection in turns.
        # Nor those that may not speak yet.
        urgent, refused = bool(lane.line.urgent), self._pool.admission.refused
        idle = [c for c in crowd.idle if c.lane is not lane and (urgent or not c.lane.line.hopeful)]
        idle = [c for c in idle if not refused(c.lane)]
        # Nor may who came later take what is only resting, for it would be dialled anew at once.
        turn = lane.line.turn
        idle = [c for c in idle if not c.lane.line.urgent or c.lane.line.turn > turn]
        goes = min(idle, key=lambda conn: conn.idle_since, default=None)
        overtaken = urgent and now >= lane.overtaken_until
        if goes is None and overtaken and not crowd.sums.draining:  # else there will be room
            turn = lane.line.turn
            later = [c for c in crowd.connections if c.retirable and c.lane.line.turn > turn]
            goes = min(later, key=lambda conn: len(conn.live), default=None)
        if goes is not None:
            goes.doom("another voice needs the room", now)
            self._pool.count(now)

    def hurry(self, now: float) -> None:
        """
        Cut barriers short where their room is needed.

        That is, for a speech that has nowhere else to go; or for a spare, as long as the provider
        has never acknowledged anything.
        """
        room = self._pool.crowd.sums.closing + sum(conn.hurried for conn in self._pool.barriers)
        for conn in list(self._pool.barriers):
            lane = conn.lane
            if conn.hurried or self.full(lane) is None:
                continue
            untrue = self._pool.trust(lane.plan) in (Trust.UNTRIED, Trust.BROKEN)
            if len(lane.line.urgent) > room and not lane.sums.supply:
                room += 1  # one for each who waits, and no more
                conn.hurry(now)
            elif untrue and self._short(lane, now):
                conn.hurry(now)
            self._pool.count(now)

    def retire_outdated(self, now: float) -> None:
        """Hang up what is idle for too long or too old, once its replacement is up or failed."""
        for conn in list(self._pool.outdated):
            if not conn.lane.sums.coming:
                conn.doom("idle or old", now)
        self._pool.count(now)

    def retire_unused(self, lanes: Iterable[Lane], now: float) -> None:
        """Hang up what is idle of options that nobody has spoken with for a while."""
        for lane in lanes:
            if lane.plain or lane is self._pool.latest or lane.line or lane.prewarms:
                continue
            while lane.idle and now >= lane.unused_at:
                next(iter(lane.idle)).doom("its options are not used any more", now)
                self._pool.count(now)


def _used_at(lane: Lane) -> float:
    return lane.used_at
