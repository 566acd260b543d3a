"""
xAI over HTTP: ``POST /v1/tts`` with a JSON body, answered with the audio, or with JSON if times are
asked for. MP3, the vendor's default, is not simulated: asking for it is answered with 400.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
import pybase64

from .engines import Word
from .exchange import Exchange, Order
from .generation import Chunk, Generation
from .pronounce import Pronunciation, check_map
from .provider import Stage, read_json
from .sound import Encoding
from .speaking import JSON
from .wire import Request, Response, Wire
from .xai_setup import CODECS, LANGUAGE, VOICES, spell

if TYPE_CHECKING:
    from .xai import XAI

MAX_TEXT = 15_000
RATES = (8000, 16000, 22050, 24000, 44100, 48000)
CONTENT_TYPES = {"pcm": "audio/pcm", "mulaw": "audio/basic", "alaw": "audio/alaw"}


def _is_speed(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.7 <= value <= 1.5


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


FIELDS: Mapping[str, Callable[[object], bool]] = {
    "speed": _is_speed,
    "optimize_streaming_latency": lambda value: value in (0, 1, 2),
    "text_normalization": _is_flag,
    "with_timestamps": _is_flag,
    "replace": lambda value: check_map(value) is None,
}


def answer(
    provider: XAI, stage: Stage, wire: Wire, conn: int, request: Request
) -> Response | Exchange:
    """Answer a request to the one path there is."""
    if request.method != "POST":
        return provider.refusal(405, "POST, or ask for a WebSocket")
    if not provider.authorizes(request):
        return provider.refusal(401, "Missing or invalid API key")
    body = read_json(request)
    if body is None:
        return provider.refusal(400, "The body is no JSON object")
    # Seen in a live test, where everything else that is wrong is a 400.
    if "language" not in body or "text" not in body:
        return provider.refusal(422, "text and language are required")
    order = _order(provider, body)
    if isinstance(order, Response):
        return order
    if body.get("with_timestamps") is True:
        return TimedExchange(stage, wire, conn, order)
    return Exchange(stage, wire, conn, order)


def _order(provider: XAI, body: JSON) -> Order | Response:
    text, language = body["text"], body["language"]
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT:
        return provider.refusal(400, f"text must have 1 to {MAX_TEXT} characters")
    if not isinstance(language, str) or not LANGUAGE.fullmatch(language):
        return provider.refusal(400, "language must be auto or a BCP-47 tag")
    for name, accepts in FIELDS.items():
        if name in body and not accepts(body[name]):
            return provider.refusal(400, f"invalid {name}")
    voice = body.get("voice_id", provider.default_voice)
    if not isinstance(voice, str):
        return provider.refusal(400, "voice_id must be a string")
    if voice.lower() not in VOICES and voice not in provider.custom_voices:
        return provider.refusal(404, f"voice {voice!r} not found")
    format = body.get("output_format", {})
    if not isinstance(format, dict):
        return provider.refusal(400, "output_format must be an object")
    codec, rate = format.get("codec", "mp3"), format.get("sample_rate", 24000)
    if codec not in (*CODECS, "wav"):
        return provider.refusal(400, f"codec {codec!r} is not simulated; use pcm, wav, mulaw, alaw")
    if rate not in RATES:
        return provider.refusal(400, "invalid sample_rate")
    encoding = Encoding(rate, wav=True) if codec == "wav" else Encoding(rate, CODECS[codec])
    replace = body.get("replace", {})
    assert isinstance(replace, dict), "checked with the other fields"
    return Order(
        text=Pronunciation(replace).advance(text, final=True),
        voice=voice,
        language=None if language == "auto" else language,
        encoding=encoding,
        content_type="audio/wav" if encoding.wav else CONTENT_TYPES[encoding.codec],
    )


class TimedExchange(Exchange):
    """One JSON object, when all is made: audio, its type, its length, and when each sound is."""

    def __init__(self, stage: Stage, wire: Wire, conn: int, order: Order) -> None:
        super().__init__(stage, wire, conn, order)
        self._audio = bytearray()
        self._words: list[Word] = []
        self._duration = 0.0

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        self._audio += chunk.data
        self._words += chunk.words
        self._duration = chunk.stop

    def done(self, gen: Generation, *, marker: bool) -> None:
        timing = spell(self._words, 0.0)
        spans = [list(pair) for pair in timing.times]
        frame: JSON = {
            "content_type": self.order.content_type,
            "duration": round(self._duration, 4),
            "audio_timestamps": {"graph_chars": timing.chars, "graph_times": spans},
        }
        audio = pybase64.b64encode(bytes(self._audio)).decode()
        logged: JSON = {**frame, "audio_bytes": len(self._audio)}
        self.begin_answer(gen, content_type="application/json")
        self.send(gen, msgspec.json.encode({**frame, "audio": audio}), logged)
        self.finish(gen, short=not marker)
