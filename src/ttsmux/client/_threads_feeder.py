"""
What pulls a text source of the threaded client: a thread for each.

The async twin is `_tasks_feeder`.
"""

from __future__ import annotations

import contextvars
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..core.mux import Mux
from ..core.speech import Speech
from . import _shared
from ._threads import Engine
from ._threads_bells import Bell, Waiter

_T = TypeVar("_T")


class Feeder:
    """
    Pulls one text iterator, writes what it gives, and closes it. Nobody else touches it.

    It pauses while much of its text is unsent, and leaves when the speech is over.
    """

    def __init__(
        self, engine: Engine, mux: Mux, speech: Speech, waiter: Waiter, source: Iterable[str]
    ) -> None:
        self._engine = engine
        self._mux = mux
        self._speech = speech
        self._bell = waiter.feeder = Bell()
        self._source = source
        self._context = contextvars.copy_context()

    def start(self) -> None:
        """Start its thread. Raises `RuntimeError` where none is to be had."""
        self._engine.start(self._run, f"feeder-{self._speech.number}")

    def _run(self) -> None:
        self._context.run(self._feed)

    def _feed(self) -> None:
        mux, speech = self._mux, self._speech
        try:
            iterator = iter(self._source)
            try:
                self._pull(iterator)
            finally:
                _shared.close_source(iterator)
            self._step(lambda now: mux.end(speech, now) if not speech.over else None)
        except BaseException as exc:
            error = _shared.for_reader(exc)
            self._step(lambda now: mux.fail(speech, error, now))

    def _pull(self, iterator: Iterator[str]) -> None:
        mux, speech = self._mux, self._speech
        for piece in iterator:
            if speech.over:
                return
            self._step(functools.partial(mux.write, speech, _shared.check_piece(piece)))
            while not self._step(lambda now: mux.room(speech, now)):
                self._bell.wait()

    def _step(self, input: Callable[[float], _T]) -> _T:
        return self._engine.step(self._mux, lambda: input(time.monotonic()))
