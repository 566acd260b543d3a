"""
From a target to a transport: which kind of wire its URL asks for.

Each client has one dialler, which holds what its connections share: the sockets that HTTP requests
leave behind for the next ones. httpx is imported with the first such request, and never in a thread
that an event loop runs in: it takes some tenths of a second.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..adapter import connect_timeout
from .base import AsyncTransport, DialError, Response, SyncTransport, Target

if TYPE_CHECKING:
    from ._socket import CallOff
    from .http import AsyncHttp, Http

_Connect = Callable[[Target, float, "CallOff"], tuple[SyncTransport, Response]]
_AsyncConnect = Callable[[Target, float], Awaitable[tuple[AsyncTransport, Response]]]


def _is_request(target: Target) -> bool:
    return target.url.startswith(("http://", "https://"))


def _async_http() -> type[AsyncHttp]:
    from .http import AsyncHttp

    return AsyncHttp


class Dialler:
    """For threads, any of which may use it. *websocket* dials what is no HTTP request."""

    def __init__(self, websocket: _Connect) -> None:
        self._websocket = websocket
        self._http: Http | None = None
        self._lock = threading.Lock()

    def connect(self, target: Target, timeout: float, call_off: CallOff) -> SyncTransport:
        """
        Dial *target* within *timeout* seconds, unless *call_off* is set.

        Raises `DialError`.
        """
        if not _is_request(target):
            return self._websocket(target, timeout, call_off)[0]
        with self._lock:
            if self._http is None:
                from .http import Http

                self._http = Http()
        return self._http.connect(target, timeout, call_off)

    def close(self) -> None:
        """Let go of what is shared."""
        if self._http is not None:
            self._http.close()


class AsyncDialler:
    """For the tasks of one event loop. *websocket* dials what is no HTTP request."""

    def __init__(self, websocket: _AsyncConnect) -> None:
        self._websocket = websocket
        self._http: AsyncHttp | None = None

    async def connect(self, target: Target, timeout: float) -> AsyncTransport:
        """
        Dial *target*. Raises `DialError`.

        *timeout* seconds are for an HTTP request, which connects when it is sent; who dials a
        WebSocket cancels this when it wants no more of it.
        """
        if not _is_request(target):
            return (await self._websocket(target, math.inf))[0]
        if self._http is None:
            await self._begin_http(timeout)
        assert self._http is not None, "it has just begun"
        return await self._http.connect(target, timeout)

    async def _begin_http(self, timeout: float) -> None:
        import anyio.to_thread  # which threads do without

        # One of its own: the program may have all the others at work.
        one = anyio.CapacityLimiter(1)
        with anyio.move_on_after(timeout):
            make = await anyio.to_thread.run_sync(_async_http, abandon_on_cancel=True, limiter=one)
            if self._http is None:  # two may begin at once
                self._http = make()
            return
        raise DialError(connect_timeout(timeout))

    async def aclose(self) -> None:
        """Let go of what is shared."""
        if self._http is not None:
            await self._http.aclose()
