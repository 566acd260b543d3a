"""
Servers in a process of their own, so that they do not share the client's interpreter or core.

Reads one JSON request a line on standard input and answers each with one line: `{"start": PROVIDER,
…options}` gives the `{"url": …}` of a simulator, `{"stream": PROVIDER}` that of a server which says
what the text asks for, `{"stop": true}` gives what the server saw, and what a simulator said under
which tag. An argument names the core to stay on.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import sys
from collections.abc import Sequence

from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.model import Utterance
from ttsmux.simulate.engines.tone import ToneEngine
from ttsmux.simulate.log import Record

from .stream import Stream


class Exact(asyncio.DefaultEventLoopPolicy):
    """
    Makes event loops whose timers are exact to microseconds.

    `epoll` counts whole milliseconds, and waits for one more rather than one less: a first audio
    that is due after 100 ms would come up to a millisecond late, which nobody who is measured could
    make good.
    """

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())


class Engine(ToneEngine):
    """Speaks tones, and remembers the words of each tag: of the generation that had it last."""

    def __init__(self) -> None:
        self.said: dict[int, list[str]] = {}

    def speak(
        self,
        text: str,
        *,
        voice: str,
        language: str | None,
        tag: int,
        rate: int,
        first_word: int = 0,
    ) -> Utterance:
        before = self.said.get(tag, []) if first_word else []
        self.said[tag] = [*before, *text.split()]
        return super().speak(
            text, voice=voice, language=language, tag=tag, rate=rate, first_word=first_word
        )


def seen(simulator: Simulator) -> dict[str, int]:
    """
    Count what a client did to the server.

    Its dials, those that were spoken on, the most there were at once, those refused, the rules it
    broke, and the audio sent after its interruption was read.
    """
    log = simulator.log
    late = [
        record
        for record in log
        if record["event"] == "send"
        and record.get("after_interrupt") is True
        and "audio_bytes" in record["frame"]  # type: ignore[operator]
    ]
    return {
        "dials": simulator.dials,
        "leased": len({record["conn"] for record in log if record["event"] == "generation"}),
        "at once": most_at_once(log),
        "refused": sum(record["event"] == "refused" for record in log),
        "violations": sum(record["event"] == "violation" for record in log),
        "late": len(late),
    }


def most_at_once(log: Sequence[Record]) -> int:
    """Return how many connections were open at once at most; a dial is none yet."""
    open_now, most = set(), 0
    for record in log:
        if record["event"] == "open":
            open_now.add(record["conn"])
        elif record["event"] == "lost":
            open_now.discard(record["conn"])
        most = max(most, len(open_now))
    return most


def main() -> None:
    if sys.argv[1:]:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    server: Simulator | Stream | None = None
    engine = Engine()
    for line in sys.stdin:
        request = json.loads(line)
        if provider := request.pop("start", None):
            engine = Engine()
            asyncio.set_event_loop_policy(Exact())
            server = Simulator(provider, engine=engine, **request).start()
            answer: dict[str, object] = {"url": server.url, "voice": server.default_voice}
        elif provider := request.pop("stream", None):
            asyncio.set_event_loop_policy(None)  # `select` is not for a thousand connections
            server = Stream(provider).start()
            answer = {"url": server.url, "voice": server.default_voice}
        else:
            assert server is not None, "stop follows start"
            server.close()
            running, server = server, None
            counted = running.seen() if isinstance(running, Stream) else seen(running)
            answer = {"seen": counted, "said": engine.said}
        print(json.dumps(answer), flush=True)
    if server is not None:  # whoever asked is gone
        server.close()


if __name__ == "__main__":
    main()
