"""
What serves a connection of the async client: a task that writes and one that reads.

The threaded twin is `_threads_wire`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio

from ..adapter import Closed, DialFailure, Frame, Ping, connect_timeout
from ..core.effects import Dial, HangUp, Send
from ..core.mux import Mux
from ..errors import Error, without_frames
from ..settings import Secret
from ..transports.base import AsyncTransport, DialError, Pong, Prompt, SendError, SendTimeout
from . import _shared
from ._tasks_bells import Bell

if TYPE_CHECKING:
    from ._tasks import Engine

_Args = TypeVarTuple("_Args")
_T = TypeVar("_T")

_Reply = Sequence[Frame | Ping | Pong]


class Wire:
    """The writer and the reader of one connection, and its `Sink`."""

    def __init__(self, engine: Engine, mux: Mux, dial: Dial) -> None:
        self._engine = engine
        self._mux = mux
        self._dial = dial
        self._conn = dial.conn
        self._orders: list[Send | HangUp | _Reply | None] = []  # of an empty deque, 600 bytes
        self._bell = Bell(engine.loop)
        self._dialling: anyio.CancelScope | None = None  # made in the task: a Dial may come from a
        self._given_up = False  # callback of the loop, where anyio knows of no event loop
        self._fetching = False
        self._parts: Mapping[str, float] = {}
        """Of the dial, what goes before the wire's own: names and seconds."""
        self._prompt: Prompt | None = None
        """What sends without waiting, while the writer has nothing to do."""
        self._unsent: SendTimeout | None = None
        self._over = False

    def put(self, order: Send | HangUp) -> None:
        if isinstance(order, HangUp):
            self._given_up = True
            if self._dialling is not None:
                self._dialling.cancel()
        elif self._prompt is not None and not self._orders and self._sent(order, self._prompt):
            return
        self._orders.append(order)
        self._bell.ring()

    def _sent(self, order: Send, prompt: Prompt) -> bool:
        """
        Send *order* here and now: text goes before whatever else there is to do in the loop.

        If that fails, the writer finds out in its turn. Nothing of it can be sent twice: what has
        failed is the whole wire.
        """
        try:
            room = prompt.send_now(order.frames)
        except SendError:
            return False
        except BaseException:
            prompt.abort()  # who knows what of it was sent
            raise
        if not room:
            self.reply(())
        return True

    # -- the writer: dials, then is the only one that sends, but for `_sent`

    async def run(self) -> None:
        if self._conn.handle is not self:
            return  # the step that made it was torn: nobody could hang it up
        try:
            found = await self._connect()
        except BaseException as exc:
            # An adapter's or a key's own fault; it is this dial's alone.
            if self._engine.stopping(exc):
                raise
            found = DialFailure(error=_shared.undialled(exc))
        if isinstance(found, DialFailure):
            self._tell(self._mux.dial_failed, self._conn, found, self._engine.now())
            return
        transport, first_frames = found
        try:
            parts = {**self._parts, **transport.parts}
            self._tell(self._mux.dialled, self._conn, self._engine.now(), parts)
            await transport.read(self, lambda: self._write(transport, first_frames))
            self._broke("its task was cancelled")
        except BaseException as exc:
            if self._engine.stopping(exc):
                raise
            # Not the peer's doing, for a transport reports that; the others must not suffer.
            self._engine.fault(exc)
            self._broke(_shared.only(exc))
            if isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
        finally:
            transport.abort()

    def _broke(self, why: BaseException | str) -> None:
        if not self._over:
            self.lost(_shared.broken(why))

    async def _connect(self) -> tuple[AsyncTransport, Sequence[Frame]] | DialFailure:
        if self._given_up:
            return _shared.called_off()  # before a key is asked for
        try:
            with anyio.move_on_after(self._dial.timeout) as self._dialling:
                return await self._open()
        except DialError as exc:
            return exc.failure
        except Error as exc:
            # Without the frames that it came through: the key is in their variables.
            return DialFailure(error=without_frames(exc))
        except TimeoutError:
            pass  # the key's own
        finally:
            self._dialling = None
        if self._given_up:
            return _shared.called_off()
        late = _shared.late_key if self._fetching else connect_timeout
        return late(self._dial.timeout)

    async def _open(self) -> tuple[AsyncTransport, Sequence[Frame]]:
        configuration, plan = self._engine.configuration, self._conn.plan
        if callable(configuration.keys[plan.number]):  # else it takes no time, and no scope
            self._fetching = True
            asked = self._engine.now()
            with anyio.fail_after(self._dial.timeout * _shared.KEY_SHARE):
                secret = await self._key()
            self._parts = {"key": self._engine.now() - asked}
            self._fetching = False
        else:
            secret = await self._key()
        handshake = _shared.handshake(self._engine.carried, self._conn.handshake, secret)
        target = configuration.target(handshake, plan.traits.max_message)
        transport = await self._engine.dialler.connect(target, self._dial.timeout)
        return transport, handshake.first_frames

    async def _key(self) -> str | None:
        return await fetched(self._engine, self._conn.plan.number, f"key-{self._conn.number}")

    async def _write(self, transport: AsyncTransport, first_frames: Sequence[Frame]) -> None:
        if first_frames:
            await self._send(transport, first_frames)
        prompt = transport if isinstance(transport, Prompt) else None
        while True:
            while not self._orders:
                self._prompt = prompt
                await self._bell.wait()
                self._prompt = None
            order = self._orders.pop(0)
            if order is None:
                return
            await self._send(transport, order.frames if isinstance(order, Send | HangUp) else order)
            if isinstance(order, HangUp):
                # Nothing may follow it; another HangUp does, for a dial that was given up while it
                # succeeded.
                await transport.close(order.grace)
                return

    async def _send(self, transport: AsyncTransport, frames: _Reply) -> None:
        try:
            await transport.send(frames)
        except SendError as exc:
            if isinstance(exc, SendTimeout):
                self._unsent = exc
            # The reader finds the wire cut, and tells.
            transport.abort()

    # -- the reader: always drains

    def message(self, data: bytes, text: bool) -> None:
        engine, mux = self._engine, self._mux
        try:  # as `_tell` does, but once a chunk
            engine.step(mux, mux.receive, self._conn, data, text, engine.now())
        except Exception as exc:
            engine.fault(exc)

    def answered(self, headers: Mapping[str, str]) -> None:
        self._tell(self._mux.answered, self._conn, headers, self._engine.now())

    def pong(self) -> None:
        self._tell(self._mux.alive, self._conn, self._engine.now())

    def reply(self, frames: _Reply) -> None:
        self._orders.append(frames)
        self._bell.ring()

    def lost(self, fault: Closed | DialFailure | Error) -> None:
        self._over = True
        self._tell(
            self._mux.lost, self._conn, _shared.told(fault, self._unsent), self._engine.now()
        )
        self._orders.append(None)
        self._bell.ring()

    def _tell(self, fact: Callable[[*_Args], None], *args: *_Args) -> None:
        try:
            self._engine.step(self._mux, fact, *args)
        except Exception as exc:
            self._engine.fault(exc)


