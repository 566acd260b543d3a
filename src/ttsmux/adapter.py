"""
The adapter contract: the one module that somebody who adds a provider needs to import.

An adapter is a frozen table of traits and a few pure functions. It has no loop, no retry, no socket
and no state of its own; what must be remembered lives in the scratch of a generation or of a wire.
The core decides *when* each function is called; an adapter only says what it looks like on the
wire.
"""

from __future__ import annotations

import abc
import enum
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import ClassVar

import attrs
import msgspec

from .audio import AudioFormat, MarkKind
from .errors import (
    AtCapacity,
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    Error,
    HandshakeError,
    InvalidFormat,
    InvalidVoice,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RemoteProtocolError,
    WrongType,
)
from .settings import Interrupt
from .text.cutting import HoldBack, Join

__all__ = [
    "FLAG",
    "NUMBER",
    "PING",
    "TEXT",
    "WHOLE",
    "Adapter",
    "Audio",
    "Base",
    "CancelAck",
    "Closed",
    "DialFailure",
    "EarlyEnd",
    "Failed",
    "Flush",
    "Frame",
    "Generation",
    "Handshake",
    "HoldBack",
    "Input",
    "InputEnd",
    "Join",
    "Marks",
    "Note",
    "Options",
    "OutputEnd",
    "Ping",
    "Ready",
    "Released",
    "Scope",
    "Signal",
    "Traits",
    "Verdict",
    "Voice",
    "VoicePage",
    "Wire",
    "json_frame",
    "printable",
]

Frame = str | bytes
"""One message on the wire: `str` a text message, `bytes` a binary one."""


class Ping:
    """A WebSocket ping, where a frame is expected. Sent by the core, never by an adapter."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PING"


PING = Ping()
"""The one there is."""


# --- traits ---------------------------------------------------------------------------------------


class Input(enum.Enum):
    """How a provider takes text."""

    DELTAS = "deltas"
    """Piece by piece, as it comes."""
    WHOLE = "whole"
    """All at once: a speech becomes one generation a sentence, one after the other."""


class Flush(enum.Enum):
    """What `flush()` comes to."""

    NONE = "none"
    """Nothing on the wire: the provider has no such thing."""
    MESSAGE = "message"
    """`Adapter.flush`; from then on the provider owes audio."""
    END = "end"
    """It ends the generation; more text opens the next one."""


class EarlyEnd(enum.Enum):
    """What it means when a provider ends a generation before it was told that the text is over."""

    ERROR = "error"
    """It breaks the protocol: the connection is given up, with a `RemoteProtocolError`."""
    NEXT_GENERATION = "next_generation"
    """The provider's own turn end: more text opens the next generation."""


