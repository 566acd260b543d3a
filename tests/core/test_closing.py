"""What closing does to speeches: those that speak fail, those that are received are read out."""

from __future__ import annotations

import pytest

from tests.core.helpers import MULTIPLEXED, opened
from ttsmux.core.states import SpeechState
from ttsmux.errors import ClosedError


@pytest.mark.parametrize("drained", [False, True])
def test_closing_leaves_what_was_received(drained: bool) -> None:
    """A speech whose audio has all come is no longer speaking: it is read to its end."""
    harness = opened(MULTIPLEXED)
    received = harness.speak("Hello. ")
    harness.audio(received)
    harness.done(received)
    speaks = harness.speak("Two. ")
    if drained:
        harness.drain()
    harness.close()
    assert isinstance(speaks.error, ClosedError)
    assert harness.finish(received) == b"\1\2\3\4"
    assert received.state is SpeechState.COMPLETED


def test_a_speech_that_was_received_may_be_interrupted_after_closing() -> None:
    """And says how much was heard, as ever."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.done(speech)
    harness.close()
    assert harness.mux.interrupt(speech, harness.now).heard_seconds == 0
    assert speech.state is SpeechState.INTERRUPTED
