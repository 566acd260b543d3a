"""
ElevenLabs' own package (``elevenlabs``), pointed at the simulator by ``base_url``.

It has HTTP, and one of the two sockets (`convert_realtime`). The socket with contexts is there as
types of messages only, with nothing that would send or read them.
"""

import base64
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from elevenlabs.client import AsyncElevenLabs, ElevenLabs
from elevenlabs.core.api_error import ApiError
from speech import LONG, SECOND, TEXT, assert_cut, assert_exact, sent, spoken, violations

from ttsmux.simulate import Simulator
from ttsmux.simulate.sound import Encoding

PCM = Encoding(24000)
VOICE = "21m00Tcm4TlvDq8ikWAM"
OPTIONS = {"model_id": "eleven_flash_v2_5", "output_format": "pcm_24000"}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator("elevenlabs", require_key=True) as simulator:
        yield simulator


@pytest.fixture
def client(sim: Simulator) -> Iterator[ElevenLabs]:
    with httpx.Client(timeout=10) as http:
        yield ElevenLabs(base_url=sim.http_url, api_key="a-key", httpx_client=http)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Serve `convert_realtime`, which speaks TLS only: trusted as OpenSSL lets one choose."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Simulator("elevenlabs", require_key=True, ssl_context=context) as simulator:
        yield simulator


def realtime(sim: Simulator, *pieces: str) -> Iterator[bytes]:
    client = ElevenLabs(base_url=sim.http_url, api_key="a-key")
    return client.text_to_speech.convert_realtime(VOICE, text=iter(pieces), **OPTIONS)


# HTTP


@pytest.mark.parametrize("method", ["convert", "stream"])
@pytest.mark.parametrize(
    ("output_format", "encoding"),
    [("pcm_24000", PCM), ("ulaw_8000", Encoding(8000, "mulaw"))],
)
def test_a_speech(
    sim: Simulator, client: ElevenLabs, method: str, output_format: str, encoding: Encoding
) -> None:
    options = {**OPTIONS, "output_format": output_format}
    chunks = getattr(client.text_to_speech, method)(VOICE, text=TEXT, **options)
    assert_exact(sim, b"".join(chunks), TEXT, encoding)
    assert violations(sim) == []


@pytest.mark.anyio
async def test_a_speech_from_a_task(sim: Simulator) -> None:
    async with httpx.AsyncClient() as http:
        client = AsyncElevenLabs(base_url=sim.http_url, api_key="a-key", httpx_client=http)
        chunks = client.text_to_speech.stream(VOICE, text=TEXT, **OPTIONS)
        assert_exact(sim, b"".join([chunk async for chunk in chunks]), TEXT, PCM)


def test_a_speech_with_times(sim: Simulator, client: ElevenLabs) -> None:
    chunks = list(client.text_to_speech.stream_with_timestamps(VOICE, text=TEXT, **OPTIONS))
    assert_exact(
        sim, b"".join(base64.b64decode(chunk.audio_base_64) for chunk in chunks), TEXT, PCM
    )
    chars = [char for chunk in chunks if chunk.alignment for char in chunk.alignment.characters]
    assert "".join(chars).split() == TEXT.split()


def test_two_speeches(sim: Simulator, client: ElevenLabs) -> None:
    """On one connection, if httpx keeps it."""
    for number, text in enumerate((TEXT, SECOND), 1):
        audio = b"".join(client.text_to_speech.stream(VOICE, text=text, **OPTIONS))
        assert_exact(sim, audio, text, PCM, number)
    assert sim.dials == 1


def test_an_interruption_is_a_hang_up(client: ElevenLabs, sim: Simulator) -> None:
    chunks = client.text_to_speech.stream(VOICE, text=LONG, **OPTIONS)
    next(chunks)
    chunks.close()
    sim.wait_for(lambda log: any(record["event"] == "lost" for record in log))
    assert sent(sim, 1) < len(spoken(LONG, 1, PCM))


def test_a_speech_that_breaks_off_is_an_error(sim: Simulator, client: ElevenLabs) -> None:
    sim.inject("eof@request:1,chunk:3")
    with pytest.raises(httpx.RemoteProtocolError):
        list(client.text_to_speech.stream(VOICE, text=TEXT, **OPTIONS))


# The socket


def test_a_realtime_speech(tls: Simulator) -> None:
    assert_exact(tls, b"".join(realtime(tls, TEXT)), TEXT, PCM)
    assert violations(tls) == []


def test_realtime_text_as_it_arrives(tls: Simulator) -> None:
    """Each piece is sent when the next one has come; behind the last there is one space more."""
    words = [f"{word} " for word in LONG.split()]
    assert_exact(tls, b"".join(realtime(tls, *words)), LONG, PCM)
    texts = [frame["text"] for frame in tls.frames("recv")]
    assert texts == [" ", *words[:-1], f"{words[-1]} ", ""]


def test_two_realtime_speeches_take_two_connections(tls: Simulator) -> None:
    """As the protocol has it: the end of the text is the end of the socket."""
    for number, text in enumerate((TEXT, SECOND), 1):
        assert_exact(tls, b"".join(realtime(tls, text)), text, PCM, number)
    assert tls.dials == 2


def test_a_realtime_interruption_is_a_hang_up(tls: Simulator) -> None:
    chunks = realtime(tls, LONG)
    next(chunks)
    chunks.close()
    tls.wait_for(lambda log: any(record["event"] == "lost" for record in log))
    assert sent(tls, 1) < len(spoken(LONG, 1, PCM))


@pytest.mark.parametrize("fault", ["error=No more", "close=1011", "eof"])
def test_a_realtime_speech_that_breaks_off_is_an_error(tls: Simulator, fault: str) -> None:
    tls.inject(f"{fault}@request:1,chunk:3")
    with pytest.raises(ApiError):
        list(realtime(tls, TEXT))


# What follows are faults of the package, as they are.


def test_fault_a_realtime_speech_without_its_end_passes_for_whole(tls: Simulator) -> None:
    """It looks for a close with 1000 and not for ``isFinal``."""
    tls.inject("close=1000@request:1,chunk:3")
    assert_cut(tls, b"".join(realtime(tls, TEXT)), TEXT, PCM)


def test_fault_a_number_in_two_pieces_becomes_two_numbers(tls: Simulator) -> None:
    """`text_chunker` takes the dot for the end of a piece, and puts a space behind it."""
    audio = b"".join(realtime(tls, "It costs $3", ".50 today."))
    assert_exact(tls, audio, "It costs $3. 50 today.", PCM)


def test_fault_realtime_has_tls_whatever_the_url_says(sim: Simulator) -> None:
    """`RealtimeTextToSpeechClient` replaces the scheme of ``base_url``, http too, by wss."""
    with pytest.raises(ssl.SSLError):
        list(realtime(sim, TEXT))
