"""
Each trait by itself: a made-up provider that is the default but for one field, and what that does.

The other tests of the core go deeper where a trait has a story. Here none is forgotten: a field of
`Traits` without a test of its name fails the first test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs
import pytest
from websockets.sync.server import ServerConnection, serve

from tests.core.helpers import (
    MULTIPLEXED,
    SEQUENTIAL,
    Harness,
    Toy,
    opened,
    traits,
)
from ttsmux import Client
from ttsmux.adapter import EarlyEnd, Flush, HoldBack, Input, Join, Traits
from ttsmux.core.states import ConnectionState, SpeechState
from ttsmux.errors import AuthError, ConfigError, Error, InvalidFormat, InvalidVoice
from ttsmux.settings import Interrupt, PoolLimits, RetryPolicy

QUIET = traits(SEQUENTIAL, ping=None)
MUTING = traits(MULTIPLEXED, ping=None)
TESTS: dict[str, Callable[[], None]] = {}


def trait(test: Callable[[], None]) -> Callable[[], None]:
    TESTS[test.__name__] = test
    return test


def test_every_trait_has_a_test() -> None:
    assert set(TESTS) == {field.name for field in attrs.fields(Traits)}


@pytest.mark.parametrize("name", TESTS)
def test_trait(name: str) -> None:
    TESTS[name]()


# --- room -----------------------------------------------------------------------------------------


@trait
def seats() -> None:
    """So many speak on one connection; one more needs another."""
    for number in (1, 2, 3):
        harness = Harness(traits(MUTING, seats=number))
        for _ in range(number + 1):
            harness.speak("Hello. ")
        assert len(harness.wires) == 2 if number > 1 else 1 + number


@trait
def slots() -> None:
    """What is muted and not released takes no seat, but one of these."""
    for number, free in ((3, 2), (4, 3)):
        harness = opened(traits(MUTING, seats=3, slots=number))
        harness.interrupt(harness.speak("Hello. "))
        assert harness.wires[0].free_seats == free


@trait
def ids() -> None:
    """With them a neighbour's late audio is told apart; without, all is dropped for a while."""
    for shape, state in ((MUTING, ConnectionState.OPEN), (QUIET, ConnectionState.BARRIER)):
        harness = opened(shape)
        harness.interrupt(harness.speak("Hello. "))
        assert harness.wires[0].state is state


@trait
def max_muted() -> None:
    """So many may be muted at once; then the connection takes nothing new."""
    for most, free in ((None, 2), (2, 2), (1, 0)):
        harness = opened(traits(MUTING, seats=3, slots=5, max_muted=most))
        harness.speak("Stays. ")
        harness.interrupt(harness.speak("Hello. "))
        assert harness.wires[0].free_seats == free


@trait
def reusable() -> None:
    """If not, a connection serves once."""
    for reuse, state in ((True, ConnectionState.OPEN), (False, ConnectionState.CLOSING)):
        harness = Harness(traits(QUIET, reusable=reuse))
        harness.spoken()
        assert harness.wires[0].state is state


@trait
def connections() -> None:
    """A key is allowed so many, whatever the pool is."""
    for allowed, dialled in ((None, 4), (2, 2)):
        harness = Harness(traits(QUIET, connections=allowed))
        for _ in range(4):
            harness.speak("Hello. ")
        assert len(harness.wires) == dialled


@trait
def generations() -> None:
    """A key may speak so many at once, whatever seats there are."""
    for allowed, speaking in ((None, 3), (2, 2)):
        harness = opened(traits(MUTING, generations=allowed))
        speeches = [harness.speak("Hello. ") for _ in range(3)]
        assert sum(speech.state is SpeechState.SPEAKING for speech in speeches) == speaking


