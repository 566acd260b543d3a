"""xAI's messages, frame by frame, as docs.x.ai has them."""

import base64
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.adapters.wire import begin, close, decode, facts, failure, finish, parsed, wire
from ttsmux.adapter import (
    Adapter,
    Audio,
    Base,
    CancelAck,
    DialFailure,
    EarlyEnd,
    Failed,
    Marks,
    Note,
    Options,
    OutputEnd,
    Scope,
    Wire,
)
from ttsmux.adapters.xai import XAI, XAIRest
from ttsmux.audio import AudioFormat, MarkKind
from ttsmux.errors import (
    AtCapacity,
    AuthError,
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
from ttsmux.settings import Interrupt

xai = XAI(language="en")

DONE = {"type": "text.done"}
CLEAR = {"type": "text.clear"}
OVER = {"type": "audio.done", "trace_id": "5f1c7f0e-5d0b-4f37-9f0e-0c9d3f6b2a11"}
ACK = {"type": "audio.clear"}


def delta(text: str) -> dict[str, object]:
    return {"type": "text.delta", "delta": text}


def audio(data: bytes, **fields: object) -> dict[str, object]:
    return {"type": "audio.delta", "delta": base64.b64encode(data).decode(), **fields}


def times(chars: str, start: float = 0.0, step: float = 0.5) -> dict[str, object]:
    """Times of *chars*, each as long as *step*."""
    spans = [[start + step * n, start + step * (n + 1)] for n in range(len(chars))]
    return {"audio_timestamps": {"graph_chars": list(chars), "graph_times": spans}}


# --- transcripts ----------------------------------------------------------------------------------


def test_a_simple_generation() -> None:
    """The settings go with the upgrade; then text, the end of text, audio, and audio.done."""
    shake = xai.handshake(xai.options(), "xai-secret")
    assert shake.url == ("wss://api.x.ai/v1/tts?language=en&voice=eve&codec=pcm&sample_rate=24000")
    assert shake.headers == {"Authorization": "Bearer xai-secret"}
    assert shake.subprotocols == () and shake.first_frames == ()
    gen = begin(xai)
    assert parsed(
        xai.open(gen),
        xai.text(gen, "Good morning. "),
        xai.text(gen, "How can I help?"),
        finish(xai, gen),
    ) == [delta("Good morning. "), delta("How can I help?"), DONE]
    assert decode(
        xai,
        {"type": "audio.delta", "delta": "AAAAAQAC"},
        {"type": "audio.delta", "delta": "AwAEAAUA"},
        OVER,
    ) == [Audio(b"\0\0\0\1\0\2"), Audio(b"\3\0\4\0\5\0"), OutputEnd()]


def test_two_generations_on_one_connection() -> None:
    """The same frames again, nothing between them: what follows audio.done is the next one's."""
    first, second, on = begin(xai, "a" * 32), begin(xai, "b" * 32), wire(xai)
    for gen, said in ((first, "First answer."), (second, "Second answer.")):
        frames = parsed(xai.open(gen), xai.text(gen, said), finish(xai, gen))
        assert frames == [delta(said), DONE]
        assert decode(xai, audio(b"\1\2"), OVER, on=on) == [Audio(b"\1\2"), OutputEnd()]
    assert xai.tuned().seats == 1, "the second waits for the end of the first"


def test_an_unknown_voice_is_refused_at_the_handshake() -> None:
    """404 before the upgrade; a retry would change nothing."""
    verdict = xai.verdict(DialFailure(status=404, body="voice nobody not found"), busy=False)
    assert verdict.scope is Scope.CONNECTION
    assert facts(verdict.error) == (NotFoundError, False, "voice nobody not found")


def test_a_bad_map_leaves_the_connection_open() -> None:
    """
    An error while nobody speaks answers a session.update; the next utterance is spoken.

    The adapter sends no session.update itself: it has no option for a map. Only what comes back is
    tested here.
    """
    said = 'replace key "C++" may not contain punctuation or symbols'
    (signal, *rest) = decode(xai, {"type": "error", "message": said}, audio(b"\1\2"), OVER)
    verdict = xai.verdict(failure(signal), busy=False)
    assert verdict.scope is Scope.NOTHING and verdict.error.message == said
    assert rest == [Audio(b"\1\2"), OutputEnd()]


AGED = (
    "TTS pipeline timed out after 2101s (trace_id=6d1e) "
    "(Deadline expired before operation could complete)"
)


@pytest.mark.parametrize("busy", [True, False])
def test_an_aged_connection(busy: bool) -> None:
    """The whole connection is done for, speaking or idle, and a fresh one may do better."""
    (signal,) = decode(xai, {"type": "error", "message": AGED})
    verdict = xai.verdict(failure(signal), busy)
    assert verdict.scope is Scope.AGE
    assert facts(verdict.error) == (GenerationError, True, AGED)


def test_an_interruption() -> None:
    """text.clear, late audio, the acknowledgement; then the connection speaks again."""
    gen, again, on = begin(xai), begin(xai, "b" * 32), wire(xai)
    frames = parsed(xai.text(gen, "A very long explanation …"), finish(xai, gen))
    assert frames == [delta("A very long explanation …"), DONE]
    assert decode(xai, audio(b"\1\2"), on=on) == [Audio(b"\1\2")]
    assert parsed(xai.interrupt(gen)) == [CLEAR]
    assert decode(xai, audio(b"\3\4"), ACK, on=on) == [Audio(b"\3\4"), CancelAck()]
    frames = parsed(xai.text(again, "Sure, let me stop."), finish(xai, again))
    assert frames == [delta("Sure, let me stop."), DONE]
    assert decode(xai, audio(b"\5\6"), OVER, on=on) == [Audio(b"\5\6"), OutputEnd()]


def test_a_cancel_that_crosses_the_end() -> None:
    """Both come; the core knows that only the acknowledgement counts now."""
    assert decode(xai, OVER, ACK) == [OutputEnd(), CancelAck()]


def test_a_cancel_without_an_acknowledgement() -> None:
    """After 1.5 s the connection is given up: that is a trait, the core does it."""
    traits = xai.tuned()
    assert traits.interrupt is Interrupt.CANCEL and traits.acknowledgement == 1.5
    assert Interrupt.DISCARD in traits.policies, "for proxies that do not know text.clear"
    assert Interrupt.MUTE not in traits.policies, "without ids nothing can be muted"


def test_an_interruption_before_the_end_of_text() -> None:
    """text.clear alone: the utterance is gone, no text.done is owed."""
    gen = begin(xai)
    assert parsed(xai.text(gen, "I was about to"), xai.interrupt(gen)) == [
        delta("I was about to"),
        CLEAR,
    ]


def test_what_xai_does_not_have_sends_nothing() -> None:
    """No opening, no flush, no keepalive, no goodbye, no second step, no REST."""
    gen = begin(xai)
    nothing = [xai.open(gen), xai.flush(gen), xai.release(gen), xai.shutdown()]
    nothing += [xai.keepalive(gen), xai.keepalive(None)]
    assert [list(frames) for frames in nothing] == [[]] * 6
    assert isinstance(xai.rest(), XAIRest)


# --- the handshake --------------------------------------------------------------------------------

PLAIN = {"language": "auto", "voice": "eve", "codec": "pcm", "sample_rate": "24000"}


def query(adapter: XAI) -> dict[str, str]:
    url = urlsplit(adapter.handshake(adapter.options(), None).url)
    assert (url.scheme, url.netloc, url.path, url.fragment) == ("wss", "api.x.ai", "/v1/tts", "")
    pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=True)
    assert len(pairs) == len(dict(pairs)), "each parameter once"
    return dict(pairs)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        ({"voice": "Ara"}, {"voice": "Ara"}),
        ({"language": "pt-BR"}, {"language": "pt-BR"}),
        ({"language": "auto"}, {"language": "auto"}),
        ({"speed": 1.0}, {"speed": "1.0"}),
        ({"speed": 0.7}, {"speed": "0.7"}),
        ({"speed": 1.5}, {"speed": "1.5"}),
        ({"optimize_streaming_latency": 0}, {"optimize_streaming_latency": "0"}),
        ({"optimize_streaming_latency": 2}, {"optimize_streaming_latency": "2"}),
        ({"text_normalization": True}, {"text_normalization": "true"}),
        ({"text_normalization": False}, {"text_normalization": "false"}),
        ({"with_timestamps": True}, {"with_timestamps": "true"}),
        ({"with_timestamps": False}, {}),
        # There is no model on either surface.
        ({"model": "grok"}, {}),
        ({"format": "mulaw_8000"}, {"codec": "mulaw", "sample_rate": "8000"}),
        ({"format": "ulaw_8000"}, {"codec": "mulaw", "sample_rate": "8000"}),
        ({"format": "alaw_8000"}, {"codec": "alaw", "sample_rate": "8000"}),
        *(
            ({"format": f"pcm_{rate}"}, {"sample_rate": str(rate)})
            for rate in (8000, 16000, 22050, 24000, 44100, 48000)
        ),
    ],
)
def test_query(options: dict[str, object], fields: dict[str, str]) -> None:
    """What is set stands in the query, booleans in lower case; what is not is left out."""
    assert query(XAI(**options)) == {**PLAIN, **fields}  # type: ignore[arg-type]


