"""What tests in several processes count together fails the run when it is too little."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CONFTEST = """
from tests._totals import Totals

def pytest_configure(config):
    config.pluginmanager.register(Totals())
"""
MODULE = """
import pytest

@pytest.mark.parametrize("n", range(6))
def test_some(n, add_to_total):
    add_to_total({"n": n})

def test_another():
    pass

def total(entries, selected):
    numbers = sorted(entry["n"] for entry in entries)
    short = f"only {sum(numbers)}" if selected == 6 and sum(numbers) < FLOOR else ""
    return f"found {numbers}", short
"""
WORKERS = pytest.mark.parametrize("workers", ["0", "2"])


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # most of the time that it takes
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\npythonpath = .\naddopts = --import-mode=importlib -p xdist")
    return pytester


@WORKERS
def test_enough_passes(run: pytest.Pytester, workers: str) -> None:
    """All that was counted is added up, once, wherever it was."""
    run.makepyfile(test_it=MODULE.replace("FLOOR", "15"))
    result = run.runpytest_subprocess("-n", workers)
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines_random("found [[]0, 1, 2, 3, 4, 5[]]")
    assert result.ret == pytest.ExitCode.OK


@WORKERS
def test_too_little_fails_the_run(run: pytest.Pytester, workers: str) -> None:
    """Like a test that failed, though every test passed."""
    run.makepyfile(test_it=MODULE.replace("FLOOR", "16"))
    result = run.runpytest_subprocess("-n", workers)
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(["only 15", "FAILED test_it.py::total*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@WORKERS
@pytest.mark.parametrize("part", ["test_it.py::test_some[1]", "-k=test_some and not 3"])
def test_a_part_is_not_judged(run: pytest.Pytester, workers: str, part: str) -> None:
    """Who runs a few of the tests wants to know of those alone."""
    run.makepyfile(test_it=MODULE.replace("FLOOR", "16"))
    result = run.runpytest_subprocess("-n", workers, part)
    assert "only" not in result.stdout.str()
    assert result.ret == pytest.ExitCode.OK


@WORKERS
def test_a_test_that_forgets_to_count_is_missed(run: pytest.Pytester, workers: str) -> None:
    """What was selected is known apart from what was counted."""
    forgetful = MODULE.replace('add_to_total({"n": n})', 'n == 5 or add_to_total({"n": n})')
    run.makepyfile(test_it=forgetful.replace("FLOOR", "15"))
    result = run.runpytest_subprocess("-n", workers)
    result.stdout.fnmatch_lines(["only 10"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
