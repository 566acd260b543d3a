"""
Thousands of random schedules, each a client's whole life against servers that misbehave.

``pytest tests/core/test_walk.py -s --seed N`` replays one and prints all that happened.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core import network
from tests.core.network import Schedule, Script, World, random_schedule
from ttsmux.core import states
from ttsmux.core.states import CONNECTION, GENERATION, SPEECH
from ttsmux.settings import Interrupt, PoolLimits, RetryPolicy, Settings

Cell = tuple[enum.Enum, enum.Enum]


def walk(schedule: Schedule, *, verbose: bool = False) -> World:
    world = World(schedule, verbose=verbose)
    try:
        world.play()
    except Exception as exc:
        exc.add_note(f"in {schedule!r}")
        exc.add_note(f"replay it with: pytest tests/core/test_walk.py -s --seed {schedule.seed}")
        raise
    finally:
        if verbose:
            print("\n".join([repr(schedule), *world.trace]))
    return world


@pytest.mark.timeout(600)
def test_random_schedules(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    announce: Callable[[str], None],
) -> None:
    """Every promise is kept in every schedule, and together they take every cell of the tables."""
    seed = request.config.getoption("--seed")
    if seed is not None:
        walk(random_schedule(seed), verbose=True)
        return
    taken: Counter[Cell] = Counter()

    def step(table: Mapping[Any, Mapping[Any, Any]], state: Any, input: Any) -> Any:
        taken[state, input] += 1
        return real_step(table, state, input)

    real_step = states.step
    monkeypatch.setattr(states, "step", step)
    for number in range(request.config.getoption("--schedules")):
        schedule = random_schedule(number)
        assert len(schedule.scripts) >= 3 and schedule.faults >= 1 and schedule.interrupts >= 1
        walk(schedule)
    schedules = request.config.getoption("--schedules")
    announce(f"{schedules} random schedules took each cell of the tables:\n{describe(taken)}")
    if request.config.getoption("--schedules") < 1000:
        return  # too few to meet what is rare
    never = [cell for cell in cells() if not taken[cell]]
    assert not never, f"never taken: {', '.join(name(cell) for cell in never)}"
    assert set(taken) <= set(cells())


def cells() -> list[Cell]:
    tables: tuple[Mapping[Any, Mapping[Any, Any]], ...] = (SPEECH, GENERATION, CONNECTION)
    return [(state, input) for table in tables for state in table for input in table[state]]


def name(cell: Cell) -> str:
    state, input = cell
    return f"{type(state).__name__.removesuffix('State')} {state.name} {input.name}"


def describe(taken: Counter[Cell]) -> str:
    return "\n".join(f"{taken[cell]:8}  {name(cell)}" for cell in cells())


@pytest.mark.parametrize("seed", range(25))
def test_the_same_inputs_have_the_same_effects(seed: int) -> None:
    """Settings, seed and inputs fix every effect, its order and its time."""
    assert fingerprint(seed) == fingerprint(seed)


def fingerprint(seed: int) -> str:
    world = walk_quietly(seed)
    # Tickets and handles print their addresses.
    lines = [re.sub("0x[0-9a-f]+", "", line) for line in world.trace]
    assert any("Dial" in line for line in lines)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def walk_quietly(seed: int) -> World:
    world = World(random_schedule(seed), verbose=True)
    world.play()
    return world


# --- the same, in a form that shrinks -------------------------------------------------------------

_seconds = st.sampled_from((0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 6.0))


@st.composite
def scripts(draw: st.DrawFn, number: int) -> Script:
    words = draw(st.integers(0, 5))
    gap = draw(st.sampled_from((" ", ". ", "  ", ".\n\n")))
    pace = draw(st.sampled_from((0.0, 0.1, 2.0)))
    flushed = draw(st.sets(st.integers(0, 4), max_size=2))
    ops: list[tuple[float, str, str]] = []
    for i in range(words):
        ops.append((i * pace, "write", f"s{number}w{i}e{gap}"))
        if i in flushed:
            ops.append((i * pace, "flush", ""))
    ops.append((words * pace, "end", ""))
    return Script(
        start=draw(_seconds),
        ops=tuple(ops),
        interrupt=draw(st.none() | _seconds),
        lag=draw(st.sampled_from((0.0, 0.1))),
        line=draw(st.sampled_from(("main", "other"))),
        total=draw(st.none() | st.just(4.0)),
    )


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    shapes = draw(st.lists(st.sampled_from(list(network.SHAPES)), min_size=1, max_size=2))
    policies = network.SHAPES[shapes[0]].policies
    number = st.integers(1, 5)
    return Schedule(
        seed=draw(st.integers(0, 999)),
        shapes=tuple(shapes),
        config=Settings(
            pool=PoolLimits(
                max_size=draw(st.integers(1, 4)), min_idle=draw(st.none() | st.integers(0, 2))
            ),
            retry=RetryPolicy(attempts=draw(st.integers(1, 3))),
        ),
        scripts=tuple(draw(scripts(i)) for i in range(draw(st.integers(1, 4)))),
        policy=draw(st.none() | st.sampled_from((*policies, Interrupt.DISCARD))),
        refreshable=draw(st.booleans()),
        dials=tuple(
            draw(st.dictionaries(number, st.sampled_from(network.DIAL_FAULTS), max_size=2)).items()
        ),
        wires=tuple(
            draw(
                st.lists(
                    st.tuples(number, st.sampled_from(network.WIRE_FAULTS), _seconds), max_size=2
                )
            )
        ),
        turns=tuple(
            draw(
                st.lists(
                    st.tuples(number, st.sampled_from(network.TURN_FAULTS), st.integers(0, 2)),
                    max_size=2,
                )
            )
        ),
        prewarms=tuple(draw(st.lists(st.tuples(_seconds, st.integers(1, 3)), max_size=1))),
        end=draw(st.sampled_from(("close", "early", "drain"))),
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(schedules())
def test_any_schedule(schedule: Schedule) -> None:
    """What the random walk promises, for schedules that shrink to the smallest that fails."""
    World(schedule).play()
