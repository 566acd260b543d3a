"""How a client ends: drained, closed in the middle of everything, or forgotten."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

import ttsmux
from tests.transports.peers import Listener, idle
from ttsmux.client._threads import Engine
from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import decode_text
from ttsmux.testing import World, simulator
from ttsmux.testing import play as play_with
from ttsmux.testing.stage import RUNTIMES, face
from ttsmux.testing.world import KEY, PATIENCE, all_gone

RATE = 24000
LONG = " ".join(f"w{n:02}" for n in range(60))
HANGS = ("stall@request:1,chunk:1",)
"""The first generation never ends."""

every = pytest.mark.parametrize("runtime", RUNTIMES)


def play(
    runtime: str,
    script: Callable[[World], Coroutine[Any, Any, None]],
    provider: str = "xai",
    *,
    timeouts: ttsmux.Timeouts | None = None,
    **simulated: Any,
) -> None:
    kind: Any = {"xai": ttsmux.XAI, "gradium": ttsmux.Gradium}[provider]
    adapter = kind(voice="eve" if provider == "xai" else "YTpq7expH9539ERJ")
    play_with(runtime, adapter, simulator(provider, **simulated), script, timeouts=timeouts)


PATIENT = ttsmux.Timeouts(first_audio=PATIENCE, gap=PATIENCE)
"""So that nothing but what a test does ends a speech that stalls."""


# --- drain ----------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("provider", ["xai", "gradium"])
def test_drain_lets_what_is_speaking_finish(runtime: str, provider: str) -> None:
    """All of it, read or not; then nothing is open, and what is received is still read."""

    async def script(w: World) -> None:
        takes = [await w.speak(f"{n} {LONG}").read(1) for n in range(2)]
        assert await w.drain()
        assert not w.client.pool_stats().size
        await w.seen(all_gone)
        for take in takes:
            assert take.speech.outcome is None, "it is yet to be read"
            (await take.rest()).said()

    play(runtime, script, provider)


@every
def test_drain_takes_no_new_speech(runtime: str) -> None:
    """While it waits, and afterwards; what speaks goes on until it is done, in its own time."""
    refused: list[str] = []

    async def script(w: World) -> None:
        take = w.speak()
        take.speech.write("Good morning. ")

        async def refuse() -> None:
            await w.until(lambda: w.client._engine.mux._pool.draining)
            for call in (lambda: w.speak("No."), lambda: w.client._engine.mux.inquire()):
                with pytest.raises(ttsmux.ClosedError, match="draining") as caught:
                    call()
                refused.append(str(caught.value))
            with pytest.raises(ttsmux.ClosedError, match="draining"):
                await w.prewarm()
            take.speech.write("And good night.")
            take.speech.end()

        async def drain() -> None:
            assert await w.drain(timeout=PATIENCE)

        await w.together(drain(), refuse())
        assert len(refused) == 2
        (await take.rest()).said("Good morning. And good night.")
        with pytest.raises(ttsmux.ClosedError, match="is closed"):
            w.speak("No.")

    play(runtime, script)


@every
def test_drain_waits_no_longer_than_it_is_told(runtime: str) -> None:
    """What is not done by then fails, after the audio that came, and the client is closed."""

    async def script(w: World) -> None:
        take = await w.speak(LONG).read(1)
        assert not await w.drain(timeout=0.05)
        (await take.rest()).failed(ttsmux.ClosedError, phase="close")
        assert take.audio
        assert not w.client.pool_stats().size

    play(runtime, script, faults=HANGS, timeouts=PATIENT)


@every
def test_drain_that_is_overtaken_by_close(runtime: str) -> None:
    """Both return; what was speaking failed, and drain says so."""
    found: list[bool] = []

    async def script(w: World) -> None:
        take = await w.speak(LONG).read(1)

        async def drain() -> None:
            found.append(await w.drain(timeout=PATIENCE))

        async def close() -> None:
            await w.until(lambda: w.client._engine.mux._pool.draining)
            await w.stage.close(w.client)

        await w.together(drain(), close())
        (await take.rest()).failed(ttsmux.ClosedError)
        assert found == [False]

    play(runtime, script, faults=HANGS, timeouts=PATIENT)


@every
def test_drain_of_a_client_that_does_nothing(runtime: str) -> None:
    """One that was never used, and one that is closed: there is nothing to wait for."""
    stage = face(runtime)

    async def main() -> None:
        client = stage.client("xai", base_url="ws://127.0.0.1:1")
        assert await stage.drain(client, {"timeout": 0})
        assert await stage.drain(client, {})
        with pytest.raises(ttsmux.ClosedError):
            stage.speak(client, "No.", {})
        await stage.close(client)
        for wrong in (-1, "soon", None):
            with pytest.raises(ttsmux.ConfigError, match="timeout"):
                await stage.drain(client, {"timeout": wrong})

    stage.run(main())


@every
def test_drain_does_not_count_goodbyes(runtime: str) -> None:
    """Whether connections were gone in time is nobody's audio."""

    async def script(w: World) -> None:
        await w.prewarm()
        (await w.speak("Good morning.").rest()).said()
        assert await w.drain(timeout=0)
        assert not w.client.pool_stats().size

    play(runtime, script)


