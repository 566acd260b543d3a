"""
LiveKit Agents' plugins for xAI, ElevenLabs and Gradium, without the rest of an agent.

Those for ElevenLabs and Gradium are pointed at the server by ``base_url`` and ``model_endpoint``.
The one for xAI has no option for that: its constant is replaced. All get an HTTP session, which
inside a job of LiveKit's they would find by themselves; ElevenLabs is asked for PCM instead of MP3.

A session of an agent calls `prewarm` when it starts, and does not wait for it: here a second is let
pass. Gradium's plugin has none. A connection more is a plugin more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
from _peer import main, over_http
from _worker import Job, Take

BEFORE_THE_FIRST_TURN = 1.0
"""Seconds that a `prewarm` has."""


def plugin(job: Job, http: aiohttp.ClientSession) -> Any:
    match job.provider:
        case "xai":
            from livekit.plugins import xai

            xai.tts.XAI_WEBSOCKET_URL = f"{job.url}/v1/tts"
            return xai.TTS(api_key=job.key, voice=job.voice, http_session=http)
        case "elevenlabs":
            from livekit.plugins import elevenlabs

            return elevenlabs.TTS(
                api_key=job.key,
                voice_id=job.voice,
                base_url=f"{over_http(job)}/v1",
                encoding="pcm_24000",
                http_session=http,
            )
        case _:
            from livekit.plugins import gradium

            return gradium.TTS(
                api_key=job.key,
                voice_id=job.voice,
                model_endpoint=f"{job.url}/api/speech/tts",
                http_session=http,
            )


class Peer:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.http: aiohttp.ClientSession | None = None
        self.all: list[Any] = []
        self.free: list[Any] = []

    async def open(self, connections: int) -> None:
        if self.http is None:
            # The session that LiveKit's jobs have is for fifty sockets at most, which no mode is
            # about; it is the same otherwise.
            self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        while len(self.all) < connections:
            self.all.append(plugin(self.job, self.http))
            self.all[-1].prewarm()
            self.free.append(self.all[-1])
        await asyncio.sleep(BEFORE_THE_FIRST_TURN)

    async def speak(self, text: str, take: Take) -> None:
        tts = self.free.pop()
        async with tts.stream() as stream:
            stream.push_text(text)
            stream.end_input()
            async for event in stream:
                take(event.frame.data.tobytes())
        self.free.append(tts)

    async def interrupted(self, text: str, take: Take) -> float:
        (tts,) = self.all
        async with tts.stream() as stream:
            stream.push_text(text)
            stream.end_input()
            take((await anext(stream)).frame.data.tobytes())
            began = time.perf_counter()
        return time.perf_counter() - began

    async def close(self) -> None:
        """Leave that to the end of the process: nobody measures it."""


if __name__ == "__main__":
    main(Peer)
