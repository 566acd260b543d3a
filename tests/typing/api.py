"""
What a user writes, for mypy --strict. It is never run.

If a line here no longer type-checks, somebody's program does not either.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import ttsmux
from ttsmux import XAI, AsyncClient, AsyncSpeech, Client, ElevenLabs, Gradium, Speech


def pieces() -> Iterator[str]:
    yield "Good "
    yield "morning."


async def tokens() -> AsyncIterator[str]:
    yield "Good "
    yield "morning."


def key() -> str:
    return "a-key"


async def async_key() -> str:
    return "a-key"


def play(data: bytes) -> None: ...


# --- threads --------------------------------------------------------------------------------------


def making_clients() -> None:
    Client("gradium", voice="YTpq7expH9539ERJ")
    Client(ElevenLabs(voice="v", stability=0.5, chunk_length_schedule=[50, 120], region="eu"))
    Client("xai", voice="eve", language="en", with_timestamps=True, format="mulaw_8000")
    Client(Gradium(voice="v", padding_bonus=-1.0, temp=0.7, seats=4))
    Client([Gradium(voice="v"), XAI()], api_key={"gradium": "one", "xai": key})
    Client(
        "xai",
        api_key=ttsmux.Secret("a-key"),
        base_url="https://eu.example",
        headers={"X-Team": "support"},
        allow_plaintext=False,
        timeouts=ttsmux.Timeouts(dial=2.0, send=5.0, first_audio=3.0, gap=2.0, total=60.0),
        pool=ttsmux.PoolLimits(max_size=4, min_idle=1, max_waiting=10, acquire_timeout=2.0),
        retry=ttsmux.RetryPolicy(attempts=2, base=0.1, cap=1.0),
        interrupt=ttsmux.Interrupt.DISCARD,
        proxy=None,
        ssl_context=ssl.create_default_context(),
        fast_path=False,
    )
    Client("xai", api_key=key, interrupt="cancel", proxy="http://proxy.example:3128")
    Client(
        [Gradium(voice="v"), XAI()],
        base_url={"gradium": "wss://eu.example"},
        headers={"xai": {"X-Team": "support"}},
        retry=ttsmux.RetryPolicy(on_partial="resume", resumes=2),
        fallback=None,
    )
    Client("xai", fallback="rest", retry=ttsmux.RetryPolicy(on_partial=ttsmux.OnPartial.RESTART))
    Client("xai", fallback="http")  # type: ignore[arg-type]
    # An async key belongs to the async client.
    Client("xai", telemetry=False)
    Client("xai", telemetry=ttsmux.Telemetry(tracer_provider=None))
    Client("xai", telemetry="yes")  # type: ignore[arg-type]
    Client("xai", api_key=async_key)  # type: ignore[arg-type]


def making_clients_of_a_list(adapters: list[ttsmux.Adapter]) -> Client:
    # What is wrong here is wrong when it runs, too.
    Client(5)  # type: ignore[arg-type]
    Client("xai", api_key=b"a-key")  # type: ignore[arg-type]
    Client("xai", timeouts={})  # type: ignore[arg-type]
    Client("xai", headers=["X-Team: support"])  # type: ignore[arg-type]
    return Client(adapters)


def speaking() -> None:
    with Client("gradium", voice="YTpq7expH9539ERJ") as tts:
        assert_type(tts, Client)
        assert_type(tts.prewarm(), int)
        tts.prewarm(2, timeout=1.0, voice="another")
        with tts.speak("Good morning.") as speech:
            assert_type(speech, Speech)
            for chunk in speech:
                assert_type(chunk, ttsmux.AudioChunk)
                play(chunk.data)
                assert_type(chunk.start, float)
                assert_type(chunk.seconds, float)
                assert_type(chunk.format.rate, int)
                assert_type(chunk.resumed, ttsmux.Resumed | None)
                for mark in chunk.marks:
                    assert_type(mark, ttsmux.Mark)
                    print(mark.text, mark.start, mark.stop, mark.kind is ttsmux.MarkKind.WORD)
        print(speech.metrics.ttfa, speech.metrics.connection_reused, speech.metrics.attempts)
        assert_type(speech.metrics.queue, float | None)
        assert_type(speech.metrics.failed_dials, float | None)
        assert_type(speech.metrics.first_audio, float | None)
        assert_type(speech.metrics.gaps, int)
        assert_type(speech.explain(), str)
        if speech.outcome is ttsmux.Outcome.COMPLETED:
            print(speech.marks, speech.format)
        assert_type(tts.speak(pieces()).read(), bytes)
        assert_type(tts.speak(["Good ", "morning."]).save("good.wav"), Path)
        tts.speak("Bye.", voice="another").save(Path("bye.wav"))
        # Text that comes with awaits is the async client's.
        tts.speak(tokens())  # type: ignore[arg-type]
        stats = tts.pool_stats()
        assert_type(stats, ttsmux.PoolStats)
        print(stats.idle, stats.busy, stats.dials, stats.seats_free)
    tts.close()


def pushing(tts: Client) -> None:
    speech = tts.speak()
    speech.write("Good morning.")
    speech.flush()
    speech.write(" How are you?")
    speech.end()
    first = next(speech)
    speech.played(first.seconds)
    report = speech.interrupt()
    assert_type(report, ttsmux.Interruption)
    print(report.heard_seconds, report.heard_text, report.unspoken_text, report.approximate)


def failing(tts: Client) -> None:
    try:
        tts.speak("Good morning.").read()
    except ttsmux.TruncatedAudio as exc:
        assert_type(exc.code, int | None)
        assert_type(exc.delivered, ttsmux.Delivered)
        print(exc.delivered.bytes, exc.delivered.seconds, exc.delivered.characters)
    except ttsmux.RateLimitError as exc:
        assert_type(exc.retry_after, float | None)
    except ttsmux.HandshakeError as exc:
        assert_type(exc.status, int | None)
    except (ttsmux.AuthError, ttsmux.NotFoundError, ttsmux.QuotaError) as exc:
        assert_type(exc.retryable, bool)
    except ttsmux.GenerationError as exc:
        assert_type(exc.code, int | str | None)
    except TimeoutError:
        pass
    except ttsmux.WrongType as exc:
        # A program that knows Python's own classes only catches it too.
        wrong: TypeError = exc
        misfit: ValueError = exc
        print(wrong, misfit)
    except ttsmux.Error as exc:
        print(exc.provider, exc.phase, exc.attempt, exc.retryable)


# --- tasks ----------------------------------------------------------------------------------------


async def async_making_clients() -> None:
    AsyncClient("xai", voice="eve", language="en", api_key=async_key)
    AsyncClient([Gradium(voice="v"), XAI()], api_key={"gradium": async_key, "xai": "another"})
    AsyncClient("xai", api_key=key, pool=ttsmux.PoolLimits(max_size=2), interrupt="discard")
    AsyncClient("xai", api_key=key, limits=ttsmux.KeyLimits(generations=5, shared=False))
    AsyncClient("xai", api_key=key, limits={"xai": ttsmux.KeyLimits(requests_per_minute=9)})


async def async_speaking() -> None:
    async with AsyncClient("xai", voice="eve") as tts:
        assert_type(tts, AsyncClient)
        assert_type(await tts.prewarm(), int)
        async with tts.speak(tokens()) as speech:
            assert_type(speech, AsyncSpeech)
            async for chunk in speech:
                assert_type(chunk, ttsmux.AudioChunk)
                play(chunk.data)
        print(speech.outcome, speech.metrics.audio_seconds, speech.marks, speech.format.name)
        assert_type(await tts.speak("Good morning.").read(), bytes)
        assert_type(await tts.speak(pieces()).save("good.wav"), Path)
        first = await anext(tts.speak(["Good ", "morning."], voice="another"))
        print(first.seconds)
        assert_type(tts.pool_stats(), ttsmux.PoolStats)
        assert_type(tts.from_thread(speech.interrupt), ttsmux.Interruption)
    await tts.aclose()


async def async_pushing(tts: AsyncClient) -> None:
    speech = tts.speak()
    speech.write("Good morning.")
    speech.flush()
    speech.end()
    speech.played(0.5)
    assert_type(speech.interrupt(), ttsmux.Interruption)


def constants() -> None:
    assert_type(ttsmux.__version__, str)
    assert_type(ttsmux.AudioFormat.parse("pcm_24000"), ttsmux.AudioFormat)
    assert_type(ttsmux.Interrupt("mute"), ttsmux.Interrupt)


# --- beside speaking ------------------------------------------------------------------------------


def voices_and_the_end(tts: Client) -> None:
    assert_type(tts.voices(), tuple[ttsmux.Voice, ...])
    for voice in tts.voices(timeout=3.0):
        tts.speak("Hello.", voice=voice.id, deadline=2.0)
        assert_type(voice.languages, tuple[str, ...])
    assert_type(tts.drain(timeout=10.0), bool)
    tts.speak("Hello.", deadline="soon")  # type: ignore[arg-type]


async def the_same_async(tts: AsyncClient) -> None:
    assert_type(await tts.voices(), tuple[ttsmux.Voice, ...])
    assert_type(await tts.drain(), bool)
    tts.speak(tokens(), deadline=2.0)
