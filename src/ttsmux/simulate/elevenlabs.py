"""
ElevenLabs' text-to-speech sockets: contexts side by side, or one generation and the end. Its HTTP
routes are in `elevenlabs_http`.

A message has no type; its fields tell what it is. A context ends only when it is closed, and counts
until it has ended: a sixth closes the socket. MP3 and Opus are not simulated. Where the vendor's
pages disagree or say nothing, an option chooses.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs
import msgspec

from . import elevenlabs_http, voices
from .elevenlabs_rules import (
    DEFAULT_MODEL,
    DEFAULT_TIMEOUT,
    FORMATS,
    INTERNAL,
    LOOKED_AT,
    MAX_CONTEXTS,
    MULTI,
    NO_VOICES,
    POLICY,
    QUERY,
    SETTLED,
    SINGLE,
    TRIGGER_AT,
    Refusal,
    Refused,
    characters,
    check_fields,
    check_locators,
    check_query,
    check_settings,
    limit_of,
    read_schedule,
)
from .exchange import Exchange
from .generation import Chunk, Generation
from .provider import Provider, Stage, flag, names, number, one_of
from .session import JSON, Session
from .wire import Request, Response, Wire

PATH = re.compile(r"/v1/text-to-speech/([^/]+)/(multi-stream-input|stream-input)")
TOO_MANY = f"Maximum simultaneous contexts per WebSocket connection exceeded ({MAX_CONTEXTS})."
TOO_LONG = "A context takes {:g} characters at most."
TOO_QUIET = "Have not received a new text input within the timeout of {:g} seconds."
CHANGED = "{} must be in the first message and afterwards be absent or unchanged"
# The identifier that goes with a status, where nothing better is known.
CODES: Mapping[int, tuple[str, str]] = {
    400: ("validation_error", "invalid_parameters"),
    401: ("authentication_error", "invalid_api_key"),
    402: ("payment_required", "insufficient_credits"),
    403: ("authorization_error", "feature_not_available"),
    404: ("not_found", "not_found"),
    409: ("conflict", "already_running"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


@attrs.frozen(kw_only=True)
class ElevenLabs(Provider):
    """
    The options of the simulated ElevenLabs.

    *key*: the only ``xi-api-key`` accepted; None accepts any, and none unless *require_key*.
    *key_checked*: a bad key is refused at the upgrade, or after it with 1008. *voices*: the only
    voice ids; None accepts all but ``nope`` and ``missing``. *idle*: what happens to a context
    that hears nothing for ``inactivity_timeout`` seconds: it alone is closed, or the socket is.
    *settings_scope*: ``voice_settings`` are settled by the first message of the connection, or of
    each context. *race_ms*: a ``close_context`` within so many milliseconds of the text, and before
    any audio, overtakes it; *race* says what then comes, the end without audio or nothing at all.
    *max_characters*: of a context; more of them close the socket. None takes what the model takes
    in a request. *close_buffered*: text that was not flushed when its context is closed is spoken
    or dropped.
    *id_field*, *final_field*: names of these in what is sent; an id may also be missing.
    *timing*: the first message with new words has the times of them all, or each has its own.
    *spelling*: which name the durations have. *restarts*: times start over, as with dictionaries;
    ``normalizedAlignment`` then has them once. *error*, *error_code*, *error_id*, *error_close*:
    how the ``error`` fault looks; an error with an id ends its context only, one without closes.
    *error_shape*: of an HTTP error's body. *http_error*: what fails before any audio is a status,
    or a success whose body is no audio.
    """

    name: ClassVar[str] = "elevenlabs"
    path: ClassVar[str] = "/v1/text-to-speech/{voice_id}/multi-stream-input"
    default_voice: ClassVar[str] = "21m00Tcm4TlvDq8ikWAM"
    cancels: ClassVar[bool] = False

    key: str | None = attrs.field(default=None, repr=False)
    require_key: bool = flag(False)
    key_checked: Literal["upgrade", "open"] = one_of("upgrade", "open")
    voices: tuple[str, ...] | None = names(None)
    idle: Literal["context", "socket"] = one_of("context", "socket")
    settings_scope: Literal["connection", "context"] = one_of("connection", "context")
    race_ms: float = number(0)
    race: Literal["empty", "silent"] = one_of("empty", "silent")
    max_characters: float | None = number(None)
    close_buffered: Literal["speak", "drop"] = one_of("speak", "drop")
    id_field: Literal["contextId", "context_id", "none"] = one_of("contextId", "context_id", "none")
    final_field: Literal["isFinal", "is_final"] = one_of("isFinal", "is_final")
    timing: Literal["first", "each"] = one_of("first", "each")
    spelling: Literal["charDurationsMs", "charsDurationsMs"] = one_of(
        "charDurationsMs", "charsDurationsMs"
    )
    restarts: bool = flag(False)
    error: str = "internal_error"
    error_code: int = attrs.field(default=INTERNAL, converter=int)
    error_id: bool = flag(False)
    error_close: bool | None = flag(None)
    error_shape: Literal["code", "status", "list"] = one_of("code", "status", "list")
    http_error: Literal["status", "body"] = one_of("status", "body")

    def serves(self, path: str) -> bool:
        return PATH.fullmatch(path) is not None

    def secret(self, request: Request) -> str:
        query = request.query
        return (
            request.headers.get("xi-api-key")
            or query.get("single_use_token")
            or query.get("authorization", "")
        )

    def accepts(self, request: Request) -> bool:
        """Check the key."""
        key = self.secret(request)
        return key == self.key if self.key is not None else bool(key) or not self.require_key

    def admit(self, stage: Stage, request: Request) -> Response | None:
        if self.key_checked == "upgrade" and not self.accepts(request):
            return self.refusal(401, "Invalid API key")
        refusal = check_query(request.query) or self.check_voice(voice_of(request))
        return self.answer(refusal) if refusal is not None else None

    def check_voice(self, voice: str) -> Refusal | None:
        """Say that there is no such voice, or None."""
        known = self.voices
        if (voice in known) if known is not None else (voice not in NO_VOICES):
            return None
        return Refusal(404, "not_found", "voice_not_found", f"A voice {voice!r} was not found.")

    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        kind = MultiSession if request.path.endswith("/multi-stream-input") else SingleSession
        return kind(self, stage, wire, conn, request)

    def request(
        self, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> Response | Exchange | None:
        if request.path == voices.ELEVENLABS and request.method == "GET":
            if not self.accepts(request):
                return self.refusal(401, "Invalid API key")
            found = voices.token_page(voices.listed(self.voices, self.default_voice), request)
            return found or self.refusal(422, "page_size: 1 to 100")
        return elevenlabs_http.answer(self, stage, wire, conn, request)

    def refusal(self, status: int, message: str) -> Response:
        kind, code = CODES.get(status, ("internal_error", "internal_error"))
        return self.answer(Refusal(status, kind, code, message))

    def answer(self, refusal: Refusal) -> Response:
        """Write an HTTP error."""
        detail: object = {
            "type": refusal.kind,
            "code": refusal.code,
            "message": refusal.message,
            "status": refusal.code,
            "request_id": "0f3a",
            "param": None,
        }
        if self.error_shape == "status":
            detail = {"status": refusal.code, "message": refusal.message}
        elif self.error_shape == "list":
            detail = [{"loc": ["query"], "msg": refusal.message, "type": refusal.code}]
        return Response(refusal.status, msgspec.json.encode({"detail": detail}))


def voice_of(request: Request) -> str:
    """Return the voice that a path names."""
    return request.path.split("/")[3]


@attrs.define
class Context:
    """
    An open or closing context.

    *heard* and *texted* are instants; *taken* counts characters; *chars* wait to be told.
    """

    generation: Generation
    settled: JSON
    schedule: tuple[float, ...]
    heard: float
    texted: float
    taken: int = 0
    buffer: str = ""
    last: str = ""
    parts: int = 0
    closing: bool = False
    chars: deque[tuple[str, float, float]] = attrs.field(factory=deque)


class ElevenLabsSession(Session):
    """
    What both sockets have: contexts, of which the single one has one without an id.

    *lost* counts contexts that will never end but take a place all the same. *settings* are the
    first message's, which bind all that follow.
    """

    audio_field: ClassVar[str] = "audio"
    fields: ClassVar[frozenset[str]]

    def __init__(
        self, provider: ElevenLabs, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(stage, wire, conn)
        query = request.query
        self.provider = provider
        self.contexts: dict[str | None, Context] = {}
        self.lost = 0
        self.timeout = int(query.get("inactivity_timeout", DEFAULT_TIMEOUT))
        self.heard = 0.0
        self._request = request
        self._settings: list[object] = []
        self._unknown = query.keys() - QUERY.keys() - set(LOOKED_AT)
        self._voice = voice_of(request)
        self._language = query.get("language_code")
        self._encoding = FORMATS[query["output_format"]]
        self._auto = query.get("auto_mode") == "true"
        self._timed = query.get("sync_alignment") == "true"
        most = provider.max_characters
        self._most = limit_of(query.get("model_id", DEFAULT_MODEL)) if most is None else most

    def opened(self) -> None:
        for name in self._unknown:
            self.violation(f"unknown parameter {name!r}; it is ignored")
        self.heard = self._now()
        self.later(self.timeout, self._check_idle)
        if not self.provider.accepts(self._request):
            self._die("invalid_api_key", "Invalid API key")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # What the client sends

    def receive(self, message: JSON) -> None:
        self.heard = self._now()
        for name in sorted(message.keys() - self.fields):
            self.violation(f"unknown field {name!r}; it is ignored")
        try:
            check_fields(message)
            self.take(message)
        except Refused as exc:
            error, text = exc.args
            self.violation(text, self.generation_of(message))
            self._die(error, text)

    @abstractmethod
    def take(self, message: JSON) -> None:
        """Handle a message whose fields have the right types. Raises `Refused`."""

    def reject(self, message: str) -> None:
        self._die("invalid_parameters", message)

    def generation_of(self, message: JSON) -> Generation | None:
        id = message.get("context_id")
        context = self.contexts.get(id) if id is None or isinstance(id, str) else None
        return context.generation if context is not None else None

    def start(self, id: str | None, message: JSON) -> Context:
        """Open a context by its first message. Raises `Refused`."""
        check_settings(message.get("voice_settings"))
        check_locators(message.get("pronunciation_dictionary_locators"))
        schedule = read_schedule(message.get("generation_config"))
        self._check_settings(message)
        gen = self.create(id, self._voice, self._language, self._encoding)
        settled: JSON = {name: message.get(name) for name in SETTLED}
        now = self._now()
        context = self.contexts[id] = Context(gen, settled, schedule, now, now)
        self.begin(gen)
        return context

    def _check_settings(self, message: JSON) -> None:
        """Settle the voice's settings with the first message; later ones may only repeat them."""
        given = message.get("voice_settings")
        if self.provider.settings_scope == "context":
            return
        if not self._settings:
            self._settings.append(given)
        elif given is not None and given != self._settings[0]:
            raise Refused("invalid_request", CHANGED.format("voice_settings"))

    def check_unchanged(self, context: Context, message: JSON) -> None:
        """Check a later message of a context. Raises `Refused`."""
        for name in SETTLED:
            if message.get(name) is not None and message[name] != context.settled[name]:
                raise Refused("invalid_request", CHANGED.format(name))

    def add(self, context: Context, message: JSON) -> None:
        """Take a message's text, and speak what is enough or asked for."""
        context.heard = self._now()
        text = str(message.get("text", ""))
        if text.strip():
            context.texted = context.heard
            if context.last and self._cuts(context.last[-1], text[0]):
                self.violation("a word is cut in two by two messages", context.generation)
            # White space at the very end is no text, nor is a message of nothing else.
            if context.taken + len(text.rstrip()) > self._most:
                raise Refused("text_too_long", TOO_LONG.format(self._most))
            context.taken += len(text)
        if text.strip() or context.last:
            context.buffer += text
            context.last = text or context.last
        schedule = context.schedule
        enough = schedule[min(context.parts, len(schedule) - 1)]
        if message.get("try_trigger_generation"):
            enough = TRIGGER_AT
        if message.get("flush") or self._auto:
            self._speak_so_far(context, len(context.buffer))
        elif len(context.buffer) >= enough:
            self._speak_so_far(context, context.buffer.rfind(" ") + 1 or len(context.buffer))

    def _cuts(self, before: str, after: str) -> bool:
        """Whether a message ends in the middle of a word; a sentence may end without a space."""
        whole = before.isspace() or after.isspace()
        return not whole and (not self._auto or before.isalnum())

    def _speak_so_far(self, context: Context, size: int) -> None:
        part, context.buffer = context.buffer[:size], context.buffer[size:]
        if not part.strip():
            return
        context.parts += 1
        feed = context.generation.feed
        feed.add(part)
        feed.flush()
        context.generation.touch()

    def finish(self, context: Context) -> None:
        """Take no more text: what is spoken is spoken to its end, which is then told."""
        context.closing = True
        if self.provider.close_buffered == "speak":
            self._speak_so_far(context, len(context.buffer))
        context.generation.interrupt()
        context.generation.feed.end()
        context.generation.touch()

    # Quiet

    def _check_idle(self) -> None:
        now = self._now()
        for context in [each for each in self.contexts.values() if not each.closing]:
            if now - context.heard >= self.timeout:
                self.too_quiet(context)
        if not self.wire.open:
            return
        if not self.contexts and now - self.heard >= self.timeout:
            self._too_quiet()
            return
        heard = [each.heard for each in self.contexts.values() if not each.closing]
        due = min([*heard, *([self.heard] if not self.contexts else [])], default=now)
        self.later(max(0.01, due + self.timeout - now), self._check_idle)

    def too_quiet(self, context: Context) -> None:
        """Do to a context that heard nothing for too long what is done to it."""
        self._too_quiet()

    def _too_quiet(self) -> None:
        self._die("input_timeout_exceeded", TOO_QUIET.format(self.timeout))

    # What the server sends

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        context = self.contexts[gen.id]
        provider = self.provider
        frame: JSON = {provider.final_field: None, **self.tag(gen)}
        frame["alignment"] = frame["normalizedAlignment"] = None
        words = chunk.words if provider.timing == "each" else (*chunk.words, *gen.ahead())
        for word in words:
            context.chars.extend(characters(word))
        told = []
        while context.chars and (provider.timing == "first" or context.chars[0][1] < chunk.stop):
            told.append(context.chars.popleft())
        if told and self._timed:
            times = self._times(told, chunk.start)
            if provider.restarts:
                frame["normalizedAlignment"] = times
                times = {name: values * 2 for name, values in times.items()}
            frame["alignment"] = times
        self.send_audio(frame, gen, chunk.data)

    def _times(
        self, chars: list[tuple[str, float, float]], begin: float
    ) -> dict[str, list[object]]:
        """Write times of characters, in milliseconds from the message that they are told in."""
        return {
            "chars": [char for char, _, _ in chars],
            "charStartTimesMs": [round((start - begin) * 1000) for _, start, _ in chars],
            self.provider.spelling: [round((stop - start) * 1000) for _, start, stop in chars],
        }

    def tag(self, gen: Generation) -> JSON:
        """Return the id as messages have it."""
        field = self.provider.id_field
        return {} if gen.id is None or field == "none" else {field: gen.id}

    def done(self, gen: Generation, *, marker: bool) -> None:
        if marker:
            self.send({self.provider.final_field: True, "audio": None, **self.tag(gen)}, gen)
        else:
            self.lost += 1

    def left(self, gen: Generation) -> None:
        self.contexts.pop(gen.id, None)

    def failed(self, gen: Generation | None, message: str) -> None:
        provider = self.provider
        tag = self.tag(gen) if gen is not None and provider.error_id else {}
        self.send(
            {"message": message, "error": provider.error, "code": provider.error_code, **tag}, gen
        )
        closing = not tag if provider.error_close is None else provider.error_close
        if closing:
            self.close(provider.error_code, message)
        elif gen is not None:
            self.cut(gen, "error")

    def _die(self, error: str, message: str) -> None:
        """Report an error and close: it is the connection's, whoever caused it."""
        self.send({"message": message, "error": error, "code": POLICY})
        self.close(POLICY, message)


