"""What a speech took: each figure by itself, with exact instants."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.helpers import (
    LEAN,
    MULTIPLEXED,
    SECOND,
    SEQUENTIAL,
    Harness,
    Toy,
    opened,
    settings,
    traits,
)
from tests.core.test_cost import steps
from ttsmux.adapter import EarlyEnd, Flush
from ttsmux.audio import AudioChunk, AudioFormat
from ttsmux.core.metrics import Timeline
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.core.states import SpeechState
from ttsmux.text.cutting import HoldBack, Join

HALF = SECOND // 2
FLUSHING = traits(MULTIPLEXED, flush=Flush.MESSAGE)
TURNS = traits(SEQUENTIAL, flush=Flush.END)


def samples(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def loud(size: int) -> bytes:
    """Return *size* bytes of audio that nobody takes for silence."""
    return samples(*[2000] * (size // 2))


# --- waiting for text -----------------------------------------------------------------------------


def test_a_wait_for_text_counts_while_it_goes_on() -> None:
    """Who asks now is told of it; not while audio is left to play, or due, nor at the end."""
    harness = opened(FLUSHING)
    speech = harness.speak()
    harness.advance(0.5)
    assert speech.metrics(harness.now).text_wait == 0.5
    harness.write(speech, "Hello. ")
    harness.flush(speech)
    harness.advance(0.25)
    assert speech.metrics(harness.now).text_wait == 0.5, "the provider owes audio"
    harness.audio(speech, loud(HALF))
    harness.advance(0.5)
    assert speech.metrics(harness.now).text_wait == 0.5, "half a second of it is being played"
    harness.advance(0.75)
    assert speech.metrics(harness.now).text_wait == 1.25
    assert speech.metrics().text_wait == 0.5
    harness.end(speech)
    assert speech.metrics(harness.now).text_wait == 0.5
    harness.interrupt(speech)
    assert speech.metrics(harness.now + 9.0).text_wait == 0.5


def test_text_that_has_no_seat_yet_is_not_missed() -> None:
    harness = Harness(MULTIPLEXED)
    speech = harness.speak("Hello. ", end=False)
    harness.advance(0.5)
    assert speech.metrics(harness.now).text_wait == 0.0


def test_a_speech_waits_for_its_first_text() -> None:
    """From `speak()` on; what comes after the first word is not its source's alone."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak()
    harness.advance(0.5)
    assert speech.metrics().text_wait == 0.0
    harness.write(speech, "Hello. ")
    harness.advance(0.25)
    harness.write(speech, "World. ")
    assert speech.metrics().text_wait == 0.5


def test_text_that_is_there_at_once_is_not_waited_for() -> None:
    harness = opened(MULTIPLEXED)
    assert harness.speak("Hello. ").metrics().text_wait == 0.0
    whole = harness.mux.speak({}, harness.now, text=["Hello. ", "World."])
    assert whole.metrics().text_wait == 0.0


def test_more_text_before_the_first_audio_is_not_waited_for() -> None:
    """The provider has something to say, though nothing has come of it yet."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ", end=False)
    harness.advance(0.25)
    harness.write(speech, "World. ")
    assert speech.metrics().text_wait == 0.0


def test_text_that_comes_after_the_audio_ran_out_was_waited_for() -> None:
    """Only from when there was nothing left to play."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech, loud(HALF))
    harness.advance(0.75)
    harness.write(speech, "World. ")
    assert speech.metrics().text_wait == 0.25
    harness.advance(0.125)
    harness.write(speech, "And more. ")
    assert speech.metrics().text_wait == 0.25, "the provider may be at work on it"


def test_text_that_comes_while_there_is_audio_left_is_not_waited_for() -> None:
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech, loud(HALF))
    harness.advance(0.5)
    harness.write(speech, "World. ")
    assert speech.metrics().text_wait == 0.0


def test_text_is_not_waited_for_while_the_provider_owes_audio() -> None:
    """After a flush it has enough to say."""
    harness = opened(FLUSHING)
    speech = harness.speak("Hello. ", end=False)
    harness.audio(speech, loud(HALF))
    harness.write(speech, "World. ")
    harness.flush(speech)
    harness.advance(0.75)
    harness.write(speech, "And more. ")
    assert speech.metrics().text_wait == 0.0


