"""What a caller started: its text, its audio, its one end."""

from __future__ import annotations

import pytest

from tests.core.helpers import (
    LEAN,
    MULTIPLEXED,
    SECOND,
    SEQUENTIAL,
    Harness,
    opened,
    settings,
    traits,
)
from ttsmux.adapter import EarlyEnd, Flush, HoldBack, Input, Join
from ttsmux.audio import AudioChunk
from ttsmux.core.speech import END, MAX_UNSENT, Speech
from ttsmux.core.states import ConnectionState, GenerationState, SpeechState
from ttsmux.errors import (
    ClosedError,
    DeadlineExceeded,
    EmptyAudio,
    FirstAudioTimeout,
    GenerationError,
    InvalidFormat,
    InvalidText,
    LocalProtocolError,
    PoolTimeout,
    SlowConsumer,
    StallTimeout,
    TruncatedAudio,
)

MESSAGE = traits(flush=Flush.MESSAGE)
QUIET = traits(ping=None)


# --- text -----------------------------------------------------------------------------------------


def test_a_speech_from_beginning_to_end() -> None:
    """Text goes out, audio comes in, and it is completed when END was read."""
    harness = Harness()
    speech = harness.speak("Hello. ")
    assert speech.state is SpeechState.WAITING
    assert harness.read(speech) is None
    harness.up()
    assert harness.words(harness.wires[0]) == ["open", "text Hello. ", "end"]
    harness.audio(speech)
    assert harness.woken(speech)
    chunk = harness.read(speech)
    assert isinstance(chunk, AudioChunk) and chunk.data == b"\1\2\3\4" and chunk.start == 0.0
    harness.done(speech)
    assert speech.state is SpeechState.RECEIVED
    assert harness.read(speech) is END
    assert harness.read(speech) is END
    assert "COMPLETED" in repr(speech) and "toy" in repr(speech)


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_blank_text_costs_nothing_on_the_wire(text: str) -> None:
    """Blank text begins no generation, and its end completes the speech."""
    harness = opened()
    speech = harness.speak(text)
    assert harness.read(speech) is END
    assert harness.frames(harness.wires[0]) == []


def test_an_interruption_before_any_text_costs_nothing_on_the_wire() -> None:
    """Nothing was begun, so there is nothing to cancel."""
    harness = opened()
    speech = harness.speak()
    report = harness.interrupt(speech)
    assert report.heard_seconds == 0.0
    assert harness.frames(harness.wires[0]) == []
    assert harness.read(speech) is END


def test_a_lone_surrogate_is_refused() -> None:
    """It would kill the connection; the text before stays good, and the place is told."""
    harness = opened()
    speech = harness.speak("abc ", end=False)
    with pytest.raises(InvalidText, match="character 6"):
        harness.write(speech, "de\ud800f")
    harness.write(speech, "def")
    assert harness.words(harness.wires[0]) == ["open", "text abc ", "text def"]


def test_all_text_at_once() -> None:
    """The text may come with speak(); blank pieces need no connection at all."""
    harness = Harness()
    blank = harness.mux.speak({}, 0.0, text=["", " "])
    harness.collect()
    assert harness.read(blank) is END
    assert harness.wires == []
    speech = harness.mux.speak({}, 0.0, text=["One. ", "Two."])
    harness.collect()
    harness.up()
    assert harness.words(harness.wires[0]) == ["open", "text One. Two.", "end"]
    assert speech.state is SpeechState.SPEAKING


def test_all_text_at_once_with_a_lone_surrogate() -> None:
    """The caller is told, and nothing of the speech is left."""
    harness = Harness()
    with pytest.raises(InvalidText):
        harness.mux.speak({}, 0.0, text=["\ud800"])
    assert not harness.mux._pool.stale
    assert harness.mux.stats().waiting == 0
    assert harness.drain().done


