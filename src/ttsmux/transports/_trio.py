"""
WebSockets on trio.

Sending suspends here and a cancelled send leaves half a frame behind, so only the writer sends: the
reader asks for it with an empty `reply`. The exception is its last act, when the connection is over
and nobody else may send any more: the close frame it owes.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping, Sequence

import trio

from ttsmux.adapter import Closed, DialFailure, Frame
from ttsmux.transports import _failures
from ttsmux.transports._begin import beside
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

READ_SIZE = 256 * 1024
# trio does not tell how much of a send has left, so what must leave within the send timeout is
# this much: 1.6 KiB/s with the default of ten seconds.
_PIECE = 16 * 1024
_FAREWELL = 0.5
"""Seconds that the last close frame may take."""

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class TrioTransport:
    """A connection of a trio run."""

    def __init__(
        self,
        codec: Codec,
        send_timeout: float,
        address: str,
        socket: trio.SocketStream,
        stream: Stream,
    ) -> None:
        self.parts: Mapping[str, float] = {}
        self._codec = codec
        self._send_timeout = send_timeout
        self._address = address
        self._socket = socket
        self._stream = stream
        self._unsent = bytearray()
        self._unread_replies = 0
        self._doomed = False
        self._sending = False
        self._over = trio.Event()

    def __repr__(self) -> str:
        state = "over" if self._over.is_set() else "doomed" if self._doomed else "open"
        return f"<TrioTransport {self._address} {state}>"

    # -- the seam

    async def read(self, sink: MessageSink, write: Writing | None = None) -> None:
        """
        Report to *sink* until the connection has ended, and run *write*; returns after both.

        If it is cancelled the wire is cut, and *sink* hears nothing more.
        """
        if write is not None:
            await beside(write, self.read, sink)
            return
        self._codec.listen(sink)
        try:
            await self._receive(sink)
            self._over.set()
            await self._farewell()
        finally:
            self._codec.listen(Nobody())
            self._over.set()
            self.abort()

    async def send(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Send *frames* in order. Raises `SendError`; cancelling it spoils the connection."""
        if self._doomed or self._codec.over:
            msg = f"the connection to {self._address} cannot be written to any more"
            raise SendError(msg)
        self._codec.encode(frames)
        await self._flush()

    async def close(self, grace: float) -> None:
        """Do the closing handshake; cut the wire after *grace* seconds, or if it is cancelled."""
        try:
            if not self._doomed and not self._codec.over:
                with trio.move_on_after(grace):
                    self._codec.close()
                    await self._flush()
                    # The reader sees the answer, even one that was started a moment ago and has not
                    # had its first turn: two tasks cannot wait for one socket.
                    await self._over.wait()
        except SendError:
            pass  # cutting the wire is all that is left to do
        finally:
            self.abort()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Cut the wire now; the reader returns. May be called more than once."""
        self._doomed = True
        # Wakes whoever waits for it, and leaves TLS no chance to wait for the peer's goodbye.
        self._socket.socket.close()

    # -- within

    async def _receive(self, sink: MessageSink) -> None:
        # What came with the answer to the upgrade may want replies already.
        self._have_replies_sent(sink)
        while not self._codec.over:
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except _BROKEN:
                self._codec.end(Closed(None))
                return
            if self._codec.receive(bytes(data)):
                self._have_replies_sent(sink)

    def _have_replies_sent(self, sink: MessageSink) -> None:
        replies = self._codec.outgoing()
        self._unsent += replies
        self._unread_replies += len(replies)
        if self._unread_replies > UNREAD_REPLIES:
            self._codec.end(_failures.unread_replies())
        elif replies and not self._codec.over:
            sink.reply(())

    async def _flush(self) -> None:
        if self._sending:
            msg = "another task is sending"
            raise SendError(msg)
        self._unsent += self._codec.outgoing()
        done = False
        self._sending = True
        try:
            while self._unsent:
                piece = bytes(self._unsent[:_PIECE])
                del self._unsent[:_PIECE]
                with trio.fail_after(self._send_timeout):
                    await self._stream.send_all(piece)
            self._unread_replies = 0
            done = True
        except trio.TooSlowError:
            raise SendTimeout(self._address, self._send_timeout) from None
        except _BROKEN as exc:
            msg = f"the connection to {self._address} broke while it was written to"
            raise SendError(msg) from exc
        finally:
            self._sending = False
            # Cancelled, too late or broken: half a frame may be on its way.
            self._doomed = self._doomed or not done

    async def _farewell(self) -> None:
        """Send the close frame that is owed; the writer has nothing more to say."""
        self._unsent += self._codec.outgoing()
        if self._unsent and not self._doomed and not self._sending:
            with trio.move_on_after(_FAREWELL), contextlib.suppress(*_BROKEN):
                await self._stream.send_all(bytes(self._unsent))


async def dial(
    codec: Codec,
    endpoint: Endpoint,
    proxy: Proxy | None,
    context: ssl.SSLContext | None,
    send_timeout: float,
) -> tuple[TrioTransport, Response]:
    """Connect, step by step. Raises `DialError`; whatever it raises, no socket stays open."""
    laps = Laps()
    socket = await _connect(endpoint, proxy)
    laps.lap("tcp")  # trio looks the name up itself
    try:
        if proxy is not None:
            await _tunnel(socket, endpoint, proxy)
            laps.lap("proxy")
        stream: Stream = socket
        if context is not None:
            stream = await _secure(socket, context, endpoint)
            laps.lap("tls")
        response = await _upgrade(codec, stream, endpoint)
        laps.lap("upgrade")
    except BaseException:
        socket.socket.close()
        raise
    transport = TrioTransport(codec, send_timeout, endpoint.address, socket, stream)
    transport.parts = laps.parts
    return transport, response


async def _connect(endpoint: Endpoint, proxy: Proxy | None) -> trio.SocketStream:
    where = proxy or endpoint
    try:
        # Sets TCP_NODELAY itself.
        return await trio.open_tcp_stream(where.host, where.port)
    except (OSError, UnicodeError) as exc:
        failure = _failures.unreachable if proxy is None else _failures.no_proxy
        raise DialError(DialFailure(error=failure(exc, where.address))) from exc


async def _tunnel(socket: trio.SocketStream, endpoint: Endpoint, proxy: Proxy) -> None:
    exchange = proxy.tunnel(endpoint)
    status = None
    try:
        await socket.send_all(exchange.request)
        while not exchange.receive(await socket.receive_some(_PIECE)):
            pass
        status = exchange.status
    except (EOFError, NoHTTP, *_BROKEN):
        pass
    if status is None or not 200 <= status < 300:
        raise DialError(DialFailure(error=_failures.no_tunnel(proxy.address, status)))


async def _secure(
    socket: trio.SocketStream, context: ssl.SSLContext, endpoint: Endpoint
) -> trio.SSLStream[trio.SocketStream]:
    try:
        # HTTPS-compatible: many servers leave without TLS's own goodbye.
        stream = trio.SSLStream(
            socket, context, server_hostname=endpoint.host, https_compatible=True
        )
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__ if isinstance(exc.__cause__, ssl.SSLError) else exc
        error = _failures.insecure(cause, endpoint.address)
        raise DialError(DialFailure(error=error)) from cause
    except ValueError as exc:
        error = _failures.no_server_name(endpoint.host)
        raise DialError(DialFailure(error=error)) from exc
    return stream


async def _upgrade(codec: Codec, stream: Stream, endpoint: Endpoint) -> Response:
    answer: Response | DialFailure | None = None
    try:
        await stream.send_all(codec.outgoing())
        while answer is None:
            answer = codec.answer(bytes(await stream.receive_some(READ_SIZE)))
    except trio.BrokenResourceError as exc:
        error = _failures.cut(endpoint.address)
        raise DialError(DialFailure(error=error)) from exc
    if isinstance(answer, DialFailure):
        raise DialError(answer)
    return answer
