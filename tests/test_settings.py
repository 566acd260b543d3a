"""Settings: what they refuse, and a key that does not print."""

import copy
import logging
import pickle
import traceback

import attrs
import pytest

from ttsmux.settings import (
    Interrupt,
    PoolLimits,
    RetryPolicy,
    Secret,
    Settings,
    Timeouts,
)

DEADLINES = [field.name for field in attrs.fields(Timeouts)]
HUSH = "sk-very-secret"


@pytest.mark.parametrize("name", DEADLINES)
@pytest.mark.parametrize("value", [0, 0.0, -1, float("-inf"), float("nan")])
def test_a_deadline_is_more_than_nothing(name: str, value: float) -> None:
    """The message names the setting and the rule."""
    with pytest.raises(ValueError, match=rf"'{name}' must be > 0\.0: "):
        Timeouts(**{name: value})


@pytest.mark.parametrize(
    ("kind", "name", "value", "rule"),
    [
        (PoolLimits, "max_size", 0, ">= 1"),
        (PoolLimits, "max_size", -3, ">= 1"),
        (PoolLimits, "min_idle", -1, ">= 0"),
        (PoolLimits, "max_waiting", 0, ">= 1"),
        (PoolLimits, "acquire_timeout", 0, "> 0.0"),
        (PoolLimits, "max_idle", 0, "> 0.0"),
        (PoolLimits, "max_age", -5, "> 0.0"),
        (RetryPolicy, "attempts", 0, ">= 1"),
        (RetryPolicy, "base", 0, "> 0.0"),
        (RetryPolicy, "cap", -1, "> 0.0"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(
    kind: type[PoolLimits | RetryPolicy], name: str, value: float, rule: str
) -> None:
    """What it was, and what it must be."""
    with pytest.raises(ValueError, match=rf"'{name}' must be {rule}: {value}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Timeouts, "dial"),
        (PoolLimits, "max_size"),
        (PoolLimits, "min_idle"),
        (RetryPolicy, "attempts"),
    ],
)
def test_what_is_no_number_is_refused(kind: type[object], name: str) -> None:
    """A setting read from a file is a string, and must be turned into a number first."""
    with pytest.raises(TypeError):
        kind(**{name: "5"})


def test_none_means_no_limit_where_there_can_be_none() -> None:
    """It is the default there."""
    assert Timeouts(total=None) == Timeouts()
    nothing = PoolLimits(min_idle=None, max_waiting=None, max_idle=None, max_age=None)
    assert nothing == PoolLimits()


def test_the_least_is_allowed() -> None:
    """One connection, no spare, one attempt."""
    assert PoolLimits(max_size=1, min_idle=0, max_waiting=1).min_idle == 0
    assert RetryPolicy(attempts=1).attempts == 1


@pytest.mark.parametrize("value", [Timeouts(), PoolLimits(), RetryPolicy(), Settings()])
def test_settings_are_values(value: object) -> None:
    """Equal where they say the same, and never changed behind a client's back."""
    assert value == type(value)()
    assert hash(value) == hash(type(value)())
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, 1)


@pytest.mark.parametrize("kind", [Timeouts, PoolLimits, RetryPolicy, Settings])
def test_settings_are_given_by_name(kind: type[object]) -> None:
    """Nobody remembers the order of eight numbers."""
    with pytest.raises(TypeError):
        kind(5.0)


def test_policies_are_named_by_what_they_do() -> None:
    """A program reads them from a file by these words."""
    assert [Interrupt(word).name for word in ("mute", "cancel", "discard")] == [
        "MUTE",
        "CANCEL",
        "DISCARD",
    ]


# --- Secret ---------------------------------------------------------------------------------------


def test_a_secret_is_revealed_on_purpose_only() -> None:
    """By the one call."""
    assert Secret(HUSH).reveal() == HUSH


@attrs.frozen
class Holder:
    key: Secret


def test_a_secret_never_prints() -> None:
    """However it gets into a string."""
    secret = Secret(HUSH)
    said = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret!a}",
        "{}".format(secret),  # noqa: UP032 — a form of its own
        "%s %r" % (secret, secret),  # noqa: UP031 — a form of its own
        repr([secret]),
        repr({"key": secret}),
        repr(Holder(secret)),
        str(ValueError(secret)),
        logging.makeLogRecord({"msg": "key %s", "args": (secret,)}).getMessage(),
    ]
    assert not any(HUSH in words for words in said)
    assert repr(secret) == str(secret) == f"{secret}" == "Secret(***)"
    with pytest.raises(TypeError) as caught:
        format(secret, ">20")
    assert HUSH not in str(caught.value)


def test_a_secret_does_not_show_in_a_traceback_with_its_locals() -> None:
    """Error reporters print those."""

    def fails(secret: Secret) -> None:
        raise ValueError(secret)

    with pytest.raises(ValueError, match=r"Secret\(\*\*\*\)") as caught:
        fails(Secret(HUSH))
    last = caught.value.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    assert last is not None
    stack = traceback.StackSummary.extract([(last.tb_frame, last.tb_lineno)], capture_locals=True)
    words = "".join(stack.format())
    assert "Secret(***)" in words
    assert HUSH not in words


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    """A pickle is a file that lies about."""
    with pytest.raises(TypeError, match="a Secret is not pickled") as caught:
        pickle.dumps(Secret(HUSH), protocol)
    assert HUSH not in str(caught.value)


def test_a_secret_has_no_dictionary() -> None:
    """What walks over attributes finds none by `vars`, and nobody adds one."""
    assert not hasattr(Secret(HUSH), "__dict__")
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a Secret is not pickled"):
            way(Secret(HUSH))