@pytest.mark.parametrize("call", ["write", "flush"])
def test_text_after_the_own_end_is_misuse(call: str) -> None:
    """Ending twice is fine, writing after the end is not."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.end(speech)
    with pytest.raises(LocalProtocolError, match=f"cannot {call}: speech 1 was ended"):
        harness.write(speech, "more") if call == "write" else harness.flush(speech)


def test_what_was_read_in_part_is_not_had_whole_any_more() -> None:
    """Who asks for all of it is told how much is gone, and may read on."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.mux.collect_whole(speech)
    harness.audio(speech, bytes(SECOND // 2))
    harness.audio(speech, bytes(SECOND))
    harness.read(speech)
    told = r"0\.50 s of the audio of speech 1 were read already.*call save\(\) in place of reading"
    with pytest.raises(LocalProtocolError, match=told):
        harness.mux.collect_whole(speech)
    harness.done(speech)
    assert harness.finish(speech) == bytes(SECOND)
    with pytest.raises(LocalProtocolError, match=r"1\.50 s"):
        harness.mux.collect_whole(speech)


def test_what_was_read_and_failed_or_was_interrupted_says_that() -> None:
    """Not that it was read: reading tells what became of it."""
    harness = opened(MULTIPLEXED, config=settings(min_idle=0, retry={"attempts": 1}))
    interrupted, failed = harness.speak("Hello. "), harness.speak("Bye. ")
    for speech in (interrupted, failed):
        harness.audio(speech, bytes(SECOND))
        harness.read(speech)
    harness.interrupt(interrupted)
    harness.say(harness.wires[0], f"error {harness.id(failed)} generation broken")
    for speech in (interrupted, failed):
        harness.mux.collect_whole(speech)


def test_text_for_a_speech_that_failed_raises_its_error() -> None:
    """The other side ended it just now: write, flush and end say why."""
    harness = opened(config=settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ", end=False)
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation broken")
    for call in (lambda: harness.write(speech, "x"), lambda: harness.flush(speech)):
        with pytest.raises(GenerationError, match="broken"):
            call()
    with pytest.raises(GenerationError, match="broken"):
        harness.end(speech)


def test_text_for_a_speech_that_was_interrupted_is_ignored() -> None:
    """The feeder may not have heard of it yet."""
    harness = opened()
    speech = harness.speak("Hello. ", end=False)
    harness.interrupt(speech)
    before = len(harness.frames(harness.wires[0]))
    harness.write(speech, "more")
    harness.flush(speech)
    harness.end(speech)
    assert len(harness.frames(harness.wires[0])) == before


def test_words_are_held_back_where_the_provider_needs_them_whole() -> None:
    """With word hold-back and space join, a word goes when the next one has begun."""
    harness = opened(traits(hold_back=HoldBack.WORD, join=Join.SPACE))
    speech = harness.speak()
    for piece in ("un", "believ", "able ", "th", "ing"):
        harness.write(speech, piece)
    harness.end(speech)
    assert harness.words(harness.wires[0]) == ["open", "text unbelievable", "text thing", "end"]


@pytest.mark.parametrize(("markup", "first"), [(True, "text Hello "), (False, "text Hello <br")])
def test_markup_is_not_cut(markup: bool, first: str) -> None:
    """A tag that is not finished waits; where there is no markup it does not."""
    harness = opened(traits(markup=markup))
    speech = harness.speak()
    harness.write(speech, "Hello <br")
    harness.write(speech, "eak/>")
    assert harness.words(harness.wires[0])[1] == first


def test_long_text_is_cut_to_the_providers_limit() -> None:
    """No message has more characters than the provider takes."""
    harness = opened(traits(max_text=10))
    speech = harness.speak("one two three four five")
    texts = [word.removeprefix("text ") for word in harness.words(harness.wires[0])[1:-1]]
    assert all(len(text) <= 10 for text in texts)
    assert "".join(texts) == "one two three four five"
    assert speech.metrics().characters == 23


def test_whole_text_becomes_a_generation_a_sentence() -> None:
    """Where text is taken whole, sentences follow one another, and the audio is one."""
    harness = opened(traits(input=Input.WHOLE))
    speech = harness.speak("One. Two! Three")
    conn = harness.wires[0]
    for number, text in enumerate(("One.", " Two!", " Three")):
        assert harness.words(conn)[-3:] == ["open", f"text {text}", "end"]
        harness.audio(speech, bytes([number, number]))
        harness.done(speech)
    assert harness.finish(speech) == b"\0\0\1\1\2\2"
    assert speech.metrics().attempts == 1


def test_a_sentence_that_is_said_again_is_another_attempt() -> None:
    """The sentences before it and behind it are none."""
    harness = opened(traits(input=Input.WHOLE))
    speech = harness.speak("One. Two! Three")
    harness.audio(speech)
    harness.done(speech)
    harness.hear(speech)
    harness.drop(harness.on(speech))
    harness.advance(0.1)
    harness.up()
    harness.advance(3.0)
    for _ in range(2):
        harness.audio(speech)
        harness.done(speech)
    harness.finish(speech)
    # The generation that was torn and begun again.
    assert speech.metrics().attempts == 2


# --- flush ----------------------------------------------------------------------------------------


def test_flush_without_such_a_thing_is_nothing_on_the_wire() -> None:
    """Where the provider cannot flush, the text only goes."""
    harness = opened()
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    assert harness.words(harness.wires[0]) == ["open", "text Hello. "]
    harness.advance(60.0)
    assert speech.state is SpeechState.SPEAKING  # nothing is owed


def test_flush_as_a_message() -> None:
    """From then on the provider owes audio."""
    harness = opened(MESSAGE)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    assert harness.words(harness.wires[0])[-1] == "flush"
    harness.advance(4.999)
    assert speech.generation is not None
    harness.advance(0.001)
    assert speech.generation is None
    assert harness.events("speech.retried")[0].fields["error"] == "FirstAudioTimeout"


def test_flush_as_an_end() -> None:
    """It ends the generation, and more text opens the next one."""
    harness = opened(traits(flush=Flush.END))
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.write(speech, "World. ")
    assert harness.words(harness.wires[0]) == ["open", "text Hello. ", "end"]
    harness.audio(speech)
    harness.done(speech)
    assert harness.words(harness.wires[0])[3:] == ["open", "text World. "]


@pytest.mark.parametrize("flush", [Flush.MESSAGE, Flush.END])
def test_a_flush_with_nothing_new_asks_for_nothing(flush: Flush) -> None:
    """Before any text, twice in a row, or after a mere pause mark, nobody owes anything."""
    harness = opened(traits(flush=flush))
    speech = harness.speak()
    harness.flush(speech)
    harness.write(speech, "Hello. ")
    harness.advance(60.0)
    assert harness.words(harness.wires[0])[:2] == ["open", "text Hello. "]
    assert speech.state is SpeechState.SPEAKING
    assert speech.generation is not None
    assert speech.generation.state is GenerationState.OPEN


def test_a_second_flush_does_not_make_the_provider_owe_again() -> None:
    """All audio has come already: waiting for more would end a healthy speech."""
    harness = opened(MESSAGE)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech)
    harness.flush(speech)
    harness.write(speech, "... ")
    harness.flush(speech)
    harness.advance(60.0)
    assert speech.state is SpeechState.SPEAKING
    assert harness.words(harness.wires[0]).count("flush") == 1


# --- audio ----------------------------------------------------------------------------------------


def test_odd_bytes_are_joined_to_samples() -> None:
    """A provider may cut in the middle of a sample; the caller never sees half of one."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech, b"\1")
    assert harness.read(speech) is None
    harness.audio(speech, b"\2\3")
    assert harness.hear(speech) == b"\1\2"
    harness.audio(speech, b"\4")
    harness.done(speech)
    assert harness.finish(speech) == b"\3\4"


def test_audio_at_another_rate_than_asked_for_is_an_error() -> None:
    """Noise at the wrong speed is not handed out; at the right one nothing is the matter."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.say(harness.wires[0], f"rated {harness.id(speech)} 8000 abcd")
    assert harness.hear(speech) == b"abcd"
    harness.say(harness.wires[0], f"rated {harness.id(speech)} 44100 abcd")
    with pytest.raises(InvalidFormat, match=r"asked for pcm_8000.* 44100 Hz"):
        harness.read(speech)


def test_no_audio_for_speakable_text_is_an_error() -> None:
    """It is tried again, and then told."""
    harness = opened(config=settings(min_idle=0, retry={"attempts": 2}))
    speech = harness.speak("Hello. ")
    harness.done(speech)
    assert speech.state is SpeechState.WAITING
    harness.advance(1.0)
    harness.done(speech)
    with pytest.raises(EmptyAudio):
        harness.read(speech)


def test_text_that_has_no_audio_is_not_tried_as_often_as_other_failures() -> None:
    """Each time may be billed, and the next one is likely to be the same."""
    harness = opened(config=settings(min_idle=0))
    speech = harness.speak("Hello. ")
    for _ in range(3):
        assert speech.generation is not None
        harness.done(speech)
        harness.advance(1.0)
    with pytest.raises(EmptyAudio):
        harness.read(speech)


def test_no_audio_for_a_pause_mark_is_no_error() -> None:
    """There was nothing to pronounce."""
    harness = opened()
    speech = harness.speak("... ")
    harness.done(speech)
    assert harness.read(speech) is END


def test_no_audio_for_a_sentence_without_words_is_no_error() -> None:
    """What counts is the text of the generation, not that of the whole speech."""
    harness = opened(traits(input=Input.WHOLE))
    speech = harness.speak("Hello. \u2026")  # what has no words goes with what follows, if any
    for data in (b"\1\1", b""):
        if data:
            harness.audio(speech, data)
        harness.done(speech)
    assert harness.finish(speech) == b"\1\1"


def test_text_stops_while_audio_is_unread() -> None:
    """Beyond 30 s unread no more text is sent; below 15 s it goes on by itself."""
    harness = opened()
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech, bytes(10 * SECOND))
    harness.audio(speech, bytes(10 * SECOND))
    harness.audio(speech, bytes(10 * SECOND))
    harness.write(speech, "One. ")
    assert harness.words(harness.wires[0])[-1] == "text One. "  # 30 s are still allowed
    harness.audio(speech, bytes(2))
    harness.write(speech, "Two. ")
    assert harness.words(harness.wires[0])[-1] == "text One. "
    harness.read(speech)
    assert harness.words(harness.wires[0])[-1] == "text One. "
    harness.read(speech)
    assert harness.words(harness.wires[0])[-1] == "text Two. "


def test_a_paused_speech_asks_for_its_next_seat_when_it_goes_on() -> None:
    """Between two generations there is nothing to send on: reading alone gets it going."""
    harness = opened(traits(flush=Flush.END))
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech, bytes(20 * SECOND))
    harness.audio(speech, bytes(20 * SECOND))
    harness.done(speech)
    harness.write(speech, "World. ")
    assert speech.generation is None
    assert harness.read(speech)
    assert speech.generation is None
    assert harness.read(speech)
    assert speech.generation is not None


