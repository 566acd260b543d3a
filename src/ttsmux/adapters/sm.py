"""
SM-AI-MODELS: a whole text at a time on a connection, without ids; Arabic and English.

A request is one JSON message, its answer bare audio and one event at the end. There is no cancel,
so an interrupted connection is given up; and a speech becomes a request a sentence, one after the
other. Wire facts are from docs.withsm.ai (streaming, rest-api, specifications, optimization,
authentication, guides/errors); see docs/providers/sm.md for what those leave open and what was
chosen. Every name that they do not show is an option.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import ClassVar, Literal, get_args
from urllib.parse import urlencode

import attrs
import msgspec

from ..adapter import (
    FLAG,
    NUMBER,
    TEXT,
    Adapter,
    Audio,
    Closed,
    DialFailure,
    Failed,
    Frame,
    Generation,
    Handshake,
    Input,
    Note,
    Options,
    OutputEnd,
    Ready,
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
    Error,
    GenerationError,
    InvalidText,
    InvalidVoice,
    RateLimitError,
)
from . import _http

_CLOUD, _ON_PREMISE = "cloud", "on-premise"
_SLOWEST, _FASTEST = 0.5, 2
_Auth = Literal[
    "none", "header-api-key", "header-bearer", "query-api-key", "query-token", "first-message"
]
# Of a socket that is closed after the first message, which may hold the key.
_REFUSED_KEY = frozenset({1008, 3000, 3003, 4001, 4003, 4401, 4403})
_LIMIT = re.compile(r"\b(?:limit|concurren\w*|too many)\b", re.IGNORECASE)
_STATUS = re.compile(r"HTTP_([0-9]{3})")
_KINDS: Mapping[str, type[Error]] = {
    "unauthorized": AuthError,
    "invalid_api_key": AuthError,
    "forbidden": AuthError,
    "rate_limit_exceeded": RateLimitError,
    "invalid_voice": InvalidVoice,
    "text_too_long": InvalidText,
}
_FOR_GOOD = frozenset({"invalid_request", "invalid_file", "validation_error", "http_error"})
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_events = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Values stay as they came: what is not used may be anything."""


def _fields(given: Mapping[str, object] | str | None) -> str | None:
    """Take further fields of a request as a mapping or as JSON, and keep them as JSON."""
    if given is None or given == "":
        return None
    try:
        found = msgspec.json.decode(given) if isinstance(given, str) else dict(given)
        return json_frame(msgspec.convert(found, dict[str, object]))
    except (*_UNREADABLE, TypeError) as exc:
        msg = 'extra takes fields of the request, as a mapping or as JSON, like {"seed": 7}'
        raise ConfigError(msg, provider="sm", phase="config") from exc


