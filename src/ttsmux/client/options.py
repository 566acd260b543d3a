"""
What a client is configured with, checked and put into the core's terms.

Everything that can be wrong about the arguments is found here, before a connection is dialled.
"""

from __future__ import annotations

import enum
import os
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence, Set
from functools import cache
from importlib import import_module
from inspect import signature
from types import UnionType
from urllib.parse import urlsplit

import attrs

from .._net import is_header_name, is_header_value, is_loopback
from ..adapter import Adapter, Handshake
from ..adapters import OURS
from ..core.route import Route, make_adapter, unknown_option
from ..core.states import SpeechState
from ..errors import AuthError, ConfigError, WrongType
from ..settings import Interrupt, KeyLimits, PoolLimits, RetryPolicy, Secret, Settings, Timeouts
from ..transports._proxy import flaw_of
from ..transports.base import Target

Key = str | Secret | Callable[[], str]
AsyncKey = Key | Callable[[], Awaitable[str]]
Headers = Mapping[str, str] | Mapping[str, Mapping[str, str]]
_KeySource = Secret | Callable[[], str | Awaitable[str]] | None

GROUP = "ttsmux.adapters"

# Python would iterate over them: into numbers, into keys, or in another order every time.
_NO_TEXT = (bytes, bytearray, memoryview, Mapping, Set)


class Outcome(enum.Enum):
    """How a speech ended."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


OUTCOMES: Mapping[SpeechState, Outcome] = {
    SpeechState.COMPLETED: Outcome.COMPLETED,
    SpeechState.INTERRUPTED: Outcome.INTERRUPTED,
    SpeechState.FAILED: Outcome.FAILED,
}


_FIRST = ("provider", "options")
_SETTINGS: Mapping[str, type[attrs.AttrsInstance]] = {
    "timeouts": Timeouts,
    "pool": PoolLimits,
    "retry": RetryPolicy,
    "limits": KeyLimits,
}


def find_adapter(name: str) -> type[Adapter]:
    """
    Return the adapter that is registered as *name*, by this package or else by another.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name in OURS:
        found: object = getattr(import_module(f"ttsmux.adapters.{name}"), OURS[name])
    else:
        found = _registered(name)
    assert isinstance(found, type) and issubclass(found, Adapter), f"{name} is an adapter"
    return found


def _registered(name: str) -> object:
    # This reads a file of every package that is installed: milliseconds, and so is the import.
    from importlib.metadata import entry_points

    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted({*OURS, *found}))
        msg = f"no provider is called {name[:40]!r}; there are: {known}"
        raise ConfigError(msg, phase="config")
    return found[name].load()


def adapter_names() -> list[str]:
    """Return the names of all adapters that are installed."""
    from importlib.metadata import entry_points

    return sorted({*OURS, *(entry.name for entry in entry_points(group=GROUP))})


@attrs.frozen(kw_only=True)
class Configuration:
    """What a client runs on."""

    routes: tuple[Route, ...]
    """Those that the user named, then what stands in for them over HTTP."""
    keys: tuple[_KeySource, ...] = attrs.field(repr=False)
    settings: Settings
    proxy: str | None = attrs.field(repr=False)
    ssl_context: ssl.SSLContext | None = attrs.field(repr=False)
    fast_path: bool = True

    @property
    def providers(self) -> str:
        """The names of those that the user named."""
        named = (route for route in self.routes if route.fallback_for is None)
        return ", ".join(route.adapter.name for route in named)

    def target(self, handshake: Handshake, max_message: int) -> Target:
        """Say where and how to dial."""
        return Target(
            url=handshake.url,
            headers=handshake.headers,
            subprotocols=handshake.subprotocols,
            ssl_context=self.ssl_context,
            proxy=self.proxy,
            max_message=max_message,
            send_timeout=self.settings.timeouts.send,
            fast_path=self.fast_path,
        )