def test_a_language_cannot_break_the_url() -> None:
    """It is the one text that is not checked beforehand."""
    nasty = "en&voice=x#\r\nHost: y z"
    adapter = XAI(language=nasty)
    assert query(adapter)["language"] == nasty
    url = adapter.handshake(adapter.options(), None).url
    assert url.isascii() and not any(char.isspace() for char in url)


@pytest.mark.parametrize("secret", [None, ""])
def test_handshake_without_a_key(secret: str | None) -> None:
    """A simulator or a proxy may need none; an empty bearer would be a wrong key."""
    assert xai.handshake(xai.options(), secret).headers == {}


# --- messages to the server -----------------------------------------------------------------------


def test_text_is_sent_as_it_is() -> None:
    """Tags, quotes, spaces at the ends and characters beyond ASCII arrive as they were written."""
    piece = ' [laugh] <whisper>"Zürich"</whisper> \\ 日本 😀 /ˈɛndʒɪn/ '
    assert parsed(xai.text(begin(xai), piece)) == [delta(piece)]


def test_no_frame_names_a_generation() -> None:
    """The protocol has no ids; frames of two generations are the same."""
    a, b = begin(xai, "a" * 32), begin(xai, "b" * 32)
    for gen in (a, b):
        frames = [*xai.text(gen, "Hi."), *xai.end(gen), *xai.interrupt(gen)]
        assert not any(gen.id in str(frame) for frame in frames)


