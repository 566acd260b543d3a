"""A callable that is asked for the key may block, and holds up nothing but its own dial."""

from __future__ import annotations

import contextvars
import functools
import inspect
import socket
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import ttsmux
from tests.scenarios.stage import KEY
from tests.transports.peers import Peer, serve
from ttsmux import AsyncClient, Client, PoolLimits, RetryPolicy, Timeouts
from ttsmux.client import _shared
from ttsmux.simulate import AsyncSimulator

PATIENCE = 20.0
SOON = Timeouts(dial=0.1, close=0.01)
LONG_BUT_NOT_FOR_KEYS = Timeouts(dial=PATIENCE, close=0.01)
"""With `impatient`: what ends a dial can only be the limit of its key."""
ONCE = RetryPolicy(attempts=1)
ALONE = PoolLimits(min_idle=0)


class Vault:
    """A callable that blocks until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def __call__(self) -> str:
        self.threads.append(threading.current_thread())
        self.asked.release()
        assert self.go.wait(PATIENCE)
        return KEY

    @contextmanager
    def opened_at_last(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.go.set()
            for thread in self.threads:
                thread.join(PATIENCE)


@contextmanager
def left_behind() -> Iterator[list[str]]:
    """Collect the warnings about threads that did not leave in time."""
    names: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield names
    for warning in told:
        assert "an api_key that does not return" in str(warning.message), warning.message
        names.append(str(warning.message))


FAR = "wss://far.example"


@contextmanager
def no_name_is_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have all look-ups block until the end, and their threads be left behind."""
    vault = Vault()

    def look_up(*args: object, **more: object) -> list[Any]:
        vault()
        raise socket.gaierror(socket.EAI_AGAIN, "the resolver sleeps")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with vault.opened_at_last(), left_behind():
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "KEY_SHARE", 0.005)


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_key_that_blocks_fails_its_dial_in_time(sim: AsyncSimulator) -> None:
    """With an error that says so and may be retried; the callable still blocks."""
    vault = Vault()
    with vault.opened_at_last(), left_behind() as names:
        client = Client(
            "xai",
            base_url=sim.url,
            api_key=vault,
            timeouts=LONG_BUT_NOT_FOR_KEYS,
            retry=ONCE,
            pool=ALONE,
        )
        with client, pytest.raises(ttsmux.ConnectTimeout, match="api_key has not") as caught:
            client.speak("hello").read()
        assert caught.value.retryable
        assert caught.value.phase == "dial"
    assert len(names) == 1
    assert "-wire-1" in names[0]
    assert sim.dials == 0


def test_a_key_that_comes_too_late_is_not_used(sim: AsyncSimulator) -> None:
    """Its dial has failed, and the thread that fetched it sees that."""
    vault = Vault()
    with Client(
        "xai", base_url=sim.url, api_key=vault, timeouts=SOON, retry=ONCE, pool=ALONE
    ) as client:
        with vault.opened_at_last(), pytest.raises(ttsmux.ConnectTimeout):
            client.speak("hello").read()
        assert sim.dials == 0
        assert client.pool_stats().size == 0
    assert not any(thread.is_alive() for thread in vault.threads)


def test_a_key_may_take_its_time_within_the_dial_timeout(sim: AsyncSimulator) -> None:
    def slow() -> str:
        time.sleep(0.1)
        return KEY

    with Client("xai", base_url=sim.url, api_key=slow, timeouts=Timeouts(dial=PATIENCE)) as client:
        assert client.speak("hello").read()


def test_closing_does_not_wait_for_the_dial_of_a_key_that_blocks(sim: AsyncSimulator) -> None:
    """The dial is given up at once, whoever is in it."""
    vault = Vault()
    timeouts = Timeouts(dial=60.0, close=0.01)
    with vault.opened_at_last(), left_behind() as names:
        client = Client("xai", base_url=sim.url, api_key=vault, timeouts=timeouts)
        speech = client.speak("hello")
        assert vault.asked.acquire(timeout=PATIENCE)
        client.close()
        with pytest.raises(ttsmux.ClosedError):
            speech.read()
        assert client.pool_stats().size == 0
    assert len(names) == 1
    assert sim.dials == 0


def test_a_name_that_is_looked_up_for_ever_fails_its_dial_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody can call off a look-up; the speech does not wait for it."""
    with (
        no_name_is_found(monkeypatch),
        Client(
            "xai", base_url=FAR, api_key=KEY, timeouts=SOON, retry=ONCE, fallback=None
        ) as client,
        pytest.raises(ttsmux.ConnectTimeout, match=r"within 0\.1 s"),
    ):
        client.speak("hello").read()


def test_a_name_that_is_looked_up_for_ever_fails_a_request_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request is dialled when it is sent: what ends it is the limit of its first audio."""
    with no_name_is_found(monkeypatch):
        timeouts = Timeouts(first_audio=0.1, close=0.01)
        with (
            Client(
                ttsmux.XAI().rest(), base_url=FAR, api_key=KEY, timeouts=timeouts, retry=ONCE
            ) as client,
            pytest.raises(ttsmux.FirstAudioTimeout, match=r"within 0\.1 s"),
        ):
            client.speak("hello").read()


