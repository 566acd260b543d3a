"""The agenda: effects in order, and instants to come back at."""

from hypothesis import given
from hypothesis import strategies as st

from ttsmux.core.effects import Agenda, Event, Report, Wake


class Clock:
    """Something that is due at *at*; what is due is done by taking it off."""

    def __init__(self, at: float | None = None) -> None:
        self.at = at
        self.armed: float | None = None
        self.asked = 0

    def deadline(self) -> float | None:
        self.asked += 1
        return self.at

    def expire(self, now: float) -> None:
        self.at = None


def armed(*clocks: Clock) -> Agenda:
    agenda = Agenda()
    for clock in clocks:
        agenda.touch(clock)
    agenda.arm()
    return agenda


def test_effects_are_kept_in_order() -> None:
    """A report is an effect like the others."""
    agenda = Agenda()
    agenda.do(Wake("a"))
    agenda.report("connection.opened", seats=3)
    agenda.do(Wake("b"))
    assert agenda.effects == [
        Wake("a"),
        Report(Event("connection.opened", {"seats": 3})),
        Wake("b"),
    ]


def test_without_clocks_there_is_no_deadline() -> None:
    """Nor where a clock wants nothing."""
    agenda = armed(Clock(None))
    assert (agenda.deadline, agenda.due(1e9)) == (None, [])


def test_the_deadline_is_the_earliest() -> None:
    """Whatever the order in which they were touched."""
    assert armed(Clock(3.0), Clock(1.0), Clock(None), Clock(2.0)).deadline == 1.0


def test_what_is_touched_counts_when_it_is_armed() -> None:
    """Within one input a clock may move many times; it is asked once the dust has settled."""
    agenda, clock = Agenda(), Clock(5.0)
    assert not agenda.touched
    agenda.touch(clock)
    assert agenda.touched and agenda.deadline is None
    clock.at = 7.0
    agenda.arm()
    assert not agenda.touched and agenda.deadline == 7.0


def test_what_is_due_comes_in_the_order_of_its_instants() -> None:
    """Those of one instant in the order in which they were armed."""
    late, early, twin, never = Clock(2.0), Clock(1.0), Clock(2.0), Clock(9.0)
    agenda = armed(late, early, twin, never)
    assert agenda.due(0.5) == []
    assert agenda.due(2.0) == [early, late, twin]
    assert agenda.due(2.0) == []


def test_a_deadline_that_moves_away_needs_no_touch() -> None:
    """The old instant comes, nothing is due, and the clock is armed for the new one."""
    clock = Clock(1.0)
    agenda = armed(clock)
    clock.at = 5.0
    assert agenda.deadline == 1.0
    assert agenda.due(1.0) == []
    agenda.arm()
    assert agenda.deadline == 5.0
    assert agenda.due(5.0) == [clock]


def test_a_deadline_that_moves_away_is_not_asked_for_until_then() -> None:
    """Every frame moves one: that must cost nothing."""
    clock = Clock(1.0)
    agenda = armed(clock)
    clock.asked = 0
    for at in range(2, 100):
        clock.at = float(at)
        assert agenda.due(0.9) == []
    assert clock.asked == 0


def test_a_touched_deadline_that_moved_away_is_armed_no_second_time() -> None:
    """The entry that is there comes first anyway."""
    clock = Clock(1.0)
    agenda = armed(clock)
    for at in range(2, 100):
        clock.at = float(at)
        agenda.touch(clock)
        agenda.arm()
    assert (agenda.deadline, clock.armed, len(agenda._heap)) == (1.0, 1.0, 1)


def test_a_deadline_that_comes_nearer_is_told_with_a_touch() -> None:
    """It is due then, and once."""
    clock = Clock(5.0)
    agenda = armed(clock)
    clock.at = 2.0
    agenda.touch(clock)
    agenda.arm()
    assert agenda.deadline == 2.0
    assert agenda.due(2.0) == [clock]
    clock.expire(2.0)
    agenda.arm()
    assert agenda.due(9.0) == []
    assert agenda.deadline is None


def test_an_entry_that_was_overtaken_is_passed_over() -> None:
    """Also where the clock was armed again meanwhile, for later."""
    clock = Clock(5.0)
    agenda = armed(clock)
    clock.at = 2.0
    agenda.touch(clock)
    agenda.arm()
    assert agenda.due(2.0) == [clock]
    clock.at = 8.0
    agenda.arm()
    clock.asked = 0
    assert agenda.due(5.0) == []
    assert clock.asked == 0
    assert (agenda.deadline, agenda.due(8.0)) == (8.0, [clock])


def test_two_entries_for_one_instant_are_one() -> None:
    """What is due is handed out once."""
    clock = Clock(5.0)
    agenda = armed(clock)
    clock.at = 2.0
    agenda.touch(clock)
    agenda.arm()
    agenda.due(2.0)
    clock.at = 5.0
    agenda.arm()
    assert len(agenda._heap) == 2
    assert agenda.due(5.0) == [clock]


def test_a_clock_that_stopped_is_due_no_more() -> None:
    """Until it is touched again."""
    clock = Clock(1.0)
    agenda = armed(clock)
    clock.at = None
    assert agenda.due(1.0) == []
    agenda.arm()
    assert agenda.deadline is None
    clock.at = 3.0
    agenda.touch(clock)
    agenda.arm()
    assert agenda.deadline == 3.0


STEPS = st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 20)), max_size=30)


@given(STEPS)
def test_whatever_moves_nothing_that_is_due_is_missed(
    steps: list[tuple[int, int | None]],
) -> None:
    """Clocks that come nearer are touched, all others are not, and all come up in time."""
    clocks = [Clock() for _ in range(3)]
    agenda = Agenda()
    for now, (which, delay) in enumerate(steps):
        clock = clocks[which]
        before, after = clock.at, None if delay is None else float(now + delay)
        clock.at = after
        if after is not None and (before is None or after < before):
            agenda.touch(clock)
        agenda.arm()
        wanted = {id(clock) for clock in clocks if clock.at is not None and clock.at <= now}
        found = agenda.due(float(now))
        assert {id(clock) for clock in clocks if clock in found} == wanted
        assert len(found) == len(wanted)
        for clock in clocks:
            if clock in found:
                clock.expire(float(now))
        agenda.arm()
        assert agenda.deadline is None or agenda.deadline > now
