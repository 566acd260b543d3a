"""SM's messages, frame by frame, as docs.withsm.ai has them."""

import struct
from urllib.parse import parse_qsl, urlsplit

import attrs
import pytest

from tests.adapters.wire import begin, close, decode, facts, failure, finish, parsed, wire
from ttsmux.adapter import (
    Adapter,
    Audio,
    DialFailure,
    Failed,
    Input,
    Note,
    OutputEnd,
    Ready,
    Scope,
    Signal,
    Wire,
)
from ttsmux.adapters.sm import SM, SMRest
from ttsmux.errors import (
    AtCapacity,
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    ConnectionLost,
    ConnectTimeout,
    Error,
    GenerationError,
    HandshakeError,
    InvalidFormat,
    InvalidText,
    InvalidVoice,
    NotFoundError,
    RateLimitError,
    RemoteProtocolError,
    WrongType,
)
from ttsmux.settings import Interrupt

sm = SM()
KEY = "sk-0123456789"
DONE = {"type": "synthesis_complete"}


def make(**options: object) -> SM:
    return SM(**options)  # type: ignore[arg-type]


def shake(adapter: Adapter, secret: str | None = KEY) -> tuple[str, dict[str, str], list[object]]:
    found = adapter.handshake(adapter.options(), secret)
    assert found.subprotocols == ()
    return found.url, dict(found.headers), list[object](parsed(found.first_frames))


# --- transcripts ----------------------------------------------------------------------------------


def test_two_requests_on_one_connection() -> None:
    """The conversation of the page: one message each, bare audio, the event that ends it."""
    other, on = SM(voice="Yara_en"), wire(sm)
    assert shake(sm) == ("wss://api.withsm.ai/v1/tts/stream", {"X-API-Key": KEY}, [])
    for adapter, text, voice in (
        (sm, "مرحباً بكم.", "Yara"),
        (other, "How may I help you?", "Yara_en"),
    ):
        gen = begin(adapter)
        frames = parsed(adapter.open(gen), adapter.text(gen, text), finish(adapter, gen))
        assert frames == [{"text": text, "voice": voice}]
        pieces = [bytes(4096), bytes(4096), bytes(1830)]
        signals = [*(s for piece in pieces for s in sm.decode_binary(piece, on))]
        assert signals == [Audio(piece) for piece in pieces]
        assert decode(sm, DONE, on=on) == [OutputEnd()]
    assert sm.pool_key(sm.options()) == other.pool_key(other.options()), "the voice may change"


def test_the_request_of_the_page() -> None:
    """Text and voice, and nothing that the page does not show."""
    (frame,) = sm.text(begin(sm), "أهلاً بك، كيف أستطيع مساعدتك؟")
    assert frame == '{"text":"أهلاً بك، كيف أستطيع مساعدتك؟","voice":"Yara"}'


def test_the_key_in_the_first_message() -> None:
    """Sent at once, and not waited for: whether it is answered is not said."""
    adapter = SM(auth="first-message")
    assert shake(adapter) == ("wss://api.withsm.ai/v1/tts/stream", {}, [{"x-api-key": KEY}])
    assert not adapter.tuned().greeting
    assert decode(adapter, {"type": "authenticated"}) == [Note("unknown")]


def test_a_server_on_premise() -> None:
    """Plain text, a port, another path, no key; and as many connections as one likes."""
    adapter = SM(deployment="on-premise", host="tts.lan")
    assert shake(adapter) == ("ws://tts.lan:9999/v1/audio/stream", {}, [])
    assert not adapter.tuned().key_required and adapter.tuned().connections is None
    assert adapter.tuned().requests_per_minute is None
    assert shake(SM(deployment="on-premise"))[0] == "ws://localhost:9999/v1/audio/stream"
    assert shake(SM(deployment="on-premise", host="a:8000"))[0] == "ws://a:8000/v1/audio/stream"


def test_an_error_event() -> None:
    """It costs the request; the connection takes no other one, for its fate is not told."""
    (signal,) = decode(
        sm,
        {"type": "error", "error": "invalid_voice", "detail": "Voice 'Foo' is not available"},
    )
    verdict = sm.verdict(failure(signal), busy=True)
    assert verdict.scope is Scope.TAINT
    assert facts(verdict.error) == (InvalidVoice, False, "Voice 'Foo' is not available")


