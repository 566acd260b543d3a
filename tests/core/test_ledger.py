"""The books of a speech: its text, and the audio that came for it."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.adapter import Base, Marks
from ttsmux.audio import AudioFormat, MarkKind
from ttsmux.core.ledger import AudioLedger, Interruption, TextLog
from ttsmux.errors import InvalidText
from ttsmux.text.cutting import Cutter, HoldBack, Join

VERBATIM = Cutter()
WORDS = Cutter(hold_back=HoldBack.WORD)
SPACE = Cutter(hold_back=HoldBack.WORD, join=Join.SPACE)
SENTENCES = Cutter(hold_back=HoldBack.SENTENCE)

KIB = 1024
FORMAT = AudioFormat.parse("pcm_8000")
SECOND = FORMAT.byte_rate


def log_of(*pieces: str | None, cutter: Cutter = VERBATIM) -> TextLog:
    """Return a log that *pieces* were written to, None for a flush."""
    log = TextLog(cutter)
    for piece in pieces:
        if piece is None:
            log.flush()
        else:
            log.write(piece)
    return log


def take_all(log: TextLog) -> list[str | None]:
    found = []
    while log.ready:
        found.append(log.take(0.0))
    return found


# --- text: from write to take ---------------------------------------------------------------------


def test_pieces_that_wait_together_are_taken_as_one() -> None:
    """While there is no seat, text gathers; then it goes in one message."""
    log = log_of("Hello ", "dear ", "world")
    assert take_all(log) == ["Hello dear world"]


def test_sentences_are_taken_one_by_one() -> None:
    """Where each is a generation, none is put to another."""
    log = log_of("One. Two. Three", cutter=SENTENCES)
    assert take_all(log) == ["One.", " Two."]
    log.end()
    assert take_all(log) == [" Three"]


def test_what_is_held_back_goes_with_the_end() -> None:
    """Half a word waits for the other half, or for the end."""
    log = log_of("Hello wor", cutter=WORDS)
    assert take_all(log) == ["Hello "]
    assert (log.held, log.unsent, log.sendable) == ("wor", 3, False)
    log.end()
    assert (log.held, log.unsent, log.sendable) == ("", 3, True)
    assert take_all(log) == ["wor"]
    assert (log.unsent, log.sendable) == (0, False)


def test_unsent_counts_what_is_ready_and_what_is_held_back() -> None:
    """A feeder that is told to slow down must not be told so by half of it."""
    log = log_of("one two thr", cutter=SPACE)
    assert (log.unsent, log.sendable) == (len("one two") + len("thr"), True)


def test_a_flush_stands_between_the_texts() -> None:
    """Text before a flush is not merged with text behind it."""
    log = log_of("One.", None, " Two.", None)
    assert take_all(log) == ["One.", None, " Two.", None]
    assert log.text == "One. Two."


def test_a_flush_alone_is_nothing_to_send() -> None:
    """It asks for no seat."""
    log = log_of(None)
    assert log.ready and not log.sendable


def test_a_space_behind_a_flushed_word_is_the_joins() -> None:
    """Where the provider puts a space between pieces, the caller's own would be one too many."""
    assert take_all(log_of("One.", None, " Two.", None, cutter=SPACE)) == [
        "One.",
        None,
        "Two.",
        None,
    ]
    assert take_all(log_of("One. ", None, " Two.", None, cutter=SPACE)) == [
        "One.",
        None,
        " Two.",
        None,
    ]
    assert take_all(log_of("One.", None, "", " Two.", None, cutter=SPACE)) == [
        "One.",
        None,
        "Two.",
        None,
    ]


