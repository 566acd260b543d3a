"""What goes wrong around the client, by name, on every runtime."""

from __future__ import annotations

import gc
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest
import trustme

import ttsmux
from ttsmux.adapter import Traits
from ttsmux.client import _tasks, _threads
from ttsmux.core.connection import Connection
from ttsmux.core.dialling import Dialler
from ttsmux.core.effects import Agenda
from ttsmux.core.ledger import TextLog
from ttsmux.core.pool import Pool
from ttsmux.core.speech import Speech

from .scripts import LONG, SOON, held
from .stage import RUNTIMES, Take, World, all_gone, events, patient, play, received

on_every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
on_both_providers = pytest.mark.parametrize("provider", ["gradium", "kugelaudio", "xai"])


# --- sources --------------------------------------------------------------------------------------


@on_every_runtime
@on_both_providers
def test_a_source_that_stalls(runtime: str, provider: str) -> None:
    """What came before is spoken; the speech can be interrupted while its source waits."""

    async def script(w: World) -> None:
        await w.prewarm()
        over: list[bool] = []
        take = w.speak(w.source("one two ", "three ", lambda: over, "four"))
        await take.read(3)
        take.interrupt()
        (await take.rest()).broke_off("one two three four")
        (await w.speak("and on").rest()).said()
        over.append(True)

    play(runtime, provider, script)


@on_every_runtime
def test_a_source_that_stalls_does_not_time_the_provider_out(runtime: str) -> None:
    """The provider owes nothing for text that it may still be buffering."""

    async def script(w: World) -> None:
        started = time.monotonic()
        take = w.speak(w.source("one two ", lambda: time.monotonic() > started + 2.0, "three"))
        (await take.rest()).said("one two three")

    limits = patient(first_audio=SOON, gap=SOON)
    play(runtime, "xai", script, client={"timeouts": limits}, wait_for_done=True)


