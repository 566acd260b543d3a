"""
The two books of a speech: the text that was written, and the audio that came for it.

Together they answer what an interruption needs to know: what was heard, and what was not said.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque

import attrs

from ..adapter import Base, Marks
from ..audio import AudioFormat, Mark
from ..errors import InvalidText
from ..text.cutting import Cutter, Join, speakable

_KEEP = 64 * 1024
_MERGE = 4 * 1024
"""Characters up to which pieces are joined while they wait; without end, it would be quadratic."""
_INKED = re.compile(r"\S+")
_CHARACTERS_A_SECOND = 15.0
"""Of read text, over many languages; used only where nothing better is known."""


@attrs.frozen
class Interruption:
    """
    What an interruption cut off.

    Attributes:
        heard_seconds: audio handed to the caller, or played where a sink reports it.
        heard_text: the beginning of the text, as far as it was heard.
        unspoken_text: the rest of what was written.
        approximate: True where the provider gave no word times, and the place is an estimate.
    """

    heard_seconds: float
    heard_text: str
    unspoken_text: str
    approximate: bool


class TextLog:
    """
    Every piece written, flushes included, and how far it is sent.

    What the current generation was sent is kept until its audio has all come, so that a failed
    attempt is repeated without the caller's text source. Beyond 64 KiB that is given up.
    """

    __slots__ = (
        "_cutter", "_instants", "_known", "_ready_size", "_sent", "_sent_ink", "_sent_size",
        "_settled_ink", "_swallow", "forgotten", "held", "ready", "repeatable", "sent_at", "size",
    )  # fmt: skip

    def __init__(self, cutter: Cutter) -> None:
        self._cutter = cutter
        self._known: deque[str | None] = deque()
        """All that was written, None for a flush; the oldest is forgotten beyond the limit."""
        self._sent: list[str | None] = []
        self._instants: list[float] = []
        """When each of those was sent."""
        self._sent_size = 0
        # Places in the text are counted without white space, which is all that cutting changes.
        self._sent_ink = 0
        """Characters of text that the current generation was sent."""
        self._settled_ink = 0
        """Those of the generations before it."""
        self._ready_size = 0
        self._swallow = False
        self.held = ""
        """Written, but not to be cut yet."""
        self.ready: deque[str | None] = deque()
        """Pieces that may be sent, None for a flush."""
        self.sent_at = float("-inf")
        """When the last text was sent."""
        self.size = 0
        """Characters written and still known."""
        self.forgotten = 0
        """Characters written and no longer known."""
        self.repeatable = True
        """Whether the current generation's text is all here."""

    def write(self, piece: str, *, cut: bool = True) -> None:
        """
        Take a piece, and *cut* off what may be sent.

        Raises:
            InvalidText: it has a lone surrogate; one of those would kill the connection.
        """
        try:
            piece.encode()
        except UnicodeEncodeError as exc:
            at = self.forgotten + self.size + exc.start
            msg = f"the text has a lone surrogate at character {at}"
            raise InvalidText(msg, phase="speak") from None
        if not piece:
            return
        self.size += len(piece)
        self._known.append(piece)
        self._hold(piece)
        if cut:
            self._cut()
        while self.size > _KEEP and len(self._known) > 1:
            oldest = self._known.popleft() or ""
            self.size -= len(oldest)
            self.forgotten += len(oldest)

    def flush(self) -> None:
        self._known.append(None)
        self._cut(flush=True)
        self.ready.append(None)

    def end(self) -> None:
        """No more will be written: let go of what was held back."""
        self._cut(final=True)

    @property
    def text(self) -> str:
        """What was written and is still known."""
        return "".join(item for item in self._known if item is not None)

    @property
    def unsent(self) -> int:
        """Characters that are not sent yet."""
        return self._ready_size + len(self.held)

    @property
    def sendable(self) -> bool:
        return self._ready_size > 0

    @property
    def speakable(self) -> bool:
        """Whether what the current generation was sent has anything to pronounce."""
        return not self.repeatable or speakable("".join(item or "" for item in self._sent))

    def take(self, now: float) -> str | None:
        """Take the next of `ready` to send it."""
        item = self.ready.popleft()
        if item is not None:
            self._ready_size -= len(item)
            self._sent_ink += _ink(item)
            self.sent_at = now
        if self.repeatable:
            self._sent.append(item)
            self._instants.append(now)
            self._sent_size += len(item or "")
            if self._sent_size > _KEEP:
                self.repeatable = False
                self._forget_sent()
        return item

    def settle(self) -> None:
        """The current generation's audio is all here: its text need not be repeated."""
        self._forget_sent()
        self._settled_ink += self._sent_ink
        self._sent_ink = 0
        self.repeatable = True

    def repeat(self) -> None:
        """Put what the current generation was sent back in front, to be sent again."""
        self.recall(float("-inf"))

    def recall(self, since: float) -> None:
        """Put back in front what the current generation was sent after *since*."""
        at = bisect_right(self._instants, since)
        late = self._sent[at:]
        size = sum(len(item) for item in late if item is not None)
        del self._sent[at:], self._instants[at:]
        self.ready.extendleft(reversed(late))
        self._ready_size += size
        self._sent_size -= size
        self._sent_ink -= sum(_ink(item) for item in late if item is not None)

    @property
    def begun(self) -> int:
        """Where in `text` the current generation's begins. Only if nothing was forgotten."""
        return _place(self.text, self._settled_ink)

    @property
    def said(self) -> int:
        """Where in `text` that ends which was sent. Only if nothing was forgotten."""
        return _place(self.text, self._settled_ink + self._sent_ink)

    def _forget_sent(self) -> None:
        self._sent.clear()
        self._instants.clear()
        self._sent_size = 0

    def restart(self, cutter: Cutter, ended: bool, *, at: int = 0) -> None:
        """
        Begin again, by another provider's rule.

        *at* is the place in `text` from which on; not 0 only if nothing was forgotten.
        """
        self._cutter = cutter
        self.settle()
        self._settled_ink = _ink(self.text[:at])
        self.ready.clear()
        self._ready_size, self.held, self._swallow = 0, "", False
        for item in self._known:
            if item is None:
                if at == 0:
                    self._cut(flush=True)
                    self.ready.append(None)
                continue
            rest, at = item[at:], max(0, at - len(item))
            if rest:
                self._hold(rest)
                self._cut()
        if ended:
            self._cut(final=True)

    def _hold(self, piece: str) -> None:
        if self._swallow and piece:
            # The space that this provider puts between two pieces stands for the caller's own.
            piece = piece.removeprefix(" ")
            self._swallow = False
        self.held += piece

    def _cut(self, *, final: bool = False, flush: bool = False) -> None:
        held = self.held
        pieces, self.held = self._cutter.cut(held, final=final, flush=flush)
        for piece in pieces:
            self._offer(piece)
        if flush and pieces and not held[-1].isspace():
            self._swallow = self._cutter.join is Join.SPACE

    def _offer(self, piece: str) -> None:
        """Add *piece* to what is ready, as part of the last one where the rule allows it."""
        last = self.ready[-1] if self.ready else None
        short = last if last is not None and len(last) < _MERGE else None
        merged = None if short is None else self._cutter.merge(short, piece)
        if merged is None:
            self.ready.append(piece)
            self._ready_size += len(piece)
        else:
            self.ready[-1] = merged
            self._ready_size += len(merged) - len(last or "")


