"""KugelAudio's wire, by the transcripts of the protocol page, both ways."""

import base64
import json

import attrs
import pytest

from tests.adapters.test_contract import ID
from tests.adapters.wire import (
    JSON,
    begin,
    close,
    decode,
    failure,
    finish,
    parsed,
    text,
    wire,
)
from ttsmux.adapter import (
    Adapter,
    Audio,
    Base,
    CancelAck,
    DialFailure,
    EarlyEnd,
    Failed,
    Flush,
    Frame,
    Generation,
    Input,
    InputEnd,
    Marks,
    Note,
    OutputEnd,
    Released,
    Scope,
)
from ttsmux.adapters._kugelaudio_rest import KugelAudioRest
from ttsmux.adapters.kugelaudio import KugelAudio
from ttsmux.errors import (
    AtCapacity,
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    ConnectionLost,
    EmptyAudio,
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
from ttsmux.settings import Interrupt

multi = KugelAudio(voice="1071")
stream = KugelAudio(voice="1071", endpoint="stream")
oneshot = KugelAudio(voice="1071", endpoint="oneshot")
rest = KugelAudioRest(voice="1071")
SOCKETS = (multi, stream, oneshot)
each_socket = pytest.mark.parametrize("adapter", SOCKETS, ids=lambda a: a.endpoint)

PCM = bytes(range(60))
SOUND = base64.b64encode(PCM).decode()
USAGE = {"audio_seconds": 3.1, "characters": 49, "cost_cents": 0.28, "currency": "eur"}
BILLED = {"audio_seconds": 3.1, "characters": 49.0, "cost_cents": 0.28}
CONFIG: JSON = {
    "voice_id": 1071,
    "model_id": "kugel-3.5",
    "output_format": "pcm_24000",
    "word_timestamps": True,
}
SESSION: JSON = {name: value for name, value in CONFIG.items() if name != "voice_id"}


def audio(chunk: int = 0, **fields: object) -> JSON:
    facts = {"enc": "pcm_s16le", "idx": 0, "sr": 24000, "samples": 30, "chunk_id": chunk}
    return {"audio": SOUND, **facts, **fields}


def heard(chunk: int = 0, id: str | None = None) -> Audio:
    return Audio(PCM, id, 24000, str(chunk))


# --- transcript a: a simple turn ------------------------------------------------------------------


def test_a_simple_turn() -> None:
    """Settings with the first text, pieces as they come, one flush; no end before `final`."""
    adapter = attrs.evolve(stream, language="en", word_timestamps=False)
    config = {**CONFIG, "language": "en"}
    del config["word_timestamps"]
    gen = begin(adapter)
    said = parsed(
        adapter.open(gen),
        adapter.text(gen, "The lift "),
        adapter.text(gen, "is out of order. "),
        adapter.text(gen, "Please take the stairs."),
        finish(adapter, gen),
    )
    assert said == [
        {"text": "The lift ", **config},
        {"text": "is out of order. "},
        {"text": "Please take the stairs."},
        {"flush": True},
    ]
    totals = {"total_audio_seconds": 3.1, "total_text_chunks": 2, "total_audio_chunks": 3}
    assert decode(
        adapter,
        {"generation_started": True, "chunk_id": 0, "text": "The lift is out of order."},
        audio(0),
        audio(0, idx=1),
        {"chunk_complete": True, "chunk_id": 0, "audio_seconds": 1.7, "gen_ms": 190},
        {"generation_started": True, "chunk_id": 1, "text": "Please take the stairs."},
        audio(1, idx=2),
        {"chunk_complete": True, "chunk_id": 1, "audio_seconds": 1.4, "gen_ms": 160},
        {"final": True, **totals},
        {"session_closed": True, **totals, "usage": USAGE},
    ) == [
        Note(), heard(0), heard(0), Note(), Note(), heard(1), Note(),
        OutputEnd(), Released(usage=BILLED),
    ]  # fmt: skip


def test_the_settings_may_go_ahead() -> None:
    """As in the transcript: a message of their own, right after connecting."""
    adapter = attrs.evolve(stream, prepare=True)
    shake = adapter.handshake(adapter.options(), None)
    assert parsed(shake.first_frames) == [CONFIG]


# --- transcript b1: two turns on one socket -------------------------------------------------------


def test_two_turns() -> None:
    """Each begins with all of its settings: what it does not say would stick from before."""
    other = attrs.evolve(stream, voice="1072")
    one, two = begin(stream), begin(other)
    assert parsed(stream.text(one, "First."), finish(stream, one)) == [
        {"text": "First.", **CONFIG},
        {"flush": True},
    ]
    assert parsed(other.text(two, "Second answer."), finish(other, two)) == [
        {"text": "Second answer.", **CONFIG, "voice_id": 1072},
        {"flush": True},
    ]
    assert stream.pool_key(stream.options()) == other.pool_key(other.options())


# --- transcript b2: two contexts ------------------------------------------------------------------


def test_two_interleaved_contexts() -> None:
    """The voice goes nested, the rest on top; flush and close back to back; closed is the end."""
    second = attrs.evolve(multi, voice="1072")
    a, b = begin(multi, "c-1"), begin(second, "c-2")
    first = attrs.evolve(multi, prepare=True).handshake(multi.options(), None).first_frames
    said = parsed(
        first,
        multi.text(a, "First answer."),
        second.text(b, "Second answer."),
        finish(multi, a),
        finish(second, b),
    )
    assert said == [
        {"text": "", "voice_id": 1071, "model_id": "kugel-3.5"},
        {"text": "First answer.", "context_id": "c-1", **SESSION,
         "voice_settings": {"voice_id": 1071}},
        {"text": "Second answer.", "context_id": "c-2", **SESSION,
         "voice_settings": {"voice_id": 1072}},
        {"flush": True, "context_id": "c-1"},
        {"close_context": True, "context_id": "c-1"},
        {"flush": True, "context_id": "c-2"},
        {"close_context": True, "context_id": "c-2"},
    ]  # fmt: skip
    word = {"word": "First", "start_ms": 0, "end_ms": 310, "char_start": 0, "char_end": 5}
    assert decode(
        multi,
        {"context_created": True, "context_id": "c-1"},
        {"context_created": True, "context_id": "c-2"},
        {"generation_started": True, "context_id": "c-1", "chunk_id": 0, "text": "First answer."},
        audio(context_id="c-1"),
        audio(context_id="c-2"),
        {"word_timestamps": [{**word, "score": 1.0}], "context_id": "c-1", "chunk_id": 0},
        {"chunk_complete": True, "context_id": "c-1", "chunk_id": 0, "audio_seconds": 0.8},
        {"final": True, "context_id": "c-1"},
        audio(context_id="c-2", idx=1),
        {"context_closed": True, "context_id": "c-1", "usage": USAGE},
        {"final": True, "context_id": "c-2"},
        {"context_closed": True, "context_id": "c-2"},
    ) == [
        Note(id="c-1"),
        Note(id="c-2"),
        Note(id="c-1"),
        heard(id="c-1"),
        heard(id="c-2"),
        Marks((("First", 0.0, 0.31),), "c-1", Base.SEGMENT, segment="0"),
        Note(id="c-1"),
        Note(id="c-1"),
        heard(id="c-2"),
        Released("c-1", BILLED),
        Note(id="c-2"),
        Released("c-2"),
    ]


def test_a_flush_and_its_final_are_no_end() -> None:
    """On multi more text may follow; each flush has a `final` of its own."""
    gen = begin(multi, "c-1")
    said = parsed(multi.text(gen, "One. "), multi.flush(gen), multi.text(gen, "Two."))
    assert said[1:] == [
        {"flush": True, "context_id": "c-1"},
        {"text": "Two.", "context_id": "c-1"},
    ]
    assert multi.tuned().flush is Flush.MESSAGE
    assert decode(multi, {"final": True, "context_id": "c-1"}) == [Note(id="c-1")]


def test_a_flush_of_a_turn_is_its_end() -> None:
    """More text opens the next one: a generation each."""
    assert stream.tuned().flush is Flush.END
    assert parsed(stream.flush(begin(stream))) == []


def test_settle_waits_with_the_close() -> None:
    """For servers where `close_context` overtakes the audio."""
    adapter = attrs.evolve(multi, settle=2.0)
    gen = begin(adapter, "c-1")
    assert adapter.tuned().release_after == 2.0 and multi.tuned().release_after is None
    assert parsed(finish(adapter, gen)) == [{"flush": True, "context_id": "c-1"}]
    assert parsed(adapter.release(gen)) == [{"close_context": True, "context_id": "c-1"}]
    assert parsed(multi.release(gen)) == []


# --- transcript c: errors -------------------------------------------------------------------------

ERRORS: list[tuple[int, str | None, type[Error], bool]] = [
    (400, "VALIDATION_ERROR", ConfigError, False),
    (400, "MISSING_VOICE_ID", InvalidVoice, False),
    (401, "UNAUTHORIZED", AuthError, False),
    (403, "UNAUTHORIZED", AuthError, False),
    (402, "INSUFFICIENT_CREDITS", QuotaError, False),
    (404, "NOT_FOUND", NotFoundError, False),
    (413, "VALIDATION_ERROR", ConfigError, False),
    (429, "RATE_LIMITED", RateLimitError, True),
    (429, "TOO_MANY_CONTEXTS", ConcurrencyLimitError, True),
    (500, "INTERNAL_ERROR", GenerationError, True),
    (501, "VALIDATION_ERROR", ConfigError, False),
    (503, "MODEL_UNAVAILABLE", AtCapacity, True),
    (503, "INTERNAL_ERROR", AtCapacity, True),
    (200, "EMPTY_AUDIO", EmptyAudio, True),
    (402, None, QuotaError, False),
    (418, None, GenerationError, False),
    (418, "TEAPOT", GenerationError, False),
]


@pytest.mark.parametrize(("code", "name", "kind", "retryable"), ERRORS)
def test_errors(code: int, name: str | None, kind: type[Error], retryable: bool) -> None:
    """By their `error_code`, never by their words; what has none by its number."""
    message = {"error": "No luck", "error_code": name, "code": code, "request_id": "9f2c"}
    error = failure(decode(multi, message)[0]).error
    assert (type(error), error.retryable) == (kind, retryable)
    assert error.message == "No luck (request 9f2c)"


def test_an_error_that_says_little() -> None:
    """It is heard all the same, and may pass."""
    for message in ({"error": True}, {"error_code": "ODD"}, {"error": {"a": 1}, "code": "x"}):
        error = failure(decode(multi, message)[0]).error
        assert isinstance(error, GenerationError) and error.retryable
        assert error.message == "the server reported an error"


@pytest.mark.parametrize(
    ("wait", "seconds"), [(3, 3.0), (9999, 3600.0), (0, None), (-1, None), ("3", None), (3.5, None)]
)
def test_when_to_come_back(wait: object, seconds: float | None) -> None:
    """`retry_after` counts where it is a whole number."""
    message = {"error": "Slow down", "error_code": "RATE_LIMITED", "retry_after": wait}
    assert failure(decode(multi, message)[0]).error.retry_after == seconds


def test_how_far_an_error_reaches() -> None:
    """With a context, that one; without, the socket; a full socket takes nothing new."""
    missing = {"error": "Voice not found", "error_code": "NOT_FOUND", "code": 404}
    full = {"error": "Too many", "error_code": "TOO_MANY_CONTEXTS", "code": 429}
    for message, scope in (
        ({**missing, "context_id": "c-9"}, Scope.GENERATION),
        (missing, Scope.CONNECTION),
        ({**full, "context_id": "c-9"}, Scope.TAINT),
    ):
        failed = failure(decode(multi, message)[0])
        assert failed.id == message.get("context_id")
        assert multi.verdict(failed, busy=True).scope is scope
    for adapter in (stream, oneshot):
        failed = failure(decode(adapter, {**missing, "context_id": "c-9"})[0])
        assert failed.id is None
        assert adapter.verdict(failed, busy=True).scope is Scope.CONNECTION


CLOSES: list[tuple[int | None, type[Error], bool, float | None]] = [
    (1000, ConnectionLost, True, None),
    (1001, ConnectionLost, True, None),
    (None, ConnectionLost, True, None),
    (1012, ConnectionLost, True, 1.0),
    (1013, AtCapacity, True, 1.0),
    (4000, ConnectionLost, True, None),
    (4001, AuthError, False, None),
    (4003, QuotaError, False, None),
    (4029, RateLimitError, True, None),
    (4500, AtCapacity, True, None),
]


@pytest.mark.parametrize(("code", "kind", "retryable", "wait"), CLOSES)
@pytest.mark.parametrize("busy", [True, False])
def test_closes(
    code: int | None, kind: type[Error], retryable: bool, wait: float | None, busy: bool
) -> None:
    """What the code means; idle, nobody need hear of it."""
    verdict = close(multi, code, busy=busy)
    error = verdict.error
    assert (type(error), error.retryable, error.retry_after) == (kind, retryable, wait)
    assert verdict.scope is (Scope.CONNECTION if busy else Scope.NOTHING)


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "MISSING_VOICE_ID", InvalidVoice),
        (401, "UNAUTHORIZED", AuthError),
        (403, "UNAUTHORIZED", AuthError),
        (402, "INSUFFICIENT_CREDITS", QuotaError),
        (404, "NOT_FOUND", NotFoundError),
        (413, "VALIDATION_ERROR", ConfigError),
        (429, "RATE_LIMITED", RateLimitError),
        (501, "VALIDATION_ERROR", ConfigError),
        (503, "MODEL_UNAVAILABLE", HandshakeError),
    ],
)
@pytest.mark.parametrize("adapter", [multi, rest], ids=["socket", "http"])
def test_refusals(adapter: Adapter, status: int, name: str, kind: type[Error]) -> None:
    """By the status, and by the `error_code` where the status says little."""
    body = json.dumps({"error": "No luck", "error_code": name, "code": status})
    refused = DialFailure(status=status, body=body, headers={"retry-after": "2"})
    error = adapter.verdict(refused, busy=False).error
    assert type(error) is kind and "No luck" in error.message
    assert error.phase == "dial"
    assert error.retry_after == (None if isinstance(error, ConfigError) else 2.0)


