"""
Several clients with one key, in virtual time: who may dial and speak, and in which order.

Each client has a clock of its own that began somewhere else, as event loops have.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.helpers import LEAN, MULTIPLEXED, SEQUENTIAL, Harness, Toy, settings, traits
from ttsmux.adapter import Closed, EarlyEnd, Input, Traits
from ttsmux.core.connection import Connection
from ttsmux.core.effects import Dial, Effect, Wake
from ttsmux.core.mux import Mux
from ttsmux.core.quota import PERIOD, TURN, Grant, Member, Quota, recent
from ttsmux.core.route import Route
from ttsmux.core.speech import Speech
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import (
    AtCapacity,
    DeadlineExceeded,
    PoolFull,
    PoolTimeout,
)
from ttsmux.settings import Interrupt, KeyLimits, Settings

PATIENT = settings(
    min_idle=0,
    acquire_timeout=10_000.0,
    timeouts={"first_audio": 9_000.0, "gap": 9_000.0, "release": 9_000.0},
)
CLOSE = 1e-6
"""Seconds that clocks may differ by where they are converted into each other."""
QUIET = traits(SEQUENTIAL, ping=None)
REQUEST = traits(
    SEQUENTIAL,
    reusable=False,
    interrupt=Interrupt.DISCARD,
    policies=(Interrupt.DISCARD,),
    ping=None,
)
DISCARD = traits(SEQUENTIAL, interrupt=Interrupt.DISCARD, policies=(Interrupt.DISCARD,), ping=None)


class Client(Harness):
    """A client that is one of several; *rung* is whether another one wants it to look."""

    def __init__(
        self,
        town: Town,
        shape: Traits,
        config: Settings = LEAN,
        skew: float = 0.0,
        *more: Traits,
        stand_in: Traits | None = None,
    ) -> None:
        routes = [Route(adapter=Toy(shape=one)) for one in (shape, *more)]
        self.member = Member(town.quota)
        members = [self.member, *(None for _ in more)]
        if stand_in is not None:
            routes.append(Route(adapter=Toy(shape=stand_in), fallback_for=0))
            members.append(self.member)
        super().__init__(routes=routes)
        self.town = town
        self.now = town.now - skew
        self.member.handle, self.member.skew = self, skew
        self.mux = Mux(routes, config, random.Random(1), members)
        self.rung = self.stuck = self.dead = False

    def collect(self) -> None:
        super().collect()
        for effect in self.effects[self.seen() :]:
            if isinstance(effect, Dial):
                effect.conn.handle = self
        _wake(self.effects[self.seen() :])
        self._seen = len(self.effects)

    def salvage(self) -> None:
        """Hand over what ends things, and dial nothing: the step was torn."""
        _wake(self.mux.effects())

    _seen = 0

    def seen(self) -> int:
        return min(self._seen, len(self.effects))

    def look(self) -> None:
        """Do what its clock does when it is rung, or its time has come."""
        self.rung = False
        due = self.mux.deadline
        if due is not None and due <= self.now:
            self.mux.tick(self.now)
            self.collect()

    @property
    def queued(self) -> tuple[bool, bool]:
        return self.member.quota.waits(self.member)

    @property
    def counted(self) -> list[Connection]:
        """Connections that count against the limits of the key."""
        members = self.mux.members
        return [c for c in self.mux._pool.connections if members[c.plan.number] is self.member]

    @property
    def open(self) -> list[Connection]:
        return [conn for conn in self.wires if conn.state is ConnectionState.OPEN]


def _wake(effects: list[Effect]) -> None:
    for effect in effects:
        if isinstance(effect, Wake) and isinstance(effect.handle, Client):
            effect.handle.rung = True


class Town:
    """Clients with one key, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.quota = Quota()
        self.clients: list[Client] = []
        self.serve: Callable[[], None] = lambda: None
        """What the providers do at once."""

    def client(
        self,
        shape: Traits,
        config: Settings = LEAN,
        skew: float | None = None,
        *more: Traits,
        stand_in: Traits | None = None,
    ) -> Client:
        skew = 250.0 * len(self.clients) if skew is None else skew
        client = Client(self, shape, config, skew, *more, stand_in=stand_in)
        self.clients.append(client)
        return client

    def settle(self) -> None:
        """Have all look who were rung, until none is: no time passes."""
        for _ in range(1000):
            self.serve()
            rung = [c for c in self.clients if c.rung and not c.stuck and not c.dead]
            if not rung:
                return
            for client in rung:
                client.look()
        pytest.fail("they ring each other for ever")

    def until(self, instant: float) -> None:
        """Let time pass, stopping at each client's own deadlines."""
        while True:
            self.settle()
            dues = [
                (client.mux.deadline + client.member.skew, number)
                for number, client in enumerate(self.clients)
                if client.mux.deadline is not None and not client.stuck and not client.dead
            ]
            due, number = min(dues, default=(instant + 1.0, 0))
            if due > instant + CLOSE:
                break
            self._go_to(max(self.now, due))
            client = self.clients[number]
            client.now = max(client.now, client.mux.deadline or 0.0)
            client.rung = True
        self._go_to(max(self.now, instant))
        self.check()

    def advance(self, seconds: float) -> None:
        self.until(self.now + seconds)

    def _go_to(self, instant: float) -> None:
        self.now = instant
        for client in self.clients:
            client.now = instant - client.member.skew

    def check(self) -> None:
        """What is granted is there, what is not is not, and whoever waits is in line."""
        quota = self.quota
        for pot in (quota.connections, quota.generations):
            assert pot.granted == pot.returned + len(pot.held)
        for client in self.clients:
            if client.dead or client.member in quota.left:
                continue
            pool, member = client.mux._pool, client.member
            mine = sum(holder is member for holder in quota.connections.held.values())
            assert mine == len(client.counted), client
            speaking = sum(holder is member for holder in quota.generations.held.values())
            assert speaking == sum(len(conn.generations) for conn in client.counted), client
            if client.stuck:
                continue
            assert not member.news, "nobody told it"
            (desk,) = pool.admission.desks
            assert not desk.again, "it said that they ask again"
            assert bool(desk.refused or desk.kept) == client.queued[1]
            for place, other in enumerate(quota.generations.queue):
                turn = quota.generations.queue[other]
                room = quota.generations.room(turn.traits, self.now)
                assert other is not member or place >= room, "it did not take its turn"
            for place, other in enumerate(quota.connections.queue):
                turn = quota.connections.queue[other]
                room = quota.connections.room(turn.traits, self.now)
                assert other is not member or place >= room, "it did not take its turn"


def said(harness: Harness, text: str = "Hello. ", total: float | None = None) -> Speech:
    """Say all of *text* in one step."""
    speech = harness.mux.speak({}, harness.now, text=[text], total=total)
    speech.handle = speech
    harness.collect()
    return speech


