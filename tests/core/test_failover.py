"""What becomes of a speech whose attempt failed: again, on the next route, or the end."""

from __future__ import annotations

import pytest

from tests.core.helpers import LEAN, MULTIPLEXED, Harness, Toy, settings, traits
from ttsmux.adapter import EarlyEnd, Input
from ttsmux.core.lane import Lane
from ttsmux.core.route import Route
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import SpeechState
from ttsmux.errors import AuthError, ConnectError, Error, GenerationError

# --- again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_retry_waits_for_its_backoff(seed: int) -> None:
    """The second attempt begins after a wait drawn from [0, base]."""
    harness = Harness(seed=seed)
    speech = harness.speak("Hello. ")
    harness.up()
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation busy")
    assert speech.generation is None
    assert 0.0 < speech.not_before <= 0.05
    harness.until(speech.not_before)
    assert speech.generation is not None
    assert harness.words(harness.wires[0])[-3:] == ["open", "text Hello. ", "end"]


def test_the_second_retry_waits_longer() -> None:
    """Ceilings double: 50 ms, then 100 ms."""
    waits: list[float] = []
    for seed in range(50):
        harness = Harness(seed=seed)
        speech = harness.speak("Hello. ")
        harness.up()
        for _ in range(2):
            harness.say(harness.wires[0], f"error {harness.id(speech)} generation busy")
            begun = harness.now
            harness.until(speech.not_before)
        waits.append(speech.not_before - begun)
    assert 0.09 < max(waits) <= 0.1


def test_attempts_are_bounded() -> None:
    """After as many attempts as allowed the speech fails with the last error."""
    harness = Harness(config=settings(min_idle=0, retry={"attempts": 2}))
    speech = harness.speak("Hello. ")
    harness.up()
    for _ in range(2):
        harness.say(harness.wires[0], f"error {harness.id(speech)} generation busy")
        harness.advance(1.0)
    with pytest.raises(Error, match="busy") as caught:
        harness.read(speech)
    assert caught.value.attempt == 2


def test_attempts_are_those_on_a_route() -> None:
    """The next one has as many; the error, and the metrics, count them all."""
    routes = [Route(adapter=Toy(line=line)) for line in ("first", "second")]
    harness = Harness(config=settings(min_idle=0, retry={"attempts": 2}), routes=routes)
    speech = harness.speak("Hello. ")
    while speech.error is None:
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn)
        harness.advance(0.125)
    lines = [conn.plan.adapter.line for conn in harness.wires]  # type: ignore[attr-defined]
    assert lines == ["first"] * 2 + ["second"] * 2
    assert isinstance(speech.error, ConnectError)
    assert speech.error.attempt == speech.metrics().attempts == 4


# --- from one route to the next -------------------------------------------------------------------


def two_routes() -> Harness:
    first = Route(adapter=Toy(line="first"))
    second = Route(adapter=Toy(shape=traits(MULTIPLEXED, formats=("mulaw_8000",)), line="second"))
    return Harness(config=LEAN, routes=[first, second])


def lane_of(harness: Harness) -> Lane:
    """Return the lane of the first route."""
    return next(lane for lane in harness.mux._pool.lanes.values() if lane.plan.number == 0)


def failing(failures: int, **retry: object) -> Harness:
    """Two routes; dials of the first have failed *failures* times in a row."""
    routes = [Route(adapter=Toy(line=line)) for line in ("first", "second")]
    harness = Harness(config=settings(min_idle=0, retry=retry), routes=routes)
    speech = harness.speak("Hello. ")
    for _ in range(failures):
        harness.refuse(harness.wires[-1])
        harness.until(lane_of(harness).not_before)
    harness.interrupt(speech)
    if harness.wires[-1].coming:
        harness.refuse(harness.wires[-1])
    return harness


def test_who_comes_to_a_route_that_fails_does_not_wait_for_its_next_dial() -> None:
    """Three dials in a row have failed, of others: it need not find that out anew."""
    harness = failing(2)
    assert lane_of(harness).failures == 3 and harness.now < lane_of(harness).not_before
    speech = harness.speak("Hi. ")
    assert speech.plan.number == 1 and harness.wires[-1].plan.number == 1
    assert speech.metrics().attempts == 0
    (rerouted,) = harness.events("speech.rerouted")
    assert rerouted.fields["error"] == "ConnectError"


