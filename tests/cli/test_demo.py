"""The demo: what it prints, what it saves, and that it tells the truth about both."""

import json
import re
import signal
import sys
import time
import wave
from pathlib import Path

import pytest

from tests.cli.shell import KEYS, TIMEOUT, finish, invoke, left_in, start, terminal
from ttsmux.cli import demo
from ttsmux.client.sync import Client
from ttsmux.simulate import PROVIDERS, Simulator
from ttsmux.simulate.engines import Engine, EngineUnavailable, create_engine
from ttsmux.simulate.engines.tone import decode

FAST = ("--engine", "tone", "--handshake-ms", "20", "--ttfa-ms", "10", "--rtf", "0.02")
LINES = [line for group in demo.SCRIPT for line in group]
FILES = sorted(f"{provider}-{line.name}.wav" for provider in PROVIDERS for line in LINES)


def heard(path: Path) -> str:
    """The whole words in a WAV file."""
    with wave.open(str(path)) as file:
        rate, sound = file.getframerate(), file.readframes(file.getnframes())
    return " ".join(word.text for word in decode(sound, rate) if word.ok)


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


class Patient(Client):
    """Spares come when it suits them; here they are there before anything is said."""

    def prewarm(self, n: int = 1, *, timeout: float | None = None, **options: object) -> int:
        ready = super().prewarm(n, timeout=timeout, **options)
        deadline = time.monotonic() + TIMEOUT
        while (stats := self.pool_stats()).size > stats.idle:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return ready


@pytest.fixture(autouse=True)
def spares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "Client", Patient)


@pytest.fixture
def simulators(monkeypatch: pytest.MonkeyPatch) -> list[Simulator]:
    """Those that a demo starts, by what they saw."""
    seen: list[Simulator] = []

    def make(provider: str, **options: object) -> Simulator:
        seen.append(Simulator(provider, **options))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(demo, "Simulator", make)
    return seen


def test_the_script() -> None:
    """Four turns, one of them in Arabic, two at once, one interrupted."""
    assert [len(group) for group in demo.SCRIPT] == [1, 1, 1, 1, 2, 1]
    assert [line.case for line in LINES] == ["turn"] * 4 + ["together"] * 2 + ["interrupted"]
    assert [line.until is not None for line in LINES] == [False] * 6 + [True]


def test_json_and_the_files(tmp_path: Path, simulators: list[Simulator]) -> None:
    """An object a speech; the files hold what was said, the interrupted ones its beginning."""
    result = invoke("demo", "--out", str(tmp_path), "--json", *FAST)
    assert result.exit_code == 0 and result.stderr.startswith("engine: tone")
    found = objects(result.stdout)
    assert left_in(tmp_path) == FILES
    assert [(one["provider"], one["case"], one["turn"], one["text"]) for one in found] == [
        (provider, line.case, line.turn, line.text) for provider in PROVIDERS for line in LINES
    ]
    for one in found:
        assert one.keys() == KEYS | {"case", "turn", "text"}
        assert one["attempts"] == 1 and one["connection_reused"] is True
        path = tmp_path / f"{one['provider']}-{one['case']}-{one['turn']}.wav"
        assert path.stat().st_size == 44 + int(str(one["bytes"]))
        if one["case"] == "interrupted":
            assert one["outcome"] == "interrupted"
            assert heard(path) and str(one["text"]).startswith(heard(path) + " ")
        else:
            assert one["outcome"] == "completed" and heard(path) == one["text"]


def test_dials(tmp_path: Path, simulators: list[Simulator]) -> None:
    """No speech pays for one: Gradium's share the first, xAI's that overlap have one each."""
    result = invoke("demo", "--out", str(tmp_path), "--json", *FAST)
    dials: dict[object, list[object]] = {name: [] for name in PROVIDERS}
    for one in objects(result.stdout):
        dials[one["provider"]].append(one["dials"])
    assert dials["elevenlabs"][:6] == dials["gradium"][:6] == [1] * 6
    assert dials["kugelaudio"][:6] == [1] * 6
    assert dials["xai"][:4] == [2] * 4, "one to speak on, one to spare"
    leased = {
        simulator.provider: [
            record["conn"] for record in simulator.log if record["event"] == "generation"
        ]
        for simulator in simulators
    }
    assert leased["gradium"] == leased["kugelaudio"] == [1] * len(LINES)
    assert len(leased["xai"]) == len(LINES) and set(leased["xai"]) <= {1, 2, 3}
    assert len(set(leased["xai"][4:6])) == 2


