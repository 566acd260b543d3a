"""Faults are read, refused with reasons, and due where they were put."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsmux.simulate.faults import ACTIONS, Fault, FaultPlan, Moment


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("refuse", Fault("refuse")),
        ("refuse@connect:2", Fault("refuse", connect=2)),
        ("status=503", Fault("status", "503")),
        ("status@connect:1=429;retry-after=2", Fault("status", "429;retry-after=2", connect=1)),
        ("status=429;retry-after=2@connect:1", Fault("status", "429;retry-after=2", connect=1)),
        ("close=1008;too bad", Fault("close", "1008;too bad")),
        ("close@request:2,chunk:3=1000", Fault("close", "1000", request=2, chunk=3)),
        ("reset@chunk:0", Fault("reset", chunk=0)),
        ("stall=250@request:1", Fault("stall", "250", request=1)),
        ("stall@request:1,chunk:3=interrupt", Fault("stall", "interrupt", request=1, chunk=3)),
        ("error=mail me@home", Fault("error", "mail me@home")),
        ("error=a=b@request:1", Fault("error", "a=b", request=1)),
        ("late-ack=1.5@connect:1,request:2", Fault("late-ack", "1.5", connect=1, request=2)),
        ("late-ack=end@request:2", Fault("late-ack", "end", request=2)),
    ],
)
def test_forms(spec: str, fault: Fault) -> None:
    """The place may stand on either side of the argument, and str() gives it back."""
    assert Fault.parse(spec) == fault
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("explode", "unknown fault 'explode'; known: refuse, status, close"),
        ("", "known: refuse"),
        ("Reset!", "the form is ACTION"),
        ("reset@somewhere:1", "known: connect:N, request:N, chunk:K"),
        ("reset@request", "known: connect:N"),
        ("reset@request:-1", "known: connect:N"),
        ("reset@request:0", "counts from 1"),
        ("reset@", "known: connect:N"),
        ("reset@request:1,request:2", "twice"),
        ("refuse@request:1", "refuse cannot happen at request:N; it takes connect"),
        ("no-ack@chunk:1", "it takes connect and request"),
        ("drop-end@chunk:1", "it takes connect and request"),
        ("reset=5", "reset takes no argument"),
        ("stall=soon", "takes milliseconds"),
        ("late-ack", "takes milliseconds"),
        ("late-ack=start", "takes milliseconds, as in late-ack=250, or =end"),
        ("stall=end", "takes milliseconds, as in stall=250, or =interrupt"),
        ("stall@connect:1=interrupt", "holds a speech, not a connection; it takes request:N"),
        ("late-ack=interrupt", "takes milliseconds, as in late-ack=250, or =end"),
        ("close=1006", "cannot be sent"),
        ("close=99", "cannot be sent"),
        ("close=1000;" + "x" * 124, "at most 123 bytes"),
        ("status=100", "no HTTP status"),
        ("status=abc", "no HTTP status"),
        ("status=503;oops", "NAME=VALUE"),
    ],
)
def test_bad_forms(spec: str, sentence: str) -> None:
    """ValueError, with a sentence that lists what is known."""
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Fault.parse(spec)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(spec: str) -> None:
    """There is no third way."""
    try:
        fault = Fault.parse(spec)
    except ValueError:
        return
    assert Fault.parse(str(fault)) == fault


def test_arguments() -> None:
    """What the arguments mean, and what stands for a missing one."""
    assert (Fault.parse("close").code, Fault.parse("close").reason) == (1000, "")
    assert Fault.parse("close=4001;a;b").reason == "a;b"
    assert Fault.parse("status").code == 503
    assert Fault.parse("status=429;Retry-After=2;x-a=b=c").headers == (
        ("Retry-After", "2"),
        ("x-a", "b=c"),
    )
    assert Fault.parse("stall").milliseconds is None
    assert Fault.parse("stall=20").milliseconds == 20
    held = Fault.parse("stall=interrupt@connect:1,chunk:2")
    assert held.milliseconds is None and held.until_interrupt
    assert not any(Fault.parse(spec).until_interrupt for spec in ("stall", "error=interrupt"))


def test_every_action_has_its_moment() -> None:
    """By its kind, or by its place."""
    moments = {name: Fault(name, "1" if name == "late-ack" else "").moment for name in ACTIONS}
    assert moments["refuse"] is Moment.ACCEPT
    assert moments["status"] is Moment.UPGRADE
    assert moments["no-ack"] is Moment.CANCEL
    assert moments["drop-end"] is Moment.END
    assert moments["reset"] is Moment.START
    assert Fault.parse("reset@connect:1").moment is Moment.OPEN
    assert Fault.parse("reset@connect:1,request:1").moment is Moment.START
    assert Fault.parse("reset@connect:1,chunk:1").moment is Moment.CHUNK


def test_a_plan_finds_what_is_due() -> None:
    """All places must hold; none holds always."""
    plan = FaultPlan(["garbage@chunk:2", "reset@request:3,chunk:2", "odd@connect:1,chunk:2"])
    plan.add(Fault.parse("refuse@connect:2"))

    def at(moment: Moment, *where: int | None) -> list[str]:
        return [fault.action for fault in plan.at(moment, *where)]  # type: ignore[arg-type]

    assert at(Moment.CHUNK, 2, 1, 2) == ["garbage"]
    assert at(Moment.CHUNK, 1, 3, 2) == ["garbage", "reset", "odd"]
    assert at(Moment.CHUNK, 1, 3, 1) == []
    assert at(Moment.START, 1, 3) == []
    assert at(Moment.ACCEPT, 1) == []
    assert at(Moment.ACCEPT, 2) == ["refuse"]
