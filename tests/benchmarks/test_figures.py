"""Medians over rounds, ratios within them, and bounds that trip."""

import pytest

from benchmarks.figures import Bound, Spread, percentile, spread, within

# The machine was four times as slow in the second round, for everybody.
ROUNDS = {
    "ours": [{"µs": 10.0}, {"µs": 44.0}, {"µs": 12.0}],
    "raw": [{"µs": 20.0}, {"µs": 80.0}, {"µs": 20.0}],
    "new": [{"µs": 5.0}, None, {"µs": 7.0, "KiB": 3.0}],
}


def test_a_figure_is_the_median_of_its_rounds() -> None:
    assert spread(ROUNDS, "ours", "µs") == Spread(12.0, 10.0, 44.0)


def test_a_round_that_failed_has_no_figure() -> None:
    assert spread(ROUNDS, "new", "µs") == Spread(6.0, 5.0, 7.0)
    assert spread(ROUNDS, "new", "KiB") == Spread(3.0, 3.0, 3.0)


def test_who_was_not_measured_has_none() -> None:
    assert spread(ROUNDS, "nobody", "µs") is None
    assert spread(ROUNDS, "ours", "KiB") is None
    assert within(ROUNDS, "ours", "nobody", "µs") is None


def test_a_ratio_is_taken_within_a_round() -> None:
    """The slow round says 0.55 of both; the medians over each other would say 0.6."""
    assert within(ROUNDS, "ours", "raw", "µs") == Spread(0.55, 0.5, 0.6)


def test_a_difference_is_taken_within_a_round() -> None:
    assert within(ROUNDS, "raw", "ours", "µs", minus=True) == Spread(10.0, 8.0, 36.0)


def test_rounds_in_which_either_failed_have_no_ratio() -> None:
    assert within(ROUNDS, "new", "raw", "µs") == Spread(0.3, 0.25, 0.35)
    assert within(ROUNDS, "raw", "new", "µs") == Spread((20 / 5 + 20 / 7) / 2, 20 / 7, 4.0)


def test_nothing_is_divided_by_nothing() -> None:
    rounds = {"a": [{"µs": 1.0}, {"µs": 2.0}], "b": [{"µs": 0.0}, {"µs": 1.0}]}
    assert within(rounds, "a", "b", "µs") == Spread(2.0, 2.0, 2.0)


def bound(limit: float, **more: object) -> Bound:
    return Bound(case="paced", name="ours", figure="µs", limit=limit, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "value", "kept"),
    [
        (bound(12), 12.0, True),
        (bound(11.9), 12.0, False),
        (bound(12, sense="≥"), 12.0, True),
        (bound(12.1, sense="≥"), 12.0, False),
        (bound(44, worst=True), 44.0, True),
        (bound(43, worst=True), 44.0, False),
        (bound(10, sense="≥", worst=True), 10.0, True),
        (bound(11, sense="≥", worst=True), 10.0, False),
        (bound(0.55, of="raw"), 0.55, True),
        (bound(0.54, of="raw"), 0.55, False),
        (bound(-10, of="raw", minus=True), -10.0, True),
        (bound(-11, of="raw", minus=True), -10.0, False),
        (bound(100, of="nobody"), None, False),
    ],
)
def test_a_bound(asked: Bound, value: float | None, kept: bool) -> None:
    """What was not measured is not kept."""
    checked = asked.check(ROUNDS)
    assert (checked.value, checked.kept) == (value, kept)


def test_a_bound_that_trips_says_what_was_found() -> None:
    words = bound(0.54, of="raw").check(ROUNDS).words
    assert words == "paced, ours: µs ÷ that of raw ≤ 0.54, found 0.55"
    assert bound(1, of="nobody").check(ROUNDS).words.endswith("found not measured")


def test_a_percentile() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile([7.0], 0.99) == 7.0
