"""
A socket for two threads, one of which reads while the other writes, and how to connect one.

It sends and receives as a socket does. What is different:

* Every call into the socket or into OpenSSL is brief and under one lock; waiting happens outside of
  it. OpenSSL's objects do not bear two threads at once, and CPython before 3.13 lets them in. A
  descriptor that one thread closes while the other is about to write to it may by then belong to
  somebody else's connection.
* Reading and writing have limits of their own, where a socket's one timeout would serve for both.
* A dial can be called off, and has one budget for all of its steps.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain

from ttsmux.adapter import DialFailure, connect_timeout
from ttsmux.transports import _failures
from ttsmux.transports._frames import TEXT, whole
from ttsmux.transports._laps import Laps

READ_SIZE = 64 * 1024
_TICK = 0.2
"""Seconds after which a writer looks whether the reader has taken what TLS waits for."""
# Who is wanted elsewhere is woken by a shutdown of its socket. To look for oneself is for Windows,
# where that may wake nobody. Elsewhere a thousand threads that each look a few times a second have
# the processor, and the interpreter's lock, to themselves.
_LOOKS = not hasattr(select, "poll")
_LOOK = _TICK if _LOOKS else 5.0
"""Seconds after which a reader looks whether it should give up."""
_CALLED_OFF = 0.05 if _LOOKS else 5.0
"""Seconds after which a dial looks whether it was called off."""
# RFC 8305, 5: how long to wait for one address before the next is tried beside it.
_NEXT_ADDRESS = 0.25

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class GaveUp(Exception):
    """The budget of a dial is used up, or nobody wants it any more; see `failure`."""

    def __init__(self, failure: DialFailure) -> None:
        super().__init__()
        self.failure = failure


class CallOff:
    """Whether nobody wants a dial any more. Who says so wakes the thread that waits within it."""

    __slots__ = ("_lock", "_off", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._off = False
        self._waiting: Sequence[socket.socket] = ()

    def __call__(self) -> bool:
        return self._off

    def set(self) -> None:
        """Call it off; from any thread, and more than once."""
        with self._lock:
            self._off = True
            for sock in self._waiting:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # as `Wire.cut` does

    @contextlib.contextmanager
    def waking(self, socks: Sequence[socket.socket]) -> Iterator[None]:
        """
        Wait for *socks* meanwhile, and do nothing else with them.

        Raises `GaveUp` if it is called off already.
        """
        with self._lock:
            if self._off:
                raise GaveUp(_failures.called_off())
            self._waiting = socks
        try:
            yield
        finally:
            # Under the lock: a descriptor that is shut down then is not somebody else's by now.
            with self._lock:
                self._waiting = ()


class Budget:
    """The time that a dial may take."""

    def __init__(self, seconds: float, call_off: CallOff | None) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self.call_off = call_off or CallOff()
        self.laps = Laps()

    def left(self) -> float:
        """Return the seconds that are left. Raises `GaveUp` if there are none."""
        if self.call_off():
            raise GaveUp(_failures.called_off())
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise GaveUp(connect_timeout(self._seconds))
        return left

    def wait(self, sock: socket.socket, exc: Exception) -> None:
        """Wait a while for what *exc* says is missing. Raises `GaveUp`."""
        seconds = min(self.left(), _CALLED_OFF)
        with self.call_off.waking((sock,)):
            ready(sock, isinstance(exc, ssl.SSLWantWriteError), seconds)
        self.left()


def ready(sock: socket.socket, write: bool, seconds: float) -> bool:
    """Wait until *sock* can be read from, or written to; a closed one is always ready."""
    return first_ready((sock,), write, seconds) is not None


def first_ready(
    socks: Sequence[socket.socket], write: bool, seconds: float
) -> socket.socket | None:
    """Wait until one of *socks* can be read from, or written to, and return it."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            for sock in socks:
                poll.register(sock, select.POLLOUT if write else select.POLLIN)
            found = {number for number, _ in poll.poll(max(0.0, seconds) * 1000)}
            return next((sock for sock in socks if sock.fileno() in found), None)
        wanted = ([], socks, socks) if write else (socks, [], [])
        return next(chain(*select.select(*wanted, max(0.0, seconds))), None)
    except (OSError, ValueError):
        return next((sock for sock in socks if sock.fileno() < 0), socks[0])


