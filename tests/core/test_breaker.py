"""When a route is left alone, for how long, and who finds out whether it works again."""

from __future__ import annotations

import random

import pytest

from tests.core.helpers import MULTIPLEXED, Harness, Toy, opened, settings, traits
from tests.core.test_retry import Dice
from ttsmux.adapter import Closed, EarlyEnd, Input
from ttsmux.core.breaker import Breaker, outage
from ttsmux.core.connection import Connection
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.core.states import BreakerState, SpeechState
from ttsmux.errors import (
    AtCapacity,
    AuthError,
    CircuitOpen,
    ConcurrencyLimitError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DeadlineExceeded,
    DNSError,
    EmptyAudio,
    Error,
    FirstAudioTimeout,
    GenerationError,
    HandshakeError,
    NotFoundError,
    PoolTimeout,
    ProxyError,
    QuotaError,
    RateLimitError,
    RemoteProtocolError,
    StallTimeout,
    TLSError,
    TruncatedAudio,
)
from ttsmux.settings import Interrupt

QUIET = traits(ping=None)
MUTING = traits(MULTIPLEXED, ping=None)
ONCE = {"attempts": 1, "breaker_failures": 5}


def breaker(harness: Harness, number: int = 0) -> Breaker:
    return harness.mux._pool._breakers[number]


def even(harness: Harness, number: int = 0) -> None:
    """Have the breaker's dice fall in the middle, so that its times are those of the settings."""
    breaker(harness, number)._rng = Dice(0.5)


def down(config: dict[str, object] | None = None, **more: object) -> Harness:
    """Return a client whose provider has refused five dials in a row, the last one just now."""
    harness = Harness(QUIET, settings(min_idle=0, retry={**ONCE, **(config or {})}), **more)  # type: ignore[arg-type]
    for _ in range(5):
        if harness.wires:
            even(harness)
        harness.ask()
        harness.refuse(harness.wires[-1])
        if breaker(harness).closed:
            harness.advance(0.5)
    assert breaker(harness).state is BreakerState.OPEN
    return harness


def break_down(harness: Harness) -> None:
    """Have the provider of the first route refuse all dials until it is given up."""
    while not harness.wires or breaker(harness).closed:
        speech = harness.ask()
        harness.advance(0.1)
        for conn in [conn for conn in harness.wires if conn.coming and not conn.plan.number]:
            harness.refuse(conn)
        if speech.plan.number:
            harness.interrupt(speech)  # it must not take the room of the dials that are to fail


def refused(speech: Speech) -> CircuitOpen:
    assert speech.state is SpeechState.FAILED
    assert isinstance(speech.error, CircuitOpen)
    return speech.error


def finish(harness: Harness, speech: Speech) -> None:
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech)


# --- what counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("refused"),
        ConnectTimeout("slow"),
        DNSError("who?"),
        HandshakeError("HTTP 503", status=503, retryable=True),
        ConnectionLost("torn"),
        TruncatedAudio("cut"),
        RemoteProtocolError("what?"),
        FirstAudioTimeout("silent"),
        StallTimeout("silent"),
        GenerationError("internal error", retryable=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_provider_has_with_everybody_is_an_outage(error: Error) -> None:
    assert outage(error)


@pytest.mark.parametrize(
    "error",
    [
        AuthError("no"),
        AuthError("not yet", retryable=True),
        NotFoundError("who?"),
        ConfigError("what?"),
        QuotaError("no credits"),
        RateLimitError("slow down"),
        ConcurrencyLimitError("too many"),
        AtCapacity("draining"),
        PoolTimeout("busy"),
        TLSError("expired"),
        ProxyError("refused"),
        HandshakeError("HTTP 501", status=501, retryable=False),
        GenerationError("bad text"),
        EmptyAudio("nothing"),
        DeadlineExceeded("late"),
        ConnectionLost("1008", retryable=False),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_the_callers_or_one_texts_or_passes_by_waiting_is_none(error: Error) -> None:
    assert not outage(error)


def test_five_dials_refused_in_a_row_open_it() -> None:
    """The fifth, and not before; what went wrong is the cause of what later speeches are told."""
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    for count in range(1, 6):
        speech = harness.ask()
        harness.refuse(harness.wires[-1])
        assert isinstance(speech.error, ConnectError)
        assert breaker(harness).closed == (count < 5)
        if count < 5:
            harness.advance(0.5)
    (event,) = harness.events("circuit.opened")
    assert event.fields["failures"] == 5 and event.fields["error"] == "ConnectError"
    error = refused(harness.ask())
    assert isinstance(error.__cause__, ConnectError)
    assert harness.mux.stats().circuits_opened == 1


@pytest.mark.parametrize("status", [401, 404, 402, 429, 400])
def test_what_is_no_outage_never_opens_it(status: int) -> None:
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    for _ in range(20):
        speech = harness.ask()
        harness.refuse(harness.wires[-1], status)
        assert speech.state is SpeechState.FAILED
        harness.advance(3.0)
    assert breaker(harness).closed and breaker(harness).failures == 0


def failures_until_open(seconds: float, **retry: object) -> int:
    """Return how many failures it takes, so many seconds apart, to open it."""
    one = Breaker(settings(retry=retry).retry, random.Random(1))
    (conn,) = opened(QUIET).wires
    count, now = 1, 100.0
    while not one.failed(conn, ConnectionLost("torn"), now, now, up=True):
        count, now = count + 1, now + seconds
    return count


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.0, 20), (1.0, 20), (1.06, 20), (2.0, 11), (4.9, 6), (5.0, 5), (60, 5)]
)
def test_it_takes_twenty_failures_or_five_that_went_on_for_twenty_seconds(
    seconds: float, count: int
) -> None:
    """For what fails slowly has somebody wait for it, and what fails fast may be chance."""
    assert failures_until_open(seconds) == count


