"""What every transport takes for granted about TLS."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def default_context() -> ssl.SSLContext:
    """Return the platform's TLS defaults: loaded once, it takes many milliseconds."""
    return ssl.create_default_context()
