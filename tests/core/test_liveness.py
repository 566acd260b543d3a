"""How a connection is kept alive, how a dead one is found out, and what that costs a caller."""

from __future__ import annotations

import pytest

from tests.core.helpers import MULTIPLEXED, SECOND, Harness, Toy, opened, settings, traits
from tests.core.test_breaker import breaker
from ttsmux.core.connection import Connection
from ttsmux.core.route import Route
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import AtCapacity, ConnectionLost, FirstAudioTimeout, StallTimeout

QUIET = traits(ping=None)
LONE = settings(min_idle=0, retry={"attempts": 1})


def sent(harness: Harness, conn: Connection, seconds: float, word: str) -> list[float]:
    """Let time pass; return when *word* went out on *conn*."""
    found, end = [], harness.now + seconds
    before = harness.words(conn).count(word)
    while (due := harness.mux.deadline) is not None and due <= end:
        harness.until(due)
        now = harness.words(conn).count(word)
        found += [due] * (now - before)
        before = now
    harness.until(end)
    return found


# --- kept alive by the provider's own rules -------------------------------------------------------


def test_a_connection_says_that_it_is_there_as_often_as_its_provider_wants() -> None:
    """For an hour, to the instant, and nothing else is sent."""
    harness = opened(traits(ping=None, connection_keepalive=8.0))
    conn = harness.wires[0]
    assert sent(harness, conn, 3600.0, "alive") == [8.0 * i for i in range(1, 451)]
    assert set(harness.words(conn)) == {"alive"}
    assert len(harness.wires) == 1


def test_what_is_spoken_counts_as_a_keepalive() -> None:
    harness = opened(traits(ping=None, connection_keepalive=8.0))
    harness.advance(5.0)
    speech = harness.spoken()
    assert speech.state is SpeechState.COMPLETED
    assert sent(harness, harness.wires[0], 17.0, "alive") == [13.0, 21.0]


def test_a_generation_that_waits_for_text_is_kept_alive_for_itself() -> None:
    shape = traits(MULTIPLEXED, ping=None, generation_keepalive=15.0)
    harness = opened(shape)
    first = harness.speak("One. ", end=False)
    harness.advance(5.0)
    harness.speak("Two. ", end=False)
    assert sent(harness, harness.on(first), 40.0, "alive") == [15.0, 20.0, 30.0, 35.0, 45.0]


def test_a_provider_that_bears_pings_gets_one_after_twenty_seconds_of_silence() -> None:
    """An answer restarts the clock: an hour of an idle connection is 180 pings."""
    harness = opened(traits())
    conn = harness.wires[0]
    found = []
    for _ in range(180):
        found += sent(harness, conn, 20.0, "PING")
        harness.alive(conn)
    assert found == [20.0 * i for i in range(1, 181)]
    assert conn.idle


# --- found out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ping", [None, 20.0])
def test_a_half_open_socket_is_found_out_by_the_first_audio_clock(ping: float | None) -> None:
    """Five seconds after the text, to the instant, not after pings that nobody answers."""
    harness = opened(traits(ping=ping), LONE)
    harness.advance(7.0)
    speech = harness.speak("Hello. ")
    harness.until(11.999)
    assert speech.state is SpeechState.SPEAKING
    harness.until(12.0)
    assert isinstance(speech.error, FirstAudioTimeout)
    assert harness.wires[0].over