@attrs.frozen(kw_only=True)
class Traits:
    """
    A provider as data. All times are seconds.

    Attributes:
        seats: live speeches on one connection; 1 means sequential.
        slots: what the provider counts against its own cap, closing and muted generations included.
        ids: whether audio names its generation, so that late audio can be told apart.
        max_muted: generations muted at once before a connection takes nothing new.
        reusable: whether a connection may serve a second speech.
        greeting: whether the provider says when a connection is ready (`Ready`).
        interrupt: the default policy.
        policies: the policies that this protocol allows.
        acknowledgement: how long after an interrupt the release or acknowledgement may take.
        input: piece by piece, or all at once.
        hold_back: what no cut between two pieces may go through.
        join: what the provider puts between two pieces.
        flush: what a `flush()` of the speech becomes.
        max_text: characters in one message, or in one generation where text is taken whole.
        markup: whether ``<…>`` in the text is markup, never to be cut.
        early_end: what an end of output before the end of input means.
        release_after: seconds after which the second step of a two-step end is sent, if no audio
            came before; None where ending takes one step.
        release_soon: the same where audio came before the end, and no more may come; None takes
            `release_after`.
        ends_released: whether `OutputEnd` also frees the slot, so that no `Released` follows.
        source_pause: how long a provider lets a generation lie silent before it ends it; an end of
            its own that comes before half of that after the last text is an error.
        generation_keepalive: interval of `keepalive(gen)`, the other remedy for a source pause.
        connection_keepalive: interval of `keepalive(None)`.
        ping: interval of WebSocket pings; None where the provider does not bear them.
        max_idle: how long a connection may lie without a speech before it is replaced; None: for
            ever.
        max_age: how old a connection may become; one with nothing on it is then replaced, and one
            in use takes nothing new. None: as old as it likes.
        connections: sockets the provider allows a key, where it says so. A client opens no more,
            those that are closing included, and all clients of a process together.
        generations: generations it allows a key at once, where it says so.
        requests_per_minute: generations it allows a key to begin within a minute, where it says so.
        max_message: bytes in the largest message that is accepted.
        formats: names of the audio formats, the default first.
        voice_required: whether a speech needs a voice.
        voice: taken where a speech names none.
        language: the same for the language.
        model: the same for the model.
        key_variable: name of the environment variable that holds the key.
        key_required: whether there must be a key. Where not, only one that is passed is used.
    """

    seats: int = 1
    slots: int = 1
    ids: bool = False
    max_muted: int | None = None
    reusable: bool = True
    greeting: bool = False
    interrupt: Interrupt = Interrupt.DISCARD
    policies: tuple[Interrupt, ...] = (Interrupt.DISCARD,)
    acknowledgement: float = 1.5
    input: Input = Input.DELTAS
    hold_back: HoldBack = HoldBack.NONE
    join: Join = Join.VERBATIM
    flush: Flush = Flush.NONE
    max_text: int | None = None
    markup: bool = True
    early_end: EarlyEnd = EarlyEnd.ERROR
    release_after: float | None = None
    release_soon: float | None = None
    ends_released: bool = True
    source_pause: float | None = None
    generation_keepalive: float | None = None
    connection_keepalive: float | None = None
    ping: float | None = 20.0
    max_idle: float | None = None
    max_age: float | None = None
    connections: int | None = None
    generations: int | None = None
    requests_per_minute: int | None = None
    max_message: int = 16 * 1024 * 1024
    formats: tuple[str, ...] = ("pcm_24000",)
    voice_required: bool = False
    voice: str | None = None
    language: str | None = None
    model: str | None = None
    key_variable: str
    key_required: bool = True

    @property
    def opens_ahead(self) -> bool:
        """Whether there is anything to open before there is something to say."""
        # An HTTP request, which serves once and bears no pings, is not there before its text.
        return self.reusable or self.ping is not None


# --- what goes in ---------------------------------------------------------------------------------


@attrs.frozen
class Options:
    """
    What every provider has in some form; the rest is the adapter's own fields.

    Attributes:
        voice: the provider's name of it; None where neither the speech nor the traits name one.
        language: the same for the language.
        model: the same for the model.
        format: of the audio that is asked for.
    """

    voice: str | None
    language: str | None
    model: str | None
    format: AudioFormat


@attrs.frozen(kw_only=True)
class Handshake:
    """
    How to open a connection.

    With ``wss://`` it is a WebSocket. With ``https://`` it is one request: a POST whose body is the
    first frame that is sent, and whose answer comes through `Adapter.decode_binary`.

    Attributes:
        url: with the provider's own scheme, host and port; a `base_url` replaces those.
        headers: sent with the upgrade, or the request.
        subprotocols: offered, in order.
        first_frames: sent before anything else.
    """

    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    subprotocols: tuple[str, ...] = ()
    first_frames: tuple[Frame, ...] = attrs.field(default=(), repr=False)


