"""What OpenTelemetry is told: by the Mux in virtual time, and by both faces for real."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import ttsmux
from tests.core.helpers import MULTIPLEXED, SECOND, Harness, Toy
from tests.core.test_metrics import REQUEST, loud
from tests.scenarios.scripts import LONG
from tests.scenarios.stage import KEY, RUNTIMES, World, play
from ttsmux.adapter import Traits
from ttsmux.client import otel
from ttsmux.client.otel import Observer
from ttsmux.core.effects import Event
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.simulate import Simulator

DURATION = "gen_ai.client.operation.duration"


class Ears:
    """A program's own providers, which keep what they are told."""

    def __init__(self, *processors: SpanProcessor) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        for processor in (*processors, SimpleSpanProcessor(self.exporter)):
            self.tracers.add_span_processor(processor)
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.telemetry = ttsmux.Telemetry(self.tracers, self.meters)

    def spans(self, name: str = "text_to_speech") -> list[ReadableSpan]:
        return [s for s in self.exporter.get_finished_spans() if s.name.startswith(name)]

    def span(self) -> ReadableSpan:
        [found] = self.spans()
        return found

    def histograms(self) -> dict[str, Any]:
        """Return the data points of each histogram, by its name."""
        data = self.reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        assert all(metric.unit == "s" and metric.description for metric in found)
        return {metric.name: metric.data.data_points for metric in found}

    def all_said(self) -> str:
        spans = [span.to_json() for span in self.exporter.get_finished_spans()]
        data = self.reader.get_metrics_data()
        return "\n".join([*spans, data.to_json() if data else ""])


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


# --- in virtual time ------------------------------------------------------------------------------


class Followed(Harness):
    """A Mux whose events are told, and whose speeches have spans."""

    def __init__(self, *names: str, ears: Ears | None = None, shape: Traits = MULTIPLEXED) -> None:
        adapters = [Toy(shape=shape, line=n, model="tiny") for n in names or ("main",)]
        routes = [Route(adapter=adapter) for adapter in adapters]
        super().__init__(routes=routes)
        self.ears = ears or Ears()
        self.observer = Observer(self.ears.telemetry, routes)

    def say_something(self, text: str | None = "Hello. ", **options: object) -> Speech:
        with self.observer.speaking(options) as follow:
            speech = self.speak(None, **options)
            follow(self.mux, speech)
        if text is not None:
            self.write(speech, text)
            self.end(speech)
        return speech

    def collect(self) -> None:
        before = len(self.effects)
        super().collect()
        if hasattr(self, "observer"):
            reports = [e.event for e in self.effects[before:] if hasattr(e, "event")]
            self.observer.tell(self.mux, reports)


