"""
What a chunk of audio and a turn cost, counted in calls: a guard against work that creeps in.

The wires are scripted and carry real frames, so that all is counted between the bytes that come and
the chunk in the caller's hand. What event loops and threads do themselves is not: it is not ours,
and differs from one time to the next. Seconds would say more of the machine than of the code; see
``benchmarks/`` for those.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import queue
import random
import selectors
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import pytest
from websockets.utils import accept_key

from ttsmux import AsyncClient, AudioChunk, Client, PoolLimits
from ttsmux.adapter import Signal, Wire
from ttsmux.adapters.xai import XAI
from ttsmux.client import _tasks, _threads, _threads_wire
from ttsmux.core.pool import Pool
from ttsmux.transports import _socket
from ttsmux.transports._asyncio import AsyncioTransport
from ttsmux.transports._codec import Codec
from ttsmux.transports._http import endpoint
from ttsmux.transports.base import Response, Target
from ttsmux.transports.websocket_client import WebSocketClientTransport

CEILINGS: dict[tuple[int, int], dict[str, int]] = {
    (3, 11): {
        "asyncio chunk": 60,
        "asyncio turn": 760,
        "threads chunk": 72,
        "threads turn": 810,
    },
    (3, 12): {
        "asyncio chunk": 60,
        "asyncio turn": 755,
        "threads chunk": 72,
        "threads turn": 810,
    },
    (3, 13): {
        "asyncio chunk": 60,
        "asyncio turn": 755,
        "threads chunk": 72,
        "threads turn": 810,
    },
}
"""Calls, of Python and of C, by the version: comprehensions, for one, were calls until 3.12."""
MARGIN = 1.1
"""How far above what is counted a ceiling may lie. One that lies higher is out of date."""
PATIENCE = 30.0

pytestmark = [
    pytest.mark.skipif(
        sys.version_info[:2] not in CEILINGS, reason="nothing is recorded for this Python"
    ),
    pytest.mark.skipif(
        sys.implementation.name != "cpython", reason="other interpreters call otherwise"
    ),
]


# --- frames ---------------------------------------------------------------------------------------


def frame(message: dict[str, str]) -> bytes:
    data = json.dumps(message).encode()
    if len(data) < 126:
        return bytes([0x81, len(data)]) + data
    return bytes([0x81, 126]) + struct.pack("!H", len(data)) + data


def chunk(size: int) -> bytes:
    """Return a message with audio; loud, for silence at the beginning is looked at."""
    audio = random.Random(size).randbytes(size)
    return frame({"type": "audio.delta", "delta": base64.b64encode(audio).decode()})


CHUNK, DONE = chunk(4096), frame({"type": "audio.done"})
PARTS = {1: CHUNK, 2: chunk(2048)}
"""The messages that make up as much audio as one chunk, by their number."""
SETTINGS: dict[str, Any] = {
    "api_key": "a-key",
    "base_url": "ws://127.0.0.1:1",
    "pool": PoolLimits(min_idle=0),
    "fallback": None,
}
Counts = dict[str, float]
"""Calls, by what they are for."""


def texts(data: bytes) -> int:
    """Count the short messages that a client has sent."""
    at = count = 0
    while at < len(data):
        count += data[at] == 0x81
        at += 6 + (data[at + 1] & 0x7F)
    return count


# --- counting -------------------------------------------------------------------------------------

ELSEWHERE = tuple(
    os.path.dirname(str(module.__file__)) if module is asyncio else str(module.__file__)
    for module in (asyncio, selectors, threading, queue, sys.modules[__name__])
)


class Meter:
    """Counts calls in all threads that were begun under it, but for a client's clock."""

    def __init__(self) -> None:
        self.on = False
        self._counts: Counter[int] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        calls = self.on and event in ("call", "c_call")
        if calls and not frame.f_code.co_filename.startswith(ELSEWHERE):
            self._counts[threading.get_ident()] += 1

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count in this thread, and in those that are begun meanwhile."""
        before = sys.getprofile()
        threading.setprofile(self)
        sys.setprofile(self)
        gc.collect()
        gc.disable()  # what is collected when is no property of ours
        try:
            yield
        finally:
            gc.enable()
            sys.setprofile(before)
            threading.setprofile(before)

    def count(self, without: int | None) -> int:
        """Return how many calls there were since it was asked last, *without* those of a thread."""
        counts, self._counts = self._counts, Counter()
        return sum(number for thread, number in counts.items() if thread != without)


# --- asyncio --------------------------------------------------------------------------------------


class Raw(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Line:
    """A connection whose server is played here."""

    def __init__(self) -> None:
        self.raw = Raw()
        self.transport: AsyncioTransport | None = None

    async def connect(self, target: Target, timeout: float) -> tuple[AsyncioTransport, Response]:
        where = endpoint(target.url)
        loop = asyncio.get_running_loop()
        self.transport = AsyncioTransport(Codec(target, where), 10.0, loop, where.address)
        upgrade = asyncio.ensure_future(self.transport.upgrade(self.raw, self.raw))
        await asyncio.sleep(0)
        key = self.raw.written.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r")[0].decode()
        self.say(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        return self.transport, await upgrade

    def say(self, data: bytes) -> None:
        assert self.transport is not None, "it is up"
        self.transport.get_buffer(-1)[: len(data)] = data
        self.transport.buffer_updated(len(data))

    async def asked(self) -> None:
        """Wait for the end of what is to be spoken."""
        while texts(self.raw.written) < 2:  # noqa: ASYNC110 - an event would be one more task
            await asyncio.sleep(0)
        self.raw.written = b""


class AsyncTurns:
    """Turns of an async client, one after the other."""

    def __init__(self, client: AsyncClient, line: Line, meter: Meter) -> None:
        self.client, self.line, self.meter = client, line, meter

    async def turn(self, number: int, data: bytes = CHUNK) -> int:
        """Speak once, in so many chunks; return the calls."""
        self.meter.on = True
        speech = self.client.speak("Hello there.")
        heard: list[AudioChunk] = []

        async def listen() -> None:
            async with speech:
                async for item in speech:
                    heard.append(item)

        listening = asyncio.ensure_future(listen())
        await self.line.asked()
        for _ in range(number):
            before = len(heard)
            self.line.say(data)
            while len(heard) == before:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0)
        self.line.say(DONE)
        await listening
        self.meter.on = False
        return self.meter.count(without=None)


@contextlib.asynccontextmanager
async def async_turns(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncTurns]:
    line, meter = Line(), Meter()
    monkeypatch.setattr(_tasks, "connect", line.connect)
    async with AsyncClient(XAI(voice="eve"), **SETTINGS) as client:
        await client.prewarm()
        line.raw.written = b""
        with meter.running():
            turns = AsyncTurns(client, line, meter)
            for _ in range(3):
                await turns.turn(2)
            yield turns
        assert line.transport is not None, "it came up"
        line.transport.connection_lost(None)


def asynchronous(monkeypatch: pytest.MonkeyPatch, parts: int = 1) -> Counts:
    async def main() -> Counts:
        async with async_turns(monkeypatch) as turns:
            few, many = [await turns.turn(n * parts, PARTS[parts]) for n in (20, 60)]
            return {"asyncio chunk": (many - few) / 40, "asyncio turn": await turns.turn(1)}

    return asyncio.run(main())


# --- threads --------------------------------------------------------------------------------------


class Socket(socket.socket):
    """A socket that gives what it is told to, one piece at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._piece: bytes | None = None

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._piece is None:
            raise BlockingIOError
        piece, self._piece = self._piece, None
        return piece

    def ready(self, write: bool, seconds: float) -> bool:
        self._idle.release()
        self._piece = self._pieces.get(timeout=PATIENCE)
        return True

    def send(self, data: Any, flags: int = 0) -> int:
        if data[0] == 0x88:
            self._pieces.put(b"")  # the client leaves, and so do we
        return len(data)

    def up(self) -> None:
        """Wait until somebody reads, and is done with all that was said."""
        assert self._idle.acquire(timeout=PATIENCE)

    def say(self, data: bytes) -> None:
        self._pieces.put(data)
        self.up()


