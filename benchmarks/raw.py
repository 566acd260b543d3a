"""What one would write by hand on raw `websockets`: the wire of two providers, and no more."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import websockets

from .harness import Simulated

PROVIDERS = ("gradium", "xai")
ACKNOWLEDGED_WITHIN = 0.25
"""Seconds after which a hand-written client, too, would rather dial."""


async def connect(provider: str, server: Simulated) -> websockets.ClientConnection:
    path = "/api/speech/tts"
    if provider == "xai":
        query = f"language=en&voice={server.voice}&codec=pcm&sample_rate=24000"
        path = f"/v1/tts?{query}"
    return await websockets.connect(server.url + path, compression=None)


async def speak(
    socket: websockets.ClientConnection, provider: str, voice: str, number: int, text: str
) -> None:
    """Send the whole text of turn *number*."""
    id = {"client_req_id": f"turn-{number}"}
    setup = {"type": "setup", "voice_id": voice, "output_format": "pcm_24000"}
    messages = {
        "gradium": (
            {**setup, "close_ws_on_eos": False, **id},
            {"type": "text", "text": text, **id},
            {"type": "end_of_stream", **id},
        ),
        "xai": ({"type": "text.delta", "delta": text}, {"type": "text.done"}),
    }
    for message in messages[provider]:
        await socket.send(json.dumps(message))


async def listen(
    socket: websockets.ClientConnection, provider: str, number: int
) -> AsyncIterator[bytes]:
    """Give the audio of turn *number*, or where audio has no ids whatever comes, up to the end."""
    kind, field, end = {
        "gradium": ("audio", "audio", "end_of_stream"),
        "xai": ("audio.delta", "delta", "audio.done"),
    }[provider]
    async for data in socket:
        message = json.loads(data)
        if message.get("client_req_id", f"turn-{number}") != f"turn-{number}":
            continue
        if message["type"] == end:
            return
        if message["type"] == kind and message[field]:
            yield base64.b64decode(message[field])


async def silence(socket: websockets.ClientConnection, provider: str) -> None:
    """Have xAI stop, and drop all it says until it has acknowledged; Gradium is told by ids."""
    if provider == "xai":
        async for data in socket:
            if json.loads(data)["type"] == "audio.clear":
                return
