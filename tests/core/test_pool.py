"""Who gets which seat; when to dial, what to keep spare."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tests.core.helpers import (
    LEAN,
    MULTIPLEXED,
    Harness,
    Toy,
    opened,
    settings,
    traits,
)
from ttsmux.adapter import Flush, Generation, Input, Traits
from ttsmux.core import spares
from ttsmux.core.connection import Connection
from ttsmux.core.effects import Dial, Report, Send
from ttsmux.core.lane import Ticket
from ttsmux.core.pool import Pool
from ttsmux.core.route import Route
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import (
    AuthError,
    CircuitOpen,
    ClosedError,
    ConnectError,
    NotFoundError,
    PoolFull,
    PoolTimeout,
    RateLimitError,
)
from ttsmux.settings import Interrupt, Settings

QUIET = traits(ping=None)
MUTING = traits(MULTIPLEXED, ping=None)
ADAPTIVE = Settings()


def finish(harness: Harness, speech: Speech) -> None:
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


def dialling(harness: Harness) -> list[Connection]:
    return [conn for conn in harness.wires if conn.state is ConnectionState.DIALLING]


# --- who comes first ------------------------------------------------------------------------------


def test_first_come_first_served() -> None:
    """Speeches get seats in the order in which they had something to say."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1))
    busy = harness.speak("Busy. ")
    silent, first, second = harness.speak(), harness.speak("1. "), harness.speak("2. ")
    harness.write(silent, "3. ")
    finish(harness, busy)
    for speech in (first, second, silent):
        assert speech.generation is not None
        if speech is not silent:
            finish(harness, speech)


def test_a_speech_begun_again_goes_to_the_front() -> None:
    """At the back it would starve under load."""
    harness = opened(traits(MUTING, seats=1, slots=1), settings(min_idle=0, max_size=1))
    first = harness.speak("1. ")
    second = harness.speak("2. ")
    third = harness.speak("3. ")
    harness.say(harness.wires[0], f"error {harness.id(first)} generation busy")
    assert second.generation is not None  # the first is still backing off
    harness.advance(0.1)
    finish(harness, second)
    assert first.generation is not None and third.generation is None


def test_speeches_that_are_begun_again_keep_their_order() -> None:
    """Those of a connection that was torn, before who came after them."""
    config = settings(min_idle=0, max_size=1, retry={"base": 1e-9, "cap": 1e-9})
    harness = opened(traits(MULTIPLEXED, seats=3, slots=3), config)
    torn = [harness.speak(f"{number}. ") for number in range(3)]
    later = harness.speak("Later. ")
    harness.drop(harness.wires[0])
    harness.advance(0.001)
    harness.up()
    said = [word for word in harness.words(harness.wires[-1]) if word.startswith("text")]
    assert said == ["text 0. ", "text 1. ", "text 2. "]
    assert later.generation is None
    assert all(speech.generation is not None for speech in torn)


def test_a_speech_that_is_put_back_twice_is_served_once() -> None:
    """It rests: what its line knows of the place that it had before does not count."""
    config = settings(min_idle=0, max_size=1, retry={"base": 1.0, "cap": 1.0})
    harness = opened(traits(MUTING, seats=1, slots=1), config)
    busy, speech = harness.speak("Busy. "), harness.speak("Waits. ")
    finish(harness, busy)
    for failures in (1, 2):
        harness.say(harness.wires[0], f"error {harness.id(speech)} generation busy")
        assert harness.now < speech.not_before and speech.generation is None, failures
        harness.until(speech.not_before - 0.001)
        assert speech.generation is None
        harness.advance(0.002)
        assert speech.generation is not None
    finish(harness, speech)


def test_speeches_of_another_key_do_not_wait_behind() -> None:
    """A queue is as long as its own key's."""
    harness = opened(QUIET, settings(min_idle=0, max_size=2))
    harness.speak("Busy. ")
    other = harness.speak("Other. ", line="other")
    harness.up()
    waits, next = harness.speak("Waits. "), harness.speak("Next. ", line="other")
    finish(harness, other)
    assert waits.generation is None and next.generation is not None


def test_the_fullest_warm_connection_is_taken() -> None:
    """So the others can grow idle and go."""
    harness = opened(MUTING, settings(min_idle=0, max_size=2), n=2)
    first, second = harness.speak("1. "), harness.speak("2. ")
    assert harness.on(first) is harness.on(second)
    harness.speak("3. ")
    fourth = harness.speak("4. ")
    assert harness.on(fourth) is not harness.on(first)


def test_the_last_used_connection_is_taken() -> None:
    """Of sequential ones, the one that was busy last."""
    harness = opened(QUIET, settings(min_idle=0, max_size=2), n=2)
    one, two = harness.speak("1. "), harness.speak("2. ")
    conn = harness.on(one)
    harness.advance(0.5)
    finish(harness, two)
    harness.advance(0.5)
    finish(harness, one)
    assert harness.on(harness.speak("3. ")) is conn


# --- dialling for those who wait ------------------------------------------------------------------


def test_a_dial_begins_with_speak() -> None:
    """The handshake overlaps the source's first words."""
    harness = Harness()
    harness.speak()
    assert len(harness.dials()) == 1


def test_a_dial_counts_as_all_its_seats() -> None:
    """Three speeches share the one that is coming; the fourth needs another."""
    harness = Harness(MUTING)
    for _ in range(3):
        harness.speak("x. ")
    assert len(harness.dials()) == 1
    harness.speak("x. ")
    assert len(harness.dials()) == 2


def test_max_size_counts_what_is_being_hung_up() -> None:
    """A closing socket is still a socket, at the provider's too."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1), interrupt=Interrupt.DISCARD)
    harness.interrupt(harness.speak("1. "))
    second = harness.speak("2. ")
    assert len(harness.wires) == 1
    harness.hung_up()
    assert len(harness.wires) == 2
    harness.up()
    assert second.generation is not None


CAPPED = traits(QUIET, connections=2)


def test_no_more_connections_than_the_provider_allows_a_key() -> None:
    """Whatever the client's own limit; closing ones count there as well."""
    harness = Harness(CAPPED, settings(min_idle=0, max_size=8), interrupt=Interrupt.DISCARD)
    speeches = [harness.speak(f"{n}. ") for n in range(4)]
    harness.up()
    assert len(harness.dials()) == 2
    harness.interrupt(speeches[0])
    assert len(harness.dials()) == 2 and speeches[2].generation is None
    harness.hung_up()
    harness.up()
    assert len(harness.dials()) == 3 and speeches[2].generation is not None
    finish(harness, speeches[1])
    assert speeches[3].generation is not None


def test_spares_keep_to_what_a_key_is_allowed() -> None:
    """As many as there is room for."""
    harness = Harness(CAPPED, settings(min_idle=5, max_size=8))
    harness.speak("1. ")
    harness.up()
    assert len(harness.dials()) == 2


def test_a_prewarm_ends_with_what_a_key_is_allowed() -> None:
    """It does not wait for connections that there cannot be."""
    harness = Harness(CAPPED, settings(min_idle=0, max_size=8))
    ticket = harness.prewarm(5)
    harness.up()
    assert harness.read(ticket) is END and ticket.ready == 2


def test_another_voice_of_the_same_key_makes_room() -> None:
    """One that lies idle: other providers' connections would be of no use."""
    config = settings(min_idle=0, max_size=8)
    harness = Harness(CAPPED, config)
    for line in ("a", "b"):
        speech = harness.speak("Hello. ", line=line)
        harness.up()
        finish(harness, speech)
        harness.advance(1.0)
    speech = harness.speak("Hello. ", line="c")
    assert len(harness.dials()) == 2
    assert [conn.state.name for conn in harness.wires] == ["CLOSING", "OPEN"]
    harness.hung_up()
    harness.up()
    assert speech.generation is not None