def up(client: Client) -> Connection:
    """The newest dial of *client* succeeds."""
    conn = client.wires[-1]
    client.up(conn)
    client.town.settle()
    return conn


def speaking(client: Client, n: int = 1) -> list[Speech]:
    """Have *n* speeches under way."""
    found = [client.speak("Hello. ") for _ in range(n)]
    client.up()
    client.town.settle()
    assert all(speech.state is SpeechState.SPEAKING for speech in found)
    return found


def done(client: Client, speech: Speech) -> None:
    client.audio(speech)
    client.done(speech)
    client.hear(speech)
    client.town.settle()


def hung_up(client: Client) -> None:
    client.hung_up()
    client.town.settle()


# --- connections ----------------------------------------------------------------------------------


def test_two_clients_open_no_more_than_the_key_may_have() -> None:
    """Three for both together; the fourth is not dialled, and not refused by the provider."""
    town = Town()
    a, b = (town.client(traits(DISCARD, connections=3)) for _ in range(2))
    a.speak("One. ")
    a.speak("Two. ")
    b.speak("Three. ")
    b.speak("Four. ")
    town.settle()
    assert (len(a.wires), len(b.wires)) == (2, 1)
    assert b.queued == (True, False)
    town.check()


def test_what_is_free_goes_to_who_has_waited_longest() -> None:
    """First come, first served, whichever client it is, and at the very instant."""
    town = Town()
    a, b, c, d = (town.client(traits(DISCARD, connections=1), PATIENT) for _ in range(4))
    (first,) = speaking(a)
    for client in (c, b, d):
        client.speak("Next. ")
        town.advance(0.1)
    served = []
    holder, speech = a, first
    while len(served) < 3:
        holder.interrupt(speech)
        before = town.now
        hung_up(holder)
        (holder,) = (x for x in (b, c, d) if x.wires and x not in served)
        assert town.now == before
        served.append(holder)
        up(holder)
        (speech,) = holder.mux._pool.speeches
    assert served == [c, b, d]
    town.check()


def test_clients_take_turns_however_many_speeches_they_have() -> None:
    """One with ten speeches in line does not come ten times before one with one."""
    town = Town()
    a, b, c = (town.client(traits(DISCARD, connections=1), PATIENT) for _ in range(3))
    (first,) = speaking(a)
    many = [b.speak("Many. ") for _ in range(3)]
    (one,) = [c.speak("One. ")]
    a.interrupt(first)
    hung_up(a)
    up(b)
    b.interrupt(many[0])
    hung_up(b)
    assert len(c.wires) == 1 and len(b.wires) == 1
    up(c)
    c.interrupt(one)
    hung_up(c)
    assert len(b.wires) == 2


def test_an_idle_connection_is_given_up_for_another_clients_speech() -> None:
    """Nobody waits while a connection lies idle at a client with the same key."""
    town = Town()
    a, b = (town.client(traits(SEQUENTIAL, connections=2)) for _ in range(2))
    for speech in speaking(a, 2):
        done(a, speech)
    assert len(a.open) == 2
    before = town.now
    b.speak("Mine now. ")
    town.settle()
    assert a.doomed() == ["another client needs the room"]
    hung_up(a)
    assert len(b.wires) == 1 and len(a.open) == 1 and town.now == before
    town.check()


def test_only_as_many_are_given_up_as_are_waited_for() -> None:
    """Two clients with idle connections do not both make room for one that waits."""
    town = Town()
    a, b, c = (town.client(traits(SEQUENTIAL, connections=2)) for _ in range(3))
    for client in (a, b):
        (speech,) = speaking(client)
        done(client, speech)
    c.speak("One is enough. ")
    town.settle()
    assert len(a.doomed() + b.doomed()) == 1
    hung_up(a)
    hung_up(b)
    assert len(c.wires) == 1
    town.check()


def test_a_client_that_never_rests_makes_room_after_a_second() -> None:
    """The connection that will be done first takes no new speech, for who has fewer of them."""
    town = Town()
    a, b = (town.client(traits(SEQUENTIAL, connections=2), PATIENT) for _ in range(2))
    first, _second = speaking(a, 2)
    a.speak("And on. ")
    town.advance(0.3)
    b.speak("Me too. ")
    town.advance(0.99)
    assert not a.doomed() and not b.wires
    town.advance(0.02)
    assert a.doomed() == ["another client needs the room"]
    done(a, first)
    hung_up(a)
    assert len(b.wires) == 1 and len(a.wires) == 2
    town.check()


def test_clients_with_nothing_to_say_yet_leave_each_other_alone() -> None:
    """A connection that a speech without text waits on goes to one with text, and to no other."""
    town = Town()
    a, b = (town.client(traits(QUIET, connections=1), PATIENT) for _ in range(2))
    a.speak()
    up(a)
    silent = b.speak()
    town.advance(5.0)
    assert not a.doomed() and not b.wires
    b.write(silent, "Here it is. ")
    town.settle()
    assert a.doomed() == ["another client needs the room"]
    hung_up(a)
    assert len(b.wires) == 1
    town.check()


def test_who_may_not_speak_yet_keeps_its_connections() -> None:
    """What waits for a request keeps its seat; whoever took it could not speak sooner."""
    town = Town()
    shape = traits(QUIET, connections=1, requests_per_minute=1)
    a, b = (town.client(shape, PATIENT) for _ in range(2))
    (first,) = speaking(a)
    done(a, first)
    second = a.speak("Two. ")
    b.speak("Three. ")
    town.advance(PERIOD - 1.0)
    assert not a.doomed() and second.state is SpeechState.WAITING
    town.advance(1.0)
    assert second.state is SpeechState.SPEAKING
    assert a.doomed() == ["another client needs the room"]
    done(a, second)
    hung_up(a)
    assert len(b.wires) == 1
    town.check()


def test_who_has_no_more_than_others_keeps_what_it_uses() -> None:
    """A client with as many connections as the one that waits gives up none that speaks."""
    town = Town()
    a, b = (town.client(traits(SEQUENTIAL, connections=2), PATIENT) for _ in range(2))
    speaking(a)
    speaking(b)
    b.speak("More. ")
    town.advance(5.0)
    assert not a.doomed() and not b.doomed()


def test_no_spare_is_dialled_while_another_client_waits() -> None:
    """What is kept ready for nobody comes last, and comes when there is room again."""
    town = Town()
    greedy = settings(min_idle=3)
    a = town.client(traits(DISCARD, connections=3), greedy)
    b = town.client(traits(DISCARD, connections=3))
    (speech,) = speaking(b)
    (other,) = [b.speak("Two. ")]
    up(b)
    a.speak("One. ")
    town.settle()
    a.up()
    assert len(a.wires) == 1, "there is no room for spares"
    b.interrupt(speech)
    hung_up(b)
    assert len(a.wires) == 2, "now there is"
    b.interrupt(other)
    hung_up(b)
    assert len(a.wires) == 3
    town.check()