def test_a_space_behind_a_flushed_word_is_kept_where_nothing_stands_for_it() -> None:
    """Verbatim is verbatim."""
    assert take_all(log_of("One.", None, " Two. ", cutter=WORDS)) == ["One.", None, " Two. "]


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    """It could not be encoded; the text before it stays as it was."""
    log = log_of("Hello")
    with pytest.raises(InvalidText, match="lone surrogate at character 7") as caught:
        log.write("ab\ud800")
    assert caught.value.phase == "speak"
    assert (log.text, log.unsent) == ("Hello", 5)


@given(st.lists(st.text(alphabet="ab. \n<>", max_size=8), max_size=12), st.data())
def test_whenever_it_is_taken_the_text_is_the_same(pieces: list[str], data: st.DataObject) -> None:
    """How fast the wire takes text does not change it."""
    log = TextLog(SPACE)
    sent = []
    for piece in pieces:
        log.write(piece)
        if data.draw(st.booleans()):
            sent += take_all(log)
    log.end()
    sent += take_all(log)
    text = "".join(pieces)
    assert " ".join(item for item in sent if item is not None) == ("" if text.isspace() else text)
    assert (log.text, log.unsent) == (text, 0)


# --- text: again ----------------------------------------------------------------------------------


def test_a_repeat_puts_what_was_sent_in_front() -> None:
    """Flushes too, in order, and before what is not sent."""
    log = log_of("One.", None, " Two.", None)
    assert [log.take(0.0), log.take(0.0), log.take(0.0)] == ["One.", None, " Two."]
    log.write(" Three.")
    log.repeat()
    assert log.unsent == len("One. Two. Three.")
    assert take_all(log) == ["One.", None, " Two.", None, " Three."]
    log.repeat()
    assert take_all(log) == ["One.", None, " Two.", None, " Three."]


def test_what_was_sent_late_is_recalled() -> None:
    """From the first piece after the instant on, flushes too; the rest stays to be repeated."""
    log = log_of("One.")
    log.take(1.0)
    for piece in (" Two.", " Three."):
        log.write(piece)
        log.flush()
        assert [log.take(2.0 + len(piece)), log.take(9.0)] == [piece, None]
    assert log.sent_at == 9.0
    log.write(" Four.")
    log.recall(7.0)
    assert log.unsent == len(" Three. Four.")
    assert list(log.ready) == [None, " Three.", None, " Four."]
    log.repeat()
    assert "".join(item or "" for item in take_all(log)) == "One. Two. Three. Four."


def test_a_recall_of_nothing() -> None:
    """What was sent at the very instant was sent before it was over."""
    log = log_of("One.")
    log.take(1.0)
    log.recall(1.0)
    assert not log.ready and log.unsent == 0


def test_what_is_settled_is_not_repeated() -> None:
    """Its audio is all here."""
    log = log_of("One. Two. ", cutter=SENTENCES)
    log.take(0.0)
    log.settle()
    log.take(0.0)
    log.repeat()
    assert take_all(log) == [" Two."]


def test_a_generation_of_more_than_64_kib_is_not_repeatable() -> None:
    """Until it is settled; the next one starts afresh."""
    log = TextLog(VERBATIM)
    for _ in range(3):
        log.write("x" * 32 * KIB)
        assert log.take(0.0) is not None
    assert not log.repeatable
    log.repeat()
    assert not log.ready
    log.settle()
    assert log.repeatable
    log.write("y")
    log.take(0.0)
    log.repeat()
    assert take_all(log) == ["y"]


def test_exactly_64_kib_are_repeatable() -> None:
    """The bound is what is kept, not what is too much."""
    log = log_of("x" * 64 * KIB)
    log.take(0.0)
    assert log.repeatable


def test_whether_there_is_anything_to_say_is_asked_of_what_was_sent() -> None:
    """What waits does not count; what is forgotten counts as something."""
    log = log_of("...", None, "words")
    assert [log.take(0.0), log.take(0.0)] == ["...", None]
    assert not log.speakable
    log.take(0.0)
    assert log.speakable
    big = log_of("." * 65 * KIB)
    big.take(0.0)
    assert big.speakable


