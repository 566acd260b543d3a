"""The face of the package: what it has, and what looking at it costs."""

import ast
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator

import attrs
import pytest

import ttsmux
import ttsmux.adapter


def run(code: str) -> str:
    """Run *code* in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ttsmux.__all__)
def test_every_name_is_there(name: str) -> None:
    """And is called as it is."""
    found = getattr(ttsmux, name)
    assert found is getattr(ttsmux, name)
    if inspect.isclass(found):
        assert found.__name__ == name


def test_a_star_import_brings_every_name() -> None:
    """In an interpreter that has not used any of them."""
    code = "from ttsmux import *; import ttsmux; print(all(n in globals() for n in ttsmux.__all__))"
    assert run(code) == "True"


def test_names_are_listed_before_they_are_used() -> None:
    """For those who look around at a prompt."""
    assert run("import ttsmux; print(set(ttsmux.__all__) <= set(dir(ttsmux)))") == "True"
    assert dir(ttsmux) == sorted(dir(ttsmux))


def test_every_name_is_listed_once() -> None:
    """The version, and then by the alphabet."""
    first, *rest = ttsmux.__all__
    assert (first, rest) == ("__version__", sorted(set(rest)))


def test_the_list_is_a_literal_of_all_that_can_be_looked_up() -> None:
    """The reference is drawn by reading the source: from a computed list it would be empty."""
    [shown] = [
        node.value
        for node in ast.parse(inspect.getsource(ttsmux)).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert ast.literal_eval(shown) == ["__version__", *sorted(ttsmux._WHERE)]


def test_type_checkers_see_the_same_names() -> None:
    """The list for them and the list for Python are written apart."""
    tree = ast.parse(inspect.getsource(ttsmux))
    [block] = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    shown = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown == ttsmux._WHERE


PUBLIC = {
    found
    for module in (ttsmux, ttsmux.adapter)
    for found in (getattr(module, name) for name in module.__all__)
    if isinstance(found, type)
}
# Nobody makes these but a client.
MADE = (ttsmux.Speech, ttsmux.AsyncSpeech)


def classes(hint: object) -> Iterator[type]:
    """Walk over the classes of a type, its parameters and alternatives included."""
    for part in hint if isinstance(hint, list) else typing.get_args(hint):
        yield from classes(part)
    kind = typing.get_origin(hint) or hint
    if isinstance(kind, type):
        yield kind


def hints(kind: type) -> Iterator[tuple[str, object]]:
    """Return what a user sees annotated: attributes, properties, parameters, results."""
    seen = {name: hint for name, hint in typing.get_type_hints(kind).items() if name[0] != "_"}
    yield from seen.items()
    for name, member in inspect.getmembers(kind):
        # That of an attrs class is its fields, which are hints of the class.
        made = kind in MADE or attrs.has(kind)
        if (name == "__init__" and made) or (name[0] == "_" and name[:2] != "__"):
            continue
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        if inspect.isfunction(function):
            for part, hint in typing.get_type_hints(function).items():
                yield f"{name}({part})", hint


@pytest.mark.parametrize("kind", sorted(PUBLIC, key=lambda kind: kind.__name__))
def test_every_class_that_a_user_meets_has_a_public_name(kind: type) -> None:
    """Or a program could not say what it takes or returns."""
    hidden = [
        (where, found.__qualname__)
        for where, hint in hints(kind)
        for found in classes(hint)
        if found.__module__.split(".")[0] == "ttsmux" and found not in PUBLIC
    ]
    assert not hidden


def test_the_look_at_annotations_finds_some() -> None:
    """Through properties, methods and attributes, alternatives and parameters."""
    seen = dict(hints(ttsmux.Client))
    assert ttsmux.Secret in classes(seen["__init__(api_key)"])
    assert ttsmux.Speech in classes(seen["speak(return)"])
    assert ttsmux.Outcome in classes(dict(hints(ttsmux.AsyncSpeech))["outcome(return)"])
    assert ttsmux.Mark in classes(dict(hints(ttsmux.AudioChunk))["marks"])


@pytest.mark.parametrize("name", ["Cleint", "_private", "core_", "__wrapped__"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    """As of any module, so that `hasattr` and `import` work."""
    with pytest.raises(AttributeError, match=rf"^module 'ttsmux' has no attribute '{name}'$"):
        getattr(ttsmux, name)
    with pytest.raises(ImportError):
        exec(f"from ttsmux import {name}")


def test_a_name_is_looked_up_once() -> None:
    """After that it is an ordinary global."""
    code = "import ttsmux; ttsmux.Secret; print('Secret' in vars(ttsmux), 'Client' in vars(ttsmux))"
    assert run(code) == "True False"


HEAVY = ("anyio", "websockets", "websocket", "structlog", "httpx", "trio", "msgspec", "asyncio")


def imported(code: str) -> list[str]:
    """Return which of the heavy packages *code* imports."""
    return run(f"{code}; import sys; print(*(n for n in {HEAVY} if n in sys.modules))").split()


def test_importing_the_package_imports_nothing_else() -> None:
    """A program that only catches our errors pays nothing."""
    assert imported("import ttsmux") == []
    assert imported("import ttsmux; ttsmux.Error; ttsmux.Secret") == []
    assert imported("import ttsmux; ttsmux.AudioChunk") == ["msgspec"]


def test_naming_a_provider_imports_no_transport() -> None:
    """An adapter is a table and a few functions."""
    assert imported("import ttsmux; ttsmux.XAI; ttsmux.Gradium; ttsmux.ElevenLabs") == ["msgspec"]


@pytest.mark.parametrize(
    ("name", "others"), [("Client", {"anyio", "trio", "websockets"}), ("AsyncClient", {"trio"})]
)
def test_a_program_pays_for_the_side_that_it_uses(name: str, others: set[str]) -> None:
    """Threads need no event loop, and asyncio no trio."""
    assert not others & set(imported(f"import ttsmux; ttsmux.{name}"))
