"""What a Gradium ``setup`` message may say, and what is wrong with one that may not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import msgspec

from .session import JSON
from .sound import Encoding
from .text import TextFeed

if TYPE_CHECKING:
    from .gradium import Gradium

PROTOCOL, POLICY, INTERNAL = 1002, 1008, 1011
NATIVE_RATE = 48000
FRAME_SIZE = 3840

# Markup is known only when it is whole in one message: a tag that was cut in two is read aloud.
MARKUP = re.compile(r'(<flush>|<break\s+time="[0-9]+(?:[.][0-9]+)?s"\s*/>)')

FORMATS: Mapping[str, Encoding] = {
    "wav": Encoding(NATIVE_RATE, wav=True),
    "pcm": Encoding(NATIVE_RATE),
    **{f"pcm_{rate}": Encoding(rate) for rate in (8000, 16000, 22050, 24000, 44100, 48000)},
    "ulaw_8000": Encoding(8000, "mulaw"),
    "alaw_8000": Encoding(8000, "alaw"),
}

ID_FIELDS = ("client_req_id", "client_request_id")

# What a setup may hold besides its type, and what the server rejects in json_config.
SETUP: Mapping[str, type | tuple[type, ...]] = {
    "model_name": str,
    "voice_id": str,
    "voice": str,
    "output_format": str,
    "json_config": (str, dict),
    "pronunciation_id": str,
    "close_ws_on_eos": bool,
    "retry_for_s": (int, float),
}
RANGES: Mapping[str, tuple[float, float]] = {
    "temp": (0, 1.5),
    "cfg_coef": (1, 10),
    "padding_bonus": (-5, 5),
}

LANGUAGES = ("en", "fr", "fr-be", "fr-ch", "de", "es", "pt")
NO_VOICES = ("nope", "missing")


class Refused(Exception):
    """A message that is answered with an error; args are the text and the code."""


@attrs.frozen
class Setup:
    """What a setup message asks for."""

    model: str
    voice: str
    language: str | None
    encoding: Encoding
    close_on_eos: bool


def feed_marked_up(feed: TextFeed, text: str) -> None:
    """Add *text* to *feed*, its tags as what they stand for."""
    for part in MARKUP.split(text):
        if not MARKUP.fullmatch(part):
            feed.add(part)
        elif part == "<flush>":
            feed.flush()
        else:
            feed.pause(min(max(float(part.split('"')[1][:-1]), 0.1), 2.0))


def read_id(message: JSON) -> tuple[str, str | None]:
    """Return the name of the id field and the id. Both spellings are in use."""
    for field in ID_FIELDS:
        if (id := message.get(field)) is not None:
            if not isinstance(id, str):
                raise Refused(f"{field} must be a string", POLICY)
            return field, id
    return "client_req_id", None


def unknown_fields(message: JSON) -> list[str]:
    """List what a setup message says that no page knows."""
    return sorted(message.keys() - SETUP.keys() - {"type", *ID_FIELDS})


def read_setup(provider: Gradium, message: JSON) -> Setup:
    """Check a setup message. Raises `Refused`."""
    for name, kind in SETUP.items():
        value = message.get(name)
        # A bool is an int to Python, not to JSON.
        if value is not None and (
            not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        ):
            raise Refused(f"Malformed setup: {name} has the wrong type", POLICY)
    output_format = message.get("output_format") or "wav"
    if output_format not in FORMATS:
        raise Refused(f"Unsupported output format {output_format}", POLICY)
    config = _read_config(message.get("json_config"))
    voice = str(message.get("voice_id") or message.get("voice") or "default")
    known = provider.voices
    if (voice not in known) if known is not None else (voice in NO_VOICES):
        raise Refused(f"Embeddings not found for {voice}", INTERNAL)
    dictionary = message.get("pronunciation_id")
    if dictionary is not None and dictionary not in provider.pronunciations:
        raise Refused(f"Pronunciation dictionary {dictionary} not found.", INTERNAL)
    rules = str(config.get("rewrite_rules", ""))
    return Setup(
        model=str(message.get("model_name") or "default"),
        voice=voice,
        language=rules if rules in LANGUAGES else None,
        encoding=FORMATS[str(output_format)],
        close_on_eos=message.get("close_ws_on_eos") is not False,
    )


def _read_config(config: object) -> JSON:
    if isinstance(config, str):
        try:
            config = msgspec.json.decode(config)
        except msgspec.DecodeError:
            raise Refused("Malformed setup: json_config is not JSON", POLICY) from None
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise Refused("Malformed setup: json_config is not an object", POLICY)
    for name, (low, high) in RANGES.items():
        value = config.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(f"Malformed setup: {name} must be a number", POLICY)
        if not low <= value <= high:
            raise Refused(f"{name} should be between {low} and {high}", INTERNAL)
    return config
