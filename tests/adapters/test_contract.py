"""What every adapter of ours promises by itself: the kit's rules, over literal messages."""

import base64
import json
import struct
from contextlib import suppress
from importlib.metadata import distribution

import attrs
import pytest

from tests.adapters.reach import Reach
from ttsmux.adapter import Adapter, Wire
from ttsmux.errors import ProtocolError
from ttsmux.testing import AdapterRules
from ttsmux.testing.fuzz import mutations, raw
from ttsmux.testing.hearing import decode

pytestmark = pytest.mark.timeout(300)  # thousands of messages, counted line by line

JSON = dict[str, object]
ENTRY_POINTS = {
    entry.name: entry
    for entry in distribution("ttsmux").entry_points
    if entry.group == "ttsmux.adapters"
}
KINDS: dict[str, type[Adapter]] = {name: entry.load() for name, entry in ENTRY_POINTS.items()}
ID = "0123456789abcdef" * 2


def make(name: str, **options: object) -> Adapter:
    kind = KINDS[name]
    voice = {"voice": "YTpq7expH9539ERJ"} if kind.traits.voice_required else {}
    return kind(**{**voice, **options})  # type: ignore[arg-type]


def test_the_adapters_are_found() -> None:
    """By the entry points that pyproject.toml declares, under their own names."""
    assert {"elevenlabs", "gradium", "kugelaudio", "sm", "xai"} <= set(KINDS)
    assert all(kind.name == name for name, kind in KINDS.items())


AUDIO = base64.b64encode(bytes(range(60))).decode()

CORPUS: dict[str, list[JSON | bytes]] = {
    "elevenlabs": [
        {
            "audio": AUDIO, "isFinal": None, "contextId": ID,
            "alignment": {
                "chars": ["H", "i", " ", "y"],
                "charStartTimesMs": [0, 90, 170, 200],
                "charDurationsMs": [90, 80, 30, 120],
            },
            "normalizedAlignment": {
                "chars": [" ", "Hi", " ", "y"],
                "charsStartTimesMs": [0, 0, 170, 200],
                "charsDurationsMs": [0, 170, 30.5, 120],
            },
        },
        {"audio": AUDIO, "is_final": False, "context_id": ID, "alignment": None},
        {"audio": AUDIO, "isFinal": True, "contextId": ID},
        {"audio": None, "isFinal": True, "contextId": ID},
        {"alignment": {"chars": ["x"], "charStartTimesMs": [0], "charDurationsMs": [1]}},
        {"message": "Maximum contexts", "error": "max_active_conversations", "code": 1008},
        {"message": "Too many concurrent requests", "error": "concurrent_limit_exceeded"},
        {"audio": AUDIO, "alignment": {"chars": ["x"], "charStartTimesMs": []}},
        {
            "audio": AUDIO,
            "alignment": {
                "chars": ["a", "a", "b c"],
                "charStartTimesMs": [9, 0, 20], "charDurationsMs": [9, 9, 9],
            },
        },
        {"message": "Invalid API key", "error": "invalid_api_key", "code": 1008, "contextId": ID},
        {"is_final": True},
        {},
    ],
    "gradium": [
        {
            "type": "ready", "client_req_id": ID, "request_id": "rq_1", "model_name": "default",
            "sample_rate": 48000, "frame_size": 3840, "audio_stream_names": ["tts"],
            "residency": "none",
        },
        {"type": "audio", "client_req_id": ID, "audio": AUDIO, "start_s": 0.0, "stop_s": 0.08},
        {"type": "audio", "client_request_id": ID, "audio": "", "start_s": -0.1, "stop_s": 0},
        {"type": "text", "client_req_id": ID, "text": "so", "start_s": 0.2, "stop_s": 0.6},
        {"type": "text", "text": "é😀", "start_s": 0.2, "stream_id": 0},
        {"type": "error", "client_req_id": ID, "message": "Embeddings not found", "code": 1011},
        {"type": "error", "message": "API key is revoked or expired", "code": 1008},
        {"type": "error", "message": "Invalid API key"},
        {"type": "error", "message": "Concurrency limit exceeded", "code": 1008},
        {"type": "error", "message": "Unsupported output format x", "code": 1008},
        {"type": "error", "message": "too many requests", "code": 429},
        {"type": "error", "message": "temp should be between 0 and 1.4", "code": 1011},
        {"type": "need_more_text"},
        {"type": "end_of_stream", "client_req_id": ID},
        {"type": "end_of_stream"},
    ],
    "kugelaudio": [
        {"context_created": True, "context_id": ID},
        {"generation_started": True, "context_id": ID, "chunk_id": 0, "text": "é😀"},
        {
            "audio": AUDIO, "enc": "pcm_s16le", "idx": 0, "sr": 24000, "samples": 30,
            "chunk_id": 0, "context_id": ID,
        },
        {"audio": "", "context_id": ID},
        {"audio": AUDIO, "enc": "mulaw", "sr": 8000, "context_id": ID},
        {"audio": AUDIO, "enc": "opus", "context_id": ID},
        {
            "word_timestamps": [
                {"word": "so", "start_ms": 120, "end_ms": 410.5, "char_start": 0, "char_end": 2},
            ],
            "chunk_id": 0, "context_id": ID,
        },
        {"chunk_complete": True, "context_id": ID, "chunk_id": 0, "audio_seconds": 1.7},
        {"final": True, "context_id": ID},
        {
            "context_closed": True, "context_id": ID,
            "usage": {"audio_seconds": 1.7, "characters": 25, "cost_cents": None},
        },
        {"context_timeout": True, "context_id": ID},
        {"session_closed": True, "total_audio_seconds": 9.2},
        {
            "error": "Voice not found", "error_code": "NOT_FOUND", "code": 404,
            "request_id": "9f2c", "context_id": ID, "retry_after": 3,
        },
        {"error": "Insufficient credits", "error_code": "INSUFFICIENT_CREDITS", "code": 402},
        {"interrupted": True},
        {"warning": "no input: inactivity"},
        {"settings_updated": True, "settings": {"speed": 1.1, "language": "en"}},
    ],
    "sm": [
        bytes(range(60)),
        {"type": "synthesis_complete"},
        {"type": "synthesis_complete", "duration": 1.5, "request_id": "r-1"},
        {"type": "synthesis_started", "voice": "Yara"},
        {"type": "authenticated"},
        {"type": "error", "error": "invalid_voice", "detail": "Voice 'Foo' is not available"},
        {"type": "error", "error": "http_error", "detail": "é😀", "code": "HTTP_400"},
        {"error": {"code": "unauthorized", "message": "no", "request_id": "r-1"}},
        {"type": "error", "message": "timed out"},
        {"progress": 0.5},
    ],
    "xai": [
        {"type": "audio.delta", "delta": AUDIO},
        {
            "type": "audio.delta",
            "delta": AUDIO,
            "audio_timestamps": {
                "graph_chars": ["H", "i", " ", "y"],
                "graph_times": [[0.0, 0.1], [0.1, 0.2], {"start": 0.2, "end": 0.3}, [0.3, 0.4]],
            },
            "audio_duration": 0.3,
        },
        {"type": "audio.delta", "delta": "", "audio_timestamps": {"graph_chars": []}},
        {"type": "error", "message": "replace has too many entries"},
        {"type": "error", "error": {"code": 4, "type": "x", "message": "timed out"}},
        {"type": "error", "error": "timed out"},
        {"type": "session.updated", "replace": {"nginx": "engine x"}},
        {"type": "audio.clear"},
        {"type": "audio.done", "trace_id": "5f1c"},
    ],
}  # fmt: skip


