"""
What a user may set: frozen values, each with the reason for its default.

The core reads these and nothing else; there are no hidden constants that decide.
"""

from __future__ import annotations

import enum

import attrs
from attrs import validators

_positive = validators.gt(0.0)
_seconds = validators.optional(_positive)


class Interrupt(enum.Enum):
    """
    What an interruption does to the connection under the speech.

    Every policy stops the audio at once; they differ in what it costs the next speech.
    """

    MUTE = "mute"
    """Keep the connection and drop what still comes, by the generation's id."""
    CANCEL = "cancel"
    """Tell the provider to stop; drop everything until it has said that it did."""
    DISCARD = "discard"
    """Never use the connection again; hang up once its other speeches have ended."""


@attrs.frozen(kw_only=True)
class Timeouts:
    """Deadlines in seconds. Nothing in ttsmux waits without one."""

    dial: float = attrs.field(default=5.0, validator=_positive)
    """From DNS to ready, one budget."""
    send: float = attrs.field(default=10.0, validator=_positive)
    """A peer that takes no bytes for so long is lost."""
    first_audio: float = attrs.field(default=5.0, validator=_positive)
    """The provider owes audio and gave none."""
    gap: float = attrs.field(default=3.0, validator=_positive)
    """The provider owes more audio, beyond what is received and not yet due."""
    release: float = attrs.field(default=10.0, validator=_positive)
    """Output has ended, but the slot is not free."""
    pong: float = attrs.field(default=10.0, validator=_positive)
    """A ping is out and nothing at all came back."""
    close: float = attrs.field(default=1.0, validator=_positive)
    """The peer's half of a closing handshake; then the wire is cut."""
    total: float | None = attrs.field(default=None, validator=_seconds)
    """From `speak()` to the last audio received; off unless asked for."""


@attrs.frozen(kw_only=True)
class PoolLimits:
    """How many connections a client keeps, and for how long."""

    max_size: int = attrs.field(default=8, validator=validators.ge(1))
    """Connections at once, those being dialled or closed included."""
    min_idle: int | None = attrs.field(
        default=None, validator=validators.optional(validators.ge(0))
    )
    """Spare seats to keep ready. None adapts: more after each speech that waited for a dial."""
    max_waiting: int | None = attrs.field(
        default=None, validator=validators.optional(validators.ge(1))
    )
    """Speeches that may wait for a seat; one more fails with `PoolFull`. None: no limit."""
    acquire_timeout: float = attrs.field(default=10.0, validator=_positive)
    """Seconds a speech with text to send waits for a seat."""
    max_idle: float | None = attrs.field(default=None, validator=_seconds)
    """Seconds a connection may lie idle. None: the provider's own limit, with a margin."""
    max_age: float | None = attrs.field(default=None, validator=_seconds)
    """Seconds a connection may live. None: the provider's own limit, with a margin."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a speech is begun again. Only before its first audio is handed out."""

    attempts: int = attrs.field(default=3, validator=validators.ge(1))
    """Times a speech is tried in all; failed dials that it waited for count."""
    base: float = attrs.field(default=0.05, validator=_positive)
    cap: float = attrs.field(default=2.0, validator=_positive)
    """Before retry *i* (from 0) the wait is uniform in [0, min(cap, base · 2^i)] seconds."""


@attrs.frozen(kw_only=True)
class Settings:
    """All of the above in one value."""

    timeouts: Timeouts = attrs.field(factory=Timeouts)
    pool: PoolLimits = attrs.field(factory=PoolLimits)
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)


class Secret:
    """
    A key that does not print itself.

    `reveal()` is called once per dial, by the code that builds the upgrade request.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> tuple[object, ...]:
        msg = "a Secret is not pickled: pass the key to the other process by its own way"
        raise TypeError(msg)
