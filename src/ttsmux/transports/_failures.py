"""
Sentences for what goes wrong on a wire, the same for every library underneath.

They name a host and a port and never a path, a query, a header or a key: those hold secrets. Where
a library's own exception may repeat such things it is not chained either.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl

from ttsmux.adapter import DialFailure
from ttsmux.errors import (
    ConfigError,
    ConnectError,
    ConnectionLost,
    DNSError,
    Error,
    HandshakeError,
    ProxyError,
    RemoteProtocolError,
    TLSError,
    TruncatedAudio,
)

EXCERPT = 4096
"""Bytes of the body of a refused upgrade that are worth keeping."""

# What a gateway says of a server that may be back in a moment.
_TRANSIENT = frozenset({502, 503, 504})


def unreachable(exc: Exception, address: str) -> Error:
    """Say why there is no TCP connection to *address*."""
    if isinstance(exc, socket.gaierror):
        host = address.rpartition(":")[0]
        msg = f"the name {host} could not be resolved: {exc.strerror}"
        return DNSError(msg, phase="dial")
    if isinstance(exc, UnicodeError):
        # The IDNA codec refuses names with labels that are empty or too long.
        return DNSError(f"{address} is no host name", phase="dial")
    code = _code(exc)
    if code == errno.ECONNREFUSED:
        return ConnectError(f"{address} refused the connection", phase="dial")
    because = f": {os.strerror(code)}" if code is not None else ""
    return ConnectError(f"{address} cannot be reached{because}", phase="dial")


def insecure(exc: Exception, address: str) -> Error:
    """Say why the TLS handshake with *address* failed."""
    # SSLCertVerificationError is an OSError and a ValueError too: it has to come first.
    if isinstance(exc, ssl.SSLCertVerificationError):
        msg = f"the certificate of {address} was not accepted: {exc.verify_message}"
        return TLSError(msg, phase="dial")
    if isinstance(exc, ssl.SSLError) and not isinstance(
        exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    ):
        return TLSError(f"TLS with {address} failed: {exc.reason or 'no reason'}", phase="dial")
    msg = f"{address} ended the connection during the TLS handshake"
    return ConnectError(msg, phase="dial")


def no_server_name(host: str) -> Error:
    """Say that the ssl module does not take *host* as the name of a server."""
    return TLSError(f"{host} is no name that a certificate can have", phase="dial")


def cut(address: str) -> Error:
    """Say that the connection ended before the upgrade was answered."""
    msg = f"{address} ended the connection before it answered the upgrade"
    return ConnectError(msg, phase="dial")


def no_http(address: str) -> Error:
    """Say that the answer to the upgrade was not HTTP."""
    msg = f"{address} answered the upgrade with something else than HTTP"
    return HandshakeError(msg, phase="dial")


def unanswered(address: str) -> Error:
    """Say that the connection ended before the request was answered."""
    msg = f"{address} ended the connection before it answered the request"
    return ConnectError(msg, phase="dial")


def no_answer(address: str) -> Error:
    """Say that the answer to a request was not HTTP."""
    msg = f"{address} answered the request with something else than HTTP"
    return HandshakeError(msg, phase="dial")


def unread_request(address: str, seconds: float) -> Error:
    """Say that the peer did not read the request."""
    msg = f"{address} took nothing of the request for {seconds:g} s"
    return ConnectError(msg, phase="dial")


def cut_short(address: str) -> Error:
    """Say that the answer ended before its own end."""
    return TruncatedAudio(f"{address} ended the connection in the middle of its answer")


def broke_off(address: str) -> Error:
    """Say that the connection broke in the middle of the answer."""
    return ConnectionLost(f"the connection to {address} broke in the middle of the answer")


def broke_http(address: str, what: str) -> Error:
    """Say that an answer is not as HTTP, or we, need it."""
    return RemoteProtocolError(f"the answer of {address} cannot be used: {what}")


def no_upgrade(address: str, what: str) -> Error:
    """Say that the answer was 101 and yet no WebSocket came about."""
    return HandshakeError(f"{address} answered 101, but {what}", status=101, phase="dial")


def called_off() -> DialFailure:
    """Return the failure of a dial that nobody waits for any more."""
    return DialFailure(error=ConnectError("the dial was called off", phase="dial"))


def not_dialled(msg: str) -> Error:
    """Say that the target itself cannot be dialled."""
    return ConfigError(msg, phase="dial")


def no_proxy(exc: Exception, address: str) -> Error:
    """Say why there is no TCP connection to the proxy at *address*."""
    msg = f"no proxy: {unreachable(exc, address).message}"
    return ProxyError(msg, phase="dial", retryable=True)


def no_tunnel(address: str, status: int | None) -> Error:
    """Say that the proxy refused the tunnel, or with None that it gave no answer."""
    said = f"answered HTTP {status}" if status is not None else "gave no HTTP answer"
    msg = f"the proxy {address} {said} when asked for a tunnel"
    return ProxyError(msg, phase="dial", retryable=status is None or status in _TRANSIENT)


def broke_protocol(what: str) -> RemoteProtocolError:
    """Say which rule of WebSocket the peer broke."""
    return RemoteProtocolError(f"the peer broke the WebSocket protocol: {what}")


def too_large(limit: int) -> RemoteProtocolError:
    """Say that a message was larger than *limit*."""
    return RemoteProtocolError(f"the peer sent a message of more than {limit} bytes")


def unread_replies() -> RemoteProtocolError:
    """Say that the peer asks without end and does not read the answers."""
    return broke_protocol("it sends pings and does not read the pongs")


def _code(exc: BaseException) -> int | None:
    """Return the operating system's reason, also where a library wrapped it in exceptions."""
    seen: BaseException | None = exc
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno
        inner = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else None
        seen = inner or seen.__cause__
    return None
