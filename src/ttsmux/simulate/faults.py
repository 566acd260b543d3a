"""
Scripted faults: what goes wrong, and where.

A fault is written ``ACTION[@WHERE][=ARG]``, for example ``reset@request:2,chunk:3`` or
``status=429;retry-after=2@connect:1`` (the argument may stand on either side of the place).
This file decides when a fault is due; carrying it out is left to `provider` and `server`.

WHERE is a list of ``connect:N`` (the Nth connection since the start), ``request:N`` (the Nth
generation since the start) and ``chunk:K`` (a generation has sent K audio chunks; 0: its first
one is ready and not sent yet). All of them must hold. Without WHERE a fault happens every time.

``stall=interrupt`` waits for what a client sends to interrupt: the cancel, or where the protocol
has none, the end of the text (Gradium) or of the context (ElevenLabs), which it may send anyway.
Over HTTP and with SM there is nothing to wait for but that it leaves.

An HTTP request is one generation, and several of them may share a connection. There, what is said
of the WebSocket holds for the answer's body: ``close``, like ``eof``, hangs up in the middle of it,
and ``drop-end`` does when all of it has come but its end.
"""

from __future__ import annotations

import enum
import re
import threading
from collections.abc import Callable, Iterable, Mapping

import attrs


class Moment(enum.Enum):
    """When a simulator looks for faults."""

    ACCEPT = "a TCP connection was accepted"
    UPGRADE = "the request was read, be it for an upgrade"
    OPEN = "the WebSocket is open, or an HTTP request was accepted"
    START = "a generation begins"
    CHUNK = "a generation has sent so many chunks"
    CANCEL = "an interrupt was read"
    END = "the end marker would be next"


# What each action does, and the one moment it belongs to. None: the start of a generation, a chunk,
# or (with nothing but connect:N) the opening of the socket.
ACTIONS: Mapping[str, tuple[Moment | None, str]] = {
    "refuse": (Moment.ACCEPT, "accept the TCP connection and reset it before any byte"),
    "status": (
        Moment.UPGRADE,
        "answer the upgrade, or the HTTP request, with this status (=503, =429;retry-after=2)",
    ),
    "close": (None, "close the WebSocket (=1000, =1008;reason)"),
    "reset": (None, "reset the TCP connection"),
    "eof": (None, "end the TCP connection without a close frame"),
    "stall": (
        None,
        "stop sending, for ever, for =MS, or a speech until its interrupt is read (=interrupt); "
        "pings are still answered",
    ),
    "silence": (None, "neither read nor answer anything from here on, pings included"),
    "garbage": (None, "send a text message that is not JSON; over HTTP, what is not HTTP"),
    "binary": (None, "send a binary message; nothing over HTTP"),
    "badb64": (None, "send the next audio message, if it has base64, with that invalid"),
    "odd": (None, "cut the audio at odd byte lengths from here on"),
    "error": (None, "send the provider's error event (=MESSAGE)"),
    "late-ack": (
        Moment.CANCEL,
        "acknowledge a cancel only after =MS, speaking on until then; =end: behind the end, "
        "which is that of the text so far",
    ),
    "no-ack": (Moment.CANCEL, "ignore a cancel: speak on, never acknowledge"),
    "speak-on": (Moment.CANCEL, "acknowledge a cancel at once and speak on all the same"),
    "drop-end": (Moment.END, "leave the end marker out; over HTTP, the end of the body"),
}

INTERRUPT = "interrupt"

_PLACES = ("connect", "request", "chunk")
_PLACES_OF = {
    Moment.ACCEPT: ("connect",),
    Moment.UPGRADE: ("connect", "request"),
    Moment.CANCEL: ("connect", "request"),
    Moment.END: ("connect", "request"),
}


