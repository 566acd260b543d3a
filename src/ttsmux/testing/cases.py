"""
What every adapter does on real sockets, against its simulated provider, on every runtime.

The numbers are those of the contract; `crossings` has what cannot be timed on sockets.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import attrs
import pytest

from ..adapter import Adapter, EarlyEnd, Traits
from ..audio import AudioFormat
from ..errors import AtCapacity, AuthError, Error
from ..settings import Interrupt, PoolLimits, RetryPolicy
from ..simulate.log import Record
from .recording import with_traits
from .stage import RUNTIMES
from .suite import Suite, case
from .world import PATIENCE, Script, Trace, World, play, provider_of, simulator

__all__ = ["SocketCases", "Stage"]

LONG = " ".join(f"w{n:02}" for n in range(40))
"""Longer than it is ever read to its end."""
ENDS = ("close=1011", "reset", "eof")
"""Ways in which a connection ends."""
NORMAL = 1000
AT_ONCE = RetryPolicy(base=1e-6)


def one_seat(traits: Traits) -> str | None:
    return None if traits.seats > 1 else "seats: one speech on a connection"


def discards(traits: Traits) -> str | None:
    if traits.interrupt is Interrupt.DISCARD:
        return "interrupt: discard waits for nothing"
    return None


def acknowledges_nothing(traits: Traits) -> str | None:
    if traits.interrupt is not Interrupt.CANCEL:
        return f"interrupt: {traits.interrupt.value} has no acknowledgement"
    return None


def never_old(traits: Traits) -> str | None:
    return None if traits.max_age is not None else "max_age: connections do not grow old"


def no_samples_to_cut(traits: Traits) -> str | None:
    if any(name.startswith("pcm") for name in traits.formats):
        return None
    return "formats: a sample is a byte"


@attrs.frozen
class Stage:
    """Where the cases of one suite are played, on one runtime."""

    suite: Suite
    runtime: str

    def play(
        self,
        script: Script,
        *,
        faults: Iterable[str] = (),
        adapter: Adapter | None = None,
        traits: dict[str, object] | None = None,
        pool: PoolLimits | None = None,
        retry: RetryPolicy | None = None,
        **simulated: Any,
    ) -> Trace:
        """Play *script* against a fresh simulator; *traits* are the adapter's for this time."""
        adapter = adapter or self.suite.adapter
        if traits:
            adapter = with_traits(adapter, **traits)
        sim = simulator(self.suite.simulated(), faults=faults, **simulated)
        return play(self.runtime, adapter, sim, script, pool=pool, retry=retry)


