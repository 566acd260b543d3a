"""
HTTP requests whose answers are audio, over httpx, for threads and for tasks.

To the rest of ttsmux a request is a connection that serves once: dialling it does nothing but check
where it goes; the first frame is the body, with which it leaves; the answer's body arrives as
messages while it comes; what ends the body ends the connection. Beneath, TCP connections are kept
and used again for the next request.

httpx brings the pool and the protocol. The sockets are ours, because httpx cannot say what must be
said: which of them belongs to the request that somebody wants to be rid of, from another thread.
Its client is not used: it would follow redirects, keep cookies, read the environment, undo
compression and log the URL.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextvars import ContextVar

import anyio
import anyio.abc
import anyio.lowlevel
import httpcore
import httpx
from anyio.streams.tls import TLSAttribute, TLSStream

from ttsmux.adapter import Closed, DialFailure, Frame, connect_timeout
from ttsmux.errors import Error
from ttsmux.transports import _failures
from ttsmux.transports._begin import beside
from ttsmux.transports._http import Endpoint, NoHTTP
from ttsmux.transports._requests import (
    EXCERPT_PATIENCE,
    KEPT,
    KEPT_FOR,
    WHOLE,
    Order,
    Use,
    body_of,
    broken,
    flaw,
    headers_in,
    pieces,
    prepare,
    refusal,
    surplus,
)
from ttsmux.transports._socket import READ_SIZE, Budget, CallOff, GaveUp, Wire, ready
from ttsmux.transports._tls import default_context
from ttsmux.transports.base import DialError, Ping, Pong, SendError, Sink, Target, Writing

_SEND_SIZE = 64 * 1024
_Fault = Closed | DialFailure | Error
# httpx wants one, and sets what it likes on it; the handshakes are ours, with another.
_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

_ours: ContextVar[bool] = ContextVar("ttsmux_http", default=False)


def _not_ours(record: logging.LogRecord) -> bool:
    return not _ours.get()


# It logs addresses and headers of answers. What others do with it is theirs to read.
for _name in ("httpcore.connection", "httpcore.http11"):
    logging.getLogger(_name).addFilter(_not_ours)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


# --- threads --------------------------------------------------------------------------------------


class Http:
    """The HTTP side of one client for threads: its requests share their connections."""

    def __init__(self) -> None:
        self._pool = _Pool()
        self.closed = False

    def connect(
        self, target: Target, timeout: float, call_off: CallOff | None = None
    ) -> HttpTransport:
        """
        Return a transport for a request to *target*.

        Nothing is sent, nor connected, before its first frame. *timeout* seconds are for the
        connection then; *call_off* ends it. Raises `DialError`.
        """
        return HttpTransport(self, prepare(target, default_context), timeout, call_off)

    def close(self) -> None:
        """Close the connections; a request ends with its own, or closes it if it is yet to come."""
        self.closed = True
        with _quietly():
            self._pool.close()

    def handle(self, request: httpx.Request) -> httpx.Response:
        return self._pool.handle_request(request)


class HttpTransport:
    """
    One request, for two threads.

    The thread in `read` alone talks to the server; `send` hands it the body, `close` and `abort`
    end it, from any thread.
    """

    def __init__(
        self,
        http: Http,
        order: Order,
        timeout: float,
        call_off: CallOff | None,
    ) -> None:
        self._http = http
        self.parts: Mapping[str, float] = {}  # it connects when it is sent
        self._order = order
        self._timeout = timeout
        self._call_off = call_off or CallOff()
        self._changed = threading.Condition()
        self._body: bytes | None = None
        self._doomed = False
        self._over = False
        self._afresh = False
        self._opened: list[_Stream] = []
        self._stream: _Stream | None = None

    def __repr__(self) -> str:
        return f"<HttpTransport {self._order.where.address} {_state(self)}>"

    # -- the thread that reads

    def read(self, sink: Sink) -> None:
        """Report to *sink* until the answer has ended; returns after `lost`."""
        fault: _Fault = Closed(None)
        token = _current.set(self)
        try:
            with _quietly():
                fault = self._answer(sink)
        finally:
            _current.reset(token)
            self.detach()
            for stream in self._opened:
                # A pool that is closed knows nothing of a connection that was made meanwhile.
                if self._http.closed or not stream.taken:
                    stream.close()
            sink.lost(fault)

    def _answer(self, sink: Sink) -> _Fault:
        body = self._wait_for_body()
        if body is None:
            return Closed(None)
        response: httpx.Response | None = None
        fault: _Fault = WHOLE
        try:
            response = self._ask(body)
            fault = self._hear(response, sink)
        except (DialError, GaveUp) as exc:
            fault = exc.failure
        except (httpx.HTTPError, OSError) as exc:
            answered = response is not None
            fault = broken(exc, self._order, answered=answered, ended=self._ended)
        finally:
            # First: the next request that takes the connection must not suffer from us.
            self.detach()
            if response is not None:
                response.close()
        if self._doomed:
            return Closed(None)
        if fault is WHOLE:
            sink.message(b"", False)
        return fault

    def _ask(self, body: bytes) -> httpx.Response:
        """Send the request and return the answer, of which the head has come."""
        try:
            return self._http.handle(self._order.request(body))
        except (httpx.HTTPError, OSError) as exc:
            if self._doomed or self._stream is None or not self._stream.stale(exc):
                raise
        with self._changed:
            self._stream = None
        self._afresh = True
        return self._http.handle(self._order.request(body))

    def _wait_for_body(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._doomed or self._body is not None)
            return None if self._doomed else self._body

    def _hear(self, response: httpx.Response, sink: Sink) -> _Fault:
        if not response.is_success:
            return self._refused(response)
        if what := flaw(response):
            return _failures.broke_http(self._order.where.address, what)
        sink.answered(headers_in(response))
        for data in _chunks(response):
            for piece in pieces(data, self._order.max_message):
                sink.message(piece, False)
        if self._stream is not None and surplus(response):
            self._stream.spoiled = True
        return WHOLE

    def _refused(self, response: httpx.Response) -> DialFailure:
        body = b""
        if self._stream is not None:
            self._stream.wire.deadline = time.monotonic() + EXCERPT_PATIENCE
        with contextlib.suppress(httpx.HTTPError, OSError):
            for data in _chunks(response):
                body += data
                if self._stream is not None and len(body) > _failures.EXCERPT:
                    self._stream.spoiled = True
        if self._stream is not None and surplus(response):
            self._stream.spoiled = True
        return refusal(response.status_code, headers_in(response), body)

    @property
    def _ended(self) -> bool:
        return self._stream is not None and self._stream.ended

    # -- what the sockets ask

    def open(self) -> _Stream:
        """Connect. Raises `DialError`, `GaveUp`."""
        from ttsmux.transports.websocket_client import open_socket  # not on the async side

        self._afresh = False
        order = self._order
        budget = Budget(self._timeout, self._call_off)
        sock = open_socket(order.where, order.proxy, order.context, budget)
        self._opened.append(_Stream(Wire(sock, order.send_timeout), order.where))
        return self._opened[-1]

    def passes_over(self, where: Endpoint) -> bool:
        """Return whether it wants no connection to *where* that others have used."""
        return self._afresh and where == self._order.where

    def attach(self, stream: _Stream) -> None:
        """Take *stream* as the one that this request uses."""
        if self._stream is not stream:
            with self._changed:
                if self._doomed or self._over:
                    msg = "the request was given up"
                    raise ConnectionAbortedError(msg)
                self._stream = stream
                stream.take()
                stream.wire.deadline = None

    def detach(self) -> None:
        with self._changed:
            self._over = True
            self._stream = None

    # -- the thread that writes

    def send(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Send *frames*: one, which is the body. Raises `SendError`."""
        body = body_of(frames)
        if body is None:
            return
        with self._changed:
            if self._body is not None or self._doomed or self._over:
                msg = f"nothing more can be sent with the request to {self._order.where.address}"
                raise SendError(msg)
            self._body = body
            self._changed.notify_all()

    def close(self, grace: float) -> None:
        """Leave: HTTP knows no goodbye."""
        self.abort()

    # -- any thread

    def abort(self) -> None:
        """Give the request up; the reader returns. Nothing happens if its answer has ended."""
        with self._changed:
            if not self._over:
                self._doomed = True
                self._call_off.set()
                if self._stream is not None:
                    self._stream.wire.cut()
                self._changed.notify_all()


