"""
What answers over HTTP have in common is read alike however it is cut, and whatever it holds.

Bodies are made from a seed: WAVs with chunks of every kind, whole or with a few bytes changed, cut
off or left out, lines, and noise. Each is read in one piece and in many.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import attrs
import pytest

from tests.adapters.reach import Reach
from tests.adapters.test_http import cut, wav, wire
from ttsmux.adapter import Audio, OutputEnd, Signal, Wire
from ttsmux.adapters import _http
from ttsmux.errors import RemoteProtocolError

BODIES = 20_000
KINDS = ("audio/wav", "audio/wave; codec=1", "audio/pcm", "application/octet-stream")
OTHERS = ("audio/mpeg", "text/html", "", "AUDIO/X-WAV ;;", "\x00")
FORMATS = ("pcm_24000", "pcm_8000", "mulaw_8000", "alaw_8000")


@attrs.frozen
class Outcome:
    """What a body came to: its audio, how often it ended, and what was wrong with it."""

    sound: bytes = b""
    ends: int = 0
    error: str = ""
    retryable: bool = False


def outcome(
    decode: Callable[[bytes, Wire], Iterable[Signal]], pieces: Iterable[bytes], on: Wire
) -> Outcome:
    """Read *pieces* and the end. Whatever is raised but `RemoteProtocolError` is a failure."""
    sound, ends = bytearray(), 0
    try:
        for piece in (*pieces, b""):
            for signal in decode(piece, on):
                assert isinstance(signal, Audio | OutputEnd)
                if isinstance(signal, Audio):
                    assert signal.data and not ends, "audio is never empty, nor behind the end"
                    sound += signal.data
                else:
                    ends += 1
    except RemoteProtocolError as exc:
        return Outcome(bytes(sound), ends, exc.message, exc.retryable)
    return Outcome(bytes(sound), ends)


def pieces_of(data: bytes, rng: random.Random) -> list[bytes]:
    """Cut *data* at random places, often in single bytes."""
    if rng.random() < 0.3:
        return cut(data, 1)
    places = sorted(
        {0, len(data), *(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))}
    )
    return [data[at:to] for at, to in pairwise(places)]


def chunk(rng: random.Random) -> bytes:
    data = rng.randbytes(rng.choice((0, 1, 2, 3, 15, 16, 40)))
    name = rng.choice((b"LIST", b"fact", b"JUNK", b"fmt ", b"\0\0\0\0"))
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def a_wav(rng: random.Random) -> bytes:
    """A WAV, right or wrong in what it says of itself."""
    sound = rng.randbytes(rng.randrange(200))
    tag = rng.choice((1, 1, 1, 6, 7, 85, 0xFFFE))
    body = wav(
        tag=tag,
        channels=rng.choice((1, 1, 1, 1, 2)),
        rate=rng.choice((24000, 24000, 8000, 0)),
        bits=rng.choice((16, 16, 8)),
        size=rng.choice((len(sound), len(sound), 0, 0xFFFFFFFF, 0x7FFFF000, rng.randrange(300))),
        before=b"".join(chunk(rng) for _ in range(rng.choice((0, 0, 1, 3)))),
        extra=struct.pack("<HHIH", 22, 16, 4, rng.choice((1, 6, 7))) + bytes(14)
        if tag == 0xFFFE
        else b"",
    )
    return body + sound


def changed(body: bytes, rng: random.Random) -> bytes:
    """*body* with bytes overwritten, taken out, put in, or its end cut off."""
    data = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                del data[at : at + rng.randrange(1, 9)]
            case 2:
                data[at:at] = rng.choice((chunk(rng), rng.randbytes(3), b"data", b"fmt "))
            case 3:
                data[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 15, 16, 70_000, 2**32 - 1)))
            case _:
                del data[at:]
    return bytes(data)


def bodies(seed: str, count: int = BODIES) -> Iterable[tuple[str, str, bytes, random.Random]]:
    """A type, the format asked for, and a body."""
    rng = random.Random(seed)
    for _ in range(count):
        kind = rng.choice(KINDS if rng.random() < 0.9 else OTHERS)
        body = a_wav(rng) if rng.random() < 0.9 else rng.randbytes(rng.randrange(60))
        yield kind, rng.choice(FORMATS), changed(body, rng) if rng.random() < 0.7 else body, rng


def test_an_answer_of_audio_is_read_alike_however_it_is_cut() -> None:
    """The same audio, the same end or the same error; nothing but these; most are near a WAV."""
    wavs = sound = ends = errors = 0
    for kind, format, body, rng in bodies("audio"):
        whole = outcome(_http.audio, [body] if body else [], wire(kind, format))
        pieces = pieces_of(body, rng)
        assert outcome(_http.audio, pieces, wire(kind, format)) == whole, (kind, format, pieces)
        assert (whole.ends == 1) is (not whole.error) and whole.sound in body
        wavs += body[:4] == b"RIFF" and body[8:12] == b"WAVE"
        sound += bool(whole.sound)
        ends += whole.ends
        errors += bool(whole.error)
    assert wavs > 0.7 * BODIES
    assert min(sound, ends, errors) > 0.1 * BODIES, (sound, ends, errors)


def test_the_audio_of_a_wav_is_what_stands_in_it() -> None:
    """Where it is what was asked for: no byte of another chunk is sound, none of it is lost."""
    rng = random.Random("sound")
    for _ in range(2_000):
        sound = rng.randbytes(rng.randrange(1, 100))
        before = b"".join(chunk(rng).replace(b"fmt ", b"junk") for _ in range(rng.randrange(4)))
        behind = chunk(rng) if rng.random() < 0.5 else b""
        body = wav(before=before, size=len(sound)) + sound + behind
        assert outcome(_http.audio, pieces_of(body, rng), wire("audio/wav")) == Outcome(sound, 1)


def test_lines_are_the_same_however_they_are_cut() -> None:
    """None is lost, none is cut, and none is blank."""
    rng = random.Random("lines")
    for _ in range(BODIES):
        parts = (b'{"a":1}', b"\n", b"\r\n", b" ", b"\n\n", rng.randbytes(4), "ü".encode())
        body = b"".join(rng.choice(parts) for _ in range(rng.randrange(12)))
        on = wire("")
        found = [line for piece in (*pieces_of(body, rng), b"") for line in _http.lines(piece, on)]
        assert found == [line for line in body.split(b"\n") if line.strip()]


def test_a_whole_body_is_the_same_however_it_is_cut() -> None:
    rng = random.Random("whole")
    for _ in range(2_000):
        body, on = rng.randbytes(rng.randrange(100)), wire("")
        *none, found = [_http.whole(piece, on) for piece in (*pieces_of(body, rng), b"")]
        assert found == body and not any(none)


def test_the_bodies_reach_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a branch would never have seen an odd one."""
    monkeypatch.setattr(_http, "_MAX_LINE", 50)
    reach = Reach()
    with reach.watched():
        for kind, format, body, rng in bodies("reach", 3_000):
            outcome(_http.audio, pieces_of(body, rng), wire(kind, format))
        for gather in (_http.lines, _http.whole):
            for body in (b"a\nb\n", b"x" * 300):
                on = wire("")
                with contextlib.suppress(RemoteProtocolError):
                    for piece in (body, b""):
                        gather(piece, on)
    assert [line for line in reach.missed() if line.startswith("http.py: ")] == []


@pytest.mark.parametrize("filler", [b"JUNK\0\0\0\0", b"JUNK\x01\0\0\0xx", b"fmt \x02\0\0\0xx"])
def test_a_long_header_in_single_bytes_takes_linear_time(
    filler: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at once is not looked at again: steps, not seconds, are counted."""
    steps = 0

    def counted(*args: Any) -> Any:
        nonlocal steps
        steps += 1
        return unpack_from(*args)

    unpack_from = struct.unpack_from
    monkeypatch.setattr(_http.struct, "unpack_from", counted)
    body = wav(before=filler * 500) + b"sound!"
    assert outcome(_http.audio, cut(body, 1), wire("audio/wav")) == Outcome(b"sound!", 1)
    assert steps < 2 * len(body)


@pytest.mark.parametrize("pieces", [1, 10_000])
def test_a_header_that_is_too_long_is_so_in_one_piece_and_in_many(pieces: int) -> None:
    body = wav(before=(b"JUNK" + struct.pack("<I", 1000) + bytes(1000)) * 70) + b"sound"
    found = outcome(_http.audio, cut(body, -(-len(body) // pieces)), wire("audio/wav"))
    assert "more than" in found.error and not found.sound
