"""What ElevenLabs' URLs and messages may say, and what is wrong with those that may not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import attrs

from .engines import Word
from .sound import Encoding
from .speaking import JSON

MAX_CONTEXTS = 5
MAX_TIMEOUT = 180
DEFAULT_TIMEOUT = 20
SCHEDULE = (120.0, 160.0, 250.0, 290.0)
TRIGGER_AT = 50
POLICY, INTERNAL = 1008, 1011

FORMATS: Mapping[str, Encoding] = {
    **{f"pcm_{rate}": Encoding(rate) for rate in (8000, 16000, 22050, 24000, 44100, 48000)},
    "ulaw_8000": Encoding(8000, "mulaw"),
    "alaw_8000": Encoding(8000, "alaw"),
}
# Those of the page that have no engine or codec here.
NOT_SIMULATED = re.compile(r"(?:mp3|opus)_[0-9]+_[0-9]+|pcm_32000")

WITH_LANGUAGE = ("eleven_flash_v2_5", "eleven_turbo_v2_5")
MODELS = (
    *WITH_LANGUAGE,
    "eleven_flash_v2",
    "eleven_turbo_v2",
    "eleven_multilingual_v2",
    "eleven_multilingual_v1",
    "eleven_monolingual_v1",
)
DEFAULT_MODEL = "eleven_multilingual_v2"
NO_VOICES = ("nope", "missing")
# Characters that a model takes in one request; the first that begins so counts.
LIMITS = (
    ("eleven_v3", 3_000),
    ("eleven_multilingual", 10_000),
    ("eleven_flash_v2_5", 40_000),
    ("eleven_turbo_v2_5", 40_000),
)
LIMIT = 30_000

RANGES: Mapping[str, tuple[float, float]] = {
    "stability": (0, 1),
    "similarity_boost": (0, 1),
    "style": (0, 1),
    "speed": (0.7, 1.2),
}


class Refused(Exception):
    """What is answered with an error; args are the identifier and the words."""


@attrs.frozen
class Refusal:
    """An HTTP error: *kind* is the ``type`` of its body."""

    status: int
    kind: str
    code: str
    message: str


def _is_flag(value: str) -> bool:
    return value in ("true", "false")


def _is_whole(low: int, high: int) -> Callable[[str], bool]:
    return lambda value: (
        re.fullmatch(r"[0-9]{1,10}", value) is not None and (low <= int(value) <= high)
    )


# What a socket's query may say besides model, format and language.
QUERY: Mapping[str, Callable[[str], bool]] = {
    "enable_logging": _is_flag,
    "enable_ssml_parsing": _is_flag,
    "inactivity_timeout": _is_whole(1, MAX_TIMEOUT),
    "sync_alignment": _is_flag,
    "auto_mode": _is_flag,
    "apply_text_normalization": lambda value: value in ("auto", "on", "off"),
    "apply_language_text_normalization": _is_flag,
    "seed": _is_whole(0, 4294967295),
    "authorization": bool,
    "single_use_token": bool,
}
LOOKED_AT = ("model_id", "output_format", "language_code")


def check_query(query: Mapping[str, str]) -> Refusal | None:
    """Say what is wrong with a socket's query, or None."""
    for name, accepts in QUERY.items():
        if name in query and not accepts(query[name]):
            return Refusal(400, "validation_error", "invalid_parameters", f"invalid {name}")
    return check_format(query) or check_model(
        query.get("model_id", DEFAULT_MODEL), query.get("language_code")
    )


def check_format(query: Mapping[str, str]) -> Refusal | None:
    """Say what is wrong with the format, or None."""
    name = query.get("output_format", "mp3_44100_128")
    if name in FORMATS:
        return None
    what = "is not simulated" if NOT_SIMULATED.fullmatch(name) else "is invalid"
    return Refusal(
        400, "validation_error", "invalid_output_format", f"output_format {name!r} {what}"
    )


def check_model(model: object, language: object, others: Sequence[str] = ()) -> Refusal | None:
    """Say what is wrong with a model and its language, or None."""
    if model not in MODELS and model not in others:
        # Those of the dialogue sockets among them.
        words = f"model {model!r} cannot be used here"
        return Refusal(400, "invalid_request", "unsupported_model", words)
    if language is None:
        return None
    # The vendor's pages disagree on whether such a code is refused or ignored.
    if not isinstance(language, str) or not re.fullmatch("[a-z]{2}", language):
        words = "language_code is two letters of ISO 639-1"
        return Refusal(400, "validation_error", "invalid_parameters", words)
    if model not in WITH_LANGUAGE:
        words = f"model {model!r} takes no language_code"
        return Refusal(400, "validation_error", "invalid_parameters", words)
    return None


def limit_of(model: object) -> int:
    """Return how many characters a model takes at once."""
    return next((size for name, size in LIMITS if str(model).startswith(name)), LIMIT)


def check_settings(settings: object) -> None:
    """Check voice settings. Raises `Refused`."""
    if settings is None:
        return
    if not isinstance(settings, dict):
        raise Refused("invalid_voice_settings", "voice_settings must be an object")
    for name, value in settings.items():
        if name == "use_speaker_boost":
            if not isinstance(value, bool):
                raise Refused("invalid_voice_settings", f"{name} must be true or false")
            continue
        low, high = RANGES.get(name, (1, 0))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            raise Refused("invalid_voice_settings", f"voice setting {name} cannot be {value!r}")


def read_schedule(config: object) -> tuple[float, ...]:
    """Read a ``generation_config``. Raises `Refused`."""
    if config is None:
        return SCHEDULE
    sizes = config.get("chunk_length_schedule") if isinstance(config, dict) else None
    if not isinstance(sizes, list) or not sizes:
        raise Refused("invalid_parameters", "generation_config needs a chunk_length_schedule")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | float) or not 50 <= size <= 500:
            raise Refused("invalid_parameters", "chunk_length_schedule has 50 to 500 in it")
    return tuple(sizes)


def check_locators(locators: object) -> None:
    """Check pronunciation dictionaries. Raises `Refused`."""
    names = {"pronunciation_dictionary_id", "version_id"}
    if locators is None:
        return
    good = isinstance(locators, list) and len(locators) <= 3
    if not good or any(not isinstance(it, dict) or it.keys() != names for it in _list(locators)):
        words = "pronunciation_dictionary_locators are up to 3 of a dictionary and its version"
        raise Refused("invalid_parameters", words)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


SETTLED = ("voice_settings", "generation_config", "pronunciation_dictionary_locators")
COMMON = ("text", "flush", *SETTLED)
MULTI = frozenset({*COMMON, "context_id", "close_context", "close_socket"})
SINGLE = frozenset({*COMMON, "try_trigger_generation", "generator_config"})


def check_fields(message: JSON) -> None:
    """Check the types of what any message may have. Raises `Refused`."""
    for name in ("text", "context_id"):
        if name in message and not isinstance(message[name], str):
            raise Refused("invalid_parameters", f"{name} must be a string")
    for name in ("flush", "close_context", "close_socket", "try_trigger_generation"):
        if name in message and not isinstance(message[name], bool):
            raise Refused("invalid_parameters", f"{name} must be true or false")


def characters(word: Word) -> list[tuple[str, float, float]]:
    """Share a word's time out evenly among its characters; the space behind it takes none."""
    step = (word.stop - word.start) / len(word.text)
    chars = [
        (char, word.start + index * step, word.start + (index + 1) * step)
        for index, char in enumerate(word.text)
    ]
    return [*chars, (" ", word.stop, word.stop)]
