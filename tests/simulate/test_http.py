"""The simulators answer plain HTTP requests: streamed, one after the other, and with faults."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead

import pytest

from tests.simulate.peer import TIMEOUT, dial, happened, raw, records, text
from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import decode

WORDS = "one two three four five six seven eight nine ten"
XAI_BODY: dict[str, object] = {
    "text": WORDS,
    "language": "en",
    "output_format": {"codec": "pcm", "sample_rate": 24000},
}
GRADIUM_BODY: dict[str, object] = {
    "text": WORDS,
    "voice_id": "v",
    "output_format": "pcm_24000",
    "only_audio": True,
}
BODIES = {"xai": XAI_BODY, "gradium": GRADIUM_BODY}
PATHS = {"xai": "/v1/tts", "gradium": "/api/post/speech/tts"}


@contextmanager
def connection(sim: Simulator) -> Iterator[HTTPConnection]:
    client = HTTPConnection("127.0.0.1", sim.port, timeout=TIMEOUT)
    try:
        yield client
    finally:
        client.close()


def ask(client: HTTPConnection, sim: Simulator, **changes: object) -> HTTPResponse:
    """Send the provider's request, with some fields changed; None leaves one out."""
    fields = {**BODIES[sim.provider], **changes}
    body = json.dumps({name: value for name, value in fields.items() if value is not None})
    headers = {
        "Content-Type": "application/json",
        "x-api-key": "a-secret-api-key",
        "Authorization": "Bearer a-secret-api-key",
    }
    client.request("POST", PATHS[sim.provider], body, headers)
    return client.getresponse()


def speech(pcm: bytes, rate: int = 24000) -> str:
    words = decode(pcm, rate)
    assert all(word.ok for word in words)
    return " ".join(word.text for word in words)


@pytest.fixture(params=["gradium", "xai"])
def sim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    with Simulator(request.param) as sim:
        yield sim


# Answers.


def test_the_answer_is_the_audio(sim: Simulator) -> None:
    """Chunked, with the type of what it holds."""
    with connection(sim) as client:
        answer = ask(client, sim)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "audio/pcm"
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert speech(answer.read()) == WORDS
    begun = happened(sim, "answer", status=200)
    assert happened(sim, "answered", generation=begun["generation"])
    assert sim.frames("recv") == [BODIES[sim.provider]]
    assert "a-secret-api-key" not in str(sim.log)


def test_several_requests_on_one_connection(sim: Simulator) -> None:
    """Refused ones among them; each answer is a generation of its own."""
    with connection(sim) as client:
        for words in ("First.", "", "Second."):
            answer = ask(client, sim, text=words)
            assert answer.status == 200 if words else answer.status in (400, 422)
            body = answer.read()
            assert not words or speech(body) == words
    assert sim.dials == 1
    assert [record["generation"] for record in records(sim, "generation")] == [1, 2]


def test_requests_sent_ahead_are_answered_in_order(sim: Simulator) -> None:
    """Two requests in one packet, the second for a WebSocket on a path that has none."""
    body = json.dumps({**BODIES[sim.provider], "text": "Hi."}).encode()
    post = (
        f"POST {PATHS[sim.provider]} HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    upgrade = b"GET /no HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    with raw(sim) as sock:
        sock.sendall(post + post + upgrade)
        answers = b""
        while data := sock.recv(65536):
            answers += data
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.count(b"HTTP/1.1 404") == 1


def test_one_port_serves_sockets_and_requests(sim: Simulator) -> None:
    """Side by side."""
    with connection(sim) as client, dial(sim) as peer:
        answer = ask(client, sim)
        if sim.provider == "xai":
            peer.say({"type": "text.delta", "delta": "Hi."}, {"type": "text.done"})
            assert text(peer.until("audio.done")) == "Hi."
        else:
            peer.say({"type": "setup", "output_format": "pcm_24000", "close_ws_on_eos": False})
            peer.say({"type": "text", "text": "Hi."}, {"type": "end_of_stream"})
            assert text(peer.until("end_of_stream")) == "Hi."
        assert speech(answer.read()) == WORDS


def test_an_upgrade_after_requests(sim: Simulator) -> None:
    """A connection that has served requests may still become a WebSocket."""
    with connection(sim) as client:
        ask(client, sim).read()
        path = "/v1/tts?language=en&codec=pcm" if sim.provider == "xai" else "/api/speech/tts"
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key}
        client.request("GET", path, headers={**headers, "Sec-WebSocket-Version": "13"})
        assert client.getresponse().status == 101
    assert happened(sim, "open", conn=1)


