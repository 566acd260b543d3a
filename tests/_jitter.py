"""
A machine that is busy at the worst moments, for ``pytest --jitter``: what waits, waits longer.

A thread beside the tests takes the interpreter for itself, in bursts, and whoever else wants it
waits a random time for each turn. A test that asks who is faster loses here what it would lose once
in ten thousand runs elsewhere.
"""

from __future__ import annotations

import random
import sys
import threading
import time

_BURST = (0.02, 0.3)
_REST = (0.02, 0.3)
_TURN = (0.0005, 0.03)


def begin(seed: int) -> None:
    """Disturb this process for as long as it lives."""
    threading.Thread(target=_disturb, args=(seed,), name="jitter", daemon=True).start()


def _disturb(seed: int) -> None:
    chance = random.Random(seed)
    while True:
        sys.setswitchinterval(chance.uniform(*_TURN))
        until = time.monotonic() + chance.uniform(*_BURST)
        while time.monotonic() < until:
            pass
        time.sleep(chance.uniform(*_REST))
