"""
ElevenLabs: several contexts on one connection, told apart by an id, and an end in two steps.

A `flush` asks for the rest of the audio; only `close_context`, sent once audio has shown that the
server has seen the text, brings the end marker. An interrupted context is closed early and muted
by its id. Wire facts are from elevenlabs.io/docs (websockets, multi-context-web-socket, errors);
see docs/providers/elevenlabs.md for what those leave open and what was chosen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar, Literal

import attrs
import msgspec

from ..adapter import (
    FLAG,
    WHOLE,
    Audio,
    Closed,
    DialFailure,
    Failed,
    Flush,
    Frame,
    Generation,
    Handshake,
    HoldBack,
    Join,
    Note,
    Options,
    OutputEnd,
    Scope,
    Signal,
    Traits,
    Verdict,
    Wire,
    json_frame,
    printable,
)
from ..errors import (
    ConfigError,
    ConnectionLost,
    GenerationError,
    InvalidText,
    RemoteProtocolError,
)
from ..settings import Interrupt
from ._checks import one_of, within
from ._elevenlabs import (
    FORMATS,
    POLICY,
    UNREADABLE,
    ElevenLabsSettings,
    are_chunks,
    decoded,
    is_idle,
    kind_of,
    language_of,
    most_characters,
    numbers,
    passes,
    present,
    query,
    refused,
    reported,
    wire_format,
)
from ._elevenlabs_rest import ElevenLabsRest
from ._elevenlabs_times import NO_TIMES, Track, in_milliseconds, track

_KEEPALIVE = 10.0
_IDLE_SHARE = 5 / 6
"""Of the server's own time for quiet, ours; so that the two never cross."""
_DIALOGUE_MODELS = ("eleven_v3", "eleven_v4")


class _Message(msgspec.Struct):
    """Any message from the server: it has no type, its fields tell."""

    audio: str | None = None
    is_final: bool | None = None
    final: bool | None = msgspec.field(default=None, name="isFinal")
    context_id: str | None = None
    id: str | None = msgspec.field(default=None, name="contextId")
    # Read apart: times that make no sense cost no audio.
    alignment: msgspec.Raw = NO_TIMES
    normalized: msgspec.Raw = msgspec.field(default=NO_TIMES, name="normalizedAlignment")
    # Of any type: an error is to be heard whatever it looks like.
    error: object = None
    message: object = None
    code: object = None


_decoder = msgspec.json.Decoder(_Message)


