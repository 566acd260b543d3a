"""What `configure` refuses, and with which sentence."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import io
import math
import traceback
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import pytest

import ttsmux
from ttsmux import XAI, AsyncClient, Client, Gradium, Interrupt, KeyLimits, Secret, WrongType
from ttsmux.adapter import Handshake
from ttsmux.client.options import (
    adapter_names,
    check_text,
    checked,
    checked_key,
    configure,
    find_adapter,
)

LOCAL = "ws://127.0.0.1:9"
BOTH = [Gradium(voice="v"), XAI()]
LOCALS = {"gradium": "a-key", "xai": "another"}
CANARY = "canary-7f3a"


class Mute(XAI):
    """Has no HTTP surface."""

    def rest(self) -> Any:
        return None


class Other(XAI):
    """Speaks another format there."""

    def rest(self) -> Any:
        return attrs.evolve(super().rest(), format="pcm_8000")


class Clumsy(XAI):
    """Minds that its options cannot be had there, in its own words."""

    def rest(self) -> Any:
        raise ValueError("not over HTTP")


NOTHING: dict[str, Any] = {
    "api_key": None,
    "base_url": None,
    "headers": None,
    "allow_plaintext": False,
    "timeouts": None,
    "pool": None,
    "retry": None,
    "interrupt": None,
    "fallback": None,
    "limits": None,
    "proxy": "env",
    "ssl_context": None,
    "fast_path": True,
}


pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIUM_API_KEY", "SM_API_KEY", "XAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def made(provider: Any = "xai", options: Mapping[str, object] | None = None, **rest: Any) -> Any:
    return configure(provider, options or {}, **{**NOTHING, "api_key": "a-key", **rest})


REFUSED: list[tuple[str, Any, dict[str, Any], type[ttsmux.Error], str]] = [
    ("provider", "acme", {}, ttsmux.ConfigError, "no provider is called 'acme'; there are: "),
    ("option", "xai", {"options": {"pitch": 1}}, ttsmux.ConfigError, "no option is called 'pitch'"),
    *(
        ("own", "xai", {"options": {name: 1}}, ttsmux.ConfigError, told)
        for name, told in (
            ("timeout", "'timeout'; did you mean timeouts=? there are: format, "),
            ("limit", "'limit'; did you mean limits=? "),
            ("proxies", "'proxies'; did you mean proxy=? "),
            ("key", "'key'; did you mean api_key=? "),
            ("telemetri", "'telemetri'; did you mean telemetry=? "),
            ("on_partial", "did you mean retry=RetryPolicy(on_partial=…)? "),
            ("max_size", "did you mean pool=PoolLimits(max_size=…)? "),
            ("generations", "did you mean limits=KeyLimits(generations=…)? "),
            ("total", "did you mean timeouts=Timeouts(total=…)? "),
            ("zzz", "; besides them: allow_plaintext, api_key, base_url, "),
        )
    ),
    ("own", XAI(), {"options": {"timeout": 3}}, ttsmux.ConfigError, "did you mean timeouts=?"),
    ("value", "gradium", {"options": {"voice": "v", "seats": 0}}, ttsmux.ConfigError, "seats must"),
    ("beside", XAI(), {"options": {"voice": "a"}}, ttsmux.ConfigError, "give voice= to the"),
    ("nobody", [], {}, ttsmux.ConfigError, "a client needs at least one adapter"),
    ("policy", "xai", {"interrupt": "stop"}, ttsmux.ConfigError, "takes one of mute, cancel, disc"),
    ("cannot", "xai", {"interrupt": "mute"}, ttsmux.ConfigError, "possible: cancel, discard"),
    ("cancel", "gradium", {"interrupt": Interrupt.CANCEL}, ttsmux.ConfigError, "possible: mute, d"),
    ("no key", "xai", {"api_key": None}, ttsmux.AuthError, "pass api_key= or set XAI_API_KEY"),
    ("empty", "xai", {"api_key": ""}, ttsmux.AuthError, "pass api_key= or set XAI_API_KEY"),
    ("newline", "xai", {"api_key": "k\n"}, ttsmux.AuthError, "characters that no key has"),
    ("blank", "xai", {"api_key": " k"}, ttsmux.AuthError, "characters that no key has"),
    ("accent", "xai", {"api_key": "clé"}, ttsmux.AuthError, "characters that no key has"),
    ("secret", "xai", {"api_key": Secret("k\r\nX: 1")}, ttsmux.AuthError, "characters that no key"),
    ("nothing", "xai", {"api_key": Secret("")}, ttsmux.AuthError, "or set XAI_API_KEY"),
    ("mapped", "xai", {"api_key": {"xai": Secret("k\n")}}, ttsmux.AuthError, "characters that no"),
    ("other", "xai", {"api_key": {"gradium": "k"}}, ttsmux.AuthError, "set XAI_API_KEY"),
    ("typo", "xai", {"api_key": {"xAI": "k"}}, ttsmux.ConfigError, "api_key names a provider that"),
    ("typos", BOTH, {"api_key": {"xai": "k", "gradum": "k"}}, ttsmux.ConfigError, "gradium, xai"),
    ("base", "xai", {"base_url": "ftp://x"}, ttsmux.ConfigError, "base_url must look like wss://"),
    ("bare", "xai", {"base_url": "x.example"}, ttsmux.ConfigError, "base_url must look like wss://"),
    ("path", "xai", {"base_url": "wss://x.example/v2"}, ttsmux.ConfigError, "path and query are"),
    ("socks", "xai", {"proxy": "socks5://x:1"}, ttsmux.ConfigError, "socks5:// is not supported"),
    ("socks5h", "xai", {"proxy": "socks5h://x:1"}, ttsmux.ConfigError, "socks5h:// is not supp"),
    ("tls", "xai", {"proxy": "https://x:1"}, ttsmux.ConfigError, "https:// is not supported"),
    ("no proxy", "xai", {"proxy": ""}, ttsmux.ConfigError, "cannot be understood; it looks like"),
    ("port", "xai", {"proxy": "x:port"}, ttsmux.ConfigError, "cannot be understood; it looks like"),
    ("path", "xai", {"proxy": "http://x:1/proxy.pac"}, ttsmux.ConfigError, "ends after its host"),
    ("query", "xai", {"proxy": "x:1?tenant=me"}, ttsmux.ConfigError, "ends after its host or port"),
    ("fragment", "xai", {"proxy": "http://x#1"}, ttsmux.ConfigError, "ends after its host or port"),
    ("gap", "xai", {"proxy": "http://x y:1"}, ttsmux.ConfigError, "cannot be understood; it looks"),
    ("whose", "xai", {"base_url": {"acme": LOCAL}}, ttsmux.ConfigError, "base_url names a"),
    ("one", BOTH, {"api_key": {}, "base_url": LOCAL}, ttsmux.ConfigError, "base_url= takes a"),
    ("his", BOTH, {"api_key": LOCALS, "headers": {"A": "b"}}, ttsmux.ConfigError, "headers= takes"),
    ("theirs", "xai", {"headers": {"acme": {}}}, ttsmux.ConfigError, "headers names a"),
    ("fallback", "xai", {"fallback": "http"}, ttsmux.ConfigError, 'takes "rest" or None'),
    ("header", "xai", {"headers": {"X A": "b"}}, ttsmux.ConfigError, "a name in headers= has"),
    ("colon", "xai", {"headers": {"X-A: b": ""}}, ttsmux.ConfigError, "a name in headers= has"),
    ("break", "xai", {"headers": {"X-A": "b\r\nC: d"}}, ttsmux.ConfigError, "the header X-A has a"),
    ("space", "xai", {"headers": {"X-A": " b"}}, ttsmux.ConfigError, "the header X-A has a"),
    ("euro", "xai", {"headers": {"X-A": "€"}}, ttsmux.ConfigError, "the header X-A has a"),
    ("voice", "gradium", {}, ttsmux.InvalidVoice, "a voice is required: pass voice="),
    ("bad", "xai", {"options": {"voice": "a b"}}, ttsmux.InvalidVoice, "cannot be a voice id"),
    ("format", "xai", {"options": {"format": "mp3"}}, ttsmux.InvalidFormat, "unknown audio format"),
    (
        "formats",
        [XAI(format="pcm_8000"), Gradium(voice="v")],
        {},
        ttsmux.ConfigError,
        "must speak one audio format, not pcm_24000, pcm_8000: pass format= to each",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "arguments", "kind", "words"),
    [r[1:] for r in REFUSED],
    ids=[r[0] for r in REFUSED],
)
def test_what_does_not_fit_is_refused(
    provider: Any, arguments: dict[str, Any], kind: type[ttsmux.Error], words: str
) -> None:
    """A sentence with the facts in it, before anything is dialled."""
    with pytest.raises(ttsmux.Error) as caught:
        made(provider, **arguments)
    assert type(caught.value) is kind, repr(caught.value)
    assert words in str(caught.value)
    assert caught.value.phase == "config"
    assert not caught.value.retryable
    name = str(caught.value.provider)
    assert caught.value.provider is None or name not in caught.value.message.split(":")[0]


async def tokens() -> AsyncIterator[str]:
    yield "hello"


URL_TAKES = "a URL such as wss://host, or a mapping of providers' names to theirs"
KEY_TAKES = "a str, a Secret, a callable that returns the key, or a mapping of these"
PROVIDER_TAKES = "a provider's name, an adapter, or a list of adapters"
LIMITS_TAKES = "a KeyLimits, or a mapping of names to these"
POLICIES = "one of mute, cancel, discard"
PROXY_TAKES = 'the URL of an HTTP proxy, "env" or None'
TELEMETRY_TAKES = "a Telemetry, True, False or None"

# (what the client is given, what is said of it)
WRONG_TYPES: list[tuple[dict[str, Any], str]] = [
    ({"provider": 5}, f"provider takes {PROVIDER_TAKES}, not int"),
    ({"provider": None}, f"provider takes {PROVIDER_TAKES}, not None"),
    ({"provider": XAI}, f"provider takes {PROVIDER_TAKES}, not the class XAI"),
    ({"provider": {"xai": 1}}, f"provider takes {PROVIDER_TAKES}, not dict"),
    ({"provider": {"xai"}}, f"provider takes {PROVIDER_TAKES}, not set"),
    ({"provider": b"xai"}, "a list of providers takes adapters, such as XAI(…), not int"),
    ({"provider": [7]}, "a list of providers takes adapters, such as XAI(…), not int"),
    ({"provider": [XAI]}, "a list of providers takes adapters, such as XAI(…), not the class XAI"),
    ({"provider": [XAI(), "xai"]}, "a list of providers takes adapters, such as XAI(…), not str"),
    ({"api_key": CANARY.encode()}, f"api_key takes {KEY_TAKES}, not bytes"),
    ({"api_key": 5}, f"api_key takes {KEY_TAKES}, not int"),
    ({"api_key": [CANARY]}, f"api_key takes {KEY_TAKES}, not list"),
    ({"api_key": False}, f"api_key takes {KEY_TAKES}, not bool"),
    ({"api_key": {"xai": CANARY.encode()}}, f"api_key for xai takes {KEY_TAKES}, not bytes"),
    ({"api_key": {"xai": {"xai": CANARY}}}, f"api_key for xai takes {KEY_TAKES}, not dict"),
    ({"api_key": {XAI: CANARY}}, "the mapping api_key takes names of providers, not the class XAI"),
    ({"api_key": {b"xai": CANARY}}, "the mapping api_key takes names of providers, not bytes"),
    ({"base_url": 5}, f"base_url takes {URL_TAKES}, not int"),
    ({"base_url": LOCAL.encode()}, f"base_url takes {URL_TAKES}, not bytes"),
    ({"base_url": {"xai": 5}}, "base_url for xai takes a URL such as wss://host, not int"),
    ({"base_url": {5: LOCAL}}, "the mapping base_url takes names of providers, not int"),
    ({"headers": {"xai": {"X-A": 5}}}, "the header X-A takes a str, not int"),
    ({"headers": {"xai": {"X-A": "b"}, "gradium": "c"}}, "headers takes a mapping of names to"),
    ({"fallback": True}, 'fallback takes "rest" or None, not bool'),
    ({"headers": ["X-A: b"]}, "headers takes a mapping of names to values, not list"),
    ({"headers": [("X-A", "b")]}, "headers takes a mapping of names to values, not list"),
    ({"headers": "X-A: b"}, "headers takes a mapping of names to values, not str"),
    ({"headers": {b"X-A": "b"}}, "the name of a header takes a str, not bytes"),
    ({"headers": {"X-A": CANARY.encode()}}, "the header X-A takes a str, not bytes"),
    ({"headers": {"X-A": 5}}, "the header X-A takes a str, not int"),
    ({"headers": {"X-A": None}}, "the header X-A takes a str, not None"),
    ({"allow_plaintext": "no"}, "allow_plaintext takes True or False, not str"),
    ({"allow_plaintext": 1}, "allow_plaintext takes True or False, not int"),
    ({"allow_plaintext": None}, "allow_plaintext takes True or False, not None"),
    ({"fast_path": "no"}, "fast_path takes True or False, not str"),
    ({"timeouts": {}}, "timeouts takes a Timeouts, not dict"),
    ({"timeouts": 5.0}, "timeouts takes a Timeouts, not float"),
    ({"timeouts": 0}, "timeouts takes a Timeouts, not int"),
    ({"pool": 5}, "pool takes a PoolLimits, not int"),
    ({"pool": ttsmux.Timeouts()}, "pool takes a PoolLimits, not Timeouts"),
    ({"pool": ttsmux.PoolLimits}, "pool takes a PoolLimits, not the class PoolLimits"),
    ({"retry": 3}, "retry takes a RetryPolicy, not int"),
    ({"retry": False}, "retry takes a RetryPolicy, not bool"),
    ({"interrupt": 5}, f"interrupt takes {POLICIES}, not int"),
    ({"interrupt": True}, f"interrupt takes {POLICIES}, not bool"),
    ({"interrupt": Interrupt}, f"interrupt takes {POLICIES}, not the class Interrupt"),
    ({"limits": 5}, f"limits takes {LIMITS_TAKES}, not int"),
    ({"limits": KeyLimits}, f"limits takes {LIMITS_TAKES}, not the class KeyLimits"),
    ({"limits": {"xai": 5}}, "limits for xai takes a KeyLimits, not int"),
    ({"limits": {5: KeyLimits()}}, "the mapping limits takes names of providers, not int"),
    ({"proxy": 5}, f"proxy takes {PROXY_TAKES}, not int"),
    ({"proxy": False}, f"proxy takes {PROXY_TAKES}, not bool"),
    ({"proxy": {"https": "http://x"}}, f"proxy takes {PROXY_TAKES}, not dict"),
    ({"ssl_context": True}, "ssl_context takes an ssl.SSLContext, not bool"),
    ({"ssl_context": "ca.pem"}, "ssl_context takes an ssl.SSLContext, not str"),
    ({"telemetry": "yes"}, f"telemetry takes {TELEMETRY_TAKES}, not str"),
    ({"telemetry": 1}, f"telemetry takes {TELEMETRY_TAKES}, not int"),
    ({"telemetry": ttsmux.Telemetry}, f"telemetry takes {TELEMETRY_TAKES}, not the class Telem"),
    ({"voice": 5}, "xai: voice takes a str, not int"),
    ({"voice": b"eve"}, "xai: voice takes a str, not bytes"),
    ({"format": ["pcm_8000"]}, "xai: format takes a str, not list"),
    ({"speed": "1.0"}, "xai: speed takes a number, not str"),
    ({"speed": True}, "xai: speed takes a number, not bool"),
    ({"optimize_streaming_latency": 1.5}, "xai: optimize_streaming_latency takes a whole number, "),
    ({"with_timestamps": 1}, "xai: with_timestamps takes True or False, not int"),
    ({"with_timestamps": None}, "xai: with_timestamps takes True or False, not None"),
    ({"provider": "gradium", "seats": 2.5}, "gradium: seats takes a whole number, not float"),
    ({"provider": "gradium", "seats": True}, "gradium: seats takes a whole number, not bool"),
    ({"provider": "gradium", "seats": None}, "gradium: seats takes a whole number, not None"),
]


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(("arguments", "words"), WRONG_TYPES, ids=[w for _, w in WRONG_TYPES])
def test_what_is_of_the_wrong_type_is_told_so(
    make: Any, arguments: dict[str, Any], words: str
) -> None:
    """By the name of the argument, and what it takes; never by the value, which may be a key."""
    given = {"provider": "xai", "api_key": "a-key", **arguments}
    with pytest.raises(ttsmux.Error) as caught:
        make(given.pop("provider"), **given)
    assert type(caught.value) is WrongType
    assert isinstance(caught.value, TypeError)
    assert str(caught.value).startswith(words)
    assert caught.value.phase == "config"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_every_argument_of_a_client_has_its_types_checked() -> None:
    """The table above leaves out none, and neither does `configure`."""
    told = {words.split()[0] for _, words in WRONG_TYPES}
    for client in (Client, AsyncClient):
        names = set(inspect.signature(client).parameters) - {"options"}
        assert names <= told
    assert set(inspect.signature(configure).parameters) - {"options"} <= told


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_an_option_is_a_number_that_there_is(number: float) -> None:
    """JSON has no other."""
    for provider, option in (("gradium", "temp"), ("xai", "speed")):
        with pytest.raises(ttsmux.ConfigError, match=f"{option} must be a finite number, not "):
            made(provider, {option: number})


# --- what a call takes ----------------------------------------------------------------------------

NO_TEXT: list[tuple[Any, str]] = [
    (5, "int"),
    (1.5, "float"),
    (True, "bool"),
    (b"hello", "bytes"),
    (bytearray(b"hello"), "bytearray"),
    (memoryview(b"hello"), "memoryview"),
    ({"hello": 1}, "dict"),
    ({"hello"}, "set"),
    (frozenset({"hello"}), "frozenset"),
    ({"hello": 1}.keys(), "dict_keys"),
    (object(), "object"),
    (Path("hello.txt"), type(Path()).__name__),
    (str, "the class str"),
]


@pytest.mark.parametrize(("text", "name"), NO_TEXT, ids=[name for _, name in NO_TEXT])
async def test_speak_takes_text(text: Any, name: str) -> None:
    """Not what Python would iterate over into something else."""
    said = f"^text takes a str or an iterable of str, not {name}$"
    with Client("xai", base_url=LOCAL) as client, pytest.raises(WrongType, match=said) as caught:
        client.speak(text)
    assert caught.value.phase == "config"
    async with AsyncClient("xai", base_url=LOCAL) as aclient:
        with pytest.raises(WrongType, match=said):
            aclient.speak(text)


def test_text_that_comes_with_awaits_is_for_the_async_client() -> None:
    said = "an iterable of str, not async_generator"
    with Client("xai", base_url=LOCAL) as client, pytest.raises(WrongType, match=said):
        client.speak(tokens())  # type: ignore[arg-type]
    check_text(tokens(), Iterable, AsyncIterable)


@pytest.mark.parametrize(
    "text", [None, "", "hello", ["hello"], ("a", "b"), iter("ab"), io.StringIO()]
)
def test_text_is_a_str_or_gives_some(text: Any) -> None:
    check_text(text, Iterable)


def test_the_pieces_of_a_list_are_looked_at_before_it_is_spoken() -> None:
    with Client("xai", base_url=LOCAL) as client:
        with pytest.raises(WrongType, match=r"^text takes str, not int$"):
            client.speak(["one", 2])  # type: ignore[list-item]
        assert client.pool_stats().dials == 0


CALLS: list[tuple[dict[str, Any], type[ttsmux.Error], str]] = [
    ({"n": "2"}, WrongType, "n takes a whole number, not str"),
    ({"n": 1.5}, WrongType, "n takes a whole number, not float"),
    ({"n": True}, WrongType, "n takes a whole number, not bool"),
    ({"n": None}, WrongType, "n takes a whole number, not None"),
    ({"n": -3}, ttsmux.ConfigError, "n must be 0 or more, not -3"),
    ({"timeout": "1"}, WrongType, "timeout takes a number of seconds, not str"),
    ({"timeout": True}, WrongType, "timeout takes a number of seconds, not bool"),
    ({"timeout": 0}, ttsmux.ConfigError, "timeout must be more than 0 seconds, not 0"),
    ({"timeout": math.nan}, ttsmux.ConfigError, "timeout must be more than 0 seconds, not nan"),
    ({"voice": 5}, WrongType, "xai: voice takes a str, not int"),
    ({"pitch": 5}, ttsmux.ConfigError, "xai: no option is called 'pitch'; there are: "),
    ({"time": 5}, ttsmux.ConfigError, "xai: no option is called 'time'; did you mean timeout=? "),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), CALLS, ids=[c[2] for c in CALLS])
async def test_what_a_prewarm_does_not_take(
    arguments: dict[str, Any], kind: type[ttsmux.Error], words: str
) -> None:
    with Client("xai", base_url=LOCAL) as client, pytest.raises(ttsmux.Error) as caught:
        client.prewarm(**arguments)
    assert type(caught.value) is kind and str(caught.value).startswith(words)
    async with AsyncClient("xai", base_url=LOCAL) as aclient:
        with pytest.raises(ttsmux.Error) as caught:
            await aclient.prewarm(**arguments)
    assert type(caught.value) is kind and str(caught.value).startswith(words)


async def test_what_a_speech_does_not_take() -> None:
    """It goes on; nothing is torn."""
    with Client("xai", base_url=LOCAL) as client, client.speak() as speech:
        refuses_what_is_wrong(client, speech)
    async with AsyncClient("xai", base_url=LOCAL) as aclient:
        with aclient_speech(aclient) as aspeech:
            refuses_what_is_wrong(aclient, aspeech)


@contextlib.contextmanager
def aclient_speech(client: AsyncClient) -> Iterator[ttsmux.AsyncSpeech]:
    speech = client.speak()
    yield speech
    speech.interrupt()


def refuses_what_is_wrong(client: Any, speech: Any) -> None:
    for piece in (5, b"hello", None, ["hello"]):
        with pytest.raises(WrongType, match=r"^text takes str, not "):
            speech.write(piece)
    for seconds in ("1", None, True):
        with pytest.raises(WrongType, match=r"^seconds takes a number of seconds, not "):
            speech.played(seconds)
    for seconds in (-1, math.nan):
        with pytest.raises(ttsmux.ConfigError, match=r"^seconds must be 0 seconds or more, not "):
            speech.played(seconds)
    speech.played(0)
    with pytest.raises(WrongType, match=r"^xai: voice takes a str, not int$"):
        client.speak("hello", voice=5)
    with pytest.raises(ttsmux.ConfigError, match=r"^xai: no option is called 'pitch'"):
        client.speak("hello", pitch=5)
    with pytest.raises(
        ttsmux.ConfigError, match=r"'timeout'; did you mean deadline=\? .*: deadline$"
    ):
        client.speak("hello", timeout=5)
    assert speech.outcome is None


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "proxy", [None, "env", "http://x.example:3128", "x:3128", "http://u:p@[::1]"]
)
def test_proxies_that_there_can_be(proxy: str | None) -> None:
    assert made(proxy=proxy).proxy == proxy


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_a_proxy_that_is_refused_keeps_its_password(scheme: str) -> None:
    with pytest.raises(ttsmux.ConfigError) as caught:
        made(
            proxy=f"{scheme}://me:{CANARY}@x.example:port"
            if scheme == "http"
            else f"socks5://{CANARY}@x"
        )
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("variable", ["all_proxy", "HTTPS_PROXY"])
def test_a_proxy_of_the_environment_is_refused_at_the_dial(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """It may be meant for other programs, so the client is made; the sentence says what to do."""
    monkeypatch.setenv(variable, f"socks5h://me:{CANARY}@127.0.0.1:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = Client("xai", api_key="a-key", base_url="wss://tts.invalid")
    with client, pytest.raises(ttsmux.ProxyError) as caught:
        client.speak("hello").read()
    assert str(caught.value) == (
        "xai: a proxy must be an http:// URL; socks5h:// is not supported "
        "(the environment names it; pass proxy= for another, or None to go direct)"
    )
    assert not caught.value.retryable


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [f"{CANARY}\r\nX-Evil: 1", f"{CANARY}\n", f" {CANARY}", f"{CANARY}é"]
)
def test_a_key_is_looked_at_wherever_it_comes_from(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an argument, a Secret, a mapping, the environment, or a callable; it is not repeated."""
    ways: list[Any] = [bad, Secret(bad), {"xai": bad}, {"xai": Secret(bad)}, None]
    monkeypatch.setenv("XAI_API_KEY", bad)
    found = []
    for way in ways:
        with pytest.raises(ttsmux.AuthError) as caught:
            made(api_key=way)
        found.append(caught.value)
    with pytest.raises(ttsmux.AuthError) as caught:
        checked_key(bad, phase="dial")
    assert caught.value.phase == "dial"
    for error in [*found, caught.value]:
        assert "the API key has characters that no key has" in str(error)
        assert CANARY not in "".join(traceback.format_exception(error))


