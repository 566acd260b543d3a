"""
Gradium: many generations on one connection, told apart by an id.

There is no cancel: an interrupted generation is finished (`end_of_stream`) and muted by its id.
Wire facts are from docs.gradium.ai (tts-websocket, multiplexing, websocket-lifecycle, errors); see
docs/providers/gradium.md for what those leave open and what was chosen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar, Literal

import attrs

from ..adapter import (
    NUMBER,
    TEXT,
    WHOLE,
    Closed,
    DialFailure,
    Failed,
    Flush,
    Frame,
    Generation,
    Handshake,
    HoldBack,
    Join,
    Note,
    Options,
    OutputEnd,
    Scope,
    Signal,
    Traits,
    Verdict,
    Wire,
    json_frame,
    printable,
)
from ..errors import ConfigError, ConnectionLost
from ..settings import Interrupt
from ._checks import one_of
from ._gradium import CONCURRENCY, FORMATS, POLICY, GradiumVoice, meaning, policy_error, read
from ._gradium_rest import GradiumRest

__all__ = ["Gradium", "GradiumRest"]

_PROTOCOL = 1002


@attrs.frozen(kw_only=True)
class Gradium(GradiumVoice):
    """
    Gradium's text to speech over its WebSocket.

    Attributes:
        padding_bonus: speed, -4 to 4; negative is faster.
        temp: variation, 0 to 1.4.
        cfg_coef: similarity to the voice, 1 to 4.
        rewrite_rules: how numbers, dates and the like are read: ``"en"``, ``"fr"``, names
            of rules.
        pronunciation_id: a pronunciation dictionary.
        retry_for_s: how long the server itself waits for a free worker, seconds.
        seats: generations at once on one connection.
        id_field: name of the id in messages to the server; the vendor's blog post has
            ``client_request_id``.
    """

    traits: ClassVar[Traits] = Traits(
        seats=8,
        slots=10,
        ids=True,
        max_muted=2,
        interrupt=Interrupt.MUTE,
        policies=(Interrupt.MUTE, Interrupt.DISCARD),
        acknowledgement=10.0,
        hold_back=HoldBack.WORD,
        join=Join.SPACE,
        flush=Flush.MESSAGE,
        # The server drops a quiet connection after five minutes, and a session after 300 s (older
        # page) or 3000 s (newer): leave before either.
        max_idle=240.0,
        max_age=280.0,
        formats=FORMATS,
        voice_required=True,
        key_variable="GRADIUM_API_KEY",
    )

    pronunciation_id: str | None = attrs.field(default=None, validator=TEXT)
    retry_for_s: float | None = attrs.field(default=None, validator=NUMBER)
    seats: int = attrs.field(default=8, validator=WHOLE)
    # Under another name the server would see messages without an id.
    id_field: Literal["client_req_id", "client_request_id"] = attrs.field(
        default="client_req_id", validator=one_of("client_req_id", "client_request_id")
    )

    def __attrs_post_init__(self) -> None:
        if self.seats < 1:
            msg = f"seats must be 1 or more, not {self.seats}"
            raise ConfigError(msg, provider=self.name, phase="config")

    def tuned(self) -> Traits:
        if self.seats == self.traits.seats:
            return self.traits
        return attrs.evolve(self.traits, seats=self.seats, slots=self.seats + 2)

    def pool_key(self, options: Options) -> Hashable:
        # One output format a connection: mixing them is not documented to work.
        return options.format.name, self.seats, self.id_field

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(
            url="wss://api.gradium.ai/api/speech/tts",
            headers={"x-api-key": secret} if secret else {},
        )

    def open(self, gen: Generation) -> Iterable[Frame]:
        setup: dict[str, object] = {
            "type": "setup",
            self.id_field: gen.id,
            # Without this the server closes the connection after the first generation.
            "close_ws_on_eos": False,
            **self._settings(gen.options),
        }
        for key, value in (
            ("pronunciation_id", self.pronunciation_id),
            ("retry_for_s", self.retry_for_s),
        ):
            if value is not None:
                setup[key] = value
        return (json_frame(setup),)

    def text(self, gen: Generation, piece: str) -> Iterable[Frame]:
        return (json_frame({"type": "text", self.id_field: gen.id, "text": piece}),)

    def flush(self, gen: Generation) -> Iterable[Frame]:
        # There is no flush message; the tag, set off by the spaces that the server adds, is one.
        return self.text(gen, "<flush>")

    def end(self, gen: Generation) -> Iterable[Frame]:
        return (json_frame({"type": "end_of_stream", self.id_field: gen.id}),)

    def interrupt(self, gen: Generation) -> Iterable[Frame]:
        # Not a cancel: it lets the session at the server end. Never twice, and never without an id.
        return () if gen.ended else self.end(gen)

    def decode(self, data: bytes, wire: Wire) -> Iterable[Signal]:
        message = read(data)
        id = message.client_req_id or message.client_request_id
        if message.type == "end_of_stream":
            # An end without an id closes the connection; nobody asked for that.
            return (OutputEnd(id),) if id else (Note("end_of_stream without an id"),)
        return (meaning(message, id),)

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        match fault:
            case Failed(error=error, id=id):
                # The vendor's pages disagree on whether an error ends the connection: the others
                # finish, nothing new begins.
                return Verdict(Scope.CONNECTION if id is None else Scope.TAINT, error)
            case Closed(code=code, reason=reason) if code == POLICY or CONCURRENCY.search(reason):
                error = policy_error(printable(reason) or "the server closed with code 1008")
                return Verdict(Scope.CONNECTION, error)
            case Closed(code=code, reason=reason) if code == _PROTOCOL:
                words = printable(reason)
                error = ConnectionLost(
                    f"the server saw a protocol error ({words})",
                    code=code,
                    reason=words,
                    retryable=False,
                )
                return Verdict(Scope.CONNECTION, error)
            case _:
                return super().verdict(fault, busy)

    def rest(self) -> GradiumRest:
        """
        Return the same voice over HTTP.

        Raises:
            ConfigError: there is a pronunciation dictionary, which only the socket takes.
        """
        if self.pronunciation_id is not None:
            msg = "a pronunciation dictionary is for the socket only; leave pronunciation_id out"
            raise ConfigError(msg, provider=self.name, phase="config")
        shared = attrs.fields_dict(Gradium).keys() & attrs.fields_dict(GradiumRest).keys()
        return GradiumRest(**{name: getattr(self, name) for name in shared})
