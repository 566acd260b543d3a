"""Messages as they should not be: most of them JSON, and the same every time."""

from __future__ import annotations

import json
from collections import Counter

from ttsmux.testing.fuzz import is_json, mutations, poisoned, raw, shapes

GOOD = [
    '{"type":"audio","data":"AAEC","at":[1,2]}',
    '{"type":"end"}',
    b"\x01\x02abc",
    "PLAIN words",
]


def test_the_same_seed_gives_the_same_messages() -> None:
    assert list(mutations(GOOD, 200, "a")) == list(mutations(GOOD, 200, "a"))
    assert list(mutations(GOOD, 200, "a")) != list(mutations(GOOD, 200, "b"))


def test_most_still_parse_and_few_are_unchanged() -> None:
    """Four in five of the JSON ones; and they are not all the same."""
    found = list(mutations(GOOD[:2], 2000, "x"))
    assert all(one.text for one in found)
    assert sum(is_json(one.data) for one in found) > 1600
    assert len({one.data for one in found}) > 700


def test_each_kind_of_message_stays_of_its_kind() -> None:
    counts = Counter(one.text for one in mutations(GOOD, 400, "x"))
    assert 60 < counts[False] < 140


def test_poison_is_put_into_every_field() -> None:
    found = [one.data for one in poisoned(GOOD)]
    assert len(found) == 4 * 7
    assert not [data for data in found if b"here-is" in data]
    assert any(not is_json(data) for data in found) and any(map(is_json, found))


def test_shapes_grow_as_asked() -> None:
    """Each string, each list, and what is no JSON at all."""
    names = dict(shapes(GOOD))
    assert {"data: base64", "data: letters", "at: items", "text", "binary"} <= set(names)
    for shape in names.values():
        assert 0.5 < len(shape(1 << 16).data) / (1 << 16) < 2.1
    assert json.loads(names["at: together"](100).data)["at"][:4] == [1, 2, 1, 2]
    assert json.loads(names["at: items"](100).data)["at"][:4] == [1, 2, 1, 2]
    assert raw(b"x") == raw(b"x") != raw("x")
