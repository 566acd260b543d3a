"""One speech from the command line: what it prints, what it saves, how it ends."""

import os
import re
import subprocess
import wave
from pathlib import Path

import pytest

from tests.cli.shell import COMMAND, KEYS, facts, invoke, left_in
from ttsmux.client.options import find_adapter
from ttsmux.simulate import PROVIDERS, Simulator
from ttsmux.simulate.engines import Engine, EngineUnavailable
from ttsmux.simulate.engines.tone import decode_text

TEXT = "Hello there, world."
ARABIC = (
    "صباح الخير، كيف أستطيع مساعدتك؟ قطارك يغادر في الساعة التاسعة. هل أحجز لك مقعداً؟ "
    "إنها قصة طويلة تبدأ في بلدة صغيرة على شاطئ البحر، حيث كان الناس يعرف بعضهم بعضاً، "
    "وتنتهي في مدينة كبيرة لا يعرف فيها أحد أحداً؛ وما بينهما ثلاثون عاماً من السفر "
    "والعمل والانتظار، ورسائل لم تصل."
)
SIMULATED = ("--simulate", "--engine", "tone")
KEY = {"XAI_API_KEY": "a-key", "GRADIUM_API_KEY": "a-key"}


def heard(path: Path) -> tuple[str, int]:
    """The words in a WAV file, and its rate."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        rate = file.getframerate()
        return decode_text(file.readframes(file.getnframes()), rate), rate


def rate(provider: str) -> int:
    return find_adapter(provider)(voice="v").options().format.rate


@pytest.mark.parametrize("provider", PROVIDERS)
def test_json(provider: str) -> None:
    """One object, one line, and nothing else on standard output."""
    result = invoke("say", TEXT, "--provider", provider, *SIMULATED, "--json")
    assert result.exit_code == 0
    found = facts(result)
    assert found.keys() == KEYS
    assert found["provider"] == provider and found["outcome"] == "completed"
    assert found["dials"] == found["attempts"] == 1 and found["connection_reused"] is False
    size, seconds, ttfa = found["bytes"], found["audio_seconds"], found["ttfa_ms"]
    assert isinstance(size, int) and seconds == pytest.approx(size / (2 * rate(provider)))
    assert isinstance(ttfa, float) and ttfa > 0


def test_a_summary_is_plain_where_no_terminal_is() -> None:
    """Labels and values a line each, no colours, and a word on where the audio is."""
    result = invoke("say", TEXT, "--provider", "xai", *SIMULATED)
    assert result.exit_code == 0
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert lines["outcome"] == "completed" and lines["provider"] == "xai (simulated)"
    assert lines["voice"] == "eve, auto" and lines["text"] == "19 characters"
    assert lines["saved"] == "nothing; --out FILE.wav keeps the audio"
    assert lines["connection"].endswith("1 dial") and "\x1b" not in result.output
    assert result.stderr == "engine: tone\n"


@pytest.mark.parametrize("more", [(), ("--json",), ("--out", "-")])
def test_explain_says_where_the_time_went(more: tuple[str, ...]) -> None:
    """Beside what is asked for, which it leaves alone."""
    result = invoke("say", TEXT, "--provider", "xai", *SIMULATED, *more, "--explain")
    assert result.exit_code == 0
    *before, after = result.stderr.split("\nspeech 1 on xai: completed\n")
    assert before[0].startswith("engine: tone\n")
    assert re.search(r"^first audio +[\d,]+ ms$", after, re.MULTILINE)
    assert TEXT not in after and "first audio " not in result.stdout
    if more == ("--json",):
        assert facts(result).keys() == KEYS


def test_explain_also_says_it_of_a_failure() -> None:
    """Where it is needed most."""
    result = invoke(
        "say", TEXT, "--provider", "xai", "--base-url", "ws://127.0.0.1:1", "--explain", **KEY
    )
    assert result.exit_code == 1
    assert "\nspeech 1 on xai: failed (ConnectError)\n" in result.stderr
    assert re.search(r"^failed dials +[\d,]+ ms", result.stderr, re.MULTILINE)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_out_saves_a_wav_file(provider: str, tmp_path: Path) -> None:
    """In the format asked for, under its name, with nothing beside it."""
    path = tmp_path / "hello.wav"
    args = ("--provider", provider, *SIMULATED, "--format", "pcm_16000", "--out", str(path))
    result = invoke("say", TEXT, *args)
    assert result.exit_code == 0 and f"saved: {path}\n" in result.stdout
    assert heard(path) == (TEXT, 16000)
    assert left_in(tmp_path) == ["hello.wav"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_out_to_standard_output_is_audio_and_nothing_else(provider: str) -> None:
    """Words for people go to standard error then."""
    result = invoke("say", TEXT, "--provider", provider, *SIMULATED, "--out", "-")
    assert result.exit_code == 0
    assert decode_text(result.stdout_bytes, rate(provider)) == TEXT
    assert "saved: written to standard output\n" in result.stderr


@pytest.mark.parametrize("engine", [("--engine", "auto"), ()])
def test_the_best_engine_there_is_speaks(engine: tuple[str, ...]) -> None:
    """Which one that is, is said on standard error."""
    result = invoke("say", TEXT, "--provider", "gradium", "--simulate", *engine, "--json")
    assert result.exit_code == 0 and facts(result)["outcome"] == "completed"
    assert re.fullmatch(r"engine: (tone|espeak-ng [\w.-]+)\n", result.stderr)


def test_no_simulator_of_a_third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an adapter, but nothing to start."""
    monkeypatch.setattr("ttsmux.cli.say.simulator_names", lambda: ["gradium"])
    result = invoke("say", TEXT, "--provider", "xai", *SIMULATED)
    assert result.exit_code == 2
    assert result.stderr == "Error: there is no simulator of xai; there are: gradium\n"


