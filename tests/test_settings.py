"""Settings: what they refuse, and a key that does not print."""

import copy
import logging
import pickle
import traceback

import attrs
import pytest

from ttsmux.errors import ConfigError, WrongType
from ttsmux.settings import (
    Interrupt,
    OnPartial,
    PoolLimits,
    RetryPolicy,
    Secret,
    Settings,
    Timeouts,
    check_count,
    check_seconds,
)

DEADLINES = [field.name for field in attrs.fields(Timeouts)]
HUSH = "sk-very-secret"


@pytest.mark.parametrize("name", DEADLINES)
@pytest.mark.parametrize("value", [0, 0.0, -1, float("-inf"), float("nan")])
def test_a_deadline_is_more_than_nothing(name: str, value: float) -> None:
    """The message names the setting and the rule."""
    with pytest.raises(ConfigError) as caught:
        Timeouts(**{name: value})
    assert caught.value.message == f"{name} must be more than 0 seconds, not {value}"


@pytest.mark.parametrize("name", DEADLINES)
@pytest.mark.parametrize("value", [2_592_001, 1e12, float("inf")])
def test_a_deadline_is_no_more_than_a_month(name: str, value: float) -> None:
    """Without an end nothing waits, and systems count the seconds of a wait with few bits."""
    with pytest.raises(ConfigError) as caught:
        Timeouts(**{name: value})
    assert caught.value.message == f"{name} must be at most 2592000 seconds, not {value}"
    assert getattr(Timeouts(**{name: 2_592_000}), name) == 2_592_000


@pytest.mark.parametrize(
    ("kind", "name", "value", "rule"),
    [
        (PoolLimits, "max_size", 0, "1 or more"),
        (PoolLimits, "max_size", -3, "1 or more"),
        (PoolLimits, "min_idle", -1, "0 or more"),
        (PoolLimits, "max_waiting", 0, "1 or more"),
        (PoolLimits, "acquire_timeout", 0, "more than 0 seconds"),
        (PoolLimits, "max_idle", 0, "more than 0 seconds"),
        (PoolLimits, "max_age", -5, "more than 0 seconds"),
        (PoolLimits, "max_age", float("inf"), "at most 2592000 seconds"),
        (PoolLimits, "max_generations", 0, "1 or more"),
        (PoolLimits, "reconnect_jitter", -1, "0 seconds or more"),
        (RetryPolicy, "attempts", 0, "1 or more"),
        (RetryPolicy, "switch_after", 0, "1 or more"),
        (RetryPolicy, "budget", -1, "0 or more"),
        (RetryPolicy, "breaker_failures", 0, "1 or more"),
        (RetryPolicy, "breaker_after", -1, "0 seconds or more"),
        (RetryPolicy, "breaker_base", 0, "more than 0 seconds"),
        (RetryPolicy, "breaker_cap", float("inf"), "at most 2592000 seconds"),
        (RetryPolicy, "base", 0, "more than 0 seconds"),
        (RetryPolicy, "cap", -1, "more than 0 seconds"),
        (RetryPolicy, "cap", float("nan"), "more than 0 seconds"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(
    kind: type[PoolLimits | RetryPolicy], name: str, value: float, rule: str
) -> None:
    """What it was, and what it must be."""
    with pytest.raises(ConfigError) as caught:
        kind(**{name: value})
    assert str(caught.value) == f"{name} must be {rule}, not {value}"
    assert type(caught.value) is ConfigError
    assert caught.value.phase == "config"


SECONDS = [
    *((Timeouts, name) for name in DEADLINES),
    *((PoolLimits, name) for name in ("acquire_timeout", "max_idle", "max_age")),
    (PoolLimits, "reconnect_jitter"),
    *((RetryPolicy, name) for name in ("base", "cap", "breaker_base", "breaker_cap")),
    (RetryPolicy, "breaker_after"),
]
COUNTS = [
    *((PoolLimits, name) for name in ("max_size", "min_idle", "max_waiting", "max_generations")),
    *((RetryPolicy, name) for name in ("attempts", "resumes", "budget", "breaker_failures")),
    (RetryPolicy, "switch_after"),
]
OTHERS = [(RetryPolicy, "on_partial")]
OFF = [(RetryPolicy, "budget"), (RetryPolicy, "breaker_failures")]
"""Those that have a default, and are turned off by None."""


def test_each_setting_is_one_of_these() -> None:
    """Or the two tests below would miss it."""
    wanted = {(kind, field.name) for kind, _ in SECONDS + COUNTS for field in attrs.fields(kind)}
    assert set(SECONDS + COUNTS + OTHERS) == wanted


def test_what_a_break_comes_to_is_one_of_three_words() -> None:
    """Or the policy itself."""
    assert RetryPolicy().on_partial is OnPartial.RAISE
    for policy in OnPartial:
        assert RetryPolicy(on_partial=policy).on_partial is policy
        assert RetryPolicy(on_partial=policy.value).on_partial is policy
    with pytest.raises(ConfigError, match=r"^on_partial takes one of raise, resume, restart$"):
        RetryPolicy(on_partial="again")
    with pytest.raises(WrongType, match=r"^on_partial takes one of .*, not None$"):
        RetryPolicy(on_partial=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "name"), SECONDS)
@pytest.mark.parametrize("value", ["5", True, [5], b"5", 5j])
def test_what_is_no_time_is_refused(kind: type[object], name: str, value: object) -> None:
    """A setting read from a file is a string, and must be turned into a number first."""
    with pytest.raises(WrongType) as caught:
        kind(**{name: value})
    assert str(caught.value) == f"{name} takes a number of seconds, not {type(value).__name__}"


@pytest.mark.parametrize(("kind", "name"), COUNTS)
@pytest.mark.parametrize("value", ["5", True, 2.5, 2.0, float("inf")])
def test_what_is_no_count_is_refused(kind: type[object], name: str, value: object) -> None:
    """There is no half connection."""
    with pytest.raises(WrongType) as caught:
        kind(**{name: value})
    assert str(caught.value) == f"{name} takes a whole number, not {type(value).__name__}"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        found
        for found in SECONDS + COUNTS
        if attrs.fields_dict(found[0])[found[1]].default and found not in OFF
    ],
)
def test_none_is_refused_where_there_is_a_default(kind: type[object], name: str) -> None:
    """None does not mean "no limit" for what always has one."""
    with pytest.raises(WrongType, match=rf"^{name} takes a .*, not None$"):
        kind(**{name: None})