def test_traits() -> None:
    """Whole texts, one at a time; nothing tells late audio apart, so interrupting discards."""
    traits = sm.tuned()
    assert traits.input is Input.WHOLE and traits.seats == traits.slots == 1 and not traits.ids
    assert traits.policies == (Interrupt.DISCARD,) and traits.interrupt is Interrupt.DISCARD
    assert not traits.markup, "there is none, so < is a character"
    assert traits.reusable and not traits.greeting and traits.ends_released
    assert sm.traits.connections == 5
    assert traits.connections == 4, "a discarded one may be counted a moment longer"
    assert traits.requests_per_minute == 60
    assert traits.key_required
    assert SM(deployment="on-premise", auth="header-bearer").tuned().key_required


def test_limits_of_the_connection() -> None:
    """A connection that lies idle for two minutes, or is 55 minutes old, is replaced."""
    traits = sm.tuned()
    assert (traits.max_idle, traits.max_age, traits.ping) == (120.0, 3300.0, 20.0)
    assert SM(ping_interval=0).tuned().ping is None


def test_what_sm_does_not_have_sends_nothing() -> None:
    """No opening, flush, end, cancel, keepalive, goodbye."""
    for adapter in (sm, sm.rest()):
        gen = begin(adapter)
        nothing = [adapter.open(gen), adapter.flush(gen), adapter.end(gen), adapter.release(gen)]
        nothing += [adapter.interrupt(gen), adapter.keepalive(gen), adapter.keepalive(None)]
        nothing += [adapter.shutdown()]
        assert [list(frames) for frames in nothing] == [[]] * 8


# --- the handshake --------------------------------------------------------------------------------

CLOUD = "wss://api.withsm.ai/v1/tts/stream"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"auth": "header-api-key"}, (CLOUD, {"X-API-Key": KEY}, [])),
        ({"auth": "header-bearer"}, (CLOUD, {"Authorization": f"Bearer {KEY}"}, [])),
        ({"auth": "query-api-key"}, (f"{CLOUD}?api_key={KEY}", {}, [])),
        ({"auth": "query-token"}, (f"{CLOUD}?token={KEY}", {}, [])),
        ({"auth": "first-message"}, (CLOUD, {}, [{"x-api-key": KEY}])),
        ({"auth": "none"}, (CLOUD, {}, [])),
        ({"key_name": "X-Key"}, (CLOUD, {"X-Key": KEY}, [])),
        ({"auth": "header-bearer", "key_name": "X-A"}, (CLOUD, {"X-A": f"Bearer {KEY}"}, [])),
        ({"auth": "query-token", "key_name": "t"}, (f"{CLOUD}?t={KEY}", {}, [])),
        ({"auth": "first-message", "key_name": "api_key"}, (CLOUD, {}, [{"api_key": KEY}])),
        (
            {"host": "api-tts.withsm.ai"},
            ("wss://api-tts.withsm.ai/v1/tts/stream", {"X-API-Key": KEY}, []),
        ),
        ({"path": "/v2/speak"}, ("wss://api.withsm.ai/v2/speak", {"X-API-Key": KEY}, [])),
    ],
)
def test_authentication(options: dict[str, object], wanted: object) -> None:
    """One way at a time; names that are not sure can be changed."""
    assert shake(make(**options)) == wanted


@pytest.mark.parametrize(
    "auth", ["header-api-key", "header-bearer", "query-token", "first-message"]
)
def test_without_a_key_nothing_is_sent(auth: str) -> None:
    """An empty one would be a wrong one."""
    for secret in (None, ""):
        assert shake(make(auth=auth), secret) == (CLOUD, {}, [])


def test_a_key_cannot_break_out_of_the_query() -> None:
    """It is the only thing in it."""
    url = urlsplit(shake(SM(auth="query-api-key"), "a&b=c#d e")[0])
    assert parse_qsl(url.query) == [("api_key", "a&b=c#d e")] and not url.fragment