def test_text_is_not_waited_for_while_there_is_some_unsent() -> None:
    """It is the seat that is waited for."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech, loud(HALF))
    harness.advance(0.25)
    harness.write(speech, "World. ")
    harness.advance(1.0)
    harness.write(speech, "And more. ")
    assert speech.metrics().text_wait == 0.0


@pytest.mark.parametrize("verb", [Harness.flush, Harness.end])
def test_text_that_is_held_back_is_waited_for_until_it_is_let_go(
    verb: Callable[[Harness, Speech], None],
) -> None:
    """What cannot be sent yet is as good as nothing."""
    harness = opened(traits(MULTIPLEXED, hold_back=HoldBack.SENTENCE, flush=Flush.MESSAGE))
    speech = harness.speak()
    harness.advance(0.25)
    harness.write(speech, "Hello there, ")
    assert speech.metrics().text_wait == 0.0
    harness.advance(0.25)
    verb(harness, speech)
    assert speech.metrics().text_wait == 0.5


def test_text_is_not_waited_for_again_when_a_speech_is_begun_again() -> None:
    """The text was there, however long it takes to say it."""
    harness = opened(TURNS, settings(min_idle=0))
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech, loud(HALF))
    harness.write(speech, "World. ")
    harness.done(speech)
    harness.advance(1.0)
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    harness.advance(1.0)
    assert speech.metrics().attempts == 2
    assert speech.metrics().text_wait == 0.0


# --- the seat and the dial ------------------------------------------------------------------------


def test_a_dial_that_a_speech_waits_for_is_no_queue() -> None:
    harness = Harness()
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    assert speech.metrics().queue is None
    harness.up()
    metrics = speech.metrics()
    assert (metrics.acquire, metrics.queue, metrics.connect) == (0.25, 0.0, 0.25)


def test_a_dial_that_is_done_before_the_text_is_there_costs_nothing() -> None:
    harness = Harness()
    speech = harness.speak()
    harness.advance(0.25)
    harness.up()
    harness.advance(0.25)
    harness.write(speech, "Hello. ")
    metrics = speech.metrics()
    assert (metrics.acquire, metrics.queue, metrics.connect) == (0.0, 0.0, 0.25)


def test_who_waits_for_others_queues() -> None:
    """And finds the connection open."""
    harness = opened(SEQUENTIAL, settings(min_idle=0, max_size=1))
    first = harness.speak("Hello. ")
    second = harness.speak("World. ")
    harness.advance(0.5)
    harness.audio(first)
    harness.done(first)
    metrics = second.metrics()
    assert (metrics.queue, metrics.acquire, metrics.connect) == (0.5, 0.5, 0.0)
    assert metrics.connection_reused and metrics.setup == 0.0


def test_a_dial_that_failed_and_the_wait_for_another_are_one_figure() -> None:
    """Only that of the connection it got is its dial, and nobody else was served."""
    harness = Harness(SEQUENTIAL, settings(min_idle=0))
    speech = harness.speak("Hello. ")
    harness.advance(0.5)
    harness.refuse(harness.wires[0])
    while len(harness.wires) < 2:
        harness.until(harness.mux.deadline or 0.0)
    again = harness.now
    harness.advance(0.25)
    harness.up(harness.wires[1])
    metrics = speech.metrics()
    assert (metrics.queue, metrics.failed_dials) == (0.0, pytest.approx(again))
    assert metrics.connect == pytest.approx(0.25) and metrics.attempts == 2


@pytest.mark.parametrize("how", ["time", "close", "interrupt"])
def test_who_leaves_the_line_without_a_seat_has_queued(how: str) -> None:
    """Until then; as it is in the log, and as it adds up in the waterfall."""
    harness = opened(SEQUENTIAL, settings(min_idle=0, max_size=1, acquire_timeout=0.75))
    harness.speak("Hello. ")
    speech = harness.speak()
    harness.advance(0.25)
    harness.write(speech, "World. ")
    harness.take()
    harness.advance(0.5)
    assert (speech.metrics().queue, speech.metrics().acquire) == (None, None)
    match how:
        case "time":
            harness.advance(0.25)
        case "close":
            harness.close()
        case "interrupt":
            harness.interrupt(speech)
    seconds = 0.75 if how == "time" else 0.5
    metrics = speech.metrics()
    assert (metrics.queue, metrics.acquire) == (seconds, seconds)
    assert (metrics.connect, metrics.ttfa, metrics.total) == (None, None, 0.25 + seconds)
    harness.advance(10.0)
    assert speech.metrics() == metrics
    ends = [event for event in harness.events() if event.fields.get("speech") == speech.number]
    assert ends[-1].fields["queue"] == seconds


def test_dials_that_failed_are_all_there_is_where_none_worked() -> None:
    """All of the time since the text was there, then."""
    harness = Harness(SEQUENTIAL, settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ")
    harness.advance(0.5)
    harness.refuse(harness.wires[0])
    assert speech.state is SpeechState.FAILED
    assert (speech.metrics().failed_dials, speech.metrics().acquire) == (0.5, 0.5)
    assert speech.metrics().queue == 0.0


def test_a_seat_of_somebody_elses_after_a_dial_that_failed_was_queued_for() -> None:
    """From then on: what it got in the end was no dial of its own."""
    harness = opened(SEQUENTIAL, settings(min_idle=0, max_size=2))
    first, second = harness.speak("Hello. "), harness.speak("World. ")
    harness.advance(0.5)
    harness.refuse(harness.wires[1])
    harness.advance(0.01)
    harness.audio(first, loud(HALF))
    harness.done(first)
    assert second.generation is not None and second.metrics().connection_reused
    metrics = second.metrics()
    assert metrics.failed_dials is not None and metrics.queue is not None
    assert metrics.failed_dials + metrics.queue == metrics.acquire == pytest.approx(0.51)


def test_the_first_audio_counts_from_the_beginning() -> None:
    """With the wait for the text and for a connection, of which `ttfa` has none."""
    harness = Harness(MULTIPLEXED)
    speech = harness.speak()
    harness.advance(0.25)
    harness.write(speech, "Hello. ")
    harness.advance(0.5)
    harness.up()
    harness.advance(0.125)
    harness.audio(speech, loud(HALF))
    assert speech.metrics().first_audio is None
    harness.advance(0.125)
    harness.hear(speech)
    assert (speech.metrics().first_audio, speech.metrics().ttfa) == (1.0, 0.25)


def test_the_setup_is_what_the_provider_takes_to_say_that_it_is_ready() -> None:
    harness = Harness(traits(SEQUENTIAL, greeting=True))
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.up()
    harness.advance(0.125)
    harness.say(harness.wires[0], "ready")
    metrics = speech.metrics()
    assert (metrics.connect, metrics.setup, metrics.queue) == (0.375, 0.125, 0.0)


PARTS = {"dns": 0.01, "tcp": 0.02, "tls": 0.03, "upgrade": 0.04}


def test_the_parts_of_a_dial_are_told_as_the_wire_tells_them() -> None:
    """To who waited for it, and to the log; not to who comes later."""
    harness = Harness()
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.mux.dialled(harness.wires[0], harness.now, PARTS)
    harness.collect()
    assert speech.metrics().dial_parts == PARTS
    [event] = harness.events("connection.opened")
    assert (event.fields["seconds"], event.fields["setup"]) == (0.25, 0.0)
    assert event.fields["parts"] == PARTS
    harness.audio(speech)
    harness.done(speech)
    assert harness.speak("World. ").metrics().dial_parts == {}


REQUEST = traits(reusable=False, ping=None)


def test_a_request_is_no_dial() -> None:
    """It connects when it is sent, which is in `ttfa`; what its key took is told."""
    harness = Harness(REQUEST)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.mux.dialled(harness.wires[0], harness.now, {"key": 0.25})
    harness.collect()
    metrics = speech.metrics()
    assert (metrics.connect, metrics.setup, metrics.connection_reused) == (None, None, False)
    assert (metrics.acquire, metrics.queue) == (0.25, 0.0)
    assert metrics.dial_parts == {"key": 0.25}
    [event] = harness.events("connection.opened")
    assert (event.fields["seconds"], event.fields["setup"]) == (None, None)


# --- silence --------------------------------------------------------------------------------------


def silence_of(*chunks: bytes, **overrides: str) -> float | None:
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ", **overrides)
    harness.up()
    for chunk in chunks:
        harness.audio(speech, chunk)
    return speech.metrics().leading_silence


@pytest.mark.parametrize(
    ("chunks", "seconds"),
    [
        ([loud(4)], 0.0),
        ([bytes(SECOND)], 1.0),
        ([bytes(HALF), loud(4)], 0.5),
        ([bytes(HALF) + loud(4), bytes(SECOND)], 0.5),
        ([bytes(HALF) + samples(0, 104, -104) * 400 + loud(4)], 0.5 + 2400 / SECOND),
        ([samples(*[50] * 500, 105)], 1000 / SECOND),
        ([samples(*[50] * 100, -105)], 200 / SECOND),
        ([samples(0, 0, -32768)], 4 / SECOND),
        ([samples(0, 0, 256)], 4 / SECOND),  # its first byte is 0, too
        ([b"\0", b"\0\0", loud(4)], 2 / SECOND),
    ],
)
def test_silence_ends_with_the_first_sound(chunks: list[bytes], seconds: float) -> None:
    """To the sample, however it is cut, and however far from a whole block."""
    assert silence_of(*chunks) == pytest.approx(seconds, abs=1e-12)


def test_silence_is_of_pcm_alone() -> None:
    """What is encoded would have to be decoded first."""
    assert silence_of(b"\xff" * 800, format="mulaw_8000") is None


def test_without_audio_there_is_no_silence() -> None:
    assert silence_of() is None


def test_nobody_listens_to_silence_for_ever() -> None:
    """After ten seconds of it, it costs what other audio costs."""
    times = Timeline(AudioFormat("pcm", 8000), 0.0)
    for _ in range(21):
        times.audio(bytes(HALF), 0.0)
    assert times.leading_silence == 10.0

    def cost(data: bytes) -> int:
        return steps(lambda: times.audio(data, 0.0))

    assert cost(samples(*[50] * 4000)) == cost(loud(8000))


# --- gaps -----------------------------------------------------------------------------------------


def test_audio_in_time_has_no_gaps() -> None:
    """Nor has a late first chunk; what comes at the last moment is in time."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.advance(2.0)
    for _ in range(4):
        harness.audio(speech, loud(HALF))
        harness.advance(0.5)
    metrics = speech.metrics()
    assert (metrics.gaps, metrics.gap_seconds, metrics.longest_gap) == (0, 0.0, 0.0)


