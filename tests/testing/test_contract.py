"""
The contract, kept by every adapter of ours, on every runtime; and what is left out.

The rules that need no client are tried in tests/adapters, over literal messages.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ttsmux.testing
from tests.testing.providers import KINDS, shapes
from ttsmux.testing import AdapterCases, AdapterContract, cases_of, skips

SUITES: dict[str, type[AdapterCases]] = {}
for _name, (_adapter, _kit) in shapes().items():
    _class = "Test" + "".join(part.capitalize() for part in _name.split())
    SUITES[_name] = type(_class, (AdapterCases,), {"adapter": _adapter, **_kit})
    globals()[_class] = SUITES[_name]
    del _class

DIGITS = "0123456789"
KIT = Path(ttsmux.testing.__file__).parent

# A request serves once: nobody shares it, it has no old age, and nothing is left to be told.
REQUEST = {
    "2": "seats: one speech on a connection",
    "2: every order": "seats: fewer than 3 speeches on a connection",
    "2: interrupted": "seats: one speech on a connection",
    "3e": "ends_released: the end is the release",
    "4a": "interrupt: discard waits for nothing",
    "4b": "interrupt: discard has no acknowledgement",
    "8c": "ids: messages name no generation",
    "8d": "seats: one speech on a connection",
    "14a": "max_age: connections do not grow old",
    "14b": "max_age: connections do not grow old",
}
# Case by adapter: the trait that says that there is nothing to test.
SKIPPED: dict[str, dict[str, str]] = {
    "elevenlabs auto": {
        "3e": "ends_released: the end is the release",
        "4b": "interrupt: mute has no acknowledgement",
    },
    "elevenlabs multi": {
        "3e": "ends_released: the end is the release",
        "4b": "interrupt: mute has no acknowledgement",
    },
    "elevenlabs rest": REQUEST,
    "elevenlabs rest bare": REQUEST,
    "elevenlabs single": {
        "2": "seats: one speech on a connection",
        "2: every order": "seats: fewer than 3 speeches on a connection",
        "2: interrupted": "seats: one speech on a connection",
        "3e": "ends_released: the end is the release",
        "4a": "interrupt: discard waits for nothing",
        "4b": "interrupt: discard has no acknowledgement",
        "8c": "ids: messages name no generation",
        "8d": "seats: one speech on a connection",
    },
    "gradium": {
        "3e": "ends_released: the end is the release",
        "4b": "interrupt: mute has no acknowledgement",
    },
    "gradium rest": REQUEST,
    "gradium rest bare": REQUEST,
    "kugelaudio multi": {},
    "kugelaudio oneshot": {
        "2": "seats: one speech on a connection",
        "2: every order": "seats: fewer than 3 speeches on a connection",
        "2: interrupted": "seats: one speech on a connection",
        "3e": "ends_released: the end is the release",
        "8c": "ids: messages name no generation",
        "8d": "seats: one speech on a connection",
    },
    "kugelaudio rest": REQUEST,
    "kugelaudio stream": {
        "2": "seats: one speech on a connection",
        "2: every order": "seats: fewer than 3 speeches on a connection",
        "2: interrupted": "seats: one speech on a connection",
        "8c": "ids: messages name no generation",
        "8d": "seats: one speech on a connection",
    },
    "sm": {
        "2": "seats: one speech on a connection",
        "2: every order": "seats: fewer than 3 speeches on a connection",
        "2: interrupted": "seats: one speech on a connection",
        "3e": "ends_released: the end is the release",
        "4a": "interrupt: discard waits for nothing",
        "4b": "interrupt: discard has no acknowledgement",
        "8c": "ids: messages name no generation",
        "8d": "seats: one speech on a connection",
    },
    "sm rest": REQUEST,
    "xai": {
        "2": "seats: one speech on a connection",
        "2: every order": "seats: fewer than 3 speeches on a connection",
        "2: interrupted": "seats: one speech on a connection",
        "3e": "ends_released: the end is the release",
        "8c": "ids: messages name no generation",
        "8d": "seats: one speech on a connection",
    },
    "xai rest": REQUEST,
}


@pytest.mark.parametrize("name", SUITES)
def test_what_is_left_out(name: str) -> None:
    """No case is skipped that is not in the table; a new adapter needs a line of its own."""
    assert skips(SUITES[name].adapter, AdapterContract) == SKIPPED[name]


def test_every_reason_names_a_trait() -> None:
    """It is the name of a trait, and the rest says what it means."""
    from ttsmux.adapter import Traits

    names = Traits.__annotations__
    reasons = {reason for each in SKIPPED.values() for reason in each.values()}
    assert all(reason.partition(": ")[0] in names for reason in reasons)


def test_every_adapter_is_tried() -> None:
    """Those that the distribution's entry points name, over their sockets and over HTTP."""
    assert {suite.adapter.name for suite in SUITES.values()} == set(KINDS) >= {"gradium", "xai"}
    over_http = {type(one) for suite in SUITES.values() if not (one := suite.adapter).rest()}
    voices = {name: KINDS[name](voice="a-voice") for name in KINDS}
    assert over_http == {type(voice.rest()) for voice in voices.values()} and len(over_http) == 5


def test_the_eighteen_are_there() -> None:
    """Every number of the contract has a case, and every case a sentence."""
    cases = cases_of(AdapterContract)
    numbers = {
        int("".join(filter(str.isdigit, id.split(":")[0]))) for id in cases if id[0] in DIGITS
    }
    assert numbers == set(range(1, 19))
    assert all(one.says.endswith(".") for one in cases.values())
    methods = [name for name in dir(AdapterContract) if name.startswith("test_")]
    assert len(methods) == len(cases), "two cases have one id"


def test_nothing_else_can_skip() -> None:
    """The kit skips in one place, for a trait; and expects no failure anywhere."""
    calls = [
        f"{path.name}:{node.lineno}"
        for path in KIT.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("skip", "xfail", "skipif", "importorskip")
    ]
    assert len(calls) == 1 and calls[0].startswith("suite.py"), calls
