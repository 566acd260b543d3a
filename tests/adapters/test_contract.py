"""What every adapter of ours promises by itself: the kit's rules, over literal messages."""

import base64
from importlib.metadata import distribution

import pytest

from ttsmux.adapter import Adapter
from ttsmux.testing import AdapterRules

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
    assert {"gradium", "xai"} <= set(KINDS)
    assert all(kind.name == name for name, kind in KINDS.items())


AUDIO = base64.b64encode(bytes(range(60))).decode()

CORPUS: dict[str, list[JSON]] = {
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
        {"type": "need_more_text"},
        {"type": "end_of_stream", "client_req_id": ID},
        {"type": "end_of_stream"},
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


for _name in KINDS:
    _rules = {"adapter": make(_name), "frames": CORPUS[_name], "fuzz": 20_000}
    globals()[f"Test{_name.capitalize()}"] = type(f"Test{_name}", (AdapterRules,), _rules)


@pytest.mark.parametrize("name", KINDS)
def test_every_format_has_connections_of_its_own(name: str) -> None:
    """Whether it is fixed when a connection opens or not: nobody says that they may be mixed."""
    formats = KINDS[name].traits.formats
    adapters = [make(name, format=format) for format in formats]
    assert len({one.pool_key(one.options()) for one in adapters}) == len(formats)
