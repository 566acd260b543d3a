"""
What all engines share: the words, the sound, the interface, the errors.

An engine's words are the text's words as `str.split` sees them, all of them and in order,
whatever the engine makes of them; a simulator may therefore count on finding each in the text.
"""

import re
from typing import Final, Protocol

import attrs

RATES: Final = (8000, 16000, 22050, 24000, 44100, 48000)

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@attrs.frozen
class Word:
    """A word of the text and where it sounds, in seconds from the start of its utterance."""

    text: str
    start: float
    stop: float


@attrs.frozen
class Utterance:
    """Sound, s16le mono at *rate* Hz, and the words in it."""

    pcm: bytes = attrs.field(repr=lambda pcm: f"<{len(pcm)} bytes>")
    rate: int
    words: tuple[Word, ...]

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate


class Engine(Protocol):
    """
    Something that turns text into an `Utterance`.

    *streams_words* says that text may be fed a word at a time with no loss; otherwise the
    engine wants whole sentences.
    """

    name: str
    streams_words: bool

    def describe(self) -> str:
        """Say in one line for humans which engine this is, which version, from where."""
        ...

    def speak(
        self,
        text: str,
        *,
        voice: str,
        language: str | None,
        tag: int,
        rate: int,
        first_word: int = 0,
    ) -> Utterance:
        """
        Block until *text* is sound at *rate*, which is one of `RATES`.

        *tag* (0 to 255) names the generation and *first_word* counts the words it had before;
        an engine whose sound can carry them writes them into it. May be called from any
        thread. Raises `EngineFailed` when there is no sound to be had.
        """
        ...

    def close(self) -> None:
        """End what the engine started. Idempotent."""
        ...


class EngineUnavailable(Exception):
    """The engine cannot be had on this machine; the message says what to install."""


class EngineFailed(Exception):
    """The engine could not speak this time, or is closed; the next call may succeed."""


class EngineTimeout(EngineFailed):
    """The engine did not answer by its deadline."""


def check_speakable(rate: int, tag: int) -> None:
    """Raise ValueError for a rate or a tag that no engine takes."""
    if rate not in RATES:
        raise ValueError(f"cannot speak at {rate} Hz; the rates are {', '.join(map(str, RATES))}")
    if not 0 <= tag <= 255:
        raise ValueError(f"the tag must be 0 to 255, not {tag}")


def encodable(text: str) -> str:
    """Replace lone surrogates, which no encoding can carry, one for one."""
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