def test_gaps_are_when_somebody_who_plays_it_would_run_dry() -> None:
    """Whether or not anybody reads it meanwhile; each gap moves the rest of the audio on."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    for wait in (0.75, 1.0, 0.5):
        harness.audio(speech, loud(HALF))
        harness.advance(wait)
    harness.audio(speech, loud(HALF))
    metrics = speech.metrics()
    assert (metrics.gaps, metrics.gap_seconds, metrics.longest_gap) == (2, 0.75, 0.5)


def test_audio_ahead_makes_up_for_a_pause() -> None:
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.audio(speech, loud(2 * SECOND))
    harness.advance(2.25)
    harness.audio(speech, loud(HALF))
    assert speech.metrics().gap_seconds == 0.25


def test_the_grain_of_a_clock_is_no_gap() -> None:
    """But the rest is played later for it."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.audio(speech, loud(HALF))
    harness.advance(0.5009)
    harness.audio(speech, loud(HALF))
    assert speech.metrics().gaps == 0
    harness.advance(0.501)
    harness.audio(speech, loud(HALF))
    assert speech.metrics().gaps == 1


def test_what_is_taken_back_had_no_gaps() -> None:
    """An attempt that failed unheard leaves no trace in what was heard of the next one."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.audio(speech, bytes(HALF))
    harness.advance(1.0)
    harness.audio(speech, loud(HALF))
    assert speech.metrics().gaps == 1 and speech.metrics().leading_silence == 0.5
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    assert speech.metrics().gaps == 0 and speech.metrics().leading_silence is None
    harness.advance(1.0)
    harness.audio(speech, loud(HALF))
    metrics = speech.metrics()
    assert (metrics.attempts, metrics.gaps, metrics.leading_silence) == (2, 0, 0.0)


def test_what_was_heard_before_an_attempt_failed_stays() -> None:
    """Of a speech in several generations only the last one is begun again."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech, loud(HALF))
    harness.advance(0.75)
    harness.audio(speech, loud(HALF))
    harness.write(speech, "World. ")
    harness.done(speech)
    harness.hear(speech)
    harness.advance(1.5)
    harness.audio(speech, loud(HALF))
    assert speech.metrics().gaps == 2
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    assert speech.metrics().gaps == 1 and speech.metrics().gap_seconds == 0.25


