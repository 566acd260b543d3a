"""
A transcript of a protocol page: who says what, in which order, frame by frame as parsed JSON.

`play` sends what stands on the client's side and compares whole what the server says: the same
fields, the same nesting, the same values. Two tables say where frames may differ. `Rules` has the
fields whose values cannot be equal, audio and times and ids, with what must hold instead; the type
must be the same in any case. `More` has the fields that the page's own tables describe and its
transcripts leave out, with their values.

Each side of a conversation is in order *for one generation*: between two of them order is free,
as the pages say. Nothing may come before all that its generation's client said above it, and the
client says nothing before all that stands above has come.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise

import attrs
import pytest
from websockets.exceptions import ConnectionClosed

from tests.simulate.peer import TIMEOUT, Event, Peer
from ttsmux.simulate.engines.tone import decode_text

Frame = Event | bytes
Rule = Callable[[object], bool]
Rules = Mapping[str, Rule]
More = Mapping[str, Event]


class Client:
    """What the client says, in one breath."""

    def __init__(self, *frames: Event) -> None:
        self.frames = frames


class Server:
    """What the server says for one generation; *maybe* it says more of it, or nothing."""

    def __init__(self, *frames: Frame, once: bool, maybe: tuple[Frame, ...] = ()) -> None:
        self.frames = (*frames, *maybe)
        self.once = once
        self.needed = set(range(len(frames)))

    @property
    def complete(self) -> bool:
        return not self.needed


def C(*frames: Event) -> Client:  # noqa: N802 - as in the pages
    return Client(*frames)


def S(frame: Frame) -> Server:  # noqa: N802 - as in the pages
    """This one frame."""
    return Server(frame, once=True)


def some(*frames: Frame, maybe: tuple[Frame, ...] = ()) -> Server:
    """These in any order, each once or more, for the pages shorten audio; and *maybe* those."""
    return Server(*frames, once=False, maybe=maybe)


def late(*frames: Frame) -> Server:
    """These in any order and number, or none: what was under way when a cancel came."""
    return Server(once=False, maybe=frames)


@attrs.frozen
class Close:
    """The server closes with this code."""

    code: int


Script = list[Client | Server | Close]


@attrs.frozen
class Page:
    """What holds for all transcripts of one page. *stream* finds the generation of a frame."""

    stream: Callable[[Frame], object]
    rules: Rules = attrs.field(factory=dict)
    more: More = attrs.field(factory=dict)
    kind: Callable[[Event], str] = lambda event: str(event.get("type"))

    def whole(self, frame: Frame) -> Frame:
        """The frame of a transcript with what it leaves out."""
        return (
            frame if isinstance(frame, bytes) else {**self.more.get(self.kind(frame), {}), **frame}
        )


class Play:
    """A transcript on its way."""

    def __init__(self, peer: Peer, page: Page, script: Script) -> None:
        self.peer = peer
        self.page = page
        self.script = script
        self.heard: dict[object, list[Frame]] = {}
        self._said = 0
        self._at: dict[object, int] = {}

    def run(self) -> dict[object, list[Frame]]:
        """Play all of it. Returns what the server said, by generation, in order."""
        for place, step in enumerate(self.script):
            match step:
                case Client():
                    self._hear_all_before(place)
                    self._said = place + 1
                    self.peer.say(*step.frames)
                case Close(code):
                    self._hear_all_before(place)
                    with pytest.raises(ConnectionClosed) as caught:
                        print("another frame before the close:", self.peer.receive())
                    assert caught.value.rcvd is not None and caught.value.rcvd.code == code
                    return self.heard
        self._said = len(self.script)
        self._hear_all_before(len(self.script))
        # The answer to a ping comes behind whatever there is: so there is nothing more.
        assert self.peer.ws.ping().wait(TIMEOUT)
        with pytest.raises(TimeoutError):
            print("more than the transcript has:", self.peer.ws.recv(0))
        return self.heard

    def _hear_all_before(self, place: int) -> None:
        while not all(self._is_complete(step) for step in self.script[:place]):
            frame = self.peer.receive()
            self._match(frame)
            self.heard.setdefault(self.page.stream(frame), []).append(frame)

    def _is_complete(self, step: object) -> bool:
        return not isinstance(step, Server) or step.complete

    def _match(self, frame: Frame) -> None:
        """Find the frame's place: the next step of its generation if it fits there, or this one."""
        stream = self.page.stream(frame)
        steps = self._steps(stream)
        at = self._at.get(stream, 0)
        reach = at
        while reach < len(steps) - 1 and steps[reach].complete:
            reach += 1
        reasons = []
        for number in range(reach, at - 1, -1):
            reason = self._fits(frame, steps[number])
            if reason is None:
                self._at[stream] = number
                return
            reasons.append(reason)
        raise AssertionError("\n".join(["no place in the transcript for", show(frame), *reasons]))

    def _fits(self, frame: Frame, step: Server) -> str | None:
        if self._asked_later(step, self.page.stream(frame)):
            return "it comes before the client asked for it"
        reasons = []
        for number, expected in enumerate(step.frames):
            reason = difference(frame, self.page.whole(expected), self.page.rules)
            if reason is None and step.once and step.complete:
                reason = "it came before"
            if reason is None:
                step.needed.discard(number)
                return None
            reasons.append(f"not {show(expected)}: {reason}")
        return "\n".join(reasons)

    def _asked_later(self, step: Server, stream: object) -> bool:
        waiting = self.script[self._said : self.script.index(step)]
        return any(
            self.page.stream(frame) == stream
            for each in waiting
            if isinstance(each, Client)
            for frame in each.frames
        )

    def _steps(self, stream: object) -> list[Server]:
        return [
            step
            for step in self.script
            if isinstance(step, Server) and self.page.stream(step.frames[0]) == stream
        ]