def test_a_refusal_in_the_words_of_a_framework() -> None:
    """`detail`, or no JSON at all."""
    for body in ('{"detail":"Forbidden"}', "Forbidden", '{"error'):
        error = multi.verdict(DialFailure(status=403, body=body), busy=False).error
        assert isinstance(error, AuthError)


# --- transcript d: interruption -------------------------------------------------------------------


def test_an_interrupted_turn() -> None:
    """Cancel; the acknowledgement stands for both ends; the next turn has its settings again."""
    gen = begin(stream)
    assert parsed(stream.text(gen, "It is a long story "), stream.interrupt(gen))[1:] == [
        {"cancel": True}
    ]
    assert decode(stream, audio(), {"interrupted": True}) == [heard(), CancelAck()]
    again = begin(stream)
    assert parsed(stream.text(again, "Of course."), finish(stream, again)) == [
        {"text": "Of course.", **CONFIG},
        {"flush": True},
    ]


def test_an_interrupted_context() -> None:
    """Closed at once by its id, never a `cancel`; what else comes has the id; closed is free."""
    gen = begin(multi, "c-3")
    assert parsed(multi.interrupt(gen)) == [
        {"close_context": True, "context_id": "c-3", "immediate": True}
    ]
    gen.ended = True
    assert parsed(multi.interrupt(gen)), "also when it was closed before, for it speaks on"
    closed = {"context_closed": True, "context_id": "c-3", "usage": USAGE}
    assert decode(multi, audio(context_id="c-3"), closed) == [
        heard(id="c-3"),
        Released("c-3", BILLED),
    ]


