"""A transport says what its dial was spent on, part by part, and no more than it took."""

from __future__ import annotations

import time

import pytest

from tests.transports.peers import Authority, Listener, Peer, closing, serve
from tests.transports.runtimes import Line, Runtime
from tests.transports.test_dial import Tunnels
from ttsmux.transports import _laps
from ttsmux.transports._laps import Laps
from ttsmux.transports.base import Target
from ttsmux.transports.http import AsyncHttp, Http


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 10.0

    def monotonic(self) -> float:
        return self.now


def test_each_part_begins_where_the_one_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them with the dial."""
    clock = Clock()
    monkeypatch.setattr(_laps, "time", clock)
    laps = Laps()
    for name, seconds in (("dns", 0.25), ("tcp", 0.0), ("tls", 0.5)):
        clock.now += seconds
        laps.lap(name)
    assert laps.parts == {"dns": 0.25, "tcp": 0.0, "tls": 0.5}


def goodbye(peer: Peer) -> None:
    peer.send(closing(1000))


def parts(runtime: Runtime, url: str, **options: object) -> list[str]:
    """Dial, and return which parts there were; together they took no longer than the dial."""
    begun = time.monotonic()
    line: Line = runtime.dial(Target(url=url, **options))  # type: ignore[arg-type]
    took = time.monotonic() - begun
    found = line.transport.parts
    line.read().end()
    assert all(seconds >= 0.0 for seconds in found.values())
    assert 0.0 < sum(found.values()) <= took
    return list(found)


def looked_up(runtime: Runtime) -> list[str]:
    """Trio looks a name up as a part of connecting, and does not tell."""
    return [] if runtime.name == "trio" else ["dns"]


def test_the_parts_of_a_plain_dial(runtime: Runtime) -> None:
    with serve(goodbye) as server:
        found = parts(runtime, server.url(host="localhost"))
    assert found == [*looked_up(runtime), "tcp", "upgrade"]


def test_the_parts_of_a_dial_with_tls(runtime: Runtime, authority: Authority) -> None:
    with serve(goodbye, authority.server("localhost")) as server:
        url = server.url(host="localhost")
        found = parts(runtime, url, ssl_context=authority.client())
    assert found == [*looked_up(runtime), "tcp", "tls", "upgrade"]


def test_the_parts_of_a_dial_through_a_proxy(runtime: Runtime, authority: Authority) -> None:
    """Who is looked up and connected to is the proxy."""
    with (
        serve(goodbye, authority.server("far.example")) as server,
        Listener(Tunnels(server.port)) as proxy,
    ):
        settings = {"proxy": f"http://127.0.0.1:{proxy.port}", "ssl_context": authority.client()}
        found = parts(runtime, "wss://far.example/", **settings)
    assert found == [*looked_up(runtime), "tcp", "proxy", "tls", "upgrade"]


def test_a_request_has_no_dial_of_its_own() -> None:
    """It connects when it is sent, if it does at all."""
    http = Http()
    request = http.connect(Target(url="http://127.0.0.1:9/"), 1.0)
    assert request.parts == {}
    http.close()


@pytest.mark.anyio
async def test_a_request_of_a_task_has_none_either() -> None:
    http = AsyncHttp()
    request = await http.connect(Target(url="http://127.0.0.1:9/"), 1.0)
    assert request.parts == {}
    await http.aclose()
