"""
The whole Mux against simulated providers, in virtual time.

A `Schedule` says everything that will happen: who speaks what and when, when somebody interrupts,
what goes wrong. A `World` plays it. The servers count slots and what a key may have, keep the order
of messages both ways, and write into every piece of audio whose turn it is and which piece; the
readers read only after a `Wake`; what the Mux owes is checked after every step, and at the end.
"""

from __future__ import annotations

import heapq
import random
import re
import struct
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import attrs

from tests.core.helpers import MULTIPLEXED, SEQUENTIAL, Toy, traits
from ttsmux.adapter import (
    Closed,
    DialFailure,
    EarlyEnd,
    Flush,
    Frame,
    HoldBack,
    Input,
    Join,
    Ping,
    Traits,
)
from ttsmux.audio import AudioChunk, Mark, Resumed
from ttsmux.core.breaker import Breaker
from ttsmux.core.connection import Connection
from ttsmux.core.effects import Dial, Effect, Event, HangUp, Report, Send, Wake
from ttsmux.core.lane import Ticket
from ttsmux.core.mux import Mux
from ttsmux.core.pool import Pool
from ttsmux.core.route import Plan, Route
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import (
    CircuitOpen,
    ClosedError,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    EmptyAudio,
    Error,
    FirstAudioTimeout,
    GenerationError,
    HandshakeError,
    PoolTimeout,
    RemoteProtocolError,
    StallTimeout,
)
from ttsmux.settings import (
    Interrupt,
    KeyLimits,
    OnPartial,
    PoolLimits,
    RetryPolicy,
    Settings,
    Timeouts,
)

# --- what will happen -----------------------------------------------------------------------------

TOLD = "turn ends that are told"
SHAPES: dict[str, Traits] = {
    "multiplexed": traits(
        MULTIPLEXED, max_muted=1, hold_back=HoldBack.WORD, join=Join.SPACE, flush=Flush.MESSAGE
    ),
    "two-step": traits(
        MULTIPLEXED, release_after=1.0, ends_released=False, generation_keepalive=1.0
    ),
    "separate release": traits(MULTIPLEXED, ends_released=False, flush=Flush.MESSAGE),
    "barrier": traits(SEQUENTIAL, flush=Flush.END, connection_keepalive=5.0),
    "greeting barrier": traits(SEQUENTIAL, greeting=True, ends_released=False),
    "discard": traits(
        SEQUENTIAL,
        interrupt=Interrupt.DISCARD,
        policies=(Interrupt.DISCARD,),
        ping=None,
        max_idle=6.0,
        max_age=9.0,
    ),
    "one-shot": traits(
        SEQUENTIAL, reusable=False, interrupt=Interrupt.DISCARD, policies=(Interrupt.DISCARD,)
    ),
    "whole text": traits(SEQUENTIAL, input=Input.WHOLE, max_text=60),
    "turn ends": traits(
        SEQUENTIAL,
        hold_back=HoldBack.WORD,
        early_end=EarlyEnd.NEXT_GENERATION,
        source_pause=2.0,
        flush=Flush.MESSAGE,
    ),
    "single file": traits(MULTIPLEXED, seats=1, slots=1, max_muted=1),
    TOLD: traits(
        MULTIPLEXED,
        hold_back=HoldBack.WORD,
        early_end=EarlyEnd.NEXT_GENERATION,
        source_pause=2.0,
        flush=Flush.MESSAGE,
    ),
    "own turn ends": traits(MULTIPLEXED, seats=2, slots=2, early_end=EarlyEnd.NEXT_GENERATION),
}

REQUEST = traits(
    SEQUENTIAL,
    reusable=False,
    ping=None,
    input=Input.WHOLE,
    interrupt=Interrupt.DISCARD,
    policies=(Interrupt.DISCARD,),
)
"""Of a voice over HTTP: a connection is one request."""

DIAL_FAULTS = ("refused", "503", "429", "401", "404", "hang", "late", "short", "deaf", "mute")
"""
*short*: comes up and closes at once; *deaf*: takes frames and says nothing, not even a greeting;
*mute*: the same, without pongs.
"""
WIRE_FAULTS = (
    "torn", "1000", "1001", "1008", "1011", "1013", "noise", "bad key", "again", "orphan",
)  # fmt: skip
TURN_FAULTS = (
    "stall", "error", "taint", "fatal", "benign", "nameless", "final", "garbage", "early",
    "empty", "torn", "close", "deaf cancel", "late ack", "ack and on", "refused cancel",
    "unreleased", "rate", "torn end", "taint and torn", "torn cancel",
)  # fmt: skip
CANCEL_FAULTS = ("deaf cancel", "late ack", "ack and on", "refused cancel", "torn cancel")
FAULTS = (*(f"dial {fault}" for fault in DIAL_FAULTS), *dict.fromkeys(WIRE_FAULTS + TURN_FAULTS))
"""What `World.struck` counts."""
LATER_FAULTS = (*CANCEL_FAULTS, "unreleased", "torn end")
"""Those that strike when a turn is cancelled or done."""
SURE_FAULTS = (
    "stall", "error", "taint", "fatal", "final", "nameless", "garbage", "rate", "torn", "close",
)  # fmt: skip
"""Those that any turn meets that has something to say."""
FATES = (
    "went on exactly", "went on by an estimate", "began again", "went over HTTP",
    "went to another provider", "ran out of time", "closed in the middle", "drained in the middle",
    "had all connections of a key", "had all generations of a key", "had all requests of a minute",
)  # fmt: skip
"""What `World.came` counts."""
OUTAGES = ("refused", "503", "hang", "short", "deaf")
"""Why no socket comes up, or none is any good, for as long as `Schedule.outage` says."""
MARKS = ("none", "with", "behind", "late", "twice", "without stops")
"""
When a server says which word is spoken when: just before its audio, just behind it, behind that of
the next one; each time all of them anew; or only when it starts.
"""
BREAKS = ("stall", "error", "taint", "nameless", "garbage", "torn", "close")
"""Those of them that a speech may live through after it was heard."""
CUES = ("begun", "seated", "heard", "received")
"""
What an interruption may wait for: the speech is there, has a seat, has been heard, has all come.
"""


NO_LIMITS = KeyLimits()


@attrs.frozen
class Script:
    """One caller: `(seconds after start, what, text)` in order, then perhaps an interruption."""

    start: float
    ops: tuple[tuple[float, str, str], ...]
    interrupt: float | None = None
    """Seconds after its cue."""
    cue: str = "begun"
    lag: float = 0.0
    line: str = "main"
    total: float | None = None
    gathers: bool = False
    """Whether all of it is collected before any is played."""

    @property
    def last(self) -> float:
        """When its caller does the last thing."""
        return self.start + max([self.interrupt or 0.0, *(at for at, _, _ in self.ops)])

    @property
    def text(self) -> str:
        return "".join(text for _, what, text in self.ops if what == "write")

    @property
    def words(self) -> list[str]:
        return _WORD.findall(self.text)


@attrs.frozen
class Schedule:
    """One run. Dials, wires and turns are numbered from 1 as they come; each fault hits once."""

    seed: int
    shapes: tuple[str, ...]
    config: Settings
    scripts: tuple[Script, ...]
    policy: Interrupt | None = None
    refreshable: bool = False
    dials: tuple[tuple[int, str], ...] = ()
    wires: tuple[tuple[int, str, float], ...] = ()
    """Number, fault, seconds after the wire came up."""
    turns: tuple[tuple[int, str, int], ...] = ()
    """Number, fault, pieces of audio sent before."""
    prewarms: tuple[tuple[float, int], ...] = ()
    end: str = "close"
    """How it ends: *close* at rest, *early* in the middle, *drain*."""
    insists: bool = False
    """Whether it goes on until a fault has struck and an interruption has met a speech."""
    marks: str = "none"
    fallback: bool = False
    """Whether each voice is to be had over HTTP, too."""
    outage: tuple[float, str] | None = None
    """Until when all dials of sockets come to nothing, and how."""
    limits: KeyLimits = NO_LIMITS
    """What the first provider allows the key."""

    @property
    def faults(self) -> int:
        return len(self.dials) + len(self.wires) + len(self.turns)

    @property
    def lifelike(self) -> bool:
        """Whether a word takes as long as it does in life; else it is over in a moment."""
        return self.config.retry.on_partial is not OnPartial.RAISE or self.marks != "none"


_WORD = re.compile(r"s\d+w\d+e")
_WORD_AND_POINT = re.compile(r"s\d+w\d+e[.,]*")


