"""
WebSockets for threads, over websocket-client.

The library cuts and masks frames. What else it offers is not used, for reasons found out the hard
way, each with a test:

* its handshake keeps the cookies of all connections in one jar for the whole process, reads without
  limit and one byte at a time, and starts its timeout afresh with each (``_http.py`` does it);
* `WebSocket.recv` answers pings, which makes two threads send, and returns ``''`` for an empty text
  message as well as for a close frame;
* `WebSocket.close` waits for a lock that a blocked reader holds;
* after a `send` that timed out half-way it goes on as if nothing had happened;
* its check of UTF-8 takes 600 µs a message.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import websocket

from ttsmux.adapter import Closed, DialFailure, Frame
from ttsmux.errors import Error
from ttsmux.transports import _failures
from ttsmux.transports._http import Endpoint, NoHTTP, Undialable, basic, endpoint, headers_of
from ttsmux.transports._proxy import Proxy, proxy_for
from ttsmux.transports._socket import READ_SIZE, Budget, CallOff, GaveUp, Wire
from ttsmux.transports._socket import connect as connect_socket
from ttsmux.transports._socket import secure as secure_socket
from ttsmux.transports._tls import default_context
from ttsmux.transports.base import (
    DialError,
    MessageSink,
    Ping,
    Pong,
    Response,
    SendError,
    SendTimeout,
    SyncTransport,
    Target,
)

if TYPE_CHECKING:
    from ttsmux.transports._exchange import Exchange

_ABNF = websocket.ABNF
# RFC 6455, 1.3: hashed together with the key of the request, it shows that the server understood.
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_CONTROL = 125
# A record of TLS, which says nothing before it has taken all it was given: progress is what counts.
_AT_ONCE = 16 * 1024
_NORMAL, _BROKEN, _INVALID, _TOO_BIG, _NO_CODE = 1000, 1002, 1007, 1009, 1005


# --- the dial -------------------------------------------------------------------------------------


def connect(
    target: Target, timeout: float, call_off: CallOff | None = None
) -> tuple[SyncTransport, Response]:
    """
    Dial *target* within *timeout* seconds, from the look-up of its name to the upgrade.

    Raises `DialError`, also as soon as *call_off* is set. If it fails, no socket stays open.
    Redirects are refusals. A look-up of the name can neither be limited nor called off.
    """
    budget = Budget(timeout, call_off)
    prepared = _prepared(target)
    if isinstance(prepared, Error):
        raise DialError(DialFailure(error=prepared))
    where, proxy, upgrade = prepared
    context = None
    if where.secure:
        context = target.ssl_context or default_context()
    sock = open_socket(where, proxy, context, budget)
    try:
        response = upgrade.over(sock, budget)
    except GaveUp as exc:
        sock.close()
        raise DialError(exc.failure) from None
    except BaseException:
        sock.close()
        raise
    budget.laps.lap("upgrade")
    transport = WebSocketClientTransport(sock, target, where.address, upgrade.exchange.rest)
    transport.parts = budget.laps.parts
    return transport, response


def _prepared(target: Target) -> tuple[Endpoint, Proxy | None, _Upgrade] | Error:
    # Returned and not raised: no exception that was made of a URL is in the chain of ours.
    try:
        where = endpoint(target.url)
        return where, proxy_for(target.proxy, where), _Upgrade(target, where)
    except Undialable as exc:
        return exc.error


def open_socket(
    where: Endpoint, proxy: Proxy | None, context: ssl.SSLContext | None, budget: Budget
) -> socket.socket:
    """
    Return a socket to *where*, through *proxy* and with TLS where they are given.

    Raises `DialError`; no socket stays open then.
    """
    sock = _connected(where, proxy, budget)
    try:
        if proxy is not None:
            _tunnel(sock, where, proxy, budget)
            budget.laps.lap("proxy")
        if context is not None:
            sock = _secured(sock, context, where, budget)
            budget.laps.lap("tls")
    except GaveUp as exc:
        sock.close()
        raise DialError(exc.failure) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(where: Endpoint, proxy: Proxy | None, budget: Budget) -> socket.socket:
    first = proxy or where
    try:
        return connect_socket(first.host, first.port, budget)
    except GaveUp as exc:
        raise DialError(exc.failure) from None
    except (OSError, UnicodeError) as exc:
        failure = _failures.unreachable if proxy is None else _failures.no_proxy
        raise DialError(DialFailure(error=failure(exc, first.address))) from exc


def _tunnel(sock: socket.socket, where: Endpoint, proxy: Proxy, budget: Budget) -> None:
    exchange = proxy.tunnel(where)
    status = None
    with contextlib.suppress(EOFError, OSError, NoHTTP):
        _exchange(sock, exchange, budget)
        status = exchange.status
    if status is None or not 200 <= status < 300:
        raise DialError(DialFailure(error=_failures.no_tunnel(proxy.address, status)))


def _secured(
    sock: socket.socket, context: ssl.SSLContext, where: Endpoint, budget: Budget
) -> ssl.SSLSocket:
    try:
        return secure_socket(sock, context, where.host, budget)
    except OSError as exc:
        error = _failures.insecure(exc, where.address)
        raise DialError(DialFailure(error=error)) from exc
    except ValueError as exc:
        error = _failures.no_server_name(where.host)
        raise DialError(DialFailure(error=error)) from exc


def _exchange(sock: socket.socket, exchange: Exchange, budget: Budget) -> None:
    unsent = exchange.request
    while True:
        try:
            if unsent:
                unsent = unsent[sock.send(unsent) :]
            elif exchange.receive(sock.recv(READ_SIZE)):
                return
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as exc:
            write = unsent and not isinstance(exc, ssl.SSLWantReadError)
            budget.wait(sock, ssl.SSLWantWriteError() if write else exc)
        budget.left()


class _Upgrade:
    """The request for a WebSocket, and a look at the answer."""

    def __init__(self, target: Target, where: Endpoint) -> None:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        headers = {
            "Host": where.authority,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        }
        if target.subprotocols:
            headers["Sec-WebSocket-Protocol"] = ", ".join(target.subprotocols)
        if where.user is not None:
            headers["Authorization"] = basic(where.user, where.password or "")
        from ttsmux.transports._exchange import Exchange

        own = headers_of(target)
        replaced = {name.lower() for name in own}
        kept = [(name, value) for name, value in headers.items() if name.lower() not in replaced]
        self.exchange = Exchange("GET", where.resource, [*kept, *own.items()])
        self._address = where.address
        self._offered = target.subprotocols
        self._accept = base64.b64encode(hashlib.sha1((key + _ACCEPT).encode()).digest()).decode()

    def over(self, sock: socket.socket, budget: Budget) -> Response:
        """Ask for the upgrade on *sock*. Raises `DialError` and `GaveUp`."""
        exchange = self.exchange
        error: Error | None = None
        try:
            _exchange(sock, exchange, budget)
        except (EOFError, OSError):
            error = _failures.cut(self._address)
        except NoHTTP:
            error = _failures.no_http(self._address)
        except GaveUp:
            # What a slow body was going to say is not worth the status.
            if exchange.status is None:
                raise
        if error is not None:
            raise DialError(DialFailure(error=error))
        status = exchange.status
        assert status is not None, "an exchange that is over has a status"
        if status != 101:
            raise DialError(
                DialFailure(
                    status=status,
                    headers=exchange.headers,
                    body=exchange.body[: _failures.EXCERPT].decode(errors="replace"),
                )
            )
        if what := self._flaw(exchange.headers):
            raise DialError(DialFailure(error=_failures.no_upgrade(self._address, what)))
        return Response(status, exchange.headers)

    def _flaw(self, headers: dict[str, str]) -> str | None:
        connection = [option.strip() for option in headers.get("connection", "").lower().split(",")]
        if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in connection:
            return "the upgrade it names is not WebSocket"
        if headers.get("sec-websocket-accept") != self._accept:
            return "its headers do not fit the request"
        chosen = headers.get("sec-websocket-protocol")
        if "sec-websocket-extensions" in headers or chosen not in (None, *self._offered):
            return "it chose something that was not offered"
        return None


# --- the connection -------------------------------------------------------------------------------


class _Broke(Exception):
    """The peer broke the protocol; *code* is what a close frame would say about it."""

    def __init__(self, error: Error, code: int) -> None:
        super().__init__()
        self.error = error
        self.code = code


def _broke(what: str, code: int = _BROKEN) -> _Broke:
    return _Broke(_failures.broke_protocol(what), code)


class _Frames(websocket.frame_buffer):
    """websocket-client's reader of frames, which looks at a header before it reads what follows."""

    def __init__(self, recv: Callable[[int], bytes], limit: int) -> None:
        super().__init__(recv, skip_utf8_validation=True)
        self._limit = limit
        self.joined = 0

    def recv_header(self) -> None:
        super().recv_header()
        assert self.header is not None, "it was just read"
        fin, rsv1, rsv2, rsv3, opcode, masked, length = self.header
        if rsv1 or rsv2 or rsv3:
            raise _broke("reserved bits must be 0")
        if opcode not in _ABNF.OPCODES:
            raise _broke("invalid opcode")
        if masked:
            # websocket-client would take it; RFC 6455, 5.1 says to fail the connection.
            raise _broke("incorrect masking")
        if opcode >= _ABNF.OPCODE_CLOSE and not fin:
            raise _broke("fragmented control frame")
        if opcode >= _ABNF.OPCODE_CLOSE and length > _MAX_CONTROL:
            raise _broke("control frame too long")

    def recv_length(self) -> None:
        super().recv_length()
        assert self.header is not None, "it is read before the length"
        assert self.length is not None, "it was just read"
        is_data = self.header[4] < _ABNF.OPCODE_CLOSE
        if is_data and self.joined + self.length > self._limit:
            raise _Broke(_failures.too_large(self._limit), _TOO_BIG)


