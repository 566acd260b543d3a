"""Warble's server, simulated: its rules and its messages."""

from typing import ClassVar
from uuid import UUID

import attrs

from ttsmux.simulate import (
    JSON,
    Chunk,
    CustomProvider,
    CustomSession,
    Encoding,
    Generation,
    Request,
    Response,
)

SLOTS = 5


class WarbleSession(CustomSession):
    """One socket: nothing before the key, then up to five voices."""

    greeted = False

    def receive(self, message: JSON) -> None:
        gen = self.generation_of(message)
        match message:
            case {"hello": str(key)} if not self.greeted:
                self.greeted = self.provider.accepts(key)
                if not self.greeted:
                    return self.close(4401, "who are you?")
                return self.send({"hi": True})
            case _ if not self.greeted:
                self.violation("nothing goes before hello")
                return self.close(4400, "no hello")
            case {"still": True}:
                return None
            case {"bye": True}:
                return self.close(1000)
            case {"say": str(text), "voice": str(voice), "id": str(id)}:
                return self._say(gen, id, voice, text)
            case _ if gen is None:
                return None  # it has ended meanwhile
            case {"nudge": True}:
                return self.flush(gen)
            case {"done": True}:
                return self.end(gen)
            case {"hush": True}:
                return self.interrupt(gen, lambda: self._tell(gen, gone=True))
        self.violation(f"what is {sorted(message)}?")
        return self.close(4400, "what?")

    def _say(self, gen: Generation | None, id: str, voice: str, text: str) -> None:
        if not 1 <= len(text) <= 500:
            self.violation("say takes 1 to 500 characters")
        if gen is None and len(self.generations) == SLOTS:
            self.violation("a sixth voice")
            return self.close(4429, "too many voices")
        if gen is None:
            encoding = Encoding(int(self.request.query["rate"]))
            gen = self.start(id, voice=voice, encoding=encoding)
        return self.say(gen, text) if gen is not None else None

    def _tell(self, gen: Generation, **what: object) -> None:
        self.send({**what, "id": gen.id}, gen)

    def audio(self, gen: Generation, chunk: Chunk) -> None:
        rate = gen.encoding.rate
        if words := [(w.text, round(w.start * rate), round(w.stop * rate)) for w in chunk.words]:
            self._tell(gen, words=words)
        self.send_binary(UUID(gen.id).bytes, gen, chunk.data)

    def done(self, gen: Generation, *, marker: bool) -> None:
        if marker:
            self._tell(gen, quiet=True)
            self._tell(gen, gone=True)

    def failed(self, gen: Generation | None, message: str) -> None:
        if gen is None:
            self.send({"oops": message})
            return self.close(4500, message)
        self._tell(gen, oops=message)
        return self.cut(gen, "error")


@attrs.frozen(kw_only=True)
class WarbleProvider(CustomProvider):
    """The options of the simulated Warble: ``key`` and ``require_key``."""

    name: ClassVar[str] = "warble"
    path: ClassVar[str] = "/v2/speak"
    default_voice: ClassVar[str] = "robin"
    cancels: ClassVar[bool] = True
    session_type: ClassVar[type[CustomSession]] = WarbleSession

    def secret(self, request: Request) -> str:
        return ""  # it comes in a message

    def admit(self, stage: object, request: Request) -> Response | None:
        return None