def test_a_prewarm_does_not_wait_for_what_others_have() -> None:
    """It ends with what can be had."""
    town = Town()
    a, b = (town.client(traits(SEQUENTIAL, connections=2)) for _ in range(2))
    speaking(a)
    ticket = b.prewarm(2)
    b.up()
    assert ticket.done and ticket.ready == 1


def test_a_client_that_is_slow_to_take_its_turn_gives_it_up() -> None:
    """It has a second; then the next one has its turn, and it goes to the end when it wakes."""
    town = Town()
    a, b, c = (town.client(traits(DISCARD, connections=1), PATIENT) for _ in range(3))
    (speech,) = speaking(a)
    b.speak("Stuck. ")
    c.speak("Next. ")
    b.stuck = True
    a.interrupt(speech)
    hung_up(a)
    assert not b.wires and not c.wires
    town.advance(2 * TURN)
    assert len(c.wires) == 1 and not b.wires
    b.stuck = False
    town.settle()
    assert b.queued == (True, False) and not b.wires
    c.interrupt(next(iter(c.mux._pool.speeches)))
    up(c)
    hung_up(c)
    assert len(b.wires) == 1
    town.check()


def test_who_does_not_need_it_any_more_does_not_wait_for_it() -> None:
    """A speech that is interrupted while it waits leaves the line of clients, too."""
    town = Town()
    a, b, c = (town.client(traits(DISCARD, connections=1), PATIENT) for _ in range(3))
    (speech,) = speaking(a)
    gone = b.speak("Never mind. ")
    c.speak("Next. ")
    b.interrupt(gone)
    assert b.queued == (False, False)
    a.interrupt(speech)
    hung_up(a)
    assert len(c.wires) == 1
    town.check()


def test_a_closed_client_waits_for_nothing_and_holds_what_is_closing() -> None:
    """A socket counts until it is gone, whoever closed it."""
    town = Town()
    a, b, c = (town.client(traits(DISCARD, connections=1), PATIENT) for _ in range(3))
    speaking(a)
    b.speak("Waits. ")
    c.speak("Waits, too. ")
    b.close()
    assert b.queued == (False, False)
    a.close()
    town.settle()
    assert not c.wires
    hung_up(a)
    assert len(c.wires) == 1
    town.check()


def test_a_torn_client_keeps_its_place_until_its_sockets_are_gone() -> None:
    """Its speeches are over at once, its connections when the provider knows of it."""
    town = Town()
    shape = traits(MULTIPLEXED, connections=1, generations=2)
    a, b = (town.client(shape, PATIENT) for _ in range(2))
    speaking(a, 2)
    b.speak("Mine? ")
    assert b.queued == (True, False)
    a.mux.abandon(KeyboardInterrupt())
    a.collect()
    town.settle()
    assert not town.quota.generations.held and len(town.quota.connections.held) == 1
    assert not b.wires
    for conn in a.wires:
        a.mux.lost(conn, Closed(1000), a.now)
    a.collect()
    town.settle()
    assert len(b.wires) == 1
    town.check()


def test_a_connection_that_a_tear_kept_from_being_dialled_is_given_back() -> None:
    """The effects of the torn step are lost: no wire will ever tell of its end."""
    town = Town()
    a, b = (town.client(traits(DISCARD, connections=2), PATIENT) for _ in range(2))
    speaking(a)
    a.mux.speak({}, a.now, text=["Torn. "])
    assert len(town.quota.connections.held) == 2
    b.speak("Mine? ")
    assert b.queued == (True, False)
    a.salvage()
    a.mux.abandon(KeyboardInterrupt())
    a.collect()
    town.settle()
    assert len(b.wires) == 1 and len(town.quota.connections.held) == 2
    for conn in a.wires:
        a.mux.lost(conn, Closed(1000), a.now)
    assert list(town.quota.connections.held.values()) == [b.member]


def test_a_torn_client_gives_up_its_turn() -> None:
    town = Town()
    a, b, c = (town.client(traits(DISCARD, connections=1), PATIENT) for _ in range(3))
    (speech,) = speaking(a)
    b.speak("Torn. ")
    c.speak("Next. ")
    b.mux.abandon(KeyboardInterrupt())
    b.collect()
    town.settle()
    a.interrupt(speech)
    hung_up(a)
    assert not b.wires and len(c.wires) == 1


@pytest.mark.parametrize("limit", ["connections", "generations"])
def test_a_client_that_vanished_without_a_word_is_noticed(limit: str) -> None:
    """Collected, or its event loop is gone: what it had is free when somebody looks."""
    town = Town()
    a, b = (town.client(traits(DISCARD, **{limit: 1}), PATIENT) for _ in range(2))
    speaking(a)
    speech = b.speak("Mine. ")
    b.up()
    town.advance(5.0)
    a.dead = True
    town.quota.left.append(a.member)
    town.advance(TURN)
    b.up()
    assert speech.state is SpeechState.SPEAKING
    a.hung_up()  # a late word changes nothing
    town.settle()
    assert len(town.quota.connections.held) == 1
    town.check()


def test_who_holds_what_another_waits_for_is_rung_for_again() -> None:
    """One that could be rung for in vain may be found to be gone by now; nobody else says so."""
    shape, quota = traits(connections=1, generations=1), Quota()
    holds, waits, idle = (Member(quota) for _ in range(3))
    assert quota.connect(holds, shape, 0.0, wait=True, urgent=True)[0] is not None
    assert quota.speak(holds, shape, 0.0)[0] is not None
    assert quota.connect(waits, shape, 0.0, wait=True, urgent=True) == (None, [holds])
    assert holds.news
    assert quota.look(idle, 1.0) == []
    assert quota.look(waits, 1.0) == quota.look(waits, 2.0) == [holds]
    quota.leave(waits, 3.0, connections=True, generations=False)
    assert quota.look(waits, 3.0) == []
    quota.speak(waits, shape, 3.0)
    assert quota.look(waits, 4.0) == [holds]
    assert quota.look(holds, 4.0) == [], "it rings for nobody who waits, nor for itself"


def test_a_client_that_vanished_while_it_waited_keeps_nobody_waiting() -> None:
    town = Town()
    a, b, c = (town.client(traits(DISCARD, connections=1), PATIENT) for _ in range(3))
    (speech,) = speaking(a)
    b.speak("Gone. ")
    c.speak("Next. ")
    b.dead = True
    town.quota.left.append(b.member)
    a.interrupt(speech)
    hung_up(a)
    assert len(c.wires) == 1
    town.check()