def _ink(text: str) -> int:
    """Count the characters of *text* that are no white space."""
    return sum(map(len, text.split()))


def _place(text: str, ink: int) -> int:
    """Return where in *text* so many characters are over that are no white space."""
    at = 0
    for found in _INKED.finditer(text):
        if ink <= 0:
            break
        at = min(found.end(), found.start() + ink)
        ink -= found.end() - found.start()
    return at


class AudioLedger:
    """
    Audio of a speech by the byte: received, read, played; and the marks on it.

    A generation's clock begins where the audio received before it ends, so that a speech of several
    generations has one time line.
    """

    __slots__ = ("_fresh", "byte_rate", "format", "marks", "played", "read", "received", "seams")

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self.byte_rate = format.byte_rate
        self.received = 0
        """Bytes."""
        self.read = 0
        """Bytes handed to the caller."""
        self.played: float | None = None
        """Seconds that a sink reports; None where none does."""
        self.marks: list[Mark] = []
        self.seams: list[tuple[float, int]] = []
        """Where it broke off and went on: seconds, and from there on the place in the text."""
        self._fresh = 0
        """Marks before this index went out with a chunk."""

    @property
    def heard(self) -> float:
        """Seconds that count as heard."""
        read = self.read / self.byte_rate
        return read if self.played is None else min(self.played, read)

    @property
    def unread(self) -> float:
        """Seconds received and not handed out."""
        return (self.received - self.read) / self.byte_rate

    def fresh_marks(self) -> tuple[Mark, ...]:
        """Return the marks that no chunk has carried yet; they go with the next one."""
        if self._fresh == len(self.marks):
            return ()
        found = tuple(self.marks[self._fresh :])
        self._fresh = len(self.marks)
        return found

    def add_marks(self, signal: Marks, generation: int, segment: int) -> None:
        """
        Put *signal* on the time line of the speech.

        *generation* and *segment* are the bytes at which those began. Marks never run backwards:
        providers repeat and overlap them, and a program that follows them must not jump.
        """
        origin = {Base.GENERATION: generation, Base.SEGMENT: segment, Base.ARRIVAL: self.received}
        start = origin[signal.base] / self.byte_rate
        for text, begin, end in signal.units:
            at = start + max(0.0, begin)
            if self.marks and at < self.marks[-1].start:
                continue
            self.marks.append(Mark(text, at, start + max(0.0, begin, end), signal.kind))

    def withdraw(self, size: int, carried: int = 0) -> None:
        """
        Take back the last *size* bytes received, with *carried* marks: they will come again.

        Of those marks, the ones for audio that stays go with the next chunk.
        """
        self.received -= size
        # Places between words are at whole samples, which the marks need not be.
        at = self.received / self.byte_rate - 1.0 / self.format.rate
        while self.marks and self.marks[-1].start > at:
            self.marks.pop()
        self._fresh = min(self._fresh - carried, len(self.marks))

    def interruption(self, log: TextLog, all_received: bool) -> Interruption:
        """Say what was heard of *log*."""
        text = log.text
        seconds = self.heard
        if self.marks and not log.forgotten:
            # Marks name words; heard to the end is heard with the full stop.
            heard_out = all_received and seconds >= self.received / self.byte_rate
            cut = len(text) if heard_out else self._cut_by_marks(text, seconds)
            approximate = False
        else:
            whole = self.received / self.byte_rate
            if not all_received:
                whole = max(whole, (log.forgotten + len(text)) / _CHARACTERS_A_SECOND)
            cut, approximate = _cut_by_time(text, log.forgotten, seconds, whole), True
        return Interruption(seconds, text[:cut], text[cut:], approximate)

    def _cut_by_marks(self, text: str, seconds: float) -> int:
        """Return how far into *text* the marks that began before *seconds* reach."""
        cut = 0
        folded = fold(text)
        seams = deque(self.seams)
        for mark in self.marks:
            if mark.start >= seconds:
                break
            while seams and mark.start >= seams[0][0]:
                cut = seams.popleft()[1]
            word = fold(mark.text.strip())
            # What was spoken may differ from the text ("$5", "five dollars"): look ahead a bit.
            found = folded.find(word, cut, cut + len(word) + 48) if word else -1
            if found >= 0:
                cut = found + len(word)
        return cut


def fold(text: str) -> str:
    """Return *text* without differences of case, as long as before: places in it must stay."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _cut_by_time(text: str, before: int, seconds: float, whole: float) -> int:
    """Return how far into *text* *seconds* of *whole* seconds reach, at the end of a word."""
    if whole <= 0.0 or seconds <= 0.0:
        return 0
    cut = int((before + len(text)) * min(1.0, seconds / whole)) - before
    if cut >= len(text):
        return len(text)
    while cut > 0 and not text[cut].isspace():
        cut -= 1
    return max(0, cut)
