"""A provider that takes whole texts is given a sentence a request, and a speech sounds as one."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

import ttsmux
from tests.scenarios.stage import KEY, RUNTIMES, Face, face
from ttsmux.simulate import AsyncSimulator, Simulator
from ttsmux.simulate.engines.tone import decode
from ttsmux.testing.world import PATIENCE, PATIENT

LATIN = (
    "Good morning, Dr. Smith! Your train to St. Ives leaves at 10.45 a.m. from platform 3, and it "
    "costs $3.50 (or 1,000 points). \n\nShall I book a seat? It is a long story that begins in a "
    "small town by the sea, where nobody had ever heard of trains, of tickets or of anything else "
    "that moves on rails, and where people walked wherever they wanted to go… “Really?” Yes."
) * 3
ARABIC = (
    "صباح الخير يا د. محمد! كيف حالك اليوم؟ يغادر القطار في الساعة ١٠:٤٥ من الرصيف ٣، وثمن التذكرة "
    "٣٫٥٠ دينار؛ هل تريد أن أحجز لك مقعداً؟ كانت هناك مدينة صغيرة على شاطئ البحر، لم يسمع أهلها قط "
    "بالقطارات ولا بالتذاكر ولا بأي شيء آخر يسير على القضبان، وكان الناس يمشون إلى حيث يشاؤون "
    "أن يذهبوا. «حقاً؟» نعم. "
) * 3
TEXTS = {"latin": LATIN, "arabic": ARABIC}


def play(runtime: str, script: Any, sim: Simulator, **settings: Any) -> None:
    stage = face(runtime)

    async def body() -> None:
        client = stage.client("sm", base_url=sim.url, api_key=KEY, timeouts=PATIENT, **settings)
        try:
            await script(stage, client)
        finally:
            await stage.close(client)

    stage.run(body())


async def read(stage: Face, speech: Any) -> bytes:
    audio = b""
    while (chunk := await stage.next(speech)) is not None:
        assert chunk.start == pytest.approx(len(audio) / 2 / 22050)
        audio += chunk.data
    return audio


def words(audio: bytes) -> list[tuple[str, int]]:
    found = decode(audio, 22050)
    assert all(word.ok for word in found)
    return [(word.text, word.tag) for word in found]


def requests(sim: Simulator) -> list[str]:
    return [str(frame["text"]) for frame in sim.frames("recv")]


def pieces(text: str, rng: random.Random) -> Iterator[str]:
    at = 0
    while at < len(text):
        size = rng.choice((1, 1, 2, 3, 5, 8, 40, 400))
        yield text[at : at + size]
        at += size


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with AsyncSimulator("sm") as sim:
        yield sim
        assert not [record for record in sim.log if record["event"] == "violation"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_long_text_in_random_pieces_is_spoken_word_for_word(
    sim: Simulator, runtime: str, text: str, seed: int
) -> None:
    """Over one connection, in requests that are the text again, none of them too long."""
    said = TEXTS[text]

    async def script(stage: Face, client: Any) -> None:
        source = stage.source(pieces(said, random.Random(seed)))
        audio = await read(stage, client.speak(source))
        assert [word for word, _ in words(audio)] == said.split()

    play(runtime, script, sim, pool=ttsmux.PoolLimits(min_idle=0))
    sent = requests(sim)
    assert "".join(sent) == said.rstrip() and max(map(len, sent)) <= 150
    assert sim.dials == 1
    assert any(piece.strip().startswith("Your train to St. Ives") for piece in sent) is (
        text == "latin"
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_sentences_are_spoken_while_the_next_are_still_written(
    sim: Simulator, runtime: str
) -> None:
    """The first is heard before the second is there; marks of time go on through all of them."""

    async def script(stage: Face, client: Any) -> None:
        speech = client.speak()
        speech.write("One two. Thr")
        first = await stage.next(speech)
        assert first is not None and requests(sim) == ["One two."]
        speech.write("ee four")
        speech.flush()
        speech.write(". Five. ")
        speech.end()
        audio = first.data
        while (chunk := await stage.next(speech)) is not None:
            assert chunk.start == pytest.approx(len(audio) / 2 / 22050)
            audio += chunk.data
        assert words(audio) == [("One", 1), ("two.", 1), ("Three", 2), ("four.", 2), ("Five.", 3)]

    play(runtime, script, sim)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_two_speeches_on_one_connection_do_not_mix_their_sentences(
    sim: Simulator, runtime: str
) -> None:
    """The second waits for the first to be over, not for a pause between its sentences."""

    async def script(stage: Face, client: Any) -> None:
        heard: dict[int, list[tuple[str, int]]] = {}
        speeches = [client.speak(f"One {n}. Two {n}. Three {n}.") for n in range(2)]

        async def listen(n: int) -> None:
            heard[n] = words(await read(stage, speeches[n]))

        parts: list[Coroutine[Any, Any, None]] = [listen(n) for n in range(2)]
        await stage.together(parts)
        for n in range(2):
            said = f"One {n}. Two {n}. Three {n}.".split()
            assert [word for word, _ in heard[n]] == said

    play(runtime, script, sim, pool=ttsmux.PoolLimits(max_size=1, min_idle=0))
    sent = [text.strip() for text in requests(sim)]
    first = sent[0][-2]
    second = "1" if first == "0" else "0"
    assert sent == [f"{word} {n}." for n in (first, second) for word in ("One", "Two", "Three")]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_interrupted_speech_gives_its_connection_up(runtime: str) -> None:
    """Its last sentence is spoken on there, and nobody hears of it."""

    async def script(stage: Face, client: Any) -> None:
        for n in range(6):
            speech = client.speak(f"It is number {n} of the long stories that begin by the sea.")
            assert await stage.next(speech) is not None
            speech.interrupt()
        audio = await read(stage, client.speak("The last. It is short."))
        found = words(audio)
        assert " ".join(word for word, _ in found) == "The last. It is short."
        assert {tag for _, tag in found} == {7, 8}

    with AsyncSimulator("sm", rtf=0.02) as sim:
        play(runtime, script, sim)
        # A server that was told is done with a connection when it likes; the next may come first.
        held: set[object] = set()
        most = 0
        for record in sim.log:
            match record["event"]:
                case "dial":
                    held.add(record["conn"])
                case "lost":
                    held.discard(record["conn"])
                case "close" if record["by"] == "client":
                    held.discard(record["conn"])
            most = max(most, len(held))
        assert 1 < most <= 5, "no more than a key is allowed"
        assert not [record for record in sim.log if record["event"] == "refused"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_more_speeches_than_a_key_has_connections(runtime: str) -> None:
    """They wait for each other; the sixth connection is never tried."""

    async def script(stage: Face, client: Any) -> None:
        async def say(n: int) -> None:
            audio = await read(stage, client.speak(f"One of {n}. Two of {n}."))
            assert [word for word, _ in words(audio)] == f"One of {n}. Two of {n}.".split()

        await stage.together([say(n) for n in range(12)])

    with AsyncSimulator("sm", ttfa_ms=20) as sim:
        play(runtime, script, sim, pool=ttsmux.PoolLimits(max_size=16))
        assert not [record for record in sim.log if record["event"] == "refused"]
        assert sim.dials <= 4


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "options",
    [{"extra_events": True, "end_fields": True}, {"faults": ["odd"]}, {"faults": ["garbage"]},
     {"auth": "first-message"}, {"auth": "first-message", "auth_reply": True}],
    ids=str,
)  # fmt: skip
def test_what_changes_nothing(runtime: str, options: dict[str, Any]) -> None:
    """Unknown events, half samples, a text that is no JSON, a key that is or is not answered."""

    async def script(stage: Face, client: Any) -> None:
        for n in range(2):
            audio = await read(stage, client.speak(f"One {n}. Two {n}."))
            assert [word for word, _ in words(audio)] == f"One {n}. Two {n}.".split()

    auth = {"auth": options["auth"]} if "auth" in options else {}
    if options.get("auth_reply"):
        auth["ready_event"] = "authenticated"
    with AsyncSimulator("sm", **options) as sim:
        play(runtime, script, sim, pool=ttsmux.PoolLimits(min_idle=0), **auth)
        assert sim.dials == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_audio_while_nobody_speaks_costs_the_connection(sim: Simulator, runtime: str) -> None:
    """It could be taken for the next one's."""

    async def script(stage: Face, client: Any) -> None:
        for _ in range(2):
            audio = await read(stage, client.speak("Hello there."))
            assert [word for word, _ in words(audio)] == ["Hello", "there."]
            sim.inject("binary@connect:1")
            await stage.until(lambda: client.pool_stats().idle == sim.dials - 1, PATIENCE)

    play(runtime, script, sim, pool=ttsmux.PoolLimits(min_idle=0))
    assert sim.dials == 2


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_end_without_audio_is_told(runtime: str) -> None:
    """There was something to say: it is neither a hang nor a short success."""

    async def script(stage: Face, client: Any) -> None:
        with pytest.raises(ttsmux.EmptyAudio):
            await read(stage, client.speak("Hello there."))

    with AsyncSimulator("sm", silent=True) as sim:
        play(runtime, script, sim, retry=ttsmux.RetryPolicy(attempts=1))
