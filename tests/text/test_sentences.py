"""Where sentences end, whatever the pieces that they come in."""

import re
import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ttsmux.text.cutting import Cutter, HoldBack
from ttsmux.text.sentences import TAG

ALPHABET = "abZéج5 . . !?؟…,،\n\"'()<>/|۔。d\u00a0\u0301\u200d\U0001f44d\U0001f3fd"
TEXTS = st.text(alphabet=ALPHABET, max_size=80) | st.lists(
    st.sampled_from(
        ["Dr.", "e.g.", "3.14", "1,000", "$3.50", "Yes.", "No!", "so", "كيف", "حالك؟", "نعم.",
         "\n\n", "<b>", "</b>", "<br", "1.", "...", "(?)", "好。", "“Hi.”", "a\u00a0b", "x" * 20]
    ),
    max_size=30,
).map(" ".join)  # fmt: skip
LIMITS = st.none() | st.integers(1, 40)


def feed(chunks: Iterable[str], limit: int | None = None, *, markup: bool = False) -> list[str]:
    """Return the pieces of a text that comes as *chunks*."""
    cutter = Cutter(hold_back=HoldBack.SENTENCE, limit=limit, markup=markup)
    held, sent = "", list[str]()
    for chunk in chunks:
        pieces, held = cutter.cut(held + chunk)
        sent += pieces
    pieces, held = cutter.cut(held, final=True)
    assert held == ""
    return sent + pieces


def split(text: str, limit: int | None = None) -> list[str]:
    return feed([text], limit)


def trimmed(text: str) -> list[str]:
    return [piece.strip() for piece in split(text)]


@st.composite
def chunked(draw: st.DrawFn) -> list[str]:
    text = draw(TEXTS)
    places = draw(st.lists(st.integers(0, len(text)), max_size=20).map(sorted))
    return [text[a:b] for a, b in pairwise([0, *places, len(text)])]


# --- whatever the chunks --------------------------------------------------------------------------


@settings(max_examples=200)
@given(chunked(), LIMITS, st.booleans())
@example(["كيف؟", "؟ نعم"], None, False)
@example(["A\n\n", "\nB"], None, False)
@example(["<b c", ". d>e. F"], 6, True)
def test_the_pieces_are_the_same_however_the_text_comes_in(
    chunks: list[str], limit: int | None, markup: bool
) -> None:
    """At once, in these chunks, or a character at a time."""
    text = "".join(chunks)
    whole = feed([text], limit, markup=markup)
    assert feed(chunks, limit, markup=markup) == whole
    assert feed(text, limit, markup=markup) == whole


BETWEEN_WORDS = re.compile(r"[^\S\u00a0]+")
"""One of the spaces in `TEXTS` binds: what stands on either side of it is one word."""


@settings(max_examples=200)
@given(chunked(), LIMITS, st.booleans())
@example(["e.g. a\u00a0b"], 2, False)
def test_the_pieces_are_the_text_again(chunks: list[str], limit: int | None, markup: bool) -> None:
    """But for white space at the end, and in front of a word that does not fit beside it."""
    text = "".join(chunks)
    at = 0
    pieces = feed(chunks, limit, markup=markup)
    for piece in pieces:
        begin = text.index(piece, at)
        skipped = text[at:begin]
        assert not skipped.strip()
        if skipped:
            word = BETWEEN_WORDS.split(text[begin:])[0]
            assert limit is not None and len(skipped) + len(word) > limit
        assert piece.strip() and (limit is None or len(piece) <= limit)
        at = begin + len(piece)
    assert not text[at:].strip()


@given(st.lists(st.text("abcج.،", min_size=1, max_size=9), max_size=30), st.integers(20, 150))
def test_with_room_for_every_word_the_pieces_are_the_text_byte_for_byte(
    words: list[str], limit: int
) -> None:
    """Nothing is left out between them, and no word is cut."""
    text = " ".join(words)
    pieces = split(text, limit)
    assert "".join(pieces) == text
    assert [word for piece in pieces for word in piece.split()] == text.split()


NUMBERS = ["$3.50", "3.14", "1,000", "1.000,50", "10:30", "192.168.0.1", "v2.0.1", "e.g.", "U.S.A.",
           "د.", "٣٫١٤", "٣.١٤", "www.example.com", "a@b.co", "12/24"]  # fmt: skip