NO_KEYS: list[tuple[Any, str]] = [
    (None, "as a str, not NoneType"),
    ("", "as a str, not an empty one"),
    (CANARY.encode(), "as a str, not bytes"),
    (Secret(CANARY), "as a str, not Secret"),
    ({"xai": CANARY}, "as a str, not dict"),
    (f"{CANARY}\n", "characters that no key has"),
]


@pytest.mark.parametrize(("key", "words"), NO_KEYS, ids=[w for _, w in NO_KEYS])
async def test_what_a_callable_gives_is_looked_at_too(key: Any, words: str) -> None:
    """At the dial, on both sides, also if it is awaited."""

    async def later() -> Any:
        return key

    errors = []
    with Client("xai", base_url=LOCAL, api_key=lambda: key) as client:
        with pytest.raises(ttsmux.AuthError) as caught:
            client.speak("hello").read()
        errors.append(caught.value)
    for way in (lambda: key, later):
        async with AsyncClient("xai", base_url=LOCAL, api_key=way) as aclient:
            with pytest.raises(ttsmux.AuthError) as caught:
                await aclient.speak("hello").read()
            errors.append(caught.value)
    for error in errors:
        assert words in str(error)
        assert (error.provider, error.phase) == ("xai", "dial")
        assert CANARY not in "".join(traceback.format_exception(error))


