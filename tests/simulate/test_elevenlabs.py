"""The simulated ElevenLabs says and refuses what the vendor documents."""

import base64
import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.simulate.peer import ELEVENLABS, TIMEOUT, Event, Peer, dial, happened, records
from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import decode_text

SINGLE = ELEVENLABS.replace("multi-stream-input", "stream-input")
SETTINGS = {"stability": 0.5, "similarity_boost": 0.75}
LOCATOR = {"pronunciation_dictionary_id": "a", "version_id": "1"}
MULTILINGUAL = ELEVENLABS.replace("flash_v2_5", "multilingual_v2")
CHUNKS = {"chunk_length_schedule": [50]}
KEY = "the-only-right-key"
SIXTH = "Maximum simultaneous contexts per WebSocket connection exceeded (5)."


def init(id: str | None = "g1", **fields: object) -> Event:
    return {**tag(id), "text": " ", "voice_settings": SETTINGS, **fields}


def tag(id: str | None) -> Event:
    return {} if id is None else {"context_id": id}


def words(said: str, id: str | None = "g1", **fields: object) -> Event:
    return {**tag(id), "text": said, **fields}


def flush(id: str = "g1") -> Event:
    return {"context_id": id, "flush": True}


def close(id: str = "g1") -> Event:
    return {"context_id": id, "close_context": True}


def until_final(peer: Peer, *ids: str | None) -> list[Event]:
    """Everything up to the end of all of *ids*."""
    left, events = set(ids), list[Event]()
    while left:
        events.append(peer.hear())
        if events[-1].get("isFinal"):
            left.discard(id_of(events[-1]))
    return events


def until_audio(peer: Peer) -> list[Event]:
    events = [peer.hear()]
    while not events[-1].get("audio"):
        events.append(peer.hear())
    return events


def id_of(event: Event) -> str | None:
    return event.get("contextId") or event.get("context_id")  # type: ignore[return-value]


def said(events: list[Event], id: str | None = None) -> str:
    audio = (str(event.get("audio") or "") for event in events if id_of(event) == id)
    return decode_text(b"".join(base64.b64decode(data) for data in audio), 24000)


def closed(peer: Peer) -> tuple[list[Event], int, str]:
    """Read to the end; what came, and what the server's close frame said."""
    events: list[Event] = []
    with pytest.raises(ConnectionClosed) as caught:  # noqa: PT012
        while True:
            events.append(peer.hear())
    assert caught.value.rcvd is not None
    return events, caught.value.rcvd.code, caught.value.rcvd.reason


def violations(sim: Simulator) -> list[object]:
    return [record["message"] for record in records(sim, "violation")]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator("elevenlabs") as sim:
        yield sim


@pytest.fixture
def peer(sim: Simulator) -> Iterator[Peer]:
    with dial(sim) as peer:
        yield peer


# The transcripts of the protocol page.


def test_one_generation(sim: Simulator, peer: Peer) -> None:
    """Nothing is said before the flush; the final message follows the close and nothing else."""
    peer.say(init(), words("Hello there. "), words("How can I help? "), flush())
    early = until_audio(peer)
    assert early[0].keys() == {"audio", "isFinal", "contextId", "alignment", "normalizedAlignment"}
    peer.say(close())
    events = early + until_final(peer, "g1")
    assert said(events, "g1") == "Hello there. How can I help?"
    assert events[-1] == {"audio": None, "isFinal": True, "contextId": "g1"}
    assert sum(bool(event.get("isFinal")) for event in events) == 1
    assert violations(sim) == []


def test_one_generation_on_the_single_socket(sim: Simulator) -> None:
    """The empty text ends it; then the server closes with 1000."""
    with dial(sim, SINGLE) as peer:
        peer.say(init(None), words("Hello there. ", None), {"text": ""})
        events, code, _ = closed(peer)
    assert said(events) == "Hello there."
    assert events[-1] == {"isFinal": True, "audio": None} and code == 1000
    assert not any(id_of(event) for event in events)
    assert violations(sim) == []


def test_two_interleaved_generations(peer: Peer) -> None:
    """Frames of different contexts come as they are ready."""
    first = [init("g1"), words("Let me check that for you. ", "g1", flush=True)]
    second = [init("g2"), words("Meanwhile, here is a summary. ", "g2", flush=True)]
    peer.say(*first, *second, close("g1"), close("g2"))
    events = until_final(peer, "g1", "g2")
    assert said(events, "g1") == "Let me check that for you."
    assert said(events, "g2") == "Meanwhile, here is a summary."
    order = [id_of(event) for event in events if event.get("audio")]
    assert order != sorted(order, key=str), "the two were interleaved"


