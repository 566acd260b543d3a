"""
KugelAudio's own package: `streaming_session`, or with the option `whole` `stream_async`.

It is pointed at the server by ``api_url``; its telemetry is off, as it is by itself for any address
but the vendor's. A session has a socket of its own, and a client one for all that `stream_async`
says, one text after the other: a connection more is a session, or a client, more.
"""

from __future__ import annotations

import time
from typing import Any

from _peer import main, over_http
from _worker import Job, Take
from kugelaudio import AudioChunk, KugelAudio


class Sessions:
    def __init__(self, job: Job) -> None:
        self.client = KugelAudio(api_key=job.key, api_url=over_http(job))
        self.voice = int(job.voice)
        self.all: list[Any] = []
        self.free: list[Any] = []

    async def open(self, connections: int) -> None:
        while len(self.all) < connections:
            session = self.client.tts.streaming_session(voice_id=self.voice, language="en")
            await session.connect()
            self.all.append(session)
            self.free.append(session)

    async def speak(self, text: str, take: Take) -> None:
        session = self.free.pop()
        async for chunk in session.send(text, flush=True):
            take(chunk.audio)
        self.free.append(session)

    async def interrupted(self, text: str, take: Take) -> float:
        (session,) = self.all
        chunks = session.send(text, flush=True)
        take((await anext(chunks)).audio)
        began = time.perf_counter()
        await chunks.aclose()
        await session.cancel_current()
        return time.perf_counter() - began

    async def close(self) -> None:
        for session in self.all:
            await session.close()
        await self.client.aclose()


class Whole:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.voice = int(job.voice)
        self.all: list[KugelAudio] = []
        self.free: list[KugelAudio] = []

    async def open(self, connections: int) -> None:
        while len(self.all) < connections:
            url = over_http(self.job)
            self.all.append(await KugelAudio.create(api_key=self.job.key, api_url=url))
            self.free.append(self.all[-1])

    def _stream(self, client: KugelAudio, text: str) -> Any:
        return client.tts.stream_async(text, voice_id=self.voice, language="en")

    async def speak(self, text: str, take: Take) -> None:
        client = self.free.pop()
        async for item in self._stream(client, text):
            if isinstance(item, AudioChunk):
                take(item.audio)
        self.free.append(client)

    async def interrupted(self, text: str, take: Take) -> float:
        """Stop by leaving the iterator: there is nothing else, and the socket is kept."""
        (client,) = self.all
        chunks = self._stream(client, text)
        async for item in chunks:
            if isinstance(item, AudioChunk):
                take(item.audio)
                break
        began = time.perf_counter()
        await chunks.aclose()
        return time.perf_counter() - began

    async def close(self) -> None:
        for client in self.all:
            await client.aclose()


def kind(job: Job) -> Any:
    return Whole(job) if job.options.get("whole") else Sessions(job)


if __name__ == "__main__":
    main(kind)
