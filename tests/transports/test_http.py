"""One HTTP request is one connection: what leaves, what arrives, and every way in which it ends."""

import base64
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import httpx
import pytest

from tests.transports.peers import PATIENCE, Authority, Listener, Peer, deaf_port, idle, pump
from tests.transports.runtimes import Line, Runtime
from ttsmux.adapter import Closed, DialFailure
from ttsmux.errors import (
    ConfigError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DNSError,
    Error,
    HandshakeError,
    ProxyError,
    RemoteProtocolError,
    TLSError,
    TruncatedAudio,
)
from ttsmux.transports import dial, websocket_client
from ttsmux.transports import http as http_module
from ttsmux.transports._socket import CallOff
from ttsmux.transports.base import PING, DialError, Response, SendError, Target
from ttsmux.transports.dial import AsyncDialler
from ttsmux.transports.http import AsyncHttp, Http
from ttsmux.transports.websockets import connect

SECRET = "sk-5ecre7"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Requests:
    """The HTTP side of a client, on whichever runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._threads = runtime.name == "threads"
        self.http: Any = Http() if self._threads else AsyncHttp()

    def dial(self, target: Target, timeout: float = PATIENCE) -> Line:
        """Return a request with its reader running, which has no body yet."""
        transport = self.runtime.call(self.http.connect, target, timeout)
        return Line(self.runtime, transport, Response(0)).read()

    def post(self, url: str, body: str | bytes = "{}", **options: Any) -> Line:
        line = self.dial(Target(url=url, **options), options.pop("timeout", PATIENCE))
        line.send(body)
        return line

    def close(self) -> None:
        if self._threads:
            self.http.close()
        else:
            self.runtime.call(self.http.aclose)


@pytest.fixture
def requests(runtime: Runtime) -> Iterator[Requests]:
    requests = Requests(runtime)
    yield requests
    requests.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_request(peer: Peer) -> tuple[str, bytes]:
    """Read a request whole: its head and its body."""
    head = peer.head().decode("latin-1")
    (size,) = (
        int(line.partition(":")[2])
        for line in head.splitlines()
        if line.lower().startswith("content-length:")
    )
    return head, peer._exactly(size)


def answering(*answers: bytes) -> Callable[[Peer], None]:
    """Answer that many requests on one connection; then wait until the client hangs up."""

    def script(peer: Peer) -> None:
        for answer in answers:
            read_request(peer)
            peer.send(answer)
        peer.until_hung_up()

    return script


def http(server: Listener, path: str = "/speech", host: str = "127.0.0.1") -> str:
    return server.url(path, host).replace("ws", "http", 1)


def body_of(line: Line) -> bytes:
    return b"".join(data for data, _ in line.sink.messages)


def whole(line: Line) -> bytes:
    """Wait for the end of an answer that came whole: an empty message, then a clean close."""
    assert line.end() == Closed(1000)
    assert line.sink.messages[-1] == (b"", False)
    assert [data for data, _ in line.sink.messages].count(b"") == 1
    return body_of(line)


def refused(line: Line) -> DialFailure:
    fault = line.end()
    assert isinstance(fault, DialFailure)
    assert line.sink.messages == [] and line.sink.answers == []
    assert SECRET not in str(fault) and SECRET not in repr(fault.error)
    return fault


def unanswered(line: Line, *, sent: bool = False) -> Error:
    """Return the error of a request without an answer, of which some was *sent*."""
    failure = refused(line)
    assert failure.status is None and failure.sent is sent
    assert failure.error is not None
    assert failure.error.phase == "dial"
    return failure.error


# --- the request ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ['{"text": "grün"}', b"\x00\xff"])
def test_what_leaves(requests: Requests, body: str | bytes) -> None:
    """The frame is the body; path, query and headers are the adapter's; nothing is compressed."""
    seen: list[tuple[str, bytes]] = []

    def script(peer: Peer) -> None:
        seen.append(read_request(peer))
        peer.send(CHUNKED + LAST)
        peer.until_hung_up()

    with Listener(script) as server:
        url, port = http(server, "/v1/tts?a=%20b&c=ü"), server.port
        whole(requests.post(url, body, headers={"X-Api-Key": "käy"}))
        requests.close()
    (head, got) = seen[0]
    assert head.startswith("POST /v1/tts?a=%20b&c=%C3%BC HTTP/1.1\r\n")
    assert got == (body.encode() if isinstance(body, str) else body)
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
    by_name = {name.lower(): value for name, value in headers.items()}
    assert by_name.pop("user-agent").startswith("ttsmux/")
    assert by_name == {
        "host": f"127.0.0.1:{port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(got)),
        "x-api-key": "käy",
    }


