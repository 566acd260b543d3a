"""
Where a speech may go: an adapter, what the user set beside it, and what follows from both.

A client has one route or more, in order of preference. A `Plan` is a route with one speech's
options filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from urllib.parse import urlsplit, urlunsplit

import attrs

from .._net import has_blanks, is_loopback
from ..adapter import Adapter, Handshake, Input, Options, Traits
from ..errors import ConfigError, Error, InsecureEndpoint, WrongType
from ..settings import Interrupt, KeyLimits
from ..text.cutting import Cutter, HoldBack

_NO_LIMITS = KeyLimits()
_NOTHING: Mapping[str, str] = {}
_SECURE = {"http": False, "https": True, "ws": False, "wss": True}


def _flaw(url: str) -> str | None:
    """Say what is wrong with *url* as a `base_url`, or None; it may hold a password."""
    try:
        parts = urlsplit(url)
        if parts.scheme in _SECURE and parts.hostname and parts.port != 0 and not has_blanks(url):
            if parts.path in ("", "/") and not parts.query and not parts.fragment:
                return None
            return "base_url ends after the host or port: path and query are the adapter's"
    except ValueError:
        pass
    return "base_url must look like wss://host or http://host:port"


def _shown(url: str | None) -> str:
    """Return the repr of a `base_url` without user and password."""
    if url is None:
        return "None"
    parts = urlsplit(url)
    return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def _leave_as_it_is(error: Error) -> None:
    """For who sends no secrets."""


@attrs.frozen(kw_only=True)
class Route:
    """
    An adapter with its connection settings.

    Attributes:
        base_url: replaces scheme, host and port of the adapter's URL, and has nothing behind them.
        headers: added to the upgrade or the request, never in place of the adapter's.
        allow_plaintext: whether a key may travel over ``ws://`` to another machine.
        interrupt: the user's policy, or None for the adapter's.
        refreshable: whether the key can be fetched anew.
        fallback_for: the number of the route that this one stands in for, the same voice over HTTP;
            None for one of the user's own.
        limits: what the user knows of those of the key.
        clean: takes the secrets that were sent there out of an error that came of a peer's words.
    """

    adapter: Adapter
    base_url: str | None = attrs.field(default=None, repr=_shown)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    allow_plaintext: bool = False
    interrupt: Interrupt | None = None
    refreshable: bool = False
    fallback_for: int | None = None
    limits: KeyLimits = attrs.field(factory=KeyLimits)
    clean: Callable[[Error], None] = attrs.field(default=_leave_as_it_is, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        traits = self.adapter.tuned()
        if self.interrupt is not None and self.interrupt not in traits.policies:
            allowed = ", ".join(policy.value for policy in traits.policies)
            msg = f"interrupt={self.interrupt.value!r} is not possible here; possible: {allowed}"
            raise ConfigError(msg, provider=self.adapter.name, phase="config")
        if self.base_url is not None and (flaw := _flaw(self.base_url)):
            raise ConfigError(flaw, provider=self.adapter.name, phase="config")

    @property
    def policy(self) -> Interrupt:
        return self.interrupt or self.adapter.tuned().interrupt

    def limited(self, traits: Traits) -> Traits:
        """Return *traits* with the limits that the user knows better."""
        ours = self.limits
        if ours == _NO_LIMITS:
            return traits
        return attrs.evolve(
            traits,
            connections=ours.connections or traits.connections,
            generations=ours.generations or traits.generations,
            requests_per_minute=ours.requests_per_minute or traits.requests_per_minute,
        )

    def handshake(self, adapter: Adapter, options: Options, secret: str | None) -> Handshake:
        """
        Say how to open a connection here.

        Raises:
            InsecureEndpoint: the key would travel in plain text to another machine.
        """
        return self.addressed(adapter.handshake(options, secret), secret)

    def addressed(self, shake: Handshake, secret: str | None) -> Handshake:
        """
        Return what an adapter says, as the user wants it: where to, and with what headers.

        Raises:
            InsecureEndpoint: the key would travel in plain text to another machine.
        """
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
    policy: Interrupt
    """What an interruption does there, as long as the provider keeps its word."""
    cutter: Cutter
    key: Hashable

    @classmethod
    def make(
        cls,
        route: Route,
        number: int,
        overrides: Mapping[str, object],
        others: Mapping[str, str] = _NOTHING,
    ) -> Plan:
        """
        Fill in *overrides* (fields of the adapter).

        *others*: see `make_adapter`.

        Raises:
            ConfigError: the adapter has no such field, or does not take the value.
        """
        adapter = _evolve(route.adapter, overrides, others) if overrides else route.adapter
        return cls.of(route, number, adapter)

    @classmethod
    def of(cls, route: Route, number: int, adapter: Adapter) -> Plan:
        """
        Make the plan of speaking with *adapter*, the route's own or one like it.

        Raises:
            ConfigError: its options do not fit.
        """
        try:
            options, traits = adapter.options(), route.limited(adapter.tuned())
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
            policy=route.policy if route.policy in traits.policies else traits.interrupt,
            cutter=Cutter(
                hold_back=HoldBack.SENTENCE if whole else traits.hold_back,
                join=traits.join,
                limit=traits.max_text,
                markup=traits.markup,
            ),
            key=(number, key),
        )


def make_adapter(
    kind: type[Adapter], options: Mapping[str, object], others: Mapping[str, str] = _NOTHING
) -> Adapter:
    """
    Return the adapter with these options.

    Args:
        others: what else the caller takes by name, each with how it is written, for who meant that.

    Raises:
        ConfigError: there is no such option, or it does not take the value.
    """
    for name in options:
        if (unknown := unknown_option(kind, name, others)) is not None:
            raise unknown
    make: Callable[..., Adapter] = kind  # the options are its own, and checked by itself
    try:
        return make(**options)
    except ConfigError as exc:
        exc.provider = kind.name
        raise
    except (TypeError, ValueError) as exc:
        # The validators of attrs put more into an exception than its sentence.
        said = exc.args[0] if type(exc) in (TypeError, ValueError) and exc.args else exc
        msg = f"an option does not fit: {str(said) or type(exc).__name__}"
        wrong = WrongType if isinstance(exc, TypeError) else ConfigError
        raise wrong(msg, provider=kind.name, phase="config") from exc


def unknown_option(kind: type[Adapter], name: str, others: Mapping[str, str]) -> ConfigError | None:
    """Return the error of who passes an adapter the option *name*, unless it has that."""
    known = _options(kind)
    if name in known:
        return None
    msg = f"no option is called {name[:40]!r}; {_meant(name, known, others)}"
    return ConfigError(msg, provider=kind.name, phase="config")


def _meant(name: str, known: Iterable[str], others: Mapping[str, str]) -> str:
    """Say what there is in place of *name*: what is spelled like it first."""
    import difflib  # only for who has made a mistake

    near = difflib.get_close_matches(name, [*others, *known], n=1)
    did = f"did you mean {others.get(near[0], near[0] + '=')}? " if near else ""
    # How a setting of a setting is reached is told to who has named it.
    own = ", ".join(sorted(key for key, written in others.items() if written == f"{key}="))
    besides = f"; besides them: {own}" if own else ""
    return f"{did}there are: {', '.join(sorted(known))}{besides}"


def _evolve(
    adapter: Adapter, overrides: Mapping[str, object], others: Mapping[str, str]
) -> Adapter:
    """Return *adapter* with other options; `attrs.evolve` is typed for literal names only."""
    old = {option: getattr(adapter, name) for option, name in _options(type(adapter)).items()}
    return make_adapter(type(adapter), {**old, **overrides}, others)


def _options(kind: type[Adapter]) -> dict[str, str]:
    """Return the names of all options, and of the attributes that hold them."""
    return {field.alias or field.name: field.name for field in attrs.fields(kind) if field.init}
