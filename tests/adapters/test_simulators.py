"""
The adapters and the simulators, written from the same pages by different hands, meet.

What the adapter sends is what the transcripts have on the client's side, and what the simulator
answers is decoded by the adapter. Nothing else is between them but a plain WebSocket.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests._gate import Gate
from tests.adapters.wire import begin, facts, failure, finish
from ttsmux.adapter import (
    Adapter,
    Audio,
    CancelAck,
    Closed,
    DialFailure,
    Failed,
    Frame,
    Generation,
    Marks,
    Note,
    OutputEnd,
    Ready,
    Released,
    Scope,
    Signal,
    Verdict,
    Wire,
)
from ttsmux.adapters.elevenlabs import ElevenLabs
from ttsmux.adapters.gradium import Gradium
from ttsmux.adapters.kugelaudio import KugelAudio
from ttsmux.adapters.sm import SM
from ttsmux.adapters.xai import XAI
from ttsmux.client.sync import Client
from ttsmux.errors import (
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    ConnectionLost,
    Error,
    GenerationError,
    HandshakeError,
    InvalidText,
    InvalidVoice,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RemoteProtocolError,
)
from ttsmux.settings import PoolLimits, RetryPolicy
from ttsmux.simulate import PROVIDERS, Simulator
from ttsmux.simulate.engines.tone import decode_text
from ttsmux.simulate.log import Record

TIMEOUT = 30.0
KEY = "a-secret-api-key"
VOICE = "YTpq7expH9539ERJ"
STORY = "It is a long story that begins in a small town by the sea " * 20


class Line:
    """One connection: an adapter's frames go out, its signals come in."""

    def __init__(self, ws: ClientConnection, adapter: Adapter) -> None:
        self.ws = ws
        self.adapter = adapter
        self.wire = Wire(adapter.options())
        self.heard: list[Signal] = []

    def say(self, *parts: Iterable[Frame]) -> None:
        for part in parts:
            for frame in part:
                self.ws.send(frame)

    def hear(self) -> list[Signal]:
        """What the next message means."""
        data = self.ws.recv(TIMEOUT)
        if isinstance(data, bytes):
            signals = list(self.adapter.decode_binary(data, self.wire))
        else:
            signals = list(self.adapter.decode(data.encode(), self.wire))
        self.heard += signals
        return signals

    def until(self, *wanted: Signal | type[Signal]) -> list[Signal]:
        """Everything up to the message with which the last of *wanted* has come."""
        left, signals = list(wanted), list[Signal]()
        while left:
            signals += self.hear()
            left = [one for one in left if not any(_is(signal, one) for signal in signals)]
        return signals

    def closed(self) -> tuple[list[Signal], Closed]:
        """Read to the end; what came, and how the connection ended."""
        signals: list[Signal] = []
        try:
            while True:
                signals += self.hear()
        except ConnectionClosed as exc:
            frame = exc.rcvd
            return signals, Closed(frame.code, frame.reason) if frame else Closed()


def _is(signal: Signal, wanted: Signal | type[Signal]) -> bool:
    return isinstance(signal, wanted) if isinstance(wanted, type) else signal == wanted


@contextmanager
def dial(sim: Simulator, adapter: Adapter, key: str | None = KEY) -> Iterator[Line]:
    shake = adapter.handshake(adapter.options(), key)
    url = urlsplit(shake.url)
    with connect(
        f"{sim.url}{url.path}" + (f"?{url.query}" if url.query else ""),
        additional_headers=dict(shake.headers),
        proxy=None,
        compression=None,
        ping_interval=None,
        open_timeout=TIMEOUT,
        close_timeout=1,
    ) as ws:
        yield Line(ws, adapter)


def refused(sim: Simulator, adapter: Adapter, key: str | None = KEY) -> Verdict:
    """The adapter's verdict on an upgrade that fails."""
    with pytest.raises(InvalidStatus) as caught, dial(sim, adapter, key):
        pass
    response = caught.value.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    body = bytes(response.body or b"").decode()
    failed = DialFailure(status=response.status_code, headers=headers, body=body)
    return adapter.verdict(failed, busy=False)


def data(signals: Iterable[Signal], id: str | None = None) -> bytes:
    return b"".join(s.data for s in signals if isinstance(s, Audio) and s.id == id)


def spoken(signals: Iterable[Signal], id: str | None = None, rate: int = 24000) -> str:
    return decode_text(data(signals, id), rate)


def marked(signals: Iterable[Signal], id: str | None = None) -> str:
    """The words of the marks, which must follow one another in time."""
    units = [unit for s in signals if isinstance(s, Marks) and s.id == id for unit in s.units]
    starts = [start for _, start, _ in units]
    assert starts == sorted(starts)
    assert all(start <= stop for _, start, stop in units)
    return " ".join(text for text, _, _ in units)


def violations(sim: Simulator) -> list[object]:
    return [record["message"] for record in sim.log if record["event"] == "violation"]


def whole(adapter: Adapter, gen: Generation, *pieces: str) -> list[Frame]:
    """A generation from its opening to its end, both steps of it."""
    texts = [frame for piece in pieces for frame in adapter.text(gen, piece)]
    end = [*finish(adapter, gen), *adapter.release(gen)]
    return [*adapter.open(gen), *texts, *end]


# --- Gradium --------------------------------------------------------------------------------------

gradium = Gradium(voice=VOICE)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator("gradium") as sim:
        yield sim


def test_gradium_one_generation(sim: Simulator) -> None:
    """
    Setup and text before ready, more text after it, the end: ready, words and audio, the end.

    On a socket of its own; it stays open, as our setup asks for.
    """
    gen = begin(gradium)
    with dial(sim, gradium) as line:
        line.say(gradium.open(gen), gradium.text(gen, "Good evening,"))
        assert line.hear() == [Note("ready", gen.id)]
        line.say(gradium.text(gen, "welcome back."), finish(gradium, gen))
        signals = line.until(OutputEnd(gen.id))
        assert spoken(signals, gen.id) == marked(signals, gen.id) == "Good evening, welcome back."
        assert {type(signal) for signal in signals} == {Audio, Marks, OutputEnd}
        again = begin(gradium, "h-8042")
        line.say(whole(gradium, again, "Still here."))
        assert spoken(line.until(OutputEnd(again.id)), again.id) == "Still here."
    assert violations(sim) == []


def test_gradium_two_interleaved_generations(sim: Simulator) -> None:
    """Each by its id, from another voice; then the untagged end that we leave to a plain close."""
    other = Gradium(voice="LFZvm12tW_z0xfGo")
    a, b = begin(gradium, "a1"), begin(other, "b2")
    with dial(sim, gradium) as line:
        line.say(gradium.open(a), gradium.text(a, "First answer."))
        line.say(other.open(b), other.text(b, "Second answer."))
        while not data(line.heard, "b2"):
            line.hear()
        line.say(gradium.text(a, "And more."), finish(gradium, a), finish(other, b))
        line.until(OutputEnd("a1"), OutputEnd("b2"))
        signals = line.heard
        assert spoken(signals, "a1") == marked(signals, "a1") == "First answer. And more."
        assert spoken(signals, "b2") == marked(signals, "b2") == "Second answer."
        order = [signal.id for signal in signals if isinstance(signal, Audio)]
        assert "a1" in order[order.index("b2") :], "they were interleaved"
        assert Note("ready", "a1") in signals and Note("ready", "b2") in signals
        line.say(['{"type":"end_of_stream"}'])
        assert line.closed() == ([], Closed(1000, ""))
    voices = [record["voice"] for record in sim.log if record["event"] == "generation"]
    assert voices == [VOICE, "LFZvm12tW_z0xfGo"]
    assert violations(sim) == []


