"""
Who is interrupted, how the provider takes it, and what the next turn may cost.

All of that is read from the adapters that are installed and have a simulator: each protocol that an
adapter speaks is a `Mode`, what its traits say of interruptions decides which cases there are, and
what they say of connections how many of the turns may be slow.

Back to back a turn lasts TTFA, and a dial a handshake, which is NEEDED turns. So what an
interruption takes away must be replaced NEEDED turns ahead:

* Where interrupted speeches are told apart by ids, a connection bears some of them: as many as it
  has slots, or as may be muted. The last but NEEDED is when the next connection is dialled; one
  that bears no more than that is full before the next one is there, the first time.
* Where an interruption costs the connection, NEEDED spares hide all dials. By default there is one,
  and each turn that waits for a dial adds one: all but one of them are learnt.
* With the one that speaks that makes NEEDED + 1 connections. A key that may have no more than
  NEEDED lets its turns wait for ever, and only those are quick that find a connection at the start.
* Whoever acknowledges late loses one turn: until the first acknowledgement comes, late cannot be
  told from never.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import attrs

import ttsmux
from ttsmux.adapter import Adapter, Traits
from ttsmux.client.options import adapter_names, find_adapter
from ttsmux.settings import Interrupt
from ttsmux.simulate import simulator_names
from ttsmux.simulate.simulator import create_provider

from .harness import HANDSHAKE_MS, TTFA_MS

TURNS = 10
NEEDED = math.ceil(HANDSHAKE_MS / TTFA_MS)
AT_THE_START = 2
"""Connections there are by default once it is prewarmed: one, and a spare."""
SPEAKS_ON = 0.2
"""Seconds that a server takes for a second of audio: a turn goes on for longer than all of them."""


@attrs.frozen
class Mode:
    """
    One protocol of a provider, as its adapter describes it.

    *endpoint* is what the adapter calls it, where it has several. *limit* is how many connections
    the provider allows a key, of which the traits may keep some back. *rate* is of the audio, Hz.
    *cancels*: its simulator has a cancel message, which can be taken badly.
    """

    provider: str
    endpoint: str | None
    traits: Traits
    limit: int | None
    rate: int
    cancels: bool

    @property
    def name(self) -> str:
        return f"{self.provider} {self.endpoint}" if self.endpoint else self.provider

    @property
    def options(self) -> dict[str, object]:
        """What a client is made with, beside the provider's name: nothing that is usual."""
        return {"endpoint": self.endpoint} if self.endpoint else {}

    @property
    def mutes(self) -> bool:
        """Whether an interruption leaves the connection to the next speech."""
        return self.traits.ids and self.traits.interrupt is not Interrupt.DISCARD

    @property
    def bears(self) -> int:
        """How many interrupted speeches a connection has room for."""
        return self.traits.max_muted or self.traits.slots

    @property
    def limits(self) -> str:
        """What the provider allows, in words; empty where nothing is known."""
        words = []
        if self.limit is not None:
            kept_back = self.limit - (self.traits.connections or self.limit)
            less = f", {kept_back} kept back" if kept_back else ""
            words.append(f"{self.limit} connections a key{less}")
        if self.mutes:
            what = "muted" if self.traits.max_muted else "speeches"
            words.append(f"{self.bears} {what} on a connection")
        return "; ".join(words)

    def open(self, limit: int | None = None) -> int:
        """Return how many connections a client opens at most; *limit* is the user's word."""
        most = ttsmux.PoolLimits().max_size
        return min(most, limit or self.traits.connections or most)


@attrs.frozen
class Case:
    """
    A server and a listener.

    *manner* is how the server takes it. *apart*: the listener hears the length of a handshake
    before breaking in, and not just the first audio. *min_idle* and *limit* are what is set, else
    nothing is. *slow*: how many of the turns may take longer than the others' bound, each by its
    median over the rounds. *usual*: the provider keeps its word, in the way that costs most.
    """

    mode: Mode
    manner: str
    apart: bool
    faults: tuple[str, ...] = ()
    rtf: float = SPEAKS_ON
    min_idle: int | None = None
    limit: int | None = None
    slow: int = 0
    usual: bool = True

    @property
    def name(self) -> str:
        words = ["apart" if self.apart else "back to back", self.manner]
        if self.set_to:
            words.append(self.set_to)
        return f"{self.mode.name}: {', '.join(words)}"

    @property
    def set_to(self) -> str:
        """What is set and not the default."""
        set = {"min_idle": self.min_idle, "connections": self.limit}
        return ", ".join(f"{name}={value}" for name, value in set.items() if value is not None)


