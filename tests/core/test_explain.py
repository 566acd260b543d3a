"""The waterfall of a speech, as its reader sees it."""

from __future__ import annotations

import re

from tests.core.helpers import MULTIPLEXED, SECOND, SEQUENTIAL, Harness, opened, settings, traits
from tests.core.test_metrics import PARTS, REQUEST, TURNS, loud
from ttsmux.core.speech import Speech

ROW = re.compile(r"^( *[a-z-]+(?: [a-z]+)?) +([\d,]+) ms(?:  ( *#+))?$")


def rows(text: str) -> list[tuple[str, int, str]]:
    """Return the lines of the waterfall: label, milliseconds, bar."""
    waterfall, _, _ = text.rpartition("\n\n")
    found = (ROW.match(line) for line in waterfall.splitlines())
    return [(m[1].rstrip(), int(m[2].replace(",", "")), m[3] or "") for m in found if m]


def explained(harness: Harness, speech: Speech) -> str:
    return speech.explain(harness.now)


def whole() -> tuple[Harness, Speech]:
    """A speech with each kind of phase but a retry."""
    harness = Harness(traits(SEQUENTIAL, greeting=True, ends_released=False))
    speech = harness.speak()
    harness.advance(0.1)
    harness.write(speech, "Hello world. ")
    harness.end(speech)
    harness.advance(0.2)
    harness.mux.dialled(harness.wires[0], harness.now, PARTS)
    harness.collect()
    harness.advance(0.1)
    harness.say(harness.wires[0], "ready")
    harness.advance(0.4)
    harness.audio(speech, bytes(SECOND // 10) + loud(SECOND // 10 * 4))
    harness.advance(0.2)
    harness.hear(speech)
    harness.advance(0.8)
    harness.audio(speech, loud(SECOND))
    id, conn = harness.id(speech), harness.on(speech)
    harness.done(speech)
    harness.say(conn, f"released {id} characters=13 cost_cents=0.25")
    harness.advance(0.5)
    harness.finish(speech)
    return harness, speech


WHOLE = """\
speech 1 on toy: completed

text               100 ms  #####
dial               200 ms       ###########
  dns               10 ms
  tcp               20 ms
  tls               30 ms
  upgrade           40 ms
  other            200 ms
setup              100 ms                  #####
provider           400 ms                       #####################
pick-up            200 ms                                            ###########
first audio      1,000 ms

streaming          800 ms  #################################
reading            500 ms                                   ####################
in all           2,300 ms

ttfa         600 ms from the first text sent to audio in hand
connection   dialled in 400 ms, 100 ms of it before there was text
attempts     1
audio        1.50 s handed out, 100 ms of silence at the start
gaps         1: 500 ms in all, the longest 500 ms
text wait    100 ms
characters   13 sent, 13 heard, 0 wasted
usage        characters 13, cost_cents 0.25"""


def test_a_speech_is_explained() -> None:
    """As it stands in the guide."""
    harness, speech = whole()
    assert explained(harness, speech) == WHOLE


def test_what_is_shown_adds_up() -> None:
    """To the millisecond, though each number is rounded; bars meet, and end at the right edge."""
    harness = Harness()
    harness.advance(0.0004)
    speech = harness.speak()
    harness.advance(0.0104)
    harness.write(speech, "Hello. ")
    harness.advance(0.0204)
    harness.up()
    harness.advance(0.1004)
    harness.audio(speech, loud(SECOND))
    harness.advance(0.0104)
    harness.hear(speech)
    found = rows(explained(harness, speech))
    split = [label for label, _, _ in found].index("first audio")
    before = found[:split]
    assert sum(number for _, number, _ in before) == found[split][1] == 142
    at = 0
    for _, number, bar in before:
        if number:
            begin = len(bar) - len(bar.lstrip())
            assert begin == at
            at = len(bar)
    assert at == 53


def test_a_phase_that_took_any_time_is_seen() -> None:
    """However short beside the others, and also at the right edge."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak()
    harness.advance(0.001)
    harness.write(speech, "Hello. ")
    harness.advance(60.0)
    harness.audio(speech, loud(SECOND))
    harness.advance(0.001)
    harness.hear(speech)
    bars = {label: bar for label, _, bar in rows(explained(harness, speech))}
    assert bars["text"] == "#"
    assert bars["pick-up"] == " " * 52 + "#"
    assert len(bars["provider"]) == 53


def test_a_speech_that_waits_says_what_for() -> None:
    """So far: nothing is known of what comes."""
    harness = Harness()
    speech = harness.speak()
    harness.advance(0.25)
    assert [row[:2] for row in rows(explained(harness, speech))] == [("text", 250), ("so far", 250)]
    harness.write(speech, "Hello. ")
    harness.advance(0.5)
    assert [row[:2] for row in rows(explained(harness, speech))] == [
        ("text", 250),
        ("queue", 500),
        ("so far", 750),
    ]
    assert "ttfa" not in explained(harness, speech)
    assert "connection" not in explained(harness, speech)


def test_a_speech_at_its_first_instant_has_no_bars() -> None:
    """Nothing is divided by the time that has not passed."""
    harness = Harness()
    speech = harness.speak()
    assert rows(explained(harness, speech)) == [("text", 0, ""), ("so far", 0, "")]


def test_attempts_that_failed_have_a_line() -> None:
    """From the first seat to the last."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.advance(0.5)
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    harness.advance(1.0)
    again = speech._times.tried_at
    assert again is not None
    harness.audio(speech)
    harness.hear(speech)
    found = {label: number for label, number, _ in rows(explained(harness, speech))}
    assert found["retries"] == round(again * 1000) >= 500
    assert found["retries"] + found["provider"] == found["first audio"] == 1500
    assert "attempts     2" in explained(harness, speech)


def test_dials_that_fail_after_a_first_attempt_are_part_of_its_retries() -> None:
    """It had a seat before; the time until then was no wait for dials."""
    harness = opened(SEQUENTIAL)
    harness.advance(0.25)
    speech = harness.speak("Hello. ")
    harness.advance(0.5)
    harness.drop(harness.on(speech))
    harness.advance(0.25)
    harness.refuse(harness.wires[1])
    harness.interrupt(speech)
    found = {label: number for label, number, _ in rows(explained(harness, speech))}
    assert "failed dials" not in found and found["in all"] == 750


def test_sentences_are_no_retries() -> None:
    """Nor is what is begun again after the first audio part of the wait for it."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.advance(0.25)
    harness.audio(speech)
    harness.done(speech)
    harness.hear(speech)
    harness.write(speech, "World. ")
    assert "retries" not in explained(harness, speech)


def test_who_waits_for_others_is_told_so() -> None:
    """And that no dial was waited for."""
    harness = opened(SEQUENTIAL, settings(min_idle=0, max_size=1))
    first, second = harness.speak("Hello. "), harness.speak("World. ")
    harness.advance(0.5)
    harness.audio(first)
    harness.done(first)
    harness.advance(0.25)
    text = explained(harness, second)
    assert [row[:2] for row in rows(text)][1:3] == [("queue", 500), ("provider", 250)]
    assert "dial" not in text and "connection   open before" in text


def test_an_end_cuts_the_phase_it_comes_in() -> None:
    """And time stands still then."""
    harness = opened(MULTIPLEXED)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.interrupt(speech)
    before = explained(harness, speech)
    harness.advance(10.0)
    assert explained(harness, speech) == before
    assert before.startswith("speech 1 on toy: interrupted\n")
    assert [row[:2] for row in rows(before)][-2:] == [("provider", 250), ("in all", 250)]


def test_a_speech_that_failed_says_with_what() -> None:
    """By name: its words are the caller's already. And nothing of it is only so far."""
    harness = Harness(SEQUENTIAL, settings(min_idle=0, acquire_timeout=0.5))
    speech = harness.speak("Hello. ")
    harness.advance(0.5)
    text = explained(harness, speech)
    assert text.startswith("speech 1 on toy: failed (PoolTimeout)\n")
    assert [row[:2] for row in rows(text)][-2:] == [("queue", 500), ("in all", 500)]


def test_dials_that_failed_have_a_line() -> None:
    """Also before one works, and where none does: it is not others that kept it waiting."""
    harness = Harness(SEQUENTIAL, settings(min_idle=0))
    speech = harness.speak()
    harness.advance(0.25)
    harness.write(speech, "Hello. ")
    harness.advance(0.5)
    harness.refuse(harness.wires[0])
    assert [row[:2] for row in rows(explained(harness, speech))] == [
        ("text", 250),
        ("failed dials", 500),
        ("so far", 750),
    ]
    while len(harness.wires) < 2:
        harness.until(harness.mux.deadline or 0.0)
    again = round(harness.now * 1000)
    harness.advance(0.25)
    harness.up(harness.wires[1])
    found = {label: number for label, number, _ in rows(explained(harness, speech))}
    assert found["dial"] == 250 and "queue" not in found
    assert found["text"] + found["failed dials"] == again
    metrics = speech.metrics()
    assert round((metrics.failed_dials or 0.0) * 1000) == found["failed dials"]


def test_a_forgotten_end_is_seen() -> None:
    """While nobody writes: the provider has spoken, and the speech is not over."""
    harness = opened(TURNS)
    speech = harness.speak("Hello. ", end=False)
    harness.flush(speech)
    harness.audio(speech, loud(SECOND))
    harness.done(speech)
    harness.hear(speech)
    harness.advance(1.0)
    assert explained(harness, speech).splitlines()[-2] == "text wait    0 ms"
    harness.advance(12.0)
    told = "12,000 ms, 12,000 ms of it until now: it waits for write() or"
    assert told in explained(harness, speech)
    harness.end(speech)
    assert "text wait    0 ms\n" in explained(harness, speech)


def test_what_begins_again_after_it_was_heard_had_its_first_audio_then() -> None:
    """`ttfa` says the same: the first audio in hand. What comes again is no first audio."""
    retry = {"on_partial": "restart"}
    harness = opened(SEQUENTIAL, settings(min_idle=0, retry=retry))
    speech = harness.speak("Hello. ")
    harness.mux.collect(speech)
    harness.advance(0.25)
    harness.audio(speech, loud(SECOND))
    harness.hear(speech)
    harness.advance(0.5)
    harness.drop(harness.wires[0])
    harness.advance(1.0)
    metrics = speech.metrics()
    assert (metrics.leading_silence, metrics.gaps) == (None, 0), "nothing of it has come again"
    harness.up()
    harness.advance(0.5)
    harness.audio(speech, bytes(SECOND // 10) + loud(SECOND))
    harness.hear(speech)
    harness.done(speech)
    harness.finish(speech)
    found = {label: number for label, number, _ in rows(explained(harness, speech))}
    assert found["provider"] == found["first audio"] == 250
    assert "retries" not in found and found["in all"] == 2250
    metrics = speech.metrics()
    assert (metrics.ttfa, metrics.first_audio) == (0.25, 0.25)
    assert (metrics.leading_silence, metrics.gaps) == (0.1, 0)


def test_what_begins_again_before_it_was_heard_has_its_first_audio_then() -> None:
    """Nobody had any of the first attempt in hand: it is one that failed."""
    harness = opened(SEQUENTIAL)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.audio(speech, loud(SECOND))
    harness.drop(harness.wires[0])
    harness.advance(1.0)
    harness.up()
    harness.advance(0.5)
    harness.audio(speech, loud(SECOND))
    harness.hear(speech)
    found = {label: number for label, number, _ in rows(explained(harness, speech))}
    assert (found["retries"], found["provider"], found["first audio"]) == (1250, 500, 1750)


def test_a_dial_that_failed_beside_the_one_that_worked_is_no_line_of_its_own() -> None:
    """The time is shown as that of the one that it got."""
    harness = Harness(SEQUENTIAL, settings(min_idle=0, max_size=2))
    harness.prewarm(2)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.refuse(harness.wires[0])
    harness.advance(0.25)
    harness.up(harness.wires[1])
    assert speech.generation is not None
    labels = [label for label, _, _ in rows(explained(harness, speech))]
    assert "failed dials" not in labels and "dial" in labels


def test_a_dial_that_failed_before_there_was_text_kept_nobody() -> None:
    harness = Harness(SEQUENTIAL, settings(min_idle=0))
    speech = harness.speak()
    harness.refuse(harness.wires[0])
    harness.advance(0.25)
    harness.up()
    harness.write(speech, "Hello. ")
    assert [row[0] for row in rows(explained(harness, speech))][:2] == ["text", "dial"]
    assert speech.metrics().queue == 0.0


def test_a_request_is_drawn_as_no_dial() -> None:
    """Nothing was connected yet, and the time for its key is nobody's queue."""
    harness = Harness(REQUEST)
    speech = harness.speak("Hello. ")
    harness.advance(0.25)
    harness.mux.dialled(harness.wires[0], harness.now, {"key": 0.25})
    harness.collect()
    harness.advance(0.5)
    text = explained(harness, speech)
    assert [row[:2] for row in rows(text)] == [
        ("text", 0),
        ("request", 250),
        ("  key", 250),
        ("provider", 500),
        ("so far", 750),
    ]
    assert "dial" not in text and "connection" not in text


def test_much_usage_is_folded() -> None:
    """Eighty columns are what a terminal has."""
    harness = opened(traits(MULTIPLEXED, ends_released=False))
    speech = harness.speak("Hello. ")
    words = " ".join(f"a_rather_long_name_{i}={i}.5" for i in range(6))
    conn, id = harness.on(speech), harness.id(speech)
    harness.audio(speech)
    harness.done(speech)
    harness.say(conn, f"released {id} {words}")
    lines = explained(harness, speech).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith(" " * 13 + "a_rather_long_name_") and "usage" in lines[-3]
