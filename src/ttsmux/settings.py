"""
What a user may set: frozen values, each with the reason for its default.

The core reads these and nothing else; there are no hidden constants that decide.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TypeVar

import attrs
from attrs import validators

from .errors import ConfigError, WrongType

_T = TypeVar("_T")

_MONTH = 30 * 24 * 3600.0
"""The longest deadline; waits for a lock or a socket overflow at 49 days on some systems."""


def check_seconds(name: str, value: object, *, zero: bool = False, most: float = math.inf) -> None:
    """
    Check that *value* is a time: more than nothing, or with *zero* also nothing.

    Raises:
        WrongType: it is no number.
        ConfigError: it is out of range.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WrongType.of(name, "a number of seconds", value)
    if not (value > 0 or (zero and value == 0)):  # which NaN is not either
        msg = (
            f"{name} must be {'0 seconds or more' if zero else 'more than 0 seconds'}, not {value}"
        )
        raise ConfigError(msg, phase="config")
    if value > most:
        msg = f"{name} must be at most {most:.0f} seconds, not {value}"
        raise ConfigError(msg, phase="config")


def check_count(name: str, value: object, *, least: int = 0) -> None:
    """
    Check that *value* is a whole number of at least *least*.

    Raises:
        WrongType: it is no int.
        ConfigError: it is too small.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongType.of(name, "a whole number", value)
    if value < least:
        msg = f"{name} must be {least} or more, not {value}"
        raise ConfigError(msg, phase="config")


def _seconds(settings: object, field: attrs.Attribute[float], value: object) -> None:
    check_seconds(field.name, value, most=_MONTH)


def _wait(settings: object, field: attrs.Attribute[float], value: object) -> None:
    check_seconds(field.name, value, zero=True, most=_MONTH)


def _natural(settings: object, field: attrs.Attribute[int], value: object) -> None:
    check_count(field.name, value)


def _positive(settings: object, field: attrs.Attribute[int], value: object) -> None:
    check_count(field.name, value, least=1)


def _unless_none(
    check: Callable[[object, attrs.Attribute[int], object], None],
) -> Callable[[object, attrs.Attribute[int], object], None]:
    # As `validators.optional`, for a field whose default is not None.
    def unless_none(settings: object, field: attrs.Attribute[int], value: object) -> None:
        if value is not None:
            check(settings, field, value)

    return unless_none


def _flag(settings: object, field: attrs.Attribute[bool], value: object) -> None:
    if not isinstance(value, bool):
        raise WrongType.of(field.name, "True or False", value)


def _of(kind: type[_T]) -> Callable[[object, attrs.Attribute[_T], _T], None]:
    def check(settings: object, field: attrs.Attribute[_T], value: _T) -> None:
        if not isinstance(value, kind):
            raise WrongType.of(field.name, f"a {kind.__name__}", value)

    return check


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
    """Deadlines in seconds, of a month at most. Nothing in ttsmux waits without one."""

    dial: float = attrs.field(default=5.0, validator=_seconds)
    """From DNS to ready, one budget; else `ConnectTimeout`."""
    send: float = attrs.field(default=10.0, validator=_seconds)
    """A peer that takes no bytes for so long is lost: `ConnectionLost`."""
    first_audio: float = attrs.field(default=5.0, validator=_seconds)
    """The provider owes audio and gave none: `FirstAudioTimeout`."""
    gap: float = attrs.field(default=3.0, validator=_seconds)
    """The provider owes more audio, beyond what is received and not yet due: `StallTimeout`."""
    release: float = attrs.field(default=10.0, validator=_seconds)
    """Output has ended, but the slot is not free; the connection is given up."""
    pong: float = attrs.field(default=10.0, validator=_seconds)
    """A ping is out and nothing at all came back; the connection is lost."""
    close: float = attrs.field(default=1.0, validator=_seconds)
    """The peer's half of a closing handshake; then the wire is cut."""
    total: float | None = attrs.field(default=None, validator=validators.optional(_seconds))
    """From `speak()` to the last audio received, else `DeadlineExceeded`; off unless asked for."""


@attrs.frozen(kw_only=True)
class PoolLimits:
    """How many connections a client keeps, and for how long."""

    max_size: int = attrs.field(default=8, validator=_positive)
    """Connections at once, those being dialled or closed included."""
    min_idle: int | None = attrs.field(default=None, validator=validators.optional(_natural))
    """
    Spare seats to keep ready; where interrupted speeches use a connection up, interruptions that
    the connections can still bear. None adapts: more after each speech that waited for a dial.
    """
    max_waiting: int | None = attrs.field(default=None, validator=validators.optional(_positive))
    """
    Speeches that may wait for a seat; one more is refused with `PoolFull`, by `speak()` itself. Who
    waits for a dial is one of them, and so is who has no text yet. None: no limit.
    """
    acquire_timeout: float = attrs.field(default=10.0, validator=_seconds)
    """
    Seconds a speech with text to send waits for a seat on one route, else it goes to the next, if
    there is one that may help, or fails with `PoolTimeout`. Once it has failed for
    so long, without any audio, it is not tried again. One that has begun waits for longer where its
    key allows no more requests within a minute.
    """
    max_idle: float | None = attrs.field(default=None, validator=validators.optional(_seconds))
    """Seconds a connection may lie idle, if its provider's own limit, with a margin, is no less."""
    max_age: float | None = attrs.field(default=None, validator=validators.optional(_seconds))
    """Seconds a connection may live, if its provider's own limit, with a margin, is no less."""
    max_generations: int | None = attrs.field(
        default=None, validator=validators.optional(_positive)
    )
    """Generations a connection may serve before it takes nothing new. None: any number."""
    reconnect_jitter: float = attrs.field(default=20.0, validator=_wait)
    """
    Seconds, at most, after which a spare takes the place of a connection that the provider ended or
    that broke; how many is left to chance, so that a thousand clients that lost theirs at once do
    not come back at once. A speech is dialled for at once all the same.
    """