@pytest.mark.parametrize(
    ("retry", "count"),
    [
        ({"breaker_after": 0.0}, 5),
        ({"breaker_after": 10.0}, 11),
        ({"breaker_after": 1e6}, 20),
        ({"breaker_failures": 8}, 8),
        ({"breaker_failures": 3, "breaker_after": 0.0}, 3),
    ],
)
def test_both_are_settings(retry: dict[str, object], count: int) -> None:
    assert failures_until_open(1.0, **retry) == count


def test_a_success_ends_the_time_for_which_it_has_failed() -> None:
    """Four failures in a minute, a word of the provider's, and nineteen in two seconds."""
    one = Breaker(settings().retry, random.Random(1))
    (conn,) = opened(QUIET).wires
    torn = ConnectionLost("torn")
    for now in (0.0, 20.0, 40.0, 60.0):
        assert not one.failed(conn, torn, now, now, up=True)
    one.succeeded()
    for number in range(19):
        now = 61.0 + number / 10
        assert not one.failed(conn, torn, now, now, up=True)
    assert one.failed(conn, torn, 63.0, 63.0, up=True)


def test_dials_under_way_together_count_once() -> None:
    """Eight voices that are dialled at once say no more than one."""
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    for voice in range(8):
        harness.ask(line=f"v{voice}")
    harness.advance(0.1)
    for conn in list(harness.wires):
        harness.refuse(conn)
        harness.advance(0.01)
    assert breaker(harness).failures == 1


def test_it_is_the_routes_whatever_the_voices() -> None:
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    for voice in range(5):
        harness.ask(line=f"v{voice}")
        harness.refuse(harness.wires[-1])
        harness.advance(0.1)
    refused(harness.ask(line="another"))


@pytest.mark.parametrize("fault", ["error", "taint", "torn", "noise", "stall", "1011"])
def test_what_fails_on_a_connection_that_was_up_counts(fault: str) -> None:
    """However it fails: five in a row, each begun after the last one had failed."""
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    for _ in range(5):
        harness.advance(0.5)
        speech = harness.ask()
        harness.up()
        conn = harness.on(speech)
        harness.say(conn, "ack -")  # so that it has been of some use
        breaker(harness).failures = len(harness.events("speech.failed"))
        match fault:
            case "error" | "taint":
                scope = "generation" if fault == "error" else "taint"
                harness.say(conn, f"error {harness.id(speech)} {scope} busy")
            case "torn":
                harness.drop(conn)
            case "noise":
                harness.say(conn, "%%%")
            case "stall":
                harness.advance(5.0)
            case code:
                harness.drop(conn, int(code))
        assert speech.state is SpeechState.FAILED
        harness.hung_up()
    assert breaker(harness).state is BreakerState.OPEN


def test_connections_that_fail_together_with_what_they_speak_count_once() -> None:
    harness = opened(MUTING, settings(min_idle=0, retry=ONCE), n=2)
    for _ in range(5):
        harness.ask()
    harness.advance(1.0)
    for conn in list(harness.wires):
        harness.drop(conn)
        harness.advance(0.1)
    assert breaker(harness).failures == 1