@pytest.mark.parametrize("ping", [None, 20.0])
def test_a_socket_that_goes_half_open_in_mid_speech_is_found_out_by_the_gap_clock(
    ping: float | None,
) -> None:
    """Three seconds after what has come is played out: ten seconds of audio are no silence."""
    harness = opened(traits(ping=ping), LONE)
    speech = harness.speak("Hello. ")
    harness.advance(1.0)
    harness.audio(speech, b"\1\2" * (10 * SECOND // 2))
    assert harness.hear(speech)
    harness.until(13.999)
    assert speech.state is SpeechState.SPEAKING
    harness.until(14.0)
    assert isinstance(speech.error, StallTimeout)
    assert harness.wires[0].over


def test_a_half_open_socket_costs_a_caller_its_deadline_and_no_error() -> None:
    """The speech is begun again on a fresh connection within the backoff, and is whole."""
    harness = opened(QUIET, settings(min_idle=0))
    speech = harness.speak("Hello. ")
    harness.advance(5.0)
    assert speech.state is SpeechState.WAITING and len(harness.dials()) == 1
    harness.up()
    harness.until(speech.not_before)
    assert harness.now <= 5.05
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


@pytest.mark.parametrize("ping", [None, 20.0])
def test_half_open_sockets_cost_a_caller_one_deadline_however_many_there_are(
    ping: float | None,
) -> None:
    """Six of them, as after a change of networks: one is tried, and the next one is fresh."""
    harness = opened(traits(ping=ping), settings(min_idle=0), n=6)
    harness.advance(15.0)
    speech = harness.speak("Hello. ")
    harness.until(19.999)
    assert sum(conn.idle for conn in harness.wires) == 5 and not harness.dials()
    harness.until(20.0)
    assert all(conn.over for conn in harness.wires[:6]) and len(harness.dials()) == 1
    harness.up()
    harness.until(speech.not_before)
    assert harness.now <= 20.05 and harness.on(speech) is harness.wires[6]
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
    stats = harness.mux.stats()
    assert (stats.dials, stats.retries, stats.circuits_opened) == (7, 1, 0)


def test_the_next_speech_meets_none_of_them() -> None:
    """Nor one of another voice, whose connections are as old."""
    harness = opened(QUIET, LONE, n=2)
    harness.prewarm(2, voice="anna")
    harness.up()
    harness.advance(5.0)
    lost = harness.speak("Hello. ")
    harness.until(10.0)
    assert isinstance(lost.error, FirstAudioTimeout)
    assert all(conn.over for conn in harness.wires)
    for voice in ({}, {"voice": "anna"}):
        speech = harness.speak("Again. ", **voice)
        harness.up()
        assert harness.on(speech) is harness.wires[-1]
    assert len(harness.wires) == 6


def test_half_open_sockets_under_a_speech_that_goes_on_cost_it_one_gap() -> None:
    """It breaks off in the middle, and goes on where something answers."""
    retry = {"on_partial": "resume"}
    harness = opened(QUIET, settings(min_idle=0, retry=retry), n=6)
    harness.advance(15.0)
    speech = harness.speak("Hello there, my dear. ")
    harness.advance(1.0)
    harness.audio(speech, b"\1\2" * (SECOND // 2))
    assert harness.hear(speech)
    harness.until(19.999)
    assert speech.generation is not None and not harness.dials()
    harness.until(20.0)
    assert all(conn.over for conn in harness.wires[:6]) and len(harness.dials()) == 1
    harness.up()
    harness.until(speech.not_before)
    assert harness.on(speech) is harness.wires[6]
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


def test_what_has_been_heard_meanwhile_is_not_given_up() -> None:
    """A pong while the other one kept silent: the speech is begun again on that connection."""
    harness = opened(traits(), settings(min_idle=0), n=3)
    harness.advance(15.0)
    speech = harness.speak("Hello. ")
    silent, (dead, sound) = harness.on(speech), [c for c in harness.wires if c.idle]
    harness.advance(1.0)
    harness.alive(sound)
    harness.until(20.0)
    assert silent.over and dead.over
    harness.until(speech.not_before)
    assert harness.on(speech) is sound and not harness.dials()


def test_a_wire_on_which_something_comes_is_not_dead() -> None:
    """A provider that only keeps one speech waiting costs that one's connection and no other."""
    harness = opened(traits(), settings(min_idle=0), n=3)
    harness.advance(15.0)
    speech = harness.speak("Hello. ")
    harness.advance(0.5)
    harness.alive(harness.on(speech))
    harness.until(20.0)
    assert sum(conn.over for conn in harness.wires) == 1
    harness.until(speech.not_before)
    assert harness.on(speech) in harness.wires[:3] and not harness.dials()


def pinged(harness: Harness) -> list[int]:
    """Return how often each connection was."""
    return [harness.words(conn).count("PING") for conn in harness.wires]


def test_a_slow_answer_costs_no_idle_connection() -> None:
    """Halfway all are asked; what answers is kept, whatever becomes of the speech."""
    harness = opened(traits(), LONE, n=4)
    harness.advance(15.0)
    speech = harness.speak("Hello. ")
    slow = harness.on(speech)
    harness.until(17.499)
    assert pinged(harness) == [0, 0, 0, 0]
    harness.until(17.5)
    assert pinged(harness) == [1, 1, 1, 1]
    harness.advance(0.1)
    for conn in harness.wires:
        harness.alive(conn)
    harness.until(20.0)
    assert isinstance(speech.error, FirstAudioTimeout)
    assert [conn for conn in harness.wires if conn.over] == [slow]
    assert pinged(harness) == [1, 1, 1, 1]


def test_idle_connections_that_do_not_answer_are_given_up_with_the_silent_one() -> None:
    """Also of another voice; not before its time is over."""
    harness = opened(traits(), LONE, n=2)
    harness.prewarm(2, voice="anna")
    harness.up()
    harness.advance(15.0)
    silent = harness.on(harness.speak("Hello. "))
    sound = [harness.wires[2], *(conn for conn in harness.wires[:2] if conn.idle)]
    harness.until(17.5)
    for conn in sound:
        harness.alive(conn)
    harness.until(19.999)
    assert not any(conn.over for conn in harness.wires)
    harness.until(20.0)
    assert {conn for conn in harness.wires if conn.over} == {silent, harness.wires[3]}


def test_audio_that_stops_is_asked_after_once_each_time() -> None:
    """Halfway through the gap: 1.5 seconds after what has come is played out."""
    harness = opened(traits(ping=100.0), LONE, n=2)
    harness.advance(15.0)
    speech = harness.speak("Hello. ")
    harness.advance(1.0)
    harness.audio(speech, b"\1\2" * (SECOND // 2))
    harness.until(18.499)
    assert pinged(harness) == [0, 0]
    harness.until(19.0)
    assert pinged(harness) == [1, 1]
    for conn in harness.wires:
        harness.alive(conn)
    harness.audio(speech, b"\1\2" * (SECOND // 2))
    harness.until(20.499)
    assert pinged(harness) == [1, 1]
    harness.until(20.5)
    assert pinged(harness) == [2, 2]


def test_who_was_asked_already_is_not_asked_again() -> None:
    harness = opened(traits(), LONE, n=2)
    harness.advance(19.0)
    harness.speak("Hello. ")
    harness.until(20.0)
    assert pinged(harness) == [1, 1], "for they have been quiet for long"
    harness.until(23.999)
    assert pinged(harness) == [1, 1]
    harness.until(24.0)
    assert all(conn.over for conn in harness.wires)


def test_no_voice_has_its_spares_back_at_once() -> None:
    """Of those that were given up with the silent one of another."""
    harness = Harness(QUIET, settings(min_idle=1, retry={"attempts": 1}))
    for line in ("a", "b"):
        speech = harness.speak("Hello. ", line=line)
        harness.up()
        harness.audio(speech)
        harness.done(speech)
        harness.finish(speech)
    harness.advance(30.0)
    harness.up()
    harness.speak("Hello. ", line="a")
    harness.up()
    harness.take()
    harness.advance(4.999)
    assert not harness.dials() and any(conn.idle for conn in harness.wires)
    harness.advance(0.001)
    assert not harness.dials() and not any(conn.idle for conn in harness.wires)
    harness.advance(30.0)
    assert {dial.conn.lane for dial in harness.dials()} == {conn.lane for conn in harness.wires}


def test_spares_that_were_given_up_together_come_back_after_a_while() -> None:
    """As after a loss: this client may not be the only one whose connections have died."""
    harness = opened(QUIET, settings(min_idle=1), n=2)
    harness.advance(15.0)
    speech = harness.speak("Hello. ")
    harness.until(20.0)
    assert len(harness.dials()) == 1, "for the speech"
    harness.up()
    harness.until(speech.not_before)
    harness.audio(speech)
    harness.done(speech)
    speech = harness.speak("Longer. ")
    harness.audio(speech, bytes(60 * SECOND))
    assert harness.hear(speech)
    while len(harness.dials()) == 1:
        assert harness.mux.deadline is not None
        harness.until(harness.mux.deadline)
    assert 20.5 < harness.now <= 40.0


def test_one_provider_that_is_silent_says_nothing_of_another() -> None:
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in "ab"]
    harness = Harness(routes=routes, config=settings(min_idle=0, retry={"switch_after": 1}))
    first = harness.speak("Hello. ")
    harness.refuse(harness.wires[0])
    harness.up()
    harness.audio(first)
    harness.done(first)
    harness.advance(15.0)
    speech = harness.speak("Hello. ")
    harness.up()
    harness.advance(5.0)
    assert speech.plan.number == 1 and harness.on(speech) is harness.wires[1]


def test_a_half_open_socket_that_rests_is_found_out_by_its_ping() -> None:
    """Before a caller meets it: a ping after 20 s, and 10 s for the answer."""
    harness = opened(traits(), settings(min_idle=0))
    harness.until(29.999)
    assert harness.wires[0].idle
    harness.until(30.0)
    assert harness.wires[0].state is ConnectionState.CLOSING
    speech = harness.speak("Hello. ")
    assert speech.generation is None and len(harness.dials()) == 1


def test_a_source_that_pauses_is_no_dead_socket() -> None:
    """The provider owes nothing for text that may not be whole."""
    harness = opened(QUIET, LONE)
    speech = harness.speak("Hel", end=False)
    harness.advance(600.0)
    harness.write(speech, "lo. ")
    harness.end(speech)
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1011, 1012])
def test_a_dead_idle_socket_costs_the_caller_nothing_but_a_handshake(code: int | None) -> None:
    """Its end crosses the request, which nobody has read: no wait, no try, no token."""
    harness = opened(QUIET, LONE)
    harness.advance(2.0)
    speech = harness.speak("Hello. ")
    harness.drop(harness.wires[0], code)
    assert speech.not_before == harness.now and len(harness.dials()) == 1
    harness.up()
    assert speech.generation is not None
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
    stats = harness.mux.stats()
    assert (stats.retries, stats.dials_failed) == (0, 0)
    assert breaker(harness).failures == 0


def test_a_dead_idle_socket_costs_nothing_where_there_is_a_spare() -> None:
    """The speech is on the spare in the very step."""
    harness = opened(QUIET, settings(min_idle=1))
    harness.up()
    harness.advance(2.0)
    speech = harness.speak("Hello. ")
    first = harness.on(speech)
    harness.drop(first)
    assert speech.generation is not None and harness.on(speech) is not first


# --- a provider that restarts ---------------------------------------------------------------------


def test_a_connection_closed_for_a_restart_is_left_before_any_audio() -> None:
    """1012: what was asked there is said elsewhere, once, and the caller hears all of it."""
    harness = opened(QUIET, settings(min_idle=0))
    speech = harness.speak("Hello. ")
    harness.drop(harness.wires[0], 1012)
    harness.advance(0.05)
    harness.up()
    assert harness.words(harness.wires[1]) == ["open", "text Hello. ", "end"]
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


def test_a_restart_after_the_first_audio_is_told() -> None:
    harness = opened(QUIET, settings(min_idle=0))
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    assert harness.hear(speech)
    harness.drop(harness.wires[0], 1012)
    assert isinstance(speech.error, ConnectionLost) and speech.error.code == 1012
    assert speech.error.delivered.bytes == 4


def test_an_idle_connection_closed_for_a_restart_is_replaced_after_a_while() -> None:
    """Nobody is told; the spare comes back within the jitter."""
    harness = opened(QUIET, settings(min_idle=1))
    harness.up()
    for conn in list(harness.wires):
        harness.drop(conn, 1012)
    assert harness.dials() == []
    while not harness.dials():
        assert harness.mux.deadline is not None
        harness.until(harness.mux.deadline)
    assert harness.now <= 20.0
    harness.up()
    assert harness.mux.stats().seats_free == 1


def test_a_replica_that_drains_turns_connections_away_and_is_no_outage() -> None:
    """1013 right after the upgrade: tried again after a backoff, and cheaper than a failure."""
    harness = Harness(QUIET, settings(min_idle=0, acquire_timeout=20.0))
    speech = harness.speak("Hello. ")
    for _ in range(6):
        harness.up()
        harness.drop(harness.wires[-1], 1013)
        assert speech.state is SpeechState.WAITING
        harness.advance(2.0)
    assert breaker(harness).closed and breaker(harness).failures == 0
    assert harness.mux._pool._budgets[0].left == 500 - 6 * 5
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
    assert harness.mux._pool._budgets[0].left == 500


def test_a_replica_that_drains_for_good_is_an_error_that_says_so() -> None:
    harness = Harness(QUIET, settings(min_idle=0, retry={"attempts": 3}))
    speech = harness.speak("Hello. ")
    while speech.error is None:
        harness.up()
        harness.drop(harness.wires[-1], 1013)
        harness.advance(2.0)
    assert type(speech.error) is AtCapacity
    assert len(harness.wires) == 3
