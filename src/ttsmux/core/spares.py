"""How many connections to keep ready for nobody in particular."""

from __future__ import annotations

from .lane import Lane

MOST = 4
"""⌈dial time ÷ time between interruptions⌉ are needed: 300 ms and 100 ms need 3."""
_DECAY = 60.0
"""Seconds after which the adaptive target falls by one."""


def short(lane: Lane, fixed: int | None, *, mutes: bool, acknowledges: bool, now: float) -> bool:
    """
    Return whether, with those who wait served, *lane* has fewer spares than it should.

    *fixed* is the user's number; *mutes* says whether an interruption there leaves the connection
    to the next speech, *acknowledges* whether what is behind a barrier will be a seat again.
    """
    traits, sums, waiting = lane.plan.traits, lane.sums, lane.needs
    if mutes and (fixed is None or (fixed and traits.max_muted is not None)):
        # Muted generations use a connection up: what counts is how many more it can bear.
        wanted = max(1, traits.seats - 1)
        if traits.max_muted is not None:
            wanted = min(wanted, MOST)
        if fixed is not None:
            wanted = fixed
        needed = fixed is not None or sums.muted > 0
        return needed and sums.bearable - waiting < wanted
    there = sums.spare + (sums.held if acknowledges else 0)
    return there - waiting < target(lane, fixed, mutes=mutes, now=now)


def target(lane: Lane, fixed: int | None, *, mutes: bool, now: float) -> int:
    """Return how many spare seats *lane* should have."""
    if fixed is not None:
        return fixed
    return 0 if mutes else min(MOST, 1 + raised(lane, now))


def raised(lane: Lane, now: float) -> int:
    """Return how many of them are due to speeches that had to wait for a dial lately."""
    return max(0, lane.raised - int((now - lane.raised_at) / _DECAY))


def add_one(lane: Lane, now: float) -> None:
    """Have one more: it would have saved a speech the wait."""
    lane.raised, lane.raised_at = min(MOST, raised(lane, now) + 1), now
