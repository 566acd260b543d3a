"""
Messages that pass the WebSocket library by are those that it would have reported.

Streams of frames, good and broken, are fed to two codecs, one with the short way and one without,
in the same pieces. What the sinks hear and what is to be written must be the same after each piece.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from websockets.utils import accept_key

from ttsmux.adapter import PING, Closed, Frame
from ttsmux.errors import Error
from ttsmux.transports._codec import Codec
from ttsmux.transports._frames import Frames
from ttsmux.transports._http import endpoint
from ttsmux.transports.base import Ping, Pong, Response, Target
from ttsmux.transports.websocket_client import WebSocketClientTransport

STREAMS = int(os.environ.get("TTSMUX_FRAMES", "1500"))
"""Random streams, of some six messages each; 40,000 take a few minutes."""
LIMITS = (0, 1, 125, 126, 127, 300, 65_536)
LOOKALIKES = bytes([0x81, 0x82, 0x00, 0x01, 0x02, 0x05, 0x7E, 0x7F, 0x80, 0x88, 0x89])
"""What frames begin with: whoever has lost count finds some in a payload."""
CONT, TEXT, BINARY, CLOSE, PING_, PONG_ = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have both codecs ask for the upgrade alike, and mask what they send alike."""
    monkeypatch.setattr(secrets, "token_bytes", bytes)


# --- frames ---------------------------------------------------------------------------------------


def frame(first: int, payload: bytes, *, form: int = 0, mask: bytes = b"") -> bytes:
    """Return a frame; *form* is how many bytes the length has at least."""
    size, masked = len(payload), 0x80 if mask else 0
    if size < 126 and form == 0:
        head = bytes([first, masked | size])
    elif size < 65_536 and form <= 2:
        head = bytes([first, masked | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, masked | 127]) + struct.pack("!Q", size)
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask + payload


