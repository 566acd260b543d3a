"""When to try again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.core.retry import backoff
from ttsmux.settings import RetryPolicy

POLICY = RetryPolicy(base=0.1, cap=1.0)


class Dice(random.Random):
    """Dice that fall as they are told: 0 is the lowest, 1 the highest."""

    def __init__(self, falls: float) -> None:
        super().__init__()
        self.falls = falls

    def random(self) -> float:
        return self.falls


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (6, 1.0)]
)
def test_the_wait_is_anywhere_between_nothing_and_twice_the_last_up_to_the_cap(
    failures: int, ceiling: float
) -> None:
    """Clients that failed together must not come back together."""
    assert backoff(POLICY, failures, Dice(0.0)) == 0.0
    assert backoff(POLICY, failures, Dice(0.5)) == pytest.approx(ceiling / 2)
    assert backoff(POLICY, failures, Dice(1.0)) == pytest.approx(ceiling)


def test_the_first_wait_is_capped_too() -> None:
    """A cap below the base is a cap."""
    assert backoff(RetryPolicy(base=2.0, cap=0.5), 1, Dice(1.0)) == 0.5


def test_any_number_of_failures_can_be_reckoned_with() -> None:
    """A provider may be down for days."""
    assert backoff(POLICY, 1_000_000, Dice(1.0)) == 1.0


def test_what_the_provider_asked_for_is_never_undercut() -> None:
    """Nor does it shorten a longer wait; the cap is ours, not the provider's."""
    assert backoff(POLICY, 1, Dice(1.0), retry_after=30.0) == 30.0
    assert backoff(POLICY, 5, Dice(1.0), retry_after=0.3) == 1.0
    assert backoff(POLICY, 5, Dice(0.0), retry_after=0.3) == 0.3
    assert backoff(POLICY, 5, Dice(0.0), retry_after=0.0) == 0.0


def test_the_whole_range_is_used_evenly() -> None:
    """Ten thousand waits fill ten boxes alike."""
    dice = random.Random(7)
    boxes = [0] * 10
    for _ in range(10_000):
        boxes[int(backoff(POLICY, 5, dice) * 10)] += 1
    assert min(boxes) > 850 and max(boxes) < 1150


@given(st.floats(0.001, 100), st.floats(0.001, 100), st.integers(1, 200), st.integers(), st.data())
def test_a_wait_is_within_its_bounds(
    base: float, cap: float, failures: int, seed: int, data: st.DataObject
) -> None:
    """And the same dice give the same wait."""
    policy = RetryPolicy(base=base, cap=cap)
    asked = data.draw(st.none() | st.floats(0, 1000))
    wait = backoff(policy, failures, random.Random(seed), asked)
    assert (asked or 0.0) <= wait <= max(cap, asked or 0.0)
    assert wait == backoff(policy, failures, random.Random(seed), asked)
