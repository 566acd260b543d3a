"""
What the pages of the documentation show as a whole program works, as it stands there.

A whole program is one that begins with its imports.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ttsmux.client.options import find_adapter
from ttsmux.core.route import Route
from ttsmux.simulate import PROVIDERS, Simulator

DOCS = Path(__file__).parents[1] / "docs"
PROGRAM = re.compile(r"^```python\n(import .*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = (
    "index.md",
    "rest.md",
    "speaking.md",
    "barge-in.md",
    "metrics.md",
    "limits.md",
    "pool.md",
    "failover.md",
    "networks.md",
    "shutdown.md",
)
PROGRAMS = [
    pytest.param(found[1], id=f"{page}-{number}")
    for page in PAGES
    for number, found in enumerate(PROGRAM.finditer((DOCS / page).read_text(encoding="utf-8")))
]


@pytest.fixture
def simulators(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Simulator]]:
    """One in the place of each provider; its key is in the environment, as a reader's would be."""
    running = {name: Simulator(name, key=f"the-{name}-key") for name in PROVIDERS}
    rebased = Route._rebased

    def at_home(self: Route, url: str) -> str:
        # A simulator that the page itself has started is where it says.
        here = self.base_url or running[self.adapter.name].url
        return rebased(attrs.evolve(self, base_url=here), url)

    monkeypatch.setattr(Route, "_rebased", at_home)
    for name, simulator in running.items():
        monkeypatch.setenv(find_adapter(name).traits.key_variable, f"the-{name}-key")
        simulator.start()
    yield running
    for simulator in running.values():
        simulator.close()


@pytest.mark.parametrize("code", PROGRAMS)
def test_program(
    code: str,
    simulators: dict[str, Simulator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It runs, is heard by a provider, keeps its rules, and shows or saves something."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs", "exec"), {"__name__": "__main__"})
    saved = list(tmp_path.iterdir())
    assert capsys.readouterr().out or saved
    assert all(path.suffix == ".wav" and path.stat().st_size > 44 for path in saved)
    log = [record for sim in simulators.values() for record in sim.log]
    if "Simulator(" not in code and ".speak(" in code:
        assert [record for record in log if record["event"] == "generation"]
    assert not [record for record in log if record["event"] in ("violation", "refused")]


def test_there_is_a_program_for_each_face() -> None:
    code = "".join(str(program.values[0]) for program in PROGRAMS)
    assert "ttsmux.Client(" in code and "ttsmux.AsyncClient(" in code
    assert {str(program.id).rpartition("-")[0] for program in PROGRAMS} == set(PAGES)


def test_the_program_with_two_providers_speaks_with_either(
    simulators: dict[str, Simulator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the second one where the first one is not there."""
    [code] = [
        str(found.values[0])
        for found in PROGRAMS
        if "Client([" in str(found.values[0]) and "Simulator(" not in str(found.values[0])
    ]
    monkeypatch.chdir(tmp_path)
    for expected in ("gradium", "xai"):
        exec(compile(code, "docs", "exec"), {"__name__": "__main__"})
        spoke = {
            name
            for name, sim in simulators.items()
            if any(record["event"] == "generation" for record in sim.log)
        }
        assert spoke == {expected} | ({"gradium"} if expected == "xai" else set())
        [saved] = tmp_path.iterdir()
        assert saved.stat().st_size > 44
        saved.unlink()
        simulators["gradium"].close()
