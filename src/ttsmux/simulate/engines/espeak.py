"""
The espeak engine: real, robotic speech in about a hundred languages.

This side never loads espeak-ng. It finds the copies there may be (`Source`), starts
``espeak_worker`` with one, cuts the text into pieces, asks for them one by one and puts sound
and word times together. There is one worker per engine and one request in it at a time; a
sentence takes a few milliseconds. Every wait has a deadline. A worker that misses one, or
dies, is thrown away, never reused, and the next request starts another.

Sound differs a little from call to call even for the same text: the library's state moves on.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from ttsmux.simulate.engines.frames import Ask, Reply, pack, read_reply
from ttsmux.simulate.engines.model import (
    EngineFailed,
    EngineTimeout,
    EngineUnavailable,
    Utterance,
    Word,
    check_speakable,
    encodable,
)

__all__ = ["EspeakEngine", "Source", "find_sources"]

WORKER: Final = "ttsmux.simulate.engines.espeak_worker"

# Espeak-ng keeps the path of its data in 160 bytes and falls back to another place beyond
# (espeak-ng issues 1004 and 2182); what it appends to the path needs some of them.
LONGEST_DATA_PATH: Final = 150

# A piece of text is spoken under one deadline and held in memory by the worker. 600
# characters are a minute of speech; digits and emoji, read out, up to ten.
PIECE: Final = 600

VARIANTS: Final = tuple(f"+m{n}" for n in range(1, 9)) + tuple(f"+f{n}" for n in range(1, 6))

# Letters only: digits and marks are read in any language.
_ARABIC: Final = re.compile("[\u0620-\u064a\u0671-\u06d3\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]")
_IN_ARABIC_SCRIPT: Final = frozenset({"ar", "fa", "ks", "ku", "ps", "sd", "ug", "ur"})

_INSTALL: Final = (
    "install the wheel (pip install 'ttsmux[local]') or the system's library "
    "(apt install libespeak-ng1, brew install espeak-ng)"
)


@attrs.frozen
class Source:
    """A copy of espeak-ng: where from, for humans; its library; its data if not built in."""

    origin: str
    library: str
    data: str | None = None


def find_sources() -> tuple[Source, ...]:
    """Return the copies of espeak-ng that may be here, best first, without loading any."""
    return (*_wheel(), *_system())


class EspeakEngine:
    """
    Speaks with espeak-ng in a process of its own, which the first call starts.

    *deadline* and *start_deadline* are seconds for a piece of text and for a worker to come
    up. Calls from other threads wait for their turn, *patience* seconds at most. Close it: until
    then the worker stays, though it ends with this process in any case.
    """

    name: str = "espeak"
    streams_words: bool = False

    def __init__(
        self,
        sources: Sequence[Source] | None = None,
        *,
        deadline: float = 10.0,
        start_deadline: float = 20.0,
        patience: float = 60.0,
    ) -> None:
        self._sources = sources
        self._deadline = deadline
        self._start_deadline = start_deadline
        self._patience = patience
        self._lock = threading.Lock()
        self._closed = False
        self._workers: list[_Worker] = []  # none or one; the finalizer needs a place to look
        weakref.finalize(self, _stop_all, self._workers)

    def __repr__(self) -> str:
        pids = [worker.pid for worker in self._workers]
        state = "CLOSED" if self._closed else f"worker {pids[0]}" if pids else "no worker"
        return f"<EspeakEngine {state}>"

    def start(self) -> None:
        """Start the worker now. Raises `EngineUnavailable` if no copy of espeak-ng works."""
        with self._turn():
            self._worker()

    def describe(self) -> str:
        with self._turn():
            worker = self._worker()
            return f"espeak-ng {worker.version} from {worker.source.origin} (data: {worker.data})"

    def speak(
        self,
        text: str,
        *,
        voice: str,
        language: str | None,
        tag: int,
        rate: int,
        first_word: int = 0,
    ) -> Utterance:
        """
        Speak *text* in *language* (its first two letters; English if unknown or None; Arabic if
        the text is in its script and the language is not).

        Each *voice* sounds different and always the same. *tag* and *first_word* cannot be
        heard in speech. Raises `EngineUnavailable`, `EngineTimeout` or `EngineFailed`.
        """
        check_speakable(rate, tag)
        text = encodable(text)
        ask = _ask(voice, _language_of(text, language), rate)
        sound: list[bytes] = []
        marks: list[tuple[int, float]] = []
        size = 0
        for start, stop in pieces(text):
            reply, pcm = self._request(ask, text[start:stop].encode())
            marks += [(start + at, size / 2 / rate + time) for at, time in reply["marks"]]
            sound.append(pcm)
            size += len(pcm)
        return Utterance(b"".join(sound), rate, place_words(text, marks, size / 2 / rate))

    def close(self) -> None:
        """End the worker. A call in another thread fails with `EngineFailed`."""
        self._closed = True
        if not self._lock.acquire(timeout=0.5):
            for worker in list(self._workers):
                worker.kill()  # whoever waits for it hears of its death and lets go
            if not self._lock.acquire(timeout=self._start_deadline + self._deadline):
                return  # whoever starts one now sees that the engine is closed, and ends it
        try:
            _stop_all(self._workers)
        finally:
            self._lock.release()

    def _turn(self) -> "_Turn":
        return _Turn(self._lock, self._patience)

    def _request(self, ask: Ask, text: bytes) -> tuple[Reply, bytes]:
        with self._turn():
            reply, pcm = self._request_twice(ask, text)
        if "error" in reply:
            raise EngineFailed(f"espeak-ng cannot speak: {reply['error']}")
        return reply, pcm

    def _request_twice(self, ask: Ask, text: bytes) -> tuple[Reply, bytes]:
        # A worker found dead may have died long ago, with nobody asking; that is no failure of
        # this request. A second one in a row is.
        for attempt in (1, 2):
            try:
                return self._worker().request(ask, text, self._deadline)
            except _Died as exc:
                self._drop()
                if attempt == 2:
                    raise EngineFailed("the espeak-ng worker died twice over one request") from exc
            except BaseException:
                self._drop()  # it may still answer, and nobody would know to what
                raise
        raise AssertionError("both attempts return or raise")

    def _drop(self) -> None:
        while self._workers:
            self._workers.pop().stop(grace=0)

    def _worker(self) -> "_Worker":
        if self._closed:
            raise EngineFailed("the espeak engine is closed")
        if not self._workers:
            self._workers.append(self._start_any())
            if self._closed:  # close() looked for a worker while this one was coming up
                self._drop()
                raise EngineFailed("the espeak engine is closed")
        return self._workers[0]

    def _start_any(self) -> "_Worker":
        # Each copy is tried in a process of its own. One that crashes while loading crashes
        # nothing else, and a second copy of the same soname would not load beside the first.
        reasons: list[str] = []
        for source in find_sources() if self._sources is None else self._sources:
            try:
                worker = _Worker(source, self._start_deadline)
            except (_Died, EngineTimeout, OSError) as exc:
                reasons.append(f"{source.origin}: {exc}")
            else:
                self._sources = (source,)
                return worker
        because = "; ".join(reasons) or "found none"
        raise EngineUnavailable(f"no espeak-ng works here ({because}); {_INSTALL}")


class _Turn:
    """Holds the lock of an engine, having waited for it no longer than *patience*."""

    def __init__(self, lock: threading.Lock, patience: float) -> None:
        self._lock = lock
        self._patience = patience

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._patience):
            raise EngineTimeout(f"the espeak engine was busy for {self._patience:g} s")

    def __exit__(self, *exc: object) -> None:
        self._lock.release()


class _Died(Exception):
    """The worker is gone, or could not load the library."""


class _Worker:
    """
    A worker process that has greeted us. Not thread-safe but for `kill`.

    A thread reads its replies into a queue: a pipe cannot be read with a deadline everywhere.
    """

    def __init__(self, source: Source, deadline: float) -> None:
        if not sys.executable:
            raise OSError("there is no Python interpreter to run the worker with")
        self.source = source
        self._data = _ShortPath(source.data)
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # a json.py in the current directory is not meant for us
                    *("-m", WORKER, source.library),
                    *([self._data.path] if self._data.path else []),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the library's chatter
                bufsize=0,
                env=_environment(),
            )
        except BaseException:
            self._data.remove()
            raise
        self._replies: queue.SimpleQueue[tuple[Reply, bytes] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="ttsmux-espeak", daemon=True)
        self._reader.start()
        try:
            greeting, _ = self._receive(deadline)
            if "error" in greeting:
                raise _Died(greeting["error"])
            self.version = greeting["version"]
            self.data = source.data or greeting["data"]
        except BaseException:
            self.stop(grace=0)
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def request(self, ask: Ask, text: bytes, deadline: float) -> tuple[Reply, bytes]:
        """Raises `_Died` or `EngineTimeout`, after which the worker must be stopped."""
        assert self._process.stdin is not None, "opened as a pipe"
        left = memoryview(pack(ask, text))
        try:
            # Never blocks for long: the pipe is empty, and a piece of text fits into it.
            while left:
                left = left[self._process.stdin.write(left) :]
        except OSError as exc:
            raise _Died("the worker does not read any more") from exc
        return self._receive(deadline)

    def kill(self) -> None:
        self._process.kill()

    def stop(self, grace: float) -> None:
        """End the process, politely for *grace* seconds, and leave nothing of it."""
        process = self._process
        assert process.stdin is not None, "opened as a pipe"
        assert process.stdout is not None, "opened as a pipe"
        for end, patience in (
            (process.stdin.close, grace),
            (process.terminate, grace),
            (process.kill, 5.0),
        ):
            end()
            try:
                process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(5.0)
        process.stdout.close()
        self._data.remove()

    def _receive(self, deadline: float) -> tuple[Reply, bytes]:
        try:
            frame = self._replies.get(timeout=deadline)
        except queue.Empty:
            raise EngineTimeout(f"the espeak-ng worker gave no answer in {deadline:g} s") from None
        if frame is None:
            self._replies.put(None)  # it will not come to life again
            raise _Died("the worker died")
        return frame

    def _read(self) -> None:
        assert self._process.stdout is not None, "opened as a pipe"
        try:
            while (frame := read_reply(self._process.stdout.read)) is not None:
                self._replies.put(frame)
        except (OSError, ValueError):
            pass  # not our protocol; the same as no more of it
        finally:
            self._replies.put(None)


class _ShortPath:
    """A path to *data* that the library can hold: itself, or a link or copy near the root."""

    def __init__(self, data: str | None) -> None:
        self.path = data
        self._scratch: str | None = None
        if data is None or len(os.fsencode(data)) <= LONGEST_DATA_PATH:
            return
        self._scratch = tempfile.mkdtemp(prefix="tts")
        self.path = os.path.join(self._scratch, "espeak-ng-data")
        try:
            os.symlink(data, self.path, target_is_directory=True)
        except OSError:  # Windows, for users who may not link
            shutil.copytree(data, self.path)

    def remove(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)  # the link, not what it points to


def _stop_all(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().stop(grace=1.0)


def _environment() -> Mapping[str, str]:
    # The worker finds ttsmux where we found it, however we did.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path}


def _wheel() -> Iterator[Source]:
    # Not imported: all we want of the package is where it is.
    spec = importlib.util.find_spec("espeakng_loader")
    for place in (spec and spec.submodule_search_locations) or ():
        for name in ("libespeak-ng.so", "libespeak-ng.dylib", "espeak-ng.dll"):
            if (library := Path(place, name)).is_file():
                try:
                    version = importlib.metadata.version("espeakng-loader")
                except importlib.metadata.PackageNotFoundError:
                    version = "of unknown version"
                origin = f"the wheel espeakng-loader {version}"
                yield Source(origin, str(library), str(Path(place, "espeak-ng-data")))


def _system() -> Iterator[Source]:
    if sys.platform == "linux":
        yield Source("the system", "libespeak-ng.so.1")
        return
    from ctypes.util import find_library

    if (library := find_library("espeak-ng")) is not None:
        yield Source("the system", library)


def _ask(voice: str, language: str | None, rate: int) -> Ask:
    digest = hashlib.sha256(voice.encode("utf-8", "surrogatepass")).digest()
    return Ask(
        language=_language_code(language),
        variant=VARIANTS[digest[0] % len(VARIANTS)],
        pitch=35 + digest[1] % 31,
        speed=150 + digest[2] % 41,
        rate=rate,
    )


def _language_code(language: str | None) -> str:
    code = (language or "").strip().lower()
    if code in ("", "auto") or not (code[:2].isascii() and code[:2].isalpha()):
        return "en"
    return code[:2]


def _language_of(text: str, language: str | None) -> str:
    """Return what to speak *text* in: a voice that cannot read its script spells the letters."""
    code = _language_code(language)
    letters = sum(map(str.isalpha, text))
    arabic = len(_ARABIC.findall(text))
    return "ar" if arabic > letters / 2 and code not in _IN_ARABIC_SCRIPT else code


_SENTENCE_END = re.compile(r"[.!?؟…]\s+|[。！？]\s*")
_SPACE = re.compile(r"\s+")


def pieces(text: str, limit: int = PIECE) -> Iterator[tuple[int, int]]:
    """Cut *text* where a speaker would pause, into pieces of *limit* characters at most."""
    start = 0
    while len(text) - start > limit:
        stop = start + limit
        for pause in (_SENTENCE_END, _SPACE):
            if ends := [match.end() for match in pause.finditer(text, start, stop)]:
                stop = ends[-1]
                break
        yield start, stop
        start = stop
    if text[start:].strip():
        yield start, len(text)


def place_words(text: str, marks: Sequence[tuple[int, float]], seconds: float) -> tuple[Word, ...]:
    """
    Give each word of *text* its time in *seconds* of sound, by the library's word *marks*.

    A mark says that at its time the character at its place begins. Numbers and emoji get
    several marks, wrong ones and late ones: only marks that move on are believed. Words without
    a mark share the time between their neighbours. A word lasts until the next one.
    """
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    starts: list[float | None] = [None] * len(spans)
    reached, now, index = -1, 0.0, 0
    for place, time in marks:
        if place <= reached or time < now:
            continue
        reached, now = place, min(time, seconds)
        while index < len(spans) and spans[index][1] <= place:
            index += 1
        if index < len(spans) and spans[index][0] <= place and starts[index] is None:
            starts[index] = now
    times = [*_fill(starts, seconds), seconds]
    return tuple(
        Word(text[start:stop], times[i], times[i + 1]) for i, (start, stop) in enumerate(spans)
    )


def _fill(starts: Sequence[float | None], seconds: float) -> list[float]:
    """Replace each row of None by times evenly between those around it."""
    known = [(-1, 0.0)] if starts and starts[0] is None else []
    known += [(i, time) for i, time in enumerate(starts) if time is not None]
    known.append((len(starts), seconds))
    times: list[float] = []
    for (i, time), (j, until) in pairwise(known):
        if i < 0:
            # Nothing is known of the first words; the first of them starts with the sound.
            times += [until * k / j for k in range(j)]
        else:
            times += [time + (until - time) * k / (j - i) for k in range(j - i)]
    return times
