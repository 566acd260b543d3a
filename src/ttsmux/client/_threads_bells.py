"""
What threads of the client wait for.

The async twin is `_tasks_bells`.
"""

from __future__ import annotations

import threading


class Bell:
    """
    Something to wait for, rung at most once ahead.

    One lock a wait, and `ring` takes none: it is safe in `__del__`, which may run anywhere, also in
    the middle of another `ring`.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        if self._lock.locked():  # else it has been rung already
            try:  # noqa: SIM105 - a context manager takes longer, and this is once a chunk
                self._lock.release()
            except RuntimeError:
                pass  # by another thread, just now

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is rung, and return whether it was."""
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(0.0, timeout), threading.TIMEOUT_MAX))


class Waiter:
    """Who waits behind a speech: its reader and its feeder. The core wakes both; each looks."""

    __slots__ = ("__weakref__", "feeder", "reader")

    def __init__(self) -> None:
        self.reader = Bell()
        self.feeder: Bell | None = None
        """Set by a feeder, before it looks for the first time."""

    def ring(self) -> None:
        self.reader.ring()
        if self.feeder is not None:
            self.feeder.ring()
