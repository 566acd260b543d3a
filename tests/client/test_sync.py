"""What only the threaded client has: threads, locks, and a running loop that is not its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import pytest

import ttsmux
from tests._gate import Gate
from tests.scenarios.scripts import LONG
from tests.scenarios.stage import KEY, RATE, events, received
from ttsmux import Client, Speech
from ttsmux.client._threads_bells import Bell
from ttsmux.simulate import AsyncSimulator, Simulator
from ttsmux.simulate.engines.tone import decode_text

PATIENCE = 20.0


def client_of(sim: Simulator, **settings: object) -> Client:
    return Client("xai", base_url=sim.url, api_key=KEY, **settings)  # type: ignore[arg-type]


def wait_for_a_reader(speech: Speech) -> None:
    """Wait until another thread waits for audio."""
    deadline = time.monotonic() + PATIENCE
    while not speech._core.reader_waits:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_inside_a_running_event_loop(sim: AsyncSimulator) -> None:
    """It blocks the loop for as long as it reads, and does not mind it."""

    async def main() -> bytes:
        with client_of(sim) as client:
            return client.speak("good morning").read()

    assert decode_text(asyncio.run(main()), RATE) == "good morning"


def test_a_client_that_is_only_made_has_no_thread(sim: AsyncSimulator) -> None:
    before = set(threading.enumerate())
    with client_of(sim):
        assert set(threading.enumerate()) == before


def test_two_threads_cannot_read_one_speech() -> None:
    """The second is refused at once; the first reads on."""
    gate = Gate()
    with Simulator("xai", engine=gate) as sim, client_of(sim) as client:
        speech = client.speak("good morning")
        found: list[bytes] = []
        reader = threading.Thread(target=lambda: found.append(speech.read()))
        reader.start()
        wait_for_a_reader(speech)
        with pytest.raises(ttsmux.BusyResource, match="another thread is reading"):
            next(speech)
        gate.open.set()
        reader.join(PATIENCE)
    assert decode_text(found[0], RATE) == "good morning"


def test_any_thread_may_write_and_interrupt(sim: AsyncSimulator) -> None:
    with client_of(sim) as client:
        speech = client.speak()
        writers = [threading.Thread(target=speech.write, args=("la ",)) for _ in range(8)]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join(PATIENCE)
        next(speech)
        stopper = threading.Thread(target=speech.interrupt)
        stopper.start()
        stopper.join(PATIENCE)
        assert list(speech) == []
        assert speech.outcome is ttsmux.Outcome.INTERRUPTED


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_a_keyboard_interrupt_while_waiting_for_audio() -> None:
    """The with block interrupts the speech; the client goes on."""
    with Simulator("xai", faults=["stall@request:1,chunk:1"]) as sim, client_of(sim) as client:
        main = threading.get_ident()
        waiting, told = threading.Event(), threading.Event()

        def interrupt(number: int, frame: object) -> None:
            if not told.is_set():
                told.set()
                raise KeyboardInterrupt

        class Watched(Bell):
            def wait(self, timeout: float | None = None) -> bool:
                waiting.set()
                return super().wait(timeout)

        def press() -> None:
            sim.wait_for(lambda log: events(log, "fault"))
            assert waiting.wait(PATIENCE)
            # Again, for one that comes just before the thread sleeps leaves it asleep.
            while not told.wait(0.01):
                signal.pthread_kill(main, signal.SIGINT)

        with client.speak(LONG) as speech:
            next(speech)
            speech._waiter.reader = Watched()
            before = signal.signal(signal.SIGINT, interrupt)
            pressing = threading.Thread(target=press, name="press")
            pressing.start()
            with pytest.raises(KeyboardInterrupt):
                next(speech)
            pressing.join(PATIENCE)
            signal.signal(signal.SIGINT, before)
        assert speech.outcome is ttsmux.Outcome.INTERRUPTED
        sim.wait_for(lambda log: received(log, "text.clear"))
        assert decode_text(client.speak("and on").read(), RATE) == "and on"


def test_save_writes_a_whole_file(sim: AsyncSimulator, tmp_path: Path) -> None:
    with client_of(sim) as client:
        path = client.speak("good morning").save(tmp_path / "good.wav")
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE
        assert decode_text(file.readframes(file.getnframes()), RATE) == "good morning"


def test_save_leaves_nothing_behind_when_the_speech_fails(tmp_path: Path) -> None:
    with Simulator("xai", faults=["status=401"]) as sim, client_of(sim) as client:
        with pytest.raises(ttsmux.AuthError):
            client.speak("good morning").save(tmp_path / "bad.wav")
        assert list(tmp_path.iterdir()) == []
        with client.speak("") as speech, pytest.raises(OSError, match="No such file"):
            speech.save(tmp_path / "nowhere" / "bad.wav")


def test_save_is_no_part_of_a_speech(sim: AsyncSimulator, tmp_path: Path) -> None:
    """What was read already would be missing: after one chunk, all of them, or another file."""
    with client_of(sim) as client:
        begun, over, saved = (client.speak("good morning") for _ in range(3))
        next(begun)
        over.read()
        saved.save(tmp_path / "good.wav")
        for speech in (begun, over, saved):
            with pytest.raises(ttsmux.LocalProtocolError, match="cannot save: 0"):
                speech.save(tmp_path / "part.wav")
        assert begun.read(), "the rest of it"
        assert over.read() == begun.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["good.wav"]


def test_an_exhausted_speech_stays_exhausted(sim: AsyncSimulator) -> None:
    with client_of(sim) as client:
        speech = client.speak("hello")
        assert b"".join(chunk.data for chunk in speech)
        assert list(speech) == []
        assert speech.read() == b""


def test_prewarm_opens_connections_that_speeches_use(sim: AsyncSimulator) -> None:
    with client_of(sim, pool=ttsmux.PoolLimits(min_idle=0)) as client:
        assert client.prewarm(2) == 2
        assert client.pool_stats().idle == 2
        speech = client.speak("hello")
        speech.read()
        assert speech.metrics.connection_reused
        assert sim.dials == 2


def test_prewarm_says_what_no_waiting_will_mend() -> None:
    """A wrong key is raised at once; a server that is away for a moment is not."""
    with Simulator("xai", key="another-key-altogether") as sim, client_of(sim) as client:
        with pytest.raises(ttsmux.AuthError):
            client.prewarm()
        dials = client.pool_stats().dials
        time.sleep(0.1)  # for what should not happen
        assert client.pool_stats().dials == dials, "it dials on with a bad key"
    with Simulator("xai", faults=["refuse"]) as sim, client_of(sim) as client:
        assert client.prewarm(timeout=0.1) == 0


def test_a_key_that_cannot_be_fetched(sim: AsyncSimulator) -> None:
    def broken() -> str:
        raise RuntimeError("the vault is shut")

    for key, words in ((broken, "RuntimeError"), (lambda: 7, "int"), (lambda: "", "str")):
        client = Client("xai", base_url=sim.url, api_key=key)  # type: ignore[arg-type]
        with client, pytest.raises(ttsmux.AuthError, match=words):
            client.speak("hello").read()
    assert sim.dials == 0


FORK = """
import os, sys, warnings
import ttsmux
from ttsmux.simulate import Simulator
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, from 3.12 on
with Simulator("xai") as sim, ttsmux.Client("xai", base_url=sim.url, api_key="k") as client:
    client.speak("hello").read()
    child = os.fork()
    if not child:
        code = 1
        speak = lambda: client.speak("hello")
        for use in (speak, client.prewarm, client.voices, client.drain, client.__enter__):
            try:
                use()
            except ttsmux.ForkedProcess as exc:
                assert "fork()" in str(exc)
                code = 0
            else:
                code = 2
                break
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert client.speak("hello").read()
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_client_is_not_taken_across_a_fork() -> None:
    """The child is told; the parent goes on."""
    done = subprocess.run([sys.executable, "-c", FORK], timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_open_file_is_a_source_and_stays_open(sim: AsyncSimulator, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("one two\nthree four\n")
    with client_of(sim) as client, path.open() as file:
        assert decode_text(client.speak(file).read(), RATE) == "one two three four"
        assert not file.closed


def test_a_generator_is_closed_when_its_speech_is_interrupted(sim: AsyncSimulator) -> None:
    closed = threading.Event()

    def source():  # type: ignore[no-untyped-def]
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(closed.set)
            while True:
                yield "la "

    with client_of(sim) as client:
        speech = client.speak(source())
        next(speech)
        speech.interrupt()
        assert closed.wait(PATIENCE)
