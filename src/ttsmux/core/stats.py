"""What a pool has done and is doing, in numbers."""

from __future__ import annotations

import attrs


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
