"""
The whole client as one pure object: commands, frames and clock readings in, effects out.

Nothing is decided here. The Mux finds whom an input concerns, and after each input lets the pool
decide and the agenda arm its instants. What it returns from `effects()` must be carried out in
order, in the same step. See the package's docstring for how it all fits together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..adapter import Closed, DialFailure
from ..audio import AudioChunk
from ..errors import ClosedError, ConfigError, ConnectionLost, Error
from ..settings import Settings
from .admission import members_for
from .connection import Connection
from .effects import Agenda, Effect
from .inquiry import Inquiry
from .lane import Prewarm, Ticket
from .ledger import Interruption
from .metrics import NO_PARTS
from .pool import Pool
from .quota import Member
from .route import Plan, Route
from .speech import End, Speech
from .stats import PoolStats

if TYPE_CHECKING:
    from random import Random

# What a call takes beside the options of a provider, as a shell has it.
_OF_A_SPEECH = {"deadline": "deadline=", "timeout": "deadline="}
_OF_A_PREWARM = {"n": "n=", "timeout": "timeout="}


class Mux:
    """The client's brain. `now` is seconds on one monotonic clock throughout."""

    def __init__(
        self,
        routes: Sequence[Route],
        settings: Settings,
        rng: Random,
        members: Sequence[Member | None] | None = None,
    ) -> None:
        """
        Make a client's brain.

        Args:
            members: by route, what it is a member of together with other clients that have the
                same key, or None; by default it has its limits for itself.

        Raises:
            ConfigError: there is no route.
        """
        if not routes:
            msg = "a client needs at least one route"
            raise ConfigError(msg, phase="config")
        self.agenda = Agenda()
        """What the inputs have come to; whether it is `pending` is asked after each."""
        self.members = tuple(members_for(routes) if members is None else members)
        self._pool = Pool(settings, rng, self.agenda, self.members)
        self._routes = tuple(routes)
        self._plain = tuple(Plan.make(route, i, {}) for i, route in enumerate(routes))
        self._count = 0

    def number_on(self, other: Mux) -> None:
        """Give no speech and no connection a number that *other* has given, which is given up."""
        self._count, self._pool.numbered = other._count, other._pool.numbered

    # --- commands ---------------------------------------------------------------------------------

    def speak(
        self,
        overrides: Mapping[str, object],
        now: float,
        *,
        text: Sequence[str] | None = None,
        fed: bool = False,
        total: float | None = None,
    ) -> Speech:
        """
        Begin a speech.

        Args:
            overrides: fields of the first route's adapter, for this speech alone.
            text: all of its text; None if it follows by `write`. Blank text needs no connection.
            fed: whether a feeder writes the text; it is woken when the speech is over.
            total: seconds the whole speech may take, or None.

        Raises:
            ClosedError: the client is closed or draining.
            ConfigError: an override does not fit the adapter.
            PoolFull: too many speeches wait already.
            InvalidText: *text* has a lone surrogate.
        """
        self._pool.admit(self._plain[0])
        plans = list(self._plain)
        if overrides:
            plans[0] = Plan.make(self._routes[0], 0, overrides, _OF_A_SPEECH)
        self._count += 1
        total = self._pool.settings.timeouts.total if total is None else total
        speech = Speech(self._count, plans, self._pool, total, now)
        speech.fed = fed
        self._pool.enlist(speech)
        try:
            if text is None:
                self._pool.wait_for_text(speech, now)
            else:
                speech.write_all(text, now)
        finally:
            self._settle(now)
        return speech

    def write(self, speech: Speech, piece: str, now: float) -> None:
        speech.write(piece, now)
        self._settle(now)

    def room(self, speech: Speech, now: float) -> bool:
        """Return whether a feeder should go on; if not, `Wake` says when to ask again."""
        return speech.room()

    def flush(self, speech: Speech, now: float) -> None:
        speech.flush(now)
        self._settle(now)

    def end(self, speech: Speech, now: float) -> None:
        speech.end(now)
        self._settle(now)

    def fail(self, speech: Speech, error: BaseException, now: float) -> None:
        """The text source raised: `read` raises *error* itself, after the audio received so far."""
        speech.fail(error, now)
        self._settle(now)

    def collect(self, speech: Speech) -> None:
        """Say that *speech* is gathered as a whole before any of it is played."""
        speech.collect()

    def collect_whole(self, speech: Speech) -> None:
        """The same, from its very beginning. Raises `LocalProtocolError` if some was read."""
        speech.collect_whole()

    def played(self, speech: Speech, seconds: float, now: float) -> None:
        """Say how much of the speech has reached the ear; without it, what was read counts."""
        speech.played(seconds)

    def interrupt(self, speech: Speech, now: float) -> Interruption:
        report = speech.interrupt(now)
        self._settle(now)
        return report

    def read(self, source: Speech | Ticket, now: float) -> AudioChunk | End | None:
        """Return the next audio, None if there is nothing yet, or END. Raises what went wrong."""
        if isinstance(source, Ticket):
            return source.read()
        item = source.read(now)
        if self._pool.stale or self.agenda.touched:
            self._settle(now)
        return item

    def prewarm(
        self, n: int, overrides: Mapping[str, object], timeout: float, now: float
    ) -> Prewarm:
        """Have *n* connections ready, and the spares behind them; `read` the ticket to wait."""
        self._pool.check_open()
        plan = self._plain[0]
        if overrides:
            plan = Plan.make(self._routes[0], 0, overrides, _OF_A_PREWARM)
        ticket = self._pool.prewarm(plan, n, now + timeout, now)
        self._settle(now)
        return ticket

    def inquire(self) -> Inquiry:
        """
        Begin to ask the first route's provider for its voices; it changes nothing here.

        Raises:
            ClosedError: the client is closed or draining.
            ConfigError: the provider has no list.
        """
        self._pool.check_open()
        return Inquiry(self._plain[0])

    def drain(self, now: float) -> Ticket:
        """Take no new speech, let those there are receive all, then close; reading can wait."""
        ticket = self._pool.drain()
        self._settle(now)
        return ticket

    def close(self, now: float) -> Ticket:
        """Fail what is speaking, hang up everything; the ticket ends when all wires are gone."""
        ticket = self._pool.close(now)
        self._settle(now)
        return ticket

    def abandon(self, error: BaseException) -> None:
        """
        An input was torn in the middle by *error*, a `BaseException` such as a `KeyboardInterrupt`.

        Nothing here can be trusted any more: everything is hung up and failed, and the shell makes
        a new Mux. Facts about the old connections still go to this one.
        """
        what = f"a step was cut short by {type(error).__name__}; what was speaking is lost"
        self._pool.abandon(ClosedError(what, phase="speak", retryable=True))

    def deserted(self, now: float) -> None:
        """The shell has ended, and all its wires with it; it has closed or abandoned the Mux."""
        for conn in self._pool.connections.copy():
            if conn.handle is not None:  # else it was never dialled: see `abandon`
                conn.lost(ConnectionLost("the client has ended"), now)
        self._settle(now)

    # --- facts ------------------------------------------------------------------------------------

    def dialled(self, conn: Connection, now: float, parts: Mapping[str, float] = NO_PARTS) -> None:
        """A connection is up; *parts* says what took how many seconds of its dial."""
        conn.dialled(now, parts)
        self._settle(now)

    def dial_failed(self, conn: Connection, failure: DialFailure, now: float) -> None:
        conn.dial_failed(failure, now)
        self._settle(now)

    def receive(self, conn: Connection, data: bytes, text: bool, now: float) -> None:
        """A message came; *text* says of which kind. The decoder alone looks inside."""
        conn.receive(data, text, now)
        if self._pool.stale or self.agenda.touched:
            self._settle(now)

    def answered(self, conn: Connection, headers: Mapping[str, str], now: float) -> None:
        """The answer to an HTTP request began; its body follows through `receive`."""
        conn.answered(headers, now)

    def alive(self, conn: Connection, now: float) -> None:
        conn.alive(now)

    def lost(self, conn: Connection, fault: Closed | DialFailure | Error, now: float) -> None:
        conn.lost(fault, now)
        self._settle(now)

    def tick(self, now: float) -> None:
        for timed in self.agenda.due(now):
            due = timed.deadline()
            if due is not None and due <= now:
                timed.expire(now)
        self._settle(now)

    # --- what the shell looks at ------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called next: at once, if another client has changed things."""
        return -math.inf if self._pool.admission.news else self.agenda.deadline

    def effects(self) -> list[Effect]:
        """Return what to carry out, in order; each is returned once."""
        effects, self.agenda.effects = self.agenda.effects, []
        self.agenda.moved = False
        return effects

    @property
    def cut_short(self) -> bool:
        """Whether closing, or a torn step, ended what would have spoken on."""
        return self._pool.cut_short

    def stats(self) -> PoolStats:
        return self._pool.stats()

    def _settle(self, now: float) -> None:
        self._pool.settle(now)
        self.agenda.arm()
