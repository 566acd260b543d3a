"""Each fault does what it says, where it says, on real sockets."""

import base64
import contextlib
import socket
import struct
import threading

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.simulate.peer import (
    PATHS,
    TIMEOUT,
    XAI,
    Event,
    Peer,
    dial,
    happened,
    heard,
    kinds,
    raw,
    records,
    text,
)
from ttsmux.simulate import Simulator

LONG = "one two three four five six seven eight nine ten"


def speak(peer: Peer, words: str = LONG) -> None:
    """Whatever happens to the connection meanwhile shows when it is read."""
    with contextlib.suppress(ConnectionClosed):
        peer.say({"type": "text.delta", "delta": words}, {"type": "text.done"})


def read_out(peer: Peer) -> tuple[list[Event], ConnectionClosed]:
    """Read until the connection is gone."""
    with pytest.raises(ConnectionClosed) as caught:
        peer.until("never")
    return peer.events, caught.value


def read_all(sock: socket.socket) -> None:
    while sock.recv(4096):
        pass


# Before the WebSocket.


def test_refuse() -> None:
    """A reset before any byte; other connections are served."""
    with Simulator("xai", faults=["refuse@connect:1"]) as sim:
        with pytest.raises(ConnectionResetError), raw(sim) as sock:
            sock.recv(1)
        with dial(sim) as peer:
            speak(peer)
            assert text(peer.until("audio.done")) == LONG
        assert happened(sim, "refused")["conn"] == 1
        assert sim.dials == 2


def test_status() -> None:
    """The HTTP status and headers at the upgrade of that connection."""
    with Simulator("xai", faults=["status=429;retry-after=2@connect:2"]) as sim:
        with dial(sim):
            pass
        with pytest.raises(InvalidStatus) as caught, dial(sim):
            pass
        response = caught.value.response
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "2"
        assert happened(sim, "refused")["status"] == 429
        with dial(sim):
            pass


@pytest.mark.parametrize("code", [200, 204, 302, 304, 500])
def test_any_status(code: int) -> None:
    """Those that have no body are sent without."""
    with Simulator("xai", faults=[f"status={code};location=/"]) as sim, raw(sim) as sock:
        head = "Host: x\r\nUpgrade: websocket\r\n\r\n"
        sock.sendall(f"GET {XAI.partition('?')[0]} HTTP/1.1\r\n{head}".encode())
        assert sock.recv(4096).startswith(f"HTTP/1.1 {code} ".encode())
        happened(sim, "lost", error=None)


# The end of a connection.


def test_close_at_a_chunk() -> None:
    """Exactly that many chunks, then a close frame, and the generation is cut."""
    with Simulator("xai", faults=["close=1011;oops@chunk:3"]) as sim, dial(sim) as peer:
        speak(peer)
        events, error = read_out(peer)
        assert len(events) == 3
        assert error.rcvd is not None and (error.rcvd.code, error.rcvd.reason) == (1011, "oops")
        assert happened(sim, "cut")["reason"] == "close"
        assert happened(sim, "fault")["fault"] == "close@chunk:3=1011;oops"


@pytest.mark.parametrize("action", ["reset", "eof"])
def test_an_end_without_a_close_frame(action: str) -> None:
    """The chunks before it arrive; there is no close frame."""
    with Simulator("xai", faults=[f"{action}@request:2,chunk:2"]) as sim, dial(sim) as peer:
        speak(peer, "Fine.")
        done = len(peer.until("audio.done"))
        # A send that ran into the reset would make the client drop what it has not read.
        peer.say({"type": "text.delta", "delta": LONG})
        events, error = read_out(peer)
        assert len(events) - done == 2
        assert error.rcvd is None
        assert happened(sim, "cut")["reason"] == action
        happened(sim, "lost")


def test_a_reset_is_a_reset() -> None:
    """ECONNRESET, not an end of file."""
    with Simulator("xai", faults=["reset@connect:1"]) as sim, raw(sim) as sock:
        lines = [
            f"GET {XAI} HTTP/1.1",
            "Host: x",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Authorization: Bearer k",
        ]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        with pytest.raises(ConnectionResetError):
            read_all(sock)


