"""
Cancel a scenario at every point where it can be, and look whether anything came of it.

A *point* is a place in time: who suspended (the scenario with its own tasks, or the client's tasks
that serve it), for the how many-th time, and how the cancellation of the scenario met that wait:

* **now**: while it is suspended, before anything woke it;
* **race**: what it waits for has happened, and the cancellation comes in the same tick;
* **late**: one tick later, when it has been resumed already.

Points are enumerated until the scenario ends before it is reached. On asyncio all coroutines are
stepped by `_Steps`, which sees what they yield, and the cancellation is the native one, delivered
once; on trio an instrument watches the scheduler, and the cancellation is a scope's.

After each one:

* the scenario has ended cancelled, within a bound;
* the next speech on the same client is complete and byte-exact;
* every seat is free again, nobody waits, and of its key the client has what is open and no more;
* closing leaves no task, thread or socket, here or at the server;
* nothing was said that should not be: no exception without an owner, no warning but the documented
  one about a speech that was dropped half-way, no fault in the client's own log.

``python -m tests.cancellation.sweep`` does it all; with the names of points, as a failure prints
them, it repeats those alone.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import gc
import logging
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs

from tests import _leaks
from tests.cancellation.probes import (
    BOUND,
    AsyncioProbe,
    Backend,
    Fault,
    Mode,
    Point,
    TrioProbe,
    Who,
)
from tests.cancellation.scenarios import (
    NEXT,
    SCENARIOS,
    TEXT,
    Act,
    Scenario,
    check,
    held,
    simulated,
)
from ttsmux import AsyncSpeech, PoolStats
from ttsmux.core import connection
from ttsmux.core.states import SpeechState
from ttsmux.simulate import AsyncSimulator

BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")
WHO: tuple[Who, ...] = ("scenario", "client")
MODES: tuple[Mode, ...] = ("now", "race", "late")

ENOUGH = 500
"""Points below which the sweep is not worth its name."""
PATIENCE = 3
"""Points that may fail before a sweep is given up: each can cost several bounds."""
_UNDER_WAY = (SpeechState.WAITING, SpeechState.SPEAKING)
_DOCUMENTED = re.compile("was dropped before its end; read it out, interrupt it, or use with")


@attrs.define
class Report:
    """What came of one scenario on one event loop."""

    scenario: str
    backend: Backend
    points: list[Point] = attrs.field(factory=list)
    faults: list[tuple[Point, str]] = attrs.field(factory=list)
    runs: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        each = Counter((point.who, point.mode) for point in self.points)
        parts = " ".join(f"{who} {'/'.join(str(each[who, mode]) for mode in MODES)}" for who in WHO)
        name = f"{self.scenario}/{self.backend}"
        return f"{name:<40} {len(self.points):4} points ({parts}) {self.seconds:5.1f} s"

    def told(self) -> str:
        return "\n".join(
            f"{self.scenario}/{self.backend}/{point}: {words}" for point, words in self.faults
        )


# --- what nobody should hear ----------------------------------------------------------------------


class Ears(logging.Handler):
    """Collects what is said behind everybody's back while it is in force."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "ttsmux" or record.getMessage() == "client.fault":
            self.heard.append(f"log: {record.getMessage()} {getattr(record, 'error', '')}")

    def unraisable(self, unraisable: Any) -> None:
        self.heard.append(f"unraisable: {unraisable.exc_value!r} in {unraisable.object!r}")

    def loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.heard.append(f"loop: {context['message']} {context.get('exception')!r}")

    @contextlib.contextmanager
    def open(self) -> Iterator[list[warnings.WarningMessage]]:
        ours = logging.getLogger("ttsmux")
        level, hook = ours.level, sys.unraisablehook
        ours.setLevel(logging.DEBUG)
        ours.addHandler(self)
        sys.unraisablehook = self.unraisable
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                yield told
        finally:
            sys.unraisablehook = hook
            ours.removeHandler(self)
            ours.setLevel(level)


# --- one point ------------------------------------------------------------------------------------


