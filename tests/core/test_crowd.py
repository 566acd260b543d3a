"""
The sums that the pool decides by are those of its connections, whatever happened.

And nothing is overlooked: whoever looked at everything anew would decide nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.core.network import Schedule, World, random_schedule
from ttsmux.core import pool
from ttsmux.core.connection import Connection
from ttsmux.core.crowd import Share, share_of
from ttsmux.core.lane import Lane
from ttsmux.core.states import BreakerState, ConnectionState


class Auditor(World):
    """A world in which the books are compared with what they are about, after each step."""

    def check(self, *args: Any) -> None:
        super().check(*args)
        pool = self.pool
        for lane in pool.lanes.values():
            self.require(lane.sums == total(lane.connections), f"the books of {lane.plan.key}")
            idle = {c for c in lane.connections if c.idle and not c.outdated}
            self.require(set(lane.idle) == idle, "who is idle")
            self.check_best(lane)
            short = max(0, len(lane.line) - lane.sums.free)
            self.require(lane.seatless == short, f"{lane.seatless} without a seat, not {short}")
        for crowd in (pool.crowd, *pool._crowds.values()):
            self.require(crowd.sums == total(crowd.connections), "the books of a crowd")
            self.require(set(crowd.idle) == {c for c in crowd.connections if c.idle}, "who is idle")
        everyone = [conn for lane in pool.lanes.values() for conn in lane.connections]
        self.require(set(everyone) == set(pool.connections), "a connection without a lane")
        seatless = sum(lane.seatless for lane in pool.lanes.values())
        self.require(pool._seatless == seatless, "who has no seat")
        self.check_routes()
        self.look_again()

    def check_routes(self) -> None:
        """A route is tried, or there is one who tries it, or nobody waits for what is not tried."""
        pool = self.pool
        for breaker in pool._breakers.values():
            probing = breaker.state is BreakerState.HALF_OPEN
            self.require((breaker.probe is not None) == probing, "who is the probe")
            there = breaker.probe is None or breaker.probe in pool.connections
            self.require(there and not getattr(breaker.probe, "over", False), "a probe is gone")
        for lane in pool.lanes.values():
            if lane.breaker.turns_away(self.now) and not lane.sums.coming:
                serving = any(c.retirable for c in lane.connections)
                self.require(not lane.line or serving, "who waits for what is not tried")
        most = pool.settings.retry.budget
        for budget in pool._budgets.values():
            self.require(0 <= budget.left <= (most or 0), f"{budget.left} tokens of {most}")

    def look_again(self) -> None:
        """Decide as if everything had changed: there is to be nothing left to decide."""
        pool = self.pool
        pool.dialler.room_for_waiters = pool.dialler.room_for_spares = True
        for lane in pool.lanes.values():
            pool.look_at(lane)
        for conn in pool.connections:
            pool.changed(conn)
        pool.settle(self.now)
        pool.agenda.arm()
        overlooked = self.mux.effects()
        self.require(not overlooked, f"overlooked: {overlooked[:3]}")

    def check_best(self, lane: Lane) -> None:
        """The heap has what going through all of them would find."""

        def rank(conn: Connection) -> tuple[bool, bool, int, float]:
            cool = conn._cool_due is None
            return cool, not conn.outdated, len(conn.generations), conn.idle_since

        best = lane.best()
        free = [conn for conn in lane.connections if conn.free_seats > 0]
        self.require((best in free) if free else best is None, f"{best!r} of {free}")
        if best is not None:
            self.require(rank(best) == max(map(rank, free)), f"{best!r} is not the best of {free}")


def total(connections: list[Connection]) -> Share:
    """Count from the beginning, one thing after the other."""
    traits = {conn: conn.plan.traits for conn in connections}
    free = sum(conn.free_seats for conn in connections)
    # Those that will have all their seats soon.
    soon = [conn for conn in connections if conn.coming or conn.watched]
    seats = sum(traits[conn].seats for conn in soon)
    behind = [conn for conn in connections if conn.state is ConnectionState.BARRIER]
    fresh = [min(t.seats, t.max_muted or t.seats) for conn, t in traits.items() if conn.coming]
    old = sum(conn.free_seats for conn in connections if conn.outdated)
    return Share(
        free=free,
        supply=free + seats,
        spare=free + seats - old,
        held=sum(traits[conn].seats for conn in behind),
        bearable=sum(conn.bearable for conn in connections) + sum(fresh),
        muted=sum(conn.muted for conn in connections),
        coming=sum(conn.coming for conn in connections),
        idle=sum(conn.idle for conn in connections),
        retirable=sum(conn.retirable for conn in connections),
        draining=sum(conn.state is ConnectionState.DRAINING for conn in connections),
        closing=sum(conn.state is ConnectionState.CLOSING for conn in connections),
    )


def crowded(seed: int) -> Schedule:
    """A schedule of three voices that have one to three connections between them."""
    schedule, rng = random_schedule(seed), random.Random(seed)
    limits = attrs.evolve(schedule.config.pool, max_size=rng.choice((1, 2, 3)))
    scripts = tuple(attrs.evolve(s, line=rng.choice("abc")) for s in schedule.scripts)
    config = attrs.evolve(schedule.config, pool=limits)
    return attrs.evolve(schedule, config=config, scripts=scripts)


@pytest.mark.counted
@pytest.mark.parametrize("schedule", [random_schedule, crowded])
@pytest.mark.parametrize("seeds", [range(n, n + 10) for n in range(0, 100, 10)])
def test_nothing_is_overlooked(schedule: Callable[[int], Schedule], seeds: range) -> None:
    for seed in seeds:
        Auditor(schedule(seed)).play()


@pytest.mark.parametrize("noticed", ["idle", "none"])
def test_room_that_nobody_hears_of_is_noticed(
    noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(new: Share, old: Share) -> bool:
        return noticed == "idle" and new.retirable > old.retirable

    def audit() -> None:
        for seed in range(100):
            Auditor(crowded(seed)).play()

    monkeypatch.setattr(Share, "leaves_more_than", deaf)
    with pytest.raises(AssertionError, match="overlooked"):
        audit()


def test_a_wrong_book_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above proves nothing."""

    def wrong(conn: Connection) -> Share:
        return share_of(conn)._replace(muted=0)

    def audit() -> None:
        for seed in range(40):
            Auditor(random_schedule(seed)).play()

    monkeypatch.setattr(pool, "share_of", wrong)
    with pytest.raises(AssertionError, match="the books of"):
        audit()
