"""
What pulls a text source of the async client: a task for each, and a thread where it may block.

The threaded twin is `_threads_feeder`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from queue import SimpleQueue

import anyio

from ..core.mux import Mux
from ..core.speech import Speech
from ..transports._begin import begin
from . import _shared
from ._tasks import Engine
from ._tasks_bells import Bell, Waiter


class Feeder:
    """
    Pulls one text iterator, writes what it gives, and closes it. Nobody else touches it.

    It pauses while much of its text is unsent, and is cancelled when the speech is over.
    """

    def __init__(
        self,
        engine: Engine,
        mux: Mux,
        speech: Speech,
        waiter: Waiter,
        source: Iterable[str] | AsyncIterable[str],
    ) -> None:
        self._engine = engine
        self._mux = mux
        self._speech = speech
        self._bell = waiter.feeder = Bell(engine.loop)
        self._source = source
        self._room = Bell(engine.loop)
        self._whole = False

    def start(self) -> None:
        """Have its task started."""
        self._engine.start(self._run)

    async def _run(self) -> None:
        mux, speech, engine = self._mux, self._speech, self._engine
        try:
            async with anyio.create_task_group() as tasks:
                begin(tasks, self._watch, tasks.cancel_scope)
                await self._feed(tasks.cancel_scope)
                tasks.cancel_scope.cancel()
            if self._whole and not speech.over:
                engine.step(mux, mux.end, speech, engine.now())
            elif not speech.over:
                self._fail(asyncio.CancelledError())
        except BaseException as exc:
            if engine.stopping(exc):
                raise
            self._fail(_shared.only(exc))

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Leave the source alone once the speech is over; tell when there is room."""
        while not self._speech.over:
            await self._bell.wait()
            self._room.ring()
        scope.cancel()

    async def _feed(self, scope: anyio.CancelScope) -> None:
        # Told from in here: a task group cannot tell a CancelledError of the source from its own.
        try:
            await self._pull()
            self._whole = True
        except BaseException as exc:
            cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
            if (cancelled and scope.cancel_called) or self._engine.stopping(exc):
                raise
            self._fail(exc)

    def _fail(self, exc: BaseException) -> None:
        mux, engine = self._mux, self._engine
        engine.step(mux, mux.fail, self._speech, _shared.for_reader(exc), engine.now())

    async def _pull(self) -> None:
        if isinstance(self._source, AsyncIterable):
            iterator = aiter(self._source)
            try:
                async for piece in iterator:
                    await self._write(piece)
            finally:
                await _aclose(iterator)
        else:
            with Puller(self._engine, self._source, f"feeder-{self._speech.number}") as puller:
                while (found := await puller.next()) is not _NO_MORE:
                    await self._write(found)

    async def _write(self, piece: object) -> None:
        mux, speech, engine = self._mux, self._speech, self._engine
        engine.step(mux, mux.write, speech, _shared.check_piece(piece), engine.now())
        while not engine.step(mux, mux.room, speech, engine.now()):
            await self._room.wait()


_NO_MORE = object()


class Puller:
    """
    A thread that pulls one iterable, a piece whenever one is wanted, and closes it.

    Nobody can interrupt an `iter` or a `next` that blocks. Its thread is left behind then, and
    leaves when it comes back, whatever has become of the loop.
    """

    def __init__(self, engine: Engine, source: Iterable[str], name: str) -> None:
        self._engine = engine
        self._source = source
        self._name = name
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._found: deque[tuple[object, BaseException | None]] = deque()
        self._bell = Bell(engine.loop)
        self._left = False

    def __enter__(self) -> Puller:
        context = contextvars.copy_context()
        self._engine.crew.start(lambda: context.run(self._run), self._name)
        return self

    def __exit__(self, *exc: object) -> None:
        self._left = True
        self._wanted.put(False)

    async def next(self) -> object:
        """Return the next piece, or `_NO_MORE`; raise what the source raised."""
        self._wanted.put(True)
        while not self._found:
            await self._bell.wait()
        piece, exc = self._found.popleft()
        if exc is not None:
            raise exc
        return piece

    # -- in the thread

    def _run(self) -> None:
        try:
            iterator = iter(self._source)
            try:
                while self._wanted.get() and not self._left:
                    try:
                        piece = next(iterator)
                    except StopIteration:
                        break
                    self._say(piece)
            finally:
                _shared.close_source(iterator)
        except BaseException as exc:
            self._say(None, exc)
        else:
            self._say(_NO_MORE)

    def _say(self, piece: object, exc: BaseException | None = None) -> None:
        self._found.append((piece, exc))
        self._engine.post(self._bell.ring)


async def _aclose(iterator: AsyncIterator[str]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        # The source's own clean-up; shielded, or it would be cut off at its first await.
        with anyio.move_on_after(_shared.CLOSE_MARGIN, shield=True):
            await close()
