"""
Whom the contract is played with: every adapter that this distribution's entry points name.

One that needs more than its name says so in `KNOWN`; several entries are several shapes of one
provider. Those that are not there yet wait here for their entry point.
"""

from __future__ import annotations

from importlib.metadata import distribution

import attrs

from ttsmux.adapter import Adapter
from ttsmux.simulate.simulator import create_provider
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


HURRIED = Lull(seconds=1.6, adapter={"inactivity_timeout": 1})
"""ElevenLabs lets a context lie for so many seconds; the adapter's keepalives follow."""
KNOWN: dict[str, dict[str, Shape]] = {
    "elevenlabs": {
        "multi": Shape(kit={"lull": HURRIED, "error": {"error_id": True}}),
        "auto": Shape(
            options={"auto_mode": True}, kit={"lull": HURRIED, "error": {"error_id": True}}
        ),
        "single": Shape(options={"endpoint": "single"}, kit={"lull": HURRIED}),
    },
    "kugelaudio": {
        "multi": Shape(
            kit={
                "lull": Lull(
                    seconds=0.6,
                    server={"context_idle": 0.3},
                    traits={"generation_keepalive": 0.1, "source_pause": 0.3},
                )
            }
        ),
        "stream": Shape(
            options={"endpoint": "stream"},
            kit={
                "lull": Lull(seconds=0.6, server={"turn_idle": 0.2}, traits={"source_pause": 0.2})
            },
        ),
        "oneshot": Shape(options={"endpoint": "oneshot"}),
    },
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
            found[f"{name} {variant}".strip()] = adapter, dict(shape.kit)
    return found


__all__ = ["KINDS", "KNOWN", "Lull", "Shape", "shapes"]
