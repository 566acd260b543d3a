"""What can cross on ElevenLabs' wire, by name, on every runtime."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import ttsmux
from ttsmux.adapters.elevenlabs import ElevenLabs
from ttsmux.simulate.engines.tone import ToneEngine

from .scripts import LONG
from .stage import PATIENCE, RATE, RUNTIMES, World, events, patient, play

on_every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
ONE = {"pool": ttsmux.PoolLimits(max_size=1, min_idle=0, acquire_timeout=PATIENCE)}
PATIENT = {**ONE, "close_grace": PATIENCE}
"""Closes no context before its first audio, however late that is."""


def closes(log: list[dict[str, object]], generation: int | None = None) -> list[dict[str, Any]]:
    """The messages that close a context."""
    found = [r for r in events(log, "recv") if "close_context" in r["frame"]]
    return [r for r in found if generation in (None, r.get("generation"))]


def in_order(w: World, dials: int = 1) -> None:
    """The server had nothing to complain of, and never hung up."""
    assert not events(w.sim.log, "violation")
    assert not events(w.sim.log, "close", by="server")
    assert w.sim.dials == dials


@on_every_runtime
def test_an_interrupt_between_the_flush_and_the_close(runtime: str) -> None:
    """The close goes at once, and once; the connection serves on."""

    async def script(w: World) -> None:
        take = w.speak("Good morning to you")
        await w.seen(lambda log: [r for r in events(log, "recv") if "flush" in r["frame"]])
        assert not closes(w.sim.log)
        take.interrupt()
        await w.seen(closes)
        (await w.speak("And now this").rest()).said()
        assert len(closes(w.sim.log, 1)) == 1
        (await take.rest()).broke_off()
        in_order(w)

    play(runtime, "elevenlabs", script, client=PATIENT, faults=["stall@request:1,chunk:0"])


@on_every_runtime
def test_an_interrupt_after_the_close(runtime: str) -> None:
    """Nothing more is said of the context: it would open another one of its name."""

    async def script(w: World) -> None:
        take = await w.speak(LONG).read(1)
        await w.seen(closes)
        take.interrupt()
        (await w.speak("And now this").rest()).said()
        assert len(closes(w.sim.log, 1)) == 1
        (await take.rest()).broke_off()
        in_order(w)

    play(runtime, "elevenlabs", script, client=ONE, rtf=0.01)


@on_every_runtime
def test_six_speeches_where_a_sixth_context_is_fatal(runtime: str) -> None:
    """Four at once; the others wait for an end, and the socket never dies."""

    async def script(w: World) -> None:
        takes = [w.speak() for _ in range(6)]
        for n, take in enumerate(takes):
            take.speech.write(f"number {n} of six {n} ")
        await w.seen(lambda log: len(events(log, "generation")) == 4)
        for take in takes:
            take.speech.end()
        await w.together(*(take.rest() for take in takes))
        for n, take in enumerate(takes):
            take.said(f"number {n} of six {n}")
        in_order(w)
        assert max(r.get("open_generations", 0) for r in w.sim.log) == 4

    play(runtime, "elevenlabs", script, client=ONE)


@on_every_runtime
def test_six_quick_interruptions_where_a_sixth_context_is_fatal(runtime: str) -> None:
    """Five that still speak fill the socket; the next one waits, and it never dies."""

    async def script(w: World) -> None:
        for n in range(6):
            (await w.speak(f"turn {n} {LONG}").read(1)).interrupt()
        (await w.speak("and this is the end").rest()).said()
        for take in w.takes[:-1]:
            take.broke_off()
        in_order(w)
        assert max(r.get("open_generations", 0) for r in w.sim.log) <= 5

    play(runtime, "elevenlabs", script, client=ONE, rtf=0.02)


@on_every_runtime
def test_a_mute_deadline_with_neighbours(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context that never ends dooms its connection; the neighbour is heard to its end."""
    impatient = attrs.evolve(ElevenLabs.traits, acknowledgement=0.1)
    monkeypatch.setattr(ElevenLabs, "traits", impatient)

    async def script(w: World) -> None:
        stuck = await w.speak("Good morning to you").read(1)
        neighbour = w.speak()
        neighbour.speech.write("as long as it takes ")
        neighbour.speech.flush()
        await neighbour.read(1)
        stuck.interrupt()
        await w.until(lambda: _draining(w))
        (await w.speak("goes elsewhere").rest()).said()
        neighbour.speech.write("and on")
        neighbour.speech.end()
        (await neighbour.rest()).said("as long as it takes and on")
        in_order(w, dials=2)

    play(runtime, "elevenlabs", script, faults=["stall@request:1,chunk:1"])