# --- tasks ----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_key_that_blocks_does_not_block_the_loop(sim: AsyncSimulator) -> None:
    vault = Vault()
    with vault.opened_at_last():
        async with AsyncClient("xai", base_url=sim.url, api_key=vault) as client:
            speech = client.speak("hello")
            with anyio.fail_after(PATIENCE):
                while not vault.threads:  # noqa: ASYNC110 - a thread's doing
                    await anyio.sleep(0.001)
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                assert vault.threads[0] is not threading.current_thread()
                assert vault.threads[0].daemon
                vault.go.set()
                assert await speech.read()


@pytest.mark.anyio
@pytest.mark.usefixtures("impatient")
async def test_a_key_that_blocks_fails_its_dial_in_time_in_tasks(sim: AsyncSimulator) -> None:
    vault = Vault()
    with vault.opened_at_last(), left_behind() as names:
        async with AsyncClient(
            "xai",
            base_url=sim.url,
            api_key=vault,
            timeouts=LONG_BUT_NOT_FOR_KEYS,
            retry=ONCE,
            pool=ALONE,
        ) as client:
            with anyio.fail_after(PATIENCE):
                with pytest.raises(ttsmux.ConnectTimeout, match="api_key has not returned"):
                    await client.speak("hello").read()
    assert len(names) == 1
    assert "-key-1" in names[0]
    assert sim.dials == 0


async def as_coroutine() -> str:
    await anyio.lowlevel.checkpoint()
    return KEY


class AsObject:
    async def __call__(self) -> str:
        return await as_coroutine()


KEYS: dict[str, Callable[[], Any]] = {
    "a function": lambda: KEY,
    "an async function": as_coroutine,
    "a part of one": functools.partial(as_coroutine),
    "a function that gives an awaitable": lambda: as_coroutine(),
    "an object": AsObject(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
async def test_every_kind_of_key(sim: AsyncSimulator, key: Callable[[], Any]) -> None:
    async with AsyncClient("xai", base_url=sim.url, api_key=key) as client:
        with anyio.fail_after(PATIENCE):
            assert await client.speak("hello").read()


@pytest.mark.anyio
async def test_an_async_key_runs_in_the_loop(sim: AsyncSimulator) -> None:
    threads: list[threading.Thread] = []

    async def key() -> str:
        threads.append(threading.current_thread())
        return await as_coroutine()

    async with AsyncClient("xai", base_url=sim.url, api_key=key) as client:
        assert await client.speak("hello").read()
    assert set(threads) == {threading.current_thread()}


@pytest.mark.anyio
async def test_a_coroutine_for_a_key_that_comes_too_late_is_closed(sim: AsyncSimulator) -> None:
    """Nobody is there to await it, of which Python would complain."""
    vault = Vault()
    made: list[Coroutine[Any, Any, str]] = []

    def key() -> Coroutine[Any, Any, str]:
        vault()
        made.append(as_coroutine())
        return made[0]

    with vault.opened_at_last():
        async with AsyncClient("xai", base_url=sim.url, api_key=key) as client:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.voices)
                    while not vault.threads:  # noqa: ASYNC110 - a thread's doing
                        await anyio.sleep(0.001)
                    tasks.cancel_scope.cancel()
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
            vault.go.set()
    assert [inspect.getcoroutinestate(one) for one in made] == [inspect.CORO_CLOSED]
    assert sim.dials == 0


@pytest.mark.anyio
async def test_a_key_sees_the_callers_context(sim: AsyncSimulator) -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    def key() -> str:
        seen.append(tenant.get())
        return KEY

    async with AsyncClient("xai", base_url=sim.url, api_key=key) as client:
        tenant.set("somebody")
        assert await client.speak("hello").read()
    assert seen[0] == "somebody"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [RuntimeError, StopIteration, SystemExit, GeneratorExit])
async def test_a_key_that_raises_in_its_thread(
    sim: AsyncSimulator, kind: type[BaseException]
) -> None:
    def key() -> str:
        raise kind

    async with AsyncClient("xai", base_url=sim.url, api_key=key) as client:
        with anyio.fail_after(PATIENCE), pytest.raises(ttsmux.AuthError, match=kind.__name__):
            await client.speak("hello").read()


