"""The simulated xAI says and refuses what the vendor documents."""

import base64
import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.simulate.peer import XAI, Peer, dial, happened, heard, kinds, pcm, records, text
from ttsmux.simulate import Simulator

DONE = {"type": "text.done"}
CLEAR = {"type": "text.clear"}


def delta(text: str) -> dict[str, object]:
    return {"type": "text.delta", "delta": text}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator("xai") as sim:
        yield sim


@pytest.fixture
def peer(sim: Simulator) -> Iterator[Peer]:
    with dial(sim) as peer:
        yield peer


def status(sim: Simulator, path: str, headers: dict[str, str] | None = None) -> int:
    with pytest.raises(InvalidStatus) as caught, dial(sim, path, headers):
        pass
    return caught.value.response.status_code


# The transcripts of the protocol page.


def test_simple_generation(sim: Simulator, peer: Peer) -> None:
    """Audio comes before text.done, is 16 bit at the asked rate, and audio.done has a trace id."""
    peer.say(delta("Good morning. "), delta("How can I help?"))
    early = peer.hear()
    assert early["type"] == "audio.delta"
    assert len(base64.b64decode(str(early["delta"]))) == 3840
    peer.say(DONE)
    events = [early, *peer.until("audio.done")]
    assert text(events) == "Good morning. How can I help?"
    assert kinds(events) == ["audio.delta", "audio.done"]
    assert isinstance(events[-1]["trace_id"], str)
    assert records(sim, "violation") == []


def test_two_generations_on_one_connection(sim: Simulator, peer: Peer) -> None:
    """After audio.done the next utterance has the socket to itself, and its own tag."""
    for number, words in enumerate(("First answer.", "Second answer."), 1):
        peer.say(delta(words), DONE)
        events = peer.until("audio.done")
        assert text(events) == words
        assert {word.tag for word in heard(events)} == {number}
    assert [record["generation"] for record in records(sim, "generation")] == [1, 2]


def test_unknown_voice(sim: Simulator) -> None:
    """Refused at the handshake with 404."""
    assert status(sim, XAI.replace("eve", "nobody")) == 404
    refused = happened(sim, "refused")
    assert refused["status"] == 404 and refused["path"] == "/v1/tts"


def test_bad_map_leaves_the_connection_open(peer: Peer) -> None:
    """An error answers the update; the next utterance is spoken."""
    peer.say({"type": "session.update", "replace": {"C++": "see plus plus"}})
    assert peer.hear() == {
        "type": "error",
        "message": 'replace key "C++" may not contain punctuation or symbols',
    }
    peer.say(delta("Still usable."), DONE)
    assert text(peer.until("audio.done")) == "Still usable."


def test_aged_connection() -> None:
    """Beyond the age limit each utterance gets the deadline error and no audio."""
    with Simulator("xai", max_age=0.0) as sim, dial(sim) as peer:
        peer.say(delta("Hello again."), DONE)
        error = peer.hear()
        assert error["type"] == "error"
        message = str(error["message"])
        assert message.startswith("TTS pipeline timed out after 0s (trace_id=")
        assert message.endswith("(Deadline expired before operation could complete)")
        assert happened(sim, "cut")["reason"] == "error"


def test_interruption(sim: Simulator, peer: Peer) -> None:
    """Late audio, then the acknowledgement, then nothing of the old utterance."""
    peer.say(delta("A very long explanation " * 400), DONE)
    peer.hear()
    peer.say(CLEAR)
    late = peer.until("audio.clear")
    assert kinds(late)[-1] == "audio.clear" and "audio.done" not in kinds(late)
    peer.say(delta("Sure, let me stop."), DONE)
    events = peer.until("audio.done")
    assert text(events) == "Sure, let me stop."
    assert {word.tag for word in heard(events)} == {2}
    assert happened(sim, "cut", generation=1)["reason"] == "interrupt"
    assert not any(record.get("after_interrupt") for record in sim.log)


def test_cancel_crosses_the_end() -> None:
    """audio.done of an utterance that ended before the cancel was answered, then audio.clear."""
    with Simulator("xai", faults=["late-ack=end"]) as sim, dial(sim) as peer:
        peer.say(delta("Short."), DONE, CLEAR)
        events = peer.until("audio.clear")
        assert kinds(events) == ["audio.delta", "audio.done", "audio.clear"]
        assert all(
            record["after_interrupt"] for record in records(sim, "send") if "chunk" in record
        )


