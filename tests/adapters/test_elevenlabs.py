"""ElevenLabs' messages, frame by frame, as elevenlabs.io/docs has them."""

import base64
import json
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.adapters.wire import begin, close, decode, facts, failure, finish, parsed, text, wire
from ttsmux.adapter import (
    Adapter,
    Audio,
    Closed,
    DialFailure,
    Failed,
    Flush,
    HoldBack,
    Input,
    Marks,
    Note,
    OutputEnd,
    Scope,
    Signal,
    Wire,
)
from ttsmux.adapters._elevenlabs_rest import ElevenLabsRest
from ttsmux.adapters.elevenlabs import ElevenLabs
from ttsmux.errors import (
    AtCapacity,
    AuthError,
    ConcurrencyLimitError,
    ConfigError,
    ConnectionLost,
    Error,
    GenerationError,
    HandshakeError,
    InvalidText,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RemoteProtocolError,
)
from ttsmux.settings import Interrupt
from ttsmux.testing.texts import pieces_of

SETTINGS = {"stability": 0.5, "similarity_boost": 0.75}
multi = ElevenLabs(voice="V1", stability=0.5, similarity_boost=0.75)
plain = ElevenLabs(voice="V1")
single = ElevenLabs(voice="V1", endpoint="single", stability=0.5)
rest = ElevenLabsRest(voice="V1")
BYTES = b"\0\0\1\0\2\0\3\0"
B64 = base64.b64encode(BYTES).decode()
HI = {
    "chars": ["H", "i", ".", " "],
    "charStartTimesMs": [0, 90, 170, 290],
    "charDurationsMs": [90, 80, 120, 0],
}


def init(id: str | None = "g1", **fields: object) -> dict[str, object]:
    return {**tag(id), "text": " ", "voice_settings": SETTINGS, **fields}


def tag(id: str | None) -> dict[str, object]:
    return {} if id is None else {"context_id": id}


def words(said: str, id: str | None = "g1") -> dict[str, object]:
    return {**tag(id), "text": said}


def flush(id: str = "g1") -> dict[str, object]:
    return {"context_id": id, "flush": True}


def closing(id: str = "g1") -> dict[str, object]:
    return {"context_id": id, "close_context": True}


def marks(signals: Iterable[Signal]) -> list[tuple[str, float, float]]:
    """The words of marks, to the millisecond."""
    return [
        (said, round(start, 3), round(stop, 3))
        for signal in signals
        if isinstance(signal, Marks)
        for said, start, stop in signal.units
    ]


# --- transcripts ----------------------------------------------------------------------------------


def test_the_handshake_of_the_transcripts() -> None:
    """One voice and one model a connection; the key in a header and nowhere else."""
    shake = multi.handshake(multi.options(), "sk_example")
    url = urlsplit(shake.url)
    assert (url.scheme, url.netloc) == ("wss", "api.elevenlabs.io")
    assert url.path == "/v1/text-to-speech/V1/multi-stream-input"
    assert dict(parse_qsl(url.query)) == {
        "model_id": "eleven_flash_v2_5",
        "output_format": "pcm_24000",
        "inactivity_timeout": "180",
        "sync_alignment": "true",
    }
    assert shake.headers == {"xi-api-key": "sk_example"}
    assert shake.first_frames == () and shake.subprotocols == ()
    assert multi.handshake(multi.options(), None).headers == {}


def test_one_generation() -> None:
    """Init, text, flush; the close once audio has come; the final message is the end."""
    gen = begin(multi, "g1")
    assert parsed(
        multi.open(gen),
        multi.text(gen, "Hello there. "),
        multi.text(gen, "How can I help? "),
        finish(multi, gen),
        multi.release(gen),
    ) == [init(), words("Hello there. "), words("How can I help? "), flush(), closing()]
    assert decode(
        multi,
        {"audio": B64, "contextId": "g1", "alignment": HI},
        {"audio": B64, "contextId": "g1", "alignment": None},
        {"audio": None, "isFinal": True, "contextId": "g1"},
    ) == [
        Marks((("Hi.", 0.0, 0.29),), "g1"),
        Audio(BYTES, "g1"),
        Audio(BYTES, "g1"),
        OutputEnd("g1"),
    ]


def test_one_generation_on_the_single_socket() -> None:
    """No ids; the empty text ends it, and what the server does then is close with 1000."""
    gen = begin(single)
    assert parsed(single.open(gen), single.text(gen, "Hello there. "), finish(single, gen)) == [
        {"text": " ", "voice_settings": {"stability": 0.5}},
        {"text": "Hello there. "},
        {"text": ""},
    ]
    assert decode(
        single,
        {"audio": B64, "alignment": HI},
        {"audio": B64, "alignment": None},
        {"isFinal": True},
    ) == [Marks((("Hi.", 0.0, 0.29),)), Audio(BYTES), Audio(BYTES), OutputEnd()]
    verdict = close(single, 1000, busy=False)
    assert verdict.scope is Scope.NOTHING
    assert single.handshake(single.options(), "k").url.split("?")[0].endswith("/V1/stream-input")


