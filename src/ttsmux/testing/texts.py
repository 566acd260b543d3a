"""
Text reaches the provider as it was written, whatever the pieces that it was written in.

Put together by the provider's own join rule, what the adapter was given to send is the text again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ..adapter import Adapter, Input, Join
from ..core.route import Plan, Route
from .bench import Bench, Message
from .recording import Recording, spy
from .suite import Suite, case

__all__ = ["TextRules", "arrives", "pieces_of"]

TEXTS: tuple[Sequence[str], ...] = (
    ("Good morning to you.",),
    ("$", "3.", "50"),
    ("It costs $3", ".5", "0 today."),
    ("3", " <", " 5 and 7 >", " 5"),
    ("a<b", "rea", "k/>b"),
    ("one <br", 'eak time="', '1s"/> two'),
    ("one\n", "\n", "two\n\nthree"),
    ("   leading", " and trailing   "),
    ("two  spaces", "  here"),
    ("un", "believ", "able, ", "isn't", " it?"),
    ("Žluťoučký", " kůň ", "東京", " 🎈"),
    ("x < y <", " z"),
)
SPLITS = 50
"""How many ways each text is cut in, by chance."""


def pieces_of(
    adapter: Adapter, chunks: Iterable[str], greeting: Iterable[Message] = ()
) -> list[str]:
    """Return what *adapter* is given to send for text that is written as *chunks*."""
    plan = Plan.make(Route(adapter=adapter), 0, {})
    if plan.traits.input is Input.WHOLE:
        # One generation a sentence: the next one waits for the provider, who is not here.
        pieces, held = [], ""
        for chunk in chunks:
            found, held = plan.cutter.cut(held + chunk)
            pieces += found
        return pieces + plan.cutter.cut(held, final=True)[0]
    tape = Recording()
    bench = Bench(spy(adapter, tape))
    speech = bench.speak()
    bench.connect(*greeting)
    for chunk in chunks:
        bench.write(speech, chunk)
    bench.end(speech)
    return [piece for pieces in tape.pieces.values() for piece in pieces]


def arrives(text: str, pieces: Sequence[str], adapter: Adapter) -> bool:
    """
    Tell whether *pieces*, as this provider joins them, are *text*.

    White space at the very end may be missing: when it comes, nothing is left that it could go
    with, and blank messages mean other things. Where text is taken whole, pieces stand for
    themselves, and the white space between two is nobody's.
    """
    traits = adapter.tuned()
    if traits.input is Input.WHOLE:
        return "".join(text.split()) == "".join("".join(pieces).split())
    joined = (" " if traits.join is Join.SPACE else "").join(pieces)
    if traits.join is Join.TRAILING_SPACE and joined == text + " ":
        return True
    if traits.join is Join.SPACE:
        for before, after in pairwise(pieces):
            if before[-1].isspace() or after[0].isspace():
                return False
    return text.startswith(joined) and not text[len(joined) :].strip()


class TextRules(Suite):
    """The part of the contract that is about the text on its way."""

    @case("text: unchanged")
    def test_text_arrives(self) -> None:
        """Joined as the provider joins them, the pieces that are sent are the text."""
        rng = random.Random(self.adapter.name)
        greeting = self.greeting()
        for chunks in TEXTS:
            text = "".join(chunks)
            ways = [chunks, [text], list(text), *(_split(text, rng) for _ in range(SPLITS))]
            for way in ways:
                pieces = pieces_of(self.adapter, way, greeting)
                assert arrives(text, pieces, self.adapter), (way, pieces)
                assert all(piece.strip() for piece in pieces), "a blank message is no text"
                limit = self.traits.max_text
                assert limit is None or all(len(piece) <= limit for piece in pieces)

    @case("text: nothing")
    def test_no_text_is_no_generation(self) -> None:
        """Empty and blank text puts nothing on the wire."""
        for chunks in ((), ("",), (" ", "\n", ""), ("\t \n",)):
            assert pieces_of(self.adapter, chunks, self.greeting()) == []


def _split(text: str, rng: random.Random) -> list[str]:
    places = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randint(1, 5)))
    return [text[a:b] for a, b in pairwise([0, *places, len(text)])]
