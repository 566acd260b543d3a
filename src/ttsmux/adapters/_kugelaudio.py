"""
What KugelAudio's sockets and its HTTP surface have in common: options, settings, errors.

Wire facts are from docs.kugelaudio.com (stream-input, audio-formats, errors).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import ClassVar

import attrs
import msgspec

from ..adapter import (
    FLAG,
    WHOLE,
    Adapter,
    Closed,
    DialFailure,
    Failed,
    Handshake,
    Input,
    Options,
    Traits,
    Verdict,
    VoicePage,
    printable,
)
from ..errors import (
    AtCapacity,
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    EmptyAudio,
    Error,
    GenerationError,
    InvalidVoice,
    NotFoundError,
    QuotaError,
    RateLimitError,
)
from . import _voices
from ._checks import within

KINDS: dict[object, type[Error]] = {
    "VALIDATION_ERROR": ConfigError,
    "MISSING_VOICE_ID": InvalidVoice,
    "UNAUTHORIZED": AuthError,
    "INSUFFICIENT_CREDITS": QuotaError,
    "NOT_FOUND": NotFoundError,
    "RATE_LIMITED": RateLimitError,
    "TOO_MANY_CONTEXTS": ConcurrencyLimitError,
    "MODEL_UNAVAILABLE": AtCapacity,
    "EMPTY_AUDIO": EmptyAudio,
}
"""By `error_code`, which is what the vendor asks programs to look at (docs: errors)."""
CODES: dict[object, type[Error]] = {
    400: ConfigError,
    401: AuthError,
    402: QuotaError,
    403: AuthError,
    404: NotFoundError,
    413: ConfigError,
    422: ConfigError,
    429: RateLimitError,
    501: ConfigError,
    503: AtCapacity,
}
CLOSES: dict[int | None, type[Error]] = {
    4001: AuthError,
    4003: QuotaError,
    4029: RateLimitError,
    4500: AtCapacity,
}
_RESTARTING = (1012, 1013)
_RESTART_WAIT = 1.0
"""Seconds before a server that restarts or drains is dialled again (docs: errors)."""

# G.711 has another name here; 44,100 Hz has none: without one it is PCM at the rate asked for.
_FORMATS = {"mulaw_8000": "ulaw_8000", "pcm_44100": None}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_PREFIX = re.compile(r"\A(?:eu|us|global)-")
_MOST_DICTIONARIES = 50

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

HTTP = Traits(
    reusable=False,
    input=Input.WHOLE,
    # 10,000 by the docs; what a character is there is not said.
    max_text=8_000,
    ping=None,
    formats=(
        "pcm_24000",
        "pcm_8000",
        "pcm_16000",
        "pcm_22050",
        "pcm_44100",
        "mulaw_8000",
        "alaw_8000",
    ),
    voice_required=True,
    model="kugel-3.5",
    key_variable="KUGELAUDIO_API_KEY",
)
"""One text a connection, told at once; the sockets can do more."""


class Fault(msgspec.Struct):
    """What an error says, as a message or as an answer's body. Of any type, so as to be heard."""

    error: object = None
    error_code: object = None
    code: object = None
    request_id: object = None
    retry_after: object = None


faults = msgspec.json.Decoder(Fault)


def _ids(value: Iterable[int] | str | None) -> tuple[int, ...] | None:
    """Take a list of ids, or a string of them with commas between."""
    if isinstance(value, str):
        return tuple(int(word) for word in value.split(",") if word)
    return None if value is None else tuple(value)