def test_what_nobody_listens_to_may_fail() -> None:
    harness = opened(MUTING, settings(min_idle=0, retry=ONCE))
    speech = harness.speak("Hello. ")
    id = harness.id(speech)
    harness.interrupt(speech)
    harness.say(harness.wires[0], f"error {id} generation busy")
    assert breaker(harness).failures == 0


def test_a_request_that_was_never_read_is_no_outage() -> None:
    """The socket had died while it rested; whether the provider has is told by the dial."""
    harness = opened(QUIET, settings(min_idle=0, retry=ONCE))
    harness.advance(5.0)
    harness.speak("Hello. ")
    harness.drop(harness.wires[0], 1001)
    assert breaker(harness).failures == 0


def test_the_first_audio_is_a_success_and_a_handshake_is_none() -> None:
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    for _ in range(4):
        harness.ask()
        harness.refuse(harness.wires[-1])
        harness.advance(0.5)
    speech = harness.speak("Hello. ")
    harness.up()
    assert breaker(harness).failures == 4
    harness.audio(speech)
    assert breaker(harness).failures == 0


def test_a_success_on_an_old_connection_counts_as_well() -> None:
    """Every generation's first audio, not only the connection's."""
    harness = opened(QUIET, settings(min_idle=0, retry=ONCE))
    for _ in range(10):
        lost, kept = harness.speak("1. "), harness.speak("2. ")
        assert kept.generation is None
        harness.refuse(harness.wires[-1])
        harness.audio(lost)
        harness.done(lost)
        finish(harness, kept)
        harness.advance(1.0)
    assert breaker(harness).closed


def test_it_can_be_turned_off() -> None:
    harness = Harness(QUIET, settings(min_idle=0, retry={**ONCE, "breaker_failures": None}))
    for _ in range(50):
        speech = harness.ask()
        harness.refuse(harness.wires[-1])
        assert isinstance(speech.error, ConnectError)
        harness.advance(3.0)
    assert breaker(harness).failures == 50


# --- for how long ---------------------------------------------------------------------------------


def test_each_time_it_is_open_for_twice_as_long_up_to_a_minute() -> None:
    """2 s, 4, 8, 16, 32, 60, 60: to the instant, with dice that fall in the middle."""
    harness = down()
    opened_at = harness.now
    for seconds in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        assert breaker(harness).until == opened_at + seconds
        harness.until(opened_at + seconds - 0.001)
        dials = len(harness.wires)
        assert refused(harness.ask()).retry_after == pytest.approx(0.001)
        assert len(harness.wires) == dials
        harness.until(opened_at + seconds)
        probe = harness.ask()
        assert len(harness.wires) == dials + 1 and probe.state is SpeechState.WAITING
        harness.refuse(harness.wires[-1])
        opened_at = harness.now
        assert probe.state is SpeechState.FAILED


@pytest.mark.parametrize("openings", range(4))
def test_a_fifth_of_that_is_left_to_chance(openings: int) -> None:
    """Those who gave up together do not come back together."""
    found = []
    for seed in range(300):
        harness = Harness(QUIET, settings(min_idle=0, retry=ONCE), seed=seed)
        harness.ask()
        one = breaker(harness)
        one._openings, one.failures = openings, 4
        harness.refuse(harness.wires[0])
        found.append(one.until - harness.now)
    middle = 2.0**openings * 2
    assert 0.8 * middle <= min(found) < 0.82 * middle
    assert 1.18 * middle < max(found) <= 1.2 * middle


def test_after_a_success_the_times_begin_anew() -> None:
    """An outage in the evening does not pay for that of the morning."""
    harness = down()
    harness.until(breaker(harness).until)
    harness.ask()
    harness.refuse(harness.wires[-1])
    assert breaker(harness).until == pytest.approx(harness.now + 4.0)
    harness.until(breaker(harness).until)
    probe = harness.ask()
    harness.up()
    harness.audio(probe)
    harness.done(probe)
    breaker(harness).failures = 4
    lost = harness.ask()
    harness.drop(harness.on(lost))
    assert breaker(harness).until == pytest.approx(harness.now + 2.0)


def test_its_times_are_settings() -> None:
    harness = down({"breaker_base": 1.0, "breaker_cap": 3.0})
    opened_at = harness.now
    for seconds in (1.0, 2.0, 3.0, 3.0):
        assert breaker(harness).until == pytest.approx(opened_at + seconds)
        harness.until(breaker(harness).until)
        harness.ask()
        harness.refuse(harness.wires[-1])
        opened_at = harness.now


