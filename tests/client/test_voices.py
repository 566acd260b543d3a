"""`client.voices()`, on both faces and all runtimes, against the simulators and unruly servers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import ttsmux
from tests.transports.peers import Authority, Listener, Peer, idle
from ttsmux.simulate.simulator import create_provider
from ttsmux.testing import World, simulator
from ttsmux.testing import play as play_with
from ttsmux.testing.stage import RUNTIMES, AnyClient, face
from ttsmux.testing.world import KEY

KINDS = {"xai": ttsmux.XAI, "elevenlabs": ttsmux.ElevenLabs, "kugelaudio": ttsmux.KugelAudio}
PATHS = {"xai": "/v1/tts/voices", "elevenlabs": "/v2/voices", "kugelaudio": "/v1/voices"}
PAGED = ("elevenlabs", "kugelaudio")

every = pytest.mark.parametrize("runtime", RUNTIMES)
each = pytest.mark.parametrize("provider", KINDS)


def adapter(provider: str) -> ttsmux.Adapter:
    return KINDS[provider](voice=create_provider(provider, {}).default_voice)


def play(
    runtime: str,
    provider: str,
    script: Callable[[World], Coroutine[Any, Any, None]],
    *,
    rest: bool = False,
    api_key: Any = KEY,
    **simulated: Any,
) -> None:
    kind = adapter(provider)
    found = kind.rest() if rest else kind
    assert found is not None
    play_with(runtime, found, simulator(provider, **simulated), script, api_key=api_key)


def ask(runtime: str, url: str, **settings: Any) -> Callable[..., ttsmux.Error]:
    """Return what asks a server at *url* for voices that it will not give, and what is raised."""
    stage = face(runtime)

    async def main(meanwhile: Callable[[AnyClient], None] | None, **options: Any) -> ttsmux.Error:
        client = stage.client("xai", base_url=url, api_key=KEY, **settings)
        try:
            if meanwhile is not None:
                meanwhile(client)
            with pytest.raises(ttsmux.Error) as caught:
                await stage.voices(client, options)
            return caught.value
        finally:
            await stage.close(client)

    def asked(meanwhile: Callable[[AnyClient], None] | None = None, **options: Any) -> ttsmux.Error:
        return stage.run(main(meanwhile, **options))

    return asked


@every
@each
@pytest.mark.parametrize("rest", [False, True])
def test_the_provider_lists_them(runtime: str, provider: str, rest: bool) -> None:
    """Whatever the speeches go over: each time anew, over one connection."""

    async def script(w: World) -> None:
        for _ in range(2):
            found = await w.voices()
            assert all(isinstance(one, ttsmux.Voice) for one in found)
            assert create_provider(provider, {}).default_voice in [one.id for one in found]
        asked = w.records("request")
        assert [(one["method"], one["path"]) for one in asked] == [("GET", PATHS[provider])] * 2
        assert w.sim.dials == 1
        w.no_complaints()

    play(runtime, provider, script, rest=rest, key=KEY)


@every
@pytest.mark.parametrize("provider", PAGED)
def test_there_may_be_many(runtime: str, provider: str) -> None:
    """All pages are asked for, and come in order."""
    many = tuple(str(n) for n in range(1000, 1000 + 250))

    async def script(w: World) -> None:
        assert tuple(one.id for one in await w.voices()) == many
        assert len(w.records("request")) == 3

    play(runtime, provider, script, voices=many)


@every
@each
def test_a_bad_key(runtime: str, provider: str) -> None:
    """Refused, by the provider's own words; nothing is tried again."""

    async def script(w: World) -> None:
        with pytest.raises(ttsmux.AuthError, match="key") as caught:
            await w.voices()
        assert caught.value.provider == provider
        assert len(w.records("request")) == 1

    play(runtime, provider, script, key="another-key-altogether")


@every
@each
def test_a_key_that_is_old_is_fetched_anew(runtime: str, provider: str) -> None:
    keys = ["an-old-one", KEY]

    async def script(w: World) -> None:
        assert await w.voices()
        assert len(w.records("request")) == 2
        assert not keys

    play(runtime, provider, script, api_key=lambda: keys.pop(0), key=KEY)


@every
def test_a_key_that_is_refused_is_fetched_anew_once(runtime: str) -> None:
    asked = []

    def vault() -> str:
        asked.append(1)
        return "wrong"

    async def script(w: World) -> None:
        with pytest.raises(ttsmux.AuthError):
            await w.voices()
        assert len(w.records("request")) == len(asked) == 2

    play(runtime, "xai", script, api_key=vault, key=KEY)


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != "threads"])
def test_an_async_key(runtime: str) -> None:
    async def vault() -> str:
        return KEY

    async def script(w: World) -> None:
        assert await w.voices()

    play(runtime, "xai", script, api_key=vault, key=KEY)


