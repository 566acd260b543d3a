"""What a message to KugelAudio may set, what is wrong with it, and what an error looks like."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .sound import Encoding
from .speaking import JSON

NATIVE_RATE = 24000
MAX_TEXT = 10_000
MAX_DICTIONARIES = 50
RATES = (8000, 16000, 22050, 24000, 44100)
FORMATS: Mapping[str, Encoding] = {
    **{f"pcm_{rate}": Encoding(rate) for rate in (8000, 16000, 22050, 24000)},
    "ulaw_8000": Encoding(8000, "mulaw"),
    "alaw_8000": Encoding(8000, "alaw"),
}
NAMES: Mapping[str, str] = {"pcm": "pcm_s16le", "mulaw": "mulaw", "alaw": "alaw"}
CODES = """
de en nl sv da no fr es it pt ro pl cs uk bg sk sl hr sr fi hu el tr ru zh ja ko vi yue th id ms ar
hi he fa ur bn ta
"""
LANGUAGES = frozenset(CODES.split())
NO_VOICES: tuple[object, ...] = (99999999, "nope")

VOICE: Mapping[str, tuple[type, ...]] = {
    "voice_id": (int, str),
    "cfg_scale": (int, float),
    "max_new_tokens": (int,),
}
"""In a context, these belong into ``voice_settings`` and nowhere else."""
COMMON: Mapping[str, tuple[type, ...]] = {
    "model_id": (str,),
    "temperature": (int, float),
    "sample_rate": (int,),
    "output_format": (str,),
    "normalize": (bool,),
    "language": (str,),
    "speed": (int, float),
    "project_id": (int,),
    "dictionary_ids": (list,),
}
SOCKETS: Mapping[str, tuple[type, ...]] = {"word_timestamps": (bool,), "speaker_prefix": (bool,)}
TURNS: Mapping[str, tuple[type, ...]] = {
    "flush_timeout_ms": (int,),
    "max_buffer_length": (int,),
}
UPDATABLE = ("cfg_scale", "temperature", "speed", "max_new_tokens", "language", "normalize")
RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 1),
    "speed": (0.8, 1.2),
    "max_new_tokens": (1, 2048),
}
STATUS: Mapping[str, int] = {
    "VALIDATION_ERROR": 400,
    "MISSING_VOICE_ID": 400,
    "UNAUTHORIZED": 403,
    "INSUFFICIENT_CREDITS": 402,
    "NOT_FOUND": 404,
    "RATE_LIMITED": 429,
    "TOO_MANY_CONTEXTS": 429,
    "INTERNAL_ERROR": 500,
    "MODEL_UNAVAILABLE": 503,
}


class Refused(Exception):
    """A message that is answered with an error; args are the text and the error_code."""


@attrs.frozen
class Settings:
    """What a text is to be spoken with."""

    voice: str
    model: str
    language: str | None
    encoding: Encoding
    stamps: bool


def check_types(message: JSON, known: Mapping[str, tuple[type, ...]]) -> None:
    """Raise `Refused` unless every known field has the type that it should have."""
    for name, kinds in known.items():
        value = message.get(name)
        # A bool is an int to Python, not to JSON.
        wrong = isinstance(value, bool) and bool not in kinds
        if value is not None and (wrong or not isinstance(value, kinds)):
            raise Refused(f"{name} has the wrong type", "VALIDATION_ERROR")
    for name, (low, high) in RANGES.items():
        value = message.get(name)
        if name in known and isinstance(value, int | float) and not low <= value <= high:
            raise Refused(f"{name} must be between {low} and {high}", "VALIDATION_ERROR")


def check_text(text: object) -> str:
    """Return *text*, if it is one. Raises `Refused`."""
    if not isinstance(text, str):
        raise Refused("text must be a string", "VALIDATION_ERROR")
    if len(text) > MAX_TEXT:
        raise Refused(f"text has more than {MAX_TEXT} characters", "VALIDATION_ERROR")
    return text


def read_settings(found: JSON, voices: tuple[str, ...] | None, *, lenient: bool) -> Settings:
    """
    Check what a text is to be spoken with, wherever it was said. Raises `Refused`.

    *lenient*: a rate that is not the format's is ignored.
    """
    voice = found.get("voice_id")
    if voice is None:
        raise Refused("voice_id is required", "MISSING_VOICE_ID")
    if (str(voice) not in voices) if voices is not None else (voice in NO_VOICES):
        raise Refused("Voice not found", "NOT_FOUND")
    language = found.get("language")
    if language is not None and language not in LANGUAGES:
        raise Refused(f"language {language!r} is not a supported code", "VALIDATION_ERROR")
    _check_dictionaries(found)
    return Settings(
        voice=str(voice),
        model=str(found.get("model_id") or "kugel-3"),
        language=None if language is None else str(language),
        encoding=_encoding(found, lenient=lenient),
        stamps=bool(found.get("word_timestamps")),
    )


def _encoding(found: JSON, *, lenient: bool) -> Encoding:
    name, rate = found.get("output_format"), found.get("sample_rate")
    if rate is not None and rate not in RATES:
        raise Refused(f"sample_rate {rate} is not supported", "VALIDATION_ERROR")
    if name is None:
        return Encoding(NATIVE_RATE if rate is None else int(str(rate)))
    if name not in FORMATS:
        raise Refused(f"output_format {name!r} is not supported", "VALIDATION_ERROR")
    encoding = FORMATS[str(name)]
    if rate not in (None, encoding.rate) and not lenient:
        raise Refused("output_format and sample_rate contradict each other", "VALIDATION_ERROR")
    return encoding


def _check_dictionaries(found: JSON) -> None:
    ids = found.get("dictionary_ids")
    if not isinstance(ids, list):
        return
    if any(type(id) is not int for id in ids) or len(ids) > MAX_DICTIONARIES:
        raise Refused(f"dictionary_ids: {MAX_DICTIONARIES} numbers at most", "VALIDATION_ERROR")
    if ids and found.get("project_id") is None:
        raise Refused("dictionary_ids need project_id", "VALIDATION_ERROR")
