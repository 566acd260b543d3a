"""
Tasks that may be cancelled before their first step.

A loop that ends cancels all its tasks, also those that were made a moment ago. anyio wraps what it
starts in a coroutine of its own, which then never awaits ours, and Python complains of that later,
in whatever runs when the garbage is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import ParamSpec

import anyio
import anyio.abc

_P = ParamSpec("_P")


class _Later(Coroutine[object, object, None]):
    """A coroutine that is made by its first step."""

    def __init__(self, make: Callable[[], Coroutine[object, object, None]]) -> None:
        self._make = make
        self._made: Coroutine[object, object, None] | None = None

    def _coroutine(self) -> Coroutine[object, object, None]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __await__(self) -> Generator[object, object, None]:
        return self._coroutine().__await__()

    def send(self, value: object) -> object:
        return self._coroutine().send(value)

    # asyncio and trio throw an exception, never a type with its value.
    def throw(self, exc: BaseException) -> object:  # type: ignore[override]
        return self._coroutine().throw(exc)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()


async def beside(
    write: Callable[[], Coroutine[object, object, None]],
    run: Callable[_P, Coroutine[object, object, None]],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> None:
    """Run *write*, and *run* in a task of its own meanwhile."""
    async with anyio.create_task_group() as tasks:
        begin(tasks, run, *args, **kwargs)
        await write()


def begin(
    group: anyio.abc.TaskGroup,
    run: Callable[_P, Coroutine[object, object, None]],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> None:
    """Start a task in *group*."""
    name = f"{run.__module__}.{run.__qualname__}"
    group.start_soon(lambda: _Later(lambda: run(*args, **kwargs)), name=name)
