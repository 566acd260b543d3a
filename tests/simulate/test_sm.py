"""The simulated SM says and refuses what the vendor documents."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.simulate import peer as peers
from tests.simulate.peer import TIMEOUT, Event, happened, records
from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import Heard, decode, decode_text

CLOUD, ON_PREMISE = "/v1/tts/stream", "/v1/audio/stream"
KEY = {"X-API-Key": "a-secret-api-key"}
RATE = 22050
DONE = {"type": "synthesis_complete"}


class Peer(peers.Peer):
    """A client that knows nothing: it sends what it is told and returns what comes."""

    def __init__(self, ws: ClientConnection) -> None:
        super().__init__(ws)
        self.messages: list[bytes | Event] = []

    def receive(self) -> bytes | Event:
        self.messages.append(super().receive())
        return self.messages[-1]

    def said(self, kind: str = "synthesis_complete") -> tuple[bytes, list[Event]]:
        """All audio and events up to the event of this type."""
        audio, events = b"", list[Event]()
        while not events or events[-1].get("type") != kind:
            message = self.receive()
            if isinstance(message, bytes):
                audio += message
            else:
                events.append(message)
        return audio, events

    def closed(self) -> tuple[int, str]:
        try:
            while True:
                self.receive()
        except ConnectionClosed as exc:
            return (exc.rcvd.code, exc.rcvd.reason) if exc.rcvd else (0, "")


@contextmanager
def dial(
    sim: Simulator, path: str = CLOUD, headers: dict[str, str] | None = None
) -> Iterator[Peer]:
    with connect(
        sim.url + path,
        additional_headers=KEY if headers is None else headers,
        proxy=None,
        compression=None,
        ping_interval=None,
        open_timeout=TIMEOUT,
        close_timeout=1,
    ) as ws:
        yield Peer(ws)


def refused(
    sim: Simulator, path: str = CLOUD, headers: dict[str, str] | None = None
) -> tuple[int, Event, dict[str, str]]:
    with pytest.raises(InvalidStatus) as caught, dial(sim, path, headers):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"{}"), dict(response.headers)


def request(text: object, voice: str = "Yara", **fields: object) -> Event:
    return {"text": text, "voice": voice, **fields}


def heard(audio: bytes, rate: int = RATE) -> list[Heard]:
    words = decode(audio, rate)
    assert all(word.ok for word in words)
    return words


def text(audio: bytes, rate: int = RATE) -> str:
    return " ".join(word.text for word in heard(audio, rate))


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator("sm") as sim:
        yield sim


@pytest.fixture
def peer(sim: Simulator) -> Iterator[Peer]:
    with dial(sim) as peer:
        yield peer


# The transcripts of the protocol page.


def test_two_requests_on_one_connection(sim: Simulator, peer: Peer) -> None:
    """Bare audio, then the event; then another voice, with a tag of its own."""
    for number, (said, voice) in enumerate(
        (("مرحباً بكم.", "Yara"), ("How may I help you?", "Yara_en")), 1
    ):
        peer.say(request(said, voice))
        audio, events = peer.said()
        assert text(audio) == said and events == [DONE]
        assert {word.tag for word in heard(audio)} == {number}
    assert [record["voice"] for record in records(sim, "generation")] == ["Yara", "Yara_en"]
    assert records(sim, "violation") == []


def test_audio_comes_in_order_before_the_end(peer: Peer) -> None:
    """Nothing but audio is binary, and nothing comes after the event."""
    peer.say(request("One two three four five six seven eight nine ten."))
    peer.said()
    kinds = [type(message) for message in peer.messages]
    assert kinds == [bytes] * (len(kinds) - 1) + [dict] and len(kinds) > 5


@pytest.mark.parametrize("path", [CLOUD, ON_PREMISE])
def test_both_deployments(sim: Simulator, path: str) -> None:
    """The same messages on either path."""
    with dial(sim, path, {}) as peer:
        peer.say(request("Hello."))
        assert text(peer.said()[0]) == "Hello."
    assert refused(sim, "/v1/other")[0] == 404


# Authentication.


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"X-API-Key": "the-right-key"}, ""),
        ({"Authorization": "Bearer the-right-key"}, ""),
        ({}, "?api_key=the-right-key"),
        ({}, "?token=the-right-key"),
    ],
)
def test_keys(headers: dict[str, str], query: str) -> None:
    """In either header or the query; never in the log."""
    with Simulator("sm", key="the-right-key") as sim:
        with dial(sim, CLOUD + query, headers) as peer:
            peer.say(request("Hello."))
            peer.said()
        assert "the-right-key" not in str(sim.log)


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Basic x"}])
def test_a_bad_key_is_refused_at_the_upgrade(headers: dict[str, str]) -> None:
    """With 401 and the vendor's body."""
    with Simulator("sm", key="right") as sim:
        status, body, answer = refused(sim, CLOUD, headers)
        assert (status, body["error"], body["detail"]) == (401, "unauthorized", "Invalid API key")
        assert answer["www-authenticate"] == "Bearer" and answer["x-request-id"]