def test_other_providers_do_not_count_towards_a_keys_connections() -> None:
    """Their keys are others."""

    class Other(Toy):
        name = "other"

    routes = [Route(adapter=kind(shape=CAPPED)) for kind in (Toy, Other)]
    config = settings(min_idle=0, max_size=8, retry={"attempts": 1})
    harness = Harness(routes=routes, config=config)
    lost, *_ = [harness.speak(f"{n}. ") for n in range(2)]
    harness.up()
    harness.say(harness.on(lost), f"error {harness.id(lost)} generation !over")
    assert [conn.plan.adapter.name for conn in harness.wires] == ["toy", "toy", "other"]


def test_a_barrier_is_cut_short_where_a_key_has_no_other_connection() -> None:
    """Also if the client might have more."""
    harness = opened(traits(QUIET, connections=1), settings(min_idle=0, max_size=8))
    speech = harness.speak("1. ")
    harness.audio(speech)
    harness.interrupt(speech)
    waits = harness.speak("2. ")
    harness.advance(0.3)
    assert harness.doomed() == ["the cancel was not acknowledged"]
    harness.hung_up()
    harness.up()
    assert waits.generation is not None


def test_a_pool_timeout_tells_what_a_key_is_allowed() -> None:
    """Else nobody would know why a pool of eight has no room."""
    harness = Harness(traits(QUIET, connections=1), settings(min_idle=0, acquire_timeout=1.0))
    harness.speak("1. ")
    harness.up()
    waits = harness.speak("2. ")
    harness.advance(1.5)
    with pytest.raises(PoolTimeout, match="in all: 1 of at most 8, for a key at most 1"):
        harness.read(waits)


def test_another_voices_idle_connection_makes_room() -> None:
    """For a speech that waits: the one that has been idle for longest."""
    harness = opened(QUIET, settings(min_idle=0, max_size=2), n=2)
    harness.advance(1.0)
    harness.spoken()
    speech = harness.speak("Other. ", line="other")
    gone = [conn for conn in harness.wires if conn.state is ConnectionState.CLOSING]
    assert len(gone) == 1 and gone[0].served == 0
    assert harness.doomed() == ["another voice needs the room"]
    harness.speak("More. ", line="other")
    assert len(harness.doomed()) == 1  # room is on its way
    harness.hung_up()
    harness.up()
    assert speech.generation is not None


def test_a_spare_makes_nobody_go() -> None:
    """Only a speech that waits is worth a connection."""
    harness = opened(QUIET, settings(min_idle=1, max_size=2))
    busy = harness.speak("Busy. ")
    speech = harness.speak("Other. ", line="other")
    harness.hung_up()
    harness.up()
    finish(harness, speech)
    finish(harness, busy)
    harness.advance(600.0)
    assert harness.doomed() == ["another voice needs the room"]


def test_a_busy_pool_waits() -> None:
    """With nothing idle, nothing goes for a while: a turn may end, and its connection be idle."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1))
    harness.speak("Busy. ")
    harness.speak("Other. ", line="other")
    harness.advance(0.9)
    assert harness.doomed() == []


def test_another_voice_is_not_kept_out_for_ever() -> None:
    """With one voice's queue never empty, the next one gets its turn, in its order."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1))
    busy = harness.speak("Busy. ")
    before = harness.speak("Before. ")
    other = harness.speak("Other. ", line="other")
    after = harness.speak("After. ")
    harness.advance(1.0)
    assert harness.doomed() == [], "somebody who came before still waits for that connection"
    finish(harness, busy)
    assert before.generation is not None
    assert harness.doomed() == ["another voice needs the room"]
    finish(harness, before)
    harness.hung_up()
    harness.up()
    assert other.generation is not None and after.generation is None
    finish(harness, other)
    harness.hung_up()
    harness.up()
    assert after.generation is not None


def test_the_connection_that_is_done_first_goes() -> None:
    """Of two busy ones that with fewer speeches; both go on speaking, and nobody new comes."""
    shape = traits(MULTIPLEXED, seats=2, slots=2)
    harness = Harness(shape, settings(min_idle=0, max_size=2))
    speeches = [harness.speak(f"Nr {i}. ") for i in range(3)]
    harness.up()
    harness.speak("Other. ", line="other")
    harness.advance(1.0)
    (gone,) = [conn for conn in harness.wires if conn.state is ConnectionState.DRAINING]
    assert [speech for speech in speeches if harness.on(speech) is gone] == speeches[2:]
    late = harness.speak("Late. ")
    assert late.generation is None
    for speech in speeches:
        harness.audio(speech)


def test_a_voice_without_text_makes_nobody_go() -> None:
    """A connection is dialled ahead for it where there is room, no more."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1))
    harness.speak("Busy. ")
    harness.speak(line="other")
    harness.advance(2.0)
    assert harness.doomed() == []


def test_two_voices_and_too_little_room_for_spares() -> None:
    """An hour of turns by two voices: two connections, min_idle 1, and hardly a dial more."""
    harness = Harness(QUIET, settings(min_idle=1, max_size=2))
    turns = 0
    for minute in range(60):
        for line in ("main", "other"):
            speech = harness.speak("Hello. ", line=line)
            for _ in range(3):
                harness.hung_up()
                harness.up()
            finish(harness, speech)
            turns += 1
            harness.until(minute * 60.0 + (30.0 if line == "main" else 59.0))
    assert len(harness.wires) <= 2 * turns
    begun = len(harness.wires)
    for _ in range(3600):
        harness.advance(1.0)
        harness.hung_up()
        harness.up()
    assert len(harness.wires) <= begun + 1


# --- when a dial fails ----------------------------------------------------------------------------


def test_all_who_wait_hear_of_a_failed_dial() -> None:
    """They share it, and each fails after its own attempts."""
    harness = Harness(config=settings(min_idle=0, max_size=1, retry={"attempts": 2}))
    early, late = harness.speak("1. "), harness.speak()
    harness.refuse(harness.wires[0])
    third = harness.speak("3. ")
    harness.advance(0.1)
    harness.refuse(harness.wires[1])
    for speech in (early, late):
        with pytest.raises(ConnectError):
            harness.read(speech)
    assert third.state is SpeechState.WAITING


def test_who_has_a_seat_does_not_hear_of_a_failed_dial() -> None:
    """A free seat is hope enough."""
    harness = opened(QUIET, settings(min_idle=0, max_size=2, retry={"attempts": 1}))
    silent, second = harness.speak(), harness.speak()
    harness.refuse(harness.wires[1], 404)
    assert silent.state is SpeechState.WAITING
    with pytest.raises(NotFoundError):
        harness.read(second)


def test_dials_under_way_together_fail_together() -> None:
    """Three at once are one failure: nobody loses three attempts over it."""
    harness = Harness(config=settings(min_idle=0, retry={"attempts": 2}))
    speeches = [harness.speak("x. ") for _ in range(3)]
    harness.advance(0.1)
    for conn in list(harness.wires):
        harness.refuse(conn)
    assert {speech.state for speech in speeches} == {SpeechState.WAITING}
    assert harness.mux.stats().dials_failed == 3
    harness.advance(0.05)
    assert len(dialling(harness)) == 1  # and now one at a time


def test_dials_back_off() -> None:
    """A server that refuses is not hammered: the waits grow to two seconds."""
    harness = Harness(QUIET, settings(min_idle=1, retry={"breaker_failures": None}))
    harness.prewarm(1, timeout=1000.0)
    for _ in range(6000):
        for conn in dialling(harness):
            harness.refuse(conn)
        harness.advance(0.01)
    assert 30 < len(harness.wires) < 120


def test_retry_after_is_not_undercut() -> None:
    """By whichever of several dials it was said."""
    harness = Harness(QUIET, settings(min_idle=0))
    speech, _ = harness.speak("1. "), harness.speak("2. ")
    harness.refuse(harness.wires[0])
    harness.refuse(harness.wires[1], 429, retry_after="3")
    harness.advance(2.999)
    assert len(harness.wires) == 2
    harness.advance(0.001)
    assert len(harness.wires) == 3
    assert speech.state is SpeechState.WAITING


def test_a_retry_after_beyond_all_patience_is_an_error_at_once() -> None:
    """It could only end as a timeout, which would not say why."""
    harness = Harness(QUIET, settings(min_idle=0))
    speech = harness.speak("Hello. ")
    harness.refuse(harness.wires[0], 429, retry_after="60")
    with pytest.raises(RateLimitError) as caught:
        harness.read(speech)
    assert caught.value.retry_after == 60.0
    for seconds, left in ((0.0, 60.0), (7.5, 52.5), (42.5, 10.0)):
        harness.advance(seconds)
        for late in (harness.ask("Again. "), harness.speak()):
            assert isinstance(late.error, RateLimitError) and late.error.retry_after == left
    harness.advance(0.001)
    patient = harness.ask("Again. ")
    assert patient.state is SpeechState.WAITING
    harness.until(59.999)
    assert len(harness.wires) == 1
    harness.until(60.0)
    harness.up()
    assert patient.generation is not None
    stats = harness.mux.stats()
    assert (stats.refused, stats.retries) == (7, 0)
    assert harness.mux._pool._budgets[0].left == 500


def test_retry_after_is_waited_for_even_if_another_connection_works() -> None:
    """The lane has recovered, the provider's word still counts; and the pool wakes for it."""
    harness = Harness(QUIET, settings(min_idle=0, max_size=3))
    harness.speak("1. ")
    harness.up()
    harness.speak("2. ")
    harness.refuse(harness.wires[1], 429, retry_after="3")
    harness.say(harness.wires[0], b"audio - xx")
    harness.advance(2.999)
    assert len(harness.wires) == 2
    harness.advance(0.001)
    assert len(harness.wires) == 3