class Sweep(abc.ABC):
    """Something that can be cancelled, on one event loop; `run` once."""

    def __init__(self, name: str, backend: Backend, patience: int = PATIENCE) -> None:
        self.report = Report(name, backend)
        self._patience = patience
        self._ears = Ears()

    def run(self, who: Iterable[Who] = WHO, points: Iterable[Point] | None = None) -> Report:
        """Run it once for each of its points, or for *points* alone."""
        began = time.monotonic()
        gc.freeze()  # so that the collections at each point look at what came since
        try:
            with self._ears.open():
                anyio.run(self._main, who, points, backend=self.report.backend)
        finally:
            gc.unfreeze()
        self.report.seconds = time.monotonic() - began
        return self.report

    async def _main(self, who: Iterable[Who], points: Iterable[Point] | None) -> None:
        if self.report.backend == "asyncio":
            asyncio.get_running_loop().set_exception_handler(self._ears.loop)
        await self.point(None)  # what is made when first used is no leak
        gc.freeze()
        if points is None:
            await self._all(who)
        for point in points or ():
            await self.point(point)

    async def _all(self, who: Iterable[Who]) -> None:
        for each in who:
            k, more = 0, True
            while more:
                k, more = k + 1, False
                for mode in MODES:
                    if len(self.report.faults) >= self._patience:
                        return
                    more |= await self.point(Point(each, k, mode))

    async def point(self, aim: Point | None) -> bool:
        """Run the scenario, cancel it at *aim*; return whether it came so far."""
        probe = AsyncioProbe(aim) if self.report.backend == "asyncio" else TrioProbe(aim)
        self.report.runs += 1
        known = len(self._ears.heard)
        try:
            async with self._nothing_left():
                await self._play(probe)
                gc.collect()
            if said := self._ears.heard[known:]:
                raise Fault("; ".join(said))
        except Exception as exc:
            words = str(exc) if isinstance(exc, Fault) else "".join(traceback.format_exception(exc))
            self.report.faults.append((aim or Point("scenario", 0, "now"), words))
            return probe.reached
        if aim is not None and probe.requested:
            self.report.points.append(aim)
        # A place that has no such mode is there all the same.
        return probe.reached or (aim is not None and probe.aim is None)

    @abc.abstractmethod
    async def _play(self, probe: AsyncioProbe | TrioProbe) -> None:
        """Have *probe* run what can be cancelled, and judge. Raises `Fault`, or anything."""

    @contextlib.asynccontextmanager
    async def _nothing_left(self) -> AsyncIterator[None]:
        things, tasks = _things(), _leaks.tasks()
        yield
        left = await _leaks.tasks_since(tasks, BOUND)
        if left:
            raise Fault(f"left behind: {', '.join(left)}")
        await until(
            lambda: not (_things().keys() - things.keys()),
            lambda: f"left behind: {[w for k, w in _things().items() if k not in things]}",
        )


