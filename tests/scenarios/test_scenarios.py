"""One scenario, every runtime: equal traces."""

from __future__ import annotations

import pytest

from ttsmux.adapter import Note
from ttsmux.adapters.xai import XAI

from .scripts import SCENARIOS, Scenario, whole_text
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


def test_a_signal_that_changes_nothing_for_the_speech_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One runtime that decoded something else would stand out, even if it sounded the same."""
    trace = play("threads", "xai", whole_text)
    decode = XAI.decode
    monkeypatch.setattr(XAI, "decode", lambda *args: (*decode(*args), Note("a hum")))
    other = play("threads", "xai", whole_text)
    assert {name for name, fact in trace.items() if other[name] != fact} == {"0 signals"}
    (signals,) = trace["0 signals"]
    lengths = [s["data"] for s in signals if s["signal"] == "Audio"]
    assert lengths == [length for _, length, _ in trace["0 chunks"]] and len(lengths) > 1
