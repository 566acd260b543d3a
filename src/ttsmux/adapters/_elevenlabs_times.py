"""
When ElevenLabs speaks what: times of characters, on its sockets and over HTTP, to those of words.

Wire facts are from elevenlabs.io/docs (websockets, stream with timestamps); what the times count
from is in docs/providers/elevenlabs.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from ..adapter import Marks, Signal
from ._elevenlabs import UNREADABLE

NO_TIMES = msgspec.Raw(b"null")


class _Milliseconds(msgspec.Struct):
    """Times of characters on a socket, under all the names that they have had."""

    chars: list[str] = msgspec.field(default_factory=list)
    charStartTimesMs: list[float] | None = None  # noqa: N815 - theirs
    charsStartTimesMs: list[float] | None = None  # noqa: N815
    charDurationsMs: list[float] | None = None  # noqa: N815
    charsDurationsMs: list[float] | None = None  # noqa: N815


class _Seconds(msgspec.Struct):
    """Times of characters over HTTP."""

    characters: list[str]
    character_start_times_seconds: list[float]
    character_end_times_seconds: list[float]


_milliseconds = msgspec.json.Decoder(_Milliseconds | None)
_seconds = msgspec.json.Decoder(_Seconds | None)
_Unit = tuple[str, float, float]
_SPACES = re.compile(r"(\s+)")


class Track:
    """One generation's audio so far, and the word that its times have not finished."""

    __slots__ = ("_word", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes of audio."""
        self._word: list[_Unit] = []

    def words(self, id: str | None, characters: Iterable[_Unit]) -> list[Signal]:
        """Turn times of characters, counted from the start of the generation, into words'."""
        units: list[_Unit] = []
        last, again = 0.0, False
        for text, start, stop in characters:
            # Where the vendor's times start over they repeat what was told.
            again = again or start < last
            if again and start <= last:
                continue
            last = start
            # An entry may hold several characters, and spaces among them.
            for part in _SPACES.split(text):
                if not part or part.isspace():
                    units += self._joined() if part else []
                else:
                    self._word.append((part, start, stop))
        return _marks(id, units)

    def rest(self, id: str | None) -> list[Signal]:
        """Return the word that nothing follows."""
        return _marks(id, self._joined())

    def _joined(self) -> list[_Unit]:
        word, self._word = self._word, []
        return [("".join(part for part, _, _ in word), word[0][1], word[-1][2])] if word else []


def _marks(id: str | None, units: list[_Unit]) -> list[Signal]:
    return [Marks(tuple(units), id)] if units else []


def track(scratch: dict[str, object], id: str | None) -> Track:
    """Return what is remembered of a generation on this wire."""
    found = scratch.get(id or "")
    if not isinstance(found, Track):
        found = scratch[id or ""] = Track()
    return found


def in_milliseconds(raw: msgspec.Raw, begin: float) -> list[_Unit]:
    """Read characters with start and stop, in seconds after *begin*; nothing if they are odd."""
    if raw is NO_TIMES:
        return []
    try:
        times = _milliseconds.decode(raw) or _Milliseconds()
    except UNREADABLE:
        return []
    starts = times.charStartTimesMs or times.charsStartTimesMs or []
    lengths = times.charDurationsMs or times.charsDurationsMs or []
    if not len(times.chars) == len(starts) == len(lengths):
        return []
    return [
        (text, begin + start / 1000, begin + (start + length) / 1000)
        for text, start, length in zip(times.chars, starts, lengths, strict=True)
    ]


def in_seconds(raw: msgspec.Raw) -> list[_Unit]:
    """Read characters with start and stop in seconds; nothing where they make no sense."""
    try:
        times = _seconds.decode(raw)
    except UNREADABLE:
        return []
    if times is None:
        return []
    starts, stops = times.character_start_times_seconds, times.character_end_times_seconds
    if not len(times.characters) == len(starts) == len(stops):
        return []
    return list(zip(times.characters, starts, stops, strict=True))
