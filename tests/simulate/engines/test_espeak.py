"""Speech from a process of its own, which may be slow, hung, killed, missing or asked too much."""

import gc
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.simulate.engines import (
    RATES,
    EngineFailed,
    EngineTimeout,
    EngineUnavailable,
    Utterance,
    create_engine,
)
from ttsmux.simulate.engines.espeak import (
    EspeakEngine,
    Source,
    _ask,
    _language_code,
    _language_of,
    find_sources,
    pieces,
    place_words,
)
from ttsmux.simulate.engines.espeak_worker import Speaker

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

ENGLISH = "Hello, thanks for calling. How can I help you today?"
ARABIC = "مرحباً، كيف حالك؟ إلى اللقاء."


@pytest.fixture
def engine() -> Iterator[EspeakEngine]:
    """An engine to do anything to."""
    yield from started()


@pytest.fixture(scope="module")
def shared() -> Iterator[EspeakEngine]:
    """An engine to speak with."""
    yield from started()


def started() -> Iterator[EspeakEngine]:
    engine = EspeakEngine()
    try:
        engine.start()
    except EngineUnavailable as exc:
        pytest.skip(str(exc))
    yield engine
    engine.close()


def speak(
    engine: EspeakEngine,
    text: str = ENGLISH,
    language: str | None = "en",
    rate: int = 24000,
    voice: str = "any",
) -> Utterance:
    return engine.speak(text, voice=voice, language=language, tag=0, rate=rate)


def worker_of(engine: EspeakEngine) -> int:
    return engine._workers[0].pid


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# Speech.


@pytest.mark.parametrize(
    ("text", "language", "least", "most"),
    [(ENGLISH, "en", 2.0, 6.0), (ARABIC, "ar-EG", 2.0, 6.0), ("Hello there", "auto", 0.4, 2.0)],
)
@pytest.mark.parametrize("rate", RATES)
def test_words_are_spoken_in_order_and_in_time(
    shared: EspeakEngine, text: str, language: str, least: float, most: float, rate: int
):
    """All words are there, each where it sounds, and the sound is as long as speech is."""
    said = speak(shared, text, language, rate)
    assert said.rate == rate
    assert least < said.seconds < most
    assert [word.text for word in said.words] == text.split()
    assert_in_order(said)
    assert all(word.stop - word.start > 0.03 for word in said.words)
    assert any(said.pcm)


def assert_in_order(said: Utterance) -> None:
    edges = [edge for word in said.words for edge in (word.start, word.stop)]
    assert edges == sorted(edges)
    assert not edges or (edges[0] >= 0 and edges[-1] <= said.seconds)


def test_strange_text_is_spoken(shared: EspeakEngine):
    """NUL, lone surrogates, markup, numbers and emoji keep all words and cut nothing off."""
    text = "one\0two \ud800 <break time='9s'/> 3500 😀😀 — ... last"
    said = speak(shared, text)
    assert [word.text for word in said.words] == text.replace("\ud800", "\ufffd").split()
    assert_in_order(said)
    assert said.words[-1].stop == pytest.approx(said.seconds)
    assert speak(shared, "last").seconds < said.seconds < 30


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_text_makes_no_sound(text: str):
    """There is no need for a worker to say nothing."""
    engine = EspeakEngine()
    assert speak(engine, text) == Utterance(b"", 24000, ())
    assert not engine._workers


def test_unknown_languages_are_spoken_in_english(shared: EspeakEngine):
    """A language nobody speaks, or one without its dictionary, is no error."""
    for language in ("xx", "fo", "?", None):
        assert speak(shared, "Good morning", language).seconds > 0.4


def test_long_text_is_spoken_in_pieces(shared: EspeakEngine):
    """Word times run on from piece to piece, and a word without an end is cut."""
    text = f"{ENGLISH} " * 40 + "a" * 2000
    said = speak(shared, text)
    assert [word.text for word in said.words] == text.split()
    assert_in_order(said)
    assert said.seconds > 60


def test_voices_differ(shared: EspeakEngine):
    """Two voices say the same in different time; a voice is the same every time."""
    asks = {tuple(_ask(f"voice {n}", "en", 8000).items()) for n in range(100)}
    assert len(asks) > 90
    assert _ask("Léa", "fr-FR", 8000) == _ask("Léa", "fr", 8000)
    lengths = {round(speak(shared, voice=f"voice {n}").seconds, 1) for n in range(10)}
    assert len(lengths) > 3


def test_it_says_what_it_is(shared: EspeakEngine):
    """One line, with the version and where it is from."""
    assert shared.describe().startswith("espeak-ng 1.")
    assert "\n" not in shared.describe()
    assert not shared.streams_words


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_the_library_is_never_in_our_process(shared: EspeakEngine):
    """It is another program, under another licence."""
    speak(shared)
    assert "espeak" not in Path("/proc/self/maps").read_text()


def test_rates_and_tags_are_checked():
    """A call that cannot work fails before anything is started."""
    engine = EspeakEngine()
    with pytest.raises(ValueError, match="11025 Hz"):
        speak(engine, rate=11025)
    with pytest.raises(ValueError, match="tag"):
        engine.speak("x", voice="", language=None, tag=256, rate=8000)


