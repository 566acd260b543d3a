"""
Who waits for a socket is woken by what happens to it, and does not look for itself.

A thousand threads that each look a few times a second have one core to themselves: a storm of a
thousand dials took a minute of it, and a thousand idle connections a quarter of it.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.transports.peers import PATIENCE, TEXT, Listener, Peer, closing, frame, idle, serve
from tests.transports.runtimes import Runtime, running
from ttsmux.adapter import Closed
from ttsmux.errors import ConnectError
from ttsmux.transports import _socket, websocket_client
from ttsmux.transports._socket import Budget, CallOff, GaveUp, Wire
from ttsmux.transports.base import DialError, Target

pytestmark = pytest.mark.skipif(not hasattr(select, "poll"), reason="there it has to look")


@pytest.fixture
def threads() -> Iterator[Runtime]:
    with running("threads") as found:
        yield found


class Waits:
    """Notes for how long each wait may last, and says when there is one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self.begun = threading.Semaphore(0)
        self._real = _socket.first_ready
        monkeypatch.setattr(_socket, "first_ready", self)

    def __call__(self, socks: list[socket.socket], write: bool, seconds: float) -> object:
        self.seconds.append(seconds)
        self.begun.release()
        return self._real(socks, write, seconds)


def test_a_dial_waits_without_looking(threads: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an answer that may take its time; whoever calls it off wakes it."""
    monkeypatch.setattr(_socket, "_CALLED_OFF", PATIENCE)
    waits = Waits(monkeypatch)
    with Listener(idle) as server:
        dial = threads.dialling(Target(url=server.url()))
        assert server.accepted.acquire(timeout=PATIENCE)
        for _ in ("for the connection", "for the answer"):
            assert waits.begun.acquire(timeout=PATIENCE)
        dial.cancel()
        with pytest.raises(DialError) as caught:
            dial.result()
        server.settle()
    assert type(caught.value.failure.error) is ConnectError
    assert min(waits.seconds) > 1.0
    assert len(waits.seconds) == 2


def test_a_reader_waits_without_looking(threads: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a message, or for the peer's goodbye; what comes wakes it."""
    waits, go = Waits(monkeypatch), threading.Event()

    def script(peer: Peer) -> None:
        assert go.wait(PATIENCE)
        peer.send(frame(TEXT, b"hello"))
        peer.receive()
        peer.send(closing(1000))
        peer.until_hung_up()

    with serve(script) as server:
        transport, _ = websocket_client.connect(Target(url=server.url()), PATIENCE)
        waits.seconds.clear()
        sink = Sink()
        reading = threads.start(transport.read, sink)
        assert waits.begun.acquire(timeout=PATIENCE)
        go.set()
        assert sink.heard.acquire(timeout=PATIENCE)
        transport.close(PATIENCE)
        reading.result(PATIENCE)
    assert sink.fault == Closed(1000)
    assert min(waits.seconds) > 1.0


class Sink:
    """What a reader tells, noted."""

    def __init__(self) -> None:
        self.heard = threading.Semaphore(0)
        self.fault: object = None

    def message(self, data: bytes, text: bool) -> None:
        self.heard.release()

    def lost(self, fault: object) -> None:
        self.fault = fault


def test_who_closes_waits_for_the_reader_and_cuts_the_wire(threads: Runtime) -> None:
    """A peer that does not answer the close frame keeps nobody: the writer sees to that."""
    with serve(Peer.until_hung_up) as server:
        transport, _ = websocket_client.connect(Target(url=server.url()), PATIENCE)
        sink = Sink()
        reading = threads.start(transport.read, sink)
        transport.close(0.05)
        reading.result(PATIENCE)
        transport.close(0.05)  # once more is no harm
    assert sink.fault == Closed(None)


@pytest.mark.parametrize("end", [Wire.cut, Wire.close])
def test_who_ends_a_socket_wakes_its_reader(
    threads: Runtime, monkeypatch: pytest.MonkeyPatch, end: Callable[[Wire], None]
) -> None:
    """A pool of HTTP that is closed may close the socket of a request that goes on."""
    monkeypatch.setattr(_socket, "_LOOK", 2 * PATIENCE)
    waits = Waits(monkeypatch)
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        wire = Wire(one, PATIENCE)
        reading = threads.start(wire.recv, 1)
        assert waits.begun.acquire(timeout=PATIENCE)
        end(wire)
        with pytest.raises((EOFError, OSError)):
            reading.result(PATIENCE)


def test_a_dial_that_was_called_off_does_not_wait() -> None:
    one, other = socket.socketpair()
    with one, other:
        off = CallOff()
        off.set()
        with pytest.raises(GaveUp), off.waking((one,)):
            raise AssertionError
        other.send(b"x")
        assert one.recv(1) == b"x"  # it is not shut down: it may be somebody else's


def test_a_socket_that_nobody_waits_for_is_left_alone() -> None:
    """By who calls a dial off that has just ended: the socket may be in use."""
    one, other = socket.socketpair()
    with one, other:
        off = CallOff()
        with off.waking((one,)):
            pass
        off.set()
        other.send(b"x")
        assert one.recv(1) == b"x"
        with pytest.raises(GaveUp):
            Budget(PATIENCE, off).left()


def test_who_is_about_to_wait_does_not_wait_for_another_s_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number that is given back is given away at once, and only numbers are waited for."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    wire = Wire(ours, patience=1.0)
    others: list[socket.socket] = []
    found: list[object] = []
    real = select.poll

    class Late:
        """Waits only when the socket has been closed, and others have been made."""

        def __init__(self) -> None:
            self._poll = real()
            self.register = self._poll.register

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            wire.close()
            others.extend(socket.socketpair())
            answer = self._poll.poll(milliseconds)
            found.extend(answer)
            return answer

    monkeypatch.setattr(select, "poll", Late)
    monkeypatch.setattr(_socket, "_LOOK", 0.1)
    try:
        with pytest.raises(OSError):  # noqa: PT011 - which one is the system's to say
            wire.recv(1)
        assert found, "nothing happens to that of another"
        assert ours.fileno() < 0, "it is closed by who waited"
    finally:
        for sock in (theirs, *others):
            sock.close()
