"""
Speech that can be read back: every word a row of beeps.

A word is two marks, then bytes of two tones each (high nibble first), then silence::

    mark 3050 Hz | mark 2900 Hz | tag | word counter | UTF-8 ... | CRC-8 | silence

Sixteen tones, 500 to 2750 Hz in steps of 150, stand for the nibbles. Marks and tones last
20 ms, the silence 40 ms. All frequencies are multiples of 50 Hz and start at phase zero, so at
any rate divisible by 50 a tone is a constant byte string of whole waves: speaking is joining
bytes, and reading untouched audio back is looking them up. It also makes the tones orthogonal
over a frame, which is what the slow path of `decode` lives on when the audio went through a
codec or a resampler.

What an application received or played thus compares as text with what it asked for, and the
tag and the counter tell cross-talk from loss, repetition and stale audio. It is not speech;
its level is kept low, at -11 dBFS.

`decode` makes three passes, each over what the one before could not explain: exact bytes,
then tones by their spectrum, then the same one byte further on, for streams that lost half a
sample. Only the first two marks make a word findable: a word whose beginning is gone is not
reported, and reading goes on at the next mark.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from operator import mul
from typing import Final

import attrs

from ttsmux.simulate.engines.model import Utterance, Word, check_speakable, encodable
from ttsmux.simulate.engines.resample import to_pcm, to_samples

__all__ = ["Heard", "ToneEngine", "decode", "decode_text", "tags"]

FRAMES_PER_SECOND: Final = 50
MARKS: Final = (3050, 2900)
TONES: Final = tuple(range(500, 2751, 150))
# -11 dBFS, and even: half of an odd one would round by the last bit of the machine's sine.
AMPLITUDE: Final = 9236
GAP: Final = 2  # frames of silence after a word

# The share of a frame's energy that its tone must hold. Untouched tones hold all of it; 8 kHz
# audio that was linearly resampled upwards keeps 0.87 for the highest mark; a frame cut in
# half has 0.5. While searching, the window is up to an eighth of a frame off, and there may be
# noise in that eighth.
PURE: Final = 0.6
NEARLY_PURE: Final = 0.45
SILENT: Final = 0.04  # a frame with less of the mark's energy than this is silence
FAINT: Final = 100 * 100  # mean square below which no mark is looked for


class ToneEngine:
    """The engine that is always there: no dependency, no state, the same bytes every time."""

    name: str = "tone"
    streams_words: bool = True

    def __repr__(self) -> str:
        return "<ToneEngine>"

    def describe(self) -> str:
        return "tone (words as decodable beeps, not speech; part of ttsmux)"

    def speak(
        self,
        text: str,
        *,
        voice: str,
        language: str | None,
        tag: int,
        rate: int,
        first_word: int = 0,
    ) -> Utterance:
        """Write *text* as tones. *voice* and *language* change nothing."""
        check_speakable(rate, tag)
        alphabet = _alphabet(rate)
        parts: list[bytes] = []
        words: list[Word] = []
        frames = 0
        for index, word in enumerate(encodable(text).split(), first_word):
            data = bytes((tag, index & 0xFF)) + word.encode()
            parts.append(alphabet.mark)
            parts.extend(map(alphabet.spelled.__getitem__, data))
            parts.append(alphabet.spelled[crc8(data)])
            parts.append(alphabet.gap)
            stop = frames + len(MARKS) + 2 * len(data) + 2
            words.append(Word(word, frames / FRAMES_PER_SECOND, stop / FRAMES_PER_SECOND))
            frames = stop + GAP
        return Utterance(b"".join(parts), rate, tuple(words))

    def close(self) -> None:
        """Do nothing; there is nothing to end."""


@attrs.frozen
class Heard:
    """
    A word found in audio; *start* and *stop* are seconds from the beginning of that audio.

    *ok* is False when the checksum fails or the word is cut off; the silence after a word is
    part of it in so far as some of it must be there. *tag* and *index* are -1 when the word
    ends before them.
    """

    text: str
    tag: int
    index: int
    ok: bool
    start: float
    stop: float


def decode(pcm: bytes, rate: int) -> list[Heard]:
    """
    Return the words in *pcm*, s16le mono at *rate* Hz, in the order they sound.

    Never fails on any bytes. Words that are damaged or cut are returned with *ok* False; one
    of which less than 12 ms can be heard is not found at all.
    """
    if rate < 8000 or rate % FRAMES_PER_SECOND:
        raise ValueError(f"tones can be read at multiples of 50 Hz from 8000, not at {rate}")
    pcm = bytes(pcm)
    rows = list(_read_exact(pcm, rate))
    for parity in (0, 1):
        for start, stop in list(_unexplained(pcm, rows)):
            rows.extend(_read_spectrum(pcm, start + ((start ^ parity) & 1), stop, rate))
        rows.sort(key=lambda row: row.start)
    return [_heard(row, rate) for row in rows]


def decode_text(pcm: bytes, rate: int) -> str:
    """Return what `decode` hears as text, damaged words included as far as they were heard."""
    return " ".join(heard.text for heard in decode(pcm, rate) if heard.text)


def tags(pcm: bytes, rate: int) -> set[int]:
    """Return the tags of all words in *pcm*, damaged and cut ones included."""
    return {heard.tag for heard in decode(pcm, rate) if heard.tag >= 0}


# What follows reads a word as a *row*: where it begins and ends in the bytes, its nibbles, and
# whether silence ended it. What the nibbles say is decided in one place, _heard().


@attrs.frozen
class _Row:
    start: int
    stop: int
    nibbles: Sequence[int]
    ended: bool


def _heard(row: _Row, rate: int) -> Heard:
    data = bytes(
        high << 4 | low for high, low in zip(row.nibbles[::2], row.nibbles[1::2], strict=False)
    )
    sealed = len(row.nibbles) % 2 == 0 and len(data) > 3 and crc8(data) == 0
    ok = sealed and row.ended
    # A word that was cut off has no checksum to take off, unless only its silence is missing.
    spelled = data[2:-1] if sealed or row.ended else data[2:]
    try:
        text = spelled.decode()
    except UnicodeDecodeError:
        text, ok = spelled.decode(errors="replace"), False
    return Heard(
        text,
        tag=data[0] if data else -1,
        index=data[1] if len(data) > 1 else -1,
        ok=ok,
        start=row.start / 2 / rate,
        stop=row.stop / 2 / rate,
    )


def _unexplained(pcm: bytes, rows: Sequence[_Row]) -> Iterator[tuple[int, int]]:
    """Yield the stretches between *rows* in which there is any sound."""
    at = 0
    edges = [(row.start, row.stop) for row in rows]
    for start, stop in [*edges, (len(pcm), len(pcm))]:
        if pcm.count(0, at, start) < start - at:
            yield at, start
        at = stop


# The exact path.


@attrs.frozen
class _Alphabet:
    frame: int  # bytes
    mark: bytes
    spelled: tuple[bytes, ...]  # each byte as two tones
    gap: bytes
    values: dict[bytes, int]


@lru_cache(maxsize=16)
def _alphabet(rate: int) -> _Alphabet:
    size = rate // FRAMES_PER_SECOND

    def beep(frequency: int) -> bytes:
        step = 2 * math.pi * frequency / rate
        return to_pcm(array("h", [round(AMPLITUDE * math.sin(step * n)) for n in range(size)]))

    tones = [beep(frequency) for frequency in TONES]
    return _Alphabet(
        frame=2 * size,
        mark=b"".join(beep(frequency) for frequency in MARKS),
        spelled=tuple(high + low for high in tones for low in tones),
        gap=bytes(2 * size * GAP),
        values={tone: nibble for nibble, tone in enumerate(tones)},
    )


def _read_exact(pcm: bytes, rate: int) -> Iterator[_Row]:
    """Yield the words that are there byte for byte, at odd offsets too, up to their silence."""
    alphabet = _alphabet(rate)
    frame, value = alphabet.frame, alphabet.values.get
    silence = bytes(frame // 4)
    start = pcm.find(alphabet.mark)
    while start >= 0:
        at = start + len(alphabet.mark)
        nibbles: list[int] = []
        while (nibble := value(pcm[at : at + frame])) is not None:
            nibbles.append(nibble)
            at += frame
        # Without its silence the word is cut or changed somewhere: the spectrum decides, but
        # where the audio ends between two tones.
        if pcm.startswith(silence, at):
            yield _Row(start, at, nibbles, ended=True)
        elif at == len(pcm):
            yield _Row(start, at, nibbles, ended=False)
        start = pcm.find(alphabet.mark, at)


# The spectral path.

_Wave = tuple[tuple[float, ...], tuple[float, ...]]


@attrs.frozen
class _Spectrum:
    thin: int  # every how many samples one is looked at
    frame: int  # samples after thinning
    marks: tuple[_Wave, ...]
    tones: tuple[_Wave, ...]


@lru_cache(maxsize=16)
def _spectrum(rate: int) -> _Spectrum:
    size = rate // FRAMES_PER_SECOND
    # The tones end below 4 kHz, so 8000 samples a second are enough. What a resampler left
    # above them folds back onto the tones it mirrors.
    thin = max(n for n in range(1, rate // 8000 + 1) if size % n == 0)
    frame = size // thin

    def wave(frequency: int) -> _Wave:
        turns = [2 * math.pi * frequency * n * thin / rate for n in range(frame)]
        return tuple(map(math.cos, turns)), tuple(map(math.sin, turns))

    return _Spectrum(thin, frame, tuple(map(wave, MARKS)), tuple(map(wave, TONES)))


def _read_spectrum(pcm: bytes, begin: int, end: int, rate: int) -> Iterator[_Row]:
    """Yield the words whose marks sound anywhere in pcm[begin:end]."""
    spectrum = _spectrum(rate)
    frame = spectrum.frame
    sound = to_samples(pcm[begin : begin + max(0, end - begin) // 2 * 2])[:: spectrum.thin]
    real = len(sound)
    sound.extend(repeat(0, 3 * frame))
    at = 0
    while at < real:
        start = _find_mark(sound, at, real, spectrum)
        if start is None:
            return
        stop, nibbles, ended = _read_row(sound, start, real, spectrum)
        # A frame is only ever begun inside the sound but may end beyond it, by padding.
        first, last = (begin + 2 * spectrum.thin * place for place in (start, stop))
        yield _Row(first, min(last, end), nibbles, ended)
        # The last frame of a word that was cut off may hold the beginning of the next word.
        at = stop if ended else stop - frame


def _find_mark(sound: "array[int]", at: int, real: int, spectrum: _Spectrum) -> int | None:
    frame = spectrum.frame
    for hop in range(at, real, max(1, frame // 4)):
        window = sound[hop : hop + frame]
        energy = _energy(window)
        if energy < FAINT * frame or _purity(window, spectrum.marks[0]) < NEARLY_PURE:
            continue
        start = _align_mark(sound, max(at, hop - frame // 4), hop + frame, real, spectrum)
        first, second = _purities(sound, start, spectrum)
        if first >= PURE and (second >= PURE or start + 2 * frame > real):
            return start
    return None


def _align_mark(sound: "array[int]", low: int, high: int, real: int, spectrum: _Spectrum) -> int:
    """Return where both marks fill their frames best, looking from *low* to about *high*."""

    # Loudness would not do for purity here: something louder may sound just before.
    def fit(start: int) -> float:
        return sum(_purities(sound, start, spectrum))

    coarse, fine = max(1, spectrum.frame // 10), max(1, spectrum.frame // 80)
    start = max(range(low, min(high, real), coarse), key=fit)
    while True:
        # Climb: the best of a range may lie at its edge, when a mark that was cut off
        # comes right before a whole one.
        near = range(max(low, start - coarse), min(start + coarse + 1, real), fine)
        better = max(near, key=fit)
        if fit(better) <= fit(start):
            return start
        start = better


def _purities(sound: "array[int]", start: int, spectrum: _Spectrum) -> tuple[float, float]:
    middle, end = start + spectrum.frame, start + 2 * spectrum.frame
    first, second = spectrum.marks
    return _purity(sound[start:middle], first), _purity(sound[middle:end], second)


def _read_row(
    sound: "array[int]", start: int, real: int, spectrum: _Spectrum
) -> tuple[int, list[int], bool]:
    """Return where the row of tones after the mark ends, its nibbles, and if by silence."""
    frame = spectrum.frame
    quiet = SILENT * _energy(sound[start : start + frame])
    nibbles: list[int] = []
    at = start + 2 * frame
    while at + frame // 4 <= real:
        window = sound[at : at + frame]
        if _energy(window) < quiet:
            return at, nibbles, True
        powers = [_power(window, tone) for tone in spectrum.tones]
        nibble = max(range(len(powers)), key=powers.__getitem__)
        if _purity(window, spectrum.tones[nibble]) < PURE:
            break
        nibbles.append(nibble)
        at += frame
    return at, nibbles, False


def _energy(window: "array[int]") -> int:
    return sum(map(mul, window, window))


def _power(window: "array[int]", wave: _Wave) -> float:
    cosine: float = sum(map(mul, window, wave[0]))
    sine: float = sum(map(mul, window, wave[1]))
    return cosine * cosine + sine * sine


def _purity(window: "array[int]", wave: _Wave) -> float:
    """Return the share of the energy of *window* that *wave* explains, 0 to 1."""
    energy = _energy(window)
    return 2 * _power(window, wave) / (len(window) * energy) if energy else 0.0


def _crc8_of(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 ^ (0x107 if byte & 0x80 else 0)
    return byte


_CRC8: Final = tuple(_crc8_of(byte) for byte in range(256))


def crc8(data: bytes) -> int:
    """
    Return the CRC-8 of *data*: polynomial x^8 + x^2 + x + 1, register preset to ones.

    Over data that its own checksum follows it is 0.
    """
    crc = 0xFF
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc
