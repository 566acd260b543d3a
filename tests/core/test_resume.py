"""
After the first audio: a speech breaks off, and goes on.

The provider here speaks in tones, so that what was heard can be read back as words: cut off after
each chunk, for each way in which a provider tells when it speaks what.
"""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.helpers import (
    SECOND,
    SEQUENTIAL,
    Harness,
    settings,
    traits,
)
from ttsmux.adapter import Input, Traits
from ttsmux.audio import AudioChunk, AudioFormat, Mark, MarkKind, Resumed
from ttsmux.core.ledger import TextLog
from ttsmux.core.resume import Cut, Passage, find_cut, is_whole
from ttsmux.core.speech import END, Speech
from ttsmux.core.states import SpeechState
from ttsmux.errors import (
    ConnectionLost,
    DeadlineExceeded,
    GenerationError,
    TruncatedAudio,
)
from ttsmux.settings import Settings
from ttsmux.simulate.engines.tone import ToneEngine, decode
from ttsmux.text.cutting import Cutter, HoldBack, Join, speakable

RATE = 8000
FORMAT = AudioFormat.parse("pcm_8000")
CHUNK = SECOND // 25
SILENCE = bytes(SECOND // 25)
TEXT = "One two, three four. Five six sevens eight."
WHOLE = traits(input=Input.WHOLE)


def after(policy: str, **retry: object) -> Settings:
    return settings(min_idle=0, retry={"on_partial": policy, "base": 1e-6, **retry})


RESUME, RESTART = after("resume"), after("restart")


# --- a provider that speaks in tones --------------------------------------------------------------


@attrs.define(slots=False)
class Voice:
    """Speaks what generations of one speech are sent, and tells when it says what."""

    harness: Harness
    speech: Speech
    marks: str = "none"
    said: int = 0
    """Generations begun so far."""
    heard: list[AudioChunk] = attrs.field(factory=list)

    def begin(self) -> None:
        """Speak what its present generation was sent."""
        self.id = self.harness.id(self.speech)
        self.conn = self.harness.on(self.speech)
        self.said += 1
        frames = [str(frame) for frame in self.harness.frames(self.conn)]
        head = f"text {self.id} "
        text = " ".join(frame.removeprefix(head) for frame in frames if frame.startswith(head))
        spoken = ToneEngine().speak(text, voice="", language=None, tag=self.said, rate=RATE)
        self.words = [(word.text, word.start, word.stop) for word in spoken.words]
        self.chunks = [spoken.pcm[at : at + CHUNK] for at in range(0, len(spoken.pcm), CHUNK)]
        self.sent = 0
        self.told = 0

    def chunk(self) -> None:
        """Send one chunk, and what is to be told with it."""
        if self.marks == "before":
            self.tell(len(self.words))
        elif self.marks in ("with", "twice", "without stops"):
            until = (self.sent + 1) * CHUNK / SECOND
            self.tell(sum(start < until for _, start, _ in self.words))
        self.harness.say(self.conn, b"audio " + self.id.encode() + b" " + self.chunks[self.sent])
        self.sent += 1
        if self.marks == "late":
            until = (self.sent - 12) * CHUNK / SECOND
            self.tell(sum(start < until for _, start, _ in self.words))

    def tell(self, count: int) -> None:
        """Say when the first *count* words are spoken, as far as that was not said."""
        begin = 0 if self.marks == "twice" and count > self.told else self.told
        for word, start, stop in self.words[begin:count]:
            stop = start if self.marks == "without stops" else stop
            self.harness.say(self.conn, f"mark {self.id} {word} {start} {stop}")
        self.told = max(self.told, count)

    def end(self) -> None:
        """Say the rest, and end."""
        while self.sent < len(self.chunks):
            self.chunk()
        self.tell(len(self.words) if self.marks != "none" else 0)
        self.harness.done(self.speech)

    # -- what is heard

    def read(self, keep: int = 0) -> None:
        """Read all chunks there are but the last *keep*."""
        while len(self.speech._buffer) > keep:
            chunk = self.harness.read(self.speech)
            assert isinstance(chunk, AudioChunk)
            self.heard.append(chunk)

    def to_the_end(self) -> None:
        """Have all the rest spoken and read, on connections that are dialled if need be."""
        while self.speech.state in (SpeechState.WAITING, SpeechState.SPEAKING):
            if self.speech.generation is None:
                self.harness.advance(0.001)
                self.harness.up()
                continue
            self.begin()
            self.end()
            self.read()
        self.read()
        assert self.harness.read(self.speech) is END

    @property
    def seams(self) -> list[int]:
        return [number for number, chunk in enumerate(self.heard) if chunk.resumed is not None]

    @property
    def resumed(self) -> Resumed:
        [seam] = self.seams
        found = self.heard[seam].resumed
        assert found is not None
        return found


def pcm(chunks: list[AudioChunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def voice(
    marks: str = "none",
    *,
    text: str = TEXT,
    shape: Traits = SEQUENTIAL,
    config: Settings = RESUME,
) -> Voice:
    """Return a voice that has begun to say *text*."""
    harness = Harness(shape, config)
    found = Voice(harness, harness.speak(text), marks)
    harness.up()
    found.begin()
    return found


def words_of(voice: Voice) -> tuple[list[str], list[str], list[str]]:
    """Return the words before the seam, what else was heard of one there, and those behind it."""
    [seam] = voice.seams
    # What comes next is no part of the last word: with silence behind it, it is whole or it is not.
    before = decode(pcm(voice.heard[:seam]) + SILENCE, RATE)
    behind = decode(pcm(voice.heard[seam:]), RATE)
    assert all(word.ok for word in behind)
    assert all(word.ok for word in before[:-1])
    whole = [word.text for word in before if word.ok]
    return whole, [w.text for w in before if not w.ok], [word.text for word in behind]


def in_order(voice: Voice) -> None:
    """No sample is missing or twice by the chunks' own account, and the marks run on."""
    at = 0
    for chunk in voice.heard:
        assert chunk.start == at / SECOND
        at += len(chunk.data)
    starts = [mark.start for mark in voice.speech.marks]
    assert starts == sorted(starts)
    assert all(mark.start < at / SECOND for mark in voice.speech.marks)


def broken_off(marks: str, chunks: int, lag: int, shape: Traits = SEQUENTIAL) -> Voice:
    """Return what came of a speech whose wire broke after so many chunks, all but *lag* read."""
    found = voice(marks, shape=shape)
    while chunks:
        if found.sent == len(found.chunks):  # the next sentence
            found.harness.done(found.speech)
            found.begin()
        found.chunk()
        found.read(lag)
        chunks -= 1
    found.read(lag)
    found.harness.drop(found.conn)
    found.to_the_end()
    return found


SAID = ToneEngine().speak(TEXT, voice="", language=None, tag=0, rate=RATE)
CHUNKS = -(-len(SAID.pcm) // CHUNK)
EXACT = ("before", "with", "twice", "without stops")


@pytest.mark.counted
@pytest.mark.parametrize("lag", [0, 1, 5, 12])
@pytest.mark.parametrize("marks", [*EXACT, "late", "none", "sentences"])
def test_no_word_is_lost_and_none_said_twice(marks: str, lag: int) -> None:
    """Wherever it is cut; but for one where that is an estimate, and then it says so."""
    shape = WHOLE if marks == "sentences" else SEQUENTIAL
    estimates = 0
    for chunks in range(lag + 1, CHUNKS - 1):
        found = broken_off("none" if marks == "sentences" else marks, chunks, lag, shape)
        in_order(found)
        if not found.seams:
            # Nothing of its generation was heard: it was said again from its beginning.
            assert shape is WHOLE
            assert [word.text for word in decode(pcm(found.heard), RATE)] == TEXT.split()
            continue
        before, cut_off, behind = words_of(found)
        assert len(cut_off) <= 1, (chunks, cut_off)
        if before + behind != TEXT.split():
            assert before[:-1] + behind == TEXT.split(), (chunks, before, behind)
            assert found.resumed.approximate
        estimates += found.resumed.approximate
        assert TEXT[found.resumed.at :].split() == behind
        assert found.speech.metrics().resumed == 1
        if marks == "before":
            assert not found.resumed.approximate, chunks
        if marks in ("before", "with", "twice") and lag:
            assert before + behind == TEXT.split(), chunks
    if marks in ("none", "sentences"):
        assert estimates > 0


@pytest.mark.parametrize("marks", ["late", "none"])
@pytest.mark.parametrize(
    "text", ["end! 3.5 ... ... x a no", "one ... two — three — — four five ... six"]
)
def test_pauses_take_time_as_words_do(text: str, marks: str) -> None:
    """What is written but not spoken is no reason to take a word for said that was not."""
    words = [word for word in text.split() if speakable(word)]
    chunks = len(voice(text=text).chunks)
    for cut in range(1, chunks - 1):
        found = voice(marks, text=text)
        for _ in range(cut):
            found.chunk()
        found.read()
        found.harness.drop(found.conn)
        found.to_the_end()
        before, _, behind = words_of(found)
        before, behind = ([word for word in side if speakable(word)] for side in (before, behind))
        assert before + behind == words or before[:-1] + behind == words, (cut, before, behind)


@pytest.mark.parametrize("lag", [0, 5])
def test_marks_run_on_behind_the_seam(lag: int) -> None:
    """Each word that was heard has its time, on the time line of the whole speech."""
    for chunks in range(lag + 1, CHUNKS - 1):
        found = broken_off("with", chunks, lag)
        seam = found.heard[found.seams[0]].start
        heard = decode(pcm(found.heard), RATE)
        told = {mark.text: mark.start for mark in found.speech.marks}
        for word in heard:
            if word.ok and word.start >= seam:
                assert told[word.text] == pytest.approx(word.start)
        carried = [m for chunk in found.heard[found.seams[0] :] for m in chunk.marks]
        assert [m.text for m in carried] == TEXT[found.resumed.at :].split()


def test_what_was_not_read_is_cut_back_to_the_end_of_a_word() -> None:
    """And the rest of it is kept: it is heard while the next connection is dialled."""
    found = voice("with")
    for _ in range(30):
        found.chunk()
    found.read(29)
    found.harness.drop(found.conn)
    # 1.2 s came: "One" 0 to 0.28 s, "two," 0.32 to 0.64, "three" 0.68 to 1.04, "four." from 1.08.
    assert found.speech.received == round(1.08 * SECOND)
    found.read()
    assert [word.text for word in decode(pcm(found.heard), RATE)] == ["One", "two,", "three"]
    found.harness.advance(0.001)
    found.harness.up()
    assert found.harness.words(found.harness.wires[1])[:2] == [
        "open",
        "text four. Five six sevens eight.",
    ]


def test_a_chunk_is_cut_where_the_word_ends() -> None:
    """However large it is, and whatever it carries."""
    found = voice("before")
    sound = b"".join(found.chunks)
    found.chunks = [sound[:CHUNK], sound[CHUNK : 20 * CHUNK], sound[20 * CHUNK : 30 * CHUNK]]
    for _ in range(3):
        found.chunk()
    found.read(2)
    found.harness.drop(found.conn)
    assert [len(chunk.data) for chunk in found.speech._buffer] == [
        19 * CHUNK,
        round(1.08 * SECOND) - 20 * CHUNK,
    ]
    found.to_the_end()
    in_order(found)
    assert words_of(found) == (["One", "two,", "three"], [], TEXT.split()[3:])


def test_the_gap_is_told() -> None:
    """From the last that came to the first that comes."""
    found = voice("with")
    for _ in range(3):
        found.chunk()
    found.harness.advance(1.5)
    found.read()
    found.harness.drop(found.conn)
    found.harness.advance(0.25)
    found.to_the_end()
    assert found.resumed.gap == pytest.approx(1.751)
    assert found.resumed == Resumed(0, found.resumed.gap, approximate=False)


def test_a_speech_that_was_resumed_is_retried_before_its_next_audio() -> None:
    """That is one break, told once, with the first audio that stays."""
    found = voice("with")
    for _ in range(12):
        found.chunk()
    found.read()
    found.harness.drop(found.conn)
    found.harness.advance(0.001)
    found.harness.up()
    found.begin()
    found.chunk()  # which carries the seam, and is not read
    found.harness.drop(found.conn)
    found.to_the_end()
    assert words_of(found)[2] == TEXT[found.resumed.at :].split()
    metrics = found.speech.metrics()
    assert (metrics.resumed, metrics.attempts) == (1, 3)
    in_order(found)


def test_an_interruption_behind_the_seam_says_what_was_heard() -> None:
    """A word that was said again counts once."""
    found = voice("before", text="go go go stop go go go stop")
    for _ in range(21):
        found.chunk()
    found.read()
    found.harness.drop(found.conn)
    found.harness.advance(0.001)
    found.harness.up()
    found.begin()
    assert found.words[0][0] == "stop"  # 0.28 s a go, and then it was cut off
    for _ in range(9):
        found.chunk()
    found.read()
    report = found.harness.interrupt(found.speech)
    assert report.heard_text == "go go go stop"
    assert not report.approximate


def test_text_that_is_still_being_written_goes_on() -> None:
    """What was said is not said again; what comes is said on another connection."""
    harness = Harness(SEQUENTIAL, RESUME)
    found = Voice(harness, harness.speak("One two ", end=False), "before")
    harness.up()
    found.begin()
    while found.sent < len(found.chunks):
        found.chunk()
    found.read()
    harness.drop(found.conn)
    assert found.speech.state is SpeechState.WAITING
    harness.advance(1.0)
    harness.up()
    assert found.speech.generation is None  # it has nothing to say
    harness.write(found.speech, "three four")
    harness.end(found.speech)
    found.to_the_end()
    assert words_of(found) == (["One", "two"], [], ["three", "four"])
    assert found.resumed.at == len("One two ")


def test_if_nothing_is_left_to_say_the_speech_is_complete() -> None:
    """Although the provider reported an error in place of the end."""
    found = voice("before")
    while found.sent < len(found.chunks):
        found.chunk()
    found.read()
    found.harness.say(found.conn, f"error {found.id} generation oh")
    assert found.harness.read(found.speech) is END
    assert len(found.harness.wires) == 1


@pytest.mark.parametrize(
    "config",
    [
        settings(min_idle=0),
        after("raise"),
        after("resume", resumes=0),
        after("resume", attempts=1),
        after("restart"),
    ],
    ids=["default", "raise", "no resumes", "one attempt", "restart"],
)
def test_else_it_fails_after_what_was_received(config: Settings) -> None:
    """And says what was delivered until it is raised, not what was when it broke."""
    found = voice("before", config=config)
    for _ in range(20):
        found.chunk()
    found.read(15)
    found.harness.drop(found.conn, 1000)
    error = found.speech.error
    assert isinstance(error, TruncatedAudio) and error.delivered.bytes == 5 * CHUNK
    found.read()
    with pytest.raises(TruncatedAudio) as caught:
        found.harness.read(found.speech)
    told = caught.value.delivered
    assert (told.bytes, told.seconds) == (20 * CHUNK, 20 * CHUNK / SECOND)
    assert told.characters == found.speech.metrics().characters_delivered > 0
    assert found.speech.metrics().resumed == 0
    assert not found.seams


def test_an_error_that_no_retry_helps_ends_it() -> None:
    """It would only come again."""
    found = voice("before")
    found.chunk()
    found.read()
    found.harness.say(found.conn, f"error {found.id} generation never!")
    with pytest.raises(GenerationError):
        found.harness.read(found.speech)


def test_it_is_resumed_once_by_default() -> None:
    """A second break after that is raised."""
    found = voice("before")
    for _ in range(2):
        for _ in range(10):
            found.chunk()
        found.read()
        found.harness.drop(found.conn)
        if found.speech.state is SpeechState.WAITING:
            found.harness.advance(0.001)
            found.harness.up()
            found.begin()
    with pytest.raises(ConnectionLost):
        found.harness.read(found.speech)
    assert found.speech.metrics().resumed == 1


def test_it_is_resumed_as_often_as_is_said() -> None:
    """Each break is told; none of them loses a word."""
    found = voice("before", config=after("resume", resumes=9, attempts=9))
    for _ in range(4):
        for _ in range(17):
            found.chunk()
        found.read()
        found.harness.drop(found.conn)
        found.harness.advance(0.2)
        found.harness.up()
        found.begin()
    found.end()
    found.to_the_end()
    assert len(found.seams) == found.speech.metrics().resumed == 4
    edges = [0, *found.seams, len(found.heard)]
    heard = []
    for begin, end in itertools.pairwise(edges):
        heard += [w.text for w in decode(pcm(found.heard[begin:end]) + SILENCE, RATE) if w.ok]
    assert heard == TEXT.split()
    in_order(found)


def test_a_text_whose_beginning_is_forgotten_is_not_resumed() -> None:
    """Nobody knows any more where in it the voice is."""
    harness = Harness(SEQUENTIAL, RESUME)
    speech = harness.speak("word " * 13_000, end=False)
    harness.up()
    harness.write(speech, "word " * 1_000)
    harness.audio(speech)
    harness.hear(speech)
    harness.drop(harness.wires[0])
    with pytest.raises(ConnectionLost):
        harness.read(speech)


def test_the_deadline_rules() -> None:
    """Also over a speech that goes on."""
    harness = Harness(SEQUENTIAL, RESUME)
    speech = harness.speak("One two three", total=1.0)
    harness.up()
    harness.audio(speech)
    harness.hear(speech)
    harness.advance(0.5)
    harness.drop(harness.wires[0])
    harness.advance(0.6)
    with pytest.raises(DeadlineExceeded):
        harness.read(speech)


def test_a_stall_is_a_break_like_any_other() -> None:
    """The connection is left behind."""
    found = voice("before", config=after("resume"))
    for _ in range(10):
        found.chunk()
    found.read()
    found.harness.advance(3.5)
    found.to_the_end()
    before, _, behind = words_of(found)
    assert before + behind == TEXT.split()
    assert found.harness.doomed() == ["the audio stopped"]


def test_sentences_that_are_done_stay_said() -> None:
    """The one that nobody heard of is said again from its beginning, and it is no seam."""
    found = voice(shape=WHOLE)
    while found.sent < len(found.chunks):
        found.chunk()
    found.read()
    found.harness.done(found.speech)
    found.begin()
    found.chunk()
    found.harness.drop(found.conn)
    found.to_the_end()
    assert [word.text for word in decode(pcm(found.heard), RATE)] == TEXT.split()
    assert not found.seams


def test_the_pace_of_the_sentences_that_are_done_is_that_of_the_next() -> None:
    """Where nothing tells the place but the time."""
    first, second = "a bc def " * 6 + "end.", "one two three four five."
    text = f"{first} {second}"
    slow = 3.0
    weight = sum(0.2 + 0.04 * len(word) for word in first.split())
    passage = Passage(
        text=text,
        begin=len(first),
        end=len(text),
        base=int(slow * weight * SECOND),
        read=int(slow * weight * SECOND) + int(2.4 * (0.32 + 0.32 + 0.4) * SECOND),
        received=10**7,
        format=FORMAT,
        marks=(),
        markup=True,
    )
    assert find_cut(passage).at == text.index("three")
    assert find_cut(passage).approximate


# --- from the beginning ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["nothing played", "collected"])
def test_what_was_not_played_begins_again(way: str) -> None:
    """From the beginning, in the text and in time; what was heard before is to be thrown away."""
    found = voice("with", config=RESTART)
    if way == "collected":
        found.harness.mux.collect(found.speech)
    else:
        found.harness.mux.played(found.speech, 0.0, found.harness.now)
    for _ in range(20):
        found.chunk()
    found.read(3)
    found.harness.drop(found.conn)
    found.to_the_end()
    [seam] = found.seams
    assert (found.resumed.at, found.resumed.approximate) == (0, False)
    anew = found.heard[seam:]
    assert anew[0].start == 0.0
    assert [(word.text, word.ok) for word in decode(pcm(anew), RATE)] == [
        (word, True) for word in TEXT.split()
    ]
    assert [mark.text for mark in found.speech.marks] == TEXT.split()
    assert found.speech.metrics().audio_bytes == len(pcm(anew))


def test_what_was_played_is_not_begun_again() -> None:
    """Somebody has heard the beginning."""
    found = voice("with", config=RESTART)
    for _ in range(20):
        found.chunk()
    found.read()
    found.harness.mux.collect(found.speech)  # in vain: that was read before
    found.harness.mux.played(found.speech, 0.3, found.harness.now)
    found.harness.drop(found.conn)
    with pytest.raises(ConnectionLost):
        found.harness.read(found.speech)


def test_sentences_that_are_done_begin_again_too() -> None:
    """As often as is allowed, and no more, also if each time the first of them works."""
    found = voice(shape=WHOLE, config=RESTART)
    found.harness.mux.collect(found.speech)
    for _ in range(2):
        found.end()
        found.begin()
        found.chunk()
        found.read()
        found.harness.drop(found.conn)
        if found.speech.state is SpeechState.WAITING:
            found.harness.advance(0.001)
            found.harness.up()
            found.begin()
    with pytest.raises(ConnectionLost):
        found.harness.read(found.speech)
    assert found.speech.metrics().resumed == 1


# --- all of it came, but not its end --------------------------------------------------------------


def all_of_it(found: Voice) -> Voice:
    while found.sent < len(found.chunks):
        found.chunk()
    return found


@pytest.mark.parametrize("marks", ["before", "with", "twice"])
@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("how", ["lost", "closed", "stalled"])
def test_audio_that_is_proved_to_be_whole_needs_no_end(marks: str, read: bool, how: str) -> None:
    """The provider has told when it speaks the last word, and that is here."""
    found = all_of_it(voice(marks, config=after("raise")))
    found.read(0 if read else 999)
    match how:
        case "lost":
            found.harness.drop(found.conn)
        case "closed":
            found.harness.drop(found.conn, 1000)
        case _:
            found.harness.advance(10.0)
    found.read()
    assert found.harness.read(found.speech) is END
    assert [word.text for word in decode(pcm(found.heard), RATE)] == TEXT.split()
    assert found.speech.metrics().attempts == 1
    assert len(found.harness.wires) == 1


@pytest.mark.parametrize("marks", ["none", "without stops", "late"])
def test_audio_that_is_not_proved_to_be_whole_is_truncated(marks: str) -> None:
    """Nobody knows whether there was more."""
    found = all_of_it(voice(marks, config=after("raise")))
    found.read()
    found.harness.drop(found.conn, 1000)
    with pytest.raises(TruncatedAudio):
        found.harness.read(found.speech)


def test_the_last_word_must_be_here_to_its_end() -> None:
    """A word that breaks off was not said."""
    found = voice("before", config=after("raise"))
    while found.sent < len(found.chunks) - 2:
        found.chunk()
    found.read()
    found.harness.drop(found.conn)
    with pytest.raises(ConnectionLost):
        found.harness.read(found.speech)


def test_text_that_is_not_over_is_not_whole() -> None:
    """More would have been said."""
    harness = Harness(SEQUENTIAL, after("raise"))
    found = Voice(harness, harness.speak("One two ", end=False), "before")
    harness.up()
    found.begin()
    all_of_it(found).read()
    harness.drop(found.conn)
    with pytest.raises(ConnectionLost):
        harness.read(found.speech)


def test_an_error_is_no_missing_end() -> None:
    """The provider says that something is wrong."""
    found = all_of_it(voice("before", config=after("raise")))
    found.read()
    found.harness.say(found.conn, f"error {found.id} generation oh")
    with pytest.raises(GenerationError):
        found.harness.read(found.speech)


def test_the_next_sentence_follows_one_that_is_proved_whole() -> None:
    """On another connection, and nothing is said twice."""
    found = all_of_it(voice("before", shape=WHOLE, config=after("raise")))
    found.read()
    found.harness.drop(found.conn)
    found.to_the_end()
    assert [word.text for word in decode(pcm(found.heard), RATE)] == TEXT.split()
    assert not found.seams


# --- places in the text ---------------------------------------------------------------------------


def passage(
    text: str,
    *marks: tuple[str, float, float] | Mark,
    read: float,
    received: float | None = None,
    markup: bool = True,
) -> Passage:
    """Return a passage that is all of a speech; marks are (text, start, stop)."""
    return Passage(
        text=text,
        begin=0,
        end=len(text),
        base=0,
        read=int(read * SECOND),
        received=int((read if received is None else received) * SECOND),
        format=FORMAT,
        marks=[mark if isinstance(mark, Mark) else Mark(*mark) for mark in marks],
        markup=markup,
    )


def rest(text: str, *marks: tuple[str, float, float] | Mark, read: float, **more: float) -> str:
    """Return what is said next, with a ~ in front where that is an estimate."""
    found = find_cut(passage(text, *marks, read=read, **more))  # type: ignore[arg-type]
    return "~" * found.approximate + text[found.at :]


@pytest.mark.parametrize(
    ("text", "spoken", "expected"),
    [
        ("One two three", "One two three", "three"),
        ('One, "two", three', "one two three", "three"),
        ('One, two, "three"', "One, two, “three”", '"three"'),
        ("It's well known then", "It 's well known then", "well known then"),
        ("twenty-one and two", "twenty one and two", "and two"),
        ("R&D is fun", "R&D is fun", "fun"),
        ("New York city hall", "New_York city hall", "hall"),
        ("Straße İstanbul x", "STRASSE STRAßE x", "İstanbul x"),
        ("one <break time='1s'/> two three", "one two three", "three"),
        ("one <b>two</b> three", "one two three", "three"),
        ("go go go go", "go go go go", "go go"),
        ("你好，世界。再见", "你好 世界 再见", "再见"),
    ],
)
def test_the_next_word_is_found(text: str, spoken: str, expected: str) -> None:
    """Whatever sticks to the words; the second mark is the last one that was heard."""
    words = [word.replace("_", " ") for word in spoken.split()]
    marks = [(word, float(n), n + 0.9) for n, word in enumerate(words)]
    assert rest(text, *marks, read=1.95, received=2.0) == expected


def test_marks_of_characters_count_at_the_ends_of_words() -> None:
    """A word is not cut in two."""
    text = "one two three"
    marks = [
        Mark(char, n / 10, (n + 1) / 10, MarkKind.CHARACTER) for n, char in enumerate("one twp thr")
    ]
    assert rest(text, *marks[:6], read=0.55, received=0.6) == "two three"
    assert rest(text, *marks[:3], read=0.25, received=0.35) == "two three"
    # From the p on they are of something else.
    assert rest(text, *marks, read=0.95) == "~two three"


def test_what_is_spoken_otherwise_is_between_two_places() -> None:
    """Then it is an estimate, but within them."""
    text = "It costs $5 in May today"
    marks = [
        ("It", 0.0, 0.2),
        ("costs", 0.2, 0.6),
        ("five", 0.6, 1.0),
        ("dollars", 1.0, 1.6),
        ("in", 1.6, 1.8),
        ("May", 1.8, 2.2),
    ]
    # Back to before it, if nobody has heard that yet.
    assert rest(text, *marks[:4], read=0.5, received=1.5) == "$5 in May today"
    # By time two words were over; but *in* comes at 1.6 s, so it is within $5.
    assert rest(text, *marks, read=1.5, received=1.55) == "~$5 in May today"
    # Once it is over, all is clear again. What comes behind *May* was not told yet.
    assert rest(text, *marks, read=1.7, received=2.2) == "May today"
    assert rest(text, *marks, read=1.9, received=2.2) == "today"
    assert rest(text, *marks, read=1.7, received=1.7) == "in May today"
    assert rest("$5 $6 in May", *marks[2:], read=1.7) == "in May"


def test_a_word_that_is_said_ahead_is_not_taken_for_the_next_of_its_kind() -> None:
    """Not without the word behind it."""
    text = "1 cat and a dog and a mouse"
    marks = [("a", 0.0, 0.3), ("cat", 0.3, 0.6), ("and", 0.6, 0.9), ("the", 0.9, 1.2)]
    assert rest(text, *marks, read=0.85, received=1.0) == "a dog and a mouse"
    # The last mark has none behind it to go by.
    assert rest("1 cat and a dog", ("a", 0.0, 0.3), read=0.1, received=0.2) == "~1 cat and a dog"
    # A word is no beginning of another.
    marks = [("an", 0.0, 0.3), ("hour", 0.3, 0.6)]
    assert rest("another hour, an hour ago", *marks, read=0.5, received=0.6) == "ago"


def test_it_is_told_twice() -> None:
    """Nothing is found twice for that."""
    marks = [("go", 0.0, 0.3), ("go", 0.0, 0.3), ("go", 0.3, 0.6), ("stop", 0.6, 0.9)]
    assert rest("go go stop go", *marks, read=0.55, received=0.65) == "stop go"


def test_without_any_text_there_is_nothing_to_go_on_with() -> None:
    """Audio for nothing: it is as long as it is."""
    assert find_cut(passage("...", read=1.0)) == Cut(0, SECOND, approximate=True)
    assert find_cut(passage("", read=0.0)) == Cut(0, 0, approximate=False)
    # Of symbols nobody knows how long they take.
    assert rest("one & &", ("one", 0.0, 0.3), ("&", 0.3, 0.6), read=0.5) == "& &"


def test_whatever_it_is_estimated_to_the_last_word_is_left() -> None:
    """The estimate never says that nothing is left to say."""
    assert rest("one two three", read=60.0) == "~three"
    assert rest("一二三", read=60.0) == "~三"
    assert rest("one two <i> three", read=60.0) == "~three"
    assert rest("one two <i", read=60.0, markup=False) == "~<i"


def test_silence_before_the_first_word_is_before_it() -> None:
    """Nothing was said yet."""
    assert rest("one two", ("one", 0.5, 0.8), read=0.3) == "one two"


def test_proof_needs_the_last_word() -> None:
    """With its end, and nothing behind it."""
    one, two = ("one", 0.0, 0.3), ("two", 0.3, 0.6)
    assert is_whole(passage("one two.", one, two, read=0.6))
    assert not is_whole(passage("one two.", one, two, read=0.5))
    assert not is_whole(passage("one two three", one, two, read=0.9))
    assert not is_whole(passage("one two", one, ("two", 0.3, 0.3), read=0.9))
    assert not is_whole(passage("one two", read=0.9))


# --- the log --------------------------------------------------------------------------------------

RULES = [
    Cutter(),
    Cutter(hold_back=HoldBack.WORD, join=Join.SPACE),
    Cutter(hold_back=HoldBack.WORD, join=Join.TRAILING_SPACE, limit=7),
    Cutter(hold_back=HoldBack.SENTENCE, limit=9),
]


@given(
    st.lists(st.text(alphabet="ab. \n", max_size=9), max_size=9),
    st.sampled_from(RULES),
    st.sampled_from(RULES),
    st.data(),
)
def test_the_log_knows_its_place(
    pieces: list[str], rule: Cutter, other: Cutter, data: st.DataObject
) -> None:
    """What was sent, and what is yet to be, are the text, but for white space."""
    log = TextLog(rule)
    for piece in pieces:
        log.write(piece)
        if data.draw(st.booleans()):
            log.flush()
    log.end()
    sent = ""
    while log.ready and data.draw(st.booleans()):
        sent += log.take(0.0) or ""
        if data.draw(st.booleans()):
            log.settle()
            assert log.begun == log.said
    assert log.text[: log.said].split() == sent.split() or "".join(sent.split()) == "".join(
        log.text[: log.said].split()
    )
    assert log.begun <= log.said
    at = log.said
    log.restart(other, ended=True, at=at)
    assert log.begun == log.said
    left = ""
    while log.ready:
        left += log.take(0.0) or ""
    assert "".join((sent + left).split()) == "".join(log.text.split())


def test_what_is_recalled_was_not_said() -> None:
    """It crossed the provider's own end."""
    log = TextLog(Cutter())
    log.write("One ")
    log.take(1.0)
    log.flush()
    log.write("two")
    while log.ready:
        log.take(5.0)
    assert (log.begun, log.said) == (0, 7)
    log.recall(2.0)
    assert (log.begun, log.said) == (0, 3)


def test_marks_that_no_chunk_has_carried_survive_a_retry() -> None:
    """Those of the sentence before, which came with the one that is said again."""
    harness = Harness(WHOLE, after("raise"))
    speech = harness.speak("One. Two.")
    harness.up()
    harness.audio(speech, bytes(SECOND))
    first = harness.id(speech)
    harness.say(harness.on(speech), f"all - mark {first} One 0.0 0.5|end {first}")
    harness.audio(speech, bytes(SECOND))
    harness.drop(harness.on(speech))
    harness.advance(0.1)
    harness.up()
    harness.audio(speech, bytes(SECOND))
    chunks = [harness.read(speech), harness.read(speech)]
    assert [[m.text for m in c.marks] for c in chunks if isinstance(c, AudioChunk)] == [[], ["One"]]
