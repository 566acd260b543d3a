"""What comes in arrives whole, in order and once, whatever way the bytes were cut."""

import threading
from collections.abc import Sequence

import pytest

from tests.transports.peers import (
    BINARY,
    CONT,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Listener,
    Peer,
    closing,
    frame,
    idle,
    serve,
)
from tests.transports.runtimes import Runtime, running
from ttsmux.adapter import Closed
from ttsmux.errors import RemoteProtocolError
from ttsmux.transports.base import PING as A_PING
from ttsmux.transports.base import Pong, Target

MIXED = [
    (TEXT, b'{"type":"ready"}'),
    (BINARY, bytes(range(256)) * 20),
    (TEXT, b""),
    (BINARY, b""),
    (TEXT, "Zürich – 東京".encode()),
    (BINARY, bytes(70_000)),
]
STREAM = b"".join(frame(opcode, data) for opcode, data in MIXED)
EXPECTED = [(data, opcode == TEXT) for opcode, data in MIXED]


def test_messages_arrive_in_order_as_text_or_binary(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        for opcode, data in MIXED:
            peer.send(frame(opcode, data))
        peer.send(closing(1000, b"bye"))

    with serve(script) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1000, "bye")
        assert line.sink.messages == EXPECTED


def test_several_messages_in_one_segment(runtime: Runtime) -> None:
    with serve(lambda peer: peer.send(STREAM + closing(1000))) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1000)
        assert line.sink.messages == EXPECTED


def test_messages_cut_into_single_bytes(runtime: Runtime) -> None:
    small = [(TEXT, b"one"), (BINARY, b""), (TEXT, bytes(b"x" * 200))]

    def script(peer: Peer) -> None:
        peer.drip(b"".join(frame(opcode, data) for opcode, data in small) + closing(1000))

    with serve(script) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1000)
        assert line.sink.messages == [(data, opcode == TEXT) for opcode, data in small]


def test_fragments_are_joined_and_pings_come_in_between(runtime: Runtime) -> None:
    half, rest = "é".encode()[:1], "é".encode()[1:]
    pieces = [
        frame(TEXT, b"caf" + half, fin=False),
        frame(PING, b"are you there"),
        frame(CONT, b"", fin=False),
        frame(CONT, rest),
        frame(BINARY, b"", fin=False),
        frame(PONG),
        frame(CONT, b"\x00\x01"),
    ]

    def script(peer: Peer) -> None:
        peer.send(b"".join(pieces))
        assert peer.receive() == (PONG, b"are you there")
        peer.send(closing(1000))

    with serve(script) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1000)
        assert line.sink.messages == [("café".encode(), True), (b"\x00\x01", False)]
        assert line.sink.pongs == 1


def test_an_empty_text_message_is_no_close_frame(runtime: Runtime) -> None:
    """websocket-client's recv() returns '' for both."""
    with serve(lambda peer: peer.send(frame(TEXT) + frame(TEXT, b"on") + closing(1000))) as server:
        line = runtime.connect(server.url())
        assert line.end() == Closed(1000)
        assert line.sink.messages == [(b"", True), (b"on", True)]


def test_text_is_passed_on_undecoded(runtime: Runtime) -> None:
    """Whether it is UTF-8 is for the JSON decoder to find out."""
    with serve(lambda peer: peer.send(frame(TEXT, b"\xff\xfe") + closing(1000))) as server:
        line = runtime.connect(server.url())
        line.end()
        assert line.sink.messages == [(b"\xff\xfe", True)]


