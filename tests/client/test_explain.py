"""What both faces tell of a speech: the dial as the wire saw it, and the same in words."""

from __future__ import annotations

import pytest

from tests.scenarios.stage import KEY, RUNTIMES, World, play


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_speech_tells_what_its_dial_took(runtime: str) -> None:
    """The first one; who finds the connection open has none."""

    async def script(w: World) -> None:
        first = (await w.speak("Hello there.").rest()).said().speech
        looked_up = [] if runtime == "trio" else ["dns"]
        assert list(first.metrics.dial_parts) == [*looked_up, "tcp", "upgrade"]
        assert first.metrics.connect is not None and not first.metrics.connection_reused
        second = (await w.speak("Hello again.").rest()).said().speech
        assert second.metrics.connection_reused
        assert (second.metrics.dial_parts, second.metrics.connect) == ({}, 0.0)

    play(runtime, "gradium", script)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_time_that_a_key_takes_is_told(runtime: str) -> None:
    """Where it is asked for; it goes before all else."""

    async def script(w: World) -> None:
        take = (await w.speak("Hello there.").rest()).said()
        assert next(iter(take.speech.metrics.dial_parts)) == "key"

    play(runtime, "xai", script, client={"api_key": lambda: KEY})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_speech_explains_itself_at_any_time(runtime: str) -> None:
    """Before its first text, in the middle, and at its end, from when on it says the same."""

    async def script(w: World) -> None:
        take = w.speak()
        assert "so far" in take.speech.explain()
        take.speech.write("Hello there.")
        take.speech.end()
        await take.read(1)
        assert "first audio" in take.speech.explain()
        (await take.rest()).said("Hello there.")
        told = take.speech.explain()
        assert told.startswith("speech 1 on gradium: completed\n")
        assert "\nconnection   dialled in " in told and "\n  upgrade " in told
        assert take.speech.explain() == told

    play(runtime, "gradium", script)