def test_a_sixth_context_kills_the_socket() -> None:
    """Those that are closing count."""
    with Simulator("elevenlabs", ttfa_ms=60_000) as sim, dial(sim) as peer:
        for n in range(5):
            peer.say(init(f"g{n}"), words("Hello. ", f"g{n}", flush=True), close(f"g{n}"))
        peer.say(init("g6"))
        events, code, reason = closed(peer)
        assert events == [{"message": SIXTH, "error": "max_active_conversations", "code": 1008}]
        assert (code, reason) == (1008, SIXTH)
        assert len(records(sim, "cut")) == 5


def test_a_place_is_free_when_its_context_has_ended(sim: Simulator, peer: Peer) -> None:
    """Six in a row, and five of them at once."""
    for n in range(5):
        peer.say(init(f"g{n}"), words("Hello. ", f"g{n}", flush=True))
    peer.say(close("g0"))
    until_final(peer, "g0")
    peer.say(init("g6"), words("Sixth. ", "g6", flush=True), close("g6"))
    assert said(until_final(peer, "g6"), "g6") == "Sixth."


def test_an_end_that_was_left_out_keeps_its_place() -> None:
    """A context that never ends takes one of five for good."""
    with Simulator("elevenlabs", faults=["drop-end@request:1"]) as sim, dial(sim) as peer:
        peer.say(init("g1"), words("Hello. ", "g1", flush=True), close("g1"))
        happened(sim, "fault")
        for n in range(2, 7):
            peer.say(init(f"g{n}"))
        assert closed(peer)[0][-1]["error"] == "max_active_conversations"


def test_an_interruption(peer: Peer) -> None:
    """Late audio goes on to its end, beside the next one."""
    story = "A long story " * 30
    peer.say(init("g1"), words(story, "g1", flush=True))
    events = until_audio(peer)
    peer.say(close("g1"), init("g2"), words("Of course. ", "g2", flush=True), close("g2"))
    events += until_final(peer, "g1", "g2")
    assert said(events, "g1") == story.strip() and said(events, "g2") == "Of course."


# What the server does not forgive, and what it only seems to.


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([flush()], "a flush or keepalive opens the unknown context g1"),
        ([words("")], "a flush or keepalive opens the unknown context g1"),
        ([{"text": ""}], "a message without a context_id opens a context of its own"),
        ([close()], "close_context for a context that is not there"),
        ([init(), close(), words("late ")], "a message for a context that is closing"),
        ([init(), words("Hel"), words("lo. ")], "a word is cut in two by two messages"),
        ([init(extra=1)], "unknown field 'extra'; it is ignored"),
        ([init(close_sockets=True)], "unknown field 'close_sockets'; it is ignored"),
    ],
)  # fmt: skip
def test_violations(frames: list[Event], message: str) -> None:
    """They are recorded; what they lead to is the server's business."""
    with Simulator("elevenlabs", ttfa_ms=60_000) as sim, dial(sim) as peer:
        peer.say(init("g0"), words("Long. ", "g0", flush=True), *frames)
        assert happened(sim, "violation")["message"] == message


def test_a_context_that_nobody_meant_to_open_blocks_the_goodbye(sim: Simulator, peer: Peer) -> None:
    """close_socket does nothing while a context is open."""
    peer.say({"text": ""}, {"close_socket": True}, init("g1"), words("Hello. ", "g1", flush=True))
    events, code, _ = closed(peer)
    assert code == 1008 and events[-1]["error"] == "invalid_request", "nor settings after it"


def test_the_goodbye(peer: Peer) -> None:
    """Once everything has ended, the server closes with 1000."""
    peer.say(init(), words("Hello. "), close())
    until_final(peer, "g1")
    peer.say({"close_socket": True})
    assert closed(peer) == ([], 1000, "")


