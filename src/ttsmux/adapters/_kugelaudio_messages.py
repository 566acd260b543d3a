"""
KugelAudio's messages on its sockets: audio, word times, and what was billed.

Wire facts are from docs.kugelaudio.com (audio-formats, word timestamps, stream-input).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import msgspec
import pybase64

from ..adapter import Audio, Base, Failed, Marks, Signal
from ..audio import AudioFormat
from ..errors import InvalidFormat, RemoteProtocolError
from ._kugelaudio import UNREADABLE, Fault

_ENCODINGS: dict[object, str] = {"pcm_s16le": "pcm", "mulaw": "mulaw", "alaw": "alaw"}
ABSENT = msgspec.Raw(b"")


class Message(Fault):
    """Any message from the server; the fields that are used."""

    context_id: str | None = None
    audio: str | None = None
    enc: object = None
    sr: int | None = None
    chunk_id: int | str | None = None
    # Read apart: times or sums that make no sense cost no audio.
    word_timestamps: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    total_audio_seconds: object = None
    # Of any type: what is there and not false counts.
    final: object = None
    session_closed: object = None
    context_closed: object = None
    context_timeout: object = None
    interrupted: object = None
    warning: object = None


class _Word(msgspec.Struct):
    word: str
    start_ms: float
    end_ms: float


class _Usage(msgspec.Struct):
    audio_seconds: float | None = None
    characters: float | None = None
    cost_cents: float | None = None


_decoder = msgspec.json.Decoder(Message)
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_words = msgspec.json.Decoder(list[_Word])
_usages = msgspec.json.Decoder(_Usage)
_USED = frozenset(Message.__struct_fields__) - {"context_id", "chunk_id", "code", "enc", "sr"}


def read(data: bytes) -> Message:
    """Read a message; one whose keys are not used may hold anything."""
    try:
        return _decoder.decode(data)
    except UNREADABLE as exc:
        with contextlib.suppress(*UNREADABLE):
            if not _USED & _keys.decode(data).keys():
                return Message()
        raise RemoteProtocolError("a message is not the JSON it should be") from exc


def is_about_silence(warning: object) -> bool:
    """Tell whether a warning announces the end of a turn for want of text; it is the only one."""
    return isinstance(warning, str) and "inactiv" in warning.lower()


def _segment(message: Message) -> str | None:
    return None if message.chunk_id is None else str(message.chunk_id)


def audio_of(message: Message, text: str, id: str | None, format: AudioFormat) -> Signal:
    """Return the audio that *text* is, if it is what was asked for."""
    # Old servers do not say how the audio is encoded; new ones may have more names for it.
    encoding = _ENCODINGS.get(message.enc) if isinstance(message.enc, str) else None
    if encoding not in (None, format.encoding):
        return Failed(InvalidFormat(f"asked for {format}, but the audio is {encoding}"), id)
    try:
        data = pybase64.b64decode(text, validate=True)
    except ValueError as exc:
        raise RemoteProtocolError("audio is not valid base64") from exc
    return Audio(data, id, message.sr, _segment(message))


def marks_of(message: Message, id: str | None) -> Iterable[Signal]:
    """Read word times, which count from the beginning of their chunk."""
    with contextlib.suppress(*UNREADABLE):
        words = _words.decode(message.word_timestamps)
        units = tuple((word.word, word.start_ms / 1000, word.end_ms / 1000) for word in words)
        yield Marks(units, id, Base.SEGMENT, segment=_segment(message))


def usage_of(message: Message) -> dict[str, float] | None:
    """Read what was billed; older servers say no more than how long it was."""
    usage = _Usage()
    with contextlib.suppress(*UNREADABLE):
        usage = _usages.decode(message.usage)
    if usage.audio_seconds is None and isinstance(message.total_audio_seconds, int | float):
        usage.audio_seconds = message.total_audio_seconds
    found: dict[str, float | None] = msgspec.structs.asdict(usage)
    return {name: value for name, value in found.items() if value is not None} or None