def test_what_comes_with_the_101_is_kept_for_the_reader(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(behind=STREAM[:40])
        peer.send(STREAM[40:])
        assert peer.receive() == (TEXT, b"I read now")
        peer.send(closing(1000))

    with Listener(script) as server:
        line = runtime.dial(Target(url=server.url()))
        line.read()
        line.send_last("I read now")
        assert line.end() == Closed(1000)
        assert line.sink.messages == EXPECTED


def test_an_end_before_the_reader_began_is_told_to_it(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(behind=frame(TEXT, b"hello") + closing(4001, b"no"))

    with Listener(script) as server:
        line = runtime.dial(Target(url=server.url()))
        server.settle()
        line.read()
        assert line.end() == Closed(4001, "no")
        assert line.sink.messages == [(b"hello", True)]


def test_what_is_sent_has_the_right_opcode(runtime: Runtime) -> None:
    seen = []

    def script(peer: Peer) -> None:
        seen.extend(peer.receive() for _ in range(6))
        peer.send(frame(PONG) + closing(1000))

    with serve(script) as server:
        line = runtime.connect(server.url())
        line.send("té", b"\x00\xff", A_PING, Pong(b"x"))
        line.send()
        line.send_last("", b"y" * 70_000)
        line.end()
        assert line.sink.pongs == 1
    expected = [(TEXT, "té".encode()), (BINARY, b"\x00\xff"), (PING, b""), (PONG, b"x")]
    assert seen == [*expected, (TEXT, b""), (BINARY, b"y" * 70_000)]


def test_what_is_sent_together_comes_in_one_piece(runtime: Runtime) -> None:
    """Nothing that happens between two of its messages can keep the rest back."""
    pieces: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.receive()
        pieces.append(peer.sock.recv(65536))
        peer.send(closing(1000))

    with serve(script) as server:
        line = runtime.connect(server.url())
        line.send("first")
        line.send_last(*["x" * 100] * 50)
        line.end()
    assert len(pieces[0]) == 50 * (2 + 4 + 100)


def test_pings_are_answered_in_order(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        for number in range(20):
            peer.send(frame(PING, b"%d" % number))
            assert peer.receive() == (PONG, b"%d" % number)
        peer.send(closing(1000))

    with serve(script) as server:
        assert runtime.connect(server.url()).end() == Closed(1000)


def test_the_reader_of_threads_hands_pongs_to_the_writer(threads: Runtime) -> None:
    """A reader that sends can cut into a message of the writer's."""
    asked: list[Sequence[object]] = []

    def script(peer: Peer) -> None:
        peer.send(frame(PING, b"now"))
        assert [peer.receive(), peer.receive()] == [(TEXT, b"first"), (PONG, b"now")]
        peer.send(closing(1000))

    with serve(script) as server:
        line = threads.connect(server.url(), reply=asked.append)
        line.sink.wait(lambda: line.sink.replies == 1)
        line.send("first")
        assert asked == [[Pong(b"now")]]
        line.send_last(*asked[0])
        assert line.end() == Closed(1000)


def test_the_reader_of_trio_has_the_writer_flush_its_pongs() -> None:
    """Sending suspends on trio, and the reader must not be in the middle of it."""
    asked: list[Sequence[object]] = []
    read, nothing_came = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.send(frame(PING, b"now"))
        assert read.wait(PATIENCE)
        peer.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.receive()
        peer.sock.settimeout(PATIENCE)
        nothing_came.set()
        assert peer.receive() == (PONG, b"now")
        peer.send(closing(1000))

    with running("trio") as trio, serve(script) as server:
        line = trio.connect(server.url(), reply=asked.append)
        line.sink.wait(lambda: line.sink.replies == 1)
        read.set()
        assert nothing_came.wait(PATIENCE)
        assert asked == [()]
        line.send_last()
        assert line.end() == Closed(1000)


BROKEN = {
    "reserved opcode": frame(3, b"?"),
    "reserved bit": frame(TEXT, b"?", rsv=4),
    "masked": frame(TEXT, b"?", mask=True),
    "stray continuation": frame(CONT, b"?"),
    "message within a message": frame(TEXT, b"?", fin=False) + frame(TEXT, b"?"),
    "long ping": frame(PING, bytes(126)),
    "fragmented ping": frame(PING, b"?", fin=False),
    "close reason not UTF-8": closing(1000, b"\xff\xff"),
    "close code out of range": closing(999),
    "close code reserved": closing(1005),
    "half a close code": frame(8, b"\x03"),
}


@pytest.mark.parametrize("flaw", BROKEN)
def test_a_broken_frame_after_good_ones_in_the_same_read(runtime: Runtime, flaw: str) -> None:
    """The good ones are delivered, the end has its reason, and nothing behind it is delivered."""
    good = frame(TEXT, b"one") + frame(BINARY, b"two")

    def script(peer: Peer) -> None:
        peer.send(good + BROKEN[flaw] + frame(TEXT, b"late") + closing(1000))
        opcode, payload = peer.receive()
        assert (opcode, len(payload)) >= (8, 2)
        peer.until_hung_up()

    with serve(script) as server:
        line = runtime.connect(server.url())
        fault = line.end()
        assert isinstance(fault, RemoteProtocolError)
        assert "broke the WebSocket protocol: " in fault.message
        assert line.sink.messages == [(b"one", True), (b"two", False)]


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_oversized_message_is_refused_before_it_is_read(runtime: Runtime, pieces: int) -> None:
    whole = b"x" * 999
    size = 1001 // pieces + 1
    large = b"".join(
        frame(TEXT if not index else CONT, bytes(size), fin=index == pieces - 1)
        for index in range(pieces)
    )

    def script(peer: Peer) -> None:
        # The last byte never comes: the header is enough to know.
        peer.send(frame(TEXT, whole) + frame(TEXT, b"x" * 1000) + large[:-1])
        peer.until_hung_up()

    with serve(script) as server:
        line = runtime.connect(server.url(), max_message=1000)
        fault = line.end()
        assert isinstance(fault, RemoteProtocolError)
        assert "more than 1000 bytes" in fault.message
        assert [len(data) for data, _ in line.sink.messages] == [999, 1000]


def test_a_message_of_megabytes(runtime: Runtime) -> None:
    """websockets' own limit is 1 MiB."""
    data = bytes(range(256)) * 16384
    with serve(lambda peer: (peer.send(frame(BINARY, data)), idle(peer))[0]) as server:
        line = runtime.connect(server.url())
        assert line.messages(1) == [(data, False)]
        line.abort()
        line.end()