class Dice:
    """What a server may send, good or not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.limit = self.random.choice(LIMITS)
        # Most streams are good for long, or nothing is seen of what comes late.
        self.mischief = self.random.choice((0.0, 0.02, 0.1))

    def payload(self, most: int | None = None) -> bytes:
        sizes = [
            0,
            1,
            2,
            124,
            125,
            126,
            127,
            self.limit - 1,
            self.limit,
            self.random.randrange(300),
        ]
        too_much = self.random.random() < self.mischief / 5
        most = self.limit + too_much if most is None else most
        size = max(0, min(self.random.choice(sizes), most))
        if self.random.random() < 0.5:
            return bytes(self.random.choices(LOOKALIKES, k=size))
        return self.random.randbytes(size)

    def form(self) -> int:
        return self.random.choice((0, 0, 0, 0, 2, 8))

    def stream(self) -> bytes:
        frames = b"".join(self.next() for _ in range(self.random.randrange(1, 14)))
        if self.random.random() < 0.3:
            frames += self.closing()
            frames += b"".join(self.next() for _ in range(self.random.randrange(3)))
        if self.random.random() < 0.2:
            frames = frames[: self.random.randrange(len(frames) + 1)]
        return frames

    def next(self) -> bytes:
        if self.random.random() < self.mischief:
            return self.random.choice(MISCHIEF)(self)
        kind = self.random.random()
        if kind < 0.6:
            return self.message()
        return self.control() if kind < 0.8 else self.fragments()

    def message(self) -> bytes:
        return frame(0x80 | self.random.choice((TEXT, BINARY)), self.payload(), form=self.form())

    def control(self) -> bytes:
        return frame(0x80 | self.random.choice((PING_, PONG_)), self.payload(125))

    def fragments(self) -> bytes:
        share = self.limit // 3
        parts = [frame(self.random.choice((TEXT, BINARY)), self.payload(share), form=self.form())]
        for _ in range(self.random.randrange(3)):
            parts.append(frame(CONT, self.payload(share // 3), form=self.form()))
        parts.append(frame(0x80 | CONT, self.payload(share), form=self.form()))
        for at in range(len(parts) - 1, 0, -1):
            if self.random.random() < 0.3:
                parts.insert(at, self.control())
            if self.random.random() < self.mischief:
                parts.insert(at, self.message())
        if self.random.random() < self.mischief:
            parts.pop()
        return b"".join(parts)

    def closing(self) -> bytes:
        code = self.random.choice((1000, 1001, 1011, 3000, 4999, 999, 1005, 1006, 2000, 5000))
        reason = self.random.choice((b"", b"bye", "Z\u00fcrich".encode(), b"\xff\xfe", b"r" * 123))
        payload = struct.pack("!H", code) + reason
        return frame(0x80 | CLOSE, payload[: self.random.choice((0, 1, 2, 125, 125))])

    def reserved(self) -> bytes:
        first = 0x80 | self.random.choice((TEXT, BINARY, CONT, PING_, CLOSE))
        return frame(first | self.random.choice((0x10, 0x20, 0x40, 0x70)), self.payload())

    def masked(self) -> bytes:
        first = 0x80 | self.random.choice((TEXT, BINARY, PING_))
        return frame(first, self.payload(), form=self.form(), mask=self.random.randbytes(4))

    def unknown(self) -> bytes:
        opcode = self.random.choice((3, 4, 5, 6, 7, 0xB, 0xC, 0xF))
        return frame(self.random.choice((0, 0x80)) | opcode, self.payload(), form=self.form())

    def too_large(self) -> bytes:
        return frame(0x80 | TEXT, bytes(self.limit + 1 + self.random.randrange(3)))

    def endless(self) -> bytes:
        length = self.random.choice((1 << 63, (1 << 64) - 1, 1 << 32))
        return bytes([0x80 | TEXT, 127]) + struct.pack("!Q", length)

    def long_control(self) -> bytes:
        return frame(0x80 | self.random.choice((PING_, PONG_, CLOSE)), bytes(126))

    def odd_control(self) -> bytes:
        return frame(0x80 | PING_, self.payload(125), form=self.random.choice((2, 8)))

    def half_control(self) -> bytes:
        return frame(self.random.choice((PING_, PONG_, CLOSE)), b"half")

    def stray(self) -> bytes:
        return frame(self.random.choice((0, 0x80)) | CONT, self.payload())

    def noise(self) -> bytes:
        return self.random.randbytes(self.random.randrange(1, 20))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut *data* anywhere, into single bytes too, but for a long one: there is no end to it."""
        way = self.random.random()
        most = 1 if way < 0.15 else 4 if way < 0.3 else 40 if way < 0.5 else 400
        most = max(most, len(data) // 200)
        at = 0
        while at < len(data):
            size = len(data) if way > 0.85 else self.random.randrange(1, most + 1)
            yield data[at : at + size]
            at += size


MISCHIEF: Sequence[Callable[[Dice], bytes]] = (
    Dice.closing,
    Dice.reserved,
    Dice.masked,
    Dice.unknown,
    Dice.too_large,
    Dice.endless,
    Dice.long_control,
    Dice.odd_control,
    Dice.half_control,
    Dice.stray,
    Dice.noise,
)


# --- two codecs -----------------------------------------------------------------------------------


@attrs.define
class Ear:
    """A sink that writes down what it hears."""

    heard: list[object] = attrs.field(factory=list)

    def message(self, data: bytes, text: bool) -> None:
        assert type(data) is bytes, "it is kept"
        self.heard.append((data, text))

    def pong(self) -> None:
        self.heard.append("pong")

    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        self.heard.append(frames)

    def lost(self, fault: Closed | Error) -> None:
        self.heard.append(fault if isinstance(fault, Closed) else (type(fault), str(fault)))


class Line:
    """A codec and who listens to it."""

    def __init__(self, limit: int, *, fast_path: bool, buffer: bytearray | None = None) -> None:
        url = "ws://127.0.0.1/speak"
        target = Target(url=url, max_message=limit, fast_path=fast_path)
        self.codec = Codec(target, endpoint(url))
        self.ear = Ear()
        self.written = [self.codec.outgoing()]
        self.buffer = buffer
        self.up = False

    def feed(self, data: bytes) -> None:
        if not self.up:
            answer = self.codec.answer(data)
            self.up = isinstance(answer, Response)
            self.ear.heard.append(answer)
            if self.up:
                self.codec.listen(self.ear)
        elif self.buffer is None or not data:
            self.codec.receive(data)
        else:
            # As on asyncio, where the next read of any connection overwrites it.
            self.buffer[: len(data)] = data
            self.codec.receive(memoryview(self.buffer)[: len(data)])
            self.buffer[: len(data)] = b"\x81" * len(data)
        self.written.append(self.codec.outgoing())

    def told(self) -> tuple[list[object], bytes]:
        """Return what was heard, and is to be written, since it was asked last."""
        heard, self.ear.heard = self.ear.heard, []
        written, self.written = b"".join(self.written), []
        return heard, written

    def act(self, what: int) -> None:
        """Do what the other side of a connection does meanwhile."""
        if what == 0:
            self.codec.close()
        elif not self.codec.over and self.codec._protocol.close_sent is None:
            self.codec.encode([PING, "text"])
        self.written.append(self.codec.outgoing())


ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {accept_key('AAAAAAAAAAAAAAAAAAAAAA==')}\r\n\r\n"
).encode()


