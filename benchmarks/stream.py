"""
A server that says as many chunks of audio, as fast, as the text asks for.

The simulators take longer for a message than the clients that are measured. This server renders a
chunk once, changes twelve characters in it and writes it to the socket; it speaks as much of a
provider's protocol as a client needs that sends a text and hears the audio to its end.

    say 2000 chunks of 4096 bytes every 1000 microseconds after 20 milliseconds

Each chunk begins with eight bytes that say when it was written, `time.monotonic_ns`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Self

import attrs
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

SCRIPT = re.compile(r"say(\d+)chunksof(\d+)bytesevery(\d+)microseconds(?:after(\d+)milliseconds)?")
DATA = (Opcode.CONT, Opcode.TEXT, Opcode.BINARY)
TOGETHER = 16
"""Chunks of a burst that are handed to the socket at once."""
SPIN_BELOW = 0.01
"""Seconds between chunks below which a timer of the event loop, good to 1 ms, is too coarse."""


@attrs.frozen
class Script:
    """What is to be said; gaps and delay in seconds."""

    chunks: int
    size: int
    gap: float
    delay: float

    @classmethod
    def of(cls, text: str) -> Self:
        """Read *text*, whatever the spaces in it; anything else is one short chunk."""
        found = SCRIPT.search("".join(text.lower().split()))
        if found is None:
            return cls(1, 4800, 0.0, 0.0)
        chunks, size, gap, delay = (int(each or 0) for each in found.groups())
        return cls(chunks, size, gap / 1e6, delay / 1e3)


@cache
def pattern(size: int) -> bytes:
    """Return what follows the stamp of a chunk: a sound that is never silent, of *size* bytes."""
    return bytes((number * 37 + 11) % 251 + 1 for number in range(size))


@cache
def _rest(size: int) -> bytes:
    return base64.b64encode(pattern(size)[9:])


def header(opcode: int, length: int) -> bytes:
    """Return the head of a server's frame, which is final and unmasked."""
    if length < 126:
        return bytes((0x80 | opcode, length))
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2)
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8)


def text_chunk(before: bytes, after: bytes, size: int) -> Callable[[], bytes]:
    """Make chunks of *size* bytes of audio as base64 between *before* and *after*, in a frame."""
    rest = _rest(size) + after
    before = header(1, len(before) + 12 + len(rest)) + before
    ninth = pattern(size)[8:9]

    def chunk() -> bytes:
        stamp = time.monotonic_ns().to_bytes(8, "little")
        return b"".join((before, base64.b64encode(stamp + ninth), rest))

    return chunk


def binary_chunk(size: int) -> Callable[[], bytes]:
    """Make chunks of *size* bytes of audio, in a binary frame."""
    head, rest = header(2, size), pattern(size)[8:]
    return lambda: b"".join((head, time.monotonic_ns().to_bytes(8, "little"), rest))


class Dialect:
    """What one provider's messages look like; *conn* is the connection that they are about."""

    voice: ClassVar[str] = "voice"

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    def message(self, data: bytes, text: bool) -> None:
        """Take a message of the client's."""
        raise NotImplementedError


class XAI(Dialect):
    voice = "eve"

    def __init__(self, conn: Connection) -> None:
        super().__init__(conn)
        self.text: list[str] = []

    def message(self, data: bytes, text: bool) -> None:
        message = json.loads(data)
        match message["type"]:
            case "text.delta":
                self.text.append(message["delta"])
            case "text.done":
                script = Script.of("".join(self.text))
                self.text.clear()
                chunk = text_chunk(b'{"type":"audio.delta","delta":"', b'"}', script.size)
                self.conn.say(script, chunk, {"type": "audio.done", "trace_id": "bench"})
            case "text.clear":
                self.conn.stop()
                self.conn.send({"type": "audio.clear"})


class SM(Dialect):
    voice = "Yara"

    def message(self, data: bytes, text: bool) -> None:
        message = json.loads(data)
        if "text" in message:
            script = Script.of(message["text"])
            end = {"type": "synthesis_complete"}
            self.conn.say(script, binary_chunk(script.size), end)


