"""
WebSockets for asyncio, uvloop and trio, over the sans-I/O protocol of the websockets library.

`connect` picks the event loop; the rest is alike for both and lives in ``_codec.py`` (frames),
``_asyncio.py`` and ``_trio.py`` (bytes), ``_http.py`` and ``_proxy.py`` (the way there).
"""

from __future__ import annotations

import math
import ssl
import sys
from collections.abc import Coroutine

import anyio

from ttsmux.adapter import DialFailure, connect_timeout
from ttsmux.errors import Error
from ttsmux.transports._codec import Codec
from ttsmux.transports._http import Endpoint, Undialable, endpoint
from ttsmux.transports._proxy import Proxy, proxy_for
from ttsmux.transports._tls import default_context
from ttsmux.transports.base import AsyncTransport, DialError, Response, Target


async def connect(target: Target, timeout: float) -> tuple[AsyncTransport, Response]:
    """
    Dial *target* within *timeout* seconds, from the look-up of its name to the upgrade.

    `math.inf` is for who sees to that already: a second scope is 1.3 KiB for each of many dials.
    Raises `DialError`. If it fails or is cancelled, no socket stays open. Redirects are refusals.
    """
    prepared = _prepared(target)
    if isinstance(prepared, Error):
        raise DialError(DialFailure(error=prepared))
    codec, where, proxy = prepared
    context = None
    if where.secure:
        context = target.ssl_context or default_context()
    dialled = _dial(codec, where, proxy, context, target.send_timeout)
    if timeout == math.inf:
        return await dialled
    with anyio.move_on_after(timeout):
        return await dialled
    raise DialError(connect_timeout(timeout))


def _dial(
    codec: Codec,
    where: Endpoint,
    proxy: Proxy | None,
    context: ssl.SSLContext | None,
    send_timeout: float,
) -> Coroutine[object, object, tuple[AsyncTransport, Response]]:
    if _on_trio():
        from ttsmux.transports import _trio

        return _trio.dial(codec, where, proxy, context, send_timeout)
    from ttsmux.transports import _asyncio

    return _asyncio.dial(codec, where, proxy, context, send_timeout)


def _prepared(target: Target) -> tuple[Codec, Endpoint, Proxy | None] | Error:
    # Returned and not raised: no exception that was made of a URL is in the chain of ours.
    try:
        where = endpoint(target.url)
        return Codec(target, where), where, proxy_for(target.proxy, where)
    except Undialable as exc:
        return exc.error


def _on_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())