def test_two_interleaved_generations() -> None:
    """Every frame of both has its id; the order of their ends is free."""
    a, b = begin(multi, "g1"), begin(multi, "g2")
    assert parsed(
        multi.open(a),
        multi.text(a, "Let me check that for you. "),
        finish(multi, a),
        multi.open(b),
        multi.text(b, "Meanwhile, here is a summary. "),
        finish(multi, b),
        multi.release(a),
        multi.release(b),
    ) == [
        init("g1"),
        words("Let me check that for you. "),
        flush("g1"),
        init("g2"),
        words("Meanwhile, here is a summary. ", "g2"),
        flush("g2"),
        closing("g1"),
        closing("g2"),
    ]
    assert decode(
        multi,
        {"audio": B64, "contextId": "g1"},
        {"audio": B64, "contextId": "g2"},
        {"audio": B64, "contextId": "g1"},
        {"isFinal": True, "contextId": "g2"},
        {"isFinal": True, "contextId": "g1"},
    ) == [
        Audio(BYTES, "g1"),
        Audio(BYTES, "g2"),
        Audio(BYTES, "g1"),
        OutputEnd("g2"),
        OutputEnd("g1"),
    ]


SIXTH = "Maximum simultaneous contexts per WebSocket connection exceeded (5)."
QUIET = "Have not received a new text input within the timeout of 20 seconds"


def test_a_sixth_context() -> None:
    """All on the connection fail, each worth another try; so does the close behind it."""
    (signal,) = decode(multi, {"message": SIXTH, "error": "max_active_conversations", "code": 1008})
    verdict = multi.verdict(failure(signal), busy=True)
    assert verdict.scope is Scope.CONNECTION
    assert facts(verdict.error) == (GenerationError, True, SIXTH)
    assert isinstance(verdict.error, GenerationError)
    assert verdict.error.code == "max_active_conversations"
    closed = close(multi, 1008, SIXTH)
    assert closed.scope is Scope.CONNECTION and closed.error.retryable


@pytest.mark.parametrize("busy", [True, False])
def test_quiet(busy: bool) -> None:
    """With nobody speaking it is nobody's business; else it is worth another try."""
    scope = Scope.CONNECTION if busy else Scope.NOTHING
    for message in (
        {"message": QUIET, "error": "input_timeout_exceeded", "code": 1008},
        {"message": QUIET, "code": 1008},
        {"error": "input_timeout_exceeded"},
    ):
        (signal,) = decode(multi, message)
        verdict = multi.verdict(failure(signal), busy)
        assert verdict.scope is scope and verdict.error.retryable
    for reason in (QUIET, QUIET[:60], "input_timeout_exceeded"):
        verdict = close(multi, 1008, reason, busy=busy)
        assert verdict.scope is scope and verdict.error.retryable


def test_a_close_that_overtook_its_text() -> None:
    """An end without audio is reported as that; the core calls it EmptyAudio."""
    assert decode(multi, {"isFinal": True, "contextId": "g7"}) == [OutputEnd("g7")]


def test_an_interruption() -> None:
    """The context is closed at once, and the next one opened; ids tell late audio apart."""
    f, g = begin(multi, "g1"), begin(multi, "g2")
    assert parsed(
        multi.open(f),
        multi.text(f, "A long story … "),
        multi.flush(f),
        multi.interrupt(f),
        multi.open(g),
        multi.text(g, "Of course. "),
    ) == [
        init("g1"),
        words("A long story … "),
        flush("g1"),
        closing("g1"),
        init("g2"),
        words("Of course. ", "g2"),
    ]


def test_an_interruption_between_the_flush_and_the_close() -> None:
    """The text is over but the context is not closed: that is what is left to do."""
    gen = begin(multi, "g1")
    list(finish(multi, gen))
    assert parsed(multi.interrupt(gen)) == [closing()]
    assert list(single.interrupt(begin(single))) == [], "nothing there says stop"


def test_an_interruption_after_the_close_sends_nothing() -> None:
    """Whatever named the context now would open another one of that name."""
    gen = begin(multi, "g1")
    list(finish(multi, gen))
    list(multi.release(gen))
    assert list(multi.interrupt(gen)) == []


# --- what else is sent ----------------------------------------------------------------------------


def test_keepalives() -> None:
    """An empty text with the id, or one space without; never an empty text without an id."""
    gen = begin(multi, "g1")
    assert parsed(multi.keepalive(gen)) == [{"context_id": "g1", "text": ""}]
    assert parsed(single.keepalive(begin(single))) == [{"text": " "}]
    assert list(multi.keepalive(None)) == list(single.keepalive(None)) == []


def test_flush() -> None:
    """A message of its own; on the single socket it has a text that means nothing."""
    assert parsed(multi.flush(begin(multi, "g1"))) == [flush()]
    assert parsed(single.flush(begin(single))) == [{"text": " ", "flush": True}]


