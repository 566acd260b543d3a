"""A bad day: outages, restarts, refused keys, many voices. In virtual time, with seeded dice."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from tests.core.helpers import Harness, Toy, opened, settings, traits
from tests.core.service import Service, peak, well
from tests.core.test_breaker import breaker
from ttsmux.core.connection import Connection
from ttsmux.core.route import Route
from ttsmux.core.speech import END
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import AuthError
from ttsmux.settings import Interrupt, Settings

QUIET = traits(ping=None)
HOUR = 3600.0
SEEDS = int(os.environ.get("TTSMUX_STORMS", "2"))
"""Rolls of the dice by which a provider fails every second time; each takes about a second."""


# --- a key that is refused after the upgrade ------------------------------------------------------


def refuse_keys(harness: Harness, good: Callable[[Connection], bool]) -> None:
    """Let all dials succeed, and close at once what was opened with a key that is no good."""
    for conn in [conn for conn in harness.wires if conn.state is ConnectionState.DIALLING]:
        harness.up(conn)
        if not good(conn):
            harness.drop(conn, 1008, "bad key")


def test_a_prewarmed_key_that_is_refused_after_the_upgrade() -> None:
    """Each once more with a fresh key, and then nothing in an hour: nothing is hoped for."""
    harness = Harness(QUIET, Settings(), refreshable=True)
    ticket = harness.prewarm(1)
    for _ in range(3600):
        refuse_keys(harness, lambda conn: False)
        harness.advance(1.0)
    with pytest.raises(AuthError):
        harness.read(ticket)
    assert len(harness.dials()) <= 4  # one and its spare, each once more
    assert max(conn.began for conn in harness.wires) < 1.0


def test_a_prewarmed_key_that_is_refused_once_is_fetched_anew() -> None:
    """And works: nobody hears of it."""
    harness = Harness(QUIET, Settings(), refreshable=True)
    ticket = harness.prewarm(1)
    while len(harness.dials()) < 3:
        refuse_keys(harness, lambda conn: False)
        harness.advance(0.1)
    for _ in range(600):
        refuse_keys(harness, lambda conn: True)
        harness.advance(1.0)
    assert harness.read(ticket) is END and ticket.ready == 2
    assert len(harness.dials()) <= 4
    speech = harness.speak("Hello. ")
    assert speech.generation is not None


def live(harness: Harness, until: float, good: Callable[[Connection], bool]) -> None:
    """Let each dial take 0.25 s; what was opened with a bad key is closed 0.125 s after that."""
    while harness.now < until:
        for conn in harness.wires.copy():
            if conn.state is ConnectionState.DIALLING and harness.now == conn.began + 0.25:
                harness.up(conn)
            elif not conn.over and not good(conn) and harness.now == conn.began + 0.375:
                harness.drop(conn, 1008, "bad key")
        harness.advance(0.125)


def dialled(harness: Harness) -> list[float]:
    """Return when each dial began."""
    return [dial.conn.began for dial in harness.dials()]


@pytest.mark.parametrize(
    ("asks", "instants"),
    [
        # One and its spare, both with the old key; and the one that is missing, with a fresh one.
        ("prewarm", [0.0, 0.0, 0.375]),
        # That again for a speech; and one spare more when it has waited for the second one, too.
        ("speak", [0.0, 0.0, 0.375, 0.375, 0.625]),
    ],
)
def test_when_what_is_dialled_for_a_key_that_is_refused_after_the_upgrade(
    asks: str, instants: list[float]
) -> None:
    """A fresh key at the instant of the first refusal, the end at that of the second."""
    harness = Harness(QUIET, Settings(), refreshable=True)
    speech = harness.speak("Hello. ") if asks == "speak" else None
    ticket = harness.prewarm(1) if asks == "prewarm" else None
    live(harness, HOUR, lambda conn: False)
    assert dialled(harness) == instants
    assert ticket is None or harness.read(ticket) is END, "they came up, first"
    if speech is not None:
        assert isinstance(speech.error, AuthError) and speech.metrics().total == 0.75
    late = harness.speak("Hello? ")
    live(harness, 2 * HOUR, lambda conn: False)
    assert isinstance(late.error, AuthError) and late.metrics().total == 0.375
    assert dialled(harness) == [*instants, HOUR]


# --- voices ---------------------------------------------------------------------------------------


def test_two_keys_and_room_for_two_connections_need_three_dials_an_hour() -> None:
    """The first one's, its spare's, and the second one's in that place; then both have theirs."""
    service = Service(Harness(QUIET, settings(min_idle=1, max_size=2)))
    for turn in range(240):
        service.until(turn * 15.0)
        service.ask(line="ab"[turn % 2])
    service.until(HOUR)
    assert len(service.completed) == 240
    assert len(service.dials) == 3


