"""Text in pieces comes out as soon as it can be spoken, and whole."""

from hypothesis import given
from hypothesis import strategies as st

from ttsmux.simulate.pronounce import Pronunciation, check_map
from ttsmux.simulate.text import WORDS_AT_ONCE, Flush, Pause, TextFeed

PIECES = st.lists(st.text("ab .!?\n。", max_size=12), max_size=12)


def drain(feed: TextFeed) -> list[str | Pause | Flush]:
    parts = []
    while (part := feed.take()) is not None:
        parts.append(part)
    return parts


def test_complete_words_come_out_at_once() -> None:
    """The last word waits for what ends it."""
    feed = TextFeed(words=True)
    feed.add("Good mor")
    assert drain(feed) == ["Good "]
    feed.add("ning to you")
    assert drain(feed) == ["morning to "]
    feed.end()
    assert drain(feed) == ["you"]


def test_sentences_wait_for_their_end() -> None:
    """An engine that needs sentences gets one at a time."""
    feed = TextFeed(words=False)
    feed.add('He said "no." Then')
    assert drain(feed) == ['He said "no." ']
    feed.add(" he left. 你好。再见")
    assert drain(feed) == ["Then he left. ", "你好。"]
    feed.end()
    assert drain(feed) == ["再见"]


def test_a_flush_and_a_pause_complete_what_is_before_them() -> None:
    """They come out in their place."""
    feed = TextFeed(words=True)
    feed.add("one")
    feed.flush()
    feed.add(" two")
    feed.pause(0.5)
    feed.add("three")
    assert drain(feed) == ["one", Flush.FLUSH, " two", Pause(0.5)]


def test_much_text_comes_in_parts() -> None:
    """So that an interrupt finds most of it unspoken."""
    feed = TextFeed(words=True)
    feed.add("word " * 100)
    assert [len(str(part).split()) for part in drain(feed)][:2] == [WORDS_AT_ONCE] * 2


@given(PIECES, st.booleans())
def test_nothing_is_lost(pieces: list[str], words: bool) -> None:
    """However the text is cut, all of its words come out once, in order."""
    feed, out = TextFeed(words=words), []
    for piece in pieces:
        feed.add(piece)
        out += drain(feed)
    feed.end()
    out += drain(feed)
    text = "".join(pieces)
    spoken = "".join(str(part) for part in out)
    assert not words or spoken.split() == text.split()
    assert "".join(spoken.split()) == "".join(text.split())


# xAI's map.


def replaced(replace: dict[str, str], *pieces: str) -> str:
    text = Pronunciation(replace)
    out = [text.advance(piece, final=False) for piece in pieces]
    return "".join([*out, text.advance("", final=True)])


def test_longest_match_whole_words_any_case() -> None:
    """As documented."""
    replace = {"new york": "NY", "new": "old", "it's": "it is", "東京": "Tokyo"}
    assert replaced(replace, "New York is NEW, not newish.") == "NY is old, not newish."
    assert replaced(replace, "It's in 東京都.") == "it is in Tokyo都."
    assert replaced(replace, "ne", "w  yo", "rk ") == "NY "


@given(st.lists(st.sampled_from(["a", "b", "ab", " ", "  ", "c", "A b"]), max_size=30))
def test_pieces_make_no_difference(pieces: list[str]) -> None:
    """Text in pieces is replaced as the text in one."""
    replace = {"a b": "X", "b": "Y", "c a b": "Z"}
    assert replaced(replace, *pieces) == replaced(replace, "".join(pieces))


def test_limits_of_the_map() -> None:
    """Each has its sentence."""
    assert check_map({}) is None
    assert check_map({"Acme Mobile": "x" * 128, "l'été": "/i/", "日本": ""}) is None
    assert check_map(None) == "replace must be an object of strings"
    assert check_map({f"k{n}": "" for n in range(201)}) == "replace has too many entries"
    assert "must be a string" in str(check_map({"a": None}))
    assert "1 to 100 characters" in str(check_map({" ": "x"}))
    assert "1 to 100 characters" in str(check_map({"a" * 101: "x"}))
    assert "punctuation or symbols" in str(check_map({"a_b": "x"}))
    assert "more than 128" in str(check_map({"a": "x" * 129}))
    assert "twice" in str(check_map({"Acme  Mobile": "x", "acme mobile": "y"}))
