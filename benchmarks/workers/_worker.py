"""
What a worker is made of. Nothing but the standard library, so that it costs all of them the same.

A worker is a script that drives one library, in a process of its own: see README.md beside this
file. It says how to connect, to speak and to stop; how that is measured is said here, once for all.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

Take = Callable[[bytes], None]
"""What a contestant calls with the audio of a piece, PCM, once a user would have it in hand."""

GAP_US = 1000
STAMP = 8
"""Bytes at the start of a chunk: when the server wrote it, `time.monotonic_ns`, little-endian."""


class Job:
    """What the harness asks for, the one argument of a worker."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.mode: str = given["mode"]
        self.url: str = given["url"]
        """Scheme, host and port of the server; the path is the provider's."""
        self.provider: str = given["provider"]
        self.voice: str = given["voice"]
        self.key: str = given["key"]
        self.options: dict[str, Any] = given.get("options", {})
        """What tells two contestants of one worker apart."""
        self.given = given


def script(chunks: int, size: int, gap_us: int = 0, delay_ms: int = 0) -> str:
    """Return the text that has the streaming server say so much: nothing is spoken."""
    after = f" after {delay_ms} milliseconds" if delay_ms else ""
    return f"say {chunks} chunks of {size} bytes every {gap_us} microseconds{after}"


class Contestant(Protocol):
    """
    A library, used as its documentation says, from tasks.

    A `Blocking` one has the same methods without `async`.
    """

    def __init__(self, job: Job) -> None: ...

    async def open(self, connections: int) -> None:
        """Have so many connections in all, ready to speak; called again, it adds to them."""

    async def speak(self, text: str, take: Take) -> None:
        """Speak, give *take* all audio, and return at the end."""

    async def interrupted(self, text: str, take: Take) -> float:
        """
        Speak, and stop at the first audio; return the seconds that stopping took.

        The next turn follows at once. What is handed out after the stop goes to *take*, too.
        """

    async def close(self) -> None: ...


class Runtime(Protocol):
    """How a contestant's calls are run, one after the other or all at once."""

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any: ...
    async def together(self, calls: list[Callable[[], Awaitable[None]]]) -> None: ...
    async def sleep(self, seconds: float) -> None: ...


