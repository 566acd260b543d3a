"""
The shortest way to a simulated provider of your own.

A protocol needs two classes: a `CustomProvider`, which says where the socket is and how a key
travels, and a `CustomSession`, which reads the client's messages and writes the provider's::

    class MySession(CustomSession):
        def receive(self, message): ...            # what the client sends
        def audio(self, gen, chunk): ...           # a piece of speech, to be sent as you do
        def done(self, gen, *, marker): ...        # the end marker, unless a fault drops it
        def failed(self, gen, message): ...        # the error message

    class MyProvider(CustomProvider):
        name, path, default_voice, cancels = "mine", "/v1/tts", "ada", True
        session_type = MySession

    Simulator(MyProvider(key="secret"), faults=["reset@request:1,chunk:2"])

Text, speech, pace, the log and the faults are done by what these derive from. To be found by name,
as in ``Simulator("mine")``, register the provider as an entry point of the group
``ttsmux.simulators``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs

from .faults import Moment
from .generation import Generation
from .provider import Provider, Stage, flag
from .session import JSON, Session
from .sound import Encoding
from .wire import Request, Response, Wire

__all__ = ["CustomProvider", "CustomSession"]

_UNSUPPORTED = 1003


@attrs.frozen(kw_only=True)
class CustomProvider(Provider):
    """
    A provider with the options that every one should have; add yours as attrs fields.

    The key is looked for in ``Authorization: Bearer``, and refused at the upgrade; override
    `secret` or `admit` where that is not so. To be set in the class are:

    * `name` (str): what the provider is called;
    * `path` (str): where its socket is; override `serves` where that is not one fixed path;
    * `default_voice` (str): the voice to ask for where somebody just wants to hear something;
    * `cancels` (bool): whether there is a cancel message, which the acknowledgement faults are
      about;
    * `base64` (bool, True unless set): whether audio on the socket is base64, which one fault
      spoils;
    * `session_type`: your `CustomSession`.

    Attributes:
        key: the only one that is accepted; None accepts any.
        require_key: whether none at all is refused, too; a client on loopback needs no key.
    """

    session_type: ClassVar[type[CustomSession]]
    """The class of the sessions; one is made for each socket that was upgraded."""

    key: str | None = attrs.field(default=None, repr=False)
    require_key: bool = flag(False)

    def accepts(self, secret: str) -> bool:
        """Tell whether *secret* is the key; empty where there was none."""
        if self.key is not None:
            return secret == self.key
        return bool(secret) or not self.require_key

    def secret(self, request: Request) -> str:
        """Return the key that *request* carries, to be kept out of the log; empty if none."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def admit(self, stage: Stage, request: Request) -> Response | None:
        """
        Refuse an upgrade with a response, or let it pass with None. Called for each.

        Override it to check the query as well, and call it first: it checks the key.
        """
        if not self.accepts(self.secret(request)):
            return self.refusal(401, "Missing or invalid API key")
        return None

    def session(self, stage: Stage, wire: Wire, conn: int, request: Request) -> Session:
        return self.session_type(self, stage, wire, conn, request)


