"""
KugelAudio's three text-to-speech sockets: contexts side by side, turns, and whole requests.

Messages have no type: a key names them, and several may stand in one. Text is gathered until a
sentence ends, a flush comes, or nothing more for a while; what is handed over then is a chunk, with
its audio, its word times and its end. Where the vendor's pages say nothing, an option chooses. HTTP
is in `kugelaudio_http`.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections import deque
from functools import partial
from typing import ClassVar, Literal

import attrs
import msgspec

from . import voices
from .engines import Word
from .exchange import Exchange
from .faults import Moment
from .generation import Chunk, Generation
from .kugelaudio_http import PATH, answer
from .kugelaudio_settings import (
    COMMON,
    NAMES,
    NATIVE_RATE,
    SOCKETS,
    STATUS,
    TURNS,
    UPDATABLE,
    VOICE,
    Refused,
    Settings,
    check_text,
    check_types,
    read_settings,
)
from .provider import Provider, Stage, flag, names, number, one_of
from .session import JSON, Session
from .wire import Request, Response, Wire

UNAUTHORIZED, DRAINING = 4001, 1013

SENTENCE = re.compile(r".*?[.!?…]+[\"')\]]*\s+", re.DOTALL)
WORDS = re.compile(r".*[^\w]", re.DOTALL)


@attrs.frozen(kw_only=True)
class KugelAudio(Provider):
    """
    The options of the simulated KugelAudio.

    *key*: the only key accepted, in ``X-API-Key``, as a bearer token or as ``?api_key=``; None
    accepts any, and none unless *require_key*. *key_checked*: a bad key is refused at the upgrade
    with *key_status*, or the socket is closed with 4001 when it is open. *voices*: the only voices;
    None accepts all but 99999999 and ``nope``. *max_sessions*: further upgrades get 429, with
    *retry_after*. *drains*: this many connections, from the first, are closed with 1013 at once.

    *contradiction*: a ``sample_rate`` that is not the one of ``output_format`` is refused, as the
    vendor's page has it, or ignored, without which the vendor's own package can have G.711 only if
    it is told the rate as well.

    *flush_timeout_ms*: how long text waits for the end of its sentence. *turn_idle*: seconds
    without text after which a turn is ended, with a *warning*; what was sent meanwhile begins
    another turn or is lost (*crossing*). *context_idle*: the same for a context, which then ends as
    *context_notice* says. *max_contexts*: on one socket, those that are being closed included.

    *late_audio*: how many audio messages still come after a cancel. *cancel_ends*: a cancelled turn
    ends as if it had been flushed, then the cancel is acknowledged. *idle_cancel*: a cancel with
    nothing to cancel is acknowledged. *cancel_forgets*: after it the voice must be named anew.

    *finals*, *enc*, *usage*, *request_ids*, *context_created*: whether these are sent at all, which
    older servers do not. *final_again*: a context's end has a `final` of its own even right after
    that of a flush. *cost*: of a usage, or null. *error_code*, *error_id*, *error_close*: the
    ``error`` fault, whether it names its context, and the code that the socket is closed with.
    """

    name: ClassVar[str] = "kugelaudio"
    path: ClassVar[str] = "/ws/tts/multi"
    default_voice: ClassVar[str] = "1071"
    cancels: ClassVar[bool] = True

    key: str | None = attrs.field(default=None, repr=False)
    require_key: bool = flag(False)
    key_checked: Literal["upgrade", "open"] = one_of("upgrade", "open")
    key_status: float = number(403)
    voices: tuple[str, ...] | None = names(None)
    max_sessions: float | None = number(None)
    retry_after: float | None = number(None)
    drains: float = number(0)
    contradiction: Literal["refused", "ignored"] = one_of("refused", "ignored")
    flush_timeout_ms: float = number(500)
    turn_idle: float = number(5)
    warning: bool = flag(True)
    crossing: Literal["next", "lost"] = one_of("next", "lost")
    context_idle: float = number(20)
    context_notice: Literal["closed", "timeout"] = one_of("closed", "timeout")
    max_contexts: float = number(20)
    late_audio: float = number(0)
    cancel_ends: bool = flag(False)
    idle_cancel: bool = flag(True)
    cancel_forgets: bool = flag(True)
    finals: bool = flag(True)
    final_again: bool = flag(False)
    enc: bool = flag(True)
    usage: bool = flag(True)
    cost: bool = flag(True)
    request_ids: bool = flag(True)
    context_created: bool = flag(True)
    error_code: str = "INTERNAL_ERROR"
    error_id: bool = flag(True)
    error_close: float | None = number(None)

    def serves(self, path: str) -> bool:
        return path in ("/ws/tts/multi", "/ws/tts/stream", "/ws/tts")

    def secret(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        return request.headers.get("x-api-key", "") or bearer or request.query.get("api_key", "")

    def accepts(self, request: Request) -> bool:
        """Check the key."""
        key = self.secret(request)
        return key == self.key if self.key is not None else bool(key) or not self.require_key

    def admit(self, stage: Stage, request: Request) -> Response | None:
        if self.key_checked == "upgrade" and not self.accepts(request):
            return self.refusal(int(self.key_status), "Invalid API key", "UNAUTHORIZED")
        if self.max_sessions is not None and len(stage.sessions) >= self.max_sessions:
            refusal = self.refusal(429, "Too many connections", "RATE_LIMITED")
            if self.retry_after is not None:
                headers = (("Retry-After", f"{self.retry_after:.0f}"),)
                refusal = attrs.evolve(refusal, headers=headers)
            return refusal
        return None

    def settings(self, found: JSON) -> Settings:
        """Read what a text is to be spoken with. Raises `Refused`."""
        return read_settings(found, self.voices, lenient=self.contradiction == "ignored")

    def refusal(self, status: int, message: str, name: str | None = None) -> Response:
        if name is None:
            name = next((name for name, code in STATUS.items() if code == status), "INTERNAL_ERROR")
        return Response(status, msgspec.json.encode(self.error(message, name, status)))

    def error(self, message: str, name: str, status: int | None = None) -> JSON:
        """Spell an error, as a message or as a body."""
        code = STATUS.get(name, 500) if status is None else status
        request = {"request_id": "9f2c"} if self.request_ids else {}
        return {"error": message, "error_code": name, "code": code, **request}

    def request(
        self, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> Response | Exchange | None:
        if request.path == voices.KUGELAUDIO and request.method == "GET":
            if not self.accepts(request):
                return self.refusal(int(self.key_status), "Invalid API key", "UNAUTHORIZED")
            found = voices.offset_page(voices.listed(self.voices, self.default_voice), request)
            return found or self.refusal(400, "limit is 1 to 100", "VALIDATION_ERROR")
        return answer(self, stage, wire, conn, request) if request.path == PATH else None

    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        match request.path:
            case "/ws/tts/multi":
                return Contexts(self, stage, wire, conn, request)
            case "/ws/tts/stream":
                return Turns(self, stage, wire, conn, request)
        return Requests(self, stage, wire, conn, request)


@attrs.define
class Talk:
    """
    One context, turn or request.

    *tag* names it in every message. *buffer* is text that is not handed over yet; *texts* are the
    chunks that were, *spoken* how many of them are over, and *marks* what the flushes in the feed
    stand for.
    """

    gen: Generation
    settings: Settings
    tag: JSON
    fed: float
    buffer: str = ""
    characters: int = 0
    finishing: bool = False
    by_itself: bool = False
    cancelled: bool = False
    final: bool = False
    texts: list[str] = attrs.field(factory=list)
    marks: deque[str] = attrs.field(factory=deque)
    spoken: int = 0
    started: bool = False
    chunk_start: float = 0.0
    seconds: float = 0.0
    words: list[Word] = attrs.field(factory=list)
    last: bytes = b""

    @property
    def chunk(self) -> JSON:
        return {"chunk_id": self.spoken}


class KugelSession(Session):
    """What the three sockets have in common: text becomes chunks, chunks become messages."""

    audio_field: ClassVar[str] = "audio"
    known: ClassVar[frozenset[str]] = frozenset(
        {"text", "flush", "cancel", "update_settings", *VOICE, *COMMON, *SOCKETS}
    )

    def __init__(
        self, provider: KugelAudio, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(stage, wire, conn)
        self.provider = provider
        self.settings: JSON = {}
        self.talks: dict[int, Talk] = {}
        self.seconds = 0.0
        self._authorized = provider.accepts(request)

    def opened(self) -> None:
        if not self._authorized:
            self.close(UNAUTHORIZED, "unauthorized")
        elif self.conn <= self.provider.drains:
            self.close(DRAINING, "draining")

    # What the client sends

    def receive(self, message: JSON) -> None:
        for name in sorted(message.keys() - self.known):
            self.violation(f"unknown field {name!r}; it is ignored", self.generation_of(message))
        try:
            if (update := message.get("update_settings")) is not None:
                self._update(update)
            self.take(message)
        except Refused as exc:
            self.violation(str(exc.args[0]), self.generation_of(message))
            self.refused(message, *exc.args)

    @abstractmethod
    def take(self, message: JSON) -> None:
        """Do what *message* says. Raises `Refused`."""

    @abstractmethod
    def refused(self, message: JSON, words: str, name: str) -> None:
        """Answer *message* with an error."""

    def reject(self, message: str) -> None:
        self.send(self.provider.error(message, "VALIDATION_ERROR"))

    def _update(self, update: object) -> None:
        if not isinstance(update, dict) or update.keys() - set(UPDATABLE):
            # The socket and what is spoken go on, whatever was wrong.
            self.violation("update_settings has what cannot be updated")
            words = f"update_settings takes {', '.join(UPDATABLE)}"
            self.send(self.provider.error(words, "VALIDATION_ERROR"))
            return
        check_types(update, {**VOICE, **COMMON})
        self.settings |= update
        now = {name: self.settings.get(name) for name in UPDATABLE}
        self.send({"settings_updated": True, "settings": now})

    def start(self, id: str | None, settings: Settings, tag: JSON) -> Talk:
        """Open a context, turn or request. It speaks when `begin` has been called for it."""
        gen = self.create(id, settings.voice, settings.language, settings.encoding)
        talk = Talk(gen, settings, tag, asyncio.get_running_loop().time())
        self.talks[gen.number] = talk
        return talk

    def feed(self, talk: Talk, text: str) -> None:
        """Take text; hand over what is a sentence, and the rest if nothing follows for a while."""
        talk.fed = asyncio.get_running_loop().time()
        talk.characters += len(text)
        talk.buffer += text
        while (found := SENTENCE.match(talk.buffer)) is not None:
            self._hand_over(talk, found.end())
        if talk.buffer and not talk.finishing:
            wait = self.settings.get("flush_timeout_ms", self.provider.flush_timeout_ms)
            assert isinstance(wait, int | float), "it was checked"
            self.later(wait / 1000, self._stale, talk, talk.fed)

    def _stale(self, talk: Talk, fed: float) -> None:
        if talk.fed == fed and not talk.gen.over:
            # Half a word waits on: what a slow machine cuts in two could not be compared.
            whole = WORDS.match(talk.buffer)
            self._hand_over(talk, whole.end() if whole else 0)

    def _hand_over(self, talk: Talk, length: int) -> None:
        text, talk.buffer = talk.buffer[:length], talk.buffer[length:]
        if not text.strip():
            return
        talk.texts.append(text.strip())
        talk.marks.append("chunk")
        talk.gen.feed.add(text)
        talk.gen.feed.flush()
        talk.gen.touch()

    def flush(self, talk: Talk) -> None:
        """Speak what there is; a `final` follows it."""
        self._hand_over(talk, len(talk.buffer))
        talk.marks.append("flush")
        talk.gen.feed.flush()
        talk.gen.touch()

    def finish(self, talk: Talk) -> None:
        """Take no more text, and end when the rest is spoken."""
        talk.finishing = True
        self._hand_over(talk, len(talk.buffer))
        talk.gen.feed.end()
        talk.gen.touch()

    # What the server sends

    def flushed(self, gen: Generation) -> None:
        talk = self.talks[gen.number]
        if talk.marks.popleft() == "flush":
            self._final(talk)
            return
        if not gen.detached:
            self._started(talk)
            self._stamps(talk)
            seconds = round(talk.seconds - talk.chunk_start, 4)
            done: JSON = {"chunk_complete": True, **talk.tag, **talk.chunk}
            self.send({**done, "audio_seconds": seconds, "gen_ms": 1}, gen)
        talk.spoken += 1
        talk.started = False
        talk.words.clear()
        talk.chunk_start = talk.seconds

    def _started(self, talk: Talk) -> None:
        if not talk.started:
            talk.started = True
            text = talk.texts[talk.spoken]
            self.send(
                {"generation_started": True, **talk.tag, **talk.chunk, "text": text}, talk.gen
            )

    def _stamps(self, talk: Talk) -> None:
        if not talk.settings.stamps or not talk.words:
            return
        found, at = [], 0
        text = talk.texts[talk.spoken]
        for word in talk.words:
            start = text.find(word.text, at)
            at = start + len(word.text)
            found.append(
                {
                    "word": word.text,
                    "start_ms": round(1000 * (word.start - talk.chunk_start)),
                    "end_ms": round(1000 * (word.stop - talk.chunk_start)),
                    "char_start": start,
                    "char_end": at,
                    "score": 1.0,
                }
            )
        self.send({"word_timestamps": found, **talk.tag, **talk.chunk}, talk.gen)

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        talk = self.talks[gen.number]
        if not gen.detached:
            self._started(talk)
        self._sound(talk, chunk.data, gen.chunks - 1)
        talk.words += chunk.words
        talk.last = chunk.data
        talk.final = False
        self.seconds += chunk.stop - talk.seconds
        talk.seconds = chunk.stop

    def _sound(self, talk: Talk, data: bytes, index: int) -> None:
        encoding = talk.gen.encoding
        name: JSON = {"enc": NAMES[encoding.codec]} if self.provider.enc else {}
        facts: JSON = {"idx": index, "sr": encoding.rate, "samples": len(data) // encoding.width}
        self.send_audio({**name, **facts, **talk.chunk, **talk.tag}, talk.gen, data)

    def late(self, talk: Talk) -> None:
        """Send what was under way when a cancel came: of its audio, for it must reach nobody."""
        for _ in range(int(self.provider.late_audio) if talk.last else 0):
            self._sound(talk, talk.last, talk.gen.chunks)

    def _final(self, talk: Talk) -> None:
        talk.final = True
        if self.provider.finals:
            self.send({"final": True, **talk.tag}, talk.gen)

    def usage(self, talk: Talk) -> JSON:
        """Say what *talk* cost, if anything was spoken."""
        if not self.provider.usage or talk.seconds == 0:
            return {}
        cost = round(0.09 * talk.seconds, 4)
        usage: JSON = {
            "audio_seconds": round(talk.seconds, 4),
            "characters": talk.characters,
            "cost_cents": cost if self.provider.cost else None,
            "currency": "eur",
            "model_id": talk.settings.model,
        }
        return {"usage": usage if self.provider.cost else {**usage, "cost_unavailable": True}}

    def failed(self, gen: Generation | None, message: str) -> None:
        provider = self.provider
        tag = self.talks[gen.number].tag if gen is not None and provider.error_id else {}
        self.send({**provider.error(message, provider.error_code), **tag}, gen)
        if gen is not None:
            self.cut(gen, "error")
        if provider.error_close is not None:
            self.close(int(provider.error_close), message)

    # Cancelling

    def cancelled(self, talk: Talk | None) -> None:
        """Stop *talk* as a client has asked for, or as the faults will have it."""
        gen = talk.gen if talk is not None else None
        if gen is not None:
            gen.interrupt()
        fault = next(iter(self.faults(Moment.CANCEL, gen)), None)
        match fault and fault.action:
            case "no-ack":
                pass
            case "late-ack":
                assert fault is not None
                self.acknowledge_late(fault, gen, partial(self._stop, talk))
            case "speak-on":
                if gen is not None:
                    self.detach(gen)
                self.acknowledge(talk)
            case _:
                self._stop(talk)

    def _stop(self, talk: Talk | None) -> None:
        if talk is not None and not talk.gen.over:
            self.late(talk)
            self.cut(talk.gen, "interrupt")
        self.acknowledge(talk)

    @abstractmethod
    def acknowledge(self, talk: Talk | None) -> None:
        """Say that *talk* was cancelled."""


class Contexts(KugelSession):
    """Contexts side by side."""

    known: ClassVar[frozenset[str]] = KugelSession.known | {
        "context_id",
        "voice_settings",
        "close_context",
        "immediate",
        "close_socket",
    }

    def __init__(
        self, provider: KugelAudio, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(provider, stage, wire, conn, request)
        self.contexts: dict[str, Talk] = {}
        self._gone: set[str] = set()

    def generation_of(self, message: JSON) -> Generation | None:
        id = message.get("context_id")
        talk = self.contexts.get(id) if isinstance(id, str) else None
        return talk.gen if talk is not None else None

    def take(self, message: JSON) -> None:
        id = message.get("context_id")
        if message.get("close_socket"):
            self.send({"session_closed": True, "total_audio_seconds": round(self.seconds, 4)})
            self.close(1000)
        elif id is None:
            self._without_id(message)
        elif not isinstance(id, str) or not id:
            raise Refused("context_id must be a string", "VALIDATION_ERROR")
        elif id in self.contexts:
            self._known(self.contexts[id], message)
        elif id in self._gone:
            # It may have crossed the end of its context. Whether an id may be used again is not
            # documented; here it may not.
            if message.get("text"):
                error = self.provider.error("The context is closed", "VALIDATION_ERROR")
                self.send({**error, "context_id": id})
        else:
            self._create(id, message)

    def _without_id(self, message: JSON) -> None:
        if message.get("cancel"):
            for talk in [talk for talk in self.contexts.values() if not talk.finishing]:
                self.cut(talk.gen, "interrupt")
                self._closed(talk)
            self.send({"interrupted": True})
        elif message.get("text"):
            raise Refused("context_id is required", "VALIDATION_ERROR")
        elif "text" in message:
            # Without a context: a voice is to be prepared, so it is looked for.
            check_types(message, {**VOICE, **COMMON, **SOCKETS})
            self.provider.settings({**self.settings, **message})

    def _create(self, id: str, message: JSON) -> None:
        text = message.get("text")
        if not text:
            raise Refused("there is no such context", "NOT_FOUND")
        text = check_text(text)
        voice = message.get("voice_settings")
        voice = voice if isinstance(voice, dict) else {}
        for name in sorted(voice.keys() - VOICE.keys()):
            self.violation(f"{name} does not belong into voice_settings; it is ignored")
        for name in sorted(message.keys() & VOICE.keys()):
            self.violation(f"{name} belongs into voice_settings; it is ignored")
        top = {name: message[name] for name in message.keys() & {*COMMON, *SOCKETS}}
        check_types(top, {**COMMON, **SOCKETS})
        check_types(voice, VOICE)
        if len(self.contexts) >= self.provider.max_contexts:
            raise Refused("Too many contexts on this socket", "TOO_MANY_CONTEXTS")
        own = {name: voice[name] for name in voice.keys() & VOICE.keys()}
        settings = self.provider.settings({**self.settings, **top, **own})
        # Whatever stands at the top holds for the socket: the last one who writes wins.
        self.settings |= top
        talk = self.start(id, settings, {"context_id": id})
        self.contexts[id] = talk
        if self.provider.context_created:
            self.send({"context_created": True, "context_id": id}, talk.gen)
        if self.begin(talk.gen):
            self.later(self.provider.context_idle, self._check_idle, talk)
            self._known(talk, message)

    def _known(self, talk: Talk, message: JSON) -> None:
        talk.fed = asyncio.get_running_loop().time()
        if message.get("close_context") and message.get("immediate"):
            self.cancelled(talk)
            return
        if message.get("cancel"):
            talk.cancelled = True
            self.cancelled(talk)
            return
        if text := message.get("text"):
            if talk.finishing:
                raise Refused("text after close_context", "VALIDATION_ERROR")
            self.feed(talk, check_text(text))
        if message.get("flush"):
            if talk.finishing:
                raise Refused("flush after close_context", "VALIDATION_ERROR")
            self.flush(talk)
        if message.get("close_context"):
            if talk.finishing:
                raise Refused("the context is being closed already", "VALIDATION_ERROR")
            self.finish(talk)

    def _check_idle(self, talk: Talk) -> None:
        if talk.finishing or talk.gen.over or talk.gen.detached:
            return
        left = talk.fed + self.provider.context_idle - asyncio.get_running_loop().time()
        if left > 0:
            self.later(left, self._check_idle, talk)
        elif self.provider.context_notice == "timeout":
            self.send({"context_timeout": True, **talk.tag}, talk.gen)
            self.cut(talk.gen, "timeout")
        else:
            self.finish(talk)

    def refused(self, message: JSON, words: str, name: str) -> None:
        id = message.get("context_id")
        talk = self.contexts.get(id) if isinstance(id, str) else None
        tag: JSON = {"context_id": id} if isinstance(id, str) and id else {}
        error = self.provider.error(words, name)
        self.send({**error, **tag}, talk.gen if talk is not None else None)
        if talk is not None:
            self.cut(talk.gen, "error")
        elif isinstance(id, str):
            self._gone.add(id)

    def acknowledge(self, talk: Talk | None) -> None:
        assert talk is not None, "a context is cancelled by its id"
        if talk.cancelled:
            self.send({"interrupted": True, **talk.tag}, talk.gen)
        self._closed(talk)

    def _closed(self, talk: Talk) -> None:
        self.send({"context_closed": True, **talk.tag, **self.usage(talk)}, talk.gen)

    def done(self, gen: Generation, *, marker: bool) -> None:
        talk = self.talks[gen.number]
        if marker:
            if self.provider.final_again or not talk.final:
                self._final(talk)
            self._closed(talk)

    def left(self, gen: Generation) -> None:
        if gen.id is not None and self.contexts.pop(gen.id, None) is not None:
            self._gone.add(gen.id)


class Sequence(KugelSession):
    """A socket that speaks one thing at a time. *current* is that; *waiting* came too early."""

    def __init__(
        self, provider: KugelAudio, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(provider, stage, wire, conn, request)
        self.current: Talk | None = None
        self.waiting: list[JSON] = []

    def generation_of(self, message: JSON) -> Generation | None:
        return self.current.gen if self.current is not None else None

    def refused(self, message: JSON, words: str, name: str) -> None:
        talk = self.current
        self.send(self.provider.error(words, name), talk.gen if talk is not None else None)
        if talk is not None:
            self.cut(talk.gen, "error")

    def cancel(self) -> None:
        """Stop what is spoken, and forget what waits."""
        self.waiting.clear()
        if self.current is not None or self.provider.idle_cancel:
            self.cancelled(self.current)

    def acknowledge(self, talk: Talk | None) -> None:
        self.send({"interrupted": True}, talk.gen if talk is not None else None)

    def left(self, gen: Generation) -> None:
        if self.current is not None and self.current.gen is gen:
            self.current = None
            waiting, self.waiting = self.waiting, []
            for message in waiting if self.wire.open else ():
                self.receive(message)


class Turns(Sequence):
    """One turn after the other; settings stick."""

    known: ClassVar[frozenset[str]] = Sequence.known | {
        "close",
        "end_session",
        "close_socket",
        *TURNS,
    }

    def __init__(
        self, provider: KugelAudio, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(provider, stage, wire, conn, request)
        self._ended_by_itself = False

    def take(self, message: JSON) -> None:
        if message.get("close_socket"):
            self.close(1000)
        elif message.get("cancel"):
            if self.provider.cancel_forgets:
                self.settings.clear()
            self.cancel()
        elif self.current is not None and self.current.finishing:
            self._too_early(self.current, message)
        else:
            self._configure(message)
            if text := message.get("text"):
                self._text(check_text(text))
            if message.get("flush") or message.get("close") or message.get("end_session"):
                self._flush()

    def _too_early(self, talk: Talk, message: JSON) -> None:
        """What comes before the end of a turn belongs to the next one, which is a mistake."""
        if not talk.by_itself:
            self.violation("a message after the flush and before session_closed", talk.gen)
            self.waiting.append(message)
        elif self.provider.crossing == "next":
            self.waiting.append(message)

    def _configure(self, message: JSON) -> None:
        kinds = {**VOICE, **COMMON, **SOCKETS, **TURNS}
        found = {name: message[name] for name in message.keys() & kinds.keys()}
        check_types(found, kinds)
        if found and self.current is not None:
            self.violation("settings in the middle of a turn; they hold from the next one on")
        self.settings |= found
        if found.get("voice_id") is not None:
            self.provider.settings(self.settings)

    def _text(self, text: str) -> None:
        if self.current is None:
            settings = self.provider.settings(self.settings)
            self._ended_by_itself = False
            self.current = talk = self.start(None, settings, {})
            if not self.begin(talk.gen):
                return
            self.later(self.provider.turn_idle, self._check_idle, talk)
        self.feed(self.current, text)

    def _flush(self) -> None:
        if self.current is not None:
            self.finish(self.current)
            return
        # It ends a session that has said nothing, and that end may come in the middle of the next.
        if not self._ended_by_itself:
            self.violation("a flush without a turn")
        self._say_closed(None)

    def _check_idle(self, talk: Talk) -> None:
        if talk.finishing or talk.gen.over:
            return
        left = talk.fed + self.provider.turn_idle - asyncio.get_running_loop().time()
        if left > 0:
            self.later(left, self._check_idle, talk)
            return
        if self.provider.warning:
            words = f"Turn ended after {self.provider.turn_idle:g} s of inactivity"
            self.send({"warning": words}, talk.gen)
        talk.by_itself = self._ended_by_itself = True
        self.finish(talk)

    def _stop(self, talk: Talk | None) -> None:
        if talk is not None and not talk.gen.over and self.provider.cancel_ends:
            self.done(talk.gen, marker=True)
        super()._stop(talk)

    def done(self, gen: Generation, *, marker: bool) -> None:
        if marker:
            talk = self.talks[gen.number]
            if self.provider.finals:
                self.send({"final": True, **self._totals(talk)}, gen)
            self._say_closed(talk)

    def _say_closed(self, talk: Talk | None) -> None:
        usage = self.usage(talk) if talk is not None else {}
        gen = talk.gen if talk is not None else None
        self.send({"session_closed": True, **self._totals(talk), **usage}, gen)

    def _totals(self, talk: Talk | None) -> JSON:
        return {
            "total_audio_seconds": round(talk.seconds, 4) if talk is not None else 0.0,
            "total_text_chunks": talk.spoken if talk is not None else 0,
            "total_audio_chunks": talk.gen.chunks if talk is not None else 0,
        }


class Requests(Sequence):
    """One whole text after the other."""

    def take(self, message: JSON) -> None:
        if message.get("cancel"):
            self.cancel()
        elif "update_settings" in message and "text" not in message:
            pass
        elif self.current is not None:
            self.violation("a request before the end of the one before", self.current.gen)
            self.waiting.append(message)
        else:
            self._request(message)

    def _request(self, message: JSON) -> None:
        check_types(message, {**VOICE, **COMMON, **SOCKETS})
        text = check_text(message.get("text"))
        settings = self.provider.settings({**self.settings, **message})
        self.current = talk = self.start(None, settings, {})
        if self.begin(talk.gen):
            self.feed(talk, text)
            self.finish(talk)

    def done(self, gen: Generation, *, marker: bool) -> None:
        if marker:
            talk = self.talks[gen.number]
            seconds = round(talk.seconds, 4)
            facts: JSON = {
                "chunks": gen.chunks,
                # Of the native audio, whatever was asked for.
                "total_samples": round(talk.seconds * NATIVE_RATE),
                "dur_ms": 1000 * seconds,
                "gen_ms": 1.0,
                "rtf": 0.0,
            }
            self.send({"final": True, **facts, **self.usage(talk)}, gen)
