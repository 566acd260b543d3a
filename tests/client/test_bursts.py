"""A peer that sends a whole speech at once: its reader keeps up with the wire, in any loop."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import pytest

from tests.scenarios.stage import KEY
from tests.transports.peers import Peer, serve
from ttsmux import AsyncClient, PoolLimits, Timeouts
from ttsmux.client import aio

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
AT_ONCE = 16_000_000
"""Bytes on the wire: more than a speech may have unread."""


class Burst:
    """A peer of xAI's protocol that says all of it with the first text, in chunks of *size*."""

    def __init__(self, size: int) -> None:
        said = base64.b64encode(bytes(range(1, 251)) * (size // 250)).decode()
        message = f'{{"type":"audio.delta","delta":"{said}"}}'.encode()
        self.chunks = AT_ONCE // len(message)
        self.audio = self.chunks * (size // 250 * 250)
        head = bytes([0x81, 126]) + len(message).to_bytes(2, "big")
        done = b'{"type":"audio.done"}'
        self._all = (head + message) * self.chunks + bytes([0x81, len(done)]) + done

    def __call__(self, peer: Peer) -> None:
        while b"text.done" not in peer.receive()[1]:
            pass
        peer.send(self._all)
        peer.until_hung_up()


@pytest.mark.parametrize("size", [500, 4000])
async def test_a_speech_that_is_sent_at_once_is_read_as_it_comes(size: int) -> None:
    """
    Nothing is lost, and no more is unread than may be.

    On uvloop a connection took 8 MiB before the reader had its turn; and anywhere the reader took
    64 chunks a turn, however many had come in it.
    """
    burst, heard = Burst(size), 0
    alone: dict[str, Any] = {"pool": PoolLimits(min_idle=0), "fallback": None}
    alone["timeouts"] = Timeouts(first_audio=PATIENCE, gap=PATIENCE)
    with serve(burst) as server, anyio.fail_after(PATIENCE):
        async with AsyncClient("xai", base_url=server.url(""), api_key=KEY, **alone) as client:
            async for chunk in client.speak("hello"):
                heard += len(chunk.data)
    assert heard == burst.audio


async def test_others_have_their_turn_beside_a_speech_that_is_sent_at_once() -> None:
    """However much is at hand, the loop goes on after each few chunks, or all there were."""
    burst, turns, most, row = Burst(4000), 0, 0, 0
    alone: dict[str, Any] = {"pool": PoolLimits(min_idle=0), "fallback": None}
    alone["timeouts"] = Timeouts(first_audio=PATIENCE, gap=PATIENCE)

    async def beside() -> None:
        nonlocal turns, row
        while True:
            turns, row = turns + 1, 0
            await anyio.lowlevel.checkpoint()

    with serve(burst) as server, anyio.fail_after(PATIENCE):
        async with (
            AsyncClient("xai", base_url=server.url(""), api_key=KEY, **alone) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(beside)
            async for _ in client.speak("hello"):
                row += 1
                most = max(most, row)
            group.cancel_scope.cancel()
    assert most <= burst.chunks / 8
    assert turns > aio._IN_A_ROW / 8