class Generation:
    """
    What an adapter sees of one generation.

    Attributes:
        id: unique for ever, 32 hexadecimal digits.
        options: the speech's.
        ended: whether `Adapter.end` was called for it.
        scratch: the adapter's to use.
    """

    __slots__ = ("ended", "id", "options", "scratch")

    def __init__(self, id: str, options: Options) -> None:
        self.id = id
        self.options = options
        self.ended = False
        self.scratch: dict[str, object] = {}


class Wire:
    """
    What an adapter sees of one connection; fresh for each.

    Attributes:
        options: those the connection was dialled with.
        headers: of an HTTP answer, names in lower case; empty on a WebSocket.
        scratch: the adapter's to use.
    """

    __slots__ = ("headers", "options", "scratch")

    def __init__(self, options: Options) -> None:
        self.options = options
        self.headers: Mapping[str, str] = {}
        self.scratch: dict[str, object] = {}


# --- signals: what comes out of decode() ----------------------------------------------------------


class Ready(msgspec.Struct, frozen=True):
    """The connection may be used."""


class Audio(msgspec.Struct, frozen=True, gc=False):
    """
    Audio of one generation.

    Attributes:
        data: in the format of `Options.format`, cut anywhere.
        id: of the generation; None: of the only one there can be.
        rate: Hz, where the provider announces it; another than asked for is an error.
        segment: what the provider calls the part that this belongs to, for marks whose clock counts
            from it (`Base.SEGMENT`).
    """

    data: bytes
    id: str | None = None
    rate: int | None = None
    segment: str | None = None


class Base(enum.Enum):
    """What a provider's clock counts from."""

    GENERATION = "generation"
    """The beginning of the generation's audio."""
    SEGMENT = "segment"
    """The beginning of the audio with the same `segment`."""
    ARRIVAL = "arrival"
    """The audio received so far."""


class Marks(msgspec.Struct, frozen=True):
    """
    Times of words or characters.

    Attributes:
        units: each (text, start, stop), in seconds from *base*.
        id: of the generation; None: of the only one there can be.
        base: what the seconds count from.
        kind: what a unit is.
        segment: the one that the seconds count from, with `Base.SEGMENT`.
    """

    units: tuple[tuple[str, float, float], ...]
    id: str | None = None
    base: Base = Base.GENERATION
    kind: MarkKind = MarkKind.WORD
    segment: str | None = None


class InputEnd(msgspec.Struct, frozen=True):
    """
    The provider ends a generation itself, for want of text; the rest of its audio follows.

    Report it where a provider says so: text that crossed it is then said again, not lost.

    Attributes:
        id: of the generation; None: of the only one there can be.
    """

    id: str | None = None


class OutputEnd(msgspec.Struct, frozen=True):
    """
    No more audio for this generation. Report it only where it can be no earlier end.

    Attributes:
        id: of the generation; None: of the only one there can be.
    """

    id: str | None = None


class Released(msgspec.Struct, frozen=True):
    """
    The generation's slot and id are free; implies `OutputEnd`.

    Attributes:
        id: of the generation; None: of the only one there can be.
        usage: what the provider says that it counted, by its own names.
    """

    id: str | None = None
    usage: Mapping[str, float] | None = None


class CancelAck(msgspec.Struct, frozen=True):
    """
    The provider stopped as it was told.

    Attributes:
        id: of the generation; None: of the only one there can be.
    """

    id: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """
    The provider reports an error.

    Attributes:
        error: what is raised, unless `Adapter.verdict` makes something else of it.
        id: of the generation; None: it concerns the connection.
    """

    error: Error
    id: str | None = None


class Note(msgspec.Struct, frozen=True):
    """
    Something that changes nothing, but shows that the provider has heard of a generation.

    Attributes:
        what: the provider's name of it.
        id: of the generation; None: of the only one there can be.
    """

    what: str = ""
    id: str | None = None


Signal = Ready | Audio | Marks | InputEnd | OutputEnd | Released | CancelAck | Failed | Note
"""What `Adapter.decode` returns: what a message of the provider means."""