def test_a_turn_lasts_by_the_clock_that_is_ahead() -> None:
    """A clock that lags does not make another client's turn any shorter."""
    shape, quota = traits(connections=1), Quota()
    a, b, c = (Member(quota) for _ in range(3))
    grant, _ = quota.connect(a, shape, 100.0, wait=True, urgent=True)
    assert grant is not None
    quota.connect(b, shape, 100.0, wait=True, urgent=True)
    quota.connect(c, shape, 100.0, wait=True, urgent=True)
    assert quota.give_back(a, [grant], 100.0 - TURN) == [b]
    assert quota.look(c, 100.0) == []
    assert [*quota.connections.queue] == [b, c]
    assert c in quota.look(a, 100.0 + TURN)
    assert [*quota.connections.queue] == [c]


def test_who_came_in_time_keeps_its_place() -> None:
    """Who is called, and finds that a client with other limits was faster, is not passed over."""
    strict, generous, quota = traits(connections=1), traits(connections=9), Quota()
    a, b, c, d = (Member(quota) for _ in range(4))
    grant, _ = quota.connect(a, strict, 0.0, wait=True, urgent=True)
    assert grant is not None
    quota.connect(b, strict, 0.0, wait=True, urgent=True)
    quota.connect(c, strict, 0.0, wait=True, urgent=True)
    quota.give_back(a, [grant], 1.0)
    faster, _ = quota.connect(d, generous, 1.0, wait=True, urgent=True)
    assert faster is not None and quota.connect(b, strict, 1.1, wait=True, urgent=True)[0] is None
    quota.look(c, 1.0 + 2 * TURN)
    assert [*quota.connections.queue] == [b, c]
    b.news = False
    assert quota.give_back(d, [faster], 4.0) == [b]


def test_what_waits_in_vain_is_told_that_others_have_it() -> None:
    """The error names what other clients of the process have."""
    town = Town()
    a, b = (town.client(traits(DISCARD, connections=1)) for _ in range(2))
    speaking(a)
    speech = b.speak("Hello? ")
    town.advance(10.0)
    told = r"connections of the key, 1 of at most 1 \(.*other clients have of it: connections 1"
    with pytest.raises(PoolTimeout, match=told):
        b.read(speech)
    assert b.queued == (False, False)


def test_a_connection_of_ones_own_is_given_up_for_another_voice() -> None:
    """Where the key's connections are spread over clients, one's own idle ones go as ever."""
    town = Town()
    a, b = (town.client(traits(SEQUENTIAL, connections=2)) for _ in range(2))
    speaking(b)
    (speech,) = speaking(a)
    done(a, speech)
    a.speak("Another voice. ", line="other")
    assert a.doomed() == ["another voice needs the room"]
    hung_up(a)
    assert len(a.wires) == 2
    town.check()


def test_each_client_heeds_the_limits_that_it_was_told() -> None:
    """A client that knows of more room takes it, past one that knows of less."""
    town = Town()
    a = town.client(traits(DISCARD, connections=1), PATIENT)
    b = town.client(traits(DISCARD, connections=3), PATIENT)
    speaking(a)
    a.speak("More. ")
    b.speak("Two. ")
    assert len(a.wires) == 1 and len(b.wires) == 1


# --- generations ----------------------------------------------------------------------------------


def test_no_more_speak_at_once_than_the_key_may_have() -> None:
    """Clients share the number; who waits begins when the provider has let go of another."""
    town = Town()
    shape = traits(MULTIPLEXED, generations=3, ends_released=False)
    a, b = (town.client(shape, PATIENT) for _ in range(2))
    first, _second = speaking(a, 2)
    (third,) = speaking(b)
    fourth = b.speak("Four. ")
    assert fourth.state is SpeechState.WAITING and b.queued == (False, True)
    a.audio(first)
    a.done(first)
    town.settle()
    assert fourth.state is SpeechState.WAITING, "it is not released yet"
    id = next(gen.id for gen in a.wires[0].generations.values() if gen.speech is None)
    a.say(a.wires[0], f"released {id}")
    town.settle()
    assert fourth.state is SpeechState.SPEAKING
    assert third.state is SpeechState.SPEAKING
    town.check()


def test_a_client_serves_its_own_in_turn() -> None:
    """Of two voices that wait, the one that came first is next."""
    town = Town()
    a = town.client(traits(MULTIPLEXED, generations=1), PATIENT)
    a.prewarm(1, line="one")
    a.prewarm(1, line="two")
    a.up()
    first = a.speak("One. ", line="one")
    second = a.speak("Two. ", line="two")
    third = a.speak("Three. ", line="one")
    done(a, first)
    assert (second.state, third.state) == (SpeechState.SPEAKING, SpeechState.WAITING)
    done(a, second)
    assert third.state is SpeechState.SPEAKING
    town.check()


def test_no_connection_is_dialled_that_nobody_could_speak_on() -> None:
    """What may speak at once is what is dialled for."""
    harness = Harness(traits(DISCARD, generations=2), PATIENT)
    for _ in range(6):
        harness.speak("Hello. ")
    assert len(harness.wires) == 2


def test_those_who_may_not_speak_yet_count_as_waiting() -> None:
    """A free seat that nobody may take is none."""
    shape = traits(MULTIPLEXED, generations=1)
    harness = Harness(shape, settings(min_idle=0, max_waiting=2))
    harness.prewarm()
    harness.up()
    for _ in range(3):
        harness.speak("Hello. ")
    with pytest.raises(PoolFull):
        harness.speak("No. ")


def test_a_generation_that_is_lost_with_its_connection_is_given_back() -> None:
    town = Town()
    a, b = (town.client(traits(MULTIPLEXED, generations=1), PATIENT) for _ in range(2))
    speaking(a)
    waits = b.speak("Next. ")
    b.up()
    assert waits.state is SpeechState.WAITING
    a.drop(a.wires[0])
    town.settle()
    assert waits.state is SpeechState.SPEAKING
    town.check()


def test_a_generation_that_is_broken_off_counts_until_its_connection_is_gone() -> None:
    """Its provider has yet to hear of that."""
    town = Town()
    a, b = (town.client(traits(MULTIPLEXED, generations=1), PATIENT) for _ in range(2))
    speaking(a)
    waits = b.speak("Next. ")
    b.up()
    a.say(a.wires[0], "what is this?")
    assert a.wires[0].state is ConnectionState.CLOSING
    town.settle()
    assert waits.state is SpeechState.WAITING
    hung_up(a)
    town.settle()
    assert waits.state is SpeechState.SPEAKING
    town.check()


def test_a_sentence_waits_its_turn_on_its_own_connection() -> None:
    """A text that is several requests has each of them counted; its connection stays its own."""
    town = Town()
    shape = traits(SEQUENTIAL, input=Input.WHOLE, max_text=20, generations=1)
    a, b = (town.client(shape, PATIENT) for _ in range(2))
    long = a.speak("The first one. And the second one. ")
    a.up()
    other = b.speak("Hello there. ")
    b.up()
    assert other.state is SpeechState.WAITING
    a.audio(long)
    a.done(long)
    town.settle()
    assert other.state is SpeechState.SPEAKING and long.state is SpeechState.WAITING
    assert len(a.wires) == 1
    done(b, other)
    assert long.state is SpeechState.SPEAKING and a.on(long) is a.wires[0]
    a.audio(long)
    a.done(long)
    assert a.hear(long) and long.state is SpeechState.COMPLETED
    town.check()


