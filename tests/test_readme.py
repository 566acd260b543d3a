"""
What the README shows works, as it stands there.

Its Python runs unchanged; the providers' own addresses lead to simulators while it does. Of its
shell lines, those of ours run, and those of nox name sessions that there are.
"""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from click.testing import CliRunner

from ttsmux.audio import FORMATS
from ttsmux.cli.app import app
from ttsmux.client.options import adapter_names, find_adapter
from ttsmux.core.route import Route
from ttsmux.simulate import PROVIDERS, Simulator

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (found[1], found[2], README[: found.start(2)].count("\n")) for found in BLOCK.finditer(README)
]
PYTHON = [
    pytest.param(code, line, id=f"line{line}") for kind, code, line in BLOCKS if kind == "python"
]
SHELL = [line.strip() for kind, text, _ in BLOCKS if kind == "sh" for line in text.splitlines()]
NOX = "python -m pip install nox && python -m nox -s "


@pytest.fixture
def simulators(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Simulator]]:
    """One in the place of each provider; its key is in the environment, as a reader's would be."""
    running = {name: Simulator(name, key=f"the-{name}-key") for name in PROVIDERS}

    def rebased(self: Route, url: str) -> str:
        found = running[self.adapter.name].url if self.base_url is None else self.base_url
        here, theirs = urlsplit(found), urlsplit(url)
        return urlunsplit((here.scheme, here.netloc, theirs.path, theirs.query, ""))

    monkeypatch.setattr(Route, "_rebased", rebased)
    for name, simulator in running.items():
        monkeypatch.setenv(find_adapter(name).traits.key_variable, f"the-{name}-key")
        simulator.start()
    yield running
    for simulator in running.values():
        simulator.close()


@pytest.mark.parametrize(("code", "line"), PYTHON)
def test_python(
    code: str,
    line: int,
    simulators: dict[str, Simulator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It runs, is heard by a provider, keeps its rules, and shows or saves something."""
    monkeypatch.chdir(tmp_path)
    # Lines as in the README, so that a traceback leads there.
    exec(compile("\n" * line + code, ROOT / "README.md", "exec"), {"__name__": "__main__"})
    saved = list(tmp_path.iterdir())
    assert capsys.readouterr().out or saved
    assert all(path.suffix == ".wav" and path.stat().st_size > 44 for path in saved)
    assert not [
        one for sim in simulators.values() for one in sim.log if one["event"] == "violation"
    ]
    if "Simulator" not in code:
        assert sum(sim.dials for sim in simulators.values())


def test_there_is_an_example_of_each_kind() -> None:
    """Threads, tasks, text that streams, an interruption, and life without a key."""
    code = "".join(text for kind, text, _ in BLOCKS if kind == "python")
    for shown in ("ttsmux.Client(", "ttsmux.AsyncClient(", "AsyncIterator[str]", ".interrupt()"):
        assert shown in code
    assert code.count("base_url=sim.url") == 1


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("ttsmux ")])
def test_our_command(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does what it is shown to do, with no key at hand."""
    monkeypatch.chdir(tmp_path)
    args = shlex.split(line)[1:]
    if args[0] == "demo":
        args += ["--engine", "tone", "--handshake-ms", "10", "--rtf", "0"]
    without = {find_adapter(name).traits.key_variable: None for name in adapter_names()}
    result = CliRunner().invoke(app, args, env=without)
    assert result.exit_code == 0, result.output
    if "--out" in args:
        assert Path(args[args.index("--out") + 1]).exists()


def test_the_other_commands() -> None:
    """Each is one that a shell can read; those of nox name sessions that there are."""
    others = [line for line in SHELL if not line.startswith("ttsmux ")]
    for line in others:
        subprocess.run(["sh", "-n", "-c", line], check=True, timeout=120)
    sessions = {
        node.name
        for node in ast.parse((ROOT / "noxfile.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    assert [line.removeprefix(NOX) for line in others if "nox" in line] == ["demo", "tests"]
    assert {"demo", "tests"} <= sessions
    assert set(re.findall(r"`python -m nox -s (\w+)", README)) <= sessions
    assert sum("-m venv" in line for line in others) == 1


def test_ci_finds_the_tests_command() -> None:
    """The first line that begins as CI looks for it is not the demo's."""
    (pattern,) = re.findall(
        r"grep --max-count=1 '([^']+)' README.md", (ROOT / ".ci/run").read_text()
    )
    first = next(line for line in README.splitlines() if re.match(pattern, line))
    assert first == f"{NOX}tests"


def test_the_table_of_providers() -> None:
    """It says what the traits say, of every provider that can be simulated, and so is ours."""
    lines = README[README.index("\n## Providers") :].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    table = {row[0]: row[1:] for row in rows}
    assert sorted(name.lower() for name in table[""]) == sorted(PROVIDERS)
    formats: set[str] = set()
    for place, name in enumerate(table[""]):
        said = {label: cells[place] for label, cells in table.items()}
        traits = find_adapter(name.lower()).traits
        assert said["key"] == f"`{traits.key_variable}`"
        assert said["speeches on a connection"].startswith(str(traits.seats))
        assert said["when interrupted"].startswith(f"`{traits.interrupt.value}`")
        replaced = said["a connection is replaced"]
        assert (f"{traits.max_age:g} s old" in replaced) == (traits.max_age is not None)
        assert ("idle" in replaced) == (traits.max_idle is not None)
        if traits.max_idle is not None:
            assert f"idle for {traits.max_idle:g} s" in replaced
        assert (said["voice"] == "required") == traits.voice_required
        assert traits.voice is None or f"`{traits.voice}`" in said["voice"]
        if said["formats"] != "the same":
            formats = _formats(said["formats"])
        assert formats == set(traits.formats)
        assert (ROOT / said["more"].partition("(")[2].rstrip(")")).exists()


def _formats(words: str) -> set[str]:
    """Return the formats that *words* name; "`a` to `b`" has all rates between."""
    named = set(re.findall(r"`(\w+)`", words))
    for low, high in re.findall(r"`pcm_(\d+)` to `pcm_(\d+)`", words):
        named |= {
            f"pcm_{rate}"
            for rate in sorted({each.rate for each in FORMATS.values()})
            if int(low) <= rate <= int(high)
        }
    return named


def test_links_lead_somewhere() -> None:
    """To files that are in the checkout."""
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (ROOT / target).exists(), target
