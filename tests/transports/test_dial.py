"""A dial comes about or fails with its facts; in time, without a trace, and it tells no secrets."""

import base64
import gc
import logging
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest

from tests.transports.peers import (
    PATIENCE,
    PING,
    TEXT,
    Authority,
    Listener,
    Peer,
    closing,
    deaf_port,
    frame,
    idle,
    pump,
    serve,
)
from tests.transports.runtimes import Runtime
from ttsmux.adapter import Closed, DialFailure
from ttsmux.errors import (
    ConfigError,
    ConnectError,
    ConnectTimeout,
    DNSError,
    Error,
    HandshakeError,
    ProxyError,
    TLSError,
)
from ttsmux.transports._tls import default_context
from ttsmux.transports.base import DialError, Target

SECRET = "sk-5ecre7"


def failure_of(runtime: Runtime, target: Target, timeout: float = PATIENCE) -> DialFailure:
    """Dial in vain; whatever is in the way of the exception, no secret is told."""
    with pytest.raises(DialError) as caught:
        runtime.dial(target, timeout)
    told = "".join(traceback.format_exception(caught.value))
    seen: BaseException | None = caught.value
    while seen is not None:
        told += f"{seen} {seen!r} {getattr(seen, '__notes__', '')}"
        seen = seen.__cause__ or seen.__context__
    assert SECRET not in told
    return caught.value.failure


def error_of(runtime: Runtime, target: Target, timeout: float = PATIENCE) -> Error:
    failure = failure_of(runtime, target, timeout)
    assert failure.status is None
    assert failure.error is not None
    assert failure.error.phase == "dial"
    return failure.error


def secretive(url: str, **options: object) -> Target:
    headers = {"Authorization": f"Bearer {SECRET}"}
    return Target(url=f"{url}?api_key={SECRET}", headers=headers, **options)  # type: ignore[arg-type]


# --- the upgrade ----------------------------------------------------------------------------------


def test_the_request_carries_path_query_headers_and_subprotocols(runtime: Runtime) -> None:
    heads = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        assert peer.request is not None
        heads.append(peer.request)
        peer.send(closing(1000))

    with Listener(script) as server:
        line = runtime.connect(
            server.url("/v1/tts?voice=eve&text=a%20b"),
            headers={"X-Key": "k1", "user-agent": "mine", "Cookie": "a=b"},
            subprotocols=("speech.v1", "speech.v2"),
        )
        line.end()
        (request,) = heads
        assert request.headers["Host"] == f"127.0.0.1:{server.port}"
    assert request.path == "/v1/tts?voice=eve&text=a%20b"
    assert request.headers["X-Key"] == "k1"
    assert request.headers["User-Agent"] == "mine"
    assert request.headers["Cookie"] == "a=b"
    assert request.headers["Sec-WebSocket-Protocol"].replace(" ", "") == "speech.v1,speech.v2"
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert "Origin" not in request.headers


def test_the_response_has_status_and_headers(runtime: Runtime) -> None:
    with serve(lambda peer: peer.send(closing(1000))) as server:
        line = runtime.connect(server.url())
        line.end()
    assert line.response.status == 101
    assert line.response.headers["upgrade"] == "websocket"


def test_cookies_of_one_connection_are_not_sent_by_another(runtime: Runtime) -> None:
    """websocket-client has one jar for the whole process."""
    heads = []

    def script(peer: Peer) -> None:
        heads.append(peer.head().lower())
        peer.send(b"HTTP/1.1 403 No\r\nSet-Cookie: who=me; Domain=127.0.0.1\r\n\r\n")

    with Listener(script) as server:
        for _ in range(2):
            failure_of(runtime, Target(url=server.url()))
    assert b"cookie" not in heads[1]


