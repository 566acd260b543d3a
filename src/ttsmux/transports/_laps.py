"""What takes how long of a dial."""

from __future__ import annotations

import time


class Laps:
    """
    The parts of a dial, one after the other.

    Attributes:
        parts: seconds by name: ``dns``, ``tcp``, ``proxy``, ``tls``, ``upgrade``, those there were.
    """

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Say that the part called *name* is done."""
        now = time.monotonic()
        self.parts[name] = now - self._last
        self._last = now
