"""Audio as a value: formats, chunks, whole samples, WAV."""

import io
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.audio import (
    FORMATS,
    AudioChunk,
    AudioFormat,
    Mark,
    MarkKind,
    SampleAligner,
    wav,
    wav_header,
)
from ttsmux.errors import InvalidFormat

NAMES = [
    "pcm_8000",
    "pcm_16000",
    "pcm_22050",
    "pcm_24000",
    "pcm_44100",
    "pcm_48000",
    "mulaw_8000",
    "alaw_8000",
]
PCM = [name for name in NAMES if name.startswith("pcm")]
G711 = ["mulaw_8000", "alaw_8000"]

# --- formats --------------------------------------------------------------------------------------


def test_these_are_the_formats() -> None:
    """Each is found by the name that it prints."""
    assert list(FORMATS) == NAMES
    for name in NAMES:
        assert str(AudioFormat.parse(name)) == AudioFormat.parse(name).name == name


def test_ulaw_is_mulaw() -> None:
    """Half of the providers call it so."""
    assert AudioFormat.parse("ulaw_8000") is AudioFormat.parse("mulaw_8000")


def test_a_format_is_its_own_name() -> None:
    """A caller may pass either."""
    format = AudioFormat("pcm", 24000)
    assert AudioFormat.parse(format) is format
    assert AudioFormat.parse("pcm_24000") == format


@pytest.mark.parametrize(
    "name", ["", "mp3", "pcm", "PCM_24000", "pcm_24001", "mulaw_16000", "opus"]
)
def test_an_unknown_format_is_refused_with_the_known_ones(name: str) -> None:
    """In one sentence, which is a ValueError too."""
    with pytest.raises(InvalidFormat) as caught:
        AudioFormat.parse(name)
    assert str(caught.value) == (
        f"unknown audio format {name!r}; use one of pcm_8000, pcm_16000, pcm_22050, pcm_24000, "
        "pcm_44100, pcm_48000, mulaw_8000, alaw_8000"
    )
    assert caught.value.phase == "config"
    assert isinstance(caught.value, ValueError)


def test_a_name_without_end_is_quoted_in_part() -> None:
    """The message stays a line."""
    with pytest.raises(InvalidFormat) as caught:
        AudioFormat.parse("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("name", "width"), [*((name, 2) for name in PCM), *((g, 1) for g in G711)])
def test_seconds_are_bytes_by_rate_and_width(name: str, width: int) -> None:
    """PCM has two bytes a sample, G.711 one."""
    format = AudioFormat.parse(name)
    assert (format.width, format.byte_rate) == (width, format.rate * width)
    assert format.seconds(format.byte_rate * 3) == 3.0
    assert format.seconds(0) == 0.0


# --- chunks ---------------------------------------------------------------------------------------


def test_a_chunk_says_what_it_is_and_not_what_is_in_it() -> None:
    """A log line must not fill with samples."""
    chunk = AudioChunk(b"\0" * 4800, AudioFormat.parse("pcm_24000"), 1.25)
    assert repr(chunk) == "<AudioChunk 4800 bytes pcm_24000 at 1.250 s>"
    assert (chunk.seconds, chunk.marks) == (0.1, ())


def test_a_mark_is_of_a_word_unless_it_says_otherwise() -> None:
    """Characters are the exception."""
    assert Mark("hi", 0.0, 0.5).kind is MarkKind.WORD


# --- whole samples --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("size", range(6))
def test_samples_are_whole_wherever_the_bytes_are_split(width: int, size: int) -> None:
    """For every way to split them in three; a byte too many stays behind."""
    data = bytes(range(size))
    for first in range(size + 1):
        for second in range(first, size + 1):
            aligner = SampleAligner(width)
            cuts = (data[:first], data[first:second], data[second:])
            pieces = [aligner.feed(cut) for cut in cuts]
            assert all(len(piece) % width == 0 for piece in pieces)
            assert b"".join(pieces) == data[: size - size % width]
            assert aligner.carry == data[size - size % width :]


@given(st.integers(1, 4), st.lists(st.binary(max_size=7)))
def test_no_byte_is_lost_or_kept_longer_than_needed(width: int, pieces: list[bytes]) -> None:
    """Less than a sample waits at any time."""
    aligner = SampleAligner(width)
    out = b""
    for count, piece in enumerate(pieces, start=1):
        out += aligner.feed(piece)
        assert out + aligner.carry == b"".join(pieces[:count])
        assert len(aligner.carry) < width


# --- WAV ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PCM)
def test_a_pcm_file_is_read_by_the_standard_library(name: str) -> None:
    """One channel, 16 bits, the rate, and the samples."""
    format = AudioFormat.parse(name)
    data = bytes(range(200))
    with wave.open(io.BytesIO(wav(format, data))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        assert (file.getframerate(), file.getnframes()) == (format.rate, 100)
        assert file.readframes(100) == data


def test_a_pcm_header_has_44_bytes() -> None:
    """The form that every player knows; without audio it is a whole file."""
    header = wav_header(AudioFormat.parse("pcm_24000"), 0)
    assert len(header) == 44
    assert wav(AudioFormat.parse("pcm_24000"), b"") == header


@pytest.mark.parametrize(("name", "tag"), [("alaw_8000", 6), ("mulaw_8000", 7)])
@pytest.mark.parametrize("size", [0, 1, 160, 161])
def test_a_g711_file_is_right_field_by_field(name: str, tag: int, size: int) -> None:
    """Compressed: an extension of no bytes, and a fact chunk with the number of samples."""
    file = wav(AudioFormat.parse(name), b"\xd5" * size)
    riff, length, kind = struct.unpack_from("<4sI4s", file)
    assert (riff, length, kind) == (b"RIFF", len(file) - 8, b"WAVE")
    assert struct.unpack_from("<4sI", file, 12) == (b"fmt ", 18)
    channels, rate, byte_rate, block, bits, extension = 1, 8000, 8000, 1, 8, 0
    assert struct.unpack_from("<HHIIHHH", file, 20) == (
        tag,
        channels,
        rate,
        byte_rate,
        block,
        bits,
        extension,
    )
    assert struct.unpack_from("<4sII", file, 38) == (b"fact", 4, size)
    assert struct.unpack_from("<4sI", file, 50) == (b"data", size)
    assert file[58 : 58 + size] == b"\xd5" * size
    assert file[58 + size :] == b"\0" * (size % 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 7])
def test_a_file_of_odd_size_is_padded_and_says_how_long_it_is(name: str, size: int) -> None:
    """RIFF chunks are even; the pad byte counts for the file and not for the audio."""
    file = wav(AudioFormat.parse(name), b"x" * size)
    assert len(file) % 2 == 0
    assert struct.unpack_from("<I", file, 4) == (len(file) - 8,)
    at = file.index(b"data")
    assert struct.unpack_from("<I", file, at + 4) == (size,)


@pytest.mark.parametrize("name", ["pcm_48000", "alaw_8000"])
def test_audio_of_more_than_4_gib_has_a_header_all_the_same(name: str) -> None:
    """A day of speech must not be lost for a field of 32 bits."""
    header = wav_header(AudioFormat.parse(name), 5 << 30)
    assert struct.unpack_from("<I", header, 4) == (0xFFFF_FFFF,)
    assert struct.unpack_from("<I", header, len(header) - 4) == (0xFFFF_FFFF,)
