"""What retries may cost, and what becomes of a speech that can afford none."""

from __future__ import annotations

import pytest

from tests.core.helpers import LEAN, MULTIPLEXED, Harness, Toy, opened, settings, traits
from ttsmux.adapter import Traits
from ttsmux.core.budget import Bill, Budget, unaffordable
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.core.states import SpeechState
from ttsmux.errors import (
    AtCapacity,
    ConcurrencyLimitError,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    Error,
    GenerationError,
    HandshakeError,
    RateLimitError,
)

QUIET = traits(ping=None)
FAILURE = ConnectionLost("torn")


def stubborn(tokens: int | None, shape: Traits = QUIET, **pool: object) -> Harness:
    """Return a client that may try for as long as its budget lasts."""
    retry = {"attempts": 1000, "budget": tokens, "breaker_failures": None, "cap": 0.05}
    return opened(shape, settings(min_idle=0, retry=retry, **pool))


def fail(harness: Harness, speech: Speech, words: str = "busy") -> None:
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation {words}")


def budget(harness: Harness) -> Budget:
    return harness.mux._pool._budgets[0]


# --- the purse ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "cost"),
    [
        (FAILURE, 14),
        (GenerationError("no", retryable=True), 14),
        (RateLimitError("slow down"), 5),
        (ConcurrencyLimitError("too many"), 5),
        (AtCapacity("draining"), 5),
    ],
)
def test_a_retry_has_its_price(error: Error, cost: int) -> None:
    """Less where the provider is well and asks for fewer requests."""
    purse = Budget(500)
    assert purse.pay(error) == cost
    assert purse.left == 500 - cost


def test_what_cannot_be_afforded_costs_nothing() -> None:
    """Thirty-five failures are paid for, and of the ten tokens left two throttles."""
    purse = Budget(500)
    assert [purse.pay(FAILURE) for _ in range(36)] == [14] * 35 + [None]
    assert purse.left == 10
    assert [purse.pay(RateLimitError("slow")) for _ in range(3)] == [5, 5, None]
    assert purse.left == 0


def test_a_success_gives_back_what_its_retries_cost_and_never_more_than_there_was() -> None:
    purse, bills = Budget(30), [Bill(), Bill()]
    for bill in bills:
        bill.cost = purse.pay(FAILURE)
    purse.succeeded([])
    assert purse.left == 3
    purse.succeeded(bills)
    assert purse.left == 30
    purse.succeeded([])
    assert purse.left == 30


def test_what_was_paid_for_several_is_given_back_once() -> None:
    """And who has shared it has earned nothing."""
    purse, bill = Budget(500), Bill()
    bill.cost = purse.pay(FAILURE)
    purse.left -= 100
    for _ in range(3):
        purse.succeeded([bill])
        assert purse.left == 400


def test_without_a_budget_retries_cost_nothing() -> None:
    purse = Budget(None)
    assert [purse.pay(FAILURE) for _ in range(100)] == [0] * 100
    purse.succeeded([])
    assert purse.left == 0


@pytest.mark.parametrize(
    "error",
    [HandshakeError("HTTP 503", status=503), DeadlineExceeded("late"), FAILURE],
)
def test_the_error_says_that_the_budget_is_spent(error: Error) -> None:
    """It is the same error otherwise, and the first one is left as it was."""
    before, said = vars(error).copy(), error.message
    twin = unaffordable(error)
    assert type(twin) is type(error) and str(twin) == twin.args[0]
    assert str(twin) == f"{said}; not tried again, for the retry budget is spent"
    assert vars(error) == before
    assert vars(twin) == {**before, "message": twin.message}


# --- who pays -------------------------------------------------------------------------------------


def test_a_speech_begun_again_is_paid_for_and_gives_back_at_its_end() -> None:
    """Its first audio is not worth as much: it has to be gone on with."""
    harness = stubborn(500)
    speech = harness.speak("Hello. ")
    for times in (1, 2):
        fail(harness, speech)
        assert budget(harness).left == 500 - 14 * times
        harness.advance(0.05)
    harness.audio(speech)
    assert budget(harness).left == 472
    harness.done(speech)
    assert budget(harness).left == 500
    assert (harness.mux.stats().retries, harness.mux.stats().unpaid) == (2, 0)


