"""
One accepted TCP connection: HTTP requests by h11, and after an upgrade the WebSocket by
websockets' codec.

Nothing here knows a provider. The socket is ours to the last byte, so that it can also be reset,
ended without a close frame or in the middle of a body, or fall silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import h11
from websockets.frames import BINARY, CLOSE, CONT, PING, TEXT, Close, Frame
from websockets.http11 import Request as UpgradeRequest
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

MAX_HEAD = 64 * 1024
MAX_BODY = 1024 * 1024
MAX_MESSAGE = 16 * 1024 * 1024

# Audio waits when this much is unsent. Answers may go beyond it (an acknowledgement does not wait
# for audio to be read), up to the second number; then the client is not listened to either.
HIGH_WATER = 64 * 1024
ANSWERS_HIGH_WATER = 1024 * 1024

# How a pong frame begins.
_PONG = b"\x8a"

# How long the other side has for its half of the closing handshake.
CLOSE_GRACE = 2.0

# websockets logs headers at DEBUG, and the key is one of them.
_quiet = logging.Logger("ttsmux.simulate.wire", level=logging.CRITICAL + 1)


@attrs.frozen
class Request:
    """An HTTP request. Header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False, default=b"")

    @property
    def upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return self.method == "GET" and "websocket" in self.headers.get("upgrade", "").lower()


