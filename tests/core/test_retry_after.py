"""A provider that asks to be left alone: who waits for that, who goes elsewhere, who is told."""

from __future__ import annotations

import random

import attrs
import pytest

from tests.core.helpers import MULTIPLEXED, Harness, Toy, settings, traits
from tests.core.test_requests import REQUEST, Body
from tests.core.test_retry import Dice
from ttsmux.adapter import Closed, DialFailure, EarlyEnd, Failed, Scope, Verdict
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.core.states import SpeechState
from ttsmux.errors import (
    CircuitOpen,
    ConnectionLost,
    Error,
    HandshakeError,
    NotFoundError,
    RateLimitError,
)

QUIET = traits(ping=None)


@attrs.frozen(kw_only=True)
class Busy(Toy):
    """Fails what it is asked, and may be asked again *after* seconds."""

    after: float = 3.0

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        return Verdict(Scope.GENERATION, RateLimitError("slow down", retry_after=self.after))


def client(*, other: bool = False, **config: object) -> Harness:
    """Return a client of one provider, or of two."""
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in ("a", "b")[: 1 + other]]
    return Harness(routes=routes, config=settings(**{"min_idle": 0, **config}))  # type: ignore[arg-type]


def told(speech: Speech, kind: type[Error] = RateLimitError) -> float | None:
    """Return after how many seconds *speech* may be asked again; it was told so and failed."""
    assert speech.state is SpeechState.FAILED and type(speech.error) is kind, speech.error
    return speech.error.retry_after


def seated(harness: Harness, speech: Speech) -> int:
    """Return the number of the route that *speech* speaks on, once it was dialled for."""
    harness.up()
    return harness.on(speech).plan.number


# --- where there is nobody else -------------------------------------------------------------------


def test_whose_deadline_comes_before_is_told_at_once() -> None:
    """In the step in which the dial fails; the other one, which has the time, waits."""
    h = client()
    hurried, patient = h.speak("1. ", total=4.0), h.speak("2. ", total=6.0)
    h.advance(0.5)
    h.refuse(h.wires[0], 429, retry_after="5")
    h.refuse(h.wires[1])
    assert told(hurried) == 5.0 and hurried.metrics().attempts == 1
    h.until(5.499)
    assert patient.state is SpeechState.WAITING and len(h.wires) == 2
    h.until(5.5)
    assert seated(h, patient) == 0


@pytest.mark.parametrize(("asked", "waits"), [("9", True), ("10", False), ("11", False)])
def test_it_is_waited_for_if_that_leaves_any_of_the_acquire_timeout(
    asked: str, waits: bool
) -> None:
    h = client()
    speech = h.speak("Hello. ")
    h.refuse(h.wires[0], 503, retry_after=asked)
    assert (speech.state is SpeechState.WAITING) is waits
    if waits:
        h.until(8.999)
        assert len(h.wires) == 1
        h.until(9.0)
        assert seated(h, speech) == 0
    else:
        assert told(speech, HandshakeError) == float(asked)


def test_what_is_left_of_the_acquire_timeout_counts() -> None:
    """Six seconds, and six again: too much for the first, not for who came later."""
    h = client()
    first = h.speak("1. ")
    h.refuse(h.wires[0], 429, retry_after="6")
    h.until(3.0)
    second = h.ask("2. ")
    h.until(6.0)
    for conn in h.wires[1:]:
        h.refuse(conn, 429, retry_after="6")
    assert told(first) == 6.0
    assert second.state is SpeechState.WAITING
    h.until(12.0)
    assert seated(h, second) == 0


def test_of_a_speech_without_text_nobody_knows_how_long_it_has() -> None:
    """It is told if nobody would wait for so long; else when its text comes, or its deadline is."""
    h = client()
    waits, late = h.speak(), h.speak(total=7.0)
    h.refuse(h.wires[0], 429, retry_after="8")
    h.refuse(h.wires[1])
    assert waits.state is SpeechState.WAITING and told(late) == 8.0
    h.until(5.0)
    h.write(waits, "Hello. ")
    h.until(8.0)
    assert seated(h, waits) == 0


