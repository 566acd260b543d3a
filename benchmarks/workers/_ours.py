"""How a client of ttsmux is made for a job: the address, and where a mode needs room, room."""

from __future__ import annotations

from typing import Any

from _worker import Job

import ttsmux

WITHOUT_FAST_PATH: dict[str, Any] = {"fast_path": False}
"""The setting that has every byte go through websockets' own parser."""


def options(job: Job) -> dict[str, Any]:
    """Return the arguments of a client. Turns, chunks and latency take the defaults."""
    given: dict[str, Any] = {"base_url": job.url, "voice": job.voice, "api_key": job.key}
    if job.options.get("fast") is False:
        given |= WITHOUT_FAST_PATH
    if job.provider == "xai":
        given["language"] = "en"
    if room := job.given.get("room"):
        # Else eight connections; xAI allows fifty a key, and the server is none of theirs.
        given["pool"] = ttsmux.PoolLimits(max_size=room, min_idle=0, acquire_timeout=120.0)
        given["limits"] = ttsmux.KeyLimits(connections=room, requests_per_minute=1_000_000)
        given["timeouts"] = ttsmux.Timeouts(dial=60.0, first_audio=60.0)
    elif job.provider == "sm":
        given["limits"] = ttsmux.KeyLimits(requests_per_minute=1_000_000)
    return given
