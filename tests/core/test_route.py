"""Where a speech may go, and what the user's settings make of an adapter."""

import random
from collections.abc import Hashable
from typing import ClassVar

import attrs
import pytest

from tests.core.helpers import LEAN, MULTIPLEXED, SEQUENTIAL, Harness, Toy, traits
from ttsmux.adapter import Handshake, HoldBack, Input, Join, Options, Traits
from ttsmux.core.mux import Mux
from ttsmux.core.route import Plan, Route, is_loopback
from ttsmux.errors import ConfigError, InsecureEndpoint, InvalidFormat, InvalidVoice
from ttsmux.settings import Interrupt

KEY = "toy-secret"
KEYED = {"Authorization": KEY}


@attrs.frozen(kw_only=True)
class Local(Toy):
    """A provider whose own URL is not encrypted."""

    host: str = "127.0.0.1"

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return Handshake(url=f"ws://{self.host}:8080/speak#there")


@attrs.frozen(kw_only=True)
class Fussy(Toy):
    """A provider that checks its options."""

    traits: ClassVar[Traits] = SEQUENTIAL
    speed: float = attrs.field(default=1.0, validator=attrs.validators.le(2.0))


def shake(route: Route, secret: str | None = KEY) -> Handshake:
    return route.handshake(route.adapter, route.adapter.options(), secret)


# --- this machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1.2.3", "127.255.255.255", "::1", "0:0:0:0:0:0:0:1", "::1%lo"],
)
def test_this_machine_is_known_by_its_names(host: str) -> None:
    """All of 127.0.0.0/8 is, and ::1 however it is written."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "126.0.0.1",
        "128.0.0.1",
        "0.0.0.0",
        "192.168.0.1",
        "::",
        "::2",
        "fe80::1",
    ],
)
def test_other_machines_are_not_this_one(host: str | None) -> None:
    """A name that only looks like it may lead anywhere."""
    assert not is_loopback(host)


# --- policies -------------------------------------------------------------------------------------


def test_a_policy_that_the_protocol_does_not_allow_is_refused() -> None:
    """With the ones that it does."""
    with pytest.raises(ConfigError) as caught:
        Route(adapter=Toy(), interrupt=Interrupt.MUTE)
    assert str(caught.value) == (
        "toy: toy cannot mute an interrupted speech; it can: cancel, discard"
    )
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")


def test_the_users_policy_comes_before_the_adapters() -> None:
    """Without one it is the adapter's."""
    assert Route(adapter=Toy()).policy is Interrupt.CANCEL
    assert Route(adapter=Toy(), interrupt=Interrupt.DISCARD).policy is Interrupt.DISCARD
    assert Route(adapter=Toy(shape=MULTIPLEXED)).policy is Interrupt.MUTE
    assert Route(adapter=Toy(shape=MULTIPLEXED), interrupt=Interrupt.MUTE).policy is Interrupt.MUTE


# --- base_url -------------------------------------------------------------------------------------


def test_without_a_base_url_the_adapters_own_is_dialled() -> None:
    """With its headers."""
    assert shake(Route(adapter=Toy())).url == "wss://toy.example/speak?x=1"
    assert shake(Route(adapter=Toy())).headers == KEYED


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("wss://eu.example", "wss://eu.example/speak?x=1"),
        ("https://eu.example", "wss://eu.example/speak?x=1"),
        ("WSS://EU.example:8443", "wss://EU.example:8443/speak?x=1"),
        ("http://localhost:80", "ws://localhost:80/speak?x=1"),
        ("ws://127.0.0.1:9/", "ws://127.0.0.1:9/speak?x=1"),
        ("ws://[::1]:9", "ws://[::1]:9/speak?x=1"),
        ("wss://eu.example/its/path?its=query#there", "wss://eu.example/speak?x=1"),
    ],
)
def test_a_base_url_replaces_scheme_host_and_port(base: str, url: str) -> None:
    """Path and query stay the adapter's; HTTP becomes WebSocket."""
    assert shake(Route(adapter=Toy(), base_url=base)).url == url


@pytest.mark.parametrize(
    "base",
    [
        "",
        "eu.example",
        "eu.example:443",
        "//eu.example",
        "ftp://eu.example",
        "wss://",
        "wss:///speak",
        "wss://:443",
        "ws://[::1",
        "ws://localhost:port",
        "ws://localhost:99999",
        "ws://localhost:-1",
    ],
)
def test_a_base_url_that_is_none_is_refused_when_the_route_is_made(base: str) -> None:
    """Not at the first dial."""
    with pytest.raises(ConfigError, match="base_url must look like") as caught:
        Route(adapter=Toy(), base_url=base)
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")


# --- headers and keys -----------------------------------------------------------------------------


def test_the_users_headers_are_added_and_never_override() -> None:
    """In whatever case they are written."""
    route = Route(adapter=Toy(), headers={"X-Team": "a", "AUTHORIZATION": "mine"})
    assert shake(route).headers == {"X-Team": "a", **KEYED}
    assert shake(route, None).headers == {"X-Team": "a", "AUTHORIZATION": "mine"}


def test_headers_do_not_show() -> None:
    """They may hold a key."""
    assert "hush" not in repr(Route(adapter=Toy(), headers={"X-Key": "hush"}))


def test_a_key_does_not_travel_in_plain_text_to_another_machine() -> None:
    """Neither by the user's URL nor by the adapter's own."""
    route = Route(adapter=Toy(), base_url="http://proxy.example:80")
    with pytest.raises(InsecureEndpoint, match=r"the key would go to proxy\.example") as caught:
        shake(route)
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")
    assert KEY not in str(caught.value)
    with pytest.raises(InsecureEndpoint):
        shake(Route(adapter=Local(host="10.0.0.1")))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_key_may_go_to_this_machine(host: str) -> None:
    """A simulator has no certificate."""
    assert shake(Route(adapter=Toy(), base_url=f"ws://{host}:80")).headers == KEYED
    assert shake(Route(adapter=Local())).url == "ws://127.0.0.1:8080/speak#there"