def test_an_end_that_comes_too_early_is_an_error() -> None:
    """audio.done before our text.done: the guide has no such thing, so nothing can be trusted."""
    assert xai.tuned().early_end is EarlyEnd.ERROR


def test_a_piece_of_text_stays_under_the_limit() -> None:
    """15,000 characters in the guide; what a character is there is not said."""
    assert xai.tuned().max_text == 12_000


# --- messages from the server ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "signals"),
    [
        ({"type": "audio.delta", "delta": "AAE="}, [Audio(b"\0\1")]),
        ({"type": "audio.delta", "delta": "AA=="}, [Audio(b"\0")]),
        ({"type": "audio.delta", "delta": ""}, []),
        ({"type": "audio.delta", "delta": None}, []),
        ({"type": "audio.delta"}, []),
        ({"type": "audio.delta", "delta": "AA==", "new": {"a": [1]}}, [Audio(b"\0")]),
        ({"type": "audio.delta", "delta": "AA==", "audio_timestamps": None}, [Audio(b"\0")]),
        ({"type": "audio.delta", "delta": "AA==", "audio_timestamps": {}}, [Audio(b"\0")]),
        ({"type": "audio.delta", "delta": "AA==", "audio_duration": 0.3}, [Audio(b"\0")]),
        (OVER, [OutputEnd()]),
        ({"type": "audio.done"}, [OutputEnd()]),
        (ACK, [CancelAck()]),
        ({"type": "session.updated", "replace": {"a": "b"}}, [Note("session.updated")]),
        ({"type": "session.updated", "delta": 5}, [Note("session.updated")]),
        ({"type": "audio.weather", "sunny": True}, [Note("unknown")]),
        ({"type": "audio.weather", "delta": {"a": 1}}, [Note("unknown")]),
        ({"type": ""}, [Note("unknown")]),
    ],
)
def test_messages(message: dict[str, object], signals: list[object]) -> None:
    """Each message, with its fields present and absent; the unknown is ignored."""
    assert decode(xai, message) == signals


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
        {"type": "audio.delta", "delta": 5},
        {"type": "audio.delta", "delta": "?AA="},
        {"type": "audio.delta", "delta": "AAE"},
        {"type": "audio.delta", "delta": "AA==\n"},
        {"type": "audio.delta", "delta": "é"},
        '{"type":"audio.delta","audio_timestamps":NaN}',
        b'{"type":"audio.delta","delta":"\xff"}',
        b'{"type":"\xff"}',
        '{"type":"audio.delta","delta":"\\ud800"}',
    ],
)
def test_nonsense_is_a_protocol_error(message: object) -> None:
    """A message that is used must be what it should be; nothing else escapes."""
    with pytest.raises(RemoteProtocolError):
        decode(xai, message)