def test_a_speech_without_retry_earns_a_token() -> None:
    harness = stubborn(500)
    lost = harness.speak("Hello. ")
    fail(harness, lost)
    harness.interrupt(lost)
    harness.spoken()
    assert budget(harness).left == 487
    harness.spoken()
    assert budget(harness).left == 488


def test_a_spent_budget_makes_the_next_failure_final() -> None:
    """Two retries of 14 fit into 30; the third failure is the caller's."""
    harness = stubborn(30)
    speech = harness.speak("Hello. ")
    for _ in range(3):
        fail(harness, speech)
        harness.advance(0.05)
    with pytest.raises(GenerationError, match="busy; not tried again, for the retry budget is"):
        harness.read(speech)
    stats = harness.mux.stats()
    assert (stats.retries, stats.unpaid, stats.waiting) == (2, 1, 0)


def test_all_speeches_of_a_route_have_one_budget_whatever_their_voices() -> None:
    harness = stubborn(14, max_size=8)
    speeches = [harness.speak("Hello. ", line=line) for line in ("main", "other")]
    harness.up()
    for speech in speeches:
        fail(harness, speech)
    assert [speech.state for speech in speeches] == [SpeechState.WAITING, SpeechState.FAILED]


def test_a_spent_budget_leads_to_the_next_route_which_has_its_own() -> None:
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in ("a", "b")]
    config = settings(min_idle=0, retry={"budget": 14, "breaker_failures": None})
    harness = Harness(routes=routes, config=config)
    speech = harness.speak("Hello. ")
    harness.up()
    for _ in range(2):
        fail(harness, speech)
        harness.advance(0.1)
    assert speech.plan.number == 1
    harness.up()
    fail(harness, speech)
    assert speech.state is SpeechState.WAITING and [bill.cost for bill in speech.bills] == [14]


def test_a_throttled_retry_costs_less() -> None:
    harness = stubborn(500)
    speech = harness.speak("Hello. ")
    harness.mux.lost(harness.on(speech), RateLimitError("slow down"), harness.now)
    harness.collect()
    assert budget(harness).left == 495
    assert speech.state is SpeechState.WAITING


def test_a_request_that_was_never_read_costs_nothing() -> None:
    """The socket had died while it rested: the speech is begun again with an empty budget."""
    harness = stubborn(0)
    harness.advance(5.0)
    speech = harness.speak("Hello. ")
    harness.drop(harness.on(speech), 1001)
    assert speech.state is SpeechState.WAITING
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)
    assert harness.mux.stats().retries == 0


def test_a_dial_begun_again_for_those_who_wait_is_paid_for_once() -> None:
    """Three speeches wait for one connection; its first word gives back what it took."""
    harness = Harness(
        MULTIPLEXED, settings(min_idle=0, retry={"attempts": 9, "breaker_failures": None})
    )
    speeches = [harness.speak(f"{n}. ") for n in range(3)]
    for times in (1, 2):
        harness.refuse(harness.wires[-1])
        assert budget(harness).left == 500 - 14 * times
        harness.advance(0.1)
    harness.up()
    assert budget(harness).left == 472, "a handshake is nothing"
    harness.audio(speeches[0])
    assert budget(harness).left == 500
    assert harness.mux.stats().retries == 2


def test_who_waits_fails_with_the_dial_if_another_cannot_be_paid_for() -> None:
    config = settings(min_idle=0, retry={"attempts": 9, "budget": 14, "breaker_failures": None})
    harness = Harness(QUIET, config)
    speech, silent = harness.speak("Hello. "), harness.speak()
    harness.advance(0.1)
    harness.refuse(harness.wires[0])
    harness.refuse(harness.wires[1])
    harness.advance(0.05)
    harness.refuse(harness.wires[2])
    for one in (speech, silent):
        with pytest.raises(ConnectError, match="refused; not tried again"):
            harness.read(one)
    harness.advance(60.0)
    assert len(harness.wires) == 3
    assert harness.mux.stats().unpaid == 1


def test_a_dial_that_fails_with_nobody_to_wait_costs_nothing() -> None:
    """For a spare, that is: how often those are tried has its own limit."""
    harness = Harness(QUIET, settings(min_idle=1))
    harness.prewarm(1)
    harness.refuse(harness.wires[0])
    assert budget(harness).left == 500


