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

from tests._totals import Entry
from tests.core import network
from tests.core.network import Schedule, Script, World, random_schedule
from ttsmux.core import states
from ttsmux.core.states import BREAKER, CONNECTION, GENERATION, SPEECH
from ttsmux.settings import (
    Interrupt,
    KeyLimits,
    OnPartial,
    PoolLimits,
    RetryPolicy,
    Settings,
)

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


PARTS = 4
"""Tests that the schedules are shared out to, so that several processes may walk."""
CROSSED = "text that crossed the provider's own end"
MANY = 1000
"""Schedules from which on what is rare is met, too."""


@pytest.mark.counted
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_random_schedules(
    part: int,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    add_to_total: Callable[[Entry], None],
) -> None:
    """Every promise is kept in every schedule; what they do together is told by `total`."""
    seed = request.config.getoption("--seed")
    if seed is not None:
        if part == 0:
            walk(random_schedule(seed), verbose=True)
        return
    taken: Counter[Cell] = Counter()
    struck: Counter[str] = Counter()
    met: Counter[str] = Counter()
    came: Counter[str] = Counter()

    def step(table: Mapping[Any, Mapping[Any, Any]], state: Any, input: Any) -> Any:
        taken[state, input] += 1
        return real_step(table, state, input)

    real_step = states.step
    monkeypatch.setattr(states, "step", step)
    mine = range(part, request.config.getoption("--schedules"), PARTS)
    for number in mine:
        world = walk(random_schedule(number))
        speeches = sum(caller.speech is not None for caller in world.callers)
        assert speeches >= 3 and world.struck and world.met, (number, speeches)
        struck += world.struck
        struck[CROSSED] += world.crossed
        met += world.met
        came += world.came
    assert set(taken) <= set(cells()) and set(came) <= set(network.FATES)
    named = {name(cell): times for cell, times in taken.items()}
    counted = {"taken": named, "struck": dict(struck), "met": dict(met), "came": dict(came)}
    add_to_total({"schedules": len(mine), **counted})


def total(entries: list[Entry], selected: int) -> tuple[str, str]:
    """Together they take every cell of the tables, and meet every fault and fate that there is."""
    if not entries:
        return "", ""  # only one was replayed
    schedules = sum(entry["schedules"] for entry in entries)
    parts = [
        ("took each cell of the tables", "taken", [name(cell) for cell in cells()]),
        ("were struck by each fault", "struck", (*network.FAULTS, CROSSED)),
        ("interrupted speeches in each state", "met", ["WAITING", "SPEAKING", "RECEIVED"]),
        ("had speeches and keys with each fate", "came", network.FATES),
    ]
    said, never = [], []
    for words, key, wanted in parts:
        times = sum((Counter(entry[key]) for entry in entries), Counter[str]())
        said += [f"{schedules} random schedules {words}:", *(f"{times[x]:8}  {x}" for x in wanted)]
        never += [x for x in wanted if not times[x]]
    enough = selected == PARTS and schedules >= MANY
    return "\n".join(said), f"never met: {', '.join(never)}" if enough and never else ""


def cells() -> list[Cell]:
    tables: tuple[Mapping[Any, Mapping[Any, Any]], ...] = (SPEECH, GENERATION, CONNECTION, BREAKER)
    return [(state, input) for table in tables for state in table for input in table[state]]


def name(cell: Cell) -> str:
    state, input = cell
    return f"{type(state).__name__.removesuffix('State')} {state.name} {input.name}"


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
        cue=draw(st.sampled_from(network.CUES)),
        lag=draw(st.sampled_from((0.0, 0.1))),
        line=draw(st.sampled_from(("main", "other"))),
        total=draw(st.none() | st.just(4.0)),
        gathers=draw(st.booleans()),
    )


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    shapes = draw(st.lists(st.sampled_from(list(network.SHAPES)), min_size=1, max_size=2))
    policies = network.SHAPES[shapes[0]].policies
    number, few = st.integers(1, 5), st.none() | st.integers(1, 3)
    return Schedule(
        seed=draw(st.integers(0, 999)),
        shapes=tuple(shapes),
        config=Settings(
            pool=PoolLimits(
                max_size=draw(st.integers(1, 4)), min_idle=draw(st.none() | st.integers(0, 2))
            ),
            retry=RetryPolicy(
                attempts=draw(st.integers(1, 3)),
                on_partial=draw(st.sampled_from(OnPartial)),
                resumes=draw(st.integers(0, 2)),
            ),
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
        marks=draw(st.sampled_from(network.MARKS)),
        fallback=draw(st.booleans()),
        outage=draw(st.none() | st.tuples(_seconds, st.sampled_from(network.OUTAGES))),
        limits=KeyLimits(
            connections=draw(few), generations=draw(few), requests_per_minute=draw(few)
        ),
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(schedules())
def test_any_schedule(schedule: Schedule) -> None:
    """What the random walk promises, for schedules that shrink to the smallest that fails."""
    World(schedule).play()