class Asyncio:
    """On asyncio's own loop, or on the one that *run* runs, as `uvloop.run` does."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run) -> None:
        self._run = run

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self._run(main())

    async def together(self, calls: list[Callable[[], Awaitable[None]]]) -> None:
        await asyncio.gather(*(call() for call in calls))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Trio:
    """On trio, which is imported if this is used."""

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        import trio

        return trio.run(main)

    async def together(self, calls: list[Callable[[], Awaitable[None]]]) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)

    async def sleep(self, seconds: float) -> None:
        import trio

        await trio.sleep(seconds)


class Threads:
    """For blocking contestants: the modes below never wait but in their calls, or in a thread."""

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return _finish(main())

    async def together(self, calls: list[Callable[[], Awaitable[None]]]) -> None:
        failed: list[BaseException] = []

        def one(call: Callable[[], Awaitable[None]]) -> None:
            try:
                _finish(call())
            except BaseException as exc:
                failed.append(exc)

        threads = [threading.Thread(target=one, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 — there is no loop


def _finish(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a blocking contestant awaits nothing")


def blocking(kind: type[Any]) -> type[Contestant]:
    """Make a contestant of a class whose methods block."""

    class Blocking:
        def __init__(self, job: Job) -> None:
            self._is = kind(job)

        async def open(self, connections: int) -> None:
            self._is.open(connections)

        async def speak(self, text: str, take: Take) -> None:
            self._is.speak(text, take)

        async def interrupted(self, text: str, take: Take) -> float:
            return float(self._is.interrupted(text, take))

        async def close(self) -> None:
            self._is.close()

    return Blocking


# --- modes: job, contestant, runtime -> figures --------------------------------------------------


async def turns(job: Job, client: Contestant, runtime: Runtime) -> dict[str, Any]:
    """Speak one turn after the other; say when each was first heard, and all that was."""
    return await _turns(job, client, client.speak)


async def barge_in(job: Job, client: Contestant, runtime: Runtime) -> dict[str, Any]:
    """Have each turn interrupted at its first audio; the next one follows at once."""
    return await _turns(job, client, client.interrupted)


async def _turns(job: Job, client: Contestant, speak: Callable[..., Any]) -> dict[str, Any]:
    took: list[float | None] = []
    stops: list[float] = []
    heard: list[str] = []
    began = time.perf_counter()
    await client.open(1)
    opened = time.perf_counter() - began
    for text in job.given["texts"]:
        pieces: list[bytes] = []
        first: list[float] = []

        def take(data: bytes, pieces: list[bytes] = pieces, first: list[float] = first) -> None:
            if not first:
                first.append(time.perf_counter())
            pieces.append(bytes(data))

        began = time.perf_counter()
        stops.append(await speak(text, take) or 0.0)
        took.append(first[0] - began if first else None)
        heard.append(base64.b64encode(b"".join(pieces)).decode())
    return {"opened": opened, "took": took, "stops": stops, "heard": heard}


async def cpu(job: Job, client: Contestant, runtime: Runtime) -> dict[str, Any]:
    """Speak one long turn after a short one; say what the process computed, and for how much."""
    chunks, size, gap = job.given["chunks"], job.given["size"], job.given["gap_us"]
    heard = 0

    def take(data: bytes) -> None:
        nonlocal heard
        heard += len(data)

    await client.open(job.given.get("connections", 1))
    await client.speak(script(min(chunks, 200), size, gap), take)
    heard = 0
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    await client.speak(script(chunks, size, gap), take)
    cpu = time.process_time() - cpu
    wall = time.perf_counter() - began
    return {"cpu": cpu, "wall": wall, "chunks": chunks, "heard": heard, "rss": memory()["rss"]}


async def latency(job: Job, client: Contestant, runtime: Runtime) -> dict[str, Any]:
    """Say how long after the server wrote it the first audio of each turn was in hand, seconds."""
    added: list[float] = []
    first = True

    def take(data: bytes) -> None:
        nonlocal first
        if first:
            now = time.monotonic_ns()
            added.append((now - int.from_bytes(data[:STAMP], "little")) / 1e9)
            first = False

    await client.open(1)
    text = script(3, job.given["size"], 10 * GAP_US, job.given["delay_ms"])
    for _ in range(job.given["turns"]):
        first = True
        await client.speak(text, take)
    return {"added": added[5:]}  # the first ones warm up


async def concurrent(job: Job, client: Contestant, runtime: Runtime) -> dict[str, Any]:
    """Speak many turns at once, at the rate of their audio; measure while all of them speak."""
    count, size = job.given["speeches"], job.given["size"]
    text = script(job.given["chunks"], size, job.given["gap_us"])
    speaking = ended = heard = between = 0
    late: list[float] = []
    marks: list[tuple[float, float, int]] = []

    def mark() -> None:
        marks.append((time.process_time(), time.monotonic(), heard))

    async def one() -> None:
        nonlocal ended
        begun = False

        def take(data: bytes) -> None:
            nonlocal begun, speaking, heard, between
            heard += len(data)
            if not begun:
                begun = True
                speaking += 1
                if speaking == count:
                    mark()
            elif speaking == count and not ended and len(data) == size:
                after = (time.monotonic_ns() - int.from_bytes(data[:STAMP], "little")) / 1e9
                if 0 <= after < 60:  # else pieces are cut anew, and there is no stamp here
                    late.append(after)

        await client.speak(text, take)
        if not ended:
            mark()
        ended += 1

    await client.open(count)
    gc.collect()
    # Their chunks are spread over the gap, as those of speeches that began at any time are.
    spread = job.given["gap_us"] / 1e6

    async def later(number: int) -> None:
        await runtime.sleep(spread * number / count)
        await one()

    await runtime.together([lambda number=number: later(number) for number in range(count)])
    figures: dict[str, Any] = {
        "speeches": count,
        "complete": heard == count * job.given["chunks"] * size,
    }
    if len(marks) == 2:
        (cpu, begun, before), (cpu_end, over, after) = marks
        figures |= {"cpu": cpu_end - cpu, "wall": over - begun, "chunks": (after - before) / size}
        figures |= {"late": sorted(late)}
    return figures | {"peak": peak()}


async def idle(job: Job, client: Contestant, runtime: Runtime) -> dict[str, Any]:
    """Say by how much the process grew for each connection, and with all of them, in KiB."""
    few, many = job.given["few"], job.given["connections"]
    text, heard = script(2, 4800, 20 * GAP_US), []

    async def one() -> None:
        await client.speak(text, lambda data: heard.append(len(data)))

    await client.open(few)
    await one()  # what is loaded or built at the first speech is not the connections'
    await runtime.sleep(0.1)
    before, threads = memory(), threading.active_count()
    await client.open(many)
    await runtime.sleep(0.1)
    after, threads_after, speaking = memory(), threading.active_count(), [0]
    await client.speak(text, lambda data: speaking.append(threading.active_count()))
    more = many - few
    figures = {
        "rss": (after["rss"] - before["rss"]) / more,
        "uss": (after["uss"] - before["uss"]) / more,
        "threads": (threads_after - threads) / more,
        "threads a speech": max(0, max(speaking) - threads_after),
    }
    await runtime.together([one] * many)
    await runtime.sleep(0.1)
    return figures | {"rss after": (memory()["rss"] - before["rss"]) / more}


async def storm(job: Job, client: Contestant, runtime: Runtime) -> dict[str, Any]:
    """Speak many turns at once, with *ready* connections or none; say when all were heard."""
    count, size = job.given["speeches"], job.given["size"]
    served: list[float] = []
    heard: list[int] = []
    failed: list[str] = []

    async def one() -> None:
        mine: list[int] = []

        def take(data: bytes) -> None:
            if not mine:
                served.append(time.perf_counter())
            mine.append(len(data))

        try:
            await client.speak(text, take)
        except Exception as exc:
            failed.append(f"{type(exc).__name__}: {exc}")
        heard.append(sum(mine))

    text = script(1, size)
    if ready := job.given.get("ready"):
        await client.open(ready)
        await client.speak(text, lambda data: None)
        gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    await runtime.together([one] * count)
    cpu = time.process_time() - cpu
    return {
        "seconds": max(served, default=began) - began,
        "all": time.perf_counter() - began,
        "cpu": cpu,
        "served": sum(each == size for each in heard),
        "failed": sorted(set(failed))[:3],
    }


MODES = {mode.__name__: mode for mode in (turns, barge_in, cpu, latency, concurrent, idle, storm)}


def memory() -> dict[str, float]:
    """Return the resident set of this process, and what of it is no other's, in KiB."""
    gc.collect()
    found = {}
    with open("/proc/self/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if rest.endswith("kB\n"):
                found[name] = float(rest.split()[0])
    return {"rss": found["Rss"], "uss": found["Private_Clean"] + found["Private_Dirty"]}


def peak() -> float:
    """Return the most that was resident at once, in KiB."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main(kind: Callable[[Job], Contestant], runtime: Runtime | None = None) -> None:
    """Do what the argument says and print what it came to, the last line on standard output."""
    job = Job(json.loads(sys.argv[1]))
    on = runtime or _loop(job)

    async def run() -> dict[str, Any]:
        client = kind(job)
        try:
            return await MODES[job.mode](job, client, on)
        finally:
            await client.close()

    figures = on.run(run)
    figures["modules"] = sorted({name.partition(".")[0] for name in sys.modules} & WATCHED)
    print(json.dumps(figures), flush=True)
    # Some libraries leave threads behind, which nobody is to wait for.
    os._exit(0)


def _loop(job: Job) -> Runtime:
    match job.options.get("loop"):
        case "trio":
            return Trio()
        case "uvloop":
            import uvloop

            return Asyncio(uvloop.run)
    return Asyncio()


WATCHED = {"ttsmux", "websockets", "websocket", "aiohttp", "picows", "uvloop", "trio", "anyio"}
"""Of these, a worker says which were loaded: one that measures a peer has no ttsmux in it."""
