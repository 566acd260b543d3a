"""The four tables: every state by every input."""

from itertools import product

import pytest

from ttsmux.core.states import (
    BREAKER,
    CONNECTION,
    GENERATION,
    SPEECH,
    BreakerInput,
    BreakerState,
    ConnectionInput,
    ConnectionState,
    GenerationInput,
    GenerationState,
    SpeechInput,
    SpeechState,
    step,
)
from ttsmux.errors import LocalProtocolError, ProtocolError, RemoteProtocolError

# Written out once more, a letter an input, so that a change of a table is made with open eyes.
# `.` is a mistake of ours, `!` one of theirs; a lower-case letter is the state that follows.
WRITTEN = {
    "speech": """
                 seat  unseat  receive  read out  interrupt  fail
    waiting      s     .       r        .         i          f
    speaking     .     w       r        .         i          f
    received     .     .       .        c         i          f
    completed    .     .       .        .         .          .
    interrupted  .     .       .        .         .          .
    failed       .     .       .        .         .          .
    """,
    "generation": """
                 end  mute  output end  release  drop
    open         f    m     r           !        d
    finishing    .    m     r           !        d
    releasing    .    .     !           d        d
    muted        .    .     m           d        d
    done         .    .     !           !        .
    """,
    "connection": """
                 dialled  dial failed  ready  hold  acknowledge  retire  hang up  lost
    dialling     g        x            !      .     !            .       c        !
    greeting     !        !            o      .     !            .       c        x
    open         !        !            !      b     !            d       c        x
    barrier      !        !            !      .     o            .       c        x
    draining     !        !            !      .     !            .       c        x
    closing      c        x            !      .     !            .       .        x
    closed       x        x            !      .     !            .       .        x
    """,
    "breaker": """
                 succeed  fail  trip  probe  withdraw
    closed       c        c     o     .      .
    open         c        o     .     h      .
    half-open    c        h     o     h      o
    """,
}
LETTERS = {
    "speech": {state.value[0]: state for state in SpeechState},
    "generation": {state.value[0]: state for state in GenerationState},
    "connection": {
        "g": ConnectionState.GREETING,
        "o": ConnectionState.OPEN,
        "b": ConnectionState.BARRIER,
        "d": ConnectionState.DRAINING,
        "c": ConnectionState.CLOSING,
        "x": ConnectionState.CLOSED,
    },
    "breaker": {state.value[0]: state for state in BreakerState},
}
TABLES = {
    "speech": (SPEECH, SpeechState, SpeechInput),
    "generation": (GENERATION, GenerationState, GenerationInput),
    "connection": (CONNECTION, ConnectionState, ConnectionInput),
    "breaker": (BREAKER, BreakerState, BreakerInput),
}


def cells(name: str) -> dict[tuple[str, str], str]:
    """Read a written table as {(state, input): letter}."""
    head, *rows = [line for line in WRITTEN[name].splitlines() if line.strip()]
    inputs = [part.strip() for part in head.split("  ") if part.strip()]
    return {
        (state, input): letter
        for state, *letters in (row.split() for row in rows)
        for input, letter in zip(inputs, letters, strict=True)
    }


CASES = [
    pytest.param(name, state, input, id=f"{name}-{state.value}-{input.value}")
    for name, (_, states, inputs) in TABLES.items()
    for state, input in product(states, inputs)
]


@pytest.mark.parametrize(("name", "state", "input"), CASES)
def test_every_input_in_every_state(name: str, state: object, input: object) -> None:
    """It leads to the written state, or it is the mistake of whoever made it."""
    table = TABLES[name][0]
    letter = cells(name)[state.value, input.value]
    if letter in ".!":
        with pytest.raises(ProtocolError) as caught:
            step(table, state, input)
        assert type(caught.value) is (LocalProtocolError if letter == "." else RemoteProtocolError)
        assert str(caught.value) == f"{input.value} makes no sense while {state.value}"
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
    else:
        assert step(table, state, input) is LETTERS[name][letter]


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_whole(name: str) -> None:
    """Each has every state, every input is good for something, and no cell is written too many."""
    table, states, inputs = TABLES[name]
    assert {input for row in table.values() for input in row} == set(inputs)
    assert list(table) == list(states)
    assert set(cells(name)) == {(s.value, i.value) for s, i in product(states, inputs)}


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("speech", SpeechState.WAITING),
        ("generation", GenerationState.OPEN),
        ("connection", ConnectionState.DIALLING),
        ("breaker", BreakerState.CLOSED),
    ],
)
def test_every_state_is_reached(name: str, first: object) -> None:
    """From the first one."""
    table, states, _ = TABLES[name]
    found, ahead = set(), [first]
    while ahead:
        state = ahead.pop()
        if state not in found:
            found.add(state)
            ahead += table[state].values()
    assert found == set(states)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("speech", {SpeechState.COMPLETED, SpeechState.INTERRUPTED, SpeechState.FAILED}),
        ("generation", {GenerationState.DONE}),
        ("connection", {ConnectionState.CLOSED}),
    ],
)
def test_the_last_states_are_left_by_nothing(name: str, last: set[object]) -> None:
    """And from every other state there is a way to one of them."""
    table = TABLES[name][0]
    assert {state for state, row in table.items() if set(row.values()) <= {state}} == last
    for state in table:
        found, ahead = set(), [state]
        while ahead:
            here = ahead.pop()
            if here not in found:
                found.add(here)
                ahead += table[here].values()
        assert found & last
