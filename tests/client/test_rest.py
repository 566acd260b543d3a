"""Clients that speak over HTTP, on both faces and all runtimes, against the simulators."""

import json
import logging
import re
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any

import attrs
import httpx
import pybase64
import pytest
import respx

import ttsmux
from tests.testing.providers import KINDS, Streaming
from tests.transports.peers import Listener, Peer
from ttsmux import PoolLimits, RetryPolicy, Timeouts
from ttsmux.adapter import Adapter
from ttsmux.simulate import Provider
from ttsmux.simulate.engines.tone import ToneEngine, decode_text
from ttsmux.simulate.simulator import create_provider
from ttsmux.testing import World, simulator
from ttsmux.testing import play as play_with
from ttsmux.testing.stage import RUNTIMES, face
from ttsmux.testing.world import KEY

RATE = 24000
PROVIDERS = tuple(KINDS)
TOLD = ("elevenlabs", "gradium")
"""Those whose answers say when which word is spoken, unless they are told not to."""
LONG = " ".join(f"w{n:02}" for n in range(60))
ONCE = RetryPolicy(attempts=1)


def rest(provider: str, **options: Any) -> Adapter:
    voice = create_provider(provider, {}).default_voice
    found = KINDS[provider](voice=voice, **options).rest()
    assert found is not None
    return found


def play(
    runtime: str,
    provider: str,
    script: Callable[[World], Coroutine[Any, Any, None]],
    *,
    adapter: Adapter | None = None,
    client: dict[str, Any] | None = None,
    streamed: bool = False,
    **options: Any,
) -> None:
    """
    Play *script* with a client over HTTP, and see that it leaves nothing open.

    If *streamed*, audio comes while it is made, also where the provider waits for all of it.
    """
    server: str | type[Provider] = Streaming if streamed and provider == "sm" else provider
    sim = simulator(server, **options)
    play_with(runtime, adapter or rest(provider), sim, script, **(client or {}))


def texts(world: World) -> list[str]:
    """The texts of the requests, whatever the provider calls them."""
    frames = world.sim.frames("recv")
    return [str(frame.get("text", frame.get("input"))) for frame in frames]


every = pytest.mark.parametrize("runtime", RUNTIMES)
each = pytest.mark.parametrize("provider", PROVIDERS)