def test_any_number_of_openings_can_be_reckoned_with() -> None:
    """A provider may be down for days."""
    harness = Harness(config=settings(min_idle=0, retry=ONCE))
    harness.ask()
    one = breaker(harness)
    one._openings, one.failures = 10**6, 4
    harness.refuse(harness.wires[0])
    assert 48.0 <= one.until <= 72.0


# --- while it is open -----------------------------------------------------------------------------


def test_speeches_fail_in_the_step_in_which_they_come() -> None:
    """With or without text: nothing is dialled, and the error says when to come back."""
    harness = down()
    dials = len(harness.wires)
    harness.advance(0.5)
    for speech in (harness.ask(), harness.speak()):
        error = refused(speech)
        assert error.retry_after == pytest.approx(1.5)
        assert error.provider == "toy" and error.phase == "acquire" and error.retryable
        assert str(error) == "toy: the provider failed 5 times in a row; it is tried again in 1.5 s"
    assert len(harness.wires) == dials
    stats = harness.mux.stats()
    assert (stats.refused, stats.waiting, stats.timeouts) == (2, 0, 0)


def test_who_waits_when_it_opens_is_told_at_once() -> None:
    """A speech that rests before its next try, and one of another voice."""
    retry = {"attempts": 3, "base": 1.0, "cap": 1.0, "breaker_failures": 5}
    harness = opened(QUIET, settings(min_idle=0, max_size=1, retry=retry))
    rests, other = harness.speak("1. "), harness.speak("2. ", line="other")
    breaker(harness).failures = 4
    harness.say(harness.on(rests), f"error {harness.id(rests)} connection no")
    assert isinstance(refused(rests).__cause__, GenerationError)
    assert isinstance(refused(other).__cause__, GenerationError)


def test_no_spares_are_dialled() -> None:
    """Until the time is over; then one is, which is the probe, and no more of them."""
    harness = Harness(QUIET, settings(min_idle=3, retry=ONCE))
    break_down(harness)
    dials = len(harness.wires)
    due = breaker(harness).until
    harness.until(due - 0.001)
    assert len(harness.wires) == dials
    harness.until(due)
    assert len(harness.wires) == dials + 1
    assert breaker(harness).probe is harness.wires[-1]
    harness.up()
    harness.advance(60.0)
    assert len(harness.wires) == dials + 1, "a handshake proves nothing"
    speech = harness.speak("Hello. ")
    assert harness.on(speech) is harness.wires[-1]
    harness.audio(speech)
    assert breaker(harness).closed
    assert len(harness.wires) == dials + 4


def test_the_next_route_is_taken_at_once() -> None:
    """Nobody waits for a dial of the first one."""
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in ("a", "b")]
    harness = Harness(routes=routes, config=settings(min_idle=0, retry=ONCE))
    break_down(harness)
    harness.up()
    for conn in harness.wires:
        for gen in conn.live:
            harness.say(conn, f"audio {gen.id} x", f"end {gen.id}")
    dials, before = len(harness.wires), harness.mux.stats().refused
    speech = harness.ask()
    assert speech.plan.number == 1 and speech.generation is not None
    assert len(harness.wires) == dials
    assert harness.events("speech.rerouted")[-1].fields["error"] == "CircuitOpen"
    assert harness.mux.stats().refused == before + 1


def test_connections_that_serve_go_on_serving_when_dials_fail() -> None:
    """The provider allows no more of them, perhaps: nobody who can be served is turned away."""
    retry = {"attempts": 9, "breaker_failures": 5}
    harness = opened(QUIET, settings(min_idle=0, max_size=4, retry=retry))
    busy, waits = harness.speak("1. ", end=False), harness.speak("2. ")
    harness.audio(busy)
    while breaker(harness).closed:
        for conn in [conn for conn in harness.wires if conn.coming]:
            harness.refuse(conn)
        harness.advance(0.1)
    elsewhere = harness.ask(line="other")
    refused(elsewhere)
    assert waits.state is SpeechState.WAITING
    third = harness.ask("3. ")
    assert third.state is SpeechState.WAITING
    harness.end(busy)
    harness.done(busy)
    assert waits.generation is not None
    finish(harness, waits)
    finish(harness, third)


def test_an_idle_connection_serves_though_its_spare_cannot_be_had() -> None:
    harness = opened(QUIET, settings(min_idle=0, max_size=4, retry={"breaker_failures": 5}))
    one = breaker(harness)
    one.failures = 4
    prewarm = harness.prewarm(2)
    harness.refuse(harness.wires[1])
    assert one.state is BreakerState.OPEN and not prewarm.done
    speech = harness.ask()
    assert harness.on(speech) is harness.wires[0]
    assert one.state is BreakerState.OPEN
    harness.audio(speech)
    assert one.closed
    assert harness.events("circuit.closed")


