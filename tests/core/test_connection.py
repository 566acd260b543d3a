"""One wire: whom its audio belongs to, when its slots are free, when it must go."""

from __future__ import annotations

import pytest

from tests.core.helpers import (
    LEAN,
    MULTIPLEXED,
    SECOND,
    Harness,
    opened,
    settings,
    traits,
)
from ttsmux.adapter import PING, EarlyEnd
from ttsmux.core.connection import Connection
from ttsmux.core.effects import HangUp, Send
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import ConnectionState, GenerationState, SpeechState
from ttsmux.errors import (
    AuthError,
    ConnectTimeout,
    FirstAudioTimeout,
    GenerationError,
    RemoteProtocolError,
)
from ttsmux.settings import Interrupt

DISCARD = traits(interrupt=Interrupt.DISCARD, policies=(Interrupt.DISCARD,))
QUIET = traits(ping=None)
PAIR = settings(min_idle=0, max_size=2)


# --- coming up ------------------------------------------------------------------------------------


def test_a_provider_that_greets_is_waited_for() -> None:
    """With a greeting the connection is ready when the provider says so; without, at once."""
    harness = Harness(traits(greeting=True))
    speech = harness.speak("Hello. ")
    harness.up()
    conn = harness.wires[0]
    assert conn.state is ConnectionState.GREETING and conn.coming
    harness.say(conn, "ready -")
    assert harness.on(speech) is conn
    harness.say(conn, "ready -", "note -")
    assert conn.state is ConnectionState.OPEN


def test_a_connection_asks_its_route_for_the_handshake() -> None:
    """The shell gets URL and headers from the connection that it is to dial."""
    harness = Harness()
    harness.speak()
    assert harness.wires[0].handshake("secret").headers == {"Authorization": "secret"}


def test_dialling_has_one_deadline_greeting_included() -> None:
    """From the dial to ready in five seconds, or hung up."""
    harness = Harness(traits(greeting=True))
    harness.speak("Hello. ")
    assert harness.dials()[0].timeout == 5.0
    harness.advance(4.0)
    harness.up()
    harness.advance(0.999)
    assert harness.wires[0].state is ConnectionState.GREETING
    harness.advance(0.001)
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert harness.hangups(harness.wires[0])[0].frames == ("bye",)
    assert harness.events("dial.failed")[0].fields["error"] == "ConnectTimeout"