def test_plain_text_is_allowed_to_those_who_mean_it() -> None:
    """And to those who have no key to lose."""
    base = "ws://proxy.example"
    assert shake(Route(adapter=Toy(), base_url=base, allow_plaintext=True)).headers == KEYED
    assert shake(Route(adapter=Toy(), base_url=base), None).url == "ws://proxy.example/speak?x=1"
    assert shake(Route(adapter=Toy(), base_url=base), "").headers == {}


# --- plans ----------------------------------------------------------------------------------------


def test_a_plan_without_overrides_is_the_route() -> None:
    """The same adapter, its defaults filled in."""
    route = Route(adapter=Toy(voice="eve"))
    plan = Plan.make(route, 2, {})
    assert plan.adapter is route.adapter
    assert plan.options == route.adapter.options()
    assert plan.key == (2, ("main", "eve", "pcm_8000"))


def test_an_override_is_an_option_of_this_speech_only() -> None:
    """It shows in the options and in the pool key, and leaves the route alone."""
    route = Route(adapter=Toy(voice="eve"))
    plan = Plan.make(route, 0, {"voice": "adam", "line": "other"})
    assert (plan.options.voice, plan.key) == ("adam", (0, ("other", "adam", "pcm_8000")))
    assert route.adapter.voice == "eve"


def test_equal_options_share_connections_on_one_route_only() -> None:
    """Two routes may be two accounts."""
    route = Route(adapter=Toy())
    assert Plan.make(route, 0, {"voice": "eve"}).key == Plan.make(route, 0, {"voice": "eve"}).key
    assert Plan.make(route, 0, {}).key != Plan.make(route, 1, {}).key


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    """A typing mistake must not be silent."""
    with pytest.raises(ConfigError) as caught:
        Plan.make(Route(adapter=Toy()), 0, {"voice": "eve", "vioce": "eve"})
    names = ", ".join(sorted(field.name for field in attrs.fields(Toy)))
    assert caught.value.message == f"toy has no option 'vioce'; it has {names}"
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")


@pytest.mark.parametrize("speed", [3.0, "fast", None])
def test_an_option_that_does_not_fit_is_refused(speed: object) -> None:
    """The adapter's own reason is kept."""
    with pytest.raises(ConfigError, match="an option of toy does not fit: ") as caught:
        Plan.make(Route(adapter=Fussy()), 0, {"speed": speed})
    assert isinstance(caught.value.__cause__, TypeError | ValueError)
    assert caught.value.phase == "config"


def test_common_options_are_checked_too() -> None:
    """Voice and format are looked at before anything is dialled."""
    with pytest.raises(InvalidVoice):
        Plan.make(Route(adapter=Toy()), 0, {"voice": "../eve"})
    with pytest.raises(InvalidFormat):
        Plan.make(Route(adapter=Toy()), 0, {"format": "pcm_48000"})


def test_a_voice_is_required_where_the_provider_requires_one() -> None:
    """A default voice of the provider's satisfies it."""
    with pytest.raises(InvalidVoice, match="a voice"):
        Plan.make(Route(adapter=Toy(shape=traits(voice_required=True))), 0, {})
    shape = traits(voice_required=True, voice="eve", language="en", model="m1")
    options = Plan.make(Route(adapter=Toy(shape=shape)), 0, {}).options
    assert (options.voice, options.language, options.model) == ("eve", "en", "m1")


def test_the_first_format_is_the_default() -> None:
    """Formats are the provider's, in its order."""
    shape = traits(formats=("mulaw_8000", "pcm_8000"))
    assert Plan.make(Route(adapter=Toy(shape=shape)), 0, {}).options.format.name == "mulaw_8000"


@attrs.frozen(kw_only=True)
class Broken(Toy):
    """An adapter with a fault in the part that makes the pool key."""

    def pool_key(self, options: Options) -> Hashable:
        raise KeyError("region")


def test_a_fault_of_an_adapter_fails_the_one_speech() -> None:
    """As an error of its own: it must not end everybody else's."""
    with pytest.raises(ConfigError, match="do not fit: KeyError: 'region'") as caught:
        Plan.make(Route(adapter=Broken()), 0, {})
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_cutter_follows_the_traits() -> None:
    """A provider that takes text whole is given sentences."""
    shape = traits(hold_back=HoldBack.WORD, join=Join.SPACE, max_text=99, markup=False)
    cutter = Plan.make(Route(adapter=Toy(shape=shape)), 0, {}).cutter
    assert (cutter.hold_back, cutter.join, cutter.limit) == (HoldBack.WORD, Join.SPACE, 99)
    assert not cutter.markup
    whole = Toy(shape=attrs.evolve(shape, input=Input.WHOLE))
    assert Plan.make(Route(adapter=whole), 0, {}).cutter.hold_back is HoldBack.SENTENCE


# --- in use ---------------------------------------------------------------------------------------


def test_a_connection_asks_its_route_for_the_handshake() -> None:
    """The shell gets URL and headers from the connection that it is to dial."""
    harness = Harness()
    harness.speak()
    assert harness.wires[0].handshake(KEY).headers == KEYED


def test_a_client_has_a_route() -> None:
    """Without any there is nothing to speak with."""
    with pytest.raises(ConfigError, match="at least one route"):
        Mux([], LEAN, random.Random(1))