def test_an_async_key_is_for_the_async_client() -> None:
    """And is not left behind without having been awaited, which Python would warn of."""

    async def key() -> str:
        return CANARY

    client = Client("xai", base_url=LOCAL, api_key=key)  # type: ignore[arg-type]
    said = "which AsyncClient can await; Client cannot"
    with client, pytest.raises(ttsmux.AuthError, match=said):
        client.speak("hello").read()


def test_a_mapping_may_have_the_keys_of_others() -> None:
    """One mapping for all clients of a program."""
    keys = {"gradium": "one-key", "xai": "another"}
    assert [key.reveal() for key in made(api_key=keys).keys] == ["another"]
    assert [key.reveal() for key in made([XAI()], api_key=keys).keys] == ["another"]


def test_a_mapping_the_wrong_way_round_does_not_show_the_key() -> None:
    with pytest.raises(ttsmux.ConfigError) as caught:
        made(api_key={CANARY: "xai"})
    assert str(caught.value) == "api_key names a provider that there is not; this client has xai"


def test_a_configuration_shows_no_password() -> None:
    """Neither that of the endpoint nor that of the proxy."""
    found = made(
        api_key=CANARY,
        base_url=f"wss://me:{CANARY}@eu.example",
        proxy=f"http://me:{CANARY}@x.example",
        headers={"X-Key": CANARY},
    )
    assert "wss://eu.example" in repr(found)
    assert CANARY not in repr(found) + repr(found.routes) + repr(vars(Client))


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_both_clients_refuse_alike(make: Any) -> None:
    with pytest.raises(ttsmux.ConfigError, match="no provider is called"):
        make("acme")
    with pytest.raises(ttsmux.ConfigError, match="no option is called 'pitch'"):
        make("xai", api_key="k", pitch=1)
    with pytest.raises(ttsmux.AuthError):
        make("xai")


