"""The adapter that docs/adapters.md writes works, as it stands there, and keeps the contract."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ttsmux.adapter
from ttsmux.testing import Suite

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/adapters.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(\w+)?(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SECONDS = 240


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The files of the page; blocks with the same title are parts of one file."""
    files: dict[str, list[str]] = {}
    for _, title, text in BLOCK.findall(PAGE):
        if title:
            files.setdefault(title, []).append(text)
    for name, parts in files.items():
        gap = "\n\n" if name.startswith("test_") else "\n"
        (tmp_path / name).write_text(gap.join(parts), encoding="utf-8")
    return tmp_path


def run(package: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=package,
        env={"PATH": "", "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(SECONDS)
def test_its_contract_is_green(package: Path) -> None:
    """All of it but the three other runtimes, which the other adapters have; and its own test."""
    (package / "pyproject.toml").unlink()
    # As a third party's project has it: none of our settings, but every warning counts.
    plain = ("-q", "-W", "error", "-p", "no:cacheprovider")
    others = "not asyncio and not uvloop and not trio"
    said = run(package, "-m", "pytest", *plain, "-k", others, "test_parrot.py")
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) > 50, said


def test_its_example_speaks(package: Path) -> None:
    """The block that is no file."""
    (code,) = [text for kind, title, text in BLOCK.findall(PAGE) if kind == "python" and not title]
    (package / "example.py").write_text(code, encoding="utf-8")
    run(package, "-W", "error", "example.py")
    assert (package / "eight.wav").stat().st_size > 44


def test_its_entry_points_lead_somewhere(package: Path) -> None:
    """To the classes on the page."""
    points = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]
    assert set(points) == {"ttsmux.adapters", "ttsmux.simulators"}
    for target in (target for group in points.values() for target in group.values()):
        module, name = target.split(":")
        run(package, "-c", f"from {module} import {name}")


def test_its_tables_name_what_there_is() -> None:
    """Traits, functions, signals and attributes of the kit."""
    names = set(dir(ttsmux.adapter)) | set(ttsmux.adapter.Traits.__annotations__)
    names |= set(dir(ttsmux.adapter.Adapter)) | set(Suite.__annotations__)
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "Parrot" not in line]
    start = next(i for i, row in enumerate(rows) if row.startswith("| `unknown`"))
    for row in rows[start:]:
        for code in re.findall(r"`([^`{]+)`", row):
            first = re.split(r"[=.\s]", code)[0]
            assert first in names or first.startswith("TTSMUX_") or "gen" in code, code
