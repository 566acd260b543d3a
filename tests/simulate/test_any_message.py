"""Whatever a client sends, the server answers by its rules and stays up."""

import base64
import contextlib
import gc
import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.simulate.peer import ELEVENLABS, KUGELAUDIO, TIMEOUT, Peer, dial, happened, records, text
from tests.simulate.test_sm import dial as sm_dial
from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import decode_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def frames(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {}, optional={name: value | VALUES for name, value in fields.items()}
    )


TEXT = st.sampled_from(
    ["Hello there. ", "split", "!", " ", "", '<break time="0.1s" />', "<flush>", "x y"]
)
XAI_FRAMES = frames(
    type=st.sampled_from(["text.delta", "text.done", "text.clear", "session.update"]),
    delta=TEXT,
    replace=st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
GRADIUM_FRAMES = frames(
    type=st.sampled_from(["setup", "text", "end_of_stream"]),
    client_req_id=st.sampled_from(["a", "b"]),
    text=TEXT,
    output_format=st.sampled_from(["pcm_8000", "wav", "alaw_8000", "opus"]),
    close_ws_on_eos=st.booleans(),
    json_config=st.sampled_from(["{}", "{", '{"temp": 9}', '{"rewrite_rules": "fr"}']),
    voice_id=st.sampled_from(["v", "nope"]),
)
LOCATOR = {"pronunciation_dictionary_id": "a", "version_id": "1"}
ELEVENLABS_FRAMES = frames(
    context_id=st.sampled_from(["a", "b", "c", "d", "e", "f"]),
    text=TEXT,
    flush=st.booleans(),
    close_context=st.booleans(),
    close_socket=st.booleans(),
    try_trigger_generation=st.booleans(),
    voice_settings=st.sampled_from(
        [{}, {"stability": 0.5}, {"speed": 9}, {"use_speaker_boost": 1}]
    ),
    generation_config=st.sampled_from([{}, {"chunk_length_schedule": [50]}, {"x": 1}]),
    pronunciation_dictionary_locators=st.sampled_from([[], [LOCATOR], [{}]]),
)
SM_FRAMES = frames(
    text=TEXT,
    voice=st.sampled_from(["Yara", "Nouf", "nope"]),
    format=st.just("pcm"),
    sample_rate=st.sampled_from([8000, 22050]),
    speed=st.floats(0, 9),
)
KUGELAUDIO_FRAMES = frames(
    context_id=st.sampled_from(["a", "b"]),
    text=TEXT,
    voice_id=st.sampled_from([1071, "nope"]),
    voice_settings=st.sampled_from([{"voice_id": 1071}, {"voice_id": 9e9}, {"speed": 1.0}]),
    flush=st.booleans(),
    close_context=st.booleans(),
    immediate=st.booleans(),
    cancel=st.booleans(),
    close=st.booleans(),
    close_socket=st.booleans(),
    update_settings=st.sampled_from([{}, {"speed": 1.1}, {"speed": 9}]),
    output_format=st.sampled_from(["pcm_8000", "ulaw_8000", "mp3"]),
    word_timestamps=st.booleans(),
)
EVERYTHING = settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", autouse=True)
def only_new_garbage() -> Iterator[None]:
    """Each example collects garbage, and that of all other tests would take most of its time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def exchange(peer: Peer, messages: list[dict[str, object] | str | bytes]) -> None:
    """Send everything; a server that has had enough may close."""
    with contextlib.suppress(ConnectionClosed):
        peer.say(*messages)


def check(sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing went wrong inside: asyncio would have said so."""
    sim.wait_for(lambda log: sum(rec["event"] == "lost" for rec in log) == sim.dials, TIMEOUT)
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [record for record in records(sim, "lost") if record["error"]] == []


@EVERYTHING
@given(st.lists(XAI_FRAMES | st.text(max_size=9) | st.binary(max_size=9), max_size=12))
def test_xai(
    caplog: pytest.LogCaptureFixture, messages: list[dict[str, object] | str | bytes]
) -> None:
    """The connection survives anything that the map's expansion does not end."""
    with Simulator("xai", error_shape="message") as sim:
        with dial(sim) as peer:
            exchange(peer, messages)
            peer.say({"type": "text.clear"})
            for replace in ({"no other": "map"}, {}):
                peer.say({"type": "session.update", "replace": replace})
                peer.until("session.updated", replace=replace)
            peer.say({"type": "text.delta", "delta": "End."}, {"type": "text.done"})
            assert text(peer.until("audio.done")) == "End."
        check(sim, caplog)


@EVERYTHING
@given(st.lists(GRADIUM_FRAMES | st.text(max_size=9) | st.binary(max_size=9), max_size=12))
def test_gradium(
    caplog: pytest.LogCaptureFixture, messages: list[dict[str, object] | str | bytes]
) -> None:
    """A connection may die of it; the next one works."""
    with Simulator("gradium") as sim:
        with dial(sim) as peer:
            exchange(peer, messages)
        with dial(sim) as peer:
            peer.say({"type": "setup", "output_format": "pcm_24000"})
            peer.say({"type": "text", "text": "End."}, {"type": "end_of_stream"})
            assert text(peer.until("end_of_stream")) == "End."
        check(sim, caplog)


@EVERYTHING
@given(
    st.lists(ELEVENLABS_FRAMES | st.text(max_size=9) | st.binary(max_size=9), max_size=12),
    st.sampled_from(["multi-stream-input", "stream-input"]),
)
def test_elevenlabs(
    caplog: pytest.LogCaptureFixture,
    messages: list[dict[str, object] | str | bytes],
    socket: str,
) -> None:
    """A connection may die of it; the next one works."""
    path = ELEVENLABS.replace("multi-stream-input", socket) + "&sync_alignment=true"
    with Simulator("elevenlabs", restarts=True) as sim:
        with dial(sim, path) as peer:
            exchange(peer, messages)
        with dial(sim) as peer:
            peer.say(
                {"context_id": "z", "text": "End. "}, {"context_id": "z", "close_context": True}
            )
            while not peer.receive()["isFinal"]:
                pass
            assert pcm_of(peer) == "End."
        check(sim, caplog)


def pcm_of(peer: Peer) -> str:
    """What was spoken on a connection that says nothing of types."""
    audio = [str(event.get("audio") or "") for event in peer.events]
    return decode_text(b"".join(map(base64.b64decode, audio)), 24000)


@EVERYTHING
@given(
    st.lists(KUGELAUDIO_FRAMES | st.text(max_size=9) | st.binary(max_size=9), max_size=12),
    st.sampled_from([KUGELAUDIO, "/ws/tts/stream", "/ws/tts"]),
)
def test_kugelaudio(
    caplog: pytest.LogCaptureFixture,
    messages: list[dict[str, object] | str | bytes],
    socket: str,
) -> None:
    """A connection may be closed by it; the next one works."""
    with Simulator("kugelaudio") as sim:
        with dial(sim, socket) as peer:
            exchange(peer, messages)
        with dial(sim, "/ws/tts/stream") as peer:
            peer.say({"text": "End.", "voice_id": 1071, "flush": True})
            assert text(peer.until("session_closed")) == "End."
        check(sim, caplog)


@EVERYTHING
@given(st.lists(SM_FRAMES | st.text(max_size=9) | st.binary(max_size=9), max_size=12))
def test_sm(
    caplog: pytest.LogCaptureFixture, messages: list[dict[str, object] | str | bytes]
) -> None:
    """Each is answered, and the connection goes on."""
    with Simulator("sm", busy="queue", end_event="over") as sim:
        with sm_dial(sim) as peer:
            peer.say(*messages)
            peer.say({"text": "End.", "voice": "Yara_en"})
            while not happened_last(sim, "over", "End."):
                peer.receive()
        check(sim, caplog)


def happened_last(sim: Simulator, kind: str, said: str) -> bool:
    """Whether the last request that was read has been spoken."""
    spoken = [record["generation"] for record in records(sim, "generation")]
    frames = [record["frame"] for record in records(sim, "recv")]
    ended = [
        record["generation"] for record in records(sim, "send") if record["frame"] == {"type": kind}
    ]
    asked = bool(frames) and isinstance(frames[-1], dict) and frames[-1].get("text") == said
    return asked and bool(ended) and ended == spoken and spoken[-1] == ended[-1]


@pytest.mark.parametrize("depth", [100, 400, 700, 990, 5000])
def test_deep_messages(caplog: pytest.LogCaptureFixture, depth: int) -> None:
    """Depth is no way in: it is logged, or called unreadable."""
    with Simulator("xai", key="a-secret-api-key") as sim:
        with dial(sim) as peer:
            peer.say('{"type": "text.clear", "x": ' + "[" * depth + "]" * depth + "}")
            assert peer.receive()["type"] in ("audio.clear", "error")
            happened(sim, "recv")
        check(sim, caplog)


def test_long_reasons(caplog: pytest.LogCaptureFixture) -> None:
    """A close frame has room for 123 bytes; the error event has the whole sentence."""
    with Simulator("gradium", voices=()) as sim:
        with dial(sim) as peer:
            peer.say({"type": "setup", "voice_id": "ü" * 300})
            assert str(peer.receive()["message"]).endswith("ü")
            with pytest.raises(ConnectionClosed) as caught:
                peer.receive()
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1011
        check(sim, caplog)
