"""What clients carry is masked in the logs of the libraries beneath; nothing else is touched."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
import websocket

import ttsmux
from ttsmux import redaction
from ttsmux.redaction import LOGGERS, MASK, Carried

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
        (
            {"base_url": "wss://me:p%40ss@host"},
            {"p@ss", "p%40ss", "bWU6cEBzcw==", "of-the-client"},
        ),
        ({"proxy": "http://me:word@host:1"}, {"word", "bWU6d29yZA==", "of-the-client"}),
        ({"proxy": "http://host:1"}, {"of-the-client"}),
    ],
)
def test_what_a_client_carries(settings: dict, secrets: set[str]) -> None:
    client = ttsmux.Client("xai", **{"api_key": "of-the-client", "proxy": None, **settings})
    assert set(client._engine.carried.secrets) == secrets
    assert KEY not in repr(client._engine.carried)


def test_a_proxy_of_the_environment_is_carried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:word@host:1")
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
