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

A peer may repeat what it was sent: in the body of a refusal, in an error, in the reason of a close.
So the core has each error that comes of a peer's words cleaned by `Carried.clean`, of the client's
own secrets. That is always done.
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

from .errors import Error, without_frames

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
_CUT = 8
"""
Characters of the beginning of a secret that are masked in a peer's words without the rest of it.
Those words are cut off at some length, and a secret may be in the middle of it.
"""
_OURS = frozenset({"provider", "phase"})
"""Attributes of an error that no peer has a say in."""
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

    def clean(self, error: Error) -> None:
        """
        Mask what this client carries in *error*, and in those of ours that led to it.

        That is in its sentence, its arguments and its attributes. An exception of somebody else's
        is not changed: one that shows a secret is left out of the chain, and what it says becomes a
        note. None keeps its traceback, for the peer's message is in the variables of the frames.
        """
        if forms := _forms_of(self.secrets):
            _Cleaner(forms).clean(without_frames(error))


class _Cleaner:
    """Cleans one error of *forms*."""

    def __init__(self, forms: list[str]) -> None:
        self._forms = forms
        self._begun: dict[str, list[str]] = {}
        """By how they begin."""
        self._seen: set[int] = set()
        seen = {_folded(one) for form in forms for one in (form, *_garbled(form))}
        for form in seen:
            if len(form) >= _SHORTEST:
                self._begun.setdefault(form[:_SHORTEST], []).append(form)

    def clean(self, error: Error) -> None:
        if id(error) in self._seen:
            return
        self._seen.add(id(error))
        held = vars(error)
        held.update({name: self._clean(held[name]) for name in held.keys() - _OURS})
        error.args = tuple(self._clean(value) for value in error.args)
        for link in ("__context__", "__cause__"):  # in this order: a cause hides the other one
            led = getattr(error, link)
            if isinstance(led, Error):
                self.clean(led)
            elif led is not None and self._shows(led, set()):
                setattr(error, link, None)
                note = f"it came of {type(led).__name__}: {self._masked(_said(led))}"
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)

    def _clean(self, value: object) -> object:
        if isinstance(value, str):
            return self._masked(value)
        if isinstance(value, list):  # of notes
            return [self._clean(one) for one in value]
        masked = self._masked(shown := _repr(value))
        return value if masked == shown else masked

    def _shows(self, exc: BaseException, seen: set[int]) -> bool:
        """Return whether *exc*, or what led to it, has a secret in it."""
        if id(exc) in seen:
            return False
        seen.add(id(exc))
        if any(self._masked(told) != told for told in (_said(exc), _repr(exc), _repr(vars(exc)))):
            return True
        led: list[BaseException | None] = [exc.__cause__, exc.__context__]
        if isinstance(exc, BaseExceptionGroup):
            led += exc.exceptions
        return any(one is not None and self._shows(one, seen) for one in led)

    def _masked(self, text: str) -> str:
        """Mask each part of *text* that is a secret or begins one, in capitals or not."""
        low, found, i = _folded(text), [], 0
        while i < len(text):
            forms = self._begun.get(low[i : i + _SHORTEST], ())
            size = max((self._size(low, i, form) for form in forms), default=0)
            found.append(MASK if size else text[i])
            i += size or 1
        masked = "".join(found)
        return _masked_beside_gaps(masked, self._forms) if _GAP in masked else masked

    def _size(self, low: str, i: int, form: str) -> int:
        same = itertools.takewhile(
            lambda both: both[0] == both[1], zip(low[i:], form, strict=False)
        )
        size = sum(1 for _ in same)
        return size if size >= min(len(form), _CUT) else 0


def _folded(text: str) -> str:
    """Return *text* without capitals, as long as it was."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _garbled(form: str) -> tuple[str, ...]:
    """Return *form* as a line that people can read, and as read in an encoding it is not in."""
    line = "".join(char if char.isprintable() else " " for char in form)
    sent = form.encode("latin-1", "replace").decode(errors="replace")
    return " ".join(line.split()), " ".join(sent.split())


def _said(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return ""


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return ""


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
    return _forms_of({secret for one in clients if one is not None for secret in one.secrets})


def _forms_of(secrets: Iterable[str]) -> list[str]:
    forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _spellings(secret)}
    return sorted(forms, key=len, reverse=True)


def _spellings(secret: str) -> tuple[str, ...]:
    """Return *secret* as it stands in a header, in a URL, in JSON and in the repr of either."""
    return (
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote(secret),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", r"\/"),
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
