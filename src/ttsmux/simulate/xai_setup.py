"""What xAI's socket and its HTTP surface have in common: voices, codecs, the spelling of times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

from .engines import Word
from .sound import Codec

BUILT_IN = """
altair ara atlas aurora carina castor celeste cosmo eve helios helix iris kepler leo liora lumen
luna lux naksh orion perseus rex rigel sal sirius ursa zagan zenith
"""
VOICES = frozenset(BUILT_IN.split())
CODECS: Mapping[str, Codec] = {"pcm": "pcm", "mulaw": "mulaw", "ulaw": "mulaw", "alaw": "alaw"}
LANGUAGE = re.compile(r"[A-Za-z]{2,4}(-[A-Za-z0-9]{2,8})*")


@attrs.frozen
class Timing:
    """Characters, and when each is heard: seconds from the beginning."""

    chars: list[str]
    times: list[tuple[float, float]]


def spell(words: Iterable[Word], last_stop: float) -> Timing:
    """Spell words as characters, a word's time shared out evenly; spaces fill what is between."""
    chars: list[str] = []
    times: list[tuple[float, float]] = []
    for word in words:
        if last_stop:
            chars.append(" ")
            times.append((last_stop, word.start))
        step = (word.stop - word.start) / max(1, len(word.text))
        for index, char in enumerate(word.text):
            chars.append(char)
            times.append((word.start + index * step, word.start + (index + 1) * step))
        last_stop = word.stop
    return Timing(chars, [(round(start, 4), round(stop, 4)) for start, stop in times])
