"""
Gradium: many generations on one connection, told apart by an id.

There is no cancel: an interrupted generation is finished (`end_of_stream`) and muted by its id.
Wire facts are from docs.gradium.ai (tts-websocket, multiplexing, websocket-lifecycle, errors); see
docs/providers/gradium.md for what those leave open and what was chosen.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Hashable, Iterable
from typing import ClassVar, Literal

import attrs
import msgspec
import pybase64

from ..adapter import (
    NUMBER,
    TEXT,
    WHOLE,
    Adapter,
    Audio,
    Closed,
    DialFailure,
    Failed,
    Flush,
    Frame,
    Generation,
    Handshake,
    HoldBack,
    Join,
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
)
from ..errors import (
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    ConnectionLost,
    Error,
    GenerationError,
    NotFoundError,
    RateLimitError,
    RemoteProtocolError,
)
from ..settings import Interrupt

_PROTOCOL, _POLICY, _INTERNAL, _BUSY = 1002, 1008, 1011, 429
_CONCURRENCY_WAIT = 0.35
"""Seconds; the previous session may still be closing (an integrator's measurement)."""
_CONCURRENCY = re.compile(r"concurrency limit", re.IGNORECASE)
_KEY = re.compile(r"\bapi key\b", re.IGNORECASE)
_SETTING = re.compile(r"\b(?:format|setup)", re.IGNORECASE)
_MISSING = re.compile(r"^(?:embeddings|pronunciation dictionary)\b.*\bnot found\b", re.IGNORECASE)
_PARAMETER = re.compile(r"not found|should be between|must be", re.IGNORECASE)
_ID_FIELDS = ("client_req_id", "client_request_id")
_USED = frozenset({"audio", "text", "end_of_stream", "error"})
_NOTES = frozenset({"ready", "flushed", "need_more_text"})
# G.711 has another name here; the rest are spelled as ours.
_FORMATS = {"mulaw_8000": "ulaw_8000"}


class _Message(msgspec.Struct):
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


_decoder = msgspec.json.Decoder(_Message)
_kinds = msgspec.json.Decoder(_Kind)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@attrs.frozen(kw_only=True)
class Gradium(Adapter):
    """
    Gradium's text to speech over its WebSocket.

    Attributes:
        padding_bonus: speed, -4 to 4; negative is faster.
        temp: variation, 0 to 1.4.
        cfg_coef: similarity to the voice, 1 to 4.
        rewrite_rules: how numbers, dates and the like are read: ``"en"``, ``"fr"``, names
            of rules.
        pronunciation_id: a pronunciation dictionary.
        retry_for_s: how long the server itself waits for a free worker, seconds.
        seats: generations at once on one connection.
        id_field: name of the id in messages to the server; the vendor's blog post has
            ``client_request_id``.
    """

    name: ClassVar[str] = "gradium"
    traits: ClassVar[Traits] = Traits(
        seats=8,
        slots=10,
        ids=True,
        max_muted=2,
        interrupt=Interrupt.MUTE,
        policies=(Interrupt.MUTE, Interrupt.DISCARD),
        acknowledgement=10.0,
        hold_back=HoldBack.WORD,
        join=Join.SPACE,
        flush=Flush.MESSAGE,
        # The server drops a quiet connection after five minutes, and a session after 300 s (older
        # page) or 3000 s (newer): leave before either.
        max_idle=240.0,
        max_age=280.0,
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
        voice_required=True,
        key_variable="GRADIUM_API_KEY",
    )

    padding_bonus: float | None = attrs.field(default=None, validator=NUMBER)
    temp: float | None = attrs.field(default=None, validator=NUMBER)
    cfg_coef: float | None = attrs.field(default=None, validator=NUMBER)
    rewrite_rules: str | None = attrs.field(default=None, validator=TEXT)
    pronunciation_id: str | None = attrs.field(default=None, validator=TEXT)
    retry_for_s: float | None = attrs.field(default=None, validator=NUMBER)
    seats: int = attrs.field(default=8, validator=WHOLE)
    id_field: Literal["client_req_id", "client_request_id"] = "client_req_id"

    def __attrs_post_init__(self) -> None:
        if self.seats < 1:
            msg = f"seats must be 1 or more, not {self.seats}"
            raise ConfigError(msg, provider=self.name, phase="config")
        if self.id_field not in _ID_FIELDS:
            # Under another name the server would see messages without an id.
            msg = f"id_field is one of {', '.join(_ID_FIELDS)}"
            raise ConfigError(msg, provider=self.name, phase="config")

    def tuned(self) -> Traits:
        if self.seats == self.traits.seats:
            return self.traits
        return attrs.evolve(self.traits, seats=self.seats, slots=self.seats + 2)

    def pool_key(self, options: Options) -> Hashable:
        # One output format a connection: mixing them is not documented to work.
        return options.format.name, self.seats, self.id_field

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url="wss://api.gradium.ai/api/speech/tts",
            headers={"x-api-key": secret} if secret else {},
        )

    def open(self, gen: Generation) -> Iterable[Frame]:
        options = gen.options
        setup: dict[str, object] = {
            "type": "setup",
            self.id_field: gen.id,
            "voice_id": options.voice,
            "output_format": _FORMATS.get(options.format.name, options.format.name),
            # Without this the server closes the connection after the first generation.
            "close_ws_on_eos": False,
        }
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
        for key, value in (
            ("model_name", options.model),
            ("pronunciation_id", self.pronunciation_id),
            ("retry_for_s", self.retry_for_s),
            # As a string: the form that every surface of the vendor takes.
            ("json_config", json_frame(config) if config else None),
        ):
            if value is not None:
                setup[key] = value
        return (json_frame(setup),)

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        return (json_frame({"type": "text", self.id_field: gen.id, "text": piece}),)

    def flush(self, gen: Generation) -> Iterable[Frame]:
        # There is no flush message; the tag, set off by the spaces that the server adds, is one.
        return self.text(gen, "<flush>")

    def end(self, gen: Generation) -> Iterable[Frame]:
        return (json_frame({"type": "end_of_stream", self.id_field: gen.id}),)

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        # Not a cancel: it lets the session at the server end. Never twice, and never without an id.
        return () if gen.ended else self.end(gen)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        message = _read(data)
        id = message.client_req_id or message.client_request_id
        match message.type:
            case "audio":
                try:
                    return (Audio(pybase64.b64decode(message.audio, validate=True), id),)
                except ValueError as exc:
                    raise RemoteProtocolError("audio is not valid base64") from exc
            case "text":
                start = message.start_s or 0.0
                stop = start if message.stop_s is None else message.stop_s
                return (Marks(((message.text, start, stop),), id),)
            case "end_of_stream":
                # An end without an id closes the connection; nobody asked for that.
                return (OutputEnd(id),) if id else (Note("end_of_stream without an id"),)
            case "error":
                return (Failed(_error(message), id),)
            case _:
                return (Note(message.type if message.type in _NOTES else "unknown", id),)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        match fault:
            case Failed(error=error, id=id):
                # The vendor's pages disagree on whether an error ends the connection: the others
                # finish, nothing new begins.
                return Verdict(Scope.CONNECTION if id is None else Scope.TAINT, error)
            case Closed(code=code, reason=reason) if code == _POLICY or _CONCURRENCY.search(reason):
                error = _policy_error(printable(reason) or "the server closed with code 1008")
                return Verdict(Scope.CONNECTION, error)
            case Closed(code=code, reason=reason) if code == _PROTOCOL:
                words = printable(reason)
                error = ConnectionLost(
                    f"the server saw a protocol error ({words})",
                    code=code,
                    reason=words,
                    retryable=False,
                )
                return Verdict(Scope.CONNECTION, error)
            case _:
                return super().verdict(fault, busy)


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


