"""
What retries may cost.

A provider in trouble must not be asked three times as often as one that is well. So what the
speeches of a route have in common is a purse: retries are paid from it, what is spoken in the end
gives back what its retries cost, and a provider that only fails soon finds it empty. What is paid
for is the failure: a connection that ends under fifty speeches has failed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..errors import AtCapacity, Error

_E = TypeVar("_E", bound=Error)

_FAILURE, _THROTTLE = 14, 5
"""What a retry costs after a failure, and where the provider asked for fewer requests."""
_CLEAN = 1
"""What a success is worth that took no retry."""


class Bill:
    """What one failure has cost, however many speeches are begun again after it."""

    __slots__ = ("cost",)

    def __init__(self) -> None:
        self.cost: int | None = None
        """None: it is not paid."""

    def refund(self) -> int:
        """Return what is to be given back, now that one of them was spoken; once."""
        cost, self.cost = self.cost or 0, 0
        return cost


class Budget:
    """The tokens of one route. None: retries cost nothing."""

    def __init__(self, most: int | None) -> None:
        self.left = 0 if most is None else most
        self._most = most

    def pay(self, error: Error) -> int | None:
        """Take what a retry after *error* costs; return how much that was, None if too much."""
        if self._most is None:
            return 0
        cost = _THROTTLE if isinstance(error, AtCapacity) else _FAILURE
        if cost > self.left:
            return None
        self.left -= cost
        return cost

    def succeeded(self, bills: Sequence[Bill]) -> None:
        """Give back what the retries of a success have cost, or a little where there were none."""
        self.give_back(sum(bill.refund() for bill in bills) if bills else _CLEAN)

    def give_back(self, paid: int) -> None:
        """Give back what was paid for something that has worked."""
        if self._most is not None:
            self.left = min(self._most, self.left + paid)


def unaffordable(error: _E) -> _E:
    """Return *error* with words that say why it is not tried again."""
    twin = error.copy()
    twin.message = f"{error.message}; not tried again, for the retry budget is spent"
    twin.args = (twin.message,)
    return twin
