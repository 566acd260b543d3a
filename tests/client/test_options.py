"""What `configure` refuses, and with which sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

import ttsmux
from ttsmux import XAI, AsyncClient, Client, Gradium, Interrupt
from ttsmux.client.options import adapter_names, checked, configure, find_adapter

LOCAL = "ws://127.0.0.1:9"
NOTHING: dict[str, Any] = {
    "api_key": None,
    "base_url": None,
    "headers": None,
    "allow_plaintext": False,
    "timeouts": None,
    "pool": None,
    "retry": None,
    "interrupt": None,
    "proxy": "env",
    "ssl_context": None,
}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIUM_API_KEY", "SM_API_KEY", "XAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def made(provider: Any = "xai", options: Mapping[str, object] | None = None, **rest: Any) -> Any:
    return configure(provider, options or {}, **{**NOTHING, "api_key": "a-key", **rest})


REFUSED: list[tuple[str, Any, dict[str, Any], type[ttsmux.Error], str]] = [
    ("provider", "acme", {}, ttsmux.ConfigError, "no provider is called 'acme'; there are: "),
    ("option", "xai", {"options": {"pitch": 1}}, ttsmux.ConfigError, "xai has no option 'pitch'"),
    ("value", "gradium", {"options": {"voice": "v", "seats": 0}}, ttsmux.ConfigError, "seats must"),
    ("type", "gradium", {"options": {"seats": "x"}}, ttsmux.ConfigError, "option of gradium"),
    ("beside", XAI(), {"options": {"voice": "a"}}, ttsmux.ConfigError, "give voice= to the"),
    ("nobody", [], {}, ttsmux.ConfigError, "takes a provider's name, an adapter, or a list"),
    ("number", [7], {}, ttsmux.ConfigError, "takes a provider's name, an adapter, or a list"),
    ("class", [XAI], {}, ttsmux.ConfigError, "takes a provider's name, an adapter, or a list"),
    ("policy", "xai", {"interrupt": "stop"}, ttsmux.ConfigError, "takes one of mute, cancel, disc"),
    ("cannot", "xai", {"interrupt": "mute"}, ttsmux.ConfigError, "xai cannot mute an interrupted"),
    ("cancel", "gradium", {"interrupt": Interrupt.CANCEL}, ttsmux.ConfigError, "gradium cannot"),
    ("no key", "xai", {"api_key": None}, ttsmux.AuthError, "pass api_key= or set XAI_API_KEY"),
    ("empty", "xai", {"api_key": ""}, ttsmux.AuthError, "pass api_key= or set XAI_API_KEY"),
    ("newline", "xai", {"api_key": "k\n"}, ttsmux.AuthError, "characters that no key has"),
    ("blank", "xai", {"api_key": " k"}, ttsmux.AuthError, "characters that no key has"),
    ("accent", "xai", {"api_key": "clé"}, ttsmux.AuthError, "characters that no key has"),
    ("other", "xai", {"api_key": {"gradium": "k"}}, ttsmux.AuthError, "set XAI_API_KEY"),
    ("base", "xai", {"base_url": "ftp://x"}, ttsmux.ConfigError, "base_url must look like wss://"),
    ("bare", "xai", {"base_url": "x.example"}, ttsmux.ConfigError, "base_url must look like wss://"),
    ("voice", "gradium", {}, ttsmux.InvalidVoice, "a voice is required: pass voice="),
    ("bad", "xai", {"options": {"voice": "a b"}}, ttsmux.InvalidVoice, "cannot be a voice id"),
    ("format", "xai", {"options": {"format": "mp3"}}, ttsmux.InvalidFormat, "unknown audio format"),
    (
        "formats",
        [XAI(format="pcm_8000"), Gradium(voice="v")],
        {},
        ttsmux.ConfigError,
        "all routes must speak one audio format, not pcm_24000, pcm_8000: pass format= to each",
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


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_both_clients_refuse_alike(make: Any) -> None:
    with pytest.raises(ttsmux.ConfigError, match="no provider is called"):
        make("acme")
    with pytest.raises(ttsmux.ConfigError, match="has no option 'pitch'"):
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
    with pytest.raises(ttsmux.AuthError):
        made(api_key=None, base_url="ws://127.0.0.1.example:9")


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


def test_text_must_be_text() -> None:
    assert checked(["a", "b"]) == ["a", "b"]
    with pytest.raises(TypeError, match="text must be str, not bytes"):
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
