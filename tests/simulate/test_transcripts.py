"""
Every transcript of the protocol pages, played to the simulators and compared frame by frame.

The client's side stands here as it stands on the page; what a page leaves out with an ellipsis is
written out, and a conversation that a page breaks off is led to its end. That the adapters send and
understand the same frames is for `tests/adapters`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.simulate import peer as peers
from tests.simulate.peer import ELEVENLABS, GRADIUM, KUGELAUDIO, XAI, Event, Peer, dial, records
from tests.simulate.transcript import (
    C,
    Close,
    Frame,
    Page,
    S,
    Script,
    count,
    having,
    late,
    matching,
    name,
    play,
    remark,
    seconds,
    some,
    sound,
    spoken,
    without_gaps,
    word,
)
from ttsmux.simulate import Simulator


@contextmanager
def talking(
    provider: str, path: str | None = None, headers: dict[str, str] | None = None, **options: object
) -> Iterator[tuple[Simulator, Peer]]:
    with (
        Simulator(provider, **options) as sim,  # type: ignore[arg-type]
        dial(sim, path, headers) as peer,
    ):
        yield sim, peer


def field(key: str) -> Callable[[Frame], object]:
    def stream(frame: Frame) -> object:
        return None if isinstance(frame, bytes) else frame.get(key)

    return stream


def nothing(frame: Frame) -> object:
    """There is one generation at a time."""
    return None


# --- Gradium -------------------------------------------------------------------------------------

GRADIUM_PAGE = Page(
    stream=field("client_req_id"),
    rules={
        "request_id": name,
        "model_ext": name,
        "residency": remark,
        "audio": sound,
        "text": word,
        "start_s": seconds,
        "stop_s": seconds,
    },
    more={  # sections 3.1 to 3.3
        "ready": {
            "model_ext": "gradium-tts-202609",
            "audio_stream_names": ["tts"],
            "text_stream_names": ["words"],
            "residency": "best-effort; zone=eu",
        },
        "audio": {"stream_id": 0},
        "text": {"stream_id": 0},
    },
)
VOICE, OTHER_VOICE = "YTpq7expH9539ERJ", "LFZvm12tW_z0xfGo"
READY: Event = {
    "type": "ready", "request_id": "rq_11", "model_name": "default",
    "sample_rate": 48000, "frame_size": 3840,
}  # fmt: skip
AUDIO: Event = {"type": "audio", "audio": "AAAA", "start_s": 0.0, "stop_s": 0.08}
WORD: Event = {"type": "text", "text": "Good", "start_s": 0.0, "stop_s": 0.2}


def setup(id: str, voice: str = VOICE) -> Event:
    tag = {"client_req_id": id}
    rest = {"voice_id": voice, "output_format": "pcm_24000", "close_ws_on_eos": False}
    return {"type": "setup", **tag, **rest}


def text(id: str, words: str) -> Event:
    return {"type": "text", "client_req_id": id, "text": words}


def end(id: str) -> Event:
    return {"type": "end_of_stream", "client_req_id": id}


def of(id: str, *frames: Event) -> list[Event]:
    return [{**frame, "client_req_id": id} for frame in frames]


def check_gradium(frames: list[Frame], words: str) -> None:
    """The words and their sound are what was asked for, and the clock runs from zero."""
    assert without_gaps(having(frames, "audio"), "start_s", "stop_s")
    assert spoken(frames) == words
    said = [str(event["text"]) for event in having(frames, "text")]
    assert " ".join(said) == words


def test_gradium_one_generation_on_a_socket_of_its_own() -> None:
    """9 (a)."""
    script: Script = [
        C({"type": "setup", "voice_id": VOICE, "output_format": "pcm_24000"}),
        C({"type": "text", "text": "Good evening,"}),
        S(READY),
        C({"type": "text", "text": "welcome back."}),
        C({"type": "end_of_stream"}),
        some(WORD, AUDIO),
        S({"type": "end_of_stream"}),
        Close(1000),
    ]
    with talking("gradium", GRADIUM) as (sim, peer):
        check_gradium(play(peer, GRADIUM_PAGE, script)[None], "Good evening, welcome back.")
        assert records(sim, "violation") == []


def test_gradium_two_interleaved_generations() -> None:
    """9 (b)."""
    script: Script = [
        C(setup("a1")),
        C(text("a1", "First answer.")),
        C(setup("b2", OTHER_VOICE)),
        S(*of("a1", READY)),
        C(text("b2", "Second answer.")),
        C(end("a1")),
        some(*of("a1", AUDIO, WORD)),
        S(*of("b2", READY)),
        C(end("b2")),
        some(*of("b2", AUDIO, WORD)),
        S(end("a1")),
        S(end("b2")),
        C({"type": "end_of_stream"}),
        Close(1000),
    ]
    with talking("gradium", GRADIUM) as (sim, peer):
        heard = play(peer, GRADIUM_PAGE, script)
        check_gradium(heard["a1"], "First answer.")
        check_gradium(heard["b2"], "Second answer.")
        assert records(sim, "violation") == []


def test_gradium_an_unknown_voice_beside_a_generation_that_speaks() -> None:
    """9 (c), first."""
    error = {"type": "error", "message": "Embeddings not found for nope", "code": 1011}
    script: Script = [
        C(setup("d4"), text("d4", "This goes on.")),
        S(*of("d4", READY)),
        some(*of("d4", AUDIO, WORD)),
        C(setup("c3", "nope")),
        S(*of("c3", error)),
        C(end("d4")),
        some(*of("d4", AUDIO, WORD)),
        S(end("d4")),
        Close(1011),
    ]
    with talking("gradium", GRADIUM) as (_, peer):
        check_gradium(play(peer, GRADIUM_PAGE, script)["d4"], "This goes on.")


def test_gradium_a_bad_key() -> None:
    """9 (c), second."""
    script: Script = [
        C({"type": "setup", "client_req_id": "e5", "voice_id": VOICE, "close_ws_on_eos": False}),
        S({"type": "error", "message": "API key is revoked or expired", "code": 1008}),
        Close(1008),
    ]
    with talking("gradium", GRADIUM, key="another", key_checked="setup") as (_, peer):
        play(peer, GRADIUM_PAGE, script)


def test_gradium_an_interruption() -> None:
    """9 (d), up to the second one's end."""
    script: Script = [
        C(setup("f6")),
        C(text("f6", "It is a long story that begins in")),
        S(*of("f6", READY)),
        some(*of("f6", AUDIO, WORD)),
        C(end("f6")),
        C(setup("g7")),
        C(text("g7", "Of course.")),
        some(*of("f6", AUDIO, WORD)),
        S(*of("g7", READY)),
        some(*of("g7", AUDIO, WORD)),
        S(end("f6")),
        C(end("g7")),
        some(*of("g7", AUDIO, WORD)),
        S(end("g7")),
    ]
    with talking("gradium", GRADIUM) as (sim, peer):
        heard = play(peer, GRADIUM_PAGE, script)
        check_gradium(heard["f6"], "It is a long story that begins in")
        check_gradium(heard["g7"], "Of course.")
        assert records(sim, "violation") == []


