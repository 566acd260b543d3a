"""
A made-up provider with every trait to be set, and a hand on the Mux.

The protocol is words: ``open ID``, ``text ID …``, ``flush ID``, ``end ID``, ``release ID``,
``cancel ID`` and ``alive ID`` go out; ``ready``, ``audio ID …``, ``mark ID word start stop``,
``tired ID``, ``end ID``, ``released ID name=amount …``, ``ack ID``, ``error ID scope words`` and
``note`` come back. Where an id may be missing stands ``-``.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Mapping
from typing import ClassVar

import attrs

from ttsmux.adapter import (
    PING,
    Adapter,
    Audio,
    Base,
    CancelAck,
    Closed,
    DialFailure,
    Failed,
    Frame,
    Generation,
    Handshake,
    InputEnd,
    Marks,
    Note,
    Options,
    OutputEnd,
    Ping,
    Ready,
    Released,
    Scope,
    Signal,
    Traits,
    Verdict,
    Wire,
)
from ttsmux.audio import AudioChunk
from ttsmux.core.connection import Connection
from ttsmux.core.effects import Dial, Effect, Event, HangUp, Report, Send, Wake
from ttsmux.core.lane import Prewarm, Ticket
from ttsmux.core.ledger import Interruption
from ttsmux.core.mux import Mux
from ttsmux.core.route import Route
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import ConnectionState
from ttsmux.errors import AuthError, ConnectError, ConnectionLost, Error, GenerationError
from ttsmux.settings import Interrupt, PoolLimits, RetryPolicy, Settings, Timeouts

FORMATS = ("pcm_8000", "mulaw_8000")
SECOND = 16_000
"""Bytes of the default format."""

SEQUENTIAL = Traits(
    key_variable="TOY_KEY",
    formats=FORMATS,
    interrupt=Interrupt.CANCEL,
    policies=(Interrupt.CANCEL, Interrupt.DISCARD),
)
MULTIPLEXED = Traits(
    key_variable="TOY_KEY",
    formats=FORMATS,
    seats=3,
    slots=4,
    ids=True,
    interrupt=Interrupt.MUTE,
    policies=(Interrupt.MUTE, Interrupt.DISCARD),
    acknowledgement=4.0,
)


def traits(base: Traits = SEQUENTIAL, **changes: object) -> Traits:
    return attrs.evolve(base, **changes)  # type: ignore[arg-type]


@attrs.frozen(kw_only=True)
class Toy(Adapter):
    """A provider as its traits say it is; *line* is the pool key."""

    name: ClassVar[str] = "toy"
    traits: ClassVar[Traits] = SEQUENTIAL

    shape: Traits = SEQUENTIAL
    line: str = "main"

    def tuned(self) -> Traits:
        return self.shape

    def pool_key(self, options: Options) -> Hashable:
        return self.line, options.voice, options.format.name

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        headers = {"Authorization": secret} if secret else {}
        return Handshake(url="wss://toy.example/speak?x=1", headers=headers)

    def open(self, gen: Generation) -> Iterable[Frame]:
        return (f"open {gen.id}",)

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        return (f"text {gen.id} {piece}",)

    def flush(self, gen: Generation) -> Iterable[Frame]:
        return (f"flush {gen.id}",)

    def end(self, gen: Generation) -> Iterable[Frame]:
        return (f"end {gen.id}",)

    def release(self, gen: Generation) -> Iterable[Frame]:
        return (f"release {gen.id}",)

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        return (f"cancel {gen.id}",)

    def keepalive(self, gen: Generation | None) -> Iterable[Frame]:
        return (f"alive {gen.id if gen else '-'}",)

    def shutdown(self) -> Iterable[Frame]:
        return ("bye",)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        kind, _, rest = data.partition(b" ")
        name, _, rest = rest.partition(b" ")
        id = None if name in (b"-", b"") else name.decode()
        match kind:
            case b"ready":
                return (Ready(),)
            case b"audio":
                return (Audio(rest, id),)
            case b"rated":
                rate, _, rest = rest.partition(b" ")
                return (Audio(rest, id, rate=int(rate)),)
            case b"segment":
                segment, _, rest = rest.partition(b" ")
                return (Audio(rest, id, segment=segment.decode()),)
            case b"mark":
                return (_mark(rest.decode().split(), id),)
            case b"tired":
                return (InputEnd(id),)
            case b"end":
                return (OutputEnd(id),)
            case b"released":
                return (Released(id, _usage(rest.decode())),)
            case b"ack":
                return (CancelAck(id),)
            case b"error":
                scope, _, words = rest.decode().partition(" ")
                return (Failed(_error(scope, words), id),)
            case b"all":
                # Several signals in one message.
                return tuple(s for part in rest.split(b"|") for s in self.decode(part, wire))
            case b"note":
                return (Note(id=id),)
            case b"riddle":
                return ("?",)  # type: ignore[return-value]
        msg = f"what is {kind!r}?"
        raise ValueError(msg)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        if isinstance(fault, Failed) and isinstance(fault.error, GenerationError):
            scope = Scope(str(fault.error.code))
            return Verdict(scope, fault.error)
        if isinstance(fault, Closed) and fault.reason == "bad key":
            return Verdict(Scope.CONNECTION, AuthError("the key was refused"))
        return super().verdict(fault, busy)


def _mark(words: list[str], id: str | None) -> Marks:
    """Read ``word start stop [base [segment]]``."""
    base = Base(words[3]) if len(words) > 3 else Base.GENERATION
    segment = words[4] if len(words) > 4 else None
    return Marks(((words[0], float(words[1]), float(words[2])),), id, base, segment=segment)


def _usage(words: str) -> dict[str, float] | None:
    """Read ``name=amount …``."""
    pairs = [word.partition("=") for word in words.split()]
    return {name: float(amount) for name, _, amount in pairs} or None


def _error(scope: str, words: str) -> Error:
    """Read ``scope words``; the scope rides in the code, and ``!`` in the words means for good."""
    return GenerationError(words, code=scope, retryable="!" not in words)


def settings(
    *,
    timeouts: Mapping[str, object] | None = None,
    retry: Mapping[str, object] | None = None,
    **pool: object,
) -> Settings:
    """Return settings; plain keywords are the pool's."""
    return Settings(
        timeouts=Timeouts(**(timeouts or {})),  # type: ignore[arg-type]
        retry=RetryPolicy(**(retry or {})),  # type: ignore[arg-type]
        pool=PoolLimits(**pool),  # type: ignore[arg-type]
    )


