"""What only a process of its own shows: pipes, signals, terminals."""

import json
import signal
import sys
import time
import wave
from pathlib import Path

import pytest

from tests.cli.shell import COMMAND, KEYS, TIMEOUT, finish, left_in, run, start, terminal
from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import decode_text

LONG = " ".join(f"word{n}" for n in range(200))


def speaking(sim: Simulator) -> None:
    """Wait until it has sent some audio."""
    sim.wait_for(lambda log: sum("audio_bytes" in str(record) for record in log) > 2, TIMEOUT)


def keeps(folder: Path, size: int) -> None:
    """Wait until it has written that much, which nothing tells."""
    deadline = time.monotonic() + TIMEOUT
    while sum(path.stat().st_size for path in folder.iterdir()) < size:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said(sim: Simulator, words: str) -> None:
    sim.wait_for(lambda log: any(words in str(r) for r in log if r["event"] == "recv"), TIMEOUT)


@pytest.mark.parametrize("provider", ["gradium", "kugelaudio", "xai"])
def test_standard_input_is_spoken_as_it_arrives(provider: str) -> None:
    """Text is at the provider, and audio in our hands, while standard input is still open."""
    with Simulator(provider) as sim:
        args = ("--provider", provider, "--base-url", sim.url, "--voice", sim.default_voice)
        with start("say", "-", *args, "--out", "-") as process:
            assert process.stdin and process.stdout
            process.stdin.write(b"Hello my dear ")
            said(sim, "Hello")
            sound = process.stdout.read(1)
            process.stdin.write("wörld".encode()[:2])
            process.stdin.write("wörld".encode()[2:] + b" again.")
            process.stdin.close()
            sound += process.stdout.read()
            assert process.wait(TIMEOUT) == 0
    assert decode_text(sound, 24000) == "Hello my dear wörld again."


def test_standard_input_that_is_no_text() -> None:
    """The speech fails, in the middle of it if need be."""
    with Simulator("xai") as sim:
        args = ("--provider", "xai", "--base-url", sim.url, "--json")
        with start("say", "-", *args) as process:
            assert process.stdin
            process.stdin.write(b"Hello \xff there")
            status, out, err = finish(process)
    assert status == 1 and json.loads(out)["outcome"] == "failed"
    assert err == "Error: xai: standard input is not the UTF-8 text it should be\n"


def test_standard_input_that_is_closed() -> None:
    """Wrong use, in a sentence."""
    shell = ("sh", "-c", 'exec "$@" <&-', "sh", *COMMAND)
    status, out, err = run("say", "-", "--provider", "xai", "--simulate", command=shell)
    assert (status, out) == (2, "") and err == "Error: standard input is closed, and TEXT is '-'\n"


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_interrupts(number: signal.Signals, expected: int) -> None:
    """The speech ends as interrupted, and says so."""
    with Simulator("gradium", rtf=1) as sim:
        args = ("--provider", "gradium", "--base-url", sim.url, "--voice", sim.default_voice)
        with start("say", LONG, *args, "--json") as process:
            speaking(sim)
            process.send_signal(number)
            status, out, err = finish(process)
    found = json.loads(out)
    assert (status, err) == (expected, "") and found.keys() == KEYS
    assert found["outcome"] == "interrupted"


def test_an_interrupted_speech_keeps_what_was_received(tmp_path: Path) -> None:
    """The file is a whole WAV file of a part of the speech."""
    path = tmp_path / "part.wav"
    with Simulator("xai", rtf=1) as sim:
        args = ("--provider", "xai", "--base-url", sim.url, "--out", str(path))
        with start("say", LONG, *args) as process:
            keeps(tmp_path, 40_000)
            process.send_signal(signal.SIGINT)
            status, out, err = finish(process)
    assert (status, err) == (130, "") and f"saved: {path}, as far as it was received" in out
    with wave.open(str(path)) as file:
        words = decode_text(file.readframes(file.getnframes()), 24000)
    assert words and LONG.startswith(words.rsplit(" ", 1)[0])
    assert left_in(tmp_path) == ["part.wav"]


def test_interrupted_before_any_audio_there_is_no_file(tmp_path: Path) -> None:
    """Also while it waits for text, and at once."""
    path = tmp_path / "old.wav"
    path.write_text("old")
    with Simulator("xai", ttfa_ms=60_000) as sim:
        args = ("--provider", "xai", "--base-url", sim.url, "--out", str(path))
        with start("say", "-", *args) as process:
            assert process.stdin
            process.stdin.write(b"Hello ")
            said(sim, "Hello")
            process.send_signal(signal.SIGINT)
            # Its standard input stays open.
            assert process.wait(TIMEOUT) == 130
            assert process.stdout and process.stderr
            assert process.stderr.read() == b""
            assert b"saved: nothing\n" in process.stdout.read()
    assert left_in(tmp_path) == ["old.wav"] and path.read_text() == "old"


def test_a_reader_that_leaves_is_no_news() -> None:
    """As with head: the speech is interrupted, without a word."""
    with Simulator("xai") as sim:
        args = ("--provider", "xai", "--base-url", sim.url, "--out", "-")
        with start("say", LONG, *args) as process:
            assert process.stdout and process.stderr
            assert process.stdout.read(1)
            process.stdout.close()
            assert process.wait(TIMEOUT) == 1
            assert process.stderr.read() == b""


@pytest.mark.parametrize("rest", [("--json",), ()])
def test_a_reader_that_was_never_there(rest: tuple[str, ...]) -> None:
    """Nothing is said about what could not be printed."""
    with Simulator("xai") as sim:
        args = ("--provider", "xai", "--base-url", sim.url, *rest)
        with start("say", "-", *args) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdout.close()
            # It prints nothing before it has something to say.
            process.stdin.write(b"Hello")
            process.stdin.close()
            assert process.wait(TIMEOUT) == 1
            assert process.stderr.read() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals differ")
def test_on_a_terminal() -> None:
    """Progress while it speaks, then a table in colour."""
    with Simulator("xai") as sim:
        status, seen = terminal("say", "Hello there", "--provider", "xai", "--base-url", sim.url)
    assert status == 0
    assert "xai: waiting for the first audio" in seen and "s of audio" in seen
    assert "\x1b[1;32mspoken by\x1b[0m" in seen and "nothing; --out FILE.wav keeps" in seen


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals differ")
def test_a_terminal_gets_no_raw_audio() -> None:
    """It would only make a mess."""
    args = ("--provider", "xai", "--simulate", "--engine", "tone", "--out", "-")
    status, seen = terminal("say", "Hello", *args)
    assert status == 2 and "send standard output somewhere" in seen
