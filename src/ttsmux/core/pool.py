"""
Who gets which seat; when to dial, keep a spare, retire.

One function, `Pool._assign`, decides all of that, in the order of its cases. It runs after every
input that changed anything it looks at (`stale`), never between two halves of a decision, and it
waits for nothing: that is what pools whose decisions are interleaved with I/O get wrong.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

import attrs

from ..errors import AuthError, ClosedError, Error, PoolFull
from ..settings import Interrupt, Settings
from .connection import Connection
from .effects import Agenda
from .lane import Lane, Prewarm, Ticket
from .retry import backoff
from .route import Plan
from .speech import Speech
from .states import ConnectionState, Trust

if TYPE_CHECKING:
    from random import Random

_MOST_SPARES = 4
"""⌈dial time ÷ time between interruptions⌉ are needed: 300 ms and 100 ms need 3."""
_DECAY = 60.0
"""Seconds after which the adaptive target falls by one."""
_SAME = 5.0
"""Seconds between the dials of connections that count as of one age."""
_LANE_KEPT_WARM = 600.0
"""Seconds for which a lane other than the last one used is given spares."""
_MOST_LANES = 256
_OUTAGE = 5
"""Failed dials in a row after which spares are no longer tried for."""
_OUTAGE_LASTS = 60.0
"""Seconds until they are again; for a speech there are dials all the same."""
_SERVING = (ConnectionState.OPEN, ConnectionState.BARRIER)
_OVERTAKEN_FOR = 1.0
"""Seconds for which speeches of another voice may be served before one that finds no room."""


@attrs.frozen(kw_only=True)
class PoolStats:
    """
    What a client's connections are doing, and what they have done so far.

    Every connection that was opened is closed or still there (`opened = closed + live`), and every
    seat that was taken was given back or is held (`leased = released + held`).

    Attributes:
        size: connections, those being dialled or closed included.
        dialling, idle, busy, closing: of those.
        live: those of them that were open once.
        seats_free: speeches that could begin at once.
        held: generations that the providers count, those that nobody listens to included.
        waiting: speeches that wait for a seat.
        dials: dials begun so far.
        dials_failed: of those, how many failed, or ended before they served anything.
        opened, closed: connections that came up, and those of them that are gone.
        lost: of those that are gone, how many we did not close ourselves.
        leased, released: seats that speeches took, and gave back.
        queued: of the seats taken, how many were waited for.
        wait_seconds: all that waiting together.
        timeouts: speeches that waited in vain.
    """

    size: int
    dialling: int
    idle: int
    busy: int
    closing: int
    live: int
    seats_free: int
    held: int
    waiting: int
    dials: int
    dials_failed: int
    opened: int
    closed: int
    lost: int
    leased: int
    released: int
    queued: int
    wait_seconds: float
    timeouts: int


@attrs.define
class Counts:
    """What has happened so far; see `PoolStats`."""

    dials: int = 0
    dials_failed: int = 0
    opened: int = 0
    closed: int = 0
    lost: int = 0
    leased: int = 0
    released: int = 0
    queued: int = 0
    wait_seconds: float = 0.0
    timeouts: int = 0


class Pool:
    """All connections of a client, and the speeches that wait for one."""

    def __init__(self, settings: Settings, rng: Random, agenda: Agenda) -> None:
        self.settings = settings
        self.rng = rng
        self.agenda = agenda
        self.stale = False
        """Whether something changed that `_assign` looks at."""
        self.armed: float | None = None
        self.draining = False
        """Whether new speeches are refused."""
        self.closing = False
        """Whether nothing is dialled any more."""
        self.speeches: dict[Speech, None] = {}
        """Those that are not over."""
        self._decided_at = float("-inf")
        self.connections: list[Connection] = []
        self.lanes: dict[Hashable, Lane] = {}
        self._seats: deque[Speech] = deque()
        """Speeches that have text to send and no seat, first come first served."""
        self._hopeful: dict[Speech, None] = {}
        """Speeches without text yet: a connection is dialled for them, not reserved."""
        self._leases: dict[Speech, Connection] = {}
        """Speeches between two generations, each with the connection that is kept for it."""
        self._prewarms: list[Prewarm] = []
        self._closers: list[Ticket] = []
        self._trust: dict[int, Trust] = {}
        """How far each route's provider has kept its word."""
        self.counts = Counts()

    # --- speeches ---------------------------------------------------------------------------------

    def lane(self, plan: Plan, now: float) -> Lane:
        lane = self.lanes.get(plan.key)
        if lane is None:
            lane = self.lanes[plan.key] = Lane(plan, now)
            self._forget_lanes()
        return lane

    def _forget_lanes(self) -> None:
        spent = [key for key, lane in self.lanes.items() if not lane.connections]
        waiting = {speech.plan.key for speech in (*self._seats, *self._hopeful)}
        waiting |= {prewarm.lane.plan.key for prewarm in self._prewarms}
        for key in spent[: max(0, len(self.lanes) - _MOST_LANES)]:
            if key not in waiting and key != next(reversed(self.lanes)):
                del self.lanes[key]

    def admit(self) -> None:
        """
        Check that a new speech may come.

        Raises:
            ClosedError: the client is closed or draining.
            PoolFull: too many wait already.
        """
        if self.draining:
            msg = "the client is closed" if self.closing else "the client is draining"
            raise ClosedError(msg, phase="close")
        limit = self.settings.pool.max_waiting
        if limit is not None and self._seatless() >= limit:
            msg = f"{limit} speeches wait for a seat already, which is max_waiting"
            raise PoolFull(msg, phase="acquire")

    def _seatless(self) -> int:
        """Return how many speeches there is no seat for; one without text may have one free."""
        wanted = Counter(speech.plan.key for speech in (*self._seats, *self._hopeful))
        for conn in self.connections:
            wanted[conn.plan.key] -= conn.free_seats
        return sum(count for count in wanted.values() if count > 0)

    def enlist(self, speech: Speech) -> None:
        self.speeches[speech] = None
        self.agenda.touch(speech)
        self.wait_for_text(speech)

    def dismiss(self, speech: Speech) -> None:
        """*speech* is over."""
        self.speeches.pop(speech, None)
        self.agenda.touch(speech)
        self.stale = True

    def wait_for_text(self, speech: Speech) -> None:
        """Have a connection ready for *speech*, which has nothing to send yet."""
        self._hopeful[speech] = None
        self.stale = True

    def keep(self, speech: Speech, conn: Connection) -> None:
        """Have *speech* speak on there: it is between two generations."""
        self._leases[speech] = conn
        conn.lessee = speech
        self.stale = True

    def wait(self, speech: Speech, now: float, *, first: bool = False) -> None:
        """Queue *speech* for a seat, at the front if it was served before."""
        self._hopeful.pop(speech, None)
        if speech.waiting_since is None:
            speech.waiting_since = now
            if speech in self._leases:
                pass  # it has a seat of its own
            elif first:
                self._seats.appendleft(speech)
            else:
                self._seats.append(speech)
            self.agenda.touch(speech)
            self.stale = True

    def forget(self, speech: Speech) -> None:
        self._hopeful.pop(speech, None)
        conn = self._leases.pop(speech, None)
        if conn is not None:
            conn.lessee = None
            self.stale = True
        elif speech.waiting_since is not None:
            self._seats.remove(speech)
        speech.waiting_since = None

    # --- what connections tell --------------------------------------------------------------------

    def policy(self, plan: Plan) -> Interrupt:
        """Return what an interruption does there, as far as the provider kept its word so far."""
        return Interrupt.DISCARD if self.trust(plan) is Trust.BROKEN else plan.route.policy

    def trust(self, plan: Plan) -> Trust:
        return self._trust.get(plan.number, Trust.UNTRIED)

    def distrust(self, culprit: Connection, why: str, now: float) -> None:
        """A cancel was not honoured: nothing shall wait for one there again."""
        plan = culprit.plan
        self._trust[plan.number] = Trust.BROKEN
        self.agenda.report("interrupt.distrusted", provider=plan.adapter.name, reason=why)
        for conn in list(self.connections):
            if conn is not culprit and conn.plan.number == plan.number and conn.suspect:
                conn.doom("its provider does not mean its acknowledgements", now)

    def acknowledged(self, plan: Plan) -> None:
        """A cancel was acknowledged."""
        if self.trust(plan) is Trust.UNTRIED:
            self._trust[plan.number] = Trust.GIVEN
        self.stale = True

    def stayed_silent(self, plan: Plan) -> None:
        """A connection that acknowledged a cancel kept silent for long enough."""
        if self.trust(plan) is Trust.GIVEN:
            self._trust[plan.number] = Trust.EARNED

    def opened(self, conn: Connection, now: float) -> None:
        lane = conn.lane
        lane.opened_at = now if lane.opened_at is None else lane.opened_at
        self.counts.opened += 1
        self.stale = True

    def gone(self, conn: Connection) -> None:
        """*conn* is no socket any more."""
        if conn in conn.lane.connections:
            conn.lane.connections.remove(conn)
            self.connections.remove(conn)
            self.counts.closed += conn.opened_at is not None
            self.agenda.touch(conn)
            self.stale = True

    def aged(self, lost: Connection) -> None:
        """*lost* ended while it rested: idle ones of its age have ended too, or soon will."""
        for conn in lost.lane.connections:
            assert lost.opened_at is not None, "it rested"
            if (
                conn.idle
                and conn.opened_at is not None
                and conn.opened_at <= lost.opened_at + _SAME
            ):
                conn.outdated = self.stale = True

    def lane_works(self, lane: Lane) -> None:
        lane.failures = 0
        lane.error = None
        lane.refreshed = lane.blocked = False

    def lane_failed(self, conn: Connection, error: Error, now: float) -> bool:
        """
        A connection came to nothing before it did anything for us.

        Returns:
            whether it is to be tried again at once, with a fresh key, as if nothing had happened.
        """
        lane = conn.lane
        lane.error = error
        self.counts.dials_failed += 1
        self.stale = True
        if isinstance(error, AuthError):
            if lane.plan.route.refreshable and conn.number <= lane.last_with_old_key:
                return True  # it was under way with the old key when that was found out
            if lane.plan.route.refreshable and not lane.refreshed:
                lane.refresh = lane.refreshed = True
                lane.last_with_old_key = self.counts.dials
                return True
            lane.blocked = True
        # Whoever says so: what a provider asks for is not undercut.
        lane.not_before = max(lane.not_before, now + (error.retry_after or 0.0))
        if conn.began >= lane.failed_at:
            # Dials that were under way together fail together: that is one failure.
            lane.failures += 1
            lane.failed_at = now
            wait = backoff(self.settings.retry, lane.failures, self.rng)
            lane.not_before = max(lane.not_before, now + wait)
            if lane.failures >= _OUTAGE:
                lane.spares_from = now + _OUTAGE_LASTS
            self._tell_waiters(lane, error, now)
        return False

    def _tell_waiters(self, lane: Lane, error: Error, now: float) -> None:
        """Let those hear of a failed dial who have no other connection to hope for."""
        if not error.retryable:
            for prewarm in [p for p in self._prewarms if p.lane is lane]:
                self._finish(prewarm, error)
        if error.retryable and any(conn.state in _SERVING for conn in lane.connections):
            return  # a seat there will be free some time; perhaps the provider allows no more
        ready = sum(conn.free_seats for conn in lane.connections)
        waiting = [s for s in (*self._seats, *self._hopeful) if s.plan.key == lane.plan.key]
        patience = self.settings.pool.acquire_timeout
        give_up = not error.retryable or lane.not_before > now + patience
        for speech in waiting[ready:]:
            speech.dial_failed(error.copy(), now, give_up=give_up)

    # --- tickets ----------------------------------------------------------------------------------

    def prewarm(self, plan: Plan, n: int, due: float, now: float) -> Prewarm:
        lane = self.lane(plan, now)
        lane.used_at = now
        prewarm = Prewarm(lane, n, due)
        self._prewarms.append(prewarm)
        self.agenda.touch(self)
        self.stale = True
        return prewarm

    def _finish(self, prewarm: Prewarm, error: Error | None = None) -> None:
        self._prewarms.remove(prewarm)
        lane = prewarm.lane
        prewarm.ready = sum(conn.state is ConnectionState.OPEN for conn in lane.connections)
        prewarm.finish(self.agenda, error)

    # --- the decision -----------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Decide, if anything changed; until nothing does."""
        while self.stale:
            self.stale = False
            self._assign(now)

    def _assign(self, now: float) -> None:
        self._decided_at = now
        if self.draining and not self.speeches and not self.closing:
            self.close(now)
        self._serve(now)
        if not self.closing:
            self._dial_for_waiters(now)
            self._dial_for_prewarms(now)
            self._dial_for_spares(now)
            self._hurry(now)
        self._retire_outdated(now)
        self._finish_tickets(now)
        self.agenda.touch(self)

    def _serve(self, now: float) -> None:
        """Give free seats to those who wait, first come first served."""
        self._serve_lessees(now)
        full: set[Hashable] = set()
        for speech in list(self._seats):
            if speech.plan.key in full or speech.not_before > now:
                continue
            lane = self.lane(speech.plan, now)
            conn = self._best(lane, now)
            if conn is None:
                full.add(speech.plan.key)
                continue
            since = speech.waiting_since
            assert since is not None, "whoever is in the queue waits"
            waited = conn.opened_at is not None and conn.opened_at > since
            self.forget(speech)
            lane.used_at = now
            self.counts.queued += now > since
            self.counts.wait_seconds += now - since
            if waited and lane.opened_at is not None and since >= lane.opened_at:
                # One spare more would have saved it the wait; a cold start could not have had one.
                lane.raised, lane.raised_at = min(_MOST_SPARES, self._raised(lane, now) + 1), now
            speech.seat(conn.begin(speech, now), now)
            self.stale = True  # that may have been the last seat

    def _serve_lessees(self, now: float) -> None:
        """Have those go on who have a connection of their own; one that lost it queues first."""
        for speech, conn in list(self._leases.items()):
            if conn.state is not ConnectionState.OPEN:
                waits = speech.waiting_since is not None
                del self._leases[speech]
                if waits:
                    self._seats.appendleft(speech)
                else:
                    self._hopeful[speech] = None
            elif speech.waiting_since is not None and conn.room > 0:
                self.forget(speech)
                conn.lane.used_at = now
                speech.seat(conn.begin(speech, now), now)

    def _best(self, lane: Lane, now: float) -> Connection | None:
        """
        Choose among the connections with a free seat.

        One that has just acknowledged a cancel is the last choice, for the provider may not have
        meant it; else the fullest, and of equally full ones the one used last: so the others can
        grow idle and go.
        """
        found = [conn for conn in lane.connections if conn.free_seats > 0]
        return max(
            found,
            key=lambda conn: (
                conn.cooling_until <= now,
                not conn.outdated,
                len(conn.generations),
                conn.idle_since,
            ),
            default=None,
        )

    def _dial_for_waiters(self, now: float) -> None:
        """Dial for those whom no seat that is free or coming will serve."""
        for lane, waiting in self._demand(now).items():
            lane.used_at = now
            supply = self._supply(lane)
            while supply < waiting and self._dial(lane, now, evict=True):
                supply += lane.plan.traits.seats

    def _demand(self, now: float) -> dict[Lane, int]:
        """Return how many speeches wait in each lane, those without text included."""
        found: dict[Lane, int] = {}
        for speech in (*self._seats, *self._hopeful):
            lane = self.lane(speech.plan, now)
            found[lane] = found.get(lane, 0) + 1
        return found

    def _supply(self, lane: Lane) -> int:
        """Return the seats that are free, or will be when the dials under way are through."""
        seats = lane.plan.traits.seats
        return sum(
            seats if conn.coming or conn.watched else conn.free_seats for conn in lane.connections
        )

    def _dial_for_prewarms(self, now: float) -> None:
        for prewarm in self._prewarms:
            lane = prewarm.lane
            if prewarm.due <= now:
                continue
            while len(self._warm(lane)) < self._wanted(prewarm, now):
                if not self._dial(lane, now):
                    break

    def _wanted(self, prewarm: Prewarm, now: float) -> int:
        """Return the connections a prewarm stands for: those asked for, and spares behind them."""
        lane = prewarm.lane
        spares = -(-self._target(lane, now) // lane.plan.traits.seats)
        return min(prewarm.wanted + spares, self._most(lane))

    def _warm(self, lane: Lane) -> list[Connection]:
        return [conn for conn in lane.connections if conn.coming or conn.idle]

    def _dial_for_spares(self, now: float) -> None:
        """Keep spare seats in the lanes in use. Never at the cost of another connection."""
        demand = self._demand(now)
        lanes = sorted(self.lanes.values(), key=lambda lane: lane.used_at, reverse=True)
        for place, lane in enumerate(lanes):
            if place and now >= lane.used_at + _LANE_KEPT_WARM:
                break
            if lane.blocked or now < lane.spares_from or not lane.plan.traits.reusable:
                continue
            while self._short(lane, demand.get(lane, 0), now) and self._dial(lane, now):
                pass

    def _short(self, lane: Lane, waiting: int, now: float) -> bool:
        """Return whether, with those who wait served, a lane has fewer spares than it should."""
        traits = lane.plan.traits
        fixed = self.settings.pool.min_idle
        if self._mutes(lane) and (fixed is None or (fixed and traits.max_muted is not None)):
            # Muted generations use a connection up: what counts is how many more it can bear.
            muted = fixed is not None or any(conn.muted for conn in lane.connections)
            wanted = max(1, traits.seats - 1)
            if traits.max_muted is not None:
                wanted = min(wanted, _MOST_SPARES)
            if fixed is not None:
                wanted = fixed
            fresh = min(traits.seats, traits.max_muted or traits.seats)
            bearable = sum(fresh if c.coming else c.bearable for c in lane.connections)
            return muted and bearable - waiting < wanted
        return self._spares(lane) - waiting < self._target(lane, now)

    def _mutes(self, lane: Lane) -> bool:
        """Return whether an interruption there leaves the connection to the next speech."""
        return lane.plan.traits.ids and self.policy(lane.plan) is not Interrupt.DISCARD

    def _spares(self, lane: Lane) -> int:
        """Return the free seats there are and soon will be, outdated ones left out."""
        seats = lane.plan.traits.seats
        # A barrier comes back as a seat, if the provider has ever kept its word.
        acknowledges = self.trust(lane.plan) in (Trust.GIVEN, Trust.EARNED)
        found = 0
        for conn in lane.connections:
            held = conn.state is ConnectionState.BARRIER and acknowledges
            if conn.coming or conn.watched or held:
                found += seats
            elif not conn.outdated:
                found += conn.free_seats
        return found

    def _target(self, lane: Lane, now: float) -> int:
        """Return how many spare seats a lane should have."""
        fixed = self.settings.pool.min_idle
        if fixed is not None:
            return fixed
        return 0 if self._mutes(lane) else min(_MOST_SPARES, 1 + self._raised(lane, now))

    def _raised(self, lane: Lane, now: float) -> int:
        return max(0, lane.raised - int((now - lane.raised_at) / _DECAY))

    def _dial(self, lane: Lane, now: float, *, evict: bool = False) -> bool:
        """Begin a dial if backoff and limits allow it."""
        if now < lane.not_before or (lane.failures and lane.coming):
            return False
        if crowd := self._crowd(lane):
            if evict:
                self._evict(lane, crowd, now)
            return False
        self.counts.dials += 1
        conn = Connection(self.counts.dials, lane, self, lane.refresh, now)
        lane.refresh = False
        lane.connections.append(conn)
        self.connections.append(conn)
        return True

    def _most(self, lane: Lane) -> int:
        """Return how many connections *lane* may have at most."""
        allowed, most = lane.plan.traits.connections, self.settings.pool.max_size
        return most if allowed is None else min(allowed, most)

    def _crowd(self, lane: Lane) -> list[Connection]:
        """Return those of which one must go before *lane* may have another; none if it may."""
        allowed = lane.plan.traits.connections
        if allowed is not None:
            # A client has one key for a provider, whatever else tells its connections apart.
            name = lane.plan.adapter.name
            mine = [conn for conn in self.connections if conn.plan.adapter.name == name]
            if len(mine) >= allowed:
                return mine
        return self.connections if len(self.connections) >= self.settings.pool.max_size else []

    def _evict(self, lane: Lane, crowd: list[Connection], now: float) -> None:
        """
        Make room for *lane* in *crowd*: hang up what another lane has had idle for longest.

        Where nothing is idle, a lane that is never short of speeches must not keep out for ever who
        came before them: the connection that will be the first to be done takes no more.
        """
        states = {conn.state for conn in crowd}
        if ConnectionState.CLOSING in states:
            return  # room is on its way
        others = [conn for conn in crowd if conn.lane is not lane]
        spoken_for = {speech.plan.key for speech in self._hopeful}
        urgent = any(speech.plan.key == lane.plan.key for speech in self._seats)
        # Two that have nothing to say yet must not take each other's connection in turns.
        idle = [c for c in others if c.idle and (urgent or c.plan.key not in spoken_for)]
        reason = "another voice needs the room"
        if idle:
            min(idle, key=lambda conn: conn.idle_since).doom(reason, now)
            return
        if ConnectionState.DRAINING in states:
            return  # there will be room
        later = self._lanes_behind(lane, now)
        busy = [conn for conn in others if conn.retirable and conn.lane in later]
        if busy:
            min(busy, key=lambda conn: len(conn.live)).doom(reason, now)

    def _lanes_behind(self, lane: Lane, now: float) -> set[Lane]:
        """Return the lanes in which nobody waits who came before the first of *lane*."""
        found = set(self.lanes.values())
        for speech in self._seats:
            if speech.plan.key == lane.plan.key:
                return found if self._overtaken_until(speech) <= now else set()
            found.discard(self.lanes[speech.plan.key])
        return set()  # nobody there has anything to say yet

    def _overtaken_until(self, speech: Speech) -> float:
        assert speech.waiting_since is not None, "whoever is in the queue waits"
        return speech.waiting_since + _OVERTAKEN_FOR

    def _hurry(self, now: float) -> None:
        """
        Cut barriers short where their room is needed.

        That is, for a speech that has nowhere else to go; or for a spare, as long as the provider
        has never acknowledged anything.
        """
        held = [conn for conn in self.connections if conn.state is ConnectionState.BARRIER]
        if not held:
            return
        demand, starving = self._demand(now), Counter(speech.plan.key for speech in self._seats)
        room = sum(
            conn.state is ConnectionState.CLOSING or conn.hurried for conn in self.connections
        )
        for conn in held:
            lane = conn.lane
            if conn.hurried or not self._crowd(lane):
                continue
            untrue = self.trust(lane.plan) in (Trust.UNTRIED, Trust.BROKEN)
            if starving[lane.plan.key] > room and not self._supply(lane):
                room += 1  # one for each who waits, and no more
                conn.hurry(now)
            elif untrue and self._short(lane, demand.get(lane, 0), now):
                conn.hurry(now)

    def _retire_outdated(self, now: float) -> None:
        """Hang up what is idle for too long or too old, once its replacement is up or failed."""
        for conn in list(self.connections):
            if conn.outdated and conn.idle and not conn.lane.coming:
                conn.doom("idle or old", now)

    def _finish_tickets(self, now: float) -> None:
        for prewarm in list(self._prewarms):
            lane = prewarm.lane
            full = len(self._warm(lane)) >= self._wanted(prewarm, now)
            stuck = bool(self._crowd(lane))
            if (not lane.coming and (full or stuck)) or self.closing or prewarm.due <= now:
                self._finish(prewarm)
        if not self.connections:
            for ticket in self._closers:
                ticket.finish(self.agenda)
            self._closers.clear()

    # --- clocks -----------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        # What lies before the last decision could not be done then; it waits for something else.
        due = (instant for instant in self._clocks() if instant > self._decided_at)
        return min(due, default=None)

    def _clocks(self) -> Iterable[float]:
        wanted = {speech.plan.key for speech in (*self._seats, *self._hopeful)}
        for lane in self.lanes.values():
            if not self.closing and (lane.plan.key in wanted or not lane.blocked):
                yield lane.not_before
                yield lane.spares_from
        for speech in self._seats:
            yield speech.not_before
            yield self._overtaken_until(speech)
        for prewarm in self._prewarms:
            yield prewarm.due

    def expire(self, now: float) -> None:
        self.stale = True

    # --- ends -------------------------------------------------------------------------------------

    def drain(self) -> Ticket:
        """Take no new speech; when those there are over, close."""
        self.draining = self.stale = True
        return self._when_empty()

    def close(self, now: float) -> Ticket:
        """Fail what is speaking, hang up everything."""
        self.draining = self.closing = self.stale = True
        for speech in list(self.speeches):
            speech.fail(ClosedError("the client was closed", phase="close"), now)
        for conn in list(self.connections):
            conn.hang_up(now)
        return self._when_empty()

    def _when_empty(self) -> Ticket:
        """Return a ticket that is done when there are no connections left."""
        ticket = Ticket()
        self._closers.append(ticket)
        return ticket

    def abandon(self, error: Error) -> None:
        """Fail all, hang up all, whatever state things are in."""
        self.draining = self.closing = True
        for speech in self.speeches:
            speech.abandon(error)
        self.speeches.clear()
        self._seats.clear()
        self._hopeful.clear()
        self._leases.clear()
        for conn in self.connections:
            conn.abandon()
        for ticket in (*self._prewarms, *self._closers):
            ticket.finish(self.agenda, error)

    # --- small things -----------------------------------------------------------------------------

    def new_id(self) -> str:
        """Return an id that was never used: 128 random bits, in the form of a UUID's hex digits."""
        return f"{self.rng.getrandbits(128):032x}"

    def summary(self, plan: Plan) -> str:
        lane = self.lanes.get(plan.key)
        mine = len(lane.connections) if lane else 0
        words = (
            f"{mine} connections of this kind, {len(self.connections)} of at most "
            f"{self.settings.pool.max_size} in all"
        )
        if plan.traits.connections is not None:
            words += f", and {plan.traits.connections} for a key"
        if lane is not None and lane.error is not None:
            words += f"; the last dial failed: {lane.error.message}"
        return words

    def stats(self) -> PoolStats:
        states = [conn.state for conn in self.connections]
        idle = sum(conn.idle for conn in self.connections)
        dialling = sum(conn.coming for conn in self.connections)
        closing = states.count(ConnectionState.CLOSING)
        return PoolStats(
            size=len(states),
            dialling=dialling,
            idle=idle,
            busy=len(states) - idle - dialling - closing,
            closing=closing,
            live=sum(conn.opened_at is not None for conn in self.connections),
            seats_free=sum(conn.free_seats for conn in self.connections),
            held=sum(len(conn.generations) for conn in self.connections),
            waiting=len(self._seats),
            **attrs.asdict(self.counts),
        )
