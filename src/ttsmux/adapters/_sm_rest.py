"""
SM over REST: a request a sentence, its audio as the body of the answer.

Wire facts are from docs.withsm.ai (rest-api, guides/errors); see docs/providers/sm.md for what
those leave open and what was chosen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar

import attrs

from ..adapter import (
    Frame,
    Generation,
    Handshake,
    Note,
    Options,
    Signal,
    Traits,
    Wire,
)
from . import _http
from ._sm import SMVoice


@attrs.frozen(kw_only=True)
class SMRest(SMVoice):
    """The voices of `SM` over REST, a request a sentence; the options are the same."""

    traits: ClassVar[Traits] = attrs.evolve(
        SMVoice.traits, reusable=False, ping=None, max_idle=None, max_age=None
    )

    def pool_key(self, options: Options) -> Hashable:
        where = self.deployment, self.host, self.rest_path, self._key_place, self.key_name
        return options.format.name, *where

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        path = self.rest_path
        url = self._url("http", path or "/v1/tts/audio/speech", path or "/v1/audio/speech")
        # There is no message before the request here.
        first = self._key_place == "first-message"
        shake = self._signed(url, secret, "header-api-key" if first else self._key_place)
        return attrs.evolve(shake, headers={"Content-Type": "application/json", **shake.headers})

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        # The key is another than on the socket, and the default format would be MP3.
        fields: dict[str, object] = {"input": piece, "response_format": self.rest_format}
        return (self._request(gen.options, fields, "speed"),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return (Note("text"),)  # an answer's body is bytes

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return _http.audio(data, wire)