def _draining(w: World) -> bool:
    connections = w.client._engine.mux._pool.connections
    return any(conn.state.name == "DRAINING" for conn in connections)


@on_every_runtime
def test_a_close_does_not_overtake_its_text(runtime: str) -> None:
    """It waits for audio, so a server that loses it otherwise does not."""

    async def script(w: World) -> None:
        for n in range(3):
            take = (await w.speak(f"number {n}").rest()).said()
            assert take.speech.metrics.attempts == 1
        in_order(w)

    play(runtime, "elevenlabs", script, client=PATIENT, race_ms=60_000, ttfa_ms=30)


@on_every_runtime
def test_a_close_that_overtook_its_text(runtime: str) -> None:
    """An end without audio is an error that was tried again; nothing was heard."""

    async def script(w: World) -> None:
        take = await w.speak("Good morning").rest()
        take.failed(ttsmux.EmptyAudio, attempt=3, retryable=True)
        assert not take.chunks and len(events(w.sim.log, "generation")) == 3
        in_order(w)

    client = {**ONE, "close_grace": 0.01}
    play(runtime, "elevenlabs", script, client=client, race_ms=60_000, ttfa_ms=60_000)


@on_every_runtime
def test_a_close_that_is_answered_by_nothing_at_all(runtime: str) -> None:
    """The first audio's deadline finds it, and it is tried again elsewhere."""

    async def script(w: World) -> None:
        (await w.speak("Good morning").rest()).failed(ttsmux.FirstAudioTimeout, attempt=2)
        assert not events(w.sim.log, "violation")
        assert w.sim.dials == 2, "a place that was never given back"

    client = {
        "close_grace": 0.01,
        "timeouts": patient(first_audio=0.1),
        "retry": ttsmux.RetryPolicy(attempts=2, base=0.001),
    }
    options = {"race_ms": 60_000, "race": "silent", "ttfa_ms": 60_000}
    play(runtime, "elevenlabs", script, client=client, **options)


@on_every_runtime
def test_all_was_heard_before_the_end(runtime: str) -> None:
    """After a flush that was answered no audio need come: the close does not wait for any."""

    async def script(w: World) -> None:
        await w.prewarm()
        take = w.speak()
        take.speech.write("One two three. ")
        take.speech.flush()
        sound = ToneEngine().speak("One two three.", voice="", language=None, tag=1, rate=RATE)
        await w.until(lambda: take.speech._core.received == len(sound.pcm))
        take.speech.end()
        (await take.rest()).said("One two three.")
        in_order(w)

    play(runtime, "elevenlabs", script, client={**ONE, "close_grace": 60.0})


@on_every_runtime
def test_a_server_that_lets_an_idle_connection_go(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1008 with nobody on it is nobody's business."""
    # We would leave before.
    monkeypatch.setattr("ttsmux.adapters.elevenlabs._IDLE_SHARE", 60.0)

    async def script(w: World) -> None:
        (await w.speak("Good morning").rest()).said()
        await w.seen(lambda log: events(log, "close", by="server", code=1008))
        await w.until(lambda: w.client.pool_stats().size == 0)
        take = (await w.speak("Good day").rest()).said()
        assert take.speech.metrics.attempts == 1 and w.sim.dials == 2

    pool = ttsmux.PoolLimits(max_size=1, min_idle=0)
    play(runtime, "elevenlabs", script, client={"pool": pool, "inactivity_timeout": 1})


@on_every_runtime
@pytest.mark.parametrize("idle", ["context", "socket"])
def test_a_source_that_pauses_for_longer_than_the_server_bears(runtime: str, idle: str) -> None:
    """The context is kept alive, by its id."""

    async def script(w: World) -> None:
        await w.prewarm()

        def kept() -> bool:
            found = [r for r in events(w.sim.log, "recv") if r["frame"].get("text") == ""]
            return len(found) >= 4  # more than it would have borne

        take = await w.speak(w.source("one two ", kept, "three")).rest()
        take.said("one two three")
        in_order(w)

    # A machine that is busy may sleep through a keepalive, but hardly for longer than a second.
    play(runtime, "elevenlabs", script, client={**ONE, "inactivity_timeout": 2}, idle=idle)


@on_every_runtime
def test_the_single_socket(runtime: str) -> None:
    """One speech a connection; an interrupted one is given up, and so is its connection."""

    async def script(w: World) -> None:
        (await w.speak("Good morning").rest()).said()
        (await w.speak(LONG).read(2)).interrupt()
        (await w.speak("And now this").rest()).said()
        assert w.sim.dials == 3
        assert not events(w.sim.log, "violation")

    play(runtime, "elevenlabs", script, client={"endpoint": "single"}, rtf=0.01)