def test_no_connection_is_sound_when_what_was_spoken_failed_as_well() -> None:
    """Each would cost a caller the first-audio deadline to find out."""
    harness = opened(QUIET, settings(min_idle=0, max_size=4, retry=ONCE), n=3)
    breaker(harness).failures = 4
    speech = harness.ask()
    harness.advance(1.0)
    for conn in harness.wires:
        if conn.idle:
            harness.alive(conn)  # their wires are sound
    harness.advance(4.0)
    assert isinstance(speech.error, FirstAudioTimeout)
    assert harness.mux.stats().seats_free == 2
    refused(harness.ask())


def test_a_speech_that_goes_on_keeps_its_connection() -> None:
    """Between two sentences: it is a generation there that speaks well."""
    harness = opened(traits(ping=None, input=Input.WHOLE), settings(min_idle=0, retry=ONCE), n=2)
    speech, other = harness.ask("One. Two. "), harness.ask("Three. ")
    breaker(harness).failures = 4
    harness.drop(harness.on(other))
    assert breaker(harness).state is BreakerState.OPEN
    conn = harness.on(speech)
    harness.say(conn, f"audio {harness.id(speech)} xx")
    assert breaker(harness).closed
    breaker(harness).state = BreakerState.OPEN
    breaker(harness).until = harness.now + 9.0
    harness.done(speech)
    assert speech.generation is not None and harness.on(speech) is conn


def test_a_dial_that_was_under_way_is_waited_for() -> None:
    """It began before anybody knew; what becomes of it decides."""
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    first = harness.ask()
    other = harness.ask(line="other")
    third = harness.ask(line="third")
    harness.advance(0.1)
    breaker(harness).failures = 4
    harness.refuse(harness.wires[0])
    assert first.state is SpeechState.FAILED and breaker(harness).state is BreakerState.OPEN
    assert other.state is third.state is SpeechState.WAITING
    harness.refuse(harness.wires[1])
    assert other.state is SpeechState.FAILED
    harness.up()
    harness.audio(third)
    assert breaker(harness).closed


# --- the probe ------------------------------------------------------------------------------------


def half_open(**more: object) -> tuple[Harness, Speech]:
    """Return a client that tries again after an outage, and the speech that is the probe."""
    harness = down(**more)  # type: ignore[arg-type]
    harness.until(breaker(harness).until)
    speech = harness.ask("Probe. ")
    assert breaker(harness).state is BreakerState.HALF_OPEN
    return harness, speech


def test_one_speech_finds_out_for_all() -> None:
    """Others wait for what comes of it, whatever their voices, and then are dialled for."""
    harness, probe = half_open()
    dials = len(harness.wires)
    others = [harness.ask(f"{n}. ", line=f"v{n}") for n in range(3)]
    same = harness.ask("Same. ")
    harness.up()
    assert len(harness.wires) == dials and same.state is SpeechState.WAITING
    harness.audio(probe)
    assert breaker(harness).closed
    assert len(harness.wires) == dials + 4
    harness.up()
    assert all(speech.generation is not None for speech in (*others, same))


def test_those_who_waited_for_the_probe_are_turned_away_when_it_fails() -> None:
    harness, probe = half_open()
    others = [harness.ask("x. ", line=line) for line in ("main", "other")]
    harness.advance(0.3)
    harness.refuse(harness.wires[-1])
    assert isinstance(probe.error, ConnectError)
    # Who shared its dial has heard of that one.
    assert isinstance(others[0].error, ConnectError)
    assert refused(others[1]).retry_after == pytest.approx(4.0)


@pytest.mark.parametrize("how", ["torn", "stall", "error"])
def test_a_probe_fails_however_it_fails(how: str) -> None:
    harness, probe = half_open()
    harness.up()
    conn = harness.on(probe)
    match how:
        case "torn":
            harness.drop(conn)
        case "stall":
            harness.advance(5.0)
        case _:
            harness.say(conn, f"error {harness.id(probe)} generation busy")
    assert breaker(harness).state is BreakerState.OPEN
    assert breaker(harness).until == harness.now + 4.0


