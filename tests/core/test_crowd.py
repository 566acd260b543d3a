"""The sums that the pool decides by are those of its connections, whatever happened."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.network import World, random_schedule
from ttsmux.core import pool
from ttsmux.core.connection import Connection
from ttsmux.core.crowd import NOTHING, Share, share_of
from ttsmux.core.lane import Lane


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
    shares = [NOTHING, *map(share_of, connections)]
    return Share._make(map(sum, zip(*shares, strict=True)))


@pytest.mark.parametrize("seed", range(100))
def test_the_books_are_right_after_every_step(seed: int) -> None:
    Auditor(random_schedule(seed)).play()


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
