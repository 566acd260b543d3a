"""What one writes by hand on a WebSocket: the messages of three providers, and no more."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from _worker import Job, Take

PATHS = {
    "xai": "/v1/tts?language=en&voice={voice}&codec=pcm&sample_rate=24000",
    "sm": "/v1/audio/stream",
    "gradium": "/api/speech/tts",
}


def address(job: Job) -> str:
    return job.url + PATHS[job.provider].format(voice=job.voice)


def messages(job: Job, number: int, text: str) -> list[str]:
    """Say *text* as turn *number*."""
    match job.provider:
        case "xai":
            parts: list[dict[str, Any]] = [{"type": "text.delta", "delta": text}]
            parts += [{"type": "text.done"}]
        case "sm":
            parts = [{"text": text, "voice": job.voice}]
        case _:
            id = {"client_req_id": f"turn-{number}"}
            setup = {"type": "setup", "voice_id": job.voice, "output_format": "pcm_24000"}
            parts = [
                {**setup, "close_ws_on_eos": False, **id},
                {"type": "text", "text": text, **id},
                {"type": "end_of_stream", **id},
            ]
    return [json.dumps(part) for part in parts]


def ear(job: Job, number: int) -> Callable[[str | bytes], bytes | None]:
    """Return what makes audio of a message of turn *number*: maybe b"", and None at its end."""
    return {"xai": _xai, "sm": _sm}.get(job.provider) or _gradium(number)


def _xai(data: str | bytes) -> bytes | None:
    message = json.loads(data)
    if message["type"] == "audio.delta":
        return base64.b64decode(message["delta"])
    return None if message["type"] == "audio.done" else b""


def _sm(data: str | bytes) -> bytes | None:
    if isinstance(data, str):
        return None if json.loads(data)["type"] == "synthesis_complete" else b""
    return data


def _gradium(number: int) -> Callable[[str | bytes], bytes | None]:
    def hear(data: str | bytes) -> bytes | None:
        message = json.loads(data)
        if message.get("client_req_id") != f"turn-{number}":
            return b""
        if message["type"] == "audio":
            return base64.b64decode(message["audio"])
        return None if message["type"] == "end_of_stream" else b""

    return hear


class Kept:
    """A contestant that keeps its sockets and gives each turn a free one; or keeps none."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.keep = job.options.get("keep", True)
        self.free: list[Any] = []
        self.all: list[Any] = []
        self.turns = 0

    async def dial(self) -> Any:
        raise NotImplementedError

    async def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        raise NotImplementedError

    async def hang_up(self, socket: Any) -> None:
        raise NotImplementedError

    async def open(self, connections: int) -> None:
        while self.keep and len(self.all) < connections:
            self.all.append(await self.dial())
            self.free.append(self.all[-1])

    async def speak(self, text: str, take: Take) -> None:
        self.turns += 1
        number = self.turns
        socket = self.free.pop() if self.free else await self.dial()
        await self.say(socket, number, text, take)
        if self.keep:
            self.free.append(socket)
        else:
            await self.hang_up(socket)

    async def interrupted(self, text: str, take: Take) -> float:
        raise NotImplementedError

    async def close(self) -> None:
        """Leave that to the end of the process: nobody measures it."""


class KeptByThreads:
    """The same, blocking."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.free: list[Any] = []
        self.all: list[Any] = []
        self.turns = 0

    def dial(self) -> Any:
        raise NotImplementedError

    def say(self, socket: Any, number: int, text: str, take: Take) -> None:
        raise NotImplementedError

    def open(self, connections: int) -> None:
        while len(self.all) < connections:
            self.all.append(self.dial())
            self.free.append(self.all[-1])

    def speak(self, text: str, take: Take) -> None:
        self.turns += 1
        number = self.turns
        try:
            socket = self.free.pop()
        except IndexError:
            socket = self.dial()
        self.say(socket, number, text, take)
        self.free.append(socket)

    def interrupted(self, text: str, take: Take) -> float:
        raise NotImplementedError

    def close(self) -> None:
        """Leave that to the end of the process: nobody measures it."""