def test_gradium_a_flush() -> None:
    """The literal frames: text, flush, text, end."""
    script: Script = [
        C(setup("i"), text("i", "Hello there.")),
        S(*of("i", READY)),
        some(*of("i", AUDIO, WORD)),
        C(text("i", "<flush>")),
        some(*of("i", AUDIO, WORD)),
        C(text("i", "Bye."), end("i")),
        some(*of("i", AUDIO, WORD)),
        S(end("i")),
    ]
    with talking("gradium", GRADIUM) as (sim, peer):
        check_gradium(play(peer, GRADIUM_PAGE, script)["i"], "Hello there. Bye.")
        assert records(sim, "violation") == []


# --- xAI -----------------------------------------------------------------------------------------

XAI_PAGE = Page(stream=nothing, rules={"delta": sound, "trace_id": name})
TEXT_DONE: Event = {"type": "text.done"}
CLEAR: Event = {"type": "text.clear"}
CLEARED: Event = {"type": "audio.clear"}
SOUND: Event = {"type": "audio.delta", "delta": "AAAAAQAC"}
DONE: Event = {"type": "audio.done", "trace_id": "6d1e"}


def delta(words: str) -> Event:
    return {"type": "text.delta", "delta": words}


def test_xai_one_generation() -> None:
    """9 (a)."""
    script: Script = [
        C(delta("Good morning. ")),
        C(delta("How can I help?")),
        some(SOUND),
        C(TEXT_DONE),
        some(SOUND),
        S(DONE),
    ]
    with talking("xai", XAI) as (sim, peer):
        frames = play(peer, XAI_PAGE, script)[None]
        assert spoken(frames, "delta") == "Good morning. How can I help?"
        assert records(sim, "violation") == []


def test_xai_two_generations_on_one_connection() -> None:
    """9 (b)."""
    with talking("xai", XAI) as (sim, peer):
        traces = set()
        for words in ("First answer.", "Second answer."):
            script: Script = [C(delta(words)), C(TEXT_DONE), some(SOUND), S(DONE)]
            frames = play(peer, XAI_PAGE, script)[None]
            assert spoken(frames, "delta") == words
            traces |= {event["trace_id"] for event in having(frames, "trace_id")}
        assert len(traces) == 2
        assert records(sim, "violation") == []


