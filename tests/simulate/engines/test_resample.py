"""Resampling keeps length, ends and shape."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.simulate.engines import RATES
from ttsmux.simulate.engines.resample import resample

rates = st.sampled_from(RATES)
samples = st.lists(st.integers(-32768, 32767), min_size=1, max_size=2000)


def pack(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def unpack(pcm: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(pcm) // 2}h", pcm))


@given(samples, rates, rates)
def test_length_ends_and_range_are_kept(values: list[int], source: int, target: int):
    """The length is the nearest, the ends are the same, nothing overshoots."""
    out = unpack(resample(pack(values), source, target))
    assert len(out) == max(1, math.floor(len(values) * target / source + 0.5))
    assert out[-1] == values[-1]
    assert len(out) == 1 or out[0] == values[0]
    assert min(values) <= min(out) <= max(out) <= max(values)


@given(samples, rates)
def test_the_same_rate_changes_nothing(values: list[int], rate: int):
    """No rate to change, no byte changed."""
    assert resample(pack(values), rate, rate) == pack(values)


def test_no_sound_stays_no_sound():
    """Nothing has no first and last sample to keep."""
    assert resample(b"", 22050, 24000) == b""


@pytest.mark.parametrize("target", RATES)
def test_a_wave_keeps_its_shape(target: int):
    """A 200 Hz sine at the other rate is the sine, to a hundredth."""

    def sine(rate: int) -> list[int]:
        return [round(20000 * math.sin(400 * math.pi * n / rate)) for n in range(rate // 10)]

    out = unpack(resample(pack(sine(22050)), 22050, target))
    assert out[:-3] == pytest.approx(sine(target)[:-3], abs=200)
