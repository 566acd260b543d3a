"""
Whether a route is tried at all.

A provider that fails again and again is left alone for a while: speeches go to their next route or
fail at once, where each would have found out for itself, and waited. Then one connection, the
*probe*, finds out for all; a success is the first thing that the provider does for us there, for
servers in trouble still shake hands.

**When.** A provider that fails every second try is not down, and whoever keeps trying is served; to
take it for one that is down costs the speeches of all the time in which nothing is tried. With even
chances k failures in a row come about once in 2^(k+1) tries: twelve once in eight thousand, twenty
once in two million. So it takes twenty. Failures that are slow to show, dials that hang and
generations that stay silent, would take minutes to come to that, with somebody waiting for each: of
those a few are enough, once nothing but failures has come for as long as anybody would wait.

What is refused depends on what has failed. Where only dials did, connections that are up go on
serving: perhaps the provider allows no more of them. Where what was spoken on such a connection
failed as well, none is taken for sound, and a speech on one of them may be the probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import (
    AtCapacity,
    AuthError,
    CircuitOpen,
    ConfigError,
    EmptyAudio,
    Error,
    NotFoundError,
    QuotaError,
    TLSError,
)
from . import states
from .retry import pause
from .states import BREAKER, BreakerInput, BreakerState

if TYPE_CHECKING:
    from random import Random

    from ..settings import RetryPolicy
    from .connection import Connection

_FEW = 5
"""Failures in a row that are enough if they went on for `RetryPolicy.breaker_after`."""
_ALONE_FOR = 1.0
"""
Seconds that a probe has to itself although nothing is due there. It may be for a source that has
paused, or for a caller who has left: nothing then says that it will ever tell anything.
"""
_NO_OUTAGE = (
    AtCapacity, AuthError, ConfigError, EmptyAudio, NotFoundError, QuotaError, TLSError,
)  # fmt: skip
"""What is the caller's own, one text's, or said by a provider that is well, if busy."""


def outage(error: Error) -> bool:
    """Return whether *error* speaks of trouble that the provider has with everybody."""
    return error.retryable and not isinstance(error, _NO_OUTAGE)


class Breaker:
    """The circuit breaker of one route."""

    def __init__(self, policy: RetryPolicy, rng: Random) -> None:
        self.state = BreakerState.CLOSED
        self.failures = 0
        """In a row."""
        self.until = 0.0
        """When a probe may be tried, while it is open."""
        self.probe: Connection | None = None
        self._policy = policy
        self._rng = rng
        self._openings = 0
        """In a row."""
        self._failing_since = 0.0
        """When the first of the failures in a row was."""
        self._failed_at = self._probed_at = float("-inf")
        self._error: Error | None = None
        self._dials_only = True
        """Whether nothing has failed yet on a connection that was up."""

    # --- what happened ----------------------------------------------------------------------------

    def failed(self, conn: Connection, error: Error, began: float, now: float, *, up: bool) -> bool:
        """
        Count a failure on *conn* of what was begun at *began*.

        Args:
            up: whether the connection had been up, and what was spoken on it failed.

        Returns:
            whether the route is left alone from now on.
        """
        if not outage(error):
            return False
        # The probe began when there was known to be trouble: it tells whether there still is.
        probes = conn is self.probe and (began >= self._probed_at or not up)
        if began < self._failed_at and not probes:
            # What was under way together fails together: that is one failure.
            self._step(BreakerInput.FAIL)
            return False
        self._failed_at, self._error = now, error
        self._dials_only = self._dials_only and not up
        if not self.failures:
            self._failing_since = now
        self.failures += 1
        if not self._too_often(conn, now):
            self._step(BreakerInput.FAIL)
            return False
        self._step(BreakerInput.TRIP)
        self.until = now + pause(self._policy, self._openings, self._rng)
        self._openings += 1
        self.probe = None
        return True

    def lasting(self, failures: int, since: float, now: float) -> bool:
        """Return whether so many failures in a row, *since* then, went on for long enough."""
        most = self._policy.breaker_failures
        if most is None or failures < min(most, _FEW):
            return False
        return now >= since + self._policy.breaker_after

    def _too_often(self, conn: Connection, now: float) -> bool:
        match self.state:
            case BreakerState.CLOSED:
                most = self._policy.breaker_failures
                often = most is not None and self.failures >= most
                return often or self.lasting(self.failures, self._failing_since, now)
            case BreakerState.HALF_OPEN:
                return conn is self.probe
        return False

    def succeeded(self) -> bool:
        """The provider did something for us. Return whether the route is tried again with that."""
        if self.closed and not self.failures:
            return False
        news = self.state is not BreakerState.CLOSED
        self._step(BreakerInput.SUCCEED)
        self.failures = self._openings = 0
        self._error = self.probe = None
        self._dials_only = True
        return news

    def tries(self, conn: Connection, now: float) -> None:
        """*conn* is dialled, or a speech is seated on it: it is the probe if there is need."""
        if self._probes(now):
            self._step(BreakerInput.PROBE)
            self.probe, self._probed_at = conn, now

    def withdraw(self) -> None:
        """The probe is gone and has told nothing: the next one may be tried at once."""
        self._step(BreakerInput.WITHDRAW)
        self.probe = None

    # --- what may be done -------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self.state is BreakerState.CLOSED

    @property
    def trusts(self) -> bool:
        """Whether connections that are up may be used as ever."""
        return self.closed or self._dials_only

    def dials(self, now: float, *, urgent: bool) -> bool:
        """Return whether there may be a dial, for somebody who waits if *urgent*."""
        return self.closed or (self._probes(now) and (urgent or self.probe is None))

    def seats(self, now: float) -> bool:
        """Return whether there may be a speech on a connection that is up."""
        return self.trusts or self._probes(now)

    @property
    def due(self) -> float:
        """When there may be more to be tried than before, unless something happens."""
        return self._next_probe if self.state is BreakerState.HALF_OPEN else self.until

    @property
    def _next_probe(self) -> float:
        return self._probed_at + _ALONE_FOR

    def turns_away(self, now: float) -> bool:
        """Return whether there is nothing to wait for but the end of a time."""
        return self.state is BreakerState.OPEN and now < self.until

    def refusal(self, now: float) -> CircuitOpen:
        """Return what speeches are told that are turned away."""
        wait = self.until - now
        msg = (
            f"the provider failed {self.failures} times in a row; it is tried again in {wait:.1f} s"
        )
        error = CircuitOpen(msg, phase="acquire", retry_after=wait)
        error.__cause__ = self._error
        return error

    def _probes(self, now: float) -> bool:
        """
        Return whether a probe may begin: none is under way, or it is none.

        One that lies idle is none, nor is one for long where nothing is due.
        """
        if self.state is BreakerState.OPEN:
            return now >= self.until
        probe = self.probe
        return probe is not None and (probe.idle or (now >= self._next_probe and not probe.owing))

    def _step(self, input: BreakerInput) -> None:
        self.state = states.step(BREAKER, self.state, input)