@trait
def requests_per_minute() -> None:
    """A key may begin so many within a minute; then it waits, or is told when to come again."""
    for allowed, state in ((None, SpeechState.SPEAKING), (2, SpeechState.FAILED)):
        harness = opened(traits(MUTING, requests_per_minute=allowed))
        for _ in range(2):
            harness.speak("Hello. ")
        last = harness.speak()
        harness.write(last, "Hello. ")
        assert last.state is state


# --- opening and keeping --------------------------------------------------------------------------


@trait
def greeting() -> None:
    """The provider says when it is ready, and is not spoken to before."""
    for greets, state in ((False, ConnectionState.OPEN), (True, ConnectionState.GREETING)):
        harness = Harness(traits(QUIET, greeting=greets))
        speech = harness.speak("Hello. ")
        harness.up()
        assert harness.wires[0].state is state
        assert (speech.generation is None) is greets
    harness.say(harness.wires[0], "ready")
    assert speech.generation is not None


@trait
def ping() -> None:
    for interval, words in ((None, []), (5.0, ["PING"])):
        harness = opened(traits(QUIET, ping=interval))
        harness.advance(6.0)
        assert harness.words(harness.wires[0]) == words


@trait
def connection_keepalive() -> None:
    for interval, words in ((None, []), (5.0, ["alive", "alive"])):
        harness = opened(traits(QUIET, connection_keepalive=interval))
        harness.advance(11.0)
        assert harness.words(harness.wires[0]) == words


@trait
def generation_keepalive() -> None:
    for interval, times in ((None, 0), (2.0, 2)):
        harness = opened(traits(QUIET, generation_keepalive=interval))
        harness.speak("Hello. ", end=False)
        harness.advance(5.0)
        assert harness.words(harness.wires[0]).count("alive") == times


@trait
def max_idle() -> None:
    for limit, state in ((None, ConnectionState.OPEN), (30.0, ConnectionState.CLOSING)):
        harness = opened(traits(QUIET, max_idle=limit))
        harness.advance(31.0)
        assert harness.wires[0].state is state


@trait
def max_age() -> None:
    """Old is old, however busy: nobody new comes."""
    for limit, state in ((None, ConnectionState.OPEN), (30.0, ConnectionState.DRAINING)):
        harness = opened(traits(QUIET, max_age=limit))
        harness.speak("Hello. ", end=False)
        harness.advance(31.0)
        assert harness.wires[0].state is state


# --- interruptions --------------------------------------------------------------------------------


@trait
def interrupt() -> None:
    """What an interruption does where the user says nothing."""
    allowed = (Interrupt.CANCEL, Interrupt.DISCARD)
    for policy, state in zip(allowed, ("BARRIER", "CLOSING"), strict=True):
        harness = opened(traits(QUIET, interrupt=policy, policies=allowed))
        harness.interrupt(harness.speak("Hello. "))
        assert harness.wires[0].state.name == state


@trait
def policies() -> None:
    """What the user may say."""
    for allowed in ((Interrupt.DISCARD,), (Interrupt.CANCEL, Interrupt.DISCARD)):
        shape = traits(QUIET, interrupt=Interrupt.DISCARD, policies=allowed)
        assert opened(shape, interrupt=allowed[0]).wires
    with pytest.raises(ConfigError, match="possible: cancel, discard"):
        opened(shape, interrupt=Interrupt.MUTE)


@trait
def acknowledgement() -> None:
    """So long may it take; then the connection is given up."""
    for seconds in (0.5, 3.0):
        harness = opened(traits(QUIET, acknowledgement=seconds))
        harness.interrupt(harness.speak("Hello. "))
        harness.advance(seconds - 0.1)
        assert harness.wires[0].state is ConnectionState.BARRIER
        harness.advance(0.2)
        assert harness.wires[0].state is ConnectionState.CLOSING


# --- text -----------------------------------------------------------------------------------------


def said(shape: Traits, *pieces: str, flush: bool = False) -> list[str]:
    """Return what goes out for a speech of these pieces that is not at its end."""
    harness = opened(shape)
    speech = harness.speak()
    for piece in pieces:
        harness.write(speech, piece)
        if flush:
            harness.flush(speech)
    return harness.words(harness.wires[0])