def test_gradium_an_unknown_voice_beside_a_generation_that_speaks(sim: Simulator) -> None:
    """The error has its id; the neighbour is heard to its end; then the server closes."""
    unknown = Gradium(voice="nope")
    speaking, failing = begin(gradium, "d4"), begin(unknown, "c3")
    with dial(sim, gradium) as line:
        line.say(gradium.open(speaking), gradium.text(speaking, STORY))
        line.say(unknown.open(failing), unknown.text(failing, "Lost."), unknown.end(failing))
        failed = failure(line.until(Failed)[-1])
        verdict = gradium.verdict(failed, busy=True)
        assert (failed.id, verdict.scope) == ("c3", Scope.TAINT)
        assert facts(verdict.error) == (NotFoundError, False, "Embeddings not found for nope")
        line.say(finish(gradium, speaking))
        rest, closed = line.closed()
        assert OutputEnd("d4") in rest
        assert spoken(line.heard, "d4") == STORY.strip()
        assert closed.code == 1011
        assert gradium.verdict(closed, busy=False).scope is Scope.NOTHING


@pytest.mark.parametrize("checked", ["open", "setup"])
def test_gradium_a_bad_key(checked: str) -> None:
    """After the upgrade: an error without an id, then close 1008; both are AuthError."""
    with (
        Simulator("gradium", key="right", key_checked=checked) as sim,
        dial(sim, gradium) as line,
    ):
        if checked == "setup":
            line.say(gradium.open(begin(gradium, "e5")))
        signals, closed = line.closed()
        (failed,) = map(failure, signals)
        assert failed.id is None
        for fault in (failed, closed):
            verdict = gradium.verdict(fault, busy=True)
            assert verdict.scope is Scope.CONNECTION
            assert (type(verdict.error), verdict.error.retryable) == (AuthError, False)
        assert closed.code == 1008


def test_gradium_an_interruption() -> None:
    """The interrupted one goes on under its id to its end, beside the next one."""
    with Simulator("gradium", rtf=0.02) as sim, dial(sim, gradium) as line:
        f, g = begin(gradium, "f6"), begin(gradium, "g7")
        story = STORY[:600].strip()
        line.say(gradium.open(f), gradium.text(f, story))
        line.until(Audio)
        line.say(gradium.interrupt(f), whole(gradium, g, "Of course."))
        signals = line.until(OutputEnd("g7"), OutputEnd("f6"))
        assert spoken(signals, "g7") == "Of course."
        assert data(signals, "f6"), "late audio came, and said whose it was"
        assert spoken(line.heard, "f6") == story, "there is no cancel"
        assert violations(sim) == []


def test_gradium_an_interruption_after_the_end(sim: Simulator) -> None:
    """Nothing is sent, and nothing is held against us."""
    gen = begin(gradium)
    with dial(sim, gradium) as line:
        line.say(whole(gradium, gen, STORY), gradium.interrupt(gen))
        line.until(OutputEnd(gen.id))
    assert violations(sim) == []


def test_gradium_id_field(sim: Simulator) -> None:
    """The blog post's name of the id is spoken and understood."""
    adapter = Gradium(voice=VOICE, id_field="client_request_id")
    a, b = begin(adapter, "a1"), begin(adapter, "b2")
    with dial(sim, adapter) as line:
        line.say(adapter.open(a), adapter.open(b), adapter.text(b, "Two."), adapter.text(a, "One."))
        line.say(finish(adapter, a), finish(adapter, b))
        signals = line.until(OutputEnd("a1"), OutputEnd("b2"))
        assert (spoken(signals, "a1"), spoken(signals, "b2")) == ("One.", "Two.")
    assert violations(sim) == []


def test_gradium_flush_and_messages_that_mean_nothing_to_us() -> None:
    """A flush has everything so far spoken; what the server says about it is noted, no more."""
    gen = begin(gradium)
    with Simulator("gradium", extra_events=True) as sim, dial(sim, gradium) as line:
        line.say(gradium.open(gen), gradium.text(gen, "Shall I book it?"), gradium.flush(gen))
        signals = line.until(Note("flushed", gen.id))
        assert spoken(signals, gen.id) == "Shall I book it?"
        line.until(Note("need_more_text", gen.id))
        line.say(gradium.text(gen, "More."), finish(gradium, gen))
        assert spoken(line.until(OutputEnd(gen.id)), gen.id) == "More."
    assert violations(sim) == []


def test_gradium_settings_are_accepted() -> None:
    """json_config as a string, a dictionary, a wait for workers, a model."""
    adapter = Gradium(
        voice=VOICE,
        model="gradium-tts-beta",
        padding_bonus=-1.0,
        temp=0.7,
        cfg_coef=2.0,
        rewrite_rules="en",
        pronunciation_id="p1",
        retry_for_s=5,
    )
    gen = begin(adapter)
    with Simulator("gradium", pronunciations=["p1"]) as sim, dial(sim, adapter) as line:
        line.say(whole(adapter, gen, "All set."))
        assert spoken(line.until(OutputEnd(gen.id)), gen.id) == "All set."
        assert violations(sim) == []


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"pronunciation_id": "p9"}, NotFoundError),
        ({"temp": 1.6}, GenerationError),
        ({"cfg_coef": 0.5}, GenerationError),
        ({"padding_bonus": -5.5}, GenerationError),
    ],
)
def test_gradium_settings_that_are_refused(
    sim: Simulator, options: dict[str, object], kind: type[Error]
) -> None:
    """With the id of their generation, and never worth a retry."""
    adapter = Gradium(voice=VOICE, **options)  # type: ignore[arg-type]
    with dial(sim, adapter) as line:
        line.say(adapter.open(begin(adapter, "x1")))
        failed = failure(line.until(Failed)[-1])
        assert failed.id == "x1"
        assert (type(failed.error), failed.error.retryable) == (kind, False)


@pytest.mark.parametrize(
    ("format", "rate"),
    [(f"pcm_{rate}", rate) for rate in (8000, 16000, 22050, 24000, 44100, 48000)],
)
def test_gradium_formats(sim: Simulator, format: str, rate: int) -> None:
    """What was asked for is what comes, at the rate of its name."""
    adapter = Gradium(voice=VOICE, format=format)
    gen = begin(adapter)
    with dial(sim, adapter) as line:
        line.say(whole(adapter, gen, "Hello."))
        assert spoken(line.until(OutputEnd(gen.id)), gen.id, rate) == "Hello."


IN_JSON = [provider for provider in PROVIDERS if provider != "sm"]
"""Those whose audio is text, and which have the formats of telephones."""


@pytest.mark.parametrize("format", ["mulaw_8000", "alaw_8000"])
@pytest.mark.parametrize("provider", IN_JSON)
def test_telephone_formats(provider: str, format: str) -> None:
    """Half as many bytes as PCM of the same rate, for the same words."""
    sizes = []
    for name in (format, "pcm_8000"):
        adapter = make(provider, format=name)
        gen = begin(adapter)
        with Simulator(provider) as sim, dial(sim, adapter) as line:
            line.say(whole(adapter, gen, "Hello."))
            signals = line.until(end_of(adapter))
            sizes.append(len(data(signals, gen.id if adapter.tuned().ids else None)))
    assert sizes[0] * 2 == sizes[1] > 0


