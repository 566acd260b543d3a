"""
KugelAudio over HTTP: a sentence a request, its audio as the body of the answer.

Wire facts are from docs.kugelaudio.com (generate, errors).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import ClassVar

import attrs

from ..adapter import (
    Audio,
    Failed,
    Frame,
    Generation,
    Handshake,
    Options,
    OutputEnd,
    Signal,
    Traits,
    Wire,
    json_frame,
    printable,
)
from ..errors import GenerationError, RemoteProtocolError
from . import _http
from ._kugelaudio import HTTP, UNREADABLE, KugelVoice, credentials, error_of, faults, host

_PCM, _G711 = "audio/pcm", "audio/basic"
_RATE = re.compile(r"[0-9]{1,6}")
_LONGEST_ERROR = 4096


@attrs.frozen(kw_only=True)
class KugelAudioRest(KugelVoice):
    """
    KugelAudio's text to speech over HTTP, without word times.

    The attributes are those of `KugelAudio`, but for what only a socket has.
    """

    traits: ClassVar[Traits] = HTTP

    def pool_key(self, options: Options) -> Hashable:
        return options.format.name

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        headers = {**credentials(secret), "Content-Type": "application/json"}
        return Handshake(url=f"https://{host(secret)}/v1/tts/generate", headers=headers)

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        settings = self.settings(gen.options)
        return (json_frame({"text": piece, **self.voice_settings(gen.options), **settings}),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return self.decode_binary(data, wire)

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        kind, asked = _http.media_type(wire), wire.options.format
        if kind == (_PCM if asked.encoding == "pcm" else _G711):
            rate = wire.headers.get("x-sample-rate", "")
            known = int(rate) if _RATE.fullmatch(rate) else None
            return (Audio(data, rate=known),) if data else (OutputEnd(),)
        if kind != "application/json":
            msg = f"the answer is {printable(kind, 40) or 'of no kind'} instead of {asked}"
            raise RemoteProtocolError(msg)
        # A success by its status only. People will read it, so a part is enough.
        body = wire.scratch.setdefault("body", bytearray())
        assert isinstance(body, bytearray), "it is ours"
        if data:
            body += data[: _LONGEST_ERROR - len(body)]
            return ()
        try:
            return (Failed(error_of(faults.decode(body))),)
        except UNREADABLE:
            return (Failed(GenerationError("the answer is JSON instead of audio")),)
