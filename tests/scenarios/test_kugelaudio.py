"""What can cross on KugelAudio's wire, through the whole client, on every runtime."""

from __future__ import annotations

import attrs
import pytest

import ttsmux
from tests.scenarios.stage import RUNTIMES, World, audio_sent, events, play, received, sent
from ttsmux.adapter import Traits

on_every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
LONG = " ".join(f"w{n:02}" for n in range(60))


@on_every_runtime
def test_the_final_of_a_flush_and_then_the_end(runtime: str) -> None:
    """On multi it is no end, whether it comes before more text or after; nothing is cut off."""

    async def script(w: World) -> None:
        for crossing in (False, True):
            take = w.speak()
            take.speech.write("One two.")
            take.speech.flush()
            if not crossing:
                seen = len(sent(w.sim.log, "final"))
                await w.seen(lambda log, seen=seen: len(sent(log, "final")) > seen)
            take.speech.write(" Three four.")
            take.speech.end()
            (await take.rest()).said("One two. Three four.")
        assert not events(w.sim.log, "violation")

    play(runtime, "kugelaudio", script)


@on_every_runtime
def test_a_speech_goes_on_when_a_turn_ended_for_want_of_text(runtime: str) -> None:
    """We end it before the server does; what follows is the next turn, on the same connection."""

    async def script(w: World) -> None:
        take = w.speak()
        take.speech.write("One two.")
        await w.seen(lambda log: sent(log, "session_closed"))
        take.speech.write(" Three four.")
        take.speech.end()
        await take.rest()
        assert take.error is None and take.heard == ["One", "two.", "Three", "four."]
        starts = [mark.start for mark in take.speech.marks]
        assert len(starts) == 4 and starts == sorted(starts)
        assert not sent(w.sim.log, "warning") and not events(w.sim.log, "violation")
        assert len(events(w.sim.log, "generation")) == 2 and w.sim.dials == 1

    play(runtime, "kugelaudio:stream", script, client={"source_pause": 0.2}, turn_idle=60)


@on_every_runtime
def test_text_that_is_written_before_session_closed_has_come(runtime: str) -> None:
    """It waits for it, and begins the next turn there."""

    async def script(w: World) -> None:
        take = w.speak()
        take.speech.write("One two.")
        take.speech.flush()
        take.speech.write(" Three four.")
        take.speech.flush()
        take.speech.end()
        await take.rest()
        assert take.error is None and take.heard == ["One", "two.", "Three", "four."]
        assert not events(w.sim.log, "violation") and w.sim.dials == 1

    play(runtime, "kugelaudio:stream", script, ttfa_ms=30)


@on_every_runtime
@pytest.mark.parametrize(("ended", "crossing"), [(True, "next"), (False, "lost")])
def test_text_that_crosses_the_servers_own_end_of_a_turn(
    runtime: str, ended: bool, crossing: str
) -> None:
    """Whatever becomes of it there, it is said, and once."""

    async def script(w: World) -> None:
        take = w.speak()
        take.speech.write("One two.")
        await w.seen(lambda log: sent(log, "warning"))
        take.speech.write(" Three four.")
        if ended:
            take.speech.end()
        await w.seen(lambda log: len(received(log, "text")) > 1)
        await w.seen(lambda log: len(audio_sent(log)) > 8)
        take.speech.end()
        await take.rest()
        assert take.error is None and take.heard == ["One", "two.", "Three", "four."]

    # Ours would end it at 2.4 s; the server's clock is faster than it says. What was written within
    # half of its time crossed its end.
    client = {"source_pause": 3.0}
    play(
        runtime,
        "kugelaudio:stream",
        script,
        client=client,
        turn_idle=1.8,
        crossing=crossing,
        ttfa_ms=2100,  # so that the turn goes on for a while after its end was announced
        chance=("wire", "dials", "attempts", "characters"),
    )


@attrs.frozen(kw_only=True)
class Impatient(ttsmux.KugelAudio):
    """With a deadline that a test can wait for."""

    def tuned(self) -> Traits:
        return attrs.evolve(super().tuned(), acknowledgement=0.2)


@on_every_runtime
def test_a_mute_deadline_with_neighbours(runtime: str) -> None:
    """A context that is never closed costs the connection, but not those who speak there."""

    async def script(w: World) -> None:
        w.client = w.make_client(Impatient(voice="1071"))
        neighbour = await w.speak(LONG).read(1)
        take = await w.speak(f"first {LONG}").read(2)
        take.interrupt()
        await w.until(lambda: w.client.pool_stats().seats_free == 0)
        (await w.speak("and on").rest()).said()
        (await neighbour.rest()).said()
        (await take.rest()).broke_off(f"first {LONG}")
        assert w.sim.dials == 2

    faults = ["no-ack@request:2", "stall@request:2,chunk:3"]
    play(runtime, "kugelaudio", script, faults=faults, rtf=0.03)