def test_cancel_before_the_end_of_the_text() -> None:
    """It is answered behind what was written, and the connection serves the next utterance."""
    with Simulator("xai", faults=["late-ack@request:1=end"]) as sim, dial(sim) as peer:
        peer.say(delta("One two"), CLEAR)
        events = peer.until("audio.clear")
        assert kinds(events) == ["audio.delta", "audio.done", "audio.clear"]
        peer.say(delta("Three."), DONE)
        assert text(peer.until("audio.done")) == "Three."


def test_no_acknowledgement() -> None:
    """The utterance is spoken to its end as if nothing had been said."""
    with Simulator("xai", faults=["no-ack"], ttfa_ms=50) as sim, dial(sim) as peer:
        peer.say(delta("One two three."), DONE, CLEAR)
        events = peer.until("audio.done")
        assert text(events) == "One two three."
        assert "audio.clear" not in kinds(events)


# Cancelling, state by state.


def test_clear_while_idle(peer: Peer) -> None:
    """Each text.clear yields one audio.clear."""
    peer.say(CLEAR, CLEAR)
    assert [peer.hear()["type"] for _ in range(2)] == ["audio.clear", "audio.clear"]
    peer.say(delta("Hi."), DONE)
    assert kinds(peer.until("audio.done")) == ["audio.delta", "audio.done"]


def test_clear_while_collecting(sim: Simulator, peer: Peer) -> None:
    """Text of a cancelled utterance is thrown away, the part of a word that waits included."""
    peer.say(delta("Incompl"), CLEAR, delta("Whole."), DONE)
    events = peer.until("audio.done")
    assert kinds(events)[0] == "audio.clear"
    assert text(events) == "Whole."


def test_speaking_on_after_the_acknowledgement() -> None:
    """Old audio follows the acknowledgement, without an end marker of its own."""
    with Simulator("xai", faults=["speak-on@request:1"], ttfa_ms=100) as sim, dial(sim) as peer:
        peer.say(delta("Old words."), DONE, CLEAR)
        assert peer.hear() == {"type": "audio.clear"}
        peer.say(delta("New words."), DONE)
        peer.until("audio.done")
        happened(sim, "send", generation=1, after_interrupt=True)
        assert len([event for event in peer.events if event["type"] == "audio.done"]) == 1
        late = [record for record in sim.log if record.get("after_interrupt")]
        assert {record["generation"] for record in late} == {1}


def test_an_error_after_speaking_on() -> None:
    """It ends what was spoken on, once."""
    faults = ["speak-on", "error@chunk:2"]
    with Simulator("xai", faults=faults, ttfa_ms=50) as sim, dial(sim) as peer:
        peer.say(delta("Old words."), DONE, CLEAR)
        events = peer.until("error")
        assert kinds(events) == ["audio.clear", "audio.delta", "error"]
        peer.say(CLEAR)
        assert peer.hear()["type"] == "audio.clear"


def test_text_before_a_late_acknowledgement_is_a_violation() -> None:
    """The next utterance may begin only at audio.clear."""
    with Simulator("xai", faults=["late-ack=200@request:1"]) as sim, dial(sim) as peer:
        peer.say(delta("Old."), CLEAR, delta("Too early."))
        events = peer.until("audio.clear")
        assert "error" in kinds(events)
        assert happened(sim, "violation")["message"] == "text.delta before audio.clear"


# Rules of order and size.


def test_text_between_text_done_and_audio_done_is_a_violation() -> None:
    """It is answered with an error, and the utterance in progress is spoken to its end."""
    with Simulator("xai", ttfa_ms=100) as sim, dial(sim) as peer:
        peer.say(delta("First."), DONE, delta("Second."))
        events = peer.until("audio.done")
        assert kinds(events) == ["error", "audio.delta", "audio.done"]
        assert text(events) == "First."
        assert "text.delta between" in str(happened(sim, "violation")["message"])


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "text.delta", "delta": ""},
        {"type": "text.delta"},
        {"type": "text.delta", "delta": 3},
        {"type": "text.delta", "delta": "x" * 15_001},
        {"type": "text.done"},
        {"type": "flush"},
        {},
        {"type": ["text.done"]},
        {"type": "session.update"},
        {"type": "session.update", "replace": []},
        {"type": "session.update", "replace": {"a": 1}},
        "not json",
        "[]",
        "[" * 5000,
        b"binary",
    ],
)
def test_bad_messages_get_an_error_and_harm_nothing(
    sim: Simulator, peer: Peer, frame: object
) -> None:
    """The connection lives on and the offence is in the log."""
    peer.say(frame)
    assert peer.hear()["type"] == "error"
    peer.say(delta("Fine."), DONE)
    assert text(peer.until("audio.done")) == "Fine."
    assert len(records(sim, "violation")) == 1


