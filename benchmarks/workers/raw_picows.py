"""picows, whose listener is called with each frame: JSON and base64 of the standard library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from _wire import Kept, address, ear, messages
from _worker import Take, main
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class Listener(WSListener):
    transport: WSTransport
    hear: Callable[[str | bytes], bytes | None]
    take: Take
    over: asyncio.Future[None] | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            audio = self.hear(frame.get_payload_as_utf8_text())
        elif frame.msg_type == WSMsgType.BINARY:
            audio = self.hear(frame.get_payload_as_bytes())
        else:
            return
        if audio is None:
            assert self.over is not None
            self.over.set_result(None)
        elif audio:
            self.take(audio)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self.over is not None and not self.over.done():
            self.over.set_exception(ConnectionError("closed before the end"))


class Raw(Kept):
    async def dial(self) -> Any:
        # Else a handshake may take 5 s, which a thousand at once do not keep.
        _, listener = await ws_connect(Listener, address(self.job), websocket_handshake_timeout=60)
        return listener

    async def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        socket.hear, socket.take = ear(self.job, number), take
        socket.over = asyncio.get_running_loop().create_future()
        for message in messages(self.job, number, text):
            socket.transport.send(WSMsgType.TEXT, message.encode())
        await socket.over


if __name__ == "__main__":
    main(Raw)
