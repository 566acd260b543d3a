"""
Gradium's own package: `tts_stream`, the way of its examples, a socket for each text.

It is pointed at the server by ``base_url``. There is nothing that would connect ahead.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Any

from _peer import main, over_http
from _worker import Job, Take
from gradium import GradiumClient, TTSSetup


class Peer:
    def __init__(self, job: Job) -> None:
        self.client = GradiumClient(base_url=f"{over_http(job)}/api/", api_key=job.key)
        self.voice = job.voice

    async def open(self, connections: int) -> None:
        """Have nothing: a socket is for one text."""

    async def _stream(self, text: str) -> Any:
        setup = TTSSetup(voice_id=self.voice, output_format="pcm_24000")
        return await self.client.tts_stream(setup, text)

    async def speak(self, text: str, take: Take) -> None:
        stream = await self._stream(text)
        async for chunk in stream.iter_bytes():
            take(chunk)

    async def interrupted(self, text: str, take: Take) -> float:
        stream = await self._stream(text)
        async with aclosing(stream.iter_bytes()) as chunks:
            take(await anext(chunks))
            began = time.perf_counter()
        return time.perf_counter() - began

    async def close(self) -> None:
        """Have nothing to close."""


if __name__ == "__main__":
    main(Peer)