class WebSocketClientTransport:
    """
    A connection for two threads.

    The thread in `read` alone receives, and alone closes the descriptor; `send` and `close` are for
    one other thread, `abort` for any.
    """

    def __init__(self, sock: socket.socket, target: Target, address: str, rest: bytes) -> None:
        self.parts: Mapping[str, float] = {}
        self._address = address
        self._wire = Wire(sock, target.send_timeout)
        self._wire.push_back(rest)
        self._frames = _Frames(self._wire.recv, target.max_message)
        self._limit = target.max_message
        self._fast_path = target.fast_path
        self._state = threading.Lock()
        self._sending = threading.Lock()
        self._read_begun = False
        self._reader = threading.Lock()
        """Taken until it has left. An Event would be the largest thing here."""
        self._reader.acquire()
        self._over = False
        self._doomed = False
        self._close_sent = False
        self._text = False
        self._parts: bytearray | None = None

    def __repr__(self) -> str:
        state = "over" if self._over else "doomed" if self._doomed else "open"
        return f"<WebSocketClientTransport {self._address} {state}>"

    # -- the thread that reads

    def read(self, sink: MessageSink) -> None:
        """Report to *sink* until the connection has ended; returns after `lost`."""
        with self._state:
            self._read_begun = True
        fault: Closed | Error = Closed(None)
        try:
            fault = self._receive(sink)
        finally:
            self._over = True
            sink.lost(fault)
            self._wire.close()
            self._reader.release()

    def _receive(self, sink: MessageSink) -> Closed | Error:
        try:
            while True:
                while self._fast_path and self._parts is None:
                    message = self._wire.message(self._limit)
                    if message is None:
                        break
                    sink.message(*message)
                frame = self._frames.recv_frame()
                data = cast(bytes, frame.data)
                if frame.opcode == _ABNF.OPCODE_CLOSE:
                    return self._closed(data)
                self._frame(frame.opcode, data, bool(frame.fin), sink)
        except _Broke as exc:
            self._farewell(struct.pack("!H", exc.code))
            return exc.error
        except websocket.WebSocketProtocolException as exc:
            self._farewell(struct.pack("!H", _BROKEN))
            return _failures.broke_protocol(str(exc))
        except (EOFError, OSError):
            return Closed(None)

    def _frame(self, opcode: int, data: bytes, last: bool, sink: MessageSink) -> None:
        if opcode == _ABNF.OPCODE_PING:
            sink.reply([Pong(data)])
        elif opcode == _ABNF.OPCODE_PONG:
            sink.pong()
        elif opcode == _ABNF.OPCODE_CONT:
            self._continue(data, last, sink)
        elif self._parts is not None:
            raise _broke("expected a continuation frame")
        else:
            self._text = opcode == _ABNF.OPCODE_TEXT
            if last:
                sink.message(data, self._text)
            else:
                self._parts = bytearray(data)
                self._frames.joined = len(data)

    def _continue(self, data: bytes, last: bool, sink: MessageSink) -> None:
        if self._parts is None:
            raise _broke("unexpected continuation frame")
        self._parts += data
        self._frames.joined = len(self._parts)
        if last:
            whole, self._parts, self._frames.joined = bytes(self._parts), None, 0
            sink.message(whole, self._text)

    def _closed(self, payload: bytes) -> Closed | Error:
        """Answer the peer's close frame and say what it means."""
        if not payload:
            self._farewell(b"")
            return Closed(_NO_CODE)
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError:
            self._farewell(struct.pack("!H", _INVALID))
            return _failures.broke_protocol("the reason of its close frame is not UTF-8")
        self._farewell(payload[:2])
        return Closed(struct.unpack("!H", payload[:2])[0], reason)

    def _farewell(self, payload: bytes) -> None:
        """
        Send the close frame that is owed, if that takes no time.

        The one thing a reader sends: nothing else can be sent any more, and a writer that is in the
        middle of a message is not disturbed.
        """
        self._over = True
        if self._sending.acquire(blocking=False):
            try:
                if not self._doomed and not self._close_sent:
                    self._close_sent = True
                    frame = _ABNF.create_frame(payload, _ABNF.OPCODE_CLOSE)
                    self._wire.send_now(frame.format())
            finally:
                self._sending.release()

    # -- the thread that writes

    def send(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Send *frames* in order. Raises `SendError`, after which nothing can be sent."""
        with self._sending:
            if self._doomed or self._over or self._close_sent:
                msg = f"the connection to {self._address} cannot be written to any more"
                raise SendError(msg)
            try:
                ready = [_encoded(frame) for frame in frames]
            except UnicodeEncodeError:
                msg = "a text message holds half of a surrogate pair"
                raise SendError(msg) from None
            if ready:
                self._send(*ready)

    def close(self, grace: float) -> None:
        """
        Send a close frame, and cut the wire if the reader has not left *grace* seconds later.

        Where there is no reader yet, one has that long to come.
        """
        until = time.monotonic() + grace
        self._wire.patience = min(self._wire.patience, grace)
        try:
            with self._sending:
                if not self._doomed and not self._over and not self._close_sent:
                    self._close_sent = True
                    self._send((struct.pack("!H", _NORMAL), _ABNF.OPCODE_CLOSE))
        except SendError:
            pass  # cutting the wire is all that is left to do
        left = max(0.0, until - time.monotonic())
        if self._doomed or not self._reader.acquire(timeout=left):
            self.abort()
        else:
            self._reader.release()  # for who closes once more

    def _send(self, *messages: tuple[bytes, int]) -> None:
        # In one piece: a turn of the interpreter for each would keep the peer waiting for the rest.
        frames = [_ABNF.create_frame(payload, opcode).format() for payload, opcode in messages]
        unsent, done = memoryview(b"".join(frames)), False
        try:
            while unsent:
                unsent = unsent[self._wire.send(unsent[:_AT_ONCE]) :]
            done = True
        except TimeoutError:
            raise SendTimeout(self._address, self._wire.patience) from None
        except OSError as exc:
            msg = f"the connection to {self._address} broke while it was written to"
            raise SendError(msg) from exc
        finally:
            # Anything more would go into the rest of a frame.
            self._doomed = self._doomed or not done

    # -- any thread

    def abort(self) -> None:
        """Cut the wire now; the reader returns. Safe from any thread, and more than once."""
        with self._state:
            self._doomed = True
            if self._read_begun:
                self._wire.cut()
            else:
                # Nobody else would ever close it; a reader that comes yet finds it closed.
                self._wire.close()


def _encoded(frame: Frame | Ping | Pong) -> tuple[bytes, int]:
    match frame:
        case str():
            return frame.encode(), _ABNF.OPCODE_TEXT
        case bytes():
            return frame, _ABNF.OPCODE_BINARY
        case Ping():
            return b"", _ABNF.OPCODE_PING
        case Pong(data=data):
            return data, _ABNF.OPCODE_PONG
