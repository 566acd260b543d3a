"""What was heard is compared to the byte."""

from __future__ import annotations

import pytest

from ttsmux.audio import AudioFormat
from ttsmux.simulate.engines.tone import ToneEngine
from ttsmux.simulate.sound import Encoding
from ttsmux.testing.sound import is_beginning, is_whole, words_in

FORMATS = [AudioFormat.parse(name) for name in ("pcm_24000", "pcm_8000", "mulaw_8000", "alaw_8000")]
every_format = pytest.mark.parametrize("format", FORMATS, ids=str)
TEXT = "one two three four"


def say(text: str, format: AudioFormat, tag: int = 7) -> bytes:
    pcm = ToneEngine().speak(text, voice="", language=None, tag=tag, rate=format.rate).pcm
    codec = format.encoding
    return Encoding(format.rate, codec).encode(pcm)  # type: ignore[arg-type]


@every_format
def test_all_of_it(format: AudioFormat) -> None:
    """By one generation, or by one a part."""
    assert is_whole(TEXT, say(TEXT, format), format)
    parts = say("one two", format, 1) + say("three four", format, 2)
    assert is_whole(TEXT, parts, format)
    assert words_in(parts, format) == TEXT.split()
    assert is_whole("", b"", format)


@every_format
def test_anything_less_or_more_is_not(format: AudioFormat) -> None:
    """A sample, a word, somebody else's word; the right words by a generation that goes on."""
    audio, width = say(TEXT, format), format.width
    word = say("one", format)
    for wrong in (
        audio[: -400 * width], audio[width:], audio + audio[: 100 * width], audio + word,
        word + audio, word + say("two three four", format), say("one two four", format), b"",
    ):  # fmt: skip
        assert not is_whole(TEXT, wrong, format)


@pytest.mark.counted
@every_format
def test_every_beginning(format: AudioFormat) -> None:
    """Cut anywhere, in a mark, in a tone, in the silence."""
    audio = say(TEXT, format)
    for stop in range(0, len(audio), 163 * format.width):
        assert is_beginning(TEXT, audio[:stop], format), stop
        assert is_whole(TEXT, audio[:stop], format) is False


@every_format
def test_no_beginning(format: AudioFormat) -> None:
    """Another text, the middle, a byte of another generation's at the end of its own."""
    audio, other = say(TEXT, format), say("stale words", format, 9)
    for wrong in (
        other, audio[len(audio) // 2 :], other[: format.byte_rate // 5] + audio,
        audio[: len(say("one", format))] + other[: format.byte_rate // 3],
    ):  # fmt: skip
        assert not is_beginning(TEXT, wrong, format)
