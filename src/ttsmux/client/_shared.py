"""
What both shells need and neither threads nor tasks make different.

Mostly what an exception of somebody else's code is told as, and the threads that are a client's
own: also the async one has some, for what would block its loop.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
import threading
import urllib.parse
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Protocol, runtime_checkable

import attrs

from ..adapter import Closed, DialFailure, Frame, Handshake, connect_timeout
from ..core.effects import Effect, Event, HangUp, Report, Send, Wake
from ..core.inquiry import Inquiry
from ..core.speech import Speech
from ..errors import (
    AuthError,
    ClosedError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    Error,
    LocalProtocolError,
    without_frames,
)
from ..redaction import Carried, install_unless_removed, of_url
from ..settings import Secret
from ..transports._proxy import of_environment
from ..transports.base import SendTimeout, Target
from .options import Configuration, checked_key

_SECRETIVE = 8
"""Characters from which on the value of a header is taken for a secret."""
forks = 0
"""How many forks away this process is from the first: `os.getpid` would be a system call a step."""


def _forked() -> None:
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):  # on Windows there is no fork
    os.register_at_fork(after_in_child=_forked)

CLOSE_MARGIN = 2.0
"""Seconds beyond the closing handshake that a client's `close` gives threads and tasks to leave."""
_numbers = itertools.count(1)


def caller() -> str:
    """Return where this package was called from, as a file and a line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("ttsmux.client.")


# --- steps ----------------------------------------------------------------------------------------


class Reentered(LocalProtocolError):
    """A call came in the middle of a step of the same thread. Nobody may see half of a step."""

    def __init__(self) -> None:
        super().__init__(
            "called while ttsmux itself is at work in this thread, by a signal handler or a "
            "finaliser: have it hand the call to another thread, or set a flag"
        )


def tears(exc: BaseException, args: tuple[object, ...]) -> bool:
    """Return whether *exc* is neither ours nor what a speech failed with, raised to its reader."""
    if isinstance(exc, Reentered):
        return True  # let through by who called, into the step that it interrupted
    if isinstance(exc, Error):
        return False
    return not any(isinstance(arg, Speech) and arg.error is exc for arg in args)


@runtime_checkable
class _Handle(Protocol):
    def ring(self) -> None: ...


@runtime_checkable
class _Outlet(Protocol):
    def put(self, order: Send | HangUp, /) -> None: ...


def salvage(effects: Iterable[Effect], found: list[Event]) -> None:
    """Hand over what ends things, as far as there is anybody: nothing is sent or dialled."""
    for effect in effects:
        match effect:
            case Wake(handle=_Handle() as handle):
                handle.ring()
            case HangUp(conn=conn) if isinstance(conn.handle, _Outlet):
                conn.handle.put(effect)
            case Report(event=event):
                found.append(event)


# --- text sources ---------------------------------------------------------------------------------


def for_reader(exc: BaseException) -> BaseException:
    """
    Return what a reader is told where its text source raised *exc*.

    *exc* itself, unless it would end the reader's loop, or its thread or task, as if all were well.
    """
    name = type(exc).__name__
    if isinstance(exc, StopIteration | StopAsyncIteration):
        told: Exception = RuntimeError(f"the text source raised {name}")
    elif isinstance(exc, Exception):
        return exc
    else:
        told = Error(f"the text source ended with {name}", phase="speak", retryable=False)
    told.__cause__ = exc
    return told


def check_piece(piece: object) -> str:
    """Return *piece*, if a text source may give it. Raises `TypeError`."""
    if not isinstance(piece, str):
        msg = f"a text source must give str, not {type(piece).__name__}"
        raise TypeError(msg)
    return piece


def close_source(iterator: object) -> None:
    """Close what a text source was pulled through, where it can be closed."""
    close = getattr(iterator, "close", None)
    # A file is its owner's to close; a generator or a stream of a model is ours.
    if close is not None and not isinstance(iterator, io.IOBase):
        close()


# --- keys and dials -------------------------------------------------------------------------------


def carried(configuration: Configuration) -> Carried:
    """Return what the dials of a client carry, and see to it that no log shows it."""
    install_unless_removed()
    secrets = [key.reveal() for key in configuration.keys if isinstance(key, Secret)]
    for route in configuration.routes:
        secrets += of_url(route.base_url)
        values = [word for value in route.headers.values() for word in _secret_words(value)]
        secrets += [word for word in values if len(word) >= _SECRETIVE]
    proxies = [configuration.proxy]
    if configuration.proxy == "env":
        proxies += of_environment().values()
    return Carried([*secrets, *(one for proxy in proxies for one in of_url(proxy))])


def _secret_words(value: str) -> tuple[str, ...]:
    """Return the value of a header, and what stands in it behind a scheme, such as ``Bearer``."""
    scheme, _, rest = value.partition(" ")
    return (value, rest.strip()) if scheme.isalpha() and " " not in rest.strip() else (value,)


def guarded(configuration: Configuration, carried: Carried) -> Configuration:
    """Return *configuration* with routes whose errors show nothing of what is *carried*."""
    routes = tuple(attrs.evolve(route, clean=carried.clean) for route in configuration.routes)
    return attrs.evolve(configuration, routes=routes)


def fetched_key(found: object) -> str:
    """Return what a callable gave for a key. Raises `AuthError` where it can be none."""
    return checked_key(found, phase="dial")


def unfetched_key(exc: BaseException) -> Error:
    """Return the error of a dial whose key could not be fetched."""
    msg = f"the API key could not be fetched: api_key raised {type(exc).__name__}"
    return AuthError(msg, phase="dial")


KEY_SHARE = 0.9
"""
How much of a dial's time its key may take.

