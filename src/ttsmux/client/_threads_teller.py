"""
What tells of the threaded client's events where its clock must not: in a thread of its own.

In an event loop there is nobody else to do so; `_tasks` has no such thing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..core.effects import Event
from ..core.mux import Mux
from . import events


class Teller:
    """
    Tells what the clock found.

    A handler of logs, or an exporter, is anybody's code and may take its time; whoever keeps the
    deadlines of all cannot wait for it. The thread is there as long as there is something to tell.
    """

    def __init__(
        self,
        tell: Callable[[Mux, Sequence[Event]], None],
        start: Callable[[Callable[[], None], str], object],
    ) -> None:
        self._tell = tell
        self._start = start
        self._untold: deque[tuple[Mux, Sequence[Event]]] = deque()
        # Of the kind that its own thread may take again: a finaliser may have something to tell.
        self._lock = threading.RLock()
        self._at_work = False

    def put(self, mux: Mux, found: Sequence[Event]) -> None:
        """Have *found* told, after what was put before. Does not wait."""
        with self._lock:
            self._untold.append((mux, found))
            if self._at_work:
                return
            self._at_work = True
        try:
            self._start(self._run, "teller")
        except Exception:
            self._run()  # no thread is to be had: it is told late rather than never

    def _run(self) -> None:
        while (next := self._next()) is not None:
            try:
                self._tell(*next)
            except BaseException as exc:
                # What a program's own handler raises is not to end this: more may follow.
                with suppress(Exception):
                    events.log([Event("client.fault", {"error": type(exc).__name__})])

    def _next(self) -> tuple[Mux, Sequence[Event]] | None:
        with self._lock:
            if not self._untold:
                self._at_work = False
                return None
            return self._untold.popleft()
