"""The client as one object: inputs in, effects out, and a deadline that moves forward."""

from __future__ import annotations

import pytest

from tests.core.helpers import MULTIPLEXED, SEQUENTIAL, Harness, opened, settings, traits
from ttsmux.adapter import PING, Flush
from ttsmux.core.effects import Dial, HangUp, Report, Send, Wake
from ttsmux.core.speech import END
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import ConfigError, DeadlineExceeded


def test_effects_are_returned_once() -> None:
    """`pending` says whether there are any."""
    harness = Harness()
    mux = harness.mux
    assert not mux.agenda.pending
    speech = mux.speak({}, 0.0)
    assert mux.agenda.pending
    assert [type(effect) for effect in mux.effects()] == [Dial]
    assert not mux.agenda.pending and mux.effects() == []
    mux.interrupt(speech, 0.0)
    assert [type(effect) for effect in mux.effects()] == [Report]


def test_a_deadline_that_comes_nearer_is_pending_too() -> None:
    """Else a shell that looks only then would sleep through it."""
    harness = opened(config=settings(min_idle=0, max_size=1))
    harness.speak("Busy. ")
    mux, before = harness.mux, harness.mux.deadline
    assert not mux.agenda.pending and before is not None
    mux.speak({}, harness.now, text=["In line. "], total=0.5)
    assert mux.agenda.pending and mux.effects() == []
    assert mux.deadline == harness.now + 0.5 < before
    assert not mux.agenda.pending


def test_a_client_has_a_route() -> None:
    """Without any there is nothing to speak with."""
    with pytest.raises(ConfigError, match="at least one route"):
        Harness(routes=[])


def test_a_wrong_override_leaves_nothing_behind() -> None:
    """It is refused before anything is dialled."""
    harness = Harness()
    with pytest.raises(ConfigError):
        harness.speak(colour="red")
    assert harness.effects == [] and harness.mux.deadline is None


