"""
What a WebSocket and an HTTP request of a provider have in common: they speak.

A generation is spoken by a task of its own, from its first complete words on; this file paces it,
keeps the log and carries out the faults. What audio looks like on the wire is for `session`,
`exchange` and the files of the providers. All of it runs in the simulator's one event loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from .engines import EngineFailed, Utterance
from .faults import Fault, Moment
from .generation import Chunk, Generation
from .provider import Stage
from .sound import Encoding
from .text import Flush, Pause
from .wire import Wire

JSON = dict[str, object]


class Over(Exception):
    """The generation was ended while its own task was at work."""


class Speaker(ABC):
    """A connection or request with generations on it."""

    def __init__(self, stage: Stage, wire: Wire, conn: int) -> None:
        self.stage = stage
        self.wire = wire
        self.conn = conn
        self.open: dict[int, Generation] = {}
        self.odd = False
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    # What differs

    @property
    @abstractmethod
    def live(self) -> bool:
        """Whether anything can be sent."""

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

    # Recording comes before sending: what a client has received is in the log.

    def log(self, event: str, gen: Generation | None = None, **facts: object) -> None:
        """Record a fact of this connection, and of *gen* if given."""
        if gen is not None:
            facts = {"generation": gen.number, "tag": gen.tag, **facts}
        self.stage.log.add(event, conn=self.conn, **facts, open_generations=len(self.open))

    def violation(self, message: str, gen: Generation | None = None) -> None:
        """Record that the client broke a rule."""
        self.log("violation", gen, message=message)

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

    def acknowledge_late(
        self, fault: Fault, gen: Generation | None, acknowledge: Callable[[], None]
    ) -> None:
        """Do what a ``late-ack`` says: wait, or until *gen* has been spoken to its end."""
        if fault.milliseconds is not None:
            self.later(fault.milliseconds / 1000, acknowledge)
        elif gen is not None:
            # Text that was not ended yet never would be: a client that has cancelled says no more.
            gen.at_end.append(acknowledge)
            gen.feed.end()
            gen.touch()
        else:
            acknowledge()

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
            gen.waited()

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
        for call in gen.at_end:
            call()

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
        if not self.live:
            return
        self.log("fault", gen, fault=str(fault))
        match fault.action:
            case "reset":
                self._end_all("reset")
                self.wire.reset()
            case "eof":
                self._end_all("eof")
                self.wire.eof()
            case "silence":
                self.wire.silence()
            case "stall":
                self._hold(gen, fault)
            case "odd":
                if gen is None:
                    self.odd = True
                else:
                    gen.cutter.odd = True
            case "error":
                self.failed(gen, fault.arg or "Simulated failure")
            case _:
                self.act_here(fault, gen)

    @abstractmethod
    def act_here(self, fault: Fault, gen: Generation | None) -> None:
        """Carry out a fault that looks different on each kind of wire."""

    async def clear(self) -> None:
        """Leave nothing behind: no timer, generation or task."""
        for timer in self._timers:
            timer.cancel()
        for gen in list(self.open.values()):
            self.cut(gen, "lost")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end_all(self, reason: str) -> None:
        for gen in list(self.open.values()):
            self.cut(gen, reason)

    def _hold(self, gen: Generation | None, fault: Fault) -> None:
        if fault.until_interrupt:
            assert gen is not None, "a connection is not interrupted"
            gen.hold()
            return
        going, let_go = (self._going, self._let_go) if gen is None else (gen.going, gen.going.set)
        going.clear()
        if fault.milliseconds is not None:
            self.later(fault.milliseconds / 1000, let_go)

    def _let_go(self) -> None:
        self._going.set()