@every
@pytest.mark.parametrize("closed", [True, False])
def test_drain_says_what_was_cut_short_also_later(runtime: str, closed: bool) -> None:
    """By a close before it, or by a drain that ran out of time."""

    async def script(w: World) -> None:
        await w.speak(LONG).read(1)
        if closed:
            await w.stage.close(w.client)
        for _ in range(2):
            assert not await w.drain(timeout=0)

    play(runtime, script, faults=HANGS, timeouts=PATIENT)


@pytest.mark.anyio
async def test_drain_that_is_cancelled_closes() -> None:
    """Else the client would refuse what is new, and hold what it has, for ever."""
    async with AsyncSimulator("xai") as sim:
        client = ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)
        speech = client.speak()
        speech.write("Good morning. ")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.drain)
            while not client._engine.mux._pool.draining:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        with pytest.raises(ttsmux.ClosedError, match="is closed"):
            client.speak("No.")
        with pytest.raises(ttsmux.ClosedError):
            await speech.read()
        assert not client.pool_stats().size
        assert not await client.drain()


def test_drain_that_is_interrupted_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C."""
    with AsyncSimulator("xai") as sim:
        client = ttsmux.Client("xai", base_url=sim.url, api_key=KEY)
        speech = client.speak()
        speech.write("Good morning. ")
        wait, interrupts = Engine.wait, [KeyboardInterrupt()]

        def waiting(engine: Engine, *args: Any) -> bool:
            if interrupts:
                raise interrupts.pop()
            return wait(engine, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "wait", waiting)
            with pytest.raises(KeyboardInterrupt):
                client.drain()
        with pytest.raises(ttsmux.ClosedError):
            speech.read()
        assert not client.pool_stats().size
        assert not client.drain()


# --- close ----------------------------------------------------------------------------------------


@every
def test_close_wakes_everybody(runtime: str) -> None:
    """Who reads, who is fed, who waits for connections, for voices, for the rest: all at once."""
    stage = face(runtime)
    told: dict[str, object] = {}

    async def main(url: str) -> None:
        patience = ttsmux.Timeouts(dial=PATIENCE, first_audio=PATIENCE)
        client = stage.client("xai", base_url=url, api_key=KEY, timeouts=patience)
        source = stage.source(["One. ", lambda: "fed" in told, "Two."])
        speeches = {
            "whole": stage.speak(client, "Good morning.", {}),
            "fed": stage.speak(client, source, {}),
            "silent": stage.speak(client, None, {}),
        }

        async def wait(name: str, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
            try:
                told[name] = await call()
            except ttsmux.Error as exc:
                told[name] = type(exc)

        async def close() -> None:
            engine, pool = client._engine, client._engine.mux._pool
            for one in speeches.values():
                await stage.until(lambda one=one: one._core.reader_waits, PATIENCE)
            await stage.until(lambda: engine.askers and pool.prewarms, PATIENCE)
            draining.append(1)
            await stage.until(lambda: pool.draining, PATIENCE)
            await stage.close(client)

        async def drain() -> bool:
            await stage.until(lambda: draining, PATIENCE)
            return await stage.drain(client, {"timeout": PATIENCE})

        draining: list[int] = []
        await stage.together(
            [
                *(wait(name, lambda one=one: stage.next(one)) for name, one in speeches.items()),
                wait("prewarm", lambda: stage.prewarm(client, 2, {"timeout": PATIENCE})),
                wait("voices", lambda: stage.voices(client, {"timeout": PATIENCE})),
                wait("drain", drain),
                close(),
            ]
        )
        await stage.close(client)  # again, which is fine

    with Listener(idle) as deaf:
        stage.run(main(f"ws://127.0.0.1:{deaf.port}"))
    closed = ttsmux.ClosedError
    assert told == {
        "whole": closed,
        "fed": closed,
        "silent": closed,
        "prewarm": 0,
        "voices": closed,
        "drain": False,
    }


# --- deadlines ------------------------------------------------------------------------------------


@every
def test_a_deadline_ends_a_speech_that_takes_too_long(runtime: str) -> None:
    """However much has come of it: it is never ended. The client goes on."""

    async def script(w: World) -> None:
        take = w.speak(deadline=0.3)
        take.speech.write("Good morning. ")
        await take.rest()
        take.failed(ttsmux.DeadlineExceeded, retryable=False)
        assert "within the 0.3 s allowed" in str(take.error)
        (await w.speak("and on", deadline=PATIENCE).rest()).said()

    play(runtime, script, timeouts=PATIENT)


@every
def test_a_deadline_goes_before_the_total_of_all(runtime: str) -> None:
    """It may be longer as well as shorter."""

    async def script(w: World) -> None:
        first, second = w.speak(LONG, deadline=PATIENCE), w.speak(LONG)
        (await second.rest()).failed(ttsmux.DeadlineExceeded)
        assert first.speech.outcome is None
        first.interrupt()

    stalls = ("stall@request:1,chunk:1", "stall@request:2,chunk:1")
    timeouts = ttsmux.Timeouts(first_audio=PATIENCE, gap=PATIENCE, total=0.3)
    play(runtime, script, faults=stalls, timeouts=timeouts)


@every
@pytest.mark.parametrize("deadline", [0, -1.0, "soon", float("nan"), True])
def test_a_deadline_that_is_none(runtime: str, deadline: Any) -> None:
    """Nothing is begun."""

    async def script(w: World) -> None:
        with pytest.raises(ttsmux.ConfigError, match="deadline"):
            w.speak("No.", deadline=deadline)
        assert not w.client.pool_stats().size

    play(runtime, script)


# --- clients that are forgotten -------------------------------------------------------------------


def _line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def _forget(holder: list[Any]) -> None:
    holder.clear()
    gc.collect()


class Mine(ttsmux.Client):
    """With a constructor of its own."""

    def __init__(self, url: str) -> None:
        super().__init__("xai", base_url=url, api_key=KEY)


@pytest.mark.parametrize("own", [False, True])
def test_a_client_that_is_forgotten_says_where_it_was_made(own: bool) -> None:
    """And closes what it had open."""
    with AsyncSimulator("xai") as sim:
        if own:
            holder: list[ttsmux.Client] = [Mine(sim.url)]
            made_at = f"{__file__}:{inspect.getsourcelines(Mine)[1] + 4}"
        else:
            holder = [ttsmux.Client("xai", base_url=sim.url, api_key=KEY)]
            made_at = f"{__file__}:{_line() - 1}"
        assert decode_text(holder[0].speak("Good morning").read(), RATE) == "Good morning"
        with pytest.warns(ResourceWarning, match="was not closed") as told:
            _forget(holder)
        assert [str(one.message) for one in told] == [
            f"<{'Mine' if own else 'Client'} xai> was not closed; it was made at {made_at}"
        ]
        assert KEY not in str(told[0].message)
        sim.wait_for(all_gone)


@pytest.mark.anyio
async def test_an_async_client_that_is_forgotten_says_so_too() -> None:
    async with AsyncSimulator("xai") as sim:
        holder = [ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)]
        made_at = f"{__file__}:{_line() - 1}"
        assert await holder[0].speak("Good morning").read()
        with pytest.warns(ResourceWarning, match="was not closed") as told:
            _forget(holder)
        assert made_at in str(told[0].message)
        await sim.await_for(all_gone)


def test_a_client_that_did_nothing_is_forgotten_without_a_word() -> None:
    """It holds nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ttsmux.Client("xai", base_url="ws://127.0.0.1:1")
        ttsmux.AsyncClient("xai", base_url="ws://127.0.0.1:1")
        gc.collect()