def test_headers_of_the_adapter_replace_ours(requests: Requests) -> None:
    heads: list[str] = []

    def script(peer: Peer) -> None:
        heads.append(read_request(peer)[0])
        peer.send(CHUNKED + LAST)
        peer.until_hung_up()

    with Listener(script) as server:
        headers = {"content-type": "text/plain", "ACCEPT": "audio/pcm"}
        url = http(server).replace("//", "//us%65r:p%40ss@")
        whole(requests.post(url, headers=headers))
        requests.close()
    lowered = heads[0].lower()
    assert lowered.count("content-type") == 1 and "content-type: text/plain\r\n" in lowered
    assert "\naccept: audio/pcm\r\n" in lowered and "*/*" not in lowered
    assert base64.b64encode(b"user:p@ss").decode() in heads[0]


def test_nothing_is_dialled_before_there_is_a_body(requests: Requests) -> None:
    with Listener(answering(CHUNKED + LAST)) as server:
        line = requests.dial(Target(url=http(server)))
        line.send()
        assert server.connections == 0
        line.send("{}")
        whole(line)
        requests.close()


def test_a_request_takes_one_body(requests: Requests) -> None:
    """Anything else is a SendError, and what was sent goes on."""
    with Listener(answering(CHUNKED + LAST)) as server:
        line = requests.dial(Target(url=http(server)))
        wrong: Sequence[tuple[Any, ...]] = [(PING,), ("{}", "{}"), ("\ud800",)]
        for frames in wrong:
            with pytest.raises(SendError):
                line.send(*frames)
        line.send("{}")
        with pytest.raises(SendError):
            line.send("{}")
        whole(line)
        with pytest.raises(SendError):
            line.send("{}")
        requests.close()


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ws://127.0.0.1/", {}),
        ("http:///x", {}),
        (f"http://127.0.0.1:{SECRET}/", {}),
        (f"http://127.0.0.1/#{SECRET}", {}),
        ("http://127.0.0.1/", {"X-Key": f"{SECRET}\r\nX-Other: 1"}),
    ],
)
def test_a_target_that_makes_no_sense(
    requests: Requests, url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(DialError) as caught:
        requests.dial(Target(url=url, headers=headers))
    assert type(caught.value.failure.error) is ConfigError
    assert SECRET not in str(caught.value.failure.error)


# --- the answer -----------------------------------------------------------------------------------


def test_the_answer_arrives_piece_by_piece(requests: Requests) -> None:
    """Each piece is told when it comes, and the headers before."""
    go_on = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(CHUNKED)
        for piece in (b"one", b"two", b"three"):
            peer.send(chunk(piece))
            assert go_on.acquire(timeout=PATIENCE)
        peer.send(LAST)
        peer.until_hung_up()

    with Listener(script) as server:
        line = requests.post(http(server))
        for count in (1, 2, 3):
            line.messages(count)
            assert len(line.sink.messages) == count
            go_on.release()
        assert whole(line) == b"onetwothree"
        (headers,) = line.sink.answers
        assert headers["content-type"] == "audio/pcm"
        requests.close()


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + chunk(b"sound") + LAST,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsound",
        b"HTTP/1.1 201 Made\r\nContent-Length: 5\r\nX-A: 1\r\nX-a: 2\r\n\r\nsound",
        b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + chunk(b"sound") + b"0\r\nX-Last: 1\r\n\r\n",
    ],
)
@pytest.mark.parametrize("drip", [False, True])
def test_bodies(requests: Requests, answer: bytes, drip: bool) -> None:
    """With chunks or a length, in one segment or torn into bytes."""

    def script(peer: Peer) -> None:
        read_request(peer)
        (peer.drip if drip else peer.send)(answer)
        peer.until_hung_up()

    with Listener(script) as server:
        line = requests.post(http(server))
        assert whole(line) == b"sound"
        assert line.sink.answers[0].get("x-a") in (None, "1, 2")
        requests.close()