def test_binary_messages_are_ignored() -> None:
    """None is documented; they carry nothing for us."""
    assert list(xai.decode_binary(b"\0\1", wire(xai))) == [Note("binary")]


# --- word times -----------------------------------------------------------------------------------


def test_words_of_one_message() -> None:
    """Characters become words at spaces; the last waits for the end of the utterance."""
    assert decode(xai, audio(b"\1\2", **times("Hi you. ")), OVER) == [
        Marks((("Hi", 0.0, 1.0), ("you.", 1.5, 3.5))),
        Audio(b"\1\2"),
        OutputEnd(),
    ]


def test_the_documented_example() -> None:
    """`Hi.` in three characters, and no space behind it: the end of the utterance ends the word."""
    message = {
        "type": "audio.delta",
        "delta": "AAABAAIA//8=",
        "audio_timestamps": {
            "graph_chars": ["H", "i", "."],
            "graph_times": [[0.00, 0.08], [0.08, 0.19], [0.19, 0.30]],
        },
        "audio_duration": 0.30,
    }
    assert decode(xai, message, OVER) == [
        Audio(b"\0\0\1\0\2\0\xff\xff"),
        Marks((("Hi.", 0.0, 0.3),)),
        OutputEnd(),
    ]


def test_words_are_carried_over_messages() -> None:
    """A word may be cut anywhere, and messages without times may lie between."""
    on = wire(xai)
    assert decode(xai, audio(b"\1\2", **times("un")), on=on) == [Audio(b"\1\2")]
    assert decode(xai, audio(b"\3\4"), on=on) == [Audio(b"\3\4")]
    assert decode(xai, {"type": "audio.delta", "audio_timestamps": None}, on=on) == []
    assert decode(xai, {"type": "audio.delta", **times("believ", 1.0)}, on=on) == []
    assert decode(xai, {"type": "audio.delta", "delta": "", **times("able it", 4.0)}, on=on) == [
        Marks((("unbelievable", 0.0, 6.0),))
    ]
    assert decode(xai, OVER, on=on) == [Marks((("it", 6.5, 7.5),)), OutputEnd()]
    assert decode(xai, OVER, on=on) == [OutputEnd()], "nothing is left for the next utterance"


@pytest.mark.parametrize(
    "span", [{"start": 0.5, "end": 1.0}, {"end": 1, "start": 0.5, "char": "b"}, [0.5, 1.0]]
)
def test_times_as_pairs_and_as_objects(span: object) -> None:
    """Some examples of the API reference show objects."""
    stamps = {"graph_chars": ["a", "b", " "], "graph_times": [[0, 0.5], span, [1.0, 1.0]]}
    assert decode(xai, {"type": "audio.delta", "audio_timestamps": stamps}) == [
        Marks((("ab", 0.0, 1.0),))
    ]


