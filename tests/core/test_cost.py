"""
What an input costs, counted in steps of the interpreter: it must not depend on how many wait.

Seconds would say more of the machine than of the code.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.core.helpers import MULTIPLEXED, Harness, Toy, opened, settings, traits
from ttsmux.adapter import Closed, DialFailure, Failed, Verdict
from ttsmux.core.connection import Connection
from ttsmux.core.effects import Dial
from ttsmux.core.speech import END, Speech
from ttsmux.settings import Interrupt

QUIET = traits(ping=None)
MUTING = traits(MULTIPLEXED, ping=None)
FEW, MANY = 100, 1600


def steps(what: Callable[[], object]) -> int:
    """Return how many instructions *what* takes."""
    count = 0

    if sys.version_info >= (3, 12):
        monitoring = sys.monitoring
        tool, event = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION

        mine = threading.get_ident()

        def step(code: CodeType, offset: int) -> None:
            nonlocal count
            count += threading.get_ident() == mine  # it is called for every thread there is

        monitoring.use_tool_id(tool, "steps")
        monitoring.register_callback(tool, event, step)
        monitoring.set_events(tool, event)
        try:
            what()
        finally:
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, event, None)
            monitoring.free_tool_id(tool)
        return count

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()  # whoever measures the coverage
    sys.settrace(trace)
    try:
        what()
    finally:
        sys.settrace(before)
    return count


def test_steps_are_counted() -> None:
    """Twice as much is twice as many, or the tests below prove nothing."""

    def loop(times: int) -> int:
        return steps(lambda: [object() for _ in range(times)])

    assert 1.8 < loop(2000) / loop(1000) < 2.2


def queue(number: int, voices: int = 1) -> tuple[Harness, list[Speech]]:
    """Return a client whose only connection is busy, and *number* speeches that wait."""
    harness = Harness(QUIET, settings(min_idle=0, max_size=1))
    harness.speak("Busy. ", line="v0")
    harness.up()
    waiting = [harness.speak("Hello. ", end=False, line=f"v{i % voices}") for i in range(number)]
    return harness, waiting


def join(harness: Harness, waiting: list[Speech]) -> None:
    harness.speak("One more. ", line="v0")


def write(harness: Harness, waiting: list[Speech]) -> None:
    harness.write(waiting[-1], "And more. ")


def leave(harness: Harness, waiting: list[Speech]) -> None:
    harness.interrupt(waiting[len(waiting) // 40 * 20])


def begin(harness: Harness, waiting: list[Speech]) -> None:
    """Have the one that speaks be done, and the next one begin."""
    (conn,) = harness.wires
    (gen,) = conn.generations.values()
    harness.say(conn, f"audio {gen.id} xxxx", f"end {gen.id}")


def tick(harness: Harness, waiting: list[Speech]) -> None:
    harness.advance(0.5)
    harness.tick()


def fail(harness: Harness, waiting: list[Speech]) -> None:
    """Have the one that speaks begin again, which puts it in front."""
    (conn,) = harness.wires
    (gen,) = conn.generations.values()
    harness.say(conn, f"error {gen.id} generation busy")
    harness.advance(0.5)


@pytest.mark.parametrize("voices", [1, 20])
@pytest.mark.parametrize("what", [join, write, leave, begin, tick, fail])
def test_an_input_costs_the_same_however_many_wait(
    what: Callable[[Harness, list[Speech]], None], voices: int
) -> None:
    """Nobody goes through the queue, in one lane or in many."""

    def cost(number: int) -> int:
        harness, waiting = queue(number, voices)
        return steps(lambda: what(harness, waiting))

    assert cost(MANY) < 1.5 * cost(FEW)


def test_an_input_costs_the_same_however_many_have_no_text_yet() -> None:
    """A connection is dialled for them, not looked for each time."""

    def cost(number: int) -> int:
        harness, _ = queue(0)
        speeches = [harness.speak(line="v0") for _ in range(number)]
        return steps(lambda: harness.write(speeches[0], "Hello. "))

    assert cost(MANY) < 1.5 * cost(FEW)


@pytest.mark.parametrize("text", ["Hello. ", None])
def test_a_dial_that_fails_costs_the_same_however_many_wait_for_it(text: str | None) -> None:
    """Each counts it as one of its tries, but not now."""

    def cost(number: int) -> int:
        harness = Harness(QUIET, settings(min_idle=0, max_size=1))
        waiting = [harness.speak(text) for _ in range(number)]
        count = steps(lambda: harness.refuse(harness.wires[0]))
        assert all(speech.metrics().attempts == 1 for speech in waiting)
        return count

    assert cost(MANY) < 1.5 * cost(FEW)


def test_to_leave_costs_the_same_when_all_do() -> None:
    """As at the end of a client, or when their callers hang up one by one."""

    def cost(number: int) -> float:
        harness, waiting = queue(number)
        return steps(lambda: [harness.interrupt(speech) for speech in waiting]) / number

    assert cost(MANY) < 1.5 * cost(FEW)


def test_to_close_costs_the_same_a_speech() -> None:
    """All fail at once."""

    def cost(number: int) -> float:
        harness, _ = queue(number)
        return steps(harness.close) / number

    assert cost(MANY) < 1.5 * cost(FEW)


def turn(harness: Harness) -> None:
    """Say something from beginning to end; interrupt something else."""
    speech = harness.speak("Hello. ")
    harness.audio(speech)
    harness.done(speech)
    harness.finish(speech)
    harness.interrupt(harness.speak("Hello. ", end=False))
    harness.advance(0.5)
    harness.hung_up()
    harness.up()


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("shape", [QUIET, MUTING])
@pytest.mark.parametrize("policy", [None, Interrupt.DISCARD])
def test_a_turn_costs_the_same_however_many_connections_there_are(
    shape: Any, policy: Interrupt | None, busy: bool
) -> None:
    """Whether they idle or speak: what is to be known of them stands in sums."""

    def cost(number: int) -> int:
        harness = Harness(shape, settings(min_idle=None, max_size=500), interrupt=policy)
        harness.prewarm(number)
        harness.up()
        if busy:
            for _ in range((number - 2) * shape.seats):
                harness.speak("Long. ", end=False)
        # Its own look-ups go through all wires; this is not about the harness.
        wires, harness.wires = harness.wires, []
        turn(harness)
        harness.wires = []
        count = steps(lambda: turn(harness))
        assert len(wires) >= number
        return count

    assert cost(400) < 1.5 * cost(25)


def calls(what: Callable[[], object]) -> int:
    """Return how many calls *what* takes, of Python and of C: cheaper to count than steps."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        what()
    finally:
        sys.setprofile(before)
    return count