def test_an_interruption_that_nobody_asked_for() -> None:
    """We never send `cancel` on multi, so its answer is none of ours."""
    for message in ({"interrupted": True}, {"interrupted": True, "context_id": "c-1"}):
        assert decode(multi, message) == [Note(id=message.get("context_id"))]  # type: ignore[arg-type]


# --- /ws/tts --------------------------------------------------------------------------------------


def test_a_request() -> None:
    """All in one message; `final` ends it and says what it cost."""
    gen = begin(oneshot)
    assert parsed(oneshot.text(gen, "The lift is out of order."), finish(oneshot, gen)) == [
        {"text": "The lift is out of order.", **CONFIG}
    ]
    final = {"final": True, "chunks": 7, "total_samples": 81600, "dur_ms": 3400.0, "usage": USAGE}
    assert decode(oneshot, audio(), final) == [heard(), Released(usage=BILLED)]
    assert parsed(oneshot.interrupt(gen)) == [{"cancel": True}]
    assert decode(oneshot, {"interrupted": True}) == [CancelAck()]
    assert decode(oneshot, {"session_closed": True}) == [Note()]
    assert oneshot.tuned().input is Input.WHOLE
    assert oneshot.handshake(attrs.evolve(oneshot, prepare=True).options(), None).first_frames == ()


