"""Which lines of an adapter's decoder run, and which of those that could never do."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import ttsmux.adapters

ADAPTERS = str(Path(ttsmux.adapters.__file__ or "").parent)
Trace = object


class Reach:
    """What ran of the functions of our adapters that were called while `watched`."""

    def __init__(self) -> None:
        self.left: dict[CodeType, set[int]] = {}

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
        """Return the lines that did not run, as ``file: text``."""
        return sorted(
            f"{Path(code.co_filename).name}: {linecache.getline(code.co_filename, line).strip()}"
            for code, lines in self.left.items()
            for line in lines
        )

    def _call(self, frame: FrameType, event: str, arg: object) -> Trace:
        code = frame.f_code
        if not code.co_filename.startswith(ADAPTERS):
            return None
        if code not in self.left:
            lines = {line for _, _, line in code.co_lines() if line is not None}
            self.left[code] = lines - {code.co_firstlineno}
        # What has run whole is not looked at any more, or this would take minutes.
        return self._line if self.left[code] else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Trace:
        if event == "line":
            self.left[frame.f_code].discard(frame.f_lineno)
        return self._line
