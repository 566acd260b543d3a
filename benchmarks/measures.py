"""
The cases: what a worker is asked for, what is read from its answer, and what is asked of ttsmux.

Bounds are ratios within a round wherever a machine's speed would decide otherwise.
"""

from __future__ import annotations

import base64
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from . import harness
from .contestants import Contestant
from .figures import Bound, percentile
from .harness import TTFA_MS, Simulated

TURNS = 10
CHUNK, SPOKEN = 4096, 4800
"""Bytes of a chunk where CPU is measured, and where speech runs: 100 ms at 24 kHz."""
ADDED_MS = 2.5
TEXT = "This is turn number {}, and it is as long as a turn is."
LONG = "Turn{} goes on for a good while so that it can be interrupted in its middle by a listener"

PROVIDERS = ("elevenlabs", "gradium", "kugelaudio", "sm", "xai")
BY_HAND = ("gradium", "sm", "xai")
"""Whose protocols the hand-written clients speak."""
RATES = {"sm": 22050}
"""Of the audio where a client of ttsmux asks for none, Hz, if it is not 24,000."""

Figures = dict[str, float]
Read = Callable[["Case", dict[str, Any], Simulated], Figures]


class Failed(Exception):
    """A worker did not do what it was asked for; the text says what."""


@attrs.frozen(kw_only=True)
class Case:
    """
    What all contestants of a mode do, one after the other, in each round.

    *provider* is whose protocol is spoken by those that speak several. *job* goes to the worker.
    *simulate*: options of the simulator; None takes the server that says what the text asks for.
    *figure* is the one by which they are compared. *peers*: whether other people's clients, which
    have the protocol of one provider each, are measured here, too; *only_peers*: it is for them.
    """

    name: str
    mode: str
    provider: str
    read: Read
    figure: str
    about: str
    job: Mapping[str, Any] = attrs.field(factory=dict)
    simulate: Mapping[str, Any] | None = None
    peers: bool = True
    only_peers: bool = False
    more: bool = False
    """A larger figure is a better one."""

    def takes(self, contestant: Contestant) -> bool:
        """Tell whether *contestant* is measured here."""
        if contestant.kind == "peer":
            # Its own protocol, whoever's it is, where all that counts is how audio is carried.
            mine = self.simulate is None or contestant.provider == self.provider
            return self.peers and mine and self.mode in contestant.modes
        if contestant.kind == "raw" and self.provider not in BY_HAND:
            return False
        return self.mode in contestant.modes

    def leaves_out(self, contestant: Contestant) -> str | None:
        """Say why *contestant*, who would be measured here, cannot be."""
        able = attrs.evolve(contestant, modes=[self.mode])
        return contestant.cannot.get(self.mode) if self.takes(able) else None


ALIKE_S = 0.07
"""For so long all that a simulator says may sound alike: the tag comes then, see `ToneEngine`."""


def _turns(case: Case, found: dict[str, Any], server: Simulated) -> Figures:
    heard = [base64.b64decode(each) for each in found["heard"]]
    texts: Sequence[str] = case.job["texts"]
    rate = found.get("rate") or RATES.get(case.provider, harness.RATE)
    stale = [
        harness.stale(text, audio, server.said, rate)
        for text, audio in zip(texts, heard, strict=True)
    ]
    # A turn that begins with the sound of another one was not heard yet.
    took = [
        each
        for each, audio, wrong in zip(found["took"], heard, stale, strict=True)
        if each is not None and (not wrong or len(audio) - wrong > 2 * rate * ALIKE_S)
    ]
    if len(took) < 2:
        raise Failed(f"{len(took)} of {TURNS} turns were heard, {sum(stale)} stale bytes")
    figures = {
        "first turn, ms": 1000 * took[0],
        "next turn, ms": 1000 * statistics.median(took[1:]),
        "slowest, ms": 1000 * max(took),
        "turns heard": len(took),
        "stale bytes": sum(stale),
        "dials": server.seen["dials"],
    }
    if case.mode == "barge_in":
        figures["stop, ms"] = 1000 * max(found["stops"])
    return figures


def _cpu(case: Case, found: dict[str, Any], server: Simulated) -> Figures:
    chunks = int(case.job["chunks"])
    if found["heard"] != chunks * CHUNK:
        raise Failed(f"{found['heard']} bytes were heard of {chunks * CHUNK}")
    return {"µs a chunk": 1e6 * found["cpu"] / chunks}


