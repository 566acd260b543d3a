"""
Where a speech goes when its route has failed: the next provider, or the same voice over HTTP.

Both are routes, in the order of the client's. What is decided here is which of them may help: HTTP
is for when WebSockets cannot be had, and would only meet again what is wrong with the key, the
voice or the account.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import (
    CircuitOpen,
    ConnectError,
    ConnectionLost,
    Error,
    FirstAudioTimeout,
    HandshakeError,
    RemoteProtocolError,
    StallTimeout,
)
from .route import Plan

_OF_SOCKETS = (
    ConnectError,
    ConnectionLost,
    FirstAudioTimeout,
    RemoteProtocolError,
    StallTimeout,
)
"""What a request may not meet, for something on the way may not let WebSockets through."""


def may_help_over_http(error: Error) -> bool:
    """
    Return whether a request may do where a WebSocket met *error*.

    An upgrade that is refused for good may have been refused by somebody on the way; what else no
    retry would help is the same over HTTP: a certificate, a proxy, a policy of the provider's.
    Where the route is left alone, what counts is why.
    """
    if isinstance(error, CircuitOpen):
        cause = error.__cause__
        return isinstance(cause, Error) and may_help_over_http(cause)
    if isinstance(error, HandshakeError):
        return True
    return isinstance(error, _OF_SOCKETS) and error.retryable


class Ways:
    """The routes that one speech has not tried yet."""

    __slots__ = ("_first", "_left", "_why")

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._first = plans[0]
        self._left = list(plans[1:])
        self._why: dict[int, Error] = {}
        """Why each of the others was left."""

    @property
    def none_left(self) -> bool:
        return not self._left

    def next(
        self,
        plan: Plan,
        error: Error,
        *,
        same_voice: bool = False,
        ready: Callable[[Plan], bool] | None = None,
    ) -> Plan | None:
        """
        Return where to go from *plan*, which has failed with *error*, or None.

        Args:
            same_voice: whether somebody has heard the beginning, and must not hear another voice.
            ready: which of them will do; any will, if it is None.
        """
        self._why[plan.number] = error
        for number, way in enumerate(self._left):
            found = self._as_wanted(way, plan, same_voice=same_voice)
            if found is not None and (ready is None or ready(found)):
                del self._left[: number + 1]
                return found
        return None

    def _as_wanted(self, way: Plan, plan: Plan, *, same_voice: bool) -> Plan | None:
        """Return *way* as the speech wants it after *plan*, if it may help."""
        stands_for = way.route.fallback_for
        if stands_for is None:
            return way if not same_voice and self._fits(way) else None
        if same_voice and stands_for != plan.number:
            return None
        return self._over_http(way, stands_for)

    def _over_http(self, way: Plan, stands_for: int) -> Plan | None:
        """Return *way*, which stands in for another, if it may help."""
        why = self._why.get(stands_for)
        if why is None or not may_help_over_http(why):
            return None
        if stands_for == self._first.number and self._changed:
            # What was said to this one speech is said to its voice over HTTP, too.
            try:
                adapter = self._first.adapter.rest()
                if adapter is None:
                    return None
                way = Plan.of(way.route, way.number, adapter)
            except Exception:  # such options as only a socket takes: then there is no such way
                return None
        return way if self._fits(way) else None

    @property
    def _changed(self) -> bool:
        return self._first.adapter is not self._first.route.adapter

    def _fits(self, way: Plan) -> bool:
        """Return whether *way* speaks the format that was asked of this one speech."""
        return not self._changed or way.options.format == self._first.options.format
