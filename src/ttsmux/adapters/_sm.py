"""
What SM's socket and its REST surface have in common: options, the key's place, errors.

The adapters are in `sm` and `_sm_rest`; their wire facts are cited there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, cast, get_args
from urllib.parse import urlencode

import attrs
import msgspec

from ..adapter import (
    FLAG,
    TEXT,
    WHOLE,
    Adapter,
    Closed,
    DialFailure,
    Failed,
    Handshake,
    Input,
    Options,
    Scope,
    Traits,
    Verdict,
    json_frame,
    printable,
    status_error,
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
    WrongType,
)
from ._checks import like, one_of, within

Auth = Literal[
    "none", "header-api-key", "header-bearer", "query-api-key", "query-token", "first-message"
]
CLOUD = "cloud"
_DEPLOYMENTS = (CLOUD, "on-premise")
_TOO_MANY, _MINUTE = 429, 60
_REDIAL_AFTER: float | None = 0.35
_PATH = r"/[!-\"$->@-~]*"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
Event = Mapping[str, msgspec.Raw]
events = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Values stay as they came: what is not used may be anything."""
# Of a socket that is closed after the first message, which may hold the key.
_REFUSED_KEY = frozenset({1008, 3000, 3003, 4001, 4003, 4401, 4403})
_LIMIT = re.compile(r"\b(?:limit|concurren\w*|too many)\b", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"\b(?:text|input) (?:is )?too long\b|\btoo many characters\b|\bcharacter limit\b"
    r"|\blimit\b.*\bcharacters\b",
    re.IGNORECASE,
)
_CONNECTIONS = re.compile(r"concurren|\bconnections\b|\bconnection limit\b", re.IGNORECASE)
_RATE = re.compile(r"\b(?:rate|requests?|tokens?|minute|daily|day)\b", re.IGNORECASE)
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


# --- options --------------------------------------------------------------------------------------


def _fields(given: Mapping[str, object] | str | None) -> str | None:
    """Take further fields of a request as a mapping or as JSON, and keep them as JSON."""
    if given is None or given == "":
        return None
    try:
        found = msgspec.json.decode(given) if isinstance(given, str) else dict(given)
        return json_frame(msgspec.convert(found, dict[str, object]))
    except (*UNREADABLE, TypeError) as exc:
        msg = 'extra takes fields of the request, as a mapping or as JSON, like {"seed": 7}'
        raise ConfigError(msg, provider="sm", phase="config") from exc


_Names = tuple[str, ...]


def _listed(given: Iterable[str] | str | None) -> _Names:
    """Take names, or a string of them with commas between; None is none, and so are blanks."""
    names: object = given.split(",") if isinstance(given, str) else () if given is None else given
    if isinstance(names, Iterable):
        stripped = (name.strip() if isinstance(name, str) else name for name in names)
        names = tuple(name for name in stripped if name != "")
    # What is something else is for `_are_names` to refuse, which knows what the option is called.
    return cast("_Names", names)


def _are_names(adapter: Adapter, attribute: attrs.Attribute[_Names], value: object) -> None:
    if not isinstance(value, tuple):
        raise WrongType.of(attribute.name, "a str or a list of them", value)
    for name in value:
        TEXT(adapter, attribute, name)