_current: ContextVar[HttpTransport] = ContextVar("ttsmux_request")


class _Pool(httpx.HTTPTransport):
    """httpx's pool, over our sockets."""

    def __init__(self) -> None:
        super().__init__(verify=_UNUSED, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=_UNUSED,
            max_connections=None,  # how many there may be is the core's to say
            max_keepalive_connections=KEPT,
            keepalive_expiry=KEPT_FOR,
            network_backend=_Network(),
        )


class _Network(httpcore.NetworkBackend):
    def connect_tcp(self, *args: object, **kwargs: object) -> httpcore.NetworkStream:
        return _current.get().open()


class _Stream(httpcore.NetworkStream, Use):
    """A socket, TLS included. The request whose thread uses it can be told to let go of it."""

    def __init__(self, wire: Wire, where: Endpoint) -> None:
        super().__init__()
        self.wire = wire
        self._where = where

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        _current.get().attach(self)
        if self.spoiled:
            return b""
        try:
            data = self.wire.recv(min(max_bytes, READ_SIZE))
        except EOFError:
            self.ended = True
            return b""
        self.heard = True
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        _current.get().attach(self)
        at = 0
        while at < len(buffer):
            at += self.wire.send(buffer[at : at + _SEND_SIZE])

    def close(self) -> None:
        self.wire.close()

    def start_tls(self, *args: object, **kwargs: object) -> httpcore.NetworkStream:
        return self  # done with the dial

    def get_extra_info(self, info: str) -> object:
        if info != "is_readable":
            return None
        # What can be read while nobody asked for it is the end, or no answer to anything.
        return self.spoiled or self.wire.readable or _current.get().passes_over(self._where)


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    """Return the body as it came, and close nothing at its end."""
    stream = response.stream
    assert isinstance(stream, httpx.SyncByteStream), "the answer to a request of a thread"
    return iter(stream)