@pytest.mark.parametrize(
    "stamps",
    [
        {"graph_chars": ["a", " "], "graph_times": [[0.0, 0.5]]},
        {"graph_chars": ["a"], "graph_times": [[0.0, 0.5], [0.5, 1.0]]},
        {"graph_chars": ["a", " "]},
        {"graph_times": [[0.0, 0.5]]},
        {"graph_chars": ["a", " "], "graph_times": [[0.0], [0.5, 1.0]]},
        {"graph_chars": ["a", " "], "graph_times": [[0.0, 0.5, 1.0], [0.5, 1.0]]},
        {"graph_chars": ["a", " "], "graph_times": [None, [0.5, 1.0]]},
        {"graph_chars": ["a", " "], "graph_times": [[None, None], [0.5, 1.0]]},
        {"graph_chars": ["a", " "], "graph_times": [["0", "1"], [0.5, 1.0]]},
        {"graph_chars": ["a", " "], "graph_times": [{"start": 0.5}, [0.5, 1.0]]},
        {"graph_chars": ["a", " "], "graph_times": [{"start": 0, "end": None}, [0.5, 1.0]]},
        {"graph_chars": "a ", "graph_times": [[0.0, 0.5], [0.5, 1.0]]},
        {"graph_chars": [1, 2], "graph_times": [[0.0, 0.5], [0.5, 1.0]]},
        [],
        "soon",
        7,
    ],
)
def test_times_that_make_no_sense_cost_no_audio(stamps: object) -> None:
    """They are dropped with the word they might have gone on; what comes after is read again."""
    on = wire(xai)
    decode(xai, audio(b"\0\0", **times("lost")), on=on)
    assert decode(xai, audio(b"\1\2", audio_timestamps=stamps), on=on) == [Audio(b"\1\2")]
    assert decode(xai, audio(b"\3\4", **times("Hi ")), on=on) == [
        Marks((("Hi", 0.0, 1.0),)),
        Audio(b"\3\4"),
    ]


def test_an_acknowledged_cancel_drops_the_word_that_was_begun() -> None:
    """It belongs to what nobody will hear."""
    on = wire(xai)
    decode(xai, audio(b"\1\2", **times("unfin")), ACK, on=on)
    assert decode(xai, OVER, on=on) == [OutputEnd()]


def test_spaces_alone_are_no_words() -> None:
    """Nothing is between two spaces, and an utterance may begin with one."""
    assert decode(xai, {"type": "audio.delta", **times("  \n ")}, OVER) == [OutputEnd()]


def test_words_of_two_connections_do_not_mix() -> None:
    """What is carried over lies in the scratch of the wire."""
    one, two = wire(xai), wire(xai)
    decode(xai, {"type": "audio.delta", **times("one")}, on=one)
    decode(xai, {"type": "audio.delta", **times("two")}, on=two)
    assert decode(xai, OVER, on=one) == [Marks((("one", 0.0, 1.5),)), OutputEnd()]
    assert decode(xai, OVER, on=two) == [Marks((("two", 0.0, 1.5),)), OutputEnd()]


def test_marks_count_from_the_start_of_the_utterance() -> None:
    """Times keep growing over its messages, so they are used as they are."""
    (marks,) = decode(xai, {"type": "audio.delta", **times("a ", 7.0)})
    assert isinstance(marks, Marks)
    assert (marks.base, marks.kind, marks.id) == (Base.GENERATION, MarkKind.WORD, None)