def test_an_id_that_is_used_again_is_another_context(sim: Simulator, peer: Peer) -> None:
    """It works, and is recorded."""
    for _ in range(2):
        peer.say(init(), words("Hello. "), close())
        assert said(until_final(peer, "g1"), "g1") == "Hello."
    assert violations(sim) == ["context g1 is over; a new one of that name is opened"]


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([init(), init("g2", voice_settings={"stability": 0.6})], "invalid_request"),
        ([{"context_id": "g1", "text": " "}, init("g2")], "invalid_request"),
        ([init(), words("Hi. ", voice_settings={"speed": 1.1})], "invalid_request"),
        ([init(), words("Hi. ", generation_config=CHUNKS)], "invalid_request"),
        ([init(voice_settings={"stability": 2})], "invalid_voice_settings"),
        ([init(voice_settings={"use_speaker_boost": 1})], "invalid_voice_settings"),
        ([init(voice_settings={"pitch": 1})], "invalid_voice_settings"),
        ([init(voice_settings=5)], "invalid_voice_settings"),
        ([init(generation_config={"chunk_length_schedule": [49]})], "invalid_parameters"),
        ([init(generation_config={"chunk_length_schedule": []})], "invalid_parameters"),
        ([init(generation_config=5)], "invalid_parameters"),
        ([init(pronunciation_dictionary_locators=[{}])], "invalid_parameters"),
        ([init(pronunciation_dictionary_locators=[LOCATOR] * 4)], "invalid_parameters"),
        ([{"context_id": 5, "text": " "}], "invalid_parameters"),
        ([{"context_id": "g1", "text": None}], "invalid_parameters"),
        ([{"context_id": "g1", "flush": 1}], "invalid_parameters"),
        (["no JSON"], "invalid_parameters"),
        (["[]"], "invalid_parameters"),
        ([b"binary"], "invalid_parameters"),
    ],
)  # fmt: skip
def test_what_closes_the_socket(
    sim: Simulator, peer: Peer, frames: list[object], error: str
) -> None:
    """An error and close 1008, for everybody on the connection."""
    peer.say(*frames)
    events, code, _ = closed(peer)
    assert events[-1]["error"] == error and events[-1]["code"] == code == 1008
    assert violations(sim)


@pytest.mark.parametrize(
    ("model", "options", "most"),
    [
        ("eleven_flash_v2_5", {}, 40_000),
        ("eleven_turbo_v2_5", {}, 40_000),
        ("eleven_turbo_v2", {}, 30_000),
        ("eleven_multilingual_v2", {}, 10_000),
        ("eleven_multilingual_v2", {"max_characters": 7}, 7),
    ],
)
def test_more_characters_than_a_context_takes(model: str, options: Event, most: int) -> None:
    """
    The last one that fits is taken, with a space behind it; one more closes the socket. Its
    neighbours do not count.
    """
    path = ELEVENLABS.replace("eleven_flash_v2_5", model)
    with Simulator("elevenlabs", **options) as sim, dial(sim, path) as peer:
        text = "x" * most + " "
        peer.say(init(), words(text[:-3] + " "), words("x "), words("  "))
        peer.say(init("g2"), words(text, "g2"), words("", "g2"))
        peer.say(words("x"))
        events, code, _ = closed(peer)
        assert events[-1]["error"] == "text_too_long" and code == 1008
        assert events[-1]["message"] == f"A context takes {most} characters at most."
        assert violations(sim) == [events[-1]["message"]]
        *_, last, told = [r for r in sim.log if r["event"] in ("recv", "violation")]
        assert (last["frame"], told["event"]) == (words("x"), "violation")


def test_settings_may_be_repeated_or_belong_to_contexts(sim: Simulator, peer: Peer) -> None:
    """Word for word on one connection; by the other reading of the page, each its own."""
    peer.say(init("g1"), init("g2"), words("Hi. ", "g2", voice_settings=SETTINGS), close("g2"))
    until_final(peer, "g2")
    with Simulator("elevenlabs", settings_scope="context") as other, dial(other) as peer:
        peer.say(init("g1"), init("g2", voice_settings={"stability": 0.1}), words("Hi. ", "g2"))
        peer.say(close("g2"))
        assert said(until_final(peer, "g2"), "g2") == "Hi."
        assert violations(other) == []


# When it speaks.


def test_text_waits_for_the_schedule(sim: Simulator, peer: Peer) -> None:
    """120 characters by default, then 160; less than that waits for a flush or the close."""
    peer.say(init(), words("nine char " * 11))
    peer.say(words("nine char "))
    events = until_audio(peer)
    peer.say(words("nine char " * 15), close())
    events += until_final(peer, "g1")
    assert said(events, "g1").split() == ["nine", "char"] * 27
    assert not any(event.get("alignment") for event in events), "nobody asked for times"


