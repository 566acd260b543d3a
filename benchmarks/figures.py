"""
What is made of what was measured: medians over rounds, ratios within them, bounds.

A round measures every contestant of a case once, one after the other, so that all see the same
machine. A ratio is taken within a round, and then the median of those over the rounds: what slows
the machine down for a minute slows both.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs


@attrs.frozen
class Spread:
    """The median of the rounds, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


Rounds = Mapping[str, Sequence[Mapping[str, float] | None]]
"""By contestant, its figures in each round; None in a round in which it failed."""


def spread(rounds: Rounds, name: str, figure: str) -> Spread | None:
    """Return what *name* has in *figure* over the rounds; None if it has it in none."""
    values = [each[figure] for each in rounds.get(name, ()) if each and figure in each]
    return Spread.of(values) if values else None


def within(
    rounds: Rounds, name: str, other: str, figure: str, *, minus: bool = False
) -> Spread | None:
    """Return *name*'s figure over *other*'s in the same round, or with *minus* less it."""
    found = []
    for mine, theirs in zip(rounds.get(name, ()), rounds.get(other, ()), strict=False):
        if mine and theirs and figure in mine and figure in theirs:
            if minus:
                found.append(mine[figure] - theirs[figure])
            elif theirs[figure]:
                found.append(mine[figure] / theirs[figure])
    return Spread.of(found) if found else None


@attrs.frozen(kw_only=True)
class Bound:
    """
    What is asked of *name* in *case*.

    Its *figure*, by itself or, with *of*, over another's in the same round, or less it (*minus*),
    is at most, or at least, *limit*. *worst*: in every round, and not by the median.
    """

    case: str
    name: str
    figure: str
    limit: float
    sense: Literal["≤", "≥"] = "≤"
    of: str | None = None
    minus: bool = False
    worst: bool = False

    @property
    def words(self) -> str:
        what = self.figure if self.of is None else f"{self.figure} {self._relation} {self.of}"
        return f"{what} {self.sense} {self.limit:g}"

    @property
    def _relation(self) -> str:
        return "less that of" if self.minus else "÷ that of"

    def check(self, rounds: Rounds) -> Checked:
        """Say whether it is kept in *rounds* of its case."""
        if self.of is None:
            found = spread(rounds, self.name, self.figure)
        else:
            found = within(rounds, self.name, self.of, self.figure, minus=self.minus)
        if found is None:
            return Checked(self, None, kept=False)
        value = found.median
        if self.worst:
            value = found.most if self.sense == "≤" else found.least
        return Checked(
            self, value, kept=value <= self.limit if self.sense == "≤" else value >= self.limit
        )


@attrs.frozen
class Checked:
    """A bound, what was found (None: nothing was), and whether it is kept."""

    bound: Bound
    value: float | None
    kept: bool

    @property
    def words(self) -> str:
        found = "not measured" if self.value is None else f"{self.value:.3g}"
        return f"{self.bound.case}, {self.bound.name}: {self.bound.words}, found {found}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of them lie, of those that there are."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
