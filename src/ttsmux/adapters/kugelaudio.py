"""
KugelAudio: three sockets, each with a protocol of its own.

``multi`` carries many contexts, told apart by an id; ``stream`` one turn after the other, fed piece
by piece; ``oneshot`` one whole text after the other. Messages have no type: the key that is there
names them. Wire facts are from docs.kugelaudio.com (multi-context, stream-input, stream, barge-in,
turn-lifecycle); see docs/providers/kugelaudio.md for what those leave open and what was chosen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import ClassVar, Literal

import attrs
import msgspec

from ..adapter import (
    FLAG,
    WHOLE,
    CancelAck,
    Closed,
    DialFailure,
    EarlyEnd,
    Failed,
    Flush,
    Frame,
    Generation,
    Handshake,
    Input,
    InputEnd,
    Note,
    Options,
    OutputEnd,
    Released,
    Scope,
    Signal,
    Traits,
    Verdict,
    Wire,
    json_frame,
)
from ..errors import (
    ConcurrencyLimitError,
    ConnectionLost,
    GenerationError,
)
from ..settings import Interrupt
from ._checks import one_of, within
from ._kugelaudio import HTTP, UNREADABLE, KugelVoice, credentials, error_of, host
from ._kugelaudio_messages import (
    ABSENT,
    Message,
    audio_of,
    is_about_silence,
    marks_of,
    read,
    usage_of,
)
from ._kugelaudio_rest import KugelAudioRest

_MOST_CONTEXTS = 20

_ONESHOT = attrs.evolve(
    HTTP,
    interrupt=Interrupt.CANCEL,
    policies=(Interrupt.CANCEL, Interrupt.DISCARD),
    acknowledgement=2.0,
    reusable=True,
    # Proxies on the way drop a socket that is silent for 20 to 30 s (the vendor's SDK).
    ping=15.0,
    max_idle=300.0,
    max_age=3600.0,
)
_STREAM = attrs.evolve(
    _ONESHOT,
    input=Input.DELTAS,
    flush=Flush.END,
    early_end=EarlyEnd.NEXT_GENERATION,
    ends_released=False,
    source_pause=5.0,
)
_MULTI = attrs.evolve(
    _STREAM,
    seats=8,
    slots=_MOST_CONTEXTS,
    ids=True,
    acknowledgement=5.0,
    flush=Flush.MESSAGE,
    source_pause=20.0,
    generation_keepalive=10.0,
)
_TRAITS = {"multi": _MULTI, "stream": _STREAM, "oneshot": _ONESHOT}
_PATHS = {"multi": "/ws/tts/multi", "stream": "/ws/tts/stream", "oneshot": "/ws/tts"}


_objects = msgspec.json.Decoder(dict[str, object])


def _object(value: Mapping[str, object] | str | None) -> str | None:
    """Take a JSON object, as a string, so that an adapter stays a value."""
    return json_frame(dict(value)) if isinstance(value, Mapping) else value


@attrs.frozen(kw_only=True)
class KugelAudio(KugelVoice):
    """
    KugelAudio's text to speech over its WebSockets.

    Attributes:
        endpoint: ``"multi"``, many contexts at once; ``"stream"``, one turn after the other;
            ``"oneshot"``, one sentence after the other.
        cfg_scale: 1.2 to 2.5.
        temperature: 0 to 1.
        max_new_tokens: 1 to 2048.
        speed: 0.8 to 1.2.
        normalize: whether numbers and dates are read as words.
        project_id: whose dictionaries apply.
        dictionary_ids: which of them; an empty list is none.
        word_timestamps: whether word times are asked for.
        extra: further fields for the server, as they are: a mapping, or a JSON object.
        prepare: whether the voice is named as soon as a connection is open, for a faster start;
            each voice then has connections of its own.
        seats: contexts that speak at once on one connection (multi).
        settle: seconds to wait for audio after the end of the text before a context is closed;
            None closes it at once (multi).
        source_pause: seconds without text after which the server ends a turn or a context; None
            takes 5 for a turn and 20 for a context.
    """

    traits: ClassVar[Traits] = _MULTI

    endpoint: Literal["multi", "stream", "oneshot"] = attrs.field(
        default="multi", validator=one_of(*_TRAITS)
    )
    word_timestamps: bool = attrs.field(default=True, validator=FLAG)
    extra: str | None = attrs.field(default=None, converter=_object, repr=False)
    prepare: bool = attrs.field(default=False, validator=FLAG)
    seats: int = attrs.field(default=8, validator=within(1, _MOST_CONTEXTS, WHOLE))
    settle: float | None = attrs.field(default=None, validator=within(0.001, 60))
    source_pause: float | None = attrs.field(default=None, validator=within(0.001, 3600))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        try:
            self._extra()
        except (*UNREADABLE, TypeError):
            raise self.misuse("extra takes a mapping, or a JSON object as a string") from None

    def _extra(self) -> dict[str, object]:
        return {} if self.extra is None else _objects.decode(self.extra)

    def tuned(self) -> Traits:
        traits, pause = _TRAITS[self.endpoint], self.source_pause
        if pause is not None and traits.source_pause is not None:
            traits = attrs.evolve(traits, source_pause=pause)
        if self.endpoint != "multi":
            return traits
        assert traits.source_pause is not None, "a context times out"
        return attrs.evolve(
            traits,
            seats=self.seats,
            release_after=self.settle,
            generation_keepalive=traits.source_pause / 2,
        )

    def rest(self) -> KugelAudioRest:
        names = [field.name for field in attrs.fields(KugelVoice)]
        return KugelAudioRest(**{name: getattr(self, name) for name in names})

    def pool_key(self, options: Options) -> Hashable:
        # What holds for a socket, and what would stick from a speech that set it to one that does
        # not. In a context the voice's own settings are its own.
        sticky = self.endpoint != "multi" and (self.cfg_scale, self.max_new_tokens)
        ours = self.endpoint, self.seats, self.settle, self.source_pause
        voice = options.voice if self.prepare else None
        theirs = self.settings(options).items()
        return ours, voice, sticky, *theirs, self.word_timestamps, self.extra

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        first: dict[str, object] = {}
        if self.prepare and self.endpoint == "multi":
            voice = self.voice_settings(options)["voice_id"]
            first = {"text": "", "voice_id": voice, "model_id": options.model}
        elif self.prepare and self.endpoint == "stream":
            first = self._config(options)
        return Handshake(
            url=f"wss://{host(secret)}{_PATHS[self.endpoint]}",
            headers=credentials(secret),
            first_frames=(json_frame(first),) if first else (),
        )

    def _session(self, options: Options) -> dict[str, object]:
        stamps = {"word_timestamps": True} if self.word_timestamps else {}
        return {**self.settings(options), **stamps, **self._extra()}

    def _config(self, options: Options) -> dict[str, object]:
        return {**self.voice_settings(options), **self._session(options)}

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        message: dict[str, object] = {"text": piece}
        if self.endpoint == "multi":
            message["context_id"] = gen.id
        # Settings go with the first text: they would stick, but not beyond a cancel.
        if "begun" not in gen.scratch:
            gen.scratch["begun"] = True
            if self.endpoint == "multi":
                # What belongs in there is ignored outside of it, and the other way round.
                message |= self._session(gen.options)
                message["voice_settings"] = self.voice_settings(gen.options)
            else:
                message |= self._config(gen.options)
        return (json_frame(message),)

    def flush(self, gen: Generation) -> Iterable[Frame]:
        return (_about(gen, flush=True),) if self.endpoint == "multi" else ()

    def end(self, gen: Generation) -> Iterable[Frame]:
        if self.endpoint == "multi":
            return *self.flush(gen), *(() if self.settle else self._close(gen))
        # Once, and no `close` behind it: that would end a second, empty turn.
        return (json_frame({"flush": True}),) if self.endpoint == "stream" else ()

    def release(self, gen: Generation) -> Iterable[Frame]:
        return self._close(gen) if self.settle else ()

    def _close(self, gen: Generation) -> Iterable[Frame]:
        return (_about(gen, close_context=True),)

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        if self.endpoint == "multi":
            # Not `cancel`: without an id that would be everybody's.
            return (_about(gen, close_context=True, immediate=True),)
        return (json_frame({"cancel": True}),)

    def keepalive(self, gen: Generation | None) -> Iterable[Frame]:
        if gen is None or self.endpoint != "multi":
            return ()
        return (_about(gen, text=""),)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        message = read(data)
        id = message.context_id if self.endpoint == "multi" else None
        signals: list[Signal] = []
        if message.audio:
            signals.append(audio_of(message, message.audio, id, wire.options.format))
        if message.word_timestamps is not ABSENT:
            signals += marks_of(message, id)
        if message.error or message.error_code:
            signals.append(Failed(error_of(message), id))
        signals += self._ends(message, id)
        return signals or (Note(id=id),)

    def _ends(self, message: Message, id: str | None) -> Iterable[Signal]:
        match self.endpoint:
            # `final` follows every flush there, and the end of a context once more: it says little.
            case "multi" if message.context_closed and id is not None:
                yield Released(id, usage_of(message))
            case "multi" if message.context_timeout and id is not None:
                words = "the server closed the context because no text came"
                yield Failed(GenerationError(words, code="context_timeout", retryable=True), id)
            case "multi" if message.session_closed:
                yield Failed(ConnectionLost("the server ended the session"))
            case "stream" | "oneshot" if message.interrupted:
                yield CancelAck()
            case "stream" if message.session_closed:
                yield Released(usage=usage_of(message))
            case "stream" if message.final:
                yield OutputEnd()
            case "stream" if is_about_silence(message.warning):
                yield InputEnd()
            case "oneshot" if message.final:
                yield Released(usage=usage_of(message))

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        verdict = super().verdict(fault, busy)
        if isinstance(fault, Failed) and isinstance(verdict.error, ConcurrencyLimitError):
            # The server counts more contexts here than we do.
            return Verdict(Scope.TAINT, verdict.error)
        return verdict


def _about(gen: Generation, **fields: object) -> Frame:
    return json_frame({**fields, "context_id": gen.id})