# --- characters -----------------------------------------------------------------------------------


def said(metrics: object) -> tuple[int, int, int]:
    """Return the characters sent, heard and wasted."""
    names = ("characters", "characters_delivered", "characters_wasted")
    return tuple(getattr(metrics, name) for name in names)  # type: ignore[return-value]


def test_of_a_whole_speech_nothing_is_wasted() -> None:
    harness = opened(MULTIPLEXED)
    speech = harness.spoken("Hello. ")
    assert said(speech.metrics()) == (7, 7, 0)


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize(
    ("joining", "sent"),
    [
        ({"join": Join.TRAILING_SPACE, "hold_back": HoldBack.WORD}, 26),
        ({"join": Join.SPACE, "hold_back": HoldBack.WORD, "max_text": 12}, 23),
    ],
)
def test_what_pieces_are_joined_with_is_neither_wasted_nor_missing(
    joining: dict[str, object], sent: int, interrupted: bool
) -> None:
    """Of a speech of 25 characters that was heard out, all that was sent was heard."""
    harness = opened(traits(MULTIPLEXED, **joining))
    speech = harness.speak("Hello there, good morning")
    harness.audio(speech, loud(HALF))
    harness.done(speech)
    assert isinstance(harness.read(speech), AudioChunk)
    if interrupted:
        assert harness.interrupt(speech).unspoken_text == ""
    else:
        harness.finish(speech)
    assert said(speech.metrics()) == (sent, sent, 0)


