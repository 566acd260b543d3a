"""
What a simulator sent for a generation, to be compared with what a client handed to its user.

The log knows how many bytes were sent, and the engine writes the same text into the same bytes
every time, with the number of the generation in each word: that is all of them, one by one.
"""

from ttsmux.simulate import Simulator
from ttsmux.simulate.engines.tone import ToneEngine, decode
from ttsmux.simulate.sound import Encoding

TEXT = "Good morning, the lift is out of order."
SECOND = "Please take the stairs today."
LONG = "It is a long story that begins in a small town by the sea many years ago. " * 4


def spoken(text: str, generation: int, encoding: Encoding) -> bytes:
    """Say *text* as the simulator's engine does."""
    said = ToneEngine().speak(
        text, voice="", language=None, tag=generation % 256, rate=encoding.rate
    )
    return encoding.header + encoding.encode(said.pcm)


def sent(sim: Simulator, generation: int) -> int:
    """Count the bytes of audio that were sent for a generation."""
    return sum(
        frame["audio_bytes"]
        for record in sim.log
        if record["event"] == "send" and record.get("generation") == generation
        if isinstance(frame := record["frame"], dict) and "audio_bytes" in frame
    )


def assert_exact(
    sim: Simulator, audio: bytes, text: str, encoding: Encoding, generation: int = 1
) -> None:
    """Check that *audio* is all that was sent for a generation, and says *text*."""
    assert sent(sim, generation) == len(audio)
    assert audio == spoken(text, generation, encoding)
    if encoding.codec == "pcm":
        heard = decode(audio[len(encoding.header) :], encoding.rate)
        assert [word.text for word in heard] == text.split()
        assert all(word.ok for word in heard)


def assert_cut(
    sim: Simulator, audio: bytes, text: str, encoding: Encoding, generation: int = 1
) -> None:
    """Check that *audio* is the beginning of a speech that nobody heard to its end."""
    whole = spoken(text, generation, encoding)
    assert 0 < len(audio) < len(whole)
    assert whole.startswith(audio)


def violations(sim: Simulator) -> list[object]:
    """List the rules that the client broke."""
    return [record["message"] for record in sim.log if record["event"] == "violation"]
