"""
Where a script is played: the same lines on threads, asyncio, uvloop and trio.

A script is an async function over a `World`. `Tasks` awaits what it waits for; `Threads` blocks
there instead, so that its coroutines never suspend and can be run to their end by one `send`. What
came of a script is a trace of plain values, which must be the same wherever it was played.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar, TypeVar

import anyio
import anyio.to_thread
import attrs
import msgspec

import ttsmux
from tests import _leaks
from ttsmux.adapter import Adapter, Signal
from ttsmux.client.options import find_adapter
from ttsmux.core.states import SpeechState
from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import ToneEngine, decode_text, tags

T = TypeVar("T")

ID_FIELDS = ("client_req_id", "context_id")
DEADLINE = 45.0
"""Seconds that any script may take, however slow the machine."""
RATE = 24000
KEY = "a-key-that-only-tests-have"
PROVIDERS = ("gradium", "kugelaudio", "kugelaudio:stream", "xai")
"""Behind a colon stands which of its sockets."""
RUNTIMES = tuple(
    name
    for name, package in (
        ("threads", "ttsmux"),
        ("asyncio", "asyncio"),
        ("uvloop", "uvloop"),
        ("trio", "trio"),
    )
    if find_spec(package) is not None
)

Script = Callable[["World"], Coroutine[Any, Any, None]]
Condition = Callable[[], object]
Trace = dict[str, Any]


# --- the two faces --------------------------------------------------------------------------------


class Threads:
    """Everything is done when it returns: nothing here suspends."""

    Client: ClassVar[Any] = ttsmux.Client

    async def next(self, speech: Any) -> ttsmux.AudioChunk | None:
        return next(speech, None)

    async def prewarm(self, client: Any, n: int, options: dict[str, Any]) -> int:
        return client.prewarm(n, **options)

    async def close(self, client: Any) -> None:
        client.close()

    async def until(self, condition: Condition, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.001)  # noqa: ASYNC251 - on threads, nothing else waits

    async def seen(self, sim: AsyncSimulator, predicate: Callable[[Any], T], seconds: float) -> T:
        return sim.wait_for(predicate, seconds)

    async def together(self, parts: Iterable[Coroutine[Any, Any, None]]) -> None:
        failures: list[BaseException] = []

        def run(part: Coroutine[Any, Any, None]) -> None:
            try:
                drive(part)
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=run, args=(part,), name="script") for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        if failures:
            raise failures[0]

    def source(self, pieces: Iterable[str | Condition | BaseException]) -> Iterator[str]:
        for piece in pieces:
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, str):
                yield piece
            else:
                drive(self.until(piece, DEADLINE))

    def run(self, script: Coroutine[Any, Any, T]) -> T:
        """Run *script* in a thread that may be given up, with a look at where everybody is."""
        found: list[T] = []
        failures: list[BaseException] = []

        def body() -> None:
            try:
                found.append(drive(script))
            except BaseException as exc:
                failures.append(exc)

        thread = threading.Thread(target=body, name="script", daemon=True)
        thread.start()
        thread.join(DEADLINE)
        if thread.is_alive():
            raise AssertionError(f"the script hangs\n{stacks()}")
        if failures:
            raise failures[0]
        return found[0]


class Tasks:
    """The same in an event loop."""

    Client: ClassVar[Any] = ttsmux.AsyncClient

    def __init__(self, runtime: str) -> None:
        self._backend = "trio" if runtime == "trio" else "asyncio"
        self._options = {} if runtime == "trio" else {"use_uvloop": runtime == "uvloop"}

    async def next(self, speech: Any) -> ttsmux.AudioChunk | None:
        return await anext(speech, None)

    async def prewarm(self, client: Any, n: int, options: dict[str, Any]) -> int:
        return await client.prewarm(n, **options)

    async def close(self, client: Any) -> None:
        await client.aclose()

    async def until(self, condition: Condition, seconds: float) -> None:
        with anyio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)

    async def seen(self, sim: AsyncSimulator, predicate: Callable[[Any], T], seconds: float) -> T:
        return await sim.await_for(predicate, seconds)

    async def together(self, parts: Iterable[Coroutine[Any, Any, None]]) -> None:
        async with anyio.create_task_group() as tasks:
            for part in parts:
                tasks.start_soon(_awaited, part)

    async def source(self, pieces: Iterable[str | Condition | BaseException]) -> AsyncIterator[str]:
        for piece in pieces:
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, str):
                yield piece
            else:
                await self.until(piece, DEADLINE)

    def run(self, script: Coroutine[Any, Any, T]) -> T:
        async def main() -> T:
            before = _leaks.tasks()
            with anyio.fail_after(DEADLINE):
                found = await script
            assert not await _leaks.tasks_since(before, 2.0)
            return found

        return anyio.run(main, backend=self._backend, backend_options=self._options)


async def _awaited(part: Awaitable[None]) -> None:
    await part


def face(runtime: str) -> Threads | Tasks:
    return Threads() if runtime == "threads" else Tasks(runtime)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("a script on threads must not await anything but its world")


def stacks() -> str:
    """Show where every thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"--- {names.get(ident)}\n{''.join(traceback.format_stack(frame)[-4:])}"
        for ident, frame in sys._current_frames().items()
    )


