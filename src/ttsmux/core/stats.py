"""What a pool has done and is doing, in numbers."""

from __future__ import annotations

import attrs
import msgspec


@attrs.frozen(kw_only=True)
class PoolStats:
    """
    What a client's connections are doing, and what they have done so far.

    Every connection that was opened is closed or still there (`opened = closed + live`), every
    seat that was taken was given back or is held (`leased = released + held`), and every request
    for a seat was granted, came to nothing or waits (`requests = leased + unserved + waiting`).

    Attributes:
        size: connections, those being dialled or closed included.
        dialling, idle, busy, closing: of those.
        live: those of them that were open once.
        seats_free: speeches that could begin at once.
        held: generations that the providers count, those that nobody listens to included.
        waiting: speeches with something to say that wait for a seat, or on one of their own for the
            key's limits.
        dials: dials begun so far.
        dials_failed: of those, how many failed, or ended before they served anything.
        opened, closed: connections that came up, and those of them that are gone.
        connect_seconds: how long those took that came up, all together.
        lost: of those that are gone, how many we did not close ourselves.
        requests: seats that speeches asked for: one a generation.
        unserved: of these, how many came to nothing, whatever the reason: the speech failed, went
            to another route or was interrupted. Who is told before it had any text that there will
            be no seat for it has asked for one.
        leased, released: seats that speeches took, and gave back.
        returned_bad: of the seats given back, how many were on a connection that is not used again.
        usage_seconds: how long the seats were held that were given back, all together.
        queued: of the requests, how many had to wait.
        wait_seconds: how long those waited that wait no more, in vain or not, all together.
        timeouts: of those unserved, how many failed for having waited for `acquire_timeout`.
        refused: of those unserved, how many were not let wait: for `max_waiting`, for an open
            circuit, or because the provider asked to be left alone for too long.
        retries: speeches begun again, and dials begun again for those who wait, that were paid for.
        unpaid: the same, left undone because the budget was spent.
        circuits_opened: how often a route was given up for a while.
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
    connect_seconds: float
    lost: int
    requests: int
    unserved: int
    leased: int
    released: int
    returned_bad: int
    usage_seconds: float
    queued: int
    wait_seconds: float
    timeouts: int
    refused: int
    retries: int
    unpaid: int
    circuits_opened: int


class Counts(msgspec.Struct):
    """What has happened so far; see `PoolStats`."""

    dials: int = 0
    dials_failed: int = 0
    opened: int = 0
    closed: int = 0
    connect_seconds: float = 0.0
    lost: int = 0
    requests: int = 0
    unserved: int = 0
    leased: int = 0
    released: int = 0
    returned_bad: int = 0
    usage_seconds: float = 0.0
    queued: int = 0
    wait_seconds: float = 0.0
    timeouts: int = 0
    refused: int = 0
    retries: int = 0
    unpaid: int = 0
    circuits_opened: int = 0

    def turned_away(self) -> None:
        """Somebody was told that there is no seat before it could ask for one."""
        self.requests += 1
        self.unserved += 1
