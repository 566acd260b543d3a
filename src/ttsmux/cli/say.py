"""
``ttsmux say``: one speech, from a word or a stream of words to a file, a pipe or a summary.

What is wrong with the call is found before anything is begun (status 2). From then on there is one
speech and one end: a result, told as JSON or as a summary, and a status.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import click

from ..adapter import Adapter, Options
from ..audio import AudioFormat
from ..client.files import WavFile
from ..client.options import Outcome, adapter_names, find_adapter
from ..client.sync import Client, Speech
from ..errors import Error, InsecureEndpoint
from ..settings import PoolLimits
from ..simulate import Simulator, simulator_names
from ..simulate.engines import Engine, EngineUnavailable
from ._errors import Failure, WrongUse, meant, sentence
from ._options import for_adapter, pairs
from ._report import Result, name_engine, print_json, progress, remark
from ._signals import Interrupter
from ._stdin import StandardInput
from .simulate import ENGINES

_STDIN = _STDOUT = "-"
_WAV = ("", ".wav", ".wave")


@click.command()
@click.argument("text", metavar="TEXT|-")
@click.option(
    "--provider", required=True, metavar="NAME", help=f"One of {', '.join(adapter_names())}."
)
@click.option("--voice", help="The provider's id of a voice.")
@click.option("--language", help="Such as en or pt-BR, where the provider takes one.")
@click.option("--model", help="The provider's name of a model.")
@click.option("--format", help="pcm_8000 to pcm_48000, mulaw_8000 or alaw_8000.")
@click.option(
    "--option",
    "given",
    multiple=True,
    metavar="KEY=VALUE",
    help="The provider's own, as the fields of its adapter. Again for another.",
)
@click.option("--base-url", metavar="URL", help="In place of the provider's scheme, host and port.")
@click.option("--simulate", is_flag=True, help="Speak to a simulator started for this call.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="What the simulator speaks with; by default the best there is.",
)
@click.option(
    "--out",
    metavar="FILE.wav|-",
    help="Save a WAV file, or with - write raw audio to standard output.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of words.")
@click.option("--explain", is_flag=True, help="Say where the time went, on standard error.")
@click.pass_context
def command(ctx: click.Context, /, text: str, as_json: bool, **settings: Any) -> None:
    """
    Speak TEXT, or standard input if it is "-".

    Standard input is spoken as it arrives. The key comes from the provider's environment variable,
    which "ttsmux providers" names; --simulate needs none. Before a text that starts with a dash,
    put "--".

    Ctrl-C interrupts the speech: a file then holds what was received. A speech that fails leaves no
    file. Exit status: 0, 1 if it failed, 2 for wrong use, 130 if it was interrupted.
    """
    call = Call(text=text, as_json=as_json, **settings)
    ctx.exit(call.run())


@attrs.frozen(kw_only=True)
class Call:
    """The command line as given."""

    text: str
    provider: str
    voice: str | None
    language: str | None
    model: str | None
    format: str | None
    given: tuple[str, ...]
    base_url: str | None
    simulate: bool
    engine: str | None
    out: str | None
    as_json: bool
    explain: bool

    def run(self) -> int:
        """Do it, and return the exit status."""
        self._check()
        source = StandardInput() if self.text == _STDIN else None
        try:
            kind = find_adapter(self.provider)
            with ExitStack() as stack:
                simulator = self._simulator() if self.simulate else None
                if simulator is not None:
                    stack.callback(simulator.close)
                adapter, client = self._open(kind, simulator)
                stack.enter_context(client)
                if source is not None:
                    # Left before the client is: it would wait for a source that waits for text.
                    stack.enter_context(source)
                    if source.terminal:
                        remark("speaking what you type; Ctrl-D ends the text")
                engine = simulator.engine if simulator is not None else None
                return self._speak(client, adapter.options(), source, engine)
        except Error as exc:
            raise WrongUse(sentence(exc)) from exc

    def _check(self) -> None:
        known = adapter_names()
        if self.provider not in known and (hint := meant(self.provider, known)):
            raise WrongUse(f"no provider is called {self.provider[:40]!r}{hint}")
        if self.as_json and self.out == _STDOUT:
            raise click.UsageError("--json and --out - both want standard output")
        if self.simulate and self.base_url is not None:
            raise click.UsageError("--simulate and --base-url name two servers; leave one out")
        if self.engine is not None and not self.simulate:
            raise click.UsageError("--engine is what a simulator speaks with: add --simulate")
        if self.out == "":
            raise click.UsageError("--out needs the name of a file, or -")
        if self.out == _STDOUT:
            if sys.stdout is None or sys.stdout.isatty():
                raise click.UsageError("--out - writes raw audio: send standard output somewhere")
        elif self.out is not None and _special(self.out):
            raise click.UsageError(f"--out wants a plain file, and {self._out} is something else")
        elif self.out is not None and Path(self.out).suffix.lower() not in _WAV:
            raise click.UsageError(
                f"--out writes WAV: {self._out} would be called what it is not; end it in .wav"
            )

    def _open(self, kind: type[Adapter], simulator: Simulator | None) -> tuple[Adapter, Client]:
        options = self._options(kind)
        # Not the user's own key for a simulator: it has no business there, and may be unfit.
        base_url, api_key = self.base_url, None
        if simulator is not None:
            options.setdefault("voice", simulator.default_voice)
            base_url, api_key = simulator.url, "simulated"
        adapter = _make(kind, options)
        # One speech has no use for spare connections.
        pool = PoolLimits(min_idle=0)
        return adapter, Client(adapter, base_url=base_url, api_key=api_key, pool=pool)

    def _options(self, kind: type[Adapter]) -> dict[str, object]:
        common = {
            "voice": self.voice,
            "language": self.language,
            "model": self.model,
            "format": self.format,
        }
        own = for_adapter(kind, pairs(self.given))
        return own | {name: value for name, value in common.items() if value is not None}

    def _simulator(self) -> Simulator:
        if self.provider not in simulator_names():
            known = ", ".join(simulator_names())
            raise WrongUse(f"there is no simulator of {self.provider}; there are: {known}")
        try:
            return Simulator(self.provider, engine=self.engine or "auto").start()
        except EngineUnavailable as exc:
            raise WrongUse(sentence(exc)) from exc

    def _speak(
        self, client: Client, common: Options, source: StandardInput | None, engine: Engine | None
    ) -> int:
        """Speak, tell how it went, and return the exit status."""
        speech: Speech | None = None
        failure: str | None = None
        with Interrupter() as interrupter:
            try:
                with self._sink(common.format) as write:
                    speech = client.speak(self.text if source is None else source)
                    interrupter.watch(speech.interrupt)
                    if engine is not None:
                        name_engine(engine)
                    self._listen(speech, write, shown=source is None or not source.terminal)
            except _NothingToKeep:
                pass
            except BrokenPipeError:
                if interrupter.number is None:
                    raise
            except (Error, OSError) as exc:
                # A key that must not travel is found at the dial, and is no failure of a speech.
                if speech is None or isinstance(exc, InsecureEndpoint):
                    raise
                failure = sentence(exc)
                if not isinstance(exc, Error):
                    failure = f"cannot write {self._out}: {failure}"
        assert speech is not None, "without one there is an exception"
        outcome = Outcome.FAILED if failure is not None else speech.outcome
        assert outcome is not None, "it was read to its end"
        metrics = speech.metrics
        result = Result(
            provider=self.provider,
            simulated=self.simulate,
            voice=common.voice,
            language=common.language,
            format=common.format.name,
            characters=len(self.text) if source is None else source.characters,
            outcome=outcome,
            metrics=metrics,
            dials=client.pool_stats().dials,
            saved=self._saved(outcome, metrics.audio_bytes),
            error=failure,
        )
        status = self._tell(result, interrupter.number)
        if self.explain:
            click.echo(f"\n{speech.explain()}", err=True)
        return status

    def _listen(self, speech: Speech, write: Callable[[bytes], object], *, shown: bool) -> None:
        with speech, progress(self.provider, shown=shown) as show:
            for chunk in speech:
                write(chunk.data)
                show(chunk)
        if speech.outcome is Outcome.INTERRUPTED and not speech.metrics.audio_bytes:
            raise _NothingToKeep

    @contextmanager
    def _sink(self, format: AudioFormat) -> Iterator[Callable[[bytes], object]]:
        """Give what takes the audio. A file stays only if the block is left without exception."""
        if self.out is None:
            yield lambda data: None
        elif self.out == _STDOUT:
            yield _to_stdout
        else:
            with ExitStack() as stack:
                try:
                    file = stack.enter_context(WavFile(self.out, format))
                except OSError as exc:
                    raise WrongUse(f"cannot write {self._out}: {exc.strerror}") from exc
                yield file.write

    def _saved(self, outcome: Outcome, size: int) -> str:
        match self.out, outcome:
            case None, _:
                return "nothing; --out FILE.wav keeps the audio"
            case "-", _:
                return "written to standard output"
            case _, Outcome.COMPLETED:
                return self._out
            case _, Outcome.INTERRUPTED if size:
                return f"{self._out}, as far as it was received"
        return "nothing"

    def _tell(self, result: Result, number: int | None) -> int:
        if self.as_json:
            print_json(result.facts())
        elif result.error is None:
            result.summary(err=self.out == _STDOUT)
        if result.error is not None:
            Failure(result.error).show()
            return Failure.exit_code
        return 0 if result.outcome is Outcome.COMPLETED else 128 + (number or 0)

    @property
    def _out(self) -> str:
        return "standard output" if self.out == _STDOUT else click.format_filename(self.out or "")


class _NothingToKeep(Exception):
    """It was interrupted before there was any audio: no file, rather than an empty one."""


def _make(kind: type[Adapter], options: dict[str, object]) -> Adapter:
    make: Callable[..., Adapter] = kind  # its options are checked by itself
    try:
        return make(**options)
    except Error:
        raise
    except (TypeError, ValueError) as exc:
        raise WrongUse(f"an option of {kind.name} does not fit: {exc}") from exc


def _special(path: str) -> bool:
    """Tell whether *path* is there and no plain file: replacing a device would be a mishap."""
    return os.path.exists(path) and not os.path.isfile(path)


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
