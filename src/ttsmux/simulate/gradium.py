"""
Gradium's text-to-speech socket: requests with ids side by side, or one at a time without.

The key is checked after the upgrade. There is no cancel message; ``end_of_stream`` ends a request's
text, and its audio goes on. Opus is not simulated and refused as an unsupported format. Where the
vendor's pages disagree or say nothing, an option chooses. HTTP is in `gradium_http`.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Literal

import attrs

from .exchange import Exchange
from .generation import Chunk, Generation
from .gradium_http import PATH, answer
from .gradium_setup import (
    FRAME_SIZE,
    INTERNAL,
    NATIVE_RATE,
    POLICY,
    PROTOCOL,
    Refused,
    Setup,
    feed_marked_up,
    read_id,
    read_setup,
    unknown_fields,
)
from .provider import Provider, Stage, flag, names, number, one_of
from .session import JSON, Session
from .wire import Request, Response, Wire


@attrs.frozen(kw_only=True)
class Gradium(Provider):
    """
    The options of the simulated Gradium.

    *key*: the only ``x-api-key`` accepted; None accepts any, and none unless *require_key*.
    *tokens*: what ``?token=`` may be, each once. *key_checked*: a bad key is reported at once or
    at the first setup. *voices*: the only voice ids; None accepts all but ``nope`` and ``missing``.
    *concurrency_refusals*: this many connections, from the first, get "Concurrency limit exceeded"
    at their first setup; *max_sessions* bounds the requests open on all connections together.
    *inactivity*: seconds without a message and without a request after which the server closes,
    *pings_count* if pings are activity. *max_age*: seconds after which it closes whatever goes on.
    *ready_ms*: the wait before ``ready``; *ready_rate*: which rate it names. *words*: word
    messages come before or after their audio; *word_stops*: they have ``stop_s``.
    *extra_events*: ``need_more_text`` and ``flushed`` are sent. *line_end*: over HTTP, lines of
    JSON end with ``end_of_stream``. *taint*: after an error with an id the server closes as soon as
    no other request is open. *error_code* (None: left out),
    *error_id*, *error_close*: how the ``error`` fault looks; None follows the id: an error with an
    id leaves the closing to *taint*, one without closes.
    """

    name: ClassVar[str] = "gradium"
    path: ClassVar[str] = "/api/speech/tts"
    default_voice: ClassVar[str] = "YTpq7expH9539ERJ"
    cancels: ClassVar[bool] = False

    key: str | None = attrs.field(default=None, repr=False)
    require_key: bool = flag(False)
    tokens: tuple[str, ...] = names((), repr=False)
    key_checked: Literal["open", "setup"] = one_of("open", "setup")
    voices: tuple[str, ...] | None = names(None)
    pronunciations: tuple[str, ...] = names(())
    concurrency_refusals: float = number(0)
    max_sessions: float | None = number(None)
    inactivity: float = number(300)
    pings_count: bool = flag(False)
    max_age: float = number(3000)
    ready_ms: float = number(0)
    ready_rate: Literal["native", "asked"] = one_of("native", "asked")
    words: Literal["before", "after"] = one_of("before", "after")
    word_stops: bool = flag(True)
    extra_events: bool = flag(False)
    line_end: bool = flag(True)
    taint: bool = flag(True)
    error_code: int | None = attrs.field(default=INTERNAL, converter=attrs.converters.optional(int))
    error_id: bool = flag(True)
    error_close: bool | None = flag(None)
    used_tokens: set[str] = attrs.field(factory=set, init=False, repr=False)

    def secret(self, request: Request) -> str:
        return request.headers.get("x-api-key", "") or request.query.get("token", "")

    def admit(self, stage: Stage, request: Request) -> Response | None:
        return None

    def accepts(self, request: Request) -> bool:
        """Check the key or use up the token."""
        key = request.headers.get("x-api-key", "")
        token = request.query.get("token", "")
        if not key and token:
            fresh = token in self.tokens and token not in self.used_tokens
            self.used_tokens.add(token)
            return fresh
        if self.key is not None:
            return key == self.key
        return bool(key) or not self.require_key

    def full(self, stage: Stage) -> bool:
        """Tell whether no request may be opened, on whichever connection."""
        total = sum(len(each.open) for each in (*stage.sessions, *stage.exchanges))
        return self.max_sessions is not None and total >= self.max_sessions

    def request(
        self, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> Response | Exchange | None:
        return answer(self, stage, wire, conn, request) if request.path == PATH else None

    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        return GradiumSession(self, stage, wire, conn, request)


@attrs.define
class RequestState:
    """An open request. *tag* is its id as the client spelled the field."""

    setup: Setup
    generation: Generation
    tag: JSON
    has_text: bool = False


class GradiumSession(Session):
    """One socket. *requests* holds the open requests by id; None is the one without."""

    audio_field: ClassVar[str] = "audio"

    def __init__(
        self, provider: Gradium, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(stage, wire, conn)
        self.provider = provider
        self.requests: dict[str | None, RequestState] = {}
        self._request = request
        self._authorized = False
        self._last_activity = 0.0
        self._close_when_idle: int | None = None
        # Requests that an error ended: text for them may be under way and is no offence.
        self._failed: set[str | None] = set()

    def opened(self) -> None:
        if self.provider.key_checked == "open":
            self._authorize()
        self.later(self.provider.max_age, self.close, 1000, "session duration exceeded")
        self._active()
        self.later(self.provider.inactivity, self._check_activity)

    def _authorize(self) -> None:
        self._authorized = self.provider.accepts(self._request)
        if not self._authorized:
            self._fail(None, "API key is revoked or expired", POLICY)

    # Inactivity

    def pinged(self) -> None:
        if self.provider.pings_count:
            self._active()

    def _active(self) -> None:
        self._last_activity = asyncio.get_running_loop().time()

    def _check_activity(self) -> None:
        if self.requests:
            self._active()
        quiet = asyncio.get_running_loop().time() - self._last_activity
        if quiet >= self.provider.inactivity:
            self.close(1000, "inactive")
        else:
            self.later(self.provider.inactivity - quiet, self._check_activity)

    # What the client sends

    def receive(self, message: JSON) -> None:
        self._active()
        field, id = "client_req_id", None
        try:
            field, id = read_id(message)
            match message.get("type"):
                case "text" | "end_of_stream" if id in self._failed:
                    pass
                case "setup":
                    self._setup(field, id, message)
                case "text":
                    self._text(id, message.get("text"))
                case "end_of_stream":
                    self._end(id)
                case kind:
                    raise Refused(f"Unknown message type {kind!r}", PROTOCOL)
        except Refused as exc:
            text, code = exc.args
            self.violation(text, self.generation_of(message))
            self._fail(id, text, code, field)

    def reject(self, message: str) -> None:
        self._fail(None, message, PROTOCOL)

    def generation_of(self, message: JSON) -> Generation | None:
        id = message.get("client_req_id", message.get("client_request_id"))
        if id is not None and not isinstance(id, str):
            return None
        state = self.requests.get(id)
        return state.generation if state is not None else None

    def _setup(self, field: str, id: str | None, message: JSON) -> None:
        provider = self.provider
        if not self._authorized:
            self._authorize()
            if not self._authorized:
                return
        if self.conn <= provider.concurrency_refusals:
            self._fail(None, "Concurrency limit exceeded", POLICY)
            return
        if id in self.requests:
            raise Refused(f"Session already active ({id})", PROTOCOL)
        if None in self.requests:
            raise Refused("Session already active", PROTOCOL)
        setup = read_setup(provider, message)
        for name in unknown_fields(message):
            self.violation(f"setup has an unknown field {name!r}; it is ignored")
        if provider.full(self.stage):
            self._fail(id, "Concurrency limit exceeded", POLICY, field)
            return
        gen = self.create(id, setup.voice, setup.language, setup.encoding)
        tag: JSON = {} if id is None else {field: id}
        self.requests[id] = RequestState(setup, gen, tag)
        self._failed.discard(id)
        self.begin(gen)

    def _text(self, id: str | None, text: object) -> None:
        state = self._open_request(id)
        if not isinstance(text, str):
            raise Refused("text must be a string", PROTOCOL)
        gen = state.generation
        if state.has_text:
            gen.feed.add(" ")
        state.has_text = True
        feed_marked_up(gen.feed, text)
        gen.touch()

    def _end(self, id: str | None) -> None:
        if id is None and None not in self.requests:
            if self.requests:
                # Undocumented. Here the socket is closed once the requests have ended.
                self.violation("end_of_stream without an id while requests are active")
                self._close_when_idle = 1000
            else:
                self.close(1000)
            return
        gen = self._open_request(id).generation
        gen.interrupt()
        gen.feed.end()
        gen.touch()

    def _open_request(self, id: str | None) -> RequestState:
        state = self.requests.get(id)
        if state is None:
            raise Refused("Session not found. Send setup first.", PROTOCOL)
        if state.generation.feed.ended:
            raise Refused("Session has received end_of_stream.", PROTOCOL)
        return state

    # What the server sends

    async def prepare(self, gen: Generation) -> None:
        await asyncio.sleep(self.provider.ready_ms / 1000)
        await self.gate(gen)
        rate = gen.encoding.rate if self.provider.ready_rate == "asked" else NATIVE_RATE
        model = self._state(gen).setup.model
        self._event(
            gen,
            "ready",
            request_id=f"rq_{gen.number:04x}",
            model_name=model,
            model_ext=f"simulated-{model}",
            sample_rate=rate,
            frame_size=FRAME_SIZE,
            audio_stream_names=["tts"],
            text_stream_names=["words"],
            residency="none",
        )

    def hungry(self, gen: Generation) -> None:
        if self.provider.extra_events:
            self._event(gen, "need_more_text")

    def flushed(self, gen: Generation) -> None:
        if self.provider.extra_events:
            self._event(gen, "flushed")

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        if self.provider.words == "before":
            self._words(gen, chunk)
        frame: JSON = {
            "type": "audio",
            **self._state(gen).tag,
            "start_s": round(chunk.start, 4),
            "stop_s": round(chunk.stop, 4),
            "stream_id": 0,
        }
        self.send_audio(frame, gen, chunk.data)
        if self.provider.words == "after":
            self._words(gen, chunk)

    def _words(self, gen: Generation, chunk: Chunk) -> None:
        for word in chunk.words:
            times: JSON = {"start_s": round(word.start, 4)}
            if self.provider.word_stops:
                times["stop_s"] = round(word.stop, 4)
            self._event(gen, "text", text=word.text, **times, stream_id=0)

    def done(self, gen: Generation, *, marker: bool) -> None:
        state = self._state(gen)
        if marker:
            self.send({"type": "end_of_stream", **state.tag}, gen)
        if state.setup.close_on_eos:
            self.close(1000)

    def failed(self, gen: Generation | None, message: str) -> None:
        provider = self.provider
        tag = self._state(gen).tag if gen is not None and provider.error_id else {}
        code = {} if provider.error_code is None else {"code": provider.error_code}
        self.send({"type": "error", **tag, "message": message, **code}, gen)
        closing = provider.error_close
        if closing is None and tag and provider.taint:
            self._close_when_idle = provider.error_code or INTERNAL
        if closing or (closing is None and not tag):
            self.close(provider.error_code or INTERNAL, message)
        elif gen is not None:
            self._failed.add(gen.id)
            self.cut(gen, "error")

    def left(self, gen: Generation) -> None:
        self.requests.pop(gen.id, None)
        self._active()
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._close_when_idle is not None and not self.requests:
            self.close(self._close_when_idle)

    def _fail(self, id: str | None, message: str, code: int, field: str = "client_req_id") -> None:
        """Send an error; one with an id ends that request, one without ends the socket."""
        state = self.requests.get(id)
        tag = {} if id is None else state.tag if state is not None else {field: id}
        gen = state.generation if state is not None else None
        self.send({"type": "error", **tag, "message": message, "code": code}, gen)
        if id is None:
            self.close(code, message)
            return
        self._failed.add(id)
        if self.provider.taint:
            self._close_when_idle = code
        if gen is not None:
            self.cut(gen, "error")
        self._close_if_idle()

    def _state(self, gen: Generation) -> RequestState:
        return self.requests[gen.id]

    def _event(self, gen: Generation, kind: str, **fields: object) -> None:
        self.send({"type": kind, **self._state(gen).tag, **fields}, gen)