def test_xai_refused_at_the_handshake() -> None:
    """9 (c), first."""
    with (
        pytest.raises(InvalidStatus) as caught,
        talking("xai", "/v1/tts?language=en&voice=nobody&codec=pcm"),
    ):
        pass
    assert caught.value.response.status_code == 404


def test_xai_a_bad_map() -> None:
    """9 (c), second."""
    message = 'replace key "C++" may not contain punctuation or symbols'
    script: Script = [
        C({"type": "session.update", "replace": {"C++": "see plus plus"}}),
        S({"type": "error", "message": message}),
        C(delta("Still usable."), TEXT_DONE),
        some(SOUND),
        S(DONE),
    ]
    with talking("xai", XAI) as (_, peer):
        assert spoken(play(peer, XAI_PAGE, script)[None], "delta") == "Still usable."


def test_xai_an_aged_connection() -> None:
    """9 (c), third: nothing but the error comes."""
    age = r"TTS pipeline timed out after \d+s \(trace_id=\S+\) \(Deadline expired .*\)"
    page = Page(stream=nothing, rules={**XAI_PAGE.rules, "message": matching(age)})
    message = "TTS pipeline timed out after 2101s (trace_id=6d1e) (Deadline expired before x)"
    script: Script = [
        C(delta("Hello again."), TEXT_DONE),
        S({"type": "error", "message": message}),
    ]
    with talking("xai", XAI, max_age=0.0) as (_, peer):
        play(peer, page, script)


def test_xai_an_interruption() -> None:
    """9 (d)."""
    script: Script = [
        C(delta("A very long explanation " * 400), TEXT_DONE),
        some(SOUND),
        C(CLEAR),
        late(SOUND),
        S(CLEARED),
        C(delta("Sure, let me stop."), TEXT_DONE),
        some(SOUND),
        S(DONE),
    ]
    with talking("xai", XAI) as (sim, peer):
        frames = play(peer, XAI_PAGE, script)[None]
        assert spoken(frames[frames.index(CLEARED) :], "delta") == "Sure, let me stop."
        assert records(sim, "violation") == []


def test_xai_a_cancel_that_crosses_the_end() -> None:
    """9 (d), first variant: the end of the old one, then the acknowledgement."""
    script: Script = [
        C(delta("Short."), TEXT_DONE, CLEAR),
        some(SOUND),
        S(DONE),
        S(CLEARED),
    ]
    with talking("xai", XAI, faults=["late-ack=end"]) as (_, peer):
        assert spoken(play(peer, XAI_PAGE, script)[None], "delta") == "Short."


def test_xai_a_cancel_that_is_not_acknowledged() -> None:
    """9 (d), second variant: it is spoken to its end as if nothing had been said."""
    script: Script = [C(delta("One two three."), TEXT_DONE, CLEAR), some(SOUND), S(DONE)]
    with talking("xai", XAI, faults=["no-ack"]) as (_, peer):
        assert spoken(play(peer, XAI_PAGE, script)[None], "delta") == "One two three."


# --- ElevenLabs ----------------------------------------------------------------------------------


def eleven_kind(event: Event) -> str:
    return "final" if event.get("isFinal") else "error" if "error" in event else "audio"


def eleven_stream(frame: Frame) -> object:
    assert not isinstance(frame, bytes)
    return frame.get("contextId") or frame.get("context_id")


def times(value: object) -> bool:
    """Milliseconds, none of them negative."""
    return isinstance(value, list) and all(isinstance(each, int) and each >= 0 for each in value)


def characters(value: object) -> bool:
    """One or more of the text each."""
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)


ELEVEN_PAGE = Page(
    stream=eleven_stream,
    rules={
        "audio": lambda value: value is None or sound(value),
        "chars": characters,
        "charStartTimesMs": times,
        "charDurationsMs": times,
        "message": matching("Maximum simultaneous contexts.*5.*|Have not received a new text .*"),
    },
    more={  # sections 3.1 and 3.2
        "audio": {"isFinal": None, "alignment": None, "normalizedAlignment": None},
        "final": {"audio": None},
    },
    kind=eleven_kind,
)
TIMED = ELEVENLABS + "&inactivity_timeout=180&sync_alignment=true"
SINGLE = TIMED.replace("multi-stream-input", "stream-input")
ALIGNMENT = {
    "chars": ["H", "i", "."], "charStartTimesMs": [0, 90, 170], "charDurationsMs": [90, 80, 120],
}  # fmt: skip
FIRST: Event = {"audio": "AAAB", "alignment": ALIGNMENT}
MORE: Event = {"audio": "AgAD"}
FINAL: Event = {"isFinal": True}