# --- what a script sees ---------------------------------------------------------------------------


class World:
    """A simulator, a client on it, and the notes of what came of the speeches."""

    def __init__(
        self, stage: Threads | Tasks, sim: AsyncSimulator, ear: Ear, defaults: dict[str, Any]
    ) -> None:
        self.stage = stage
        self.sim = sim
        self.ear = ear
        self.provider = sim.provider
        self.takes: list[Take] = []
        self.notes: list[object] = []
        self._defaults = defaults
        self.client: Any = None

    def make_client(self, adapter: Adapter | None = None, **changes: Any) -> Any:
        settings = {
            "base_url": self.sim.url,
            "api_key": KEY,
            # Spares come when it suits them, and a trace is to be the same every time.
            "pool": ttsmux.PoolLimits(min_idle=0),
            "retry": ttsmux.RetryPolicy(base=0.001),
            **self._defaults,
            **changes,
        }
        if adapter is not None:
            return self.stage.Client(adapter, **settings)
        if self.provider == "xai":
            settings.setdefault("with_timestamps", True)
        else:
            settings.setdefault("voice", self.sim.default_voice)
        return self.stage.Client(self.provider, **settings)

    def speak(self, text: Any = None, **options: Any) -> Take:
        take = Take(self, self.client.speak(text, **options), text if type(text) is str else "")
        self.takes.append(take)
        return take

    def source(self, *pieces: str | Condition | BaseException) -> Any:
        """Make a source of text, in the runtime's own kind; it waits for conditions, and raises."""
        return self.stage.source(pieces)

    async def prewarm(self, n: int = 1, **options: Any) -> int:
        return await self.stage.prewarm(self.client, n, options)

    async def together(self, *parts: Coroutine[Any, Any, Any]) -> None:
        await self.stage.together(parts)

    async def until(self, condition: Condition, seconds: float = 10.0) -> None:
        await self.stage.until(condition, seconds)

    async def seen(self, predicate: Callable[[Any], T], seconds: float = 10.0) -> T:
        """Wait for the simulator's log."""
        return await self.stage.seen(self.sim, predicate, seconds)

    async def settled(self) -> None:
        """Wait until no connection is being dialled, in use or closed."""

        def rests() -> bool:
            stats = self.client.pool_stats()
            return bool(stats.size == stats.idle)

        await self.until(rests)

    async def close(self) -> None:
        if self.client is not None:
            await self.stage.close(self.client)
            await self.seen(all_gone)

    def note(self, fact: object) -> None:
        """Put *fact* into the trace."""
        self.notes.append(fact)

    def refusal(self, call: Callable[[], object], kind: type[BaseException]) -> BaseException:
        """Note what *call* raises, which must be of *kind*."""
        try:
            call()
        except BaseException as exc:
            if type(exc) is not kind:
                raise
            self.note(facts_of(exc))
            return exc
        raise AssertionError(f"nothing was raised, let alone {kind.__name__}")

    def trace(self, chance: Iterable[str]) -> Trace:
        """Return what must be the same on every runtime, without the parts that are *chance*."""
        trace: Trace = {
            "notes": self.notes,
            "wire": wire(self.sim),
            "dials": self.sim.dials,
            "nobody's signals": self.ear.nobodys,
        }
        for n, take in enumerate(self.takes):
            trace |= {f"{n} {name}": fact for name, fact in take.facts().items()}
        return {key: fact for key, fact in trace.items() if key.split()[-1] not in chance}


