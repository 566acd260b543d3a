"""
The four runtimes behind one blocking face, so that a scenario is written once.

A `Runtime` dials and gives a `Line`: a transport with a reader running on it. On event loops the
loop has a thread of its own, and each call of a line is a task there; with threads it is the
library's own calls.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests import _leaks
from tests.conftest import RUNTIMES
from tests.transports.peers import PATIENCE
from ttsmux.adapter import Closed, DialFailure, Frame
from ttsmux.errors import Error
from ttsmux.transports import websocket_client, websockets
from ttsmux.transports._socket import CallOff
from ttsmux.transports.base import Ping, Pong, Response, SendError, SendTimeout, Target

Reply = Callable[[Sequence[Frame | Ping | Pong]], object]


class Recorder:
    """A sink that remembers, and wakes who waits for more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.answers: list[Mapping[str, str]] = []
        self.messages: list[tuple[bytes, bool]] = []
        self.pongs = 0
        self.losses: list[Closed | DialFailure | Error] = []
        self.after_the_end = 0
        self.on_reply: Reply = lambda frames: None
        self.replies = 0

    def message(self, data: bytes, text: bool) -> None:
        assert type(data) is bytes
        self._note(lambda: self.messages.append((data, text)))

    def answered(self, headers: Mapping[str, str]) -> None:
        self._note(lambda: self.answers.append(headers))

    def pong(self) -> None:
        def count() -> None:
            self.pongs += 1

        self._note(count)

    def reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        def count() -> None:
            self.replies += 1

        # First: who waits for the count wants to see what came of it.
        self.on_reply(frames)
        self._note(count)

    def lost(self, fault: Closed | DialFailure | Error) -> None:
        self._note(lambda: self.losses.append(fault))

    def _note(self, change: Callable[[], None]) -> None:
        with self._changed:
            self.after_the_end += bool(self.losses)
            change()
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), self.__dict__


class Dial(Protocol):
    """A dial under way."""

    def cancel(self) -> None: ...
    def done(self) -> bool: ...
    def result(self) -> Line: ...


class Line:
    """A connection with its reader; blocking, for the thread of the test."""

    def __init__(self, runtime: Runtime, transport: Any, response: Response) -> None:
        self.runtime = runtime
        self.transport = transport
        self.response = response
        self.sink = Recorder()
        self._reading: Future[None] | None = None

    def read(self, reply: Reply | None = None) -> Line:
        """Start the reader; *reply* takes what it wants sent, otherwise it is sent."""
        self.sink.on_reply = reply or self._reply
        self._reading = self.runtime.start(self.transport.read, self.sink)
        return self

    def _reply(self, frames: Sequence[Frame | Ping | Pong]) -> None:
        self.runtime.detached(self.transport.send, list(frames))

    def send(self, *frames: Frame | Ping | Pong) -> None:
        self.runtime.call(self.transport.send, frames)

    def send_last(self, *frames: Frame | Ping | Pong) -> None:
        """Send what makes the peer end it all, which it may have done before the send returns."""
        try:
            self.send(*frames)
        except SendTimeout:
            raise
        except SendError:
            pass

    def sending(self, *frames: Frame | Ping | Pong) -> Future[None]:
        return self.runtime.start(self.transport.send, frames)

    def close(self, grace: float = 1.0) -> None:
        self.runtime.call(self.transport.close, grace)

    def abort(self) -> None:
        self.runtime.call_sync(self.transport.abort)

    def stop_reading(self) -> None:
        assert self._reading is not None
        self._reading.cancel()

    def messages(self, count: int) -> list[tuple[bytes, bool]]:
        self.sink.wait(lambda: len(self.sink.messages) >= count)
        return self.sink.messages

    def end(self) -> Closed | DialFailure | Error:
        """Wait for the end: told once, nothing behind it, and the reader gone."""
        self.sink.wait(lambda: bool(self.sink.losses))
        assert self._reading is not None
        self._reading.result(PATIENCE)
        (fault,) = self.sink.losses
        assert self.sink.after_the_end == 0
        return fault


