"""
Gradium over HTTP: a whole text or a sentence a request.

Wire facts are from docs.gradium.ai (guides/text-to-speech-rest, errors); see
docs/providers/gradium.md for what those leave open and what was chosen.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import ClassVar

import attrs

from ..adapter import (
    FLAG,
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
from ._gradium import FORMATS, GradiumVoice, Message, error_of, meaning, read

# What a failure that a proxy turned into an HTTP answer looks like.
_FROM_SERVER = re.compile(r"error from server (\d{1,6}): (.*)", re.DOTALL)


@attrs.frozen(kw_only=True)
class GradiumRest(GradiumVoice):
    """
    Gradium's text to speech over HTTP: a whole text or a sentence a request.

    Attributes:
        padding_bonus, temp, cfg_coef, rewrite_rules: as on the socket.
        only_audio: whether the answer is to be the bare audio, without word times.
    """

    traits: ClassVar[Traits] = Traits(
        reusable=False,
        input=Input.WHOLE,
        ping=None,
        formats=FORMATS,
        voice_required=True,
        key_variable="GRADIUM_API_KEY",
    )

    only_audio: bool = attrs.field(default=False, validator=FLAG)

    def pool_key(self, options: Options) -> Hashable:
        # What an answer looks like; all else is in the request.
        return options.format.name, self.only_audio

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url="https://api.gradium.ai/api/post/speech/tts",
            headers={"x-api-key": secret} if secret else {},
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        request = {"text": piece, **self._settings(gen.options), "only_audio": self.only_audio}
        return (json_frame(request),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        raise RemoteProtocolError("a text message came in place of an HTTP answer")

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        if self.only_audio:
            return _http.audio(data, wire)
        found: list[Signal] = [meaning(read(line)) for line in _http.lines(data, wire)]
        return found if data else [*found, OutputEnd()]

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        if isinstance(fault, DialFailure) and (found := _FROM_SERVER.match(fault.body)):
            error = error_of(Message("error", message=found[2], code=int(found[1])))
            return Verdict(Scope.CONNECTION, error)
        return super().verdict(fault, busy)
