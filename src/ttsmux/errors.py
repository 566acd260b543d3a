"""
Every error ttsmux raises, in one tree.

.. code-block:: text

    Error
    ├── ConfigError                  what the caller asked for cannot be done; no byte was sent
    │   ├── WrongType
    │   ├── InvalidText
    │   ├── InvalidVoice
    │   ├── InvalidFormat
    │   └── InsecureEndpoint
    ├── AuthError                    the key is missing, wrong, expired, or of another region
    ├── NotFoundError                no such voice, model or path
    ├── QuotaError                   the account has no credits left
    ├── AtCapacity                   no room now; `retry_after` says when, if anybody knows
    │   ├── RateLimitError
    │   ├── ConcurrencyLimitError
    │   ├── PoolTimeout
    │   └── PoolFull
    ├── ConnectError                 no connection came about
    │   ├── DNSError
    │   ├── ConnectTimeout
    │   ├── TLSError
    │   ├── ProxyError
    │   └── HandshakeError           the server answered the upgrade with something else than 101
    ├── ConnectionLost               a connection ended under a speech
    │   └── TruncatedAudio           the audio stopped before the provider's own end marker
    ├── ProtocolError
    │   ├── LocalProtocolError       you called things in an order that makes no sense
    │   └── RemoteProtocolError      they sent something that makes no sense
    ├── GenerationError              the provider reported that it failed
    ├── SpeechTimeout
    │   ├── FirstAudioTimeout
    │   ├── StallTimeout
    │   └── DeadlineExceeded
    ├── EmptyAudio                   the provider ended without any audio for speakable text
    ├── SlowConsumer                 the caller did not read what was spoken
    ├── CircuitOpen                  the provider failed too often just now
    ├── ClosedError                  the client is closed
    ├── BusyResource                 two threads or tasks read one speech
    ├── WrongThread                  a plain call of the async client from another thread or loop
    └── ForkedProcess                a client made before `fork()` was used after it

Facts are attributes, so that a program need not read the sentences. An interruption is not an
error: the iteration ends and `outcome` says `INTERRUPTED`.

What you pass is checked before anything is sent. A value that does not fit is a `ConfigError`,
which is a `ValueError` too; a value of the wrong type is a `WrongType`, one of those and a
`TypeError` too. That holds for the options of a provider as for everything else. A key that is
missing or can be none is an `AuthError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self, TypeVar

import attrs

_E = TypeVar("_E", bound=BaseException)


@attrs.frozen
class Delivered:
    """What the caller had in hand when a speech failed."""

    bytes: int = 0
    seconds: float = 0.0
    characters: int = 0
    """Characters of the caller's text whose audio was handed out, as far as can be told."""


class Error(Exception):
    """
    Base class of everything ttsmux raises.

    Attributes:
        provider: name of the adapter, or None where none is involved.
        phase: what was going on: ``"config"``, ``"acquire"``, ``"dial"``, ``"speak"``, ``"close"``.
        attempt: which attempt of the speech failed, counted from 1; 0 before the first.
        retryable: whether the same call may succeed later without a change of its arguments.
        retry_after: seconds the provider asks to wait, or None.
        delivered: what the caller had received before.
    """

    default_retryable = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        phase: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.phase = phase
        self.attempt = 0
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.delivered = Delivered()

    def copy(self) -> Self:
        """Return a twin, so that each speech that it hits can say what it had delivered."""
        twin = type(self).__new__(type(self), *self.args)
        twin.args = self.args  # OSError, and so TimeoutError, does not take them in __new__
        twin.__dict__.update(self.__dict__)
        twin.__cause__ = self.__cause__
        return twin

    def __str__(self) -> str:
        return f"{self.provider}: {self.message}" if self.provider else self.message


class ConfigError(Error, ValueError):
    """What was asked for cannot be done as it stands; nothing was sent."""


class WrongType(ConfigError, TypeError):
    """An argument is of a type that it does not take."""

    @classmethod
    def of(cls, name: str, takes: str, value: object) -> Self:
        """Say what *name* takes; of *value* only its type is told, for it may be a key."""
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        given = "None" if value is None else given
        return cls(f"{name} takes {takes}, not {given}", phase="config")


class InvalidText(ConfigError):
    """The text cannot be sent: a lone surrogate, or longer than the provider takes."""


class InvalidVoice(ConfigError):
    """The voice id has characters that no provider's ids have, or none was given."""


class InvalidFormat(ConfigError):
    """The provider does not speak the audio format asked for."""


