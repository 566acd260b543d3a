"""The suites, put together."""

from __future__ import annotations

from .cases import SocketCases
from .crossings import CrossingCases
from .hearing import DecoderRules
from .rules import FormRules
from .texts import TextRules
from .voices import VoiceCases, VoiceRules

__all__ = ["AdapterCases", "AdapterContract", "AdapterRules"]


class AdapterRules(FormRules, DecoderRules, TextRules, VoiceRules):
    """What an adapter promises as a table and a few functions: no client, no network."""


class AdapterCases(CrossingCases, SocketCases, VoiceCases):
    """What an adapter promises with a client on it, on threads, asyncio, uvloop and trio."""


class AdapterContract(AdapterRules, AdapterCases):
    """All that an adapter promises."""
