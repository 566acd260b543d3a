"""The simulated Gradium says and refuses what the vendor documents."""

import base64
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from tests.simulate.peer import (
    GRADIUM,
    Event,
    Peer,
    dial,
    happened,
    heard,
    kinds,
    pcm,
    records,
    text,
)
from ttsmux.simulate import Simulator

VOICE = "YTpq7expH9539ERJ"


def setup(id: str | None = None, **fields: object) -> dict[str, object]:
    """A setup; with an id it keeps the socket open."""
    tag = {} if id is None else {"client_req_id": id, "close_ws_on_eos": False}
    return {"type": "setup", **tag, "voice_id": VOICE, "output_format": "pcm_24000", **fields}


def words(text: str, id: str | None = None) -> dict[str, object]:
    return {"type": "text", **({} if id is None else {"client_req_id": id}), "text": text}


def end(id: str | None = None) -> dict[str, object]:
    return {"type": "end_of_stream", **({} if id is None else {"client_req_id": id})}


def closed(peer: Peer) -> tuple[int, str]:
    """Read to the end; what the server's close frame said."""
    with pytest.raises(ConnectionClosed) as caught:
        peer.until("never")
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def of(events: list[Event], id: str) -> list[Event]:
    return [event for event in events if event.get("client_req_id") == id]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator("gradium") as sim:
        yield sim


@pytest.fixture
def peer(sim: Simulator) -> Iterator[Peer]:
    with dial(sim) as peer:
        yield peer


# The transcripts of the protocol page.


def test_single_use(sim: Simulator, peer: Peer) -> None:
    """Ready, words and audio, end_of_stream, and the server closes with 1000."""
    peer.say(setup(), words("Good evening,"))
    ready = peer.hear()
    assert ready["type"] == "ready" and ready["sample_rate"] == 48000
    assert ready["frame_size"] == 3840 and ready["model_name"] == "default"
    peer.say(words("welcome back."), end())
    events = peer.until("end_of_stream")
    assert events[0] == {
        "type": "text",
        "text": "Good",
        "start_s": 0.0,
        "stop_s": 0.32,
        "stream_id": 0,
    }
    audio = [event for event in events if event["type"] == "audio"]
    assert (audio[0]["start_s"], audio[0]["stop_s"]) == (0.0, 0.08)
    assert (audio[1]["start_s"], audio[1]["stop_s"]) == (0.08, 0.16)
    assert text(events) == "Good evening, welcome back."
    said = [event["text"] for event in events if event["type"] == "text"]
    assert said == ["Good", "evening,", "welcome", "back."]
    assert not any("client_req_id" in event for event in peer.events)
    assert closed(peer) == (1000, "")
    assert records(sim, "violation") == []


def test_two_interleaved_generations(sim: Simulator, peer: Peer) -> None:
    """Each has its own id, clock and voice; the socket stays open until the untagged end."""
    peer.say(setup("a1"), words("First answer.", "a1"), setup("b2", voice_id="LFZvm12tW_z0xfGo"))
    peer.say(words("Second answer.", "b2"), end("a1"), end("b2"))
    events = []
    while len([event for event in events if event["type"] == "end_of_stream"]) < 2:
        events.append(peer.hear())
    for id, said in (("a1", "First answer."), ("b2", "Second answer.")):
        own = of(events, id)
        assert kinds(own)[0] == "ready" and own[-1]["type"] == "end_of_stream"
        assert text(own) == said
        starts = [event["start_s"] for event in own if event["type"] == "audio"]
        assert starts[:2] == [0.0, 0.08]
    order = [event["client_req_id"] for event in events if event["type"] == "audio"]
    assert order != sorted(order), "the two were interleaved"
    peer.say(end())
    assert closed(peer) == (1000, "")
    assert records(sim, "violation") == []


def test_an_unknown_voice_fails_one_request_and_taints_the_socket(
    sim: Simulator, peer: Peer
) -> None:
    """The other request is spoken to its end, then the server closes with the error's code."""
    peer.say(setup("d4"), words("This goes on. " * 50, "d4"), setup("c3", voice_id="nope"))
    events = peer.until("error")
    assert events[-1] == {
        "type": "error",
        "client_req_id": "c3",
        "message": "Embeddings not found for nope",
        "code": 1011,
    }
    peer.say(words("Lost.", "c3"), end("c3"), end("d4"))
    events += peer.until("end_of_stream")
    assert len(heard(of(events, "d4"))) == 150
    assert closed(peer)[0] == 1011
    assert len(records(sim, "violation")) == 1, "text for the failed request was under way"


