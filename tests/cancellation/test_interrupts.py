"""
A KeyboardInterrupt at the steps that the main thread takes in the client and in the core.

A step is a line that is about to run, called by the lines that it is called by. Each scenario is
watched a few times; then a trace function raises the interrupt at one step a run: at each of the
shell's, and in the core at each line for each line that calls it. ``--every-step`` leaves none out,
also where a line runs again and again: tens of thousands of runs. The interrupt must come out at
the caller; whoever reads in another thread gets an answer; the client speaks on, and has no more of
its key than what is open; and `close()` leaves nothing. What is traced runs in a thread of its own,
so that it may hang.
"""

from __future__ import annotations

import dis
import gc
import itertools
import linecache
import sys
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import anyio
import attrs
import pytest

import ttsmux
from tests import _leaks
from tests._totals import Entry
from tests.cancellation.scenarios import (
    LISTING,
    MANY,
    NEXT,
    PROVIDERS,
    TEXT,
    adapter_for,
    check,
    held,
    simulated,
)
from tests.scenarios.stage import KEY
from ttsmux import AsyncClient, Client, Error, PoolLimits
from ttsmux.core import connection
from ttsmux.simulate import AsyncSimulator, Simulator

T = TypeVar("T")

# Hundreds of clients each: on a busy machine more than the minute that a test has.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(ttsmux.__file__).parent
SHELL = {
    str(ROOT / "client" / f"{name}.py") for name in ("sync", "aio", "_shared", "_threads", "_tasks")
} | {
    str(ROOT / "client" / f"_{kind}_{part}.py")
    for kind in ("threads", "tasks")
    for part in ("asker", "bells", "feeder", "wire")
}
TRACED = tuple(str(ROOT / name) + "/" for name in ("client", "core"))
RECORDED = 3
"""How often a scenario is watched before: who is faster is not always the same."""
TRIES = 3
"""Runs in which a step may fail to come, for the same reason."""
PATIENCE = 3
"""Faults after which a scenario is given up: each can cost several bounds."""
BOUND = 20.0

Line = tuple[CodeType, int]
Stack = tuple[Line, ...]
"""A line that is about to run and those that called it, down to the scenario's; ours alone."""


@attrs.frozen
class Step:
    """Where the main thread is: a stack, and for the how many-th time."""

    stack: Stack
    time: int

    @property
    def shell(self) -> bool:
        return self.stack[0][0].co_filename in SHELL

    @property
    def part(self) -> int:
        """Which of the core's tests takes it: by the line, for what is watched may differ."""
        code, line = self.stack[0]
        return (line + len(code.co_filename)) % PARTS

    def __str__(self) -> str:
        code, line = self.stack[0]
        words = linecache.getline(code.co_filename, line).strip()
        calls = " < ".join(f"{Path(code.co_filename).name}:{line}" for code, line in self.stack)
        return f"{calls} (time {self.time}, {words!r})"


# --- scenarios ------------------------------------------------------------------------------------


class Act:
    """One run: a client, and threads that read beside the main one."""

    def __init__(self, provider: str, sim: Simulator) -> None:
        self.default_voice = sim.default_voice
        adapter = adapter_for(provider, sim.default_voice)
        pool = PoolLimits(min_idle=0)
        self.client = Client(adapter, base_url=sim.url, api_key=KEY, pool=pool, limits=MANY)
        self.readers: list[threading.Thread] = []
        self.answers: list[bytes | Error] = []

    def read_elsewhere(self, speech: ttsmux.Speech) -> None:
        def read() -> None:
            try:
                self.answers.append(speech.read())
            except Error as exc:
                self.answers.append(exc)

        self.readers.append(threading.Thread(target=read, name="reader"))
        self.readers[-1].start()

    def join(self) -> list[bytes | Error]:
        for reader in self.readers:
            reader.join(BOUND)
        assert not any(reader.is_alive() for reader in self.readers), "a reader hangs"
        assert len(self.answers) == len(self.readers), "a reader got no answer"
        return self.answers