def configure(
    provider: str | Adapter | Sequence[Adapter],
    options: Mapping[str, object],
    *,
    api_key: AsyncKey | Mapping[str, AsyncKey] | None,
    base_url: str | Mapping[str, str] | None,
    headers: Headers | None,
    allow_plaintext: bool,
    timeouts: Timeouts | None,
    pool: PoolLimits | None,
    retry: RetryPolicy | None,
    interrupt: Interrupt | str | None,
    fallback: str | None,
    limits: KeyLimits | Mapping[str, KeyLimits] | None,
    proxy: str | None,
    ssl_context: ssl.SSLContext | None,
    fast_path: bool,
) -> Configuration:
    """
    Put a client's arguments together.

    Raises:
        ConfigError: something does not fit, or no such provider exists.
        WrongType: an argument is of a type that it does not take.
        AuthError: there is no key, or it can be none.
    """
    takes = "a URL such as wss://host, or a mapping of providers' names to theirs"
    _check_type("base_url", base_url, str | Mapping | None, takes)
    _check_type("allow_plaintext", allow_plaintext, bool, "True or False")
    _check_type("fast_path", fast_path, bool, "True or False")
    _check_type("ssl_context", ssl_context, ssl.SSLContext | None, "an ssl.SSLContext")
    _check_proxy(proxy)
    _check_fallback(fallback)
    adapters = _adapters(provider, options)
    _check_api_key(api_key, adapters)
    if isinstance(base_url, Mapping):
        _check_names("base_url", base_url, adapters)
    _check_headers_of(headers, adapters)
    policy, allowed = _policy(interrupt), _limits(limits, adapters)
    routes, keys = [], []
    for adapter in adapters:
        url = base_url.get(adapter.name) if isinstance(base_url, Mapping) else base_url
        if url is not None:
            _check_type(f"base_url for {adapter.name}", url, str, "a URL such as wss://host")
        route = Route(
            adapter=adapter,
            base_url=url,
            headers=_headers_for(headers, adapter.name),
            allow_plaintext=allow_plaintext,
            interrupt=policy,
            limits=allowed.get(adapter.name, KeyLimits()),
        )
        key = _key(adapter, api_key, url)
        if key is not None and url is not None:
            route.check_secrecy(url)
        routes.append(attrs.evolve(route, refreshable=callable(key)))
        keys.append(key)
    _check_formats(adapters)
    if len({adapter.name for adapter in adapters}) > 1:
        _check_separate(api_key, base_url, headers)
    for number, route in enumerate(routes[:] if fallback is not None else ()):
        if (stand_in := _over_http(route, number)) is not None:
            routes.append(stand_in)
            keys.append(keys[number])
    return Configuration(
        routes=tuple(routes),
        keys=tuple(keys),
        settings=Settings(
            timeouts=Timeouts() if timeouts is None else timeouts,
            pool=PoolLimits() if pool is None else pool,
            retry=RetryPolicy() if retry is None else retry,
        ),
        proxy=proxy,
        ssl_context=ssl_context,
        fast_path=fast_path,
    )


def _check_type(name: str, value: object, kind: type | UnionType, takes: str) -> None:
    if not isinstance(value, kind):
        raise WrongType.of(name, takes, value)


def _check_proxy(proxy: object) -> None:
    if proxy is None or proxy == "env":
        return
    if not isinstance(proxy, str):
        raise WrongType.of("proxy", 'the URL of an HTTP proxy, "env" or None', proxy)
    if flaw := flaw_of(proxy):
        raise ConfigError(flaw, phase="config")


def _check_fallback(fallback: object) -> None:
    if fallback is None or fallback == "rest":
        return
    if not isinstance(fallback, str):
        raise WrongType.of("fallback", '"rest" or None', fallback)
    msg = 'fallback takes "rest" or None'
    raise ConfigError(msg, phase="config")


def _over_http(route: Route, number: int) -> Route | None:
    """Return what stands in for *route* where it has such a surface, and that takes its options."""
    try:
        adapter = route.adapter.rest()
        if adapter is None or adapter.options().format != route.adapter.options().format:
            return None
        # What an interruption does is the route's own: it has no more than one way.
        return attrs.evolve(route, adapter=adapter, interrupt=None, fallback_for=number)
    except Exception:
        return None  # nobody has asked for it: it is there where it can be


def _check_headers_of(headers: Headers | None, adapters: Iterable[Adapter]) -> None:
    """Check headers, or those in a mapping, and whom they are for."""
    if isinstance(headers, Mapping) and any(isinstance(v, Mapping) for v in headers.values()):
        _check_names("headers", headers, adapters)
        for own in headers.values():
            _check_headers(own)
    else:
        _check_headers(headers)