def test_connections_are_told_apart_by_what_is_frozen_with_them() -> None:
    """Where, with which key, in which format; not by the voice."""
    keys = {
        make(**options).pool_key(make(**options).options())
        for options in (
            {}, {"format": "pcm_16000"}, {"host": "x"}, {"path": "/x"}, {"auth": "none"},
            {"deployment": "on-premise"}, {"key_name": "x"}, {"ready_event": "ready"},
        )
    }  # fmt: skip
    assert len(keys) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deployment": "moon"}, "deployment is one of cloud, on-premise"),
        ({"auth": "magic"}, "auth is one of none, header-api-key"),
        ({"rest_format": "mp3"}, "rest_format is one of wav, pcm"),
        ({"max_text": 0}, "max_text is between 1 and 10000, not 0"),
        ({"max_text": 10_001}, "max_text is between 1 and 10000"),
        ({"connections": -1}, "connections is between 1"),
        ({"host": "a/b"}, "host cannot be 'a/b'"),
        ({"host": "a@b"}, "host cannot be"),
        ({"path": "v1"}, "path cannot be 'v1'"),
        ({"path": "/v1?x=1"}, "path cannot be"),
        ({"rest_path": "/a b"}, "rest_path cannot be"),
        ({"key_name": "a\r\nb"}, "key_name cannot be 'a b'"),
        ({"speed": 0.49}, "speed is between 0.5 and 2, not 0.49"),
        ({"speed": 2.1}, "speed is between 0.5 and 2, not 2.1"),
        ({"model": "x"}, "there is no model to choose: the voice has one"),
        ({"language": "ar"}, "there is no language to choose: the voice has one"),
        ({"language": ""}, "there is no language to choose"),
        ({"extra": "[1]"}, "extra takes fields"),
        ({"extra": "{"}, "extra takes fields"),
        ({"extra": 7}, "extra takes fields"),
        ({"extra": {"a": object()}}, "extra takes fields"),
        ({"extra": {1: 2}}, "extra takes fields"),
        ({"connections": 0}, "connections is between 1"),
        ({"redial_after": -1}, "redial_after is between 0 and 3600"),
        ({"text_field": ""}, "text_field cannot be ''"),
        ({"speed_field": ""}, "speed_field cannot be ''"),
        ({"end_event": ""}, "end_event is at least one name"),
        ({"end_event": [""]}, "end_event is at least one name"),
        ({"end_event": " , "}, "end_event is at least one name"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], words: str) -> None:
    """They are refused before anything is dialled, in words."""
    with pytest.raises(ConfigError, match=words):
        make(**options)


@pytest.mark.parametrize(
    "options",
    [{"speed": "1"}, {"max_text": "9"}, {"text_field": 7}, {"reuse_after_error": 1}, {"host": 1},
     {"max_text": 9.5}, {"connections": 1.5}, {"end_event": [7]}],
)  # fmt: skip
def test_options_of_another_type(options: dict[str, object]) -> None:
    """Each says what it takes."""
    with pytest.raises(TypeError, match="takes"):
        make(**options)


@pytest.mark.parametrize("name", ["end_event", "error_event", "ready_event"])
@pytest.mark.parametrize("value", [5, True, False, [None], b"done"])
def test_names_of_events_of_another_type(name: str, value: object) -> None:
    """The option is named, whatever it was given."""
    with pytest.raises(WrongType, match=f"{name} takes a str"):
        make(**{name: value})


# --- messages to the server -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        ({"voice": "Nouf"}, {"voice": "Nouf"}),
        ({"speed": 0.5}, {"speed": 0.5}),
        ({"speed": 2}, {"speed": 2}),
        ({"format": "pcm_22050"}, {}),
        ({"format": "pcm_16000"}, {"format": "pcm", "sample_rate": 16000}),
        ({"format": "pcm_16000", "rate_field": "rate"}, {"format": "pcm", "rate": 16000}),
        ({"format": "pcm_16000", "format_field": "codec"}, {"codec": "pcm", "sample_rate": 16000}),
        ({"format": "pcm_24000", "format_field": "", "rate_field": ""}, {}),
        (
            {"format": "pcm_16000", "format_value": "s16le"},
            {"format": "s16le", "sample_rate": 16000},
        ),
        ({"speed": 2, "speed_field": "rate"}, {"rate": 2}),
        ({"extra": {"seed": 7, "nested": {"a": [1]}}}, {"seed": 7, "nested": {"a": [1]}}),
        ({"extra": '{"seed": 7}'}, {"seed": 7}),
        ({"extra": ""}, {}),
        ({"extra": {"voice": "mine"}}, {"voice": "mine"}),
    ],
)
def test_requests(options: dict[str, object], fields: dict[str, object]) -> None:
    """What is set is sent; the format only if it is not what comes anyway."""
    adapter = make(**options)
    assert parsed(adapter.text(begin(adapter), "Hi.")) == [
        {"text": "Hi.", "voice": "Yara"} | fields
    ]


