"""websocket-client, by default with its own check of UTF-8, in Python; `skip` leaves that out."""

from __future__ import annotations

from typing import Any

import websocket
from _wire import KeptByThreads, address, ear, messages
from _worker import Take, Threads, blocking, main


class Raw(KeptByThreads):
    def dial(self) -> Any:
        skip = bool(self.job.options.get("skip"))
        return websocket.create_connection(address(self.job), timeout=60, skip_utf8_validation=skip)

    def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        hear = ear(self.job, number)
        for message in messages(self.job, number, text):
            socket.send(message)
        while True:
            audio = hear(socket.recv())
            if audio is None:
                return
            if audio:
                take(audio)


if __name__ == "__main__":
    main(blocking(Raw), Threads())