SHAPES: dict[str, dict[str, object]] = {
    **{name: {} for name in KINDS},
    "elevenlabs auto": {"auto_mode": True},
    "elevenlabs dictionaries": {"pronunciation_dictionaries": [("a", "1")]},
    "elevenlabs single": {"endpoint": "single"},
    "kugelaudio stream": {"endpoint": "stream"},
    "kugelaudio oneshot": {"endpoint": "oneshot"},
}
"""Every adapter, and those that have another protocol besides, by the provider's name."""


PCM = bytes(range(60))
WAV = (
    b"RIFF\xff\xff\xff\xffWAVEfmt " + (16).to_bytes(4, "little")
    + struct.pack("<HHIIHH", 1, 1, 22050, 44100, 2, 16)
    + b"data\xff\xff\xff\xff"
)  # fmt: skip
ANSWERS: dict[str, tuple[Adapter | None, dict[str, str], list[JSON | bytes]]] = {
    "elevenlabs rest": (
        make("elevenlabs").rest(),
        {"content-type": "application/json", "request-id": "rq_1"},
        [
            {
                "audio_base64": AUDIO,
                "alignment": {
                    "characters": ["H", "i", " ", "y"],
                    "character_start_times_seconds": [0, 0.09, 0.17, 0.2],
                    "character_end_times_seconds": [0.09, 0.17, 0.2, 0.32],
                },
                "normalized_alignment": {
                    "characters": [" ", "H", "i", " ", "y"],
                    "character_start_times_seconds": [0, 0, 0.09, 0.17, 0.2],
                    "character_end_times_seconds": [0, 0.09, 0.17, 0.2, 0.32],
                },
            },
            {"audio_base64": AUDIO, "alignment": None, "normalized_alignment": None},
            {"audio_base64": AUDIO, "alignment": {"characters": ["x"]}},
            {"detail": {"status": "invalid_voice", "message": "no such voice"}},
            {},
        ],
    ),
    "elevenlabs rest bare": (
        make("elevenlabs", with_timestamps=False).rest(), {"content-type": "audio/pcm"}, [PCM, PCM]
    ),
    "gradium rest": (
        make("gradium").rest(),
        {"content-type": "application/x-ndjson", "x-gradium-residency": "none"},
        [
            {"type": "ready", "request_id": "rq_91c2", "sample_rate": 48000},
            {"type": "audio", "audio": AUDIO, "start_s": 0.0, "stop_s": 0.08},
            {"type": "text", "text": "so", "start_s": 0.2, "stop_s": 0.6},
            {"type": "error", "message": "Embeddings not found", "code": 1011},
            {"type": "end_of_stream"},
        ],
    ),
    "gradium rest bare": (
        attrs.evolve(make("gradium").rest(), only_audio=True),
        {"content-type": "audio/pcm"},
        [PCM, PCM],
    ),
    "kugelaudio rest": (
        make("kugelaudio").rest(), {"content-type": "audio/pcm", "x-sample-rate": "24000"}, [PCM]
    ),
    "sm rest": (make("sm").rest(), {"content-type": "audio/wav"}, [WAV + PCM, PCM]),
    "sm rest bare": (make("sm", rest_format="pcm").rest(), {"content-type": "audio/pcm"}, [PCM]),
    "xai rest": (make("xai").rest(), {"content-type": "audio/pcm; rate=24000"}, [PCM, PCM]),
    "xai rest timed": (
        make("xai", with_timestamps=True).rest(),
        {"content-type": "application/json"},
        [
            {
                "audio": AUDIO,
                "content_type": "audio/pcm",
                "duration": 0.4,
                "audio_timestamps": {
                    "graph_chars": ["H", "i", " ", "y"],
                    "graph_times": [[0.0, 0.1], [0.1, 0.2], {"start": 0.2, "end": 0.3}, [0.3, 0.4]],
                },
            },
        ],
    ),
}  # fmt: skip
"""Over HTTP: the adapter, the headers of an answer, and its body: lines of JSON, or pieces."""


