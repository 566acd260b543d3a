"""Gradium's messages, frame by frame, as docs.gradium.ai has them."""

import base64

import pytest

from tests.adapters.wire import begin, close, decode, facts, failure, finish, parsed, wire
from ttsmux.adapter import (
    Adapter,
    Audio,
    Base,
    DialFailure,
    Failed,
    Generation,
    Marks,
    Note,
    Options,
    OutputEnd,
    Scope,
)
from ttsmux.adapters.gradium import Gradium, GradiumRest
from ttsmux.audio import AudioFormat, MarkKind
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
    InvalidVoice,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RemoteProtocolError,
)

VOICE = "YTpq7expH9539ERJ"
OTHER_VOICE = "LFZvm12tW_z0xfGo"
ID = "g-7f31"
gradium = Gradium(voice=VOICE)


def setup(id: str, **fields: object) -> dict[str, object]:
    return {
        "type": "setup",
        "client_req_id": id,
        "voice_id": VOICE,
        "output_format": "pcm_24000",
        "close_ws_on_eos": False,
        **fields,
    }


def words(id: str, text: str) -> dict[str, object]:
    return {"type": "text", "client_req_id": id, "text": text}


def end(id: str) -> dict[str, object]:
    return {"type": "end_of_stream", "client_req_id": id}


def ready(id: str | None = None) -> dict[str, object]:
    tag = {} if id is None else {"client_req_id": id}
    return {
        "type": "ready",
        **tag,
        "request_id": "rq_01",
        "model_name": "default",
        "model_ext": "gradium-tts-202609",
        "sample_rate": 48000,
        "frame_size": 3840,
        "audio_stream_names": ["tts"],
        "text_stream_names": ["words"],
        "residency": "best-effort; zone=eu",
    }


def audio(data: bytes, start: float, stop: float, id: str | None = None) -> dict[str, object]:
    tag = {} if id is None else {"client_req_id": id}
    encoded = base64.b64encode(data).decode()
    return {"type": "audio", **tag, "audio": encoded, "start_s": start, "stop_s": stop}


# --- transcripts ----------------------------------------------------------------------------------


def test_one_generation() -> None:
    """
    Setup and text at once, more text after ready, the end; then audio and words to the end marker.

    The vendor's own example has one generation a socket: no id, no close_ws_on_eos, and a close
    with code 1000 behind the end. The adapter names every generation and keeps the socket, whatever
    follows, so the client's frames differ by these two fields. A server that would answer without
    ids is understood as far as audio and words go; its end is not taken for one (see below).
    """
    gen = begin(gradium)
    assert parsed(
        gradium.open(gen),
        gradium.text(gen, "Good evening,"),
        gradium.text(gen, "welcome back."),
        finish(gradium, gen),
    ) == [
        {
            "type": "setup",
            "client_req_id": ID,
            "voice_id": VOICE,
            "output_format": "pcm_24000",
            "close_ws_on_eos": False,
        },
        {"type": "text", "client_req_id": ID, "text": "Good evening,"},
        {"type": "text", "client_req_id": ID, "text": "welcome back."},
        {"type": "end_of_stream", "client_req_id": ID},
    ]
    assert decode(
        gradium,
        ready(),
        {"type": "text", "text": "Good", "start_s": 0.0, "stop_s": 0.2},
        {"type": "audio", "audio": "AAAA", "start_s": 0.0, "stop_s": 0.08},
        {"type": "audio", "audio": "AQAB", "start_s": 0.08, "stop_s": 0.16},
        {"type": "text", "text": "evening,", "start_s": 0.2, "stop_s": 0.7},
        {"type": "end_of_stream"},
    ) == [
        Note("ready"),
        Marks((("Good", 0.0, 0.2),)),
        Audio(b"\0\0\0"),
        Audio(b"\1\0\1"),
        Marks((("evening,", 0.2, 0.7),)),
        Note("end_of_stream without an id"),
    ]
    error = close(gradium, 1000).error
    assert isinstance(error, ConnectionLost) and error.code == 1000 and error.retryable


