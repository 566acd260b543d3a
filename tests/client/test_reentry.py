"""A call in the middle of a step of the same thread is refused; it would see half of a step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

import ttsmux
from tests.scenarios.stage import KEY
from ttsmux import AsyncClient, Client
from ttsmux.core.ledger import TextLog
from ttsmux.simulate import AsyncSimulator

PATIENCE = 20.0


@contextmanager
def in_mid_step(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> Iterator[None]:
    """Run *call* where the text "now" is written, once."""
    write, calls = TextLog.write, [call]

    def writing(log: TextLog, piece: str) -> None:
        if piece == "now" and calls:
            calls.pop()()
        write(log, piece)

    with monkeypatch.context() as patch:
        patch.setattr(TextLog, "write", writing)
        yield


CALLS: dict[str, Callable[[Any, Any], object]] = {
    "speak": lambda client, speech: client.speak("hello"),
    "interrupt": lambda client, speech: speech.interrupt(),
    "read": lambda client, speech: next(speech),
    "stats": lambda client, speech: client.pool_stats(),
    "metrics": lambda client, speech: speech.metrics,
    "explain": lambda client, speech: speech.explain(),
    "prewarm": lambda client, speech: client.prewarm(),
    "close": lambda client, speech: client.close(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_in_mid_step_is_refused(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With a sentence that says what to do; what it came in upon goes on."""
    refused: list[ttsmux.Error] = []
    with Client("xai", base_url=sim.url, api_key=KEY) as client:
        speech = client.speak()

        def call() -> None:
            with pytest.raises(ttsmux.LocalProtocolError, match="another thread") as caught:
                CALLS[name](client, speech)
            refused.append(caught.value)

        with in_mid_step(monkeypatch, call):
            speech.write("now")
        speech.end()
        assert refused
        assert speech.read()
        assert client.speak("and on").read()


def test_another_thread_may_call_in_mid_step(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits its turn, and that is the way out for a signal handler."""
    with Client("xai", base_url=sim.url, api_key=KEY) as client:
        speech, other = client.speak(), client.speak()
        helper = threading.Thread(target=other.interrupt)
        with in_mid_step(monkeypatch, helper.start):
            speech.write("now")
        speech.end()
        assert speech.read()
        helper.join(PATIENCE)
        assert other.outcome is ttsmux.Outcome.INTERRUPTED


def test_a_refusal_that_is_let_through_tears_the_step(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like a KeyboardInterrupt: what was half done is given up, and the client speaks on."""
    with Client("xai", base_url=sim.url, api_key=KEY) as client:
        speech = client.speak()
        refused = pytest.raises(ttsmux.LocalProtocolError, match="signal handler")
        with in_mid_step(monkeypatch, client.pool_stats), refused:
            speech.write("now")
        with pytest.raises(ttsmux.ClosedError):
            speech.read()
        assert client.speak("and on").read()


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs SIGALRM")
def test_a_signal_handler_that_speaks(sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had waited for the lock that the code below it held, for ever."""
    heard: list[object] = []
    rang = threading.Event()
    with Client("xai", base_url=sim.url, api_key=KEY) as client:

        def handler(number: int, frame: object) -> None:
            try:
                heard.append(client.speak("wake up").read())
            except ttsmux.LocalProtocolError as exc:
                heard.append(exc)
            rang.set()

        def alarm() -> None:
            signal.raise_signal(signal.SIGALRM)
            deadline = time.monotonic() + PATIENCE
            while not rang.is_set() and time.monotonic() < deadline:
                time.sleep(0.001)

        before = signal.signal(signal.SIGALRM, handler)
        try:
            speech = client.speak()
            with in_mid_step(monkeypatch, alarm):
                speech.write("now")
            speech.end()
            assert speech.read()
            rang.clear()
            alarm()  # outside of a step it may speak
        finally:
            signal.signal(signal.SIGALRM, before)
    refused, spoken = heard
    assert isinstance(refused, ttsmux.LocalProtocolError)
    assert isinstance(spoken, bytes) and spoken


@pytest.mark.anyio
async def test_a_call_in_mid_step_is_refused_by_tasks(
    sim: AsyncSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no lock to wait for: it would change what the step below is looking at."""
    refused: list[ttsmux.Error] = []
    async with AsyncClient("xai", base_url=sim.url, api_key=KEY) as client:
        speech = client.speak()

        def call() -> None:
            for what in (client.pool_stats, speech.interrupt, lambda: client.speak("hello")):
                with pytest.raises(ttsmux.LocalProtocolError, match="another thread") as caught:
                    what()
                refused.append(caught.value)

        with in_mid_step(monkeypatch, call):
            speech.write("now")
        speech.end()
        assert len(refused) == 3
        with anyio.fail_after(PATIENCE):
            assert await speech.read()
