"""The simulated KugelAudio says and refuses what the vendor documents."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.simulate.peer import (
    TIMEOUT,
    Event,
    Peer,
    dial,
    happened,
    heard,
    http,
    kinds,
    records,
    text,
)
from ttsmux.simulate import Simulator
from ttsmux.simulate.engines import Utterance
from ttsmux.simulate.engines.tone import ToneEngine, decode_text

MULTI, STREAM, ONESHOT = "/ws/tts/multi", "/ws/tts/stream", "/ws/tts"
CONFIG = {"voice_id": 1071, "model_id": "kugel-3.5", "output_format": "pcm_24000"}
LONG = "A very long explanation of everything " * 200


@contextmanager
def on(path: str, **options: object) -> Iterator[tuple[Simulator, Peer]]:
    with Simulator("kugelaudio", **options) as sim, dial(sim, path) as peer:  # type: ignore[arg-type]
        yield sim, peer


def context(id: str, text: str, voice: int = 1071, **fields: object) -> Event:
    top = {"model_id": "kugel-3.5", "output_format": "pcm_24000", "word_timestamps": True}
    settings = {"voice_settings": {"voice_id": voice}}
    return {"text": text, "context_id": id, **top, **settings, **fields}


def finish(id: str) -> list[Event]:
    return [{"flush": True, "context_id": id}, {"close_context": True, "context_id": id}]


def abort(id: str) -> Event:
    return {"close_context": True, "context_id": id, "immediate": True}


def of(events: list[Event], id: str) -> list[Event]:
    return [event for event in events if event.get("context_id") == id]


# The transcripts of the protocol page, the client's side of them as it stands there.


def test_a_simple_turn() -> None:
    """A chunk a sentence, each with its beginning and its end; then the turn's two ends."""
    with on(STREAM) as (sim, peer):
        peer.say({**CONFIG, "language": "en"}, {"text": "The lift "}, {"text": "is out of order. "})
        events = peer.until("audio")
        assert events[0] == {
            "generation_started": True, "chunk_id": 0, "text": "The lift is out of order.",
        }  # fmt: skip
        assert {"enc": "pcm_s16le", "idx": 0, "sr": 24000, "chunk_id": 0}.items() <= events[
            1
        ].items()
        peer.say({"text": "Please take the stairs."}, {"flush": True})
        events += peer.until("session_closed")
        assert text(events) == "The lift is out of order. Please take the stairs."
        chunk = ["generation_started", "audio", "chunk_complete"]
        assert kinds(events) == [*chunk, *chunk, "final", "session_closed"]
        assert events[-1]["total_text_chunks"] == 2
        usage = events[-1]["usage"]
        assert isinstance(usage, dict) and usage["characters"] == 49
        assert usage["audio_seconds"] == events[-1]["total_audio_seconds"] > 0
        assert records(sim, "violation") == []


def test_two_turns() -> None:
    """Settings stick; text, settings and flush may stand in one message."""
    with on(STREAM) as (sim, peer):
        peer.say({**CONFIG, "text": "First answer.", "flush": True})
        assert text(peer.until("session_closed")) == "First answer."
        peer.say({"voice_id": 1072, "text": "Second answer.", "flush": True})
        assert text(peer.until("session_closed")) == "Second answer."
        assert [record["voice"] for record in records(sim, "generation")] == ["1071", "1072"]
        assert records(sim, "violation") == []


def test_two_interleaved_contexts() -> None:
    """Each message names its context; its end comes once, after a `final`, with what it cost."""
    with on(MULTI) as (sim, peer):
        peer.say({"text": "", "voice_id": 1071, "model_id": "kugel-3.5"})
        peer.say(context("c-1", "First answer."), context("c-2", "Second answer.", 1072))
        peer.say(*finish("c-1"), *finish("c-2"))
        events = [*peer.until("context_closed"), *peer.until("context_closed")]
        for id, words in (("c-1", "First answer."), ("c-2", "Second answer.")):
            own = of(events, id)
            assert text(own) == words
            assert kinds(own) == [
                "context_created", "generation_started", "audio", "word_timestamps",
                "chunk_complete", "final", "context_closed",
            ]  # fmt: skip
            usage = own[-1]["usage"]
            assert isinstance(usage, dict) and usage["characters"] == len(words)
        assert records(sim, "violation") == []


