"""
The seam between a shell and a wire library.

A transport dials, sends what it is told to, and reports what arrives to a `Sink`. It knows no
provider, no pool and no speech, takes no decision and keeps no clock but its own deadlines.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from ..adapter import PING, Closed, DialFailure, Frame, Ping
from ..errors import Error

__all__ = [
    "PING",
    "AsyncTransport",
    "DialError",
    "MessageSink",
    "Ping",
    "Pong",
    "Response",
    "SendError",
    "SendTimeout",
    "Sink",
    "SyncTransport",
    "Target",
    "Writing",
]


@attrs.frozen
class Pong:
    """The answer to the peer's ping, where a frame is expected."""

    data: bytes = b""


@attrs.frozen(kw_only=True)
class Target:
    """
    Where and how to dial.

    Attributes:
        url: ``ws://`` or ``wss://``, or ``http://`` or ``https://`` for one request.
        headers: sent with the upgrade or the request, secrets among them.
        method: of one request; one without a body, such as a GET, is sent with an empty frame.
        subprotocols: offered, in order.
        ssl_context: for ``wss://``; None takes the platform's defaults.
        proxy: ``"env"`` reads the environment, None goes direct, a URL names an HTTP proxy. A
            loopback address is never dialled through a proxy.
        max_message: bytes in the largest message that is accepted.
        send_timeout: seconds without any progress after which a send fails.
        fast_path: whether messages that are a whole frame pass the WebSocket library by.
    """

    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    method: str = "POST"
    subprotocols: tuple[str, ...] = ()
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    proxy: str | None = attrs.field(default="env", repr=False)
    max_message: int = 16 * 1024 * 1024
    send_timeout: float = 10.0
    fast_path: bool = True


@attrs.frozen
class Response:
    """The server's answer to the upgrade; header names in lower case."""

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)


class DialError(Exception):
    """A dial failed, for the reason in `failure`."""

    def __init__(self, failure: DialFailure) -> None:
        super().__init__(repr(failure))
        self.failure = failure


class SendError(Exception):
    """A send failed or ran into its deadline; the connection must not be used again."""


class SendTimeout(SendError):
    """The peer took nothing for *seconds*."""

    def __init__(self, address: str, seconds: float) -> None:
        super().__init__(f"{address} took nothing for {seconds:g} s")


class MessageSink(Protocol):
    """Who hears what a WebSocket receives. Calls are instant and never raise."""

    def message(self, data: bytes, text: bool) -> None:
        """A whole message came."""

    def pong(self) -> None:
        """A pong came."""

    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """
        Have the connection's writer send *frames*: the reader itself never sends.

        An empty sequence asks the writer to call `send(())`, for a transport that holds bytes of
        its own to be written.
        """

    def lost(self, fault: Closed | Error) -> None:
        """
        Nothing more will come; called exactly once.

        *fault* is the peer's close frame (`Closed(None)` where there was none), or a
        `RemoteProtocolError` where the peer broke the WebSocket protocol.
        """


class Sink(MessageSink, Protocol):
    """Who hears what a connection receives, be it a WebSocket or an HTTP request."""

    def answered(self, headers: Mapping[str, str]) -> None:
        """
        An HTTP answer began, and it is a success; header names in lower case.

        Its body follows as binary messages, the last of them empty: the body's own end. Without
        that one it was cut short.
        """

    def lost(self, fault: Closed | DialFailure | Error) -> None:
        """
        Nothing more will come; called exactly once.

        *fault* may also be an HTTP answer that is no success.
        """


class SyncTransport(Protocol):
    """A blocking connection: one thread reads, one other sends."""

    parts: Mapping[str, float]
    """What took how many seconds of its dial, as far as that is known."""

    def read(self, sink: Sink) -> None:
        """Report to *sink* until the connection has ended; returns after `lost`."""

    def send(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Send *frames* in order. Raises `SendError`."""

    def close(self, grace: float) -> None:
        """Start the closing handshake; `abort` follows if the peer does not answer in *grace* s."""

    def abort(self) -> None:
        """Cut the wire now; the reader returns. Safe from any thread, and more than once."""


Writing = Callable[[], Coroutine[object, object, None]]


@runtime_checkable
class Prompt(Protocol):
    """A connection of an event loop that can send without waiting."""

    def send_now(self, frames: Sequence[Frame | Ping | Pong]) -> bool:
        """
        Send *frames* in order, and tell whether there is room for more.

        If not, `AsyncTransport.send` is to follow, which waits for it. Raises `SendError`.
        """

    def abort(self) -> None:
        """Cut the wire now."""


class AsyncTransport(Protocol):
    """A connection of an event loop: one task sends, and reading goes on beside it."""

    parts: Mapping[str, float]
    """What took how many seconds of its dial, as far as that is known."""

    async def read(self, sink: Sink, write: Writing | None = None) -> None:
        """
        Report to *sink* until the connection has ended, and run *write*, who sends, meanwhile.

        Returns after both, and so after `lost`. Whether that takes a task more is the transport's
        business: one that is called by its loop needs none, and an idle connection is half as big.
        """

    async def send(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        """Send *frames* in order. Raises `SendError`."""

    async def close(self, grace: float) -> None:
        """Do the closing handshake; cut the wire after *grace* seconds."""

    def abort(self) -> None:
        """Cut the wire now; the reader returns. May be called more than once."""
