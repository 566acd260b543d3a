"""What ships, and what is written about it in more than one place."""

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from ttsmux.adapters import OURS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADAPTERS = PROJECT["entry-points"]["ttsmux.adapters"]

LOADED_WHEN_NEEDED = {
    "anyio",
    "asyncio",
    "click",
    "h11",
    "httpcore",
    "httpx",
    "msgspec",
    "pybase64",
    "rich",
    "structlog",
    "trio",
    "websocket",
    "websockets",
}


def test_the_version_is_written_once() -> None:
    """The package says what the installed metadata says."""
    import ttsmux

    assert ttsmux.__version__ == version("ttsmux")


def test_supported_pythons_are_the_tested_ones() -> None:
    """The classifiers, which the test sessions follow, and the version file name the same."""
    prefix = "Programming Language :: Python :: 3."
    classified = ["3." + c.removeprefix(prefix) for c in PROJECT["classifiers"] if prefix in c]
    assert classified == (ROOT / ".python-version").read_text().split()
    assert PROJECT["requires-python"].startswith(f">={classified[0]},")


def test_ci_runs_the_readmes_test_command() -> None:
    """The README names exactly one command, and the script that CI runs looks for its beginning."""
    command = "python -m pip install nox && python -m nox -s tests"
    assert (ROOT / "README.md").read_text().splitlines().count(command) == 1
    assert command.split(" && ")[0] in (ROOT / ".ci" / "run").read_text()


def test_every_adapter_can_be_found() -> None:
    """Each module of adapters has an entry point, and each entry point a module."""
    modules = {path.stem for path in (ROOT / "src/ttsmux/adapters").glob("[!_]*.py")}
    assert {target.split(":")[0].rpartition(".")[2] for target in ADAPTERS.values()} == modules


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_entry_point_loads_the_adapter_of_that_name(name: str) -> None:
    """The name in the entry point is the name that the adapter gives itself."""
    (found,) = entry_points(group="ttsmux.adapters", name=name)
    assert found.load().name == name


def test_the_table_of_adapters_says_what_the_entry_points_say() -> None:
    """It is there because they take long to read."""
    assert {name: f"ttsmux.adapters.{name}:{kind}" for name, kind in OURS.items()} == ADAPTERS


def test_importing_the_package_loads_nothing_heavy() -> None:
    """A wire library, a JSON library or a logger is loaded when first needed."""
    script = "import sys, ttsmux; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = {module.partition(".")[0] for module in done.stdout.split()}
    assert not loaded & LOADED_WHEN_NEEDED
