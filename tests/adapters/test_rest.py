"""Gradium and xAI over HTTP: requests and answers as docs.gradium.ai and docs.x.ai have them."""

import base64
import json
import random
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

import attrs
import pytest

from tests.adapters.reach import Reach
from tests.adapters.wire import begin, facts, failure, finish, parsed, wire
from ttsmux.adapter import (
    Adapter,
    Audio,
    Closed,
    DialFailure,
    Handshake,
    Input,
    Marks,
    Note,
    OutputEnd,
    Scope,
    Signal,
    Wire,
)
from ttsmux.adapters.elevenlabs import ElevenLabs
from ttsmux.adapters.gradium import Gradium, GradiumRest
from ttsmux.adapters.kugelaudio import KugelAudio
from ttsmux.adapters.sm import SM
from ttsmux.adapters.xai import XAI
from ttsmux.errors import (
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    Error,
    GenerationError,
    HandshakeError,
    InvalidVoice,
    NotFoundError,
    ProtocolError,
    QuotaError,
    RateLimitError,
    RemoteProtocolError,
)
from ttsmux.settings import Interrupt
from ttsmux.testing.fuzz import Raw, mutations
from ttsmux.testing.hearing import understood

pytestmark = pytest.mark.timeout(300)  # thousands of messages, counted line by line

gradium = Gradium(voice="YTpq7expH9539ERJ").rest()
xai = XAI(voice="ara", language="en").rest()
BOTH = pytest.mark.parametrize("adapter", [gradium, xai], ids=["gradium", "xai"])
SECRET = "sk-5ecret-0123456789"


def answer(adapter: Adapter, content_type: str) -> Wire:
    on = wire(adapter)
    on.headers = {"content-type": content_type}
    return on


def read(adapter: Adapter, body: bytes, content_type: str, size: int = 10_000) -> list[Signal]:
    """What a body means, cut into pieces of *size* bytes, with its end."""
    on = answer(adapter, content_type)
    signals: list[Signal] = []
    for at in range(0, len(body), size):
        signals += adapter.decode_binary(body[at : at + size], on)
    return [*signals, *adapter.decode_binary(b"", on)]


def sound(signals: Iterable[Signal]) -> bytes:
    return b"".join(signal.data for signal in signals if isinstance(signal, Audio))


def lines(*messages: object) -> bytes:
    return "\n".join(json.dumps(message) for message in messages).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- both -----------------------------------------------------------------------------------------


@BOTH
def test_a_request_is_a_connection_that_serves_once(adapter: Adapter) -> None:
    """Whole texts go in; what is interrupted is given up."""
    traits = adapter.tuned()
    assert not traits.reusable and not traits.ids
    assert (traits.seats, traits.slots) == (1, 1)
    assert traits.input is Input.WHOLE
    assert traits.ping is None and traits.connection_keepalive is None
    assert traits.policies == (Interrupt.DISCARD,)
    assert adapter.name in ("gradium", "xai")


@BOTH
def test_only_the_text_is_sent(adapter: Adapter) -> None:
    """Exactly as it is, in one frame; its end, a flush and an interruption send nothing."""
    gen = begin(adapter)
    (request,) = parsed(adapter.open(gen), adapter.text(gen, "  $3.50 <b>ü\n"))
    assert request["text"] == "  $3.50 <b>ü\n"
    assert list(finish(adapter, gen)) == list(adapter.flush(gen)) == []
    assert list(adapter.interrupt(gen)) == list(adapter.shutdown()) == []


@BOTH
def test_the_key_is_in_a_header_only(adapter: Adapter) -> None:
    shake = adapter.handshake(adapter.options(), SECRET)
    assert SECRET in "".join(shake.headers.values())
    assert SECRET not in shake.url and SECRET not in repr(shake)
    assert shake.first_frames == () and shake.subprotocols == ()
    assert adapter.handshake(adapter.options(), None).headers == {}


@BOTH
def test_settings_are_those_of_the_socket(adapter: Adapter) -> None:
    """All that both have."""
    socket = Gradium if isinstance(adapter, GradiumRest) else XAI
    for field in attrs.fields(type(adapter)):
        if field.name not in ("only_audio",):
            assert field.name in attrs.fields_dict(socket)
    assert adapter.tuned().formats == socket.traits.formats
    assert adapter.tuned().key_variable == socket.traits.key_variable


