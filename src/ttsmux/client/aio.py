"""
The client for asyncio and trio.

Needs no ``async with``, and may be opened and closed in different tasks. What waits is in `_tasks`;
what decides is in `ttsmux.core`. The threaded twin is `sync`.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import get_ident
from types import TracebackType
from typing import Literal, Self, TypeVar, TypeVarTuple

import anyio.lowlevel
import anyio.to_thread

from ..adapter import Adapter, Voice
from ..audio import AudioChunk, AudioFormat, Mark
from ..core.ledger import Interruption
from ..core.metrics import Metrics
from ..core.mux import Mux
from ..core.speech import END
from ..core.speech import Speech as CoreSpeech
from ..core.stats import PoolStats
from ..errors import BusyResource, Error
from ..settings import (
    Interrupt,
    KeyLimits,
    PoolLimits,
    RetryPolicy,
    Timeouts,
    check_count,
    check_seconds,
)
from ._shared import caller
from ._tasks import Engine
from ._tasks_asker import Asker
from ._tasks_bells import Waiter
from ._tasks_feeder import Feeder
from .files import WavFile, gathered
from .options import OUTCOMES, AsyncKey, Headers, Outcome, check_text, checked, configure
from .otel import Telemetry

_Args = TypeVarTuple("_Args")
_T = TypeVar("_T")

_IN_A_ROW = 64
"""Chunks handed out without a wait before the event loop gets its turn, if no more are at hand."""


class AsyncClient:
    """
    Speaks over connections that stay open. To be closed in the end, best by ``async with``.

    Args:
        provider: a name such as ``"gradium"``, an adapter, or several in order of preference.
        api_key: the key as a str or a `Secret`, or a callable that is asked for it once a dial: it
            may block, and in an event loop it may be async. By default the provider's environment
            variable. With several adapters, a mapping by their names.
        base_url: in place of the provider's scheme, host and port, such as ``wss://host:443``. With
            several adapters, a mapping by their names.
        headers: added to each connection's request. With several adapters, a mapping by their
            names to the headers of each.
        allow_plaintext: whether a key may go to another machine over ``ws://``.
        timeouts, pool, retry: how long, how many, how often; the defaults suit a voice agent.
        interrupt: ``"mute"``, ``"cancel"`` or ``"discard"``, where the provider allows it; by
            default what suits it.
        fallback: ``"rest"`` speaks over HTTP when WebSockets cannot be had, where the provider has
            that surface; None does not.
        limits: what your plan allows the key; with several adapters, a mapping by their names.
        proxy: ``"env"`` reads the environment, None goes direct, else the URL of an HTTP proxy.
        ssl_context: for certificates of your own.
        fast_path: whether whole messages are taken out of the bytes that come before the WebSocket
            library looks at them, which takes less time; False leaves all to the library.
        telemetry: where OpenTelemetry's spans and measurements go: a `Telemetry`, True for the
            providers that the program has set, False for nowhere. None is True once it has set any.
        options: the provider's own, as the fields of its adapter, where it is given by its name.

    Raises:
        ConfigError: the arguments do not fit together.
        WrongType: an argument is of a type that it does not take.
        AuthError: there is no key, or it can be none.

    A call that comes in the middle of another, in the same thread, is refused with
    `LocalProtocolError`: that of a signal handler or a finaliser which interrupts ttsmux at work.
    Have such code set a flag, or hand the call to another thread.
    """

    def __init__(
        self,
        provider: str | Adapter | Sequence[Adapter],
        *,
        api_key: AsyncKey | Mapping[str, AsyncKey] | None = None,
        base_url: str | Mapping[str, str] | None = None,
        headers: Headers | None = None,
        allow_plaintext: bool = False,
        timeouts: Timeouts | None = None,
        pool: PoolLimits | None = None,
        retry: RetryPolicy | None = None,
        interrupt: Interrupt | str | None = None,
        fallback: Literal["rest"] | None = "rest",
        limits: KeyLimits | Mapping[str, KeyLimits] | None = None,
        proxy: str | None = "env",
        ssl_context: ssl.SSLContext | None = None,
        fast_path: bool = True,
        telemetry: Telemetry | bool | None = None,
        **options: object,
    ) -> None:
        self._configuration = configure(
            provider,
            options,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            allow_plaintext=allow_plaintext,
            timeouts=timeouts,
            pool=pool,
            retry=retry,
            interrupt=interrupt,
            fallback=fallback,
            limits=limits,
            proxy=proxy,
            ssl_context=ssl_context,
            fast_path=fast_path,
        )
        self._engine = Engine(self._configuration, telemetry)
        self._made_at = caller()

    def __repr__(self) -> str:
        engine, names = self._engine, self._configuration.providers
        state = " cut off" if engine.cut_off else " closed" if engine.closed else ""
        return f"<{type(self).__name__} {names}{state}>"

    async def __aenter__(self) -> Self:
        self._engine.bind()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # No input here: this may run in the middle of one.
        engine = getattr(self, "_engine", None)
        if engine is None or not engine.running or engine.forked:
            return
        if engine.cut_off or not engine.closed:
            # Said before somebody else closes it.
            late = " before its event loop ended" if engine.cut_off else ""
            told = f"{self!r} was not closed{late}; it was made at {self._made_at}"
            engine.orphaned = True
            engine.ring()
            warnings.warn(told, ResourceWarning, source=self, stacklevel=2)

    def speak(
        self,
        text: str | Iterable[str] | AsyncIterable[str] | None = None,
        *,
        deadline: float | None = None,
        **options: object,
    ) -> AsyncSpeech:
        """
        Begin to speak.

        Args:
            text: all of it, or an iterable that gives it piece by piece, or None to `write` it.
            deadline: seconds from now in which all its audio must have come, or it fails with
                `DeadlineExceeded`; without it, `Timeouts.total`.
            options: the provider's own, for this speech alone; of several providers, the first's.

        Returns:
            the speech: iterate over its audio, best in a ``with`` block.

        Raises:
            ConfigError: an option does not fit, or the deadline.
            WrongType: the text is neither a str nor gives any, or an argument is of a wrong type.
            InvalidText: the text has a lone surrogate.
            PoolFull: too many speeches wait already.
            ClosedError: the client is closed.
        """
        if deadline is not None:
            check_seconds("deadline", deadline)
        check_text(text, Iterable, AsyncIterable)
        engine = self._engine
        engine.bind()
        mux = engine.mux
        whole = [text] if isinstance(text, str) else text
        pieces = checked(whole) if isinstance(whole, list | tuple) else None
        fed = whole is not None and pieces is None
        waiter = Waiter(engine.loop)

        def begin(follow: Callable[[Mux, CoreSpeech], None]) -> AsyncSpeech:
            # All in one step: after a KeyboardInterrupt nobody could end a speech without an owner.
            core = mux.speak(options, engine.now(), text=pieces, fed=fed, total=deadline)
            core.handle = waiter
            engine.waiters.add(waiter)
            follow(mux, core)
            return AsyncSpeech(self, engine, mux, core, waiter)

        with engine.observer.speaking(options) as follow:
            speech = engine.step(mux, begin, follow)
        if whole is not None and fed:
            feeder = Feeder(engine, mux, speech._core, waiter, whole)
            feeder.start()
        return speech

    async def prewarm(self, n: int = 1, *, timeout: float | None = None, **options: object) -> int:
        """
        Open connections before they are needed, and the spares behind them.

        Args:
            n: connections to have ready.
            timeout: seconds to wait for them; the dial timeout by default.
            options: the provider's own, as for `speak`.

        Returns:
            connections that are ready, which may be fewer.

        Raises:
            Error: if they cannot be had at all, such as `AuthError`; what may pass is not raised.
            ConfigError: an argument is out of range, or an option does not fit.
            WrongType: an argument is no number.
            ClosedError: the client is closed.
        """
        engine = self._engine
        engine.bind()
        mux = engine.mux
        seconds = self._configuration.settings.timeouts.dial if timeout is None else timeout
        check_count("n", n)
        check_seconds("timeout", seconds)
        ticket = engine.step(mux, mux.prewarm, n, options, seconds, engine.now())
        await engine.wait(mux, ticket, seconds + 1.0)
        return ticket.ready

    async def voices(self, *, timeout: float | None = None) -> tuple[Voice, ...]:
        """
        Ask the provider which voices it has; of several providers, the first.

        It is asked over HTTP each time, whatever the speeches go over.

        Args:
            timeout: seconds that it may take; the dial timeout by default.

        Returns:
            the voices, in the provider's order.

        Raises:
            ConfigError: the provider has no list of its voices, or an argument is out of range.
            WrongType: an argument is no number.
            Error: there was no answer, or none that can be used, such as `AuthError`.
            ClosedError: the client is closed.
        """
        engine = self._engine
        engine.bind()
        mux = engine.mux
        seconds = self._configuration.settings.timeouts.dial if timeout is None else timeout
        check_seconds("timeout", seconds)
        inquiry = engine.step(mux, mux.inquire)
        return await Asker(engine, inquiry, seconds).ask()

    def pool_stats(self) -> PoolStats:
        """Return counts of the client's connections."""
        engine = self._engine
        if engine.running:
            engine.check_thread()
        return engine.look(lambda: engine.mux.stats())

    def from_thread(self, call: Callable[[], _T]) -> _T:
        """
        Run *call* in the client's event loop and return what it returns.

        The way for other threads: ``client.from_thread(speech.interrupt)``.

        Raises:
            WrongThread: it is called in the loop's own thread, or there is no loop yet.
            ClosedError: the loop has ended, or does not run; *call* will not be run either.
        """
        return self._engine.from_thread(call)

    async def drain(self, *, timeout: float = 30.0) -> bool:
        """
        Take no new speech, let what is speaking come to its end, and close.

        A speech whose audio has all come may still be read afterwards. What has not come to its end
        by then fails with `ClosedError`, as it does when the client is closed meanwhile.

        Args:
            timeout: seconds to wait for it.

        Returns:
            whether all of it came to its own end; if the client is closed, whether it had then.

        Raises:
            ConfigError: an argument is out of range.
            WrongType: an argument is no number.
        """
        check_seconds("timeout", timeout, zero=True)
        return await self._engine.drain(timeout)

    async def aclose(self) -> None:
        """End what is speaking, close all connections. Bounded, and closing twice is fine."""
        await self._engine.close()


