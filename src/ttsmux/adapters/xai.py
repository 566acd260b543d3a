"""
xAI: one utterance at a time on a connection, without ids.

An interruption sends `text.clear` and drops everything until `audio.clear`: nothing but that
acknowledgement tells old audio from new. Wire facts are from docs.x.ai (text-to-speech guide, voice
API reference); see docs/providers/xai.md for what those leave open and what was chosen.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import ClassVar
from urllib.parse import urlencode

import attrs
import msgspec

from ..adapter import (
    Audio,
    CancelAck,
    Closed,
    DialFailure,
    Failed,
    Frame,
    Generation,
    Handshake,
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
)
from ..errors import GenerationError, RemoteProtocolError
from ..settings import Interrupt
from ._xai import (
    FORMATS,
    MAX_TEXT,
    NO_TIMES,
    UNREADABLE,
    XAIVoice,
    credentials,
    decoded,
    unfinished,
    word_marks,
)
from ._xai_rest import XAIRest

__all__ = ["XAI", "XAIRest"]

_AGED = ("timed out", "deadline expired")
_MOST_EXPANDED = re.compile(r"\b60[,. _]?000\b")
"""Characters of an utterance after `replace`; beyond it the session ends (guide)."""
_USED = frozenset({"audio.delta", "audio.done", "audio.clear", "error"})


class _Message(msgspec.Struct):
    """Any message from the server; the fields that are used."""

    type: str
    delta: str | None = None
    # Of any type: an error is to be heard whatever it looks like.
    message: object = None
    error: object = None
    # Read apart: times that make no sense cost no audio.
    audio_timestamps: msgspec.Raw = NO_TIMES


class _Kind(msgspec.Struct):
    """What is to be known of a message that is not used."""

    type: str


_decoder = msgspec.json.Decoder(_Message)
_kinds = msgspec.json.Decoder(_Kind)


@attrs.frozen(kw_only=True)
class XAI(XAIVoice):
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
        max_text=MAX_TEXT,
        # A session permit lasts 600 s by the guide; sockets end at about 2,100 s without notice.
        max_age=540.0,
        connections=50,
        formats=FORMATS,
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
            headers=credentials(secret),
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        return (json_frame({"type": "text.delta", "delta": piece}),)

    def end(self, gen: Generation) -> Iterable[Frame]:
        return (json_frame({"type": "text.done"}),)

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        return (json_frame({"type": "text.clear"}),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        try:
            message = _decoder.decode(data)
        except UNREADABLE as exc:
            message = _unused(data, exc)
        match message.type:
            case "audio.delta":
                times = message.audio_timestamps
                signals = word_marks(times, wire.scratch) if times is not NO_TIMES else []
                if message.delta:
                    signals.append(Audio(decoded(message.delta)))
                return signals
            case "audio.done":
                return [*unfinished(wire.scratch), OutputEnd()]
            case "audio.clear":
                wire.scratch.clear()
                return (CancelAck(),)
            case "error":
                words = _words_of(message)
                return (Failed(GenerationError(words, retryable=not _is_of_length(words))),)
            case _:
                return (
                    Note("session.updated" if message.type == "session.updated" else "unknown"),
                )

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        # The guide has no binary messages and says nothing of them; they carry nothing for us.
        return (Note("binary"),)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        match fault:
            case Failed(error=error) if _is_aged(error.message):
                return Verdict(Scope.AGE, error)
            case Failed(error=error) if not busy:
                # The answer to a bad setting while nobody speaks; the connection goes on.
                return Verdict(Scope.NOTHING, error)
            case _:
                return super().verdict(fault, busy)

    def rest(self) -> XAIRest:
        shared = attrs.fields_dict(XAI).keys() & attrs.fields_dict(XAIRest).keys()
        return XAIRest(**{name: getattr(self, name) for name in shared})


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_aged(words: str) -> bool:
    return any(sign in words.lower() for sign in _AGED)


def _is_of_length(words: str) -> bool:
    # The same text again is as long. The guide has the figure: what it is said with is open.
    return "character" in words.lower() and _MOST_EXPANDED.search(words) is not None


def _unused(data: bytes, exc: Exception) -> _Message:
    """Read a message that could not be read: one of a type that is not used may hold anything."""
    with contextlib.suppress(*UNREADABLE):
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
