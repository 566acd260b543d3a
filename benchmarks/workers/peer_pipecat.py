"""
Pipecat's services for xAI, ElevenLabs and Gradium: a pipeline that consists of the service alone.

They are pointed at the server by ``base_url`` or ``url``. What a user is handed are frames, which
are taken where they leave the pipeline. A service connects when its pipeline starts; one that is to
speak at once with others has a pipeline of its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from _peer import main
from _worker import Job, Take
from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

# Else there is a line for each thing that happens, to standard error and in colours.
logger.disable("pipecat")


def service(job: Job) -> Any:
    match job.provider:
        case "xai":
            from pipecat.services.xai.tts import XAITTSService

            settings: Any = XAITTSService.Settings(voice=job.voice)
            return XAITTSService(api_key=job.key, base_url=f"{job.url}/v1/tts", settings=settings)
        case "elevenlabs":
            from pipecat.services.elevenlabs.tts import ElevenLabsTTSService

            settings = ElevenLabsTTSService.Settings(voice=job.voice)
            return ElevenLabsTTSService(api_key=job.key, url=job.url, settings=settings)
        case _:
            from pipecat.services.gradium.tts import GradiumTTSService

            settings = GradiumTTSService.Settings(voice=job.voice)
            url = f"{job.url}/api/speech/tts"
            return GradiumTTSService(api_key=job.key, url=url, settings=settings)


class Ear(FrameProcessor):
    """The end of a pipeline: hands out its audio, and tells of what else comes."""

    def __init__(self) -> None:
        super().__init__()
        self.take: Take = lambda audio: None
        self.first: asyncio.Future[None] | None = None
        self.over: asyncio.Future[None] | None = None
        self.stopped: asyncio.Future[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.take(frame.audio)
            _set(self.first)
        elif isinstance(frame, TTSStoppedFrame):
            _set(self.over)
        elif isinstance(frame, InterruptionFrame):
            _set(self.stopped)
        await self.push_frame(frame, direction)


class Voice(FrameProcessor):
    """The begin of a pipeline, where errors of the service arrive: they end the speech."""

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self.ear = ear

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            for waiter in (self.ear.first, self.ear.over):
                if waiter is not None and not waiter.done():
                    waiter.set_exception(RuntimeError(frame.error))
        await self.push_frame(frame, direction)


def _set(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class Call:
    """A pipeline that runs."""

    def __init__(self, job: Job) -> None:
        self.ear = Ear()
        pipeline = Pipeline([Voice(self.ear), service(job), self.ear])
        # Else one that is silent for long is ended, and there are observers for a browser.
        self.worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)

    async def start(self) -> None:
        started = asyncio.Event()

        @self.worker.event_handler("on_pipeline_started")
        async def on_pipeline_started(worker: PipelineWorker, frame: Frame) -> None:
            started.set()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        self.running = asyncio.create_task(runner.run())
        await started.wait()


class Peer:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.all: list[Call] = []
        self.free: list[Call] = []

    async def open(self, connections: int) -> None:
        calls = [Call(self.job) for _ in range(connections - len(self.all))]
        await asyncio.gather(*(call.start() for call in calls))
        self.all += calls
        self.free += calls

    async def speak(self, text: str, take: Take) -> None:
        call = self.free.pop()
        call.ear.take = take
        call.ear.over = asyncio.get_running_loop().create_future()
        await call.worker.queue_frame(TTSSpeakFrame(text))
        await call.ear.over
        self.free.append(call)

    async def interrupted(self, text: str, take: Take) -> float:
        """Interrupt at the first audio; the stop is over when its frame has left the pipeline."""
        (call,) = self.all
        loop, ear = asyncio.get_running_loop(), call.ear
        ear.take, ear.first, ear.stopped = take, loop.create_future(), loop.create_future()
        await call.worker.queue_frame(TTSSpeakFrame(text))
        await ear.first
        began = time.perf_counter()
        await call.worker.queue_frame(InterruptionFrame())
        await ear.stopped
        return time.perf_counter() - began

    async def close(self) -> None:
        """End the pipelines, which do not let their tasks be cancelled by the end of the loop."""
        await asyncio.gather(*(call.worker.cancel() for call in self.all))
        await asyncio.gather(*(call.running for call in self.all))


if __name__ == "__main__":
    main(Peer)
