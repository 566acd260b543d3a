"""websockets on asyncio, or on uvloop: JSON and base64 of the standard library, a socket kept."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import websockets
from _wire import Kept, address, ear, messages
from _worker import Take, main

ACKNOWLEDGED_WITHIN = 0.25
"""Seconds after which a hand-written client, too, would rather dial."""


class Raw(Kept):
    async def dial(self) -> Any:
        return await websockets.connect(
            address(self.job), compression=None, max_size=None, open_timeout=60
        )

    async def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        hear = ear(self.job, number)
        for message in messages(self.job, number, text):
            await socket.send(message)
        async for data in socket:
            audio = hear(data)
            if audio is None:
                return
            if audio:
                take(audio)
        raise ConnectionError("closed before the end")

    async def interrupted(self, text: str, take: Take) -> float:
        """Stop at the first audio; xAI is told, and waited for; Gradium's audio has ids."""
        self.turns += 1
        hear = ear(self.job, self.turns)
        socket = self.free.pop() if self.free else await self.dial()
        if getattr(socket, "told", False):
            socket = await self._silent(socket)
        for message in messages(self.job, self.turns, text):
            await socket.send(message)
        async for data in socket:
            if audio := hear(data):
                take(audio)
                break
        began = time.perf_counter()
        if self.job.provider == "xai":
            await socket.send('{"type": "text.clear"}')
            socket.told = True
        took = time.perf_counter() - began
        self.free.append(socket)
        return took

    async def _silent(self, socket: Any) -> Any:
        """Return a socket for the next turn: this one once it is silent, or another."""
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN):
                async for data in socket:
                    if json.loads(data)["type"] == "audio.clear":
                        socket.told = False
                        return socket
        except TimeoutError:
            socket.transport.abort()
        return await self.dial()

    async def hang_up(self, socket: Any) -> None:
        await socket.close()


if __name__ == "__main__":
    main(Raw)
