"""
What a pool may do beside the other clients that have the same key.

The pool asks before it dials and before it seats a speech, and gives back what is over. Who comes
first among clients is decided in `quota`; which of its own speeches a client serves, and which of
its connections it gives up for another client, is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, takewhile
from typing import TYPE_CHECKING, TypeVar

from ..errors import AtCapacity
from .effects import Wake
from .quota import TURN, Grant, Member, Quota, limited

if TYPE_CHECKING:
    from .connection import Connection
    from .generation import LiveGeneration
    from .lane import Lane
    from .pool import Pool
    from .route import Plan, Route
    from .speech import Speech

_Asker = TypeVar("_Asker", "Lane", "Connection")

PATIENCE = 1.0
"""Seconds that a client waits for a connection before those that speak elsewhere make room."""


def members_for(routes: Sequence[Route]) -> list[Member | None]:
    """Return what a Mux is a member of that shares its keys with nobody."""
    found: dict[int | None, Member | None] = {}
    for number, route in enumerate(routes):
        member = found.get(route.fallback_for)  # what stands in for another has its key
        if member is None and limited(route.limited(route.adapter.tuned())):
            member = Member(Quota())
        found[number] = member
    return list(found.values())


class Desk:
    """The pool's part in one quota, with what it holds and whom it has waiting there."""

    def __init__(self, member: Member, pool: Pool) -> None:
        self.member = member
        self.armed: float | None = None
        self.refused: dict[Lane, None] = {}
        """Lanes with a free seat that nobody may take yet."""
        self.kept: dict[Connection, None] = {}
        """Connections whose next sentence may not begin yet."""
        self.again: dict[Lane | Connection, None] = {}
        """Those of both that are about to ask again, if they still need to."""
        self.newcomers: list[Speech] = []
        """Those that have just begun to wait."""
        self.over: list[Grant] = []
        """What is to be given back."""
        self.in_hand: Grant | None = None
        """For the generation that is about to begin."""
        self.connections: dict[int, Grant] = {}
        self.generations: dict[str, Grant] = {}
        self.hung_up: dict[int, list[str]] = {}
        """Generations that were broken off with their connections, until those are gone."""
        self._pool = pool
        self._looked_at = 0.0

    # --- asking -----------------------------------------------------------------------------------

    def dial(self, lane: Lane, number: int, now: float, *, wait: bool) -> bool:
        quota, traits, at = self.member.quota, lane.plan.traits, now + self.member.skew
        urgent = bool(lane.line.urgent)
        grant, told = quota.connect(self.member, traits, at, wait=wait, urgent=urgent)
        self._tell(told)
        if grant is None:
            return False
        self.connections[number] = grant
        return True

    def serve(self, lane: Lane, now: float) -> bool:
        """Ask for the next generation of *lane*."""
        turn = lane.line.turn
        earlier = (other for other in self.refused if other.line.turn < turn)
        return self._speak(lane, self.refused, chain(self.kept, earlier), now)

    def go_on(self, conn: Connection, now: float) -> bool:
        """Ask for the next sentence on *conn*."""
        earlier = takewhile(lambda other: other is not conn, self.kept)
        return self._speak(conn, self.kept, earlier, now)

    def _speak(
        self,
        asks: _Asker,
        waiting: dict[_Asker, None],
        earlier: Iterable[Lane | Connection],
        now: float,
    ) -> bool:
        self.again.pop(asks, None)
        if not self._overtakes(asks, earlier, now):
            quota, at = self.member.quota, now + self.member.skew
            self.in_hand, told = quota.speak(self.member, asks.plan.traits, at)
            self._tell(told)
            if self.in_hand is not None:
                waiting.pop(asks, None)
                return True
        waiting[asks] = None
        return False

    def _overtakes(
        self, asks: Lane | Connection, earlier: Iterable[Lane | Connection], now: float
    ) -> bool:
        """Return whether one of those that came *earlier* may speak now, and has yet to ask."""
        if not (self.refused or self.kept) or not self._may_speak(asks, now):
            return False
        return any(self._may_speak(other, now) for other in earlier)

    def _may_speak(self, who: Lane | Connection, now: float) -> bool:
        quota, at = self.member.quota, now + self.member.skew
        return quota.may_speak(self.member, who.plan.traits, at)

    def settle(self, now: float) -> None:
        """Give back what is over, and have those try again who wait for it here."""
        over, self.over = self.over, []
        if over:
            quota = self.member.quota
            self._tell(quota.give_back(self.member, over, now + self.member.skew))
            self._try_again()
        if self.newcomers:
            self._turn_away(now)  # before anything is dialled for them

    def hear(self, now: float) -> None:
        """Another client did something, or it is time to look."""
        self.member.news = False
        self._tell(self.member.quota.look(self.member, now + self.member.skew))
        self._try_again()
        self._pool.dialler.room_for_waiters = self._pool.dialler.room_for_spares = True
        self._pool.stale = True

    def _try_again(self) -> None:
        asking: Iterable[Lane | Connection] = chain(self.kept, self.refused)
        self.again = dict.fromkeys(asking)
        for conn in self.kept:
            self._pool.changed(conn)
        for lane in sorted(self.refused, key=lambda lane: lane.line.turn):
            self._pool.look_at(lane)

    def _tell(self, told: list[Member]) -> None:
        for member in told:
            self._pool.agenda.do(Wake(member.handle))

    # --- after each decision ----------------------------------------------------------------------

    def tidy(self, now: float) -> None:
        quota, self._looked_at = self.member.quota, now
        if self.refused or self.kept or self.again or any(quota.waits(self.member)):
            self._leave(now)
        if self.refused or self.kept:
            self._go_round(now)
        if quota.connections.queue:
            self._make_room(now)
        if self.armed is not None or quota.connections.queue or quota.generations.queue:
            self._pool.agenda.touch(self)

    def _turn_away(self, now: float) -> None:
        """Fail those at once whose turn comes too late for them, as far as that can be told."""
        newcomers, self.newcomers = self.newcomers, []
        for speech in newcomers:
            if speech.under_way:
                continue  # it waits for its minute, however long that takes
            traits, due = speech.plan.traits, speech.deadline()
            # It may have been turned away meanwhile, and wait elsewhere.
            here = (
                self._pool.admission.desk(speech.plan) is self and speech.waiting_since is not None
            )
            if not here or traits.requests_per_minute is None or due is None:
                continue
            ahead = self._ahead(speech)
            at = self.member.quota.open_at(traits, ahead, now + self.member.skew)
            wait = at - self.member.skew - now
            if now + wait > due:
                msg = (
                    f"requests allowed a minute: {traits.requests_per_minute}; speeches in line "
                    f"before this one: {ahead}; there is room in {wait:.0f} s"
                )
                error = AtCapacity(msg, phase="acquire", retry_after=wait)
                speech.turned_away(error, now)  # nothing was tried for it

    def _ahead(self, speech: Speech) -> int:
        """Count those of the same lane that come before one that has just begun to wait."""
        urgent = self._pool.lanes[speech.plan.key].line.urgent
        first = speech not in urgent or urgent[speech] < 0
        return 0 if first else len(urgent) - 1

    def _leave(self, now: float) -> None:
        """Give up the turns that nobody here needs any more."""
        quota, dialler, closing = self.member.quota, self._pool.dialler, self._pool.closing
        dialling, speaking = quota.waits(self.member)
        if dialling:
            dialling = closing or not any(self._dials(lane, now) for lane in dialler.hungry)
        # Who was to ask again and did not, has no use for it any more.
        idle, self.again = self.again, {}
        self.refused = {x: None for x in self.refused if x.line.urgent and x not in idle}
        self.kept = {x: None for x in self.kept if _goes_on(x) and x not in idle}
        if speaking:
            speaking = closing or not (self.refused or self.kept)
        if dialling or speaking:
            at = now + self.member.skew
            told = quota.leave(self.member, at, connections=dialling, generations=speaking)
            self._tell(told)

    def _go_round(self, now: float) -> None:
        """Have those ask again whose turn it is, or was before it went to another one here."""
        if not self.member.quota.must_wait(self.member, now + self.member.skew):
            self._try_again()

    def _dials(self, lane: Lane, now: float) -> bool:
        mine = self._pool.admission.desk(lane.plan) is self
        return mine and not self._pool.dialler.rests(lane, now)

    def _make_room(self, now: float) -> None:
        """
        Give up connections for another client that waits for one.

        One that is idle; or, for a client that has something to say, has fewer of them and has
        waited for long enough, the one that will be the first to be done.
        """
        quota = self.member.quota
        while (demand := quota.demand(self.member)) is not None:
            mine = [conn for conn in self._pool.connections if conn.number in self.connections]
            idle = [conn for conn in mine if conn.idle and not conn.lane.line]
            goes = min(idle, key=lambda conn: conn.idle_since, default=None)
            if (
                goes is None
                and demand.insists
                and now + self.member.skew >= demand.since + PATIENCE
            ):
                # With none of those that may not speak yet: who waits could not either.
                able = [conn for conn in mine if conn.live or conn.lane not in self.refused]
                busy = [conn for conn in able if conn.retirable]
                goes = min(busy, key=lambda conn: len(conn.live), default=None)
            if goes is None:
                return
            quota.promise(self.connections[goes.number])
            goes.doom("another client needs the room", now)
            self._pool.count(now)

    # --- clocks -----------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        quota, skew, looked = self.member.quota, self.member.skew, self._looked_at
        due = []
        if any(quota.waits(self.member)):
            due.append(looked + TURN)
            opens = quota.opens_for(self.member, looked + skew)
            if opens is not None:
                due.append(opens - skew)
        if self.connections and quota.connections.queue:
            demand = quota.demand(self.member)
            due += [] if demand is None else [demand.since + PATIENCE - skew]
        return min((instant for instant in due if instant > looked), default=None)

    def expire(self, now: float) -> None:
        self.hear(now)

    # --- ends -------------------------------------------------------------------------------------

    def gone(self, conn: Connection) -> None:
        for id in (*conn.generations, *self.hung_up.pop(conn.number, ())):
            self._give_back(id)
        self.over.append(self.connections.pop(conn.number))

    def ended(self, gen: LiveGeneration) -> None:
        if gen.conn.over and gen.conn.number in self.connections:
            # Broken off by us: its provider has yet to hear of that, and counts it until then.
            self.hung_up.setdefault(gen.conn.number, []).append(gen.id)
        else:
            self._give_back(gen.id)

    def _give_back(self, id: str) -> None:
        grant = self.generations.pop(id, None)
        if grant is not None:
            self.over.append(grant)

    def abandon(self) -> None:
        self.generations.clear()
        self.hung_up.clear()
        # Without a handle it was never dialled: the shell was torn before it could begin.
        begun = {conn.number for conn in self._pool.connections if conn.handle is not None}
        self.connections = {n: grant for n, grant in self.connections.items() if n in begun}
        self._tell(self.member.quota.abandon(self.member, set(self.connections.values())))


