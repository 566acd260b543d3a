"""
The command ``ttsmux``.

`main` needs nothing but the standard library, so that a missing extra is told in one line. The
commands are found by `app`, one file each; files with an underscore are what they share.

Standard output carries what was asked for and nothing else: the ready line, a summary, JSON, or
audio. Errors, progress and remarks go to standard error. The exit status is 0, 1 (failed), 2 (wrong
use: nothing was begun) or 128 and the number of the signal that interrupted (130 for Ctrl-C).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .._version import __version__

_EXTRA = ("click", "rich")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line *args*, by default this process's own, and return the exit status."""
    args = sys.argv[1:] if args is None else args
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError as exc:
        if exc.name not in _EXTRA:
            raise
        if list(args) == ["--version"]:
            print(f"ttsmux {__version__}")
            return 0
        needs = f"the ttsmux command needs {' and '.join(_EXTRA)}"
        print(f"{needs}: pip install 'ttsmux[cli]'", file=sys.stderr)
        return 2
    from .app import run

    return run(args)