def test_who_is_between_two_generations_is_told_when_it_has_more_to_say() -> None:
    """All that it had is spoken, and perhaps it is over."""
    shape = traits(MULTIPLEXED, ping=None, early_end=EarlyEnd.NEXT_GENERATION)
    h = Harness(shape, settings(min_idle=0))
    done, goes_on = (h.speak("First. ", end=False) for _ in range(2))
    h.up()
    for speech in (done, goes_on):
        h.flush(speech)
        h.audio(speech)
    h.advance(1.0)
    for speech in (done, goes_on):
        h.say(h.on(speech), f"all - end {h.id(speech)}|released {h.id(speech)}")
    h.drop(h.wires[0], 1001)
    for conn in h.wires[1:]:
        h.refuse(conn, 429, retry_after="60")
    assert told(h.ask()) == 60.0
    h.end(done)
    assert h.finish(done)
    h.advance(1.0)
    h.write(goes_on, "Second. ")
    assert h.hear_all(goes_on) and told(goes_on) == 59.0


def test_a_dial_under_way_is_waited_for() -> None:
    """It may do better; if it does not, nobody waits on."""
    h = client()
    speeches = [h.speak("1. "), h.speak("2. ")]
    h.refuse(h.wires[0], 429, retry_after="60")
    assert {speech.state for speech in speeches} == {SpeechState.WAITING}
    h.advance(2.0)
    h.refuse(h.wires[1])
    assert [told(speech) for speech in speeches] == [58.0, 58.0]


def test_a_connection_that_serves_is_waited_for() -> None:
    """The provider allows no more, perhaps; when it is lost, nothing is left to wait for."""
    h = client()
    busy = h.speak("1. ")
    h.up()
    h.audio(busy)
    waits = h.speak("2. ")
    h.refuse(h.wires[1], 429, retry_after="60")
    later = h.ask("3. ")
    assert waits.state is later.state is SpeechState.WAITING
    h.done(busy)
    assert h.on(waits) is h.wires[0]
    h.audio(waits)
    assert h.hear(waits)
    h.advance(1.0)
    h.drop(h.wires[0])
    assert told(later) == 59.0


def test_a_request_that_is_answered_leaves_no_seat_behind() -> None:
    """Whoever comes while one is read out has nothing to wait for."""
    h = Harness(routes=[Route(adapter=Body(shape=REQUEST))], config=settings(min_idle=0))
    reads = h.speak("1.")
    h.up()
    lost = h.speak("2.")
    h.up()
    failure = DialFailure(status=429, headers={"retry-after": "60"})
    h.mux.lost(h.on(lost), failure, h.now)
    h.collect()
    assert told(lost) == 60.0 and reads.generation is not None
    h.advance(1.0)
    assert told(h.ask("3.")) == 59.0


def test_the_words_are_of_who_asked() -> None:
    """Not those of a dial that failed later, for another reason."""
    h = client()
    first = h.speak("1. ")
    h.prewarm(2)
    h.refuse(h.wires[0], 429, retry_after="20")
    h.refuse(h.wires[1])
    assert told(first) == 20.0
    assert told(h.ask()) == 20.0


def test_the_longest_time_counts() -> None:
    """Whichever of several dials it was said to."""
    h = client()
    speeches = [h.speak("1. "), h.speak("2. ")]
    h.refuse(h.wires[0], 429, retry_after="60")
    h.refuse(h.wires[1], 429, retry_after="3")
    assert [told(speech) for speech in speeches] == [60.0, 60.0]
    h.until(10.0)
    assert told(h.ask()) == 50.0


def test_nothing_is_paid_for_who_does_not_wait() -> None:
    """And for those who do, for one dial."""
    for totals, retries in ((1.0, 2.0), 0), ((1.0, 9.0, 9.0), 1):
        h = client(max_size=1)
        speeches = [h.speak("x. ", total=total) for total in totals]
        h.refuse(h.wires[0], 429, retry_after="5")
        stats = h.mux.stats()
        assert (stats.retries, stats.waiting) == (retries, 2 * retries)
        assert stats.refused == len(speeches) - stats.waiting


def test_it_is_told_rather_than_that_the_circuit_is_open() -> None:
    """For that one ends sooner, and would have to be asked about again."""
    h = client(retry={"attempts": 1, "breaker_failures": 1})
    speech = h.ask()
    h.refuse(h.wires[0], 503, retry_after="60")
    assert told(speech, HandshakeError) == 60.0
    h.advance(1.0)
    assert told(h.ask(), HandshakeError) == 59.0


# --- where there is somebody else -----------------------------------------------------------------