def _cancelled(exc: BaseException) -> bool:
    """Return whether *exc* is a cancellation of the running task itself."""
    if not isinstance(exc, anyio.get_cancelled_exc_class()):
        return False
    if not isinstance(exc, asyncio.CancelledError):
        return True  # trio, where nobody else can make one
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_Outcome = tuple[Sequence[_T], BaseException | None]
"""As a value: a StopIteration, or a GeneratorExit, would not come through a coroutine whole."""


def _caught(call: Callable[[], _T]) -> _Outcome[_T]:
    try:
        return [call()], None
    except BaseException as exc:
        return [], exc


async def fetched(engine: Engine, number: int, name: str) -> str | None:
    """
    Return the key of the route of that *number*, fetched now where it is a callable.

    A plain callable may block, and is called in a thread, which gets this *name* and is left behind
    if this is cancelled.

    Raises:
        AuthError: it could not be fetched.
    """
    key = engine.configuration.keys[number]
    if key is None:
        return None
    if isinstance(key, Secret):
        return key.reveal()
    values, raised = ([], None) if _is_async(key) else await _aside(engine, name, key)
    try:
        if raised is not None:
            raise raised
        found: object = values[0] if values else key()
        if isinstance(found, Awaitable):
            found = await found
    except BaseException as exc:
        if _cancelled(exc):
            raise
        raise _shared.unfetched_key(exc) from exc
    secret = _shared.fetched_key(found)
    engine.carried.note(secret)
    return secret


async def _aside(engine: Engine, name: str, call: Callable[[], _T]) -> _Outcome[_T]:
    """Run what may block in a thread, which is left behind if this is cancelled."""
    bell = Bell(engine.loop)
    outcomes: list[_Outcome[_T]] = []
    context = contextvars.copy_context()
    left = False

    def run() -> None:
        outcomes.append(context.run(_caught, call))
        if left:
            _discard(outcomes)
        engine.post(bell.ring)

    engine.crew.start(run, name)
    try:
        while not outcomes:
            await bell.wait()
        return outcomes.pop()
    finally:
        left = True
        _discard(outcomes)  # it may have come just now


def _discard(outcomes: list[_Outcome[_T]]) -> None:
    """Close what nobody will await, which Python would complain about. From any thread."""
    with suppress(Exception):  # there is none yet, or the other one has taken it
        values, _ = outcomes.pop()
        for found in values:
            if isinstance(found, Coroutine):
                found.close()


def _is_async(call: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 - an object of a class with an async one
    )