def test_a_voice_that_is_not_there() -> None:
    """The error names the context; the others go on."""
    with on(MULTI, rtf=0.01) as (_, peer):
        peer.say(context("c-8", LONG))
        peer.until("audio")
        peer.say({"text": "Hi.", "context_id": "c-9", "voice_settings": {"voice_id": 99999999}})
        assert peer.until("error")[-1] == {
            "error": "Voice not found", "error_code": "NOT_FOUND", "code": 404,
            "context_id": "c-9", "request_id": "9f2c",
        }  # fmt: skip
        peer.until("audio", context_id="c-8")


def test_an_error_of_the_connection() -> None:
    """Without an id; then the socket is closed."""
    options = {"error_code": "INSUFFICIENT_CREDITS", "error_id": False, "error_close": 4003}
    with on(MULTI, faults=["error=No credits"], **options) as (_, peer):
        peer.say(context("c-1", "Hello."))
        error = peer.until("error")[-1]
        assert (error["code"], "context_id" in error) == (402, False)
        with pytest.raises(ConnectionClosed) as caught:
            peer.hear()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 4003


def test_an_interrupted_turn() -> None:
    """Late audio, then the acknowledgement in place of both ends; then the voice is named again."""
    with on(STREAM, late_audio=2) as (sim, peer):
        peer.say({**CONFIG, "text": LONG, "flush": True})
        peer.until("audio")
        peer.say({"cancel": True})
        late = peer.until("interrupted")
        assert not {"final", "session_closed"} & set(kinds(late))
        assert len([r for r in records(sim, "send") if r.get("after_interrupt")]) == 2
        peer.say({"text": "Of course.", "flush": True})
        assert peer.hear()["error_code"] == "MISSING_VOICE_ID"
        peer.say({**CONFIG, "text": "Of course.", "flush": True})
        events = peer.until("session_closed")
        assert text([event for event in events if "audio" in event]) == "Of course."


def test_an_interrupted_context() -> None:
    """Late audio has its id; closed is the end, without a `final`; the next one is unaffected."""
    with on(MULTI, late_audio=3, rtf=0.01) as (sim, peer):
        peer.say(context("c-3", LONG))
        peer.until("audio")
        peer.say(abort("c-3"), context("c-4", "Of course.", flush=True))
        events = peer.until("final", context_id="c-4")
        closed = of(events, "c-3")
        assert kinds(closed)[-1] == "context_closed" and "final" not in kinds(closed)
        assert text(of(events, "c-4")) == "Of course."
        assert len([r for r in records(sim, "send") if r.get("after_interrupt")]) == 3


# Turns.


def test_a_turn_that_nothing_comes_for() -> None:
    """A warning, the rest, both ends; what comes later is another turn."""
    with on(STREAM, turn_idle=0.1) as (sim, peer):
        peer.say({**CONFIG, "text": "First part"})
        events = peer.until("session_closed")
        assert kinds(events)[0] == "warning" and "inactivity" in str(events[0]["warning"])
        assert text(events[1:]) == "First part"
        peer.say({"text": "second part", "flush": True})
        assert text(peer.until("session_closed")) == "second part"
        assert records(sim, "violation") == []


def test_pings_are_no_text() -> None:
    """They do not keep a turn open."""
    with on(STREAM, turn_idle=0.2) as (sim, peer):
        peer.say({**CONFIG, "text": "Alone"})
        assert peer.ws.ping().wait(TIMEOUT)
        peer.until("warning")
        assert records(sim, "ping")


class Gate(ToneEngine):
    """It speaks when it is told to: so that what comes before that is for a test to say."""

    streams_words = False

    def __init__(self) -> None:
        self.open = threading.Event()

    def speak(self, text: str, **how: Any) -> Utterance:
        assert self.open.wait(TIMEOUT)
        return super().speak(text, **how)


