"""
Whom the contract is played with: every adapter that this distribution's entry points name.

One that needs more than its name says so in `KNOWN`; several entries are several shapes of one
provider. Those that are not there yet wait here for their entry point.
"""

from __future__ import annotations

from importlib.metadata import distribution

import attrs

from ttsmux.adapter import Adapter
from ttsmux.simulate import JSON
from ttsmux.simulate.exchange import Order
from ttsmux.simulate.simulator import create_provider
from ttsmux.simulate.sm import SM
from ttsmux.testing import Lull

KINDS: dict[str, type[Adapter]] = {
    entry.name: entry.load()
    for entry in distribution("ttsmux").entry_points
    if entry.group == "ttsmux.adapters"
}


@attrs.frozen(kw_only=True)
class Shape:
    """One way to use a provider: the adapter's options, and what the kit must be told."""

    options: dict[str, object] = attrs.field(factory=dict)
    kit: dict[str, object] = attrs.field(factory=dict)
    rest: dict[str, object] | None = None
    """Over HTTP, with these options more."""


class Streaming(SM):
    """
    SM with an answer over HTTP that is sent while it is made.

    The vendor's waits for the entire audio, and so does the simulator. Only so there is a middle of
    it to break.
    """

    def _order(self, body: JSON) -> Order:
        return attrs.evolve(super()._order(body), whole=False)


# A busy machine may sleep through a keepalive, but hardly for a second.
HURRIED = Lull(seconds=2.6, adapter={"inactivity_timeout": 2})
"""ElevenLabs lets a context lie for so many seconds; the adapter's keepalives follow."""
KNOWN: dict[str, dict[str, Shape]] = {
    "elevenlabs": {
        "multi": Shape(kit={"lull": HURRIED, "error": {"error_id": True}}),
        "auto": Shape(
            options={"auto_mode": True}, kit={"lull": HURRIED, "error": {"error_id": True}}
        ),
        "single": Shape(options={"endpoint": "single"}, kit={"lull": HURRIED}),
        "rest": Shape(rest={}),
        "rest bare": Shape(rest={"with_timestamps": False}),
    },
    "kugelaudio": {
        "multi": Shape(
            kit={
                "lull": Lull(
                    seconds=2.0,
                    server={"context_idle": 1.5},
                    traits={"generation_keepalive": 0.4, "source_pause": 1.5},
                )
            }
        ),
        "stream": Shape(
            options={"endpoint": "stream"},
            kit={
                "lull": Lull(seconds=2.6, server={"turn_idle": 2.2}, traits={"source_pause": 1.0})
            },
        ),
        "oneshot": Shape(options={"endpoint": "oneshot"}),
        "rest": Shape(rest={}),
    },
    "gradium": {
        "": Shape(),
        "rest": Shape(rest={}),
        "rest bare": Shape(rest={"only_audio": True}),
    },
    "sm": {"": Shape(), "rest": Shape(rest={}, kit={"server": Streaming})},
    "xai": {"": Shape(), "rest": Shape(rest={})},
}


def shapes() -> dict[str, tuple[Adapter, dict[str, object]]]:
    """Return the adapters by the names of their tests, and the other attributes of their suites."""
    found: dict[str, tuple[Adapter, dict[str, object]]] = {}
    for name, kind in sorted(KINDS.items()):
        for variant, shape in KNOWN.get(name, {"": Shape()}).items():
            options = dict(shape.options)
            if kind.traits.voice_required:
                options.setdefault("voice", create_provider(name, {}).default_voice)
            adapter = kind(**options)  # type: ignore[arg-type]
            if shape.rest is not None:
                over = adapter.rest()
                assert over is not None, f"{name} has no HTTP"
                adapter = attrs.evolve(over, **shape.rest)
            found[f"{name} {variant}".strip()] = adapter, dict(shape.kit)
    return found


__all__ = ["KINDS", "KNOWN", "Lull", "Shape", "shapes"]
