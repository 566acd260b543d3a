"""
The way to the provider, end to end: proxies, TLS, headers, on both faces, over sockets and HTTP.

The far host has no address: only the proxy knows where it is, so that what arrives came through it.
"""

from __future__ import annotations

import base64
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import trustme

import ttsmux
from tests.transports.conftest import PROXY_VARIABLES
from tests.transports.peers import Authority, Listener, Peer, deaf_port, idle, pump
from ttsmux.simulate import AsyncSimulator
from ttsmux.testing.sound import is_whole
from ttsmux.testing.stage import RUNTIMES, AnyClient, AnySpeech, Face, face
from ttsmux.testing.world import KEY, PATIENCE

FAR = "tts.example"
HERE = "0.0.0.0"
TEXT = "Good morning to you"
PASSWORD = "p@ss-w0rd-of-the-proxy"
TRIES = ttsmux.RetryPolicy(attempts=3, base=0.001)

every = pytest.mark.parametrize("runtime", RUNTIMES)
both = pytest.mark.parametrize("rest", [False, True], ids=["socket", "rest"])


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Tunnels:
    """
    A proxy that connects everybody to one port, and remembers who asked for what.

    It may want to know who asks. *break_after*: of its first tunnel, so many bytes come back and no
    more; it hangs up on both sides then, or once it is told to where it *waits* for that.
    """

    def __init__(
        self,
        port: int,
        *,
        authorization: str | None = None,
        break_after: int | None = None,
        waits: bool = False,
    ) -> None:
        self._port = port
        self._authorization = authorization
        self._break_after = break_after
        self.hang_up = threading.Event()
        if not waits:
            self.hang_up.set()
        self.heads: list[str] = []

    def __call__(self, peer: Peer) -> None:
        head = peer.head().decode()
        self.heads.append(head)
        if self._authorization is not None and self._authorization not in head:
            peer.send(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n")
            return
        peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self._port)) as upstream:
            peer.sock.settimeout(None)
            limit, self._break_after = self._break_after, None
            if limit is None:
                pump(peer.sock, upstream)
            else:
                self._cut(peer.sock, upstream, limit)

    def _cut(self, near: socket.socket, far: socket.socket, limit: int) -> None:
        def forth() -> None:
            try:
                while data := near.recv(65536):
                    far.sendall(data)
            except OSError:
                pass

        thread = threading.Thread(target=forth, name="forth")
        thread.start()
        while limit > 0 and (data := far.recv(min(limit, 4096))):
            near.sendall(data)
            limit -= len(data)
        self.hang_up.wait(PATIENCE)
        for sock in (near, far):
            sock.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def adapter(rest: bool) -> ttsmux.Adapter:
    return ttsmux.XAIRest() if rest else ttsmux.XAI()


@contextmanager
def client_in(runtime: str) -> Iterator[Callable[..., Any]]:
    """Give what runs a script with a client of these settings, and closes it."""
    stage = face(runtime)

    def run(script: Callable[[Face, AnyClient], Any], rest: bool, **settings: Any) -> Any:
        async def main() -> Any:
            client = stage.client(adapter(rest), **{"api_key": KEY, "retry": TRIES, **settings})
            try:
                return await script(stage, client)
            finally:
                await stage.close(client)

        return stage.run(main())

    yield run


async def _rest(stage: Face, speech: AnySpeech) -> bytes:
    data = b""
    while (chunk := await stage.next(speech)) is not None:
        data += chunk.data
    return data


async def spoken(stage: Face, client: AnyClient) -> bytes:
    """Speak, and return the audio, which is whole."""
    speech = stage.speak(client, TEXT, {})
    data = await _rest(stage, speech)
    assert is_whole(TEXT, data, speech.format)
    return data


async def failed(stage: Face, client: AnyClient) -> ttsmux.Error:
    """Speak, which fails; return why."""
    speech = stage.speak(client, TEXT, {})
    with pytest.raises(ttsmux.Error) as caught:
        await _rest(stage, speech)
    return caught.value