@pytest.mark.parametrize("reply", [False, True])
def test_a_key_in_the_first_message(reply: bool) -> None:
    """With and without an answer; the key stays out of the log."""
    with Simulator("sm", key="the-right-key", auth="first-message", auth_reply=reply) as sim:
        with dial(sim, CLOUD, {}) as peer:
            peer.say({"x-api-key": "the-right-key"}, request("Hello."))
            audio, events = peer.said()
            assert text(audio) == "Hello."
            assert events == ([{"type": "authenticated"}] if reply else []) + [DONE]
        assert "the-right-key" not in str(sim.log)


@pytest.mark.parametrize("first", [{"x-api-key": "wrong"}, {"x-api-key": 7}, request("Hello.")])
def test_a_first_message_without_the_key(first: Event) -> None:
    """An error, and the end."""
    with (
        Simulator("sm", key="right", auth="first-message") as sim,
        dial(sim, CLOUD, {}) as peer,
    ):
        peer.say(first)
        assert peer.hear()["error"] == "unauthorized"
        assert peer.closed() == (1008, "unauthorized")


def test_a_first_message_to_a_server_that_looks_at_headers(peer: Peer) -> None:
    """It is a request without text."""
    peer.say({"x-api-key": "a-secret-api-key"})
    assert peer.hear()["error"] == "invalid_request"


def test_five_connections_a_key(sim: Simulator) -> None:
    """The sixth gets 429; another key has its own five, and a closed one makes room."""
    peers = [dial(sim) for _ in range(5)]
    entered = [peer.__enter__() for peer in peers]
    try:
        status, body, answer = refused(sim)
        assert (status, body["error"]) == (429, "rate_limit_exceeded")
        assert answer["retry-after"] == "60"
        with dial(sim, CLOUD, {"X-API-Key": "another-key"}), dial(sim, ON_PREMISE):
            pass
        entered[0].ws.close()
        happened(sim, "lost", conn=1)
        with dial(sim) as peer:
            peer.say(request("Hello."))
            peer.said()
    finally:
        for peer in peers:
            peer.__exit__(None, None, None)


def test_five_connections_a_key_in_the_first_message() -> None:
    """Counted when the key is known."""
    with Simulator("sm", auth="first-message", max_connections=1) as sim, dial(sim) as one:
        one.say({"x-api-key": "the-key"}, request("Hello."))
        one.said()
        with dial(sim) as two:
            two.say({"x-api-key": "the-key"})
            assert two.hear()["error"] == "rate_limit_exceeded"
            assert two.closed()[0] == 1008


# Requests.


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (request(""), "invalid_request"),
        (request(None), "invalid_request"),
        ({"voice": "Yara"}, "invalid_request"),
        ({"input": "Hello.", "voice": "Yara"}, "invalid_request"),
        (request("x" * 10_001), "text_too_long"),
        (request("Hi.", "Foo"), "invalid_voice"),
        (request("Hi.", voice=7), "invalid_voice"),
        (request("Hi.", format="mp3"), "validation_error"),
        (request("Hi.", sample_rate=11025), "validation_error"),
        (request("Hi.", sample_rate="16000"), "validation_error"),
        (request("Hi.", speed="fast"), "validation_error"),
        (request("Hi.", speed=True), "validation_error"),
        ("{", "invalid_request"),
        ("[]", "invalid_request"),
        (b"\0\1", "invalid_request"),
    ],
)
def test_wrong_requests(sim: Simulator, peer: Peer, message: object, error: str) -> None:
    """An error event; the connection goes on, and the log tells of it."""
    peer.say(message)
    found = peer.hear()
    assert (found["type"], found["error"]) == ("error", error) and found["detail"]
    assert len(records(sim, "violation")) == 1
    peer.say(request("Still here."))
    assert text(peer.said()[0]) == "Still here."