@pytest.mark.anyio
async def test_a_key_that_gets_no_thread(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "-key-" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    async with AsyncClient("xai", base_url=sim.url, api_key=lambda: KEY) as client:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with anyio.fail_after(PATIENCE), pytest.raises(ttsmux.ConnectError):
                await client.speak("hello").read()
        assert await client.speak("hello").read()


# --- given up before it is begun ------------------------------------------------------------------


def test_a_dial_that_was_hung_up_before_it_began_asks_for_no_key(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the clock is late: nobody wants the key any more, and no thread is needed."""
    from ttsmux.client import _threads

    asked: list[str] = []
    real = _threads.Engine._dial

    def key() -> str:
        asked.append(threading.current_thread().name)
        return KEY

    def late(engine: _threads.Engine) -> None:
        if engine.mux._pool.closing:
            real(engine)

    monkeypatch.setattr(_threads.Engine, "_dial", late)
    client = Client("xai", base_url=sim.url, api_key=key)
    speech = client.speak("hello")
    client.close()
    with pytest.raises(ttsmux.ClosedError):
        speech.read()
    assert not asked
    assert client.pool_stats().size == 0


@pytest.mark.anyio
async def test_a_dial_that_was_hung_up_before_it_began_asks_for_no_key_by_tasks(
    sim: AsyncSimulator,
) -> None:
    asked: list[str] = []

    def key() -> str:
        asked.append(threading.current_thread().name)
        return KEY

    client = AsyncClient("xai", base_url=sim.url, api_key=key)
    speech = client.speak("hello")
    await client.aclose()  # at once: its tasks have not had their turn
    with pytest.raises(ttsmux.ClosedError):
        await speech.read()
    assert not asked
    assert client.pool_stats().size == 0


# --- given up while it succeeds -------------------------------------------------------------------


class Ending:
    """A peer that takes its time to answer a close frame, and looks how the wire ends."""

    def __init__(self) -> None:
        self.saw: list[object] = []
        self.done = threading.Event()

    def __call__(self, peer: Peer) -> None:
        try:
            self.saw.append(peer.receive())
            peer.sock.settimeout(0.2)
            try:
                self.saw.append(peer.sock.recv(1))  # cut, before we have answered
            except TimeoutError:
                self.saw.append("not cut")
                peer.sock.settimeout(PATIENCE)
                peer.send(b"\x88\x02\x03\xe8")
                self.saw.append(peer.sock.recv(1))
        except OSError as exc:
            self.saw.append(exc)
        finally:
            self.done.set()


CLEANLY = [(8, b"\x03\xe8"), "not cut", b""]


def test_a_dial_that_is_given_up_as_it_succeeds_is_closed_cleanly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is hung up twice, and the second time is once too often; the wire was cut then."""
    from ttsmux.client import _threads

    real, ending, closers = _threads.connect, Ending(), []

    def connect(target: Any, timeout: float, cancelled: Callable[[], bool]) -> Any:
        found = real(target, timeout, cancelled)
        closers.append(threading.Thread(target=client.close))
        closers[0].start()
        while not cancelled():
            time.sleep(0.001)
        return found

    monkeypatch.setattr(_threads, "connect", connect)
    with serve(ending) as server:
        timeouts = Timeouts(close=PATIENCE)
        client = Client("xai", base_url=server.url(""), api_key=KEY, timeouts=timeouts, pool=ALONE)
        speech = client.speak("hello")
        with pytest.raises(ttsmux.ClosedError):
            speech.read()
        closers[0].join(PATIENCE)
        assert ending.done.wait(PATIENCE)
    assert ending.saw == CLEANLY


@pytest.mark.anyio
async def test_a_dial_that_is_given_up_as_it_succeeds_is_closed_cleanly_by_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ttsmux.client import _tasks_wire
    from ttsmux.core.mux import Mux

    ending, real = Ending(), Mux.dialled
    with serve(ending) as server:
        timeouts = Timeouts(close=PATIENCE)
        client = AsyncClient(
            "xai", base_url=server.url(""), api_key=KEY, timeouts=timeouts, pool=ALONE
        )

        def dialled(mux: Mux, conn: Any, now: float, parts: Any) -> None:
            # The first HangUp: what is put before `dialled` finds the dial still under way.
            mux.close(now)
            assert isinstance(conn.handle, _tasks_wire.Wire)
            real(mux, conn, now)

        monkeypatch.setattr(Mux, "dialled", dialled)
        with anyio.fail_after(PATIENCE):
            with pytest.raises(ttsmux.ClosedError):
                await client.speak("hello").read()
            await client.aclose()
        assert ending.done.wait(PATIENCE)
    assert ending.saw == CLEANLY