class Runtime:
    """Where a transport lives."""

    name: str

    def dialling(self, target: Target, timeout: float = PATIENCE) -> Dial:
        raise NotImplementedError

    def start(self, function: Callable[..., Any], *args: object) -> Future[Any]:
        raise NotImplementedError

    def call_sync(self, function: Callable[[], Any]) -> None:
        raise NotImplementedError

    def detached(self, function: Callable[..., Any], *args: object) -> None:
        raise NotImplementedError

    def call(self, function: Callable[..., Any], *args: object) -> Any:
        return self.start(function, *args).result(PATIENCE)

    def dial(self, target: Target, timeout: float = PATIENCE) -> Line:
        return self.dialling(target, timeout).result()

    def connect(self, url: str, *, reply: Reply | None = None, **options: Any) -> Line:
        """Dial and start to read."""
        return self.dial(Target(url=url, **options)).read(reply)


class Threads(Runtime):
    """Plain threads."""

    name = "threads"

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def dialling(self, target: Target, timeout: float = PATIENCE) -> Dial:
        return _ThreadDial(self, target, timeout)

    def start(self, function: Callable[..., Any], *args: object) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as exc:
                future.set_exception(exc)

        thread = threading.Thread(target=run, name=function.__name__)
        self._threads.append(thread)
        thread.start()
        return future

    def call_sync(self, function: Callable[[], Any]) -> None:
        function()

    def detached(self, function: Callable[..., Any], *args: object) -> None:
        self.start(function, *args)

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)


class _ThreadDial:
    def __init__(self, runtime: Threads, target: Target, timeout: float) -> None:
        self._runtime = runtime
        self._off = CallOff()
        self._future = runtime.start(websocket_client.connect, target, timeout, self._off)

    def cancel(self) -> None:
        self._off.set()

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Line:
        transport, response = self._future.result(PATIENCE)
        return Line(self._runtime, transport, response)


class Loop(Runtime):
    """An event loop in a thread."""

    def __init__(self, name: str, portal: BlockingPortal) -> None:
        self.name = name
        self._portal = portal
        self._wanted: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="writer")
        self._writer.start()

    def dialling(self, target: Target, timeout: float = PATIENCE) -> Dial:
        return _TaskDial(self, self.start(websockets.connect, target, timeout))

    def start(self, function: Callable[..., Any], *args: object) -> Future[Any]:
        return self._portal.start_task_soon(function, *args)

    def call_sync(self, function: Callable[[], Any]) -> None:
        self._portal.call(function)

    def detached(self, function: Callable[..., Any], *args: object) -> None:
        # Called within the loop, by a reader; the portal is for other threads.
        self._wanted.put(lambda: self.call(function, *args))

    def _write(self) -> None:
        while (job := self._wanted.get()) is not None:
            with contextlib.suppress(SendError):
                job()

    def finish(self) -> None:
        self._wanted.put(None)
        self._writer.join(PATIENCE)


class _TaskDial:
    def __init__(self, runtime: Loop, future: Future[Any]) -> None:
        self._runtime = runtime
        self._future = future

    def cancel(self) -> None:
        self._future.cancel()

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Line:
        transport, response = self._future.result(PATIENCE)
        return Line(self._runtime, transport, response)


@contextlib.contextmanager
def running(name: str) -> Iterator[Runtime]:
    """Run *name*, and see that no task is left at the end."""
    if name == "threads":
        threads = Threads()
        try:
            yield threads
        finally:
            threads.finish()
        return
    backend, options = next(param.values[0] for param in RUNTIMES if param.id == name)
    with start_blocking_portal(backend, options) as portal:

        async def tasks() -> _leaks.Snapshot:
            return _leaks.tasks()

        before = portal.call(tasks)
        loop = Loop(name, portal)
        try:
            yield loop
        finally:
            loop.finish()
        deadline = time.monotonic() + PATIENCE
        # The task of the call itself is new each time.
        while len(left := portal.call(tasks).keys() - before.keys()) > 1:
            assert time.monotonic() < deadline, f"tasks left behind: {left}"
            time.sleep(0.01)


ALL = ["threads", *(pytest.param(param.id, marks=param.marks) for param in RUNTIMES)]
LOOPS = ALL[1:]
