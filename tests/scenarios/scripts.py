"""
The scenarios, each written once. `test_scenarios` plays every one of them on every runtime.

A script says what should be true of its speeches; that the four runtimes agree is compared outside.
"""

from __future__ import annotations

import threading
from typing import Any

import attrs

import ttsmux
from ttsmux import PoolLimits, RetryPolicy

from .stage import (
    EAGER,
    KEY,
    PATIENCE,
    PROVIDERS,
    Script,
    World,
    audio_sent,
    events,
    patient,
    received,
    sent,
)

KUGELAUDIO = ("kugelaudio", "kugelaudio:oneshot", "kugelaudio:stream")
ELEVENLABS = ("elevenlabs", "elevenlabs:single")
JSON = tuple(provider for provider in PROVIDERS if provider != "sm")
"""Those whose audio is in JSON; of others, what is no JSON means nothing."""
ONE_SEAT = ("elevenlabs:single", "kugelaudio:oneshot", "kugelaudio:stream", "sm", "xai")
VOICES = {"xai": "rex", "sm": "Nouf"}
LONG = " ".join(f"w{n:02}" for n in range(60))
"""Longer than it is ever read to its end: 18 seconds."""
ONCE = RetryPolicy(attempts=1)
THRICE = RetryPolicy(attempts=3)
# With any wait, a speech may come a little later than the connection that was dialled for it; if
# that is lost then, it counts as one that had lain idle, and the attempt as none.
AT_ONCE = RetryPolicy(attempts=3, base=1e-6)
# A deadline that is to be missed on purpose, in seconds. What comes after it on the same client has
# the same deadline and is to keep it, however busy the machine.
SOON = 1.5
# Text that is written in pieces is one chunk of KugelAudio's, however slowly they come.
IN_PIECES: dict[str, dict[str, Any]] = {"kugelaudio": {"flush_timeout_ms": 60_000}}


@attrs.frozen
class Scenario:
    """A script with its simulator's and its client's settings."""

    name: str
    script: Script
    providers: tuple[str, ...]
    client: dict[str, Any]
    simulator: dict[str, Any]
    chance: tuple[str, ...]
    """Parts of the trace that hang on who is faster."""


SCENARIOS: list[Scenario] = []


def scenario(
    *,
    name: str | None = None,
    providers: tuple[str, ...] = PROVIDERS,
    client: dict[str, Any] | None = None,
    chance: tuple[str, ...] = (),
    **simulator: Any,
) -> Any:
    def add(script: Script) -> Script:
        found = name or script.__name__
        SCENARIOS.append(Scenario(found, script, providers, client or {}, simulator, chance))
        return script

    return add


def first_audio_fault(fault: str, providers: tuple[str, ...] = PROVIDERS) -> Any:
    """Play a script with *fault* in front of the first audio of the first generation."""
    action = fault.replace("=", "-").replace(";", "-")
    return scenario(
        name=f"retry_{action}", providers=providers, faults=[_at(fault, "request:1,chunk:0")]
    )


def held(*places: str) -> list[str]:
    """Have generations stand still in these places until they are interrupted, however late."""
    return [f"stall@{place}=interrupt" for place in places]


def _at(fault: str, place: str) -> str:
    action, equals, arg = fault.partition("=")
    return f"{action}@{place}{equals}{arg}"


# --- text in --------------------------------------------------------------------------------------


@scenario()
async def whole_text(w: World) -> None:
    (await w.speak("Good morning to you all").rest()).said()


@scenario()
async def list_of_pieces(w: World) -> None:
    take = await w.speak(["Good morn", "ing to", " you", " ", "", "all"]).rest()
    take.said("Good morning to you all")


@scenario(own=IN_PIECES)
async def pieces(w: World) -> None:
    await w.prewarm()
    take = await w.speak(w.source("Good morn", "ing to ", "you", " al", "l")).rest()
    take.said("Good morning to you all")