@pytest.mark.parametrize("checked", ["open", "setup"])
def test_a_bad_key_is_reported_after_the_upgrade(checked: str) -> None:
    """An error 1008 without an id, then close 1008."""
    with Simulator("gradium", key="right", key_checked=checked) as sim, dial(sim) as peer:
        if checked == "setup":
            peer.say(setup("e5"))
        assert peer.hear() == {
            "type": "error",
            "message": "API key is revoked or expired",
            "code": 1008,
        }
        assert closed(peer) == (1008, "API key is revoked or expired")
        assert records(sim, "generation") == []


def test_interruption_by_muting(sim: Simulator, peer: Peer) -> None:
    """After end_of_stream the audio of an id goes on, and the log tells it apart."""
    peer.say(setup("f6"), words("It is a long story that begins in", "f6"))
    peer.until("audio")
    peer.say(end("f6"), setup("g7"), words("Of course.", "g7"), end("g7"))
    events = peer.until("end_of_stream", client_req_id="g7")
    if not any(event["type"] == "end_of_stream" for event in of(events, "f6")):
        events += peer.until("end_of_stream", client_req_id="f6")
    assert text(of(events, "g7")) == "Of course."
    assert text(of(peer.events, "f6")) == "It is a long story that begins in"
    late = [record for record in sim.log if record.get("after_interrupt")]
    assert {record["generation"] for record in late} == {1, 2}


# Rules.


def test_sequential_reuse_without_ids(peer: Peer) -> None:
    """With close_ws_on_eos false a request may follow a request."""
    for said in ("One.", "Two."):
        peer.say(setup(close_ws_on_eos=False), words(said), end())
        assert text(peer.until("end_of_stream")) == said


def test_text_before_setup(peer: Peer) -> None:
    """Error 1002 with its known message."""
    peer.say(words("Hello.", "x"))
    assert peer.hear() == {
        "type": "error",
        "client_req_id": "x",
        "message": "Session not found. Send setup first.",
        "code": 1002,
    }
    assert closed(peer)[0] == 1002


def test_an_active_id_may_not_be_used_again(sim: Simulator, peer: Peer) -> None:
    """Error 1002 names the id; the request is over."""
    peer.say(setup("a"), setup("a"))
    error = peer.until("error")[-1]
    assert error["message"] == "Session already active (a)" and error["code"] == 1002
    assert happened(sim, "cut")["reason"] == "error"


def test_an_id_may_be_used_again_when_its_request_is_done(peer: Peer) -> None:
    """Only active ids are taken."""
    for _ in range(2):
        peer.say(setup("a"), words("Hi.", "a"), end("a"))
        assert text(peer.until("end_of_stream")) == "Hi."


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (setup("a", output_format="opus"), 1008),
        (setup("a", output_format="mulaw_8000"), 1008),
        (setup("a", output_format=7), 1008),
        (setup("a", voice_id=1), 1008),
        (setup("a", close_ws_on_eos="no"), 1008),
        (setup("a", retry_for_s=True), 1008),
        (setup("a", json_config="{"), 1008),
        (setup("a", json_config="[1]"), 1008),
        (setup("a", json_config={"temp": "hot"}), 1008),
        (setup("a", json_config={"temp": 1.6}), 1011),
        (setup("a", json_config='{"cfg_coef": 0.5}'), 1011),
        (setup("a", json_config={"padding_bonus": -5.5}), 1011),
        (setup("a", pronunciation_id="none"), 1011),
        ({"type": "text", "client_req_id": "a"}, 1002),
        ({"type": "end_of_stream", "client_req_id": "a"}, 1002),
        ({"type": "cancel", "client_req_id": "a"}, 1002),
        ({"type": "setup", "client_req_id": 5}, 1008),
        ({"client_req_id": []}, 1008),
        ({}, 1002),
        ("not json", 1002),
        ("3", 1002),
        (b"binary", 1002),
    ],
)
def test_bad_messages_get_an_error(sim: Simulator, peer: Peer, frame: object, code: int) -> None:
    """With its id if it has one, and the socket closes with the same code."""
    peer.say(frame)
    error = peer.hear()
    assert error["type"] == "error" and error["code"] == code
    tagged = isinstance(frame, dict) and isinstance(frame.get("client_req_id"), str)
    assert error.get("client_req_id") == ("a" if tagged else None)
    assert closed(peer)[0] == code
    assert len(records(sim, "violation")) == 1


def test_bad_text_ends_its_request(peer: Peer) -> None:
    """Text must be a string."""
    peer.say(setup("a"), {"type": "text", "client_req_id": "a", "text": None})
    assert peer.until("error")[-1]["code"] == 1002


def test_text_after_end_of_stream() -> None:
    """The request's input is over: 1002."""
    with Simulator("gradium", ttfa_ms=200) as sim, dial(sim) as peer:
        peer.say(setup("a"), words("Hi.", "a"), end("a"), words("More.", "a"))
        assert peer.until("error")[-1]["code"] == 1002