def resolve(host: str, port: int, budget: Budget) -> list[tuple[int, tuple[object, ...]]]:
    """
    Return the addresses of *host*, each with its family.

    Nothing can interrupt a look-up: a thread that is stuck in one comes back when the resolver
    gives up, and only then finds that its time is over.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    budget.left()
    budget.laps.lap("dns")
    return [(family, address) for family, _, _, _, address in found]


def connect(host: str, port: int, budget: Budget) -> socket.socket:
    """Return a connected, non-blocking socket. Raises `OSError`, `UnicodeError`, `GaveUp`."""
    waiting = resolve(host, port, budget)
    trying: list[socket.socket] = []
    error: OSError | None = None
    try:
        while waiting or trying:
            if waiting:
                family, address = waiting.pop(0)
                try:
                    trying.append(_begin(family, address))
                except OSError as exc:
                    error = exc
            until = time.monotonic() + (_NEXT_ADDRESS if waiting else budget.left())
            while trying and time.monotonic() < until:
                left = until - time.monotonic()
                done = _first_done(trying, min(left, budget.left(), _CALLED_OFF), budget)
                if done is None:
                    continue
                budget.left()
                trying.remove(done)
                code = done.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    budget.laps.lap("tcp")
                    return done
                done.close()
                error = OSError(code, "")
                break
    finally:
        # The one that is returned is no longer among them.
        for sock in trying:
            sock.close()
    budget.left()
    raise error or OSError("no address")


def _begin(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except BlockingIOError:
        pass
    except BaseException:
        sock.close()
        raise
    return sock


def _first_done(
    trying: Sequence[socket.socket], seconds: float, budget: Budget
) -> socket.socket | None:
    """Return a socket whose attempt to connect has ended, well or badly."""
    with budget.call_off.waking(trying):
        return first_ready(trying, True, seconds)


def secure(
    sock: socket.socket, context: ssl.SSLContext, host: str, budget: Budget
) -> ssl.SSLSocket:
    """Do the TLS handshake. Raises `OSError`, `ValueError`, `GaveUp`; *sock* is spent then."""
    wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                wrapped.do_handshake()
                return wrapped
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as exc:
                budget.wait(wrapped, exc)
    except BaseException:
        wrapped.close()
        raise


class Wire:
    """
    A connected socket, used by a thread that reads and one that writes.

    Attributes:
        patience: seconds that a send waits for the peer to take anything.
        deadline: when the reader gives up, who sets it itself; None is never.
    """

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._unread = b""
        self._at = 0
        # OpenSSL hands out less than it has.
        self._tells = not isinstance(sock, ssl.SSLSocket)
        self._drained = False
        self._awaited = self._closed = False
        self.patience = patience
        self.deadline: float | None = None

    def push_back(self, data: bytes) -> None:
        """Have *data* read first."""
        self._unread, self._at = data, 0

    def message(self, limit: int) -> tuple[bytes, bool] | None:
        """
        Take what comes next if it is a message in one frame, here in full; say whether it is text.

        Only between two frames. Raises what `recv` raises.
        """
        self._fill()
        found = whole(self._unread, self._at, limit)
        if found is None:
            return None
        begin, end = found
        text = self._unread[self._at] == TEXT
        self._at = end
        return self._unread[begin:end], text

    def recv(self, size: int) -> bytes:
        """Return up to *size* bytes. Raises `EOFError` where the peer is done, and `OSError`."""
        self._fill()
        data = self._unread[self._at : self._at + size]
        self._at += len(data)
        return data

    def _fill(self) -> None:
        """See that there is something to take."""
        if self._at == len(self._unread):
            self._unread, self._at = self._read(), 0
            if not self._unread:
                raise EOFError

    def _read(self) -> bytes:
        # Where all was taken the last time, asking for more would be a call and an exception more.
        wait, write = self._drained, False
        while True:
            if wait:
                self._await(write)
            try:
                with self._lock:
                    data = self._sock.recv(READ_SIZE)
            except _WOULD_BLOCK as exc:
                wait, write = True, isinstance(exc, ssl.SSLWantWriteError)
            else:
                self._drained = self._tells and len(data) < READ_SIZE
                return data

    def _await(self, write: bool) -> None:
        # Not within a handler: an idle reader would hold an exception and its traceback.
        seconds = _LOOK
        if self.deadline is not None:
            seconds = min(_LOOK, self.deadline - time.monotonic())
            if seconds <= 0:
                msg = "the peer did not close in time"
                raise TimeoutError(msg)
        with self._lock:
            if self._closed:
                return
            self._awaited = True
        try:
            ready(self._sock, write, seconds)
        finally:
            with self._lock:
                self._awaited = False
                if self._closed:
                    self._sock.close()

    def send(self, data: bytes | memoryview) -> int:
        """Write some of *data* and return how much. Raises `TimeoutError`."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                with self._lock:
                    return self._sock.send(data)
            except _WOULD_BLOCK as exc:
                left = deadline - time.monotonic()
                if left <= 0:
                    msg = f"nothing was taken for {self.patience:g} s"
                    raise TimeoutError(msg) from None
                # Not longer than a tick: what TLS waits to read, the reader may have taken.
                ready(self._sock, not isinstance(exc, ssl.SSLWantReadError), min(left, _TICK))

    def send_now(self, data: bytes) -> None:
        """Write *data* if it can be done without waiting, and never mind if not."""
        with contextlib.suppress(OSError), self._lock:
            self._sock.send(data)

    @property
    def readable(self) -> bool:
        """Whether something came, or the peer is done; asked while nobody reads."""
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return self._at < len(self._unread) or ready(self._sock, False, 0)

    def cut(self) -> None:
        """Wake whoever waits for the socket; reading ends, writing fails."""
        with self._lock:
            self._cut()

    def _cut(self) -> None:
        # Not SSLSocket's own method, which takes TLS off first: what is then sent or received in
        # the clear is neither meant nor understood.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """
        Give the descriptor back, and wake whoever waits for it: to close it does not.

        Who waits closes it then. Its number would belong to somebody else's connection, on which it
        would go on waiting if it had been about to begin.
        """
        with self._lock:
            self._cut()
            self._closed = True
            if not self._awaited:
                self._sock.close()