def test_retry_after_is_waited_for_by_a_speech_that_crossed_the_end() -> None:
    """Even an attempt that costs nothing waits if the provider asks for it."""
    harness = opened(QUIET)
    harness.advance(1.0)
    speech = harness.speak("Hello. ")
    error = RateLimitError("slow down", retry_after=0.5)
    harness.mux.lost(harness.wires[0], error, harness.now)
    harness.collect()
    assert speech.not_before == harness.now + 0.5


def test_a_bad_key_found_at_the_upgrade() -> None:
    """One dial with a fresh key; after a second refusal no spares until a key works."""
    harness = Harness(QUIET, refreshable=True)
    speech = harness.speak("Hello. ")
    harness.refuse(harness.wires[0], 401)
    assert len(harness.dials()) == 2
    assert speech.state is SpeechState.WAITING
    harness.refuse(harness.wires[1], 401)
    with pytest.raises(AuthError):
        harness.read(speech)
    harness.advance(3600.0)
    assert len(harness.wires) == 2


def test_a_bad_key_found_after_the_upgrade() -> None:
    """101, then 1008: bounded dials although nobody waits, the last with a fresh key."""
    harness = Harness(QUIET, ADAPTIVE, refreshable=True)
    ticket = harness.prewarm(1)
    for _ in range(100):
        for conn in dialling(harness):
            harness.up(conn)
            harness.drop(conn, 1008, "bad key")
        harness.advance(1.0)
    assert len(harness.wires) <= 5
    with pytest.raises(AuthError):
        harness.read(ticket)


def test_a_speech_with_a_bad_key_after_the_upgrade() -> None:
    """It is begun again with the fresh key, and fails with the second refusal."""
    harness = Harness(QUIET, refreshable=True)
    speech = harness.speak("Hello. ")
    for _ in range(2):
        harness.up()
        harness.drop(harness.on(speech), 1008, "bad key")
    with pytest.raises(AuthError):
        harness.read(speech)
    assert len(harness.dials()) == 2


def voices(refreshable: bool = True) -> tuple[Harness, list[Speech]]:
    """Twenty voices are dialled at once, with a key that is refused to the first of them."""
    harness = Harness(QUIET, settings(min_idle=0, max_size=60), refreshable=refreshable)
    speeches = [harness.ask(voice=f"v{number}") for number in range(20)]
    for conn in harness.wires[:20]:
        harness.refuse(conn, 401)
    return harness, speeches


def test_a_fresh_key_is_tried_for_one_voice_first() -> None:
    """If that is refused as well, the others know: one dial more than voices, and no two each."""
    harness, speeches = voices()
    assert len(harness.dials()) == 21 and not any(speech.over for speech in speeches)
    ticket = harness.prewarm(1, voice="v7")
    assert len(harness.dials()) == 21
    harness.refuse(harness.wires[20], 401)
    assert all(isinstance(speech.error, AuthError) for speech in speeches)
    with pytest.raises(AuthError):
        harness.read(ticket)
    harness.advance(3600.0)
    assert len(harness.dials()) == 21


def test_a_fresh_key_that_works_is_used_for_all_voices() -> None:
    """As soon as it has worked: a handshake may precede a refusal. Until then, one at a time."""
    harness, speeches = voices()
    harness.up(harness.wires[20])
    assert speeches[0].generation is not None and len(harness.dials()) == 22
    harness.audio(speeches[0])
    assert len(harness.dials()) == 40
    harness.up()
    assert all(speech.generation is not None for speech in speeches)


@pytest.mark.parametrize("ends", ["is refused", "hangs"])
def test_a_fresh_key_of_which_nothing_is_heard_is_tried_for_another_voice(ends: str) -> None:
    """The first to try it has met something else."""
    harness, speeches = voices()
    if ends == "is refused":
        harness.refuse(harness.wires[20])
    else:
        harness.until(5.0)
    assert len(harness.dials()) == 22 and harness.wires[21].plan.key != harness.wires[20].plan.key
    harness.refuse(harness.wires[21], 401)
    assert all(isinstance(speech.error, AuthError) for speech in speeches[1:])
    assert speeches[0].state is SpeechState.WAITING, "it finds out for itself"


def test_an_old_key_that_is_refused_late_is_not_tried_again() -> None:
    """For by then it is known that a fresh one is refused, too."""
    harness = Harness(QUIET, settings(min_idle=0), refreshable=True)
    speeches = [harness.ask(voice=voice) for voice in "ab"]
    for number in (0, 2, 1):
        harness.refuse(harness.wires[number], 401)
    assert all(isinstance(speech.error, AuthError) for speech in speeches)
    assert len(harness.dials()) == 3


def test_a_dial_under_way_with_the_old_key_is_not_held_against_the_fresh_one() -> None:
    """A speech and its spare are dialled together: both have the key that was refused."""
    harness = Harness(QUIET, settings(min_idle=1), refreshable=True)
    speech = harness.speak("Hello. ")
    first, second = harness.wires
    harness.refuse(first, 401)
    harness.refuse(second, 401)
    harness.up()
    assert speech.generation is not None and speech.error is None


def test_a_refused_dial_does_not_fail_the_queue_of_a_pool_that_serves() -> None:
    """The provider allows no more connections, perhaps; a seat on the first will be free."""
    harness = opened(QUIET, settings(min_idle=0, max_size=2))
    busy = harness.speak("Busy. ")
    waits = harness.speak("Waits. ")
    for _ in range(4):
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn, 429)
        harness.advance(2.0)
        harness.audio(busy)
        harness.hear(busy)
    harness.done(busy)
    assert waits.generation is not None


