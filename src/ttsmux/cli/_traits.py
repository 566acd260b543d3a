"""What the traits of a provider come to, in words for people."""

from __future__ import annotations

import enum

from ..adapter import Traits
from ..settings import Interrupt
from ._report import count


class Concurrency(enum.Enum):
    """How speeches share a connection."""

    MULTIPLEXED = "multiplexed"
    SEQUENTIAL = "sequential"
    SINGLE_USE = "single-use"

    @classmethod
    def of(cls, traits: Traits) -> Concurrency:
        if traits.seats > 1:
            return cls.MULTIPLEXED
        return cls.SEQUENTIAL if traits.reusable else cls.SINGLE_USE


LIMITS = (
    "slots",
    "max_muted",
    "max_text",
    "max_idle",
    "max_age",
    "connections",
    "generations",
    "requests_per_minute",
    "max_message",
)
"""The traits that are limits."""

_POLICIES = {
    Interrupt.MUTE: ("muted", "late audio is dropped by its id"),
    Interrupt.CANCEL: ("cancelled", "the provider stops, and says so"),
    Interrupt.DISCARD: ("discarded", "the connection is given up"),
}


def summary(traits: Traits) -> str:
    """Say what tells this provider from others, in a few words."""
    speeches = f"{traits.seats} speeches at once" if traits.seats > 1 else "a speech at a time"
    if not traits.reusable:
        speeches = "a speech"
    return f"{speeches} on a connection, {_POLICIES[traits.interrupt][0]} when interrupted"


def connection(traits: Traits) -> str:
    """Say how speeches share a connection."""
    seats = count(traits.seats, "seat")
    match Concurrency.of(traits):
        case Concurrency.MULTIPLEXED:
            return f"multiplexed: {seats} for speeches at once"
        case Concurrency.SEQUENTIAL:
            return f"sequential: {seats}, one speech after the other"
        case Concurrency.SINGLE_USE:
            return f"single-use: {seats}, one speech and no other"


def interruption(traits: Traits) -> str:
    """Say what an interruption does by default, and what it may do."""
    others = [policy.value for policy in traits.policies if policy is not traits.interrupt]
    choice = f", or {', '.join(others)}" if others else ""
    return f"{traits.interrupt.value} ({_POLICIES[traits.interrupt][1]}){choice}"


def limits(traits: Traits) -> str:
    """List what has an end; slots and the bytes of a message are for programs."""
    said = {
        "{:g} s idle": traits.max_idle,
        "{:g} s of age": traits.max_age,
        "{} muted at once": traits.max_muted,
        "{:,} characters at once": traits.max_text,
        "{} connections a key": traits.connections,
        "{} speeches a key": traits.generations,
        "{} requests a minute": traits.requests_per_minute,
    }
    return ", ".join(words.format(it) for words, it in said.items() if it is not None) or "none"