@pytest.mark.parametrize("asked", ["1", "3", "60"])
def test_nobody_waits_where_another_provider_is_ready(asked: str) -> None:
    """Those in line, with text or without, and those who come, each in that very step."""
    h = client(other=True, max_size=20)
    speeches = [h.speak("1. "), h.speak()]
    h.refuse(h.wires[0], 429, retry_after=asked)
    h.refuse(h.wires[1])
    for seconds in (0.0, 0.5, 0.499):
        h.advance(seconds)
        speeches += [h.ask(), h.speak()]
    assert {speech.plan.number for speech in speeches} == {1}
    assert sum(conn.plan.number == 0 for conn in h.wires) == 2
    h.up()
    assert all(speech.generation is not None for speech in speeches[::2])
    h.until(float(asked) + 0.1)
    assert seated(h, h.ask()) == 0, "now it may be asked again"


def test_a_wait_of_less_than_a_second_is_no_reason_to_change_the_voice() -> None:
    """A session that is yet to be closed, say: such a wait is like any other between two tries."""
    for after, number in ((0.35, 0), (1.0, 1)):
        routes = [Route(adapter=Busy(after=after)), Route(adapter=Toy(line="b"))]
        h = Harness(routes=routes, config=settings(min_idle=0))
        speech = h.speak("Hello. ")
        h.up()
        h.say(h.on(speech), f"error {h.id(speech)} generation no")
        assert speech.plan.number == number and speech.state is SpeechState.WAITING


def test_a_speech_that_failed_goes_elsewhere_as_well() -> None:
    """It was its generation that was refused, and no dial: only this speech knows of it."""
    routes = [Route(adapter=Busy()), Route(adapter=Toy(line="b"))]
    h = Harness(routes=routes, config=settings(min_idle=0))
    speech = h.speak("Hello. ")
    h.up()
    h.say(h.on(speech), f"error {h.id(speech)} generation no")
    assert seated(h, speech) == 1
    assert h.mux.stats().retries == 0


@pytest.mark.parametrize(("status", "number"), [(503, 1), (429, 0)])
def test_the_same_voice_over_http_will_do_if_it_may_help(status: int, number: int) -> None:
    """It does not where the key has had too many requests: that is the same over HTTP."""
    routes = [
        Route(adapter=Toy(shape=QUIET)),
        Route(adapter=Body(shape=REQUEST), fallback_for=0),
    ]
    h = Harness(routes=routes, config=settings(min_idle=0))
    first = h.speak("Hello. ")
    h.refuse(h.wires[0], status, retry_after="3")
    second = h.ask()
    assert (first.plan.number, second.plan.number) == (number, number)
    h.until(3.0)
    assert seated(h, first) == seated(h, second) == number


def unready(h: Harness, how: str) -> None:
    """Have the second provider be known not to be of use now, because of somebody's failure."""
    first = h.ask()
    h.refuse(h.wires[-1], 404)
    assert first.plan.number == 1
    match how:
        case "asks for the same":
            h.refuse(h.wires[-1], 429, retry_after="120")
        case "fails":
            h.refuse(h.wires[-1])
        case "refuses the key":
            h.refuse(h.wires[-1], 401)
        case "is left alone":
            h.mux._pool._breakers[1].failures, h.mux._pool._breakers[1]._openings = 19, 5
            h.refuse(h.wires[-1])
    if not first.over:
        h.interrupt(first)
    lane = h.mux._pool.lanes[first.plan.key]
    # So that this is what speaks against it, and not that its last dial has failed just now.
    h.until(1.0 if how == "fails" else lane.spares_from)


def asks(h: Harness, seconds: str) -> Speech:
    """Return a speech whose provider, the first one, asks to be left alone for so long."""
    speech = h.ask()
    assert h.wires[-1].coming and h.wires[-1].plan.number == 0
    h.refuse(h.wires[-1], 429, retry_after=seconds)
    return speech


@pytest.mark.parametrize("how", ["asks for the same", "fails", "refuses the key", "is left alone"])
def test_one_that_is_in_trouble_itself_is_not_ready(how: str) -> None:
    """Then the first one is waited for, if there is time for it."""
    h = client(other=True)
    unready(h, how)
    speech = asks(h, "1")
    assert speech.plan.number == 0 and speech.state is SpeechState.WAITING
    h.until(h.mux._pool.lanes[speech.plan.key].not_before)
    assert seated(h, speech) == 0


def test_who_can_wait_for_neither_is_told_so_by_the_last_of_them() -> None:
    h = client(other=True)
    unready(h, "asks for the same")
    speech = asks(h, "60")
    assert speech.plan.number == 1 and told(speech) == 120.0 - h.now > 60.0
    assert h.events("speech.rerouted")[-1].fields["error"] == "RateLimitError"


