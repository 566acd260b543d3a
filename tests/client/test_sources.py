"""Text sources that block, on event loops: each has a thread, and none takes anybody along."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import anyio
import anyio.lowlevel
import pytest

import ttsmux
from tests.scenarios.stage import KEY, RATE
from ttsmux import AsyncClient, Timeouts
from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import decode_text

PATIENCE = 20.0


def client_of(sim: AsyncSimulator, **settings: object) -> AsyncClient:
    return AsyncClient("xai", base_url=sim.url, api_key=KEY, **settings)  # type: ignore[arg-type]


class Source:
    """Pieces that can be watched, and held back."""

    def __init__(self, pieces: list[str] | None = None) -> None:
        self._pieces = iter(pieces or ())
        self.go = threading.Event()
        self.blocked = threading.Event()
        self.closed = threading.Event()
        self.pulled = 0
        self.threads: set[threading.Thread] = set()

    def __iter__(self) -> Iterator[str]:
        self.threads.add(threading.current_thread())
        return self

    def __next__(self) -> str:
        self.threads.add(threading.current_thread())
        self.pulled += 1
        piece = next(self._pieces, None)
        if piece is None:
            self.blocked.set()
            self.go.wait(PATIENCE)
            raise StopIteration
        return piece

    def close(self) -> None:
        self.threads.add(threading.current_thread())
        self.closed.set()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - a thread's doing
            await anyio.sleep(0.001)


@pytest.mark.anyio
async def test_a_source_has_one_daemon_thread_of_its_own(sim: AsyncSimulator) -> None:
    """It is asked for its iterator, pulled and closed there."""
    source = Source(["one ", "two"])
    source.go.set()
    async with client_of(sim) as client:
        assert decode_text(await client.speak(source).read(), RATE) == "one two"
        (thread,) = source.threads
        assert thread is not threading.current_thread()
        assert thread.daemon
        await until(source.closed.is_set)


@pytest.mark.anyio
async def test_a_source_is_closed_in_its_thread_when_its_speech_is_interrupted(
    sim: AsyncSimulator,
) -> None:
    """A generator that runs cannot be closed by another thread."""
    ends: list[threading.Thread] = []

    def source() -> Iterator[str]:
        try:
            while True:
                yield "la "
        finally:
            ends.append(threading.current_thread())

    async with client_of(sim) as client:
        speech = client.speak(source())
        await anext(speech)
        speech.interrupt()
        await until(lambda: ends)
        assert ends[0] is not threading.current_thread()


@pytest.mark.anyio
async def test_a_blocked_source_is_left_alone_when_its_speech_is_over(sim: AsyncSimulator) -> None:
    """The interruption does not wait for it; it is closed when it comes back."""
    source = Source(["one "])
    async with client_of(sim) as client:
        speech = client.speak(source)
        await anext(speech)
        await until(source.blocked.is_set)
        with anyio.fail_after(PATIENCE / 2):
            speech.interrupt()
            assert await client.speak("good evening").read()
        assert not source.closed.is_set()
        source.go.set()
        await until(source.closed.is_set)


@pytest.mark.anyio
async def test_a_source_is_not_pulled_ahead_of_what_can_be_sent() -> None:
    """Its next piece is asked for when there is room for it."""
    sim = AsyncSimulator("xai", handshake_ms=60_000)
    async with sim, client_of(sim, timeouts=Timeouts(dial=PATIENCE)) as client:
        source = Source(["word " * 4000] * 50)
        speech = client.speak(source)
        await until(lambda: source.pulled > 2)
        stalled = 0
        before = source.pulled
        while stalled < 20:
            await anyio.sleep(0.005)
            stalled = stalled + 1 if source.pulled == before else 0
            before = source.pulled
        assert source.pulled < 10
        speech.interrupt()
        await until(source.closed.is_set)


@pytest.mark.anyio
async def test_a_hundred_blocked_sources_keep_nobody_from_speaking(sim: AsyncSimulator) -> None:
    """Nor do they use up threads that others want: anyio lends out forty at a time."""
    sources = [Source() for _ in range(100)]
    async with client_of(sim) as client:
        speeches = [client.speak(source) for source in sources]
        for source in sources:
            await until(source.blocked.is_set)
        speaking = Source(["one ", "two"])
        speaking.go.set()
        with anyio.fail_after(PATIENCE):
            assert decode_text(await client.speak(speaking).read(), RATE) == "one two"
            assert await anyio.to_thread.run_sync(lambda: 7) == 7
        for speech, source in zip(speeches, sources, strict=True):
            speech.interrupt()
            source.go.set()
        for source in sources:
            await until(source.closed.is_set)


@pytest.mark.anyio
async def test_aclose_names_the_sources_that_it_leaves_behind(sim: AsyncSimulator) -> None:
    source = Source(["one "])
    client = client_of(sim, timeouts=Timeouts(close=0.01))
    speech = client.speak(source)
    await anext(speech)
    await until(source.blocked.is_set)
    with pytest.warns(ResourceWarning, match=r"1 thread.*blocked in next\(\).*feeder-1") as told:
        await client.aclose()
    assert told[0].filename == __file__
    assert not source.closed.is_set()
    source.go.set()
    await until(source.closed.is_set)
    with pytest.raises(ttsmux.ClosedError):
        await speech.read()


@pytest.mark.anyio
async def test_aclose_waits_for_a_source_that_is_about_to_leave(sim: AsyncSimulator) -> None:
    """And says nothing."""
    source = Source(["one "])
    client = client_of(sim, timeouts=Timeouts(close=PATIENCE))
    speech = client.speak(source)
    await anext(speech)
    await until(source.blocked.is_set)
    timer = threading.Timer(0.1, source.go.set)
    timer.start()
    await client.aclose()
    assert source.closed.is_set()
    timer.join()


@pytest.mark.anyio
async def test_a_source_whose_close_raises(sim: AsyncSimulator) -> None:
    """Its reader is told, as with threads."""

    class Sore(Source):
        def close(self) -> None:
            raise KeyError("close")

    source = Sore(["one "])
    source.go.set()
    async with client_of(sim) as client:
        with anyio.fail_after(PATIENCE), pytest.raises(KeyError):
            await client.speak(source).read()


@pytest.mark.anyio
async def test_a_generator_that_raises_stop_iteration(sim: AsyncSimulator) -> None:
    """Python makes a RuntimeError of it, which reaches the reader; a plain iterator just ends."""

    def source() -> Iterator[str]:
        yield "one "
        raise StopIteration

    async with client_of(sim) as client:
        with anyio.fail_after(PATIENCE), pytest.raises(RuntimeError, match="StopIteration"):
            await client.speak(source()).read()


@pytest.mark.anyio
async def test_a_source_that_gives_no_text(sim: AsyncSimulator) -> None:
    source = Source(["one ", 2])  # type: ignore[list-item]
    async with client_of(sim) as client:
        with anyio.fail_after(PATIENCE), pytest.raises(TypeError, match="not int"):
            await client.speak(source).read()
        await until(source.closed.is_set)


@pytest.mark.anyio
async def test_a_source_that_gets_no_thread(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "-feeder-" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    async with client_of(sim) as client:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with anyio.fail_after(PATIENCE), pytest.raises(RuntimeError, match="new thread"):
                await client.speak(Source(["one "])).read()
        assert await client.speak("hello").read()


def test_a_loop_that_ends_lets_its_sources_go(sim: AsyncSimulator) -> None:
    """Nobody closed the client; a source that comes back later is closed and raises nothing."""
    source = Source(["one "])
    client = client_of(sim)

    async def main() -> None:
        speech = client.speak(source)
        await anext(speech)
        await until(source.blocked.is_set)
        kept.append(speech)

    kept: list[object] = []
    asyncio.run(main())
    source.go.set()
    assert source.closed.wait(PATIENCE)
    with contextlib.suppress(ttsmux.Error):
        kept.clear()
    asyncio.run(client.aclose())
    gc.collect()


def test_a_loop_that_is_closed_without_a_word_is_not_spoken_to(sim: AsyncSimulator) -> None:
    """Its tasks were not even cancelled: what a source gives then reaches nobody."""
    source = Source(["one "])
    loop = asyncio.new_event_loop()

    async def main() -> AsyncClient:
        client = client_of(sim)
        speech = client.speak(source)
        await until(source.blocked.is_set)
        kept.append(speech)
        return client

    kept: list[object] = []
    raised: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, raised.append
    try:
        client = loop.run_until_complete(main())
        left = asyncio.all_tasks(loop)
        # As a closed loop answers; really closed, it would complain of its own tasks.
        call, loop.call_soon_threadsafe = loop.call_soon_threadsafe, dead
        source.go.set()
        assert source.closed.wait(PATIENCE)
        (thread,) = source.threads
        thread.join(PATIENCE)
        loop.call_soon_threadsafe = call
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
    finally:
        threading.excepthook = hook
        loop.close()
    asyncio.run(client.aclose())
    assert raised == []


def dead(*args: object, **kwargs: object) -> None:
    raise RuntimeError("Event loop is closed")


EXIT = """
import sys, threading, anyio, warnings
import ttsmux
from ttsmux.simulate import AsyncSimulator