def test_a_restart_begins_at_the_beginning_by_another_rule() -> None:
    """Another provider may hold back more, and join otherwise."""
    log = log_of("One tw", "o.", None, " Three fo")
    take_all(log)
    log.restart(SPACE, ended=False)
    assert (take_all(log), log.held) == (["One two.", None, "Three"], "fo")
    log.restart(WORDS, ended=True)
    assert take_all(log) == ["One two.", None, " Three fo"]
    assert log.unsent == 0


def test_a_restart_forgets_that_a_space_was_to_be_swallowed() -> None:
    """The flush that asked for it is said again, too."""
    log = log_of(" One.", None, cutter=SPACE)
    log.restart(SPACE, ended=True)
    assert take_all(log) == [" One.", None]


def test_a_restart_makes_a_speech_repeatable_again() -> None:
    """The next provider has not been sent anything."""
    log = log_of("x" * 65 * KIB)
    log.take(0.0)
    log.restart(VERBATIM, ended=True)
    assert log.repeatable and log.sendable


# --- text: forgetting -----------------------------------------------------------------------------


def test_beyond_64_kib_the_oldest_pieces_are_forgotten() -> None:
    """The text may be endless; the memory may not."""
    log = TextLog(VERBATIM)
    log.flush()
    for piece in "abc":
        log.write(piece * 32 * KIB)
        take_all(log)
    assert (log.forgotten, log.size) == (32 * KIB, 64 * KIB)
    assert log.text == "b" * 32 * KIB + "c" * 32 * KIB


def test_a_single_piece_is_never_forgotten() -> None:
    """However long, it is all there is."""
    log = log_of("x" * 100 * KIB)
    assert (log.forgotten, log.size) == (0, 100 * KIB)
    log.write("y")
    assert (log.forgotten, log.size) == (100 * KIB, 1)


def test_forgotten_text_counts_for_the_place_of_a_surrogate() -> None:
    """The caller counts from the beginning."""
    log = log_of("x" * 100 * KIB, "y")
    with pytest.raises(InvalidText, match=f"at character {100 * KIB + 1}$"):
        log.write("\udfff")


# --- text: cost -----------------------------------------------------------------------------------

MERGED = 4 * KIB


class Counted(Cutter):
    """A cutter that counts the characters that it looks at."""

    looked: list[int] = []  # noqa: RUF012 — each test has its own subclass

    def cut(self, text: str, *, final: bool = False, flush: bool = False) -> tuple[list[str], str]:
        self.looked.append(len(text))
        return super().cut(text, final=final, flush=flush)

    def merge(self, first: str, second: str) -> str | None:
        merged = super().merge(first, second)
        self.looked.append(len(merged or ""))
        return merged


def counted(**rule: object) -> tuple[Cutter, list[int]]:
    looked: list[int] = []
    kind = type("Counted", (Counted,), {"looked": looked})
    return kind(**rule), looked


@pytest.mark.counted
@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"hold_back": HoldBack.WORD},
        {"hold_back": HoldBack.WORD, "join": Join.SPACE},
        {"hold_back": HoldBack.WORD, "limit": 1_000_000},
        {"hold_back": HoldBack.SENTENCE},
        {"hold_back": HoldBack.SENTENCE, "limit": 200},
    ],
)
def test_a_text_that_waits_costs_as_much_a_character_however_long_it_is(
    rule: dict[str, object],
) -> None:
    """Nobody takes any of it; each character is looked at a bounded number of times."""
    costs = []
    for size in (16 * KIB, 256 * KIB):
        cutter, looked = counted(**rule)
        log = TextLog(cutter)
        dice = random.Random(size)
        written = 0
        while written < size:
            piece = dice.choice(("a ", "few ", "wor", "ds ", "and", " then ", "stop. "))
            log.write(piece)
            written += len(piece)
        log.end()
        costs.append(sum(looked) / written)
        assert log.unsent == sum(len(item or "") for item in take_all(log))
    short, long = costs
    assert long < 1.5 * short
    assert long < MERGED