def test_two_keys_that_are_interrupted_all_the_time() -> None:
    """Where each interruption costs the connection: a dial for each, and no more than that."""
    harness = Harness(QUIET, settings(min_idle=1, max_size=2), interrupt=Interrupt.DISCARD)
    service = Service(harness, turn=lambda now: "silent")
    for turn in range(240):
        service.until(turn * 15.0)
        speech = service.ask(line="ab"[turn % 2])
        service.after(1.0, harness.interrupt, speech)
    service.until(HOUR)
    assert all(speech.state is SpeechState.INTERRUPTED for speech in service.speeches)
    assert len(service.dials) <= 2 * 240 + 2
    assert peak(service.dials, 15.0) <= 4


def test_fifty_voices_on_one_client() -> None:
    """A speech a second, each of another voice, with eight sockets: all are spoken, in time."""
    rng = random.Random(50)
    harness = Harness(QUIET, Settings())
    service = Service(harness)
    for second in range(600):
        service.until(float(second))
        service.ask(voice=f"v{rng.randrange(50)}")
    service.until(700.0)
    assert len(service.completed) == 600
    assert service.most <= 8
    assert len(service.dials) <= 600 + 50
    assert max(service.took(speech) for speech in service.speeches) < 0.5


def test_fifty_voices_at_once() -> None:
    """Eight speak at a time; the last is heard before the acquire timeout."""
    service = Service(Harness(QUIET, settings(min_idle=0)))
    for voice in range(50):
        service.ask(voice=f"v{voice}")
    service.until(30.0)
    assert len(service.completed) == 50
    assert service.most == 8 and len(service.dials) == 50
    ends = [service.done[speech] for speech in service.speeches]
    assert ends == sorted(ends), "first come, first served"


# --- a provider in trouble ------------------------------------------------------------------------


def flapping(kind: str, seed: int, n: int, **retry: object) -> Service:
    """
    Ask for *n* speeches one after the other, a second apart at least.

    Every second try fails, by chance. Where dials are what fails, each speech needs one: there are
    no spares, and what has spoken ends.
    """
    rng = random.Random(seed)

    def half(now: float) -> str:
        return "well" if rng.random() < 0.5 else kind

    dials = kind == "refused"
    harness = Harness(QUIET, settings(retry=retry, min_idle=0 if dials else None), seed=seed)
    service = Service(harness, dial=half if dials else well, turn=well if dials else half)
    for _ in range(n):
        speech = service.ask()
        service.until(harness.now + 1.0)
        while speech not in service.done:
            service.until(harness.now + 1.0)
        if dials:
            lose(service)
    return service


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", ["refused", "error", "torn"])
def test_a_provider_that_fails_half_of_the_time(kind: str, seed: int) -> None:
    """With the defaults, 99 of 100 speeches are spoken, and the budget pays for all of them."""
    service = flapping(kind, seed, 500)
    stats = service.harness.mux.stats()
    tries = len(service.dials if kind == "refused" else service.turns)
    print(f"{kind:8} seed {seed:3}: {len(service.completed)} of 500 spoken, {tries} tries")
    assert len(service.completed) >= 495
    assert stats.unpaid == 0 and stats.circuits_opened == 0
    assert 850 < tries < 1150, "one of two fails"


@pytest.mark.parametrize("kind", ["refused", "error"])
def test_how_much_of_a_flapping_provider_is_borne(kind: str) -> None:
    """As the settings have it: fewer tries, or fewer failures in a row, complete fewer speeches."""
    found = []
    policies: list[dict[str, object]] = [
        {"attempts": 3, "breaker_failures": 5},
        {"attempts": 3},
        {"attempts": 5},
        {},
    ]
    for retry in policies:
        service = flapping(kind, 1, 200, **retry)
        stats = service.harness.mux.stats()
        found.append(len(service.completed))
        print(f"{kind:8} {found[-1]:4} of 200 with {retry}, {stats.circuits_opened} openings")
    assert found == sorted(found) and found[-1] >= 198


OUTAGES = {
    "refused": {"dial": lambda now: "refused"},
    "hangs": {"dial": lambda now: "hangs"},
    "torn": {"turn": lambda now: "torn"},
    "error": {"turn": lambda now: "error"},
    "silent": {"turn": lambda now: "silent"},
    "503": {"dial": lambda now: "503"},
    "503 after 30": {"dial": lambda now: "503 after 30"},
    "429": {"dial": lambda now: "429"},
    "429 after 5": {"dial": lambda now: "429 after 5"},
    "429 after 30": {"dial": lambda now: "429 after 30"},
}
ASKED = 150.0
"""Seconds after which nobody waits for a Retry-After any more: five of half a minute each."""