def random_schedule(seed: int) -> Schedule:
    """Return a schedule of three speeches or more, that a fault and an interruption will strike."""
    rng = random.Random(seed)
    shapes = [rng.choice(list(SHAPES))]
    if rng.random() < 0.2:
        shapes.append(rng.choice(list(SHAPES)))
    count = rng.randint(3, 7)
    cut = rng.randrange(count)
    hesitant = shapes[0] == TOLD and rng.random() < 0.7
    scripts = tuple(
        _hesitant(rng, i) if hesitant and i != cut else _random_script(rng, i, must=i == cut)
        for i in range(count)
    )
    faults = rng.choice(("dial", "wire", "turn", "turn", "turn", "all"))
    dials: tuple[tuple[int, str], ...] = ()
    wires: tuple[tuple[int, str, float], ...] = ()
    turns: tuple[tuple[int, str, int], ...] = ()
    if faults in ("dial", "all"):
        chosen = rng.sample(range(1, 7), rng.randint(1, 3))
        dials = tuple((i, rng.choice(DIAL_FAULTS)) for i in sorted({1, *chosen}))
    if faults in ("wire", "all"):
        wires = tuple(
            (i, rng.choice(WIRE_FAULTS), rng.choice((0.01, 0.3, rng.uniform(0, 8 if i > 1 else 1))))
            for i in range(1, rng.randint(2, 5))
        )
    if faults in ("turn", "all"):
        chosen = rng.sample(range(1, count + 3), rng.randint(1, 3))
        turns = tuple((i, rng.choice(TURN_FAULTS), rng.choice((0, 1, 1, 3))) for i in chosen)
        # One of them early: what is planned for late turns may never come.
        turns = ((rng.randint(1, 2), rng.choice(TURN_FAULTS), rng.choice((0, 0, 1))), *turns)
        if not SHAPES[shapes[0]].ends_released and rng.random() < 0.3:
            turns = ((1, "unreleased", 0),)
    if rng.random() < 0.25:
        # Barge-ins in a row, by a caller who has the next answer ready, on a server that cheats.
        shapes[0] = rng.choice((shapes[0], "barrier", "whole text"))
        scripts = tuple(_barge_in(rng, i) for i in range(count))
        turns = tuple(
            (i, rng.choice(CANCEL_FAULTS), 0) for i in range(1, count, rng.choice((1, 3)))
        )
    shape = SHAPES[shapes[0]]
    refused = rng.random() < 0.2
    more = random.Random(seed + 2)
    dice = random.Random(seed + 3)
    on_partial = dice.choice((*("raise",) * 5, *("resume",) * 4, "restart"))
    fallback = dice.random() < 0.25
    if on_partial != "raise":
        # Not in place of a lie: who was found true first is believed.
        lies = [turn for turn in turns if turn[1] in CANCEL_FAULTS]
        chosen = [i for i in dice.sample(range(1, count + 3), 4) if i not in {n for n, *_ in lies}]
        breaks = tuple((i, dice.choice(BREAKS), dice.choice((1, 2, 4))) for i in chosen)
        turns = (*lies, *(turn for turn in turns if turn[0] not in chosen), *breaks)
    return Schedule(
        seed=seed,
        shapes=tuple(shapes),
        config=Settings(
            pool=PoolLimits(
                max_size=rng.choice((1, 2, 2, 3, 4, 8)),
                min_idle=rng.choice((None, None, None, 0, 0, 1, 2)),
                acquire_timeout=rng.choice((10.0, 10.0, 3.0)),
                max_generations=more.choice((*(None,) * 9, 1, 3)),
                reconnect_jitter=more.choice((0.0, 20.0)),
            ),
            retry=RetryPolicy(
                attempts=rng.choice((1, 2, 3, 3)),
                budget=more.choice((500, 500, 20, 5, None)),
                breaker_failures=more.choice((5, 5, 5, 2, 1, 1, None)),
                breaker_base=more.choice((4.0, 0.2)),
                on_partial=on_partial,
                resumes=dice.choice((1, 1, 2)),
            ),
            timeouts=Timeouts(total=rng.choice((None, None, None, 6.0))),
        ),
        scripts=tuple(_vary(dice, script, on_partial) for script in scripts),
        policy=Interrupt.DISCARD if refused else rng.choice((None, shape.interrupt)),
        refreshable=rng.random() < 0.5,
        dials=dials,
        wires=wires,
        turns=turns,
        prewarms=tuple(
            (rng.uniform(0, 4), rng.randint(1, 3)) for _ in range(rng.choice((0, 0, 1, 2)))
        ),
        end=rng.choice(("close", "close", "early", "drain")),
        insists=True,
        marks=dice.choice(MARKS) if on_partial == "resume" or dice.random() < 0.1 else "none",
        fallback=fallback,
        outage=(dice.uniform(1.0, 12.0), dice.choice(OUTAGES))
        if dice.random() < (0.5 if fallback else 0.05)
        else None,
        limits=_random_limits(dice) if dice.random() < 0.2 else NO_LIMITS,
    )


def _vary(dice: random.Random, script: Script, on_partial: str) -> Script:
    """Have *script* be in a hurry, or collected as a whole, now and then."""
    return attrs.evolve(
        script,
        total=dice.uniform(0.3, 6.0) if dice.random() < 0.1 else None,
        gathers=on_partial == "restart" and dice.random() < 0.8,
    )


def _random_limits(dice: random.Random) -> KeyLimits:
    return KeyLimits(
        connections=dice.choice((None, 1, 2, 3)),
        generations=dice.choice((None, 1, 2, 4)),
        requests_per_minute=dice.choice((None, None, 3, 8)),
    )


def _barge_in(rng: random.Random, number: int) -> Script:
    text = " ".join(f"s{number}w{i}e" for i in range(8))
    start = 0.3 * number + rng.uniform(0.0, 0.3)
    when = rng.choice((rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.6), None)) if number else 0.5
    return Script(start=start, ops=((0.0, "write", text), (0.0, "end", "")), interrupt=when)


def _hesitant(rng: random.Random, number: int) -> Script:
    """Pause for about as long as a server bears, so that the next word may cross its end."""
    ops: list[tuple[float, str, str]] = []
    at = 0.0
    for i in range(rng.randint(2, 5)):
        ops += [(at, "write", f"s{number}w{i}e "), (at, "flush", "")]
        at += rng.uniform(1.1, 1.7)
    return Script(start=rng.uniform(0, 3), ops=(*ops, (at, "end", "")))


def _random_script(rng: random.Random, number: int, must: bool) -> Script:
    words = [f"s{number}w{i}e" for i in range(rng.choice((must, 1, 2, 4, 8)))]
    text = ""
    for word in words:
        text += word + rng.choice((" ", " ", ", ", ". ", ".\n\n", "  "))
    if not words:
        text = rng.choice(("", " ", "... ", "\n"))
    ops: list[tuple[float, str, str]] = []
    at = 0.0
    pace = rng.choice((0.0, 0.02, 0.3, 2.5))
    while text:
        size = rng.choice((len(text), 1, 3, 7, 20))
        ops.append((at, "write", text[:size]))
        text = text[size:]
        if ops[-1][2][-1:].isspace() and rng.random() < 0.3:
            # In the middle of a word it would cut the word: the caller's own doing.
            ops.append((at, "flush", ""))
        at += rng.uniform(0, pace)
    ops.append((at, "fail" if rng.random() < 0.04 and not must else "end", ""))
    cue = rng.choice(CUES)
    when = rng.choice((0.0, rng.uniform(0, 0.05), rng.uniform(0, 1.5), at + rng.uniform(0, 2)))
    if must:
        when = rng.choice((0.0, 0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.3)))
    return Script(
        start=rng.choice((0.0, rng.uniform(0, 6))),
        ops=tuple(ops),
        interrupt=when if must or rng.random() < 0.3 else None,
        cue=cue,
        # Who reads late has something left that is received and unread.
        lag=rng.choice((0.05, 0.4) if must and cue == "received" else (0.0, 0.0, 0.05, 0.4)),
        line=rng.choice(("main", "main", "main", "other")),
    )


# --- the world ------------------------------------------------------------------------------------

_UNIT = struct.Struct(">II")
_RATE = 16_000
"""Bytes a second."""
_FRAME = 640
"""Bytes of a unit where words take their time: 40 ms."""
_FILL = b"\x7f" * (_FRAME - _UNIT.size)
"""Loud: who looks for leading silence finds none."""
_REASONS = {
    "interrupted", "old", "idle or old", "it serves once", "another voice needs the room",
    "too many muted generations", "its provider does not mean its acknowledgements",
    "it has served max_generations", "its options are not used any more",
    "others of its age have ended",
}  # fmt: skip
"""For which a connection may be given up that nothing is wrong with."""
_OF_SOCKETS = {
    "ConnectError", "ConnectTimeout", "ConnectionLost", "TruncatedAudio", "FirstAudioTimeout",
    "StallTimeout", "RemoteProtocolError", "HandshakeError", "CircuitOpen",
}  # fmt: skip
"""What a request may not meet."""
_REPEATABLE = (
    ConnectError, ConnectionLost, EmptyAudio, FirstAudioTimeout, GenerationError, HandshakeError,
    RemoteProtocolError, StallTimeout,
)  # fmt: skip
"""What is tried again, if it may be."""
_ALIVE = (SpeechState.WAITING, SpeechState.SPEAKING)
_MINUTE, _PERIOD = 60.0, 61.0
"""What a provider counts requests over, and what its client leaves between to be sure."""
_CLOSE = 1e-6
_PATIENCE = 300.0
"""Seconds after which everything that was begun has met one deadline or another."""


class Fault(AssertionError):
    """The Mux broke a promise."""


class SourceError(Exception):
    """What a caller's text source raises."""


@attrs.frozen(kw_only=True)
class Voice(Toy):
    """The toy, with a surface over HTTP perhaps."""

    surface: Traits | None = None

    def rest(self) -> Toy | None:
        return self.surface and Toy(shape=self.surface, line=f"{self.line} by request")


def owner(plan: Plan) -> int:
    """Return the number of the route whose voice, and whose key, *plan* speaks with."""
    return plan.number if plan.route.fallback_for is None else plan.route.fallback_for


def _refusal(status: str) -> DialFailure:
    headers = {"retry-after": "2"} if status == "429" else {}
    return DialFailure(status=int(status), headers=headers)