def test_long_texts_wait_in_more_than_one_piece() -> None:
    """They are not joined anew with each word; what is taken is the same text."""
    words = ["word "] * 10_000
    taken = take_all(log_of(*words, cutter=WORDS))
    assert "".join(item or "" for item in taken) == "".join(words)
    assert 10 < len(taken) < 20


# --- audio: bytes ---------------------------------------------------------------------------------


def ledger_of(seconds: float = 0.0, read: float = 0.0) -> AudioLedger:
    """Return a ledger with so much received and read."""
    ledger = AudioLedger(FORMAT)
    ledger.received = int(seconds * SECOND)
    ledger.read = int(read * SECOND)
    return ledger


def marks(*units: tuple[str, float, float], base: Base = Base.GENERATION) -> Marks:
    return Marks(units, base=base)


def words(text: str, step: float = 1.0) -> Marks:
    """Return marks of the words of *text*, each as long as *step*."""
    return marks(*((word, n * step, (n + 1) * step) for n, word in enumerate(text.split())))


def test_heard_is_what_was_read() -> None:
    """Unless somebody says what was played."""
    ledger = ledger_of(3.0, read=2.0)
    assert (ledger.heard, ledger.unread) == (2.0, 1.0)


def test_heard_is_what_was_played_where_a_sink_reports_it() -> None:
    """A sink cannot have played what it was not given."""
    ledger = ledger_of(3.0, read=2.0)
    ledger.played = 0.5
    assert ledger.heard == 0.5
    ledger.played = 0.0
    assert ledger.heard == 0.0
    ledger.played = 9.0
    assert ledger.heard == 2.0


# --- audio: marks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "start"), [(Base.GENERATION, 1.0), (Base.SEGMENT, 2.0), (Base.ARRIVAL, 4.0)]
)
def test_marks_count_from_where_their_base_begins(base: Base, start: float) -> None:
    """The generation, the segment, or the audio received so far."""
    ledger = ledger_of(4.0)
    ledger.add_marks(marks(("hi", 0.25, 0.5), base=base), 1 * SECOND, 2 * SECOND)
    [mark] = ledger.marks
    assert (mark.text, mark.start, mark.stop) == ("hi", start + 0.25, start + 0.5)


def test_marks_keep_their_kind() -> None:
    """A character is no word."""
    ledger = ledger_of()
    ledger.add_marks(Marks((("h", 0.0, 0.1),), kind=MarkKind.CHARACTER), 0, 0)
    assert [mark.kind for mark in ledger.marks] == [MarkKind.CHARACTER]


def test_marks_never_run_backwards() -> None:
    """What is repeated or overlaps is left out; two at one time are not."""
    ledger = ledger_of()
    ledger.add_marks(marks(("a", 0.0, 0.5), ("b", 1.0, 1.5)), 0, 0)
    ledger.add_marks(
        marks(("a", 0.0, 0.5), ("b", 1.0, 1.5), ("c", 0.9, 2.0), ("d", 2.0, 2.5)), 0, 0
    )
    assert [mark.text for mark in ledger.marks] == ["a", "b", "b", "d"]


def test_a_mark_before_its_base_or_with_no_length_is_put_right() -> None:
    """Nothing starts before the beginning, or stops before it starts."""
    ledger = ledger_of()
    ledger.add_marks(marks(("a", -0.5, -0.1), ("b", 1.0, 0.5)), SECOND, 0)
    assert [(mark.start, mark.stop) for mark in ledger.marks] == [(1.0, 1.0), (2.0, 2.0)]