@given(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=40), st.integers(16, 150))
def test_numbers_and_abbreviations_are_never_cut(tokens: list[str], limit: int) -> None:
    """Neither by their full stops nor by the limit."""
    text = "so " + " ".join(tokens)
    assert "".join(split(text, limit)) == text
    assert [token for piece in split(text, limit) for token in piece.split()] == text.split()
    assert all(len(piece) <= limit for piece in feed(text, limit))


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sentences",
    [
        ["Good morning.", "How can I help?", "Yes!", "Well…", "Go on"],
        ["أهلاً بك، كيف أستطيع مساعدتك؟", "شكراً لاتصالك.", "إلى اللقاء!"],
        ["مرحبا؛ كيف الحال؟!", "هل تتكلم English؟", "I do.", "ممتاز."],
        ["یہ اردو ہے۔", "کیا حال ہے؟"],
        ["यह हिन्दी है।", "ठीक है।"],
        ['He said "Stop."', "“Why?”", "(He laughed.)", "«Oui.»", "Then..."],
        ["It costs $3.50 or 1,000.75 dinars.", "Version 3.14 is out!", "At 10.30 p.m. we leave."],
        ["Dr. Smith met Mrs. Jones, e.g. in St. Ives.", "J. R. R. Tolkien wrote it.", "See p. 4."],
        ["التقى د. محمد بالسيد أ. علي في القرن الثاني ق.م. في مصر.", "وانتهى الأمر."],
        ["In 2024.", "In 1999.", "Not in 12."],
        ["1. Wash the apples.", "2. Peel them.", "10. Eat."],
        ["Wait... what?", "Right."],
        ["What (?) is it?", "Nothing (...) at all."],
        ["See www.example.com/a?b=c. ", "Or mail me@example.com!"],
        ["Il a dit M.\u00a0Dupont.", "C'est n°\u202f5."],
        ["Étonnant !", "Vraiment ?", "Oui."],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    """One after the other with a space between, they are found again."""
    text = " ".join(sentences)
    wanted = [sentence.strip() for sentence in sentences]
    if "Wait... what?" in wanted:
        wanted[:1] = ["Wait...", "what?"]  # a pause is as good a place
    if "Nothing (...) at all." not in wanted:
        assert trimmed(text) == wanted
    assert "".join(split(text)) == text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("你好。我很好！再见", ["你好。", "我很好！", "再见"]),
        ("「はい。」そうです。", ["「はい。」", "そうです。"]),
        ("كيف حالك؟أنا بخير", ["كيف حالك؟", "أنا بخير"]),
        ("رائع!نعم", ["رائع!", "نعم"]),
        ("Why?No", ["Why?No"]),
        ("a?b=c!d", ["a?b=c!d"]),
        ("One.Two", ["One.Two"]),
        ("A heading\n \nThe text", ["A heading\n \n", "The text"]),
        ("A heading\nThe text.", ["A heading\nThe text."]),
        ("1. One\n2. Two\n\n3. Three", ["1. One\n2. Two\n\n", "3. Three"]),
        ("Yes. . . . No.", ["Yes.", " . . . No."]),
        ("... Yes.", ["... Yes."]),
        ("\n\nYes.", ["\n\nYes."]),
        ("Yes.  No.", ["Yes.", "  No."]),
        ("Yes. \n", ["Yes."]),
        (" \n ", []),
        ("", []),
        ("?!", ["?!"]),
    ],
)
def test_ends(text: str, pieces: list[str]) -> None:
    """What is no plain sentence."""
    assert split(text) == pieces


def test_a_sentence_waits_for_what_follows_it_and_no_longer() -> None:
    """A full stop may be in a number, a question mark may have a second."""
    cutter = Cutter(hold_back=HoldBack.SENTENCE)
    for end in (".", "؟", "!", '."', "。"):
        assert cutter.cut("Yes" + end) == ([], "Yes" + end)
        assert cutter.cut("Yes" + end + " ") == (["Yes" + end], " ")
        assert cutter.cut("Yes" + end, flush=True) == (["Yes" + end], "")
    assert cutter.cut("Yes\n\n") == (["Yes\n\n"], "")


def test_a_tag_is_not_looked_into() -> None:
    """Neither for an end nor for something to say."""
    text = '<say as="Mr. X. "/> <p.>. Yes.<b>No.</b> So.'
    assert feed([text], markup=True) == ['<say as="Mr. X. "/> <p.>. Yes.<b>No.</b> So.']
    assert feed(["Yes. <b c. "], markup=True) == ["Yes.", " <b c. "]
    cutter = Cutter(hold_back=HoldBack.SENTENCE)
    assert cutter.cut("Yes. <b c. ") == (["Yes."], " <b c. ")


# --- too long for one -----------------------------------------------------------------------------


