"""
One wire and the generations on it.

A connection decides whether it can be trusted: which audio belongs to whom, when a slot is free,
when it must not be used again. Whom it serves is the pool's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..adapter import (
    PING,
    Audio,
    CancelAck,
    Closed,
    DialFailure,
    EarlyEnd,
    Failed,
    Frame,
    Handshake,
    InputEnd,
    Marks,
    Note,
    OutputEnd,
    Ping,
    Ready,
    Released,
    Scope,
    Signal,
    Verdict,
    Wire,
)
from ..errors import (
    AuthError,
    ConnectionLost,
    ConnectTimeout,
    Error,
    FirstAudioTimeout,
    LocalProtocolError,
    RemoteProtocolError,
    StallTimeout,
    TruncatedAudio,
    place_of,
)
from ..settings import Interrupt
from . import states
from .budget import Bill
from .crowd import NOTHING
from .effects import Dial, HangUp, Send
from .generation import LIVE, LiveGeneration
from .metrics import NO_PARTS
from .route import Plan
from .states import (
    CONNECTION,
    ConnectionInput,
    ConnectionState,
    GenerationInput,
    GenerationState,
    Trust,
)

if TYPE_CHECKING:
    from .lane import Choice, Lane
    from .pool import Pool
    from .speech import Speech

_COOL_FOR = 0.25
"""Seconds after an acknowledgement in which a connection is the last choice."""
_WATCH_FOR = 0.1
"""Of those, in which it is no choice at all, until the provider has once been found true."""
_HURRY_AFTER = 0.25
"""Seconds after which a barrier is cut short for a speech that has nowhere else to go."""
_SURELY_SILENT = 0.5
"""
Of a provider's time for a silent source. What it took is older than all of that, what crossed its
end as young as a round trip: half leaves either as much room, for clocks and for networks.
"""
_RESTED_AFTER = 1.0
"""Seconds without a generation after which a connection may have died without our knowing."""
_SOON = 10.0
"""Seconds within which a connection that ends without having served is taken for a failed dial."""
_YOUNGEST = 0.95
"""Of the age at which a connection is replaced: those that were opened together must not go so."""
_VINTAGE = 60.0
"""
Seconds after which a connection may be too old for its provider: one that is lost while it is idle,
or is said to be.
"""
_CLEAN = frozenset({1000, 1001})
_G = TypeVar("_G")
_OVER = (ConnectionState.CLOSING, ConnectionState.CLOSED)


class Connection:
    """One wire, from dial to close."""

    __slots__ = (
        "_acknowledged", "_agenda", "_barrier_due", "_cool_due", "_dial_due", "_held_at",
        "_old_at", "_pinged_at", "_pool", "_sent_at", "_watched_until", "_wire", "armed", "began",
        "bill", "choice", "cooling_until", "dial_parts", "dialled_at", "dropped", "generations",
        "handle", "heard_at", "hurried", "idle_since", "lane", "lessee", "number", "opened_as",
        "opened_at", "outdated", "over", "plan", "proved", "served", "share", "state",
    )  # fmt: skip

    def __init__(self, number: int, lane: Lane, pool: Pool, now: float) -> None:
        self.number = number
        self.lane = lane
        self.plan: Plan = lane.plan
        self.lessee: Speech | None = None
        """Whose next generation the seat is kept for."""
        self.state = ConnectionState.DIALLING
        self.over = False
        """Whether it was hung up, or is gone. Kept beside the state: every message asks."""
        self.armed: float | None = None
        self.handle: object = None
        """
        The shell's to use. To the core it says one thing: with None the shell has not begun to dial
        yet, so where the Mux is torn nothing will come of that dial, nor tell of its end.
        """
        self.generations: dict[str, LiveGeneration] = {}
        self.served = 0
        """Generations begun here."""
        self.proved = False
        """Whether the provider did anything for us here."""
        self.dropped = 0
        """Audio messages that nobody was to hear."""
        self.cooling_until = now
        self.idle_since = now
        self.began = now
        self.dialled_at: float | None = None
        self.dial_parts = NO_PARTS
        """Of its dial, as far as the wire tells: names and seconds."""
        self.opened_at: float | None = None
        self._old_at: float | None = None
        self.opened_as = 0
        """How many connections of the client had come up when this one had, itself included."""
        self.share = NOTHING
        """What the pool's sums have of it."""
        self.choice: Choice | None = None
        """Its entry in the heap of its lane, if it has a free seat."""
        self.bill = Bill()
        """For its end: what is begun again after that is paid for once."""
        self.hurried = False
        self.outdated = False
        """Idle or old: to be hung up once there is another in its place."""
        self._pool = pool
        self._agenda = pool.agenda
        self._wire = Wire(self.plan.options)
        self._acknowledged = False
        """Whether a cancel was acknowledged, and nobody has spoken here since."""
        self._watched_until: float | None = None
        self._cool_due: float | None = None
        self._barrier_due: float | None = None
        self._held_at = now
        self.heard_at = now
        """When anything last came, of whatever kind."""
        self._sent_at = now
        self._pinged_at: float | None = None
        timeout = pool.settings.timeouts.dial
        self._dial_due = now + timeout
        self._agenda.do(Dial(self, timeout))
        self.touch()

    def __repr__(self) -> str:
        seats = f"{len(self.live)}/{self.plan.traits.seats} seats"
        return f"<Connection c{self.number} {self.plan.adapter.name} {self.state.name} {seats}>"

    # --- what the shell asks ----------------------------------------------------------------------

    def handshake(self, secret: str | None) -> Handshake:
        """Say how to open this connection. Raises `ConfigError`."""
        return self.plan.route.handshake(self.plan.adapter, self.plan.options, secret)

    # --- seats ------------------------------------------------------------------------------------

    @property
    def live(self) -> list[LiveGeneration]:
        return [gen for gen in self.generations.values() if gen.state in LIVE]

    @property
    def muted(self) -> int:
        count = 0
        for gen in self.generations.values():
            count += gen.state is GenerationState.MUTED
        return count

    @property
    def coming(self) -> bool:
        return self.state in (ConnectionState.DIALLING, ConnectionState.GREETING)

    @property
    def idle(self) -> bool:
        if self.lessee is not None:
            return False
        return self.state is ConnectionState.OPEN and not self.generations

    @property
    def owing(self) -> bool:
        """Whether something is due here, which comes or is missed at its time."""
        if self.coming or self.state is ConnectionState.BARRIER:
            return True
        return any(gen.owes for gen in self.live)

    @property
    def watched(self) -> bool:
        """Whether it has just acknowledged a cancel, and may yet show that it did not mean it."""
        return self.state is ConnectionState.OPEN and self._watched_until is not None

    @property
    def suspect(self) -> bool:
        """Whether the provider's acknowledgement is all that speaks for it."""
        return self.state is ConnectionState.BARRIER or (self._acknowledged and self.idle)

    @property
    def free_seats(self) -> int:
        """Speeches that may begin here now, whosever they are."""
        return self.room if self.lessee is None else 0

    @property
    def room(self) -> int:
        """The same, but for whom the seat is kept, if it is."""
        traits = self.plan.traits
        if self.state is not ConnectionState.OPEN or self._watched_until is not None:
            return 0
        if traits.max_muted is not None and self.muted >= traits.max_muted:
            return 0
        if not self.generations:
            return min(traits.seats, traits.slots)
        return min(traits.seats - len(self.live), traits.slots - len(self.generations))

    @property
    def retirable(self) -> bool:
        """Whether it may be told to take nothing new, for the sake of another voice."""
        held = self.state in (ConnectionState.OPEN, ConnectionState.BARRIER)
        return held and self.lessee is None

    @property
    def leasable(self) -> bool:
        """Whether a speech may keep its place here from one generation to its next."""
        traits = self.plan.traits
        fit = self.state is ConnectionState.OPEN and not self.outdated
        return fit and traits.reusable and traits.seats == 1

    @property
    def bearable(self) -> int:
        """Speeches that may begin here one after the other even if each is interrupted."""
        limit, free = self.plan.traits.max_muted, self.free_seats
        if limit is None or free == 0:
            return free
        return max(0, min(free, limit - self.muted - len(self.live)))

    def begin(self, speech: Speech, now: float) -> LiveGeneration:
        """Give *speech* a seat."""
        if self.room < 1:
            msg = f"no free seat on {self!r}"
            raise LocalProtocolError(msg)
        gen = LiveGeneration(self._pool.new_id(), self, speech, now)
        gen.rested = not self.generations and now >= self.idle_since + _RESTED_AFTER
        self.generations[gen.id] = gen
        self.served += 1
        self._pool.counts.leased += 1
        self._pool.admission.begun(gen)
        self.changed()
        self._acknowledged = False
        most = self._pool.settings.pool.max_generations
        if most is not None and self.served >= most:
            self.doom("it has served max_generations", now)
        return gen

    def send(
        self, frames: Sequence[Frame | Ping], now: float, gen: LiveGeneration | None = None
    ) -> None:
        """Send *frames*, those of one generation or the connection's own."""
        if not frames:
            return
        self._sent_at = now
        if gen is not None:
            gen.last_sent = now
        self._agenda.do(Send(self, frames))
        self.touch()

    def touch(self) -> None:
        self._agenda.touch(self)

    def expect_audio(self, now: float) -> None:
        """Audio has begun to come, and may stop: more of it is waited for less long."""
        gap = self._pool.settings.timeouts.gap
        self._agenda.expect(self, now + (gap if self.plan.traits.ping is None else gap / 2))

    def changed(self) -> None:
        """It may count for something else in the pool now."""
        self._pool.changed(self)

    # --- facts ------------------------------------------------------------------------------------

    def dialled(self, now: float, parts: Mapping[str, float] = NO_PARTS) -> None:
        self._step(ConnectionInput.DIALLED)
        self.dialled_at, self.dial_parts = now, parts
        if self.state is ConnectionState.CLOSING:
            # Given up while the dial succeeded: hang up once more, for now there is a wire.
            self._agenda.do(HangUp(self, (), self._pool.settings.timeouts.close))
        elif self.state is ConnectionState.GREETING:
            self.heard_at = self._sent_at = now
            if not self.plan.traits.greeting:
                self._ready(now)

    def _ready(self, now: float) -> None:
        self._step(ConnectionInput.READY)
        assert self.dialled_at is not None, "it is up before it is ready"
        self.opened_at = self.idle_since = now
        age = _lower(self._pool.settings.pool.max_age, self.plan.traits.max_age)
        if age is not None:
            self._old_at = now + age * self._pool.rng.uniform(_YOUNGEST, 1.0)
        dialled = self.plan.traits.opens_ahead  # else it connects when it is sent
        self._agenda.report(
            "connection.opened",
            connection=self.number,
            provider=self.plan.adapter.name,
            seconds=now - self.began if dialled else None,
            setup=now - self.dialled_at if dialled else None,
            parts=self.dial_parts,
        )
        self._pool.opened(self, now)
        self.opened_as = self._pool.counts.opened
        self.touch()

    def dial_failed(self, failure: DialFailure, now: float) -> None:
        counted = self.state is ConnectionState.DIALLING
        self._step(ConnectionInput.DIAL_FAILED)
        self._pool.gone(self)
        if counted:
            self._dial_error(self._verdict(failure, busy=False).error, now)

    def _dial_error(self, error: Error, now: float) -> None:
        error.provider = error.provider or self.plan.adapter.name
        error.phase = error.phase or "dial"
        self._agenda.report(
            "dial.failed",
            connection=self.number,
            provider=self.plan.adapter.name,
            error=type(error).__name__,
        )
        self._pool.lane_failed(self, error, now)

    def lost(self, fault: Closed | DialFailure | Error, now: float) -> None:
        ours = self.over
        was_coming = self.coming
        self._step(ConnectionInput.LOST)
        self._pool.gone(self)
        if ours:
            for gen in self.generations.values():
                self._returned(gen, now)
            self.generations.clear()
            return
        self._pool.counts.lost += self.opened_at is not None
        resting = all(gen.unseen and gen.rested for gen in self.generations.values())
        if self.opened_at is not None and resting and now >= self.opened_at + _VINTAGE:
            self._pool.aged(self, now, said=False)
        busy = bool(self.live)
        # Of a request, which connects by itself: else it comes by `dial_failed`.
        unsent = isinstance(fault, DialFailure) and fault.status is None and not fault.sent
        if isinstance(fault, Error):
            error = fault
        else:
            error = self._verdict(fault, busy).error
        if isinstance(fault, Closed) and fault.code in _CLEAN and busy:
            words = f"the connection was closed with code {fault.code} in the middle of a speech"
            error = TruncatedAudio(words, code=fault.code, reason=fault.reason[:200])
        self.plan.route.clean(error)
        self._report_closed(type(error).__name__)
        # A socket that dies before it did anything for us is a failed dial, whoever noticed: else a
        # prewarmed client with a bad key would dial for ever.
        soon = was_coming or (not self.proved and now < self.began + _SOON)
        if isinstance(fault, DialFailure):
            # One request's answer, which tells the next ones something about the key or the load;
            # that the request itself was wrong is nobody else's business.
            soon = isinstance(error, AuthError) or error.retryable
        granted = soon and self._pool.lane_failed(self, error, now)
        if not soon:
            self._pool.bereft(self.lane, now)
            if not resting:
                self._outage(error, now)
        for gen in list(self.generations.values()):
            # It crossed the end of a connection that had been lying idle: the request was not read.
            free = granted or (gen.unseen and gen.rested)
            self._drop(gen, error, now, free=free, unsent=unsent, bill=self.bill)

    def answered(self, headers: Mapping[str, str], now: float) -> None:
        self.heard_at = now
        self._wire.headers = headers

    def alive(self, now: float) -> None:
        self.heard_at = now

    def receive(self, data: bytes, text: bool, now: float) -> None:
        """Take one message from the wire."""
        self.heard_at = now
        if self.over:
            return
        adapter = self.plan.adapter
        try:
            decode = adapter.decode if text else adapter.decode_binary
            signals = tuple(decode(data, self._wire))
        except RemoteProtocolError as exc:
            self.plan.route.clean(exc)
            self._broken(exc, now)
            return
        except Exception as exc:
            error = RemoteProtocolError(f"a message could not be read ({type(exc).__name__})")
            error.__cause__ = exc
            error.add_note(f"raised at {place_of(exc)}")  # the traceback may have to go
            self.plan.route.clean(error)
            self._broken(error, now)
            return
        for signal in signals:
            if type(signal) is Audio:
                self._audio(signal, now)
            else:
                self._signal(signal, now)
            if self.over:
                return

    # --- signals ----------------------------------------------------------------------------------

    def _find(self, id: str | None) -> LiveGeneration | None:
        """Return whom a signal concerns: by its id, or the only one there can be."""
        if id is not None and self.plan.traits.ids:
            return self.generations.get(id)
        if len(self.generations) == 1:
            [gen] = self.generations.values()
            return gen
        return None

    def _audio(self, signal: Audio, now: float) -> None:
        gen = self._find(signal.id)
        if gen is None or gen.speech is None:
            self._unowned(signal.id, gen, now)
            return
        if not signal.data:
            gen.last_frame = now
            return
        if gen.first_audio_at is None:
            self._prove()
        if signal.segment is not None:
            gen.segments.setdefault(signal.segment, gen.speech.received)
        gen.speech.audio(gen, signal, now)
        gen.audio_came(now)
        if gen.due is not None and gen.state is GenerationState.FINISHING:
            self._release(gen, now)

    def _prove(self) -> None:
        """The provider did something for us here: a handshake alone says little."""
        if not self.proved:
            self.proved = True
            self._pool.lane_works(self.lane)
        self._pool.succeeded(self)

    def _outage(self, error: Error, now: float) -> None:
        """What somebody listened to has failed here, in the middle or before it began."""
        if live := self.live:
            began = max(gen.began for gen in live)
            self._pool.failed(self, error, began, now, up=True)

    def _unowned(self, id: str | None, gen: LiveGeneration | None, now: float) -> None:
        """Drop audio that nobody may hear; without ids it could poison the next speech."""
        self.dropped += 1
        if gen is not None:
            gen.last_frame = now
        if self.state is ConnectionState.BARRIER:
            return
        if self.plan.traits.ids and id is not None:
            return
        if self._acknowledged:
            self._pool.distrust(self, "audio came after the cancel was acknowledged", now)
        if self.live:
            self.doom("audio without an id among several", now)
        else:
            # With nobody to spare, and it counts: a server that greets like this is not redialled
            # at once for ever.
            self._broken(RemoteProtocolError("audio came that belongs to nobody"), now)

    def _signal(self, signal: Signal, now: float) -> None:
        match signal:
            case Ready():
                if self.state is ConnectionState.GREETING:
                    self._ready(now)
            case Marks(id=id):
                gen = self._find(id)
                if gen is not None and gen.speech is not None and gen.state in LIVE:
                    gen.last_frame = now
                    gen.unseen = False
                    gen.speech.marks_came(gen, signal)
            case InputEnd(id=id):
                self._input_end(self._find(id), now)
            case OutputEnd(id=id):
                self._output_end(self._find(id), now, released=self.plan.traits.ends_released)
            case Released(id=id, usage=usage):
                gen = self._find(id)
                if gen is not None and usage:
                    gen.payer.used(usage)
                self._output_end(gen, now, released=True)
            case CancelAck(id=id):
                self._acknowledge(self._find(id), now)
            case Failed():
                self._failed(signal, now)
            case Note(id=id):
                gen = None if id is None else self._find(id)
                if gen is not None:
                    gen.unseen = False

    def _input_end(self, gen: LiveGeneration | None, now: float) -> None:
        """
        The provider ended *gen* itself, for the source was silent.

        Text that is much younger than that silence has crossed it: it cannot have been taken, and
        is said again by the next generation. What becomes of it here nobody knows, nor of an end of
        ours that crossed theirs; so the next generation is not begun here.
        """
        if gen is None or gen.state not in LIVE:
            return
        gen.last_frame = now
        gen.unseen = False
        speech = gen.speech
        assert speech is not None, "a live generation has its speech"
        crossed = gen.ended
        if not gen.ended:
            gen.step(GenerationInput.END)
            gen.ended = True
            gen.owe(now)
        since = self._silent_since(now)
        if speech.spoke_after(since):
            crossed = True
            if not speech.recall(since):
                msg = "the provider ended the generation while text was on its way"
                self._drop(gen, RemoteProtocolError(msg), now)
        if crossed:
            self.doom("text crossed the provider's own end", now)

    def _silent_since(self, now: float) -> float:
        """Return when the last text was sent at the latest if the provider ends for want of it."""
        pause = self.plan.traits.source_pause
        return now if pause is None else now - _SURELY_SILENT * pause

    def _output_end(self, gen: LiveGeneration | None, now: float, *, released: bool) -> None:
        # Behind a barrier an end may cross the cancel on the wire; only the acknowledgement counts.
        if gen is None or self.state is ConnectionState.BARRIER:
            return
        self._prove()
        gen.last_frame = now
        gen.unseen = False
        if gen.state in LIVE:
            speech = gen.speech
            assert speech is not None, "a live generation has its speech"
            if not gen.ended and self.plan.traits.early_end is EarlyEnd.ERROR:
                msg = "the provider ended the generation before the text was over"
                self._broken(RemoteProtocolError(msg), now)
                return
            if not gen.ended and speech.spoke_after(self._silent_since(now)):
                msg = "the provider ended the generation, and not because text was missing"
                self._drop(gen, RemoteProtocolError(msg), now)
                self.doom("a generation ended too early", now)
                return
            gen.step(GenerationInput.OUTPUT_END)
            gen.speech = None
            if released:
                self._free(gen, GenerationInput.RELEASE, now)
            else:
                gen.due = now + self._pool.settings.timeouts.release
            speech.output_ended(gen, now)
        elif gen.state is GenerationState.MUTED:
            gen.step(GenerationInput.OUTPUT_END)
            if released:
                self._free(gen, GenerationInput.RELEASE, now)
        elif released:
            self._free(gen, GenerationInput.RELEASE, now)
        self.touch()

    def _release(self, gen: LiveGeneration, now: float) -> None:
        """Take the second step of a two-step end, once."""
        gen.due = None
        assert gen.speech is not None, "a live generation has its speech"
        if fault := self._tell(gen.speech.plan.adapter.release, gen, now, of=True):
            self._misspoke(gen, fault, now)

    def _acknowledge(self, gen: LiveGeneration | None, now: float) -> None:
        self._prove()
        if self.state is ConnectionState.BARRIER:
            self._step(ConnectionInput.ACKNOWLEDGE)
            self._barrier_due = None
            self.hurried = False
            self._acknowledged = True
            self.cooling_until = self._cool_due = now + _COOL_FOR
            if self._pool.trust(self.plan) is not Trust.EARNED:
                self._watched_until = now + _WATCH_FOR
            self._pool.acknowledged(self.plan)
            for muted in list(self.generations.values()):
                self._free(muted, GenerationInput.RELEASE, now)
        elif gen is not None and gen.state is GenerationState.MUTED:
            self._free(gen, GenerationInput.RELEASE, now)

    def _failed(self, signal: Failed, now: float) -> None:
        error = signal.error
        error.provider = error.provider or self.plan.adapter.name
        if self.state is ConnectionState.GREETING:
            self.plan.route.clean(error)
            self._hang_up(now)
            self._dial_error(error, now)
            return
        if self.state is ConnectionState.BARRIER:
            self._pool.distrust(self, "the cancel was answered with an error", now)
            self.doom("an error in place of an acknowledgement", now)
            return
        verdict = self._verdict(signal, bool(self.live))
        gen = self._find(signal.id)
        match verdict.scope:
            case Scope.NOTHING:
                self._agenda.report(
                    "provider.error",
                    connection=self.number,
                    provider=self.plan.adapter.name,
                    error=type(error).__name__,
                )
            case Scope.CONNECTION:
                self._broken(verdict.error, now)
            case Scope.AGE:
                # From a young one it is an error like any other, or it would be tried for ever.
                assert self.opened_at is not None, "it was greeted"
                self._broken(verdict.error, now, aged=now >= self.opened_at + _VINTAGE)
            case scope:
                if gen is not None:
                    if gen.state in LIVE:
                        self._pool.failed(self, verdict.error, gen.began, now, up=True)
                    self._drop(gen, verdict.error, now)
                if scope is Scope.TAINT:
                    self.doom("the provider reported an error", now)

    def _broken(self, error: Error, now: float, *, aged: bool = False) -> None:
        """Fail everything on this connection and hang up: nothing it says can be trusted."""
        self._report_closed(type(error).__name__)
        granted = aged
        if self.proved and not aged:
            self._outage(error, now)
        elif not aged:
            granted = self._pool.lane_failed(self, error, now)
        self._hang_up(now)
        if aged:
            self._pool.aged(self, now, said=True)
        for gen in list(self.generations.values()):
            self._drop(gen, error, now, free=granted, bill=self.bill)

    def _drop(
        self,
        gen: LiveGeneration,
        error: Error,
        now: float,
        *,
        free: bool = False,
        unsent: bool = False,
        bill: Bill | None = None,
    ) -> None:
        """*gen* is over without its end; if somebody still listens, tell the speech."""
        speech, gen.speech = gen.speech, None
        live = gen.state in LIVE
        self._free(gen, GenerationInput.DROP, now)
        if speech is not None and live:
            speech.generation_failed(error.copy(), now, free=free, unsent=unsent, bill=bill)

    def _free(self, gen: LiveGeneration, input: GenerationInput, now: float) -> None:
        """Forget *gen*: the provider, or the wire, is done with it."""
        gen.step(input)
        del self.generations[gen.id]
        self._returned(gen, now)
        self._pool.admission.ended(gen)
        self.changed()
        if not self.generations:
            self.idle_since = now
        if self.state is ConnectionState.OPEN and not self.plan.traits.reusable:
            self.doom("it serves once", now)
        self._empty(now)
        self.touch()

    def _returned(self, gen: LiveGeneration, now: float) -> None:
        counts = self._pool.counts
        counts.released += 1
        counts.returned_bad += self.state is not ConnectionState.OPEN
        counts.usage_seconds += now - gen.began

    def _empty(self, now: float) -> None:
        """DRAINING with nothing left on it is CLOSING."""
        if self.state is ConnectionState.DRAINING and not self.live:
            self._hang_up(now)

    # --- interruption, doom -----------------------------------------------------------------------

    def interrupt(self, gen: LiveGeneration, now: float) -> None:
        """
        Nobody listens to *gen* any more: apply the policy. The only place that does.

        What is sent, how late audio is told apart, and when the slot is free are three choices; see
        the traits.
        """
        gen.speech = None
        traits, policy = self.plan.traits, self._pool.policy(self.plan)
        gen.step(GenerationInput.MUTE)
        gen.due = None if policy is Interrupt.DISCARD else now + traits.acknowledgement
        self.touch()
        if policy is Interrupt.DISCARD:
            if traits.ids and self.live:
                # It lives on for its neighbours: what nobody hears need not be spoken, and billed.
                self._tell(self.plan.adapter.interrupt, gen, now)
            self.doom("interrupted", now)
        elif traits.ids:
            if self._tell(self.plan.adapter.interrupt, gen, now):
                self.doom("its adapter failed", now)
            elif traits.max_muted is not None and self.muted > traits.max_muted:
                self.doom("too many muted generations", now)
        elif self.state is ConnectionState.DRAINING:
            pass  # it has no next speech to keep clean for
        else:
            if self._tell(self.plan.adapter.interrupt, gen, now):
                self.doom("its adapter failed", now)
            else:
                self._step(ConnectionInput.HOLD)
                self._held_at, self._barrier_due = now, now + traits.acknowledgement
        self._empty(now)

    def _tell(
        self, verb: Callable[[_G], Iterable[Frame]], gen: _G, now: float, *, of: bool = False
    ) -> Exception | None:
        """
        Send what an adapter says, as one of the generation's own messages if *of* it.

        Returns:
            what it raised. That must not tear the Mux, and with it everybody else's speeches.
        """
        try:
            frames = list(verb(gen))
        except Exception as exc:
            self._adapter_failed(exc)
            return exc
        self.send(frames, now, gen if of and isinstance(gen, LiveGeneration) else None)
        return None

    def _misspoke(self, gen: LiveGeneration, fault: Exception, now: float) -> None:
        assert gen.speech is not None, "a live generation has its speech"
        gen.speech.misspoke(gen, fault, now)

    def _verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        try:
            verdict = self.plan.adapter.verdict(fault, busy)
        except Exception as exc:
            self._adapter_failed(exc)
            error = ConnectionLost(f"a failure could not be judged ({type(exc).__name__})")
            error.__cause__ = exc
            error.add_note(f"raised at {place_of(exc)}")
            verdict = Verdict(Scope.CONNECTION, error)
        # Only now: what an adapter looks for in the peer's words must not be masked.
        self.plan.route.clean(verdict.error)
        return verdict

    def _adapter_failed(self, exc: Exception) -> None:
        self._agenda.report(
            "adapter.fault",
            connection=self.number,
            provider=self.plan.adapter.name,
            error=type(exc).__name__,
        )

    def withdraw(self, gen: LiveGeneration, now: float) -> None:
        """Nothing was sent of *gen*: the provider does not know of it."""
        gen.speech = None
        self._free(gen, GenerationInput.DROP, now)

    def give_up(self, gen: LiveGeneration, now: float) -> None:
        """Nobody knows what the provider was told of *gen*: leave both behind."""
        gen.speech = None
        gen.step(GenerationInput.MUTE)
        self.doom("its adapter failed", now)

    def doom(self, reason: str, now: float) -> None:
        """Take nothing new, and hang up when the last live generation has ended."""
        if self.over or self.state is ConnectionState.DRAINING:
            self._empty(now)
            return
        self._agenda.report(
            "connection.doomed",
            connection=self.number,
            provider=self.plan.adapter.name,
            reason=reason,
        )
        if self.state is ConnectionState.OPEN and self.live:
            self._step(ConnectionInput.RETIRE)
        else:
            self._hang_up(now)

    def hang_up(self, now: float) -> None:
        """Close now, whatever is on it."""
        if not self.over:
            self._hang_up(now)

    def abandon(self) -> None:
        """Close now, whatever state things are in: the Mux was torn in mid-input."""
        self.state, self.over, self.lessee = ConnectionState.CLOSING, True, None
        self._agenda.do(HangUp(self, (), self._pool.settings.timeouts.close))

    def _hang_up(self, now: float) -> None:
        dialling = self.state is ConnectionState.DIALLING
        self._step(ConnectionInput.HANG_UP)
        frames: tuple[Frame, ...] = ()
        try:
            frames = () if dialling else tuple(self.plan.adapter.shutdown())
        except Exception as exc:
            self._adapter_failed(exc)
        self._agenda.do(HangUp(self, frames, self._pool.settings.timeouts.close))

    def _report_closed(self, error: str) -> None:
        self._agenda.report(
            "connection.closed",
            connection=self.number,
            provider=self.plan.adapter.name,
            error=error,
            served=self.served,
        )

    # --- clocks -----------------------------------------------------------------------------------

    def hurry(self, now: float) -> None:
        """A speech waits for this very place: cut the barrier short."""
        assert self.state is ConnectionState.BARRIER, "nothing else can be cut short"
        self.hurried = True
        self._barrier_due = self._held_at + min(_HURRY_AFTER, self.plan.traits.acknowledgement)
        if now >= self._barrier_due:
            self.doom("the cancel was not acknowledged", now)
        self.touch()

    def _clocks(self) -> list[float | None]:
        traits, timeouts = self.plan.traits, self._pool.settings.timeouts
        if self.coming:
            return [self._dial_due]
        if self.over:
            return []
        due = [self._barrier_due, self._watched_until, self._cool_due, self._retire_due()]
        if (pinged := self._pinged) is not None:
            due.append(pinged + timeouts.pong)
        elif traits.ping is not None:
            due.append(self.heard_at + traits.ping)
        if traits.connection_keepalive is not None:
            due.append(self._sent_at + traits.connection_keepalive)
        for gen in self.generations.values():
            due.append(gen.due)
            if gen.state is GenerationState.OPEN:
                due.append(gen.silent_at())
            if gen.owes and gen.state in LIVE:
                due.append(gen.stalled_at(timeouts.first_audio, timeouts.gap))
                due.append(self._doubtful_at(gen))
        return due

    def _doubtful_at(self, gen: LiveGeneration) -> float | None:
        """Return when to ask whether the wire is dead on which nothing comes for *gen*, once."""
        if self.plan.traits.ping is None or not gen.owes:
            return None
        if self.heard_at > gen.silent_since or gen.doubted == gen.silent_since:
            return None
        timeouts = self._pool.settings.timeouts
        return gen.stalled_at(timeouts.first_audio / 2, timeouts.gap / 2)

    def _pong_due(self) -> float | None:
        pinged = self._pinged
        return None if pinged is None else pinged + self._pool.settings.timeouts.pong

    @property
    def _pinged(self) -> float | None:
        """When the ping was sent that nothing has come back for."""
        unheard = self._pinged_at is not None and self.heard_at < self._pinged_at
        return self._pinged_at if unheard else None

    def _retire_due(self) -> float | None:
        """Return when it has been idle, or has lived, for long enough."""
        if self.state is not ConnectionState.OPEN or self.outdated:
            return None
        idle = _lower(self._pool.settings.pool.max_idle, self.plan.traits.max_idle)
        rests_until = None if idle is None or self.generations else self.idle_since + idle
        if rests_until is None or self._old_at is None:
            return self._old_at if rests_until is None else rests_until
        return min(self._old_at, rests_until)

    def deadline(self) -> float | None:
        found: float | None = None
        for due in self._clocks():
            if due is not None and (found is None or due < found):
                found = due
        return found

    def expire(self, now: float) -> None:
        if self.coming:
            timeout = self._pool.settings.timeouts.dial
            self._hang_up(now)
            self._dial_error(ConnectTimeout(f"not ready within {timeout:g} s"), now)
            return
        if _past(self._barrier_due, now):
            if not self.hurried or now >= self._held_at + self.plan.traits.acknowledgement:
                self._pool.distrust(self, "a cancel was not acknowledged in time", now)
            self.doom("the cancel was not acknowledged", now)
            return
        if _past(self._watched_until, now):
            self._watched_until = None
            self.changed()
        if _past(self._cool_due, now):
            self._cool_due = None
            self.changed()
            if self._acknowledged:
                self._pool.stayed_silent(self.plan)
        if _past(self._pong_due(), now):
            self._pinged_at = None
            self.heard_at = now
            self.doom("no answer to a ping", now)
        if _past(self._retire_due(), now):
            self._outdate(now)
        for gen in list(self.generations.values()):
            if not self.over:
                self._expire_generation(gen, now)
        if not self.over:
            self._keep_alive(now)
        self.touch()

    def _outdate(self, now: float) -> None:
        """Its time is up: now if it is busy, else once the pool has put another in its place."""
        if self.generations:
            self.doom("old", now)
        else:
            self.outdated = True
            self.changed()

    def _keep_alive(self, now: float) -> None:
        traits = self.plan.traits
        if traits.ping is not None and now >= self.heard_at + traits.ping:
            self.ping(now)
        interval = traits.connection_keepalive
        if interval is not None and now >= self._sent_at + interval:
            self._sent_at = now
            if self._tell(self.plan.adapter.keepalive, None, now):
                self.doom("its adapter failed", now)

    def ping(self, now: float) -> None:
        """Ask whether the wire is dead, if its provider bears that and was not asked yet."""
        if self.plan.traits.ping is not None and self._pinged is None:
            self._pinged_at = now
            # Not by `send`: to a provider that wants its own keepalive a ping is none.
            self._agenda.do(Send(self, [PING]))
            self.touch()

    def _expire_generation(self, gen: LiveGeneration, now: float) -> None:
        timeouts = self._pool.settings.timeouts
        if _past(gen.due, now):
            if gen.state is GenerationState.FINISHING:
                self._release(gen, now)
            else:
                gen.due = None
                self.doom("a slot was not released in time", now)
        if _past(gen.stalled_at(timeouts.first_audio, timeouts.gap), now):
            self._stalled(gen, now)
            return
        if _past(self._doubtful_at(gen), now):
            gen.doubted = gen.silent_since
            self._pool.doubt(self, gen.silent_since, now)
        if _past(gen.silent_at(), now):
            gen.last_sent = now
            alive = self.plan.traits.generation_keepalive is not None
            said = self.plan.adapter.keepalive if alive else lambda gen: gen.end(now)
            if fault := self._tell(said, gen, now, of=True):
                self._misspoke(gen, fault, now)

    def _stalled(self, gen: LiveGeneration, now: float) -> None:
        """The provider owes audio and does not give it: leave *gen* behind, and the connection."""
        speech = gen.speech
        assert speech is not None, "a live generation has its speech"
        timeouts = self._pool.settings.timeouts
        error: Error = (
            StallTimeout(f"the audio stopped for {timeouts.gap:g} s")
            if gen.heard_of
            else FirstAudioTimeout(f"no audio within {timeouts.first_audio:g} s")
        )
        gen.speech = None
        gen.step(GenerationInput.MUTE)
        gen.due = None
        self._pool.failed(self, error, gen.began, now, up=True)
        self.doom("the audio stopped", now)
        if self.heard_at <= gen.silent_since:
            # Not even a pong, or a word for a neighbour: the wire may be what is dead.
            self._pool.fell_silent(self, gen.silent_since, now)
        speech.generation_failed(error, now, bill=self.bill)

    def _step(self, input: ConnectionInput) -> None:
        self.state = states.step(CONNECTION, self.state, input)
        self.over = self.state in _OVER
        self.changed()


def _lower(ours: float | None, theirs: float | None) -> float | None:
    """Return the limit that comes first; a client's is for all its providers, whatever theirs."""
    if ours is None or theirs is None:
        return theirs if ours is None else ours
    return min(ours, theirs)


def _past(due: float | None, now: float) -> bool:
    return due is not None and now >= due