def _latency(case: Case, found: dict[str, Any], server: Simulated) -> Figures:
    added = [1e6 * each for each in found["added"]]
    return {"added, µs": statistics.median(added), "p90, µs": percentile(added, 0.9)}


def _concurrent(case: Case, found: dict[str, Any], server: Simulated) -> Figures:
    if not found["complete"]:
        raise Failed("audio is missing")
    if "cpu" not in found:
        raise Failed("they did not all speak at once")
    share = share_of(case, found)
    figures = {
        "ceiling": found["speeches"] / share,
        "share of a core": share,
        "µs a chunk": 1e6 * found["cpu"] / found["chunks"],
    }
    if found["late"]:
        figures["late p50, ms"] = 1000 * percentile(found["late"], 0.5)
        figures["late p99, ms"] = 1000 * percentile(found["late"], 0.99)
    return figures


def share_of(case: Case, found: Mapping[str, Any]) -> float:
    """
    Return the share of a core that the speeches took.

    Of the time that their audio lasts, and not of that which passed: where others have the core,
    too, the audio comes late, and a client would look the better for it.
    """
    seconds = found["chunks"] * case.job["gap_us"] / 1e6
    return float(found["cpu"] * found["speeches"] / seconds)


def _idle(case: Case, found: dict[str, Any], server: Simulated) -> Figures:
    if server.seen["dials"] != case.job["connections"]:
        raise Failed(f"{server.seen['dials']:g} connections, not {case.job['connections']}")
    return {
        "KiB": found["rss"],
        "KiB of its own": found["uss"],
        "KiB once it spoke": found["rss after"],
        "threads": found["threads"],
        "threads a speech": found["threads a speech"],
    }


def _storm(case: Case, found: dict[str, Any], server: Simulated) -> Figures:
    return {
        "s": found["seconds"],
        "peak a second": server.seen["peak"],
        "served": found["served"],
        "CPU s": found["cpu"],
    }


def _stream(chunks: int, size: int, gap_us: int, **more: Any) -> dict[str, Any]:
    return {"chunks": chunks, "size": size, "gap_us": gap_us, **more}


def _talk(speeches: int) -> Case:
    return Case(
        name=f"{speeches} speeches at once",
        mode="concurrent",
        provider="xai",
        read=_concurrent,
        figure="ceiling",
        about=f"{speeches} speeches at the rate of their audio, 4,800 bytes each 100 ms, a "
        "connection each; the ceiling is how many a core would bear",
        job=_stream(30, SPOKEN, 100_000, speeches=speeches, room=speeches),
        more=True,
    )


IDLE, STORM = 150, 1000


def _turn(provider: str) -> Case:
    return Case(
        name=f"turns, {provider}",
        mode="turns",
        provider=provider,
        read=_turns,
        figure="next turn, ms",
        about=f"{TURNS} turns of {provider}, handshake {harness.HANDSHAKE_MS:g} ms, {TTFA_MS:g} ms "
        "to the first audio: from the text to the first audio, of the first turn, after what the "
        "library has for connecting ahead, and of the others",
        job={"texts": [TEXT.format(number) for number in range(TURNS)]},
        simulate={},
    )


def _interrupted(provider: str, *, ignored: bool = False) -> Case:
    how = ", not acknowledged" if ignored else ""
    silent = ", by a server that ignores being told to stop" if ignored else ""
    return Case(
        name=f"barge-in, {provider}{how}",
        mode="barge_in",
        provider=provider,
        read=_turns,
        figure="next turn, ms",
        about=f"{TURNS} turns of {provider}, each interrupted at its first audio{silent}: what the "
        "next one pays",
        job={"texts": [LONG.format(number) for number in range(TURNS)]},
        simulate={"rtf": 0.2, **({"faults": ["no-ack"]} if ignored else {})},
        only_peers=True,
    )


