"""
What a test may leave behind: nothing.

Take a `snapshot` before and ask `since` after it; what is new and does not go away by itself within
a grace is a leak, told in words. Threads, sockets and child processes belong to the process; tasks
belong to a loop and are asked for inside it, before it ends and takes them along.

The look at descriptors needs /dev/fd and the look at children needs /proc: Linux has both. Where
one is missing it sees nothing.
"""

import asyncio
import contextlib
import gc
import math
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import anyio

POLL = 0.01

Key = tuple[str, object]
"""What a thing is, and what tells it from others of its kind. It keeps a task or thread alive, so
that its id is not given to the next one while we compare."""

Snapshot = dict[Key, str]
"""Everything there is, with a description for people."""


def snapshot() -> Snapshot:
    """See the threads, sockets and child processes of this process."""
    return {**dict(_threads()), **dict(_sockets()), **dict(_children())}


def since(before: Snapshot, grace: float) -> list[str]:
    """
    Describe what is there now and was not *before*, once it had *grace* seconds to go away.

    Looks as often as fits into that time, however long each look takes: where the machine stands
    still, so does what is about to leave. Collects garbage only when something is left: nothing
    that is gone needs it, and it takes longer than most tests.
    """
    if _new(before, snapshot()):
        gc.collect()
    for _ in range(_looks(grace)):
        if not _new(before, snapshot()):
            return []
        time.sleep(POLL)
    return _new(before, snapshot())


async def tasks_since(before: Snapshot, grace: float) -> list[str]:
    """Describe the tasks of the running loop like `since`; *before* comes from `tasks`."""
    for _ in range(_looks(grace)):
        if not _new(before, tasks()):
            return []
        await anyio.sleep(POLL)
    return _new(before, tasks())


def _looks(grace: float) -> int:
    return math.ceil(grace / POLL)


def tasks() -> Snapshot:
    """See the tasks of the running loop, asyncio's (uvloop's too) or trio's."""
    return dict(_trio_tasks() if _in_trio() else _asyncio_tasks())


def _in_trio() -> bool:
    if "trio" not in sys.modules:
        return False
    import trio

    return trio.lowlevel.in_trio_task()


def _new(before: Snapshot, after: Snapshot) -> list[str]:
    return [words for key, words in after.items() if key not in before]


def _asyncio_tasks() -> Iterator[tuple[Key, str]]:
    for task in asyncio.all_tasks():
        coroutine = getattr(task.get_coro(), "__qualname__", "a coroutine")
        # anyio's pytest plugin wraps every call into the loop in a task that ends with the call.
        if coroutine != "TestRunner._call_in_runner_task":
            yield ("task", task), f"task {task.get_name()!r} ({coroutine})"


def _trio_tasks() -> Iterator[tuple[Key, str]]:
    import trio

    root = trio.lowlevel.current_root_task()
    todo = [root] if root else []
    while todo:
        task = todo.pop()
        yield ("task", task), f"task {task.name!r}"
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _threads() -> Iterator[tuple[Key, str]]:
    for thread in threading.enumerate():
        # Named like this, a thread of trio's rests: it waits ten seconds for other work.
        if not thread.name.startswith("Trio thread "):
            yield ("thread", thread), f"thread {thread.name!r}"


def _sockets() -> Iterator[tuple[Key, str]]:
    with contextlib.suppress(FileNotFoundError):
        for fd in map(int, os.listdir("/dev/fd")):
            # The descriptor of the listing itself is closed by now.
            with contextlib.suppress(OSError):
                status = os.fstat(fd)
                if stat.S_ISSOCK(status.st_mode):
                    yield ("socket", (fd, status.st_ino)), f"socket {fd} ({_ends(fd)})"


def _ends(fd: int) -> str:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as duplicate:
        here = duplicate.getsockname()
        try:
            return f"{here} to {duplicate.getpeername()}"
        except OSError:
            return f"{here}, not connected"
    return "gone"


def _children() -> Iterator[tuple[Key, str]]:
    if not hasattr(os, "waitid"):
        return
    try:
        # Leaves the dead to their owner; complains, cheaply, if there is no child at all.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    # Started by multiprocessing when first needed, to live as long as this process.
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # "pid (name) state parent …", where the name may hold spaces and parentheses.
            name, _, rest = entry.read_text().partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            pid = int(entry.parent.name)
            if int(parent) == os.getpid() and pid != tracker:
                dead = ", ended but not waited for" if state == "Z" else ""
                yield ("child", pid), f"child process {pid} ({name}{dead})"