LEAN = settings(min_idle=0)
"""No spares: only what a speech asks for is dialled."""


class Harness:
    """
    A Mux driven by hand: every input takes place at `now`, and every effect is kept.

    `advance` is the shell's clock. It calls `tick` at each deadline on the way, and insists that
    the next one lies in the future.
    """

    def __init__(
        self,
        shape: Traits = SEQUENTIAL,
        config: Settings = LEAN,
        *,
        routes: Iterable[Route] | None = None,
        seed: int = 1,
        **route: object,
    ) -> None:
        if routes is None:
            routes = [Route(adapter=Toy(shape=shape), **route)]  # type: ignore[arg-type]
        self.mux = Mux(list(routes), config, random.Random(seed))
        self.now = 0.0
        self.effects: list[Effect] = []
        self.wires: list[Connection] = []
        """Every connection that was ever dialled, in order."""

    # -- commands

    def speak(self, text: str | None = None, *, end: bool = True, **overrides: object) -> Speech:
        total = overrides.pop("total", None)
        speech = self.mux.speak(overrides, self.now, total=total)  # type: ignore[arg-type]
        speech.handle = speech
        self.collect()
        if text is not None:
            self.write(speech, text)
            if end:
                self.end(speech)
        return speech

    def ask(self, text: str = "Hello. ", **overrides: object) -> Speech:
        """Say *text*, all of it at once; unlike `speak` it may fail in that very step."""
        speech = self.mux.speak(overrides, self.now, text=[text])
        speech.handle = speech
        self.collect()
        return speech

    def write(self, speech: Speech, text: str) -> None:
        self.mux.write(speech, text, self.now)
        self.collect()

    def flush(self, speech: Speech) -> None:
        self.mux.flush(speech, self.now)
        self.collect()

    def end(self, speech: Speech) -> None:
        self.mux.end(speech, self.now)
        self.collect()

    def interrupt(self, speech: Speech) -> Interruption:
        report = self.mux.interrupt(speech, self.now)
        self.collect()
        return report

    def fail(self, speech: Speech, error: BaseException) -> None:
        self.mux.fail(speech, error, self.now)
        self.collect()

    def read(self, source: Speech | Ticket) -> object:
        try:
            return self.mux.read(source, self.now)
        finally:
            self.collect()

    def hear(self, speech: Speech) -> bytes:
        """Read all there is."""
        found = b""
        while isinstance(chunk := self.read(speech), AudioChunk):
            found += chunk.data
        return found

    def hear_all(self, speech: Speech) -> bytes:
        """Read what comes before the error that ends *speech*."""
        found = b""
        for chunk in list(speech._buffer):
            assert self.read(speech) is chunk
            found += chunk.data
        return found

    def finish(self, speech: Speech) -> bytes:
        """Read to the end, which must be here."""
        found = self.hear(speech)
        assert self.read(speech) is END
        return found

    def prewarm(self, n: int = 1, timeout: float = 10.0, **overrides: object) -> Prewarm:
        ticket = self.mux.prewarm(n, overrides, timeout, self.now)
        ticket.handle = ticket
        self.collect()
        return ticket

    def close(self) -> Ticket:
        ticket = self.mux.close(self.now)
        ticket.handle = ticket
        self.collect()
        return ticket

    def drain(self) -> Ticket:
        ticket = self.mux.drain(self.now)
        ticket.handle = ticket
        self.collect()
        return ticket

    # -- facts

    def up(self, *conns: Connection) -> None:
        """The dials of *conns*, or all that are under way, succeed."""
        for conn in conns or [c for c in self.wires if c.state is ConnectionState.DIALLING]:
            self.mux.dialled(conn, self.now)
            self.collect()

    def refuse(self, conn: Connection, status: int | None = None, **headers: str) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        error = ConnectError("refused") if status is None else None
        failure = DialFailure(status=status, headers=names, error=error)
        self.mux.dial_failed(conn, failure, self.now)
        self.collect()

    def say(self, conn: Connection, *messages: str | bytes, text: bool = True) -> None:
        """The provider sends *messages*."""
        for message in messages:
            data = message.encode() if isinstance(message, str) else message
            self.mux.receive(conn, data, text, self.now)
            self.collect()

    def alive(self, conn: Connection) -> None:
        self.mux.alive(conn, self.now)
        self.collect()

    def drop(self, conn: Connection, code: int | None = None, reason: str = "") -> None:
        """The wire ends: with *code*, or torn."""
        fault = ConnectionLost("torn") if code is None else Closed(code, reason)
        self.mux.lost(conn, fault, self.now)
        self.collect()

    def hung_up(self) -> None:
        """All closing handshakes are through."""
        for conn in self.wires:
            if conn.state is ConnectionState.CLOSING:
                self.mux.lost(conn, Closed(1000), self.now)
                self.collect()

    # -- time

    def advance(self, seconds: float) -> None:
        self.until(round(self.now + seconds, 9))

    def until(self, instant: float) -> None:
        while (due := self.mux.deadline) is not None and due <= instant:
            self.now = max(self.now, due)
            self.tick()
        self.now = instant

    def tick(self) -> None:
        self.mux.tick(self.now)
        self.collect()
        due = self.mux.deadline
        assert due is None or due > self.now, "the clock spins"

    # -- what came of it

    def collect(self) -> None:
        assert self.mux.agenda.pending or not self.mux.agenda.effects
        for effect in self.mux.effects():
            self.effects.append(effect)
            if isinstance(effect, Dial):
                self.wires.append(effect.conn)

    def take(self) -> list[Effect]:
        """Return the effects since the last time."""
        found, self.effects = self.effects, []
        return found

    def frames(self, conn: Connection) -> list[Frame | Ping]:
        """Return all that was sent there, the words of a farewell included."""
        found: list[Frame | Ping] = []
        for effect in self.effects:
            if isinstance(effect, Send | HangUp) and effect.conn is conn:
                found += effect.frames
        return found

    def words(self, conn: Connection) -> list[str]:
        """Return the same without ids."""
        found = []
        for frame in self.frames(conn):
            if frame is PING:
                found.append("PING")
            else:
                assert isinstance(frame, str)
                kind, _, rest = frame.partition(" ")
                _, _, rest = rest.partition(" ")
                found.append(f"{kind} {rest}" if rest else kind)
        return found

    def events(self, name: str | None = None) -> list[Event]:
        found = [effect.event for effect in self.effects if isinstance(effect, Report)]
        return [event for event in found if name is None or event.name == name]

    def doomed(self) -> list[object]:
        return [event.fields["reason"] for event in self.events("connection.doomed")]

    def woken(self, handle: object) -> bool:
        return any(isinstance(effect, Wake) and effect.handle is handle for effect in self.effects)

    def dials(self) -> list[Dial]:
        return [effect for effect in self.effects if isinstance(effect, Dial)]

    def hangups(self, conn: Connection) -> list[HangUp]:
        return [e for e in self.effects if isinstance(e, HangUp) and e.conn is conn]

    # -- shortcuts

    def id(self, speech: Speech) -> str:
        """Return the id of the generation that speaks for *speech*."""
        assert speech.generation is not None, f"{speech!r} has no generation"
        return speech.generation.id

    def on(self, speech: Speech) -> Connection:
        assert speech.generation is not None, f"{speech!r} has no generation"
        return speech.generation.conn

    def audio(self, speech: Speech, data: bytes = b"\1\2\3\4") -> None:
        """The provider sends *data* for *speech*."""
        self.say(self.on(speech), b"audio " + self.id(speech).encode() + b" " + data)

    def done(self, speech: Speech) -> None:
        """The provider ends the audio of *speech*."""
        self.say(self.on(speech), f"end {self.id(speech)}")

    def spoken(self, text: str = "Hello. ", data: bytes = b"\1\2\3\4") -> Speech:
        """Say *text* from beginning to end, on a connection that is dialled if need be."""
        speech = self.speak(text)
        self.up()
        self.audio(speech, data)
        self.done(speech)
        assert self.finish(speech) == data
        return speech


def opened(
    shape: Traits = SEQUENTIAL, config: Settings = LEAN, n: int = 1, **route: object
) -> Harness:
    """Return a harness with *n* open connections, proved by a word of the provider's."""
    harness = Harness(shape, config, **route)
    harness.prewarm(n)
    harness.up()
    for conn in harness.wires:
        harness.say(conn, "ack -")
    harness.take()
    return harness
