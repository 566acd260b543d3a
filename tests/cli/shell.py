"""Running the command: in this process (`invoke`), or as one of its own (`start`)."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from ttsmux.cli.app import app
from ttsmux.client.options import adapter_names, find_adapter

COMMAND = (sys.executable, "-W", "error", "-m", "ttsmux")
TIMEOUT = 100.0
"""Seconds for anything that a process does; on a busy machine it takes some to be there at all."""

KEYS = {
    "provider",
    "outcome",
    "ttfa_ms",
    "audio_seconds",
    "bytes",
    "connection_reused",
    "dials",
    "attempts",
}

# The keys of whoever runs the tests, and what a CI may say about colours.
_TAINTED = {
    *(name for name in os.environ if name.endswith("_API_KEY")),
    *("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"),
}


def invoke(*args: str, input: str | bytes | None = None, **env: str) -> Result:
    """Run it here. Keys come from *env* alone."""
    return CliRunner().invoke(app, args, input=input, env={**dict.fromkeys(_TAINTED), **env})


def facts(result: Result) -> dict[str, object]:
    """The one JSON object that is all of standard output."""
    (line,) = result.stdout.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def environment(**env: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name not in _TAINTED}
    keys = {find_adapter(name).traits.key_variable: "a-key" for name in adapter_names()}
    return {**kept, **keys, **env}


@contextmanager
def start(
    *args: str, command: tuple[str, ...] = COMMAND, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run it as a process of its own, unbuffered, which is killed if it is still there."""
    # A job that CI runs in the background ignores Ctrl-C, and its children would.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*command, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment() if env is None else env,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    """Its exit status, and what is left of its output."""
    out, err = process.communicate(timeout=TIMEOUT)
    return process.returncode, out.decode(), err.decode()


def run(*args: str, command: tuple[str, ...] = COMMAND) -> tuple[int, str, str]:
    with start(*args, command=command) as process:
        return finish(process)


def terminal(*args: str, columns: int = 80) -> tuple[int, str]:
    """Run it on a terminal: its exit status, and all that appeared there."""
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm-256color", COLUMNS=str(columns), LINES="24")
    with subprocess.Popen(
        [*COMMAND, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        seen = io.BytesIO()
        while select.select([ours], [], [], TIMEOUT)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:  # how Linux says that nobody has the other end
                break
            if not data:
                break
            seen.write(data)
        os.close(ours)
        return process.wait(TIMEOUT), seen.getvalue().decode()


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
