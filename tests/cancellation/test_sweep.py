"""Every place where a scenario waits, and what a cancellation does there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests._totals import Entry
from tests.cancellation.probes import Backend
from tests.cancellation.scenarios import SCENARIOS, Scenario
from tests.cancellation.sweep import BACKENDS, ENOUGH, WHO, Report, sweep
from tests.cancellation.wires import WIRES, WireSweep
from tests.transports.peers import Authority

LAYERS = [
    pytest.param(name, tls, id=f"{name}-{'tls' if tls else 'plain'}")
    for name in WIRES
    for tls in (False, True)
    if not (tls and name == "refused_dial")  # the peer leaves before TLS has begun
]
WHOLE = len(BACKENDS) * (len(SCENARIOS) + len(LAYERS))


@pytest.mark.counted
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_cancelled_scenario_leaves_nothing_behind(
    scenario: Scenario, backend: Backend, add_to_total: Callable[[Entry], None]
) -> None:
    """And the next speech on the same client is complete."""
    # What its own tasks wait for says little of the provider: half of that is left to
    # `python -m tests.cancellation.sweep`.
    mixed = (scenario.provider == "gradium") == (backend == "trio")
    judge(sweep(scenario, backend, WHO if mixed else ["scenario"]), add_to_total)


@pytest.mark.counted
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "tls"), LAYERS)
def test_a_cancelled_transport_is_not_used_again(
    name: str, tls: bool, backend: Backend, add_to_total: Callable[[Entry], None]
) -> None:
    """No socket stays open, and no peer is sent half a frame and then the next."""
    contexts = None
    if tls:
        authority = Authority()
        contexts = authority.client(), authority.server()
    judge(WireSweep(name, backend, contexts).run(["scenario"]), add_to_total)


def judge(report: Report, add_to_total: Callable[[Entry], None]) -> None:
    add_to_total({"points": len(report.points), "seconds": report.seconds, "words": str(report)})
    if report.faults:
        pytest.fail(f"after {report.runs} runs:\n{report.told()}", pytrace=False)
    assert report.points


def total(entries: list[Entry], selected: int) -> tuple[str, str]:
    """A sweep that reaches little says little."""
    points = sum(entry["points"] for entry in entries)
    seconds = sum(entry["seconds"] for entry in entries)
    lines = sorted(entry["words"] for entry in entries)
    sums = f"{points} cancellation points in {len(entries)} sweeps, {seconds:.0f} s"
    short = selected == WHOLE and points < ENOUGH
    return "\n".join([*lines, sums]), f"{sums}: {ENOUGH} are due" if short else ""
