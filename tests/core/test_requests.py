"""A connection that is one HTTP request: what its answer, or the lack of one, comes to."""

import attrs
import pytest

from tests.core.helpers import LEAN, SEQUENTIAL, Harness, Toy, opened, settings, traits
from ttsmux.adapter import Closed, DialFailure, Input, OutputEnd, Signal, Wire
from ttsmux.core.connection import Connection
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.core.states import ConnectionState
from ttsmux.errors import (
    AuthError,
    CircuitOpen,
    ConfigError,
    ConnectError,
    Error,
    HandshakeError,
    RateLimitError,
    TruncatedAudio,
)
from ttsmux.settings import Interrupt

REQUEST = traits(
    SEQUENTIAL,
    reusable=False,
    ping=None,
    input=Input.WHOLE,
    interrupt=Interrupt.DISCARD,
    policies=(Interrupt.DISCARD,),
)


@attrs.frozen(kw_only=True)
class Body(Toy):
    """The toy over HTTP: bytes are audio if the answer says so, and the empty piece is the end."""

    def decode_binary(self, data: bytes, wire: Wire) -> tuple[Signal, ...]:
        if not data:
            return (OutputEnd(),)
        assert wire.headers == {"content-type": "audio/toy"}
        return tuple(self.decode(b"audio - " + data, wire))


def requests(config: object = LEAN, **route: object) -> Harness:
    routes = [Route(adapter=Body(shape=REQUEST), **route)]  # type: ignore[arg-type]
    return Harness(REQUEST, config, routes=routes)  # type: ignore[arg-type]


def answer(harness: Harness, conn: Connection, *pieces: bytes) -> None:
    harness.mux.answered(conn, {"content-type": "audio/toy"}, harness.now)
    harness.collect()
    harness.say(conn, *pieces, text=False)


def refuse(harness: Harness, conn: Connection, status: int | None, **headers: str) -> None:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    error = ConnectError("nobody listens") if status is None else None
    harness.mux.lost(conn, DialFailure(status=status, headers=names, error=error), harness.now)
    harness.collect()


def sent(harness: Harness, text: str = "Hello.") -> tuple[Speech, Connection]:
    """Return a speech whose request is under way, and that."""
    speech = harness.speak(text)
    harness.up()
    return speech, harness.on(speech)


def pass_time(harness: Harness, seconds: float) -> None:
    """Let time go by; who dials is answered at once, as there is nothing to dial."""
    until = harness.now + seconds
    while harness.now < until:
        harness.advance(0.1)
        harness.up()


def error_of(speech: Speech) -> Error:
    assert isinstance(speech.error, Error)
    return speech.error


def test_an_answer_becomes_audio_and_the_end_of_its_body_the_end() -> None:
    """The connection has served and is hung up; what comes of that is no news."""
    harness = requests()
    speech, conn = sent(harness)
    answer(harness, conn, b"\1\2", b"\3\4", b"")
    assert conn.state is ConnectionState.CLOSING
    assert harness.finish(speech) == b"\1\2\3\4"
    harness.drop(conn, 1000)
    assert conn.state is ConnectionState.CLOSED
    assert not harness.events("connection.closed")


def test_sentences_are_requests_one_after_the_other() -> None:
    """Each on a connection of its own, the next dialled when the one before is done."""
    harness = requests()
    speech = harness.speak("One. Two.")
    for number in range(2):
        harness.up()
        conn = harness.wires[number]
        assert harness.on(speech) is conn and not conn.leasable
        answer(harness, conn, b"\1\2", b"")
    assert len(harness.finish(speech)) == 4
    assert len(harness.wires) == 2


def test_a_speech_that_waits_for_text_has_the_next_request_ready() -> None:
    harness = requests()
    speech = harness.speak()
    harness.write(speech, "One. ")
    harness.up()
    answer(harness, harness.on(speech), b"\1\2", b"")
    assert speech.generation is None
    assert harness.wires[1].state is ConnectionState.DIALLING
    assert harness.wires[0].lessee is None


def test_no_spares_are_dialled_for_what_serves_once() -> None:
    harness = requests(settings())
    speech, conn = sent(harness)
    answer(harness, conn, b"\1\2", b"")
    harness.finish(speech)
    harness.hung_up()
    assert len(harness.wires) == 1


def test_an_interruption_gives_the_request_up() -> None:
    harness = requests()
    speech, conn = sent(harness)
    answer(harness, conn, b"\1\2")
    harness.interrupt(speech)
    assert conn.state is ConnectionState.CLOSING
    harness.say(conn, b"\5\6", b"", text=False)
    harness.drop(conn)
    assert harness.finish(speech) == b""


def test_a_body_without_its_end_is_truncated() -> None:
    """Whatever the transport says of the connection."""
    harness = requests(settings(min_idle=0, retry=None))
    speech, conn = sent(harness)
    answer(harness, conn, b"\1\2")
    assert harness.hear(speech) == b"\1\2"
    harness.mux.lost(conn, Closed(1000), harness.now)
    harness.collect()
    assert type(error_of(speech)) is TruncatedAudio


@pytest.mark.parametrize("status", [None, 429, 503])
def test_a_refusal_that_may_pass_is_tried_again(status: int | None) -> None:
    """After the wait of the lane; nobody notices but by the time."""
    harness = requests()
    speech, conn = sent(harness)
    refuse(harness, conn, status)
    assert conn.state is ConnectionState.CLOSED
    assert speech.error is None
    pass_time(harness, 5.0)
    answer(harness, harness.on(speech), b"\1\2", b"")
    assert harness.finish(speech) == b"\1\2"
    assert len(harness.wires) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(status: int) -> None:
    """By this speech, and by the next ones: the provider said so to all."""
    harness = requests()
    first, conn = sent(harness)
    refuse(harness, conn, status, retry_after="3")
    second = harness.speak("Other.")
    pass_time(harness, 2.8)
    assert len(harness.wires) == 1
    pass_time(harness, 1.0)
    assert first.generation is not None and second.generation is not None


