"""
The contract for adapters, as a kit for pytest: ``pip install ttsmux[testing]``.

::

    from ttsmux.testing import AdapterContract

    class TestMine(AdapterContract):
        adapter = Mine(voice="ada")
        server = MyProvider        # a simulated provider; see `ttsmux.simulate.custom`

This is a test module: pytest finds every case of the contract in it, on every runtime that is
installed. A case is left out only where a trait of the adapter says that there is nothing to test.

From the outside in: `contract` puts together `rules`, `hearing` and `texts` (no network),
`crossings` (a network in memory, in virtual time) and `cases` (sockets). They stand on `suite`
(what a case is), `stage` and `world` (one script on every runtime), `bench` (the client without
sockets and clocks), `recording` (what a simulated provider sends), `answers` (what that is over
HTTP), `fuzz` (what none should send) and `sound` (what a speech should sound like); `leaks` looks
for what a test left behind.
"""

try:
    import pytest
except ModuleNotFoundError as exc:
    msg = "ttsmux.testing needs pytest: pip install 'ttsmux[testing]'"
    raise ModuleNotFoundError(msg, name="pytest") from exc

# Before they are imported: an assert of the kit should show its values as one of a test does.
_PARTS = ("bench", "cases", "crossings", "hearing", "rules", "stage", "suite", "texts", "world")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from .bench import Bench, Message  # noqa: E402
from .contract import AdapterCases, AdapterContract, AdapterRules  # noqa: E402
from .recording import Recording, Spoken, record, with_traits  # noqa: E402
from .suite import Case, Lull, Suite, case, cases_of, skips  # noqa: E402
from .world import Take, World, play, simulator  # noqa: E402

__all__ = [
    "AdapterCases",
    "AdapterContract",
    "AdapterRules",
    "Bench",
    "Case",
    "Lull",
    "Message",
    "Recording",
    "Spoken",
    "Suite",
    "Take",
    "World",
    "case",
    "cases_of",
    "play",
    "record",
    "simulator",
    "skips",
    "with_traits",
]
