"""
What ElevenLabs' sockets and its HTTP surface have in common: settings, errors, audio.

The adapters are in `elevenlabs` and `_elevenlabs_rest`; their wire facts are cited there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlencode

import attrs
import msgspec
import pybase64

from ..adapter import (
    FLAG,
    WHOLE,
    Adapter,
    DialFailure,
    Handshake,
    Options,
    VoicePage,
    printable,
    said,
    status_error,
)
from ..errors import (
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    Error,
    GenerationError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RemoteProtocolError,
)
from . import _voices
from ._checks import one_of, within

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
_FORMATS = {"mulaw_8000": "ulaw_8000"}
HOSTS = {
    None: "api.elevenlabs.io",
    "us": "api.us.elevenlabs.io",
    "eu": "api.eu.residency.elevenlabs.io",
    "in": "api.in.residency.elevenlabs.io",
    "sg": "api.sg.residency.elevenlabs.io",
}
"""The last three are workspaces of their own, with other keys and voices."""
_WITH_LANGUAGE = frozenset({"eleven_flash_v2_5", "eleven_turbo_v2_5"})
# Characters in one request, by the vendor's page on models; for sockets none are published.
_MOST = (
    ("eleven_flash_v2_5", 40_000),
    ("eleven_turbo_v2_5", 40_000),
    ("eleven_flash_v2", 30_000),
    ("eleven_turbo_v2", 30_000),
    ("eleven_multilingual", 10_000),
)
_NORMALIZATIONS = (None, "auto", "on", "off")
_MAX_SEED = 4294967295
_MAX_DICTIONARIES = 3
_MAX_CHUNK = 500
_CONFLICT, POLICY = 409, 1008
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# --- settings -------------------------------------------------------------------------------------


def _pairs(value: Iterable[Iterable[str]] | str) -> tuple[tuple[str, ...], ...]:
    """Read pairs; from a command line they come as ``id:version,id:version``."""
    items: Iterable[Iterable[str]] = (
        [part.split(":") for part in value.split(",")] if isinstance(value, str) else value
    )
    return tuple(tuple(item) for item in items)


def _are_dictionaries(adapter: Adapter, _: object, value: tuple[tuple[object, ...], ...]) -> None:
    good = all(len(pair) == 2 and all(isinstance(id, str) and id for id in pair) for pair in value)
    if not good or len(value) > _MAX_DICTIONARIES:
        msg = f"pronunciation_dictionaries takes up to {_MAX_DICTIONARIES} pairs of id and version"
        raise ConfigError(msg, provider=adapter.name, phase="config")


def numbers(value: Iterable[float] | str | None) -> tuple[float, ...] | None:
    """Read numbers; from a command line they come with commas between."""
    if isinstance(value, str):
        return tuple(map(float, value.split(",")))
    return None if value is None else tuple(value)


def are_chunks(adapter: Adapter, _: object, value: tuple[float, ...] | None) -> None:
    """Check a `chunk_length_schedule`. Below 50 is not in the vendor's schema, and was seen."""
    sizes: tuple[object, ...] = value or ()
    good = all(isinstance(size, int | float) and 0 < size <= _MAX_CHUNK for size in sizes)
    if not good or value == ():
        msg = f"chunk_length_schedule takes numbers of characters, up to {_MAX_CHUNK}"
        raise ConfigError(msg, provider=adapter.name, phase="config")


@attrs.frozen(kw_only=True)
class ElevenLabsSettings(Adapter):
    """
    The options of both surfaces.

    Attributes:
        stability: 0 to 1; lower varies more.
        similarity_boost: 0 to 1; higher is closer to the voice.
        style: 0 to 1; exaggeration, of models from v2 on.
        use_speaker_boost: of models from v2 on.
        speed: 0.7 to 1.2.
        pronunciation_dictionaries: up to three pairs of a dictionary's id and its version's.
        seed: for the same audio again, as far as possible.
        apply_text_normalization: whether numbers and the like are spelled out: ``"auto"``,
            ``"on"``, ``"off"``.
        apply_language_text_normalization: the same by the rules of the language (Japanese).
        enable_logging: False asks for zero retention, which an enterprise has.
        region: ``"us"``, ``"eu"``, ``"in"``, ``"sg"``; the last three take keys of their own.
        with_timestamps: whether word times are asked for.
    """

    stability: float | None = attrs.field(default=None, validator=within(0, 1))
    similarity_boost: float | None = attrs.field(default=None, validator=within(0, 1))
    style: float | None = attrs.field(default=None, validator=within(0, 1))
    use_speaker_boost: bool | None = attrs.field(default=None, validator=FLAG)
    speed: float | None = attrs.field(default=None, validator=within(0.7, 1.2))
    pronunciation_dictionaries: tuple[tuple[str, ...], ...] = attrs.field(
        default=(), converter=_pairs, validator=_are_dictionaries
    )
    seed: int | None = attrs.field(default=None, validator=within(0, _MAX_SEED, WHOLE))
    apply_text_normalization: Literal["auto", "on", "off"] | None = attrs.field(
        default=None, validator=one_of(*_NORMALIZATIONS)
    )
    apply_language_text_normalization: bool | None = attrs.field(default=None, validator=FLAG)
    enable_logging: bool | None = attrs.field(default=None, validator=FLAG)
    region: Literal["us", "eu", "in", "sg"] | None = attrs.field(
        default=None, validator=one_of(*HOSTS)
    )
    with_timestamps: bool = attrs.field(default=True, validator=FLAG)

    @property
    def voice_settings(self) -> dict[str, object]:
        """What of the voice's own settings is overridden."""
        return present(
            stability=self.stability,
            similarity_boost=self.similarity_boost,
            style=self.style,
            use_speaker_boost=self.use_speaker_boost,
            speed=self.speed,
        )

    @property
    def locators(self) -> list[dict[str, str]]:
        """The pronunciation dictionaries as messages have them."""
        return [
            {"pronunciation_dictionary_id": id, "version_id": version}
            for id, version in self.pronunciation_dictionaries
        ]

    def list_voices(self, secret: str | None, page: str | None = None) -> Handshake:
        found = query(page_size=100, include_total_count=False, next_page_token=page)
        return Handshake(
            url=f"https://{HOSTS[self.region]}/v2/voices?{found}",
            headers={"xi-api-key": secret} if secret else {},
        )

    def decode_voices(self, body: bytes) -> VoicePage:
        return _voices.paged(body)

    def path(self, options: Options) -> str:
        """Return the host and the path of a voice; `options` has seen to it that it fits there."""
        return f"{HOSTS[self.region]}/v1/text-to-speech/{options.voice}"


