"""What clients carry is masked in the logs of the libraries beneath; nothing else is touched."""

from __future__ import annotations

import gc
import json
import logging
import random
import string
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import websocket
from websockets.frames import Frame, Opcode

import ttsmux
from ttsmux import redaction
from ttsmux.adapter import Handshake
from ttsmux.client import _shared
from ttsmux.errors import AuthError, ConnectionLost, Error, RemoteProtocolError
from ttsmux.redaction import LOGGERS, MASK, Carried
from ttsmux.simulate import AsyncSimulator, Simulator

KEY = "canary-5c1f-sings-in-the-coal-mine"
ODD = 'p@ss "w\\rd/1'
"""With all that is written otherwise in URLs, in JSON and in a repr."""


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.said: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.said.append(self.format(record))


@pytest.fixture
def log() -> Iterator[Kept]:
    """All loggers at DEBUG."""
    kept, loggers = Kept(), [logging.getLogger(name) for name in ("", *LOGGERS)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(kept)
    yield kept
    logging.getLogger().removeHandler(kept)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    redaction.install()


@pytest.fixture
def client() -> ttsmux.Client:
    return ttsmux.Client("xai", api_key=KEY, headers={"X-Tenant": "tenant-of-mine", "X-No": "no"})


@pytest.mark.parametrize("name", LOGGERS)
@pytest.mark.usefixtures("client")
def test_a_key_is_masked(name: str, log: Kept) -> None:
    """In messages, in what goes into them, in exceptions and in extra fields."""
    logger = logging.getLogger(name)
    logger.debug("> Authorization: Bearer %s", KEY)
    logger.info(f"GET wss://host/?api_key={KEY}&x=1")
    logger.debug("%r", {"headers": [(b"authorization", b"Bearer " + KEY.encode())]})
    logger.debug("as it is", extra={"header": f"Bearer {KEY}"})
    try:
        raise ValueError(KEY)
    except ValueError:
        logger.exception("it broke")
    assert len(log.said) == 5
    assert KEY not in "".join(log.said)
    assert log.said[0] == f"> Authorization: Bearer {MASK}"
    assert log.said[1] == f"GET wss://host/?api_key={MASK}&x=1"
    assert "ValueError: ***" in log.said[4]
    assert KEY not in repr([vars(record) for record in log.records])


@pytest.mark.usefixtures("client")
def test_nothing_else_is_touched(log: Kept) -> None:
    """Neither other records of these loggers, nor records of others, whatever they say."""
    logging.getLogger("httpx").info("HTTP Request: %s %s", "GET", "https://host/?api_key=mine")
    logging.getLogger("websockets.client").debug("> Authorization: Bearer of-somebody-else")
    logging.getLogger("mine").info(KEY)
    assert log.said == [
        "HTTP Request: GET https://host/?api_key=mine",
        "> Authorization: Bearer of-somebody-else",
        KEY,
    ]
    assert log.records[0].args == ("GET", "https://host/?api_key=mine")


def test_a_mistake_in_a_log_call_is_that_callers(client: ttsmux.Client) -> None:
    """What does not fit together is let through, for `logging` to complain of."""
    record = logging.LogRecord("httpx", logging.INFO, __file__, 1, "%d", ("one",), None)
    assert redaction._filter.filter(record)
    assert record.args == ("one",) and client


@pytest.mark.parametrize(
    "form",
    [ODD, quote(ODD, safe=""), json.dumps(ODD), repr(ODD), repr(json.dumps(ODD)), f"{ODD!r}"],
)
def test_every_spelling_is_masked(form: str, log: Kept) -> None:
    carried = Carried([ODD])
    logging.getLogger("websocket").debug("++Sent decoded: %s", form)
    for part in ("w\\rd", "ss+", "p@ss", "p%40"):
        assert part not in log.said[0], carried


@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        ({"api_key": KEY}, {KEY}),
        ({"api_key": ttsmux.Secret(KEY)}, {KEY}),
        ({"headers": {"X-Key": KEY, "X-Short": "short"}}, {KEY, "of-the-client"}),
        ({"headers": {"X-Key": f"Bearer  {KEY}"}}, {f"Bearer  {KEY}", KEY, "of-the-client"}),
        (
            {"headers": {"X-App": "app (written by me)", "X-No": "Token short"}},
            {"app (written by me)", "Token short", "of-the-client"},
        ),
        (
            {"base_url": "wss://me:p%40ss@host"},
            {"p@ss", "p%40ss", "bWU6cEBzcw==", "of-the-client"},
        ),
        ({"proxy": "http://me:word@host:1"}, {"word", "bWU6d29yZA==", "of-the-client"}),
        ({"proxy": "http://host:1"}, {"of-the-client"}),
        ({"proxy": "me:word@host:1"}, {"word", "bWU6d29yZA==", "of-the-client"}),
        ({"proxy": "http://token@host:1"}, {"token", "dG9rZW46", "of-the-client"}),
        ({"proxy": "http://tok%65n:@host:1"}, {"token", "tok%65n", "dG9rZW46", "of-the-client"}),
        ({"base_url": "wss://token@host"}, {"token", "dG9rZW46", "of-the-client"}),
    ],
)
def test_what_a_client_carries(settings: dict, secrets: set[str]) -> None:
    client = ttsmux.Client("xai", **{"api_key": "of-the-client", "proxy": None, **settings})
    assert set(client._engine.carried.secrets) == secrets
    assert KEY not in repr(client._engine.carried)