def test_text_is_sent_as_it_is() -> None:
    """Spaces at the ends, quotes, tags and every script."""
    piece = ' <b>"Zürich"</b> \\ 日本 😀 مُحَمَّد '
    assert parsed(sm.text(begin(sm), piece)) == [{"text": piece, "voice": "Yara"}]
    for name in ("input", "options", "self"):
        other = SM(text_field=name)
        assert parsed(other.text(begin(other), piece)) == [{name: piece, "voice": "Yara"}]


def test_formats() -> None:
    """PCM of every usual rate, 22,050 Hz unless another is asked for."""
    assert sm.options().format.name == "pcm_22050"
    with pytest.raises(InvalidFormat):
        SM(format="mulaw_8000").options()


# --- messages from the server ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "signals"),
    [
        (DONE, [OutputEnd()]),
        ({"type": "synthesis_complete", "duration": 1.5, "id": {"a": 1}}, [OutputEnd()]),
        ({"type": "synthesis_complete", "error": None}, [OutputEnd()]),
        ({"type": "synthesis_complete", "error": "late"}, [OutputEnd()]),
        ({"type": "synthesis_started"}, [Note("unknown")]),
        ({"type": "progress", "seconds": 1}, [Note("unknown")]),
        ({"type": None}, [Note("unknown")]),
        ({"type": ["synthesis_complete"]}, [Note("unknown")]),
        ({"error": None}, [Note("unknown")]),
        ({}, [Note("unknown")]),
        ('{"type":"synthesis_complete","n":' + "9" * 5000 + "}", [OutputEnd()]),
        ('{"type":1e999}', [Note("unknown")]),
        ('{"type":"synthesis_complete","error":1e999}', [OutputEnd()]),
        ('{"error":1e999}', [Note("unknown")]),
        ('{"type":"\\ud800"}', [Note("not a JSON object")]),
        ('{"type":"garb', [Note("not a JSON object")]),
        ("", [Note("not a JSON object")]),
        ("[]", [Note("not a JSON object")]),
        ("7", [Note("not a JSON object")]),
        (b'{"\xff":1}', [Note("not a JSON object")]),
    ],
)
def test_messages(message: object, signals: list[Signal]) -> None:
    """One event ends; the others, and what is no event at all, change nothing."""
    assert decode(sm, message) == signals


def test_names_of_events_can_be_changed() -> None:
    """Of servers that follow the same pattern."""
    other = SM(type_field="event", end_event="done", error_event="fail", ready_event="hello")
    assert other.tuned().greeting
    assert decode(other, {"event": "hello"}, {"event": "done"}) == [Ready(), OutputEnd()]
    assert decode(other, DONE) == [Note("unknown")]
    (signal,) = decode(other, {"event": "fail", "detail": "no"})
    assert failure(signal).error.message == "no"


def test_several_names_of_events() -> None:
    """As a list, or as a command line has them; spaces around them are none of theirs."""
    for ends, errors in (
        (["done", "over"], ("fail", "error")),
        ("done,over", "fail,error"),
        (" done , over, ", [" fail", "", "error "]),
    ):
        other = make(end_event=ends, error_event=errors, ready_event="hello,authenticated")
        ended = decode(other, {"type": "done"}, {"type": "over"})
        assert ended == [OutputEnd(), OutputEnd()]
        for kind in ("fail", "error"):
            assert failure(decode(other, {"type": kind})[0]).error.retryable
        assert decode(other, {"type": "hello"}, {"type": "authenticated"}) == [Ready(), Ready()]
        assert decode(other, DONE, {}) == [Note("unknown"), Note("unknown")]