def storm(shape: Any, number: int) -> dict[str, float]:
    """Begin *number* speeches at once; return the calls of each stage, for one of them."""
    mux = Harness(shape, settings(min_idle=0, max_size=number)).mux
    speeches: list[Speech] = []
    conns: list[Connection] = []

    def begin() -> None:
        for _ in range(number):
            speeches.append(mux.speak({}, 0.0, text=["Hello. "]))
            speeches[-1].handle = speeches[-1]

    def come_up() -> None:
        for conn in conns:
            mux.dialled(conn, 0.1)

    def tick() -> None:
        for turn in range(number):
            mux.tick(0.2 + turn / 10_000)

    def say() -> None:
        for conn in conns:
            for gen in list(conn.generations.values()):
                mux.receive(conn, f"audio {gen.id} xxxx".encode(), True, 0.3)
                mux.receive(conn, f"end {gen.id}".encode(), True, 0.3)

    def hear() -> None:
        for speech in speeches:
            while mux.read(speech, 0.4) is not END:
                pass

    counts = {"begin": calls(begin)}
    conns += [effect.conn for effect in mux.effects() if isinstance(effect, Dial)]
    for stage in (come_up, tick, say, hear):
        counts[stage.__name__] = calls(stage)
    counts["close"] = calls(lambda: mux.close(0.5))
    assert all(speech.over for speech in speeches)
    return {stage: count / number for stage, count in counts.items()}


