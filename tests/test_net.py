"""Addresses and headers, told by their looks."""

import pytest

from ttsmux._net import has_blanks, is_header_name, is_header_value, is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost.",
        "LocalHost",
        "127.0.0.1",
        "127.1.2.3",
        "127.255.255.255",
        "::1",
        "0:0:0:0:0:0:0:1",
        "::1%lo",
        "::ffff:127.0.0.1",
        "::FFFF:7f00:1",
    ],
)
def test_this_machine_is_known_by_its_names(host: str) -> None:
    """All of 127.0.0.0/8 is, and ::1 however it is written."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        ".",
        "example.com",
        "localhost.example.com",
        "xlocalhost",
        "localhost..",
        "127.0.0.1.example.com",
        "127.0.0.1.",
        "126.0.0.1",
        "128.0.0.1",
        "0.0.0.0",
        "192.168.0.1",
        "::",
        "::2",
        "::ffff:192.168.0.1",
        "::ffff:0.0.0.0",
        "fe80::1",
        "[::1]",
    ],
)
def test_other_machines_are_not_this_one(host: str | None) -> None:
    """A name that only looks like it may lead anywhere."""
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["app.localhost", "APP.localhost.", ".localhost"])
def test_a_name_below_localhost_may_lead_elsewhere(host: str) -> None:
    """Not every resolver keeps it from the name servers, and a key would go where they say."""
    assert not is_loopback(host)


@pytest.mark.parametrize("name", ["X-Team", "authorization", "x_1!#$%&'*+.^`|~"])
def test_names_of_headers(name: str) -> None:
    assert is_header_name(name)


@pytest.mark.parametrize("name", ["", "X Team", "X-Team:", "X\r\n", "X\n", "clé", "a(b)"])
def test_what_no_header_is_called(name: str) -> None:
    assert not is_header_name(name)


@pytest.mark.parametrize("value", ["", "a", "a b", "a\tb", "Bearer sk-1", "caf\xe9"])
def test_values_of_headers(value: str) -> None:
    assert is_header_value(value)


@pytest.mark.parametrize("value", [" ", " a", "a ", "a\t", "a\r\nX: b", "a\n", "\0", "\x7f", "€"])
def test_what_no_header_can_hold(value: str) -> None:
    """A space at an end would not arrive."""
    assert not is_header_value(value)


def test_blanks() -> None:
    """Those that parsers of URLs take out by themselves, too."""
    assert not has_blanks("wss://eu.example:443/a?b#c")
    for blank in " \t\r\n\0\x1f\x7f":
        assert has_blanks(f"wss://eu{blank}.example")
