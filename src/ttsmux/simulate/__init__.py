"""
Provider simulators: servers on loopback that keep the providers' rules, with faults on request.

::

    with Simulator("xai", ttfa_ms=100, faults=["no-ack@request:1"]) as sim:
        ...  # connect to sim.url; afterwards read sim.log

They are written from the providers' documented protocols alone and share no code with the client:
a mistake in an adapter must not be mirrored by the server that tests it.

From the outside in: `simulator` (the thread, the public face), `server` (listener and routing),
`wire` (one socket), `session` and `generation` (what providers have in common), `xai`, `gradium`
and `kugelaudio` (their protocols), `faults`, `log`. The default engine writes the text and the
generation's number into the audio: see `engines`.
"""

from .faults import ACTIONS, Fault
from .simulator import PROVIDERS, AsyncSimulator, Simulator, serve_forever

__all__ = ["ACTIONS", "PROVIDERS", "AsyncSimulator", "Fault", "Simulator", "serve_forever"]