@pytest.mark.parametrize("how", ["interrupted", "401", "given up"])
def test_after_a_probe_that_tells_nothing_the_next_one_follows(how: str) -> None:
    """Its caller left, the key was refused, it was hung up: the time is over all the same."""
    harness, probe = half_open(interrupt=Interrupt.DISCARD)
    match how:
        case "interrupted":
            harness.up()
            harness.interrupt(probe)
        case "401":
            harness.refuse(harness.wires[-1], 401)
        case _:
            harness.wires[-1].hang_up(harness.now)
            harness.mux._pool.settle(harness.now)
            harness.interrupt(probe)
    assert breaker(harness).state is not BreakerState.CLOSED
    harness.advance(2.0)
    again = harness.ask()
    harness.up()
    harness.audio(again)
    assert breaker(harness).closed


def test_a_speech_on_a_connection_that_is_up_may_be_the_probe() -> None:
    """Where nothing was dialled, because generations failed: one of them, not as many as seats."""
    harness = opened(MUTING, settings(min_idle=0, retry=ONCE))
    even(harness)
    breaker(harness).failures = 4
    lost = harness.ask()
    harness.say(harness.on(lost), f"error {harness.id(lost)} generation busy")
    assert breaker(harness).state is BreakerState.OPEN
    harness.advance(1.999)
    refused(harness.ask())
    harness.advance(0.001)
    probe, second = harness.ask("1. "), harness.ask("2. ")
    assert probe.generation is not None and second.generation is None
    assert len(harness.wires) == 1
    harness.audio(probe)
    assert second.generation is not None


def test_a_probe_that_lies_idle_is_in_nobodys_way() -> None:
    """A spare found the provider shaking hands again; a speech of another voice is dialled for."""
    harness = Harness(QUIET, settings(min_idle=1, retry=ONCE))
    break_down(harness)
    harness.until(breaker(harness).until)
    harness.up()
    spare = breaker(harness).probe
    assert spare is harness.wires[-1] and spare.idle
    other = harness.ask(line="other")
    assert breaker(harness).probe is harness.wires[-1] is not spare
    harness.up()
    finish(harness, other)
    assert breaker(harness).closed


@pytest.mark.parametrize("how", ["pauses", "pauses on its last", "muted"])
def test_a_probe_that_has_nothing_to_tell_lets_the_next_one_try(how: str) -> None:
    """A source that thinks, a caller who left: nothing says when there will be news of it."""
    last = {"max_generations": 1} if how == "pauses on its last" else {}
    harness = opened(MUTING, settings(min_idle=0, retry=ONCE, **last))
    even(harness)
    breaker(harness).failures = 4
    lost = harness.ask()
    harness.drop(harness.on(lost))
    harness.until(breaker(harness).until)
    probe = harness.speak("Once ", end=False)
    harness.up()
    assert harness.on(probe) is breaker(harness).probe
    if how == "muted":
        harness.interrupt(probe)
    harness.advance(0.3)
    others = [harness.ask(f"{n}. ", line="other") for n in range(2)]
    dials = len(harness.wires)
    harness.advance(0.699)
    assert len(harness.wires) == dials and breaker(harness).state is BreakerState.HALF_OPEN
    harness.advance(0.001)
    assert len(harness.wires) == dials + 1 and breaker(harness).probe is harness.wires[-1]
    harness.up()
    assert others[1].generation is None, "one at a time"
    harness.advance(4.9)
    assert others[1].generation is None and len(harness.wires) == dials + 1, "it owes something"
    finish(harness, others[0])
    harness.up()  # where its connection served once
    assert breaker(harness).closed and others[1].generation is not None


def test_a_probe_that_is_left_when_it_owed_something_lets_the_next_one_try() -> None:
    """At once, for it had its time; a voice that waits is told, though nothing else happens."""
    harness = opened(MUTING, settings(min_idle=0, retry=ONCE))
    breaker(harness).failures = 4
    lost = harness.ask()
    harness.say(harness.on(lost), f"error {harness.id(lost)} generation busy")
    harness.until(breaker(harness).until)
    probe = harness.ask()
    other = harness.ask(line="other")
    harness.advance(3.0)
    dials = len(harness.wires)
    assert other.state is SpeechState.WAITING
    harness.interrupt(probe)
    assert len(harness.wires) == dials + 1 and breaker(harness).probe is harness.wires[-1]


