"""Where text may be cut, whatever the pieces that it comes in."""

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.text.cutting import Cutter, HoldBack, Join, speakable

WORDS = HoldBack.WORD
SENTENCES = HoldBack.SENTENCE

# What decides where a cut may be, and a few letters between.
TEXT = st.text(alphabet="abé1 \n<>/.!\"'؟،;-", max_size=60)
SPACED = st.lists(st.text(alphabet="abé1<>/.,", min_size=1, max_size=6), max_size=12).map(" ".join)
LIMITS = st.one_of(st.none(), st.integers(1, 12))
HOLD_BACKS = st.sampled_from(HoldBack)
JOINS = st.sampled_from(Join)


@st.composite
def chunked(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXT) -> list[str]:
    """Draw a text in chunks."""
    text = draw(texts)
    places = draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    return [text[a:b] for a, b in pairwise([0, *places, len(text)])]


def feed(cutter: Cutter, chunks: Iterable[str]) -> list[str]:
    """Return the pieces that are sent for a text that comes as *chunks*."""
    held = ""
    sent: list[str] = []
    for chunk in chunks:
        pieces, held = cutter.cut(held + chunk)
        sent += pieces
    pieces, held = cutter.cut(held, final=True)
    assert held == ""
    return sent + pieces


def visible(text: str) -> str:
    return "".join(text.split())


# --- whatever the chunks --------------------------------------------------------------------------


@given(chunked(), st.sampled_from([HoldBack.NONE, HoldBack.WORD]))
def test_verbatim_pieces_are_the_text_again(chunks: list[str], hold_back: HoldBack) -> None:
    """Nothing is lost but white space at the end that had nothing to go with."""
    text = "".join(chunks)
    sent = "".join(feed(Cutter(hold_back=hold_back), chunks))
    assert sent in (text, text.rstrip()) or sent.rstrip() == text.rstrip()
    assert text.startswith(sent)
    assert text[len(sent) :].strip() == ""


@given(chunked())
def test_sentences_are_the_text_again(chunks: list[str]) -> None:
    """Without a limit, a blank line goes with the sentence behind it."""
    text = "".join(chunks)
    sent = "".join(feed(Cutter(hold_back=SENTENCES), chunks))
    assert text.startswith(sent)
    assert text[len(sent) :].strip() == ""


@given(chunked(), st.sampled_from([HoldBack.NONE, HoldBack.WORD]))
def test_pieces_joined_with_a_space_are_the_text_again(
    chunks: list[str], hold_back: HoldBack
) -> None:
    """A cut is made at a single space, and the join puts it back."""
    text = "".join(chunks)
    pieces = feed(Cutter(hold_back=hold_back, join=Join.SPACE), chunks)
    assert " ".join(pieces) == ("" if text.isspace() else text)
    for before, after in pairwise(pieces):
        assert not before[-1].isspace() and not after[0].isspace()


@given(chunked(), st.sampled_from([HoldBack.NONE, HoldBack.WORD]))
def test_the_last_piece_is_given_a_space(chunks: list[str], hold_back: HoldBack) -> None:
    """Where a provider waits for a space, the text ends with one, and with one more at most."""
    text = "".join(chunks)
    sent = "".join(feed(Cutter(hold_back=hold_back, join=Join.TRAILING_SPACE), chunks))
    assert sent.rstrip() == text.rstrip()
    assert len(sent) <= len(text) + 1
    if hold_back is WORDS and sent:
        assert sent[-1].isspace()


@given(chunked(), HOLD_BACKS, JOINS, LIMITS, st.booleans())
def test_no_piece_is_blank_or_too_long(
    chunks: list[str], hold_back: HoldBack, join: Join, limit: int | None, markup: bool
) -> None:
    """Under every rule, and nothing that can be seen is lost."""
    cutter = Cutter(hold_back=hold_back, join=join, limit=limit, markup=markup)
    pieces = feed(cutter, chunks)
    assert all(piece.strip() for piece in pieces)
    assert all(len(piece) <= limit for piece in pieces if limit is not None)
    assert visible("".join(pieces)) == visible("".join(chunks))