def test_the_audio_comes_while_it_is_made() -> None:
    """The first piece is there long before the last is made."""
    with Simulator("xai", rtf=1000) as sim, connection(sim) as client:
        answer = ask(client, sim)
        assert len(answer.read(3840)) == 3840
        assert not records(sim, "answered")


def test_a_client_that_leaves_cuts_the_speech() -> None:
    """The generation does not go on for nobody."""
    with Simulator("xai", rtf=1000) as sim:
        with connection(sim) as client:
            ask(client, sim).read(3840)
        assert happened(sim, "cut")["reason"] == "lost"
        assert happened(sim, "lost", conn=1)


# Bodies and methods.


def test_a_body_that_is_too_long(sim: Simulator) -> None:
    """It is read, and refused."""
    with connection(sim) as client:
        answer = ask(client, sim, text="x" * 2_000_000)
        assert answer.status == 413
        answer.read()
    assert sim.frames("recv") == []


def test_a_body_in_chunks_after_a_hundred_continue(sim: Simulator) -> None:
    """The client may ask whether the body is wanted, and send it in pieces."""
    body = json.dumps({**BODIES[sim.provider], "text": "Hi."}).encode()
    head = (
        f"POST {PATHS[sim.provider]} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    with raw(sim) as sock:
        sock.sendall(head.encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 100")
        for piece in (body[:10], body[10:], b""):
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        answer = b""
        while data := sock.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("body", ["", "[]", "{", "\udcff"])
def test_a_body_that_is_no_object(sim: Simulator, body: str) -> None:
    """Refused with a 4xx; what came is in the log."""
    with connection(sim) as client:
        client.request("POST", PATHS[sim.provider], body.encode(errors="surrogateescape"))
        assert client.getresponse().status in (400, 422)


def test_another_method(sim: Simulator) -> None:
    with connection(sim) as client:
        client.request("PUT", PATHS[sim.provider], "{}")
        assert client.getresponse().status == 405


# Faults.


@pytest.mark.parametrize("place", ["connect:1", "request:1"])
def test_status(sim: Simulator, place: str) -> None:
    """The status and its headers, once; it takes the place of a generation and hangs up."""
    sim.inject(f"status=429;retry-after=2@{place}")
    with connection(sim) as client:
        answer = ask(client, sim)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
        answer.read()
        assert speech(ask(client, sim).read()) == WORDS
    assert sim.dials == 2


@pytest.mark.parametrize("fault", ["eof", "close", "error", "drop-end"])
def test_hang_up_in_the_middle_of_the_body(fault: str) -> None:
    """The body is cut short: its end does not come."""
    place = "request:1" if fault == "drop-end" else "request:1,chunk:3"
    with Simulator("xai", faults=[f"{fault}@{place}"]) as sim, connection(sim) as client:
        answer = ask(client, sim)
        with pytest.raises(IncompleteRead) as caught:
            answer.read()
        assert fault == "drop-end" or len(caught.value.partial) == 3 * 3840
        assert happened(sim, "fault", generation=1)
        assert not records(sim, "answered")
        client.close()
        assert speech(ask(client, sim).read()) == WORDS


def test_reset_in_the_middle_of_the_body() -> None:
    with Simulator("gradium", faults=["reset@request:1,chunk:3"]) as sim, connection(sim) as client:
        with pytest.raises((ConnectionResetError, IncompleteRead)):
            ask(client, sim).read()
        assert happened(sim, "cut")["reason"] == "reset"


def test_reset_instead_of_an_answer() -> None:
    """At the first request of a connection, and at a generation's beginning."""
    faults = ["reset@connect:1", "reset@request:2"]
    with Simulator("xai", faults=faults) as sim, connection(sim) as client:
        for _ in range(2):
            with pytest.raises((ConnectionResetError, BrokenPipeError, HTTPException)):
                ask(client, sim)
            client.close()
        assert speech(ask(client, sim).read()) == WORDS


def test_stall_in_the_middle_of_the_body() -> None:
    """Nothing more comes, for as long as was asked; then it goes on."""
    with Simulator("xai", faults=["stall@request:1,chunk:2"]) as sim, connection(sim) as client:
        answer = ask(client, sim)
        assert len(answer.read(2 * 3840)) == 2 * 3840
        assert client.sock is not None
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            answer.read(1)
    with Simulator("xai", faults=["stall=20@request:1,chunk:2"]) as sim, connection(sim) as client:
        assert speech(ask(client, sim).read()) == WORDS


def test_silence_reads_no_more() -> None:
    with Simulator("xai", faults=["silence@request:1,chunk:2"]) as sim, connection(sim) as client:
        answer = ask(client, sim)
        answer.read(2 * 3840)
        assert client.sock is not None
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            answer.read(1)


def test_garbage_is_no_http() -> None:
    with Simulator("xai", faults=["garbage@request:1,chunk:2"]) as sim, connection(sim) as client:
        answer = ask(client, sim)
        with pytest.raises((HTTPException, ValueError)):
            answer.read()


def test_odd_lengths_join_to_the_same_audio(sim: Simulator) -> None:
    sim.inject("odd")
    with connection(sim) as client:
        assert speech(ask(client, sim).read()) == WORDS
    sizes = {frame["audio_bytes"] for frame in sim.frames("send")}
    assert any(isinstance(size, int) and size % 2 for size in sizes)


def test_an_error_before_the_first_byte() -> None:
    """It is answered with a status, and the connection goes on."""
    with Simulator("xai", faults=["error=boom@request:1"]) as sim, connection(sim) as client:
        answer = ask(client, sim)
        assert (answer.status, answer.read()) == (500, b"boom")
        assert speech(ask(client, sim).read()) == WORDS
        assert sim.dials == 1


# xAI.


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"language": None}, 422),
        ({"text": None}, 422),
        ({"text": ""}, 400),
        ({"text": "x" * 15_001}, 400),
        ({"language": "e"}, 400),
        ({"speed": 2}, 400),
        ({"speed": True}, 400),
        ({"text_normalization": "yes"}, 400),
        ({"replace": {"C++": "see"}}, 400),
        ({"voice_id": "nobody"}, 404),
        ({"voice_id": 7}, 400),
        ({"output_format": None}, 400),
        ({"output_format": "pcm"}, 400),
        ({"output_format": {"codec": "pcm", "sample_rate": 1}}, 400),
    ],
)
def test_xai_refuses(changes: dict[str, object], status: int) -> None:
    with Simulator("xai") as sim, connection(sim) as client:
        answer = ask(client, sim, **changes)
        assert answer.status == status
        assert "error" in json.loads(answer.read())


