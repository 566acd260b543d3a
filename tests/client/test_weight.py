"""
What an idle connection holds on to: little, for there may be thousands.

In things, not in bytes, which differ with every Python; the bytes are measured by benchmarks/.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TypeVar

import pytest
from websockets.datastructures import Headers

import ttsmux
from tests.client.test_wires import client_of, threaded
from ttsmux.client._tasks_wire import Wire
from ttsmux.core.connection import Connection
from ttsmux.simulate import AsyncSimulator
from ttsmux.transports.base import Response as Answer
from ttsmux.transports.base import Target

T = TypeVar("T")

FEW, MANY = 2, 7
POOL = ttsmux.PoolLimits(max_size=MANY, min_idle=0)


def alive(kind: type[T]) -> list[T]:
    """Return the objects of that *kind* that somebody holds."""
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, kind)]


@pytest.mark.anyio
async def test_an_idle_connection_of_asyncio_is_one_task(
    sim: AsyncSimulator, anyio_backend_name: str
) -> None:
    """Who writes; what comes, comes by callbacks."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no callbacks: there somebody has to read")
    async with client_of(sim.url, pool=POOL) as client:
        assert await client.prewarm(FEW) == FEW
        before = {task for task in asyncio.all_tasks() if "ttsmux" in task.get_name()}
        assert await client.prewarm(MANY) == MANY
        after = {task for task in asyncio.all_tasks() if "ttsmux" in task.get_name()}
        assert len(after) - len(before) == MANY - FEW


@pytest.mark.anyio
async def test_an_idle_connection_holds_nothing_of_its_dial(sim: AsyncSimulator) -> None:
    """Neither what was asked nor what was answered, nor the scopes that limited it."""
    async with client_of(sim.url, pool=POOL) as client:
        assert await client.prewarm(MANY) == MANY
        assert not alive(Target) and not alive(Answer)
        # The library holds its own answer, but not what it said; and the simulator the questions.
        assert not [headers for headers in alive(Headers) if "Sec-WebSocket-Accept" in headers]
        wires = alive(Wire)
        assert len(wires) == MANY
        assert not [wire for wire in wires if wire._dialling is not None]


def test_an_idle_connection_of_threads_is_two(sim: AsyncSimulator) -> None:
    """Who writes, and who reads."""
    with threaded(sim.url, pool=POOL) as client:
        assert client.prewarm(FEW) == FEW
        before = threading.active_count()
        assert client.prewarm(MANY) == MANY
        assert threading.active_count() - before == 2 * (MANY - FEW)


def test_a_speech_takes_no_thread(sim: AsyncSimulator) -> None:
    """Whose text is there, or is written: only an iterator, which may block, needs somebody."""
    with threaded(sim.url, pool=POOL) as client:
        assert client.prewarm(MANY) == MANY
        before = threading.active_count()
        speeches = [client.speak("Hello there."), client.speak()]
        assert threading.active_count() == before
        speeches[1].write("And there.")
        speeches[1].end()
        for speech in speeches:
            assert next(speech).data
            assert threading.active_count() == before
            assert speech.read()


def test_a_connection_has_no_dictionary() -> None:
    """There are more attributes than Python lets instances share the keys of."""
    assert "__dict__" not in dir(Connection)