class InsecureEndpoint(ConfigError):
    """A key would travel unencrypted to another machine; see `allow_plaintext`."""


class AuthError(Error):
    """The provider refused the key, or there is none."""


class NotFoundError(Error):
    """The provider knows no such voice, model or path."""


class QuotaError(Error):
    """The account has no credits left."""


class AtCapacity(Error):
    """There is no room now."""

    default_retryable = True


class RateLimitError(AtCapacity):
    """The provider asks for fewer requests."""


class ConcurrencyLimitError(AtCapacity):
    """The provider allows no further session for this key at the moment."""


class PoolTimeout(AtCapacity):
    """No seat on a connection became free within the acquire timeout."""


class PoolFull(AtCapacity):
    """More speeches wait for a seat than `max_waiting` allows."""


class ConnectError(Error):
    """No connection came about."""

    default_retryable = True


class DNSError(ConnectError):
    """The provider's host name could not be resolved."""


class ConnectTimeout(ConnectError):
    """Dialling took longer than the dial timeout, from DNS to ready."""


class TLSError(ConnectError):
    """The server's certificate was not accepted. Never retried."""

    default_retryable = False


class ProxyError(ConnectError):
    """The proxy refused the tunnel."""

    default_retryable = False


class HandshakeError(ConnectError):
    """The server answered the upgrade with an HTTP status other than 101."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        provider: str | None = None,
        phase: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message, provider=provider, phase=phase, retryable=retryable, retry_after=retry_after
        )
        self.status = status


class ConnectionLost(Error):
    """
    A connection ended while it was needed.

    Attributes:
        code: the WebSocket close code, or None where the wire broke without one.
        reason: the peer's words, shortened.
    """

    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str = "",
        provider: str | None = None,
        phase: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message, provider=provider, phase=phase, retryable=retryable, retry_after=retry_after
        )
        self.code = code
        self.reason = reason


class ProtocolError(Error):
    """Somebody broke the rules; never raised itself."""


class LocalProtocolError(ProtocolError):
    """The caller's own calls came in an order that makes no sense, such as write after end."""


class RemoteProtocolError(ProtocolError):
    """The provider sent something that its protocol does not allow here."""

    default_retryable = True


class GenerationError(Error):
    """
    The provider reported that a generation failed.

    Attributes:
        code: the provider's own code, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | str | None = None,
        provider: str | None = None,
        phase: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message, provider=provider, phase=phase, retryable=retryable, retry_after=retry_after
        )
        self.code = code


class SpeechTimeout(Error, TimeoutError):
    """The provider owed something and did not give it in time."""

    default_retryable = True


class FirstAudioTimeout(SpeechTimeout):
    """No audio came although the provider had all it needs to speak."""


class StallTimeout(SpeechTimeout):
    """The audio stopped in the middle and did not go on."""


class DeadlineExceeded(SpeechTimeout):
    """The speech took longer than the total time allowed for it."""

    default_retryable = False


class TruncatedAudio(ConnectionLost):
    """The audio stopped before the provider's own end marker was seen."""


class EmptyAudio(Error):
    """The provider ended the generation without any audio, although there was text to speak."""

    default_retryable = True


class SlowConsumer(Error):
    """The caller left so much audio unread that keeping more of it would not be safe."""


class CircuitOpen(Error):
    """
    The provider failed too often just now; nothing is tried before `retry_after`.

    `__cause__` is the last of those failures.
    """

    default_retryable = True


class ClosedError(Error):
    """The client is closed or draining and takes no new speech."""


class BusyResource(Error):
    """One speech is read by one thread or task at a time."""


class WrongThread(Error):
    """A plain call of the async client came from another thread or event loop than its own."""


class ForkedProcess(Error):
    """A client made before `fork()` cannot be used after it; make a new one in the child."""


def chain_of(exc: BaseException) -> Iterator[BaseException]:
    """Go through *exc* and all that led to it, each once."""
    todo: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions


def without_frames(exc: _E) -> _E:
    """
    Return *exc* without tracebacks, its own and those of all that led to it.

    For what comes out of a dial: error reports print the variables of frames, and there the key is
    one of them.
    """
    for one in chain_of(exc):
        one.__traceback__ = None
    return exc


def place_of(exc: BaseException) -> str:
    """Return the file and the line that raised *exc*, for where its traceback may not stay."""
    frame = exc.__traceback__
    assert frame is not None, "it was raised"
    while frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
