"""An adapter that fails in the middle of a step costs its own speech and connection, no more."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterable

import pytest

from tests.core.helpers import MULTIPLEXED, SEQUENTIAL, Toy, opened, settings, traits
from ttsmux.adapter import Frame, Generation, Traits
from ttsmux.core.effects import Agenda
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import ConfigError, ConnectionLost, Error, InvalidText, InvalidVoice


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


@pytest.mark.parametrize("shape", [MULTIPLEXED, SEQUENTIAL])
def test_a_text_that_is_refused_whole_was_never_begun(
    shape: Traits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent of it, and its seat is free at once."""
    harness = opened(shape, settings(min_idle=0))
    refuse(monkeypatch, "Too long")
    (conn,) = harness.wires
    speech = harness.mux.speak({}, harness.now, text=["Too long."])
    harness.collect()
    assert isinstance(speech.error, InvalidText) and not harness.frames(conn)
    assert conn.state is ConnectionState.OPEN and not conn.generations
    stats = harness.mux.stats()
    assert stats.leased == stats.released == 1 and stats.held == 0
    following = harness.speak("Good. ")
    assert harness.on(following) is conn


def test_a_text_that_is_refused_half_way_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As any other: the provider hears of it, and the connection and its neighbours stay."""
    harness = opened(MULTIPLEXED, settings(min_idle=0))
    neighbour = harness.speak("Before. ", end=False)
    refuse(monkeypatch, "Too long")
    speech = harness.speak("Good. ", end=False)
    assert speech.generation is not None
    id, conn = speech.generation.id, harness.on(neighbour)
    harness.write(speech, "Too long. ")
    assert isinstance(speech.error, InvalidText)
    assert harness.frames(conn)[-1] == f"cancel {id}"
    assert conn.state is ConnectionState.OPEN and conn.muted == 1


def refuse(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    real = Toy.text

    def text(self: Toy, gen: Generation, piece: str) -> Iterable[Frame]:
        if words in piece:
            raise InvalidText("too long")
        return real(self, gen, piece)

    monkeypatch.setattr(Toy, "text", text)


def broken(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    def fail(*_: object) -> tuple[str, ...]:
        raise ValueError("no")

    monkeypatch.setattr(Toy, verb, fail)


@pytest.mark.parametrize(
    ("shape", "state"),
    [(MULTIPLEXED, ConnectionState.DRAINING), (SEQUENTIAL, ConnectionState.CLOSING)],
)
def test_an_adapter_that_cannot_interrupt(
    shape: Traits, state: ConnectionState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The speech is interrupted all the same, and its connection is given up."""
    harness = opened(shape, settings(min_idle=0))
    speech = harness.speak("One. ")
    conn = harness.on(speech)
    if shape is MULTIPLEXED:
        harness.speak("Two. ", end=False)
    broken(monkeypatch, "interrupt")
    harness.interrupt(speech)
    assert speech.state is SpeechState.INTERRUPTED and conn.state is state
    assert harness.events("adapter.fault")[0].fields["error"] == "ValueError"


def test_an_adapter_that_cannot_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step of its end fails the speech that it was for."""
    harness = opened(traits(MULTIPLEXED, release_after=1.0), settings(min_idle=0))
    speech = harness.speak("One. ")
    broken(monkeypatch, "release")
    harness.advance(1.0)
    assert isinstance(speech.error, ConfigError)


@pytest.mark.parametrize("shape", [{"generation_keepalive": 1.0}, {"source_pause": 1.0}])
def test_an_adapter_that_cannot_bear_a_silent_source(
    shape: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither keep it alive nor end it: its speech fails, a neighbour does not."""
    harness = opened(traits(MULTIPLEXED, **shape), settings(min_idle=0))
    speech = harness.speak("One. ", end=False)
    broken(monkeypatch, "keepalive")
    broken(monkeypatch, "end")
    harness.advance(1.0)
    assert isinstance(speech.error, ConfigError)


def test_an_adapter_that_cannot_keep_a_connection_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up before the provider does."""
    harness = opened(traits(connection_keepalive=1.0), settings(min_idle=0))
    broken(monkeypatch, "keepalive")
    broken(monkeypatch, "shutdown")
    harness.advance(1.0)
    assert harness.wires[0].state is ConnectionState.CLOSING
    assert harness.hangups(harness.wires[0])[0].frames == ()


def test_an_adapter_that_cannot_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that nobody can explain may pass."""
    harness = opened(MULTIPLEXED, settings(min_idle=0, max_size=1))
    broken(monkeypatch, "verdict")
    speech = harness.speak("One. ")
    harness.audio(speech)
    harness.hear(speech)
    harness.drop(harness.on(speech), 1011)
    assert isinstance(speech.error, ConnectionLost) and speech.error.retryable
    harness.speak("Two. ")
    harness.refuse(harness.wires[-1], 503)
    assert harness.events("dial.failed")


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