def language_of(options: Options) -> str | None:
    """Return the language if the model is known to take one; others refuse or ignore it."""
    return options.language if options.model in _WITH_LANGUAGE else None


def most_characters(options: Options) -> int | None:
    """Return how many characters the model takes at once, where that is known."""
    return next((most for name, most in _MOST if (options.model or "").startswith(name)), None)


def wire_format(options: Options) -> str:
    """Return the vendor's name of the audio format."""
    return _FORMATS.get(options.format.name, options.format.name)


def present(**fields: object) -> dict[str, object]:
    """Return the fields that are set."""
    return {name: value for name, value in fields.items() if value is not None}


def query(**fields: object) -> str:
    """Return the fields that are set as a query."""
    return urlencode(
        {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in present(**fields).items()
        }
    )


# --- errors ---------------------------------------------------------------------------------------

_KINDS: tuple[tuple[re.Pattern[str], type[Error]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"quota|insufficient_credits|payment_required", QuotaError),
        (r"concurrent", ConcurrencyLimitError),
        (r"rate.limit|system.busy", RateLimitError),
        (r"(?:voice|model)\b.{0,80}\bnot found|(?:voice|model)_not_found", NotFoundError),
        (r"api.key|authenticat|unauthori[sz]ed|access_denied|subscription_required", AuthError),
    )
)
_IDLE = re.compile(r"input_timeout_exceeded|new text input within the timeout", re.IGNORECASE)
_FULL = re.compile(r"max_active_conversations|maximum simultaneous contexts", re.IGNORECASE)
_WRONG = re.compile(
    r"invalid|unsupported|validation|too_long|empty_text|max_character|not_available", re.IGNORECASE
)


def is_idle(words: str) -> bool:
    """Return whether the server let go of what had been quiet for too long."""
    return _IDLE.search(words) is not None


def passes(words: str) -> bool:
    """Return whether another connection would do: this one was idle, or had too many contexts."""
    return is_idle(words) or _FULL.search(words) is not None


def kind_of(words: str) -> type[Error] | None:
    """Return the error that an identifier, or the vendor's sentence, stands for."""
    return next((kind for pattern, kind in _KINDS if pattern.search(words)), None)


def reported(code: object, number: object, message: object) -> Error:
    """Turn an error message of the server's into ours: identifier, close code, sentence."""
    code = printable(code) if isinstance(code, str) else ""
    words = (printable(message) if isinstance(message, str) else "") or code
    words = words or "the server reported an error"
    if kind := kind_of(code or words):
        return kind(words)
    about = f"{code} {words}"
    wrong = number == POLICY or _WRONG.search(code or words) is not None
    return GenerationError(words, code=code or None, retryable=passes(about) or not wrong)


def refused(fault: DialFailure) -> Error:
    """Turn an HTTP answer into the error that its body names, else that of its status."""
    code, words = detail_of(fault.body)
    error = status_error(attrs.evolve(fault, body=words))
    error.retryable = error.retryable or fault.status == _CONFLICT
    kind = kind_of(code)
    if kind is None:
        return error
    return kind(error.message, phase="dial", retry_after=error.retry_after)


class _Detail(msgspec.Struct):
    """Either of the two shapes of an error; any field may be anything."""

    code: object = None
    status: object = None
    message: object = None
    msg: object = None


class _Refusal(msgspec.Struct):
    detail: _Detail | str | list[_Detail]


_refusals = msgspec.json.Decoder(_Refusal)


def detail_of(body: str) -> tuple[str, str]:
    """Return the identifier and the words of an error's body."""
    try:
        detail = _refusals.decode(body).detail
    except (*UNREADABLE, ValueError):
        return "", said(body)
    if isinstance(detail, list):
        detail = detail[0] if detail else ""
    if isinstance(detail, str):
        return "", printable(detail)
    code = next((it for it in (detail.code, detail.status) if isinstance(it, str)), "")
    words = (detail.message, detail.msg, code)
    return printable(code), printable(next((it for it in words if isinstance(it, str)), ""))


# --- audio ----------------------------------------------------------------------------------------


def decoded(audio: str) -> bytes:
    """Return the bytes of base64 that must be right."""
    try:
        return pybase64.b64decode(audio, validate=True)
    except ValueError as exc:
        raise RemoteProtocolError("audio is not valid base64") from exc
