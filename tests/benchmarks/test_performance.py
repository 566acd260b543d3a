"""What is made of a worker's answer, who is compared with whom, and what --check says."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks import contestants, measures, performance, startup
from benchmarks.contestants import Contestant, base_of
from benchmarks.harness import Simulated
from benchmarks.measures import BOUNDS, CASES, Case, Failed
from benchmarks.performance import Measured

SERVER = Simulated("ws://127.0.0.1:1", "eve", {"dials": 1.0, "peak": 10.0})


def read(case: Case, found: dict[str, Any], server: Simulated = SERVER) -> dict[str, float]:
    return case.read(case, found, server)


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def test_cpu_is_per_chunk() -> None:
    case = measures.PACED
    found = {"cpu": 0.05, "wall": 2.0, "heard": 2000 * 4096}
    assert read(case, found) == {"µs a chunk": pytest.approx(25.0)}


def test_audio_that_is_missing_is_a_failure() -> None:
    """Nobody is quick by hearing less."""
    found = {"cpu": 0.05, "wall": 2.0, "heard": 2000 * 4096 - 2}
    with pytest.raises(Failed, match="bytes were heard of 8192000"):
        read(measures.PACED, found)


def test_the_ceiling_is_what_a_core_would_bear() -> None:
    case = case_named("50 speeches at once")
    found = {"complete": True, "cpu": 0.1, "speeches": 50, "chunks": 1000, "late": []}
    found["wall"] = 4.0  # their audio lasts 2 s: others had the core
    assert read(case, found) == {
        "ceiling": pytest.approx(1000),
        "share of a core": pytest.approx(0.05),
        "µs a chunk": pytest.approx(100),
    }
    with pytest.raises(Failed, match="missing"):
        read(case, {**found, "complete": False})
    del found["cpu"]
    with pytest.raises(Failed, match="at once"):
        read(case, found)


def test_latency_is_a_median() -> None:
    added = [0.0001] * 9 + [0.01]
    assert read(measures.LATENCY, {"added": added}) == {"added, µs": 100, "p90, µs": 10_000}


def test_turns_that_were_not_heard() -> None:
    case = measures.TURN_CASES[-1]
    assert case.provider == "xai"
    found = {"took": [0.101, *[None] * 9], "stops": [0.0] * 10, "heard": [""] * 10}
    with pytest.raises(Failed, match="1 of 10"):
        read(case, found)
    found["took"] = [0.5, 0.1, 0.3, 0.2, *[None] * 6]
    assert read(case, found) == {
        "first turn, ms": 500,
        "next turn, ms": 200,
        "slowest, ms": 500,
        "turns heard": 4,
        "stale bytes": 0,
        "dials": 1,
    }


def test_audio_of_another_turn_is_counted() -> None:
    found = {"took": [0.1] * 10, "stops": [0.0] * 10, "heard": ["AAAA", *[""] * 9]}
    assert read(measures.TURN_CASES[-1], found)["stale bytes"] == 3


def test_memory_is_of_the_connections_that_there_were() -> None:
    found = {"rss": 9.0, "uss": 8.0, "rss after": 12.0, "threads": 0.0, "threads a speech": 0}
    server = attrs.evolve(SERVER, seen={"dials": measures.IDLE})
    assert read(measures.IDLE_CASE, found, server)["KiB"] == 9.0
    with pytest.raises(Failed, match="1 connections, not 150"):
        read(measures.IDLE_CASE, found)


# Who takes part


def test_names_are_unique() -> None:
    names = [each.name for each in contestants.chosen(peers=True)]
    assert len(names) == len(set(names))
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("contestant", contestants.chosen(peers=True), ids=lambda each: each.name)
def test_a_contestant(contestant: Contestant) -> None:
    """Its worker is there, its modes are, and there is somebody to compare it with."""
    assert (performance.WORKERS / f"{contestant.worker}.py").is_file()
    assert set(contestant.modes) <= {case.mode for case in CASES}
    bases = {each.name for each in contestants.RAW}
    assert (base_of(contestant) or contestant.name) in bases
    assert (contestant.environment is None) == (contestant.kind != "peer")
    assert contestant.environment is None or contestant.environment in contestants.PEERS


def test_only_our_workers_know_ttsmux() -> None:
    for file in performance.WORKERS.glob("*.py"):
        knows = "import ttsmux" in file.read_text(encoding="utf-8")
        assert knows == file.name.startswith(("ttsmux_", "_ours"))


def test_a_worker_in_which_ttsmux_was_loaded() -> None:
    raw, own = contestants.RAW[0], contestants.OWN[0]
    performance._only_its_own(raw, {"modules": ["websockets"]})
    performance._only_its_own(own, {"modules": ["ttsmux"]})
    with pytest.raises(Failed, match="ttsmux was loaded"):
        performance._only_its_own(raw, {"modules": ["ttsmux", "websockets"]})


def test_a_peer_speaks_its_own_protocol() -> None:
    """It is measured where that is spoken, and wherever only the audio counts."""
    peer = attrs.evolve(
        contestants.OWN[0], name="theirs", kind="peer", provider="gradium", modes=contestants.EACH
    )
    taken = {case.name for case in CASES if case.takes(peer)}
    assert {"turns, gradium", "barge-in, gradium", "paced, base64"} <= taken
    assert not {"turns, xai", "barge-in, xai", "paced, binary"} & taken


def test_everybody_is_first_once() -> None:
    takers = list(contestants.RAW[:3])
    names = [each.name for each in takers]
    orders = [[each.name for each in performance.rotated(takers, n)] for n in range(4)]
    assert [order[0] for order in orders] == [*names, names[0]]
    assert all(sorted(order) == sorted(names) for order in orders)


# Bounds


@pytest.mark.parametrize("bound", [*BOUNDS, *startup.BOUNDS], ids=lambda bound: bound.words)
def test_a_bound_is_of_something_that_is_measured(bound: Any) -> None:
    if bound.case in (startup.CASE, startup.SIZE_CASE):
        known = {start.name for start in startup.STARTS}
        assert bound.case == startup.SIZE_CASE or {bound.name, bound.of} <= known
        return
    case = case_named(bound.case)
    takers = {each.name for each in contestants.chosen(peers=False) if case.takes(each)}
    assert bound.name in takers
    assert bound.of is None or bound.of in takers


def measured(**rounds: list[float | None]) -> Measured:
    found = Measured("paced, base64", "CPU", "µs a chunk")
    for name, values in rounds.items():
        shown = {"ours": "ttsmux, asyncio", "raw": "websockets", "floor": "floor"}[name]
        found.rounds[shown] = [None if value is None else {"µs a chunk": value} for value in values]
        found.of[shown] = "websockets" if name == "ours" else None
        found.kinds[shown] = "own" if name == "ours" else "raw"
        found.calls[shown] = "speak()"
    return found


def kept(found: Measured) -> dict[str, bool]:
    return {
        each.bound.of or "": each.kept
        for each in performance.check([found])
        if each.bound.name == "ttsmux, asyncio"
    }


def test_bounds_that_are_kept() -> None:
    found = measured(ours=[27.0, 60.0], raw=[60.0, 120.0], floor=[20.0, 55.0])
    assert kept(found) == {"websockets": True, "floor": True}


def test_bounds_that_are_not_kept() -> None:
    found = measured(ours=[34.0, 67.0], raw=[60.0, 120.0], floor=[20.0, 58.0])
    assert kept(found) == {"websockets": False, "floor": False}


def test_bounds_of_what_was_not_measured_are_not_asked_for() -> None:
    assert {each.bound.case for each in performance.check([measured(ours=[1.0])])} == {
        "paced, base64"
    }


def run(monkeypatch: pytest.MonkeyPatch, found: Measured, *arguments: str) -> None:
    class Quiet:
        apart = True

        def __enter__(self) -> "Quiet":
            return self

        def __exit__(self, *exc: object) -> None: ...

    monkeypatch.setattr(performance, "Server", Quiet)
    monkeypatch.setattr(performance, "_measure_all", lambda *_: [found])
    performance.main(arguments)


GOOD = {"ours": [27.0, None], "raw": [60.0, 120.0], "floor": [20.0, 55.0]}


def test_check_fails_with_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(ours=[34.0, 67.0], raw=[60.0, 120.0], floor=[20.0, 58.0])
    run(monkeypatch, found)
    with pytest.raises(SystemExit, match="bounds are not kept"):
        run(monkeypatch, found, "--check")
    said = capsys.readouterr().err
    assert "paced, base64, ttsmux, asyncio: µs a chunk ÷ that of websockets ≤ 0.55" in said


def test_check_wants_five_rounds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, measured(**GOOD), "--check", "--rounds", "4")
    assert "at least 5 rounds" in capsys.readouterr().err


def test_one_file_of_figures_and_one_of_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = measured(**GOOD)
    found.failed["ttsmux, asyncio"] = ["it was not done after 120 s"]
    run(monkeypatch, found, "--out", str(tmp_path), "--only", "paced", "--rounds", "2")
    figures = json.loads((tmp_path / "performance.json").read_text())
    assert figures["command"] == "python -m benchmarks.performance --rounds 2 --only paced"
    (case,) = figures["cases"]
    ours = case["rows"][0]
    assert ours["rounds"] == [{"µs a chunk": 27.0}, None]
    assert ours["figures"]["µs a chunk"] == {"median": 27.0, "least": 27.0, "most": 27.0}
    assert ours["ratio"] == {"of": "websockets", "median": 0.45, "least": 0.45, "most": 0.45}
    assert {"ttsmux", "websockets"} <= figures["versions"].keys()
    tables = (tmp_path / "performance.md").read_text()
    assert "| **ttsmux, asyncio** | 27 | 0.45 |" in tables
    assert "| websockets | 90 (60–120) |  |" in tables
    assert "ttsmux, asyncio failed in 1 of 2 rounds: `it was not done after 120 s`" in tables


# Start-up


def test_an_import_costs_what_the_interpreter_does_not() -> None:
    assert startup.figures([0.06, 0.05, 0.07], [0.01, 0.02, 0.03]) == {
        "CPU ms": pytest.approx(40.0),
        "with the interpreter, ms": pytest.approx(60.0),
    }


def test_a_statement_that_fails_has_no_figure() -> None:
    with pytest.raises(Exception, match="nowhere"):
        startup.cpu_of(startup.sys.executable, "import sys; sys.exit('nowhere')")


def distribution(directory: Path, name: str, **files: int) -> None:
    info = directory / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [f"{name}/{file.replace('_', '.')},sha256=x,{size}" for file, size in files.items()]
    (directory / name).mkdir()
    for file, size in files.items():
        (directory / name / file.replace("_", ".")).write_bytes(bytes(size))
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,"]))


def test_an_install_is_weighed(tmp_path: Path) -> None:
    """Without what Python compiled, the installer, and files that are gone."""
    distribution(tmp_path, "ttsmux", a_py=1_000_000, a_pyc=5_000_000)
    distribution(tmp_path, "anyio", b_py=500_000)
    distribution(tmp_path, "pip", c_py=9_000_000)
    (tmp_path / "anyio" / "b.py").replace(tmp_path / "anyio" / "moved.py")
    assert startup.weigh(tmp_path, own={"ttsmux"}) == {
        "other distributions": 1,
        "MB": pytest.approx(1.0, rel=1e-3),
    }