def init(id: str) -> Event:
    settings = {"stability": 0.5, "similarity_boost": 0.75}
    return {"text": " ", "context_id": id, "voice_settings": settings}


def piece(id: str, words: str, **fields: object) -> Event:
    return {"text": words, "context_id": id, **fields}


def flush(id: str) -> Event:
    return {"context_id": id, "flush": True}


def close(id: str) -> Event:
    return {"context_id": id, "close_context": True}


def within(id: str, *frames: Event) -> list[Event]:
    return [{**frame, "contextId": id} for frame in frames]


def check_eleven(frames: list[Frame], words: str) -> None:
    """The sound is what was asked for; each character that has a time has a length."""
    assert spoken(frames) == words
    told = [event["alignment"] for event in having(frames, "alignment")]
    chars = ""
    for alignment in told:
        assert isinstance(alignment, dict)
        assert len({len(values) for values in alignment.values()}) == 1
        starts = alignment["charStartTimesMs"]
        assert all(before <= after for before, after in pairwise(starts))
        chars += "".join(alignment["chars"])
    assert chars.split() == words.split()


def test_elevenlabs_one_generation() -> None:
    """9 (a), on the socket of many contexts."""
    script: Script = [
        C(init("g1")),
        C(piece("g1", "Hello there. ")),
        C(piece("g1", "How can I help? ")),
        C(flush("g1")),
        some(*within("g1", FIRST)),
        C(close("g1")),
        some(*within("g1", MORE)),
        S(*within("g1", {"audio": None, **FINAL})),
    ]
    with talking("elevenlabs", TIMED) as (sim, peer):
        frames = play(peer, ELEVEN_PAGE, script)["g1"]
        check_eleven(frames, "Hello there. How can I help?")
        assert records(sim, "violation") == []


def test_elevenlabs_one_generation_on_the_single_socket() -> None:
    """9 (a), without ids; the server closes."""
    opening = init("")
    del opening["context_id"]
    script: Script = [
        C(opening, {"text": "Hello there. "}, {"text": ""}),
        some(FIRST, MORE),
        S(FINAL),
        Close(1000),
    ]
    with talking("elevenlabs", SINGLE) as (sim, peer):
        check_eleven(play(peer, ELEVEN_PAGE, script)[None], "Hello there.")
        assert records(sim, "violation") == []


def test_elevenlabs_two_interleaved_generations() -> None:
    """9 (b)."""
    script: Script = [
        C(init("g1")),
        C(piece("g1", "Let me check that for you. ", flush=True)),
        C(init("g2")),
        C(piece("g2", "Meanwhile, here is a summary. ", flush=True)),
        some(*within("g1", FIRST)),
        C(close("g1")),
        some(*within("g2", FIRST)),
        C(close("g2")),
        some(*within("g1", MORE)),
        some(*within("g2", MORE)),
        S(*within("g2", FINAL)),
        S(*within("g1", FINAL)),
    ]
    with talking("elevenlabs", TIMED) as (sim, peer):
        heard = play(peer, ELEVEN_PAGE, script)
        check_eleven(heard["g1"], "Let me check that for you.")
        check_eleven(heard["g2"], "Meanwhile, here is a summary.")
        assert records(sim, "violation") == []


def test_elevenlabs_a_sixth_context() -> None:
    """9 (c), first: closing ones count, and all six are gone."""
    message = "Maximum simultaneous contexts per WebSocket connection exceeded (5)."
    script: Script = [
        *(
            C(init(f"g{n}"), piece(f"g{n}", "Hi. ", flush=True), close(f"g{n}"))
            for n in range(1, 6)
        ),
        C(init("g6")),
        S({"message": message, "error": "max_active_conversations", "code": 1008}),
        Close(1008),
    ]
    with talking("elevenlabs", TIMED, ttfa_ms=600_000) as (_, peer):
        play(peer, ELEVEN_PAGE, script)


def test_elevenlabs_a_quiet_socket() -> None:
    """9 (c), second."""
    message = "Have not received a new text input within the timeout of 1 seconds."
    script: Script = [
        S({"message": message, "error": "input_timeout_exceeded", "code": 1008}),
        Close(1008),
    ]
    with talking("elevenlabs", TIMED.replace("180", "1")) as (_, peer):
        play(peer, ELEVEN_PAGE, script)


