"""Bytes on the wire: G.711 by its definition, WAV headers, cutting."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.simulate.engines.tone import ToneEngine, decode_text
from ttsmux.simulate.sound import Cutter, Encoding


def expand_mulaw(code: int) -> int:
    code ^= 0xFF
    magnitude = ((code & 15) << 3 | 0x84) << (code >> 4 & 7)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


def expand_alaw(code: int) -> int:
    code ^= 0x55
    exponent, magnitude = code >> 4 & 7, (code & 15) << 4 | 8
    if exponent:
        magnitude = (magnitude | 0x100) << exponent - 1
    return magnitude if code & 0x80 else -magnitude


EXPAND = {"mulaw": expand_mulaw, "alaw": expand_alaw}


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
def test_each_code_stands_for_the_samples_nearest_to_it(codec: str) -> None:
    """Expanding a code and encoding it again changes nothing, up to the two zeros of µ-law."""
    expand = EXPAND[codec]
    values = [expand(code) for code in range(256)]
    encoded = Encoding(8000, codec).encode(array("h", values).tobytes())  # type: ignore[arg-type]
    assert [expand(code) for code in encoded] == values
    ends = Encoding(8000, codec).encode(array("h", [-32768, 32767]).tobytes())  # type: ignore[arg-type]
    assert [expand(code) for code in ends] == [min(values), max(values)]


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
def test_words_survive_the_codec(codec: str) -> None:
    """Tones are read back after a round trip."""
    spoken = ToneEngine().speak("Hello wörld", voice="", language=None, tag=7, rate=8000)
    codes = Encoding(8000, codec).encode(spoken.pcm)  # type: ignore[arg-type]
    assert len(codes) == len(spoken.pcm) // 2
    pcm = array("h", map(EXPAND[codec].__call__, codes)).tobytes()
    assert decode_text(pcm, 8000) == "Hello wörld"


def test_wav_header() -> None:
    """44 bytes: mono, 16 bit, the rate, and lengths that say nothing."""
    header = Encoding(48000, wav=True).header
    assert len(header) == 44
    assert header[:4] + header[8:16] + header[36:40] == b"RIFFWAVEfmt data"
    assert header[4:8] == header[40:] == b"\xff" * 4
    assert Encoding(48000).header == b""


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20).map(lambda n: 2 * n), st.integers(0, 9))
def test_cutting_keeps_every_byte(parts: list[bytes], size: int, odd_from: int) -> None:
    """In full messages, or odd ones once asked; only the last may be shorter."""
    cutter, messages = Cutter(size), []
    for part in parts:
        cutter.add(part)
        while (message := cutter.take(final=False)) is not None:
            messages.append(message)
            cutter.odd = len(messages) >= odd_from
    while (message := cutter.take(final=True)) is not None:
        messages.append(message)
        cutter.odd = len(messages) >= odd_from
    assert b"".join(messages) == b"".join(parts)
    assert all(len(message) % 2 for message in messages[max(odd_from, 1) :])
    assert all(len(message) == size for message in messages[:odd_from][:-1])