# --- tasks ----------------------------------------------------------------------------------------


class AsyncHttp:
    """The HTTP side of one client for tasks: its requests share their connections."""

    def __init__(self) -> None:
        self._pool = _AsyncPool()
        self.closed = False

    async def connect(self, target: Target, timeout: float) -> AsyncHttpTransport:
        """
        Return a transport for a request to *target*.

        Nothing is sent, nor connected, before its first frame; *timeout* seconds are for the
        connection then. Raises `DialError`.
        """
        return AsyncHttpTransport(self, prepare(target, default_context), timeout)

    async def aclose(self) -> None:
        """Close the connections; a request ends with its own, or closes it if it is yet to come."""
        self.closed = True
        with _quietly():
            await self._pool.aclose()

    async def handle(self, request: httpx.Request) -> httpx.Response:
        return await self._pool.handle_async_request(request)


class AsyncHttpTransport:
    """One request of an event loop: the task in `read` alone talks to the server."""

    def __init__(self, http: AsyncHttp, order: Order, timeout: float) -> None:
        self._http = http
        self.parts: Mapping[str, float] = {}  # it connects when it is sent
        self._order = order
        self._timeout = timeout
        self._body: bytes | None = None
        self._given = anyio.Event()
        self._scope: anyio.CancelScope | None = None
        self._doomed = False
        self._over = False
        self._afresh = False
        self._opened: list[_AsyncStream] = []
        self._stream: _AsyncStream | None = None

    def __repr__(self) -> str:
        return f"<AsyncHttpTransport {self._order.where.address} {_state(self)}>"

    async def read(self, sink: Sink, write: Writing | None = None) -> None:
        """
        Report to *sink* until the answer has ended, and run *write*; returns after both.

        If it is cancelled the request is given up, and *sink* hears nothing more.
        """
        if write is not None:
            await beside(write, self.read, sink)
            return
        fault: _Fault = Closed(None)
        token = _current_task.set(self)
        try:
            with anyio.CancelScope() as self._scope:
                if self._doomed:
                    self._scope.cancel()
                await self._given.wait()
                with _quietly():
                    fault = await self._answer(sink)
        finally:
            self._over = True
            self._stream = None
            _current_task.reset(token)
            with anyio.CancelScope(shield=True):
                for stream in self._opened:
                    # As above; and a task may be cancelled between its dial and the first use.
                    if self._http.closed or not stream.taken:
                        await stream.aclose()
        sink.lost(Closed(None) if self._doomed else fault)

    async def _answer(self, sink: Sink) -> _Fault:
        assert self._body is not None, "it was given"
        response: httpx.Response | None = None
        fault: _Fault = WHOLE
        try:
            response = await self._ask(self._body)
            fault = await self._hear(response, sink)
        except DialError as exc:
            fault = exc.failure
        except (httpx.HTTPError, OSError) as exc:
            answered, ended = response is not None, self._stream is not None and self._stream.ended
            fault = broken(exc, self._order, answered=answered, ended=ended)
        finally:
            if response is not None:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        if fault is WHOLE:
            self._over = True  # what this is answered with is a HangUp
            sink.message(b"", False)
        return fault

    async def _ask(self, body: bytes) -> httpx.Response:
        """Send the request and return the answer, of which the head has come."""
        try:
            return await self._http.handle(self._order.request(body))
        except (httpx.HTTPError, OSError) as exc:
            if self._doomed or self._stream is None or not self._stream.stale(exc):
                raise
        self._stream = None
        self._afresh = True
        return await self._http.handle(self._order.request(body))

    async def _hear(self, response: httpx.Response, sink: Sink) -> _Fault:
        if not response.is_success:
            return await self._refused(response)
        if what := flaw(response):
            return _failures.broke_http(self._order.where.address, what)
        sink.answered(headers_in(response))
        async for data in _chunks_async(response):
            for piece in pieces(data, self._order.max_message):
                sink.message(piece, False)
        if self._stream is not None and surplus(response):
            self._stream.spoiled = True
        return WHOLE

    async def _refused(self, response: httpx.Response) -> DialFailure:
        body = b""
        with anyio.move_on_after(EXCERPT_PATIENCE):
            with contextlib.suppress(httpx.HTTPError, OSError):
                async for data in _chunks_async(response):
                    body += data
                    # Not a break, which would leave generators behind that have not ended.
                    if self._stream is not None and len(body) > _failures.EXCERPT:
                        self._stream.spoiled = True
        if self._stream is not None and surplus(response):
            self._stream.spoiled = True
        return refusal(response.status_code, headers_in(response), body)

    async def open(self) -> _AsyncStream:
        """Connect. Raises `DialError`."""
        self._afresh = False
        with anyio.move_on_after(self._timeout):
            stream = await _open_stream(self._order)
            self._opened.append(_AsyncStream(stream, self._order))
            return self._opened[-1]
        raise DialError(connect_timeout(self._timeout))

    def passes_over(self, where: Endpoint) -> bool:
        """Return whether it wants no connection to *where* that others have used."""
        return self._afresh and where == self._order.where

    def attach(self, stream: _AsyncStream) -> None:
        """Take *stream* as the one that this request uses."""
        if self._stream is not stream:
            self._stream = stream
            stream.take()

    async def send(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Send *frames*: one, which is the body. Raises `SendError`."""
        body = body_of(frames)
        if body is not None:
            if self._body is not None or self._doomed or self._over:
                msg = f"nothing more can be sent with the request to {self._order.where.address}"
                raise SendError(msg)
            self._body = body
            self._given.set()
        await anyio.lowlevel.checkpoint()

    async def close(self, grace: float) -> None:
        """Leave: HTTP knows no goodbye."""
        self.abort()
        await anyio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Give the request up; the reader returns. Nothing happens if its answer has ended."""
        if not self._over:
            self._doomed = True
            if self._scope is not None:
                self._scope.cancel()


_current_task: ContextVar[AsyncHttpTransport] = ContextVar("ttsmux_async_request")


class _AsyncPool(httpx.AsyncHTTPTransport):
    """httpx's pool, over our sockets."""

    def __init__(self) -> None:
        super().__init__(verify=_UNUSED, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_UNUSED,
            max_connections=None,  # how many there may be is the core's to say
            max_keepalive_connections=KEPT,
            keepalive_expiry=KEPT_FOR,
            network_backend=_AsyncNetwork(),
        )


class _AsyncNetwork(httpcore.AsyncNetworkBackend):
    async def connect_tcp(self, *args: object, **kwargs: object) -> httpcore.AsyncNetworkStream:
        return await _current_task.get().open()


class _AsyncStream(httpcore.AsyncNetworkStream, Use):
    """A stream, TLS included."""

    def __init__(self, stream: anyio.abc.ByteStream, order: Order) -> None:
        super().__init__()
        self._stream = stream
        self._where = order.where
        self._patience = order.send_timeout

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        _current_task.get().attach(self)
        if self.spoiled:
            return b""
        try:
            data = await self._stream.receive(min(max_bytes, READ_SIZE))
        except anyio.EndOfStream:
            self.ended = True
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise ConnectionResetError from exc
        self.heard = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        _current_task.get().attach(self)
        try:
            for at in range(0, len(buffer), _SEND_SIZE):
                with anyio.fail_after(self._patience):
                    await self._stream.send(buffer[at : at + _SEND_SIZE])
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise ConnectionResetError from exc

    async def aclose(self) -> None:
        await anyio.aclose_forcefully(self._stream)

    async def start_tls(self, *args: object, **kwargs: object) -> httpcore.AsyncNetworkStream:
        return self  # done with the dial

    def get_extra_info(self, info: str) -> object:
        if info != "is_readable":
            return None
        sock = self._stream.extra(anyio.abc.SocketAttribute.raw_socket)
        return (
            self.spoiled
            or ready(sock, False, 0)
            or self._read_ahead()
            or self._decrypts()
            or _current_task.get().passes_over(self._where)
        )

    def _read_ahead(self) -> bool:
        """
        Return whether anyio holds what nobody has asked for.

        On asyncio it takes what comes in pieces of any size and hands them out in those asked for.
        It does not tell what is left, so this looks where it is not meant to; if things are not
        there as they were, the connection is not used again.
        """
        stream = self._stream
        tcp = stream.transport_stream if isinstance(stream, TLSStream) else stream
        if hasattr(tcp, "_trio_socket"):
            return False  # trio takes no more than it is asked for
        queue: object = getattr(getattr(tcp, "_protocol", None), "read_queue", None)
        return not (isinstance(queue, deque) and not queue)

    def _decrypts(self) -> bool:
        """Whether TLS, which reads ahead here, has more than was asked for."""
        tls = self._stream.extra(TLSAttribute.ssl_object, None)
        if tls is None:
            return False
        try:
            tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass
        return True


def _chunks_async(response: httpx.Response) -> AsyncIterator[bytes]:
    """Return the body as it came, and close nothing at its end."""
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream), "the answer to a request of a task"
    return aiter(stream)


