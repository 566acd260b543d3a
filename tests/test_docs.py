"""What the pages of the documentation show as a whole program works, as it stands there."""

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ttsmux.client.options import find_adapter
from ttsmux.core.route import Route
from ttsmux.simulate import PROVIDERS, Simulator

DOCS = Path(__file__).parents[1] / "docs"
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ("rest.md",)
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
        return rebased(attrs.evolve(self, base_url=running[self.adapter.name].url), url)

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
    assert [record for record in log if record["event"] == "generation"]
    assert not [record for record in log if record["event"] in ("violation", "refused")]


def test_there_is_a_program_for_each_face() -> None:
    code = "".join(str(program.values[0]) for program in PROGRAMS)
    assert "ttsmux.Client(" in code and "ttsmux.AsyncClient(" in code