def test_a_reader_who_does_not_read_fails_its_own_speech_only() -> None:
    """Audio far beyond what the text explains is not kept; the neighbour goes on."""
    harness = opened(MULTIPLEXED)
    slow, other = harness.speak("Hello. "), harness.speak("World. ")
    for _ in range(5):
        harness.audio(slow, bytes(100 * SECOND))
    assert slow.state is SpeechState.SPEAKING
    harness.audio(slow, bytes(100 * SECOND))
    assert slow.state is SpeechState.FAILED
    harness.audio(other)
    harness.done(other)
    assert harness.finish(other)
    assert len(harness.hear_all(slow)) == 600 * SECOND
    with pytest.raises(SlowConsumer, match="600 s of audio were left unread"):
        harness.read(slow)


def test_marks_ride_on_the_audio() -> None:
    """Word times go out with the next chunk, on the time line of the speech."""
    harness = opened(traits(input=Input.WHOLE))
    speech = harness.speak("One. Two.")
    conn = harness.wires[0]
    harness.say(conn, "mark - One 0.0 0.5")
    harness.audio(speech, bytes(SECOND))
    chunk = harness.read(speech)
    assert isinstance(chunk, AudioChunk)
    assert [(m.text, m.start, m.stop) for m in chunk.marks] == [("One", 0.0, 0.5)]
    harness.done(speech)
    harness.say(conn, "mark - Two 0.25 0.75")
    harness.audio(speech, bytes(SECOND))
    harness.audio(speech, bytes(SECOND))
    first, second = harness.read(speech), harness.read(speech)
    assert isinstance(first, AudioChunk) and isinstance(second, AudioChunk)
    assert (first.start, second.start) == (1.0, 2.0)
    assert [(m.text, m.start, m.stop) for m in first.marks] == [("Two", 1.25, 1.75)]
    assert second.marks == ()
    assert [m.text for m in speech.marks] == ["One", "Two"]  # type: ignore[union-attr]