def test_a_refusal_never_repeats_the_key() -> None:
    with pytest.raises(ttsmux.AuthError) as caught:
        made(api_key="canary-7f3a\n")
    assert "canary" not in str(caught.value) + repr(caught.value)


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_API_KEY", "from-outside")
    assert made(api_key=None).keys[0].reveal() == "from-outside"
    assert made(api_key="given").keys[0].reveal() == "given"
    monkeypatch.setenv("XAI_API_KEY", "two\nlines")
    with pytest.raises(ttsmux.AuthError):
        made(api_key=None)


def test_a_server_on_this_machine_needs_no_key() -> None:
    for url in (LOCAL, "ws://localhost:9", "http://[::1]:9"):
        assert made(api_key=None, base_url=url).keys == (None,)
    for url in ("ws://127.0.0.1.example:9", "ws://app.localhost:9"):
        with pytest.raises(ttsmux.AuthError):
            made(api_key=None, base_url=url)


def test_a_callable_key_is_kept_and_asked_later() -> None:
    found = made(api_key=lambda: "later")
    assert found.routes[0].refreshable
    assert callable(found.keys[0])
    assert not made().routes[0].refreshable


def test_keys_of_several_adapters_go_by_name() -> None:
    adapters = [Gradium(voice="v"), XAI()]
    found = made(adapters, api_key={"gradium": "one-key", "xai": ttsmux.Secret("another")})
    assert [key.reveal() for key in found.keys] == ["one-key", "another"]
    assert "one-key" not in repr(found) and "another" not in repr(found)


