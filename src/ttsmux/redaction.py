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
import logging
import re
import traceback
import urllib.parse
import weakref
from collections import deque
from collections.abc import Iterable, Iterator

from ._net import with_scheme
from .errors import Error, chain_of, without_frames

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
_LONGEST = 4096
"""
Characters of anything that are looked through, and kept, in an error that came of a peer's words.

A message may have millions, an exception may carry all of it, and this happens on the event loop.
"""
_MOST = 32
"""The same for exceptions that led to one, and for notes."""
_NOTES = "__notes__"
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

        That is in its sentence, its arguments and its attributes, which are cut off where they are
        long. An exception of somebody else's is not changed: one that shows a secret, or too much
        to look for one, is left out of the chain, and what it says becomes a note. None keeps its
        traceback, for the peer's message is in the variables of the frames.
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
        self._beginning = re.compile("|".join(map(re.escape, sorted(self._begun))))
        self._longest = max(map(len, seen))

    def clean(self, error: Error) -> None:
        if id(error) in self._seen:
            return
        self._seen.add(id(error))
        held = vars(error)
        held.update({name: self._clean(held[name]) for name in held.keys() - _OURS - {_NOTES}})
        if isinstance(notes := held.get(_NOTES), list):
            held[_NOTES] = [self._clean(note) for note in notes[:_MOST]]
        error.args = tuple(self._clean(value) for value in error.args)
        for link in ("__context__", "__cause__"):  # in this order: a cause hides the other one
            led = getattr(error, link)
            if isinstance(led, Error):
                self.clean(led)
            elif led is not None and self._shows(led):
                setattr(error, link, None)
                note = self._masked(f"it came of {type(led).__name__}: {_said(led)}")
                if note not in getattr(error, _NOTES, ()):
                    error.add_note(note)

    def _clean(self, value: object) -> object:
        if isinstance(value, str):
            return self._masked(value)
        if _is_long(value):
            return f"<{type(value).__name__}>"
        masked = self._masked(shown := _repr(value))
        return value if masked == shown else masked

    def _shows(self, exc: BaseException) -> bool:
        """Return whether *exc*, or what led to it, has a secret in it, or too much to tell."""
        led = list(itertools.islice(chain_of(exc), _MOST + 1))
        if len(led) > _MOST or any(_is_long((one.args, vars(one))) for one in led):
            return True  # before anybody makes a repr of that
        told = (say(one) for one in led for say in (_said, _repr, _repr_of_attributes))
        return any(self._masked(text) != text for text in told)

    def _masked(self, text: str) -> str:
        """Mask each part of *text* that is a secret or begins one, in capitals or not; cut it."""
        part = text[: _LONGEST + self._longest]
        low, found, i, done = _folded(part), [], 0, 0
        while match := self._beginning.search(low, i):
            i = match.start()
            if size := max(self._size(low, i, form) for form in self._begun[match.group()]):
                found += [part[done:i], MASK]
                done = i + size
            i += size or 1
        masked = "".join([*found, part[done:]])
        if _GAP in masked:
            masked = _masked_beside_gaps(masked, self._forms)
        if len(part) < len(text):
            masked = masked[: -self._longest]  # where a secret may begin that does not end there
        elif len(masked) <= _LONGEST:
            return masked
        return masked[:_LONGEST] + "…"

    def _size(self, low: str, i: int, form: str) -> int:
        """Return how many characters of *form* are at *i*: all, or enough to be its beginning."""
        if low.startswith(form, i):
            return len(form)
        if not low.startswith(form[:_CUT], i):
            return 0
        size, there = _CUT, low[i : i + len(form)]
        while there[:size] == form[:size]:
            size += 1
        return size - 1


def _folded(text: str) -> str:
    """Return *text* without capitals, as long as it was, and each alike wherever it stands."""
    # The small letter of one is two, and that of another depends on what is beside it.
    return "\u0130".join(part.lower() for part in text.replace("Σ", "σ").split("\u0130"))


def _garbled(form: str) -> tuple[str, ...]:
    """Return *form* as a line that people can read, and as read in an encoding it is not in."""
    line = "".join(char if char.isprintable() else " " for char in form)
    sent = form.encode("latin-1", "replace").decode(errors="replace")
    return " ".join(line.split()), " ".join(sent.split())


def _is_long(value: object) -> bool:
    """Return whether a repr of *value* would go on and on, without making it."""
    left, todo = _LONGEST, [value]
    try:
        while todo and left > 0:
            one = todo.pop()
            left -= 1
            if isinstance(one, str | bytes | bytearray):
                left -= len(one)
            elif isinstance(one, list | tuple | set | frozenset | dict):
                left -= len(one)
                todo += one if left > 0 else ()
                todo += one.values() if left > 0 and isinstance(one, dict) else ()
    except Exception:
        return True  # somebody else's kind of these, which cannot be gone through
    return left <= 0


def _said(exc: BaseException) -> str:
    sentence = len(exc.args) == 1 and isinstance(exc.args[0], str)
    if _is_long(exc.args) and not (sentence or isinstance(exc, UnicodeError)):
        return ""  # it would say all of them
    try:
        return str(exc)
    except Exception:
        return ""


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return ""


def _repr_of_attributes(exc: BaseException) -> str:
    return _repr(vars(exc))


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
        _in_json(secret),
        _in_json(secret).replace("/", r"\/"),
        repr(secret)[1:-1],
        repr(f'"{_in_json(secret)}"')[2:-2],
    )


def _in_json(secret: str) -> str:
    if secret.isascii() and secret.isprintable() and not {'"', "\\"} & {*secret}:
        return secret
    # Few have any other character; the import takes longer than all else about a client's key.
    import json

    return json.dumps(secret)[1:-1]


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
    """Return the password in *url*, or the user who needs none, and what a header has of them."""
    try:
        parts = urllib.parse.urlsplit(with_scheme(url or ""))
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return []
    if not (secret := password or user):
        return []
    unquote = urllib.parse.unquote
    return [unquote(secret), secret, basic(unquote(user), unquote(password))]