@scenario()
async def unicode_text(w: World) -> None:
    (await w.speak("Žluťoučký kůň 東京 🎈 naïve").rest()).said()


@scenario(own=IN_PIECES)
async def push(w: World) -> None:
    await w.prewarm()
    take = w.speak()
    take.speech.write("Good morning ")
    take.speech.write("to you ")
    take.speech.end()
    (await take.rest()).said("Good morning to you")


@scenario(own=IN_PIECES)
async def push_and_flush(w: World) -> None:
    await w.prewarm()
    take = w.speak()
    take.speech.write("One two three.")
    take.speech.flush()
    await take.read(1)
    take.speech.write(" Four five.")
    take.speech.flush()
    take.speech.end()
    take.speech.end()
    await take.rest()
    assert take.heard == ["One", "two", "three.", "Four", "five."]
    w.refusal(lambda: take.speech.write("late"), ttsmux.LocalProtocolError)


@scenario()
async def write_after_end(w: World) -> None:
    take = w.speak()
    take.speech.write("Good morning")
    take.speech.end()
    w.refusal(lambda: take.speech.write("late"), ttsmux.LocalProtocolError)
    w.refusal(take.speech.flush, ttsmux.LocalProtocolError)
    (await take.rest()).said("Good morning")


async def _nothing(w: World, take: Any) -> None:
    await take.rest()
    take.said("")
    assert not received(w.sim.log, "text.delta")


@scenario()
async def empty_text(w: World) -> None:
    (await w.speak("").rest()).said()
    assert w.sim.dials == 0


@scenario()
async def blank_text(w: World) -> None:
    (await w.speak(" \n\t ").rest()).said()
    assert w.sim.dials == 0


@scenario()
async def blank_list(w: World) -> None:
    (await w.speak(["", " ", "\n"]).rest()).said("")
    (await w.speak([]).rest()).said("")
    assert w.sim.dials == 0


@scenario()
async def nothing_written(w: World) -> None:
    take = w.speak()
    take.speech.end()
    (await take.rest()).said("")
    # The dial overlaps a language model, so it began with speak(); the wire stays silent.
    await w.settled()
    assert not events(w.sim.log, "recv")


@scenario()
async def source_without_text(w: World) -> None:
    (await w.speak(w.source("", " ")).rest()).said("")
    await w.settled()
    assert not events(w.sim.log, "recv")


@scenario()
async def source_raises_at_once(w: World) -> None:
    await w.prewarm()
    error = ValueError("no text today")
    take = await w.speak(w.source(error)).rest()
    take.failed(ValueError)
    assert take.error is error
    assert not take.chunks
    assert not events(w.sim.log, "recv")


@scenario(providers=EAGER)
async def source_raises_midway(w: World) -> None:
    await w.prewarm()
    error = LookupError("the model went away")
    heard: list[object] = []
    take = w.speak(w.source("one two three. ", "four five ", lambda: len(heard) == 2, error))
    for _ in range(2):
        heard.append(await take.chunk())
    await take.rest()
    take.failed(LookupError).began("one two three. four five")
    assert take.error is error
    # What came before the failure is handed out; how much that was is the network's affair.
    del take.chunks[2:]
    await w.settled()
    (await w.speak("and on").rest()).said()


@scenario()
async def source_gives_no_text(w: World) -> None:
    await w.prewarm()
    take = await w.speak(w.source("one ", 17)).rest()  # type: ignore[arg-type]
    take.failed(TypeError)
    take.chunks.clear()  # how many there were before is chance


@scenario()
async def long_text(w: World) -> None:
    text = " ".join(["hippopotamus"] * 40)
    (await w.speak(text).rest()).said()


# --- interruptions --------------------------------------------------------------------------------