def test_a_speech_is_a_span() -> None:
    """With what it took, by the names that the conventions have, and by ours."""
    harness = Followed()
    speech = harness.say_something()
    harness.advance(0.25)
    harness.up()
    harness.advance(0.5)
    harness.audio(speech, bytes(SECOND // 2) + loud(SECOND // 2))
    harness.hear(speech)
    harness.done(speech)
    assert not harness.ears.spans(), "its reader has not come to the end"
    harness.finish(speech)
    span = harness.ears.span()
    assert (span.name, span.kind, span.parent) == ("text_to_speech tiny", SpanKind.CLIENT, None)
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "gen_ai.operation.name": "text_to_speech",
        "gen_ai.provider.name": "toy",
        "gen_ai.request.model": "tiny",
        "gen_ai.output.type": "speech",
        "gen_ai.response.time_to_first_chunk": 0.5,
        "ttsmux.outcome": "completed",
        "ttsmux.first_audio": 0.75,
        "ttsmux.ttfa": 0.5,
        "ttsmux.acquire": 0.25,
        "ttsmux.queue": 0.0,
        "ttsmux.failed_dials": 0.0,
        "ttsmux.connect": 0.25,
        "ttsmux.setup": 0.0,
        "ttsmux.connection_reused": False,
        "ttsmux.text_wait": 0.0,
        "ttsmux.leading_silence": 0.5,
        "ttsmux.gaps": 0,
        "ttsmux.gap_seconds": 0.0,
        "ttsmux.longest_gap": 0.0,
        "ttsmux.total": 0.75,
        "ttsmux.attempts": 1,
        "ttsmux.route": "Toy",
        "ttsmux.resumed": 0,
        "ttsmux.audio_seconds": 1.0,
        "ttsmux.audio_bytes": SECOND,
        "ttsmux.characters": 7,
        "ttsmux.characters_delivered": 7,
        "ttsmux.characters_wasted": 0,
    }
    [event] = span.events
    assert event.name == "speech.first_audio"
    assert event.attributes == {
        "ttsmux.speech": 1,
        "ttsmux.provider": "toy",
        "ttsmux.first_audio": 0.75,
        "ttsmux.ttfa": 0.5,
    }


def test_what_is_a_mapping_is_told_by_its_names() -> None:
    """The parts of a dial, and what the provider counted."""
    harness = Followed()
    speech = harness.say_something()
    harness.mux.dialled(harness.wires[0], harness.now, {"dns": 0.125, "tls": 0.25})
    harness.collect()
    harness.audio(speech)
    harness.say(harness.on(speech), f"released {harness.id(speech)} cost_cents=0.5")
    harness.finish(speech)
    found = attributes(harness.ears.span())
    assert found["ttsmux.dial_parts.dns"] == 0.125 and found["ttsmux.dial_parts.tls"] == 0.25
    assert found["ttsmux.usage.cost_cents"] == 0.5


def test_what_a_speech_got_over_is_in_its_span() -> None:
    """A retry, and the way to the next provider, which is the one that is named then."""
    harness = Followed("a", "b")
    speech = harness.say_something()
    harness.up()
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    harness.advance(1.0)
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation bad!")
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    harness.finish(speech)
    span = harness.ears.span()
    assert [event.name for event in span.events] == [
        "speech.retried",
        "speech.rerouted",
        "speech.first_audio",
    ]
    retried = dict(span.events[0].attributes or {})
    assert retried["ttsmux.error"] == "GenerationError" and retried["ttsmux.attempt"] == 1
    assert attributes(span)["ttsmux.attempts"] == 3
    assert span.status.status_code is StatusCode.UNSET, "it was completed"


def test_a_speech_that_fails_is_a_span_with_an_error() -> None:
    """Its type, and not its words: those of a text source may be anything."""
    harness = Followed()
    speech = harness.say_something(None)
    harness.fail(speech, ValueError("Hello world"))
    span = harness.ears.span()
    assert span.status.status_code is StatusCode.ERROR and not span.status.description
    assert attributes(span)["error.type"] == "ValueError"
    assert attributes(span)["ttsmux.outcome"] == "failed"
    [point] = harness.ears.histograms()[DURATION]
    assert point.attributes["error.type"] == "ValueError"
    assert "Hello" not in harness.ears.all_said()


def test_an_interruption_is_no_error() -> None:
    harness = Followed()
    speech = harness.say_something()
    harness.interrupt(speech)
    span = harness.ears.span()
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span)["ttsmux.outcome"] == "interrupted"
    assert "error.type" not in attributes(span)


def test_what_is_refused_at_once_is_a_span_that_failed() -> None:
    """And nothing follows it."""
    harness = Followed()
    harness.close()
    with pytest.raises(ttsmux.ClosedError):
        harness.say_something()
    span = harness.ears.span()
    assert attributes(span)["error.type"] == "ClosedError"
    assert attributes(span)["ttsmux.outcome"] == "failed"
    assert not harness.observer._followed


