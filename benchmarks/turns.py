"""
Ten turns in a row: how long from the text to the first audio in hand?

ttsmux (both clients) beside a hand-written client on raw `websockets` that keeps its socket, and
one that dials for each turn. Server on the other core. ``python -m benchmarks.turns --check``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import websockets

import ttsmux

from . import harness
from .harness import TTFA_MS, Row, Server, Simulated

TURNS = 10
ADDED_MS = 3.0
TEXT = "This is turn number {}, and it is as long as a turn is."


def ttsmux_sync(provider: str, server: Simulated) -> list[float]:
    found = []
    with ttsmux.Client(provider, base_url=server.url, voice=server.voice) as tts:
        tts.prewarm()
        for number in range(TURNS):
            began = time.perf_counter()
            with tts.speak(TEXT.format(number)) as speech:
                next(speech)
                found.append(time.perf_counter() - began)
                speech.read()
    return found


def ttsmux_async(provider: str, server: Simulated) -> list[float]:
    async def run() -> list[float]:
        found = []
        async with ttsmux.AsyncClient(provider, base_url=server.url, voice=server.voice) as tts:
            await tts.prewarm()
            for number in range(TURNS):
                began = time.perf_counter()
                async with tts.speak(TEXT.format(number)) as speech:
                    await anext(speech)
                    found.append(time.perf_counter() - began)
                    await speech.read()
        return found

    return asyncio.run(run())


def messages(provider: str, voice: str, number: int) -> tuple[list[str], str]:
    """Return what a hand-written client sends for one turn, and the type that ends it."""
    text = TEXT.format(number)
    if provider == "xai":
        sent = [{"type": "text.delta", "delta": text}, {"type": "text.done"}]
        return [json.dumps(message) for message in sent], "audio.done"
    id = {"client_req_id": f"turn-{number}"}
    setup = {"type": "setup", "voice_id": voice, "output_format": "pcm_24000"}
    sent = [
        {**setup, "close_ws_on_eos": False, **id},
        {"type": "text", "text": text, **id},
        {"type": "end_of_stream", **id},
    ]
    return [json.dumps(message) for message in sent], "end_of_stream"


def address(provider: str, server: Simulated) -> str:
    if provider == "gradium":
        return f"{server.url}/api/speech/tts"
    query = f"language=en&voice={server.voice}&codec=pcm&sample_rate=24000"
    return f"{server.url}/v1/tts?{query}"


async def one_turn(
    socket: websockets.ClientConnection, provider: str, voice: str, number: int
) -> float:
    sent, end = messages(provider, voice, number)
    for message in sent:
        await socket.send(message)
    first = 0.0
    async for message in socket:
        kind = json.loads(message)["type"]
        if kind.startswith("audio") and kind != end and not first:
            first = time.perf_counter()
        if kind == end:
            break
    return first


def raw_kept(provider: str, server: Simulated) -> list[float]:
    async def run() -> list[float]:
        found = []
        async with websockets.connect(address(provider, server), compression=None) as socket:
            for number in range(TURNS):
                began = time.perf_counter()
                found.append(await one_turn(socket, provider, server.voice, number) - began)
        return found

    return asyncio.run(run())


def raw_dialled(provider: str, server: Simulated) -> list[float]:
    async def run() -> list[float]:
        found = []
        for number in range(TURNS):
            began = time.perf_counter()
            async with websockets.connect(address(provider, server), compression=None) as socket:
                found.append(await one_turn(socket, provider, server.voice, number) - began)
        return found

    return asyncio.run(run())


CLIENTS: dict[str, Callable[[str, Simulated], list[float]]] = {
    "ttsmux, threads": ttsmux_sync,
    "ttsmux, asyncio": ttsmux_async,
    "raw websockets, socket kept": raw_kept,
    "raw websockets, dial each turn": raw_dialled,
}


def main() -> None:
    args = harness.arguments(__doc__ or "")
    rows = []
    with Server() as server:
        for provider in ("gradium", "xai"):
            found: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
            for _ in range(args.rounds):
                for name, client in CLIENTS.items():  # interleaved: all see the same weather
                    with server.simulate(provider) as simulated:
                        turns = client(provider, simulated)
                    seen = simulated.seen
                    found[name].append(
                        {
                            "median ms": round(1000 * harness.median(turns), 1),
                            "worst ms": round(1000 * max(turns), 1),
                            "leased": float(str(seen["leased"])),
                            "dials": float(str(seen["dials"])),
                        }
                    )
            for name, each in found.items():
                values = harness.merged(each)
                ours = name.startswith("ttsmux")
                kept = values["median ms"] <= TTFA_MS + ADDED_MS and values["leased"] == 1
                rows.append(
                    Row(
                        f"{provider}, {TURNS} turns",
                        name,
                        values,
                        f"median ≤ {TTFA_MS + ADDED_MS:g} ms, 1 leased" if ours else "",
                        kept if ours else None,
                    )
                )
    harness.finish("turns", rows, args)


if __name__ == "__main__":
    main()