def test_what_was_interrupted_waits_for_no_sentence_any_more() -> None:
    town = Town()
    shape = traits(SEQUENTIAL, early_end=EarlyEnd.NEXT_GENERATION, source_pause=2.0, generations=1)
    a, b = (town.client(shape, PATIENT) for _ in range(2))
    kept = a.speak("First. ", end=False)
    a.up()
    waits = b.speak("Second. ")
    b.up()
    town.advance(1.7)
    a.audio(kept)
    a.done(kept)
    town.settle()
    assert waits.state is SpeechState.SPEAKING
    a.write(kept, "Third. ")
    assert a.queued == (False, True)
    a.interrupt(kept)
    assert a.queued == (False, False)
    town.check()


# --- requests -------------------------------------------------------------------------------------


def test_requests_wait_for_the_minute_to_pass() -> None:
    """Two a minute: the third begins a minute, and a second for slow networks, after the first."""
    town = Town()
    a, b = (town.client(traits(QUIET, requests_per_minute=2), PATIENT) for _ in range(2))
    (first,) = speaking(a)
    began = town.now
    done(a, first)
    town.advance(10.0)
    (second,) = speaking(b)
    done(b, second)
    third = a.speak("Three. ")
    fourth = b.speak("Four. ")
    town.until(began + PERIOD - 0.01)
    assert third.state is fourth.state is SpeechState.WAITING
    town.until(began + PERIOD)
    assert third.state is SpeechState.SPEAKING and fourth.state is SpeechState.WAITING
    town.until(began + 10.0 + PERIOD)
    assert fourth.state is SpeechState.SPEAKING
    town.check()


def test_who_would_wait_too_long_is_told_at_once() -> None:
    """The error says when there will be room; nothing was sent."""
    harness = Harness(traits(QUIET, requests_per_minute=1))
    harness.spoken()
    harness.advance(20.0)
    speech = said(harness, "Too soon. ")
    with pytest.raises(AtCapacity, match="speeches in line before this one: 0") as caught:
        harness.read(speech)
    assert type(caught.value) is AtCapacity
    assert caught.value.attempt == speech.metrics().attempts == 0, "nothing was tried"
    assert caught.value.retry_after == pytest.approx(PERIOD - 20.0)
    assert caught.value.retryable and caught.value.phase == "acquire"
    harness.advance(PERIOD - 20.0)
    again = harness.speak("Now. ")
    assert again.state is SpeechState.SPEAKING


def test_who_is_told_at_once_is_told_about_those_before_it() -> None:
    """With two in line for one a minute, the third would wait for three minutes."""
    harness = Harness(
        traits(QUIET, requests_per_minute=1), settings(min_idle=0, acquire_timeout=150.0)
    )
    harness.spoken()
    waiting = [said(harness) for _ in range(3)]
    assert [speech.state for speech in waiting[:2]] == [SpeechState.WAITING] * 2
    with pytest.raises(AtCapacity) as caught:
        harness.read(waiting[2])
    assert caught.value.retry_after == pytest.approx(3 * PERIOD)


def test_a_deadline_of_its_own_counts_too() -> None:
    """A speech that must be done in time is not kept waiting for what comes later."""
    harness = Harness(traits(QUIET, requests_per_minute=1), PATIENT)
    harness.spoken()
    waits, fails = said(harness), said(harness, total=5.0)
    assert waits.state is SpeechState.WAITING
    with pytest.raises(AtCapacity):
        harness.read(fails)


def test_another_route_is_taken_where_there_is_one() -> None:
    """No room at one provider is a reason to go to the next."""
    town = Town()
    a = town.client(traits(QUIET, requests_per_minute=1), LEAN, 0.0, QUIET)
    (speech,) = speaking(a)
    done(a, speech)
    other = a.speak("Elsewhere. ")
    a.up()
    assert other.state is SpeechState.SPEAKING and a.on(other).plan.number == 1
    town.check()


IMPATIENT = settings(min_idle=0, acquire_timeout=2.0)


def busy(limits: Mapping[str, int], *others: Route) -> Harness:
    """Return a client that speaks already; with a seat to spare, where it may have only one."""
    shape = QUIET if "connections" in limits else traits(MULTIPLEXED, ping=None)
    own = Route(adapter=Toy(shape=shape), limits=KeyLimits(**limits))
    harness = Harness(config=IMPATIENT, routes=[own, *others])
    harness.speak("Busy. ", end=False)
    harness.up()
    return harness


@pytest.mark.parametrize("limit", ["connections", "generations"])
def test_who_finds_no_room_in_time_goes_to_the_next_route(limit: str) -> None:
    """When its patience ends, not before: until then somebody may be done. Nothing timed out."""
    harness = busy({limit: 1}, Route(adapter=Toy(shape=QUIET, line="other")))
    harness.advance(0.5)
    speech = said(harness)
    harness.advance(1.999)
    assert speech.plan.number == 0 and speech.state is SpeechState.WAITING
    harness.advance(0.001)
    assert speech.plan.number == 1
    (moved,) = harness.events("speech.rerouted")
    assert moved.fields["error"] == "PoolTimeout"
    harness.up()
    assert speech.state is SpeechState.SPEAKING
    assert harness.mux.stats().timeouts == 0


def test_who_finds_no_room_anywhere_waits_once_a_route() -> None:
    """It has as much patience with the next one, and then fails with what it was told there."""
    other = Toy(shape=traits(QUIET, generations=1), line="other")
    harness = busy({"generations": 1}, Route(adapter=other))
    harness.advance(0.5)
    first = said(harness)
    harness.advance(2.0)
    harness.up()
    assert first.plan.number == 1 and first.state is SpeechState.SPEAKING
    second = said(harness)
    harness.until(6.499)
    assert second.plan.number == 1 and second.state is SpeechState.WAITING
    harness.until(6.5)
    assert isinstance(second.error, PoolTimeout)
    assert harness.mux.stats().timeouts == 1


def test_the_same_voice_over_http_is_no_way_round_a_limit() -> None:
    """A request counts against the same key."""
    stand_in = Route(adapter=Toy(shape=REQUEST), fallback_for=0, limits=KeyLimits(generations=1))
    harness = busy({"generations": 1}, stand_in)
    speech = said(harness)
    harness.advance(2.0)
    assert isinstance(speech.error, PoolTimeout) and not harness.events("speech.rerouted")


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"generations": 1}, "generations of the key, 1 of at most 1"),
        ({"generations": 1, "requests_per_minute": 9}, "generations of the key, 1 of at most 1"),
        ({"connections": 1}, "connections of the key, 1 of at most 1"),
    ],
)
def test_who_waits_in_vain_is_told_which_limit_it_was(limits: dict[str, int], told: str) -> None:
    """Not another one, of which there is plenty."""
    harness = busy(limits)
    speech = said(harness)
    harness.advance(2.0)
    with pytest.raises(PoolTimeout, match=rf"the limit that kept it waiting: {told} \("):
        harness.read(speech)