@pytest.mark.parametrize("name", ["timeouts", "pool", "retry"])
@pytest.mark.parametrize("value", [{}, 5, None, Timeouts, Settings()])
def test_the_parts_of_the_settings_are_told_apart(name: str, value: object) -> None:
    """A dictionary is none of them, and neither is a class."""
    with pytest.raises(WrongType, match=f"^{name} takes a "):
        Settings(**{name: value})


def test_a_wait_may_be_without_an_end_where_it_says_so() -> None:
    """And nothing at all, where that means something."""
    check_seconds("timeout", float("inf"))
    check_seconds("seconds", 0, zero=True)
    check_count("n", 0)
    for value in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="seconds must be 0 seconds or more, not "):
            check_seconds("seconds", value, zero=True)


def test_none_means_no_limit_where_there_can_be_none() -> None:
    """It is the default there."""
    assert Timeouts(total=None) == Timeouts()
    nothing = PoolLimits(
        min_idle=None, max_waiting=None, max_idle=None, max_age=None, max_generations=None
    )
    assert nothing == PoolLimits()
    for kind, name in OFF:
        assert getattr(kind(**{name: None}), name) is None


def test_the_least_is_allowed() -> None:
    """One connection, no spare, one attempt."""
    assert PoolLimits(max_size=1, min_idle=0, max_waiting=1).min_idle == 0
    assert RetryPolicy(attempts=1, budget=0, breaker_failures=1).budget == 0
    assert PoolLimits(max_generations=1, reconnect_jitter=0).reconnect_jitter == 0


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


@pytest.mark.parametrize("value", [None, 5, HUSH.encode(), [HUSH], Secret(HUSH)])
def test_a_secret_is_a_str(value: object) -> None:
    """The bytes of a key are not repeated either."""
    with pytest.raises(WrongType, match=r"^a Secret takes a str, not ") as caught:
        Secret(value)  # type: ignore[arg-type]
    assert HUSH not in str(caught.value)


def test_a_secret_has_no_dictionary() -> None:
    """What walks over attributes finds none by `vars`, and nobody adds one."""
    assert not hasattr(Secret(HUSH), "__dict__")
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a Secret is not pickled"):
            way(Secret(HUSH))