async def _open_stream(order: Order) -> anyio.abc.ByteStream:
    where, proxy = order.where, order.proxy
    first = proxy or where
    try:
        stream: anyio.abc.ByteStream = await anyio.connect_tcp(first.host, first.port)
    except (OSError, UnicodeError) as exc:
        failure = _failures.unreachable if proxy is None else _failures.no_proxy
        raise DialError(DialFailure(error=failure(exc, first.address))) from exc
    try:
        if proxy is not None:
            await _tunnel(stream, order)
        if order.context is not None:
            stream = await _secured(stream, order, order.context)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise
    return stream


async def _tunnel(stream: anyio.abc.ByteStream, order: Order) -> None:
    assert order.proxy is not None, "there is one"
    exchange = order.proxy.tunnel(order.where)
    status = None
    with contextlib.suppress(EOFError, anyio.EndOfStream, anyio.BrokenResourceError, NoHTTP):
        await stream.send(exchange.request)
        while not exchange.receive(await stream.receive(READ_SIZE)):
            pass
        status = exchange.status
    if status is None or not 200 <= status < 300:
        raise DialError(DialFailure(error=_failures.no_tunnel(order.proxy.address, status)))


async def _secured(
    stream: anyio.abc.ByteStream, order: Order, context: ssl.SSLContext
) -> anyio.abc.ByteStream:
    where = order.where
    try:
        # An answer says itself where it ends, so that TLS need not.
        return await TLSStream.wrap(
            stream,
            server_side=False,
            hostname=where.host,
            ssl_context=context,
            standard_compatible=False,
        )
    except (anyio.EndOfStream, anyio.BrokenResourceError) as exc:
        error = _failures.insecure(ssl.SSLEOFError(), where.address)
        raise DialError(DialFailure(error=error)) from exc
    except OSError as exc:
        raise DialError(DialFailure(error=_failures.insecure(exc, where.address))) from exc
    except ValueError as exc:
        raise DialError(DialFailure(error=_failures.no_server_name(where.host))) from exc


def _state(transport: HttpTransport | AsyncHttpTransport) -> str:
    if transport._over:
        return "over"
    return "doomed" if transport._doomed else "open"
