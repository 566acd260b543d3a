"""One scenario, every runtime: equal traces."""

from __future__ import annotations

import pytest

from .scripts import SCENARIOS, Scenario
from .stage import RUNTIMES, play

CASES = [
    pytest.param(scenario, provider, id=f"{provider}-{scenario.name}")
    for scenario in SCENARIOS
    for provider in scenario.providers
]


@pytest.mark.parametrize(("scenario", "provider"), CASES)
def test_scenario(scenario: Scenario, provider: str) -> None:
    """The script's own claims hold, and the runtimes cannot be told apart."""
    traces = {
        runtime: play(
            runtime,
            provider,
            scenario.script,
            client=scenario.client,
            chance=scenario.chance,
            **scenario.simulator,
        )
        for runtime in RUNTIMES
    }
    for runtime in RUNTIMES[1:]:
        assert traces[runtime] == traces[RUNTIMES[0]], f"{runtime} differs from {RUNTIMES[0]}"


def test_scenarios_have_names_of_their_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
