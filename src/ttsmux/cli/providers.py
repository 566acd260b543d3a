"""``ttsmux providers``: what every installed adapter says about its provider."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.text import Text

from ..adapter import Adapter
from ..client.options import adapter_names, find_adapter
from . import _traits
from ._errors import Failure, sentence
from ._report import print_json, print_rows


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@click.pass_context
def command(ctx: click.Context, /, as_json: bool) -> None:
    """
    List the providers there are adapters for.

    Those of other packages are among them. What is listed comes from the adapters; nothing is asked
    of the providers. Exit status: 0, or 1 if an adapter cannot be loaded.
    """
    status = 0
    shown = 0
    for name in adapter_names():
        try:
            kind = find_adapter(name)
        except Exception as exc:  # a stranger's module may fail in any way
            Failure(f"the adapter {name} cannot be loaded: {sentence(exc)}").show()
            status = Failure.exit_code
            continue
        if as_json:
            print_json(_facts(name, kind))
        else:
            if shown:
                click.echo()
            print_rows(Text(name, "bold"), [("provider", name)], _rows(kind))
        shown += 1
    ctx.exit(status)


def _facts(name: str, kind: type[Adapter]) -> dict[str, object]:
    traits = kind.traits
    return {
        "provider": name,
        "concurrency": _traits.Concurrency.of(traits).value,
        "seats": traits.seats,
        "interrupt": traits.interrupt.value,
        "policies": [policy.value for policy in traits.policies],
        "limits": {name: getattr(traits, name) for name in _traits.LIMITS},
        "formats": list(traits.formats),
        "key_variable": traits.key_variable,
    }


def _rows(kind: type[Adapter]) -> Iterator[tuple[str, str]]:
    traits = kind.traits
    yield "connection", _traits.connection(traits)
    yield "interrupt", _traits.interruption(traits)
    yield "limits", _traits.limits(traits)
    yield "formats", ", ".join(traits.formats)
    yield "key", traits.key_variable
