"""
One adapter on a network that exists in memory only, in time that passes when it is told to.

A `Bench` is the whole client but for sockets and clocks: what the adapter makes of text can be
looked at frame by frame, what the provider answers is written by hand or taken from a recording,
and a minute's wait takes no time. Nothing here happens by itself, so everything happens the same
way every time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from ..adapter import Adapter, Closed, DialFailure, Frame, Ping
from ..audio import AudioChunk
from ..core.connection import Connection
from ..core.effects import Dial, Event, HangUp, Report, Send
from ..core.ledger import Interruption
from ..core.mux import Mux
from ..core.route import Route
from ..core.speech import END, Speech
from ..core.states import ConnectionState
from ..errors import ConnectError, ConnectionLost
from ..settings import PoolLimits, Settings

__all__ = ["Bench", "Message"]

Message = str | bytes
"""What a provider sends: `str` a text message, `bytes` a binary one."""


class Bench:
    """
    A client of *adapter* in virtual time.

    Args:
        adapter: what is looked at.
        settings: the client's; by default without spare connections.
        ids: those that generations get, in order, over and over; random ones by default.

    Attributes:
        now: seconds since the beginning.
        connections: every connection that was ever dialled, in order.
        events: what was reported.
    """

    def __init__(
        self, adapter: Adapter, *, settings: Settings | None = None, ids: Iterable[str] = ()
    ) -> None:
        self.adapter = adapter
        self.now = 0.0
        self.connections: list[Connection] = []
        self.events: list[Event] = []
        self._sent: list[tuple[Connection, Frame | Ping]] = []
        self._mux = Mux(
            [Route(adapter=adapter)],
            settings or Settings(pool=PoolLimits(min_idle=0)),
            _Ids(list(ids)),
        )

    # What the caller does

    def speak(self, text: str | None = None, *, end: bool = True, **options: object) -> Speech:
        """Begin to speak; with *text*, write it, and end there unless told otherwise."""
        whole = [text] if text is not None and end else None
        speech = self._mux.speak(options, self.now, text=whole)
        self._carry_out()
        if text is not None and not end:
            self.write(speech, text)
        return speech

    def write(self, speech: Speech, text: str) -> None:
        self._mux.write(speech, text, self.now)
        self._carry_out()

    def flush(self, speech: Speech) -> None:
        self._mux.flush(speech, self.now)
        self._carry_out()

    def end(self, speech: Speech) -> None:
        self._mux.end(speech, self.now)
        self._carry_out()

    def interrupt(self, speech: Speech) -> Interruption:
        report = self._mux.interrupt(speech, self.now)
        self._carry_out()
        return report

    def hear(self, speech: Speech) -> bytes:
        """Read what audio there is. Raises what the speech failed with, once all was read."""
        found = b""
        while isinstance(item := self._mux.read(speech, self.now), AudioChunk):
            found += item.data
        self._carry_out()
        return found

    def over(self, speech: Speech) -> bool:
        """Read on; tell whether *speech* has come to its end."""
        self.hear(speech)
        return self._mux.read(speech, self.now) is END

    def close(self) -> None:
        """Close the client; every connection is gone afterwards."""
        self._mux.close(self.now)
        self._carry_out()
        for conn in self.connections:
            if conn.state is not ConnectionState.CLOSED:
                self.lose(conn, 1000)

    # What happens on the network

    def connect(self, *greeting: Message) -> Connection:
        """Let the dials that are under way succeed and the provider greet; return the last."""
        for conn in self.connections:
            if conn.state is ConnectionState.DIALLING:
                self._mux.dialled(conn, self.now)
                self._carry_out()
                self.receive(conn, *greeting)
        return self.connections[-1]

    def refuse(self, conn: Connection, status: int | None = None, **headers: str) -> None:
        """Have a dial fail: with an HTTP *status*, or without any answer."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        error = ConnectError("refused") if status is None else None
        failure = DialFailure(status=status, headers=names, error=error)
        self._mux.dial_failed(conn, failure, self.now)
        self._carry_out()

    def receive(self, conn: Connection, *messages: Message) -> None:
        """Have the provider send *messages*."""
        for message in messages:
            text = isinstance(message, str)
            data = message.encode() if isinstance(message, str) else message
            self._mux.receive(conn, data, text, self.now)
            self._carry_out()

    def answer(self, conn: Connection, headers: Mapping[str, str], *pieces: bytes) -> None:
        """Have the server answer a request: its headers, and a body in *pieces*; b"" ends it."""
        self._mux.answered(conn, headers, self.now)
        self.receive(conn, *pieces)

    def lose(self, conn: Connection, code: int | None = None, reason: str = "") -> None:
        """End a connection: with a close *code*, or torn."""
        fault = ConnectionLost("torn") if code is None else Closed(code, reason)
        self._mux.lost(conn, fault, self.now)
        self._carry_out()

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due."""
        until = self.now + seconds
        while (due := self._mux.deadline) is not None and due <= until:
            self.now = max(self.now, due)
            self._mux.tick(self.now)
            self._carry_out()
        self.now = until

    # What came of it

    def sent(self, conn: Connection) -> list[Frame]:
        """Return the messages that went out on *conn*, those of a farewell included."""
        return [f for c, f in self._sent if c is conn and not isinstance(f, Ping)]

    def on(self, speech: Speech) -> Connection:
        """Return the connection that *speech* is on."""
        assert speech.generation is not None, f"{speech!r} has no generation"
        return speech.generation.conn

    def doomed(self) -> list[object]:
        """Return why connections were given up, in order."""
        return [event.fields["reason"] for event in self.events if event.name == _DOOMED]

    def _carry_out(self) -> None:
        for effect in self._mux.effects():
            match effect:
                case Dial(conn=conn):
                    self.connections.append(conn)
                case Send(conn=conn, frames=frames) | HangUp(conn=conn, frames=frames):
                    self._sent += [(conn, frame) for frame in frames]
                case Report(event=event):
                    self.events.append(event)


_DOOMED = "connection.doomed"


class _Ids(random.Random):
    """Chance, but for the ids: those are the given ones, over and over."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(1)
        self._given = ids
        self._next = 0

    def getrandbits(self, k: int, /) -> int:
        if k != 128 or not self._given:
            return super().getrandbits(k)
        self._next += 1
        return int(self._given[(self._next - 1) % len(self._given)], 16)
