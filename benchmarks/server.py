"""
Simulators in a process of their own, so that they do not share the client's interpreter or core.

Reads one JSON request a line on standard input and answers each with one line: `{"start": PROVIDER,
…options}` gives `{"url": …}`, `{"stop": true}` gives what the server saw. An argument names the
core to stay on.
"""

from __future__ import annotations

import json
import os
import sys

from ttsmux.simulate import Simulator


def seen(simulator: Simulator) -> dict[str, int]:
    """Count dials, those that were spoken on, and audio sent after its interruption was read."""
    log = simulator.log
    leased = {record["conn"] for record in log if record["event"] == "generation"}
    late = [
        record
        for record in log
        if record["event"] == "send"
        and record.get("after_interrupt") is True
        and "audio_bytes" in record["frame"]  # type: ignore[operator]
    ]
    return {"dials": simulator.dials, "leased": len(leased), "late": len(late)}


def main() -> None:
    if sys.argv[1:]:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    simulator: Simulator | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if provider := request.pop("start", None):
            simulator = Simulator(provider, engine="tone", **request).start()
            answer: dict[str, object] = {"url": simulator.url, "voice": simulator.default_voice}
        else:
            assert simulator is not None, "stop follows start"
            answer = dict(seen(simulator))
            simulator.close()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