BODIES = {
    "by length": b"Content-Length: 12\r\n\r\nwrong voice!",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n6\r\nwrong \r\n6\r\nvoice!\r\n0\r\n\r\n",
    "to the end": b"\r\nwrong voice!",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_refused_upgrade_has_status_headers_and_body(runtime: Runtime, body: str) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        head = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nX-A: 1\r\nx-a: 2\r\n"
        peer.send(head + BODIES[body])
        if body != "to the end":
            peer.until_hung_up()

    with Listener(script) as server:
        failure = failure_of(runtime, secretive(server.url()))
    assert (failure.status, failure.error) == (429, None)
    assert failure.headers["retry-after"] == "7"
    assert failure.headers["x-a"] == "1, 2"
    assert failure.body == "wrong voice!"


def test_of_a_large_body_the_beginning_is_kept(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        peer.until_hung_up()

    with Listener(script) as server:
        failure = failure_of(runtime, Target(url=server.url()))
    assert (failure.status, failure.body) == (500, "x" * 4096)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_refusals(runtime: Runtime, status: int) -> None:
    """The key is for the host that was named, and for no other."""
    with Listener(idle) as elsewhere:

        def script(peer: Peer) -> None:
            peer.head()
            location = f"Location: {elsewhere.url()}\r\nContent-Length: 0\r\n\r\n"
            peer.send(f"HTTP/1.1 {status} There\r\n{location}".encode())

        with Listener(script) as server:
            failure = failure_of(runtime, secretive(server.url()))
        assert failure.status == status
        assert failure.headers["location"] == elsewhere.url()
        assert elsewhere.connections == 0


UPGRADE = b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
NO_UPGRADE: dict[str, tuple[bytes, type[Error]]] = {
    "hangs up": (b"", ConnectError),
    "hangs up within the answer": (b"HTTP/1.1 101 Yes\r\nConn", ConnectError),
    "no HTTP": (b"220 mail.example ESMTP\r\n\r\n", HandshakeError),
    "no accept": (UPGRADE + b"\r\n", HandshakeError),
    "wrong accept": (UPGRADE + b"Sec-WebSocket-Accept: c2VjcmV0\r\n\r\n", HandshakeError),
    "other upgrade": (
        b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        HandshakeError,
    ),
}


@pytest.mark.parametrize("case", NO_UPGRADE)
def test_an_answer_that_is_no_upgrade(runtime: Runtime, case: str) -> None:
    answer, kind = NO_UPGRADE[case]

    def script(peer: Peer) -> None:
        # The answer quotes what it was asked, as helpful servers do.
        head = peer.head()
        peer.send(answer.replace(b"\r\n\r\n", b"\r\nX-Echo: " + head.split()[1] + b"\r\n\r\n"))

    with Listener(script) as server:
        error = error_of(runtime, secretive(server.url()))
        assert type(error) is kind
        assert f"127.0.0.1:{server.port}" in error.message


@pytest.mark.parametrize("header", ["Extensions: permessage-deflate", "Protocol: other"])
def test_a_server_may_only_choose_what_was_offered(runtime: Runtime, header: str) -> None:
    import hashlib

    def script(peer: Peer) -> None:
        head = peer.head().decode()
        key = next(line[19:] for line in head.split("\r\n") if "websocket-key" in line.lower())
        magic = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(magic.encode()).digest())
        more = f"\r\nSec-WebSocket-{header}\r\n\r\n"
        peer.send(UPGRADE + b"Sec-WebSocket-Accept: " + accept + more.encode())
        peer.until_hung_up()

    with Listener(script) as server:
        error = error_of(runtime, Target(url=server.url(), subprotocols=("speech",)))
    assert isinstance(error, HandshakeError)
    assert "not offered" in error.message


# --- the way there --------------------------------------------------------------------------------


def test_nobody_listens(runtime: Runtime) -> None:
    with deaf_port() as port:
        error = error_of(runtime, secretive(f"ws://127.0.0.1:{port}/"))
    assert type(error) is ConnectError
    assert error.message == f"127.0.0.1:{port} refused the connection"
    assert error.retryable


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", f"{'x' * 64}.example"])
def test_a_name_that_does_not_resolve(runtime: Runtime, host: str) -> None:
    error = error_of(runtime, secretive(f"ws://{host}:1/"))
    assert type(error) is DNSError
    assert host in error.message


def test_the_second_address_is_tried(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def two(host: object, port: object, *args: object, **options: object) -> object:
        if host in ("two.test", b"two.test"):
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]
        return real(host, port, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    if runtime.name == "uvloop":
        pytest.skip("uvloop has a resolver of its own")
    with serve(lambda peer: peer.send(closing(1000))) as server:
        assert runtime.connect(server.url(host="two.test")).end() == Closed(1000)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (f"http://host/?{SECRET}", {}),
        (f"ws:///path?{SECRET}", {}),
        (f"ws://host:{SECRET}/", {}),
        (f"ws://[{SECRET}/", {}),
        (f"ws://host/?a b{SECRET}", {}),
        (f"ws://host/\r\nX: {SECRET}", {}),
        (f"ws://host/#{SECRET}", {}),
        ("ws://host/", {"Authorization": f"{SECRET}\r\nX-More: 1"}),
        ("ws://host/", {"Authorization": f"{SECRET}\u20ac"}),
        ("ws://host/", {f"X {SECRET}": "1"}),
    ],
)
def test_a_target_that_makes_no_sense(runtime: Runtime, url: str, headers: dict[str, str]) -> None:
    assert type(error_of(runtime, Target(url=url, headers=headers))) is ConfigError