@given(st.lists(st.tuples(st.floats(-5, 50), st.floats(-5, 50), st.sampled_from(Base))))
def test_whatever_a_provider_says_marks_are_in_order(
    units: list[tuple[float, float, Base]],
) -> None:
    """A program that follows them never jumps back."""
    ledger = ledger_of(7.0)
    for begin, end, base in units:
        ledger.add_marks(marks(("x", begin, end), base=base), SECOND, 2 * SECOND)
    starts = [mark.start for mark in ledger.marks]
    assert starts == sorted(starts)
    assert all(mark.stop >= mark.start for mark in ledger.marks)


def test_each_mark_goes_with_one_chunk() -> None:
    """With the next one after it came."""
    ledger = ledger_of()
    assert ledger.fresh_marks() == ()
    ledger.add_marks(words("one two"), 0, 0)
    assert [mark.text for mark in ledger.fresh_marks()] == ["one", "two"]
    assert ledger.fresh_marks() == ()
    ledger.add_marks(marks(("three", 2.0, 3.0)), 0, 0)
    assert [mark.text for mark in ledger.fresh_marks()] == ["three"]


def test_withdrawn_audio_takes_its_marks_along() -> None:
    """They come again with the audio; those before it stay."""
    ledger = ledger_of(1.0)
    ledger.add_marks(words("one", 0.5), 0, 0)
    ledger.received += 2 * SECOND
    ledger.add_marks(words("two three"), SECOND, SECOND)
    ledger.fresh_marks()
    ledger.withdraw(2 * SECOND)
    assert (ledger.received, [mark.text for mark in ledger.marks]) == (SECOND, ["one"])
    assert ledger.fresh_marks() == ()
    ledger.add_marks(words("two"), SECOND, SECOND)
    assert [(mark.text, mark.start) for mark in ledger.fresh_marks()] == [("two", 1.0)]


def test_withdrawing_leaves_marks_that_no_chunk_has_carried() -> None:
    """They belong to audio that stays."""
    ledger = ledger_of(1.0)
    ledger.add_marks(words("one", 0.5), 0, 0)
    ledger.withdraw(0)
    assert [mark.text for mark in ledger.fresh_marks()] == ["one"]


# --- interruption ---------------------------------------------------------------------------------


def cut_off(
    text: str | Iterable[str],
    read: float,
    *,
    received: float = 10.0,
    said: Marks | None = None,
    all_received: bool = False,
) -> Interruption:
    """Return what an interruption says after *read* seconds of *text*."""
    log = log_of(*([text] if isinstance(text, str) else text))
    ledger = ledger_of(received, read=read)
    if said is not None:
        ledger.add_marks(said, 0, 0)
    return ledger.interruption(log, all_received)


def test_marks_say_what_was_heard() -> None:
    """A word that has begun counts; what follows it was not said."""
    found = cut_off("One, two, three.", 1.5, said=words("One two three"))
    assert found == Interruption(1.5, "One, two", ", three.", approximate=False)


def test_a_word_that_begins_at_the_cut_was_not_heard() -> None:
    """It had no time to be."""
    assert cut_off("One two", 1.0, said=words("One two")).heard_text == "One"
    assert cut_off("One two", 0.0, said=words("One two")).heard_text == ""


def test_the_ear_decides_not_the_reader() -> None:
    """Where a sink reports, what was read and not played is unspoken."""
    log = log_of("One two three")
    ledger = ledger_of(3.0, read=3.0)
    ledger.add_marks(words("One two three"), 0, 0)
    ledger.played = 1.2
    found = ledger.interruption(log, all_received=True)
    assert (found.heard_seconds, found.heard_text) == (1.2, "One two")


def test_a_speech_heard_to_the_end_leaves_nothing_unspoken() -> None:
    """Also where marks name words only, and the full stop is none."""
    said = words("One two")
    found = cut_off("One two.", 2.0, received=2.0, said=said, all_received=True)
    assert found == Interruption(2.0, "One two.", "", approximate=False)
    found = cut_off("One two.", 2.0, received=2.0, said=said)
    assert found.unspoken_text == "."
    found = cut_off("One two.", 1.9, received=2.0, said=said, all_received=True)
    assert found.unspoken_text == "."


