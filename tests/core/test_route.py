"""Where a speech may go, and what the user's settings make of an adapter."""

import random
from collections.abc import Hashable
from typing import ClassVar

import attrs
import pytest

from tests.core.helpers import LEAN, MULTIPLEXED, SEQUENTIAL, Harness, Toy, traits
from ttsmux.adapter import Handshake, HoldBack, Input, Join, Options, Traits
from ttsmux.core.mux import Mux
from ttsmux.core.route import Plan, Route, make_adapter
from ttsmux.errors import ConfigError, InsecureEndpoint, InvalidFormat, InvalidVoice, WrongType
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
    pitch: int = attrs.field(default=1, validator=attrs.validators.instance_of(int))
    line: str = attrs.field(default="main", validator=lambda self, field, value: value.encode())
    _secret: str = "hidden"  # an option by its alias, without the underscore
    made: int = attrs.field(default=7, init=False)


def shake(route: Route, secret: str | None = KEY) -> Handshake:
    return route.handshake(route.adapter, route.adapter.options(), secret)


# --- policies -------------------------------------------------------------------------------------


def test_a_policy_that_the_protocol_does_not_allow_is_refused() -> None:
    """With the ones that it does."""
    with pytest.raises(ConfigError) as caught:
        Route(adapter=Toy(), interrupt=Interrupt.MUTE)
    assert str(caught.value) == (
        "toy: interrupt='mute' is not possible here; possible: cancel, discard"
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
        ("wss://eu.example/?#", "wss://eu.example/speak?x=1"),
        ("wss://me:hush@eu.example", "wss://me:hush@eu.example/speak?x=1"),
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
        "ws://localhost:0",
        "wss://eu.example\n",
        " wss://eu.example",
        "wss://eu. example",
        "wss://me:hu/sh@eu.example",
    ],
)
def test_a_base_url_that_is_none_is_refused_when_the_route_is_made(base: str) -> None:
    """Not at the first dial."""
    with pytest.raises(ConfigError) as caught:
        Route(adapter=Toy(), base_url=base)
    like = "base_url must look like wss://host or http://host:port"
    assert str(caught.value) == f"toy: {like}"
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")


@pytest.mark.parametrize("rest", ["/v1", "/v1/", "//", "?region=hush", "/?hush", "#hush"])
def test_nothing_of_a_base_url_is_dropped_unsaid(rest: str) -> None:
    """Whoever writes a path means it, and the path is the adapter's."""
    with pytest.raises(ConfigError) as caught:
        Route(adapter=Toy(), base_url=f"wss://eu.example{rest}")
    assert str(caught.value) == (
        "toy: base_url ends after the host or port: path and query are the adapter's"
    )


@pytest.mark.parametrize("user", ["hush", "me:hush", "me:hu@sh", "hush:"])
def test_the_password_in_a_base_url_does_not_show(user: str) -> None:
    """Host and port do."""
    shown = repr(Route(adapter=Toy(), base_url=f"wss://{user}@eu.example:8443"))
    assert "base_url='wss://eu.example:8443'" in shown
    assert "hu" not in shown
    assert "base_url=None" in repr(Route(adapter=Toy()))


@pytest.mark.parametrize("rest", ["", ":1/hush", "?hush", ":hush"])
def test_no_complaint_about_a_base_url_shows_its_password(rest: str) -> None:
    """Whatever else is wrong with it."""
    for scheme in ("ws", "ftp"):
        base = f"{scheme}://me:hush@eu.example{rest}"
        with pytest.raises(ConfigError) as caught:
            shake(Route(adapter=Toy(), base_url=base))
        assert "hush" not in str(caught.value) + repr(caught.value)


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


