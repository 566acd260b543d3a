"""
Simulators in a process of their own, so that they do not share the client's interpreter or core.

Reads one JSON request a line on standard input and answers each with one line: `{"start": PROVIDER,
…options}` gives `{"url": …}`, `{"stop": true}` gives what the server saw.
"""

from __future__ import annotations

import json
import os
import sys

from ttsmux.simulate import Simulator


def seen(simulator: Simulator) -> dict[str, object]:
    log = simulator.log
    leased = {record["conn"] for record in log if record["event"] == "generation"}
    late = sum(
        1 for record in log if record["event"] == "send" and record.get("after_interrupt") is True
    )
    return {"dials": simulator.dials, "leased": len(leased), "late_messages": late}


def main() -> None:
    cores = os.cpu_count() or 1
    if cores > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {1})
    simulator: Simulator | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if provider := request.pop("start", None):
            simulator = Simulator(provider, engine="tone", require_key=False, **request).start()
            answer: dict[str, object] = {"url": simulator.url, "voice": simulator.default_voice}
        else:
            assert simulator is not None, "stop follows start"
            answer = seen(simulator)
            simulator.close()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
