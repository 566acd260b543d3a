"""
Where text that streams in may be cut before it is sent on.

Language models hand out pieces such as `" un"`, `"believ"`, `"able <bre"`. A `Cutter` is told the
text that is not sent yet and answers with the pieces that may go and what must wait for more. Put
together by the provider's own join rule, the pieces give the text again.
"""

from __future__ import annotations

import enum
import re
import unicodedata

import attrs

from . import sentences

__all__ = ["Cutter", "HoldBack", "Join", "speakable"]

# A `<` that no letter and no slash follows is a comparison, not markup; and no tag is this long.
_MAX_TAG = 64
_OPEN_TAG = re.compile(r"<(?:[A-Za-z/][^<>]*)?\Z")
_TAG = sentences.TAG
# The last of its kind: `.*` takes all there is and gives back from the end.
_LAST_SPACE = re.compile(r".*\s", re.DOTALL)
_NO_SPACE = re.compile(r"\S")
_LAST_SINGLE_SPACE = re.compile(r".*\S(?= \S)", re.DOTALL)


class HoldBack(enum.Enum):
    """What is never cut in two when text is sent piece by piece."""

    NONE = "none"
    WORD = "word"
    SENTENCE = "sentence"
    """For providers that are given one sentence at a time: no piece is merged with the next."""


class Join(enum.Enum):
    """What a provider puts between two pieces of text."""

    VERBATIM = "verbatim"
    """Nothing."""
    SPACE = "space"
    """One space: a cut is made only where there is exactly one, and that one is left out."""
    TRAILING_SPACE = "trailing_space"
    """Nothing, but a piece should end with a space; the last one is given one."""


def speakable(text: str) -> bool:
    """Return whether there is anything in *text* that a voice would pronounce."""
    return any(char.isalnum() for char in _TAG.sub("", text))


def _in_word(char: str) -> bool:
    """Return whether a word may go on after *char*: a letter, a digit, or a vowel sign on one."""
    return unicodedata.category(char)[0] in "LNM"


