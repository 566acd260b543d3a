"""
The shortest way to a simulated provider of your own.

A protocol needs two classes: a `CustomProvider`, which says where the socket is and how a key
travels, and a `CustomSession`, which reads the client's messages and writes the provider's::

    class MySession(CustomSession):
        def receive(self, message): ...            # what the client sends
        def audio(self, gen, chunk): ...           # a piece of speech, to be sent as you do
        def done(self, gen, *, marker): ...        # the end marker, unless a fault drops it
        def failed(self, gen, message): ...        # the error message

    class MyProvider(CustomProvider):
        name, path, default_voice, cancels = "mine", "/v1/tts", "ada", True
        session_type = MySession

    Simulator(MyProvider(key="secret"), faults=["reset@request:1,chunk:2"])

Text, speech, pace, the log and the faults are done by what these derive from. To be found by name,
as in ``Simulator("mine")``, register the provider as an entry point of the group
``ttsmux.simulators``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs

from .faults import Moment
from .generation import Generation
from .provider import Provider, Stage, flag
from .session import JSON, Session
from .sound import Encoding
from .wire import Request, Response, Wire

__all__ = ["CustomProvider", "CustomSession"]

_UNSUPPORTED = 1003


@attrs.frozen(kw_only=True)
class CustomProvider(Provider):
    """
    A provider with the options that every one should have; add yours as attrs fields.

    *key*: the only key accepted; None accepts any. *require_key*: none at all is refused too; a
    client on loopback needs no key. The key is looked for in ``Authorization: Bearer``, and refused
    at the upgrade; override `secret` or `admit` where that is not so.
    """

    session_type: ClassVar[type[CustomSession]]

    key: str | None = attrs.field(default=None, repr=False)
    require_key: bool = flag(False)

    def accepts(self, secret: str) -> bool:
        """Tell whether *secret* is the key; empty where there was none."""
        if self.key is not None:
            return secret == self.key
        return bool(secret) or not self.require_key

    def secret(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def admit(self, stage: Stage, request: Request) -> Response | None:
        if not self.accepts(self.secret(request)):
            return self.refusal(401, "Missing or invalid API key")
        return None

    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        return self.session_type(self, stage, wire, conn, request)


class CustomSession(Session):
    """
    One socket, with what most protocols need.

    *generations* holds those that are open by the id that `start` was given, None where there are
    no ids. *request* is the upgrade: its query and headers.
    """

    audio_field: ClassVar[str] = "audio"
    id_field: ClassVar[str] = "id"
    """The field of the client's messages that names a generation."""

    def __init__(
        self, provider: CustomProvider, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(stage, wire, conn)
        self.provider = provider
        self.request = request
        self.generations: dict[str | None, Generation] = {}

    def start(
        self, id: str | None, *, voice: str, encoding: Encoding, language: str | None = None
    ) -> Generation | None:
        """Begin a generation; None: a fault ended it at once."""
        gen = self.create(id, voice, language, encoding)
        self.generations[id] = gen
        return gen if self.begin(gen) else None

    def say(self, gen: Generation, text: str) -> None:
        """Take text of *gen*; its words are spoken as soon as they are complete."""
        gen.feed.add(text)
        gen.touch()

    def flush(self, gen: Generation) -> None:
        """Speak what there is, complete or not; `flushed` is called when it has been sent."""
        gen.feed.flush()
        gen.touch()

    def end(self, gen: Generation) -> None:
        """Take no more text of *gen*; `done` is called when all of it has been sent."""
        gen.feed.end()
        gen.touch()

    def interrupt(self, gen: Generation | None, acknowledge: Callable[[], None]) -> None:
        """Stop *gen* and call *acknowledge*, or do what an acknowledgement fault says."""
        if gen is not None:
            gen.interrupted = True

        def stop() -> None:
            if gen is not None:
                self.cut(gen, "interrupt")
            acknowledge()

        fault = next(iter(self.faults(Moment.CANCEL, gen)), None)
        match fault and fault.action:
            case "no-ack":
                pass
            case "late-ack":
                assert fault is not None
                self.acknowledge_late(fault, gen, stop)
            case "speak-on":
                if gen is not None:
                    self.detach(gen)
                acknowledge()
            case _:
                stop()

    def send_binary(self, head: bytes, gen: Generation, data: bytes) -> None:
        """Send audio as a binary message: *head*, then *data*."""
        if self.wire.open:
            frame: JSON = {"audio_bytes": len(data), "head": head.hex()}
            facts = {"chunk": gen.chunks, "after_interrupt": gen.interrupted}
            self.log("send", gen, frame=frame, **facts)
            self.wire.send_binary(head + data)

    # What a protocol may have otherwise

    def reject(self, message: str) -> None:
        self.close(_UNSUPPORTED, message)

    def generation_of(self, message: JSON) -> Generation | None:
        id = message.get(self.id_field)
        return self.generations.get(id) if id is None or isinstance(id, str) else None

    def left(self, gen: Generation) -> None:
        if self.generations.get(gen.id) is gen:
            del self.generations[gen.id]