# --- messages, one by one -------------------------------------------------------------------------


def test_the_provider_ends_a_turn_by_itself() -> None:
    """It warns before; other warnings mean nothing to us, and on multi none do."""
    assert decode(stream, {"warning": "closing for INACTIVITY"}) == [InputEnd()]
    assert decode(stream, {"warning": "the voice is deprecated"}) == [Note()]
    assert decode(stream, {"warning": {"inactivity": 1}}) == [Note()]
    assert decode(multi, {"warning": "inactivity", "context_id": "c-1"}) == [Note(id="c-1")]


def test_a_context_that_timed_out() -> None:
    """What it was sent may not have been spoken, so it is no end."""
    failed = failure(decode(multi, {"context_timeout": True, "context_id": "c-1"})[0])
    assert failed.id == "c-1" and isinstance(failed.error, GenerationError)
    assert failed.error.retryable and failed.error.code == "context_timeout"


def test_the_end_of_a_session() -> None:
    """On multi it is everybody's; a turn's on stream, also where an old server sends no `final`."""
    failed = failure(decode(multi, {"session_closed": True, "total_audio_seconds": 9.2})[0])
    assert failed.id is None and multi.verdict(failed, busy=True).scope is Scope.CONNECTION
    assert decode(stream, {"session_closed": True, "total_audio_seconds": 9.2}) == [
        Released(usage={"audio_seconds": 9.2})
    ]


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"audio_seconds": 1, "cost_cents": None, "cost_unavailable": True}, {"audio_seconds": 1}),
        ({"audio_seconds": "x"}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage(usage: object, found: object) -> None:
    """As far as it is numbers."""
    message = {"context_closed": True, "context_id": "c-1", "usage": usage}
    assert decode(multi, message) == [Released("c-1", found)]  # type: ignore[arg-type]


@each_socket
def test_audio(adapter: KugelAudio) -> None:
    """Old servers do not say what it is; new ones may have names that we do not know."""
    for message in ({"audio": SOUND}, {"audio": SOUND, "enc": "l16"}, {"audio": SOUND, "enc": 4}):
        assert decode(adapter, message) == [Audio(PCM)]
    assert decode(adapter, {"audio": ""}) == [Note()]
    assert decode(adapter, {"audio": None}) == [Note()]
    with pytest.raises(RemoteProtocolError, match="base64"):
        decode(adapter, audio(audio="?" * 8))


def test_audio_of_another_kind() -> None:
    """Never relabelled: another encoding is an error here, another rate in the core."""
    failed = failure(decode(multi, audio(enc="mulaw", context_id="c-1"))[0])
    assert failed.id == "c-1" and isinstance(failed.error, InvalidFormat)
    assert decode(multi, audio(sr=16000)) == [Audio(PCM, None, 16000, "0")]
    phone = attrs.evolve(multi, format="mulaw_8000")
    assert decode(phone, audio(enc="mulaw", sr=8000)) == [Audio(PCM, None, 8000, "0")]


def test_word_times_that_make_no_sense() -> None:
    """Cost no audio; and without a chunk they count from the beginning."""
    for times in (None, "x", [{"word": "so"}], [{"word": 3, "start_ms": 0, "end_ms": 1}]):
        assert decode(multi, audio(word_timestamps=times)) == [heard()]
    word = {"word": "so", "start_ms": 120, "end_ms": 410}
    assert decode(stream, {"word_timestamps": [word]}) == [
        Marks((("so", 0.12, 0.41),), None, Base.SEGMENT)
    ]


@each_socket
def test_messages_that_mean_nothing_to_us(adapter: KugelAudio) -> None:
    """Dated ones, and ones to come; those whose keys we use must be readable."""
    for message in (
        {"session_started": True},
        {"is_final": True},
        {"keep_alive": True},
        {"settings_updated": True, "settings": {"speed": 1.1}},
        {"final": False},
        {"weather": {"sunny": True}},
        {"code": {}},
        {"chunk_id": [], "context_id": 3, "sr": "x"},
        {},
    ):
        assert decode(adapter, message) == [Note()]
    for data in ("[]", "3", '{"audio":3}', '{"final":true,"context_id":3}', "{", ""):
        with pytest.raises(RemoteProtocolError):
            decode(adapter, data)


@each_socket
def test_ids_that_are_missing_or_not_ours(adapter: KugelAudio) -> None:
    """An end without an id is nobody's on multi; the other sockets have none."""
    for message in ({"context_closed": True}, {"context_timeout": True}):
        assert decode(adapter, message) == [Note()]
    id = "c-1" if adapter is multi else None
    assert decode(adapter, audio(context_id="c-1")) == [heard(id=id)]


# --- settings -------------------------------------------------------------------------------------


def opening(adapter: KugelAudio) -> JSON:
    (frame,) = parsed(adapter.text(begin(adapter, "c-1"), "Hello."))
    return frame


ALL: dict[str, object] = {
    "language": "de",
    "model": "kugel-2.5",
    "cfg_scale": 1.5,
    "temperature": 0.3,
    "max_new_tokens": 1024,
    "speed": 1.1,
    "normalize": False,
    "project_id": 7,
    "dictionary_ids": [3, 4],
    "word_timestamps": False,
    "extra": {"auto_mode": True},
}
VOICE: JSON = {"voice_id": 1071, "cfg_scale": 1.5, "max_new_tokens": 1024}
REST: JSON = {
    "model_id": "kugel-2.5",
    "output_format": "pcm_24000",
    "language": "de",
    "normalize": False,
    "speed": 1.1,
    "temperature": 0.3,
    "project_id": 7,
    "dictionary_ids": [3, 4],
}


def test_all_settings() -> None:
    """On multi some go nested and the others do not: elsewhere they are silently ignored."""
    extra = {"auto_mode": True}
    assert opening(KugelAudio(voice="1071", **ALL)) == {  # type: ignore[arg-type]
        "text": "Hello.", "context_id": "c-1", **REST, **extra, "voice_settings": VOICE,
    }  # fmt: skip
    for endpoint in ("stream", "oneshot"):
        adapter = KugelAudio(voice="1071", endpoint=endpoint, **ALL)  # type: ignore[arg-type]
        assert opening(adapter) == {"text": "Hello.", **VOICE, **REST, **extra}


@pytest.mark.parametrize(
    ("voice", "sent"),
    [
        ("1071", 1071),
        ("0", 0),
        ("007", "007"),
        ("anna", "anna"),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, "9" * 19),
    ],
)
def test_voices(voice: str, sent: object) -> None:
    """Digits are a number; what no number gives back as it was is a handle."""
    frame = opening(KugelAudio(voice=voice))
    assert frame["voice_settings"] == {"voice_id": sent}