async def unlisted(stage: Face, client: AnyClient, timeout: float = PATIENCE) -> ttsmux.Error:
    """Ask for voices, which fails."""
    with pytest.raises(ttsmux.Error) as caught:
        await stage.voices(client, {"timeout": timeout})
    return caught.value


# --- proxies --------------------------------------------------------------------------------------


@every
@both
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("login", [False, True])
def test_through_a_proxy(
    runtime: str, rest: bool, tls: bool, login: bool, authority: Authority
) -> None:
    """Speeches, and the list of voices; the proxy sees a host and a port and no key."""
    context = authority.server(FAR) if tls else None
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    with AsyncSimulator("xai", ssl_context=context, key=KEY) as sim:
        tunnels = Tunnels(sim.port, authorization=f"Proxy-Authorization: Basic {basic}" * login)
        user = "me:p%40ss-w0rd-of-the-proxy@" if login else ""
        with Listener(tunnels) as proxy, client_in(runtime) as run:

            async def script(stage: Face, client: AnyClient) -> None:
                await spoken(stage, client)
                assert await stage.voices(client, {})

            run(
                script,
                rest,
                base_url=f"{'wss' if tls else 'ws'}://{FAR}:{sim.port}",
                allow_plaintext=True,
                proxy=f"http://{user}127.0.0.1:{proxy.port}",
                ssl_context=authority.client() if tls else None,
            )
    assert tunnels.heads
    for head in tunnels.heads:
        assert head.startswith(f"CONNECT {FAR}:{sim.port} HTTP/1.1\r\n")
        assert KEY not in head
        assert ("Proxy-Authorization" in head) is login


@every
@both
def test_a_proxy_that_wants_to_know_who_asks(runtime: str, rest: bool) -> None:
    """The password is wrong; nothing is tried again, and the error does not repeat it."""
    tunnels = Tunnels(0, authorization="Basic of somebody else")
    with Listener(tunnels) as proxy, client_in(runtime) as run:
        error = run(
            failed,
            rest,
            base_url=f"wss://{FAR}",
            proxy=f"http://me:{PASSWORD.replace('@', '%40')}@127.0.0.1:{proxy.port}",
            pool=ttsmux.PoolLimits(min_idle=0),
        )
    assert type(error) is ttsmux.ProxyError
    assert "answered HTTP 407" in str(error) and not error.retryable
    assert PASSWORD not in repr(vars(error)) + str(error)
    assert len(tunnels.heads) == 1


@every
@both
def test_a_proxy_that_never_answers(runtime: str, rest: bool) -> None:
    """It has the time of the dial and no more."""
    with Listener(idle) as proxy, client_in(runtime) as run:
        error = run(
            failed,
            rest,
            base_url=f"wss://{FAR}",
            proxy=f"http://127.0.0.1:{proxy.port}",
            timeouts=ttsmux.Timeouts(dial=0.2, first_audio=PATIENCE),
            retry=ttsmux.RetryPolicy(attempts=1),
            fallback=None,
        )
        assert isinstance(error, ttsmux.ConnectTimeout), repr(error)
        # As it was said, and not what of it was left when the wire began.
        assert "within 0.2 s" in str(error)
        error = run(
            lambda stage, client: unlisted(stage, client, timeout=0.2),
            rest,
            base_url=f"wss://{FAR}",
            proxy=f"http://127.0.0.1:{proxy.port}",
        )
        assert isinstance(error, ttsmux.ConnectTimeout), repr(error)
        assert "within 0.2 s" in str(error)
        proxy.settle()