@pytest.mark.parametrize("traced", [True, False])
def test_what_is_refused_at_once_is_measured(traced: bool) -> None:
    """Also by who wants no spans."""
    harness = Followed()
    if not traced:
        telemetry = ttsmux.Telemetry(trace.NoOpTracerProvider(), harness.ears.meters)
        harness.observer = Observer(telemetry, [Route(adapter=Toy(model="tiny"))])
    harness.close()
    with pytest.raises(ttsmux.ClosedError):
        harness.say_something()
    assert len(harness.ears.spans()) == traced
    found = harness.ears.histograms()
    assert found.keys() == {DURATION}
    [point] = found[DURATION]
    assert point.count == 1 and point.sum >= 0.0
    assert point.attributes == {
        "gen_ai.operation.name": "text_to_speech",
        "gen_ai.provider.name": "toy",
        "gen_ai.request.model": "tiny",
        "error.type": "ClosedError",
    }


def test_a_speech_that_failed_in_its_first_step_ends_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """OpenTelemetry complains of spans that end twice."""
    harness = Followed()

    def torn() -> None:
        with harness.observer.speaking({}) as follow:
            follow(harness.mux, harness.speak(None))
            harness.mux.abandon(KeyboardInterrupt())
            harness.collect()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torn()
    assert attributes(harness.ears.span())["error.type"] == "ClosedError"
    assert not harness.ears.histograms(), "it has no figures"
    assert not [record for record in caplog.records if record.name != "ttsmux"]


def test_no_span_is_left_open() -> None:
    """Whoever ends has been followed to its end."""
    harness = Followed()
    for _ in range(3):
        speech = harness.say_something()
        harness.up()
        harness.audio(speech)
        harness.done(speech)
        harness.finish(speech)
    harness.interrupt(harness.say_something())
    harness.say_something()
    harness.mux.abandon(KeyboardInterrupt())
    harness.collect()
    assert len(harness.ears.spans()) == 5 and not harness.observer._followed


def test_the_wait_for_a_dial_that_failed_is_one_for_a_seat() -> None:
    """And what came before the next one, as a provider asks for it."""
    harness = Followed()
    speech = harness.say_something()
    harness.advance(0.25)
    harness.refuse(harness.wires[0], 503, retry_after="2")
    while len(harness.wires) < 2:
        harness.until(harness.mux.deadline or 0.0)
    waited = harness.now
    assert waited >= 2.25
    harness.advance(0.5)
    harness.up()
    harness.interrupt(speech)
    [point] = harness.ears.histograms()["ttsmux.client.connection.wait_time"]
    assert point.sum == pytest.approx(waited)


