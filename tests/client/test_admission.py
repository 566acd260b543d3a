"""Clients with one key, in threads and event loops of one process, against real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import ttsmux
from tests._gate import Gate
from tests.scenarios.stage import KEY, RATE, events
from ttsmux import AsyncClient, AtCapacity, Client, KeyLimits, PoolLimits, RetryPolicy, Timeouts
from ttsmux.client import _quotas
from ttsmux.core import admission, quota
from ttsmux.core.mux import Mux
from ttsmux.core.quota import Member
from ttsmux.simulate import AsyncSimulator, Simulator
from ttsmux.simulate.engines.tone import decode_text

SM_RATE = 22050
# A farewell that takes long on a busy machine is waited for.
CALM = Timeouts(close=30.0, first_audio=60.0, gap=60.0, dial=60.0)
LEAN = PoolLimits(min_idle=0, acquire_timeout=120.0)
ONE = KeyLimits(generations=1)
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test hears of another one's clients: ports are used again."""
    monkeypatch.setattr(_quotas, "_registry", _quotas._Registry())


@pytest.fixture
def only_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks without being rung for: what a ring is lost for would wait for ever."""
    for module in (quota, admission):
        monkeypatch.setattr(module, "TURN", 10_000.0)


def arguments(sim: Simulator, **settings: Any) -> dict[str, Any]:
    voice = {"elevenlabs": {"voice": "v"}}.get(sim.provider, {})
    return {
        "provider": sim.provider,
        "base_url": sim.url,
        "api_key": KEY,
        "pool": LEAN,
        "timeouts": CALM,
        **voice,
        **settings,
    }


def member(client: Client | AsyncClient) -> Member:
    """Return what *client* is a member of, with its sockets and what stands in for them alike."""
    (found,) = set(client._engine.mux.members)
    assert found is not None
    return found


def waits(client: Client | AsyncClient) -> bool:
    return any(member(client).quota.waits(member(client)))


def in_threads(*calls: Callable[[], object]) -> list[object]:
    """Make all *calls* at once, each in a thread; return what they return."""
    found: list[object] = [None] * len(calls)

    def run(number: int) -> None:
        found[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found


# --- limits hold ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [None, KeyLimits(connections=1), KeyLimits(generations=5)])
def test_eight_speeches_where_a_connection_bears_five(limits: KeyLimits | None) -> None:
    """ElevenLabs kills a connection with six contexts; all eight are spoken, whole."""
    texts = [f"speech number {word}" for word in NUMBERS]
    with Simulator("elevenlabs") as sim, Client(**arguments(sim, limits=limits)) as client:
        speeches = [client.speak(text) for text in texts]
        found = in_threads(*(speech.read for speech in speeches))
        assert client.pool_stats().dials_failed == 0
        assert sim.dials == 1 or limits is None or limits.connections is None
    assert [decode_text(audio, RATE) for audio in found] == texts  # type: ignore[arg-type]
    assert not events(sim.log, "violation")
    # It may answer our farewell sooner than it reads the close frame behind that.
    assert {event["code"] for event in events(sim.log, "close", by="server")} <= {1000}


@pytest.mark.anyio
async def test_eight_speeches_where_a_connection_bears_five_in_a_loop() -> None:
    texts = [f"speech number {word}" for word in NUMBERS]
    found: dict[str, bytes] = {}

    async def read(text: str, speech: ttsmux.AsyncSpeech) -> None:
        found[text] = await speech.read()

    async with (
        AsyncSimulator("elevenlabs") as sim,
        AsyncClient(**arguments(sim)) as client,
        anyio.create_task_group() as tasks,
    ):
        for text in texts:
            tasks.start_soon(read, text, client.speak(text))
    assert {text: decode_text(audio, RATE) for text, audio in found.items()} == {
        text: text for text in texts
    }
    assert not events(sim.log, "violation")


@pytest.mark.anyio
async def test_threads_and_a_loop_are_refused_no_connection() -> None:
    """Each client alone would open eight; SM allows a key five. Nobody is refused."""
    texts = [f"sentence {word}." for word in NUMBERS]
    heard: list[tuple[str, bytes]] = []

    async def read(text: str, speech: ttsmux.AsyncSpeech) -> None:
        heard.append((text, await speech.read()))

    async with AsyncSimulator("sm") as sim:
        with Client(**arguments(sim)) as threads:
            async with AsyncClient(**arguments(sim)) as loop:
                async with anyio.create_task_group() as tasks:
                    for text in texts:
                        tasks.start_soon(read, text, loop.speak(text))
                        speech = threads.speak(text)
                        tasks.start_soon(_read_in_thread, text, speech, heard)
                assert threads.pool_stats().dials_failed == loop.pool_stats().dials_failed == 0
                assert threads.pool_stats().opened and loop.pool_stats().opened
    assert sorted((text, decode_text(audio, SM_RATE)) for text, audio in heard) == sorted(
        (text, text) for text in texts * 2
    )
    assert not events(sim.log, "refused")


def run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, timeout=120, capture_output=True, text=True)


async def _read_in_thread(text: str, speech: ttsmux.Speech, heard: list[tuple[str, bytes]]) -> None:
    heard.append((text, await anyio.to_thread.run_sync(speech.read)))


def test_many_threads_and_clients_wait_for_each_other_for_ever_never() -> None:
    """Six clients, four threads each, two generations a key, half of them interrupted."""

    def use(client: Client, number: int) -> str:
        for turn in range(3):
            speech = client.speak(f"turn {turn} of {number}")
            if (turn + number) % 2:
                next(speech)
                speech.interrupt()
            else:
                assert decode_text(speech.read(), RATE) == f"turn {turn} of {number}"
        return "done"

    limits = KeyLimits(generations=2, connections=5)
    with Simulator("xai") as sim:
        clients = [Client(**arguments(sim, limits=limits)) for _ in range(6)]
        try:
            calls = [
                lambda client=client, n=n: use(client, n)  # type: ignore[misc]
                for client in clients
                for n in range(4)
            ]
            assert in_threads(*calls) == ["done"] * 24
            shared = member(clients[0]).quota
            assert len(shared.connections.held) <= 5 and len(shared.generations.held) <= 2
        finally:
            for client in clients:
                client.close()
        assert not shared.connections.held and not shared.generations.held


# --- who is woken ---------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.usefixtures("only_rings")
async def test_a_thread_makes_room_for_a_loop() -> None:
    """What a threaded client lets go of wakes a client that sleeps in an event loop."""
    async with AsyncSimulator("xai", faults=["stall@request:1"]) as sim:
        with Client(**arguments(sim, limits=ONE)) as threads:
            held = threads.speak("stalls")
            await sim.await_for(lambda log: events(log, "generation"))
            async with AsyncClient(**arguments(sim, limits=ONE)) as loop:
                speech = loop.speak("now me")
                await until(lambda: waits(loop))
                await anyio.to_thread.run_sync(held.interrupt)
                with anyio.fail_after(60):
                    audio = await speech.read()
    assert decode_text(audio, RATE) == "now me"


@pytest.mark.anyio
@pytest.mark.usefixtures("only_rings")
async def test_a_loop_makes_room_for_a_thread() -> None:
    async with (
        AsyncSimulator("xai", faults=["stall@request:1"]) as sim,
        AsyncClient(**arguments(sim, limits=ONE)) as loop,
    ):
        held = loop.speak("stalls")
        await sim.await_for(lambda log: events(log, "generation"))
        with Client(**arguments(sim, limits=ONE)) as threads:
            speech = threads.speak("now me")
            await until(lambda: waits(threads))
            held.interrupt()
            with anyio.fail_after(60):
                audio = await anyio.to_thread.run_sync(speech.read, abandon_on_cancel=True)
    assert decode_text(audio, RATE) == "now me"


@pytest.mark.usefixtures("only_rings")
def test_an_idle_connection_is_given_up_across_threads() -> None:
    """The only one that the key may have goes to the client that speaks."""
    limits = KeyLimits(connections=1)
    with Simulator("xai") as sim:
        with Client(**arguments(sim, limits=limits)) as first:
            assert decode_text(first.speak("mine").read(), RATE) == "mine"
            with Client(**arguments(sim, limits=limits)) as second:
                assert decode_text(second.speak("and mine").read(), RATE) == "and mine"
                assert decode_text(first.speak("again").read(), RATE) == "again"
        assert not events(sim.log, "refused")


async def until(true: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    with anyio.fail_after(60):
        while not true():  # noqa: ASYNC110 — there is no event
            await anyio.sleep(0.001)


# --- requests in a minute -------------------------------------------------------------------------


@pytest.mark.anyio
async def test_requests_of_all_clients_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two a minute: one from a thread, one from a loop; the third is told when to come back."""
    # However slow the machine is, all of this takes place within a minute.
    monkeypatch.setattr(quota, "PERIOD", 10_000.0)
    limits = KeyLimits(requests_per_minute=2)
    async with AsyncSimulator("xai") as sim:
        with Client(**arguments(sim, limits=limits)) as threads:
            await anyio.to_thread.run_sync(threads.speak("one").read)
            async with AsyncClient(**arguments(sim, limits=limits)) as loop:
                await loop.speak("two").read()
                with pytest.raises(AtCapacity) as caught:
                    await loop.speak("three").read()
            with pytest.raises(AtCapacity, match="requests allowed a minute"):
                await anyio.to_thread.run_sync(threads.speak("four").read)
        assert len(events(sim.log, "generation")) == 2
    assert type(caught.value) is AtCapacity
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= quota.PERIOD