def test_who_is_between_two_generations_is_not_turned_away() -> None:
    """All of it was spoken; its source may have nothing more to say. Then it is complete."""
    shape = traits(MUTING, early_end=EarlyEnd.NEXT_GENERATION)
    harness = opened(shape, settings(min_idle=0, retry=ONCE))
    speeches = [harness.speak("First. ", end=False) for _ in range(2)]
    for speech in speeches:
        harness.flush(speech)
        harness.audio(speech)
    harness.advance(1.0)
    for speech in speeches:
        harness.say(
            harness.on(speech), f"all - end {harness.id(speech)}|released {harness.id(speech)}"
        )
        assert speech.generation is None
    breaker(harness).failures = 4
    lost = harness.ask()
    harness.say(harness.on(lost), f"error {harness.id(lost)} generation busy")
    assert breaker(harness).state is BreakerState.OPEN
    refused(harness.speak())
    assert [speech.state for speech in speeches] == [SpeechState.WAITING] * 2
    done, goes_on = speeches
    harness.end(done)
    assert harness.finish(done)
    harness.write(goes_on, "Second. ")
    assert harness.hear_all(goes_on)
    refused(goes_on)


def test_nothing_is_paid_for_a_try_that_is_not_made() -> None:
    """Who fails and opens it is told at once, and is not counted as begun again."""
    harness = Harness(QUIET, settings(min_idle=0, retry={"breaker_failures": 1}))
    speech = harness.ask()
    harness.up()
    harness.say(harness.on(speech), f"error {harness.id(speech)} generation busy")
    assert isinstance(refused(speech).__cause__, GenerationError)
    stats = harness.mux.stats()
    assert (stats.retries, stats.unpaid, stats.refused) == (0, 0, 1)
    assert harness.mux._pool._budgets[0].left == 500
    assert not harness.events("speech.retried")


def test_who_opens_it_goes_to_the_next_route_for_that_reason() -> None:
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in ("a", "b")]
    harness = Harness(routes=routes, config=settings(min_idle=0, retry={"breaker_failures": 1}))
    speech = harness.ask()
    harness.up()
    harness.drop(harness.on(speech))
    assert speech.plan.number == 1
    assert harness.mux._pool._budgets[0].left == 500


def test_who_opens_it_waits_for_a_dial_that_was_under_way() -> None:
    """What becomes of that is not known yet."""
    harness = Harness(QUIET, settings(min_idle=0, retry={"breaker_failures": 1}))
    speech = harness.ask()
    harness.up()
    harness.prewarm(2)
    assert any(conn.coming for conn in harness.wires)
    harness.drop(harness.on(speech))
    assert breaker(harness).state is BreakerState.OPEN
    assert speech.state is SpeechState.WAITING and harness.mux.stats().retries == 1
    harness.up()
    harness.advance(0.1)
    finish(harness, speech)


def test_a_failure_elsewhere_does_not_speak_for_the_probe() -> None:
    """A probe that fails has failed, though something older failed while it was under way."""
    harness = opened(QUIET, settings(min_idle=0, retry=ONCE), n=2)
    even(harness)
    old = harness.ask("Old. ")
    breaker(harness).failures = 4
    lost = harness.ask("Lost. ")
    harness.drop(harness.on(lost))
    harness.until(breaker(harness).until)
    assert breaker(harness).state is BreakerState.OPEN and old.generation is not None
    probe = harness.ask("Probe. ")
    assert breaker(harness).state is BreakerState.HALF_OPEN
    harness.advance(0.1)
    harness.drop(harness.on(old))
    assert breaker(harness).state is BreakerState.HALF_OPEN
    harness.advance(0.1)
    harness.refuse(breaker(harness).probe or harness.wires[0])
    assert isinstance(probe.error, ConnectError)
    assert breaker(harness).state is BreakerState.OPEN
    assert breaker(harness).until == pytest.approx(harness.now + 4.0)


def test_what_was_begun_on_the_probes_connection_before_it_is_not_the_probe() -> None:
    """It was under way when the route was given up, and is part of that failure."""
    harness = opened(MUTING, settings(min_idle=0, retry=ONCE))
    old, lost = harness.ask("Old. "), harness.ask("Lost. ")
    breaker(harness).failures = 4
    harness.advance(0.1)
    harness.say(harness.on(lost), f"error {harness.id(lost)} generation busy")
    harness.until(breaker(harness).until)
    probe = harness.ask("Probe. ")
    assert harness.on(probe) is harness.on(old) is breaker(harness).probe
    harness.say(harness.on(old), f"error {harness.id(old)} generation busy")
    assert breaker(harness).state is BreakerState.HALF_OPEN
    harness.say(harness.on(probe), f"error {harness.id(probe)} generation busy")
    assert breaker(harness).state is BreakerState.OPEN