def test_before_the_first_chunk() -> None:
    """chunk:0 is after the text and before any audio."""
    with Simulator("xai", faults=["close@chunk:0"]) as sim, dial(sim) as peer:
        speak(peer)
        events, _ = read_out(peer)
        assert events == []
        assert [record["generation"] for record in records(sim, "generation")] == [1]


def test_after_the_last_chunk() -> None:
    """A count that the generation just reaches happens before the end marker."""
    with Simulator("xai") as sim, dial(sim) as peer:
        speak(peer, "Hi.")
        chunks = len(peer.until("audio.done")) - 1
        sim.inject(f"close@request:2,chunk:{chunks}")
        speak(peer, "Hi.")
        events, _ = read_out(peer)
        assert kinds(events[chunks + 1 :]) == ["audio.delta"]


# Holding back.


def test_stall_for_a_while() -> None:
    """The generation waits, and goes on."""
    with Simulator("xai", faults=["stall=150@chunk:1"]) as sim, dial(sim) as peer:
        speak(peer)
        assert text(peer.until("audio.done")) == LONG
        first, second = [record["t"] for record in sim.log if "chunk" in record][:2]
        assert isinstance(first, float) and isinstance(second, float)
        assert second - first >= 0.15


def test_stall_for_ever() -> None:
    """Nothing more comes of this generation; pings and cancels are answered, others speak."""
    with Simulator("xai", faults=["stall@request:1,chunk:2"]) as sim, dial(sim) as peer:
        speak(peer)
        peer.hear()
        peer.hear()
        assert peer.ws.ping().wait(TIMEOUT)
        happened(sim, "ping")
        peer.say({"type": "text.clear"})
        assert peer.hear()["type"] == "audio.clear"
        speak(peer, "Next.")
        assert text(peer.until("audio.done")) == "Next."


UNTIL_INTERRUPT = "stall@request:1,chunk:2=interrupt"


def test_stall_until_the_interrupt() -> None:
    """Two chunks, and the rest when the interrupt was read; the connection answers meanwhile."""
    with Simulator("xai", faults=[UNTIL_INTERRUPT, "no-ack"]) as sim, dial(sim) as peer:
        speak(peer)
        happened(sim, "fault")
        for _ in range(2):
            peer.say({"type": "session.update", "replace": {}})
            peer.until("session.updated")
        assert [event["type"] for event in peer.events].count("audio.delta") == 2
        peer.say({"type": "text.clear"})
        peer.until("audio.done")
        assert text([e for e in peer.events if e["type"] != "session.updated"]) == LONG
        sent = [record["after_interrupt"] for record in sim.log if "chunk" in record]
        assert sent == [False, False] + [True] * (len(sent) - 2)
        speak(peer)
        assert text(peer.until("audio.done")) == LONG, "another one is not held"


def test_what_was_held_is_not_owed() -> None:
    """It goes on at its pace."""
    faults = [UNTIL_INTERRUPT, "no-ack"]
    with Simulator("xai", faults=faults, rtf=0.05) as sim, dial(sim) as peer:
        speak(peer)
        happened(sim, "fault")
        threading.Event().wait(0.3)  # more than all of it takes
        peer.say({"type": "text.clear"})
        peer.until("audio.done")
        sent = [record["t"] for record in sim.log if record.get("after_interrupt")]
        assert len(sent) > 40
        assert isinstance(sent[0], float) and isinstance(sent[-1], float)
        assert sent[-1] - sent[0] >= 0.05 * 0.08 * (len(sent) - 1) - 0.01


def test_no_stall_after_the_interrupt() -> None:
    """Where it was read before, nothing is waited for."""
    faults = ["stall@chunk:1=interrupt", "late-ack=end"]
    with Simulator("xai", faults=faults) as sim, dial(sim) as peer:
        peer.say({"type": "text.delta", "delta": LONG}, {"type": "text.clear"})
        assert text(peer.until("audio.clear")) == LONG