@pytest.mark.parametrize("crossing", ["next", "lost"])
def test_text_that_crosses_the_end_of_a_turn(crossing: str) -> None:
    """It begins another one, or is lost; nobody did anything wrong."""
    engine = Gate()
    with on(STREAM, turn_idle=0.1, crossing=crossing, engine=engine) as (sim, peer):
        peer.say({**CONFIG, "text": "First"})
        peer.until("warning")
        peer.say({"text": "second", "flush": True})
        happened(sim, "recv", frame={"text": "second", "flush": True})
        engine.open.set()
        assert text(peer.until("session_closed")) == "First"
        if crossing == "next":
            assert text(peer.until("session_closed")) == "second"
        else:
            peer.say({"text": "third", "flush": True})
            assert text(peer.until("session_closed")) == "third"
        assert records(sim, "violation") == []


def test_a_close_behind_a_flush_ends_a_second_turn() -> None:
    """An empty one, whose end may be taken for that of the next."""
    with on(STREAM) as (sim, peer):
        peer.say({**CONFIG, "text": "Hello.", "flush": True}, {"close": True})
        peer.until("session_closed")
        assert peer.hear() == {
            "session_closed": True, "total_audio_seconds": 0.0, "total_text_chunks": 0,
            "total_audio_chunks": 0,
        }  # fmt: skip
        assert len(records(sim, "violation")) == 2


def test_text_behind_a_flush_is_a_violation() -> None:
    """It waits for the next turn."""
    with on(STREAM) as (sim, peer):
        peer.say({**CONFIG, "text": "One.", "flush": True}, {"text": "Two.", "flush": True})
        assert text(peer.until("session_closed")) == "One."
        assert text(peer.until("session_closed")) == "Two."
        assert "before session_closed" in str(happened(sim, "violation")["message"])


@pytest.mark.parametrize("word", ["close", "end_session"])
def test_a_graceful_close_of_a_turn(word: str) -> None:
    """As a flush; the socket stays open."""
    with on(STREAM) as (_, peer):
        peer.say({**CONFIG, "text": "Hello."}, {word: True})
        assert text(peer.until("session_closed")) == "Hello."
        peer.say({"cancel": True})
        assert peer.hear() == {"interrupted": True}


def test_a_turn_that_ends_before_its_cancel_is_answered() -> None:
    """Both ends, then the acknowledgement."""
    with on(STREAM, cancel_ends=True) as (_, peer):
        peer.say({**CONFIG, "text": LONG, "flush": True})
        peer.until("audio")
        peer.say({"cancel": True})
        assert kinds(peer.until("interrupted"))[-3:] == ["final", "session_closed", "interrupted"]


@pytest.mark.parametrize("path", [STREAM, ONESHOT])
def test_faults_of_cancelling(path: str) -> None:
    """Not acknowledged, late, or in vain."""
    for fault in ("no-ack", "late-ack=100", "late-ack=end", "speak-on"):
        with on(path, faults=[fault], ttfa_ms=20) as (_, peer):
            peer.say({**CONFIG, "text": "One two three.", "flush": True}, {"cancel": True})
            end = "final" if fault == "no-ack" else "interrupted"
            found = kinds(peer.until(end))
            assert ("interrupted" in found) is (fault != "no-ack")
            assert "final" in found or fault not in ("no-ack", "late-ack=end")
            if fault == "speak-on":
                peer.until("audio")


def test_older_servers() -> None:
    """No `final` on a turn, no `enc`, no usage, no request id; a cost that nobody knows."""
    old = {"finals": False, "enc": False, "usage": False, "request_ids": False}
    with on(STREAM, **old) as (_, peer):
        peer.say({**CONFIG, "text": "Hello.", "flush": True})
        events = peer.until("session_closed")
        assert "final" not in kinds(events) and "usage" not in events[-1]
        assert not any("enc" in event for event in events)
        peer.say({"speed": 9})
        assert "request_id" not in peer.hear()
    with on(STREAM, cost=False) as (_, peer):
        peer.say({**CONFIG, "text": "Hello.", "flush": True})
        usage = peer.until("session_closed")[-1]["usage"]
        assert isinstance(usage, dict)
        assert usage["cost_cents"] is None and usage["cost_unavailable"] is True


