"""
One WebSocket without a socket: websockets' sans-I/O protocol, and what a transport makes of it.

Bytes go in, calls of a sink and bytes to write come out. Handshake, pings, closing, the order of
fragments and every rule of the protocol are websockets' business; here continuation frames are
joined, and the end is reported once. Messages that are a whole frame pass it by (``_frames.py``).
Both async transports are fed from this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import (
    InvalidHeader,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
    PayloadTooBig,
)
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Response as HTTPResponse
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from ttsmux.adapter import Closed, DialFailure, Frame
from ttsmux.errors import Error
from ttsmux.transports import _failures
from ttsmux.transports._frames import TEXT, Data, Frames, whole
from ttsmux.transports._http import Endpoint, headers_of
from ttsmux.transports.base import MessageSink, Ping, Pong, Response, SendError, Target

UNREAD_REPLIES = 1024 * 1024
"""Bytes of pongs that may wait for a peer that does not read."""

# Once a frame: an attribute of an enum takes longer to look up than a global.
_CONT, _TEXT, _BINARY, _PONG = Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.PONG

# websockets logs the headers of a handshake, key and all, at DEBUG. This logger has no parent and
# no level that anything reaches.
_SILENT = logging.Logger("ttsmux.websockets", logging.CRITICAL + 1)


class Backlog:
    """A sink for the time before there is one: what came is said again by `replay`."""

    def __init__(self) -> None:
        self._calls: list[Callable[[MessageSink], None]] = []

    def message(self, data: bytes, text: bool) -> None:
        self._calls.append(lambda sink: sink.message(data, text))

    def pong(self) -> None:
        self._calls.append(lambda sink: sink.pong())

    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        self._calls.append(lambda sink: sink.reply(frames))

    def lost(self, fault: Closed | Error) -> None:
        self._calls.append(lambda sink: sink.lost(fault))

    def replay(self, sink: MessageSink) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call(sink)


class Nobody:
    """A sink for the time after there was one."""

    def message(self, data: bytes, text: bool) -> None: ...
    def pong(self) -> None: ...
    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None: ...
    def lost(self, fault: Closed | Error) -> None: ...


class Codec:
    """
    The client's side of one connection, from the upgrade to the end.

    Whatever is called: fetch `outgoing()` afterwards.

    Attributes:
        over: whether `lost` was reported; nothing is delivered from then on.
    """

    def __init__(self, target: Target, endpoint: Endpoint) -> None:
        self._max_message = target.max_message
        self._address = endpoint.address
        self._protocol = ClientProtocol(
            WebSocketURI(
                endpoint.secure,
                endpoint.host,
                endpoint.port,
                endpoint.path,
                endpoint.query,
                endpoint.user,
                endpoint.password,
            ),
            subprotocols=[Subprotocol(name) for name in target.subprotocols] or None,
            max_size=target.max_message,
            logger=_SILENT,
        )
        request = self._protocol.connect()
        for name, value in headers_of(target).items():
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value
        self._protocol.send_request(request)
        self._frames = Frames(target.max_message)
        if not target.fast_path:
            self._frames.stop()
        self._end_of_head = b""
        self._sink: MessageSink = Backlog()
        self._text = False
        self._parts: bytearray | None = None
        self.over = False

    def listen(self, sink: MessageSink) -> None:
        """Report to *sink* from now on, beginning with all that has happened."""
        earlier, self._sink = self._sink, sink
        if isinstance(earlier, Backlog):
            earlier.replay(sink)

    def outgoing(self) -> bytes:
        """
        Return what is to be written.

        An empty piece among it would be a half-close. It only ever comes when the connection is
        over, and then the wire is cut.
        """
        return b"".join(self._protocol.data_to_send())

    # -- the upgrade

    def answer(self, data: bytes) -> Response | DialFailure | None:
        """Take in what the server answers, nothing where it hung up; None means: more."""
        # Apart from what comes behind it, so that it is known where the first frame begins.
        head, rest = self._cut(data)
        self._feed(head)
        answer = self._answered(hung_up=not data)
        if answer is None and rest:  # a refusal in many words
            self._feed(rest)
            answer = self._answered(hung_up=False)
        elif isinstance(answer, Response) and rest:
            self.receive(rest)
        return answer

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut *data* where the head of the answer ends, which other pieces may have begun."""
        known = len(self._end_of_head)
        joined = self._end_of_head + data
        self._end_of_head = joined[-3:]
        at = joined.find(b"\r\n\r\n") + 4 - known
        return (data, b"") if at < 4 - known else (data[:at], data[at:])

    def _answered(self, *, hung_up: bool) -> Response | DialFailure | None:
        events = self._protocol.events_received()
        exc = self._protocol.handshake_exc
        if exc is None and not events:
            return None
        if exc is None:
            response = events[0]
            assert isinstance(response, HTTPResponse), "the first event is the response"
            found = Response(response.status_code, _headers(response))
            # The protocol's parser holds on to it for as long as the connection lives.
            response.headers.clear()
            return found
        if isinstance(exc, InvalidStatus):
            return DialFailure(
                status=exc.response.status_code,
                headers=_headers(exc.response),
                body=bytes(exc.response.body[: _failures.EXCERPT]).decode(errors="replace"),
            )
        if hung_up:
            return DialFailure(error=_failures.cut(self._address))
        return DialFailure(error=self._no_upgrade(exc))

    def _no_upgrade(self, exc: Exception) -> Error:
        # Only the kind of exception is told: its text quotes headers.
        match exc:
            case InvalidUpgrade():
                what = "the upgrade it names is not WebSocket"
            case InvalidHeader():
                what = "its headers do not fit the request"
            case NegotiationError():
                what = "it chose something that was not offered"
            case _:
                return _failures.no_http(self._address)
        return _failures.no_upgrade(self._address, what)

    # -- what comes

    def receive(self, data: Data) -> bool:
        """
        Take in *data*, nothing where the peer is done, and report what it means.

        Returns:
            whether the end may have come, or something is to be written.
        """
        if self.over:
            return True
        if not data:
            self._take(b"")
            return True
        frames = self._frames
        if frames.even:  # once a chunk of audio: most of what comes is whole messages
            at, size, limit, message = 0, len(data), frames.limit, self._sink.message
            while (found := whole(data, at, limit)) is not None:
                begin, end = found
                message(bytes(data[begin:end]), data[at] == TEXT)
                if end == size:
                    return False
                at = end
            data = data[at:]
        taken = False
        for piece, text in frames.split(data):
            if text is None:
                taken = True
                self._take(piece)
                if self.over:
                    break
            else:
                self._sink.message(piece, text)
        return taken

    def _take(self, data: bytes) -> None:
        self._feed(data)
        self._report(self._protocol.events_received())

    def end(self, fault: Closed | Error) -> None:
        """Report *fault*, unless an end was reported before."""
        if not self.over:
            self.over = True
            self._sink.lost(fault)

    def _feed(self, data: bytes) -> None:
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()

    def _report(self, events: Sequence[object]) -> None:
        for event in events:
            if isinstance(event, WireFrame):
                self._frame(event)
            if self.over:
                return
        if self._protocol.close_rcvd is not None:
            close = self._protocol.close_rcvd
            self.end(Closed(int(close.code), close.reason))
        elif self._protocol.parser_exc is not None:
            self.end(self._fault(self._protocol.parser_exc))

    def _frame(self, frame: WireFrame) -> None:
        opcode = frame.opcode
        if opcode is _TEXT or opcode is _BINARY:
            self._text = opcode is _TEXT
            if frame.fin:
                self._sink.message(bytes(frame.data), self._text)
            else:
                self._parts = bytearray(frame.data)
        elif opcode is _CONT:
            assert self._parts is not None, "the protocol refuses a stray continuation"
            self._parts += frame.data
            if frame.fin:
                whole, self._parts = bytes(self._parts), None
                self._sink.message(whole, self._text)
        elif opcode is _PONG:
            self._sink.pong()
        # The protocol answers pings and close frames itself.

    def _fault(self, exc: Exception) -> Closed | Error:
        match exc:
            case EOFError():
                return Closed(None)
            case PayloadTooBig():
                return _failures.too_large(self._max_message)
            case UnicodeDecodeError():
                return _failures.broke_protocol("the reason of its close frame is not UTF-8")
            case _:
                return _failures.broke_protocol(str(exc))

    # -- what goes

    def encode(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Add *frames*, all or none, to what is to be written. Raises `SendError`."""
        try:
            ready = [frame.encode() if isinstance(frame, str) else frame for frame in frames]
        except UnicodeEncodeError:
            msg = "a text message holds half of a surrogate pair"
            raise SendError(msg) from None
        try:
            for frame, payload in zip(frames, ready, strict=True):
                match payload:
                    case Ping():
                        self._protocol.send_ping(b"")
                    case Pong(data=data):
                        self._protocol.send_pong(data)
                    case bytes() if isinstance(frame, str):
                        self._protocol.send_text(payload)
                    case _:
                        self._protocol.send_binary(payload)
        except InvalidState:
            msg = "the connection is closing"
            raise SendError(msg) from None

    def close(self) -> None:
        """Add a close frame, once, to what is to be written."""
        if not self.over and self._protocol.close_sent is None:
            self._protocol.send_close(1000)
            self._frames.stop()


def _headers(response: HTTPResponse) -> dict[str, str]:
    names = response.headers
    return {name.lower(): ", ".join(names.get_all(name)) for name in names}
