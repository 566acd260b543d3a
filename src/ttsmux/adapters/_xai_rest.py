"""
xAI over HTTP: a whole text or a sentence a request.

Wire facts are from docs.x.ai (text-to-speech guide, voice API reference); see docs/providers/xai.md
for what those leave open and what was chosen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar

import attrs
import msgspec

from ..adapter import (
    Audio,
    Frame,
    Generation,
    Handshake,
    Input,
    Options,
    OutputEnd,
    Signal,
    Traits,
    Wire,
    json_frame,
    printable,
)
from ..audio import AudioFormat
from ..errors import RemoteProtocolError
from . import _http
from ._xai import (
    FORMATS,
    MAX_TEXT,
    NO_TIMES,
    UNREADABLE,
    XAIVoice,
    credentials,
    decoded,
    unfinished,
    word_marks,
)

_ENCODINGS = {
    "audio/pcm": "pcm",
    "audio/basic": "mulaw",
    "audio/alaw": "alaw",
    "audio/mpeg": "mp3",
}


class _Answer(msgspec.Struct):
    """The answer to a request for times."""

    audio: str
    content_type: object = None
    audio_timestamps: msgspec.Raw = NO_TIMES


_answers = msgspec.json.Decoder(_Answer)


@attrs.frozen(kw_only=True)
class XAIRest(XAIVoice):
    """
    xAI's text to speech over HTTP: ``POST /v1/tts``, a whole text or a sentence a request.

    The answer is the audio, as it is made. With times it is one JSON object, at the end.

    Attributes:
        speed, optimize_streaming_latency, text_normalization: as on the socket.
        with_timestamps: whether word times are asked for; no audio comes then before all is made.
    """

    traits: ClassVar[Traits] = Traits(
        reusable=False,
        input=Input.WHOLE,
        max_text=MAX_TEXT,
        ping=None,
        formats=FORMATS,
        voice="eve",
        language="auto",
        key_variable="XAI_API_KEY",
    )

    def pool_key(self, options: Options) -> Hashable:
        # What an answer looks like; all else is in the request.
        return options.format.name, self.with_timestamps

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url="https://api.x.ai/v1/tts",
            headers=credentials(secret),
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        options = gen.options
        request: dict[str, object] = {
            "text": piece,
            "language": options.language,
            "voice_id": options.voice,
            "output_format": {"codec": options.format.encoding, "sample_rate": options.format.rate},
            **self._settings(),
        }
        return (json_frame(request),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        raise RemoteProtocolError("a text message came in place of an HTTP answer")

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        if not self.with_timestamps:
            _check(_http.media_type(wire), wire.options.format)
            return _http.audio(data, wire)
        body = _http.whole(data, wire)
        return () if body is None else _timed(body, wire.options.format)


def _check(kind: str, wanted: AudioFormat) -> None:
    """Check that what is said to be in an answer is not known to be something else."""
    if _ENCODINGS.get(kind, wanted.encoding) != wanted.encoding:
        raise _other(kind, wanted)


def _other(kind: str, wanted: AudioFormat) -> RemoteProtocolError:
    msg = f"the answer is {printable(kind, 60)}, not the audio asked for, {wanted}"
    return RemoteProtocolError(msg, retryable=False)


def _timed(body: bytes, wanted: AudioFormat) -> list[Signal]:
    try:
        answer = _answers.decode(body)
    except UNREADABLE as exc:
        raise RemoteProtocolError("the answer is not the JSON it should be") from exc
    kind = _http.essence(answer.content_type) if isinstance(answer.content_type, str) else ""
    if kind and not _http.is_bare(kind):
        raise _other(kind, wanted)
    _check(kind, wanted)
    scratch: dict[str, object] = {}
    times = answer.audio_timestamps
    marks = word_marks(times, scratch) if times is not NO_TIMES else []
    return [*marks, *unfinished(scratch), Audio(decoded(answer.audio)), OutputEnd()]