def test_what_is_said_again_after_a_break_was_wasted_before() -> None:
    """From the end of the word up to which the audio is kept, and no more; also meanwhile."""
    harness = opened(
        MULTIPLEXED, settings(min_idle=0, retry={"on_partial": "resume", "base": 1e-6})
    )
    speech = harness.speak("One two three. ")
    id = harness.id(speech)
    harness.say(harness.on(speech), f"mark {id} One 0 0.25", f"mark {id} two 0.25 0.5")
    harness.audio(speech, loud(HALF))
    harness.hear(speech)
    harness.drop(harness.on(speech))
    harness.until(harness.mux.deadline or 0.0)
    harness.up()
    assert speech.generation is not None and speech.metrics().resumed == 1
    assert harness.words(harness.on(speech))[1] == "text three. "
    assert said(speech.metrics()) == (15 + 7, 7, 15 - 8)  # up to "three"
    harness.audio(speech, loud(HALF))
    harness.done(speech)
    harness.finish(speech)
    assert said(speech.metrics()) == (22, 15, 7)


def test_an_attempt_that_failed_is_wasted() -> None:
    """Also while the next one speaks."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    harness.advance(1.0)
    assert said(speech.metrics()) == (14, 0, 7)
    harness.audio(speech)
    harness.done(speech)
    harness.finish(speech)
    assert said(speech.metrics()) == (14, 7, 7)


def test_of_a_speech_in_turns_only_the_one_that_failed_is_wasted() -> None:
    """What was said before it was heard."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech)
    harness.done(speech)
    harness.hear(speech)
    harness.write(speech, "And more. ")
    harness.end(speech)
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    harness.advance(1.0)
    harness.audio(speech)
    harness.done(speech)
    harness.finish(speech)
    assert said(speech.metrics()) == (27, 17, 10)


def test_what_was_not_heard_of_an_interrupted_speech_is_wasted() -> None:
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello world. Goodbye world. ")
    id = harness.id(speech)
    harness.say(harness.on(speech), f"mark {id} Hello 0 0.25", f"mark {id} world 0.25 0.5")
    harness.audio(speech, loud(HALF))
    harness.hear(speech)
    report = harness.interrupt(speech)
    assert report.heard_text == "Hello world"
    assert said(speech.metrics()) == (28, 11, 17)


def test_what_was_never_sent_is_not_wasted() -> None:
    """Nor heard."""
    harness = Harness()
    speech = harness.speak("Hello. ")
    harness.interrupt(speech)
    assert said(speech.metrics()) == (0, 0, 0)


def test_all_of_a_speech_that_fails_unheard_is_wasted() -> None:
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation bad!")
    assert speech.state is SpeechState.FAILED
    assert said(speech.metrics()) == (7, 0, 7)


