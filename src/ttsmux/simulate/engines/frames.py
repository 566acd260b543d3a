"""
How the espeak engine and its worker talk over a pipe.

A frame is two big-endian 32-bit lengths, a JSON header and a body of bytes: text one way,
sound the other. The worker begins with one `Reply` about itself, then there is one `Reply` to
each `Ask`, in order.
"""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypedDict

_LENGTHS: Final = struct.Struct(">II")


class Ask(TypedDict):
    """The header of a request to speak; its body is the text in UTF-8."""

    language: str
    variant: str
    pitch: int
    speed: int
    rate: int


class Reply(TypedDict, total=False):
    """
    The header of an answer; its body is sound at the rate that was asked for.

    *marks* are (character counted from 0, seconds) for every word the library announced.
    *error* stands alone and says why there is nothing else.
    """

    error: str
    version: str
    data: str
    marks: list[tuple[int, float]]


def pack(header: Mapping[str, object], body: bytes = b"") -> bytes:
    """Write a frame."""
    head = json.dumps(header).encode()
    return _LENGTHS.pack(len(head), len(body)) + head + body


def read_ask(read: Callable[[int], bytes | None]) -> tuple[Ask, bytes] | None:
    """Return the next request, None when the parent has gone."""
    frame = _read(read)
    return frame and (json.loads(frame[0]), frame[1])


def read_reply(read: Callable[[int], bytes | None]) -> tuple[Reply, bytes] | None:
    """Return the next answer, None when the worker has gone."""
    frame = _read(read)
    return frame and (json.loads(frame[0]), frame[1])


def _read(read: Callable[[int], bytes | None]) -> tuple[bytes, bytes] | None:
    lengths = _read_exactly(read, _LENGTHS.size)
    if lengths is None:
        return None
    head_size, body_size = _LENGTHS.unpack(lengths)
    head = _read_exactly(read, head_size)
    body = _read_exactly(read, body_size)
    return None if head is None or body is None else (head, body)


def _read_exactly(read: Callable[[int], bytes | None], size: int) -> bytes | None:
    """Read *size* bytes from a pipe, None if it ends before."""
    data = bytearray()
    while len(data) < size:
        piece = read(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)