class Take:
    """One speech and all that came of it."""

    def __init__(self, world: World, speech: Any, text: str) -> None:
        self.world = world
        self.speech = speech
        self.text = text
        self.chunks: list[ttsmux.AudioChunk] = []
        self.error: BaseException | None = None
        self.report: ttsmux.Interruption | None = None

    def __repr__(self) -> str:
        return f"<Take {self.speech!r} {self.heard!r} {self.error!r}>"

    async def chunk(self) -> ttsmux.AudioChunk | None:
        """Read one chunk; None at the end, and at a failure, which `error` has."""
        try:
            chunk = await self.world.stage.next(self.speech)
        except Exception as exc:
            self.error = exc
            return None
        if chunk is not None:
            self.chunks.append(chunk)
        return chunk

    async def read(self, n: int) -> Take:
        """Read *n* chunks, which must be there."""
        for _ in range(n):
            assert await self.chunk() is not None, f"{self!r} ended early"
        return self

    async def rest(self) -> Take:
        """Read to the end, or to the failure."""
        while await self.chunk() is not None:
            pass
        return self

    def interrupt(self) -> ttsmux.Interruption:
        self.report = self.speech.interrupt()
        return self.report

    async def received(self) -> None:
        """Wait until all audio is in the client, read or not."""
        core = self.speech._core
        await self.world.until(lambda: core.state is SpeechState.RECEIVED)

    @property
    def audio(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def heard(self) -> str:
        """The words in its audio."""
        return decode_text(self.audio, RATE)

    # What should be true of it.

    def said(self, text: str | None = None) -> Take:
        """It was completed, and every byte is there, of one generation."""
        text = self.text if text is None else text
        assert self.error is None, repr(self.error)
        assert self.speech.outcome is ttsmux.Outcome.COMPLETED, self
        assert self.heard == " ".join(text.split())
        assert self.audio == sound(text, self.audio)
        return self._in_order()

    def broke_off(self, text: str | None = None) -> Take:
        """It was interrupted; what was read is the beginning of its own audio."""
        text = self.text if text is None else text
        assert self.error is None, repr(self.error)
        assert self.speech.outcome is ttsmux.Outcome.INTERRUPTED, self
        return self.began(text)

    def began(self, text: str | None = None) -> Take:
        """All that was read is the beginning of *text*, of one generation."""
        text = self.text if text is None else text
        assert not stale(text, self.audio), (self, text)
        return self._in_order()

    def failed(self, kind: type[BaseException], **facts: object) -> Take:
        assert type(self.error) is kind, repr(self.error)
        assert self.speech.outcome is ttsmux.Outcome.FAILED, self
        for name, value in facts.items():
            assert getattr(self.error, name) == value, (name, getattr(self.error, name))
        return self._in_order()

    def _in_order(self) -> Take:
        at = 0
        for chunk in self.chunks:
            assert chunk.start == at / 2 / RATE
            at += len(chunk.data)
        return self

    def facts(self) -> dict[str, object]:
        """Return what must be the same on every runtime."""
        outcome = self.speech.outcome
        signals = self._signals()
        return {
            # Which generation the server says it is, is in its sound; which it is, may be chance.
            "signals": [[entry for entry, _ in attempt] for attempt in signals],
            "sound": [[check for _, check in attempt if check] for attempt in signals],
            "chunks": [(c.start, len(c.data), _rounded(c.marks)) for c in self.chunks],
            "heard": self.heard,
            # Of others, what came and was not read is chance.
            "marks": _rounded(self.speech.marks) if outcome is ttsmux.Outcome.COMPLETED else None,
            "outcome": outcome and outcome.name,
            "error": self.error and facts_of(self.error),
            "report": self.report,
            "attempts": self.speech.metrics.attempts,
            "characters": self.speech.metrics.characters,
        }

    def _signals(self) -> list[Log]:
        """Return what was decoded for each attempt; of one cut short, as far as it was read."""
        attempts = self.world.ear.attempts(self.speech._core.number)
        if not attempts or self.speech.outcome is ttsmux.Outcome.COMPLETED:
            return attempts
        *before, last = attempts
        failed = self.speech.outcome is ttsmux.Outcome.FAILED
        left = len(self.audio)
        kept: Log = []
        for entry, check in last:
            # What came and was not read is chance; but not the failure behind it.
            if left > 0 or (failed and entry["signal"] in ("Failed", "unreadable")):
                kept.append((entry, check))
            left -= entry["data"] if entry["signal"] == "Audio" else 0
        return [*before, kept]


def _rounded(marks: Iterable[ttsmux.Mark]) -> list[tuple[str, float, float]]:
    return [(mark.text, round(mark.start, 6), round(mark.stop, 6)) for mark in marks]


def facts_of(exc: BaseException) -> dict[str, object]:
    names = ("provider", "phase", "attempt", "retryable", "retry_after", "code", "status")
    found = {name: getattr(exc, name, None) for name in names}
    delivered = getattr(exc, "delivered", None)
    return {
        "type": type(exc).__name__,
        **found,
        "delivered": attrs.astuple(delivered) if attrs.has(type(delivered)) else delivered,
    }


# --- signals --------------------------------------------------------------------------------------

Log = list[tuple[dict[str, Any], int]]
"""Signals of one generation: each with its fields, and for audio a checksum of its bytes."""


class Ear:
    """Hears what an adapter says that messages mean, and of which speech they are."""

    def __init__(self) -> None:
        self.nobodys: list[dict[str, Any]] = []
        """Signals that came before anything was opened there."""
        self._by_speech: dict[int, list[Log]] = {}
        self._logs: dict[object, Log] = {}
        """By the id of a generation, and by a wire for what comes without an id."""

    @contextmanager
    def at(self, kind: type[Adapter]) -> Iterator[None]:
        """Listen to *kind* until the block is left."""
        before = {name: kind.__dict__.get(name) for name in ("open", "decode", "decode_binary")}
        opened, decode, decode_binary = kind.open, kind.decode, kind.decode_binary

        def opens(adapter: Adapter, gen: Any) -> Any:
            log: Log = []
            self._by_speech.setdefault(gen.speech.number, []).append(log)
            self._logs[gen.id] = self._logs[gen.conn._wire] = log
            return opened(adapter, gen)

        def decodes(how: Any) -> Any:
            def decoding(adapter: Adapter, data: bytes, wire: Any) -> Any:
                try:
                    signals = tuple(how(adapter, data, wire))
                except Exception as exc:
                    self._put(wire, {"signal": "unreadable", "error": type(exc).__name__}, 0)
                    raise
                for signal in signals:
                    id = getattr(signal, "id", None)
                    self._put(wire if id is None else id, *_plain(signal))
                return signals

            return decoding

        kind.open, kind.decode = opens, decodes(decode)  # type: ignore[method-assign]
        kind.decode_binary = decodes(decode_binary)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for name, method in before.items():
                if method is None:
                    delattr(kind, name)
                else:
                    setattr(kind, name, method)

    def _put(self, whose: object, entry: dict[str, Any], check: int) -> None:
        log = self._logs.get(whose)
        if log is None:
            self.nobodys.append(entry)
        else:
            log.append((entry, check))

    def attempts(self, speech: int) -> list[Log]:
        """Return what was heard for the speech of that number, generation by generation."""
        return self._by_speech.get(speech, [])


def _plain(signal: Signal) -> tuple[dict[str, Any], int]:
    """Return *signal* as plain values, at once: the core adds to errors what it knows."""
    entry: dict[str, Any] = {"signal": type(signal).__name__, **msgspec.structs.asdict(signal)}
    check = 0
    if entry.get("id") is not None:
        entry["id"] = "ID"
    if "error" in entry:
        entry["error"] = facts_of(entry["error"])
    if "data" in entry:
        check = zlib.crc32(entry["data"])
        entry["data"] = len(entry["data"])
    return entry, check


# --- sound and wire -------------------------------------------------------------------------------


def sound(text: str, audio: bytes) -> bytes:
    """Return what *text* sounds like, said by the generation that the first word of *audio* is."""
    found = tags(audio[: 2 * RATE], RATE)
    tag = min(found) if found else 0
    return ToneEngine().speak(text, voice="", language=None, tag=tag, rate=RATE).pcm


def stale(text: str, audio: bytes) -> bool:
    """Tell whether *audio* is anything but the beginning of *text*, said by one generation."""
    return not sound(text, audio).startswith(audio)


def wire(sim: AsyncSimulator) -> list[list[dict[str, object]]]:
    """Return what the client sent: a list for each connection and id, ids and audio left out."""
    groups: dict[object, list[dict[str, object]]] = {}
    for record in sim.log:
        if record["event"] == "recv":
            frame = record["frame"]
            assert isinstance(frame, dict)
            key = record["conn"], *(frame.get(field) for field in ID_FIELDS)
            plain = {k: "ID" if k in ID_FIELDS else v for k, v in frame.items()}
            groups.setdefault(key, []).append(plain)
    return sorted(groups.values(), key=repr)


def events(log: Iterable[dict[str, object]], event: str, **facts: object) -> list[dict[str, Any]]:
    """Return the records of *event* with these *facts*."""
    return [
        record
        for record in log
        if record["event"] == event and all(record.get(k) == v for k, v in facts.items())
    ]


def received(log: Iterable[dict[str, object]], kind: str) -> list[dict[str, Any]]:
    """Return the records of messages of this kind that the simulator got."""
    return [r for r in events(log, "recv") if _is(r["frame"], kind)]


def sent(log: Iterable[dict[str, object]], kind: str) -> list[dict[str, Any]]:
    """Return the records of messages of this kind that the simulator sent."""
    return [r for r in events(log, "send") if _is(r["frame"], kind)]


def _is(frame: dict[str, object], kind: str) -> bool:
    """Tell a message's kind: its type, or where there are no types, the key that names it."""
    return frame["type"] == kind if "type" in frame else kind in frame


def audio_sent(log: Iterable[dict[str, object]], **facts: object) -> list[dict[str, Any]]:
    return [r for r in events(log, "send", **facts) if "audio_bytes" in r["frame"]]


def all_gone(log: list[dict[str, object]]) -> bool:
    """Tell whether the client has left every connection that it dialled."""
    ends = [*events(log, "lost"), *events(log, "close", by="client")]
    # One that is deaf by a fault does not hear of it.
    ends += [r for r in events(log, "fault") if r["fault"].startswith("silence")]
    return {r["conn"] for r in events(log, "dial")} == {r["conn"] for r in ends}


# --- playing --------------------------------------------------------------------------------------


def play(
    runtime: str,
    provider: str,
    script: Script,
    *,
    client: dict[str, Any] | None = None,
    chance: tuple[str, ...] = (),
    **simulator: Any,
) -> Trace:
    """Play *script* on *runtime* against a fresh simulator; return its trace without *chance*."""
    stage = face(runtime)
    provider, _, endpoint = provider.partition(":")
    if endpoint:
        client = {"endpoint": endpoint, **(client or {})}
    ear = Ear()
    if "faults" in simulator:
        # Time for all frames of a request to arrive before anything goes wrong.
        simulator.setdefault("ttfa_ms", 15)

    async def whole() -> Trace:
        world = World(stage, sim, ear, client or {})
        world.client = world.make_client()
        try:
            await script(world)
        finally:
            await world.close()
        return world.trace(chance)

    with (
        AsyncSimulator(provider, engine="tone", **simulator) as sim,
        ear.at(find_adapter(provider)),
    ):
        return stage.run(whole())
