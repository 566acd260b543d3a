"""
What answers over HTTP have in common: bare audio, WAV, lines of JSON.

Pieces of a body are cut anywhere, so that what is begun waits in the scratch of its wire.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ..adapter import Audio, OutputEnd, Signal, Wire, printable
from ..errors import RemoteProtocolError

__all__ = ["audio", "essence", "is_bare", "lines", "media_type", "whole"]

_WAV = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"})
_COMPRESSED = frozenset(
    f"audio/{kind}" for kind in ("aac", "flac", "mp3", "mp4", "mpeg", "ogg", "opus", "webm")
)
_BYTES = "application/octet-stream"
_MAX_LINE = 16 * 1024 * 1024
_MAX_HEADER = 64 * 1024
_EXTENSIBLE = 0xFFFE
# By WAVE_FORMAT_*; RFC 2361 has the list.
_ENCODINGS = {1: "pcm", 6: "alaw", 7: "mulaw"}
_UNKNOWN_SIZE = 0x7FFFF000
"""
From here on a length is none: a server that streams does not know it yet, and writes 0 or the most
that fits into 31 or 32 bits, less some for headers. What is meant so would be hours of audio.
"""


def media_type(wire: Wire) -> str:
    """Return the type of the answer, in lower case and without parameters; empty if none."""
    return essence(wire.headers.get("content-type", ""))


def essence(content_type: str) -> str:
    """Return a type in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_bare(kind: str) -> bool:
    """Tell whether what has this type is samples, with nothing around them, for all we know."""
    packed = kind in _WAV or kind in _COMPRESSED
    return not packed and (kind.startswith("audio/") or kind == _BYTES)


def audio(data: bytes, wire: Wire) -> Iterable[Signal]:
    """
    Say what a piece of an answer means whose body is the audio; the empty one is its end.

    A WAV header is taken off, and its encoding compared with what was asked for.

    Raises:
        RemoteProtocolError: the answer is no audio, audio that was not asked for, or a WAV that is
            shorter than it says.
    """
    kind = media_type(wire)
    if kind in _WAV:
        return _wav(data, wire)
    if not is_bare(kind):
        msg = f"the answer is {printable(kind, 60) or 'of no known type'}, not the audio asked for"
        raise RemoteProtocolError(msg, retryable=False)
    return (Audio(data),) if data else (OutputEnd(),)


def lines(data: bytes, wire: Wire) -> list[bytes]:
    """
    Return the lines that are complete with this piece; with the empty one, the last.

    Lines of nothing but spaces are left out.

    Raises:
        RemoteProtocolError: a line is longer than any message may be.
    """
    found = _gathered(data, wire)
    if data:
        # Only what is new is looked through: a line may take thousands of pieces.
        last = data.rfind(b"\n") + 1
        end = len(found) - len(data) + last if last else 0
        ready = bytes(found[:end])
        del found[:end]
        if len(found) > _MAX_LINE:
            msg = f"the answer has a line of more than {_MAX_LINE} bytes"
            raise RemoteProtocolError(msg)
    else:
        ready = bytes(found)
        found.clear()
    return [line for line in ready.split(b"\n") if line.strip()]


def whole(data: bytes, wire: Wire) -> bytes | None:
    """
    Gather the body; return it with the empty piece, before that None.

    Raises:
        RemoteProtocolError: it is longer than any message may be.
    """
    found = _gathered(data, wire)
    if len(found) > 4 * _MAX_LINE:
        msg = f"the answer has more than {4 * _MAX_LINE} bytes"
        raise RemoteProtocolError(msg)
    return None if data else bytes(found)


def _gathered(data: bytes, wire: Wire) -> bytearray:
    found = wire.scratch.setdefault("body", bytearray())
    assert isinstance(found, bytearray), "nobody else uses this name"
    found += data
    return found


def _wav(data: bytes, wire: Wire) -> Iterable[Signal]:
    left = wire.scratch.get("left")
    if not data:
        if left is None:
            raise RemoteProtocolError("the answer ended within its WAV header")
        assert isinstance(left, int), "set by the header"
        if left > 0:
            raise RemoteProtocolError(f"the WAV ended {left} bytes before the end it announced")
        return (OutputEnd(),)
    if left is None:
        found = _gathered(data, wire)
        start = _header(found, wire)
        if start is None:
            return ()
        data = bytes(found[start:])
        left = wire.scratch["left"]
        found.clear()
    assert isinstance(left, int), "set by the header"
    if left >= 0:
        # What comes behind the samples is a comment, or the like.
        data = data[:left]
        wire.scratch["left"] = left - len(data)
    return (Audio(data),) if data else ()


def _header(found: bytearray, wire: Wire) -> int | None:
    """Read a RIFF header and return where the samples begin; None if there is more to come."""
    if len(found) < 12:
        return None
    if found[:4] != b"RIFF" or found[8:12] != b"WAVE":
        raise RemoteProtocolError("the answer says it is WAV, and has no RIFF header")
    # Where the next chunk begins: a header may come byte by byte, and what is read is read.
    at = wire.scratch.setdefault("at", 12)
    assert isinstance(at, int), "nobody else uses this name"
    while len(found) >= at + 8:
        name, size = struct.unpack_from("<4sI", found, at)
        start = at + 8
        end = start if name == b"data" else start + size
        if end > _MAX_HEADER:
            raise RemoteProtocolError(f"the WAV header has more than {_MAX_HEADER} bytes")
        if name == b"data":
            if "checked" not in wire.scratch:
                raise RemoteProtocolError("the WAV header does not say what it holds")
            wire.scratch["left"] = size if 0 < size < _UNKNOWN_SIZE else -1
            return start
        if name == b"fmt " and size >= 16:
            if len(found) < end:
                break
            _check(bytes(found[start:end]), wire)
            wire.scratch["checked"] = True
        at = wire.scratch["at"] = end + size % 2
    return None


def _check(form: bytes, wire: Wire) -> None:
    tag, channels, rate = struct.unpack_from("<HHI", form)
    if tag == _EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack_from("<H", form, 24)
    (bits,) = struct.unpack_from("<H", form, 14)
    asked = wire.options.format
    encoding = _ENCODINGS.get(tag)
    if (encoding, channels, rate, bits) != (asked.encoding, 1, asked.rate, 8 * asked.width):
        what = f"{encoding or f'of kind {tag}'}, {rate} Hz, {bits} bits, {channels} channels"
        raise RemoteProtocolError(f"asked for {asked}, but the WAV is {what}", retryable=False)
