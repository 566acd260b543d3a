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
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..errors import AuthError, CircuitOpen, ClosedError, Error, PoolFull
from ..settings import Interrupt, Settings
from . import spares
from .admission import Admission
from .breaker import Breaker, outage
from .budget import Bill, Budget, unaffordable
from .connection import Connection
from .crowd import Crowd, mark, share_of
from .dialling import Dialler
from .effects import Agenda
from .lane import Lane, Prewarm, Ticket
from .line import Line
from .quota import Member
from .retry import backoff, patience, pause
from .route import Plan
from .speech import Speech
from .standing import Standing
from .states import ConnectionState, Trust
from .stats import Counts, PoolStats

if TYPE_CHECKING:
    from random import Random

_SAME = 5.0
"""Seconds between the dials of connections that count as of one age."""
_MOST_LANES = 256
_PLACES = 1 << 32
"""Of one speech, for the times that it is put back in line."""


class Pool:
    """All connections of a client, and the speeches that wait for one."""

    def __init__(
        self,
        settings: Settings,
        rng: Random,
        agenda: Agenda,
        members: Sequence[Member | None] = (),
    ) -> None:
        self.settings = settings
        self.rng = rng
        self.agenda = agenda
        self.stale = False
        """Whether something changed that `_assign` looks at."""
        self.draining = False
        """Whether new speeches are refused."""
        self.closing = False
        """Whether nothing is dialled any more."""
        self.cut_short = False
        """Whether anything that was speaking did not come to its own end."""
        self.speeches: dict[Speech, None] = {}
        """Those that are not over."""
        self.unreceived: dict[Speech, None] = {}
        """Those that need a connection yet: what is received needs none to be read."""
        self.lanes: OrderedDict[Hashable, Lane] = OrderedDict()
        """In the order in which they were used."""
        self.latest: Lane | None = None
        """The last of them. Kept beside them: every decision asks."""
        self._memory: deque[Lane] = deque()
        """The same, in the order in which they are to be forgotten."""
        self.counts = Counts()
        self.numbered = 0
        """The number of the connection that was dialled last."""
        self.crowd = Crowd()
        self._crowds: dict[str, Crowd] = {}
        """By provider, for a client has one key there."""
        self._changed: dict[Connection, None] = {}
        """Connections that may count for something else than before."""
        self._restless: dict[Lane, None] = {}
        """Lanes about which there is something to decide."""
        self._deciding: dict[Lane, None] = {}
        """Those about which it is just decided, or was last."""
        self.admission = Admission(members, self)
        self.dialler = Dialler(self)
        self.barriers: dict[Connection, None] = {}
        self.outdated: dict[Connection, None] = {}
        self._leases: dict[Speech, Connection] = {}
        """Speeches between two generations, each with the connection that is kept for it."""
        self.prewarms: dict[Prewarm, None] = {}
        self._closers: list[Ticket] = []
        self._trust: dict[int, Trust] = {}
        """How far each route's provider has kept its word."""
        self._breakers: dict[int, Breaker] = {}
        self._budgets: dict[int, Budget] = {}
        self._standings: dict[int, Standing] = {}
        """Each route's."""
        self._seatless = 0
        """Speeches for which there was no seat when it was last decided."""
        self._asking: dict[Speech, None] = {}
        """Those that have asked for a seat since then."""
        self._last_place = 0

    # --- speeches ---------------------------------------------------------------------------------

    def lane(self, plan: Plan, now: float) -> Lane:
        lane = self.lanes.get(plan.key)
        if lane is None:
            # A client has one key for a provider, whatever else tells its connections apart.
            mine = self._crowds.setdefault(plan.adapter.name, Crowd())
            breaker = self._breakers.setdefault(plan.number, Breaker(self.settings.retry, self.rng))
            standing = self._standings.setdefault(plan.number, Standing())
            crowds = (self.crowd, mine)
            lane = Lane(plan, self, crowds, breaker, self.budget(plan), standing, now)
            self._outlive(now)
            self.lanes[plan.key] = self.latest = lane
            self._memory.append(lane)
        lane.plain = lane.plain or plan.adapter is plan.route.adapter
        return lane

    def budget(self, plan: Plan) -> Budget:
        """Return what retries on the route of *plan* are paid from."""
        budget = self._budgets.get(plan.number)
        if budget is None:
            budget = self._budgets[plan.number] = Budget(self.settings.retry.budget)
        return budget

    def pays(self, speech: Speech, error: Error, bill: Bill) -> bool:
        """Pay for beginning *speech* again after *error*; tell whether that could be afforded."""
        if bill.cost is None:
            bill.cost = self.budget(speech.plan).pay(error)
        if bill.cost is None:
            self.counts.unpaid += 1
            return False
        self.counts.retries += 1
        speech.bills.append(bill)
        return True

    def _forget_lanes(self) -> None:
        """Forget the oldest lanes if nobody would miss them; two at most, for one that came."""
        for _ in range(2):
            lane = self._memory.popleft()
            if lane.needed:
                self._memory.append(lane)
            else:
                lane.close()
                del self.lanes[lane.plan.key]
                self.latest = next(reversed(self.lanes.values()), None)

    def admit(self, plan: Plan) -> None:
        """
        Check that a new speech may come, which would begin by *plan*.

        Raises:
            ClosedError: the client is closed or draining.
            PoolFull: too many wait already.
        """
        self.check_open()
        limit = self.settings.pool.max_waiting
        if limit is not None and self._seatless >= limit:
            self.counts.refused += 1
            self.counts.turned_away()
            msg = f"max_waiting is {limit}, and as many wait for a seat already"
            raise PoolFull(msg, provider=plan.adapter.name, phase="acquire")

    def check_open(self) -> None:
        """Raise `ClosedError` if the client is closed or draining."""
        if self.draining:
            msg = "the client is closed" if self.closing else "the client is draining"
            raise ClosedError(msg, phase="close")

    def enlist(self, speech: Speech) -> None:
        self.speeches[speech] = self.unreceived[speech] = None
        self.agenda.touch(speech)

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
        lane.line.hope(speech, self._place(speech))
        self.look_at(lane)

    def keep(self, speech: Speech, conn: Connection) -> None:
        """Have *speech* speak on there: it is between two generations."""
        self._leases[speech] = conn
        conn.lessee = speech
        self.changed(conn)

    def wait(self, speech: Speech, now: float, *, again: bool = False) -> None:
        """Queue *speech* for a seat; *again*: in its old place, for it was served before."""
        if speech.waiting_since is not None:
            return
        lane = self.lane(speech.plan, now)
        speech.waiting_since = now
        self.counts.requests += 1
        self._asking[speech] = None
        kept = self._leases.get(speech)
        if kept is None:
            lane.line.join(speech, self._place(speech, again=again), now)
            self.look_at(lane)
        else:
            self.changed(kept)  # it has a seat of its own
        self.admission.joined(speech)
        self.agenda.touch(speech)

    def rations(self, speech: Speech, now: float) -> bool:
        """Return whether *speech* has to wait until its key allows one more request a minute."""
        return self.admission.rations(speech, self._leases.get(speech), now)

    def denied(self, speech: Speech) -> None:
        """There is no seat for *speech* on its route; perhaps it had no text to ask for one yet."""
        if speech.waiting_since is None:
            self.counts.turned_away()

    def forget(self, speech: Speech, now: float) -> None:
        """*speech* has no use for a connection any more, or for none of this lane."""
        self.counts.unserved += speech.waiting_since is not None
        self._leave(speech, now)

    def _leave(self, speech: Speech, now: float) -> None:
        conn = self._leases.pop(speech, None)
        lane = self.lanes.get(speech.plan.key)
        if conn is not None:
            conn.lessee = None
            self.changed(conn)
        elif lane is not None and lane.line.leave(speech):
            self.look_at(lane)
            # Who came later may be next now, and have somebody make room.
            self.dialler.room_for_waiters = self.dialler.room_for_waiters or bool(lane.connections)
        if speech.waiting_since is not None:
            self.counts.wait_seconds += now - speech.waiting_since
            speech.waiting_since = None

    def _place(self, speech: Speech, *, again: bool = False) -> int:
        """Return the place of *speech* in line: behind all others, or where it was before."""
        if again:
            speech.place += 1  # never the same twice: the heaps of a line may hold the old one
        else:
            self._last_place += _PLACES
            speech.place = self._last_place
        return speech.place

    # --- what connections tell --------------------------------------------------------------------

    def changed(self, conn: Connection) -> None:
        """*conn* may count for something else now."""
        self._changed[conn] = None
        self.stale = True

    def look_at(self, lane: Lane) -> None:
        """There may be something to decide about *lane*."""
        self._restless[lane] = None
        self.stale = True

    def looked_at(self, lane: Lane, stale: bool) -> None:
        """
        What this decision has just done for *lane* is known to what is left of it.

        Args:
            stale: whether there was something to decide again before that.
        """
        if not stale and lane in self._deciding:
            self._restless.pop(lane, None)
            # While draining it may be the end of a speech that was waited for.
            self.stale = bool(self._restless) or self.draining

    def policy(self, plan: Plan) -> Interrupt:
        """Return what an interruption does there, as far as the provider kept its word so far."""
        return Interrupt.DISCARD if self.trust(plan) is Trust.BROKEN else plan.policy

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
        self.counts.connect_seconds += now - conn.began

    def gone(self, conn: Connection) -> None:
        """*conn* is no socket any more."""
        if conn in conn.lane.connections:
            conn.lane.connections.remove(conn)
            for crowd in conn.lane.crowds:
                crowd.connections.remove(conn)
            self.counts.closed += conn.opened_at is not None
            self.admission.gone(conn)
            self.agenda.touch(conn)
            self.changed(conn)
            self.dialler.room_for_waiters = self.dialler.room_for_spares = True

    def aged(self, lost: Connection, now: float, *, said: bool) -> None:
        """
        *lost* ended of its age: idle ones that are as old have ended too, or soon will.

        Where the provider has *said* so, of all voices; else it is a guess.
        """
        assert lost.opened_at is not None, "it has grown old"
        latest = lost.opened_at + _SAME
        near = [c for c in self._resting(lost) if said or c.lane is lost.lane]
        old = [c for c in near if c.opened_at is not None and c.opened_at <= latest]
        # At once, for a speech would meet one dead socket after the other.
        self._give_up(old, "others of its age have ended", now)

    def doubt(self, silent: Connection, since: float, now: float) -> None:
        """
        Nothing has come on *silent* since then, for half of the time it is waited for.

        Perhaps it is only slow: ask there, and on those that `fell_silent` would give up.
        """
        for conn in (silent, *self._unheard(silent, since)):
            conn.ping(now)

    def fell_silent(self, silent: Connection, since: float, now: float) -> None:
        """
        Nothing at all has come on *silent* since then, where something was due.

        Perhaps its wire is dead, and nobody told: after a change of networks all of them are. Those
        that rest and have not been heard since either are no better, and the next speech would wait
        for one after the other.
        """
        unheard = self._unheard(silent, since)
        self._give_up(unheard, "it may be as dead as one that said nothing", now)
        if unheard:
            self.bereft(silent.lane, now)

    def _resting(self, conn: Connection) -> list[Connection]:
        """Return the idle connections of the route of *conn*, whatever the voice."""
        return [c for c in self.connections if c.idle and c.plan.number == conn.plan.number]

    def _unheard(self, conn: Connection, since: float) -> list[Connection]:
        return [resting for resting in self._resting(conn) if resting.heard_at <= since]

    def _give_up(self, conns: Sequence[Connection], why: str, now: float) -> None:
        """Hang up idle *conns* that are no good any more, and perhaps not only those of ours."""
        for conn in conns:
            conn.doom(why, now)
            self.bereft(conn.lane, now)

    def bereft(self, lane: Lane, now: float) -> None:
        """*lane* lost a connection, perhaps with others in the world: no spare at once."""
        jitter = self.settings.pool.reconnect_jitter
        if lane.spares_from <= now and jitter:
            lane.spares_from = now + self.rng.uniform(0.0, jitter)

    def lane_works(self, lane: Lane) -> None:
        if lane.failures or lane.blocked:
            lane.spares_from = lane.not_before
            self.look_at(lane)
        lane.failures = 0
        lane.error = None
        lane.blocked = False
        if lane.standing.works():
            self._look_at_route(lane)
        lane.budget.give_back(lane.paid)
        lane.paid = 0

    def succeeded(self, conn: Connection) -> None:
        """The provider did something for us on *conn*."""
        if conn.lane.breaker.succeeded():
            self.agenda.report("circuit.closed", provider=conn.plan.adapter.name)
            self._look_at_route(conn.lane)

    def spoke(self, speech: Speech) -> None:
        """A generation of *speech* came to its end, or for as far as it was wanted."""
        self.budget(speech.plan).succeeded(speech.bills)
        speech.bills.clear()

    def failed(self, conn: Connection, error: Error, began: float, now: float, *, up: bool) -> None:
        """
        Count a failure, of the provider's perhaps, for the breaker of its route.

        Args:
            began: when what failed was begun.
            up: whether it was spoken on a connection that had been up.
        """
        breaker = conn.lane.breaker
        if breaker.failed(conn, error, began, now, up=up):
            self.counts.circuits_opened += 1
            self.agenda.report(
                "circuit.opened",
                provider=conn.plan.adapter.name,
                error=type(error).__name__,
                failures=breaker.failures,
                seconds=breaker.until - now,
            )
            self._look_at_route(conn.lane)

    def _look_at_route(self, lane: Lane) -> None:
        """What may be tried on the route of *lane* has changed."""
        for other in self.lanes.values():
            if other.breaker is lane.breaker:
                self.look_at(other)
        self.dialler.room_for_waiters = self.dialler.room_for_spares = True

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
        if isinstance(error, AuthError) and lane.plan.route.refreshable:
            if lane.standing.refused(conn, self.numbered):
                trial = lane.standing.trial
                lane.awaits_key = trial is not None and trial.lane is not lane
                return True
            self._key_refused(lane, error, now)
        if not error.retryable:
            lane.blocked = True
        self.failed(conn, error, conn.began, now, up=False)
        self._asked(lane, error, now)  # whoever is told: what a provider asks for is not undercut
        if conn.began >= lane.failed_at:
            # Dials that were under way together fail together: that is one failure.
            lane.failures += 1
            lane.failed_at = now
            if error.retryable and lane.standing.failed(conn, now):
                error = self._paused(lane, error, now)
            wait = backoff(self.settings.retry, lane.failures, self.rng)
            lane.rests_until = max(lane.rests_until, now + wait)
            jitter = self.settings.pool.reconnect_jitter
            wait = patience(self.settings.retry, jitter, lane.failures, self.rng)
            lane.spares_from = max(lane.spares_from, now + wait)
            self._tell_waiters(lane, error, now)
        return False

    def _key_refused(self, lane: Lane, error: AuthError, now: float) -> None:
        """A fresh key was refused in *lane*: those know that who waited for what it would find."""
        for other in list(self.lanes.values()):
            if other.standing is lane.standing and other.awaits_key:
                other.awaits_key, other.blocked, other.error = False, True, error
                self.look_at(other)
                self._tell_waiters(other, error, now)

    def _asked(self, lane: Lane, error: Error, now: float) -> None:
        """Leave the provider alone for as long as it asks for with *error*, if it does."""
        if lane.standing.asks(error, now):
            for other in self.lanes.values():
                if other.standing is lane.standing:
                    other.line.ask_all()
                    self.look_at(other)

    def _paused(self, lane: Lane, error: Error, now: float) -> Error:
        """
        Leave a provider alone that turns dials away for long, as if it had asked for that time.

        As it is well, if busy, that is no outage; but it may be so for an hour.

        Returns:
            *error* as it is told.
        """
        standing = lane.standing
        lasting = lane.breaker.lasting(standing.failures, standing.failing_since, now)
        if outage(error) or not lasting:
            return error
        error = error.copy()
        seconds = pause(self.settings.retry, standing.pauses, self.rng)
        error.retry_after = max(seconds, error.retry_after or 0.0)
        standing.pauses += 1
        self._asked(lane, error, now)
        return error

    def _tell_waiters(self, lane: Lane, error: Error, now: float) -> None:
        """Let those hear of a failed dial who have no other connection to hope for."""
        if not error.retryable:
            for prewarm in list(lane.prewarms):
                self._finish(prewarm, error)
        if error.retryable and lane.serving:
            return  # a seat there will be free some time; perhaps the provider allows no more
        if not error.retryable:
            # Not from the sums: this may be in the middle of an input, and they are of before it.
            ready = sum(conn.free_seats for conn in lane.connections)
            for speech in list(lane.line)[ready:]:
                if not self._hopes_no_more(speech, now):
                    speech.given_up(error, now)
            return
        # Not by going through them all: thousands may wait.
        for speech in lane.line.dial_failed(now):
            if not self._hopes_no_more(speech, now):
                speech.dial_failed(error, now)
        self._ask_to_wait(lane, now)
        if lane.line and not lane.breaker.turns_away(now):
            self._pay_for_waiters(lane, error, now)

    def _hopes_no_more(self, speech: Speech, now: float) -> bool:
        """
        Dial no more for *speech* if it is between two generations, and return whether it is.

        All that it had to say is spoken, and perhaps it is over. If not, it asks for a seat then.
        """
        between = speech.waiting_since is None and speech.under_way
        if between:
            self._leave(speech, now)
        return between

    def _ask_to_wait(self, lane: Lane, now: float) -> None:
        """Have nobody wait in vain where the provider asks to be left alone, or fails for long."""
        standing = lane.standing
        asks = now < standing.asked_until
        # Where the breaker has everybody turned away, that is what they are told.
        fails = lane.failures >= self.settings.retry.switch_after
        rests = fails and now < lane.not_before and not lane.breaker.turns_away(now)
        if not lane.line.unasked or not (asks or rests):
            return
        if lane.serving or any(conn.coming for conn in lane.connections):
            return  # there may be a seat before that
        if not asks:
            assert lane.error is not None, "its dials have failed"
            for speech in lane.line.ask():
                speech.discouraged(lane.error, now)
            return
        assert standing.asked_by is not None, "somebody asked"
        in_vain = standing.pauses > 0 or not lane.breaker.closed  # as far as one can tell
        for speech in lane.line.ask():
            gone = speech.put_off(standing.asked_by, lane.not_before, now, in_vain=in_vain)
            self.counts.refused += gone

    def failures(self, plan: Plan) -> int:
        """Return how many dials for *plan* failed since one worked; several at once are one."""
        lane = self.lanes.get(plan.key)
        return 0 if lane is None else lane.failures

    def ready(self, plan: Plan, now: float) -> bool:
        """Return whether a speech that goes to *plan* has no reason to wait there, or to fail."""
        breaker, lane = self._breakers.get(plan.number), self.lanes.get(plan.key)
        if breaker is not None and breaker.turns_away(now):
            return False
        return lane is None or lane.ready(now)

    def _pay_for_waiters(self, lane: Lane, error: Error, now: float) -> None:
        """Pay for the dial that is hoped for by those who wait, if it comes."""
        cost = lane.budget.pay(error)
        if cost is None:
            self.counts.unpaid += 1
            for speech in list(lane.line):
                if not self._hopes_no_more(speech, now):
                    speech.turned_away(unaffordable(error), now)
        else:
            self.counts.retries += 1
            lane.paid += cost

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
        self.admission.hear(now)
        while self.stale:
            self._assign(now)
            self.admission.hear(now)
        if len(self._memory) > _MOST_LANES:
            self._forget_lanes()
        if self._asking:
            self.counts.queued += sum(speech.waiting_since is not None for speech in self._asking)
            self._asking.clear()

    def _assign(self, now: float) -> None:
        self.admission.settle(now)
        self.count(now)
        if self.draining and not self.closing and not self.unreceived:
            self._hang_up(now)
            self.count(now)
        lanes, self._restless, self.stale = self._restless, {}, False
        self._deciding = lanes
        for lane in lanes:
            if lane.line:
                self._serve(lane, now)
        if not self.closing:
            self.dialler.decide(lanes, now)
        if self.outdated:
            self.dialler.retire_outdated(now)
        self.dialler.retire_unused(lanes, now)
        if self.prewarms or self._closers:
            self._finish_tickets(now)
        for lane in lanes:
            self._decided(lane, now)
        self.admission.tidy(now)

    def count(self, now: float) -> None:
        """Bring the sums up to date, and have those go on who have a connection of their own."""
        while self._changed:
            conn, _ = self._changed.popitem()
            lane, share, old = conn.lane, share_of(conn), conn.share
            if share != old:
                if not self.dialler.room_for_waiters:
                    self.dialler.room_for_waiters = share.leaves_more_than(old)
                change = share.less(old)
                lane.sums = lane.sums.plus(change)
                for crowd in lane.crowds:
                    crowd.count(conn, share, change)
                conn.share = share
                mark(self.barriers, conn, share.held > 0)
            lane.count(conn, now)
            if conn.outdated:
                mark(self.outdated, conn, conn.idle)
            self.look_at(lane)
            if conn is lane.breaker.probe:
                if conn.over:
                    lane.breaker.withdraw()
                self._look_at_route(lane)
            if conn is lane.standing.trial and not conn.coming:
                lane.standing.trial = None
                self._look_at_route(lane)
            if conn.lessee is not None:
                self._go_on(conn, conn.lessee, now)

    def _go_on(self, conn: Connection, lessee: Speech, now: float) -> None:
        """Have *lessee* speak on; if its connection is lost, or is to go, it queues first."""
        if conn.state is not ConnectionState.OPEN or conn.outdated:
            del self._leases[lessee]
            conn.lessee = None
            self.changed(conn)
            if lessee.waiting_since is None:
                self.wait_for_text(lessee, now)
            else:
                conn.lane.line.join(lessee, self._place(lessee, again=True), now)
        elif (
            lessee.waiting_since is not None
            and conn.room > 0
            and self.admission.speak_on(conn, now)
        ):
            self._leave(lessee, now)
            self.use(conn.lane, now)
            lessee.seat(conn.begin(lessee, now), now)

    def _serve(self, lane: Lane, now: float) -> None:
        """Give free seats to those who wait, first come first served."""
        lane.line.wake(now)
        while (speech := lane.line.ready) and lane.breaker.seats(now) and (conn := lane.best()):
            if not self.admission.speak(lane, now):
                break
            since, stale = speech.waiting_since, self.stale
            assert since is not None, "whoever is in line waits"
            waited = conn.opened_at is not None and conn.opened_at > since
            self._leave(speech, now)
            self.use(lane, now)
            if waited and lane.opened_at is not None and since >= lane.opened_at:
                # One spare more would have saved it the wait; a cold start could not have had one.
                spares.add_one(lane, now)
            lane.breaker.tries(conn, now)
            speech.seat(conn.begin(speech, now), now)
            self.count(now)  # that may have been the last seat
            self.looked_at(lane, stale)
        self._ask_to_wait(lane, now)
        if lane.line and (error := self._refusal(lane, now)) is not None:
            for speech in lane.line.refusable:
                self.counts.refused += 1
                speech.turned_away(error, now)

    def refuse(self, plan: Plan, now: float) -> CircuitOpen | None:
        """Return what a speech of *plan* is told that would wait in vain, and count it."""
        error = self._refusal(self.lane(plan, now), now)
        if error is not None:
            self.counts.refused += 1
            self.counts.turned_away()
        return error

    def _refusal(self, lane: Lane, now: float) -> CircuitOpen | None:
        """Say why there is nothing to wait for in *lane*; None if there may be a seat soon."""
        if not lane.breaker.turns_away(now):
            return None
        # Not from the sums: this may be in the middle of an input, and they are of before it.
        if (lane.breaker.trusts and lane.serving) or any(conn.coming for conn in lane.connections):
            return None
        return lane.breaker.refusal(now)

    def use(self, lane: Lane, now: float) -> None:
        if lane is not self.latest:
            self._outlive(now)
            self.lanes.move_to_end(lane.plan.key)
            self.latest = lane
        lane.used_at = now

    def _outlive(self, now: float) -> None:
        """What was used last is that no more: it could have gone long ago."""
        latest = self.latest
        if latest is not None and latest.idle and now >= latest.unused_at:
            self.look_at(latest)

    def _finish_tickets(self, now: float) -> None:
        for prewarm in list(self.prewarms):
            lane = prewarm.lane
            full = lane.sums.warm >= self.dialler.wanted(prewarm, now)
            stuck = self.dialler.full(lane) is not None
            if (not lane.sums.coming and (full or stuck)) or self.closing or prewarm.due <= now:
                self._finish(prewarm)
        if self.closing and not self.connections:  # who drains may have to dial once more
            for ticket in self._closers:
                ticket.finish(self.agenda)
            self._closers.clear()

    def _decided(self, lane: Lane, now: float) -> None:
        """Note that there is nothing to be done for *lane* until one of its clocks runs out."""
        free = 0 if self.admission.refused(lane) else lane.sums.free
        seatless = max(0, len(lane.line) - free)
        self._seatless += seatless - lane.seatless
        lane.seatless, lane.decided_at = seatless, now
        self.agenda.touch(lane)

    # --- ends -------------------------------------------------------------------------------------

    def drain(self) -> Ticket:
        """Take no new speech; when those there are need no connection any more, close."""
        self.draining = self.stale = True
        for prewarm in list(self.prewarms):
            self._finish(prewarm)
        return self._when_empty()

    def close(self, now: float) -> Ticket:
        """Fail what is speaking, hang up everything. What was drained may still be read."""
        failing, self.draining = self.unreceived if self.draining else self.speeches, True
        self.cut_short = self.cut_short or bool(failing)
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
        self.cut_short = self.cut_short or bool(self.unreceived)
        for speech in self.speeches:
            self.counts.unserved += speech.waiting_since is not None
            speech.abandon(error)
        self.speeches.clear()
        self.unreceived.clear()
        self._leases.clear()
        for lane in self.lanes.values():
            lane.line = Line()
        for conn in self.connections:
            conn.abandon()
        self.admission.abandon()
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

    def last_error(self, plan: Plan) -> Error | None:
        """Return why the last dial there failed, if none has worked since."""
        lane = self.lanes.get(plan.key)
        return None if lane is None else lane.error

    def missed(self, speech: Speech) -> list[float]:
        """Return when dials failed that *speech* waits for and has not counted yet."""
        lane = self.lanes.get(speech.plan.key)
        return [] if lane is None else lane.line.missed(speech)

    def bound(self, speech: Speech) -> str | None:
        """Say which limit keeps *speech* waiting, and how much of it is taken, if one does."""
        plan, leased = speech.plan, self._leases.get(speech)
        lane = self.lanes[plan.key]  # where it waits
        if (words := self.admission.bound(lane, leased)) is not None or leased is not None:
            return words
        crowd = self.dialler.full(lane)
        if crowd is None or lane.sums.coming:
            return None  # what it waits for is a dial
        if crowd is self.crowd:
            most = self.settings.pool.max_size
            return f"max_size, {len(crowd.connections)} of at most {most} connections"
        return self.admission.taken(plan, len(crowd.connections))

    def summary(self, plan: Plan) -> str:
        lane = self.lanes.get(plan.key)
        mine = len(lane.connections) if lane else 0
        words = (
            f"connections of this kind: {mine}, in all: {len(self.connections)} of at most "
            f"{self.settings.pool.max_size}"
        )
        if plan.traits.connections is not None:
            words += f", for a key at most {plan.traits.connections}"
        words += self.admission.summary(plan)
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
            waiting=sum(len(lane.line.urgent) for lane in self.lanes.values())
            + sum(speech.waiting_since is not None for speech in self._leases),
            **msgspec.structs.asdict(self.counts),
        )