def test_an_untagged_end_while_requests_are_active(sim: Simulator, peer: Peer) -> None:
    """Undocumented: here it is a violation, and the socket closes when they have ended."""
    peer.say(setup("a"), words("Hello there.", "a"), end(), end("a"))
    assert text(peer.until("end_of_stream")) == "Hello there."
    assert closed(peer)[0] == 1000
    assert len(records(sim, "violation")) == 1


def test_an_empty_request(peer: Peer) -> None:
    """No text, no audio, but an end."""
    peer.say(setup("a"), end("a"))
    assert kinds(peer.until("end_of_stream")) == ["ready", "end_of_stream"]


def test_the_other_name_of_the_id(peer: Peer) -> None:
    """client_request_id is understood, and answered in kind."""
    peer.say(
        {"type": "setup", "client_request_id": "z", "close_ws_on_eos": False},
        {"type": "text", "client_request_id": "z", "text": "Hi."},
        {"type": "end_of_stream", "client_request_id": "z"},
    )
    events = peer.until("end_of_stream")
    assert all(event["client_request_id"] == "z" for event in events)
    assert not any("client_req_id" in event for event in events)


# Text.


def test_one_space_between_two_messages(peer: Peer) -> None:
    """Split words are read apart, and a dot alone is a word."""
    peer.say(setup("a"), words("foo", "a"), words("bar", "a"), words(".", "a"), end("a"))
    assert text(peer.until("end_of_stream")) == "foo bar ."


def test_markup_is_not_spoken(peer: Peer) -> None:
    """A break is silence, within its limits."""
    peer.say(setup("a"), words('One <break time="1.5s" /> two', "a"), end("a"))
    one, two = heard(peer.until("end_of_stream"))
    assert (one.text, two.text) == ("One", "two")
    assert 1.5 <= two.start - one.stop < 1.6
    marks = [event for event in peer.events if event["type"] == "text"]
    assert marks[1]["start_s"] == pytest.approx(two.start, abs=0.001)


def test_a_tag_cut_in_two_is_read_aloud(peer: Peer) -> None:
    """This is what happens to a client that splits tags."""
    peer.say(setup("a"), words("<break", "a"), words('time="1s" />', "a"), end("a"))
    assert text(peer.until("end_of_stream")) == '<break time="1s" />'


def test_flush_speaks_everything_so_far() -> None:
    """Also the word that might have gone on; on request an event says so."""
    with Simulator("gradium", extra_events=True) as sim, dial(sim) as peer:
        peer.say(setup("a"), words("Shall I book it? <flush>", "a"))
        events = peer.until("flushed")
        assert text(events) == "Shall I book it?"
        assert "need_more_text" in kinds(peer.until("need_more_text"))
        peer.say(words("More.", "a"), end("a"))
        assert text(peer.until("end_of_stream")) == "More."


# Formats.


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("pcm", 7680),
        ("pcm_8000", 1280),
        ("pcm_16000", 2560),
        ("pcm_22050", 3528),
        ("pcm_44100", 7056),
        ("pcm_48000", 7680),
        ("ulaw_8000", 640),
        ("alaw_8000", 640),
    ],
)
def test_formats(peer: Peer, name: str, size: int) -> None:
    """80 ms a message in each format."""
    peer.say(setup("a", output_format=name), words("Hello.", "a"), end("a"))
    audio = [event for event in peer.until("end_of_stream") if event["type"] == "audio"]
    assert {len(base64.b64decode(str(event["audio"]))) for event in audio[:-1]} == {size}


def test_wav_is_the_default(peer: Peer) -> None:
    """One header leads; the audio behind it is 48 kHz and its clock starts at zero."""
    frame = setup("a")
    del frame["output_format"]
    peer.say(frame, words("Hello.", "a"), end("a"))
    events = peer.until("end_of_stream")
    data = pcm(events)
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE" and data.count(b"RIFF") == 1
    assert int.from_bytes(data[24:28], "little") == 48000
    assert next(event for event in events if event["type"] == "audio")["start_s"] == 0.0


def test_ready_may_name_the_asked_rate_and_come_late() -> None:
    """Options, as the vendor's pages leave it open."""
    with Simulator("gradium", ready_rate="asked", ready_ms=20) as sim, dial(sim) as peer:
        peer.say(setup("a"), words("Hi.", "a"), end("a"))
        assert peer.hear()["sample_rate"] == 24000
        assert text(peer.until("end_of_stream")) == "Hi."


def test_words_may_come_after_their_audio_and_without_stop() -> None:
    """As clients have seen it."""
    with Simulator("gradium", words="after", word_stops=False) as sim, dial(sim) as peer:
        peer.say(setup("a"), words("Hi you.", "a"), end("a"))
        events = peer.until("end_of_stream")
        assert kinds(events)[:3] == ["ready", "audio", "text"]
        assert not any("stop_s" in event for event in events if event["type"] == "text")