def test_a_long_text_waits_for_its_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence is a request; what has begun waits for each, and is spoken to its end."""
    monkeypatch.setattr(quota, "PERIOD", 0.4)
    limits = KeyLimits(requests_per_minute=1)
    text = " ".join(f"This is sentence number {number}." for number in ("one", "two", "six"))
    with Simulator("sm") as sim:
        pool = PoolLimits(min_idle=0, acquire_timeout=0.1)
        with Client(**arguments(sim, limits=limits, pool=pool)) as client:
            client.prewarm()
            audio = client.speak(text).read()
        assert decode_text(audio, SM_RATE) == text
        assert len(events(sim.log, "generation")) == 3


def test_a_limit_of_sm_is_known() -> None:
    """Sixty requests a minute in the cloud, unless you know better; on premise none."""
    limits = KeyLimits(requests_per_minute=600, connections=10)
    for known, more, found in (
        ({}, {}, (4, 60)),
        ({"limits": limits}, {}, (10, 600)),
        ({}, {"deployment": "on-premise"}, (None, None)),
    ):
        with Client("sm", api_key=KEY, **known, **more) as client:  # type: ignore[arg-type]
            traits = client._engine.mux._plain[0].traits
            assert (traits.connections, traits.requests_per_minute) == found
            assert client._engine.mux.members[0] is None or found != (None, None)


# --- who shares -----------------------------------------------------------------------------------


class Vault:
    def key(self) -> str:
        return KEY


def fetch() -> str:
    return KEY


@pytest.mark.parametrize(
    ("mine", "theirs", "left"),
    [
        ({}, {}, 0),
        ({"api_key": ttsmux.Secret(KEY)}, {}, 0),
        ({"api_key": "another-key"}, {}, 4),
        ({"limits": KeyLimits(shared=False)}, {}, 4),
        ({}, {"limits": KeyLimits(shared=False)}, 4),
        ({"api_key": fetch}, {"api_key": fetch}, 0),
        ({"api_key": fetch}, {"api_key": lambda: KEY}, 4),
        ({"api_key": fetch}, {}, 4),
    ],
)
def test_who_shares(mine: dict[str, Any], theirs: dict[str, Any], left: int) -> None:
    """The same key at the same place, unless one of the two wants it otherwise."""
    with Simulator("sm", max_connections=10) as sim, Client(**arguments(sim, **mine)) as first:
        assert first.prewarm(4) == 4
        with Client(**arguments(sim, **theirs)) as second:
            assert second.prewarm(4) == left


def test_a_key_of_one_vault_is_one_key() -> None:
    """A bound method is another object each time, and the same key."""
    one, other = Vault(), Vault()
    with (
        Simulator("sm") as sim,
        Client(**arguments(sim, api_key=one.key)) as first,
        Client(**arguments(sim, api_key=one.key)) as second,
        Client(**arguments(sim, api_key=other.key)) as third,
    ):
        assert member(first).quota is member(second).quota
        assert member(first).quota is not member(third).quota


def test_two_places_are_two_limits() -> None:
    with (
        Simulator("sm") as here,
        Simulator("sm") as there,
        Client(**arguments(here)) as first,
        Client(**arguments(there)) as second,
    ):
        assert (first.prewarm(4), second.prewarm(4)) == (4, 4)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("wss://here.example", True),
        ("wss://here.example:443", True),
        ("wss://me:word@HERE.example/", True),
        ("wss://here.example:8443", False),
        ("ws://here.example", False),
        ("ws://here.example:443", True),
        ("wss://there.example", False),
    ],
)
def test_a_place_may_be_spelled_in_several_ways(url: str, same: bool) -> None:
    """What matters is the host and the port, which may go without saying."""
    more: dict[str, Any] = {"api_key": KEY, "allow_plaintext": True, "fallback": None}
    with (
        Client("sm", base_url="wss://here.example", **more) as first,
        Client("sm", base_url=url, **more) as second,
    ):
        assert (member(first).quota is member(second).quota) is same


def test_both_surfaces_of_a_provider_share() -> None:
    """WebSocket and REST go to one place with one key."""
    with Simulator("sm") as sim:
        voices = [ttsmux.SM(), ttsmux.SMRest()]
        with Client(voices, base_url=sim.url, api_key={"sm": KEY}, fallback=None) as client:
            one, two = client._engine.mux.members
            assert one is two and one is not None


@pytest.mark.parametrize("shared", [True, False])
def test_what_stands_in_shares_with_what_it_stands_for(shared: bool) -> None:
    """It has the same key, even where nobody else shares it, and wherever it is asked."""
    limits = KeyLimits(generations=3, shared=shared)
    with Client("elevenlabs", voice="v", api_key=KEY, limits=limits) as client:
        own, over_http = client._engine.mux.members
        assert own is over_http and own is not None
        assert len(_quotas._registry) == shared


def test_requests_over_http_count() -> None:
    """One a minute: what was spoken over HTTP, for the socket was refused, was that one."""
    settings = {
        "limits": KeyLimits(requests_per_minute=1),
        "pool": PoolLimits(min_idle=0),
        "retry": RetryPolicy(attempts=1),
    }
    with (
        Simulator("xai", faults=["refuse@connect:1"]) as sim,
        Client(**arguments(sim, **settings)) as client,
    ):
        assert decode_text(client.speak("one").read(), RATE) == "one"
        assert not events(sim.log, "open"), "it was over HTTP"
        assert len(member(client).quota.generations.begun) == 1
        with pytest.raises(AtCapacity, match="requests allowed a minute"):
            client.speak("two").read()


def test_a_request_holds_what_a_socket_would() -> None:
    """A connection and a generation, until its answer is over; who else has the key has to wait."""
    gate = Gate()
    with Simulator("xai", engine=gate) as sim:
        settings = arguments(sim, limits=KeyLimits(connections=1))
        over_http = {**settings, "provider": ttsmux.XAI().rest()}
        with Client(**over_http) as one, Client(**settings) as two:
            shared = member(one).quota
            assert member(two).quota is shared
            first = one.speak("one")
            sim.wait_for(lambda log: events(log, "request"))
            held = shared.connections.held, shared.generations.held
            assert [list(pot.values()) for pot in held] == [[member(one)]] * 2
            second = two.speak("two")
            assert waits(two)
            gate.open.set()
            assert decode_text(first.read(), RATE) == "one"
            assert decode_text(second.read(), RATE) == "two"


def test_no_key_is_kept() -> None:
    """What stands for a key cannot be turned back into one, and is another in each process."""
    with Simulator("sm") as sim, Client(**arguments(sim)) as client:
        (name,) = _quotas._registry._quotas
        assert KEY not in repr(name) and KEY.encode() not in repr(name).encode()
        again = _quotas._Registry()
        key = client._configuration.keys[0]
        assert again._fingerprint(key) == again._fingerprint(key)
        assert again._fingerprint(key) != _quotas._registry._fingerprint(key)


def test_two_providers_of_one_client_are_known_to_the_next() -> None:
    """What the second is looked up with does not forget the first, which nobody uses yet."""
    voices = [ttsmux.XAI(), ttsmux.SM(format="pcm_24000")]
    keys = {"xai": KEY, "sm": KEY}
    with Client(voices, api_key=keys) as one, Client(voices, api_key=keys) as two:
        assert [m and m.quota for m in one._engine.mux.members] == [
            m and m.quota for m in two._engine.mux.members
        ]
        assert len(_quotas._registry) == 2


def test_a_client_that_is_being_made_shares_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread makes clients between its two steps: looking up its quota, and joining."""
    limits = KeyLimits(connections=2)

    def make(key: str) -> Client:
        return Client("gradium", voice="v", api_key=key, limits=limits)

    made: list[Client] = []
    new_mux = _quotas.new_mux

    def interrupted(*args: Any) -> Any:
        monkeypatch.setattr(_quotas, "new_mux", new_mux)
        made.append(make("another-key"))
        return new_mux(*args)

    monkeypatch.setattr(_quotas, "new_mux", interrupted)
    first, second = make(KEY), make(KEY)
    assert member(first).quota is member(second).quota is not member(made[0]).quota


