"""
What may be said about an address or a header without asking anybody.

The core, the transports and the client must be of one opinion about these.
"""

from __future__ import annotations

import ipaddress
import re

_BLANK = re.compile(r"[\x00-\x20\x7f]")
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")


def is_loopback(host: str | None) -> bool:
    """
    Return whether *host*, without brackets, can be no other machine than this one.

    Of names that is ``localhost`` alone. RFC 6761 keeps all below it for loopback too, but not
    every resolver follows: some ask the name servers for ``app.localhost``, and a key must not go
    in plain text to whom these name.
    """
    if host is None:
        return False
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.11 does not look into ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def with_scheme(url: str) -> str:
    """Return the URL of a proxy in full: many write no more than host and port."""
    return url if "://" in url else f"http://{url}"


def has_blanks(url: str) -> bool:
    """Return whether *url* has a space or a control character; some parsers drop those unsaid."""
    return _BLANK.search(url) is not None


def is_header_name(name: str) -> bool:
    """Return whether a header can be called *name*."""
    return _TOKEN.fullmatch(name) is not None


def is_header_value(value: str) -> bool:
    """Return whether a header can hold *value*: a line break would begin another header."""
    return _VALUE.fullmatch(value) is not None
