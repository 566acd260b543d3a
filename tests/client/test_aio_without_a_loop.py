"""An async client where there is no event loop, or where the loop is gone."""

import asyncio
import gc
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import pytest

import ttsmux
from tests.scenarios.stage import KEY
from ttsmux.simulate import AsyncSimulator


def test_a_client_may_be_made_before_a_loop_runs(sim: AsyncSimulator) -> None:
    client = ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)

    async def main() -> None:
        async with client:
            assert await client.speak("hello").read()

    asyncio.run(main())


def test_it_is_not_used_without_one(sim: AsyncSimulator) -> None:
    client = ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)
    with pytest.raises(ttsmux.WrongThread, match="use Client for threads"):
        client.speak("hello")
    with pytest.raises(ttsmux.WrongThread, match="not been used in an event loop"):
        client.from_thread(client.pool_stats)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_ends_takes_everything_along(sim: AsyncSimulator, backend: str) -> None:
    """Nobody closed the client; no task, socket or thread is left, and it says so."""
    made_at = f"{__file__}:{_line() + 1}"
    holder = [ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)]
    kept: list[ttsmux.AsyncSpeech] = []

    async def main() -> None:
        await holder[0].prewarm(2)
        kept.append(holder[0].speak())
        kept[0].write("Hold on. ")
        assert await holder[0].speak("hello").read()

    anyio.run(main, backend=backend)
    sim.wait_for(lambda log: any(record["event"] == "lost" for record in log))
    assert repr(holder[0]) == "<AsyncClient xai cut off>"
    for name in ("speak", "prewarm"):
        with pytest.raises(ttsmux.ClosedError, match="event loop has ended"):
            anyio.run(called, getattr(holder[0], name), backend=backend)
    stats = holder[0].pool_stats()
    assert (stats.size, stats.live, stats.held, stats.waiting) == (0, 0, 0, 0)
    assert stats.opened == stats.closed >= 2
    assert stats.requests == stats.leased + stats.unserved and stats.leased == stats.released
    kept.clear()
    with pytest.warns(ResourceWarning, match="was not closed") as told:
        _forget(holder)
    assert [str(one.message) for one in told] == [
        f"<AsyncClient xai cut off> was not closed before its event loop ended; it was made at "
        f"{made_at}"
    ]


def _forget(holder: list[ttsmux.AsyncClient]) -> None:
    holder.clear()
    gc.collect()


async def called(use: Callable[[], object]) -> None:
    found = use()
    if isinstance(found, Awaitable):
        await found


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_that_is_closed_after_its_loop_has_nothing_to_say(
    sim: AsyncSimulator, backend: str
) -> None:
    """Late, but somebody did."""
    client = client_of(sim)
    anyio.run(used, client, backend=backend)
    anyio.run(client.aclose, backend=backend)
    assert repr(client) == "<AsyncClient xai closed>"
    with pytest.raises(ttsmux.ClosedError, match="the client is closed"):
        anyio.run(called, client.speak, backend=backend)


# --- loops that are no more -----------------------------------------------------------------------


def _line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


async def used(client: ttsmux.AsyncClient) -> None:
    assert await client.speak("hello").read()


def client_of(sim: AsyncSimulator) -> ttsmux.AsyncClient:
    return ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)


def answer_of(call: Callable[[], object]) -> list[object]:
    """Call in another thread, and return what came of it."""
    answers: list[object] = []

    def run() -> None:
        try:
            answers.append(call())
        except Exception as exc:
            answers.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for ever"
    return answers


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_from_thread_into_a_loop_that_has_ended(sim: AsyncSimulator, backend: str) -> None:
    """It is told at once; the call is not run."""
    client, calls = client_of(sim), []
    anyio.run(used, client, backend=backend)
    (answer,) = answer_of(lambda: client.from_thread(lambda: calls.append(1)))
    assert isinstance(answer, ttsmux.ClosedError)
    assert "loop does not run" in str(answer)
    assert not calls
    anyio.run(client.aclose, backend=backend)