@pytest.mark.parametrize(
    ("format", "fields"),
    [
        ("pcm_8000", {"output_format": "pcm_8000"}),
        ("mulaw_8000", {"output_format": "ulaw_8000"}),
        ("ulaw_8000", {"output_format": "ulaw_8000"}),
        ("alaw_8000", {"output_format": "alaw_8000"}),
        ("pcm_44100", {"sample_rate": 44100}),
    ],
)
def test_formats(format: str, fields: JSON) -> None:
    """By their names there; 44,100 Hz has none, so the rate is asked for."""
    frame = opening(KugelAudio(voice="1071", format=format))
    names = ("output_format", "sample_rate")
    assert {name: frame[name] for name in names if name in frame} == fields


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("endpoint", "both"),
        ("language", "de-DE"),
        ("language", ""),
        ("cfg_scale", 1.1),
        ("cfg_scale", 2.6),
        ("temperature", -0.1),
        ("max_new_tokens", 0),
        ("speed", 1.3),
        ("project_id", -1),
        ("dictionary_ids", [3]),
        ("dictionary_ids", [3.5]),
        ("dictionary_ids", ["3"]),
        ("dictionary_ids", [True]),
        ("dictionary_ids", range(51)),
        ("seats", 0),
        ("seats", 21),
        ("settle", 0),
        ("source_pause", 0),
        ("extra", "{"),
        ("extra", "[]"),
        ("extra", 7),
    ],
)
def test_options_that_make_no_sense(option: str, value: object) -> None:
    """Are told at once: the server would ignore or clamp some of them without a word."""
    with pytest.raises(ConfigError, match=option):
        KugelAudio(voice="1071", **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value"),
    [("speed", "1"), ("speed", True), ("max_new_tokens", 1.5), ("normalize", 1), ("prepare", "no")],
)
def test_options_of_the_wrong_type(option: str, value: object) -> None:
    """As everywhere."""
    with pytest.raises(TypeError, match=option):
        KugelAudio(voice="1071", **{option: value})  # type: ignore[arg-type]


