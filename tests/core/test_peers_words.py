"""What a peer repeats of what it was sent is cleaned out of errors, whichever way they came in."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable

import pytest

from tests.core.helpers import Harness, Toy, settings, traits
from ttsmux.adapter import Closed, DialFailure, Failed, Signal, Verdict, Wire
from ttsmux.core.connection import Connection
from ttsmux.core.inquiry import Inquiry
from ttsmux.core.route import Route
from ttsmux.errors import (
    ConnectError,
    ConnectionLost,
    Error,
    RemoteProtocolError,
    TruncatedAudio,
)
from ttsmux.redaction import MASK, Carried

SECRET = "s3cret-of-the-user"
ONCE = settings(min_idle=0, retry={"attempts": 1})


class Terse(Toy):
    """Says itself that it cannot read something, and repeats it."""

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        if data.startswith(b"nonsense"):
            try:
                data.decode("ascii")
            except UnicodeDecodeError as exc:
                raise RemoteProtocolError(f"not so: {data!r}") from exc
        return super().decode(data, wire)


class Puzzled(Toy):
    """Cannot judge how a connection ended."""

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        raise LookupError(fault)


Way = Callable[[Harness, Connection], None]


def refused(harness: Harness, conn: Connection) -> None:
    harness.mux.dial_failed(conn, DialFailure(status=400, body=SECRET), harness.now)


def undialled(harness: Harness, conn: Connection) -> None:
    error = ConnectError(f"an answer of {SECRET}", retryable=False)
    harness.mux.dial_failed(conn, DialFailure(error=error), harness.now)


def closed(harness: Harness, conn: Connection) -> None:
    harness.up()
    harness.drop(conn, 1008, f"no, {SECRET}")


def closed_cleanly(harness: Harness, conn: Connection) -> None:
    harness.up()
    harness.drop(conn, 1000, f"bye, {SECRET}")


def torn(harness: Harness, conn: Connection) -> None:
    harness.up()
    harness.mux.lost(conn, ConnectionLost(f"torn at {SECRET}", retryable=False), harness.now)


def reported(scope: str) -> Way:
    def way(harness: Harness, conn: Connection) -> None:
        harness.up()
        harness.say(conn, f"error - {scope} {SECRET}!")

    return way


def misread(harness: Harness, conn: Connection) -> None:
    harness.up()
    harness.say(conn, f"{SECRET} -")


def unreadable(harness: Harness, conn: Connection) -> None:
    harness.up()
    harness.say(conn, f"nonsense é {SECRET}")


def greeted(harness: Harness, conn: Connection) -> None:
    harness.up()
    harness.say(conn, f"error - connection {SECRET}!")


WAYS: list[tuple[Way, Toy]] = [
    (refused, Toy()),
    (undialled, Toy()),
    (closed, Toy()),
    (closed_cleanly, Toy()),
    (closed, Puzzled()),
    (torn, Toy()),
    (reported("generation"), Toy()),
    (reported("taint"), Toy()),
    (reported("connection"), Toy()),
    (misread, Toy()),
    (unreadable, Terse()),
    (greeted, Toy(shape=traits(greeting=True))),
]


def shown(error: BaseException | None) -> str:
    """Return all that a report of *error* could hold, variables of frames included."""
    found, todo, seen = [], [error], set[int]()
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            found += [str(one), repr(one), repr(one.args), repr(vars(one))]
            found += traceback.TracebackException.from_exception(one, capture_locals=True).format()
            todo += [one.__cause__, one.__context__]
    return "\n".join(found)


def failed(way: Way, adapter: Toy, clean: Callable[[Error], None] | None) -> str:
    """Have a speech fail that way; return what its error shows, and those that are kept."""
    route = Route(adapter=adapter) if clean is None else Route(adapter=adapter, clean=clean)
    harness = Harness(config=ONCE, routes=[route])
    speech = harness.speak("Hello. ")
    way(harness, harness.wires[0])
    assert speech.error is not None
    kept = harness.mux._pool.last_error(speech.plan)
    return shown(speech.error) + shown(kept)


@pytest.mark.parametrize(("way", "adapter"), WAYS)
def test_an_error_shows_no_secret_that_the_peer_repeats(way: Way, adapter: Toy) -> None:
    """In its words, its attributes, what led to it, or the variables of who read it."""
    assert SECRET in failed(way, adapter, None), "else there is nothing to be cleaned"
    carried = Carried([SECRET])
    found = failed(way, adapter, carried.clean)
    assert SECRET not in found
    assert MASK in found


def test_the_reason_of_a_clean_close_is_masked_too() -> None:
    """As the attribute that it is."""
    carried = Carried([SECRET])
    harness = Harness(config=ONCE, routes=[Route(adapter=Toy(), clean=carried.clean)])
    speech = harness.speak("Hello. ")
    closed_cleanly(harness, harness.wires[0])
    assert isinstance(speech.error, TruncatedAudio)
    assert (speech.error.code, speech.error.reason) == (1000, f"bye, {MASK}")


def test_what_an_adapter_looks_for_is_not_masked() -> None:
    """A word of the provider's that is in a header, too, means what it means."""

    class Strict(Toy):
        def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
            assert isinstance(fault, Closed) and fault.reason == "bad key", "it is as it came"
            return super().verdict(fault, busy)

    carried = Carried(["bad key"])
    harness = Harness(config=ONCE, routes=[Route(adapter=Strict(), clean=carried.clean)])
    speech = harness.speak("Hello. ")
    harness.up()
    harness.drop(harness.wires[0], 1008, "bad key")
    assert type(speech.error).__name__ == "AuthError"


def test_a_fault_of_the_adapter_still_says_where_it_is() -> None:
    """Though its traceback has the peer's message in it, and does not stay."""
    found = failed(misread, Toy(), Carried([SECRET]).clean)
    assert "ValueError" in found
    assert "raised at" in found and "helpers.py:" in found


def test_the_answer_to_a_question_shows_no_secret_either() -> None:
    """Nobody but its own inquiry hears of it."""

    class Listing(Toy):
        def list_voices(self, secret: str | None, page: str | None = None):  # type: ignore[no-untyped-def]
            return self.handshake(self.options(), secret)

    def asked(clean: Callable[[Error], None] | None) -> str:
        route = Route(adapter=Listing()) if clean is None else Route(adapter=Listing(), clean=clean)
        inquiry: Inquiry = Harness(routes=[route]).mux.inquire()
        inquiry.lost(DialFailure(status=400, body=SECRET))
        with pytest.raises(Error) as caught:
            inquiry.result()
        return str(caught.value) + repr(caught.value) + repr(vars(caught.value))

    assert SECRET in asked(None)
    assert SECRET not in asked(Carried([SECRET]).clean)