def test_the_longest_delta(peer: Peer) -> None:
    """15,000 characters are taken."""
    peer.say(delta("ab " * 4_999 + "end"), CLEAR)
    assert "error" not in kinds(peer.until("audio.clear"))


def test_whitespace_only(peer: Peer) -> None:
    """There is nothing to say and that is said at once."""
    peer.say(delta("  \n "), DONE)
    assert peer.hear()["type"] == "audio.done"


def test_words_split_over_deltas(peer: Peer) -> None:
    """Deltas are joined verbatim: no space comes between them."""
    peer.say(*(delta(letter) for letter in "glue me. ok"), DONE)
    assert text(peer.until("audio.done")) == "glue me. ok"


@pytest.mark.parametrize(
    ("deltas", "said"), [("verbatim", "Goodmorning."), ("spaced", "Good morning.")]
)
def test_how_pieces_of_text_are_joined(deltas: str, said: str) -> None:
    """As they are, or with spaces for a client that leaves them out."""
    with Simulator("xai", deltas=deltas) as sim, dial(sim) as peer:
        peer.say(delta("Good"), delta("morning."), DONE)
        assert text(peer.until("audio.done")) == said


def test_wait_for_done() -> None:
    """On request nothing is spoken before text.done."""
    with Simulator("xai", wait_for_done=True) as sim, dial(sim) as peer:
        peer.say(delta("Many words are here already. "))
        happened(sim, "recv")
        peer.say({"type": "session.update", "replace": {}})
        assert peer.hear()["type"] == "session.updated"
        peer.say(DONE)
        assert text(peer.until("audio.done")) == "Many words are here already."


# The handshake.


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("language=en&", ""), 400),
        (("language=en", "language="), 400),
        (("language=en", "language=not_a_tag"), 400),
        (("codec=pcm", "codec=opus"), 400),
        (("codec=pcm", "codec=wav"), 400),
        (("&codec=pcm", ""), 400),
        (("24000", "11025"), 400),
        (("24000", "24000&speed=2"), 400),
        (("24000", "24000&text_normalization=True"), 400),
        (("24000", "24000&optimize_streaming_latency=3"), 400),
        (("24000", "24000&bit_rate=1"), 400),
        (("eve", "missing"), 404),
        (("/v1/tts", "/v1/other"), 404),
    ],
)
def test_bad_queries_are_refused(sim: Simulator, change: tuple[str, str], expected: int) -> None:
    """Before the upgrade, with the status that the vendor documents."""
    assert status(sim, XAI.replace(*change)) == expected


def test_keys() -> None:
    """Any, one, or none: as configured. A key in another header does not count."""
    with Simulator("xai", require_key=True) as sim:
        assert status(sim, XAI, {}) == 401
        assert status(sim, XAI, {"x-api-key": "k"}) == 401
    with Simulator("xai", key="right") as sim:
        assert status(sim, XAI, {"Authorization": "Bearer wrong"}) == 401
        with dial(sim, headers={"Authorization": "Bearer right"}):
            pass
    with Simulator("xai") as sim, dial(sim, headers={}):
        pass


def test_custom_voices_and_session_cap() -> None:
    """Configured voices are known; beyond the cap upgrades get 429."""
    with Simulator("xai", custom_voices=["clone-1"], max_sessions=1) as sim:
        with dial(sim, XAI.replace("eve", "clone-1")):
            assert status(sim, XAI) == 429
        happened(sim, "lost", conn=1)
        with dial(sim, XAI.replace("eve", "EVE")):
            pass


# Audio and timing.


@pytest.mark.parametrize(("codec", "width"), [("pcm", 2), ("mulaw", 1), ("ulaw", 1), ("alaw", 1)])
def test_codecs(sim: Simulator, codec: str, width: int) -> None:
    """80 ms a message, in the width of the codec."""
    with dial(sim, XAI.replace("pcm", codec).replace("24000", "8000")) as peer:
        peer.say(delta("Hello there."), DONE)
        events = peer.until("audio.done")
        sizes = [len(base64.b64decode(str(event["delta"]))) for event in events[:-1]]
        assert set(sizes[:-1]) == {640 * width}
        assert len(pcm(events)) == len(pcm(events)) // width * width


