"""The simulator from the command line."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ttsmux
from tests.cli.shell import finish, invoke, start
from ttsmux.simulate import ACTIONS, PROVIDERS
from ttsmux.simulate.engines.tone import decode_text

VOICES = {"elevenlabs": "V1", "gradium": "YTpq7expH9539ERJ", "kugelaudio": "1071", "xai": "eve"}


@contextmanager
def simulated(provider: str, *args: str) -> Iterator[str]:
    """Its URL. It ends as asked, with nothing more to say than what it speaks with."""
    with start("simulate", provider, "--engine", "tone", *args) as process:
        assert process.stdout
        ready, name, url = process.stdout.readline().decode().split()
        assert (ready, name) == ("ready", provider) and url.startswith("ws://127.0.0.1:")
        yield url
        process.send_signal(signal.SIGTERM)
        status, out, err = finish(process)
        assert (status, out) == (0, "") and err.startswith("engine: tone") and err.count("\n") == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_serves_until_sigterm(provider: str, tmp_path: Path) -> None:
    """One ready line; any client may come, with a key or without; the log is a file."""
    log = tmp_path / "log.jsonl"
    with simulated(provider, "--log", str(log)) as url:
        for key in ("a-key", None):
            with ttsmux.Client(
                provider, voice=VOICES.get(provider), base_url=url, api_key=key
            ) as tts:
                speech = tts.speak("Hello there.")
                assert decode_text(speech.read(), speech.format.rate) == "Hello there."
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events[0] == "dial" and events.count("generation") == 2


def test_faults_happen() -> None:
    """Each where it was asked for."""
    once, no_spares = ttsmux.RetryPolicy(attempts=1), ttsmux.PoolLimits(min_idle=0)
    faults = ("--fault", "status=503@connect:1", "--fault", "error=No voice today@request:1")
    with (
        simulated("xai", *faults) as url,
        ttsmux.Client("xai", base_url=url, retry=once, pool=no_spares, fallback=None) as tts,
    ):
        with pytest.raises(ttsmux.HandshakeError, match="503"):
            tts.speak("Hello").read()
        with pytest.raises(ttsmux.GenerationError, match="No voice today"):
            tts.speak("Hello").read()
        assert tts.speak("Hello").read()


def test_the_provider_has_options_of_its_own() -> None:
    """A key can be required after all."""
    with (
        simulated("xai", "--option", "key=right") as url,
        ttsmux.Client("xai", base_url=url, api_key="wrong") as tts,
        pytest.raises(ttsmux.AuthError),
    ):
        tts.speak("Hello").read()


def test_waiting_is_what_was_asked_for() -> None:
    """The first audio comes no sooner."""
    with (
        simulated("xai", "--ttfa-ms", "150", "--handshake-ms", "50", "--rtf", "0.1") as url,
        ttsmux.Client("xai", base_url=url) as tts,
    ):
        speech = tts.speak("Hello")
        assert speech.read()
    assert speech.metrics.ttfa is not None and speech.metrics.ttfa >= 0.149
    assert speech.metrics.connect is not None and speech.metrics.connect >= 0.049


def test_a_port_that_is_taken() -> None:
    """Status 1 and a sentence."""
    with simulated("xai") as url:
        result = invoke("simulate", "xai", "--engine", "tone", "--port", url.rpartition(":")[2])
    assert result.exit_code == 1 and not result.stdout
    assert "cannot start: " in result.stderr and "in use" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("acme",), "'acme' is not one of"),
        (("xai", "--fault", "burn"), "unknown fault 'burn'; known: refuse, status"),
        (("xai", "--fault", "reset@moon:1"), "known: connect:N, request:N, chunk:K"),
        (("gradium", "--fault", "no-ack"), "gradium has no cancel message"),
        (("xai", "--engine", "tone", "--rtf", "-1"), "rtf cannot be -1.0"),
        (("XAI",), "did you mean 'xai'?"),
        (("xai", "--option", "sausage=1"), "the simulated xai has no option 'sausage'; it has "),
        (("xai", "--option", "require_key=sausage"), "require_key of the simulated xai does not"),
        (("xai", "--option", "port=1"), "port is no option of the simulated xai"),
        (("xai", "--port", "70000"), "70000 is not in the range"),
        (("xai", "--log", "/"), "is a directory"),
    ],
)
def test_wrong_use(args: tuple[str, ...], words: str) -> None:
    """Status 2 and a sentence; nothing is served."""
    result = invoke("simulate", *args)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert words in result.stderr and not result.stdout
    assert "__init__" not in result.stderr


def test_options_that_a_third_partys_simulator_cannot_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are not asked for one by one."""

    def make(name: str, options: dict[str, str]) -> None:
        raise TypeError("it needs two")

    monkeypatch.setattr("ttsmux.simulate.simulator.create_provider", make)
    monkeypatch.setattr("ttsmux.cli.simulate.create_provider", make)
    result = invoke("simulate", "xai", "--engine", "tone", "--option", "one=1")
    assert result.exit_code == 2 and result.stderr == "Error: it needs two\n"


def test_help_lists_the_faults() -> None:
    """All of them, a line each, and where they can happen."""
    lines = invoke("simulate", "--help").stdout.splitlines()
    for action in ACTIONS:
        assert any(line.split()[:1] == [action] for line in lines), action
    assert any("connect:N" in line for line in lines)