def test_what_the_first_provider_was_sent_is_wasted_when_the_next_one_speaks() -> None:
    """And nothing of the audio that came from there is counted."""
    routes = [Route(adapter=Toy(shape=MULTIPLEXED, line=line)) for line in ("a", "b")]
    harness = Harness(routes=routes)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.up()
    harness.audio(speech, bytes(HALF))
    harness.advance(1.0)
    harness.audio(speech, bytes(HALF))
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation bad!")
    metrics = speech.metrics()
    assert (metrics.gaps, metrics.leading_silence) == (0, None)
    harness.advance(0.5)
    harness.up()
    harness.advance(0.5)
    harness.audio(speech, loud(HALF))
    harness.done(speech)
    harness.finish(speech)
    metrics = speech.metrics()
    assert said(metrics) == (14, 7, 7)
    assert (metrics.gaps, metrics.leading_silence) == (0, 0.0)


def test_the_next_provider_may_speak_another_format() -> None:
    """Its audio is as long as that says, and its silence is not looked for."""
    shapes = [Toy(shape=MULTIPLEXED), Toy(shape=MULTIPLEXED, line="b", format="mulaw_8000")]
    harness = Harness(routes=[Route(adapter=adapter) for adapter in shapes])
    speech = harness.speak("Hello. ")
    harness.up()
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation bad!")
    harness.up()
    harness.audio(speech, b"\xff" * 8000)
    harness.advance(0.9)
    harness.audio(speech, b"\xff" * 8000)
    metrics = speech.metrics()
    assert (metrics.gaps, metrics.leading_silence) == (0, None)


def test_text_that_is_forgotten_was_heard_all_the_same() -> None:
    """Of a very long one only the end is kept; the beginning counts as characters."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak()
    for _ in range(3):
        harness.write(speech, "Hello. " * 8_000)
        harness.audio(speech, loud(HALF))
        harness.hear(speech)
    assert speech._log.forgotten > 0
    assert said(speech.metrics())[1] == 0, "estimated: it cannot have got that far"
    harness.advance(0.5)
    speech.played(1e6)
    id = harness.id(speech)
    harness.say(harness.on(speech), f"mark {id} Hello. 0 0.1")
    harness.end(speech)
    harness.done(speech)
    harness.interrupt(speech)
    sent, heard, wasted = said(speech.metrics())
    assert sent == heard + wasted == 168_000
    assert heard > speech._log.forgotten


# --- ends -----------------------------------------------------------------------------------------


def test_the_whole_time_is_known_at_the_end() -> None:
    """When the reader was told, not when the last audio came."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.advance(0.5)
    harness.audio(speech)
    harness.done(speech)
    harness.advance(0.5)
    assert speech.metrics().total is None
    harness.finish(speech)
    harness.advance(1.0)
    assert speech.metrics().total == 1.0


@pytest.mark.parametrize("how", ["completed", "interrupted", "failed"])
def test_the_log_sums_a_speech_up_at_its_end(how: str) -> None:
    """In one line, whatever end it is."""
    harness = Harness(MULTIPLEXED)
    speech = harness.speak()
    harness.advance(0.125)
    harness.write(speech, "Hello. ")
    harness.end(speech)
    harness.advance(0.25)
    harness.up()
    harness.advance(0.5)
    harness.audio(speech, loud(HALF))
    harness.hear(speech)
    harness.advance(1.0)
    harness.audio(speech, loud(HALF))
    harness.hear(speech)
    harness.take()
    match how:
        case "completed":
            harness.done(speech)
            harness.finish(speech)
        case "interrupted":
            harness.interrupt(speech)
        case "failed":
            harness.fail(speech, ValueError("the source"))
    [event] = harness.events(f"speech.{how}")
    own = {"interrupted": {"heard_seconds": 1.0}, "failed": {"error": "ValueError"}}
    assert event.fields == {
        "speech": 1,
        "provider": "toy",
        "seconds": 1.875,
        "attempts": 1,
        "queue": 0.0,
        "failed_dials": 0.0,
        "connect": 0.375,
        "first_audio": 0.875,
        "ttfa": 0.5,
        "text_wait": 0.125,
        "audio_seconds": 1.0,
        "gaps": 1,
        "gap_seconds": 0.5,
        "characters": 7,
        **own.get(how, {}),
    }