def test_dictionaries() -> None:
    """Also as words of a command line; an empty list means none of them."""
    assert KugelAudio(project_id=1, dictionary_ids="3,4").dictionary_ids == (3, 4)  # type: ignore[arg-type]
    assert opening(KugelAudio(voice="1071", dictionary_ids=()))["dictionary_ids"] == []
    assert KugelAudio(dictionary_ids="").dictionary_ids == ()  # type: ignore[arg-type]


def test_extra_is_a_value() -> None:
    """A mapping or its JSON: the adapter stays usable in sets."""
    one = KugelAudio(voice="1071", extra={"auto_mode": True})  # type: ignore[arg-type]
    assert one == KugelAudio(voice="1071", extra='{"auto_mode":true}')
    assert hash(one) == hash(attrs.evolve(one))


@each_socket
def test_what_a_connection_settles_needs_its_own(adapter: KugelAudio) -> None:
    """All that holds for a socket or sticks to it; the voice does not, unless it is prepared."""

    def key(**changes: object) -> object:
        other = attrs.evolve(adapter, **changes)  # type: ignore[arg-type]
        return other.pool_key(other.options())

    changes: list[dict[str, object]] = [
        {"model": "kugel-3"}, {"format": "pcm_8000"}, {"language": "de"}, {"normalize": True},
        {"speed": 1.1}, {"temperature": 0.1}, {"project_id": 3}, {"dictionary_ids": ()},
        {"word_timestamps": False}, {"extra": "{}"}, {"source_pause": 9.0}, {"seats": 2},
    ]  # fmt: skip
    for change in changes:
        assert key(**change) != key(), change
    for change in ({"cfg_scale": 2.0}, {"max_new_tokens": 100}):
        assert (key(**change) == key()) is (adapter is multi), change
    assert key(voice="1072") == key()
    assert key(voice="1072", prepare=True) != key(prepare=True)
    assert len({other.pool_key(other.options()) for other in SOCKETS}) == 3


