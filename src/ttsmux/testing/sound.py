"""
What a speech should sound like, to the byte.

The simulators' tone engine writes the text and the number of the generation into the audio. So what
was heard can be read back, said again by the engine, and compared: a byte that is lost, repeated,
or another generation's makes the two differ.
"""

from __future__ import annotations

import functools
from itertools import groupby

from ..audio import AudioFormat
from ..simulate.engines.tone import FRAMES_PER_SECOND, MARKS, Heard, ToneEngine, decode
from ..simulate.sound import Codec, Encoding

__all__ = ["is_beginning", "is_whole", "words_in"]


def words_in(audio: bytes, format: AudioFormat) -> list[str]:
    """Return the words in *audio*, damaged and cut ones included as far as they can be heard."""
    return [heard.text for heard in decode(_pcm(audio, format), format.rate) if heard.text]


def is_whole(text: str, audio: bytes, format: AudioFormat) -> bool:
    """Tell whether *audio* is *text*, every byte of it, in order and by one generation a part."""
    words = text.split()
    heard = decode(_pcm(audio, format), format.rate)
    if [word.text for word in heard] != words or not all(word.ok for word in heard):
        return False
    return audio == _said(words, heard, format)


def is_beginning(text: str, audio: bytes, format: AudioFormat) -> bool:
    """Tell whether *audio* is the beginning of *text*, or nothing."""
    words = text.split()
    heard = decode(_pcm(audio, format), format.rate)
    # The last word may be cut so short that its generation cannot be told.
    if heard and heard[-1].index < 0:
        heard.pop()
    if len(heard) > len(words):
        return False
    if heard and _said(words, heard, format).startswith(audio):
        return True
    # Then it is another generation's, and there is little more of it than the mark of a word.
    before = _said(words[: len(heard)], heard, format)
    return audio.startswith(before) and _is_mark(audio[len(before) :], format)


def _is_mark(audio: bytes, format: AudioFormat) -> bool:
    """Tell whether *audio* begins as every word does, and says no more than its generation."""
    mark = _bytes(len(MARKS) / FRAMES_PER_SECOND, format)
    word = ToneEngine().speak("-", voice="", language=None, tag=0, rate=format.rate).pcm
    said = Encoding(format.rate, _codec(format)).encode(word)
    return said[:mark].startswith(audio[:mark]) and len(audio) < 3 * mark


def _bytes(seconds: float, format: AudioFormat) -> int:
    return round(seconds * format.rate) * format.width


def _said(words: list[str], heard: list[Heard], format: AudioFormat) -> bytes:
    """Say *words* as those generations that were *heard*; the last of them says the rest."""
    parts = [(tag, len(list(run))) for tag, run in groupby(heard, key=lambda word: word.tag)]
    engine, encoding = ToneEngine(), Encoding(format.rate, _codec(format))
    said, at = b"", 0
    for place, (tag, count) in enumerate(parts):
        stop = None if place == len(parts) - 1 else at + count
        text = " ".join(words[at:stop])
        utterance = engine.speak(text, voice="", language=None, tag=tag, rate=format.rate)
        said += encoding.encode(utterance.pcm)
        at += count
    return said


def _codec(format: AudioFormat) -> Codec:
    match format.encoding:
        case "mulaw":
            return "mulaw"
        case "alaw":
            return "alaw"
    return "pcm"


def _pcm(audio: bytes, format: AudioFormat) -> bytes:
    codec = _codec(format)
    return audio if codec == "pcm" else b"".join(map(_samples(codec).__getitem__, audio))


@functools.cache
def _samples(codec: Codec) -> tuple[bytes, ...]:
    """Return the sample that each byte of *codec* stands for, or one that is as near as any."""
    every = range(-32768, 32768)
    pcm = b"".join(sample.to_bytes(2, "little", signed=True) for sample in every)
    found: dict[int, list[int]] = {}
    for sample, code in zip(every, Encoding(8000, codec).encode(pcm), strict=True):
        found.setdefault(code, []).append(sample)
    middles = {code: samples[len(samples) // 2] for code, samples in found.items()}
    return tuple(middles.get(code, 0).to_bytes(2, "little", signed=True) for code in range(256))