@pytest.mark.parametrize("shape", [QUIET, MUTING], ids=["a seat each", "three seats each"])
def test_a_speech_costs_the_same_whether_a_hundred_begin_at_once_or_a_thousand(shape: Any) -> None:
    """From its text to the end of its connection; so a storm is linear, and has no knee."""
    few, many = storm(shape, 100), storm(shape, 1000)
    dearer = {stage: many[stage] / few[stage] for stage in few if many[stage] > 1.1 * few[stage]}
    assert not dearer


def test_who_has_left_is_not_kept() -> None:
    """A line in which somebody waits for long does not grow with those who came and went."""
    harness, _ = queue(1)
    line = next(iter(harness.mux._pool.lanes.values())).line
    for _ in range(1000):
        harness.interrupt(harness.speak("Hello. ", line="v0"))
    assert len(line._order) < 200 and len(line._ready) < 200
    assert len(line.urgent) == 1


def test_neither_who_waited_for_text_nor_dials_that_failed_are_kept() -> None:
    """While somebody waits all the time, dials that fail and speeches that leave leave nothing."""
    retry = {"attempts": 1000, "budget": None, "breaker_failures": None, "cap": 0.01}
    harness = Harness(QUIET, settings(min_idle=0, acquire_timeout=4000.0, retry=retry))
    harness.speak("Hello. ", line="v0")
    line = next(iter(harness.mux._pool.lanes.values())).line
    for _ in range(1500):
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn)
        harness.wires.clear()
        gone = harness.speak(line="v0")
        harness.advance(0.01)
        harness.interrupt(gone)
    assert len(line._patience) < 200 and len(line._failed_at) <= 1000


def test_who_left_while_resting_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor somebody who was to be begun again in an hour."""
    off = {"budget": None, "breaker_failures": None}
    harness = opened(MUTING, settings(min_idle=0, acquire_timeout=4000.0, retry=off))
    real = Toy.verdict

    def verdict(self: Toy, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        found = real(self, fault, busy)
        found.error.retry_after = 3600.0
        return found

    monkeypatch.setattr(Toy, "verdict", verdict)
    for _ in range(1000):
        speech = harness.speak("Hello. ")
        harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
        assert speech.waiting_since is not None
        harness.interrupt(speech)
    (lane,) = harness.mux._pool.lanes.values()
    assert len(lane.line._resting) < 80
    assert lane.line.next_alarm is None


def test_many_voices_that_lack_room_each_look_at_the_connections_only() -> None:
    """Twice as many that wait for longer than anybody should cost twice as much, not four times."""

    def end(voices: int) -> int:
        harness = Harness(QUIET, settings(min_idle=0, max_size=1, acquire_timeout=100.0))
        harness.speak("Busy. ", line="v0")
        harness.up()
        waiting = [harness.speak("Hello. ", line="v0") for _ in range(2)]
        waiting += [harness.speak("Hello. ", end=False, line=f"w{i}") for i in range(voices)]
        harness.advance(2.0)
        return steps(lambda: begin(harness, waiting))

    assert end(200) < 5 * end(50)


def test_where_somebody_sat_is_not_kept() -> None:
    """A connection that is never the best choice does not fill the heap with what it once was."""
    shape = traits(MUTING, seats=200, slots=200)
    harness = Harness(shape, settings(min_idle=0, max_size=2))
    speeches = [harness.speak("Hello. ") for _ in range(300)]
    harness.up()
    best, other = harness.wires
    (lane,) = harness.mux._pool.lanes.values()
    for conn, number in ((best, 1), (other, 100)):
        for speech in [speech for speech in speeches if harness.on(speech) is conn][:number]:
            harness.audio(speech)
            harness.done(speech)
            speeches.remove(speech)
            assert lane.best() is best
    assert other.free_seats == 200
    assert len(lane._choices) < 80
