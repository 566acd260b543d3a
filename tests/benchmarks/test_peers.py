"""Other people's clients: the table is whole, and their workers are theirs alone."""

import ast
import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness, measures, page, startup
from benchmarks.contestants import PEER_CONTESTANTS, PEER_MODES, PEERS, Contestant
from benchmarks.measures import BARGE_IN, CASES, IDLE_CASE, TURN_CASES, Failed
from benchmarks.performance import WORKERS, Measured, as_json
from ttsmux.simulate.engines.tone import ToneEngine

PEER_WORKERS = sorted(WORKERS.glob("peer_*.py"))
HELPERS = {"_peer", "_worker"}
needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")


@pytest.fixture(params=PEER_CONTESTANTS, ids=lambda each: each.name)
def peer(request: pytest.FixtureRequest) -> Contestant:
    found = request.param
    assert isinstance(found, Contestant)
    return found


def imported(file: Path) -> Iterator[str]:
    """List the packages that *file* imports, in functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level
            yield node.module.partition(".")[0]


# The table


def test_every_peer_of_the_issue_is_there() -> None:
    names = {peer.environment for peer in PEER_CONTESTANTS}
    assert names == {"elevenlabs", "gradium", "kugelaudio", "livekit", "pipecat"} == set(PEERS)
    for frame in ("livekit", "pipecat"):
        of = [peer.provider for peer in PEER_CONTESTANTS if peer.environment == frame]
        assert sorted(map(str, of)) == ["elevenlabs", "gradium", "xai"]


def test_no_worker_is_forgotten() -> None:
    assert {file.stem for file in PEER_WORKERS} == {peer.worker for peer in PEER_CONTESTANTS}


def test_a_mode_is_measured_or_its_lack_is_told(peer: Contestant) -> None:
    assert {*peer.modes} | {*peer.cannot} == set(PEER_MODES)
    assert not {*peer.modes} & {*peer.cannot}
    assert all(peer.cannot.values())


def test_the_call_is_told(peer: Contestant) -> None:
    assert "{" not in peer.call and "(" in peer.call


def test_its_turns_are_measured(peer: Contestant) -> None:
    """There is a case of its provider for what depends on the protocol."""
    for cases in (TURN_CASES, BARGE_IN):
        assert any(case.takes(peer) and case.provider == peer.provider for case in cases)


def test_those_that_cannot_are_named() -> None:
    left_out = {peer.name for peer in PEER_CONTESTANTS if IDLE_CASE.leaves_out(peer)}
    assert left_out == {peer.name for peer in PEER_CONTESTANTS if "idle" in peer.cannot}
    assert "livekit, gradium" in left_out and "livekit, xai" not in left_out
    assert not any(
        case.leaves_out(peer) for case in CASES for peer in PEER_CONTESTANTS if case.takes(peer)
    )


def test_the_page_says_who_was_left_out() -> None:
    measured = Measured("idle", "about", "KiB", cannot={"one": "it dials"})
    found = as_json([measured], [], {})
    assert "one is not measured here: it dials" in page.case_table(found["cases"][0])


# The environments


@pytest.mark.parametrize("name", PEERS)
def test_versions_are_pinned_in_one_place(name: str) -> None:
    """What pip is handed names no version: the file that it refers to does."""
    file = PEERS[name].file
    first, *names = file.read_text(encoding="utf-8").splitlines()
    constraints = (file.parent / first.removeprefix("-c ")).resolve()
    pins = constraints.read_text(encoding="utf-8").splitlines()
    assert names
    for each in names:
        bare = each.partition("[")[0]
        assert any(pin.startswith(f"{bare}==") for pin in pins), f"{bare} has no version"


@pytest.mark.parametrize("name", PEERS)
def test_no_file_of_requirements_has_ttsmux(name: str) -> None:
    assert "ttsmux" not in PEERS[name].file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PEERS)
def test_its_import_is_measured(name: str) -> None:
    start = startup.starts_of({name: ("python", PEERS[name].statement)})[-1]
    assert (start.name, start.kind) == (name, "peer")
    assert start.statement.startswith(f"import {name}") and ast.parse(start.statement)


# The workers


@pytest.mark.parametrize("file", PEER_WORKERS, ids=lambda file: file.stem)
def test_a_worker_imports_its_peer_and_no_more(file: Path) -> None:
    allowed = {
        "peer_elevenlabs": {"elevenlabs"},
        "peer_gradium": {"gradium"},
        "peer_gradium_stream": {"gradium"},
        "peer_kugelaudio": {"kugelaudio"},
        "peer_livekit": {"livekit", "aiohttp"},
        "peer_pipecat": {"pipecat", "loguru"},
    }[file.stem]
    others = set(imported(file)) - set(sys.stdlib_module_names) - HELPERS
    assert others == allowed


def test_what_they_share_imports_nothing_else() -> None:
    assert not set(imported(WORKERS / "_peer.py")) - set(sys.stdlib_module_names) - HELPERS


@pytest.mark.parametrize("file", PEER_WORKERS, ids=lambda file: file.stem)
def test_a_worker_says_how_it_is_pointed_at_the_server(file: Path) -> None:
    module = ast.parse(file.read_text(encoding="utf-8"))
    compile(module, str(file), "exec")
    assert "pointed at the server" in (ast.get_docstring(module) or "").replace("\n", " ")


SILENT = """
import asyncio, sys
sys.path.insert(0, {workers!r})
import _peer
_peer.TURN = _peer.RUN = 0.2

