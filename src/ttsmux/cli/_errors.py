"""How a command says no: one sentence on standard error, no usage and no traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

import click


class WrongUse(click.ClickException):
    """What was asked for cannot be done; nothing was begun."""

    exit_code = 2


class Failure(click.ClickException):
    """It was begun, or could have been, and failed."""

    exit_code = 1


_HERE: Mapping[str, str] = {
    r"\bpass api_key= or set (\w+)": r"set the environment variable \1",
    r"\bpass voice=": "say one with --voice",
    r"use wss://, or say allow_plaintext=True if you mean it": "use wss://",
    r"\bbase_url\b": "--base-url",
}
"""What the library tells a program to do, and what that is on a command line."""


def sentence(error: Exception) -> str:
    """Return what *error* says, for whoever typed the command; a system error has no number."""
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}"
    words = str(error)
    for there, here in _HERE.items():
        words = re.sub(there, here, words)
    return words


def meant(name: str, known: Iterable[str]) -> str:
    """Return a question to put behind "there is no *name*"; nothing if none of *known* is near."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
