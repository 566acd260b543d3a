"""Which barge-ins are measured, and what is asked of the next turn."""

import itertools
from pathlib import Path

import attrs
import pytest

from benchmarks import barge_in, cases, harness
from benchmarks.cases import NEEDED, TURNS, Case, Mode
from benchmarks.harness import Calm, Row, Simulated
from benchmarks.server import Engine, most_at_once, seen
from ttsmux.adapter import Traits
from ttsmux.client.options import adapter_names
from ttsmux.settings import Interrupt
from ttsmux.simulate import PROVIDERS, Simulator

MODES = [mode for provider in PROVIDERS for mode in cases.modes(provider)]
ALL = [case for provider in PROVIDERS for case in cases.cases(provider)]


def of(mode: str) -> list[Case]:
    return [case for case in ALL if case.mode.name == mode]


def made(limit: int | None = None, **traits: object) -> Mode:
    shape = Traits(key_variable="KEY", connections=limit, **traits)  # type: ignore[arg-type]
    return Mode("mine", None, shape, limit, 24000, cancels=True)


def test_every_provider_that_has_a_simulator_is_measured() -> None:
    assert {*PROVIDERS} <= {*cases.providers()} <= {*adapter_names()}


def test_every_protocol_is_measured() -> None:
    """An adapter that speaks several says so in its field `endpoint`."""
    assert {mode.name for mode in MODES} == {
        "elevenlabs multi",
        "elevenlabs single",
        "gradium",
        "kugelaudio multi",
        "kugelaudio stream",
        "kugelaudio oneshot",
        "sm",
        "xai",
    }


@pytest.mark.parametrize("mode", [mode.name for mode in MODES])
def test_apart_every_turn_is_quick_with_nothing_set(mode: str) -> None:
    """Whatever the provider makes of the interruption."""
    apart = [case for case in of(mode) if case.apart]
    assert [case for case in apart if case.usual]
    assert all(case.slow == 0 and not case.set_to for case in apart)


@pytest.mark.parametrize("mode", [mode.name for mode in MODES])
def test_back_to_back_is_measured_with_nothing_set_first(mode: str) -> None:
    back_to_back = [case for case in of(mode) if not case.apart]
    assert [case for case in back_to_back if case.usual and not case.set_to]
    for case in back_to_back:
        assert not case.set_to or attrs.evolve(case, min_idle=None, limit=None).name in [
            other.name for other in back_to_back
        ]


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in ALL}) == len(ALL)


def test_sm_back_to_back() -> None:
    """As far as four of its five connections go, and with all five ready."""
    default, spares, five = (case for case in of("sm") if not case.apart)
    assert default.slow == 2 and default.mode.limits == "5 connections a key, 1 kept back"
    assert spares.slow == 0 and spares.min_idle == 3
    assert five.slow == 0 and (five.min_idle, five.limit) == (4, 5)


@pytest.mark.parametrize(
    ("most", "slow"), [(8, NEEDED - 1), (4, NEEDED - 1), (3, TURNS - 2), (1, TURNS - 1)]
)
def test_a_limit_on_connections_bounds_what_can_be_learnt(most: int, slow: int) -> None:
    [case] = [c for c in cases.cases_of(made(limit=most)) if not c.apart and not c.set_to]
    assert case.slow == slow


@pytest.mark.parametrize(("muted", "slow"), [(1, 1), (2, 1), (3, 1), (4, 0), (20, 0)])
def test_a_connection_that_is_full_before_the_next_one_is_there(muted: int, slow: int) -> None:
    policy = {"interrupt": Interrupt.MUTE, "policies": (Interrupt.MUTE,), "ids": True}
    mode = made(seats=muted, slots=muted, max_muted=muted, **policy)
    late = [case for case in cases.cases_of(mode) if not case.apart and case.usual]
    assert [case.slow for case in late] == ([1, 0] if slow else [0])


def test_acknowledgements_go_wrong_for_whoever_waits_for_them() -> None:
    """And for one of two protocols that are alike."""
    faulty = {case.mode.name for case in ALL if case.faults}
    assert faulty == {"kugelaudio multi", "kugelaudio stream", "xai"}