def test_two_voices_without_text_do_not_take_each_others_connection() -> None:
    """Each would dial for ever, and none would ever speak."""
    harness = Harness(QUIET, settings(min_idle=0, max_size=1))
    first, second = harness.speak(), harness.speak(line="other")
    for _ in range(20):
        harness.up()
        harness.hung_up()
        harness.advance(0.2)
    assert len(harness.wires) == 1
    harness.write(second, "Now. ")
    harness.hung_up()
    harness.up()
    assert second.generation is not None and first.generation is None


def test_who_came_later_does_not_take_the_connection_of_one_that_only_rests() -> None:
    """It would be dialled anew as soon as the rest is over, and that one's in its turn."""
    retry = {"base": 1.0, "cap": 1.0}
    harness = opened(QUIET, settings(min_idle=0, max_size=1, retry=retry))
    rests = harness.speak("1. ")
    harness.say(harness.on(rests), f"error {harness.id(rests)} generation busy")
    (conn,) = harness.wires
    assert conn.idle and rests.not_before > harness.now
    later = harness.speak("2. ", line="other")
    harness.until(rests.not_before - 0.001)
    assert conn.idle and harness.doomed() == []
    harness.advance(0.002)
    assert harness.on(rests) is conn and later.state is SpeechState.WAITING
    finish(harness, rests)
    assert harness.doomed() == ["another voice needs the room"]
    harness.hung_up()
    harness.up()
    finish(harness, later)
    assert len(harness.wires) == 2


def test_who_comes_first_takes_the_connection_of_one_that_only_rests() -> None:
    """Of two that are begun again the one that came first is in front."""
    harness = opened(MUTING, settings(min_idle=0, max_size=2, retry={"base": 1.0, "cap": 1.0}))
    first, neighbour = (harness.speak(text, line="other") for text in ("1. ", "2. "))
    rests = harness.speak("3. ")
    harness.up()
    idle, drains = harness.on(rests), harness.on(first)
    harness.say(idle, f"error {harness.id(rests)} generation busy")
    assert idle.idle and harness.doomed() == []
    harness.say(drains, f"error {harness.id(first)} taint busy")
    reported = ["the provider reported an error", "another voice needs the room"]
    assert harness.on(neighbour) is drains and harness.doomed() == reported
    assert idle.state is ConnectionState.CLOSING


def test_an_idle_connection_makes_room_while_another_one_drains() -> None:
    """That may speak on for minutes."""
    harness = opened(traits(ping=None, max_age=50.0), settings(min_idle=0, max_size=2))
    harness.advance(40.0)
    drains = harness.speak("Long. ", end=False)
    harness.advance(10.0)
    harness.audio(drains)
    other = harness.speak("Other. ", line="other")
    harness.up()
    finish(harness, other)
    third = harness.speak("Third. ", line="third")
    harness.hung_up()
    harness.up()
    assert third.generation is not None and drains.generation is not None


def test_nobody_waits_and_the_server_is_down() -> None:
    """Spares are given up for a minute at a time: an hour of nothing is some hundred dials."""
    harness = opened(QUIET, settings(min_idle=1, max_size=2), n=1)
    for conn in list(harness.wires):
        harness.drop(conn)
    for _ in range(3600):
        harness.advance(1.0)
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn)
    assert len(harness.wires) < 150


def test_as_many_barriers_are_cut_short_as_speeches_wait() -> None:
    """Four connections that will be free soon are not dialled anew for one speech."""
    harness = opened(QUIET, settings(min_idle=0, max_size=4), n=4)
    speech = harness.speak("First. ")
    conn = harness.on(speech)
    harness.interrupt(speech)
    harness.say(conn, "ack -")  # it keeps its word
    harness.advance(1.0)
    speeches = [harness.speak(f"Nr {i}. ") for i in range(4)]
    for speech in speeches:
        harness.interrupt(speech)
    harness.speak("Next. ")
    harness.advance(0.3)
    states = [conn.state for conn in harness.wires]
    assert states.count(ConnectionState.CLOSING) == 1
    assert states.count(ConnectionState.BARRIER) == 3


def test_a_key_that_works_again_may_be_refreshed_again() -> None:
    """What the provider does for us clears the record."""
    harness = Harness(QUIET, refreshable=True)
    speech = harness.speak("Hello. ")
    harness.refuse(harness.wires[0], 401)
    harness.up()
    finish(harness, speech)
    harness.drop(harness.wires[1], 1008, "bad key")
    harness.speak("Again. ")
    harness.refuse(harness.wires[2], 401)
    assert len(harness.dials()) == 4


# --- spares ---------------------------------------------------------------------------------------


def test_a_sequential_provider_has_one_spare() -> None:
    """Without a number, one is the floor where an interruption costs the connection."""
    harness = Harness(QUIET, ADAPTIVE)
    harness.speak("Hello. ", end=False)
    assert len(harness.wires) == 2
    harness.up()
    harness.advance(60.0)
    assert len(harness.wires) == 2


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_number_fixes_the_spares(number: int) -> None:
    """As many free seats as were asked for."""
    harness = Harness(QUIET, settings(min_idle=number))
    harness.spoken()
    harness.up()
    assert harness.mux.stats().seats_free == 1 + number
    harness.speak("x. ", end=False)
    harness.up()
    assert harness.mux.stats().seats_free == number


def test_spares_are_counted_in_free_seats() -> None:
    """One connection of three seats is three spares."""
    harness = Harness(MUTING, settings(min_idle=2))
    harness.spoken()
    harness.speak("x. ", end=False)
    assert len(harness.wires) == 1
    harness.speak("y. ", end=False)
    assert len(harness.wires) == 2


def barge_in(harness: Harness, turns: int, dial: float) -> list[float]:
    """Interrupt *turns* speeches, 100 ms apart; return how long each waited for its seat."""
    due: dict[Connection, float] = {}
    waits: list[float] = []

    def until(instant: float) -> None:
        while True:
            harness.hung_up()
            for conn in dialling(harness):
                due.setdefault(conn, harness.now + dial)
            coming = [at for conn, at in due.items() if at <= instant and conn.coming]
            if not coming:
                break
            harness.until(min(coming))
            for conn in [c for c, at in due.items() if at <= harness.now and c.coming]:
                harness.up(conn)
        harness.until(instant)

    for _ in range(turns):
        speech = harness.speak("Hello. ")
        begun = harness.now
        while speech.generation is None:
            until(round(harness.now + 0.01, 9))
        waits.append(round(harness.now - begun, 9))
        until(round(harness.now + 0.1, 9))
        harness.interrupt(speech)
    return waits


def test_spares_follow_the_interruptions() -> None:
    """Dials of 300 ms, barge-ins every 100 ms: three spares are needed, and soon there."""
    harness = Harness(QUIET, ADAPTIVE, interrupt=Interrupt.DISCARD)
    waits = barge_in(harness, 20, dial=0.3)
    assert waits[0] == 0.3
    assert max(waits[12:]) == 0.0
    assert max(len([c for c in harness.wires if c.began == x.began]) for x in harness.wires) <= 4


def test_the_number_of_spares_falls_by_one_a_minute() -> None:
    """What was needed once is not kept for ever."""
    harness = Harness(QUIET, ADAPTIVE, interrupt=Interrupt.DISCARD)
    barge_in(harness, 20, dial=0.3)
    lane = next(iter(harness.mux._pool.lanes.values()))
    raised = spares.raised(lane, harness.now)
    assert 1 <= raised <= 4
    falls = [spares.raised(lane, lane.raised_at + 60.0 * i) for i in range(raised + 2)]
    assert falls == [*range(lane.raised, -1, -1), 0][: len(falls)]