@pytest.mark.parametrize("where", ["audio", "separate", "end"])
def test_timestamps(where: str) -> None:
    """Characters and times are parallel, and times grow from the start of the utterance."""
    with (
        Simulator("xai", timestamps=where) as sim,
        dial(sim, XAI + "&with_timestamps=true") as peer,
    ):
        for _ in range(2):
            peer.say(delta("Hi you. Bye."), DONE)
            events = peer.until("audio.done")
            timed = [event for event in events if "audio_timestamps" in event]
            spans = [event["audio_timestamps"] for event in timed]
            chars = "".join("".join(span["graph_chars"]) for span in spans)  # type: ignore[index,call-overload]
            times = [pair for span in spans for pair in span["graph_times"]]  # type: ignore[index,call-overload]
            assert chars == "Hi you. Bye."
            assert len(times) == len(chars) and times == sorted(times) and times[0][0] == 0
            assert [word.text for word in heard(events)] == ["Hi", "you.", "Bye."]
            if where != "audio":
                assert all(event["delta"] == "" for event in timed)
            if where == "end":
                assert len(timed) == 1


def test_timestamp_shapes() -> None:
    """Objects, or a list that is one short, for clients that must bear it."""
    path = XAI + "&with_timestamps=true"
    with Simulator("xai", timestamp_shape="objects") as sim, dial(sim, path) as peer:
        peer.say(delta("Hi."), DONE)
        first = json.loads(json.dumps(peer.until("audio.done")[0]))
        assert first["audio_timestamps"]["graph_times"][0] == {"start": 0.0, "end": 0.0933}
    with Simulator("xai", timestamp_shape="mismatch") as sim, dial(sim, path) as peer:
        peer.say(delta("Hi."), DONE)
        first = json.loads(json.dumps(peer.until("audio.done")[0]))
        assert len(first["audio_timestamps"]["graph_times"]) == 2


# The map.


def test_replace_is_spoken_and_acknowledged(peer: Peer) -> None:
    """Phrases are found across deltas, in the map of the utterance's first text."""
    replace = {"acme mobile": "akmee", "nginx": "engine x"}
    peer.say({"type": "session.update", "replace": replace})
    assert peer.hear() == {"type": "session.updated", "replace": replace}
    peer.say(delta("At ac"), {"type": "session.update", "replace": {}})
    peer.say(delta("me  mobile we like NGINX. "), delta("nginxes too."), DONE)
    events = peer.until("audio.done")
    assert kinds(events)[0] == "session.updated"
    assert text(events) == "At akmee we like engine x. nginxes too."
    peer.say(delta("Plain nginx."), DONE)
    assert text(peer.until("audio.done")) == "Plain nginx."


def test_too_much_replacement_ends_the_session(peer: Peer) -> None:
    """Documented as the end of the session; the error says why."""
    peer.say({"type": "session.update", "replace": {"a": "b" * 128}})
    peer.hear()
    peer.say(delta("a " * 600))
    with pytest.raises(ConnectionClosed):
        peer.until("never")
    assert peer.events[-1]["type"] == "error"


# The shapes of errors.


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("message", {"message": "boom"}),
        ("string", {"error": "boom"}),
        ("object", {"error": {"code": "invalid", "type": "error", "message": "boom"}}),
    ],
)
def test_error_shapes(shape: str, body: dict[str, object]) -> None:
    """Where clients have seen the text of an error."""
    with Simulator("xai", error_shape=shape, faults=["error=boom"]) as sim, dial(sim) as peer:
        peer.say(delta("Hello."))
        assert peer.hear() == {"type": "error", **body}


def test_text_under_way_when_an_error_ends_the_utterance() -> None:
    """It belongs to that utterance and goes with it; the next one is whole."""
    with Simulator("xai", faults=["error@request:1"]) as sim, dial(sim) as peer:
        peer.say(delta("Half "), delta("a sentence."), DONE, delta("All of it."), DONE)
        events = peer.until("audio.done")
        assert kinds(events) == ["error", "audio.delta", "audio.done"]
        assert text(events) == "All of it."
        assert records(sim, "violation") == []


def test_unknown_events() -> None:
    """An event of a type nobody has heard of comes first."""
    with Simulator("xai", unknown_events=True, trace_ids=False) as sim, dial(sim) as peer:
        peer.say(delta("Hi."), DONE)
        events = peer.until("audio.done")
        assert kinds(events) == ["audio.weather", "audio.delta", "audio.done"]
        assert events[-1] == {"type": "audio.done"}
