"""A dial that failed for a reason that no other dial will mend: certificates, proxies, keys."""

from __future__ import annotations

import pytest

from tests.core.helpers import MULTIPLEXED, SEQUENTIAL, Harness, settings
from ttsmux.adapter import DialFailure, Traits
from ttsmux.core.connection import Connection
from ttsmux.core.states import ConnectionState
from ttsmux.errors import ConnectError, Error, ProxyError, TLSError

HOUR = 3600.0


def dialling(harness: Harness) -> list[Connection]:
    return [conn for conn in harness.wires if conn.state is ConnectionState.DIALLING]


def fail_all(harness: Harness, error: Error) -> None:
    for conn in dialling(harness):
        harness.mux.dial_failed(conn, DialFailure(error=error.copy()), harness.now)
    harness.collect()


def dials_in_an_hour(harness: Harness, error: Error) -> int:
    """Fail whatever is dialled; return how many dials there were."""
    before = harness.mux.stats().dials
    until = harness.now + HOUR
    while (due := harness.mux.deadline) is not None and due <= until:
        harness.now = max(harness.now, due)
        harness.mux.tick(harness.now)
        harness.collect()
        fail_all(harness, error)
    harness.now = until
    return harness.mux.stats().dials - before


@pytest.mark.parametrize("shape", [SEQUENTIAL, MULTIPLEXED])
@pytest.mark.parametrize("error", [TLSError("expired"), ProxyError("407")])
def test_no_spare_is_dialled_again(shape: Traits, error: Error) -> None:
    """Nobody asks for it, and it would fail as well. A speech that asks is told anew."""
    harness = Harness(shape, settings(min_idle=None))
    speech = harness.speak("Hello. ")
    fail_all(harness, error)
    assert type(speech.error) is type(error)
    assert dials_in_an_hour(harness, error) == 0
    again = harness.speak("Hello. ")
    assert len(dialling(harness)) == 1, "a speech is worth a try, a spare is not"
    fail_all(harness, error)
    assert type(again.error) is type(error)


def test_spares_come_back_with_the_first_dial_that_works() -> None:
    """Whoever had it mended."""
    harness = Harness(SEQUENTIAL, settings(min_idle=1))
    harness.speak("Hello. ")
    fail_all(harness, TLSError("expired"))
    assert dials_in_an_hour(harness, TLSError("expired")) == 0
    speech = harness.speak("Hello. ")
    assert len(dialling(harness)) == 1
    harness.up()
    harness.audio(speech)
    assert len(dialling(harness)) == 1, "the spare behind the one that speaks"


def test_what_may_pass_is_tried_again() -> None:
    """For spares too: else nothing would be ready when it has passed."""
    harness = Harness(SEQUENTIAL, settings(min_idle=1))
    harness.speak("Hello. ")
    fail_all(harness, ConnectError("away"))
    assert dials_in_an_hour(harness, ConnectError("away")) > 10


def test_a_prewarm_is_worth_a_try_too() -> None:
    """Once the wait after the failure is over, though no spare waits for that."""
    harness = Harness(SEQUENTIAL, settings(min_idle=0))
    harness.speak("Hello. ")
    fail_all(harness, TLSError("expired"))
    ticket = harness.prewarm(1)
    assert not dialling(harness), "it has just failed"
    harness.advance(3.0)
    assert len(dialling(harness)) == 1
    fail_all(harness, TLSError("expired"))
    assert isinstance(ticket.error, TLSError)
