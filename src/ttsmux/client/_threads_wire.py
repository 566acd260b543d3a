"""
What serves a connection of the threaded client: a thread that writes and one that reads.

The async twin is `_tasks_wire`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..adapter import Closed, DialFailure, Frame, Ping, connect_timeout
from ..core.effects import Dial, HangUp, Send
from ..core.mux import Mux
from ..errors import Error, without_frames
from ..settings import Secret
from ..transports._socket import CallOff
from ..transports.base import DialError, Pong, SendError, SendTimeout, SyncTransport
from . import _shared
from ._threads_bells import Bell

if TYPE_CHECKING:
    from ._threads import Engine

_Reply = Sequence[Frame | Ping | Pong]
GIVE_WAY = 0.002
"""
Seconds for which a dial, or a farewell, lets text go first that is on its way to its writer.

Whoever of them is woken first has the interpreter's lock: 0.3 ms of a turn that is being waited for
(measured), where it is none of the one that has just ended, or may be needed after this one.
"""
_DIAL_MARGIN = 0.25
"""Seconds that a dial has to say itself that it is over: it can tell why."""


class Wire:
    """
    The writer and the reader of one connection, and its `Sink`.

    The writer dials. Nobody can call it off while it is in a key's callable or in the look-up of a
    name, so the reader, who has nothing to read yet, sees to it that the dial is answered in time.
    """

    def __init__(self, engine: Engine, mux: Mux, dial: Dial) -> None:
        self._engine = engine
        self._mux = mux
        self._dial = dial
        self._conn = dial.conn
        self._due = time.monotonic() + dial.timeout
        self._orders: SimpleQueue[Send | HangUp | _Reply | None] = SimpleQueue()
        self._answering = threading.Lock()
        """Taken for good by who tells what became of the dial."""
        self._news = Bell()
        """For the reader, until it reads."""
        self._settled = False
        self._transport: SyncTransport | None = None
        self._fetching = False
        self._parts: Mapping[str, float] = {}
        """Of the dial, what goes before the wire's own: names and seconds."""
        self._given_up = False
        self._call_off = CallOff()
        self._unsent: SendTimeout | None = None
        self._over = False

    def put(self, order: Send | HangUp) -> None:
        if isinstance(order, HangUp):
            self._given_up = True
            self._call_off.set()
            self._news.ring()
        self._orders.put(order)

    @property
    def wanted(self) -> bool:
        """Whether its connection knows of it. Else the step that made it was torn."""
        return self._conn.handle is self

    def start(self) -> None:
        """Have the writer run; where no thread is to be had, the dial has failed."""
        if self._given_up:
            self._failed(_shared.called_off())  # before a key is asked for
            return
        try:
            self._engine.start(self.run, f"wire-{self._conn.number}")
        except Exception as exc:
            self._failed(DialFailure(error=_shared.undialled(exc)))

    # -- the writer: dials, then is the only one that sends

    def run(self) -> None:
        try:
            self._engine.start(self._attend, f"reader-{self._conn.number}")
            found = self._connect()
        except BaseException as exc:
            # An adapter's own fault, or no thread is to be had; it is this dial's alone.
            found = DialFailure(error=_shared.undialled(exc))
        if isinstance(found, DialFailure):
            if self._answering.acquire(blocking=False):
                self._failed(found)
            self._settle(None)
            return
        transport, first_frames = found
        try:
            if self._answering.acquire(blocking=False):
                parts = {**self._parts, **transport.parts}
                self._tell(lambda now: self._mux.dialled(self._conn, now, parts))
                self._settle(transport)
                self._write(transport, first_frames)
        except BaseException as exc:
            self._engine.fault(exc)
            if self._transport is None:  # else the reader finds the wire cut, and tells
                self._broke(exc)
        finally:
            transport.abort()
            self._settle(self._transport)

    def _settle(self, transport: SyncTransport | None) -> None:
        self._transport = transport
        self._settled = True
        self._news.ring()

    def _failed(self, failure: DialFailure) -> None:
        self._tell(lambda now: self._mux.dial_failed(self._conn, failure, now))

    def _broke(self, exc: BaseException) -> None:
        if not self._over:
            self.lost(_shared.broken(exc))

    def _connect(self) -> tuple[SyncTransport, Sequence[Frame]] | DialFailure:
        configuration, plan = self._engine.configuration, self._conn.plan
        try:
            self._fetching = True
            asked = time.monotonic()
            secret = fetched(self._engine, plan.number)
            if callable(configuration.keys[plan.number]):
                self._parts = {"key": time.monotonic() - asked}
            self._fetching = False
            handshake = _shared.handshake(self._engine.carried, self._conn.handshake, secret)
            target = configuration.target(handshake, plan.traits.max_message)
            left = self._due - time.monotonic()
            if left <= 0:
                return connect_timeout(self._dial.timeout)
            transport = self._engine.dialler.connect(target, left, self._call_off)
        except DialError as exc:
            return _shared.in_all(exc.failure, self._dial.timeout)
        except Error as exc:
            # Without the frames that it came through: the key is in their variables.
            return DialFailure(error=without_frames(exc))
        return transport, handshake.first_frames

    def _write(self, transport: SyncTransport, first_frames: Sequence[Frame]) -> None:
        if first_frames:
            self._send(transport, first_frames)
        while (order := self._orders.get()) is not None:
            if isinstance(order, HangUp):
                time.sleep(GIVE_WAY)
            self._send(transport, order.frames if isinstance(order, Send | HangUp) else order)
            if isinstance(order, HangUp):
                transport.close(order.grace)
                break
        # Nothing may follow the close frame; another HangUp does, for a dial that was given up
        # while it succeeded.
        while order is not None:
            order = self._orders.get()

    def _send(self, transport: SyncTransport, frames: _Reply) -> None:
        try:
            transport.send(frames)
        except SendError as exc:
            if isinstance(exc, SendTimeout):
                self._unsent = exc
            # The reader finds the wire cut, and tells.
            transport.abort()

    # -- the reader: always drains

    def _attend(self) -> None:
        """Wait for the connection, and read; answer for a dial that cannot answer itself."""
        self._news.wait(self._dial.timeout * _shared.KEY_SHARE)
        if not (self._settled or self._given_up or self._fetching):
            self._news.wait(self._due + _DIAL_MARGIN - time.monotonic())
        if self._given_up and not self._settled:
            self._news.wait(_DIAL_MARGIN)  # it was called off, and knows of it soon
        if self._answering.acquire(blocking=False):
            self._given_up = True
            self._call_off.set()
            seconds = self._dial.timeout
            late = _shared.late_key if self._fetching else connect_timeout
            self._failed(late(seconds))
            return
        while not self._settled:
            self._news.wait()
        if self._transport is not None:
            self._read(self._transport)

    def _read(self, transport: SyncTransport) -> None:
        try:
            transport.read(self)
        except BaseException as exc:
            # Not the peer's doing, for a transport reports that.
            self._engine.fault(exc)
            transport.abort()
            self._broke(exc)

    def message(self, data: bytes, text: bool) -> None:
        mux, conn = self._mux, self._conn
        try:  # as `_tell` does, but once a chunk
            self._engine.step(mux, lambda: mux.receive(conn, data, text, time.monotonic()))
        except Exception as exc:
            self._engine.fault(exc)

    def answered(self, headers: Mapping[str, str]) -> None:
        self._tell(lambda now: self._mux.answered(self._conn, headers, now))

    def pong(self) -> None:
        self._tell(lambda now: self._mux.alive(self._conn, now))

    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        self._orders.put(frames)

    def lost(self, fault: Closed | DialFailure | Error) -> None:
        self._over = True
        told = _shared.told(fault, self._unsent)
        if isinstance(told, DialFailure):  # over HTTP, where it is the request that dials
            told = _shared.in_all(told, self._dial.timeout)
        self._tell(lambda now: self._mux.lost(self._conn, told, now))
        self._orders.put(None)

    def _tell(self, fact: Callable[[float], None]) -> None:
        try:
            self._engine.step(self._mux, lambda: fact(time.monotonic()))
        except Exception as exc:
            self._engine.fault(exc)


def fetched(engine: Engine, number: int) -> str | None:
    """
    Return the key of the route of that *number*, fetched now where it is a callable.

    Raises:
        AuthError: it could not be fetched.
    """
    key = engine.configuration.keys[number]
    if key is None:
        return None
    if isinstance(key, Secret):
        return key.reveal()
    try:
        found: object = key()
    except BaseException as exc:
        raise _shared.unfetched_key(exc) from exc
    secret = _shared.fetched_key(found)
    engine.carried.note(secret)
    return secret