@pytest.mark.parametrize("contestant", barge_in.OURS)
@pytest.mark.parametrize("case", [case for case in ALL if not case.apart], ids=lambda c: c.name)
def test_each_turn_is_heard_and_none_hears_another(case: Case, contestant: str) -> None:
    """
    In each case, without a look at the clock; and the provider sees no rule broken.

    Where all connections that it allows are used, one that was just given up may be counted still.
    """
    engine = Engine()
    options = {"faults": case.faults, "rtf": case.rtf}
    with Simulator(case.mode.provider, engine=engine, **options) as simulator:  # type: ignore[arg-type]
        server = Simulated(simulator.url, simulator.default_voice)
        figures = barge_in.OURS[contestant](case, server)
    server.seen, server.said = {k: float(v) for k, v in seen(simulator).items()}, engine.said
    values = figures.values(case, server)
    assert len(figures.heard) == len(figures.turns) == TURNS and all(figures.heard)
    assert values["stale bytes"] == 0
    assert server.seen["violations"] == 0
    assert case.limit is not None or values["rules broken"] == 0


def test_what_is_open_at_once() -> None:
    """A dial is none yet, and one that is gone is none any more."""
    events = ["dial 1", "open 1", "dial 2", "dial 3", "lost 2", "open 3", "lost 1", "open 4"]
    log = [{"event": e.split()[0], "conn": int(e.split()[1])} for e in events]
    assert [most_at_once(log[:n]) for n in range(len(log) + 1)] == [0, 0, 1, 1, 1, 1, 2, 2, 2]


def test_slow_turns() -> None:
    """The same turn in most rounds, however little; any turn, if it is much."""
    quick, late, dialled = 0.101, 0.110, 0.4
    assert barge_in.slow([[quick] * 3] * 3) == 0
    assert barge_in.slow([[quick, late, quick]] * 2 + [[quick] * 3]) == 1
    assert barge_in.slow([[late, quick], [quick, late], [quick, quick]]) == 0
    assert barge_in.slow([[dialled, quick], [quick, dialled], [quick, quick]]) == 1


def test_a_table_is_put_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{barge_in.BEGIN}\nold\n{barge_in.END}\nThe rest.\n")
    barge_in.put(page, "new")
    assert page.read_text() == f"# Page\n\n{barge_in.BEGIN}\nnew\n{barge_in.END}\nThe rest.\n"
    page.write_text("no marks")
    with pytest.raises(AssertionError, match="has"):
        barge_in.put(page, "new")
    assert page.read_text() == "no marks"


def test_the_table_has_a_line_a_mode_with_the_worse_of_two_clients() -> None:
    def row(case: Case, client: str, milliseconds: float) -> Row:
        names = ("slow turns", "at once", "stale bytes")
        return Row(case.name, client, {"median ms": milliseconds, **dict.fromkeys(names, 1.0)})

    clients = list(enumerate((*barge_in.OURS, "raw websockets, socket kept")))
    found = {
        case: [row(case, name, 101.0 + place if place < 2 else 999.0) for place, name in clients]
        for case in ALL
    }
    heading, rule, *lines = barge_in.summary(found).splitlines()
    assert len({line.count("|") for line in (heading, rule, *lines)}) == 1
    assert [line.split(" | ")[0].strip("| ") for line in lines] == [mode.name for mode in MODES]
    assert all("102" in line and "999" not in line for line in lines)


def test_the_page_of_the_documentation_has_the_marks() -> None:
    page = Path(__file__).parents[2] / "docs" / "barge-in.md"
    text = page.read_text(encoding="utf-8")
    assert text.index(barge_in.BEGIN) < text.index(barge_in.END)
    for mode in MODES:
        assert f"| {mode.name} |" in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([], "--rounds 5"),
        (["--providers", "sm,xai", "--only", "back to back"], "sm,xai --only 'back to back'"),
    ],
)
def test_the_command_that_is_shown_measures_the_same_again(
    given: list[str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.barge_in", *given])
    args = harness.arguments(harness.parser("", cases.providers()))
    assert harness.command("barge_in", args).endswith(shown)


def test_a_provider_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.barge_in", "--providers", "sm,gradiun"])
    with pytest.raises(SystemExit):
        harness.arguments(harness.parser("", cases.providers()))
    assert "no provider is called 'gradiun'" in capsys.readouterr().err


def test_what_others_had_the_processor_for_is_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But not for ever: then it is as it is."""
    counter = iter([0.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr(harness, "stolen", lambda: next(counter))
    calm, rounds = Calm(), iter("abc")
    assert calm.measure(lambda: next(rounds)) == "b"
    assert calm.again == 1
    ever = itertools.count(0.0, 100.0)
    monkeypatch.setattr(harness, "stolen", lambda: next(ever))
    assert calm.measure(lambda: "z") == "z"
    assert calm.again == 1 + harness.AGAIN


def test_what_was_stolen_is_counted_or_nothing() -> None:
    assert harness.stolen() >= 0.0
