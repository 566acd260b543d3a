"""
What is HTTP about a dial: where it goes, with which headers, and one request with its answer.

Pure: bytes go in and come out. The threads' transport makes its upgrade with it, all of them make
CONNECT with it.
"""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Iterable

import attrs
import h11

from ttsmux._net import has_blanks, is_header_name, is_header_value
from ttsmux._version import __version__
from ttsmux.errors import Error
from ttsmux.transports import _failures
from ttsmux.transports.base import Target

_PORTS = {"ws": 80, "wss": 443}
_MAX_HEAD = 64 * 1024
# What RFC 3986 allows in a path or query besides letters and digits, and the escape itself.
_URL_SAFE = "/?:@!$&'()*+,;=-._~%[]"


class Undialable(Exception):
    """The target makes no sense; says so in `error`."""

    def __init__(self, error: Error) -> None:
        super().__init__(str(error))
        self.error = error


@attrs.frozen
class Endpoint:
    """
    A URL taken apart.

    Attributes:
        host: without brackets, in lower case.
        path, query: quoted; either may be empty.
        user, password: of the URL, unquoted.
    """

    secure: bool
    host: str
    port: int
    path: str = attrs.field(repr=False)
    query: str = attrs.field(repr=False)
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Host and port, as people write them."""
        return join(self.host, self.port)

    @property
    def authority(self) -> str:
        """What belongs into the Host header."""
        if self.port == _PORTS["wss" if self.secure else "ws"]:
            return f"[{self.host}]" if ":" in self.host else self.host
        return self.address

    @property
    def resource(self) -> str:
        """What to ask the server for."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")


def join(host: str, port: int) -> str:
    """Return ``host:port``, with brackets where they are needed."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoint(url: str) -> Endpoint:
    """Take *url* apart. Raises `Undialable`."""
    parts = _split(url)
    if parts is None:
        msg = (
            "the address to dial must be a ws:// or wss:// URL with a host, and without a fragment"
        )
        raise Undialable(_failures.not_dialled(msg))
    return parts


def _split(url: str) -> Endpoint | None:
    # The exceptions of urllib and of the codecs quote the URL, so none may get away.
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname
        if not host or parts.fragment or has_blanks(url):
            return None
        return Endpoint(
            secure=parts.scheme == "wss",
            host=host if host.isascii() else host.encode("idna").decode(),
            port=port,
            path=urllib.parse.quote(parts.path, safe=_URL_SAFE),
            query=urllib.parse.quote(parts.query, safe=_URL_SAFE),
            user=_unquoted(parts.username),
            password=_unquoted(parts.password or ""),
        )
    except (KeyError, ValueError):
        return None


def _unquoted(part: str | None) -> str | None:
    return None if part is None else urllib.parse.unquote(part, errors="strict")


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def headers_of(target: Target) -> dict[str, str]:
    """
    Return the headers that *target* adds to an upgrade; each replaces one of the same name.

    Raises `Undialable` for what no header can hold: a line break would begin another header.
    """
    headers = {"User-Agent": f"ttsmux/{__version__}"}
    for name, value in target.headers.items():
        if not is_header_name(name) or not is_header_value(value):
            msg = "a header of the upgrade has a character that no header can have"
            raise Undialable(_failures.not_dialled(msg))
        for other in [known for known in headers if known.lower() == name.lower()]:
            del headers[other]
        headers[name] = value
    return headers


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

        Raises `h11.RemoteProtocolError` for what is no HTTP and `EOFError` for no answer at all.
        """
        if not data and self.status is None:
            raise EOFError
        try:
            self._http.receive_data(data)
            return self._advance()
        except h11.RemoteProtocolError:
            # A body that breaks off or breaks rules does not unsay the status.
            if self.status is None:
                raise
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
