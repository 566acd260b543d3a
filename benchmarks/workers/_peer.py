"""What the workers of other people's clients share: an address, and how long they may take."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import _worker
from _worker import Contestant, Job, Runtime, Take

INTERRUPTED, TURN, OPEN, RUN = 5.0, 15.0, 30.0, 100.0
"""Seconds after which is given up: a turn to its first audio, one to its end; dials; the rest."""


def over_http(job: Job) -> str:
    """Return the address as those want it who make that of a socket of it themselves."""
    return "http" + job.url.removeprefix("ws")


def main(kind: Callable[[Job], Any], runtime: Runtime | None = None) -> None:
    """Do what the argument says, as `_worker.main`; say so and end if there is no answer."""

    def make(job: Job) -> Contestant:
        if job.mode in ("turns", "barge_in"):
            return Impatient(kind(job))
        _expect(RUN, "")
        return kind(job)

    _worker.main(make, runtime)


class Impatient:
    """
    A contestant whose turns are to be over in time.

    An alarm ends the process: some clients cannot be cancelled, or freeze the event loop.
    """

    def __init__(self, contestant: Contestant) -> None:
        self._is = contestant
        self._turns = 0

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        self._turns += 1
        _expect(seconds, f" in turn {self._turns}")
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)

    async def open(self, connections: int) -> None:
        _expect(OPEN, " when it was to connect")
        await self._is.open(connections)

    async def speak(self, text: str, take: Take) -> None:
        with self._turn(TURN):
            await self._is.speak(text, take)

    async def interrupted(self, text: str, take: Take) -> float:
        with self._turn(INTERRUPTED):
            return await self._is.interrupted(text, take)

    async def close(self) -> None:
        _expect(OPEN, " when it was to close")
        await self._is.close()


def _expect(seconds: float, when: str) -> None:
    def give_up(number: int, frame: FrameType | None) -> NoReturn:
        print(f"no answer in {seconds:g} s{when}", file=sys.stderr, flush=True)
        os._exit(1)

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
