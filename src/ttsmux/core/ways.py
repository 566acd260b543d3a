"""
Where a speech goes when its route has failed: the next provider, or the same voice over HTTP.

Both are routes, in the order of the client's. What is decided here is which of them may help: HTTP
is for when WebSockets cannot be had, and would only meet again what is wrong with the key, the
voice or the account.
"""

from __future__ import annotations

from collections.abc import Sequence

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

    def next(self, plan: Plan, error: Error, *, same_voice: bool = False) -> Plan | None:
        """
        Return where to go from *plan*, which has failed with *error*, or None.

        Args:
            same_voice: whether somebody has heard the beginning, and must not hear another voice.
        """
        self._why[plan.number] = error
        while self._left:
            way = self._left.pop(0)
            stands_for = way.route.fallback_for
            if stands_for is None:
                if not same_voice and self._fits(way):
                    return way
            elif stands_for == plan.number or not same_voice:
                found = self._over_http(way, stands_for)
                if found is not None:
                    return found
        return None

    def _over_http(self, way: Plan, stands_for: int) -> Plan | None:
        """Return *way* as the speech wants it, if it may help."""
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