def test_two_interleaved_generations() -> None:
    """Every frame of both carries its id; the clock starts anew for each."""
    second_voice = Gradium(voice=OTHER_VOICE)
    a, b = begin(gradium, "a1"), begin(second_voice, "b2")
    assert parsed(
        gradium.open(a),
        gradium.text(a, "First answer."),
        second_voice.open(b),
        second_voice.text(b, "Second answer."),
        finish(gradium, a),
        finish(second_voice, b),
    ) == [
        setup("a1"),
        words("a1", "First answer."),
        setup("b2", voice_id=OTHER_VOICE),
        words("b2", "Second answer."),
        end("a1"),
        end("b2"),
    ]
    assert decode(
        gradium,
        ready("a1"),
        audio(b"a0", 0.0, 0.08, "a1"),
        ready("b2"),
        audio(b"b0", 0.0, 0.08, "b2"),
        audio(b"a1", 0.08, 0.16, "a1"),
        {"type": "text", "client_req_id": "a1", "text": "First", "start_s": 0.0, "stop_s": 0.3},
        end("a1"),
        audio(b"b1", 0.08, 0.16, "b2"),
        end("b2"),
    ) == [
        Note("ready", "a1"),
        Audio(b"a0", "a1"),
        Note("ready", "b2"),
        Audio(b"b0", "b2"),
        Audio(b"a1", "a1"),
        Marks((("First", 0.0, 0.3),), "a1"),
        OutputEnd("a1"),
        Audio(b"b1", "b2"),
        OutputEnd("b2"),
    ]
    # The vendor offers an end_of_stream without an id to close the socket. A plain close does it.
    assert list(gradium.shutdown()) == []


def test_an_unknown_voice_beside_a_generation_that_speaks() -> None:
    """The error fails its own generation and taints the connection; the neighbour goes on."""
    gen = begin(Gradium(voice="nope"), "c3")
    assert parsed(gradium.open(gen)) == [setup("c3", voice_id="nope")]
    error, late, over = decode(
        gradium,
        {
            "type": "error",
            "client_req_id": "c3",
            "message": "Embeddings not found for nope",
            "code": 1011,
        },
        audio(b"d0", 1.2, 1.28, "d4"),
        end("d4"),
    )
    assert failure(error).id == "c3"
    verdict = gradium.verdict(failure(error), busy=True)
    assert verdict.scope is Scope.TAINT
    assert facts(verdict.error) == (NotFoundError, False, "Embeddings not found for nope")
    assert [late, over] == [Audio(b"d0", "d4"), OutputEnd("d4")]
    closed = close(gradium, 1011, busy=False)
    assert closed.scope is Scope.NOTHING and closed.error.retryable


def test_a_bad_key_after_the_upgrade() -> None:
    """The error without an id and the close behind it both say: authentication, do not retry."""
    (signal,) = decode(
        gradium, {"type": "error", "message": "API key is revoked or expired", "code": 1008}
    )
    assert failure(signal).id is None
    closed = close(gradium, 1008, "API key is revoked or expired")
    for verdict in (gradium.verdict(failure(signal), busy=True), closed):
        assert verdict.scope is Scope.CONNECTION
        kind, retryable, message = facts(verdict.error)
        assert (kind, retryable) == (AuthError, False)
        # A key on a retired host is refused in the same words.
        assert message.startswith("API key is revoked or expired (") and "region" in message


def test_an_interruption() -> None:
    """An end_of_stream with the id, the next setup at once, and the ids to tell them apart."""
    f, g = begin(gradium, "f6"), begin(gradium, "g7")
    assert parsed(
        gradium.open(f),
        gradium.text(f, "It is a long story that begins in"),
        gradium.interrupt(f),
        gradium.open(g),
        gradium.text(g, "Of course."),
    ) == [
        setup("f6"),
        words("f6", "It is a long story that begins in"),
        end("f6"),
        setup("g7"),
        words("g7", "Of course."),
    ]
    assert decode(
        gradium,
        ready("f6"),
        audio(b"f0", 0.0, 0.08, "f6"),
        audio(b"f1", 0.08, 0.16, "f6"),
        ready("g7"),
        {"type": "text", "client_req_id": "f6", "text": "It", "start_s": 0.0, "stop_s": 0.1},
        audio(b"g0", 0.0, 0.08, "g7"),
        end("f6"),
    ) == [
        Note("ready", "f6"),
        Audio(b"f0", "f6"),
        Audio(b"f1", "f6"),
        Note("ready", "g7"),
        Marks((("It", 0.0, 0.1),), "f6"),
        Audio(b"g0", "g7"),
        OutputEnd("f6"),
    ]


