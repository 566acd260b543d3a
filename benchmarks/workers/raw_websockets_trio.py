"""websockets on trio, where a connection is a block: those that are kept are blocks of `open`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from _wire import Kept, address, ear, messages
from _worker import Job, Take, Trio, main
from websockets.trio.client import connect


class Raw(Kept):
    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.stack = AsyncExitStack()

    def _connect(self) -> Any:
        return connect(address(self.job), compression=None, max_size=None, open_timeout=60)

    async def dial(self) -> Any:
        return await self.stack.enter_async_context(self._connect())

    async def speak(self, text: str, take: Take) -> None:
        if self.free:
            await super().speak(text, take)
            return
        async with self._connect() as socket:
            self.turns += 1
            await self.say(socket, self.turns, text, take)

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

    async def close(self) -> None:
        await self.stack.aclose()


if __name__ == "__main__":
    main(Raw, Trio())
