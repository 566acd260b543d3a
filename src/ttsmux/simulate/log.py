"""
What a simulator saw and did: one dict a fact, in order, readable from any thread.

Every record has ``t`` (seconds since the simulator started), ``event`` and mostly ``conn`` (the
number of the connection, from 1). The events:

====================  ============================================================================
dial                  a TCP connection was accepted
refused               it was reset, or its HTTP request was answered with ``status``
open                  it became a WebSocket: ``path``, ``query``
request               an HTTP request came: ``method``, ``path``, ``query``, ``content_type``
answer                its answer began: ``status``, ``content_type``
answered              its answer came to its own end: ``body_bytes``
recv, send            one message, the body of a request, or a piece of the body of an answer;
                      ``frame`` is its content, audio replaced by ``audio_bytes``
violation             the client broke a rule of the provider: ``message``
ping                  a ping came (and was answered): ``bytes``
generation            a generation began: ``generation``, ``tag``, ``id``
cut                   a generation ended without its end marker: ``reason``
fault                 a scripted fault happened: ``fault``
close                 a close frame was sent or read: ``by``, ``code``, ``reason``
lost                  the TCP connection is gone; always a connection's last record
====================  ============================================================================

API keys are never recorded.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TextIO, TypeVar

# Python's own recursion limit is within reach of a client that means harm.
MAX_DEPTH = 32
_NUMBERS = frozenset((int, float, bool, type(None)))

Record = dict[str, object]
T = TypeVar("T")


class Log:
    """An append-only list of records, mirrored to a file of JSON lines if one is named."""

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self._changed = threading.Condition()
        self._records: list[Record] = []
        self._file: TextIO | None = None
        if path is not None:
            self._file = Path(path).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed by close)
        self._secrets: frozenset[str] = frozenset()
        self._start = time.monotonic()

    def hide(self, secret: str) -> None:
        """Write *** for *secret* from now on, wherever a client may have put it."""
        # Shorter keys exist in tests only, where hiding "k" would spoil every word with a k.
        if len(secret) >= 8:
            self._secrets |= {secret}

    def scrub(self, text: str) -> str:
        """Hide the secrets in *text*."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _copy(self, value: object, depth: int = 0) -> object:
        """Copy *value*, which is as JSON is, without secrets, and only as deep as people read."""
        if type(value) in _NUMBERS:  # most are: thousands of times in the marks of a long text
            return value
        match value:
            case str():
                return self.scrub(value)
            case dict() | list() | tuple() if depth == MAX_DEPTH:
                return "..."
            case dict():
                return {self._copy(key): self._copy(item, depth + 1) for key, item in value.items()}
            case list() | tuple():
                return [self._copy(item, depth + 1) for item in value]
        return value

    def add(self, event: str, **facts: object) -> None:
        """Record *event*. The dict is shared with readers: it is never changed afterwards."""
        now = round(time.monotonic() - self._start, 6)
        record: Record = {"t": now, "event": event}
        record.update((name, self._copy(value)) for name, value in facts.items())
        with self._changed:
            self._records.append(record)
            if self._file is not None:
                self._file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            self._changed.notify_all()

    def snapshot(self) -> list[Record]:
        """Copy the list of records."""
        with self._changed:
            return list(self._records)

    def wait_for(self, predicate: Callable[[list[Record]], T], timeout: float) -> T:
        """
        Wait until *predicate*, called with the records so far, gives something true; return that.

        Raises TimeoutError, with the last records, after *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        seen = -1
        while True:
            with self._changed:
                while len(self._records) == seen and (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                timed_out = len(self._records) == seen
                records = list(self._records)
            seen = len(records)
            if found := predicate(records):
                return found
            if timed_out or time.monotonic() >= deadline:
                tail = "\n".join(f"  {record}" for record in records[-8:])
                raise TimeoutError(
                    f"nothing in the log satisfied the condition within {timeout} s; "
                    f"{len(records)} records, the last ones:\n{tail}"
                )

    def close(self) -> None:
        """Close the file. Records that come later are still kept in memory."""
        with self._changed:
            if self._file is not None:
                self._file.close()
                self._file = None
