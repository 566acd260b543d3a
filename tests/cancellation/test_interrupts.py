"""
A KeyboardInterrupt on every line that the main thread runs in the client and in the core.

A trace function raises it when a line is about to run: every line of the threaded shell, the first
times that it runs in a scenario, and every line of the core that is reached, once. The interrupt
must come out at the caller; whoever reads in another thread gets an answer; the client speaks on;
and `close()` leaves nothing. What is traced runs in a thread of its own, so that it may hang.
"""

from __future__ import annotations

import dis
import gc
import linecache
import sys
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import pytest

import ttsmux
from tests import _leaks
from tests.cancellation.scenarios import NEXT, TEXT, check
from tests.scenarios.stage import KEY, PROVIDERS
from ttsmux import Client, Error, PoolLimits
from ttsmux.core import connection
from ttsmux.simulate import Simulator

T = TypeVar("T")

# Hundreds of clients each: on a busy machine more than the minute that a test has.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(ttsmux.__file__).parent
SHELL = {
    str(ROOT / "client" / name)
    for name in ("sync.py", *(f"_threads{part}.py" for part in ("", "_bells", "_feeder", "_wire")))
} | {str(ROOT / "client" / "_shared.py")}
TRACED = tuple(str(ROOT / name) + "/" for name in ("client", "core"))
TIMES = 2
"""How many of the times that a line of the shell runs are interrupted."""
BOUND = 5.0

Place = tuple[str, int, int]
"""A file, a line, and for the how many-th time it runs."""


# --- scenarios ------------------------------------------------------------------------------------


class Act:
    """One run: a client, and threads that read beside the main one."""

    def __init__(self, provider: str, sim: Simulator) -> None:
        options = {"voice": sim.default_voice} if provider == "gradium" else {}
        self.client = Client(
            provider, base_url=sim.url, api_key=KEY, pool=PoolLimits(min_idle=0), **options
        )
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


SCENARIOS = (
    read_again,
    interrupted_elsewhere,
    whole_text,
    pushed_and_read_elsewhere,
    barge_in,
    from_an_iterable,
    prewarmed_and_closed,
)


# --- the hook -------------------------------------------------------------------------------------