# --- the connection -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "url"),
    [
        (multi, "wss://api.kugelaudio.com/ws/tts/multi"),
        (stream, "wss://api.kugelaudio.com/ws/tts/stream"),
        (oneshot, "wss://api.kugelaudio.com/ws/tts"),
        (rest, "https://api.kugelaudio.com/v1/tts/generate"),
    ],
)
def test_handshake(adapter: Adapter, url: str) -> None:
    """The key goes in a header, not in the URL; nothing is said before there is text."""
    shake = adapter.handshake(adapter.options(), "ka_example")
    assert shake.url == url and shake.first_frames == ()
    assert shake.headers["X-API-Key"] == "ka_example"
    assert "X-API-Key" not in adapter.handshake(adapter.options(), None).headers


@pytest.mark.parametrize(
    ("key", "sent", "host"),
    [
        ("eu-ka_1", "ka_1", "api.eu.kugelaudio.com"),
        ("us-ka_1", "ka_1", "api.kugelaudio.com"),
        ("global-ka_1", "ka_1", "api.kugelaudio.com"),
        ("ka_eu-1", "ka_eu-1", "api.kugelaudio.com"),
        ("eu-us-1", "us-1", "api.eu.kugelaudio.com"),
    ],
)
def test_the_region_of_a_key(key: str, sent: str, host: str) -> None:
    """Its prefix names the host, and never reaches a server."""
    for adapter in (multi, rest):
        shake = adapter.handshake(adapter.options(), key)
        assert shake.headers["X-API-Key"] == sent and f"://{host}/" in shake.url


def test_keepalive() -> None:
    """An empty text for a context; there is none for a turn, nor for a connection."""
    gen = begin(multi, "c-1")
    assert parsed(multi.keepalive(gen)) == [{"text": "", "context_id": "c-1"}]
    assert [*multi.keepalive(None), *stream.keepalive(begin(stream)), *multi.shutdown()] == []


def test_traits() -> None:
    """What the three sockets bear."""
    a, b, c = (adapter.tuned() for adapter in SOCKETS)
    assert (a.seats, a.slots, a.ids, a.ends_released) == (8, 20, True, False)
    assert (a.generation_keepalive, a.source_pause, a.acknowledgement) == (10.0, 20.0, 5.0)
    assert (b.seats, b.slots, b.ids, b.ends_released) == (1, 1, False, False)
    assert (b.generation_keepalive, b.source_pause, b.acknowledgement) == (None, 5.0, 2.0)
    assert (c.seats, c.ids, c.ends_released, c.source_pause) == (1, False, True, None)
    assert a.early_end is b.early_end is EarlyEnd.NEXT_GENERATION
    assert all(traits.interrupt is Interrupt.CANCEL and traits.ping == 15.0 for traits in (a, b, c))


def test_traits_that_can_be_set() -> None:
    """For servers of another mind."""
    tuned = attrs.evolve(multi, seats=20, source_pause=8.0).tuned()
    assert (tuned.seats, tuned.slots) == (20, 20)
    assert (tuned.source_pause, tuned.generation_keepalive) == (8.0, 4.0)
    assert attrs.evolve(stream, source_pause=8.0).tuned().source_pause == 8.0
    assert attrs.evolve(oneshot, source_pause=8.0).tuned() == oneshot.tuned()


