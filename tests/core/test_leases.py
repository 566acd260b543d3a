"""A speech of several generations keeps its seat between them, and gives it back in the end."""

from tests.core.helpers import LEAN, SEQUENTIAL, Harness, opened, settings, traits
from ttsmux.adapter import Input
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import ClosedError, PoolTimeout

WHOLE = traits(SEQUENTIAL, input=Input.WHOLE)
ONE = settings(max_size=1, min_idle=0)


def between(harness: Harness, text: str = "One. "):  # type: ignore[no-untyped-def]
    """Return a speech that has said *text* and waits for more."""
    speech = harness.speak()
    harness.write(speech, text)
    harness.audio(speech)
    harness.done(speech)
    assert speech.state is SpeechState.WAITING and speech.generation is None
    return speech


def test_sentences_are_said_one_after_the_other_on_one_connection() -> None:
    harness = opened(WHOLE)
    speech = harness.speak("One. Two. Three.")
    for _ in range(3):
        assert harness.on(speech) is harness.wires[0]
        harness.audio(speech)
        harness.done(speech)
    assert len(harness.finish(speech)) == 12
    said = [word.split() for word in harness.words(harness.wires[0])]
    assert [words[1] for words in said if words[0] == "text"] == ["One.", "Two.", "Three."]
    assert len(harness.wires) == 1


def test_a_lessee_keeps_its_seat_while_another_speech_waits() -> None:
    """Also while it has nothing to say: its own next sentence does not queue behind others."""
    harness = opened(WHOLE, ONE)
    conn = harness.wires[0]
    first = between(harness)
    assert conn.lessee is first and not conn.idle and conn.free_seats == 0
    second = harness.speak("Other.")
    assert second.generation is None
    harness.write(first, "Two. ")
    assert first.generation is not None and harness.on(first) is conn
    assert second.generation is None
    harness.audio(first)
    harness.done(first)
    harness.end(first)
    harness.finish(first)
    assert harness.on(second) is conn
    assert len(harness.wires) == 1


def test_a_lessee_that_waits_in_vain_is_not_kept_out_by_its_own_seat() -> None:
    """Who waits for the place is told when its time is up, and the lessee speaks on."""
    config = settings(max_size=1, min_idle=0, acquire_timeout=1.0)
    harness = opened(WHOLE, config)
    first = between(harness)
    second = harness.speak("Other.")
    harness.advance(1.5)
    assert isinstance(second.error, PoolTimeout)
    harness.write(first, "Two. ")
    assert first.generation is not None


def test_a_lessee_without_text_dials_again_when_its_connection_is_lost() -> None:
    """As at its beginning: so that there is a seat when the next words come."""
    harness = opened(WHOLE)
    speech = between(harness)
    harness.drop(harness.wires[0])
    assert len(harness.wires) == 2
    assert speech.state is SpeechState.WAITING
    harness.up()
    harness.write(speech, "Two. ")
    assert harness.on(speech) is harness.wires[1]
    harness.audio(speech)
    harness.done(speech)
    harness.end(speech)
    assert len(harness.finish(speech)) == 8


def test_a_lessee_with_text_goes_to_the_front_when_its_connection_is_lost() -> None:
    """It was served before those who wait."""
    harness = opened(WHOLE, ONE)
    first = between(harness)
    conn = harness.wires[0]
    second = harness.speak("Other.")
    conn.doom("old", harness.now)
    harness.write(first, "Two. ")
    harness.hung_up()
    harness.up()
    assert harness.on(first) is harness.wires[1]
    assert second.generation is None


def test_words_that_wait_when_the_connection_is_lost() -> None:
    """The lessee has text, and its connection takes none yet; then it is gone."""
    harness = opened(WHOLE, ONE)
    first = between(harness)
    conn = harness.wires[0]
    second = harness.speak("Other.")
    conn._watched_until = harness.now + 9.0  # as after an acknowledged cancel
    harness.write(first, "Two. ")
    assert first.waiting_since is not None and first.generation is None
    harness.drop(conn)
    harness.advance(1.0)
    harness.up()
    assert harness.on(first) is harness.wires[1]
    assert second.generation is None


def test_an_interrupted_lessee_gives_its_seat_back() -> None:
    """Nothing is under way, so nothing is cancelled and the next speech sits at once."""
    harness = opened(WHOLE, ONE)
    conn = harness.wires[0]
    first = between(harness)
    second = harness.speak("Other.")
    harness.interrupt(first)
    assert harness.on(second) is conn
    assert "cancel" not in harness.words(conn)
    assert conn.lessee is None


