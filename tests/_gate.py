"""A voice that waits to be told: what comes before its words is for a test to say."""

from __future__ import annotations

import threading
from typing import Any

from ttsmux.simulate.engines import Utterance
from ttsmux.simulate.engines.tone import ToneEngine

PATIENCE = 30.0
"""Seconds after which nobody will open a gate any more."""


class Gate(ToneEngine):
    """Speaks no sentence with *words* in it until it is `open`; without any, none at all."""

    streams_words = False  # else it would be called in the simulator's loop, which must not wait

    def __init__(self, words: str = "") -> None:
        self.open = threading.Event()
        self._words = words

    def speak(self, text: str, **how: Any) -> Utterance:
        if self._words in text:
            assert self.open.wait(PATIENCE), "nobody opened the gate"
        return super().speak(text, **how)