@attrs.frozen(kw_only=True)
class ElevenLabs(ElevenLabsSettings):
    """
    ElevenLabs' text to speech over its WebSockets.

    Attributes:
        endpoint: ``"multi"``, where generations share a connection, or ``"single"``, where each
            has its own.
        auto_mode: speak each sentence at once instead of by `chunk_length_schedule`; text is then
            sent in whole sentences.
        chunk_length_schedule: after how many characters the first, second, … part is spoken, 50
            to 500.
        enable_ssml_parsing: whether ``<break>`` and ``<phoneme>`` are understood.
        inactivity_timeout: seconds of quiet after which the server lets go, up to 180.
        close_grace: seconds that a context waits for its first audio before it is closed.
        max_characters: of a speech; None takes what the model takes at once, where that is known.
    """

    name: ClassVar[str] = "elevenlabs"
    traits: ClassVar[Traits] = Traits(
        # The server counts contexts up to their end marker, and a sixth kills the connection.
        seats=4,
        slots=5,
        ids=True,
        interrupt=Interrupt.MUTE,
        policies=(Interrupt.MUTE, Interrupt.DISCARD),
        acknowledgement=10.0,
        hold_back=HoldBack.WORD,
        join=Join.TRAILING_SPACE,
        flush=Flush.MESSAGE,
        max_text=10_000,
        # A close that follows its text too closely is handled before it, and the audio is lost.
        release_after=2.0,
        release_soon=0.25,
        generation_keepalive=_KEEPALIVE,
        max_idle=150.0,
        max_age=1800.0,
        formats=FORMATS,
        voice_required=True,
        model="eleven_flash_v2_5",
        key_variable="ELEVENLABS_API_KEY",
    )

    endpoint: Literal["multi", "single"] = attrs.field(
        default="multi", validator=one_of("multi", "single")
    )
    auto_mode: bool = attrs.field(default=False, validator=FLAG)
    chunk_length_schedule: tuple[float, ...] | None = attrs.field(
        default=None, converter=numbers, validator=are_chunks
    )
    enable_ssml_parsing: bool | None = attrs.field(default=None, validator=FLAG)
    inactivity_timeout: int = attrs.field(default=180, validator=within(1, 180, WHOLE))
    close_grace: float = attrs.field(default=2.0, validator=within(0.01, 60))
    max_characters: int | None = attrs.field(default=None, validator=within(1, 1_000_000, WHOLE))

    def tuned(self) -> Traits:
        changes: dict[str, object] = {
            "release_after": self.close_grace,
            "generation_keepalive": min(_KEEPALIVE, self.inactivity_timeout / 3),
            "max_idle": self.inactivity_timeout * _IDLE_SHARE,
        }
        if self.auto_mode:
            changes["hold_back"] = HoldBack.SENTENCE
        if self.endpoint == "single":
            changes |= {
                "seats": 1,
                "slots": 1,
                "ids": False,
                "reusable": False,
                "interrupt": Interrupt.DISCARD,
                "policies": (Interrupt.DISCARD,),
                "release_after": None,
            }
        return attrs.evolve(self.traits, **changes)  # type: ignore[arg-type]

    def options(self) -> Options:
        options = super().options()
        if (options.model or "").startswith(_DIALOGUE_MODELS):
            msg = f"{options.model} is not spoken over this socket; its REST surface has it"
            raise ConfigError(msg, provider=self.name, phase="config")
        return options

    # -- the connection

    def pool_key(self, options: Options) -> Hashable:
        # The first message settles the voice settings for all that follow on a connection.
        # Whether there are dictionaries decides which of two alignments is read.
        settings = json_frame(self.voice_settings)
        return self._url(options), settings, bool(self.pronunciation_dictionaries), self.close_grace

    def _url(self, options: Options) -> str:
        socket = "multi-stream-input" if self.endpoint == "multi" else "stream-input"
        settings = query(
            model_id=options.model,
            output_format=wire_format(options),
            language_code=language_of(options),
            inactivity_timeout=self.inactivity_timeout,
            sync_alignment=self.with_timestamps or None,
            auto_mode=self.auto_mode or None,
            enable_ssml_parsing=self.enable_ssml_parsing,
            enable_logging=self.enable_logging,
            apply_text_normalization=self.apply_text_normalization,
            apply_language_text_normalization=self.apply_language_text_normalization,
            seed=self.seed,
        )
        return f"wss://{self.path(options)}/{socket}?{settings}"

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(url=self._url(options), headers={"xi-api-key": secret} if secret else {})

    def shutdown(self) -> Iterable[Frame]:
        return (json_frame({"close_socket": True}),) if self.endpoint == "multi" else ()

    # -- the generation

    def open(self, gen: Generation) -> Iterable[Frame]:
        chunks = self.chunk_length_schedule
        return self._frame(
            gen,
            text=" ",
            voice_settings=self.voice_settings or None,
            generation_config={"chunk_length_schedule": chunks} if chunks else None,
            pronunciation_dictionary_locators=self.locators or None,
        )

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        """
        Send a piece of text.

        Raises:
            InvalidText: it would be more than a context takes.
        """
        taken = gen.scratch.get("taken", 0)
        assert isinstance(taken, int), "it is ours"
        most = most_characters(gen.options) if self.max_characters is None else self.max_characters
        # White space at the very end, such as the space behind the last word, is no text.
        if most is not None and taken + len(piece.rstrip()) > most:
            msg = f"a speech has {most} characters at most here; end it and go on with another"
            raise InvalidText(msg)
        gen.scratch["taken"] = taken + len(piece)
        # The pieces are the text, with its own spaces: one behind a sentence would be one more.
        return self._frame(gen, text=piece)

    def flush(self, gen: Generation) -> Iterable[Frame]:
        if self.endpoint == "multi":
            return self._frame(gen, flush=True)
        return self._frame(gen, text=" ", flush=True)

    def end(self, gen: Generation) -> Iterable[Frame]:
        return self.flush(gen) if self.endpoint == "multi" else self._frame(gen, text="")

    def release(self, gen: Generation) -> Iterable[Frame]:
        if self.endpoint == "single":
            return ()
        gen.scratch["closed"] = True
        return self._frame(gen, close_context=True)

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        # Not a cancel: what was flushed is still spoken. After it, nothing may name the context.
        return () if "closed" in gen.scratch else self.release(gen)

    def keepalive(self, gen: Generation | None) -> Iterable[Frame]:
        # Without an id this would open a context of its own, for good.
        if gen is None:
            return ()
        # On the other socket an empty text ends the stream.
        return self._frame(gen, text="" if self.endpoint == "multi" else " ")

    def _frame(self, gen: Generation, **fields: object) -> Iterable[Frame]:
        id = gen.id if self.endpoint == "multi" else None
        return (json_frame(present(context_id=id, **fields)),)

    # -- what comes in

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        try:
            message = _decoder.decode(data)
        except UNREADABLE as exc:
            raise RemoteProtocolError("a message is not the JSON it should be") from exc
        id = message.id or message.context_id if self.endpoint == "multi" else None
        if message.error or (message.message and message.code):
            return (Failed(reported(message.error, message.code, message.message), id),)
        spoken = track(wire.scratch, id)
        signals = self._words(message, spoken, id, wire)
        if message.audio:
            audio = decoded(message.audio)
            spoken.size += len(audio)
            signals.append(Audio(audio, id))
        if message.final or message.is_final:
            del wire.scratch[id or ""]
            return [*signals, *spoken.rest(id), OutputEnd(id)]
        return signals or (Note(id=id),)

    def _words(self, message: _Message, spoken: Track, id: str | None, wire: Wire) -> list[Signal]:
        """Turn the alignment into words; its times count from the audio that came before it."""
        both = [message.alignment, message.normalized]
        if self.pronunciation_dictionaries:
            both.reverse()  # the other one starts over at what a dictionary replaced
        begin = spoken.size / wire.options.format.byte_rate
        times = next((found for raw in both if (found := in_milliseconds(raw, begin))), [])
        return spoken.words(id, times)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        match fault:
            case Failed(error=error, id=id):
                code = error.code if isinstance(error, GenerationError) else ""
                if not busy and is_idle(f"{code} {error.message}"):
                    return Verdict(Scope.NOTHING, error)
                # With an id it is said to end its context only: the others finish.
                return Verdict(Scope.CONNECTION if id is None else Scope.TAINT, error)
            case Closed(code=code, reason=reason) if code == POLICY and reason:
                words = printable(reason)
                kind = kind_of(words)
                if kind is not None:
                    return Verdict(Scope.CONNECTION, kind(words))
                error = ConnectionLost(
                    f"the server closed the connection ({words})",
                    code=code,
                    reason=words,
                    retryable=passes(words),
                )
                idle = not busy and is_idle(words)
                return Verdict(Scope.NOTHING if idle else Scope.CONNECTION, error)
            case DialFailure(status=int()):
                return Verdict(Scope.CONNECTION, refused(fault))
            case _:
                return super().verdict(fault, busy)

    def rest(self) -> ElevenLabsRest:
        common = attrs.fields(ElevenLabsSettings)
        return ElevenLabsRest(**{field.name: getattr(self, field.name) for field in common})