@attrs.frozen(kw_only=True)
class SMVoice(Adapter):
    """The options of both surfaces, which `SM` explains."""

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
        requests_per_minute=60,
        formats=("pcm_22050", "pcm_16000", "pcm_8000", "pcm_24000", "pcm_44100", "pcm_48000"),
        voice="Yara",
        key_variable="SM_API_KEY",
    )

    deployment: Literal["cloud", "on-premise"] = attrs.field(
        default="cloud", validator=one_of(*_DEPLOYMENTS)
    )
    host: str | None = attrs.field(default=None, validator=like(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?"))
    path: str | None = attrs.field(default=None, validator=like(_PATH))
    rest_path: str | None = attrs.field(default=None, validator=like(_PATH))
    auth: Auth | None = attrs.field(default=None, validator=one_of(None, *get_args(Auth)))
    key_name: str | None = attrs.field(default=None, validator=like(r"[A-Za-z0-9_-]+"))
    connections: int | None = attrs.field(default=None, validator=within(1, 1000, WHOLE))
    redial_after: float | None = attrs.field(
        default=_REDIAL_AFTER, validator=attrs.validators.optional(within(0, 3600))
    )
    max_text: int = attrs.field(default=150, validator=within(1, 10_000, WHOLE))
    speed: float | None = attrs.field(default=None, validator=within(0.5, 2))
    text_field: str = attrs.field(default="text", validator=like(".+"))
    speed_field: str = attrs.field(default="speed", validator=like(".+"))
    format_field: str = attrs.field(default="format", validator=TEXT)
    format_value: str = attrs.field(default="pcm", validator=TEXT)
    rate_field: str = attrs.field(default="sample_rate", validator=TEXT)
    rest_format: Literal["wav", "pcm"] = attrs.field(default="wav", validator=one_of("wav", "pcm"))
    extra: str | None = attrs.field(default=None, converter=_fields)
    type_field: str = attrs.field(default="type", validator=TEXT)
    end_event: tuple[str, ...] = attrs.field(
        default=("synthesis_complete",), converter=_listed, validator=_are_names
    )
    error_event: tuple[str, ...] = attrs.field(
        default=("error",), converter=_listed, validator=_are_names
    )
    ready_event: tuple[str, ...] = attrs.field(default=(), converter=_listed, validator=_are_names)
    error_field: str = attrs.field(default="error", validator=TEXT)
    detail_field: str = attrs.field(default="detail", validator=TEXT)
    code_field: str = attrs.field(default="code", validator=TEXT)
    reuse_after_error: bool = attrs.field(default=False, validator=FLAG)
    ping_interval: float = attrs.field(default=20.0, validator=within(0, 3600))

    def __attrs_post_init__(self) -> None:
        if not self.end_event:
            raise self._misuse("end_event is at least one name: without it nothing would end")
        for name, choice in (("model", self.model), ("language", self.language)):
            if choice is not None:
                words = f"there is no {name} to choose: the voice has one, as Yara_en has English"
                raise self._misuse(words)

    def _misuse(self, words: str) -> ConfigError:
        return ConfigError(words, provider=self.name, phase="config")

    @property
    def _key_place(self) -> str:
        """Where the key goes, one of `Auth`."""
        return self.auth or ("header-api-key" if self.deployment == CLOUD else "none")

    def tuned(self) -> Traits:
        # Five a key, of which a discarded one may still be counted when its successor is dialled;
        # servers of one's own have no keys to count by.
        usual = 4 if self.deployment == CLOUD else None
        return attrs.evolve(
            self.traits,
            max_text=self.max_text,
            connections=usual if self.connections is None else self.connections,
            requests_per_minute=(
                self.traits.requests_per_minute if self.deployment == CLOUD else None
            ),
            key_required=self._key_place != "none",
        )

    def _url(self, scheme: str, cloud: str, on_premise: str) -> str:
        """Return where the deployment is, with the path that it has there."""
        if self.deployment == CLOUD:
            return f"{scheme}s://{self.host or 'api.withsm.ai'}{cloud}"
        host = self.host or "localhost"
        return f"{scheme}://{host}{'' if ':' in host else ':9999'}{on_premise}"

    def _signed(self, url: str, secret: str | None, place: str) -> Handshake:
        """Put the key in its *place*."""
        name = self.key_name
        if not secret:
            return Handshake(url=url)
        match place:
            case "header-api-key":
                return Handshake(url=url, headers={name or "X-API-Key": secret})
            case "header-bearer":
                return Handshake(url=url, headers={name or "Authorization": f"Bearer {secret}"})
            case "query-api-key" | "query-token":
                name = name or ("api_key" if place == "query-api-key" else "token")
                return Handshake(url=f"{url}?{urlencode({name: secret})}")
            case "first-message":
                return Handshake(url=url, first_frames=(json_frame({name or "x-api-key": secret}),))
        return Handshake(url=url)

    def _request(self, options: Options, fields: dict[str, object], speed_field: str) -> str:
        """Write a request with these *fields*, and what both surfaces have in theirs."""
        body = {**fields, "voice": options.voice}
        if options.format.name != self.traits.formats[0] and self.rate_field:
            body[self.rate_field] = options.format.rate
        if self.speed is not None:
            body[speed_field] = self.speed
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
                if _TOO_LONG.search(words):
                    return Verdict(Scope.CONNECTION, InvalidText(words))
                if _LIMIT.search(words):
                    return Verdict(Scope.CONNECTION, self._limited(words))
                if self._key_place != "none":
                    return Verdict(Scope.CONNECTION, AuthError(f"{words} (check the key)"))
            case DialFailure(status=int()):
                return Verdict(Scope.CONNECTION, self._refused(fault))
        return super().verdict(fault, busy)

    def _is_full(self, words: str) -> bool:
        """Tell whether a 429 is about connections, and not about requests a minute."""
        return _CONNECTIONS.search(words) is not None

    def _limited(self, words: str) -> Error:
        """Tell by the words of a close which limit it is about; of connections if they say none."""
        if _RATE.search(words) and not _CONNECTIONS.search(words):
            return RateLimitError(words)
        return self._full(words)

    def _full(self, words: str, refusal: Error | None = None) -> Error:
        # The minute that every 429 asks to wait (docs: guides/errors) is that of requests; a place
        # is free again as soon as another connection is gone. Any other time is meant.
        asked, phase = (refusal.retry_after, refusal.phase) if refusal else (None, None)
        meant = asked not in (None, _MINUTE)
        wait = asked if meant or self.redial_after is None else self.redial_after
        return ConcurrencyLimitError(words, phase=phase, retry_after=wait)

    def _refused(self, fault: DialFailure) -> Error:
        """Turn an HTTP answer into ours: by its body, else by its status."""
        code, words, _ = _read(fault.body)
        error = status_error(attrs.evolve(fault, body=words))
        kind = _KINDS.get(code)
        if kind is not None and not isinstance(error, kind):
            error = kind(error.message, phase="dial", retry_after=error.retry_after)
        uncertain = kind is None or kind is RateLimitError
        if fault.status == _TOO_MANY and uncertain and self._is_full(words):
            return self._full(error.message, error)
        return error

    def _reported(self, event: Event) -> Error:
        """Turn an error event into ours; the codes are those of the REST surface."""
        names = ErrorFields(self.error_field, self.detail_field, self.code_field)
        code, words, second = _facts(event, names)
        words = words or "the server reported an error"
        if (kind := _KINDS.get(code)) is not None:
            full = kind is RateLimitError and _CONNECTIONS.search(words)
            return self._full(words) if full else kind(words)
        status = _STATUS.fullmatch(second) if isinstance(second, str) else None
        for_good = (
            code in _FOR_GOOD if status is None else status[1][0] == "4" and status[1] != "429"
        )
        return GenerationError(words, code=printable(code) or None, retryable=not for_good)


# --- errors ---------------------------------------------------------------------------------------


@attrs.frozen
class ErrorFields:
    """What an error's fields are called; the defaults are those of the REST surface."""

    error: str = "error"
    detail: str = "detail"
    code: str = "code"


def value(event: Event, name: str) -> object:
    """Read one field; None if it is not there, or cannot be read."""
    try:
        found: object = msgspec.json.decode(event[name]) if name in event else None
    except UNREADABLE:
        return None
    return found


def _facts(event: Event, names: ErrorFields) -> tuple[str, str, object]:
    """Return an error's code, the words for it, and its second code, in either form there is."""
    error = value(event, names.error)
    nested = error if isinstance(error, Mapping) else {}
    words = [value(event, names.detail), nested.get("message"), value(event, "message"), error]
    said = next((text for text in words if isinstance(text, str) and printable(text)), "")
    code = nested.get(names.code, error)
    return code if isinstance(code, str) else "", printable(said), value(event, names.code)


def _read(body: str) -> tuple[str, str, object]:
    """Return the same of the body of an answer, which may be anything."""
    try:
        return _facts(events.decode(body), ErrorFields())
    except UNREADABLE:
        return "", printable(body), None