@trait
def input() -> None:
    """As it comes, or a sentence at a time, each a generation."""
    text = "One and a half. Two"
    assert said(traits(QUIET, input=Input.DELTAS), text) == ["open", f"text {text}"]
    whole = ["open", "text One and a half.", "end"]
    assert said(traits(QUIET, input=Input.WHOLE), text) == whole


@trait
def hold_back() -> None:
    assert said(traits(QUIET, hold_back=HoldBack.NONE), "One tw")[1:] == ["text One tw"]
    held = said(traits(QUIET, hold_back=HoldBack.WORD), "One tw")
    assert [word.rstrip() for word in held[1:]] == ["text One"]


@trait
def join() -> None:
    """A provider that puts a space between two pieces is not given one more."""
    shape, found = traits(QUIET, hold_back=HoldBack.WORD), {}
    for rule in Join:
        sent = said(traits(shape, join=rule), "One ", "two ", "three ")
        found[rule] = sent[1:3]
    assert found[Join.VERBATIM] == ["text One ", "text two "]
    assert found[Join.SPACE] == ["text One", "text two"]


@trait
def flush() -> None:
    """Nothing, a message, or the end of the generation."""
    for kind, words in ((Flush.NONE, []), (Flush.MESSAGE, ["flush"]), (Flush.END, ["end"])):
        sent = said(traits(QUIET, flush=kind), "One. ", flush=True)
        assert sent == ["open", "text One. ", *words]


@trait
def max_text() -> None:
    sent = said(traits(QUIET, max_text=8), "One two three four ")
    assert len(sent) > 3 and all(len(word) <= len("text ") + 8 for word in sent)
    assert len(said(traits(QUIET, max_text=None), "One two three four ")) == 2


@trait
def markup() -> None:
    """A tag is never cut where it is one."""
    text = 'One <break time="1s"/> two '
    for tags, whole in ((True, True), (False, False)):
        sent = said(traits(QUIET, max_text=22, markup=tags), text)
        assert any("<break time" in word and "/>" in word for word in sent) is whole


# --- ends -----------------------------------------------------------------------------------------


@trait
def early_end() -> None:
    """An end before ours: an error, or the provider's own way to end a turn."""
    for means, state in (
        (EarlyEnd.ERROR, ConnectionState.CLOSING),
        (EarlyEnd.NEXT_GENERATION, ConnectionState.OPEN),
    ):
        harness = opened(traits(QUIET, early_end=means))
        speech = harness.speak("Hello. ", end=False)
        harness.advance(0.1)
        harness.audio(speech)
        harness.done(speech)
        assert harness.wires[0].state is state


@trait
def release_after() -> None:
    """Without audio, the second step of an end waits for so long; None: there is none."""
    for grace, words in ((None, []), (2.0, ["release"])):
        harness = opened(traits(QUIET, release_after=grace))
        harness.speak("Hello. ")
        harness.advance(2.1)
        assert harness.words(harness.wires[0])[3:] == words


@trait
def release_soon() -> None:
    """The same, where audio came before the end."""
    for soon, words in ((None, []), (0.2, ["release"])):
        harness = opened(traits(QUIET, release_after=2.0, release_soon=soon))
        speech = harness.speak("Hello. ", end=False)
        harness.audio(speech)
        harness.end(speech)
        harness.advance(0.3)
        assert harness.words(harness.wires[0])[3:] == words


@trait
def ends_released() -> None:
    """The end of the audio frees the slot, or a message of its own does."""
    for released, held in ((True, 0), (False, 1)):
        harness = opened(traits(QUIET, ends_released=released))
        speech = harness.speak("Hello. ")
        harness.audio(speech)
        harness.done(speech)
        assert speech.state is SpeechState.RECEIVED
        assert len(harness.wires[0].generations) == held