@BOTH
def test_a_text_message_is_not_http(adapter: Adapter) -> None:
    with pytest.raises(RemoteProtocolError):
        adapter.decode(b"{}", wire(adapter))


@BOTH
@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, AuthError, False),
        (402, QuotaError, False),
        (403, AuthError, False),
        (422, ConfigError, False),
        (429, RateLimitError, True),
        (302, HandshakeError, False),
        (500, HandshakeError, True),
        (503, HandshakeError, True),
    ],
)
def test_refusals(adapter: Adapter, status: int, kind: type[Error], retryable: bool) -> None:
    """By their status, in the words of the body, for as long as Retry-After asks."""
    refusal = DialFailure(status=status, headers={"retry-after": "3"}, body='{"detail": "not now"}')
    verdict = adapter.verdict(refusal, busy=True)
    assert verdict.scope is Scope.CONNECTION
    assert type(verdict.error) is kind and verdict.error.retryable is retryable
    assert verdict.error.retry_after == 3.0
    assert "not now" in verdict.error.message


# --- Gradium --------------------------------------------------------------------------------------

READY = {"type": "ready", "request_id": "rq_91c2", "sample_rate": 48000}
EOS = {"type": "end_of_stream"}


def spoken(data: bytes) -> dict[str, object]:
    return {"type": "audio", "audio": b64(data), "start_s": 0.0, "stop_s": 0.08}


def word(text: str, start: float, **stop: float) -> dict[str, object]:
    return {"type": "text", "text": text, "start_s": start, **stop}


def test_gradium_a_request() -> None:
    assert gradium.handshake(gradium.options(), "gd_x") == Handshake(
        url="https://api.gradium.ai/api/post/speech/tts", headers={"x-api-key": "gd_x"}
    )
    assert parsed(gradium.text(begin(gradium), "Your table is ready.")) == [
        {
            "text": "Your table is ready.",
            "voice_id": "YTpq7expH9539ERJ",
            "output_format": "pcm_24000",
            "only_audio": False,
        }
    ]


def test_gradium_settings() -> None:
    adapter = Gradium(
        voice="v", model="m", format="mulaw_8000", temp=0.5, padding_bonus=-1.0, cfg_coef=2.0,
        rewrite_rules="en",
    ).rest()  # fmt: skip
    (request,) = parsed(adapter.text(begin(adapter), "Hi."))
    config = json.loads(str(request.pop("json_config")))
    assert config == {"temp": 0.5, "padding_bonus": -1.0, "cfg_coef": 2.0, "rewrite_rules": "en"}
    assert request == {
        "text": "Hi.",
        "voice_id": "v",
        "output_format": "ulaw_8000",
        "model_name": "m",
        "only_audio": False,
    }


def test_gradium_a_pronunciation_dictionary_is_for_the_socket() -> None:
    with pytest.raises(ConfigError, match="pronunciation"):
        Gradium(voice="v", pronunciation_id="p").rest()


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_gradium_lines(size: int) -> None:
    """The socket's messages; the end of the body is the end, with end_of_stream or without."""
    for end in ([], [EOS]):
        body = lines(READY, word("two", 0.1, stop_s=0.2), spoken(b"12"), spoken(b"34"), *end)
        signals = read(gradium, body, "application/x-ndjson", size)
        assert signals == [
            Note("ready"),
            Marks((("two", 0.1, 0.2),)),
            Audio(b"12"),
            Audio(b"34"),
            *[Note("unknown")] * len(end),
            OutputEnd(),
        ]


