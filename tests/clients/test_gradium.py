"""Gradium's own package (``gradium``), pointed at the simulator by ``base_url``."""

import gc
import signal
from collections.abc import AsyncIterator
from types import FrameType

import pytest
from gradium import GradiumClient, TTSSetup
from gradium.stream import Tts
from speech import LONG, SECOND, TEXT, assert_cut, assert_exact, sent, spoken, violations

from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.sound import Encoding

pytestmark = pytest.mark.anyio

NATIVE, PCM = Encoding(48000), Encoding(24000)
VOICE = "YTpq7expH9539ERJ"


@pytest.fixture
async def sim() -> AsyncIterator[AsyncSimulator]:
    async with AsyncSimulator("gradium", require_key=True) as simulator:
        yield simulator


def client_of(sim: AsyncSimulator) -> GradiumClient:
    return GradiumClient(base_url=f"{sim.http_url}/api/", api_key="a-key")


def setup(output_format: str = "pcm_24000") -> TTSSetup:
    return TTSSetup(voice_id=VOICE, output_format=output_format)


@pytest.mark.parametrize(
    ("output_format", "encoding"),
    [
        ("wav", Encoding(48000, wav=True)),
        ("pcm", NATIVE),
        ("pcm_24000", PCM),
        ("ulaw_8000", Encoding(8000, "mulaw")),
    ],
)
async def test_a_speech(sim: AsyncSimulator, output_format: str, encoding: Encoding) -> None:
    result = await client_of(sim).tts(setup(output_format), TEXT)
    assert_exact(sim, result.raw_data, TEXT, encoding)
    assert [piece.text for piece in result.text_with_timestamps] == TEXT.split()
    assert violations(sim) == []


async def test_two_speeches_take_two_connections(sim: AsyncSimulator) -> None:
    """A connection for each: the package has no other way but the one of `tts_realtime`."""
    client = client_of(sim)
    for number, text in enumerate((TEXT, SECOND), 1):
        assert_exact(sim, (await client.tts(setup(), text)).raw_data, text, PCM, number)
    assert sim.dials == 2


async def test_text_as_it_arrives(sim: AsyncSimulator) -> None:
    async def words() -> AsyncIterator[str]:
        for word in TEXT.split():
            yield word

    stream = await client_of(sim).tts_stream(setup(), words())
    audio = b"".join([chunk async for chunk in stream.iter_bytes()])
    assert_exact(sim, audio, TEXT, PCM)


async def test_two_speeches_on_one_connection(sim: AsyncSimulator) -> None:
    """At once, told apart by ids. `close_ws_on_eos` is nowhere in the package, but is sent on."""
    settings = {**setup(), "close_ws_on_eos": False}
    texts = {"one": TEXT, "two": SECOND}
    audio = dict.fromkeys(texts, b"")
    async with client_of(sim).tts_realtime(**settings, client_req_id="one") as tts:
        await tts.send_setup({**settings, "client_req_id": "two"})
        for id, text in texts.items():
            await tts.send_text(text, client_req_id=id)
            await tts.send_eos(client_req_id=id)
        ended = 0
        while ended < 2:
            message = await tts.recv()
            if message["type"] == "audio":
                audio[message["client_req_id"]] += message["audio"]
            ended += message["type"] == "end_of_stream"
    assert_exact(sim, audio["one"], TEXT, PCM, 1)
    assert_exact(sim, audio["two"], SECOND, PCM, 2)
    assert sim.dials == 1
    assert violations(sim) == []


async def test_an_interruption_is_a_hang_up(sim: AsyncSimulator) -> None:
    """There is no other in the protocol; leaving the block of `tts_realtime` does it."""
    async with client_of(sim).tts_realtime(**setup()) as tts:
        await tts.send_text(LONG)
        await tts.send_eos()
        while (await tts.recv())["type"] != "audio":
            pass
    await sim.await_for(lambda log: any(record["event"] == "lost" for record in log))
    assert sent(sim, 1) < len(spoken(LONG, 1, PCM))


async def test_an_error_is_raised(sim: AsyncSimulator) -> None:
    sim.inject("error=No more;@request:1,chunk:2")
    with pytest.raises(Exception, match="Websocket connection error: No more"):
        await client_of(sim).tts(setup(), TEXT)


# What follows are faults of the package, as they are.


async def test_fault_who_leaves_a_stream_stays_connected_to_its_end() -> None:
    """
    `tts_stream` cannot be broken off: when its iterator is closed, `GradiumClient.stream` waits for
    the task that reads, and that one reads until the server hangs up.
    """
    async with AsyncSimulator("gradium", rtf=0.02) as sim:
        stream = await client_of(sim).tts_stream(setup(), LONG)
        chunks = stream.iter_bytes()
        await anext(chunks)
        await chunks.aclose()
        del stream, chunks
        gc.collect()
        await sim.await_for(lambda log: any(record["event"] == "close" for record in log), 20)
        assert sent(sim, 1) == len(spoken(LONG, 1, PCM))


@pytest.mark.parametrize("fault", ["close=1011", "close=1008", "eof"])
async def test_fault_a_speech_that_breaks_off_passes_for_whole(
    sim: AsyncSimulator, fault: str
) -> None:
    """
    `receive` looks at the close code inside ``async for msg in ws``, but aiohttp ends that loop at
    a close and never yields it. Neither is ``end_of_stream`` looked for: what came is returned.
    """
    sim.inject(f"{fault}@request:1,chunk:3")
    result = await client_of(sim).tts(setup(), TEXT)
    assert_cut(sim, result.raw_data, TEXT, PCM)


async def test_fault_a_realtime_speech_that_breaks_off_passes_for_whole(
    sim: AsyncSimulator,
) -> None:
    """`Tts.recv` takes any close frame for the end, whatever its code."""
    sim.inject("close=1011@request:1,chunk:3")
    audio = b""
    async with client_of(sim).tts_realtime(**setup()) as tts:
        await tts.send_text(TEXT)
        await tts.send_eos()
        async for message in tts:
            if message["type"] == "audio":
                audio += message["audio"]
    assert_cut(sim, audio, TEXT, PCM)


async def drain(tts: Tts) -> None:
    while await tts.recv():
        pass


class Busy(Exception):
    """A second of computing has passed where nothing was to be done but wait."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer of computing time")
async def test_fault_a_lost_connection_hangs_the_event_loop(sim: AsyncSimulator) -> None:
    """
    `Tts.recv` ignores every message that is no text but for a close *frame*. When there is none,
    aiohttp says CLOSED, at once and for ever: a loop without end that yields to nobody.
    """

    def busy(number: int, frame: FrameType | None) -> None:
        raise Busy

    sim.inject("eof@request:1,chunk:3")
    before = signal.signal(signal.SIGVTALRM, busy)
    try:
        async with client_of(sim).tts_realtime(**setup()) as tts:
            await tts.send_text(TEXT)
            await tts.send_eos()
            signal.setitimer(signal.ITIMER_VIRTUAL, 1)
            with pytest.raises(Busy):
                await drain(tts)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