def providers() -> list[str]:
    """Return the names of all that have both an adapter and a simulator."""
    return [name for name in adapter_names() if name in simulator_names()]


def modes(provider: str) -> Iterator[Mode]:
    """Yield the protocols of a provider, the adapter's default first."""
    kind = find_adapter(provider)
    voice = create_provider(provider, {}).default_voice
    for endpoint in endpoints(kind):
        chosen: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
        adapter = kind(voice=voice, **chosen)
        yield Mode(
            provider=provider,
            endpoint=endpoint,
            traits=adapter.tuned(),
            limit=kind.traits.connections,
            rate=adapter.options().format.rate,
            cancels=create_provider(provider, {}).cancels,
        )


def endpoints(kind: type[Adapter]) -> tuple[str | None, ...]:
    """Return the values of an adapter's field `endpoint`; one that has none has one protocol."""
    names: tuple[str, ...] = get_args(get_type_hints(kind).get("endpoint"))
    return names or (None,)


def cases(provider: str) -> Iterator[Case]:
    """Yield all cases of a provider."""
    known: set[object] = set()
    for mode in modes(provider):
        # How a cancel is taken badly need not be seen twice where all that matters is the same.
        traits = mode.traits
        alike = traits.interrupt, traits.ids, traits.seats, traits.slots, traits.acknowledgement
        yield from cases_of(mode, again=alike in known)
        known.add(alike)


def cases_of(mode: Mode, *, again: bool = False) -> Iterator[Case]:
    """Yield the cases of a mode, those with nothing set first; *again*: the usual ones only."""
    if mode.traits.interrupt is Interrupt.DISCARD:
        yield from _given_up(mode)
    elif mode.traits.interrupt is Interrupt.MUTE:
        yield from _finished(mode)
    else:
        yield from _cancelled(mode, again=again)


def _given_up(mode: Mode) -> Iterator[Case]:
    yield Case(mode, "given up", apart=True)
    case = Case(mode, "given up", apart=False)
    yield attrs.evolve(case, slow=learnt(mode.open()))
    yield attrs.evolve(
        case, min_idle=NEEDED, slow=0 if mode.open() > NEEDED else learnt(mode.open())
    )
    if mode.limit is not None and mode.open() < mode.limit <= mode.open(mode.limit):
        # All that the provider allows, none kept back.
        slow = 0 if mode.limit > NEEDED else TURNS - mode.limit
        yield attrs.evolve(case, min_idle=mode.limit - 1, limit=mode.limit, slow=slow)


def _finished(mode: Mode) -> Iterator[Case]:
    yield Case(mode, "released late", apart=True)
    yield Case(mode, "released at once", apart=False, rtf=0.0, usual=False)
    yield from _full(Case(mode, "released late", apart=False))


def _cancelled(mode: Mode, *, again: bool) -> Iterator[Case]:
    late, never, vain = ("late-ack=200",), ("no-ack",), ("speak-on",)
    for apart in (True, False):
        case = Case(mode, "honoured", apart)
        yield case
        if again or not mode.cancels or (apart and mode.mutes):
            continue
        case = attrs.evolve(case, usual=False)
        ignored = attrs.evolve(case, manner="ignored", faults=never)
        in_vain = attrs.evolve(case, manner="acknowledged in vain", faults=vain)
        if mode.mutes:
            yield attrs.evolve(case, manner="honoured late", faults=late)
            yield from _full(ignored)
            yield in_vain
            continue
        yield attrs.evolve(case, manner="honoured late", faults=late, slow=0 if apart else 1)
        for distrusted in (ignored, in_vain):
            yield attrs.evolve(distrusted, slow=0 if apart else learnt(mode.open()))
        if not apart:
            yield attrs.evolve(ignored, min_idle=NEEDED)


def _full(case: Case) -> Iterator[Case]:
    """Yield *case*, in which interrupted speeches stay on their connection; with spares, too."""
    filled = case.mode.bears < TURNS and case.mode.bears <= NEEDED
    yield attrs.evolve(case, slow=1 if filled else 0)
    if filled:
        yield attrs.evolve(case, min_idle=NEEDED)


def learnt(most: int) -> int:
    """Return how many turns may wait where each costs its connection, *most* of them at once."""
    return NEEDED - 1 if most > NEEDED else TURNS - min(most, AT_THE_START)