def test_a_scratch_that_something_else_wrote_to_does_no_harm() -> None:
    """What is found there is taken for a word only if it is one."""
    on = Wire(xai.options())
    on.scratch["word"] = "nonsense"
    assert decode(xai, OVER, on=on) == [OutputEnd()]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"message": "no luck"}, "no luck"),
        ({"error": "no luck"}, "no luck"),
        ({"error": {"code": "x", "type": "y", "message": "no luck"}}, "no luck"),
        ({"error": {"message": "no luck"}, "message": "something"}, "no luck"),
        ({"error": "no luck", "message": ""}, "no luck"),
        ({"error": "code 7", "message": "no luck"}, "no luck"),
        ({"error": {"code": 7}, "message": "no luck"}, "no luck"),
        ({"error": {"message": 7}}, "the server reported an error"),
        ({"error": {}}, "the server reported an error"),
        ({"error": ["no"], "message": {"a": 1}}, "the server reported an error"),
        ({"error": None, "message": None}, "the server reported an error"),
        ({}, "the server reported an error"),
        ({"message": "bad\x1b[2J\r\nthing"}, "bad [2J thing"),
        ({"error": {"message": "x" * 9999}}, "x" * 200),
    ],
)
def test_errors(fields: dict[str, object], words: str) -> None:
    """Documented is `message`; others have seen a string or an object. It concerns everything."""
    (signal,) = decode(xai, {"type": "error", **fields})
    assert facts(failure(signal).error) == (GenerationError, True, words)
    assert failure(signal).id is None
    verdict = xai.verdict(failure(signal), busy=True)
    assert verdict.scope is Scope.CONNECTION, "no id: nobody knows what still follows"
    assert xai.verdict(failure(signal), busy=False).scope is Scope.NOTHING


@pytest.mark.parametrize(
    ("words", "retryable"),
    [
        ("text has more than 60000 characters after replacement", False),
        ("Replaced text exceeds 60,000 characters", False),
        ("160000 characters a minute are allowed", True),
        ("the voice has 60000 samples", True),
    ],
)
def test_too_long_a_text_is_not_sent_again(words: str, retryable: bool) -> None:
    """It would be as long."""
    (signal,) = decode(xai, {"type": "error", "message": words})
    assert facts(failure(signal).error) == (GenerationError, retryable, words)


@pytest.mark.parametrize(
    "words", [AGED, "TTS pipeline timed out after 600s", "DEADLINE EXPIRED", "it Timed Out"]
)
def test_signs_of_age(words: str) -> None:
    """Even an idle connection that says so is not used again."""
    for busy in (False, True):
        verdict = xai.verdict(Failed(GenerationError(words, retryable=True)), busy=busy)
        assert verdict.scope is Scope.AGE


# --- closes and refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (1000, ConnectionLost, True),
        (1001, ConnectionLost, True),
        (1006, ConnectionLost, True),
        (1008, ConnectionLost, False),
        (1009, ConnectionLost, False),
        (1011, ConnectionLost, True),
        (1012, ConnectionLost, True),
        (1013, AtCapacity, True),
        (None, ConnectionLost, True),
    ],
)
def test_closes(code: int | None, kind: type[Error], retryable: bool) -> None:
    """No codes are documented: the common reading. Idle, none of them matters."""
    verdict = close(xai, code, "so long")
    assert verdict.scope is Scope.CONNECTION
    assert (type(verdict.error), verdict.error.retryable) == (kind, retryable)
    if isinstance(verdict.error, ConnectionLost):
        assert (verdict.error.code, verdict.error.reason) == (code, "so long")
    assert close(xai, code, busy=False).scope is Scope.NOTHING


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable", "words"),
    [
        (
            400,
            "unknown voice",
            InvalidVoice,
            False,
            "the server refused the settings: unknown voice",
        ),
        (
            400,
            "invalid speed",
            ConfigError,
            False,
            "the server refused the settings: invalid speed",
        ),
        (401, "", AuthError, False, "the server answered HTTP 401"),
        (402, "", QuotaError, False, "the server answered HTTP 402"),
        (403, "no", AuthError, False, "the server answered HTTP 403: no"),
        (404, "", NotFoundError, False, "no such voice"),
        (404, "no nobody\r\n", NotFoundError, False, "no nobody"),
        (422, "", ConfigError, False, "the server answered HTTP 422"),
        (429, "", RateLimitError, True, "the server answered HTTP 429"),
        (200, "", HandshakeError, False, "the server answered HTTP 200"),
        (500, "", HandshakeError, True, "the server answered HTTP 500"),
        (503, "", HandshakeError, True, "the server answered HTTP 503"),
    ],
)
def test_refused_upgrades(
    status: int, body: str, kind: type[Error], retryable: bool, words: str
) -> None:
    """Bad settings and a bad key are refused before the upgrade."""
    verdict = xai.verdict(DialFailure(status=status, body=body), busy=False)
    assert verdict.scope is Scope.CONNECTION
    assert facts(verdict.error) == (kind, retryable, words)
    assert verdict.error.phase == "dial"