@pytest.mark.parametrize(("how", "kind"), [("fails", None), ("refuses the key", NotFoundError)])
def test_who_cannot_wait_tries_even_one_that_is_not_ready(
    how: str, kind: type[Error] | None
) -> None:
    """There is nothing to lose."""
    h = client(other=True)
    unready(h, how)
    speech = asks(h, "60")
    h.advance(3.0)
    if kind is None:
        assert seated(h, speech) == 1
    else:
        h.refuse(h.wires[-1], 404)
        assert told(speech, kind) is None


def test_one_that_has_failed_is_ready_again_after_a_while() -> None:
    """As soon as even a spare would be dialled there."""
    h = client(other=True)
    unready(h, "fails")
    (lane,) = (lane for lane in h.mux._pool.lanes.values() if lane.plan.number == 1)
    h.until(lane.spares_from)
    assert lane.error is not None
    speech = asks(h, "3")
    assert seated(h, speech) == 1


def test_a_circuit_that_opens_meanwhile_is_told_to_who_waits() -> None:
    """Because of another voice, it may be, whose connection was up before."""
    h = client(retry={"attempts": 9, "breaker_failures": 2})
    first = h.ask(voice="anna")
    h.up()
    h.audio(first)
    h.done(first)
    waits = h.ask()
    h.refuse(h.wires[-1], 503, retry_after="3")
    assert waits.state is SpeechState.WAITING
    speaks = h.ask(voice="anna")
    h.advance(1.0)
    h.drop(h.on(speaks))
    assert isinstance(waits.error, CircuitOpen)
    assert isinstance(waits.error.__cause__, ConnectionLost)


# --- whichever voice it was said to ---------------------------------------------------------------


def test_it_is_heeded_for_all_voices() -> None:
    """Also for one whose connection was lost meanwhile: nothing is dialled before its time."""
    h = client()
    h.prewarm(1, voice="anna")
    h.up()
    first = h.ask()
    h.refuse(h.wires[-1], 429, retry_after="30")
    assert told(first) == 30.0
    h.drop(h.wires[0], 1001)
    h.advance(1.0)
    others = [h.ask(voice=voice) for voice in ("anna", "bert", "carl")]
    assert [told(speech) for speech in others] == [29.0] * 3
    assert len(h.wires) == 2
    h.until(30.0)
    late = h.ask(voice="bert")
    assert len(h.wires) == 3 and late.state is SpeechState.WAITING


def test_who_waits_for_another_voice_hears_of_it() -> None:
    """In that very step, if its own dial is not under way: for it none will be begun in time."""
    h = client(max_size=1)
    first = h.ask()
    second = h.ask(voice="anna")
    h.refuse(h.wires[0], 429, retry_after="30")
    assert told(first) == told(second) == 30.0
    assert len(h.wires) == 1


def test_that_it_is_busy_for_long_is_known_for_all_voices() -> None:
    """Five voices find out together; then one of them finds out for all whether it still is."""
    h = client(retry={"attempts": 1}, max_size=20)
    h.mux._pool.rng = Dice(0.5)  # type: ignore[assignment]
    for number in range(5):
        h.until(5.0 * number)
        speech = h.ask(voice=f"v{number}")
        h.refuse(h.wires[-1], 429)
        assert speech.error is not None
    for seconds in (2.0, 4.0, 8.0):
        began, dials = h.now, len(h.wires)
        assert told(h.ask(voice="another")) == seconds
        h.until(began + seconds)
        speeches = [h.ask(voice=f"w{number}") for number in range(9)]
        assert len(h.wires) == dials + 1, "one for all"
        h.refuse(h.wires[-1], 429)
        assert {told(speech) for speech in speeches} == {2 * seconds}
    h.until(h.now + 16.0)
    speeches = [h.ask(voice=f"x{number}") for number in range(3)]
    for _ in speeches:
        h.up()
    assert all(speech.generation is not None for speech in speeches)


def test_dials_of_several_voices_that_fail_together_are_one_pause() -> None:
    """They were under way together, so what they found out is one thing."""
    h = client(retry={"attempts": 1}, max_size=20)
    h.mux._pool.rng = Dice(0.5)  # type: ignore[assignment]
    for number in range(5):
        h.until(5.0 * number)
        speeches = [h.ask(voice=f"v{voice}") for voice in range(3)]
        h.advance(0.1)
        for conn in h.wires[-3:]:
            h.refuse(conn, 429)
        assert all(speech.over for speech in speeches)
    assert told(h.ask()) == 2.0


# --- one that turns dials away for long -----------------------------------------------------------