def _headers_for(headers: Headers | None, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in (headers or {}).items():
        if isinstance(value, str):
            found[key] = value
        elif key == name:
            found |= value
    return found


def _check_names(name: str, given: Mapping[str, object], adapters: Iterable[Adapter]) -> None:
    """Check that a mapping's keys are providers."""
    names = {adapter.name for adapter in adapters}
    for key in given:
        if not isinstance(key, str):
            raise WrongType.of(f"the mapping {name}", "names of providers", key)
        if key not in names and key not in adapter_names():
            # Which one, is not said: it may be a key, if the mapping is the wrong way round.
            own = ", ".join(sorted(names))
            msg = f"{name} names a provider that there is not; this client has {own}"
            raise ConfigError(msg, phase="config")


def _check_headers(headers: object) -> None:
    """Nothing of a header is repeated but a good name: what is mistaken for one may be a key."""
    if headers is None:
        return
    if not isinstance(headers, Mapping):
        raise WrongType.of("headers", "a mapping of names to values", headers)
    for name, value in headers.items():
        if not isinstance(name, str):
            raise WrongType.of("the name of a header", "a str", name)
        if not is_header_name(name):
            msg = "a name in headers= has a character that the name of a header cannot have"
            raise ConfigError(msg, phase="config")
        if not isinstance(value, str):
            raise WrongType.of(f"the header {name}", "a str", value)
        if not is_header_value(value):
            msg = f"the header {name} has a character, or a space at an end, that none can have"
            raise ConfigError(msg, phase="config")


def _adapters(
    provider: str | Adapter | Sequence[Adapter], options: Mapping[str, object]
) -> list[Adapter]:
    if isinstance(provider, str):
        return [make_adapter(find_adapter(provider), options, _others())]
    takes = "a provider's name, an adapter, or a list of adapters"
    _check_type("provider", provider, Adapter | Sequence, takes)
    adapters = [provider] if isinstance(provider, Adapter) else list(provider)
    for adapter in adapters:
        if not isinstance(adapter, Adapter):
            raise WrongType.of("a list of providers", "adapters, such as XAI(…)", adapter)
    if not adapters:
        msg = "a client needs at least one adapter"
        raise ConfigError(msg, phase="config")
    for name in options:
        found = {type(one): unknown_option(type(one), name, _others()) for one in adapters}
        for kind, unknown in found.items():
            if unknown is None:
                msg = f"give {name}= to the adapter itself, as in Client({kind.__name__}({name}=…))"
                raise ConfigError(msg, phase="config")
        raise next(error for error in found.values() if error is not None)
    return adapters


@cache
def _others() -> Mapping[str, str]:
    """Return what a client takes beside the options of a provider, and how that is written."""
    own = {name: f"{name}=" for name in signature(configure).parameters if name not in _FIRST}
    found = {"telemetry": "telemetry=", **own}
    for name, kind in _SETTINGS.items():
        for field in attrs.fields(kind):
            found.setdefault(field.name, f"{name}={kind.__name__}({field.name}=…)")
    return found


def _policy(interrupt: Interrupt | str | None) -> Interrupt | None:
    words = ", ".join(policy.value for policy in Interrupt)
    _check_type("interrupt", interrupt, str | Interrupt | None, f"one of {words}")
    try:
        return None if interrupt is None else Interrupt(interrupt)
    except ValueError:
        msg = f"interrupt takes one of {words}"
        raise ConfigError(msg, phase="config") from None


def _limits(limits: object, adapters: Sequence[Adapter]) -> Mapping[str, KeyLimits]:
    """Return the limits of each provider's key, as far as any are given."""
    names = {adapter.name for adapter in adapters}
    if isinstance(limits, Mapping):
        for name, given in limits.items():
            if not isinstance(name, str):
                raise WrongType.of("the mapping limits", "names of providers", name)
            if name not in names and name not in adapter_names():
                own = ", ".join(sorted(names))
                msg = (
                    f"limits names {name[:40]!r}, which is no provider of this client; it has {own}"
                )
                raise ConfigError(msg, phase="config")
            if not isinstance(given, KeyLimits):
                raise WrongType.of(f"limits for {name}", "a KeyLimits", given)
        return limits
    if limits is None:
        return {}
    if not isinstance(limits, KeyLimits):
        raise WrongType.of("limits", "a KeyLimits, or a mapping of names to these", limits)
    if len(names) > 1:
        msg = "with several providers, limits= takes a mapping of their names to their limits"
        raise ConfigError(msg, phase="config")
    return dict.fromkeys(names, limits)


def _check_api_key(api_key: object, adapters: Iterable[Adapter]) -> None:
    """Check the type of a key, or of those in a mapping, and whom they are for."""
    if not isinstance(api_key, Mapping):
        _check_key("api_key", api_key)
        return
    _check_names("api_key", api_key, adapters)
    for name, key in api_key.items():
        _check_key(f"api_key for {name}", key)


def _check_key(name: str, key: object) -> None:
    if not (key is None or isinstance(key, str | Secret) or callable(key)):
        takes = "a str, a Secret, a callable that returns the key, or a mapping of these"
        raise WrongType.of(name, takes, key)


def checked_key(found: object, *, phase: str, provider: str | None = None) -> str:
    """
    Return *found*, if a key can look like that.

    Raises:
        AuthError: it is no str, or would not get through a header whole; it is not repeated.
    """
    if isinstance(found, str) and found:
        if found.isascii() and found.isprintable() and found == found.strip():
            return found
        msg = "the API key has characters that no key has; was it cut or quoted wrongly?"
    elif isinstance(found, Coroutine):
        found.close()
        msg = "api_key is an async callable, which AsyncClient can await; Client cannot"
    else:
        given = "an empty one" if isinstance(found, str) else type(found).__name__
        msg = f"api_key must return the key as a str, not {given}"
    raise AuthError(msg, provider=provider, phase=phase)


def _key(
    adapter: Adapter, api_key: AsyncKey | Mapping[str, AsyncKey] | None, base_url: str | None
) -> _KeySource:
    """Find the key of one provider: the argument, else its environment variable."""
    given = api_key.get(adapter.name) if isinstance(api_key, Mapping) else api_key
    if callable(given):
        return given
    required = adapter.tuned().key_required
    text = given.reveal() if isinstance(given, Secret) else given
    text = text or (os.environ.get(adapter.traits.key_variable) if required else None)
    if text:
        return Secret(checked_key(text, phase="config", provider=adapter.name))
    if not required or (base_url is not None and is_loopback(urlsplit(base_url).hostname)):
        return None
    msg = f"no API key: pass api_key= or set {adapter.traits.key_variable}"
    raise AuthError(msg, provider=adapter.name, phase="config")


def _check_formats(adapters: Iterable[Adapter]) -> None:
    formats = {adapter.options().format for adapter in adapters}
    if len(formats) > 1:
        names = ", ".join(sorted(str(format) for format in formats))
        msg = (
            f"all providers of a client must speak one audio format, not {names}: "
            "pass format= to each"
        )
        raise ConfigError(msg, phase="config")


def check_text(text: object, *kinds: type) -> None:
    """
    Check what `speak` is given: None, a str, or an iterable of one of *kinds*.

    Raises:
        WrongType: it is something else, or an iterable of no text, or of text in no order.
    """
    if text is None or isinstance(text, str):
        return
    if isinstance(text, _NO_TEXT) or not isinstance(text, kinds):
        raise WrongType.of("text", "a str or an iterable of str", text)


def checked(pieces: Iterable[str]) -> list[str]:
    """Return *pieces* as a list of str. Raises `WrongType`."""
    found = list(pieces)
    for piece in found:
        if not isinstance(piece, str):
            raise WrongType.of("text", "str", piece)
    return found


def _check_separate(
    api_key: object, base_url: str | Mapping[str, str] | None, headers: Headers | None
) -> None:
    """What is meant for one provider must not reach another."""
    if api_key is not None and not isinstance(api_key, Mapping):
        msg = "with several providers, api_key= takes a mapping of their names to their keys"
        raise ConfigError(msg, phase="config")
    if isinstance(base_url, str):
        msg = "with several providers, base_url= takes a mapping of their names to their URLs"
        raise ConfigError(msg, phase="config")
    if headers and any(isinstance(value, str) for value in headers.values()):
        msg = "with several providers, headers= takes a mapping of their names to their headers"
        raise ConfigError(msg, phase="config")
