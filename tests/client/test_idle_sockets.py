"""
Sockets that rest, all dead: what the next turn meets, with every provider's simulator.

To the instant this is told in virtual time, in `tests/core/test_liveness.py`. Here it is about what
real sockets, the providers' own frames and both shells make of it; how long anything takes decides
nothing.
"""

from __future__ import annotations

import pytest

import ttsmux
from tests.scenarios.stage import PROVIDERS, World, events, patient, play

TEXT = "one two three"
SOCKETS = 6
every = pytest.mark.parametrize("provider", PROVIDERS)
both = pytest.mark.parametrize("runtime", ["threads", "asyncio"])


async def prewarmed(w: World) -> int:
    """Have as many sockets rest as the provider allows, six at most; return how many."""
    allowed = w.traits.connections or SOCKETS
    n = await w.prewarm(min(SOCKETS, allowed))
    assert n == w.sim.dials == min(SOCKETS, allowed)
    await w.settled()
    return n


async def struck(w: World, fault: str, n: int) -> None:
    """Have *fault* happen on the first *n* connections, now."""
    for number in range(1, n + 1):
        w.sim.inject(f"{fault}@connect:{number}")
    await w.seen(lambda log: len(events(log, "fault")) == n)


@every
@both
@pytest.mark.parametrize("how", ["close=1001", "reset", "eof"])
def test_the_server_closes_them(runtime: str, provider: str, how: str) -> None:
    """Nobody hears of it; the next turn is served by one fresh dial, and is no retry."""

    async def script(w: World) -> None:
        n = await prewarmed(w)
        await struck(w, how, n)
        await w.empty()
        take = (await w.speak(TEXT).rest()).said()
        assert w.sim.dials == n + 1
        metrics, stats = take.speech.metrics, w.client.pool_stats()
        assert not metrics.connection_reused and metrics.attempts == 1
        assert (stats.lost, stats.retries) == (n, 0)

    play(runtime, provider, script)


@every
@both
def test_they_are_half_open(runtime: str, provider: str) -> None:
    """
    One of them is asked in vain, and no other.

    On a machine that is slow enough, a fresh one may run into the short deadline, too: then the one
    after it serves.
    """

    async def script(w: World) -> None:
        n = await prewarmed(w)
        await struck(w, "silence", n)
        take = (await w.speak(TEXT).rest()).said()
        assert w.sim.dials == n + take.speech.metrics.attempts - 1
        again = (await w.speak(TEXT).rest()).said()
        assert events(w.sim.log, "generation", conn=n + 1)
        old = {r["conn"] for r in events(w.sim.log, "generation")} & set(range(1, n + 1))
        assert not old, "what is deaf was not asked twice"
        assert again.speech.outcome is ttsmux.Outcome.COMPLETED

    play(runtime, provider, script, client={"timeouts": patient(first_audio=1.0, close=0.2)})