def play(seed: int) -> int:
    """Have two codecs hear the same; return how many messages came."""
    dice = Dice(seed)
    buffer = bytearray(1 << 20) if seed % 2 else None
    lines = [
        Line(dice.limit, fast_path=True, buffer=buffer),
        Line(dice.limit, fast_path=False),
    ]
    fast, plain = lines
    data = ANSWER + dice.stream()
    if seed % 3:
        pieces = [ANSWER, *dice.pieces(data[len(ANSWER) :])]
    else:
        pieces = list(dice.pieces(data))
    if dice.random.random() < 0.8:
        pieces.append(b"")
    count = 0
    for piece in pieces:
        what = dice.random.choice((0, 1)) if dice.random.random() < 0.02 else None
        for line in lines:
            line.feed(piece)
            if what is not None and line.up:
                line.act(what)
        (heard, written), expected = [line.told() for line in lines]
        assert (heard, written) == expected, f"seed {seed}"
        assert fast.codec.over == plain.codec.over, f"seed {seed}"
        count += sum(isinstance(item, tuple) for item in heard)
    return count


SHARES = 10


@pytest.mark.parametrize("share", range(SHARES))
def test_what_is_heard_is_the_same_without_the_library(share: int) -> None:
    """Whatever a server sends, and however its bytes are cut."""
    count = sum(play(seed) for seed in range(share, STREAMS, SHARES))
    assert count > STREAMS // SHARES, "of most streams something is heard"


# --- threads --------------------------------------------------------------------------------------


class Pieces(socket.socket):
    """A socket on which *pieces* come, one at a time, and then the end."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self.pieces = iter(pieces)
        self.sent = b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        return next(self.pieces, b"")

    def send(self, data: Any, flags: int = 0) -> int:
        self.sent += bytes(data)
        return len(data)


def hear(pieces: Sequence[bytes], limit: int, *, fast_path: bool) -> tuple[list[object], bytes]:
    """Return what a thread's sink hears, and what is sent."""
    ear, sock = Ear(), Pieces(pieces)
    target = Target(url="ws://127.0.0.1/speak", max_message=limit, fast_path=fast_path)
    WebSocketClientTransport(sock, target, "here", b"").read(ear)
    return ear.heard, sock.sent