def rules(shape: str, adapter: Adapter, **facts: object) -> None:
    """Make the test class of a shape."""
    name = "Test" + "".join(map(str.capitalize, shape.split()))
    globals()[name] = type(name, (AdapterRules,), {"adapter": adapter, "fuzz": 20_000, **facts})


for _shape, _options in SHAPES.items():
    _name = _shape.split()[0]
    rules(_shape, make(_name, **_options), frames=CORPUS[_name])
for _shape, (_adapter, _headers, _body) in ANSWERS.items():
    assert _adapter is not None, "it has HTTP"
    rules(_shape, _adapter, answer=_headers, frames=_body)


def test_every_adapter_is_here_over_http_too() -> None:
    """By its literal answers."""
    names = {type(adapter) for adapter, _, _ in ANSWERS.values()}
    assert names == {type(make(name).rest()) for name in KINDS}


UNREACHED = {
    # Messages are looked through for these words before; here it is for the reasons of a close.
    "gradium": {
        "gradium.py: return ConcurrencyLimitError(words, retry_after=_CONCURRENCY_WAIT)",
    },
}
"""Lines of a decoder that no message can reach, by provider."""
GREETED = {"sm greeted": {"ready_event": "authenticated"}}
"""A shape that only hears more: its rules would wait for a server that greets."""


@pytest.mark.parametrize("name", KINDS)
def test_mutations_reach_every_line_of_the_decoder(name: str) -> None:
    """In one shape or another; else the rules would never try a branch with an odd message."""
    corpus = [one if isinstance(one, bytes) else json.dumps(one) for one in CORPUS[name]]
    messages = [raw(one) for one in corpus] + list(mutations(corpus, 5_000, name))
    reach = Reach()
    for shape, options in {**SHAPES, **GREETED}.items():
        if shape.split()[0] != name:
            continue
        adapter = make(name, **options)
        on = Wire(adapter.options())
        for number, message in enumerate(messages):
            if number % 20 == 0:
                on = Wire(adapter.options())
            with reach.watched(), suppress(ProtocolError):
                decode(adapter, message, on)
    assert set(reach.missed()) == UNREACHED.get(name, set())


@pytest.mark.parametrize("name", KINDS)
def test_every_format_has_connections_of_its_own(name: str) -> None:
    """Whether it is fixed when a connection opens or not: nobody says that they may be mixed."""
    formats = KINDS[name].traits.formats
    adapters = [make(name, format=format) for format in formats]
    assert len({one.pool_key(one.options()) for one in adapters}) == len(formats)
