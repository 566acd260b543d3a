"""Clients that speak over HTTP, on both faces and all runtimes, against the simulators."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
import respx

import ttsmux
from tests.scenarios.stage import (
    KEY,
    RATE,
    RUNTIMES,
    Ear,
    World,
    audio_sent,
    events,
    face,
)
from tests.transports.peers import Listener, Peer
from ttsmux import PoolLimits, RetryPolicy, Timeouts
from ttsmux.adapter import Adapter
from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import ToneEngine, decode_text

PROVIDERS = ("gradium", "xai")
LONG = " ".join(f"w{n:02}" for n in range(60))
ONCE = RetryPolicy(attempts=1)


def rest(provider: str, **options: Any) -> Adapter:
    if provider == "gradium":
        return ttsmux.Gradium(voice="YTpq7expH9539ERJ", **options).rest()
    return ttsmux.XAI(**options).rest()


def play(
    runtime: str,
    provider: str,
    script: Callable[[World], Coroutine[Any, Any, None]],
    *,
    adapter: Adapter | None = None,
    client: dict[str, Any] | None = None,
    **simulator: Any,
) -> None:
    """Play *script* with a client over HTTP, and see that it leaves nothing open."""
    stage = face(runtime)

    async def whole() -> None:
        world = World(stage, sim, Ear(), {})
        world.client = world.make_client(adapter or rest(provider), **(client or {}))
        try:
            await script(world)
        finally:
            await world.close()

    with AsyncSimulator(provider, engine="tone", **simulator) as sim:
        stage.run(whole())
        # Not one was forgotten: the simulator hears of each that the client let go.
        sim.wait_for(lambda log: len(events(log, "lost")) == len(events(log, "dial")))


every = pytest.mark.parametrize("runtime", RUNTIMES)
both = pytest.mark.parametrize("provider", PROVIDERS)


@every
@both
def test_a_text_becomes_audio(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        for text in ("Good morning.", "How are you?"):
            (await world.speak(text).rest()).said()
        # One after the other they take one connection.
        assert world.sim.dials == 1
        assert [frame["text"] for frame in world.sim.frames("recv")] == [
            "Good morning.",
            "How are you?",
        ]

    play(runtime, provider, script)


@every
@both
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
@both
def test_a_streamed_text_is_a_request_a_sentence(runtime: str, provider: str) -> None:
    """In order and without a gap, whatever pieces it came in."""

    async def script(world: World) -> None:
        take = await world.speak(
            world.source("Good mor", "ning. How", " are you? Fi", "ne.")
        ).rest()
        assert take.heard == "Good morning. How are you? Fine."
        sent = [str(frame["text"]) for frame in world.sim.frames("recv")]
        assert [text.strip() for text in sent] == ["Good morning.", "How are you?", "Fine."]
        assert "".join(sent) == "Good morning. How are you? Fine."

    play(runtime, provider, script)


@every
@both
def test_the_audio_comes_while_it_is_made(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        take = await world.speak(LONG).read(1)
        assert len(audio_sent(world.sim.log)) < 20
        take.interrupt()

    play(runtime, provider, script, rtf=1.0)


@every
@both
def test_an_interruption_hangs_up(runtime: str, provider: str) -> None:
    """The server is told by nothing else; the next speech has a connection of its own."""

    async def script(world: World) -> None:
        take = await world.speak(LONG).read(2)
        take.interrupt()
        await take.rest()
        take.broke_off()
        await world.seen(lambda log: events(log, "cut", reason="lost"))
        (await world.speak("And now this.").rest()).said()
        assert world.sim.dials == 2

    play(runtime, provider, script, rtf=0.5)


@every
@both
def test_speeches_at_once(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        takes = [world.speak(f"This is number {n}.") for n in range(4)]
        await world.together(*(take.rest() for take in takes))
        for take in takes:
            take.said()

    play(runtime, provider, script, ttfa_ms=20, client={"pool": PoolLimits(max_size=4)})


@every
@both
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
@both
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
        take.failed(kind)
        take.began()
        assert isinstance(take.error, ttsmux.Error) and take.error.delivered is not None
        # Counted when it failed: a reader may have had a part of it still to fetch.
        assert take.error.delivered.bytes <= len(take.audio)

    play(runtime, provider, script, client={"retry": ONCE}, faults=[f"{fault}@{place}"])


@every
@both
def test_a_stall(runtime: str, provider: str) -> None:
    """The client's clocks see it, for the transport has none."""

    async def script(world: World) -> None:
        take = await world.speak(LONG).rest()
        take.failed(ttsmux.StallTimeout)

    play(
        runtime,
        provider,
        script,
        client={"retry": ONCE, "timeouts": Timeouts(gap=0.1)},
        faults=["stall@request:1,chunk:2"],
    )