def _error(message: _Message) -> Error:
    """Turn the server's error message into ours; codes are from docs.gradium.ai/guides/errors."""
    words = printable(message.message) if isinstance(message.message, str) else ""
    words = words or "the server reported an error"
    code = message.code if isinstance(message.code, int | str) else None
    if _CONCURRENCY.search(words):
        return ConcurrencyLimitError(words, retry_after=_CONCURRENCY_WAIT)
    if code == _BUSY:
        return RateLimitError(words)
    if code == _POLICY or (code is None and _KEY.search(words)):
        return _policy_error(words)
    if code in (None, _INTERNAL) and _MISSING.search(words):
        return NotFoundError(words)
    # An internal failure may pass; but the same code stands for parameters that never will.
    retryable = code in (None, _INTERNAL) and not _PARAMETER.search(words)
    return GenerationError(words, code=code, retryable=retryable)


def _policy_error(words: str) -> Error:
    if _CONCURRENCY.search(words):
        return ConcurrencyLimitError(words, retry_after=_CONCURRENCY_WAIT)
    if _SETTING.search(words):
        return GenerationError(words, code=_POLICY)
    # A key of another region and a retired host are answered with this code too, and the latter
    # in the words of a revoked key.
    return AuthError(f"{words} (check the key, and that it belongs to this region)")