@given(chunked(), HOLD_BACKS, JOINS, LIMITS, st.data())
def test_a_flush_anywhere_loses_nothing(
    chunks: list[str], hold_back: HoldBack, join: Join, limit: int | None, data: st.DataObject
) -> None:
    """A flush changes where text is cut, not what is sent."""
    cutter = Cutter(hold_back=hold_back, join=join, limit=limit)
    held = ""
    sent: list[str] = []
    for chunk in chunks:
        for flush in (False, data.draw(st.booleans())):
            pieces, held = cutter.cut(held + ("" if flush else chunk), flush=flush)
            sent += pieces
            chunk = ""
    pieces, _ = cutter.cut(held, final=True)
    sent += pieces
    assert all(piece.strip() for piece in sent)
    assert all(len(piece) <= limit for piece in sent if limit is not None)
    assert visible("".join(sent)) == visible("".join(chunks))


@given(SPACED, st.integers(6, 20))
def test_within_the_limit_no_word_is_cut(text: str, limit: int) -> None:
    """Where a word cut in two would be heard; verbatim it would not, and the text is whole."""
    assert "".join(feed(Cutter(limit=limit, markup=False), [text])) == text
    cutter = Cutter(hold_back=WORDS, join=Join.SPACE, limit=limit, markup=False)
    pieces = feed(cutter, [text])
    assert " ".join(pieces) == text
    assert [word for piece in pieces for word in piece.split()] == text.split()


@given(chunked(SPACED), st.integers(6, 20))
def test_sentences_cut_no_word_that_fits(chunks: list[str], limit: int) -> None:
    """Also where they come in pieces and fill the limit before they end."""
    cutter = Cutter(hold_back=SENTENCES, limit=limit, markup=False)
    pieces = feed(cutter, chunks)
    assert [word for piece in pieces for word in piece.split()] == "".join(chunks).split()


@given(chunked(), st.integers(1, 12))
def test_verbatim_pieces_within_a_limit_are_the_text_again(chunks: list[str], limit: int) -> None:
    """But for white space at the end, and for a run of it that is no shorter than the limit."""
    text = "".join(chunks)
    sent = "".join(feed(Cutter(hold_back=WORDS, limit=limit), chunks))
    longest = max((len(run) for run in _blank_runs(text)), default=0)
    if longest < limit:
        assert sent.rstrip() == text.rstrip()
    assert len(sent) <= len(text)


def _blank_runs(text: str) -> list[str]:
    marked = "".join(" " if char.isspace() else "x" for char in text)
    return marked.replace("x", "|").split("|")


# --- markup ---------------------------------------------------------------------------------------


def test_a_tag_in_three_pieces_goes_in_one() -> None:
    """What came before it need not wait for it."""
    assert feed(Cutter(), ["Hello <bre", "ak time=", '"1s"/>!']) == [
        "Hello ",
        '<break time="1s"/>!',
    ]


def test_a_comparison_is_not_markup() -> None:
    """A `<` waits for what follows it, and for no more than that."""
    cutter = Cutter()
    assert cutter.cut("3 <") == (["3 "], "<")
    assert cutter.cut("< ") == (["< "], "")
    assert cutter.cut("<5") == (["<5"], "")


@pytest.mark.parametrize("start", ["<", "<b", "</", "</b", '<break time="1.5s'])
def test_the_beginning_of_a_tag_waits(start: str) -> None:
    """A letter or a slash may follow, and then no end."""
    assert Cutter().cut("so " + start) == (["so "], start)


def test_without_markup_nothing_waits_for_a_tag() -> None:
    """A provider that speaks what it is given gets it."""
    assert Cutter(markup=False).cut("so <b") == (["so <b"], "")


def test_no_tag_is_longer_than_64_characters() -> None:
    """Then it was none, and what was held back goes."""
    cutter = Cutter()
    assert cutter.cut("<" + "a" * 63) == ([], "<" + "a" * 63)
    assert cutter.cut("<" + "a" * 64) == (["<" + "a" * 64], "")


