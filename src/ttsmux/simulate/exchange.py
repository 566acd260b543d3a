"""
One HTTP request that is answered with speech. How it is spoken is in `speaking`.

The files of the providers make an `Exchange` in `Provider.request`, once the request is found to be
right; one whose body is more than bare audio derives from it. The answer's head goes out with the
first piece, so that what fails before it can still be answered with a status.
"""

from __future__ import annotations

import asyncio

import attrs
import msgspec
import pybase64

from .faults import Fault, Moment
from .generation import Chunk, Generation
from .provider import Stage
from .sound import Encoding
from .speaking import JSON, Speaker
from .wire import Response, Wire


@attrs.frozen(kw_only=True)
class Order:
    """
    What a request asks for, and how its answer looks.

    *whole*: the answer is sent when all of it is made, with a Content-Length; else it is chunked.
    """

    text: str
    voice: str
    language: str | None
    encoding: Encoding
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    whole: bool = False


class Exchange(Speaker):
    """An answer whose body is the audio and nothing else."""

    def __init__(self, stage: Stage, wire: Wire, conn: int, order: Order) -> None:
        super().__init__(stage, wire, conn)
        self.order = order
        self._begun = False
        self._sent = 0
        self._whole = bytearray()

    @property
    def live(self) -> bool:
        return self.wire.alive

    async def run(self) -> None:
        """Answer to the end, or until the client leaves."""
        order = self.order
        try:
            gen = self.create(None, order.voice, order.language, order.encoding)
            self.say(gen, order.text)
            gen.feed.end()
            gen.touch()
            self.faults(Moment.OPEN, gen)
            if gen.over or not self.begin(gen):
                return
            assert gen.task is not None, "it has begun"
            leaving = asyncio.ensure_future(self.wire.left())
            try:
                await asyncio.wait((gen.task, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
            if gen.task.done() and not gen.task.cancelled():
                gen.task.result()
        finally:
            await self.clear()

    # The provider's part

    def say(self, gen: Generation, text: str) -> None:
        """Feed the text to *gen*, with what the provider does to it."""
        gen.feed.add(text)

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        self.send(gen, chunk.data, {"audio_bytes": len(chunk.data)})

    def done(self, gen: Generation, *, marker: bool) -> None:
        self.finish(gen, short=not marker)

    def failed(self, gen: Generation | None, message: str) -> None:
        """Answer with a 500; where the answer has begun, hang up in the middle of its body."""
        assert gen is not None, "an exchange is its generation"
        self.cut(gen, "error")
        if not self._begun:
            self.refuse(Response(500, message.encode(), "text/plain"))
        else:
            self.wire.eof()

    # Sending

    def refuse(self, response: Response) -> None:
        """Answer with an error instead, before anything was sent."""
        self.stage.log.add(
            "refused",
            conn=self.conn,
            status=response.status,
            path=None,
            message=response.body.decode("utf-8", "replace"),
        )
        self._begun = True
        self.wire.respond(response)

    def begin_answer(
        self, gen: Generation, length: int | None = None, content_type: str | None = None
    ) -> None:
        """Send the head, unless it was sent."""
        if self._begun or not self.live:
            return
        self._begun = True
        content_type = content_type or self.order.content_type
        self.log("answer", gen, status=200, content_type=content_type)
        sized = () if length is None else (("Content-Length", str(length)),)
        self.wire.head(200, (("Content-Type", content_type), *sized, *self.order.headers))

    def send(self, gen: Generation, data: bytes, frame: JSON) -> None:
        """Send a piece of the body, logged as *frame*."""
        if not self.live:
            return
        self.log("send", gen, frame=frame, chunk=gen.chunks)
        self._sent += len(data)
        if self.order.whole:
            self._whole += data
            return
        self.begin_answer(gen)
        self.wire.piece(data)

    def send_line(self, gen: Generation, message: JSON) -> None:
        """Send a line of JSON."""
        self.send(gen, msgspec.json.encode(message) + b"\n", message)

    def send_audio_line(self, gen: Generation, message: JSON, field: str, data: bytes) -> None:
        """Send a line of JSON with the base64 of *data* in *field*."""
        encoded = pybase64.b64encode(data).decode()
        logged: JSON = {**message, "audio_bytes": len(data)}
        if gen.bad_base64:
            gen.bad_base64 = False
            encoded = "?" + encoded[1:-1] + "!"
            logged["bad_base64"] = True
        self.send(gen, msgspec.json.encode({**message, field: encoded}) + b"\n", logged)

    def finish(self, gen: Generation, *, short: bool = False) -> None:
        """End the body; if *short*, hang up just before its end."""
        if not self.live:
            return
        if self.order.whole:
            self.begin_answer(gen, len(self._whole))
            self.wire.piece(bytes(self._whole[: -1 if short else None]))
        self.begin_answer(gen)
        if short:
            self.wire.eof()
            return
        self.log("answered", gen, body_bytes=self._sent)
        self.wire.end()

    # Faults

    def act_here(self, fault: Fault, gen: Generation | None) -> None:
        assert gen is not None, "an exchange is its generation"
        match fault.action:
            case "close":
                self.cut(gen, "close")
                self.wire.eof()
            case "garbage":
                self.begin_answer(gen)
                self.wire.garbage()
            case "badb64":
                gen.bad_base64 = True