@pytest.mark.parametrize("fields", [{"format": "pcm"}, {"speed": 0.1}, {"speed": 9}])
def test_fields_that_change_nothing(sim: Simulator, peer: Peer, fields: Event) -> None:
    """Only PCM is simulated, and a speed out of range is clamped."""
    peer.say(request("Hello.", **fields))
    assert text(peer.said()[0]) == "Hello."
    assert records(sim, "violation") == []


def test_a_voice_may_be_left_out(sim: Simulator, peer: Peer) -> None:
    """Then it is the default; a field that nobody knows is ignored, and told."""
    peer.say({"text": "Hello.", "colour": "red"})
    peer.said()
    assert happened(sim, "generation")["voice"] == "Yara"
    assert "colour" in str(happened(sim, "violation")["message"])


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_sample_rates(peer: Peer, rate: int) -> None:
    """As asked for."""
    peer.say(request("Hello.", sample_rate=rate))
    assert text(peer.said()[0], rate) == "Hello."


def test_the_sample_rate_without_a_word() -> None:
    """22,050 Hz unless the server was set up for another."""
    with Simulator("sm", sample_rate=16000) as sim, dial(sim) as peer:
        peer.say(request("Hello."))
        assert text(peer.said()[0], 16000) == "Hello."


def test_a_request_before_the_end_of_the_one_before() -> None:
    """It is refused, and the one in progress is spoken to its end."""
    with Simulator("sm", ttfa_ms=100) as sim, dial(sim) as peer:
        peer.say(request("First."), request("Second."))
        audio, events = peer.said()
        assert [event["type"] for event in events] == ["error", "synthesis_complete"]
        assert text(audio) == "First."
        assert "before the end" in str(happened(sim, "violation")["message"])


def test_requests_may_be_queued() -> None:
    """A plain loop answers in order; it is a violation all the same."""
    with Simulator("sm", busy="queue", ttfa_ms=50) as sim, dial(sim) as peer:
        peer.say(request("First."), request("Second."))
        assert [text(peer.said()[0]) for _ in range(2)] == ["First.", "Second."]
        assert len(records(sim, "violation")) == 1


def test_requests_in_a_minute() -> None:
    """Beyond the limit an error that passes; other keys are not touched."""
    with Simulator("sm", requests_per_minute=1) as sim:
        with dial(sim) as peer:
            peer.say(request("One."))
            peer.said()
            peer.say(request("Two."))
            assert peer.hear()["error"] == "rate_limit_exceeded"
        with dial(sim, CLOUD, {"X-API-Key": "another-key"}) as peer:
            peer.say(request("One."))
            peer.said()


# What a client must survive.


def test_odd_messages() -> None:
    """Half samples, and the same audio when joined."""
    with Simulator("sm", faults=["odd"]) as sim, dial(sim) as peer:
        peer.say(request("One two three."))
        audio, _ = peer.said()
        assert text(audio) == "One two three."
        assert any(len(m) % 2 for m in peer.messages if isinstance(m, bytes))


def test_events_of_other_types() -> None:
    """Before, between and after the audio; and the end has more fields."""
    with Simulator("sm", extra_events=True, end_fields=True) as sim, dial(sim) as peer:
        peer.say(request("One two three four five."))
        audio, events = peer.said()
        kinds = [event["type"] for event in events]
        assert kinds == ["synthesis_started", "progress", "usage", "synthesis_complete"]
        assert events[-1].keys() == {"type", "duration", "request_id"}
        assert isinstance(peer.messages[1], bytes) and isinstance(peer.messages[2], dict)
        assert text(audio) == "One two three four five."


def test_an_end_without_audio() -> None:
    """The event alone; under another name if so set up."""
    with Simulator("sm", silent=True, end_event="done") as sim, dial(sim) as peer:
        peer.say(request("Hello."))
        assert peer.hear() == {"type": "done"}


