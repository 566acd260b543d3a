"""What answers over HTTP have in common is read right wherever their bodies are cut."""

import struct
from collections.abc import Callable, Iterable

import pytest

from ttsmux.adapter import Audio, Options, OutputEnd, Signal, Wire
from ttsmux.adapters import _http
from ttsmux.audio import AudioFormat
from ttsmux.errors import RemoteProtocolError

SOUND = bytes(range(256)) * 3
UNKNOWN = 0xFFFFFFFF


def wire(content_type: str, format: str = "pcm_24000") -> Wire:
    found = Wire(Options(voice="v", language=None, model=None, format=AudioFormat.parse(format)))
    found.headers = {"content-type": content_type}
    return found


def wav(
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = 24000,
    bits: int = 16,
    size: int = UNKNOWN,
    before: bytes = b"",
    extra: bytes = b"",
) -> bytes:
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * 2, 2, bits) + extra
    head = b"RIFF\xff\xff\xff\xffWAVE" + before
    return head + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(pieces: Iterable[bytes], where: Wire) -> tuple[bytes, int]:
    """Decode *pieces* and the end of the body: the audio, and how many ends there were."""
    signals: list[Signal] = []
    for piece in (*pieces, b""):
        signals += _http.audio(piece, where)
    sound = b"".join(signal.data for signal in signals if isinstance(signal, Audio))
    return sound, signals.count(OutputEnd())


@pytest.mark.parametrize(
    "kind", ["audio/pcm", "Audio/L8; rate=24000", "audio/basic", "application/octet-stream"]
)
def test_bare_audio_is_passed_on_as_it_is(kind: str) -> None:
    """The end of the body is the end of the output."""
    assert read(cut(SOUND, 100), wire(kind)) == (SOUND, 1)


@pytest.mark.parametrize("size", [1, 7, 44, 45, 10_000])
@pytest.mark.parametrize("kind", ["audio/wav", "audio/x-wav;codec=1"])
def test_a_wav_header_is_taken_off_wherever_it_is_cut(size: int, kind: str) -> None:
    """Chunks before the format, of odd length too, are skipped."""
    note = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert read(cut(wav(before=note) + SOUND, size), wire(kind)) == (SOUND, 1)


def test_what_comes_behind_the_samples_of_a_wav_is_no_audio() -> None:
    body = wav(size=len(SOUND)) + SOUND + b"LIST\3\0\0\0abc\0"
    for size in (1, 50, 10_000):
        assert read(cut(body, size), wire("audio/wav")) == (SOUND, 1)


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_wav_that_is_shorter_than_it_says_is_cut_short(size: int) -> None:
    """The end of the body is not the end of the audio; another attempt may bring it."""
    body = wav(size=len(SOUND) + 4) + SOUND
    where = wire("audio/wav")
    for piece in cut(body, size):
        _http.audio(piece, where)
    with pytest.raises(RemoteProtocolError, match="4 bytes before") as caught:
        _http.audio(b"", where)
    assert caught.value.retryable


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFDB, 0x7FFFFFFF, 0xFFFFFFDB, 0xFFFFFFFF])
def test_a_wav_of_unknown_length_ends_with_the_body(size: int) -> None:
    """Servers that stream write what they can for a length."""
    assert read([wav(size=size) + SOUND], wire("audio/wav")) == (SOUND, 1)


@pytest.mark.parametrize(("tag", "format"), [(7, "mulaw_8000"), (6, "alaw_8000")])
def test_wav_of_g711(tag: int, format: str) -> None:
    body = wav(tag=tag, rate=8000, bits=8) + SOUND
    assert read([body], wire("audio/wav", format)) == (SOUND, 1)


def test_an_extensible_wav_says_its_kind_further_down() -> None:
    extra = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    assert read([wav(tag=0xFFFE, extra=extra) + SOUND], wire("audio/wav")) == (SOUND, 1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"ID3 and more than that", "no RIFF header"),
        (wav(rate=48000), "pcm, 48000 Hz, 16 bits, 1 channels"),
        (wav(channels=2), "2 channels"),
        (wav(bits=24), "24 bits"),
        (wav(tag=85), "of kind 85"),
        (wav(tag=0xFFFE), "of kind 65534"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "does not say"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0ab" + b"data\0\0\0\0", "does not say"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\xff\xff\xff\x7f" + bytes(70_000), "more than"),
        (b"RIFF\0\0\0\0WAVE", "ended within"),
        (wav()[:-10], "ended within"),
        (wav()[:30], "ended within"),
    ],
)
def test_a_wav_that_is_not_what_was_asked_for(body: bytes, says: str) -> None:
    """It is refused, and never played."""
    with pytest.raises(RemoteProtocolError, match=says):
        read([body], wire("audio/wav"))


@pytest.mark.parametrize("kind", ["application/json", "audio/mpeg", "text/html; charset=x", ""])
def test_an_answer_that_is_no_audio_or_another(kind: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not the audio asked for") as caught:
        _http.audio(b"x", wire(kind))
    assert not caught.value.retryable


@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("last", ["\n", "", "\r\n\n", "\n  "])
def test_lines_wherever_they_are_cut(size: int, last: str) -> None:
    """The last may lack its newline; blank ones are none."""
    body = ('{"a":1}\n\n{"b":"ü"}\n{"c":3}' + last).encode()
    where = wire("")
    found = [line for piece in (*cut(body, size), b"") for line in _http.lines(piece, where)]
    assert [line.strip().decode() for line in found] == ['{"a":1}', '{"b":"ü"}', '{"c":3}']


def test_a_whole_body() -> None:
    where = wire("")
    assert [_http.whole(piece, where) for piece in (b"ab", b"c", b"")] == [None, None, b"abc"]


@pytest.mark.parametrize("gather", [_http.lines, _http.whole])
def test_a_body_without_end_is_not_kept(
    gather: Callable[[bytes, Wire], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "_MAX_LINE", 1000)
    where = wire("")
    gather(b"x" * 900, where)
    with pytest.raises(RemoteProtocolError, match="more than"):
        gather(b"x" * 3200, where)