@attrs.frozen(kw_only=True)
class _SM(Adapter):
    """What the socket and the REST surface have in common."""

    name: ClassVar[str] = "sm"
    traits: ClassVar[Traits] = Traits(
        input=Input.WHOLE,
        # "At most about 150 characters a request", by the vendor's advice on streaming.
        max_text=150,
        markup=False,
        # Nothing is published about a socket; its siblings' sessions end at 3600 s.
        max_idle=120.0,
        max_age=3300.0,
        connections=5,
        formats=("pcm_22050", "pcm_16000", "pcm_8000", "pcm_24000", "pcm_44100", "pcm_48000"),
        voice="Yara",
        key_variable="SM_API_KEY",
    )

    deployment: Literal["cloud", "on-premise"] = "cloud"
    host: str | None = attrs.field(default=None, validator=TEXT)
    path: str | None = attrs.field(default=None, validator=TEXT)
    rest_path: str | None = attrs.field(default=None, validator=TEXT)
    auth: _Auth | None = None
    key_name: str | None = attrs.field(default=None, validator=TEXT)
    connections: int | None = attrs.field(default=None, validator=NUMBER)
    max_text: int = attrs.field(default=150, validator=NUMBER)
    speed: float | None = attrs.field(default=None, validator=NUMBER)
    text_field: str = attrs.field(default="text", validator=TEXT)
    format_field: str = attrs.field(default="format", validator=TEXT)
    rate_field: str = attrs.field(default="sample_rate", validator=TEXT)
    rest_format: Literal["wav", "pcm"] = "wav"
    extra: str | None = attrs.field(default=None, converter=_fields)
    type_field: str = attrs.field(default="type", validator=TEXT)
    end_event: str = attrs.field(default="synthesis_complete", validator=TEXT)
    error_event: str = attrs.field(default="error", validator=TEXT)
    ready_event: str | None = attrs.field(default=None, validator=TEXT)
    reuse_after_error: bool = attrs.field(default=False, validator=FLAG)
    ping_interval: float = attrs.field(default=20.0, validator=NUMBER)

    def __attrs_post_init__(self) -> None:
        choices = (
            ("deployment", self.deployment, (_CLOUD, _ON_PREMISE)),
            ("auth", self.auth, (None, *get_args(_Auth))),
            ("rest_format", self.rest_format, ("wav", "pcm")),
        )
        for name, value, known in choices:
            if value not in known:
                msg = f"{name} is one of {', '.join(filter(None, known))}"
                raise ConfigError(msg, provider=self.name, phase="config")
        for name, count, most in (
            ("max_text", self.max_text, 10_000),
            ("connections", self.connections or 1, 1000),
        ):
            if not 1 <= count <= most:
                msg = f"{name} is between 1 and {most}, not {count}"
                raise ConfigError(msg, provider=self.name, phase="config")
        if self.speed is not None and not _SLOWEST <= self.speed <= _FASTEST:
            # Clamped without a word, by the vendor's page on REST.
            msg = f"speed is between {_SLOWEST} and {_FASTEST}, not {self.speed}"
            raise ConfigError(msg, provider=self.name, phase="config")
        for name, choice in (("model", self.model), ("language", self.language)):
            if choice is not None:
                msg = f"there is no {name} to choose: the voice has one, as Yara_en has English"
                raise ConfigError(msg, provider=self.name, phase="config")
        for name, text, form in (
            ("host", self.host, r"[A-Za-z0-9.-]+(:[0-9]{1,5})?"),
            ("path", self.path, r"/[!-\"$->@-~]*"),
            ("rest_path", self.rest_path, r"/[!-\"$->@-~]*"),
            ("key_name", self.key_name, r"[A-Za-z0-9_-]+"),
        ):
            if text is not None and not re.fullmatch(form, text):
                msg = f"{name} cannot be {printable(text, 40)!r}"
                raise ConfigError(msg, provider=self.name, phase="config")

    @property
    def _auth(self) -> str:
        return self.auth or ("header-api-key" if self.deployment == _CLOUD else "none")

    def _tuned(self, base: Traits) -> Traits:
        # Five a key, of which a discarded one may still be counted when its successor is dialled;
        # servers of one's own have no keys to count by.
        usual = 4 if self.deployment == _CLOUD else None
        return attrs.evolve(
            base,
            max_text=self.max_text,
            connections=self.connections or usual,
            key_required=self._auth != "none",
        )

    def pool_key(self, options: Options) -> Hashable:
        # The voice is said with each request. The format is, too, if at all; but a server that
        # mixed sample rates on one connection would be heard.
        where = self.deployment, self.host, self.path, self._auth, self.key_name, self.ready_event
        return options.format.name, *where

    def _url(self, cloud: str, on_premise: str, scheme: str) -> str:
        if self.deployment == _CLOUD:
            return f"{scheme}s://{self.host or 'api.withsm.ai'}{cloud}"
        host = self.host or "localhost"
        return f"{scheme}://{host}{'' if ':' in host else ':9999'}{on_premise}"

    def _signed(self, url: str, secret: str | None, auth: str) -> Handshake:
        """Put the key where *auth* says."""
        name = self.key_name
        if not secret:
            return Handshake(url=url)
        match auth:
            case "header-api-key":
                return Handshake(url=url, headers={name or "X-API-Key": secret})
            case "header-bearer":
                return Handshake(url=url, headers={name or "Authorization": f"Bearer {secret}"})
            case "query-api-key" | "query-token":
                name = name or ("api_key" if auth == "query-api-key" else "token")
                return Handshake(url=f"{url}?{urlencode({name: secret})}")
            case "first-message":
                return Handshake(url=url, first_frames=(json_frame({name or "x-api-key": secret}),))
        return Handshake(url=url)

    def _request(self, options: Options, text: dict[str, object]) -> str:
        body = {**text, "voice": options.voice}
        if options.format.name != self.traits.formats[0] and self.rate_field:
            body[self.rate_field] = options.format.rate
        if self.speed is not None:
            body["speed"] = self.speed
        extra: dict[str, object] = msgspec.json.decode(self.extra or "{}")
        return json_frame(body | extra)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        match fault:
            case Failed(error=AuthError() as error):
                return Verdict(Scope.CONNECTION, error)
            case Failed(error=error):
                # Whether a connection survives an error is not said. Its neighbours do.
                scope = Scope.GENERATION if self.reuse_after_error else Scope.TAINT
                return Verdict(scope if busy else Scope.CONNECTION, error)
            case Closed(code=code, reason=reason) if code in _REFUSED_KEY:
                words = printable(reason) or f"the server closed with code {code}"
                if _LIMIT.search(words):
                    return Verdict(Scope.CONNECTION, ConcurrencyLimitError(words))
                if self._auth != "none":
                    return Verdict(Scope.CONNECTION, AuthError(f"{words} (check the key)"))
            case DialFailure(status=int(), body=body):
                failure = attrs.evolve(fault, body=_words(body))
                verdict = super().verdict(failure, busy)
                kind = _KINDS.get(_code(body))
                if kind is None or isinstance(verdict.error, kind):
                    return verdict
                return Verdict(verdict.scope, kind(verdict.error.message, phase="dial"))
        return super().verdict(fault, busy)


