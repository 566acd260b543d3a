"""ttsmux's Client, for threads."""

from __future__ import annotations

import time

from _ours import options
from _worker import Job, Take, Threads, blocking, main

import ttsmux


class Ours:
    def __init__(self, job: Job) -> None:
        self.client = ttsmux.Client(job.provider, **options(job))

    def open(self, connections: int) -> None:
        assert self.client.prewarm(connections) >= connections

    def speak(self, text: str, take: Take) -> None:
        with self.client.speak(text) as speech:
            for chunk in speech:
                take(chunk.data)

    def interrupted(self, text: str, take: Take) -> float:
        speech = self.client.speak(text)
        take(next(speech).data)
        began = time.perf_counter()
        speech.interrupt()
        took = time.perf_counter() - began
        take(speech.read())
        return took

    def close(self) -> None:
        self.client.close()


if __name__ == "__main__":
    main(blocking(Ours), Threads())