def test_elevenlabs_a_close_that_came_too_early() -> None:
    """9 (c), third: an end without a sound."""
    script: Script = [
        C(init("g7"), piece("g7", "Lost. "), flush("g7"), close("g7")),
        S(*within("g7", FINAL)),
    ]
    with talking("elevenlabs", TIMED, race_ms=600_000, ttfa_ms=600_000) as (_, peer):
        play(peer, ELEVEN_PAGE, script)


def test_elevenlabs_http_that_is_busy() -> None:
    """9 (c), fourth, with one of the three codes that the page has for a 429."""
    with Simulator("elevenlabs", faults=["status=429"]) as sim:
        body = json.dumps({"text": "Hello there.", "model_id": "eleven_flash_v2_5"})
        head = (
            "POST /v1/text-to-speech/V1/stream?output_format=pcm_24000 HTTP/1.1\n"
            f"Host: x\nConnection: close\nContent-Length: {len(body)}\n\n"
        )
        status, _, answer = peers.http(sim, head + body).partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 429 ")
    detail = json.loads(answer)["detail"]
    assert detail["type"] == "rate_limit_error"
    assert detail["code"] in ("rate_limit_exceeded", "concurrent_limit_exceeded", "system_busy")


def test_elevenlabs_an_interruption() -> None:
    """9 (d)."""
    story = "A long story " * 30
    script: Script = [
        C(init("g1"), piece("g1", story, flush=True)),
        some(*within("g1", FIRST)),
        C(close("g1")),
        C(init("g2")),
        C(piece("g2", "Of course. ", flush=True)),
        # Its words are told as they are made, so more than once in so long a segment.
        some(*within("g1", MORE), maybe=tuple(within("g1", FIRST))),
        some(*within("g2", FIRST)),
        C(close("g2")),
        some(*within("g2", MORE)),
        S(*within("g1", FINAL)),
        S(*within("g2", FINAL)),
    ]
    with talking("elevenlabs", TIMED) as (sim, peer):
        heard = play(peer, ELEVEN_PAGE, script)
        check_eleven(heard["g1"], story.strip())
        check_eleven(heard["g2"], "Of course.")
        assert records(sim, "violation") == []


def test_elevenlabs_a_flush() -> None:
    """The literal frames: text, flush, text, end, close; each segment has its times."""
    script: Script = [
        C({"text": " ", "context_id": "i"}),
        C(piece("i", "Hello there. "), flush("i")),
        some(*within("i", FIRST, MORE)),
        C(piece("i", "Bye. "), flush("i"), close("i")),
        some(*within("i", FIRST, MORE)),
        S(*within("i", FINAL)),
    ]
    with talking("elevenlabs", TIMED) as (sim, peer):
        check_eleven(play(peer, ELEVEN_PAGE, script)["i"], "Hello there. Bye.")
        assert records(sim, "violation") == []


# --- KugelAudio ----------------------------------------------------------------------------------

KUGEL_PAGE = Page(
    stream=field("context_id"),
    rules={
        "audio": sound,
        "idx": count,
        "samples": count,
        "audio_seconds": seconds,
        "total_audio_seconds": seconds,
        "total_audio_chunks": count,
        "gen_ms": count,
        "cost_cents": seconds,
        "request_id": name,
        "word": word,
        "start_ms": count,
        "end_ms": count,
        "char_start": count,
        "char_end": count,
        "score": seconds,
    },
)
STREAM = "/ws/tts/stream"
KUGEL_AUDIO: Event = {
    "audio": "AAAB", "enc": "pcm_s16le", "idx": 0, "sr": 24000, "samples": 4800, "chunk_id": 0,
}  # fmt: skip
STAMPS: Event = {
    "word_timestamps": [
        {
            "word": "First", "start_ms": 0, "end_ms": 310,
            "char_start": 0, "char_end": 5, "score": 1.0,
        }
    ],
    "chunk_id": 0,
}  # fmt: skip
COMPLETE: Event = {"chunk_complete": True, "chunk_id": 0, "audio_seconds": 1.7, "gen_ms": 190}


UNDER_WAY: dict[str, Any] = {"faults": ["stall@request:1,chunk:2"], "late_audio": 1}
"""The first generation is always interrupted in its midst, with one message of audio after that."""


def started(words: str, chunk: int = 0) -> Event:
    return {"generation_started": True, "chunk_id": chunk, "text": words}


def usage(characters: int) -> Event:
    cost = {"cost_cents": 0.28, "currency": "eur", "model_id": "kugel-3.5"}
    return {"usage": {"audio_seconds": 3.1, "characters": characters, **cost}}


