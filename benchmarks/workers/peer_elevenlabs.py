"""
ElevenLabs' own package: `convert_realtime`, the one of its two sockets that it speaks on.

It is pointed at the server by ``base_url``; the address of the socket, which it makes of that with
TLS whatever the scheme, is replaced. A socket is for one text, and nothing connects ahead.
"""

from __future__ import annotations

import time
from typing import Any

from _peer import main, over_http
from _worker import Job, Take, Threads, blocking
from elevenlabs.client import ElevenLabs


class Peer:
    def __init__(self, job: Job) -> None:
        client = ElevenLabs(base_url=over_http(job), api_key=job.key)
        self.speech: Any = client.text_to_speech
        self.speech._ws_base_url = job.url
        self.voice = job.voice

    def open(self, connections: int) -> None:
        """Have nothing: a socket is for one text."""

    def _stream(self, text: str) -> Any:
        return self.speech.convert_realtime(
            self.voice,
            text=iter([text]),
            model_id="eleven_flash_v2_5",
            output_format="pcm_24000",
        )

    def speak(self, text: str, take: Take) -> None:
        for chunk in self._stream(text):
            take(chunk)

    def interrupted(self, text: str, take: Take) -> float:
        chunks = self._stream(text)
        take(next(chunks))
        began = time.perf_counter()
        chunks.close()
        return time.perf_counter() - began

    def close(self) -> None:
        """Have nothing to close."""


if __name__ == "__main__":
    main(blocking(Peer), Threads())
