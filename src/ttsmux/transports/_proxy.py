"""
Whether a dial goes through a proxy, and how to ask one for a tunnel.

The rule is one for all transports: loopback never; otherwise a URL that was set, or what the
environment says (``wss_proxy``, ``https_proxy``, ``all_proxy`` and so on, but for ``no_proxy``).
Only HTTP proxies are spoken to.
"""

from __future__ import annotations

import os
import sys
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from ttsmux._net import has_blanks, is_loopback, with_scheme
from ttsmux.errors import ProxyError
from ttsmux.transports._http import Endpoint, Undialable, basic, join

if TYPE_CHECKING:
    from ttsmux.transports._exchange import Exchange

# As browsers and websockets do it: the way of its own, then SOCKS, then the proxy for the web.
# Nobody has a proxy for ws:// alone, and an HTTPS proxy is as good at CONNECT as any.
_SCHEMES = {True: ("wss", "socks", "https", "all"), False: ("ws", "socks", "https", "http", "all")}


@attrs.frozen
class Proxy:
    """An HTTP proxy; *authorization* is the value of the header of that name."""

    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Host and port, as people write them."""
        return join(self.host, self.port)

    def tunnel(self, endpoint: Endpoint) -> Exchange:
        """Return the request for a tunnel to *endpoint*; any 2xx grants it."""
        from ttsmux.transports._exchange import Exchange

        headers = [("Host", endpoint.address)]
        if self.authorization is not None:
            headers.append(("Proxy-Authorization", self.authorization))
        return Exchange("CONNECT", endpoint.address, headers)


def proxy_for(setting: str | None, endpoint: Endpoint) -> Proxy | None:
    """Return the proxy to use, or None to dial directly. Raises `Undialable`."""
    if setting is None or is_loopback(endpoint.host):
        return None
    url = _from_environment(endpoint) if setting == "env" else setting
    if url is None:
        return None
    found = _parse(url)
    if isinstance(found, Proxy):
        return found
    if setting == "env":
        found += " (the environment names it; pass proxy= for another, or None to go direct)"
    raise Undialable(ProxyError(found, phase="dial"))


def flaw_of(url: str) -> str | None:
    """Say what is wrong with *url* as that of a proxy, or None."""
    found = _parse(url)
    if not isinstance(found, Proxy):
        return found
    parts = urllib.parse.urlsplit(with_scheme(url))
    if parts.path in ("", "/") and not parts.query and not parts.fragment:
        return None
    return "the URL of the proxy ends after its host or port: a tunnel has no path and no query"


def of_environment() -> Mapping[str, str]:
    """Return the proxies that the environment names, by scheme."""
    # Where the environment is all there is to ask, as on Linux, it mostly names none: that is seen
    # without all that urllib.request imports.
    if sys.platform not in ("darwin", "win32") and not any(
        name.lower().endswith("_proxy") for name in os.environ
    ):
        return {}
    from urllib.request import getproxies

    return getproxies()


def _from_environment(endpoint: Endpoint) -> str | None:
    proxies = of_environment()
    if not proxies:
        return None
    from urllib.request import proxy_bypass

    if proxy_bypass(endpoint.address):
        return None
    for scheme in _SCHEMES[endpoint.secure]:
        if url := proxies.get(scheme):
            # macOS gives the address of a SOCKS proxy as if it were one for HTTP.
            return url.replace("http://", "socks5://") if scheme == "socks" else url
    return None


def _parse(url: str) -> Proxy | str:
    """Take the URL of a proxy apart, or say what is wrong, without its user and password."""
    parts = _split(with_scheme(url))
    if parts is None:
        return "the URL of the proxy cannot be understood; it looks like http://host:port"
    scheme, proxy = parts
    if scheme != "http":
        return f"a proxy must be an http:// URL; {scheme}:// is not supported"
    return proxy


def _split(url: str) -> tuple[str, Proxy] | None:
    # The exceptions of urllib quote the URL, so none may get away.
    try:
        parts = urllib.parse.urlsplit(url)
        if not parts.scheme.isalnum() or not parts.hostname or has_blanks(parts.hostname):
            return None
        authorization = None
        if parts.username is not None:
            user, password = (
                urllib.parse.unquote(part or "") for part in (parts.username, parts.password)
            )
            authorization = basic(user, password)
        return parts.scheme, Proxy(parts.hostname, parts.port or 80, authorization)
    except ValueError:
        return None