class CustomSession(Session):
    """
    One socket, with what most protocols need.

    A protocol has to write four methods, which are called:

    * `receive`: for each JSON object that the client sends;
    * `audio`: for each piece of speech, when it is due;
    * `done`: when all of a generation has been sent;
    * `failed`: when an ``error`` fault strikes or the speech engine fails.

    It may override others:

    * `opened`: called once, right after the upgrade; send a greeting here;
    * `prepare`: awaited before the first audio of a generation;
    * `check`: called before each piece; end here what has lived too long;
    * `hungry`: called when all complete words are spoken and more text is awaited;
    * `flushed`: called when everything before a `flush` has been sent;
    * `left`: called when a generation is not open any more, however it ended;
    * `reject`: called for what is no JSON object;
    * `generation_of`: called for each message, to note in the log whose it is;
    * `confides`: called for each message, where the key may be in one;
    * `pinged`: called for each WebSocket ping.

    In them it calls, about a generation: `start`, `say`, `flush`, `end`, `interrupt` and `cut`; to
    write to the client: `send`, and for audio `send_audio`, `send_binary` or `send_sound`; when the
    client has broken a rule: `violation`; to be called back: `later`; to hang up: `close`.
    All of it runs in one event loop: nothing here may block.

    Attributes:
        generations: those that are open, by the id that `start` was given: None where there are no
            ids. One leaves it by itself when it has ended.
        request: the upgrade: its query and headers.
        provider: the one whose session this is, with its options.
        stage: what all sessions of the simulator share.
        wire: the socket; ``wire.open`` says whether anything can still be sent.
        conn: the connection's number, from 1, as in the log.
    """

    audio_field: ClassVar[str] = "audio"
    """The field that `send_audio` puts the base64 in."""
    id_field: ClassVar[str] = "id"
    """The field of the client's messages that names a generation."""

    def __init__(
        self, provider: CustomProvider, stage: Stage, wire: Wire, conn: int, request: Request
    ) -> None:
        super().__init__(stage, wire, conn)
        self.provider = provider
        self.request = request
        self.generations: dict[str | None, Generation] = {}

    def start(
        self, id: str | None, *, voice: str, encoding: Encoding, language: str | None = None
    ) -> Generation | None:
        """
        Begin a generation, and return it; None: a fault ended it at once.

        Call it when the client's message opens one. *id* is what the client calls it, None where
        the protocol has no ids. It speaks as soon as `say` has given it words.
        """
        gen = self.create(id, voice, language, encoding)
        self.generations[id] = gen
        return gen if self.begin(gen) else None

    def say(self, gen: Generation, text: str) -> None:
        """Take text of *gen*; its words are spoken as soon as they are complete."""
        gen.feed.add(text)
        gen.touch()

    def flush(self, gen: Generation) -> None:
        """Speak what there is, complete or not; `flushed` is called when it has been sent."""
        gen.feed.flush()
        gen.touch()

    def end(self, gen: Generation) -> None:
        """Take no more text of *gen*; `done` is called when all of it has been sent."""
        gen.feed.end()
        gen.touch()

    def interrupt(self, gen: Generation | None, acknowledge: Callable[[], None]) -> None:
        """
        Stop *gen* and call *acknowledge*, or do what an acknowledgement fault says.

        Call it for the client's cancel message; *acknowledge* sends the provider's answer to it.
        With None for *gen* there is nothing to stop, and the answer is sent all the same.
        """
        if gen is not None:
            gen.interrupt()

        def stop() -> None:
            if gen is not None:
                self.cut(gen, "interrupt")
            acknowledge()

        fault = next(iter(self.faults(Moment.CANCEL, gen)), None)
        match fault and fault.action:
            case "no-ack":
                pass
            case "late-ack":
                assert fault is not None
                self.acknowledge_late(fault, gen, stop)
            case "speak-on":
                if gen is not None:
                    self.detach(gen)
                acknowledge()
            case _:
                stop()

    def send_binary(self, head: bytes, gen: Generation, data: bytes) -> None:
        """Send audio as a binary message: *head*, then *data*. Call it in `audio`."""
        if self.wire.open:
            frame: JSON = {"audio_bytes": len(data), "head": head.hex()}
            facts = {"chunk": gen.chunks, "after_interrupt": gen.interrupted}
            self.log("send", gen, frame=frame, **facts)
            self.wire.send_binary(head + data)

    # What a protocol may have otherwise

    def reject(self, message: str) -> None:
        """Answer something that is no JSON object, by closing with 1003. It is logged already."""
        self.close(_UNSUPPORTED, message)

    def generation_of(self, message: JSON) -> Generation | None:
        """Tell for the log which open generation *message* belongs to: the one in `id_field`."""
        id = message.get(self.id_field)
        return self.generations.get(id) if id is None or isinstance(id, str) else None

    def left(self, gen: Generation) -> None:
        """Take *gen* out of `generations`, for it is not open any more. Call this if overriding."""
        if self.generations.get(gen.id) is gen:
            del self.generations[gen.id]
