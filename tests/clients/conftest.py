"""Every test here runs on asyncio: all of these clients do."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