def test_who_goes_elsewhere_is_judged_by_what_is_allowed_there() -> None:
    """Many a minute at the provider that has failed, few at the next: that one has room."""
    routes = [
        Route(adapter=Toy(shape=traits(QUIET, requests_per_minute=60))),
        Route(adapter=Toy(shape=traits(QUIET, requests_per_minute=5), line="other")),
    ]
    harness = Harness(routes=routes, config=settings(min_idle=0, retry={"breaker_failures": 1}))
    for _ in range(10):
        harness.spoken()
    harness.drop(harness.wires[0], 1000)
    first = harness.ask()
    harness.refuse(harness.wires[-1], 503)
    second = harness.ask()
    harness.up()
    assert first.state is second.state is SpeechState.SPEAKING
    assert harness.on(second).plan.number == 1


def waiting_voices() -> tuple[Harness, Speech]:
    """One request a minute, made at 0; a speech of one voice waits, another voice is ready."""
    harness = Harness(traits(QUIET, requests_per_minute=1), PATIENT)
    harness.spoken()
    harness.prewarm(1, line="two")
    first = harness.ask(line="one")
    harness.up()
    harness.advance(PERIOD - 1.0)
    assert first.state is SpeechState.WAITING
    return harness, first


def test_who_came_first_is_not_overtaken_by_another_voice() -> None:
    """Nobody has looked yet whether the minute is over, when another speech comes."""
    harness, first = waiting_voices()
    harness.now = PERIOD + 0.0004
    second = harness.ask(line="two")
    assert first.state is SpeechState.SPEAKING and second.state is SpeechState.WAITING
    harness.audio(first)
    harness.done(first)
    harness.advance(PERIOD)
    assert second.state is SpeechState.SPEAKING


def test_who_is_overtaken_with_right_keeps_its_place() -> None:
    """An older speech, whose dial took its time, goes first; the other goes on waiting."""
    harness = Harness(traits(QUIET, requests_per_minute=1), PATIENT)
    harness.spoken()
    harness.prewarm(1, line="two")
    harness.up()
    first, second = harness.ask(line="one"), harness.ask(line="two")
    harness.now = PERIOD + 0.0004
    harness.up()
    assert first.state is SpeechState.SPEAKING and second.state is SpeechState.WAITING
    (member,) = harness.mux.members
    assert member is not None and member.quota.waits(member) == (False, True)
    harness.advance(PERIOD)
    assert second.state is SpeechState.SPEAKING


def test_the_next_sentence_is_not_overtaken() -> None:
    """Who speaks already comes before those that have yet to begin, and they in their order."""
    shape = traits(SEQUENTIAL, input=Input.WHOLE, max_text=20, requests_per_minute=1, ping=None)
    harness = Harness(shape, PATIENT)
    long = [harness.ask("The first one. And the second one. ", line=line) for line in ("a", "b")]
    harness.up()
    assert [speech.state for speech in long] == [SpeechState.SPEAKING, SpeechState.WAITING]
    harness.prewarm(1, line="c")
    harness.up()
    for turn, speech in enumerate((long[0], long[0], long[1], long[1]), 1):
        assert speech.state is SpeechState.SPEAKING
        harness.audio(speech)
        harness.done(speech)
        harness.hear(speech)
        harness.now = turn * PERIOD + 0.0004 * turn
        if turn < 4:
            younger = harness.ask(line="c")
            assert younger.state is SpeechState.WAITING
            harness.interrupt(younger)
    assert [speech.state for speech in long] == [SpeechState.COMPLETED] * 2


def sentences(total: float | None = None) -> tuple[Harness, Speech]:
    """One request a minute, and nobody waits for long: the first of three sentences is spoken."""
    shape = traits(SEQUENTIAL, input=Input.WHOLE, max_text=20, requests_per_minute=1, ping=None)
    harness = Harness(shape, LEAN)
    speech = said(harness, "The first one. And the second one. And the third. ", total)
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert speech.state is SpeechState.WAITING and speech.under_way
    return harness, speech


@pytest.mark.parametrize("loses", [False, True])
def test_what_is_under_way_waits_for_its_minute(loses: bool) -> None:
    """However long the minute: a speech is not broken off by a limit that is only ours."""
    harness, speech = sentences()
    began = harness.now
    for turn in (1, 2):
        if loses:
            harness.drop(harness.wires[-1], 1001)
            harness.up()
        harness.until(began + turn * PERIOD - 0.01)
        assert speech.state is SpeechState.WAITING
        assert speech.error is None and harness.mux.stats().waiting == 1
        harness.until(began + turn * PERIOD)
        assert speech.state is SpeechState.SPEAKING, "to the instant"
        harness.audio(speech)
        harness.done(speech)
    assert harness.finish(speech) == 3 * b"\1\2\3\4"
    assert len(harness.dials()) == (3 if loses else 1)


def test_what_is_under_way_waits_for_its_minute_within_its_own_deadline() -> None:
    """To its end: who asks for that may want what can be had by then."""
    harness, speech = sentences(total=30.0)
    harness.until(29.99)
    assert speech.state is SpeechState.WAITING
    harness.until(30.0)
    assert isinstance(speech.error, DeadlineExceeded)


def test_what_is_under_way_has_all_of_its_time_after_its_minute() -> None:
    """For what is no limit of ours: its connection is lost just before, and no dial comes about."""
    harness, speech = sentences()
    harness.until(59.0)
    harness.drop(harness.wires[-1], 1001)
    assert len(harness.dials()) == 2
    harness.until(69.0)  # it was last found to wait for its minute at 60
    assert speech.state is SpeechState.WAITING and len(harness.dials()) == 3
    harness.until(70.0)
    assert isinstance(speech.error, PoolTimeout)


def test_what_is_under_way_waits_no_longer_than_ever_where_no_minute_counts() -> None:
    """There is no room for it, for another voice speaks all the time."""
    shape = traits(SEQUENTIAL, input=Input.WHOLE, max_text=20, ping=None)
    harness = Harness(shape, settings(min_idle=0, max_size=1))
    speech = said(harness, "The first one. And the second one. ")
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    harness.audio(speech)
    other = harness.ask(line="other")
    harness.drop(harness.on(speech))
    assert speech.under_way and speech.state is SpeechState.WAITING
    harness.until(9.99)
    assert not speech.over and not other.over
    harness.until(10.0)
    assert isinstance(speech.error, PoolTimeout)


