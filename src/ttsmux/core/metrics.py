"""
What a speech took: the instants that matter, and what follows from them.

A `Timeline` is told what happened and when; nothing here reads a clock, decides anything or holds
text. What comes once a chunk costs the same however long the speech is. `Metrics` is what a caller
is given of it; `explain` draws both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import unpack_from
from typing import TYPE_CHECKING

import attrs

from ..audio import AudioFormat

if TYPE_CHECKING:
    from .connection import Connection

_NOTICEABLE = 0.001
"""Seconds without audio that count as a gap; less is the grain of clocks."""
_SILENT = 104
"""The loudest 16-bit sample that is near-silence: -50 dB of full scale."""
_LOOK_FOR = 10.0
"""Seconds of silence at the start after which nobody looks for its end any more."""
_BLOCK = 240
"""Samples that are looked at together; where one is loud, they are looked at one by one."""
NO_PARTS: Mapping[str, float] = {}
_QUEUE, _FAILED = "queue", "failed dials"
IN_LINE = (_QUEUE, _FAILED)
DIAL, REQUEST = "dial", "request"


@attrs.frozen(kw_only=True)
class Metrics:
    """
    What a speech took. Times are seconds, None where it did not come to that.

    Attributes:
        first_audio: from `speak()` to the first audio in the caller's hand, whatever that took: the
            text, a connection, the provider. Where the text was there, what a listener waited.
        ttfa: of that, from the first text sent. What was waited for a connection is not in it.
        acquire: from the first sendable text to a seat on a connection; or to the end of the
            speech, if it never got one.
        queue: of that, what was spent neither on dials nor on what comes of failed ones: others
            were served.
        failed_dials: of that, the wait for dials that failed and, after these, until the provider
            was to be asked again, such as for its ``Retry-After``.
        connect: the dial of the connection it got, until that was ready; 0.0 where that was open
            already. None over HTTP, where a request connects by itself: that is in `ttfa`.
        setup: of that, from the wire being up to the provider's word that it is ready.
        dial_parts: of that, what the wire tells: ``key`` (a callable was asked), ``dns``, ``tcp``,
            ``proxy``, ``tls``, ``upgrade``. Empty for a connection that was open already; over HTTP
            there is ``key`` alone.
        connection_reused: whether the connection was open before `speak()`.
        text_wait: how long there was nothing to say and nothing left to play: from `speak()` to the
            first sendable text, and each time that the audio so far had played out before the next
            text came; the one under way included. At least that: a provider that wants more text
            before it speaks does not say so.
        leading_silence: near-silence (below -50 dB) at the start of the audio, of which ten seconds
            are looked at; None for what is not PCM.
        gaps: how often somebody who plays the audio as it comes would have run dry, for a
            millisecond or more.
        gap_seconds: all of these together.
        longest_gap: the longest of them.
        total: from `speak()` to the end of the speech; None until then.
        attempts: 1, and one more for each time that it was begun again, and for each dial that
            failed while it waited. Sentences that are generations of their own do not count.
        audio_seconds: audio handed out.
        audio_bytes: the same in bytes.
        characters: of text sent, those of repeated attempts included; not those of an HTTP request
            for which no connection came about.
        characters_delivered: of these, those whose audio counts as heard; where the provider gives
            no times of words, an estimate while the speech is incomplete.
        characters_wasted: of these, those that were sent and not heard: by attempts that failed,
            and the rest of a speech that was interrupted or failed.
        route: who spoke, or was to: the adapter's class, such as ``XAI``, or ``XAIRest`` where it
            went over HTTP.
        resumed: times that it broke off after it was heard, and went on or began again.
        usage: what the provider says that it counted, by its own names, all generations together.
            It comes with the release of a generation, which may be after the last audio or after
            an interruption: so it may be empty when the audio ends, and stays so where the
            provider says nothing, or the connection is hung up first.
    """

    first_audio: float | None
    ttfa: float | None
    acquire: float | None
    queue: float | None
    failed_dials: float | None
    connect: float | None
    setup: float | None
    dial_parts: Mapping[str, float] = attrs.field(hash=False)
    connection_reused: bool
    text_wait: float
    leading_silence: float | None
    gaps: int
    gap_seconds: float
    longest_gap: float
    total: float | None
    attempts: int
    audio_seconds: float
    audio_bytes: int
    characters: int
    characters_delivered: int
    characters_wasted: int
    route: str
    resumed: int
    usage: Mapping[str, float] = attrs.field(hash=False)


@attrs.frozen
class Phase:
    """A part of the time since `speak()`, in seconds after it. Each begins where one ends."""

    name: str
    begin: float
    end: float
    heard: bool
    """Whether it lies after the first audio that was handed out."""

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Timeline:
    """When what happened to one speech."""

    __slots__ = (
        "_before", "_byte_rate", "_dry_at", "_fed_at", "_mute", "_pcm", "_reached", "_silence",
        "_silent", "arrived_at",
        "began", "by_itself", "dial", "ended_at", "failed_at", "gap_seconds", "gaps", "heard_at",
        "longest_gap", "parts", "received_at", "reused", "seated_at", "text_wait", "tried_at",
        "wanted_at", "wasted",
    )  # fmt: skip

    def __init__(self, format: AudioFormat, now: float) -> None:
        self.began = now
        self.wanted_at: float | None = None
        """When there was something to send at last."""
        self.failed_at: float | None = None
        """When the last of the dials failed that it waited for before it got a seat."""
        self.seated_at: float | None = None
        """When it got its first seat, and the first text was sent."""
        self.reused = False
        """Whether that was on a connection which was open before."""
        self.dial: tuple[float, float, float] | None = None
        """When the dial of that connection began, was up, and was ready."""
        self.by_itself = False
        """Whether that was a request, which connects when it is sent: no dial at all."""
        self.parts = NO_PARTS
        """Of that dial, each with its seconds."""
        self.tried_at: float | None = None
        """When the last attempt began, before any audio came."""
        self.arrived_at: float | None = None
        """When the first audio came."""
        self.heard_at: float | None = None
        """When the first audio was handed out."""
        self.received_at: float | None = None
        """When all audio was here."""
        self.ended_at: float | None = None
        self.text_wait = 0.0
        self.gaps = 0
        self.gap_seconds = 0.0
        self.longest_gap = 0.0
        self.wasted = 0
        """Characters sent by attempts that came to nothing."""
        self._fed_at: float | None = None
        """When there was something to send again."""
        self._dry_at = now
        """When somebody who plays the audio as it comes has played all of it."""
        self._mute = True
        """Whether nothing has come of the audio that counts."""
        self._reached = True
        """Whether the last generation was sent, as far as is known."""
        self._silence = 0
        """Bytes of near-silence at the start."""
        self._silent = True
        """Whether nothing but that has come."""
        self._before: _Before | None = None
        """What was true when its last generation began."""
        self._speak_as(format)

    def _speak_as(self, format: AudioFormat) -> None:
        self._byte_rate = format.byte_rate
        self._pcm = format.encoding == "pcm"

    # --- facts ------------------------------------------------------------------------------------

    def text_came(self, now: float, *, owed: bool) -> None:
        """
        There is something to send, and was nothing before.

        With *owed* the provider owes audio for what it has: it is not the text that is waited for.
        """
        if not owed:
            # Since the audio ran out, or since `speak()`, the provider was told nothing to say.
            self.text_wait += self.pausing(now)
        self._fed_at = now

    def dials_failed(self, instants: Sequence[float]) -> None:
        """Dials that it waits for have failed."""
        if instants and self.seated_at is None:
            self.failed_at = instants[-1]

    def seated(self, conn: Connection, opened_before: int, now: float) -> None:
        """It has its first seat; when it was made, *opened_before* connections had come up."""
        assert conn.dialled_at is not None and conn.opened_at is not None, "seats are on open ones"
        self.seated_at = now
        self.reused = conn.opened_as <= opened_before
        if not self.reused:
            self.dial = conn.began, conn.dialled_at, conn.opened_at
            self.by_itself = not conn.plan.traits.opens_ahead
            self.parts = conn.dial_parts

    def begun(self, characters: int, now: float) -> None:
        """A generation begins; those before it were sent *characters*."""
        played = self.gaps, self.gap_seconds, self.longest_gap
        heard = self._dry_at, self.arrived_at, self._mute, self._silence, self._silent
        self._before = characters, played, heard
        self._reached = True
        if self.arrived_at is None:
            self.tried_at = now

    def audio(self, data: bytes, now: float) -> None:
        """Take audio that has come: once a chunk."""
        dry = self._dry_at
        if self._mute:
            self._mute, dry = False, now
            self.arrived_at = now if self.arrived_at is None else self.arrived_at
        elif now > dry:
            if now >= dry + _NOTICEABLE:
                self._gap(now - dry)
            dry = now
        self._dry_at = dry + len(data) / self._byte_rate
        if self._silent:
            self._listen(data)

    def _gap(self, seconds: float) -> None:
        self.gaps += 1
        self.gap_seconds += seconds
        self.longest_gap = max(self.longest_gap, seconds)

    def _listen(self, data: bytes) -> None:
        """Look for the first sound."""
        quiet = _silence(data) if self._pcm else 0
        self._silence += quiet
        limit = int(_LOOK_FOR * self._byte_rate)
        self._silent = quiet == len(data) and self._silence < limit
        self._silence = min(self._silence, limit)

    def undone(self, characters: int) -> None:
        """The last generation failed, and nothing of it is heard; in all *characters* were sent."""
        assert self._before is not None, "who has failed has begun"
        before, played, heard = self._before
        self.wasted += characters - before
        self.gaps, self.gap_seconds, self.longest_gap = played
        self._dry_at, self.arrived_at, self._mute, self._silence, self._silent = heard

    def unreached(self) -> int:
        """The last generation was not sent after all; return the characters sent before it."""
        assert self._before is not None, "who has failed has begun"
        self._reached = False
        return self._before[0]

    def cut_back(self, size: int, characters: int) -> None:
        """Its last *size* bytes of audio are dropped; in all *characters* were sent in vain."""
        self.wasted = max(self.wasted, characters)
        self._dry_at -= size / self._byte_rate

    def restarted(self, format: AudioFormat, characters: int) -> None:
        """All begins again elsewhere; *characters* were sent for nothing."""
        self.wasted = characters
        self.gaps, self.gap_seconds, self.longest_gap = 0, 0.0, 0.0
        self._dry_at, self._mute, self._silence, self._silent = self.began, True, 0, True
        if self.heard_at is None:
            self.arrived_at = None  # else what the caller had in hand has come all the same
        self._speak_as(format)

    # --- what follows -----------------------------------------------------------------------------

    @property
    def first_audio(self) -> float | None:
        return _between(self.began, self.heard_at)

    @property
    def ttfa(self) -> float | None:
        return _between(self.seated_at, self.heard_at)

    @property
    def acquire(self) -> float | None:
        return _between(self.wanted_at, self._waited_until)

    @property
    def queue(self) -> float | None:
        """Seconds that it waited for a seat, and not for a dial."""
        return self._waited(_QUEUE)

    @property
    def failed_dials(self) -> float | None:
        return self._waited(_FAILED)

    def _waited(self, what: str) -> float | None:
        until = self._waited_until
        if self.wanted_at is None or until is None:
            return None
        if self.failed_at is None and self.dial is None:  # nothing was dialled that it waited for
            waited = until - self.began - (self.wanted_at - self.began)
            return waited if what == _QUEUE else 0.0
        return sum((phase.seconds for phase in self.phases(until) if phase.name == what), 0.0)

    @property
    def _waited_until(self) -> float | None:
        """When it got a seat, or left without one."""
        return self.ended_at if self.seated_at is None else self.seated_at

    @property
    def connect(self) -> float | None:
        if self.dial is None:
            return None if self.seated_at is None else 0.0
        return None if self.by_itself else self.dial[2] - self.dial[0]

    @property
    def setup(self) -> float | None:
        if self.dial is None:
            return None if self.seated_at is None else 0.0
        return None if self.by_itself else self.dial[2] - self.dial[1]

    @property
    def dialled_early(self) -> float:
        """Seconds of the dial that lay before there was anything to send, and kept nobody."""
        if self.dial is None or self.wanted_at is None:
            return 0.0
        began, _, ready = self.dial
        return max(0.0, min(self.wanted_at, ready) - began)

    @property
    def leading_silence(self) -> float | None:
        if not self._pcm or self._mute:
            return None
        return self._silence / self._byte_rate

    def pausing(self, now: float) -> float:
        """Return for how long text has been missed; who asks knows that there is none to send."""
        fed = self._fed_at
        missed = fed is None or fed < self._dry_at < now
        return now - self._dry_at if missed else 0.0

    @property
    def total(self) -> float | None:
        return _between(self.began, self.ended_at)

    def phases(self, now: float) -> Sequence[Phase]:
        """Return what the time went for, from `speak()` to its end, or to *now* before that."""
        whole = (now if self.ended_at is None else min(now, self.ended_at)) - self.began
        at = 0.0
        phases = []
        for name, until, heard in self._ends():
            end = whole if until is None else min(max(until - self.began, at), whole)
            phases.append(Phase(name, at, end, heard))
            at = end
            if until is None:
                break
        return phases

    def _ends(self) -> Sequence[tuple[str, float | None, bool]]:
        """Return when each phase ended, None if it has not: no phase comes after that one."""
        ends: list[tuple[str, float | None, bool]] = [("text", self.wanted_at, False)]
        if self.wanted_at is not None and self.failed_at is not None:
            # What the dial that worked took is not shown as one that failed beside it; what there
            # was to wait until it began is.
            until = self.failed_at if self.dial is None else self.dial[0]
            ends.append((_FAILED, None if self.seated_at is None else until, False))
        if self.dial is not None:
            began, up, ready = self.dial
            ends.append((_QUEUE, began, False))
            if self.by_itself:
                ends.append((REQUEST, ready, False))
            else:
                ends += [(DIAL, up, False), ("setup", ready, False)]
        ends.append((_QUEUE, self.seated_at, False))
        if not self._reached and self.arrived_at is None:
            return [*ends, ("retries", None, False)]
        if self.tried_at != self.seated_at:
            ends.append(("retries", self.tried_at, False))
        ends += [("provider", self.arrived_at, False), ("pick-up", self.heard_at, False)]
        return [*ends, ("streaming", self.received_at, True), ("reading", self.ended_at, True)]


_Before = tuple[int, tuple[int, float, float], tuple[float, float | None, bool, int, bool]]


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else end - begin


def _silence(data: bytes) -> int:
    """Return how many bytes of 16-bit PCM are near-silence before the first sample that is not."""
    blank = len(data) - len(data.lstrip(b"\0"))
    at = blank - blank % 2
    while at < len(data):
        count = min(_BLOCK, (len(data) - at) // 2)
        samples = unpack_from(f"<{count}h", data, at)
        if max(samples) > _SILENT or min(samples) < -_SILENT:
            return at + 2 * next(i for i, sample in enumerate(samples) if abs(sample) > _SILENT)
        at += 2 * count
    return at