def totals(chunks: int) -> Event:
    seconds = {"total_audio_seconds": 3.1, "total_audio_chunks": 3}
    return {**seconds, "total_text_chunks": chunks}


def context(id: str, words: str, voice: int = 1071) -> Event:
    top = {"model_id": "kugel-3.5", "output_format": "pcm_24000", "word_timestamps": True}
    tag = {"text": words, "context_id": id}
    return {**tag, **top, "voice_settings": {"voice_id": voice}}


def kugel_of(id: str, *frames: Event) -> list[Event]:
    return [{**frame, "context_id": id} for frame in frames]


def check_kugel(frames: list[Frame], words: str) -> None:
    """The sound is what was asked for; samples, seconds and numbers fit it and each other."""
    assert spoken(frames) == words
    audio = having(frames, "audio")
    assert [event["idx"] for event in audio] == list(range(len(audio)))
    samples = [int(str(event["samples"])) for event in audio]
    assert sum(samples) * 2 == sum(len(peers.pcm([event])) for event in audio)
    length = sum(samples) / 24000
    complete = [float(str(event["audio_seconds"])) for event in having(frames, "chunk_complete")]
    assert sum(complete) == pytest.approx(length, abs=1e-3)
    for event in having(frames, "usage"):
        cost = event["usage"]
        assert isinstance(cost, dict) and cost["audio_seconds"] == pytest.approx(length, abs=1e-3)
    for event in having(frames, "total_audio_chunks"):
        assert event["total_audio_chunks"] == len(audio)
        assert event["total_audio_seconds"] == pytest.approx(length, abs=1e-3)
    for event in having(frames, "word_timestamps"):
        told = event["word_timestamps"]
        assert isinstance(told, list)
        assert [words[each["char_start"] : each["char_end"]] for each in told] == words.split()
        assert all(each["start_ms"] < each["end_ms"] <= 1000 * length for each in told)


def test_kugelaudio_a_turn() -> None:
    """11 (a)."""
    script: Script = [
        C(
            {
                "voice_id": 1071, "model_id": "kugel-3.5",
                "output_format": "pcm_24000", "language": "en",
            }
        ),
        C({"text": "The lift "}),
        C({"text": "is out of order. "}),
        S(started("The lift is out of order.")),
        C({"text": "Please take the stairs."}),
        some(KUGEL_AUDIO),
        C({"flush": True}),
        S(COMPLETE),
        S(started("Please take the stairs.", 1)),
        some({**KUGEL_AUDIO, "chunk_id": 1}),
        S({**COMPLETE, "chunk_id": 1}),
        S({"final": True, **totals(2)}),
        S({"session_closed": True, **totals(2), **usage(49)}),
    ]  # fmt: skip
    with talking("kugelaudio", STREAM) as (sim, peer):
        frames = play(peer, KUGEL_PAGE, script)[None]
        check_kugel(frames, "The lift is out of order. Please take the stairs.")
        assert records(sim, "violation") == []


def turn(words: str, **more: object) -> Script:
    return [
        C({**more, "text": words, "flush": True}),
        S(started(words)),
        some(KUGEL_AUDIO),
        S(COMPLETE),
        S({"final": True, **totals(1)}),
        S({"session_closed": True, **totals(1), **usage(len(words))}),
    ]


def test_kugelaudio_two_turns_on_one_socket() -> None:
    """11 (b1)."""
    with talking("kugelaudio", STREAM) as (sim, peer):
        config = {"voice_id": 1071, "model_id": "kugel-3.5", "output_format": "pcm_24000"}
        for words, more in (("First answer.", config), ("Second answer.", {"voice_id": 1072})):
            check_kugel(play(peer, KUGEL_PAGE, turn(words, **more))[None], words)
        assert [record["voice"] for record in records(sim, "generation")] == ["1071", "1072"]
        assert records(sim, "violation") == []


def test_kugelaudio_two_interleaved_contexts() -> None:
    """11 (b2)."""
    created: Event = {"context_created": True}

    def spoken_and_closed(id: str, words: str) -> Script:
        return [
            S(*kugel_of(id, started(words))),
            some(*kugel_of(id, KUGEL_AUDIO)),
            S(*kugel_of(id, STAMPS)),
            S(*kugel_of(id, COMPLETE)),
            S(*kugel_of(id, {"final": True})),
            S(*kugel_of(id, {"context_closed": True, **usage(len(words))})),
        ]

    script: Script = [
        C({"text": "", "voice_id": 1071, "model_id": "kugel-3.5"}),
        C(context("c-1", "First answer.")),
        C(context("c-2", "Second answer.", 1072)),
        S(*kugel_of("c-1", created)),
        C({"flush": True, "context_id": "c-1"}),
        C({"close_context": True, "context_id": "c-1"}),
        S(*kugel_of("c-2", created)),
        C({"flush": True, "context_id": "c-2"}),
        C({"close_context": True, "context_id": "c-2"}),
        *spoken_and_closed("c-1", "First answer."),
        *spoken_and_closed("c-2", "Second answer."),
    ]
    with talking("kugelaudio", KUGELAUDIO) as (sim, peer):
        heard = play(peer, KUGEL_PAGE, script)
        check_kugel(heard["c-1"], "First answer.")
        check_kugel(heard["c-2"], "Second answer.")
        assert records(sim, "violation") == []