def test_an_interruption_after_the_end_sends_nothing() -> None:
    """A second end_of_stream would be text for a session that is over."""
    gen = begin(gradium)
    list(finish(gradium, gen))
    assert list(gradium.interrupt(gen)) == []


def test_flush_is_a_tag_of_its_own() -> None:
    """The server sets messages off by a space, as the tag needs."""
    assert parsed(gradium.flush(begin(gradium))) == [words(ID, "<flush>")]


def test_what_gradium_does_not_have_sends_nothing() -> None:
    """No keepalive, no goodbye, no second step, no REST."""
    gen = begin(gradium)
    assert list(gradium.release(gen)) == []
    assert list(gradium.keepalive(gen)) == list(gradium.keepalive(None)) == []
    assert isinstance(gradium.rest(), GradiumRest)


# --- the handshake --------------------------------------------------------------------------------


def test_handshake() -> None:
    """The neutral host, no query, the key in x-api-key and nowhere else; nothing sent first."""
    shake = gradium.handshake(gradium.options(), "gd_example")
    assert shake.url == "wss://api.gradium.ai/api/speech/tts"
    assert shake.headers == {"x-api-key": "gd_example"}
    assert shake.subprotocols == () and shake.first_frames == ()


@pytest.mark.parametrize("secret", [None, ""])
def test_handshake_without_a_key(secret: str | None) -> None:
    """A simulator or a proxy may need none; an empty header would be a wrong key."""
    assert gradium.handshake(gradium.options(), secret).headers == {}


# --- setup ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        ({"model": "gradium-tts-beta"}, {"model_name": "gradium-tts-beta"}),
        ({"pronunciation_id": "p1"}, {"pronunciation_id": "p1"}),
        ({"retry_for_s": 5}, {"retry_for_s": 5}),
        ({"retry_for_s": 0.5}, {"retry_for_s": 0.5}),
        ({"temp": 0.0}, {"json_config": '{"temp":0.0}'}),
        ({"cfg_coef": 2.5}, {"json_config": '{"cfg_coef":2.5}'}),
        ({"padding_bonus": -1.0}, {"json_config": '{"padding_bonus":-1.0}'}),
        ({"rewrite_rules": "en"}, {"json_config": '{"rewrite_rules":"en"}'}),
        (
            {"temp": 1.4, "cfg_coef": 1, "padding_bonus": 4, "rewrite_rules": "none"},
            {"json_config": ('{"temp":1.4,"cfg_coef":1,"padding_bonus":4,"rewrite_rules":"none"}')},
        ),
        # The voice settles the language; there is no such field in a setup.
        ({"language": "fr"}, {}),
        ({"format": "mulaw_8000"}, {"output_format": "ulaw_8000"}),
        ({"format": "ulaw_8000"}, {"output_format": "ulaw_8000"}),
        ({"format": "alaw_8000"}, {"output_format": "alaw_8000"}),
        *(
            ({"format": f"pcm_{rate}"}, {"output_format": f"pcm_{rate}"})
            for rate in (8000, 16000, 22050, 24000, 44100, 48000)
        ),
    ],
)
def test_setup_fields(options: dict[str, object], fields: dict[str, object]) -> None:
    """What is set goes along, json_config as a string; what is not is left out."""
    adapter = Gradium(voice=VOICE, **options)  # type: ignore[arg-type]
    assert parsed(adapter.open(begin(adapter))) == [{**setup(ID), **fields}]


