"""
KugelAudio's own package (``kugelaudio``), pointed at the simulator by ``api_url``.

Telemetry, which it has, is off. All that it says of text goes over sockets; it asks HTTP for voices
and the like only.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from kugelaudio import AudioChunk, KugelAudio
from kugelaudio.exceptions import KugelAudioError, ValidationError
from kugelaudio.streaming import MultiContextSession, StreamingSession
from speech import LONG, SECOND, TEXT, assert_cut, assert_exact, sent, spoken, violations
from websockets.exceptions import ConcurrencyError

from ttsmux.simulate import Simulator
from ttsmux.simulate.sound import Encoding

PCM = Encoding(24000)
VOICE = 1071
# So little that a socket is closed in no time though nobody reads it.
UNREAD = "No."


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator("kugelaudio", require_key=True) as simulator:
        yield simulator


@pytest.fixture
def client(sim: Simulator) -> Iterator[KugelAudio]:
    with KugelAudio(api_key="a-key", api_url=sim.http_url, telemetry=False) as client:
        yield client


@pytest.fixture
async def tasks(sim: Simulator) -> AsyncIterator[KugelAudio]:
    """A client for a task, to be closed by one: what it keeps open belongs to the loop."""
    client = KugelAudio(api_key="a-key", api_url=sim.http_url, telemetry=False)
    yield client
    await client.aclose()


def turns(client: KugelAudio) -> StreamingSession:
    return client.tts.streaming_session(voice_id=VOICE, language="en")


def contexts(client: KugelAudio) -> MultiContextSession:
    return client.tts.multi_context_session(default_voice_id=VOICE, language="en")


async def bytes_of(chunks: AsyncIterator[object]) -> bytes:
    return b"".join([chunk.audio async for chunk in chunks if isinstance(chunk, AudioChunk)])


async def request(client: KugelAudio, text: str) -> bytes:
    return await bytes_of(client.tts.stream_async(text, voice_id=VOICE, language="en"))


# Whole requests


def test_a_speech(sim: Simulator, client: KugelAudio) -> None:
    response = client.tts.generate(TEXT, voice_id=VOICE, language="en", word_timestamps=True)
    assert_exact(sim, response.audio, TEXT, PCM)
    assert [stamp.word for stamp in response.word_timestamps] == TEXT.split()
    assert violations(sim) == []


def test_a_speech_in_another_format(sim: Simulator, client: KugelAudio) -> None:
    """The rate has to be said twice: see `test_fault_a_format_contradicts_the_usual_rate`."""
    response = client.tts.generate(
        TEXT, voice_id=VOICE, language="en", output_format="ulaw_8000", sample_rate=8000
    )
    assert_exact(sim, response.audio, TEXT, Encoding(8000, "mulaw"))


def test_two_speeches_of_a_thread_take_two_connections(sim: Simulator, client: KugelAudio) -> None:
    """Each has a thread, a loop and a socket of its own."""
    for number, text in enumerate((TEXT, SECOND), 1):
        response = client.tts.generate(text, voice_id=VOICE, language="en")
        assert_exact(sim, response.audio, text, PCM, number)
    assert sim.dials == 2


@pytest.mark.anyio
async def test_two_speeches_of_a_task_take_one_connection(
    sim: Simulator, tasks: KugelAudio
) -> None:
    assert_exact(sim, await request(tasks, TEXT), TEXT, PCM, 1)
    assert_exact(sim, await request(tasks, SECOND), SECOND, PCM, 2)
    assert sim.dials == 1
    assert violations(sim) == []


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["error=No more", "close=1000", "close=1011", "eof"])
async def test_a_request_that_breaks_off_is_an_error(
    sim: Simulator, tasks: KugelAudio, fault: str
) -> None:
    sim.inject(f"{fault}@request:1,chunk:3")
    with pytest.raises(KugelAudioError):
        await request(tasks, TEXT)


# Turns


@pytest.mark.anyio
async def test_text_as_it_arrives_in_two_turns(sim: Simulator, tasks: KugelAudio) -> None:
    """On one connection, the second after the end of the first."""
    async with turns(tasks) as session:
        for number, text in enumerate((TEXT, SECOND), 1):
            audio = b""
            for word in text.removesuffix(".").split():
                audio += await bytes_of(session.send(f"{word} "))
            audio += await bytes_of(session.flush())
            assert_exact(sim, audio, text.removesuffix("."), PCM, number)
    assert sim.dials == 1
    assert violations(sim) == []


@pytest.mark.anyio
async def test_a_turn_is_cancelled(sim: Simulator, tasks: KugelAudio) -> None:
    """And its connection used again: what was under way is read and dropped."""
    async with turns(tasks) as session:
        chunks = session.send(LONG, flush=True)
        first = await anext(chunks)
        await chunks.aclose()
        await session.cancel_current()
        assert_cut(sim, first.audio, LONG, PCM)
        assert sent(sim, 1) < len(spoken(LONG, 1, PCM))
        assert_exact(sim, await bytes_of(session.send(SECOND, flush=True)), SECOND, PCM, 2)
    assert sim.dials == 1
    assert violations(sim) == []


# Contexts


@pytest.mark.anyio
async def test_two_contexts_one_after_the_other(sim: Simulator, tasks: KugelAudio) -> None:
    async with contexts(tasks) as session:
        for number, text in enumerate((TEXT, SECOND), 1):
            audio = await bytes_of(session.send(f"c{number}", text, flush=True))
            audio += await bytes_of(session.close_context(f"c{number}"))
            assert_exact(sim, audio, text, PCM, number)
    assert sim.dials == 1
    assert violations(sim) == []


@pytest.mark.anyio
async def test_a_context_is_cancelled(sim: Simulator, tasks: KugelAudio) -> None:
    async with contexts(tasks) as session:
        chunks = session.send("c1", LONG, flush=True)
        await anext(chunks)
        await chunks.aclose()
        await bytes_of(session.close_context("c1", immediate=True))
        assert sent(sim, 1) < len(spoken(LONG, 1, PCM))
        assert_exact(sim, await bytes_of(session.send("c2", SECOND, flush=True)), SECOND, PCM, 2)
    assert sim.dials == 1


# What follows are faults of the package, as they are.


@pytest.mark.anyio
async def test_fault_a_speech_begins_with_the_rest_of_another(
    sim: Simulator, tasks: KugelAudio
) -> None:
    """
    Who leaves `stream_async` early leaves the request running, and the socket in the pool: the next
    request reads the audio of the one before, and its end.
    """
    chunks = tasks.tts.stream_async(LONG, voice_id=VOICE, language="en")
    first = await anext(chunks)
    await chunks.aclose()
    assert first.audio + await request(tasks, UNREAD) == spoken(LONG, 1, PCM)
    assert violations(sim) == ["a request before the end of the one before"]


@pytest.mark.anyio
async def test_fault_two_requests_at_once_share_a_socket(sim: Simulator, tasks: KugelAudio) -> None:
    """`stream_async` has one socket for all, and both read it."""
    first, second = await asyncio.gather(
        request(tasks, LONG), request(tasks, UNREAD), return_exceptions=True
    )
    assert first == spoken(LONG, 1, PCM)
    assert isinstance(second, ConcurrencyError)


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["close=1000", "close=1001", "close=1011", "eof"])
async def test_fault_a_turn_that_breaks_off_passes_for_whole(
    sim: Simulator, tasks: KugelAudio, fault: str
) -> None:
    """`_receive_until_idle` raises for the closes that have a meaning, and stops at all others."""
    sim.inject(f"{fault}@request:1,chunk:3")
    async with turns(tasks) as session:
        assert_cut(sim, await bytes_of(session.send(TEXT, flush=True)), TEXT, PCM)


@pytest.mark.anyio
async def test_fault_a_pause_between_sentences_ends_a_turn(
    sim: Simulator, tasks: KugelAudio
) -> None:
    """
    After a ``chunk_complete``, two seconds of silence count as the end, though `final` and
    ``session_closed`` have not come. The rest is then heard in the next turn.
    """
    begin, rest = "The lift is out of order. ", "Please take the stairs."
    chunks = -(-len(spoken(begin, 1, PCM)) // (PCM.rate * PCM.width * 80 // 1000))
    sim.inject(f"stall=3000@request:1,chunk:{chunks}")
    async with turns(tasks) as session:
        audio = await bytes_of(session.send(begin + rest, flush=True))
        assert audio == spoken(begin, 1, PCM)
        assert audio + await bytes_of(session.flush()) == spoken(begin + rest, 1, PCM)


@pytest.mark.anyio
async def test_fault_contexts_side_by_side_lose_audio(sim: Simulator, tasks: KugelAudio) -> None:
    """What comes for another context than the one that is read goes into a list nobody reads."""
    begin, rest = "The lift is out of order. ", "Please take the stairs."
    async with contexts(tasks) as session:
        one = session.send("c1", begin + rest, flush=True, chunk_complete_idle_timeout=0)
        audio = await bytes_of(one)
        assert_exact(sim, await bytes_of(session.send("c2", TEXT, flush=True)), TEXT, PCM, 2)
        audio += await bytes_of(session.close_context("c1"))
    assert sent(sim, 1) == len(spoken(begin + rest, 1, PCM))
    assert audio == spoken(begin, 1, PCM)


def test_fault_a_format_contradicts_the_usual_rate(client: KugelAudio) -> None:
    """
    With a format, the package sends its ``sample_rate`` of 24,000 all the same, which the vendor's
    page says is an error. That the server is more lenient is likely: the simulator can be as well.
    """
    with pytest.raises(ValidationError, match="contradict each other"):
        client.tts.generate(TEXT, voice_id=VOICE, language="en", output_format="ulaw_8000")
    with Simulator("kugelaudio", contradiction="ignored") as sim:
        with KugelAudio(api_key="a-key", api_url=sim.http_url, telemetry=False) as other:
            response = other.tts.generate(
                TEXT, voice_id=VOICE, language="en", output_format="ulaw_8000"
            )
        assert_exact(sim, response.audio, TEXT, Encoding(8000, "mulaw"))


def test_fault_auto_mode_cannot_be_set(client: KugelAudio) -> None:
    """`StreamConfig` has it, but `streaming_session` does not take it."""
    with pytest.raises(TypeError, match="auto_mode"):
        client.tts.streaming_session(voice_id=VOICE, auto_mode=True)


def test_fault_the_key_is_in_the_url(sim: Simulator, client: KugelAudio) -> None:
    """Where proxies log it, though the server takes it in a header too."""
    client.tts.generate(TEXT, voice_id=VOICE, language="en")
    (query,) = [record["query"] for record in sim.log if record["event"] == "open"]
    assert isinstance(query, dict) and query["api_key"] == "a-key"