def test_a_speech_that_has_had_all_its_tries_costs_no_more() -> None:
    """Who fails anyway does not pay."""
    harness = Harness(config=settings(min_idle=0, retry={"attempts": 1}))
    speech = harness.speak("Hello. ")
    harness.refuse(harness.wires[0])
    assert speech.state is SpeechState.FAILED
    again = harness.speak("Hello. ")
    harness.advance(0.05)
    harness.up()
    fail(harness, again)
    assert again.state is SpeechState.FAILED
    assert budget(harness).left == 500 and harness.mux.stats().unpaid == 0


def test_a_fresh_key_is_no_retry() -> None:
    """The dial with it, and the speech that goes with it, cost nothing."""
    harness = Harness(config=LEAN, refreshable=True)
    speech = harness.speak("Hello. ")
    harness.up()
    harness.drop(harness.on(speech), 1008, "bad key")
    assert speech.state is SpeechState.WAITING
    assert budget(harness).left == 500


CHOIR = traits(MULTIPLEXED, ping=None, seats=50, slots=60)


@pytest.mark.parametrize("how", ["torn", "noise", "stall"])
def test_what_one_connection_ends_is_paid_for_once(how: str) -> None:
    """Fifty speeches on it are begun again, for one thing has failed; it is given back once."""
    harness = stubborn(500, CHOIR)
    speeches = [harness.ask() for _ in range(50)]
    (conn,) = harness.wires
    assert len(conn.live) == 50
    match how:
        case "torn":
            harness.drop(conn)
        case "noise":
            harness.say(conn, "%%%")
        case _:
            harness.advance(5.0)
    assert all(speech.state is SpeechState.WAITING for speech in speeches)
    assert budget(harness).left == 486
    assert (harness.mux.stats().retries, harness.mux.stats().unpaid) == (50, 0)
    harness.hung_up()
    harness.up()
    harness.advance(0.1)
    for speech in speeches:
        harness.audio(speech)
        harness.done(speech)
        assert budget(harness).left == 500


def test_each_connection_that_ends_is_paid_for() -> None:
    harness = opened(CHOIR, settings(min_idle=0, retry={"breaker_failures": None}))
    speeches = [harness.ask() for _ in range(51)]
    harness.up()
    for conn in list(harness.wires):
        harness.say(conn, "ack -")  # else it would be a dial that failed
        harness.drop(conn)
    assert len(harness.wires) > 2 and budget(harness).left == 472
    assert all(speech.state is SpeechState.WAITING for speech in speeches)


def test_if_the_break_cannot_be_paid_for_nobody_is_begun_again() -> None:
    harness = stubborn(13, CHOIR)
    speeches = [harness.ask() for _ in range(5)]
    harness.drop(harness.wires[0])
    assert all("budget is spent" in str(speech.error) for speech in speeches)
    assert (harness.mux.stats().retries, harness.mux.stats().unpaid) == (0, 5)


def test_failures_on_a_connection_that_lives_are_paid_for_each() -> None:
    harness = stubborn(500, CHOIR)
    speeches = [harness.ask() for _ in range(3)]
    for speech in speeches:
        fail(harness, speech)
    assert budget(harness).left == 500 - 3 * 14


def test_an_outage_after_the_first_audio_spends_the_budget() -> None:
    """Each speech says a little, nobody reads it, and it breaks: that is no success."""
    harness = stubborn(28)
    for _ in range(5):
        speech = harness.ask()
        while speech.error is None:
            harness.up()
            if speech.generation is not None:
                harness.audio(speech)
                harness.drop(harness.on(speech))
            harness.advance(0.05)
    assert harness.mux.stats().retries == 2 and budget(harness).left == 0


def test_who_is_interrupted_while_it_is_heard_was_worth_it() -> None:
    """Else a client whose every turn is cut short would never have anything to pay with."""
    harness = stubborn(500)
    speech = harness.speak("Hello. ")
    fail(harness, speech)
    harness.advance(0.05)
    harness.audio(speech)
    assert budget(harness).left == 486
    harness.interrupt(speech)
    assert budget(harness).left == 500
    lost = harness.speak("Hello. ")
    harness.hung_up()
    harness.up()
    fail(harness, lost)
    harness.advance(0.05)
    harness.interrupt(lost)
    assert budget(harness).left == 486, "nothing came of this one"