def test_shutdown() -> None:
    """Only the socket of contexts has a goodbye."""
    assert parsed(multi.shutdown()) == [{"close_socket": True}]
    assert list(single.shutdown()) == []


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        (
            {
                "stability": 0,
                "similarity_boost": 1,
                "style": 0.5,
                "use_speaker_boost": False,
                "speed": 1.2,
            },
            {
                "voice_settings": {
                    "stability": 0,
                    "similarity_boost": 1,
                    "style": 0.5,
                    "use_speaker_boost": False,
                    "speed": 1.2,
                }
            },
        ),
        (
            {"chunk_length_schedule": [50, 120, 200, 260]},
            {"generation_config": {"chunk_length_schedule": [50, 120, 200, 260]}},
        ),
        (
            {"chunk_length_schedule": "20,500"},
            {"generation_config": {"chunk_length_schedule": [20, 500]}},
        ),
        (
            {"pronunciation_dictionaries": [("pd_1", "v_3")]},
            {
                "pronunciation_dictionary_locators": [
                    {"pronunciation_dictionary_id": "pd_1", "version_id": "v_3"}
                ]
            },
        ),
        (
            {"pronunciation_dictionaries": "a:1,b:2"},
            {
                "pronunciation_dictionary_locators": [
                    {"pronunciation_dictionary_id": "a", "version_id": "1"},
                    {"pronunciation_dictionary_id": "b", "version_id": "2"},
                ]
            },
        ),
    ],
)
@pytest.mark.parametrize("endpoint", ["multi", "single"])
def test_init_fields(endpoint: str, options: dict[str, object], fields: dict[str, object]) -> None:
    """What is set goes along in the first message; what is not is left out."""
    adapter = make(endpoint=endpoint, **options)
    id = tag("g1") if endpoint == "multi" else {}
    assert parsed(adapter.open(begin(adapter, "g1"))) == [{**id, "text": " ", **fields}]


def make(**options: object) -> ElevenLabs:
    return ElevenLabs(**{"voice": "V1", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"model": "eleven_turbo_v2_5"}, {"model_id": "eleven_turbo_v2_5"}),
        ({"language": "fr"}, {"language_code": "fr"}),
        *(
            ({"language": "fr", "model": model}, {"model_id": model})
            for model in ("eleven_multilingual_v2", "eleven_flash_v2")
        ),
        ({"format": "mulaw_8000"}, {"output_format": "ulaw_8000"}),
        ({"format": "alaw_8000"}, {"output_format": "alaw_8000"}),
        ({"format": "pcm_44100"}, {"output_format": "pcm_44100"}),
        ({"inactivity_timeout": 20}, {"inactivity_timeout": "20"}),
        ({"with_timestamps": False}, {"sync_alignment": None}),
        ({"enable_logging": False}, {"enable_logging": "false"}),
        ({"apply_text_normalization": "off"}, {"apply_text_normalization": "off"}),
        *(
            ({name: True}, {name: "true"})
            for name in ("apply_language_text_normalization", "enable_ssml_parsing", "auto_mode")
        ),
        ({"seed": 7}, {"seed": "7"}),
    ],
)  # fmt: skip
def test_query(options: dict[str, object], fields: dict[str, object]) -> None:
    """What is frozen with the connection; a language only with a model that takes one."""
    adapter = make(**options)
    url = urlsplit(adapter.handshake(adapter.options(), None).url)
    expected = {
        "model_id": "eleven_flash_v2_5",
        "output_format": "pcm_24000",
        "inactivity_timeout": "180",
        "sync_alignment": "true",
        **fields,
    }
    assert dict(parse_qsl(url.query)) == {k: v for k, v in expected.items() if v is not None}


@pytest.mark.parametrize(
    ("region", "host"),
    [
        (None, "api.elevenlabs.io"),
        ("us", "api.us.elevenlabs.io"),
        ("eu", "api.eu.residency.elevenlabs.io"),
        ("in", "api.in.residency.elevenlabs.io"),
        ("sg", "api.sg.residency.elevenlabs.io"),
    ],
)
def test_regions(region: str | None, host: str) -> None:
    """Of the sockets and of HTTP."""
    adapter = make(region=region)
    http = adapter.rest()
    assert http is not None
    for each in (adapter, http):
        assert urlsplit(each.handshake(each.options(), None).url).netloc == host


def test_auto_mode_takes_whole_sentences() -> None:
    """Each message is one; the space between two is where it was."""
    adapter = make(auto_mode=True)
    assert adapter.tuned().hold_back is HoldBack.SENTENCE
    assert multi.tuned().hold_back is HoldBack.WORD
    gen = begin(adapter, "g1")
    assert parsed(adapter.text(gen, " How are you?")) == [words(" How are you?")]
    assert parsed(plain.text(begin(plain, "g1"), " How are ")) == [words(" How are ")]


@pytest.mark.parametrize("auto", [True, False])
def test_text_is_sent_as_it_was_written(auto: bool) -> None:
    """Blank lines, double spaces and sentences without any between them: all of it, no more."""
    said = "One here.\n\nTwo  there. كيف؟نعم."
    adapter = make(auto_mode=auto)
    gen = begin(adapter, "g1")
    pieces = pieces_of(adapter, list(said))
    assert len(pieces) > 3
    frames = parsed(*(adapter.text(gen, piece) for piece in pieces))
    sent = "".join(str(frame["text"]) for frame in frames)
    assert sent == (said if auto else f"{said} "), "between words the last one is given its space"


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"model": "eleven_flash_v2_5"}, 40_000),
        ({"model": "eleven_turbo_v2_5"}, 40_000),
        ({"model": "eleven_flash_v2"}, 30_000),
        ({"model": "eleven_turbo_v2"}, 30_000),
        ({"model": "eleven_multilingual_v2"}, 10_000),
        ({"model": "eleven_multilingual_v2", "max_characters": 12_345}, 12_345),
        ({"model": "eleven_of_tomorrow", "max_characters": 5}, 5),
        ({"max_characters": 5, "endpoint": "single"}, 5),
    ],
)
def test_no_context_is_given_more_than_it_takes(options: dict[str, object], most: int) -> None:
    """Each has its own count; what would be too much is not sent, and can be said elsewhere."""
    adapter = make(**options)
    gen, other = begin(adapter, "g1"), begin(adapter, "g2")
    adapter.open(gen)
    for taken in (most - 2, 2):
        (frame,) = parsed(adapter.text(gen, "x" * taken))
        assert frame["text"] == "x" * taken
    with pytest.raises(InvalidText, match=f"a speech has {most} characters at most here"):
        adapter.text(gen, "x")
    with pytest.raises(InvalidText):
        adapter.text(other, "x" * (most + 1))
    assert adapter.text(other, "x" * most)