class Hook:
    """Notes the lines that the calling thread runs, and raises at one of them."""

    def __init__(self, aim: Place | None = None) -> None:
        self.aim = aim
        self.fired = False
        self.places: list[Place] = []
        self._counts: Counter[tuple[str, int]] = Counter()

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._enters)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enters(self, frame: FrameType, event: str, _: object) -> Any:
        # An exception in __del__ reaches nobody: CPython prints it and goes on.
        code = frame.f_code
        ours = code.co_filename.startswith(TRACED) and code.co_name != "__del__"
        return self._runs if ours and event == "call" else None

    def _runs(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and not between_checks(frame):
            line = frame.f_code.co_filename, frame.f_lineno
            self._counts[line] += 1
            place = *line, self._counts[line]
            self.places.append(place)
            if place == self.aim and not self.fired:
                self.fired = True
                raise KeyboardInterrupt
        return self._runs


def between_checks(frame: FrameType) -> bool:
    """
    Tell whether the interpreter would not look for signals here, though a line begins.

    It looks after calls, at the beginning of a function and when a loop goes round. An interrupt
    raised where it does not would leave a lock held as none can in reality:

    * ``try:`` is no instruction but a NOP, for which the compiler makes no entry in the table of
      exceptions: not even the ``with`` around it would see one.
    * The end of a ``with`` block counts as its line once more. From the last instruction of the
      body to the call of ``__exit__``, normal or not, it does not look.
    """
    at = frame.f_lasti
    first, nothing = starts(frame.f_code)
    if at in nothing:
        return True
    words = linecache.getline(frame.f_code.co_filename, frame.f_lineno).split()
    return words[:1] == ["with"] and at != first[frame.f_lineno]


@cache
def starts(code: CodeType) -> tuple[dict[int, int], set[int]]:
    """Return where each line of *code* begins first, and where there is a NOP."""
    first: dict[int, int] = {}
    for offset, line in dis.findlinestarts(code):
        if line is not None:
            first.setdefault(line, offset)
    return first, {each.offset for each in dis.get_instructions(code) if each.opname == "NOP"}


# --- one interrupt --------------------------------------------------------------------------------


COUNTS: Counter[str] = Counter()
SEEN: set[tuple[str, int]] = set()
HIT: set[tuple[str, int]] = set()
"""Lines that ran without an interrupt, and those that had one."""
CORE: dict[str, set[tuple[str, int]]] = defaultdict(set)
"""Lines that have been interrupted, for each provider; those of the core once are enough."""


@pytest.fixture(params=PROVIDERS)
def sim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    with Simulator(request.param, engine="tone", rtf=0.01) as running:
        yield running


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_interrupt_on_any_line(
    scenario: Callable[[Act], None], sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_WATCH_FOR", 0.01)
    name = f"{scenario.__name__}-{sim.provider}"
    COUNTS[name] = 0
    for _ in range(2):  # once for what only the first run does
        hook = Hook()
        run(scenario, sim, hook)
    faults = []
    gc.collect()
    gc.freeze()
    try:
        SEEN.update(place[:2] for place in hook.places)
        for place in chosen(hook.places, CORE[sim.provider]):
            hook = Hook(place)
            try:
                run(scenario, sim, hook)
            except AssertionError as exc:
                faults.append(f"{named(place)}: {exc}")
                if len(faults) == 3:
                    break
            # Else it hung on who was faster.
            COUNTS[name] += hook.fired
            if hook.fired:
                HIT.add(place[:2])
    finally:
        gc.unfreeze()
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def chosen(places: list[Place], done: set[tuple[str, int]]) -> list[Place]:
    """Every line of the shell, twice a scenario; every line of the core that was not *done*."""
    here = [
        (file, line, time)
        for file, line, time in places
        if (time <= TIMES if file in SHELL else time == 1 and (file, line) not in done)
    ]
    done.update((file, line) for file, line, _ in here)
    return here


def named(place: Place) -> str:
    file, line, time = place
    words = linecache.getline(file, line).strip()
    return f"{Path(file).relative_to(ROOT)}:{line} (time {time}, {words!r})"


def run(scenario: Callable[[Act], None], sim: Simulator, hook: Hook) -> None:
    before = _leaks.snapshot()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        act = Act(sim.provider, sim)
        interrupted = bounded("what was interrupted", partial(play, scenario, act, hook))
        assert interrupted == hook.fired, "the interrupt was swallowed"
        act.join()
        client = act.client
        if scenario is not prewarmed_and_closed:
            check(bounded("the next speech", partial(say_next, client)), NEXT)
            rests(client)
        bounded("close()", client.close)
        assert client.pool_stats().size == 0
        del act, client
        gc.collect()
    for warning in told:
        assert "was dropped before its end" in str(warning.message), warning.message
    deadline = time.monotonic() + BOUND
    while (left := _leaks.snapshot().keys() - before.keys()) and time.monotonic() < deadline:
        time.sleep(0.0005)
    assert not left, left


def say_next(client: Client) -> bytes:
    return client.speak(NEXT).read()


def rests(client: Client) -> None:
    """Every seat is free again, and nobody is left who could take one."""
    pool = client._engine.mux._pool
    deadline = time.monotonic() + BOUND
    while pool.speeches or client.pool_stats().size != client.pool_stats().idle:
        assert time.monotonic() < deadline, (client.pool_stats(), pool.speeches)
        time.sleep(0.0005)
    for conn in pool.connections:
        assert conn.watched or conn.free_seats == conn.plan.traits.seats, conn


def play(scenario: Callable[[Act], None], act: Act, hook: Hook) -> bool:
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


def test_every_line_of_the_shell_was_interrupted(announce: Callable[[str], None]) -> None:
    """Every one that the main thread runs at all, but for those that it runs by chance."""
    lines = [f"{name:<40} {places:4} interrupts" for name, places in COUNTS.items()]
    announce("\n".join([*lines, f"{sum(COUNTS.values())} interrupts at {len(HIT)} lines"]))
    if len(COUNTS) < len(SCENARIOS) * len(PROVIDERS):
        pytest.skip("not all of them ran")
    shell = {line for line in SEEN if line[0] in SHELL}
    spared = shell - HIT
    assert len(spared) <= len(shell) / 20, sorted(named((*line, 1)) for line in spared)
    assert len(shell) > 150