def test_there_are_never_more_than_four_spares() -> None:
    """However often a speech had to wait."""
    harness = Harness(QUIET, settings(max_size=20), interrupt=Interrupt.DISCARD)
    barge_in(harness, 40, dial=2.0)
    harness.hung_up()
    harness.up()
    assert harness.mux.stats().seats_free == 4


def test_a_muting_provider_has_spares_only_while_something_is_muted() -> None:
    """Target 0 until then; without it every few quick barge-ins pay a dial."""
    harness = opened(MUTING, ADAPTIVE)
    speech = harness.speak("x. ")
    harness.speak("y. ", end=False)
    harness.speak("z. ", end=False)
    assert len(harness.wires) == 1
    id = harness.id(speech)
    harness.interrupt(speech)
    assert len(harness.wires) == 2
    harness.up()
    harness.say(harness.wires[0], f"end {id}")
    harness.drop(harness.wires[1], 1001)
    assert len(harness.wires) == 2


def test_a_fixed_number_of_spares_is_counted_in_interruptions_where_those_use_seats_up() -> None:
    """Eight seats of which two may be muted are worth two barge-ins, not eight."""
    shape = traits(MULTIPLEXED, seats=8, slots=10, max_muted=2, ping=None)
    harness = opened(shape, settings(min_idle=3, max_size=8))
    assert len(harness.wires) == 2
    speech = harness.speak("x. ", end=False)
    assert len(harness.wires) == 2, "one of four is under way"
    harness.interrupt(speech)
    harness.speak("y. ", end=False)
    assert len(harness.wires) == 3, "two of four are gone"


def test_a_barrier_is_a_spare_to_be_once_one_was_acknowledged() -> None:
    """Before that nobody knows whether the provider keeps its word."""
    harness = opened(QUIET, settings(min_idle=1, max_size=4))
    assert len(harness.wires) == 2
    first = harness.speak("1. ")
    barrier = harness.on(first)
    harness.interrupt(first)
    second = harness.speak("2. ")
    assert len(harness.wires) == 3
    harness.up()
    harness.say(barrier, "ack -")
    harness.interrupt(second)
    harness.speak("3. ", end=False), harness.speak("4. ", end=False)
    assert harness.mux.stats().seats_free == 0 and len(harness.wires) == 3
    harness.advance(1.5)  # now it was missed
    harness.hung_up()
    assert len(harness.wires) == 4


def test_only_lanes_in_use_have_spares() -> None:
    """Ten minutes after its last speech a voice is given no more."""
    harness = Harness(QUIET, settings(min_idle=1, reconnect_jitter=0.0))
    harness.spoken()
    speech = harness.speak("x. ", line="other")
    harness.up()
    finish(harness, speech)
    harness.advance(599.0)
    mains = harness.wires[:2]
    for conn in mains:
        harness.drop(conn, 1001)
    again = dialling(harness)
    assert len(again) == 1
    harness.up()
    harness.speak("y. ", line="other", end=False)
    harness.up()
    harness.advance(601.0)
    before = len(harness.wires)
    harness.drop(again[0], 1001)
    assert len(harness.wires) == before


# --- tickets --------------------------------------------------------------------------------------


def test_prewarm_has_its_connections_and_the_spares_behind_them() -> None:
    """Two asked for and one spare; the ticket ends when none of them is dialling."""
    harness = Harness(QUIET, ADAPTIVE)
    ticket = harness.prewarm(2)
    assert len(harness.wires) == 3
    assert harness.read(ticket) is None
    harness.up(*harness.wires[:2])
    assert harness.read(ticket) is None
    harness.up()
    assert harness.woken(ticket)
    assert harness.read(ticket) is END
    assert ticket.ready == 3


def test_prewarm_stops_at_max_size() -> None:
    """What there is room for is what there will be."""
    harness = Harness(QUIET, settings(max_size=2))
    ticket = harness.prewarm(5)
    assert len(harness.wires) == 2
    harness.up()
    assert harness.read(ticket) is END and ticket.ready == 2


def test_prewarm_of_what_is_warm_is_done_at_once() -> None:
    """Nothing is dialled."""
    harness = opened(QUIET, LEAN)
    assert harness.read(harness.prewarm(1)) is END
    assert len(harness.wires) == 1


def test_prewarm_raises_what_no_retry_helps() -> None:
    """A wrong voice, a bad key."""
    harness = Harness(QUIET, ADAPTIVE)
    ticket = harness.prewarm(1)
    harness.refuse(harness.wires[0], 404)
    with pytest.raises(NotFoundError):
        harness.read(ticket)


def test_prewarm_goes_on_after_a_failure_that_may_pass() -> None:
    """It waits for the backoff and dials again."""
    harness = Harness(QUIET, LEAN)
    ticket = harness.prewarm(1)
    harness.refuse(harness.wires[0])
    assert harness.read(ticket) is None
    harness.advance(0.05)
    harness.up()
    assert harness.read(ticket) is END


def test_prewarm_has_a_deadline() -> None:
    """Then it ends with what is ready, and nothing more is dialled for it."""
    harness = Harness(QUIET, LEAN)
    ticket = harness.prewarm(1, timeout=2.0)
    harness.refuse(harness.wires[0], 429, retry_after="2")
    assert harness.read(ticket) is None
    harness.advance(2.0)
    assert harness.read(ticket) is END and ticket.ready == 0
    assert len(harness.wires) == 1


def test_prewarm_of_another_voice() -> None:
    """Overrides choose the lane."""
    harness = Harness(QUIET, LEAN)
    harness.prewarm(1, voice="anna")
    harness.up()
    speech = harness.speak("Hello. ", voice="anna")
    assert speech.generation is not None


def test_close_waits_for_every_socket() -> None:
    """Its ticket ends with the last of them, and ends once."""
    harness = opened(QUIET, LEAN, n=2)
    prewarm = harness.prewarm(3)
    assert harness.read(prewarm) is None
    ticket = harness.close()
    again = harness.close()
    assert harness.read(prewarm) is END
    assert harness.read(ticket) is None
    for conn in harness.wires:
        harness.drop(conn, 1000)
    assert harness.woken(ticket)
    assert harness.read(ticket) is END and harness.read(again) is END
    assert harness.mux.stats().size == 0


def test_drain_lets_speeches_finish() -> None:
    """No new ones; then everything is hung up."""
    harness = opened(QUIET, LEAN)
    speech = harness.speak("Hello. ")
    ticket = harness.drain()
    with pytest.raises(ClosedError, match="draining"):
        harness.speak()
    with pytest.raises(ClosedError):
        harness.prewarm()
    finish(harness, speech)
    assert harness.wires[0].state is ConnectionState.CLOSING
    harness.hung_up()
    assert harness.read(ticket) is END
    with pytest.raises(ClosedError, match="closed"):
        harness.speak()


def test_drain_does_not_wait_for_a_reader() -> None:
    """What is received needs no connection to be read; it is read to the end all the same."""
    harness = opened(QUIET, LEAN, n=2)
    unread, speaks = harness.speak("One. "), harness.speak("Two. ")
    harness.audio(unread)
    harness.done(unread)
    ticket = harness.drain()
    assert [conn.state for conn in harness.wires].count(ConnectionState.CLOSING) == 0
    harness.audio(speaks)
    harness.done(speaks)
    assert unread.state is speaks.state is SpeechState.RECEIVED
    harness.hung_up()
    assert harness.read(ticket) is END and harness.mux.stats().size == 0
    for speech in (unread, speaks):
        assert harness.finish(speech) == b"\1\2\3\4"
        assert speech.state is SpeechState.COMPLETED