@pytest.mark.parametrize(
    ("query", "frames"),
    [
        ("&auto_mode=true", [init(), words("Hello. ")]),
        ("", [init(generation_config={"chunk_length_schedule": [50]}), words("nine char " * 5)]),
    ],
)
def test_text_that_does_not_wait(sim: Simulator, query: str, frames: list[Event]) -> None:
    """In auto mode nothing waits; a schedule of one's own is kept."""
    with dial(sim, ELEVENLABS + query) as peer:
        peer.say(*frames)
        assert until_audio(peer)


@pytest.mark.parametrize("trigger", [True, False])
def test_trying_to_trigger(sim: Simulator, trigger: bool) -> None:
    """On the single socket, with fifty characters and no less."""
    with dial(sim, SINGLE) as peer:
        peer.say(init(None), words("nine char " * 4, None, try_trigger_generation=True))
        peer.say(words("nine char ", None, try_trigger_generation=trigger))
        if trigger:
            assert until_audio(peer)
        peer.say({"text": ""})
        closed(peer)
        assert said(peer.events) == " ".join(["nine char"] * 5)


@pytest.mark.parametrize("buffered", ["speak", "drop"])
def test_text_that_is_not_flushed_when_its_context_is_closed(buffered: str) -> None:
    """The vendor's pages say both."""
    with Simulator("elevenlabs", close_buffered=buffered) as sim, dial(sim) as peer:
        peer.say(init(), words("Hello. "), flush(), words("More. "), close())
        expected = "Hello. More." if buffered == "speak" else "Hello."
        assert said(until_final(peer, "g1"), "g1") == expected


def test_the_single_socket_keeps_its_rules(sim: Simulator) -> None:
    """One space is a keepalive; the first text is one space; nothing comes after the end."""
    with dial(sim, SINGLE) as peer:
        peer.say(words("Hello. ", None), {"text": " "}, {"text": ""})
        with contextlib.suppress(ConnectionClosed):  # it may be closed before that comes
            peer.say({"text": "late "})
        assert said(closed(peer)[0]) == "Hello."
    assert violations(sim)[0] == 'the text of the first message must be " "'
    with dial(sim, SINGLE) as peer:
        peer.say({"text": ""})
        assert closed(peer)[:2] == ([{"isFinal": True, "audio": None}], 1000)


# Times.

TIMED = ELEVENLABS + "&sync_alignment=true"


@pytest.mark.parametrize("timing", ["first", "each"])
def test_times(timing: str) -> None:
    """In milliseconds from the message that they come in: all with the first, or each its own."""
    with Simulator("elevenlabs", timing=timing) as sim, dial(sim, TIMED) as peer:
        peer.say(init(), words("One two. "), flush(), words("Three. "), close())
        events = until_final(peer, "g1")[:-1]
    told = [(n, e["alignment"]) for n, e in enumerate(events) if e["alignment"] is not None]
    chars = [char for _, times in told for char in times["chars"]]  # type: ignore[index]
    assert "".join(chars).strip() == "One two. Three."
    if timing == "first":
        assert len(told) == 2 and told[0][0] == 0
        assert told[0][1]["charStartTimesMs"][:4] == [0, 93, 187, 280]  # type: ignore[index]
        assert told[1][1]["charStartTimesMs"][0] == 0, "a segment's clock begins with it"  # type: ignore[index]
    else:
        assert len(told) > 5
        for _, times in told:
            assert all(0 <= start < 80 for start in times["charStartTimesMs"])  # type: ignore[index]


def test_times_that_start_over() -> None:
    """Two passes in one list, and the other list with one."""
    options: dict[str, Any] = {"restarts": True, "spelling": "charsDurationsMs"}
    with Simulator("elevenlabs", **options) as sim, dial(sim, TIMED) as peer:
        peer.say(init(), words("One. "), close())
        first: Any = until_final(peer, "g1")[0]
    assert "".join(first["alignment"]["chars"]) == "One. One. "
    assert "".join(first["normalizedAlignment"]["chars"]) == "One. "
    assert "charsDurationsMs" in first["alignment"]


# Quiet.


