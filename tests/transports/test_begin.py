"""A task that is cancelled before its first step leaves nothing to complain of."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Coroutine

import anyio
import anyio.lowlevel
import pytest

from ttsmux.transports._begin import begin


async def note(seen: list[str], word: str) -> None:
    seen.append(word)
    await anyio.lowlevel.checkpoint()
    seen.append("and on")


@pytest.mark.anyio
async def test_it_runs_as_any_task_does() -> None:
    seen: list[str] = []
    async with anyio.create_task_group() as group:
        begin(group, note, seen, word="begun")
        assert seen == []
    assert seen == ["begun", "and on"]


@pytest.mark.anyio
async def test_what_it_raises_ends_the_group() -> None:
    async def broken() -> None:
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("broken")

    async def run() -> None:
        async with anyio.create_task_group() as group:
            begin(group, broken)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert [str(exc) for exc in caught.value.exceptions] == ["broken"]


def test_a_loop_that_ends_before_its_first_step() -> None:
    """Such as asyncio.run, which cancels every task; Python said that ours was never awaited."""
    seen: list[str] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            begin(group, note, seen, "begun")
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()
    assert seen == []


@pytest.mark.parametrize("step", ["send", "throw", "close"])
def test_it_may_be_driven_by_hand(step: str) -> None:
    """As event loops drive a coroutine that anyio did not wrap."""
    seen: list[str] = []
    made: list[Coroutine[object, object, None]] = []

    class Group:
        def start_soon(self, run, name: str) -> None:  # type: ignore[no-untyped-def]
            assert name.endswith(".note")
            made.append(run())

    begin(Group(), note, seen, "begun")  # type: ignore[arg-type]
    (coroutine,) = made
    if step == "throw":
        with pytest.raises(KeyError):
            coroutine.throw(KeyError())
    elif step == "send":

        async def run() -> None:
            await coroutine

        asyncio.run(run())
    coroutine.close()
    assert seen == (["begun", "and on"] if step == "send" else [])