@pytest.mark.parametrize("share", range(SHARES))
def test_what_is_heard_in_a_thread_is_the_same_without_the_library(
    share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for websocket-client."""
    monkeypatch.setattr(os, "urandom", bytes)
    for seed in range(share, STREAMS, SHARES):
        dice = Dice(seed)
        pieces = list(dice.pieces(dice.stream()))
        fast, plain = (hear(pieces, dice.limit, fast_path=way) for way in (True, False))
        assert fast == plain, f"seed {seed}"


# --- what goes which way --------------------------------------------------------------------------

MESSAGE = frame(0x80 | BINARY, b"audio")


def split(*pieces: bytes, limit: int = 300) -> list[tuple[bytes, bool | None]]:
    frames = Frames(limit)
    return [item for piece in pieces for item in frames.split(piece)]


@pytest.mark.parametrize("form", [0, 2, 8])
@pytest.mark.parametrize("size", [0, 125, 126, 300])
def test_whole_messages_pass_the_library_by(size: int, form: int) -> None:
    """Several in one piece, whatever way their length is written."""
    texts = frame(0x80 | TEXT, b"t" * size, form=form)
    data = texts + MESSAGE
    assert split(data, data) == [(b"t" * size, True), (b"audio", False)] * 2


@pytest.mark.parametrize(
    "other",
    [
        frame(0x80 | PING_, b"?"),
        frame(0x80 | TEXT, bytes(301)),
        frame(TEXT, b"frag") + frame(0x80 | PONG_, b"") + frame(CONT, b"") + frame(0x80, b"ment"),
    ],
    ids=["control", "large", "fragments"],
)
def test_what_is_not_a_whole_message_is_the_library_s(other: bytes) -> None:
    """All of it; and the messages around it are not."""
    items = split(MESSAGE + other + MESSAGE)
    assert items[0] == items[-1] == (b"audio", False)
    assert b"".join(data for data, text in items[1:-1] if text is None) == other


@pytest.mark.parametrize("cut", range(1, len(MESSAGE)))
def test_a_message_in_two_pieces_is_the_library_s(cut: int) -> None:
    """It gets what there is at once; what comes behind that message is taken again."""
    items = split(MESSAGE[:cut], MESSAGE[cut:] + MESSAGE)
    assert items == [(MESSAGE[:cut], None), (MESSAGE[cut:], None), (b"audio", False)]


@pytest.mark.parametrize(
    "broken",
    [
        frame(0x80 | TEXT, b"", mask=b"\x82\x02ok"),
        frame(0x80 | PONG_, b"", mask=b"\x82\x02ok"),
        frame(0x83, b""),
        frame(0xC0 | TEXT, b""),
    ],
    ids=["masked", "masked control", "unknown", "reserved"],
)
@pytest.mark.parametrize("cut", [0, 1])
def test_after_what_is_refused_everything_is_the_library_s(broken: bytes, cut: int) -> None:
    """Where the next frame would begin, nobody knows."""
    pieces = [MESSAGE + broken[:cut], broken[cut:] + MESSAGE, MESSAGE]
    (first, *rest) = split(*pieces)
    assert first == (b"audio", False)
    assert all(text is None for _, text in rest)
    assert b"".join(data for data, _ in rest) == broken + MESSAGE + MESSAGE


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("cut", [0, 10, *range(len(ANSWER) - 4, len(ANSWER) + len(MESSAGE))])
def test_the_short_way_begins_right_behind_the_answer(cut: int, fast_path: bool) -> None:
    """Also where a message came together with that, and the answer in several pieces."""
    line = Line(300, fast_path=fast_path)
    protocol = line.codec._protocol
    taken: list[bytes] = []
    real = protocol.receive_data

    def receive_data(data: bytes | bytearray) -> None:
        taken.append(bytes(data))
        real(data)

    protocol.receive_data = receive_data  # type: ignore[method-assign]
    data = ANSWER + MESSAGE + MESSAGE
    for piece in (data[:cut], data[cut:]):
        if piece:
            line.feed(piece)
    assert line.told()[0][-2:] == [(b"audio", False)] * 2
    two = len(ANSWER) < cut < len(ANSWER + MESSAGE)
    passed = 0 if not fast_path else 1 if two else 2
    assert b"".join(taken) == data[: len(data) - passed * len(MESSAGE)]