def test_a_signal_handler_may_make_a_client_while_one_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both find what is to be forgotten, and forget it."""
    registry, found = _quotas._registry, []
    registry.quota("here", ttsmux.Secret("key-one"))
    gc.collect()
    old = quota.recent

    def interrupted(*args: Any) -> bool:
        monkeypatch.setattr(_quotas, "recent", old)
        found.append(registry.quota("there", ttsmux.Secret("key-two")))
        return old(*args)

    monkeypatch.setattr(_quotas, "recent", interrupted)
    found.append(registry.quota("there", ttsmux.Secret("key-two")))
    assert found[0] is found[1] and len(registry) == 1


def test_no_callable_is_kept() -> None:
    """What fetches a key is the user's, who may let go of it; another is not taken for it."""

    class Slotted:
        __slots__ = ()

        def __call__(self) -> str:
            return KEY

        def key(self) -> str:
            return KEY

    vault, slotted = Vault(), Slotted()
    gone = weakref.ref(vault)
    names = [_quotas._Same(call) for call in (vault.key, vault, slotted, slotted.key, fetch)]
    again = [_quotas._Same(call) for call in (vault.key, vault, slotted, slotted.key, fetch)]
    assert names == again and len({*names, *again}) == 5
    assert names[0] != "vault.key"
    del vault
    gc.collect()
    assert gone() is None
    assert [name in again for name in names] == [False, False, True, True, True]
    assert len({*names, *again}) == 7 and names[0] == names[0]