# --- over HTTP ------------------------------------------------------------------------------------


def answered(
    content_type: str | None, *pieces: bytes, format: str = "pcm_24000", **headers: str
) -> list[object]:
    """What an answer means: its pieces, and its end."""
    on = wire(attrs.evolve(rest, format=format))
    kind = {} if content_type is None else {"content-type": content_type}
    on.headers = {**kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return [signal for piece in (*pieces, b"") for signal in rest.decode_binary(piece, on)]


def test_the_same_voice_over_http() -> None:
    """With every option that HTTP has; word times and unknown fields would be refused."""
    found = KugelAudio(voice="1071", format="pcm_16000", **ALL).rest()  # type: ignore[arg-type]
    assert isinstance(found, KugelAudioRest)
    gen = begin(found)
    body = {"text": "Hello.", **VOICE, **REST, "output_format": "pcm_16000"}
    assert parsed(found.text(gen, "Hello."), finish(found, gen)) == [body]
    assert [*found.open(gen), *found.flush(gen), *found.interrupt(gen)] == []
    shake = found.handshake(found.options(), None)
    assert shake.headers == {"Content-Type": "application/json"}
    traits = found.tuned()
    assert (traits.seats, traits.slots, traits.ids, traits.reusable) == (1, 1, False, False)
    assert (traits.input, traits.ping, traits.policies) == (
        Input.WHOLE, None, (Interrupt.DISCARD,),
    )  # fmt: skip
    assert rest.pool_key(rest.options()) != found.pool_key(found.options())


def test_an_answer() -> None:
    """Bare audio in pieces cut anywhere; nothing but the end of the body is an end."""
    assert answered("audio/pcm", PCM[:7], PCM[7:], x_sample_rate="24000") == [
        Audio(PCM[:7], rate=24000), Audio(PCM[7:], rate=24000), OutputEnd(),
    ]  # fmt: skip
    for format in ("mulaw_8000", "alaw_8000"):
        assert answered("Audio/Basic; x=1", PCM, format=format) == [Audio(PCM), OutputEnd()]
    assert answered("audio/pcm", PCM, x_sample_rate="fast") == [Audio(PCM), OutputEnd()]
    assert answered("audio/pcm") == [OutputEnd()]


def test_a_success_that_is_none() -> None:
    """JSON where audio should be, in pieces; as much of it is kept as people read."""
    body = b'{"error":"Insufficient credits","error_code":"INSUFFICIENT_CREDITS","code":402}'
    for pieces in ([body], [body[:9], body[9:]]):
        (failed,) = answered("application/json", *pieces)
        assert isinstance(failed, Failed) and isinstance(failed.error, QuotaError)
    for pieces in ([], [b"["], [b'{"error":"' + b"x" * 9000, b"y" * 9000]):
        (failed,) = answered("application/json; charset=utf-8", *pieces)
        assert isinstance(failed, Failed) and isinstance(failed.error, GenerationError)
        assert not failed.error.retryable


@pytest.mark.parametrize(
    ("kind", "format"),
    [
        (None, "pcm_24000"),
        ("text/html", "pcm_24000"),
        ("audio/mpeg\x1b", "pcm_24000"),
        ("x" * 999, "pcm_24000"),
        ("audio/basic", "pcm_24000"),
        ("audio/pcm", "mulaw_8000"),
    ],
)
def test_an_answer_of_another_kind(kind: str | None, format: str) -> None:
    """Is not taken for the audio asked for, nor printed as it is."""
    with pytest.raises(RemoteProtocolError) as caught:
        answered(kind, b"<html>", format=format)
    assert caught.value.message.isprintable() and len(caught.value.message) < 100


def test_a_text_message_over_http() -> None:
    """There are none; read by the same rule."""
    on = wire(rest)
    on.headers = {"content-type": "audio/pcm"}
    assert rest.decode(PCM, on) == (Audio(PCM),)


# --- what else comes ------------------------------------------------------------------------------


def test_a_message_may_say_several_things() -> None:
    """In the order in which they count: audio first, the end last."""
    message = audio(context_id=ID, error="late", context_closed=True)
    assert [type(signal) for signal in decode(multi, message)] == [Audio, Failed, Released]


def test_frames_are_text() -> None:
    gen: Generation = begin(multi)
    frames: list[Frame] = [*multi.text(gen, "é😀"), *multi.end(gen)]
    assert all(json.loads(text(frame)) for frame in frames)