def test_xai_checks_the_key() -> None:
    with Simulator("xai", key="another-secret") as sim, connection(sim) as client:
        assert ask(client, sim).status == 401


def test_xai_codecs() -> None:
    """Each with its type; WAV has a header of its own."""
    with Simulator("xai") as sim, connection(sim) as client:
        for codec, kind in (("mulaw", "basic"), ("alaw", "alaw"), ("wav", "wav")):
            answer = ask(client, sim, output_format={"codec": codec, "sample_rate": 24000})
            assert answer.headers["Content-Type"] == f"audio/{kind}"
            body = answer.read()
        assert body[:4] == b"RIFF" and speech(body[44:]) == WORDS


def test_xai_replaces() -> None:
    with Simulator("xai") as sim, connection(sim) as client:
        body = ask(client, sim, text="one two", replace={"two": "deux"}).read()
        assert speech(body) == "one deux"


def test_xai_times() -> None:
    """The whole answer is one JSON object, with a time for each character."""
    with Simulator("xai") as sim, connection(sim) as client:
        answer = ask(client, sim, with_timestamps=True)
        assert answer.headers["Content-Type"] == "application/json"
        body = json.loads(answer.read())
        assert "".join(body["audio_timestamps"]["graph_chars"]) == WORDS
        assert len(body["audio_timestamps"]["graph_times"]) == len(WORDS)
        assert body["content_type"] == "audio/pcm"


# Gradium.


