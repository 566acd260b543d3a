"""
Warble, an invented provider: many voices on one socket, audio in binary messages.

The client's messages are ``hello`` (with the key, first of all), ``say`` (text, and with it the
voice, every time), ``nudge`` (flush), ``done``, ``hush`` (cancel), ``still`` (keepalive) and
``bye``. The server's are ``hi``, ``words``, ``quiet`` (no more audio), ``gone`` (the slot is free)
and ``oops``; audio is binary: 16 bytes of id, then samples. In JSON an id is a UUID with dashes.
"""

from collections.abc import Hashable, Iterable
from typing import ClassVar
from uuid import UUID

import attrs
import msgspec

import ttsmux.adapter as tts
from ttsmux.errors import AuthError, GenerationError, RemoteProtocolError
from ttsmux.settings import Interrupt

_ID, _BAD_KEY = 16, 4401


class _Message(msgspec.Struct):
    hi: bool = False
    words: list[tuple[str, int, int]] = []
    quiet: bool = False
    gone: bool = False
    oops: str | None = None
    id: UUID | None = None


_decoder = msgspec.json.Decoder(_Message)


@attrs.frozen(kw_only=True)
class Warble(tts.Adapter):
    """Speaks Warble; *pitch* is in semitones."""

    name: ClassVar[str] = "warble"
    traits: ClassVar[tts.Traits] = tts.Traits(
        seats=4,
        slots=5,
        ids=True,
        max_muted=1,
        greeting=True,
        interrupt=Interrupt.CANCEL,
        policies=(Interrupt.CANCEL, Interrupt.MUTE, Interrupt.DISCARD),
        hold_back=tts.HoldBack.WORD,
        flush=tts.Flush.MESSAGE,
        ends_released=False,
        connection_keepalive=20.0,
        max_text=500,
        max_age=1800.0,
        formats=("pcm_16000", "pcm_8000"),
        voice="robin",
        key_variable="WARBLE_API_KEY",
    )

    pitch: float = attrs.field(default=0.0, validator=tts.NUMBER)

    def pool_key(self, options: tts.Options) -> Hashable:
        return options.format.name  # the voice goes with every message

    def handshake(self, options: tts.Options, secret: str | None) -> tts.Handshake:
        return tts.Handshake(
            url=f"wss://warble.example/v2/speak?rate={options.format.rate}",
            first_frames=(tts.json_frame({"hello": secret or ""}),),
        )

    def text(self, gen: tts.Generation, piece: str) -> Iterable[tts.Frame]:
        return _about(gen, say=piece, voice=gen.options.voice, pitch=self.pitch)

    def flush(self, gen: tts.Generation) -> Iterable[tts.Frame]:
        return _about(gen, nudge=True)

    def end(self, gen: tts.Generation) -> Iterable[tts.Frame]:
        return _about(gen, done=True)

    def interrupt(self, gen: tts.Generation) -> Iterable[tts.Frame]:
        return _about(gen, hush=True)

    def keepalive(self, gen: tts.Generation | None) -> Iterable[tts.Frame]:
        return (tts.json_frame({"still": True}),) if gen is None else ()

    def shutdown(self) -> Iterable[tts.Frame]:
        return (tts.json_frame({"bye": True}),)

    def decode(self, data: bytes, wire: tts.Wire) -> Iterable[tts.Signal]:
        try:
            message = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise RemoteProtocolError("a message is not the JSON it should be") from exc
        id = message.id.hex if message.id else None
        if message.oops is not None:
            words = tts.printable(message.oops) or "the server reported an error"
            return (tts.Failed(GenerationError(words, retryable=True), id),)
        if message.hi:
            return (tts.Ready(),)
        if message.words:
            rate = wire.options.format.rate
            units = tuple((word, start / rate, stop / rate) for word, start, stop in message.words)
            return (tts.Marks(units, id),)
        if message.gone:
            return (tts.Released(id),)
        return (tts.OutputEnd(id),) if message.quiet else (tts.Note(id=id),)

    def decode_binary(self, data: bytes, wire: tts.Wire) -> Iterable[tts.Signal]:
        if len(data) < _ID:
            raise RemoteProtocolError("audio is too short to say whose it is")
        return (tts.Audio(data[_ID:], data[:_ID].hex()),)

    def verdict(self, fault: tts.DialFailure | tts.Closed | tts.Failed, busy: bool) -> tts.Verdict:
        if isinstance(fault, tts.Closed) and fault.code == _BAD_KEY:
            return tts.Verdict(tts.Scope.CONNECTION, AuthError("the key was refused"))
        return super().verdict(fault, busy)


def _about(gen: tts.Generation, **what: object) -> Iterable[tts.Frame]:
    return (tts.json_frame({**what, "id": str(UUID(gen.id))}),)
