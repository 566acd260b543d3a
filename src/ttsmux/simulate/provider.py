"""
What a provider is to the server, and what all sessions of one simulator share.

A provider's file holds its rules and options (a `Provider`), its messages (a `Session`) and, where
it has an HTTP surface, its answers (an `Exchange`); the mechanics they have in common are in
`session`, `exchange`, `speaking` and `generation`.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, TypeVar

import attrs
import msgspec

from .engines import Engine
from .faults import FaultPlan
from .log import Log
from .wire import Request, Response, Wire

if TYPE_CHECKING:
    from .exchange import Exchange
    from .session import Session

L = TypeVar("L", bound=str)
B = TypeVar("B", bound=bool | None)
N = TypeVar("N", bound=float | None)
S = TypeVar("S", bound=tuple[str, ...] | None)


@attrs.define
class Stage:
    """
    What all sessions of one simulator share. *ttfa*, *chunk* and *jitter* are seconds.

    *sessions* are its open WebSockets, *exchanges* the HTTP requests that are being answered.
    """

    engine: Engine
    log: Log
    faults: FaultPlan
    rng: random.Random
    ttfa: float = 0.0
    rtf: float = 0.0
    chunk: float = 0.08
    jitter: float = 0.0
    dials: int = 0
    generations: int = 0
    sessions: set[Session] = attrs.field(factory=set, repr=False)
    exchanges: set[Exchange] = attrs.field(factory=set, repr=False)


def one_of(default: L, *others: L) -> L:
    """Declare an option that is one of these strings, the first by default."""
    field: L = attrs.field(default=default, validator=attrs.validators.in_((default, *others)))
    return field


# Options may be strings, as they come from a command line.


def flag(default: B) -> B:
    """Declare an option that is true or false."""
    to_bool = attrs.converters.optional(attrs.converters.to_bool)
    field: B = attrs.field(default=default, converter=to_bool)
    return field


def number(default: N) -> N:
    """Declare an option that is a number."""
    field: N = attrs.field(default=default, converter=attrs.converters.optional(float))
    return field


def names(default: S, *, repr: bool = True) -> S:
    """Declare an option that is a list of names, or a string of them with commas between."""

    def split(value: Iterable[str] | None) -> tuple[str, ...] | None:
        if isinstance(value, str):
            return tuple(value.split(","))
        return None if value is None else tuple(value)

    field: S = attrs.field(default=default, converter=split, repr=repr)
    return field


class Provider(ABC):
    """One provider's rules and options: which requests become sessions."""

    name: ClassVar[str]
    path: ClassVar[str]
    default_voice: ClassVar[str]
    # Whether there is a cancel message, which the acknowledgement faults are about.
    cancels: ClassVar[bool]

    def serves(self, path: str) -> bool:
        """Tell whether there is a WebSocket at *path*."""
        return path == self.path

    @abstractmethod
    def admit(self, stage: Stage, request: Request) -> Response | None:
        """Refuse an upgrade with a response, or let it pass."""

    @abstractmethod
    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        """Make the session of a connection that was upgraded."""

    def request(
        self, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> Response | Exchange | None:
        """
        Answer an HTTP request that asks for no WebSocket: whole, or by speaking.

        None: there is nothing at this path. The key and the method are for this to check;
        `read_json` reads the body.
        """
        return None

    @abstractmethod
    def secret(self, request: Request) -> str:
        """Return the key that a request carries, to be kept out of the log; empty if none."""

    def refusal(self, status: int, message: str) -> Response:
        """Write an HTTP error as this provider does."""
        return Response(status, msgspec.json.encode({"error": message}))


def read_json(request: Request) -> dict[str, object] | None:
    """Read a request's body; None if it is no JSON object."""
    try:
        found: object = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