Scenario = Callable[[Act], None]


def whole_text(act: Act) -> None:
    with act.client.speak(TEXT) as speech:
        audio = b"".join(chunk.data for chunk in speech)
    check(audio, TEXT)


def pushed_and_read_elsewhere(act: Act) -> None:
    with act.client.speak() as speech:
        act.read_elsewhere(speech)
        for piece in TEXT.split():
            speech.write(piece + " ")
        speech.flush()
        speech.end()
        (audio,) = act.join()
    assert isinstance(audio, bytes)
    check(audio, TEXT)


def barge_in(act: Act) -> None:
    with act.client.speak("abcd ef") as first:
        next(first)
        first.interrupt()
        assert next(first, None) is None
    check(act.client.speak(TEXT).read(), TEXT)


def from_an_iterable(act: Act) -> None:
    """A feeder of the client's own."""
    speech = act.client.speak(piece + " " for piece in TEXT.split())
    check(speech.read(), TEXT)


def prewarmed_and_closed(act: Act) -> None:
    """Another speech is being read while the main thread closes."""
    with act.client as client:
        assert client.prewarm() == 1
        act.read_elsewhere(client.speak("abcd ef"))
        check(client.speak("a").read(), "a")
    act.join()


def read_again(act: Act) -> None:
    """Whoever catches the interrupt may go on with the same speech, or is told why not."""
    speech = act.client.speak()
    speech.write(TEXT)
    speech.end()
    try:
        speech.read()
    except KeyboardInterrupt:
        with suppress(ttsmux.ClosedError):  # its Mux was torn, and it was failed with it
            speech.read()
        raise


def interrupted_elsewhere(act: Act) -> None:
    """One thread reads, the other stops it."""
    with act.client.speak() as speech:
        act.read_elsewhere(speech)
        speech.write("abcd ")
        speech.interrupt()
        (audio,) = act.join()
    assert isinstance(audio, bytes)


def drained(act: Act) -> None:
    """One speech is read meanwhile, one afterwards."""
    act.read_elsewhere(act.client.speak("a"))
    later = act.client.speak("b")
    assert act.client.drain(timeout=BOUND)
    check(later.read(), "b")
    (audio,) = act.join()
    assert isinstance(audio, bytes)
    check(audio, "a")


def voices(act: Act) -> None:
    """Asked for twice: the second time over a connection that is open."""
    for _ in range(2):
        found = [one.id for one in act.client.voices(timeout=BOUND)]
        assert act.default_voice in found, found


SCENARIOS = (
    read_again,
    interrupted_elsewhere,
    whole_text,
    pushed_and_read_elsewhere,
    barge_in,
    from_an_iterable,
    prewarmed_and_closed,
    drained,
    voices,
)
CLOSING = (prewarmed_and_closed, drained)
"""After which the client may be closed, and says nothing more."""
PLAYED = [
    (provider, scenario)
    for scenario in SCENARIOS
    for provider in (LISTING if scenario is voices else PROVIDERS)
]
PARTS = 6
"""Tests that the core is shared out to, so that several processes may strike it."""
WHOLE = len(PLAYED) + PARTS
ENOUGH = 3_000
"""Interrupts below which the sweep is not worth its name."""


# --- the hook -------------------------------------------------------------------------------------