def test_a_model_that_nobody_knows_has_no_known_limit() -> None:
    """The server will say."""
    adapter = make(model="eleven_of_tomorrow")
    assert adapter.text(begin(adapter), "x" * 100_000)


# --- traits and options ---------------------------------------------------------------------------


def test_traits() -> None:
    """Four speak, five are counted; the single socket serves once."""
    traits = multi.tuned()
    assert traits == ElevenLabs.traits
    assert (traits.seats, traits.slots, traits.interrupt) == (4, 5, Interrupt.MUTE)
    assert (traits.release_after, traits.release_soon) == (2.0, 0.25)
    assert (traits.generation_keepalive, traits.max_idle, traits.max_age) == (10.0, 150.0, 1800.0)
    traits = single.tuned()
    assert (traits.seats, traits.slots, traits.ids, traits.reusable) == (1, 1, False, False)
    assert traits.policies == (Interrupt.DISCARD,) == (traits.interrupt,)
    assert traits.release_after is None and traits.flush is Flush.MESSAGE


def test_a_shorter_timeout_is_kept_away_from() -> None:
    """Keepalives and the replacement of idle connections come before it."""
    traits = make(inactivity_timeout=12, close_grace=0.5).tuned()
    assert traits.generation_keepalive == 4.0
    assert traits.max_idle == pytest.approx(10.0)
    assert traits.release_after == 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"stability": 1.1},
        {"stability": -0.1},
        {"stability": "high"},
        {"similarity_boost": float("nan")},
        {"style": 2},
        {"use_speaker_boost": 1},
        {"speed": 0.6},
        {"speed": 1.3},
        {"seed": -1},
        {"seed": 4294967296},
        {"seed": 1.5},
        {"inactivity_timeout": 0},
        {"inactivity_timeout": 181},
        {"inactivity_timeout": 20.5},
        {"close_grace": 0},
        {"endpoint": "both"},
        {"region": "mars"},
        {"apply_text_normalization": "maybe"},
        {"chunk_length_schedule": []},
        {"chunk_length_schedule": [501]},
        {"chunk_length_schedule": [0]},
        {"chunk_length_schedule": ["50"]},
        {"chunk_length_schedule": "fifty"},
        {"pronunciation_dictionaries": [("a",)]},
        {"pronunciation_dictionaries": [("a", "")]},
        {"pronunciation_dictionaries": [("a", 1)]},
        {"pronunciation_dictionaries": [("a", "1")] * 4},
        {"auto_mode": 1},
        {"with_timestamps": None, "auto_mode": "yes"},
    ],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    """Refused before a byte is sent."""
    with pytest.raises((ValueError, TypeError)):
        make(**options)


@pytest.mark.parametrize("model", ["eleven_v3", "eleven_v4_turbo"])
def test_models_of_the_dialogue_sockets(model: str) -> None:
    """Not on these sockets; over HTTP they may be asked for."""
    adapter = make(model=model)
    with pytest.raises(ConfigError, match="REST"):
        adapter.options()
    http = adapter.rest()
    assert http is not None and http.options().model == model


@pytest.mark.parametrize(
    "options",
    [
        {"voice": "V2"},
        {"model": "eleven_turbo_v2_5"},
        {"format": "pcm_16000"},
        {"language": "fr"},
        {"stability": 0.5},
        {"speed": 1.1},
        {"endpoint": "single"},
        {"region": "us"},
        {"inactivity_timeout": 20},
        {"seed": 1},
        {"with_timestamps": False},
        {"pronunciation_dictionaries": [("a", "1")]},
        {"close_grace": 1.0},
    ],
)
def test_what_a_connection_settles_needs_its_own(options: dict[str, object]) -> None:
    """The URL, and the voice settings, which the first message settles for all."""
    other = make(**options)
    assert other.pool_key(other.options()) != plain.pool_key(plain.options())


def test_what_a_context_settles_shares_connections() -> None:
    """A schedule, and which dictionaries."""
    a = make(chunk_length_schedule=[50], pronunciation_dictionaries=[("a", "1")])
    b = make(pronunciation_dictionaries=[("b", "2")])
    assert a.pool_key(a.options()) == b.pool_key(b.options())


