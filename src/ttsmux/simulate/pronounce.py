"""
xAI's ``replace`` map: its limits, and replacing in text that arrives in pieces.

Matching is documented as case-insensitive, by whole words, longest match first, across deltas, and
by character in scripts that put no spaces between words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_ENTRIES = 200
MAX_KEY = 100
MAX_VALUE = 128

# Han, Kana, Thai, Lao, Khmer, Myanmar: written without spaces.
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"


def check_map(replace: object) -> str | None:
    """Say what is wrong with a map, or None."""
    if not isinstance(replace, dict):
        return "replace must be an object of strings"
    if len(replace) > MAX_ENTRIES:
        return "replace has too many entries"
    phrases: set[str] = set()
    for key, value in replace.items():
        if not isinstance(value, str):
            return f'replace value of "{key}" must be a string'
        if not key.strip() or len(key) > MAX_KEY:
            return f"replace keys must have 1 to {MAX_KEY} characters"
        if not re.fullmatch(r"(?:[^\W_]|['’ ])+", key):
            return f'replace key "{key}" may not contain punctuation or symbols'
        if len(value) > MAX_VALUE:
            return f'replace value of "{key}" has more than {MAX_VALUE} characters'
        phrase = " ".join(key.lower().split())
        if phrase in phrases:
            return f'replace key "{key}" is there twice'
        phrases.add(phrase)
    return None


class Pronunciation:
    """Replaces phrases in one utterance's text. *length* counts what has come out."""

    def __init__(self, replace: Mapping[str, str]) -> None:
        self.length = 0
        self._values = {_fold(key): value for key, value in replace.items()}
        keys = sorted((key.split() for key in replace), key=lambda key: -len(" ".join(key)))
        self._pattern = re.compile("|".join(map(_pattern, keys)), re.IGNORECASE) if keys else None
        # Enough to hold a phrase that has begun and a word that may go on.
        self._hold = max(map(len, keys), default=0) + 1
        self._text = ""

    def advance(self, text: str, *, final: bool) -> str:
        """Append *text* and return what is certain by now, replaced; everything if *final*."""
        if self._pattern is None:
            self.length += len(text)
            return text
        self._text += text
        border = len(self._text) if final else self._border()
        for match in self._pattern.finditer(self._text):
            if match.start() < border < match.end():
                border = match.start()
        ready = self._pattern.sub(self._value, self._text[:border])
        self._text = self._text[border:]
        self.length += len(ready)
        return ready

    def _border(self) -> int:
        starts = [match.start() for match in re.finditer(r"\S+", self._text)]
        return starts[-self._hold] if len(starts) >= self._hold else 0

    def _value(self, match: re.Match[str]) -> str:
        return self._values[_fold(match[0])]


def _fold(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def _pattern(words: list[str]) -> str:
    before = "" if re.match(rf"[{_NO_SPACES}]", words[0]) else r"(?<!\w)"
    after = "" if re.search(rf"[{_NO_SPACES}]$", words[-1]) else r"(?!\w)"
    return before + r"\s+".join(map(re.escape, words)) + after