class Hook:
    """Notes the steps that the calling thread takes, or raises at one of them."""

    def __init__(self, aim: Step | None = None) -> None:
        self.aim = aim
        self.fired = False
        self.steps: list[Step] = []
        self._times: Counter[Stack] = Counter()

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._enters)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enters(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(TRACED):
            return None
        if self.aim is None:
            return self._notes
        return self._strikes if code is self.aim.stack[0][0] else None

    def _notes(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and not between_checks(frame.f_code, frame.f_lineno, frame.f_lasti):
            step = self._step(frame)
            # An exception in __del__ reaches nobody: CPython prints it and goes on.
            if not any(code.co_name == "__del__" for code, _ in step.stack):
                self.steps.append(step)
        return self._notes

    def _strikes(self, frame: FrameType, event: str, _: object) -> Any:
        assert self.aim is not None, "nothing is noted"
        if event == "line" and frame.f_lineno == self.aim.stack[0][1] and not self.fired:
            here = not between_checks(frame.f_code, frame.f_lineno, frame.f_lasti)
            if here and self._step(frame) == self.aim:
                self.fired = True
                raise KeyboardInterrupt
        return self._strikes

    def _step(self, frame: FrameType) -> Step:
        stack: list[Line] = []
        each: FrameType | None = frame
        while each is not None and each.f_code not in (play.__code__, begun.__code__):
            code = each.f_code
            if code.co_filename.startswith(TRACED) or code.co_filename == __file__:
                stack.append((code, each.f_lineno))
            each = each.f_back
        found = tuple(stack)
        self._times[found] += 1
        return Step(found, self._times[found])


@cache
def between_checks(code: CodeType, line: int, at: int) -> bool:
    """
    Tell whether the interpreter would not look for signals *at* an instruction, though a line
    begins.

    It looks after calls, at the beginning of a function and when a loop goes round. An interrupt
    raised where it does not would leave a lock held as none can in reality:

    * ``try:`` is no instruction but a NOP, for which the compiler makes no entry in the table of
      exceptions: not even the ``with`` around it would see one.
    * The end of a ``with`` block counts as its line once more. From the last instruction of the
      body to the call of ``__exit__``, normal or not, it does not look.
    """
    first, nothing = starts(code)
    if at in nothing:
        return True
    words = linecache.getline(code.co_filename, line).split()
    return words[:1] == ["with"] and at != first[line]


@cache
def starts(code: CodeType) -> tuple[dict[int, int], set[int]]:
    """Return where each line of *code* begins first, and where there is a NOP."""
    first: dict[int, int] = {}
    for offset, line in dis.findlinestarts(code):
        if line is not None:
            first.setdefault(line, offset)
    return first, {each.offset for each in dis.get_instructions(code) if each.opname == "NOP"}


# --- one interrupt --------------------------------------------------------------------------------


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a connection that was cleared be watched for a moment only."""
    monkeypatch.setattr(connection, "_WATCH_FOR", 0.01)


@pytest.fixture
def sim(request: pytest.FixtureRequest, brief: None) -> Iterator[Simulator]:
    with simulator(request.param) as running:
        yield running


def simulator(provider: str) -> Simulator:
    return Simulator(provider, engine="tone", rtf=0.01, **simulated(provider))


@pytest.mark.counted
@pytest.mark.parametrize(("sim", "scenario"), PLAYED, indirect=["sim"])
def test_an_interrupt_at_any_step(
    scenario: Scenario,
    sim: Simulator,
    request: pytest.FixtureRequest,
    add_to_total: Callable[[Entry], None],
) -> None:
    """Each stack of the shell is a step of its own: what is to be undone depends on who called."""
    taken = steps(scenario, sim)
    if not request.config.getoption("--every-step"):
        taken = {step: times for step, times in taken.items() if step.shell and step.time == 1}
    strikes = Strikes()
    strikes.each([[(sim, scenario, step, times)] for step, times in taken.items()])
    strikes.judge(f"{scenario.__name__}-{sim.provider}", add_to_total)


@pytest.mark.counted
@pytest.mark.parametrize("part", range(PARTS))
def test_an_interrupt_in_any_line_of_the_core(
    part: int, brief: None, add_to_total: Callable[[Entry], None]
) -> None:
    """
    And for each line that calls it.

    An exception out of the core gives up the whole Mux, wherever it comes from: with one provider
    and in one scenario is enough, and any that comes there will do.
    """
    ways: dict[Stack, list[Way]] = defaultdict(list)
    with ExitStack() as stack:
        sims = {provider: stack.enter_context(simulator(provider)) for provider in PROVIDERS}
        for sim, scenario in ((sims[name], each) for name, each in PLAYED if name in sims):
            for step, times in steps(scenario, sim).items():
                if not step.shell and step.time == 1 and step.part == part:
                    ways[step.stack[:2]].append((sim, scenario, step, times))
        strikes = Strikes()
        # First where it comes every time, with each provider in its turn; what is met late in a
        # scenario costs more.
        each = itertools.cycle(sims.values())
        strikes.each(
            [
                sorted(found, key=lambda way: (-way[3], way[0] is not first))[:TRIES]
                for found, first in zip(ways.values(), each, strict=False)
            ]
        )
        strikes.judge(f"core-{part}", add_to_total)


Way = tuple[Simulator, Scenario, Step, int]
"""How to come to a step, and in how many of the runs that were watched it came."""


@pytest.mark.anyio
async def test_an_interrupt_at_any_step_of_speak_by_tasks() -> None:
    """What an event loop does at a signal is its own affair; this is for one that does nothing."""
    async with AsyncSimulator("xai", engine="tone", rtf=0.01) as sim:
        for _ in range(2):  # what only the first run of all does is done then
            hook = Hook()
            await speak_by_tasks(sim, hook)
        taken = [step for step in hook.steps if step.shell and step.time == 1]
        assert taken
        for step in taken:
            hook = Hook(step)
            await speak_by_tasks(sim, hook)
            assert hook.fired, step


async def speak_by_tasks(sim: AsyncSimulator, hook: Hook) -> None:
    pool = PoolLimits(min_idle=0)
    client = AsyncClient(ttsmux.XAI(), base_url=sim.url, api_key=KEY, pool=pool, limits=MANY)
    before = sim.dials
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*dropped before its end")
        async with client:
            assert begun(client, hook) == (not hook.fired), "the interrupt was swallowed"
            with anyio.fail_after(BOUND):
                check(await client.speak(NEXT).read(), NEXT)
                # No garbage is collected here: a Mux that is forgotten holds nothing.
                while held(client) != (client.pool_stats().size, 0):  # noqa: ASYNC110
                    await anyio.sleep(0.0005)
    assert held(client) == (0, 0), f"{hook.aim}: a closed client has something of its key"
    assert sim.dials - before <= client.pool_stats().dials, f"{hook.aim}: a dial of nobody's"


def begun(client: AsyncClient, hook: Hook) -> bool:
    """Return whether it was not interrupted; what was begun is left to itself."""
    try:
        with hook.installed():
            client.speak(TEXT)
    except KeyboardInterrupt:
        return False
    return True


class Strikes:
    """Interrupts at many steps, and what came of them."""

    def __init__(self) -> None:
        self._counts: Counter[bool] = Counter()
        self._spared: list[str] = []
        self._faults: list[str] = []

    def each(self, wanted: list[list[Way]]) -> None:
        """Strike one step of each list: which of its ways is taken does not matter."""
        spared: list[list[Way]] = []
        gc.freeze()  # so that a collection looks at what came since
        try:
            for ways in wanted:
                if len(self._faults) >= PATIENCE:
                    break
                sure = any(times == RECORDED for *_, times in ways)
                if not self._struck(ways, TRIES if sure else 1) and sure:
                    spared.append(ways)
            # Once more, now that others may be faster.
            spared = [ways for ways in spared if not self._struck(ways, TRIES)]
            self._spared += [str(ways[0][2]) for ways in spared]
            gc.collect()  # what is left says so here
        finally:
            gc.unfreeze()

    def _struck(self, ways: list[Way], tries: int) -> bool:
        for sim, scenario, step, _ in itertools.islice(itertools.cycle(ways), tries):
            hook = Hook(step)
            try:
                run(scenario, sim, hook)
            except AssertionError as exc:
                self._faults.append(f"{scenario.__name__}: {step}: {exc}")
            self._counts[hook.fired] += 1
            if hook.fired:
                return True
        return False

    def judge(self, name: str, add_to_total: Callable[[Entry], None]) -> None:
        struck, missed = self._counts[True], self._counts[False]
        add_to_total({"name": name, "spared": self._spared, "struck": struck, "missed": missed})
        if self._faults:
            pytest.fail("\n".join(self._faults), pytrace=False)


TAKEN: dict[tuple[str, Scenario], Counter[Step]] = {}


def steps(scenario: Scenario, sim: Simulator) -> Counter[Step]:
    """Return what the main thread does in *scenario*, and in how many of the runs watched."""
    key = sim.provider, scenario
    if key not in TAKEN:
        run(scenario, sim, Hook())  # what only the first run of all does
        TAKEN[key] = Counter()
        for _ in range(RECORDED):
            hook = Hook()
            run(scenario, sim, hook)
            TAKEN[key].update(hook.steps)
    return TAKEN[key]


def run(scenario: Scenario, sim: Simulator, hook: Hook) -> None:
    before = _leaks.snapshot()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        act = Act(sim.provider, sim)
        interrupted = bounded("what was interrupted", partial(play, scenario, act, hook))
        assert interrupted == hook.fired, "the interrupt was swallowed"
        act.join()
        client = act.client
        if scenario not in CLOSING:
            check(bounded("the next speech", partial(say_next, client)), NEXT)
            rests(client)
        bounded("close()", client.close)
        assert client.pool_stats().size == 0
        assert held(client) == (0, 0), "what a closed client holds of its key nobody else gets"
        del act, client
    for warning in told:
        assert "was dropped before its end" in str(warning.message), warning.message
    deadline = time.monotonic() + BOUND
    while (left := _leaks.snapshot().keys() - before.keys()) and time.monotonic() < deadline:
        gc.collect()  # only now: it takes as long as all the rest that is looked at here
        time.sleep(0.0005)
    assert not left, left


def say_next(client: Client) -> bytes:
    return client.speak(NEXT).read()


def rests(client: Client) -> None:
    """Every seat is free again, and nobody is left who could take one."""
    pool = client._engine.mux._pool

    def free() -> bool:
        stats, connections = client.pool_stats(), list(pool.connections)
        every = all(c.watched or c.free_seats == c.plan.traits.seats for c in connections)
        mine = stats.size == stats.idle and not pool.speeches
        return every and mine and held(client) == (stats.size, 0)

    deadline = time.monotonic() + BOUND
    while not free():
        told = client.pool_stats(), held(client), pool.speeches, list(pool.connections)
        assert time.monotonic() < deadline, told
        time.sleep(0.0005)


def play(scenario: Scenario, act: Act, hook: Hook) -> bool:
    """Return whether it was interrupted, as the main thread would be."""
    try:
        with hook.installed():
            scenario(act)
    except KeyboardInterrupt:
        return True
    return False


def bounded(what: str, call: Callable[[], T]) -> T:
    """Call in a thread of its own: what hangs must not hang the test."""
    found: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            found.append(call())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=body, name=what, daemon=True)
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive(), f"{what} hangs"
    assert not errors, f"{what} raised {errors[0]!r}"
    return found[0]


def total(entries: list[Entry], selected: int) -> tuple[str, str]:
    """What comes each time is struck, but for a little that hangs on who is faster after all."""
    lines = [
        f"{entry['name']:<40} {entry['struck']:5} interrupts, {entry['missed']:3} runs in vain"
        for entry in sorted(entries, key=lambda entry: entry["name"])
    ]
    interrupts = sum(entry["struck"] for entry in entries)
    spared = sorted(words for entry in entries for words in entry["spared"])
    sums = f"{interrupts} interrupts, {len(spared)} steps spared"
    wrong = []
    if selected == WHOLE and interrupts < ENOUGH:
        wrong.append(f"{sums}: {ENOUGH} are due")
    if len(spared) > interrupts / 20:
        wrong.append(f"{sums}, more than one in twenty")
    return "\n".join([*lines, sums, *spared]), "\n".join(wrong)