class Orders:
    """What the writer of a connection has to send; tells when it is done with all of it."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._put = self._asked = 0

    def put(self, order: object) -> None:
        with self._changed:
            self._put += 1
        self._orders.put(order)

    def get(self) -> object:
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
        return self._orders.get()

    def done(self) -> None:
        """Wait until the writer has nothing left to do."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._asked > self._put, PATIENCE)


class Turns:
    """Turns of a client for threads, one after the other."""

    def __init__(self, client: Client, sock: Socket, orders: Orders, meter: Meter) -> None:
        self.client, self.sock, self.orders, self.meter = client, sock, orders, meter

    def turn(self, number: int, data: bytes = CHUNK) -> int:
        """Speak once, in so many chunks; return the calls."""
        self.meter.on = True
        with self.client.speak("Hello there.") as speech:
            self.orders.done()
            for _ in range(number):
                # As an iterator does that has to wait, but nobody waits: that would be a race.
                assert speech._step(speech._mux.read, speech._core, time.monotonic()) is None
                self.sock.say(data)
                assert isinstance(next(speech), AudioChunk)
            self.sock.say(DONE)
            assert next(speech, None) is None
        self.meter.on = False
        clock = self.client._engine._clock
        assert clock is not None, "it runs"
        return self.meter.count(without=clock.ident)