@scenario()
async def interrupt_before_first_frame(w: World) -> None:
    dialling = threading.Event()
    w.client = w.make_client(api_key=lambda: KEY if dialling.wait(PATIENCE) else "")
    take = w.speak("Good morning to you")
    report = take.interrupt()
    dialling.set()
    assert report.heard_seconds == 0.0
    assert report.unspoken_text == "Good morning to you"
    (await take.rest()).broke_off()
    await w.settled()
    assert not events(w.sim.log, "recv")


@scenario(ttfa_ms=60_000)
async def interrupt_before_first_audio(w: World) -> None:
    take = w.speak("Good morning to you")
    await w.seen(lambda log: events(log, "generation"))
    take.interrupt()
    (await take.rest()).broke_off()
    assert not take.chunks
    if w.provider == "xai":
        await w.seen(lambda log: sent(log, "audio.clear"))


# Audio that was received behind what was read has marks, and counts in an estimate.
@scenario(faults=held("request:1,chunk:5"), chance=("report",))
async def interrupt_mid_audio(w: World) -> None:
    take = await w.speak(LONG).read(5)
    report = take.interrupt()
    assert report.heard_seconds == 0.4
    assert report.heard_text + report.unspoken_text == LONG
    assert take.speech.interrupt() is report
    (await take.rest()).broke_off()
    assert len(take.chunks) == 5
    await w.settled()
    (await w.speak("And now this").rest()).said()


@scenario()
async def interrupt_when_all_is_received(w: World) -> None:
    take = w.speak("Good morning to you")
    await take.read(2)
    await take.received()
    take.interrupt()
    (await take.rest()).broke_off()
    assert len(take.chunks) == 2
    await w.settled()
    assert not received(w.sim.log, "text.clear")
    (await w.speak("And now this").rest()).said()


@scenario()
async def interrupt_after_the_end(w: World) -> None:
    take = (await w.speak("Good morning").rest()).said()
    report = take.interrupt()
    assert report.heard_text == "Good morning"
    assert report.unspoken_text == ""
    take.said()


@scenario(faults=held("request:1,chunk:2"))
async def interrupt_by_leaving(w: World) -> None:
    take = await w.speak(LONG).read(2)
    exit = getattr(take.speech, "__exit__", None)
    if exit is not None:
        exit(None, None, None)
    else:
        await take.speech.__aexit__(None, None, None)
    (await take.rest()).broke_off()


@scenario(providers=EAGER, faults=held("request:1,chunk:2"), chance=("report",))
async def interrupt_a_source(w: World) -> None:
    await w.prewarm()
    over: list[bool] = []
    take = await w.speak(w.source("one two three four five six ", lambda: over, "seven")).read(2)
    report = take.interrupt()
    assert report.heard_text + report.unspoken_text == "one two three four five six "
    over.append(True)
    (await take.rest()).broke_off("one two three four five six")


@scenario(providers=EAGER, faults=held("request:1,chunk:1"), chance=("report",))
async def write_to_an_interrupted_speech(w: World) -> None:
    take = w.speak()
    take.speech.write("one two three ")
    await take.read(1)
    report = take.interrupt()
    assert report.heard_text + report.unspoken_text == "one two three "
    take.speech.write("four")
    take.speech.flush()
    take.speech.end()
    (await take.rest()).broke_off("one two three")


@scenario()
async def played_less_than_read(w: World) -> None:
    take = (await w.speak("one two three four").rest()).said()
    take.speech.played(0.5)
    report = take.interrupt()
    assert report.heard_seconds == 0.5
    # An estimate, where no word has a time.
    assert report.heard_text == ("one" if report.approximate else "one two")
    assert report.approximate is (w.provider == "sm")


# --- many -----------------------------------------------------------------------------------------


@scenario()
async def back_to_back(w: World) -> None:
    for n in range(5):
        (await w.speak(f"speech number {n}").rest()).said()
        await w.settled()
    assert w.sim.dials == (1 if w.traits.reusable else 5)


# Word times come beside the audio, when they like.
@scenario(faults=held(*(f"request:{n},chunk:2" for n in range(1, 5))), chance=("report", "marks"))
async def back_to_back_interrupted(w: World) -> None:
    for n in range(4):
        (await w.speak(f"number {n} {LONG}").read(2)).interrupt()
        await w.settled()
    (await w.speak("the last").rest()).said()


# Whether the first has ended before the last begins; and which the server counts as which.
@scenario(chance=("wire", "dials", "sound"))
async def in_parallel(w: World) -> None:
    takes = [w.speak(f"speech number {n} of six") for n in range(6)]
    await w.together(*(take.rest() for take in takes))
    for take in takes:
        take.said()


@scenario(faults=held("chunk:40"), chance=("wire", "dials", "sound", "report"))
async def in_parallel_some_interrupted(w: World) -> None:
    takes = [w.speak(f"number {n} {LONG}" if n % 2 else f"number {n}") for n in range(6)]

    async def listen(n: int) -> None:
        if n % 2:
            (await takes[n].read(3)).interrupt()
        await takes[n].rest()

    await w.together(*map(listen, range(6)))
    for n, take in enumerate(takes):
        take.broke_off() if n % 2 else take.said()


@scenario()
async def other_voice_for_one_speech(w: World) -> None:
    voice = VOICES.get(w.provider, "other-voice")
    (await w.speak("as usual").rest()).said()
    await w.settled()  # the end of its audio need not be that of its place
    (await w.speak("as another", voice=voice).rest()).said()
    assert [r["voice"] for r in events(w.sim.log, "generation")] == [w.sim.default_voice, voice]


# --- faults before the first audio: tried again, and nobody notices ------------------------------


async def _retried(w: World) -> None:
    take = (await w.speak("tried and tried again").rest()).said()
    assert take.speech.metrics.attempts == 2


for _fault in ("reset", "eof", "close=1000", "close=1001", "close=1011", "error"):
    first_audio_fault(_fault)(_retried)
for _fault in ("badb64", "garbage"):
    first_audio_fault(_fault, JSON)(_retried)
first_audio_fault("binary", (*ELEVENLABS, "gradium", *KUGELAUDIO))(_retried)


@scenario(providers=("sm",), faults=["garbage@request:1,chunk:0"])
async def garbage_that_says_nothing(w: World) -> None:
    (await w.speak("tried only once").rest()).said()


@scenario(providers=("xai",), faults=["binary@request:1,chunk:0"])
async def binary_that_says_nothing(w: World) -> None:
    (await w.speak("tried only once").rest()).said()


@scenario(client={"retry": AT_ONCE}, faults=["reset@request:1,chunk:0", "eof@request:2,chunk:0"])
async def retry_twice(w: World) -> None:
    take = (await w.speak("three times lucky").rest()).said()
    assert take.speech.metrics.attempts == 3


@scenario(client={"retry": AT_ONCE}, faults=["reset@chunk:0"])
async def retries_exhausted(w: World) -> None:
    take = (await w.speak("never").rest()).failed(
        ttsmux.ConnectionLost, attempt=3, retryable=True, delivered=ttsmux.Delivered()
    )
    assert not take.chunks
    assert len(events(w.sim.log, "generation")) == 3


@scenario(client={"timeouts": patient(first_audio=SOON)}, faults=["stall@request:1,chunk:0"])
async def retry_after_silence(w: World) -> None:
    take = (await w.speak("tried and tried again").rest()).said()
    assert take.speech.metrics.attempts == 2


# --- faults after the first audio: an error that says so -----------------------------------------


async def _after_two_chunks(w: World, fault: str | None) -> Any:
    take = await w.speak("one two three four five six").read(2)
    if w.traits.release_after is not None:  # it answers the first audio, and that is to arrive
        await w.seen(lambda log: [r for r in events(log, "recv") if "close_context" in r["frame"]])
    if fault is not None:
        w.sim.inject(_at(fault, "request:1"))
    await take.rest()
    assert take.error.delivered.bytes == len(take.audio)
    assert take.error.delivered.seconds == 0.16
    return take.began()


@scenario(faults=["stall@request:1,chunk:2"])
async def truncated(w: World) -> None:
    take = await _after_two_chunks(w, "close=1000")
    take.failed(ttsmux.TruncatedAudio, code=1000, attempt=1, phase="speak")
    (await w.speak("goes on").rest()).said()


@scenario(faults=["stall@request:1,chunk:2"])
async def closed_midway(w: World) -> None:
    take = await _after_two_chunks(w, "close=1011;overloaded")
    take.failed(ttsmux.ConnectionLost, code=1011, reason="overloaded")


@scenario(faults=["stall@request:1,chunk:2"])
async def reset_midway(w: World) -> None:
    take = await _after_two_chunks(w, "reset")
    take.failed(ttsmux.ConnectionLost, code=None, retryable=True)
    (await w.speak("goes on").rest()).said()


@scenario(faults=["stall@request:1,chunk:2"])
async def eof_midway(w: World) -> None:
    (await _after_two_chunks(w, "eof")).failed(ttsmux.ConnectionLost)


@scenario(providers=JSON, faults=["stall@request:1,chunk:2"])
async def garbage_midway(w: World) -> None:
    take = await _after_two_chunks(w, "garbage")
    take.failed(ttsmux.RemoteProtocolError)


@scenario(faults=["stall@request:1,chunk:2"])
async def error_midway(w: World) -> None:
    take = await _after_two_chunks(w, "error=out of breath")
    take.failed(ttsmux.GenerationError)
    assert "out of breath" in str(take.error)
    (await w.speak("goes on").rest()).said()


@scenario(client={"timeouts": patient(gap=SOON)}, faults=["stall@request:1,chunk:2"])
async def stalled(w: World) -> None:
    take = await _after_two_chunks(w, None)
    take.failed(ttsmux.StallTimeout, retryable=True)
    (await w.speak("goes on").rest()).said()


@scenario(client={"timeouts": patient(gap=SOON)}, faults=["drop-end@request:1"])
async def end_marker_missing(w: World) -> None:
    take = await w.speak("ab").rest()
    assert take.heard == ["ab"]
    if take.speech.marks:
        take.said()  # the provider has told when the last word ends, and it is here
    else:
        told = ttsmux.Delivered(len(take.audio), 0.28, 2)
        take.began().failed(ttsmux.StallTimeout, delivered=told)
    (await w.speak("goes on").rest()).said()


@scenario(faults=["odd@request:1"])
async def odd_cuts(w: World) -> None:
    take = (await w.speak("cut anywhere at all").rest()).said()
    assert any(r["frame"]["audio_bytes"] % 2 for r in audio_sent(w.sim.log))
    assert not any(len(chunk.data) % 2 for chunk in take.chunks)


# --- what is wrong with the request --------------------------------------------------------------


@scenario(chance=("wire",))
async def unknown_voice(w: World) -> None:
    take = await w.speak("who am I", voice="nope").rest()
    if w.provider in ("elevenlabs", "xai"):
        take.failed(ttsmux.NotFoundError, phase="dial", retryable=False)
    else:
        take.failed(type(take.error), retryable=False)
        assert isinstance(take.error, ttsmux.Error)
    assert not take.chunks
    (await w.speak("but this works").rest()).said()


@scenario()
async def voice_that_smuggles(w: World) -> None:
    for voice in ("eve\r\nX-Evil: 1", "eve&codec=mp3", "../admin", ""):
        w.refusal(lambda voice=voice: w.speak("hello", voice=voice), ttsmux.InvalidVoice)
    assert w.sim.dials == 0


@scenario()
async def unknown_format(w: World) -> None:
    w.refusal(lambda: w.speak("hello", format="mp3"), ttsmux.InvalidFormat)
    w.refusal(lambda: w.make_client(format="pcm_11025"), ttsmux.InvalidFormat)
    assert w.sim.dials == 0


@scenario()
async def unknown_option(w: World) -> None:
    w.refusal(lambda: w.speak("hello", pitch=2), ttsmux.ConfigError)
    w.refusal(lambda: w.make_client(pitch=2), ttsmux.ConfigError)
    assert w.sim.dials == 0


@scenario()
async def missing_key(w: World) -> None:
    w.refusal(lambda: w.make_client(api_key=None, base_url="wss://tts.example"), ttsmux.AuthError)
    assert w.sim.dials == 0


@scenario()
async def key_in_plain_text(w: World) -> None:
    for key in (KEY, ttsmux.Secret(KEY), lambda: KEY):
        for url in ("ws://tts.example:9", "http://10.0.0.1"):
            w.refusal(
                lambda key=key, url=url: w.make_client(base_url=url, api_key=key),
                ttsmux.InsecureEndpoint,
            )
    assert w.sim.dials == 0


@scenario(own=IN_PIECES, chance=("wire", "attempts", "characters", "error"))
async def lone_surrogate(w: World) -> None:
    w.refusal(lambda: w.speak("half \ud83d a pair"), ttsmux.InvalidText)
    w.refusal(lambda: w.speak(["whole", "half \udc00"]), ttsmux.InvalidText)
    assert w.sim.dials == 0
    await w.prewarm()
    take = w.speak()
    take.speech.write("one two ")
    w.refusal(lambda: take.speech.write("\udfff"), ttsmux.InvalidText)
    take.speech.write("three")
    take.speech.end()
    (await take.rest()).said("one two three")
    await w.settled()
    await w.prewarm()
    take = await w.speak(w.source("one two ", "\ud800")).rest()
    take.failed(ttsmux.InvalidText, retryable=False)
    # When the failure overtook them, is chance.
    take.chunks.clear()


@scenario()
async def text_that_is_none(w: World) -> None:
    w.refusal(lambda: w.speak(["one", 2]), ttsmux.WrongType)
    take = w.speak()
    w.refusal(lambda: take.speech.write(b"bytes"), ttsmux.WrongType)
    take.speech.end()
    (await take.rest()).said("")
    await w.settled()


# --- dials that fail ------------------------------------------------------------------------------


# What a 429 without a word means: where only connections are few, it is them.
TOO_MANY: dict[str, type[BaseException]] = {"sm": ttsmux.ConcurrencyLimitError}


def _refused(answer: str, kind: type[BaseException] | None, attempts: int, **facts: object) -> None:
    @scenario(name=f"upgrade_{answer.replace(';', '_').replace('=', '_')}",
              client={"retry": THRICE}, faults=[f"status={answer}"])  # fmt: skip
    async def script(w: World) -> None:
        take = await w.speak("hello").rest()
        wanted = kind or TOO_MANY.get(w.provider, ttsmux.RateLimitError)
        take.failed(wanted, phase="dial", provider=w.provider, **facts)
        assert w.sim.dials == attempts


_refused("401", ttsmux.AuthError, 1, retryable=False)
_refused("403", ttsmux.AuthError, 1, retryable=False)
_refused("404", ttsmux.NotFoundError, 1, retryable=False)
_refused("402", ttsmux.QuotaError, 1, retryable=False)
_refused("429;retry-after=0", None, 3, retryable=True, retry_after=0.0)
_refused("503", ttsmux.HandshakeError, 3, retryable=True, status=503)
_refused("302;location=http://127.0.0.1:9/", ttsmux.HandshakeError, 1, retryable=False, status=302)


@scenario(client={"retry": ONCE}, faults=["status=429;retry-after=7"])
async def rate_limited(w: World) -> None:
    wanted = TOO_MANY.get(w.provider, ttsmux.RateLimitError)
    (await w.speak("hello").rest()).failed(wanted, retry_after=7.0)


@scenario(faults=["status=503@connect:1"])
async def upgrade_refused_once(w: World) -> None:
    (await w.speak("second time lucky").rest()).said()