class SocketCases(Suite):
    """The part of the contract that needs sockets."""

    @pytest.fixture(params=RUNTIMES)
    def stage(self, request: pytest.FixtureRequest) -> Stage:
        """Threads first, then the async backends."""
        return Stage(self, request.param)

    @property
    def first(self) -> str:
        """Where the first connection is, for a fault."""
        return "request:1" if self.http else "connect:1"

    # --- 1, 2: many -------------------------------------------------------------------------------

    @case("1")
    def test_01_two_in_a_row(self, stage: Stage) -> None:
        """Two speeches, one after the other, are both whole, on one connection if it serves on."""

        async def script(w: World) -> None:
            (await w.speak("Good morning to you").rest()).said()
            await w.settled()
            (await w.speak("and good night").rest()).said()
            assert w.connections == (1 if self.traits.reusable else 2)
            w.no_complaints()

        stage.play(script)

    @case("2", unless=one_seat)
    def test_02_several_at_once(self, stage: Stage) -> None:
        """As many as fit speak on one connection, interleaved, and each hears its own."""
        count = min(self.traits.seats, 6)

        async def script(w: World) -> None:
            await w.prewarm()
            takes = [w.speak(f"number {n} " + f"x{n} " * 4) for n in range(count)]
            await w.together(*(take.rest() for take in takes))
            for take in takes:
                take.said()
            assert w.sim.dials == 1
            w.no_complaints()

        stage.play(script, rtf=0.005, jitter_ms=2, ttfa_ms=10)

    # --- 3: interrupt, and speak at once ----------------------------------------------------------

    @case("3a")
    def test_03a_interrupt_before_the_first_frame(self, stage: Stage) -> None:
        """Nothing is sent for a speech that is interrupted before it has text."""

        async def script(w: World) -> None:
            await w.prewarm()
            take = w.speak()
            before = len(w.records("recv"))
            take.interrupt()
            (await take.rest()).broke_off()
            assert not take.chunks
            assert len(w.records("recv")) == before
            (await w.speak("and now this").rest()).said()
            assert len(w.records("generation")) == 1
            w.no_complaints()

        stage.play(script)

    @case("3b")
    def test_03b_interrupt_before_the_first_audio(self, stage: Stage) -> None:
        """What never came is not heard later either."""

        async def script(w: World) -> None:
            take = w.speak(LONG)
            await w.seen(lambda log: [r for r in log if r["event"] == "generation"])
            take.interrupt()
            second = w.speak("and now this")
            (await take.rest()).broke_off()
            assert not take.chunks
            (await second.rest()).said()
            w.no_complaints()

        stage.play(script, faults=["stall@request:1,chunk:0"])

    @case("3c")
    def test_03c_interrupt_in_the_middle(self, stage: Stage) -> None:
        """Time and again: the next speech, begun at once, hears no byte of the one before."""

        async def script(w: World) -> None:
            for n in range(4):
                take = await w.speak(f"turn {n} {LONG}").read(1 + n % 3)
                take.interrupt()
                (await take.rest()).broke_off()
            (await w.speak("and now this").rest()).said()
            w.no_complaints()

        stage.play(script, rtf=0.02)

    @case("3d")
    def test_03d_interrupt_after_the_end(self, stage: Stage) -> None:
        """All audio has come, and none of it was read: none is heard, and the next is whole."""

        async def script(w: World) -> None:
            take = await w.speak("it is all here").received()
            take.interrupt()
            second = w.speak("and now this")
            (await take.rest()).broke_off()
            assert not take.chunks
            (await second.rest()).said()
            w.no_complaints()

        stage.play(script)

    # --- 4, 5: a provider that does not stop ------------------------------------------------------

    @case("4a", unless=discards)
    def test_04a_nothing_is_acknowledged(self, stage: Stage) -> None:
        """When the deadline has passed the connection is gone, and the next speech is whole."""
        cancels = provider_of(self.simulated()).cancels
        fault = "no-ack@request:1" if cancels else "stall@request:1,chunk:2"

        async def script(w: World) -> None:
            take = await w.speak(LONG).read(2)
            take.interrupt()
            second = w.speak("and now this")
            (await take.rest()).broke_off()
            (await second.rest()).said()
            await w.seen(lambda log: _left(log, 1))

        # So slow that it speaks still when the interrupt comes, however late that is.
        stage.play(script, faults=[fault], rtf=0.5, traits={"acknowledgement": 0.1})

    @case("4b", unless=acknowledges_nothing)
    def test_04b_the_acknowledgement_is_late(self, stage: Stage) -> None:
        """Audio that comes until then is heard by nobody, on one connection as on several."""

        async def script(w: World) -> None:
            for n in range(3):
                take = await w.speak(f"turn {n} {LONG}").read(2)
                take.interrupt()
                (await take.rest()).broke_off()
            (await w.speak("and now this").rest()).said()

        pool = PoolLimits(max_size=1, min_idle=0)
        traits: dict[str, object] = {"acknowledgement": 10.0}
        for limits in (pool, None):
            stage.play(script, faults=["late-ack=12"], rtf=0.1, traits=traits, pool=limits)

    @case("5")
    def test_05_the_cap_full_of_the_dead(self, stage: Stage) -> None:
        """Interrupted speeches fill every slot; the next is whole, and no socket is killed."""
        count = self.traits.slots + 1 if self.traits.ids else 3
        faults = [f"stall@request:{n},chunk:1" for n in range(1, count + 1)]

        async def script(w: World) -> None:
            for n in range(count):
                (await w.speak(f"turn {n} {LONG}").read(1)).interrupt()
            (await w.speak("and now this").rest()).said()
            killed = [r for r in w.records("close", by="server") if r["code"] != NORMAL]
            assert not killed, "the provider killed a socket"
            w.no_complaints()

        stage.play(script, faults=faults, pool=PoolLimits(max_size=16, min_idle=0))

    # --- 6: crossing ------------------------------------------------------------------------------

    @case("6")
    def test_06_an_interrupt_crosses_the_end(self, stage: Stage) -> None:
        """The end was under way already: the connection, or another one, serves on."""
        # Where the end takes two steps, it does not come while the client stands still.
        crossed = _ended if self.traits.release_after is None else _spoke

        async def script(w: World) -> None:
            for n in range(1, 4):
                take = await w.speak("one two").read(1)
                with w.stage.standstill(w.client):
                    w.sim.wait_for(partial(crossed, count=2 * n - 1), PATIENCE)
                take.interrupt()
                second = w.speak("and now this")
                # It may have come before the interrupt after all; it is not heard in either case.
                (await take.rest()).broke_off()
                (await second.rest()).said()
                await w.settled()

        stage.play(script, chunk_ms=400, rtf=0.1)

    # --- 7, 9: connections that end ---------------------------------------------------------------

    @case("7a")
    def test_07a_ended_before_the_first_audio(self, stage: Stage) -> None:
        """It is begun again, and nobody notices."""

        async def script(w: World) -> None:
            take = (await w.speak("tried and tried again").rest()).said()
            assert take.speech.metrics.attempts == 2

        for end in ENDS:
            stage.play(script, faults=[_at(end, "request:1,chunk:0")])

    @case("7b")
    def test_07b_ended_in_the_middle(self, stage: Stage) -> None:
        """It fails, the error says what was delivered, and the next speech is whole."""

        async def script(w: World, end: str) -> None:
            take = await w.speak(LONG).read(2)
            await w.seen(_stalled)
            await take.sent(1)
            w.sim.inject(_at(end, "request:1"))
            (await take.rest()).failed(Error, phase="speak").began()
            assert isinstance(take.error, Error)
            assert take.error.delivered.bytes == len(take.audio)
            (await w.speak("goes on").rest()).said()

        for end in ENDS:
            stage.play(partial(script, end=end), faults=["stall@request:1,chunk:2"])

    @case("7c")
    def test_07c_ended_after_an_interrupt(self, stage: Stage) -> None:
        """Whatever becomes of the connection, the next speech is whole."""

        async def script(w: World, end: str) -> None:
            take = await w.speak(LONG).read(1)
            take.interrupt()
            w.sim.inject(_at(end, self.first))
            second = w.speak("and now this")
            (await take.rest()).broke_off()
            (await second.rest()).said()

        faults = ["stall@request:1,chunk:1"]
        for end in ENDS:
            stage.play(partial(script, end=end), faults=faults, retry=AT_ONCE)

    @case("7d")
    def test_07d_ended_while_dialling(self, stage: Stage) -> None:
        """A dial that is cut, by whatever, is made again."""

        async def script(w: World) -> None:
            (await w.speak("second time lucky").rest()).said()

        for fault in ("refuse@connect:1", "reset@connect:1", "eof@connect:1"):
            stage.play(script, faults=[fault], retry=AT_ONCE)

    @case("9")
    def test_09_ended_while_idle(self, stage: Stage) -> None:
        """A connection that ends in the pool is nobody's error."""

        async def idle(w: World, end: str) -> None:
            await w.prewarm()
            w.sim.inject(_at(end, "connect:1"))
            await w.empty()
            take = (await w.speak("as if nothing had been").rest()).said()
            assert take.speech.metrics.attempts == 1

        async def crossing(w: World) -> None:
            (await w.speak("the first").rest()).said()
            await w.settled()
            take = (await w.speak("as if nothing had been").rest()).said()
            assert take.speech.metrics.attempts == 1
            assert len(w.records("fault")) == 1

        for end in ("close=1000", *ENDS):
            if self.http:
                # Nobody hears of it before the next request, which is not answered any more.
                stage.play(crossing, faults=[_at(end, "connect:1,request:2")])
            else:
                stage.play(partial(idle, end=end))

    # --- 8: errors --------------------------------------------------------------------------------

    @case("8a")
    def test_08a_an_error_of_a_generation(self, stage: Stage) -> None:
        """It fails with the provider's words, and the next speech is whole."""

        async def late(w: World) -> None:
            take = await w.speak(LONG).read(2)
            w.sim.inject("error@request:1=out of breath")
            (await take.rest()).failed(Error, phase="speak").began()
            assert self.http or "out of breath" in str(take.error)
            (await w.speak("goes on").rest()).said()

        async def early(w: World) -> None:
            (await w.speak("never heard").rest()).failed(Error)
            assert "out of breath" in str(w.takes[0].error)
            (await w.speak("goes on").rest()).said()

        stage.play(late, faults=["stall@request:1,chunk:2"])
        # An answer that has begun as audio has no words left for what goes wrong.
        once = RetryPolicy(attempts=1)
        stage.play(early, faults=["error@request:1,chunk:0=out of breath"], retry=once)

    @case("8b")
    def test_08b_an_error_of_nobody(self, stage: Stage) -> None:
        """One that comes when nobody is spoken for harms no speech."""

        async def idle(w: World) -> None:
            await w.prewarm()
            w.sim.inject("error@connect:1=out of breath")
            await w.seen(lambda log: [r for r in log if r["event"] == "fault"])
            (await w.speak("goes on").rest()).said()

        async def left(w: World) -> None:
            take = await w.speak(LONG).read(1)
            take.interrupt()
            w.sim.inject("error@request:1=out of breath")
            (await w.speak("goes on").rest()).said()
            (await take.rest()).broke_off()

        if self.http:
            stage.play(left, faults=["stall@request:1,chunk:1"], retry=AT_ONCE)
        else:
            stage.play(idle, retry=AT_ONCE)

    @case("8d", unless=one_seat)
    def test_08d_an_error_beside_another(self, stage: Stage) -> None:
        """A neighbour that has not been heard yet is whole, on this connection or the next."""

        async def script(w: World) -> None:
            await w.prewarm()
            first = await w.speak(LONG).read(1)
            second = w.speak("the neighbour")
            await w.seen(lambda log: len([r for r in log if r["event"] == "generation"]) == 2)
            w.sim.inject("error@request:1=out of breath")
            (await first.rest()).failed(Error).began()
            (await second.rest()).said()

        faults = ["stall@request:1,chunk:1", "stall@request:2,chunk:0=300"]
        stage.play(script, faults=faults)

    # --- 10, 11, 12: what goes in and what comes out ----------------------------------------------

    @case("10")
    def test_10_the_source_stalls(self, stage: Stage) -> None:
        """Text that pauses for longer than the provider likes is spoken to its end."""
        traits, lull = self.traits, self.lull
        patience = traits.source_pause or traits.generation_keepalive
        if patience is None and traits.early_end is EarlyEnd.ERROR:
            patience = 0.0
        assert lull.server or lull.adapter or patience == 0.0, (
            "this provider does not bear every pause: set `lull` to options that make its patience "
            "shorter than `lull.seconds`"
        )

        async def script(w: World) -> None:
            await w.prewarm()
            pause = w.lapse(lull.seconds)
            take = await w.speak(w.source("One two three. ", pause, "Four five six.")).rest()
            take.said("One two three. Four five six.")
            w.no_complaints()

        simulated: dict[str, Any] = {**lull.server}
        adapter = self.make(**lull.adapter)
        stage.play(script, adapter=adapter, traits={**lull.traits}, **simulated)

    @case("11")
    def test_11_empty_and_blank_text(self, stage: Stage) -> None:
        """Nothing is sent for nothing, and blank pieces in between do no harm."""

        async def script(w: World) -> None:
            for text in ("", "  \n\t", [], ["", " ", "\n"]):
                take = (await w.speak(text).rest()).said("")
                assert not take.chunks
            assert not w.records("generation")
            take = w.speak(["", " ", "one", "", "  ", "two ", "\n", " three", "   ", ""])
            (await take.rest()).said("one two three")
            w.no_complaints()

        stage.play(script)

    @case("12", unless=no_samples_to_cut)
    def test_12_samples_cut_in_two(self, stage: Stage) -> None:
        """Audio that is cut at any byte comes in whole samples."""

        async def script(w: World) -> None:
            take = w.speak("cut anywhere at all", format=_pcm(self.traits))
            (await take.rest()).said("cut anywhere at all")

        stage.play(script, faults=["odd@request:1"])

    # --- 14, 15: connections that are replaced ----------------------------------------------------

    @case("14a", unless=never_old)
    def test_14a_old_while_idle(self, stage: Stage) -> None:
        """A connection that is too old is replaced before anybody needs it."""

        async def script(w: World) -> None:
            await w.prewarm()
            await w.empty()
            (await w.speak("on a new one").rest()).said()
            assert all(record["conn"] != 1 for record in w.records("generation"))

        stage.play(script, traits={"max_age": 0.3, "max_idle": None})

    @case("14b", unless=never_old)
    def test_14b_old_while_speaking(self, stage: Stage) -> None:
        """A speech that is under way is not cut short for it; the next has another connection."""

        async def script(w: World) -> None:
            (await w.speak("one two three").rest()).said()
            await w.empty()
            (await w.speak("on a new one").rest()).said()
            conns = [record["conn"] for record in w.records("generation")]
            assert len(set(conns)) == 2, "a connection of each their own"

        stage.play(script, traits={"max_age": 0.2, "max_idle": None}, rtf=0.3)

    @case("15")
    def test_15_other_settings(self, stage: Stage) -> None:
        """What is fixed when a connection opens is what the speech on it asked for."""
        other = dict(self.other) or {"format": self.traits.formats[-1]}
        plain, changed = self.adapter, self.make(**other)
        keys = {one.pool_key(one.options()) for one in (plain, changed)}

        async def script(w: World) -> None:
            (await w.speak("as usual").rest()).said()
            await w.settled()
            (await w.speak("otherwise", **other).rest()).said()
            assert w.connections == (len(keys) if self.traits.reusable else 2)
            if len(keys) == 2 and not self.http:
                await w.seen(lambda log: _left(log, 1))
            w.no_complaints()

        stage.play(script, pool=PoolLimits(max_size=1, min_idle=0))

    # --- 16, 17: what is tried again --------------------------------------------------------------

    @case("16a")
    def test_16a_refused_at_the_upgrade(self, stage: Stage) -> None:
        """401 and 403 are final; 429 and 503 are tried again, and both say what they are."""

        async def final(w: World) -> None:
            (await w.speak("hello").rest()).failed(Error, phase="dial", retryable=False)
            assert w.connections == 1

        async def passing(w: World) -> None:
            (await w.speak("second time lucky").rest()).said()
            assert w.connections == 2

        async def full(w: World) -> None:
            (await w.speak("hello").rest()).failed(AtCapacity, retry_after=7.0)

        async def key(w: World) -> None:
            await final(w)
            w.takes[0].failed(AuthError)

        once = RetryPolicy(attempts=1)
        stage.play(key, faults=["status=401"])
        stage.play(final, faults=["status=403"])
        stage.play(passing, faults=["status=429;retry-after=0@connect:1"])
        stage.play(passing, faults=["status=503@connect:1"])
        stage.play(full, faults=["status=429;retry-after=7"], retry=once)

    @case("16b")
    def test_16b_a_key_that_is_not_right(self, stage: Stage) -> None:
        """Wherever the provider says so, before or after the upgrade: once, and for good."""

        async def script(w: World) -> None:
            (await w.speak("hello").rest()).failed(AuthError, retryable=False)
            assert w.connections == 1
            assert not w.records("generation")

        stage.play(script, key="not-the-clients-key")

    @case("17a")
    def test_17a_again_before_audio(self, stage: Stage) -> None:
        """Two failures before the first audio cost two tries that nobody hears of."""

        async def script(w: World) -> None:
            take = (await w.speak("three times lucky").rest()).said()
            assert take.speech.metrics.attempts == 3
            assert len(w.records("generation")) == 3

        faults = ["reset@request:1,chunk:0", "eof@request:2,chunk:0"]
        stage.play(script, faults=faults, retry=AT_ONCE)

    @case("17b")
    def test_17b_not_again_after_audio(self, stage: Stage) -> None:
        """After the first audio nothing is begun again: no word is heard twice."""

        async def script(w: World) -> None:
            take = await w.speak(LONG).read(1)
            w.sim.inject("reset@request:1")
            (await take.rest()).failed(Error).began()
            await w.settled()
            assert len(w.records("generation")) == 1

        stage.play(script, faults=["stall@request:1,chunk:1"])

    # --- 18: one client ---------------------------------------------------------------------------

    @case("18")
    def test_18_every_runtime_does_the_same(self) -> None:
        """The same script leaves the same trace: chunks, marks, errors, and the client's frames."""

        async def script(w: World) -> None:
            await w.prewarm()
            (await w.speak("Good morning to you all").rest()).said()
            await w.settled()
            await w.prewarm()  # what is written before there is a seat goes out as one
            (await w.speak(w.source("Good morn", "ing to ", "you", " al", "l")).rest()).said(
                "Good morning to you all"
            )
            await w.settled()
            take = w.speak()
            take.interrupt()
            await take.rest()
            # It began to dial, which may be done by now or not.
            await w.prewarm()
            await w.settled()
            (await w.speak("tried and tried again").rest()).said()
            await w.settled()
            (await w.speak("the last").rest()).said()

        faults = ["reset@request:3,chunk:0"]
        traces = {name: Stage(self, name).play(script, faults=faults) for name in RUNTIMES}
        for name in RUNTIMES[1:]:
            assert traces[name] == traces[RUNTIMES[0]], f"{name} differs from {RUNTIMES[0]}"