# The worker's life.


@posix
def test_the_worker_is_gone_after_close(engine: EspeakEngine):
    """Closing ends it, twice is no more than once, and nobody speaks afterwards."""
    pid = worker_of(engine)
    engine.close()
    assert is_gone(pid)
    engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        speak(engine)
    assert repr(engine) == "<EspeakEngine CLOSED>"


@posix
def test_a_forgotten_engine_takes_its_worker_along(shared: EspeakEngine):
    """An engine that nobody closed and nobody holds leaves no process behind."""
    forgotten = EspeakEngine()
    forgotten.start()
    pid = worker_of(forgotten)
    del forgotten
    gc.collect()
    assert is_gone(pid)


@posix
def test_a_killed_worker_is_replaced(engine: EspeakEngine):
    """Whoever asks next gets an answer, from another worker."""
    pid = worker_of(engine)
    os.kill(pid, signal.SIGKILL)
    assert speak(engine).words
    assert worker_of(engine) != pid
    assert is_gone(pid)


@posix
def test_a_worker_killed_at_work_is_replaced(engine: EspeakEngine):
    """The request it had is done by the next one."""
    pid = worker_of(engine)
    os.kill(pid, signal.SIGSTOP)  # so that it cannot be done before it is killed
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(speak, engine)
        os.kill(pid, signal.SIGKILL)
        assert future.result(10).words
    assert worker_of(engine) != pid


@posix
def test_a_hung_worker_fails_by_the_deadline_and_is_replaced(engine: EspeakEngine):
    """Nobody waits longer than the deadline, and the hung one is not asked again."""
    engine._deadline = 0.2
    pid = worker_of(engine)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EngineTimeout, match=r"0\.2 s"):
        speak(engine)
    assert is_gone(pid)
    engine._deadline = 10.0
    assert speak(engine).words


@posix
def test_waiting_for_ones_turn_has_an_end(engine: EspeakEngine):
    """A call that never gets its turn says so."""
    engine._patience = 0.05
    with engine._lock, pytest.raises(EngineTimeout, match="busy"):
        speak(engine)


@posix
def test_closing_does_not_wait_for_a_hung_worker(engine: EspeakEngine):
    """A call in another thread fails, whether it was waiting already or not."""
    os.kill(worker_of(engine), signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(speak, engine)
        engine.close()
        with pytest.raises(EngineFailed):
            future.result(10)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open")
def test_the_worker_ends_with_its_parent(shared: EspeakEngine):
    """A parent that dies without a word leaves no worker behind."""
    program = (
        "from ttsmux.simulate.engines.espeak import EspeakEngine\n"
        "engine = EspeakEngine(); engine.start()\n"
        "print(engine._workers[0].pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([worker], [], [], 10.0)[0]
        finally:
            os.close(worker)


def test_twenty_threads_are_served(engine: EspeakEngine):
    """Calls take turns, and each gets its own words and a sound of its own."""
    texts = [" ".join(["word"] * n) + f" number {n}" for n in range(1, 21)]
    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(lambda text: speak(engine, text), texts))
    assert [[word.text for word in one.words] for one in said] == [t.split() for t in texts]
    assert said[0].seconds < said[9].seconds < said[19].seconds


def test_the_current_directory_is_not_imported_from(
    shared: EspeakEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A json.py where the simulator was started is none of the worker's business."""
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    other = create_engine("espeak")
    other.close()


# Copies of the library that do not work.


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("/nonexistent.so", "OSError"),
        (__file__, "OSError"),
        pytest.param(
            "libc.so.6",
            "espeak_Initialize",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="needs libc.so.6"),
        ),
    ],
)
def test_a_library_that_does_not_load_is_an_error_of_ours(library: str, reason: str):
    """Missing, not a library, not this library: all are said in one sentence."""
    engine = EspeakEngine([Source("a broken place", library)])
    with pytest.raises(EngineUnavailable, match=f"a broken place: .*{reason}.*pip install"):
        speak(engine)
    engine.close()


@pytest.mark.skipif(sys.platform != "linux", reason="opening a pipe must block the loader")
def test_a_library_that_hangs_while_loading_is_given_up(tmp_path: Path):
    """Starting has a deadline as well."""
    os.mkfifo(tmp_path / "lib.so")
    engine = EspeakEngine([Source("a pipe", str(tmp_path / "lib.so"))], start_deadline=0.5)
    with pytest.raises(EngineUnavailable, match=r"a pipe: .* 0\.5 s"):
        engine.start()


def test_the_next_copy_is_tried(shared: EspeakEngine):
    """One broken copy does not hide one that works."""
    other = EspeakEngine([Source("broken", "/nonexistent.so"), *find_sources()])
    assert "broken" not in other.describe()
    other.close()