NEVER = settings(min_idle=0, retry={"attempts": 1, "breaker_failures": None})
"""A client that tries each speech once, whatever happens, and keeps nothing ready."""
BEGIN, END_OF_IT, OVER = 20.0, 620.0, 720.0


def ten_minutes(kind: str, pace: float, config: Settings, seed: int = 0) -> tuple[Service, int]:
    """
    Go through an outage with a speech every *pace* seconds.

    Returns:
        also how much was sent to the provider meanwhile: dials, and what is spoken on connections.
    """
    service = Service(Harness(QUIET, config, seed=seed))
    at = 0.0
    while at < OVER:
        service.at(at, service.ask)
        at += pace
    service.until(BEGIN)
    assert len(service.completed) >= 19 / pace
    for what, fate in OUTAGES[kind].items():
        setattr(service, what, fate)
    if "dial" in OUTAGES[kind]:
        lose(service)
    before = len(service.dials) + len(service.turns)
    service.until(END_OF_IT)
    return service, len(service.dials) + len(service.turns) - before


def once_each(kind: str, pace: float) -> int:
    """Return what a client sends that tries each speech once, as if it were told of no time."""
    return ten_minutes(kind.partition(" after ")[0], pace, NEVER)[1]


@pytest.mark.counted
@pytest.mark.parametrize("kind", OUTAGES)
def test_an_outage_costs_the_provider_little_whatever_the_dice(kind: str) -> None:
    """From a speech every 15 seconds on: 1.1 times what it costs to try each of them once."""
    for pace in (10.0, 15.0):
        never = once_each(kind, pace)
        for seed in range(3 * SEEDS):
            sent = ten_minutes(kind, pace, Settings(), seed)[1]
            assert sent <= 1.1 * never, f"{sent} for {never}, a speech each {pace} s, seed {seed}"


@pytest.mark.parametrize("kind", OUTAGES)
def test_what_rare_callers_cost_is_what_it_takes_to_find_out(kind: str) -> None:
    """
    The ten tries of the first of them, and then about one each.

    Where connections are torn under a speech, that counts twice, for a dial and what is sent on it;
    and an idle one that ends under a speech may just have been old, so each is tried once more.
    """
    torn = kind == "torn"
    for pace in (30.0, 60.0):
        never = once_each(kind, pace)
        for seed in range(3 * SEEDS):
            sent = ten_minutes(kind, pace, Settings(), seed)[1]
            assert sent <= (2 * never if torn else 1.1 * never) + 10 * (1 + torn), (
                f"{sent} for {never}, a speech each {pace} s, seed {seed}"
            )


@pytest.mark.counted
@pytest.mark.parametrize("pace", [0.25, 1.0, 10.0])
@pytest.mark.parametrize("kind", OUTAGES)
def test_ten_minutes_of_outage(kind: str, pace: float) -> None:
    """The provider is asked no more than 1.1 times as often as by one try each; all soon know."""
    service, sent = ten_minutes(kind, pace, Settings())
    harness, begin, end, over = service.harness, BEGIN, END_OF_IT, OVER
    asked = [s for s in service.speeches if begin < service.asked[s] <= end]
    known = ASKED if kind.endswith("after 30") else 60.0
    probes = harness.mux.stats().circuits_opened
    probes = probes or sum(instant > begin + known for instant in service.dials)
    assert 5 < probes <= 25
    never = once_each(kind, pace) if pace > 1.0 else len(asked)  # at least
    assert sent <= 1.1 * never, f"{sent} for {never}"
    # Fast: in the very step, but for those who found out what is the matter.
    slow = [s for s in asked if s in service.done and service.took(s) > 0.0]
    after = [s for s in slow if service.asked[s] > begin + known]
    # An idle connection that is torn may only have been old: a try, a dial, and a try again.
    found_out = {"hangs": 5.0, "silent": 5.0, "torn": 0.3}.get(kind, 0.2)
    assert len(after) <= probes * (found_out / pace + 1), f"{len(after)} of {len(asked)}"
    assert all(service.took(s) <= found_out + 0.1 for s in after)
    print(f"{kind:12} {len(asked):5} asked {sent:4} sent {probes:3} probes {len(slow):4} slow")
    # And it is over soon after it is over.
    service.dial = service.turn = well
    service.until(over)
    # The last probe of the outage may be just over, or under way yet.
    late = [s for s in service.speeches if service.asked[s] > end + found_out + 72.0 + pace]
    assert late and all(s.state is SpeechState.COMPLETED for s in late[:-1])
    assert breaker(harness).closed