def test_tables_where_no_terminal_is(tmp_path: Path) -> None:
    """A row a line, with what was decoded, and the words that tell waits from measurements."""
    result = invoke("demo", "--out", str(tmp_path), *FAST)
    assert result.exit_code == 0 and "\x1b" not in result.output
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "Simulated: a handshake takes 20 ms, the first audio takes 10 ms, the rest comes at 50 "
        "times the speed of speech. These waits are inputs of the demo, not measurements of a "
        "provider."
    )
    assert sum(line.endswith("decoded from the sound") for line in lines) == len(PROVIDERS)
    for line in LINES[:-1]:
        rows = [row for row in lines if row.startswith(f"{line.case} {line.turn} ")]
        assert len(rows) == len(PROVIDERS)
        assert all(row.endswith(f"  {line.text}") and " ms  yes " in row for row in rows)
    for row in (row for row in lines if row.startswith("interrupted 1 ")):
        before, _, after = row.partition(" | ")
        assert LINES[-1].text.startswith(before.split("  ")[-1]) and LINES[-1].text.endswith(after)
    assert f"{len(FILES)} WAV files to play: {tmp_path}" == lines[-1]


def test_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a name that says whose it is, made where the command runs; twice is fine."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert invoke("demo", *FAST, "--rtf", "0").exit_code == 0
        assert left_in(tmp_path) == [demo.FOLDER] and left_in(tmp_path / demo.FOLDER) == FILES


def espeak() -> bool:
    try:
        create_engine("espeak").close()
    except EngineUnavailable:
        return False
    return True


# Asked when it is to run: espeak takes a second to start, in each process that collects.
@pytest.mark.skipif("not espeak()", reason="needs espeak-ng")
def test_with_a_voice(tmp_path: Path) -> None:
    """The text that was sent stands in the table, and how much of it was heard."""
    args = ("--handshake-ms", "20", "--ttfa-ms", "10", "--rtf", "0.02")
    result = invoke("demo", "--out", str(tmp_path), *args)
    assert result.exit_code == 0 and result.stderr.startswith("engine: espeak-ng")
    assert "beeps" not in result.stderr and "decoded" not in result.stdout
    assert result.stdout.count(f"  {LINES[0].text}\n") == len(PROVIDERS)
    assert left_in(tmp_path) == FILES


def test_beeps_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To whoever expected a voice."""

    def tone(name: str) -> Engine:
        return create_engine("tone")

    monkeypatch.setattr(demo, "create_engine", tone)
    result = invoke("demo", "--out", str(tmp_path), *FAST[2:])
    assert result.exit_code == 0 and "pip install 'ttsmux[local]'" in result.stderr


def test_a_process_of_its_own(tmp_path: Path) -> None:
    """With warnings as errors; the user's keys and proxies do not matter."""
    with start("demo", "--out", str(tmp_path), "--json", *FAST) as process:
        status, out, err = finish(process)
    assert status == 0 and err.count("\n") == 1 and len(objects(out)) == len(FILES)