def make(provider: str, **options: object) -> Adapter:
    if provider == "gradium":
        return Gradium(**{"voice": VOICE, **options})  # type: ignore[arg-type]
    if provider == "elevenlabs":
        return ElevenLabs(**{"voice": VOICE, **options})  # type: ignore[arg-type]
    if provider == "kugelaudio":
        return KugelAudio(**{"voice": VOICE, **options})  # type: ignore[arg-type]
    if provider == "sm":
        return SM(**{"format": "pcm_24000", **options})  # type: ignore[arg-type]
    return XAI(**options)  # type: ignore[arg-type]


def end_of(adapter: Adapter) -> type[Signal]:
    """Return what tells that a generation's audio is over."""
    multi = isinstance(adapter, KugelAudio) and adapter.endpoint == "multi"
    return Released if multi else OutputEnd


def test_gradium_words_without_stops_and_after_their_audio() -> None:
    """The start stands in for the stop."""
    gen = begin(gradium)
    with (
        Simulator("gradium", words="after", word_stops=False) as sim,
        dial(sim, gradium) as line,
    ):
        line.say(whole(gradium, gen, "One two three."))
        signals = line.until(OutputEnd(gen.id))
        assert marked(signals, gen.id) == "One two three."
        units = [unit for s in signals if isinstance(s, Marks) for unit in s.units]
        assert all(start == stop for _, start, stop in units)


def test_gradium_concurrency_limit() -> None:
    """However it is reported, it says to come back soon."""
    gen = begin(gradium)
    with Simulator("gradium", concurrency_refusals=1) as sim:
        with dial(sim, gradium) as line:
            line.say(gradium.open(gen))
            signals, closed = line.closed()
            faults: list[Failed | Closed] = [failure(signals[-1]), closed]
            for fault in faults:
                error = gradium.verdict(fault, busy=True).error
                assert (type(error), error.retryable) == (ConcurrencyLimitError, True)
                assert error.retry_after == 0.35
        with dial(sim, gradium) as line:
            line.say(whole(gradium, gen, "Now."))
            assert spoken(line.until(OutputEnd(gen.id)), gen.id) == "Now."


@pytest.mark.parametrize("code", [1002, 1008, 1011, None])
@pytest.mark.parametrize("tagged", [True, False])
def test_gradium_errors_with_and_without_code_and_id(code: int | None, tagged: bool) -> None:
    """Retryable only if it may be the server's own trouble; with an id the others go on."""
    gen = begin(gradium)
    with (
        Simulator("gradium", faults=["error"], error_code=code, error_id=tagged) as sim,
        dial(sim, gradium) as line,
    ):
        line.say(gradium.open(gen))
        failed = failure(line.until(Failed)[-1])
        verdict = gradium.verdict(failed, busy=True)
        assert failed.id == (gen.id if tagged else None)
        assert verdict.scope is (Scope.TAINT if tagged else Scope.CONNECTION)
        assert verdict.error.retryable is (code in (None, 1011))


# --- ElevenLabs -----------------------------------------------------------------------------------

eleven = ElevenLabs(voice=VOICE, stability=0.5, similarity_boost=0.75)


@contextmanager
def eleven_line(adapter: Adapter = eleven, **options: object) -> Iterator[Line]:
    with (
        Simulator("elevenlabs", **options) as sim,  # type: ignore[arg-type]
        dial(sim, adapter) as line,
    ):
        yield line
        assert violations(sim) == []


@pytest.mark.parametrize("id_field", ["contextId", "context_id"])
@pytest.mark.parametrize("final_field", ["isFinal", "is_final"])
def test_elevenlabs_one_generation(id_field: str, final_field: str) -> None:
    """The flush brings the audio, the close behind it the end; a second one follows."""
    with eleven_line(id_field=id_field, final_field=final_field) as line:
        for number in range(2):
            gen = begin(eleven, f"g{number}")
            line.say(eleven.open(gen), eleven.text(gen, "Hello there. "))
            line.say(eleven.text(gen, "How can I help? "), finish(eleven, gen))
            signals = line.until(Audio)
            line.say(eleven.release(gen))
            signals += line.until(OutputEnd(gen.id))
            said = "Hello there. How can I help?"
            assert spoken(signals, gen.id) == marked(signals, gen.id) == said


def test_elevenlabs_no_end_without_a_close() -> None:
    """The context stays open for as long as it is kept alive."""
    gen, other = begin(eleven, "g1"), begin(eleven, "g2")
    with eleven_line() as line:
        line.say(eleven.open(gen), eleven.text(gen, "Hello. "), finish(eleven, gen))
        line.say(eleven.keepalive(gen), whole(eleven, other, "Other. "))
        signals = line.until(OutputEnd("g2"))
        assert OutputEnd("g1") not in signals
        line.say(eleven.release(gen))
        line.until(OutputEnd("g1"))
        assert spoken(line.heard, "g1") == "Hello."
        line.say(eleven.shutdown())
        assert line.closed() == ([], Closed(1000, ""))


def test_elevenlabs_the_single_socket() -> None:
    """The empty text ends it, and then the server closes."""
    adapter = ElevenLabs(voice=VOICE, endpoint="single")
    gen = begin(adapter)
    with eleven_line(adapter) as line:
        line.say(adapter.open(gen), adapter.text(gen, "Hello "), adapter.keepalive(gen))
        line.say(adapter.flush(gen))
        early = line.until(Audio)
        line.say(adapter.text(gen, "there. "), finish(adapter, gen))
        signals, closed = line.closed()
        assert signals[-1] == OutputEnd() and closed == Closed(1000, "")
        assert spoken(line.heard) == marked(line.heard) == "Hello there." and early


def test_elevenlabs_two_interleaved_generations() -> None:
    """Each by its id, and each with a clock of its own."""
    a, b = begin(eleven, "g1"), begin(eleven, "g2")
    with eleven_line(rtf=0.01) as line:
        for gen, said in ((a, "Let me check that for you. "), (b, "Meanwhile, a summary. ")):
            line.say(eleven.open(gen), eleven.text(gen, said), finish(eleven, gen))
        while not (data(line.heard, "g1") and data(line.heard, "g2")):
            line.hear()
        line.say(eleven.release(a), eleven.release(b))
        line.until(OutputEnd("g1"), OutputEnd("g2"))
        for id, said in (("g1", "Let me check that for you."), ("g2", "Meanwhile, a summary.")):
            assert spoken(line.heard, id) == marked(line.heard, id) == said


def test_elevenlabs_a_sixth_context() -> None:
    """Everything ends, and all of it is worth another try: those that close count as well."""
    with Simulator("elevenlabs", ttfa_ms=60_000) as sim, dial(sim, eleven) as line:
        for number in range(6):
            gen = begin(eleven, f"g{number}")
            with suppress(ConnectionClosed):  # at the sixth it may be gone before all is sent
                line.say(eleven.open(gen), eleven.text(gen, "Hello. "), eleven.flush(gen))
                line.say(eleven.interrupt(gen))
        signals, closed = line.closed()
        failed = failure(signals[-1])
        for verdict in (eleven.verdict(failed, busy=True), eleven.verdict(closed, busy=True)):
            assert verdict.scope is Scope.CONNECTION and verdict.error.retryable
        assert closed.code == 1008