def test_where_nothing_is_limited_nothing_is_registered() -> None:
    with Simulator("gradium") as sim, Client(**arguments(sim, voice="v")) as client:
        assert set(client._engine.mux.members) == {None}
        assert len(_quotas._registry) == 0


def test_what_nobody_needs_is_forgotten() -> None:
    """But for a minute in which requests were made: whoever comes next must know of them."""
    with Simulator("sm") as sim:
        with Client(**arguments(sim)) as client:
            client.speak("Hello.").read()
        del client
        with Client(**arguments(sim, api_key="second-key")) as client:
            pass
        del client
        gc.collect()
        gc.collect()  # what a finaliser had in hand
        with Client(**arguments(sim, api_key="third-key")):
            assert len(_quotas._registry) == 2, "the first, which has spoken, and the third"


def test_limits_of_several_providers_go_by_name() -> None:
    voices = [ttsmux.XAI(), ttsmux.SM(format="pcm_24000")]
    keys = {"xai": KEY, "sm": KEY}
    with pytest.raises(ttsmux.ConfigError, match="mapping of their names"):
        Client(voices, api_key=keys, limits=KeyLimits())
    with pytest.raises(ttsmux.ConfigError, match="limits names 'nobody'"):
        Client(voices, api_key=keys, limits={"nobody": KeyLimits()})
    limits = {"xai": KeyLimits(connections=7), "gradium": KeyLimits()}
    with Client(voices, api_key=keys, limits=limits, fallback=None) as client:
        one, two = client._engine.mux._plain
        assert (one.traits.connections, two.traits.connections) == (7, 4)