@pytest.mark.parametrize("url", ["http://me:word@host:1", "me:word@host:1"])
def test_a_proxy_of_the_environment_is_carried_too(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("https_proxy", url)
    assert "word" in ttsmux.Client("xai", api_key=KEY)._engine.carried.secrets


def test_a_key_that_is_fetched_is_carried_from_then_on(log: Kept) -> None:
    """The last few: one that gives another each time must not fill the memory."""
    carried = Carried()
    keys = [f"key-number-{n}-of-many" for n in range(30)]
    for key in keys:
        carried.note(key)
        carried.note(key)
    carried.note(None)
    assert carried.secrets == tuple(keys[-8:])
    logging.getLogger("httpx").info("with %s", keys[-1])
    assert log.said == [f"with {MASK}"]


def test_what_is_too_short_is_no_secret(log: Kept) -> None:
    """It would be found in every word."""
    carried = Carried(["o", "abc"])
    logging.getLogger("httpx").info("GET abc o")
    assert log.said == ["GET abc o"], carried


def test_it_is_forgotten_with_the_client(log: Kept) -> None:
    holder = [ttsmux.Client("xai", api_key=KEY)]
    holder.clear()
    gc.collect()
    logging.getLogger("httpx").info("GET %s", KEY)
    assert log.said == [f"GET {KEY}"]


def test_it_can_be_removed(log: Kept) -> None:
    """For good: clients that come later do not put it back; `install` does."""
    client = ttsmux.Client("xai", api_key=KEY)
    redaction.remove()
    later = ttsmux.Client("xai", api_key=KEY)
    logging.getLogger("httpx").info(KEY)
    redaction.install()
    redaction.install()
    logging.getLogger("httpx").info(KEY)
    assert log.said == [KEY, MASK], (client, later)
    assert logging.getLogger("httpx").filters.count(redaction._filter) == 1


@pytest.mark.usefixtures("client")
def test_the_libraries_themselves(log: Kept) -> None:
    """What httpx and websocket-client log of a program's own requests with the same key."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    with httpx.Client(transport=transport) as http:
        http.get(f"https://host/?api_key={KEY}")
    websocket.enableTrace(True, handler=logging.NullHandler(), level="DEBUG")
    try:
        websocket._logging.trace(f"++Sent decoded: {KEY}")
    finally:
        websocket.enableTrace(False)
    assert any(MASK in text and "HTTP Request" in text for text in log.said)
    assert any(text == f"++Sent decoded: {MASK}" for text in log.said)
    assert KEY not in "".join(log.said)


# --- what becomes of a key ------------------------------------------------------------------------

BARE = "S3CRET-of-a-kugel-key"


def kugel(url: str) -> ttsmux.Client:
    return ttsmux.Client("kugelaudio", base_url=url, api_key=f"eu-{BARE}", voice="1")


def test_what_an_adapter_makes_of_a_key_is_masked(log: Kept) -> None:
    """KugelAudio is sent a key without its prefix: that too is to be seen nowhere."""
    with Simulator("kugelaudio") as sim, kugel(sim.url) as client:
        assert client.prewarm() == 1
        logging.getLogger("websockets.client").debug("> X-API-Key: %s", BARE)
    assert BARE not in "".join(log.said)
    assert log.said.count(f"> X-API-Key: {MASK}") == 1


@pytest.mark.anyio
async def test_what_an_adapter_makes_of_a_key_is_masked_by_tasks(log: Kept) -> None:
    """Here websockets itself logs the request, if it is asked to."""
    async with (
        AsyncSimulator("kugelaudio") as sim,
        ttsmux.AsyncClient(
            "kugelaudio", base_url=sim.url, api_key=lambda: f"eu-{BARE}", voice="1"
        ) as client,
    ):
        assert await client.prewarm() == 1
        logging.getLogger("websockets.client").debug("> X-API-Key: %s", BARE)
    assert BARE not in "".join(log.said)
    assert f"> X-API-Key: {MASK}" in log.said


def test_what_was_asked_for_a_page_of_voices_is_masked(log: Kept) -> None:
    """A question beside speaking carries the key, too."""
    with Simulator("kugelaudio") as sim, kugel(sim.url) as client:
        assert client.voices()
        logging.getLogger("httpx").info("with %s", BARE)
    assert f"with {MASK}" in log.said


def made_of(make: Callable[[str | None], Handshake], secret: str | None = KEY) -> set[str]:
    """Return what is carried of a handshake, beside the key."""
    carried = Carried()
    assert _shared.handshake(carried, make, secret) == make(secret)
    return set(carried.secrets)


def test_what_would_be_there_without_a_key_is_no_secret() -> None:
    """Of headers, subprotocols and the query: all that a key has changed, and nothing else."""
    url = "wss://host/?model=large-turbo"
    usual = {"Content-Type": "application/json", "X-Short": "short"}

    def make(secret: str | None) -> Handshake:
        if secret is None:
            return Handshake(url=url, headers=usual, subprotocols=("an-old-protocol",))
        made = {"Authorization": "Basic bWFkZS1vZi1pdA==", "X-Tiny": "tiny", "X-Key": secret}
        return Handshake(
            url=f"{url}&token=made%20of-it%2Btoo",
            headers={**usual, **made},
            subprotocols=("an-old-protocol", "token.made-of-it"),
        )

    assert made_of(make) == {"bWFkZS1vZi1pdA==", "of-it+too", "token.made-of-it"}
    assert made_of(make, None) == set()


def test_an_adapter_that_cannot_do_without_a_key_has_all_masked() -> None:
    """Better too much than a key."""

    def make(secret: str | None) -> Handshake:
        assert secret is not None
        headers = {"Accept": "audio/pcm-something", "Key": secret[::-1]}
        return Handshake(url="wss://host/", headers=headers)

    carried = Carried()
    _shared.handshake(carried, make, KEY)
    assert set(carried.secrets) == {"audio/pcm-something", KEY[::-1]}


def test_what_is_made_anew_each_time_pushes_nothing_out() -> None:
    """Such as a number of the request: what was sent last is remembered."""
    carried = Carried()
    for number in range(100):
        carried.note_made([f"request-{number}", "made-of-it"])
    assert {"made-of-it", "request-99"} <= set(carried.secrets)
    assert len(carried.secrets) < 40


# --- messages without their middle ----------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 5, 20, 35, 60, 200])
@pytest.mark.parametrize("behind", [0, 1, 5, 15, 60, 200])
def test_what_is_left_of_a_key_is_masked(before: int, behind: int, log: Kept) -> None:
    """Websockets shows the beginning and the end of a long frame, and a key may be at the gap."""
    key = "".join(random.Random(1).sample(string.ascii_letters, 52))
    carried = Carried([key])
    text = json.dumps({"a": "-" * before, "key": key, "b": "-" * behind})
    logging.getLogger("websockets.client").debug("> %s", Frame(Opcode.TEXT, text.encode()))
    parts = {key[i : i + 4] for i in range(len(key) - 3)}
    assert not [part for part in parts if part in log.said[0]], (log.said, carried)
    assert "..." in log.said[0] or MASK in log.said[0]


def test_a_gap_beside_something_else_is_no_secret(log: Kept) -> None:
    """No more than what was known to be one."""
    carried = Carried([KEY])
    said = ["so...", "...", "wait... what?", "cana...coal", f"{KEY[:3]}...{KEY[-3:]}", "a....b"]
    for one in said:
        logging.getLogger("websocket").debug(one)
    assert log.said == [*said[:3], f"{MASK}...coal", *said[4:]], carried


# --- what a peer repeats --------------------------------------------------------------------------


def cleaned(error: Error, *secrets: str) -> str:
    """Clean *error*; return its sentence."""
    Carried(secrets or (KEY,)).clean(error)
    return str(error)


def test_a_key_in_an_error_is_masked_wherever_it_is() -> None:
    """In its sentence, its arguments, its attributes and its notes; what is ours stays."""
    error = ConnectionLost(f"no: {KEY}", code=1008, reason=KEY, provider="xai", retry_after=2.0)
    error.add_note(f"about {KEY}")
    error.details = {"sent": [KEY]}  # type: ignore[attr-defined]
    assert cleaned(error) == f"xai: no: {MASK}"
    assert error.args == (f"no: {MASK}",)
    assert (error.code, error.reason, error.provider, error.retry_after) == (1008, MASK, "xai", 2.0)
    assert error.__notes__ == [f"about {MASK}"]
    assert KEY not in repr(vars(error))
    assert type(error.copy()) is ConnectionLost and KEY not in repr(error.copy().args)


@pytest.mark.parametrize(
    "form",
    [
        *(ODD, quote(ODD, safe=""), quote(ODD), json.dumps(ODD), repr(ODD), repr(json.dumps(ODD))),
        *(ODD.upper(), quote(ODD).lower(), json.dumps(ODD).replace("/", r"\/")),
        *(" ".join(ODD.split()), "word " * 3 + ODD),
    ],
)
def test_every_spelling_in_an_error_is_masked(form: str) -> None:
    found = cleaned(ConnectionLost(f"<{form}>"), ODD).lower()
    for part in ("rd/1", "rd%2f1", "ss+", "p@ss", "p%40"):
        assert part not in found


@pytest.mark.parametrize("form", ["abc/def%2Bghi/jkl%2bmno", "abc\\/def+ghi\\/jkl+mno"])
def test_a_slash_may_be_spelled_otherwise_or_not(form: str) -> None:
    """Some leave it in URLs as it is; others escape it even in JSON."""
    assert cleaned(ConnectionLost(f"<{form}>"), "abc/def+ghi/jkl+mno") == f"<{MASK}>"


@pytest.mark.parametrize("size", range(8, len(KEY)))
def test_a_key_that_was_cut_off_is_masked(size: int) -> None:
    """Words of a peer's have a length, and there may be more of ours behind them."""
    found = cleaned(ConnectionLost(f"the connection ended (bad key {KEY[:size]})"))
    assert found == f"the connection ended (bad key {MASK})"


def test_two_keys_that_begin_alike_are_masked_whole() -> None:
    """The longer one leaves nothing of the other."""
    keys = ("sk-live-12345678-abcdef", "sk-live-1234-rest-of-it")
    assert cleaned(ConnectionLost(" ".join(keys)), *keys) == f"{MASK} {MASK}"


def test_other_words_of_a_peer_stay() -> None:
    """Also those that begin as a key does, for a bit."""
    words = f"canary birds sing, {KEY[:7]}, and {KEY[10:]} is behind it... so"
    assert cleaned(ConnectionLost(words)) == words


def test_a_header_that_is_read_as_something_else_is_masked() -> None:
    """With spaces that a line has not, or in another encoding; as our sentences have it."""
    value = "Tok\u00e9n  of\xa0somebody"
    for heard in ("Tok\u00e9n of somebody", "Tok\ufffdn of\ufffdsomebody"):
        assert cleaned(ConnectionLost(f"not {heard}!"), value) == f"not {MASK}!"


def test_an_exception_of_somebody_elses_that_shows_a_key_becomes_a_note() -> None:
    """It is not changed, for it may be kept elsewhere; what it says is still told."""
    theirs = LookupError(f"no {KEY}")
    error = AuthError("no key")
    error.__cause__ = error.__context__ = theirs
    cleaned(error)
    assert error.__cause__ is None and error.__context__ is None
    assert error.__notes__ == [f"it came of LookupError: no {MASK}"]
    assert theirs.args == (f"no {KEY}",)


def with_cause(exc: BaseException, cause: BaseException) -> BaseException:
    exc.__cause__ = cause
    return exc


class Mute(Exception):
    """Cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def hiding() -> Exception:
    exc = ValueError("nothing to see")
    exc.document = KEY  # type: ignore[attr-defined]
    return exc


@pytest.mark.parametrize(
    "theirs",
    [
        UnicodeDecodeError("utf-8", KEY.encode() + b"\xff", 33, 34, "invalid start byte"),
        with_cause(ValueError("well"), LookupError(KEY)),
        ExceptionGroup("several", [ValueError("well"), LookupError(KEY)]),
        with_cause(ValueError("well"), ConnectionLost("", reason=KEY)),
        hiding(),
        ExceptionGroup("several", [hiding()]),
    ],
)
def test_a_key_is_found_anywhere_in_an_exception(theirs: BaseException) -> None:
    """In its arguments, its attributes, and what led to it."""
    error = with_cause(RemoteProtocolError("unreadable"), theirs)
    assert isinstance(error, Error)
    cleaned(error)
    assert error.__cause__ is None
    assert KEY not in repr(error.__notes__)


def test_an_exception_without_a_key_stays_the_cause() -> None:
    """Without its traceback, and even if it goes in a circle, or cannot be told."""
    first, error = ValueError("well"), RemoteProtocolError("unreadable")
    first.__context__, error.__cause__ = with_cause(Mute(), first), first
    ours = ConnectionLost(f"no: {KEY}")
    ours.__cause__, first.__cause__ = error, None
    try:
        raise first
    except ValueError:
        cleaned(ours)
    assert ours.__cause__ is error and error.__cause__ is first
    assert first.__traceback__ is None


def test_errors_that_led_to_each_other_are_all_cleaned() -> None:
    """Each once, also in a circle."""
    one, two = ConnectionLost(f"one {KEY}"), ConnectionLost(f"two {KEY}")
    one.__cause__, two.__context__ = two, one
    cleaned(one)
    assert (str(one), str(two)) == (f"one {MASK}", f"two {MASK}")


def test_who_carries_nothing_changes_nothing() -> None:
    """Not even a traceback."""
    with pytest.raises(RemoteProtocolError) as caught:
        raise RemoteProtocolError("unreadable")
    Carried().clean(caught.value)
    assert caught.value.__traceback__ is not None


# --- how much is looked through -------------------------------------------------------------------


def with_context(exc: BaseException, context: BaseException) -> BaseException:
    exc.__context__ = context
    return exc


def unreadable(theirs: BaseException) -> Error:
    error = with_cause(RemoteProtocolError("unreadable"), theirs)
    assert isinstance(error, Error)
    return error


def undecodable(data: bytes) -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", data, 0, 1, "invalid start byte")


def holding(value: object) -> ValueError:
    exc = ValueError("well")
    exc.document = value  # type: ignore[attr-defined]
    return exc


def noted(note: str) -> Error:
    error = ConnectionLost("well")
    error.add_note(note)
    return error


def detailed(value: object) -> Error:
    error = ConnectionLost("well")
    error.details = value  # type: ignore[attr-defined]
    return error


def chained(count: int) -> BaseException:
    """Return an exception that many led to, the first of which has the key."""
    exc: BaseException = LookupError(KEY)
    for number in range(count):
        exc = with_context(ValueError(f"number {number}"), exc)
    return exc


LARGE: dict[str, Callable[[int], Error]] = {
    "a sentence": lambda size: ConnectionLost("x" * size),
    "a sentence of beginnings": lambda size: ConnectionLost(KEY[:7] * (size // 7)),
    "a sentence of keys": lambda size: ConnectionLost(KEY * (size // len(KEY))),
    "a sentence of gaps": lambda size: ConnectionLost("cana..." * (size // 7)),
    "an attribute": lambda size: ConnectionLost("well", reason="x" * size),
    "bytes": lambda size: detailed(b"x" * size),
    "a list": lambda size: detailed(["x"] * size),
    "a mapping": lambda size: detailed({"sent": dict.fromkeys(range(size), "x")}),
    "a note": lambda size: noted("x" * size),
    "a cause": lambda size: unreadable(ValueError("x" * size)),
    "a cause of two": lambda size: unreadable(ValueError("well", "x" * size)),
    "a cause that holds it": lambda size: unreadable(holding("x" * size)),
    "a message that is no text": lambda size: unreadable(undecodable(b"\x80" * size)),
    "what is in a group": lambda size: unreadable(
        ExceptionGroup("several", [undecodable(b"\x80" * size)])
    ),
}


def work_of(error: Error) -> int:
    """Return how many calls it takes to clean *error*."""
    carried, calls = Carried([KEY]), 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    gc.disable()  # what is collected meanwhile may call something
    sys.setprofile(count)
    try:
        carried.clean(error)
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


@pytest.mark.parametrize("what", LARGE)
def test_how_long_a_peers_words_are_makes_no_work(what: str) -> None:
    """It is done on the event loop, and a message may have millions of characters."""
    make = LARGE[what]
    assert work_of(make(100_000)) < 2 * work_of(make(10_000))


@pytest.mark.parametrize("what", LARGE)
def test_no_more_is_kept_than_was_looked_through(what: str) -> None:
    error = LARGE[what](100_000)
    cleaned(error)
    kept = "".join([str(error), repr(error), repr(vars(error)), repr(error.__cause__)])
    assert len(kept) < 20_000
    assert KEY not in kept
    once = (str(error), error.args, repr(vars(error)))
    cleaned(error)
    assert (str(error), error.args, repr(vars(error))) == once, "and cleaning it again is the same"


class Weighty(bytes):
    """A message of which nobody is to make a repr, which may take four times its size."""

    asked = 0

    def __repr__(self) -> str:
        Weighty.asked += 1
        return "b''"


@pytest.mark.parametrize(
    "make",
    [
        lambda data: unreadable(undecodable(data)),
        lambda data: unreadable(ValueError("well", data)),
        lambda data: unreadable(ValueError(data)),
        lambda data: unreadable(KeyError((data,))),
        lambda data: unreadable(holding({"sent": [data]})),
        lambda data: unreadable(ExceptionGroup("several", [with_cause(Mute(), undecodable(data))])),
        detailed,
        lambda data: detailed({"sent": [data]}),
    ],
)
def test_no_repr_is_made_of_a_long_message(
    make: Callable[[bytes], Error], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Weighty, "asked", 0)
    cleaned(make(Weighty(b"\x80" * 10_000)))
    assert not Weighty.asked
    cleaned(make(Weighty(b"\x80" * 10)))
    assert Weighty.asked, "else it is not there"


@pytest.mark.parametrize("filled", ["-", f"{KEY} ", "... "])
def test_a_key_at_the_cut_is_not_half_shown(filled: str) -> None:
    """Nor is one behind it that the cut would be before, if others were not masked."""
    parts = {KEY[i : i + 4] for i in range(len(KEY) - 3)}
    for before in range(redaction._LONGEST - 40, redaction._LONGEST + 10, 2):
        start = (filled * (before // len(filled))).ljust(before, "-")
        for key in (KEY, f"...{KEY[10:]}", f"{KEY[:30]}..."):
            for behind in ("", "-" * 10_000):
                found = cleaned(ConnectionLost(f"{start}{key}{behind}"))
                assert not [part for part in parts if part in found], found[-100:]
                assert len(found) <= redaction._LONGEST + 1


def test_words_are_not_cut_that_have_just_the_length() -> None:
    longest = "x" * redaction._LONGEST
    assert cleaned(ConnectionLost(longest)) == longest
    assert cleaned(ConnectionLost(longest + "y")) == longest + "…"
    assert cleaned(ConnectionLost(KEY + longest[: 3 - len(MASK)])) == MASK


def test_of_a_long_message_it_is_still_told_what_was_wrong_with_it() -> None:
    """It is no cause any more, for it may have a key in it where nobody looks."""
    theirs = undecodable(b"\x80" * 10_000 + KEY.encode())
    error = unreadable(theirs)
    cleaned(error)
    assert error.__cause__ is None
    (note,) = error.__notes__
    assert note.startswith("it came of UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80")
    assert theirs.object.endswith(KEY.encode())


@pytest.mark.parametrize("count", [5, 50])
def test_a_key_is_found_at_the_end_of_many_causes(count: int) -> None:
    """Or all of them are left out."""
    error = unreadable(chained(count))
    cleaned(error)
    assert error.__cause__ is None
    assert error.__notes__ == [f"it came of ValueError: number {count - 1}"]


class Unfriendly(dict[str, str]):
    def values(self) -> Any:
        raise RuntimeError("not now")


def endless() -> list[object]:
    found: list[object] = [KEY]
    found.append(found)
    return found


def deep() -> list[object]:
    found: list[object] = [KEY]
    for _ in range(10_000):
        found = [found]
    return found


@pytest.mark.parametrize("make", [lambda: Unfriendly(key=KEY), endless, deep])
def test_what_cannot_be_gone_through_is_left_out(make: Callable[[], object]) -> None:
    """What an adapter puts into its errors must not break the step that tells of them."""
    value = make()
    error, other = detailed(value), unreadable(holding(value))
    cleaned(error)
    cleaned(other)
    assert vars(error)["details"] == f"<{type(value).__name__}>"
    assert other.__cause__ is None


def test_capitals_make_no_difference_in_length() -> None:
    """Nor does it matter what a letter is beside; both are so for all of them but one each."""
    text = "".join(map(chr, range(0x1F000))) + "ΑΣ ΑΣΑ Σ İİ"
    assert redaction._folded(text) == "".join(
        low if len(low := char.lower()) == 1 else char for char in text
    )


# --- in the middle of everything ------------------------------------------------------------------


def test_what_is_made_in_the_middle_of_making_another_is_carried() -> None:
    """By a finaliser, which may run anywhere; both are kept."""
    inner: list[Carried] = []

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename != redaction.__file__:
            return None
        sys.settrace(None)
        inner.append(Carried([f"inner-secret-{len(inner)}"]))
        sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        outer = Carried(["outer-secret"])
    finally:
        sys.settrace(before)
    assert len(inner) > 2
    forms = set(redaction._forms())
    assert {secret for one in (outer, *inner) for secret in one.secrets} <= forms


def test_no_lock_is_taken() -> None:
    """One that another thread holds at a fork is held in the child for ever."""
    locks = type(threading.Lock()), type(threading.RLock()), threading.Condition
    assert not [name for name, value in vars(redaction).items() if isinstance(value, locks)]


def test_nothing_is_left_of_those_that_are_gone() -> None:
    before = len(redaction._all)
    for _ in range(3):
        Carried([KEY])
    gc.collect()
    assert len(redaction._all) <= before