@pytest.mark.parametrize("idle", ["context", "socket"])
def test_a_quiet_context(idle: str) -> None:
    """It is closed by itself, or takes the socket along; the empty text keeps it alive."""
    path = ELEVENLABS + "&inactivity_timeout=1"
    with Simulator("elevenlabs", idle=idle) as sim, dial(sim, path) as peer:
        peer.say(init(), words("Hello. "))
        if idle == "context":
            assert said(until_final(peer, "g1"), "g1") == "Hello."
        events, code, reason = closed(peer)
        assert events[-1]["error"] == "input_timeout_exceeded" and code == 1008
        assert reason == "Have not received a new text input within the timeout of 1 seconds."


@pytest.mark.parametrize("path", [ELEVENLABS, SINGLE])
def test_a_quiet_socket(sim: Simulator, path: str) -> None:
    """1008, whoever has said nothing at all."""
    with dial(sim, path + "&inactivity_timeout=1") as peer:
        events, code, _ = closed(peer)
        assert events[-1]["error"] == "input_timeout_exceeded" and code == 1008


# The close race.


@pytest.mark.parametrize("race", ["empty", "silent"])
def test_a_close_that_follows_its_text_too_closely(race: str) -> None:
    """It ends without audio, or nothing is heard of it again."""
    with Simulator("elevenlabs", race_ms=60_000, race=race, ttfa_ms=20) as sim, dial(sim) as peer:
        peer.say(
            init(),
            words("Lost. ", flush=True),
            close(),
            init("g2"),
            words("Heard. ", "g2", flush=True),
        )
        events = until_audio(peer)
        peer.say(close("g2"))
        events += until_final(peer, "g2")
        assert said(events, "g1") == "" and said(events, "g2") == "Heard."
        assert any(e.get("isFinal") and id_of(e) == "g1" for e in events) is (race == "empty")


# Upgrades.


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (ELEVENLABS.replace("/V1/", "/nope/"), 404, "voice_not_found"),
        (ELEVENLABS.replace("eleven_flash_v2_5", "eleven_v3"), 400, "unsupported_model"),
        (ELEVENLABS.replace("pcm_24000", "mp3_44100_128"), 400, "invalid_output_format"),
        (ELEVENLABS.replace("pcm_24000", "pcm_1"), 400, "invalid_output_format"),
        (ELEVENLABS.partition("&")[0], 400, "invalid_output_format"),
        (ELEVENLABS + "&inactivity_timeout=181", 400, "invalid_parameters"),
        (ELEVENLABS + "&auto_mode=yes", 400, "invalid_parameters"),
        (ELEVENLABS + "&seed=-1", 400, "invalid_parameters"),
        (ELEVENLABS + "&language_code=english", 400, "invalid_parameters"),
        (MULTILINGUAL + "&language_code=en", 400, "invalid_parameters"),
        ("/v1/text-to-speech/V1/other", 404, "not_found"),
    ],
)  # fmt: skip
def test_refused_upgrades(sim: Simulator, path: str, status: int, code: str) -> None:
    """With the vendor's body."""
    with pytest.raises(InvalidStatus) as caught, dial(sim, path):
        pass
    response = caught.value.response
    assert response.status_code == status
    assert json.loads(response.body or b"")["detail"]["code"] == code


@pytest.mark.parametrize("checked", ["upgrade", "open"])
def test_a_bad_key(checked: str) -> None:
    """401, or 1008 after the upgrade; a right one passes, by header or by query."""
    with Simulator("elevenlabs", key=KEY, key_checked=checked) as sim:
        if checked == "upgrade":
            with pytest.raises(InvalidStatus) as caught, dial(sim):
                pass
            assert caught.value.response.status_code == 401
        else:
            with dial(sim) as peer:
                assert closed(peer)[0][0]["error"] == "invalid_api_key"
        with dial(sim, headers={"xi-api-key": KEY}) as peer:
            peer.say(init(), words("Hi. "), close())
            until_final(peer, "g1")
        with dial(sim, ELEVENLABS + "&single_use_token=" + KEY, headers={}) as peer:
            peer.say({"close_socket": True})
            assert closed(peer)[1] == 1000
        assert KEY not in str(sim.log)


def test_a_key_is_needed_if_it_is_said_so() -> None:
    with Simulator("elevenlabs", require_key=True, voices=["V1"]) as sim:
        with pytest.raises(InvalidStatus), dial(sim, headers={}):
            pass
        with dial(sim) as peer:
            peer.say({"close_socket": True})
            closed(peer)


# HTTP.


