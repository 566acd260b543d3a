"""
A short way for what nearly every frame is: a message of its own, unmasked and here in full.

Such a frame is taken out of what was read, in place. All else goes to the library that knows the
protocol: control frames, fragments, what is not all here, what breaks the rules; and so does what
comes while that is in the middle of a frame. What is a message, what is refused and when, is for
the library to say, and the same with the short way and without it:
``tests/transports/test_frames.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

Data = bytes | memoryview

TEXT, _BINARY = 0x81, 0x82
"""How messages begin that are one frame."""
_FIRST, _LAST = (0x01, 0x02), 0x80
"""How fragments of one do; those between them begin with 0x00."""
_SOUND = frozenset({TEXT, _BINARY, *_FIRST, 0x00, _LAST, 0x88, 0x89, 0x8A})
"""What is not refused already for how it begins."""
_MASKED = 0x80
_ALL = 1 << 64
"""More bytes than will ever come."""


def whole(data: Data, at: int, limit: int) -> tuple[int, int] | None:
    """Return where the payload begins and ends if at *at* is a message of *limit* bytes at most."""
    if data[at] != TEXT and data[at] != _BINARY:
        return None
    size = len(data)
    if size < at + 2:
        return None
    begin, length = at + 2, data[at + 1]
    if length > 125:
        if size < at + 10:  # a short one in a long form is the library's
            return None
        if length == 126:
            begin, length = at + 4, data[at + 2] << 8 | data[at + 3]
        elif length == 127:
            begin, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
        else:
            return None
    end = begin + length
    return (begin, end) if end <= size and length <= limit else None


def _extent(data: Data, at: int) -> tuple[int, int] | None:
    """
    Return where in *data* the payload of the frame at *at* begins, and where it ends.

    The end may lie behind that of *data*; None is for a header that is not all here.
    """
    if len(data) < at + 2:
        return None
    begin, length = at + 2, data[at + 1] & ~_MASKED
    if length > 125:
        begin = at + (4 if length == 126 else 10)
        if len(data) < begin:
            return None
        length = int.from_bytes(data[at + 2 : begin], "big")
    return begin, begin + length


class Frames:
    """Tells messages of *limit* bytes at most from what else is in the bytes that come."""

    __slots__ = ("_head", "_in_fragments", "_owed", "even", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.even = True
        """Whether a frame, and a message, begins where the next bytes do."""
        self._owed = 0
        """Bytes until the next frame begins."""
        self._head = b""
        """Of a frame, if that is all that has come of it: the library has it, too."""
        self._in_fragments = False

    def stop(self) -> None:
        """Leave all that still comes to the library."""
        self._owed, self._head, self.even = _ALL, b"", False

    def split(self, data: Data) -> Iterator[tuple[bytes, bool | None]]:
        """Yield messages, and whether they are text; with None what the library is to have."""
        seen = len(self._head)
        if seen:
            data, self._head = self._head + data, b""
        at = min(self._owed, len(data))
        if at:
            self._owed -= at
            yield bytes(data[:at]), None
        while at < len(data):
            short = None if seen or self._in_fragments else whole(data, at, self.limit)
            if short is not None:
                begin, end = short
                yield bytes(data[begin:end]), data[at] == TEXT
            else:
                end = self._end(data, at)
                yield bytes(data[at + seen : end]), None
                seen = 0
            at = end
        self.even = not (self._owed or self._head or self._in_fragments)

    def _end(self, data: Data, at: int) -> int:
        """Note what the library gets of the frame at *at*; return where that ends in *data*."""
        first, payload, size = data[at], _extent(data, at), len(data)
        if size - at > 1 and (first not in _SOUND or data[at + 1] >= _MASKED):
            self.stop()  # it is refused, and nothing is taken after it
            return size
        if payload is None:
            self._head = bytes(data[at:])
            return size
        if first in _FIRST or first == _LAST:
            self._in_fragments = first != _LAST
        self._owed = max(0, payload[1] - size)
        return payload[1] - self._owed
