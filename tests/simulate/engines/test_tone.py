"""What the tone engine writes can be read, whole, damaged or in pieces, and nothing else is."""

import hashlib
import random
import struct
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttsmux.simulate.engines import RATES, Utterance, create_engine, tone
from ttsmux.simulate.engines.resample import resample
from ttsmux.simulate.engines.tone import (
    AMPLITUDE,
    Heard,
    ToneEngine,
    _alphabet,
    crc8,
    decode,
    decode_text,
    tags,
)

HARD = (
    "plain",
    "punctuated, really?!",
    "مرحباً، كيف حالك؟",
    "你好，世界。",
    "👩‍👩‍👧‍👦 🇵🇸 😀",
    "e\u0301a\u0308o\u0302\u0323",
    "https://example.org/" + "a1b2c3/" * 40,
    "\0 \x7f",
)

rates = st.sampled_from(RATES)
texts = st.text(max_size=30)
words = st.text(min_size=1, max_size=6).filter(lambda text: len(text.split()) == 1).map(str.strip)


def speak(text: str, tag: int = 7, rate: int = 24000, first_word: int = 0) -> Utterance:
    return ToneEngine().speak(
        text, voice="any", language=None, tag=tag, rate=rate, first_word=first_word
    )


def good(heard: list[Heard]) -> list[str]:
    return [word.text for word in heard if word.ok]


@given(texts, rates, st.integers(0, 255), st.integers(0, 10_000))
def test_any_text_is_read_back_exactly(text: str, rate: int, tag: int, first: int):
    """Text, tag, counter and times of every word survive."""
    said = speak(text, tag, rate, first)
    heard = decode(said.pcm, rate)
    assert [word.text for word in heard] == [word.text for word in said.words] == text.split()
    assert all(word.ok and word.tag == tag for word in heard)
    assert [word.index for word in heard] == [(first + i) % 256 for i in range(len(heard))]
    for found, word in zip(heard, said.words, strict=True):
        assert (found.start, found.stop) == pytest.approx((word.start, word.stop))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("text", HARD)
def test_hard_text_is_read_back_exactly(text: str, rate: int):
    """Scripts, emoji, combining characters, control characters and long words all pass."""
    assert decode_text(speak(text, rate=rate).pcm, rate) == " ".join(text.split())


def test_lone_surrogates_become_replacement_characters():
    """What no encoding can carry is replaced, in the words too."""
    said = speak("a\ud800b")
    assert [word.text for word in said.words] == ["a\ufffdb"]
    assert decode_text(said.pcm, said.rate) == "a\ufffdb"


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_nothing_is_said_for_nothing(text: str):
    """Without a word there is no sound."""
    assert speak(text) == Utterance(b"", 24000, ())


def test_speaking_word_by_word_makes_the_same_sound():
    """The engine may be fed a word at a time with no loss."""
    engine = create_engine("tone")
    assert engine.streams_words
    text = "one two three four"
    parts = [speak(word, first_word=i).pcm for i, word in enumerate(text.split())]
    assert b"".join(parts) == speak(text).pcm


def test_the_same_text_makes_the_same_bytes_everywhere():
    """The sound is a constant; changing it changes what recordings of it can be read."""
    digest = hashlib.sha256()
    for rate in RATES:
        digest.update(speak("constant ثابت", tag=0xA5, rate=rate, first_word=3).pcm)
    assert digest.hexdigest()[:16] == "8db48309c71ad1d7"


def test_many_threads_may_speak_at_once():
    """Every thread gets its own words."""
    texts = [f"thread {n} says {n * n}" for n in range(32)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(speak, texts))
    assert [decode_text(one.pcm, one.rate) for one in said] == texts


def test_it_is_not_loud():
    """The peak stays near -11 dBFS."""
    pcm = speak("loudness").pcm
    assert max(map(abs, struct.unpack(f"<{len(pcm) // 2}h", pcm))) <= AMPLITUDE < 32767 * 0.283


@pytest.mark.parametrize("rate", [0, 11025, 23999])
def test_odd_rates_are_refused(rate: int):
    """A rate whose frames are not whole samples is an error, to speak and to read."""
    with pytest.raises(ValueError, match="Hz"):
        speak("x", rate=rate)
    with pytest.raises(ValueError, match="50 Hz"):
        decode(b"", rate)


