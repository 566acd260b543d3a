"""
Text that arrives in pieces, and the parts of it that can be spoken already.

An engine that streams words is given complete words; one that does not is given complete sentences.
What a provider does between two messages (nothing, or a space) is the provider's business.
"""

from __future__ import annotations

import enum
import re
from collections import deque

import attrs

# Enough to keep a socket busy, little enough that an interrupt finds most of a text unspoken.
WORDS_AT_ONCE = 16

_SENTENCE = re.compile(r".*?(?:[.!?…؟۔]+[\"'”’)\]]*\s+|[。！？]+\s*|\n+\s*)", re.DOTALL)
_WORDS = re.compile(rf"\s*(?:\S+\s+){{1,{WORDS_AT_ONCE}}}")
_LAST_WORDS = re.compile(rf"\s*(?:\S+(?:\s+|$)){{1,{WORDS_AT_ONCE}}}")


@attrs.frozen
class Pause:
    """Silence asked for inside the text."""

    seconds: float


class Flush(enum.Enum):
    """A request to speak everything so far."""

    FLUSH = enum.auto()


class TextFeed:
    """A generation's text: `add` pieces at one end, `take` speakable parts from the other."""

    def __init__(self, *, words: bool) -> None:
        self.ended = False
        self._words = words
        self._parts: deque[str | Pause | Flush] = deque()

    def add(self, text: str) -> None:
        """Append *text* verbatim."""
        if self._parts and isinstance(last := self._parts[-1], str):
            self._parts[-1] = last + text
        elif text:
            self._parts.append(text)

    def pause(self, seconds: float) -> None:
        """Put a silence here. Text before it is complete."""
        self._parts.append(Pause(seconds))

    def flush(self) -> None:
        """Make everything so far speakable."""
        self._parts.append(Flush.FLUSH)

    def end(self) -> None:
        """There will be no more text."""
        self.ended = True

    def take(self) -> str | Pause | Flush | None:
        """Take the next part that can be spoken; None if more text is needed or nothing is left."""
        while self._parts:
            head = self._parts[0]
            if not isinstance(head, str):
                return self._parts.popleft()
            length = self._speakable(head, final=self.ended or len(self._parts) > 1)
            if length == 0:
                return None
            part, rest = head[:length], head[length:]
            if rest:
                self._parts[0] = rest
            else:
                self._parts.popleft()
            if not part.isspace():
                return part
        return None

    def _speakable(self, text: str, *, final: bool) -> int:
        if self._words:
            found = (_LAST_WORDS if final else _WORDS).match(text)
        else:
            found = _SENTENCE.match(text)
        if found is not None:
            return found.end()
        return len(text) if final else 0