@every
@both
def test_an_answer_that_does_not_begin(runtime: str, provider: str) -> None:
    """It is given up, and the next attempt is answered."""

    async def script(world: World) -> None:
        (await world.speak("Good morning.").rest()).said()
        assert len(events(world.sim.log, "request")) == 2

    timeouts = Timeouts(first_audio=0.2)
    play(runtime, provider, script, client={"timeouts": timeouts}, faults=["stall@request:1"])


@every
@both
def test_a_bad_key(runtime: str, provider: str) -> None:
    """Whichever status the provider has for it, and no word of the key anywhere."""

    async def script(world: World) -> None:
        take = await world.speak("Good morning.").rest()
        take.failed(ttsmux.AuthError)
        assert KEY not in str(take.error) and KEY not in str(world.sim.log)

    play(runtime, provider, script, key="another-key-than-that")


@every
@both
def test_a_key_that_is_old_is_fetched_anew(runtime: str, provider: str) -> None:
    keys = iter(["an-old-key", "the-new-key", "the-new-key"])

    async def script(world: World) -> None:
        (await world.speak("Good morning.").rest()).said()

    play(runtime, provider, script, client={"api_key": lambda: next(keys)}, key="the-new-key")


@every
@both
def test_closing_in_the_middle(runtime: str, provider: str) -> None:
    async def script(world: World) -> None:
        take = await world.speak(LONG).read(1)
        await world.stage.close(world.client)
        await take.rest()
        take.failed(ttsmux.ClosedError)

    play(runtime, provider, script, rtf=1.0)


@every
@pytest.mark.parametrize(
    "adapter",
    [
        rest("xai", format="mulaw_8000"),
        rest("gradium", format="alaw_8000"),
        rest("xai", with_timestamps=True),
        rest("gradium"),
    ],
    ids=["mulaw", "alaw", "times", "words"],
)
def test_formats_and_marks(runtime: str, adapter: Adapter) -> None:
    async def script(world: World) -> None:
        take = await world.speak("Good morning. How are you?").rest()
        assert take.error is None
        assert take.speech.outcome is ttsmux.Outcome.COMPLETED
        marks = [mark.text for mark in take.speech.marks]
        if adapter.options().format.rate == RATE:
            assert decode_text(take.audio, RATE) == "Good morning. How are you?"
            assert marks == ["Good", "morning.", "How", "are", "you?"]
            starts = [mark.start for mark in take.speech.marks]
            # The second sentence is a request of its own, whose clock begins anew.
            assert starts == sorted(starts) and starts[2] >= 0.7
        else:
            assert (
                len(take.audio)
                == len(
                    ToneEngine()
                    .speak("Good morning.", voice="", language=None, tag=1, rate=8000)
                    .pcm
                    + ToneEngine()
                    .speak(" How are you?", voice="", language=None, tag=2, rate=8000)
                    .pcm
                )
                // 2
            )

    play(runtime, adapter.name, script, adapter=adapter)


@every
def test_nothing_is_logged(runtime: str, caplog: pytest.LogCaptureFixture) -> None:
    """By what is beneath; neither the key nor the text is in what we log."""
    caplog.set_level(logging.DEBUG)

    async def script(world: World) -> None:
        (await world.speak("Good morning.").rest()).said()

    play(runtime, "xai", script)
    assert not [record for record in caplog.records if record.name.startswith("http")]
    assert KEY not in caplog.text and "morning" not in caplog.text


@pytest.mark.parametrize("base_url", ["http://tts.example", "ws://tts.example:8080"])
def test_a_key_does_not_travel_in_plain_text(base_url: str) -> None:
    with pytest.raises(ttsmux.InsecureEndpoint):
        ttsmux.Client(rest("xai"), api_key=KEY, base_url=base_url)


# --- requests and answers, without a server -------------------------------------------------------

PCM = ToneEngine().speak("Good morning.", voice="", language=None, tag=1, rate=RATE).pcm


@respx.mock
def test_the_request_as_httpx_sees_it() -> None:
    """To the provider's own address where no other is given."""
    route = respx.post("https://api.x.ai/v1/tts").respond(
        200, headers={"Content-Type": "audio/pcm"}, content=PCM
    )
    with ttsmux.Client(rest("xai", speed=1.1), api_key=KEY) as client:
        assert decode_text(client.speak("Good morning.").read(), RATE) == "Good morning."
    (call,) = route.calls
    assert call.request.headers["Authorization"] == f"Bearer {KEY}"
    assert call.request.headers["Content-Type"] == "application/json"
    assert json.loads(call.request.content)["speed"] == 1.1


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
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
