"""The server that says what the text asks for, and the workers that ask it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import ttsmux
from benchmarks import measures, performance
from benchmarks.stream import DIALECTS, Script, Stream, header, pattern
from benchmarks.workers._worker import script

ENDPOINTS = {"elevenlabs": ("multi", "single"), "kugelaudio": ("stream", "oneshot")}
"""Those that it speaks of the providers that have several."""


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> Iterator[Stream]:
    server = Stream(getattr(request, "param", "xai")).start()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (script(2000, 4096, 1000, 20), Script(2000, 4096, 0.001, 0.02)),
        (script(5, 4800), Script(5, 4800, 0.0, 0.0)),
        ("Say 5 chunks of \n4800  bytes every 0 microseconds.", Script(5, 4800, 0.0, 0.0)),
        ("say5chunksof4800bytesevery0microseconds", Script(5, 4800, 0.0, 0.0)),
        ("Good morning.", Script(1, 4800, 0.0, 0.0)),
    ],
)
def test_the_text_says_what_is_said(text: str, meant: Script) -> None:
    """Whatever a client does to its spaces and capitals."""
    assert Script.of(text) == meant


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_head_of_a_frame(length: int, head: bytes) -> None:
    assert header(2, length) == head


@pytest.mark.parametrize(
    ("stream", "endpoint"),
    [(name, each) for name in DIALECTS for each in ENDPOINTS.get(name, (None,))],
    indirect=["stream"],
)
@pytest.mark.parametrize("gap_us", [0, 500])
def test_it_speaks_to_a_client(stream: Stream, endpoint: str | None, gap_us: int) -> None:
    """Twice on one client, stamped and whole."""
    options: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    with ttsmux.Client(
        stream.provider,
        base_url=stream.url,
        voice=stream.default_voice,
        api_key="k",
        **options,
    ) as tts:
        for chunks in (40, 3):
            heard = tts.speak(script(chunks, 4096, gap_us)).read()
            assert len(heard) == chunks * 4096
            assert {heard[at + 8 : at + 4096] for at in range(0, len(heard), 4096)} == {
                pattern(4096)[8:]
            }
            stamps = [
                int.from_bytes(heard[at : at + 8], "little") for at in range(0, len(heard), 4096)
            ]
            assert stamps == sorted(stamps)
            assert (len(set(stamps)) == chunks) == (gap_us > 0)


def test_it_counts_the_connections(stream: Stream) -> None:
    with ttsmux.Client(
        "xai", base_url=stream.url, voice="eve", language="en", pool=ttsmux.PoolLimits(min_idle=0)
    ) as tts:
        tts.prewarm(3)
    assert stream.seen()["dials"] == 3
    stream.opened[:] = [10.0, 10.01, 10.09, 10.15, 12.0]
    assert stream.seen() == {"dials": 5, "peak": 30}


# Workers


def run(worker: str, stream: Stream, case: measures.Case, **job: Any) -> dict[str, Any]:
    given = {
        "mode": case.mode,
        "url": stream.url,
        "provider": stream.provider,
        "voice": stream.default_voice,
        "key": "k",
        **case.job,
        **job,
    }
    command = [sys.executable, f"{performance.WORKERS}/{worker}.py", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ttsmux_tasks", {}),
    ("ttsmux_tasks", {"fast": False}),
    ("ttsmux_tasks", {"loop": "trio"}),
    ("ttsmux_threads", {}),
    ("raw_websockets", {}),
    ("raw_websockets_sync", {}),
    ("raw_websockets_trio", {}),
    ("raw_websocket_client", {"skip": True}),
    ("raw_floor", {}),
)


@pytest.mark.parametrize("stream", ["sm", "xai"], indirect=True)
@pytest.mark.parametrize(("worker", "options"), OPTIONS)
def test_a_worker(stream: Stream, worker: str, options: dict[str, Any]) -> None:
    """All that is said is heard; and it has loaded what it is measured with, no more."""
    found = run(worker, stream, measures.BURST, chunks=50, options=options)
    assert found["heard"] == 50 * 4096
    assert found["cpu"] > 0
    assert ("ttsmux" in found["modules"]) == worker.startswith("ttsmux")
    assert ("trio" in found["modules"]) == ("trio" in (*options.values(), worker.split("_")[-1]))


@pytest.mark.parametrize("worker", ["ttsmux_tasks", "ttsmux_threads", "raw_websockets"])
def test_the_modes(stream: Stream, worker: str) -> None:
    """Each has the figures that are read from it."""

    def read(case: measures.Case, **job: Any) -> dict[str, float]:
        smaller = measures.attrs.evolve(case, job={**case.job, **job})
        before = stream.seen()["dials"]
        found = run(worker, stream, smaller)
        seen = {**stream.seen(), "dials": stream.seen()["dials"] - before}
        server = measures.Simulated(stream.url, "eve", {k: float(v) for k, v in seen.items()})
        return case.read(smaller, found, server)

    assert read(measures.LATENCY, turns=8, delay_ms=1)["added, µs"] > 0
    talk = read(measures.TALKS[0], speeches=5, chunks=10, gap_us=30_000)
    assert talk["ceiling"] > 0
    assert talk["late p99, ms"] >= talk["late p50, ms"] > 0
    assert read(measures.IDLE_CASE, few=2, connections=12)["threads a speech"] == 0
    assert read(measures.STORM_CASE, speeches=20, room=20)["served"] == 20
