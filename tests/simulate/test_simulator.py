"""The simulator as a thing: where it is, what it saw, pacing, TLS, back-pressure, leaving."""

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.simulate.peer import (
    HEADERS,
    TIMEOUT,
    XAI,
    Peer,
    dial,
    happened,
    heard,
    http,
    raw,
    records,
    text,
)
from ttsmux.errors import WrongType
from ttsmux.simulate import PROVIDERS, Simulator
from ttsmux.simulate.engines import EngineFailed, Utterance, Word, create_engine
from ttsmux.simulate.engines.tone import ToneEngine
from ttsmux.simulate.faults import Fault

KEY = "a-secret-api-key"


def speak(peer: Peer, words: str) -> None:
    peer.say({"type": "text.delta", "delta": words}, {"type": "text.done"})


def at(record: dict[str, object]) -> float:
    assert isinstance(record["t"], float)
    return record["t"]


class Sentences:
    """An engine that wants whole sentences, and fails on request."""

    name = "sentences"
    streams_words = False

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[str] = set()
        self.closed = False

    def describe(self) -> str:
        return "sentences"

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
        self.asked.append(text)
        self.threads.add(threading.current_thread().name)
        if "fail" in text:
            raise EngineFailed("no voice today")
        words = text.split()
        return Utterance(
            bytes(2 * rate // 10 * len(words)),
            rate,
            tuple(Word(word, n / 10, (n + 1) / 10) for n, word in enumerate(words)),
        )

    def close(self) -> None:
        self.closed = True


# Where it is, and what it takes.


def test_addresses() -> None:
    """URLs without a path, for sockets and for HTTP."""
    with Simulator("xai") as sim:
        assert sim.url == f"ws://127.0.0.1:{sim.port}"
        assert sim.http_url == f"http://127.0.0.1:{sim.port}"
        assert sim.provider == "xai" and sim.default_voice == "eve"
        assert repr(sim) == f"<Simulator xai {sim.url}>"
    assert repr(sim) == "<Simulator xai closed>"


def test_a_chosen_port() -> None:
    """A port that is taken is an error at once, and nothing is left behind."""
    with Simulator("xai") as sim, pytest.raises(OSError, match="in use"):
        Simulator("xai", port=sim.port).start()


def test_bad_arguments() -> None:
    """They are told when the simulator is made."""
    assert set(PROVIDERS) >= {"xai", "gradium"}
    with pytest.raises(ValueError, match="known: elevenlabs, gradium, kugelaudio, sm, xai"):
        Simulator("acme")
    with pytest.raises(TypeError, match=r"cannot simulate xai with these options: .*sausage"):
        Simulator("xai", sausage=1)
    with pytest.raises(ValueError, match="timestamps"):
        Simulator("xai", timestamps="sideways")
    with pytest.raises(ValueError, match="chunk_ms cannot be 0"):
        Simulator("xai", chunk_ms=0)
    with pytest.raises(ValueError, match="known: refuse"):
        Simulator("xai", faults=["burn"])
    with pytest.raises(ValueError, match="tone, espeak and auto"):
        Simulator("xai", engine="kazoo")
    one: Any
    for one in ("refuse", Fault.parse("refuse"), None):
        with pytest.raises(WrongType, match=r"faults takes a list of faults, as in faults="):
            Simulator("xai", faults=one)


def test_it_runs_once() -> None:
    """Before the start there is nothing to ask; after the end no new start."""
    sim = Simulator("xai")
    sim.close()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = sim.port
    with pytest.raises(RuntimeError, match="runs once"):
        sim.start()


def test_options_may_be_strings() -> None:
    """As they come from a command line."""
    options = {"require_key": "no", "custom_voices": "a,b", "max_sessions": "1"}
    with (
        Simulator("xai", **options) as sim,
        dial(sim, XAI.replace("eve", "b"), {}),
        pytest.raises(InvalidStatus),
        dial(sim),
    ):
        pass
    with pytest.raises(ValueError, match="could not convert"):
        Simulator("xai", max_age="old")


def test_unknown_settings_are_told() -> None:
    """They are ignored, as a server would, but a misspelt one is worth a record."""
    with Simulator("xai") as sim, dial(sim, XAI + "&voice_id=eve"):
        assert "'voice_id'" in str(happened(sim, "violation")["message"])
    with Simulator("gradium") as sim, dial(sim) as peer:
        peer.say({"type": "setup", "speed": 1.2})
        assert peer.hear()["type"] == "ready"
        assert "'speed'" in str(happened(sim, "violation")["message"])


# HTTP.


def test_unknown_paths_and_plain_requests() -> None:
    """404 for a path nobody serves, 426 for a GET that should have been an upgrade."""
    with Simulator("gradium") as sim:
        host = "HTTP/1.1\nHost: x\nConnection: close\n"
        assert b" 404 " in http(sim, f"POST /nowhere {host}Content-Length: 2\n\nhi")
        answer = http(sim, f"GET /api/speech/tts {host}\n")
        assert b" 426 " in answer and b'{"error":' in answer
        assert http(sim, f"HEAD / {host}\n").endswith(b"\r\n\r\n")
        assert [record["status"] for record in records(sim, "refused")] == [404, 426, 404]


@pytest.mark.parametrize(
    "request_",
    [
        "NONSENSE\n\n",
        "GET / HTTP/1.1\nHost: x\nContent-Length: no\n\n",
        f"GET {XAI} HTTP/1.1\nHost: x\nUpgrade: websocket\nAuthorization: Bearer k\n\n",
        f"GET {XAI} HTTP/1.1\nHost: x\nUpgrade: websocket\nConnection: Upgrade\n"
        "Authorization: Bearer k\n\n",
        "GET /" + "x" * 70_000 + " HTTP/1.1\nHost: x\nConnection: close\n\n",
    ],
)
def test_bad_http(request_: str) -> None:
    """It is answered with a 4xx, and the next one is served."""
    with Simulator("xai") as sim:
        try:
            assert b" 4" in http(sim, request_)[:12]
        except ConnectionResetError:
            assert len(request_) > 65536, "what was not read makes the close a reset"
        with dial(sim) as peer:
            speak(peer, "Hi.")
            peer.until("audio.done")


def test_a_client_that_leaves_before_asking() -> None:
    """It was a connection, and it is lost."""
    with Simulator("xai") as sim:
        with raw(sim):
            pass
        happened(sim, "lost", conn=1)
        assert records(sim, "refused") == []


def test_a_client_that_leaves_before_it_is_answered() -> None:
    """Nobody waits for the end of the handshake; who stays is answered, whatever it asked."""
    head = f"GET {XAI} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
    with Simulator("xai", handshake_ms=600_000) as sim:
        with raw(sim) as sock:
            sock.sendall(head.encode())
        happened(sim, "lost", conn=1)
        assert records(sim, "open") == records(sim, "refused") == []
    with Simulator("xai", handshake_ms=20) as sim:
        asked = "HTTP/1.1\nHost: x\nContent-Length: 2\n"
        answers = http(sim, f"POST /a {asked}\nhiPOST /b {asked}Connection: close\n\nhi")
        assert answers.count(b" 404 ") == 2


def test_a_broken_frame() -> None:
    """An unmasked frame is answered with close 1002."""
    with Simulator("xai") as sim, dial(sim) as peer:
        peer.ws.socket.sendall(b"\x81\x02hi")
        with pytest.raises(ConnectionClosed) as caught:
            peer.hear()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1002
        happened(sim, "lost")


def test_text_that_is_not_utf8() -> None:
    """Close 1007."""
    with Simulator("xai") as sim, dial(sim) as peer:
        mask = bytes(4)
        peer.ws.socket.sendall(b"\x81\x82" + mask + b"\xff\xfe")
        with pytest.raises(ConnectionClosed) as caught:
            peer.hear()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1007


def test_fragments() -> None:
    """A message in pieces is one message."""
    with Simulator("xai") as sim, dial(sim) as peer:
        peer.ws.send(iter(['{"type":"text', '.delta","delta":', '"Hi."}']))
        peer.say({"type": "text.done"})
        assert text(peer.until("audio.done")) == "Hi."


# The log.


def test_records() -> None:
    """One life in order, with the facts of each step."""
    with Simulator("xai") as sim:
        with dial(sim) as peer:
            speak(peer, "Hi.")
            peer.ws.ping(b"abc").wait(TIMEOUT)
            peer.until("audio.done")
        happened(sim, "lost")
        log = sim.log
        assert [record["t"] for record in log] == sorted(at(record) for record in log)
        assert all(record["conn"] == 1 for record in log)
        order = [record["event"] for record in log if record["event"] not in ("send", "ping")]
        assert order == ["dial", "open", "recv", "generation", "recv", "close", "lost"]
        assert happened(sim, "open")["path"] == "/v1/tts"
        assert happened(sim, "ping")["bytes"] == 3
        assert happened(sim, "generation") == {
            **happened(sim, "generation"),
            "generation": 1,
            "tag": 1,
            "open_generations": 1,
        }
        audio = happened(sim, "send", chunk=1)
        assert audio["frame"] == {"type": "audio.delta", "audio_bytes": 3840}
        assert (audio["generation"], audio["tag"], audio["after_interrupt"]) == (1, 1, False)
        close = happened(sim, "close")
        assert (close["by"], close["code"]) == ("client", 1000)
        assert sim.frames("recv") == [
            {"type": "text.delta", "delta": "Hi."},
            {"type": "text.done"},
        ]
        assert sim.frames("recv", conn=2) == []


def test_wait_for() -> None:
    """What the predicate returns, or TimeoutError with the last records."""
    with Simulator("xai") as sim:
        with pytest.raises(TimeoutError, match="0 records"):
            sim.wait_for(bool, 0.01)
        threading.Timer(0.05, lambda: raw(sim).__enter__().close()).start()
        assert sim.wait_for(lambda log: log and log[0]["event"], TIMEOUT) == "dial"
        happened(sim, "lost")


def test_the_key_is_never_logged(tmp_path: Path) -> None:
    """Not from the header, not if the client puts it into the URL, a message or a reason."""
    path = tmp_path / "log.jsonl"
    with Simulator("xai", key=KEY, log_file=path) as sim:
        with dial(sim, f"{XAI}&api_key={KEY}") as peer:
            peer.say({"type": KEY}, KEY)
            peer.hear()
            peer.hear()
            peer.say({KEY: [KEY]})
            peer.ws.close(1000, KEY)
        with pytest.raises(InvalidStatus), dial(sim, f"/{KEY}"):
            pass
        happened(sim, "lost", conn=2)
        assert KEY not in json.dumps(sim.log)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == [rec["event"] for rec in sim.log]
    assert KEY not in path.read_text()


def test_open_generations_are_counted_per_connection() -> None:
    """At the instant of the record."""
    with Simulator("gradium") as sim, dial(sim) as one, dial(sim) as two:
        for id in ("a", "b"):
            one.say({"type": "setup", "client_req_id": id})
        two.say({"type": "setup", "client_req_id": "c"})
        happened(sim, "generation", conn=1, open_generations=2)
        happened(sim, "generation", conn=2, open_generations=1)


def test_tags_wrap() -> None:
    """Generation 257 is spoken with tag 1."""
    with Simulator("xai") as sim, dial(sim) as peer:
        for _ in range(256):
            peer.say({"type": "text.delta", "delta": "x"}, {"type": "text.clear"})
        for _ in range(256):
            peer.until("audio.clear")
        speak(peer, "Hi.")
        assert {word.tag for word in heard(peer.until("audio.done"))} == {1}
        assert happened(sim, "generation", generation=257)["tag"] == 1


def test_seed() -> None:
    """Random things are the same every time."""
    traces = []
    for seed in (1, 1, 2):
        with Simulator("xai", seed=seed) as sim, dial(sim) as peer:
            speak(peer, "Hi.")
            traces.append(peer.until("audio.done")[-1]["trace_id"])
    assert traces[0] == traces[1] != traces[2]


# Time.


def test_pacing() -> None:
    """The handshake, the first audio and the rest take the time that was asked for."""
    with (
        Simulator("xai", handshake_ms=60, ttfa_ms=80, rtf=0.5, chunk_ms=40) as sim,
        dial(sim) as peer,
    ):
        speak(peer, "Hello there.")
        peer.until("audio.done")
        assert at(happened(sim, "open")) - at(happened(sim, "dial")) >= 0.06
        sent = [record for record in sim.log if "chunk" in record]
        assert at(sent[0]) - at(happened(sim, "generation")) >= 0.08
        frames = [record["frame"] for record in sent]
        assert isinstance(frames[0], dict) and frames[0]["audio_bytes"] == 1920
        # From the beginning: a late chunk is caught up with, and the last is never early.
        begun = at(happened(sim, "generation"))
        assert at(sent[-1]) - begun >= 0.08 + 0.5 * 0.04 * (len(sent) - 1) - 0.01


def test_jitter() -> None:
    """Chance makes each chunk wait a little, and loses none."""
    with Simulator("xai", jitter_ms=5) as sim, dial(sim) as peer:
        speak(peer, "Hello there.")
        assert text(peer.until("audio.done")) == "Hello there."


def test_a_pause_in_the_text_is_not_made_up_for() -> None:
    """Audio after a wait for text keeps its pace."""
    with Simulator("xai", rtf=0.5) as sim, dial(sim) as peer:
        peer.say({"type": "text.delta", "delta": "One "})
        one = ToneEngine().speak("One ", voice="", language=None, tag=1, rate=24000)
        happened(sim, "send", chunk=len(one.pcm) // 3840)
        count = len(peer.events)
        threading.Event().wait(0.3)
        speak(peer, "two three four")
        events = peer.until("audio.done")
        assert text(peer.events[:count] + events) == "One two three four"
        told = at(records(sim, "recv")[1])
        sent = [at(record) for record in sim.log if "chunk" in record and at(record) > told]
        assert sent[-1] - told >= 0.5 * 0.08 * (len(sent) - 1) - 0.01


# Engines.


def test_an_engine_that_wants_sentences() -> None:
    """It is given whole sentences in another thread, and stays open: it is not the simulator's."""
    engine = Sentences()
    with Simulator("xai", engine=engine) as sim, dial(sim) as peer:
        assert sim.engine is engine
        peer.say({"type": "text.delta", "delta": "One two. Thr"})
        peer.hear()
        speak(peer, "ee four! Five")
        peer.until("audio.done")
        assert [text.strip() for text in engine.asked] == ["One two.", "Three four!", "Five"]
        assert all(name.startswith("asyncio") for name in engine.threads)
    assert not engine.closed


def test_an_engine_that_fails() -> None:
    """The provider's error event; the next utterance is spoken."""
    with Simulator("xai", engine=Sentences()) as sim, dial(sim) as peer:
        speak(peer, "Now fail.")
        error = peer.hear()
        assert error["type"] == "error" and "no voice today" in str(error["message"])
        speak(peer, "Good.")
        assert peer.until("audio.done")


# TLS.


def test_tls() -> None:
    """The same over TLS, refusals and resets included; a client that cannot verify is lost."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    with Simulator("xai", ssl_context=server, faults=["reset@request:2"]) as sim:
        assert sim.url.startswith("wss://") and sim.http_url.startswith("https://")
        with pytest.raises(ssl.SSLCertVerificationError), dial(sim, ssl_context=client):
            pass
        happened(sim, "lost", conn=1)
        authority.configure_trust(client)
        with dial(sim, ssl_context=client) as peer:
            speak(peer, "Hello over TLS.")
            assert text(peer.until("audio.done")) == "Hello over TLS."
            peer.say({"type": "text.delta", "delta": "Gone."})
            with pytest.raises(ConnectionClosed) as caught:
                peer.hear()
            assert caught.value.rcvd is None


def test_closing_during_a_tls_handshake() -> None:
    """A client that never says hello keeps nobody waiting."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)
    with Simulator("xai", ssl_context=server) as sim, raw(sim) as sock:
        happened(sim, "dial")
        sim.close()
        with pytest.raises(ConnectionResetError) if sys.platform == "win32" else _nothing():
            assert sock.recv(1) == b""


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


# Back-pressure.


def narrow(sim: Simulator) -> socket.socket:
    """A raw WebSocket with a small receive buffer, which it does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(TIMEOUT)
    sock.connect(("127.0.0.1", sim.port))
    lines = [
        f"GET {XAI.replace('24000', '48000')} HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"Authorization: {HEADERS['Authorization']}",
    ]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    return sock


def frame(message: object) -> bytes:
    """A masked text frame; the mask is zero."""
    data = json.dumps(message).encode()
    return b"\x81\xfe" + struct.pack(">H", len(data)) + bytes(4) + data


def test_a_client_that_does_not_read() -> None:
    """It gets no more than the buffers hold, and others are served meanwhile."""
    with Simulator("xai") as sim, narrow(sim) as sock:
        sock.sendall(frame({"type": "text.delta", "delta": "words " * 2_500}) * 4)
        happened(sim, "send", chunk=20)
        counts = []
        while len(counts) < 3 or counts[-1] != counts[-3]:
            with dial(sim) as peer:
                speak(peer, "Meanwhile.")
                assert text(peer.until("audio.done")) == "Meanwhile."
            counts.append(sum("chunk" in rec and rec["conn"] == 1 for rec in sim.log))
        assert counts[-1] * 10_240 < 10_000 * 0.36 * 96_000 / 4, "most of it has not been made"
        sock.sendall(frame({"type": "text.clear"}))
        happened(sim, "send", conn=1, frame={"type": "audio.clear"})


def test_answers_to_a_client_that_does_not_read_are_bounded() -> None:
    """When too many answers wait, its messages wait as well."""
    with Simulator("xai") as sim, narrow(sim) as sock:
        message = frame({"type": "session.update", "replace": {"a" * 100: "b" * 128}}) * 500
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.sendall(message * 1000)


# Leaving.


def test_close_with_everything_in_progress() -> None:
    """Idle, speaking, stalled, silent, unread, half-open: all gone, in no time, twice over."""
    sim = Simulator("xai", rtf=1.0, faults=["stall@connect:2", "silence@connect:3"])
    with sim, raw(sim), narrow(sim) as unread, dial(sim) as first:
        happened(sim, "dial", conn=3)
        unread.sendall(frame({"type": "text.delta", "delta": "words " * 2_500}))
        speak(first, "A long story. " * 50)
        happened(sim, "generation", conn=2)
        assert sim.open_connections == 3
        sim.close()
        assert sim.open_connections == 0
        assert not any("simulator" in thread.name for thread in threading.enumerate())
        sim.close()
        assert sim.inject("reset").action == "reset"
    assert len(records(sim, "lost")) == 3


def test_a_client_that_vanishes_mid_generation() -> None:
    """The generation is cut, and nothing of it goes on."""
    with Simulator("xai", rtf=1.0) as sim, dial(sim) as peer:
        speak(peer, "A long story. " * 50)
        peer.hear()
        sock = peer.ws.socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
        assert happened(sim, "cut")["reason"] == "lost"
        happened(sim, "lost")
        assert sim.open_connections == 0


# For ever.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_forever(tmp_path: Path, number: signal.Signals) -> None:
    """One line on stdout, one on stderr, the log as it happens, and an end when asked."""
    program = (
        "import sys; from ttsmux.simulate import serve_forever; "
        "serve_forever('gradium', engine='tone', log_file=sys.argv[1], key='right')"
    )
    path = tmp_path / "log.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        ready, provider, url = process.stdout.readline().split()
        assert (ready, provider) == ("ready", "gradium")
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), TIMEOUT):
            pass
        assert process.stderr.readline() == f"engine: {create_engine('tone').describe()}\n"
        process.send_signal(number)
        assert process.wait(TIMEOUT) == 0
        assert process.stdout.read() == "" and process.stderr.read() == ""
    assert json.loads(path.read_text().splitlines()[0])["event"] == "dial"


def test_it_imports_nothing_of_the_client() -> None:
    """A mistake in an adapter must not be mirrored here."""
    program = (
        "import sys, ttsmux.simulate; "
        "print(*(name for name in sys.modules if name.startswith('ttsmux.')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    loaded = found.stdout.split()
    assert loaded
    for part in ("adapter", "adapters", "core", "client", "transports"):
        assert not any((name + ".").startswith(f"ttsmux.{part}.") for name in loaded)
