"""
WebSockets on asyncio and uvloop.

The codec is fed by a `BufferedProtocol`: what a read brings is with the sink before the event loop
does anything else, without a task, a queue or a future in between. Writing does not suspend here,
so pongs and close frames are answered on the spot.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import anyio

from ttsmux.adapter import Closed, DialFailure, Frame
from ttsmux.errors import Error
from ttsmux.transports import _failures
from ttsmux.transports._begin import begin
from ttsmux.transports._codec import UNREAD_REPLIES, Codec, Nobody
from ttsmux.transports._http import Endpoint, NoHTTP
from ttsmux.transports._laps import Laps
from ttsmux.transports._proxy import Proxy
from ttsmux.transports.base import (
    DialError,
    MessageSink,
    Ping,
    Pong,
    Response,
    SendError,
    SendTimeout,
    Writing,
)

if TYPE_CHECKING:
    from ttsmux.transports._exchange import Exchange

READ_SIZE = 256 * 1024
_LARGE = 32 * 1024
"""Bytes of a read after which there may be more in the same turn."""
HIGH_WATER = 64 * 1024
# How often a waiting send looks whether anything has left, in parts of the send timeout.
_LOOKS = 8
# The same in seconds, where nothing tells that there is room again.
_LOOK = 0.02
Address = tuple[str, int] | tuple[str, int, int, int]

# RFC 8305, 5: how long to wait for one address before the next is tried beside it.
_NEXT_ADDRESS = 0.25

_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = (
    weakref.WeakKeyDictionary()
)


def _read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """
    Return the buffer that all connections of *loop* read into.

    A read fills it and `buffer_updated` empties it in one step of the loop. One for each connection
    costs 289 KiB each (measured), and has to be where Windows' proactor fills it behind our back.
    """
    if sys.platform == "win32":
        return memoryview(bytearray(READ_SIZE // 8))
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(READ_SIZE))
    return buffer


class AsyncioTransport(asyncio.BufferedProtocol):
    """
    A connection of an asyncio loop.

    All methods and callbacks run in the loop. `lost` is only ever reported from a callback, never
    from within a call of ours: `abort()` is safe where its caller is not ready to hear of the end.
    """

    _taken_in_turn = 0
    _held = False
    """Whether nothing more is read before others had their turn."""

    def __init__(
        self, codec: Codec, send_timeout: float, loop: asyncio.AbstractEventLoop, address: str
    ) -> None:
        self.parts: Mapping[str, float] = {}
        self._codec = codec
        self._send_timeout = send_timeout
        self._loop = loop
        self._address = address
        self._buffer = _read_buffer(loop)
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._doomed = False
        self._answer: asyncio.Future[Response | DialFailure] | None = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._writable: asyncio.Future[None] | None = None
        self._unread_replies = 0

    def __repr__(self) -> str:
        state = "over" if self._over.done() else "doomed" if self._doomed else "open"
        return f"<AsyncioTransport {self._address} {state}>"

    # -- the seam

    async def read(self, sink: MessageSink, write: Writing | None = None) -> None:
        """
        Report to *sink* until the connection has ended, and run *write*; returns after both.

        If it is cancelled, or *write* raises, the wire is cut, and *sink* hears nothing more.
        """
        self._codec.listen(sink)
        try:
            if write is not None:
                await write()
            await self._over
        except BaseException:
            self._codec.listen(Nobody())
            self.abort()
            raise

    async def send(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Send *frames* in order. Raises `SendError`; cancelling it spoils the connection."""
        if not self.send_now(frames):
            try:
                await self._drain()
            except BaseException:
                self._doomed = True
                raise

    def send_now(self, frames: Sequence[Frame | Ping | Pong]) -> bool:
        """
        Send *frames* in order, and tell whether there is room for more.

        If not, `send` is to follow, which waits for it. Raises `SendError`.
        """
        transport = self._usable()
        self._codec.encode(frames)
        if data := self._codec.outgoing():
            transport.write(data)
        return not self._crowded()

    async def close(self, grace: float) -> None:
        """Do the closing handshake; cut the wire after *grace* seconds, or if it is cancelled."""
        try:
            if self._transport is not None and not self._doomed and not self._codec.over:
                self._codec.close()
                self._flush()
                await asyncio.wait((self._over,), timeout=grace)
        finally:
            self.abort()
        # The loop closes the socket a step later; so that it is closed when this returns.
        await asyncio.wait((self._gone,), timeout=1)

    def abort(self) -> None:
        """Cut the wire now; the reader returns. May be called more than once."""
        self._doomed = True
        if self._raw is not None:
            # Whatever lies on top, TLS included, hears of it from below. Its own way would be to
            # say goodbye, for which a peer can let us wait.
            self._raw.abort()

    # -- the dial

    async def upgrade(self, raw: asyncio.Transport, transport: asyncio.Transport) -> Response:
        """Ask for the upgrade on *transport*, which may be *raw* or TLS on top of it."""
        self._raw, self._transport = raw, transport
        for each in {raw, transport}:
            each.set_write_buffer_limits(high=HIGH_WATER)
        self._flush()
        assert self._answer is not None, "it is asked for once"
        answer = await self._answer
        self._answer = None  # an idle connection holds no headers
        if isinstance(answer, DialFailure):
            raise DialError(answer)
        return answer

    # -- callbacks of the loop

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        # Whatever is to stay is copied: the next read of any connection overwrites it.
        data = self._buffer[:nbytes]
        if not self._open:
            self._take(bytes(data))
        elif self._codec.receive(data):
            self._taken()
        if nbytes >= _LARGE:
            self._take_turns(nbytes)

    def eof_received(self) -> None:
        self._take(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(DialFailure(error=_failures.cut(self._address)))
        self._doomed = True
        self._end(Closed(None))
        _settle(self._gone)
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None and not self._gone.done():
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            _settle(self._writable)
            self._writable = None
            self._unread_replies = 0

    # -- within

    def _take(self, data: bytes) -> None:
        if not self._open:
            answer = self._codec.answer(data)
            if answer is not None and self._answer is not None and not self._answer.done():
                self._answer.set_result(answer)
            self._open = isinstance(answer, Response)
        else:
            self._codec.receive(data)
        self._taken()

    def _taken(self) -> None:
        replied = self._flush()
        if self._writable is not None:
            self._unread_replies += replied
            if self._unread_replies > UNREAD_REPLIES:
                self._codec.end(_failures.unread_replies())
        if self._codec.over:
            self._wind_up()

    def _take_turns(self, nbytes: int) -> None:
        """
        Let others have their turn after much was read, those above all for whom it is.

        asyncio reads once a turn by itself; uvloop up to 32 times, 8 MiB, while it gets all it asks
        for: of a whole speech sent at once its reader would see nothing until too much is unread.
        """
        if not self._taken_in_turn:
            self._loop.call_soon(self._next_turn)
        self._taken_in_turn += nbytes
        transport = self._transport
        if self._taken_in_turn >= READ_SIZE and not self._held and transport is not None:
            self._held = not transport.is_closing()
            if self._held:
                transport.pause_reading()

    def _next_turn(self) -> None:
        self._taken_in_turn = 0
        if self._held:
            self._held = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _flush(self) -> int:
        """Write what the codec wants written; return how many bytes it was."""
        data = self._codec.outgoing()
        # The loop warns about writes after an abort.
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        return len(data)

    def _end(self, fault: Closed | Error) -> None:
        self._codec.end(fault)
        _settle(self._over)

    def _wind_up(self) -> None:
        """Let the reader go, and cut the wire after the close frame has left."""
        _settle(self._over)
        # uvloop writes at the end of the present step, and abort() throws away what is unwritten.
        self._loop.call_soon(self.abort)

    def _usable(self) -> asyncio.Transport:
        if self._doomed or self._codec.over or self._transport is None:
            msg = f"the connection to {self._address} cannot be written to any more"
            raise SendError(msg)
        return self._transport

    def _unsent(self) -> int:
        """Return how many bytes wait for the peer, in the socket's buffer and in TLS's above it."""
        layers = {self._raw, self._transport}
        return sum(layer.get_write_buffer_size() for layer in layers if layer is not None)

    def _crowded(self) -> bool:
        # Below TLS a single large write passes the mark unnoticed: asyncio encrypts all of it
        # before it asks whether anything more is wanted.
        layered = self._raw is not self._transport
        return self._writable is not None or (layered and self._unsent() > HIGH_WATER)

    async def _drain(self) -> None:
        unsent, deadline = self._unsent(), self._loop.time() + self._send_timeout
        while self._crowded() and not self._gone.done():
            awaited, seconds = self._writable, self._send_timeout / _LOOKS
            if awaited is None:
                awaited, seconds = self._gone, min(_LOOK, seconds)
            await asyncio.wait((awaited,), timeout=seconds)
            now = self._unsent()
            if now < unsent:
                deadline = self._loop.time() + self._send_timeout
            elif self._loop.time() >= deadline and self._crowded():
                raise SendTimeout(self._address, self._send_timeout)
            unsent = now
        self._usable()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Opening(asyncio.Protocol):
    """Holds a fresh connection until it is handed on, and asks a proxy for a tunnel before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._exchange: Exchange | None = None
        self._granted: asyncio.Future[bool] = loop.create_future()

    async def tunnel(self, transport: asyncio.Transport, exchange: Exchange) -> bool:
        """Return whether the proxy answered in HTTP at all; *exchange* has its status."""
        self._exchange = exchange
        transport.write(exchange.request)
        return await self._granted

    def data_received(self, data: bytes) -> None:
        if self._exchange is None or self._granted.done():
            return  # nobody has been asked anything: the upgrade will show what this peer is
        try:
            if self._exchange.receive(data):
                self._granted.set_result(True)
        except (EOFError, NoHTTP):
            self._granted.set_result(False)

    def eof_received(self) -> None:
        self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._granted.done():
            self._granted.set_result(False)


async def dial(
    codec: Codec,
    endpoint: Endpoint,
    proxy: Proxy | None,
    context: ssl.SSLContext | None,
    send_timeout: float,
) -> tuple[AsyncioTransport, Response]:
    """Connect, step by step. Raises `DialError`; whatever it raises, no socket stays open."""
    loop, laps = asyncio.get_running_loop(), Laps()
    wire = AsyncioTransport(codec, send_timeout, loop, endpoint.address)
    opening = _Opening(loop)
    raw = await _connect(loop, opening, endpoint, proxy, laps)
    laps.lap("tcp")
    try:
        if proxy is not None:
            await _tunnel(opening, raw, endpoint, proxy)
            laps.lap("proxy")
        transport = raw
        if context is not None:
            transport = await _secure(loop, wire, raw, context, endpoint)
            laps.lap("tls")
        else:
            raw.set_protocol(wire)
        response = await wire.upgrade(raw, transport)
        laps.lap("upgrade")
        wire.parts = laps.parts
        return wire, response
    except BaseException:
        raw.abort()
        with anyio.CancelScope(shield=True):
            # Two steps of the loop: one to hear of it, one to close the descriptor.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        raise


async def _connect(
    loop: asyncio.AbstractEventLoop,
    opening: _Opening,
    endpoint: Endpoint,
    proxy: Proxy | None,
    laps: Laps,
) -> asyncio.Transport:
    where = proxy or endpoint
    try:
        addresses = await _resolve(loop, where.host, where.port)
        laps.lap("dns")
        sock = await _race(loop, addresses)
        try:
            transport, _ = await loop.create_connection(lambda: opening, sock=sock)
        except BaseException:
            sock.close()
            raise
    except (OSError, UnicodeError) as exc:
        failure = _failures.unreachable if proxy is None else _failures.no_proxy
        raise DialError(DialFailure(error=failure(exc, where.address))) from exc
    return transport


async def _attempt(loop: asyncio.AbstractEventLoop, family: int, address: Address) -> socket.socket:
    """Return a socket to *address*; where that fails, or is cancelled, none stays open."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(
    loop: asyncio.AbstractEventLoop, addresses: Sequence[tuple[int, Address]]
) -> socket.socket:
    """
    Return a socket to the one of *addresses* that answers first.

    asyncio's own race loses a socket, open, if it is cancelled when one has just been connected
    (3.11: test_a_dial_that_is_called_off_leaves_no_socket), and uvloop has none.
    """
    if len(addresses) == 1:  # without the task: a thousand dials at once would be a thousand more
        return await _attempt(loop, *addresses[0])
    winners: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(family: int, address: Address, failed: anyio.Event) -> None:
        try:
            winners.append(await _attempt(loop, family, address))
        except OSError as exc:
            errors.append(exc)
            failed.set()
        else:
            group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for family, address in addresses:
                failed = anyio.Event()
                begin(group, attempt, family, address, failed)
                with anyio.move_on_after(_NEXT_ADDRESS):
                    await failed.wait()
        if not winners:
            raise errors[0]
    except BaseException:
        for sock in winners:
            sock.close()
        raise
    for sock in winners[1:]:
        sock.close()
    return winners[0]