def test_names_in_an_error_can_be_changed() -> None:
    """Of its name, its words and its second code; what REST answers has those of its page."""
    other = SM(error_field="name", detail_field="why", code_field="number")
    (signal,) = decode(other, {"name": "invalid_voice", "why": "no Foo"})
    assert facts(failure(signal).error) == (InvalidVoice, False, "no Foo")
    (signal,) = decode(other, {"name": "http_error", "why": "busy", "number": "HTTP_503"})
    assert facts(failure(signal).error) == (GenerationError, True, "busy")
    (signal,) = decode(other, {"name": {"number": "text_too_long", "message": "long"}})
    assert facts(failure(signal).error) == (InvalidText, False, "long")
    assert decode(other, {"error": "invalid_voice"}) == [Note("unknown")]
    answer = DialFailure(status=400, body='{"error":"invalid_voice","detail":"no Foo"}')
    assert type(other.verdict(answer, busy=False).error) is InvalidVoice


def test_binary_messages_are_audio() -> None:
    """Of any length, in order, whatever is in them."""
    for data in (b"", b"\0", b'{"type":"synthesis_complete"}', bytes(4096)):
        assert list(sm.decode_binary(data, wire(sm))) == [Audio(data)]


@pytest.mark.parametrize(
    ("message", "kind", "retryable", "words"),
    [
        (
            {"type": "error", "error": "invalid_voice", "detail": "no Foo"},
            InvalidVoice,
            False,
            "no Foo",
        ),
        ({"error": "invalid_voice", "detail": "no Foo"}, InvalidVoice, False, "no Foo"),
        ({"error": {"code": "text_too_long", "message": "long"}}, InvalidText, False, "long"),
        (
            {"error": "unauthorized", "detail": "Invalid API key"},
            AuthError,
            False,
            "Invalid API key",
        ),
        ({"error": "rate_limit_exceeded", "detail": "slow"}, RateLimitError, True, "slow"),
        (
            {"error": "rate_limit_exceeded", "detail": "Too many concurrent connections"},
            ConcurrencyLimitError,
            True,
            "Too many concurrent connections",
        ),
        (
            {"error": "http_error", "detail": "bad", "code": "HTTP_400"},
            GenerationError,
            False,
            "bad",
        ),
        ({"error": "http_error", "detail": "no", "code": "HTTP_404"}, GenerationError, False, "no"),
        ({"error": "http_error", "detail": "b", "code": "HTTP_429"}, GenerationError, True, "b"),
        ({"error": "http_error", "detail": "q", "code": "HTTP_503"}, GenerationError, True, "q"),
        ({"error": "http_error", "detail": "q"}, GenerationError, False, "q"),
        ({"error": "validation_error", "detail": "s", "errors": []}, GenerationError, False, "s"),
        ({"error": "invalid_request", "detail": "e"}, GenerationError, False, "e"),
        (
            {"error": "internal_error", "detail": "i", "code": "INTERNAL_ERROR"},
            GenerationError,
            True,
            "i",
        ),
        ({"type": "error", "message": "busy"}, GenerationError, True, "busy"),
        ({"type": "error", "error": "out of breath"}, GenerationError, True, "out of breath"),
        (
            {"type": "error", "error": {"code": 7}},
            GenerationError,
            True,
            "the server reported an error",
        ),
        (
            {"type": "error", "detail": "\u202e\n"},
            GenerationError,
            True,
            "the server reported an error",
        ),
        ({"type": "error"}, GenerationError, True, "the server reported an error"),
        ({"error": False}, GenerationError, True, "the server reported an error"),
    ],
)
def test_errors(message: object, kind: type[Error], retryable: bool, words: str) -> None:
    """In either form, with or without a type; what is wrong for good is not tried again."""
    (signal,) = decode(sm, message)
    assert facts(failure(signal).error) == (kind, retryable, words)