def test_kugelaudio_an_error_of_a_context() -> None:
    """11 (c), first; another context goes on."""
    error = {"error": "Voice not found", "error_code": "NOT_FOUND", "code": 404}
    words = "Second answer."
    script: Script = [
        C({"text": "Hi.", "context_id": "c-9", "voice_settings": {"voice_id": 99999999}}),
        S({**error, "context_id": "c-9", "request_id": "9f2c"}),
        C(context("c-2", words)),
        C({"flush": True, "context_id": "c-2"}, {"close_context": True, "context_id": "c-2"}),
        S(*kugel_of("c-2", {"context_created": True})),
        S(*kugel_of("c-2", started(words))),
        some(*kugel_of("c-2", KUGEL_AUDIO)),
        S(*kugel_of("c-2", STAMPS)),
        S(*kugel_of("c-2", COMPLETE)),
        S(*kugel_of("c-2", {"final": True})),
        S(*kugel_of("c-2", {"context_closed": True, **usage(len(words))})),
    ]
    with talking("kugelaudio", KUGELAUDIO) as (_, peer):
        check_kugel(play(peer, KUGEL_PAGE, script)["c-2"], words)


def test_kugelaudio_an_error_of_the_connection() -> None:
    """11 (c), second."""
    error = {"error": "Insufficient credits", "error_code": "INSUFFICIENT_CREDITS", "code": 402}
    script: Script = [
        C(context("c-1", "Hello.")),
        S(*kugel_of("c-1", {"context_created": True})),
        S({**error, "request_id": "9f2d"}),
        Close(4003),
    ]
    options = {"error_code": "INSUFFICIENT_CREDITS", "error_id": False, "error_close": 4003}
    with talking("kugelaudio", KUGELAUDIO, faults=["error=Insufficient credits"], **options) as (
        _,
        peer,
    ):
        play(peer, KUGEL_PAGE, script)


def test_kugelaudio_a_bad_key() -> None:
    """11 (c), third: at the upgrade, and the answer has a name."""
    with (
        pytest.raises(InvalidStatus) as caught,
        talking("kugelaudio", KUGELAUDIO, {"X-API-Key": "wrong"}, key="right"),
    ):
        pass
    assert caught.value.response.status_code == 403


def test_kugelaudio_a_server_that_restarts() -> None:
    """11 (c), fourth: nothing was spoken yet, though the context may be told of."""
    created = kugel_of("c-10", {"context_created": True})
    script: Script = [C(context("c-10", "Hello")), S(*created), Close(1012)]
    with talking("kugelaudio", KUGELAUDIO, faults=["close=1012@request:1"]) as (_, peer):
        play(peer, KUGEL_PAGE, script)


def test_kugelaudio_an_interrupted_turn() -> None:
    """11 (d), first."""
    config = {"voice_id": 1071, "output_format": "pcm_24000", "language": "en"}
    story = "It is a long story that begins. "
    script: Script = [
        C({**config, "model_id": "kugel-3.5", "text": story}),
        S(started(story.strip())),
        some(KUGEL_AUDIO),
        C({"cancel": True}),
        some(KUGEL_AUDIO),
        S({"interrupted": True}),
    ]
    with talking("kugelaudio", STREAM, **UNDER_WAY) as (sim, peer):
        assert len(having(play(peer, KUGEL_PAGE, script)[None], "audio")) == 3
        check_kugel(
            play(peer, KUGEL_PAGE, turn("Of course.", **config, model_id="kugel-3.5"))[None],
            "Of course.",
        )
        assert records(sim, "violation") == []


