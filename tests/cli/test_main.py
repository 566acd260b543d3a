"""The command as such: versions, help, and life without the extra."""

import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.cli.shell import COMMAND, invoke, run
from ttsmux import __version__, cli
from ttsmux.cli.app import COMMANDS
from ttsmux.client.options import adapter_names
from ttsmux.simulate import PROVIDERS

WITHOUT = "import sys; sys.modules[{!r}] = None; from ttsmux.cli import main; sys.exit(main())"
NEEDS = "the ttsmux command needs click and rich: pip install 'ttsmux[cli]'\n"


@pytest.mark.parametrize("missing", ["click", "rich"])
@pytest.mark.parametrize("args", [("say", "Hello", "--provider", "xai"), ("simulate", "xai"), ()])
def test_without_the_extra(missing: str, args: tuple[str, ...]) -> None:
    """One line that says what to do, and status 2."""
    command = (sys.executable, "-W", "error", "-c", WITHOUT.format(missing))
    assert run(*args, command=command) == (2, "", NEEDS)


def test_the_version_needs_no_extra() -> None:
    """It is the same with it and without."""
    expected = (0, f"ttsmux {__version__}\n", "")
    command = (sys.executable, "-W", "error", "-c", WITHOUT.format("click"))
    assert run("--version", command=command) == expected
    assert run("--version") == expected


def test_the_installed_command_is_this_one() -> None:
    """The script of the package and python -m run the same function."""
    (script,) = entry_points(group="console_scripts", name="ttsmux")
    assert script.load() is cli.main


def test_main_returns_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not end the process; that is for the script."""
    assert cli.main(["--version"]) == 0
    assert cli.main(["say", "--help"]) == 0
    assert cli.main(["simulate", "acme"]) == 2
    assert cli.main(["sing"]) == 2
    assert "No such command 'sing'" in capsys.readouterr().err


def test_help_lists_the_commands() -> None:
    """Each with its first sentence."""
    result = invoke("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout
        assert invoke(name, "-h").exit_code == 0


def test_a_simulator_loads_no_client() -> None:
    """Commands are imported when they are called."""
    script = (
        "import sys; from ttsmux.cli import main; main(['simulate', 'acme']);"
        "print(*sys.modules, sep='\\n')"
    )
    _, out, _ = run(command=(*COMMAND[:3], "-c", script))
    loaded = set(out.split())
    assert "ttsmux.simulate" in loaded and "ttsmux.cli.say" not in loaded
    assert not {"ttsmux.client", "ttsmux.client.sync", "rich.table"} & loaded


def test_no_command_knows_a_provider() -> None:
    """They go by entry points, traits and the list of simulators, so that another one fits in."""
    names = "|".join({*PROVIDERS, *adapter_names()})
    for path in Path(cli.__file__).parent.glob("*.py"):
        found = re.findall(rf"(?i)(?<![a-z0-9])(?:{names})(?![a-z0-9])", path.read_text())
        assert not found, f"{path.name} names {found}"
    assert set(PROVIDERS) <= set(adapter_names())