@pytest.mark.parametrize("idle", ["context", "socket"])
def test_elevenlabs_quiet(idle: str) -> None:
    """A context that hears nothing ends, or the socket does; one without contexts always."""
    adapter = ElevenLabs(voice=VOICE, inactivity_timeout=1)
    gen = begin(adapter)
    with eleven_line(adapter, idle=idle) as line:
        line.say(adapter.open(gen), adapter.text(gen, "Hello. "))
        signals, closed = line.closed()
        assert (OutputEnd(gen.id) in signals) is (idle == "context")
        for fault in (failure(signals[-1]), closed):
            assert adapter.verdict(fault, busy=False).scope is Scope.NOTHING
            assert adapter.verdict(fault, busy=True).error.retryable


@pytest.mark.parametrize("race", ["empty", "silent"])
def test_elevenlabs_a_close_that_overtakes_its_text(race: str) -> None:
    """The end comes without audio, or nothing comes; a neighbour is not concerned."""
    gen, other = begin(eleven, "g1"), begin(eleven, "g2")
    with eleven_line(race_ms=5000, race=race, ttfa_ms=20) as line:
        line.say(whole(eleven, gen, "Lost. "))
        line.say(eleven.open(other), eleven.text(other, "Heard. "), finish(eleven, other))
        line.until(Audio)
        line.say(eleven.release(other))
        signals = line.until(OutputEnd("g2"))
        assert data(line.heard, "g1") == b""
        assert (OutputEnd("g1") in line.heard) is (race == "empty")
        assert signals


@pytest.mark.parametrize("endpoint", ["multi", "single"])
@pytest.mark.parametrize(
    "text",
    [
        "One two three.",
        "One two three. \n",
        ["One ", "two", " three."],
        ["One two ", "three.", " "],
    ],
    ids=["whole", "space behind it", "pieces", "space as a piece"],
)
def test_elevenlabs_a_text_of_just_the_limit(endpoint: str, text: str | list[str]) -> None:
    """Both take it, whatever space is put behind it; one character more is never sent."""
    most = len("One two three.")
    adapter = ElevenLabs(voice="any", endpoint=endpoint, max_characters=most)  # type: ignore[arg-type]
    with (
        Simulator("elevenlabs", max_characters=most) as sim,
        Client(adapter, base_url=sim.url, api_key=KEY) as client,
    ):
        assert decode_text(client.speak(text).read(), 24000) == "One two three."
        with pytest.raises(InvalidText, match=f"a speech has {most} characters at most here"):
            client.speak("One two, three.").read()
        assert violations(sim) == []


def test_elevenlabs_an_interruption() -> None:
    """Late audio comes under its id to its end, beside the next one."""
    f, g = begin(eleven, "g1"), begin(eleven, "g2")
    gate, story = Gate("long"), "Once upon a time. It is a long story by the sea."
    with eleven_line(engine=gate) as line:
        line.say(eleven.open(f), eleven.text(f, f"{story} "), eleven.flush(f))
        line.until(Audio)
        line.say(eleven.interrupt(f), eleven.open(g), eleven.text(g, "Of course. "))
        line.say(finish(eleven, g))
        while not data(line.heard, "g2"):
            line.hear()
        gate.open.set()
        line.say(eleven.release(g))
        signals = line.until(OutputEnd("g1"), OutputEnd("g2"))
        assert spoken(line.heard, "g2") == "Of course."
        assert data(signals, "g1") and spoken(line.heard, "g1") == story


@pytest.mark.parametrize(
    ("timing", "restarts"), [("first", False), ("first", True), ("each", False)]
)
@pytest.mark.parametrize("spelling", ["charDurationsMs", "charsDurationsMs"])
@pytest.mark.parametrize("dictionaries", [True, False])
def test_elevenlabs_times(timing: str, spelling: str, restarts: bool, dictionaries: bool) -> None:
    """Words in order and once, wherever and however their times come."""
    adapter = ElevenLabs(
        voice=VOICE, pronunciation_dictionaries=[("a", "1")] if dictionaries else []
    )
    gen = begin(adapter)
    with eleven_line(adapter, timing=timing, spelling=spelling, restarts=restarts) as line:
        line.say(adapter.open(gen), adapter.text(gen, "One two three. "), adapter.flush(gen))
        line.say(adapter.text(gen, "Four five. "), adapter.end(gen), adapter.release(gen))
        signals = line.until(OutputEnd(gen.id))
        assert spoken(signals, gen.id) == "One two three. Four five."
        assert marked(signals, gen.id) == "One two three. Four five."


def test_elevenlabs_messages_without_an_id() -> None:
    """They are handed on as such; whose they are is the core's to know."""
    gen = begin(eleven)
    with eleven_line(id_field="none") as line:
        line.say(whole(eleven, gen, "Hello. "))
        assert spoken(line.until(OutputEnd())) == "Hello."


def test_elevenlabs_settings_are_accepted() -> None:
    """Every option at once, on both sockets."""
    for endpoint in ("multi", "single"):
        adapter = make(
            "elevenlabs",
            endpoint=endpoint,
            model="eleven_turbo_v2_5",
            language="pt",
            stability=0.3,
            similarity_boost=1,
            style=0,
            use_speaker_boost=True,
            speed=1.2,
            chunk_length_schedule=[50, 120.5],
            pronunciation_dictionaries=[("a", "1"), ("b", "2")],
            auto_mode=True,
            seed=5,
            enable_logging=False,
            enable_ssml_parsing=True,
            apply_text_normalization="off",
            apply_language_text_normalization=True,
            inactivity_timeout=60,
        )
        gen = begin(adapter)
        with eleven_line(adapter) as line:
            line.say(whole(adapter, gen, "All set.", " Really."))
            signals = line.until(OutputEnd)
            id = gen.id if endpoint == "multi" else None
            assert spoken(signals, id) == marked(signals, id) == "All set. Really."


@pytest.mark.parametrize("shape", ["code", "status", "list"])
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"voice": "nope"}, NotFoundError),
        ({"model": "eleven_mono_v0"}, ConfigError),
    ],
)
def test_elevenlabs_settings_that_are_refused(
    options: dict[str, object], kind: type[Error], shape: str
) -> None:
    """At the upgrade, whatever the body looks like."""
    with Simulator("elevenlabs", error_shape=shape) as sim:
        verdict = refused(sim, make("elevenlabs", **options))
    assert (type(verdict.error), verdict.error.retryable) == (kind, False)
    assert "detail" not in verdict.error.message


@pytest.mark.parametrize("checked", ["upgrade", "open"])
def test_elevenlabs_a_bad_key(checked: str) -> None:
    """401, or an error and close 1008 after the upgrade."""
    with Simulator("elevenlabs", key="right", key_checked=checked) as sim:
        if checked == "upgrade":
            assert isinstance(refused(sim, eleven).error, AuthError)
            return
        with dial(sim, eleven) as line:
            signals, closed = line.closed()
            for fault in (failure(signals[0]), closed):
                assert isinstance(eleven.verdict(fault, busy=False).error, AuthError)


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [("quota_exceeded", QuotaError, False), ("internal_error", GenerationError, True)],
)
@pytest.mark.parametrize("tagged", [True, False])
def test_elevenlabs_errors(error: str, kind: type[Error], retryable: bool, tagged: bool) -> None:
    """With an id the others go on, without one nobody does."""
    gen = begin(eleven)
    with (
        Simulator("elevenlabs", faults=["error"], error=error, error_id=tagged) as sim,
        dial(sim, eleven) as line,
    ):
        line.say(eleven.open(gen))
        failed = failure(line.until(Failed)[-1])
        verdict = eleven.verdict(failed, busy=True)
        assert verdict.scope is (Scope.TAINT if tagged else Scope.CONNECTION)
        assert (type(verdict.error), verdict.error.retryable) == (kind, retryable)