class MultiSession(ElevenLabsSession):
    """Contexts side by side."""

    fields: ClassVar[frozenset[str]] = MULTI

    def __init__(
        self, provider: ElevenLabs, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(provider, stage, wire, conn, request)
        self.closed: set[str | None] = set()

    def take(self, message: JSON) -> None:
        if message.get("close_socket"):
            # With a context open, nothing at all happens.
            if not self.contexts:
                self.close(1000)
            return
        id = message.get("context_id")
        assert id is None or isinstance(id, str), "checked before"
        context = self.contexts.get(id)
        if context is not None and context.closing:
            self.violation("a message for a context that is closing", context.generation)
            return
        if context is None:
            if message.get("close_context"):
                self.violation("close_context for a context that is not there")
                return
            self._warn(id, message)
            if len(self.contexts) + self.lost >= MAX_CONTEXTS:
                raise Refused("max_active_conversations", TOO_MANY)
            context = self.start(id, message)
            if context.generation.over:
                return
        else:
            self.check_unchanged(context, message)
        self.add(context, message)
        if message.get("close_context"):
            self._close(context)

    def _warn(self, id: str | None, message: JSON) -> None:
        """Record that a context is opened by what was hardly meant to open one."""
        if id is None:
            self.violation("a message without a context_id opens a context of its own")
        elif id in self.closed:
            self.violation(f"context {id} is over; a new one of that name is opened")
        elif not message.get("text"):
            self.violation(f"a flush or keepalive opens the unknown context {id}")

    def _close(self, context: Context) -> None:
        provider, gen = self.provider, context.generation
        raced = self._now() - context.texted < provider.race_ms / 1000
        if not raced or gen.chunks:
            self.finish(context)
        elif provider.race == "empty":
            self.send({provider.final_field: True, "audio": None, **self.tag(gen)}, gen)
            self.cut(gen, "race")
        else:
            self.lost += 1
            self.cut(gen, "race")

    def too_quiet(self, context: Context) -> None:
        if self.provider.idle == "context":
            self.finish(context)
        else:
            super().too_quiet(context)

    def left(self, gen: Generation) -> None:
        super().left(gen)
        self.closed.add(gen.id)


class SingleSession(ElevenLabsSession):
    """One generation, from the first message to the empty text that ends it."""

    fields: ClassVar[frozenset[str]] = SINGLE

    def __init__(
        self, provider: ElevenLabs, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(provider, stage, wire, conn, request)
        self._ended = False

    def take(self, message: JSON) -> None:
        if self._ended:
            self.violation("a message after the empty text that ended the stream")
            return
        context = self.contexts.get(None)
        if context is None:
            if message.get("text") != " ":
                self.violation('the text of the first message must be " "')
            context = self.start(None, message)
            if context.generation.over:
                return
        else:
            self.check_unchanged(context, message)
        self.add(context, message)
        if message.get("text") == "":
            self._ended = True
            self.finish(context)

    def done(self, gen: Generation, *, marker: bool) -> None:
        super().done(gen, marker=marker)
        if marker:
            self.close(1000)
