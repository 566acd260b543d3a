"""
SM-AI-MODELS: a whole text at a time on a connection, without ids; Arabic and English.

A request is one JSON message, its answer bare audio and one event at the end. There is no cancel,
so an interrupted connection is given up; and a speech becomes a request a sentence, one after the
other. Wire facts are from docs.withsm.ai (streaming, rest-api, specifications, optimization,
authentication, guides/errors); see docs/providers/sm.md for what those leave open and what was
chosen. Every name that they do not show is an option.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable

import attrs

from ..adapter import (
    Audio,
    Failed,
    Frame,
    Generation,
    Handshake,
    Note,
    Options,
    OutputEnd,
    Ready,
    Signal,
    Traits,
    Wire,
)
from ._sm import UNREADABLE, SMVoice, events, value
from ._sm_rest import SMRest

__all__ = ["SM", "SMRest"]

_REASON = re.compile("too many requests", re.IGNORECASE)
"""The reason phrase of every 429 (RFC 6585), which says nothing."""
_REQUESTS = re.compile(r"\b(?:requests?|tokens?|minute|daily|day)\b", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class SM(SMVoice):
    """
    SM's text to speech over its WebSocket.

    Attributes:
        deployment: ``"cloud"``, or ``"on-premise"`` for a server of your own.
        host: of the server, with a port if it is another than usual.
        path, rest_path: of the WebSocket and of the REST surface, if they are others than usual.
        auth: where the key goes; by default the header ``X-API-Key``, and nowhere on premise.
        key_name: of the header, the parameter or the field that holds it.
        connections: at once; 4 of the 5 a key is allowed in the cloud, any number on premise.
        redial_after: seconds to wait where a connection was one too many and the server asks for
            exactly a minute, as with every 429, or says nothing; None waits for as long as it says.
        max_text: characters in one request; a longer sentence is cut between words.
        speed: 0.5 to 2.
        text_field, speed_field: of a request.
        format_field, rate_field: of a request for another format than ``pcm_22050``, which is what
            comes if none is asked for. With empty names nothing is asked for: ``format=`` then
            says what the server speaks.
        format_value: what stands in `format_field`.
        rest_format: what is asked for over REST; of the two, WAV says its sample rate.
        extra: further fields of each request, as a mapping or as JSON.
        type_field: of the server's events.
        end_event, error_event: their types, one or several.
        ready_event: those to wait for when a connection is opened; none by default.
        error_field, detail_field, code_field: of an error event.
        reuse_after_error: whether a connection speaks on after an error.
        ping_interval: seconds between WebSocket pings, 0 for none.
    """

    def tuned(self) -> Traits:
        return attrs.evolve(
            super().tuned(), greeting=bool(self.ready_event), ping=self.ping_interval or None
        )

    def pool_key(self, options: Options) -> Hashable:
        # The voice is said with each request. The format is, too, if at all; but a server that
        # mixed sample rates on one connection would be heard.
        where = self.deployment, self.host, self.path, self._key_place, self.key_name
        return options.format.name, *where, self.ready_event

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        path = self.path
        url = self._url("ws", path or "/v1/tts/stream", path or "/v1/audio/stream")
        return self._signed(url, secret, self._key_place)

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        fields: dict[str, object] = {self.text_field: piece}
        if gen.options.format.name != self.traits.formats[0] and self.format_field:
            fields[self.format_field] = self.format_value
        return (self._request(gen.options, fields, self.speed_field),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        try:
            event = events.decode(data)
        except UNREADABLE:
            return (Note("not a JSON object"),)  # nothing but events comes as text: none is lost
        kind = value(event, self.type_field)
        if kind in self.end_event:
            return (OutputEnd(),)
        if kind in self.error_event or value(event, self.error_field) is not None:
            return (Failed(self._reported(event)),)
        if kind in self.ready_event:
            return (Ready(),)
        return (Note("unknown"),)

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        return (Audio(data),)

    def _is_full(self, words: str) -> bool:
        # An upgrade asks for a connection; one that is refused for requests would say so.
        return super()._is_full(words) or not _REQUESTS.search(_REASON.sub("", words))

    def rest(self) -> SMRest:
        return SMRest(**{field.name: getattr(self, field.name) for field in attrs.fields(SM)})
