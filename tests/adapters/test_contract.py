"""What every adapter promises, ours and a third party's: run over the entry points."""

import base64
import json
import random
import re
import time
from collections.abc import Callable, Hashable, Iterator
from importlib.metadata import entry_points

import attrs
import pytest

from tests.adapters.wire import JSON, parsed
from ttsmux.adapter import (
    Adapter,
    Audio,
    CancelAck,
    Closed,
    DialFailure,
    Failed,
    Flush,
    Generation,
    Handshake,
    InputEnd,
    Marks,
    Note,
    OutputEnd,
    Ready,
    Released,
    Traits,
    Verdict,
    Wire,
)
from ttsmux.audio import FORMATS, AudioFormat
from ttsmux.errors import Error, InvalidFormat, InvalidVoice, RemoteProtocolError
from ttsmux.settings import Interrupt

ENTRY_POINTS = {entry.name: entry for entry in entry_points(group="ttsmux.adapters")}
KINDS: dict[str, type[Adapter]] = {name: entry.load() for name, entry in ENTRY_POINTS.items()}
SIGNALS = (Ready, Audio, Marks, InputEnd, OutputEnd, Released, CancelAck, Failed, Note)
SECRET = "sk-5ecret-0123456789"


def make(name: str, **options: object) -> Adapter:
    kind = KINDS[name]
    voice = {"voice": "YTpq7expH9539ERJ"} if kind.traits.voice_required else {}
    return kind(**{**voice, **options})  # type: ignore[arg-type]


