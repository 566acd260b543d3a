"""
Where a script is played: the same lines on threads, asyncio, uvloop and trio.

A script is an async function over a `World`. `Tasks` awaits what it waits for; `Threads` blocks
there instead, so that its coroutines never suspend and can be run to their end by one `send`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

import anyio

from ..adapter import Adapter, Voice
from ..audio import AudioChunk
from ..client.aio import AsyncClient, AsyncSpeech
from ..client.sync import Client, Speech
from ..simulate.log import Record
from ..simulate.simulator import AsyncSimulator
from . import leaks

__all__ = ["RUNTIMES", "AnyClient", "AnySpeech", "Condition", "Face", "face"]

T = TypeVar("T")

DEADLINE = 100.0
"""Seconds that any script may take, however slow the machine."""
POLL = 0.001
GRACE = 10.0
"""Seconds that threads, sockets and tasks have to go when a script is over."""
RUNTIMES = tuple(
    name
    for name, package in (
        ("threads", "ttsmux"),
        ("asyncio", "asyncio"),
        ("uvloop", "uvloop"),
        ("trio", "trio"),
    )
    if find_spec(package) is not None
)
"""Those that are installed: the first is `Client`, the others are `AsyncClient`'s."""

AnyClient = Client | AsyncClient
AnySpeech = Speech | AsyncSpeech
Condition = Callable[[], object]
Piece = str | Condition | BaseException
Source = Iterator[str] | AsyncIterator[str]
Part = Coroutine[object, None, object]


class Face(Protocol):
    """One side of the client: what a script may wait for."""

    def client(self, adapter: Adapter | str, **settings: Any) -> AnyClient: ...
    def speak(self, client: AnyClient, text: object, options: dict[str, Any]) -> AnySpeech: ...
    async def next(self, speech: AnySpeech) -> AudioChunk | None: ...
    async def prewarm(self, client: AnyClient, n: int, options: dict[str, Any]) -> int: ...
    async def voices(self, client: AnyClient, options: dict[str, Any]) -> tuple[Voice, ...]: ...
    async def drain(self, client: AnyClient, options: dict[str, Any]) -> bool: ...
    async def close(self, client: AnyClient) -> None: ...
    async def until(self, condition: Condition, seconds: float) -> None: ...
    async def seen(
        self, sim: AsyncSimulator, predicate: Callable[[list[Record]], T], seconds: float
    ) -> T: ...
    async def together(self, parts: Iterable[Part]) -> None: ...
    def source(self, pieces: Iterable[Piece]) -> Source: ...
    def standstill(self, client: AnyClient) -> contextlib.AbstractContextManager[None]: ...
    def run(self, script: Coroutine[object, None, T]) -> T: ...


class Threads:
    """Everything is done when it returns: nothing here suspends."""

    def client(self, adapter: Adapter | str, **settings: Any) -> AnyClient:
        return Client(adapter, **settings)

    def speak(self, client: AnyClient, text: object, options: dict[str, Any]) -> AnySpeech:
        assert isinstance(client, Client)
        assert text is None or isinstance(text, str | Iterable)
        return client.speak(text, **options)

    async def next(self, speech: AnySpeech) -> AudioChunk | None:
        assert isinstance(speech, Speech)
        return next(speech, None)

    async def prewarm(self, client: AnyClient, n: int, options: dict[str, Any]) -> int:
        assert isinstance(client, Client)
        return client.prewarm(n, **options)

    async def voices(self, client: AnyClient, options: dict[str, Any]) -> tuple[Voice, ...]:
        assert isinstance(client, Client)
        return client.voices(**options)

    async def drain(self, client: AnyClient, options: dict[str, Any]) -> bool:
        assert isinstance(client, Client)
        return client.drain(**options)

    async def close(self, client: AnyClient) -> None:
        assert isinstance(client, Client)
        client.close()

    async def until(self, condition: Condition, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(POLL)  # noqa: ASYNC251 - on threads, nothing else waits

    async def seen(
        self, sim: AsyncSimulator, predicate: Callable[[list[Record]], T], seconds: float
    ) -> T:
        return sim.wait_for(predicate, seconds)

    async def together(self, parts: Iterable[Part]) -> None:
        failures: list[BaseException] = []

        def run(part: Part) -> None:
            try:
                drive(part)
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=run, args=(part,), name="script") for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        if failures:
            raise failures[0]

    def source(self, pieces: Iterable[Piece]) -> Iterator[str]:
        for piece in pieces:
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, str):
                yield piece
            else:
                drive(self.until(piece, DEADLINE))

    def standstill(self, client: AnyClient) -> contextlib.AbstractContextManager[None]:
        """Keep the client from taking anything in meanwhile."""
        assert isinstance(client, Client)
        return _locked(client)

    def run(self, script: Coroutine[object, None, T]) -> T:
        """Run *script* in a thread that may be given up, with a look at where everybody is."""
        found: list[T] = []
        failures: list[BaseException] = []

        def body() -> None:
            try:
                found.append(drive(script))
            except BaseException as exc:
                failures.append(exc)

        thread = threading.Thread(target=body, name="script", daemon=True)
        thread.start()
        thread.join(DEADLINE)
        if thread.is_alive():
            raise AssertionError(f"the script hangs\n{stacks()}")
        if failures:
            raise failures[0]
        return found[0]


