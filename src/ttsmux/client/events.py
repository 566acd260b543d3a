"""
Events of the core, as log lines.

They go to the standard `logging` tree under ``ttsmux``, through structlog: silent until a program
configures logging, nothing per frame, no text and no keys.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ..core.effects import Event

if TYPE_CHECKING:
    import structlog
    from structlog.typing import EventDict, WrappedLogger

_plain = logging.getLogger("ttsmux")
_plain.addHandler(logging.NullHandler())

_LEVELS = {
    "adapter.fault": logging.WARNING,
    "client.fault": logging.WARNING,
    "circuit.closed": logging.INFO,
    "circuit.opened": logging.WARNING,
    "connection.doomed": logging.INFO,
    "dial.failed": logging.WARNING,
    "interrupt.distrusted": logging.WARNING,
    "provider.error": logging.WARNING,
    "speech.failed": logging.WARNING,
    "speech.rerouted": logging.WARNING,
    "speech.resumed": logging.INFO,
    "speech.retried": logging.INFO,
}

_TAKEN = {*vars(logging.makeLogRecord({})), "message", "asctime"} - {"exc_info", "stack_info"}
"""Fields that a log record has for itself; `logging` raises where an extra field is named so."""


def _rename_taken(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Give way to the record's own fields: a program may have bound ``name`` for its own logs."""
    return {f"{name}_" if name in _TAKEN else name: value for name, value in fields.items()}


@cache
def _logger() -> structlog.stdlib.BoundLogger:
    import structlog  # on the first event: most programs never have one

    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        _plain,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _rename_taken,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def log(events: Sequence[Event]) -> None:
    """Log *events*, those whose level is wanted."""
    for event in events:
        level = _LEVELS.get(event.name, logging.DEBUG)
        if _plain.isEnabledFor(level):
            _logger().log(level, event.name, **event.fields)
