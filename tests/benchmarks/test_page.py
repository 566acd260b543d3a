"""Figures on a page: between their marks, and nowhere else."""

from typing import Any

import pytest

from benchmarks import growth, page


def row(name: str, kind: str = "raw", **more: Any) -> dict[str, Any]:
    found = {"contestant": name, "kind": kind, "call": "speak()", "rounds": [], "failed": []}
    return found | {"figures": {}} | more


def spread(median: float, least: float, most: float) -> dict[str, float]:
    return {"median": median, "least": least, "most": most}


FOUND: dict[str, Any] = {
    "command": "python -m benchmarks.performance --rounds 5",
    "rounds": 5,
    "minutes": 12.0,
    "machine": {"system": "Linux", "cores": 2, "python": "3.11.7", "load at the end": 1.0},
    "versions": {"ttsmux": "0.1.0"},
    "cases": [
        {
            "case": "paced",
            "about": "CPU",
            "figure": "µs",
            "rows": [
                row(
                    "ttsmux",
                    "own",
                    figures={"µs": spread(27.04, 26, 1234.5)},
                    ratio={"of": "raw", **spread(0.5, 0.4, 0.6)},
                ),
                row("raw", figures={"µs": spread(60, 60, 60), "late": spread(0.123, 0.123, 0.123)}),
            ],
        }
    ],
    "bounds": [
        {"case": "paced", "contestant": "ttsmux", "bound": "µs ≤ 20", "value": 27.04, "kept": False}
    ],
}
TEXT = """# Page

Words. <!-- no mark of ours -->

<!-- measured: paced -->
old
<!-- end -->

<!-- measured: not yet -->
kept
<!-- end -->
"""


def test_a_table_of_a_case() -> None:
    assert page.case_table(FOUND["cases"][0]).splitlines() == [
        "| client | µs | late | µs ÷ raw |",
        "|---|---:|---:|---:|",
        "| **ttsmux** | 27.0 (26–1,234) |  | 0.5 (0.4–0.6) |",
        "| raw | 60 | 0.12 |  |",
    ]


def test_who_failed_is_named_below() -> None:
    failed = row("theirs", failed=["`a` and", "`a` and", "other"], rounds=[None] * 5)
    case = {"case": "paced", "figure": "µs", "rows": [failed]}
    assert page.case_table(case).splitlines()[-3:] == [
        "theirs failed in 2 of 5 rounds: `a and`",
        "",
        "theirs failed in 1 of 5 rounds: `other`",
    ]


def test_what_stands_between_the_marks_is_written_anew() -> None:
    text = page.fill(TEXT, FOUND)
    assert "old" not in text
    assert "<!-- measured: paced -->\n\n| client | µs" in text
    assert page.fill(text, FOUND) == text


def test_the_rest_of_the_page_stays() -> None:
    """What was not measured this time is not wiped out, either."""
    text = page.fill(TEXT, FOUND)
    assert text.startswith("# Page\n\nWords. <!-- no mark of ours -->\n\n<!-- measured: paced -->")
    assert text.endswith("<!-- end -->\n\n<!-- measured: not yet -->\nkept\n<!-- end -->\n")


def test_a_page_without_marks() -> None:
    with pytest.raises(ValueError, match="no <!-- measured"):
        page.fill("# Page\n", FOUND)


def test_a_bound_that_is_not_kept_is_seen() -> None:
    assert page.bounds(FOUND).splitlines()[-1] == "| paced | ttsmux | µs ≤ 20 | 27.0 | **no** |"


def test_the_command_and_the_versions_are_told() -> None:
    said = page.command(FOUND)
    assert said.startswith("`python -m benchmarks.performance --rounds 5` (12 minutes) on Linux")
    assert "ttsmux 0.1.0" in said


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (3.0, "3"), (1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23"), (0.0123, "0.012")],
)
def test_numbers(value: float, written: str) -> None:
    assert page.number(value) == written


# Growth


def points(**at: float) -> list[dict[str, float]]:
    return [{"step": int(step[1:]), **spread(each, each, each)} for step, each in at.items()]


def test_what_grows_in_proportion_has_no_knee() -> None:
    """Whatever it begins with."""
    assert growth.knee(points(n10=31, n100=40, n1000=130), grows=True) == pytest.approx(1.0)


def test_a_knee() -> None:
    assert growth.knee(points(n10=31, n100=40, n1000=310), grows=True) == pytest.approx(3.0)
    assert growth.knee(points(n10=5, n100=5, n1000=10), grows=False) == pytest.approx(2.0)


def test_too_few_points_for_a_knee() -> None:
    assert growth.knee(points(n1000=130), grows=True) is None
    assert growth.knee(points(n1000=130), grows=False) is None


def test_points_are_medians_over_the_rounds() -> None:
    found = {10: [{"MiB": 3.0}, {"MiB": 1.0}, {"MiB": 2.0}], 100: [{"MiB": 5.0}], 1000: []}
    assert growth.lines(found) == {
        "MiB": [{"step": 10, **spread(2, 1, 3)}, {"step": 100, **spread(5, 5, 5)}]
    }


def test_steps_that_somebody_did_not_go_are_empty() -> None:
    grown = {
        "name": "waiters",
        "about": "",
        "lines": {"ttsmux, asyncio": {"ms a speech": points(n1=2, n250=3, n4000=6)}},
        "failed": {"ttsmux, threads, 4 waiting": ["why"]},
    }
    rows = growth.table(grown).splitlines()
    assert rows[2] == "| **ttsmux, asyncio** | ms a speech | 2 |  |  |  | 3 |  | 6 | × 2.00 |"
    assert rows[-1] == "ttsmux, threads, 4 waiting failed 1 times: `why`"