@attrs.frozen
class Response:
    """An HTTP response that is sent whole."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Ping:
    """A ping was read, and answered."""

    data: bytes


@attrs.frozen
class Closed:
    """A close frame was read, and answered. Nothing comes after it."""

    code: int
    reason: str


Message = str | bytes | Ping | Closed


def reset(sock: socket.socket) -> None:
    """Make closing *sock* a TCP RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Wire:
    """
    The server's end of one connection.

    `request` reads an HTTP request; then `respond`, or `head`, `piece` and `end` for an answer that
    is made while it is sent, and `again` tells whether another request may follow; or `upgrade` and
    iterate over `messages`. Sending never waits: call `drain` after anything that is not an answer.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.silent = False
        self.pongless = False
        self._sock = sock
        self._started = False
        self._transport: asyncio.Transport
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._raw = b""
        self._method = b""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._ws = ServerProtocol(max_size=MAX_MESSAGE, logger=_quiet)
        self._partial: list[bytes] = []
        self._partial_is_text = False
        self._grace: asyncio.TimerHandle | None = None

    async def start(self, ssl_context: ssl.SSLContext | None) -> None:
        """Take the socket over; with an *ssl_context*, do the TLS handshake."""
        self._started = True
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=HIGH_WATER, loop=loop)
        protocol = asyncio.StreamReaderProtocol(self._reader, loop=loop)
        self._transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            self._sock,
            ssl=ssl_context,
            ssl_shutdown_timeout=CLOSE_GRACE if ssl_context else None,
        )
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self._writer = asyncio.StreamWriter(self._transport, protocol, self._reader, loop)

    # HTTP

    async def request(self) -> Request | Response | None:
        """
        Read one request.

        A response: what to answer to bad HTTP, or to a body that is too long; `again` is false
        then. None: the client left.
        """
        head: h11.Request | None = None
        body = bytearray()
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                left = self._raw == b""
                return None if left else Response(400, str(exc).encode(), "text/plain")
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._write(self._http.send(go_on) or b"")
                data = await self._reader.read(65536)
                if len(self._raw) <= MAX_BODY:  # only an upgrade, which has no body, is read twice
                    self._raw += data
                self._http.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
                self._method = event.method
            elif isinstance(event, h11.Data):
                if len(body) <= MAX_BODY:
                    body += event.data
            elif head is None:
                return None
            elif len(body) > MAX_BODY:
                return Response(413, b"The request body is too long", "text/plain")
            else:
                return _request(head, bytes(body))

    def respond(self, response: Response, *, close: bool = False) -> None:
        """Answer the request whole; with *close*, hang up after it."""
        bodiless = self._method == b"HEAD" or response.status in (204, 304)
        length = ("Content-Length", str(len(response.body)))
        headers = (("Content-Type", response.content_type), length, *response.headers)
        self.head(response.status, headers, close=close)
        self.piece(b"" if bodiless else response.body)
        self.end()

    def head(self, status: int, headers: Iterable[tuple[str, str]], *, close: bool = False) -> None:
        """Begin an answer. Without a Content-Length its body is chunked."""
        closing = [("Connection", "close")] if close else []
        self._answer(h11.Response(status_code=status, headers=[*headers, *closing]))

    def piece(self, data: bytes) -> None:
        """Send a piece of the answer's body."""
        if data:
            self._answer(h11.Data(data=data))

    def end(self) -> None:
        """End the answer. Not doing so, and hanging up instead, cuts its body short."""
        self._answer(h11.EndOfMessage())

    def garbage(self) -> None:
        """Send what is no HTTP."""
        self._write(b"no chunk of anything\r\n")

    def _answer(self, event: h11.Event) -> None:
        if self.alive:
            self._write(self._http.send(event) or b"")

    @property
    def alive(self) -> bool:
        """Whether bytes can be sent."""
        return not self.silent and not self._transport.is_closing()

    def again(self) -> bool:
        """Tell whether the request was answered to its end and `request` may be called again."""
        http = self._http
        if self.silent or http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return False
        self._raw = http.trailing_data[0]  # what came behind this request is the next one's
        http.start_next_cycle()
        return True

    async def pause(self, seconds: float) -> bool:
        """Let *seconds* pass before a request is answered; false at once if the client leaves."""
        if seconds == 0 or len(self._raw) > MAX_BODY:  # then it cannot be read on
            await asyncio.sleep(seconds)
            return True
        leaving = asyncio.ensure_future(self.left())
        try:
            left, _ = await asyncio.wait((leaving,), timeout=seconds)
            return not left
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def left(self) -> None:
        """Return when the client has left; what it sends meanwhile is the next request."""
        while len(self._raw) <= MAX_BODY and (data := await self._reader.read(65536)):
            self._raw += data
            self._http.receive_data(data)
            await self.unless_silent()

    # The WebSocket

    def upgrade(self) -> int:
        """Prepare the answer to the request, 101 or a 4xx; `flush`, or any message, sends it."""
        head, blank, rest = self._raw.partition(b"\r\n\r\n")
        self._raw = rest
        self._ws.receive_data(head + blank)
        (request,) = self._ws.events_received()
        assert isinstance(request, UpgradeRequest), "h11 has parsed this head before"
        response = self._ws.accept(request)
        self._ws.send_response(response)
        return response.status_code

    @property
    def open(self) -> bool:
        """Whether messages can be sent: upgraded, and no close frame was sent."""
        return self._ws.state is OPEN and self.alive

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what the client sends until the TCP connection ends. Answers pings and closes."""
        data, self._raw = self._raw, b""
        while True:
            if data:
                self._ws.receive_data(data)
                frames = self._ws.events_received()
                self.flush()
                for frame in frames:
                    assert isinstance(frame, Frame), "only the first event is a request"
                    if (message := self._message(frame)) is not None:
                        yield message
                    await self.unless_silent()
            if self._transport.get_write_buffer_size() > ANSWERS_HIGH_WATER:
                await self.drain()
            data = await self._reader.read(65536)
            if not data:
                return

    def send_text(self, data: bytes) -> None:
        """Send a text message, unless the connection is closing."""
        if self.open:
            self._ws.send_text(data)
            self.flush()

    def send_binary(self, data: bytes) -> None:
        """Send a binary message, unless the connection is closing."""
        if self.open:
            self._ws.send_binary(data)
            self.flush()

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake, unless somebody has."""
        if not self.open:
            return
        # A control frame has room for 123 bytes of it.
        self._ws.send_close(code, reason.encode()[:123].decode(errors="ignore"))
        self.flush()
        self._grace = asyncio.get_running_loop().call_later(CLOSE_GRACE, self.abort)

    async def drain(self) -> None:
        """Wait until the client has read enough, and give the other tasks a turn."""
        await self._writer.drain()
        await asyncio.sleep(0)

    # Leaving

    def reset(self) -> None:
        """Reset the TCP connection."""
        reset(self._transport.get_extra_info("socket"))
        self._transport.abort()

    def eof(self) -> None:
        """End the TCP connection, without a close frame."""
        self._transport.close()

    def silence(self) -> None:
        """Neither read nor write anything from here on."""
        self.silent = True
        self._transport.pause_reading()

    async def unless_silent(self) -> None:
        """Return at once, or never."""
        if self.silent:
            await asyncio.get_running_loop().create_future()

    def abort(self) -> None:
        """Let go of the socket now. Idempotent. If `start` is under way, cancelling it does."""
        if self._grace is not None:
            self._grace.cancel()
        if hasattr(self, "_transport"):
            # asyncio's abort() fails on a transport that has closed with something unwritten.
            with contextlib.suppress(AttributeError):
                self._transport.abort()
        elif not self._started:
            self._sock.close()

    async def ended(self) -> None:
        """Wait until what was written is with the kernel and the socket is closed."""
        self._transport.close()
        await self._writer.wait_closed()

    # Helpers

    def _message(self, frame: Frame) -> Message | None:
        if frame.opcode in (TEXT, BINARY, CONT):
            return self._join(frame)
        if frame.opcode is PING:
            return Ping(bytes(frame.data))
        if frame.opcode is CLOSE:
            close = Close.parse(bytes(frame.data))
            return Closed(int(close.code), close.reason)
        return None

    def _join(self, frame: Frame) -> str | bytes | None:
        if frame.opcode is not CONT:
            self._partial_is_text = frame.opcode is TEXT
        self._partial.append(bytes(frame.data))
        if not frame.fin:
            return None
        data = b"".join(self._partial)
        self._partial.clear()
        if not self._partial_is_text:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            self.close(1007, "text is not UTF-8")
            return None

    def flush(self) -> None:
        """Write what the codec has prepared."""
        for data in self._ws.data_to_send():
            if self.pongless and data.startswith(_PONG):
                continue
            if data:
                self._write(data)
            elif not self.silent:
                # b"" is the codec's word for the end of the stream.
                self._transport.close()

    def _write(self, data: bytes) -> None:
        if data and self.alive:
            self._transport.write(data)


def _request(head: h11.Request, body: bytes) -> Request:
    target = urlsplit(head.target.decode("ascii"))
    return Request(
        head.method.decode("ascii"),
        unquote(target.path),
        dict(parse_qsl(target.query, keep_blank_values=True)),
        {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        body,
    )