def test_an_answer_without_a_body(requests: Requests) -> None:
    with Listener(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
        assert whole(requests.post(http(server))) == b""
        requests.close()


def test_no_piece_is_larger_than_a_message_may_be(requests: Requests) -> None:
    """The limit is one of pieces, and the body may be longer."""
    with Listener(answering(CHUNKED + chunk(bytes(3000)) + LAST)) as server:
        line = requests.post(http(server), max_message=1024)
        assert whole(line) == bytes(3000)
        assert max(len(data) for data, _ in line.sink.messages) == 1024
        requests.close()


# --- answers that are none ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 400, 401, 429, 503])
def test_a_refusal_has_status_headers_and_body(requests: Requests, status: int) -> None:
    """Redirects are refusals; the connection is used again."""
    refusal = (
        f"HTTP/1.1 {status} No\r\nRetry-After: 7\r\nLocation: http://127.0.0.1:1/\r\n"
        'Content-Length: 14\r\n\r\n{"detail":"x"}'
    ).encode()
    with Listener(answering(refusal, CHUNKED + LAST)) as server:
        failure = refused(requests.post(http(server)))
        assert failure.status == status and failure.sent
        assert failure.headers["retry-after"] == "7"
        assert failure.body == '{"detail":"x"}'
        whole(requests.post(http(server)))
        requests.close()
    assert server.connections == 1


def test_of_a_large_refusal_the_beginning_is_kept(requests: Requests) -> None:
    refusal = b"HTTP/1.1 500 No\r\nContent-Length: 9000000\r\n\r\n" + b"n" * 9000

    with Listener(answering(refusal)) as server:
        failure = refused(requests.post(http(server)))
        assert failure.body == "n" * 4096


def test_a_refusal_whose_body_does_not_come(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is worth more than what the body was going to say."""
    monkeypatch.setattr(http_module, "EXCERPT_PATIENCE", 0.05)
    refusal = b"HTTP/1.1 429 No\r\nContent-Length: 100\r\n\r\nslow"
    with Listener(answering(refusal)) as server:
        failure = refused(requests.post(http(server)))
        assert (failure.status, failure.body) == (429, "slow")


def test_a_refusal_that_is_cut_short_is_one(requests: Requests) -> None:
    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nwho")

    with Listener(script) as server:
        failure = refused(requests.post(http(server)))
        assert (failure.status, failure.body) == (401, "who")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "compressed",
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsound", "neither a length nor chunks"),
        (b"HTTP/1.0 200 OK\r\n\r\nsound", "neither a length nor chunks"),
    ],
)
def test_a_success_that_cannot_be_used(requests: Requests, answer: bytes, says: str) -> None:
    """What may have been cut short without a sign is no audio to rely on."""

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(answer)

    with Listener(script) as server:
        line = requests.post(http(server))
        fault = line.end()
    assert type(fault) is RemoteProtocolError
    assert says in fault.message
    assert line.sink.messages == []


# --- ends before the end --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + chunk(b"sound"),
        CHUNKED + b"10\r\nsound",
        CHUNKED + chunk(b"sound") + b"0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsound",
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_a_body_that_is_cut_short(
    requests: Requests, answer: bytes, tls: bool, authority: Authority
) -> None:
    """What came is told, its end is not, and the error says so."""

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(answer)

    with Listener(script, authority.server() if tls else None) as server:
        line = requests.post(http(server), ssl_context=authority.client())
        fault = line.end()
    assert type(fault) is TruncatedAudio
    assert fault.retryable
    assert line.sink.messages == [(b"sound", False)]


def test_a_body_that_is_reset(requests: Requests) -> None:
    came = threading.Event()

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(CHUNKED + chunk(b"sound"))
        assert came.wait(PATIENCE)
        peer.reset()

    with Listener(script) as server:
        line = requests.post(http(server))
        line.messages(1)
        came.set()
        fault = line.end()
    assert type(fault) is ConnectionLost
    assert line.sink.messages == [(b"sound", False)]


def test_chunks_that_are_none(requests: Requests) -> None:
    with Listener(answering(CHUNKED + chunk(b"sound") + b"what is this\r\n")) as server:
        fault = requests.post(http(server)).end()
    assert type(fault) is RemoteProtocolError
    assert "rules of HTTP" in fault.message


@pytest.mark.parametrize("how", ["end", "reset", "half"])
def test_no_answer(requests: Requests, how: str) -> None:
    """The server hangs up instead, or in the middle of the head."""

    def script(peer: Peer) -> None:
        read_request(peer)
        if how == "reset":
            peer.reset()
        elif how == "half":
            peer.send(b"HTTP/1.1 200 OK\r\nConte")

    with Listener(script) as server:
        error = unanswered(requests.post(http(server)), sent=True)
    assert type(error) is ConnectError
    assert error.retryable


def test_an_answer_that_is_not_http(requests: Requests) -> None:
    with Listener(answering(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")) as server:
        error = unanswered(requests.post(http(server)), sent=True)
    assert type(error) is HandshakeError


def test_a_server_that_does_not_read(requests: Requests) -> None:
    """The request must leave within the send timeout."""
    over = threading.Event()

    def script(peer: Peer) -> None:
        assert over.wait(PATIENCE)

    with Listener(script) as server:
        error = unanswered(
            requests.post(http(server), bytes(64 * 2**20), send_timeout=0.1), sent=True
        )
        over.set()
    assert type(error) is ConnectError
    assert "took nothing" in error.message


# --- giving up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "abort"])
@pytest.mark.parametrize("after", [b"", CHUNKED, CHUNKED + chunk(b"sound")])
@pytest.mark.parametrize("tls", [False, True])
def test_giving_up_ends_a_blocked_read(
    requests: Requests, way: str, after: bytes, tls: bool, authority: Authority
) -> None:
    """Before the answer and in the middle of it; the server is hung up on."""
    there = threading.Event()

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(after)
        there.set()
        peer.until_hung_up()

    with Listener(script, authority.server() if tls else None) as server:
        line = requests.post(http(server), ssl_context=authority.client())
        assert there.wait(PATIENCE)
        if after:
            line.sink.wait(lambda: bool(line.sink.answers))
        getattr(line, way)()
        assert line.end() == Closed(None)
        line.abort()


def test_giving_up_a_request_on_a_connection_used_before(requests: Requests) -> None:
    """The connection that is cut is the one that the request uses, before any answer."""
    there = threading.Event()

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(CHUNKED + LAST)
        read_request(peer)
        there.set()
        peer.until_hung_up()

    with Listener(script) as server:
        first = requests.post(http(server))
        whole(first)
        line = requests.post(http(server))
        assert there.wait(PATIENCE)
        first.abort()
        first.close()
        assert line.sink.losses == []
        line.abort()
        assert line.end() == Closed(None)
    assert server.connections == 1


def test_giving_up_at_the_very_end_cuts_nobody_elses_connection(
    threads: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may give the request up while its connection goes back to the others."""
    requests = Requests(threads)
    going_back = httpx.Response.close

    def close(response: httpx.Response) -> None:
        line.transport.abort()
        going_back(response)

    monkeypatch.setattr(httpx.Response, "close", close)
    with Listener(answering(*[CHUNKED + LAST] * 2)) as server:
        for _ in range(2):
            line = requests.dial(Target(url=http(server)))
            line.send("{}")
            whole(line)
        requests.close()
    assert server.connections == 1


def test_giving_up_before_there_is_a_body(requests: Requests) -> None:
    line = requests.dial(Target(url="http://127.0.0.1:1/"))
    line.abort()
    assert line.end() == Closed(None)
    with pytest.raises(SendError):
        line.send("{}")


def test_giving_up_before_it_is_read(requests: Requests) -> None:
    transport = requests.runtime.call(requests.http.connect, Target(url="http://h/"), 1.0)
    requests.runtime.call_sync(transport.abort)
    line = Line(requests.runtime, transport, Response(0)).read()
    assert line.end() == Closed(None)


def test_giving_up_a_dial(requests: Requests) -> None:
    """Also while TLS waits for an answer."""
    with Listener(idle) as server:
        line = requests.post(http(server).replace("http:", "https:"))
        assert server.accepted.acquire(timeout=PATIENCE)
        line.abort()
        assert line.end() == Closed(None)


def test_a_dial_that_is_called_off(threads: Runtime) -> None:
    """By whoever asked for it."""
    http_ = Http()
    with Listener(idle) as server:
        target = Target(url=http(server).replace("http:", "https:"))
        off = CallOff()
        transport = http_.connect(target, PATIENCE, off)
        line = Line(threads, transport, Response(0)).read()
        line.send("{}")
        assert server.accepted.acquire(timeout=PATIENCE)
        off.set()
        assert type(unanswered(line)) is ConnectError
    http_.close()


def test_a_cancelled_reader_tells_nothing_and_leaves_nothing(loop: Runtime) -> None:
    requests = Requests(loop)
    with Listener(answering(CHUNKED + chunk(b"sound"))) as server:
        line = requests.post(http(server))
        line.messages(1)
        line.stop_reading()
        server.settle()
    assert line.sink.losses == []
    requests.close()


def test_giving_up_between_the_dial_and_the_request(
    loop: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has used the connection, and nobody will."""
    requests = Requests(loop)
    open_stream = http_module._open_stream
    hung_up = threading.Event()

    def script(peer: Peer) -> None:
        peer.until_hung_up()
        hung_up.set()

    async def opened(order: Any) -> Any:
        stream = await open_stream(order)
        line.transport.abort()
        return stream

    monkeypatch.setattr(http_module, "_open_stream", opened)
    with Listener(script) as server:
        line = requests.dial(Target(url=http(server)))
        line.send("{}")
        assert line.end() == Closed(None)
        assert hung_up.wait(PATIENCE)
    requests.close()


# --- connections that are kept --------------------------------------------------------------------


def test_requests_share_a_connection(requests: Requests) -> None:
    with Listener(answering(*[CHUNKED + chunk(b"sound") + LAST] * 3)) as server:
        for _ in range(3):
            assert whole(requests.post(http(server))) == b"sound"
        requests.close()
    assert server.connections == 1


def test_requests_at_once_have_connections_of_their_own(requests: Requests) -> None:
    both = threading.Barrier(2)

    def script(peer: Peer) -> None:
        read_request(peer)
        both.wait(PATIENCE)
        peer.send(CHUNKED + LAST)
        peer.until_hung_up()

    with Listener(script) as server:
        lines = [requests.post(http(server)) for _ in range(2)]
        for line in lines:
            whole(line)
        requests.close()
    assert server.connections == 2


def test_a_connection_that_ended_meanwhile_is_not_used(requests: Requests) -> None:
    ended = threading.Event()

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(CHUNKED + LAST)
        peer.half_close()
        ended.set()
        peer.until_hung_up()

    with Listener(script) as server:
        for _ in range(2):
            whole(requests.post(http(server)))
            assert ended.wait(PATIENCE)
        requests.close()
    assert server.connections == 2


@pytest.mark.parametrize("status", ["200 OK", "503 No"])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("tls", [False, True])
def test_what_comes_behind_an_answer_is_no_answer(
    requests: Requests, status: str, at_once: bool, tls: bool, authority: Authority
) -> None:
    """Else the next request would hear what the server had left to say to the one before."""
    sent = threading.Event()
    head = f"HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\nx".encode()
    behind = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale"

    def script(peer: Peer) -> None:
        read_request(peer)
        if at_once:
            peer.send(head + behind)
        else:
            peer.send(head)
            peer.send(behind)
        sent.set()
        peer.until_hung_up()

    with Listener(script, authority.server() if tls else None) as server:
        for _ in range(3):
            line = requests.post(http(server), ssl_context=authority.client())
            line.end()
            assert body_of(line) in (b"x", b"")
            assert sent.wait(PATIENCE)
            sent.clear()
        requests.close()
    assert server.connections == 3


# What asyncio reads at once is 256 KiB, uvloop as much and several times in a row; we ask for 64.
@pytest.mark.parametrize("size", [64 * 1024, 128 * 1024, 256 * 1024])
@pytest.mark.parametrize("tls", [False, True])
def test_what_comes_behind_an_answer_that_fills_a_read_is_no_answer(
    requests: Requests, size: int, tls: bool, authority: Authority
) -> None:
    """Also where the answer ends exactly with what was asked for, and what is behind it waits."""
    behind = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    length = size - len(head % size) - (len(str(size - 50)) - len(str(size)))
    answer = head % length + bytes(length)
    assert len(answer) == size
    sent = threading.Event()

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(answer + behind)
        sent.set()
        peer.until_hung_up()

    with Listener(script, authority.server() if tls else None) as server:
        for _ in range(3):
            line = requests.post(http(server), ssl_context=authority.client())
            assert whole(line) == bytes(length)
            # What is under way when the next request leaves nobody could tell from its answer.
            assert sent.wait(PATIENCE)
            sent.clear()
        requests.close()
    assert server.connections == 3


class Tired:
    """Serve one request a connection; with the next one that comes there, do as *then* says."""

    def __init__(self, then: Callable[[Peer], None], connections: int = 1) -> None:
        self.then = then
        self.connections = connections
        """How many do so; those that come later go on."""
        self.requests = 0
        self._lock = threading.Lock()

    def __call__(self, peer: Peer) -> None:
        with self._lock:
            self.connections -= 1
            tired = self.connections >= 0
        self.serve(peer)
        if tired:
            self.request(peer)
            self.then(peer)
        else:
            self.serve(peer)
            peer.until_hung_up()

    def request(self, peer: Peer) -> None:
        read_request(peer)
        with self._lock:
            self.requests += 1

    def serve(self, peer: Peer) -> None:
        self.request(peer)
        peer.send(CHUNKED + chunk(b"sound") + LAST)


def hang_up(peer: Peer) -> None:
    """The script ends, and the connection with it."""


@pytest.mark.parametrize("then", [hang_up, Peer.reset])
@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_ends_as_it_is_used_again_costs_nothing(
    requests: Requests, then: Callable[[Peer], None], tls: bool, authority: Authority
) -> None:
    """The server's patience was over; the same request is sent on another, which then is kept."""
    script = Tired(then)
    with Listener(script, authority.server() if tls else None) as server:
        for _ in range(3):
            line = requests.post(http(server), ssl_context=authority.client())
            assert whole(line) == b"sound"
        requests.close()
    assert (server.connections, script.requests) == (2, 4)


def test_of_many_connections_that_end_one_costs_a_request(requests: Requests) -> None:
    """The second try takes none of those that were kept, for they are as old."""
    both = threading.Barrier(2)
    script = Tired(hang_up, 2)
    serve = script.serve

    def at_once(peer: Peer) -> None:
        script.request(peer)
        both.wait(PATIENCE)
        peer.send(CHUNKED + chunk(b"sound") + LAST)
        script.serve = serve  # type: ignore[method-assign]

    script.serve = at_once  # type: ignore[method-assign]
    with Listener(script) as server:
        lines = [requests.post(http(server)) for _ in range(2)]
        for line in lines:
            whole(line)
        whole(requests.post(http(server)))
        requests.close()
    # Two at once, one that was not answered, and the same again.
    assert (server.connections, script.requests) == (3, 4)


def test_a_second_connection_that_ends_is_told(requests: Requests) -> None:
    """It has served nobody, so that there is more to it than its age."""
    answers = [CHUNKED + LAST, b""]
    seen = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            seen.append(read_request(peer)[0])
            if not (answer := answers.pop(0) if answers else b""):
                break
            peer.send(answer)

    with Listener(script) as server:
        whole(requests.post(http(server)))
        assert type(unanswered(requests.post(http(server)), sent=True)) is ConnectError
        requests.close()
    assert (server.connections, len(seen)) == (2, 3)


def test_a_connection_that_ends_in_the_middle_of_an_answer_is_told(requests: Requests) -> None:
    """However often it was used: something had come."""
    script = Tired(lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nConte"))
    with Listener(script) as server:
        whole(requests.post(http(server)))
        assert type(unanswered(requests.post(http(server)), sent=True)) is ConnectError
        requests.close()
    assert (server.connections, script.requests) == (1, 2)


def test_giving_up_the_second_try(requests: Requests) -> None:
    """It is the same request, wherever it has got to."""
    there = threading.Event()

    def script(peer: Peer) -> None:
        read_request(peer)
        if server.connections == 2:
            there.set()
            peer.until_hung_up()
            return
        peer.send(CHUNKED + LAST)
        read_request(peer)

    with Listener(script) as server:
        whole(requests.post(http(server)))
        line = requests.post(http(server))
        assert there.wait(PATIENCE)
        line.abort()
        assert line.end() == Closed(None)
        requests.close()


@pytest.mark.parametrize("tls", [False, True])
def test_closing_ends_the_requests_under_way(
    requests: Requests, tls: bool, authority: Authority
) -> None:
    """Nobody waits for what a server still has to say."""

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(CHUNKED + chunk(b"sound"))
        peer.until_hung_up()

    with Listener(script, authority.server() if tls else None) as server:
        line = requests.post(http(server), ssl_context=authority.client())
        line.messages(1)
        requests.close()
        assert type(line.end()) is ConnectionLost
    assert line.sink.messages == [(b"sound", False)]


def test_closing_at_the_moment_a_request_is_connected(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is not the pool's to close yet. It is spoken on, and closed in the end."""
    open_socket, open_stream = websocket_client.open_socket, http_module._open_stream
    hung_up = threading.Event()

    def opened(*args: Any) -> Any:
        sock = open_socket(*args)
        requests.http.close()
        return sock

    async def opened_async(order: Any) -> Any:
        stream = await open_stream(order)
        await requests.http.aclose()
        return stream

    def script(peer: Peer) -> None:
        answering(CHUNKED + chunk(b"sound") + LAST)(peer)
        hung_up.set()

    monkeypatch.setattr(websocket_client, "open_socket", opened)
    monkeypatch.setattr(http_module, "_open_stream", opened_async)
    with Listener(script) as server:
        assert whole(requests.post(http(server))) == b"sound"
        assert hung_up.wait(PATIENCE)


def test_no_cookie_is_kept(requests: Requests) -> None:
    heads = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            heads.append(read_request(peer)[0])
            peer.send(CHUNKED.replace(b"\r\n\r\n", b"\r\nSet-Cookie: who=you\r\n\r\n") + LAST)
        peer.until_hung_up()

    with Listener(script) as server:
        for _ in range(2):
            whole(requests.post(http(server)))
        requests.close()
    assert "cookie" not in heads[1].lower()


def test_closing_while_a_request_is_under_way(threads: Runtime) -> None:
    """Its connection is closed when it is done."""
    requests = Requests(threads)
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        read_request(peer)
        peer.send(CHUNKED)
        assert go_on.wait(PATIENCE)
        peer.send(LAST)
        peer.until_hung_up()

    with Listener(script) as server:
        line = requests.post(http(server))
        line.sink.wait(lambda: bool(line.sink.answers))
        line.abort()
        line.end()
        requests.close()
        again = requests.post(http(server))
        go_on.set()
        whole(again)


# --- the way there --------------------------------------------------------------------------------


def test_nobody_listens(requests: Requests) -> None:
    with deaf_port() as port:
        error = unanswered(requests.post(f"http://127.0.0.1:{port}/?key={SECRET}"))
    assert type(error) is ConnectError
    assert f"127.0.0.1:{port} refused" in error.message


def test_a_name_that_does_not_resolve(requests: Requests) -> None:
    error = unanswered(requests.post(f"http://no-such-host.invalid/?key={SECRET}", proxy=None))
    assert type(error) is DNSError


def test_the_dial_has_its_budget(requests: Requests) -> None:
    """TLS that never answers; the time before there is a body does not count."""
    with Listener(idle) as server:
        target = Target(url=http(server).replace("http:", "https:"))
        line = requests.dial(target, timeout=0.2)
        time.sleep(0.3)  # nothing happens in it, which is what is to be seen
        assert line.sink.losses == []
        line.send("{}")
        assert type(unanswered(line)) is ConnectTimeout


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(requests: Requests, authority: Authority, host: str) -> None:
    context = authority.client()
    with Listener(
        answering(*[CHUNKED + chunk(b"sound") + LAST] * 2), authority.server(host)
    ) as server:
        for _ in range(2):
            line = requests.post(http(server, host=host), ssl_context=context)
            assert whole(line) == b"sound"
        requests.close()
    assert server.connections == 1


def test_tls_that_is_not_trusted(requests: Requests, authority: Authority) -> None:
    with Listener(idle, authority.server()) as server:
        error = unanswered(requests.post(http(server)))
    assert type(error) is TLSError
    assert not error.retryable


def test_tls_for_another_host(requests: Requests, authority: Authority) -> None:
    with Listener(idle, authority.server("elsewhere.example")) as server:
        line = requests.post(http(server), ssl_context=authority.client())
        assert type(unanswered(line)) is TLSError


def test_a_server_that_hangs_up_on_tls(requests: Requests) -> None:
    with Listener(lambda peer: peer.sock.recv(1)) as server:
        error = unanswered(requests.post(http(server).replace("http:", "https:")))
    assert type(error) is ConnectError


def test_the_users_tls_settings_are_left_alone(requests: Requests, authority: Authority) -> None:
    """httpx would set the protocols it speaks on a context that serves others too."""
    chosen: list[str | None] = []
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.ca.issue_cert("127.0.0.1").configure_cert(server_side)
    server_side.set_alpn_protocols(["http/1.1"])

    def script(peer: Peer) -> None:
        assert isinstance(peer.sock, ssl.SSLSocket)
        chosen.append(peer.sock.selected_alpn_protocol())
        answering(CHUNKED + LAST)(peer)

    with Listener(script, server_side) as server:
        whole(requests.post(http(server), ssl_context=authority.client()))
        requests.close()
    assert chosen == [None]


class Tunnels:
    """A proxy that connects everybody to one port, and remembers who was asked for."""

    def __init__(self, port: int, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self._port = port
        self._answer = answer
        self.heads: list[str] = []

    def __call__(self, peer: Peer) -> None:
        self.heads.append(peer.head().decode())
        peer.send(self._answer)
        if b" 200 " in self._answer:
            with socket.create_connection(("127.0.0.1", self._port)) as upstream:
                peer.sock.settimeout(None)
                pump(peer.sock, upstream)


@pytest.mark.parametrize("tls", [False, True])
def test_a_tunnel_through_a_proxy(requests: Requests, authority: Authority, tls: bool) -> None:
    context = authority.server("far.example") if tls else None
    with Listener(answering(*[CHUNKED + LAST] * 2), context) as server:
        tunnels = Tunnels(server.port)
        with Listener(tunnels) as proxy:
            for _ in range(2):
                line = requests.post(
                    f"{'https' if tls else 'http'}://far.example/",
                    proxy=f"http://us%65r:p%40ss@127.0.0.1:{proxy.port}",
                    ssl_context=authority.client(),
                )
                whole(line)
            requests.close()
    (head,) = tunnels.heads
    assert head.startswith(f"CONNECT far.example:{443 if tls else 80} HTTP/1.1\r\n")
    assert base64.b64encode(b"user:p@ss").decode() in head


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", b""])
def test_a_proxy_that_refuses(requests: Requests, answer: bytes) -> None:
    with Listener(Tunnels(0, answer)) as proxy:
        url = f"http://me:{SECRET}@127.0.0.1:{proxy.port}"
        error = unanswered(requests.post("https://far.example/", proxy=url))
    assert type(error) is ProxyError


def test_a_proxy_that_is_not_there(requests: Requests) -> None:
    with deaf_port() as port:
        url = f"http://me:{SECRET}@127.0.0.1:{port}"
        error = unanswered(requests.post("https://far.example/", proxy=url))
    assert type(error) is ProxyError


def test_loopback_is_never_dialled_through_a_proxy(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    with Listener(answering(CHUNKED + LAST)) as server:
        whole(requests.post(http(server)))
        requests.close()


def test_the_environment_names_a_proxy(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    with deaf_port() as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert type(unanswered(requests.post("https://far.example/"))) is ProxyError


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_first_dial_of_a_loop_waits_no_longer_than_any_other(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import of httpx takes what it takes, in a thread that is left behind."""
    go = threading.Event()

    def slow() -> type[AsyncHttp]:
        assert go.wait(PATIENCE)
        return AsyncHttp

    async def main() -> None:
        dialler = AsyncDialler(connect)
        target = Target(url="http://127.0.0.1:9/")
        with pytest.raises(DialError) as caught:
            await dialler.connect(target, 0.01)
        assert type(caught.value.failure.error) is ConnectTimeout
        go.set()
        assert await dialler.connect(target, PATIENCE)
        await dialler.aclose()

    monkeypatch.setattr(dial, "_async_http", slow)
    anyio.run(main, backend=backend)


# --- secrets --------------------------------------------------------------------------------------


def test_nothing_is_logged_at_any_level(
    requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    """Left to itself, httpx logs the URL, and what is beneath it the headers of the answer."""
    caplog.set_level(logging.DEBUG)
    answer = CHUNKED.replace(b"\r\n\r\n", f"\r\nX-You-Sent: {SECRET}\r\n\r\n".encode())
    headers = {"Authorization": f"Bearer {SECRET}"}
    with Listener(answering(answer + LAST)) as server:
        whole(requests.post(http(server, f"/?key={SECRET}"), headers=headers))
        requests.close()
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("http")]


def test_others_logs_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore.http11").debug("not ours")
    assert "not ours" in caplog.text


def test_a_transport_does_not_show_its_secrets(requests: Requests) -> None:
    target = Target(url=f"http://u:{SECRET}@h/?k={SECRET}", headers={"Authorization": SECRET})
    line = requests.dial(target)
    assert repr(line.transport) == f"<{type(line.transport).__name__} h:80 open>"
    assert SECRET not in repr(line.transport._order)
    line.abort()
    assert repr(line.transport).endswith("doomed>") or line.end()
    line.end()
    assert repr(line.transport).endswith("over>")
