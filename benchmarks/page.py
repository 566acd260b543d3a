"""
Tables of what was measured, as a report of its own and between the marks of a page.

``python -m benchmarks.page benchmarks/results docs/performance.md`` puts the tables there.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MARK = re.compile(r"(<!-- measured: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
"""What stands between such marks is written by this; *name* is a case, or one of `PARTS`."""


def number(value: float) -> str:
    """Write *value* with three digits that say something, and no more than one after the point."""
    if value == int(value):
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.2f}"


def _cell(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    median, least, most = (number(found[name]) for name in ("median", "least", "most"))
    return median if least == most else f"{median} ({least}–{most})"


def case_table(case: Mapping[str, Any]) -> str:
    """Write the table of one case: medians, in brackets the least and the most of the rounds."""
    rows: Sequence[Mapping[str, Any]] = case["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    compared = any(row.get("ratio") for row in rows)
    head = ["client", *names, *([f"{case['figure']} ÷ raw"] if compared else [])]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        cells = [_bold(row)]
        cells += [_cell(row["figures"].get(name)) for name in names]
        if compared:
            cells.append(_cell(row.get("ratio")))
        lines.append(f"| {' | '.join(cells)} |")
    for row in rows:
        for why in dict.fromkeys(row["failed"]):
            times = row["failed"].count(why)
            which = f"{times} of {len(row['rounds'])} rounds"
            lines += ["", f"{row['contestant']} failed in {which}: {_plain(why)}"]
    for name, why in case.get("cannot", {}).items():
        lines += ["", f"{name} is not measured here: {why}"]
    return "\n".join(lines)


def _bold(row: Mapping[str, Any]) -> str:
    name: str = row["contestant"]
    return f"**{name}**" if row["kind"] == "own" else name


def _plain(text: str) -> str:
    """Return *text* so that it is no markup."""
    return f"`{text.replace('`', '')}`"


def bounds(found: Mapping[str, Any]) -> str:
    """Write what is asked of ttsmux, what was found, and whether it is kept."""
    lines = ["| case | client | bound | found | kept |", "|---|---|---|---:|---|"]
    for each in found["bounds"]:
        value = "not measured" if each["value"] is None else number(each["value"])
        kept = "yes" if each["kept"] else "**no**"
        lines.append(
            f"| {each['case']} | {each['contestant']} | {each['bound']} | {value} | {kept} |"
        )
    return "\n".join(lines)


def command(found: Mapping[str, Any]) -> str:
    """Write what made the figures, and on what."""
    on = found["machine"]
    said = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    words = (
        f"`{found['command']}` ({found['minutes']:g} minutes) on {on['system']}, {on['cores']} "
        f"cores, Python {on['python']}, load at the end {on['load at the end']}; {said}."
    )
    return "\n".join(textwrap.wrap(words, 100, break_long_words=False, break_on_hyphens=False))


def calls(found: Mapping[str, Any]) -> str:
    """Write how each client was used."""
    used = {
        row["contestant"]: (row["kind"], row["call"])
        for case in found["cases"]
        if case["case"] != "start-up"
        for row in case["rows"]
        if not str(row["call"]).startswith("pip ")
    }
    lines = ["| client | call |", "|---|---|"]
    lines += [f"| {name} | `{call}` |" for name, (_, call) in used.items()]
    return "\n".join(lines)


PARTS = {"command": command, "bounds": bounds, "calls": calls}


def report(found: Mapping[str, Any]) -> str:
    """Write all of it, one table after the other."""
    parts = ["# Performance", command(found)]
    for case in found["cases"]:
        about = textwrap.fill(f"{case['about'][0].upper()}{case['about'][1:]}.", 100)
        parts += [f"## {case['case']}", about, case_table(case)]
    parts += ["## Bounds", bounds(found), "## How each is used", calls(found)]
    return "\n\n".join(parts) + "\n"


def fill(page: str, found: Mapping[str, Any], others: Mapping[str, str] | None = None) -> str:
    """
    Return *page* with what stands between its marks written anew.

    What was not measured keeps what stands there. Raises ValueError for a page without marks.
    """
    tables = {case["case"]: case_table(case) for case in found["cases"]}
    parts = {name: write(found) for name, write in PARTS.items()} | tables | dict(others or {})

    def written(match: re.Match[str]) -> str:
        if match["name"] not in parts:
            return match[0]
        return f"{match[1]}\n{parts[match['name']]}\n\n{match[3]}"

    text, marks = MARK.subn(written, page)
    if not marks:
        raise ValueError("there is no <!-- measured: … --> on the page")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="where the figures are")
    parser.add_argument("page", type=Path)
    args = parser.parse_args()
    from . import growth

    found = json.loads((args.results / "performance.json").read_text(encoding="utf-8"))
    others = {}
    if (file := args.results / "growth.json").exists():
        grown = json.loads(file.read_text(encoding="utf-8"))
        others = growth.parts(grown)
        growth.draw(grown, args.page.parent / args.page.stem)
    text = fill(args.page.read_text(encoding="utf-8"), found, others)
    args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