def test_who_comes_when_the_rest_is_over_bears_one_more_dial() -> None:
    """The route is tried again, by one dial, and left when that fails too."""
    harness = failing(2)
    harness.until(lane_of(harness).not_before)
    speech = harness.speak("Hi. ")
    assert speech.plan.number == 0 and harness.wires[-1].coming
    harness.refuse(harness.wires[-1])
    assert speech.plan.number == 1 and speech.metrics().attempts == 1


def test_who_comes_after_two_failures_waits_for_the_third() -> None:
    harness = failing(1)
    assert lane_of(harness).failures == 2
    speech = harness.speak("Hi. ")
    assert speech.plan.number == 0
    harness.until(lane_of(harness).not_before)
    harness.refuse(harness.wires[-1])
    assert speech.plan.number == 1 and speech.metrics().attempts == 1


def test_a_route_that_fails_is_not_left_for_one_that_fails_too() -> None:
    """Where nothing is ready one may as well wait for the first."""
    harness = failing(2, switch_after=3)
    other = harness.speak("Hi. ")
    assert other.plan.number == 1
    harness.refuse(harness.wires[-1])
    speech = harness.speak("Ho. ")
    assert speech.plan.number == 0
    harness.until(lane_of(harness).not_before)
    assert harness.wires[-1].plan.number == 0
    harness.up(harness.wires[-1])
    assert speech.generation is not None


def test_failed_spares_do_not_count_against_a_connection_that_serves() -> None:
    """What fails on it is tried again there, as often as ever."""
    routes = [Route(adapter=Toy(line=line)) for line in ("first", "second")]
    harness = Harness(config=settings(min_idle=0), routes=routes)
    speech = harness.speak("Hello. ")
    harness.up()
    prewarm = harness.prewarm(2)
    while lane_of(harness).failures < 3:
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn)
        harness.advance(2.0)
    assert not speech.over and prewarm is not None
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation busy")
    assert speech.plan.number == 0


def test_a_refused_dial_goes_to_the_next_route() -> None:
    """A dial that fails for good leaves the route, text or no text yet."""
    harness = two_routes()
    speech = harness.speak()
    harness.refuse(harness.wires[0], 404)
    assert speech.plan.adapter.line == "second"  # type: ignore[attr-defined]
    harness.write(speech, "Hello. ")
    harness.end(speech)
    harness.up(harness.wires[1])
    assert harness.words(harness.wires[1]) == ["open", "text Hello. ", "end"]
    harness.audio(speech, b"\1")
    harness.done(speech)
    assert harness.finish(speech) == b"\1"
    assert harness.events("speech.rerouted")[0].fields["error"] == "NotFoundError"


def test_a_route_is_left_when_its_dials_are_exhausted() -> None:
    """Three dials that fail are enough."""
    harness = two_routes()
    speech = harness.speak("Hello. ")
    for attempt in range(3):
        assert speech.plan.number == 0
        harness.refuse(harness.wires[attempt])
        harness.advance(0.5)
    assert speech.plan.number == 1
    assert harness.wires[-1].plan.number == 1


def test_a_route_is_left_when_its_attempts_are_exhausted() -> None:
    """Failures before first audio lead to the next route, which is told everything again."""
    harness = two_routes()
    speech = harness.speak("One. ", end=False)
    harness.up()
    harness.write(speech, "Two. ")
    for _ in range(3):
        harness.audio(speech)
        harness.say(harness.wires[0], f"error {harness.id(speech)} generation busy")
        harness.advance(0.5)
    assert speech.plan.number == 1
    harness.up(harness.wires[1])
    assert harness.words(harness.wires[1]) == ["open", "text One. Two. "]
    assert speech.received == 0


@pytest.mark.parametrize("fault", ["final", "key"])
def test_an_error_that_no_retry_helps_goes_to_the_next_route(fault: str) -> None:
    """A key that is refused after the upgrade leaves the route as one refused at the upgrade."""
    harness = two_routes()
    speech = harness.speak("Hello. ")
    harness.up()
    if fault == "final":
        harness.say(harness.wires[0], f"error {harness.id(speech)} generation never!")
    else:
        harness.drop(harness.wires[0], 1008, "bad key")
    assert speech.plan.number == 1
    assert speech.state is SpeechState.WAITING


