"""
What is cancelled at every point: small conversations of one client, written as a user would.

Each is a coroutine over an `Act`, true to itself when nobody cancels it. They are short on purpose:
a point costs one whole run, and what matters is where a scenario waits, not for how long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs

import ttsmux
from tests.cancellation.probes import BOUND
from tests.scenarios.stage import KEY, RATE, sound
from ttsmux import (
    XAI,
    AsyncClient,
    AsyncSpeech,
    Client,
    ElevenLabs,
    Gradium,
    KeyLimits,
    Outcome,
    PoolLimits,
)
from ttsmux.adapter import Adapter
from ttsmux.simulate import AsyncSimulator
from ttsmux.simulate.engines.tone import decode_text
from ttsmux.simulate.simulator import create_provider

PROVIDERS = ("gradium", "xai")
"""One that shares a connection and mutes by id, one that does neither."""
LISTING = ("elevenlabs", "xai")
"""Two that list their voices, one of them by the page."""
TEXT = "a b"
"""Two words, seven chunks."""
NEXT = "z"
_NO_SPARES = PoolLimits(min_idle=0)
MANY = KeyLimits(connections=50)
"""Never reached: there is a limit, so what is held of it is counted."""

Body = Callable[["Act"], Coroutine[Any, Any, None]]


@attrs.frozen
class Scenario:
    """A body with its provider and its client's settings."""

    name: str
    provider: str
    body: Body = attrs.field(repr=False)
    client: dict[str, Any] = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.name}-{self.provider}"


SCENARIOS: list[Scenario] = []


def scenario(providers: Sequence[str] = PROVIDERS, **client: Any) -> Callable[[Body], Body]:
    def add(body: Body) -> Body:
        SCENARIOS.extend(Scenario(body.__name__, name, body, client) for name in providers)
        return body

    return add


def adapter_for(provider: str, voice: str, seats: int | None = None) -> Adapter:
    """Make it here: to look for it by name takes as long as a whole speech."""
    if provider == "xai":
        return XAI()
    if provider == "elevenlabs":
        return ElevenLabs(voice=voice)
    return Gradium(voice=voice) if seats is None else Gradium(voice=voice, seats=seats)


def simulated(provider: str) -> dict[str, Any]:
    """Return what a simulator is told for its voices to be more than a page."""
    if provider != "elevenlabs":
        return {}
    return {"voices": (create_provider(provider, {}).default_voice, *map(str, range(150)))}


class Act:
    """One run: a client that is not opened yet, and what the body must have let go of."""

    def __init__(self, scenario: Scenario, sim: AsyncSimulator, directory: Path) -> None:
        self.scenario = scenario
        self.sim = sim
        self.directory = directory
        self.clients: list[AsyncClient] = []
        self.sources: list[bool] = []
        """For each source of text that was begun, whether it was closed."""
        self.kept: list[tuple[AsyncSpeech, list[bytes]]] = []
        """Speeches that are not left, and what was read of them: the rest must still come."""
        self.client = self.make_client()

    def make_client(self, **changes: Any) -> AsyncClient:
        settings = {"pool": _NO_SPARES, "limits": MANY, **self.scenario.client, **changes}
        seats = 1 if settings["pool"].max_size == 1 else None
        adapter = adapter_for(self.scenario.provider, self.sim.default_voice, seats)
        client = AsyncClient(adapter, base_url=self.sim.url, api_key=KEY, **settings)
        self.clients.append(client)
        return client

    async def hear(self, speech: AsyncSpeech, text: str = TEXT) -> None:
        check(await speech.read(), text)
        assert speech.outcome is Outcome.COMPLETED, speech

    async def words(self) -> AsyncIterator[str]:
        """Give `TEXT` as a model does, and wait for something when that is over."""
        mine = len(self.sources)
        self.sources.append(False)
        try:
            for piece in TEXT.split():
                await anyio.lowlevel.checkpoint()
                yield piece + " "
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.sources[mine] = True

    def blocking_words(self) -> Iterator[str]:
        mine = len(self.sources)
        self.sources.append(False)
        try:
            for piece in TEXT.split():
                yield piece + " "
        finally:
            self.sources[mine] = True


def held(client: Client | AsyncClient) -> tuple[int, int]:
    """Return how many connections and generations its key has, those of torn Muxes included."""
    (member,) = {one for one in client._engine.mux.members if one is not None}
    return len(member.quota.connections.held), len(member.quota.generations.held)


def check(audio: bytes, text: str) -> None:
    """*audio* is *text* and nothing else, byte by byte."""
    heard = decode_text(audio, RATE)
    assert heard == text, f"heard {heard!r} for {text!r}"
    assert audio == sound(text, audio), f"the audio of {text!r} is not exact"


