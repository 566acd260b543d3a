"""
Where a speech may go: an adapter, what the user set beside it, and what follows from both.

A client has one route or more, in order of preference. A `Plan` is a route with one speech's
options filled in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Mapping
from urllib.parse import urlsplit, urlunsplit

import attrs

from ..adapter import Adapter, Handshake, Input, Options, Traits
from ..errors import ConfigError, Error, InsecureEndpoint
from ..settings import Interrupt
from ..text.cutting import Cutter, HoldBack

_SECURE = {"http": False, "https": True, "ws": False, "wss": True}


def _is_base(url: str) -> bool:
    """Return whether *url* has a scheme of ours, a host, and a port that there can be."""
    try:
        parts = urlsplit(url)
        # The port is read for its own sake: a number that is none raises.
        return parts.scheme in _SECURE and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        return False


def is_loopback(host: str | None) -> bool:
    """Return whether *host* is this machine."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@attrs.frozen(kw_only=True)
class Route:
    """
    An adapter with its connection settings.

    Attributes:
        base_url: replaces scheme, host and port of the adapter's URL; the path stays the adapter's.
        headers: added to the upgrade or the request, never in place of the adapter's.
        allow_plaintext: whether a key may travel over ``ws://`` to another machine.
        interrupt: the user's policy, or None for the adapter's.
        refreshable: whether the key can be fetched anew.
    """

    adapter: Adapter
    base_url: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    allow_plaintext: bool = False
    interrupt: Interrupt | None = None
    refreshable: bool = False

    def __attrs_post_init__(self) -> None:
        traits = self.adapter.tuned()
        if self.interrupt is not None and self.interrupt not in traits.policies:
            allowed = ", ".join(policy.value for policy in traits.policies)
            name, wanted = self.adapter.name, self.interrupt.value
            msg = f"{name} cannot {wanted} an interrupted speech; it can: {allowed}"
            raise ConfigError(msg, provider=name, phase="config")
        if self.base_url is not None and not _is_base(self.base_url):
            msg = "base_url must look like wss://host or http://host:port"
            raise ConfigError(msg, provider=self.adapter.name, phase="config")

    @property
    def policy(self) -> Interrupt:
        return self.interrupt or self.adapter.tuned().interrupt

    def handshake(self, adapter: Adapter, options: Options, secret: str | None) -> Handshake:
        """
        Say how to open a connection here.

        Raises:
            InsecureEndpoint: the key would travel in plain text to another machine.
        """
        shake = adapter.handshake(options, secret)
        url = self._rebased(shake.url)
        if secret:
            self.check_secrecy(url)
        theirs = {name.lower() for name in shake.headers}
        extra = {name: text for name, text in self.headers.items() if name.lower() not in theirs}
        return attrs.evolve(shake, url=url, headers={**extra, **shake.headers})

    def check_secrecy(self, url: str) -> None:
        """
        Check that a key may travel to *url*.

        Raises:
            InsecureEndpoint: it would go to another machine in plain text.
        """
        parts = urlsplit(url)
        plain = not _SECURE[parts.scheme]
        if plain and not self.allow_plaintext and not is_loopback(parts.hostname):
            msg = (
                f"the key would go to {parts.hostname} unencrypted; use wss://, "
                "or say allow_plaintext=True if you mean it"
            )
            raise InsecureEndpoint(msg, provider=self.adapter.name, phase="config")

    def _rebased(self, url: str) -> str:
        if self.base_url is None:
            return url
        base, theirs = urlsplit(self.base_url), urlsplit(url)
        http, secure = theirs.scheme.startswith("http"), _SECURE[base.scheme]
        scheme = ("https" if secure else "http") if http else ("wss" if secure else "ws")
        return urlunsplit((scheme, base.netloc, theirs.path, theirs.query, ""))


@attrs.frozen(kw_only=True)
class Plan:
    """A route with one speech's options: everything that is needed to speak there."""

    route: Route
    number: int
    adapter: Adapter
    options: Options
    traits: Traits
    cutter: Cutter
    key: Hashable

    @classmethod
    def make(cls, route: Route, number: int, overrides: Mapping[str, object]) -> Plan:
        """
        Fill in *overrides* (fields of the adapter).

        Raises:
            ConfigError: the adapter has no such field, or does not take the value.
        """
        adapter = route.adapter
        if overrides:
            known = {field.name for field in attrs.fields(type(adapter))}
            unknown = sorted(set(overrides) - known)
            if unknown:
                names = ", ".join(sorted(known))
                msg = f"{adapter.name} has no option {unknown[0]!r}; it has {names}"
                raise ConfigError(msg, provider=adapter.name, phase="config")
            adapter = _evolve(adapter, overrides)
        try:
            options, traits = adapter.options(), adapter.tuned()
            key = adapter.pool_key(options)
        except Error:
            raise
        except Exception as exc:
            # A fault of the adapter must not tear the Mux, and with it everybody else's speeches.
            msg = f"these options do not fit: {type(exc).__name__}: {exc}"
            raise ConfigError(msg, provider=adapter.name, phase="config") from exc
        whole = traits.input is Input.WHOLE
        return cls(
            route=route,
            number=number,
            adapter=adapter,
            options=options,
            traits=traits,
            cutter=Cutter(
                hold_back=HoldBack.SENTENCE if whole else traits.hold_back,
                join=traits.join,
                limit=traits.max_text,
                markup=traits.markup,
            ),
            key=(number, key),
        )


def _evolve(adapter: Adapter, overrides: Mapping[str, object]) -> Adapter:
    """Return *adapter* with other options; `attrs.evolve` is typed for literal names only."""
    fields = attrs.fields(type(adapter))
    old = {field.name: getattr(adapter, field.name) for field in fields}
    try:
        return type(adapter)(**{**old, **overrides})
    except (TypeError, ValueError) as exc:
        msg = f"an option of {adapter.name} does not fit: {exc}"
        raise ConfigError(msg, provider=adapter.name, phase="config") from exc
