"""
The plugins of LiveKit Agents for xAI, ElevenLabs and Gradium.

Those for ElevenLabs and Gradium are pointed at the simulator by ``base_url`` and
``model_endpoint``. The one for xAI has no option for that: its constant is replaced. What a user is
handed are frames, whose samples are put together here.
"""

from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from livekit.agents import APIConnectOptions, APIError, tokenize, tts
from livekit.plugins import elevenlabs, gradium, xai
from speech import LONG, SECOND, TEXT, assert_exact, spoken, violations

from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.sound import Encoding

pytestmark = pytest.mark.anyio

NO_RETRY = APIConnectOptions(max_retry=0)
RATES = {"xai": 24000, "elevenlabs": 24000, "gradium": 48000}
# See test_fault_xai_glues_words_together.
OPTIONS: dict[str, dict[str, object]] = {"xai": {"deltas": "spaced"}}

Make = Callable[..., tts.TTS]


@pytest.fixture(params=sorted(RATES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def sim(name: str) -> AsyncIterator[AsyncSimulator]:
    async with AsyncSimulator(name, require_key=True, **OPTIONS.get(name, {})) as simulator:
        yield simulator


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    made: list[tts.TTS] = []
    async with aiohttp.ClientSession() as http:

        def make(sim: AsyncSimulator, **options: object) -> tts.TTS:
            options = {"api_key": "a-key", "http_session": http, **options}
            match sim.provider:
                case "xai":
                    monkeypatch.setattr(
                        "livekit.plugins.xai.tts.XAI_WEBSOCKET_URL", f"{sim.url}/v1/tts"
                    )
                    made.append(xai.TTS(**options))
                case "elevenlabs":
                    base = f"{sim.http_url}/v1"
                    made.append(elevenlabs.TTS(base_url=base, encoding="pcm_24000", **options))
                case "gradium":
                    endpoint = f"{sim.url}/api/speech/tts"
                    made.append(gradium.TTS(model_endpoint=endpoint, **options))
            return made[-1]

        yield make
        for each in made:
            await each.aclose()


def encoding(sim: AsyncSimulator) -> Encoding:
    return Encoding(RATES[sim.provider])


def silence(sim: AsyncSimulator) -> bytes:
    """Ten milliseconds of it."""
    return bytes(2 * RATES[sim.provider] // 100)


async def frames(stream: tts.SynthesizeStream | tts.ChunkedStream) -> bytes:
    return b"".join([event.frame.data.tobytes() async for event in stream])


async def stream(client: tts.TTS, *pieces: str) -> bytes:
    async with client.stream(conn_options=NO_RETRY) as speech:
        for piece in pieces:
            speech.push_text(piece)
        speech.end_input()
        return await frames(speech)


async def synthesize(client: tts.TTS, text: str) -> bytes:
    async with client.synthesize(text, conn_options=NO_RETRY) as speech:
        return await frames(speech)


def words(text: str) -> list[str]:
    return [f"{word} " for word in text.split()]


async def test_a_speech(sim: AsyncSimulator, make: Make) -> None:
    assert_exact(sim, await stream(make(sim), TEXT), TEXT, encoding(sim))
    assert violations(sim) == []


async def test_two_speeches(sim: AsyncSimulator, make: Make) -> None:
    """On one connection with xAI and ElevenLabs; on one each with Gradium."""
    client = make(sim)
    for number, text in enumerate((TEXT, SECOND), 1):
        assert_exact(sim, await stream(client, text), text, encoding(sim), number)
    assert sim.dials == {"xai": 1, "elevenlabs": 1, "gradium": 2}[sim.provider]
    assert violations(sim) == []


async def test_text_as_it_arrives(sim: AsyncSimulator, make: Make) -> None:
    assert_exact(sim, await stream(make(sim), *words(LONG)), LONG, encoding(sim))


async def test_text_cut_in_the_middle_of_words(sim: AsyncSimulator, make: Make) -> None:
    pieces = [TEXT[at : at + 4] for at in range(0, len(TEXT), 4)]
    assert_exact(sim, await stream(make(sim), *pieces), TEXT, encoding(sim))


@pytest.mark.parametrize("fault", ["error=No more", "close=1000", "close=1011", "eof"])
async def test_a_speech_that_breaks_off_is_an_error(
    sim: AsyncSimulator, make: Make, fault: str
) -> None:
    sim.inject(f"{fault}@request:1,chunk:3")
    with pytest.raises(APIError):
        await stream(make(sim), TEXT)


async def test_an_interruption(sim: AsyncSimulator, make: Make) -> None:
    """
    The next speech is untouched by the one that was interrupted.

    Gradium's connection is hung up at once, xAI's at the next speech; on ElevenLabs' the context is
    closed, and its audio, which goes on, is dropped by its id.
    """
    client = make(sim)
    async with client.stream(conn_options=NO_RETRY) as speech:
        speech.push_text(LONG)
        speech.end_input()
        await anext(speech)
    assert_exact(sim, await stream(client, SECOND), SECOND, encoding(sim), 2)
    assert sim.dials == {"xai": 2, "elevenlabs": 1, "gradium": 2}[sim.provider]
    assert not any(frame.get("type") == "text.clear" for frame in sim.frames("recv"))


# What follows are faults of LiveKit, as they are.


async def test_fault_a_speech_of_a_whole_text_has_ten_milliseconds_too_many(
    sim: AsyncSimulator, make: Make
) -> None:
    """
    `synthesize` flushes the audio and then ends it. `AudioEmitter` then has nothing left to mark as
    the last, and makes 10 ms of silence for that.
    """
    audio = await synthesize(make(sim), TEXT)
    assert_exact(sim, audio.removesuffix(silence(sim)), TEXT, encoding(sim))
    assert audio == spoken(TEXT, 1, encoding(sim)) + silence(sim)


async def test_fault_so_has_one_whose_end_is_late(sim: AsyncSimulator, make: Make) -> None:
    """The same, where no audio has come for as long as what came takes to be heard."""
    text = "No."
    sim.inject("stall=1500@request:1,chunk:4")
    audio = await stream(make(sim), text)
    assert len(spoken(text, 1, encoding(sim))) == 4 * 2 * RATES[sim.provider] * 80 // 1000
    assert audio == spoken(text, 1, encoding(sim)) + silence(sim)


async def test_fault_a_retried_speech_begins_twice(sim: AsyncSimulator, make: Make) -> None:
    """
    A failed `synthesize` is begun anew even when its beginning was handed out. A change of
    ``request_id`` says so, which `collect` does not look at.
    """
    sim.inject("stall=500@request:1,chunk:20")
    sim.inject("eof@request:1,chunk:21")
    options = APIConnectOptions(max_retry=1, retry_interval=0)
    async with make(sim).synthesize(LONG, conn_options=options) as speech:
        audio = (await speech.collect()).data.tobytes()
    again = spoken(LONG, 2, encoding(sim)) + silence(sim)
    assert audio.endswith(again)
    begun = audio.removesuffix(again)
    assert len(begun) > 0 and spoken(LONG, 1, encoding(sim)).startswith(begun)


async def test_fault_xai_glues_words_together(make: Make) -> None:
    """
    The plugin sends word by word, without the spaces between. The vendor's page says that pieces
    are put together as they are. Whether the server puts spaces there after all only it can tell:
    the simulator can (``deltas="spaced"``). A tokenizer that keeps the text as it is helps.
    """
    async with AsyncSimulator("xai") as sim:
        audio = await stream(make(sim), "Good morning to you.")
        assert_exact(sim, audio, "Goodmorningtoyou.", encoding(sim))
        faithful = tokenize.basic.WordTokenizer(ignore_punctuation=False, retain_format=True)
        audio = await stream(make(sim, tokenizer=faithful), "Good morning to you.")
        assert_exact(sim, audio, "Good morning to you.", encoding(sim), 2)


@pytest.mark.parametrize("name", ["xai"])
async def test_fault_xai_is_left_speaking(sim: AsyncSimulator, make: Make) -> None:
    """
    `ConnectionPool.remove` only notes that an interrupted connection is to be closed. That is done
    when the next one is asked for: until then the server speaks on, and counts it.
    """
    client = make(sim)
    async with client.stream(conn_options=NO_RETRY) as speech:
        speech.push_text(TEXT * 20)
        speech.end_input()
        await anext(speech)
    assert sim.open_connections == 1
    await stream(client, SECOND)
    await sim.await_for(
        lambda log: any(record["event"] == "lost" and record["conn"] == 1 for record in log)
    )


@pytest.mark.parametrize("name", ["gradium"])
async def test_fault_gradium_reads_a_tag_aloud(sim: AsyncSimulator, make: Make) -> None:
    """The tokenizer cuts it in three, and the server knows a tag only when it is whole."""
    text = 'One. <break time="1.5s" /> Two.'
    assert_exact(sim, await stream(make(sim), text), text, encoding(sim))
    texts = [frame["text"] for frame in sim.frames("recv") if frame["type"] == "text"]
    assert texts[1:4] == ["<break ", 'time="1.5s" ', "/> "]


@pytest.mark.parametrize("name", ["elevenlabs"])
async def test_fault_elevenlabs_a_sixth_speech_fails_the_other_five(
    sim: AsyncSimulator, make: Make
) -> None:
    """All share one connection, which is closed when a sixth context is opened; nobody counts."""
    client = make(sim)
    sim.inject("stall")
    streams = [client.stream(conn_options=NO_RETRY) for _ in range(6)]
    for speech in streams:
        speech.push_text(TEXT)
        speech.end_input()
    for speech in streams:
        with pytest.raises(APIError):
            await frames(speech)
        await speech.aclose()
    assert any(frame.get("error") == "max_active_conversations" for frame in sim.frames("send"))