def test_a_refusal_says_when_to_come_back() -> None:
    """Retry-After is honoured where it is sent."""
    failed = DialFailure(status=429, headers={"retry-after": "3"})
    assert xai.verdict(failed, busy=False).error.retry_after == 3.0


def test_a_dial_without_an_answer_keeps_its_error() -> None:
    """What the transport found out is what is raised."""
    error = ConnectTimeout("no connection within 5 s")
    assert xai.verdict(DialFailure(error=error), busy=False).error is error


# --- options --------------------------------------------------------------------------------------


def test_options() -> None:
    """Voice eve, language auto, pcm_24000."""
    pcm = AudioFormat("pcm", 24000)
    assert XAI().options() == Options(voice="eve", language="auto", model=None, format=pcm)


@pytest.mark.parametrize(
    "voice", ["", " ", "../x", "a/b", "..", "a\r\nb", "a\n", "a b", "é", "a" * 129, "a&b=c"]
)
def test_voices_that_cannot_be(voice: str) -> None:
    """Refused before a byte is sent."""
    with pytest.raises(InvalidVoice) as caught:
        XAI(voice=voice).options()
    assert (caught.value.provider, caught.value.phase) == ("xai", "config")


@pytest.mark.parametrize("format", ["mp3", "wav", "pcm", "pcm_12000", "PCM_24000", "pcm_24000\n"])
def test_formats_that_cannot_be(format: str) -> None:
    """Containers are not spoken here, though the vendor has them."""
    with pytest.raises(InvalidFormat):
        XAI(format=format).options()


@pytest.mark.parametrize("kind", [XAI, XAIRest])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speed": 0.69}, "speed is between 0.7 and 1.5, not 0.69"),
        ({"speed": 99}, "speed is between 0.7 and 1.5, not 99"),
        ({"optimize_streaming_latency": -1}, "latency is between 0 and 2, not -1"),
        ({"optimize_streaming_latency": 3}, "latency is between 0 and 2, not 3"),
    ],
)
def test_numbers_that_cannot_be(
    kind: type[Adapter], options: dict[str, object], words: str
) -> None:
    """Out of the range that the guide gives; its ends are in it."""
    with pytest.raises(ConfigError, match=words) as caught:
        kind(**options)  # type: ignore[arg-type]
    assert (caught.value.provider, caught.value.phase) == ("xai", "config")


@pytest.mark.parametrize(
    "options",
    [
        {"voice": "ara"},
        {"language": "en"},
        {"format": "pcm_16000"},
        {"format": "mulaw_8000"},
        {"speed": 1.1},
        {"optimize_streaming_latency": 1},
        {"text_normalization": True},
        {"with_timestamps": True},
    ],
)
def test_every_setting_needs_connections_of_its_own(options: dict[str, object]) -> None:
    """All of them are fixed when the connection is opened."""
    assert key(**options) != key()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voice": "eve"},
        {"language": "auto"},
        {"format": "pcm_24000"},
        {"with_timestamps": False},
        {"model": "x"},
    ],
)
def test_a_default_that_is_named_shares_connections(options: dict[str, object]) -> None:
    """As does a model, which xAI does not have."""
    assert key(**options) == key()


def key(**options: object) -> object:
    adapter = XAI(**options)  # type: ignore[arg-type]
    return adapter.pool_key(adapter.options())


def test_limits_of_the_connection() -> None:
    """Left before the 600 s of a session permit; pings meanwhile, for no message keeps it alive."""
    traits = xai.tuned()
    assert (traits.max_age, traits.max_idle, traits.ping) == (540.0, None, 20.0)
    assert traits.connections == 50
    assert not traits.greeting, "there is none: 101 is all"