@pytest.mark.parametrize("join", Join)
@pytest.mark.parametrize("hold_back", HoldBack)
def test_a_tag_with_spaces_is_not_cut(hold_back: HoldBack, join: Join) -> None:
    """Its spaces, and the full stops in it, are no places to cut."""
    tag = '<say as="Mr. X" time="1.5s" />'
    text = f"One two {tag}three {tag} four. Five"
    for size in range(1, len(text)):
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        pieces = feed(Cutter(hold_back=hold_back, join=join), chunks)
        assert sum(piece.count(tag) for piece in pieces) == 2, pieces


def test_many_tags_are_skipped_to_find_a_place_before_them() -> None:
    """The last space outside of markup is the place."""
    text = "one two <a b><c d>x"
    assert Cutter(hold_back=WORDS).cut(text) == (["one two "], "<a b><c d>x")
    space = Cutter(hold_back=WORDS, join=Join.SPACE)
    assert space.cut(text) == (["one two"], "<a b><c d>x")
    assert Cutter(hold_back=WORDS).cut("<a b><c d>x") == ([], "<a b><c d>x")


def test_a_word_before_an_open_tag_need_not_wait() -> None:
    """The space before the tag is a place to cut, although the tag waits."""
    space = Cutter(hold_back=WORDS, join=Join.SPACE)
    assert space.cut("Hello there. <br") == (["Hello there."], "<br")


def test_the_limit_breaks_before_a_tag_rather_than_in_it() -> None:
    """Unless the tag alone is too long."""
    assert feed(Cutter(limit=8), ["ab<c d e>f"]) == ["ab", "<c d e>f"]
    assert feed(Cutter(limit=4), ["ab<c d e>f"]) == ["ab", "<c d", " e>f"]


# --- words ----------------------------------------------------------------------------------------


def test_half_a_word_waits() -> None:
    """Language models cut words; a provider that speaks them at once must not see it."""
    assert feed(Cutter(hold_back=WORDS), [" un", "believ", "able th", "ing"]) == [
        " unbelievable ",
        "thing",
    ]
    assert feed(Cutter(hold_back=WORDS, join=Join.SPACE), ["un", "believ", "able th", "ing"]) == [
        "unbelievable",
        "thing",
    ]


@pytest.mark.parametrize("join", Join)
@pytest.mark.parametrize("hold_back", [WORDS, SENTENCES])
def test_a_price_in_three_pieces_goes_in_one(hold_back: HoldBack, join: Join) -> None:
    """A full stop in a number ends nothing."""
    pieces = feed(Cutter(hold_back=hold_back, join=join), ["It is $3", ".5", "0 now"])
    assert any("$3.50" in piece for piece in pieces)


@pytest.mark.parametrize("blank", ["  ", "\n", "\n\n", "\t", " \n "])
def test_other_white_space_than_one_space_is_no_place_for_a_join_with_a_space(blank: str) -> None:
    """The join could not give it back."""
    space = Cutter(hold_back=WORDS, join=Join.SPACE)
    assert space.cut(f"one{blank}two") == ([], f"one{blank}two")
    assert feed(space, [f"one{blank}", "two three"]) == [f"one{blank}two", "three"]


def test_white_space_at_the_edges_is_kept_where_there_is_something_to_go_with() -> None:
    """Blank text waits for more; blank text at the end goes nowhere."""
    assert feed(Cutter(), ["  ", "Hi", "  "]) == ["  Hi"]
    assert feed(Cutter(), ["  ", "Hi  "]) == ["  Hi  "]
    assert feed(Cutter(hold_back=WORDS), ["  ", "Hi", "  "]) == ["  Hi  "]
    assert feed(Cutter(hold_back=WORDS), ["\n\n", "  "]) == []
    assert feed(Cutter(), []) == []


def test_a_join_with_a_space_never_cuts_a_word() -> None:
    """Without holding back there would be spaces inside of words."""
    assert feed(Cutter(join=Join.SPACE), ["un", "do ", "it"]) == ["undo", "it"]