def test_data_that_is_not_there_is_noticed(shared: EspeakEngine, tmp_path: Path):
    """The library would look elsewhere, or nowhere, without saying so."""
    library = find_sources()[0].library
    other = EspeakEngine([Source("half a copy", library, str(tmp_path / "none"))])
    with pytest.raises(EngineUnavailable, match="half a copy"):
        other.start()


@pytest.mark.parametrize("may_link", [True, False])
def test_data_at_the_end_of_a_long_path_is_found(
    shared: EspeakEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_link: bool
):
    """Deep directories are beyond the library; it gets a short way there, removed afterwards."""
    source = find_sources()[0]
    if source.data is None:
        pytest.skip("the data's place is built into the library")
    deep = tmp_path.joinpath(*["d" * 40] * 5)
    deep.mkdir(parents=True)
    (deep / "espeak-ng-data").symlink_to(source.data)
    scratch = tmp_path / "s"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    if not may_link:
        monkeypatch.setattr(os, "symlink", forbidden)
    other = EspeakEngine([Source("deep", source.library, str(deep / "espeak-ng-data"))])
    assert speak(other, ARABIC, "ar").seconds > 2
    assert list(scratch.iterdir())
    other.close()
    assert not list(scratch.iterdir())
    assert Path(source.data, "ar_dict").exists()


def forbidden(*args: object, **options: object) -> None:
    raise OSError("you may not link")


def test_an_error_in_the_callback_stops_the_library():
    """The library is told to stop, and the request fails with what went wrong."""
    speaker = object.__new__(Speaker)
    assert speaker._on_sound(None, 0, None) == 1  # type: ignore[arg-type]
    assert isinstance(speaker._failure, TypeError)


# Pieces and words, without a library.


@given(st.text(alphabet="ab .!?。\n", max_size=300), st.integers(1, 40))
def test_pieces_hold_the_whole_text(text: str, limit: int):
    """Nothing but white space at the end is left out, and no piece is too long."""
    spans = list(pieces(text, limit))
    assert all(0 < stop - start <= limit for start, stop in spans)
    assert "".join(text[start:stop] for start, stop in spans).rstrip() == text.rstrip()


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two three", "One. "),
        ("One two three", "One two "),
        ("一二。三四五六七八九十", "一二。"),
        ("abcdefghijklmno", "abcdefghij"),
    ],
)
def test_pieces_end_where_a_speaker_pauses(text: str, first: str):
    """After a sentence if there is one, else between words, else anywhere."""
    start, stop = next(pieces(text, 10))
    assert text[start:stop] == first


marks = st.lists(st.tuples(st.integers(-2, 60), st.floats(-1, 12)))


@given(st.text(alphabet="ab \n", max_size=50), marks)
def test_any_marks_place_all_words_in_order(text: str, marks: list[tuple[int, float]]):
    """Whatever the library says, words keep their order and stay within the sound."""
    words = place_words(text, marks, 10.0)
    assert [word.text for word in words] == text.split()
    assert_in_order(Utterance(bytes(20), 1, words))
    assert not words or words[-1].stop == 10.0


def test_marks_that_go_back_are_not_believed():
    """A number announces itself again and again; only its first mark counts."""
    marks = [(0, 0.0), (5, 1.0), (6, 1.5), (6, 1.7), (1, 1.8), (10, 2.0)]
    starts = [word.start for word in place_words("have 3500 things", marks, 3.0)]
    assert starts == [0.0, 1.0, 2.0]


def test_words_without_a_mark_share_the_time_around_them():
    """An emoji or a dash that is not announced lies between its neighbours."""
    words = place_words("a — — b", [(0, 0.0), (6, 3.0)], 4.0)
    assert [(word.start, word.stop) for word in words] == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize(
    ("language", "code"),
    [("en", "en"), ("AR-eg", "ar"), (" fr_FR ", "fr"), ("auto", "en"), (None, "en"), ("1", "en")],
)
def test_languages_are_their_first_two_letters(language: str | None, code: str):
    """Regions and case do not matter; no language is English."""
    assert _language_code(language) == code


@pytest.mark.parametrize(
    ("text", "language", "code"),
    [
        (ARABIC, None, "ar"),
        (ARABIC, "auto", "ar"),
        (ARABIC, "en", "ar"),
        ("مرحبا OK", "de-DE", "ar"),
        ("السلام عليكم.", "fa", "fa"),
        (ENGLISH, None, "en"),
        (ENGLISH, "ar", "ar"),
        ("Hello مر there", None, "en"),
        ("3500 — ٣", None, "en"),
        ("", "fr", "fr"),
    ],
)
def test_a_script_asks_for_a_voice_that_reads_it(text: str, language: str | None, code: str):
    """Arabic letters, where most are, go before a language that is not written with them."""
    assert _language_of(text, language) == code


@pytest.mark.parametrize("language", [None, "auto", "en"])
def test_arabic_is_read_and_not_spelled(shared: EspeakEngine, language: str | None):
    """As long as with its own language, whatever language is given; spelled it is far longer."""
    seconds = speak(shared, ARABIC, "ar").seconds
    assert speak(shared, ARABIC, language).seconds == pytest.approx(seconds, rel=0.2)