@pytest.mark.parametrize("tag", [-1, 256])
def test_tags_are_bytes(tag: int):
    """A tag that does not fit is refused, not folded."""
    with pytest.raises(ValueError, match="tag"):
        speak("x", tag=tag)


def test_the_checksum_is_crc8():
    """The check value of the CRC-8 with polynomial 7 and preset 0xFF is 0xFB."""
    assert crc8(b"123456789") == 0xFB
    assert crc8(b"123456789\xfb") == 0


# Cut.


@given(st.lists(words, min_size=1, max_size=4), rates, st.floats(0, 1))
def test_a_cut_word_is_reported_and_the_ones_before_are_whole(
    said: list[str], rate: int, fraction: float
):
    """Audio may end anywhere; only a word heard for less than 12 ms goes unmentioned."""
    whole = speak(" ".join(said), rate=rate)
    cut = round(len(whole.pcm) * fraction)
    heard = decode(whole.pcm[:cut], rate)
    seconds = cut / 2 / rate
    before = [word for word in whole.words if word.stop + 0.006 < seconds]
    begun = [word for word in whole.words if word.start + 0.013 < seconds]
    assert good(heard)[: len(before)] == [word.text for word in before]
    assert len(begun) <= len(heard) <= len(begun) + 1
    assert all(not word.ok for word in heard[len(before) + 1 :])
    if len(begun) > len(before) and seconds < begun[-1].stop:
        assert not heard[-1].ok


