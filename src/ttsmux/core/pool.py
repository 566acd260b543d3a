"""
Who gets which seat; when to dial, keep a spare, retire (`dialling.py`).

One function, `Pool._assign`, decides all of that, in the order of its cases. It runs after every
input that changed anything it looks at (`stale`), never between two halves of a decision, and it
waits for nothing: that is what pools whose decisions are interleaved with I/O get wrong.

It costs the same whether ten speeches wait or ten thousand: it goes through the lanes that changed
and through those that lack a connection, and in those through nobody who is not served. What is to
be known of connections stands in sums (`crowd.py`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

import attrs

from ..errors import AuthError, ClosedError, Error, PoolFull
from ..settings import Interrupt, Settings
from . import spares
from .connection import Connection
from .crowd import Crowd, mark, share_of
from .dialling import Dialler
from .effects import Agenda
from .lane import Lane, Prewarm, Ticket
from .line import Line
from .retry import backoff
from .route import Plan
from .speech import Speech
from .states import ConnectionState, Trust
from .stats import Counts, PoolStats

if TYPE_CHECKING:
    from random import Random

_SAME = 5.0
"""Seconds between the dials of connections that count as of one age."""
_MOST_LANES = 256
_OUTAGE = 5
"""Failed dials in a row after which spares are no longer tried for."""
_OUTAGE_LASTS = 60.0
"""Seconds until they are again; for a speech there are dials all the same."""
_SERVING = (ConnectionState.OPEN, ConnectionState.BARRIER)


class Pool:
    """All connections of a client, and the speeches that wait for one."""

    def __init__(self, settings: Settings, rng: Random, agenda: Agenda) -> None:
        self.settings = settings
        self.rng = rng
        self.agenda = agenda
        self.stale = False
        """Whether something changed that `_assign` looks at."""
        self.draining = False
        """Whether new speeches are refused."""
        self.closing = False
        """Whether nothing is dialled any more."""
        self.speeches: dict[Speech, None] = {}
        """Those that are not over."""
        self.unreceived: dict[Speech, None] = {}
        """Those that need a connection yet: what is received needs none to be read."""
        self.lanes: OrderedDict[Hashable, Lane] = OrderedDict()
        """The one that was used last comes last."""
        self._memory: deque[Lane] = deque()
        """The same, in the order in which they are to be forgotten."""
        self.counts = Counts()
        self.crowd = Crowd()
        self._crowds: dict[str, Crowd] = {}
        """By provider, for a client has one key there."""
        self._changed: dict[Connection, None] = {}
        """Connections that may count for something else than before."""
        self._restless: dict[Lane, None] = {}
        """Lanes about which there is something to decide."""
        self.dialler = Dialler(self)
        self.barriers: dict[Connection, None] = {}
        self.outdated: dict[Connection, None] = {}
        self._leases: dict[Speech, Connection] = {}
        """Speeches between two generations, each with the connection that is kept for it."""
        self.prewarms: dict[Prewarm, None] = {}
        self._closers: list[Ticket] = []
        self._trust: dict[int, Trust] = {}
        """How far each route's provider has kept its word."""
        self._seatless = 0
        """Speeches for which there was no seat when it was last decided."""
        self._last_place = 0
        self._first_place = 0

    # --- speeches ---------------------------------------------------------------------------------

    def lane(self, plan: Plan, now: float) -> Lane:
        lane = self.lanes.get(plan.key)
        if lane is None:
            # A client has one key for a provider, whatever else tells its connections apart.
            mine = self._crowds.setdefault(plan.adapter.name, Crowd())
            lane = self.lanes[plan.key] = Lane(plan, self, (self.crowd, mine), now)
            self._memory.append(lane)
        return lane

    def _forget_lanes(self) -> None:
        """Forget the oldest lanes if nobody would miss them; two at most, for one that came."""
        for _ in range(2 if len(self._memory) > _MOST_LANES else 0):
            lane = self._memory.popleft()
            if lane.needed:
                self._memory.append(lane)
            else:
                lane.close()
                del self.lanes[lane.plan.key]

    def admit(self) -> None:
        """
        Check that a new speech may come.

        Raises:
            ClosedError: the client is closed or draining.
            PoolFull: too many wait already.
        """
        self.check_open()
        limit = self.settings.pool.max_waiting
        if limit is not None and self._seatless >= limit:
            msg = f"{limit} speeches wait for a seat already, which is max_waiting"
            raise PoolFull(msg, phase="acquire")

    def check_open(self) -> None:
        """Raise `ClosedError` if the client is closed or draining."""
        if self.draining:
            msg = "the client is closed" if self.closing else "the client is draining"
            raise ClosedError(msg, phase="close")

    def enlist(self, speech: Speech, now: float) -> None:
        self.speeches[speech] = self.unreceived[speech] = None
        self.agenda.touch(speech)
        self.wait_for_text(speech, now)

    def received(self, speech: Speech) -> None:
        """*speech* needs no connection any more."""
        if speech in self.unreceived:
            del self.unreceived[speech]
            self.agenda.touch(speech)
            self.stale = True

    def dismiss(self, speech: Speech) -> None:
        """*speech* is over."""
        self.speeches.pop(speech, None)

    def wait_for_text(self, speech: Speech, now: float) -> None:
        """Have a connection ready for *speech*, which has nothing to send yet."""
        lane = self.lane(speech.plan, now)
        lane.line.hope(speech, self._place())
        self.look_at(lane)

    def keep(self, speech: Speech, conn: Connection) -> None:
        """Have *speech* speak on there: it is between two generations."""
        self._leases[speech] = conn
        conn.lessee = speech
        self.changed(conn)

    def wait(self, speech: Speech, now: float, *, first: bool = False) -> None:
        """Queue *speech* for a seat, at the front if it was served before."""
        if speech.waiting_since is not None:
            return
        lane = self.lane(speech.plan, now)
        speech.waiting_since = now
        kept = self._leases.get(speech)
        if kept is None:
            lane.line.join(speech, self._place(first=first), now)
            self.look_at(lane)
        else:
            self.changed(kept)  # it has a seat of its own
        self.agenda.touch(speech)

    def forget(self, speech: Speech) -> None:
        conn = self._leases.pop(speech, None)
        lane = self.lanes.get(speech.plan.key)
        if conn is not None:
            conn.lessee = None
            self.changed(conn)
        elif lane is not None and lane.line.leave(speech):
            self.look_at(lane)
            # Who came later may be next now, and have somebody make room.
            self.dialler.room_for_waiters = self.dialler.room_for_waiters or bool(lane.connections)
        speech.waiting_since = None

    def _place(self, *, first: bool = False) -> int:
        """Return the next place in line, behind all others or before them."""
        if first:
            self._first_place -= 1
            return self._first_place
        self._last_place += 1
        return self._last_place

    # --- what connections tell --------------------------------------------------------------------

    def changed(self, conn: Connection) -> None:
        """*conn* may count for something else now."""
        self._changed[conn] = None
        self.stale = True

    def look_at(self, lane: Lane) -> None:
        """There may be something to decide about *lane*."""
        self._restless[lane] = None
        self.stale = True

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
        for lane in self.lanes.values():
            if lane.plan.number == plan.number:
                self.look_at(lane)  # it needs other spares now

    def acknowledged(self, plan: Plan) -> None:
        """A cancel was acknowledged."""
        if self.trust(plan) is Trust.UNTRIED:
            self._trust[plan.number] = Trust.GIVEN

    def stayed_silent(self, plan: Plan) -> None:
        """A connection that acknowledged a cancel kept silent for long enough."""
        if self.trust(plan) is Trust.GIVEN:
            self._trust[plan.number] = Trust.EARNED

    def opened(self, conn: Connection, now: float) -> None:
        lane = conn.lane
        lane.opened_at = now if lane.opened_at is None else lane.opened_at
        self.counts.opened += 1

    def gone(self, conn: Connection) -> None:
        """*conn* is no socket any more."""
        if conn in conn.lane.connections:
            conn.lane.connections.remove(conn)
            for crowd in conn.lane.crowds:
                crowd.connections.remove(conn)
            self.counts.closed += conn.opened_at is not None
            self.agenda.touch(conn)
            self.changed(conn)
            self.dialler.room_for_waiters = self.dialler.room_for_spares = True

    def aged(self, lost: Connection) -> None:
        """*lost* ended while it rested: idle ones of its age have ended too, or soon will."""
        assert lost.opened_at is not None, "it rested"
        for conn in list(lost.lane.idle):
            if (
                conn.idle
                and conn.opened_at is not None
                and conn.opened_at <= lost.opened_at + _SAME
            ):
                conn.outdated = True
                self.changed(conn)

    def lane_works(self, lane: Lane) -> None:
        if lane.failures or lane.blocked:
            self.look_at(lane)
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
        self.look_at(lane)
        if isinstance(error, AuthError):
            if lane.plan.route.refreshable and conn.number <= lane.last_with_old_key:
                return True  # it was under way with the old key when that was found out
            if lane.plan.route.refreshable and not lane.refreshed:
                lane.refresh = lane.refreshed = True
                lane.last_with_old_key = self.counts.dials
                return True
        if not error.retryable:
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
            for prewarm in list(lane.prewarms):
                self._finish(prewarm, error)
        if error.retryable and any(conn.state in _SERVING for conn in lane.connections):
            return  # a seat there will be free some time; perhaps the provider allows no more
        # Not from the sums: this may be in the middle of an input, and they are of before it.
        ready = sum(conn.free_seats for conn in lane.connections)
        patience = self.settings.pool.acquire_timeout
        give_up = not error.retryable or lane.not_before > now + patience
        for speech in list(lane.line)[ready:]:
            speech.dial_failed(error.copy(), now, give_up=give_up)

    # --- tickets ----------------------------------------------------------------------------------

    def prewarm(self, plan: Plan, n: int, due: float, now: float) -> Prewarm:
        lane = self.lane(plan, now)
        self.use(lane, now)
        prewarm = Prewarm(lane, n, due)
        lane.prewarms.append(prewarm)
        self.prewarms[prewarm] = None
        self.look_at(lane)
        return prewarm

    def _finish(self, prewarm: Prewarm, error: Error | None = None) -> None:
        lane = prewarm.lane
        del self.prewarms[prewarm]
        lane.prewarms.remove(prewarm)
        prewarm.ready = sum(conn.state is ConnectionState.OPEN for conn in lane.connections)
        prewarm.finish(self.agenda, error)

    # --- the decision -----------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Decide, if anything changed; until nothing does."""
        while self.stale:
            self._assign(now)
        self._forget_lanes()

    def _assign(self, now: float) -> None:
        if self.draining and not self.closing and not self.unreceived:
            self._hang_up(now)
        self.count(now)
        lanes, self._restless, self.stale = self._restless, {}, False
        for lane in lanes:
            self._serve(lane, now)
        if not self.closing:
            self.dialler.decide(lanes, now)
        self.dialler.retire_outdated(now)
        self._finish_tickets(now)
        for lane in lanes:
            self._decided(lane, now)

    def count(self, now: float) -> None:
        """Bring the sums up to date, and have those go on who have a connection of their own."""
        while self._changed:
            conn, _ = self._changed.popitem()
            share = share_of(conn)
            self.dialler.room_for_waiters = self.dialler.room_for_waiters or share.leaves_more_than(
                conn.share
            )
            conn.lane.count(conn, share, now)
            for crowd in conn.lane.crowds:
                crowd.count(conn, share)
            conn.share = share
            mark(self.barriers, conn, share.held > 0)
            mark(self.outdated, conn, conn.outdated and conn.idle)
            self.look_at(conn.lane)
            if conn.lessee is not None:
                self._go_on(conn, conn.lessee, now)

    def _go_on(self, conn: Connection, lessee: Speech, now: float) -> None:
        """Have *lessee* speak on; if its connection is lost, it queues first."""
        if conn.state is not ConnectionState.OPEN:
            del self._leases[lessee]
            conn.lessee = None
            if lessee.waiting_since is None:
                self.wait_for_text(lessee, now)
            else:
                conn.lane.line.join(lessee, self._place(first=True), now)
        elif lessee.waiting_since is not None and conn.room > 0:
            self.forget(lessee)
            self.use(conn.lane, now)
            lessee.seat(conn.begin(lessee, now), now)

    def _serve(self, lane: Lane, now: float) -> None:
        """Give free seats to those who wait, first come first served."""
        lane.line.wake(now)
        while (speech := lane.line.ready) and (conn := lane.best()):
            since = speech.waiting_since
            assert since is not None, "whoever is in line waits"
            waited = conn.opened_at is not None and conn.opened_at > since
            self.forget(speech)
            self.use(lane, now)
            self.counts.queued += now > since
            self.counts.wait_seconds += now - since
            if waited and lane.opened_at is not None and since >= lane.opened_at:
                # One spare more would have saved it the wait; a cold start could not have had one.
                spares.add_one(lane, now)
            speech.seat(conn.begin(speech, now), now)
            self.count(now)  # that may have been the last seat

    def use(self, lane: Lane, now: float) -> None:
        lane.used_at = now
        self.lanes.move_to_end(lane.plan.key)

    def _finish_tickets(self, now: float) -> None:
        for prewarm in list(self.prewarms):
            lane = prewarm.lane
            full = lane.sums.warm >= self.dialler.wanted(prewarm, now)
            stuck = self.dialler.full(lane) is not None
            if (not lane.sums.coming and (full or stuck)) or self.closing or prewarm.due <= now:
                self._finish(prewarm)
        if not self.connections:
            for ticket in self._closers:
                ticket.finish(self.agenda)
            self._closers.clear()

    def _decided(self, lane: Lane, now: float) -> None:
        """Note that there is nothing to be done for *lane* until one of its clocks runs out."""
        seatless = max(0, len(lane.line) - lane.sums.free)
        self._seatless += seatless - lane.seatless
        lane.seatless, lane.decided_at = seatless, now
        self.agenda.touch(lane)

    # --- ends -------------------------------------------------------------------------------------

    def drain(self) -> Ticket:
        """Take no new speech; when those there are need no connection any more, close."""
        self.draining = self.stale = True
        return self._when_empty()

    def close(self, now: float) -> Ticket:
        """Fail what is speaking, hang up everything. What was drained may still be read."""
        failing, self.draining = self.unreceived if self.draining else self.speeches, True
        for speech in list(failing):
            speech.fail(ClosedError("the client was closed", phase="close"), now)
        self._hang_up(now)
        return self._when_empty()

    def _hang_up(self, now: float) -> None:
        self.closing = self.stale = True
        for conn in list(self.connections):
            conn.hang_up(now)
        for lane in self.lanes.values():
            self.agenda.touch(lane)

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
        self.unreceived.clear()
        self._leases.clear()
        for lane in self.lanes.values():
            lane.line = Line()
        for conn in self.connections:
            conn.abandon()
        for ticket in (*self.prewarms, *self._closers):
            ticket.finish(self.agenda, error)

    # --- small things -----------------------------------------------------------------------------

    @property
    def connections(self) -> list[Connection]:
        """All sockets there are, those being dialled or closed included."""
        return self.crowd.connections

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
            waiting=sum(len(lane.line.urgent) for lane in self.lanes.values()),
            **attrs.asdict(self.counts),
        )
