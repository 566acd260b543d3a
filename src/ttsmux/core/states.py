"""
The states, the inputs, and the four tables that say which follows which.

Each table is one dict, `{state: {input: next state}}`; the diagrams in the documentation are drawn
from them. An input that a state does not list is a mistake of whoever made it: every input is ours
or theirs, and `step` raises accordingly. The tables hold no effects; those are in the methods of
`Speech`, `Generation`, `Connection` and `Breaker`, each of which calls `step` before it does
anything else.

One rule is not in the tables, because a state triggers it and not an input: a connection that is
DRAINING with no live generation left hangs up (`Connection._empty`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar

from ..errors import LocalProtocolError, RemoteProtocolError


class _Name(enum.Enum):
    """One of a few names, found in a table as fast as any object: each step looks up two."""

    __hash__ = object.__hash__


class SpeechState(_Name):
    """What a caller's speech is doing."""

    WAITING = "waiting"
    """No generation: for want of text, of a seat, or between two generations."""
    SPEAKING = "speaking"
    """It has a generation on a connection."""
    RECEIVED = "received"
    """All its audio is here; some may be unread."""
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class SpeechInput(_Name):
    """What can happen to a speech."""

    SEAT = "seat"
    """A connection took it."""
    UNSEAT = "unseat"
    """Its generation is over, and there is or may be more to say: next sentence, or a retry."""
    RECEIVE = "receive"
    """The provider ended its last generation, or there was nothing to say."""
    READ_OUT = "read out"
    """The caller was handed the end."""
    INTERRUPT = "interrupt"
    FAIL = "fail"


class GenerationState(_Name):
    """What the provider is doing for us."""

    OPEN = "open"
    """Its first frame is sent; more text may follow."""
    FINISHING = "finishing"
    """The provider knows that the text is over."""
    RELEASING = "releasing"
    """All audio is here; the slot is not free yet."""
    MUTED = "muted"
    """Nobody listens; what still comes for it is dropped."""
    DONE = "done"


class GenerationInput(_Name):
    """What can happen to a generation."""

    END = "end"
    MUTE = "mute"
    OUTPUT_END = "output end"
    RELEASE = "release"
    """The provider let go of it."""
    DROP = "drop"
    """It failed, or its connection is gone."""


class ConnectionState(_Name):
    """What a wire is good for."""

    DIALLING = "dialling"
    GREETING = "greeting"
    """The wire is up; the provider has not said that it is ready."""
    OPEN = "open"
    BARRIER = "barrier"
    """A cancel is out on a wire without ids: drop everything until it is acknowledged."""
    DRAINING = "draining"
    """Nothing new; hang up when the last live generation has ended."""
    CLOSING = "closing"
    """Hung up by us; still a socket until the shell says that it is gone."""
    CLOSED = "closed"


class ConnectionInput(_Name):
    """What can happen to a connection."""

    DIALLED = "dialled"
    DIAL_FAILED = "dial failed"
    READY = "ready"
    HOLD = "hold"
    """A cancel went out on a wire without ids."""
    ACKNOWLEDGE = "acknowledge"
    RETIRE = "retire"
    """Doomed, with neighbours that go on speaking."""
    HANG_UP = "hang up"
    LOST = "lost"