@attrs.frozen(kw_only=True)
class SM(_SM):
    """
    SM's text to speech over its WebSocket.

    Attributes:
        deployment: ``"cloud"``, or ``"on-premise"`` for a server of your own.
        host: of the server, with a port if it is another than usual.
        path, rest_path: of the WebSocket and of the REST surface, if they are others than usual.
        auth: where the key goes; by default the header ``X-API-Key``, and nowhere on premise.
        key_name: of the header, the parameter or the field that holds it.
        connections: at once; 4 of the 5 a key is allowed in the cloud, any number on premise.
        max_text: characters in one request; a longer sentence is cut between words.
        speed: 0.5 to 2.
        text_field: of a request, for the text.
        format_field, rate_field: of a request for another format than ``pcm_22050``, which is what
            comes if none is asked for. With empty names nothing is asked for: ``format=`` then
            says what the server speaks.
        rest_format: what is asked for over REST; of the two, WAV says its sample rate.
        extra: further fields of each request, as a mapping or as JSON.
        type_field, end_event, error_event: of the server's events.
        ready_event: what to wait for when a connection is opened; nothing by default.
        reuse_after_error: whether a connection speaks on after an error.
        ping_interval: seconds between WebSocket pings, 0 for none.
    """

    def tuned(self) -> Traits:
        traits = self._tuned(self.traits)
        return attrs.evolve(
            traits, greeting=bool(self.ready_event), ping=self.ping_interval or None
        )

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        path = self.path
        url = self._url(path or "/v1/tts/stream", path or "/v1/audio/stream", "ws")
        return self._signed(url, secret, self._auth)

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        body: dict[str, object] = {self.text_field: piece}
        if gen.options.format.name != self.traits.formats[0] and self.format_field:
            body[self.format_field] = "pcm"
        return (self._request(gen.options, body),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        try:
            event = _events.decode(data)
        except _UNREADABLE:
            return (Note("not a JSON object"),)  # nothing but events comes as text: none is lost
        kind = _value(event, self.type_field)
        if kind == self.end_event:
            return (OutputEnd(),)
        if kind == self.error_event or _value(event, "error") is not None:
            return (Failed(_error(event)),)
        if kind is not None and kind == self.ready_event:
            return (Ready(),)
        return (Note("unknown"),)

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return (Audio(data),)

    def rest(self) -> SMRest:
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(SM)}
        return SMRest(**fields)


@attrs.frozen(kw_only=True)
class SMRest(_SM):
    """The same voices over REST, a request a sentence; the options are those of `SM`."""

    traits: ClassVar[Traits] = attrs.evolve(
        _SM.traits, reusable=False, ping=None, max_idle=None, max_age=None
    )

    def tuned(self) -> Traits:
        return self._tuned(self.traits)

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        path = self.rest_path
        url = self._url(path or "/v1/tts/audio/speech", path or "/v1/audio/speech", "http")
        # There is no message before the request here.
        auth = "header-api-key" if self._auth == "first-message" else self._auth
        shake = self._signed(url, secret, auth)
        return attrs.evolve(shake, headers={"Content-Type": "application/json", **shake.headers})

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        # The key is another than on the socket, and the default format would be MP3.
        body: dict[str, object] = {"input": piece, "response_format": self.rest_format}
        return (self._request(gen.options, body),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return (Note("text"),)  # an answer's body is bytes

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return _http.audio(data, wire)


# --- errors ---------------------------------------------------------------------------------------


def _value(event: Mapping[str, msgspec.Raw], name: str) -> object:
    """Read one field; None if it is not there, or cannot be read."""
    try:
        found: object = msgspec.json.decode(event[name]) if name in event else None
    except _UNREADABLE:
        return None
    return found


def _facts(event: Mapping[str, msgspec.Raw]) -> tuple[str, str, object]:
    """Return an error's code, the words for it, and its second code, in either form there is."""
    error = _value(event, "error")
    nested = error if isinstance(error, Mapping) else {}
    words = [_value(event, "detail"), nested.get("message"), _value(event, "message"), error]
    said = next((text for text in words if isinstance(text, str) and printable(text)), "")
    code = nested.get("code", error)
    return code if isinstance(code, str) else "", printable(said), _value(event, "code")


def _read(body: str) -> tuple[str, str, object]:
    try:
        return _facts(_events.decode(body))
    except _UNREADABLE:
        return "", printable(body), None


def _code(body: str) -> str:
    return _read(body)[0]


def _words(body: str) -> str:
    return _read(body)[1]


def _error(event: Mapping[str, msgspec.Raw]) -> Error:
    """Turn an error event into ours; the codes are those of the REST surface."""
    code, words, second = _facts(event)
    words = words or "the server reported an error"
    if (kind := _KINDS.get(code)) is not None:
        return kind(words)
    status = _STATUS.fullmatch(second) if isinstance(second, str) else None
    for_good = code in _FOR_GOOD if status is None else status[1][0] == "4" and status[1] != "429"
    return GenerationError(words, code=printable(code) or None, retryable=not for_good)