def test_audio_that_nobody_waits_for_causes_nothing() -> None:
    """The hot path: no effect, no decision, no clock."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.take()
    harness.audio(speech)
    assert harness.effects == []


def test_a_reader_that_waits_is_woken_once() -> None:
    """Three pieces of audio, one Wake."""
    harness = opened()
    speech = harness.speak("Hello. ")
    assert harness.read(speech) is None
    for _ in range(3):
        harness.audio(speech)
    assert [e.handle for e in harness.effects if isinstance(e, Wake)] == [speech]


def test_a_client_that_is_idle_has_no_deadline() -> None:
    """A provider without limits and pings leaves the clock alone."""
    harness = opened(traits(ping=None))
    harness.spoken()
    harness.advance(100.0)
    assert harness.mux.deadline is None


def test_ticking_too_early_or_too_often_changes_nothing() -> None:
    """A clock that is off by a little does no harm."""
    harness = opened(traits(MULTIPLEXED, ping=None))
    harness.speak("Hello. ")
    before = list(harness.effects)
    for _ in range(3):
        harness.tick()
    harness.now = 4.9
    harness.tick()
    assert harness.effects == before


def test_a_late_tick_does_all_that_is_due() -> None:
    """A shell that was asleep for an hour meets every deadline in one step."""
    harness = opened(config=settings(min_idle=0, max_size=3))
    speaking = harness.speak("1. ")
    silent = harness.speak()
    waiting = harness.speak(total=5.0)
    harness.now = 3600.0
    harness.tick()
    assert waiting.state is SpeechState.FAILED
    assert speaking.state is not SpeechState.SPEAKING
    assert silent.state is SpeechState.WAITING


def test_two_deadlines_at_once() -> None:
    """The speech has used up its time as the stall is noticed: the first one counts."""
    harness = opened(traits(MULTIPLEXED, ping=None), settings(min_idle=0, max_size=1))
    harness.advance(1.0)
    speech = harness.speak("Hello. ", total=5.0)
    harness.advance(5.0)
    with pytest.raises(DeadlineExceeded):
        harness.read(speech)
    assert harness.doomed() == []


def test_a_day_of_pings() -> None:
    """Every twenty seconds, and nothing else happens."""
    harness = opened()
    conn = harness.wires[0]
    while harness.now < 86_400.0:
        due = harness.mux.deadline
        assert due is not None
        before = len(harness.effects)
        harness.until(due)
        if len(harness.effects) > before:
            harness.now += 0.05
            harness.alive(conn)
    pings = [e for e in harness.effects if isinstance(e, Send) and e.frames == [PING]]
    assert 4300 <= len(pings) <= 4321
    assert len(harness.effects) == len(pings)
    assert conn.state is ConnectionState.OPEN


def test_text_flush_and_end_go_out_in_order() -> None:
    """One Send a call, nothing for calls that come to nothing."""
    harness = opened(traits(flush=Flush.MESSAGE))
    speech = harness.speak("One. ", end=False)
    harness.flush(speech)
    harness.write(speech, "")
    harness.write(speech, "Two. ")
    harness.end(speech)
    sends = [len(effect.frames) for effect in harness.effects if isinstance(effect, Send)]
    assert sends == [2, 1, 1, 1]
    assert harness.words(harness.wires[0]) == ["open", "text One. ", "flush", "text Two. ", "end"]


def test_a_client_whose_shell_has_ended_has_no_connections() -> None:
    """Whatever they were at: the books are closed, and nothing is to be done."""
    harness = opened(MULTIPLEXED, settings(min_idle=0, max_size=3), n=2)
    harness.speak("Hello. ")
    waits = harness.speak("Elsewhere. ", voice="other")
    for conn in harness.wires:
        conn.handle = conn
    harness.mux.abandon(KeyboardInterrupt())
    harness.collect()
    stats = harness.mux.stats()
    assert (stats.size, stats.dialling, stats.live) == (3, 0, 2)
    assert stats.requests == stats.leased + stats.unserved == 2 and waits.over
    harness.mux.deserted(harness.now)
    harness.collect()
    stats = harness.mux.stats()
    assert (stats.size, stats.live, stats.held, stats.waiting) == (0, 0, 0, 0)
    assert stats.opened == stats.closed == 2 and stats.leased == stats.released == 1


def test_what_was_never_dialled_is_on_no_wire_that_could_end() -> None:
    """A step was torn before its dial was begun."""
    harness = Harness()
    harness.mux.speak({}, 0.0)
    harness.mux.abandon(KeyboardInterrupt())
    harness.mux.deserted(0.0)
    assert harness.mux.stats().size == 1


def test_a_deadline_that_is_missed_is_told_as_it_was_set() -> None:
    """To the last digit, whatever the clock says."""
    harness = Harness()
    harness.advance(12345.678)
    for total in (1e-9, 0.1, 12.34):
        speech = harness.speak(total=total)
        harness.advance(20.0)
        with pytest.raises(DeadlineExceeded, match=rf"within the {total:g} s allowed"):
            harness.read(speech)


def test_the_order_of_a_close() -> None:
    """What speaks is cancelled, then every wire is hung up, and END comes with the last."""
    harness = opened(MULTIPLEXED)
    harness.speak("Hello. ")
    harness.take()
    ticket = harness.close()
    kinds = [type(effect) for effect in harness.effects if not isinstance(effect, Report)]
    assert kinds == [Send, HangUp]
    harness.hung_up()
    assert harness.read(ticket) is END
    harness.advance(100.0)
    assert harness.mux.deadline is None


def test_numbers_go_on_from_a_mux_that_is_given_up() -> None:
    """A log has no two speeches of a client by one number, and no two connections."""
    torn, harness = opened(SEQUENTIAL), Harness(SEQUENTIAL)
    torn.speak("Hello. ")
    torn.prewarm(2)
    harness.mux.number_on(torn.mux)
    speech = harness.speak("World. ")
    harness.up()
    assert speech.number == 2
    assert [conn.number for conn in harness.wires] == [len(torn.wires) + 1]
    assert harness.mux.stats().dials == 1, "they are counted from nought"
