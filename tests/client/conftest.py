"""A simulator for each test of a client's own side."""

from collections.abc import Iterator

import pytest

from ttsmux.simulate import AsyncSimulator


@pytest.fixture
def sim() -> Iterator[AsyncSimulator]:
    with AsyncSimulator("xai") as running:
        yield running