def play(peer: Peer, page: Page, script: Script) -> dict[object, list[Frame]]:
    return Play(peer, page, script).run()


def difference(found: object, expected: object, rules: Rules, field: str = "frame") -> str | None:
    """Say in which field the two differ, or None."""
    if type(found) is not type(expected):
        return f"{field} is a {type(found).__name__}, not a {type(expected).__name__}"
    if (rule := rules.get(field)) is not None:
        return None if rule(found) else f"{field} is {found!r}: {rule.__doc__ or rule.__name__}"
    match found, expected:
        case dict(), dict():
            if found.keys() != expected.keys():
                return f"{field} has {sorted(found)}, not {sorted(expected)}"
            each = (difference(found[name], expected[name], rules, name) for name in expected)
            return next((reason for reason in each if reason is not None), None)
        case list(), list() if expected and isinstance(expected[0], dict):
            # One of many words: all of them look like the page's first.
            if not found:
                return f"{field} is empty"
            each = (difference(item, expected[0], rules, f"{field}[]") for item in found)
            return next((reason for reason in each if reason is not None), None)
        case bytes(), bytes():
            return None if found else "a message without a byte"
    return None if found == expected else f"{field} is {found!r}, not {expected!r}"


def show(frame: Frame) -> str:
    return f"{len(frame)} bytes" if isinstance(frame, bytes) else json.dumps(frame)[:400]


# What must hold where values cannot be equal.


def sound(value: object) -> bool:
    """Strict base64 of whole samples, at least one."""
    try:
        data = base64.b64decode(str(value), validate=True)
    except binascii.Error:
        return False
    return bool(data) and len(data) % 2 == 0


def seconds(value: object) -> bool:
    """A time from the beginning on."""
    return isinstance(value, int | float) and value >= 0


def count(value: object) -> bool:
    """A whole number that is not negative."""
    return isinstance(value, int) and value >= 0


def name(value: object) -> bool:
    """An id or name that the server makes up: not empty, and without a space."""
    return bool(re.fullmatch(r"\S+", str(value)))


def word(value: object) -> bool:
    """One word; `spoken` looks which."""
    return name(value)


def remark(value: object) -> bool:
    """What is free to say anything."""
    return isinstance(value, str)


def matching(pattern: str) -> Rule:
    def rule(value: object) -> bool:
        return re.fullmatch(pattern, str(value), re.DOTALL) is not None

    rule.__doc__ = f"must match {pattern}"
    return rule


# What must hold for the frames of one generation together.


def having(frames: list[Frame], field: str) -> list[Event]:
    return [frame for frame in frames if not isinstance(frame, bytes) and frame.get(field)]


def spoken(frames: list[Frame], field: str = "audio", rate: int = 24000) -> str:
    """The text of the sound in *frames*."""
    if all(isinstance(frame, bytes) for frame in frames):
        return decode_text(b"".join(bytes(frame) for frame in frames), rate)  # type: ignore[arg-type]
    told = having(frames, field)
    return decode_text(b"".join(base64.b64decode(str(each[field])) for each in told), rate)


def without_gaps(frames: list[Event], start: str, stop: str) -> bool:
    """Each begins where the one before ended, and the first one at zero."""
    spans = [(float(str(frame[start])), float(str(frame[stop]))) for frame in frames]
    return spans[0][0] == 0 and all(before[1] == after[0] for before, after in pairwise(spans))
