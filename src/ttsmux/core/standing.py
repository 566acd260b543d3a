"""
How a client stands with the provider of a route, whichever voice it was told about.

What a provider asks for, that it is busy, that a key is refused: all of that it says of the client,
and to fifty voices it would have to say it fifty times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Error

if TYPE_CHECKING:
    from .connection import Connection


class Standing:
    """What the dials of a route have come to know. Books without decisions: the pool keeps them."""

    def __init__(self) -> None:
        self.asked_until = float("-inf")
        """For how long the provider has asked to be left alone."""
        self.asked_by: Error | None = None
        """With which words."""
        self.failures = 0
        """Dials in a row that failed, and may do some time; several at once are one."""
        self.failing_since = self._failed_at = float("-inf")
        self.pauses = 0
        """How often in a row the provider was left alone although it had not asked for so long."""
        self.trial: Connection | None = None
        """What is dialled, with a fresh key or after a pause, to find out for all voices."""
        self._refreshed = False
        """Whether a fresh key was asked for, and none has worked since."""
        self._refused = False
        """Whether that was refused as well."""
        self._last_with_old_key = 0
        """The number of the last connection that was dialled before a fresh key was asked for."""

    # --- dials ------------------------------------------------------------------------------------

    def asks(self, error: Error, now: float) -> bool:
        """Note for how long *error* asks; tell whether that is longer than was known."""
        until = now + (error.retry_after or 0.0)
        if until <= max(self.asked_until, now):
            return False
        self.asked_until, self.asked_by = until, error
        return True

    def failed(self, conn: Connection, now: float) -> bool:
        """The dial of *conn* came to nothing; tell whether that is news."""
        if conn.began < self._failed_at:
            return False  # what was under way together fails together
        self.failing_since = self.failing_since if self.failures else now
        self.failures += 1
        self._failed_at = now
        return True

    def works(self) -> bool:
        """The provider did something for us on a new connection; tell if that ends a trial."""
        tried, self.trial = self.trial is not None, None
        self.failures = self.pauses = 0
        self._refreshed = self._refused = False
        return tried

    def dials(self, conn: Connection) -> None:
        """*conn* is dialled, with a key that is fetched for it."""
        doubtful = self.pauses > 0 or (self._refreshed and not self._refused)
        if doubtful and self.trial is None:
            self.trial = conn

    # --- keys -------------------------------------------------------------------------------------

    def refused(self, conn: Connection, latest: int) -> bool:
        """
        The key of *conn* was refused.

        Args:
            latest: the number of the connection that was dialled last.

        Returns:
            whether it is to be tried again with a fresh one: the first of them, and whatever was
            under way with the old one when that was found out.
        """
        if conn.number <= self._last_with_old_key and not self._refused:
            return True
        if self._refreshed:
            self._refused = True
            return False
        self._refreshed, self._last_with_old_key = True, latest
        return True