# --- time -----------------------------------------------------------------------------------------


def test_a_server_that_never_answers(runtime: Runtime) -> None:
    with Listener(idle) as server:
        began = time.monotonic()
        error = error_of(runtime, secretive(server.url()), timeout=0.3)
        assert type(error) is ConnectTimeout
        assert error.message == "no connection within 0.3 s"
        assert 0.25 < time.monotonic() - began < PATIENCE
        server.settle()


def test_a_server_that_never_accepts(runtime: Runtime) -> None:
    """The kernel shakes hands for it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        target = Target(url=f"ws://127.0.0.1:{sock.getsockname()[1]}")
        assert type(error_of(runtime, target, timeout=0.2)) is ConnectTimeout


def test_tls_that_never_answers(runtime: Runtime) -> None:
    with Listener(idle) as server:
        target = Target(url=server.url().replace("ws:", "wss:"))
        assert type(error_of(runtime, target, timeout=0.2)) is ConnectTimeout
        server.settle()


def test_an_answer_that_drips_has_one_budget(runtime: Runtime) -> None:
    """Each byte comes soon enough; all of them do not."""

    def script(peer: Peer) -> None:
        peer.head()
        for byte in b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 1000:
            peer.send(bytes([byte]))
            time.sleep(0.02)

    with Listener(script) as server:
        began = time.monotonic()
        assert type(error_of(runtime, Target(url=server.url()), timeout=0.4)) is ConnectTimeout
        assert time.monotonic() - began < PATIENCE


def _at_connect(peer: Peer) -> None:
    peer.until_hung_up()


def _within_the_answer(peer: Peer) -> None:
    peer.head()
    peer.send(b"HTTP/1.1 101 Swit")
    peer.until_hung_up()


def _after_the_status(peer: Peer) -> None:
    peer.head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234")
    peer.until_hung_up()


@pytest.mark.parametrize("stage", [_at_connect, _within_the_answer, _after_the_status])
@pytest.mark.parametrize("way", ["ws", "wss", "proxy"])
def test_a_dial_that_is_called_off_leaves_no_socket(
    runtime: Runtime, stage: Callable[[Peer], None], way: str
) -> None:
    """The server sees us go, whichever step we were in."""
    if way == "wss" and stage is not _at_connect:
        pytest.skip("there is one stage before TLS")
    with Listener(stage) as server:
        url, proxy = server.url(), None
        if way == "wss":
            url = url.replace("ws:", "wss:")
        if way == "proxy":
            url, proxy = "ws://far.example/", f"http://127.0.0.1:{server.port}"
            if stage is _after_the_status:
                url = "wss://far.example/"
        dial = runtime.dialling(Target(url=url, proxy=proxy))
        assert server.accepted.acquire(timeout=PATIENCE)
        dial.cancel()
        with pytest.raises((DialError, CancelledError)):
            dial.result()
        server.settle()


def test_a_dial_that_is_called_off_before_it_began(runtime: Runtime) -> None:
    with Listener(idle) as server:
        dial = runtime.dialling(Target(url=server.url()))
        dial.cancel()
        with pytest.raises((DialError, CancelledError)):
            dial.result()
        server.settle()


# --- TLS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(runtime: Runtime, authority: Authority, host: str) -> None:
    def script(peer: Peer) -> None:
        peer.send(frame(TEXT, b"hello") + frame(PING, b"?"))
        assert peer.receive()[1] == b"?"
        peer.send(closing(1000))

    with serve(script, authority.server(host)) as server:
        line = runtime.connect(server.url(host=host), ssl_context=authority.client())
        assert line.end() == Closed(1000)
        assert line.sink.messages == [(b"hello", True)]


def test_tls_for_another_host(runtime: Runtime, authority: Authority) -> None:
    with serve(idle, authority.server("elsewhere.example")) as server:
        error = error_of(runtime, secretive(server.url(), ssl_context=authority.client()))
    assert type(error) is TLSError
    assert not error.retryable
    assert "certificate of 127.0.0.1" in error.message


def test_tls_of_an_unknown_authority(runtime: Runtime, authority: Authority) -> None:
    """The platform's defaults do not know it."""
    with serve(idle, authority.server()) as server:
        error = error_of(runtime, secretive(server.url()))
    assert type(error) is TLSError
    assert not error.retryable
    assert "certificate" in error.message


