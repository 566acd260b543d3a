"""How many orders of three speeches' messages are tried."""

from __future__ import annotations

from ttsmux.testing.crossings import chosen, interleavings


def test_orders_are_all_or_those_that_differ_or_a_number_of_these() -> None:
    """The numbers are those that the documentation gives; a few more than asked for may come."""
    orders = list(interleavings(4, 4, 4))
    assert len(set(orders)) == len(orders) == 34_650
    assert chosen(orders, "all") == orders
    apart = chosen(orders, None)
    assert len(apart) == 5_775 and set(apart) < set(orders)
    few = chosen(orders, "577")
    assert 577 <= len(few) < 600 and set(few) < set(apart)
    assert chosen(orders, "6000") == apart