def asked(sim: Simulator, adapter: Adapter, said: str) -> list[Signal] | DialFailure:
    """A request as the HTTP transport sends it, its answer cut as the network likes."""
    shake = adapter.handshake(adapter.options(), KEY)
    url = urlsplit(shake.url)
    (frame,) = adapter.text(begin(adapter), said)
    client = HTTPConnection("127.0.0.1", sim.port, timeout=TIMEOUT)
    with closing(client):
        client.request("POST", f"{url.path}?{url.query}", frame, dict(shake.headers))
        answer = client.getresponse()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status != 200:
            body = answer.read().decode()
            return DialFailure(status=answer.status, headers=headers, body=body)
        wire = Wire(adapter.options())
        wire.headers = headers
        signals: list[Signal] = []
        while piece := answer.read(997):
            signals += adapter.decode_binary(piece, wire)
        return [*signals, *adapter.decode_binary(b"", wire)]


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("timing", ["first", "each"])
@pytest.mark.parametrize("format", ["pcm_24000", "pcm_16000"])
def test_elevenlabs_over_http(timed: bool, timing: str, format: str) -> None:
    """The same voice with the same settings; the end of the body is the end."""
    adapter = ElevenLabs(
        voice=VOICE,
        stability=0.5,
        language="fr",
        seed=1,
        apply_text_normalization="off",
        apply_language_text_normalization=True,
        enable_logging=False,
        pronunciation_dictionaries=[("a", "1")],
        with_timestamps=timed,
        format=format,
    ).rest()
    assert adapter is not None
    with Simulator("elevenlabs", timing=timing) as sim:
        signals = asked(sim, adapter, "Hello there, you.")
        assert isinstance(signals, list) and signals[-1] == OutputEnd()
        rate = adapter.options().format.rate
        assert spoken(signals, rate=rate) == "Hello there, you."
        assert marked(signals) == ("Hello there, you." if timed else "")
        assert violations(sim) == []


@pytest.mark.parametrize("way", ["status", "body"])
def test_elevenlabs_over_http_a_failure(way: str) -> None:
    """A status, or an error in the place of audio: worth another try."""
    adapter = ElevenLabs(voice=VOICE).rest()
    assert adapter is not None
    with Simulator("elevenlabs", faults=["error=No voice today"], http_error=way) as sim:
        found = asked(sim, adapter, "Hello.")
        fault = found if isinstance(found, DialFailure) else failure(found[0])
        verdict = adapter.verdict(fault, busy=True)
        assert verdict.scope is Scope.CONNECTION and verdict.error.retryable
        assert "No voice today" in verdict.error.message


@pytest.mark.parametrize(
    ("faults", "options", "kind", "wait"),
    [
        (["status=429;retry-after=2"], {}, RateLimitError, 2.0),
        ([], {"voice": "nope"}, NotFoundError, None),
        ([], {"model": "eleven_mono_v0"}, ConfigError, None),
    ],
)
def test_elevenlabs_over_http_a_refusal(
    faults: list[str], options: dict[str, object], kind: type[Error], wait: float | None
) -> None:
    adapter = make("elevenlabs", **options).rest()
    assert adapter is not None
    with Simulator("elevenlabs", faults=faults) as sim:
        found = asked(sim, adapter, "Hello.")
        assert isinstance(found, DialFailure)
        error = adapter.verdict(found, busy=True).error
        assert (type(error), error.retry_after) == (kind, wait)


def test_elevenlabs_a_message_of_two_megabytes() -> None:
    """One message may hold a minute of audio."""
    gen = begin(eleven)
    with (
        Simulator("elevenlabs", chunk_ms=60_000) as sim,
        connect(
            f"{sim.url}/v1/text-to-speech/{VOICE}/multi-stream-input?"
            "model_id=eleven_flash_v2_5&output_format=pcm_24000",
            proxy=None,
            compression=None,
            max_size=eleven.tuned().max_message,
        ) as ws,
    ):
        line = Line(ws, eleven)
        line.say(whole(eleven, gen, "hippopotamus " * 60))
        signals = line.until(OutputEnd)
        largest = max(len(s.data) for s in signals if isinstance(s, Audio))
        assert largest * 4 / 3 > 2 * 2**20
        assert spoken(signals, gen.id) == "hippopotamus " * 59 + "hippopotamus"


# --- xAI ------------------------------------------------------------------------------------------

xai = XAI(language="en")


@contextmanager
def xai_line(adapter: Adapter = xai, **options: object) -> Iterator[Line]:
    with Simulator("xai", **options) as sim, dial(sim, adapter) as line:  # type: ignore[arg-type]
        yield line
        assert violations(sim) == []


def test_xai_a_simple_generation() -> None:
    """Audio may come before text.done; audio.done ends it."""
    gen = begin(xai)
    with xai_line() as line:
        line.say(xai.open(gen), xai.text(gen, "Good morning. "), xai.text(gen, "How can I help?"))
        early = line.hear()
        assert [type(signal) for signal in early] == [Audio]
        line.say(finish(xai, gen))
        signals = early + line.until(OutputEnd())
        assert spoken(signals) == "Good morning. How can I help?"
        assert {type(signal) for signal in signals} == {Audio, OutputEnd}


def test_xai_nothing_before_the_end_of_text() -> None:
    """Another reading of the guide: synthesis starts at text.done."""
    gen = begin(xai)
    with xai_line(wait_for_done=True) as line:
        line.say(whole(xai, gen, "Good ", "morning."))
        assert spoken(line.until(OutputEnd())) == "Good morning."


def test_xai_two_generations_on_one_connection() -> None:
    """After audio.done the connection is the next one's."""
    with xai_line() as line:
        for number, said in enumerate(("First answer.", "Second answer.")):
            line.say(whole(xai, begin(xai, str(number) * 32), said))
            assert spoken(line.until(OutputEnd())) == said


@pytest.mark.parametrize(
    ("options", "kind", "retryable"),
    [
        ({"voice": "nobody"}, NotFoundError, False),
        ({"language": ""}, ConfigError, False),
        ({"language": "not a language"}, ConfigError, False),
    ],
)
def test_xai_settings_that_are_refused(
    options: dict[str, object], kind: type[Error], retryable: bool
) -> None:
    """At the handshake, with a status."""
    with Simulator("xai") as sim:
        verdict = refused(sim, XAI(**options))  # type: ignore[arg-type]
    assert verdict.scope is Scope.CONNECTION
    assert (type(verdict.error), verdict.error.retryable) == (kind, retryable)
    assert not isinstance(verdict.error, InvalidVoice)


def test_xai_keys_that_are_refused() -> None:
    """A wrong one, or none."""
    with Simulator("xai", key="right") as sim:
        for key in ("wrong", None):
            assert isinstance(refused(sim, xai, key).error, AuthError)


def test_xai_too_many_sessions() -> None:
    """429, worth another try."""
    with Simulator("xai", max_sessions=0) as sim:
        error = refused(sim, xai).error
        assert isinstance(error, RateLimitError) and error.retryable


def test_xai_settings_are_accepted() -> None:
    """Every parameter of the query at once."""
    adapter = XAI(
        voice="Ara",
        language="pt-BR",
        speed=1.25,
        optimize_streaming_latency=2,
        text_normalization=False,
        with_timestamps=True,
        format="pcm_16000",
    )
    with xai_line(adapter) as line:
        line.say(whole(adapter, begin(adapter), "Olá."))
        assert spoken(line.until(OutputEnd()), rate=16000) == "Olá."


