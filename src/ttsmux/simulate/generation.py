"""One utterance: text in, sound out, and when each piece of the sound is due."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import attrs

from .engines import Utterance, Word
from .provider import Stage
from .sound import Cutter, Encoding
from .text import TextFeed


@attrs.frozen
class Chunk:
    """A piece of a generation's audio; *start* and *stop* are seconds of that generation."""

    data: bytes
    start: float
    stop: float
    words: tuple[Word, ...]


class Generation:
    """One utterance: its text comes in by `feed`, its speech goes out, and it ends once."""

    def __init__(
        self,
        number: int,
        *,
        id: str | None,
        voice: str,
        language: str | None,
        encoding: Encoding,
        stage: Stage,
    ) -> None:
        self.number = number
        self.tag = number % 256
        self.id = id
        self.voice = voice
        self.language = language
        self.encoding = encoding
        self.feed = TextFeed(words=stage.engine.streams_words)
        self.changed = asyncio.Event()
        self.interrupted = False
        self.detached = False  # it was acknowledged as cancelled and speaks on: no end marker
        self.over = False
        self.chunks = 0
        self.bad_base64 = False
        self.at_end: list[Callable[[], None]] = []
        self.going = asyncio.Event()
        self.going.set()
        self.task: asyncio.Task[None] | None = None
        size = max(1, round(encoding.rate * stage.chunk)) * encoding.width
        self.cutter = Cutter(size)
        self.cutter.add(encoding.header)
        self._header = len(encoding.header)
        self._sent = -self._header  # bytes of sound sent; the header is none
        self._spoken = 0.0  # seconds of sound made
        self._words = 0
        self._stage = stage
        self._marks: deque[Word] = deque()
        self._first_text: float | None = None
        self._next_due: float | None = None
        self._held = False

    def __repr__(self) -> str:
        return f"<Generation {self.number} {self.id or ''}>"

    def touch(self) -> None:
        """Tell the speaking task that the feed has changed."""
        if self._first_text is None:
            self._first_text = asyncio.get_running_loop().time()
        self.changed.set()

    def interrupt(self) -> None:
        """Note that an interrupt of it was read. What was held until then goes on."""
        self.interrupted = True
        if self._held:
            self._held = False
            self.waited()
            self.going.set()

    def hold(self) -> None:
        """Stand still until an interrupt is read, unless one was."""
        if not self.interrupted:
            self._held = True
            self.going.clear()

    def say(self, utterance: Utterance) -> None:
        """Append *utterance* to the sound to be sent."""
        for word in utterance.words:
            self._marks.append(Word(word.text, self._spoken + word.start, self._spoken + word.stop))
        self._words += len(utterance.words)
        self._spoken += len(utterance.pcm) / 2 / utterance.rate
        self.cutter.add(self.encoding.encode(utterance.pcm))

    def rest(self, seconds: float) -> None:
        """Append silence."""
        samples = round(seconds * self.encoding.rate)
        self._spoken += samples / self.encoding.rate
        self.cutter.add(self.encoding.encode(bytes(2 * samples)))

    @property
    def words(self) -> int:
        """How many words were said."""
        return self._words

    def due(self) -> float:
        """Return when the next chunk may be sent; the first one has to wait for the TTFA."""
        if self._next_due is None:
            # Without any text there may still be a header to send.
            first = self._first_text or asyncio.get_running_loop().time()
            self._next_due = first + self._stage.ttfa
        return self._next_due

    def waited(self) -> None:
        """Let the pace begin anew after a wait for the client: what was not made is not owed."""
        if self._next_due is not None:
            self._next_due = max(self._next_due, asyncio.get_running_loop().time())

    def ahead(self) -> tuple[Word, ...]:
        """Take the words that are made and not due yet, for a provider that tells them first."""
        words = tuple(self._marks)
        self._marks.clear()
        return words

    def chunk(self, data: bytes) -> Chunk:
        """Account for *data*, which is about to be sent."""
        width, rate = self.encoding.width, self.encoding.rate
        start = max(0, self._sent) / width / rate
        self._sent += len(data)
        stop = max(0, self._sent) / width / rate
        if self._next_due is not None:
            self._next_due += (stop - start) * self._stage.rtf
        words = []
        while self._marks and self._marks[0].start < stop:
            words.append(self._marks.popleft())
        self.chunks += 1
        return Chunk(data, start, stop, tuple(words))