def test_id_field() -> None:
    """Every frame of a generation names it under the name that was asked for, and no other."""
    adapter = Gradium(voice=VOICE, id_field="client_request_id")
    gen = begin(adapter)
    frames = parsed(
        adapter.open(gen),
        adapter.text(gen, "Hi."),
        adapter.flush(gen),
        adapter.interrupt(gen),
        adapter.end(gen),
    )
    assert [frame["client_request_id"] for frame in frames] == [ID] * 5
    assert not any("client_req_id" in frame for frame in frames)


def test_text_is_sent_as_it_is() -> None:
    """Markup, quotes and characters beyond ASCII arrive as they were written."""
    piece = 'Né à "Zürich" <break time="1.5s" /> \\ 日本 😀'
    assert parsed(gradium.text(begin(gradium), piece)) == [words(ID, piece)]


# --- messages from the server ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "signal"),
    [
        # ready: nothing in it is needed.
        (ready(), Note("ready")),
        ({"type": "ready"}, Note("ready")),
        ({"type": "ready", "client_req_id": 5, "text": None}, Note("ready")),
        # audio
        (audio(b"\0\1", 0.0, 0.08), Audio(b"\0\1")),
        (audio(b"\0\1", -0.08, 0.0, ID), Audio(b"\0\1", ID)),
        ({"type": "audio", "client_req_id": ID, "audio": "AAE="}, Audio(b"\0\1", ID)),
        ({"type": "audio", "client_req_id": ID, "audio": ""}, Audio(b"", ID)),
        ({"type": "audio", "client_req_id": ID}, Audio(b"", ID)),
        ({"type": "audio", "client_request_id": ID, "audio": "AA=="}, Audio(b"\0", ID)),
        (
            {"type": "audio", "client_req_id": "a", "client_request_id": "b", "audio": "AA=="},
            Audio(b"\0", "a"),
        ),
        (
            {"type": "audio", "client_req_id": None, "client_request_id": "b", "audio": "AA=="},
            Audio(b"\0", "b"),
        ),
        ({"type": "audio", "audio": "AA==", "stream_id": 7, "new": {"a": [1]}}, Audio(b"\0")),
        # text
        (
            {"type": "text", "client_req_id": ID, "text": "so", "start_s": 0.24, "stop_s": 0.61},
            Marks((("so", 0.24, 0.61),), ID),
        ),
        ({"type": "text", "text": "so", "start_s": 0.24}, Marks((("so", 0.24, 0.24),))),
        (
            {"type": "text", "text": "so", "start_s": 0.24, "stop_s": None},
            Marks((("so", 0.24, 0.24),)),
        ),
        ({"type": "text", "text": "so", "stop_s": 0.5}, Marks((("so", 0.0, 0.5),))),
        ({"type": "text", "text": "so", "start_s": 1, "stop_s": 2}, Marks((("so", 1.0, 2.0),))),
        # end_of_stream
        (end(ID), OutputEnd(ID)),
        ({"type": "end_of_stream", "client_request_id": ID}, OutputEnd(ID)),
        ({"type": "end_of_stream"}, Note("end_of_stream without an id")),
        # the rest
        ({"type": "flushed", "client_req_id": ID}, Note("flushed", ID)),
        ({"type": "need_more_text"}, Note("need_more_text")),
        ({"type": "weather", "sunny": True}, Note("unknown")),
        ({"type": "weather", "text": {"a": 1}, "audio": 5, "client_req_id": []}, Note("unknown")),
        ({"type": ""}, Note("unknown")),
    ],
)
def test_messages(message: dict[str, object], signal: object) -> None:
    """Each message, with its fields present and absent; the unknown is ignored."""
    assert decode(gradium, message) == [signal]


def test_marks_count_from_the_start_of_their_generation() -> None:
    """Seconds of the request's own audio, whole words."""
    (marks,) = decode(gradium, {"type": "text", "text": "so", "start_s": 0.5})
    assert isinstance(marks, Marks)
    assert (marks.base, marks.kind) == (Base.GENERATION, MarkKind.WORD)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        {"type": None},
        {"type": 5},
        {"type": "audio", "audio": 5},
        {"type": "audio", "audio": "?AA="},
        {"type": "audio", "audio": "AAE"},
        {"type": "audio", "audio": "AA==\n"},
        {"type": "audio", "audio": "é"},
        {"type": "text", "text": None},
        {"type": "text", "text": "so", "start_s": "soon"},
        {"type": "error", "client_req_id": 5},
        {"type": "end_of_stream", "client_req_id": 5},
        '{"type":"text","start_s":NaN}',
        b'{"type":"text","text":"\xff"}',
        b'{"type":"\xff"}',
        '{"type":"text","text":"\\ud800"}',
    ],
)
def test_nonsense_is_a_protocol_error(message: object) -> None:
    """A message that is used must be what it should be; nothing else escapes."""
    with pytest.raises(RemoteProtocolError):
        decode(gradium, message)