@pytest.mark.parametrize(
    ("text", "spoken", "heard"),
    [
        ("It is $5 now. Later", "It is five dollars now later", "It is $5 now. Later"),
        ("HELLO Straße World", "hello STRAßE world", "HELLO Straße World"),
        ("Straße und Haus", "straße Und", "Straße und"),
        ("İstanbul Güzel", "İstanbul güzel", "İstanbul Güzel"),
        ("one two", " one  two ", "one two"),
    ],
)
def test_marks_are_found_in_the_text_although_they_differ(
    text: str, spoken: str, heard: str
) -> None:
    """Providers speak numbers as words, and their marks change case and spaces."""
    assert cut_off(text, 9.0, said=words(spoken)).heard_text == heard


def test_a_mark_that_is_nowhere_near_moves_nothing() -> None:
    """A word is looked for a little ahead, not in the whole text."""
    text = "One " + "and " * 30 + "far"
    assert cut_off(text, 9.0, said=words("One far")).heard_text == "One"
    assert (
        cut_off("One two", 9.0, said=marks(("One", 0.0, 1.0), (" ", 1.0, 1.0))).heard_text == "One"
    )


def test_without_marks_the_place_is_an_estimate_at_the_end_of_a_word() -> None:
    """By the share of the audio, once it is all here."""
    found = cut_off("aaaa bbbb cccc dddd", 6.0, all_received=True)
    assert found == Interruption(6.0, "aaaa bbbb", " cccc dddd", approximate=True)
    assert cut_off("aaaa bbbb", 10.0, all_received=True).unspoken_text == ""
    assert cut_off("aaaabbbb", 5.0, all_received=True).heard_text == ""


def test_without_marks_and_with_audio_to_come_the_text_says_how_long_it_will_be() -> None:
    """At fifteen characters a second, or by the audio where there is more already."""
    text = "four " * 30  # 150 characters: 10 s
    assert len(cut_off(text, 2.0, received=2.0).heard_text) == 29
    assert len(cut_off(text, 2.0, received=20.0).heard_text) == 14


def test_before_any_audio_nothing_was_heard() -> None:
    """With or without text."""
    assert cut_off("Hello", 0.0, received=0.0) == Interruption(0.0, "", "Hello", approximate=True)
    assert cut_off("", 0.0, received=0.0) == Interruption(0.0, "", "", approximate=True)
    found = cut_off("Hello", 0.0, received=0.0, all_received=True)
    assert found.unspoken_text == "Hello"


def test_of_a_forgotten_text_the_rest_is_told_by_time() -> None:
    """Marks cannot be found in a text whose beginning is gone."""
    pieces = ["word " * 20_000, "last words here"]
    found = cut_off(pieces, 1.0, said=words("word word"), all_received=True)
    assert found == Interruption(1.0, "", "last words here", approximate=True)
    # 100,015 characters in 10 s, all but the last seven of them heard.
    found = cut_off(pieces, 10.0 * 100_008 / 100_015, all_received=True)
    assert (found.heard_text, found.unspoken_text) == ("last", " words here")


@given(st.text(alphabet="ab ßİ.", max_size=30), st.floats(0, 12), st.booleans(), st.booleans())
def test_heard_and_unspoken_are_the_text(
    text: str, read: float, marked: bool, all_received: bool
) -> None:
    """Whatever is known, the two parts make the whole."""
    said = words(text, 0.5) if marked else None
    found = cut_off(text, min(read, 10.0), said=said, all_received=all_received)
    assert found.heard_text + found.unspoken_text == text


def test_nothing_is_no_piece() -> None:
    """A source that gives empty strings for ever takes no room."""
    log = TextLog(Cutter())
    for _ in range(1000):
        log.write("")
    assert len(log._known) == 0
