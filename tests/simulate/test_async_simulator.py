"""The async twin starts, waits and stops without blocking its loop, on every runtime."""

import anyio
import pytest

from tests.simulate.peer import TIMEOUT
from ttsmux.simulate import AsyncSimulator

pytestmark = pytest.mark.anyio


async def test_it_starts_and_stops() -> None:
    """`async with`, one connection, and nothing is left."""
    async with AsyncSimulator("xai") as sim:
        async with await anyio.connect_tcp("127.0.0.1", sim.port) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 404")
        assert await sim.await_for(lambda log: log[-1]["event"] == "lost", TIMEOUT)
    await sim.aclose()
    assert sim.open_connections == 0


async def test_waiting_can_be_cancelled() -> None:
    """A wait for what never comes ends with its scope."""
    async with AsyncSimulator("gradium") as sim:
        with anyio.move_on_after(0.05) as scope:
            await sim.await_for(bool, TIMEOUT)
        assert scope.cancelled_caught
        async with await anyio.connect_tcp("127.0.0.1", sim.port):
            # The thread that waits for the first one goes with this.
            await sim.await_for(bool, TIMEOUT)


async def test_leaving_by_cancellation() -> None:
    """The simulator is closed even if the body was cancelled."""
    with anyio.CancelScope() as scope:
        async with AsyncSimulator("xai") as sim:
            scope.cancel()
            await anyio.sleep_forever()
    assert repr(sim) == "<Simulator xai closed>"
