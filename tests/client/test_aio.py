"""What only the async client has: tasks, scopes, loops and threads that are not its own."""

from __future__ import annotations

import contextvars
import gc
import threading
import warnings
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

import ttsmux
from tests._gate import Gate
from tests.scenarios.scripts import LONG
from tests.scenarios.stage import KEY, RATE, events, received
from ttsmux import AsyncClient
from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import decode_text

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


def client_of(sim: AsyncSimulator, **settings: object) -> AsyncClient:
    return AsyncClient("xai", base_url=sim.url, api_key=KEY, **settings)  # type: ignore[arg-type]


async def test_opened_and_closed_in_different_tasks(sim: AsyncSimulator) -> None:
    """As fixtures and frameworks do it."""
    client = client_of(sim)

    async def open() -> None:
        await client.__aenter__()
        await client.prewarm()

    async def speak() -> None:
        assert decode_text(await client.speak("good morning").read(), RATE) == "good morning"

    for step in (open, speak, client.aclose):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(step)
    assert client.pool_stats().size == 0


async def test_without_async_with(sim: AsyncSimulator) -> None:
    """The first use starts what is needed; aclose ends it."""
    client = client_of(sim)
    assert await client.speak("hello").read()
    await client.aclose()
    await client.aclose()
    with pytest.raises(ttsmux.ClosedError):
        client.speak("late")


async def test_closing_a_client_that_was_never_used(sim: AsyncSimulator) -> None:
    await client_of(sim).aclose()
    assert sim.dials == 0


async def test_two_waits_that_run_out_lose_no_audio() -> None:
    """A wait that is cancelled takes nothing with it."""
    gate = Gate()
    async with AsyncSimulator("xai", engine=gate) as sim, client_of(sim) as client:
        speech = client.speak("good morning to you")
        for _ in range(2):
            with anyio.move_on_after(0.02) as scope:
                await anext(speech)
            assert scope.cancelled_caught
        gate.open.set()
        assert decode_text(await speech.read(), RATE) == "good morning to you"


async def test_many_short_waits_lose_no_audio() -> None:
    """Whenever a wait ends, what was to come still comes, once."""
    async with AsyncSimulator("xai", rtf=0.02) as sim, client_of(sim) as client:
        speech = client.speak(LONG)
        data = b""
        while speech.outcome is None:
            with anyio.move_on_after(0.001):
                async for chunk in speech:
                    data += chunk.data
        assert decode_text(data, RATE) == LONG


async def test_leaving_a_scope_interrupts(sim: AsyncSimulator) -> None:
    """A cancelled reader leaves its `async with`, and the provider is told."""
    sim.inject("stall@request:1,chunk:1")
    async with client_of(sim) as client:
        with anyio.CancelScope() as scope:
            async with client.speak(LONG) as speech:
                async for _ in speech:
                    scope.cancel()
        assert speech.outcome is ttsmux.Outcome.INTERRUPTED
        await sim.await_for(lambda log: received(log, "text.clear"))


async def test_two_tasks_cannot_read_one_speech() -> None:
    gate = Gate()
    async with AsyncSimulator("xai", engine=gate) as sim, client_of(sim) as client:
        speech = client.speak("hello")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speech.read)
            await sim.await_for(lambda log: events(log, "generation"))
            with pytest.raises(ttsmux.BusyResource, match="another task is reading"):
                await anext(speech)
            gate.open.set()
        assert speech.outcome is ttsmux.Outcome.COMPLETED


async def test_plain_calls_from_another_thread_are_refused() -> None:
    """The error names the way that works, and it works."""
    faults = ["stall@request:1,chunk:1"]
    async with AsyncSimulator("xai", faults=faults) as sim, client_of(sim) as client:
        speech = client.speak(LONG)
        await anext(speech)

        def from_elsewhere() -> ttsmux.Interruption:
            for call in (speech.interrupt, speech.flush, speech.end, lambda: speech.write("x")):
                with pytest.raises(ttsmux.WrongThread, match="from_thread"):
                    call()
            for begin in (client.pool_stats, lambda: client.speak("hello")):
                with pytest.raises(ttsmux.WrongThread):
                    begin()
            assert client.from_thread(client.pool_stats).busy == 1
            return client.from_thread(speech.interrupt)

        report = await anyio.to_thread.run_sync(from_elsewhere)
        assert report.heard_seconds == pytest.approx(0.08)
        assert speech.outcome is ttsmux.Outcome.INTERRUPTED


async def test_from_thread_in_the_own_thread_is_refused(sim: AsyncSimulator) -> None:
    """It would wait for itself."""
    client = client_of(sim)
    with pytest.raises(ttsmux.WrongThread):
        client.from_thread(client.pool_stats)
    async with client:
        with pytest.raises(ttsmux.WrongThread):
            client.from_thread(client.pool_stats)


async def test_from_thread_hands_errors_on(sim: AsyncSimulator) -> None:
    async with client_of(sim) as client:
        speech = client.speak()
        speech.end()

        def late() -> None:
            client.from_thread(lambda: speech.write("late"))

        with pytest.raises(ttsmux.LocalProtocolError):
            await anyio.to_thread.run_sync(late)
        await speech.read()


async def test_another_loop_is_refused(sim: AsyncSimulator) -> None:
    """A client belongs to the loop of its first use."""
    async with client_of(sim) as client:

        async def elsewhere() -> None:
            with pytest.raises(ttsmux.WrongThread, match="another event loop"):
                client.speak("hello")
            with pytest.raises(ttsmux.WrongThread, match="another event loop"):
                await client.prewarm()

        await anyio.to_thread.run_sync(anyio.run, elsewhere)
        assert await client.speak("hello").read()


