"""Standard input as a source of text that can be given up."""

from __future__ import annotations

import codecs
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Self

from ..errors import Error, InvalidText
from ._errors import WrongUse

_MOST = 8192
"""Bytes a read; what has arrived comes at once, however little it is."""
_UTF8 = ("utf8", "utf-8")


class StandardInput:
    """
    Gives the text of standard input, each piece as it arrives.

    A thread of its own reads, because nothing ends a read that waits: leaving the ``with`` block
    ends the iteration and forgets the thread. It reads little ahead of the speech.

    Raises:
        WrongUse: standard input is closed.
    """

    def __init__(self) -> None:
        if sys.stdin is None or sys.stdin.closed:
            raise WrongUse("standard input is closed, and TEXT is '-'")
        self.characters = 0
        self.terminal = sys.stdin.isatty()
        self._read = _reader()
        self._decoder = codecs.getincrementaldecoder(_encoding())()
        self._queue: Queue[str | Error | None] = Queue(maxsize=2)

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="ttsmux-stdin", daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while True:
            with suppress(Full):
                self._queue.put_nowait(None)
                return
            with suppress(Empty):
                self._queue.get_nowait()

    def __iter__(self) -> Iterator[str]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Error):
                raise item
            self.characters += len(item)
            yield item

    def _run(self) -> None:
        try:
            while data := self._read():
                self._put(self._decoder.decode(data))
            self._put(self._decoder.decode(b"", final=True))
        except UnicodeDecodeError as exc:
            encoding = exc.encoding.upper()
            self._queue.put(InvalidText(f"standard input is not the {encoding} text it should be"))
        except OSError as exc:
            self._queue.put(InvalidText(f"standard input cannot be read: {exc.strerror}"))
        else:
            self._queue.put(None)

    def _put(self, piece: str) -> None:
        if piece:
            self._queue.put(piece)


def _encoding() -> str:
    """Name the encoding that the terminal or the environment says, past a byte order mark."""
    name = sys.stdin.encoding or "utf-8"
    return "utf-8-sig" if name.lower() in _UTF8 else name


def _reader() -> Callable[[], bytes]:
    try:
        # Not through the buffer of sys.stdin: a thread that waits inside holds its lock, and the
        # interpreter dies of that when it wants to go.
        number = sys.stdin.fileno()
    except io.UnsupportedOperation:  # a stand-in, in a test or a notebook
        stream = sys.stdin.buffer
        return lambda: stream.read(_MOST)
    return lambda: os.read(number, _MOST)