@pytest.mark.parametrize(
    ("body", "says"),
    [(b'{"type": "audio", "audio": "?"}\n', "base64"), (b"<html>\n", "JSON"), (b"{}\n", "JSON")],
)
def test_gradium_lines_that_are_broken(body: bytes, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        read(gradium, body, "")


def test_gradium_an_error_among_the_lines() -> None:
    """It has no code, and fails the request."""
    body = lines(READY, {"type": "error", "message": "worker died"})
    failed = failure(read(gradium, body, "")[1])
    assert facts(failed.error) == (GenerationError, True, "worker died")
    assert gradium.verdict(failed, busy=True).scope is Scope.CONNECTION


def test_gradium_only_audio() -> None:
    """The body is the audio; what frames it is in the pool's key, as it is the request's."""
    adapter = attrs.evolve(gradium, only_audio=True)
    (request,) = parsed(adapter.text(begin(adapter), "Hi."))
    assert request["only_audio"] is True
    assert read(adapter, b"1234", "audio/pcm", 3) == [Audio(b"123"), Audio(b"4"), OutputEnd()]
    assert adapter.pool_key(adapter.options()) != gradium.pool_key(gradium.options())
    with pytest.raises(RemoteProtocolError):
        read(adapter, b"{}", "application/json")


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable", "says"),
    [
        (500, "error from server 1008: API key is revoked or expired", AuthError, False, "revoked"),
        (500, "error from server 1008: Unsupported output format x", GenerationError, False, "x"),
        (500, "error from server 1011: Embeddings not found for x", NotFoundError, False, "x"),
        (500, "error from server 1011: temp should be between 0 and 1", GenerationError, False, ""),
        (500, "error from server 1011: oops", GenerationError, True, "oops"),
        (
            500,
            "error from server 1008: Concurrency limit exceeded",
            ConcurrencyLimitError,
            True,
            "",
        ),
        (500, "upstream connect error", HandshakeError, True, "upstream connect error"),
        (400, '{"error": "Field required"}', ConfigError, False, "Field required"),
        (403, '{"detail": "residency"}', AuthError, False, "residency"),
        (404, "", NotFoundError, False, "404"),
    ],
)
def test_gradium_refusals(
    status: int, body: str, kind: type[Error], retryable: bool, says: str
) -> None:
    error = gradium.verdict(DialFailure(status=status, body=body), busy=True).error
    assert type(error) is kind and error.retryable is retryable
    assert says in error.message


def test_gradium_a_close_is_read_as_anywhere() -> None:
    assert gradium.verdict(Closed(1000), busy=False).scope is Scope.NOTHING


# --- xAI ------------------------------------------------------------------------------------------

TIMES = {"graph_chars": list("Hi a"), "graph_times": [[0, 0.1], [0.1, 0.2], [0.2, 0.3], [0.3, 0.4]]}


def test_xai_a_request() -> None:
    assert xai.handshake(xai.options(), "k") == Handshake(
        url="https://api.x.ai/v1/tts", headers={"Authorization": "Bearer k"}
    )
    assert parsed(xai.text(begin(xai), "Your order has shipped.")) == [
        {
            "text": "Your order has shipped.",
            "voice_id": "ara",
            "language": "en",
            "output_format": {"codec": "pcm", "sample_rate": 24000},
        }
    ]


def test_xai_settings() -> None:
    adapter = XAI(
        format="mulaw_8000", speed=1.2, optimize_streaming_latency=0, text_normalization=False,
        with_timestamps=True,
    ).rest()  # fmt: skip
    assert parsed(adapter.text(begin(adapter), "Hi.")) == [
        {
            "text": "Hi.",
            "voice_id": "eve",
            "language": "auto",
            "output_format": {"codec": "mulaw", "sample_rate": 8000},
            "speed": 1.2,
            "optimize_streaming_latency": 0,
            "text_normalization": False,
            "with_timestamps": True,
        }
    ]
    assert adapter.tuned().max_text == XAI.traits.max_text


XAI_KINDS = {"audio/pcm": "pcm_24000", "audio/basic": "mulaw_8000", "audio/alaw": "alaw_8000"}


@pytest.mark.parametrize("kind", [*XAI_KINDS, "application/octet-stream"])
def test_xai_the_answer_is_the_audio(kind: str) -> None:
    adapter = attrs.evolve(xai, format=XAI_KINDS.get(kind))
    assert read(adapter, b"1234", kind, 3) == [Audio(b"123"), Audio(b"4"), OutputEnd()]


@pytest.mark.parametrize("kind", XAI_KINDS)
def test_xai_audio_in_another_encoding_is_not_played(kind: str) -> None:
    for format in {*XAI_KINDS.values()} - {XAI_KINDS[kind]}:
        with pytest.raises(RemoteProtocolError, match=f"{kind}, not the audio asked for, {format}"):
            read(attrs.evolve(xai, format=format), b"1234", kind)