def ask(
    sim: Simulator, path: str = "", method: str = "POST", **body: object
) -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    client = HTTPConnection("127.0.0.1", sim.port, timeout=TIMEOUT)
    try:
        fields = {"text": "Hello there.", "model_id": "eleven_flash_v2_5", **body}
        url = path or "/v1/text-to-speech/V1/stream?output_format=pcm_24000"
        data = json.dumps({k: v for k, v in fields.items() if v is not None})
        client.request(method, url, data, {"xi-api-key": "a-secret-api-key"})
        answer = client.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        client.close()


TIMES = "/v1/text-to-speech/V1/stream/with-timestamps?output_format=pcm_24000"


def test_bare_audio(sim: Simulator) -> None:
    status, kind, data = ask(sim)
    assert (status, kind) == (200, "audio/pcm")
    assert decode_text(data, 24000) == "Hello there."
    assert ask(sim, "/v1/text-to-speech/V1/stream?output_format=ulaw_8000")[1] == "audio/basic"
    assert violations(sim) == []


@pytest.mark.parametrize("timing", ["first", "each"])
def test_lines_with_times(timing: str) -> None:
    """Seconds from the beginning of the answer."""
    with Simulator("elevenlabs", timing=timing) as sim:
        status, kind, data = ask(sim, TIMES)
    assert (status, kind) == (200, "application/json")
    lines = [json.loads(line) for line in data.splitlines()]
    sound = b"".join(base64.b64decode(line["audio_base64"]) for line in lines)
    assert decode_text(sound, 24000) == "Hello there."
    told = [line["alignment"] for line in lines if line["alignment"] is not None]
    assert "".join(char for times in told for char in times["characters"]) == "Hello there. "
    starts = [start for times in told for start in times["character_start_times_seconds"]]
    assert starts == sorted(starts) and starts[-1] > 0.5
    assert len(told) == (1 if timing == "first" else 2)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": None}, 422, None),
        ({"text": 5}, 422, None),
        ({"text": " "}, 400, "empty_text"),
        ({"text": "x" * 40_001}, 400, "text_too_long"),
        ({"text": "x" * 3_001, "model_id": "eleven_v3"}, 400, "text_too_long"),
        ({"model_id": "eleven_v3", "previous_text": "x"}, 400, "invalid_parameters"),
        ({"model_id": "whatever"}, 400, "unsupported_model"),
        ({"voice_settings": {"speed": 2}}, 400, "invalid_voice_settings"),
        ({"pronunciation_dictionary_locators": 5}, 400, "invalid_parameters"),
        ({"language_code": 5}, 400, "invalid_parameters"),
    ],
)
def test_refused_requests(sim: Simulator, body: Event, status: int, code: str | None) -> None:
    found, _, data = ask(sim, **body)
    assert found == status
    assert code is None or json.loads(data)["detail"]["code"] == code


def test_other_refusals(sim: Simulator) -> None:
    """By method, path, voice, format and key; what is unknown is recorded."""
    assert ask(sim, method="PUT")[0] == 405
    assert ask(sim, "/v1/text-to-speech/V1/other")[0] == 404
    assert ask(sim, ELEVENLABS)[0] == 426
    assert ask(sim, "/v1/text-to-speech/nope/stream?output_format=pcm_24000")[0] == 404
    assert ask(sim, "/v1/text-to-speech/V1/stream")[0] == 400
    assert ask(sim, surprise=1)[0] == 200
    assert violations(sim) == ["unknown field 'surprise'; it is ignored"]
    with Simulator("elevenlabs", key=KEY) as other:
        assert ask(other)[0] == 401


@pytest.mark.parametrize("shape", ["code", "status", "list"])
def test_shapes_of_an_http_error(shape: str) -> None:
    with Simulator("elevenlabs", error_shape=shape, faults=["status=429;retry-after=2"]) as sim:
        status, _, data = ask(sim)
    detail = json.loads(data)["detail"]
    assert status == 429
    assert {"code": "code", "status": "status", "list": 0}[shape] in (
        detail if isinstance(detail, dict) else range(1)
    )


@pytest.mark.parametrize("way", ["status", "body"])
def test_a_failure_before_the_audio(way: str) -> None:
    """A status, or a success that is no audio."""
    with Simulator("elevenlabs", http_error=way, faults=["error=No voice today"]) as sim:
        status, kind, data = ask(sim)
    assert (status, kind) == (500 if way == "status" else 200, "application/json")
    assert json.loads(data)["detail"]["message"] == "No voice today"