@pytest.fixture(params=sorted(KINDS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return make(request.param)


def generation(adapter: Adapter, id: str) -> Generation:
    return Generation(id, adapter.options())


def test_the_adapters_are_found() -> None:
    """By the entry points that pyproject.toml declares, under their own names."""
    assert {"elevenlabs", "gradium", "kugelaudio", "xai"} <= set(KINDS)
    assert all(kind.name == name for name, kind in KINDS.items())


# --- traits ---------------------------------------------------------------------------------------


def test_policies(adapter: Adapter) -> None:
    """The default is one of them; a generation without an id cannot be muted."""
    traits = adapter.tuned()
    assert traits.interrupt in traits.policies
    assert len(set(traits.policies)) == len(traits.policies)
    assert Interrupt.DISCARD in traits.policies, "giving up a connection is always possible"
    assert traits.ids or Interrupt.MUTE not in traits.policies


def test_seats_and_slots(adapter: Adapter) -> None:
    """Who sits counts; several at once need ids; muted ones need slots beside the seats."""
    traits = adapter.tuned()
    assert 1 <= traits.seats <= traits.slots
    assert traits.ids or traits.seats == traits.slots == 1
    if traits.max_muted is not None:
        assert traits.ids and traits.slots >= traits.seats + traits.max_muted


def test_times(adapter: Adapter) -> None:
    """All positive; a keepalive comes before what it prevents."""
    traits = adapter.tuned()
    names = (
        "acknowledgement", "release_after", "release_soon", "source_pause",
        "generation_keepalive", "connection_keepalive", "ping", "max_idle", "max_age",
    )  # fmt: skip
    for name in names:
        value = getattr(traits, name)
        assert value is None or value > 0, name
    if traits.max_idle is not None and traits.max_age is not None:
        assert traits.max_idle <= traits.max_age
    assert traits.max_text is None or traits.max_text > 0
    assert traits.max_message >= 1024 * 1024


def test_names(adapter: Adapter) -> None:
    """The key has a variable, and the formats are spelled as everywhere."""
    traits = adapter.tuned()
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*_API_KEY", traits.key_variable)
    assert traits.formats and len(set(traits.formats)) == len(traits.formats)
    for name in traits.formats:
        assert AudioFormat.parse(name).name == name
    assert not (traits.voice_required and traits.voice is not None)


def test_traits_belong_to_the_class(adapter: Adapter) -> None:
    """What an instance's own options make of them is another value; both are frozen."""
    before = attrs.asdict(type(adapter).traits)
    assert isinstance(adapter.tuned(), Traits)
    assert adapter.tuned() == adapter.tuned()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        adapter.tuned().seats = 7  # type: ignore[misc]
    assert attrs.asdict(type(adapter).traits) == before


# --- options --------------------------------------------------------------------------------------


def test_formats(adapter: Adapter) -> None:
    """Each that is promised can be had; the first is the default; no other can."""
    traits = adapter.tuned()
    assert adapter.options().format.name == traits.formats[0]
    for name in FORMATS:
        other = make(adapter.name, format=name)
        if name in traits.formats:
            assert other.options().format.name == name
        else:
            with pytest.raises(InvalidFormat):
                other.options()


@pytest.mark.parametrize("voice", ["../x", "a\r\nb", "a b", "", "a/b"])
def test_voices(adapter: Adapter, voice: str) -> None:
    """What could break out of a URL or a header is refused before there is one."""
    with pytest.raises(InvalidVoice):
        make(adapter.name, voice=voice).options()


def test_a_voice_that_is_needed() -> None:
    """Where there is no default, its absence is told by name."""
    for name, kind in KINDS.items():
        if kind.traits.voice_required:
            with pytest.raises(InvalidVoice, match="voice="):
                kind().options()
        else:
            assert make(name).options().voice == kind.traits.voice


def test_adapters_are_frozen_values(adapter: Adapter) -> None:
    """Equal if their options are, usable in sets, and nothing can be changed."""
    twin = make(adapter.name)
    assert twin == adapter and hash(twin) == hash(adapter)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        adapter.voice = "other"  # type: ignore[misc]


def test_pool_keys(adapter: Adapter) -> None:
    """Hashable, equal for equal options, and another for another format."""
    key = adapter.pool_key(adapter.options())
    assert isinstance(key, Hashable)
    assert {key: 1}[make(adapter.name).pool_key(adapter.options())] == 1
    keys = {
        make(adapter.name, format=name).pool_key(make(adapter.name, format=name).options())
        for name in adapter.tuned().formats
    }
    assert len(keys) == len(adapter.tuned().formats)


# --- the handshake --------------------------------------------------------------------------------


def test_handshake(adapter: Adapter) -> None:
    """An encrypted URL in ASCII, headers that are headers, and the key is in there somewhere."""
    shake = adapter.handshake(adapter.options(), SECRET)
    assert re.fullmatch(r"(wss|https)://[a-z0-9.-]+/[!-~]*", shake.url)
    for name, value in shake.headers.items():
        assert re.fullmatch(r"[A-Za-z0-9-]+", name) and re.fullmatch(r"[ -~]+", value)
    everything = [shake.url, *shake.headers.values(), *shake.subprotocols, *shake.first_frames]
    assert any(SECRET in str(part) for part in everything)


def test_no_repr_shows_the_key(adapter: Adapter) -> None:
    """Not the handshake's, wherever the provider wants its key, nor any other."""
    options = adapter.options()
    shake = adapter.handshake(options, SECRET)
    for thing in (shake, attrs.evolve(shake), adapter, options):
        assert SECRET not in repr(thing) and SECRET not in str(thing)
    hidden = Handshake(
        url=f"wss://x/?k={SECRET}", headers={"k": SECRET}, first_frames=(f'{{"k":"{SECRET}"}}',)
    )
    assert SECRET not in repr(hidden)


def test_no_key_no_trace_of_one(adapter: Adapter) -> None:
    """Without a key nothing says None."""
    shake = adapter.handshake(adapter.options(), None)
    assert "None" not in f"{shake.url}{shake.headers}{shake.first_frames}"


# --- one lifecycle --------------------------------------------------------------------------------


def life(adapter: Adapter, gen: Generation, *, interrupted: bool) -> Iterator[list[JSON]]:
    """The frames of one generation as the core asks for them, step by step."""
    yield parsed(adapter.open(gen), adapter.text(gen, "Hello"))
    yield parsed(adapter.text(gen, "there."))
    yield parsed(adapter.flush(gen))
    yield parsed(adapter.keepalive(gen))
    yield parsed(adapter.text(gen, 'Née <break time="1s"/> "q" \\ 😀'))
    if interrupted:
        yield parsed(adapter.interrupt(gen))
    else:
        gen.ended = True
        yield parsed(adapter.end(gen))
        yield parsed(adapter.release(gen))


ID, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@pytest.mark.parametrize("interrupted", [False, True])
def test_frames_are_json_objects(adapter: Adapter, interrupted: bool) -> None:
    """Text messages, never blank; and with ids, every one names its generation once."""
    gen = generation(adapter, ID)
    frames = [frame for step in life(adapter, gen, interrupted=interrupted) for frame in step]
    frames += parsed(adapter.keepalive(None), adapter.shutdown())
    shake = adapter.handshake(adapter.options(), None)
    frames += parsed(shake.first_frames)
    assert frames and all(frames)
    assert gen.ended is not interrupted and gen.id == ID and gen.options == adapter.options()


@pytest.mark.parametrize("interrupted", [False, True])
def test_ids(adapter: Adapter, interrupted: bool) -> None:
    """Where audio names its generation every frame does, in one field; elsewhere none does."""
    frames = [
        frame
        for step in life(adapter, generation(adapter, ID), interrupted=interrupted)
        for frame in step
    ]
    fields = [{name for name, value in frame.items() if value == ID} for frame in frames]
    if adapter.tuned().ids:
        assert all(len(names) == 1 and names == fields[0] for names in fields)
    else:
        assert not any(fields) and ID not in json.dumps(frames)


def test_a_generation_begins_with_its_opening(adapter: Adapter) -> None:
    """No later step repeats it, so an end or an interrupt never goes ahead of it."""
    gen = generation(adapter, ID)
    opening = parsed(adapter.open(gen))
    first = life(adapter, generation(adapter, ID), interrupted=False)
    assert next(first)[: len(opening)] == opening
    for step in first:
        assert not any(frame in opening for frame in step)


def test_the_end_is_said_once(adapter: Adapter) -> None:
    """An interruption after the end does not send the end again."""
    gen = generation(adapter, ID)
    gen.ended = True
    end = parsed(adapter.end(gen))
    assert end, "somebody has to say that the text is over"
    assert not any(frame in end for frame in parsed(adapter.interrupt(gen)))


def test_flush_sends_something_if_it_is_a_message(adapter: Adapter) -> None:
    """And nothing if it is not."""
    frames = list(adapter.flush(generation(adapter, ID)))
    assert bool(frames) is (adapter.tuned().flush is Flush.MESSAGE)


def test_two_generations_do_not_affect_each_other(adapter: Adapter) -> None:
    """Interleaved or one after the other, each says the same."""

    def alone(id: str, interrupted: bool) -> list[list[JSON]]:
        return list(life(adapter, generation(adapter, id), interrupted=interrupted))

    a = life(adapter, generation(adapter, ID), interrupted=True)
    b = life(adapter, generation(adapter, OTHER), interrupted=False)
    mixed_a, mixed_b = [], []
    for step in a:
        mixed_a.append(step)
        mixed_b.append(next(b))
    mixed_b += b
    assert (mixed_a, mixed_b) == (alone(ID, True), alone(OTHER, False))


def test_two_wires_do_not_affect_each_other(adapter: Adapter) -> None:
    """What must be remembered between messages lies in the wire's scratch."""

    def alone() -> list[object]:
        wire = Wire(adapter.options())
        return [facts(signal) for data in valid for signal in adapter.decode(data, wire)]

    valid = [json.dumps(message).encode() for message in corpus(adapter.name)]
    one, two = Wire(adapter.options()), Wire(adapter.options())
    mixed: tuple[list[object], list[object]] = [], []
    for data in valid:
        for heard, wire in zip(mixed, (one, two), strict=True):
            heard += [facts(signal) for signal in adapter.decode(data, wire)]
    assert mixed[0] == mixed[1] == alone()


def facts(signal: object) -> object:
    """A signal as it can be compared: errors are compared by what they say."""
    if isinstance(signal, Failed):
        return type(signal.error), signal.error.message, signal.id
    return signal


# --- what comes in --------------------------------------------------------------------------------

AUDIO = base64.b64encode(bytes(range(60))).decode()

CORPUS: dict[str, list[JSON]] = {
    "elevenlabs": [
        {
            "audio": AUDIO, "isFinal": None, "contextId": ID,
            "alignment": {
                "chars": ["H", "i", " ", "y"],
                "charStartTimesMs": [0, 90, 170, 200],
                "charDurationsMs": [90, 80, 30, 120],
            },
            "normalizedAlignment": {
                "chars": [" ", "Hi", " ", "y"],
                "charsStartTimesMs": [0, 0, 170, 200],
                "charsDurationsMs": [0, 170, 30.5, 120],
            },
        },
        {"audio": AUDIO, "is_final": False, "context_id": ID, "alignment": None},
        {"audio": AUDIO, "isFinal": True, "contextId": ID},
        {"audio": None, "isFinal": True, "contextId": ID},
        {"alignment": {"chars": ["x"], "charStartTimesMs": [0], "charDurationsMs": [1]}},
        {"message": "Maximum contexts", "error": "max_active_conversations", "code": 1008},
        {"message": "Invalid API key", "error": "invalid_api_key", "code": 1008, "contextId": ID},
        {"is_final": True},
        {},
    ],
    "gradium": [
        {
            "type": "ready", "client_req_id": ID, "request_id": "rq_1", "model_name": "default",
            "sample_rate": 48000, "frame_size": 3840, "audio_stream_names": ["tts"],
            "residency": "none",
        },
        {"type": "audio", "client_req_id": ID, "audio": AUDIO, "start_s": 0.0, "stop_s": 0.08},
        {"type": "audio", "client_request_id": ID, "audio": "", "start_s": -0.1, "stop_s": 0},
        {"type": "text", "client_req_id": ID, "text": "so", "start_s": 0.2, "stop_s": 0.6},
        {"type": "text", "text": "é😀", "start_s": 0.2, "stream_id": 0},
        {"type": "error", "client_req_id": ID, "message": "Embeddings not found", "code": 1011},
        {"type": "error", "message": "API key is revoked or expired", "code": 1008},
        {"type": "need_more_text"},
        {"type": "end_of_stream", "client_req_id": ID},
        {"type": "end_of_stream"},
    ],
    "kugelaudio": [
        {"context_created": True, "context_id": ID},
        {"generation_started": True, "context_id": ID, "chunk_id": 0, "text": "é😀"},
        {
            "audio": AUDIO, "enc": "pcm_s16le", "idx": 0, "sr": 24000, "samples": 30,
            "chunk_id": 0, "context_id": ID,
        },
        {"audio": "", "context_id": ID},
        {
            "word_timestamps": [
                {"word": "so", "start_ms": 120, "end_ms": 410.5, "char_start": 0, "char_end": 2},
            ],
            "chunk_id": 0, "context_id": ID,
        },
        {"chunk_complete": True, "context_id": ID, "chunk_id": 0, "audio_seconds": 1.7},
        {"final": True, "context_id": ID},
        {
            "context_closed": True, "context_id": ID,
            "usage": {"audio_seconds": 1.7, "characters": 25, "cost_cents": None},
        },
        {"context_timeout": True, "context_id": ID},
        {"session_closed": True, "total_audio_seconds": 9.2},
        {
            "error": "Voice not found", "error_code": "NOT_FOUND", "code": 404,
            "request_id": "9f2c", "context_id": ID, "retry_after": 3,
        },
        {"error": "Insufficient credits", "error_code": "INSUFFICIENT_CREDITS", "code": 402},
        {"interrupted": True},
        {"warning": "no input: inactivity"},
        {"settings_updated": True, "settings": {"speed": 1.1, "language": "en"}},
    ],
    "xai": [
        {"type": "audio.delta", "delta": AUDIO},
        {
            "type": "audio.delta",
            "delta": AUDIO,
            "audio_timestamps": {
                "graph_chars": ["H", "i", " ", "y"],
                "graph_times": [[0.0, 0.1], [0.1, 0.2], {"start": 0.2, "end": 0.3}, [0.3, 0.4]],
            },
            "audio_duration": 0.3,
        },
        {"type": "audio.delta", "delta": "", "audio_timestamps": {"graph_chars": []}},
        {"type": "error", "message": "replace has too many entries"},
        {"type": "error", "error": {"code": 4, "type": "x", "message": "timed out"}},
        {"type": "error", "error": "timed out"},
        {"type": "session.updated", "replace": {"nginx": "engine x"}},
        {"type": "audio.clear"},
        {"type": "audio.done", "trace_id": "5f1c"},
    ],
}  # fmt: skip


def corpus(name: str) -> list[JSON]:
    """Valid messages of this provider; of a stranger's adapter, everybody's."""
    return CORPUS.get(name) or [message for each in CORPUS.values() for message in each]


LEAVES: list[str] = [
    "null", "true", "false", "0", "-0", "-1", "1e308", "1e999", "-1e999", "1e-999", "1.5", "1008",
    "1" * 19, "9" * 40, "9" * 5000, "-" + "9" * 5000, "0." + "1" * 5000, '""', '"a"', '" "',
    '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\n\\t\\u001b[2J"', '"é😀"', '"AAE="', '"AA="',
    '"=AAA"', '"x\\u00e9"', '"' + "x" * 300 + '"', "[]", "[[]]", "{}", '{"message":null}',
    '{"start":0,"end":"x"}', "[1]", "[null,null]", "[[1,2,3]]", '{"a":{"a":{"a":{}}}}',
    "[" * 50 + "]" * 50, '{"a":1,"a":2}', '"error"', '"audio"', '"text"', '"audio.delta"',
    '"audio.done"', '"end_of_stream"', f'"{ID}"',
]  # fmt: skip
BROKEN = [
    b"NaN", b"-Infinity", b"01", b"'", b'"\xff"', b'"\xed\xa0\x80"', b"\xff", b"\0",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"{", b"[" * 2000,
    b'"\\x"', b'"\n"', b",", b"tru",
]  # fmt: skip


def render(value: object, rng: random.Random, odds: float) -> str:
    """Write *value* as JSON; anything in it may come out as something else."""
    if rng.random() < odds:
        return rng.choice(LEAVES)
    if isinstance(value, dict):
        pairs = [f"{json.dumps(name)}:{render(item, rng, odds)}" for name, item in value.items()]
        if pairs and rng.random() < odds:
            pairs.pop(rng.randrange(len(pairs)))
        if rng.random() < odds:
            name = rng.choice([*value, "message", "code", "delta", "client_req_id", "new"])
            pairs.append(f"{json.dumps(name)}:{rng.choice(LEAVES)}")
        rng.shuffle(pairs)
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        items = [render(item, rng, odds) for item in value]
        if items and rng.random() < odds:
            items.pop()
        return "[" + ",".join(items) + "]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def fuzzed(name: str, count: int) -> Iterator[bytes]:
    rng = random.Random(f"{name} {count}")
    valid = corpus(name)
    for _ in range(count):
        data = render(rng.choice(valid), rng, rng.choice((0.02, 0.1, 0.3))).encode()
        match rng.randrange(16):
            case 0:
                at = rng.randrange(len(data) + 1)
                data = data[:at] + rng.choice(BROKEN) + data[at:]
            case 1:
                data = data[: rng.randrange(len(data) + 1)]
        yield data


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError as exc:
        return "Exceeds the limit" in str(exc)  # grammar it is; Python will not make an int of it
    except RecursionError:
        return False
    return True


def hear(adapter: Adapter, data: bytes, wire: Wire) -> bool:
    """Decode, and look at what comes; whether it was understood."""
    try:
        signals = list(adapter.decode(data, wire))
    except RemoteProtocolError:
        return False
    for signal in signals:
        assert isinstance(signal, SIGNALS), signal
        id = getattr(signal, "id", None)
        assert id is None or (isinstance(id, str) and adapter.tuned().ids)
        if isinstance(signal, Audio):
            assert isinstance(signal.data, bytes)
        if isinstance(signal, Marks):
            for unit in signal.units:
                assert [type(part) for part in unit] == [str, float, float]
        if isinstance(signal, Failed):
            assert signal.error.message.isprintable() and len(signal.error.message) < 300
            for busy in (True, False):
                assert isinstance(adapter.verdict(signal, busy), Verdict)
    return True


def test_fuzzed_messages(adapter: Adapter) -> None:
    """20,000 of them: understood or refused with a RemoteProtocolError, nothing else."""
    count, parse, understood = 20_000, 0, 0
    wire = Wire(adapter.options())
    for number, data in enumerate(fuzzed(adapter.name, count)):
        if number % 20 == 0:
            wire = Wire(adapter.options())
        parse += is_json(data)
        understood += hear(adapter, data, wire)
    assert parse >= 0.8 * count, "else this tests msgspec"
    assert understood >= 0.3 * count, "else this tests nothing"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="blank"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param(b"[" * 100_000, id="open brackets"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="nested lists"),
        pytest.param(b'{"a":' * 100_000, id="open objects"),
        pytest.param(b'{"type":' * 100_000, id="nested types"),
        pytest.param(b'{"type":"x","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="unused"),
        pytest.param(
            b'{"type":"error","error":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, id="error"
        ),
        pytest.param(
            b'{"type":"audio.delta","audio_timestamps":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            id="times",
        ),
        pytest.param(b"9" * 5000, id="number"),
        pytest.param(b'{"type":' + b"9" * 5000 + b"}", id="number for a type"),
        pytest.param(b'{"type":"error","code":' + b"9" * 5000 + b"}", id="number for a code"),
        pytest.param(b'{"type":"text","start_s":' + b"9" * 5000 + b"}", id="number for a time"),
        pytest.param(b'{"type":"text","text":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"type":"\xff"}', id="type not UTF-8"),
        pytest.param(b'{"\xff":1}', id="key not UTF-8"),
        pytest.param(b'{"type":"error","message":"\xed\xa0\x80"}', id="encoded surrogate"),
        pytest.param(b'{"type":"error","message":"\\ud800"}', id="escaped surrogate"),
        pytest.param(b'{"type":"audio","type":"error","type":null}', id="key thrice"),
        pytest.param(b'{"type":"error","type":"x"}', id="last one counts"),
        pytest.param(b'{"type":"text","start_s":NaN}', id="NaN"),
        pytest.param(b'{"type":NaN}', id="NaN for a type"),
        pytest.param(bytes(range(256)), id="every byte"),
        pytest.param(b"\0" * 1000, id="zeros"),
    ],
)
def test_hostile_messages(adapter: Adapter, data: bytes) -> None:
    """The ones a fuzzer finds too seldom."""
    wire = Wire(adapter.options())
    hear(adapter, data, wire)
    for message in corpus(adapter.name):
        assert hear(adapter, json.dumps(message).encode(), wire), "and afterwards all is well"


def test_binary_messages(adapter: Adapter) -> None:
    """Understood or refused in the same way."""
    for data in (b"", b"\0\1", b'{"type":"audio"}', bytes(range(256)) * 100):
        try:
            signals = list(adapter.decode_binary(data, Wire(adapter.options())))
        except RemoteProtocolError:
            continue
        assert all(isinstance(signal, SIGNALS) for signal in signals)


SHAPES: dict[str, Callable[[int], bytes]] = {
    "audio": lambda n: b'{"type":"audio","audio":"' + b"AAAA" * (n // 4) + b'"}',
    "alignment": lambda n: (
        b'{"alignment":{"chars":["'
        + b'","'.join([b"a", b" "] * (n // 32))
        + b'"],"charStartTimesMs":['
        + b",".join([b"0.5", b"1"] * (n // 32))
        + b'],"charDurationsMs":['
        + b",".join([b"0.5", b"1"] * (n // 32))
        + b"]}}"
    ),
    "spaces in an alignment": lambda n: (
        b'{"alignment":{"chars":["'
        + b"a " * (n // 2)
        + b'"],"charStartTimesMs":[0],"charDurationsMs":[0]}}'
    ),
    "delta": lambda n: b'{"type":"audio.delta","delta":"' + b"AAAA" * (n // 4) + b'"}',
    "bad base64": lambda n: b'{"type":"audio","audio":"' + b"?" * n + b'"}',
    "text": lambda n: b'{"type":"text","text":"' + b"\\u00e9" * (n // 6) + b'"}',
    "type": lambda n: b'{"type":"' + b"x" * n + b'"}',
    "error": lambda n: b'{"type":"error","message":"' + b"\\u0000 not found " * (n // 17) + b'"}',
    "object": lambda n: b'{"type":"error","error":{"message":"' + b"\\n" * (n // 2) + b'"}}',
    "keys": lambda n: b'{"type":"error"' + b',"message":"x"' * (n // 14) + b"}",
    "unknown": lambda n: b'{"type":"x","a":[' + b"1," * (n // 2) + b"1]}",
    "wrong": lambda n: b'{"type":"x","text":[' + b"1," * (n // 2) + b"1]}",
    "spaces": lambda n: b'{"type":' + b" " * n + b'"audio.done"}',
    "digits": lambda n: b'{"type":"text","start_s":0.' + b"1" * n + b"}",
    "number": lambda n: b'{"type":"error","code":' + b"9" * n + b"}",
    "brackets": lambda n: b"[" * n,
    "times": lambda n: (
        b'{"type":"audio.delta","audio_timestamps":{"graph_chars":['
        + b",".join([b'"a"', b'" "'] * (n // 24))
        + b'],"graph_times":['
        + b",".join([b"[0.5,1]"] * (n // 24 * 2))
        + b"]}}"
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_takes_linear_time(adapter: Adapter, shape: str) -> None:
    """Sixteen times the message may cost much more than sixteen times the time, not its square."""

    def cost(size: int) -> float:
        data, wire = SHAPES[shape](size), Wire(adapter.options())
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            hear(adapter, data, wire)
            best = min(best, time.process_time() - begun)
        return best

    small, large = cost(1 << 16), cost(1 << 20)
    assert large < 80 * max(small, 0.0005)


def test_carrying_takes_linear_time(adapter: Adapter) -> None:
    """A word that never ends costs a message no more the longer it is."""
    stamps = {"graph_chars": ["a"] * 20, "graph_times": [[0.0, 0.1]] * 20}
    zeros = [0] * 20
    times = {"chars": ["a"] * 20, "charStartTimesMs": zeros, "charDurationsMs": zeros}
    both = {"type": "audio.delta", "audio_timestamps": stamps, "alignment": times}
    message = json.dumps(both).encode()

    def cost(count: int) -> float:
        wire = Wire(adapter.options())
        begun = time.process_time()
        for _ in range(count):
            adapter.decode(message, wire)
        return time.process_time() - begun

    small, large = cost(500), cost(8000)
    assert large < 80 * max(small, 0.0005)


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", [True, False])
def test_there_is_a_verdict_on_everything(adapter: Adapter, busy: bool) -> None:
    """Any status, any close code, any words: an error of ours, fit to print."""
    words = ["", "no such voice", "API key", "setup", "\x1b[2J\r\n" + "x" * 9999, "é😀"]
    faults: list[DialFailure | Closed] = [
        DialFailure(status=status, body=body, headers={"retry-after": "x"})
        for status in (None, 0, 100, 200, 302, *range(400, 430), 500, 502, 503, 504, 999)
        for body in words
    ]
    faults += [
        Closed(code, reason)
        for code in (None, 0, *range(1000, 1016), 3000, 4000, 4999)
        for reason in words
    ]
    for fault in faults:
        verdict = adapter.verdict(fault, busy)
        assert isinstance(verdict.error, Error)
        assert verdict.error.message.isprintable() and len(verdict.error.message) < 300
        assert verdict.error.retry_after is None or verdict.error.retry_after > 0
