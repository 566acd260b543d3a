"""
One WebSocket of a provider: messages in and out, the speaking of generations, the log, faults.

A generation is spoken by a task of its own, from its first complete words on. The files of the
providers derive from `Session` and hold protocol only: what messages mean and look like. All of it
runs in the simulator's one event loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import msgspec
import pybase64

from .engines import EngineFailed, Utterance
from .faults import Fault, Moment
from .generation import Chunk, Generation
from .provider import Stage
from .sound import Encoding
from .text import Flush, Pause
from .wire import Closed, Message, Ping, Wire

JSON = dict[str, object]


class Over(Exception):
    """The generation was ended while its own task was at work."""


class Session(ABC):
    """One WebSocket. A subclass reads messages and writes the provider's events."""

    # The field of an audio message that holds the base64.
    audio_field: ClassVar[str]

    def __init__(self, stage: Stage, wire: Wire, conn: int) -> None:
        self.stage = stage
        self.wire = wire
        self.conn = conn
        self.open: dict[int, Generation] = {}
        self.odd = False
        self._bad_base64 = False
        self._going = asyncio.Event()
        self._going.set()
        self._held: list[tuple[JSON, Generation | None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    # The provider's part

    def opened(self) -> None:
        """Do what the provider does right after the upgrade."""

    @abstractmethod
    def receive(self, message: JSON) -> None:
        """Handle a JSON object."""

    @abstractmethod
    def reject(self, message: str) -> None:
        """Answer something that is no message of this protocol at all."""

    @abstractmethod
    def generation_of(self, message: JSON) -> Generation | None:
        """Tell for the log which open generation a message belongs to."""

    def pinged(self) -> None:
        """Note that a ping was read."""

    async def prepare(self, gen: Generation) -> None:
        """Do what comes before the first audio of *gen*."""

    def check(self, gen: Generation) -> None:
        """End *gen* if it has lived too long. Called before each chunk."""

    def hungry(self, gen: Generation) -> None:
        """All text of *gen* that can be spoken has been; it waits for more."""

    def flushed(self, gen: Generation) -> None:
        """Everything before a flush has been sent."""

    @abstractmethod
    def audio(self, gen: Generation, chunk: Chunk) -> None:
        """Send an audio message."""

    @abstractmethod
    def done(self, gen: Generation, *, marker: bool) -> None:
        """Send the end marker of *gen* unless it is to be dropped. *gen* is not open any more."""

    @abstractmethod
    def failed(self, gen: Generation | None, message: str) -> None:
        """Send the error event and do to *gen* and the connection what the provider does then."""

    def left(self, gen: Generation) -> None:
        """*gen* is not open any more, whichever way it ended."""

    # Running

    async def run(self) -> None:
        """Serve the socket until it is gone."""
        try:
            self.opened()
            self.faults(Moment.OPEN)
            await self.wire.unless_silent()
            async for message in self.wire.messages():
                self._take(message)
        finally:
            for timer in self._timers:
                timer.cancel()
            for gen in list(self.open.values()):
                self.cut(gen, "lost")
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def later(
        self, seconds: float, call: Callable[..., None], *args: object
    ) -> asyncio.TimerHandle:
        """Call something after a while, unless the socket is gone by then."""
        loop = asyncio.get_running_loop()

        def fire() -> None:
            self._timers.discard(handle)
            call(*args)

        handle = loop.call_later(seconds, fire)
        self._timers.add(handle)
        return handle

    def _take(self, message: Message) -> None:
        match message:
            case Ping(data):
                self.log("ping", bytes=len(data))
                self.pinged()
            case Closed(code, reason):
                self.log("close", by="client", code=code, reason=reason)
            case bytes():
                self.log("recv", frame={"binary_bytes": len(message)})
                if self.wire.open:
                    self.violation("a binary message")
                    self.reject("Binary messages are not supported")
            case str():
                self._take_text(message)

    def _take_text(self, text: str) -> None:
        try:
            frame = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            frame = None
        if not isinstance(frame, dict):
            self.log("recv", frame={"unparsed": self.stage.log.scrub(text)[:200]})
            if self.wire.open:
                self.violation("a message that is no JSON object")
                self.reject("Message is not a JSON object")
            return
        self.log("recv", self.generation_of(frame), frame=frame)
        if self.wire.open:
            self.receive(frame)

    # Recording and sending, in this order: what a client has received is in the log.

    def log(self, event: str, gen: Generation | None = None, **facts: object) -> None:
        """Record a fact of this connection, and of *gen* if given."""
        if gen is not None:
            facts = {"generation": gen.number, "tag": gen.tag, **facts}
        self.stage.log.add(event, conn=self.conn, **facts, open_generations=len(self.open))

    def violation(self, message: str, gen: Generation | None = None) -> None:
        """Record that the client broke a rule."""
        self.log("violation", gen, message=message)

    def send(self, frame: JSON, gen: Generation | None = None) -> None:
        """Send a JSON message, unless the connection is closing; later if a fault holds it."""
        if not self._going.is_set():
            self._held.append((frame, gen))
        elif self.wire.open:
            self.log("send", gen, frame=frame)
            self.wire.send_text(msgspec.json.encode(frame))

    def send_audio(self, frame: JSON, gen: Generation, data: bytes) -> None:
        """Send an audio message; *frame* is all of it but the base64 of *data*."""
        if not self.wire.open:
            return
        encoded = pybase64.b64encode(data).decode()
        logged: JSON = {**frame, "audio_bytes": len(data)}
        if gen.bad_base64 or self._bad_base64:
            gen.bad_base64 = self._bad_base64 = False
            encoded = "?" + encoded[1:-1] + "!"
            logged["bad_base64"] = True
        self.log("send", gen, frame=logged, chunk=gen.chunks, after_interrupt=gen.interrupted)
        self.wire.send_text(msgspec.json.encode({**frame, self.audio_field: encoded}))

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; all open generations are cut."""
        if self.wire.open:
            self.log("close", by="server", code=code, reason=reason)
        for gen in list(self.open.values()):
            self.cut(gen, "close")
        self.wire.close(code, reason)

    # Generations

    def create(
        self, id: str | None, voice: str, language: str | None, encoding: Encoding
    ) -> Generation:
        """Open a generation. It speaks after `begin`."""
        self.stage.generations += 1
        gen = Generation(
            self.stage.generations,
            id=id,
            voice=voice,
            language=language,
            encoding=encoding,
            stage=self.stage,
        )
        gen.cutter.odd = self.odd
        self.open[gen.number] = gen
        self.log("generation", gen, id=id, voice=voice)
        return gen

    def begin(self, gen: Generation) -> bool:
        """Start speaking. False: a fault has ended *gen* already."""
        self.faults(Moment.START, gen)
        if gen.over:
            return False
        gen.task = asyncio.get_running_loop().create_task(self._speak(gen))
        self._tasks.add(gen.task)
        gen.task.add_done_callback(self._tasks.discard)
        return True

    def detach(self, gen: Generation) -> None:
        """Count *gen* as gone, but let it speak on."""
        gen.detached = True
        gen.feed.end()
        gen.touch()
        self.open.pop(gen.number, None)
        self.left(gen)

    def cut(self, gen: Generation, reason: str) -> None:
        """End *gen* without its end marker."""
        if gen.over:
            return
        gen.over = True
        if self.open.pop(gen.number, None) is not None:
            self.log("cut", gen, reason=reason)
            self.left(gen)
        if gen.task is not None and gen.task is not asyncio.current_task():
            gen.task.cancel()

    async def _speak(self, gen: Generation) -> None:
        try:
            await self.gate(gen)
            await self.prepare(gen)
            self._ensure_going(gen)
            while (part := await self._next_part(gen)) is not None:
                match part:
                    case Pause(seconds):
                        gen.rest(seconds)
                    case Flush():
                        await self._send_sound(gen, final=True)
                        self.flushed(gen)
                    case str():
                        gen.say(await self._utter(gen, part))
                await self._send_sound(gen, final=False)
            await self._send_sound(gen, final=True)
            await self.gate(gen)
            self._finish(gen)
        except (Over, ConnectionError):
            pass
        except EngineFailed as exc:
            self.failed(gen, f"Speech engine failed: {exc}")

    async def _next_part(self, gen: Generation) -> str | Pause | Flush | None:
        while True:
            gen.changed.clear()
            part = gen.feed.take()
            if part is not None:
                return part
            if gen.feed.ended:
                return None
            self.hungry(gen)
            await gen.changed.wait()
            gen.starved()

    async def _utter(self, gen: Generation, text: str) -> Utterance:
        engine = self.stage.engine

        def speak() -> Utterance:
            return engine.speak(
                text,
                voice=gen.voice,
                language=gen.language,
                tag=gen.tag,
                rate=gen.encoding.rate,
                first_word=gen.words,
            )

        # Tones are joined bytes, done before a thread would have started.
        try:
            return speak() if engine.streams_words else await asyncio.to_thread(speak)
        except ValueError as exc:
            raise EngineFailed(str(exc)) from exc

    async def _send_sound(self, gen: Generation, *, final: bool) -> None:
        while (data := gen.cutter.take(final=final)) is not None:
            loop = asyncio.get_running_loop()
            wait = gen.due() - loop.time() + self.stage.rng.uniform(0, self.stage.jitter)
            if wait > 0:
                await asyncio.sleep(wait)
            self.check(gen)
            if gen.chunks == 0:
                self.faults(Moment.CHUNK, gen)
            self._ensure_going(gen)
            await self.gate(gen)
            self.audio(gen, gen.chunk(data))
            self.faults(Moment.CHUNK, gen)
            self._ensure_going(gen)
            await self.wire.drain()

    def _ensure_going(self, gen: Generation) -> None:
        if gen.over:
            raise Over

    def _finish(self, gen: Generation) -> None:
        if gen.detached:
            return
        dropped = self.faults(Moment.END, gen)
        gen.over = True
        self.open.pop(gen.number, None)
        self.done(gen, marker=not dropped)
        self.left(gen)

    # Faults

    async def gate(self, gen: Generation) -> None:
        """Wait while a fault holds *gen* or the connection; that may be for ever."""
        await self.wire.unless_silent()
        while not (gen.going.is_set() and self._going.is_set()):
            await gen.going.wait()
            await self._going.wait()
            await self.wire.unless_silent()

    def faults(self, moment: Moment, gen: Generation | None = None) -> list[Fault]:
        """Carry out the faults of this moment; those of CANCEL and END are for the caller to do."""
        chunks = gen.chunks if gen is not None and moment is Moment.CHUNK else None
        number = gen.number if gen is not None else None
        due = self.stage.faults.at(moment, self.conn, number, chunks)
        for fault in due:
            self.act(fault, gen)
        return due

    def act(self, fault: Fault, gen: Generation | None) -> None:
        """Carry out *fault*, on *gen* or else on the connection, unless that is closing."""
        if not self.wire.open:
            return
        self.log("fault", gen, fault=str(fault))
        match fault.action:
            case "close":
                self.close(fault.code, fault.reason)
            case "reset":
                self._end_all("reset")
                self.wire.reset()
            case "eof":
                self._end_all("eof")
                self.wire.eof()
            case "silence":
                self.wire.silence()
            case "stall":
                self._hold(gen, fault.milliseconds)
            case "garbage":
                self.log("send", gen, frame={"unparsed": '{"type": "garb'})
                self.wire.send_text(b'{"type": "garb')
            case "binary":
                self.log("send", gen, frame={"binary_bytes": 4})
                self.wire.send_binary(b"\x00\x01\x02\x03")
            case "badb64":
                if gen is None:
                    self._bad_base64 = True
                else:
                    gen.bad_base64 = True
            case "odd":
                if gen is None:
                    self.odd = True
                else:
                    gen.cutter.odd = True
            case "error":
                self.failed(gen, fault.arg or "Simulated failure")

    def _end_all(self, reason: str) -> None:
        for gen in list(self.open.values()):
            self.cut(gen, reason)

    def _hold(self, gen: Generation | None, milliseconds: float | None) -> None:
        going, let_go = (self._going, self._let_go) if gen is None else (gen.going, gen.going.set)
        going.clear()
        if milliseconds is not None:
            self.later(milliseconds / 1000, let_go)

    def _let_go(self) -> None:
        self._going.set()
        held, self._held = self._held, []
        for frame, gen in held:
            self.send(frame, gen)
