"""
SM's text-to-speech: a whole text in one JSON message, bare binary audio, one event at its end.

One request at a time on a socket, no ids, no cancel. Both deployments are served on one port: the
cloud's paths, where a key may have five connections, and those of a server on premise. The REST
surface takes ``input`` where the socket takes ``text``, and answers when all is made. What the
vendor's pages do not show is an option here; compressed audio is not simulated and refused.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs
import msgspec

from .exchange import Exchange, Order
from .generation import Chunk, Generation
from .provider import Provider, Stage, flag, names, number, one_of, read_json
from .session import JSON, Session
from .sound import Encoding
from .wire import Request, Response, Wire

CLOUD, ON_PREMISE = "/v1/tts/stream", "/v1/audio/stream"
REST = frozenset({"/v1/tts/audio/speech", "/v1/audio/speech"})
LANGUAGES: Mapping[str, str] = {"Yara": "ar", "Nouf": "ar", "Atheer": "ar", "Yara_en": "en"}
RATES = (8000, 16000, 22050, 24000, 44100, 48000)
MAX_TEXT, MAX_INPUT = 10_000, 51_200
FIELDS = frozenset({"voice", "format", "sample_rate", "speed"})
POLICY = 1008
RETRY_AFTER = 60

# What an HTTP status is called in a body; the second code stands only beside some.
ERRORS: Mapping[int, tuple[str, str | None]] = {
    401: ("unauthorized", None),
    422: ("validation_error", None),
    429: ("rate_limit_exceeded", None),
    500: ("internal_error", "INTERNAL_ERROR"),
    503: ("internal_error", "INTERNAL_ERROR"),
    504: ("internal_error", "INTERNAL_ERROR"),
}


class Refused(Exception):
    """A request is wrong: the HTTP status, the error's name, and the words."""

    def __init__(self, status: int, name: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail = status, name, detail


@attrs.frozen(kw_only=True)
class SM(Provider):
    """
    The options of the simulated SM.

    *key*: the only key accepted, as ``X-API-Key``, bearer token, ``api_key`` or ``token``; None
    accepts any, and none unless *require_key*. *auth*: where it is looked for: at the upgrade, or
    in the first message, which is then no request; *auth_reply*: that is answered.
    *max_connections*: of a key in the cloud; one more gets 429. *requests_per_minute*: of a key;
    None sets no limit, the vendor's is 60. *busy*: a request before the end of the one before is
    refused, or spoken after it; it counts as a violation in any case. *sample_rate*: of the audio
    if a request does not say. *max_idle*, *max_age*: seconds after which a connection is closed.
    *custom_voices*: beside the vendor's four. *end_event*: the name of the last event;
    *end_fields*: there are others in it. *extra_events*: events of other types come before,
    between and after the audio. *silent*: requests are answered with the end alone.
    *error_shape*: name and words side by side, without a type, or in an object of their own.
    *error_close*: an error ends the connection. *pings*: are answered, or read and no more, while
    requests are spoken as ever.
    """

    name: ClassVar[str] = "sm"
    path: ClassVar[str] = CLOUD
    default_voice: ClassVar[str] = "Yara"
    cancels: ClassVar[bool] = False
    base64: ClassVar[bool] = False

    key: str | None = attrs.field(default=None, repr=False)
    require_key: bool = flag(False)
    auth: Literal["upgrade", "first-message"] = one_of("upgrade", "first-message")
    auth_reply: bool = flag(False)
    max_connections: float = number(5)
    requests_per_minute: float | None = number(None)
    busy: Literal["refuse", "queue"] = one_of("refuse", "queue")
    sample_rate: int = attrs.field(default=22050, converter=int)
    max_idle: float | None = number(None)
    max_age: float | None = number(None)
    custom_voices: tuple[str, ...] = names(())
    end_event: str = "synthesis_complete"
    end_fields: bool = flag(False)
    extra_events: bool = flag(False)
    silent: bool = flag(False)
    error_shape: Literal["flat", "untyped", "nested"] = one_of("flat", "untyped", "nested")
    error_close: bool = flag(False)
    pings: Literal["answer", "ignore"] = one_of("answer", "ignore")
    requests: dict[str, deque[float]] = attrs.field(factory=dict, init=False, repr=False)

    def serves(self, path: str) -> bool:
        return path in (CLOUD, ON_PREMISE)

    def secret(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        query = request.query.get("api_key", "") or request.query.get("token", "")
        return request.headers.get("x-api-key", "") or bearer or query

    def accepts(self, key: str) -> bool:
        """Check a key, which may be missing."""
        return key == self.key if self.key is not None else bool(key) or not self.require_key

    def admit(self, stage: Stage, request: Request) -> Response | None:
        if self.auth == "first-message":
            return None
        key = self.secret(request)
        if not self.accepts(key):
            return self.refusal(401, "Invalid API key")
        if request.path == CLOUD and self.held(stage, key) >= self.max_connections:
            return self.refusal(429, "Too many concurrent connections")
        return None

    def held(self, stage: Stage, key: str) -> int:
        """Count the connections to the cloud that a key has."""
        return sum(isinstance(it, SMSession) and it.holder == key for it in stage.sessions)

    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        return SMSession(self, stage, wire, conn, request)

    def request(
        self, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> Response | Exchange | None:
        if request.path not in REST:
            return None
        if request.method != "POST":
            return self.refusal(405, "Method Not Allowed")
        key = self.secret(request)
        if not self.accepts(key):
            return self.refusal(401, "Invalid API key")
        body = read_json(request)
        try:
            if body is None:
                raise Refused(422, "validation_error", "The body is no JSON object")
            self.count(key)
            order = self._order(body)
        except Refused as exc:
            return self.refusal(exc.status, exc.detail, exc.name)
        return SMExchange(stage, wire, conn, order)

    def _order(self, body: JSON) -> Order:
        format = body.get("response_format", "mp3")
        if format not in ("wav", "pcm"):
            known = ("mp3", "opus", "flac", "aac")
            what = "is not simulated; use wav or pcm" if format in known else "is unknown"
            raise Refused(422, "validation_error", f"response_format {format!r} {what}")
        voice, rate = self.settings(body)
        return Order(
            text=read_text(body, "input", MAX_INPUT),
            voice=voice,
            language=LANGUAGES.get(voice),
            encoding=Encoding(rate, wav=format == "wav"),
            content_type=f"audio/{format}",
            headers=(("X-Request-ID", str(uuid.uuid4())),),
            whole=True,
        )

    def settings(self, body: JSON) -> tuple[str, int]:
        """Read what a request says on either surface: the voice and the sample rate."""
        voice = body.get("voice", self.default_voice)
        if not isinstance(voice, str) or voice not in (*LANGUAGES, *self.custom_voices):
            raise Refused(400, "invalid_voice", f"Voice {voice!r} is not available")
        # Out of 0.5 to 2 it is clamped, without a word.
        speed = body.get("speed", 1.0)
        if not isinstance(speed, int | float) or isinstance(speed, bool):
            raise Refused(422, "validation_error", "speed must be a number")
        rate = body.get("sample_rate", self.sample_rate)
        if not isinstance(rate, int) or rate not in RATES:
            raise Refused(422, "validation_error", f"sample_rate must be one of {RATES}")
        return voice, rate

    def count(self, key: str) -> None:
        """Count a request of a key."""
        if self.requests_per_minute is None:
            return
        now, recent = time.monotonic(), self.requests.setdefault(key, deque())
        while recent and recent[0] <= now - 60:
            recent.popleft()
        if len(recent) >= self.requests_per_minute:
            raise Refused(429, "rate_limit_exceeded", "Too many requests in a minute")
        recent.append(now)

    def refusal(self, status: int, message: str, named: str | None = None) -> Response:
        """Write an HTTP error; only the older, nested form has names finer than its status."""
        name, code = ERRORS.get(status, ("http_error", f"HTTP_{status}"))
        id = str(uuid.uuid4())
        headers = [("X-Request-ID", id)]
        if status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        elif status == 429:
            headers.append(("Retry-After", str(RETRY_AFTER)))
        body: JSON = {"error": name, "detail": message}
        if code is not None:
            body["code"] = code
        if self.error_shape == "nested":
            body = {"error": {"code": named or name, "message": message, "request_id": id}}
        elif status == 422:
            body["errors"] = [{"field": message.partition(" ")[0], "message": message}]
        return Response(status, msgspec.json.encode(body), headers=tuple(headers))


def read_text(body: JSON, field: str, most: int) -> str:
    """Read the text of a request."""
    text = body.get(field)
    if not isinstance(text, str) or not text:
        raise Refused(400, "invalid_request", f"{field} is required")
    if len(text) > most:
        raise Refused(400, "text_too_long", f"Input text too long: {len(text)} characters")
    return text


class SMExchange(Exchange):
    """A REST request; what fails before its answer has begun gets the vendor's error."""

    def failed(self, gen: Generation | None, message: str) -> None:
        assert gen is not None, "an exchange is its generation"
        self.cut(gen, "error")
        body = {"error": "internal_error", "detail": message, "code": "INTERNAL_ERROR"}
        self.refuse(Response(500, msgspec.json.encode(body)))


class SMSession(Session):
    """
    One socket.

    *current* is the request in progress. *holder* is the key that the connection counts for; None
    on premise, and until there is one.
    """

    def __init__(self, provider: SM, stage: Stage, wire: Wire, conn: int, request: Request) -> None:
        super().__init__(stage, wire, conn)
        wire.pongless = provider.pings == "ignore"
        self.provider = provider
        self.current: Generation | None = None
        self.holder: str | None = None
        self._cloud = request.path == CLOUD
        self._key = provider.secret(request)
        self._authorized = provider.auth == "upgrade"
        self._waiting: deque[JSON] = deque()
        self._idle: asyncio.TimerHandle | None = None
        if self._authorized and self._cloud:
            self.holder = self._key

    def opened(self) -> None:
        if self.provider.max_age is not None:
            self.later(self.provider.max_age, self.close, 1000, "maximum age")
        self._rest()

    def _rest(self) -> None:
        if self.provider.max_idle is not None:
            self._idle = self.later(self.provider.max_idle, self.close, 1000, "idle")

    # What the client sends

    def confides(self, message: JSON) -> str:
        key = message.get("x-api-key")
        return key if isinstance(key, str) else ""

    def receive(self, message: JSON) -> None:
        if not self._authorized:
            self._authorize(message)
        elif self.current is None:
            self._request(message)
        else:
            self.violation("a request before the end of the one before", self.current)
            if self.provider.busy == "queue":
                self._waiting.append(message)
            else:
                self._error("invalid_request", "A synthesis is in progress", self.current)

    def _authorize(self, message: JSON) -> None:
        provider, key = self.provider, self.confides(message)
        if not key or not provider.accepts(key):
            self.violation("a first message without a valid key")
            self._error("unauthorized", "Invalid API key")
            self.close(POLICY, "unauthorized")
        elif self._cloud and provider.held(self.stage, key) >= provider.max_connections:
            self._error("rate_limit_exceeded", "Too many concurrent connections")
            self.close(POLICY, "too many concurrent connections")
        else:
            self._authorized, self._key = True, key
            self.holder = key if self._cloud else None
            if provider.auth_reply:
                self.send({"type": "authenticated"})

    def _request(self, message: JSON) -> None:
        provider = self.provider
        if self._idle is not None:
            self._idle.cancel()
        try:
            text = read_text(message, "text", MAX_TEXT)
            if message.get("format", "pcm") != "pcm":
                raise Refused(422, "validation_error", "format is not simulated; use pcm")
            voice, rate = provider.settings(message)
            provider.count(self._key)
        except Refused as exc:
            self.violation(exc.detail)
            self._error(exc.name, exc.detail)
            self._rest()
            return
        for name in message.keys() - FIELDS - {"text"}:
            self.violation(f"unknown field {name!r}; it is ignored")
        gen = self.create(None, voice, LANGUAGES.get(voice), Encoding(rate))
        self.current = gen
        if not provider.silent:
            gen.feed.add(text)
        gen.feed.end()
        gen.touch()
        self.begin(gen)

    def reject(self, message: str) -> None:
        self._error("invalid_request", message)

    def generation_of(self, message: JSON) -> Generation | None:
        return self.current

    # What the server sends

    async def prepare(self, gen: Generation) -> None:
        if self.provider.extra_events:
            self.send({"type": "synthesis_started", "voice": gen.voice}, gen)

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        self.send_sound(gen, chunk.data)
        if self.provider.extra_events and gen.chunks == 1:
            self.send({"type": "progress", "seconds": round(chunk.stop, 3)}, gen)

    def done(self, gen: Generation, *, marker: bool) -> None:
        if self.provider.extra_events:
            self.send({"type": "usage", "words": gen.words}, gen)
        fields: JSON = {"duration": 1.5, "request_id": "r-1"} if self.provider.end_fields else {}
        if marker:
            self.send({"type": self.provider.end_event, **fields}, gen)
        self._next(gen)

    def failed(self, gen: Generation | None, message: str) -> None:
        if gen is not None:
            self.cut(gen, "error")
        self._error("internal_error", message, gen)
        if gen is not None:
            self._next(gen)

    def _next(self, gen: Generation) -> None:
        self.left(gen)
        self._rest()
        if self._waiting and self.live:
            self._request(self._waiting.popleft())

    def left(self, gen: Generation) -> None:
        if self.current is gen:
            self.current = None

    def _error(self, name: str, detail: str, gen: Generation | None = None) -> None:
        body: JSON = {"type": "error", "error": name, "detail": detail}
        if self.provider.error_shape == "untyped":
            del body["type"]
        elif self.provider.error_shape == "nested":
            body = {"error": {"code": name, "message": detail, "request_id": "r-1"}}
        self.send(body, gen)
        if self.provider.error_close:
            self.close(1011, name)
