"""
What a script sees: a `World` with a simulator and a client on it, and a `Take` of each speech.

Each take says what should be true of it: `said`, `broke_off`, `failed`. What came of all of them is
a trace of plain values, which must be the same wherever the script was played.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Self, TypeVar

from ..adapter import Adapter, Voice
from ..audio import AudioChunk, AudioFormat, Mark
from ..client.options import Outcome
from ..core.ledger import Interruption
from ..core.states import SpeechState
from ..errors import Error
from ..settings import PoolLimits, RetryPolicy, Timeouts
from ..simulate.log import Record
from ..simulate.provider import Provider
from ..simulate.simulator import AsyncSimulator, create_provider
from . import leaks
from .answers import over_http
from .sound import is_beginning, is_whole, words_in
from .stage import GRACE, AnyClient, AnySpeech, Condition, Face, Part, Piece, Source, face

__all__ = [
    "KEY",
    "PATIENT",
    "Script",
    "Server",
    "Take",
    "Trace",
    "World",
    "all_gone",
    "facts_of",
    "play",
    "records",
    "rounded",
    "simulator",
]

T = TypeVar("T")

PATIENCE = 45.0
"""Seconds that a script waits for what must come about; only for who hangs."""
PATIENT = Timeouts(dial=20.0, first_audio=10.0, gap=10.0, pong=20.0, close=10.0)
"""For a client that is to run into no deadline, however busy the machine is."""
WAV_HEADER = 44
"""Bytes in front of the samples, in the answers of the simulated providers."""
KEY = "a-key-that-only-tests-have"
"""What the client is given. Not secret, but it must not be seen anywhere."""

Trace = dict[str, object]
Server = str | Callable[..., Provider]
"""The name of a simulator, or what makes a simulated provider of its options."""
_ID = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){4}[0-9a-f]{8}")


class World:
    """A simulator, a client on it, and what came of the speeches."""

    def __init__(
        self, stage: Face, sim: AsyncSimulator, client: AnyClient, adapter: Adapter
    ) -> None:
        self.stage = stage
        self.sim = sim
        self.client = client
        self.http = over_http(adapter)
        self.takes: list[Take] = []
        self._goodbyes = [json.loads(one) for one in adapter.shutdown() if isinstance(one, str)]

    def speak(self, text: object = None, **options: object) -> Take:
        """Begin to speak: *text* as `Client.speak` takes it, or what `source` gives."""
        speech = self.stage.speak(self.client, text, options)
        take = self.listen(speech, text if isinstance(text, str) else "")
        self.takes.append(take)
        return take

    def listen(self, speech: AnySpeech, text: str) -> Take:
        """Make the take of a speech."""
        return Take(self, speech, text)

    def source(self, *pieces: Piece) -> Source:
        """Make a source of text, in the runtime's own kind; it waits for conditions, and raises."""
        return self.stage.source(pieces)

    def lapse(self, seconds: float) -> Condition:
        """Return a condition that is true *seconds* after it was first asked."""
        until: list[float] = []

        def over() -> bool:
            if not until:
                until.append(time.monotonic() + seconds)
            return time.monotonic() >= until[0]

        return over

    async def prewarm(self, n: int = 1, **options: object) -> int:
        return await self.stage.prewarm(self.client, n, options)

    async def voices(self, **options: object) -> tuple[Voice, ...]:
        return await self.stage.voices(self.client, options)

    async def drain(self, **options: object) -> bool:
        return await self.stage.drain(self.client, options)

    async def together(self, *parts: Part) -> None:
        """Run *parts* at once, in threads or tasks of their own."""
        await self.stage.together(parts)

    async def until(self, condition: Condition, seconds: float = PATIENCE) -> None:
        """Wait until *condition* is true."""
        await self.stage.until(condition, seconds)

    async def seen(self, predicate: Callable[[list[Record]], T], seconds: float = PATIENCE) -> T:
        """Wait until *predicate*, called with the simulator's log, gives something true."""
        return await self.stage.seen(self.sim, predicate, seconds)

    async def settled(self) -> None:
        """Wait until no connection is being dialled, in use or closed."""

        def rests() -> bool:
            stats = self.client.pool_stats()
            return stats.size == stats.idle

        await self.until(rests)

    async def empty(self) -> None:
        """Wait until the client has no connection."""
        await self.until(lambda: not self.client.pool_stats().size)

    async def close(self) -> None:
        """Close the client, and wait until the provider has seen it leave."""
        await self.stage.close(self.client)
        await self.seen(all_gone)

    def records(self, event: str, **facts: object) -> list[Record]:
        """Return the simulator's records of *event* with these *facts*."""
        return records(self.sim.log, event, **facts)

    @property
    def connections(self) -> int:
        """How many connections there were, each with its own life: over HTTP, requests."""
        return len(self.records("request")) if self.http else self.sim.dials

    def audio_of(self, n: int) -> int:
        """Return how many bytes of audio were sent of the provider's *n*-th generation."""
        sizes: list[int] = []
        for record in self.records("send", generation=n):
            frame = record["frame"]
            size = frame.get("audio_bytes") if isinstance(frame, dict) else None
            sizes += [size] if isinstance(size, int) else []
        wav = self.records("answer", generation=n, content_type="audio/wav")
        return sum(sizes) - (WAV_HEADER if wav and sizes else 0)

    def no_complaints(self) -> None:
        """The client broke none of the provider's rules."""
        found = [record["message"] for record in self.records("violation")]
        assert not found, f"the provider's rules were broken: {found}"

    def trace(self) -> Trace:
        """Return what must be the same on every runtime."""
        trace: Trace = {"wire": self._wire(), "dials": self.connections}
        for n, take in enumerate(self.takes):
            trace |= {f"{n} {name}": fact for name, fact in take.facts().items()}
        return trace

    def _wire(self) -> list[list[str]]:
        """Return what the client sent: a list for each connection and generation, without ids."""
        groups: dict[object, list[str]] = {}
        for number, record in enumerate(self.records("recv")):
            if record["frame"] in self._goodbyes:
                continue  # whether one outruns the end of its wire is chance
            frame = json.dumps(record["frame"], sort_keys=True)
            id = _ID.search(frame)
            # And so is which connection of several to a host serves a request.
            whose = number if self.http else (record["conn"], id and id[0])
            groups.setdefault(whose, []).append(_ID.sub("ID", frame))
        return sorted(groups.values())


