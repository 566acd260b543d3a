"""Every place where a scenario waits, and what a cancellation does there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cancellation.probes import Backend
from tests.cancellation.scenarios import SCENARIOS, Scenario
from tests.cancellation.sweep import BACKENDS, ENOUGH, WHO, Report, sweep
from tests.cancellation.wires import WIRES, WireSweep
from tests.transports.peers import Authority

REPORTS: list[Report] = []
LAYERS = [
    pytest.param(name, tls, id=f"{name}-{'tls' if tls else 'plain'}")
    for name in WIRES
    for tls in (False, True)
    if not (tls and name == "refused_dial")  # the peer leaves before TLS has begun
]
WHOLE = len(BACKENDS) * (len(SCENARIOS) + len(LAYERS))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_cancelled_scenario_leaves_nothing_behind(scenario: Scenario, backend: Backend) -> None:
    """And the next speech on the same client is complete."""
    # What its own tasks wait for says little of the provider: half of that is left to
    # `python -m tests.cancellation.sweep`.
    mixed = (scenario.provider == "gradium") == (backend == "trio")
    judge(sweep(scenario, backend, WHO if mixed else ["scenario"]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "tls"), LAYERS)
def test_a_cancelled_transport_is_not_used_again(name: str, tls: bool, backend: Backend) -> None:
    """No socket stays open, and no peer is sent half a frame and then the next."""
    contexts = None
    if tls:
        authority = Authority()
        contexts = authority.client(), authority.server()
    judge(WireSweep(name, backend, contexts).run(["scenario"]))


def judge(report: Report) -> None:
    REPORTS.append(report)
    if report.faults:
        pytest.fail(f"after {report.runs} runs:\n{report.told()}", pytrace=False)
    assert report.points


def test_there_were_enough_points(announce: Callable[[str], None]) -> None:
    """A sweep that reaches little says little."""
    points = sum(len(report.points) for report in REPORTS)
    seconds = sum(report.seconds for report in REPORTS)
    announce(
        "\n".join(map(str, REPORTS))
        + f"\n{points} cancellation points in {len(REPORTS)} sweeps, {seconds:.0f} s"
    )
    if len(REPORTS) < WHOLE:
        pytest.skip(f"only {len(REPORTS)} of {WHOLE} sweeps ran")
    assert points >= ENOUGH
