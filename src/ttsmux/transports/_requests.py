"""
One HTTP request and what its answer comes to, the same for threads and tasks.

Pure but for the classes of httpx. What runs it is in ``http.py``.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Final

import attrs
import httpx

from ttsmux.adapter import Closed, DialFailure, Frame
from ttsmux.errors import Error
from ttsmux.transports import _failures
from ttsmux.transports._http import (
    REQUEST,
    Endpoint,
    Undialable,
    basic,
    endpoint,
    headers_of,
)
from ttsmux.transports._proxy import Proxy, proxy_for
from ttsmux.transports.base import DialError, Ping, Pong, SendError, Target

WHOLE: Final = Closed(1000)
"""What the end of an answer that came whole is reported as."""
EXCERPT_PATIENCE = 2.0
"""Seconds that the body of a refusal may take; what it was going to say is not worth more."""
KEPT, KEPT_FOR = 16, 60.0
"""How many connections are kept for the next requests, and for how many seconds."""
_NO_BODY = 204
_OURS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
"""Headers that say how the request travels, which is not for others to say."""


@attrs.frozen
class Order:
    """A request without its body: where it goes, and how."""

    where: Endpoint
    proxy: Proxy | None = attrs.field(repr=False)
    context: ssl.SSLContext | None = attrs.field(repr=False)
    url: str = attrs.field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False)
    max_message: int
    send_timeout: float
    method: str = "POST"

    def request(self, body: bytes) -> httpx.Request:
        """Return the request for httpx."""
        headers = [(b"Host", self.where.authority.encode()), *self.headers]
        if body or self.method == "POST":
            headers.append((b"Content-Length", b"%d" % len(body)))
        return httpx.Request(self.method, self.url, headers=headers, stream=_Body(body))


class Use:
    """
    What is known of a connection that one request after the other uses.

    Attributes:
        ended: whether the peer has ended it.
        heard: whether anything came for the request that uses it.
        spoiled: whether it must not be read or used any more.
    """

    def __init__(self) -> None:
        self.ended = False
        self.heard = False
        self.spoiled = False
        self._requests = 0

    def take(self) -> None:
        """Begin another request."""
        self._requests += 1
        self.heard = False

    @property
    def taken(self) -> bool:
        """Whether any request has used it."""
        return self._requests > 0

    def stale(self, exc: Exception) -> bool:
        """
        Return whether *exc* means no more than that nobody had used it for long.

        A server may end a connection that has served while the next request is on its way there,
        and nobody sees it coming. The request is not to blame, and was not answered.
        """
        gone = self.ended or (isinstance(exc, OSError) and not isinstance(exc, TimeoutError))
        return gone and not self.heard and self._requests > 1


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """
    A body that is there already.

    httpx's own is a generator: of an async one that is left in the middle, where the request could
    not be sent, trio complains.
    """

    def __init__(self, data: bytes) -> None:
        self._data = [data]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._data)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._data)


class _Once:
    def __init__(self, items: list[bytes]) -> None:
        self._items = iter(items)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for item in self._items:
            return item
        raise StopAsyncIteration


def prepare(target: Target, context: Callable[[], ssl.SSLContext]) -> Order:
    """
    Make a request of *target*; *context* gives the settings for TLS where it brings none.

    Raises:
        DialError: it makes no sense.
    """
    found = _prepared(target, context)
    if isinstance(found, Error):
        raise DialError(DialFailure(error=found))
    return found


def _prepared(target: Target, context: Callable[[], ssl.SSLContext]) -> Order | Error:
    # Returned and not raised: no exception that was made of a URL is in the chain of ours.
    try:
        where = endpoint(target.url, REQUEST)
        headers = {
            "Accept": "*/*",
            # Audio does not get smaller, and what is compressed comes later.
            "Accept-Encoding": "identity",
        }
        if target.method == "POST":
            headers["Content-Type"] = "application/json"
        if where.user is not None:
            headers["Authorization"] = basic(where.user, where.password or "")
        own = headers_of(target)
        replaced = {name.lower() for name in own}
        own = {name: value for name, value in own.items() if name.lower() not in _OURS}
        kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
        return Order(
            where=where,
            proxy=proxy_for(target.proxy, where),
            context=(target.ssl_context or context()) if where.secure else None,
            url=f"{REQUEST[where.secure]}://{where.authority}{where.resource}",
            headers=tuple(
                (name.encode(), value.encode("latin-1")) for name, value in {**kept, **own}.items()
            ),
            max_message=target.max_message,
            send_timeout=target.send_timeout,
            method=target.method,
        )
    except Undialable as exc:
        return exc.error


def body_of(frames: Iterable[Frame | Ping | Pong]) -> bytes | None:
    """Return the body that *frames* are, None where there is none. Raises `SendError`."""
    found: bytes | None = None
    for frame in frames:
        if found is not None or not isinstance(frame, str | bytes):
            msg = "an HTTP request takes one body, and nothing else"
            raise SendError(msg)
        try:
            found = frame.encode() if isinstance(frame, str) else frame
        except UnicodeEncodeError:
            msg = "the body holds half of a surrogate pair"
            raise SendError(msg) from None
    return found


def headers_in(response: httpx.Response) -> dict[str, str]:
    """Return the headers of an answer, names in lower case, values of the same name joined."""
    return {name.lower(): value for name, value in response.headers.items()}


def flaw(response: httpx.Response) -> str | None:
    """Say why the body of a success cannot be used, or None."""
    headers = headers_in(response)
    if headers.get("content-encoding", "identity").lower() != "identity":
        return "it is compressed, which was not asked for"
    if response.status_code != _NO_BODY and not (
        "content-length" in headers or "transfer-encoding" in headers
    ):
        # It ends with the connection; whether that is its own end nobody can tell.
        return "it has neither a length nor chunks, so that its end proves nothing"
    return None


def surplus(response: httpx.Response) -> bool:
    """
    Return whether bytes were read that lie behind the end of the answer.

    The next request would take them for its own answer. httpx does not tell, so this looks where it
    is not meant to; if things are not there as they were, the connection is not used again.
    """
    found: object = response.stream
    for name in ("_httpcore_stream", "_stream", "_connection", "_h11_state", "trailing_data"):
        found = getattr(found, name, None)
    return not (isinstance(found, tuple) and found[0] == b"")


def pieces(data: bytes, limit: int) -> Iterator[bytes]:
    """Cut *data* into pieces of at most *limit* bytes."""
    if len(data) <= limit:
        if data:
            yield data
        return
    for at in range(0, len(data), limit):
        yield data[at : at + limit]


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> DialFailure:
    """Return what an answer comes to that is no success."""
    excerpt = body[: _failures.EXCERPT].decode(errors="replace")
    return DialFailure(status=status, headers=headers, body=excerpt, sent=True)


def broken(
    exc: Exception, order: Order, *, answered: bool, ended: bool
) -> Closed | DialFailure | Error:
    """
    Say what it means that a request ended with *exc*.

    *answered*: the head of an answer had come. *ended*: the peer had ended the connection.
    """
    address = order.where.address
    protocol = isinstance(exc, httpx.ProtocolError) and not ended
    if answered:
        if protocol:
            return _failures.broke_http(address, "it breaks the rules of HTTP")
        return _failures.cut_short(address) if ended else _failures.broke_off(address)
    if protocol:
        return DialFailure(error=_failures.no_answer(address), sent=True)
    if isinstance(exc, TimeoutError):
        return DialFailure(error=_failures.unread_request(address, order.send_timeout), sent=True)
    return DialFailure(error=_failures.unanswered(address), sent=True)