@pytest.mark.parametrize("kind", [kind for kind in OUTAGES if "after" in kind])
def test_ten_minutes_of_outage_with_somebody_else_to_ask(kind: str) -> None:
    """All are spoken, and none waits for a Retry-After: only who found out was late, for a dial."""
    routes = [Route(adapter=Toy(shape=QUIET, line=line)) for line in "ab"]
    harness = Harness(routes=routes, config=Settings())
    service = Service(harness)
    by_route = [0, 0]

    def dial(conn: Connection, fate: str) -> None:
        by_route[conn.plan.number] += 1
        answer(conn, "well" if conn.plan.number else kind)

    answer, service.answer = service.answer, dial  # type: ignore[method-assign]
    for second in range(600):
        service.at(float(second), service.ask)
    service.until(620.0)
    assert len(service.completed) == 600
    assert all(speech.plan.number == 1 for speech in service.speeches)
    assert by_route[0] <= 30 and by_route[1] <= 2
    assert sum(service.took(speech) > 0.11 for speech in service.speeches) <= by_route[0]
    assert max(service.took(speech) for speech in service.speeches) < 0.31


# --- all at once ----------------------------------------------------------------------------------


def fleet(n: int, **pool: object) -> list[Service]:
    """Return *n* clients, each with a connection that has spoken and a spare."""
    services = []
    for seed in range(n):
        service = Service(Harness(QUIET, settings(min_idle=1, **pool), seed=seed))
        service.ask()
        service.until(100.0)
        assert len(service.completed) == 1 and len(service.dials) == 2
        services.append(service)
    return services


def lose(service: Service, code: int | None = 1012) -> None:
    for conn in list(service.harness.mux._pool.connections):
        service.harness.drop(conn, code)
    service.perform()


def test_a_thousand_clients_that_lose_their_connections_at_one_instant() -> None:
    """In no second do more than a tenth of them come back; in twenty all have, however they end."""
    services = fleet(1000)
    codes = (1012, 1001, None)
    for number, service in enumerate(services):
        lose(service, codes[number % 3])
        service.until(130.0)
    dials = [instant for service in services for instant in service.dials[2:]]
    assert len(dials) == 1000
    assert peak(dials) <= 100
    for first in range(3):
        mine = [instant for service in services[first::3] for instant in service.dials[2:]]
        assert 100.0 <= min(mine) < 101.0 and 119.0 < max(mine) <= 120.0
        assert peak(mine) <= 40
    assert all(service.harness.mux.stats().seats_free == 1 for service in services)


def test_a_thousand_clients_whose_provider_takes_a_while_to_restart() -> None:
    """Dials that fail do not come sooner again than the first did."""
    services = fleet(1000)
    for service in services:
        service.dial = lambda now: "well" if now > 130.0 else "refused"
        lose(service)
        service.until(300.0)
    dials = [instant for service in services for instant in service.dials[2:]]
    assert peak(dials) <= 100
    assert all(service.harness.mux.stats().seats_free == 1 for service in services)


def test_a_caller_waits_for_no_jitter() -> None:
    """Whoever speaks is dialled for in that very step, whether the connection is lost under it."""
    (service,) = fleet(1)
    lose(service)
    assert len(service.dials) == 2
    service.ask()
    assert len(service.dials) == 3
    service.until(100.2)
    assert len(service.completed) == 2


def test_without_jitter_a_spare_is_back_at_once() -> None:
    (service,) = fleet(1, reconnect_jitter=0.0)
    lose(service)
    assert len(service.dials) == 3


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("age", [5.0, 100.0])
def test_six_idle_sockets_die_and_the_next_turn_is_served_by_one_fresh_dial(
    noticed: bool, age: float
) -> None:
    """Whether that is known before the turn, or shows when the first frame is sent."""
    harness = opened(QUIET, settings(min_idle=0), n=6)
    harness.advance(age)
    if noticed:
        for conn in list(harness.wires):
            harness.drop(conn)
    speech = harness.speak("Hello. ")
    if not noticed:
        while speech.generation is not None and harness.on(speech) in harness.wires[:6]:
            harness.drop(harness.on(speech))
    assert len(harness.dials()) == 1
    harness.hung_up()
    harness.up()
    harness.audio(speech)
    harness.done(speech)
    assert harness.finish(speech) == b"\1\2\3\4"
    assert len(harness.dials()) == 1
    assert harness.mux.stats().retries == 0, "nobody paid for it"


def test_the_first_dead_socket_tells_of_the_others_of_its_age() -> None:
    """A turn meets one of six, and not one after the other."""
    harness = opened(QUIET, settings(min_idle=0), n=6)
    harness.advance(100.0)
    speech = harness.speak("Hello. ")
    harness.drop(harness.on(speech))
    assert speech.generation is None and len(harness.dials()) == 1
    assert sum(conn.over for conn in harness.wires) == 6
