"""What the end of a client does to speeches whose audio has all come."""

from __future__ import annotations

from tests.core.helpers import MULTIPLEXED, Harness, opened
from ttsmux.core.speech import Speech
from ttsmux.core.states import SpeechState
from ttsmux.errors import ClosedError


def drained() -> tuple[Harness, Speech, Speech]:
    """Return one that is received and one that speaks, of a client that drains and is closed."""
    harness = opened(MULTIPLEXED)
    received = harness.speak("Hello. ")
    harness.audio(received)
    harness.done(received)
    speaks = harness.speak("Two. ")
    harness.drain()
    harness.close()
    return harness, received, speaks


def test_what_was_drained_is_read_out() -> None:
    """Its end need not wait for a reader; one that had to be cut short fails all the same."""
    harness, received, speaks = drained()
    assert isinstance(speaks.error, ClosedError)
    assert harness.finish(received) == b"\1\2\3\4"
    assert received.state is SpeechState.COMPLETED


def test_what_was_drained_may_be_interrupted() -> None:
    """And says how much was heard, as ever."""
    harness, received, _ = drained()
    assert harness.mux.interrupt(received, harness.now).heard_seconds == 0
    assert received.state is SpeechState.INTERRUPTED


def test_closing_twice_spares_nobody_who_came_first() -> None:
    """A client that was closed at once stays so."""
    harness = opened(MULTIPLEXED)
    received = harness.speak("Hello. ")
    harness.audio(received)
    harness.done(received)
    harness.close()
    harness.close()
    assert isinstance(received.error, ClosedError)
