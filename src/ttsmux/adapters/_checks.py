"""What the options of adapters are checked for, beside their types; see `ttsmux.adapter.TEXT`."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from ..adapter import NUMBER, TEXT, Adapter, printable
from ..errors import ConfigError

__all__ = ["like", "one_of", "within"]


def _refusal(adapter: Adapter, words: str) -> ConfigError:
    return ConfigError(words, provider=adapter.name, phase="config")


def within(low: float, high: float, kind: Callable[..., None] = NUMBER) -> Callable[..., None]:
    """Return a check for a number in a range."""

    def check(adapter: Adapter, attribute: attrs.Attribute[object], value: float | None) -> None:
        kind(adapter, attribute, value)
        if value is not None and not low <= value <= high:
            raise _refusal(adapter, f"{attribute.name} is between {low} and {high}, not {value}")

    return check


def one_of(*values: object) -> Callable[..., None]:
    """Return a check for one of *values*; None, where it is one, means that nothing is said."""

    def check(adapter: Adapter, attribute: attrs.Attribute[object], value: object) -> None:
        if value not in values:
            known = ", ".join(str(it) for it in values if it is not None)
            raise _refusal(adapter, f"{attribute.name} is one of {known}")

    return check


def like(form: str) -> Callable[..., None]:
    """Return a check for a string that a regular expression describes."""

    def check(adapter: Adapter, attribute: attrs.Attribute[object], value: str | None) -> None:
        TEXT(adapter, attribute, value)
        if value is not None and not re.fullmatch(form, value):
            raise _refusal(adapter, f"{attribute.name} cannot be {printable(value, 40)!r}")

    return check