def test_drain_of_what_is_all_received_hangs_up_at_once() -> None:
    """Nobody reads, and nobody need."""
    harness = opened(QUIET, LEAN)
    speech = harness.speak("One. ")
    harness.audio(speech)
    harness.done(speech)
    harness.drain()
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert harness.finish(speech)


def test_close_fails_what_is_received_and_unread() -> None:
    """Who closes does not want to hear the rest; after `drain` it may be read."""
    harness = opened(QUIET, LEAN)
    speech = harness.speak("One. ")
    harness.audio(speech)
    harness.done(speech)
    harness.close()
    assert isinstance(speech.error, ClosedError)


def test_a_ticket_nobody_reads_wakes_nobody() -> None:
    """A Wake is for somebody who waits."""
    harness = Harness()
    ticket = harness.close()
    assert ticket.done and not harness.woken(ticket)
    ticket.finish(harness.mux.agenda)
    assert isinstance(ticket, Ticket) and ticket.error is None


# --- limits ---------------------------------------------------------------------------------------


def test_too_many_wait() -> None:
    """One more than allowed is refused at once; a seat that is free is no wait."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1, max_waiting=1))
    silent = harness.speak()
    waits = harness.speak("1. ")
    harness.write(silent, "0. ")
    with pytest.raises(PoolFull, match="max_waiting is 1, and as many wait"):
        harness.speak("2. ")
    assert waits.state is SpeechState.SPEAKING
    assert harness.mux.stats().waiting == 1
    finish(harness, waits)
    harness.speak("3. ")


def test_statistics() -> None:
    """Counts that add up."""
    harness = opened(QUIET, settings(min_idle=0, max_size=4), n=3)
    speech, other = harness.speak("1. "), harness.speak("2. ")
    harness.speak("3. "), harness.speak("4. "), harness.speak("5. ")
    harness.drop(harness.on(other), 1001)
    harness.interrupt(speech)
    stats = harness.mux.stats()
    assert (stats.size, stats.dialling, stats.idle, stats.busy, stats.closing) == (4, 2, 0, 2, 0)
    assert (stats.dials, stats.dials_failed, stats.seats_free) == (5, 0, 0)
    assert stats.waiting == 3


def test_lanes_that_nobody_uses_are_forgotten() -> None:
    """A voice a speech would otherwise grow the memory for ever."""
    off = {"breaker_failures": None}
    harness = Harness(QUIET, settings(min_idle=0, max_size=1000, retry=off))
    waiting = harness.speak("Hello. ", line="kept")
    ticket = harness.prewarm(1, line="warmed")
    harness.refuse(harness.wires[0])
    harness.refuse(harness.wires[1], 429, retry_after="5")
    for i in range(600):
        harness.interrupt(harness.speak(line=f"v{i}"))
        harness.refuse(harness.wires[-1])
    lanes = harness.mux._pool.lanes
    assert len(lanes) <= 260
    assert waiting.plan.key in lanes
    assert ticket.lane in lanes.values()


# --- the worst ------------------------------------------------------------------------------------


def test_a_torn_step_fails_all_and_hangs_up_all() -> None:
    """Nothing can be trusted after it; the old facts still find their way."""
    harness = opened(QUIET, settings(min_idle=0, max_size=2))
    speaking, waiting = harness.speak("1. "), harness.speak("2. ")
    assert harness.read(speaking) is None
    done = harness.speak("")
    assert harness.read(done) is END
    prewarm = harness.prewarm(3)
    assert harness.read(prewarm) is None
    harness.mux.abandon(KeyboardInterrupt())
    harness.collect()
    assert harness.woken(speaking) and harness.woken(prewarm)
    for speech in (speaking, waiting):
        with pytest.raises(ClosedError, match="cut short by KeyboardInterrupt") as caught:
            harness.read(speech)
        assert caught.value.retryable
    with pytest.raises(ClosedError):
        harness.read(prewarm)
    harness.interrupt(speaking)
    done.abandon(ClosedError("too late"))
    assert done.state is SpeechState.COMPLETED
    for conn in harness.wires:
        assert harness.hangups(conn)
        harness.drop(conn)
    stats = harness.mux.stats()
    assert (stats.size, stats.waiting) == (0, 0)
    ticket = harness.close()
    assert harness.read(ticket) is END


def test_keys_keep_routes_apart() -> None:
    """The same options on two routes are two lanes."""
    routes = [Route(adapter=Toy(shape=QUIET)), Route(adapter=Toy(shape=QUIET))]
    harness = Harness(config=LEAN, routes=routes)
    speech = harness.speak("x. ")
    harness.refuse(harness.wires[0], 404)
    assert speech.plan.number == 1
    assert len(harness.mux._pool.lanes) == 2


# --- what happens elsewhere -----------------------------------------------------------------------


def test_who_came_first_leaves_and_the_next_one_has_room_made() -> None:
    """Of another voice: the busy connection takes no more, now that nobody of its own was first."""
    harness = Harness(QUIET, settings(min_idle=0, max_size=1, acquire_timeout=60.0))
    harness.speak("Busy. ", end=False, line="b")
    harness.up()
    before = harness.speak("Next. ", line="b")
    harness.speak("Me. ", line="a")
    harness.advance(1.5)
    assert harness.wires[0].state is ConnectionState.OPEN
    harness.interrupt(before)
    assert harness.wires[0].state is ConnectionState.DRAINING


def test_an_idle_connection_whose_hope_has_left_makes_room() -> None:
    """Both had nothing to say; one of them is gone."""
    harness = Harness(QUIET, settings(min_idle=0, max_size=1))
    hope = harness.speak(line="b")
    harness.up()
    harness.speak(line="a")
    assert harness.wires[0].state is ConnectionState.OPEN
    harness.interrupt(hope)
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_a_lease_that_ends_leaves_its_connection_to_be_retired() -> None:
    """Kept for a speech, it could not be; taken by that speech, it can."""
    shape = traits(ping=None, input=Input.WHOLE)
    harness = Harness(shape, settings(min_idle=0, max_size=1, acquire_timeout=60.0))
    speech = harness.speak("One. Two", end=False, line="b")
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    harness.hear(speech)
    harness.speak("Me. ", line="a")
    harness.advance(1.5)
    assert harness.wires[0].state is ConnectionState.OPEN
    harness.write(speech, " and. Three")
    assert harness.wires[0].state is ConnectionState.DRAINING


def test_a_prewarm_does_not_count_what_is_hung_up_for_its_age() -> None:
    harness = Harness(QUIET, settings(min_idle=1, max_idle=5.0))
    harness.spoken()
    harness.up()
    harness.advance(5.5)
    assert any(conn.outdated for conn in harness.wires)
    ticket = harness.prewarm(2)
    while harness.mux.stats().dialling:
        assert not ticket.done
        harness.up()
    assert ticket.done and ticket.ready == 3, "two, and the spare behind them"


def test_a_lane_that_is_forgotten_dials_no_more() -> None:
    """It lost its last speech in the very step in which a new lane took its place."""
    shape = traits(MULTIPLEXED, ping=None)
    routes = [Route(adapter=Toy(shape=shape)), Route(adapter=Toy(shape=shape, line="second"))]
    config = settings(min_idle=1, max_size=300, retry={"attempts": 1})
    harness = Harness(routes=routes, config=config)
    pool = harness.mux._pool
    harness.speak("Hello. ", line="x")
    lane = harness.wires[0].lane
    for number in range(255):
        harness.interrupt(harness.speak(line=f"v{number}"))
    for conn in list(lane.connections):
        harness.refuse(conn, 503)
    harness.advance(3.0)
    assert (lane in pool.lanes.values()) == bool(lane.connections)
    assert all(conn.lane in pool.lanes.values() for conn in pool.connections)


# --- as it should be with something idle ----------------------------------------------------------


@pytest.mark.parametrize("spares", [0, 1, 3])
@pytest.mark.parametrize("shape", [QUIET, MUTING])
def test_with_something_idle_there_is_no_waiting(shape: Traits, spares: int) -> None:
    """The frames go out in the very step, before any dial; what is dialled then is a spare."""
    harness = opened(shape, settings(min_idle=spares, max_size=8))
    harness.hung_up()
    harness.up()
    harness.advance(7.0)
    deadline = harness.mux.deadline
    harness.take()
    speech = harness.speak("Hello. ")
    assert speech.generation is not None
    assert speech.metrics().acquire == 0.0 and speech.metrics().connect == 0.0
    kinds = [type(effect) for effect in harness.effects if not isinstance(effect, Report)]
    assert kinds[0] is Send
    assert Dial not in kinds[: kinds.index(Send)]
    stats = harness.mux.stats()
    assert (stats.queued, stats.wait_seconds) == (0, 0.0)
    assert deadline is None or deadline > harness.now


# --- how many generations a connection serves -----------------------------------------------------


def test_a_connection_serves_as_many_generations_as_it_may() -> None:
    """Then it takes nothing new, and is hung up when the last one has ended."""
    harness = opened(QUIET, settings(min_idle=0, max_generations=2))
    conn = harness.wires[0]
    harness.spoken()
    assert conn.state is ConnectionState.OPEN
    last = harness.speak("Last. ")
    assert harness.on(last) is conn and conn.state is ConnectionState.DRAINING
    next = harness.speak("Next. ")
    assert next.generation is None and len(harness.dials()) == 1
    finish(harness, last)
    assert conn.state is ConnectionState.CLOSING
    assert harness.doomed() == ["it has served max_generations"]
    harness.up()
    finish(harness, next)


def test_neighbours_on_a_connection_that_has_served_enough_finish() -> None:
    harness = opened(MUTING, settings(min_idle=0, max_generations=3))
    speeches = [harness.speak(f"{n}. ") for n in range(3)]
    conn = harness.wires[0]
    assert all(harness.on(speech) is conn for speech in speeches)
    for speech in speeches:
        assert conn.state is ConnectionState.DRAINING
        finish(harness, speech)
    assert conn.state is ConnectionState.CLOSING


def test_a_spare_is_ready_before_a_connection_has_served_enough() -> None:
    """What it may not serve any more is dialled for when it begins its last generation."""
    harness = opened(QUIET, settings(min_idle=1, max_generations=1))
    harness.up()
    for turn in range(5):
        speech = harness.speak("Hello. ")
        assert speech.generation is not None, turn
        harness.up()
        finish(harness, speech)
        harness.hung_up()
        harness.up()
    assert harness.mux.stats().queued == 0


# --- options that are not used any more -----------------------------------------------------------


def test_connections_of_options_that_nobody_uses_are_given_up() -> None:
    """Ten minutes after the last speech with them, to the instant; the plain ones stay."""
    harness = Harness(QUIET, settings(min_idle=0))
    harness.spoken()
    plain = harness.wires[0]
    other = harness.speak("Hello. ", end=False, voice="anna")
    harness.up()
    harness.advance(20.0)
    harness.end(other)
    finish(harness, other)
    conn = harness.wires[1]
    harness.advance(5.0)
    harness.spoken()
    harness.until(619.999)
    assert conn.idle
    harness.until(620.0)
    assert conn.state is ConnectionState.CLOSING
    assert harness.doomed() == ["its options are not used any more"]
    harness.advance(3600.0)
    assert plain.idle


def test_the_options_used_last_are_kept_however_long_ago_that_was() -> None:
    """Who always speaks with options of its own finds its connection, until others are used."""
    harness = Harness(QUIET, settings(min_idle=0))
    anna = harness.speak("Hello. ", voice="anna")
    harness.up()
    finish(harness, anna)
    harness.advance(3600.0)
    assert harness.wires[0].idle
    bert = harness.speak("Hello. ", voice="bert")
    assert harness.wires[0].state is ConnectionState.CLOSING
    harness.up(harness.wires[1])
    finish(harness, bert)


def test_a_speech_with_old_options_finishes() -> None:
    """A lease is a lease, and what is waited for is no use to give up."""
    harness = Harness(QUIET, settings(min_idle=0))
    long = harness.speak("Long. ", end=False, voice="anna")
    harness.up()
    harness.advance(5.0)
    harness.spoken()
    harness.advance(3600.0)
    assert harness.on(long).state is ConnectionState.OPEN
    harness.end(long)
    finish(harness, long)


def test_a_prewarm_keeps_its_options_in_use() -> None:
    harness = Harness(QUIET, settings(min_idle=0))
    harness.prewarm(1, voice="anna")
    harness.up()
    harness.spoken()
    harness.advance(500.0)
    harness.prewarm(1, voice="anna")
    harness.spoken()
    harness.advance(599.0)
    assert harness.wires[0].idle
    harness.until(1099.0)
    waits = harness.prewarm(2, timeout=900.0, voice="anna")
    finish(harness, harness.speak("Hello. "))
    for _ in range(800):
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn, 429)
        harness.advance(1.0)
    assert not waits.done and harness.wires[0].idle
    harness.advance(101.0)
    assert waits.done and harness.wires[0].state is ConnectionState.CLOSING


# --- spares after every doom ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "doom", ["interrupt", "taint", "stall", "age", "generations", "lost", "fatal"]
)
def test_a_spare_is_dialled_whatever_took_the_last_one(doom: str) -> None:
    """By the time the dust settles there is one free seat again, without anybody asking."""
    shape = traits(max_age=50.0 if doom == "age" else None)
    most = 1 if doom == "generations" else None
    config = settings(min_idle=1, max_generations=most, retry={"attempts": 1})
    harness = Harness(shape, config, interrupt=Interrupt.DISCARD)
    speech = harness.speak("Hello. ")
    harness.up()
    conn = harness.on(speech)
    match doom:
        case "interrupt":
            harness.interrupt(speech)
        case "taint" | "fatal":
            scope = "taint" if doom == "taint" else "connection"
            harness.say(conn, f"error {harness.id(speech)} {scope} no")
        case "lost":
            harness.drop(conn)
        case "stall":
            harness.advance(5.0)
        case _:
            pass
    for _ in range(60):
        for wire in harness.wires:
            harness.alive(wire)
        harness.hung_up()
        harness.up()
        if speech.state is SpeechState.SPEAKING:
            harness.audio(speech)
        if speech.error is None:
            harness.hear(speech)
        harness.advance(1.0)
    free = [wire for wire in harness.wires if wire.free_seats]
    assert len(free) >= 1
    assert conn.over or conn.state is ConnectionState.DRAINING


# --- statistics -----------------------------------------------------------------------------------


def test_statistics_of_times() -> None:
    """How long dials took that came up, and how long seats were held."""
    harness = Harness(QUIET, settings(min_idle=0))
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.up()
    harness.audio(speech)
    harness.advance(1.5)
    harness.done(speech)
    stats = harness.mux.stats()
    assert (stats.connect_seconds, stats.usage_seconds) == (0.25, 1.5)
    assert (stats.wait_seconds, stats.queued) == (0.25, 1)
    assert stats.returned_bad == 0


def test_seats_on_connections_that_are_not_used_again_are_counted() -> None:
    harness = opened(QUIET, settings(min_idle=0, max_size=8), n=3, interrupt=Interrupt.DISCARD)
    speeches = [harness.speak(f"{n}. ") for n in range(3)]
    harness.interrupt(speeches[0])
    harness.drop(harness.on(speeches[1]))
    finish(harness, speeches[2])
    harness.hung_up()
    stats = harness.mux.stats()
    assert (stats.leased, stats.released, stats.returned_bad) == (3, 3, 2)


def test_who_is_refused_is_counted() -> None:
    """And is told by whom."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1, max_waiting=1))
    harness.speak("1. "), harness.speak("2. ")
    with pytest.raises(PoolFull) as caught:
        harness.speak("3. ")
    assert caught.value.provider == "toy"
    harness.prewarm(1)  # takes nobody's place, and asks for no seat
    stats = harness.mux.stats()
    assert (stats.refused, stats.unserved, stats.requests) == (1, 1, 3)


