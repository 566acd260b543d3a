"""KEY=VALUE becomes what a field takes."""

from typing import Literal

import attrs
import pytest

from ttsmux.adapters.xai import XAI
from ttsmux.cli._errors import WrongUse
from ttsmux.cli._options import for_adapter, pairs


@attrs.frozen(kw_only=True)
class Acme(XAI):
    """A third party's, with more kinds of fields."""

    times: int = 1
    loud: bool = False
    mood: Literal["calm", "wild"] = "calm"
    seed: int | str = 0
    names: list[str] | None = None
    rate: int | float = 1


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("times=3", 3),
        ("times=-3", -3),
        ("loud=true", True),
        ("loud=On", True),
        ("loud=0", False),
        ("text_normalization=no", False),
        ("speed=1", 1.0),
        ("speed=1e-1", 0.1),
        ("mood=wild", "wild"),
        ("seed=7", 7),
        ("seed=seven", "seven"),
        ("rate=0.5", 0.5),
        ("names=a,b", "a,b"),
    ],
)
def test_values(given: str, value: object) -> None:
    """By the field's type; a string where there is nothing better."""
    ((key, found),) = for_adapter(Acme, pairs([given])).items()
    assert key == given.partition("=")[0]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("times=1.5", "times of xai takes a whole number, not '1.5'"),
        ("loud=maybe", "loud of xai takes true or false, not 'maybe'"),
        ("speed=", "speed of xai takes a number, not ''"),
        ("rate=x", "rate of xai takes a whole number or a number"),
        ("name=x", "xai has no option 'name'; it has "),
    ],
)
def test_what_does_not_fit(given: str, words: str) -> None:
    """It is told in the user's terms."""
    with pytest.raises(WrongUse, match=words):
        for_adapter(Acme, pairs([given]))


def test_pairs() -> None:
    """The value may hold what it likes, and the last one counts."""
    assert pairs(["a=1", "b=x=y", "a="]) == {"a": "", "b": "x=y"}
    with pytest.raises(WrongUse, match="KEY=VALUE"):
        pairs(["=1"])