async def _resolve(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> list[tuple[int, Address]]:
    with contextlib.suppress(ValueError):
        version = ipaddress.ip_address(host).version
        return [(socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port))]
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, cast(Address, address)) for family, _, _, _, address in found]


async def _tunnel(
    opening: _Opening, raw: asyncio.Transport, endpoint: Endpoint, proxy: Proxy
) -> None:
    exchange = proxy.tunnel(endpoint)
    answered = await opening.tunnel(raw, exchange)
    if not answered or exchange.status is None or not 200 <= exchange.status < 300:
        status = exchange.status if answered else None
        raise DialError(DialFailure(error=_failures.no_tunnel(proxy.address, status)))


async def _secure(
    loop: asyncio.AbstractEventLoop,
    wire: AsyncioTransport,
    raw: asyncio.Transport,
    context: ssl.SSLContext,
    endpoint: Endpoint,
) -> asyncio.Transport:
    if raw.is_closing():
        # uvloop would start a handshake on what is gone.
        raise DialError(DialFailure(error=_failures.insecure(EOFError(), endpoint.address)))
    try:
        transport = await loop.start_tls(raw, wire, context, server_hostname=endpoint.host)
    except OSError as exc:
        error = _failures.insecure(exc, endpoint.address)
        raise DialError(DialFailure(error=error)) from exc
    except ValueError as exc:
        error = _failures.no_server_name(endpoint.host)
        raise DialError(DialFailure(error=error)) from exc
    if transport is None:
        # asyncio says so where the connection was lost in the step in which TLS was ready.
        raise DialError(DialFailure(error=_failures.cut(endpoint.address)))
    return transport
