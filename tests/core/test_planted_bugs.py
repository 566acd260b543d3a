"""
A test of the walk: mistakes that somebody might make in the core, each of which it must catch.

Every plant replaces one method by a version with a fault. If a plant is no longer caught, an oracle
of `network.py` has gone blind; if one can no longer be planted, the core has changed under it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from tests.core.network import Fault, World, random_schedule
from ttsmux.adapter import Closed
from ttsmux.core import crowd, pool, quota
from ttsmux.core.breaker import Breaker
from ttsmux.core.connection import Connection
from ttsmux.core.dialling import Dialler
from ttsmux.core.generation import LiveGeneration
from ttsmux.core.lane import Lane, Ticket
from ttsmux.core.mux import Mux
from ttsmux.core.pool import Pool
from ttsmux.core.resume import Cut, Passage, find_cut, next_word
from ttsmux.core.route import Plan
from ttsmux.core.speech import Speech
from ttsmux.core.states import (
    ConnectionInput,
    ConnectionState,
    GenerationInput,
    SpeechState,
    Trust,
)
from ttsmux.core.ways import Ways
from ttsmux.errors import Error

_ENOUGH = 400
"""Schedules within which a plant must be noticed."""

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, Plant] = {}


def plant(function: Plant) -> Plant:
    PLANTS[function.__name__] = function
    return function


def after(patch: pytest.MonkeyPatch, owner: type, name: str, then: Callable[..., Any]) -> None:
    """Have *then* spoil what the real method did."""
    real = getattr(owner, name)

    def spoiled(self: Any, *args: Any, **more: Any) -> Any:
        result = real(self, *args, **more)
        then(self, *args, **more)
        return result

    patch.setattr(owner, name, spoiled)


@plant
def a_muted_seat_is_free_when_its_user_leaves(patch: pytest.MonkeyPatch) -> None:
    def free(conn: Connection, gen: LiveGeneration, now: float) -> None:
        if conn.plan.traits.ids and gen.id in conn.generations:
            conn._free(gen, GenerationInput.DROP, now)

    after(patch, Connection, "interrupt", free)


@plant
def a_barrier_is_crossed_before_its_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    def cross(conn: Connection, gen: LiveGeneration, now: float) -> None:
        if conn.state is ConnectionState.BARRIER:
            conn._acknowledge(None, now)

    after(patch, Connection, "interrupt", cross)


@plant
def a_barrier_is_broken_by_the_audio_it_should_drop(patch: pytest.MonkeyPatch) -> None:
    def break_it(conn: Connection, id: str | None, gen: object, now: float) -> None:
        if conn.state is ConnectionState.BARRIER:
            conn.doom("audio came", now)

    after(patch, Connection, "_unowned", break_it)


@plant
def an_acknowledgement_is_believed_at_once(patch: pytest.MonkeyPatch) -> None:
    real = Pool.trust

    def trust(pool: Pool, plan: Plan) -> Trust:
        found = real(pool, plan)
        return found if found is Trust.BROKEN else Trust.EARNED

    patch.setattr(Pool, "trust", trust)


@plant
def late_audio_reaches_the_speech_that_was_interrupted(patch: pytest.MonkeyPatch) -> None:
    real = Connection.interrupt

    def interrupt(conn: Connection, gen: LiveGeneration, now: float) -> None:
        speech = gen.speech
        real(conn, gen, now)
        gen.speech = speech

    patch.setattr(Connection, "interrupt", interrupt)


@plant
def a_speech_is_repeated_after_its_audio_was_heard(patch: pytest.MonkeyPatch) -> None:
    real = Speech.generation_failed

    def failed(speech: Speech, *args: Any, **more: Any) -> None:
        assert speech.generation is not None
        speech.generation.base = speech.received
        real(speech, *args, **more)

    patch.setattr(Speech, "generation_failed", failed)


@plant
def what_the_failed_attempt_said_stays_in_the_buffer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Speech, "_withdraw", lambda speech, gen: None)


@plant
def a_clean_close_completes_the_speech(patch: pytest.MonkeyPatch) -> None:
    real = Connection.lost

    def lost(conn: Connection, fault: object, now: float) -> None:
        if isinstance(fault, Closed) and fault.code in (1000, 1001) and not conn.over:
            for gen in conn.live:
                gen.ended = True
                conn._output_end(gen, now, released=True)
        real(conn, fault, now)  # type: ignore[arg-type]

    patch.setattr(Connection, "lost", lost)


@plant
def an_acknowledgement_has_no_deadline(patch: pytest.MonkeyPatch) -> None:
    def forget(conn: Connection, gen: LiveGeneration, now: float) -> None:
        conn._barrier_due = gen.due = None

    after(patch, Connection, "interrupt", forget)


@plant
def a_release_has_no_deadline(patch: pytest.MonkeyPatch) -> None:
    def forget(conn: Connection, gen: LiveGeneration | None, now: float, **more: bool) -> None:
        if gen is not None:
            gen.due = None

    after(patch, Connection, "_output_end", forget)


@plant
def a_stalled_provider_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LiveGeneration, "stalled_at", lambda gen, first_audio, gap: None)


@plant
def a_dial_has_no_deadline(patch: pytest.MonkeyPatch) -> None:
    real = Connection._clocks
    patch.setattr(Connection, "_clocks", lambda conn: () if conn.coming else real(conn))


@plant
def a_provider_owes_audio_for_any_text(patch: pytest.MonkeyPatch) -> None:
    real = Speech._put_into_words

    def put(speech: Speech, gen: LiveGeneration, frames: Any, now: float) -> None:
        gen.owe(now)
        real(speech, gen, frames, now)

    patch.setattr(Speech, "_put_into_words", put)


@plant
def the_buffer_is_kept_after_an_interruption(patch: pytest.MonkeyPatch) -> None:
    real = Speech.interrupt

    def interrupt(speech: Speech, now: float) -> Any:
        kept = deque(speech._buffer)
        report = real(speech, now)
        speech._buffer = kept
        return report

    patch.setattr(Speech, "interrupt", interrupt)


@plant
def max_size_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    def dial(dialler: Dialler, lane: Lane, now: float, *, evict: bool = False) -> bool:
        pool = dialler._pool
        pool.counts.dials += 1
        conn = Connection(pool.counts.dials, lane, pool, now)
        lane.connections.append(conn)
        for limited in lane.crowds:
            limited.connections.append(conn)
        pool.changed(conn)
        pool.count(now)
        return True

    patch.setattr(Dialler, "dial", dial)


@plant
def spares_are_counted_without_those_being_dialled(patch: pytest.MonkeyPatch) -> None:
    real = crowd.share_of

    def share_of(conn: Connection) -> crowd.Share:
        return real(conn)._replace(spare=conn.free_seats)

    patch.setattr(pool, "share_of", share_of)


@plant
def a_provider_that_is_given_up_is_dialled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "dials", lambda breaker, now, urgent: True)


@plant
def a_spare_evicts_another_connection(patch: pytest.MonkeyPatch) -> None:
    real = Dialler.dial

    def dial(dialler: Dialler, lane: Lane, now: float, *, evict: bool = False) -> bool:
        return real(dialler, lane, now, evict=True)

    patch.setattr(Dialler, "dial", dial)


@plant
def retry_after_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    def forget(pool: Pool, conn: Connection, error: object, now: float) -> None:
        conn.lane.rests_until = conn.lane.standing.asked_until = now

    after(patch, Pool, "lane_failed", forget)


@plant
def the_pool_does_not_wake_when_its_backoff_is_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "_clocks", lambda lane: ())


@plant
def a_reader_is_not_woken_at_the_end(patch: pytest.MonkeyPatch) -> None:
    real = Speech._wake

    def wake(speech: Speech) -> None:
        if speech.state is not SpeechState.RECEIVED:
            real(speech)

    patch.setattr(Speech, "_wake", wake)


@plant
def a_reader_is_not_woken_for_audio(patch: pytest.MonkeyPatch) -> None:
    real = Speech.audio

    def audio(speech: Speech, *args: Any) -> None:
        waits, speech.reader_waits = speech.reader_waits, False
        real(speech, *args)
        speech.reader_waits = waits

    patch.setattr(Speech, "audio", audio)


@plant
def who_waits_for_a_ticket_is_not_woken(patch: pytest.MonkeyPatch) -> None:
    def finish(ticket: Ticket, agenda: object, error: Any = None) -> None:
        ticket.done, ticket.error = True, error

    patch.setattr(Ticket, "finish", finish)


@plant
def a_dial_that_succeeds_after_its_hang_up_is_left(patch: pytest.MonkeyPatch) -> None:
    real = Connection.dialled

    def dialled(conn: Connection, now: float, parts: Mapping[str, float]) -> None:
        if conn.state is ConnectionState.CLOSING:
            conn._step(ConnectionInput.DIALLED)
        else:
            real(conn, now, parts)

    patch.setattr(Connection, "dialled", dialled)


@plant
def an_id_is_used_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "new_id", lambda pool: f"{pool.rng.randrange(3):032x}")


@plant
def the_last_to_come_is_served_first(patch: pytest.MonkeyPatch) -> None:
    real = Pool._place

    def place(pool: Pool, speech: Speech, *, again: bool = False) -> int:
        speech.place = -real(pool, speech, again=again)
        return speech.place

    patch.setattr(Pool, "_place", place)


@plant
def a_free_seat_is_not_announced(patch: pytest.MonkeyPatch) -> None:
    real = Connection._output_end

    def output_end(conn: Connection, *args: Any, **more: Any) -> None:
        before = conn._pool.stale
        real(conn, *args, **more)
        conn._pool.stale = before

    patch.setattr(Connection, "_output_end", output_end)


@plant
def a_speech_that_is_over_is_never_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "dismiss", lambda pool, speech: None)


@plant
def a_lost_connection_goes_on_counting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "gone", lambda pool, conn: None)


@plant
def the_second_step_of_an_end_is_never_taken(patch: pytest.MonkeyPatch) -> None:
    def release(conn: Connection, gen: LiveGeneration, now: float) -> None:
        gen.due = None

    patch.setattr(Connection, "_release", release)


@plant
def a_silent_source_is_not_minded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LiveGeneration, "silent_at", lambda gen: None)


@plant
def text_is_forgotten_when_an_attempt_fails(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ttsmux.core.ledger.TextLog.repeat", lambda log: log._sent.clear())


@plant
def a_voice_that_is_always_busy_keeps_the_others_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Connection, "retirable", property(lambda conn: False))


@plant
def another_speech_comes_between_two_sentences(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Connection, "free_seats", Connection.room)


@plant
def half_a_sample_is_passed_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ttsmux.audio.SampleAligner.feed", lambda aligner, data: data)


@plant
def a_doomed_connection_takes_its_neighbours_along(patch: pytest.MonkeyPatch) -> None:
    def doom(conn: Connection, reason: str, now: float) -> None:
        if not conn.over:
            conn._hang_up(now)

    patch.setattr(Connection, "doom", doom)


@plant
def the_next_route_goes_on_where_the_last_one_failed(patch: pytest.MonkeyPatch) -> None:
    def restart(log: Any, cutter: object, ended: bool, *, at: int = 0) -> None:
        log.settle()

    patch.setattr("ttsmux.core.ledger.TextLog.restart", restart)


@plant
def text_that_crossed_the_providers_own_end_is_not_said_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ttsmux.core.ledger.TextLog.recall", lambda log, since: None)


@plant
def a_word_is_skipped_where_a_speech_goes_on(patch: pytest.MonkeyPatch) -> None:
    def skip(passage: Passage) -> Cut:
        cut = find_cut(passage)
        word = passage.text[cut.at :].split(" ")[0]
        return msgspec.structs.replace(cut, at=next_word(passage.text, cut.at + len(word)))

    patch.setattr("ttsmux.core.speech.find_cut", skip)


@plant
def an_estimate_is_called_exact(patch: pytest.MonkeyPatch) -> None:
    def sure(passage: Passage) -> Cut:
        return msgspec.structs.replace(find_cut(passage), approximate=False)

    patch.setattr("ttsmux.core.speech.find_cut", sure)


@plant
def nobody_is_told_that_a_speech_went_on(patch: pytest.MonkeyPatch) -> None:
    def sewn(speech: Speech, now: float) -> None:
        speech._seam = None

    patch.setattr(Speech, "_sewn", sewn)


@plant
def what_may_be_played_begins_again(patch: pytest.MonkeyPatch) -> None:
    def begin(speech: Speech, *args: object) -> None:
        speech._collected = True

    after(patch, Speech, "__init__", begin)


@plant
def a_request_is_tried_against_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ttsmux.core.ways.may_help_over_http", lambda error: True)


@plant
def nothing_is_tried_over_http(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ttsmux.core.ways.may_help_over_http", lambda error: False)


@plant
def another_voice_goes_on(patch: pytest.MonkeyPatch) -> None:
    real = Ways.next

    def next_way(ways: Ways, plan: Plan, error: Error, *, same_voice: bool, **how: Any) -> object:
        return real(ways, plan, error, **how)

    patch.setattr(Ways, "next", next_way)


@plant
def a_deadline_is_overlooked(patch: pytest.MonkeyPatch) -> None:
    def forget(speech: Speech, *args: object) -> None:
        speech._total_due = None

    after(patch, Speech, "__init__", forget)


@plant
def draining_cuts_short_what_speaks(patch: pytest.MonkeyPatch) -> None:
    def drain(mux: Mux, now: float) -> Ticket:
        return mux.close(now)

    patch.setattr(Mux, "drain", drain)


@plant
def a_key_speaks_more_than_it_may(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quota._Generations, "room", lambda pot, traits, now: 1)


@pytest.mark.counted
@pytest.mark.parametrize("bug", PLANTS)
def test_the_walk_catches(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred schedules are enough to notice the mistake."""
    PLANTS[bug](monkeypatch)
    for seed in range(_ENOUGH):
        world = World(random_schedule(seed), steps=20_000)
        try:
            world.play()
        except Fault:
            return
    pytest.fail(f"{_ENOUGH} schedules went well")
