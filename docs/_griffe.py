"""
Show all of a value and of an enum, and each name in a row of its own (called by mkdocstrings).

A value is a class that attrs or msgspec gives its constructor: that is not in the source, so its
reader would find no fields, or only those that have a docstring. Members of an enum go the same
way. And of ``voice, language: the provider's own`` the reader of docstrings would make one name;
the two colons before a program would be shown.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from inspect import Parameter, signature

import attrs
import griffe
import msgspec

SHARED = re.compile(
    r"^(?P<indent> +)(?P<names>\*?\w+(?:, \*?\w+)+)(?P<text>:[ ].*(?:\n(?P=indent) +\S.*)*)$",
    re.MULTILINE,
)
PROGRAM = re.compile(r"^ *::$|:(?=:$)", re.MULTILINE)


class OneRowEach(griffe.Extension):
    """Repeats what is said of several names for each of them, and takes the marks of a program."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of *obj* before it is read."""
        if obj.docstring is not None:
            text = SHARED.sub(apart, obj.docstring.value)
            obj.docstring.value = PROGRAM.sub("", text)


class AllFields(griffe.Extension):
    """Gives values a signature and a table of their fields, and lists every member of enums."""

    def on_class_members(self, *, cls: griffe.Class, **_: object) -> None:
        """Give attributes the types of the parameters that they keep, as in ``self.id = id``."""
        init = cls.members.get("__init__")
        if not isinstance(init, griffe.Function):
            return
        for name, member in cls.members.items():
            if isinstance(member, griffe.Attribute) and member.annotation is None:
                if str(member.value) == name and name in init.parameters:
                    member.annotation = init.parameters[name].annotation
                elif member.value in ("True", "False"):
                    member.annotation = "bool"

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Look through *pkg* once all of it is there, for fields are inherited."""
        values = []
        for shown in classes(pkg):
            if shown.docstring is None:
                continue
            try:
                real = getattr(import_module(shown.module.path), shown.name)
            except ModuleNotFoundError:
                continue  # it needs an extra that is not here; the hook tells if a page shows it
            if issubclass(real, Enum):
                list_members(shown, real)
            elif is_value(real) and "__init__" not in shown.members:
                values.append((shown, fields(pkg, real)))
        for shown, found in values:
            complete(shown, found)


def apart(found: re.Match[str]) -> str:
    """Write the lines of one item once a name."""
    return "\n".join(
        f"{found['indent']}{name}{found['text']}" for name in found["names"].split(", ")
    )


def classes(inside: griffe.Module) -> Iterator[griffe.Class]:
    """Find the classes of a module and of those below it."""
    for member in inside.members.values():
        if isinstance(member, griffe.Class):
            yield member
        elif isinstance(member, griffe.Module):
            yield from classes(member)


def is_value(real: type) -> bool:
    """Tell whether the constructor of *real* is made from its fields."""
    return "__attrs_attrs__" in vars(real) or issubclass(real, msgspec.Struct)


def list_members(shown: griffe.Class, real: type[Enum]) -> None:
    """Have the members without a docstring shown, too."""
    for name in real.__members__:
        member = shown.members[name]
        if member.docstring is None:
            member.docstring = griffe.Docstring("", parent=member)


def fields(pkg: griffe.Module, real: type) -> list[griffe.DocstringParameter]:
    """List what the constructor of *real* takes, in order."""
    owners = [pkg.modules_collection[f"{c.__module__}.{c.__qualname__}"] for c in ours(pkg, real)]
    found = []
    for name, parameter in declared(real).items():
        [owner, *_] = [owner for owner in owners if name in owner.members]
        found.append(
            griffe.DocstringParameter(
                name,
                annotation=owner.members[name].annotation,
                value=default(owner.members[name].value, parameter),
                description=next(filter(None, (said(owner, name) for owner in owners)), ""),
            )
        )
    return found


def declared(real: type) -> Mapping[str, Parameter]:
    """
    Return the parameters of *real*'s constructor.

    `inspect.signature` of a Struct evaluates the annotations, of which some are imported for type
    checkers only.
    """
    if not issubclass(real, msgspec.Struct):
        return signature(real).parameters
    names, defaults = real.__struct_fields__, real.__struct_defaults__
    padding = [msgspec.NODEFAULT] * (len(names) - len(defaults))
    return {
        name: Parameter(
            name,
            Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if value is msgspec.NODEFAULT else value,
        )
        for name, value in zip(names, [*padding, *defaults], strict=True)
    }


def ours(pkg: griffe.Module, real: type) -> list[type]:
    """List *real* and those of its bases that are in *pkg*."""
    return [c for c in real.__mro__ if c.__module__.partition(".")[0] == pkg.name]


def default(written: griffe.Expr | str | None, parameter: Parameter) -> griffe.Expr | str | None:
    """Return a field's default as the source has it; None if there is none."""
    if parameter.default is Parameter.empty:
        return None
    if not isinstance(written, griffe.ExprCall):
        return written
    for argument in written.arguments:
        if isinstance(argument, griffe.ExprKeyword) and argument.name == "default":
            return argument.value
        if isinstance(argument, griffe.ExprKeyword) and argument.name == "factory":
            return f"{argument.value}()"
    # What a function has declared, such as `flag(False)`, is only known once it has run.
    return "..." if parameter.default is attrs.NOTHING else repr(parameter.default)


def said(owner: griffe.Class, name: str) -> str:
    """Return what the docstring of a class, or else that of the field, says of a field."""
    for section in owner.docstring.parsed if owner.docstring else ():
        if isinstance(section, griffe.DocstringSectionAttributes):
            for item in section.value:
                if item.name == name:
                    return item.description
    docstring = owner.members[name].docstring if name in owner.members else None
    return docstring.value if docstring else ""


def complete(shown: griffe.Class, found: list[griffe.DocstringParameter]) -> None:
    """Write the constructor of *shown*, and its fields as one table in its docstring."""
    assert shown.docstring is not None, "it was looked for"
    real = declared(getattr(import_module(shown.module.path), shown.name))
    self = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    parameters = [
        griffe.Parameter(
            field.name,
            annotation=field.annotation,
            kind=griffe.ParameterKind[real[field.name].kind.name.lower()],
            default=field.value,
        )
        for field in found
    ]
    init = griffe.Function("__init__", parameters=griffe.Parameters(self, *parameters))
    init.parent = shown
    shown.set_member("__init__", init)
    names = {field.name for field in found}
    sections = shown.docstring.parsed
    for section in [s for s in sections if isinstance(s, griffe.DocstringSectionAttributes)]:
        section.value = [item for item in section.value if item.name not in names]
        if not section.value:
            sections.remove(section)
    if found:
        sections.append(griffe.DocstringSectionParameters(found, title="Fields:"))
    # What the table says is not said again below it.
    for name in names & set(shown.members):
        shown.members[name].docstring = None
