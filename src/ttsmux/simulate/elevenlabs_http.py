"""
ElevenLabs over HTTP: ``POST /v1/text-to-speech/{voice}/stream``, answered with the bare audio, and
``/stream/with-timestamps``, answered with lines of JSON. Without ``/stream``, which is what the
vendor's own package asks for where it does not stream, the answer comes when all of it is made.

Times are in seconds and count from the beginning of the answer, which no page says or denies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .elevenlabs_rules import (
    DEFAULT_MODEL,
    FORMATS,
    Refusal,
    Refused,
    characters,
    check_format,
    check_locators,
    check_model,
    check_settings,
    limit_of,
)
from .exchange import Exchange, Order
from .generation import Chunk, Generation
from .provider import Stage, read_json
from .speaking import JSON
from .wire import Request, Response, Wire

if TYPE_CHECKING:
    from .elevenlabs import ElevenLabs

PATH = re.compile(r"/v1/text-to-speech/([^/]+)(?:(/stream)(/with-timestamps)?)?")
FIELDS = frozenset(
    {
        "text",
        "model_id",
        "language_code",
        "voice_settings",
        "pronunciation_dictionary_locators",
        "seed",
        "previous_text",
        "next_text",
        "previous_request_ids",
        "next_request_ids",
        "apply_text_normalization",
        "apply_language_text_normalization",
        "use_pvc_as_ivc",
        "audio_effects",
    }
)
QUERY = frozenset({"output_format", "enable_logging", "optimize_streaming_latency"})
HTTP_MODELS = ("eleven_v3", "eleven_v4", "eleven_v4_turbo")


def answer(
    provider: ElevenLabs, stage: Stage, wire: Wire, conn: int, request: Request
) -> Response | Exchange | None:
    """Answer a request to `PATH`; None for any other."""
    found = PATH.fullmatch(request.path)
    if found is None:
        return None
    if request.method != "POST":
        return provider.refusal(405, "Method Not Allowed")
    if not provider.accepts(request):
        return provider.refusal(401, "Invalid API key")
    body = read_json(request)
    if body is None or not isinstance(body.get("text"), str):
        return provider.refusal(422, "text: Field required")
    for name in sorted((body.keys() - FIELDS) | (request.query.keys() - QUERY)):
        stage.log.add("violation", conn=conn, message=f"unknown field {name!r}; it is ignored")
    voice, streamed, timed = found.groups()
    refusal = _check(provider, request, body, voice)
    if refusal is not None:
        return provider.answer(refusal)
    encoding = FORMATS[request.query["output_format"]]
    text, language = str(body["text"]), body.get("language_code")
    order = Order(
        text=text,
        voice=voice,
        language=language if isinstance(language, str) else None,
        encoding=encoding,
        content_type="application/json" if timed else _content_type(encoding.codec),
        headers=(("request-id", f"rq_{conn}"), ("character-cost", str(len(text)))),
        whole=streamed is None,
    )
    kind = TimedExchange if timed else SpeechExchange
    return kind(provider, stage, wire, conn, order)


def _check(provider: ElevenLabs, request: Request, body: JSON, voice: str) -> Refusal | None:
    model = body.get("model_id", DEFAULT_MODEL)
    text = str(body["text"])
    limit = limit_of(model)
    if not text.strip():
        return Refusal(400, "validation_error", "empty_text", "text is empty")
    if len(text) > limit:
        words = f"text has {len(text)} characters, {limit} at most"
        return Refusal(400, "validation_error", "text_too_long", words)
    try:
        check_settings(body.get("voice_settings"))
        check_locators(body.get("pronunciation_dictionary_locators"))
    except Refused as exc:
        code, words = exc.args
        return Refusal(400, "validation_error", code, words)
    if str(model).startswith("eleven_v3") and {"previous_text", "next_text"} & body.keys():
        return Refusal(400, "invalid_request", "invalid_parameters", "no neighbours with eleven_v3")
    return (
        check_format(request.query)
        or check_model(model, body.get("language_code"), HTTP_MODELS)
        or provider.check_voice(voice)
    )


def _content_type(codec: str) -> str:
    return "audio/pcm" if codec == "pcm" else "audio/basic"


class SpeechExchange(Exchange):
    """The audio and nothing else."""

    def __init__(
        self, provider: ElevenLabs, stage: Stage, wire: Wire, conn: int, order: Order
    ) -> None:
        super().__init__(stage, wire, conn, order)
        self.provider = provider

    def failed(self, gen: Generation | None, message: str) -> None:
        """Answer with a 500, or, as was seen, with a success whose body is no audio."""
        assert gen is not None, "an exchange is its generation"
        response = self.provider.refusal(500, message)
        if gen.chunks:
            super().failed(gen, message)
        elif self.provider.http_error == "status":
            self.cut(gen, "error")
            self.refuse(response)
        else:
            self.begin_answer(gen, content_type="application/json")
            self.send(gen, response.body, {"detail": message})
            self.finish(gen)
            self.cut(gen, "error")


class TimedExchange(SpeechExchange):
    """Lines of JSON: audio with the times of the words that begin in it."""

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        early = self.provider.timing == "first"
        words = (*chunk.words, *gen.ahead()) if early else chunk.words
        chars = [char for word in words for char in characters(word)]
        line: JSON = {"alignment": None, "normalized_alignment": None}
        if chars:
            line["alignment"] = {
                "characters": [char for char, _, _ in chars],
                "character_start_times_seconds": [round(start, 4) for _, start, _ in chars],
                "character_end_times_seconds": [round(stop, 4) for _, _, stop in chars],
            }
        self.send_audio_line(gen, line, "audio_base64", chunk.data)