@every
@each
def test_a_text_becomes_audio(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        for text in ("Good morning.", "How are you?"):
            (await world.speak(text).rest()).said()
            await world.settled()
        # One after the other they take one connection.
        assert world.sim.dials == 1
        assert texts(world) == ["Good morning.", "How are you?"]
        world.no_complaints()

    play(runtime, provider, script)


@every
@each
def test_a_prewarm_connects_nothing(runtime: str, provider: str) -> None:
    """It makes requests ready that have not begun, and the metrics are about those."""

    async def script(world: World) -> None:
        assert await world.prewarm() >= 1
        assert world.sim.dials == 0
        take = (await world.speak("Good morning.").rest()).said()
        assert take.speech.metrics.connection_reused
        assert world.sim.dials == 1

    play(runtime, provider, script)


@every
@each
def test_a_streamed_text_is_a_request_a_sentence(runtime: str, provider: str) -> None:
    """In order and without a gap, whatever pieces it came in."""

    async def script(world: World) -> None:
        source = world.source("Good mor", "ning. How", " are you? Fi", "ne.")
        (await world.speak(source).rest()).said("Good morning. How are you? Fine.")
        sent = texts(world)
        assert [text.strip() for text in sent] == ["Good morning.", "How are you?", "Fine."]
        assert "".join(sent) == "Good morning. How are you? Fine."

    play(runtime, provider, script)


@every
@each
def test_the_audio_comes_while_it_is_made(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        take = await world.speak(LONG).read(1)
        assert not world.records("answered")  # that would be seconds from now
        take.interrupt()

    play(runtime, provider, script, streamed=True, rtf=1.0)


@every
@each
def test_an_interruption_hangs_up(runtime: str, provider: str) -> None:
    """The server is told by nothing else; the next speech has a connection of its own."""

    async def script(world: World) -> None:
        take = await world.speak(LONG).read(2)
        take.interrupt()
        (await take.rest()).broke_off()
        await world.seen(lambda log: [r for r in log if r["event"] == "cut"])
        assert world.records("cut", reason="lost")
        (await world.speak("And now this.").rest()).said()
        assert world.sim.dials == 2

    play(runtime, provider, script, streamed=True, rtf=0.5)


@every
@each
def test_speeches_at_once(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        takes = [world.speak(f"This is number {n}.") for n in range(4)]
        await world.together(*(take.rest() for take in takes))
        for take in takes:
            take.said()

    play(runtime, provider, script, ttfa_ms=20, client={"pool": PoolLimits(max_size=4)})


@every
@each
@pytest.mark.parametrize(
    "fault", ["reset", "eof", "garbage", "status=503", "status=429;retry-after=0"]
)
def test_before_the_first_audio_it_is_tried_again(runtime: str, provider: str, fault: str) -> None:
    """Nobody notices; all of the text is said again."""
    place = "request:1" if "status" in fault else "request:1,chunk:0"

    async def script(world: World) -> None:
        take = (await world.speak("Good morning.").rest()).said()
        assert take.speech.metrics.attempts == 2

    play(runtime, provider, script, faults=[f"{fault}@{place}"])


@every
@each
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("eof", ttsmux.TruncatedAudio),
        ("drop-end", ttsmux.TruncatedAudio),
        ("reset", ttsmux.ConnectionLost),
        ("garbage", ttsmux.RemoteProtocolError),
    ],
)
def test_after_the_first_audio_it_fails(
    runtime: str, provider: str, fault: str, kind: type[ttsmux.Error]
) -> None:
    """With what came before, which is of this speech, and an error that says how much."""
    place = "request:1" if fault == "drop-end" else "request:1,chunk:3"

    async def script(world: World) -> None:
        take = await world.speak(LONG).rest()
        if fault == "drop-end" and provider in TOLD:
            take.said()  # the times prove that all of it came
            return
        take.failed(kind).began()
        assert type(take.error) is kind
        assert take.error.delivered.bytes == len(take.audio)

    play(
        runtime,
        provider,
        script,
        streamed=True,
        client={"retry": ONCE},
        faults=[f"{fault}@{place}"],
    )


@every
@each
def test_a_stall(runtime: str, provider: str) -> None:
    """The client's clocks see it, for the transport has none."""

    async def script(world: World) -> None:
        take = await world.speak(LONG).rest()
        take.failed(ttsmux.StallTimeout)

    play(
        runtime,
        provider,
        script,
        streamed=True,
        client={"retry": ONCE, "timeouts": Timeouts(gap=0.1)},
        faults=["stall@request:1,chunk:2"],
    )


@every
@each
def test_an_answer_that_does_not_begin(runtime: str, provider: str) -> None:
    """It is given up, and the next attempt is answered."""

    async def script(world: World) -> None:
        (await world.speak("Good morning.").rest()).said()
        assert world.connections > 1

    # Where the machine stands still for that long, the next attempt is not answered in time either.
    client = {"timeouts": Timeouts(first_audio=1.0), "retry": RetryPolicy(attempts=10)}
    play(runtime, provider, script, client=client, faults=["stall@request:1"])


@every
@each
def test_a_bad_key(runtime: str, provider: str) -> None:
    """Whichever status the provider has for it, and no word of the key anywhere."""

    async def script(world: World) -> None:
        take = await world.speak("Good morning.").rest()
        take.failed(ttsmux.AuthError)
        assert KEY not in str(take.error) and KEY not in str(world.sim.log)

    play(runtime, provider, script, key="another-key-than-that")


@every
@each
def test_a_key_that_is_old_is_fetched_anew(runtime: str, provider: str) -> None:
    keys = iter(["an-old-key", "the-new-key", "the-new-key"])

    async def script(world: World) -> None:
        (await world.speak("Good morning.").rest()).said()

    play(runtime, provider, script, client={"api_key": lambda: next(keys)}, key="the-new-key")


@every
@each
def test_closing_in_the_middle(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        take = await world.speak(LONG).read(1)
        await world.stage.close(world.client)
        (await take.rest()).failed(ttsmux.ClosedError)

    play(runtime, provider, script, streamed=True, rtf=1.0)


SHAPES: dict[str, tuple[Adapter, bool]] = {
    "elevenlabs": (rest("elevenlabs"), True),
    "elevenlabs mulaw": (rest("elevenlabs", format="mulaw_8000"), True),
    "elevenlabs bare": (rest("elevenlabs", with_timestamps=False), False),
    "gradium": (rest("gradium"), True),
    "gradium alaw": (rest("gradium", format="alaw_8000"), True),
    "gradium bare": (attrs.evolve(rest("gradium"), only_audio=True), False),
    "kugelaudio": (rest("kugelaudio"), False),
    "kugelaudio mulaw": (rest("kugelaudio", format="mulaw_8000"), False),
    "sm": (rest("sm"), False),
    "sm pcm": (rest("sm", rest_format="pcm", format="pcm_16000"), False),
    "xai": (rest("xai"), False),
    "xai mulaw": (rest("xai", format="mulaw_8000"), False),
    "xai times": (rest("xai", with_timestamps=True), True),
}
"""An adapter, and whether its answers say when each word is heard."""


@every
@pytest.mark.parametrize(("adapter", "timed"), SHAPES.values(), ids=SHAPES)
def test_formats_and_marks(runtime: str, adapter: Adapter, timed: bool) -> None:
    """Every byte, as the answer has it; times go on where the next request's clock begins anew."""
    text = "Good morning. How are you?"

    async def script(world: World) -> None:
        take = (await world.speak(text).rest()).said(text)
        assert world.connections == 2
        marks = [mark.text for mark in take.speech.marks]
        assert marks == (text.split() if timed else [])
        starts = [mark.start for mark in take.speech.marks]
        assert starts == sorted(starts)
        assert not timed or starts[2] >= 0.7

    play(runtime, adapter.name, script, adapter=adapter)


@every
@each
def test_nothing_is_logged(runtime: str, provider: str, caplog: pytest.LogCaptureFixture) -> None:
    """By what is beneath; neither the key nor the text is in what we log."""
    caplog.set_level(logging.DEBUG)

    async def script(world: World) -> None:
        (await world.speak("Good morning.").rest()).said()

    play(runtime, provider, script)
    assert not [record for record in caplog.records if record.name.startswith("http")]
    assert KEY not in caplog.text and "morning" not in caplog.text


@pytest.mark.parametrize("base_url", ["http://tts.example", "ws://tts.example:8080"])
def test_a_key_does_not_travel_in_plain_text(base_url: str) -> None:
    with pytest.raises(ttsmux.InsecureEndpoint):
        ttsmux.Client(rest("xai"), api_key=KEY, base_url=base_url)


# --- requests and answers, without a server -------------------------------------------------------

PCM = ToneEngine().speak("Good morning.", voice="", language=None, tag=1, rate=RATE).pcm


def in_lines(*messages: Mapping[str, object]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def wav(pcm: bytes, rate: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    head = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(pcm))
    return b"RIFF" + struct.pack("<I", len(head) + len(pcm)) + head + pcm


def b64(data: bytes) -> str:
    return pybase64.b64encode(data).decode()


CHUNKED = {"Transfer-Encoding": "chunked"}


@attrs.frozen
class Wire:
    """
    A request and its answer as the provider's pages have them.

    *url*, *key* (a header and what it says) and *body* are the client's; *kind* is the answer's
    Content-Type, *answer* makes its body of samples in *rate*.
    """

    url: str
    key: tuple[str, str]
    body: dict[str, object]
    kind: str
    answer: Callable[[bytes], bytes]
    headers: dict[str, str] = attrs.field(factory=dict)
    rate: int = RATE


WIRES = {
    "elevenlabs": Wire(
        url="https://api.elevenlabs.io/v1/text-to-speech/v-1/stream/with-timestamps"
        "?output_format=pcm_24000",
        key=("xi-api-key", KEY),
        body={"text": "Good morning.", "model_id": "eleven_flash_v2_5"},
        kind="application/json",
        answer=lambda pcm: in_lines(
            {"audio_base64": b64(pcm[:5000]), "alignment": None},
            {"audio_base64": b64(pcm[5000:]), "alignment": None},
        ),
    ),
    "gradium": Wire(
        url="https://api.gradium.ai/api/post/speech/tts",
        key=("x-api-key", KEY),
        body={"text": "Good morning.", "voice_id": "v-1", "output_format": "pcm_24000"},
        kind="application/x-ndjson",
        answer=lambda pcm: in_lines(
            {"type": "ready", "request_id": "rq_1", "sample_rate": 48000},
            {"type": "audio", "audio": b64(pcm), "start_s": 0.0, "stop_s": 0.08},
            {"type": "end_of_stream"},
        ),
    ),
    "kugelaudio": Wire(
        url="https://api.kugelaudio.com/v1/tts/generate",
        key=("X-API-Key", KEY),
        body={"text": "Good morning.", "voice_id": "v-1", "output_format": "pcm_24000"},
        kind="audio/pcm",
        headers={"X-Sample-Rate": "24000"},
        answer=bytes,
    ),
    "sm": Wire(
        url="https://api.withsm.ai/v1/tts/audio/speech",
        key=("X-API-Key", KEY),
        body={"input": "Good morning.", "voice": "v-1", "response_format": "wav"},
        kind="audio/wav",
        rate=22050,
        answer=lambda pcm: wav(pcm, 22050),
    ),
    "xai": Wire(
        url="https://api.x.ai/v1/tts",
        key=("Authorization", f"Bearer {KEY}"),
        body={"text": "Good morning.", "voice_id": "v-1", "language": "auto"},
        kind="audio/pcm",
        answer=bytes,
    ),
}


def speak_once(runtime: str, provider: str) -> tuple[bytes, BaseException | None]:
    """Say good morning to whoever answers, with the provider's own address; return what came."""
    stage = face(runtime)
    adapter = KINDS[provider](voice="v-1").rest()
    assert adapter is not None

    async def whole() -> tuple[bytes, BaseException | None]:
        client = stage.client(adapter, api_key=KEY, retry=ONCE)
        audio = b""
        try:
            speech = stage.speak(client, "Good morning.", {})
            while (chunk := await stage.next(speech)) is not None:
                audio += chunk.data
        except ttsmux.Error as exc:
            return audio, exc
        finally:
            await stage.close(client)
        return audio, None

    return stage.run(whole())


@every
@each
def test_the_request_as_httpx_sees_it(runtime: str, provider: str) -> None:
    """To the provider's own address where no other is given; the answer is read by its type."""
    wire = WIRES[provider]
    pcm = ToneEngine().speak("Good morning.", voice="", language=None, tag=1, rate=wire.rate).pcm
    body = wire.answer(pcm)
    with respx.mock:
        route = respx.post(wire.url).respond(
            200,
            headers={"Content-Type": wire.kind, **CHUNKED, **wire.headers},
            stream=Pieces([body[at : at + 777] for at in range(0, len(body), 777)]),
        )
        audio, error = speak_once(runtime, provider)
    assert error is None and decode_text(audio, wire.rate) == "Good morning." and audio == pcm
    (call,) = route.calls
    name, value = wire.key
    assert call.request.headers[name] == value
    assert call.request.headers["Content-Type"] == "application/json"
    sent = json.loads(call.request.content)
    assert sent == {**sent, **wire.body}


@every
@each
@pytest.mark.parametrize("kind", ["text/html", "application/json", "audio/mpeg"])
def test_an_answer_of_another_type(runtime: str, provider: str, kind: str) -> None:
    """A success by its status only is an error, and not a sound of it is heard."""
    page = b"<html><body>Come back later</body></html>"
    with respx.mock:
        respx.post(url__startswith=WIRES[provider].url).respond(
            200, headers={"Content-Type": kind, **CHUNKED}, stream=Pieces([page[:9], page[9:]])
        )
        audio, error = speak_once(runtime, provider)
    assert audio == b""
    assert isinstance(error, ttsmux.RemoteProtocolError | ttsmux.GenerationError), error


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces, on either face."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def test_a_connection_that_the_server_let_go_costs_no_attempt() -> None:
    """Servers end connections that nobody uses, and one may be used just then."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nContent-Length: %d\r\n\r\n" % len(PCM)

    def script(peer: Peer) -> None:
        for last in (False, True):
            head = peer.head()
            (size,) = re.findall(rb"(?i)content-length: (\d+)", head)
            peer._exactly(int(size))
            if last:
                break
            peer.send(answer + PCM)

    with (
        Listener(script) as server,
        ttsmux.Client(
            rest("xai"), api_key=KEY, base_url=f"http://127.0.0.1:{server.port}", retry=ONCE
        ) as client,
    ):
        for _ in range(4):
            speech = client.speak("Good morning.")
            assert decode_text(speech.read(), RATE) == "Good morning."
            assert speech.metrics.attempts == 1
        assert client.pool_stats().dials_failed == 0
    assert server.connections == 4


@respx.mock
def test_a_base_url_replaces_the_host_only() -> None:
    route = respx.post("https://eu.api.gradium.ai/api/post/speech/tts").respond(
        200, headers={"Content-Type": "audio/pcm"}, content=PCM
    )
    adapter = ttsmux.GradiumRest(voice="v", only_audio=True)
    with ttsmux.Client(adapter, api_key=KEY, base_url="wss://eu.api.gradium.ai") as client:
        assert decode_text(client.speak("Good morning.").read(), RATE) == "Good morning."
    assert route.calls[0].request.headers["x-api-key"] == KEY


@respx.mock
@pytest.mark.parametrize(
    ("provider", "answers", "kind"),
    [
        ("xai", [httpx.Response(404, json={"error": "voice"})], ttsmux.NotFoundError),
        ("xai", [httpx.Response(422, json={"detail": "language"})], ttsmux.ConfigError),
        ("xai", [httpx.Response(302, headers={"Location": "https://h/"})], ttsmux.HandshakeError),
        ("xai", [httpx.Response(429)] * 2, ttsmux.RateLimitError),
        ("xai", [httpx.Response(200, json={"error": "x"})], ttsmux.RemoteProtocolError),
        (
            "gradium",
            [httpx.Response(500, text="error from server 1011: Embeddings not found for v")],
            ttsmux.NotFoundError,
        ),
        (
            "gradium",
            [httpx.Response(200, text='{"type":"error","message":"it broke"}')] * 2,
            ttsmux.GenerationError,
        ),
        ("gradium", [httpx.Response(200, text="")] * 2, ttsmux.EmptyAudio),
    ],
)
def test_answers_that_fail(
    provider: str, answers: list[httpx.Response], kind: type[ttsmux.Error]
) -> None:
    """As often as it is worth it, each with its type."""
    route = respx.post(path__regex=".*").mock(side_effect=answers)
    retry = RetryPolicy(attempts=2, base=0.001)
    with ttsmux.Client(rest(provider), api_key=KEY, retry=retry) as client:
        speech = client.speak("Good morning.")
        with pytest.raises(ttsmux.Error) as caught:
            speech.read()
    assert type(caught.value) is kind
    assert route.call_count == len(answers)


def test_httpx_is_imported_with_the_first_request_only() -> None:
    """Who speaks over sockets does not pay for it."""
    code = """
import sys, ttsmux
from ttsmux.simulate import Simulator
with Simulator("xai") as sim:
    with ttsmux.Client("xai", base_url=sim.url) as client:
        assert client.speak("Hello.").read()
    assert "httpx" not in sys.modules and "httpcore" not in sys.modules
    with ttsmux.Client(ttsmux.XAI().rest(), base_url=sim.url) as client:
        assert client.speak("Hello.").read()
    assert "httpx" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_httpx_is_imported_beside_the_event_loop(backend: str) -> None:
    """It takes long: other speeches of the loop would stop."""
    code = f"""
import sys, threading, anyio, ttsmux

class Notes:
    def find_spec(self, name, path=None, target=None):
        found.append((name, threading.current_thread() is threading.main_thread()))

found = []

async def main(url):
    async with ttsmux.AsyncClient("xai", base_url=url) as client:
        assert await client.speak("Hello.").read()
        assert "httpx" not in sys.modules, "nobody has needed it"
        sys.meta_path.insert(0, Notes())
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(client.voices)
    async with ttsmux.AsyncClient(ttsmux.XAI().rest(), base_url=url) as client:
        assert await client.speak("Hello.").read()

anyio.run(main, sys.argv[1], backend={backend!r})
names = [name for name, in_loop in found]
assert "httpx" in names and "httpcore" in names, names
assert not [name for name, in_loop in found if in_loop]
"""
    with simulator("xai") as sim:
        subprocess.run([sys.executable, "-c", code, sim.url], check=True, timeout=120)