@trait
def source_pause() -> None:
    """A generation that gets no text is ended before the provider does it."""
    for pause, words in ((None, []), (5.0, ["end"])):
        harness = opened(traits(QUIET, source_pause=pause))
        harness.speak("Hello. ", end=False)
        harness.advance(4.5)
        assert harness.words(harness.wires[0])[2:] == words


# --- what is said where nobody says anything ------------------------------------------------------


@trait
def formats() -> None:
    """The first is the default, and no other than these."""
    adapter = Toy(shape=traits(QUIET, formats=("pcm_16000", "alaw_8000")))
    assert adapter.options().format.name == "pcm_16000"
    assert attrs.evolve(adapter, format="alaw_8000").options().format.name == "alaw_8000"
    with pytest.raises(InvalidFormat, match="it has pcm_16000, alaw_8000"):
        attrs.evolve(adapter, format="pcm_8000").options()


@trait
def voice_required() -> None:
    assert Toy(shape=QUIET).options().voice is None
    with pytest.raises(InvalidVoice, match="pass voice="):
        Toy(shape=traits(QUIET, voice_required=True)).options()


def default(name: str) -> None:
    """The trait stands in where the option is missing, and only there."""
    adapter = Toy(shape=traits(QUIET, **{name: "theirs"}))
    assert getattr(adapter.options(), name) == "theirs"
    assert getattr(attrs.evolve(adapter, **{name: "mine"}).options(), name) == "mine"
    assert getattr(Toy(shape=QUIET).options(), name) is None


@trait
def voice() -> None:
    default("voice")


@trait
def language() -> None:
    default("language")


@trait
def model() -> None:
    default("model")


# --- what is for the shells -----------------------------------------------------------------------


def heard(shape: Traits, size: int = 4, **environment: str) -> tuple[bytes, list[str | None]]:
    """Speak to a server that answers with *size* bytes; return them, and the keys that came."""
    keys: list[str | None] = []

    class Shaped(Toy):
        traits = shape

    def answer(wire: ServerConnection) -> None:
        assert wire.request is not None
        keys.append(wire.request.headers.get("Authorization"))
        for frame in wire:
            assert isinstance(frame, str)
            kind, _, id = frame.partition(" ")
            if kind == "end":
                wire.send(f"audio {id} {'x' * size}")
                wire.send(f"end {id}")

    with pytest.MonkeyPatch.context() as patch, serve(answer, "127.0.0.1", 0) as server:
        for name, value in environment.items():
            patch.setenv(name, value)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
            retry, pool = RetryPolicy(attempts=1), PoolLimits(min_idle=0)
            with Client(Shaped(shape=shape), base_url=url, retry=retry, pool=pool) as client:
                return client.speak("Hello.").read(), keys
        finally:
            server.shutdown()
            thread.join(30.0)


@trait
def key_variable() -> None:
    """The key is in the environment variable of this name."""
    shape = traits(QUIET, key_variable="MADE_UP_KEY")
    assert heard(shape, MADE_UP_KEY="s3cret", TOY_KEY="another")[1] == ["s3cret"]


@trait
def key_required() -> None:
    """Where there need be none, the variable is not even looked at."""
    shape = traits(QUIET, key_required=False)
    assert heard(shape, TOY_KEY="s3cret")[1] == [None]

    class Shaped(Toy):
        traits = QUIET

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOY_KEY", raising=False)
        with pytest.raises(AuthError, match="set TOY_KEY"):
            Client(Shaped())


@trait
def max_message() -> None:
    """A longer one is refused, and all who speak on that connection with it."""
    shape = traits(QUIET, max_message=1000)
    assert heard(shape, size=900)[0] == b"x" * 900
    with pytest.raises(Error, match="1000 bytes"):
        heard(shape, size=1100)
    assert len(heard(QUIET, size=1100)[0]) == 1100
