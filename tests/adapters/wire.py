"""Frames as they are written down, signals as they are compared: shared by the adapters' tests."""

import json
from collections.abc import Iterable

from ttsmux.adapter import (
    Adapter,
    Audio,
    CancelAck,
    Closed,
    Failed,
    Frame,
    Generation,
    Marks,
    Note,
    OutputEnd,
    Signal,
    Verdict,
    Wire,
)
from ttsmux.errors import Error

JSON = dict[str, object]


def parsed(*parts: Iterable[Frame]) -> list[JSON]:
    """The frames that adapter functions gave, as JSON, in order."""
    frames = [json.loads(text(frame)) for part in parts for frame in part]
    assert all(isinstance(frame, dict) for frame in frames)
    return frames


def text(frame: Frame) -> str:
    assert isinstance(frame, str), "these providers take text messages"
    return frame


def begin(adapter: Adapter, id: str = "g-7f31") -> Generation:
    return Generation(id, adapter.options())


def finish(adapter: Adapter, gen: Generation) -> Iterable[Frame]:
    """End *gen* as the core does: the flag first, so that `interrupt` knows."""
    gen.ended = True
    return adapter.end(gen)


def wire(adapter: Adapter) -> Wire:
    return Wire(adapter.options())


def decode(adapter: Adapter, *messages: object, on: Wire | None = None) -> list[Signal]:
    """What messages mean that came one after the other; bytes and strings go as they are."""
    on = on or wire(adapter)
    signals: list[Signal] = []
    for message in messages:
        data = message if isinstance(message, str | bytes) else json.dumps(message)
        signals += adapter.decode(data.encode() if isinstance(data, str) else data, on)
    return signals


def failure(signal: Signal) -> Failed:
    assert isinstance(signal, Failed), signal
    return signal


def facts(error: Error) -> tuple[type[Error], bool, str]:
    return type(error), error.retryable, error.message


def close(adapter: Adapter, code: int | None, reason: str = "", *, busy: bool = True) -> Verdict:
    return adapter.verdict(Closed(code, reason), busy)


__all__ = [
    "JSON",
    "Audio",
    "CancelAck",
    "Failed",
    "Marks",
    "Note",
    "OutputEnd",
    "begin",
    "close",
    "decode",
    "facts",
    "failure",
    "finish",
    "parsed",
    "text",
    "wire",
]