def test_a_long_sentence_is_cut_behind_a_comma_rather_than_anywhere() -> None:
    """If it is in the second half; in either script."""
    assert split("one two three, four five six", 20) == ["one two three, ", "four five six"]
    assert split("one, two three four five", 20) == ["one, two three four ", "five"]
    assert split("واحد اثنان ثلاثة، أربعة خمسة", 20) == ["واحد اثنان ثلاثة، ", "أربعة خمسة"]
    assert split("一二三四五，六七八九十", 8) == ["一二三四五，", "六七八九十"]


def test_a_word_that_just_fits_is_not_cut_off() -> None:
    """The space behind it goes with the next one."""
    assert split("one two six ten", 7) == ["one two", " six ", "ten"]
    assert split("one two  six", 7) == ["one two", "  six"]
    assert split("one tw,  six", 8) == ["one tw, ", " six"]


def test_white_space_gives_way_to_a_word() -> None:
    """Rather than have the word cut in two."""
    assert split("one. sixsix", 6) == ["one.", "sixsix"]
    assert split("one." + " " * 9 + "two", 6) == ["one.", "two"]
    cutter = Cutter(hold_back=HoldBack.SENTENCE, limit=6)
    assert cutter.cut(" sixsix") == ([], " sixsix")
    assert cutter.cut(" sixsixs") == (["sixsix"], "s")


def test_a_space_that_binds_is_no_place_to_cut() -> None:
    """Numbers, titles and units are written so."""
    assert split("pay 1\u00a0000 now", 8) == ["pay ", "1\u00a0000 ", "now"]
    assert split("M.\u00a0Smith is in. Yes.") == ["M.\u00a0Smith is in.", " Yes."]


@pytest.mark.parametrize(
    ("word", "limit", "pieces"),
    [
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("abe\u0301fgh", 3, ["ab", "e\u0301f", "gh"]),
        ("مُحَمَّدٌ", 4, ["مُحَ", "مَّ", "دٌ"]),
        ("ab\U0001f44d\U0001f3fdcd", 3, ["ab", "\U0001f44d\U0001f3fdc", "d"]),
        ("a\U0001f468\u200d\U0001f469b", 3, ["a", "\U0001f468\u200d\U0001f469", "b"]),
        ("e" + "\u0301" * 40, 20, ["e" + "\u0301" * 19, "\u0301" * 20, "\u0301"]),
        ("\u0301" * 5, 2, ["\u0301\u0301", "\u0301\u0301", "\u0301"]),
    ],
)
def test_a_word_longer_than_the_limit_is_cut_between_letters(
    word: str, limit: int, pieces: list[str]
) -> None:
    """Where an accent, a vowel sign or a joined emoji is not torn off, if there is such a place."""
    assert split(word, limit) == pieces
    assert feed(word, limit) == pieces


def test_a_tag_is_cut_only_if_it_is_longer_than_the_limit() -> None:
    """Else before it."""
    assert feed(["abc<d e f>g"], 9, markup=True) == ["abc", "<d e f>g"]
    assert feed(["<d efghijk>g"], 5, markup=True) == ["<d ef", "ghijk", ">g"]
    cutter = Cutter(hold_back=HoldBack.SENTENCE, limit=5)
    assert cutter.cut("abcd<efg") == ([], "abcd<efg")
    assert cutter.cut("abcd<" + "e" * 70) == (["abcd<", *["eeeee"] * 13], "eeeee")


def test_no_tag_is_longer_than_what_waits_for_its_end() -> None:
    """Else the same text in other chunks would be cut elsewhere."""
    assert TAG.fullmatch("<" + "a" * 63 + ">") and not TAG.match("<" + "a" * 64 + ">")


# --- cost -----------------------------------------------------------------------------------------


@pytest.mark.counted
@pytest.mark.parametrize(
    "unit",
    ["a", ".", " ", "a.", ". ", "a. ", "<", "<a", "<a b>", "(?)", "\n", "\n ", "؟", "e.g. ",
     "\u0301", "1. ", "a, ", "，", '."', "<a. ", "\u00a0"],
)  # fmt: skip
@pytest.mark.parametrize("limit", [None, 150, 12_000])
def test_splitting_takes_linear_time(unit: str, limit: int | None) -> None:
    """Sixteen times the text may cost much more than sixteen times the time, not its square."""

    def cost(size: int) -> float:
        text = "x" + unit * (size // len(unit)) + "x"
        begun = time.thread_time()
        feed([text], limit, markup=True)
        return time.thread_time() - begun

    small = min(cost(1 << 14) for _ in range(2))
    # The better of two; the second one only if it matters.
    assert any(cost(1 << 18) < 80 * max(small, 0.001) for _ in range(2))