class Gradium(Dialect):
    """With ids or without; a socket is closed at the end unless its setup says otherwise."""

    voice = "YTpq7expH9539ERJ"

    def __init__(self, conn: Connection) -> None:
        super().__init__(conn)
        self.texts: dict[str | None, list[str]] = {}
        self.closes = True

    def message(self, data: bytes, text: bool) -> None:
        message = json.loads(data)
        id = message.get("client_req_id")
        tag = {} if id is None else {"client_req_id": id}
        match message["type"]:
            case "setup":
                self.texts[id] = []
                self.closes = message.get("close_ws_on_eos", True)
                ready = {"type": "ready", "request_id": "bench", "model_name": "default"}
                self.conn.send({**ready, "sample_rate": 24000, "frame_size": 1920, **tag})
            case "text":
                self.texts[id].append(message["text"])
            case "end_of_stream":
                script = Script.of(" ".join(self.texts.pop(id)))
                times = {"start_s": 0.0, "stop_s": 0.08, "stream_id": 0, **tag}
                after = f'", {json.dumps(times)[1:]}'
                chunk = text_chunk(b'{"type":"audio","audio":"', after.encode(), script.size)
                end = {"type": "end_of_stream", **tag}
                self.conn.say(script, chunk, end, self.conn.close if self.closes else lambda: None)


class ElevenLabs(Dialect):
    """The socket with contexts, and the one without."""

    voice = "21m00Tcm4TlvDq8ikWAM"

    def __init__(self, conn: Connection) -> None:
        super().__init__(conn)
        self.texts: dict[str | None, list[str]] = {}
        self.said: set[str | None] = set()
        self.closed: set[str | None] = set()

    def message(self, data: bytes, text: bool) -> None:
        message = json.loads(data)
        id, multi = message.get("context_id"), "multi" in self.conn.path
        if message.get("close_socket"):
            self.conn.close()
            return
        self.texts.setdefault(id, []).append(message.get("text") or "")
        closes = message.get("close_context") or (not multi and message.get("text") == "")
        if closes:
            self.closed.add(id)
        said = "".join(self.texts[id]).strip()
        if said and (closes or message.get("flush")) and id not in self.said:
            self.said.add(id)
            self._say(id, Script.of(said))
        if closes and id not in self.said:
            self._ended(id)

    def _say(self, id: str | None, script: Script) -> None:
        after = f'","contextId":{json.dumps(id)}}}' if id else '"}'
        chunk = text_chunk(b'{"audio":"', after.encode(), script.size)
        self.conn.say(script, chunk, None, lambda: self._over(id))

    def _over(self, id: str | None) -> None:
        self.said.discard(id)
        self.texts.pop(id, None)
        if id in self.closed:
            self._ended(id)

    def _ended(self, id: str | None) -> None:
        self.closed.discard(id)
        self.texts.pop(id, None)
        self.conn.send({"isFinal": True, **({"contextId": id} if id else {})})
        if "multi" not in self.conn.path:
            self.conn.close()


