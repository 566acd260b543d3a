"""``--option KEY=VALUE``: words of the command line become values of an adapter's fields."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping

import attrs

from ..adapter import Adapter
from ._errors import WrongUse

COMMON = ("voice", "language", "model", "format")
"""Fields that have an option of their own."""

_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def pairs(given: Iterable[str]) -> dict[str, str]:
    """
    Take each KEY=VALUE apart; the last one counts where a key stands twice.

    Raises:
        WrongUse: one of them has another form.
    """
    found = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise WrongUse(f"cannot read --option {item!r}; the form is KEY=VALUE")
        found[key] = value
    return found


def for_adapter(kind: type[Adapter], given: Mapping[str, str]) -> dict[str, object]:
    """
    Turn *given* into what the fields of *kind* take.

    Raises:
        WrongUse: it has no such field, or the field takes something else.
    """
    known = [field.name for field in attrs.fields(kind) if field.init and field.name not in COMMON]
    for key in given:
        if key in COMMON:
            raise WrongUse(f"{key} has an option of its own: --{key}")
        if key not in known:
            names = ", ".join(known) or "none"
            raise WrongUse(f"{kind.name} has no option {key!r}; it has {names}")
    hints = _hints(kind)
    return {key: _convert(kind, key, hints.get(key, str), given[key]) for key in given}


def _hints(kind: type[Adapter]) -> Mapping[str, object]:
    try:
        return typing.get_type_hints(kind)
    except NameError:  # of a third party, with types that only a type checker sees
        return {}


def _convert(kind: type[Adapter], key: str, hint: object, word: str) -> object:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    wanted = typing.get_args(hint) if union else (hint,)
    if bool in wanted and word.lower() in _WORDS:
        return _WORDS[word.lower()]
    for number in (int, float):
        if number in wanted:
            try:
                return number(word)
            except ValueError:
                continue
    exact = [one for one in wanted if one in (bool, int, float)]
    if exact and str not in wanted:
        names = " or ".join(_NAMES[one] for one in exact)
        raise WrongUse(f"{key} of {kind.name} takes {names}, not {word!r}")
    return word


_NAMES: Mapping[object, str] = {bool: "true or false", int: "a whole number", float: "a number"}