@pytest.mark.parametrize(
    ("provider", "path", "opening", "interrupt"),
    [
        ("gradium", PATHS["gradium"],
         [{"type": "setup", "output_format": "pcm_24000"}, {"type": "text", "text": LONG}],
         {"type": "end_of_stream"}),
        ("elevenlabs", PATHS["elevenlabs"],
         [{"text": LONG + " ", "context_id": "a", "flush": True}],
         {"context_id": "a", "close_context": True}),
        ("kugelaudio", PATHS["kugelaudio"],
         [{"text": LONG, "context_id": "a", "flush": True, "voice_settings": {"voice_id": 1071}}],
         {"context_id": "a", "close_context": True, "immediate": True}),
        ("kugelaudio", "/ws/tts/stream",
         [{"text": LONG, "voice_id": 1071, "flush": True}], {"cancel": True}),
        ("kugelaudio", "/ws/tts", [{"text": LONG, "voice_id": 1071}], {"cancel": True}),
    ],
    ids=["gradium", "elevenlabs", "kugelaudio multi", "kugelaudio stream", "kugelaudio oneshot"],
)  # fmt: skip
def test_what_an_interrupt_is(
    provider: str, path: str, opening: list[Event], interrupt: Event
) -> None:
    """The cancel, or what stands for it."""
    faults = [UNTIL_INTERRUPT, *(["no-ack"] if provider == "kugelaudio" else [])]
    with Simulator(provider, faults=faults) as sim, dial(sim, path) as peer:
        peer.say(*opening)
        happened(sim, "fault")
        assert peer.ws.ping().wait(TIMEOUT)
        assert [record["chunk"] for record in sim.log if "chunk" in record] == [1, 2]
        peer.say(interrupt)
        assert happened(sim, "send", chunk=20)["after_interrupt"]


def test_stall_of_a_connection() -> None:
    """connect:N alone holds everything the connection would send, in order."""
    with Simulator("xai", faults=["stall=100@connect:1"]) as sim, dial(sim) as peer:
        peer.say({"type": "text.clear"}, {"type": "session.update", "replace": {}})
        speak(peer, "Hi.")
        events = peer.until("audio.done")
        assert kinds(events) == ["audio.clear", "session.updated", "audio.delta", "audio.done"]
        open_at, sent_at = happened(sim, "open")["t"], happened(sim, "send")["t"]
        assert isinstance(open_at, float) and isinstance(sent_at, float)
        assert sent_at - open_at >= 0.1


def test_silence() -> None:
    """Neither answers nor reads: no pong, and the client's sends run into a wall."""
    with Simulator("xai", faults=["silence@chunk:1"]) as sim, dial(sim) as peer:
        peer.say({"type": "text.delta", "delta": LONG})
        peer.hear()
        happened(sim, "fault")
        assert not peer.ws.ping().wait(0.1)
        with pytest.raises(TimeoutError):
            peer.ws.recv(0)
        sock = peer.ws.socket
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.sendall(bytes(1 << 26))
        assert len(records(sim, "recv")) == 1
        with dial(sim) as other:
            speak(other, "Hi.")
            other.hear()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_silence_from_the_start() -> None:
    """On an open socket that never says anything."""
    with Simulator("xai", faults=["silence@connect:1"]) as sim, dial(sim) as peer:
        happened(sim, "fault")
        assert not peer.ws.ping().wait(0.05)
        assert records(sim, "recv") == []


# Bad messages.


def test_garbage() -> None:
    """A text message that is not JSON, in the middle of the others."""
    with Simulator("xai", faults=["garbage@chunk:1"]) as sim, dial(sim) as peer:
        speak(peer)
        peer.hear()
        assert peer.ws.recv(TIMEOUT) == '{"type": "garb'
        assert kinds(peer.until("audio.done")) == ["audio.delta", "audio.done"]


def test_binary() -> None:
    """A binary message, and the connection goes on."""
    with Simulator("xai", faults=["binary@connect:1"]) as sim, dial(sim) as peer:
        assert isinstance(peer.ws.recv(TIMEOUT), bytes)
        speak(peer)
        assert text(peer.until("audio.done")) == LONG