def busy_for_long(times: int = 5, apart: float = 5.0, **retry: object) -> Harness:
    """Return a client whose provider has turned so many dials away, the last one just now."""
    h = client(retry={"attempts": 1, **retry})
    h.mux._pool.rng = Dice(0.5)  # type: ignore[assignment]
    for number in range(times):
        h.until(apart * number)
        tries(h)
    return h


def tries(h: Harness, **headers: str) -> float | None:
    """Return what a speech is told whose dial is turned away."""
    speech = h.ask()
    assert h.wires[-1].coming
    h.refuse(h.wires[-1], 429, **headers)
    return told(speech)


def test_it_is_left_alone_although_it_did_not_ask_for_that() -> None:
    """For 2 s, 4, 8, 16, 32, 60, 60: to the instant; whoever comes meanwhile is told at once."""
    h = busy_for_long()
    for seconds in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        began, dials = h.now, len(h.wires)
        assert told(h.ask()) == told(h.speak()) == seconds
        h.until(began + seconds - 0.5)
        assert told(h.ask()) == pytest.approx(0.5)
        assert len(h.wires) == dials
        h.until(began + seconds)
        tries(h)
        assert len(h.wires) == dials + 1
    assert h.mux.stats().circuits_opened == 0, "it is well, if busy"


@pytest.mark.parametrize(
    ("times", "apart", "retry", "alone"),
    [
        (4, 10.0, {}, False),
        (5, 4.9, {}, False),
        (5, 5.0, {}, True),
        (5, 2.5, {"breaker_after": 10.0}, True),
        (3, 10.0, {"breaker_failures": 3}, True),
        (9, 10.0, {"breaker_failures": None}, False),
    ],
)
def test_it_takes_five_that_went_on_for_twenty_seconds(
    times: int, apart: float, retry: dict[str, object], alone: bool
) -> None:
    """As with the circuit breaker, whose settings these are."""
    h = busy_for_long(times, apart, **retry)
    speech = h.ask()
    assert speech.over is alone


def test_five_in_a_row_may_come_late_and_fast() -> None:
    """It is for how long they went on that counts, and not how long ago anything was well."""
    h = client(retry={"attempts": 1})
    h.spoken()
    h.drop(h.wires[0], 1001)
    h.until(100.0)
    for _ in range(9):
        assert tries(h) is None
        h.advance(2.0)


def test_who_is_told_when_it_begins() -> None:
    """Also those in line, who have tries left: they would wait for nothing."""
    h = client(max_size=1, retry={"attempts": 99, "breaker_after": 5.0})
    h.mux._pool.rng = Dice(0.5)  # type: ignore[assignment]
    speeches = []
    while not speeches or not speeches[0].over:
        speeches += [h.ask(), h.speak()]
        if h.wires[-1].coming:
            h.refuse(h.wires[-1], 429)
        h.advance(0.5)
    assert 5.0 <= h.now - 0.5 <= 7.0
    assert {told(speech) for speech in speeches} == {2.0}


def test_what_it_asks_for_is_not_undercut() -> None:
    h = busy_for_long(3)
    h.until(15.0)
    assert tries(h) is None
    h.until(20.0)
    assert tries(h, retry_after="5") == 5.0
    h.until(25.0)
    assert tries(h, retry_after="1") == 4.0


def test_a_word_of_it_ends_the_time_for_which_it_was_busy() -> None:
    """Then it takes five again, and two seconds are the first time again."""
    h = busy_for_long()
    h.until(22.0)
    tries(h)
    h.until(26.0)
    h.mux._pool.rng = random.Random(1)
    speech = h.ask()
    h.up()
    h.audio(speech)
    h.done(speech)
    h.drop(h.wires[-1], 1001)
    h.mux._pool.rng = Dice(0.5)  # type: ignore[assignment]
    for number in range(5):
        h.until(100.0 + 5.0 * number)
        found = tries(h)
        assert found == (2.0 if number == 4 else None)


def test_whoever_can_goes_elsewhere_meanwhile() -> None:
    """In the step in which it comes."""
    h = client(other=True)
    first = h.ask()
    lane = h.mux._pool.lane(first.plan, h.now)
    lane.standing.failures, lane.standing.failing_since = 4, -20.0
    h.refuse(h.wires[0], 429)
    second = h.ask()
    assert first.plan.number == second.plan.number == 1


def test_a_provider_in_trouble_is_not_waited_for_either() -> None:
    """Where the circuit is not closed, that it fails for long is known by that."""
    h = client(retry={"attempts": 9, "breaker_failures": 1})
    h.ask()
    h.refuse(h.wires[0], 503, retry_after="5")
    assert told(h.ask(), HandshakeError) == 5.0