class Turn:
    """What a server knows of one generation."""

    def __init__(
        self, number: int, id: str, link: Link, fault: str | None, after: int, eager: bool
    ) -> None:
        self.number = number
        self.id = id
        self.link = link
        self.fault = fault
        self.after = after
        self.eager = eager
        self.text = ""
        self.said = 0
        """Words sent."""
        self.units = 0
        """Pieces of audio sent."""
        self.spoken: list[tuple[str, int, int]] = []
        """Words begun, each with its first unit and how many it takes."""
        self.told = 0
        """Words of which was said when they are spoken."""
        self.allowed = 0
        """Words that a flush allows to be said."""
        self.ended = self.released = self.marked = self.running = self.over = False
        self.delivered_end = False
        self.tired = False
        """Whether it was told that no more text is taken."""
        self.heard = 0.0

    @property
    def words(self) -> list[str]:
        return _WORD.findall(self.text)

    @property
    def points(self) -> list[str]:
        """The words, each with what is attached to it."""
        return _WORD_AND_POINT.findall(self.text)


class Link:
    """One socket, with the server behind it."""

    def __init__(self, world: World, conn: Connection, number: int, fault: str | None) -> None:
        self.world = world
        self.conn = conn
        self.number = number
        self.fault = fault
        self.route = conn.plan.route
        self.account = owner(conn.plan)
        self.by_request = self.route.fallback_for is not None
        self.responds = False
        """Whether the answer to a request has begun."""
        self.carried = 0
        """Generations that were on it when it was hung up."""
        self.shape = conn.plan.traits
        self.tires = self.shape.source_pause or 1.5
        """Seconds without text after which a turn is ended here."""
        self.tells = self.route.adapter.tuned() is SHAPES[TOLD]
        if self.tells:
            self.tires *= 0.6  # less than the client reckons with
        self.up = self.answered = self.hung = self.gone = self.leaving = False
        self.dead = False
        """At the server's side."""
        self.well = fault is None
        """Whether nothing went wrong here so far."""
        self.held: dict[str, Turn] = {}
        """Turns that take a slot."""
        self.known: dict[str, Turn] = {}
        self.heard = 0.0
        self.arrives = self.returns = 0.0
        """When the last message gets there, and back: both directions keep their order."""

    # -- the client's side

    def dial(self) -> None:
        world, fault = self.world, self.fault
        if self.by_request:
            world.after(0.0, self.rise)  # there is nothing to dial until there is something to say
            return
        delay = world.rng.uniform(0.02, 0.4)
        match fault:
            case "hang":
                world.after(0.4, self.hang)
            case "refused":
                world.after(delay, self.refuse, DialFailure(error=ConnectError("refused")))
            case "401" | "404" | "429" | "503":
                world.after(delay, self.refuse, _refusal(fault))
            case "late":
                world.after(0.4, self.hang)
                world.after(world.rng.uniform(4.0, 7.0), self.rise)
            case _:
                world.after(delay, self.rise)

    def hang(self) -> None:
        """Nobody has answered in the time in which others do."""
        if not (self.answered or self.hung):
            self.world.struck[f"dial {self.fault}"] += 1

    def refuse(self, failure: DialFailure) -> None:
        if self.answered:
            return
        self.answered = self.gone = True
        world = self.world
        if not self.hung:
            world.struck[f"dial {self.fault}"] += 1
        if failure.status == 429 and not self.hung:
            world.banned[self.conn.plan.number] = world.now + 2.0
        world.input(world.mux.dial_failed, self.conn, failure)

    def rise(self) -> None:
        if self.answered:
            return
        self.answered = self.up = True
        world = self.world
        self.heard = self.returns = world.now
        world.input(world.mux.dialled, self.conn)
        if self.shape.connection_keepalive is not None and self.fault is None:
            self.expect(self, self.shape.connection_keepalive * 1.5)
        if self.hung:
            world.require(self.leaving, "a wire came up after the HangUp and was left there")
            return
        if self.by_request:
            return
        if self.fault in ("short", "deaf", "mute"):
            world.struck[f"dial {self.fault}"] += 1
        if self.fault == "short":
            self.leave(Closed(1008, "not you"))
        elif self.shape.greeting and self.fault not in ("deaf", "mute"):
            self.to_client(b"ready -")
        for _, fault, delay in [f for f in world.schedule.wires if f[0] == self.number]:
            world.after(delay, self.strike, fault)

    def hang_up(self) -> None:
        world = self.world
        if not self.hung and not self.answered:
            self.hung = True
            if self.fault != "late":
                world.after(world.rng.uniform(0, 0.3), self.refuse, DialFailure())
            return  # else it still comes up, and has to be hung up once more
        self.hung = True
        if not self.leaving:
            self.leaving = True
            fault = Closed(1000)
            self.returns = max(self.returns, world.now + world.rng.uniform(0.01, 0.3))
            world.at(self.returns, self.lose, fault)

    def lose(self, fault: Closed | DialFailure | Error) -> None:
        if self.gone:
            return
        self.gone = self.dead = True
        if isinstance(fault, DialFailure) and fault.status == 429:
            self.world.banned[self.conn.plan.number] = self.world.now + 2.0
        self.world.input(self.world.mux.lost, self.conn, fault)
        if any(f[:2] == (self.number, "again") for f in self.world.schedule.wires):
            self.world.struck["again"] += 1
            # A shell that reports twice is wrong, and still harms nobody.
            self.world.input(self.world.mux.lost, self.conn, fault)
            self.world.input(self.world.mux.dialled, self.conn)
            self.world.input(self.world.mux.dial_failed, self.conn, DialFailure())

    def send(self, frames: list[Frame | Ping]) -> None:
        world = self.world
        world.require(self.up and not self.hung, f"frames for {self.conn!r}, which is not up")
        self.arrives = max(self.arrives, world.now + world.rng.uniform(0.005, 0.06))
        world.at(self.arrives, self.take, list(frames))

    # -- the server's side

    def to_client(self, data: bytes) -> None:
        world = self.world
        if not self.dead:
            self.returns = max(self.returns, world.now + world.rng.uniform(0.005, 0.06))
            if self.by_request and not self.responds:
                self.responds = True
                world.at(self.returns, self.respond)
            world.at(self.returns, self.deliver, data)

    def respond(self) -> None:
        if not self.gone:
            self.world.input(self.world.mux.answered, self.conn, {"content-type": "audio/toy"})

    def deliver(self, data: bytes) -> None:
        if self.gone:
            return
        kind, _, name = data.partition(b" ")
        if kind in (b"end", b"released"):
            self.known[name.decode()].delivered_end = True
        if not self.shape.ids and kind != b"error":
            data = kind + b" - " + data.partition(b" ")[2].partition(b" ")[2]
        self.world.input(self.world.mux.receive, self.conn, data, True)

    def strike(self, fault: str) -> None:
        """Something goes wrong with the wire itself."""
        self.well = False
        if fault not in ("again", "orphan") and not (self.dead or self.quiet):
            self.world.struck[fault] += 1
        match fault:
            case "torn":
                self.tear()
            case "noise":
                self.to_client(b"%%% -")
            case "orphan":
                self.returns = max(self.returns, self.world.now + 0.01)
                self.world.at(self.returns, self.orphan)
            case "bad key":
                self.leave(Closed(1008, "bad key"))
            case "again":
                pass
            case code:
                self.leave(Closed(int(code)))

    def orphan(self) -> None:
        """Send audio while nobody speaks: with somebody it could not be told from theirs."""
        if not self.gone and not self.conn.generations:
            self.world.struck["orphan"] += 1
            self.world.input(self.world.mux.receive, self.conn, b"audio - " + b"\0" * 8, True)

    def leave(self, fault: Closed | Error) -> None:
        if not self.dead:
            self.dead = self.leaving = True
            self.returns = max(self.returns, self.world.now + 0.01)
            self.world.at(self.returns, self.lose, fault)

    def tear(self) -> None:
        """End without a word; what is on its way may not arrive."""
        if self.world.schedule.lifelike and self.world.rng.random() < 0.5:
            self.returns = self.world.now
        self.leave(ConnectionLost("torn"))

    def turn_down(self) -> None:
        """A request is told what a dial is told."""
        world, fault = self.world, self.fault
        self.dead = True
        if not self.hung:
            world.struck[f"dial {fault}"] += 1
        delay = world.rng.uniform(0.02, 0.4)
        match fault:
            case "refused":
                world.after(delay, self.lose, DialFailure(error=ConnectError("refused")))
            case "401" | "404" | "429" | "503":
                world.after(delay, self.lose, _refusal(fault))
            case "short":
                world.after(delay, self.lose, ConnectionLost("torn"))

    def take(self, frames: list[Frame | Ping]) -> None:
        if self.dead or self.fault == "mute":
            return
        if self.by_request and self.fault is not None:
            self.turn_down()
            return
        self.heard = self.world.now
        for frame in frames:
            if isinstance(frame, Ping):
                self.returns = max(self.returns, self.world.now + 0.02)
                self.world.at(self.returns, self.pong)
            elif self.fault != "deaf":
                assert isinstance(frame, str)
                kind, _, rest = frame.partition(" ")
                id, _, rest = rest.partition(" ")
                getattr(self, f"on_{kind}")(id, rest)

    def pong(self) -> None:
        if not self.gone:
            self.world.input(self.world.mux.alive, self.conn)

    def on_open(self, id: str, rest: str) -> None:
        world = self.world
        world.require(id not in world.ids, "an id was used twice")
        world.ids.add(id)
        number = len(world.turns) + 1
        found = next((f for f in world.schedule.turns if f[0] == number), (0, None, 0))
        if world.armed is not None:
            found, world.armed = (number, world.armed, 0), None
        turn = Turn(number, id, self, found[1], found[2], world.rng.random() < 0.7)
        turn.heard = world.now
        self.well = self.well and turn.fault is None
        world.turns.append(turn)
        self.held[id] = self.known[id] = turn
        world.require(
            len(self.held) <= self.shape.slots, f"{len(self.held)} slots on {self.conn!r}"
        )
        world.opens(self)
        if self.shape.early_end is EarlyEnd.NEXT_GENERATION:
            world.after(self.tires, self.grow_tired, turn)
        if self.shape.generation_keepalive is not None:
            self.expect(turn, self.shape.generation_keepalive * 1.5)

    def on_text(self, id: str, rest: str) -> None:
        turn = self.known[id]
        if turn.tired:
            self.world.crossed += 1
            return  # it has to be said again
        self.world.require(not turn.ended, "text after the end of a turn")
        self.world.require(bool(rest.strip()), "blank text on the wire")
        if turn.over:
            self.world.excused.add(turn.number)
            return
        if turn.text and self.shape.join is Join.SPACE:
            turn.text += " "
        turn.text += rest
        turn.heard = self.world.now
        self.go(turn)

    def on_flush(self, id: str, rest: str) -> None:
        turn = self.known[id]
        if turn.tired:
            return
        turn.allowed = len(turn.words)
        turn.heard = self.world.now
        self.go(turn)

    def on_end(self, id: str, rest: str) -> None:
        turn = self.known[id]
        if turn.tired:
            return
        self.world.require(not turn.ended, "a turn was ended twice")
        turn.ended = True
        self.go(turn)

    def on_release(self, id: str, rest: str) -> None:
        turn = self.known[id]
        self.world.require(turn.ended, "a release before the end")
        self.world.require(not turn.released, "a turn was released twice")
        turn.released = True
        self.go(turn)

    def on_alive(self, id: str, rest: str) -> None:
        if id != "-":
            self.known[id].heard = self.world.now

    def on_bye(self, id: str, rest: str) -> None:
        pass

    def on_cancel(self, id: str, rest: str) -> None:
        turn = self.known[id]
        turn.fault = None if turn.fault in ("stall", "early", "empty", "rate") else turn.fault
        if self.shape.ids:
            self.cancel_one(turn)
        else:
            self.cancel_all(turn)

    def cancel_one(self, turn: Turn) -> None:
        """Finish rather than cancel, as some providers do: a word or two still comes."""
        if turn.fault == "deaf cancel":
            self.note(turn)
            turn.over = True
        elif not turn.over:
            words = turn.words[: turn.said + self.world.rng.randint(0, 2)]
            turn.text = " ".join(words)
            turn.ended = turn.released = True
            self.go(turn)

    def cancel_all(self, turn: Turn) -> None:
        world = self.world
        if turn.fault in CANCEL_FAULTS:
            self.note(turn)
        match turn.fault:
            case "deaf cancel":
                turn.ended = True
                self.go(turn)
            case "late ack":
                world.after(2.0, self.acknowledge, turn)
            case "torn cancel":
                self.leave(ConnectionLost("torn"))
            case "refused cancel":
                self.to_client(b"error - connection what cancel?")
            case "ack and on":
                # At once: a server that lies and then pauses cannot be told from an honest one.
                self.acknowledge(turn)
                for word in turn.points[turn.said :]:
                    self.sound(turn, word, tells=False)
            case _:
                world.after(world.rng.choice((0.0, 0.1, 0.4)), self.acknowledge, turn)

    def acknowledge(self, turn: Turn) -> None:
        turn.over = True
        self.held.clear()
        self.to_client(b"ack " + turn.id.encode())

    def grow_tired(self, turn: Turn) -> None:
        """Some providers end a turn themselves when no text comes."""
        due = turn.heard + self.tires
        if due > self.world.now:
            self.world.at(due, self.grow_tired, turn)
        elif not turn.over and turn.fault is None and turn.said == len(turn.words):
            late = self.shape.source_pause is None or self.tells or turn.ended or self.quiet
            self.world.require(late, "the source was silent for too long")
            if self.tells and not turn.ended:
                # From now on it takes no text; what comes meanwhile has crossed the news of that.
                turn.tired = turn.ended = True
                self.world.after(self.world.rng.choice((0.0, 0.3, 0.7)), self.tell, turn)
            else:
                self.finish(turn)

    def tell(self, turn: Turn) -> None:
        if not turn.over:
            self.to_client(b"tired " + turn.id.encode())
            self.world.after(self.world.rng.choice((0.0, 0.1, 0.3)), self.finish, turn)

    @property
    def listened(self) -> set[str]:
        """Ids of the generations here that somebody listens to."""
        return {gen.id for gen in self.conn.live}

    @property
    def quiet(self) -> bool:
        """Whether nothing can be asked of the client here any more."""
        return self.dead or self.hung or self.gone

    def expect(self, of: Turn | Link, seconds: float) -> None:
        """See that a keepalive comes at least every so many *seconds*."""
        # A turn that was left behind on a doomed connection is kept alive by nobody.
        over = isinstance(of, Turn) and (of.ended or of.over or of.id not in self.listened)
        if not self.quiet and not over:
            due = of.heard + seconds
            self.world.require(due > self.world.now, "no keepalive")
            self.world.at(due, self.expect, of, seconds)

    def go(self, turn: Turn) -> None:
        if not turn.running and not turn.over:
            turn.running = True
            self.world.after(self.world.rng.choice((0.02, 0.2)), self.say, turn)

    def say(self, turn: Turn) -> None:
        """Say the next word of *turn*, or end it."""
        turn.running = False
        if self.dead or turn.over:
            return
        words = turn.points
        allowed = len(words) if turn.ended else turn.allowed
        if turn.eager and not turn.ended:
            # The last word may not be whole yet.
            allowed = max(allowed, len(words) - 1)
        if turn.fault is not None and turn.said >= turn.after:
            if turn.said < allowed and turn.fault in SURE_FAULTS and self.world.schedule.lifelike:
                self.sound(turn, words[turn.said], self.world.rng.uniform(0.0, 1.0))
            if self.fail(turn):
                return
        if turn.said < allowed:
            self.sound(turn, words[turn.said])
            turn.said += 1
            turn.running = True
            self.world.after(self.world.rng.choice((0.0, 0.02, 0.1)), self.say, turn)
        elif turn.ended and (turn.released or self.shape.release_after is None):
            self.finish(turn)

    def sound(
        self, turn: Turn, word: str, share: float | None = None, *, tells: bool = True
    ) -> None:
        """
        Speak *word*, with what is attached to it; or, where it is to break off, a *share*.

        Unless it *tells*, nothing is said of when it is spoken.
        """
        world, first = self.world, turn.units
        marks = world.schedule.marks if tells else "none"
        # As long as the client reckons with, where that is all that it has to go by.
        count = 5 + len(word) if world.schedule.lifelike else 2
        turn.spoken.append((_WORD.findall(word)[0], first, count))
        turn.units += count if share is None else int(share * count)
        fill = _FILL if world.schedule.lifelike else b""
        data = b"".join(_UNIT.pack(turn.number, unit) + fill for unit in range(first, turn.units))
        if marks in ("with", "twice", "without stops"):
            self.tell_words(turn)
        # Providers cut audio anywhere, half a sample included.
        cut = world.rng.choice((0, 0, 5, 8))
        if cut and fill:
            cut = world.rng.randint(0, len(data))
        for part in (data[:cut], data[cut:]):
            if part:
                self.to_client(b"audio " + turn.id.encode() + b" " + part)
        if marks == "behind":
            self.tell_words(turn)
        elif marks == "late":
            self.tell_words(turn, but=1)

    def tell_words(self, turn: Turn, but: int = 0) -> None:
        """Say when the words are spoken of which that was not said, all *but* the last ones."""
        begin = 0 if self.world.schedule.marks == "twice" else turn.told
        turn.told = max(turn.told, len(turn.spoken) - but)
        for word, first, count in turn.spoken[begin : turn.told]:
            start, stop = (unit * self.world.grain / _RATE for unit in (first, first + count))
            stop = start if self.world.schedule.marks == "without stops" else stop
            self.to_client(f"mark {turn.id} {word} {start!r} {stop!r}".encode())

    def finish(self, turn: Turn) -> None:
        turn.over = turn.marked = True
        id = turn.id.encode()
        if self.world.schedule.marks == "late":
            self.tell_words(turn)
        self.to_client(b"end " + id)
        if turn.fault == "torn end":
            self.note(turn)
            self.leave(ConnectionLost("torn"))
        if self.shape.ends_released:
            self.held.pop(turn.id, None)
        elif turn.fault == "unreleased":
            self.note(turn)
        else:
            self.world.after(self.world.rng.choice((0.0, 0.1)), self.release, turn)

    def release(self, turn: Turn) -> None:
        if self.held.pop(turn.id, None) is not None:
            self.to_client(b"released " + turn.id.encode())

    def comes(self, turn: Turn) -> bool:
        """Whether what is to go wrong with *turn* does so now; some faults wait for their time."""
        match turn.fault:
            case "empty":
                return not turn.said
            case "early":
                return not turn.ended
            case fault:
                return fault in TURN_FAULTS and fault not in LATER_FAULTS

    def note(self, turn: Turn) -> None:
        """A fault has struck, unless nobody was there to notice."""
        if not self.hung:
            assert turn.fault is not None, "it has one"
            self.world.struck[turn.fault] += 1

    def fail(self, turn: Turn) -> bool:
        """Do what is to go wrong with *turn*; tell whether that was all of it."""
        id = turn.id.encode()
        if turn.id in self.listened and self.comes(turn):
            self.note(turn)
        match turn.fault:
            case "stall":
                turn.over = True
            case "error" | "final":
                self.held.pop(turn.id, None)
                turn.over = True
                mark = b"!" if turn.fault == "final" else b""
                self.to_client(b"error " + id + b" generation it failed" + mark)
            case "taint" | "taint and torn" | "fatal":
                turn.over = True
                scope = b"connection" if turn.fault == "fatal" else b"taint"
                self.held.pop(turn.id, None)
                self.to_client(b"error " + id + b" " + scope + b" it failed")
                if turn.fault == "taint and torn":
                    self.world.after(0.1, self.leave, ConnectionLost("torn"))
            case "benign":
                turn.fault = None
                self.to_client(b"error " + id + b" nothing never mind")
                return False
            case "nameless":
                turn.over = True
                self.to_client(b"error - connection something failed")
            case "garbage":
                turn.over = True
                self.to_client(b"%%% " + id)
            case "rate":
                turn.over = True
                self.to_client(b"rated " + id + b" 44100 " + b"\0" * 8)
            case "empty":
                if turn.said:
                    return False
                self.finish(turn)
            case "early":
                if turn.ended:
                    return False
                if turn.said < len(turn.words):
                    self.world.excused.add(turn.number)
                self.finish(turn)
            case "torn":
                self.tear()
            case "close":
                self.leave(Closed(self.world.rng.choice((1000, 1000, 1001, 1006, 1008, 1013))))
            case _:
                return False
        return True


