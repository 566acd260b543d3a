"""aiohttp's WebSocket client: JSON and base64 of the standard library, a socket kept."""

from __future__ import annotations

from typing import Any

import aiohttp
from _wire import Kept, address, ear, messages
from _worker import Job, Take, main


class Raw(Kept):
    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def dial(self) -> Any:
        return await self.session.ws_connect(address(self.job), max_msg_size=0)

    async def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        hear = ear(self.job, number)
        for message in messages(self.job, number, text):
            await socket.send_str(message)
        async for message in socket:
            audio = hear(message.data)
            if audio is None:
                return
            if audio:
                take(audio)
        raise ConnectionError("closed before the end")

    async def close(self) -> None:
        await self.session.close()


if __name__ == "__main__":
    main(Raw)