@contextlib.contextmanager
def threaded_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    sock, orders, meter = Socket(), Orders(), Meter()

    def connect(
        target: Target, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[WebSocketClientTransport, Response]:
        return WebSocketClientTransport(sock, target, "here", b""), Response(101)

    monkeypatch.setattr(_threads, "connect", connect)
    monkeypatch.setattr(_socket, "ready", Socket.ready)
    monkeypatch.setattr(_threads_wire, "SimpleQueue", lambda: orders)
    with meter.running(), Client(XAI(voice="eve"), **SETTINGS) as client:
        client.prewarm()
        sock.up()
        turns = Turns(client, sock, orders, meter)
        for _ in range(3):
            turns.turn(2)
        yield turns


def threaded(monkeypatch: pytest.MonkeyPatch, parts: int = 1) -> Counts:
    with threaded_turns(monkeypatch) as turns:
        few, many = (turns.turn(n * parts, PARTS[parts]) for n in (20, 60))
        return {"threads chunk": (many - few) / 40, "threads turn": turns.turn(1)}


# --- the guard ------------------------------------------------------------------------------------

FACES = [asynchronous, threaded]


@pytest.mark.parametrize("face", FACES)
def test_no_more_is_called_than_is_recorded(
    face: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a chunk and for a turn. Whoever made it less records that, too."""
    for name, count in face(monkeypatch).items():
        ceiling = CEILINGS[sys.version_info[:2]][name]
        assert count <= ceiling <= MARGIN * count, f"{name}: {count} calls, recorded {ceiling}"


@pytest.mark.parametrize("face", FACES)
def test_the_same_is_counted_each_time(
    face: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the figures above would be of chance."""
    assert face(monkeypatch) == face(monkeypatch)


@pytest.mark.parametrize("face", FACES)
def test_twice_the_work_for_a_chunk_is_noticed(
    face: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same audio in twice as many messages."""
    counts = face(monkeypatch, parts=2)
    over = [name for name, count in counts.items() if count > CEILINGS[sys.version_info[:2]][name]]
    assert [name for name in over if "chunk" in name]


@pytest.mark.parametrize("face", FACES)
def test_what_is_decoded_twice_is_noticed(
    face: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small part of what a chunk costs."""
    real = XAI.decode

    def decode(self: XAI, data: bytes, wire: Wire) -> Iterable[Signal]:
        list(real(self, data, wire))
        return real(self, data, wire)

    monkeypatch.setattr(XAI, "decode", decode)
    counts = face(monkeypatch)
    over = [name for name, count in counts.items() if count > CEILINGS[sys.version_info[:2]][name]]
    assert [name for name in over if "chunk" in name]


@pytest.mark.parametrize("face", FACES)
def test_what_is_decided_twice_is_noticed(
    face: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn in which the pool makes each decision two times."""
    real = Pool._assign

    def assign(self: Pool, now: float) -> None:
        lanes = self._restless
        real(self, now)
        self._restless = lanes
        real(self, now)

    monkeypatch.setattr(Pool, "_assign", assign)
    counts = face(monkeypatch)
    over = [name for name, count in counts.items() if count > CEILINGS[sys.version_info[:2]][name]]
    assert [name for name in over if "turn" in name]