def test_a_speech_that_was_heard_stays() -> None:
    """After the first audio another voice would go on in the middle of a word."""
    harness = two_routes()
    speech = harness.speak("Hello. ")
    harness.up()
    harness.audio(speech)
    assert harness.hear(speech)
    harness.say(harness.wires[0], f"error {harness.id(speech)} generation never!")
    with pytest.raises(GenerationError):
        harness.read(speech)


def test_the_next_route_begins_with_an_empty_buffer() -> None:
    """Audio of the route that was left, received and never read, is not heard twice."""
    shape = traits(input=Input.WHOLE)
    routes = [Route(adapter=Toy(shape=shape, line="a")), Route(adapter=Toy(line="b"))]
    harness = Harness(routes=routes)
    speech = harness.speak("One. Two.")
    harness.up()
    harness.audio(speech, b"\1\1")
    harness.done(speech)
    harness.say(harness.wires[0], f"error {harness.id(speech)} taint never!")
    assert speech.plan.number == 1
    harness.up(harness.wires[1])
    harness.audio(speech, b"\2\2")
    harness.done(speech)
    assert harness.hear(speech) == b"\2\2"
    assert harness.read(speech) is END


def test_a_speech_that_waits_to_retry_may_be_moved() -> None:
    """The next route does not inherit the backoff of the last one."""
    harness = two_routes()
    speech = harness.speak("Hello. ")
    harness.up()
    harness.say(harness.wires[0], "ack -")
    harness.drop(harness.wires[0])
    assert speech.not_before > harness.now
    harness.refuse(harness.wires[1], 404)
    assert speech.plan.number == 1
    assert speech.not_before == harness.now
    assert len(harness.wires) == 3


def test_the_last_route_fails_the_speech() -> None:
    """Where there is no next route the error is the caller's."""
    harness = two_routes()
    speech = harness.speak("Hello. ")
    harness.refuse(harness.wires[0], 401)
    harness.refuse(harness.wires[1], 401)
    with pytest.raises(AuthError) as caught:
        harness.read(speech)
    assert caught.value.provider == "toy" and caught.value.phase == "dial"
    assert isinstance(caught.value, AuthError) and not isinstance(caught.value, ConnectError)


# --- between two generations ----------------------------------------------------------------------


def between(**retry: object) -> tuple[Harness, Speech]:
    """A speech that was heard to the end of what it had to say, and its connection was lost."""
    shape = traits(MULTIPLEXED, ping=None, early_end=EarlyEnd.NEXT_GENERATION)
    harness = Harness(shape, settings(min_idle=0, retry=retry))
    speech = harness.speak("First. ", end=False)
    harness.up()
    harness.flush(speech)
    harness.audio(speech)
    harness.advance(1.0)
    id = harness.id(speech)
    harness.say(harness.on(speech), f"all - end {id}|released {id}")
    harness.hear(speech)
    harness.drop(harness.wires[0], 1001)
    assert speech.generation is None and speech.state is SpeechState.WAITING
    return harness, speech


def refuse_all(harness: Harness, status: int | None = None, times: int = 1) -> None:
    for _ in range(times):
        harness.advance(3.0)
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn, status)


@pytest.mark.parametrize(
    ("retry", "status", "times"),
    [({"budget": 0}, None, 1), ({"attempts": 2}, None, 2), ({}, 404, 1)],
    ids=["nothing left to pay with", "no tries left", "no retry would help"],
)
def test_a_dial_in_hope_fails_no_speech_that_may_be_over(
    retry: dict[str, object], status: int | None, times: int
) -> None:
    """All that it had to say is spoken; and nothing more is dialled for it."""
    harness, speech = between(**retry)
    refuse_all(harness, status, times)
    dials = len(harness.wires)
    harness.advance(60.0)
    assert len(harness.wires) == dials
    harness.end(speech)
    assert speech.state is SpeechState.RECEIVED
    assert harness.read(speech) is END


def test_when_it_has_more_to_say_it_is_dialled_for_once_more() -> None:
    harness, speech = between()
    refuse_all(harness, 404)
    dials = len(harness.wires)
    harness.write(speech, "Second. ")
    harness.end(speech)
    harness.advance(3.0)
    assert len(harness.wires) == dials + 1
    refuse_all(harness, 404)
    assert speech.state is SpeechState.FAILED


def test_it_may_speak_on_when_the_provider_is_there_again() -> None:
    harness, speech = between(attempts=2)
    refuse_all(harness, times=2)
    harness.write(speech, "Second. ")
    harness.end(speech)
    harness.advance(3.0)
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