def test_words_wait_for_the_end_of_their_sentence() -> None:
    """Or for a while, whole words only."""
    with on(STREAM, flush_timeout_ms=50) as (_, peer):
        peer.say({**CONFIG, "text": "one two thr"})
        assert peer.until("generation_started")[-1]["text"] == "one two"
        peer.say({"text": "ee.", "flush": True})
        assert text(peer.until("session_closed")) == "one two three."


# Contexts.


def test_the_21st_context() -> None:
    """Those that are being closed count; the socket lives on."""
    with on(MULTI, max_contexts=2, ttfa_ms=200) as (_, peer):
        peer.say(context("a", "One."), *finish("a"), context("b", "Two."), context("c", "Three."))
        error = peer.until("error")[-1]
        assert (error["error_code"], error["context_id"]) == ("TOO_MANY_CONTEXTS", "c")
        peer.until("context_closed", context_id="a")
        peer.say(context("d", "Four."), *finish("d"))
        assert text(of(peer.until("context_closed", context_id="d"), "d")) == "Four."


@pytest.mark.parametrize("notice", ["closed", "timeout"])
def test_a_context_that_nothing_comes_for(notice: str) -> None:
    """It ends; an empty text keeps it open."""
    with on(MULTI, context_idle=0.3, context_notice=notice) as (_, peer):
        peer.say(context("a", "One. "))
        peer.until("chunk_complete")
        for _ in range(3):
            peer.say({"text": "", "context_id": "a"})
            assert peer.ws.ping().wait(TIMEOUT)
        assert kinds(peer.until(f"context_{notice}"))[-1] == f"context_{notice}"


def test_flushes_of_a_context() -> None:
    """A `final` each, and the context stays open; at its end there may be one more."""
    for again in (False, True):
        with on(MULTI, final_again=again) as (_, peer):
            for words in ("One", "two"):
                peer.say(context("a", words, flush=True))
                events = peer.until("final")
                assert text([event for event in events if "audio" in event]) == words
            peer.say({"close_context": True, "context_id": "a"})
            assert kinds(peer.until("context_closed")) == (
                ["final", "context_closed"] if again else ["context_closed"]
            )


def test_a_context_without_sound() -> None:
    """A blank creates it; nothing is billed."""
    with on(MULTI) as (_, peer):
        peer.say(context("a", " "), *finish("a"))
        events = peer.until("context_closed")
        assert kinds(events) == ["context_created", "final", "context_closed"]
        assert "usage" not in events[-1]


def test_a_cancel_without_an_id_is_everybodys() -> None:
    """Of those that take text; one that is being closed goes on."""
    with on(MULTI, ttfa_ms=100) as (_, peer):
        peer.say(context("a", "One."), context("b", "Two."), context("c", "Three."), *finish("c"))
        peer.say({"cancel": True})
        events = peer.until("context_closed", context_id="c")
        assert text(of(events, "c")) == "Three."
        assert kinds(of(events, "a"))[-1] == kinds(of(events, "b"))[-1] == "context_closed"
        assert {"interrupted": True} in events


def test_a_cancel_with_an_id() -> None:
    """Says so, and closes the context."""
    with on(MULTI, ttfa_ms=100) as (_, peer):
        peer.say(context("a", "One."), {"cancel": True, "context_id": "a"})
        assert kinds(peer.until("context_closed"))[-2:] == ["interrupted", "context_closed"]


def test_settings_in_the_wrong_place() -> None:
    """Are ignored, with a line in the log."""
    with on(MULTI) as (sim, peer):
        nested = {"voice_settings": {"voice_id": 1, "speed": 9}}
        peer.say({"text": "Hi.", "context_id": "a", "cfg_scale": 2.0, **nested})
        peer.until("context_created")
        messages = [str(record["message"]) for record in records(sim, "violation")]
        assert len(messages) == 2 and all("belong" in message for message in messages)
        peer.say({"text": "Hi.", "context_id": "b", "voice_id": 1071})
        assert peer.until("error")[-1]["error_code"] == "MISSING_VOICE_ID"


