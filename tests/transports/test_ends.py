"""How a connection ends: told once, with its reason, in bounded time, and nothing is left open."""

import errno
import gc
import socket
import struct
import threading
import time
from concurrent.futures import CancelledError

import pytest

from tests.transports.peers import (
    CLOSE,
    PATIENCE,
    PING,
    TEXT,
    Authority,
    Listener,
    Peer,
    closing,
    frame,
    idle,
    serve,
)
from tests.transports.runtimes import Runtime
from ttsmux.adapter import Closed
from ttsmux.errors import RemoteProtocolError
from ttsmux.transports.base import PING as A_PING
from ttsmux.transports.base import Pong, SendError, SendTimeout, Target

LARGE = b"x" * (8 * 1024 * 1024)
"""More than the buffers of two sockets take."""


# --- the peer ends it -----------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1008, "too idle"), (4999, "é" * 40)])
def test_a_close_frame_is_reported_and_answered(runtime: Runtime, code: int, reason: str) -> None:
    def script(peer: Peer) -> None:
        peer.send(closing(code, reason.encode()))
        opcode, payload = peer.receive()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", code))
        peer.until_hung_up()

    with serve(script) as server:
        assert runtime.connect(server.url()).end() == Closed(code, reason)


def test_a_close_frame_without_a_code(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        peer.send(frame(CLOSE))
        assert peer.receive() == (CLOSE, b"")

    with serve(script) as server:
        assert runtime.connect(server.url()).end() == Closed(1005)


def test_a_close_frame_within_a_fragmented_message(runtime: Runtime) -> None:
    """The code says more than that a message is incomplete."""
    with serve(lambda peer: peer.send(frame(TEXT, b"?", fin=False) + closing(1011))) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1011)
        assert line.sink.messages == []


def test_nothing_is_delivered_behind_a_close_frame(runtime: Runtime) -> None:
    with serve(lambda peer: peer.send(closing(1000) + frame(TEXT, b"late"))) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1000)
        assert line.sink.messages == []