# --- clients that end -----------------------------------------------------------------------------


def test_a_client_that_was_dropped_gives_all_back() -> None:
    """Nobody closed it; what it had is free for who waits."""
    limits = KeyLimits(connections=1)
    with Simulator("xai") as sim:
        first = Client(**arguments(sim, limits=limits))
        first.speak("mine").read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del first
            gc.collect()
        with Client(**arguments(sim, limits=limits)) as second:
            assert decode_text(second.speak("and mine").read(), RATE) == "and mine"


def test_a_loop_that_ended_gives_all_back() -> None:
    """An async client that nobody closed, and that is still there, holds nothing any more."""
    limits = KeyLimits(connections=1)
    with Simulator("xai") as sim:

        async def use() -> AsyncClient:
            client = AsyncClient(**arguments(sim, limits=limits))
            await client.speak("mine").read()
            return client

        first = asyncio.run(use())
        with Client(**arguments(sim, limits=limits)) as second:
            assert second.prewarm() == 1
        assert first._engine.closed
        asyncio.run(first.aclose())


# In a process of its own: what such a loop leaves behind nobody can tidy up.
CLOSED_LOOP = """
import asyncio, time
import ttsmux
from ttsmux.simulate import Simulator
with Simulator("xai") as sim:
    some = dict(base_url=sim.url, api_key="k", limits=ttsmux.KeyLimits(connections=1))
    loop = asyncio.new_event_loop()
    client = ttsmux.AsyncClient("xai", **some)
    async def use():
        assert await client.prewarm() == 1
    loop.run_until_complete(use())
    with ttsmux.Client("xai", pool=ttsmux.PoolLimits(acquire_timeout=100.0), **some) as other:
        speech = other.speak("mine")
        member = client._engine.mux.members[0]
        while not member.news:
            time.sleep(0.001)
        loop.close()
        assert speech.read()
"""


