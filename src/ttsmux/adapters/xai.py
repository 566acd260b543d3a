"""
xAI: one utterance at a time on a connection, without ids.

An interruption sends `text.clear` and drops everything until `audio.clear`: nothing but that
acknowledgement tells old audio from new. Wire facts are from docs.x.ai (text-to-speech guide, voice
API reference); see docs/providers/xai.md for what those leave open and what was chosen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Mapping
from typing import ClassVar
from urllib.parse import urlencode

import attrs
import msgspec
import pybase64

from ..adapter import (
    FLAG,
    NUMBER,
    WHOLE,
    Adapter,
    Audio,
    CancelAck,
    Closed,
    DialFailure,
    Failed,
    Frame,
    Generation,
    Handshake,
    Marks,
    Note,
    Options,
    OutputEnd,
    Scope,
    Signal,
    Traits,
    Verdict,
    Wire,
    json_frame,
    printable,
    said,
)
from ..errors import ConfigError, GenerationError, InvalidVoice, NotFoundError, RemoteProtocolError
from ..settings import Interrupt

_NOT_FOUND, _BAD_REQUEST = 404, 400
_AGED = ("timed out", "deadline expired")
_USED = frozenset({"audio.delta", "audio.done", "audio.clear", "error"})


class _Span(msgspec.Struct):
    """What some examples of the vendor's show in place of ``[start, end]``."""

    start: float
    end: float


class _Times(msgspec.Struct):
    graph_chars: list[str] = msgspec.field(default_factory=list)
    graph_times: list[tuple[float, float] | _Span] = msgspec.field(default_factory=list)


_NO_TIMES = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    """Any message from the server; the fields that are used."""

    type: str
    delta: str | None = None
    # Of any type: an error is to be heard whatever it looks like.
    message: object = None
    error: object = None
    # Read apart: times that make no sense cost no audio.
    audio_timestamps: msgspec.Raw = _NO_TIMES


class _Kind(msgspec.Struct):
    """What is to be known of a message that is not used."""

    type: str


