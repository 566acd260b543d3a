"""
What is done each time the docs are built: state machines are drawn, references are checked.

The machines are drawn where the pages say ``<!-- table: NAME -->``.

NAME is a dict of `ttsmux.core.states`: ``{state: {input: state}}``. The picture shows which state
leads to which; the inputs are in the table below it, and in the tooltips of the arrows. Both are
plain HTML and SVG: nothing has to be fetched to look at them.

A page that says ``::: MODULE`` has to have each public class and function of that module, with each
field of a value and each member of an enum; else the build fails.
"""

import math
import re
from collections.abc import Mapping
from enum import Enum
from html import escape
from importlib import import_module
from inspect import signature
from itertools import groupby
from types import SimpleNamespace

import msgspec
from mkdocs.exceptions import PluginError

from ttsmux.core import states

Machine = Mapping[Enum, Mapping[Enum, Enum]]
Point = tuple[float, float]

MODULE = re.compile(r"^::: ([a-z_.]+)$", re.MULTILINE)
MARKER = re.compile(r"<!-- table: (\w+) -->")
WIDTH, HEIGHT = 112, 32
"""Of a state's box, in pixels."""
ACROSS, DOWN = 240, 150
"""The radii of the ellipse that the boxes sit on."""
STYLE = 'fill="none" stroke="currentColor"'


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put a picture and a table in the place of each marker (called by mkdocs)."""
    return MARKER.sub(lambda found: render(getattr(states, found[1])), markdown)


def on_page_content(html: str, page: SimpleNamespace, **_: object) -> None:
    """Fail if *page* lacks something of the modules that it shows (called by mkdocs)."""
    for module in MODULE.findall(page.markdown):
        if lost := missing(module, html):
            msg = f"{page.file.src_uri} shows nothing of {', '.join(lost)}"
            raise PluginError(msg)


def missing(module: str, html: str) -> list[str]:
    """List the public classes and functions of *module* that have no place in *html*."""
    found = import_module(module)
    # Constants are shown only where there is something to say of them.
    names = [n for n in found.__all__ if getattr(getattr(found, n), "__name__", None) == n]
    assert names, f"{module} has public names"
    lost = [name for name in names if f'id="{module}.{name}"' not in html]
    for name in names:
        real = getattr(found, name)
        _, _, after = html.partition(f'id="{module}.{name}"')
        text, _, _ = after.partition("<h2")
        lost += [f"{name}.{part}" for part, shown in parts(real).items() if shown not in text]
    return lost


def parts(real: object) -> dict[str, str]:
    """Tell how the fields of a value, or the members of an enum, are to be seen in the HTML."""
    if not isinstance(real, type):
        return {}
    if issubclass(real, Enum):
        return {name: f'.{real.__name__}.{name}"' for name in real.__members__}
    if issubclass(real, msgspec.Struct):
        return {name: f"<code>{name}</code>" for name in real.__struct_fields__}
    if "__attrs_attrs__" in vars(real):
        return {name: f"<code>{name}</code>" for name in signature(real).parameters}
    return {}


def render(machine: Machine) -> str:
    """Draw *machine*, then list it."""
    return f"{picture(machine)}\n\n{listing(machine)}\n"


def arrows(machine: Machine) -> dict[tuple[Enum, Enum], list[str]]:
    """Group the inputs of each state by where they lead."""
    found: dict[tuple[Enum, Enum], list[str]] = {}
    for state, inputs in machine.items():
        for input_, after in inputs.items():
            found.setdefault((state, after), []).append(input_.name)
    return found


def listing(machine: Machine) -> str:
    """Write the Markdown table, in the order of the dict."""
    rows = ["| in | on | to |", "|---|---|---|"]
    for state, group in groupby(arrows(machine).items(), key=lambda arrow: arrow[0][0]):
        for (_, after), inputs in group:
            to = "stays" if after is state else after.name
            rows.append(f"| {state.name} | {', '.join(f'`{name}`' for name in inputs)} | {to} |")
    return "\n".join(rows)


def picture(machine: Machine) -> str:
    """Draw the SVG, as one line: Markdown would take a blank one for the end of the HTML."""
    places = layout(machine)
    width, height = 2 * ACROSS + WIDTH + 4, 2 * DOWN + HEIGHT + 4
    parts = [arrow(places, *ends, inputs) for ends, inputs in arrows(machine).items()]
    parts += [box(state.name, *places[state], last=final(machine, state)) for state in places]
    return (
        f'<svg viewBox="-2 -2 {width} {height}" style="max-width: {width}px; width: 100%"'
        ' font-family="monospace" font-size="12" role="img" aria-label="states">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8"'
        ' markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="currentColor"/></marker>'
        f"</defs>{''.join(parts)}</svg>"
    )


def final(machine: Machine, state: Enum) -> bool:
    """Tell whether nothing leads out of *state*."""
    return set(machine.get(state, {}).values()) <= {state}


def layout(machine: Machine) -> dict[Enum, Point]:
    """Place the states on an ellipse, clockwise from the left, so that no arrow crosses a box."""
    everyone = list(type(next(iter(machine))))
    turn = math.tau / len(everyone)
    return {
        state: (ACROSS * (1 - math.cos(turn * i)), DOWN * (1 - math.sin(turn * i)))
        for i, state in enumerate(everyone)
    }


def box(name: str, x: float, y: float, *, last: bool) -> str:
    """Draw a state, twice framed if it is final."""
    frame = f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6" {STYLE}/>'
    if last:
        inner = f'width="{WIDTH - 6}" height="{HEIGHT - 6}"'
        frame += f'<rect x="{x + 3:.0f}" y="{y + 3:.0f}" {inner} rx="4" {STYLE}/>'
    middle = f'x="{x + WIDTH / 2:.0f}" y="{y + HEIGHT / 2 + 4:.0f}"'
    return f'{frame}<text {middle} text-anchor="middle" fill="currentColor">{escape(name)}</text>'


def arrow(places: Mapping[Enum, Point], start: Enum, end: Enum, inputs: list[str]) -> str:
    """Draw an arrow bent to its left, so that there and back do not cover each other."""
    if start is end:
        return ""
    (x1, y1), (x2, y2) = ((x + WIDTH / 2, y + HEIGHT / 2) for x, y in (places[start], places[end]))
    length = math.hypot(x2 - x1, y2 - y1)
    bend = length / 8
    x, y = (x1 + x2) / 2 + (y2 - y1) / length * bend, (y1 + y2) / 2 - (x2 - x1) / length * bend
    (x1, y1), (x2, y2) = edge(x1, y1, x, y), edge(x2, y2, x, y)
    title = escape(f"{start.name} to {end.name}: {', '.join(inputs)}")
    path = f"M{x1:.0f} {y1:.0f}Q{x:.0f} {y:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" {STYLE} marker-end="url(#tip)"><title>{title}</title></path>'


def edge(x: float, y: float, to_x: float, to_y: float) -> Point:
    """Find where a line leaves the box whose middle is (x, y)."""
    dx, dy = to_x - x, to_y - y
    part = min(
        WIDTH / 2 / abs(dx) if dx else math.inf,
        HEIGHT / 2 / abs(dy) if dy else math.inf,
    )
    return x + dx * part, y + dy * part