@every
def test_a_key_that_cannot_be_fetched(runtime: str) -> None:
    def vault() -> str:
        raise LookupError

    async def script(w: World) -> None:
        with pytest.raises(ttsmux.AuthError, match="api_key raised LookupError"):
            await w.voices()
        assert not w.sim.dials

    play(runtime, "xai", script, api_key=vault)


@every
def test_of_several_providers_the_first_is_asked(runtime: str) -> None:
    """And one without a list says so, although the next one has one."""
    stage = face(runtime)

    async def main() -> None:
        keys = {"gradium": KEY, "xai": KEY}
        client = stage.client([ttsmux.Gradium(voice="v"), ttsmux.XAI()], api_key=keys)
        try:
            with pytest.raises(ttsmux.ConfigError, match=r"gradium: .*no list of its voices"):
                await stage.voices(client, {})
        finally:
            await stage.close(client)

    stage.run(main())


@every
def test_while_others_speak(runtime: str) -> None:
    """It takes no seat, and disturbs nobody."""

    async def script(w: World) -> None:
        take = await w.speak("Good morning to you").read(1)
        assert await w.voices()
        (await take.rest()).said()

    play(runtime, "xai", script)


# --- servers that do not answer as they should ----------------------------------------------------


def answers(*parts: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.head()
        for part in parts:
            peer.send(part)

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"


@every
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answers(OK, b'{"voices":'), ttsmux.ConnectionLost),
        (answers(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), ttsmux.HandshakeError),
        (answers(OK, b"<html>" + b" " * 34), ttsmux.RemoteProtocolError),
        (answers(b"SSH-2.0-hello\r\n\r\n"), ttsmux.HandshakeError),
        (answers(), ttsmux.ConnectError),
    ],
)
def test_an_answer_that_is_none(
    runtime: str, script: Callable[[Peer], None], kind: type[ttsmux.Error]
) -> None:
    """It is told as it would be of a speech, and costs one request."""
    with Listener(script) as server:
        error = ask(runtime, f"http://127.0.0.1:{server.port}")()
        assert server.connections == 1
    assert isinstance(error, kind), repr(error)
    assert (error.provider, error.phase) == ("xai", "dial")


@every
def test_a_server_that_never_answers(runtime: str) -> None:
    """The caller waits no longer than it said; what it began is called off."""
    with Listener(idle) as server:
        error = ask(runtime, f"http://127.0.0.1:{server.port}")(timeout=0.1)
        server.settle()
    assert isinstance(error, ttsmux.ConnectTimeout)
    assert str(error) == "xai: no answer within 0.1 s"


@every
def test_a_body_that_never_ends(runtime: str) -> None:
    def drip(peer: Peer) -> None:
        peer.head()
        peer.send(OK + b"{")
        peer.until_hung_up()

    with Listener(drip) as server:
        error = ask(runtime, f"http://127.0.0.1:{server.port}")(timeout=0.1)
        server.settle()
    assert isinstance(error, ttsmux.ConnectTimeout)


@every
def test_a_client_that_is_closed(runtime: str) -> None:
    def shut(client: AnyClient) -> None:
        client._engine.closed = True

    with Listener(idle) as server:
        error = ask(runtime, f"http://127.0.0.1:{server.port}")(shut)
        assert not server.connections
    assert isinstance(error, ttsmux.ClosedError)


@every
@pytest.mark.parametrize("timeout", [0, -1.0, "soon", float("nan")])
def test_a_timeout_that_is_none(runtime: str, timeout: Any) -> None:
    assert isinstance(ask(runtime, "http://127.0.0.1:1")(timeout=timeout), ttsmux.ConfigError)


@every
def test_over_tls(runtime: str) -> None:
    """With the certificates that the client was given, and not without."""
    authority = Authority()
    body = b'{"voices":[{"voice_id":"eve"},{"voice_id":"ara"}]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    stage = face(runtime)
    found: list[str] = []

    async def main(url: str) -> None:
        client = stage.client("xai", api_key=KEY, base_url=url, ssl_context=authority.client())
        try:
            found.extend(one.id for one in await stage.voices(client, {}))
        finally:
            await stage.close(client)

    with Listener(answers(head, body), authority.server()) as server:
        url = f"wss://127.0.0.1:{server.port}"
        stage.run(main(url))
        assert found == ["eve", "ara"]
        assert isinstance(ask(runtime, url)(), ttsmux.TLSError)
        assert server.connections == 2, "a certificate that is not accepted is not tried again"
