"""
Servers on loopback that do as a test says, byte by byte.

A `Listener` accepts in a thread and runs a script for each connection in one more. The script gets
a `Peer`, a blocking socket with words for what a WebSocket server does; websockets'
`ServerProtocol` answers the upgrade, the frames are made by hand.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

import trustme
from websockets.http11 import Request
from websockets.server import ServerProtocol

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SILENT = logging.Logger("peer", logging.CRITICAL + 1)
PATIENCE = 30.0
"""Seconds after which a peer has waited long enough for anything."""


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = False, rsv: int = 0
) -> bytes:
    head = bytes([fin << 7 | rsv << 4 | opcode])
    flag = 0x80 if mask else 0
    if len(data) < 126:
        head += bytes([flag | len(data)])
    elif len(data) < 65536:
        head += bytes([flag | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([flag | 127]) + struct.pack("!Q", len(data))
    return head + (bytes(4) if mask else b"") + data


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Peer:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request: Request | None = None
        self._unread = b""

    def upgrade(self, *, behind: bytes = b"", head: bytes = b"") -> None:
        """Answer the upgrade, whose *head* may be read already; *behind* leaves with the answer."""
        protocol = ServerProtocol(logger=SILENT)
        if head:
            protocol.receive_data(head)
        while not (events := protocol.events_received()):
            protocol.receive_data(self.sock.recv(4096))
        (self.request,) = events
        protocol.send_response(protocol.accept(self.request))
        self.send(b"".join(protocol.data_to_send()) + behind)

    def head(self) -> bytes:
        """Read the head of a request."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.sock.recv(1) or _hung_up()
        return head

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        return self._exactly(size)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes) -> None:
        for index in range(len(data)):
            self.send(data[index : index + 1])

    def receive(self) -> tuple[int, bytes]:
        """Read a frame of the client's: its opcode and what it says."""
        first, second = self._exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        assert second & 0x80, "a client masks"
        assert first & 0x80, "we never fragment"
        key = self._exactly(4)
        data = self._exactly(length)
        mask = (key * (length // 4 + 1))[:length]
        value = int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")
        return first & 0x0F, value.to_bytes(length, "big")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.sock.recv(size - len(data)) or _hung_up()
        return data

    def until_hung_up(self) -> None:
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def _hung_up() -> bytes:
    raise ConnectionError("the client hung up")


Script = Callable[[Peer], None]


class Listener:
    """
    Runs *script* for each connection.

    `settle()` waits for the scripts to end and raises what they raised, but for the client's going
    away; leaving the context does so too.
    """

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._starting = threading.Lock()
        """Held from a script's start until `settle` knows of it."""
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        self._errors: list[Exception] = []
        self.accepted = threading.Semaphore(0)
        self.connections = 0
        self._accepting = threading.Thread(target=self._accept, name="listener")
        self._accepting.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def url(self, path: str = "/speech", host: str = "127.0.0.1") -> str:
        return f"{'wss' if self._context else 'ws'}://{host}:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._run, args=(sock,), name="peer")
            with self._starting:
                thread.start()
                self._threads.append(thread)
            self.accepted.release()

    def _run(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._script(Peer(sock))
        except (ConnectionError, ssl.SSLError):
            pass  # the client went away, which the test knows better
        except Exception as exc:
            self._errors.append(exc)
        finally:
            sock.close()

    def settle(self) -> None:
        with self._starting:
            threads = list(self._threads)
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a script does not end"
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        # Wakes accept(), which close() alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        if kind is None:
            self.settle()
        else:
            for thread in self._threads:
                thread.join(PATIENCE)


def serve(script: Script, context: ssl.SSLContext | None = None) -> Listener:
    """Upgrade, then run *script*."""

    def upgraded(peer: Peer) -> None:
        peer.upgrade()
        script(peer)

    return Listener(upgraded, context)


def idle(peer: Peer) -> None:
    """Say nothing until the client goes."""
    peer.until_hung_up()


class Authority:
    """A CA, and contexts for both sides."""

    def __init__(self) -> None:
        self.ca = trustme.CA()

    @functools.cache  # noqa: B019 - one authority a session
    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
        return context

    @functools.cache  # noqa: B019
    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context


def pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side is done."""

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=carry, args=(other, one), name="pump")
    back.start()
    carry(one, other)
    back.join()


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