async def test_a_cancelled_aclose_closes_all_the_same() -> None:
    """What a client holds must be let go."""
    async with AsyncSimulator("xai", ttfa_ms=60_000) as sim:
        client = client_of(sim)
        speech = client.speak("hello")
        await sim.await_for(lambda log: events(log, "generation"))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.aclose()
        assert client.pool_stats().size == 0
        with pytest.raises(ttsmux.ClosedError):
            await speech.read()


async def test_an_async_source_is_cancelled_at_once_when_its_speech_ends() -> None:
    """It learns of it in its own `finally`, and may await there."""
    ends: list[str] = []
    waiting = anyio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            yield "one two three "
            waiting.set()
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ends.append("cancelled")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                ends.append("closed")

    async with AsyncSimulator("xai") as sim, client_of(sim) as client:
        speech = client.speak(source())
        await anext(speech)
        await waiting.wait()
        speech.interrupt()
        with anyio.fail_after(PATIENCE):
            while len(ends) < 2:
                await anyio.lowlevel.checkpoint()
        assert ends == ["cancelled", "closed"]


async def test_an_async_source_ends_with_a_failed_speech() -> None:
    closed = anyio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            while True:
                yield "one "
                await anyio.sleep(0.001)
        finally:
            closed.set()

    async with AsyncSimulator("xai", faults=["status=401"]) as sim, client_of(sim) as client:
        with pytest.raises(ttsmux.AuthError):
            await client.speak(source()).read()
        with anyio.fail_after(PATIENCE):
            await closed.wait()


async def test_a_source_sees_the_callers_context(sim: AsyncSimulator) -> None:
    name = contextvars.ContextVar("name", default="nobody")

    async def source() -> AsyncIterator[str]:
        yield name.get()

    def blocking() -> Iterator[str]:
        yield name.get()

    async with client_of(sim) as client:
        await client.prewarm()
        name.set("somebody")
        assert decode_text(await client.speak(source()).read(), RATE) == "somebody"
        assert decode_text(await client.speak(blocking()).read(), RATE) == "somebody"


async def test_a_blocking_source_does_not_block_the_loop(sim: AsyncSimulator) -> None:
    go = threading.Event()

    def source() -> Iterator[str]:
        yield "one "
        go.wait(20)
        yield "two"

    async with client_of(sim) as client:
        speech = client.speak(source())
        assert await client.speak("meanwhile").read()
        go.set()
        assert decode_text(await speech.read(), RATE) == "one two"


async def test_an_async_key(sim: AsyncSimulator) -> None:
    async def key() -> str:
        await anyio.lowlevel.checkpoint()
        return KEY

    async with AsyncClient("xai", base_url=sim.url, api_key=key) as client:
        assert await client.speak("hello").read()


async def test_a_key_that_cannot_be_fetched(sim: AsyncSimulator) -> None:
    async def broken() -> str:
        raise RuntimeError("the vault is shut")

    async with AsyncClient("xai", base_url=sim.url, api_key=broken) as client:
        with pytest.raises(ttsmux.AuthError, match="RuntimeError"):
            await client.speak("hello").read()
    assert sim.dials == 0


async def test_save_writes_a_whole_file(sim: AsyncSimulator, tmp_path: Path) -> None:
    async with client_of(sim) as client:
        path = await client.speak("good morning").save(tmp_path / "good.wav")
    with wave.open(str(path)) as file:
        assert decode_text(file.readframes(file.getnframes()), RATE) == "good morning"


async def test_save_is_no_part_of_a_speech(sim: AsyncSimulator, tmp_path: Path) -> None:
    """What was read already would be missing: after one chunk, all of them, or another file."""
    path = anyio.Path(tmp_path)
    async with client_of(sim) as client:
        begun, over, saved = (client.speak("good morning") for _ in range(3))
        await anext(begun)
        await over.read()
        await saved.save(tmp_path / "good.wav")
        for speech in (begun, over, saved):
            with pytest.raises(ttsmux.LocalProtocolError, match="cannot save: 0"):
                await speech.save(tmp_path / "part.wav")
        assert await begun.read(), "the rest of it"
        assert await over.read() == await begun.read() == b""
    assert [entry.name async for entry in path.iterdir()] == ["good.wav"]


async def test_save_leaves_nothing_behind_when_it_is_cancelled(tmp_path: Path) -> None:
    path = anyio.Path(tmp_path)
    async with AsyncSimulator("xai", ttfa_ms=60_000) as sim, client_of(sim) as client:
        with anyio.move_on_after(0.05):
            async with client.speak("good morning") as speech:
                await speech.save(tmp_path / "never.wav")
        assert [entry async for entry in path.iterdir()] == []


async def test_an_unclosed_client_in_another_thread(sim: AsyncSimulator) -> None:
    """The collector runs where it likes; what it finds is closed in the client's own loop."""
    client: AsyncClient | None = client_of(sim)
    assert client is not None
    await client.speak("hello").read()
    holder = [client]
    client = None

    def collect() -> list[str]:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            holder.clear()
            gc.collect()
        return [str(warning.message) for warning in told]

    (told,) = await anyio.to_thread.run_sync(collect)
    made_at = f"{__file__}:{client_of.__code__.co_firstlineno + 1}"
    assert told == f"<AsyncClient xai> was not closed; it was made at {made_at}"
    await sim.await_for(lambda log: events(log, "lost"))


async def test_prewarm_waits_no_longer_than_it_is_told() -> None:
    timeouts = ttsmux.Timeouts(dial=2 * PATIENCE)
    sim = AsyncSimulator("xai", handshake_ms=60_000)
    async with sim, client_of(sim, timeouts=timeouts) as client:
        with anyio.fail_after(PATIENCE):
            assert await client.prewarm(timeout=0.05) == 0
