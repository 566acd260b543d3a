"""
What tasks of the client wait for.

The threaded twin is `_threads_bells`.
"""

from __future__ import annotations

import asyncio

import anyio


class Bell:
    """
    Something to wait for, rung at most once ahead. For one waiter at a time.

    On asyncio a bare future: an event of anyio costs 8 to 10 µs more for every chunk of audio.
    """

    __slots__ = ("_future", "_loop", "_rung")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._rung = False
        self._future: asyncio.Future[None] | anyio.Event | None = None

    def ring(self) -> None:
        self._rung = True
        waiting = self._future
        if waiting is None:
            return
        self._future = None
        if isinstance(waiting, asyncio.Future):
            if not waiting.done():
                waiting.set_result(None)
        else:
            waiting.set()

    async def wait(self) -> None:
        """Wait until it is rung. Cancelling loses no ring."""
        if not self._rung:
            if self._loop is not None:
                self._future = self._loop.create_future()
                await self._future
            else:
                self._future = event = anyio.Event()
                await event.wait()
        self._rung = False


class Waiter:
    """Who waits behind a speech: its reader and its feeder. The core wakes both; each looks."""

    __slots__ = ("__weakref__", "feeder", "reader")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.reader = Bell(loop)
        self.feeder: Bell | None = None
        """Set by a feeder, before it looks for the first time."""

    def ring(self) -> None:
        self.reader.ring()
        if self.feeder is not None:
            self.feeder.ring()
