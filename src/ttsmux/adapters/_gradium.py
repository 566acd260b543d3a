"""
What Gradium's socket and its HTTP surface have in common: settings, messages, errors.

The adapters are in `gradium` and `_gradium_rest`; their wire facts are cited there.
"""

from __future__ import annotations

import contextlib
import re
from typing import ClassVar

import attrs
import msgspec
import pybase64

from ..adapter import (
    NUMBER,
    TEXT,
    Adapter,
    Audio,
    Failed,
    Marks,
    Note,
    Options,
    Signal,
    json_frame,
    printable,
)
from ..errors import (
    AuthError,
    ConcurrencyLimitError,
    Error,
    GenerationError,
    NotFoundError,
    RateLimitError,
    RemoteProtocolError,
)

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
# G.711 has another name here; the rest are spelled as ours.
_NAMES = {"mulaw_8000": "ulaw_8000"}


# --- settings -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class GradiumVoice(Adapter):
    """What the socket and HTTP have in common."""

    name: ClassVar[str] = "gradium"

    # Ranges are for the server: those that it refuses are wider than those that it documents.
    padding_bonus: float | None = attrs.field(default=None, validator=NUMBER)
    temp: float | None = attrs.field(default=None, validator=NUMBER)
    cfg_coef: float | None = attrs.field(default=None, validator=NUMBER)
    rewrite_rules: str | None = attrs.field(default=None, validator=TEXT)

    def _settings(self, options: Options) -> dict[str, object]:
        """Return what is set, by its names on the wire."""
        config = {
            key: value
            for key, value in (
                ("temp", self.temp),
                ("cfg_coef", self.cfg_coef),
                ("padding_bonus", self.padding_bonus),
                ("rewrite_rules", self.rewrite_rules),
            )
            if value is not None
        }
        settings: dict[str, object] = {
            "voice_id": options.voice,
            "output_format": _NAMES.get(options.format.name, options.format.name),
        }
        if options.model is not None:
            settings["model_name"] = options.model
        if config:
            # As a string: the form that every surface of the vendor takes.
            settings["json_config"] = json_frame(config)
        return settings


# --- messages -------------------------------------------------------------------------------------

_USED = frozenset({"audio", "text", "end_of_stream", "error"})
_NOTES = frozenset({"ready", "flushed", "need_more_text"})
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Message(msgspec.Struct):
    """Any message from the server; the fields that are used."""

    type: str
    client_req_id: str | None = None
    client_request_id: str | None = None
    audio: str = ""
    text: str = ""
    start_s: float | None = None
    stop_s: float | None = None
    # Of any type: an error is to be heard whatever it looks like.
    message: object = None
    code: object = None


class _Kind(msgspec.Struct):
    """What is to be known of a message that is not used."""

    type: str


_decoder = msgspec.json.Decoder(Message)
_kinds = msgspec.json.Decoder(_Kind)


def read(data: bytes) -> Message:
    """Read a message; one of a type that is not used may hold anything."""
    try:
        return _decoder.decode(data)
    except _UNREADABLE as exc:
        with contextlib.suppress(*_UNREADABLE):
            kind = _kinds.decode(data).type
            if kind not in _USED:
                return Message(kind)
        raise RemoteProtocolError("a message is not the JSON it should be") from exc


def meaning(message: Message, id: str | None = None) -> Signal:
    """Say what a message means, but for the end of a stream."""
    match message.type:
        case "audio":
            try:
                return Audio(pybase64.b64decode(message.audio, validate=True), id)
            except ValueError as exc:
                raise RemoteProtocolError("audio is not valid base64") from exc
        case "text":
            start = message.start_s or 0.0
            stop = start if message.stop_s is None else message.stop_s
            return Marks(((message.text, start, stop),), id)
        case "error":
            return Failed(error_of(message), id)
        case kind:
            return Note(kind if kind in _NOTES else "unknown", id)


# --- errors ---------------------------------------------------------------------------------------

POLICY, _INTERNAL, _BUSY = 1008, 1011, 429
_CONCURRENCY_WAIT = 0.35
"""Seconds; the previous session may still be closing (an integrator's measurement)."""
CONCURRENCY = re.compile(r"concurrency limit", re.IGNORECASE)
_KEY = re.compile(r"\bapi key\b", re.IGNORECASE)
_SETTING = re.compile(r"\b(?:format|setup)", re.IGNORECASE)
_MISSING = re.compile(r"^(?:embeddings|pronunciation dictionary)\b.*\bnot found\b", re.IGNORECASE)
_PARAMETER = re.compile(r"not found|should be between|must be", re.IGNORECASE)


def error_of(message: Message) -> Error:
    """Turn the server's error message into ours; codes are from docs.gradium.ai/guides/errors."""
    words = printable(message.message) if isinstance(message.message, str) else ""
    words = words or "the server reported an error"
    code = message.code if isinstance(message.code, int | str) else None
    if CONCURRENCY.search(words):
        return ConcurrencyLimitError(words, retry_after=_CONCURRENCY_WAIT)
    if code == _BUSY:
        return RateLimitError(words)
    if code == POLICY or (code is None and _KEY.search(words)):
        return policy_error(words)
    if code in (None, _INTERNAL) and _MISSING.search(words):
        return NotFoundError(words)
    # An internal failure may pass; but the same code stands for parameters that never will.
    retryable = code in (None, _INTERNAL) and not _PARAMETER.search(words)
    return GenerationError(words, code=code, retryable=retryable)


def policy_error(words: str) -> Error:
    """Turn the words of code 1008, a message's or a close's, into our error."""
    if CONCURRENCY.search(words):
        return ConcurrencyLimitError(words, retry_after=_CONCURRENCY_WAIT)
    if _SETTING.search(words):
        return GenerationError(words, code=POLICY)
    # A key of another region and a retired host are answered with this code too, and the latter
    # in the words of a revoked key.
    return AuthError(f"{words} (check the key, and that it belongs to this region)")
