"""
OpenTelemetry: a span for each speech, and histograms of what listeners wait for.

Names follow OpenTelemetry's conventions for generative AI where they have one, else begin with
``ttsmux.`` (`docs/metrics.md` lists them). No text and no keys: what is told of a speech is its
`Metrics` and the fields of the events that are logged, too.

Nothing of OpenTelemetry is imported unless the program has, or asks for it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import attrs

from .._version import __version__
from ..core.effects import Event
from ..core.mux import Mux
from ..core.route import Route
from ..core.speech import Speech
from ..errors import ConfigError, WrongType
from . import events as log

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

_Value = str | bool | int | float
_OPERATION = "text_to_speech"
_ENDS = ("speech.completed", "speech.interrupted", "speech.failed")
_OPENED = "connection.opened"
_PREFIX = "ttsmux."

# https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/ names these for the duration.
_LONG = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_SHORT = (
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    10.0,
)
_DURATION = "gen_ai.client.operation.duration"
_HISTOGRAMS: Mapping[str, tuple[str, Sequence[float]]] = {
    _DURATION: ("From speak() to the end of the speech.", _LONG),
    "gen_ai.client.operation.time_to_first_chunk": (
        "From the first text sent to the first audio in the caller's hand.",
        _SHORT,
    ),
    "ttsmux.client.connection.wait_time": (
        "What a speech waited for a seat, without the dial of its connection.",
        _SHORT,
    ),
    "ttsmux.client.first_audio_time": (
        "From speak() to the first audio in the caller's hand.",
        _SHORT,
    ),
    "ttsmux.client.connection.create_time": ("From dialling to ready.", _SHORT),
    "ttsmux.client.audio.gap_time": (
        "How long somebody who plays a speech as it comes would have run dry.",
        _SHORT,
    ),
}


class Telemetry:
    """
    Where spans and measurements go: a client takes it as ``telemetry=``.

    Args:
        tracer_provider: OpenTelemetry's; None: the one that the program has set.
        meter_provider: the same for measurements.

    Raises:
        ConfigError: OpenTelemetry is not installed.
        WrongType: an argument is no such provider.
    """

    def __init__(
        self, tracer_provider: object | None = None, meter_provider: object | None = None
    ) -> None:
        if find_spec("opentelemetry") is None:
            msg = "telemetry= needs OpenTelemetry: install ttsmux[otel]"
            raise ConfigError(msg, phase="config")
        from opentelemetry import metrics, trace

        if not isinstance(tracer_provider, trace.TracerProvider | None):
            raise WrongType.of("tracer_provider", "a TracerProvider", tracer_provider)
        if not isinstance(meter_provider, metrics.MeterProvider | None):
            raise WrongType.of("meter_provider", "a MeterProvider", meter_provider)
        self._instruments = _Instruments(tracer_provider, meter_provider)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _Instruments:
    """A tracer and the histograms, of one pair of providers."""

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None
    ) -> None:
        from opentelemetry import metrics, trace

        self.tracer = trace.get_tracer("ttsmux", __version__, tracer_provider)
        meter = metrics.get_meter("ttsmux", __version__, meter_provider)
        self._histograms: dict[str, Histogram] = {
            name: meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=bounds
            )
            for name, (description, bounds) in _HISTOGRAMS.items()
        }

    def record(self, name: str, seconds: float | None, about: Mapping[str, _Value]) -> None:
        if seconds is not None:
            self._histograms[name].record(seconds, about)


@cache
def _of_the_program() -> _Instruments:
    return _Instruments(None, None)


def _is_set(module: str, name: str) -> bool:
    """Return whether the program has set a provider, which is none of the bare interface's own."""
    api = sys.modules.get(module)
    return api is not None and not type(getattr(api, name)()).__module__.startswith(module)


def _found() -> _Instruments | None:
    """Return those of the providers that the program has set; None where it has not, or not yet."""
    tracing = _is_set("opentelemetry.trace", "get_tracer_provider")
    if tracing or _is_set("opentelemetry.metrics", "get_meter_provider"):
        return _of_the_program()
    return None


def _never() -> _Instruments | None:
    return None


@attrs.frozen
class _Followed:
    """A speech with its span."""

    speech: Speech
    span: Span
    instruments: _Instruments


