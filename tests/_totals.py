"""
What many tests count together, in whichever processes they run.

A test that takes the fixture `add_to_total` adds to what its module counts. When all tests are
over, the module's ``total(entries, selected)`` is asked once, with what all of them added, what the
log should say and what is wrong with it; the latter fails the run like a test. *selected* is how
many tests of the module were chosen that add: a part of them proves nothing, whatever it found.
Under pytest-xdist the workers send what was added, and the controller judges.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import pytest

Entry = dict[str, Any]
"""Made of str, int, float, list, tuple and dict alone: another process has to send it."""


class Totals:
    """A plugin of pytest."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._selected: Counter[str] = Counter()
        self._said: list[str] = []

    @pytest.fixture
    def add_to_total(self, request: pytest.FixtureRequest) -> Callable[[Entry], None]:
        """Add to what the module's tests count together."""
        return self._entries.setdefault(request.module.__name__, []).append

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._selected = Counter(
            item.module.__name__
            for item in session.items
            if isinstance(item, pytest.Function) and "add_to_total" in item.fixturenames
        )

    # -- workers and their controller

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["totals"] = self._entries, dict(self._selected)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        entries, selected = getattr(node, "workeroutput", {}).get("totals", ({}, {}))
        for module, added in entries.items():
            self._entries.setdefault(module, []).extend(added)
        self._selected = Counter(selected) or self._selected  # each of them collects everything

    # -- the end

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        judges = (
            not hasattr(session.config, "workeroutput") and not session.config.option.collectonly
        )
        for module in sorted(self._selected) if judges else ():
            said, wrong = importlib.import_module(module).total(
                self._entries.get(module, []), self._selected[module]
            )
            if said:
                self._said.append(said)
            if wrong:
                self._fail(session, module, wrong)
        return result

    def _fail(self, session: pytest.Session, module: str, wrong: str) -> None:
        path = f"{module.replace('.', '/')}.py"
        report = pytest.TestReport(
            nodeid=f"{path}::total",
            location=(path, None, "total"),
            keywords={},
            outcome="failed",
            longrepr=wrong,
            when="call",
        )
        session.config.hook.pytest_runtest_logreport(report=report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for text in self._said:
            terminalreporter.section("counted")
            terminalreporter.write_line(text)
