"""
What cannot be timed on sockets: messages that cross, in every order, in virtual time.

The messages are the provider's own, recorded from its simulator.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from ..adapter import Audio, Failed, OutputEnd, Released, Traits
from ..core.speech import Speech
from ..core.states import SpeechState
from ..errors import Error
from .answers import messages_of
from .bench import Bench, Message
from .cases import one_seat
from .fuzz import parsed, raw
from .recording import Recording, Spoken
from .suite import Suite, case

__all__ = ["CrossingCases", "interleavings", "script_of"]

SPEECHES, MESSAGES = 3, 4
ORDERS = "TTSMUX_ORDERS"
"""Environment variable: ``all`` has three generations play their messages in all 34,650 orders, and
not only in the 5,775 that are no renaming of another; a number has that many of these, evenly."""


def no_ids(traits: Traits) -> str | None:
    return None if traits.ids else "ids: messages name no generation"


def one_message_ends(traits: Traits) -> str | None:
    return "ends_released: the end is the release" if traits.ends_released else None


def fewer_than_three(traits: Traits) -> str | None:
    if traits.ids and traits.seats >= SPEECHES:
        return None
    return f"seats: fewer than {SPEECHES} speeches on a connection"


def interleavings(*counts: int) -> Iterator[tuple[int, ...]]:
    """Yield every order of *counts[0]* times 0, *counts[1]* times 1, and so on."""
    left, order = list(counts), [0] * sum(counts)

    def place(at: int) -> Iterator[tuple[int, ...]]:
        if at == len(order):
            yield tuple(order)
            return
        for which, count in enumerate(left):
            if count:
                left[which] -= 1
                order[at] = which
                yield from place(at + 1)
                left[which] += 1

    return place(0)


def chosen(orders: list[tuple[int, ...]], wanted: str | None) -> list[tuple[int, ...]]:
    """Return all of *orders*, or one of those that differ by names alone, or that many of them."""
    if wanted == "all":
        return orders
    apart = [order for order in orders if list(dict.fromkeys(order)) == [0, 1, 2]]
    return apart[:: max(1, len(apart) // int(wanted))] if wanted else apart


def script_of(spoken: Sequence[Spoken], count: int) -> list[Spoken]:
    """
    Pick *count* messages of a generation, in order: its ends, then audio, then the rest.

    Fewer, if there are fewer.
    """

    def importance(one: Spoken) -> int:
        return 0 if one.has(OutputEnd, Released) else 1 if one.has(Audio) else 2

    ranked = sorted(range(len(spoken)), key=lambda place: (importance(spoken[place]), place))
    return [spoken[place] for place in sorted(ranked[:count])]


class CrossingCases(Suite):
    """The part of the contract that needs all the time in the world, and no sockets."""

    def opened(self, tape: Recording, count: int) -> tuple[Bench, list[Speech]]:
        """Begin *count* speeches, with the ids of the recording, on one connection."""
        bench = self.bench(ids=tape.ids)
        first = bench.speak()
        conn = bench.connect(*tape.greeting)
        speeches = [first, *(bench.speak() for _ in range(count - 1))]
        for number, speech in enumerate(speeches):
            bench.write(speech, f"speech {number} ")
            bench.end(speech)
            assert bench.on(speech) is conn, "they share a connection"
        return bench, speeches

    def play_on(self, bench: Bench, messages: Sequence[Spoken]) -> None:
        bench.receive(bench.connections[0], *(one.message for one in messages))

    def script(self, tape: Recording) -> list[Message]:
        """Return the messages of one generation; of an answer over HTTP, all there are."""
        if self.http:
            return [*messages_of(tape.body)]
        rest = tape.spoken[len(tape.greeting) :]
        spoken = tape.of(tape.ids[0]) if self.traits.ids else rest
        return [one.message for one in script_of(spoken, MESSAGES)]

    def begun(self, tape: Recording, **headers: str) -> tuple[Bench, Speech]:
        """Begin one speech; over HTTP, the headers of the answer are there."""
        bench, (speech,) = self.opened(tape, 1)
        if self.http:
            bench.answer(bench.connections[0], {**tape.headers, **headers})
        return bench, speech

    # --- 2, in every order ------------------------------------------------------------------------

    @case("2: every order", unless=fewer_than_three)
    def test_02_every_order_of_messages(self) -> None:
        """Three generations of four messages, in every order: each hears its own."""
        tape = self.recorded()
        scripts = [script_of(tape.of(id), MESSAGES) for id in tape.ids]
        audio = [b"".join(one.audio for one in script) for script in scripts]
        assert all(audio) and len(set(audio)) == SPEECHES, "they must sound different"
        messages = [[one.message for one in script] for script in scripts]
        bench, speeches = self.opened(tape, SPEECHES)
        conn = bench.connections[0]
        for order in chosen(list(interleavings(*map(len, scripts))), os.environ.get(ORDERS)):
            nexts = [iter(each) for each in messages]
            bench.receive(conn, *(next(nexts[which]) for which in order))
            for speech, own in zip(speeches, audio, strict=True):
                assert bench.hear(speech) == own, f"cross-talk in the order {order}"
                assert speech.state is SpeechState.COMPLETED, f"{speech!r} in the order {order}"
            assert bench.connections == [conn], "the connection is as good as new"
            speeches = [bench.speak(f"speech {number}") for number in range(SPEECHES)]
        assert not bench.doomed()
        bench.close()

    @case("2: interrupted", unless=one_seat)
    def test_02_one_of_two_is_interrupted(self) -> None:
        """Wherever among the messages of two one is interrupted, the other is whole."""
        tape = self.recorded()
        one, two = (script_of(tape.of(id), MESSAGES) for id in tape.ids[:2])
        whole = b"".join(each.audio for each in two)
        both = [each for pair in zip(one, two, strict=False) for each in pair]
        both += one[len(two) :] + two[len(one) :]
        for place in range(len(both) + 1):
            bench, (first, second) = self.opened(tape, 2)
            self.play_on(bench, both[:place])
            bench.interrupt(first)
            assert bench.hear(first) == b""
            self.play_on(bench, both[place:])
            assert bench.hear(first) == b"", "heard after the interrupt"
            assert bench.hear(second) == whole
            assert second.state is SpeechState.COMPLETED
            bench.close()

    # --- 3: between the end and the release -------------------------------------------------------

    @case("3e", unless=one_message_ends)
    def test_03e_interrupt_between_end_and_release(self) -> None:
        """All audio is here, the slot is not free: nothing is heard, nothing is sent too much."""
        tape = self.recorded()
        spoken = tape.of(tape.ids[0]) if self.traits.ids else list(tape.spoken)
        told = [place + 1 for place, one in enumerate(spoken) if one.has(OutputEnd)]
        # An adapter may leave the end to the release: then this is the moment before it.
        silent = told or [place for place, one in enumerate(spoken) if one.has(Released)]
        assert silent, "no end in any message"
        at = silent[0]
        for unread in (True, False):
            bench, (speech,) = self.opened(tape, 1)
            self.play_on(bench, spoken[:at])
            if not unread:
                assert bench.hear(speech)
            before = len(bench.sent(bench.connections[0]))
            bench.interrupt(speech)
            assert bench.hear(speech) == b""
            if told:
                assert len(bench.sent(bench.connections[0])) == before, "it had ended already"
            self.play_on(bench, spoken[at:])
            assert bench.hear(bench.speak("the next", end=False)) == b""
            bench.close()

    # --- 8: whose error is it ---------------------------------------------------------------------

    @case("8c", unless=no_ids)
    def test_08c_an_error_of_somebody_unknown(self) -> None:
        """An error, audio or an end of a generation that nobody knows concerns nobody."""
        mine = self.recorded()
        theirs = self.recorded(faults=("error@request:1,chunk:1",), **self.error)
        strange = [one for one in theirs.of(theirs.ids[0]) if one.has(Failed, Audio, OutputEnd)]
        assert any(one.has(Failed) for one in strange), (
            "the simulated error names no generation: set `error` to options with which it does"
        )
        script = script_of(mine.of(mine.ids[0]), MESSAGES)
        for place in range(len(script)):
            bench, (speech,) = self.opened(mine, 1)
            self.play_on(bench, [*script[:place], *strange, *script[place:]])
            assert bench.hear(speech) == b"".join(one.audio for one in script)
            assert speech.state is SpeechState.COMPLETED
            bench.close()

    @case("13: live")
    def test_13_unknown_messages_in_a_speech(self) -> None:
        """A message of a kind that nobody knows, anywhere in a speech, changes nothing."""
        tape = self.recorded()
        script, whole = self.script(tape), self.heard_of(tape)
        strange: list[Message] = [self.unknown]
        if self.http:
            lines = len(script) > 2 and all(parsed(one) is not None for one in script[:-1])
            # Other bodies have no messages, but an answer has headers.
            strange = [raw(self.unknown).data + b"\n"] if lines else []
        for place in range(len(script) + 1):
            bench, speech = self.begun(tape, **{"x-new": "shiny"})
            conn = bench.connections[0]
            after = script[place:]
            bench.receive(
                conn, *script[:place], *(strange if after or not self.http else []), *after
            )
            assert bench.hear(speech) == whole
            assert speech.state is SpeechState.COMPLETED
            bench.close()

    def heard_of(self, tape: Recording) -> bytes:
        """Return the audio of a speech for which `script` is played."""
        bench, speech = self.begun(tape)
        bench.receive(bench.connections[0], *self.script(tape))
        audio = bench.hear(speech)
        assert audio and speech.state is SpeechState.COMPLETED
        bench.close()
        return audio

    # --- 17: at any place -------------------------------------------------------------------------

    @case("17: every place")
    def test_17_torn_at_any_place(self) -> None:
        """Not heard yet, it is begun again; heard in part, it fails; at its end, it is whole."""
        tape = self.recorded()
        script, whole = self.script(tape), self.heard_of(tape)
        ends = []
        for place in range(len(script) + 1):
            bench, speech = self.begun(tape)
            conn = bench.connections[0]
            bench.receive(conn, *script[:place])
            heard = bench.hear(speech)
            over = speech.state is SpeechState.COMPLETED
            bench.lose(conn)
            bench.advance(1.0)
            if over:
                assert heard == whole and bench.over(speech)
            elif heard:
                with pytest.raises(Error):
                    bench.hear(speech)
                assert speech.state is SpeechState.FAILED
            else:
                assert bench.hear(speech) == b"" and bench.connections[-1] is not conn
                assert speech.state is SpeechState.WAITING, "it waits for another connection"
            ends.append(over)
            bench.close()
        assert ends[-1] and not ends[0] and ends == sorted(ends)