def test_a_hanging_dial_is_given_up() -> None:
    """No farewell is said to a wire that never came up, and a late one is hung up again."""
    harness = Harness(config=settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ")
    harness.advance(5.0)
    with pytest.raises(ConnectTimeout, match="not ready within 5 s"):
        harness.read(speech)
    conn = harness.wires[0]
    assert [hangup.frames for hangup in harness.hangups(conn)] == [()]
    harness.up(conn)
    assert len(harness.hangups(conn)) == 2
    harness.drop(conn, 1000)
    assert conn.state is ConnectionState.CLOSED


@pytest.mark.parametrize("last", ["lost", "dial_failed"])
def test_closed_absorbs_every_fact(last: str) -> None:
    """A frame read before the HangUp, a second loss, a dial that crosses close: races."""
    harness = opened()
    conn = harness.wires[0]
    harness.close()
    harness.say(conn, b"audio - late", "%%%")
    assert conn.state is ConnectionState.CLOSING
    harness.drop(conn)
    before = list(harness.effects)
    harness.drop(conn)
    harness.refuse(conn)
    harness.up(conn)
    harness.say(conn, "end -")
    harness.alive(conn)
    harness.tick()
    assert conn.state is ConnectionState.CLOSED
    assert harness.effects == before
    assert harness.mux.stats().size == 0


def test_an_error_instead_of_a_greeting_is_a_failed_dial() -> None:
    """The provider refused what the upgrade had let through."""
    harness = Harness(traits(greeting=True), settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ")
    harness.up()
    harness.say(harness.wires[0], "error - connection no such model!")
    with pytest.raises(GenerationError, match="no such model"):
        harness.read(speech)
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_lost_while_greeting_is_a_failed_dial() -> None:
    """So is a close right after the upgrade."""
    harness = Harness(traits(greeting=True), settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ")
    harness.up()
    harness.drop(harness.wires[0], 1008, "bad key")
    with pytest.raises(AuthError):
        harness.read(speech)
    assert harness.mux.stats().dials_failed == 1


# --- whose audio is it ----------------------------------------------------------------------------


def test_audio_is_told_apart_by_its_id() -> None:
    """Every chunk goes to the speech whose generation it names; unknown ids go to nobody."""
    harness = opened(MULTIPLEXED)
    one, two = harness.speak("One. "), harness.speak("Two. ")
    assert harness.on(one) is harness.on(two)
    harness.audio(two, b"22")
    harness.audio(one, b"11")
    harness.say(harness.wires[0], b"audio feed 99", "end feed", "mark feed x 0 1")
    assert harness.hear(one) == b"11" and harness.hear(two) == b"22"
    assert harness.wires[0].dropped == 1


def test_a_missing_id_is_filled_in_where_there_is_only_one() -> None:
    """Audio without an id belongs to the only generation there is."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("One. ")
    harness.say(harness.wires[0], b"audio - 11", "end -")
    assert harness.finish(speech) == b"11"


def test_audio_without_an_id_among_several_dooms() -> None:
    """Nobody can say whose it is; those who speak are let finish, then it is hung up."""
    harness = opened(MULTIPLEXED)
    one, two = harness.speak("One. "), harness.speak("Two. ")
    conn = harness.wires[0]
    harness.say(conn, b"audio - ??")
    assert conn.state is ConnectionState.DRAINING
    for speech in (one, two):
        harness.audio(speech)
        harness.done(speech)
        assert harness.finish(speech)
    assert conn.state is ConnectionState.CLOSING


def test_audio_that_nobody_owns_dooms_a_connection_without_ids() -> None:
    """It would poison the next speech."""
    harness = opened()
    harness.say(harness.wires[0], b"audio - ??")
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_a_server_that_greets_with_audio_is_not_redialled_at_once_for_ever() -> None:
    """A connection that is broken before it did anything counts as a failed dial."""
    harness = Harness(config=settings(min_idle=1))
    harness.prewarm(1)
    for _ in range(1000):
        for conn in harness.wires:
            if conn.state is ConnectionState.DIALLING:
                harness.up(conn)
                harness.say(conn, b"audio - boo")
        harness.hung_up()
        harness.advance(0.01)
    assert len(harness.wires) < 40


def test_a_message_that_cannot_be_read_fails_all_on_the_connection() -> None:
    """Nothing it says can be trusted; whatever the decoder raised is one error of ours."""
    harness = opened(MULTIPLEXED, settings(min_idle=0, retry={"attempts": 1}))
    speeches = [harness.speak("One. "), harness.speak("Two. ")]
    harness.say(harness.wires[0], "%%%")
    for speech in speeches:
        with pytest.raises(
            RemoteProtocolError, match=r"could not be read \(ValueError\)"
        ) as caught:
            harness.read(speech)
        assert isinstance(caught.value.__cause__, ValueError)
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_a_binary_message_is_for_the_binary_decoder() -> None:
    """A provider that sends text only has none."""
    harness = opened(config=settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("One. ")
    harness.say(harness.wires[0], b"audio - xx", text=False)
    with pytest.raises(RemoteProtocolError, match="binary"):
        harness.read(speech)


def test_signals_after_the_one_that_breaks_are_ignored() -> None:
    """One message may mean several things; after a hang-up the rest means nothing."""
    harness = opened()
    harness.say(harness.wires[0], b"all - audio - ??|audio - !!|ready -")
    assert harness.wires[0].dropped == 1


def test_what_the_core_does_not_know_changes_nothing() -> None:
    """Neither a note nor a signal of some later version."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("One. ")
    harness.take()
    harness.say(harness.wires[0], "riddle -", "note -", "note feed")
    assert harness.effects == [] and speech.state is SpeechState.SPEAKING


def test_audio_without_bytes_is_a_sign_of_life() -> None:
    """It is no first audio, but the provider is at it."""
    harness = opened()
    speech = harness.speak("One. ")
    harness.audio(speech)
    assert harness.hear(speech)
    harness.advance(2.9)
    harness.audio(speech, b"")
    harness.advance(2.9)
    assert speech.state is SpeechState.SPEAKING
    assert harness.read(speech) is None


# --- slots ----------------------------------------------------------------------------------------


def test_seats_and_slots() -> None:
    """Three speak at once; a muted one keeps its slot, and a fourth slot is room for that."""
    harness = opened(MULTIPLEXED)
    speeches = [harness.speak("x. ") for _ in range(3)]
    conn = harness.wires[0]
    assert conn.free_seats == 0
    harness.interrupt(speeches[0])
    assert conn.free_seats == 1
    fourth = harness.speak("x. ")
    harness.interrupt(speeches[1])
    assert (conn.free_seats, conn.muted, len(conn.live)) == (0, 2, 2)
    assert harness.on(fourth) is conn
    assert repr(conn) == "<Connection c1 toy OPEN 2/3 seats>"


@pytest.mark.parametrize(("ends_released", "free"), [(True, 1), (False, 0)])
def test_an_end_may_or_may_not_release(ends_released: bool, free: int) -> None:
    """Where release is a message of its own the slot waits for it; the speech does not."""
    harness = opened(traits(ends_released=ends_released))
    speech = harness.speak("Hello. ")
    id = harness.id(speech)
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
    conn = harness.wires[0]
    assert conn.free_seats == free
    harness.say(conn, f"end {id}", f"released {id}", f"released {id}")
    assert conn.free_seats == 1


def test_a_seat_is_free_before_its_slot() -> None:
    """A waiting speech takes the seat as soon as the output has ended, if there is a slot."""
    harness = opened(traits(MULTIPLEXED, seats=1, slots=2, ends_released=False), PAIR)
    first = harness.speak("One. ")
    harness.speak("Two. ", line="other")  # takes the room
    waiting = harness.speak("Three. ")
    assert waiting.generation is None
    harness.audio(first)
    harness.done(first)
    assert harness.on(waiting) is harness.wires[0]


def test_released_implies_the_end_of_output() -> None:
    """A provider that only releases has ended too."""
    harness = opened(traits(ends_released=False))
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.say(harness.wires[0], "released -")
    assert harness.finish(speech)
    assert harness.wires[0].idle


def test_a_release_that_never_comes_dooms() -> None:
    """Ten seconds after the end of output; the speech was complete long before."""
    harness = opened(traits(ends_released=False))
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.done(speech)
    harness.advance(9.999)
    assert harness.wires[0].state is ConnectionState.OPEN
    harness.advance(0.001)
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert harness.doomed() == ["a slot was not released in time"]


def test_a_second_step_is_taken_when_audio_came() -> None:
    """Two-step ends: the release follows the first audio after the end, once."""
    harness = opened(traits(release_after=2.0, ping=None))
    speech = harness.speak("Hello. ")
    conn = harness.wires[0]
    assert harness.words(conn)[-1] == "end"
    harness.advance(1.0)
    harness.audio(speech)
    harness.audio(speech)
    assert harness.words(conn).count("release") == 1
    harness.advance(2.0)
    assert harness.words(conn)[-1] == "release" and harness.words(conn).count("release") == 1


def test_a_second_step_is_taken_at_its_grace() -> None:
    """Where no audio comes after the end, the release is sent after a while."""
    harness = opened(traits(release_after=2.0))
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech)
    harness.end(speech)
    conn = harness.wires[0]
    harness.advance(1.999)
    assert "release" not in harness.words(conn)
    harness.advance(0.001)
    assert harness.words(conn)[-1] == "release"


def test_a_second_step_is_taken_soon_where_all_may_have_been_spoken() -> None:
    """After audio there may be nothing left to come; without any there is more to wait for."""
    harness = opened(traits(MULTIPLEXED, release_after=2.0, release_soon=0.25))
    conn = harness.wires[0]
    spoken = harness.speak("Hello. ", end=False)
    harness.audio(spoken)
    harness.end(spoken)
    harness.advance(0.249)
    assert "release" not in harness.words(conn)
    harness.advance(0.001)
    assert harness.words(conn)[-1] == "release"
    harness.speak("And you? ")
    harness.advance(1.999)
    assert harness.words(conn).count("release") == 1
    harness.advance(0.001)
    assert harness.words(conn).count("release") == 2


def test_a_second_step_due_with_the_first_audio_deadline() -> None:
    """Two clocks that end together are both looked at, and the shell's clock does not spin."""
    harness = opened(traits(release_after=5.0), settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ")
    harness.advance(5.0)
    with pytest.raises(FirstAudioTimeout):
        harness.read(speech)


def test_a_connection_that_serves_once() -> None:
    """Not reusable: hung up after its first speech. One for the next speech is opened ahead."""
    harness = opened(traits(reusable=False), settings())
    first, second = harness.wires
    harness.spoken()
    assert first.state is ConnectionState.CLOSING
    assert harness.doomed() == ["it serves once"]
    harness.speak("Hello. ")
    assert second.live and len(harness.wires) == 3


def test_a_request_that_serves_once() -> None:
    """Over HTTP there is nothing to open before there is something to say."""
    harness = opened(traits(reusable=False, ping=None), settings())
    harness.spoken()
    harness.speak("Hello. ")
    assert len(harness.wires) == 2


# --- interruption ---------------------------------------------------------------------------------


def test_mute_keeps_the_connection() -> None:
    """Late audio is dropped by its id and counted; the slot is free at the provider's end."""
    harness = opened(MULTIPLEXED)
    speech, other = harness.speak("One. "), harness.speak("Two. ")
    conn, id = harness.wires[0], harness.id(speech)
    harness.interrupt(speech)
    assert harness.frames(conn)[-1] == f"cancel {id}"
    harness.say(conn, f"audio {id} late", f"mark {id} x 0 1")
    assert (conn.dropped, conn.state) == (1, ConnectionState.OPEN)
    assert conn.muted == 1
    harness.say(conn, f"end {id}")
    assert conn.muted == 0
    harness.audio(other)
    harness.done(other)
    assert harness.finish(other)


def test_a_muted_slot_may_be_freed_by_an_acknowledgement() -> None:
    """Some providers acknowledge a cancel by id; one for a speech that goes on means nothing."""
    harness = opened(traits(MULTIPLEXED, ends_released=False))
    speech, other = harness.speak("One. "), harness.speak("Two. ")
    conn, id = harness.wires[0], harness.id(speech)
    harness.say(conn, f"ack {harness.id(other)}")
    assert other.state is SpeechState.SPEAKING
    harness.interrupt(speech)
    harness.say(conn, f"end {id}")
    assert conn.muted == 1
    harness.say(conn, f"ack {id}")
    assert conn.muted == 0


def test_a_mute_has_a_deadline_and_neighbours_finish() -> None:
    """The release never comes: nothing new begins, two live neighbours speak to their end."""
    harness = opened(MULTIPLEXED)
    gone, one, two = (harness.speak("x. ", end=False) for _ in range(3))
    conn = harness.wires[0]
    harness.interrupt(gone)
    harness.advance(3.999)
    assert conn.state is ConnectionState.OPEN
    harness.advance(0.001)
    assert conn.state is ConnectionState.DRAINING
    for speech in (one, two):
        harness.write(speech, "more. ")
        harness.end(speech)
        harness.audio(speech)
        harness.done(speech)
        assert harness.finish(speech)
    assert conn.state is ConnectionState.CLOSING


def test_too_many_muted_generations() -> None:
    """At the limit nothing new begins there; beyond it the connection drains."""
    harness = opened(traits(MULTIPLEXED, max_muted=1))
    one, two, three = (harness.speak("x. ") for _ in range(3))
    conn = harness.wires[0]
    harness.interrupt(one)
    assert (conn.state, conn.free_seats) == (ConnectionState.OPEN, 0)
    harness.interrupt(two)
    assert conn.state is ConnectionState.DRAINING
    assert harness.doomed() == ["too many muted generations"]
    assert three.state is SpeechState.SPEAKING


def test_a_barrier_drops_everything_until_the_acknowledgement() -> None:
    """Old audio, old ends and old word times reach nobody; then the connection is used again."""
    harness = opened()
    speech = harness.speak("One. ")
    conn = harness.wires[0]
    harness.interrupt(speech)
    assert conn.state is ConnectionState.BARRIER and conn.free_seats == 0
    harness.say(conn, b"audio - late", "mark - x 0 1", "end -")
    assert (conn.dropped, conn.state) == (1, ConnectionState.BARRIER)
    harness.say(conn, "ack -")
    assert conn.state is ConnectionState.OPEN and conn.idle
    harness.advance(0.1)
    assert harness.on(harness.speak("Two. ")) is conn


def test_a_connection_that_acknowledged_is_watched_before_it_is_used() -> None:
    """For 100 ms it is no choice at all, even for a speech that has nowhere else to go."""
    harness = opened()
    harness.interrupt(harness.speak("One. "))
    conn = harness.wires[0]
    harness.say(conn, "ack -")
    speech = harness.speak("Two. ")
    assert speech.generation is None and conn.watched
    harness.advance(0.099)
    assert speech.generation is None
    harness.advance(0.001)
    assert harness.on(speech) is conn


def test_a_provider_that_kept_silent_is_trusted() -> None:
    """Once a connection was silent for 250 ms after its acknowledgement, nothing is watched."""
    harness = opened()
    harness.interrupt(harness.speak("One. "))
    conn = harness.wires[0]
    harness.say(conn, "ack -")
    harness.advance(0.25)
    harness.interrupt(harness.speak("Two. "))
    harness.say(conn, "ack -")
    assert harness.on(harness.speak("Three. ")) is conn


def test_a_provider_that_is_not_trusted_loses_all_that_its_word_speaks_for() -> None:
    """Audio after one acknowledgement: barriers and other acknowledged connections go too."""
    harness = opened(config=PAIR)
    harness.prewarm(2)
    harness.up()
    first, second = harness.speak("One. "), harness.speak("Two. ")
    conns = harness.on(first), harness.on(second)
    harness.interrupt(first)
    harness.interrupt(second)
    harness.say(conns[0], "ack -")
    harness.say(conns[0], b"audio - old")
    assert {conn.state for conn in conns} == {ConnectionState.CLOSING}


def test_an_acknowledgement_missed_once_switches_to_discard() -> None:
    """After 1.5 s the connection goes, with one event, and nothing waits for one again."""
    harness = opened(config=PAIR)
    harness.prewarm(2)
    harness.up()
    first, second = harness.speak("One. "), harness.speak("Two. ")
    conns = harness.on(first), harness.on(second)
    harness.interrupt(first)
    harness.interrupt(second)
    harness.advance(1.499)
    assert conns[0].state is ConnectionState.BARRIER
    harness.advance(0.001)
    assert {conn.state for conn in conns} == {ConnectionState.CLOSING}
    assert len(harness.events("interrupt.distrusted")) == 1
    harness.hung_up()
    third = harness.speak("Three. ")
    harness.up()
    conn = harness.on(third)
    harness.interrupt(third)
    assert conn.state is ConnectionState.CLOSING
    assert "cancel" not in harness.words(conn)
    assert len(harness.events("interrupt.distrusted")) == 1


def test_an_acknowledgement_that_never_comes_with_room_for_one_connection() -> None:
    """The barrier is cut short after 250 ms, because a speech waits for that very place."""
    harness = opened(config=settings(min_idle=0, max_size=1))
    first = harness.speak("One. ")
    conn = harness.wires[0]
    harness.interrupt(first)
    second = harness.speak("Two. ")
    harness.advance(0.249)
    assert conn.state is ConnectionState.BARRIER
    harness.advance(0.001)
    assert conn.state is ConnectionState.CLOSING
    assert harness.events("interrupt.distrusted") == []  # it was not given its time
    harness.hung_up()
    harness.up()
    assert harness.on(second) is harness.wires[1]


def test_a_barrier_that_is_older_is_cut_short_at_once() -> None:
    """Its 250 ms are over when somebody comes to need the place."""
    harness = opened(config=settings(min_idle=0, max_size=1))
    first = harness.speak("One. ")
    harness.interrupt(first)
    harness.advance(0.5)
    assert harness.wires[0].state is ConnectionState.BARRIER
    harness.speak("Two. ")
    assert harness.wires[0].state is ConnectionState.CLOSING
    harness.tick()


def test_a_barrier_shorter_than_the_hurry_is_distrusted() -> None:
    """A provider whose own time is shorter than ours has missed it, waited for or not."""
    harness = opened(traits(acknowledgement=0.1), settings(min_idle=0, max_size=1))
    harness.interrupt(harness.speak("One. "))
    harness.speak("Two. ")
    harness.advance(0.1)
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert len(harness.events("interrupt.distrusted")) == 1


def test_an_error_in_place_of_an_acknowledgement() -> None:
    """The provider does not know the cancel: never send it one again."""
    harness = opened()
    speech = harness.speak("One. ")
    harness.interrupt(speech)
    harness.say(harness.wires[0], "error - connection unknown message")
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert len(harness.events("interrupt.distrusted")) == 1


def test_a_connection_that_has_just_acknowledged_is_the_last_choice() -> None:
    """For 250 ms a spare is taken before it; after that it is the one used last."""
    harness = opened(config=PAIR, n=2)
    first = harness.speak("One. ")
    cooling = harness.on(first)
    harness.interrupt(first)
    harness.say(cooling, "ack -")
    harness.advance(0.249)
    second = harness.speak("Two. ")
    assert harness.on(second) is not cooling
    third = harness.speak("Three. ")
    assert harness.on(third) is cooling


def test_a_connection_that_has_cooled_is_used_again() -> None:
    """The one used last comes first, so that the others can grow idle and go."""
    harness = opened(config=PAIR, n=2)
    first = harness.speak("One. ")
    conn = harness.on(first)
    harness.interrupt(first)
    harness.advance(0.1)
    harness.say(conn, "ack -")
    harness.advance(0.25)
    assert harness.on(harness.speak("Two. ")) is conn


def test_a_server_that_acknowledges_and_speaks_on_is_distrusted() -> None:
    """Unowned audio on a cooling connection dooms it, and the client discards from then on."""
    harness = opened(config=PAIR)
    speech = harness.speak("One. ")
    conn = harness.wires[0]
    harness.interrupt(speech)
    harness.say(conn, "ack -", b"audio - late")
    assert conn.state is ConnectionState.CLOSING
    reason = harness.events("interrupt.distrusted")[0].fields["reason"]
    assert reason == "audio came after the cancel was acknowledged"


def test_discard_dooms_at_once() -> None:
    """Nothing is sent, and the connection is hung up."""
    harness = opened(DISCARD)
    speech = harness.speak("One. ")
    harness.interrupt(speech)
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert harness.words(harness.wires[0])[-1] == "bye"
    assert harness.events("interrupt.distrusted") == []


def test_discard_lets_neighbours_finish() -> None:
    """Doom never ends a speech that nobody interrupted."""
    harness = opened(MULTIPLEXED, interrupt=Interrupt.DISCARD)
    speech, other = harness.speak("One. "), harness.speak("Two. ")
    conn, id = harness.wires[0], harness.id(speech)
    harness.interrupt(speech)
    assert conn.state is ConnectionState.DRAINING
    assert conn.free_seats == 0
    harness.say(conn, f"audio {id} late")
    harness.audio(other)
    harness.advance(20.0)
    harness.done(other) if other.generation else None
    assert conn.state is ConnectionState.CLOSING
    assert len(harness.doomed()) == 1


def test_discard_beside_neighbours_tells_the_provider() -> None:
    """The connection lives on: speaking what nobody hears would cost time and money."""
    harness = opened(MULTIPLEXED, interrupt=Interrupt.DISCARD)
    speech, last = harness.speak("One. "), harness.speak("Two. ")
    conn = harness.wires[0]
    harness.interrupt(speech)
    assert harness.words(conn)[-1] == "cancel"
    harness.interrupt(last)
    assert harness.words(conn)[-1] == "bye"
    assert harness.words(conn).count("cancel") == 1


def test_an_interruption_on_a_connection_that_drains_hangs_up() -> None:
    """There is no next speech to keep a barrier for."""
    harness = opened(traits(ping=None, max_age=50.0))
    harness.advance(45.0)
    speech = harness.speak("One. ", end=False)
    harness.advance(5.0)
    conn = harness.wires[0]
    assert conn.state is ConnectionState.DRAINING
    harness.interrupt(speech)
    assert conn.state is ConnectionState.CLOSING
    assert "cancel" not in harness.words(conn)


# --- what a provider reports ----------------------------------------------------------------------


def test_an_error_of_no_consequence() -> None:
    """Reported, and nothing else."""
    harness = opened()
    speech = harness.speak("One. ")
    harness.say(harness.wires[0], "error - nothing never mind")
    assert speech.state is SpeechState.SPEAKING
    assert harness.events("provider.error")[0].fields["error"] == "GenerationError"


def test_an_error_of_one_generation() -> None:
    """The others and the connection go on; one for nobody is nothing."""
    harness = opened(MULTIPLEXED, settings(min_idle=0, retry={"attempts": 1}))
    one, two = harness.speak("One. "), harness.speak("Two. ")
    conn = harness.wires[0]
    harness.say(conn, "error feed generation who?")
    harness.say(conn, f"error {harness.id(one)} generation broken")
    with pytest.raises(GenerationError):
        harness.read(one)
    assert (two.state, conn.state) == (SpeechState.SPEAKING, ConnectionState.OPEN)


def test_an_error_that_taints_the_connection() -> None:
    """Its others finish, then it goes; alone it goes at once."""
    harness = opened(MULTIPLEXED)
    one, two = harness.speak("One. "), harness.speak("Two. ")
    conn = harness.wires[0]
    harness.say(conn, f"error {harness.id(one)} taint broken")
    assert (conn.state, two.state) == (ConnectionState.DRAINING, SpeechState.SPEAKING)
    harness.say(conn, f"error {harness.id(two)} taint broken")
    assert conn.state is ConnectionState.CLOSING


def test_a_taint_on_a_connection_that_serves_once() -> None:
    """It was going anyway."""
    harness = opened(traits(reusable=False))
    speech = harness.speak("One. ")
    harness.say(harness.wires[0], f"error {harness.id(speech)} taint broken")
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert len(harness.hangups(harness.wires[0])) == 1


def test_an_error_of_the_whole_connection() -> None:
    """All on it fail and are begun again elsewhere, muted ones are forgotten."""
    harness = opened(MULTIPLEXED)
    one, two, muted = (harness.speak("x. ") for _ in range(3))
    harness.interrupt(muted)
    conn = harness.wires[0]
    harness.say(conn, "error - connection going down")
    assert conn.state is ConnectionState.CLOSING
    assert not conn.generations
    assert one.state is two.state is SpeechState.WAITING


def test_a_stall_leaves_the_neighbours_alone() -> None:
    """The stalled speech is begun again elsewhere, the other goes on."""
    harness = opened(MULTIPLEXED)
    one, two = harness.speak("One. "), harness.speak("Two. ", end=False)
    conn = harness.wires[0]
    harness.advance(5.0)
    assert one.state is SpeechState.WAITING
    assert (conn.state, two.state) == (ConnectionState.DRAINING, SpeechState.SPEAKING)
    harness.end(two)
    harness.audio(two)
    harness.done(two)
    assert harness.finish(two)
    assert conn.state is ConnectionState.CLOSING


def test_a_request_that_crossed_the_end_of_an_idle_connection_is_free() -> None:
    """It was never read: the speech is begun again at once, with all its attempts left."""
    harness = opened(config=settings(min_idle=0, retry={"attempts": 1}))
    harness.advance(100.0)
    speech = harness.speak("Hello. ")
    harness.drop(harness.wires[0], 1000)
    assert speech.state is SpeechState.WAITING
    assert speech.not_before == harness.now
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


def test_a_request_that_was_heard_of_is_not_free() -> None:
    """The provider acknowledged the generation before the connection ended."""
    harness = opened(MULTIPLEXED, settings(min_idle=0, retry={"attempts": 1}))
    harness.advance(5.0)
    speech = harness.speak("Hello. ")
    harness.say(harness.wires[0], f"note {harness.id(speech)}")
    harness.drop(harness.wires[0], 1001)
    assert speech.state is SpeechState.FAILED


def test_free_attempts_are_bounded() -> None:
    """As many stale sockets as a pool can hold, then it counts."""
    config = settings(
        min_idle=1,
        max_size=2,
        reconnect_jitter=0.0,
        retry={"attempts": 1},
        timeouts={"first_audio": 100.0},
    )
    harness = opened(traits(ping=None), config)
    harness.advance(11.0)
    speech = harness.speak("Hello. ")
    for _ in range(2):
        harness.drop(harness.on(speech), 1000)
        assert speech.state is SpeechState.SPEAKING  # on the spare, which is as old
        harness.up()
        harness.advance(11.0)
    harness.drop(harness.on(speech), 1000)
    assert speech.state is SpeechState.FAILED


# --- clocks ---------------------------------------------------------------------------------------


def test_a_quiet_connection_is_pinged() -> None:
    """Twenty seconds after the last thing heard; any message or pong counts as an answer."""
    harness = opened()
    conn = harness.wires[0]
    harness.advance(19.999)
    assert harness.frames(conn) == []
    harness.advance(0.001)
    assert harness.frames(conn) == [PING]
    harness.advance(1.0)
    harness.alive(conn)
    harness.advance(19.999)
    assert harness.words(conn) == ["PING"]
    harness.advance(0.001)
    assert harness.words(conn) == ["PING", "PING"]
    harness.advance(1.0)
    harness.say(conn, "note -")
    harness.advance(15.0)
    assert conn.state is ConnectionState.OPEN


def test_a_ping_without_an_answer_dooms() -> None:
    """After ten seconds of silence the connection goes; what is on it may still finish."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ", end=False)
    harness.advance(29.999)
    assert harness.wires[0].state is ConnectionState.OPEN
    harness.advance(0.001)
    assert harness.wires[0].state is ConnectionState.DRAINING
    assert harness.doomed() == ["no answer to a ping"]
    harness.advance(20.0)
    assert harness.words(harness.wires[0])[-1] == "PING"
    assert speech.state is SpeechState.SPEAKING


def test_a_provider_that_bears_no_pings_gets_none() -> None:
    """Trait `ping`: None."""
    harness = opened(traits(ping=None))
    harness.advance(3600.0)
    assert harness.frames(harness.wires[0]) == []
    assert harness.mux.deadline is None


def test_a_connection_is_kept_alive() -> None:
    """The connection's own message, so long after the last frame sent."""
    harness = opened(traits(ping=None, connection_keepalive=8.0))
    conn = harness.wires[0]
    harness.advance(8.0)
    assert harness.frames(conn) == ["alive -"]
    harness.advance(5.0)
    speech = harness.spoken()
    harness.advance(7.999)
    assert harness.words(conn).count("alive") == 1
    harness.advance(0.001)
    assert harness.words(conn).count("alive") == 2
    assert speech.state is SpeechState.COMPLETED


def test_an_open_generation_is_kept_alive() -> None:
    """Its own message while the source is silent; not any more after its end."""
    harness = opened(traits(ping=None, generation_keepalive=4.0))
    speech = harness.speak("Hello. ", end=False)
    conn, id = harness.wires[0], harness.id(speech)
    harness.advance(3.0)
    harness.write(speech, "World. ")
    harness.advance(3.999)
    assert f"alive {id}" not in harness.frames(conn)
    harness.advance(0.001)
    assert harness.frames(conn)[-1] == f"alive {id}"
    harness.end(speech)
    harness.advance(4.0)
    assert harness.frames(conn).count(f"alive {id}") == 1


def test_a_silent_source_is_ended_before_the_provider_does() -> None:
    """At 0.8 of the provider's time, so that the two never cross; more text goes on."""
    harness = opened(traits(ping=None, source_pause=5.0))
    speech = harness.speak("Hello. ", end=False)
    conn = harness.wires[0]
    harness.audio(speech)
    harness.advance(3.999)
    assert harness.words(conn) == ["open", "text Hello. "]
    harness.advance(0.001)
    assert harness.words(conn)[-1] == "end"
    assert speech.generation is not None
    assert speech.generation.state is GenerationState.FINISHING
    harness.write(speech, "World. ")
    harness.done(speech)
    assert harness.words(conn)[-2:] == ["open", "text World. "]


TURNS = traits(ping=None, source_pause=5.0, early_end=EarlyEnd.NEXT_GENERATION, ends_released=False)
"""A provider that ends a turn for itself after five seconds without text, and says so."""


def test_the_provider_ends_a_silent_generation() -> None:
    """It says so first: what is written then waits, and goes on there when the seat is free."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    conn = harness.wires[0]
    # A clock of its own that runs fast, as ours would have ended it before.
    harness.now += 5.0
    harness.say(conn, "tired -")
    assert speech.generation is not None and speech.generation.ended
    harness.write(speech, "World. ")
    harness.audio(speech)
    harness.say(conn, "end -")
    assert harness.words(conn) == ["open", "text Hello. "]
    harness.say(conn, "released -")
    assert harness.words(conn)[2:] == ["open", "text World. "]
    harness.audio(speech)
    harness.end(speech)
    harness.say(conn, "end -", "released -")
    assert len(harness.finish(speech)) == 8
    assert len(harness.wires) == 1 and conn.state is ConnectionState.OPEN


@pytest.mark.parametrize("ended", [True, False])
def test_text_that_crosses_the_providers_own_end_is_said_again(ended: bool) -> None:
    """Elsewhere: whether it comes to life here nobody knows. Nothing is lost, nothing twice."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    first = harness.wires[0]
    harness.audio(speech)
    harness.now += 5.0
    harness.write(speech, "World. ")
    if ended:
        harness.end(speech)
    harness.say(first, "tired -")
    assert first.state is ConnectionState.DRAINING
    harness.audio(speech)
    harness.say(first, "end -")
    harness.say(first, "released -")
    assert first.state is ConnectionState.CLOSING
    harness.say(first, "audio - late")
    harness.up()
    assert harness.words(harness.wires[1])[:2] == ["open", "text World. "]
    harness.audio(speech)
    if not ended:
        harness.end(speech)
    harness.say(harness.wires[1], "end -", "released -")
    assert len(harness.finish(speech)) == 12
    assert speech.metrics().characters == len("Hello. World. World. ")


def test_an_end_that_crosses_the_providers_own_end() -> None:
    """The speech is complete; a second end may come of it, so nobody else speaks there."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    conn = harness.wires[0]
    harness.audio(speech)
    harness.now += 5.0
    harness.end(speech)
    harness.say(conn, "tired -")
    harness.say(conn, "end -")
    assert len(harness.finish(speech)) == 4
    harness.say(conn, "released -")
    assert conn.state is ConnectionState.CLOSING


def test_text_that_crossed_and_is_forgotten_is_an_error() -> None:
    """Rather than a gap in the middle of a speech."""
    harness = opened(TURNS)
    speech = harness.speak("x" * 70_000, end=False)
    harness.audio(speech)
    assert harness.hear(speech)
    harness.now += 5.0
    harness.write(speech, "World. ")
    harness.say(harness.wires[0], "tired -")
    with pytest.raises(RemoteProtocolError, match="on its way"):
        harness.read(speech)
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_the_providers_own_end_of_what_nobody_listens_to() -> None:
    """Interrupted, or unheard of: nothing changes."""
    harness = opened(TURNS)
    conn = harness.wires[0]
    harness.say(conn, "tired -")
    speech = harness.speak("Hello. ", end=False)
    harness.interrupt(speech)
    harness.say(conn, "tired -")
    assert conn.state is ConnectionState.BARRIER
    harness.say(conn, "ack -")
    assert conn.state is ConnectionState.OPEN


def test_an_end_too_soon_after_the_last_text_is_no_end_for_want_of_text() -> None:
    """Nobody can tell what of it was spoken: the speech fails, or begins again if unheard."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech)
    harness.now += 2.4
    harness.say(harness.wires[0], "end -")
    assert harness.events("speech.retried")[0].fields["error"] == "RemoteProtocolError"
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_an_end_too_soon_leaves_the_neighbours_alone() -> None:
    """With ids the others go on speaking; nothing new begins there."""
    shape = traits(MULTIPLEXED, source_pause=20.0, early_end=EarlyEnd.NEXT_GENERATION)
    harness = opened(shape)
    one, other = harness.speak("Hello. ", end=False), harness.speak("World. ")
    conn, id = harness.wires[0], harness.id(one)
    harness.audio(one)
    assert harness.hear(one)
    harness.say(conn, f"end {id}")
    with pytest.raises(RemoteProtocolError, match="not because text was missing"):
        harness.read(one)
    assert conn.state is ConnectionState.DRAINING
    harness.audio(other)
    harness.done(other)
    assert len(harness.finish(other)) == 4


def test_two_clocks_at_the_same_instant() -> None:
    """Old and in need of a keepalive at once: both are seen to in one tick."""
    harness = opened(traits(ping=4.0, connection_keepalive=4.0, max_age=4.0), PAIR)
    harness.speak("Hello. ", end=False)
    harness.advance(4.0)
    conn = harness.wires[0]
    assert conn.state is ConnectionState.DRAINING
    assert harness.words(conn)[-2:] == ["PING", "alive"]


def test_idle_connections_are_hung_up() -> None:
    """After the provider's idle limit; work starts it anew, and the user's setting wins."""
    harness = opened(traits(ping=None, max_idle=30.0))
    harness.advance(29.0)
    harness.spoken()
    harness.advance(29.999)
    assert harness.wires[0].state is ConnectionState.OPEN
    harness.advance(0.001)
    assert harness.wires[0].state is ConnectionState.CLOSING
    more = opened(traits(ping=None, max_idle=30.0), settings(min_idle=0, max_idle=60.0))
    more.advance(30.0)
    assert more.wires[0].over, "the provider ends it whatever the user says"
    other = opened(traits(ping=None, max_idle=30.0), settings(min_idle=0, max_idle=10.0))
    other.advance(10.0)
    assert other.wires[0].state is ConnectionState.CLOSING


def test_an_old_spare_is_replaced_before_it_goes() -> None:
    """Its replacement is dialled first, and taken first; of two, the first needs none."""
    harness = opened(traits(ping=None, max_age=60.0), settings(min_idle=1))
    old = list(harness.wires)
    harness.advance(60.0)
    assert [conn.idle for conn in old].count(True) == 1 and len(harness.wires) == 3
    harness.up()
    assert {conn.state for conn in old} == {ConnectionState.CLOSING}
    assert harness.wires[2].idle


@pytest.mark.parametrize(
    ("ours", "theirs", "replaced"),
    [(None, 280.0, 280.0), (3600.0, 280.0, 280.0), (100.0, 280.0, 100.0), (100.0, None, 100.0)],
)
def test_the_lower_limit_of_age_holds(
    ours: float | None, theirs: float | None, replaced: float
) -> None:
    """A client's is for all its providers, and none of them lives longer for it."""
    harness = opened(traits(ping=None, max_age=theirs), settings(min_idle=0, max_age=ours))
    harness.until(0.95 * replaced - 0.001)
    assert harness.wires[0].idle
    harness.until(replaced)
    assert harness.wires[0].over


def test_an_old_spare_still_serves_until_its_replacement_is_up() -> None:
    """It is the last choice, but better than a dial."""
    harness = opened(traits(ping=None, max_age=60.0), settings(min_idle=1))
    harness.advance(60.0)
    speech = harness.speak("Hello. ")
    conn = harness.on(speech)
    assert conn in harness.wires[:2]
    harness.up()
    assert conn.state is ConnectionState.OPEN
    harness.audio(speech)
    harness.done(speech)
    assert conn.state is ConnectionState.CLOSING


def test_connections_of_one_age_are_not_replaced_together() -> None:
    """Each goes a little before its time, by chance: a prewarmed client does not dial in bursts."""
    harness = opened(traits(MULTIPLEXED, ping=None, max_age=1000.0), settings(min_idle=64))
    old = list(harness.wires)
    assert len(old) > 3
    gone: dict[Connection, float] = {}
    while harness.now < 1000.0:
        harness.advance(1.0)
        harness.up()
        gone |= {conn: harness.now for conn in old if conn.over and conn not in gone}
        harness.hung_up()
    assert set(gone) == set(old)
    assert min(gone.values()) >= 950.0
    assert len(set(gone.values())) > len(old) / 2


def test_idle_connections_of_the_age_of_a_dead_one_are_replaced() -> None:
    """A provider that ends sockets at an age without saying so has ended its siblings, too."""
    harness = opened(QUIET, settings(min_idle=3, max_size=8))
    old = list(harness.wires)
    harness.advance(100.0)
    younger = harness.prewarm(6)
    harness.up()
    assert younger.ready > len(old)
    young = harness.wires[len(old) :]
    harness.drop(old[0])
    assert all(conn.outdated or conn.over for conn in old)
    assert not any(conn.outdated or conn.over for conn in young)


@pytest.mark.parametrize("busy", [True, False])
def test_a_connection_that_dies_young_or_at_work_says_nothing_of_its_siblings(busy: bool) -> None:
    """That is no age of the provider's."""
    harness = opened(QUIET, settings(min_idle=2))
    harness.advance(100.0 if busy else 10.0)
    if busy:
        speech = harness.speak("Hello. ")
        harness.audio(speech)
        harness.drop(harness.on(speech))
    else:
        harness.drop(harness.wires[0])
    assert not any(conn.outdated for conn in harness.wires)


def aging(seconds: float, *, proved: bool = True) -> tuple[Harness, Speech, Connection]:
    """Return a speech on a connection of that age, with as old ones of two voices, and a young."""
    config = settings(min_idle=0, retry={"attempts": 1, "budget": 0, "breaker_failures": 1})
    harness = Harness(QUIET, config)
    harness.prewarm(2)
    harness.prewarm(2, line="other")
    harness.up()
    for conn in harness.wires if proved else ():
        harness.say(conn, "ack -")
    harness.advance(seconds - 20.0)
    neighbour = harness.prewarm(3)
    harness.up()
    assert neighbour.done and len(harness.wires) == 5
    harness.advance(20.0)
    harness.speak("One. ")
    speech = harness.speak("Two. ")
    assert harness.on(speech) in harness.wires[:2], "the young one is used first"
    harness.take()
    return harness, speech, harness.on(speech)


@pytest.mark.parametrize("proved", [True, False])
def test_a_word_of_age_costs_a_speech_nothing_and_its_siblings_their_sockets(proved: bool) -> None:
    """Those of another voice, too; it is begun again on a fresh one, at once and for free."""
    harness, speech, conn = aging(60.0, proved=proved)
    harness.say(conn, f"error {harness.id(speech)} age the pipeline timed out")
    assert [conn.over for conn in harness.wires[:5]] == [True] * 4 + [False]
    assert speech.not_before == harness.now and len(harness.dials()) == 1
    harness.up()
    assert harness.on(speech) is harness.wires[5]
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
    stats = harness.mux.stats()
    assert (stats.retries, stats.dials_failed, stats.circuits_opened) == (0, 0, 0)


def test_a_word_of_age_on_an_idle_connection_is_no_failure() -> None:
    harness, speech, conn = aging(60.0)
    other = harness.wires[2]
    harness.say(other, "error - age the pipeline timed out")
    busy = {conn, harness.wires[4]}
    assert {conn for conn in harness.wires if not conn.over} == busy
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


@pytest.mark.parametrize("proved", [True, False])
def test_a_word_of_age_from_a_young_connection_is_an_error_like_any_other(proved: bool) -> None:
    """Else one that always says so would be tried for ever."""
    harness, speech, conn = aging(59.0, proved=proved)
    harness.say(conn, f"error {harness.id(speech)} age the pipeline timed out")
    assert speech.state is SpeechState.FAILED
    assert [conn for conn in harness.wires if conn.over] == [conn]


def test_a_busy_connection_is_not_killed_for_its_age() -> None:
    """It drains: what speaks there finishes."""
    harness = opened(traits(ping=None), settings(min_idle=0, max_age=10.0))
    speech = harness.speak("Hello. ", end=False)
    harness.advance(10.0)
    assert harness.wires[0].state is ConnectionState.DRAINING
    harness.end(speech)
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_hanging_up_says_farewell() -> None:
    """The last frames, then the closing handshake within its grace."""
    harness = opened(config=LEAN)
    ticket = harness.close()
    assert harness.effects[-1] == HangUp(harness.wires[0], ("bye",), 1.0)
    assert harness.read(ticket) is None
    harness.hung_up()
    assert harness.read(ticket) is END
    assert not any(isinstance(effect, Send) for effect in harness.effects)
    assert len(bytes(SECOND)) == SECOND


def test_generations_that_stall_together_take_the_connection_with_them() -> None:
    """With the last that somebody listened to it is hung up; what is muted there is left alone."""
    harness = opened(traits(MULTIPLEXED, ping=None, acknowledgement=60.0))
    speeches = [harness.speak(f"{n}. ") for n in range(2)]
    harness.interrupt(harness.speak("Muted. "))
    (conn,) = harness.wires
    harness.advance(5.0)
    assert conn.state is ConnectionState.CLOSING and len(harness.hangups(conn)) == 1
    assert all(speech.generation is None for speech in speeches)
    assert conn.muted == 3
