"""
Provider simulators: servers on loopback that keep the providers' rules, with faults on request.

::

    with Simulator("xai", ttfa_ms=100, faults=["no-ack@request:1"]) as sim:
        ...  # connect to sim.url; afterwards read sim.log

They are written from the providers' documented protocols alone and share no code with the client:
a mistake in an adapter must not be mirrored by the server that tests it.

From the outside in: `simulator` (the thread, the public face), `server` (listener and routing),
`wire` (one socket), `session` and `generation` (what providers have in common), the protocols (a
file or more for each provider), `custom` (a start for one of your own), `faults`, `log`. The
default engine writes the text and the generation's number into the audio: see `engines`.
"""

from .custom import CustomProvider, CustomSession
from .faults import ACTIONS, Fault
from .generation import Chunk, Generation
from .provider import Provider
from .session import JSON, Session
from .simulator import PROVIDERS, AsyncSimulator, Simulator, serve_forever, simulator_names
from .sound import Encoding
from .wire import Request, Response

__all__ = [
    "ACTIONS",
    "JSON",
    "PROVIDERS",
    "AsyncSimulator",
    "Chunk",
    "CustomProvider",
    "CustomSession",
    "Encoding",
    "Fault",
    "Generation",
    "Provider",
    "Request",
    "Response",
    "Session",
    "Simulator",
    "serve_forever",
    "simulator_names",
]