def test_how_far_an_error_reaches() -> None:
    """Its request; a bad key, or an error out of nowhere, the connection."""
    failed = Failed(GenerationError("no"))
    assert sm.verdict(failed, busy=True).scope is Scope.TAINT
    assert sm.verdict(failed, busy=False).scope is Scope.CONNECTION
    assert sm.verdict(Failed(AuthError("no")), busy=True).scope is Scope.CONNECTION
    reusing = SM(reuse_after_error=True)
    assert reusing.verdict(failed, busy=True).scope is Scope.GENERATION
    assert reusing.verdict(failed, busy=False).scope is Scope.CONNECTION


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (1000, "", ConnectionLost, True),
        (1001, "", ConnectionLost, True),
        (1011, "", ConnectionLost, True),
        (1013, "", AtCapacity, True),
        (1009, "", ConnectionLost, False),
        (None, "", ConnectionLost, True),
        (1008, "", AuthError, False),
        (1008, "unauthorized", AuthError, False),
        (4401, "", AuthError, False),
        (1008, "too many concurrent connections", ConcurrencyLimitError, True),
        (1008, "connection limit reached", ConcurrencyLimitError, True),
        (1008, "too many concurrent requests", ConcurrencyLimitError, True),
        (1008, "limit reached", ConcurrencyLimitError, True),
        (1008, "rate limit exceeded: 60 requests per minute", RateLimitError, True),
        (1008, "Rate limit exceeded, closing the connection", RateLimitError, True),
        (1008, "Too many requests", RateLimitError, True),
        (1008, "Input text too long: limit is 10000", InvalidText, False),
        (1008, "text is too long", InvalidText, False),
        (1008, "limit of 10000 characters", InvalidText, False),
        (1008, "invalid characters in key", AuthError, False),
        (1008, "nothing was said for too long", AuthError, False),
    ],
)
@pytest.mark.parametrize("busy", [True, False])
def test_closes(
    code: int | None, reason: str, kind: type[Error], retryable: bool, busy: bool
) -> None:
    """A policy violation is the key's, unless the words say that it is a limit, and of what."""
    for adapter in (sm, SM(auth="first-message")):
        error = close(adapter, code, reason, busy=busy).error
        assert (type(error), error.retryable) == (kind, retryable)
        assert error.retry_after == (0.35 if kind is ConcurrencyLimitError else None)


def test_a_close_where_there_is_no_key() -> None:
    """Nothing to blame it on."""
    adapter = SM(deployment="on-premise")
    assert type(close(adapter, 1008, "no").error) is ConnectionLost
    assert type(close(adapter, 1008, "limit").error) is ConcurrencyLimitError


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable", "words"),
    [
        (
            401,
            '{"error":"unauthorized","detail":"Invalid API key"}',
            AuthError,
            False,
            "Invalid API key",
        ),
        (
            400,
            '{"error":"http_error","detail":"Input text too long","code":"HTTP_400"}',
            ConfigError,
            False,
            "Input text too long",
        ),
        (
            400,
            '{"error":{"code":"invalid_voice","message":"no Foo"}}',
            InvalidVoice,
            False,
            "no Foo",
        ),
        (400, '{"error":{"code":"text_too_long","message":"long"}}', InvalidText, False, "long"),
        (403, '{"error":"unauthorized","detail":"no"}', AuthError, False, "no"),
        (
            404,
            '{"error":"http_error","detail":"gone","code":"HTTP_404"}',
            NotFoundError,
            False,
            "gone",
        ),
        (
            422,
            '{"error":"validation_error","detail":"speed","errors":[{}]}',
            ConfigError,
            False,
            "speed",
        ),
        (
            429,
            '{"error":"rate_limit_exceeded","detail":"60 requests a minute"}',
            RateLimitError,
            True,
            "60 requests a minute",
        ),
        (503, '{"error":"rate_limit_exceeded","detail":"slow"}', RateLimitError, True, "slow"),
        (
            500,
            '{"error":"internal_error","detail":"i","code":"INTERNAL_ERROR"}',
            HandshakeError,
            True,
            "i",
        ),
        (503, "", HandshakeError, True, "HTTP 503"),
        (504, "<html>queue</html>", HandshakeError, True, "queue"),
        (503, "[1]", HandshakeError, True, "[1]"),
    ],
)
def test_refusals(status: int, body: str, kind: type[Error], retryable: bool, words: str) -> None:
    """Of an upgrade or a request, in both forms of body."""
    failed = DialFailure(status=status, body=body, headers={"retry-after": "60"})
    for adapter in (sm, sm.rest()):
        verdict = adapter.verdict(failed, busy=False)
        assert verdict.scope is Scope.CONNECTION
        assert (type(verdict.error), verdict.error.retryable) == (kind, retryable)
        assert words in verdict.error.message
        if kind is RateLimitError:
            assert verdict.error.retry_after == 60.0