@pytest.mark.parametrize("rate", [8000, 24000])
def test_a_word_cut_between_two_tones_is_what_its_spectrum_says(
    rate: int, monkeypatch: pytest.MonkeyPatch
):
    """Found byte for byte, which is fast, it is the same word."""

    def facts(pcm: bytes) -> list[tuple[str, int, int, bool]]:
        return [(word.text, word.tag, word.index, word.ok) for word in decode(pcm, rate)]

    pcm = speak("a hé", rate=rate).pcm
    cut = [pcm[:end] for end in range(0, len(pcm), 2 * rate // 50)]
    read = [facts(each) for each in cut]
    monkeypatch.setattr(tone, "_read_exact", lambda *_: iter(()))
    assert [facts(each) for each in cut] == read


@given(st.lists(words, min_size=2, max_size=4), rates, st.floats(0, 1))
def test_reading_starts_anywhere(said: list[str], rate: int, fraction: float):
    """Audio may begin in the middle of a frame, even of a sample: later words are whole."""
    whole = speak(" ".join(said), rate=rate)
    cut = round(len(whole.pcm) * fraction)
    after = [word.text for word in whole.words if word.start >= cut / 2 / rate]
    heard = good(decode(whole.pcm[cut:], rate))
    assert heard[len(heard) - len(after) :] == after
    assert len(heard) - len(after) <= 1  # a mark that lost little of itself is still a mark


@pytest.mark.parametrize("frames", range(1, 15))
def test_a_word_cut_between_two_tones_is_not_ok(frames: int):
    """However many whole tones were heard, a word without its silence is not whole."""
    pcm = speak("cut", tag=9, first_word=4).pcm[: frames * 960]
    (heard,) = decode(pcm, 24000)
    assert not heard.ok
    assert heard.tag == (9 if frames >= 4 else -1)
    assert heard.index == (4 if frames >= 6 else -1)
    assert heard.text.startswith("cut"[: max(0, frames - 6) // 2])
    assert tags(pcm, 24000) == ({9} if frames >= 4 else set())


def test_the_next_generation_may_cut_in():
    """A word interrupted in the middle of a tone is reported, the one after it is whole."""
    pcm = speak("interrupted", tag=1).pcm[:20_002] + speak("next", tag=2).pcm
    first, second = decode(pcm, 24000)
    assert (first.tag, first.ok, second) == (
        1,
        False,
        Heard("next", 2, 0, True, 20_002 / 48000, 20_002 / 48000 + 16 * 0.02),
    )
    assert "interrupted".startswith(first.text)


@given(st.integers(0, 13), st.integers(1, 15), rates)
def test_a_flipped_tone_is_noticed(place: int, flip: int, rate: int):
    """One wrong tone anywhere in a word fails its checksum."""
    alphabet = _alphabet(rate)
    pcm = bytearray(speak("wrong", rate=rate).pcm)
    at = len(alphabet.mark) + place * alphabet.frame
    tones = list(alphabet.values)
    nibble = alphabet.values[bytes(pcm[at : at + alphabet.frame])]
    pcm[at : at + alphabet.frame] = tones[nibble ^ flip]
    (heard,) = decode(bytes(pcm), rate)
    assert not heard.ok


def test_a_tone_of_the_wrong_pitch_ends_the_word():
    """What is no tone of ours is not taken for the nearest one."""
    wrong = _alphabet(24000).mark[:960]
    pcm = speak("wrong").pcm
    heard = decode(pcm[:9600] + wrong + pcm[10560:], 24000)
    assert [word.ok for word in heard] == [False]


def test_a_hole_in_a_word_is_noticed():
    """Silence in the middle of a tone, as an underrun makes it, does not end the word well."""
    pcm = speak("underrun").pcm
    heard = decode(pcm[:10_000] + bytes(4800) + pcm[10_000:], 24000)
    assert good(heard) == []
    assert len(heard) == 1


# Foreign bytes.


@given(st.binary(max_size=5000), rates)
def test_no_bytes_are_too_strange(junk: bytes, rate: int):
    """Noise is read without complaint and holds no words."""
    assert decode(junk, rate) == []


@given(st.lists(words, min_size=1, max_size=4), st.lists(st.integers(0, 3001)), st.randoms(), rates)
def test_words_are_found_between_foreign_bytes(
    said: list[str], sizes: list[int], rng: random.Random, rate: int
):
    """Any number of bytes, odd ones included, may lie before, between and after words."""
    pcm = b""
    for index, word in enumerate(said):
        pcm += rng.randbytes(sizes[index] if index < len(sizes) else 0)
        pcm += speak(word, rate=rate, first_word=index).pcm
    heard = decode(pcm + rng.randbytes(777), rate)
    assert good(heard) == said


def test_the_tags_tell_interleaved_generations_apart():
    """Cross-talk is visible: every word knows its generation and its place in it."""
    pcm = b"".join(
        speak(f"w{index}", tag=tag, first_word=index).pcm
        for index in range(5)
        for tag in (3, 250, 0)
    )
    heard = decode(pcm, 24000)
    assert [(word.tag, word.index) for word in heard] == [
        (tag, index) for index in range(5) for tag in (3, 250, 0)
    ]
    assert tags(pcm, 24000) == {0, 3, 250}


def test_silence_between_words_is_fine():
    """Audio that waited for its text reads the same."""
    pcm = bytes(12_345).join(speak(word, first_word=i).pcm for i, word in enumerate("abc"))
    assert decode_text(pcm, 24000) == "a b c"


def test_untouched_audio_is_looked_up_and_not_analysed(monkeypatch: pytest.MonkeyPatch):
    """Tests read hours of it: not one window is looked at for its tones, until a byte is wrong."""
    windows = 0

    def counted(window: "array[int]") -> int:
        nonlocal windows
        windows += 1
        return energy(window)

    energy = tone._energy
    monkeypatch.setattr(tone, "_energy", counted)
    pcm = speak("lorem ipsum dolor sit amet " * 32).pcm
    assert len(pcm) / 48000 > 60
    assert len(good(decode(pcm, 24000))) == 160 and windows == 0
    damaged = bytearray(pcm)
    damaged[len(pcm) // 2 : len(pcm) // 2 + 2000] = bytes(range(250)) * 8
    decode(bytes(damaged), 24000)
    assert windows > 0


# Through codecs and resamplers.


def ulaw(sample: int) -> int:
    """G.711 µ-law: 14 bits with a bias of 33, a sign, three bits of segment, four of step."""
    size = min(abs(sample) >> 2, 8158) + 33
    segment = size.bit_length() - 6
    code = segment << 4 | size >> segment + 1 & 15
    return ~(code | (0x80 if sample < 0 else 0)) & 0xFF


def from_ulaw(byte: int) -> int:
    code = ~byte & 0xFF
    segment, step = code >> 4 & 7, code & 15
    size = (((2 * step + 33) << segment) - 33) << 2
    return -size if code & 0x80 else size


def alaw(sample: int) -> int:
    """G.711 A-law: 13 bits, the first two segments linear, even bits inverted."""
    size = min(sample >> 3 if sample >= 0 else ~sample >> 3, 4095)
    segment = max(0, size.bit_length() - 5)
    code = segment << 4 | size >> max(1, segment) & 15
    return (code | (0x80 if sample >= 0 else 0)) ^ 0x55


def from_alaw(byte: int) -> int:
    code = byte ^ 0x55
    segment, step = code >> 4 & 7, code & 15
    size = (2 * step + 1 if segment == 0 else (2 * step + 33) << segment - 1) << 3
    return size if code & 0x80 else -size


def through(encode: Callable[[int], int], back: Callable[[int], int], pcm: bytes) -> bytes:
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    return struct.pack(f"<{len(samples)}h", *[back(encode(sample)) for sample in samples])


CODECS = [pytest.param(ulaw, from_ulaw, id="ulaw"), pytest.param(alaw, from_alaw, id="alaw")]


@pytest.mark.parametrize(("encode", "back"), CODECS)
def test_our_g711_is_g711(encode: Callable[[int], int], back: Callable[[int], int]):
    """The codecs of these tests keep every code word and err by a sixteenth at most."""
    assert {encode(back(code)) for code in range(256)} >= set(range(256)) - {0x7F}
    for sample in range(-32000, 32001, 7):
        assert abs(back(encode(sample)) - sample) <= abs(sample) / 16 + 16


@settings(max_examples=20)
@given(text=st.text(max_size=8), rate=st.sampled_from((8000, 16000)))
@pytest.mark.parametrize(("encode", "back"), CODECS)
def test_text_survives_g711(
    encode: Callable[[int], int], back: Callable[[int], int], text: str, rate: int
):
    """µ-law and A-law change every sample and no word."""
    said = speak(text, rate=rate)
    heard = decode(through(encode, back, said.pcm), rate)
    assert good(heard) == text.split()
    assert [word.start for word in heard] == pytest.approx(
        [word.start for word in said.words], abs=0.002
    )


@pytest.mark.parametrize("target", RATES)
@pytest.mark.parametrize("source", RATES)
def test_text_survives_resampling(source: int, target: int):
    """Between any two rates, linear resampling changes no word."""
    pcm = resample(speak("Hi مرحبا 😀", rate=source).pcm, source, target)
    assert good(decode(pcm, target)) == ["Hi", "مرحبا", "😀"]


def test_text_survives_the_telephone():
    """24 kHz to 8 kHz µ-law to 16 kHz: all words, in order, whole."""
    phone = through(ulaw, from_ulaw, resample(speak("all the words").pcm, 24000, 8000))
    assert good(decode(resample(phone, 8000, 16000), 16000)) == ["all", "the", "words"]


@settings(max_examples=30)
@given(st.integers(0, 13_000), st.integers(0, 1500), st.randoms(use_true_random=True))
def test_changed_audio_may_be_cut_and_mixed_with_foreign_bytes(
    cut: int, junk: int, rng: random.Random
):
    """In audio that went through a codec, words are found at any offset, odd ones included."""
    phone = through(ulaw, from_ulaw, speak("alpha beta", rate=8000).pcm)
    heard = decode(phone[:cut] + rng.randbytes(junk) + phone, 8000)
    assert good(heard)[-2:] == ["alpha", "beta"]
    assert good(heard)[:-2] in ([], ["alpha"], ["alpha", "beta"])


def test_exact_and_changed_audio_may_follow_each_other():
    """One stream may hold both; the order is kept."""
    pcm = (
        speak("one", rate=8000).pcm
        + through(ulaw, from_ulaw, speak("two", rate=8000, first_word=1).pcm)
        + speak("three", rate=8000, first_word=2).pcm
    )
    assert decode_text(pcm, 8000) == "one two three"


def test_a_change_of_volume_within_a_word_is_no_damage():
    """A word that is ducked in the middle reads on: tones have pitch, not level."""
    pcm = speak("ducking").pcm
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    ducked = struct.pack(
        f"<{len(samples)}h", *[s if i < 5000 else s // 2 for i, s in enumerate(samples)]
    )
    assert good(decode(ducked, 24000)) == ["ducking"]
