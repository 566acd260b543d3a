"""
Answers over HTTP: a connection is a request there, and what comes is the body of its answer.

A body is cut anywhere. Its messages are its lines where those are JSON, and else the pieces that it
came in; an empty one at the end says that it has come to its own end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..adapter import Adapter
from .fuzz import parsed

__all__ = ["END", "cut_at", "messages_of", "over_http"]

END = b""
"""What the adapter is given when the body has come to its own end."""


def over_http(adapter: Adapter) -> bool:
    """Tell whether each connection of *adapter* is an HTTP request."""
    return adapter.handshake(adapter.options(), None).url.startswith("https:")


def messages_of(pieces: Iterable[bytes]) -> list[bytes]:
    """Return the messages in a body that came in *pieces*, and its end."""
    came = [piece for piece in pieces if piece]
    lines = [line + b"\n" for line in b"".join(came).split(b"\n") if line.strip()]
    return [*(lines if all(parsed(line) is not None for line in lines) else came), END]


def cut_at(messages: Sequence[bytes], size: Callable[[], int]) -> list[bytes]:
    """Cut the body that is *messages* into pieces of other sizes; the end stays the end."""
    body, pieces, at = b"".join(messages), [], 0
    while at < len(body):
        upto = at + size()
        pieces.append(body[at:upto])
        at = upto
    return [*pieces, END]