@pytest.mark.parametrize(("up", "trips"), [(False, True), (True, False)])
def test_a_probe_that_came_to_nothing_has_failed_since_its_dial(up: bool, trips: bool) -> None:
    """Dialled as a spare, and seated later; what spoke there before it was seated is no probe."""
    harness = opened(QUIET, settings(min_idle=0), n=2)
    spare, other = harness.wires
    one = Breaker(settings(retry={"breaker_failures": 1}).retry, random.Random(1))
    torn = ConnectionLost("torn")
    assert one.failed(other, torn, 0.0, 1.0, up=False)
    one.tries(spare, 10.0)
    assert not one.failed(other, torn, 0.5, 11.0, up=True), "it began before that was known"
    one.tries(spare, 12.0)  # it lies idle
    assert not one.failed(other, torn, 11.5, 13.0, up=True), "nor is that the probe"
    assert one.failed(spare, torn, 10.0, 14.0, up=up) is trips


def test_what_was_under_way_may_close_it_too() -> None:
    """A provider that speaks is up, whoever hears it first."""
    harness = opened(MUTING, settings(min_idle=0, retry=ONCE), n=2)
    slow, lost = harness.ask("1. "), harness.ask("2. ")
    breaker(harness).failures = 4
    harness.say(harness.on(lost), f"error {harness.id(lost)} generation busy")
    assert breaker(harness).state is BreakerState.OPEN
    harness.audio(slow)
    assert breaker(harness).closed


def test_a_failure_elsewhere_than_at_the_probe_changes_nothing() -> None:
    harness = opened(QUIET, settings(min_idle=0, retry=ONCE), n=2)
    one = breaker(harness)
    speaks = harness.ask("Long. ")
    harness.audio(speaks)
    one.failures = 4
    prewarm = harness.prewarm(3)
    harness.advance(0.1)
    for conn in [conn for conn in harness.wires if conn.coming]:
        harness.refuse(conn)
    assert one.state is BreakerState.OPEN and not prewarm.done
    harness.until(one.until)
    assert one.state is BreakerState.HALF_OPEN
    probe = one.probe
    later = harness.ask("Later. ")
    harness.drop(harness.on(later))
    assert one.state is BreakerState.HALF_OPEN and one.probe is probe


def test_the_key_of_one_route_says_nothing_of_another() -> None:
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in ("a", "b")]
    harness = Harness(routes=routes, config=settings(min_idle=0))
    harness.ask()
    harness.refuse(harness.wires[0], 404)
    assert breaker(harness) is not breaker(harness, 1)


# --- the thing itself -----------------------------------------------------------------------------


def test_random_inputs_keep_its_promises() -> None:
    """At most one probe; nothing but the probe while it is not closed; a success ends it all."""

    class Wire:
        idle = False
        owing = True

    for seed in range(200):
        rng = random.Random(seed)
        one = Breaker(settings(retry={"breaker_after": 60.0}).retry, rng)
        wires: list[Connection] = [Wire() for _ in range(3)]  # type: ignore[misc]
        now, fails, since = 0.0, 0, 0.0
        for _ in range(200):
            now += rng.choice((0.0, 0.1, 1.0, 30.0))
            conn = rng.choice(wires)
            for wire in wires:
                wire.__dict__["idle"] = rng.random() < 0.3
                wire.__dict__["owing"] = rng.random() < 0.7
            if rng.random() < 0.5 and one.dials(now, urgent=True):
                one.tries(conn, now)
                assert one.closed or one.probe is conn
            elif rng.random() < 0.7:
                was, probe = one.state, one.probe
                trips = one.failed(conn, ConnectionLost("torn"), now, now, up=rng.random() < 0.5)
                since = since if fails else now
                fails += 1
                many = fails >= 20 or (fails >= 5 and now >= since + 60.0)
                assert trips == (
                    (was is BreakerState.CLOSED and many)
                    or (was is BreakerState.HALF_OPEN and conn is probe)
                )
                assert not trips or now + 1.6 <= one.until <= now + 72.0
            elif rng.random() < 0.3:
                one.succeeded()
                fails = 0
                assert one.closed and one.probe is None and one.failures == 0
            elif one.probe is conn:
                one.withdraw()
                assert one.dials(now, urgent=False) and not one.turns_away(now)
            assert (one.probe is not None) == (one.state is BreakerState.HALF_OPEN)
            assert not (one.turns_away(now) and one.dials(now, urgent=True))


def test_the_messages_of_a_refusal_have_no_secrets() -> None:
    """The words of the cause are not in them."""
    harness = Harness(QUIET, settings(min_idle=0, retry=ONCE))
    for _ in range(5):
        speech = harness.ask()
        harness.up()
        harness.mux.lost(harness.on(speech), Closed(1011, "key=abc"), harness.now)
        harness.collect()
        harness.advance(0.3)
    assert "abc" not in str(refused(harness.ask()))