class Caller:
    """One script being played: writes, reads after a Wake, interrupts."""

    def __init__(self, world: World, number: int, script: Script) -> None:
        self.world = world
        self.number = number
        self.script = script
        self.speech: Speech | None = None
        self.parts: list[tuple[Resumed | None, bytearray]] = [(None, bytearray())]
        """What was heard; each part but the first with what its first chunk says of the break."""
        self.size = 0
        """Bytes of that."""
        self.marks: list[Mark] = []
        self.due: float | None = None
        """When it has to be over."""
        self.waits_since: float | None = None
        """Since when it has waited for a seat, at the last look."""
        self.rationed_at = 0.0
        """When it last had to wait for its minute, under way already."""
        self.plan: Plan | None = None
        """Where it was to speak, at the last look."""
        self.left: dict[int, object] = {}
        """What it left routes for, by number."""
        self.passed: list[object] = []
        """What it left those for that it was on for no longer than one step."""
        self.told = False
        """Whether its failure was looked at."""
        self.tries = self.received = 0
        self.failing: float | None = None
        """Since when it has failed, and no audio has come."""
        self.outcome: SpeechState | None = None
        self.error: BaseException | None = None
        self.waits = False
        self.drained = False
        """Whether it was handed all that there was; whoever brings more wakes it."""
        self.scheduled = False
        self.interrupted = False
        self.cued = script.interrupt is None

    def begin(self) -> None:
        world, script = self.world, self.script
        overrides = {} if script.line == "main" else {"line": script.line}
        try:
            self.speech = world.input(world.mux.speak, overrides, total=script.total)
            if script.gathers:
                world.mux.collect(self.speech)
        except ClosedError:
            world.require(world.ending, "a client that is open refused a speech")
            self.outcome = SpeechState.FAILED
            return
        self.speech.handle = self
        total = world.schedule.config.timeouts.total if script.total is None else script.total
        self.due = None if total is None else world.now + total
        for at, what, text in script.ops:
            world.after(at, self.act, what, text)
        if not self.cued:
            self.look()
        self.read()

    def look(self) -> None:
        """See whether the interruption's cue has come."""
        assert self.speech is not None, "it has begun"
        match self.script.cue:
            case "begun":
                self.cued = True
            case "seated":
                self.cued = self.speech.generation is not None
            case "heard":
                self.cued = self.size > 0
            case _:
                self.cued = self.speech.state is SpeechState.RECEIVED
        if self.cued:
            assert self.script.interrupt is not None
            self.world.after(self.script.interrupt, self.interrupt)

    def act(self, what: str, text: str) -> None:
        assert self.speech is not None
        mux = self.world.mux
        try:
            match what:
                case "write":
                    self.world.input(mux.write, self.speech, text)
                case "flush":
                    self.world.input(mux.flush, self.speech)
                case "end":
                    self.world.input(mux.end, self.speech)
                case "fail":
                    self.world.input(mux.fail, self.speech, SourceError())
        except Error as exc:
            self.world.require(exc is self.speech.error, f"{what} raised {exc!r}")

    def interrupt(self) -> None:
        assert self.speech is not None
        before = self.speech.state
        self.world.input(self.world.mux.interrupt, self.speech)
        self.interrupted = True
        if before not in (SpeechState.COMPLETED, SpeechState.FAILED):
            self.world.met[before.name] += 1
            self.world.require(self.speech.state is SpeechState.INTERRUPTED, "it goes on")
            item = self.world.input(self.world.mux.read, self.speech)
            self.world.require(item is END, "something to read after an interruption")

    def wake(self) -> None:
        self.world.require(self.drained, "a Wake for a reader that has something to read")
        self.drained = False
        if self.waits:
            self.waits = False
            self.schedule(0.0)

    def schedule(self, delay: float) -> None:
        if not self.scheduled:
            self.scheduled = True
            self.world.after(delay, self.read)

    def read(self) -> None:
        self.scheduled = False
        assert self.speech is not None
        if self.outcome is not None:
            return
        while True:
            if self.speech.reader_waits:  # the shells do not ask then, either
                self.waits = True
                return
            try:
                item = self.world.input(self.world.mux.read, self.speech)
            except Exception as exc:
                if not isinstance(exc, Error | SourceError) or exc is not self.speech.error:
                    raise
                self.outcome, self.error = SpeechState.FAILED, exc
                return
            self.drained = self.speech.reader_waits
            if item is None:
                self.world.require(self.drained, "nobody will wake its reader")
                continue
            if item is END:
                self.outcome = self.speech.state
                return
            assert isinstance(item, AudioChunk)
            self.hear(item)
            if self.script.lag:
                self.schedule(self.script.lag)
                return

    def hear(self, chunk: AudioChunk) -> None:
        require, policy = self.world.require, self.world.on_partial
        require(not self.interrupted, "audio after an interruption")
        if chunk.resumed is not None:
            require(self.size > 0, "it went on before anything was heard")
            require(policy is not OnPartial.RAISE, "it went on, which nobody asked for")
            if policy is OnPartial.RESTART:
                require(self.script.gathers, "it began again although some of it may be played")
                self.parts.clear()
                self.size = 0
            self.marks = [mark for mark in self.marks if mark.start < chunk.start]
            self.parts.append((chunk.resumed, bytearray()))
        require(chunk.start == self.size / _RATE, lambda: f"{chunk!r} after {self.size} bytes")
        self.size += len(chunk.data)
        self.marks += chunk.marks
        self.parts[-1][1].extend(chunk.data)

    # -- is it right?

    def look_on(self) -> None:
        """What holds after each step while the speech needs a connection."""
        speech, world = self.speech, self.world
        assert speech is not None, "it has begun"
        since = self.waits_since = speech.waiting_since
        each = world.schedule.limits.requests_per_minute
        if each is not None and speech.under_way and not world.may_speak(speech.plan):
            self.rationed_at = world.now  # what has begun waits for its minute
        late = since is not None and world.now > max(since, self.rationed_at) + world.patience
        if late or (self.due is not None and world.now > self.due):
            world.require(False, f"{speech!r} lives on after its time")
        if speech.plan is not self.plan:
            self.look_where(speech.plan)
        tries = speech._tried + len(world.pool.missed(speech))
        if speech.received != self.received or tries != self.tries:
            if speech.received != self.received:
                self.failing = None
            if tries > self.tries and self.failing is None:
                self.failing = world.now
            self.received, self.tries = speech.received, tries

    def look_where(self, plan: Plan) -> None:
        """It goes where something may be better, and to nobody with another voice in the middle."""
        old, self.plan = self.plan, plan
        assert self.speech is not None, "it has begun"
        require, errors = self.world.require, self.world.rerouted.pop(self.speech.number, [])
        if old is None and not errors:
            return
        require(bool(errors), "it left a route without an error")
        old_number = 0 if old is None else old.number
        require(plan.number > old_number, "it went back to a route that it had left")
        self.left[old_number] = errors[0]
        self.passed += errors[1:]
        stands_for = plan.route.fallback_for
        if stands_for is None:
            self.world.came["went to another provider"] += 1
        else:
            self.world.came["went over HTTP"] += 1
            # Where it went several ways in one step, nobody knows which of them it left for what.
            reasons = [self.left[stands_for]] if stands_for in self.left else self.passed
            helps = any(reason in _OF_SOCKETS for reason in reasons)
            require(helps, f"a request does not help against {reasons}")
        if self.size > 0:
            policy = self.world.on_partial
            require(policy is not OnPartial.RAISE, "it moved after it was heard")
            same = old is not None and owner(plan) == owner(old)
            require(same or policy is OnPartial.RESTART, "it goes on in another voice")

    def look_at_failure(self) -> None:
        """What it failed with is so, was told in time, and could not be helped."""
        self.told = True
        speech, world, require = self.speech, self.world, self.world.require
        assert speech is not None, "it has failed"
        error, now = speech.error, world.now
        if isinstance(error, SourceError):
            return
        require(isinstance(error, Error), f"it failed with {error!r}")
        assert isinstance(error, Error)
        delivered = error.delivered.bytes
        anew = world.on_partial is OnPartial.RESTART and speech.metrics().resumed > 0
        right = delivered == self.size or (anew and delivered == 0)
        require(right, f"{delivered} bytes are said to be delivered, of {self.size}")
        match error:
            case DeadlineExceeded():
                world.came["ran out of time"] += 1
                require(self.due is not None and now >= self.due, "it had time left")
            case PoolTimeout():
                since = self.waits_since
                require(since is not None and now >= since + world.patience, "it had time left")
            case ClosedError():
                require(world.closed, "a client that is not closed fails a speech")
            case CircuitOpen():
                require(not world.breaker(speech.plan).closed, "nothing was given up")
        if not world.closed and isinstance(error, _REPEATABLE) and error.retryable:
            require(not self.could_go_on(error), f"{speech!r} gave up too soon: {error!r}")

    def could_go_on(self, error: Error) -> bool:
        """Whether it might have been tried again, as far as that can be told from outside."""
        speech, world, policy = self.speech, self.world, self.world.schedule.config.retry
        assert speech is not None, "it has failed"
        metrics = speech.metrics()
        if self.size > 0 and (
            policy.on_partial is OnPartial.RAISE
            or metrics.resumed >= policy.resumes
            or (policy.on_partial is OnPartial.RESTART and not self.script.gathers)
        ):
            return False
        # It is not tried for ever, be it that each try takes long.
        in_time = self.failing is None or world.now < self.failing + world.patience
        if metrics.attempts < policy.attempts and in_time and "budget" not in error.message:
            return True
        on_socket = world.schedule.fallback and speech.plan.route.fallback_for is None
        return on_socket and type(error).__name__ in _OF_SOCKETS

    # -- was it right?

    def check(self) -> None:
        require, turns = self.world.require, self.world.turns
        require(self.size % 2 == 0, "half a sample")
        wanted = self.script.words
        mine = [t for t in turns if any(w.startswith(f"s{self.number}w") for w in t.words)]
        excused = any(turn.number in self.world.excused for turn in mine)
        heard = last = at = 0
        """Words and bytes that were heard, and the turn that spoke last."""
        marks: list[tuple[str, float]] = []
        voices: set[int] = set()
        cut_off = False
        for seam, data in self.parts:
            words, cut_off, last = self.listen(data, last, at, marks, voices)
            at += len(data)
            require(all(word.startswith(f"s{self.number}w") for word in words), f"heard {words}")
            if not excused:
                heard = self.go_on(seam, heard, wanted)
                due = wanted[heard : heard + len(words)]
                require(words == due, f"heard {words} where {due} were due, of {wanted}")
                heard += len(words)
        seams = sum(seam is not None for seam, _ in self.parts)
        require(seams <= self.world.schedule.config.retry.resumes, f"it went on {seams} times")
        require(len(voices) <= 1, "it was spoken in several voices")
        if self.outcome is SpeechState.COMPLETED:
            self.check_whole(marks)
            if not excused:
                require(heard == len(wanted) and not cut_off, f"completed with {heard} of {wanted}")
                # Word times may prove the same.
                ended = not last or turns[last - 1].delivered_end
                require(ended or self.world.schedule.marks != "none", "it had no end marker")

    def go_on(self, seam: Resumed | None, heard: int, wanted: list[str]) -> int:
        """Return which word comes next behind *seam*, after so many were heard to their end."""
        if seam is None:
            return heard
        place = len(wanted) - len(_WORD.findall(self.script.text[seam.at :]))
        if self.world.on_partial is OnPartial.RESTART:
            self.world.came["began again"] += 1
            self.world.require(seam.at == 0 and not seam.approximate, f"it began again at {seam}")
        else:
            how = "by an estimate" if seam.approximate else "exactly"
            self.world.came[f"went on {how}"] += 1
            allowed = (heard, heard - 1) if seam.approximate else (heard,)
            words = f"{seam} is word {place}; {heard} were heard of {wanted}"
            self.world.require(place in allowed, words)
        return place

    def listen(
        self, data: bytes, last: int, at: int, marks: list[tuple[str, float]], voices: set[int]
    ) -> tuple[list[str], bool, int]:
        """
        Return the words that are in *data* to their end, whether it stops within one, and which
        turn spoke last; add when each word begins, and whose voices there are.
        """
        require, turns, grain = self.world.require, self.world.turns, self.world.grain
        runs: list[list[int]] = []
        """Of one turn each: its number, where it begins, and how many whole units there are."""
        for place in range(0, len(data) - _UNIT.size + 1, grain):
            number, unit = _UNIT.unpack_from(data, place)
            require(1 <= number <= len(turns), "audio that nobody sent")
            if not runs or number != runs[-1][0]:
                require(number > last, f"turn {number} behind turn {last}")
                runs.append([number, place, 0])
                last = number
            due = (place - runs[-1][1]) // grain
            require(unit == due, f"unit {unit} of turn {number} where {due} was due")
            runs[-1][2] += len(data) >= place + grain
        words: list[str] = []
        cut_off = False
        for number, place, whole in runs:
            require(not cut_off, f"turn {number} speaks into a word, and nobody was told")
            turn = turns[number - 1]
            voices.add(turn.link.account)
            for word, first, count in turn.spoken:
                begin = place + first * grain
                if first > whole or begin >= len(data):
                    break
                marks.append((word, (at + begin) / _RATE))
                cut_off = first + count > whole
                if not cut_off:
                    words.append(word)
        return words, cut_off, last

    def check_whole(self, marks: list[tuple[str, float]]) -> None:
        """What was told of a speech that is complete fits what was heard."""
        require, speech = self.world.require, self.speech
        assert speech is not None, "it is complete"
        metrics = speech.metrics()
        require(metrics.audio_bytes == self.size, f"{metrics} of {self.size} bytes")
        seams = sum(seam is not None for seam, _ in self.parts)
        require(metrics.resumed >= seams, f"{metrics}, and it went on {seams} times")
        spent = metrics.characters_delivered + metrics.characters_wasted
        require(spent == metrics.characters, f"{metrics}")
        if self.world.schedule.marks in ("with", "twice"):
            told = list(dict.fromkeys((mark.text, mark.start) for mark in self.marks))
            near = len(told) == len(marks) and all(
                ours[0] == theirs[0] and abs(ours[1] - theirs[1]) < _CLOSE
                for ours, theirs in zip(told, marks, strict=True)
            )
            require(near, f"told of {told}, heard {marks}")


