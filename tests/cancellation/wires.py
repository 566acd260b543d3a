"""
What is cancelled of a transport by itself: a dial, a send, a reader, a closing handshake.

The client never cancels a send, so what a half-sent frame does is only seen here. The peer takes
every frame apart and keeps the messages; none may be anything but what was meant.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence

import anyio
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.cancellation.probes import BOUND, AsyncioProbe, Backend, Fault, TrioProbe
from tests.cancellation.sweep import PATIENCE, Sweep, until
from tests.transports.peers import BINARY, CLOSE, SILENT, TEXT, Listener, Peer, closing, frame
from ttsmux.adapter import Closed, Frame
from ttsmux.errors import Error
from ttsmux.transports.base import AsyncTransport, DialError, Ping, Pong, SendError, Target
from ttsmux.transports.websockets import connect

# trio sends it in thirteen pieces; asyncio suspends where the socket does not take all at once.
_LARGE = {"trio": 200_000, "asyncio": 6_000_000}
_GREETINGS = (b"one", b"two", b"three")

Wires = dict[str, "Callable[[WireSweep], Awaitable[None]]"]
WIRES: Wires = {}


def wire(body: Callable[[WireSweep], Awaitable[None]]) -> Callable[[WireSweep], Awaitable[None]]:
    WIRES[body.__name__] = body
    return body


class Heard:
    """A sink."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ends: list[Closed | Error] = []
        self.greeted = anyio.Event()

    def message(self, data: bytes, text: bool) -> None:
        self.messages.append(data)
        if len(self.messages) == len(_GREETINGS):
            self.greeted.set()

    def pong(self) -> None:
        raise AssertionError("nobody pinged")

    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        raise AssertionError("nobody asked")

    def lost(self, fault: Closed | Error) -> None:
        self.ends.append(fault)


class WireSweep(Sweep):
    """A wire, with one peer for all of its points."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        patience: int = PATIENCE,
    ) -> None:
        super().__init__(f"{name}{'-tls' if tls else ''}", backend, patience)
        self._body = WIRES[name]
        self._tls = tls
        self.large = bytes(range(256)) * (_LARGE[backend] // 256)
        self.arrived: list[bytes] = []

    async def _play(self, probe: AsyncioProbe | TrioProbe) -> None:
        ours, theirs = self._tls or (None, None)
        with Listener(self._listen, theirs) as self.listener:
            self.probe = probe
            self.target = Target(url=self.listener.url(), ssl_context=ours)
            self.heard = Heard()
            await self._body(self)
            await self.settled(self.listener)
        meant = (self.large, b"second", b"third")
        wrong = [data[:20] for data in self.arrived if data not in meant]
        self.arrived.clear()
        if wrong:
            raise Fault(f"the peer was sent what nobody meant: {wrong}")

    def _listen(self, peer: Peer) -> None:
        protocol = ServerProtocol(logger=SILENT)
        protocol.receive_data(peer.head())  # which ends where the client leaves
        (request,) = protocol.events_received()
        assert isinstance(request, Request), "the first that comes"
        protocol.send_response(protocol.accept(request))
        peer.send(b"".join(protocol.data_to_send()))
        for greeting in _GREETINGS:
            peer.send(frame(BINARY, greeting))
        while True:
            kind, data = peer.receive()
            if kind == CLOSE:
                peer.send(closing(1000))
                return
            assert kind in (TEXT, BINARY), f"a frame of kind {kind}"
            self.arrived.append(data)

    async def settled(self, listener: Listener) -> None:
        """Give the peer its time without stopping the loop; leaving *listener* asks it for more."""
        await until(
            lambda: not any(thread.is_alive() for thread in listener._threads),
            "the peer was not left",
        )

    async def dialled(self) -> AsyncTransport:
        transport, _ = await connect(self.target, BOUND)
        return transport


@wire
async def dial(sweep: WireSweep) -> None:
    """A dial leaves no socket, wherever it was called off."""

    async def body() -> None:
        transport = await sweep.dialled()
        await transport.close(0)

    await sweep.probe.run(body())


@wire
async def send(sweep: WireSweep) -> None:
    """After a send that was cancelled, what arrives is whole, or nothing more can be sent."""
    transport = await sweep.dialled()

    async def body() -> None:
        await transport.send([sweep.large])
        await transport.send(["second"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.read, sweep.heard)
        cancelled = await sweep.probe.run(body())
        try:
            with anyio.fail_after(BOUND):
                await transport.send(["third"])
            taken = True
        except SendError:
            taken = False
        await transport.close(BOUND)
    _ended_once(sweep)
    if taken and sweep.arrived[-1:] != [b"third"]:
        raise Fault("the peer did not get what was sent after a send that was cancelled")
    if not (taken or cancelled):
        raise Fault("a healthy connection refuses to send")


@wire
async def reading(sweep: WireSweep) -> None:
    """A reader that is cancelled cuts the wire; one that is not hears of the end, once."""
    transport = await sweep.dialled()

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.read, sweep.heard)
            await sweep.heard.greeted.wait()
            await transport.close(BOUND)

    if not await sweep.probe.run(body()):
        _ended_once(sweep)
    elif len(sweep.heard.ends) > 1:
        raise Fault(f"ended more than once: {sweep.heard.ends}")
    transport.abort()
    await transport.close(0)


@wire
async def closing_handshake(sweep: WireSweep) -> None:
    """A close that is cancelled cuts the wire, and the reader hears of it."""
    transport = await sweep.dialled()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.read, sweep.heard)
        await sweep.probe.run(transport.close(BOUND))
    _ended_once(sweep)


@wire
async def refused_dial(sweep: WireSweep) -> None:
    """The server ends the connection in the middle of the upgrade."""
    with Listener(lambda peer: peer.head() and None) as rude:
        target = Target(url=rude.url())

        async def body() -> None:
            try:
                await connect(target, BOUND)
            except DialError:
                return
            raise AssertionError("it was refused")

        await sweep.probe.run(body())
        await sweep.settled(rude)


def _ended_once(sweep: WireSweep) -> None:
    if len(sweep.heard.ends) != 1:
        raise Fault(f"the reader heard of {len(sweep.heard.ends)} ends: {sweep.heard.ends}")