def test_a_lessee_that_ends_without_more_text_gives_its_seat_back() -> None:
    harness = opened(WHOLE, ONE)
    first = between(harness)
    second = harness.speak("Other.")
    harness.end(first)
    harness.finish(first)
    assert harness.on(second) is harness.wires[0]


def test_a_failed_lessee_gives_its_seat_back() -> None:
    harness = opened(WHOLE, ONE)
    first = between(harness)
    second = harness.speak("Other.")
    harness.fail(first, ValueError("the model broke"))
    assert harness.on(second) is harness.wires[0]


def test_closing_while_leased() -> None:
    harness = opened(WHOLE)
    speech = between(harness)
    ticket = harness.close()
    assert isinstance(speech.error, ClosedError)
    assert harness.wires[0].state is ConnectionState.CLOSING
    harness.hung_up()
    assert harness.read(ticket) is not None


def test_draining_while_leased() -> None:
    """The speech may say all that it has."""
    harness = opened(WHOLE)
    speech = between(harness)
    ticket = harness.drain()
    harness.write(speech, "Two. ")
    harness.end(speech)
    harness.audio(speech)
    harness.done(speech)
    assert len(harness.finish(speech)) == 8
    harness.hung_up()
    assert harness.read(ticket) is not None


def test_giving_all_up_while_leased() -> None:
    """The Mux was torn; nobody is left with a seat."""
    harness = opened(WHOLE)
    speech = between(harness)
    harness.mux.abandon(RuntimeError("torn"))
    harness.collect()
    assert speech.state is SpeechState.FAILED
    assert not harness.mux._pool._leases
    harness.drop(harness.wires[0])
    assert harness.mux.stats().size == 0


def test_who_was_leased_has_been_idle_since_it_last_spoke() -> None:
    """So it makes room before one that spoke later."""
    harness = Harness(WHOLE, settings(min_idle=0, max_size=2))
    leased = harness.speak("One. Two", end=False, line="a")
    harness.up()
    harness.audio(leased)
    harness.done(leased)
    harness.advance(5.0)
    later = harness.speak("Three. ", line="b")
    harness.up()
    harness.audio(later)
    harness.done(later)
    first, second = harness.wires
    harness.interrupt(leased)
    assert first.idle and second.idle
    harness.speak("Four. ", line="c")
    assert first.state is ConnectionState.CLOSING and second.state is ConnectionState.OPEN


AGING = traits(WHOLE, max_age=60.0, ping=None)


def test_a_connection_whose_time_is_up_between_two_sentences_is_replaced() -> None:
    """Not at the end of the speech, which may be hours away."""
    harness = opened(AGING, LEAN)
    old = harness.wires[0]
    speech = between(harness)
    harness.advance(60.0)
    assert old.state is ConnectionState.OPEN and len(harness.wires) == 2
    harness.up()
    assert old.state is ConnectionState.CLOSING
    harness.write(speech, "Two. ")
    assert harness.on(speech) is harness.wires[1]


def test_a_sentence_does_not_wait_for_the_connection_that_replaces_an_old_one() -> None:
    """It is spoken on the old one, and only the next one on the new."""
    harness = opened(AGING, LEAN)
    old = harness.wires[0]
    speech = between(harness)
    harness.advance(60.0)
    harness.write(speech, "Two. ")
    assert harness.on(speech) is old
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert old.state is ConnectionState.CLOSING
    harness.write(speech, "Three. ")
    assert harness.on(speech) is harness.wires[1]


def test_who_was_under_way_on_a_connection_whose_time_is_up_is_served_first() -> None:
    harness = opened(AGING, ONE)
    old = harness.wires[0]
    speech = between(harness)
    harness.advance(59.0)
    harness.speak("Other.")
    harness.advance(1.0)
    assert old.state is ConnectionState.CLOSING, "there is no room for another one"
    harness.write(speech, "Two. ")
    harness.hung_up()
    harness.up()
    assert harness.on(speech) is harness.wires[1]


def test_a_connection_with_several_seats_is_not_leased() -> None:
    """There is room beside it, and a seat kept empty would be one less."""
    harness = opened(traits(WHOLE, seats=2, slots=2, ids=True))
    between(harness)
    assert harness.wires[0].lessee is None and harness.wires[0].idle
