"""The two faces are one: same names, parameters and words; only what awaits differs."""

from __future__ import annotations

import inspect
import re
import textwrap

import pytest

from ttsmux import AsyncClient, AsyncSpeech, Client, Speech

TWINS = [(Client, AsyncClient), (Speech, AsyncSpeech)]
# Its twin needs no such thing: any thread may call the threaded client.
ASYNC_ONLY = {"from_thread"}
RENAMED = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
AWAITED = {
    "drain",
    "prewarm",
    "voices",
    "close",
    "__enter__",
    "__exit__",
    "__next__",
    "read",
    "save",
}
WORDS = (
    (r"\bAsync(Client|Speech|Key|Iterable)\b", r"\1"),
    (r"Iterable\[str\] \| Iterable\[str\]", "Iterable[str]"),
    (r"\btasks\b", "threads"),
    (r"\btask\b", "thread"),
    (r"\basync with\b", "with"),
)


def members(kind: type) -> dict[str, object]:
    """Return what a class itself has that a user meets, by the threaded name."""
    own = {RENAMED.get(name, name): member for name, member in vars(kind).items()}
    hidden = {"__module__", "__dict__", "__weakref__", "__annotations__", "__qualname__"}
    hidden |= {"__static_attributes__", "__firstlineno__"}  # 3.13
    return {
        name: member
        for name, member in own.items()
        if name not in hidden and (name.startswith("__") or not name.startswith("_"))
    }


def plain(text: str) -> str:
    """Say it as the threaded twin does."""
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    return text


def signature(member: object) -> list[tuple[str, object, object, str]]:
    """Return the parameters, and last of all what is returned."""
    function = member.fget if isinstance(member, property) else member
    assert inspect.isfunction(function)
    found = inspect.signature(function)
    rows = [
        (p.name, p.kind, p.default, plain(str(p.annotation))) for p in found.parameters.values()
    ]
    return [*rows, ("returns", None, None, plain(str(found.return_annotation)))]


CASES = [
    pytest.param(sync, aio, name, id=f"{sync.__name__}.{name}")
    for sync, aio in TWINS
    for name in members(sync)
]


@pytest.mark.parametrize(("sync", "aio"), TWINS, ids=["client", "speech"])
def test_they_have_the_same_members(sync: type, aio: type) -> None:
    assert members(aio).keys() - ASYNC_ONLY == members(sync).keys()
    # A special method that another test replaced for a while comes last in its class afterwards.
    order = [name for name in members(aio) if name not in ASYNC_ONLY and name[:2] != "__"]
    wanted = [name for name in members(sync) if name[:2] != "__"]
    assert order == wanted, "files that are alike on purpose stay in one order"


@pytest.mark.parametrize(("sync", "aio", "name"), CASES)
def test_a_member_is_the_same_on_both_sides(sync: type, aio: type, name: str) -> None:
    """Its kind, parameters, defaults, annotations and words."""
    mine, theirs = members(sync)[name], members(aio)[name]
    if isinstance(mine, str) or name == "__doc__":
        assert plain(str(theirs)) == str(mine)
        return
    assert isinstance(mine, property) == isinstance(theirs, property)
    assert signature(theirs) == signature(mine)
    assert inspect.iscoroutinefunction(theirs) is (name in AWAITED)
    assert not inspect.iscoroutinefunction(mine)
    said, heard = inspect.getdoc(mine) or "", inspect.getdoc(theirs) or ""
    if not name.startswith("__") or name == "__next__":
        assert said, f"{name} says nothing"
    if not name.startswith("__"):
        assert textwrap.dedent(plain(heard)) == said
