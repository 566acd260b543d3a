"""
Which clients of this process share what their keys are allowed.

One `Quota` for each provider, place and key. Keys are not kept: what stands for one is a hash under
a salt that this process has made up. A key that is fetched by a callable is known by the callable.
What stands in for a route over HTTP has its key, and shares its quota. Where nothing is limited
there is none at all.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from ..core.mux import Mux
from ..core.quota import Member, Quota, limited, recent
from ..core.route import Route
from ..settings import Secret
from .options import Configuration

_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}


class Engine(Protocol):
    """What a doorbell knows of a client."""

    @property
    def gone(self) -> bool:
        """Whether there is no event loop any more that it could run in."""

    def ring(self) -> None:
        """Have its clock look. From any thread, and without a lock."""


class Doorbell:
    """Rings for a client in its own thread or loop, if there is one yet."""

    __slots__ = ("_engine", "_member")

    def __init__(self, engine: Engine, member: Member) -> None:
        # The quota, which outlives its clients, knows of it.
        self._engine = weakref.ref(engine)
        self._member = member

    def ring(self) -> None:
        engine = self._engine()
        if engine is None or engine.gone:
            _leave(self._member)
        else:
            engine.ring()


def quotas_for(configuration: Configuration) -> tuple[Quota | None, ...]:
    """Return what the routes of a client are limited by."""
    found: list[Quota | None] = []
    for route, key in zip(configuration.routes, configuration.keys, strict=True):
        if route.fallback_for is not None and (shared := found[route.fallback_for]) is not None:
            found.append(shared)
        elif not limited(route.limited(route.adapter.tuned())):
            found.append(None)
        elif route.limits.shared:
            place = route.adapter.name, _endpoint(route)
            found.append(_registry.quota(place, key))
        else:
            found.append(Quota(threading.RLock()))
    return tuple(found)


def new_mux(
    engine: Engine, make: Callable[[Sequence[Member | None]], Mux], quotas: Sequence[Quota | None]
) -> Mux:
    """Make a Mux that is a member of *quotas* for as long as it lives."""
    members = {quota: Member(quota) for quota in quotas if quota is not None}
    mux = make([None if quota is None else members[quota] for quota in quotas])
    for member in members.values():
        member.handle = Doorbell(engine, member)
        weakref.finalize(mux, _leave, member).atexit = False
    return mux


def set_clock(mux: Mux, now: float) -> None:
    """Say what time it is for the client: clocks of event loops begin where they like."""
    ahead = time.monotonic() - now
    for member in _members(mux):
        member.skew = ahead


def leave(mux: Mux) -> None:
    """The client has neither threads nor tasks any more: nothing of it is on any wire."""
    for member in _members(mux):
        _leave(member)


def _members(mux: Mux) -> list[Member]:
    return [member for member in mux.members if member is not None]


def _leave(member: Member) -> None:
    # No lock here: this may be a finaliser, and in the middle of anything.
    member.quota.left.append(member)


def _endpoint(route: Route) -> tuple[str | None, int | None]:
    """Return host and port that the route goes to."""
    adapter = route.adapter
    try:
        parts = urlsplit(route.handshake(adapter, adapter.options(), None).url)
        return parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except Exception:
        # An adapter's own fault, that its first dial will tell of.
        return None, None


# --- the registry ---------------------------------------------------------------------------------


class _Same:
    """A callable as what it is, not as what it says that it equals; it is not kept alive."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, call: object) -> None:
        # `vault.key` is another object each time that it is asked for.
        function = getattr(call, "__func__", None)
        parts = (call,) if function is None else (getattr(call, "__self__", None), function)
        self._parts = tuple(_weakly(part) for part in parts)
        self._hash = hash(tuple(id(part) for part in parts))

    def _found(self) -> list[object]:
        return [part() for part in self._parts]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return False
        # What is gone is None, and the same as nothing: another one may have its id now.
        pairs = list(zip(self._found(), other._found(), strict=False))
        alike = all(mine is theirs is not None for mine, theirs in pairs)
        return self is other or (alike and len(self._parts) == len(other._parts))

    def __hash__(self) -> int:
        return self._hash


def _weakly(part: object) -> Callable[[], object]:
    try:
        return weakref.ref(part)
    except TypeError:
        return lambda: part


class _Registry:
    """All shared quotas there are. Those who have one keep it alive; it is kept by nobody else."""

    def __init__(self) -> None:
        # Of the kind that its own thread may take again: a signal handler may make a client, too.
        self._lock = threading.RLock()
        self._salt = secrets.token_bytes(32)
        self._quotas: weakref.WeakValueDictionary[Hashable, Quota] = weakref.WeakValueDictionary()
        self._begun: dict[Hashable, deque[float]] = {}
        """The requests of each. Whoever comes within a minute must know of them."""

    def quota(self, place: Hashable, key: object) -> Quota:
        """Return the quota of *key* at *place*; what nobody needs any more is forgotten."""
        name = place, self._fingerprint(key)
        with self._lock:
            self._forget_old(time.monotonic())
            begun = self._begun.setdefault(name, deque())
            return self._quotas.setdefault(name, Quota(threading.RLock(), begun))

    def _forget_old(self, now: float) -> None:
        for name, begun in list(self._begun.items()):
            if name not in self._quotas and not recent(begun, now):
                self._begun.pop(name, None)  # if a signal handler was not faster

    def _fingerprint(self, key: object) -> Hashable:
        if isinstance(key, Secret):
            return hashlib.blake2b(key.reveal().encode(), key=self._salt, digest_size=16).digest()
        return None if key is None else _Same(key)

    def __len__(self) -> int:
        return len(self._begun)


_registry = _Registry()


def _begin_anew() -> None:
    """Forget the parent's clients: a lock may be held for ever, and the salt is its own."""
    global _registry
    _registry = _Registry()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
