"""
Who is measured: ttsmux, what one could write by hand, and other people's clients.

Each has a worker in `workers/`, and runs in a process of its own; `workers/README.md` says how to
add one. A figure is compared with that of the hand-written client of the same family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

Kind = Literal["own", "raw", "floor", "peer"]

ALL = ("turns", "cpu", "latency", "concurrent", "idle", "storm")
EACH = ("turns", "barge_in", *ALL[1:])
PEER_MODES = ("turns", "barge_in", "cpu", "latency", "concurrent", "idle")


@attrs.frozen(kw_only=True)
class Contestant:
    """
    One who is measured, by the script *worker*.

    *provider* is whose protocol it speaks; None: the case's. *call* is how it is used, for the
    tables. *environment* names the one in `PEERS` that it needs; None is this one. *rate* is that
    of its audio, Hz, if it is not what the others ask for. *simulate*: what a simulator is to do
    for it besides. *cannot*: by mode, why it is not measured there.
    """

    name: str
    worker: str
    family: str
    kind: Kind
    call: str
    modes: Sequence[str] = ALL
    provider: str | None = None
    environment: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    rate: int | None = None
    simulate: Mapping[str, Any] = attrs.field(factory=dict)
    cannot: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Environment:
    """
    What a peer needs beside Python: what is in peers/NAME.txt.

    *statement* is what a program that uses it begins with; how long that takes is measured.
    """

    name: str
    statement: str = ""

    @property
    def file(self) -> Path:
        return Path(__file__).parent / "peers" / f"{self.name}.txt"

    @property
    def requirements(self) -> list[str]:
        """What is asked for by name."""
        lines = self.file.read_text(encoding="utf-8").split("\n")
        return [line for line in lines if line and not line.startswith(("-", "#"))]


BASE: Mapping[str, str] = {
    "asyncio": "websockets",
    "uvloop": "websockets, uvloop",
    "trio": "websockets.trio",
    "threads": "websockets.sync",
}
"""With whom a family is compared."""
FLOOR = "floor"

_CALL = "async for chunk in tts.speak(text)"
_RAW = "async for message in socket"
_SMALL = ("turns", "cpu")
_STREAMED = ("cpu", "latency", "concurrent", "idle", "storm")

OWN = (
    Contestant(
        name="ttsmux, asyncio",
        worker="ttsmux_tasks",
        family="asyncio",
        kind="own",
        call=_CALL,
        modes=EACH,
    ),
    Contestant(
        name="ttsmux, asyncio, fast path off",
        worker="ttsmux_tasks",
        family="asyncio",
        kind="own",
        call=f"AsyncClient(…, fast_path=False); {_CALL}",
        modes=("cpu", "latency", "concurrent"),
        options={"fast": False},
    ),
    Contestant(
        name="ttsmux, uvloop",
        worker="ttsmux_tasks",
        family="uvloop",
        kind="own",
        call=f"uvloop.run(…); {_CALL}",
        modes=ALL,
        options={"loop": "uvloop"},
    ),
    Contestant(
        name="ttsmux, uvloop, fast path off",
        worker="ttsmux_tasks",
        family="uvloop",
        kind="own",
        call=f"uvloop.run(…); AsyncClient(…, fast_path=False); {_CALL}",
        modes=("cpu",),
        options={"loop": "uvloop", "fast": False},
    ),
    Contestant(
        name="ttsmux, trio",
        worker="ttsmux_tasks",
        family="trio",
        kind="own",
        call=f"trio.run(…); {_CALL}",
        modes=ALL,
        options={"loop": "trio"},
    ),
    Contestant(
        name="ttsmux, trio, fast path off",
        worker="ttsmux_tasks",
        family="trio",
        kind="own",
        call=f"trio.run(…); AsyncClient(…, fast_path=False); {_CALL}",
        modes=("cpu",),
        options={"loop": "trio", "fast": False},
    ),
    Contestant(
        name="ttsmux, threads",
        worker="ttsmux_threads",
        family="threads",
        kind="own",
        call="for chunk in tts.speak(text)",
        modes=EACH,
    ),
    Contestant(
        name="ttsmux, threads, fast path off",
        worker="ttsmux_threads",
        family="threads",
        kind="own",
        call="Client(…, fast_path=False); for chunk in tts.speak(text)",
        modes=("cpu",),
        options={"fast": False},
    ),
)

RAW = (
    Contestant(
        name="websockets",
        worker="raw_websockets",
        family="asyncio",
        kind="raw",
        call=f"websockets.connect(…, compression=None); {_RAW}",
        modes=EACH,
    ),
    Contestant(
        name="websockets, dialling each turn",
        worker="raw_websockets",
        family="asyncio",
        kind="raw",
        call="async with websockets.connect(…) for each turn",
        modes=("turns",),
        options={"keep": False},
    ),
    Contestant(
        name="websockets, uvloop",
        worker="raw_websockets",
        family="uvloop",
        kind="raw",
        call=f"uvloop.run(…); websockets.connect(…, compression=None); {_RAW}",
        modes=_STREAMED,
        options={"loop": "uvloop"},
    ),
    Contestant(
        name="websockets.trio",
        worker="raw_websockets_trio",
        family="trio",
        kind="raw",
        call=f"websockets.trio.client.connect(…, compression=None); {_RAW}",
        modes=_STREAMED,
    ),
    Contestant(
        name="websockets.sync",
        worker="raw_websockets_sync",
        family="threads",
        kind="raw",
        call="websockets.sync.client.connect(…, compression=None); for message in socket",
        modes=(*_SMALL, "latency", "concurrent", "idle"),
    ),
    Contestant(
        name="websocket-client",
        worker="raw_websocket_client",
        family="threads",
        kind="raw",
        call="websocket.create_connection(…); socket.recv()",
        modes=("cpu",),
    ),
    Contestant(
        name="websocket-client, no check of UTF-8",
        worker="raw_websocket_client",
        family="threads",
        kind="raw",
        call="websocket.create_connection(…, skip_utf8_validation=True); socket.recv()",
        modes=(*_SMALL, "latency", "idle"),
        options={"skip": True},
    ),
    Contestant(
        name="aiohttp",
        worker="raw_aiohttp",
        family="asyncio",
        kind="raw",
        call=f"session.ws_connect(…); {_RAW}",
        modes=_STREAMED,
    ),
    Contestant(
        name="picows",
        worker="raw_picows",
        family="asyncio",
        kind="raw",
        call="ws_connect(Listener, …); Listener.on_ws_frame(…)",
        modes=_STREAMED,
    ),
    Contestant(
        name=FLOOR,
        worker="raw_floor",
        family="asyncio",
        kind="floor",
        call="a parser on a BufferedProtocol, base64 cut out, a bare future; no client",
        modes=_STREAMED,
    ),
    Contestant(
        name=f"{FLOOR}, uvloop",
        worker="raw_floor",
        family="uvloop",
        kind="floor",
        call="the same on uvloop",
        modes=("cpu",),
        options={"loop": "uvloop"},
    ),
)

PEERS: Mapping[str, Environment] = {
    environment.name: environment
    for environment in (
        Environment("elevenlabs", "import elevenlabs.client"),
        Environment("gradium", "import gradium"),
        Environment("kugelaudio", "import kugelaudio"),
        Environment("livekit", "import livekit.plugins.xai"),
        Environment("pipecat", "import pipecat.services.xai.tts"),
    )
}
"""The environments that `--peers` makes, by name."""


def _peer(
    name: str,
    worker: str,
    provider: str,
    call: str,
    *,
    environment: str | None = None,
    family: str = "asyncio",
    rate: int | None = None,
    simulate: Mapping[str, Any] | None = None,
    cannot: Mapping[str, str] | None = None,
    **options: Any,
) -> Contestant:
    cannot = cannot or {}
    return Contestant(
        name=name,
        worker=worker,
        family=family,
        kind="peer",
        provider=provider,
        modes=[mode for mode in PEER_MODES if mode not in cannot],
        environment=environment or name.partition(",")[0],
        call=call,
        options=options,
        rate=rate,
        simulate=simulate or {},
        cannot=cannot,
    )


_DIALS = {"idle": "it has no idle connections: it dials for each text"}
# The plugin sends word by word, without the spaces between: a server that puts them there.
_SPACED = {"deltas": "spaced"}


_LIVEKIT = "{}.TTS(…): prewarm(); stream(): push_text(text), end_input(), async for event in stream"
_PIPECAT = "Pipeline([…, {}TTSService(…), …]); worker.queue_frame(TTSSpeakFrame(text))"

PEER_CONTESTANTS: Sequence[Contestant] = (
    _peer(
        "gradium, tts_realtime",
        "peer_gradium",
        "gradium",
        "client.tts_realtime(…, close_ws_on_eos=False); send_setup, send_text, send_eos with an id",
    ),
    _peer(
        "gradium, tts_stream",
        "peer_gradium_stream",
        "gradium",
        "stream = await client.tts_stream(setup, text); stream.iter_bytes()",
        cannot=_DIALS,
    ),
    _peer(
        "elevenlabs, convert_realtime",
        "peer_elevenlabs",
        "elevenlabs",
        "client.text_to_speech.convert_realtime(voice, text=…)",
        family="threads",
        cannot=_DIALS,
    ),
    _peer(
        "kugelaudio, streaming_session",
        "peer_kugelaudio",
        "kugelaudio",
        "session = client.tts.streaming_session(…); session.send(text, flush=True)",
    ),
    _peer(
        "kugelaudio, stream_async",
        "peer_kugelaudio",
        "kugelaudio",
        "client.tts.stream_async(text, …)",
        whole=True,
    ),
    _peer("livekit, xai", "peer_livekit", "xai", _LIVEKIT.format("xai"), simulate=_SPACED),
    _peer(
        "livekit, elevenlabs",
        "peer_livekit",
        "elevenlabs",
        _LIVEKIT.format("elevenlabs"),
    ),
    _peer(
        "livekit, gradium",
        "peer_livekit",
        "gradium",
        _LIVEKIT.format("gradium"),
        rate=48000,
        cannot=_DIALS,
    ),
    _peer("pipecat, xai", "peer_pipecat", "xai", _PIPECAT.format("XAI")),
    _peer("pipecat, elevenlabs", "peer_pipecat", "elevenlabs", _PIPECAT.format("ElevenLabs")),
    _peer("pipecat, gradium", "peer_pipecat", "gradium", _PIPECAT.format("Gradium"), rate=48000),
)
"""Other people's clients, in those environments."""


def chosen(*, peers: bool) -> list[Contestant]:
    """Return those that take part."""
    return [*OWN, *RAW, *(PEER_CONTESTANTS if peers else ())]


def base_of(contestant: Contestant) -> str | None:
    """Name the one that *contestant* is compared with, if there is another."""
    base = BASE.get(contestant.family)
    return None if base == contestant.name else base