@pytest.mark.parametrize("shape", ["message", "string", "object"])
def test_xai_a_bad_map_leaves_the_connection_open(shape: str) -> None:
    """
    An error that answers a setting while nobody speaks is heard by nobody.

    The update is written by hand: the adapter has no option for a map.
    """
    with Simulator("xai", error_shape=shape) as sim, dial(sim, xai) as line:
        line.say(['{"type":"session.update","replace":{"C++":"see plus plus"}}'])
        failed = failure(line.until(Failed)[-1])
        words = 'replace key "C++" may not contain punctuation or symbols'
        assert failed.error.message == words
        assert xai.verdict(failed, busy=False).scope is Scope.NOTHING
        line.say(['{"type":"session.update","replace":{"nginx":"engine x"}}'])
        assert line.hear() == [Note("session.updated")]
        line.say(whole(xai, begin(xai), "Still usable."))
        assert spoken(line.until(OutputEnd())) == "Still usable."


def test_xai_an_aged_connection() -> None:
    """The deadline error comes in place of audio, and a fresh connection is worth a try."""
    with xai_line(max_age=0.0) as line:
        line.say(whole(xai, begin(xai), "Hello again."))
        failed = failure(line.until(Failed)[-1])
        assert data(line.heard) == b""
        for busy in (True, False):
            verdict = xai.verdict(failed, busy)
            assert verdict.scope is Scope.AGE and verdict.error.retryable


@pytest.mark.parametrize("ended", [True, False])
def test_xai_an_interruption(ended: bool) -> None:
    """While the text still comes or after its end: late audio, the acknowledgement, the next."""
    gen = begin(xai)
    with xai_line(faults=["stall@request:1,chunk:2"]) as line:
        line.say(xai.text(gen, STORY), finish(xai, gen) if ended else ())
        line.until(Audio)
        line.say(xai.interrupt(gen))
        late = line.until(CancelAck())
        assert late[-1] == CancelAck() and OutputEnd() not in late
        line.say(whole(xai, begin(xai), "Sure, let me stop."))
        signals = line.until(OutputEnd())
        assert spoken(signals) == "Sure, let me stop.", "nothing of the old is left"
        assert {type(signal) for signal in signals} == {Audio, OutputEnd}


def test_xai_a_cancel_that_crosses_the_end() -> None:
    """audio.done first, then the acknowledgement; then the connection speaks again."""
    gen = begin(xai)
    with xai_line(faults=["late-ack@request:1=end"]) as line:
        line.say(whole(xai, gen, "Short."), xai.interrupt(gen))
        signals = line.until(CancelAck())
        ends = [signal for signal in signals if not isinstance(signal, Audio)]
        assert ends == [OutputEnd(), CancelAck()]
        line.say(whole(xai, begin(xai), "Again."))
        assert spoken(line.until(OutputEnd())) == "Again."


def test_xai_a_cancel_after_the_end() -> None:
    """With nothing in progress it is acknowledged at once."""
    with xai_line() as line:
        gen = begin(xai)
        line.say(whole(xai, gen, "Short."))
        line.until(OutputEnd())
        line.say(xai.interrupt(gen))
        assert line.hear() == [CancelAck()]


def test_xai_a_cancel_without_an_acknowledgement() -> None:
    """Old audio goes on to its end; no signal says that the connection is clean."""
    gen = begin(xai)
    with xai_line(faults=["no-ack"], ttfa_ms=50) as line:
        line.say(whole(xai, gen, "One two three."), xai.interrupt(gen))
        signals = line.until(OutputEnd())
        assert CancelAck() not in signals and spoken(signals) == "One two three."


@pytest.mark.parametrize("where", ["audio", "separate", "end"])
@pytest.mark.parametrize("shape", ["pairs", "objects"])
def test_xai_timestamps(where: str, shape: str) -> None:
    """Words are found wherever their times come, and in either shape."""
    adapter = XAI(with_timestamps=True)
    with xai_line(adapter, timestamps=where, timestamp_shape=shape) as line:
        for said in ("One two three.", "Four five."):
            line.say(whole(adapter, begin(adapter), said))
            signals = line.until(OutputEnd())
            assert spoken(signals) == marked(signals) == said
            assert isinstance(signals[-1], OutputEnd)


def test_xai_timestamps_that_do_not_match() -> None:
    """The audio is whole all the same."""
    adapter = XAI(with_timestamps=True)
    with xai_line(adapter, timestamp_shape="mismatch") as line:
        line.say(whole(adapter, begin(adapter), "One two three."))
        signals = line.until(OutputEnd())
        assert spoken(signals) == "One two three." and marked(signals) == ""


def test_xai_what_is_unknown_is_ignored() -> None:
    """A message of an unknown type, an end without a trace id."""
    with xai_line(unknown_events=True, trace_ids=False) as line:
        line.say(whole(xai, begin(xai), "Hello."))
        signals = line.until(OutputEnd())
        assert Note("unknown") in signals and spoken(signals) == "Hello."


# --- SM -------------------------------------------------------------------------------------------

sm = SM()


@contextmanager
def sm_line(adapter: SM = sm, key: str | None = KEY, **options: object) -> Iterator[Line]:
    with Simulator("sm", **options) as sim, dial(sim, adapter, key) as line:  # type: ignore[arg-type]
        yield line
        assert violations(sim) == []


def test_sm_two_requests_on_one_connection() -> None:
    """In two languages, with two voices; the end of one is the leave for the next."""
    other = SM(voice="Yara_en")
    with sm_line() as line:
        for adapter, said in ((sm, "مرحباً بكم."), (other, "How may I help you?")):
            line.say(whole(adapter, begin(adapter), said))
            signals = line.until(OutputEnd())
            assert spoken(signals, rate=22050) == said
            assert {type(signal) for signal in signals} == {Audio, OutputEnd}


@pytest.mark.parametrize(
    "adapter",
    [
        SM(auth="header-bearer"),
        SM(auth="query-api-key"),
        SM(auth="query-token"),
        SM(deployment="on-premise", auth="header-api-key"),
        SM(format="pcm_16000"),
        SM(speed=1.5),
    ],
    ids=str,
)
def test_sm_settings_are_accepted(adapter: SM) -> None:
    """Each way of bringing the key, each preset, another format."""
    with sm_line(adapter, key=KEY) as line:
        line.say(whole(adapter, begin(adapter), "All set."))
        assert spoken(line.until(OutputEnd()), rate=adapter.options().format.rate) == "All set."


@pytest.mark.parametrize("reply", [False, True])
def test_sm_a_key_in_the_first_message(reply: bool) -> None:
    """Answered or not; where it is waited for, the connection is ready then."""
    adapter = SM(auth="first-message", ready_event="authenticated" if reply else None)
    with sm_line(adapter, auth="first-message", auth_reply=reply) as line:
        line.say(adapter.handshake(adapter.options(), KEY).first_frames)
        if reply:
            assert line.hear() == [Ready()]
        line.say(whole(adapter, begin(adapter), "Hello."))
        assert spoken(line.until(OutputEnd()), rate=22050) == "Hello."


def test_sm_a_bad_key_after_the_upgrade() -> None:
    """The event and the close both say so."""
    adapter = SM(auth="first-message")
    with (
        Simulator("sm", key="right", auth="first-message") as sim,
        dial(sim, adapter) as line,
    ):
        line.say(adapter.handshake(adapter.options(), "wrong").first_frames)
        (failed,), closed = line.closed()
        for fault in (failure(failed), closed):
            verdict = adapter.verdict(fault, busy=False)
            assert verdict.scope in (Scope.CONNECTION, Scope.NOTHING)
            assert (type(verdict.error), verdict.error.retryable) == (AuthError, False)


