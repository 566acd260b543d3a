"""What every adapter promises of its decoder: signals or a `ProtocolError`, in linear time."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable

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
from .answers import END, cut_at
from .bench import Message
from .fuzz import HOSTILE, Raw, Shape, is_json, like, mutations, parsed, poisoned, raw, shapes
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
SIZES: tuple[Callable[[random.Random], int], ...] = (
    lambda rng: 1,
    lambda rng: rng.randint(1, 500),
    lambda rng: 1 << 30,
)
"""Into what pieces the body of an answer is cut."""
PAGE = "text/html", b"<html><body>Come back later</body></html>"
"""What proxies answer, with a status that says success."""
NEW_HEADER = {"x-new": "shiny"}


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


def meaning(signals: Iterable[Signal]) -> tuple[bytes, list[object], int]:
    """Return what a whole answer says: its audio, its times, and how often it ends."""
    kept = list(signals)
    audio = b"".join(one.data for one in kept if isinstance(one, Audio))
    units = [unit for one in kept if isinstance(one, Marks) for unit in one.units]
    return audio, [*units], sum(isinstance(one, OutputEnd | Released) for one in kept)


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

    def wire(self, **headers: str) -> Wire:
        wire = Wire(self.adapter.options())
        if self.http:
            wire.headers = {**self.headers(), **headers}
        return wire

    def raws(self) -> list[Raw]:
        return [raw(message) for message in self.corpus()]

    def said(self) -> list[Message]:
        """Return the messages that say something: all but the end of an answer."""
        return [message for message in self.corpus() if message != END]

    def in_json(self) -> bool:
        """Tell whether all that is said is JSON."""
        return all(parsed(message) is not None for message in self.said())

    def hang_up(self, wire: Wire) -> bool:
        """Tell *wire* that its answer is over; whether that was understood."""
        return understood(self.adapter, Raw(END, False), wire)

    @case("decode: good")
    def test_good_messages(self) -> None:
        """
        Every message of the corpus is understood, and some of them carry audio or an end.

        The body of an answer means the same wherever it is cut.
        """
        wire = self.wire()
        assert all(understood(self.adapter, message, wire) for message in self.raws())
        wire = self.wire()
        signals = [one for raw in self.raws() for one in decode(self.adapter, raw, wire)]
        kinds = {type(one) for one in signals}
        assert Audio in kinds, "no audio in any message"
        assert kinds & {OutputEnd, Released}, "no end in any message"
        if self.http:
            whole = meaning(signals)
            assert whole[-1] == 1, "it ends more than once"
            for size in SIZES:
                assert meaning(self.heard_in_pieces(size)) == whole, "it was cut elsewhere"

    def heard_in_pieces(self, size: Callable[[random.Random], int]) -> list[Signal]:
        rng, wire = random.Random(self.adapter.name), self.wire()
        body = [message for message in self.corpus() if isinstance(message, bytes)]
        pieces = [Raw(piece, False) for piece in cut_at(body, lambda: size(rng))]
        return [one for piece in pieces for one in decode(self.adapter, piece, wire)]

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
        """A field that nobody knows, on any JSON message, or a header changes no meaning."""
        plain, wire = self.wire(), self.wire(**NEW_HEADER)
        extra = {"x_new": {"deep": [1, None, "é"]}, "x-flag": True}
        for message in self.corpus():
            before = facts(decode(self.adapter, raw(message), plain))
            value, also = parsed(message), raw(message)
            if isinstance(value, dict):
                also = like(message, json.dumps({**extra, **value}).encode())
            assert facts(decode(self.adapter, also, wire)) == before

    @case("13: kinds")
    def test_unknown_messages_change_nothing(self) -> None:
        """
        A message of a kind that nobody knows means nothing, and does no harm.

        An answer that is no speech at all is an error, and not the end of one.
        """
        if not self.http:
            signals = decode(self.adapter, raw(self.unknown), self.wire())
            assert all(isinstance(signal, Note) for signal in signals), signals
            return
        kind, page = PAGE
        wire = self.wire(**{"content-type": kind})
        signals = []
        try:
            for piece in (page, END):
                signals += decode(self.adapter, Raw(piece, False), wire)
        except ProtocolError:
            return
        assert any(isinstance(signal, Failed) for signal in signals), signals
        assert not any(isinstance(signal, Audio) for signal in signals), signals

    @case("fuzz: mutations")
    def test_mutated_messages(self) -> None:
        """They are understood or refused with a ProtocolError, nothing else."""
        count, heard, texts, parse = self.mutated(), 0, 0, 0
        good, in_json = self.said(), self.in_json()
        wire = self.wire()
        for number, message in enumerate(mutations(good, count, self.adapter.name)):
            place = number % A_CONNECTION
            if place == 0:
                wire = self.wire()
            elif place == 1 and self.http:
                # One answer is the mutation alone, the next one begins well.
                self.hang_up(wire)
                wire = self.wire()
                understood(self.adapter, raw(good[0]), wire)
            heard += understood(self.adapter, message, wire)
            if place == A_CONNECTION - 1 and self.http:
                self.hang_up(wire)
            if message.text or in_json:
                texts += 1
                parse += is_json(message.data)
        if any(parsed(message) is not None for message in good):
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
            wire = self.wire() if self.http else wire
            understood(self.adapter, message, wire)
            if self.http:
                self.hang_up(wire)
        wire = self.wire()
        for message in self.raws():
            understood(self.adapter, Raw(b"\xff", True), wire)
            assert understood(self.adapter, message, wire), "and afterwards all is well"

    @case("fuzz: length")
    def test_decoding_takes_linear_time(self) -> None:
        """A message that is sixteen times as long costs no sixteen times sixteen."""
        for name, shape in shapes(self.said()):
            small, large = self.cost(shape, SMALL), self.cost(shape, LARGE)
            limit = FACTOR * (LARGE // SMALL) * max(small, UNMEASURABLE)
            assert large < limit, f"{name}: {small:.6f} s, then {large:.6f} s"

    def cost(self, shape: Shape, size: int) -> float:
        """Return the seconds of this thread that a message takes."""
        message, wire = shape(size), self.wire()
        best = float("inf")
        for _ in range(3):
            wire = self.wire() if self.http else wire
            begun = time.thread_time()
            understood(self.adapter, message, wire)
            if self.http:
                self.hang_up(wire)
            best = min(best, time.thread_time() - begun)
        return best

    @case("fuzz: number")
    def test_a_long_life_costs_no_more(self) -> None:
        """What a connection remembers makes a message no dearer the more there have been."""
        for message in map(raw, self.said()):
            few, many = self.cost_of_many(message, 125), self.cost_of_many(message, 2000)
            assert many < FACTOR * 16 * max(few, UNMEASURABLE)

    def cost_of_many(self, message: Raw, count: int) -> float:
        wire = self.wire()
        begun = time.thread_time()
        for _ in range(count):
            understood(self.adapter, message, wire)
        if self.http:
            self.hang_up(wire)
        return time.thread_time() - begun
