"""A provider that answers by itself, in virtual time, behind one `Harness` or a thousand."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from tests.core.helpers import Harness
from ttsmux.adapter import Closed, DialFailure
from ttsmux.core.connection import Connection
from ttsmux.core.effects import Dial, HangUp, Send
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import ConnectError, ConnectionLost, Error

Fate = Callable[[float], str]


def well(now: float) -> str:
    return "well"


class Service:
    """
    Plays the provider of *harness*, and the callers that read.

    *dial* and *turn* say what becomes of what begins at an instant: ``well``; of a dial
    ``refused``, ``hangs``, or an HTTP status as in ``429`` or ``503 after 30``, which is its
    Retry-After; of a turn ``error``, ``torn`` or ``silent``. Nothing else is left to chance.
    """

    def __init__(
        self, harness: Harness, *, dial: Fate = well, turn: Fate = well, latency: float = 0.1
    ) -> None:
        self.harness = harness
        self.dial = dial
        self.turn = turn
        self.latency = latency
        """Seconds that a handshake takes, and the first audio after the last text."""
        self.dials: list[float] = []
        self.turns: list[float] = []
        """When each began."""
        self.speeches: list[Speech] = []
        self.done: dict[Speech, float] = {}
        """When each was over."""
        self.asked: dict[Speech, float] = {}
        self.most = 0
        """Sockets at once."""
        self._open: dict[Speech, None] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0

    # -- the callers

    def ask(self, text: str = "Hello. ", **overrides: object) -> Speech:
        speech = self.harness.ask(text, **overrides)
        self.speeches.append(speech)
        self.asked[speech] = self.harness.now
        self._open[speech] = None
        self.perform()
        return speech

    def at(self, instant: float, what: Callable[..., object], *args: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (instant, self._sequence, what, args))  # type: ignore[arg-type]

    def after(self, seconds: float, what: Callable[..., object], *args: Any) -> None:
        self.at(self.harness.now + seconds, what, *args)

    @property
    def completed(self) -> list[Speech]:
        return [s for s in self.speeches if s.state is SpeechState.COMPLETED]

    def took(self, speech: Speech) -> float:
        """Return the seconds from the asking to the end."""
        return self.done[speech] - self.asked[speech]

    # -- time

    def until(self, instant: float) -> None:
        harness = self.harness
        self.perform()
        while True:
            due = harness.mux.deadline
            coming = self._heap[0][0] if self._heap else None
            next_ = min((x for x in (due, coming) if x is not None), default=None)
            if next_ is None or next_ > instant:
                break
            harness.now = max(harness.now, next_)
            if due is not None and due <= next_:
                harness.tick()
            else:
                _, _, what, args = heapq.heappop(self._heap)
                what(*args)
            self.perform()
        harness.now = instant

    def perform(self) -> None:
        """Answer what the client has done, and read what there is to be read."""
        for effect in self.harness.take():
            match effect:
                case Dial(conn=conn):
                    self.dials.append(self.harness.now)
                    fate = self.dial(self.harness.now)
                    if fate != "hangs":
                        self.after(self.latency, self.answer, conn, fate)
                case Send(conn=conn, frames=frames):
                    for frame in frames:
                        if isinstance(frame, str) and frame.startswith("end "):
                            self.turns.append(self.harness.now)
                            fate = self.turn(self.harness.now)
                            self.after(self.latency, self.speak, conn, frame[4:], fate)
                case HangUp(conn=conn):
                    self.after(0.05, self.gone, conn)
        self.most = max(self.most, len(self.harness.mux._pool.connections))
        for speech in list(self._open):
            self.read(speech)
            if speech in self.done:
                del self._open[speech]

    def read(self, speech: Speech) -> None:
        try:
            while (item := self.harness.mux.read(speech, self.harness.now)) is not None:
                if item is END:
                    self.done[speech] = self.harness.now
                    break
        except Error:
            self.done[speech] = self.harness.now
        self.harness.collect()

    # -- the provider

    def answer(self, conn: Connection, fate: str) -> None:
        if conn.state is ConnectionState.DIALLING:
            if fate == "well":
                self.harness.up(conn)
            elif fate == "refused":
                self.harness.refuse(conn)
            else:
                status, _, wait = fate.partition(" after ")
                self.harness.refuse(conn, int(status), **({"retry_after": wait} if wait else {}))

    def speak(self, conn: Connection, id: str, fate: str) -> None:
        if conn.over:
            return
        match fate:
            case "well":
                self.harness.say(conn, f"audio {id} xxxx", f"end {id}")
            case "error":
                self.harness.say(conn, f"error {id} generation busy")
            case "torn":
                self.harness.mux.lost(conn, ConnectionLost("torn"), self.harness.now)
                self.harness.collect()

    def gone(self, conn: Connection) -> None:
        if conn.state is ConnectionState.CLOSING:
            mux, now = self.harness.mux, self.harness.now
            if conn.opened_at is None:
                mux.dial_failed(conn, DialFailure(error=ConnectError("given up")), now)
            else:
                mux.lost(conn, Closed(1000), now)
            self.harness.collect()


def peak(instants: list[float], seconds: float = 1.0) -> int:
    """Return how many of *instants*, at most, lie within any so many *seconds*."""
    instants = sorted(instants)
    most = first = 0
    for last, instant in enumerate(instants):
        while instants[first] < instant - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
