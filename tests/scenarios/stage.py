"""
Where the scenarios are played: the kit's stage and world, and what only our own tests look at.

That is what an adapter made of each message, by speech and attempt, and the notes of a script. What
came of a script is a trace of plain values, which must be the same wherever it was played.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec

import ttsmux
from ttsmux.adapter import Adapter, Input, Signal
from ttsmux.client.options import find_adapter
from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import ToneEngine, tags
from ttsmux.simulate.simulator import create_provider
from ttsmux.testing import world as kit
from ttsmux.testing.stage import RUNTIMES, Face, face
from ttsmux.testing.world import KEY, PATIENCE, PATIENT, Trace, all_gone, facts_of
from ttsmux.testing.world import records as events

__all__ = [
    "EAGER",
    "KEY",
    "PATIENCE",
    "PROVIDERS",
    "RATE",
    "RUNTIMES",
    "Ear",
    "Face",
    "Script",
    "Take",
    "World",
    "all_gone",
    "audio_sent",
    "events",
    "face",
    "facts_of",
    "patient",
    "play",
    "received",
    "sent",
    "sound",
    "stale",
]

RATE = 24000
PROVIDERS = (
    "elevenlabs",
    "elevenlabs:single",
    "gradium",
    "kugelaudio",
    "kugelaudio:oneshot",
    "kugelaudio:stream",
    "sm",
    "xai",
)
"""Behind a colon stands which of its sockets."""
EAGER = ("gradium", "kugelaudio", "kugelaudio:stream", "xai")
"""Those that speak what they have; others wait for more of it, for a flush or the end."""
_ENDS = ("OutputEnd", "Released")
CHATTY = ("kugelaudio",)
"""Those that remark on each text as it arrives, which may be before or after other audio."""

Script = Callable[["World"], Coroutine[Any, Any, None]]


# --- what a script sees ---------------------------------------------------------------------------


class World(kit.World):
    """The kit's, with notes, an ear for signals, and clients that a script makes itself."""

    takes: list[Take]

    def __init__(
        self, stage: Face, sim: AsyncSimulator, adapter: Adapter, ear: Ear, defaults: dict[str, Any]
    ) -> None:
        super().__init__(stage, sim, None, adapter)
        self.ear = ear
        self.traits = adapter.tuned()
        self.provider = sim.provider
        self.notes: list[object] = []
        self._defaults = defaults

    def make_client(self, adapter: Adapter | None = None, **changes: Any) -> Any:
        settings = {
            "base_url": self.sim.url,
            "api_key": KEY,
            # Spares come when it suits them, and a trace is to be the same every time.
            "pool": ttsmux.PoolLimits(min_idle=0, acquire_timeout=PATIENCE),
            "retry": ttsmux.RetryPolicy(base=0.001),
            # What is about sockets that fail is not to be done over HTTP; test_routes.py does that.
            "fallback": None,
            "timeouts": PATIENT,
            **self._defaults,
            **changes,
        }
        if adapter is not None:
            return self.stage.client(adapter, **settings)
        if self.provider == "xai":
            settings.setdefault("with_timestamps", True)
        else:
            settings.setdefault("voice", self.sim.default_voice)
        return self.stage.client(self.provider, **settings)

    def listen(self, speech: Any, text: str) -> Take:
        return Take(self, speech, text)

    async def close(self) -> None:
        if self.client is not None:
            await super().close()

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

    def trace(self, chance: Iterable[str] = ()) -> Trace:
        """Return what must be the same on every runtime, without the parts that are *chance*."""
        trace = {**super().trace(), "notes": self.notes, "nobody's signals": self.ear.nobodys}
        return {key: fact for key, fact in trace.items() if key.split()[-1] not in chance}


class Take(kit.Take):
    """The kit's, but each of its claims is about one generation, and errors are of one type."""

    world: World

    def said(self, text: str | None = None) -> Take:
        """It was completed, and every byte is there, of one generation."""
        super().said(text)
        self._of_one_generation(text)
        return self

    def began(self, text: str | None = None) -> Take:
        """All that was read is the beginning of *text*, of one generation."""
        super().began(text)
        self._of_one_generation(text)
        return self

    def _of_one_generation(self, text: str | None) -> None:
        text = self.text if text is None else text
        whole = self.world.traits.input is Input.WHOLE  # then it is one a sentence
        assert whole or not stale(text, self.audio, self.format.rate), (self, text)

    def failed(self, kind: type[BaseException], **facts: object) -> Take:
        """It failed, with that very type of error."""
        assert type(self.error) is kind, repr(self.error)
        return super().failed(kind, **facts)

    def facts(self) -> dict[str, object]:
        signals = self._signals()
        return {
            # Which generation the server says it is, is in its sound; which it is, may be chance.
            "signals": [[entry for entry, _ in attempt] for attempt in signals],
            "sound": [[check for _, check in attempt if check] for attempt in signals],
            **super().facts(),
        }

    def _signals(self) -> list[Log]:
        """Return what was decoded for each attempt; of one cut short, as far as it was read."""
        attempts = self.world.ear.attempts(self.speech._core.number)
        for attempt in attempts:
            if attempt is not attempts[-1] or self.world.provider in CHATTY:
                # When a remark comes, or whether it was read before the wire broke, is chance.
                attempt[:] = [entry for entry in attempt if entry[0]["signal"] != "Note"]
            ends = [n for n, (entry, _) in enumerate(attempt) if entry["signal"] in _ENDS]
            # What comes behind the end comes for nobody.
            del attempt[min(ends, default=len(attempt)) + 1 :]
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


def sound(text: str, audio: bytes, rate: int = RATE) -> bytes:
    """Return what *text* sounds like, said by the generation that the first word of *audio* is."""
    found = tags(audio[: 2 * rate], rate)
    tag = min(found) if found else 0
    return ToneEngine().speak(text, voice="", language=None, tag=tag, rate=rate).pcm


def stale(text: str, audio: bytes, rate: int = RATE) -> bool:
    """Tell whether *audio* is anything but the beginning of *text*, said by one generation."""
    return not sound(text, audio, rate).startswith(audio)


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


# --- playing --------------------------------------------------------------------------------------


def patient(**deadlines: float) -> ttsmux.Timeouts:
    """Return deadlines that only who hangs runs into, but for these."""
    return attrs.evolve(PATIENT, **deadlines)


def play(
    runtime: str,
    provider: str,
    script: Script,
    *,
    client: dict[str, Any] | None = None,
    chance: tuple[str, ...] = (),
    own: Mapping[str, dict[str, Any]] | None = None,
    **simulator: Any,
) -> Trace:
    """
    Play *script* on *runtime* against a fresh simulator; return its trace without *chance*.

    *own* are options of single simulators, by their provider.
    """
    stage = face(runtime)
    provider, _, endpoint = provider.partition(":")
    if endpoint:
        client = {"endpoint": endpoint, **(client or {})}
    voice = create_provider(provider, {}).default_voice
    adapter = find_adapter(provider)(voice=voice, **({"endpoint": endpoint} if endpoint else {}))
    ear = Ear()
    simulator |= (own or {}).get(provider, {})
    if "faults" in simulator:
        # Time for all frames of a request to arrive before anything goes wrong.
        simulator.setdefault("ttfa_ms", 15)

    async def whole() -> Trace:
        world = World(stage, sim, adapter, ear, client or {})
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
