"""A client that knows nothing: it sends frames as written and returns what comes."""

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager

from websockets.exceptions import ConnectionClosedError, InvalidState
from websockets.sync.client import ClientConnection, connect

from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import Heard, decode

XAI = "/v1/tts?language=en&voice=eve&codec=pcm&sample_rate=24000"
GRADIUM = "/api/speech/tts"
ELEVENLABS = (
    "/v1/text-to-speech/V1/multi-stream-input?model_id=eleven_flash_v2_5&output_format=pcm_24000"
)
KUGELAUDIO = "/ws/tts/multi"
PATHS = {"elevenlabs": ELEVENLABS, "gradium": GRADIUM, "kugelaudio": KUGELAUDIO, "xai": XAI}
KEYS = (
    "audio", "word_timestamps", "generation_started", "chunk_complete", "final", "session_closed",
    "context_created", "context_closed", "context_timeout", "interrupted", "settings_updated",
    "warning", "error",
)  # fmt: skip
"""What names a message that has no type."""
HEADERS = {"Authorization": "Bearer a-secret-api-key", "x-api-key": "a-secret-api-key"}
HEADERS["xi-api-key"] = HEADERS["x-api-key"]

TIMEOUT = 45.0
"""Seconds after which what is waited for will not come; on a busy machine much takes long."""

Event = dict[str, object]


class Peer:
    """One connection. Audio stays where it is; `pcm` and `heard` read it."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.events: list[Event] = []

    def say(self, *frames: object) -> None:
        """
        Send frames, dicts as JSON, strings as they are; all arrive at one moment.

        Raises ConnectionClosed where there is no connection any more.
        """
        # Else what the last one meets depends on how far the simulator got with the first.
        try:
            with self.ws.protocol_mutex:
                for frame in frames:
                    data = frame if isinstance(frame, str | bytes) else json.dumps(frame)
                    if isinstance(data, str):
                        self.ws.protocol.send_text(data.encode())
                    else:
                        self.ws.protocol.send_binary(data)
                self.ws.socket.sendall(b"".join(self.ws.protocol.data_to_send()))
        except (InvalidState, OSError) as exc:
            raise ConnectionClosedError(None, None) from exc

    def receive(self) -> Event | bytes:
        """The next message: text is parsed."""
        message = self.ws.recv(TIMEOUT)
        if isinstance(message, bytes):
            return message
        event: Event = json.loads(message)
        self.events.append(event)
        return event

    def hear(self) -> Event:
        event = self.receive()
        assert not isinstance(event, bytes), event
        return event

    def until(self, kind: str, **fields: object) -> list[Event]:
        """Everything up to and including the first event of this type with these fields."""
        events = []
        while True:
            event = self.hear()
            events.append(event)
            if kind_of(event) == kind and fields.items() <= event.items():
                return events


@contextmanager
def dial(
    sim: Simulator,
    path: str | None = None,
    headers: dict[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Iterator[Peer]:
    with connect(
        sim.url + (path or PATHS[sim.provider]),
        additional_headers=HEADERS if headers is None else headers,
        ssl=ssl_context,
        proxy=None,
        compression=None,
        ping_interval=None,
        open_timeout=TIMEOUT,
        close_timeout=1,
    ) as ws:
        yield Peer(ws)


def kind_of(event: Event) -> str:
    """The type, or the key that stands for it."""
    return str(event.get("type") or next(key for key in KEYS if key in event))


def pcm(events: list[Event]) -> bytes:
    """The audio in *events*, joined."""
    field = {"audio.delta": "delta", "audio": "audio"}
    return b"".join(
        base64.b64decode(str(event.get(field[kind_of(event)], "")), validate=True)
        for event in events
        if kind_of(event) in field
    )


def heard(events: list[Event], rate: int = 24000) -> list[Heard]:
    words = decode(pcm(events), rate)
    assert all(word.ok for word in words)
    return words


def text(events: list[Event], rate: int = 24000) -> str:
    return " ".join(word.text for word in heard(events, rate))


def kinds(events: list[Event]) -> list[str]:
    """The types in order, runs of one type counted once."""
    found: list[str] = []
    for event in events:
        if found[-1:] != [kind_of(event)]:
            found.append(kind_of(event))
    return found


def happened(sim: Simulator, event: str, **facts: object) -> dict[str, object]:
    """Wait for a record of the log and return the first one."""

    def find(log: list[dict[str, object]]) -> dict[str, object] | None:
        for record in log:
            if record["event"] == event and facts.items() <= record.items():
                return record
        return None

    record = sim.wait_for(find, TIMEOUT)
    assert record is not None
    return record


def records(sim: Simulator, event: str) -> list[dict[str, object]]:
    return [record for record in sim.log if record["event"] == event]


@contextmanager
def raw(sim: Simulator) -> Iterator[socket.socket]:
    """A TCP connection that speaks no protocol."""
    with closing(socket.create_connection(("127.0.0.1", sim.port), TIMEOUT)) as sock:
        yield sock


def http(sim: Simulator, request: str) -> bytes:
    """Send bytes and read to the end."""
    with raw(sim) as sock:
        sock.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer
