"""
xAI's text-to-speech socket: settings in the URL, one utterance at a time, ``text.clear`` cancels.
A POST to the same path is in `xai_http`.

What is asked for wrongly is refused as the vendor documents it; where nothing is documented the
option or the constant says which behaviour was chosen. MP3 and WAV are not simulated: asking for
them, or for nothing (MP3 is the default), is answered with 400.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Literal

import attrs

from . import voices
from .engines import Word
from .exchange import Exchange
from .faults import Moment
from .generation import Chunk, Generation
from .pronounce import Pronunciation, check_map
from .provider import Provider, Stage, flag, names, number, one_of
from .session import JSON, Session
from .sound import Encoding
from .wire import Request, Response, Wire
from .xai_http import answer
from .xai_setup import CODECS, LANGUAGE, VOICES, spell

MAX_DELTA = 15_000
MAX_EXPANDED = 60_000


def _is_one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


def _is_speed(value: str) -> bool:
    return re.fullmatch(r"[0-9]*\.?[0-9]+", value) is not None and 0.7 <= float(value) <= 1.5


# What the query may say. Codec, language and voice are looked at by hand.
QUERY: Mapping[str, Callable[[str], bool]] = {
    "sample_rate": _is_one_of("8000", "16000", "22050", "24000", "44100", "48000"),
    "bit_rate": _is_one_of("32000", "64000", "96000", "128000", "192000"),
    "speed": _is_speed,
    "optimize_streaming_latency": _is_one_of("0", "1", "2"),
    "text_normalization": _is_one_of("true", "false"),
    "with_timestamps": _is_one_of("true", "false"),
}


@attrs.frozen(kw_only=True)
class XAI(Provider):
    """
    The options of the simulated xAI.

    *key*: the only bearer token accepted; None accepts any, and no header at all unless
    *require_key*: a client on loopback needs no key. *max_age*: seconds after which a connection
    answers every utterance with the deadline error. *max_sessions*: further upgrades get 429.
    *deltas*: pieces of text are put together as they are, as the vendor's page has it, or with a
    space between two, without which the words of LiveKit's plugin are glued together.
    *timestamps*: where ``with_timestamps`` puts the times, in the audio messages, in messages of
    their own before, or in one at the end. *timestamp_shape*: pairs, objects, or pairs with one
    missing. *wait_for_done*: nothing is spoken before ``text.done``. *error_shape*: where the text
    of an error stands. *unknown_events*: each utterance starts with an event of an unknown type.
    """

    name: ClassVar[str] = "xai"
    path: ClassVar[str] = "/v1/tts"
    default_voice: ClassVar[str] = "eve"
    cancels: ClassVar[bool] = True

    key: str | None = attrs.field(default=None, repr=False)
    require_key: bool = flag(False)
    custom_voices: tuple[str, ...] = names(())
    max_age: float | None = number(None)
    max_sessions: float = number(50)
    deltas: Literal["verbatim", "spaced"] = one_of("verbatim", "spaced")
    timestamps: Literal["audio", "separate", "end"] = one_of("audio", "separate", "end")
    timestamp_shape: Literal["pairs", "objects", "mismatch"] = one_of(
        "pairs", "objects", "mismatch"
    )
    wait_for_done: bool = flag(False)
    error_shape: Literal["message", "string", "object"] = one_of("message", "string", "object")
    trace_ids: bool = flag(True)
    unknown_events: bool = flag(False)

    def secret(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def authorizes(self, request: Request) -> bool:
        """Tell whether the key is right, or is not asked for."""
        token = self.secret(request)
        return (bool(token) or not self.require_key) and self.key in (None, token)

    def admit(self, stage: Stage, request: Request) -> Response | None:
        query = request.query
        if not self.authorizes(request):
            return self.refusal(401, "Missing or invalid API key")
        if len(stage.sessions) >= self.max_sessions:
            return self.refusal(429, "Too many concurrent sessions")
        if not LANGUAGE.fullmatch(query.get("language", "")):
            return self.refusal(400, "language is required: auto or a BCP-47 tag")
        for name, accepts in QUERY.items():
            if name in query and not accepts(query[name]):
                return self.refusal(400, f"invalid {name}")
        if (codec := query.get("codec", "mp3")) not in CODECS:
            what = "is not simulated" if codec in ("mp3", "wav") else "is invalid"
            return self.refusal(400, f"codec {codec!r} {what}; use pcm, mulaw or alaw")
        voice = query.get("voice", self.default_voice)
        if voice.lower() not in VOICES and voice not in self.custom_voices:
            return self.refusal(404, f"voice {voice!r} not found")
        return None

    def request(
        self, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> Response | Exchange | None:
        if request.path == voices.XAI and request.method == "GET":
            if not self.authorizes(request):
                return self.refusal(401, "Missing or invalid API key")
            return voices.whole(sorted(VOICES))
        return answer(self, stage, wire, conn, request) if request.path == self.path else None

    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        return XAISession(self, stage, wire, conn, request)


class XAISession(Session):
    """
    One socket.

    *current* is the utterance in progress, collecting until its feed has ended and draining from
    then on. *clearing* counts acknowledgements that a fault delays. *discarding*: an error ended
    the utterance before its text did; the rest of the text, under way already, goes with it.
    """

    audio_field: ClassVar[str] = "delta"

    def __init__(
        self, provider: XAI, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(stage, wire, conn)
        query = request.query
        self.provider = provider
        self.current: Generation | None = None
        self.clearing = 0
        self.discarding = False
        self.replace: Mapping[str, str] = {}
        self._opened = time.monotonic()
        self._voice = query.get("voice", provider.default_voice)
        self._language = None if query["language"] == "auto" else query["language"]
        self._encoding = Encoding(int(query.get("sample_rate", "24000")), CODECS[query["codec"]])
        self._unknown = query.keys() - QUERY.keys() - {"language", "voice", "codec"}
        self._timed = query.get("with_timestamps") == "true"
        self._text = Pronunciation({})
        self._ready = ""
        self._last_stop = 0.0
        self._times: list[Word] = []

    def opened(self) -> None:
        for name in self._unknown:
            self.violation(f"unknown parameter {name!r}; it is ignored")

    # What the client sends

    def receive(self, message: JSON) -> None:
        match message.get("type"):
            case "text.delta":
                self._delta(message.get("delta"))
            case "text.done":
                self._done()
            case "text.clear":
                self._clear()
            case "session.update":
                self._update(message.get("replace"))
            case kind:
                self._refuse(f"unknown message type {kind!r}")

    def reject(self, message: str) -> None:
        self._error(message)

    def generation_of(self, message: JSON) -> Generation | None:
        return self.current

    def _delta(self, text: object) -> None:
        if self.discarding:
            return
        if self.clearing:
            self._refuse("text.delta before audio.clear")
        elif self.current is not None and self.current.feed.ended:
            self._refuse("text.delta between text.done and audio.done")
        elif not isinstance(text, str):
            self._refuse("text.delta needs a string delta")
        elif not 1 <= len(text) <= MAX_DELTA:
            self._refuse(f"delta must have 1 to {MAX_DELTA} characters, not {len(text)}")
        elif self.current is not None:
            spaced = self.provider.deltas == "spaced"
            self._add(f" {text}" if spaced else text, final=False)
        elif self._begin():
            self._add(text, final=False)

    def _begin(self) -> bool:
        self._text = Pronunciation(self.replace)
        self._ready = ""
        self._last_stop = 0.0
        self._times.clear()
        self.current = self.create(None, self._voice, self._language, self._encoding)
        return self.begin(self.current)

    def _add(self, text: str, *, final: bool) -> None:
        assert self.current is not None, "text belongs to an utterance"
        self._ready += self._text.advance(text, final=final)
        if final or not self.provider.wait_for_done:
            self.current.feed.add(self._ready)
            self._ready = ""
        if self._text.length > MAX_EXPANDED:
            self._error(f"text has more than {MAX_EXPANDED} characters after replacement")
            # Documented as "the session ends"; no close code is.
            self.close(1008, "replaced text too long")
            return
        if final:
            self.current.feed.end()
        self.current.touch()

    def _done(self) -> None:
        if self.discarding:
            self.discarding = False
        elif self.current is None:
            self._refuse("text.done without text")
        elif self.current.feed.ended:
            self._refuse("text.done was sent before")
        else:
            self._add("", final=True)

    def _clear(self) -> None:
        gen = self.current
        self.discarding = False
        if gen is not None:
            gen.interrupt()
        fault = next(iter(self.faults(Moment.CANCEL, gen)), None)
        match fault and fault.action:
            case "no-ack":
                pass
            case "late-ack":
                assert fault is not None
                self.clearing += 1
                self.acknowledge_late(fault, gen, partial(self._acknowledge_late, gen))
            case "speak-on":
                if gen is not None:
                    self.detach(gen)
                self.send({"type": "audio.clear"}, gen)
            case _:
                self._acknowledge(gen)

    def _acknowledge(self, gen: Generation | None) -> None:
        if gen is not None:
            self.cut(gen, "interrupt")
        self.send({"type": "audio.clear"}, gen)

    def _acknowledge_late(self, gen: Generation | None) -> None:
        self.clearing -= 1
        self._acknowledge(gen)

    def _update(self, replace: object) -> None:
        problem = check_map(replace)
        if problem is not None:
            self._refuse(problem)
            return
        assert isinstance(replace, dict)
        self.replace = replace
        self.send({"type": "session.updated", "replace": replace})

    # What the server sends

    def check(self, gen: Generation) -> None:
        limit = self.provider.max_age
        if limit is not None and time.monotonic() - self._opened >= limit:
            self.failed(
                gen,
                f"TTS pipeline timed out after {limit:.0f}s (trace_id={self._trace_id()}) "
                "(Deadline expired before operation could complete)",
            )

    async def prepare(self, gen: Generation) -> None:
        self.check(gen)
        if self.provider.unknown_events:
            self.send({"type": "audio.weather", "sunny": True}, gen)

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        frame: JSON = {"type": "audio.delta"}
        if self._timed and not gen.detached:
            self._times += chunk.words
            if self.provider.timestamps == "audio":
                frame |= self._timing()
            elif self.provider.timestamps == "separate" and self._times:
                self.send({"type": "audio.delta", "delta": "", **self._timing()}, gen)
        self.send_audio(frame, gen, chunk.data)

    def done(self, gen: Generation, *, marker: bool) -> None:
        if self._timed and self._times:
            self.send({"type": "audio.delta", "delta": "", **self._timing()}, gen)
        if marker:
            trace = {"trace_id": self._trace_id()} if self.provider.trace_ids else {}
            self.send({"type": "audio.done", **trace}, gen)

    def failed(self, gen: Generation | None, message: str) -> None:
        # Nothing is documented about what an error leaves behind. Here the utterance is over
        # without an audio.done, and the connection stays open.
        if gen is not None:
            self.discarding = not gen.feed.ended
            self.cut(gen, "error")
        self._error(message, gen)

    def left(self, gen: Generation) -> None:
        if self.current is gen:
            self.current = None

    def _refuse(self, message: str) -> None:
        self.violation(message, self.current)
        self._error(message)

    def _error(self, message: str, gen: Generation | None = None) -> None:
        body: JSON = {"message": message}
        if self.provider.error_shape == "string":
            body = {"error": message}
        elif self.provider.error_shape == "object":
            body = {"error": {"code": "invalid", "type": "error", "message": message}}
        self.send({"type": "error", **body}, gen)

    def _trace_id(self) -> str:
        return str(uuid.UUID(int=self.stage.rng.getrandbits(128), version=4))

    def _timing(self) -> JSON:
        """Spell the words that are due as characters."""
        if not self._times:
            return {}
        begin = self._last_stop
        timing = spell(self._times, begin)
        self._last_stop = self._times[-1].stop
        self._times.clear()
        spans: list[object] = [list(pair) for pair in timing.times]
        if self.provider.timestamp_shape == "objects":
            spans = [{"start": start, "end": stop} for start, stop in timing.times]
        elif self.provider.timestamp_shape == "mismatch":
            del spans[-1]
        return {
            "audio_timestamps": {"graph_chars": timing.chars, "graph_times": spans},
            "audio_duration": round(self._last_stop - begin, 4),
        }
