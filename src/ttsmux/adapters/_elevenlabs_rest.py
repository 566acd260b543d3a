"""
ElevenLabs over HTTP: a request a sentence, its audio the answer.

Wire facts are from elevenlabs.io/docs (text-to-speech stream, stream with timestamps, errors); see
docs/providers/elevenlabs.md for what those leave open and what was chosen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar

import attrs
import msgspec

from ..adapter import (
    Audio,
    Closed,
    DialFailure,
    Failed,
    Frame,
    Generation,
    Handshake,
    Input,
    Options,
    OutputEnd,
    Scope,
    Signal,
    Traits,
    Verdict,
    Wire,
    json_frame,
)
from ..errors import RemoteProtocolError
from . import _http
from ._elevenlabs import (
    FORMATS,
    UNREADABLE,
    ElevenLabsSettings,
    decoded,
    detail_of,
    language_of,
    present,
    query,
    refused,
    reported,
    wire_format,
)
from ._elevenlabs_times import NO_TIMES, in_seconds, track

_PCM, _G711 = "audio/pcm", "audio/basic"


class _Line(msgspec.Struct):
    """A line of an answer with times, or an error in its place."""

    audio_base64: str | None = None
    # Read apart: times that make no sense cost no audio.
    alignment: msgspec.Raw = NO_TIMES
    normalized_alignment: msgspec.Raw = NO_TIMES
    detail: msgspec.Raw = NO_TIMES


_lines = msgspec.json.Decoder(_Line)


@attrs.frozen(kw_only=True)
class ElevenLabsRest(ElevenLabsSettings):
    """ElevenLabs' text to speech over HTTP, for where its sockets cannot be had."""

    name: ClassVar[str] = "elevenlabs"
    traits: ClassVar[Traits] = Traits(
        reusable=False,
        input=Input.WHOLE,
        # What the model with the smallest limit takes in one request.
        max_text=3_000,
        ping=None,
        formats=FORMATS,
        voice_required=True,
        model="eleven_flash_v2_5",
        key_variable="ELEVENLABS_API_KEY",
    )

    def pool_key(self, options: Options) -> Hashable:
        return self._url(options)

    def _url(self, options: Options) -> str:
        route = "stream/with-timestamps" if self.with_timestamps else "stream"
        settings = query(output_format=wire_format(options), enable_logging=self.enable_logging)
        return f"https://{self.path(options)}/{route}?{settings}"

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url=self._url(options),
            headers={
                "content-type": "application/json",
                **({"xi-api-key": secret} if secret else {}),
            },
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        body = present(
            text=piece,
            model_id=gen.options.model,
            language_code=language_of(gen.options),
            voice_settings=self.voice_settings or None,
            pronunciation_dictionary_locators=self.locators or None,
            seed=self.seed,
            apply_text_normalization=self.apply_text_normalization,
            apply_language_text_normalization=self.apply_language_text_normalization,
        )
        return (json_frame(body),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        msg = "a text message came where there is only the body of an answer"
        raise RemoteProtocolError(msg)

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        kind = _http.media_type(wire)
        if kind.startswith("audio/"):
            wanted = wire.options.format
            if kind == (_G711 if wanted.encoding == "pcm" else _PCM):
                msg = f"the answer is {kind}, not the audio asked for, {wanted}"
                raise RemoteProtocolError(msg, retryable=False)
            return _http.audio(data, wire)
        signals = [found for line in _http.lines(data, wire) for found in self._line(line, wire)]
        return signals if data else [*signals, *track(wire.scratch, None).rest(None), OutputEnd()]

    def _line(self, data: bytes, wire: Wire) -> list[Signal]:
        try:
            line = _lines.decode(data)
        except UNREADABLE as exc:
            msg = "the answer is neither audio nor the JSON it should be"
            raise RemoteProtocolError(msg) from exc
        if line.detail != NO_TIMES:
            code, words = detail_of(data.decode(errors="replace"))
            return [Failed(reported(code, None, words))]
        both = [line.alignment, line.normalized_alignment]
        if self.pronunciation_dictionaries:
            both.reverse()
        spoken = track(wire.scratch, None)
        times = next((found for raw in both if (found := in_seconds(raw))), [])
        signals = spoken.words(None, times)
        if line.audio_base64:
            signals.append(Audio(decoded(line.audio_base64)))
        return signals

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        if isinstance(fault, DialFailure) and fault.status is not None:
            return Verdict(Scope.CONNECTION, refused(fault))
        return super().verdict(fault, busy)
