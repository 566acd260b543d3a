"""
The least that Python can do: a parser of 30 lines on a BufferedProtocol, and no client around it.

Whole data frames alone; the base64 is cut out of the bytes and nothing is parsed as JSON. Audio
reaches a reader by a deque and a bare future. No pings, no fragments, no checks: not for use.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import pybase64
from _wire import Kept, address, messages
from _worker import Take, main

BUFFER = memoryview(bytearray(256 * 1024))
"""One for all connections: what is in it is used up before the next read."""


class Socket(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.rest = b""
        self.audio: deque[bytes | None] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.upgraded: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        data: Any = BUFFER[:nbytes]
        if self.rest:
            data = memoryview(self.rest + data)
            self.rest = b""
        at, end = 0, len(data)
        if self.upgraded is not None:
            found = bytes(data).find(b"\r\n\r\n")
            if found < 0:
                self.rest = bytes(data)
                return
            at = found + 4
            self.upgraded.set_result(None)
            self.upgraded = None
        while end - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                if end - at < 4:
                    break
                length, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif length == 127:
                if end - at < 10:
                    break
                length, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if end - start < length:
                break
            self.frame(data[at], data[start : start + length])
            at = start + length
        if at < end:
            self.rest = bytes(data[at:end])

    def frame(self, first: int, payload: memoryview) -> None:
        if first == 0x82:
            self.audio.append(bytes(payload))
        elif first == 0x81:
            text = bytes(payload)
            begin = text.find(b'"delta":"')
            if begin >= 0:
                begin += 9
                cut = payload[begin : text.find(b'"', begin)]
                self.audio.append(pybase64.b64decode(cut, validate=True))
            else:
                self.audio.append(None)
        if (waiter := self.waiter) is not None:
            self.waiter = None
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.audio.append(None)
        if self.waiter is not None:
            self.waiter.set_result(None)

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> bytes:
        while not self.audio:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        item = self.audio.popleft()
        if item is None:
            raise StopAsyncIteration
        return item

    def send(self, text: str) -> None:
        """Write one text frame, masked with zeros, which leaves it as it is."""
        data = text.encode()
        size = len(data)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
        self.transport.write(head + bytes(4) + data)


class Floor(Kept):
    async def dial(self) -> Any:
        where = urlsplit(address(self.job))
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(Socket, where.hostname, where.port)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {where.path}?{where.query} HTTP/1.1", f"Host: {where.netloc}"]
        lines += ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}"]
        lines += ["Sec-WebSocket-Version: 13", "", ""]
        upgraded = socket.upgraded
        assert upgraded is not None
        socket.transport.write("\r\n".join(lines).encode())
        await upgraded
        return socket

    async def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        for message in messages(self.job, number, text):
            socket.send(message)
        async for audio in socket:
            take(audio)

    async def hang_up(self, socket: Any) -> None:
        socket.transport.close()


if __name__ == "__main__":
    main(Floor)