@attrs.frozen(kw_only=True)
class KugelVoice(Adapter):
    """The options that sockets and HTTP have in common, and how errors are read."""

    name: ClassVar[str] = "kugelaudio"

    cfg_scale: float | None = attrs.field(default=None, validator=within(1.2, 2.5))
    temperature: float | None = attrs.field(default=None, validator=within(0, 1))
    max_new_tokens: int | None = attrs.field(default=None, validator=within(1, 2048, WHOLE))
    speed: float | None = attrs.field(default=None, validator=within(0.8, 1.2))
    normalize: bool | None = attrs.field(default=None, validator=FLAG)
    project_id: int | None = attrs.field(default=None, validator=within(0, 2**53, WHOLE))
    dictionary_ids: tuple[int, ...] | None = attrs.field(default=None, converter=_ids)

    def __attrs_post_init__(self) -> None:
        if self.language is not None and not _LANGUAGE.fullmatch(self.language):
            raise self.misuse("language is a bare code such as 'de', not 'de-DE'")
        ids = self.dictionary_ids or ()
        if not all(type(id) is int for id in ids) or len(ids) > _MOST_DICTIONARIES:
            raise self.misuse(f"dictionary_ids are whole numbers, {_MOST_DICTIONARIES} at most")
        if ids and self.project_id is None:
            raise self.misuse("dictionary_ids need the project_id that they belong to")

    def misuse(self, words: str) -> ConfigError:
        return ConfigError(words, provider=self.name, phase="config")

    def voice_settings(self, options: Options) -> dict[str, object]:
        """Return the voice, which is a number unless it is a handle, and what goes with it."""
        voice = options.voice
        number = voice is not None and _NUMBER.fullmatch(voice)
        return _given(
            voice_id=int(voice or 0) if number else voice,
            cfg_scale=self.cfg_scale,
            max_new_tokens=self.max_new_tokens,
        )

    def settings(self, options: Options) -> dict[str, object]:
        """Return the rest of what is set."""
        name = _FORMATS.get(options.format.name, options.format.name)
        return _given(
            model_id=options.model,
            output_format=name,
            sample_rate=None if name else options.format.rate,
            language=options.language,
            normalize=self.normalize,
            speed=self.speed,
            temperature=self.temperature,
            project_id=self.project_id,
            dictionary_ids=self.dictionary_ids,
        )

    def list_voices(self, secret: str | None, page: str | None = None) -> Handshake:
        url = f"https://{host(secret)}/v1/voices?limit=100&offset={page or 0}"
        return Handshake(url=url, headers=credentials(secret))

    def decode_voices(self, body: bytes) -> VoicePage:
        return _voices.counted(body)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        verdict = super().verdict(fault, busy)
        match fault:
            case Closed(code=code) if code in CLOSES:
                return Verdict(verdict.scope, CLOSES[code](verdict.error.message))
            case Closed(code=code) if code in _RESTARTING:
                verdict.error.retry_after = _RESTART_WAIT
            case DialFailure(status=int(), body=body):
                with contextlib.suppress(*UNREADABLE):
                    error = error_of(faults.decode(body))
                    if isinstance(error, ConfigError):  # which has many statuses: 400, 413, 501
                        error.phase = "dial"
                        return Verdict(verdict.scope, error)
        return verdict


def host(secret: str | None) -> str:
    """Return the host that the prefix of a key asks for."""
    return "api.eu.kugelaudio.com" if (secret or "").startswith("eu-") else "api.kugelaudio.com"


def credentials(secret: str | None) -> dict[str, str]:
    """Return the header with the key, without the prefix: the server knows none."""
    return {"X-API-Key": _PREFIX.sub("", secret)} if secret else {}


def error_of(fault: Fault) -> Error:
    """Turn the server's error into ours."""
    words = printable(fault.error) if isinstance(fault.error, str) else ""
    words = words or "the server reported an error"
    if isinstance(fault.request_id, str) and (request := printable(fault.request_id, 40)):
        words += f" (request {request})"
    name = fault.error_code if isinstance(fault.error_code, str) else None
    code = fault.code if isinstance(fault.code, int) else None
    wait = fault.retry_after
    seconds = float(min(wait, 3600)) if isinstance(wait, int) and wait > 0 else None
    kind = KINDS.get(name) or CODES.get(code)
    if kind is not None:
        return kind(words, retry_after=seconds)
    # An internal failure may pass; so may one that nobody has given a number.
    return GenerationError(
        words, code=name or code, retryable=code is None or code >= 500, retry_after=seconds
    )


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
