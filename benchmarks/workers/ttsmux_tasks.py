"""ttsmux's AsyncClient, on asyncio, uvloop or trio."""

from __future__ import annotations

import time

from _ours import options
from _worker import Job, Take, main

import ttsmux


class Ours:
    def __init__(self, job: Job) -> None:
        self.client = ttsmux.AsyncClient(job.provider, **options(job))

    async def open(self, connections: int) -> None:
        assert await self.client.prewarm(connections) >= connections

    async def speak(self, text: str, take: Take) -> None:
        async with self.client.speak(text) as speech:
            async for chunk in speech:
                take(chunk.data)

    async def interrupted(self, text: str, take: Take) -> float:
        speech = self.client.speak(text)
        take((await anext(speech)).data)
        began = time.perf_counter()
        speech.interrupt()
        took = time.perf_counter() - began
        take(await speech.read())
        return took

    async def close(self) -> None:
        await self.client.aclose()


if __name__ == "__main__":
    main(Ours)