@pytest.mark.parametrize(("where", "bad"), [("request:1", 0), ("chunk:2", 2), ("connect:1", 0)])
def test_bad_base64(where: str, bad: int) -> None:
    """One audio message cannot be decoded; the others can."""
    with Simulator("xai", faults=[f"badb64@{where}"]) as sim, dial(sim) as peer:
        speak(peer)
        events = peer.until("audio.done")
        for index, event in enumerate(events[:5]):
            if index == bad:
                with pytest.raises(ValueError, match="base64"):
                    base64.b64decode(str(event["delta"]), validate=True)
            else:
                base64.b64decode(str(event["delta"]), validate=True)
        assert "bad_base64" in sim.frames("send")[bad]


@pytest.mark.parametrize("where", ["", "@connect:1", "@chunk:2"])
def test_odd_lengths(where: str) -> None:
    """Every message from there on has an odd length, and the words are whole."""
    with Simulator("xai", faults=[f"odd{where}"]) as sim, dial(sim) as peer:
        speak(peer)
        events = peer.until("audio.done")
        assert text(events) == LONG
        sizes = [len(base64.b64decode(str(event["delta"]))) for event in events[:-1]]
        start = 2 if "chunk" in where else 0
        assert all(size % 2 for size in sizes[start:])
        assert not any(size % 2 for size in sizes[:start])


def test_error() -> None:
    """The provider's error event with the given message; the utterance is over."""
    with Simulator("xai", faults=["error=No luck today@chunk:2"]) as sim, dial(sim) as peer:
        speak(peer)
        events = peer.until("error")
        assert kinds(events) == ["audio.delta", "error"] and len(events) == 3
        assert events[-1]["message"] == "No luck today"
        assert happened(sim, "cut")["reason"] == "error"


def test_error_on_an_idle_connection() -> None:
    """With connect:N it belongs to no generation."""
    with Simulator("gradium", faults=["error=Going down@connect:1"]) as sim, dial(sim) as peer:
        events, error = read_out(peer)
        assert events == [{"type": "error", "message": "Going down", "code": 1011}]
        assert error.rcvd is not None and error.rcvd.code == 1011
        assert "generation" not in happened(sim, "fault")


def test_drop_end() -> None:
    """All audio and no end marker; the provider thinks it is done."""
    with Simulator("xai", faults=["drop-end@request:1"]) as sim, dial(sim) as peer:
        speak(peer, "First.")
        speak_after = happened(sim, "fault", fault="drop-end@request:1")
        assert speak_after["generation"] == 1
        speak(peer, "Second.")
        events = peer.until("audio.done")
        assert {word.tag for word in heard(events)} == {1, 2}
        assert len(sim.frames("send")) == len(events)
        assert sim.frames("send")[-1]["type"] == "audio.done"


# While running.


def test_inject_into_an_open_connection() -> None:
    """What names a connection that is open happens now."""
    with Simulator("xai") as sim, dial(sim) as peer:
        happened(sim, "open")
        sim.inject("close=1001@connect:1")
        _, error = read_out(peer)
        assert error.rcvd is not None and error.rcvd.code == 1001


def test_inject_into_a_running_generation() -> None:
    """What names a generation that is speaking happens now, others are not touched."""
    with Simulator("gradium", rtf=1.0) as sim, dial(sim) as peer:
        for id in ("a", "b"):
            peer.say(
                {"type": "setup", "client_req_id": id, "output_format": "pcm_8000"},
                {"type": "text", "client_req_id": id, "text": LONG},
            )
        peer.until("audio", client_req_id="a")
        happened(sim, "generation", id="b")
        sim.inject("error=Now@request:1")
        error = peer.until("error")[-1]
        assert error["client_req_id"] == "a" and error["message"] == "Now"
        peer.until("audio", client_req_id="b")


def test_injected_faults_stay() -> None:
    """Without a place they happen from the next time on."""
    with Simulator("xai") as sim:
        with dial(sim) as peer:
            speak(peer)
            peer.until("audio.done")
            sim.inject("status=503")
        for _ in range(2):
            with pytest.raises(InvalidStatus), dial(sim):
                pass


def test_faults_that_a_provider_cannot_have() -> None:
    """Gradium has no cancel message; saying so beats waiting for it."""
    with pytest.raises(ValueError, match="no-ack: gradium has no cancel message"):
        Simulator("gradium", faults=["no-ack"])
    with Simulator("gradium") as sim, pytest.raises(ValueError, match="no cancel"):
        sim.inject("speak-on")
