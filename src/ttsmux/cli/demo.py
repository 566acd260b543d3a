"""
``ttsmux demo``: what a client does, heard and seen without a key or a network.

The `SCRIPT` is spoken to each simulator in turn, by one client and over what it has open. A line of
it is a WAV file, and a row of a table or an object of JSON.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import attrs
import click
from rich.table import Table
from rich.text import Text

from ..client.files import WavFile
from ..client.options import Outcome, find_adapter
from ..client.sync import Client, Speech
from ..errors import Error
from ..simulate import PROVIDERS, Simulator
from ..simulate.engines import Engine, EngineUnavailable, create_engine
from ..simulate.engines.tone import decode
from . import _traits
from ._errors import Failure, WrongUse, sentence
from ._report import (
    Result,
    count,
    name_engine,
    print_json,
    print_rows,
    print_table,
    print_text,
    remark,
    status,
)
from ._signals import Interrupter
from .simulate import ENGINES

FOLDER = "ttsmux-demo"

LEGEND = (
    ("dials", "connections opened so far, with spares for overlap and interruption"),
    ("TTFA", "from the first text sent to the first audio in hand"),
    ("reused", "its connection was open before: without prewarm, turn 1 would wait"),
    ("|", "where the listener broke in: what follows was not heard"),
)


@attrs.frozen
class Line:
    """Something to say, and after how many seconds of it the listener breaks in."""

    case: str
    turn: int
    text: str
    until: float | None = None

    @property
    def name(self) -> str:
        return f"{self.case}-{self.turn}"


SCRIPT: tuple[tuple[Line, ...], ...] = (
    (Line("turn", 1, "Good morning, how can I help?"),),
    (Line("turn", 2, "Your train leaves at nine."),),
    (Line("turn", 3, "Shall I book a seat?"),),
    (Line("turn", 4, "صباح الخير، كيف أستطيع مساعدتك؟"),),
    (
        Line("together", 1, "Two voices may speak at once."),
        Line("together", 2, "Neither waits for the other."),
    ),
    (
        Line(
            "interrupted",
            1,
            "It is a long story that begins in a small town by the sea.",
            until=1.2,
        ),
    ),
)
"""What is said; the lines of a group at once."""


@attrs.frozen
class Spoken:
    """A line that has ended; *heard* and *unspoken* are its text on either side of its end."""

    line: Line
    result: Result
    heard: str
    unspoken: str

    def facts(self) -> dict[str, object]:
        """Return what programs are told."""
        line = self.line
        return {"case": line.case, "turn": line.turn, "text": line.text, **self.result.facts()}

    def row(self) -> list[str | Text]:
        """Return what people are told, a cell a column."""
        metrics = self.result.metrics
        words = Text(self.heard)
        if self.result.error is not None:
            words = Text("failed", "bold red")
        elif self.result.outcome is Outcome.INTERRUPTED:
            words.append(" | " if self.heard else "| ", "bold yellow")
            words.append(self.unspoken.lstrip(), "dim")
        return [
            f"{self.line.case} {self.line.turn}",
            str(self.result.dials),
            "" if metrics.ttfa is None else f"{metrics.ttfa * 1000:.0f} ms",
            "yes" if metrics.connection_reused else "no",
            f"{metrics.audio_seconds:.2f}",
            words,
        ]


@click.command()
@click.option(
    "--out",
    metavar="DIR",
    default=FOLDER,
    show_default=True,
    help="Where the WAV files go; it is made if need be.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line spoken.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="What the simulators speak with.",
)
@click.option(
    "--handshake-ms",
    type=float,
    default=300.0,
    show_default=True,
    help="How long the simulators take to accept a connection.",
)
@click.option(
    "--ttfa-ms",
    type=float,
    default=100.0,
    show_default=True,
    help="How long they take to the first audio.",
)
@click.option(
    "--rtf",
    type=float,
    default=0.1,
    show_default=True,
    help="Seconds a second of audio takes them.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    out: str,
    as_json: bool,
    engine: str,
    handshake_ms: float,
    ttfa_ms: float,
    rtf: float,
) -> None:
    """
    Speak to simulated providers, and tell how it went.

    To each of them: four turns, one in Arabic, two speeches at once, and one that the listener
    interrupts. Every speech becomes a WAV file in DIR, under the same name each time. No key is
    needed, nothing goes over the network, and the waits are inputs: they say nothing about the real
    providers.

    Ctrl-C ends it. Exit status: 0, 1 if something failed, 2 for wrong use, 130 if it was ended.
    """
    waits = Waits(handshake_ms=handshake_ms, ttfa_ms=ttfa_ms, rtf=rtf)
    try:
        voice = create_engine(engine)
    except EngineUnavailable as exc:
        raise WrongUse(sentence(exc)) from exc
    with closing(voice):
        demo = Demo(waits.simulators(voice), _folder(out), as_json=as_json)
        name_engine(voice)
        if voice.name == "tone" and engine == "auto":
            remark("these are beeps; for a voice: pip install 'ttsmux[local]'")
        if not as_json:
            print_text(str(waits))
        try:
            ctx.exit(demo.run())
        except Error as exc:
            raise Failure(sentence(exc)) from exc


@attrs.frozen(kw_only=True)
class Waits:
    """What the simulators take, as declared."""

    handshake_ms: float
    ttfa_ms: float
    rtf: float

    def __str__(self) -> str:
        pace = f"at {1 / self.rtf:g} times the speed of speech" if self.rtf else "at once"
        return (
            f"Simulated: a handshake takes {self.handshake_ms:g} ms, the first audio "
            f"takes {self.ttfa_ms:g} ms, the rest comes {pace}. These waits are inputs of the "
            "demo, not measurements of a provider."
        )

    def simulators(self, engine: Engine) -> list[Simulator]:
        """
        Make one of each provider.

        Raises:
            WrongUse: nobody can wait like this.
        """
        waits = attrs.asdict(self)
        try:
            return [Simulator(provider, engine=engine, **waits) for provider in PROVIDERS]
        except ValueError as exc:
            raise WrongUse(sentence(exc)) from exc


def _folder(name: str) -> Path:
    """Find or make a directory that can be written to, before anything is said."""
    if not name:
        raise WrongUse("--out needs the name of a directory")
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            return path
    except OSError as exc:
        raise WrongUse(f"cannot write to {click.format_filename(name)}: {exc.strerror}") from exc


class Demo:
    """One run. `stop` may be called from any thread."""

    def __init__(self, simulators: Sequence[Simulator], out: Path, *, as_json: bool) -> None:
        self._simulators = simulators
        self._out = out
        self._as_json = as_json
        # JSON comes while it speaks, and would run into the progress on the same terminal.
        self._progress = not (as_json and sys.stdout is not None and sys.stdout.isatty())
        self._spoken: list[Spoken] = []
        self._stopped = False
        self._speaking: set[Speech] = set()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Interrupt what is speaking, and let nothing more be said."""
        with self._lock:
            self._stopped = True
            speaking = list(self._speaking)
        for speech in speaking:
            speech.interrupt()

    def run(self) -> int:
        """
        Do it, tell how it went, and return the exit status.

        Raises:
            Error: there is no connection to be had.
        """
        with Interrupter() as interrupter:
            interrupter.watch(self.stop)
            for simulator in self._simulators:
                if not self._stopped:
                    self._perform(simulator)
        if not self._as_json:
            self._tell_files()
        failed = [one for one in self._spoken if one.result.error is not None]
        for one in failed:
            Failure(f"{one.line.name}: {one.result.error}").show()
        if interrupter.number is not None:
            return 128 + interrupter.number
        return Failure.exit_code if failed else 0

    def _perform(self, simulator: Simulator) -> None:
        """Speak the script to *simulator*, and tell how it went."""
        provider = simulator.provider
        with (
            simulator,
            # Not a user's own key: it has no business there.
            Client(
                provider,
                voice=simulator.default_voice,
                base_url=simulator.url,
                api_key="simulated",
            ) as client,
            status(f"{provider}: connecting", shown=self._progress) as update,
        ):
            began = time.monotonic()
            client.prewarm()
            ahead = f"connected in {(time.monotonic() - began) * 1000:.0f} ms, ahead"
            table = _table(simulator.engine)
            dials = str(client.pool_stats().dials)
            table.add_row("prewarm", dials, "", "", "", Text(ahead, "dim"))
            for group in SCRIPT:
                for one in self._speak(simulator, client, group, update):
                    table.add_row(*one.row())
        if not self._as_json:
            summary = _traits.summary(find_adapter(provider).traits)
            print_text("")
            print_text(f"{provider} (simulated): {summary}", "bold")
            print_table(table)

    def _speak(
        self,
        simulator: Simulator,
        client: Client,
        group: Sequence[Line],
        update: Callable[[str], None],
    ) -> list[Spoken]:
        """Speak the lines of *group* at once; none if it was stopped before."""
        if self._stopped:
            return []
        with ThreadPoolExecutor(len(group), "ttsmux-demo") as threads:
            saying = [threads.submit(self._say, simulator, client, it, update) for it in group]
            spoken = [each.result() for each in saying]
        self._spoken += spoken
        if self._as_json:
            for one in spoken:
                print_json(one.facts())
        return spoken

    def _say(
        self, simulator: Simulator, client: Client, line: Line, update: Callable[[str], None]
    ) -> Spoken:
        provider = simulator.provider
        path = self._out / f"{provider}-{line.name}.wav"
        sound = bytearray()
        error: str | None = None
        with client.speak(line.text) as speech, self._stoppable(speech):
            try:
                with WavFile(path, speech.format) as file:
                    for chunk in speech:
                        file.write(chunk.data)
                        sound += chunk.data
                        seconds = chunk.start + chunk.seconds
                        update(f"{provider} {line.name}: {seconds:.1f} s of audio")
                        if line.until is not None and seconds >= line.until:
                            speech.interrupt()
                    if not sound:
                        raise _NothingToKeep
            except _NothingToKeep:
                pass
            except Error as exc:
                error = sentence(exc)
            except OSError as exc:
                error = f"cannot write {path}: {sentence(exc)}"
            dials = client.pool_stats().dials
        outcome = Outcome.FAILED if error is not None else speech.outcome
        assert outcome is not None, "it was read to its end"
        result = Result(
            provider=provider,
            simulated=True,
            voice=simulator.default_voice,
            language=None,
            format=speech.format.name,
            characters=len(line.text),
            outcome=outcome,
            metrics=speech.metrics,
            dials=dials,
            saved=path.name if sound and error is None else "",
            error=error,
        )
        return Spoken(line, result, *_heard(simulator.engine, line, speech, bytes(sound)))

    @contextmanager
    def _stoppable(self, speech: Speech) -> Iterator[None]:
        with self._lock:
            self._speaking.add(speech)
            stopped = self._stopped
        if stopped:
            speech.interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._speaking.discard(speech)

    def _tell_files(self) -> None:
        files = [one.result.saved for one in self._spoken if one.result.saved]
        print_text("")
        print_rows(None, [], LEGEND)
        print_text("")
        where = click.format_filename(str(self._out))
        click.echo(f"{count(len(files), 'WAV file')} to play: {where}")


def _heard(engine: Engine, line: Line, speech: Speech, sound: bytes) -> tuple[str, str]:
    """Return the text of *line* that was heard, and the rest."""
    if engine.name == "tone":
        # What is in the sound itself.
        words = (word.text for word in decode(sound, speech.format.rate) if word.ok)
        heard = " ".join(words)
        return heard, line.text.removeprefix(heard)
    if speech.outcome is Outcome.INTERRUPTED:
        report = speech.interrupt()
        return report.heard_text, report.unspoken_text
    return line.text, ""


class _NothingToKeep(Exception):
    """There was no audio: no file, rather than an empty one."""


def _table(engine: Engine) -> Table:
    """Make the table of one provider; columns are as wide for each of them."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("", min_width=13, no_wrap=True)
    table.add_column("dials", justify="right", no_wrap=True)
    table.add_column("TTFA", justify="right", min_width=7, no_wrap=True)
    table.add_column("reused", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("decoded from the sound" if engine.name == "tone" else "text")
    return table
