"""Speeches that break off, or cannot have sockets, for real: on every runtime, against simulators."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

import ttsmux
from tests.scenarios.stage import RUNTIMES, Take, World, events, play
from ttsmux.core.states import SpeechState
from ttsmux.simulate.engines.tone import decode

TEXT = "One two three four"
PROVIDERS = ("elevenlabs", "gradium", "kugelaudio", "sm", "xai")
on_every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


class Cable:
    """A way to a server that can be cut, as often as one likes; new connections go through."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"

    def _start(self, run: Any, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection((self._to.hostname or "", self._to.port or 0))
            with self._lock:
                self._ends += [near, far]
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            _end(end)

    def cut(self) -> None:
        """End every connection there is, without a word."""
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            _end(end)

    def close(self) -> None:
        _end(self._listener)
        self._listener.close()
        self._threads[0].join(10.0)
        self.cut()
        for thread in self._threads:
            thread.join(10.0)
            assert not thread.is_alive()
        for end in self._ends:
            end.close()


def _end(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended


# --- after the first audio ------------------------------------------------------------------------


def words(chunks: list[ttsmux.AudioChunk]) -> list[tuple[str, bool]]:
    """Return the words in *chunks*, each with whether it is whole."""
    # A word with silence behind it is whole, or it is not.
    rate = chunks[0].format.rate
    sound = b"".join(chunk.data for chunk in chunks) + bytes(rate // 5 * 2)
    return [(word.text, word.ok) for word in decode(sound, rate)]


def went_on(take: Take) -> None:
    """No word is lost; none is said twice, but for one where it says that it may be."""
    assert take.error is None, repr(take.error)
    assert take.speech.outcome is ttsmux.Outcome.COMPLETED
    take._in_order()
    [seam] = [n for n, chunk in enumerate(take.chunks) if chunk.resumed is not None]
    resumed = take.chunks[seam].resumed
    assert resumed is not None and resumed.gap > 0
    before, behind = words(take.chunks[:seam]), words(take.chunks[seam:])
    assert all(whole for _, whole in behind)
    assert all(whole for _, whole in before[:-1])
    said = [text for text, whole in before if whole]
    then = [text for text, _ in behind]
    assert TEXT[resumed.at :].split() == then
    if said + then != TEXT.split():
        assert said[:-1] + then == TEXT.split()
        assert resumed.approximate
    metrics = take.speech.metrics
    assert (metrics.resumed, metrics.attempts) == (1, 2)


def cut_everywhere(runtime: str, provider: str, *, lag: int) -> None:
    """Cut the wire of one speech after each of its chunks, all of them read but the last *lag*."""
    policy = ttsmux.RetryPolicy(base=0.001, on_partial="resume")

    async def script(w: World) -> None:
        whole = (await w.speak(TEXT).rest()).said()
        count = len(whole.chunks)
        assert count > 8
        with ExitStack() as stack:
            cable = Cable(w.sim.url)
            stack.callback(cable.close)
            for chunk in range(1 + lag, count - 1):
                # It says so much and no more, and nothing happens before that is read.
                number = len(w.records("generation")) + 1
                w.sim.inject(f"stall@request:{number},chunk:{chunk}")
                cabled = w.make_client(base_url=cable.url)
                take = w.listen(w.stage.speak(cabled, TEXT, {}), TEXT)
                await take.read(chunk - lag)
                core, size = take.speech._core, sum(len(c.data) for c in whole.chunks[:chunk])
                await w.until(lambda core=core, size=size: core.received == size)
                cable.cut()
                await take.rest()
                went_on(take)
                await w.stage.close(cabled)

    play(runtime, provider, script, client={"retry": policy}, chunk_ms=80)


@on_every_runtime
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("lag", [0, 3])
def test_a_speech_that_is_cut_goes_on(runtime: str, provider: str, lag: int) -> None:
    """Wherever that is, and however much of it is unread."""
    cut_everywhere(runtime, provider, lag=lag)