class Admission:
    """All desks of a pool, by route."""

    def __init__(self, members: Sequence[Member | None], pool: Pool) -> None:
        desks = {member: Desk(member, pool) for member in members if member is not None}
        self._pool = pool
        self.desks = tuple(desks.values())
        self._by_route: Mapping[int, Desk] = {
            number: desks[member] for number, member in enumerate(members) if member is not None
        }

    def desk(self, plan: Plan) -> Desk | None:
        """Return where to ask for *plan*; None where nothing is limited."""
        return self._by_route.get(plan.number)

    # --- questions --------------------------------------------------------------------------------

    def full(self, lane: Lane) -> bool:
        """Return whether the key may have no further connection now."""
        desk = self.desk(lane.plan)
        return desk is not None and desk.member.quota.full(lane.plan.traits, desk.member)

    def dial(self, lane: Lane, number: int, now: float, *, wait: bool) -> bool:
        """Ask for connection *number*; *wait* for it unless it is for nobody in particular."""
        desk = self.desk(lane.plan)
        return desk is None or desk.dial(lane, number, now, wait=wait)

    def speak(self, lane: Lane, now: float) -> bool:
        """Ask for the next generation of *lane*, which begins at once if it may."""
        desk = self.desk(lane.plan)
        return desk is None or desk.serve(lane, now)

    def speak_on(self, conn: Connection, now: float) -> bool:
        """The same for who has a seat of its own on *conn*."""
        desk = self.desk(conn.plan)
        return desk is None or desk.go_on(conn, now)

    def refused(self, lane: Lane) -> bool:
        """Return whether nobody may take the seats there are in *lane*."""
        desk = self.desk(lane.plan)
        return desk is not None and lane in desk.refused and lane not in desk.again

    def rations(self, speech: Speech, conn: Connection | None, now: float) -> bool:
        """
        Return whether *speech* would have to wait for its minute, whatever else it waits for.

        Args:
            conn: what is kept for it, if anything.
        """
        desk, traits = self.desk(speech.plan), speech.plan.traits
        if desk is None or traits.requests_per_minute is None:
            return False
        at = now + desk.member.skew
        if desk.member.quota.open_at(traits, 0, at) > at:
            return True
        # It may be over, and the turn another client's.
        lane = self._pool.lanes[speech.plan.key]
        return lane in desk.refused if conn is None else conn in desk.kept

    def bound(self, lane: Lane, conn: Connection | None) -> str | None:
        """
        Say which limit of the key keeps *lane* from what it has a seat for, if one does.

        Args:
            conn: what is kept for who asks, if anything.
        """
        desk, most = self.desk(lane.plan), lane.plan.traits.generations
        if desk is None or most is None:
            return None
        waits = lane in desk.refused if conn is None else conn in desk.kept
        _, speaking = desk.member.quota.held
        # Else it is its minute, for which who would wait too long is not let wait.
        full = waits and speaking >= most
        return f"generations of the key, {speaking} of at most {most}" if full else None

    def taken(self, plan: Plan, mine: int) -> str:
        """Say how many connections there are of a key that may have no more; *mine* at least."""
        desk = self.desk(plan)
        there = mine if desk is None else max(mine, desk.member.quota.held[0])
        return f"connections of the key, {there} of at most {plan.traits.connections}"

    def summary(self, plan: Plan) -> str:
        """Say what other clients have of what *plan* could use."""
        desk = self.desk(plan)
        connections, generations = (0, 0) if desk is None else desk.member.quota.others(desk.member)
        if not connections and not generations:
            return ""
        return f"; other clients have of it: connections {connections}, generations {generations}"

    # --- facts ------------------------------------------------------------------------------------

    def joined(self, speech: Speech) -> None:
        """*speech* has begun to wait."""
        desk = self.desk(speech.plan)
        if desk is not None:
            desk.newcomers.append(speech)

    def begun(self, gen: LiveGeneration) -> None:
        desk = self.desk(gen.conn.plan)
        if desk is not None and desk.in_hand is not None:
            desk.generations[gen.id], desk.in_hand = desk.in_hand, None

    def ended(self, gen: LiveGeneration) -> None:
        desk = self.desk(gen.conn.plan)
        if desk is not None:
            desk.ended(gen)

    def gone(self, conn: Connection) -> None:
        desk = self.desk(conn.plan)
        if desk is not None:
            desk.gone(conn)

    # --- its place in the pool's decision ---------------------------------------------------------

    @property
    def news(self) -> bool:
        """Whether other clients did something that concerns this one."""
        for desk in self.desks:  # noqa: SIM110 - asked at every step
            if desk.member.news:
                return True
        return False

    def hear(self, now: float) -> None:
        for desk in self.desks:
            if desk.member.news:
                desk.hear(now)

    def settle(self, now: float) -> None:
        for desk in self.desks:
            desk.settle(now)

    def tidy(self, now: float) -> None:
        for desk in self.desks:
            desk.tidy(now)

    def abandon(self) -> None:
        """The Mux was torn: keep what is being hung up until it is gone, and nothing else."""
        for desk in self.desks:
            desk.abandon()


def _goes_on(conn: Connection) -> bool:
    return conn.lessee is not None and conn.lessee.waiting_since is not None
