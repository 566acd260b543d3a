"""
What a provider sends, taken from a simulator, with the signals that an adapter made of it.

The recording is made at the adapter: a copy of it that notes what it is given to decode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from ..adapter import (
    Adapter,
    Audio,
    Frame,
    Generation,
    Ready,
    Signal,
    Traits,
    Wire,
)
from ..client.sync import Client, Speech
from ..errors import Error
from ..settings import PoolLimits, RetryPolicy
from .bench import Message
from .world import KEY, PATIENT, Server, simulator

__all__ = ["Recording", "Spoken", "record", "spy", "with_traits"]

A = TypeVar("A", bound=Adapter)


def _derived(adapter: A, methods: Mapping[str, object]) -> A:
    """Return a copy of *adapter* whose class has other methods."""
    kind = type(adapter)
    derived = type(kind.__name__, (kind,), dict(methods))
    options = {
        field.alias or field.name: getattr(adapter, field.name)
        for field in attrs.fields(kind)
        if field.init
    }
    made: A = derived(**options)
    return made


def with_traits(adapter: A, **changes: object) -> A:
    """Return *adapter* with other traits: shorter clocks, say, so that a test can outlast them."""
    tuned = type(adapter).tuned

    def changed(self: A) -> Traits:
        evolved: Traits = attrs.evolve(tuned(self), **changes)  # type: ignore[arg-type]
        return evolved

    return _derived(adapter, {"tuned": changed})


@attrs.frozen
class Spoken:
    """One message of a provider, and what the adapter made of it."""

    message: Message
    signals: tuple[Signal, ...]

    @property
    def id(self) -> str | None:
        """The generation that it is about, where it says so."""
        ids = [signal.id for signal in self.signals if not isinstance(signal, Ready)]
        return next((id for id in ids if id is not None), None)

    def has(self, *kinds: type[Signal]) -> bool:
        return any(isinstance(signal, kinds) for signal in self.signals)

    @property
    def audio(self) -> bytes:
        return b"".join(signal.data for signal in self.signals if isinstance(signal, Audio))


@attrs.frozen
class Recording:
    """
    What came and went on a client's connections.

    Attributes:
        spoken: the provider's messages, in order.
        headers: of the answer, where it came over HTTP.
        ids: those of the generations, as they were begun.
        pieces: the text that the adapter was given, by generation.
    """

    spoken: list[Spoken] = attrs.field(factory=list)
    headers: dict[str, str] = attrs.field(factory=dict)
    ids: list[str] = attrs.field(factory=list)
    pieces: dict[str, list[str]] = attrs.field(factory=dict)

    @property
    def greeting(self) -> list[Message]:
        """The messages before anything about a generation, up to the one that says ready."""
        for place, one in enumerate(self.spoken):
            if one.has(Ready):
                return [each.message for each in self.spoken[: place + 1]]
        return []

    @property
    def body(self) -> list[bytes]:
        """The pieces of an answer's body, over HTTP."""
        return [one.message for one in self.spoken if isinstance(one.message, bytes)]

    def of(self, id: str) -> list[Spoken]:
        """Return the messages about one generation."""
        return [one for one in self.spoken if one.id == id]


def spy(adapter: A, tape: Recording) -> A:
    """Return an *adapter* that notes on *tape* what it is asked."""
    kind = type(adapter)

    def decode(self: A, data: bytes, wire: Wire) -> Iterable[Signal]:
        signals = tuple(kind.decode(self, data, wire))
        tape.spoken.append(Spoken(data.decode("utf-8", "replace"), signals))
        return signals

    def decode_binary(self: A, data: bytes, wire: Wire) -> Iterable[Signal]:
        tape.headers.update(wire.headers)
        signals = tuple(kind.decode_binary(self, data, wire))
        tape.spoken.append(Spoken(data, signals))
        return signals

    def open(self: A, gen: Generation) -> Iterable[Frame]:
        tape.ids.append(gen.id)
        return kind.open(self, gen)

    def text(self: A, gen: Generation, piece: str) -> Iterable[Frame]:
        tape.pieces.setdefault(gen.id, []).append(piece)
        return kind.text(self, gen, piece)

    methods = {"decode": decode, "decode_binary": decode_binary, "open": open, "text": text}
    return _derived(adapter, methods)


def record(
    adapter: Adapter,
    server: Server,
    texts: Sequence[str],
    *,
    faults: Iterable[str] = (),
    chunk_ms: float = 80.0,
    **options: Any,
) -> Recording:
    """
    Have *texts* spoken at once, on one connection if the provider does that, and record it.

    *options* are the simulated provider's.
    """
    tape = Recording()
    copy, faults = spy(adapter, tape), tuple(faults)
    pool, retry = PoolLimits(min_idle=0), RetryPolicy(attempts=1)
    with (
        simulator(server, faults=faults, chunk_ms=chunk_ms, **options) as sim,
        Client(
            copy,
            base_url=sim.url,
            api_key=KEY,
            pool=pool,
            retry=retry,
            timeouts=PATIENT,
            fallback=None,
        ) as client,
    ):
        client.prewarm()
        speeches = [client.speak(text) for text in texts]
        try:
            for speech in speeches:
                _listen(speech, bool(faults))
        finally:
            for speech in speeches:
                speech.interrupt()
    return tape


def _listen(speech: Speech, may_fail: bool) -> None:
    try:
        speech.read()
    except Error:
        # Of a fault that was asked for: the messages are what counts.
        if not may_fail:
            raise
