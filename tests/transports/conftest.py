from collections.abc import Iterator

import pytest

from tests.transports.peers import Authority
from tests.transports.runtimes import ALL, LOOPS, Runtime, running

PROXY_VARIABLES = [
    f"{scheme}_proxy" for scheme in ("ws", "wss", "socks", "http", "https", "all", "no")
]


@pytest.fixture(params=ALL)
def runtime(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[Runtime]:
    with running(request.param) as runtime:
        yield runtime


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[Runtime]:
    with running(request.param) as runtime:
        yield runtime


@pytest.fixture
def threads(no_leaks: None) -> Iterator[Runtime]:
    with running("threads") as runtime:
        yield runtime


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