class Blocked:
    """A source that blocks in `next` until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[str]:
        try:
            yield "one two three "
            self.entered.set()
            self.go.wait(60)
            yield "four"
        finally:
            self.closed.set()


@on_every_runtime
def test_a_source_that_blocks_in_next(runtime: str) -> None:
    """Nobody waits for it: not the loop, not its own speech, not the others, not close for long."""

    async def script(w: World) -> None:
        source = Blocked()
        take = w.speak(source)
        await take.read(2)
        await w.until(source.entered.is_set)
        (await w.speak("a neighbour").rest()).said()
        take.interrupt()
        (await take.rest()).broke_off("one two three")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await w.stage.close(w.client)
        assert not source.closed.is_set()  # it blocks for longer than a script may take
        if runtime == "threads":
            assert [w.category for w in told] == [ResourceWarning]
            assert "blocked in next()" in str(told[0].message)
        source.go.set()

    play(runtime, "gradium", script, client={"timeouts": patient(close=0.1)})


# --- peers ----------------------------------------------------------------------------------------


@on_every_runtime
@on_both_providers
def test_a_peer_that_stops_reading_while_we_write(runtime: str, provider: str) -> None:
    """The send deadline ends it; the next speech gets another connection."""

    async def script(w: World) -> None:
        # More than sockets take by themselves.
        take = await w.speak(["hippopotamus " * 2**9] * 2**11).rest()
        take.failed(ttsmux.ConnectionLost, retryable=True)
        (await w.speak("and on").rest()).said()

    # Any other deadline comes after that of the script.
    limits = patient(send=0.2, first_audio=60.0, gap=60.0, pong=60.0, close=1.0)
    play(
        runtime,
        provider,
        script,
        client={"timeouts": limits, "retry": ttsmux.RetryPolicy(attempts=1)},
        faults=["silence@connect:1"],
    )


@attrs.frozen(kw_only=True)
class Impatient(ttsmux.Gradium):
    """Gradium, for which a muted generation must end soon."""

    traits: ClassVar[Traits] = attrs.evolve(ttsmux.Gradium.traits, acknowledgement=0.2)


@on_every_runtime
def test_a_mute_deadline_spares_live_neighbours(runtime: str) -> None:
    """A muted generation that does not end dooms its socket; who still speaks there finishes."""

    async def script(w: World) -> None:
        await w.stage.close(w.client)
        w.client = w.make_client(Impatient(voice=w.sim.default_voice))
        muted = w.speak("one two three four")
        neighbours = [w.speak() for _ in range(2)]
        for n, take in enumerate(neighbours):
            take.speech.write(f"neighbour {n} speaks ")
        await muted.read(1)
        for take in neighbours:
            await take.read(1)
        assert w.sim.dials == 1
        muted.interrupt()
        (conn,) = w.client._engine.mux._pool.connections
        await w.until(lambda: conn.state.name == "DRAINING")
        (await w.speak("a new one").rest()).said()
        for take in neighbours:
            take.speech.write("on")
            take.speech.end()
        await w.together(*(take.rest() for take in neighbours))
        for n, take in enumerate(neighbours):
            take.said(f"neighbour {n} speaks on")
        assert w.sim.dials == 2
        assert not events(w.sim.log, "cut", reason="reset")

    play(runtime, "gradium", script, faults=["stall@request:1,chunk:1"])


@attrs.frozen(kw_only=True)
class Patient(ttsmux.XAI):
    """xAI, whose acknowledgement may take longer than any script."""

    traits: ClassVar[Traits] = attrs.evolve(ttsmux.XAI.traits, acknowledgement=60.0)


@on_every_runtime
def test_one_connection_and_a_cancel_that_is_never_acknowledged(runtime: str) -> None:
    """The next turn does not wait for it: the barrier is cut short where its place is needed."""

    async def script(w: World) -> None:
        await w.stage.close(w.client)
        w.client = w.make_client(Patient())
        (await w.speak(LONG).read(2)).interrupt()
        (await w.speak("the next turn").rest()).said()
        assert received(w.sim.log, "text.clear")
        assert w.sim.dials == 2

    pool = ttsmux.PoolLimits(max_size=1)
    faults = [*held("request:1,chunk:2"), "no-ack@request:1"]
    play(runtime, "xai", script, client={"pool": pool}, faults=faults)


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@on_every_runtime
@on_both_providers
def test_real_tls(runtime: str, provider: str, authority: trustme.CA) -> None:
    """Speaking, barging in and closing, over TLS."""
    ours = ssl.create_default_context()
    authority.configure_trust(ours)

    async def script(w: World) -> None:
        assert w.sim.url.startswith("wss://")
        await w.prewarm()
        takes = [w.speak(f"speech number {n}") for n in range(4)]
        await w.together(*(take.rest() for take in takes))
        for take in takes:
            take.said()
        (await w.speak(LONG).read(2)).interrupt()
        (await w.speak("and on").rest()).said()

    play(
        runtime,
        provider,
        script,
        client={"ssl_context": ours},
        ssl_context=_server_context(authority),
        rtf=0.005,
    )


@on_every_runtime
def test_a_certificate_of_a_stranger(runtime: str, authority: trustme.CA) -> None:
    """It is refused, without a second try, and no request is sent."""

    async def script(w: World) -> None:
        take = await w.speak("hello").rest()
        take.failed(ttsmux.TLSError, phase="dial", retryable=False)
        assert w.sim.dials == 1
        assert not events(w.sim.log, "open")

    play(runtime, "xai", script, ssl_context=_server_context(authority))


def _server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


# --- an input that is torn ------------------------------------------------------------------------

Act = Callable[[World, Take], object]
TORN: list[tuple[str, str, Any, str, Act]] = [
    ("the text log", "gradium", TextLog, "write", lambda w, take: take.speech.write("more ")),
    ("sending", "gradium", Connection, "send", lambda w, take: take.speech.write("more ")),
    ("the decision", "xai", Pool, "_assign", lambda w, take: take.speech.interrupt()),
    ("a new speech", "gradium", Pool, "enlist", lambda w, take: w.client.speak("hello")),
    ("a dial", "xai", Dialler, "dial", lambda w, take: w.client.speak("hello", voice="rex")),
    ("a barrier", "xai", Connection, "interrupt", lambda w, take: take.speech.interrupt()),
    ("a mute", "gradium", Connection, "interrupt", lambda w, take: take.speech.interrupt()),
    ("letting go", "gradium", Speech, "_leave", lambda w, take: take.speech.interrupt()),
    ("the last step", "gradium", Agenda, "arm", lambda w, take: take.speech.end()),
]
HANDED: list[tuple[str, str, str, str, Act]] = [
    ("a frame", "gradium", "Wire", "put", lambda w, take: take.speech.write("more ")),
    ("a cancel", "xai", "Wire", "put", lambda w, take: take.speech.interrupt()),
    ("a dial", "xai", "Engine", "start", lambda w, take: w.client.speak("hello", voice="rex")),
    ("a wire", "xai", "Wire", "__init__", lambda w, take: w.client.speak("hello", voice="rex")),
]


class Tear:
    """Raises KeyboardInterrupt in place of a method, or after it, once and when told."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool
    ) -> None:
        self.armed = False
        method = getattr(owner, name)

        def torn(*args: Any, **kwargs: Any) -> Any:
            # A reader or the clock may come by: the signal is for the one who asked.
            if self.armed and threading.get_ident() == self._thread:
                self.armed = False
                if after:
                    method(*args, **kwargs)
                raise KeyboardInterrupt
            return method(*args, **kwargs)

        monkeypatch.setattr(owner, name, torn)

    def now(self) -> None:
        self.armed, self._thread = True, threading.get_ident()


