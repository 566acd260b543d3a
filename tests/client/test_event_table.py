"""The table of events in the guide has every event there is, and nothing else."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import ttsmux
from tests.core.helpers import Harness
from tests.core.test_explain import WHOLE
from ttsmux.client.events import _LEVELS
from ttsmux.client.otel import _HISTOGRAMS
from ttsmux.core.speech import Speech

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "metrics.md"
SOURCES = Path(ttsmux.__file__).parent
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
MAKERS = {"report", "_report", "Event"}


def table() -> dict[str, tuple[str, set[str]]]:
    """Return what the guide has: the level and the fields of each event."""
    found = ROW.findall(GUIDE.read_text(encoding="utf-8"))
    names = [name for name, _, _ in found]
    assert len(names) == len(set(names)), "an event has two rows"
    assert names == sorted(names), "they are looked up by the alphabet"
    return {name: (level, set(re.findall(r"`(\w+)`", fields))) for name, level, fields in found}


def summary() -> set[str]:
    """Return the fields that every end of a speech has."""
    speech = Harness().speak()
    return set(speech._summary(0.0))


def calls() -> Iterator[tuple[str, set[str], bool]]:
    """Go through the places where events are made: name, fields, and whether that is all."""
    for path in SOURCES.rglob("*.py"):
        if "simulate" in path.parts or "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            first = node.args[0]
            if called not in MAKERS or not isinstance(first, ast.Constant):
                continue
            assert isinstance(first.value, str)
            fields = {keyword.arg for keyword in node.keywords if keyword.arg}
            if called == "_report":  # of a speech, which says whose it is
                fields |= {"speech", "provider"}
            for keyword in node.keywords:
                if keyword.arg is None:
                    assert ast.unparse(keyword.value) == "self._summary(now)", path
                    fields |= summary()
            if called == "Event":
                fields |= {ast.literal_eval(key) for key in node.args[1].keys if key}  # type: ignore[attr-defined]
            yield first.value, fields, called == "_report"


def test_every_event_is_in_the_guide_with_its_fields() -> None:
    """Whoever adds one has to say what it means."""
    made: dict[str, set[str]] = {}
    for name, fields, _ in calls():
        made[name] = made.get(name, set()) | fields
    assert len(made) >= 13
    assert {name: fields for name, (_, fields) in table().items()} == made


def test_the_waterfall_of_the_guide_is_a_real_one() -> None:
    """Drawn from the speech of a test."""
    assert f"\n{WHOLE}\n" in GUIDE.read_text(encoding="utf-8")


def test_the_guide_has_the_histograms() -> None:
    """Each of them."""
    for name in _HISTOGRAMS:
        assert f"| `{name}` |" in GUIDE.read_text(encoding="utf-8")


def test_the_guide_has_the_level_of_each_event() -> None:
    """What no level is said of is for debugging."""
    levels = {name: logging.getLevelName(_LEVELS.get(name, logging.DEBUG)) for name in table()}
    assert {name: level for name, (level, _) in table().items()} == levels
    assert _LEVELS.keys() <= table().keys()


def test_no_event_carries_what_could_be_text() -> None:
    """Whatever is said of a speech is a number, the name of a class, or words of our own."""
    named = {name for _, fields, _ in calls() for name in fields}
    assert not named & {"text", "words", "message", "key", "url", "headers", "voice"}
    assert Speech._summary.__annotations__["return"] == "dict[str, object]"