def test_the_policy_of_one_speech_is_one_that_its_own_options_allow() -> None:
    """An endpoint that it alone asks for may know no other way to be interrupted."""
    route = Route(adapter=Toy(shape=MULTIPLEXED), interrupt=Interrupt.MUTE)
    assert Plan.make(route, 0, {}).policy is Interrupt.MUTE
    assert Plan.make(route, 0, {"shape": SEQUENTIAL}).policy is Interrupt.CANCEL
    unset = Route(adapter=Toy(shape=MULTIPLEXED))
    assert Plan.make(unset, 0, {"shape": SEQUENTIAL}).policy is Interrupt.CANCEL
    discards = Route(adapter=Toy(shape=MULTIPLEXED), interrupt=Interrupt.DISCARD)
    assert Plan.make(discards, 0, {"shape": SEQUENTIAL}).policy is Interrupt.DISCARD


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
    assert (
        str(caught.value)
        == f"toy: no option is called 'vioce'; did you mean voice=? there are: {names}"
    )
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")


def test_an_option_of_the_callers_own_is_told_from_those_of_an_adapter() -> None:
    """How it is written, where it is near to what was meant; and what else there is."""
    others = {
        "deadline": "deadline=",
        "timeout": "deadline=",
        "total": "timeouts=Timeouts(total=…)",
    }
    for name, meant in (("timeout", "did you mean deadline=? "), ("xyz", "")):
        with pytest.raises(ConfigError) as caught:
            Plan.make(Route(adapter=Toy()), 0, {name: 1}, others)
        told = str(caught.value)
        assert told.startswith(f"toy: no option is called {name!r}; {meant}there are: ")
        assert told.endswith("; besides them: deadline")
    with pytest.raises(ConfigError, match=r"did you mean timeouts=Timeouts\(total=…\)\?"):
        Plan.make(Route(adapter=Toy()), 0, {"totall": 1}, others)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"speed": 3.0}, ConfigError, "'speed' must be <= 2.0: 3.0"),
        ({"speed": "fast"}, WrongType, "'<=' not supported between"),
        ({"speed": None}, WrongType, "'<=' not supported between"),
        ({"pitch": "x"}, WrongType, "'pitch' must be <class 'int'> (got 'x' that is"),
        ({"line": "\ud800"}, ConfigError, "surrogates not allowed"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    options: dict[str, object], kind: type[Exception], words: str
) -> None:
    """The adapter's own reason is kept, and its sentence alone is told."""
    with pytest.raises(ConfigError) as caught:
        Plan.make(Route(adapter=Fussy()), 0, options)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("toy: an option does not fit: ")
    assert words in str(caught.value)
    assert "Attribute(" not in str(caught.value)
    assert isinstance(caught.value.__cause__, TypeError | ValueError)
    assert (caught.value.provider, caught.value.phase) == ("toy", "config")


def test_an_adapters_own_error_about_an_option_is_passed_on() -> None:
    """With the provider's name, once."""
    with pytest.raises(WrongType) as caught:
        Plan.make(Route(adapter=Toy()), 0, {"voice": 5})
    assert str(caught.value) == "toy: voice takes a str, not int"
    assert caught.value.__cause__ is None


def test_an_adapter_is_made_of_its_options() -> None:
    """As a client that is given a name does it; what it sets by itself is no option."""
    assert make_adapter(Toy, {"voice": "eve"}) == Toy(voice="eve")
    fussy = make_adapter(Fussy, {"secret": "open"})
    assert fussy == Fussy(secret="open")
    assert Plan.make(Route(adapter=fussy), 0, {"speed": 2.0}).adapter == Fussy(
        secret="open", speed=2.0
    )
    for name in ("made", "_secret", "shape_"):
        with pytest.raises(ConfigError, match=f"no option is called '{name}'"):
            make_adapter(Fussy, {name: 1})


class Mute(ValueError):
    """An error without a word."""


@attrs.frozen(kw_only=True)
class Terse(Toy):
    """A provider that says no and not why."""

    def __attrs_post_init__(self) -> None:
        if self.line == "none":
            raise ValueError
        if self.line == "mute":
            raise Mute


@pytest.mark.parametrize(("line", "name"), [("none", "ValueError"), ("mute", "Mute")])
def test_an_adapter_need_not_give_a_reason(line: str, name: str) -> None:
    """The error is a reason, too."""
    with pytest.raises(ConfigError, match=f"^toy: an option does not fit: {name}$"):
        make_adapter(Terse, {"line": line})


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