class ClientSweep(Sweep):
    """A scenario of a client, with one simulator for all of its points."""

    def __init__(
        self,
        scenario: Scenario,
        backend: Backend,
        sim: AsyncSimulator,
        patience: int = PATIENCE,
    ) -> None:
        super().__init__(str(scenario), backend, patience)
        self._scenario = scenario
        self._sim = sim

    async def _play(self, probe: AsyncioProbe | TrioProbe) -> None:
        with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings(record=True) as ws:
            warnings.simplefilter("always")
            act = Act(self._scenario, self._sim, Path(directory))
            try:
                await probe.run(act.scenario.body(act))
                gc.collect()
                left = os.listdir(directory)
                if left not in ([], ["speech.wav"]):
                    raise Fault(f"files are left: {left}")
                await self._read_on(act, probe.aim)
                await self._used_again(act)
                await self._nothing_held(act)
            finally:
                with anyio.move_on_after(BOUND) as bound:
                    for client in act.clients:
                        await client.aclose()
                        assert client.pool_stats().size == 0, client.pool_stats()
            if bound.cancelled_caught:
                raise Fault("aclose() hangs")
            assert held(client) == (0, 0), "closed clients still have something of their key"
            sources = act.sources
            await until(lambda: all(sources), "a source of text was not closed")
            del act, client
            gc.collect()
        for warning in ws:
            if not _DOCUMENTED.search(str(warning.message)):
                self._ears.heard.append(f"warning: {warning.message}")

    async def _read_on(self, act: Act, aim: Point | None) -> None:
        """Read the rest of what was not left: nothing of it may be missing."""
        with anyio.move_on_after(BOUND) as bound:
            for speech, chunks in act.kept:
                if aim is not None and aim.k % 2:
                    await _received(speech)  # while nobody waits for it
                chunks += [chunk.data async for chunk in speech]
                check(b"".join(chunks), TEXT)
        if bound.cancelled_caught:
            raise Fault(f"reading on hangs: {act.kept}")

    async def _used_again(self, act: Act) -> None:
        """Have the next speech on the same client, and look at the seats."""
        client = act.client
        speech = client.speak(NEXT)
        with anyio.move_on_after(BOUND) as bound:
            check(await speech.read(), NEXT)
        if bound.cancelled_caught:
            raise Fault(f"the next speech hangs: {speech!r} {client.pool_stats()}")
        adapter = client._configuration.routes[0].adapter
        seats = getattr(adapter, "seats", adapter.traits.seats)

        pool = client._engine.mux._pool

        def rests() -> bool:
            stats: PoolStats = client.pool_stats()
            # One that was cleared a moment ago is watched for a while before it may speak again.
            due = sum(not conn.watched for conn in pool.connections) * seats
            return stats.size == stats.idle and stats.seats_free == due and not stats.waiting

        await until(rests, lambda: f"the pool does not come to rest: {client.pool_stats()}")
        if client._engine.askers:
            raise Fault("a question that nobody waits for was not called off")

    async def _nothing_held(self, act: Act) -> None:
        """Of its key the client has what is open, and the others that are closed have nothing."""
        client, *others = act.clients
        for other in others:
            await other.aclose()
        await until(
            lambda: held(client) == (client.pool_stats().size, 0),
            lambda: f"{held(client)} of the key are held: {client.pool_stats()}",
        )


def _things() -> _leaks.Snapshot:
    # Threads of anyio and trio that have done their work rest for a while.
    return {k: words for k, words in _leaks.snapshot().items() if "AnyIO worker" not in words}


async def _received(speech: AsyncSpeech) -> None:
    await until(lambda: speech._core.state not in _UNDER_WAY, f"{speech!r} hangs")


async def until(condition: Callable[[], bool], words: str | Callable[[], str]) -> None:
    with anyio.move_on_after(BOUND):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.0005)
        return
    raise Fault(words if isinstance(words, str) else words())


# --- all of them ----------------------------------------------------------------------------------


def sweep(
    scenario: Scenario,
    backend: Backend,
    who: Iterable[Who] = WHO,
    points: Iterable[Point] | None = None,
    patience: int = PATIENCE,
) -> Report:
    """Cancel *scenario* on *backend* at each of its points, or at *points* alone."""
    watched_for, connection._WATCH_FOR = connection._WATCH_FOR, 0.01  # it would cost 15 s in all
    try:
        # A chunk every 1.6 ms: most of them are waited for, one at a time.
        more = simulated(scenario.provider)
        with AsyncSimulator(scenario.provider, engine="tone", rtf=0.02, **more) as sim:
            return ClientSweep(scenario, backend, sim, patience).run(who, points)
    finally:
        connection._WATCH_FOR = watched_for


def _main(names: list[str]) -> int:
    wanted: dict[tuple[str, str], list[Point]] = {}
    for name in names:
        scenario, backend, *rest = name.split("/")
        points = wanted.setdefault((scenario, backend), [])
        if rest:
            who, k, mode = rest
            points.append(Point(who, int(k), mode))  # type: ignore[arg-type]
    total, failed = 0, False
    for each in SCENARIOS:
        for runtime in BACKENDS:
            if wanted and (str(each), runtime) not in wanted:
                continue
            report = sweep(each, runtime, points=wanted.get((str(each), runtime)) or None)
            print(report, flush=True)
            total, failed = total + len(report.points), failed or bool(report.faults)
            if report.faults:
                print(report.told(), flush=True)
    print(f"{total} points")
    return int(failed or (not wanted and total < ENOUGH))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