def test_marks_may_count_from_a_segment() -> None:
    """A provider that numbers its segments counts from the first audio of each."""
    harness = opened()
    speech = harness.speak("One. Two.")
    conn = harness.wires[0]
    harness.say(conn, b"segment - a " + bytes(SECOND), b"segment - b " + bytes(SECOND))
    harness.say(conn, b"segment - b " + bytes(SECOND))
    harness.say(conn, "mark - One 0.5 0.6 segment a", "mark - Two 0.5 0.6 segment b")
    harness.say(conn, "mark - Late 0.5 0.6 arrival")
    assert [m.start for m in speech.marks] == [0.5, 1.5, 3.5]  # type: ignore[union-attr]


# --- interruption ---------------------------------------------------------------------------------


def test_interrupted_while_waiting_for_a_seat() -> None:
    """It leaves the queue, and its reader sees the end."""
    harness = Harness()
    speech = harness.speak("Hello. ")
    assert harness.read(speech) is None
    harness.interrupt(speech)
    assert harness.woken(speech)
    assert harness.read(speech) is END
    harness.up()
    assert harness.frames(harness.wires[0]) == []


def test_interrupted_while_speaking() -> None:
    """Queued audio is gone, the provider is told, and nothing more is handed out."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.audio(speech)
    assert isinstance(harness.read(speech), AudioChunk)
    conn = harness.on(speech)
    report = harness.interrupt(speech)
    assert harness.read(speech) is END
    assert harness.words(conn)[-1] == "cancel"
    harness.say(conn, b"audio - late")
    assert harness.read(speech) is END
    assert report.heard_seconds == 4 / SECOND
    assert harness.interrupt(speech) is report


def test_interrupted_when_all_audio_is_here_but_unread() -> None:
    """The normal barge-in: audio comes faster than it plays. Nothing is left to cancel."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech, bytes(SECOND))
    harness.done(speech)
    before = len(harness.frames(harness.wires[0]))
    assert speech.state is SpeechState.RECEIVED
    harness.interrupt(speech)
    assert speech.state is SpeechState.INTERRUPTED
    assert harness.read(speech) is END
    assert len(harness.frames(harness.wires[0])) == before
    assert harness.wires[0].idle


