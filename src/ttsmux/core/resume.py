"""
Where a speech that broke off goes on: a place in its text, and how much of its audio stays.

The place must lie where one word has ended and the next has not begun. Where the provider said when
it speaks which word, such places are known; all of them that lie in audio which nobody has read yet
will do, for that can be cut back, and the last one keeps the most. If the reader has all there is,
in the middle of a word, that word is said again from its beginning, for nobody can have understood
it. Where nothing is known after some place, how far the voice has come from there is an estimate,
and goes back one word: rather twice than never.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import attrs
import msgspec

from ..audio import AudioFormat, Mark, MarkKind
from ..text.cutting import speakable
from ..text.sentences import TAG
from .ledger import fold

_AHEAD = 48
"""Letters of the text that may be spoken as something else before marks are found in it again."""
_A_WORD, _A_CHARACTER = 0.2, 0.04
"""
Seconds, where nothing better is known: a word of five letters in 0.4 s, 150 words a minute. Where
the speech has said enough already, its own pace is known, and these are only shares of it.
"""
_CALIBRATED_BY = 3.0
"""Seconds of finished audio from which on that pace is taken."""
_SLOWEST, _FASTEST = 2.5, 0.4
_A_PAUSE = 0.06
"""Seconds between two words: so much of a word need not have been heard for it to be over."""
# Han, Kana, Thai, Lao, Khmer, Myanmar: written without spaces.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
# Compiled, and then kept by `re`, when a speech breaks off: these take milliseconds, being so wide.
_UNIT = rf"[{_SPACELESS}]|[^\s{_SPACELESS}]+"
_NO_SPACE_BETWEEN = rf"[{_SPACELESS}]"
_ATTACHED = re.compile(r"(?:[^\w\s]|_)*")
_ATTACHED_OR_CLOSING_TAG = re.compile(r"(?:</[A-Za-z][^<>]*>|[^\w\s<]|_)*")


@attrs.frozen(kw_only=True)
class Passage:
    """
    What one generation was to say, and what came of it.

    Attributes:
        text: all text of the speech.
        begin: where in it the text of the generation begins.
        end: where the text ends that it was sent.
        base: bytes of the speech's audio before that of the generation.
        read: bytes of the speech that were handed out.
        received: bytes of the speech that came.
        format: of that audio.
        marks: of the speech, in order.
        markup: whether ``<…>`` in the text is not spoken.
    """

    text: str = attrs.field(repr=False)
    begin: int
    end: int
    base: int
    read: int
    received: int
    format: AudioFormat
    marks: Sequence[Mark] = attrs.field(repr=False)
    markup: bool

    def bytes_at(self, seconds: float) -> int:
        """Return the place in the audio, at a whole sample."""
        return round(seconds * self.format.rate) * self.format.width


class Cut(msgspec.Struct, frozen=True):
    """
    Where a speech goes on.

    Attributes:
        at: the character of the text that is said next.
        keep: bytes of audio that stay.
        approximate: whether *at* is an estimate.
    """

    at: int
    keep: int
    approximate: bool


def find_cut(passage: Passage) -> Cut:
    """Decide where *passage* goes on, so that no word is lost, and none said twice if possible."""
    cut = _find(passage)
    return msgspec.structs.replace(cut, at=next_word(passage.text, cut.at))


def next_word(text: str, at: int) -> int:
    """Return where the white space ends that *text* may have there."""
    return len(text) - len(text[at:].lstrip())


def _find(passage: Passage) -> Cut:
    words = list(_spoken(passage))
    places = _places(passage, words)
    free = [place for place in places if place.hi >= passage.read]
    if free:
        best = next((place for place in reversed(free) if place.sure), free[-1])
        return Cut(best.at, best.hi, approximate=False)
    return _within_words(passage, words, places[-1])


def is_whole(passage: Passage) -> bool:
    """Return whether all of *passage* is proved to have been spoken, be it without an end."""
    words = list(_spoken(passage))
    if not words or not words[-1].said_when_it_stops:
        return False
    last = words[-1]
    assert last.stop is not None, "it is said"
    return last.stop <= passage.received and not speakable(passage.text[last.end : passage.end])


# --- marks in the text ----------------------------------------------------------------------------


class _Word(msgspec.Struct, frozen=True):
    """
    A mark that was found in the text.

    Attributes:
        begin, end: where in the text.
        start, stop: bytes; None where it is not known when it stops.
        following: bytes at which the next mark starts, if there is one.
        said_when_it_stops: whether *stop* is the provider's own word.
    """

    begin: int
    end: int
    start: int
    stop: int | None
    following: int | None
    said_when_it_stops: bool


def _is_letter(char: str) -> bool:
    """Return whether it is spoken, and in a mark; all else may be in one and not in the other."""
    return char.isalnum() or char in "&%@#" or unicodedata.category(char)[0] == "S"


def _letters(text: str) -> str:
    return "".join(filter(_is_letter, fold(text)))


def _spoken(passage: Passage) -> Iterator[_Word]:
    """
    Find the marks of *passage* in its text, in order.

    What was spoken may differ from the text (*$5*, *five dollars*), and what is told may be told
    twice. So a mark counts where it is next in the text; or a little ahead, if the mark behind it
    is next then.
    """
    text = passage.text[passage.begin : passage.end]
    if passage.markup:
        text = TAG.sub(lambda tag: " " * len(tag[0]), text)
    folded = fold(text)
    spots = [spot for spot, char in enumerate(folded) if _is_letter(char)]
    letters = "".join(folded[spot] for spot in spots)
    marks = _own_marks(passage)
    cursor = 0
    for number, (mark, said) in enumerate(marks):
        after = marks[number + 1] if number + 1 < len(marks) else None
        found = _find_mark(said, mark.kind, after and after[1], letters, spots, cursor)
        if found is None:
            continue
        cursor = found + len(said)
        following = None if after is None else passage.bytes_at(after[0].start)
        own = mark.stop > mark.start
        yield _Word(
            passage.begin + spots[found],
            passage.begin + spots[cursor - 1] + 1,
            passage.bytes_at(mark.start),
            passage.bytes_at(mark.stop) if own else following,
            following,
            own,
        )


def _own_marks(passage: Passage) -> list[tuple[Mark, str]]:
    """Return the marks of this generation, each with its letters; none twice, none without any."""
    first = bisect_left(passage.marks, passage.base, key=lambda mark: passage.bytes_at(mark.start))
    found: list[tuple[Mark, str]] = []
    for mark in passage.marks[first:]:
        again = (
            found
            and mark.kind is MarkKind.WORD
            and (mark.text, mark.start) == (found[-1][0].text, found[-1][0].start)
        )
        if not again and (said := _letters(mark.text)):
            found.append((mark, said))
    return found


def _find_mark(
    said: str, kind: MarkKind, then: str | None, letters: str, spots: Sequence[int], cursor: int
) -> int | None:
    """Return at which of *letters* a mark is found, or None."""

    def ends_word(at: int) -> bool:
        return at == len(letters) or spots[at] > spots[at - 1] + 1

    stop = cursor + len(said)
    if letters.startswith(said, cursor):
        whole = kind is MarkKind.CHARACTER or then is None or ends_word(stop)
        if whole or letters.startswith(then or "", stop):
            return cursor
    if kind is MarkKind.CHARACTER or then is None:
        return None
    at = letters.find(said, cursor + 1, stop + _AHEAD)
    while at >= 0:
        if spots[at] > spots[at - 1] + 1 and letters.startswith(then, at + len(said)):
            return at
        at = letters.find(said, at + 1, stop + _AHEAD)
    return None


# --- places between words -------------------------------------------------------------------------


class _Place(msgspec.Struct, frozen=True):
    """
    A place between two words.

    Attributes:
        at: where in the text the second one begins, or its white space.
        hi: the byte of the audio at which it begins, as far as there is any.
        sure: whether the provider has said so.
    """

    at: int
    hi: int
    sure: bool


def _places(passage: Passage, words: Sequence[_Word]) -> list[_Place]:
    """List the places in the audio received that lie between two words, in order."""
    first = next((mark.start for mark, _ in _own_marks(passage)), None)
    hi = passage.base if first is None else min(passage.bytes_at(first), passage.received)
    found = [_Place(passage.begin, max(hi, passage.base), sure=True)]
    for word in words:
        at = _boundary(passage, word.end)
        if at is None or word.stop is None or word.stop > passage.received:
            continue
        if word.following is not None:
            hi = min(word.following, passage.received)
        elif speakable(passage.text[word.end : passage.end]):
            hi = word.stop
        else:
            hi = passage.received
        found.append(_Place(at, max(hi, word.stop, found[-1].hi), word.following is not None))
    return found


def _boundary(passage: Passage, at: int) -> int | None:
    """Return the end of the word that ends at *at* with all that sticks to it, or None."""
    text = passage.text
    attached = _ATTACHED_OR_CLOSING_TAG if passage.markup else _ATTACHED
    found = attached.match(text, at)
    assert found is not None, "nothing may be attached"
    stop = found.end()
    if stop >= len(text) or text[stop].isspace() or text[stop] == "<":
        return stop
    unspaced = re.compile(_NO_SPACE_BETWEEN)
    spaceless = unspaced.match(text, stop) or unspaced.match(text, stop - 1)
    return stop if spaceless else None


def _within_words(passage: Passage, words: Sequence[_Word], last: _Place) -> Cut:
    """Decide where to go on after *last*, if the reader is beyond it, and so in some word."""
    taking_time = list(_units(passage, last.at, passage.end))
    units = [unit for unit in taking_time if speakable(unit[0])]
    beyond = next(
        (
            word
            for word in words
            if word.end > last.at and word.stop is not None and word.stop > passage.read
        ),
        None,
    )
    most = len(units) - 1
    if beyond is not None:
        before = bisect_left(units, beyond.end, key=lambda unit: unit.end())
        if before == 0:
            return Cut(last.at, passage.read, approximate=False)
        if beyond.start <= passage.read:
            return Cut(units[before].start(), passage.read, approximate=False)
        most = before - 1  # the voice had not come so far
    index = min(_spoken_units(passage, taking_time, last), most)
    at = units[index].start() if index > 0 else last.at
    return Cut(at, passage.read, approximate=True)


def _spoken_units(passage: Passage, units: Sequence[re.Match[str]], last: _Place) -> int:
    """Estimate how many words among *units* are over, less one."""
    left = passage.format.seconds(passage.read - last.hi) / _pace(passage) + _A_PAUSE
    count = 0
    for unit in units:
        left -= _weight(unit)
        if left < 0:
            break
        count += speakable(unit[0])
    return max(0, count - 1)


def _pace(passage: Passage) -> float:
    """Return how long the speech takes for what should take a second, as far as it has told."""
    said = passage.format.seconds(passage.base)
    if said < _CALIBRATED_BY:
        return 1.0
    weight = sum(map(_weight, _units(passage, 0, passage.begin)))
    return min(_SLOWEST, max(_FASTEST, said / weight)) if weight else 1.0


def _units(passage: Passage, begin: int, end: int) -> Iterator[re.Match[str]]:
    """Find what takes time in that part of the text: what is spoken as one word, and dashes."""
    text = passage.text
    if passage.markup:
        text = TAG.sub(lambda tag: " " * len(tag[0]), text)
    yield from re.compile(_UNIT).finditer(text, begin, end)


def _weight(unit: re.Match[str]) -> float:
    return _A_WORD + _A_CHARACTER * len(unit[0])
