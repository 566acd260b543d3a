"""From one route to the next: the same voice over HTTP, and other providers."""

from __future__ import annotations

import attrs
import pytest

from tests.core.helpers import LEAN, SECOND, SEQUENTIAL, Harness, Toy, settings, traits
from tests.core.test_requests import REQUEST, Body, answer
from ttsmux.adapter import Closed, DialFailure, Failed, Scope, Traits, Verdict
from ttsmux.audio import AudioChunk
from ttsmux.core.connection import Connection
from ttsmux.core.route import Route
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import SpeechState
from ttsmux.core.ways import may_help_over_http
from ttsmux.errors import (
    AuthError,
    CircuitOpen,
    ConfigError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
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
from ttsmux.settings import Settings


@attrs.frozen(kw_only=True)
class Sockets(Toy):
    """The toy with an HTTP surface, which takes no voice of the name *shy*."""

    def rest(self) -> Body | None:
        match self.voice:
            case "shy":
                raise ConfigError("not over HTTP")
            case "odd":
                raise ZeroDivisionError
            case "mute":
                return None
            case "rude":
                return Body(shape=REQUEST, format="mulaw_8000")
        return Body(shape=REQUEST, voice=self.voice, format=self.format, line=self.line)


TRIES = {"attempts": 3}
THRICE = settings(min_idle=0, retry=TRIES)
RESUME = settings(min_idle=0, retry={**TRIES, "on_partial": "resume"})
RESTART = settings(min_idle=0, retry={**TRIES, "on_partial": "restart"})


def harness(
    *, other: bool = False, config: Settings = THRICE, shape: Traits = SEQUENTIAL
) -> Harness:
    """Return a client with the voice over sockets, another provider if wanted, and it over HTTP."""
    own = Sockets(shape=shape)
    routes = [Route(adapter=own)]
    if other:
        routes.append(Route(adapter=Toy(line="other")))
    routes.append(Route(adapter=Body(shape=REQUEST), fallback_for=0))
    return Harness(config=config, routes=routes)


def gone(harness: Harness, status: int | None = None, times: int = 3) -> None:
    """Refuse so many dials."""
    for _ in range(times):
        harness.refuse(harness.wires[-1], status)
        harness.advance(0.5)


def served(harness: Harness, speech: Speech) -> Connection:
    """Return the connection that it is on at last, which is dialled if need be."""
    harness.advance(0.1)
    harness.up()
    return harness.on(speech)


# --- when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("x"),
        ConnectionLost("x"),
        ConnectTimeout("x"),
        DNSError("x"),
        FirstAudioTimeout("x"),
        HandshakeError("x", status=426, retryable=False),
        RemoteProtocolError("x"),
        StallTimeout("x"),
        TruncatedAudio("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_of_sockets_may_not_be_of_requests(error: Error) -> None:
    assert may_help_over_http(error)


@pytest.mark.parametrize(
    ("cause", "helps"),
    [
        (ConnectError("x"), True),
        (HandshakeError("x", status=503, retryable=True), True),
        (GenerationError("x", retryable=True), False),
        (RateLimitError("x"), False),
        (None, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_of_a_route_that_is_left_alone_it_counts_why(cause: Error | None, helps: bool) -> None:
    """Each speech hears of it by an error of its own, which keeps the reason."""
    error = CircuitOpen("x")
    error.__cause__ = cause
    assert may_help_over_http(error) == may_help_over_http(error.copy()) == helps


@pytest.mark.parametrize("how", ["the model", "the socket"])
def test_a_model_that_fails_is_not_asked_over_http_instead(how: str) -> None:
    """Nor later, when nothing is tried any more; sockets that fail are another matter."""
    h = harness(config=settings(min_idle=0, retry={"attempts": 1, "breaker_failures": 2}))
    for _ in range(2):
        speech = h.speak("Hello.")
        h.up()
        if how == "the model":
            h.say(h.on(speech), f"error {h.id(speech)} generation the model crashed")
        else:
            h.drop(h.on(speech))
        h.advance(0.5)
    speech = h.ask()
    assert speech.plan.number == (0 if how == "the model" else 1)
    assert isinstance(speech.error, CircuitOpen) == (how == "the model")


@pytest.mark.parametrize(
    "error",
    [
        AuthError("x"),
        ConfigError("x"),
        ConnectError("x", retryable=False),
        ConnectionLost("x", code=1008, retryable=False),
        EmptyAudio("x"),
        GenerationError("x"),
        NotFoundError("x"),
        PoolTimeout("x"),
        ProxyError("x"),
        QuotaError("x"),
        RateLimitError("x"),
        TLSError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_be_met_again_is_not_tried_again(error: Error) -> None:
    assert not may_help_over_http(error)


def test_dials_that_fail_lead_to_http() -> None:
    """After as many as are tried; the whole text is said there."""
    h = harness()
    speech = h.speak("Hello. Bye.")
    gone(h)
    conn = served(h, speech)
    assert conn.plan.number == 1
    assert h.words(conn)[:2] == ["open", "text Hello."]
    answer(h, conn, b"ab", b"")
    answer(h, served(h, speech), b"cd", b"")
    assert h.finish(speech) == b"abcd"
    metrics = speech.metrics()
    assert (metrics.route, metrics.resumed) == ("Body", 0)
    assert [e.fields["error"] for e in h.events("speech.rerouted")] == ["ConnectError"]


@pytest.mark.parametrize("what", ["dials", "generations"])
@pytest.mark.parametrize(("ways", "tries"), [(1, 10), (2, 3)])
def test_with_another_way_to_go_fewer_tries_are_enough(what: str, ways: int, tries: int) -> None:
    """Who has nowhere to go takes all of them."""
    routes = [Route(adapter=Toy(line=line)) for line in "ab"[:ways]]
    h = Harness(config=settings(min_idle=0, acquire_timeout=60.0), routes=routes)
    speech = h.speak("Hello.")
    while speech.error is None and speech.plan.number == 0:
        for conn in [conn for conn in h.wires if conn.coming]:
            (h.refuse if what == "dials" else h.up)(conn)
        if speech.generation is not None:
            h.say(h.on(speech), f"error {h.id(speech)} generation busy")
        h.advance(0.1)
    assert speech.metrics().attempts == tries
    assert h.mux.stats().retries == tries - 1


def test_a_way_that_does_not_help_now_may_help_later() -> None:
    """Too many requests are the same over HTTP; a refusal after them is not."""
    h = harness(config=LEAN)
    speech = h.speak("Hello.")
    gone(h, 429, times=4)
    assert speech.plan.number == 0
    gone(h, times=1)
    assert speech.plan.number == 1


def test_who_speaks_over_sockets_is_in_the_metrics() -> None:
    h = harness()
    assert h.spoken().metrics().route == "Sockets"
    assert len(h.wires) == 1


@pytest.mark.parametrize("status", [405, 426, 501])
def test_a_refusal_of_the_upgrade_leads_there_at_once(status: int) -> None:
    """A proxy that knows no WebSockets will not learn it."""
    h = harness()
    speech = h.speak("Hello.")
    gone(h, status, times=1)
    assert served(h, speech).plan.number == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ConfigError), (401, AuthError), (402, QuotaError), (404, NotFoundError)],
)
def test_what_is_wrong_with_the_request_is_raised(status: int, kind: type[Error]) -> None:
    """It would be as wrong over HTTP."""
    h = harness()
    speech = h.speak("Hello.")
    gone(h, status, times=1)
    with pytest.raises(kind):
        h.read(speech)
    assert len(h.wires) == 1


def test_too_many_requests_are_not_made_more() -> None:
    h = harness()
    speech = h.speak("Hello.")
    gone(h, 429)
    with pytest.raises(RateLimitError):
        h.read(speech)


def test_connections_that_are_lost_before_any_audio_lead_there() -> None:
    """After as many attempts as there are."""
    h = harness()
    speech = h.speak("Hello.")
    for _ in range(3):
        h.up()
        h.say(h.on(speech), "ack -")
        h.drop(h.on(speech))
        h.advance(0.5)
    answer(h, served(h, speech), b"ab", b"")
    assert h.finish(speech) == b"ab"


def test_dials_that_time_out_lead_there_before_the_wait_for_a_seat_is_over() -> None:
    """Two of them take all the time that a speech waits; there is no time for a third."""
    h = harness()
    speech = h.speak("Hello.")
    for _ in range(4):
        h.advance(3.0)
        h.hung_up()
    assert speech.plan.number == 1
    answer(h, served(h, speech), b"ab", b"")
    assert h.finish(speech) == b"ab"
    assert h.mux.stats().timeouts == 0


def test_a_wait_for_a_seat_that_is_busy_does_not_lead_there() -> None:
    """The sockets work, there are too few of them."""
    h = harness(config=settings(min_idle=0, max_size=1))
    h.speak("Hello.")
    h.up()
    h.say(h.wires[0], "ack -")
    h.audio(h.mux._pool.speeches.__iter__().__next__(), bytes(60 * SECOND))
    speech = h.speak("Bye.")
    h.advance(10.1)
    with pytest.raises(PoolTimeout):
        h.read(speech)


def test_a_speech_without_text_yet_waits_there() -> None:
    """And says it all when it comes."""
    h = harness()
    speech = h.speak()
    gone(h)
    assert (speech.plan.number, speech.state) == (1, SpeechState.WAITING)
    h.write(speech, "Hello. ")
    h.end(speech)
    answer(h, served(h, speech), b"ab", b"")
    assert h.finish(speech) == b"ab"


def test_spares_are_not_kept_there() -> None:
    """A request serves once, and is got ready for nothing."""
    h = harness(config=settings(min_idle=2))
    speech = h.speak("Hello.")
    while speech.plan.number == 0:
        gone(h, times=1)
        for conn in h.wires:
            if conn.coming and conn.plan.number == 0:
                h.refuse(conn)
    answer(h, served(h, speech), b"ab", b"")
    h.finish(speech)
    h.hung_up()
    h.advance(1.0)
    assert sum(conn.plan.number == 1 for conn in h.wires) == 1


def test_each_speech_begins_with_sockets() -> None:
    """They may work again."""
    h = harness()
    speech = h.speak("Hello.")
    gone(h)
    answer(h, served(h, speech), b"ab", b"")
    h.finish(speech)
    h.advance(5.0)
    assert h.spoken().metrics().route == "Sockets"


def test_if_http_fails_too_its_error_is_raised() -> None:
    h = harness()
    speech = h.speak("Hello.")
    gone(h)
    conn = served(h, speech)
    h.drop(conn)
    for _ in range(2):
        h.drop(served(h, speech))
    with pytest.raises(ConnectionLost):
        h.read(speech)


# --- other providers ------------------------------------------------------------------------------


def test_another_provider_comes_before_http() -> None:
    """It is what the user asked for."""
    h = harness(other=True)
    speech = h.speak("Hello.")
    gone(h)
    assert speech.plan.number == 1
    gone(h)
    assert speech.plan.number == 2


def test_http_helps_after_another_provider_if_it_may() -> None:
    """What was wrong with the other one's key is nothing to this one."""
    h = harness(other=True)
    speech = h.speak("Hello.")
    gone(h)
    gone(h, 401, times=1)
    assert speech.plan.number == 2
    h = harness(other=True)
    speech = h.speak("Hello.")
    gone(h, 401, times=1)
    gone(h)
    with pytest.raises(ConnectError):
        h.read(speech)


def test_each_of_several_that_stand_in_is_looked_at() -> None:
    """The first of them takes no such voice, the second one is of a provider that was not told."""
    routes = [
        Route(adapter=Sockets()),
        Route(adapter=Sockets(line="other")),
        Route(adapter=Body(shape=REQUEST), fallback_for=0),
        Route(adapter=Body(shape=REQUEST, line="other"), fallback_for=1),
    ]
    h = Harness(config=THRICE, routes=routes)
    speech = h.speak("Hello.", voice="shy")
    gone(h)
    gone(h)
    assert served(h, speech).plan.number == 3


def test_a_stand_in_for_a_route_that_was_not_tried_is_not_taken() -> None:
    """After a break, its own voice goes on, or none."""
    routes = [Route(adapter=Toy()), Route(adapter=Body(shape=REQUEST), fallback_for=7)]
    h = Harness(config=THRICE, routes=routes)
    speech = h.speak("Hello.")
    gone(h)
    with pytest.raises(ConnectError):
        h.read(speech)


# --- what was said to one speech ------------------------------------------------------------------


def test_what_was_said_to_one_speech_holds_over_http_too() -> None:
    """It is the same voice."""
    h = harness()
    speech = h.speak("Hello.", voice="anna")
    gone(h)
    assert served(h, speech).plan.options.voice == "anna"


@pytest.mark.parametrize("voice", ["shy", "odd", "mute", "rude"])
def test_if_it_cannot_be_said_over_http_there_is_no_such_way(voice: str) -> None:
    """Not with another voice, nor in another format."""
    h = harness()
    speech = h.speak("Hello.", voice=voice)
    gone(h)
    with pytest.raises(ConnectError):
        h.read(speech)


def test_a_provider_that_does_not_speak_the_format_of_one_speech_is_passed_over() -> None:
    """The caller has asked for this one."""
    h = harness(other=True)
    speech = h.speak("Hello.", format="mulaw_8000")
    gone(h)
    assert (speech.plan.number, speech.plan.options.format.name) == (2, "mulaw_8000")


# --- after the first audio ------------------------------------------------------------------------


def broken(h: Harness) -> Speech:
    """Break off a speech that was heard; its marks say up to where."""
    speech = h.speak("One two three")
    h.up()
    id = h.id(speech)
    for n, word in enumerate(("One", "two", "three")):
        h.say(h.on(speech), f"mark {id} {word} {n / 2} {n / 2 + 0.5}")
    h.audio(speech, bytes(SECOND))
    assert isinstance(h.read(speech), AudioChunk)
    h.drop(h.on(speech))
    return speech


def test_a_speech_that_was_heard_goes_on_over_http() -> None:
    """From where it broke off, in the same voice, told once."""
    h = harness(config=RESUME)
    speech = broken(h)
    h.advance(0.5)
    gone(h, times=2)
    conn = served(h, speech)
    assert (conn.plan.number, h.words(conn)[1]) == (1, "text three")
    answer(h, conn, b"ab", b"")
    chunk = h.read(speech)
    assert isinstance(chunk, AudioChunk) and chunk.resumed is not None
    assert (chunk.start, chunk.resumed.at, chunk.resumed.approximate) == (1.0, 8, False)
    assert h.read(speech) is END
    assert speech.metrics().resumed == 1


def test_an_estimate_is_one_over_http_too() -> None:
    """Although nothing of the try in between was heard, at whose beginning it goes on."""
    h = harness(config=RESUME)
    speech = h.speak("One two three")
    h.up()
    h.audio(speech, bytes(SECOND))
    assert h.hear(speech)
    for _ in range(3):
        h.drop(h.on(speech))
        h.advance(0.5)
        h.up()
    conn = served(h, speech)
    assert (conn.plan.number, h.words(conn)[1]) == (1, "text three")
    answer(h, conn, b"ab", b"")
    chunk = h.read(speech)
    assert isinstance(chunk, AudioChunk) and chunk.resumed is not None
    assert (chunk.resumed.at, chunk.resumed.approximate) == (8, True)


def test_sentences_that_were_heard_are_not_said_again_over_http() -> None:
    """The next one goes on there."""
    h = harness(config=RESUME, shape=traits(SEQUENTIAL, input=REQUEST.input))
    speech = h.speak("One. Two.")
    h.up()
    h.audio(speech)
    h.done(speech)
    assert h.hear(speech)
    h.drop(h.on(speech))
    h.advance(0.5)
    gone(h, times=2)
    conn = served(h, speech)
    assert (conn.plan.number, h.words(conn)[1]) == (1, "text Two.")
    answer(h, conn, b"ab", b"")
    chunk = h.read(speech)
    assert isinstance(chunk, AudioChunk) and chunk.resumed is not None
    assert (chunk.resumed.at, chunk.resumed.approximate) == (5, False)


def test_dials_that_fail_between_two_sentences_lead_to_http() -> None:
    """Nothing broke off there; what was heard is heard."""
    shape = traits(SEQUENTIAL, input=REQUEST.input, reusable=False)
    h = harness(config=RESUME, shape=shape)
    speech = h.speak("One. Two.")
    h.up()
    h.audio(speech)
    h.done(speech)
    assert h.hear(speech)
    h.hung_up()
    gone(h)
    conn = served(h, speech)
    assert (conn.plan.number, h.words(conn)[1]) == (1, "text Two.")


def test_nobody_hears_two_voices_in_one_speech() -> None:
    """Another provider does not go on with it; the same one over HTTP does."""
    h = harness(other=True, config=RESUME)
    speech = broken(h)
    h.advance(0.5)
    gone(h, times=2)
    assert speech.plan.number == 2


def test_nor_the_voice_over_http_of_a_provider_that_was_left_before() -> None:
    """The one that was heard has no such surface."""
    h = harness(other=True, config=RESUME)
    speech = h.speak("Hello.")
    gone(h)
    conn = served(h, speech)
    assert conn.plan.number == 1
    h.audio(speech)
    assert h.hear(speech)
    h.drop(conn)
    h.advance(0.5)
    gone(h, times=2)
    with pytest.raises(ConnectError):
        h.read(speech)
    assert speech.plan.number == 1


def test_by_default_a_speech_that_was_heard_fails() -> None:
    h = harness()
    speech = broken(h)
    with pytest.raises(ConnectionLost):
        h.read(speech)
    assert len(h.wires) == 1


def test_another_voice_may_begin_again() -> None:
    """What was handed out before is thrown away."""
    h = harness(other=True, config=RESTART)
    speech = h.speak("One two three")
    h.mux.collect(speech)
    h.up()
    h.audio(speech)
    assert h.hear(speech)
    h.drop(h.on(speech))
    h.advance(0.5)
    gone(h, times=2)
    assert speech.plan.number == 1
    conn = served(h, speech)
    assert h.words(conn)[1] == "text One two three"
    h.audio(speech, b"ab")
    chunk = h.read(speech)
    assert isinstance(chunk, AudioChunk) and chunk.resumed is not None and chunk.start == 0.0


@pytest.mark.parametrize("unread", [b"", b"BBBB"])
def test_what_was_heard_is_thrown_away_once_more_routes_are_tried(unread: bytes) -> None:
    """Told with the first audio that stays, though there was some before it that nobody read."""
    h = harness(other=True, config=RESTART)
    speech = h.speak("One two three")
    h.mux.collect(speech)
    h.up()
    h.audio(speech, b"AAAA")
    assert h.hear(speech)
    h.drop(h.on(speech))
    h.advance(0.5)
    h.up()
    if unread:
        h.audio(speech, unread)
    h.say(h.on(speech), f"error {h.id(speech)} generation boom!")
    assert speech.plan.number == 1
    h.advance(0.5)
    h.up()
    h.audio(speech, b"CCCC")
    chunk = h.read(speech)
    assert isinstance(chunk, AudioChunk) and chunk.data == b"CCCC"
    assert chunk.resumed is not None
    assert (chunk.start, chunk.resumed.at, chunk.resumed.gap) == (0.0, 0, 1.0)
    assert speech.metrics().resumed == 1
    h.audio(speech, b"DDDD")
    chunk = h.read(speech)
    assert isinstance(chunk, AudioChunk) and chunk.resumed is None


def test_what_was_played_is_known_on_the_next_route() -> None:
    """Nothing of what was handed out: so it may begin again there."""
    h = harness(other=True, config=RESTART)
    speech = h.speak("One two three")
    h.mux.played(speech, 0.0, h.now)
    gone(h)
    assert served(h, speech).plan.number == 1
    h.audio(speech)
    assert h.hear(speech)
    h.drop(h.on(speech))
    assert speech.state is SpeechState.WAITING
    assert h.interrupt(speech).heard_seconds == 0.0


# --- a provider that asks to be left alone --------------------------------------------------------


@attrs.frozen(kw_only=True)
class Busy(Toy):
    """Fails what it is asked, and says after how many seconds it may be asked again."""

    after: float = 30.0

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        return Verdict(Scope.GENERATION, RateLimitError("slow down", retry_after=self.after))


def throttled(
    after: float, *, routes: int = 1, total: float | None = None
) -> tuple[Harness, Speech]:
    others = [Route(adapter=Toy(line="other"))] * (routes - 1)
    h = Harness(config=THRICE, routes=[Route(adapter=Busy(after=after)), *others])
    speech = h.speak("Hello. ", total=total)
    h.up()
    h.say(h.on(speech), f"error {h.id(speech)} generation no")
    return h, speech


def test_who_cannot_wait_for_so_long_hears_so_at_once() -> None:
    """And not after ten seconds that no seat was free; nor was anything paid for."""
    h, speech = throttled(30.0)
    with pytest.raises(RateLimitError, match="slow down") as caught:
        h.read(speech)
    assert caught.value.retry_after == 30.0
    assert h.mux._pool._budgets[0].left == 500


def test_who_cannot_wait_for_so_long_goes_to_the_next_route_at_once() -> None:
    h, speech = throttled(30.0, routes=2)
    assert speech.plan.number == 1 and len(h.wires) == 2
    h.up()
    h.audio(speech)
    h.done(speech)
    assert h.finish(speech)


def test_a_speech_that_must_be_done_before_does_not_wait() -> None:
    """The other one, which has the time, does."""
    _, speech = throttled(5.0, total=4.0)
    assert isinstance(speech.error, RateLimitError)
    h, speech = throttled(5.0, total=6.0)
    assert speech.state is SpeechState.WAITING
    h.advance(4.999)
    assert speech.generation is None
    h.advance(0.001)
    assert speech.generation is not None
