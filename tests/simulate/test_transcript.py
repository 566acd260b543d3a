"""The comparison of transcripts sees what differs."""

import pytest

from tests.simulate.peer import XAI, Event, dial
from tests.simulate.transcript import C, Close, Page, S, Script, difference, name, play, some, sound
from ttsmux.simulate import Simulator

RULES = {"id": name, "audio": sound}
FRAME: Event = {"id": "a1", "audio": "AAA=", "n": 1, "words": [{"n": 1}], "deep": {"id": "b"}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"id": "another", "audio": "AAAAAAAA"}, None),
        ({"words": [{"n": 1}, {"n": 1}]}, None),
        ({"n": 2}, "n is 2, not 1"),
        ({"n": True}, "n is a bool, not a int"),
        ({"n": 1.0}, "n is a float, not a int"),
        ({"id": ""}, "id is ''"),
        ({"id": 5}, "id is a int"),
        ({"audio": "AAA"}, "Strict base64"),
        ({"audio": ""}, "Strict base64"),
        ({"audio": "AA=="}, "whole samples"),
        ({"more": 1}, "frame has"),
        ({"deep": {"id": "b", "c": 1}}, "deep has"),
        ({"deep": {"id": " "}}, "id is ' '"),
        ({"words": [{"n": 1}, {"n": 2}]}, "n is 2"),
        ({"words": {}}, "words is a dict"),
        ({"words": []}, "words is empty"),
    ],
)
def test_what_differs(change: Event, reason: str | None) -> None:
    """Fields, types and values, at every depth; a rule stands for a value, never for a type."""
    found = difference({**FRAME, **change}, FRAME, RULES)
    assert (found is None) if reason is None else reason in str(found)


PAGE = Page(stream=lambda frame: None, rules={"delta": sound, "trace_id": name})
SAY = C({"type": "text.delta", "delta": "Hi."}, {"type": "text.done"})
SOUND: Event = {"type": "audio.delta", "delta": "AAA="}
DONE: Event = {"type": "audio.done", "trace_id": "t"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([SAY, some(SOUND)], "DID NOT RAISE"),
        ([SAY, S(DONE), some(SOUND)], r"frame has \['delta', 'type'\]"),
        ([SAY, S(SOUND), S(DONE)], "it came before"),
        ([SAY, some(SOUND), S({"type": "audio.done"})], r"frame has \['trace_id', 'type'\]"),
        ([SAY, some(SOUND), Close(1000)], "DID NOT RAISE"),
    ],
    ids=["more comes", "order", "once", "a field too many", "no close"],
)
def test_a_conversation_that_is_not_the_transcript_fails(script: Script, reason: str) -> None:
    """With the frame that has no place, and why."""
    with (
        Simulator("xai") as sim,
        dial(sim, XAI) as peer,
        pytest.raises((AssertionError, pytest.fail.Exception), match=reason),
    ):
        play(peer, PAGE, script)


def test_an_answer_before_its_question_fails() -> None:
    """Of one generation, whatever another one still waits for."""
    kinds = Page(stream=lambda frame: frame["type"], rules=PAGE.rules)  # type: ignore[call-overload,index]
    question: Event = {"type": "audio.done"}
    script: Script = [SAY, some(SOUND), S({"type": "never"}), C(question), S(DONE)]
    with (
        Simulator("xai") as sim,
        dial(sim, XAI) as peer,
        pytest.raises(AssertionError, match="before the client asked for it"),
    ):
        play(peer, kinds, script)