def _at(fault: str, place: str) -> str:
    action, equals, arg = fault.partition("=")
    return f"{action}@{place}{equals}{arg}"


def _pcm(traits: Traits) -> str:
    return next(n for n in traits.formats if AudioFormat.parse(n).encoding == "pcm")


def _left(log: list[Record], conn: int) -> bool:
    """Tell whether the client has left a connection."""
    return any(
        record["conn"] == conn
        and (record["event"] == "lost" or (record["event"] == "close" and record["by"] == "client"))
        for record in log
        if "conn" in record
    )


def _ended(log: list[Record], count: int) -> bool:
    """Tell whether the provider has said for so many generations that they are over."""
    over: set[object] = set()
    for record in log:
        said = record["event"] in ("send", "answered") and "generation" in record
        if said and not record["open_generations"]:
            over.add(record["generation"])
    return len(over) >= count


def _stalled(log: list[Record]) -> bool:
    """Tell whether a generation stands still, for ever."""
    return any(r["event"] == "fault" and str(r["fault"]).startswith("stall") for r in log)


def _spoke(log: list[Record], count: int) -> bool:
    """Tell whether the generation of this number has sent its second piece of audio."""
    return any(
        record["event"] == "send" and record.get("generation") == count and record.get("chunk") == 2
        for record in log
    )