# Keys, limits, closing.


def test_tokens_are_used_once() -> None:
    """A second connection with the same token is refused, and the log does not show it."""
    token = "one-time-token-123"
    with Simulator("gradium", tokens=[token]) as sim:
        for expected in ("ready", "error"):
            with dial(sim, f"{GRADIUM}?token={token}", {}) as peer:
                if expected == "ready":
                    peer.say(setup("a"))
                assert peer.hear()["type"] == expected
        assert token not in str(sim.log)


def test_no_key() -> None:
    """Authorization is not where the key belongs."""
    with (
        Simulator("gradium", require_key=True) as sim,
        dial(sim, headers={"Authorization": "Bearer k"}) as peer,
    ):
        assert peer.hear()["code"] == 1008
    with Simulator("gradium") as sim, dial(sim, headers={}) as peer:
        peer.say(setup("a"))
        assert peer.hear()["type"] == "ready"


def test_concurrency_limit_on_the_first_connections() -> None:
    """The first n get the error and a close; the next one works."""
    with Simulator("gradium", concurrency_refusals=1) as sim:
        with dial(sim) as peer:
            peer.say(setup("a"))
            assert peer.hear()["message"] == "Concurrency limit exceeded"
            assert closed(peer)[0] == 1008
        with dial(sim) as peer:
            peer.say(setup("a"))
            assert peer.hear()["type"] == "ready"


def test_concurrency_limit_over_all_connections() -> None:
    """Requests are counted, wherever they are."""
    with Simulator("gradium", max_sessions=1) as sim, dial(sim) as one, dial(sim) as two:
        one.say(setup("a"))
        one.until("ready")
        two.say(setup("b"))
        assert two.hear()["message"] == "Concurrency limit exceeded"
        one.say(words("Hi.", "a"), end("a"))
        assert text(one.until("end_of_stream")) == "Hi."


def test_known_voices_and_dictionaries() -> None:
    """A configured list is the only truth; a voice name stands in for an id."""
    with (
        Simulator("gradium", voices=("v1",), pronunciations=("p1",)) as sim,
        dial(sim) as peer,
    ):
        frame = setup("a", voice="v1", pronunciation_id="p1")
        del frame["voice_id"]
        peer.say(frame)
        assert peer.hear()["type"] == "ready"
        peer.say(setup("b"))
        assert peer.until("error")[-1]["message"] == f"Embeddings not found for {VOICE}"


def test_inactivity() -> None:
    """An idle socket is closed, plainly."""
    with Simulator("gradium", inactivity=0.05) as sim, dial(sim) as peer:
        assert closed(peer) == (1000, "inactive")
        assert happened(sim, "close")["by"] == "server"


def test_age() -> None:
    """The socket is closed at its age whatever goes on."""
    with Simulator("gradium", max_age=1.0, rtf=1.0) as sim, dial(sim) as peer:
        peer.say(setup("a"), words("A long way to go. " * 20, "a"), end("a"))
        assert closed(peer)[0] == 1000
        assert happened(sim, "cut")["reason"] == "close"


@pytest.mark.parametrize(
    ("options", "event", "closes"),
    [
        ({}, {"client_req_id": "a", "code": 1011}, True),
        ({"taint": False}, {"client_req_id": "a", "code": 1011}, False),
        ({"error_id": False}, {"code": 1011}, True),
        ({"error_id": False, "error_close": False}, {"code": 1011}, False),
        ({"error_code": None}, {"client_req_id": "a"}, True),
        ({"error_close": True, "error_code": 1008}, {"client_req_id": "a", "code": 1008}, True),
    ],
)
def test_the_faces_of_an_error(
    options: dict[str, object], event: dict[str, object], closes: bool
) -> None:
    """With and without an id, a code, a close."""
    with (
        Simulator("gradium", faults=["error=Out of steam@request:1"], **options) as sim,
        dial(sim) as peer,
    ):
        peer.say(setup("a"))
        assert peer.hear() == {"type": "error", "message": "Out of steam", **event}
        if closes:
            assert closed(peer)[0] == event.get("code", 1011)
        else:
            peer.say(setup("b"), words("Hi.", "b"), end("b"))
            assert text(peer.until("end_of_stream")) == "Hi."


def test_taint_waits_for_the_others() -> None:
    """After an error with an id the neighbour ends first."""
    with Simulator("gradium", faults=["error@request:2"]) as sim, dial(sim) as peer:
        peer.say(setup("a"), words("Neighbour.", "a"), setup("b"), end("a"))
        events = peer.until("end_of_stream")
        assert "error" in kinds(of(events, "b"))
        assert text(of(events, "a")) == "Neighbour."
        assert closed(peer)[0] == 1011
