"""
``--tenth`` runs one in ten of the tests that are marked ``counted``.

Those are many alike, which say more the more there are. Another Python takes another tenth, drawn
by its version, so that no run of it differs from the last.
"""

from __future__ import annotations

import math
import random
import sys

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("ttsmux").addoption(
        "--tenth", action="store_true", help="run one in ten of the tests marked as counted"
    )


@pytest.hookimpl(trylast=True)  # a tenth of what was chosen by -k and -m, and never none of it
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--tenth"):
        return
    alike: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("counted"):
            alike.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out: set[pytest.Item] = set()
    for name, same in alike.items():
        draw = random.Random(f"{name} on {sys.version_info[:2]}")
        left_out |= set(draw.sample(same, len(same) - math.ceil(len(same) / 10)))
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]