class BreakerState(_Name):
    """Whether a route is tried."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """Its provider failed too often in a row: not before a while is over."""
    HALF_OPEN = "half-open"
    """One connection finds out whether the provider speaks again: the probe."""


class BreakerInput(_Name):
    """What can happen to a route."""

    SUCCEED = "succeed"
    """The provider did something for us: a handshake alone is nothing."""
    FAIL = "fail"
    """It did not; but too rarely in a row, or together with others, or not at the probe."""
    TRIP = "trip"
    """It failed too often in a row, or at the probe."""
    PROBE = "probe"
    """A connection becomes the probe: the first one, or in the place of one that lies idle."""
    WITHDRAW = "withdraw"
    """The probe is gone and has told nothing."""


class Trust(_Name):
    """How far a provider has kept its word to stop what was cancelled."""

    UNTRIED = "untried"
    GIVEN = "given"
    """It has acknowledged a cancel."""
    EARNED = "earned"
    """And was silent afterwards."""
    BROKEN = "broken"


_THEIRS = frozenset(
    {
        GenerationInput.OUTPUT_END,
        GenerationInput.RELEASE,
        ConnectionInput.DIALLED,
        ConnectionInput.DIAL_FAILED,
        ConnectionInput.READY,
        ConnectionInput.ACKNOWLEDGE,
        ConnectionInput.LOST,
    }
)

SPEECH: dict[SpeechState, dict[SpeechInput, SpeechState]] = {
    SpeechState.WAITING: {
        SpeechInput.SEAT: SpeechState.SPEAKING,
        SpeechInput.RECEIVE: SpeechState.RECEIVED,
        SpeechInput.INTERRUPT: SpeechState.INTERRUPTED,
        SpeechInput.FAIL: SpeechState.FAILED,
    },
    SpeechState.SPEAKING: {
        SpeechInput.UNSEAT: SpeechState.WAITING,
        SpeechInput.RECEIVE: SpeechState.RECEIVED,
        SpeechInput.INTERRUPT: SpeechState.INTERRUPTED,
        SpeechInput.FAIL: SpeechState.FAILED,
    },
    SpeechState.RECEIVED: {
        SpeechInput.READ_OUT: SpeechState.COMPLETED,
        SpeechInput.INTERRUPT: SpeechState.INTERRUPTED,
        SpeechInput.FAIL: SpeechState.FAILED,
    },
    SpeechState.COMPLETED: {},
    SpeechState.INTERRUPTED: {},
    SpeechState.FAILED: {},
}

GENERATION: dict[GenerationState, dict[GenerationInput, GenerationState]] = {
    GenerationState.OPEN: {
        GenerationInput.END: GenerationState.FINISHING,
        GenerationInput.MUTE: GenerationState.MUTED,
        GenerationInput.OUTPUT_END: GenerationState.RELEASING,
        GenerationInput.DROP: GenerationState.DONE,
    },
    GenerationState.FINISHING: {
        GenerationInput.MUTE: GenerationState.MUTED,
        GenerationInput.OUTPUT_END: GenerationState.RELEASING,
        GenerationInput.DROP: GenerationState.DONE,
    },
    GenerationState.RELEASING: {
        GenerationInput.RELEASE: GenerationState.DONE,
        GenerationInput.DROP: GenerationState.DONE,
    },
    GenerationState.MUTED: {
        GenerationInput.OUTPUT_END: GenerationState.MUTED,
        GenerationInput.RELEASE: GenerationState.DONE,
        GenerationInput.DROP: GenerationState.DONE,
    },
    GenerationState.DONE: {},
}

CONNECTION: dict[ConnectionState, dict[ConnectionInput, ConnectionState]] = {
    ConnectionState.DIALLING: {
        ConnectionInput.DIALLED: ConnectionState.GREETING,
        ConnectionInput.DIAL_FAILED: ConnectionState.CLOSED,
        ConnectionInput.HANG_UP: ConnectionState.CLOSING,
    },
    ConnectionState.GREETING: {
        ConnectionInput.READY: ConnectionState.OPEN,
        ConnectionInput.HANG_UP: ConnectionState.CLOSING,
        ConnectionInput.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.OPEN: {
        ConnectionInput.HOLD: ConnectionState.BARRIER,
        ConnectionInput.RETIRE: ConnectionState.DRAINING,
        ConnectionInput.HANG_UP: ConnectionState.CLOSING,
        ConnectionInput.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.BARRIER: {
        ConnectionInput.ACKNOWLEDGE: ConnectionState.OPEN,
        ConnectionInput.HANG_UP: ConnectionState.CLOSING,
        ConnectionInput.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.DRAINING: {
        ConnectionInput.HANG_UP: ConnectionState.CLOSING,
        ConnectionInput.LOST: ConnectionState.CLOSED,
    },
    # Races, not errors: a dial that succeeds as it is given up, a frame read before the HangUp.
    ConnectionState.CLOSING: {
        ConnectionInput.DIALLED: ConnectionState.CLOSING,
        ConnectionInput.DIAL_FAILED: ConnectionState.CLOSED,
        ConnectionInput.LOST: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSED: {
        ConnectionInput.DIALLED: ConnectionState.CLOSED,
        ConnectionInput.DIAL_FAILED: ConnectionState.CLOSED,
        ConnectionInput.LOST: ConnectionState.CLOSED,
    },
}

BREAKER: dict[BreakerState, dict[BreakerInput, BreakerState]] = {
    BreakerState.CLOSED: {
        BreakerInput.SUCCEED: BreakerState.CLOSED,
        BreakerInput.FAIL: BreakerState.CLOSED,
        BreakerInput.TRIP: BreakerState.OPEN,
    },
    # What was under way when it opened may still succeed, and fail.
    BreakerState.OPEN: {
        BreakerInput.SUCCEED: BreakerState.CLOSED,
        BreakerInput.FAIL: BreakerState.OPEN,
        BreakerInput.PROBE: BreakerState.HALF_OPEN,
    },
    BreakerState.HALF_OPEN: {
        BreakerInput.SUCCEED: BreakerState.CLOSED,
        BreakerInput.FAIL: BreakerState.HALF_OPEN,
        BreakerInput.TRIP: BreakerState.OPEN,
        BreakerInput.PROBE: BreakerState.HALF_OPEN,
        BreakerInput.WITHDRAW: BreakerState.OPEN,
    },
}

_State = TypeVar("_State", SpeechState, GenerationState, ConnectionState, BreakerState)
_Input = TypeVar("_Input", SpeechInput, GenerationInput, ConnectionInput, BreakerInput)


def step(table: Mapping[_State, Mapping[_Input, _State]], state: _State, input: _Input) -> _State:
    """
    Return the state that follows.

    Raises:
        LocalProtocolError: the input is ours and makes no sense in this state.
        RemoteProtocolError: the same, and the input is theirs.
    """
    try:
        return table[state][input]
    except KeyError:
        kind = RemoteProtocolError if input in _THEIRS else LocalProtocolError
        msg = f"{input.value} makes no sense while {state.value}"
        raise kind(msg) from None
