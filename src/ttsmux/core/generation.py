"""
What the provider counts.

A generation knows what was sent for it, what came, and since when the provider owes it audio. What
its messages mean for the wire, and whom its audio reaches, is the connection's to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..adapter import Frame, Generation
from ..audio import SampleAligner
from . import states
from .states import GENERATION, GenerationInput, GenerationState

if TYPE_CHECKING:
    from .connection import Connection
    from .speech import Speech

LIVE = (GenerationState.OPEN, GenerationState.FINISHING)
"""The states in which a generation may deliver."""
_END_EARLY = 0.8
"""Of a provider's own time for a silent source, ours; so that the two never cross."""


class LiveGeneration(Generation):
    """What the provider counts: born with its first frame, gone when the provider let go."""

    __slots__ = (
        "_owed_since", "aligner", "base", "began", "conn", "doubted", "due", "first_audio_at",
        "fresh", "last_frame", "last_sent", "payer", "rested", "segments", "speech", "state",
        "unseen",
    )  # fmt: skip

    def __init__(self, id: str, conn: Connection, speech: Speech, now: float) -> None:
        super().__init__(id, speech.plan.options)
        self.conn = conn
        self.speech: Speech | None = speech
        """Who listens, if anybody does."""
        self.payer = speech
        """Whose it is, also when nobody listens any more."""
        self.state = GenerationState.OPEN
        self.began = now
        self.base = 0
        """Bytes of the speech's audio that came before this generation's."""
        self.segments: dict[str, int] = {}
        self.aligner = SampleAligner(speech.plan.options.format.width)
        self.fresh = False
        """Whether it was sent something to speak since the last flush."""
        self.due: float | None = None
        """When the second step of an end, a release, or the end of a mute is due."""
        self.rested = False
        """Whether its connection had been lying idle."""
        self.unseen = True
        """Whether nothing has come for it yet."""
        self.last_frame = now
        self.last_sent = now
        self.doubted: float | None = None
        """The last silence in which it was asked whether the wire is dead, by its beginning."""
        self._owed_since: float | None = None
        self.first_audio_at: float | None = None

    def __repr__(self) -> str:
        return f"<Generation {self.id[:6]} {self.state.name}>"

    def step(self, input: GenerationInput) -> None:
        lived = self.state in LIVE
        self.state = states.step(GENERATION, self.state, input)
        if lived and self.state not in LIVE:
            self.conn.changed()  # the seat is free, though the slot may not be

    def end(self, now: float) -> list[Frame]:
        """Say that its text is over; from now on the provider owes audio."""
        self.step(GenerationInput.END)
        self.ended = True
        self.owe(now)
        traits = self.conn.plan.traits
        if traits.release_after is not None:
            soon = traits.release_soon if self.heard_of else None
            self.due = now + (traits.release_after if soon is None else soon)
        assert self.speech is not None, "an open generation has its speech"
        return list(self.speech.plan.adapter.end(self))

    def owe(self, now: float) -> None:
        if self._owed_since is None:
            self._owed_since = now
            self.last_frame = now
        self.conn.touch()

    @property
    def owes(self) -> bool:
        """Whether the provider owes audio for what it was sent."""
        return self._owed_since is not None

    @property
    def heard_of(self) -> bool:
        """Whether audio came."""
        return self.first_audio_at is not None

    def audio_came(self, now: float) -> None:
        self.last_frame = now
        self.unseen = False
        if self.first_audio_at is None:
            self.first_audio_at = now
            self.conn.expect_audio(now)
        if not self.ended:
            self._owed_since = None  # a flush is answered by any audio

    @property
    def silent_since(self) -> float:
        """Since when nothing has come of the audio that is missing."""
        assert self._owed_since is not None, "the provider owes audio"
        return self.last_frame if self.heard_of else self._owed_since

    def stalled_at(self, first_audio: float, gap: float) -> float | None:
        """Return when the provider will have owed audio for too long."""
        if self._owed_since is None or self.state not in LIVE:
            return None
        if self.first_audio_at is None:
            return self._owed_since + first_audio
        assert self.speech is not None, "a live generation has its speech"
        ahead = self.speech.plan.options.format.seconds(self.speech.received - self.base)
        return max(self.last_frame, self.first_audio_at + ahead) + gap

    def silent_at(self) -> float | None:
        """Return when the source has been silent for as long as the provider bears."""
        traits = self.conn.plan.traits
        if self.state is not GenerationState.OPEN:
            return None
        if traits.generation_keepalive is not None:
            return self.last_sent + traits.generation_keepalive
        if traits.source_pause is not None:
            return self.last_sent + _END_EARLY * traits.source_pause
        return None