class Tasks:
    """The same in an event loop."""

    def __init__(self, runtime: str) -> None:
        self._trio = runtime == "trio"
        self._options = {} if self._trio else {"use_uvloop": runtime == "uvloop"}

    def client(self, adapter: Adapter | str, **settings: Any) -> AnyClient:
        return AsyncClient(adapter, **settings)

    def speak(self, client: AnyClient, text: object, options: dict[str, Any]) -> AnySpeech:
        assert isinstance(client, AsyncClient)
        assert text is None or isinstance(text, str | Iterable | AsyncIterator)
        return client.speak(text, **options)

    async def next(self, speech: AnySpeech) -> AudioChunk | None:
        assert isinstance(speech, AsyncSpeech)
        return await anext(speech, None)

    async def prewarm(self, client: AnyClient, n: int, options: dict[str, Any]) -> int:
        assert isinstance(client, AsyncClient)
        return await client.prewarm(n, **options)

    async def voices(self, client: AnyClient, options: dict[str, Any]) -> tuple[Voice, ...]:
        assert isinstance(client, AsyncClient)
        return await client.voices(**options)

    async def drain(self, client: AnyClient, options: dict[str, Any]) -> bool:
        assert isinstance(client, AsyncClient)
        return await client.drain(**options)

    async def close(self, client: AnyClient) -> None:
        assert isinstance(client, AsyncClient)
        await client.aclose()

    async def until(self, condition: Condition, seconds: float) -> None:
        with anyio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(POLL)

    async def seen(
        self, sim: AsyncSimulator, predicate: Callable[[list[Record]], T], seconds: float
    ) -> T:
        return await sim.await_for(predicate, seconds)

    async def together(self, parts: Iterable[Part]) -> None:
        async with anyio.create_task_group() as tasks:
            for part in parts:
                tasks.start_soon(_awaited, part)

    async def source(self, pieces: Iterable[Piece]) -> AsyncIterator[str]:
        for piece in pieces:
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, str):
                yield piece
            else:
                await self.until(piece, DEADLINE)

    def standstill(self, client: AnyClient) -> contextlib.AbstractContextManager[None]:
        """Keep the client from taking anything in: its loop is held up by who does not await."""
        return contextlib.nullcontext()

    def run(self, script: Coroutine[object, None, T]) -> T:
        async def main() -> T:
            before = leaks.tasks()
            with anyio.fail_after(DEADLINE):
                found = await script
            left = await leaks.tasks_since(before, GRACE)
            assert not left, f"the client left behind: {', '.join(left)}"
            return found

        backend = "trio" if self._trio else "asyncio"
        return anyio.run(main, backend=backend, backend_options=self._options)


def face(runtime: str) -> Face:
    """Return the side of the client that *runtime* is for."""
    return Threads() if runtime == "threads" else Tasks(runtime)


async def _awaited(part: Awaitable[object]) -> None:
    await part


@contextlib.contextmanager
def _locked(client: Client) -> Iterator[None]:
    with client._engine.lock:
        yield


def drive(coroutine: Coroutine[object, None, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        found: T = stop.value
        return found
    coroutine.close()
    raise AssertionError("a script on threads must not await anything but its world")


def stacks() -> str:
    """Show where every thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"--- {names.get(ident)}\n{''.join(traceback.format_stack(frame)[-4:])}"
        for ident, frame in sys._current_frames().items()
    )
