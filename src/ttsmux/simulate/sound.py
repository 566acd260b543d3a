"""
From an engine's samples to the bytes of an audio message: G.711, WAV, chunks.

Written from ITU-T G.711 and the RIFF layout, apart from the client's code on purpose: a mistake
there must not be mirrored here.
"""

from __future__ import annotations

import functools
import struct
import sys
from array import array
from typing import Literal

import attrs

Codec = Literal["pcm", "mulaw", "alaw"]


@attrs.frozen
class Encoding:
    """How a generation's audio is written: sample rate, codec, and whether a WAV header leads."""

    rate: int
    codec: Codec = "pcm"
    wav: bool = False

    @property
    def width(self) -> int:
        """Bytes a sample."""
        return 2 if self.codec == "pcm" else 1

    def encode(self, pcm: bytes) -> bytes:
        """Turn s16le samples into this encoding, without a header."""
        if self.codec == "pcm":
            return pcm
        samples = array("H", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        return bytes(map(_table(self.codec).__getitem__, samples))

    @property
    def header(self) -> bytes:
        """What comes before the first sample. The lengths are placeholders, as of a live stream."""
        if not self.wav:
            return b""
        form = struct.pack("<HHIIHH", 1, 1, self.rate, self.rate * 2, 2, 16)
        unknown = b"\xff\xff\xff\xff"
        return b"RIFF" + unknown + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + unknown


@functools.cache
def _table(codec: Codec) -> bytes:
    """One code for each of the 65,536 samples, indexed by the sample taken as unsigned."""
    encode = _mulaw if codec == "mulaw" else _alaw
    return bytes(encode(value - 65536 if value >= 32768 else value) for value in range(65536))


def _mulaw(sample: int) -> int:
    sign, magnitude = (0x80, -sample) if sample < 0 else (0, sample)
    magnitude = min(magnitude, 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 0x0F) & 0xFF


def _alaw(sample: int) -> int:
    sign, magnitude = (0, ~sample) if sample < 0 else (0x80, sample)
    exponent = max(magnitude.bit_length() - 8, 0)
    code = exponent << 4 | magnitude >> max(exponent + 3, 4) & 0x0F
    return (sign | code) ^ 0x55


class Cutter:
    """
    Cuts a byte stream into messages of *size* bytes.

    When `odd` is set, every message from there on has an odd length: sizes alternate between one
    more and one less than *size*, and the joined bytes stay the same.
    """

    def __init__(self, size: int) -> None:
        self.odd = False
        self._size = size
        self._extra = 1
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        """Append *data*."""
        self._bytes += data

    def take(self, *, final: bool) -> bytes | None:
        """Take one message; a shorter one only if *final*. None: nothing to take."""
        size = self._size
        if self.odd and size % 2 == 0:
            size += self._extra
        if len(self._bytes) >= size:
            self._extra = -self._extra
        elif final and self._bytes:
            size = len(self._bytes)
            if self.odd and size % 2 == 0:
                size -= 1
        else:
            return None
        data = bytes(self._bytes[:size])
        del self._bytes[:size]
        return data