warnings.simplefilter("ignore", ResourceWarning)
blocked = threading.Event()

def source():
    yield "one "
    blocked.set()
    threading.Event().wait()

async def main():
    async with AsyncSimulator("xai") as sim:
        timeouts = ttsmux.Timeouts(close=0.01)
        async with ttsmux.AsyncClient(
            "xai", base_url=sim.url, api_key="k", timeouts=timeouts
        ) as client:
            speech = client.speak(source())
            await anext(speech)
            while not blocked.is_set():
                await anyio.sleep(0.001)
    print("closed")

anyio.run(main, backend=sys.argv[1], backend_options=eval(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("backend", "options"),
    [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})],
    ids=["asyncio", "uvloop", "trio"],
)
def test_a_process_ends_with_a_source_that_blocks_for_ever(
    backend: str, options: dict[str, object]
) -> None:
    """It sat in its exit, waiting for a thread that was not daemonic."""
    command = [sys.executable, "-c", EXIT, backend, repr(options)]
    done = subprocess.run(command, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr


def test_a_threaded_source_that_blocks_is_named_too(sim: AsyncSimulator) -> None:
    source = Source(["one "])
    client = ttsmux.Client("xai", base_url=sim.url, api_key=KEY, timeouts=Timeouts(close=0.01))
    speech = client.speak(source)
    next(speech)
    assert source.blocked.wait(PATIENCE)
    with pytest.warns(ResourceWarning, match=r"1 thread.*blocked in next\(\).*feeder-1") as told:
        client.close()
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.go.set()
        assert source.closed.wait(PATIENCE)
