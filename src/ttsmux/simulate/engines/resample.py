"""
Linear resampling of s16le mono sound, with the standard library only.

Good enough for a simulator's voice: there is no low-pass filter, so sound above half the
target rate folds back. It matters little for speech and nothing for tests.
"""

import math
import sys
from array import array


def resample(pcm: bytes, source: int, target: int) -> bytes:
    """
    Return *pcm*, at *source* Hz, as it sounds at *target* Hz.

    The length is the nearest whole sample, the first and the last sample stay as they are.
    """
    if source == target or not pcm:
        return pcm
    samples = to_samples(pcm)
    length = len(samples)
    common = math.gcd(source, target)
    up, down = target // common, source // common
    size = max(1, (length * up + down // 2) // down)
    samples.append(samples[-1])  # what the last interval leans on
    out = array("h", bytes(2 * size))
    # Every up-th output sample lies at the same fraction between its neighbours, so there are
    # only *up* fractions, and each is one pass over two strided slices.
    for phase in range(min(up, size)):
        first, part = divmod(phase * down, up)
        end = first + (size - phase - 1) // up * down + 1
        left = samples[first:end:down]
        if part:
            right = samples[first + 1 : end + 1 : down]
            left = array("h", [a + (b - a) * part // up for a, b in zip(left, right, strict=True)])
        out[phase::up] = left
    out[-1] = samples[-1]
    return to_pcm(out)


def to_samples(pcm: bytes) -> "array[int]":
    """Read s16le on any machine. A last odd byte is an error of the caller."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def to_pcm(samples: "array[int]") -> bytes:
    """Write s16le on any machine."""
    if sys.byteorder == "big":
        samples = samples[:]
        samples.byteswap()
    return samples.tobytes()
