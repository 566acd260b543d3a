"""
One HTTP request with its answer, where a protocol is switched: an upgrade, or a CONNECT.

Pure: bytes go in and come out. The threads' transport makes its upgrade with it, all of them make
CONNECT with it; nothing else imports it, for h11 takes as long to import as all of a transport.
"""

from __future__ import annotations

from collections.abc import Iterable

import h11

from ttsmux.transports import _failures
from ttsmux.transports._http import NoHTTP

_MAX_HEAD = 64 * 1024


class Exchange:
    """
    One request and the beginning of its answer, up to where the protocol is switched.

    Send `request`, then pass on what comes with `receive` until it says that the answer is there.

    Attributes:
        request: what to send.
        status: of the answer; None before it came.
        headers: of the answer, names in lower case, values of the same name joined.
        body: of a refusal, its beginning.
    """

    def __init__(self, method: str, resource: str, headers: Iterable[tuple[str, str]]) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        head = self._http.send(h11.Request(method=method, target=resource, headers=encoded))
        self._tunnel = method == "CONNECT"
        self._http.send(h11.EndOfMessage())
        self.request: bytes = head or b""
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""

    @property
    def rest(self) -> bytes:
        """What came behind the answer."""
        return self._http.trailing_data[0]

    def receive(self, data: bytes) -> bool:
        """
        Take in *data*, empty where the peer is done; return whether the answer is complete.

        Raises `NoHTTP` for what is none, and `EOFError` for no answer at all.
        """
        if not data and self.status is None:
            raise EOFError
        try:
            self._http.receive_data(data)
            return self._advance()
        except h11.RemoteProtocolError as exc:
            # A body that breaks off or breaks rules does not unsay the status.
            if self.status is None:
                raise NoHTTP from exc
            return True

    def _advance(self) -> bool:
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA:
                    return False
                case h11.InformationalResponse(status_code=101) | h11.Response():
                    self.status = event.status_code
                    self._note(event.headers)
                    if self._tunnel or event.status_code == 101:
                        return True
                case h11.InformationalResponse():
                    pass
                case h11.Data():
                    self.body += bytes(event.data)
                    if len(self.body) >= _failures.EXCERPT:
                        return True
                case _:
                    return True

    def _note(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            known = self.headers.get(name)
            self.headers[name] = value if known is None else f"{known}, {value}"
