"""A package that is installed is found: by its name alone, without a word about it in ttsmux."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from warble import Warble
from warble.server import WarbleProvider

import ttsmux
from ttsmux.client.options import adapter_names, find_adapter
from ttsmux.simulate import Simulator
from ttsmux.testing.sound import is_whole

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installer leaves behind: metadata with the entry points of the package's project."""
    info = tmp_path / f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.3\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    (info / "METADATA").write_text(head)
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in PROJECT["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_it_speaks_by_its_name() -> None:
    """The adapter and the simulator."""
    assert "warble" in adapter_names() and find_adapter("warble") is Warble
    with (
        Simulator("warble", key="the-right-key") as sim,
        ttsmux.Client("warble", pitch=2, base_url=sim.url, api_key="the-right-key") as client,
    ):
        speech = client.speak("Good morning.")
        audio = b"".join(chunk.data for chunk in speech)
        assert is_whole("Good morning.", audio, speech.format)
        assert sim.frames("recv")[1]["pitch"] == 2
        assert not [record for record in sim.log if record["event"] == "violation"]


def test_it_is_not_found_where_it_is_not_installed() -> None:
    """And the error names those that are."""
    with pytest.raises(ttsmux.ConfigError, match="gradium"):
        find_adapter("warble")
    with pytest.raises(ValueError, match="gradium"):
        Simulator("warble")


def test_a_provider_that_was_made_takes_no_options() -> None:
    """They are given to it, not beside it."""
    with pytest.raises(TypeError, match="key="):
        Simulator(WarbleProvider(), key="too late")


def test_it_is_small() -> None:
    """The adapter in 120 lines."""
    assert len((HERE / "src/warble/__init__.py").read_text().splitlines()) <= 120


def test_it_says_what_it_is() -> None:
    """Its entry points lead to what they are for."""
    points = PROJECT["entry-points"]
    assert points["ttsmux.adapters"] == {Warble.name: "warble:Warble"}
    assert points["ttsmux.simulators"] == {WarbleProvider.name: "warble.server:WarbleProvider"}