@every
@both
def test_a_slow_proxy_is_borne_with(runtime: str, rest: bool, authority: Authority) -> None:
    """Its answer drips, and so does what comes through it."""
    with AsyncSimulator("xai", ssl_context=authority.server(FAR)) as sim:

        def drip(peer: Peer) -> None:
            peer.head()
            peer.drip(b"HTTP/1.1 200 Connected\r\nX-Slow: yes\r\n\r\n")
            with socket.create_connection(("127.0.0.1", sim.port)) as upstream:
                peer.sock.settimeout(None)
                pump(peer.sock, upstream)

        with Listener(drip) as proxy, client_in(runtime) as run:
            run(
                spoken,
                rest,
                base_url=f"wss://{FAR}:{sim.port}",
                proxy=f"http://127.0.0.1:{proxy.port}",
                ssl_context=authority.client(),
                timeouts=ttsmux.Timeouts(dial=PATIENCE, first_audio=PATIENCE),
            )


@every
@both
def test_a_proxy_that_hangs_up_before_the_audio(
    runtime: str, rest: bool, authority: Authority
) -> None:
    """In the middle of a handshake: the next tunnel brings all of it, and the caller sees none."""
    with AsyncSimulator("xai", ssl_context=authority.server(FAR)) as sim:
        tunnels = Tunnels(sim.port, break_after=200)
        with Listener(tunnels) as proxy, client_in(runtime) as run:
            run(
                spoken,
                rest,
                base_url=f"wss://{FAR}:{sim.port}",
                proxy=f"http://127.0.0.1:{proxy.port}",
                ssl_context=authority.client(),
                pool=ttsmux.PoolLimits(min_idle=0),
            )
    assert len(tunnels.heads) == 2


@every
@both
def test_a_proxy_that_hangs_up_in_the_audio(runtime: str, rest: bool) -> None:
    """After what came it fails, and says how much that was."""
    with AsyncSimulator("xai", rtf=1.0) as sim:
        tunnels = Tunnels(sim.port, break_after=12_000, waits=True)

        async def script(stage: Face, client: AnyClient) -> None:
            speech = stage.speak(client, " ".join(f"w{n:02}" for n in range(60)), {})
            assert await stage.next(speech) is not None
            tunnels.hang_up.set()  # not before: what nobody has heard is said again
            with pytest.raises(ttsmux.ConnectionLost) as caught:
                await _rest(stage, speech)
            assert caught.value.delivered.bytes > 0

        with Listener(tunnels) as proxy, client_in(runtime) as run:
            run(
                script,
                rest,
                base_url=f"ws://{FAR}:{sim.port}",
                allow_plaintext=True,
                proxy=f"http://127.0.0.1:{proxy.port}",
                pool=ttsmux.PoolLimits(min_idle=0),
            )