@pytest.mark.parametrize("chunk", [0, 2])
def test_an_error_before_or_after_audio(chunk: int) -> None:
    """No end comes; the next request is spoken."""
    with Simulator("sm", faults=[f"error@request:1,chunk:{chunk}=no"]) as sim, dial(sim) as peer:
        peer.say(request("One two three four five six."))
        audio, (error,) = peer.said("error")
        assert bool(audio) is bool(chunk)
        assert (error["error"], error["detail"]) == ("internal_error", "no")
        peer.say(request("Again."))
        assert text(peer.said()[0]) == "Again."


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ("flat", {"type": "error", "error": "internal_error", "detail": "no"}),
        ("untyped", {"error": "internal_error", "detail": "no"}),
        ("nested", {"error": {"code": "internal_error", "message": "no", "request_id": "r-1"}}),
    ],
)
def test_shapes_of_errors(shape: str, error: Event) -> None:
    """The older pages have another form."""
    with Simulator("sm", error_shape=shape, faults=["error@request:1=no"]) as sim:
        with dial(sim) as peer:
            peer.say(request("Hello."))
            assert peer.hear() == error
        assert refused(sim, "/nowhere")[1]["error"] in ("http_error",) or shape == "nested"


def test_an_error_may_end_the_connection() -> None:
    """Which the pages leave open."""
    with Simulator("sm", error_close=True) as sim, dial(sim) as peer:
        peer.say(request("Hello.", "Foo"))
        assert peer.hear()["error"] == "invalid_voice"
        assert peer.closed() == (1011, "invalid_voice")


@pytest.mark.parametrize("code", [1000, 1011])
def test_a_close_in_the_middle(code: int) -> None:
    """Without the end."""
    with Simulator("sm", faults=[f"close={code}@chunk:2"]) as sim, dial(sim) as peer:
        peer.say(request("One two three four five six."))
        assert peer.closed()[0] == code
        assert DONE not in peer.messages and len(peer.messages) == 2


def test_a_reset_in_the_middle() -> None:
    """And nothing said."""
    with Simulator("sm", faults=["reset@chunk:2"]) as sim, dial(sim) as peer:
        peer.say(request("One two three four five six."))
        with pytest.raises(ConnectionClosed) as caught:
            peer.said()
        assert caught.value.rcvd is None


@pytest.mark.parametrize("status", [401, 429, 503])
def test_refused_upgrades(status: int) -> None:
    """By a fault, in the vendor's words."""
    with Simulator("sm", faults=[f"status={status};retry-after=2"]) as sim:
        found, body, headers = refused(sim)
        assert found == status and headers["retry-after"] == "2" and body["error"]


def test_audio_and_nonsense_while_nobody_asked() -> None:
    """A binary message, and a text that is not JSON."""
    with (
        Simulator("sm", faults=["binary@connect:1", "garbage@connect:1"]) as sim,
        connect(sim.url + CLOUD, proxy=None, compression=None) as ws,
    ):
        assert isinstance(ws.recv(TIMEOUT), bytes)
        assert ws.recv(TIMEOUT) == '{"type": "garb'


def test_a_client_that_interrupts_is_spoken_to_until_it_leaves() -> None:
    """There is no cancel: whatever it sends is not the end of the audio."""
    with Simulator("sm", rtf=0.05) as sim:
        with dial(sim) as peer:
            peer.say(request("It is a long story that begins in a small town by the sea " * 20))
            peer.receive()
            peer.say({"cancel": True})
            assert sum(isinstance(peer.receive(), bytes) for _ in range(10)) >= 9
        assert happened(sim, "cut", generation=1)["reason"] in ("lost", "close")


def test_idle_and_aged_connections_are_closed() -> None:
    """Where times are set; a request in progress is not idle."""
    with Simulator("sm", max_idle=2.0, ttfa_ms=2300) as sim, dial(sim) as peer:
        peer.say(request("Hello."))
        assert text(peer.said()[0]) == "Hello."
        assert peer.closed() == (1000, "idle")
    with Simulator("sm", max_age=0.05) as sim, dial(sim) as peer:
        assert peer.closed() == (1000, "maximum age")


@pytest.mark.parametrize("fault", ["no-ack", "late-ack=5", "speak-on", "badb64"])
def test_faults_that_cannot_be(fault: str) -> None:
    """There is no cancel to acknowledge, and no base64 to spoil."""
    with pytest.raises(ValueError, match="sm"):
        Simulator("sm", faults=[fault])


# REST.


def post(
    sim: Simulator, path: str = "/v1/tts/audio/speech", method: str = "POST", **fields: object
):  # type: ignore[no-untyped-def]
    client = HTTPConnection("127.0.0.1", sim.port, timeout=TIMEOUT)
    try:
        body = {"input": "شكراً لاتصالك.", "voice": "Nouf", "response_format": "pcm", **fields}
        body = {name: value for name, value in body.items() if value is not None}
        client.request(method, path, json.dumps(body), {"Content-Type": "application/json", **KEY})
        answer = client.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        client.close()