def test_what_was_never_sent_counts_for_nothing() -> None:
    """No connection came about: no text left, and no provider was waited for."""
    harness = requests(settings(min_idle=0, retry={"attempts": 3}))
    speech, conn = sent(harness)
    assert speech.metrics().characters == 6
    harness.advance(0.25)
    refuse(harness, conn, None)
    assert (speech.metrics().characters, speech.metrics().characters_wasted) == (0, 0)
    pass_time(harness, 1.0)
    assert speech.metrics().characters == 6
    refuse(harness, harness.on(speech), None)
    pass_time(harness, 1.0)
    refuse(harness, harness.on(speech), None)
    assert speech.error is not None
    metrics = speech.metrics()
    assert (metrics.characters, metrics.characters_wasted, metrics.attempts) == (0, 0, 3)
    told = speech.explain(harness.now)
    assert "\nretries  " in told and "\nprovider  " not in told


def test_what_was_sent_and_not_answered_counts() -> None:
    """The provider may have read it."""
    harness = requests(settings(min_idle=0, retry={"attempts": 1}))
    speech, conn = sent(harness)
    harness.advance(0.25)
    fault = DialFailure(error=ConnectError("no answer"), sent=True)
    harness.mux.lost(conn, fault, harness.now)
    harness.collect()
    assert (speech.metrics().characters, speech.metrics().characters_wasted) == (6, 6)
    told = speech.explain(harness.now)
    assert "\nprovider  " in told and "\nretries  " not in told


def test_a_sentence_that_was_not_sent_takes_nothing_from_those_before_it() -> None:
    harness = requests()
    speech = harness.speak("One. Two.")
    harness.up()
    answer(harness, harness.on(speech), b"\1\2", b"")
    harness.up()
    refuse(harness, harness.on(speech), None)
    assert 0 < speech.metrics().characters < len("One. Two.")
    pass_time(harness, 2.0)
    answer(harness, harness.on(speech), b"\1\2", b"")
    harness.finish(speech)
    metrics = speech.metrics()
    assert (metrics.characters, metrics.characters_wasted) == (len("One. Two."), 0)


def test_attempts_are_counted() -> None:
    """What stays refused fails the speech, with the provider's own error."""
    harness = requests(settings(min_idle=0, retry={"attempts": 2}))
    speech, conn = sent(harness)
    refuse(harness, conn, 429)
    pass_time(harness, 5.0)
    refuse(harness, harness.on(speech), 429)
    error = error_of(speech)
    assert type(error) is RateLimitError
    assert error.attempt == 2


def test_a_request_under_way_is_nothing_that_others_could_wait_for() -> None:
    """It will never have a seat: who is refused beside it hears so at once, as if it were alone."""
    harness = requests(settings(min_idle=0, retry={"breaker_failures": 1, "breaker_base": 60.0}))
    long, conn = sent(harness, "Long.")
    answer(harness, conn, b"\1\2")
    other, refused = sent(harness, "Other.")
    refuse(harness, refused, 503)
    assert isinstance(other.error, CircuitOpen)
    third = harness.ask("Third.")
    assert isinstance(third.error, CircuitOpen)
    assert not long.over


@pytest.mark.parametrize(("status", "kind"), [(400, ConfigError), (302, HandshakeError)])
def test_a_request_that_is_wrong_is_nobody_elses_business(status: int, kind: type[Error]) -> None:
    """It fails its speech at once; the next one is dialled without a wait."""
    harness = requests()
    speech, conn = sent(harness)
    refuse(harness, conn, status)
    assert type(error_of(speech)) is kind
    assert harness.mux.stats().dials_failed == 0
    other, _ = sent(harness)
    assert other.generation is not None


def test_a_key_that_is_old_is_fetched_anew_once() -> None:
    """At once and for nothing; a second refusal is an answer."""
    harness = requests(refreshable=True)
    speech, conn = sent(harness)
    refuse(harness, conn, 401)
    assert len(harness.dials()) == 2
    harness.up()
    refuse(harness, harness.on(speech), 401)
    assert type(error_of(speech)) is AuthError


def test_a_refreshed_key_that_works_may_be_refreshed_again() -> None:
    harness = requests(refreshable=True)
    for _ in range(2):
        speech, conn = sent(harness)
        refuse(harness, conn, 401)
        harness.up()
        answer(harness, harness.on(speech), b"\1\2", b"")
        harness.finish(speech)
        harness.hung_up()
    assert len(harness.dials()) == 4


def test_a_key_that_cannot_be_fetched_anew() -> None:
    harness = requests()
    speech, conn = sent(harness)
    refuse(harness, conn, 403)
    assert type(error_of(speech)) is AuthError
    assert len(harness.wires) == 1


def test_a_refusal_of_a_request_that_nobody_waits_for() -> None:
    """It was given up; its answer is no news."""
    harness = requests()
    speech, conn = sent(harness)
    harness.interrupt(speech)
    refuse(harness, conn, 500)
    assert harness.mux.stats().dials_failed == 0


def test_an_answer_counts_as_a_sign_of_life() -> None:
    """On any connection: who answers is there."""
    harness = opened(SEQUENTIAL)
    conn = harness.wires[0]
    harness.advance(15.0)
    harness.mux.answered(conn, {}, harness.now)
    harness.collect()
    harness.advance(15.0)
    assert "PING" not in harness.words(conn)
