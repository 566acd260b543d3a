"""
One WebSocket of a provider: its messages in and out. How it speaks is in `speaking`.

The files of the providers derive from `Session` and hold protocol only: what messages mean and
look like.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import msgspec
import pybase64

from .faults import Fault, Moment
from .generation import Generation
from .provider import Stage
from .speaking import JSON, Speaker
from .wire import Closed, Message, Ping, Wire

__all__ = ["JSON", "Session"]


class Session(Speaker):
    """One WebSocket. A subclass reads messages and writes the provider's events."""

    # The field of an audio message that holds the base64, where audio is that.
    audio_field: ClassVar[str] = ""

    def __init__(self, stage: Stage, wire: Wire, conn: int) -> None:
        super().__init__(stage, wire, conn)
        self._bad_base64 = False
        self._held: list[tuple[JSON, Generation | None]] = []

    @property
    def live(self) -> bool:
        return self.wire.open

    # The provider's part

    def opened(self) -> None:
        """Do what the provider does right after the upgrade. Called once, before any message."""

    @abstractmethod
    def receive(self, message: JSON) -> None:
        """Handle a JSON object. Called for each that the client sends, until the close."""

    @abstractmethod
    def reject(self, message: str) -> None:
        """
        Answer something that is no message of this protocol at all.

        Called for what is no JSON object; for an object of an unknown kind, `receive` may call it.
        """

    @abstractmethod
    def generation_of(self, message: JSON) -> Generation | None:
        """Tell for the log which open generation a message belongs to. Called for each."""

    def confides(self, message: JSON) -> str:
        """
        Return the key in a message, to be kept out of the log; empty if there is none.

        Called for each message before it is logged; only for protocols that send the key in one.
        """
        return ""

    def pinged(self) -> None:
        """Note that a ping was read. The pong is sent without this."""

    # Running

    async def run(self) -> None:
        """Serve the socket until it is gone."""
        try:
            self.opened()
            self.faults(Moment.OPEN)
            await self.wire.unless_silent()
            async for message in self.wire.messages():
                self._take(message)
        finally:
            await self.clear()

    def _take(self, message: Message) -> None:
        match message:
            case Ping(data):
                self.log("ping", bytes=len(data))
                self.pinged()
            case Closed(code, reason):
                self.log("close", by="client", code=code, reason=reason)
            case bytes():
                self.log("recv", frame={"binary_bytes": len(message)})
                if self.wire.open:
                    self.violation("a binary message")
                    self.reject("Binary messages are not supported")
            case str():
                self._take_text(message)

    def _take_text(self, text: str) -> None:
        try:
            frame = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            frame = None
        if not isinstance(frame, dict):
            self.log("recv", frame={"unparsed": self.stage.log.scrub(text)[:200]})
            if self.wire.open:
                self.violation("a message that is no JSON object")
                self.reject("Message is not a JSON object")
            return
        self.stage.log.hide(self.confides(frame))
        self.log("recv", self.generation_of(frame), frame=frame)
        if self.wire.open:
            self.receive(frame)

    # Sending

    def send(self, frame: JSON, gen: Generation | None = None) -> None:
        """
        Send a JSON message, unless the connection is closing; later if a fault holds it.

        Pass the generation that it is about, so that the log says whose it was.
        """
        if not self._going.is_set():
            self._held.append((frame, gen))
        elif self.wire.open:
            self.log("send", gen, frame=frame)
            self.wire.send_text(msgspec.json.encode(frame))

    def send_audio(self, frame: JSON, gen: Generation, data: bytes) -> None:
        """
        Send an audio message; *frame* is all of it but the base64 of *data*.

        Call it in `audio`, where the protocol has audio as base64 in JSON: it goes to the field
        that `audio_field` names.
        """
        if not self.wire.open:
            return
        encoded = pybase64.b64encode(data).decode()
        logged: JSON = {**frame, "audio_bytes": len(data)}
        if gen.bad_base64 or self._bad_base64:
            gen.bad_base64 = self._bad_base64 = False
            encoded = "?" + encoded[1:-1] + "!"
            logged["bad_base64"] = True
        self.log("send", gen, frame=logged, chunk=gen.chunks, after_interrupt=gen.interrupted)
        self.wire.send_text(msgspec.json.encode({**frame, self.audio_field: encoded}))

    def send_sound(self, gen: Generation, data: bytes) -> None:
        """Send a binary message that is nothing but *data*. Call it in `audio`."""
        if self.wire.open:
            facts = {"chunk": gen.chunks, "after_interrupt": gen.interrupted}
            self.log("send", gen, frame={"audio_bytes": len(data)}, **facts)
            self.wire.send_binary(data)

    def close(self, code: int, reason: str = "") -> None:
        """
        Start the closing handshake; all open generations are cut.

        *code* is the WebSocket close code; nothing is sent, or given to `receive`, afterwards.
        """
        if self.wire.open:
            self.log("close", by="server", code=code, reason=reason)
        for gen in list(self.open.values()):
            self.cut(gen, "close")
        self.wire.close(code, reason)

    # Faults

    def act_here(self, fault: Fault, gen: Generation | None) -> None:
        match fault.action:
            case "close":
                self.close(fault.code, fault.reason)
            case "garbage":
                self.log("send", gen, frame={"unparsed": '{"type": "garb'})
                self.wire.send_text(b'{"type": "garb')
            case "binary":
                self.log("send", gen, frame={"binary_bytes": 4})
                self.wire.send_binary(b"\x00\x01\x02\x03")
            case "badb64":
                if gen is None:
                    self._bad_base64 = True
                else:
                    gen.bad_base64 = True

    def _let_go(self) -> None:
        super()._let_go()
        held, self._held = self._held, []
        for frame, gen in held:
            self.send(frame, gen)
