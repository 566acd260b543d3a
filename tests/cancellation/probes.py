"""
Where a coroutine can be cancelled, and how: see the docstring of ``sweep.py``.

A probe runs a coroutine, counts suspensions, and asks for the cancellation at the one it aims at.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Literal

import attrs
import outcome
import trio

Backend = Literal["asyncio", "trio"]
Who = Literal["scenario", "client"]
Mode = Literal["now", "race", "late"]


Main = Coroutine[Any, Any, None]

BOUND = 20.0
"""Seconds for anything after a cancellation: many times what a slow machine needs."""


@attrs.frozen
class Point:
    """Where to cancel."""

    who: Who
    k: int
    mode: Mode

    def __str__(self) -> str:
        return f"{self.who}/{self.k}/{self.mode}"


class Fault(Exception):
    """Something is not as it should be after a cancellation."""


class Probe:
    """Counts suspensions, and cancels the scenario at one of them."""

    def __init__(self, aim: Point | None) -> None:
        self.aim = aim
        self.reached = False
        self.requested = False
        """Whether the cancellation came before the scenario had ended."""
        self._counts: Counter[Who] = Counter()

    def counts(self, who: Who | None) -> bool:
        """Count a suspension, and tell whether it is the one."""
        if who is None or self.reached:
            return False
        self._counts[who] += 1
        aim = self.aim
        self.reached = aim is not None and aim.who == who and aim.k == self._counts[who]
        return self.reached


class AsyncioProbe(Probe):
    """Steps the coroutines of all tasks that are created while it is in force."""

    def __init__(self, aim: Point | None) -> None:
        super().__init__(aim)
        self._loop = asyncio.get_running_loop()
        self._creators: dict[asyncio.Task[Any], asyncio.Task[Any] | None] = {}
        self._root: asyncio.Task[None] | None = None

    async def run(self, main: Main) -> bool:
        """Run *main* and return whether it was cancelled. Raises `Fault`, and what it raises."""
        loop = self._loop
        loop.set_task_factory(self._make)
        try:
            self._root = root = asyncio.create_task(main, name="scenario")
            await asyncio.wait([root], timeout=BOUND)
        finally:
            loop.set_task_factory(None)
            self._creators.clear()
        if not root.done():
            told = _where(root)
            root.cancel()
            await asyncio.wait([root], timeout=1)
            raise Fault(f"it hangs\n{told}")
        if root.cancelled():
            if not self.requested:
                raise Fault("it was cancelled by somebody else")
            return True
        if self.requested:
            raise Fault("the cancellation was swallowed") from root.exception()
        root.result()
        return False

    def _make(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        async def stepped() -> Any:
            return await _Steps(coro, self._suspends)

        stepped.__qualname__ = getattr(coro, "__qualname__", "stepped")
        task = asyncio.Task(stepped(), loop=loop, **options)
        self._creators[task] = asyncio.current_task()
        return task

    def _whose(self, task: asyncio.Task[Any] | None) -> Who | None:
        if task is None or task is self._root:
            return task and "scenario"
        # The supervisor is started by whoever uses the client first; all else is its child.
        return "client" if task.get_name() == "ttsmux" else self._whose(self._creators.get(task))

    def _suspends(self, waited_for: asyncio.Future[Any] | None) -> None:
        """Act before the task gets to see *waited_for*: our callbacks come before its own."""
        if not self.counts(self._whose(asyncio.current_task())):
            return
        assert self.aim is not None, "it is reached"
        match self.aim.mode:
            case "now":
                # Of the running task itself: it cancels what it is about to wait for.
                self._cancel()
            case "race" if waited_for is None:
                self.reached = False  # nothing can happen meanwhile: that is the same as now
                self._counts[self.aim.who] -= 1
                self.aim = None
            case "race":
                waited_for.add_done_callback(self._cancel)
            case "late" if waited_for is None:
                self._loop.call_soon(self._soon)
            case "late":
                waited_for.add_done_callback(self._soon)

    def _soon(self, _: object = None) -> None:
        self._loop.call_soon(self._cancel)

    def _cancel(self, _: object = None) -> None:
        assert self._root is not None, "somebody was suspended"
        self.requested = self._root.cancel()


class _Steps:
    """Drives a coroutine, and tells of each suspension before it takes place."""

    def __init__(
        self, coro: Coroutine[Any, Any, Any], suspends: Callable[[Any], None], sees: Any = None
    ) -> None:
        self._coro = coro
        self._suspends = suspends
        self._sees = sees

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[Any], Any] = self._coro.send
        value: Any = None
        while True:
            try:
                waited_for = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                value = None
            self._suspends(waited_for)
            step = self._coro.send
            try:
                value = yield waited_for
            except GeneratorExit:
                self._coro.close()
                raise
            except BaseException as exc:
                step, value = self._coro.throw, exc
            if self._sees is not None:
                self._sees(value)


class TrioProbe(Probe, trio.abc.Instrument):
    """Watches the scheduler."""

    def __init__(self, aim: Point | None) -> None:
        super().__init__(aim)
        self._who: dict[trio.lowlevel.Task, Who | None] = {}
        self._root: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope()
        self._stepping: trio.lowlevel.Task | None = None
        self._rescheduled = False
        self._watched: trio.lowlevel.Task | None = None
        self._woken = False
        self._over = False
        self._delivered = False

    async def run(self, main: Main) -> bool:
        """Run *main* and return whether it was cancelled. Raises `Fault`, and what it raises."""
        result: outcome.Outcome[None] | None = None

        async def root() -> None:
            nonlocal result
            self._root = trio.lowlevel.current_task()
            with self._scope:
                try:
                    await self._steps(main)
                    result = outcome.Value(None)
                except Exception as exc:
                    result = outcome.Error(exc)
            self._over = True

        trio.lowlevel.add_instrument(self)
        try:
            with trio.move_on_after(BOUND) as bound:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(root, name="scenario")
        finally:
            self._over = True
            trio.lowlevel.remove_instrument(self)
            self._who.clear()
        if bound.cancelled_caught:
            raise Fault("it hangs")
        if self._scope.cancelled_caught:
            return True
        if result is None:
            raise Fault("it was cancelled by somebody else")
        try:
            if self.requested and self._delivered:
                raise Fault("the cancellation was swallowed")
            result.unwrap()
        finally:
            result = None
        return False

    async def _steps(self, main: Main) -> None:
        await _Steps(main, lambda _: None, self._sees)

    def _sees(self, value: object) -> None:
        if self._scope.cancel_called and isinstance(value, outcome.Error):
            self._delivered = self._delivered or isinstance(value.error, trio.Cancelled)

    # -- what the scheduler does

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._stepping, self._rescheduled = task, False

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if task is self._stepping:
            self._rescheduled = True  # it only gives way
        elif task is self._watched and not self._woken:
            self._woken = True
            assert self.aim is not None, "it is reached"
            if self.aim.mode == "race":
                self._cancel()

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        if task is self._stepping:
            self._stepping = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        alive, self._stepping = self._stepping is task, None
        if task is self._watched and self._woken:
            self._watched = None
            assert self.aim is not None, "it is reached"
            if self.aim.mode == "late":
                self._cancel()
        elif alive and self.counts(self._whose(task)):
            assert self.aim is not None, "it is reached"
            if self.aim.mode == "now":
                self._cancel()
            elif self.aim.mode == "race" and self._rescheduled:
                self.aim, self.reached = None, False  # the same as now
            else:
                self._watched, self._woken = task, self._rescheduled

    def _cancel(self) -> None:
        if not self._over:
            self.requested = True
            self._scope.cancel()

    def _whose(self, task: trio.lowlevel.Task) -> Who | None:
        if task is self._root:
            return None if self._over else "scenario"
        if task not in self._who:
            parent = task.parent_nursery and task.parent_nursery.parent_task
            who: Who | None = "client" if task.name == "ttsmux" else None
            self._who[task] = who or (self._whose(parent) if parent is not None else None)
        return self._who[task]


def _where(task: asyncio.Task[Any]) -> str:
    lines: list[str] = []
    coro: Any = task.get_coro()
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is not None:
            lines += traceback.format_list(traceback.extract_stack(frame, limit=1))
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)
    return "".join(lines)