def test_tls_with_a_server_that_speaks_none(runtime: Runtime) -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(10)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.until_hung_up()

    with Listener(script) as server:
        error = error_of(runtime, secretive(server.url().replace("ws:", "wss:")))
    assert type(error) is TLSError


def test_a_server_that_hangs_up_on_tls(runtime: Runtime) -> None:
    with Listener(lambda peer: None) as server:
        error = error_of(runtime, secretive(server.url().replace("ws:", "wss:")))
    assert type(error) is ConnectError
    assert error.retryable


# --- proxies --------------------------------------------------------------------------------------


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


def hello(peer: Peer) -> None:
    peer.send(frame(TEXT, b"hello"))
    assert peer.receive() == (TEXT, b"hi")
    peer.send(closing(1000))
    peer.until_hung_up()


@pytest.mark.parametrize("tls", [False, True])
def test_a_tunnel_through_a_proxy(runtime: Runtime, authority: Authority, tls: bool) -> None:
    context = authority.server("far.example") if tls else None
    with serve(hello, context) as server:
        tunnels = Tunnels(server.port)
        with Listener(tunnels) as proxy:
            line = runtime.connect(
                f"{'wss' if tls else 'ws'}://far.example/",
                proxy=f"http://us%65r:p%40ss@127.0.0.1:{proxy.port}",
                ssl_context=authority.client(),
            )
            line.messages(1)
            line.send_last("hi")
            assert line.end() == Closed(1000)
    (head,) = tunnels.heads
    assert head.startswith(f"CONNECT far.example:{443 if tls else 80} HTTP/1.1\r\n")
    assert base64.b64encode(b"user:p@ss").decode() in head


def test_tls_through_a_tunnel_is_checked_against_the_far_host(
    runtime: Runtime, authority: Authority
) -> None:
    near = authority.server("127.0.0.1")
    with serve(hello, near) as server, Listener(Tunnels(server.port)) as proxy:
        target = secretive(
            "wss://far.example/",
            proxy=f"http://127.0.0.1:{proxy.port}",
            ssl_context=authority.client(),
        )
        error = error_of(runtime, target)
    assert type(error) is TLSError
    assert "far.example:443" in error.message


