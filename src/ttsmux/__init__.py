"""
ttsmux keeps text-to-speech WebSockets hot and speaks any number of generations over them.

`Client` is for threads, `AsyncClient` for asyncio and trio; both have the same methods. Names are
loaded when they are first used, so that a program pays for the side that it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .adapter import Adapter as Adapter
    from .adapter import Voice as Voice
    from .adapters._elevenlabs_rest import ElevenLabsRest as ElevenLabsRest
    from .adapters._kugelaudio_rest import KugelAudioRest as KugelAudioRest
    from .adapters.elevenlabs import ElevenLabs as ElevenLabs
    from .adapters.gradium import Gradium as Gradium
    from .adapters.gradium import GradiumRest as GradiumRest
    from .adapters.kugelaudio import KugelAudio as KugelAudio
    from .adapters.sm import SM as SM
    from .adapters.sm import SMRest as SMRest
    from .adapters.xai import XAI as XAI
    from .adapters.xai import XAIRest as XAIRest
    from .audio import AudioChunk as AudioChunk
    from .audio import AudioFormat as AudioFormat
    from .audio import Mark as Mark
    from .audio import MarkKind as MarkKind
    from .audio import Resumed as Resumed
    from .client.aio import AsyncClient as AsyncClient
    from .client.aio import AsyncSpeech as AsyncSpeech
    from .client.options import Outcome as Outcome
    from .client.otel import Telemetry as Telemetry
    from .client.sync import Client as Client
    from .client.sync import Speech as Speech
    from .core.ledger import Interruption as Interruption
    from .core.metrics import Metrics as Metrics
    from .core.stats import PoolStats as PoolStats
    from .errors import AtCapacity as AtCapacity
    from .errors import AuthError as AuthError
    from .errors import BusyResource as BusyResource
    from .errors import CircuitOpen as CircuitOpen
    from .errors import ClosedError as ClosedError
    from .errors import ConcurrencyLimitError as ConcurrencyLimitError
    from .errors import ConfigError as ConfigError
    from .errors import ConnectError as ConnectError
    from .errors import ConnectionLost as ConnectionLost
    from .errors import ConnectTimeout as ConnectTimeout
    from .errors import DeadlineExceeded as DeadlineExceeded
    from .errors import Delivered as Delivered
    from .errors import DNSError as DNSError
    from .errors import EmptyAudio as EmptyAudio
    from .errors import Error as Error
    from .errors import FirstAudioTimeout as FirstAudioTimeout
    from .errors import ForkedProcess as ForkedProcess
    from .errors import GenerationError as GenerationError
    from .errors import HandshakeError as HandshakeError
    from .errors import InsecureEndpoint as InsecureEndpoint
    from .errors import InvalidFormat as InvalidFormat
    from .errors import InvalidText as InvalidText
    from .errors import InvalidVoice as InvalidVoice
    from .errors import LocalProtocolError as LocalProtocolError
    from .errors import NotFoundError as NotFoundError
    from .errors import PoolFull as PoolFull
    from .errors import PoolTimeout as PoolTimeout
    from .errors import ProtocolError as ProtocolError
    from .errors import ProxyError as ProxyError
    from .errors import QuotaError as QuotaError
    from .errors import RateLimitError as RateLimitError
    from .errors import RemoteProtocolError as RemoteProtocolError
    from .errors import SlowConsumer as SlowConsumer
    from .errors import SpeechTimeout as SpeechTimeout
    from .errors import StallTimeout as StallTimeout
    from .errors import TLSError as TLSError
    from .errors import TruncatedAudio as TruncatedAudio
    from .errors import WrongThread as WrongThread
    from .errors import WrongType as WrongType
    from .settings import Interrupt as Interrupt
    from .settings import KeyLimits as KeyLimits
    from .settings import OnPartial as OnPartial
    from .settings import PoolLimits as PoolLimits
    from .settings import RetryPolicy as RetryPolicy
    from .settings import Secret as Secret
    from .settings import Timeouts as Timeouts

_ERRORS = (
    "AtCapacity", "AuthError", "BusyResource", "CircuitOpen", "ClosedError",
    "ConcurrencyLimitError", "ConfigError", "ConnectError", "ConnectTimeout", "ConnectionLost",
    "DNSError", "DeadlineExceeded", "Delivered", "EmptyAudio", "Error", "FirstAudioTimeout",
    "ForkedProcess", "GenerationError", "HandshakeError", "InsecureEndpoint", "InvalidFormat",
    "InvalidText", "InvalidVoice", "LocalProtocolError", "NotFoundError", "PoolFull",
    "PoolTimeout", "ProtocolError", "ProxyError", "QuotaError", "RateLimitError",
    "RemoteProtocolError", "SlowConsumer", "SpeechTimeout", "StallTimeout", "TLSError",
    "TruncatedAudio", "WrongThread", "WrongType",
)  # fmt: skip

_WHERE = {
    "Adapter": "adapter",
    "Voice": "adapter",
    "ElevenLabs": "adapters.elevenlabs",
    "ElevenLabsRest": "adapters._elevenlabs_rest",
    "Gradium": "adapters.gradium",
    "GradiumRest": "adapters.gradium",
    "KugelAudio": "adapters.kugelaudio",
    "KugelAudioRest": "adapters._kugelaudio_rest",
    "SM": "adapters.sm",
    "SMRest": "adapters.sm",
    "XAI": "adapters.xai",
    "XAIRest": "adapters.xai",
    "AudioChunk": "audio",
    "AudioFormat": "audio",
    "Mark": "audio",
    "MarkKind": "audio",
    "Resumed": "audio",
    "AsyncClient": "client.aio",
    "AsyncSpeech": "client.aio",
    "Outcome": "client.options",
    "Telemetry": "client.otel",
    "Client": "client.sync",
    "Speech": "client.sync",
    "Interruption": "core.ledger",
    "PoolStats": "core.stats",
    "Metrics": "core.metrics",
    "Interrupt": "settings",
    "KeyLimits": "settings",
    "OnPartial": "settings",
    "PoolLimits": "settings",
    "RetryPolicy": "settings",
    "Secret": "settings",
    "Timeouts": "settings",
    **dict.fromkeys(_ERRORS, "errors"),
}

# Written out, because the reference is drawn from it without running anything.
__all__ = [  # noqa: RUF022 — by the alphabet, as they are looked up
    "__version__", "Adapter", "AsyncClient", "AsyncSpeech", "AtCapacity", "AudioChunk",
    "AudioFormat", "AuthError", "BusyResource", "CircuitOpen", "Client", "ClosedError",
    "ConcurrencyLimitError", "ConfigError", "ConnectError", "ConnectTimeout", "ConnectionLost",
    "DNSError", "DeadlineExceeded", "Delivered", "ElevenLabs", "ElevenLabsRest", "EmptyAudio",
    "Error", "FirstAudioTimeout", "ForkedProcess", "GenerationError", "Gradium", "GradiumRest",
    "HandshakeError", "InsecureEndpoint", "Interrupt", "Interruption", "InvalidFormat",
    "InvalidText", "InvalidVoice", "KeyLimits", "KugelAudio", "KugelAudioRest",
    "LocalProtocolError", "Mark", "MarkKind", "Metrics", "NotFoundError", "OnPartial", "Outcome",
    "PoolFull", "PoolLimits", "PoolStats", "PoolTimeout", "ProtocolError", "ProxyError",
    "QuotaError", "RateLimitError", "RemoteProtocolError", "Resumed", "RetryPolicy", "SM", "SMRest",
    "Secret", "SlowConsumer", "Speech", "SpeechTimeout", "StallTimeout", "TLSError", "Telemetry",
    "Timeouts", "TruncatedAudio", "Voice", "WrongThread", "WrongType", "XAI", "XAIRest",
]  # fmt: skip


def __getattr__(name: str) -> object:
    where = _WHERE.get(name)
    if where is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found = getattr(import_module(f".{where}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