def test_histograms() -> None:
    """By provider and model, in seconds, with bounds that fit them."""
    harness = Followed()
    speech = harness.say_something()
    harness.advance(0.25)
    harness.up()
    harness.advance(0.5)
    harness.audio(speech, loud(SECOND // 2))
    harness.hear(speech)
    harness.advance(0.75)
    harness.audio(speech, loud(SECOND // 2))
    harness.done(speech)
    harness.finish(speech)
    silent = harness.say_something()
    harness.advance(0.125)
    harness.interrupt(silent)
    found = harness.ears.histograms()
    sums = {name: (points[0].count, points[0].sum) for name, points in found.items()}
    assert sums == {
        DURATION: (2, 1.625),
        "gen_ai.client.operation.time_to_first_chunk": (1, 0.5),
        "ttsmux.client.first_audio_time": (1, 0.75),
        "ttsmux.client.connection.wait_time": (2, 0.0),
        "ttsmux.client.connection.create_time": (1, 0.25),
        "ttsmux.client.audio.gap_time": (1, 0.25),
    }
    about = {"gen_ai.operation.name": "text_to_speech", "gen_ai.provider.name": "toy"}
    for name, [point] in found.items():
        own = {} if "create_time" in name else {"gen_ai.request.model": "tiny"}
        dial = {"gen_ai.provider.name": "toy"}
        assert point.attributes == (dial if "create_time" in name else {**about, **own})
        assert point.explicit_bounds == otel._HISTOGRAMS[name][1]
    assert found.keys() == otel._HISTOGRAMS.keys()


def test_a_request_is_no_dial_that_is_measured() -> None:
    """Over HTTP: it connects when it is sent."""
    harness = Followed(shape=REQUEST)
    harness.say_something()
    harness.advance(0.25)
    harness.up()
    harness.close()
    found = harness.ears.histograms()
    assert DURATION in found
    assert "ttsmux.client.connection.create_time" not in found


def test_another_model_for_one_speech_is_in_its_span() -> None:
    harness = Followed()
    harness.interrupt(harness.say_something(model="large"))
    assert harness.ears.span().name == "text_to_speech large"
    assert attributes(harness.ears.span())["gen_ai.request.model"] == "large"


def test_the_conventions_have_a_name_of_their_own_for_a_provider() -> None:
    """As its adapter says."""
    ears = Ears()
    observer = Observer(ears.telemetry, [Route(adapter=ttsmux.XAI())])
    with pytest.raises(KeyError), observer.speaking({}):
        raise KeyError
    assert attributes(ears.span())["gen_ai.provider.name"] == "x_ai"


class Faulty(SpanProcessor):
    """A program's own, which has a bad day."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if "start" in self.when:
            raise OSError("no room")

    def on_end(self, span: ReadableSpan) -> None:
        if "end" in self.when:
            raise OSError("no room")

    def __init__(self, when: str) -> None:
        self.when = when


def spoken_with(faulty: Faulty) -> Followed:
    """Return a client that has said something to its end, whatever its telemetry did."""
    harness = Followed(ears=Ears(faulty))
    speech = harness.say_something()
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    harness.finish(speech)
    return harness


@pytest.mark.parametrize("when", ["start", "end"])
def test_a_fault_of_telemetry_is_not_that_of_the_speech(
    when: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; what is said is said."""
    caplog.set_level(logging.DEBUG, "ttsmux")
    harness = spoken_with(Faulty(when))
    faults = [r for r in caplog.records if r.getMessage() == "client.fault"]
    assert [vars(fault)["error"] for fault in faults] == ["OSError"]
    assert not harness.observer._followed


@pytest.mark.parametrize("when", ["start", "end"])
def test_nor_is_one_of_telemetry_and_the_logs_at_once(when: str) -> None:
    """Whom a fault is told of may be at fault, too."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())
            raise OSError("no room")

    told: list[str] = []
    handler = Full(logging.WARNING)
    logging.getLogger("ttsmux").addHandler(handler)
    try:
        harness = spoken_with(Faulty(when))
    finally:
        logging.getLogger("ttsmux").removeHandler(handler)
    assert told == ["client.fault"]
    assert not harness.observer._followed


class Once(SpanProcessor):
    """One that raises the first time that a span ends."""

    def __init__(self, error: BaseException) -> None:
        self.errors = [error]

    def on_end(self, span: ReadableSpan) -> None:
        if self.errors:
            raise self.errors.pop()


def test_a_fault_of_telemetry_is_that_of_one_span() -> None:
    """Those that end in the same step end all the same."""
    harness = Followed(ears=Ears(Once(OSError("no room"))))
    for _ in range(3):
        harness.say_something(None)
    harness.close()
    assert len(harness.ears.spans()) == 2
    assert not harness.observer._followed


def test_an_interrupt_in_telemetry_is_that_of_one_span() -> None:
    """Ctrl-C is let through, and nobody is forgotten over it."""
    harness = Followed(ears=Ears(Once(KeyboardInterrupt())))
    for _ in range(3):
        harness.say_something(None)
    with pytest.raises(KeyboardInterrupt):
        harness.close()
    assert len(harness.ears.spans()) == 2
    assert not harness.observer._followed


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_a_handler_of_logs_that_raises_ends_no_telemetry(kind: type[BaseException]) -> None:
    """Neither that of what it was told of, nor of what comes after; and it hears that, too."""
    heard: list[int] = []

    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(vars(record)["speech"])
            if len(heard) == 1:
                raise kind

    harness, handler = Followed(), Raises()
    for _ in range(3):
        harness.say_something(None)
    logging.getLogger("ttsmux").addHandler(handler)
    try:
        with pytest.raises(kind):
            harness.close()
    finally:
        logging.getLogger("ttsmux").removeHandler(handler)
    assert heard == [1, 2, 3]
    assert len(harness.ears.spans()) == 3
    assert not harness.observer._followed


@pytest.mark.parametrize("at", [0, 7])
def test_a_handler_of_logs_that_always_raises(at: int) -> None:
    """Of however many events; the first fault is told, but for a Ctrl-C, which none may hide."""
    heard: list[int] = []

    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(vars(record)["speech"])
            raise KeyboardInterrupt if at and len(heard) == at else OSError(f"no {len(heard)}")

    harness, handler = Followed(), Raises()
    many = [Event("speech.failed", {"speech": number}) for number in range(1000)]
    logging.getLogger("ttsmux").addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt if at else OSError) as caught:
            harness.observer.tell(harness.mux, many)
    finally:
        logging.getLogger("ttsmux").removeHandler(handler)
    assert heard == [*range(1000)]
    assert at or str(caught.value) == "no 1"


# --- when -----------------------------------------------------------------------------------------


def test_telemetry_that_is_no_telemetry_is_refused() -> None:
    """At once, and in words."""
    with pytest.raises(ttsmux.WrongType, match="takes a Telemetry, True, False or None"):
        ttsmux.Client("xai", api_key=KEY, telemetry="yes")  # type: ignore[arg-type]
    with pytest.raises(ttsmux.WrongType, match="tracer_provider"):
        ttsmux.Telemetry(tracer_provider=MeterProvider())
    with pytest.raises(ttsmux.WrongType, match="meter_provider"):
        ttsmux.Telemetry(meter_provider=TracerProvider())
    assert repr(ttsmux.Telemetry()) == "<Telemetry>"


def test_telemetry_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the name of what to install."""
    monkeypatch.setattr(otel, "find_spec", lambda name: None)
    for make in (ttsmux.Telemetry, lambda: ttsmux.Client("xai", api_key=KEY, telemetry=True)):
        with pytest.raises(ttsmux.ConfigError, match=r"ttsmux\[otel\]"):
            make()


SPEAK = """
import sys
import ttsmux
client = ttsmux.Client("xai", api_key="key", base_url=sys.argv[1], telemetry=TELEMETRY)
def speak():
    client.speak("Hello there.").read()
    return len(exporter.get_finished_spans()) if "exporter" in globals() else 0
"""
SET = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""
SET_METERS = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
"""
IMPORTED = 'print(any(name.startswith("opentelemetry") for name in sys.modules))'
HEARD = "print(speak())"
MEASURED = "speak(); print(reader.get_metrics_data() is not None)"


@pytest.mark.parametrize(
    ("telemetry", "program", "said"),
    [
        # Nobody asked for it: it is not even looked for.
        ("None", [SPEAK, HEARD, IMPORTED], ["0", "False"]),
        # Imported by somebody, as a library may, and not set.
        ("None", ["import opentelemetry.trace, opentelemetry.metrics", SPEAK, HEARD], ["0"]),
        # Set before, and after the client was made.
        ("None", [SET, SPEAK, HEARD], ["1"]),
        ("None", [SPEAK, HEARD, SET, HEARD], ["0", "1"]),
        ("None", [SPEAK, "speak()", SET_METERS, MEASURED], ["True"]),
        ("False", [SET, SPEAK, HEARD], ["0"]),
        # Asked for: what is set later is told of all the same.
        ("True", [SPEAK, HEARD, IMPORTED, SET, HEARD], ["0", "True", "1"]),
    ],
)
def test_what_a_program_has_set_is_used(
    telemetry: str, program: list[str], said: list[str]
) -> None:
    """If it has, and unless it says something else."""
    code = "\n".join(program).replace("TELEMETRY", telemetry) + "\nclient.close()"
    with Simulator("xai", engine="tone") as sim:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, sim.url],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert (done.stdout.split(), done.stderr) == (said, "")


# --- both faces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_span_of_a_speech_is_below_what_was_current(runtime: str) -> None:
    """Where `speak()` was called, be it ended where it may; and it is current nowhere itself."""
    ears = Ears()
    tracer = ears.tracers.get_tracer("test")
    current: list[object] = []

    async def script(w: World) -> None:
        with tracer.start_as_current_span("turn"):
            first = w.speak("Hello there.")
            current.append(trace.get_current_span().get_span_context().span_id)
        second = w.speak("Goodbye now.")
        with tracer.start_as_current_span("other"):
            third = w.speak(w.source("And ", "more."))
        (await second.rest()).said()
        (await third.rest()).said("And more.")
        with tracer.start_as_current_span("elsewhere"):
            (await first.rest()).said()

    play(runtime, "gradium", script, client={"telemetry": ears.telemetry})
    [turn], [other] = ears.spans("turn"), ears.spans("other")
    parents = {span.parent and span.parent.span_id for span in ears.spans()}
    assert turn.context is not None and other.context is not None
    assert parents == {turn.context.span_id, other.context.span_id, None}
    assert current == [turn.context.span_id]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_task_has_its_own_span_above(runtime: str) -> None:
    """At once, and in no order."""
    ears = Ears()
    tracer = ears.tracers.get_tracer("test")

    async def script(w: World) -> None:
        async def turn(n: int) -> None:
            with tracer.start_as_current_span(f"turn {n}"):
                await w.speak(f"Number {n} speaks.").rest()

        await w.together(*(turn(n) for n in range(4)))

    play(runtime, "elevenlabs", script, client={"telemetry": ears.telemetry})
    above = {span.parent.span_id for span in ears.spans() if span.parent is not None}
    assert above == {span.context.span_id for span in ears.spans("turn") if span.context}
    assert len(above) == len(ears.spans()) == 4


TEXT = "nightingale"
RESET, CUT = "reset@request:1,chunk:0", "close=1011@request:1,chunk:2"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("provider", ["elevenlabs", "gradium", "kugelaudio", "sm", "xai"])
@pytest.mark.parametrize("faults", [[], [RESET], [CUT], ["status=401"]])
def test_neither_a_text_nor_a_key_is_told(runtime: str, provider: str, faults: list[str]) -> None:
    """Of no speech, whatever its end; not even in the words of a source that fails."""
    ears = Ears()
    explained: list[str] = []

    async def script(w: World) -> None:
        await w.speak(f"{TEXT} one").rest()
        await w.speak(w.source(f"{TEXT} two. ", ValueError(TEXT))).rest()
        take = w.speak(f"{TEXT} {LONG}")
        await take.chunk()
        take.interrupt()
        explained.extend(one.speech.explain() for one in w.takes)

    retry = ttsmux.RetryPolicy(attempts=2, base=0.001)
    settings = {"telemetry": ears.telemetry, "retry": retry}
    play(runtime, provider, script, client=settings, faults=faults)
    said = "\n".join([ears.all_said(), *explained])
    assert TEXT not in said and KEY not in said
    assert len(ears.spans()) == len(explained) == 3
    names = [
        event["name"] for span in ears.spans() for event in json.loads(span.to_json())["events"]
    ]
    if faults != [CUT]:  # whether anything was heard by then is chance
        assert ("speech.retried" in names) == (faults == [RESET])
        outcomes = [attributes(span)["ttsmux.outcome"] for span in ears.spans()]
        assert ("completed" in outcomes) == (faults in ([], [RESET]))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_dial_that_nobody_waits_for_is_measured_too(runtime: str) -> None:
    """As every connection is."""
    ears = Ears()

    async def script(w: World) -> None:
        await w.prewarm(2)

    play(runtime, "xai", script, client={"telemetry": ears.telemetry})
    [point] = ears.histograms()["ttsmux.client.connection.create_time"]
    assert point.count == 2 and point.attributes == {"gen_ai.provider.name": "x_ai"}