TURN_CASES = tuple(map(_turn, PROVIDERS))
BARGE_IN = (
    *map(_interrupted, PROVIDERS),
    *(_interrupted(provider, ignored=True) for provider in ("kugelaudio", "xai")),
)
"""Beside other people's clients; ttsmux by itself is measured in more ways by `barge_in`."""
PACED = Case(
    name="paced, base64",
    mode="cpu",
    provider="xai",
    read=_cpu,
    figure="µs a chunk",
    about="CPU of the client's process for a chunk of 4,096 bytes, one each millisecond, base64 in "
    "JSON",
    job=_stream(2000, CHUNK, 1000),
)
BURST = attrs.evolve(
    PACED,
    name="burst, base64",
    about="the same, as fast as the client takes them",
    job=_stream(4000, CHUNK, 0),
)
PACED_BINARY = attrs.evolve(
    PACED,
    name="paced, binary",
    provider="sm",
    about="the same as paced, in binary messages",
    peers=False,
)
BURST_BINARY = attrs.evolve(
    BURST,
    name="burst, binary",
    provider="sm",
    about="the same as burst, in binary messages",
    peers=False,
)
LATENCY = Case(
    name="added latency",
    mode="latency",
    provider="xai",
    read=_latency,
    figure="added, µs",
    about="from the server's write of a turn's first audio to the audio in hand",
    job={"size": CHUNK, "turns": 65, "delay_ms": 10},
)
TALKS = tuple(_talk(speeches) for speeches in (50, 100, 200, 300))
IDLE_CASE = Case(
    name="idle connections",
    mode="idle",
    provider="xai",
    read=_idle,
    figure="KiB",
    about=f"growth of the process for each of {IDLE} connections that are open and idle; and once "
    "all of them spoke",
    job={"few": 10, "connections": IDLE, "room": IDLE},
)
STORM_CASE = Case(
    name="connect storm",
    mode="storm",
    provider="xai",
    read=_storm,
    figure="s",
    about=f"{STORM:,} speeches begun at once, none of them with a connection: until all of them "
    "are heard",
    job={"size": SPOKEN, "speeches": STORM, "room": STORM},
)
CASES = (
    *TURN_CASES,
    *BARGE_IN,
    PACED,
    BURST,
    PACED_BINARY,
    BURST_BINARY,
    LATENCY,
    *TALKS,
    IDLE_CASE,
    STORM_CASE,
)

_TASKS, _OFF = "ttsmux, asyncio", "ttsmux, asyncio, fast path off"
_UVLOOP, _TRIO, _THREADS = "ttsmux, uvloop", "ttsmux, trio", "ttsmux, threads"


def _ratio(case: Case, name: str, of: str, limit: float, **more: Any) -> Bound:
    sense: Any = "≥" if case.more else "≤"
    return Bound(
        case=case.name, name=name, figure=case.figure, limit=limit, of=of, sense=sense, **more
    )


def _is(case: Case, name: str, figure: str, limit: float, **more: Any) -> Bound:
    return Bound(case=case.name, name=name, figure=figure, limit=limit, **more)


BOUNDS = (
    *(
        bound
        for case in TURN_CASES
        for name in (_TASKS, _UVLOOP, _TRIO, _THREADS)
        for bound in (
            _is(case, name, "first turn, ms", TTFA_MS + ADDED_MS),
            _is(case, name, "next turn, ms", TTFA_MS + ADDED_MS),
            _is(case, name, "stale bytes", 0, worst=True),
            _is(case, name, "turns heard", TURNS, sense="≥", worst=True),
        )
    ),
    _ratio(PACED, _TASKS, "websockets", 0.55),
    _ratio(PACED, _TASKS, "floor", 8.0, minus=True),
    _ratio(PACED, _OFF, "websockets", 0.65),
    _ratio(PACED, _UVLOOP, "websockets, uvloop", 0.5),
    _ratio(PACED, _TRIO, "websockets.trio", 1.0),
    _ratio(PACED, _THREADS, "websockets.sync", 0.8),
    _ratio(BURST, _TASKS, "websockets", 0.25),
    _ratio(BURST, _OFF, "websockets", 0.35),
    _ratio(PACED_BINARY, _TASKS, "websockets", 0.75),
    _ratio(PACED_BINARY, _OFF, "websockets", 0.75),
    _ratio(LATENCY, _TASKS, "websockets", 0.65),
    *(_ratio(case, _TASKS, "websockets", 1.8) for case in TALKS),
    *(_ratio(case, _OFF, "websockets", 1.6) for case in TALKS),
    _is(IDLE_CASE, _TASKS, "KiB", 15.0),
    _is(IDLE_CASE, _THREADS, "KiB", 40.0),
    _is(IDLE_CASE, _THREADS, "threads a speech", 0, worst=True),
    *(
        _is(STORM_CASE, name, "served", STORM, sense="≥", worst=True)
        for name in (_TASKS, _UVLOOP, _TRIO, _THREADS)
    ),
)