def test_the_end_of_a_session() -> None:
    """Everything ends, and the socket is closed."""
    with on(MULTI) as (_, peer):
        peer.say(context("a", "One.", flush=True))
        peer.until("final")
        peer.say({"close_socket": True})
        assert peer.until("session_closed")[-1]["total_audio_seconds"] == pytest.approx(
            0.4, abs=0.3
        )
        with pytest.raises(ConnectionClosed):
            peer.hear()


def test_frames_for_a_context_that_is_gone() -> None:
    """May have crossed its end; text is answered, and an unknown context is an error."""
    with on(MULTI) as (sim, peer):
        peer.say(context("a", "One."), *finish("a"))
        peer.until("context_closed")
        peer.say({"flush": True, "context_id": "a"}, {"text": "more", "context_id": "a"})
        assert peer.hear()["error_code"] == "VALIDATION_ERROR"
        assert records(sim, "violation") == []
        peer.say({"flush": True, "context_id": "b"})
        assert peer.hear()["error_code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "frames",
    [
        [{"close_context": True, "context_id": "a"}],
        [{"text": "more", "context_id": "a"}],
        [{"flush": True, "context_id": "a"}],
    ],
)
def test_what_comes_behind_a_close_is_a_violation(frames: list[Event]) -> None:
    """And costs the context."""
    with on(MULTI, ttfa_ms=200) as (sim, peer):
        peer.say(context("a", "One."), *finish("a"), *frames)
        assert peer.until("error")[-1]["context_id"] == "a"
        assert len(records(sim, "violation")) == 1


# Requests.


def test_requests() -> None:
    """One after the other; `final` ends each and counts native samples."""
    with on(ONESHOT) as (sim, peer):
        request = {**CONFIG, "text": "The lift is out of order.", "word_timestamps": True}
        for rate in (24000, 8000):
            peer.say({**request, "output_format": f"pcm_{rate}"})
            events = peer.until("final")
            assert text([e for e in events if "audio" in e], rate) == request["text"]
            assert "word_timestamps" in kinds(events)
            final = events[-1]
            assert final["total_samples"] == round(float(str(final["dur_ms"])) * 24)
            assert isinstance(final["usage"], dict)
        assert records(sim, "violation") == []
        peer.say(request, request)
        peer.until("final")
        peer.until("final")
        assert len(records(sim, "violation")) == 1


def test_word_times_count_from_their_chunk() -> None:
    """In milliseconds, with places in the chunk's text."""
    with on(STREAM) as (_, peer):
        peer.say({**CONFIG, "word_timestamps": True, "text": "One two. Three four.", "flush": True})
        events = [e for e in peer.until("session_closed") if "word_timestamps" in e]
        assert [event["chunk_id"] for event in events] == [0, 1]
        for event, words in zip(events, (("One", "two."), ("Three", "four.")), strict=True):
            found = event["word_timestamps"]
            assert isinstance(found, list)
            assert [word["word"] for word in found] == list(words)
            assert found[0]["start_ms"] == 0 and (found[0]["char_start"], found[1]["char_end"]) == (
                0,
                len(" ".join(words)),
            )


# What is refused.