def test_what_is_begun_again_comes_first_and_counts_again() -> None:
    """A retry is a request, too."""
    harness = Harness(
        traits(QUIET, requests_per_minute=2), settings(min_idle=0, acquire_timeout=100.0)
    )
    speech = harness.speak("Hello. ")
    harness.up()
    later = harness.speak("Later. ")
    harness.drop(harness.wires[0])
    harness.advance(1.0)
    harness.up()
    assert speech.state is SpeechState.SPEAKING and later.state is SpeechState.WAITING
    harness.audio(speech)
    harness.done(speech)
    assert later.state is SpeechState.WAITING
    harness.advance(PERIOD)
    assert later.state is SpeechState.SPEAKING


@given(
    begun=st.lists(st.floats(0, 100), max_size=8),
    each=st.integers(1, 4),
    ahead=st.integers(0, 9),
)
def test_when_there_will_be_room_is_what_comes_of_it(
    begun: list[float], each: int, ahead: int
) -> None:
    """The instant that is told is the one at which a patient client would be served."""
    quota = Quota()
    shape = traits(requests_per_minute=each)
    pot, now = quota.generations, 100.0
    pot.begun.extend(sorted(begun))
    told = quota.open_at(shape, ahead, now)
    at = now
    for _ in range(ahead + 1):
        while pot.room(shape, at) < 1:
            # When the next one is forgotten; with no room there is one.
            at = pot.begun[0] + PERIOD
        last = at
        pot.begun.append(at)
    assert told == pytest.approx(last)


def test_requests_are_remembered_for_a_minute() -> None:
    """Whoever comes next must know of them, though all who made them are gone."""
    begun: deque[float] = deque()
    shape, quota = traits(requests_per_minute=1), Quota(None, begun)
    assert not recent(begun, 0.0)
    assert quota.speak(Member(quota), shape, 0.0)[0] is not None
    del quota
    assert recent(begun, PERIOD - 0.01) and not recent(begun, PERIOD)
    later = Quota(None, begun)
    assert later.speak(Member(later), shape, PERIOD - 0.01)[0] is None
    assert later.speak(Member(later), shape, PERIOD)[0] is None, "who came first has its turn"


# --- nothing to count -----------------------------------------------------------------------------


def test_where_nothing_is_limited_there_is_nothing() -> None:
    harness = Harness(SEQUENTIAL)
    assert harness.mux.members == (None,)
    assert harness.mux._pool.admission.desks == ()


def test_what_stands_in_for_a_route_shares_its_limits() -> None:
    """It has the same key; that it is not limited itself takes nobody's turn."""
    routes = [
        Route(adapter=Toy(shape=traits(connections=1))),
        Route(adapter=Toy(shape=traits(connections=1)), fallback_for=0),
        Route(adapter=Toy(shape=traits(connections=1), line="other")),
        Route(adapter=Toy(), fallback_for=0),
        Route(adapter=Toy()),
    ]
    own, over_http, other, unlimited, free = Harness(routes=routes).mux.members
    assert own is over_http is unlimited is not None
    assert other is not None and other.quota is not own.quota and free is None


def test_what_is_not_limited_takes_nobodys_turn() -> None:
    """A request over HTTP comes between; the client's place in line stays its own."""
    shape, request, quota = traits(connections=1, generations=1), traits(), Quota()
    holds, mine, other = (Member(quota) for _ in range(3))
    grants = [quota.connect(holds, shape, 0.0, wait=True, urgent=True)[0]]
    grants.append(quota.speak(holds, shape, 0.0)[0])
    for member in (mine, other):
        quota.connect(member, shape, 0.0, wait=True, urgent=True)
        quota.speak(member, shape, 0.0)
    assert quota.connect(mine, request, 0.0, wait=True, urgent=True)[0] is not None
    assert quota.speak(mine, request, 0.0)[0] is not None
    assert [*quota.connections.queue] == [*quota.generations.queue] == [mine, other]


def test_what_the_user_knows_comes_before_what_the_adapter_knows() -> None:
    """A limit that is not given stays as it was."""
    limits = KeyLimits(connections=9, requests_per_minute=7)
    route = Route(adapter=Toy(), limits=limits)
    found = route.limited(traits(connections=2, generations=3))
    assert (found.connections, found.generations, found.requests_per_minute) == (9, 3, 7)
    harness = Harness(traits(DISCARD, connections=1), limits=KeyLimits(connections=3))
    for _ in range(5):
        harness.speak("Hello. ")
    assert len(harness.wires) == 3


# --- whatever happens -----------------------------------------------------------------------------


LIMITS = ("connections", "generations", "requests_per_minute")


