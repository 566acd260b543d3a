"""What is said about providers is what their adapters say."""

import importlib.metadata
import json
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import attrs
import pytest

from tests.cli.shell import invoke
from ttsmux.adapter import Traits
from ttsmux.adapters.xai import XAI
from ttsmux.client import options
from ttsmux.settings import Interrupt

NAMES = sorted(entry.name for entry in entry_points(group="ttsmux.adapters"))


class Acme(XAI):
    """A third party's, with a protocol unlike ours."""

    name = "acme"
    traits = attrs.evolve(
        XAI.traits,
        reusable=False,
        interrupt=Interrupt.DISCARD,
        policies=(Interrupt.DISCARD,),
        max_age=None,
        max_text=None,
        connections=None,
        formats=("mulaw_8000",),
        key_variable="ACME_KEY",
    )


def installed(monkeypatch: pytest.MonkeyPatch, *more: EntryPoint) -> None:
    """Add entry points to those there are."""

    def find(*, group: str) -> Iterable[EntryPoint]:
        return [*entry_points(group=group), *more]

    monkeypatch.setattr(importlib.metadata, "entry_points", find)


def third_party(name: str, where: str) -> EntryPoint:
    return EntryPoint(name, where, "ttsmux.adapters")


def expected(name: str, traits: Traits) -> dict[str, object]:
    limits = (
        *("slots", "max_muted", "max_text", "max_idle", "max_age", "connections", "generations"),
        *("requests_per_minute", "max_message"),
    )
    kind = "sequential" if traits.reusable else "single-use"
    return {
        "provider": name,
        "concurrency": "multiplexed" if traits.seats > 1 else kind,
        "seats": traits.seats,
        "interrupt": traits.interrupt.value,
        "policies": [policy.value for policy in traits.policies],
        "limits": {limit: getattr(traits, limit) for limit in limits},
        "formats": list(traits.formats),
        "key_variable": traits.key_variable,
    }


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object a line for each entry point, a third party's too."""
    installed(monkeypatch, third_party("acme", f"{__name__}:Acme"))
    result = invoke("providers", "--json")
    assert result.exit_code == 0 and not result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    names = sorted(["acme", *NAMES])
    assert found == [expected(name, options.find_adapter(name).traits) for name in names]


def test_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same facts, a line each where no terminal is, and a blank line between providers."""
    installed(monkeypatch, third_party("acme", f"{__name__}:Acme"))
    result = invoke("providers")
    assert result.exit_code == 0 and "\x1b" not in result.output
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines())
        for block in result.stdout.split("\n\n")
    ]
    assert [block["provider"] for block in blocks] == sorted(["acme", *NAMES])
    for block in blocks:
        traits = options.find_adapter(block["provider"]).traits
        assert block["connection"].startswith(
            str(expected("", traits)["concurrency"]) + f": {traits.seats} seat"
        )
        assert block["interrupt"].startswith(f"{traits.interrupt.value} (")
        assert all(policy.value in block["interrupt"] for policy in traits.policies)
        assert block["formats"].split(", ") == list(traits.formats)
        assert block["key"] == traits.key_variable
        for limit in (traits.max_idle, traits.max_age):
            assert limit is None or f"{limit:g} s " in block["limits"]
    assert blocks[0]["limits"] == "none"
    assert blocks[0]["interrupt"] == "discard (the connection is given up)"


def test_an_adapter_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are shown; status 1 and a sentence."""
    installed(monkeypatch, third_party("broken", "no.such.module:Adapter"))
    result = invoke("providers", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["provider"] for line in result.stdout.splitlines()] == NAMES
    assert result.stderr.startswith("Error: the adapter broken cannot be loaded: No module named")


def test_something_that_is_no_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is none that can be loaded."""
    installed(monkeypatch, third_party("json", "json:dumps"))
    result = invoke("providers")
    assert result.exit_code == 1 and "the adapter json cannot be loaded" in result.stderr
