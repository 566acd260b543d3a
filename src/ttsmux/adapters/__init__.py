"""Providers, one a file: a table of traits and a few pure functions. None knows the core."""

from __future__ import annotations

from collections.abc import Mapping

OURS: Mapping[str, str] = {
    "elevenlabs": "ElevenLabs",
    "gradium": "Gradium",
    "kugelaudio": "KugelAudio",
    "sm": "SM",
    "xai": "XAI",
}
"""
The classes of this package by their names, each in the module of that name.

The same as its entry points say, which it takes milliseconds to read: those are for who wants to
know what is installed.
"""