@attrs.frozen
class Fault:
    """One thing that goes wrong. `parse` reads the written form, `str()` gives it back."""

    action: str
    arg: str = ""
    connect: int | None = None
    request: int | None = None
    chunk: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"unknown fault {self.action!r}; known: {', '.join(ACTIONS)}")
        allowed = _PLACES_OF.get(ACTIONS[self.action][0] or Moment.CHUNK, _PLACES)
        for place in _PLACES:
            if getattr(self, place) is not None and place not in allowed:
                raise ValueError(
                    f"{self.action} cannot happen at {place}:N; it takes {' and '.join(allowed)}"
                )
        if check := _ARGUMENTS.get(self.action):
            check(self)
        elif self.arg and self.action != "error":
            raise ValueError(f"{self.action} takes no argument, got {self.arg!r}")

    @classmethod
    def parse(cls, spec: str) -> Fault:
        """
        Read ``ACTION[@WHERE][=ARG]``.

        Raises ValueError with a sentence that lists what is known.
        """
        found = re.fullmatch(
            r"(?P<action>[a-z0-9-]*)(?:@(?P<where>[^=@]*))?(?:=(?P<arg>.*))?", spec, re.DOTALL
        )
        if found is None:
            raise ValueError(f"cannot read fault {spec!r}; the form is ACTION[@WHERE][=ARG]")
        arg, where = found["arg"] or "", found["where"]
        if where is None and (late := re.fullmatch(r"(.*)@([a-z]+:\d+(?:,[a-z]+:\d+)*)", arg)):
            arg, where = late[1], late[2]
        return cls(found["action"], arg, **_read_places(spec, where))

    @property
    def milliseconds(self) -> float | None:
        """The argument of stall and late-ack; None is for ever, or until what a word says."""
        return float(self.arg) if self.arg not in ("", "end", INTERRUPT) else None

    @property
    def until_interrupt(self) -> bool:
        """Whether a stall lasts until an interrupt of the generation was read."""
        return self.action == "stall" and self.arg == INTERRUPT

    @property
    def code(self) -> int:
        """The close code of close, the HTTP status of status."""
        return int(self.arg.partition(";")[0] or ("1000" if self.action == "close" else "503"))

    @property
    def reason(self) -> str:
        """The close reason of close."""
        return self.arg.partition(";")[2]

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The extra response headers of status."""
        pairs = (part.partition("=") for part in self.arg.split(";")[1:])
        return tuple((name.strip(), value.strip()) for name, _, value in pairs)

    @property
    def moment(self) -> Moment:
        """When this fault is looked for."""
        fixed = ACTIONS[self.action][0]
        if fixed is not None:
            return fixed
        if self.chunk is not None:
            return Moment.CHUNK
        if self.request is None and self.connect is not None:
            return Moment.OPEN
        return Moment.START

    def due(self, moment: Moment, connect: int, request: int | None, chunk: int | None) -> bool:
        """Tell if this fault happens now."""
        return (
            moment is self.moment
            and self.connect in (None, connect)
            and self.request in (None, request)
            and self.chunk in (None, chunk)
        )

    def __str__(self) -> str:
        places = [(place, getattr(self, place)) for place in _PLACES]
        where = ",".join(f"{place}:{value}" for place, value in places if value is not None)
        return self.action + (f"@{where}" if where else "") + (f"={self.arg}" if self.arg else "")


def _read_places(spec: str, where: str | None) -> dict[str, int]:
    places: dict[str, int] = {}
    for part in where.split(",") if where is not None else ():
        place, _, number = part.strip().partition(":")
        if place not in _PLACES or not re.fullmatch(r"[0-9]{1,9}", number):
            raise ValueError(
                f"cannot read the place {part!r} of fault {spec!r}; "
                "known: connect:N, request:N, chunk:K, joined by ','"
            )
        if place != "chunk" and int(number) == 0:
            raise ValueError(f"{place}:N of fault {spec!r} counts from 1")
        if place in places:
            raise ValueError(f"fault {spec!r} names {place} twice")
        places[place] = int(number)
    return places


def _check_stall(fault: Fault) -> None:
    if fault.arg:
        _check_milliseconds(fault, INTERRUPT)
    if fault.until_interrupt and fault.moment is Moment.OPEN:
        raise ValueError(
            f"{fault} holds a speech, not a connection; it takes request:N and chunk:K as well"
        )


def _check_late_ack(fault: Fault) -> None:
    _check_milliseconds(fault, "end")


def _check_milliseconds(fault: Fault, word: str) -> None:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", fault.arg) and fault.arg != word:
        raise ValueError(f"{fault.action} takes milliseconds, as in {fault.action}=250, or ={word}")


def _check_close(fault: Fault) -> None:
    code = fault.arg.partition(";")[0]
    known = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}
    if code and not (re.fullmatch(r"[0-9]{4}", code) and int(code) in known):
        raise ValueError(
            f"close code {code!r} cannot be sent; known: 1000-1003, 1007-1014, 3000-4999"
        )
    if len(fault.reason.encode()) > 123:
        raise ValueError("a close reason has at most 123 bytes")


def _check_status(fault: Fault) -> None:
    code, *headers = fault.arg.split(";")
    if code and not re.fullmatch(r"[2-5][0-9][0-9]", code):
        raise ValueError(f"{code!r} is no HTTP status from 200 to 599, as in status=503")
    for header in headers:
        if not re.fullmatch(r"\s*[A-Za-z0-9-]+\s*=[\x20-\x7e]*", header):
            raise ValueError(f"cannot read the header {header!r}; the form is NAME=VALUE")


_ARGUMENTS: Mapping[str, Callable[[Fault], None]] = {
    "stall": _check_stall,
    "late-ack": _check_late_ack,
    "close": _check_close,
    "status": _check_status,
}


class FaultPlan:
    """All faults of a simulator. May be added to from any thread."""

    def __init__(self, faults: Iterable[Fault | str] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: tuple[Fault, ...] = tuple(as_fault(fault) for fault in faults)

    def add(self, fault: Fault) -> None:
        """Look for *fault* from now on."""
        with self._lock:
            self._faults += (fault,)

    def at(
        self,
        moment: Moment,
        connect: int,
        request: int | None = None,
        chunk: int | None = None,
    ) -> list[Fault]:
        """List the faults that happen at this *moment*, in the order they were given."""
        return [fault for fault in self._faults if fault.due(moment, connect, request, chunk)]


def as_fault(fault: Fault | str) -> Fault:
    """Take a fault as it is, or read its written form."""
    return fault if isinstance(fault, Fault) else Fault.parse(fault)