@pytest.mark.parametrize("path", [STREAM, ONESHOT, MULTI])
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"voice_id": None}, "MISSING_VOICE_ID"),
        ({"voice_id": "nope"}, "NOT_FOUND"),
        ({"voice_id": 1.5}, "VALIDATION_ERROR"),
        ({"speed": 1.3}, "VALIDATION_ERROR"),
        ({"temperature": 2}, "VALIDATION_ERROR"),
        ({"max_new_tokens": 4096}, "VALIDATION_ERROR"),
        ({"language": "de-DE"}, "VALIDATION_ERROR"),
        ({"output_format": "mp3"}, "VALIDATION_ERROR"),
        ({"sample_rate": 11025}, "VALIDATION_ERROR"),
        ({"sample_rate": 8000}, "VALIDATION_ERROR"),
        ({"dictionary_ids": [1]}, "VALIDATION_ERROR"),
        ({"dictionary_ids": ["x"], "project_id": 1}, "VALIDATION_ERROR"),
        ({"normalize": 1}, "VALIDATION_ERROR"),
        ({"text": "x" * 10_001}, "VALIDATION_ERROR"),
        ({"text": 3}, "VALIDATION_ERROR"),
    ],
)
def test_what_is_refused(path: str, fields: Event, name: str) -> None:
    """On each socket, in the same words; and the socket lives on."""
    with on(path) as (_, peer):
        whole: Event = {**CONFIG, "text": "Hello.", **fields}
        if path == MULTI:
            nested = {n: whole.pop(n) for n in ("voice_id", "max_new_tokens") if n in whole}
            whole |= {"context_id": "a", "voice_settings": nested}
        peer.say(whole)
        assert peer.until("error")[-1]["error_code"] == name
        if path == MULTI:
            peer.say(context("b", "Fine."), *finish("b"))
            assert text(of(peer.until("context_closed", context_id="b"), "b")) == "Fine."