class KugelAudio(Dialect):
    """The socket for turns, and the one for whole texts."""

    voice = "1071"

    def __init__(self, conn: Connection) -> None:
        super().__init__(conn)
        self.text: list[str] = []

    def message(self, data: bytes, text: bool) -> None:
        message = json.loads(data)
        if message.get("close_socket"):
            self.conn.close()
            return
        if message.get("cancel"):
            self.conn.stop()
            self.conn.send({"interrupted": True})
            return
        self.text.append(message.get("text") or "")
        turns = self.conn.path.startswith("/ws/tts/stream")
        if "".join(self.text).strip() and (not turns or message.get("flush")):
            script = Script.of("".join(self.text))
            self.text.clear()
            about = {"enc": "pcm_s16le", "idx": 0, "sr": 24000, "samples": script.size // 2}
            after = f'", {json.dumps(about)[1:]}'
            chunk = text_chunk(b'{"audio":"', after.encode(), script.size)
            totals = {"total_audio_seconds": 1.0, "total_text_chunks": 1, "total_audio_chunks": 1}
            self.conn.say(script, chunk, None, lambda: self._over(turns, totals))

    def _over(self, turns: bool, totals: dict[str, Any]) -> None:
        self.conn.send({"final": True, "chunks": 1, "dur_ms": 1.0, "gen_ms": 1.0, "rtf": 0.0})
        if turns:
            self.conn.send({"session_closed": True, **totals})


DIALECTS: dict[str, type[Dialect]] = {
    "elevenlabs": ElevenLabs,
    "gradium": Gradium,
    "kugelaudio": KugelAudio,
    "sm": SM,
    "xai": XAI,
}


class Connection(asyncio.Protocol):
    """One socket. What it hears goes to a `Dialect`; frames are written as they were rendered."""

    path = ""
    transport: asyncio.Transport

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._wire = ServerProtocol(max_size=None)
        self._dialect = DIALECTS[stream.provider](self)
        self._parts: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()
        self._saying: set[asyncio.Task[None]] = set()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # asyncio does so itself, but not for a socket whose protocol is not named, as here.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop()
        self._stream.connections.discard(self)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        self._wire.receive_data(data)
        self._take()

    def eof_received(self) -> None:
        self._wire.receive_eof()
        self._take()

    def _take(self) -> None:
        for event in self._wire.events_received():
            if isinstance(event, Request):
                self.path = event.path
                self._wire.send_response(self._wire.accept(event))
                self._stream.opened.append(time.monotonic())
            elif isinstance(event, Frame) and event.opcode in DATA:
                if event.opcode is not Opcode.CONT:
                    self._is_text = event.opcode is Opcode.TEXT
                self._parts.append(bytes(event.data))
                if event.fin:
                    whole = b"".join(self._parts)
                    self._parts.clear()
                    self._dialect.message(whole, self._is_text)
        self._flush()

    def _flush(self) -> None:
        for data in self._wire.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    # What a dialect has done

    def send(self, message: dict[str, Any]) -> None:
        payload = json.dumps(message).encode()
        self.transport.write(header(1, len(payload)) + payload)

    def say(
        self,
        script: Script,
        chunk: Callable[[], bytes],
        end: dict[str, Any] | None,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        """Send what *script* says in the pieces that *chunk* makes, then *end*."""
        task = asyncio.get_running_loop().create_task(self._say(script, chunk, end, over))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def _say(
        self,
        script: Script,
        chunk: Callable[[], bytes],
        end: dict[str, Any] | None,
        over: Callable[[], None],
    ) -> None:
        if script.delay:
            await asyncio.sleep(script.delay)
        if script.gap:
            await self._paced(script, chunk)
        else:
            await self._burst(script, chunk)
        if end is not None:
            self.send(end)
        over()

    async def _paced(self, script: Script, chunk: Callable[[], bytes]) -> None:
        due = time.monotonic()
        for _ in range(script.chunks):
            if script.gap < SPIN_BELOW:
                while time.monotonic() < due:  # noqa: ASYNC110 — as said there
                    await asyncio.sleep(0)
            elif (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await self._room.wait()
            self.transport.write(chunk())
            due += script.gap

    async def _burst(self, script: Script, chunk: Callable[[], bytes]) -> None:
        one = chunk()
        for at in range(0, script.chunks, TOGETHER):
            await self._room.wait()
            self.transport.write(one * min(TOGETHER, script.chunks - at))

    def stop(self) -> None:
        """Say nothing more."""
        for task in self._saying:
            task.cancel()

    def close(self) -> None:
        """Close the connection as the provider does, with 1000."""
        self._wire.send_close(1000)
        self._flush()


class Stream:
    """The server, on a loopback port, in a thread of its own; as `ttsmux.simulate.Simulator`."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.connections: set[Connection] = set()
        self.opened: list[float] = []
        """When each handshake was answered."""
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._thread = threading.Thread(target=self._run, name="stream")
        self.url = f"ws://127.0.0.1:{self._socket.getsockname()[1]}"
        self.default_voice = DIALECTS[provider].voice

    def start(self) -> Self:
        self._thread.start()
        return self

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        await self._loop.create_server(lambda: Connection(self), sock=self._socket, backlog=4096)
        await self._stopped.wait()

    def close(self) -> None:
        def stop() -> None:
            for connection in list(self.connections):
                connection.transport.abort()
            self._loop.call_soon(self._stopped.set)

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(timeout=10)
        self._socket.close()

    def seen(self) -> dict[str, int]:
        """Count the connections, and the most that were opened within a tenth of a second, × 10."""
        tenths = Counter(int(10 * (at - self.opened[0])) for at in self.opened)
        return {"dials": len(self.opened), "peak": 10 * max(tenths.values(), default=0)}
