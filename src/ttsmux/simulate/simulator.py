"""
Running a simulator: in a background thread (`Simulator`, `AsyncSimulator`) or for ever.

The server has an event loop and a thread of its own, so that it behaves the same under blocking
code, asyncio and trio, and goes on answering while a test holds its own loop up.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from os import PathLike
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Literal, Self, TypeVar

import anyio.to_thread

from ..errors import WrongType
from .elevenlabs import ElevenLabs
from .engines import Engine, check_engine_name, create_engine
from .faults import Fault, FaultPlan, Moment, as_fault
from .gradium import Gradium
from .kugelaudio import KugelAudio
from .log import Log, Record
from .provider import Provider, Stage
from .server import Server
from .sm import SM
from .xai import XAI

T = TypeVar("T")

_PROVIDERS: Mapping[str, Callable[..., Provider]] = {
    "elevenlabs": ElevenLabs,
    "gradium": Gradium,
    "kugelaudio": KugelAudio,
    "sm": SM,
    "xai": XAI,
}

PROVIDERS: tuple[str, ...] = tuple(_PROVIDERS)

GROUP = "ttsmux.simulators"

# How long close() waits for the thread. It has nothing to wait for but an engine at work, and its
# turn on a busy machine.
CLOSE_TIMEOUT = 30.0


def _find_provider(name: str) -> Callable[..., Provider]:
    if name in _PROVIDERS:
        return _PROVIDERS[name]
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(simulator_names())
        raise ValueError(f"no provider is called {name!r}; known: {known}")
    provider = found[name].load()
    assert isinstance(provider, type) and issubclass(provider, Provider), f"{name} is a Provider"
    return provider


def simulator_names() -> list[str]:
    """Return the names of all simulators that are installed, of this package and of others."""
    return sorted({*PROVIDERS, *(entry.name for entry in entry_points(group=GROUP))})


def create_provider(name: str, options: Mapping[str, object]) -> Provider:
    """
    Make the provider that is registered as *name*, by this package or another.

    Raises ValueError for a name that nobody has, TypeError for an option that it does not take.
    """
    make = _find_provider(name)
    try:
        return make(**options)
    except TypeError as exc:
        raise TypeError(f"cannot simulate {name} with these options: {exc}") from exc


def _provider(provider: str | Provider, options: Mapping[str, object]) -> Provider:
    if isinstance(provider, str):
        return create_provider(provider, options)
    if options:
        raise TypeError(f"give {next(iter(options))}= to the provider itself: it is made already")
    return provider


class Simulator:
    """
    A provider on a loopback port, in a thread of its own.

    *provider* is a name, of this package's or of an entry point ``ttsmux.simulators``, or a
    `Provider` that you have made; `ttsmux.simulate.custom` says how to write one.
    *engine* is a name (``tone``, ``espeak``, ``auto``) or an engine, which then stays yours to
    close. *handshake_ms* delays the answer to the upgrade, *ttfa_ms* the first audio after the
    first text; later audio comes at *rtf* times real time, 0 being as fast as the client reads,
    and *jitter_ms* is the most that chance adds to each wait. All of these are inputs, never a
    statement about the provider. *faults* are `Fault` objects
    or their written form. What remains are the provider's own options.

    The server runs from `start` (or entering ``with``) until `close`; it may not be restarted.
    """

    def __init__(
        self,
        provider: str | Provider,
        *,
        engine: str | Engine = "tone",
        handshake_ms: float = 0.0,
        ttfa_ms: float = 0.0,
        rtf: float = 0.0,
        chunk_ms: float = 80.0,
        jitter_ms: float = 0.0,
        faults: Iterable[Fault | str] = (),
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        log_file: str | PathLike[str] | None = None,
        seed: int = 0,
        **options: object,
    ) -> None:
        for name, value in (
            ("handshake_ms", handshake_ms),
            ("ttfa_ms", ttfa_ms),
            ("rtf", rtf),
            ("chunk_ms", chunk_ms),
            ("jitter_ms", jitter_ms),
        ):
            if not 0 <= value < 1e9 or (name == "chunk_ms" and value == 0):
                raise ValueError(f"{name} cannot be {value}")
        if isinstance(engine, str):
            check_engine_name(engine)
        if isinstance(faults, str) or not isinstance(faults, Iterable):
            raise WrongType.of("faults", 'a list of faults, as in faults=["refuse"]', faults)
        self._provider = _provider(provider, options)
        self._plan = FaultPlan()
        for fault in faults:
            self._plan.add(self._possible(fault))
        self._engine = engine
        self._handshake = handshake_ms / 1000
        self._pace = (ttfa_ms / 1000, rtf, chunk_ms / 1000, jitter_ms / 1000)
        self._port = port
        self._ssl_context = ssl_context
        self._log_file = log_file
        self._seed = seed
        self._log: Log | None = None
        self._server: Server | None = None
        self._stage: Stage | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else self.url if self._server else "not started"
        return f"<Simulator {self.provider} {state}>"

    def start(self) -> Self:
        """Listen. Returns when connections are accepted."""
        if self._stage is not None or self._closed:
            raise RuntimeError("a simulator runs once")
        own_engine = isinstance(self._engine, str)
        engine = create_engine(self._engine) if isinstance(self._engine, str) else self._engine
        try:
            self._log = Log(self._log_file)
            rng = random.Random(self._seed)
            self._stage = Stage(engine, self._log, self._plan, rng, *self._pace)
            self._server = Server(
                self._provider,
                self._stage,
                port=self._port,
                handshake=self._handshake,
                ssl_context=self._ssl_context,
            )
        except BaseException:
            self._closed = True
            if self._log is not None:
                self._log.close()
            if own_engine:
                engine.close()
            raise
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started, own_engine), name=f"simulator-{self.provider}"
        )
        self._thread.daemon = True
        self._thread.start()
        started.wait()
        return self

    def close(self) -> None:
        """Stop the server and drop its connections. Idempotent; from any thread."""
        self._closed = True
        thread, loop, stop = self._thread, self._loop, self._stop
        if thread is None or loop is None or stop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop.set)
        thread.join(CLOSE_TIMEOUT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Where it is

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self._provider.name

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._running(self._server).port

    @property
    def url(self) -> str:
        """The base URL for WebSockets, without a path."""
        return f"{'wss' if self._ssl_context else 'ws'}://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        """The base URL for HTTP, without a path."""
        return f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def default_voice(self) -> str:
        """A voice that the provider has."""
        return self._provider.default_voice

    @property
    def engine(self) -> Engine:
        """What speaks."""
        return self._running(self._stage).engine

    # What it saw

    @property
    def log(self) -> list[Record]:
        """The records so far; `ttsmux.simulate.log` says what they hold."""
        return self._running(self._log).snapshot()

    def frames(
        self, direction: Literal["recv", "send"], conn: int | None = None
    ) -> list[dict[str, object]]:
        """List the messages it received or sent, on one connection or on all."""
        frames = []
        for record in self.log:
            if record["event"] == direction and conn in (None, record["conn"]):
                frame = record["frame"]
                assert isinstance(frame, dict)
                frames.append(frame)
        return frames

    def wait_for(self, predicate: Callable[[list[Record]], T], timeout: float = 20.0) -> T:
        """
        Wait until *predicate*, called with the log so far, gives something true; return that.

        Raises TimeoutError after *timeout* seconds, with the last records in its message.
        """
        return self._running(self._log).wait_for(predicate, timeout)

    @property
    def dials(self) -> int:
        """How many TCP connections it has accepted."""
        return self._running(self._stage).dials

    @property
    def open_connections(self) -> int:
        """How many TCP connections are open."""
        return self._running(self._server).connections

    # What goes wrong

    def inject(self, fault: Fault | str) -> Fault:
        """
        Add a fault.

        It happens at once where its place is under way: ``close=1001@connect:1`` closes connection
        1 if that is open, ``reset@request:3`` resets under generation 3 if that is speaking.
        """
        fault = self._possible(fault)
        server, loop = self._running(self._server), self._loop
        assert loop is not None, "started"
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(server.inject, fault)
        return fault

    def _possible(self, fault: Fault | str) -> Fault:
        fault = as_fault(fault)
        if fault.moment is Moment.CANCEL and not self._provider.cancels:
            raise ValueError(f"{fault.action}: {self.provider} has no cancel message")
        if fault.action == "badb64" and not self._provider.base64:
            raise ValueError(f"{fault.action}: {self.provider} sends audio as it is")
        return fault

    # The thread

    def _running(self, value: T | None) -> T:
        if value is None:
            raise RuntimeError("the simulator has not been started")
        return value

    def _run(self, started: threading.Event, own_engine: bool) -> None:
        try:
            asyncio.run(self._main(started))
        finally:
            started.set()
            if own_engine:
                self.engine.close()
            if self._log is not None:
                self._log.close()

    async def _main(self, started: threading.Event) -> None:
        assert self._server is not None, "start() has made it"
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        serving = asyncio.create_task(self._server.serve())
        started.set()
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        serving.cancel()
        await asyncio.gather(serving, stopping, return_exceptions=True)


class AsyncSimulator(Simulator):
    """
    The same for async code, on asyncio and trio: starting, closing and waiting do not block.

    Everything else is instant and therefore the same.
    """

    async def __aenter__(self) -> Self:
        return await anyio.to_thread.run_sync(self.start)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the server and drop its connections. Idempotent."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    async def await_for(self, predicate: Callable[[list[Record]], T], timeout: float = 20.0) -> T:
        """Do as `wait_for`, without blocking the loop."""
        return await anyio.to_thread.run_sync(
            self.wait_for, predicate, timeout, abandon_on_cancel=True
        )


def serve_forever(
    provider: str,
    *,
    engine: str | Engine = "auto",
    handshake_ms: float = 0.0,
    ttfa_ms: float = 0.0,
    rtf: float = 0.0,
    chunk_ms: float = 80.0,
    jitter_ms: float = 0.0,
    faults: Iterable[Fault | str] = (),
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    log_file: str | PathLike[str] | None = None,
    seed: int = 0,
    **options: object,
) -> None:
    """
    Run a simulator until SIGTERM or SIGINT. To be called from the main thread.

    Prints one line, ``ready PROVIDER URL``, when connections are accepted, and one on stderr that
    names the engine.
    """
    simulator = Simulator(
        provider,
        engine=engine,
        handshake_ms=handshake_ms,
        ttfa_ms=ttfa_ms,
        rtf=rtf,
        chunk_ms=chunk_ms,
        jitter_ms=jitter_ms,
        faults=faults,
        port=port,
        ssl_context=ssl_context,
        log_file=log_file,
        seed=seed,
        **options,
    )
    # Not an Event: a signal that lands inside its wait() would wait for the lock that this holds.
    stop: SimpleQueue[int] = SimpleQueue()
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda got, _: stop.put(got)) for number in signals}
    try:
        with simulator:
            print(f"ready {simulator.provider} {simulator.url}", flush=True)
            print(f"engine: {simulator.engine.describe()}", file=sys.stderr, flush=True)
            # A bare wait() is not interrupted by signals on Windows.
            while stop.empty():
                with contextlib.suppress(Empty):
                    stop.get(timeout=0.5)
                    break
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