class AsyncSpeech:
    """
    Something being said, which `speak()` returns. Iterate over it for its audio.

    Leaving a ``with`` block before the end interrupts it. One task reads; any task may `write`,
    `flush`, `end` or `interrupt`.
    """

    def __init__(
        self, client: AsyncClient, engine: Engine, mux: Mux, core: CoreSpeech, waiter: Waiter
    ) -> None:
        self._client = client  # which must not be collected before its speeches
        self._engine = engine
        self._mux = mux
        self._core = core
        self._waiter = waiter
        self._reading = False
        self._in_a_row = 0
        self._row = _IN_A_ROW

    def __repr__(self) -> str:
        return repr(self._core)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.outcome is None:
            self.interrupt()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioChunk:
        """
        Return the next audio.

        Raises:
            Error: the speech failed; what was received before has been handed out.
            BusyResource: another task is reading.
        """
        if self._reading:
            msg = "another task is reading this speech"
            raise BusyResource(msg, phase="speak")
        self._reading = True
        try:
            self._in_a_row += 1
            if self._in_a_row > self._row:
                # Audio may always be at hand; the event loop and a cancellation get their turn
                # before the next chunk is taken, so that none is lost.
                self._in_a_row = 0
                await anyio.lowlevel.checkpoint()
                # All there is now, or a peer that sends small chunks would bring more a turn.
                self._row = max(_IN_A_ROW, self._core.at_hand)
            core, engine = self._core, self._engine
            while True:
                if get_ident() != engine.thread:
                    engine.check_thread()
                if core.reader_waits:
                    self._in_a_row = 0
                    await self._waiter.reader.wait()
                item = engine.step(self._mux, self._mux.read, core, engine.now())
                if isinstance(item, AudioChunk):
                    return item
                if item is END:
                    raise StopAsyncIteration
        finally:
            self._reading = False

    def __del__(self) -> None:
        # No input here: this may run in the middle of one.
        core = getattr(self, "_core", None)
        if core is not None and not (core.over or self._engine.forked):
            told = f"{core!r} was dropped before its end; read it out, interrupt it, or use with"
            self._engine.dropped.append((self._mux, core))
            self._engine.ring()
            warnings.warn(told, ResourceWarning, source=self, stacklevel=2)

    def write(self, piece: str) -> None:
        """
        Add text.

        Raises:
            LocalProtocolError: the text was ended.
            WrongType: the piece is no str.
            InvalidText: the piece has a lone surrogate.
            Error: the speech has failed.
        """
        checked([piece])
        self._step(self._mux.write, self._core, piece, self._engine.now())

    def flush(self) -> None:
        """
        Ask for the audio of all text so far, where the provider can; else nothing happens.

        Raises:
            LocalProtocolError: the text was ended.
            Error: the speech has failed.
        """
        self._step(self._mux.flush, self._core, self._engine.now())

    def end(self) -> None:
        """
        Say that no more text comes. Ending twice is fine.

        Raises:
            Error: the speech has failed.
        """
        self._step(self._mux.end, self._core, self._engine.now())

    def interrupt(self) -> Interruption:
        """
        Stop. The iteration ends, and nothing more is handed out.

        Does not wait for the provider. Calling it again returns the same report.
        """
        return self._step(self._mux.interrupt, self._core, self._engine.now())

    def played(self, seconds: float) -> None:
        """
        Say how many seconds of it have reached the ear; without it, what was handed out counts.

        Raises:
            ConfigError: the seconds are less than none.
            WrongType: they are no number.
        """
        check_seconds("seconds", seconds, zero=True)
        self._step(self._mux.played, self._core, seconds, self._engine.now())

    async def read(self) -> bytes:
        """
        Return all audio that was not read yet, as bytes in `format`.

        After some chunks that is the rest, and ``b""`` after the last one. If the speech is
        interrupted meanwhile, it is what came before.

        Raises:
            Error: the speech failed; `Error.delivered` says what had come.
            BusyResource: another task is reading.
        """
        self._step(self._mux.collect, self._core)
        return gathered([chunk async for chunk in self])

    async def save(self, path: str | Path) -> Path:
        """
        Write the audio to a WAV file, which is there whole or not at all.

        Raises:
            LocalProtocolError: some of it was read already, which the file would lack.
            ConfigError: the name ends like that of another kind of audio, as in ``a.mp3``.
            OSError: the file cannot be written.
            Error: the speech failed, or was interrupted; there is no file then.
        """
        self._step(self._mux.collect_whole, self._core)
        with WavFile(path, self.format) as file:
            async for chunk in self:
                await anyio.to_thread.run_sync(file.add, chunk)
            if self.outcome is Outcome.INTERRUPTED:
                msg = "the speech was interrupted; nothing was saved"
                raise Error(msg, phase="speak")
        return file.path

    @property
    def format(self) -> AudioFormat:
        """What its audio is encoded as."""
        return self._core.plan.options.format

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, or None while it has not."""
        return OUTCOMES.get(self._core.state)

    @property
    def metrics(self) -> Metrics:
        """What it took so far."""
        return self._engine.look(self._core.metrics, self._engine.now())

    def explain(self) -> str:
        """Say where its time went so far: a waterfall as text, with no word of what it says."""
        return self._engine.look(self._core.explain, self._engine.now())

    @property
    def marks(self) -> tuple[Mark, ...]:
        """When each word is spoken, in seconds from its start, as far as the provider has said."""
        return self._engine.look(lambda: self._core.marks)

    def _step(self, input: Callable[[*_Args], _T], *args: *_Args) -> _T:
        self._engine.check_thread()
        return self._engine.step(self._mux, input, *args)