def test_a_reset(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        peer.send(frame(TEXT, b"one"))
        assert peer.receive() == (TEXT, b"seen")
        peer.reset()

    with serve(script) as server:
        line = runtime.connect(server.url())
        line.messages(1)
        line.send_last("seen")
        assert line.end() == Closed(None)
        with pytest.raises(SendError):
            line.send("more")


@pytest.mark.parametrize("behind", [b"", frame(TEXT, b"half of this")[:-4]])
def test_a_half_close(runtime: Runtime, behind: bytes) -> None:
    """The peer sends no more but would read on: over it is, and we hang up."""

    def script(peer: Peer) -> None:
        peer.send(frame(TEXT, b"one") + behind)
        peer.half_close()
        peer.until_hung_up()

    with serve(script) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(None)
        assert line.sink.messages == [(b"one", True)]


def test_tls_that_ends_without_a_goodbye(runtime: Runtime, authority: Authority) -> None:
    def script(peer: Peer) -> None:
        peer.send(frame(TEXT, b"one"))
        assert peer.receive() == (TEXT, b"seen")
        peer.sock.close()

    with serve(script, authority.server()) as server:
        line = runtime.connect(server.url(), ssl_context=authority.client())
        line.messages(1)
        line.send_last("seen")
        assert line.end() == Closed(None)


# --- we end it ------------------------------------------------------------------------------------


def test_close_does_the_handshake(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        assert peer.receive() == (CLOSE, struct.pack("!H", 1000))
        peer.send(frame(TEXT, b"last words") + closing(1000))
        peer.until_hung_up()

    with serve(script) as server:
        line = runtime.connect(server.url())
        line.close(PATIENCE)
        assert line.end() == Closed(1000)
        assert line.sink.messages == [(b"last words", True)]


@pytest.mark.parametrize("tls", [False, True])
def test_close_while_reading_a_peer_that_does_not_answer(
    runtime: Runtime, authority: Authority, tls: bool
) -> None:
    """websocket-client's close() waits here for the lock of the blocked reader."""
    context = authority.server() if tls else None
    with serve(idle, context) as server:
        line = runtime.connect(server.url(), ssl_context=authority.client())
        began = time.monotonic()
        line.close(0.3)
        assert line.end() == Closed(None)
        assert 0.25 < time.monotonic() - began < PATIENCE


def test_close_while_the_peer_talks_on(runtime: Runtime) -> None:
    """Its messages do not put the end off."""

    def script(peer: Peer) -> None:
        while True:
            peer.send(frame(TEXT, b"and another thing"))
            time.sleep(0.01)

    with serve(script) as server:
        line = runtime.connect(server.url())
        line.messages(1)
        began = time.monotonic()
        line.close(0.3)
        assert line.end() == Closed(None)
        assert time.monotonic() - began < PATIENCE


def test_close_after_the_peer_closed(runtime: Runtime) -> None:
    with serve(lambda peer: peer.send(closing(1001))) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1001)
        began = time.monotonic()
        line.close(PATIENCE)
        line.close(PATIENCE)
        line.abort()
        assert time.monotonic() - began < PATIENCE


def test_close_and_abort_without_a_reader(runtime: Runtime) -> None:
    """Nobody came to read: the descriptor is given back all the same."""
    with serve(idle) as server:
        line = runtime.dial(Target(url=server.url()))
        line.close(0.1)
        line = runtime.dial(Target(url=server.url()))
        line.abort()
        line.read()
        assert line.end() == Closed(None)


def test_close_before_the_reader_has_begun(runtime: Runtime) -> None:
    """Its thread was slow to come: the peer was cut off in the middle of the handshake."""
    asked = threading.Event()
    late = threading.Event()

    def script(peer: Peer) -> None:
        assert peer.receive()[0] == CLOSE
        asked.set()
        assert late.wait(PATIENCE)
        peer.send(closing(1000))
        assert peer.sock.recv(1) == b""

    with serve(script) as server:
        line = runtime.dial(Target(url=server.url()))
        closer = threading.Thread(target=line.close, args=(PATIENCE,))
        closer.start()
        assert asked.wait(PATIENCE)
        line.read()
        late.set()
        assert line.end() == Closed(1000)
        closer.join(PATIENCE)


def test_a_second_close_frame_is_not_sent(runtime: Runtime) -> None:
    seen = []

    def script(peer: Peer) -> None:
        seen.append(peer.receive()[0])
        peer.send(closing(1000))
        with pytest.raises(ConnectionError):
            seen.append(peer.receive()[0])

    with serve(script) as server:
        line = runtime.connect(server.url())
        line.close(PATIENCE)
        line.close(PATIENCE)
        line.end()
    assert seen == [CLOSE]


@pytest.mark.parametrize("tls", [False, True])
def test_abort_wakes_the_reader(runtime: Runtime, authority: Authority, tls: bool) -> None:
    with serve(idle, authority.server() if tls else None) as server:
        line = runtime.connect(server.url(), ssl_context=authority.client())
        line.send(A_PING)
        line.abort()
        line.abort()
        assert line.end() == Closed(None)
        with pytest.raises(SendError):
            line.send("more")


def test_abort_wakes_a_writer_that_waits(runtime: Runtime) -> None:
    """What comes meanwhile is read."""
    with serve(lambda peer: _deaf(peer)) as server:
        line = runtime.connect(server.url())
        sending = line.sending(LARGE)
        line.messages(len(line.sink.messages) + 2)
        assert not sending.done()
        line.abort()
        with pytest.raises(SendError):
            sending.result(PATIENCE)
        assert line.end() == Closed(None)


def test_abort_from_within_a_message(runtime: Runtime) -> None:
    """A sink may cut the wire; the end is told when it has returned."""
    with serve(lambda peer: (peer.send(frame(TEXT, b"one")), idle(peer))[0]) as server:
        line = runtime.dial(Target(url=server.url()))
        told = []

        def message(data: bytes, text: bool) -> None:
            line.transport.abort()
            told.append(list(line.sink.losses))

        line.sink.message = message  # type: ignore[method-assign]
        line.read()
        assert line.end() == Closed(None)
        assert told == [[]]


def test_a_cancelled_reader_cuts_the_wire(loop: Runtime) -> None:
    with serve(idle) as server:
        line = loop.connect(server.url())
        line.send(A_PING)
        line.stop_reading()
        server.settle()
        with pytest.raises(SendError):
            line.send("more")
        assert line.sink.losses == []


def test_a_cancelled_close_cuts_the_wire(loop: Runtime) -> None:
    with serve(lambda peer: (peer.receive(), peer.send(frame(TEXT, b"no")), idle(peer))[0]) as s:
        line = loop.connect(s.url())
        closing_ = loop.start(line.transport.close, PATIENCE)
        line.messages(1)
        closing_.cancel()
        assert line.end() == Closed(None)
        s.settle()


# --- a peer that does not read --------------------------------------------------------------------


def _deaf(peer: Peer) -> None:
    """Talk, but read nothing until told."""
    peer.send(frame(TEXT, b"I am not listening"))
    peer.sock.settimeout(PATIENCE)
    hung_up = threading.Event()
    while not hung_up.wait(0.02):
        try:
            peer.send(frame(TEXT, b"la la la"))
        except OSError:
            hung_up.set()


@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_that_stops_reading_runs_into_the_send_deadline(
    runtime: Runtime, authority: Authority, tls: bool
) -> None:
    """No hang; what comes is read on; the connection is spoilt for writing."""
    with serve(_deaf, authority.server() if tls else None) as server:
        line = runtime.connect(server.url(), ssl_context=authority.client(), send_timeout=0.3)
        began = time.monotonic()
        with pytest.raises(SendError, match=r"took nothing for 0\.3 s"):
            line.send(LARGE, LARGE)
        assert time.monotonic() - began < PATIENCE
        count = len(line.sink.messages)
        if tls and runtime.name == "trio":
            # trio's TLS is broken as a whole by a send that was given up.
            line.sink.wait(lambda: bool(line.sink.losses))
        else:
            line.messages(count + 2)
        for _ in range(2):
            with pytest.raises(SendError):
                line.send("swallowed by the message before")
        line.close(1)
        assert line.end() == Closed(None)


@pytest.mark.parametrize("tls", [False, True])
def test_a_slow_reader_is_no_dead_one(runtime: Runtime, authority: Authority, tls: bool) -> None:
    """What counts is progress, not how long a message takes."""
    context = authority.server() if tls else None
    for _ in range(10):
        reader = SlowReader()
        with serve(reader, context) as server:
            line = runtime.connect(server.url(), ssl_context=authority.client(), send_timeout=2.0)
            try:
                line.send_last(*[LARGE] * SlowReader.COUNT)
            except SendTimeout:
                line.abort()  # else the reader would wait for the rest
            end = line.end()
        # A machine that stood still for so long has made a dead one of it: that says nothing.
        if reader.longest < 0.9:
            assert end == Closed(1000)
            assert reader.took > 3.0
            return
    pytest.fail("the machine stood still in each of ten runs: they say nothing")


class SlowReader:
    """Reads large messages bit by bit, and looks at the clock."""

    COUNT = 5

    def __init__(self) -> None:
        self.took = 0.0
        self.longest = 0.0
        """Seconds that a bit took. The kernel may say nothing of less than half of one."""

    def __call__(self, peer: Peer) -> None:
        began = before = time.monotonic()
        left = self.COUNT * (len(LARGE) + 14)
        while left:
            pause = left - 1024 * 1024
            while left > max(pause, 0):
                data = peer.sock.recv(left - max(pause, 0))
                self.longest = max(self.longest, time.monotonic() - before)
                if not data:
                    return
                left -= len(data)
            before = time.monotonic()
            time.sleep(0.1)
        self.took = time.monotonic() - began
        peer.send(closing(1000))


def test_a_cancelled_send_spoils_the_connection(loop: Runtime) -> None:
    """websockets.trio goes on in the middle of the message, and the peer understands nothing."""
    with serve(_deaf) as server:
        line = loop.connect(server.url())
        line.messages(1)
        sending = line.sending(LARGE)
        count = len(line.sink.messages)
        line.messages(count + 3)
        assert not sending.done()
        sending.cancel()
        with pytest.raises(CancelledError):
            sending.result(PATIENCE)
        with pytest.raises(SendError):
            line.send("more")
        line.abort()
        line.end()


def test_pings_without_end_from_a_peer_that_does_not_read(loop: Runtime) -> None:
    """The pongs are not kept without end."""

    def script(peer: Peer) -> None:
        pings = frame(PING, bytes(125)) * 1000
        while True:
            peer.send(pings)

    with serve(script) as server:
        line = loop.connect(server.url(), reply=lambda frames: None)
        fault = line.end()
        assert isinstance(fault, RemoteProtocolError)
        assert "does not read" in fault.message


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_one_thread_reads_while_another_writes(
    runtime: Runtime, authority: Authority, tls: bool
) -> None:
    """Both ways at once, byte for byte; OpenSSL does not bear two threads in one connection."""
    count = 400
    text = "x" * 3000

    def script(peer: Peer) -> None:
        def talk() -> None:
            for number in range(count):
                peer.sock.sendall(frame(TEXT, b"%d" % number + bytes(5000)))

        if tls:
            # The peer's own OpenSSL must not be used by two threads either: turn and turn about.
            for number in range(count):
                peer.send(frame(TEXT, b"%d" % number + bytes(5000)))
                assert peer.receive() == (TEXT, text.encode())
        else:
            talking = threading.Thread(target=talk)
            talking.start()
            for _ in range(count):
                assert peer.receive() == (TEXT, text.encode())
            talking.join()
        peer.send(closing(1000))

    with serve(script, authority.server() if tls else None) as server:
        line = runtime.connect(server.url(), ssl_context=authority.client())
        for _ in range(count - 1):
            line.send(text)
        line.send_last(text)
        assert line.end() == Closed(1000)
        expected = [(b"%d" % number + bytes(5000), True) for number in range(count)]
        assert line.sink.messages == expected


def test_abort_from_a_third_thread(threads: Runtime) -> None:
    with serve(_deaf) as server:
        line = threads.connect(server.url())
        sending = line.sending(LARGE)
        line.messages(1)
        third = threading.Thread(target=line.abort)
        third.start()
        third.join(PATIENCE)
        assert not third.is_alive()
        with pytest.raises(SendError):
            sending.result(PATIENCE)
        assert line.end() == Closed(None)


def test_the_reader_gives_the_descriptor_back(threads: Runtime) -> None:
    with serve(idle) as server:
        line = threads.connect(server.url())
        sock: socket.socket = line.transport._wire._sock
        line.abort()
        line.end()
        with pytest.raises(OSError, match=r".") as caught:
            sock.getsockname()
        assert caught.value.errno == errno.EBADF


# --- words ----------------------------------------------------------------------------------------


def test_half_of_a_surrogate_pair_is_refused_and_harms_nothing(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        assert peer.receive() == (TEXT, b"whole")
        peer.send(closing(1000))

    with serve(script) as server:
        line = runtime.connect(server.url())
        with pytest.raises(SendError, match="surrogate"):
            line.send("good", "\ud83d", Pong(b""))
        line.send_last("whole")
        assert line.end() == Closed(1000)


def test_a_repr_says_how_it_stands(runtime: Runtime) -> None:
    with serve(idle) as server:
        line = runtime.connect(server.url("/speech?key=SECRET"))
        assert repr(line.transport).endswith(f"Transport 127.0.0.1:{server.port} open>")
        line.abort()
        line.end()
        assert repr(line.transport).endswith(f"Transport 127.0.0.1:{server.port} over>")


def test_nothing_warns_when_it_is_collected(runtime: Runtime) -> None:
    with Listener(lambda peer: (peer.upgrade(), idle(peer))[0]) as server:
        line = runtime.connect(server.url())
        line.close(0.05)
        line.end()
        del line
        gc.collect()
