"""What every adapter promises of its decoder: signals or a `ProtocolError`, in linear time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from ..adapter import (
    Adapter,
    Audio,
    CancelAck,
    Failed,
    InputEnd,
    Marks,
    Note,
    OutputEnd,
    Ready,
    Released,
    Signal,
    Verdict,
    Wire,
)
from ..errors import ProtocolError
from .fuzz import HOSTILE, Raw, Shape, is_json, mutations, parsed, poisoned, raw, shapes
from .suite import Suite, case

__all__ = ["DecoderRules"]

SIGNALS = (Ready, Audio, Marks, InputEnd, OutputEnd, Released, CancelAck, Failed, Note)
SMALL, LARGE = 1 << 14, 1 << 18
"""Bytes of the messages whose cost is compared."""
FACTOR = 5
"""How much more than in proportion the large one may cost: the machine is not ours alone."""
UNMEASURABLE = 0.0005
A_CONNECTION = 20
"""Messages that one connection hears while there are mutations to hear."""


def decode(adapter: Adapter, message: Raw, wire: Wire) -> list[Signal]:
    """Have *adapter* decode one message, as the core does."""
    function = adapter.decode if message.text else adapter.decode_binary
    return list(function(message.data, wire))


def facts(signals: Iterable[Signal]) -> list[object]:
    """Return signals as they can be compared: errors are compared by what they say."""
    return [
        (type(one.error), one.error.message, one.id) if isinstance(one, Failed) else one
        for one in signals
    ]


def understood(adapter: Adapter, message: Raw, wire: Wire) -> bool:
    """Decode, and look at what comes; tell whether the message was understood."""
    try:
        signals = decode(adapter, message, wire)
    except ProtocolError:
        return False
    except Exception as exc:
        raise AssertionError(f"{exc!r} is no ProtocolError, on {message!r}") from exc
    for signal in signals:
        assert type(signal) in SIGNALS, f"{signal!r} is no signal"
        id: object = None if isinstance(signal, Ready) else signal.id
        assert id is None or (isinstance(id, str) and adapter.tuned().ids)
        match signal:
            case Audio(data=data):
                assert isinstance(data, bytes)
            case Marks(units=units):
                for unit in units:
                    assert [type(part) for part in unit] == [str, float, float]
            case Failed(error=error):
                assert error.message.isprintable() and len(error.message) < 300
                for busy in (True, False):
                    assert isinstance(adapter.verdict(signal, busy), Verdict)
    return True


class DecoderRules(Suite):
    """The part of the contract that is about what an adapter hears."""

    def wire(self) -> Wire:
        return Wire(self.adapter.options())

    def raws(self) -> list[Raw]:
        return [raw(message) for message in self.corpus()]

    @case("decode: good")
    def test_good_messages(self) -> None:
        """Every message of the corpus is understood, and some of them carry audio or an end."""
        wire = self.wire()
        assert all(understood(self.adapter, message, wire) for message in self.raws())
        wire = self.wire()
        kinds = {type(one) for raw in self.raws() for one in decode(self.adapter, raw, wire)}
        assert Audio in kinds, "no audio in any message"
        assert kinds & {OutputEnd, Released}, "no end in any message"

    @case("decode: apart")
    def test_two_wires_do_not_affect_each_other(self) -> None:
        """What must be remembered between messages is remembered by connection."""
        one, two, alone = self.wire(), self.wire(), self.wire()
        mixed: tuple[list[object], list[object]] = [], []
        for message in self.raws():
            for heard, wire in zip(mixed, (one, two), strict=True):
                heard += facts(decode(self.adapter, message, wire))
        single = [fact for m in self.raws() for fact in facts(decode(self.adapter, m, alone))]
        assert mixed[0] == mixed[1] == single

    @case("13: fields")
    def test_unknown_fields_change_nothing(self) -> None:
        """A field that nobody knows, on any JSON message, leaves its meaning as it was."""
        plain, wire = self.wire(), self.wire()
        extra = {"x_new": {"deep": [1, None, "é"]}, "x-flag": True}
        for message in self.corpus():
            before = facts(decode(self.adapter, raw(message), plain))
            value = parsed(message)
            if isinstance(value, dict):
                message = json.dumps({**extra, **value})
            assert facts(decode(self.adapter, raw(message), wire)) == before

    @case("13: kinds")
    def test_unknown_messages_change_nothing(self) -> None:
        """A message of a kind that nobody knows means nothing, and does no harm."""
        signals = decode(self.adapter, raw(self.unknown), self.wire())
        assert all(isinstance(signal, Note) for signal in signals), signals

    @case("fuzz: mutations")
    def test_mutated_messages(self) -> None:
        """They are understood or refused with a ProtocolError, nothing else."""
        count, heard, texts, parse = self.mutated(), 0, 0, 0
        wire = self.wire()
        for number, message in enumerate(mutations(self.corpus(), count, self.adapter.name)):
            if number % A_CONNECTION == 0:
                wire = self.wire()
            heard += understood(self.adapter, message, wire)
            if message.text:
                texts += 1
                parse += is_json(message.data)
        if any(parsed(message) is not None for message in self.corpus()):
            assert parse >= 0.8 * texts, "else this tests the JSON parser"
        assert heard >= 0.2 * count, "else this tests nothing"

    @case("fuzz: hostile")
    def test_hostile_messages(self) -> None:
        """The ones that chance finds too seldom, and afterwards all is well."""
        wire = self.wire()
        for data in HOSTILE:
            for text in (True, False):
                understood(self.adapter, Raw(data, text), wire)
        for message in poisoned(self.corpus()):
            understood(self.adapter, message, wire)
        wire = self.wire()
        for message in self.raws():
            understood(self.adapter, Raw(b"\xff", True), wire)
            assert understood(self.adapter, message, wire), "and afterwards all is well"

    @case("fuzz: length")
    def test_decoding_takes_linear_time(self) -> None:
        """A message that is sixteen times as long costs no sixteen times sixteen."""
        for name, shape in shapes(self.corpus()):
            small, large = self.cost(shape, SMALL), self.cost(shape, LARGE)
            limit = FACTOR * (LARGE // SMALL) * max(small, UNMEASURABLE)
            assert large < limit, f"{name}: {small:.6f} s, then {large:.6f} s"

    def cost(self, shape: Shape, size: int) -> float:
        """Return the seconds of this process that a message takes."""
        message, wire = shape(size), self.wire()
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            understood(self.adapter, message, wire)
            best = min(best, time.process_time() - begun)
        return best

    @case("fuzz: number")
    def test_a_long_life_costs_no_more(self) -> None:
        """What a connection remembers makes a message no dearer the more there have been."""
        for message in self.raws():
            few, many = self.cost_of_many(message, 125), self.cost_of_many(message, 2000)
            assert many < FACTOR * 16 * max(few, UNMEASURABLE)

    def cost_of_many(self, message: Raw, count: int) -> float:
        wire = self.wire()
        begun = time.process_time()
        for _ in range(count):
            understood(self.adapter, message, wire)
        return time.process_time() - begun