# --- what comes in --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "signals"),
    [
        ({"audio": B64, "contextId": "g1"}, [Audio(BYTES, "g1")]),
        ({"audio": B64, "context_id": "g1"}, [Audio(BYTES, "g1")]),
        ({"audio": B64, "contextId": "g1", "context_id": "g2"}, [Audio(BYTES, "g1")]),
        ({"audio": B64}, [Audio(BYTES)]),
        ({"audio": B64, "isFinal": None, "is_final": False, "contextId": "g1", "new": [1]},
         [Audio(BYTES, "g1")]),
        ({"audio": B64, "isFinal": True, "contextId": "g1"},
         [Audio(BYTES, "g1"), OutputEnd("g1")]),
        ({"is_final": True, "context_id": "g1"}, [OutputEnd("g1")]),
        ({"isFinal": True}, [OutputEnd()]),
        ({"audio": "", "contextId": "g1"}, [Note(id="g1")]),
        ({"audio": None, "isFinal": None, "contextId": "g1"}, [Note(id="g1")]),
        ({"isFinal": False}, [Note()]),
        ({}, [Note()]),
        ({"message": "hello"}, [Note()]),
        ({"error": "", "message": "", "code": 7}, [Note()]),
        ({"error": None, "audio": B64, "contextId": "g1"}, [Audio(BYTES, "g1")]),
        ({"alignment": HI, "contextId": "g1"}, [Marks((("Hi.", 0.0, 0.29),), "g1")]),
        ({"alignment": {"chars": 5}, "audio": B64}, [Audio(BYTES)]),
        ({"alignment": {"chars": ["a"], "charStartTimesMs": []}, "audio": B64}, [Audio(BYTES)]),
        ({"alignment": {}, "audio": B64}, [Audio(BYTES)]),
        ({"alignment": "soon", "audio": B64}, [Audio(BYTES)]),
    ],
)  # fmt: skip
def test_messages(message: dict[str, object], signals: list[Signal]) -> None:
    """Each message, with its fields present and absent; the unknown is ignored."""
    assert decode(multi, message) == signals


def test_the_single_socket_has_no_ids() -> None:
    """One that comes all the same names nobody we know."""
    assert decode(single, {"audio": B64, "contextId": "g1"}) == [Audio(BYTES)]


@pytest.mark.parametrize(
    "message",
    ["", "[]", "null", '"audio"', {"audio": 5}, {"audio": "?AA="}, {"audio": "AAE"}, {"audio": "é"},
     {"contextId": 5}, {"isFinal": "yes"}, b'{"audio":"\xff"}', '{"audio":"\\ud800"}'],
)  # fmt: skip
def test_nonsense_is_a_protocol_error(message: object) -> None:
    """A field that is used must be what it should be."""
    with pytest.raises(RemoteProtocolError):
        decode(multi, message)


def test_binary_messages_are_a_protocol_error() -> None:
    """Audio is base64 in JSON."""
    with pytest.raises(RemoteProtocolError):
        multi.decode_binary(b"\0\1", wire(multi))


def chars(said: str, begin: int = 0, lengths: str = "charDurationsMs") -> dict[str, object]:
    """100 ms a character, from *begin* on."""
    starts = [begin + 100 * n for n in range(len(said))]
    return {"chars": list(said), "charStartTimesMs": starts, lengths: [100] * len(said)}


SECOND = base64.b64encode(bytes(48_000)).decode()


def test_times_count_from_the_audio_before_them() -> None:
    """The first message of a segment has the times of all of it, the others have none."""
    signals = decode(
        plain,
        {"audio": SECOND, "contextId": "g", "alignment": chars("One two. ")},
        {"audio": SECOND, "contextId": "g", "alignment": None},
        {"audio": SECOND, "contextId": "h", "alignment": chars("Else ")},
        {"audio": SECOND, "contextId": "g", "alignment": chars("Three ")},
        {"isFinal": True, "contextId": "g"},
        {"audio": SECOND, "contextId": "g", "alignment": chars("New ")},
    )
    assert marks(signals) == [
        ("One", 0.0, 0.3),
        ("two.", 0.4, 0.8),
        ("Else", 0.0, 0.4),
        ("Three", 2.0, 2.5),
        ("New", 0.0, 0.3),
    ]
    assert [type(signal) for signal in signals[:2]] == [Marks, Audio], "they come with their audio"


def test_a_word_may_straddle_messages() -> None:
    """Its start counts from the first, its stop from the second."""
    signals = decode(
        plain,
        {"audio": SECOND, "contextId": "g", "alignment": chars("Good mor", 200)},
        {"audio": SECOND, "contextId": "g", "alignment": chars("ning you")},
        {"isFinal": True, "contextId": "g"},
    )
    assert marks(signals) == [("Good", 0.2, 0.6), ("morning", 0.7, 1.4), ("you", 1.5, 1.8)]
    assert signals[-1] == OutputEnd("g")


@pytest.mark.parametrize("lengths", ["charDurationsMs", "charsDurationsMs"])
@pytest.mark.parametrize("starts", ["charStartTimesMs", "charsStartTimesMs"])
def test_times_under_all_their_names(starts: str, lengths: str) -> None:
    """The vendor's schemas differ."""
    times = {"chars": ["Hi ", " you"], starts: [0, 100], lengths: [100, 100]}
    assert marks(decode(plain, {"alignment": times}, {"isFinal": True})) == [
        ("Hi", 0.0, 0.1),
        ("you", 0.1, 0.2),
    ]