def test_binary_messages_are_a_protocol_error() -> None:
    """Audio is base64 in JSON; the vendor's own client takes a binary message for an error."""
    with pytest.raises(RemoteProtocolError):
        gradium.decode_binary(b"\0\1", wire(gradium))


REGION = " (check the key, and that it belongs to this region)"


@pytest.mark.parametrize(
    ("message", "code", "kind", "retryable"),
    [
        # docs.gradium.ai/guides/errors, /websocket-lifecycle, /data-residency, and known words
        ("Session not found. Send setup first.", 1002, GenerationError, False),
        ("Session already active (a1)", 1002, GenerationError, False),
        ("API key is revoked or expired", 1008, AuthError, False),
        ("no active subscription", 1008, AuthError, False),
        ("the request must go to us.api.gradium.ai; more information: …", 1008, AuthError, False),
        ("Unsupported output format opus2", 1008, GenerationError, False),
        ("missing setup", 1008, GenerationError, False),
        ("Malformed setup: bad voice_id", 1008, GenerationError, False),
        ("Concurrency limit exceeded", 1008, ConcurrencyLimitError, True),
        ("concurrency LIMIT reached", 1011, ConcurrencyLimitError, True),
        ("Concurrency limit exceeded", None, ConcurrencyLimitError, True),
        ("Embeddings not found for nope", 1011, NotFoundError, False),
        ("Pronunciation dictionary p1 not found.", 1011, NotFoundError, False),
        ("cfg_coef should be between 1 and 10", 1011, GenerationError, False),
        ("temp must be positive", 1011, GenerationError, False),
        ("worker lost", 1011, GenerationError, True),
        ("backend busy", 429, RateLimitError, True),
        # without a code
        ("worker lost", None, GenerationError, True),
        ("API key is revoked or expired", None, AuthError, False),
        ("Embeddings not found for nope", None, NotFoundError, False),
        ("Session not found. Send setup first.", None, GenerationError, False),
        # codes nobody has seen
        ("something new", 1234, GenerationError, False),
        ("something new", "E_NEW", GenerationError, False),
    ],
)
@pytest.mark.parametrize("id", [None, ID])
def test_errors(
    message: str, code: object, kind: type[Error], retryable: bool, id: str | None
) -> None:
    """Type, whether to retry, and how far it reaches: its generation and the seat beside it."""
    frame: dict[str, object] = {"type": "error", "message": message}
    if code is not None:
        frame["code"] = code
    if id is not None:
        frame["client_req_id"] = id
    (signal,) = decode(gradium, frame)
    said = message + REGION if kind is AuthError else message
    assert facts(failure(signal).error) == (kind, retryable, said)
    assert failure(signal).id == id
    if kind is GenerationError:
        assert getattr(failure(signal).error, "code", None) == code
    if kind is ConcurrencyLimitError:
        assert failure(signal).error.retry_after == 0.35
    verdict = gradium.verdict(failure(signal), busy=True)
    assert verdict.scope is (Scope.CONNECTION if id is None else Scope.TAINT)
    assert verdict.error is failure(signal).error


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "error"},
        {"type": "error", "message": ""},
        {"type": "error", "message": None, "code": None},
        {"type": "error", "message": {"text": "no"}, "code": [1008]},
        {"type": "error", "message": 7, "code": 1011.5},
    ],
)
def test_an_error_is_heard_whatever_it_looks_like(frame: dict[str, object]) -> None:
    """It is an error of the server's, not a message that could not be read."""
    (signal,) = decode(gradium, frame)
    assert facts(failure(signal).error) == (
        GenerationError,
        True,
        "the server reported an error",
    )