def requested(harness: Harness) -> tuple[int, int, int, float]:
    """Return how many asked for a seat, had to wait, got none, and how long they waited."""
    stats = harness.mux.stats()
    assert stats.requests == stats.leased + stats.unserved + stats.waiting
    return stats.requests, stats.queued, stats.unserved, stats.wait_seconds


@pytest.mark.parametrize("how", ["time", "interrupt", "close", "deadline", "source"])
def test_who_waits_in_vain_has_asked_and_waited(how: str) -> None:
    """As in psycopg_pool: it has queued when it joins the line, its wait counts when it ends."""
    harness = opened(QUIET, settings(min_idle=0, max_size=1, acquire_timeout=0.5))
    harness.speak("Hello. ")
    assert requested(harness) == (1, 0, 0, 0.0)
    speech = harness.speak("Hello? ", total=0.25 if how == "deadline" else None)
    assert requested(harness) == (2, 1, 0, 0.0)
    harness.advance(0.25)
    match how:
        case "time":
            harness.advance(0.25)
        case "interrupt":
            harness.interrupt(speech)
        case "close":
            harness.close()
        case "source":
            harness.fail(speech, ValueError("the source"))
    assert requested(harness) == (2, 1, 1, 0.5 if how == "time" else 0.25)
    assert harness.mux.stats().timeouts == (how == "time")