class OnPartial(enum.Enum):
    """
    What becomes of a speech that fails after some of its audio was handed out.

    Before that a failure is repeated from the beginning, which nobody hears.
    """

    RAISE = "raise"
    """It fails; `Error.delivered` says what was handed out."""
    RESUME = "resume"
    """It goes on where it broke off; `AudioChunk.resumed` says where that is."""
    RESTART = "restart"
    """
    It begins again from the beginning if nothing of it was played: `Speech.played(0)` was said, or
    it is `read()` or saved as a whole. Else it fails.
    """


def _on_partial(value: OnPartial | str) -> OnPartial:
    words = ", ".join(policy.value for policy in OnPartial)
    if not isinstance(value, OnPartial | str):
        raise WrongType.of("on_partial", f"one of {words}", value)
    try:
        return OnPartial(value)
    except ValueError:
        msg = f"on_partial takes one of {words}"
        raise ConfigError(msg, phase="config") from None


@attrs.frozen(kw_only=True)
class KeyLimits:
    """
    What a provider allows a key, where you know more than the adapter: by your plan, above all.

    They hold for all clients of this process with the same key at the same place together; each
    heeds what it was told itself.
    """

    connections: int | None = attrs.field(default=None, validator=validators.optional(_positive))
    """
    Sockets, and requests over HTTP, at once; those being dialled or closed included. None: what the
    adapter knows.
    """
    generations: int | None = attrs.field(default=None, validator=validators.optional(_positive))
    """Speeches at once, as the provider counts them: until it lets go of them. None: the same."""
    requests_per_minute: int | None = attrs.field(
        default=None, validator=validators.optional(_positive)
    )
    """Generations begun within any minute, those that are begun again included. None: the same."""
    shared: bool = attrs.field(default=True, validator=_flag)
    """False: nobody else counts, for behind this key are several accounts."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """
    When a speech is begun again, and what becomes of one that was heard in part.

    What all speeches of one route share keeps a provider in trouble from being asked ever more: a
    budget that retries are paid from, and a circuit breaker.
    """

    attempts: int = attrs.field(default=10, validator=_positive)
    """
    Times a speech is tried on a route; failed dials that it waited for count. If it has failed for
    `PoolLimits.acquire_timeout` seconds it is not tried again. Of a provider that fails every
    second time, ten tries leave one speech of a thousand unspoken; seven would leave eight.
    """
    switch_after: int = attrs.field(default=3, validator=_positive)
    """
    The same, where there is another route that may help: then it goes there. And where the provider
    ends without any audio, for that text may never have any.
    """
    base: float = attrs.field(default=0.05, validator=_seconds)
    cap: float = attrs.field(default=2.0, validator=_seconds)
    """Before retry *i* (from 0) the wait is uniform in [0, min(cap, base · 2^i)] seconds."""
    budget: int | None = attrs.field(default=500, validator=_unless_none(_natural))
    """
    Tokens that retries are paid from: 14 after a failure, 5 where the provider asked for fewer
    requests; once, if it has failed several speeches. What is spoken to its end, or interrupted
    while it is heard, gives back what its retries cost, or 1 where there were none. Without enough
    of them a failure is final. None: retries cost nothing.
    """
    breaker_failures: int | None = attrs.field(default=20, validator=_unless_none(_positive))
    """
    Failures of the provider's in a row after which nothing is tried for a while, and speeches go to
    the next route or fail with `CircuitOpen`. The same voice over HTTP is one only if the last of
    those failures may be of WebSockets alone. None: never.
    """
    breaker_after: float = attrs.field(default=20.0, validator=_wait)
    """Seconds of nothing but failures after which five of them are enough for that."""
    breaker_base: float = attrs.field(default=2.0, validator=_seconds)
    breaker_cap: float = attrs.field(default=60.0, validator=_seconds)
    """
    For how many seconds: min(cap, base · 2^i) ± 20 % the *i*-th time in a row (from 0). Then one
    speech or one connection finds out whether the provider speaks again.
    """
    on_partial: OnPartial = attrs.field(default=OnPartial.RAISE, converter=_on_partial)
    """After the first audio was handed out: ``"raise"``, ``"resume"`` or ``"restart"``."""
    resumes: int = attrs.field(default=1, validator=_natural)
    """Times a speech is resumed or restarted at most; each is one of its attempts, too."""


@attrs.frozen(kw_only=True)
class Settings:
    """All of the above in one value."""

    timeouts: Timeouts = attrs.field(factory=Timeouts, validator=_of(Timeouts))
    pool: PoolLimits = attrs.field(factory=PoolLimits, validator=_of(PoolLimits))
    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=_of(RetryPolicy))


class Secret:
    """
    A key that does not print itself.

    `reveal()` is called once per dial, by the code that builds the upgrade request.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise WrongType.of("a Secret", "a str", value)
        self._value = value

    def reveal(self) -> str:
        """Return the key itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> tuple[object, ...]:
        msg = "a Secret is not pickled: pass the key to the other process by its own way"
        raise TypeError(msg)