@pytest.mark.parametrize(
    "body",
    [
        '{"error":"rate_limit_exceeded","detail":"Too many concurrent connections"}',
        '{"error":"rate_limit_exceeded","detail":"Too many concurrent requests"}',
        '{"error":{"code":"rate_limit_exceeded","message":"connection limit reached"}}',
        "5 connections per key",
    ],
)
def test_one_connection_too_many(body: str) -> None:
    """Another one is about to be gone: the minute that requests are counted for is too long."""
    failed = DialFailure(status=429, body=body, headers={"retry-after": "60"})
    for adapter in (sm, sm.rest()):
        error = adapter.verdict(failed, busy=False).error
        assert (type(error), error.retryable) == (ConcurrencyLimitError, True)
        assert (error.retry_after, error.phase) == (0.35, "dial")
        for seconds in (0, 7, 61, 120, 3600):
            said = attrs.evolve(failed, headers={"retry-after": str(seconds)})
            assert adapter.verdict(said, busy=False).error.retry_after == seconds, "that is meant"
    unsaid = attrs.evolve(failed, headers={})
    assert sm.verdict(unsaid, busy=False).error.retry_after == 0.35
    patient = SM(redial_after=None)
    assert patient.verdict(failed, busy=False).error.retry_after == 60.0
    assert SM(redial_after=0).verdict(failed, busy=False).error.retry_after == 0


@pytest.mark.parametrize(
    "body",
    [
        "",
        '{"error":"rate_limit_exceeded","detail":"Slow down"}',
        "Too Many Requests",
        '{"detail":"too many requests"}',
        "<html><title>429 Too Many Requests</title><h1>Too Many Requests</h1></html>",
    ],
)
def test_a_429_that_says_nothing(body: str) -> None:
    """At an upgrade there are connections to count; over REST there are requests."""
    failed = DialFailure(status=429, body=body, headers={"retry-after": "60"})
    error = sm.verdict(failed, busy=False).error
    assert (type(error), error.retry_after) == (ConcurrencyLimitError, 0.35)
    error = sm.rest().verdict(failed, busy=False).error
    assert (type(error), error.retry_after) == (RateLimitError, 60.0)


@pytest.mark.parametrize(
    "body",
    [
        "Too many requests: 60 a minute",
        "Too Many Requests (token budget): 50000 tokens",
        '{"error":"rate_limit_exceeded","detail":"60 requests a minute"}',
    ],
)
def test_a_429_that_speaks_of_requests(body: str) -> None:
    """Beside the phrase that every 429 has; then the minute is meant."""
    failed = DialFailure(status=429, body=body, headers={"retry-after": "60"})
    for adapter in (sm, sm.rest()):
        error = adapter.verdict(failed, busy=False).error
        assert (type(error), error.retry_after) == (RateLimitError, 60.0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("invalid_voice", InvalidVoice), ("unauthorized", AuthError), ("text_too_long", InvalidText)],
)
def test_a_429_with_a_code_of_its_own(code: str, kind: type[Error]) -> None:
    """That is what it is about, whatever the words and the status say."""
    body = f'{{"error":{{"code":"{code}","message":"no, on none of your connections"}}}}'
    failed = DialFailure(status=429, body=body, headers={"retry-after": "60"})
    for adapter in (sm, sm.rest()):
        error = adapter.verdict(failed, busy=False).error
        assert (type(error), error.retryable) == (kind, False)


def test_a_dial_without_an_answer() -> None:
    """What the shell found out."""
    found = sm.verdict(DialFailure(error=ConnectTimeout("late")), busy=False)
    assert type(found.error) is ConnectTimeout


# --- REST -----------------------------------------------------------------------------------------

rest = sm.rest()


def answer(content_type: str, *pieces: bytes, format: str = "pcm_22050") -> list[Signal]:
    adapter = SMRest(format=format)
    on = Wire(adapter.options())
    on.headers = {"content-type": content_type}
    return [signal for piece in pieces for signal in adapter.decode_binary(piece, on)]


def wav(rate: int = 22050, size: int = 0xFFFFFFFF) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", size)


