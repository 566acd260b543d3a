"""
Gradium's own package: `tts_realtime`, a socket kept for many requests that are told apart by ids.

It is pointed at the server by ``base_url``. The ids and ``close_ws_on_eos`` are the protocol's; the
package hands both on, and leaves it to its user to tell the messages apart.
"""

from __future__ import annotations

from typing import Any

from _peer import main, over_http
from _worker import Job, Take
from gradium import GradiumClient


class Socket:
    """A connection, and how many requests it was asked for."""

    def __init__(self, tts: Any) -> None:
        self.tts = tts
        self.requests = 1


class Peer:
    def __init__(self, job: Job) -> None:
        self.client = GradiumClient(base_url=f"{over_http(job)}/api/", api_key=job.key)
        self.setup = {"voice_id": job.voice, "output_format": "pcm_24000"}
        self.setup["close_ws_on_eos"] = False
        self.all: list[Socket] = []
        self.free: list[Socket] = []

    async def open(self, connections: int) -> None:
        while len(self.all) < connections:
            tts = self.client.tts_realtime(**self.setup, client_req_id="1")
            self.all.append(Socket(await tts.__aenter__()))
            self.free.append(self.all[-1])

    async def _begin(self, socket: Socket, text: str) -> str:
        """Ask for *text*, under an id that is returned; the first one was set up by the dial."""
        id = str(socket.requests)
        if socket.requests > 1:
            await socket.tts.send_setup({**self.setup, "client_req_id": id})
        socket.requests += 1
        await socket.tts.send_text(text, client_req_id=id)
        await socket.tts.send_eos(client_req_id=id)
        return id

    async def speak(self, text: str, take: Take) -> None:
        socket = self.free.pop()
        id = await self._begin(socket, text)
        async for message in socket.tts:
            if message.get("client_req_id") != id:
                continue
            if message["type"] == "audio":
                take(message["audio"])
            elif message["type"] == "end_of_stream":
                self.free.append(socket)
                return
        raise ConnectionError("closed before the end")

    async def interrupted(self, text: str, take: Take) -> float:
        """Stop by no longer listening to the id: the protocol has nothing that would end it."""
        (socket,) = self.all
        id = await self._begin(socket, text)
        async for message in socket.tts:
            if message["type"] == "audio" and message.get("client_req_id") == id:
                take(message["audio"])
                return 0.0
        raise ConnectionError("closed before the first audio")

    async def close(self) -> None:
        for socket in self.all:
            await socket.tts.__aexit__(None, None, None)


if __name__ == "__main__":
    main(Peer)