def test_times_that_start_over_repeat_what_was_told() -> None:
    """Seen with dictionaries and with Flash: two passes over a sentence."""
    twice = {name: values * 2 for name, values in chars("One two ").items()}  # type: ignore[operator]
    more = {"alignment": chars("six ", begin=800)}
    signals = decode(plain, {"alignment": twice}, more)
    assert marks(signals) == [("One", 0.0, 0.3), ("two", 0.4, 0.7), ("six", 0.8, 1.1)]


@pytest.mark.parametrize("dictionaries", [True, False])
def test_which_alignment(dictionaries: bool) -> None:
    """What was written, or what was spoken where dictionaries replace; else the other one."""
    adapter = make(pronunciation_dictionaries=[("a", "1")] if dictionaries else [])
    both = {"alignment": chars("$5 "), "normalizedAlignment": chars(" five ")}
    assert marks(decode(adapter, both))[0][0] == ("five" if dictionaries else "$5")
    for missing in both:
        left = {**both, missing: None}
        assert len(marks(decode(adapter, left))) == 1


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message", "kind", "retryable"),
    [
        ("max_active_conversations", 1008, SIXTH, GenerationError, True),
        ("input_timeout_exceeded", 1008, QUIET, GenerationError, True),
        ("quota_exceeded", 1008, "no credits", QuotaError, False),
        ("insufficient_credits", None, "none", QuotaError, False),
        ("invalid_api_key", 1008, "Invalid API key", AuthError, False),
        ("missing_api_key", 1008, "none", AuthError, False),
        ("voice_not_found", 1008, "no", NotFoundError, False),
        ("model_not_found", 1008, "no", NotFoundError, False),
        ("rate_limit_exceeded", 1008, "slow down", RateLimitError, True),
        ("system_busy", 1008, "busy", RateLimitError, True),
        ("concurrent_limit_exceeded", 1008, "full", ConcurrencyLimitError, True),
        ("too_many_concurrent_requests", None, "full", ConcurrencyLimitError, True),
        ("invalid_voice_settings", None, "no", GenerationError, False),
        ("unsupported_model", 1011, "no", GenerationError, False),
        ("something_new", 1008, "no", GenerationError, False),
        ("something_new", 1011, "no", GenerationError, True),
        ("something_new", None, "no", GenerationError, True),
        (None, 1011, "worker lost", GenerationError, True),
        (None, 1008, "This request exceeds your quota", QuotaError, False),
        (None, 1008, "A voice 'V9' was not found.", NotFoundError, False),
        (7, None, None, GenerationError, True),
        ({"a": 1}, [1008], {"b": 2}, GenerationError, True),
    ],
)
@pytest.mark.parametrize("id", [None, "g1"])
def test_errors(
    error: object, code: object, message: object, kind: type[Error], retryable: bool, id: str | None
) -> None:
    """By the identifier, else by the words; with an id the others finish, nothing new begins."""
    frame = {"error": error, "code": code, "message": message, **({"contextId": id} if id else {})}
    (signal,) = decode(multi, frame)
    found = failure(signal)
    assert found.id == id
    words = message if isinstance(message, str) else "the server reported an error"
    assert facts(found.error) == (kind, retryable, words)
    verdict = multi.verdict(found, busy=True)
    assert verdict.scope is (Scope.CONNECTION if id is None else Scope.TAINT)


def test_error_words_are_made_printable() -> None:
    """What a terminal would act on is gone; without a sentence the identifier is shown."""
    (signal,) = decode(multi, {"error": "x", "message": "bad\x1b[2J\r\n" + "x" * 9999})
    assert failure(signal).error.message.startswith("bad [2J x")
    (signal,) = decode(multi, {"error": "some_code"})
    assert failure(signal).error.message == "some_code"


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (1000, "", ConnectionLost, True),
        (1006, "", ConnectionLost, True),
        (1008, "", ConnectionLost, False),
        (1008, SIXTH, ConnectionLost, True),
        (1008, QUIET, ConnectionLost, True),
        (1008, "voice_settings must be in the first message", ConnectionLost, False),
        (1008, "quota_exceeded", QuotaError, False),
        (1008, "Invalid API key", AuthError, False),
        (1009, "", ConnectionLost, False),
        (1011, "", ConnectionLost, True),
        (1013, "", AtCapacity, True),
        (None, "", ConnectionLost, True),
    ],
)
def test_closes_under_a_speech(
    code: int | None, reason: str, kind: type[Error], retryable: bool
) -> None:
    """1008 is idling and refusal alike: its reason decides."""
    verdict = close(multi, code, reason)
    assert verdict.scope is Scope.CONNECTION
    assert (type(verdict.error), verdict.error.retryable) == (kind, retryable)


def old(code: str) -> str:
    """The shape that errors had before."""
    return json.dumps({"detail": {"status": code, "message": "because"}})


def body(code: str, message: str = "because", **more: object) -> str:
    return json.dumps({"detail": {"type": "t", "code": code, "message": message, **more}})


