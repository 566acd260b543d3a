"""
Keeps what our dials carry out of the logs of the libraries beneath.

ttsmux itself logs no key. But ``websockets``, ``websocket`` (with its trace on), ``httpx`` and
``httpcore`` log headers, frames and URLs if a program asks for it, its own and those of other
packages too, which may well use the same key. So the first client puts one filter on the loggers of
those libraries. It looks for the very strings that clients of this process carry (keys, and what an
adapter makes of them for a handshake, passwords of proxies and of `base_url`, values of `headers=`)
and writes ``***`` in their place, also for what is left of one beside the ``...`` of a message that
was logged without its middle. It knows no patterns and touches nothing else. A record is looked at
only if it would be logged.

``ttsmux.redaction.remove()`` takes the filter off for good, ``install()`` puts it back.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import traceback
import urllib.parse
import weakref
from collections import deque
from collections.abc import Iterable, Iterator

__all__ = ["LOGGERS", "MASK", "Carried", "install", "remove"]

MASK = "***"
LOGGERS = (
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "httpx",
    "websocket",
    "websockets",
    "websockets.client",
)
"""Each of them: a filter sees what its own logger is given, not what comes from those below."""
_SHORTEST = 4
"""Characters; what is shorter would be found all over the place, and is no secret."""
_GAP = "..."
"""What ``websockets`` writes for the middle of a long message."""
_FETCHED = 8
"""Keys remembered of a callable that gives another one each time."""
_MADE = 32
"""The same for what becomes of them in handshakes, some of which have several."""


class Carried:
    """What one client carries. It is forgotten with the client."""

    def __init__(self, fixed: Iterable[str] = ()) -> None:
        self._fixed = tuple(dict.fromkeys(fixed))
        self._fetched: deque[str] = deque(maxlen=_FETCHED)
        self._made: deque[str] = deque(maxlen=_MADE)
        number, forget = next(_numbers), _all.pop
        _all[number] = weakref.ref(self, lambda _: forget(number, None))

    def __repr__(self) -> str:
        return f"<Carried {len(self.secrets)}>"

    def note(self, secret: str | None) -> None:
        """Add a key that was just fetched."""
        if secret and secret not in self._fixed and secret not in self._fetched:
            self._fetched.append(secret)

    def note_made(self, words: Iterable[str]) -> None:
        """Add what a key has become in a handshake."""
        self._made.extend(words)  # again and again, so that those in use stay among the last

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*self._fixed, *self._fetched.copy(), *dict.fromkeys(self._made.copy()))


_numbers = itertools.count()
_all: dict[int, weakref.ref[Carried]] = {}
"""
Changed in one go each time, and without a lock.

A finaliser may make a client in the middle of making one, and a lock that another thread holds is
held for ever in a child process.
"""
_wanted = True


class _Filter(logging.Filter):
    """Masks a record; lets every one through."""

    def filter(self, record: logging.LogRecord) -> bool:
        forms = _forms()
        if not forms:
            return True
        try:
            said = record.getMessage()
        except Exception:
            return True  # a mistake in the call, of which `logging` tells by itself
        if (clean := _masked(said, forms)) != said:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[1] is not None:
            told = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            if (clean := _masked(told, forms)) != told:
                record.exc_text, record.exc_info = clean, None
        for name, value in list(vars(record).items()):
            if isinstance(value, str) and (clean := _masked(value, forms)) != value:
                setattr(record, name, clean)
        return True


_filter = _Filter()


def install() -> None:
    """Have the filter on; every client does so, unless `remove` was called."""
    global _wanted
    _wanted = True
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_filter)


def remove() -> None:
    """Take the filter off, also from clients that are yet to come."""
    global _wanted
    _wanted = False
    for name in LOGGERS:
        logging.getLogger(name).removeFilter(_filter)


def install_unless_removed() -> None:
    """Have the filter on, unless the program does not want it."""
    if _wanted:
        install()


def _forms() -> list[str]:
    """Return everything to be masked, in all its spellings, the longest first."""
    clients = (ref() for ref in list(_all.values()))
    secrets = {secret for one in clients if one is not None for secret in one.secrets}
    forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _spellings(secret)}
    return sorted(forms, key=len, reverse=True)


def _spellings(secret: str) -> tuple[str, ...]:
    """Return *secret* as it stands in a header, in a URL, in JSON and in the repr of either."""
    return (
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        repr(json.dumps(secret))[2:-2],
    )


def _masked(text: str, forms: list[str]) -> str:
    for form in forms:
        if form in text:
            text = text.replace(form, MASK)
    return _masked_beside_gaps(text, forms) if _GAP in text else text


def _masked_beside_gaps(text: str, forms: list[str]) -> str:
    """Mask the beginning of a secret before a gap in *text*, and the end of one behind it."""
    parts, backwards = text.split(_GAP), [form[::-1] for form in forms]
    for i in range(1, len(parts)):
        if before := max(_cut_off(parts[i - 1], forms), default=0):
            parts[i - 1] = parts[i - 1][:-before] + MASK
        if behind := max(_cut_off(parts[i][::-1], backwards), default=0):
            parts[i] = MASK + parts[i][behind:]
    return _GAP.join(parts)


def _cut_off(text: str, forms: list[str]) -> Iterator[int]:
    """Go through how much of each of *forms* its beginning is that *text* ends with."""
    for form in forms:
        for size in range(min(len(form), len(text)), _SHORTEST - 1, -1):
            if text.endswith(form[:size]):
                yield size
                break


def basic(user: str, password: str) -> str:
    """Return what a user and a password become in a header."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def of_url(url: str | None) -> list[str]:
    """Return the password in *url*, and what a header would have of it."""
    try:
        parts = urllib.parse.urlsplit(url or "")
        user, password = parts.username, parts.password
    except ValueError:
        return []
    if not password:
        return []
    plain = urllib.parse.unquote(password)
    return [plain, password, basic(urllib.parse.unquote(user or ""), plain)]
