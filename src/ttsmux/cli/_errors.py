"""How a command says no: one sentence on standard error, no usage and no traceback."""

from __future__ import annotations

import click


class WrongUse(click.ClickException):
    """What was asked for cannot be done; nothing was begun."""

    exit_code = 2


class Failure(click.ClickException):
    """It was begun, or could have been, and failed."""

    exit_code = 1


def sentence(error: Exception) -> str:
    """Return what *error* says, for people; a system error without its number."""
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error)