def test_urls_and_headers_of_several_adapters_go_by_name() -> None:
    """A mapping as of the keys; who is not in it has the provider's own."""
    found = made(
        BOTH,
        api_key=LOCALS,
        base_url={"xai": "wss://eu.example"},
        headers={"gradium": {"X-Team": "a"}},
        fallback="rest",
    )
    assert [(r.adapter.name, r.base_url, r.headers) for r in found.routes] == 2 * [
        ("gradium", None, {"X-Team": "a"}),
        ("xai", "wss://eu.example", {}),
    ]


def test_each_voice_over_http_comes_behind_all_of_the_users_own() -> None:
    """With the key, and what else is set for its provider; it has no policy of its own."""
    found = made(BOTH, api_key=LOCALS, interrupt="discard", fallback="rest")
    assert [type(route.adapter).__name__ for route in found.routes] == [
        "Gradium",
        "XAI",
        "GradiumRest",
        "XAIRest",
    ]
    assert [route.fallback_for for route in found.routes] == [None, None, 0, 1]
    assert [key.reveal() for key in found.keys] == 2 * ["a-key", "another"]
    assert found.providers == "gradium, xai"
    assert made(interrupt="cancel", fallback="rest").routes[1].policy is Interrupt.DISCARD


@pytest.mark.parametrize(
    "adapter",
    [XAI().rest(), Gradium(voice="v", pronunciation_id="p"), Mute(), Other(), Clumsy()],
    ids=["is one", "not with these options", "has none", "other format", "its own error"],
)
def test_where_there_is_no_voice_over_http_there_is_no_such_route(adapter: ttsmux.Adapter) -> None:
    """Nobody asked for it, so it is no error."""
    found = made(adapter, api_key="a-key", fallback="rest")
    assert [route.adapter for route in found.routes] == [adapter]


