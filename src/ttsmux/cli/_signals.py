"""Ctrl-C and SIGTERM while something speaks: they interrupt it, and it ends as it should."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupter:
    """
    Calls *interrupt* once a signal came, also if it came before `watch`.

    The handler itself only puts into a queue that may be put into anywhere: it runs in the middle
    of whatever the main thread does, which may hold the client's lock. The second signal of a kind
    has its usual effect. A signal that is ignored stays so, as for a job in the background.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that came."""
        self._came: SimpleQueue[int | None] = SimpleQueue()
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, self._before[number])
        self.number = number
        self._came.put(number)

    def watch(self, interrupt: Callable[[], object]) -> None:
        """Name what is to be called."""

        def wait() -> None:
            while self._came.get() is not None:
                interrupt()

        self._thread = threading.Thread(target=wait, name="ttsmux-signals", daemon=True)
        self._thread.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._came.put(None)
        if self._thread is not None:
            self._thread.join()