# --- flush ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [".", "!", ",", " ", "\n", '"', "؟", "…"])
@pytest.mark.parametrize("hold_back", HoldBack)
def test_a_flush_lets_a_whole_word_go(hold_back: HoldBack, end: str) -> None:
    """Punctuation or white space shows that it is whole."""
    cutter = Cutter(hold_back=hold_back)
    assert cutter.cut("Hello" + end, flush=True) == (["Hello" + end], "")


@pytest.mark.parametrize("half", ["wor", "3", "é", "e\N{COMBINING ACUTE ACCENT}", "हिन्दी"])
@pytest.mark.parametrize("hold_back", [WORDS, SENTENCES])
@pytest.mark.parametrize("join", Join)
def test_a_flush_keeps_half_a_word(hold_back: HoldBack, join: Join, half: str) -> None:
    """A letter, a digit or a vowel sign may be in the middle of one."""
    assert Cutter(hold_back=hold_back, join=join).cut(half, flush=True) == ([], half)


def test_a_flush_keeps_an_open_tag() -> None:
    """Half a tag would be spoken."""
    assert Cutter(hold_back=WORDS).cut("Hello. <br", flush=True) == (["Hello. "], "<br")


def test_a_flush_leaves_the_last_space_to_the_join() -> None:
    """A join with a space gives white space at the end back as one."""
    space = Cutter(hold_back=WORDS, join=Join.SPACE)
    assert space.cut("Hello  ", flush=True) == (["Hello"], "")
    assert space.cut("Hello.", flush=True) == (["Hello."], "")


def test_a_flush_of_blank_text_keeps_it() -> None:
    """There is nothing to hear in it."""
    assert Cutter().cut(" \n", flush=True) == ([], " \n")


# --- sentences ------------------------------------------------------------------------------------


def test_sentences_go_one_by_one() -> None:
    """Each with its marks and quotes; the white space goes with the next."""
    text = 'One. Two! "Three?" Four… Five'
    assert feed(Cutter(hold_back=SENTENCES), [text]) == [
        "One.",
        " Two!",
        ' "Three?"',
        " Four…",
        " Five",
    ]


def test_a_full_stop_waits_for_what_follows_it() -> None:
    """It may be in a number or a name."""
    cutter = Cutter(hold_back=SENTENCES)
    assert cutter.cut("Version 3.") == ([], "Version 3.")
    assert cutter.cut("Version 3.5 is out. ") == (["Version 3.5 is out."], " ")


def test_arabic_sentences_end_at_their_own_question_mark_and_at_a_full_stop() -> None:
    """Its comma and semicolon end nothing; its question mark needs no space behind it."""
    text = "مرحبا، كيف حالك؟ أنا بخير؛ شكرا. وأنت؟نعم"
    assert feed(Cutter(hold_back=SENTENCES), text) == [
        "مرحبا، كيف حالك؟",
        " أنا بخير؛ شكرا.",
        " وأنت؟",
        "نعم",
    ]


def test_a_blank_line_ends_a_sentence() -> None:
    """Headings have no full stop; the blank line goes with what is before it."""
    cutter = Cutter(hold_back=SENTENCES)
    assert feed(cutter, ["A heading\n \nThe text"]) == ["A heading\n \n", "The text"]
    assert feed(cutter, ["Done.\n\nNext"]) == ["Done.", "\n\nNext"]
    assert cutter.cut("\n\nNext") == ([], "\n\nNext")


def test_a_long_sentence_is_cut_between_words() -> None:
    """What fills the limit goes; the rest waits for its end."""
    cutter = Cutter(hold_back=SENTENCES, limit=12)
    assert cutter.cut("one two three four five") == (["one two ", "three four "], "five")
    assert cutter.cut(" abcdefghijkl mnop") == (["abcdefghijkl"], " mnop")


def test_only_a_word_longer_than_the_limit_is_cut() -> None:
    """There is no other way to send it."""
    cutter = Cutter(hold_back=SENTENCES, limit=5)
    assert feed(cutter, ["abcdefgh ij"]) == ["abcde", "fgh ", "ij"]


# --- limits ---------------------------------------------------------------------------------------


