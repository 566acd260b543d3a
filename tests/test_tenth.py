"""A tenth of what is counted, and all of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = """
from tests._tenth import *

def pytest_configure(config):
    config.addinivalue_line("markers", "counted: many alike")
"""
MODULE = """
import pytest

@pytest.mark.counted
@pytest.mark.parametrize("n", range(11))
def test_many(n):
    pass

@pytest.mark.counted
def test_one():
    pass

@pytest.mark.parametrize("n", range(3))
def test_another(n):
    pass
"""


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        pytest.param([], 11 + 1 + 3, id="all"),
        pytest.param(["--tenth"], 2 + 1 + 3, id="tenth"),
        *(pytest.param(["--tenth", "-k", f"many and {n}"], 1, id=f"only {n}") for n in range(2, 6)),
    ],
)
def test_one_in_ten_and_never_none(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str], passed: int
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=MODULE)
    results = [pytester.inline_run(*options) for _ in range(2)]
    for result in results:
        result.assertoutcome(passed=passed)
    first, second = ([report.nodeid for report in result.listoutcomes()[0]] for result in results)
    assert first == second, "the same ones every time"
