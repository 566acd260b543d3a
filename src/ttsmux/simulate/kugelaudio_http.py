"""
KugelAudio over HTTP: ``POST /v1/tts/generate``, answered with the bare audio while it is made.

Fields that are not known are refused here, other than on the sockets; so are word times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import Exchange, Order
from .generation import Generation
from .kugelaudio_settings import (
    COMMON,
    NAMES,
    STATUS,
    VOICE,
    Refused,
    check_text,
    check_types,
)
from .provider import Stage, read_json
from .wire import Request, Response, Wire

if TYPE_CHECKING:
    from .kugelaudio import KugelAudio

PATH = "/v1/tts/generate"


def answer(
    provider: KugelAudio, stage: Stage, wire: Wire, conn: int, request: Request
) -> Response | Exchange:
    """Answer a request to `PATH`."""
    if request.method != "POST":
        return provider.refusal(405, "Method not allowed", "VALIDATION_ERROR")
    if not provider.accepts(request):
        return provider.refusal(int(provider.key_status), "Invalid API key", "UNAUTHORIZED")
    try:
        body = read_json(request)
        if body is None:
            raise Refused("the body is no JSON object", "VALIDATION_ERROR")
        if unknown := sorted(body.keys() - {"text", *VOICE, *COMMON}):
            raise Refused(f"unknown fields: {', '.join(unknown)}", "VALIDATION_ERROR")
        check_types(body, {**VOICE, **COMMON})
        text = check_text(body.get("text"))
        settings = provider.settings(body)
    except Refused as exc:
        words, name = exc.args
        stage.log.add("violation", conn=conn, message=words)
        return provider.refusal(STATUS[name], words, name)
    encoding = settings.encoding
    order = Order(
        text=text,
        voice=settings.voice,
        language=settings.language,
        encoding=encoding,
        content_type="audio/pcm" if encoding.codec == "pcm" else "audio/basic",
        headers=(
            ("X-Sample-Rate", str(encoding.rate)),
            ("X-Audio-Format", NAMES[encoding.codec]),
            ("X-KugelAudio-AI-Generated", "true"),
            ("x-request-id", "9f2c"),
        ),
    )
    return Generate(provider, stage, wire, conn, order)


class Generate(Exchange):
    """The audio of one text; what fails before there is any is answered with an error."""

    def __init__(
        self, provider: KugelAudio, stage: Stage, wire: Wire, conn: int, order: Order
    ) -> None:
        super().__init__(stage, wire, conn, order)
        self._provider = provider

    def failed(self, gen: Generation | None, message: str) -> None:
        assert gen is not None, "an exchange is its generation"
        if self._begun:
            super().failed(gen, message)
            return
        self.cut(gen, "error")
        name = self._provider.error_code
        refusal = self._provider.refusal(STATUS.get(name, 500), message, name)
        self.refuse(refusal)