@pytest.mark.parametrize("shape", ["flat", "nested"])
def test_sm_refused_upgrades(shape: str) -> None:
    """A bad key for good; a sixth connection, and a server that is not ready, for now."""
    with Simulator("sm", key="right", error_shape=shape) as sim:
        error = refused(sim, sm).error
        assert facts(error) == (AuthError, False, "the server answered HTTP 401: Invalid API key")
    with Simulator("sm", max_connections=0, error_shape=shape) as sim:
        error = refused(sim, sm).error
        assert (type(error), error.retry_after) == (ConcurrencyLimitError, 0.35)
    with Simulator("sm", faults=["status=503"]) as sim:
        assert refused(sim, sm).error.retryable


def refusals(log: list[Record]) -> list[object]:
    return [record["status"] for record in log if record["event"] == "refused"]


def test_sm_a_speech_waits_for_the_connection_of_another_program() -> None:
    """A refused upgrade asks for a minute; the place is free as soon as the other one hangs up."""
    # More tries than it can take: how long the other program needs is not the test's business.
    patient, retry = PoolLimits(acquire_timeout=60), RetryPolicy(attempts=100)
    with (
        Simulator("sm", max_connections=1) as sim,
        Client("sm", base_url=sim.url, api_key=KEY, pool=patient, retry=retry) as client,
    ):
        with dial(sim, sm):
            speech = client.speak("Here I am.")
            sim.wait_for(lambda log: len(refusals(log)) >= 2, 60)
            assert set(refusals(sim.log)) == {429}
        assert decode_text(speech.read(), 22050) == "Here I am."


def test_elevenlabs_a_text_that_is_too_long_costs_its_speech_only() -> None:
    """Its context is closed, or was never opened; the socket and its neighbour go on."""
    adapter = ElevenLabs(voice="V1", max_characters=60)
    with (
        Simulator("elevenlabs", rtf=0.2) as sim,
        Client(adapter, base_url=sim.url, api_key=KEY, pool=PoolLimits(min_idle=0)) as client,
    ):
        neighbour = client.speak("A neighbour who speaks on and on, and then on.")
        next(neighbour)
        with pytest.raises(InvalidText):
            client.speak("long " * 20).read()
        pushed = client.speak()
        pushed.write("The beginning of it is fine. ")
        pushed.flush()
        next(pushed)
        pushed.write("But what follows is more than it takes. ")
        with pytest.raises(InvalidText):
            list(pushed)
        assert decode_text(neighbour.read(), 24000).endswith("and then on.")
        assert decode_text(client.speak("And next.").read(), 24000) == "And next."
        assert sim.dials == 1
        opened = {r["generation"] for r in sim.log if r["event"] == "generation"}
        assert len(opened) == 3, "the whole one was never begun"
        assert not [r for r in sim.log if r["event"] == "violation"]


@pytest.mark.parametrize("shape", ["flat", "untyped", "nested"])
def test_sm_an_error_instead_of_audio(shape: str) -> None:
    """In each form that the pages show; the next request would be spoken."""
    adapter = SM(voice="Foo")
    with Simulator("sm", error_shape=shape) as sim, dial(sim, adapter) as line:
        line.say(whole(adapter, begin(adapter), "Hello."))
        (failed,) = line.hear()
        verdict = adapter.verdict(failure(failed), busy=True)
        assert verdict.scope is Scope.TAINT
        assert facts(verdict.error) == (InvalidVoice, False, "Voice 'Foo' is not available")
        line.say(whole(sm, begin(sm), "Still here."))
        assert spoken(line.until(OutputEnd()), rate=22050) == "Still here."


def test_sm_an_error_in_the_middle() -> None:
    """Of the server's own; worth another attempt."""
    with sm_line(faults=["error@request:1,chunk:2"]) as line:
        line.say(whole(sm, begin(sm), "One two three four five six."))
        error = failure(line.until(Failed)[-1]).error
        assert facts(error) == (GenerationError, True, "Simulated failure")


def test_sm_messages_that_mean_nothing_to_us() -> None:
    """Before, between and after the audio, and what is no JSON at all."""
    with sm_line(extra_events=True, end_fields=True, faults=["garbage@chunk:1"]) as line:
        line.say(whole(sm, begin(sm), "One two three four five."))
        signals = line.until(OutputEnd())
        assert spoken(signals, rate=22050) == "One two three four five."
        assert Note("unknown") in signals and Note("not a JSON object") in signals


@pytest.mark.parametrize("format", ["wav", "pcm"])
@pytest.mark.parametrize("deployment", ["cloud", "on-premise"])
def test_sm_over_rest(format: str, deployment: str) -> None:
    """The adapter's request, the simulator's answer, in pieces of any size."""
    socket = SM(deployment=deployment, rest_format=format, voice="Nouf")  # type: ignore[arg-type]
    adapter = socket.rest()
    shake = adapter.handshake(adapter.options(), KEY)
    (body,) = adapter.text(begin(adapter), "شكراً لاتصالك.")
    with Simulator("sm") as sim, closing(HTTPConnection("127.0.0.1", sim.port)) as client:
        client.request("POST", urlsplit(shake.url).path, str(body).encode(), dict(shake.headers))
        answer = client.getresponse()
        wire = Wire(adapter.options())
        wire.headers = {name.lower(): value for name, value in answer.getheaders()}
        signals = list[Signal]()
        while piece := answer.read(777):
            signals += adapter.decode_binary(piece, wire)
        signals += adapter.decode_binary(b"", wire)
        assert answer.status == 200 and signals[-1] == OutputEnd()
        assert spoken(signals, rate=22050) == "شكراً لاتصالك."


# --- KugelAudio -----------------------------------------------------------------------------------

KUGEL = {
    endpoint: KugelAudio(voice="1071", endpoint=endpoint)  # type: ignore[arg-type]
    for endpoint in ("multi", "stream", "oneshot")
}
each_endpoint = pytest.mark.parametrize("kugel", KUGEL.values(), ids=KUGEL)


@pytest.mark.parametrize("format", ["pcm_24000", "pcm_44100", "mulaw_8000", "alaw_8000"])
def test_kugelaudio_over_http(format: str) -> None:
    """The adapter's request with every option, the simulator's answer, cut anywhere."""
    adapter = KugelAudio(
        voice="1071", format=format, language="de", normalize=True, cfg_scale=1.5,
        temperature=0.3, max_new_tokens=1024, speed=1.1, project_id=7, dictionary_ids=[3],
    ).rest()  # fmt: skip
    with Simulator("kugelaudio") as sim:
        signals = asked(sim, adapter, "Hello there, you.")
        assert isinstance(signals, list) and signals[-1] == OutputEnd()
        rate = adapter.options().format.rate
        assert {signal.rate for signal in signals if isinstance(signal, Audio)} == {rate}
        if adapter.options().format.encoding == "pcm":
            assert spoken(signals, rate=rate) == "Hello there, you."
        assert len(data(signals)) > rate / 2 and violations(sim) == []


