"""Who waits in a lane, and what each has waited for."""

from __future__ import annotations

import gc
import weakref

import pytest

from tests.core.helpers import MULTIPLEXED, Harness, Toy, opened, settings, traits
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.core.states import SpeechState
from ttsmux.errors import ConnectError

QUIET = traits(ping=None)


def client(**retry: object) -> Harness:
    """Return a client with one socket, whose dials follow each other fast."""
    policy = {"breaker_failures": None, "budget": None, "base": 0.01, "cap": 0.01, **retry}
    return Harness(QUIET, settings(min_idle=0, max_size=1, retry=policy))


def refuse(harness: Harness, times: int) -> None:
    for _ in range(times):
        harness.refuse(next(conn for conn in harness.wires if conn.coming))
        harness.advance(0.01)


def counted(*speeches: Speech) -> list[int]:
    return [speech.metrics().attempts for speech in speeches]


@pytest.mark.parametrize("text", ["Hello. ", None])
def test_each_counts_the_dials_that_failed_while_it_waited(text: str | None) -> None:
    """Whoever came later has as many tries as the first, whether it has something to say or not."""
    harness = client(attempts=5)
    first = harness.speak(text)
    refuse(harness, 2)
    second = harness.speak(text)
    refuse(harness, 2)
    assert counted(first, second) == [4, 2]
    refuse(harness, 1)
    assert (first.state, second.state) == (SpeechState.FAILED, SpeechState.WAITING)
    assert isinstance(first.error, ConnectError) and first.error.attempt == 5
    refuse(harness, 2)
    assert isinstance(second.error, ConnectError) and second.error.attempt == 5
    assert counted(first, second) == [5, 5]


def test_who_waited_for_text_goes_on_counting_when_it_has_some() -> None:
    harness = client(attempts=5)
    speech = harness.speak()
    refuse(harness, 2)
    harness.write(speech, "Hello. ")
    assert counted(speech) == [2]
    refuse(harness, 2)
    assert speech.state is SpeechState.WAITING
    refuse(harness, 1)
    assert speech.state is SpeechState.FAILED and counted(speech) == [5]


def test_the_tries_of_a_speech_are_its_dials_and_its_generations() -> None:
    """It fails on a connection, and those that are dialled for it after that are no new start."""
    harness = client(attempts=5)
    speech = harness.speak("Hello. ")
    refuse(harness, 2)
    harness.up()
    harness.drop(harness.on(speech))
    assert speech.state is SpeechState.WAITING and counted(speech) == [3]
    harness.advance(0.01)
    refuse(harness, 1)
    assert speech.state is SpeechState.WAITING
    refuse(harness, 1)
    assert speech.state is SpeechState.FAILED and counted(speech) == [5]


def test_who_leaves_takes_its_count_along() -> None:
    """And who comes to an empty line finds nothing of it."""
    harness = client(attempts=5)
    speech = harness.speak("Hello. ")
    refuse(harness, 3)
    harness.interrupt(speech)
    refuse(harness, 1)
    other = harness.speak("Hello. ")
    refuse(harness, 1)
    assert counted(speech, other) == [3, 1]


def test_a_spoken_speech_has_counted_what_it_waited_for() -> None:
    harness = client(attempts=9)
    speech = harness.speak("Hello. ")
    refuse(harness, 4)
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech) and counted(speech) == [5]


def test_those_who_have_had_enough_together_go_on_in_the_order_in_which_they_came() -> None:
    """Those with something to say before those without."""
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in "ab"]
    harness = Harness(routes=routes, config=settings(min_idle=0, max_size=1))
    silent = harness.speak()
    speeches = [harness.speak(f"{n}. ") for n in range(3)]
    while speeches[0].plan.number == 0:
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn)
        harness.advance(0.1)
    lane = harness.mux._pool.lanes[speeches[0].plan.key]
    assert list(lane.line) == [*speeches, silent]
    assert counted(silent, *speeches) == [3, 3, 3, 3]


def test_ten_seconds_of_failing_begin_with_the_first_dial_that_failed() -> None:
    """After that no failure is repeated, whatever fails then."""
    harness = client(attempts=1000)
    speech = harness.speak()
    harness.up()
    harness.advance(7.0)
    harness.drop(harness.wires[0])  # which is no better than a dial that fails
    harness.write(speech, "Hello. ")
    assert counted(speech) == [1]
    for instant in (11.9, 16.8):
        harness.until(instant)
        harness.up()
    harness.drop(harness.on(speech))
    assert speech.state is SpeechState.WAITING
    harness.advance(0.1)
    harness.up()
    harness.until(17.1)
    harness.drop(harness.on(speech))
    assert speech.state is SpeechState.FAILED


def test_who_is_over_is_not_held_by_the_line_it_stood_in() -> None:
    """Nor is the audio that nobody reads, however long others wait there."""
    harness = opened(traits(MULTIPLEXED, ping=None), settings(min_idle=0))
    waits = harness.speak(end=False)  # has no text for an hour
    gone = []
    for _ in range(20):
        speech = harness.speak("Hello. ")
        harness.audio(speech)
        id = harness.id(speech)
        conn = harness.on(speech)
        harness.say(conn, f"error {id} generation broken!", f"released {id}")
        assert speech.state is SpeechState.FAILED
        gone.append(weakref.ref(speech))
        harness.take()
    del speech
    gc.collect()
    assert [ref() for ref in gone if ref() is not None] == []
    assert waits.state is not SpeechState.FAILED
