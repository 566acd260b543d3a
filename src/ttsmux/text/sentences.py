"""
Where one sentence ends and the next begins, in text that is still coming.

For providers that are given a whole text at a time: each sentence is a request of its own, and one
that is too long is cut between words. A place is decided only by what stands before it and by the
one character behind it, and never taken back; so the pieces are the same however the text comes in,
and put together they are the text. White space goes with what follows it. It is left out in two
places only: at the very end, and in front of a word that the limit would otherwise cut in two.

A sentence that is not seen costs a moment, for it is sent with the next one. One that is none is
heard. In doubt there is no end.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

__all__ = ["TAG", "split"]

# No tag is longer than 64 characters and its `>`.
TAG = re.compile(r"<(?=[^<>]{1,63}>)/?[A-Za-z][^<>]*>")
_LONGEST_TAG = 65

# Most providers take text piece by piece: what only cuts whole texts is compiled when one is cut.
_compiled = cache(re.compile)

# These end a sentence whatever follows: Arabic, Urdu, Devanagari, Armenian, Ethiopic, Chinese and
# Japanese. The others need white space behind them, for they also stand in numbers and names.
_STRONG = frozenset("؟۔।॥։።。！？｡")
_END = r"""[.!?…؟۔।॥։።。！？｡]++["'”’)\]}»›」』】）]*+"""
_MARKS = r"[.!?…؟۔।॥։።。！？｡]+"
_BLANK_LINE = r"\n[^\S\n]*+\n"
_PLACE = rf"({_END})|{_BLANK_LINE}"
_PLACE_OR_TAG = rf"{TAG.pattern}|{_PLACE}"

_BLANK = re.compile(r"\s*")
_SPOKEN = r"([^\W_])"
_SPOKEN_OR_TAG = rf"{TAG.pattern}|{_SPOKEN}"

# "M. Dupont" and "1 000" are often kept together by a space that is not to be broken at.
_UNBREAKABLE = "\u00a0\u2007\u202f"
# Where a sentence that is too long is cut: between words, and better behind a comma.
_GAP = rf"([,;:،؛—–]?)[^\S{_UNBREAKABLE}]+|([、，；：]+)"
_GAP_OR_TAG = rf"{TAG.pattern}|{_GAP}"

_TOKEN = re.compile(r"[^\s\"'(\[{«“‘„—–/]*\Z")
_LONGEST_TOKEN = 12
# One letter, or letters with full stops between: J. Smith, e.g., U.S., د., ق.م.
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")
_SHORTENED = """
mr mrs ms mx dr prof st mt jr sr hon rev gen col maj capt lt sgt cmdr adm gov sen rep pres
vs etc al cf approx dept est fig figs eq vol pp ed eds inc ltd co corp bros univ assn
jan feb mar apr jun jul aug sep sept oct nov dec
hr fr nr bzw usw ca bspw evtl ggf vgl mme mlle av env sra srta dra ud uds
هـ إلخ الخ
"""
_ABBREVIATIONS = frozenset(_SHORTENED.split())
_ZERO_WIDTH_JOINER = "\u200d"
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
_LONGEST_GRAPHEME = 16


def split(
    text: str, *, limit: int | None, markup: bool, settled: int, over: bool
) -> tuple[list[str], str]:
    """
    Return the pieces of *text* that are sure, none of them blank, and the rest.

    Args:
        limit: characters in a piece at most.
        markup: whether tags must stay whole, and what stands in them ends nothing.
        settled: where a tag begins that is not finished; the length of *text* if there is none.
        over: nothing more comes that belongs to this text. The rest is then blank.
    """
    pieces: list[str] = []
    at = 0
    splitter = _Splitter(text, limit, markup, len(text) if over else settled, over)
    while (found := splitter.next(at)) is not None:
        begin, at = found
        pieces.append(text[begin:at])
    return pieces, text[at:]


class _Splitter:
    """One text, and the places in it."""

    def __init__(
        self, text: str, limit: int | None, markup: bool, settled: int, over: bool
    ) -> None:
        self.text = text
        self.limit = limit
        self.markup = markup
        self.settled = settled
        self.over = over

    def next(self, start: int) -> tuple[int, int] | None:
        """Return where the piece that follows *start* begins and ends, or None to wait for more."""
        text, limit = self.text, self.limit
        blank = _BLANK.match(text, start)
        bare = blank.end() if blank else start
        if bare == len(text):
            return None
        end = self._sentence(start, bare)
        if end is not None:
            return start, end
        if limit is None or len(text) - start <= limit:
            return (start, len(text)) if self.over else None
        if self.settled <= start + limit and not self.over:
            return None  # what begins there may be a tag, which is not to be cut
        return self._fill(start, bare, start + limit)

    # --- the end of a sentence --------------------------------------------------------------------

    def _sentence(self, start: int, bare: int) -> int | None:
        """Return where the first sentence with something to say ends, if it fits and is sure."""
        text = self.text
        top = len(text) if self.limit is None else start + self.limit
        # So far as to see the character behind the last place, and a tag as a whole.
        stop = min(len(text), top + 1 + _LONGEST_TAG)
        spoken = self._first_spoken(bare, stop)
        pattern = _compiled(_PLACE_OR_TAG if self.markup else _PLACE)
        for found in pattern.finditer(text, spoken, stop):
            end = found.end()
            if end > top or found.start() >= self.settled:
                return None
            if found[1] is None:
                if text[found.start()] == "\n":
                    return end
            elif end == len(text):
                return None  # what follows decides
            elif self._ends(start, bare, found.start(), end):
                return end
        return None

    def _first_spoken(self, bare: int, stop: int) -> int:
        """Return where there is something to say for the first time: no sentence ends before."""
        pattern = _compiled(_SPOKEN_OR_TAG if self.markup else _SPOKEN)
        for found in pattern.finditer(self.text, bare, stop):
            if found[1]:
                return found.start()
        return stop

    def _ends(self, start: int, bare: int, at: int, end: int) -> bool:
        """Tell whether the marks from *at* to *end* end a sentence."""
        text = self.text
        marks = _compiled(_MARKS).match(text, at)
        assert marks is not None, "that is where they are"
        run, after = marks[0], text[end]
        if at > start and text[at - 1] in "([{":
            return False  # (?) and (...) stand for themselves
        if not _STRONG.isdisjoint(run):
            return True
        if after.isspace() and after not in _UNBREAKABLE:
            return run != "." or not self._abbreviates(start, bare, at)
        return run != "." and run[-1] in "!?" and after > "\x7f" and after.isalpha()

    def _abbreviates(self, start: int, bare: int, at: int) -> bool:
        """Tell whether a full stop at *at* belongs to the word before it."""
        text = self.text
        found = _TOKEN.search(text, max(start, at - _LONGEST_TOKEN), at)
        assert found is not None, "a token may be empty"
        token = found[0]
        if token.isdigit():
            # The number of an item in a list.
            first = found.start() == bare or text[found.start() - 1] == "\n"
            return first and len(token) <= 3
        return bool(_INITIALS.fullmatch(token)) or token.casefold() in _ABBREVIATIONS

    # --- a sentence that is too long --------------------------------------------------------------

    def _fill(self, start: int, bare: int, top: int) -> tuple[int, int] | None:
        """Return as many whole words as fit before *top*."""
        at = self._gap(start, bare, top)
        if at is not None:
            return start, at
        if bare > start:
            return self.next(bare)
        return start, self._cut(start, top)

    def _gap(self, start: int, bare: int, top: int) -> int | None:
        """Return the best place between words: the last, or behind a comma not far from it."""
        last = comma = None
        pattern = _compiled(_GAP_OR_TAG if self.markup else _GAP)
        for found in pattern.finditer(self.text, bare, top + 1 + _LONGEST_TAG):
            if found[1] is None and found[2] is None:
                continue  # a tag
            # A space may be the first character that has no room; a comma must have some.
            if found.start() + len(found[1] or "") > (top - 1 if found[2] else top):
                break
            last = min(found.end(), top)
            if found[1] or found[2]:
                comma = last
        return comma if comma is not None and 2 * (comma - start) > top - start else last

    def _cut(self, start: int, top: int) -> int:
        """Return where to cut a word that is longer than the limit: before a tag, or a letter."""
        for tag in TAG.finditer(self.text, start, top + _LONGEST_TAG) if self.markup else ():
            if start < tag.start() < top < tag.end():
                return tag.start()
        for at in range(top, max(start, top - _LONGEST_GRAPHEME), -1):
            if not _one_letter(self.text[at - 1], self.text[at]):
                return at
        return top


def _one_letter(before: str, after: str) -> bool:
    """Tell whether two characters, one after the other, are parts of one that is seen."""
    joined = _ZERO_WIDTH_JOINER in (before, after)
    return joined or after in _SKIN_TONES or unicodedata.category(after)[0] == "M"