def lines(body: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize("words", ["before", "after"])
def test_gradium_lines(words: str) -> None:
    """Without only_audio the body is the socket's messages; the last line has no newline."""
    with Simulator("gradium", words=words) as sim, connection(sim) as client:
        body = ask(client, sim, only_audio=None).read()
        messages = lines(body)
        assert messages[0]["type"] == "ready"
        assert messages[-1] == {"type": "end_of_stream"} and not body.endswith(b"\n")
        heard = [message["text"] for message in messages if message["type"] == "text"]
        assert heard == WORDS.split()
        assert text([message for message in messages if message["type"] == "audio"]) == WORDS


def test_gradium_error_line() -> None:
    """A line without a code, and the body ends as it should."""
    faults = ["badb64@request:1,chunk:1", "error@request:1,chunk:3"]
    with Simulator("gradium", faults=faults) as sim, connection(sim) as client:
        messages = lines(ask(client, sim, only_audio=None).read())
        assert messages[-1] == {"type": "error", "message": "Simulated failure"}
        assert [message.get("bad_base64") for message in sim.frames("send")].count(True) == 1


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"text": None}, 422, "detail"),
        ({"voice_id": None}, 422, "detail"),
        ({"only_audio": "yes"}, 422, "detail"),
        ({"output_format": "mp3"}, 500, "error from server 1008: Unsupported"),
        ({"voice_id": "nope"}, 500, "error from server 1011: Embeddings not found for nope"),
        ({"json_config": '{"temp": 9}'}, 500, "error from server 1011: temp should be between"),
    ],
)
def test_gradium_refuses(changes: dict[str, object], status: int, says: str) -> None:
    with Simulator("gradium") as sim, connection(sim) as client:
        answer = ask(client, sim, **changes)
        assert answer.status == status
        assert says in answer.read().decode()


def test_gradium_checks_the_key() -> None:
    """A bad key is a 500 that says 1008."""
    with Simulator("gradium", key="another-secret") as sim, connection(sim) as client:
        answer = ask(client, sim)
        assert (answer.status, answer.headers["Content-Type"]) == (500, "text/plain")
        assert answer.read().startswith(b"error from server 1008")


def test_gradium_counts_requests_of_both_kinds() -> None:
    """A request over HTTP takes one of the places."""
    with Simulator("gradium", max_sessions=1, rtf=1000) as sim, connection(sim) as client:
        ask(client, sim).read(10)
        with connection(sim) as second:
            answer = ask(second, sim)
            assert answer.status == 500 and b"Concurrency limit" in answer.read()


def test_gradium_says_what_it_ignores() -> None:
    """Pronunciations are for the socket only; markup is read as there."""
    with Simulator("gradium") as sim, connection(sim) as client:
        marked_up = 'one <break time="0.5s" /> two'
        assert speech(ask(client, sim, text=marked_up, pronunciation_id="p").read()) == "one two"
        assert "pronunciation_id" in str(happened(sim, "violation")["message"])


def test_half_a_request_is_nothing(sim: Simulator) -> None:
    """The client leaves in the middle of its body."""
    with raw(sim) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhi")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65536).startswith(b"HTTP/1.1 400")
    assert happened(sim, "lost", conn=1)


# What single providers do.


def test_elevenlabs_answers_whole_where_it_is_not_to_stream() -> None:
    """With a length, when all of it is made; the audio is the same."""
    path = "/v1/text-to-speech/a-voice{}?output_format=pcm_24000"
    answers = []
    with Simulator("elevenlabs") as sim, connection(sim) as client:
        for ending in ("", "/stream"):
            body = json.dumps({"text": WORDS, "model_id": "eleven_flash_v2_5"})
            client.request("POST", path.format(ending), body)
            answers.append(client.getresponse())
            assert speech(answers[-1].read()) == WORDS
        client.request("POST", path.format("/with-timestamps"), body)
        assert client.getresponse().status == 404
    assert [answer.headers["Transfer-Encoding"] for answer in answers] == [None, "chunked"]


@pytest.mark.parametrize(("contradiction", "status"), [("refused", 400), ("ignored", 200)])
def test_kugelaudio_is_told_two_rates(contradiction: str, status: int) -> None:
    """The page calls it an error; the vendor's own package does it all the same."""
    with Simulator("kugelaudio", contradiction=contradiction) as sim, connection(sim) as client:
        body = {
            "text": WORDS,
            "voice_id": 1071,
            "output_format": "ulaw_8000",
            "sample_rate": 24000,
        }
        client.request("POST", "/v1/tts/generate", json.dumps(body))
        answer = client.getresponse()
        assert answer.status == status
        assert status != 200 or answer.headers["X-Sample-Rate"] == "8000"
        answer.read()