class Observer:
    """What one client tells the log, and OpenTelemetry."""

    def __init__(self, telemetry: Telemetry | bool | None, routes: Sequence[Route]) -> None:
        self._find = _source(telemetry)
        self._adapter = routes[0].adapter
        adapters = [route.adapter for route in routes]
        self._names = {one.name: one.telemetry_name or one.name for one in adapters}
        self._followed: dict[tuple[Mux, object], _Followed] = {}

    # --- what a client tells ----------------------------------------------------------------------

    def speaking(
        self, options: Mapping[str, object]
    ) -> contextlib.AbstractContextManager[Callable[[Mux, Speech], None]]:
        """
        Begin the span of a speech, below what is current here, which is where `speak()` was called.

        Gives what is to be told, within the step, of the speech that came of it. If the block is
        left with an exception there is none, and the span ends.
        """
        try:
            instruments = self._find()
        except Exception as exc:
            _tell_of(exc)
            return _UNHEARD
        return _UNHEARD if instruments is None else self._spanning(instruments, options)

    @contextlib.contextmanager
    def _spanning(
        self, instruments: _Instruments, options: Mapping[str, object]
    ) -> Iterator[Callable[[Mux, Speech], None]]:
        began = time.monotonic()
        begun: tuple[Span, dict[str, _Value]] | None = None
        with _quietly():
            begun = self._begin(instruments, options)
        if begun is None:
            yield _nobody
            return
        span, about = begun
        key: tuple[Mux, object] | None = None

        def follow(mux: Mux, speech: Speech) -> None:
            nonlocal key
            key = mux, speech.number
            self._followed[key] = _Followed(speech, span, instruments)

        try:
            yield follow
        except BaseException as exc:
            if key is None or self._followed.pop(key, None) is not None:  # else it failed by itself
                with _quietly():
                    _fail(span, type(exc).__name__)
                    span.set_attribute(f"{_PREFIX}outcome", "failed")
                    span.end()
                    failed = {**about, "error.type": type(exc).__name__}
                    instruments.record(_DURATION, time.monotonic() - began, failed)
            raise

    def tell(self, mux: Mux, events: Sequence[Event]) -> None:
        """Log *events* of *mux*, and make spans and measurements of them. Outside of any lock."""
        raised: BaseException | None = None
        for event in events:
            try:
                try:
                    log.log([event])
                finally:
                    if self._followed or event.name == _OPENED:  # else nobody else listens
                        with _quietly():
                            self._tell(mux, event)
            except BaseException as exc:
                # A KeyboardInterrupt, or a handler that raises: the others are told all the same.
                if raised is None or not isinstance(exc, Exception):
                    raised = exc
        if raised is not None:
            try:
                raise raised
            finally:
                del raised  # which has this frame in its traceback

    # --- what becomes of it -----------------------------------------------------------------------

    def _begin(
        self, instruments: _Instruments, options: Mapping[str, object]
    ) -> tuple[Span, dict[str, _Value]]:
        from opentelemetry.trace import SpanKind

        adapter = self._adapter
        model = options.get("model") or adapter.options().model
        about = self._about(adapter.name, model)
        name = f"{_OPERATION} {model}" if model else _OPERATION
        attributes = {**about, "gen_ai.output.type": "speech"}
        span = instruments.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        return span, about

    def _about(self, provider: object, model: object) -> dict[str, _Value]:
        name = self._names.get(str(provider), str(provider))
        about: dict[str, _Value] = {
            "gen_ai.operation.name": _OPERATION,
            "gen_ai.provider.name": name,
        }
        if isinstance(model, str):
            about["gen_ai.request.model"] = model
        return about

    def _tell(self, mux: Mux, event: Event) -> None:
        if event.name == _OPENED:
            self._opened(event.fields)
        key = mux, event.fields.get("speech")
        followed = self._followed.get(key)
        if followed is None:
            return
        if event.name in _ENDS:
            del self._followed[key]
            self._end(followed, event)
        else:
            followed.span.add_event(event.name, dict(_told(event.fields)))

    def _opened(self, fields: Mapping[str, object]) -> None:
        instruments, seconds = self._find(), fields["seconds"]
        if instruments is not None and isinstance(seconds, float):
            name = self._names[str(fields["provider"])]
            about = {"gen_ai.provider.name": name}
            instruments.record("ttsmux.client.connection.create_time", seconds, about)

    def _end(self, followed: _Followed, event: Event) -> None:
        speech, span, instruments = followed.speech, followed.span, followed.instruments
        metrics = speech.metrics()
        about = self._about(speech.plan.adapter.name, speech.plan.options.model)
        if event.name == "speech.failed":
            about["error.type"] = str(event.fields["error"])
            _fail(span, str(event.fields["error"]))
        span.set_attributes(about)
        span.set_attribute(f"{_PREFIX}outcome", event.name.removeprefix("speech."))
        span.set_attributes(dict(_told(attrs.asdict(metrics))))
        if metrics.ttfa is not None:
            span.set_attribute("gen_ai.response.time_to_first_chunk", metrics.ttfa)
        span.end()
        record = instruments.record
        record(_DURATION, metrics.total, about)
        record("gen_ai.client.operation.time_to_first_chunk", metrics.ttfa, about)
        record("ttsmux.client.first_audio_time", metrics.first_audio, about)
        if metrics.queue is not None and metrics.failed_dials is not None:
            waited = metrics.queue + metrics.failed_dials
            record("ttsmux.client.connection.wait_time", waited, about)
        if metrics.audio_bytes:
            record("ttsmux.client.audio.gap_time", metrics.gap_seconds, about)


def _source(telemetry: Telemetry | bool | None) -> Callable[[], _Instruments | None]:
    """
    Return what finds the instruments to use, if any, whenever there is something to tell.

    Raises:
        ConfigError: there shall be some, and OpenTelemetry is not installed.
        WrongType: *telemetry* is nothing that says so.
    """
    if telemetry is None:
        return _found
    if telemetry is False:
        return _never
    given = Telemetry() if telemetry is True else telemetry
    if not isinstance(given, Telemetry):
        raise WrongType.of("telemetry", "a Telemetry, True, False or None", given)
    instruments = given._instruments
    return lambda: instruments


def _fail(span: Span, error: str) -> None:
    """Say that *span* failed, and as what: not in which words, which may be somebody else's."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def _told(facts: Mapping[str, object], prefix: str = _PREFIX) -> Iterator[tuple[str, _Value]]:
    """Go through *facts* as attributes: those that there are, and those of a mapping by name."""
    for name, fact in facts.items():
        if isinstance(fact, Mapping):
            yield from _told(fact, f"{prefix}{name}.")
        elif isinstance(fact, _Value):
            yield f"{prefix}{name}", fact


def _nobody(mux: Mux, speech: Speech) -> None:
    """Follow nothing."""


_UNHEARD = contextlib.nullcontext(_nobody)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Let no fault of a program's own telemetry into its speeches."""
    try:
        yield
    except Exception as exc:
        _tell_of(exc)


def _tell_of(exc: Exception) -> None:
    with contextlib.suppress(Exception):  # nor one of its handlers of logs
        log.log([Event("client.fault", {"error": type(exc).__name__})])