_decoder = msgspec.json.Decoder(_Message)
_kinds = msgspec.json.Decoder(_Kind)
_times = msgspec.json.Decoder(_Times | None)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@attrs.frozen(kw_only=True)
class XAI(Adapter):
    """
    xAI's text to speech over its WebSocket.

    Attributes:
        speed: 0.7 to 1.5.
        optimize_streaming_latency: 0 (best quality) to 2 (smallest first chunk; may be refused).
        text_normalization: whether numbers and symbols are spelled out before synthesis.
        with_timestamps: whether word times are asked for.
    """

    name: ClassVar[str] = "xai"
    traits: ClassVar[Traits] = Traits(
        interrupt=Interrupt.CANCEL,
        policies=(Interrupt.CANCEL, Interrupt.DISCARD),
        acknowledgement=1.5,
        # 15,000 in the guide; what a character is there is not said.
        max_text=12_000,
        # A session permit lasts 600 s by the guide; sockets end at about 2,100 s without notice.
        max_age=540.0,
        connections=50,
        formats=(
            "pcm_24000",
            "pcm_8000",
            "pcm_16000",
            "pcm_22050",
            "pcm_44100",
            "pcm_48000",
            "mulaw_8000",
            "alaw_8000",
        ),
        voice="eve",
        language="auto",
        key_variable="XAI_API_KEY",
    )

    speed: float | None = attrs.field(default=None, validator=NUMBER)
    optimize_streaming_latency: int | None = attrs.field(default=None, validator=WHOLE)
    text_normalization: bool | None = attrs.field(default=None, validator=FLAG)
    with_timestamps: bool = attrs.field(default=False, validator=FLAG)

    def pool_key(self, options: Options) -> Hashable:
        return self._query(options)

    def _query(self, options: Options) -> str:
        """Return the query: all settings are frozen there when the connection is opened."""
        codec, rate = options.format.encoding, options.format.rate
        fields: dict[str, object] = {
            "language": options.language,
            "voice": options.voice,
            "codec": codec,
            "sample_rate": rate,
            "speed": self.speed,
            "optimize_streaming_latency": self.optimize_streaming_latency,
            "text_normalization": self.text_normalization,
            "with_timestamps": self.with_timestamps or None,
        }
        return urlencode({key: _plain(value) for key, value in fields.items() if value is not None})

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url=f"wss://api.x.ai/v1/tts?{self._query(options)}",
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        return (json_frame({"type": "text.delta", "delta": piece}),)

    def end(self, gen: Generation) -> Iterable[Frame]:
        return (json_frame({"type": "text.done"}),)

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        return (json_frame({"type": "text.clear"}),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        message = _read(data)
        match message.type:
            case "audio.delta":
                times = message.audio_timestamps
                signals = _words(times, wire.scratch) if times is not _NO_TIMES else []
                if message.delta:
                    signals.append(Audio(_audio(message.delta)))
                return signals
            case "audio.done":
                return [*_marks(_joined(_carried(wire.scratch))), OutputEnd()]
            case "audio.clear":
                wire.scratch.clear()
                return (CancelAck(),)
            case "error":
                return (Failed(GenerationError(_words_of(message), retryable=True)),)
            case _:
                return (
                    Note("session.updated" if message.type == "session.updated" else "unknown"),
                )

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        # The guide has no binary messages and says nothing of them; they carry nothing for us.
        return (Note("binary"),)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        match fault:
            case Failed(error=error) if not busy and not _is_aged(error.message):
                # The answer to a bad setting while nobody speaks; the connection goes on.
                return Verdict(Scope.NOTHING, error)
            case DialFailure(status=status, body=body) if status == _NOT_FOUND:
                words = said(body) or "no such voice"
                return Verdict(Scope.CONNECTION, NotFoundError(words, phase="dial"))
            case DialFailure(status=status, body=body) if status == _BAD_REQUEST:
                words = said(body)
                kind = InvalidVoice if "voice" in words.lower() else ConfigError
                error = kind(f"the server refused the settings: {words}", phase="dial")
                return Verdict(Scope.CONNECTION, error)
            case _:
                return super().verdict(fault, busy)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _audio(delta: str) -> bytes:
    try:
        return pybase64.b64decode(delta, validate=True)
    except ValueError as exc:
        raise RemoteProtocolError("audio is not valid base64") from exc


def _is_aged(words: str) -> bool:
    return any(sign in words.lower() for sign in _AGED)


def _read(data: bytes) -> _Message:
    """Read a message; one of a type that is not used may hold anything."""
    try:
        return _decoder.decode(data)
    except _UNREADABLE as exc:
        with contextlib.suppress(*_UNREADABLE):
            kind = _kinds.decode(data).type
            if kind not in _USED:
                return _Message(kind)
        raise RemoteProtocolError("a message is not the JSON it should be") from exc


def _words_of(message: _Message) -> str:
    """Find the server's words: a string `message`, or an `error` that is a string or an object."""
    nested = message.error.get("message") if isinstance(message.error, Mapping) else None
    for found in (nested, message.message, message.error):
        if isinstance(found, str) and (words := printable(found)):
            return words
    return "the server reported an error"


_Unit = tuple[str, float, float]


def _words(raw: msgspec.Raw, scratch: dict[str, object]) -> list[Signal]:
    """
    Turn times of characters into times of words, carrying an unfinished word over in *scratch*.

    Times count from the start of the utterance. Where the two lists do not match, the times are
    worth nothing and the audio goes on without them.
    """
    word = _carried(scratch)
    try:
        times = _times.decode(raw) or _Times()
    except _UNREADABLE:
        return []
    if len(times.graph_times) != len(times.graph_chars):
        return []
    units: list[_Unit] = []
    for char, span in zip(times.graph_chars, times.graph_times, strict=True):
        if char.isspace():
            units += _joined(word)
            word = []
        else:
            start, stop = (span.start, span.end) if isinstance(span, _Span) else span
            word.append((char, start, stop))
    if word:
        scratch["word"] = word
    return _marks(units)


def _carried(scratch: dict[str, object]) -> list[_Unit]:
    """Take the word that the message before did not finish."""
    word = scratch.pop("word", None)
    return word if isinstance(word, list) else []


def _joined(word: list[_Unit]) -> list[_Unit]:
    return [("".join(char for char, _, _ in word), word[0][1], word[-1][2])] if word else []


def _marks(units: list[_Unit]) -> list[Signal]:
    return [Marks(tuple(units))] if units else []
