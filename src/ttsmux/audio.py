"""
Audio as a value: formats, chunks, marks; sample alignment and WAV.

Everything is mono. `pcm_*` is signed 16-bit little-endian; `mulaw_8000` and `alaw_8000` are G.711,
one byte a sample. Nothing here resamples or converts.
"""

from __future__ import annotations

import enum
import struct

import attrs
import msgspec

from .errors import InvalidFormat

_ALIASES = {"ulaw_8000": "mulaw_8000"}
_RATES = (8000, 16000, 22050, 24000, 44100, 48000)
_G711_RATE = 8000


@attrs.frozen
class AudioFormat:
    """
    An encoding and a sample rate, such as ``pcm_24000``.

    Attributes:
        encoding: ``"pcm"``, ``"mulaw"`` or ``"alaw"``.
        rate: samples a second.
    """

    encoding: str
    rate: int

    @classmethod
    def parse(cls, name: str | AudioFormat) -> AudioFormat:
        """
        Read a format's name.

        Args:
            name: ``pcm_8000`` … ``pcm_48000``, ``mulaw_8000`` (or ``ulaw_8000``), ``alaw_8000``.

        Raises:
            InvalidFormat: there is no such format.
        """
        if isinstance(name, AudioFormat):
            return name
        found = FORMATS.get(_ALIASES.get(name, name))
        if found is None:
            msg = f"unknown audio format {name[:40]!r}; use one of {', '.join(FORMATS)}"
            raise InvalidFormat(msg, phase="config")
        return found

    @property
    def name(self) -> str:
        """As `parse` reads it."""
        return f"{self.encoding}_{self.rate}"

    @property
    def width(self) -> int:
        """Bytes a sample."""
        return 2 if self.encoding == "pcm" else 1

    @property
    def byte_rate(self) -> int:
        """Bytes a second."""
        return self.rate * self.width

    def seconds(self, size: int) -> float:
        """How long *size* bytes play."""
        return size / self.byte_rate

    def __str__(self) -> str:
        return self.name


FORMATS: dict[str, AudioFormat] = {
    fmt.name: fmt
    for fmt in (
        *(AudioFormat("pcm", rate) for rate in _RATES),
        AudioFormat("mulaw", _G711_RATE),
        AudioFormat("alaw", _G711_RATE),
    )
}


class MarkKind(enum.Enum):
    """What a mark names."""

    WORD = "word"
    CHARACTER = "character"


@attrs.frozen
class Mark:
    """
    When a word (or character) is spoken.

    Attributes:
        text: as the provider spoke it, which may differ from the text it was given.
        start: seconds from the start of the speech.
        stop: seconds from the start of the speech; equal to *start* where the provider does not
            say.
        kind: whether *text* is a word or a character.
    """

    text: str
    start: float
    stop: float
    kind: MarkKind = MarkKind.WORD


@attrs.frozen
class Resumed:
    """
    A speech broke off, and went on with the chunk that carries this; see `OnPartial`.

    Attributes:
        at: where in the text the voice goes on, in characters from its beginning; 0 after a
            restart.
        gap: seconds between what came last before the break and this audio. Who had less than that
            left to play was silent for the rest.
        approximate: True where the provider did not say when it spoke which word, and the place is
            an estimate: one word may be heard twice.
    """

    at: int
    gap: float
    approximate: bool


class AudioChunk(msgspec.Struct, frozen=True, gc=False):
    """
    A piece of a speech, ready to play.

    Attributes:
        data: whole samples in *format*.
        format: encoding and rate.
        start: seconds from the start of the speech to the first sample. It goes on where the chunk
            before ended, also where *resumed*; after a restart it is 0 again.
        marks: word times that arrived with or since the chunk before.
        resumed: set on the first chunk after the speech broke off and went on. Marks handed out
            before that lie at *start* or behind it are void; they come again.
    """

    data: bytes
    format: AudioFormat
    start: float
    marks: tuple[Mark, ...] = ()
    resumed: Resumed | None = None

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.data) / self.format.byte_rate

    def __repr__(self) -> str:
        return f"<AudioChunk {len(self.data)} bytes {self.format} at {self.start:.3f} s>"


class SampleAligner:
    """
    Hand out whole samples only.

    Providers cut PCM anywhere; a byte too many is kept for the next piece.
    """

    __slots__ = ("_width", "carry")

    def __init__(self, width: int) -> None:
        self._width = width
        self.carry = b""

    def feed(self, data: bytes) -> bytes:
        """Return the whole samples of what was kept and *data*."""
        if self.carry:
            data = self.carry + data
        odd = len(data) % self._width
        if odd:
            self.carry = data[-odd:]
            return data[:-odd]
        self.carry = b""
        return data


_WAVE_FORMAT_PCM, _WAVE_FORMAT_ALAW, _WAVE_FORMAT_MULAW = 1, 6, 7
_LONGEST = 0xFFFF_FFFF
_WAVE_TAGS = {"pcm": _WAVE_FORMAT_PCM, "alaw": _WAVE_FORMAT_ALAW, "mulaw": _WAVE_FORMAT_MULAW}


def wav_header(format: AudioFormat, size: int) -> bytes:
    """
    Return the header of a WAV file that holds *size* bytes of audio in *format*.

    WAV counts to 4 GiB; what is longer (a day of PCM) says so much and goes on to the file's end.
    """
    tag = _WAVE_TAGS[format.encoding]
    bits = 8 * format.width
    fmt = struct.pack("<HHIIHH", tag, 1, format.rate, format.byte_rate, format.width, bits)
    extra = b""
    if tag != _WAVE_FORMAT_PCM:
        # Compressed formats need the extension size and a fact chunk with the number of samples.
        fmt += struct.pack("<H", 0)
        extra = b"fact" + struct.pack("<II", 4, min(size // format.width, _LONGEST))
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + extra + b"data"
    riff = min(len(body) + 4 + size + size % 2, _LONGEST)
    return b"RIFF" + struct.pack("<I", riff) + body + struct.pack("<I", min(size, _LONGEST))


def wav(format: AudioFormat, data: bytes) -> bytes:
    """Return *data* as a whole WAV file."""
    return wav_header(format, len(data)) + data + b"\0" * (len(data) % 2)