def test_xai_timed_audio_in_another_encoding_is_not_played() -> None:
    adapter = attrs.evolve(xai, with_timestamps=True)
    for kind in ("audio/mpeg", "audio/basic", "audio/wav", "audio/ogg", "audio/MPEG",
                 "audio/mpeg; x=1", " Audio/X-WAV;codec=1", "text/html"):  # fmt: skip
        body = json.dumps({"audio": "AAA=", "content_type": kind}).encode()
        named = kind.partition(";")[0].strip().lower()
        with pytest.raises(RemoteProtocolError, match=f"{named}, not the audio asked for") as info:
            read(adapter, body, "application/json")
        assert not info.value.retryable
    bare = "audio/pcm", "audio/PCM;rate=24000", "application/octet-stream", "audio/x", "", 7, None
    for kind in bare:
        body = json.dumps({"audio": "AAA=", "content_type": kind}).encode()
        assert sound(read(adapter, body, "application/json")) == b"\0\0"


def test_xai_json_that_nobody_asked_for_is_not_played() -> None:
    with pytest.raises(RemoteProtocolError, match="application/json"):
        read(xai, b'{"audio": "AA=="}', "application/json")


@pytest.mark.parametrize("size", [1, 30, 10_000])
def test_xai_times(size: int) -> None:
    """One object, whose times become those of words."""
    adapter = attrs.evolve(xai, with_timestamps=True)
    body = json.dumps({"audio": b64(b"1234"), "duration": 0.4, "audio_timestamps": TIMES})
    assert read(adapter, body.encode(), "application/json", size) == [
        Marks((("Hi", 0.0, 0.2),)),
        Marks((("a", 0.3, 0.4),)),
        Audio(b"1234"),
        OutputEnd(),
    ]
    assert adapter.pool_key(adapter.options()) != xai.pool_key(xai.options())


def test_xai_times_that_are_missing_cost_no_audio() -> None:
    adapter = attrs.evolve(xai, with_timestamps=True)
    for times in ({}, {"audio_timestamps": {"graph_chars": ["a"]}}):
        body = json.dumps({"audio": b64(b"12"), **times}).encode()
        assert read(adapter, body, "application/json") == [Audio(b"12"), OutputEnd()]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"audio": 1}', b'{"audio": "?"}', b"\xff"])
def test_xai_times_that_are_no_answer(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(attrs.evolve(xai, with_timestamps=True), body, "application/json")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, '{"error": "invalid speed"}', ConfigError),
        (400, '{"error": {"message": "unknown voice"}}', InvalidVoice),
        (404, "{}", NotFoundError),
    ],
)
def test_xai_refusals(status: int, body: str, kind: type[Error]) -> None:
    error = xai.verdict(DialFailure(status=status, body=body), busy=True).error
    assert type(error) is kind and not error.retryable


# --- whatever comes -------------------------------------------------------------------------------

eleven = ElevenLabs(voice="V1").rest()
kugel = KugelAudio(voice="1071").rest()
sm = SM().rest()
LAW = "mulaw_8000"
PCM = bytes(range(200))
WAV = (
    b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 22050, 44100, 2, 16)
    + b"data\xff\xff\xff\xff"
)  # fmt: skip
ALIGNED = {
    "characters": list("Hi a"),
    "character_start_times_seconds": [0.0, 0.1, 0.2, 0.3],
    "character_end_times_seconds": [0.1, 0.2, 0.3, 0.4],
}
ELEVEN = lines(
    {"audio_base64": b64(b"1234"), "alignment": ALIGNED, "normalized_alignment": None},
    {"audio_base64": b64(b"12"), "alignment": None, "normalized_alignment": ALIGNED},
    {"audio_base64": b64(b"12"), "alignment": {**ALIGNED, "characters": []}},
    {"detail": {"code": "system_busy", "status": "system_busy", "message": "busy"}},
)
REFUSED = b'{"error":"No credits","error_code":"INSUFFICIENT_CREDITS","code":402,"request_id":"r1"}'
XAI_TIMED = json.dumps(
    {"audio": b64(b"1234"), "content_type": "audio/pcm", "duration": 0.4, "audio_timestamps": TIMES}
)
GRADIUM = (
    READY, word("a", 0.0), spoken(b"12"), {"type": "error", "message": "concurrency limit"},
    {"type": "error", "message": "x", "code": 429}, {"type": "error", "message": "x", "code": 1008},
    {"type": "error", "message": "setup", "code": 1008},
    {"type": "error", "message": "embeddings of x not found"}, {"type": "error"}, EOS,
)  # fmt: skip
ANSWERS: dict[str, tuple[Adapter, str, bytes]] = {
    "elevenlabs": (eleven, "application/json", ELEVEN),
    "elevenlabs dictionaries": (
        attrs.evolve(eleven, pronunciation_dictionaries=[("a", "1")]), "application/json", ELEVEN,
    ),
    "elevenlabs audio": (attrs.evolve(eleven, with_timestamps=False), "audio/pcm", PCM),
    "elevenlabs law": (attrs.evolve(eleven, format=LAW), "audio/basic", PCM),
    "gradium": (gradium, "application/x-ndjson", lines(*GRADIUM)),
    "gradium wav": (
        attrs.evolve(gradium, only_audio=True, format="pcm_22050"), "audio/wav", WAV + PCM,
    ),
    "kugelaudio": (kugel, "audio/pcm", PCM),
    "kugelaudio law": (attrs.evolve(kugel, format=LAW), "audio/basic", PCM),
    "kugelaudio refused": (kugel, "application/json", REFUSED),
    "sm": (sm, "audio/wav", WAV + PCM),
    "sm pcm": (sm, "audio/pcm", PCM),
    "xai": (xai, "audio/pcm", PCM),
    "xai law": (attrs.evolve(xai, format=LAW), "audio/basic", PCM),
    "xai timed": (attrs.evolve(xai, with_timestamps=True), "application/json", XAI_TIMED.encode()),
}  # fmt: skip
TYPES = (
    "audio/pcm", "Audio/Basic; x=1", "audio/wav", "audio/mpeg", "application/octet-stream",
    "application/json; charset=utf-8", "text/html", "", ";", "audio/", "x\x1b" * 300, "é/\ud800",
)  # fmt: skip
RATES = ("24000", "8000", "", "fast", "-1", "9" * 5000, "١٢", "1e3")


