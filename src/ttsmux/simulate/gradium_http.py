"""
Gradium over HTTP: ``POST /api/post/speech/tts``, answered with the bare audio (``only_audio``) or
with lines of JSON, the messages of the socket.

Errors are as inconsistent as the vendor's pages have them: a bad key is a 500 in plain text, a
field that is missing a 422 in JSON, and what fails in the middle of lines is a line of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .exchange import Exchange, Order
from .generation import Chunk, Generation
from .gradium_setup import (
    FRAME_SIZE,
    NATIVE_RATE,
    POLICY,
    Refused,
    feed_marked_up,
    read_setup,
)
from .provider import Stage, read_json
from .speaking import JSON
from .wire import Request, Response, Wire

if TYPE_CHECKING:
    from .gradium import Gradium

PATH = "/api/post/speech/tts"
REQUIRED = ("text", "voice_id", "output_format")
# `pronunciation_id` is for the socket only.
FIELDS = {*REQUIRED, "model_name", "json_config", "only_audio"}


def answer(
    provider: Gradium, stage: Stage, wire: Wire, conn: int, request: Request
) -> Response | Exchange:
    """Answer a request to `PATH`."""
    if request.method != "POST":
        return _detail(405, "Method Not Allowed")
    if not provider.accepts(request):
        return _from_server(POLICY, "API key is revoked or expired")
    body = read_json(request)
    if body is None:
        return _detail(422, "The body is no JSON object")
    for name in REQUIRED:
        if not isinstance(body.get(name), str) or not body[name]:
            return _detail(422, f"Field required: {name}")
    if unknown := sorted(body.keys() - FIELDS):
        stage.log.add("violation", conn=conn, message=f"unknown fields {unknown}; ignored")
    if not isinstance(body.get("only_audio", False), bool):
        return _detail(422, "only_audio must be a boolean")
    if provider.full(stage):
        return _from_server(POLICY, "Concurrency limit exceeded")
    try:
        setup = read_setup(provider, {name: body[name] for name in body.keys() & FIELDS})
    except Refused as exc:
        text, code = exc.args
        return _from_server(code, text)
    plain = body.get("only_audio") is True
    order = Order(
        text=str(body["text"]),
        voice=setup.voice,
        language=setup.language,
        encoding=setup.encoding,
        content_type=_content_type(setup.encoding.wav) if plain else "application/x-ndjson",
        headers=(("x-gradium-residency", "none"),),
    )
    if plain:
        return AudioExchange(stage, wire, conn, order)
    return LinesExchange(provider, setup.model, stage, wire, conn, order)


def _content_type(wav: bool) -> str:
    return "audio/wav" if wav else "audio/pcm"


def _from_server(code: int, text: str) -> Response:
    return Response(500, f"error from server {code}: {text}".encode(), "text/plain")


def _detail(status: int, text: str) -> Response:
    return Response(status, msgspec.json.encode({"detail": text}))


class AudioExchange(Exchange):
    """The audio and nothing else; markup is read as on the socket."""

    def say(self, gen: Generation, text: str) -> None:
        feed_marked_up(gen.feed, text)


class LinesExchange(AudioExchange):
    """The messages of the socket, a line each."""

    def __init__(
        self, provider: Gradium, model: str, stage: Stage, wire: Wire, conn: int, order: Order
    ) -> None:
        super().__init__(stage, wire, conn, order)
        self.provider = provider
        self._model = model

    async def prepare(self, gen: Generation) -> None:
        await self.gate(gen)
        rate = gen.encoding.rate if self.provider.ready_rate == "asked" else NATIVE_RATE
        ready: JSON = {
            "type": "ready",
            "request_id": f"rq_{gen.number:04x}",
            "model_name": self._model,
            "sample_rate": rate,
            "frame_size": FRAME_SIZE,
        }
        self.send_line(gen, ready)

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        if self.provider.words == "before":
            self._words(gen, chunk)
        times: JSON = {"start_s": round(chunk.start, 4), "stop_s": round(chunk.stop, 4)}
        self.send_audio_line(gen, {"type": "audio", **times}, "audio", chunk.data)
        if self.provider.words == "after":
            self._words(gen, chunk)

    def _words(self, gen: Generation, chunk: Chunk) -> None:
        for word in chunk.words:
            times: JSON = {"start_s": round(word.start, 4)}
            if self.provider.word_stops:
                times["stop_s"] = round(word.stop, 4)
            self.send_line(gen, {"type": "text", "text": word.text, **times})

    def done(self, gen: Generation, *, marker: bool) -> None:
        if self.provider.line_end and marker:
            self.send(gen, b'{"type":"end_of_stream"}', {"type": "end_of_stream"})
        self.finish(gen, short=not marker)

    def failed(self, gen: Generation | None, message: str) -> None:
        assert gen is not None, "an exchange is its generation"
        self.send_line(gen, {"type": "error", "message": message})
        self.finish(gen)
        self.cut(gen, "error")