class Waiter:
    """Somebody who waits for a ticket."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ticket: Ticket | None = None
        self.over = False
        self.waits = False
        self.closes = False
        """Whether it is for all sockets to be gone."""

    def wait(self, ticket: Ticket) -> None:
        self.ticket = ticket
        ticket.handle = self
        self.read()

    def wake(self) -> None:
        self.waits = False
        self.world.after(0.0, self.read)

    def read(self) -> None:
        assert self.ticket is not None
        try:
            self.over = self.world.input(self.world.mux.read, self.ticket) is END
        except Error:
            self.over = True
        self.waits = not self.over
        if self.closes and self.over:
            left = [link for link in self.world.links.values() if not link.gone]
            self.world.require(not left, "it is said to be closed, and has sockets left")


def urgent(pool: Pool) -> list[Speech]:
    """All who wait for a seat, in the order of their turns."""
    found: dict[Speech, int] = {}
    for lane in pool.lanes.values():
        found |= lane.line.urgent
    return sorted(found, key=found.__getitem__)


def hopeful(pool: Pool) -> list[Speech]:
    """All who have no text yet."""
    return [speech for lane in pool.lanes.values() for speech in lane.line.hopeful]


class World:
    """Plays a schedule. Everything that happens goes through `input`, which checks the Mux."""

    def __init__(self, schedule: Schedule, *, verbose: bool = False, steps: int = 50_000) -> None:
        self.steps = steps
        """Inputs after which something must be going in circles."""
        self.schedule = schedule
        self.verbose = verbose
        self.rng = random.Random(schedule.seed + 1)
        routes = [
            Route(
                adapter=Voice(
                    shape=SHAPES[name],
                    line=f"main{i or ''}",
                    surface=REQUEST if schedule.fallback else None,
                ),
                interrupt=schedule.policy if i == 0 else None,
                refreshable=schedule.refreshable,
                limits=schedule.limits if i == 0 else NO_LIMITS,
            )
            for i, name in enumerate(schedule.shapes)
        ]
        for i, route in enumerate(routes[:] if schedule.fallback else ()):
            adapter = route.adapter.rest()
            assert adapter is not None, "there is a surface"
            routes.append(attrs.evolve(route, adapter=adapter, interrupt=None, fallback_for=i))
        self.on_partial = schedule.config.retry.on_partial
        self.patience = schedule.config.pool.acquire_timeout
        self.grain = _FRAME if schedule.lifelike else _UNIT.size
        """Bytes of a unit of audio."""
        self.mux = Mux(routes, schedule.config, random.Random(schedule.seed))
        self.pool = self.mux._pool
        self.now = 0.0
        self.ending = False
        self.links: dict[Connection, Link] = {}
        self.turns: list[Turn] = []
        self.excused: set[int] = set()
        """Turns that the provider itself ended with text unsaid, or on its way."""
        self.ids: set[str] = set()
        self.queue: list[tuple[Speech, float]] = []
        """Who waited for a seat after the last step, and since when."""
        self.served: set[Speech] = set()
        """Who had a seat before."""
        self.callers = [Caller(self, i, script) for i, script in enumerate(schedule.scripts)]
        self.waiters: list[Waiter] = []
        self.trace: list[str] = []
        self.dials = self.vain = 0
        """Those begun, and of them those that came to nothing."""
        self.struck: Counter[str] = Counter()
        """Faults that came to pass."""
        self.came: Counter[str] = Counter()
        """What came of all that; of the last three, how often there were so many."""
        self.held_before: dict[Connection, int] = {}
        """Generations before the last input, where they are limited."""
        self.rerouted: dict[object, list[object]] = {}
        """By speech, why it has left a route, until somebody has looked."""
        self.closed = False
        """Whether all is to end at once."""
        self.begun: deque[float] = deque()
        self.opened: deque[float] = deque()
        """When turns began that count for the limits of a key: for its client, for its server."""
        self.met: Counter[str] = Counter()
        """In which states speeches were interrupted; those that were over do not count."""
        self.crossed = 0
        """Pieces of text that came when the provider took no more."""
        self.armed: str | None = None
        """What goes wrong with the next turn for which nothing is planned."""
        self.encores = 0
        self.postponed: Callable[[float], Ticket] | None = None
        self.leases: dict[Connection, Speech] = {}
        """Seats that were kept, after the last step, for a speech between two generations."""
        self.banned: dict[int, float] = {}
        """Until when the provider of a route has asked not to be dialled."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0

    # -- time

    def at(self, instant: float, what: Callable[..., None], *args: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (instant, self._sequence, what, args))

    def after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        self.at(self.now + seconds, what, *args)

    def require(self, truth: bool, complaint: str | Callable[[], str]) -> None:
        """Raise `Fault` unless *truth*. What is checked at every step makes its words only then."""
        if not truth:
            words = complaint if isinstance(complaint, str) else complaint()
            raise Fault(f"at {self.now:.3f} s: {words}")

    def play(self) -> None:
        """Play to the end. Raises `Fault`."""
        schedule = self.schedule
        for caller in self.callers:
            self.at(caller.script.start, caller.begin)
        for at, n in schedule.prewarms:
            self.at(at, self.prewarm, n)
        last = max(script.last for script in schedule.scripts)
        if schedule.end == "early":
            self.at(self.rng.uniform(0.2, last + 1.0), self.shut_early, self.mux.close)
        elif schedule.end == "drain":
            self.at(self.rng.uniform(0.2, last + 1.0), self.shut_early, self.mux.drain)
        self.run(self.all_over, last + _PATIENCE)
        while not self.satisfied:
            self.encore()
            self.run(self.all_over, self.now + _PATIENCE)
        # Mutes, barriers and releases that are still out have their own deadlines.
        self.run(lambda: False, self.now + 15.0, quiet=True)
        self.at_rest()
        self.shut(self.mux.close)
        self.run(lambda: False, self.now + 60.0, quiet=True)
        self.nothing_left()
        for caller in self.callers:
            caller.check()

    def all_over(self) -> bool:
        return all(caller.outcome is not None for caller in self.callers)

    @property
    def satisfied(self) -> bool:
        """Whether there was what there has to be in a schedule."""
        speeches = sum(caller.speech is not None for caller in self.callers)
        return not self.schedule.insists or (speeches >= 3 and bool(self.struck and self.met))

    def encore(self) -> None:
        """Have one more speech, for what was planned and did not come to pass."""
        self.encores += 1
        self.require(self.encores < 10, "no fault strikes, or no interruption meets a speech")
        for breaker in self.pool._breakers.values():
            if breaker.turns_away(self.now):
                # A speech that is turned away at once meets nothing.
                self.run(lambda: False, breaker.until, quiet=True)
                self.now = max(self.now, breaker.until)
        outage, each = self.schedule.outage, self.schedule.limits.requests_per_minute
        # The same goes for one whose provider asked to be left alone, or allows no more requests.
        left_alone = max((lane.not_before for lane in self.pool.lanes.values()), default=0.0)
        until = max(outage[0] if outage else 0.0, self.now + _PERIOD if each else 0.0, left_alone)
        if until > self.now:
            self.run(lambda: False, until, quiet=True)
            self.now = until
        number = len(self.callers)
        text = " ".join(f"s{number}w{i}e" for i in range(3))
        interrupt, cue = None, "begun"
        if not self.struck:
            self.armed = self.rng.choice(SURE_FAULTS)
        else:
            interrupt, cue = 0.0, self.rng.choice(CUES) if self.encores < 4 else "begun"
        script = Script(
            start=self.now,
            ops=((0.0, "write", text), (0.0, "end", "")),
            interrupt=interrupt,
            cue=cue,
            lag=0.05,
        )
        self.callers.append(Caller(self, number, script))
        self.callers[-1].begin()

    def run(self, over: Callable[[], bool], limit: float, *, quiet: bool = False) -> None:
        """Let time pass until *over*; a standstill or *limit* before that is an error."""
        while not over():
            due = self.mux.deadline
            coming = self._heap[0][0] if self._heap else None
            if due is None and coming is None:
                self.require(quiet, f"deadlock: {self.waiting()}")
                return
            instant = min(x for x in (due, coming) if x is not None)
            if instant > limit:
                self.require(quiet, f"not over in time: {self.waiting()}")
                self.now = limit
                return
            self.now = max(self.now, instant)
            if due is not None and due <= instant:
                self.input(self.mux.tick)
                due = self.mux.deadline
                self.require(due is None or due > self.now, "the clock spins")
            else:
                _, _, what, args = heapq.heappop(self._heap)
                what(*args)

    def waiting(self) -> str:
        return ", ".join(repr(c.speech) for c in self.callers if c.outcome is None)

    # -- the shell

    def input(self, what: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call an input of the Mux, carry out what follows, and see that all is well."""
        if self.verbose:
            self.trace.append(f"{self.now:9.4f} > {what.__name__} {args!r}")
        self.steps -= 1
        self.require(self.steps > 0, "no end to it")
        if self.schedule.limits is not NO_LIMITS:
            self.held_before = {conn: len(conn.generations) for conn in self.pool.connections}
        try:
            return what(*args, now=self.now, **more)
        finally:
            dialled: list[Connection] = []
            for effect in self.mux.effects():
                self.perform(effect, dialled)
            if what != self.mux.read:
                # Reading moves nothing there; if it does, the next step tells.
                self.check_books()
            self.check(dialled)

    def perform(self, effect: Effect, dialled: list[Connection]) -> None:
        if self.verbose:
            self.trace.append(f"{self.now:9.4f}   {effect!r}")
        match effect:
            case Dial(conn=conn):
                self.require(conn not in self.links, "dialled twice")
                self.dials += 1
                self.require(
                    self.now >= self.banned.get(conn.plan.number, 0.0), "Retry-After undercut"
                )
                fault = dict(self.schedule.dials).get(self.dials)
                if self.schedule.outage is not None and conn.plan.route.fallback_for is None:
                    until, how = self.schedule.outage
                    fault = how if self.now < until else fault
                link = self.links[conn] = Link(self, conn, self.dials, fault)
                dialled.append(conn)
                link.dial()
            case Send(conn=conn, frames=frames):
                link = self.links[conn]
                if link.account == 0 and str(frames[0]).startswith("open "):
                    self.begun.append(self.now)
                link.send(list(frames))
            case HangUp(conn=conn):
                self.links[conn].carried = self.held_before.get(conn, 0)
                self.links[conn].hang_up()
            case Wake(handle=handle):
                handle.wake()  # type: ignore[attr-defined]
            case Report(event=event):
                self.check_event(event)

    def prewarm(self, n: int) -> None:
        if not self.ending:
            waiter = Waiter(self)
            self.waiters.append(waiter)
            waiter.wait(self.input(self.mux.prewarm, n, {}, 10.0))

    def shut_early(self, how: Callable[[float], Ticket]) -> None:
        """Shut in the middle, but not before there was what there has to be."""
        if self.satisfied:
            self.shut(how)
        else:
            self.postponed = how

    def shut(self, how: Callable[[float], Ticket]) -> None:
        self.ending = True
        self.closed = self.closed or how == self.mux.close
        if not self.all_over():
            self.came["closed in the middle" if self.closed else "drained in the middle"] += 1
        waiter = Waiter(self)
        waiter.closes = True
        self.waiters.append(waiter)
        waiter.wait(self.input(how))

    # -- promises

    def check(self, dialled: list[Connection]) -> None:
        """What holds after every step."""
        pool, require = self.pool, self.require
        require(not self.mux.agenda.pending, "effects are left")
        if self.postponed is not None and self.satisfied:
            self.after(self.rng.uniform(0.0, 0.5), self.shut, self.postponed)
            self.postponed = None
        for caller in self.callers:
            speech = caller.speech
            if speech is None:
                continue
            if not caller.cued:
                caller.look()
            if speech.state in _ALIVE:
                caller.look_on()
            elif speech.state is SpeechState.INTERRUPTED:
                require(not speech._buffer, "audio is kept for a speech that was interrupted")
            elif speech.state is SpeechState.FAILED and not caller.told:
                caller.look_at_failure()
            if caller.waits:
                require(
                    speech.state in (SpeechState.WAITING, SpeechState.SPEAKING)
                    and not speech._buffer,
                    lambda speech=speech: f"nobody woke the reader of {speech!r}",
                )
        for waiter in self.waiters:
            if waiter.waits:
                assert waiter.ticket is not None
                require(not waiter.ticket.done, "nobody woke who waits for a ticket")
        waiting = urgent(pool)
        if waiting:
            self.check_queue(waiting)
            self.check_room(waiting[0])
        if self.queue:
            self.check_order(self.queue)
        self.queue = [(speech, speech.waiting_since or 0.0) for speech in waiting]
        self.served.update(c.speech for c in self.callers if c.speech and c.speech.generation)
        for conn in dialled:
            self.check_dial(conn)
        for conn, speech in self.leases.items():
            others = [gen for gen in conn.live if gen.speech is not speech]
            goes_on = speech.state in (SpeechState.WAITING, SpeechState.SPEAKING)
            if goes_on:
                require(not others, f"{others} came between two sentences of {speech!r}")
        self.leases = {conn: speech for speech, conn in pool._leases.items()}

    def check_books(self) -> None:
        """There is no more of anything than there may be, and all of it is counted."""
        pool, require = self.pool, self.require
        open_links = [link for link in self.links.values() if not link.gone]
        require(len(open_links) <= self.schedule.config.pool.max_size, "more sockets than max_size")
        require(len(pool.connections) == len(open_links), "the pool lost count of its sockets")
        for conn in pool.connections:
            shape = conn.plan.traits
            require(len(conn.live) <= shape.seats, "more live speeches than seats")
            require(len(conn.generations) <= shape.slots, "more generations than slots")
        self.check_counts()
        if self.schedule.limits is not NO_LIMITS:
            self.check_limits(open_links)

    def check_counts(self) -> None:
        """Nothing is lost in the books."""
        stats = self.mux.stats()
        came_up = coming = 0
        for conn in self.links:
            if conn.opened_at is not None:
                came_up += 1
            elif conn.coming:
                coming += 1
        self.vain = len(self.links) - came_up - coming
        right = (
            stats.opened == stats.closed + stats.live == came_up
            and stats.leased == stats.released + stats.held
            and stats.dials == self.dials
            and stats.size == stats.dialling + stats.idle + stats.busy + stats.closing
            and stats.dials == stats.opened + stats.dialling + self.vain
            and stats.returned_bad <= stats.released
            and stats.requests == stats.leased + stats.unserved + stats.waiting
            and stats.queued <= stats.requests
            and stats.timeouts + stats.refused <= stats.unserved
            and stats.lost <= stats.closed
            and stats.dials_failed <= stats.dials
        )
        self.require(right, lambda: f"{came_up} connections came up of {self.dials}: {stats}")

    def check_limits(self, open_links: list[Link]) -> None:
        """A key has no more than it may, and what is counted for it is what there is."""
        limits, require = self.schedule.limits, self.require
        sockets = [link.conn for link in open_links if link.account == 0]
        if limits.connections is not None:
            require(len(sockets) <= limits.connections, f"{len(sockets)} sockets for a key")
            self.came["had all connections of a key"] += len(sockets) == limits.connections
        member = self.mux.members[0]
        if member is None:
            return
        for pot, held in (
            (member.quota.connections, len(sockets)),
            (member.quota.generations, sum(len(conn.generations) for conn in sockets)),
        ):
            # What a connection was hung up with counts until that is gone.
            most = held + (sum(link.carried for link in open_links) if held < len(pot.held) else 0)
            right = pot.granted - pot.returned == len(pot.held) and held <= len(pot.held) <= most
            require(right, lambda pot=pot, held=held: f"{held}, and {pot.held} of the key's")

    def opens(self, link: Link) -> None:
        """A turn begins at its server, which counts."""
        limits = self.schedule.limits
        if link.account > 0 or limits is NO_LIMITS:
            return
        at_once = sum(
            len(other.held)
            for other in self.links.values()
            if other.account == 0 and not (other.gone or other.dead)
        )
        most, each = limits.generations, limits.requests_per_minute
        if most is not None:
            self.require(at_once <= most, f"{at_once} generations for a key")
            self.came["had all generations of a key"] += at_once == most
        self.opened.append(self.now)
        while self.opened[0] <= self.now - _MINUTE:
            self.opened.popleft()
        if each is not None:
            self.require(len(self.opened) <= each, f"{len(self.opened)} requests in a minute")
            self.came["had all requests of a minute"] += len(self.opened) == each

    def may_speak(self, plan: Plan) -> bool:
        """Whether the key may have one more generation."""
        limits = self.schedule.limits
        if limits is NO_LIMITS or owner(plan) > 0:
            return True
        while self.begun and self.begun[0] + _PERIOD <= self.now + _CLOSE:
            self.begun.popleft()
        most, each = limits.generations, limits.requests_per_minute
        mine = [conn for conn in self.pool.connections if owner(conn.plan) == 0]
        at_once = sum(len(conn.generations) or self.links[conn].carried for conn in mine)
        return (most is None or at_once < most) and (each is None or len(self.begun) < each)

    def breaker(self, plan: Plan) -> Breaker:
        return self.pool._breakers[plan.number]

    def check_queue(self, waiting: list[Speech]) -> None:
        """Nobody waits while there is a seat."""
        for speech in waiting:
            lane = self.pool.lanes[speech.plan.key]
            ready = speech.not_before <= self.now and lane.breaker.seats(self.now)
            if ready and self.may_speak(speech.plan):
                free = [conn for conn in lane.connections if conn.free_seats > 0]
                if free:
                    self.require(False, f"{speech!r} waits beside {free}")

    def check_room(self, speech: Speech) -> None:
        """Whoever waits longest finds room some time, whatever the other voices have to say."""
        pool, lane = self.pool, self.pool.lanes[speech.plan.key]
        since = speech.waiting_since
        assert since is not None
        patient = self.now <= since + 1.0 or lane.not_before > self.now or pool.closing
        patient = patient or not lane.breaker.closed  # the outcome of the probe is waited for
        if patient or lane.connections or len(pool.connections) < pool.settings.pool.max_size:
            return
        leaving = (ConnectionState.DRAINING, ConnectionState.CLOSING)
        going = [c for c in pool.connections if c.state in leaving or c.coming or c.lessee]
        self.require(bool(going), f"{speech!r} is kept out by other voices")

    def check_order(self, queue: list[tuple[Speech, float]]) -> None:
        """First come, first served; those who were served before come first."""
        new = [(speech, since) for speech, since in queue if speech not in self.served]
        left = [(speech.plan.key, since) for speech, since in new if speech in urgent(self.pool)]
        for speech, since in queue:
            if speech.generation is not None:
                passed = [s for key, s in left if key == speech.plan.key and s < since]
                self.require(not passed or speech in self.served, f"{speech!r} jumped the queue")

    def check_dial(self, conn: Connection) -> None:
        """A dial has a reason: somebody waits, a spare is missing, or a prewarm asks for it."""
        lane, pool = conn.lane, self.pool
        probe = lane.breaker.probe
        self.require(lane.breaker.closed or probe is conn, "a dial to a provider given up")
        if any(prewarm.lane is lane for prewarm in pool.prewarms) or not lane.plan.traits.reusable:
            return
        fixed = self.schedule.config.pool.min_idle
        seats = lane.plan.traits.seats
        spare = max(4, seats) if fixed is None else fixed
        waiting = [s for s in (*urgent(pool), *hopeful(pool)) if s.plan.key == lane.plan.key]
        coming = sum(c.coming for c in lane.connections)
        free = sum(c.free_seats for c in lane.connections if not c.outdated)
        limit = lane.plan.traits.max_muted
        muting = fixed or (fixed is None and any(c.muted for c in lane.connections))
        if limit is not None and muting:
            # What muted generations leave of a connection is counted, not its seats.
            seats, spare = min(seats, limit), 4 if fixed is None else fixed
            free = sum(c.bearable for c in lane.connections)
        supply = (coming - 1) * seats + free
        self.require(supply < len(waiting) + spare, f"{conn!r} was dialled for nobody")

    def check_event(self, event: Event) -> None:
        """Nothing is given up without a reason."""
        if event.name == "speech.rerouted":
            self.rerouted.setdefault(event.fields["speech"], []).append(event.fields["error"])
        number = event.fields.get("connection")
        links = [link for link in self.links.values() if link.conn.number == number]
        if event.name == "connection.closed":
            self.require(not links[0].well, f"{links[0].conn!r} was called broken")
        elif event.name == "connection.doomed":
            reason = event.fields["reason"]
            hurried = links[0].conn.hurried and "not acknowledged" in str(reason)
            crossed = "crossed" in str(reason) and any(t.tired for t in links[0].known.values())
            # Where a provider owes something and is silent, so may be the wires that rest.
            silent = any(not link.well for link in self.links.values() if link is not links[0])
            resting = silent and reason == "it may be as dead as one that said nothing"
            wanted = reason in _REASONS or hurried or crossed or resting or not links[0].well
            self.require(wanted, f"{links[0].conn!r} was given up: {reason}")
            if reason == "another voice needs the room":
                key = links[0].conn.plan.key
                waiting = [s.plan.key for s in (*urgent(self.pool), *hopeful(self.pool))]
                self.require(any(other != key for other in waiting), "evicted for nobody")

    def at_rest(self) -> None:
        """What holds when everybody is done: no seat is taken, nothing is half-way."""
        pool = self.pool
        self.require(not pool.speeches, "a speech that is over is still known")
        self.require(not urgent(pool) and not hopeful(pool), "somebody is still in the queue")
        for waiter in self.waiters:
            self.require(waiter.over, "a ticket is still open")
        for conn in pool.connections:
            self.require(
                not conn.generations and conn.state is not ConnectionState.BARRIER,
                f"{conn!r} is at rest with {conn.generations}",
            )
            self.require(not conn.coming or conn.began > self.now - 5.0, f"{conn!r} still rings")
        # Faults are few, backoff and the providers' own times slow down the rest.
        budget = 12 + 6 * len(self.callers) + 5 * (self.schedule.faults + self.encores) + self.now
        self.require(self.dials <= budget, f"{self.dials} dials")

    def nothing_left(self) -> None:
        """What holds after close: no socket, no timer, nobody waiting."""
        for link in self.links.values():
            self.require(link.gone, f"{link.conn!r} was never hung up")
            self.require(link.conn.state is ConnectionState.CLOSED, f"{link.conn!r} is left")
        self.require(self.mux.deadline is None, "a clock goes on")
        self.require(all(waiter.over for waiter in self.waiters), "close is still waited for")
        stats = self.mux.stats()
        self.require(stats.size == stats.waiting == stats.seats_free == 0, f"{stats}")