@pytest.mark.parametrize(
    ("status", "said", "kind", "retryable"),
    [
        (400, body("unsupported_model"), ConfigError, False),
        (400, old("max_character_limit_exceeded"), ConfigError, False),
        (401, body("invalid_api_key"), AuthError, False),
        (401, old("quota_exceeded"), QuotaError, False),
        (402, body("insufficient_credits"), QuotaError, False),
        (403, body("voice_access_denied"), AuthError, False),
        (403, body("feature_not_available"), AuthError, False),
        (404, body("voice_not_found"), NotFoundError, False),
        (409, body("already_running"), HandshakeError, True),
        (422, '{"detail":[{"loc":["body"],"msg":"because"}]}', ConfigError, False),
        (422, '{"detail":[]}', ConfigError, False),
        (429, body("system_busy"), RateLimitError, True),
        (429, body("rate_limit_exceeded"), RateLimitError, True),
        (429, body("concurrent_limit_exceeded"), ConcurrencyLimitError, True),
        (429, old("too_many_concurrent_requests"), ConcurrencyLimitError, True),
        (429, "", RateLimitError, True),
        (408, "", HandshakeError, True),
        (418, "{}", HandshakeError, False),
        (500, body("internal_error"), HandshakeError, True),
        (503, '{"detail":"because"}', HandshakeError, True),
        (503, "[" * 5000, HandshakeError, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("adapter", [multi, single, rest], ids=["multi", "single", "rest"])
def test_refusals(
    adapter: Adapter, status: int, said: str, kind: type[Error], retryable: bool
) -> None:
    """By the code in the body, in either of its shapes, else by the status."""
    failed = DialFailure(status=status, body=said, headers={"retry-after": "2"})
    verdict = adapter.verdict(failed, busy=False)
    assert verdict.scope is Scope.CONNECTION
    assert (type(verdict.error), verdict.error.retryable) == (kind, retryable)
    assert verdict.error.phase == "dial" and verdict.error.retry_after == 2.0
    assert ("because" in verdict.error.message) is ("because" in said)
    assert "detail" not in verdict.error.message


def test_a_dial_without_an_answer_keeps_its_error() -> None:
    """What the transport found out is what is raised."""
    error = HandshakeError("no")
    for adapter in (multi, rest):
        assert adapter.verdict(DialFailure(error=error), busy=False).error is error


# --- HTTP -----------------------------------------------------------------------------------------


def test_rest_is_the_same_voice() -> None:
    """All options that HTTP has go along."""
    adapter = make(
        speed=1.1,
        seed=7,
        region="eu",
        model="eleven_turbo_v2_5",
        pronunciation_dictionaries=[("a", "1")],
        auto_mode=True,
    )
    assert adapter.rest() == ElevenLabsRest(
        voice="V1",
        speed=1.1,
        seed=7,
        region="eu",
        model="eleven_turbo_v2_5",
        pronunciation_dictionaries=[("a", "1")],
    )
    assert rest.rest() is None
    assert {type(rest).name, type(multi).name} == {"elevenlabs"}


def test_a_request() -> None:
    """A POST whose body is the only frame; key and kind in headers."""
    adapter = ElevenLabsRest(
        voice="V1",
        language="fr",
        stability=0.5,
        seed=7,
        apply_text_normalization="on",
        apply_language_text_normalization=False,
        enable_logging=False,
        pronunciation_dictionaries=[("a", "1")],
        format="mulaw_8000",
        with_timestamps=False,
    )
    shake = adapter.handshake(adapter.options(), "sk_example")
    assert shake.url == (
        "https://api.elevenlabs.io/v1/text-to-speech/V1/stream"
        "?output_format=ulaw_8000&enable_logging=false"
    )
    assert shake.headers == {"content-type": "application/json", "xi-api-key": "sk_example"}
    gen = begin(adapter)
    assert (
        list(adapter.open(gen)) == list(finish(adapter, gen)) == list(adapter.interrupt(gen)) == []
    )
    assert parsed(adapter.text(gen, "Hello from the fallback path.")) == [
        {
            "text": "Hello from the fallback path.",
            "model_id": "eleven_flash_v2_5",
            "language_code": "fr",
            "voice_settings": {"stability": 0.5},
            "pronunciation_dictionary_locators": [
                {"pronunciation_dictionary_id": "a", "version_id": "1"}
            ],
            "seed": 7,
            "apply_text_normalization": "on",
            "apply_language_text_normalization": False,
        }
    ]


def test_the_smallest_request() -> None:
    """What is not set is left out; word times have a route of their own."""
    shake = rest.handshake(rest.options(), None)
    assert shake.url == (
        "https://api.elevenlabs.io/v1/text-to-speech/V1/stream/with-timestamps"
        "?output_format=pcm_24000"
    )
    assert "xi-api-key" not in shake.headers
    (frame,) = rest.text(begin(rest), "Hello.")
    assert json.loads(text(frame)) == {"text": "Hello.", "model_id": "eleven_flash_v2_5"}
    plainer = ElevenLabsRest(voice="V1", with_timestamps=False)
    assert plainer.pool_key(plainer.options()) != rest.pool_key(rest.options())


def test_rest_traits() -> None:
    """A request a sentence, given up when interrupted."""
    traits = rest.tuned()
    assert (traits.seats, traits.slots, traits.ids, traits.reusable) == (1, 1, False, False)
    assert traits.input is Input.WHOLE and traits.ping is None
    assert traits.policies == (Interrupt.DISCARD,)


def answer(kind: str, adapter: Adapter = rest) -> Wire:
    found = wire(adapter)
    found.headers = {"content-type": kind}
    return found


def body_of(wire: Wire, *pieces: bytes, adapter: Adapter = rest) -> list[Signal]:
    return [signal for piece in (*pieces, b"") for signal in adapter.decode_binary(piece, wire)]


def test_an_answer_of_audio() -> None:
    """Pieces cut anywhere, and only the end of the body is the end."""
    assert body_of(answer("audio/pcm"), b"\0", b"\1\2", b"\3") == [
        Audio(b"\0"),
        Audio(b"\1\2"),
        Audio(b"\3"),
        OutputEnd(),
    ]


@pytest.mark.parametrize(
    ("kind", "format"),
    [
        ("audio/mpeg", "pcm_24000"),
        ("Audio/MPEG; x=1", "mulaw_8000"),
        ("audio/basic", "pcm_24000"),
        ("audio/pcm", "mulaw_8000"),
    ],
)
def test_audio_that_was_not_asked_for(kind: str, format: str) -> None:
    """Compressed, or in another encoding: it would be noise, so that it is none of ours."""
    with pytest.raises(RemoteProtocolError, match="audio asked for"):
        body_of(answer(kind, ElevenLabsRest(voice="V1", format=format)), b"1234")


def test_telephone_audio_over_http() -> None:
    """G.711 is not told apart any further by its type."""
    adapter = ElevenLabsRest(voice="V1", format="alaw_8000")
    assert body_of(answer("audio/basic", adapter), b"12") == [Audio(b"12"), OutputEnd()]


LINES = (
    json.dumps(
        {
            "audio_base64": B64,
            "alignment": {
                "characters": list("Hi you"),
                "character_start_times_seconds": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
                "character_end_times_seconds": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            },
            "normalized_alignment": None,
        }
    )
    + "\n\n"
    + json.dumps({"audio_base64": B64, "alignment": None})
).encode()


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_an_answer_of_lines(size: int) -> None:
    """Wherever it is cut; the last line needs no end of its own."""
    pieces = [LINES[at : at + size] for at in range(0, len(LINES), size)]
    signals = body_of(answer("application/json"), *pieces)
    assert [s for s in signals if not isinstance(s, Marks)] == [
        Audio(BYTES),
        Audio(BYTES),
        OutputEnd(),
    ]
    assert marks(signals) == [("Hi", 0.0, 0.2), ("you", 0.3, 0.6)]


@pytest.mark.parametrize(
    "times",
    [5, {}, {"characters": ["a"]}, {"characters": ["a"], "character_start_times_seconds": [],
      "character_end_times_seconds": []}],
)  # fmt: skip
def test_times_that_make_no_sense_cost_no_audio(times: object) -> None:
    line = json.dumps({"audio_base64": B64, "alignment": times}).encode()
    assert body_of(answer("application/json"), line) == [Audio(BYTES), OutputEnd()]


def test_which_alignment_of_an_answer() -> None:
    """As on the sockets."""
    times = {"character_start_times_seconds": [0.0], "character_end_times_seconds": [0.1]}
    line = json.dumps(
        {
            "alignment": {"characters": ["$ "], **times},
            "normalized_alignment": {"characters": ["dollar "], **times},
        }
    ).encode()
    other = ElevenLabsRest(voice="V1", pronunciation_dictionaries=[("a", "1")])
    assert marks(body_of(answer("application/json"), line)) == [("$", 0.0, 0.1)]
    assert marks(body_of(answer("application/json", other), line, adapter=other)) == [
        ("dollar", 0.0, 0.1)
    ]


@pytest.mark.parametrize("kind", ["application/json", "", "text/plain"])
def test_an_error_in_the_place_of_audio(kind: str) -> None:
    """With a status of success, too, what is not audio may be an error."""
    signals = body_of(answer(kind), body("system_busy", "busy").encode())
    error = failure(signals[0]).error
    assert facts(error) == (RateLimitError, True, "busy")
    verdict = rest.verdict(failure(signals[0]), busy=True)
    assert verdict.scope is Scope.CONNECTION


@pytest.mark.parametrize(
    "data", [b"<html>", b"[]", b'{"audio_base64":5}', b'{"audio_base64":"?"}', b"\xff"]
)
def test_an_answer_that_is_neither(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        body_of(answer("text/html"), data)


def test_a_line_that_never_ends() -> None:
    """It is given up before it fills the memory."""
    here = answer("application/json")
    for _ in range(16):
        assert list(rest.decode_binary(b" " * 2**20, here)) == []
    with pytest.raises(RemoteProtocolError, match="a line of more than"):
        rest.decode_binary(b" ", here)


def test_text_messages_do_not_come_over_http() -> None:
    with pytest.raises(RemoteProtocolError):
        rest.decode(b"{}", wire(rest))


def test_the_end_of_a_request_is_read_as_usual() -> None:
    """A body that breaks off is a lost connection."""
    verdict = rest.verdict(Closed(), busy=True)
    assert isinstance(verdict.error, ConnectionLost) and verdict.error.retryable
    error = GenerationError("no")
    assert rest.verdict(Failed(error), busy=True).error is error
