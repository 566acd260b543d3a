"""
What a caller started: text in, audio out, one end.

A speech decides what becomes of its own text and audio: what is sent when, what a failure of its
generation means for it, when it is complete. On which connection it speaks is the pool's business,
what is on the wire the connection's.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from ..adapter import Audio, Flush, Frame, Input, Marks
from ..audio import AudioChunk, Mark, Resumed
from ..errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    Delivered,
    EmptyAudio,
    Error,
    InvalidFormat,
    InvalidText,
    LocalProtocolError,
    PoolTimeout,
    SlowConsumer,
    SpeechTimeout,
)
from ..settings import OnPartial
from ..text.cutting import speakable
from . import states
from .budget import Bill, unaffordable
from .effects import Agenda, Wake
from .explain import explain
from .ledger import AudioLedger, Interruption, TextLog
from .metrics import Metrics as Metrics
from .metrics import Timeline
from .resume import Cut, Passage, find_cut, is_whole, next_word
from .retry import backoff
from .route import Plan
from .states import SPEECH, GenerationState, SpeechInput, SpeechState
from .ways import Ways

if TYPE_CHECKING:
    from .generation import LiveGeneration
    from .pool import Pool

_NEEDS = (SpeechState.WAITING, SpeechState.SPEAKING)
"""The states in which a speech needs a connection."""
_PAUSE_AT, _RESUME_AT = 30.0, 15.0
"""Seconds of unread audio at which no more text is sent, and at which it goes on."""
_MIN_BUFFER, _MAX_BUFFER = 8 * 2**20, 256 * 2**20
_SECONDS_A_CHARACTER = 0.5
"""Far slower than anybody speaks: audio beyond it is not what the text can have caused."""
_ASKED = 1.0
"""
Seconds from which a wait is one that a provider asks for, as with Retry-After, which is in whole
seconds. Less is what an adapter knows, such as how soon a session of ours is closed, and no reason
to go to another voice.
"""
MAX_UNSENT = 64 * 1024
"""Characters that may wait to be sent before a feeder should pause."""


class End(enum.Enum):
    """What `read` returns when nothing more will come."""

    END = "end"


END: Final = End.END


class Speech:
    """One thing to say. Made by `Mux.speak`."""

    def __init__(
        self, number: int, plans: Sequence[Plan], pool: Pool, total: float | None, now: float
    ) -> None:
        self.number = number
        self.state = SpeechState.WAITING
        self.armed: float | None = None
        self.handle: object = None
        """The shell's to use."""
        self.fed = False
        """Whether a feeder writes the text."""
        self.plan = plans[0]
        self.generation: LiveGeneration | None = None
        self.error: BaseException | None = None
        self._ways = Ways(plans)
        self._pool = pool
        self._agenda: Agenda = pool.agenda
        self._log = TextLog(self.plan.cutter)
        self._ledger = AudioLedger(self.plan.options.format)
        self._buffer: deque[AudioChunk] = deque()
        self._ended = False
        self._paused = False
        self.reader_waits = False
        """
        Whether its reader was handed all that there is and will be woken for more. Who asks before
        `read` saves it where it has nothing to return.
        """
        self._feeder_waits = False
        self._interruption: Interruption | None = None
        self._tried = 0
        """Times that it failed since something of it was last spoken to its end."""
        self._free_tries = 0
        self.place = 0
        """In line: lower is earlier."""
        self.dials_counted = 0
        """Of those that its line has seen fail; what is missing is counted when it leaves."""
        self._failing_since = now
        """When it failed for the first time since there was audio."""
        self.bills: list[Bill] = []
        """For its retries since something of it was last spoken to its end."""
        self._resumes = 0
        """Times that it broke off after it was heard, and went on."""
        self._seam: tuple[Cut, float] | None = None
        """Where it goes on, and when the last came before; until there is audio again."""
        self._last_seam: tuple[Cut, float] | None = None
        self._collected = False
        """Whether all of it is gathered before any is played."""
        # Instants.
        self._began = now
        self._total = total
        self._total_due = None if total is None else now + total
        self.not_before = now
        self.waiting_since: float | None = None
        self._rationed_at = now
        """When it was last found to wait for its minute, under way already."""
        self._ended_at = now
        """When its last generation ended."""
        self._times = Timeline(self.plan.options.format, now)
        self._opened_before = pool.counts.opened
        self._attempts_made = 0
        self._going_well = False
        """Whether the next generation, if any, goes on where the last one ended."""
        self._characters = 0
        self._usage: dict[str, float] = {}

    def __repr__(self) -> str:
        unread = f"{self._ledger.unread:.2f} s unread"
        return f"<Speech {self.number} {self.plan.adapter.name} {self.state.name} {unread}>"

    # --- what the caller does ---------------------------------------------------------------------

    def write(self, piece: str, now: float) -> None:
        """
        Add text.

        Raises:
            LocalProtocolError: after `end`.
            InvalidText: the piece has a lone surrogate.
        """
        if not self._writable("write"):
            return
        idle = self._idle
        self._log.write(piece)
        self._text_came(idle, now)
        self.pump(now)

    def write_all(self, pieces: Sequence[str], now: float) -> None:
        """Add all text there is, and end; it is sent as one where it can be."""
        whole = len(pieces) == 1  # as nothing follows, it is cut when it has ended
        try:
            for piece in pieces:
                self._log.write(piece, cut=not whole)
        except InvalidText as error:
            self.fail(error, now)
            raise
        self.end(now)

    def flush(self, now: float) -> None:
        """Ask for the audio of all text so far, where the provider can."""
        if not self._writable("flush"):
            return
        idle = self._idle
        self._log.flush()
        self._text_came(idle, now)
        self.pump(now)

    def end(self, now: float) -> None:
        """Say that no more text comes. Ending twice is fine."""
        if self._ended or not self._writable("end"):
            return
        self._ended = True
        idle = self._idle
        self._log.end()
        self._text_came(idle, now)
        self.pump(now)

    def _writable(self, verb: str) -> bool:
        """Tell whether text still has a use; the other side may have ended the speech just now."""
        if self._ended:
            msg = f"cannot {verb}: speech {self.number} was ended"
            raise LocalProtocolError(msg, phase="speak")
        if self.state is SpeechState.FAILED:
            raise self._told()
        return self.state is not SpeechState.INTERRUPTED

    @property
    def _idle(self) -> bool:
        """Whether all text there is has been sent, or is held back."""
        return not self._log.sendable

    def _text_came(self, idle: bool, now: float) -> None:
        if idle and not self._idle:
            owed = self.generation is not None and self.generation.owes
            self._times.text_came(now, owed=owed)

    def room(self) -> bool:
        """Return whether a feeder should go on; if not, `Wake` says when to ask again."""
        # What is held back goes only when more text shows where it may be cut.
        if self.over or self._log.unsent <= MAX_UNSENT or not self._log.sendable:
            return True
        self._feeder_waits = True
        return False

    def interrupt(self, now: float) -> Interruption:
        """Stop. Nothing more is handed out; calling it again returns the same."""
        if self._interruption is None:
            received = self.state in (SpeechState.RECEIVED, SpeechState.COMPLETED)
            self._interruption = self._ledger.interruption(self._log, received)
            self._buffer.clear()
            if not self.over:
                self._step(SpeechInput.INTERRUPT)
                self._leave(now)
                heard = self._interruption.heard_seconds
                self._report("speech.interrupted", heard_seconds=heard, **self._summary(now))
        return self._interruption

    def fail(self, error: BaseException, now: float) -> None:
        """End with *error*, after the audio received so far."""
        if self.over:
            return
        self.error = error  # first: a speech that is FAILED says why, even if the step is torn here
        self._step(SpeechInput.FAIL)
        if isinstance(error, Error):
            error.provider = error.provider or self.plan.adapter.name
            error.phase = error.phase or "speak"
            error.attempt = self._attempts
            error.delivered = self._delivered()
        self._leave(now)
        self._report("speech.failed", error=type(error).__name__, **self._summary(now))

    def _delivered(self) -> Delivered:
        heard = self._ledger.interruption(self._log, all_received=False)
        seconds = self._ledger.read / self._ledger.byte_rate
        return Delivered(self._ledger.read, seconds, len(heard.heard_text))

    def _leave(self, now: float) -> None:
        """Let go of the seat or of the place in the queue, and tell whoever waits."""
        gen, self.generation = self.generation, None
        self._pool.forget(self, now)
        if gen is not None:
            if gen.heard_of:
                self._pool.spoke(self)
            gen.conn.interrupt(gen, now)
        self._wake()

    def collect(self) -> None:
        """Say that nothing of it is played before it is all there; in vain if some was read."""
        self._collected = self._collected or self._ledger.read == 0

    def collect_whole(self) -> None:
        """
        The same, where nothing may be missing at the beginning.

        Raises:
            LocalProtocolError: some of it was read.
        """
        # Who reads one that failed, or was interrupted, is told that.
        gone = self.state in (SpeechState.FAILED, SpeechState.INTERRUPTED)
        if self._ledger.read and not gone:
            msg = (
                f"cannot save: {self._ledger.read / self._byte_rate:.2f} s of the audio of speech "
                f"{self.number} were read already, and the file would lack them; call save() in "
                "place of reading, or write what you read to a file yourself"
            )
            raise LocalProtocolError(msg, phase="speak")
        self.collect()

    def played(self, seconds: float) -> None:
        """Say that *seconds* of the speech have reached the ear."""
        self._ledger.played = max(self._ledger.played or 0.0, seconds)

    @property
    def at_hand(self) -> int:
        """Return how many chunks can be read without a wait."""
        return len(self._buffer)

    def read(self, now: float) -> AudioChunk | End | None:
        """Return the next audio, None if there is none yet, or END; raise the speech's error."""
        if self._buffer:
            return self._hand_out(now)
        match self.state:
            case SpeechState.RECEIVED:
                self._step(SpeechInput.READ_OUT)
                self._report("speech.completed", **self._summary(now))
                return END
            case SpeechState.COMPLETED | SpeechState.INTERRUPTED:
                return END
            case SpeechState.FAILED:
                raise self._told()
        self.reader_waits = True
        return None

    def _told(self) -> BaseException:
        """Return what it failed with, to be raised."""
        assert self.error is not None, "a failed speech knows why"
        if isinstance(self.error, Error):
            self.error.delivered = self._delivered()  # some was handed out since it broke
        return self.error.with_traceback(None)  # not that of those who were told before

    def _hand_out(self, now: float) -> AudioChunk:
        chunk = self._buffer.popleft()
        self._ledger.read += len(chunk.data)
        if self._times.heard_at is None:
            self._times.heard_at = now
            times = self._times
            self._report("speech.first_audio", first_audio=times.first_audio, ttfa=times.ttfa)
        if self._paused and self._ledger.unread < _RESUME_AT:
            self._paused = False
            self.pump(now)
        self.reader_waits = not self._buffer and self.state in _NEEDS
        return chunk

    # --- text: from the log to the wire -----------------------------------------------------------

    @property
    def over(self) -> bool:
        return not SPEECH[self.state]

    def pump(self, now: float) -> None:
        """Send what may be sent; without a generation, ask for a seat if there is a need."""
        if self.over or self._paused:
            return
        gen = self.generation
        if gen is None:
            if self._log.sendable:
                if self._times.wanted_at is None:
                    self._times.wanted_at = now
                # Between two generations it comes first: what was begun is not kept waiting.
                self._pool.wait(self, now, again=self._times.seated_at is not None)
            elif self._ended and self.state is SpeechState.WAITING:
                self._step(SpeechInput.RECEIVE)
                self._times.received_at = now
                self._pool.forget(self, now)
                self._wake()
        elif gen.state is GenerationState.OPEN:
            self._say(gen, now)

    def seat(self, gen: LiveGeneration, now: float) -> None:
        """Begin to speak as *gen*."""
        self._step(SpeechInput.SEAT)
        self.generation = gen
        if not self._going_well:
            self._going_well = True
            self._attempts_made += 1
        gen.base = self._ledger.received
        if self._times.seated_at is None:
            self._times.seated(gen.conn, self._opened_before, now)
        self._times.begun(self._characters, now)
        self._say(gen, now, first=True)

    def _say(self, gen: LiveGeneration, now: float, *, first: bool = False) -> None:
        """Send what may go. An adapter that raises costs its own speech and connection only."""
        frames: list[Frame] = []
        opening = 0
        try:
            if first:
                frames += self.plan.adapter.open(gen)
                opening = len(frames)
            self._put_into_words(gen, frames, now)
        except InvalidText as error:
            # The text is at fault, not the adapter: it knows what it said, and the wire is fine.
            if first and len(frames) == opening:
                self.generation = None
                gen.conn.withdraw(gen, now)
            else:
                gen.conn.send(frames, now, gen)
            self.fail(error, now)
        except Exception as exc:
            self.misspoke(gen, exc, now)
        else:
            gen.conn.send(frames, now, gen)

    def misspoke(self, gen: LiveGeneration, exc: Exception, now: float) -> None:
        """Its adapter raised *exc* where it was to say something for *gen*."""
        self.generation = None
        gen.conn.give_up(gen, now)
        self.fail(exc if isinstance(exc, Error) else _misspoke(exc), now)

    def _put_into_words(self, gen: LiveGeneration, frames: list[Frame], now: float) -> None:
        """Take from the log what may go now, and add it to *frames* in the provider's words."""
        adapter, traits = self.plan.adapter, self.plan.traits
        while self._log.ready and gen.state is GenerationState.OPEN:
            piece = self._log.take(now)
            if piece is not None:
                frames += adapter.text(gen, piece)
                self._characters += len(piece)
                gen.fresh = gen.fresh or speakable(piece)
                if traits.input is Input.WHOLE:
                    frames += gen.end(now)
            elif gen.fresh:
                frames += self._flushed(gen, now)
        over = self._ended and not self._log.ready
        if over and gen.state is GenerationState.OPEN:
            frames += gen.end(now)
        if self._feeder_waits and self._log.unsent <= MAX_UNSENT:
            self._feeder_waits = False
            self._agenda.do(Wake(self.handle))

    def _flushed(self, gen: LiveGeneration, now: float) -> list[Frame]:
        """Ask for the audio of what was sent since the last flush."""
        match self.plan.traits.flush:
            case Flush.MESSAGE:
                gen.fresh = False
                gen.owe(now)
                return list(self.plan.adapter.flush(gen))
            case Flush.END:
                return gen.end(now)
        return []

    # --- audio: from the wire to the reader -------------------------------------------------------

    @property
    def _byte_rate(self) -> int:
        return self._ledger.byte_rate

    def audio(self, gen: LiveGeneration, signal: Audio, now: float) -> None:
        """Take audio of its current generation."""
        ledger = self._ledger
        if signal.rate is not None and signal.rate != ledger.format.rate:
            msg = f"asked for {ledger.format}, but the provider speaks at {signal.rate} Hz"
            self.fail(InvalidFormat(msg), now)
            return
        data = gen.aligner.feed(signal.data)
        if not data:
            return
        marks = ledger.fresh_marks() if ledger.marks else ()
        start = ledger.received / ledger.byte_rate
        if self._seam is None:
            self._buffer.append(AudioChunk(data, ledger.format, start, marks))
        else:
            self._buffer.append(AudioChunk(data, ledger.format, start, marks, self._sewn(now)))
        ledger.received += len(data)
        self._times.audio(data, now)
        if self.reader_waits:
            self._wake()
        if ledger.received - ledger.read > _PAUSE_AT * ledger.byte_rate:
            self._overfull(now)

    def _overfull(self, now: float) -> None:
        """Send no more text, and bear with the reader as far as the text explains the audio."""
        self._paused = True
        caused = int(self._characters * _SECONDS_A_CHARACTER * self._byte_rate)
        bound = min(_MAX_BUFFER, max(_MIN_BUFFER, caused))
        if self._ledger.received - self._ledger.read > bound:
            msg = f"{self._ledger.unread:.0f} s of audio were left unread; read it, or interrupt"
            self.fail(SlowConsumer(msg), now)

    def marks_came(self, gen: LiveGeneration, signal: Marks) -> None:
        segment = gen.segments.get(signal.segment or "", gen.base)
        self._ledger.add_marks(signal, gen.base, segment)

    @property
    def received(self) -> int:
        """Bytes of audio received so far."""
        return self._ledger.received

    @property
    def under_way(self) -> bool:
        """Whether some of it is spoken already."""
        return self._ledger.received > 0 or self._seam is not None

    @property
    def marks(self) -> tuple[Mark, ...]:
        return tuple(self._ledger.marks)

    def used(self, usage: Mapping[str, float]) -> None:
        """Take what the provider counted for one of its generations."""
        for name, amount in usage.items():
            self._usage[name] = self._usage.get(name, 0) + amount

    # --- how a generation can end -----------------------------------------------------------------

    def spoke_after(self, instant: float) -> bool:
        """Return whether text was sent after *instant*."""
        return self._log.sent_at > instant

    def recall(self, since: float) -> bool:
        """Have the next generation say what was sent after *since*; false if that is forgotten."""
        self._log.recall(since)
        return self._log.repeatable

    def output_ended(self, gen: LiveGeneration, now: float) -> None:
        """Take the end of its generation's audio."""
        if self._ledger.received == gen.base and self._log.speakable:
            msg = "the provider ended without any audio"
            self.generation_failed(EmptyAudio(msg), now)
            return
        self.generation = None
        self._pool.spoke(self)
        self._ended_at = now
        self._log.settle()
        self._tried = self._free_tries = 0
        if self._ended and not self._log.ready and not self._log.held:
            self._step(SpeechInput.RECEIVE)
            self._times.received_at = now
            self._wake()
        else:
            self._step(SpeechInput.UNSEAT)
            if gen.conn.leasable:
                self._pool.keep(self, gen.conn)
            else:
                self._pool.wait_for_text(self, now)
            self.pump(now)

    def generation_failed(
        self,
        error: Error,
        now: float,
        *,
        free: bool = False,
        unsent: bool = False,
        bill: Bill | None = None,
    ) -> None:
        """
        Its generation failed: begin it again if nobody heard any of it, else fail.

        Args:
            free: the attempt does not count: the request never reached the provider, or the key
                was old.
            unsent: nothing of it has left us.
            bill: what beginning again is paid with, if the same has failed other speeches too.
        """
        gen = self.generation
        assert gen is not None, "only the current generation of a speech fails it"
        if isinstance(error, ConnectionLost | SpeechTimeout) and self._all_came(gen):
            self.output_ended(gen, now)
            return
        self.generation = None
        self._going_well = False
        if unsent:
            self._characters = self._times.unreached()
        # Free attempts are bounded too: as many stale sockets as a pool can hold.
        free = free and self._free_tries < self._pool.settings.pool.max_size
        self._free_tries += free
        unheard = self._ledger.read <= gen.base
        repeatable = unheard and self._log.repeatable and (error.retryable or free)
        if gen.heard_of or not self._tried:
            self._failing_since = now
        self._tried += not free
        again = repeatable or (error.retryable and self._may_go_on)
        again = again and self._tried < self._most_tries(error) and self._bears(error, now)
        way: Plan | None = None
        if again and (refusal := self._pool.refuse(self.plan, now)) is not None:
            again, error = False, refusal
        elif again and (way := self._way_out(error, self._tried, now)) is not None:
            again = False
        elif again and not free and not self._pool.pays(self, error, bill or Bill()):
            again, error = False, unaffordable(error)
        if again and repeatable:
            self._withdraw(self._ledger.received - gen.base)
            self._times.undone(self._characters)
            self._step(SpeechInput.UNSEAT)
            self._log.repeat()
            self._retry(error, now, self._tried)
        elif again:
            self._step(SpeechInput.UNSEAT)
            self._break_off(gen, self.plan, now)
            if self._log.sendable:
                self._retry(error, now, max(1, self._tried))
            else:
                self._pool.wait_for_text(self, now)
                self.pump(now)  # if the text is over, so is the speech
        elif (way := way or self._next_way(error)) is not None:
            self._step(SpeechInput.UNSEAT)
            self._move(way, gen, error, now)
        else:
            self.fail(error, now)

    @property
    def _attempts(self) -> int:
        return self._attempts_made + len(self._pool.missed(self))

    @property
    def patience(self) -> int:
        """How many dials that it waits for may fail before it has something to decide."""
        policy = self._pool.settings.retry
        left = policy.attempts - self._tried
        if not self._ways.none_left:
            left = min(left, policy.switch_after - self._failures_here)
        return max(1, left)

    @property
    def _failures_here(self) -> int:
        """How often in a row its route has failed, as far as it knows."""
        # Those of before it came count: it need not find out anew.
        return max(self._tried, self._pool.failures(self.plan))

    def dials_failed(self, instants: Sequence[float]) -> None:
        """Connections that it waited for did not come about."""
        if instants and not self._tried:
            self._failing_since = instants[0]
        self._attempts_made += len(instants)
        self._tried += len(instants)
        self._times.dials_failed(instants)

    def dial_failed(self, error: Error, now: float) -> None:
        """It has waited for as many dials as it bears; the last one has failed with *error*."""
        if self._tried >= self._pool.settings.retry.attempts:
            self.turned_away(error, now)
        elif (way := self._way_out(error, self._failures_here, now)) is not None:
            self._pool.denied(self)
            self._move(way, None, error, now)
        # Else the pool dials again when its own backoff is over.

    def given_up(self, error: Error, now: float) -> None:
        """Nothing is dialled for it any more."""
        self.dials_failed([now])
        self.turned_away(error, now)

    def put_off(self, error: Error, until: float, now: float, *, in_vain: bool) -> bool:
        """
        Nothing is dialled for it before *until*: its provider has asked for that with *error*.

        Args:
            in_vain: whether others have waited so for long, and nobody was served.

        Returns:
            whether it does not wait, for it goes elsewhere, or would be too late.
        """
        asked, error = error.retry_after, error.copy()
        error.retry_after = until - now
        if (way := self._elsewhere(error, asked, now)) is not None:
            self._pool.denied(self)
            self._move(way, None, error, now)
            return True
        due, since = self.deadline(), now if self.waiting_since is None else self.waiting_since
        patience = since + self._pool.settings.pool.acquire_timeout
        if not in_vain and until < (patience if due is None else min(due, patience)):
            return False
        self.turned_away(error, now)
        return True

    def discouraged(self, error: Error, now: float) -> None:
        """Nothing is dialled for it for a moment: dials have failed for a while, with *error*."""
        if (way := self._next_way(error, lambda way: self._pool.ready(way, now))) is not None:
            self._pool.denied(self)
            self._move(way, None, error, now)

    def turned_away(self, error: Error, now: float) -> None:
        """There is nothing to wait for on its route; *error* may be what others are told, too."""
        error = error.copy()
        self._pool.denied(self)
        if (way := self._next_way(error)) is not None:
            self._move(way, None, error, now)
        else:
            self.fail(error, now)

    def _most_tries(self, error: Error) -> int:
        """Return how often it is tried; less where its own text may be what is wrong."""
        policy = self._pool.settings.retry
        its_own = isinstance(error, EmptyAudio)
        return min(policy.attempts, policy.switch_after) if its_own else policy.attempts

    def _bears(self, error: Error, now: float) -> bool:
        """Return whether it goes on, for as long as the provider asks to be left alone at least."""
        wait, most = error.retry_after or 0.0, self._pool.settings.pool.acquire_timeout
        in_time = self._total_due is None or now + wait < self._total_due
        return in_time and wait < most and now < self._failing_since + most

    def _way_out(self, error: Error, failures: int, now: float) -> Plan | None:
        """Return where it goes although it might be tried again on its route, if anywhere."""
        if failures >= self._pool.settings.retry.switch_after:
            return self._next_way(error)
        return self._elsewhere(error, error.retry_after, now)

    def _elsewhere(self, error: Error, asked: float | None, now: float) -> Plan | None:
        """Return where it goes instead of waiting for as long as it was *asked* to, if anywhere."""
        if asked is None or asked < _ASKED:
            return None
        return self._next_way(error, lambda way: self._pool.ready(way, now))

    def _all_came(self, gen: LiveGeneration) -> bool:
        """Return whether the marks prove that all audio of *gen* is here, without its end."""
        ended = gen.ended and not self._log.forgotten
        return ended and bool(self._ledger.marks) and is_whole(self._passage(gen))

    def _withdraw(self, size: int) -> None:
        """Drop the last *size* bytes received, which nobody has read."""
        self._paused = False
        left, carried = size, 0
        while left > 0:
            chunk = self._buffer.pop()
            left -= len(chunk.data)
            if left < 0:
                rest = chunk.data[:-left]
                self._buffer.append(
                    AudioChunk(rest, chunk.format, chunk.start, chunk.marks, chunk.resumed)
                )
                break
            carried += len(chunk.marks)
            if chunk.resumed is not None:
                self._seam = self._last_seam  # the next audio is the first after it
        self._ledger.withdraw(size, carried)

    def _retry(self, error: Error, now: float, failures: int) -> None:
        policy, asked = self._pool.settings.retry, error.retry_after
        if failures:
            self.not_before = now + backoff(policy, failures, self._pool.rng, asked)
        else:
            self.not_before = now + (asked or 0.0)
        self._report("speech.retried", error=type(error).__name__, attempt=self._attempts_made)
        self._pool.wait(self, now, again=True)

    # --- after the first audio --------------------------------------------------------------------

    @property
    def _may_go_on(self) -> bool:
        """Return whether it may go on, or begin again, although some of it was heard."""
        policy = self._pool.settings.retry
        if self._log.forgotten or (self._seam is None and self._resumes >= policy.resumes):
            return False
        match policy.on_partial:
            case OnPartial.RESUME:
                return True
            case OnPartial.RESTART:
                return self._collected or self._ledger.played == 0.0
        return False

    def _break_off(self, gen: LiveGeneration | None, plan: Plan, now: float) -> None:
        """Decide where to go on, by the rules of *plan*, and drop what comes again."""
        policy = self._pool.settings.retry.on_partial
        last = self._ended_at if gen is None else gen.last_frame
        if policy is OnPartial.RESTART:
            cut = Cut(0, 0, approximate=False)
            self._drop_all(plan)
        else:
            cut = self._find_cut(gen)
            back = self._ledger.received - cut.keep
            self._withdraw(back)
            self._times.cut_back(back, self._characters - cut.at)
            self._ledger.seams.append((cut.keep / self._byte_rate, cut.at))
        if self._seam is None:
            self._resumes += 1
        else:
            # Nothing came since it broke off before: that is one break, of which this is the end.
            before, last = self._seam
            cut = msgspec.structs.replace(cut, approximate=cut.approximate or before.approximate)
        self._seam = self._last_seam = (cut, last)
        self._log.restart(plan.cutter, self._ended, at=cut.at)
        self._report("speech.resumed", policy=policy.value, approximate=cut.approximate)

    def _drop_all(self, plan: Plan) -> None:
        """Drop all audio, for it comes again by *plan*, and keep what has become of it."""
        if any(chunk.resumed is not None for chunk in self._buffer):
            self._seam = self._last_seam  # nobody was told
        self._buffer.clear()
        played, self._ledger = self._ledger.played, AudioLedger(plan.options.format)
        self._ledger.played = played
        self._times.restarted(plan.options.format, self._characters)
        self._paused = False

    def _find_cut(self, gen: LiveGeneration | None) -> Cut:
        if gen is not None:
            return find_cut(self._passage(gen))
        # Between two generations: the next one begins where the text goes on.
        approximate = self._seam is not None and self._seam[0].approximate
        at = next_word(self._log.text, self._log.begun)
        return Cut(at, self._ledger.received, approximate)

    def _passage(self, gen: LiveGeneration) -> Passage:
        return Passage(
            text=self._log.text,
            begin=self._log.begun,
            end=self._log.said,
            base=gen.base,
            read=self._ledger.read,
            received=self._ledger.received,
            format=self._ledger.format,
            marks=self._ledger.marks,
            markup=self.plan.traits.markup,
        )

    def _sewn(self, now: float) -> Resumed:
        """Return what the first audio after a break is handed out with."""
        assert self._seam is not None, "it broke off"
        (cut, last), self._seam = self._seam, None
        return Resumed(cut.at, now - last, cut.approximate)

    # --- from one route to the next ---------------------------------------------------------------

    def _next_way(self, error: Error, ready: Callable[[Plan], bool] | None = None) -> Plan | None:
        """Return the route to go to; if it goes on, not begins anew, one of the same voice."""
        heard = self._ledger.read > 0
        if self._log.forgotten or (heard and not self._may_go_on):
            return None
        anew = self._pool.settings.retry.on_partial is OnPartial.RESTART
        return self._ways.next(self.plan, error, same_voice=heard and not anew, ready=ready)

    def _move(self, way: Plan, gen: LiveGeneration | None, error: Error, now: float) -> None:
        """Go to the next route, and say everything there from the beginning if nobody heard any."""
        self._pool.forget(self, now)
        if self._ledger.read > 0:
            self._break_off(gen, way, now)
        else:
            self._log.restart(way.cutter, self._ended)
            self._drop_all(way)
        self.plan = way
        self._tried = 0
        self.bills.clear()
        self.not_before = now
        self._report("speech.rerouted", error=type(error).__name__)
        self._pool.wait_for_text(self, now)
        self.pump(now)

    # --- clocks -----------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        if self.over or self.state is SpeechState.RECEIVED:
            return None
        due = [] if self._total_due is None else [self._total_due]
        if self.waiting_since is not None:
            since = max(self.waiting_since, self._rationed_at)
            due.append(since + self._pool.settings.pool.acquire_timeout)
        return min(due, default=None)

    def expire(self, now: float) -> None:
        if self._total_due is not None and now >= self._total_due:
            self.fail(DeadlineExceeded(f"not done within the {self._total:g} s allowed"), now)
            return
        if self.under_way and self._pool.rations(self, now):
            self._rationed_at = now  # what was begun does not end for a limit of ours
            return
        # Dials that fail slowly take up all of that time before they are given up.
        reason = self._pool.last_error(self.plan) or self._out_of_patience()
        if (way := self._next_way(reason)) is not None:
            self._move(way, None, reason, now)
            return
        self._pool.counts.timeouts += 1
        self.fail(self._out_of_patience(), now)

    def _out_of_patience(self) -> PoolTimeout:
        """Return what it is told that has waited for a seat for long enough."""
        timeout, bound = self._pool.settings.pool.acquire_timeout, self._pool.bound(self)
        msg = f"no seat became free within {timeout:g} s"
        msg += f"; the limit that kept it waiting: {bound}" if bound else ""
        return PoolTimeout(f"{msg} ({self._pool.summary(self.plan)})", phase="acquire")

    # --- small things -----------------------------------------------------------------------------

    def metrics(self, now: float | None = None) -> Metrics:
        """Say what it took; until *now*, if it still goes on."""
        times, delivered = self._times, self._delivered_characters()
        return Metrics(
            first_audio=times.first_audio,
            ttfa=times.ttfa,
            acquire=times.acquire,
            queue=times.queue,
            failed_dials=times.failed_dials,
            connect=times.connect,
            setup=times.setup,
            dial_parts=dict(times.parts),
            connection_reused=times.reused,
            text_wait=times.text_wait + (0.0 if now is None else self._pausing(now)),
            leading_silence=times.leading_silence,
            gaps=times.gaps,
            gap_seconds=times.gap_seconds,
            longest_gap=times.longest_gap,
            total=times.total,
            attempts=self._attempts,
            audio_seconds=self._ledger.read / self._byte_rate,
            audio_bytes=self._ledger.read,
            characters=self._characters,
            route=type(self.plan.adapter).__name__,
            resumed=self._resumes,
            characters_delivered=delivered,
            characters_wasted=self._characters - delivered if self.over else times.wasted,
            usage=dict(self._usage),
        )

    def _delivered_characters(self) -> int:
        """Return how many of the characters sent were heard; some may have been sent twice."""
        log, most = self._log, self._characters - self._times.wasted
        if self.state is SpeechState.COMPLETED:
            return most
        found = self._interruption or self._ledger.interruption(log, all_received=False)
        if found.heard_text and not found.unspoken_text:
            return most  # as it was sent: a join may have added a space, and a cut left one out
        heard = len(found.heard_text)
        heard += log.forgotten if heard else 0
        return min(heard, most)

    def explain(self, now: float) -> str:
        """Say where the time went."""
        self._times.dials_failed(self._pool.missed(self))
        name = f"speech {self.number} on {self.plan.adapter.name}"
        state = self.state.value
        if self.error is not None:
            state += f" ({type(self.error).__name__})"  # its words may be long, and are elsewhere
        pausing = self._pausing(now)
        return explain(name, state, self._times, self.metrics(now), pausing, now)

    def _pausing(self, now: float) -> float:
        """Return for how long it has missed text that is yet to come."""
        owed = self.generation is not None and self.generation.owes
        if self.over or self._ended or owed or not self._idle:
            return 0.0
        return self._times.pausing(now)

    def _summary(self, now: float) -> dict[str, object]:
        """Return what the log has of a speech that ends *now*."""
        times = self._times
        times.ended_at = now
        return {
            "seconds": times.total,
            "attempts": self._attempts,
            "queue": times.queue,
            "failed_dials": times.failed_dials,
            "connect": times.connect,
            "first_audio": times.first_audio,
            "ttfa": times.ttfa,
            "text_wait": times.text_wait,
            "audio_seconds": self._ledger.read / self._byte_rate,
            "gaps": times.gaps,
            "gap_seconds": times.gap_seconds,
            "characters": self._characters,
        }

    def _step(self, input: SpeechInput) -> None:
        self.state = states.step(SPEECH, self.state, input)
        if self.state not in _NEEDS:
            self._pool.received(self)
        if self.over:
            self._pool.dismiss(self)
            if self.fed:
                self._feeder_waits = True
                self._wake()

    def abandon(self, error: Error) -> None:
        """Fail at once, whatever state things are in: the Mux was torn in mid-input."""
        if not self.over:
            self.state, self.error, self.generation = SpeechState.FAILED, error, None
            self._report("speech.failed", error=type(error).__name__)
            self.reader_waits = self._feeder_waits = True
            self._wake()

    def _wake(self) -> None:
        """Tell a reader or a feeder that waits; each asks again before it waits again."""
        if self.reader_waits or self._feeder_waits:
            self.reader_waits = self._feeder_waits = False
            self._agenda.effects.append(Wake(self.handle))

    def _report(self, name: str, **fields: object) -> None:
        self._agenda.report(name, speech=self.number, provider=self.plan.adapter.name, **fields)


def _misspoke(exc: Exception) -> Error:
    """Return what an adapter's own fault is to the speech that it happened to."""
    msg = f"the adapter could not say this in its provider's words ({type(exc).__name__}: {exc})"
    error = ConfigError(msg, phase="speak")
    error.__cause__ = exc
    return error
