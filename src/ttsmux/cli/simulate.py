"""``ttsmux simulate``: a provider on loopback, until it is told to stop."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import click

from ..simulate import ACTIONS, serve_forever, simulator_names
from ..simulate.engines import EngineUnavailable
from ..simulate.simulator import create_provider
from ._errors import Failure, WrongUse, meant, sentence
from ._options import pairs

ENGINES = ("auto", "espeak", "tone")

_FAULTS = "\n".join(
    [
        "\b",
        "Faults, as ACTION[@WHERE][=ARG], each as often as you like:",
        *(f"  {action:<9} {what}" for action, (_, what) in ACTIONS.items()),
    ]
)
_PLACES = """\b
WHERE is one of these, or several joined by ','; without it, every time:
  connect:N  the Nth connection since the start
  request:N  the Nth speech since the start
  chunk:K    once a speech has sent K pieces of audio
For example: --fault reset@request:2,chunk:3 --fault 'status=429;retry-after=2@connect:1'"""


@click.command(epilog=f"{_FAULTS}\n\n{_PLACES}")
@click.argument("provider", metavar="PROVIDER")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="What speaks: espeak is a voice, tone beeps that a program reads back.",
)
@click.option("--handshake-ms", type=float, default=0.0, help="Wait before accepting a connection.")
@click.option("--ttfa-ms", type=float, default=0.0, help="Wait before the first audio.")
@click.option(
    "--rtf",
    type=float,
    default=0.0,
    help="Seconds a second of audio takes: 1 is real time, 0 at once (the default).",
)
@click.option("--fault", "faults", multiple=True, help="Something to go wrong; see below.")
@click.option(
    "--option",
    "given",
    multiple=True,
    metavar="KEY=VALUE",
    help="The simulated provider's own, such as require_key=yes, max_age=60.",
)
@click.option(
    "--log",
    "log_file",
    type=click.Path(dir_okay=False),
    metavar="FILE.jsonl",
    help="Write what it sees and does, an object a line; never a key.",
)
def command(provider: str, given: tuple[str, ...], **settings: Any) -> None:
    """
    Run a simulator of PROVIDER on loopback.

    Prints one line, "ready PROVIDER URL", when it can be connected to; the URL is for --base-url.
    It takes any key, or none, and runs until SIGTERM or Ctrl-C.
    """
    if provider not in (known := simulator_names()):
        words = f"{provider[:40]!r} is not one of {', '.join(known)}{meant(provider, known)}"
        raise click.BadParameter(words, param_hint="PROVIDER")
    options: Mapping[str, Any] = pairs(given)
    clash = sorted(set(options) & {*settings, "provider"})
    if clash:
        raise WrongUse(f"{clash[0]} is no option of the simulated {provider}")
    _check(provider, options)
    try:
        serve_forever(provider, **settings, **options)
    except (ValueError, TypeError, EngineUnavailable) as exc:
        raise WrongUse(sentence(exc)) from exc
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise Failure(f"cannot start: {sentence(exc)}") from exc


def _check(provider: str, given: Mapping[str, str]) -> None:
    """
    Check each option by itself, to tell in the user's terms which one does not fit.

    Raises:
        WrongUse: the provider has no such option, or it takes something else.
    """
    if not given:
        return
    try:
        known = [*inspect.signature(type(create_provider(provider, {}))).parameters]
    except TypeError:
        return  # a third party's that cannot do without some: they are checked together
    for key, value in given.items():
        if key not in known:
            names = ", ".join(known) or "none"
            raise WrongUse(f"the simulated {provider} has no option {key!r}; it has {names}")
        try:
            create_provider(provider, {key: value})
        except (TypeError, ValueError) as exc:
            raise WrongUse(
                f"{key} of the simulated {provider} does not fit: {exc.args[0]}"
            ) from exc
