"""websockets for threads: JSON and base64 of the standard library, a socket kept."""

from __future__ import annotations

from typing import Any

from _wire import KeptByThreads, address, ear, messages
from _worker import Take, Threads, blocking, main
from websockets.sync.client import connect


class Raw(KeptByThreads):
    def dial(self) -> Any:
        return connect(address(self.job), compression=None, max_size=None, open_timeout=60)

    def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        hear = ear(self.job, number)
        for message in messages(self.job, number, text):
            socket.send(message)
        for data in socket:
            audio = hear(data)
            if audio is None:
                return
            if audio:
                take(audio)
        raise ConnectionError("closed before the end")


if __name__ == "__main__":
    main(blocking(Raw), Threads())
