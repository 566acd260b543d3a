"""One part that goes wrong takes nothing else along, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import attrs
import pytest

import ttsmux
from tests.scenarios.scripts import LONG
from tests.scenarios.stage import KEY
from ttsmux import AsyncClient, Client
from ttsmux.adapter import Handshake
from ttsmux.adapters.xai import XAI
from ttsmux.client import _shared
from ttsmux.simulate import AsyncSimulator

pytestmark = pytest.mark.anyio

PATIENCE = 20.0

ENDS = [asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit]


def client_of(sim: AsyncSimulator, **settings: object) -> AsyncClient:
    return AsyncClient("xai", base_url=sim.url, api_key=KEY, **settings)  # type: ignore[arg-type]


def threaded(sim: AsyncSimulator, **settings: object) -> Client:
    return Client("xai", base_url=sim.url, api_key=KEY, **settings)  # type: ignore[arg-type]


@attrs.frozen(kw_only=True)
class Clumsy(XAI):
    """An adapter with a fault."""

    def handshake(self, *args: object, **kwargs: object) -> Handshake:
        msg = "clumsy"
        raise ValueError(msg)


def raising(kind: type[BaseException]) -> Iterator[str]:
    yield "one "
    raise kind


async def araising(kind: type[BaseException]) -> AsyncIterator[str]:
    yield "one "
    raise kind


class Endless:
    """Raises what ends loops before there is a loop."""

    def __iter__(self) -> Iterator[str]:
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[str]:
        raise StopAsyncIteration


class EndlessSync:
    def __iter__(self) -> Iterator[str]:
        raise StopIteration


# --- sources --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("make", [raising, araising])
async def test_a_source_that_ends_with_more_than_an_exception(
    sim: AsyncSimulator,
    kind: type[BaseException],
    make: Callable[[type[BaseException]], Iterator[str] | AsyncIterator[str]],
) -> None:
    async with client_of(sim) as client:
        neighbour = client.speak("good morning")
        with anyio.fail_after(PATIENCE), pytest.raises(ttsmux.Error, match=kind.__name__) as caught:
            await client.speak(make(kind)).read()
        assert isinstance(caught.value.__cause__, kind)
        assert not caught.value.retryable
        with anyio.fail_after(PATIENCE):
            assert await neighbour.read()
            assert await client.speak("good evening").read()


@pytest.mark.parametrize("kind", ENDS)
def test_a_threaded_source_that_ends_with_more_than_an_exception(
    sim: AsyncSimulator, kind: type[BaseException]
) -> None:
    with threaded(sim) as client:
        with pytest.raises(ttsmux.Error, match=kind.__name__) as caught:
            client.speak(raising(kind)).read()
        assert isinstance(caught.value.__cause__, kind)
        assert client.speak("good evening").read()


@pytest.mark.parametrize("source", [Endless, EndlessSync])
async def test_a_source_cannot_end_the_readers_loop(
    sim: AsyncSimulator, source: type[Endless] | type[EndlessSync]
) -> None:
    async with client_of(sim) as client:
        with anyio.fail_after(PATIENCE), pytest.raises(RuntimeError):
            await client.speak(source()).read()


def test_a_threaded_source_cannot_end_the_readers_loop(sim: AsyncSimulator) -> None:
    with threaded(sim) as client, pytest.raises(RuntimeError, match="StopIteration"):
        client.speak(EndlessSync()).read()


# --- dials ----------------------------------------------------------------------------------------


async def test_an_adapter_that_raises_fails_its_dial_alone(sim: AsyncSimulator) -> None:
    async with AsyncClient(Clumsy(), base_url=sim.url, api_key=KEY) as client:
        for _ in range(2):
            with anyio.fail_after(PATIENCE), pytest.raises(ttsmux.Error) as caught:
                await client.speak("hello").read()
            assert not isinstance(caught.value, ttsmux.ClosedError)


def test_a_threaded_adapter_that_raises_fails_its_dial_alone(sim: AsyncSimulator) -> None:
    with Client(Clumsy(), base_url=sim.url, api_key=KEY) as client:
        for _ in range(2):
            with pytest.raises(ttsmux.ConnectError, match="ValueError"):
                client.speak("hello").read()


@pytest.mark.parametrize("kind", [asyncio.CancelledError, SystemExit])
async def test_a_key_that_raises_more_than_an_exception(
    sim: AsyncSimulator, kind: type[BaseException]
) -> None:
    async def key() -> str:
        raise kind

    async with AsyncClient("xai", base_url=sim.url, api_key=key) as client:
        for _ in range(2):
            with anyio.fail_after(PATIENCE), pytest.raises(ttsmux.AuthError, match=kind.__name__):
                await client.speak("hello").read()


def test_a_threaded_key_that_raises_more_than_an_exception(sim: AsyncSimulator) -> None:
    def key() -> str:
        raise SystemExit

    client = Client("xai", base_url=sim.url, api_key=key)
    with client, pytest.raises(ttsmux.AuthError, match="SystemExit"):
        client.speak("hello").read()


def test_a_dial_that_gets_no_thread(sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "-wire-" in thread.name:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    with threaded(sim) as client:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ttsmux.ConnectError):
                client.speak("hello").read()
        assert not [t for t in client._engine._crew.present if "-wire-" in t.name]
        assert client.speak("hello").read()


# --- cancelled by others --------------------------------------------------------------------------


async def test_cancelling_every_task_of_the_loop(
    sim: AsyncSimulator, anyio_backend_name: str
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has all_tasks()")
    sim.inject("stall@request:1,chunk:1")

    async def slow() -> AsyncIterator[str]:
        yield LONG
        await anyio.sleep(60)

    client = client_of(sim)
    speeches = [client.speak(LONG), client.speak(slow())]
    await anext(speeches[0])
    # Not the runner of this test itself.
    for task in asyncio.all_tasks():
        name = getattr(task.get_coro(), "__qualname__", "")
        if task is not asyncio.current_task() and ("ttsmux" in task.get_name() or "Engine" in name):
            task.cancel()
    for speech in speeches:
        with anyio.fail_after(PATIENCE), pytest.raises(ttsmux.Error):
            await speech.read()
    # A connection's task may leave before the one that holds them all: what is asked for in between
    # is not lost, and nothing is taken afterwards.
    with anyio.fail_after(PATIENCE), pytest.raises(ttsmux.Error):
        await client.speak("in between").read()
    with pytest.raises(ttsmux.ClosedError):
        client.speak("late")
    await client.aclose()


def test_the_end_of_a_loop_ends_the_client(sim: AsyncSimulator) -> None:
    """And to close it later, in another loop, is fine."""
    client = client_of(sim)

    async def speak() -> None:
        assert await client.speak("hello").read()

    asyncio.run(speak())
    asyncio.run(client.aclose())

    async def late() -> None:
        with pytest.raises(ttsmux.ClosedError):
            client.speak("late")

    asyncio.run(late())


# --- arguments ------------------------------------------------------------------------------------


async def test_prewarm_without_an_end(sim: AsyncSimulator) -> None:
    async with client_of(sim) as client:
        with anyio.fail_after(PATIENCE):
            assert await client.prewarm(timeout=math.inf)


def test_threaded_prewarm_without_an_end(sim: AsyncSimulator) -> None:
    with threaded(sim) as client:
        assert client.prewarm(timeout=math.inf)
        assert client.speak("hello").read()


WRONG = [
    ({"n": "two"}, TypeError),
    ({"n": 1.5}, TypeError),
    ({"n": -1}, ttsmux.ConfigError),
    ({"timeout": "soon"}, TypeError),
    ({"timeout": 0}, ttsmux.ConfigError),
    ({"timeout": math.nan}, ttsmux.ConfigError),
]


async def test_a_wrong_argument_tears_nothing(sim: AsyncSimulator) -> None:
    async with client_of(sim) as client:
        speech = client.speak("hello")
        for arguments, kind in WRONG:
            with pytest.raises(kind):
                await client.prewarm(**arguments)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            speech.played("much")  # type: ignore[arg-type]
        assert await speech.read()


def test_a_wrong_argument_tears_nothing_in_threads(sim: AsyncSimulator) -> None:
    with threaded(sim) as client:
        speech = client.speak("hello")
        for arguments, kind in WRONG:
            with pytest.raises(kind):
                client.prewarm(**arguments)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            speech.played("much")  # type: ignore[arg-type]
        assert speech.read()


# --- save -----------------------------------------------------------------------------------------


async def test_an_interrupted_speech_is_not_saved(sim: AsyncSimulator, tmp_path: Path) -> None:
    sim.inject("stall@request:1,chunk:1")
    async with client_of(sim) as client:
        speech = client.speak(LONG)
        async with anyio.create_task_group() as tasks:

            async def interrupt() -> None:
                await anyio.sleep(0.1)
                speech.interrupt()

            tasks.start_soon(interrupt)
            with pytest.raises(ttsmux.Error, match="nothing was saved"):
                await speech.save(tmp_path / "out.wav")
    assert not os.listdir(tmp_path)


def test_an_interrupted_speech_is_not_saved_in_threads(sim: AsyncSimulator, tmp_path: Path) -> None:
    sim.inject("stall@request:1,chunk:1")
    with threaded(sim) as client:
        speech = client.speak(LONG)
        timer = threading.Timer(0.1, speech.interrupt)
        timer.start()
        with pytest.raises(ttsmux.Error, match="nothing was saved"):
            speech.save(tmp_path / "out.wav")
        timer.join()
    assert not list(tmp_path.iterdir())


# --- fork -----------------------------------------------------------------------------------------


async def test_a_child_process_may_only_close(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(sim) as client:
        speech = client.speak("hello")
        with monkeypatch.context() as patch:
            patch.setattr(_shared, "forks", -1)
            with pytest.raises(ttsmux.ForkedProcess):
                speech.interrupt()
            for use in (client.voices, client.drain, client.prewarm):
                with pytest.raises(ttsmux.ForkedProcess):
                    await use()
            await client.aclose()
        assert await speech.read()


async def test_a_child_process_is_not_told_to_end_what_it_cannot(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It forgets a client and a speech of its parent's, and nothing of them is touched."""
    client = client_of(sim)
    held: list[object] = [client, client.speak()]
    engine = client._engine
    del client
    with monkeypatch.context() as patch:
        patch.setattr(_shared, "forks", -1)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            held.clear()
            gc.collect()
    assert not [one for one in told if one.category is ResourceWarning]
    assert not (engine.orphaned or engine.dropped)
    await engine.close()


def test_a_child_process_is_not_told_to_end_what_it_cannot_in_threads(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = threaded(sim)
    held: list[object] = [client, client.speak()]
    engine = client._engine
    del client
    here = threading.get_ident()
    forked = property(lambda engine: threading.get_ident() == here)
    with monkeypatch.context() as patch:
        patch.setattr(type(engine), "forked", forked)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            held.clear()
            gc.collect()
    assert not [one for one in told if one.category is ResourceWarning]
    assert not (engine.orphaned or engine.dropped)
    engine.close()


def test_a_child_process_may_only_close_in_threads(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with threaded(sim) as client:
        speech = client.speak("hello")
        assert client.prewarm()
        here = threading.get_ident()
        forked = property(lambda engine: threading.get_ident() == here)
        with monkeypatch.context() as patch:
            # To this thread alone: those of the client are the parent's, and go on.
            patch.setattr(type(client._engine), "forked", forked)
            with pytest.raises(ttsmux.ForkedProcess):
                speech.interrupt()
            client.close()
        assert speech.read()