def test_the_request_over_rest() -> None:
    """Another URL, and `input` where the socket says `text`; the format is always said."""
    json = {"Content-Type": "application/json"}
    url = "https://api.withsm.ai/v1/tts/audio/speech"
    assert shake(rest) == (url, json | {"X-API-Key": KEY}, [])
    frames = parsed(rest.text(begin(rest), "شكراً لاتصالك."))
    assert frames == [{"input": "شكراً لاتصالك.", "response_format": "wav", "voice": "Yara"}]
    other = SM(
        voice="Nouf", speed=1.0, rest_format="pcm", format="pcm_16000", speed_field="x"
    ).rest()
    assert parsed(other.text(begin(other), "Hi.")) == [
        {
            "input": "Hi.",
            "response_format": "pcm",
            "voice": "Nouf",
            "sample_rate": 16000,
            "speed": 1.0,
        }
    ]


def test_rest_keeps_the_options() -> None:
    """Those of the socket, and what it has of its own."""
    adapter = SM(deployment="on-premise", host="tts.lan", extra={"a": 1}, max_text=99, voice="Nouf")
    assert attrs.asdict(adapter.rest()) == attrs.asdict(adapter)
    assert shake(adapter.rest())[0] == "http://tts.lan:9999/v1/audio/speech"
    assert shake(SM(rest_path="/tts").rest())[0] == "https://api.withsm.ai/tts"
    assert adapter.rest().tuned().max_text == 99
    assert rest.rest() is None and rest.name == "sm"


@pytest.mark.parametrize(
    ("auth", "url", "headers"),
    [
        ("header-bearer", "", {"Authorization": f"Bearer {KEY}"}),
        ("query-token", f"?token={KEY}", {}),
        ("first-message", "", {"X-API-Key": KEY}),
        ("none", "", {}),
    ],
)
def test_authentication_over_rest(auth: str, url: str, headers: dict[str, str]) -> None:
    """As on the socket; where that uses a message, a header."""
    found = shake(make(auth=auth).rest())
    assert found[0] == "https://api.withsm.ai/v1/tts/audio/speech" + url
    assert found[1] == {"Content-Type": "application/json"} | headers and found[2] == []


def test_traits_over_rest() -> None:
    """One request a connection, which ends with it."""
    traits = rest.tuned()
    assert not traits.reusable and traits.seats == traits.slots == 1 and not traits.ids
    assert traits.input is Input.WHOLE and traits.ping is None
    assert traits.policies == (Interrupt.DISCARD,)
    assert (traits.connections, traits.key_required) == (4, True)
    assert rest.pool_key(rest.options()) == rest.pool_key(SM().rest().options())
    elsewhere = SM(rest_path="/v2/speech").rest()
    assert elsewhere.pool_key(elsewhere.options()) != rest.pool_key(rest.options())


@pytest.mark.parametrize("size", range(1, 60, 7))
def test_wav(size: int) -> None:
    """However it is cut, the header goes and the samples come; the body's own end is the end."""
    body = wav() + bytes(range(100))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    signals = answer("audio/wav", *pieces, b"")
    heard = [signal for signal in signals if isinstance(signal, Audio)]
    assert b"".join(signal.data for signal in heard) == bytes(range(100))
    assert signals[-1] == OutputEnd() and len(signals) == len(heard) + 1


def test_pcm() -> None:
    """As it is, by its type."""
    assert answer("audio/pcm", b"\0\1", b"\2", b"") == [Audio(b"\0\1"), Audio(b"\2"), OutputEnd()]


@pytest.mark.parametrize(
    ("content_type", "pieces"),
    [
        ("audio/mpeg", (b"ID3",)),
        ("application/json", (b'{"error":"internal_error"}',)),
        ("", (b"\0\1",)),
        ("audio/wav", (wav()[:20], b"")),
        ("audio/wav", (wav(24000), b"\0\1")),
    ],
)
def test_an_answer_that_was_not_asked_for(content_type: str, pieces: tuple[bytes, ...]) -> None:
    """Compressed, no audio, cut short, or at another rate: never taken for samples."""
    with pytest.raises(RemoteProtocolError):
        answer(content_type, *pieces)


def test_text_is_nothing_over_rest() -> None:
    """A body is bytes."""
    assert decode(rest, {"type": "synthesis_complete"}) == [Note("text")]