@pytest.mark.parametrize("path", [STREAM, ONESHOT, MULTI])
def test_updates(path: str) -> None:
    """Some settings; a wrong one costs nothing but an error."""
    with on(path) as (_, peer):
        peer.say({"update_settings": {"speed": 1.1, "language": "en"}})
        settings = peer.hear()["settings"]
        assert isinstance(settings, dict)
        assert (settings["speed"], settings["language"], settings["cfg_scale"]) == (1.1, "en", None)
        for wrong in ({"voice_id": 3}, {"output_format": "pcm_8000"}, {"speed": 9}, []):
            peer.say({"update_settings": wrong})
            assert peer.hear()["error_code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("frame", ["not json", "[]", b"binary"])
@pytest.mark.parametrize("path", [STREAM, ONESHOT, MULTI])
def test_messages_that_are_none(path: str, frame: object) -> None:
    """Are told so, and harm nothing."""
    with on(path) as (sim, peer):
        peer.say(frame)
        assert peer.hear()["error_code"] == "VALIDATION_ERROR"
        assert len(records(sim, "violation")) == 1


def test_unknown_fields_are_ignored() -> None:
    """With a line in the log, as there."""
    with on(STREAM) as (sim, peer):
        peer.say({**CONFIG, "auto_mode": True, "text": "Hello.", "flush": True})
        assert text(peer.until("session_closed")) == "Hello."
        assert "auto_mode" in str(happened(sim, "violation")["message"])


# Who may come.


def status(sim: Simulator, path: str, headers: dict[str, str]) -> tuple[int, Event, dict[str, str]]:
    with pytest.raises(InvalidStatus) as caught, dial(sim, path, headers):
        pass
    response = caught.value.response
    assert response.body is not None
    return response.status_code, json.loads(response.body), dict(response.headers.raw_items())


@pytest.mark.parametrize("path", [STREAM, ONESHOT, MULTI])
def test_keys(path: str) -> None:
    """In either header or in the query; a wrong one is a 403, or a 401, or close 4001."""
    with Simulator("kugelaudio", key="right") as sim:
        for headers in ({"X-API-Key": "right"}, {"Authorization": "Bearer right"}):
            with dial(sim, path, headers):
                pass
        with dial(sim, f"{path}?api_key=right", {}):
            pass
        code, body, _ = status(sim, path, {"X-API-Key": "wrong"})
        assert (code, body["error_code"], body["code"]) == (403, "UNAUTHORIZED", 403)
    with Simulator("kugelaudio", require_key=True, key_status=401) as sim:
        assert status(sim, path, {})[0] == 401
    with (
        Simulator("kugelaudio", key="right", key_checked="open") as sim,
        dial(sim, path, {"X-API-Key": "wrong"}) as peer,
        pytest.raises(ConnectionClosed) as caught,
    ):
        peer.hear()
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 4001


def test_too_many_connections() -> None:
    """429, with the time to wait if asked for."""
    with Simulator("kugelaudio", max_sessions=0, retry_after=7) as sim:
        code, body, headers = status(sim, MULTI, {})
        assert (code, body["error_code"], headers["Retry-After"]) == (429, "RATE_LIMITED", "7")
    with Simulator("kugelaudio", max_sessions=0) as sim:
        assert "Retry-After" not in status(sim, MULTI, {})[2]


def test_a_server_that_drains() -> None:
    """Accepts and closes with 1013; the next connection is served."""
    with Simulator("kugelaudio", drains=1) as sim:
        with dial(sim) as peer, pytest.raises(ConnectionClosed) as caught:
            peer.hear()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1013
        with dial(sim) as peer:
            peer.say(context("a", "Hi."))
            peer.until("audio")


def test_paths() -> None:
    """Nothing else is there."""
    with Simulator("kugelaudio") as sim:
        assert status(sim, "/ws/other", {})[0] == 404
        assert b" 426 " in http(sim, f"GET {STREAM} HTTP/1.1\nHost: x\nConnection: close\n\n")


# Over HTTP.


def post(sim: Simulator, body: object, *headers: str, method: str = "POST") -> bytes:
    data = body if isinstance(body, str) else json.dumps(body)
    head = [f"{method} /v1/tts/generate HTTP/1.1", "Host: x", "Connection: close", *headers]
    return http(sim, "\n".join([*head, f"Content-Length: {len(data)}", "", data]))


def test_a_request_over_http() -> None:
    """Bare audio, streamed, with its rate in a header."""
    with Simulator("kugelaudio") as sim:
        body = {"text": "The lift is out of order.", **CONFIG}
        head, _, chunks = post(sim, body).partition(b"\r\n\r\n")
        assert b" 200 " in head and b"audio/pcm" in head and b"X-Sample-Rate: 24000" in head
        audio = b""
        while chunks:
            size, _, chunks = chunks.partition(b"\r\n")
            audio, chunks = audio + chunks[: int(size, 16)], chunks[int(size, 16) + 2 :]
        assert decode_text(audio, 24000) == body["text"]
        assert b"audio/basic" in post(sim, {**body, "output_format": "ulaw_8000"})


@pytest.mark.parametrize(
    ("body", "code", "name"),
    [
        ("[]", 400, "VALIDATION_ERROR"),
        ({"text": "Hi."}, 400, "MISSING_VOICE_ID"),
        ({"text": "Hi.", "voice_id": 99999999}, 404, "NOT_FOUND"),
        ({"text": "Hi.", "voice_id": 1, "word_timestamps": True}, 400, "VALIDATION_ERROR"),
        ({"text": "Hi.", "voice_id": 1, "auto_mode": True}, 400, "VALIDATION_ERROR"),
        ({"voice_id": 1}, 400, "VALIDATION_ERROR"),
    ],
)
def test_what_is_refused_over_http(body: object, code: int, name: str) -> None:
    """Unknown fields too, other than on the sockets."""
    with Simulator("kugelaudio") as sim:
        answer = post(sim, body)
        assert f" {code} ".encode() in answer and name.encode() in answer


def test_faults_over_http() -> None:
    """A wrong key, another method, an error before the audio and one in the middle of it."""
    body = {"text": "One two three four.", **CONFIG}
    with Simulator("kugelaudio", key="right") as sim:
        assert b" 403 " in post(sim, body)
        assert b" 405 " in post(sim, body, method="PUT")
        assert b" 200 " in post(sim, body, "X-API-Key: right")
    with Simulator("kugelaudio", faults=["error=No luck@request:1", "error@chunk:2"]) as sim:
        answer = post(sim, body)
        assert b" 500 " in answer and b"INTERNAL_ERROR" in answer and b"No luck" in answer
        answer = post(sim, body)
        assert b" 200 " in answer and not answer.endswith(b"0\r\n\r\n")


def test_generations_have_their_own_tags() -> None:
    """Whatever the socket: so that a byte of another one can be told."""
    with on(MULTI) as (_, peer):
        peer.say(context("a", "One."), context("b", "Two."), *finish("a"), *finish("b"))
        events = [*peer.until("context_closed"), *peer.until("context_closed")]
        for number, id in enumerate("ab", 1):
            assert {word.tag for word in heard(of(events, id))} == {number}
