"""
xAI: one utterance at a time on a connection, without ids; and over HTTP, one a request.

An interruption sends `text.clear` and drops everything until `audio.clear`: nothing but that
acknowledgement tells old audio from new. Wire facts are from docs.x.ai (text-to-speech guide, voice
API reference); see docs/providers/xai.md for what those leave open and what was chosen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Mapping
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
    Input,
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
from . import _http

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


_FORMATS = (
    "pcm_24000",
    "pcm_8000",
    "pcm_16000",
    "pcm_22050",
    "pcm_44100",
    "pcm_48000",
    "mulaw_8000",
    "alaw_8000",
)
# 15,000 in the guide; what a character is there is not said.
_MAX_TEXT = 12_000


def _between(low: float, high: float) -> Callable[..., None]:
    """Return a check for a number, by the guide's range."""

    def check(adapter: Adapter, attribute: attrs.Attribute[object], value: float | None) -> None:
        if value is not None and not low <= value <= high:
            msg = f"{attribute.name} is between {low} and {high}, not {value}"
            raise ConfigError(msg, provider=adapter.name, phase="config")

    return check


@attrs.frozen(kw_only=True)
class _Voice(Adapter):
    """What the socket and HTTP have in common."""

    name: ClassVar[str] = "xai"

    speed: float | None = attrs.field(default=None, validator=[NUMBER, _between(0.7, 1.5)])
    optimize_streaming_latency: int | None = attrs.field(
        default=None, validator=[WHOLE, _between(0, 2)]
    )
    text_normalization: bool | None = attrs.field(default=None, validator=FLAG)
    with_timestamps: bool = attrs.field(default=False, validator=FLAG)

    def _settings(self) -> dict[str, object]:
        settings = {
            "speed": self.speed,
            "optimize_streaming_latency": self.optimize_streaming_latency,
            "text_normalization": self.text_normalization,
            "with_timestamps": self.with_timestamps or None,
        }
        return {key: value for key, value in settings.items() if value is not None}

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        match fault:
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


@attrs.frozen(kw_only=True)
class XAI(_Voice):
    """
    xAI's text to speech over its WebSocket.

    Attributes:
        speed: 0.7 to 1.5.
        optimize_streaming_latency: 0 (best quality) to 2 (smallest first chunk; may be refused).
        text_normalization: whether numbers and symbols are spelled out before synthesis.
        with_timestamps: whether word times are asked for.
    """

    traits: ClassVar[Traits] = Traits(
        interrupt=Interrupt.CANCEL,
        policies=(Interrupt.CANCEL, Interrupt.DISCARD),
        acknowledgement=1.5,
        max_text=_MAX_TEXT,
        # A session permit lasts 600 s by the guide; sockets end at about 2,100 s without notice.
        max_age=540.0,
        connections=50,
        formats=_FORMATS,
        voice="eve",
        language="auto",
        key_variable="XAI_API_KEY",
    )

    def pool_key(self, options: Options) -> Hashable:
        return self._query(options)

    def _query(self, options: Options) -> str:
        """Return the query: all settings are frozen there when the connection is opened."""
        fields: dict[str, object] = {
            "language": options.language,
            "voice": options.voice,
            "codec": options.format.encoding,
            "sample_rate": options.format.rate,
            **self._settings(),
        }
        return urlencode({key: _plain(value) for key, value in fields.items()})

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
            case _:
                return super().verdict(fault, busy)

    def rest(self) -> XAIRest:
        shared = attrs.fields_dict(XAI).keys() & attrs.fields_dict(XAIRest).keys()
        return XAIRest(**{name: getattr(self, name) for name in shared})


class _Answer(msgspec.Struct):
    """The answer to a request for times."""

    audio: str
    audio_timestamps: msgspec.Raw = _NO_TIMES


_answers = msgspec.json.Decoder(_Answer)


@attrs.frozen(kw_only=True)
class XAIRest(_Voice):
    """
    xAI's text to speech over HTTP: ``POST /v1/tts``, a whole text or a sentence a request.

    The answer is the audio, as it is made. With times it is one JSON object, at the end.

    Attributes:
        speed, optimize_streaming_latency, text_normalization: as on the socket.
        with_timestamps: whether word times are asked for; no audio comes then before all is made.
    """

    traits: ClassVar[Traits] = Traits(
        reusable=False,
        input=Input.WHOLE,
        max_text=_MAX_TEXT,
        ping=None,
        formats=_FORMATS,
        voice="eve",
        language="auto",
        key_variable="XAI_API_KEY",
    )

    def pool_key(self, options: Options) -> Hashable:
        # What an answer looks like; all else is in the request.
        return options.format.name, self.with_timestamps

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url="https://api.x.ai/v1/tts",
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        options = gen.options
        request: dict[str, object] = {
            "text": piece,
            "language": options.language,
            "voice_id": options.voice,
            "output_format": {"codec": options.format.encoding, "sample_rate": options.format.rate},
            **self._settings(),
        }
        return (json_frame(request),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        raise RemoteProtocolError("a text message came in place of an HTTP answer")

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        if not self.with_timestamps:
            return _http.audio(data, wire)
        body = _http.whole(data, wire)
        return () if body is None else _timed(body)


def _timed(body: bytes) -> list[Signal]:
    try:
        answer = _answers.decode(body)
    except _UNREADABLE as exc:
        raise RemoteProtocolError("the answer is not the JSON it should be") from exc
    scratch: dict[str, object] = {}
    times = answer.audio_timestamps
    marks = _words(times, scratch) if times is not _NO_TIMES else []
    return [*marks, *_marks(_joined(_carried(scratch))), Audio(_audio(answer.audio)), OutputEnd()]


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
