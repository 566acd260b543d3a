"""
A question to a provider beside speaking: which voices are there?

An `Inquiry` decides what is asked, what the answers come to, and when it is over; it needs no seat
and no connection of the pool. A shell asks for as long as it is not over: it dials what `handshake`
says, sends an empty body and reports to it what comes, as to the sink of any HTTP request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..adapter import Closed, DialFailure, Handshake, Voice, status_error
from ..errors import AuthError, ConfigError, ConnectionLost, Error, RemoteProtocolError
from .route import Plan

_MOST_PAGES = 100
_MOST_BYTES = 16 * 1024 * 1024
"""Of one answer. A voice takes a kilobyte or two."""
_OF_SETTINGS = (400, 404, 422)


class Inquiry:
    """One question of as many requests as its answer has pages. Nobody else may report to it."""

    def __init__(self, plan: Plan) -> None:
        """Raises `ConfigError` where the provider has no list of its voices."""
        self.plan = plan
        self.over = False
        self._voices: list[Voice] = []
        self._page: str | None = None
        self._pages: set[str | None] = set()
        self._body = bytearray()
        self._whole = False
        self._refreshed = False
        self._error: Error | None = None
        if self._asked(None) is None:
            msg = "this provider has no list of its voices; its documentation or website names them"
            raise ConfigError(msg, provider=plan.adapter.name, phase="config")

    def _asked(self, secret: str | None) -> Handshake | None:
        try:
            return self.plan.adapter.list_voices(secret, self._page)
        except Error:
            raise
        except Exception as exc:
            msg = f"the adapter could not ask for its provider's voices ({type(exc).__name__})"
            error = ConfigError(msg, provider=self.plan.adapter.name, phase="dial")
        # Outside of it: the key is among the variables of what the adapter raised.
        raise error

    def handshake(self, secret: str | None) -> Handshake:
        """
        Say how to ask next.

        Raises:
            InsecureEndpoint: the key would travel in plain text to another machine.
            ConfigError: the adapter cannot say.
        """
        self._body.clear()
        self._whole = False
        asked = self._asked(secret)
        if asked is None:
            msg = "the adapter asks for the first page of its provider's voices, not for the next"
            raise ConfigError(msg, provider=self.plan.adapter.name, phase="dial")
        return self.plan.route.addressed(asked, secret)

    # --- what comes -------------------------------------------------------------------------------

    def answered(self, headers: Mapping[str, str]) -> None:
        """An answer began, and it is a success."""

    def message(self, data: bytes, text: bool) -> None:
        """A piece of it came; an empty one is its end."""
        self._whole = self._whole or not data
        if len(self._body) <= _MOST_BYTES:
            self._body += data

    def pong(self) -> None:
        """A request is never asked whether it is alive."""

    def reply(self, frames: Sequence[object]) -> None:
        """Nor does it ask."""

    def lost(self, fault: Closed | DialFailure | Error) -> None:
        """The request is over, well or not."""
        if isinstance(fault, Closed) and self._whole:
            self._read()
        elif isinstance(fault, Error):
            self.fail(fault)
        elif isinstance(fault, DialFailure):
            self.fail(self._judged(fault))
        else:
            self.fail(ConnectionLost("the connection ended before the answer did"))

    def fail(self, error: Error) -> None:
        """There will be no answer; but a key that may have been old is fetched anew, once."""
        error.provider = error.provider or self.plan.adapter.name
        error.phase = error.phase or "dial"
        self.plan.route.clean(error)
        if isinstance(error, AuthError) and self.plan.route.refreshable and not self._refreshed:
            self._refreshed = True
            return
        self._error, self.over = error, True

    def _judged(self, failure: DialFailure) -> Error:
        if failure.status in _OF_SETTINGS:
            # To an adapter it is about a voice and settings, which nobody sent here.
            return status_error(failure)
        try:
            return self.plan.adapter.verdict(failure, False).error
        except Exception as exc:
            return ConnectionLost(f"a failure could not be judged ({type(exc).__name__})")

    def _read(self) -> None:
        if len(self._body) > _MOST_BYTES:
            self.fail(RemoteProtocolError(f"the list of voices has more than {_MOST_BYTES} bytes"))
            return
        try:
            found = self.plan.adapter.decode_voices(bytes(self._body))
        except Error as error:
            self.fail(error)
            return
        except Exception as exc:
            msg = f"the list of voices cannot be read ({type(exc).__name__})"
            self.fail(RemoteProtocolError(msg))
            return
        self._voices += found.voices
        self._pages.add(self._page)
        self._page = found.next
        if found.next is None:
            self.over = True
        elif found.next in self._pages or len(self._pages) >= _MOST_PAGES:
            self.fail(RemoteProtocolError("the list of voices does not come to its end"))

    def result(self) -> tuple[Voice, ...]:
        """Return the voices, once it is over, or raise why there are none."""
        assert self.over, "it is asked for when it is over"
        if self._error is not None:
            raise self._error.with_traceback(None)
        return tuple(self._voices)
