"""
Lists of voices, in the forms that providers have.

Wire facts are from docs.x.ai (voice API reference), elevenlabs.io/docs (list voices, v2) and
docs.kugelaudio.com (endpoints: voices).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ..adapter import Voice, VoicePage, printable
from ..errors import RemoteProtocolError

__all__ = ["counted", "named", "paged"]

_T = TypeVar("_T")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Named(msgspec.Struct):
    voice_id: str
    # Of any type: what is only for people to read is no reason to have no list.
    name: object = None
    description: object = None
    language: object = None
    verified_languages: object = None


class _Names(msgspec.Struct):
    voices: list[_Named]


class _Page(msgspec.Struct):
    voices: list[_Named]
    has_more: bool = False
    next_page_token: str | None = None


class _Numbered(msgspec.Struct):
    id: int | str
    name: object = None
    description: object = None
    supported_languages: object = None


class _Counted(msgspec.Struct):
    voices: list[_Numbered]
    total: int = 0
    offset: int = 0


def named(body: bytes) -> tuple[Voice, ...]:
    """Read a list that comes whole."""
    return tuple(_voice(found) for found in _read(body, _Names).voices)


def paged(body: bytes) -> VoicePage:
    """Read a page that names the next one by a token."""
    page = _read(body, _Page)
    more = page.next_page_token if page.has_more else None
    return VoicePage(voices=tuple(_voice(found) for found in page.voices), next=more or None)


def counted(body: bytes) -> VoicePage:
    """Read a page that says how many voices there are, and how many come before its own."""
    page = _read(body, _Counted)
    voices = tuple(
        _made(str(found.id), found.name, found.supported_languages, found.description)
        for found in page.voices
    )
    seen = page.offset + len(voices)
    return VoicePage(voices=voices, next=str(seen) if voices and seen < page.total else None)


def _read(body: bytes, form: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=form)
    except _UNREADABLE as exc:
        raise RemoteProtocolError("the list of voices is not the JSON it should be") from exc


def _voice(found: _Named) -> Voice:
    languages: list[object] = [found.language]
    if isinstance(several := found.verified_languages, list):
        languages += [each.get("language") for each in several if isinstance(each, dict)]
    return _made(found.voice_id, found.name, languages, found.description)


def _made(id: str, name: object, languages: object, description: object) -> Voice:
    spoken = languages if isinstance(languages, list) else []
    return Voice(
        id=id,
        name=_line(name) or id,
        # Once each: a voice may be verified for a language with several models.
        languages=tuple(dict.fromkeys(line for each in spoken if (line := _line(each)))),
        description=_line(description),
    )


def _line(words: object) -> str | None:
    return printable(words) or None if isinstance(words, str) else None