def test_ctrl_c(tmp_path: Path) -> None:
    """What speaks is interrupted, what was said is told, and nothing else is begun."""
    args = ("--engine", "tone", "--handshake-ms", "0", "--rtf", "0.3", "--json")
    with start("demo", "--out", str(tmp_path), *args) as process:
        assert process.stdout
        first = process.stdout.readline().decode()
        process.send_signal(signal.SIGINT)
        status, out, err = finish(process)
    assert status == 130 and err.count("\n") == 1
    found = objects(first + out)
    # How much more is said until the signal arrives is up to the machine.
    *before, last = [one["outcome"] for one in found]
    assert set(before) <= {"completed"} and last in ("completed", "interrupted")
    assert len(found) < len(FILES)
    assert len(left_in(tmp_path)) == sum(bool(one["bytes"]) for one in found)


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals differ")
@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal(columns: int, tmp_path: Path) -> None:
    """Progress while it speaks, then tables that fold nothing but the text."""
    status, seen = terminal("demo", "--out", str(tmp_path), *FAST, columns=columns)
    assert status == 0 and "gradium: connecting" in seen and "s of audio" in seen
    lines = [re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", line) for line in seen.split("\r\n")]
    # The path is as long as it is, and progress is drawn over and over.
    drawn = ("connecting", "s of audio", "files to play:")
    tables = [line for line in lines if not any(word in line for word in drawn)]
    assert [line for line in tables if "\r" not in line and len(line) > columns] == []
    for line in LINES[:-1]:
        rows = [row for row in lines if row.startswith(f"{line.case} {line.turn} ")]
        assert [row.rstrip().endswith(line.text) for row in rows] == [True] * len(PROVIDERS)


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals differ")
def test_json_on_a_terminal(tmp_path: Path) -> None:
    """No progress runs into it."""
    status, seen = terminal("demo", "--out", str(tmp_path), "--json", *FAST)
    objects_seen = objects("\n".join(line for line in seen.splitlines() if line[:1] == "{"))
    assert status == 0 and len(objects_seen) == len(FILES)
    assert "connecting" not in seen and "s of audio" not in seen


def test_what_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest goes on; status 1, and no file for what failed."""

    def faulty(provider: str, **options: object) -> Simulator:
        if provider == "kugelaudio":
            # It may come before any audio was handed out, but what is refused is not tried again.
            faults = ["error=No voice today@request:2,chunk:5"]
            options |= {"faults": faults, "error_code": "VALIDATION_ERROR", "request_ids": False}
        return Simulator(provider, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "Simulator", faulty)
    for args in ((), ("--json",)):
        result = invoke("demo", "--out", str(tmp_path), *FAST, *args)
        assert result.exit_code == 1
        assert result.stderr.endswith("Error: turn-2: kugelaudio: No voice today\n")
        if args:
            (failed,) = (one for one in objects(result.stdout) if one["outcome"] == "failed")
            assert failed.keys() == KEYS | {"case", "turn", "text", "error"}
        else:
            assert "  failed\n" in result.stdout
            assert f"{len(FILES) - 1} WAV files" in result.stdout
        assert left_in(tmp_path) == [name for name in FILES if name != "kugelaudio-turn-2.wav"]


def test_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 1 and a sentence."""

    def closed(provider: str, **options: object) -> Simulator:
        return Simulator(provider, key="another", **options)  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "PROVIDERS", ("xai",))
    monkeypatch.setattr(demo, "Simulator", closed)
    result = invoke("demo", "--out", str(tmp_path), *FAST, "--json")
    assert result.exit_code == 1 and not result.stdout and left_in(tmp_path) == []
    assert "Error: xai: " in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--out", ""), "the name of a directory"),
        (("--out", "/dev/null"), "cannot write to /dev/null: "),
        (("--out", "/dev/null/x"), "cannot write to /dev/null/x: "),
        (("--rtf", "-1"), "rtf cannot be -1.0"),
        (("--ttfa-ms", "nan"), "ttfa_ms cannot be nan"),
        (("--engine", "kazoo"), "'kazoo' is not one of"),
        (("extra",), "unexpected extra argument"),
    ],
)
def test_wrong_use(args: tuple[str, ...], words: str) -> None:
    """Status 2 and a sentence; nothing was begun."""
    result = invoke("demo", "--engine", "tone", *args)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert words in result.stderr and not result.stdout


def test_an_engine_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence says what to install."""

    def refuse(name: str) -> Engine:
        raise EngineUnavailable(f"no {name}: install it")

    monkeypatch.setattr(demo, "create_engine", refuse)
    result = invoke("demo", "--engine", "espeak")
    assert result.exit_code == 2 and result.stderr == "Error: no espeak: install it\n"