@pytest.mark.parametrize(
    ("options", "faults", "kind"),
    [
        ({"key": "another"}, [], AuthError),
        ({}, ["status=429;retry-after=2"], RateLimitError),
        ({}, ["error=No voice today"], HandshakeError),
    ],
)
def test_kugelaudio_over_http_a_refusal(
    options: dict[str, object], faults: list[str], kind: type[Error]
) -> None:
    """By its status and what the body says."""
    adapter = KugelAudio(voice="1071").rest()
    with Simulator("kugelaudio", faults=faults, **options) as sim:
        found = asked(sim, adapter, "Hello.")
        assert isinstance(found, DialFailure)
        verdict = adapter.verdict(found, busy=True)
        assert verdict.scope is Scope.CONNECTION and isinstance(verdict.error, kind)


@each_endpoint
def test_kugelaudio_two_generations(kugel: KugelAudio) -> None:
    """One after the other, with word times that count from their chunk, and what they cost."""
    with Simulator("kugelaudio") as sim, dial(sim, kugel) as line:
        for number, said in enumerate(("First answer.", "Second answer, and more."), 1):
            gen = begin(kugel, str(number))
            id = gen.id if kugel.tuned().ids else None
            line.say(whole(kugel, gen, said))
            signals = line.until(Released)
            assert spoken(signals, id) == marked(signals, id) == said
            assert isinstance(signals[-1], Released) and signals[-1].id == id
            usage = signals[-1].usage
            assert usage is not None and usage["characters"] == len(said)
        assert violations(sim) == []


@each_endpoint
def test_kugelaudio_an_interruption(kugel: KugelAudio) -> None:
    """Late audio, the end of the interrupted one, and the next without a byte of it."""
    ids = kugel.tuned().ids
    faults = ["stall@request:1,chunk:1=interrupt"]
    with Simulator("kugelaudio", late_audio=3, faults=faults) as sim, dial(sim, kugel) as line:
        gen, after = begin(kugel, "a"), begin(kugel, "b")
        line.say(whole(kugel, gen, STORY))
        line.until(Audio)
        line.say(kugel.interrupt(gen))
        late = line.until(Released if ids else CancelAck)
        assert len([signal for signal in late if isinstance(signal, Audio)]) >= 3
        assert not any(isinstance(signal, OutputEnd) for signal in late)
        line.say(whole(kugel, after, "Of course."))
        signals = line.until(Released)
        assert spoken(signals, "b" if ids else None) == "Of course."
        assert violations(sim) == []


def test_kugelaudio_all_settings_are_accepted() -> None:
    """Each where it belongs, on every socket."""
    settings = {
        "language": "de", "cfg_scale": 1.5, "temperature": 0.3, "max_new_tokens": 100,
        "speed": 1.1, "normalize": False, "project_id": 7, "dictionary_ids": [3],
        "format": "pcm_44100", "prepare": True,
    }  # fmt: skip
    for endpoint in KUGEL:
        kugel = KugelAudio(voice="anna", endpoint=endpoint, **settings)  # type: ignore[arg-type]
        gen = begin(kugel)
        with Simulator("kugelaudio") as sim, dial(sim, kugel) as line:
            line.say(kugel.handshake(kugel.options(), None).first_frames, whole(kugel, gen, "Ja."))
            signals = line.until(Released)
            assert spoken(signals, gen.id if kugel.tuned().ids else None, 44100) == "Ja."
            assert violations(sim) == []


def test_kugelaudio_contexts_that_are_full() -> None:
    """The one too many fails, worth another try elsewhere; the others go on."""
    kugel, gate = KUGEL["multi"], Gate("One")
    with Simulator("kugelaudio", max_contexts=1, engine=gate) as sim, dial(sim, kugel) as line:
        line.say(whole(kugel, begin(kugel, "a"), "One two three."))
        line.say(whole(kugel, begin(kugel, "b"), "Four."))
        signals = line.until(Failed)
        gate.open.set()
        signals += line.until(Released)
        (failed,) = (signal for signal in signals if isinstance(signal, Failed))
        verdict = kugel.verdict(failed, busy=True)
        assert (failed.id, verdict.scope) == ("b", Scope.TAINT)
        assert isinstance(verdict.error, ConcurrencyLimitError) and verdict.error.retryable
        assert spoken(signals, "a") == "One two three."


def test_kugelaudio_keys_that_are_refused() -> None:
    """Before the upgrade or after it."""
    for kugel in KUGEL.values():
        with Simulator("kugelaudio", key="right") as sim:
            assert isinstance(refused(sim, kugel, "wrong").error, AuthError)
        with (
            Simulator("kugelaudio", key="right", key_checked="open") as sim,
            dial(sim, kugel, "wrong") as line,
        ):
            _, closed = line.closed()
            assert isinstance(kugel.verdict(closed, busy=False).error, AuthError)


# --- what goes wrong on the way -------------------------------------------------------------------


@pytest.mark.parametrize("provider", IN_JSON)
@pytest.mark.parametrize("fault", ["garbage@chunk:1", "badb64@request:1"])
def test_garbage_is_a_protocol_error(provider: str, fault: str) -> None:
    """The core then gives up the connection and everything on it."""
    adapter = make(provider)
    with Simulator(provider, faults=[fault]) as sim, dial(sim, adapter) as line:
        line.say(whole(adapter, begin(adapter), "Hello there."))
        with pytest.raises(RemoteProtocolError):
            line.until(OutputEnd)


@pytest.mark.parametrize("provider", IN_JSON)
def test_binary_messages(provider: str) -> None:
    """Ignored by one, an error of the other's."""
    adapter = make(provider)
    with Simulator(provider, faults=["binary@request:1"]) as sim, dial(sim, adapter) as line:
        line.say(whole(adapter, begin(adapter), "Hello there."))
        if provider == "xai":
            assert Note("binary") in line.until(OutputEnd)
        else:
            with pytest.raises(RemoteProtocolError):
                line.until(OutputEnd)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_audio_that_is_cut_anywhere(provider: str) -> None:
    """Odd lengths pass through: joined again it is the same audio."""
    adapter = make(provider)
    gen = begin(adapter)
    with Simulator(provider, faults=["odd"]) as sim, dial(sim, adapter) as line:
        line.say(whole(adapter, gen, "Hello there."))
        signals = line.until(end_of(adapter))
        assert any(len(s.data) % 2 for s in signals if isinstance(s, Audio))
        assert spoken(signals, gen.id if adapter.tuned().ids else None) == "Hello there."


ENDINGS: list[tuple[str, Callable[[Error], bool]]] = [
    ("close=1000@chunk:1", lambda error: error.retryable),
    ("close=1011@chunk:1", lambda error: error.retryable),
    ("close=1013@chunk:1", lambda error: error.retryable),
    ("close=1008@chunk:1", lambda error: not error.retryable),
    ("eof@chunk:1", lambda error: isinstance(error, ConnectionLost) and error.code is None),
    ("reset@chunk:1", lambda error: isinstance(error, ConnectionLost) and error.retryable),
]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("fault", "right"), ENDINGS, ids=[fault for fault, _ in ENDINGS])
def test_connections_that_end_in_the_middle(
    provider: str, fault: str, right: Callable[[Error], bool]
) -> None:
    """No end marker came, and the verdict says whether to begin again."""
    adapter = make(provider)
    with Simulator(provider, faults=[fault]) as sim, dial(sim, adapter) as line:
        with suppress(ConnectionClosed):  # it may be gone before the last frame is sent
            line.say(whole(adapter, begin(adapter), STORY))
        signals, closed = line.closed()
        assert not any(isinstance(signal, OutputEnd) for signal in signals)
        verdict = adapter.verdict(closed, busy=True)
        assert verdict.scope is Scope.CONNECTION and right(verdict.error)
