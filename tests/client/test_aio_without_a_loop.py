"""An async client where there is no event loop, or where the loop is gone."""

import asyncio

import pytest

import ttsmux
from tests.scenarios.stage import KEY
from ttsmux.simulate import AsyncSimulator


def test_a_client_may_be_made_before_a_loop_runs(sim: AsyncSimulator) -> None:
    client = ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)

    async def main() -> None:
        async with client:
            assert await client.speak("hello").read()

    asyncio.run(main())


def test_it_is_not_used_without_one(sim: AsyncSimulator) -> None:
    client = ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)
    with pytest.raises(ttsmux.WrongThread, match="use Client for threads"):
        client.speak("hello")
    with pytest.raises(ttsmux.WrongThread, match="not been used in an event loop"):
        client.from_thread(client.pool_stats)


def test_a_loop_that_ends_takes_everything_along(sim: AsyncSimulator) -> None:
    """Nobody closed the client; no task, socket or thread is left."""
    client = ttsmux.AsyncClient("xai", base_url=sim.url, api_key=KEY)

    async def main() -> None:
        assert await client.speak("hello").read()

    asyncio.run(main())
    assert repr(client) == "<AsyncClient xai closed>"
    sim.wait_for(lambda log: any(record["event"] == "lost" for record in log))