def test_a_piece_with_white_space_around_it_is_no_longer_than_the_limit() -> None:
    """A blank piece is not put onto one that is full already."""
    assert feed(Cutter(limit=4), ["abcd    efgh"]) == ["abcd", " efg", "h"]
    assert feed(Cutter(limit=4), ["abcd  "]) == ["abcd"]
    assert feed(Cutter(limit=4, join=Join.TRAILING_SPACE), ["abcd"]) == ["abcd"]


def test_white_space_behind_a_full_piece_waits_for_the_next() -> None:
    """It is not lost as long as more text may come."""
    cutter = Cutter(hold_back=WORDS, limit=4)
    assert cutter.cut("abcd ") == (["abcd"], " ")
    assert feed(cutter, ["abcd ", "efg"]) == ["abcd", " efg"]


def test_white_space_that_fills_a_piece_shrinks_to_one_space() -> None:
    """A piece must have something in it to say."""
    assert feed(Cutter(limit=4), ["ab" + " " * 20 + "cd"]) == ["ab  ", " cd"]
    assert feed(Cutter(limit=1), ["a  b"]) == ["a", "b"]


def test_a_join_with_a_space_breaks_where_it_can_give_the_text_back() -> None:
    """At a single space, else at any, else anywhere."""
    space = Cutter(hold_back=WORDS, join=Join.SPACE, limit=5)
    assert feed(space, ["ab cdefg hi"]) == ["ab", "cdefg", "hi"]
    assert feed(space, ["ab  cdefg"]) == ["ab ", "cdefg"]
    assert feed(space, ["abcdefgh"]) == ["abcde", "fgh"]


# --- merge ----------------------------------------------------------------------------------------


def test_two_pieces_are_merged_by_the_join() -> None:
    """Fewer messages, the same text."""
    assert Cutter().merge("Hello ", "you") == "Hello you"
    assert Cutter(join=Join.SPACE).merge("Hello", "you") == "Hello you"
    assert Cutter(join=Join.TRAILING_SPACE).merge("Hello ", "you ") == "Hello you "


def test_pieces_are_not_merged_beyond_the_limit() -> None:
    """The join counts."""
    assert Cutter(limit=7).merge("abc", "defg") == "abcdefg"
    assert Cutter(limit=7, join=Join.SPACE).merge("abc", "defg") is None


def test_sentences_stay_apart() -> None:
    """Each is to be spoken on its own."""
    assert Cutter(hold_back=SENTENCES).merge("One.", " Two.") is None


# --- speakable ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "5", "ع", "好", "…a…", "<b>x</b>", "3 < 5"])
def test_letters_and_digits_can_be_spoken(text: str) -> None:
    """In any script, and around markup."""
    assert speakable(text)


@pytest.mark.parametrize("text", ["", " \n", "...", "؟", "—", '<break time="1s"/>', "<b></b>!"])
def test_marks_and_markup_alone_cannot_be_spoken(text: str) -> None:
    """No provider owes audio for them."""
    assert not speakable(text)


# --- cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold_back", HoldBack)
def test_a_long_text_full_of_marks_and_markup_is_cut_in_one_go(hold_back: HoldBack) -> None:
    """What invites a search to start over at each character would take hours here."""
    for text in ("." * 300_000, '."' * 100_000, "<a" * 100_000, "<a b>" * 60_000, "\n " * 100_000):
        for join in (Join.VERBATIM, Join.SPACE):
            cutter = Cutter(hold_back=hold_back, join=join, limit=12_000)
            pieces = feed(cutter, ["x" + text + "x"])
            assert visible("".join(pieces)) == visible("x" + text + "x")


def test_a_book_in_one_piece() -> None:
    """Eight times the text takes eight times as long, not sixty-four."""
    book = "word. " * 50_000
    cutter = Cutter(limit=20)

    def seconds(text: str) -> float:
        begin = time.thread_time()
        pieces, _ = cutter.cut(text, final=True)
        assert "".join(pieces).rstrip() == text.rstrip()
        return time.thread_time() - begin

    ratios = [seconds(8 * book) / seconds(book) for _ in range(3)]
    assert min(ratios) < 24, ratios
