"""Text reaches every provider as it was written, whatever the pieces that it was written in."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.providers import shapes
from ttsmux.adapter import Adapter, HoldBack, Input, Join
from ttsmux.testing import Message, record
from ttsmux.testing.texts import arrives, pieces_of
from ttsmux.text.cutting import Cutter

ADAPTERS = {name: adapter for name, (adapter, _) in shapes().items()}
every_adapter = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
CUTTERS = {
    f"{hold_back.value}-{join.value}": Cutter(hold_back=hold_back, join=join)
    for hold_back in HoldBack
    for join in Join
}
every_cutter = pytest.mark.parametrize("cutter", CUTTERS.values(), ids=CUTTERS)

TEXT = st.text(alphabet="abé1 \n<>/.!$\"'؟،;-", max_size=80)
MAX_TAG = 64


@st.composite
def chunked(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXT) -> list[str]:
    """Draw a text in chunks."""
    text = draw(texts)
    places = draw(st.lists(st.integers(0, len(text)), max_size=10).map(sorted))
    return [text[a:b] for a, b in pairwise([0, *places, len(text)])]


def sent(adapter: Adapter, chunks: Sequence[str]) -> list[str]:
    return pieces_of(adapter, chunks, greeting(adapter))


@functools.cache
def greeting(adapter: Adapter) -> Sequence[Message]:
    """What the provider says before it takes text, recorded from its simulator."""
    return record(adapter, adapter.name, ["hi"]).greeting if adapter.tuned().greeting else ()


@pytest.mark.counted
@every_adapter
@given(chunks=chunked())
def test_any_text_arrives(adapter: Adapter, chunks: list[str]) -> None:
    """Joined as the provider joins them, the pieces are the text."""
    pieces = sent(adapter, chunks)
    assert arrives("".join(chunks), pieces, adapter), pieces


@pytest.mark.counted
@every_adapter
@given(chunks=chunked())
def test_cuts_are_made_where_the_join_puts_them_back(adapter: Adapter, chunks: list[str]) -> None:
    """Verbatim anywhere; with a space of the provider's, at a single one between two others."""
    text, pieces = "".join(chunks), sent(adapter, chunks)
    join, at = adapter.tuned().join, 0
    if adapter.tuned().input is Input.WHOLE:
        return
    for before, after in pairwise(pieces):
        at = at + len(before)
        if join is Join.SPACE:
            assert text[at] == " " and not text[at - 1].isspace() and not text[at + 1].isspace()
            at += 1
        assert text[at:].startswith(after[:-1]), "at most a space at the end is more"


@every_adapter
@pytest.mark.parametrize(
    ("chunks", "whole"),
    [
        pytest.param(["$3", ".", "50"], "$3.50", id="money in three pieces"),
        pytest.param(["$", "3.5", "0 today"], "$3.50", id="money and more"),
        pytest.param(["is 3", " < 5", " or not"], "3 < 5", id="a comparison"),
        pytest.param(["one\n", "\n", "\ntwo"], "two", id="blank lines"),
        pytest.param(["   one", " two   "], "one two", id="leading and trailing spaces"),
        pytest.param(["a <br", 'eak time="', '1s"/> b'], '<break time="1s"/>', id="a tag in three"),
    ],
)
def test_these_arrive(adapter: Adapter, chunks: list[str], whole: str) -> None:
    """And what they are about is whole, where its parts would be heard."""
    text, pieces = "".join(chunks), sent(adapter, chunks)
    assert arrives(text, pieces, adapter), pieces
    traits = adapter.tuned()
    joined = (" " if traits.join is Join.SPACE else "").join(pieces)
    assert whole in joined or traits.input is Input.WHOLE
    if traits.hold_back is not HoldBack.NONE and " " not in whole:
        assert any(whole in piece for piece in pieces)
    if whole.startswith("<") and traits.markup:
        assert any(whole in piece for piece in pieces)


@every_adapter
@given(chunks=chunked())
def test_verbatim_is_exact(adapter: Adapter, chunks: list[str]) -> None:
    """To the character, if the text does not end with white space that came by itself."""
    text = "".join(chunks)
    traits = adapter.tuned()
    if traits.join is Join.VERBATIM and traits.input is Input.DELTAS and text.rstrip() == text:
        assert "".join(sent(adapter, chunks)) == text


@every_adapter
@given(text=TEXT)
def test_trailing_spaces_of_a_whole_text_are_kept(adapter: Adapter, text: str) -> None:
    """What is written at once goes out at once, the white space at both ends included."""
    traits = adapter.tuned()
    if traits.join is not Join.TRAILING_SPACE and traits.input is Input.DELTAS and text.strip():
        joined = (" " if traits.join is Join.SPACE else "").join(sent(adapter, [text]))
        assert joined == text


# --- what a `<` holds back ------------------------------------------------------------------------


@every_cutter
@given(before=st.sampled_from(["", "a ", "one two "]), after=TEXT)
def test_only_a_letter_or_a_slash_makes_it_a_tag(cutter: Cutter, before: str, after: str) -> None:
    """Anything else behind it, and it holds nothing back."""
    if after and not (after[0] == "/" or (after[0].isascii() and after[0].isalpha())):
        free = Cutter(hold_back=cutter.hold_back, join=cutter.join, markup=False)
        tail = after.replace("<", "-").replace(">", "-")
        text = f"{before}<{tail}"
        assert cutter.cut(text) == free.cut(text)


@every_cutter
@given(inside=st.text(alphabet="ab =/", max_size=2 * MAX_TAG))
def test_it_holds_back_no_more_than_a_tag_is_long(cutter: Cutter, inside: str) -> None:
    """A `<` that is not closed after 64 characters is a `<`."""
    text = f"one two <a{inside}"
    free = Cutter(hold_back=cutter.hold_back, join=cutter.join, markup=False)
    _, held = cutter.cut(text)
    if len(text) - text.index("<") > MAX_TAG:
        assert held == free.cut(text)[1]
    elif cutter.hold_back is HoldBack.NONE and cutter.join is not Join.SPACE:
        assert held == text[text.index("<") :]


@every_cutter
def test_a_lone_one_waits_for_the_next_character(cutter: Cutter) -> None:
    """At the very end nobody knows yet; the next character tells."""
    assert cutter.cut("one two <")[1].endswith("<")
    assert not cutter.cut("one two < 5 six seven. ")[1].startswith("<")
