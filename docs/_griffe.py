"""
Give each name a row of its own where a docstring has several on a line (called by mkdocstrings).

Of ``voice, language: the provider's own`` the reader of docstrings would make a name and a type.
"""

import re

import griffe

SHARED = re.compile(
    r"^(?P<indent> +)(?P<names>\*?\w+(?:, \*?\w+)+)(?P<text>:[ ].*(?:\n(?P=indent) +\S.*)*)$",
    re.MULTILINE,
)


class OneRowEach(griffe.Extension):
    """Repeats what is said of several names for each of them."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of *obj* before it is read."""
        if obj.docstring is not None:
            obj.docstring.value = SHARED.sub(apart, obj.docstring.value)


def apart(found: re.Match[str]) -> str:
    """Write the lines of one item once a name."""
    return "\n".join(
        f"{found['indent']}{name}{found['text']}" for name in found["names"].split(", ")
    )