@scenario(faults=["refuse@connect:1"])
async def dial_cut_once(w: World) -> None:
    (await w.speak("second time lucky").rest()).said()


@scenario(client={"retry": THRICE}, faults=["refuse"])
async def dial_cut(w: World) -> None:
    (await w.speak("hello").rest()).failed(ttsmux.ConnectError, phase="dial", retryable=True)
    assert w.sim.dials == 3


@scenario(client={"base_url": "ws://127.0.0.1:1", "retry": THRICE})
async def dial_refused(w: World) -> None:
    (await w.speak("hello").rest()).failed(ttsmux.ConnectError, phase="dial", retryable=True)


@scenario(providers=("gradium",), key="the-right-key", chance=("wire",))
async def bad_key_after_the_upgrade(w: World) -> None:
    take = await w.speak("hello").rest()
    take.failed(ttsmux.AuthError, retryable=False)
    assert len(events(w.sim.log, "open")) == 1


@scenario(providers=(*ELEVENLABS, *KUGELAUDIO, "sm", "xai"), key="the-right-key")
async def bad_key(w: World) -> None:
    (await w.speak("hello").rest()).failed(ttsmux.AuthError, phase="dial", retryable=False)
    assert w.sim.dials == 1


@scenario(key="the-right-key-second", chance=("wire", "attempts", "characters"))
async def refreshed_key(w: World) -> None:
    keys = iter(["the-key-of-yesterday", "the-right-key-second"])
    w.client = w.make_client(api_key=lambda: next(keys))
    (await w.speak("with a new key").rest()).said()


# --- deadlines ------------------------------------------------------------------------------------


@scenario(client={"timeouts": patient(first_audio=0.1), "retry": ONCE}, ttfa_ms=60_000)
async def no_first_audio(w: World) -> None:
    take = await w.speak("hello").rest()
    take.failed(ttsmux.FirstAudioTimeout, retryable=True, attempt=1)


@scenario(client={"timeouts": patient(dial=0.1), "retry": ONCE}, handshake_ms=60_000)
async def no_handshake(w: World) -> None:
    (await w.speak("hello").rest()).failed(ttsmux.ConnectTimeout, phase="dial", retryable=True)


@scenario(client={"timeouts": patient(total=SOON)}, faults=["stall@request:1,chunk:2"])
async def total_deadline(w: World) -> None:
    await w.prewarm()
    take = await w.speak(LONG).read(2)
    (await take.rest()).failed(ttsmux.DeadlineExceeded, retryable=False)
    take.began()


@scenario(
    providers=ONE_SEAT,
    client={"pool": PoolLimits(max_size=1, min_idle=0, acquire_timeout=0.1)},
    faults=["stall@request:1,chunk:1"],
)
async def no_seat(w: World) -> None:
    await w.prewarm()
    first = await w.speak(LONG).read(1)
    second = await w.speak("hello").rest()
    second.failed(ttsmux.PoolTimeout, phase="acquire", retryable=True)
    first.interrupt()
    (await first.rest()).broke_off()


@scenario(
    providers=ONE_SEAT,
    client={"pool": PoolLimits(max_size=1, min_idle=0, max_waiting=1)},
    faults=["stall@request:1,chunk:1"],
)
async def no_room_to_wait(w: World) -> None:
    first = await w.speak(LONG).read(1)
    second = w.speak("waits")
    w.refusal(lambda: w.speak("one too many"), ttsmux.PoolFull)
    first.interrupt()
    (await first.rest()).broke_off()
    (await second.rest()).said()


@scenario(faults=["stall@request:1,chunk:1"])
async def close_while_speaking(w: World) -> None:
    take = await w.speak(LONG).read(1)
    await w.stage.close(w.client)
    await w.stage.close(w.client)
    (await take.rest()).failed(ttsmux.ClosedError, phase="close")
    w.refusal(lambda: w.speak("too late"), ttsmux.ClosedError)
