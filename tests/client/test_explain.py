"""What both faces tell of a speech: the dial as the wire saw it, and the same in words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.stage import KEY, PATIENCE, RUNTIMES, World, play
from ttsmux.core.mux import Mux
from ttsmux.core.speech import Speech as CoreSpeech


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


LOOKS: dict[str, tuple[type, Callable[[Any, Any], object]]] = {
    "metrics": (CoreSpeech, lambda client, speech: speech.metrics),
    "explain": (CoreSpeech, lambda client, speech: speech.explain()),
    "marks": (CoreSpeech, lambda client, speech: speech.marks),
    "stats": (Mux, lambda client, speech: client.pool_stats()),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", LOOKS)
def test_who_looks_keeps_others_from_changing_it(
    runtime: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they would add while it is gone through was a RuntimeError now and then."""
    kind, look = LOOKS[name]
    real, held = getattr(kind, name), list[bool]()

    async def script(w: World) -> None:
        take = w.speak("Hello there.")
        lock = w.client._engine.lock

        def looked_at(*args: Any) -> object:
            held.append(lock._is_owned())
            return real.fget(*args) if isinstance(real, property) else real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(kind, name, property(looked_at) if name == "marks" else looked_at)
            look(w.client, take.speech)
        assert held == [True]
        (await take.rest()).said()

    play(runtime, "gradium", script)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_another_thread_may_look_at_a_speech(runtime: str) -> None:
    """At any time, and of tasks without going through their loop: a dashboard does."""

    async def script(w: World) -> None:
        take = await w.speak("Hello there.").read(1)
        found: list[object] = []

        def look() -> None:
            found.extend((take.speech.metrics.ttfa, take.speech.explain(), take.speech.marks))

        looker = threading.Thread(target=look)
        looker.start()
        looker.join(PATIENCE)
        assert len(found) == 3 and found[0] == take.speech.metrics.ttfa
        (await take.rest()).said()

    play(runtime, "gradium", script)