def test_an_engine_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence says what to install."""

    def refuse(name: str) -> Engine:
        raise EngineUnavailable(f"no {name}: install it")

    monkeypatch.setattr("ttsmux.simulate.simulator.create_engine", refuse)
    for args in (("say", TEXT, "--simulate", "--provider"), ("simulate",)):
        result = invoke(*args, "xai", "--engine", "espeak")
        assert result.exit_code == 2 and result.stderr == "Error: no espeak: install it\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("wanted", [("--out", "-"), ("--json",), ()])
def test_a_disk_that_is_full(wanted: tuple[str, ...]) -> None:
    """Status 1 and a sentence: whoever wanted the output does not have it."""
    with open("/dev/full", "wb") as full:
        args = ("say", TEXT, "--provider", "xai", *SIMULATED, *wanted)
        done = subprocess.run([*COMMAND, *args], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "No space left on device\n" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_to_say(text: str, tmp_path: Path) -> None:
    """It completes without a dial; a file is an empty one."""
    path = tmp_path / "empty.wav"
    args = ("--provider", "gradium", *SIMULATED, "--json", "--out", str(path))
    result = invoke("say", text, *args)
    assert result.exit_code == 0
    found = facts(result)
    assert found["outcome"] == "completed" and found["ttfa_ms"] is None
    assert found["bytes"] == found["dials"] == found["attempts"] == 0
    assert heard(path) == ("", 24000)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("text", [ARABIC, "-"], ids=["argument", "input"])
def test_arabic(provider: str, text: str, tmp_path: Path) -> None:
    """Every word, in order, where whole sentences are sent as well; counted in characters."""
    path = tmp_path / "arabic.wav"
    args = ("--provider", provider, *SIMULATED, "--out", str(path))
    result = invoke("say", text, *args, input=ARABIC)
    assert result.exit_code == 0 and heard(path)[0] == ARABIC
    assert f"text: {len(ARABIC)} characters\n" in result.stdout


def test_standard_input() -> None:
    """A dash stands for it."""
    args = ("--provider", "gradium", *SIMULATED, "--out", "-")
    result = invoke("say", "-", *args, input="Hello\nthère.\n")
    assert result.exit_code == 0
    assert decode_text(result.stdout_bytes, 24000) == "Hello thère."
    assert "text: 13 characters\n" in result.stderr


def test_options_reach_the_provider_as_what_they_are() -> None:
    """Those all providers have by their names, its own by --option."""
    with Simulator("xai") as sim:
        own = ("--option", "speed=1.25", "--option", "with_timestamps=yes")
        common = ("--voice", "ara", "--language", "pt-BR", "--format", "mulaw_8000")
        args = ("--provider", "xai", "--base-url", sim.url, *own, *common)
        result = invoke("say", TEXT, *args, **KEY)
        assert result.exit_code == 0
        (query,) = (record["query"] for record in sim.log if record["event"] == "open")
    assert isinstance(query, dict)
    assert query.items() >= {"speed": "1.25", "with_timestamps": "true", "voice": "ara"}.items()
    assert query.items() >= {"language": "pt-BR", "codec": "mulaw", "sample_rate": "8000"}.items()


def test_a_simulator_never_sees_the_users_key() -> None:
    """One that is unfit does not matter either."""
    args = ("--provider", "xai", *SIMULATED)
    assert invoke("say", TEXT, *args, XAI_API_KEY="not\na key").exit_code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ("--provider", "acme"),
            "no provider is called 'acme'; there are: elevenlabs, gradium, kugelaudio, sm, xai",
        ),
        (("--provider", "XAI", *SIMULATED), "no provider is called 'XAI'; did you mean 'xai'?"),
        (("--provider", "gradum"), "no provider is called 'gradum'; did you mean 'gradium'?"),
        (("--provider", "xai"), "no API key: set the environment variable XAI_API_KEY"),
        ((), "Missing option '--provider'"),
        (("--provider", "gradium", "--base-url", "ws://[::1]:9"), "say one with --voice"),
        (("--provider", "xai", "--option", "foo=1"), "no option 'foo'; it has speed, optimize"),
        (("--provider", "xai", "--option", "speed=fast"), "speed of xai takes a number, not"),
        (("--provider", "xai", "--option", "speed"), "the form is KEY=VALUE"),
        (("--provider", "xai", "--option", "voice=eve"), "an option of its own: --voice"),
        (("--provider", "gradium", *SIMULATED, "--option", "seats=0"), "seats must be 1 or more"),
        (("--provider", "xai", *SIMULATED, "--format", "mp3"), "unknown audio format 'mp3'"),
        (("--provider", "xai", *SIMULATED, "--voice", "e v e"), "cannot be a voice id"),
        (("--provider", "xai", *SIMULATED, "--json", "--out", "-"), "both want standard output"),
        (("--provider", "xai", *SIMULATED, "--base-url", "ws://h"), "leave one out"),
        (("--provider", "xai", "--engine", "tone"), "add --simulate"),
        (("--provider", "xai", "--simulate", "--engine", "kazoo"), "'kazoo' is not one of"),
        (("--provider", "xai", *SIMULATED, "--out", ""), "the name of a file, or -"),
        (("--provider", "xai", *SIMULATED, "--out", "/dev/null"), "wants a plain file"),
        (("--provider", "xai", *SIMULATED, "--out", "hello.mp3"), "--out writes WAV: hello.mp3"),
        (("--provider", "sm", *SIMULATED, "--language", "ar"), "there is no language to choose"),
        (("--provider", "xai", *SIMULATED, "--option", "speed=99"), "between 0.7 and 1.5, not 99"),
        (
            ("--provider", "xai", *SIMULATED, "--out", "no/such/dir.wav"),
            "No such file or directory",
        ),
        (("--provider", "xai", "--base-url", "ftp://host"), "--base-url must look like wss://host"),
    ],
)
def test_wrong_use(args: tuple[str, ...], words: str) -> None:
    """Status 2 and a sentence on standard error, in the terms of a shell, and nothing else."""
    result = invoke("say", TEXT, *args)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert words in result.stderr.replace("\n", " ") and not result.stdout
    assert not re.search(r"\b[a-z_]+=|\(\)|engine:", result.stderr)


@pytest.mark.parametrize("name", ["hello", "hello.WAV", "hello.wave"])
def test_names_that_a_wav_file_may_have(name: str, tmp_path: Path) -> None:
    """An extension is not needed, and may be in any case."""
    path = tmp_path / name
    result = invoke("say", TEXT, "--provider", "xai", *SIMULATED, "--out", str(path))
    assert result.exit_code == 0 and heard(path) == (TEXT, 24000)


def test_a_key_that_would_travel_in_plain_text_is_wrong_use() -> None:
    """Nothing is sent, and there is no speech to report."""
    args = ("--provider", "xai", "--base-url", "ws://host.invalid", "--json")
    result = invoke("say", TEXT, *args, **KEY)
    assert result.exit_code == 2 and not result.stdout
    assert "the key would go to host.invalid unencrypted; use wss://\n" in result.stderr


def test_text_that_cannot_be_sent_is_wrong_use(tmp_path: Path) -> None:
    """A lone surrogate, as a byte that is no text becomes on a command line; no file is left."""
    args = ("--provider", "xai", *SIMULATED, "--out", str(tmp_path / "no.wav"))
    result = invoke("say", "\udcff", *args)
    assert result.exit_code == 2 and "lone surrogate" in result.stderr
    assert left_in(tmp_path) == []


def test_a_speech_that_fails(tmp_path: Path) -> None:
    """Status 1, the error's sentence, and the file that was there before as it was."""
    path = tmp_path / "old.wav"
    path.write_text("old")
    with Simulator("xai", faults=["error=No voice today@chunk:5"], rtf=0.5) as sim:
        args = ("--provider", "xai", "--base-url", sim.url, "--out", str(path))
        result = invoke("say", TEXT, *args, **KEY)
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == "Error: xai: No voice today\n"
    assert left_in(tmp_path) == ["old.wav"] and path.read_text() == "old"


def test_json_of_a_speech_that_fails() -> None:
    """The same object, and the sentence in it; the sentence is for people too."""
    with Simulator("xai", faults=["error=No voice today"]) as sim:
        args = ("--provider", "xai", "--base-url", sim.url, "--json")
        result = invoke("say", TEXT, *args, **KEY)
    assert result.exit_code == 1
    found = facts(result)
    assert found.keys() == KEYS | {"error"}
    assert found["outcome"] == "failed" and found["attempts"] == 10 and found["bytes"] == 0
    assert found["error"] == "xai: No voice today"
    assert result.stderr == "Error: xai: No voice today\n"


def test_a_repeated_attempt_is_counted() -> None:
    """The caller hears nothing of the first one."""
    with Simulator("xai", faults=["reset@request:1"]) as sim:
        args = ("--provider", "xai", "--base-url", sim.url, "--json")
        result = invoke("say", TEXT, *args, **KEY)
    assert result.exit_code == 0
    assert facts(result)["attempts"] == 2 and facts(result)["dials"] == 2