# --- facts about failures, and what an adapter makes of them --------------------------------------


@attrs.frozen(kw_only=True)
class DialFailure:
    """
    A connection did not come about.

    Attributes:
        status: HTTP status, where the server answered.
        headers: of that answer, names in lower case.
        body: of that answer, its beginning.
        error: what went wrong where there was no answer.
        sent: whether it was a request, and some of it had gone out.
    """

    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: str = attrs.field(default="", repr=False)
    error: Error | None = None
    sent: bool = False


@attrs.frozen
class Closed:
    """
    A connection ended.

    Attributes:
        code: the peer's close code; None where there was no close frame.
        reason: the peer's words with it.
    """

    code: int | None = None
    reason: str = ""


class Scope(enum.Enum):
    """How far a failure reaches."""

    NOTHING = "nothing"
    """Nobody need hear of it."""
    GENERATION = "generation"
    """That generation; the connection goes on."""
    TAINT = "taint"
    """That generation; the connection takes nothing new and closes after its others."""
    CONNECTION = "connection"
    """Everything on the connection."""
    AGE = "age"
    """
    Everything on the connection, which has grown too old, and so have the idle ones of its age:
    those are given up as well. What was not heard is begun again at once, as if it had not been
    sent; if the connection is a minute old at least, else it is an error like any other.
    """


@attrs.frozen
class Verdict:
    """
    What a failure means.

    Attributes:
        scope: how far it reaches.
        error: what is raised.
    """

    scope: Scope
    error: Error


# --- voices ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Voice:
    """
    A voice that a provider has.

    Attributes:
        id: what `voice=` takes.
        name: what people call it; the id where it has no other name.
        languages: what it speaks, as the provider spells them; empty where it does not say.
        description: the provider's words about it, or None.
    """

    id: str
    name: str
    languages: tuple[str, ...] = ()
    description: str | None = None


@attrs.frozen(kw_only=True)
class VoicePage:
    """
    One answer to the question for voices.

    Attributes:
        voices: those on it, in the provider's order.
        next: what to ask `Adapter.list_voices` for the answer after it; None if it is the last.
    """

    voices: tuple[Voice, ...]
    next: str | None = None


_STATUS: dict[int, type[Error]] = {
    400: ConfigError,
    401: AuthError,
    402: QuotaError,
    403: AuthError,
    404: NotFoundError,
    422: ConfigError,
    429: RateLimitError,
}
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_POLICY_VIOLATION, _TRY_AGAIN_LATER, _TOO_BIG = 1008, 1013, 1009
_VOICE = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


def printable(text: str, limit: int = 200) -> str:
    """Return the peer's words as one short line that is safe to print."""
    # Also without what only looks like text: line separators, and marks that turn its direction.
    shown = (char if char.isprintable() else " " for char in text[: 4 * limit])
    return " ".join("".join(shown).split())[:limit].rstrip()


def said(body: str) -> str:
    """Return what the body of a refusal says: the words in it where it is JSON, else its text."""
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return printable(body)
    for name in ("error", "message", "detail"):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
    return printable(found if isinstance(found, str) else body)


def json_frame(message: object) -> str:
    """Return *message* as a JSON text message."""
    return msgspec.json.encode(message).decode()


def status_error(failure: DialFailure) -> Error:
    """Turn the answer to an upgrade or a request into the error that its status stands for."""
    status = failure.status or 0
    retry_after = _retry_after(failure.headers.get("retry-after"))
    words = said(failure.body)
    message = f"the server answered HTTP {status}" + (f": {words}" if words else "")
    kind = _STATUS.get(status)
    if kind is not None:
        return kind(message, phase="dial", retry_after=retry_after)
    return HandshakeError(
        message,
        status=status,
        phase="dial",
        retryable=status in _TRANSIENT_STATUS,
        retry_after=retry_after,
    )