class Take:
    """One speech and all that came of it."""

    def __init__(self, world: World, speech: AnySpeech, text: str) -> None:
        self.world = world
        self.speech = speech
        self.text = text
        self.chunks: list[AudioChunk] = []
        self.error: BaseException | None = None
        self.report: Interruption | None = None

    def __repr__(self) -> str:
        return f"<Take {self.speech!r} {' '.join(self.heard)!r} {self.error!r}>"

    async def chunk(self) -> AudioChunk | None:
        """Read one chunk; None at the end, and at a failure, which `error` has."""
        try:
            chunk = await self.world.stage.next(self.speech)
        except Exception as exc:
            self.error = exc
            return None
        if chunk is not None:
            self.chunks.append(chunk)
        return chunk

    async def read(self, n: int) -> Self:
        """Read *n* chunks, which must be there."""
        for _ in range(n):
            assert await self.chunk() is not None, f"{self!r} ended early"
        return self

    async def rest(self) -> Self:
        """Read to the end, or to the failure."""
        while await self.chunk() is not None:
            pass
        return self

    async def sent(self, n: int) -> Self:
        """Read on until all audio is read that was sent of the provider's *n*-th generation."""
        while len(self.audio) < self.world.audio_of(n):
            await self.read(1)
        return self

    def interrupt(self) -> Interruption:
        self.report = self.speech.interrupt()
        return self.report

    async def received(self) -> Self:
        """Wait until all audio is in the client, read or not."""
        core = self.speech._core
        await self.world.until(lambda: core.state is SpeechState.RECEIVED)
        return self

    @property
    def audio(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def format(self) -> AudioFormat:
        return self.speech.format

    @property
    def heard(self) -> list[str]:
        """The words in its audio."""
        return words_in(self.audio, self.format)

    # What should be true of it.

    def said(self, text: str | None = None) -> Self:
        """It was completed, and every byte of it is there, in order, and nobody else's."""
        text = self.text if text is None else text
        assert self.error is None, repr(self.error)
        assert self.speech.outcome is Outcome.COMPLETED, repr(self)
        assert self.heard == text.split()
        assert is_whole(text, self.audio, self.format), "words are right, but bytes are not"
        return self._in_order()

    def broke_off(self, text: str | None = None) -> Self:
        """It was interrupted; what was read is the beginning of its own audio."""
        assert self.error is None, repr(self.error)
        assert self.speech.outcome is Outcome.INTERRUPTED, repr(self)
        return self.began(text)

    def began(self, text: str | None = None) -> Self:
        """All that was read is the beginning of *text*."""
        text = self.text if text is None else text
        assert is_beginning(text, self.audio, self.format), (self, text)
        return self._in_order()

    def failed(self, kind: type[BaseException], **facts: object) -> Self:
        """It failed, as *kind*, with these attributes."""
        assert isinstance(self.error, kind), repr(self.error)
        assert self.speech.outcome is Outcome.FAILED, repr(self)
        for name, value in facts.items():
            found = getattr(self.error, name)
            assert found == value, f"{name} is {found!r}, not {value!r}: {self.error!r}"
        return self._in_order()

    def _in_order(self) -> Self:
        at = 0
        for chunk in self.chunks:
            assert chunk.format == self.format
            assert len(chunk.data) % self.format.width == 0, "half a sample"
            assert chunk.start == self.format.seconds(at)
            at += len(chunk.data)
        return self

    def facts(self) -> dict[str, object]:
        """Return what must be the same on every runtime."""
        outcome = self.speech.outcome
        return {
            "chunks": self._cut(),
            "heard": self.heard,
            # Of others, what came and was not read is chance.
            "marks": rounded(self.speech.marks) if outcome is Outcome.COMPLETED else None,
            "outcome": outcome and outcome.name,
            "error": self.error and facts_of(self.error),
            "report": self.report,
            "attempts": self.speech.metrics.attempts,
            "characters": self.speech.metrics.characters,
        }

    def _cut(self) -> list[object]:
        """Return the chunks; of an answer over HTTP, which is cut by chance, all in one."""
        if not self.world.http:
            return [(c.start, len(c.data), rounded(c.marks)) for c in self.chunks]
        marks = rounded(mark for chunk in self.chunks for mark in chunk.marks)
        return [(len(self.audio), marks)]


def rounded(marks: Iterable[Mark]) -> list[tuple[str, float, float]]:
    """Return *marks* as they can be compared."""
    return [(mark.text, round(mark.start, 6), round(mark.stop, 6)) for mark in marks]


def facts_of(exc: BaseException) -> dict[str, object]:
    """Return what must be the same of an error on every runtime."""
    names = ("provider", "phase", "attempt", "retryable", "retry_after", "code", "status")
    found: dict[str, object] = {name: getattr(exc, name, None) for name in names}
    delivered = exc.delivered if isinstance(exc, Error) else None
    return {"type": type(exc).__name__, **found, "delivered": delivered}


def records(log: Iterable[Record], event: str, **facts: object) -> list[Record]:
    """Return the records of *event* in a simulator's log with these *facts*."""
    found = [record for record in log if record["event"] == event]
    for name, fact in facts.items():
        found = [record for record in found if record.get(name) == fact]
    return found


def all_gone(log: list[Record]) -> bool:
    """Tell whether the client has left every connection that it dialled."""
    ends = [*records(log, "lost"), *records(log, "close", by="client")]
    # One that is deaf by a fault does not hear of it.
    ends += [r for r in records(log, "fault") if str(r["fault"]).startswith("silence")]
    return {r["conn"] for r in records(log, "dial")} == {r["conn"] for r in ends}


# --- playing --------------------------------------------------------------------------------------

Script = Callable[[World], Coroutine[object, None, None]]


def provider_of(server: Server, **options: object) -> Provider:
    """Make the simulated provider, with options of its own."""
    return create_provider(server, options) if isinstance(server, str) else server(**options)


def simulator(
    server: Server,
    *,
    faults: Iterable[str] = (),
    ttfa_ms: float | None = None,
    rtf: float = 0.0,
    chunk_ms: float = 80.0,
    jitter_ms: float = 0.0,
    **options: object,
) -> AsyncSimulator:
    """Make a simulator that writes words into its audio; *options* are the provider's own."""
    faults = tuple(faults)
    if ttfa_ms is None:
        # Time for all frames of a generation to arrive before anything goes wrong.
        ttfa_ms = 15.0 if faults else 0.0
    return AsyncSimulator(
        provider_of(server, **options),
        engine="tone",
        faults=faults,
        ttfa_ms=ttfa_ms,
        rtf=rtf,
        chunk_ms=chunk_ms,
        jitter_ms=jitter_ms,
    )


def play(
    runtime: str,
    adapter: Adapter,
    sim: AsyncSimulator,
    script: Script,
    *,
    pool: PoolLimits | None = None,
    retry: RetryPolicy | None = None,
    timeouts: Timeouts | None = None,
    api_key: str | Callable[[], str] = KEY,
) -> Trace:
    """
    Play *script* on *runtime* with a client of *adapter*; return the trace.

    Args:
        sim: not started yet; it is closed afterwards.
        pool: by default without spares, which come when it suits them.
        retry: by default with hardly any wait.
        timeouts: by default such that only who hangs runs into them.

    Raises:
        AssertionError: the script says so, it hangs, or the client left something behind.
    """
    stage = face(runtime)

    async def whole() -> Trace:
        world = World(
            stage,
            sim,
            stage.client(
                adapter,
                base_url=sim.url,
                api_key=api_key,
                pool=pool or PoolLimits(min_idle=0),
                retry=retry or RetryPolicy(base=0.001),
                timeouts=timeouts or PATIENT,
                fallback=None,
            ),
            adapter,
        )
        try:
            await script(world)
        finally:
            await world.close()
        return world.trace()

    with sim:
        before = leaks.snapshot()
        trace = stage.run(whole())
        left = leaks.since(before, GRACE)
        assert not left, f"the client left behind: {', '.join(left)}"
    return trace
