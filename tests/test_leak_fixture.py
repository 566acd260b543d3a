"""The leak fixture catches what it is for: here every kind of leak is planted."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import pytest

from tests import _leaks
from ttsmux.simulate.engines import EngineUnavailable
from ttsmux.simulate.engines.espeak import EspeakEngine

BLINK = 0.05
"""Long enough for what is leaving, short where nothing will."""


@contextlib.contextmanager
def planted_thread() -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="planted")
    thread.start()
    yield
    stop.set()
    thread.join()


@contextlib.contextmanager
def planted_socket() -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)):
        yield


@contextlib.contextmanager
def planted_child() -> Iterator[None]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield
    child.communicate()


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (planted_thread, "thread 'planted'"),
        (planted_socket, "'127.0.0.1'"),
        (planted_child, "child process"),
    ],
)
def test_a_leak_is_told_until_it_is_gone(
    plant: Callable[[], AbstractContextManager[None]], words: str
) -> None:
    """What is new since the snapshot is told, and no longer once it has ended."""
    before = _leaks.snapshot()
    with plant():
        (leak,) = _leaks.since(before, BLINK)
        assert words in leak
    assert _leaks.since(before, BLINK) == []


def test_a_dead_child_that_nobody_waited_for_is_a_leak() -> None:
    """A zombie counts, and says what it is."""
    before = _leaks.snapshot()
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    with contextlib.closing(child.stdout):
        (leak,) = _leaks.since(before, BLINK)
    assert "child process" in leak
    child.wait()
    assert _leaks.since(before, BLINK) == []


def test_an_engine_that_nobody_closed_is_a_leak() -> None:
    """Its worker is a process like any other, and a thread of ours reads what it says."""
    before = _leaks.snapshot()
    engine = EspeakEngine()
    try:
        engine.start()
    except EngineUnavailable as exc:
        pytest.skip(str(exc))
    try:
        child, thread = sorted(_leaks.since(before, BLINK))
    finally:
        engine.close()
    (worker,) = re.findall(r"child process (\d+)", child)
    assert int(worker) != os.getpid()
    assert "thread 'ttsmux-espeak'" in thread
    assert _leaks.since(before, grace=10) == []


def test_what_is_leaving_gets_its_grace() -> None:
    """A thread that ends within the grace is no leak."""
    before = _leaks.snapshot()
    stop = threading.Event()
    threading.Thread(target=stop.wait).start()
    threading.Timer(BLINK, stop.set).start()
    assert _leaks.since(before, grace=10) == []


@pytest.mark.anyio
async def test_a_task_is_told_until_it_is_gone() -> None:
    """A task that outlives what started it is seen inside the loop, whichever the loop."""
    before = _leaks.tasks()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever, name="planted")
        (leak,) = await _leaks.tasks_since(before, BLINK)
        assert "task 'planted'" in leak
        group.cancel_scope.cancel()
    assert await _leaks.tasks_since(before, BLINK) == []


LEAKY = """
import asyncio, gc, socket, subprocess, sys, threading
import pytest, sniffio

kept = []
stop = threading.Event()

def teardown_module():
    stop.set()
    for thing in kept:
        if isinstance(thing, subprocess.Popen):
            thing.communicate()
        if isinstance(thing, socket.socket):
            thing.close()

def test_thread():
    threading.Thread(target=stop.wait).start()

def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_child():
    kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

@pytest.mark.anyio
async def test_task():
    if sniffio.current_async_library() == "trio":
        import trio
        trio.lowlevel.spawn_system_task(trio.sleep_forever)
    else:
        kept.append(asyncio.create_task(asyncio.sleep(60)))

@pytest.mark.anyio
async def test_socket_in_a_loop():
    kept.append(socket.create_server(("127.0.0.1", 0)))

@pytest.fixture
async def background():
    if sniffio.current_async_library() == "trio":
        import trio
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield
            nursery.cancel_scope.cancel()
    else:
        task = asyncio.create_task(asyncio.sleep(60))
        yield
        task.cancel()

@pytest.mark.anyio
async def test_tidy(background):
    with socket.create_server(("127.0.0.1", 0)):
        pass

def test_tidy_too():
    pass

def test_failing():
    kept.append(socket.create_server(("127.0.0.1", 0)))
    raise RuntimeError("its own story")
"""


def test_every_test_is_looked_at(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each planted leak fails its own test, on every runtime; a tidy test passes."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", str(here.parent))
    pytester.makeconftest((here / "conftest.py").read_text())
    pytester.makepyfile(LEAKY)
    result = pytester.runpytest_subprocess("--leak-grace=0.2", timeout=150)
    runtimes = 3
    result.assert_outcomes(
        passed=3 + 2 * runtimes + runtimes + 1,
        errors=3 + 2 * runtimes,
        failed=1,
    )
    result.stdout.fnmatch_lines_random(
        [
            "*left behind: thread *",
            "*left behind: socket *",
            "*left behind: child process *",
            "*left behind: task *",
        ]
    )