def _retry_after(value: str | None) -> float | None:
    """Read a Retry-After header in seconds; dates and nonsense count as absent."""
    if value is None or not value.strip().isascii() or not value.strip().isdigit():
        return None
    return float(min(int(value.strip()[:6]), 3600))


def _is_unicode(text: str) -> bool:
    """Return whether *text* can be encoded: whether it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of(kinds: type | tuple[type, ...], words: str) -> Callable[..., None]:
    """Return a check for an adapter's field: None is for those that have it as their default."""

    def check(instance: object, attribute: attrs.Attribute[object], value: object) -> None:
        if value is None and attribute.default is None:
            return
        # True is an int in Python; as the number 1 nobody means it.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise WrongType.of(attribute.name, words, value)
        if isinstance(value, float) and not math.isfinite(value):
            msg = f"{attribute.name} must be a finite number, not {value}"
            raise ConfigError(msg, phase="config")
        if isinstance(value, str) and not _is_unicode(value):
            msg = f"{attribute.name} has a lone surrogate, which cannot be sent"
            raise ConfigError(msg, phase="config")

    return check


TEXT = _of(str, "a str")
"""Validator of an adapter's field that holds text: `attrs.field(default=None, validator=TEXT)`."""
NUMBER = _of((int, float), "a number")
"""The same for a finite number."""
WHOLE = _of(int, "a whole number")
"""The same for a whole number."""
FLAG = _of(bool, "True or False")
"""The same for True or False."""