def test_the_fallback_is_on_unless_it_is_told_off() -> None:
    for make in (Client, AsyncClient):
        for told, count in (({}, 2), ({"fallback": "rest"}, 2), ({"fallback": None}, 1)):
            client = make("xai", api_key="a-key", **told)  # type: ignore[arg-type]
            assert len(client._configuration.routes) == count
            assert repr(client) == f"<{make.__name__} xai>"


def test_settings_are_put_together() -> None:
    found = made(pool=ttsmux.PoolLimits(max_size=2), interrupt="discard", headers={"X-Team": "a"})
    assert found.settings.pool.max_size == 2
    assert found.settings.timeouts == ttsmux.Timeouts()
    assert found.routes[0].policy is Interrupt.DISCARD
    assert found.routes[0].headers == {"X-Team": "a"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: ttsmux.Timeouts(dial=0),
        lambda: ttsmux.Timeouts(total=-1.0),
        lambda: ttsmux.PoolLimits(max_size=0),
        lambda: ttsmux.PoolLimits(min_idle=-1),
        lambda: ttsmux.PoolLimits(max_waiting=0),
        lambda: ttsmux.RetryPolicy(attempts=0),
    ],
)
def test_limits_that_make_no_sense(make: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()


def test_settings_do_not_change() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ttsmux.Timeouts().dial = 3.0  # type: ignore[misc]


def test_adapters_are_found_by_name() -> None:
    assert {"gradium", "xai"} <= set(adapter_names())
    assert find_adapter("xai") is XAI


def test_a_provider_of_ours_is_found_without_a_look_at_other_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor can one of them take its name."""

    def look(*, group: str) -> list[EntryPoint]:
        raise AssertionError(f"looked for {group}")

    monkeypatch.setattr(importlib.metadata, "entry_points", look)
    assert find_adapter("xai") is XAI


def test_sources_that_nobody_installed_find_their_own_and_what_is_registered_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look(*, group: str) -> list[EntryPoint]:
        return [EntryPoint("acme", "ttsmux.adapters.xai:XAI", group)]

    monkeypatch.setattr(importlib.metadata, "entry_points", look)
    assert find_adapter("acme") is find_adapter("xai") is XAI
    assert adapter_names() == ["acme", "elevenlabs", "gradium", "kugelaudio", "sm", "xai"]
    with pytest.raises(ttsmux.ConfigError, match="there are: acme, elevenlabs, gradium"):
        find_adapter("acne")


def test_text_must_be_text() -> None:
    assert checked(["a", "b"]) == ["a", "b"]
    with pytest.raises(WrongType, match=r"^text takes str, not bytes$"):
        checked([b"a"])  # type: ignore[list-item]


def test_a_provider_that_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is asked for, and the one in the environment stays there; a passed one is used."""
    monkeypatch.setenv("SM_API_KEY", "of-the-cloud")
    server = ttsmux.SM(deployment="on-premise", host="tts.lan")
    assert made(server, api_key=None).keys == (None,)
    assert made(server, api_key=None, base_url="ws://10.0.0.3:9999").keys == (None,)
    monkeypatch.delenv("SM_API_KEY")
    assert made(server, api_key=None).keys == (None,)
    with pytest.raises(ttsmux.AuthError, match="set SM_API_KEY"):
        made(ttsmux.SM(deployment="on-premise", auth="header-api-key"), api_key=None)
    with pytest.raises(ttsmux.InsecureEndpoint):
        made(
            ttsmux.SM(deployment="on-premise", auth="header-api-key"),
            api_key="a-key",
            base_url="ws://10.0.0.3:9999",
        )


@pytest.mark.parametrize("fast_path", [True, False])
def test_the_short_way_of_messages_is_one_setting(fast_path: bool) -> None:
    """It reaches each dial."""
    handshake = Handshake(url="wss://api.x.ai/v1/tts", headers={})
    assert made(fast_path=fast_path).target(handshake, 1024).fast_path is fast_path
