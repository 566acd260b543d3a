"""
What the suites have in common: whom they are about, and when a case does not apply.

A case is a test method with an id; its docstring says in a sentence what is true of a good adapter.
It is left out only where a trait says that there is nothing to test, and says which trait.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import attrs
import pytest

from ..adapter import Adapter, Traits
from .answers import messages_of, over_http
from .bench import Bench, Message
from .recording import Recording, record
from .world import Server

__all__ = ["Case", "Lull", "Suite", "cases_of", "options_of", "skips"]

F = TypeVar("F", bound=Callable[..., object])

FUZZ = "TTSMUX_FUZZ"
"""Environment variable: how many mutated messages each adapter is given, in place of `fuzz`."""
TEXT = "ab cd"
"""What recordings say: short, so that they are."""


@attrs.frozen
class Case:
    """
    One case of a suite.

    Attributes:
        id: its number in the contract, or a name.
        says: what should be true.
        unless: says which trait makes it meaningless, or None.
    """

    id: str
    says: str
    unless: Callable[[Traits], str | None] = attrs.field(repr=False)

    def skipped(self, traits: Traits) -> str | None:
        """Return why this does not apply, or None."""
        return self.unless(traits)


def _never(traits: Traits) -> None:
    return None


def case(id: str, *, unless: Callable[[Traits], str | None] = _never) -> Callable[[F], F]:
    """Mark a test method as a case."""

    def mark(function: F) -> F:
        says = " ".join((function.__doc__ or "").split())
        assert says, f"case {id} says nothing"
        function.case = Case(id, says, unless)  # type: ignore[attr-defined]
        return function

    return mark


def cases_of(suite: type[Suite]) -> dict[str, Case]:
    """Return the cases of *suite* by their ids."""
    found = [getattr(getattr(suite, name), "case", None) for name in dir(suite)]
    return {one.id: one for one in found if isinstance(one, Case)}


def skips(adapter: Adapter, suite: type[Suite]) -> dict[str, str]:
    """Return which cases of *suite* do not apply to *adapter*, and which trait says so."""
    traits = adapter.tuned()
    found = {id: one.skipped(traits) for id, one in cases_of(suite).items()}
    return {id: reason for id, reason in found.items() if reason is not None}


@attrs.frozen
class Lull:
    """
    A silence of the text source that is longer than the provider likes.

    Attributes:
        seconds: how long it takes; real time.
        server: options of the simulated provider that make its patience shorter than that.
        adapter: options of the adapter that do.
        traits: traits of the adapter that follow from it, `source_pause` and keepalives.
    """

    seconds: float = 0.3
    server: Mapping[str, object] = attrs.field(factory=dict)
    adapter: Mapping[str, object] = attrs.field(factory=dict)
    traits: Mapping[str, object] = attrs.field(factory=dict)


def options_of(adapter: Adapter) -> dict[str, Any]:
    """Return the options that *adapter* was made with."""
    fields = attrs.fields(type(adapter))
    return {f.alias or f.name: getattr(adapter, f.name) for f in fields if f.init}


class Suite:
    """
    Subclass one of the suites in a test module, as ``class TestMine(AdapterContract)``.

    Attributes:
        adapter: the adapter, with the options that it needs.
        server: the simulated provider: the name of one that is registered (by default the
            adapter's), or a `ttsmux.simulate.Provider` class. Of options it must take ``key``.
        frames: literal messages of the provider, best from its documentation: text, bytes, or a
            mapping for JSON. Where there are none, what the simulated provider sends is taken.
            Over HTTP, one whole answer: pieces of its body, where a mapping is a line.
        answer: over HTTP, the headers that came with `frames`, with names in lower case.
        unknown: a message of a kind that the provider may invent tomorrow.
        other: options of a speech that needs another connection; by default another format.
        error: options of the simulated provider with which its errors name their generation.
        lull: how to try the provider's patience with a text source that stalls.
        fuzz: how many mutated messages are decoded; TTSMUX_FUZZ in the environment goes before it.
    """

    adapter: ClassVar[Adapter]
    server: ClassVar[Server | None] = None
    frames: ClassVar[Sequence[Message | Mapping[str, object]]] = ()
    answer: ClassVar[Mapping[str, str]] = {}
    unknown: ClassVar[Message] = '{"type":"something.new","shiny":true}'
    other: ClassVar[Mapping[str, object]] = {}
    error: ClassVar[Mapping[str, object]] = {}
    lull: ClassVar[Lull] = Lull()
    fuzz: ClassVar[int] = 2000

    @pytest.fixture(autouse=True)
    def _applies(self, request: pytest.FixtureRequest) -> None:
        found = getattr(request.function, "case", None)
        if isinstance(found, Case) and (reason := found.skipped(self.traits)):
            pytest.skip(reason)

    # What the cases start from

    @property
    def traits(self) -> Traits:
        return self.adapter.tuned()

    @property
    def http(self) -> bool:
        """Whether each connection is an HTTP request."""
        return over_http(self.adapter)

    @classmethod
    def simulated(cls) -> Server:
        """Return what to simulate."""
        server = cls.__dict__.get("server", cls.server)
        return cls.adapter.name if server is None else server

    @classmethod
    def make(cls, **options: object) -> Adapter:
        """Return the adapter with other options."""
        return type(cls.adapter)(**{**options_of(cls.adapter), **options})

    @classmethod
    def corpus(cls) -> list[Message]:
        """Return good messages of the provider; over HTTP, those of one answer, with its end."""
        if over_http(cls.adapter):
            came = [_piece(one) for one in cls.frames] or cls.recorded().body
            return [*messages_of(came)]
        if cls.frames:
            return [one if isinstance(one, str | bytes) else json.dumps(one) for one in cls.frames]
        spoken = cls.recorded().spoken
        return [one.message for one in {repr(one.message): one for one in spoken}.values()]

    @classmethod
    def recorded(cls, *, faults: tuple[str, ...] = (), **simulated: object) -> Recording:
        """Return what the provider sends for up to three generations, recorded once."""
        seats = min(3, cls.adapter.tuned().seats)
        texts = tuple(f"{TEXT} {n}" for n in range(seats))
        options = tuple(simulated.items())
        return _recorded(cls.adapter, cls.simulated(), texts, faults, options)

    @classmethod
    def headers(cls) -> dict[str, str]:
        """Return the headers of an answer."""
        return {**cls.answer} if cls.frames else cls.recorded().headers

    def bench(self, **options: Any) -> Bench:
        """Return a client in virtual time; `Bench.connect` greets as the provider does."""
        return Bench(self.adapter, **options)

    def greeting(self) -> list[Message]:
        """Return what the provider says before it is ready."""
        return self.recorded().greeting if self.traits.greeting else []

    @classmethod
    def mutated(cls) -> int:
        """Return how many mutated messages to decode."""
        return int(os.environ.get(FUZZ, cls.fuzz))


def _piece(frame: Message | Mapping[str, object]) -> bytes:
    """Return a piece of an answer's body."""
    if isinstance(frame, bytes):
        return frame
    return frame.encode() if isinstance(frame, str) else json.dumps(frame).encode() + b"\n"


@functools.cache
def _recorded(
    adapter: Adapter,
    server: Server,
    texts: tuple[str, ...],
    faults: tuple[str, ...],
    options: tuple[tuple[str, object], ...],
) -> Recording:
    simulated: dict[str, Any] = dict(options)
    return record(adapter, server, texts, faults=faults, chunk_ms=40.0, **simulated)