def test_the_first_audio_is_an_event() -> None:
    """Once, when it is handed out."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.audio(speech)
    harness.audio(speech)
    assert not harness.events("speech.first_audio")
    harness.advance(0.25)
    harness.hear(speech)
    [event] = harness.events("speech.first_audio")
    assert event.fields == {"speech": 1, "provider": "toy", "first_audio": 0.5, "ttfa": 0.5}


def test_what_a_torn_step_ended_is_in_the_log() -> None:
    """Or nobody would know what became of the speeches that had begun."""
    harness = opened(MULTIPLEXED)
    harness.speak("Hello. ")
    harness.spoken()
    harness.mux.abandon(KeyboardInterrupt())
    harness.collect()
    [event] = harness.events("speech.failed")
    assert (event.fields["speech"], event.fields["error"]) == (1, "ClosedError")


# --- what it costs --------------------------------------------------------------------------------


def test_a_chunk_costs_the_same_however_long_the_speech_is() -> None:
    """Sums, and no lists."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    message = b"audio " + harness.id(speech).encode() + b" " + loud(320)
    conn = harness.on(speech)

    def cost() -> int:
        count = steps(lambda: harness.mux.receive(conn, message, True, harness.now))
        harness.hear(speech)
        return count

    first = [cost() for _ in range(3)][-1]
    for _ in range(2000):
        harness.advance(0.03)
        cost()
    assert cost() <= first


# --- all together ---------------------------------------------------------------------------------

ACTIONS = (
    "write", "flush", "end", "up", "audio", "silence", "done", "fail", "hear", "wait", "interrupt",
    "refuse", "drop",
)  # fmt: skip


def act(harness: Harness, speech: Speech, action: str) -> None:
    gen = speech.generation
    dialling = [conn for conn in harness.wires if conn.coming]
    match action:
        case "write" if not speech._ended and not speech.over:
            harness.write(speech, "Hello world. ")
        case "flush" if not speech._ended and not speech.over:
            harness.flush(speech)
        case "end" if not speech.over:
            harness.end(speech)
        case "up":
            harness.up()
        case "refuse" if dialling:
            harness.refuse(dialling[0])
        case "drop" if gen is not None:
            harness.drop(gen.conn)
        case "audio" if gen is not None:
            harness.audio(speech, loud(HALF))
        case "silence" if gen is not None:
            harness.audio(speech, bytes(HALF))
        case "done" if gen is not None:
            harness.done(speech)
        case "fail" if gen is not None:
            harness.say(gen.conn, f"error {gen.id} generation busy")
        case "hear" if speech.state is not SpeechState.FAILED:
            harness.hear(speech)
        case "interrupt":
            harness.interrupt(speech)
        case "wait":
            harness.advance(0.375)


SHAPES = (MULTIPLEXED, FLUSHING, TURNS, traits(SEQUENTIAL, early_end=EarlyEnd.NEXT_GENERATION))


@given(st.sampled_from(SHAPES), st.lists(st.sampled_from(ACTIONS), max_size=40), st.booleans())
def test_the_phases_are_all_of_the_time(shape: object, actions: list[str], moves: bool) -> None:
    """One follows the other, from `speak()` to now or to the end, whatever happens to a speech."""
    lines = ("a", "b") if moves else ("a",)
    routes = [Route(adapter=Toy(shape=shape, line=line)) for line in lines]  # type: ignore[arg-type]
    harness = Harness(config=LEAN, routes=routes)
    speech = harness.speak()
    for action in actions:
        act(harness, speech, action)
        metrics = speech.metrics()
        phases = list(speech._times.phases(harness.now))
        whole = harness.now if metrics.total is None else metrics.total
        assert phases[0].begin == 0.0 and phases[-1].end == pytest.approx(whole)
        for one, other in pairwise(phases):
            assert one.end == other.begin and one.begin <= one.end
            assert one.heard <= other.heard
        assert (metrics.total is not None) == speech.over
        assert metrics.longest_gap <= metrics.gap_seconds <= harness.now
        assert 0.0 <= metrics.text_wait <= harness.now
        assert (metrics.ttfa is None) == (speech._times.heard_at is None)
        for seconds in (metrics.queue, metrics.ttfa, metrics.acquire, metrics.setup):
            assert seconds is None or 0.0 <= seconds <= harness.now
        assert 0 <= metrics.characters_delivered <= metrics.characters
        assert 0 <= metrics.characters_wasted <= metrics.characters
        if speech.over:
            heard = metrics.characters - metrics.characters_wasted
            assert metrics.characters_delivered == heard
        assert hash(metrics) == hash(attrs.evolve(metrics))
        shown = speech.explain(harness.now).splitlines()
        assert max(map(len, shown)) <= 80 and all(line.isascii() for line in shown)
        assert "Hello" not in "".join(shown) and "world" not in "".join(shown)
