"""What the benchmarks count as audio of another turn."""

import pytest

from benchmarks.harness import stale
from benchmarks.server import Engine, most_at_once
from ttsmux.simulate.engines.tone import ToneEngine

TEXT = "Turn3 goes on"
SAID = {4: ["Turn3", "goes", "on"], 5: ["Turn4", "goes", "on"]}


def tone(text: str, tag: int, rate: int = 24000) -> bytes:
    return ToneEngine().speak(text, voice="", language=None, tag=tag, rate=rate).pcm


OWN, OTHER = tone(TEXT, 4), tone("Turn4 goes on", 5)


@pytest.mark.parametrize("heard", [OWN, OWN[:1], OWN[:5001], b""])
def test_what_a_turn_says_for_itself(heard: bytes) -> None:
    """All of it, or as much as was heard before the interruption, odd cuts included."""
    assert stale(TEXT, heard, SAID) == 0


@pytest.mark.parametrize("rate", [8000, 22050, 24000])
def test_the_rate_is_the_providers(rate: int) -> None:
    assert stale(TEXT, tone(TEXT, 4, rate), SAID, rate) == 0
    assert stale(TEXT, tone(TEXT, 4, 16000), SAID, rate) > 0


def test_audio_before_its_own() -> None:
    """Everything counts from where it is not this turn's: who speaks again is not asked."""
    assert stale(TEXT, OTHER[:100] + OWN, SAID) >= len(OWN)


def test_audio_in_the_middle() -> None:
    assert stale(TEXT, OWN[:9600] + OTHER, SAID) > 0.9 * len(OTHER)


def test_audio_behind_its_end() -> None:
    """Also where what was heard begins with all that it should."""
    assert stale(TEXT, OWN + OTHER[:960], SAID) == 960


def test_the_first_sound_of_another_turn() -> None:
    """Its text is not heard yet, and its tag is the only thing that is wrong."""
    first = 4 * 480 * 2  # two marks, and the two tones of the tag: 80 ms, a message
    assert OWN[:1920] == OTHER[:1920]
    assert stale(TEXT, OTHER[:first], SAID) > 0
    assert stale(TEXT, OWN[:first], SAID) == 0


def test_the_same_text_under_a_tag_that_the_server_did_not_give_it() -> None:
    assert stale(TEXT, tone(TEXT, 5), SAID) > 0


def test_a_text_that_was_said_twice() -> None:
    """A turn that was begun again has two tags, and is heard under one of them."""
    said = {**SAID, 6: ["Turn3"]}
    assert stale(TEXT, tone(TEXT, 6), said) == 0
    assert stale(TEXT, OWN[:9600] + tone(TEXT, 6)[9600:], said) > 0


def test_a_turn_that_the_server_knows_nothing_of() -> None:
    assert stale(TEXT, OWN, {}) == len(OWN)


def test_the_engine_remembers_the_words_of_each_tag() -> None:
    """Piece by piece; a tag that is given again is the new generation's."""
    engine = Engine()

    def say(text: str, tag: int, first_word: int = 0) -> None:
        spoken = engine.speak(
            text, voice="", language=None, tag=tag, rate=24000, first_word=first_word
        )
        assert spoken.pcm

    say("Turn3 goes ", 4)
    say("Turn4 ", 5)
    say("on", 4, first_word=2)
    assert engine.said == {4: ["Turn3", "goes", "on"], 5: ["Turn4"]}
    say("Turn9", 4)
    assert engine.said[4] == ["Turn9"]


def test_connections_at_once() -> None:
    """Those that are open: a dial is none yet, and one that is lost is none any more."""
    events = ["dial 1", "open 1", "dial 2", "open 2", "lost 1", "dial 3", "lost 3", "open 4"]
    log = [{"event": event, "conn": int(conn)} for event, conn in map(str.split, events)]
    assert most_at_once(log) == 2
    assert most_at_once([]) == 0