def test_error_words_are_made_printable() -> None:
    """What a terminal would act on is gone, and a flood is cut."""
    (signal,) = decode(gradium, {"type": "error", "message": "bad\x1b[2J\r\n" + "x" * 9999})
    words = failure(signal).error.message
    assert words.startswith("bad [2J x") and len(words) == 200


def test_an_error_under_the_other_name_of_the_id() -> None:
    """It concerns that generation, not the connection."""
    (signal,) = decode(gradium, {"type": "error", "client_request_id": ID, "message": "no"})
    assert failure(signal).id == ID


# --- closes and refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (1000, "", ConnectionLost, True),
        (1001, "bye", ConnectionLost, True),
        (1002, "Session not found. Send setup first.", ConnectionLost, False),
        (1006, "", ConnectionLost, True),
        (1008, "", AuthError, False),
        (1008, "API key is revoked or expired", AuthError, False),
        (1008, "Unsupported output format", GenerationError, False),
        (1008, "Concurrency limit exceeded", ConcurrencyLimitError, True),
        (1011, "Concurrency limit exceeded", ConcurrencyLimitError, True),
        (1009, "", ConnectionLost, False),
        (1011, "worker lost", ConnectionLost, True),
        (1012, "", ConnectionLost, True),
        (1013, "", AtCapacity, True),
        (None, "", ConnectionLost, True),
    ],
)
def test_closes_under_a_speech(
    code: int | None, reason: str, kind: type[Error], retryable: bool
) -> None:
    """The numbers of the error messages are close codes as well."""
    verdict = close(gradium, code, reason)
    assert verdict.scope is Scope.CONNECTION
    assert (type(verdict.error), verdict.error.retryable) == (kind, retryable)
    if isinstance(verdict.error, ConnectionLost):
        assert (verdict.error.code, verdict.error.reason) == (code, reason)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, None])
