"""
Pipecat's services for xAI, ElevenLabs and Gradium, over sockets and, if there are any, over HTTP.

They are pointed at the simulator by ``base_url`` or ``url``. What a user is handed are frames,
which come out of a pipeline that consists of the service alone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

import aiohttp
import pytest
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.elevenlabs.tts import ElevenLabsHttpTTSService, ElevenLabsTTSService
from pipecat.services.gradium.tts import GradiumTTSService
from pipecat.services.tts_service import TTSService
from pipecat.services.xai.tts import XAIHttpTTSService, XAITTSService
from pipecat.workers.runner import WorkerRunner
from speech import LONG, SECOND, TEXT, assert_cut, assert_exact, sent, spoken, violations

from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import decode_text, tags
from ttsmux.simulate.sound import Encoding

pytestmark = pytest.mark.anyio

SOCKETS = ("elevenlabs", "gradium", "xai")
VOICE = "21m00Tcm4TlvDq8ikWAM"
# How long a service waits for more audio before it ends a speech; 3 s if nothing is said.
QUIET = 1.0
DEADLINE = 15.0


class Ear(FrameProcessor):
    """Keeps the frames that pass, and tells when there is another one."""

    def __init__(self, direction: FrameDirection) -> None:
        super().__init__()
        self.direction = direction
        self.frames: list[Frame] = []
        self.more = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is self.direction:
            self.frames.append(frame)
            self.more.set()
        await self.push_frame(frame, direction)

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not ready():
                self.more.clear()
                await self.more.wait()


class Call:
    """A running pipeline of one service."""

    def __init__(self, service: TTSService) -> None:
        self.heard = Ear(FrameDirection.DOWNSTREAM)
        self.told = Ear(FrameDirection.UPSTREAM)
        pipeline = Pipeline([self.told, service, self.heard])
        self.worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)

    async def __aenter__(self) -> Self:
        started = asyncio.Event()

        @self.worker.event_handler("on_pipeline_started")
        async def on_pipeline_started(worker: PipelineWorker, frame: Frame) -> None:
            started.set()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        self._running = asyncio.create_task(runner.run())
        async with asyncio.timeout(DEADLINE):
            await started.wait()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        async with asyncio.timeout(DEADLINE):
            if kind is None:
                await self.worker.queue_frame(EndFrame())
            else:
                await self.worker.cancel()
            await self._running

    async def queue(self, *frames: Frame) -> None:
        for frame in frames:
            await self.worker.queue_frame(frame)

    async def speak(self, text: str) -> bytes:
        """Have *text* spoken and wait for its end."""
        already = self.ended()
        await self.queue(TTSSpeakFrame(text))
        return await self.speech(already)

    async def reply(self, text: str) -> bytes:
        """Have *text* spoken as a model writes it, word by word, and wait for its end."""
        already = self.ended()
        words = [LLMTextFrame(f"{word} ") for word in text.split()]
        await self.queue(LLMFullResponseStartFrame(), *words, LLMFullResponseEndFrame())
        return await self.speech(already)

    async def speech(self, number: int) -> bytes:
        """Wait for the end of a speech, counted from 0, and return its audio."""
        await self.heard.until(lambda: self.ended() > number)
        stops = [frame for frame in self.heard.frames if isinstance(frame, TTSStoppedFrame)]
        return self.audio_of(stops[number].context_id)

    def ended(self) -> int:
        return sum(isinstance(frame, TTSStoppedFrame) for frame in self.heard.frames)

    def audio(self) -> list[TTSAudioRawFrame]:
        return [frame for frame in self.heard.frames if isinstance(frame, TTSAudioRawFrame)]

    def audio_of(self, context: str | None) -> bytes:
        return b"".join(frame.audio for frame in self.audio() if frame.context_id == context)

    def errors(self) -> list[str]:
        return [frame.error for frame in self.told.frames if isinstance(frame, ErrorFrame)]


Make = Callable[..., TTSService]


async def begin(sim: AsyncSimulator, call: Call, text: str) -> None:
    """Have *text* spoken until some of it was heard, and nothing more of it is under way."""
    sim.inject("stall@request:1,chunk:3")
    await call.queue(TTSSpeakFrame(text))
    size = 3 * encoding(sim).rate * encoding(sim).width * 80 // 1000
    await call.heard.until(lambda: sum(len(frame.audio) for frame in call.audio()) == size)


def encoding(sim: AsyncSimulator) -> Encoding:
    return Encoding(48000 if sim.provider == "gradium" else 24000)


@pytest.fixture(params=[*SOCKETS, "elevenlabs-http", "xai-http"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def sim(name: str) -> AsyncIterator[AsyncSimulator]:
    async with AsyncSimulator(name.removesuffix("-http"), require_key=True) as simulator:
        yield simulator


@pytest.fixture
async def make(name: str) -> AsyncIterator[Make]:
    async with aiohttp.ClientSession() as http:

        def make(sim: AsyncSimulator, **options: object) -> TTSService:
            options = {"api_key": "a-key", "stop_frame_timeout_s": QUIET, **options}
            over_http = {"sample_rate": 24000, "aiohttp_session": http}
            match name:
                case "xai":
                    return XAITTSService(base_url=f"{sim.url}/v1/tts", sample_rate=24000, **options)
                case "xai-http":
                    url = f"{sim.http_url}/v1/tts"
                    return XAIHttpTTSService(base_url=url, **over_http, **options)
                case "gradium":
                    return GradiumTTSService(url=f"{sim.url}/api/speech/tts", **options)
                case "elevenlabs":
                    settings = ElevenLabsTTSService.Settings(voice=VOICE)
                    return ElevenLabsTTSService(
                        url=sim.url, sample_rate=24000, settings=settings, **options
                    )
                case _:
                    settings = ElevenLabsHttpTTSService.Settings(voice=VOICE)
                    return ElevenLabsHttpTTSService(
                        base_url=sim.http_url, settings=settings, **over_http, **options
                    )

        yield make


async def test_a_speech(sim: AsyncSimulator, make: Make) -> None:
    async with Call(make(sim)) as call:
        assert_exact(sim, await call.speak(TEXT), TEXT, encoding(sim))
    assert call.errors() == []
    assert violations(sim) == []


async def test_two_speeches_take_one_connection(sim: AsyncSimulator, make: Make) -> None:
    async with Call(make(sim)) as call:
        for number, text in enumerate((TEXT, SECOND), 1):
            assert_exact(sim, await call.speak(text), text, encoding(sim), number)
    assert sim.dials == 1
    assert call.errors() == []
    assert violations(sim) == []


@pytest.mark.parametrize("name", SOCKETS)
async def test_text_as_it_arrives(sim: AsyncSimulator, make: Make) -> None:
    """Sentence by sentence, of one generation."""
    async with Call(make(sim)) as call:
        assert_exact(sim, await call.reply(LONG), LONG, encoding(sim))
    assert call.errors() == []


@pytest.mark.parametrize("name", ["elevenlabs-http", "xai-http"])
async def test_text_as_it_arrives_over_http(sim: AsyncSimulator, make: Make) -> None:
    """A request a sentence, and one speech of them all."""
    async with Call(make(sim)) as call:
        audio = await call.reply(f"{TEXT} {SECOND}")
    assert audio == spoken(TEXT, 1, encoding(sim)) + spoken(SECOND, 2, encoding(sim))
    assert call.errors() == []


@pytest.mark.parametrize("name", ["gradium", "elevenlabs-http", "xai"])
async def test_words_come_with_the_audio(sim: AsyncSimulator, make: Make) -> None:
    async with Call(make(sim)) as call:
        await call.speak(TEXT)
    told = [frame.text for frame in call.heard.frames if isinstance(frame, TTSTextFrame)]
    assert " ".join(told).split() == TEXT.split()


async def test_an_interruption(name: str, sim: AsyncSimulator, make: Make) -> None:
    """
    With nothing under way the next speech is untouched.

    xAI is sent a cancel, ElevenLabs' context is closed, Gradium is told nothing; a request over
    HTTP is hung up.
    """
    async with Call(make(sim)) as call:
        await begin(sim, call, LONG)
        await call.queue(InterruptionFrame())
        assert_exact(sim, await call.speak(SECOND), SECOND, encoding(sim), 2)
    assert sim.dials == (2 if "http" in name else 1)
    assert call.errors() == []


@pytest.mark.parametrize("name", ["elevenlabs-http", "xai-http"])
async def test_a_speech_over_http_that_breaks_off_is_an_error(
    sim: AsyncSimulator, make: Make
) -> None:
    sim.inject("eof@request:1,chunk:3")
    async with Call(make(sim)) as call:
        assert_cut(sim, await call.speak(TEXT), TEXT, encoding(sim))
    assert len(call.errors()) == 1


@pytest.mark.parametrize("name", ["gradium", "xai"])
async def test_an_error_of_the_server_is_told(sim: AsyncSimulator, make: Make) -> None:
    async with Call(make(sim)) as call:
        await begin(sim, call, TEXT)
        sim.inject("error=No more@request:1")
        await call.speech(0)
    assert any("No more" in error for error in call.errors())


# What follows are faults of Pipecat, as they are.


@pytest.mark.parametrize("name", ["gradium", "xai"])
@pytest.mark.parametrize("fault", ["close=1000", "close=1011", "eof"])
async def test_fault_a_speech_that_breaks_off_passes_for_whole(
    sim: AsyncSimulator, make: Make, fault: str
) -> None:
    """
    `WebsocketService` dials again and says nothing. The speech that was under way is ended, as any
    is, when no audio has come for a while.
    """
    async with Call(make(sim)) as call:
        await begin(sim, call, TEXT)
        sim.inject(f"{fault}@request:1")
        assert_cut(sim, await call.speech(0), TEXT, encoding(sim))
    assert call.errors() == []


@pytest.mark.parametrize("name", ["elevenlabs"])
@pytest.mark.parametrize("fault", ["error=No more", "close=1000", "close=1011", "eof"])
async def test_fault_elevenlabs_a_speech_that_breaks_off_has_no_end(
    sim: AsyncSimulator, make: Make, fault: str
) -> None:
    """The same, but there is no `TTSStoppedFrame` either. What an error says is not looked at."""
    service = make(sim)
    connected = asyncio.Semaphore(0)

    @service.event_handler("on_connected")
    async def on_connected(service: TTSService) -> None:
        connected.release()

    async with Call(service) as call:
        await begin(sim, call, TEXT)
        sim.inject(f"{fault}@request:1")
        async with asyncio.timeout(DEADLINE):
            await connected.acquire()
            await connected.acquire()
        assert_exact(sim, await call.speak(SECOND), SECOND, encoding(sim), 2)
    first = call.audio()[0].context_id
    assert_cut(sim, call.audio_of(first), TEXT, encoding(sim))
    assert call.ended() == 1
    assert call.errors() == []


@pytest.mark.parametrize("name", ["elevenlabs"])
async def test_fault_elevenlabs_a_speech_is_lost_while_it_dials(make: Make) -> None:
    """
    The receiving task dials after a loss, and so does a speech that comes meanwhile. It is spoken
    on the one connection while the other is listened to.
    """
    async with AsyncSimulator("elevenlabs", handshake_ms=300) as sim:
        async with Call(make(sim)) as call:
            await begin(sim, call, TEXT)
            sim.inject("eof@request:1")
            await sim.await_for(lambda log: sim.dials == 2)
            await call.queue(TTSSpeakFrame(SECOND))
            await call.told.until(lambda: bool(call.errors()))
        assert "completed with no audio" in call.errors()[0]
        assert sent(sim, 2) == len(spoken(SECOND, 2, encoding(sim)))
        assert sim.dials == 3


@pytest.mark.parametrize("name", ["gradium", "xai"])
async def test_fault_a_pause_ends_a_speech(sim: AsyncSimulator, make: Make) -> None:
    """
    `TTSService` takes silence for the end: three seconds of it, if nothing else is said. What comes
    after that is dropped.
    """
    sim.inject(f"stall={1500 * QUIET}@request:1,chunk:3")
    async with Call(make(sim)) as call:
        assert_cut(sim, await call.speak(TEXT), TEXT, encoding(sim))
        await sim.await_for(lambda log: sent(sim, 1) == len(spoken(TEXT, 1, encoding(sim))))
    assert call.ended() == 1
    assert call.errors() == []


@pytest.mark.parametrize("name", ["xai"])
async def test_fault_xai_a_second_speech_is_sent_too_early(make: Make) -> None:
    """
    It is sent before ``audio.done`` of the first, where the vendor's page has it wait. What the
    server does with it is not documented; here it is refused, and the first is given up for that.
    """
    async with AsyncSimulator("xai", rtf=0.05) as sim, Call(make(sim)) as call:
        await call.queue(TTSSpeakFrame(LONG), TTSSpeakFrame(SECOND))
        await call.heard.until(lambda: call.ended() == 2)
    refusals = ["text.delta between text.done and audio.done", "text.done was sent before"]
    assert violations(sim) == refusals
    assert all(any(words in error for error in call.errors()) for words in refusals)
    assert SECOND.split()[0] not in decode_text(
        b"".join(each.audio for each in call.audio()), 24000
    )


@pytest.mark.parametrize("name", ["xai"])
async def test_fault_xai_late_audio_is_heard_in_the_next_speech(
    sim: AsyncSimulator, make: Make
) -> None:
    """The service does not wait for ``audio.clear``, and nothing else tells old audio from new."""
    async with Call(make(sim)) as call:
        await call.queue(TTSSpeakFrame(LONG * 20))
        await call.heard.until(lambda: len(call.audio()) >= 1)
        # Holds the loop up, as anything may, until the sockets are as good as full.
        sim.wait_for(lambda log: sent(sim, 1) > 2_000_000)
        await call.queue(InterruptionFrame())
        audio = await call.speak(SECOND)
    assert tags(audio, 24000) == {1, 2}
    assert audio.endswith(spoken(SECOND, 2, encoding(sim)))


@pytest.mark.parametrize("name", ["gradium"])
async def test_fault_gradium_an_interrupted_request_is_never_ended(
    sim: AsyncSimulator, make: Make
) -> None:
    """Interrupted before its text is complete, it gets no ``end_of_stream``: it stays open."""
    async with Call(make(sim)) as call:
        await call.queue(LLMFullResponseStartFrame(), LLMTextFrame(f"{TEXT} {SECOND} And"))
        await call.heard.until(lambda: len(call.audio()) >= 1)
        await call.queue(InterruptionFrame())
        assert_exact(sim, await call.speak(SECOND), SECOND, encoding(sim), 2)
        ids = [frame["client_req_id"] for frame in sim.frames("recv") if frame["type"] == "setup"]
        ends = [
            frame["client_req_id"]
            for frame in sim.frames("recv")
            if frame["type"] == "end_of_stream"
        ]
        assert len(ids) == 2 and ends == ids[1:]


@pytest.mark.parametrize("name", ["elevenlabs"])
async def test_fault_elevenlabs_knows_one_spelling_of_the_id(make: Make) -> None:
    """It reads ``contextId`` only; with ``context_id``, which was seen too, nothing is heard."""
    async with AsyncSimulator("elevenlabs", id_field="context_id") as sim, Call(make(sim)) as call:
        await call.queue(TTSSpeakFrame(TEXT))
        await call.told.until(lambda: bool(call.errors()))
        assert "completed with no audio" in call.errors()[0]
        assert sent(sim, 1) == len(spoken(TEXT, 1, encoding(sim)))
        assert call.audio() == []


@pytest.mark.parametrize("name", ["elevenlabs"])
async def test_fault_elevenlabs_sentences_are_not_set_apart(
    sim: AsyncSimulator, make: Make
) -> None:
    """The page asks for a space at the end of each piece of text; the simulator bears it here."""
    async with Call(make(sim)) as call:
        await call.reply(f"{TEXT} {SECOND}")
    texts = [frame["text"] for frame in sim.frames("recv") if frame.get("text", " ") != " "]
    assert texts == [TEXT, SECOND]
    # With auto_mode each message is a sentence; else this would count as a word that is cut in two.
    assert violations(sim) == []
