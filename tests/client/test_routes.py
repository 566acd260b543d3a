"""Speeches that break off, or cannot have sockets: on every runtime, against simulators."""

from __future__ import annotations

import inspect
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import ttsmux
from tests.scenarios.stage import RUNTIMES, Take, World, events, play
from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import decode
from ttsmux.testing.sound import is_whole

TEXT = "One two three"
PROVIDERS = ("elevenlabs", "gradium", "kugelaudio", "sm", "xai")
TOLD = ("elevenlabs", "gradium")
"""Those whose words are told with them; others tell of each behind it, or not at all."""
on_every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


class Cable:
    """A way to a server that can be cut, as often as one likes; new connections go through."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"

    def _start(self, run: Any, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection((self._to.hostname or "", self._to.port or 0))
            with self._lock:
                self._ends += [near, far]
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            _end(end)

    def cut(self) -> None:
        """End every connection there is, without a word."""
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            _end(end)

    def close(self) -> None:
        _end(self._listener)
        self._listener.close()
        self._threads[0].join(10.0)
        self.cut()
        for thread in self._threads:
            thread.join(10.0)
            assert not thread.is_alive()
        for end in self._ends:
            end.close()


def _end(end: socket.socket) -> None:
    with suppress(OSError):  # it has ended
        end.shutdown(socket.SHUT_RDWR)


# --- after the first audio ------------------------------------------------------------------------


def words(chunks: list[ttsmux.AudioChunk]) -> list[tuple[str, bool]]:
    """Return the words in *chunks*, each with whether it is whole."""
    # A word with silence behind it is whole, or it is not.
    rate = chunks[0].format.rate
    sound = b"".join(chunk.data for chunk in chunks) + bytes(rate // 5 * 2)
    return [(word.text, word.ok) for word in decode(sound, rate)]


def went_on(take: Take) -> bool:
    """No word is lost; none is said twice, but for one where that is an estimate; return if so."""
    assert take.error is None, repr(take.error)
    assert take.speech.outcome is ttsmux.Outcome.COMPLETED
    take._in_order()
    [seam] = [n for n, chunk in enumerate(take.chunks) if chunk.resumed is not None]
    resumed = take.chunks[seam].resumed
    assert resumed is not None and resumed.gap > 0
    before, behind = words(take.chunks[:seam]), words(take.chunks[seam:])
    assert all(whole for _, whole in behind)
    assert all(whole for _, whole in before[:-1])
    said = [text for text, whole in before if whole]
    then = [text for text, _ in behind]
    assert TEXT[resumed.at :].split() == then
    if said + then != TEXT.split():
        assert said[:-1] + then == TEXT.split()
        assert resumed.approximate
    metrics = take.speech.metrics
    assert (metrics.resumed, metrics.attempts) == (1, 2)
    return resumed.approximate


def cut_everywhere(runtime: str, provider: str, *, lag: int) -> None:
    """Cut the wire of one speech after each of its chunks, all of them read but the last *lag*."""
    policy = ttsmux.RetryPolicy(base=0.001, on_partial="resume")

    async def script(w: World) -> None:
        nonlocal exact
        whole = (await w.speak(TEXT).rest()).said()
        count = len(whole.chunks)
        assert count > 8
        with ExitStack() as stack:
            cable = Cable(w.sim.url)
            stack.callback(cable.close)
            cabled = w.make_client(base_url=cable.url)
            for chunk in range(1 + lag, count - 1):
                # It says so much and no more, and nothing happens before that is read.
                number = len(w.records("generation")) + 1
                w.sim.inject(f"stall@request:{number},chunk:{chunk}")
                take = w.listen(w.stage.speak(cabled, TEXT, {}), TEXT)
                await take.read(chunk - lag)
                core, size = take.speech._core, sum(len(c.data) for c in whole.chunks[:chunk])
                await w.until(lambda core=core, size=size: core.received == size)
                cable.cut()
                await take.rest()
                approximate = went_on(take)
                exact += not approximate
            await w.stage.close(cabled)
        assert exact or provider not in TOLD

    exact = 0
    play(runtime, provider, script, client={"retry": policy}, chunk_ms=80)


@on_every_runtime
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("lag", [0, 3])
def test_a_speech_that_is_cut_goes_on(runtime: str, provider: str, lag: int) -> None:
    """Wherever that is, and however much of it is unread."""
    cut_everywhere(runtime, provider, lag=lag)


@on_every_runtime
@pytest.mark.parametrize("way", ["read", "save"])
def test_what_is_gathered_begins_again(runtime: str, way: str, tmp_path: Path) -> None:
    """Nobody has heard the beginning, so it is as if nothing had happened."""
    policy = ttsmux.RetryPolicy(base=0.001, on_partial="restart")

    async def script(w: World) -> None:
        whole = (await w.speak(TEXT).rest()).said()
        with ExitStack() as stack:
            cable = Cable(w.sim.url)
            stack.callback(cable.close)
            w.sim.inject("stall@request:2,chunk:6")
            cabled = w.make_client(base_url=cable.url)
            speech = w.stage.speak(cabled, TEXT, {})
            core = speech._core
            sent = sum(len(chunk.data) for chunk in whole.chunks[:6])
            found: list[bytes] = []

            async def gather() -> None:
                if way == "read":
                    found.append(await settled(speech.read()))
                else:
                    path = await settled(speech.save(tmp_path / "said.wav"))
                    found.append(path.read_bytes()[44:])

            async def cut() -> None:
                await w.until(lambda: core._ledger.read == sent)
                cable.cut()

            await w.together(gather(), cut())
            rate = core.plan.options.format.rate
            assert [(word.text, word.ok) for word in decode(found[0], rate)] == [
                (word, True) for word in TEXT.split()
            ]
            assert speech.metrics.resumed == 1
            assert speech.metrics.audio_bytes == len(found[0])
            await w.stage.close(cabled)

    play(runtime, "xai", script, client={"retry": policy}, chunk_ms=80)


async def settled(found: Any) -> Any:
    """Return what a call of either face gives."""
    return await found if inspect.isawaitable(found) else found


@on_every_runtime
@pytest.mark.parametrize("provider", PROVIDERS)
def test_audio_that_is_all_there_without_its_end(runtime: str, provider: str) -> None:
    """It is complete if the provider has told when the last word ends; else nobody can know."""

    async def script(w: World) -> None:
        whole = (await w.speak(TEXT).rest()).said()
        with ExitStack() as stack:
            cable = Cable(w.sim.url)
            stack.callback(cable.close)
            w.sim.inject(f"stall@request:2,chunk:{len(whole.chunks)}")
            cabled = w.make_client(base_url=cable.url)
            take = w.listen(w.stage.speak(cabled, TEXT, {}), TEXT)
            await take.read(len(whole.chunks))
            told = provider in (*TOLD, "kugelaudio")
            if told:
                await w.until(lambda: len(take.speech.marks) == len(TEXT.split()))
            cable.cut()
            await take.rest()
            assert take.heard == TEXT.split()
            if told:
                take.said()
            else:
                take.failed(ttsmux.ConnectionLost)
            await w.stage.close(cabled)

    play(runtime, provider, script, chunk_ms=80)


# --- over HTTP ------------------------------------------------------------------------------------

ANYHOW = {"fallback": "rest", "retry": ttsmux.RetryPolicy(attempts=2, base=0.001)}


def over_http(w: World) -> list[Any]:
    """Return the records of the requests."""
    return events(w.sim.log, "request")


@on_every_runtime
@pytest.mark.parametrize("provider", PROVIDERS)
def test_where_sockets_are_refused_it_is_said_over_http(runtime: str, provider: str) -> None:
    """As if nothing had happened, but for the metrics; interruptions and all."""

    async def script(w: World) -> None:
        take = await w.speak(w.source("One two. ", "Three four.")).rest()
        assert take.error is None, repr(take.error)
        assert is_whole("One two. Three four.", take.audio, take.format)
        assert take.speech.metrics.route.endswith("Rest")
        assert len(over_http(w)) == 2

    # The first dial is a WebSocket's, and those after it are requests'.
    play(runtime, provider, script, client=ANYHOW, faults=["status=426@connect:1"])


@on_every_runtime
def test_it_goes_there_after_dials_that_fail(runtime: str) -> None:
    """And the next speech begins with sockets, which work again."""

    async def script(w: World) -> None:
        take = (await w.speak("Good morning").rest()).said()
        assert (take.speech.metrics.route, take.speech.metrics.attempts) == ("XAIRest", 3)
        take = (await w.speak("and good night").rest()).said()
        assert take.speech.metrics.route == "XAI"
        assert len(over_http(w)) == 1

    faults = ["refuse@connect:1", "refuse@connect:2"]
    play(runtime, "xai", script, client=ANYHOW, faults=faults)


@on_every_runtime
def test_it_goes_there_after_connections_that_are_lost(runtime: str) -> None:
    """Before anybody heard anything."""

    async def script(w: World) -> None:
        take = (await w.speak("Good morning").rest()).said()
        assert take.speech.metrics.route == "GradiumRest"

    faults = ["reset@request:1", "reset@request:2"]
    play(runtime, "gradium", script, client=ANYHOW, faults=faults)


@on_every_runtime
def test_a_speech_that_was_heard_goes_on_over_http(runtime: str) -> None:
    """In the same voice, from where it broke off."""
    policy = ttsmux.RetryPolicy(base=0.001, attempts=2, on_partial="resume")

    async def script(w: World) -> None:
        with ExitStack() as stack:
            cable = Cable(w.sim.url)
            stack.callback(cable.close)
            w.sim.inject("stall@request:1,chunk:9")
            # The second connection is dialled for what is left to say, and refused.
            w.sim.inject("status=426@connect:2")
            cabled = w.make_client(base_url=cable.url, fallback="rest", retry=policy)
            take = w.listen(w.stage.speak(cabled, TEXT, {}), TEXT)
            await take.read(9)
            cable.cut()
            await take.rest()
            assert take.error is None, repr(take.error)
            heard = [text for text, whole in words(take.chunks) if whole]
            assert heard == TEXT.split()
            assert (take.speech.metrics.route, take.speech.metrics.resumed) == ("ElevenLabsRest", 1)
            [seam] = [chunk for chunk in take.chunks if chunk.resumed]
            [request] = over_http(w)
            assert request
            assert seam.resumed and not seam.resumed.approximate
            await w.stage.close(cabled)

    play(runtime, "elevenlabs", script, chunk_ms=80)


@on_every_runtime
@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, ttsmux.AuthError), (402, ttsmux.QuotaError), (429, ttsmux.AtCapacity)],
)
def test_what_http_would_meet_too_is_raised(runtime: str, status: int, kind: type) -> None:
    """No request is made for it."""

    async def script(w: World) -> None:
        take = await w.speak("Good morning").rest()
        assert isinstance(take.error, kind), repr(take.error)
        assert not over_http(w)

    play(runtime, "xai", script, client=ANYHOW, faults=[f"status={status}"])


@on_every_runtime
def test_without_a_fallback_the_error_is_raised(runtime: str) -> None:
    """Where somebody would rather know."""

    async def script(w: World) -> None:
        take = await w.speak("Good morning").rest()
        take.failed(ttsmux.HandshakeError, status=426)
        assert not over_http(w)

    client = {**ANYHOW, "fallback": None}
    play(runtime, "xai", script, client=client, faults=["status=426@connect:1"])


@on_every_runtime
def test_an_interruption_over_http_is_as_any_other(runtime: str) -> None:
    """The report says what was heard; the next speech is whole."""

    async def script(w: World) -> None:
        take = await w.speak("One two three four five six").read(1)
        report = take.interrupt()
        (await take.rest()).broke_off()
        assert report.heard_text + report.unspoken_text == "One two three four five six"
        (await w.speak("and on").rest()).said()

    play(runtime, "xai", script, client=ANYHOW, faults=["status=426@connect:1"])


@on_every_runtime
def test_what_was_said_to_one_speech_is_said_over_http(runtime: str) -> None:
    """It is the same voice, whichever way."""

    async def script(w: World) -> None:
        (await w.speak("Good morning", voice="rex").rest()).said()
        assert [record["voice"] for record in w.records("generation")] == ["rex"]
        assert len(over_http(w)) == 1

    play(runtime, "xai", script, client=ANYHOW, faults=["status=426@connect:1"])


# --- other providers ------------------------------------------------------------------------------


@on_every_runtime
def test_the_next_provider_speaks_where_the_first_one_cannot(runtime: str) -> None:
    """Each with its own URL, key and headers."""

    async def script(w: World) -> None:
        with Simulator("gradium", engine="tone", key="the-gradium-key") as other:
            adapters = [
                ttsmux.XAI(format="pcm_24000"),
                ttsmux.Gradium(voice=other.default_voice, format="pcm_24000"),
            ]
            client = w.stage.client(
                adapters,
                base_url={"xai": w.sim.url, "gradium": other.url},
                api_key={"xai": "the-xai-key", "gradium": "the-gradium-key"},
                headers={"gradium": {"X-Team": "a"}},
                retry=ttsmux.RetryPolicy(attempts=2, base=0.001),
                pool=ttsmux.PoolLimits(min_idle=0),
            )
            take = w.listen(w.stage.speak(client, TEXT, {}), TEXT)
            (await take.rest()).said()
            assert take.speech.metrics.route == "Gradium"
            assert w.sim.dials == 2
            await w.stage.close(client)

    play(runtime, "xai", script, faults=["refuse"])
