"""
What people and programs are told: progress, facts, tables, or lines of JSON.

Colours, spinners and folds are for terminals; elsewhere the same words come as plain lines.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs
import click
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..audio import AudioChunk
from ..client.options import Outcome
from ..core.metrics import Metrics
from ..simulate.engines import Engine

_ENDLESS = 10_000
"""Columns that nothing of ours fills."""
_A_SECOND = 12.5
"""How often progress is drawn."""

_HEADINGS = {
    Outcome.COMPLETED: ("spoken by", "bold green"),
    Outcome.INTERRUPTED: ("interrupted:", "bold yellow"),
    Outcome.FAILED: ("failed:", "bold red"),
}


@attrs.frozen(kw_only=True)
class Result:
    """One speech that has ended. *saved* says where the audio is."""

    provider: str
    simulated: bool
    voice: str | None
    language: str | None
    format: str
    characters: int
    outcome: Outcome
    metrics: Metrics
    dials: int
    saved: str
    error: str | None = None

    def facts(self) -> dict[str, object]:
        """Return what programs are told."""
        metrics = self.metrics
        facts: dict[str, object] = {
            "provider": self.provider,
            "outcome": self.outcome.value,
            "ttfa_ms": None if metrics.ttfa is None else round(metrics.ttfa * 1000, 3),
            "audio_seconds": round(metrics.audio_seconds, 6),
            "bytes": metrics.audio_bytes,
            "connection_reused": metrics.connection_reused,
            "dials": self.dials,
            "attempts": metrics.attempts,
        }
        if self.error is not None:
            facts["error"] = self.error
        return facts

    def _rows(self) -> Iterator[tuple[str, str]]:
        metrics = self.metrics
        yield "voice", ", ".join(filter(None, (self.voice, self.language))) or "the provider's own"
        yield "text", count(self.characters, "character")
        if metrics.ttfa is not None:
            yield "first audio", f"{metrics.ttfa * 1000:.0f} ms after the first text"
        size = f"{metrics.audio_seconds:.2f} s, {metrics.audio_bytes:,} bytes of {self.format}"
        yield "audio", size if metrics.audio_bytes else "none"
        if metrics.attempts:
            yield "connection", self._connection()
        yield "saved", self.saved

    def _connection(self) -> str:
        metrics = self.metrics
        how = "reused" if metrics.connection_reused else "dialled for this speech"
        if metrics.connect:
            how += f" in {metrics.connect * 1000:.0f} ms"
        attempts = count(metrics.attempts, "attempt") if metrics.attempts > 1 else ""
        return ", ".join(filter(None, (how, count(self.dials, "dial"), attempts)))

    def summary(self, *, err: bool) -> None:
        """Print it for people, on standard error if *err*."""
        words, style = _HEADINGS[self.outcome]
        who = f"{self.provider} (simulated)" if self.simulated else self.provider
        plain = [("outcome", self.outcome.value), ("provider", who)]
        print_rows(Text.assemble((words, style), " ", (who, "bold")), plain, self._rows(), err=err)


Rows = Iterable[tuple[str, str]]
"""Labels and what they say."""


def print_rows(title: Text | None, plain: Rows, rows: Rows, *, err: bool = False) -> None:
    """Print *rows*: on a terminal below the *title*, elsewhere a line each, the *plain* first."""
    console = _console(err)
    if not console.is_terminal:
        for label, value in (*plain, *rows):
            click.echo(f"{label}: {value}", err=err)
        return
    grid = Table.grid(padding=(0, 2), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(f"  {label}", "dim"), Text(value))
    if title is not None:
        console.print(title)
    console.print(grid)


def print_table(table: Table) -> None:
    """Print *table* on standard output; where no terminal is, a row is one line however long."""
    console = _console(err=False)
    if console.is_terminal:
        console.print(table)
        return
    lines = io.StringIO()
    Console(file=lines, width=_ENDLESS, color_system=None, highlight=False).print(table)
    for line in lines.getvalue().splitlines():
        click.echo(line.rstrip())


def print_text(text: str, style: str = "") -> None:
    """Print a sentence on standard output, in *style* and folded at spaces on a terminal."""
    console = _console(err=False)
    if console.is_terminal:
        console.print(Text(text, style))
    else:
        click.echo(text)


def print_json(facts: dict[str, object]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(facts))


class Progress(Protocol):
    """Is shown each chunk as it comes."""

    def __call__(self, chunk: AudioChunk) -> None: ...


@contextmanager
def progress(who: str, *, shown: bool) -> Iterator[Progress]:
    """Show on standard error how a speech comes along, if that is a terminal and it is *shown*."""
    with status(f"{who}: waiting for the first audio", shown=shown) as update:
        yield lambda chunk: update(f"{who}: {chunk.start + chunk.seconds:.1f} s of audio")


@contextmanager
def status(text: str, *, shown: bool = True) -> Iterator[Callable[[str], None]]:
    """Keep a line on standard error up to date, if that is a terminal and it is *shown*."""
    console = _console(err=True)
    if not (shown and console.is_terminal):
        yield lambda text: None
        return
    spinner = Spinner("line", Text(text), style="status.spinner")
    # Unlike `console.status` this draws the first text at once, and the last one in the end,
    # however little time there is between them.
    with Live(spinner, console=console, refresh_per_second=_A_SECOND, transient=True):
        yield lambda text: spinner.update(text=Text(text))


def remark(text: str) -> None:
    """Say something by the way, on standard error; folded at spaces on a terminal."""
    console = _console(err=True)
    if console.is_terminal:
        console.print(Text(text, "dim"))
    else:
        click.echo(text, err=True)


def name_engine(engine: Engine) -> None:
    """Say what a simulator speaks with: its name and version, not where they come from."""
    short = re.split(r" (?:from |\()", engine.describe(), maxsplit=1)[0]
    remark(f"engine: {short}")


def _console(err: bool) -> Console:
    return Console(stderr=err, highlight=False)


def count(number: int, noun: str) -> str:
    """Write how many there are."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