def test_closes_of_an_idle_connection_are_harmless(code: int | None) -> None:
    """The server lets quiet connections go."""
    assert close(gradium, code, busy=False).scope is Scope.NOTHING


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, ConfigError, False),
        (401, AuthError, False),
        (402, QuotaError, False),
        (403, AuthError, False),
        (404, NotFoundError, False),
        (422, ConfigError, False),
        (429, RateLimitError, True),
        (301, HandshakeError, False),
        (418, HandshakeError, False),
        (500, HandshakeError, True),
        (503, HandshakeError, True),
    ],
)
@pytest.mark.parametrize("adapter", [gradium], ids=["gradium"])
def test_refused_upgrades(
    adapter: Adapter, status: int, kind: type[Error], retryable: bool
) -> None:
    """None is documented; each is read as HTTP has it."""
    verdict = adapter.verdict(DialFailure(status=status, body="because\r\n"), busy=False)
    assert verdict.scope is Scope.CONNECTION
    words = f"the server answered HTTP {status}: because"
    assert facts(verdict.error) == (kind, retryable, words)
    assert verdict.error.phase == "dial"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        (" 2 ", 2.0),
        ("999999999", 3600.0),
        ("Wed, 21 Oct", None),
        ("-1", None),
        ("²", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Seconds are taken, up to an hour; a date or nonsense counts as absent."""
    failed = DialFailure(status=503, headers={"retry-after": value})
    assert gradium.verdict(failed, busy=False).error.retry_after == seconds


def test_a_dial_without_an_answer_keeps_its_error() -> None:
    """What the transport found out is what is raised."""
    error = ConnectTimeout("no connection within 5 s")
    assert gradium.verdict(DialFailure(error=error), busy=False).error is error
    assert gradium.verdict(DialFailure(), busy=False).error.retryable


# --- options --------------------------------------------------------------------------------------


def test_options() -> None:
    """The defaults are pcm_24000 and the vendor's model; the voice is the caller's."""
    expected = Options(voice=VOICE, language=None, model=None, format=AudioFormat("pcm", 24000))
    assert gradium.options() == expected


@pytest.mark.parametrize(
    "voice",
    [None, "", " ", "../x", "a/b", "..", "a\r\nb", "a\n", "a b", "é", "a" * 129, "a?b", "%2e"],
)
def test_voices_that_cannot_be(voice: str | None) -> None:
    """Refused before a byte is sent, without quoting more than a little of it."""
    with pytest.raises(InvalidVoice) as caught:
        Gradium(voice=voice).options()
    assert (caught.value.provider, caught.value.phase) == ("gradium", "config")
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize("voice", [VOICE, OTHER_VOICE, "a", "a" * 128, "v1.2:x@y-z"])
def test_voices_that_can_be(voice: str) -> None:
    """Letters, digits and . _ : @ -"""
    assert Gradium(voice=voice).options().voice == voice


@pytest.mark.parametrize("format", ["opus", "wav", "pcm", "pcm_11025", "PCM_24000", "pcm_24000\n"])
def test_formats_that_cannot_be(format: str) -> None:
    """Containers and native pcm are not spoken here, though the vendor has them."""
    with pytest.raises(InvalidFormat):
        Gradium(voice=VOICE, format=format).options()


@pytest.mark.parametrize("seats", [0, -1])
def test_seats_that_cannot_be(seats: int) -> None:
    """Somebody has to sit."""
    with pytest.raises(ConfigError, match="seats"):
        Gradium(voice=VOICE, seats=seats)


def test_id_fields_that_cannot_be() -> None:
    """Under a third name the server would see messages without an id."""
    with pytest.raises(ConfigError, match="id_field"):
        Gradium(voice=VOICE, id_field="id")  # type: ignore[arg-type]


@pytest.mark.parametrize(("seats", "slots"), [(1, 3), (4, 6), (8, 10), (20, 22)])
def test_seats(seats: int, slots: int) -> None:
    """Two generations may be muted beside those that speak."""
    traits = Gradium(voice=VOICE, seats=seats).tuned()
    assert (traits.seats, traits.slots, traits.max_muted) == (seats, slots, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"voice": OTHER_VOICE},
        {"model": "gradium-tts-beta"},
        {"language": "fr"},
        {"padding_bonus": -1.0},
        {"temp": 1.0},
        {"cfg_coef": 3.0},
        {"rewrite_rules": "fr"},
        {"pronunciation_id": "p1"},
        {"retry_for_s": 5},
        {"format": "pcm_24000"},
    ],
)
def test_what_a_setup_holds_shares_connections(options: dict[str, object]) -> None:
    """Voice, model and settings are a request's own."""
    assert key(**options) == key()


@pytest.mark.parametrize(
    "options",
    [
        {"format": "pcm_16000"},
        {"format": "mulaw_8000"},
        {"seats": 4},
        {"id_field": "client_request_id"},
    ],
)
def test_what_a_connection_settles_needs_its_own(options: dict[str, object]) -> None:
    """One output format a connection: mixing them is not documented to work."""
    assert key(**options) != key()


def key(**options: object) -> object:
    adapter = Gradium(**{"voice": VOICE, **options})  # type: ignore[arg-type]
    return adapter.pool_key(adapter.options())


def test_limits_of_the_connection() -> None:
    """Left well before the vendor's five minutes, of quiet or of session; pings meanwhile."""
    traits = gradium.tuned()
    assert (traits.max_idle, traits.max_age, traits.ping) == (240.0, 280.0, 20.0)
    assert traits.connection_keepalive is None and traits.generation_keepalive is None


def test_a_failure_of_nobody_known_still_taints() -> None:
    """An id that is muted or long gone: the connection takes nothing new all the same."""
    failed = Failed(GenerationError("no"), "gone")
    assert gradium.verdict(failed, busy=False).scope is Scope.TAINT


def test_the_generation_decides_not_the_adapter() -> None:
    """Options travel with the generation, so that one adapter serves many speeches."""
    options = Options(voice="v", language=None, model="m", format=AudioFormat("alaw", 8000))
    (frame,) = parsed(gradium.open(Generation("x", options)))
    assert frame == setup("x", voice_id="v", model_name="m", output_format="alaw_8000")