@every
@both
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment(
    runtime: str, rest: bool, variable: str, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    """It is taken unless the client says otherwise, and not for what NO_PROXY names."""
    with AsyncSimulator("xai", ssl_context=authority.server(HERE)) as sim:
        tunnels = Tunnels(sim.port)
        with Listener(tunnels) as proxy, client_in(runtime) as run:
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
            settings = {
                "base_url": f"wss://{HERE}:{sim.port}",
                "ssl_context": authority.client(),
                "pool": ttsmux.PoolLimits(min_idle=0),
            }
            run(spoken, rest, **settings)
            assert len(tunnels.heads) == 1
            run(spoken, rest, proxy=None, **settings)
            monkeypatch.setenv("no_proxy", f"other.example,{HERE}")
            run(spoken, rest, **settings)
            assert len(tunnels.heads) == 1


@every
@both
def test_loopback_needs_no_proxy(runtime: str, rest: bool) -> None:
    """Not even the one that the client names."""
    with deaf_port() as port, AsyncSimulator("xai") as sim, client_in(runtime) as run:
        run(spoken, rest, base_url=sim.url, proxy=f"http://127.0.0.1:{port}")


# --- TLS ------------------------------------------------------------------------------------------


def _expired(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    authority.ca.issue_cert("127.0.0.1", not_after=past).configure_cert(context)
    return context


def _stranger(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def _alone(authority: Authority) -> ssl.SSLContext:
    """Return one that has signed itself: the certificate of an authority, used as a server's."""
    itself = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with itself.private_key_pem.tempfile() as key, itself.cert_pem.tempfile() as cert:
        context.load_cert_chain(cert, key)
    return context


CERTIFICATES: Mapping[str, tuple[Callable[[Authority], ssl.SSLContext], str]] = {
    "of nobody": (_stranger, "unable to get local issuer"),
    "signed by itself": (_alone, "self-signed"),
    "of another host": (lambda authority: authority.server(FAR), "mismatch"),
    "expired": (_expired, "expired"),
}


@every
@both
@pytest.mark.parametrize("which", CERTIFICATES)
def test_a_certificate_that_is_not_accepted(
    runtime: str, rest: bool, which: str, authority: Authority
) -> None:
    """Fatal: one dial, whatever the retries, the spares and the time that a prewarm has."""
    make, words = CERTIFICATES[which]

    async def prewarmed(stage: Face, client: AnyClient) -> ttsmux.Error:
        with pytest.raises(ttsmux.Error) as caught:
            await stage.prewarm(client, 1, {"timeout": PATIENCE})
        return caught.value

    scripts = [failed, unlisted] if rest else [failed, unlisted, prewarmed]
    with client_in(runtime) as run:
        for script in scripts:
            with Listener(idle, make(authority)) as server:
                error = run(
                    script,
                    rest,
                    base_url=f"wss://127.0.0.1:{server.port}",
                    ssl_context=authority.client(),
                    pool=ttsmux.PoolLimits(min_idle=0),
                )
                dials = server.connections
            assert type(error) is ttsmux.TLSError, (script, error)
            assert words in str(error).lower(), str(error)
            assert not error.retryable and error.provider == "xai"
            assert dials == 1, script


@every
@both
def test_the_platforms_certificates_are_the_default(
    runtime: str, rest: bool, authority: Authority
) -> None:
    """One of an authority that only the test knows is not accepted."""
    with Listener(idle, authority.server()) as server, client_in(runtime) as run:
        error = run(failed, rest, base_url=f"wss://127.0.0.1:{server.port}")
    assert type(error) is ttsmux.TLSError


@every
@both
def test_a_client_may_have_a_certificate_of_its_own(
    runtime: str, rest: bool, authority: Authority
) -> None:
    """As `ssl_context=` says."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.ca.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.ca.configure_trust(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED
    ours = ssl.create_default_context()
    authority.ca.configure_trust(ours)
    authority.ca.issue_cert("client@example.org").configure_cert(ours)
    with AsyncSimulator("xai", ssl_context=theirs) as sim, client_in(runtime) as run:
        run(spoken, rest, base_url=sim.url, ssl_context=ours)


# --- headers --------------------------------------------------------------------------------------


@every
@both
def test_headers_of_ones_own(runtime: str, rest: bool) -> None:
    """With each dial and each question; never in the place of the provider's."""
    heads: list[str] = []

    def refuse(peer: Peer) -> None:
        heads.append(peer.head().decode())
        peer.send(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async def both_of_them(stage: Face, client: AnyClient) -> None:
        await failed(stage, client)
        await unlisted(stage, client)

    with Listener(refuse) as server, client_in(runtime) as run:
        run(
            both_of_them,
            rest,
            base_url=f"ws://127.0.0.1:{server.port}",
            headers={"X-Tenant": "me", "authorization": "Bearer of-another", "User-Agent": "mine"},
            pool=ttsmux.PoolLimits(min_idle=0),
        )
    assert len(heads) >= 4
    for head in heads:
        assert "X-Tenant: me\r\n" in head and "User-Agent: mine\r\n" in head
        assert f"Authorization: Bearer {KEY}\r\n" in head
        assert "of-another" not in head
