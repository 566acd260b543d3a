"""
What a client is configured with, checked and put into the core's terms.

Everything that can be wrong about the arguments is found here, before a connection is dialled.
"""

from __future__ import annotations

import enum
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from urllib.parse import urlsplit

import attrs

from ..adapter import Adapter, Handshake
from ..core.route import Route, is_loopback
from ..core.states import SpeechState
from ..errors import AuthError, ConfigError
from ..settings import Interrupt, PoolLimits, RetryPolicy, Secret, Settings, Timeouts
from ..transports.base import Target

Key = str | Secret | Callable[[], str]
AsyncKey = Key | Callable[[], Awaitable[str]]
_KeySource = Secret | Callable[[], str | Awaitable[str]] | None

GROUP = "ttsmux.adapters"


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


def find_adapter(name: str) -> type[Adapter]:
    """
    Return the adapter that is registered as *name*, by this package or another.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none: is ttsmux installed?"
        msg = f"no provider is called {name[:40]!r}; there are: {known}"
        raise ConfigError(msg, phase="config")
    adapter = found[name].load()
    assert isinstance(adapter, type) and issubclass(adapter, Adapter), f"{name} is an adapter"
    return adapter


def adapter_names() -> list[str]:
    """Return the names of all adapters that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


@attrs.frozen(kw_only=True)
class Configuration:
    """What a client runs on."""

    routes: tuple[Route, ...]
    keys: tuple[_KeySource, ...] = attrs.field(repr=False)
    settings: Settings
    proxy: str | None = attrs.field(repr=False)
    ssl_context: ssl.SSLContext | None = attrs.field(repr=False)

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
        )


def configure(
    provider: str | Adapter | Sequence[Adapter],
    options: Mapping[str, object],
    *,
    api_key: AsyncKey | Mapping[str, AsyncKey] | None,
    base_url: str | None,
    headers: Mapping[str, str] | None,
    allow_plaintext: bool,
    timeouts: Timeouts | None,
    pool: PoolLimits | None,
    retry: RetryPolicy | None,
    interrupt: Interrupt | str | None,
    proxy: str | None,
    ssl_context: ssl.SSLContext | None,
) -> Configuration:
    """
    Put a client's arguments together.

    Raises:
        ConfigError: something does not fit, or no such provider exists.
        AuthError: there is no key.
    """
    adapters = _adapters(provider, options)
    policy = _policy(interrupt)
    routes, keys = [], []
    for adapter in adapters:
        route = Route(
            adapter=adapter,
            base_url=base_url,
            headers=dict(headers or {}),
            allow_plaintext=allow_plaintext,
            interrupt=policy,
        )
        key = _key(adapter, api_key, base_url)
        if key is not None and base_url is not None:
            route.check_secrecy(base_url)
        routes.append(attrs.evolve(route, refreshable=callable(key)))
        keys.append(key)
    _check_formats(adapters)
    if len({adapter.name for adapter in adapters}) > 1:
        _check_separate(api_key, base_url, headers)
    return Configuration(
        routes=tuple(routes),
        keys=tuple(keys),
        settings=Settings(
            timeouts=timeouts or Timeouts(),
            pool=pool or PoolLimits(),
            retry=retry or RetryPolicy(),
        ),
        proxy=proxy,
        ssl_context=ssl_context,
    )


def _adapters(
    provider: str | Adapter | Sequence[Adapter], options: Mapping[str, object]
) -> list[Adapter]:
    if isinstance(provider, str):
        kind = find_adapter(provider)
        known = {field.name for field in attrs.fields(kind)}
        for name in options:
            if name not in known:
                msg = f"{provider} has no option {name!r}; it has {', '.join(sorted(known))}"
                raise ConfigError(msg, provider=provider, phase="config")
        try:
            make: Callable[..., Adapter] = kind  # its options are checked by itself
            return [make(**options)]
        except (TypeError, ValueError) as exc:
            msg = f"an option of {provider} does not fit: {exc}"
            raise ConfigError(msg, provider=provider, phase="config") from exc
    if options:
        name = next(iter(options))
        msg = f"give {name}= to the adapter itself, as in Client(Gradium({name}=…))"
        raise ConfigError(msg, phase="config")
    adapters = [provider] if isinstance(provider, Adapter) else list(provider)
    if not adapters or not all(isinstance(adapter, Adapter) for adapter in adapters):
        msg = "a client takes a provider's name, an adapter, or a list of adapters"
        raise ConfigError(msg, phase="config")
    return adapters


def _policy(interrupt: Interrupt | str | None) -> Interrupt | None:
    if interrupt is None or isinstance(interrupt, Interrupt):
        return interrupt
    try:
        return Interrupt(interrupt)
    except ValueError:
        words = ", ".join(policy.value for policy in Interrupt)
        msg = f"interrupt= takes one of {words}"
        raise ConfigError(msg, phase="config") from None


def _key(
    adapter: Adapter, api_key: AsyncKey | Mapping[str, AsyncKey] | None, base_url: str | None
) -> _KeySource:
    """Find the key of one provider: the argument, else its environment variable."""
    given = api_key.get(adapter.name) if isinstance(api_key, Mapping) else api_key
    if callable(given) or isinstance(given, Secret):
        return given
    required = adapter.tuned().key_required
    text = given or (os.environ.get(adapter.traits.key_variable) if required else None)
    if text:
        if not text.isascii() or not text.isprintable() or text != text.strip():
            msg = "the API key has characters that no key has; was it cut or quoted wrongly?"
            raise AuthError(msg, provider=adapter.name, phase="config")
        return Secret(text)
    if not required or (base_url is not None and is_loopback(urlsplit(base_url).hostname)):
        return None
    msg = f"no API key: pass api_key= or set {adapter.traits.key_variable}"
    raise AuthError(msg, provider=adapter.name, phase="config")


def _check_formats(adapters: Iterable[Adapter]) -> None:
    formats = {adapter.options().format for adapter in adapters}
    if len(formats) > 1:
        names = ", ".join(sorted(str(format) for format in formats))
        msg = f"all routes must speak one audio format, not {names}: pass format= to each"
        raise ConfigError(msg, phase="config")


def checked(pieces: Iterable[str]) -> list[str]:
    """Return *pieces* as a list of str. Raises `TypeError`."""
    found = list(pieces)
    for piece in found:
        if not isinstance(piece, str):
            msg = f"text must be str, not {type(piece).__name__}"
            raise TypeError(msg)
    return found


def _check_separate(
    api_key: object, base_url: str | None, headers: Mapping[str, str] | None
) -> None:
    """What is meant for one provider must not reach another."""
    if api_key is not None and not isinstance(api_key, Mapping):
        msg = "with several providers, api_key= takes a mapping of their names to their keys"
        raise ConfigError(msg, phase="config")
    if base_url is not None or headers:
        msg = "base_url= and headers= are for one provider; this client has several"
        raise ConfigError(msg, phase="config")
