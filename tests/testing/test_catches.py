"""
What the kit is for: adapters with something wrong, and the case that finds it.

Each is one of the good ones with one thing broken, as a beginner would break it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar

import attrs
import pytest

from ttsmux import GradiumRest, KugelAudioRest, XAIRest
from ttsmux.adapter import (
    Adapter,
    Audio,
    Closed,
    DialFailure,
    Failed,
    Frame,
    Generation,
    Handshake,
    Note,
    Options,
    OutputEnd,
    Released,
    Scope,
    Signal,
    Traits,
    Verdict,
    Wire,
)
from ttsmux.adapters.gradium import Gradium
from ttsmux.adapters.xai import XAI
from ttsmux.errors import ConnectError, Error, RemoteProtocolError
from ttsmux.testing import AdapterContract, cases_of
from ttsmux.testing.cases import Stage

GOOD_VOICE = "YTpq7expH9539ERJ"
FOUND: list[tuple[Adapter, str]] = []


def found_by(*cases: str) -> object:
    """Say which cases should fail for an adapter."""

    def add(kind: type[Adapter]) -> type[Adapter]:
        kind = attrs.frozen(kw_only=True)(kind)
        voice = GOOD_VOICE if kind.traits.voice_required else None
        FOUND.extend((kind(voice=voice), case) for case in cases)
        return kind

    return add


@found_by("fuzz: mutations", "fuzz: hostile")
class Trusting(Gradium):
    """Believes that a message has what it should."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        import json

        return (Note(json.loads(data)["type"].lower()), *super().decode(data, wire))


@found_by("fuzz: number")
class Hoarding(Gradium):
    """Looks through all that it has heard."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        heard = wire.scratch.setdefault("heard", [])
        assert isinstance(heard, list)
        heard.append(data)
        assert all(len(one) for one in heard)
        return super().decode(data, wire)


@found_by("fuzz: length")
class Slow(XAI):
    """Looks for each byte in those before."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        for place in range(0, len(data), 64):
            data[:place].count(0)
        return super().decode(data, wire)


@found_by("decode: apart")
class Stateful(XAI):
    """Remembers in the class what belongs to a connection."""

    heard: ClassVar[list[bytes]] = []

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        self.heard.append(data)
        return [Note(f"number {len(self.heard)}"), *super().decode(data, wire)]


@found_by("2", "2: every order")
class Mixed(Gradium):
    """Takes audio to be of the generation that was heard of last."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        for signal in super().decode(data, wire):
            last = wire.scratch.get("last")
            if isinstance(signal, Audio):
                yield Audio(signal.data, last if isinstance(last, str) else signal.id)
            else:
                wire.scratch["last"] = getattr(signal, "id", None)
                yield signal


@found_by("decode: good", "17: every place")
class Endless(Gradium):
    """Does not know the end marker."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return [one for one in super().decode(data, wire) if not isinstance(one, OutputEnd)]


@found_by("13: kinds", "13: live")
class Strict(XAI):
    """Takes what it does not know for an error."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        found = list(super().decode(data, wire))
        if found == [Note("unknown")]:
            found = [OutputEnd()]
        return found


@found_by("options: pool key", "15")
class Careless(XAI):
    """Has all voices and formats share connections."""

    def pool_key(self, options: Options) -> Hashable:
        return "the same"


@found_by("frames: text", "1")
class Tidy(Gradium):
    """Knows better how to write."""

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        return super().text(gen, piece.replace("  ", " ").replace("oo", "u"))


@found_by("frames: end")
class Repetitive(Gradium):
    """Ends a generation once more when it is interrupted."""

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        return self.end(gen)


@found_by("frames: opening")
class Reopening(Gradium):
    """Sends its settings with every piece."""

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        return (*self.open(gen), *super().text(gen, piece))


@found_by("traits: kept")
class Mute(XAI):
    """Says that it cancels, and does not."""

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        return ()


@found_by("handshake: form")
class Keyless(XAI):
    """Leaves the key at home."""

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return super().handshake(options, None)


@found_by("16b")
class KeylessToo(XAI):
    """The same, on a socket: the provider refuses it, and it says something else."""

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        found = super().verdict(fault, busy)
        return Verdict(found.scope, ConnectError(found.error.message))


@found_by("verdicts")
class Chatty(XAI):
    """Prints whatever the peer says."""

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        found = super().verdict(fault, busy)
        words = fault.reason if isinstance(fault, Closed) else found.error.message
        return Verdict(found.scope, ConnectError(words))


@found_by("traits: seats")
class Cramped(Gradium):
    """Has more seats than slots."""

    def tuned(self) -> Traits:
        return attrs.evolve(super().tuned(), seats=12)


@found_by("8c")
class Collective(Gradium):
    """Takes everybody's errors for the connection's."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        for one in super().decode(data, wire):
            yield Failed(one.error) if isinstance(one, Failed) else one


@found_by("1", "6")
class Impatient(XAI):
    """Takes the first audio for the end."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        found = list(super().decode(data, wire))
        return [*found, Released()] if any(isinstance(o, Audio) for o in found) else found


# Over HTTP


@found_by("13: kinds")
class Gullible(XAIRest):
    """Takes whatever is answered for audio."""

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return (Audio(data),) if data else (OutputEnd(),)


@found_by("decode: good", "1")
class Hasty(XAIRest):
    """Takes the first piece for all there is."""

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return (Audio(data), OutputEnd()) if data else ()


@found_by("decode: good")
class Piecemeal(GradiumRest):
    """Believes that a piece is a line."""

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        found = super().decode_binary(data, Wire(wire.options))
        return [*found, *super().decode_binary(b"", Wire(wire.options))] if data else found


@found_by("13: fields")
class Suspicious(XAIRest):
    """Knows all headers there are."""

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        if set(wire.headers) - {"content-type", "date", "transfer-encoding"}:
            raise RemoteProtocolError("what is this header?")
        return super().decode_binary(data, wire)


@found_by("handshake: form")
class Promising(XAIRest):
    """Says that a request may be made again."""

    traits: ClassVar[Traits] = attrs.evolve(XAIRest.traits, reusable=True)


@found_by("8a", "16b")
class Deaf(KugelAudioRest):
    """Does not read what a refusal says."""

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        return Verdict(Scope.CONNECTION, ConnectError("it did not work", retryable=False))


FAILURES = (AssertionError, Error)
IDS = [f"{type(adapter).__name__}-{case}" for adapter, case in FOUND]


@pytest.mark.counted
@pytest.mark.parametrize(("adapter", "case"), FOUND, ids=IDS)
def test_it_is_found(adapter: Adapter, case: str) -> None:
    """The case fails, and so says what it claims."""
    suite = type("Broken", (AdapterContract,), {"adapter": adapter})()
    (name,) = [name for name in dir(suite) if _id(getattr(suite, name)) == case]
    method = getattr(suite, name)
    takes_a_stage = "stage" in method.__code__.co_varnames[: method.__code__.co_argcount]
    with pytest.raises(FAILURES):
        method(*([Stage(suite, "threads")] if takes_a_stage else []))


def test_the_good_ones_are_not() -> None:
    """Of these cases no good adapter fails one: `test_contract` tries them all."""
    assert {case for _, case in FOUND} <= set(cases_of(AdapterContract))


def _id(method: object) -> str | None:
    found = getattr(method, "case", None)
    return found.id if found is not None else None