@scenario()
async def whole_text(act: Act) -> None:
    async with act.client.speak(TEXT) as speech:
        audio = b"".join([chunk.data async for chunk in speech])
    check(audio, TEXT)


@scenario()
async def dropped_half_way(act: Act) -> None:
    """Nothing holds the speech but the coroutine that reads it."""
    await act.hear(act.client.speak(TEXT))


@scenario()
async def waited_for(act: Act) -> None:
    """Who is cancelled gives up waiting, not the speech."""
    speech, chunks = act.client.speak(TEXT), list[bytes]()
    act.kept.append((speech, chunks))
    async for chunk in speech:
        chunks.append(chunk.data)


@scenario()
async def async_iterator(act: Act) -> None:
    async with act.client.speak(act.words()) as speech:
        await act.hear(speech)


@scenario()
async def iterable_in_a_thread(act: Act) -> None:
    async with act.client.speak(act.blocking_words()) as speech:
        await act.hear(speech)


@scenario()
async def pushed(act: Act) -> None:
    """One task writes, another reads."""

    async def write() -> None:
        for piece in TEXT.split():
            speech.write(piece + " ")
            await anyio.lowlevel.checkpoint()
        speech.flush()
        await anyio.lowlevel.checkpoint()
        speech.end()

    async with act.client.speak() as speech, anyio.create_task_group() as tasks:
        tasks.start_soon(act.hear, speech)
        tasks.start_soon(write)


@scenario()
async def barge_in(act: Act) -> None:
    async with act.client.speak("abcd ef") as first:
        await anext(first)
        assert first.interrupt().heard_seconds > 0
        assert await anext(first, None) is None
    await act.hear(act.client.speak(TEXT))


@scenario(pool=PoolLimits())
async def prewarmed(act: Act) -> None:
    """With the spares that the client thinks fit."""
    assert await act.client.prewarm() > 0
    async with act.client.speak(TEXT) as speech:
        await act.hear(speech)
    assert speech.metrics.connection_reused


@scenario(pool=PoolLimits(max_size=1, min_idle=0))
async def full_pool(act: Act) -> None:
    """The second speech waits until the first has let go of the only seat."""
    async with act.client.speak() as first, act.client.speak("b") as second:
        first.write("a ")

        async def free_the_seat() -> None:
            await anyio.sleep(0.003)  # as long as a model thinks
            first.end()
            await act.hear(first, "a")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(act.hear, second, "b")
            tasks.start_soon(free_the_seat)


@scenario(pool=PoolLimits(max_size=1, min_idle=0))
async def seat_after_a_barge_in(act: Act) -> None:
    """The only connection has to be cleared before the next speech may have it."""
    async with act.client.speak("abcd") as first:
        await anext(first)
    async with act.client.speak("b") as second:
        await act.hear(second, "b")


@scenario()
async def opened_and_closed(act: Act) -> None:
    async with act.make_client() as client:
        await act.hear(client.speak("a"), "a")


@scenario()
async def closed_while_speaking(act: Act) -> None:
    client = act.make_client()
    # Not ended: of a whole text all may have come, and it would be read to its end.
    speech = client.speak()
    speech.write(TEXT + " ")
    speech.flush()
    await anext(speech)
    await client.aclose()
    try:
        await speech.read()
    except ttsmux.ClosedError:
        return
    raise AssertionError("a speech outlived its client")


@scenario()
async def drained(act: Act) -> None:
    """One speech is read meanwhile, one afterwards. Cancelled, it closes all the same."""
    client = act.make_client()
    meanwhile, later = client.speak("a"), client.speak("b")

    async def read() -> None:
        with suppress(ttsmux.ClosedError):  # who drains is cancelled first, and closes
            await act.hear(meanwhile, "a")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        try:
            assert await client.drain(timeout=BOUND)
        finally:
            assert client._engine.closed, "what drains and is not closed takes nothing for ever"
            assert client.pool_stats().size == 0, client.pool_stats()
    assert meanwhile.outcome is Outcome.COMPLETED, meanwhile
    await act.hear(later, "b")


@scenario(LISTING)
async def voices(act: Act) -> None:
    """Asked for twice: the second time over a connection that is open."""
    for _ in range(2):
        found = [one.id for one in await act.client.voices(timeout=BOUND)]
        assert act.sim.default_voice in found, found


@scenario()
async def several_at_once(act: Act) -> None:
    async with anyio.create_task_group() as tasks:
        for text in ("a", "b", "c"):
            tasks.start_soon(act.hear, act.client.speak(text), text)


@scenario()
async def saved(act: Act) -> None:
    """Two speeches, one read and one written to a file."""
    await act.hear(act.client.speak("a"), "a")
    async with act.client.speak("b") as speech:
        path = await speech.save(act.directory / "speech.wav")
    check(path.read_bytes()[44:], "b")
