"""
Gradium: many generations on one connection, told apart by an id; and over HTTP, one a request.

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
    FLAG,
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
    Input,
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
from . import _http

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
# What a failure that a proxy turned into an HTTP answer looks like.
_FROM_SERVER = re.compile(r"error from server (\d{1,6}): (.*)", re.DOTALL)
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
# G.711 has another name here; the rest are spelled as ours.
_NAMES = {"mulaw_8000": "ulaw_8000"}


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
class _Voice(Adapter):
    """What the socket and HTTP have in common."""

    name: ClassVar[str] = "gradium"

    padding_bonus: float | None = attrs.field(default=None, validator=NUMBER)
    temp: float | None = attrs.field(default=None, validator=NUMBER)
    cfg_coef: float | None = attrs.field(default=None, validator=NUMBER)
    rewrite_rules: str | None = attrs.field(default=None, validator=TEXT)

    def _settings(self, options: Options) -> dict[str, object]:
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


@attrs.frozen(kw_only=True)
class Gradium(_Voice):
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
        formats=_FORMATS,
        voice_required=True,
        key_variable="GRADIUM_API_KEY",
    )

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
        setup: dict[str, object] = {
            "type": "setup",
            self.id_field: gen.id,
            # Without this the server closes the connection after the first generation.
            "close_ws_on_eos": False,
            **self._settings(gen.options),
        }
        for key, value in (
            ("pronunciation_id", self.pronunciation_id),
            ("retry_for_s", self.retry_for_s),
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
        if message.type == "end_of_stream":
            # An end without an id closes the connection; nobody asked for that.
            return (OutputEnd(id),) if id else (Note("end_of_stream without an id"),)
        return (_meaning(message, id),)

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

    def rest(self) -> GradiumRest:
        """
        Return the same voice over HTTP.

        Raises:
            ConfigError: there is a pronunciation dictionary, which only the socket takes.
        """
        if self.pronunciation_id is not None:
            msg = "a pronunciation dictionary is for the socket only; leave pronunciation_id out"
            raise ConfigError(msg, provider=self.name, phase="config")
        shared = attrs.fields_dict(Gradium).keys() & attrs.fields_dict(GradiumRest).keys()
        return GradiumRest(**{name: getattr(self, name) for name in shared})


@attrs.frozen(kw_only=True)
class GradiumRest(_Voice):
    """
    Gradium's text to speech over HTTP: a whole text or a sentence a request.

    Attributes:
        padding_bonus, temp, cfg_coef, rewrite_rules: as on the socket.
        only_audio: whether the answer is to be the bare audio, without word times.
    """

    traits: ClassVar[Traits] = Traits(
        reusable=False,
        input=Input.WHOLE,
        ping=None,
        formats=_FORMATS,
        voice_required=True,
        key_variable="GRADIUM_API_KEY",
    )

    only_audio: bool = attrs.field(default=False, validator=FLAG)

    def pool_key(self, options: Options) -> Hashable:
        # What an answer looks like; all else is in the request.
        return options.format.name, self.only_audio

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url="https://api.gradium.ai/api/post/speech/tts",
            headers={"x-api-key": secret} if secret else {},
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        request = {"text": piece, **self._settings(gen.options), "only_audio": self.only_audio}
        return (json_frame(request),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        raise RemoteProtocolError("a text message came in place of an HTTP answer")

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        if self.only_audio:
            return _http.audio(data, wire)
        found: list[Signal] = [_meaning(_read(line)) for line in _http.lines(data, wire)]
        return found if data else [*found, OutputEnd()]

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        if isinstance(fault, DialFailure) and (found := _FROM_SERVER.match(fault.body)):
            error = _error(_Message("error", message=found[2], code=int(found[1])))
            return Verdict(Scope.CONNECTION, error)
        return super().verdict(fault, busy)


def _meaning(message: _Message, id: str | None = None) -> Signal:
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
            return Failed(_error(message), id)
        case kind:
            return Note(kind if kind in _NOTES else "unknown", id)


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
