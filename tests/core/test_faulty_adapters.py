"""An adapter that fails in the middle of a step costs its own speech and connection, no more."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest

from tests.core.helpers import MULTIPLEXED, Toy, opened, settings
from ttsmux.core.effects import Agenda
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import ConfigError, Error, InvalidVoice


@pytest.mark.parametrize("error", [ValueError("no"), InvalidVoice("not this one")])
@pytest.mark.parametrize("verb", ["open", "text", "end"])
def test_a_failing_adapter_costs_one_speech(
    verb: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its neighbour finishes, and no seat is lost."""
    harness = opened(MULTIPLEXED, settings(min_idle=0))
    neighbour = harness.speak("Before. ", end=False)

    def fail(*_: object) -> tuple[str, ...]:
        raise error

    monkeypatch.setattr(Toy, verb, fail)
    speech = harness.speak()
    with contextlib.suppress(Error):  # by the second call it has failed already
        harness.write(speech, "Now. ")
        harness.end(speech)
    monkeypatch.undo()

    assert speech.state is SpeechState.FAILED
    assert isinstance(speech.error, type(error) if isinstance(error, Error) else ConfigError)
    conn = harness.on(neighbour)
    assert conn.state is ConnectionState.DRAINING
    harness.end(neighbour)
    harness.audio(neighbour)
    harness.done(neighbour)
    harness.finish(neighbour)
    assert neighbour.state is SpeechState.COMPLETED and conn.state is ConnectionState.CLOSING


def test_a_lone_surrogate_in_an_option_is_refused() -> None:
    """It would only show in the middle of a step."""
    harness = opened()
    with pytest.raises(ConfigError, match="lone surrogate"):
        harness.speak("Hello. ", model="\ud800")


class Watched:
    """A clock that can be looked for after its end."""

    def __init__(self, due: float) -> None:
        self.armed: float | None = None
        self.due: float | None = due

    def deadline(self) -> float | None:
        return self.due

    def expire(self, now: float) -> None:
        raise AssertionError("it is over")


def test_what_is_over_is_not_kept_until_its_deadline() -> None:
    """A speech with an hour to spend is forgotten when it ends, text and all."""
    agenda = Agenda()
    clocks = [Watched(3600.0) for _ in range(200)]
    left = weakref.WeakSet(clocks)
    for clock in clocks:
        agenda.touch(clock)
    agenda.arm()
    for clock in clocks:
        clock.due = None
        agenda.touch(clock)
    agenda.arm()
    del clocks, clock
    gc.collect()
    assert len(left) == 0 and agenda.deadline is None