@pytest.mark.parametrize("path", ["/v1/tts/audio/speech", "/v1/audio/speech"])
def test_a_request_over_rest(sim: Simulator, path: str) -> None:
    """The audio whole, with its length, and an id."""
    status, headers, body = post(sim, path)
    assert (status, headers["Content-Type"]) == (200, "audio/pcm")
    assert int(headers["Content-Length"]) == len(body) and headers["X-Request-ID"]
    assert text(body) == "شكراً لاتصالك."
    assert happened(sim, "generation")["voice"] == "Nouf"


def test_wav_over_rest(sim: Simulator) -> None:
    """A header, and the rate that was asked for."""
    _, headers, body = post(sim, response_format="wav", sample_rate=16000)
    assert headers["Content-Type"] == "audio/wav" and body[:4] == b"RIFF"
    assert text(body[44:], 16000) == "شكراً لاتصالك."


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"input": None, "text": "Hello."}, 400, "http_error"),
        ({"input": "x" * 51_201}, 400, "http_error"),
        ({"response_format": None}, 422, "validation_error"),
        ({"response_format": "mp4"}, 422, "validation_error"),
        ({"voice": "Foo"}, 400, "http_error"),
        ({"speed": "x"}, 422, "validation_error"),
        ({"method": "GET"}, 405, "http_error"),
        ({"method": "PUT"}, 405, "http_error"),
    ],
)
def test_wrong_requests_over_rest(
    sim: Simulator, fields: dict[str, object], status: int, error: str
) -> None:
    """The text is `input` here, MP3 is the default, and errors have the vendor's form."""
    found, headers, body = post(sim, **fields)  # type: ignore[arg-type]
    answer = json.loads(body)
    assert (found, answer["error"]) == (status, error)
    assert answer["detail"] and headers["X-Request-ID"]
    assert status != 422 or answer["errors"][0]["field"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"voice": "Foo"}, 400, "invalid_voice"),
        ({"input": "x" * 51_201}, 400, "text_too_long"),
        ({"input": ""}, 400, "invalid_request"),
        ({"speed": "x"}, 422, "validation_error"),
        ({"method": "PUT"}, 405, "http_error"),
    ],
)
def test_wrong_requests_in_the_older_form(
    fields: dict[str, object], status: int, code: str
) -> None:
    """It has the names of the specifications, and the id in the body as well."""
    with Simulator("sm", error_shape="nested") as sim:
        found, headers, body = post(sim, **fields)  # type: ignore[arg-type]
    error = json.loads(body)["error"]
    assert (found, error["code"]) == (status, code)
    assert error["message"] and error["request_id"] == headers["X-Request-ID"]


def test_a_body_that_is_no_object(sim: Simulator) -> None:
    """As the vendor's own validation."""
    client = HTTPConnection("127.0.0.1", sim.port, timeout=TIMEOUT)
    client.request("POST", "/v1/audio/speech", "[", KEY)
    assert client.getresponse().status == 422
    client.close()


def test_keys_and_limits_over_rest() -> None:
    """The same key, counted with the other requests."""
    with Simulator("sm", key="another-key") as sim:
        assert post(sim)[0] == 401
    with Simulator("sm", requests_per_minute=1) as sim:
        assert [post(sim)[0] for _ in range(2)] == [200, 429]


def test_an_error_over_rest() -> None:
    """Nothing was sent before the answer is whole: so it is a 500."""
    with Simulator("sm", faults=["error@chunk:2=no"]) as sim:
        status, _, body = post(sim, input="One two three four five six seven.")
        assert (status, json.loads(body)["code"]) == (500, "INTERNAL_ERROR")


def test_pings_that_are_ignored() -> None:
    """They are read, and requests are answered as ever; no pong comes, before or after."""
    with Simulator("sm", pings="ignore") as sim, dial(sim) as peer:
        unheard = peer.ws.ping()
        peer.say({"text": "Still here."})
        audio, _ = peer.said()
        assert decode_text(audio, 22050) == "Still here."
        assert sim.wait_for(lambda log: [one for one in log if one["event"] == "ping"], TIMEOUT)
        assert not unheard.is_set()
    with Simulator("sm") as sim, dial(sim) as peer:
        assert peer.ws.ping().wait(TIMEOUT), "and by default one does"