def test_kugelaudio_an_interrupted_context() -> None:
    """11 (d), second: late audio, then the end without a `final`, and what it cost."""
    story = "It is a long story that begins. "
    script: Script = [
        C(context("c-3", story)),
        S(*kugel_of("c-3", {"context_created": True})),
        S(*kugel_of("c-3", started(story.strip()))),
        some(*kugel_of("c-3", KUGEL_AUDIO)),
        C({"close_context": True, "context_id": "c-3", "immediate": True}),
        C(
            {
                "text": "Of course.", "context_id": "c-4", "flush": True,
                "output_format": "pcm_24000", "voice_settings": {"voice_id": 1071},
            }
        ),
        some(*kugel_of("c-3", KUGEL_AUDIO)),
        S(*kugel_of("c-4", {"context_created": True})),
        S(*kugel_of("c-3", {"context_closed": True, **usage(len(story))})),
        S(*kugel_of("c-4", started("Of course."))),
        some(*kugel_of("c-4", KUGEL_AUDIO)),
        S(*kugel_of("c-4", STAMPS)),  # asked for by c-3, and such settings are the socket's
        S(*kugel_of("c-4", COMPLETE)),
        S(*kugel_of("c-4", {"final": True})),
    ]  # fmt: skip
    with talking("kugelaudio", KUGELAUDIO, **UNDER_WAY) as (sim, peer):
        heard = play(peer, KUGEL_PAGE, script)
        assert len(having(heard["c-3"], "audio")) == 3
        check_kugel(heard["c-4"], "Of course.")
        assert records(sim, "violation") == []


def test_kugelaudio_a_flush() -> None:
    """The literal frames: greeting, text, flush, text, flush, close; and as many `final`s."""
    i = "i"
    parts: Script = []
    for chunk, words in enumerate(("Hello there. ", "Bye.")):
        tagged = kugel_of(
            i,
            started(words.strip(), chunk),
            {**KUGEL_AUDIO, "chunk_id": chunk},
            {**STAMPS, "chunk_id": chunk},
            {**COMPLETE, "chunk_id": chunk},
            {"final": True},
        )
        parts += [
            C(context(i, words) if chunk == 0 else {"text": words, "context_id": i}),
            *([S(*kugel_of(i, {"context_created": True}))] if chunk == 0 else []),
            C({"flush": True, "context_id": i}),
            S(tagged[0]),
            some(tagged[1]),
            *(S(frame) for frame in tagged[2:]),
        ]
    script: Script = [
        C({"text": "", "voice_id": 1071, "model_id": "kugel-3.5"}),
        *parts,
        C({"close_context": True, "context_id": i}),
        S(*kugel_of(i, {"context_closed": True, **usage(17)})),
    ]
    with talking("kugelaudio", KUGELAUDIO) as (sim, peer):
        assert spoken(play(peer, KUGEL_PAGE, script)[i]) == "Hello there. Bye."
        assert records(sim, "violation") == []


# --- SM ------------------------------------------------------------------------------------------

SM_PAGE = Page(stream=nothing)
COMPLETED: Event = {"type": "synthesis_complete"}


def test_sm_two_requests_on_one_connection() -> None:
    """5: bare audio and the event; then another voice."""
    with talking("sm", "/v1/tts/stream", {"X-API-Key": "sk-example"}) as (sim, peer):
        for words, voice in (("مرحباً بكم.", "Yara"), ("How may I help you?", "Yara_en")):
            script: Script = [C({"text": words, "voice": voice}), some(b"4096"), S(COMPLETED)]
            *audio, event = play(peer, SM_PAGE, script)[None]
            assert spoken(list(audio), rate=22050) == words and event == COMPLETED
        assert [record["voice"] for record in records(sim, "generation")] == ["Yara", "Yara_en"]
        assert records(sim, "violation") == []


def test_sm_an_error() -> None:
    """8: the body of a REST error as an event, and the next request is spoken."""
    error = {"type": "error", "error": "invalid_voice", "detail": "Voice 'Foo' is not available"}
    script: Script = [
        C({"text": "Hi.", "voice": "Foo"}),
        S(error),
        C({"text": "Hi.", "voice": "Yara"}),
        some(b"4096"),
        S(COMPLETED),
    ]
    with talking("sm", "/v1/tts/stream") as (_, peer):
        play(peer, SM_PAGE, script)


def test_sm_a_key_in_the_first_message() -> None:
    """2: the first request follows at once, without an answer."""
    script: Script = [
        C({"x-api-key": "sk-example"}, {"text": "أهلاً بك، كيف أستطيع مساعدتك؟", "voice": "Yara"}),
        some(b"4096"),
        S(COMPLETED),
    ]
    options = {"auth": "first-message", "key": "sk-example"}
    with talking("sm", "/v1/tts/stream", {}, **options) as (sim, peer):
        *audio, _ = play(peer, SM_PAGE, script)[None]
        assert spoken(list(audio), rate=22050) == "أهلاً بك، كيف أستطيع مساعدتك؟"
        assert records(sim, "violation") == []
