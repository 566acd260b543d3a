"""What the end of a client does to speeches whose audio has all come."""

from __future__ import annotations

import pytest

from tests.core.helpers import MULTIPLEXED, SEQUENTIAL, Harness, opened, settings, traits
from tests.core.test_admission import Town
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import SpeechState
from ttsmux.errors import AtCapacity, ClosedError

QUIET = traits(ping=None)


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


def test_draining_is_not_over_while_a_speech_is_to_be_tried_again() -> None:
    """There is no connection at that moment, and there will be one more."""
    harness = Harness()
    speech = harness.speak("Hello. ")
    ticket = harness.drain()
    harness.refuse(harness.wires[0])
    assert harness.mux.stats().size == 0 and not ticket.done
    harness.advance(1.0)
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert not ticket.done
    harness.hung_up()
    assert ticket.done and harness.finish(speech) == b"\1\2\3\4"


def test_draining_is_not_over_while_a_speech_is_in_line_for_another_clients_connections() -> None:
    """It has none yet, and nothing is dialled for it until one of those is given back."""
    town, shape = Town(), traits(SEQUENTIAL, ping=None, connections=1)
    other, drains = town.client(shape), town.client(shape)
    busy = other.speak("One. ")
    other.up()
    speech = drains.speak("Two. ")
    town.settle()
    ticket = drains.drain()
    assert drains.mux.stats().size == 0 and not ticket.done
    other.audio(busy)
    other.done(busy)
    town.settle()
    other.hung_up()
    town.settle()
    drains.up()
    drains.audio(speech)
    drains.done(speech)
    assert not ticket.done
    drains.hung_up()
    assert ticket.done and drains.finish(speech) == b"\1\2\3\4"


def test_who_drains_dials_no_spares() -> None:
    """Neither those that were lost nor those that were refused come back; nobody will come."""
    harness = Harness(QUIET, settings(min_idle=2))
    speech = harness.speak("Hello ", end=False)
    first, second, third = harness.wires
    harness.up(first, second)
    harness.drain()
    harness.drop(second, 1001)
    harness.refuse(third)
    harness.advance(300.0)
    assert len(harness.wires) == 3 and harness.on(speech) is first


def test_who_drains_has_nothing_prewarmed() -> None:
    """It ends at once with what is ready; one that is being dialled is one too many by then."""
    harness = Harness(QUIET, settings(min_idle=0))
    speech = harness.speak("Hello ", end=False)
    harness.up()
    prewarm = harness.prewarm(3, timeout=100.0)
    assert len(harness.wires) == 4 and not prewarm.done
    harness.drain()
    assert harness.read(prewarm) is END and prewarm.ready == 1
    for conn in harness.wires[1:]:
        harness.refuse(conn)
    harness.advance(300.0)
    assert len(harness.wires) == 4 and harness.on(speech) is harness.wires[0]


def test_who_drains_dials_for_what_is_spoken() -> None:
    """One connection, in the place of one that did not come about."""
    harness = Harness(QUIET, settings(min_idle=2))
    speech = harness.speak("Hello. ")
    harness.drain()
    for conn in list(harness.wires):
        harness.refuse(conn)
    harness.advance(1.0)
    harness.up()
    assert len(harness.wires) == 4 and harness.on(speech) is harness.wires[3]


def test_draining_is_over_when_the_last_speech_is_turned_away() -> None:
    """It has text at last, and no request is left of this minute's."""
    harness = Harness(traits(SEQUENTIAL, requests_per_minute=1))
    harness.spoken()
    speech = harness.speak()
    ticket = harness.drain()
    harness.write(speech, "Two. ")
    assert isinstance(speech.error, AtCapacity)
    harness.hung_up()
    assert ticket.done


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


@pytest.mark.parametrize("end", ["drain", "close"])
def test_what_ended_by_itself_was_not_cut_short(end: str) -> None:
    """Read or not, and whether or not connections are gone."""
    harness = opened(MULTIPLEXED)
    read = harness.speak("Hello. ")
    harness.audio(read)
    harness.done(read)
    harness.finish(read)
    if end == "drain":
        received = harness.speak("Two. ")
        harness.drain()
        harness.audio(received)
        harness.done(received)
        assert not received.over, "it is yet to be read"
    harness.close()
    assert not harness.mux.cut_short


def test_what_was_speaking_was_cut_short() -> None:
    """And remains so, however often it is closed."""
    harness, _, _ = drained()
    assert harness.mux.cut_short
    harness.close()
    assert harness.mux.cut_short


@pytest.mark.parametrize("speaks", [True, False])
def test_a_torn_step_cuts_short_what_speaks(speaks: bool) -> None:
    """If anything does."""
    harness = opened(MULTIPLEXED)
    if speaks:
        harness.speak("Hello. ")
    harness.mux.abandon(KeyboardInterrupt())
    assert harness.mux.cut_short is speaks