class Walk:
    """A town in which anything may happen, and an eye on what must not."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.shape = traits(
            rng.choice((DISCARD, SEQUENTIAL, MULTIPLEXED)),
            connections=rng.choice((None, 1, 2, 4)),
            generations=rng.choice((None, 1, 2, 5)),
            requests_per_minute=rng.choice((None, None, 3, 10)),
            ping=None,
        )
        self.town = Town()
        self.config = settings(
            min_idle=rng.choice((0, 0, 1, None)),
            max_size=rng.choice((1, 3, 8)),
            acquire_timeout=10_000.0,
            timeouts={"first_audio": 9_000.0, "gap": 9_000.0, "release": 9_000.0},
            retry={
                "attempts": 1000,
                "budget": rng.choice((None, None, 30, 500)),
                "breaker_failures": rng.choice((None, None, 1, 3)),
            },
        )
        # The same voice over HTTP, as limited or not at all.
        known = {name: getattr(self.shape, name) for name in LIMITS}
        self.stand_in = rng.choice((None, None, REQUEST, traits(REQUEST, **known)))
        self.requests: list[float] = []
        for _ in range(rng.randint(2, 4)):
            self.enter()
        self.speeches: list[tuple[Client, Speech]] = []

    def enter(self) -> None:
        skew = self.rng.uniform(-500.0, 500.0)
        self.town.client(self.shape, self.config, skew, stand_in=self.stand_in)

    def act(self) -> None:
        rng, town = self.rng, self.town
        client = rng.choice([c for c in town.clients if not c.dead])
        what = rng.choice(
            ("speak", "speak", "speak", "up", "up", "refuse", "audio", "done", "done", "interrupt",
             "drop", "hung up", "hung up", "pass", "stuck", "unstuck", "leave", "tear", "prewarm")
        )  # fmt: skip
        mine = [s for c, s in self.speeches if c is client and not s.over]
        coming = [c for c in client.wires if c.state is ConnectionState.DIALLING]
        seated = [s for s in mine if s.generation is not None]
        match what:
            case "speak":
                options = rng.choice(({}, {"line": "two"}))
                self.speeches.append((client, self.ask(client, options)))
            case "up" if coming:
                client.up(rng.choice(coming))
            case "refuse" if coming:
                client.refuse(rng.choice(coming))
            case "audio" if seated:
                client.audio(rng.choice(seated))
            case "done" if seated:
                speech = rng.choice(seated)
                client.audio(speech)
                client.done(speech)
                client.hear(speech)
            case "interrupt" if mine:
                client.interrupt(rng.choice(mine))
            case "drop" if client.open:
                client.drop(rng.choice(client.open))
            case "hung up":
                self.closings(client)
            case "pass":
                town.advance(rng.choice((0.01, 0.5, 1.0, 5.0, 70.0)))
            case "stuck" if rng.random() < 0.3:
                client.stuck = True
            case "unstuck":
                client.stuck = False
                client.look()
            case "leave" if len(town.clients) < 7 and rng.random() < 0.2:
                self.vanish(client)
            case "tear" if len(town.clients) < 7 and rng.random() < 0.2:
                if rng.random() < 0.5:  # before the effects of its step were carried out
                    client.mux.speak({}, client.now, text=["Torn. "])
                    client.salvage()
                client.mux.abandon(KeyboardInterrupt())
                client.collect()
                town.settle()
                dialled = [conn for conn in client.counted if conn.handle is not None]
                held = list(town.quota.connections.held.values())
                assert held.count(client.member) == len(dialled)
                for conn in dialled:
                    client.mux.lost(conn, Closed(1000), client.now)
                    client.collect()
                    town.settle()
                self.vanish(client)
            case "prewarm":
                client.prewarm(rng.randint(1, 2), timeout=5.0)
        self.town.settle()
        self.look()

    def ask(self, client: Client, options: dict[str, object]) -> Speech:
        speech = client.ask(**options)
        self.town.settle()
        return speech

    def closings(self, client: Client) -> None:
        """What was hung up is gone, and so is what an interrupted generation had."""
        client.hung_up()
        for conn in client.open:
            for gen in list(conn.generations.values()):
                if gen.speech is None:
                    client.say(conn, f"released {gen.id}")
        for conn in [c for c in client.wires if c.state is ConnectionState.BARRIER]:
            client.say(conn, "ack -")

    def vanish(self, client: Client) -> None:
        client.dead = True
        self.town.quota.left.append(client.member)
        self.speeches = [(c, s) for c, s in self.speeches if c is not client]
        self.enter()

    def look(self) -> None:
        """Never over a limit, and all else that `Town.check` looks at."""
        shape, quota = self.shape, self.town.quota
        there = [c for client in self.town.clients if not client.dead for c in client.wires]
        there = [conn for conn in there if conn.state is not ConnectionState.CLOSED]
        if self.stand_in == REQUEST:  # which nothing limits
            there = [conn for conn in there if conn.plan.number == 0]
        elif shape.connections is not None:
            assert len(quota.connections.held) <= shape.connections
        if shape.connections is not None:
            assert len(there) <= shape.connections
        if shape.generations is not None:
            assert sum(len(conn.generations) for conn in there) <= shape.generations
        if shape.requests_per_minute is not None and self.stand_in != REQUEST:
            recent = [at for at in quota.generations.begun if at > self.town.now - 60.0]
            assert len(recent) <= shape.requests_per_minute
        self.town.check()

    def play(self) -> None:
        for _ in range(self.rng.randint(20, 120)):
            self.act()
        self.end()

    def end(self) -> None:
        """When all goes well from here on, everybody is served."""
        for client in self.town.clients:
            client.stuck = False
            if not client.dead:
                client.look()
        self.town.serve = self.serve
        for _ in range(200):
            self.town.advance(10.0)
            self.look()
            waiting = [speech for _, speech in self.speeches if not speech.over]
            if not waiting:
                break
        else:
            pytest.fail(f"never served: {waiting}")
        retry = self.config.retry
        if retry.budget is None and retry.breaker_failures is None:
            failed = [speech for _, speech in self.speeches if speech.state is SpeechState.FAILED]
            assert not failed, [speech.error for speech in failed]

    def serve(self) -> None:
        """All providers do at once what they are asked for."""
        for client in [c for c in self.town.clients if not c.dead]:
            client.up()
            self.closings(client)
        for client, speech in self.speeches:
            if not speech.over and speech.generation is not None:
                client.audio(speech)
                client.done(speech)
            if not speech.over:
                client.hear(speech)


@pytest.mark.counted
@pytest.mark.parametrize("part", range(8))
def test_whatever_happens(part: int) -> None:
    """Clients come, go, hang, are torn; limits hold, nobody is forgotten, all are served."""
    for seed in range(part, 400, 8):
        walk = Walk(seed)
        try:
            walk.play()
        except BaseException as exc:
            exc.add_note(f"seed {seed}: {walk.shape!r}")
            raise


# --- torn in the middle ---------------------------------------------------------------------------


def torn_at(line: int, call: Callable[[], object]) -> bool:
    """Run *call*, and raise KeyboardInterrupt at its *line*-th step there; tell if it had one."""
    left = line

    def trace(frame: FrameType, event: str, arg: object) -> object:
        nonlocal left
        if not frame.f_code.co_filename.endswith("quota.py"):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("what", ["connect", "speak", "give back", "leave", "look"])
def test_a_step_that_is_cut_short_leaves_nothing_wrong(what: str) -> None:
    """Whichever line it is: no limit is passed, and what the torn client had comes back."""
    lines = 1
    while cut_short(what, lines):
        lines += 1
    assert lines > 5, "it was torn somewhere"


def cut_short(what: str, line: int) -> bool:
    """Tear *what* at its *line*-th step, and see that all is well; tell if it had as many."""
    shape, quota = traits(connections=2, generations=2), Quota()
    torn, other = Member(quota), Member(quota)
    mine, _ = quota.connect(torn, shape, 0.0, wait=True, urgent=True)
    voice, _ = quota.speak(torn, shape, 0.0)
    assert mine is not None and voice is not None
    grants: list[Grant] = [mine, voice]
    calls: dict[str, Callable[[], object]] = {
        "connect": lambda: quota.connect(torn, shape, 1.0, wait=True, urgent=True),
        "speak": lambda: quota.speak(torn, shape, 1.0),
        "give back": lambda: quota.give_back(torn, grants, 1.0),
        "leave": lambda: quota.leave(torn, 1.0, connections=True, generations=True),
        "look": lambda: quota.look(torn, 1.0),
    }
    was_torn = torn_at(line, calls[what])
    for _ in range(3):
        quota.connect(other, shape, 2.0, wait=True, urgent=True)
        quota.speak(other, shape, 2.0)
    assert len(quota.connections.held) <= 2 and len(quota.generations.held) <= 2
    quota.left.append(torn)
    quota.look(other, 3.0)
    assert torn not in [*quota.connections.held.values(), *quota.generations.held.values()]
    assert torn not in [*quota.connections.queue, *quota.generations.queue]
    for _ in range(2):
        quota.connect(other, shape, 4.0, wait=True, urgent=True)
        quota.speak(other, shape, 4.0)
    assert len(quota.connections.held) == len(quota.generations.held) == 2
    return was_torn