def test_a_loop_that_ended_after_it_was_rung_for_gives_all_back() -> None:
    """It was there, and did not run, when the other client began to wait."""
    done = run(CLOSED_LOOP)
    assert done.returncode == 0, done.stderr


def test_who_cannot_be_rung_for_is_gone() -> None:
    """A client whose loop was closed, or that was collected, is taken for one that left."""

    class Engine:
        def __init__(self, *, gone: bool) -> None:
            self.gone = gone
            self.rung = 0

        def ring(self) -> None:
            self.rung += 1

    shared = quota.Quota()
    there, gone, collected = Engine(gone=False), Engine(gone=True), Engine(gone=False)
    members = [Member(shared) for _ in range(3)]
    engines = (there, gone, collected)
    bells = [_quotas.Doorbell(e, m) for e, m in zip(engines, members, strict=True)]
    del collected, engines
    for bell in bells:
        bell.ring()
    assert (there.rung, gone.rung) == (1, 0)
    assert list(shared.left) == members[1:]


def test_a_torn_client_goes_on_under_its_limits() -> None:
    """After a step that was cut short the new Mux is a member like the old one was."""
    with Simulator("sm") as sim, Client(**arguments(sim)) as client:
        assert client.prewarm(2) == 2
        old = member(client)

        def torn() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client._engine.step(client._engine.mux, torn)
        new = member(client)
        assert new is not old and new.quota is old.quota
        assert decode_text(client.speak("Hello.").read(), SM_RATE) == "Hello."
        sim.wait_for(lambda log: len(events(log, "lost")) == 2)


def test_a_dial_that_was_torn_before_it_began_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A KeyboardInterrupt at the end of a step: nobody dials, and its room is free at once."""
    settle = Mux._settle

    def torn(mux: Mux, now: float) -> None:
        monkeypatch.setattr(Mux, "_settle", settle)
        mux._settle(now)
        raise KeyboardInterrupt

    limits = KeyLimits(connections=1)
    with Simulator("xai") as sim, Client(**arguments(sim, limits=limits)) as client:
        old = client._engine.mux
        monkeypatch.setattr(Mux, "_settle", torn)
        with pytest.raises(KeyboardInterrupt):
            client.speak("never")
        assert old.stats().size == 1, "it was asked for"
        assert decode_text(client.speak("said").read(), RATE) == "said"


FORK = """
import os, sys, threading, warnings
import ttsmux
from ttsmux.client import _quotas
from ttsmux.simulate import Simulator
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, from 3.12 on
with Simulator("sm", max_connections=10) as sim:
    def make():
        return ttsmux.Client("sm", base_url=sim.url, api_key="k")
    with make() as client:
        assert client.prewarm(4) == 4
        shared, registry = client._engine.mux.members[0].quota, _quotas._registry
        ready, go_on = threading.Event(), threading.Event()
        def hold():
            with shared._lock, registry._lock:
                ready.set()
                go_on.wait()
        holder = threading.Thread(target=hold)
        holder.start()
        ready.wait()
        child = os.fork()
        if not child:
            assert len(_quotas._registry) == 0 and _quotas._registry._salt != registry._salt
            del client
            mine = make()
            code = 0 if mine.prewarm(4) == 4 else 3
            os._exit(code)
        go_on.set()
        holder.join()
        _, status = os.waitpid(child, 0)
        with make() as other:
            assert other.prewarm(4) == 0
        sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_begins_anew() -> None:
    """What the parent holds, a lock above all, is not waited for in the child."""
    done = run(FORK)
    assert done.returncode == 0, done.stderr
