"""
For every test: runtimes to run on, options for the walks, a look at what it left behind, and what
many of them count together.

Async tests say ``pytestmark = pytest.mark.anyio`` and then run on asyncio, uvloop and trio.
"""

import gc
import inspect
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from importlib.util import find_spec

import hypothesis
import pytest

from tests import _jitter, _leaks, _tenth, _totals

RUNTIMES = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(
        ("asyncio", {"use_uvloop": True}),
        id="uvloop",
        marks=pytest.mark.skipif(find_spec("uvloop") is None, reason="needs uvloop"),
    ),
    pytest.param(
        ("trio", {}),
        id="trio",
        marks=pytest.mark.skipif(find_spec("trio") is None, reason="needs trio"),
    ),
]

# Time is no property of what we test: a slow machine fails nothing. In CI the same examples come
# every time, so that a red run is red for its change.
SLOW = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("dev", **SLOW)
hypothesis.settings.register_profile("ci", **SLOW, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

# They need packages of the vendors, and have settings of their own: `nox -s clients`.
collect_ignore = ["clients"]

PASSED = pytest.StashKey[bool]()
TASKS_LEFT = pytest.StashKey[list[str]]()


pytest_collection_modifyitems = _tenth.pytest_collection_modifyitems


def pytest_addoption(parser: pytest.Parser) -> None:
    _tenth.pytest_addoption(parser)
    group = parser.getgroup("ttsmux")
    group.addoption("--seed", type=int, help="replay this one schedule of the random walks")
    group.addoption(
        "--schedules",
        type=int,
        default=int(os.environ.get("TTSMUX_SCHEDULES", "2000")),
        help="how many random schedules to walk (TTSMUX_SCHEDULES, or %(default)s)",
    )
    group.addoption(
        "--every-step",
        action="store_true",
        help="interrupt the threaded client at every step there is, not at those that tell",
    )
    group.addoption(
        "--jitter",
        action="store_true",
        help="run beside a thread that takes the interpreter for itself, in bursts",
    )
    group.addoption(
        "--leak-grace",
        type=float,
        default=3.0,
        help="seconds that threads, tasks, sockets and children have to go (%(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_totals.Totals())
    # Where workers run the tests, they are who is to be disturbed.
    if config.getoption("--jitter") and config.getoption("dist", "no") == "no":
        _jitter.begin(os.getpid())


@pytest.fixture(scope="module", params=RUNTIMES)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    backend: tuple[str, dict[str, object]] = request.param
    return backend


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """What is there by now stays: the collections of a module look at what came since."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    lacking = any(mark.args[0] for mark in item.iter_markers("skipif"))
    if report.skipped and lacking and os.environ.get("CI") and sys.platform == "linux":
        # Such conditions are for machines that lack something: CI has everything.
        report.outcome, report.longrepr = "failed", f"CI would leave it out: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up first of all and torn down last: async fixtures and their loop are gone by then."""
    before = _leaks.snapshot()
    yield
    if passed(request):
        left = _leaks.since(before, request.config.getoption("--leak-grace"))
        left += request.node.stash.get(TASKS_LEFT, [])
        if left:
            pytest.fail(f"the test left behind: {', '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest, no_leaks: None) -> None:
    """Look inside the loop of an async test as well: its end would take the tasks along."""
    function = getattr(request, "function", None)
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if "anyio_backend" in request.fixturenames and inspect.iscoroutinefunction(function):
        request.getfixturevalue("no_tasks_left_in_the_loop")


@pytest.fixture
async def no_tasks_left_in_the_loop(
    request: pytest.FixtureRequest, anyio_backend: object, no_leaks: None
) -> AsyncIterator[None]:
    before = _leaks.tasks()
    yield
    if passed(request):
        grace = request.config.getoption("--leak-grace")
        # Told by no_leaks: failing in here would upset the loop that has yet to be closed.
        request.node.stash[TASKS_LEFT] = await _leaks.tasks_since(before, grace)


def passed(request: pytest.FixtureRequest) -> bool:
    """A test that failed holds on to its frames and all that is in them, and has its own story."""
    return bool(request.node.stash.get(PASSED, False))