@attrs.frozen(kw_only=True)
class Adapter(abc.ABC):
    """
    One provider. Subclass it with `@attrs.frozen(kw_only=True)`; the fields are its options.

    Attributes:
        voice: the provider's own name; None takes the default of the traits.
        language: the same for the language.
        model: the same for the model.
        format: name of an audio format; None takes the provider's default.
    """

    name: ClassVar[str]
    """What the provider is called, in ``Client("mine")``, in logs and in errors."""
    telemetry_name: ClassVar[str | None] = None
    """What OpenTelemetry's conventions call it (``gen_ai.provider.name``), where that differs."""
    traits: ClassVar[Traits]
    """What the provider is like."""

    voice: str | None = attrs.field(default=None, validator=TEXT)
    language: str | None = attrs.field(default=None, validator=TEXT)
    model: str | None = attrs.field(default=None, validator=TEXT)
    format: str | None = attrs.field(default=None, validator=TEXT)

    # -- once per route or speech

    def tuned(self) -> Traits:
        """Return the traits as this instance's own options make them."""
        return self.traits

    def options(self) -> Options:
        """
        Return the common options with defaults filled in, checked.

        Raises:
            InvalidVoice: the voice is missing or has characters no voice id has.
            InvalidFormat: the provider does not speak this format.
        """
        traits = self.tuned()
        voice = self.voice if self.voice is not None else traits.voice
        if voice is None and traits.voice_required:
            msg = "a voice is required: pass voice="
            raise InvalidVoice(msg, provider=self.name, phase="config")
        if voice is not None and (not _VOICE.fullmatch(voice) or ".." in voice):
            msg = f"voice {voice[:40]!r} cannot be a voice id: letters, digits and . _ : @ - only"
            raise InvalidVoice(msg, provider=self.name, phase="config")
        format = AudioFormat.parse(self.format or traits.formats[0])
        if format.name not in traits.formats:
            known = ", ".join(traits.formats)
            msg = f"this provider does not speak {format}; it has {known}"
            raise InvalidFormat(msg, provider=self.name, phase="config")
        return Options(
            voice=voice,
            language=self.language if self.language is not None else traits.language,
            model=self.model if self.model is not None else traits.model,
            format=format,
        )

    @abc.abstractmethod
    def pool_key(self, options: Options) -> Hashable:
        """Return all that is frozen when a connection is opened; equal keys share connections."""

    @abc.abstractmethod
    def handshake(self, options: Options, secret: str | None) -> Handshake:
        """Say how to open a connection; *secret* is None where there is no key."""

    # -- once per generation; each returns the messages to send, in order

    def open(self, gen: Generation) -> Iterable[Frame]:
        """Begin a generation; its first text follows at once."""
        return ()

    @abc.abstractmethod
    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        """
        Send a piece of text, never blank and never longer than `Traits.max_text`.

        Raises:
            InvalidText: the provider would not take it, such as a text that is too long as a whole.
                The speech ends with that; what was sent of it is interrupted.
        """

    def flush(self, gen: Generation) -> Iterable[Frame]:
        """Ask for the audio of everything sent so far."""
        return ()

    def end(self, gen: Generation) -> Iterable[Frame]:
        """Say that no more text will come."""
        return ()

    def release(self, gen: Generation) -> Iterable[Frame]:
        """Take the second step of a two-step end."""
        return ()

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        """Tell the provider to stop, by cancelling or by finishing; nothing where it cannot."""
        return ()

    # -- once per connection

    def keepalive(self, gen: Generation | None) -> Iterable[Frame]:
        """Keep a generation, or with None the connection, from timing out."""
        return ()

    def shutdown(self) -> Iterable[Frame]:
        """Say goodbye before the close handshake."""
        return ()

    # -- what comes in

    @abc.abstractmethod
    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        """Say what a text message means."""

    def decode_binary(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        """
        Say what a binary message means.

        Over HTTP: a piece of the answer's body, cut anywhere; an empty one once, when the body has
        come to its own end. An answer that is no success does not come here but to `verdict`.
        """
        msg = "a binary message came, but this provider sends text only"
        raise RemoteProtocolError(msg)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        """
        Say what a failure means; *busy* is whether a generation was live on the connection.

        What stands here is the field's common reading of HTTP statuses and close codes. Override it
        for what the provider does differently and call it for the rest.
        """
        match fault:
            case Failed(error=error, id=id):
                return Verdict(Scope.CONNECTION if id is None else Scope.GENERATION, error)
            case DialFailure(status=None, error=error):
                return Verdict(Scope.CONNECTION, error or ConnectError("the dial failed"))
            case DialFailure():
                return Verdict(Scope.CONNECTION, status_error(fault))
            case Closed():
                return self._closed(fault, busy)

    def _closed(self, fault: Closed, busy: bool) -> Verdict:
        scope = Scope.CONNECTION if busy else Scope.NOTHING
        said = f"code {fault.code}" if fault.code is not None else "no close frame"
        words = printable(fault.reason)
        message = f"the connection ended with {said}" + (f" ({words})" if words else "")
        if fault.code == _TRY_AGAIN_LATER:
            return Verdict(scope, AtCapacity(message))
        retryable = fault.code not in (_POLICY_VIOLATION, _TOO_BIG)
        error = ConnectionLost(message, code=fault.code, reason=words, retryable=retryable)
        return Verdict(scope, error)

    def rest(self) -> Adapter | None:
        """Return the same voice over HTTP, or None where the provider has no such surface."""
        return None

    # -- beside speaking

    def list_voices(self, secret: str | None, page: str | None = None) -> Handshake | None:
        """
        Say how to ask for the voices there are: a GET of an ``https://`` URL.

        *page* is what `VoicePage.next` said, and None for the first. Return None where the provider
        has no list.
        """
        return None

    def decode_voices(self, body: bytes) -> VoicePage:
        """
        Say what the answer means.

        Raises:
            RemoteProtocolError: it is no list of voices.
        """
        msg = "an answer came to a question that this adapter does not ask"
        raise RemoteProtocolError(msg)


def connect_timeout(seconds: float) -> DialFailure:
    """Return the failure of a dial that used up its time."""
    msg = f"no connection within {seconds:g} s"
    return DialFailure(error=ConnectTimeout(msg, phase="dial"))