At the end of all of it the core fails the dial, and cannot tell what has kept it.
"""


def late_key(seconds: float) -> DialFailure:
    """Return the failure of a dial whose key was not there in time."""
    msg = f"no connection within {seconds:g} s: the callable api_key has not returned yet"
    return DialFailure(error=ConnectTimeout(msg, phase="dial"))


def handshake(
    carried: Carried, make: Callable[[str | None], Handshake], secret: str | None
) -> Handshake:
    """
    Return what *make* says for *secret*, and have no log show what has become of it there.

    Some providers are sent a part of a key, or something made of it: that is what would not be
    there without one. Raises what *make* raises.
    """
    if secret is None:
        return make(None)
    usual: set[str] = set()
    with suppress(Exception):  # an adapter's own fault, of which the other call tells
        usual = _words(make(None))
    found = make(secret)
    carried.note_made(_words(found) - usual - {secret})
    return found


def _words(asked: Handshake) -> set[str]:
    """Return what is sent to ask for a connection, but for what is too short for a secret."""
    values = [*asked.headers.values(), *asked.subprotocols]
    values += [value for _, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(asked.url).query)]
    return {word for value in values for word in value.split() if len(word) >= _SECRETIVE}


def in_all(failure: DialFailure, seconds: float) -> DialFailure:
    """Return *failure*; if time ran out, have it name all *seconds*, not those that were left."""
    late = isinstance(failure.error, ConnectTimeout)
    return connect_timeout(seconds) if late else failure


def called_off() -> DialFailure:
    """Return the failure of a dial that nobody wants any more."""
    return DialFailure(error=ConnectError("given up while dialling", phase="dial"))


def undialled(exc: BaseException) -> Error:
    """Return the error of a dial that somebody's code broke."""
    msg = f"the dial broke before anything was sent ({type(exc).__name__})"
    error = ConnectError(msg, phase="dial", retryable=False)
    # Without the frames that it came through: the key is in their variables.
    error.__cause__ = without_frames(exc)
    return error


# --- questions ------------------------------------------------------------------------------------


BODILESS: tuple[Frame, ...] = (b"",)
"""What a request without a body is sent with."""


def question(
    configuration: Configuration, carried: Carried, inquiry: Inquiry, secret: str | None
) -> Target:
    """Say where and how to dial for *inquiry*. Raises `Error`."""
    asked = handshake(carried, inquiry.handshake, secret)
    target = configuration.target(asked, inquiry.plan.traits.max_message)
    return attrs.evolve(target, method="GET")


def unanswered(inquiry: Inquiry, seconds: float, closed: bool) -> Error:
    """Return the error of a question that nobody waits for any more."""
    if closed:
        return ClosedError("the client was closed", phase="close")
    provider = inquiry.plan.adapter.name
    return ConnectTimeout(f"no answer within {seconds:g} s", provider=provider, phase="dial")


# --- connections ----------------------------------------------------------------------------------


def told(
    fault: Closed | DialFailure | Error, unsent: SendTimeout | None
) -> Closed | DialFailure | Error:
    """Return why a connection ended: where we cut it ourselves the reader cannot know."""
    if unsent is not None and isinstance(fault, Closed) and fault.code is None:
        return ConnectionLost(str(unsent))
    return fault


def broken(exc: BaseException | str) -> ConnectionLost:
    """Return the end of a connection that was no fault of the peer's."""
    why = exc if isinstance(exc, str) else type(exc).__name__
    return ConnectionLost(f"the connection broke within ttsmux ({why})")


def only(exc: BaseException) -> BaseException:
    """Return what a task group wrapped, where it is one exception."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


# --- threads --------------------------------------------------------------------------------------


class Crew:
    """The daemon threads of one client."""

    def __init__(self, on_leave: Callable[[], object] | None = None) -> None:
        self.name = f"ttsmux-{next(_numbers)}"
        self._threads: set[threading.Thread] = set()
        self._on_leave = on_leave

    def start(self, run: Callable[[], object], name: str) -> threading.Thread:
        """Start a thread. Raises `RuntimeError` where none is to be had."""
        name = f"{self.name}-{name}"
        thread = threading.Thread(target=self._man, args=(run,), name=name, daemon=True)
        # Noted before it runs: a KeyboardInterrupt may come between.
        self._threads.add(thread)
        try:
            thread.start()
        except Exception:
            self._threads.discard(thread)
            raise
        return thread

    def _man(self, run: Callable[[], object]) -> None:
        try:
            run()
        finally:
            self._threads.discard(threading.current_thread())
            if self._on_leave is not None:
                self._on_leave()

    @property
    def present(self) -> list[threading.Thread]:
        """The others that run. One whose start was torn does not, and cannot be joined."""
        me = threading.current_thread()
        return [t for t in list(self._threads) if t.is_alive() and t is not me]

    @property
    def empty(self) -> bool:
        """Whether all have left, or are about to: what they ran is over."""
        return not self._threads

    def warn(self, *, stacklevel: int) -> None:
        """Warn about those that are left behind, if any."""
        if stuck := sorted(thread.name for thread in self.present):
            warnings.warn(
                f"{len(stuck)} thread(s) did not leave in time and are left behind: a text source "
                "blocked in next(), an api_key that does not return, a name look-up, or a handler "
                "of logs "
                f"({', '.join(stuck)})",
                ResourceWarning,
                stacklevel=stacklevel + 1,
            )