class Silent:
    def __init__(self, job): ...
    async def open(self, connections): ...
    async def speak(self, text, take):
        {hang}
    interrupted = speak
    async def close(self): ...

_peer.main(Silent)
"""


@needs_alarm
@pytest.mark.parametrize(
    "hang", ["await asyncio.sleep(60)", "while True: pass"], ids=["waits", "freezes the loop"]
)
@pytest.mark.parametrize(
    ("mode", "said"),
    [("turns", "no answer in 0.2 s in turn 1"), ("cpu", "no answer in 0.2 s")],
)
def test_a_peer_that_hangs_is_given_up(hang: str, mode: str, said: str) -> None:
    job = {"mode": mode, "url": "ws://127.0.0.1:1", "provider": "xai", "voice": "v", "key": "k"}
    job |= {"texts": ["one", "two"], "chunks": 1, "size": 8, "gap_us": 0}  # type: ignore[dict-item]
    code = SILENT.format(workers=str(WORKERS), hang=hang)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(job)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (1, said)


# What is made of their turns


def spoken(text: str, tag: int, rate: int) -> bytes:
    return ToneEngine().speak(text, voice="", language=None, tag=tag, rate=rate).pcm


def turns_of(audio: list[bytes], rate: int) -> dict[str, Any]:
    heard = [base64.b64encode(each).decode() for each in audio]
    return {"took": [0.1] * 10, "stops": [0.0] * 10, "heard": heard, "rate": rate}


@pytest.mark.parametrize("rate", [24000, 48000])
def test_turns_are_compared_at_the_rate_of_their_audio(rate: int) -> None:
    case = TURN_CASES[-1]
    texts: list[str] = case.job["texts"]
    said = {tag: text.split() for tag, text in enumerate(texts)}
    audio = [spoken(text, tag, rate) for tag, text in enumerate(texts)]
    server = harness.Simulated("ws://127.0.0.1:1", "eve", {"dials": 1.0}, said)
    figures = measures._turns(case, turns_of(audio, rate), server)
    assert (figures["turns heard"], figures["stale bytes"]) == (10, 0)


def test_a_turn_that_begins_with_another_one_was_not_heard() -> None:
    """However soon: or those who speak the sentence before would be the quickest."""
    case = TURN_CASES[-1]
    texts: list[str] = case.job["texts"]
    said = {tag: text.split() for tag, text in enumerate(texts)}
    audio = [spoken(text, tag, 24000) for tag, text in enumerate(texts)]
    server = harness.Simulated("ws://127.0.0.1:1", "eve", {"dials": 1.0}, said)
    found = turns_of([audio[0], audio[1], *audio[1:9]], 24000)
    found["took"] = [0.1, 0.2, *[0.001] * 8]
    figures = measures._turns(case, found, server)
    assert figures["turns heard"] == 2 and figures["next turn, ms"] == 200
    assert figures["stale bytes"] > 0
    with pytest.raises(Failed, match=r"1 of 10 turns were heard, \d+ stale bytes"):
        measures._turns(case, turns_of([audio[0], *audio[:9]], 24000), server)