def odd_answers(name: str, count: int) -> Iterator[tuple[Wire, list[bytes]]]:
    """Answers with a body, a type or a rate that may be another, cut anywhere, to the end."""
    adapter, kind, good = ANSWERS[name]
    rng = random.Random(name)
    for _ in range(count):
        body = bytearray(good)
        for _ in range(rng.randrange(5)):
            at = rng.randrange(len(body) + 1)
            body[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        if good.startswith(b"{") and rng.random() < 0.7:
            messages = good.decode().split("\n")
            count = min(3, len(messages))  # where the answer is one object, two would be none
            body = bytearray(
                b"\n".join(one.data for one in mutations(messages, count, str(rng.random())))
            )
        on = wire(adapter)
        on.headers = {"content-type": kind if rng.random() < 0.8 else rng.choice(TYPES)}
        if rng.random() < 0.5:
            on.headers = {**on.headers, "x-sample-rate": rng.choice(RATES)}
        # A number of five thousand digits tells no more byte by byte.
        size = max(rng.choice((1, 7, 50, 10_000)), len(body) // 1000)
        yield on, [*(bytes(body[at : at + size]) for at in range(0, len(body), size)), b""]


@pytest.mark.counted
@pytest.mark.parametrize("name", ANSWERS)
def test_odd_answers_are_signals_or_a_protocol_error(name: str) -> None:
    """Never anything else, whatever the headers and wherever they are cut."""
    adapter, heard = ANSWERS[name][0], 0
    for on, pieces in odd_answers(name, 1500):
        heard += all(understood(adapter, Raw(piece, False), on) for piece in pieces)
    assert heard > 100, "else this tests nothing"


@pytest.mark.counted
@pytest.mark.parametrize("provider", sorted({name.split()[0] for name in ANSWERS}))
def test_odd_answers_reach_every_line_of_the_decoder(provider: str) -> None:
    """What answers have in common is tried by tests of its own."""
    reach = Reach(apart="_http.py")
    for name, (adapter, _, _) in ANSWERS.items():
        if name.split()[0] == provider:
            for on, pieces in odd_answers(name, 1000):
                with reach.watched(), suppress(ProtocolError):
                    for piece in pieces:
                        list(adapter.decode_binary(piece, on))
    assert set(reach.missed()) == UNREACHED.get(provider, set())


UNREACHED = {
    # Messages are looked through for these words before; here it is for the reasons of a close.
    "gradium": {
        "gradium.py: return ConcurrencyLimitError(words, retry_after=_CONCURRENCY_WAIT)",
    },
}
"""Lines of a decoder that these answers cannot reach, by provider."""