@pytest.mark.parametrize(
    ("answer", "said", "retryable"),
    [
        (b"HTTP/1.1 407 Who\r\nContent-Length: 3\r\n\r\nwho", "answered HTTP 407", False),
        (b"HTTP/1.0 503 Later\r\n\r\n", "answered HTTP 503", True),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "gave no HTTP answer", True),
        (b"", "gave no HTTP answer", True),
    ],
)
def test_a_proxy_that_refuses(runtime: Runtime, answer: bytes, said: str, retryable: bool) -> None:
    with Listener(Tunnels(0, answer)) as proxy:
        url = f"http://me:{SECRET}@127.0.0.1:{proxy.port}"
        error = error_of(runtime, secretive("wss://far.example/", proxy=url))
    assert type(error) is ProxyError
    assert said in error.message
    assert error.retryable is retryable


def test_a_proxy_that_is_not_there(runtime: Runtime) -> None:
    with deaf_port() as port:
        url = f"http://me:{SECRET}@127.0.0.1:{port}"
        error = error_of(runtime, secretive("wss://far.example/", proxy=url))
    assert type(error) is ProxyError
    assert f"127.0.0.1:{port} refused" in error.message


@pytest.mark.parametrize(
    "url",
    [
        f"socks5://me:{SECRET}@127.0.0.1:1080",
        f"https://me:{SECRET}@127.0.0.1:3128",
        f"http://me@127.0.0.1:{SECRET}",
        f"http://[{SECRET}",
    ],
)
def test_a_proxy_of_a_kind_that_is_not_supported(runtime: Runtime, url: str) -> None:
    assert type(error_of(runtime, secretive("wss://far.example/", proxy=url))) is ProxyError


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("HTTPS_PROXY", "wss://far.example/"),
        ("https_proxy", "ws://far.example/"),
        ("http_proxy", "ws://far.example/"),
        ("all_proxy", "wss://far.example/"),
    ],
)
def test_the_environment_names_a_proxy(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    tunnels = Tunnels(0, b"HTTP/1.1 403 No\r\n\r\n")
    with Listener(tunnels) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert type(error_of(runtime, Target(url=url))) is ProxyError
        assert len(tunnels.heads) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("explicit", [False, True])
def test_loopback_is_never_dialled_through_a_proxy(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, host: str, explicit: bool
) -> None:
    with deaf_port() as port, serve(lambda peer: peer.send(closing(1000))) as server:
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("all_proxy", url)
        line = runtime.connect(server.url(host=host), proxy=url if explicit else "env")
        assert line.end() == Closed(1000)


def test_no_proxy_is_honoured(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    with deaf_port() as port:
        monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "other.example,.invalid")
        assert type(error_of(runtime, Target(url="ws://far.invalid/"))) is DNSError
        assert type(error_of(runtime, Target(url="ws://far.example/"))) is ProxyError
        target = Target(url="ws://far.invalid/", proxy=None)
        assert type(error_of(runtime, target)) is DNSError


# --- nothing is left ------------------------------------------------------------------------------


def test_a_hundred_dials_at_once(runtime: Runtime) -> None:
    gate = threading.Barrier(100, timeout=PATIENCE)

    def script(peer: Peer) -> None:
        peer.upgrade()
        gate.wait()
        peer.send(frame(TEXT, b"all here") + closing(1000))

    with Listener(script) as server:
        dials = [runtime.dialling(Target(url=server.url())) for _ in range(100)]
        lines = [dial.result().read() for dial in dials]
        for line in lines:
            assert line.end() == Closed(1000)
            assert line.sink.messages == [(b"all here", True)]
    gc.collect()


def test_the_default_context_checks_names() -> None:
    context = default_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("setting", [None, "env", f"http://me:{SECRET}@proxy"])
def test_a_target_does_not_show_its_secrets(setting: str | None) -> None:
    assert SECRET not in repr(secretive("wss://far.example/", proxy=setting))


def test_nothing_is_logged_at_any_level(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    """Left to itself, websockets logs the headers of the upgrade at DEBUG."""
    caplog.set_level(logging.DEBUG)
    with serve(hello) as server:
        line = runtime.dial(secretive(server.url())).read()
        line.messages(1)
        line.send_last("hi")
        line.end()
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("websocket")]