@attrs.frozen(kw_only=True)
class Cutter:
    """
    The rule of one provider.

    Attributes:
        limit: characters in one piece at most, or None.
        markup: whether ``<…>`` must stay whole.
    """

    hold_back: HoldBack = HoldBack.NONE
    join: Join = Join.VERBATIM
    limit: int | None = None
    markup: bool = True

    def cut(self, text: str, *, final: bool = False, flush: bool = False) -> tuple[list[str], str]:
        """
        Return the pieces of *text* that may be sent, none of them blank, and the rest.

        White space is left out only where it cannot be kept: at the very end, where it would be a
        piece of its own, and where a run of it is longer than the limit.

        Args:
            final: no more text will come, so nothing needs to wait.
            flush: the caller wants to hear all so far; a whole word at the end need not wait.
        """
        if not text or text.isspace():
            return [], "" if final else text
        if final:
            text += self._last_space(text)
            if self.hold_back is HoldBack.SENTENCE:
                return self._sentences(text, len(text), over=True)[0], ""
            return self._limited(text)[0], ""
        end = self._tag_start(text)
        # Punctuation and white space show that the word before is whole; a letter does not.
        whole = flush and end == len(text) and not _in_word(text[-1])
        if self.hold_back is HoldBack.SENTENCE:
            return self._sentences(text, end, over=whole)
        stop, skip = self._stop(text, end, whole)
        pieces, blank = self._limited(text[:stop])
        return (pieces, blank + text[stop + skip :]) if pieces else ([], text)

    def merge(self, first: str, second: str) -> str | None:
        """Return two pieces, in order, as one, or None where they must stay two."""
        if self.hold_back is HoldBack.SENTENCE:
            return None
        joined = first + (" " if self.join is Join.SPACE else "") + second
        return joined if self.limit is None or len(joined) <= self.limit else None

    def _last_space(self, text: str) -> str:
        trailing = self.join is Join.TRAILING_SPACE and not text[-1].isspace()
        return " " if trailing else ""

    # --- how far the text may go now --------------------------------------------------------------

    def _tag_start(self, text: str) -> int:
        """Return where a tag begins that is not finished yet, or the length of *text*."""
        if not self.markup:
            return len(text)
        found = _OPEN_TAG.search(text, max(0, len(text) - _MAX_TAG))
        return found.start() if found else len(text)

    def _stop(self, text: str, end: int, whole: bool) -> tuple[int, int]:
        """Return where to cut, up to *end*, and how many characters there the join gives back."""
        if self.join is Join.SPACE:
            if whole:
                bare = len(text.rstrip())
                return bare, len(text) - bare
            at = self._last(_LAST_SINGLE_SPACE, text, end)
            return at, min(at, 1)
        if whole or self.hold_back is HoldBack.NONE:
            return end, 0
        return self._last(_LAST_SPACE, text, end), 0

    def _sentences(self, text: str, end: int, *, over: bool) -> tuple[list[str], str]:
        return sentences.split(text, limit=self.limit, markup=self.markup, settled=end, over=over)

    def _tags(self, text: str) -> list[tuple[int, int]]:
        return [tag.span() for tag in _TAG.finditer(text)] if self.markup else []

    def _last(self, pattern: re.Pattern[str], text: str, end: int) -> int:
        """Return the last place up to *end* where *pattern* ends, outside of markup, or 0."""
        # What makes a space a single one stands behind it.
        ahead = 2 if pattern is _LAST_SINGLE_SPACE else 0
        tags = self._tags(text)
        while found := pattern.match(text, 0, end + ahead):
            at = found.end()
            while tags and tags[-1][0] >= at:
                tags.pop()
            if not tags or tags[-1][1] <= at:
                return at
            end = tags.pop()[0]
        return 0

    # --- pieces of the right size -----------------------------------------------------------------

    def _limited(self, text: str) -> tuple[list[str], str]:
        pieces: list[str] = []
        if self.limit is not None and len(text) > self.limit:
            text = self._cut_off(text, self.limit, pieces)
        if not text or text.isspace():
            return pieces, text
        return [*pieces, text], ""

    def _cut_off(self, whole: str, limit: int, pieces: list[str]) -> str:
        """Cut *pieces* off *whole* until no more than *limit* is left; return that."""
        # A part at a time: to slice all the rest for each piece takes seconds for a book.
        text, at = "", 0
        while len(text) + len(whole) - at > limit:
            if at < len(whole) and (len(text) <= 2 * limit + 1 or text.isspace()):
                word = _NO_SPACE.search(whole, at)
                stop = min(len(whole), (word.start() if word else len(whole)) + 4 * limit)
                text, at = text + whole[at:stop], stop
                continue
            bare = text.lstrip()
            blank = len(text) - len(bare)
            if not bare:
                break
            if blank >= limit:
                text = (" " if limit > 1 else "") + bare
                continue
            end = self._break(text, limit)
            piece, text = text[:end], text[end:]
            if self.join is Join.SPACE:
                # The space that the provider puts here stands for the caller's own.
                if text[0] == " ":
                    text = text[1:]
                else:
                    piece = piece.removesuffix(" ")
            pieces.append(piece)
        return text + whole[at:]

    def _break(self, text: str, limit: int) -> int:
        """Return the best place to break *text* within *limit*: at a space, else anywhere."""
        text = text[: 2 * limit + 1]  # a tag that is longer must be cut anyway
        blank = len(text) - len(text.lstrip())
        single = self.join is Join.SPACE
        for pattern in (_LAST_SINGLE_SPACE, _LAST_SPACE) if single else (_LAST_SPACE,):
            at = self._last(pattern, text, limit)
            if at > blank:
                return at
        return next((a for a, b in self._tags(text) if blank < a < limit < b), limit)
