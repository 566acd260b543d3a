"""
Lists of the voices that a simulated provider has, as the providers answer the question for them.

A provider that accepts any voice lists its default one and two more, so that there is a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from .wire import Request, Response

XAI = "/v1/tts/voices"
ELEVENLABS = "/v2/voices"
KUGELAUDIO = "/v1/voices"
MOST = 100
"""Voices on a page, at most."""


def listed(only: Iterable[str] | None, default: str) -> list[str]:
    """Return the ids of the voices there are."""
    return [default, "1072", "1073"] if only is None else list(only)


def whole(ids: Sequence[str]) -> Response:
    """Answer as xAI does: with all voices; a language is not always named."""
    voices = [{"voice_id": id, "name": id.capitalize()} for id in ids]
    voices[0]["language"] = "multilingual"
    return _answer(voices=voices)


def token_page(ids: Sequence[str], request: Request) -> Response | None:
    """Answer as ElevenLabs does: the next page has a token. None: the query makes no sense."""
    start = _number(request.query.get("next_page_token", "0"))
    size = _number(request.query.get("page_size", "10"))
    if start is None or size is None or not 1 <= size <= MOST:
        return None
    voices = [
        {
            "voice_id": id,
            "name": f"Voice {id}",
            "category": "premade",
            "labels": {"accent": "American"},
            "description": None,
            "verified_languages": [
                {"language": "en", "model_id": "eleven_flash_v2_5", "accent": "american"},
                {"language": "en", "model_id": "eleven_v3", "accent": None},
            ],
        }
        for id in ids[start : start + size]
    ]
    more = start + size < len(ids)
    token = str(start + size) if more else None
    return _answer(voices=voices, has_more=more, next_page_token=token, total_count=0)


def offset_page(ids: Sequence[str], request: Request) -> Response | None:
    """Answer as KugelAudio does: the next page begins behind this one. None: as above."""
    start = _number(request.query.get("offset", "0"))
    size = _number(request.query.get("limit", "20"))
    if start is None or size is None or not 1 <= size <= MOST:
        return None
    voices = [
        {
            "id": int(id) if id.isdigit() else id,
            "name": f"Voice {id}",
            "description": "Warm, friendly",
            "category": "premade",
            "supported_languages": ["en", "de"],
        }
        for id in ids[start : start + size]
    ]
    return _answer(voices=voices, total=len(ids), limit=size, offset=start)


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() else None


def _answer(**fields: object) -> Response:
    return Response(200, msgspec.json.encode(fields))