@pytest.mark.parametrize("text", ["Hello. ", None])
def test_who_is_failed_by_dials_has_asked_for_a_seat(text: str | None) -> None:
    """Also before its text was there: in an outage most fail so."""
    harness = Harness(QUIET, settings(min_idle=0, retry={"attempts": 1}))
    for count in (1, 2):
        speech = harness.speak(text)
        harness.advance(0.25)
        harness.refuse(harness.wires[-1])
        assert isinstance(speech.error, ConnectError)
        queued, seconds = (count, count * 0.25) if text else (0, 0.0)
        assert requested(harness) == (count, queued, count, seconds)
    assert harness.mux.stats().timeouts == harness.mux.stats().refused == 0


@pytest.mark.parametrize("text", ["Hello. ", None])
def test_who_goes_to_the_next_route_asks_for_a_seat_there(text: str | None) -> None:
    """What it asked for on the first one came to nothing."""
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in ("a", "b")]
    harness = Harness(routes=routes, config=LEAN)
    speech = harness.speak(text)
    harness.advance(0.25)
    harness.refuse(harness.wires[0], 404)
    harness.advance(0.25)
    harness.up(harness.wires[1])
    if text is None:
        assert requested(harness) == (1, 0, 1, 0.0)
        harness.write(speech, "Hello. ")
        assert requested(harness) == (2, 0, 1, 0.0)
    else:
        assert requested(harness) == (2, 2, 1, 0.5)
    assert speech.plan.number == 1 and speech.generation is not None


def test_each_generation_asks_for_a_seat() -> None:
    """One that is begun again as well; who fails under way and is refused has asked once more."""
    harness = opened(QUIET, settings(min_idle=0, retry={"breaker_failures": 2}), n=2)
    speech = harness.speak("Hello. ")
    for count in (1, 2):
        assert requested(harness)[::2] == (count, 0)
        harness.drop(harness.on(speech))
        harness.advance(1.0)
    assert isinstance(speech.error, CircuitOpen)
    assert requested(harness)[::2] == (3, 1) and harness.mux.stats().refused == 1


def test_who_waits_for_the_limits_of_its_key_on_its_own_connection_waits() -> None:
    """Between two sentences: nobody else may have its seat."""
    config = settings(min_idle=0, acquire_timeout=100.0)
    harness = opened(traits(QUIET, flush=Flush.END, requests_per_minute=1), config)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech)
    harness.done(speech)
    harness.hear(speech)
    harness.write(speech, "World. ")
    stats = harness.mux.stats()
    assert (stats.requests, stats.leased, stats.waiting, stats.queued) == (2, 1, 1, 1)


# --- routes ---------------------------------------------------------------------------------------


def test_one_route_that_does_not_keep_its_word_says_nothing_of_another() -> None:
    """An acknowledgement missed on the first is no reason to dial anew on the second."""
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in ("a", "b")]
    harness = Harness(routes=routes, config=LEAN)
    elsewhere = harness.speak("Hello. ")
    harness.refuse(harness.wires[0], 404)
    harness.up()
    assert elsewhere.plan.number == 1
    speech = harness.speak("Hello. ")
    harness.advance(0.1)
    harness.up()
    assert speech.plan.number == 0
    harness.interrupt(speech)
    harness.advance(1.5)
    pool = harness.mux._pool
    assert pool.policy(speech.plan) is Interrupt.DISCARD
    assert pool.policy(elsewhere.plan) is Interrupt.CANCEL


# --- how often it is decided ----------------------------------------------------------------------


def decisions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets the instant of each decision from now on."""
    found: list[float] = []
    decide = Pool._assign

    def assign(self: Pool, now: float) -> None:
        found.append(now)
        decide(self, now)

    monkeypatch.setattr(Pool, "_assign", assign)
    return found


def test_a_seat_and_a_spare_are_one_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of it knows of both: to look again would be half of what a turn costs."""
    harness = opened(QUIET, settings(min_idle=1))
    found = decisions(monkeypatch)
    harness.ask()
    assert len(found) == 1
    assert len(dialling(harness)) == 0, "the second is the spare"
    harness.ask()
    assert len(found) == 2
    assert len(dialling(harness)) == 1


def test_what_changes_in_the_middle_is_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A speech that fails as it is seated may have been the last that draining waited for."""

    def clumsy(self: Toy, gen: Generation) -> NoReturn:
        raise ValueError("clumsy")

    harness = opened(QUIET)
    speech = harness.speak()
    harness.mux.drain(harness.now)
    monkeypatch.setattr(Toy, "open", clumsy)
    found = decisions(monkeypatch)
    harness.mux.write(speech, "Hello. ", harness.now)
    assert speech.state is SpeechState.FAILED
    assert len(found) > 1
    assert harness.mux._pool.closing


def test_no_spare_takes_the_room_that_another_voice_waits_for() -> None:
    """Their limits differ: what is one too many for it leaves room for a spare of the others."""
    routes = [
        Route(adapter=Toy(shape=traits(connections=1))),
        Route(adapter=Toy(), fallback_for=0),
    ]
    config = settings(min_idle=2, max_size=3, retry={"attempts": 1})
    harness = Harness(config=config, routes=routes)
    first = harness.speak("Hello. ")
    harness.up()
    harness.drop(harness.wires[0])
    harness.up()
    harness.audio(first)
    harness.done(first)
    harness.finish(first)
    harness.up()
    assert {conn.plan.number for conn in harness.wires if conn.idle} == {1}
    before = len(harness.wires)
    other = harness.speak("Hi. ", line="other")
    for _ in range(10):
        harness.up()
        harness.hung_up()
    assert other.generation is not None and other.plan.number == 0
    then = [conn.plan.number for conn in harness.wires[before:]]
    assert then == [0, 1, 1], "it comes first, and the spares once it has its connection"
    harness.audio(other)
    harness.done(other)
    harness.finish(other)
