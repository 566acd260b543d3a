"""
The commands by name, and how they end.

A command is a module here that has a `command`; it is imported when it is called, or listed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from .._version import __version__
from ._errors import Failure, sentence

COMMANDS = ("say", "simulate", "demo", "providers")

_INTERRUPTED = 130


class Commands(click.Group):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = import_module(f".{cmd_name}", __package__).command
        assert isinstance(found, click.Command), f"{cmd_name}.command is one"
        return found


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="ttsmux %(version)s")
def app() -> None:
    """Speak over text-to-speech WebSockets, or be the provider that does."""


def run(args: Sequence[str]) -> int:
    """Run a command line and return the exit status."""
    try:
        status = app.main(list(args), prog_name="ttsmux", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:
        return _INTERRUPTED
    except SystemExit as exc:
        # How click ends when the reader of our output has left. Unwritten output would be tried
        # again, and told about, when the interpreter goes.
        _hush()
        return exc.code if isinstance(exc.code, int) else 1
    except OSError as exc:  # a full disk behind standard output, say
        _hush()
        failure = Failure(sentence(exc))
        failure.show()
        return failure.exit_code
    return status if isinstance(status, int) else 0


def _hush() -> None:
    """Send what is left of standard output nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    except OSError:  # closed, or not a file at all
        pass
    finally:
        os.close(nowhere)
