"""A simulated provider of one's own has all that the built in ones have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulate.peer import Peer, dial, happened, kinds, records, text
from ttsmux.simulate import (
    JSON,
    Chunk,
    CustomProvider,
    CustomSession,
    Encoding,
    Generation,
    Simulator,
)

LONG = " ".join(f"word{n}" for n in range(40)) + " "


class EchoSession(CustomSession):
    """``say``, ``end``, ``flush`` and ``stop``, with an id; everything has a type."""

    def receive(self, message: JSON) -> None:
        id, kind = message.get("id"), message.get("type")
        assert id is None or isinstance(id, str)
        gen = self.generation_of(message)
        if kind == "say" and gen is None:
            gen = self.start(id, voice="any", encoding=Encoding(24000))
        if kind == "stop":
            self.interrupt(gen, lambda: self.send({"type": "stopped", "id": id}, gen))
        elif gen is not None and kind == "say":
            self.say(gen, str(message["text"]))
        elif gen is not None:
            (self.flush if kind == "flush" else self.end)(gen)

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        self.send_audio({"type": "audio", "id": gen.id}, gen, chunk.data)

    def flushed(self, gen: Generation) -> None:
        self.send({"type": "flushed", "id": gen.id}, gen)

    def done(self, gen: Generation, *, marker: bool) -> None:
        if marker:
            self.send({"type": "end", "id": gen.id}, gen)

    def failed(self, gen: Generation | None, message: str) -> None:
        self.send({"type": "error", "message": message}, gen)
        if gen is not None:
            self.cut(gen, "error")


class Echo(CustomProvider):
    name, path, default_voice, cancels = "echo", "/echo", "any", True
    session_type = EchoSession


@contextmanager
def interrupted(fault: str = "", *, rtf: float = 0.0) -> Iterator[Peer]:
    """A long speech that is told to stop in its midst, and the server knows."""
    faults = ["stall@chunk:2=interrupt", *([fault] if fault else [])]
    with Simulator(Echo(), rtf=rtf, faults=faults) as sim, dial(sim, "/echo") as peer:
        peer.say({"type": "say", "id": "a", "text": LONG}, {"type": "end", "id": "a"})
        peer.until("audio", id="a")
        peer.say({"type": "stop", "id": "a"})
        happened(sim, "recv", frame={"type": "stop", "id": "a"})
        yield peer


def test_an_interruption_is_acknowledged() -> None:
    with interrupted() as peer:
        assert kinds(peer.until("stopped"))[-1] == "stopped"


def test_no_acknowledgement() -> None:
    """It speaks to its end."""
    with interrupted("no-ack") as peer:
        assert kinds(peer.until("end")) == ["audio", "end"]


def test_a_late_acknowledgement_is_the_last_word() -> None:
    """It speaks on until then."""
    with interrupted("late-ack=150", rtf=0.2) as peer:
        assert kinds(peer.until("stopped")) == ["audio", "stopped"]


def test_an_acknowledgement_behind_the_end() -> None:
    with interrupted("late-ack=end") as peer:
        assert kinds(peer.until("stopped")) == ["audio", "end", "stopped"]


def test_an_acknowledgement_behind_an_end_that_nobody_asked_for() -> None:
    """Its text was not ended: what was written until then is spoken, and that is all."""
    with Simulator(Echo(), faults=["late-ack=end"]) as sim, dial(sim, "/echo") as peer:
        peer.say({"type": "say", "id": "a", "text": "One two thr"}, {"type": "stop", "id": "a"})
        events = peer.until("stopped")
        assert kinds(events) == ["audio", "end", "stopped"]
        assert text(events) == "One two thr"


def test_an_acknowledgement_that_is_a_lie() -> None:
    """It speaks on after it, and nothing says when that is over."""
    with interrupted("speak-on") as peer:
        peer.until("stopped")
        assert peer.hear()["type"] == "audio"


def test_several_speak_at_once_and_are_told_apart() -> None:
    with Simulator(Echo(), rtf=0.01) as sim, dial(sim, "/echo") as peer:
        for id in ("a", "b"):
            peer.say({"type": "say", "id": id, "text": f"speech of {id}. "})
            peer.say({"type": "flush", "id": id}, {"type": "end", "id": id})
        ends: set[object] = set()
        while len(ends) < 2:
            event = peer.hear()
            if event["type"] == "end":
                ends.add(event["id"])
        assert ends == {"a", "b"}
        assert {e["id"] for e in peer.events if e["type"] == "flushed"} == {"a", "b"}
        assert [r["id"] for r in records(sim, "generation")] == ["a", "b"]


def test_the_key_is_checked_and_in_no_log() -> None:
    """At the upgrade, as a bearer token, unless the provider does that otherwise."""
    provider = Echo(key="a-secret-api-key")
    assert "a-secret" not in repr(provider)
    with Simulator(provider) as sim, dial(sim, "/echo") as peer:
        peer.say(
            {"type": "say", "id": "a", "text": "a-secret-api-key "}, {"type": "end", "id": "a"}
        )
        peer.until("end", id="a")
        assert "a-secret" not in json.dumps(sim.log)
    assert not Echo(key="another").accepts("a-secret-api-key")
    assert Echo().accepts("") and not Echo(require_key=True).accepts("")