async def _survive(w: World, tear: Tear, act: Act) -> None:
    takes = [w.speak() for _ in range(3)]
    for n, take in enumerate(takes):
        take.speech.write(f"speech {n} goes on and on ")
    # Gradium has spoken all it has; xAI's second and third are on connections of their own.
    for take in takes:
        await take.read(2)
    readers = [take.rest() for take in takes]
    tear.now()
    with pytest.raises(KeyboardInterrupt):
        act(w, takes[0])
    assert not tear.armed
    await w.together(*readers)
    for take in takes[1:]:
        take.failed(ttsmux.ClosedError, retryable=True)
    assert takes[0].speech.outcome in (ttsmux.Outcome.FAILED, ttsmux.Outcome.INTERRUPTED)
    (await w.speak("and on").rest()).said()
    assert w.client.pool_stats().waiting == 0


@on_every_runtime
@pytest.mark.parametrize(
    ("provider", "owner", "name", "act"), [t[1:] for t in TORN], ids=[t[0] for t in TORN]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_interrupt_of_the_keyboard_inside_an_input(
    runtime: str,
    provider: str,
    owner: Any,
    name: str,
    act: Act,
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others fail with an error that says to try again, and the client goes on."""
    tear = Tear(monkeypatch, owner, name, after=after)
    play(runtime, provider, lambda w: _survive(w, tear, act))


@on_every_runtime
@pytest.mark.parametrize(
    ("provider", "owner", "name", "act"), [h[1:] for h in HANDED], ids=[h[0] for h in HANDED]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_interrupt_of_the_keyboard_while_effects_are_handed_over(
    runtime: str,
    provider: str,
    owner: str,
    name: str,
    act: Act,
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No wire and no thread is lost with the effects that were not handed over."""
    if runtime == "threads" and owner == "Engine":
        owner, name = "Bell", "ring"  # all that is done at once is to tell the clock, who dials
    tear = Tear(monkeypatch, getattr(_machinery(runtime), owner), name, after=after)
    play(runtime, provider, lambda w: _survive(w, tear, act))


@on_every_runtime
@on_both_providers
def test_an_interrupt_of_the_keyboard_in_place_of_a_wake(
    runtime: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a speech that just ended is woken all the same."""
    tear = Tear(monkeypatch, _machinery(runtime).Waiter, "ring", after=False)

    async def script(w: World) -> None:
        take = w.speak("good morning")
        await w.seen(lambda log: events(log, "generation"))

        async def interrupt() -> None:
            await w.until(lambda: take.speech._core.reader_waits)
            tear.now()
            with pytest.raises(KeyboardInterrupt):
                take.interrupt()

        await w.together(take.rest(), interrupt())
        take.broke_off()

    play(runtime, provider, script, ttfa_ms=60_000)


def _machinery(runtime: str) -> Any:
    return _threads if runtime == "threads" else _tasks


# --- what is forgotten ----------------------------------------------------------------------------


@on_every_runtime
@on_both_providers
def test_a_speech_dropped_inside_an_input(
    runtime: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector may run anywhere, also under the lock: no deadlock, a warning, a cancel."""
    write = TextLog.write

    def collecting(self: TextLog, piece: str) -> None:
        if piece == "now ":
            gc.collect()
        write(self, piece)

    monkeypatch.setattr(TextLog, "write", collecting)

    async def script(w: World) -> None:
        keeper = w.speak()
        dropped = w.client.speak()
        dropped.write("one two three ")
        await w.seen(lambda log: received(log, "text.delta" if provider == "xai" else "text"))
        cycle: list[object] = [dropped]
        cycle.append(cycle)
        del dropped, cycle
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            keeper.speech.write("now ")
        assert [warning.category for warning in told] == [ResourceWarning]
        assert "was dropped before its end" in str(told[0].message)
        kind = {"xai": "text.clear", "kugelaudio": "immediate"}.get(provider, "end_of_stream")
        await w.seen(lambda log: received(log, kind))
        keeper.speech.write("and then")
        keeper.speech.end()
        (await keeper.rest()).said("now and then")

    gc.disable()
    try:
        play(runtime, provider, script)
    finally:
        gc.enable()


@on_every_runtime
def test_a_client_that_is_not_closed(runtime: str) -> None:
    """It warns, closes its connections, and leaves nothing behind."""

    async def script(w: World) -> None:
        (await w.speak("good morning").rest()).said()
        w.takes.clear()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            w.client = None
            gc.collect()
        assert [warning.category for warning in told] == [ResourceWarning]
        assert "was not closed" in str(told[0].message)
        await w.seen(all_gone)

    play(runtime, "xai", script)


@on_every_runtime
@on_both_providers
def test_close_ends_what_others_wait_for(runtime: str, provider: str) -> None:
    """Readers in other threads or tasks get a ClosedError."""

    async def script(w: World) -> None:
        takes = [w.speak(f"speech {n}") for n in range(4)]

        async def close() -> None:
            await w.seen(lambda log: len(events(log, "generation")) == 4)
            await w.stage.close(w.client)

        await w.together(*(take.rest() for take in takes), close())
        for take in takes:
            take.failed(ttsmux.ClosedError, phase="close")
        w.refusal(lambda: w.client.speak("late"), ttsmux.ClosedError)
        with pytest.raises(ttsmux.ClosedError):
            await w.prewarm()
        await w.stage.close(w.client)
        assert w.client.pool_stats().size == 0

    # Neither audio nor a closing handshake that was waited for in vain would come in time.
    limits = patient(close=60.0)
    play(runtime, provider, script, client={"timeouts": limits}, ttfa_ms=60_000)


@on_every_runtime
def test_a_bad_option_costs_the_others_nothing(runtime: str) -> None:
    """A mistake in one call is that call's: what is speaking goes on."""

    async def script(w: World) -> None:
        take = await w.speak(LONG[:60]).read(1)
        for options in ({"voice": 7}, {"format": 3}, {"speed": object()}):
            w.refusal(lambda options=options: w.speak("x", **options), ttsmux.WrongType)
        w.refusal(lambda: w.speak("x", nonsense=1), ttsmux.ConfigError)
        (await take.rest()).said()

    play(runtime, "xai", script, rtf=0.02)
