"""
What xAI's socket and its HTTP surface have in common: settings, refusals, times.

The adapters are in `xai` and `_xai_rest`; their wire facts are cited there.
"""

from __future__ import annotations

from typing import ClassVar

import attrs
import msgspec
import pybase64

from ..adapter import (
    FLAG,
    WHOLE,
    Adapter,
    Closed,
    DialFailure,
    Failed,
    Handshake,
    Marks,
    Scope,
    Signal,
    Verdict,
    VoicePage,
    said,
)
from ..errors import ConfigError, InvalidVoice, NotFoundError, RemoteProtocolError
from . import _voices
from ._checks import within

_NOT_FOUND, _BAD_REQUEST = 404, 400
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
FORMATS = (
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
MAX_TEXT = 12_000


@attrs.frozen(kw_only=True)
class XAIVoice(Adapter):
    """What the socket and HTTP have in common."""

    name: ClassVar[str] = "xai"
    # https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ has a name for it.
    telemetry_name: ClassVar[str | None] = "x_ai"

    speed: float | None = attrs.field(default=None, validator=within(0.7, 1.5))
    optimize_streaming_latency: int | None = attrs.field(
        default=None, validator=within(0, 2, WHOLE)
    )
    text_normalization: bool | None = attrs.field(default=None, validator=FLAG)
    with_timestamps: bool = attrs.field(default=False, validator=FLAG)

    def _settings(self) -> dict[str, object]:
        """Return what is set, by its names on the wire."""
        settings = {
            "speed": self.speed,
            "optimize_streaming_latency": self.optimize_streaming_latency,
            "text_normalization": self.text_normalization,
            "with_timestamps": self.with_timestamps or None,
        }
        return {key: value for key, value in settings.items() if value is not None}

    def list_voices(self, secret: str | None, page: str | None = None) -> Handshake:
        # Voices of one's own have another list, /v1/custom-voices, whose form is not documented.
        return Handshake(url="https://api.x.ai/v1/tts/voices", headers=credentials(secret))

    def decode_voices(self, body: bytes) -> VoicePage:
        return VoicePage(voices=_voices.named(body))

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


def credentials(secret: str | None) -> dict[str, str]:
    """Return the header with the key."""
    return {"Authorization": f"Bearer {secret}"} if secret else {}


# --- audio and times ------------------------------------------------------------------------------


def decoded(audio: str) -> bytes:
    """Return the bytes of base64 that must be right."""
    try:
        return pybase64.b64decode(audio, validate=True)
    except ValueError as exc:
        raise RemoteProtocolError("audio is not valid base64") from exc


class _Span(msgspec.Struct):
    """What some examples of the vendor's show in place of ``[start, end]``."""

    start: float
    end: float


class _Times(msgspec.Struct):
    graph_chars: list[str] = msgspec.field(default_factory=list)
    graph_times: list[tuple[float, float] | _Span] = msgspec.field(default_factory=list)


NO_TIMES = msgspec.Raw(b"")
_times = msgspec.json.Decoder(_Times | None)
_Unit = tuple[str, float, float]


def word_marks(raw: msgspec.Raw, scratch: dict[str, object]) -> list[Signal]:
    """
    Turn times of characters into times of words, carrying an unfinished word over in *scratch*.

    Times count from the start of the utterance. Where the two lists do not match, the times are
    worth nothing and the audio goes on without them.
    """
    word = _carried(scratch)
    try:
        times = _times.decode(raw) or _Times()
    except UNREADABLE:
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


def unfinished(scratch: dict[str, object]) -> list[Signal]:
    """Return the word that nothing follows."""
    return _marks(_joined(_carried(scratch)))


def _joined(word: list[_Unit]) -> list[_Unit]:
    return [("".join(char for char, _, _ in word), word[0][1], word[-1][2])] if word else []


def _marks(units: list[_Unit]) -> list[Signal]:
    return [Marks(tuple(units))] if units else []
