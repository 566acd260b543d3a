"""Which proxies the environment names, and who is asked."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Mapping

import pytest

from ttsmux.transports._proxy import of_environment

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"https_proxy": PROXY},
        {"HTTPS_PROXY": PROXY},
        {"All_Proxy": PROXY},
        {"no_proxy": "*"},
        {"https_proxy": ""},
        {"https_proxy": PROXY, "HTTPS_PROXY": "http://other.example:1"},
        {"http_proxy": PROXY, "REQUEST_METHOD": "GET"},
    ],
)
def test_it_is_what_python_finds(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    """Also where Python need not be asked."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert of_environment() == urllib.request.getproxies()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_a_system_that_has_settings_of_its_own_is_asked(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    """Though the environment names none."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": PROXY})
    assert of_environment() == {"https": PROXY}