def test_interrupted_after_the_end() -> None:
    """A speech that was heard out stays completed."""
    harness = opened()
    speech = harness.spoken()
    report = harness.interrupt(speech)
    assert speech.state is SpeechState.COMPLETED
    assert report.unspoken_text == ""


def test_interrupted_after_a_failure() -> None:
    """What was left to read is gone; the error is still told."""
    harness = opened(config=settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation broken")
    harness.interrupt(speech)
    with pytest.raises(GenerationError):
        harness.read(speech)


def test_what_was_heard_follows_the_sink() -> None:
    """Played seconds count where they are reported, and never run backwards."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech, bytes(2 * SECOND))
    harness.hear(speech)
    harness.mux.played(speech, 0.5, harness.now)
    harness.mux.played(speech, 0.25, harness.now)
    assert harness.interrupt(speech).heard_seconds == 0.5


# --- ends and failures ----------------------------------------------------------------------------


def test_an_early_end_is_an_error() -> None:
    """Where a provider ends only what was ended, an end of its own breaks the rules."""
    harness = opened()
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech)
    harness.done(speech)
    assert harness.events("speech.retried")[0].fields["error"] == "RemoteProtocolError"
    assert harness.wires[0].state is ConnectionState.CLOSING


def test_an_early_end_is_a_turn_end() -> None:
    """Where a provider ends turns itself, more text opens the next generation."""
    harness = opened(traits(early_end=EarlyEnd.NEXT_GENERATION))
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech)
    harness.done(speech)
    assert speech.state is SpeechState.WAITING
    harness.write(speech, "World. ")
    assert harness.words(harness.wires[0])[2:] == ["open", "text World. "]
    harness.audio(speech)
    harness.done(speech)
    harness.end(speech)
    assert len(harness.finish(speech)) == 8


def test_a_clean_close_in_the_middle_is_no_completion() -> None:
    """Close code 1000 without an end marker is truncated audio."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    assert harness.hear(speech)
    harness.drop(harness.wires[0], 1000)
    with pytest.raises(TruncatedAudio) as caught:
        harness.read(speech)
    assert caught.value.code == 1000
    assert caught.value.delivered.bytes == 4


def test_nothing_is_repeated_once_it_was_heard() -> None:
    """After the first audio was handed out an attempt that fails is the end."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    assert harness.hear(speech)
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation broken")
    with pytest.raises(GenerationError) as caught:
        harness.read(speech)
    error = caught.value
    assert (error.provider, error.phase, error.attempt) == ("toy", "speak", 1)
    assert error.delivered.seconds == 4 / SECOND


def test_what_was_not_heard_is_repeated() -> None:
    """Audio received and unread is dropped, and the log is said again under a new id."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("One. ", end=False)
    harness.write(speech, "Two. ")
    first = harness.id(speech)
    harness.audio(speech, b"\1\1")
    harness.say(harness.wires[0], f"error {first} generation broken")
    assert harness.read(speech) is None
    harness.advance(0.1)
    assert harness.id(speech) != first
    harness.end(speech)
    assert harness.words(harness.wires[0])[-4:] == ["open", "text One. ", "text Two. ", "end"]
    harness.audio(speech, b"\2\2")
    harness.done(speech)
    assert harness.finish(speech) == b"\2\2"


def test_what_an_earlier_generation_said_is_kept_by_a_repetition() -> None:
    """Only the sentence that failed is said again."""
    harness = opened(traits(input=Input.WHOLE))
    speech = harness.speak("One. Two.")
    harness.audio(speech, b"\1\1")
    harness.done(speech)
    harness.audio(speech, b"\2\2")
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation broken")
    harness.advance(0.1)
    assert harness.words(harness.wires[0])[-2:] == ["text  Two.", "end"]
    harness.audio(speech, b"\3\3")
    harness.done(speech)
    assert harness.finish(speech) == b"\1\1\3\3"


def test_an_error_for_good_is_not_repeated() -> None:
    """What no retry helps is told at once."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation never!")
    with pytest.raises(GenerationError, match="never"):
        harness.read(speech)


def test_text_beyond_what_is_kept_cannot_be_repeated() -> None:
    """64 KiB of one generation's text are kept for a repetition."""
    harness = opened()
    speech = harness.speak("word " * 14_000, end=False)
    harness.write(speech, "more.")
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation broken")
    with pytest.raises(GenerationError):
        harness.read(speech)


def test_an_empty_answer_to_forgotten_text_is_an_error() -> None:
    """Text that is no longer known counts as speakable."""
    harness = opened(config=settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("word " * 14_000)
    harness.done(speech)
    with pytest.raises(EmptyAudio):
        harness.read(speech)


def test_the_source_raised() -> None:
    """The reader gets that very exception, after the audio that came before it."""
    harness = opened()
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech)
    error = ZeroDivisionError("mine")
    harness.fail(speech, error)
    harness.fail(speech, ValueError("too late"))
    assert harness.hear_all(speech) == b"\1\2\3\4"
    with pytest.raises(ZeroDivisionError) as caught:
        harness.read(speech)
    assert caught.value is error
    assert harness.words(harness.wires[0])[-1] == "cancel"


def test_close_fails_what_is_speaking() -> None:
    """Received and unread, speaking, or waiting: all of it ends with the client."""
    harness = opened(config=settings(min_idle=0, max_size=1))
    received = harness.speak("One. ")
    harness.audio(received)
    harness.done(received)
    speaking, waiting = harness.speak("Two. "), harness.speak("Three. ")
    harness.close()
    assert harness.hear_all(received) == b"\1\2\3\4"
    for speech in (received, speaking, waiting):
        with pytest.raises(ClosedError):
            harness.read(speech)


# --- clocks ---------------------------------------------------------------------------------------


def test_the_wait_for_a_seat_has_an_end() -> None:
    """Ten seconds after its first sendable text, and not from speak()."""
    harness = opened(config=settings(min_idle=0, max_size=1))
    busy = harness.speak("Busy. ", end=False)
    speech = harness.speak()
    harness.advance(100.0)
    harness.write(speech, "Hello. ")
    harness.advance(9.999)
    assert speech.state is SpeechState.WAITING
    harness.advance(0.001)
    told = r"within 10 s; the limit that kept it waiting: max_size, 1 of at most 1 connections \("
    with pytest.raises(PoolTimeout, match=told):
        harness.read(speech)
    assert busy.state is SpeechState.SPEAKING


def test_the_first_audio_has_a_deadline() -> None:
    """Five seconds after the end the connection is left and the speech is begun again."""
    harness = opened(config=settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ", end=False)
    harness.advance(60.0)
    harness.end(speech)
    harness.advance(4.999)
    assert speech.state is SpeechState.SPEAKING
    harness.advance(0.001)
    with pytest.raises(FirstAudioTimeout, match="no audio within 5 s"):
        harness.read(speech)
    assert harness.wires[0].state is ConnectionState.CLOSING


def silent_until(harness: Harness, speech: Speech, instant: float) -> None:
    """Dials succeed, and nothing else comes."""
    while harness.now < instant:
        harness.until(round(harness.now + 0.1, 9))
        harness.hung_up()
        harness.up()


def test_a_speech_that_fails_for_long_is_not_tried_again() -> None:
    """Ten tries that are silent would be a minute: after ten seconds of failing it is told."""
    harness = opened(QUIET, settings(min_idle=0, retry={"breaker_failures": None}))
    speech = harness.speak("Hello. ")
    silent_until(harness, speech, 14.9)
    assert speech.state is SpeechState.SPEAKING and speech.metrics().attempts == 3
    silent_until(harness, speech, 16.0)
    with pytest.raises(FirstAudioTimeout):
        harness.read(speech)


def test_for_how_long_counts_from_when_there_was_audio() -> None:
    """Ten seconds of failing are not ten seconds between two failures."""
    retry = {"on_partial": "resume", "resumes": 9}
    harness = opened(QUIET, settings(min_idle=0, retry=retry))
    speech = harness.speak("One two three four five six. ")
    for _ in range(5):
        harness.audio(speech, bytes(SECOND // 2))
        assert harness.hear(speech)
        harness.advance(3.0)
        harness.drop(harness.on(speech))
        harness.advance(0.9)
        harness.up()
        assert speech.state is SpeechState.SPEAKING
    assert harness.now > 15.0


def test_a_gap_has_a_deadline() -> None:
    """Three seconds beyond what was received and is not yet due."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.advance(1.0)
    harness.audio(speech, bytes(2 * SECOND))
    assert harness.hear(speech)
    harness.advance(4.999)
    assert speech.state is SpeechState.SPEAKING
    harness.advance(0.001)
    with pytest.raises(StallTimeout, match="the audio stopped for 3 s"):
        harness.read(speech)


def test_any_frame_of_a_generation_keeps_it_alive() -> None:
    """A word time is a sign of life too."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    assert harness.hear(speech)
    for _ in range(5):
        harness.advance(2.9)
        harness.say(harness.wires[0], "mark - x 0 1")
    assert speech.state is SpeechState.SPEAKING
    harness.advance(3.0)
    assert speech.state is SpeechState.FAILED


def test_nothing_is_owed_between_texts() -> None:
    """A provider that may still be buffering owes nothing, however long the source pauses."""
    harness = opened(MESSAGE)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech)
    harness.advance(100.0)
    harness.write(speech, "World. ")
    harness.advance(100.0)
    assert speech.state is SpeechState.SPEAKING
    harness.end(speech)
    harness.audio(speech)
    harness.done(speech)
    assert len(harness.finish(speech)) == 8


def test_the_whole_speech_may_have_a_deadline() -> None:
    """From speak() to the last audio received; not to the last audio read."""
    harness = opened()
    late, done = harness.speak(total=2.0), harness.speak("Hello. ", total=2.0)
    harness.audio(done)
    harness.done(done)
    harness.advance(1.999)
    assert late.state is SpeechState.WAITING
    harness.advance(0.001)
    with pytest.raises(DeadlineExceeded, match="within the 2 s allowed"):
        harness.read(late)
    harness.advance(10.0)
    assert harness.finish(done)


def test_a_client_may_have_a_deadline_for_all_its_speeches() -> None:
    """The setting is the default of the argument."""
    harness = opened(config=settings(min_idle=0, timeouts={"total": 3.0}))
    speech, patient = harness.speak(), harness.speak(total=5.0)
    harness.advance(3.0)
    assert (speech.state, patient.state) == (SpeechState.FAILED, SpeechState.WAITING)


# --- feeders --------------------------------------------------------------------------------------


def test_a_feeder_pauses_while_much_is_unsent() -> None:
    """Beyond 64 KiB unsent it waits, and is woken when text has gone."""
    harness = Harness()
    speech = harness.speak()
    assert harness.mux.room(speech, 0.0)
    harness.write(speech, "word " * (MAX_UNSENT // 5 + 1))
    assert not harness.mux.room(speech, 0.0)
    assert not harness.woken(speech)
    harness.up()
    assert harness.woken(speech)
    assert harness.mux.room(speech, 0.0)


def test_a_feeder_is_not_paused_by_what_is_held_back() -> None:
    """A sentence that does not end can only go when more text comes."""
    harness = opened(traits(input=Input.WHOLE))
    speech = harness.speak("word " * (MAX_UNSENT // 5 + 10), end=False)
    assert speech.generation is None
    assert harness.mux.room(speech, 0.0)


def test_a_feeder_is_woken_when_its_speech_is_over() -> None:
    """It has nothing more to do."""
    harness = Harness()
    speech = harness.mux.speak({}, 0.0, fed=True)
    speech.handle = speech
    harness.collect()
    harness.interrupt(speech)
    assert harness.woken(speech)
    assert harness.mux.room(speech, 0.0)


# --- metrics --------------------------------------------------------------------------------------


def test_metrics_of_a_cold_and_of_a_warm_speech() -> None:
    """Times are what the caller waited for."""
    harness = Harness()
    cold = harness.speak("Hello. ")
    assert cold.metrics().ttfa is None
    harness.advance(0.25)
    harness.up()
    harness.advance(0.5)
    harness.audio(cold, bytes(SECOND))
    harness.advance(0.25)
    harness.hear(cold)
    harness.done(cold)
    metrics = cold.metrics()
    assert (metrics.acquire, metrics.connect, metrics.ttfa) == (0.25, 0.25, 0.75)
    assert (metrics.audio_seconds, metrics.audio_bytes) == (1.0, SECOND)
    assert (metrics.connection_reused, metrics.attempts, metrics.characters) == (False, 1, 7)
    warm = harness.speak("Hello. ").metrics()
    assert (warm.acquire, warm.connect, warm.connection_reused) == (0.0, 0.0, True)


def test_a_connection_that_was_dialled_for_a_speech_is_not_reused() -> None:
    """Also where the clock is too coarse to tell the one instant from the other."""
    harness = Harness()
    first = harness.speak("Hello. ")
    harness.up()
    assert first.generation is not None and harness.now == 0.0
    assert not first.metrics().connection_reused
    harness.audio(first)
    harness.done(first)
    second = harness.speak("Hello. ")
    assert harness.on(second) is harness.wires[0]
    assert second.metrics().connection_reused


def test_a_connection_that_somebody_else_dialled_is_not_reused_before_it_is_open() -> None:
    """Whoever waits for it has waited for a dial."""
    harness = Harness(MULTIPLEXED)
    harness.speak(end=False)
    harness.advance(0.25)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.up()
    assert len(harness.wires) == 1 and speech.metrics().connection_reused is False
    assert speech.metrics().connect == 0.5


BILLED = traits(MULTIPLEXED, ends_released=False)


def test_what_the_provider_counted_is_told() -> None:
    """By its own names, as soon as it says so: after the last audio, as a rule."""
    harness = opened(BILLED)
    speech = harness.speak("Hello. ")
    conn, id = harness.on(speech), harness.id(speech)
    harness.audio(speech)
    harness.done(speech)
    harness.finish(speech)
    assert speech.metrics().usage == {}
    harness.say(conn, f"released {id} characters=7 cost=0.25")
    assert speech.metrics().usage == {"characters": 7.0, "cost": 0.25}


def test_what_the_provider_counted_is_added_up() -> None:
    """An attempt that failed may be on the bill, too."""
    harness = opened(traits(BILLED, flush=Flush.END))
    speech = harness.speak("One. ", end=False)
    for text, words in (("", "a=1"), ("Two. ", "a=2 b=0.5")):
        harness.write(speech, text)
        harness.flush(speech)
        harness.audio(speech)
        harness.say(harness.on(speech), f"released {harness.id(speech)} {words}")
    assert speech.metrics().usage == {"a": 3.0, "b": 0.5}


def test_what_was_interrupted_is_counted_too() -> None:
    """Nobody heard it; it was spoken all the same."""
    harness = opened(BILLED)
    speech = harness.speak("Hello. ", end=False)
    conn, id = harness.on(speech), harness.id(speech)
    harness.interrupt(speech)
    harness.say(conn, f"released {id} characters=5")
    assert speech.metrics().usage == {"characters": 5.0}


def test_a_seat_is_for_speeches_that_fit() -> None:
    """Nobody is seated where there is no room."""
    harness = opened()
    speech = harness.speak("Hello. ")
    with pytest.raises(LocalProtocolError, match="no free seat on <Connection c1 toy OPEN 1/1"):
        harness.wires[0].begin(speech, 0.0)
    assert repr(speech.generation).startswith("<Generation ")
    assert SEQUENTIAL.seats == 1 and LEAN.pool.min_idle == 0


# --- its reader -----------------------------------------------------------------------------------


def test_a_reader_knows_how_much_is_at_hand() -> None:
    harness = opened()
    speech = harness.speak("Hello. ")
    assert speech.at_hand == 0
    harness.audio(speech)
    harness.audio(speech)
    assert speech.at_hand == 2
    harness.read(speech)
    assert speech.at_hand == 1


def test_a_reader_that_was_handed_all_need_not_ask_again() -> None:
    """It is woken for what comes next, also if that comes before it waits."""
    harness = opened()
    speech = harness.speak("Hello. ")
    assert not speech.reader_waits, "it has not asked yet"
    assert harness.read(speech) is None
    assert speech.reader_waits
    harness.audio(speech)
    assert harness.woken(speech) and not speech.reader_waits
    harness.audio(speech)
    harness.read(speech)
    assert not speech.reader_waits, "there is more"
    harness.read(speech)
    assert speech.reader_waits
    harness.take()
    harness.done(speech)
    assert harness.woken(speech) and not speech.reader_waits
    assert harness.read(speech) is END
    assert not speech.reader_waits, "nothing comes any more"


def test_a_reader_that_is_handed_the_last_audio_does_not_wait_for_more() -> None:
    """The end is there already: nobody would wake it."""
    harness = opened()
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.done(speech)
    harness.read(speech)
    assert not speech.reader_waits
    assert harness.read(speech) is END
