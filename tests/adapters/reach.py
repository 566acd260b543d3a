"""Which lines of an adapter's decoder run, and which of those that could never do."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import ttsmux.adapters

ADAPTERS = Path(ttsmux.adapters.__file__ or "").parent
Trace = object


class Reach:
    """What ran of our adapters' functions that were called while `watched`; not of file *apart*."""

    def __init__(self, apart: str = "") -> None:
        self._apart = apart
        self.left: dict[CodeType, set[int]] = {}
        self._looked_at: dict[CodeType, set[int]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the functions that are called; what runs is traced by nobody else meanwhile."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def missed(self) -> list[str]:
        """Return the lines that did not run, as ``file: text``, see `name`."""
        return sorted(
            f"{name(code)}: {linecache.getline(code.co_filename, line).strip()}"
            for code, lines in self.left.items()
            for line in lines
        )

    def _call(self, frame: FrameType, event: str, arg: object) -> Trace:
        left = self._looked_at.get(frame.f_code)
        if left is None:
            left = self._begin(frame.f_code)
        # What has run whole is not looked at any more, or this would take minutes.
        return self._line if left else None

    def _begin(self, code: CodeType) -> set[int]:
        left = self._looked_at[code] = set[int]()
        path = Path(code.co_filename)
        if path.parent == ADAPTERS and path.name != self._apart:
            self.left[code] = left
            left.update(line for _, _, line in code.co_lines() if line is not None)
            left.discard(code.co_firstlineno)
        return left

    def _line(self, frame: FrameType, event: str, arg: object) -> Trace:
        if event == "line":
            self.left[frame.f_code].discard(frame.f_lineno)
        return self._line


def name(code: CodeType) -> str:
    """Return the file that *code* is in; one that an adapter shares goes by the adapter's name."""
    return Path(code.co_filename).name.removeprefix("_")