def test_from_thread_into_a_loop_that_stands_still(sim: AsyncSimulator) -> None:
    """It waited for ever. The call is not run either when the loop goes on."""
    client, calls = client_of(sim), []
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(used(client))
        (answer,) = answer_of(lambda: client.from_thread(lambda: calls.append(1)))
        assert isinstance(answer, ttsmux.ClosedError)
        loop.run_until_complete(client.aclose())
        assert not calls
    finally:
        loop.close()


def test_from_thread_into_a_loop_that_ends_meanwhile(sim: AsyncSimulator) -> None:
    """The loop is busy, and then it is gone."""
    client, calls = client_of(sim), []
    answers: list[object] = []
    asked = threading.Event()

    def ask() -> None:
        asked.set()
        answers.extend(answer_of(lambda: client.from_thread(lambda: calls.append(1))))

    asker = threading.Thread(target=ask)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(used(client))
    loop.run_until_complete(client.aclose())
    asker.start()
    assert asked.wait(20)
    loop.close()
    asker.join(20)
    assert isinstance(answers[0], ttsmux.ClosedError)
    assert not calls


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [TimeoutError, StopIteration, ZeroDivisionError])
def test_from_thread_hands_on_what_the_call_raises(
    sim: AsyncSimulator, backend: str, kind: type[Exception]
) -> None:
    """Also what might be taken for an error of its own."""
    client = client_of(sim)

    def call() -> None:
        raise kind("its own")

    async def main() -> list[object]:
        async with client:
            return await anyio.to_thread.run_sync(
                lambda: answer_of(lambda: client.from_thread(call))
            )

    (answer,) = anyio.run(main, backend=backend)
    assert type(answer) is kind


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_closing_again_in_another_loop(sim: AsyncSimulator, backend: str) -> None:
    """What has ended already is closed anywhere."""
    client = client_of(sim)

    async def open_and_close() -> None:
        await used(client)
        await client.aclose()

    anyio.run(open_and_close, backend=backend)
    anyio.run(client.aclose, backend=backend)
    anyio.run(client.aclose, backend="trio" if backend == "asyncio" else "asyncio")


def test_closing_in_another_loop_than_its_own(sim: AsyncSimulator) -> None:
    """It is refused, and leaves the client as it was."""
    client = client_of(sim)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(used(client))
        with pytest.raises(ttsmux.WrongThread, match="another event loop"):
            asyncio.run(client.aclose())
        loop.run_until_complete(used(client))
        loop.run_until_complete(client.aclose())
    finally:
        loop.close()


def test_a_supervisor_that_is_cancelled_before_its_first_step(sim: AsyncSimulator) -> None:
    """As when a loop ends at once. Its readers are told, and it can be closed."""
    client = client_of(sim)

    async def main() -> None:
        speech = client.speak("hello")
        supervisor = client._engine._supervisor
        assert supervisor is not None
        supervisor.cancel()
        with anyio.fail_after(20):
            with pytest.raises(ttsmux.ClosedError):
                await speech.read()
            await client.aclose()
        with pytest.raises(ttsmux.ClosedError):
            client.speak("late")

    asyncio.run(main())


@pytest.mark.parametrize("turns", range(1, 40, 3))
def test_a_loop_that_ends_anywhere_in_a_dial(sim: AsyncSimulator, turns: int) -> None:
    """No coroutine is left that nobody awaited; Python says so when the garbage is collected."""
    client = client_of(sim)
    kept: list[object] = []

    async def main() -> None:
        kept.append(client.speak("hello"))
        for _ in range(turns):
            await asyncio.sleep(0)

    told: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, told.append
    try:
        asyncio.run(main())
        gc.collect()
    finally:
        sys.unraisablehook = hook
        asyncio.run(client.aclose())
    assert not told
