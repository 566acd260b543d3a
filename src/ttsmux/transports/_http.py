"""
What is HTTP about a dial: where it goes, and with which headers.

Pure. One request with its answer is in ``_exchange.py``; requests whose answer is the audio are
made by ``http.py``.
"""

from __future__ import annotations

import base64
import urllib.parse

import attrs

from ttsmux._net import has_blanks, is_header_name, is_header_value
from ttsmux._version import __version__
from ttsmux.errors import Error
from ttsmux.transports import _failures
from ttsmux.transports.base import Target

WEBSOCKET, REQUEST = ("ws", "wss"), ("http", "https")
"""Schemes, each with and without TLS."""
_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}
# What RFC 3986 allows in a path or query besides letters and digits, and the escape itself.
_URL_SAFE = "/?:@!$&'()*+,;=-._~%[]"


class Undialable(Exception):
    """The target makes no sense; says so in `error`."""

    def __init__(self, error: Error) -> None:
        super().__init__(str(error))
        self.error = error


class NoHTTP(Exception):
    """What a peer answered is no HTTP."""


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


def endpoint(url: str, schemes: tuple[str, str] = WEBSOCKET) -> Endpoint:
    """Take *url* apart. Raises `Undialable`."""
    parts = _split(url, schemes)
    if parts is None:
        known = " or ".join(f"{scheme}://" for scheme in schemes)
        msg = f"the address to dial must be a {known} URL with a host, and without a fragment"
        raise Undialable(_failures.not_dialled(msg))
    return parts


def _split(url: str, schemes: tuple[str, str]) -> Endpoint | None:
    # The exceptions of urllib and of the codecs quote the URL, so none may get away.
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname
        if parts.scheme not in schemes:
            return None
        if not host or parts.fragment or has_blanks(url):
            return None
        return Endpoint(
            secure=parts.scheme == schemes[1],
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
