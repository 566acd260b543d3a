"""A question beside speaking: what is asked, how often, and what the answers come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.core.helpers import LEAN, SEQUENTIAL, Harness, Toy
from ttsmux.adapter import (
    Closed,
    DialFailure,
    Failed,
    Handshake,
    Scope,
    Verdict,
    Voice,
    VoicePage,
)
from ttsmux.core import inquiry as module
from ttsmux.core.inquiry import Inquiry
from ttsmux.core.route import Route
from ttsmux.errors import (
    AuthError,
    ClosedError,
    ConfigError,
    ConnectionLost,
    Error,
    InsecureEndpoint,
    InvalidVoice,
    NotFoundError,
    PoolFull,
    RemoteProtocolError,
    TruncatedAudio,
)
from ttsmux.settings import PoolLimits

WHOLE = Closed(1000)


@attrs.frozen(kw_only=True)
class Choir(Toy):
    """Voices are words with blanks between; ``> PAGE`` says that there is another page."""

    pages: Callable[[str | None], Handshake | None] = attrs.field(
        default=lambda page: Handshake(url=f"https://toy.example/voices?page={page}")
    )

    def list_voices(self, secret: str | None, page: str | None = None) -> Handshake | None:
        asked = self.pages(page)
        headers = {"Authorization": secret} if secret else {}
        return attrs.evolve(asked, headers=headers) if asked else None

    def decode_voices(self, body: bytes) -> VoicePage:
        if body == b"fault":
            raise LookupError(body)
        if body == b"rubbish":
            raise RemoteProtocolError("that is no list")
        names, _, page = body.decode().partition(">")
        voices = tuple(Voice(id=name, name=name.title()) for name in names.split())
        return VoicePage(voices=voices, next=page.strip() or None)


def asked(adapter: Toy | None = None, **route: Any) -> Inquiry:
    routes = [Route(adapter=adapter or Choir(shape=SEQUENTIAL), **route)]
    return Harness(SEQUENTIAL, LEAN, routes=routes).mux.inquire()


def answer(inquiry: Inquiry, *pieces: bytes, secret: str | None = "s3cret") -> Handshake:
    """Ask, and have it answered whole."""
    shake = inquiry.handshake(secret)
    inquiry.answered({"content-type": "application/json"})
    for piece in (*pieces, b""):
        inquiry.message(piece, False)
    inquiry.pong()
    inquiry.reply(())
    inquiry.lost(WHOLE)
    return shake


def test_one_answer() -> None:
    """Cut anywhere; asked with the key."""
    inquiry = asked()
    shake = answer(inquiry, b"eve l", b"uz")
    assert shake.url == "https://toy.example/voices?page=None"
    assert shake.headers == {"Authorization": "s3cret"}
    assert inquiry.over
    assert inquiry.result() == (Voice(id="eve", name="Eve"), Voice(id="luz", name="Luz"))


def test_an_answer_of_pages() -> None:
    """One after the other, until there is no next."""
    inquiry = asked()
    urls = []
    for body in (b"eve > two", b"luz > three", b"kai"):
        assert not inquiry.over
        urls.append(answer(inquiry, body).url.partition("=")[2])
    assert urls == ["None", "two", "three"]
    assert [voice.id for voice in inquiry.result()] == ["eve", "luz", "kai"]


def test_an_adapter_that_asks_for_the_first_page_only() -> None:
    """Its fault is told as one; what it had found so far is not all there is."""
    inquiry = asked(
        Choir(pages=lambda page: None if page else Handshake(url="https://toy.example"))
    )
    answer(inquiry, b"eve > two")
    assert not inquiry.over
    with pytest.raises(ConfigError, match="not for the next") as caught:
        inquiry.handshake("s3cret")
    assert (caught.value.provider, caught.value.phase) == ("toy", "dial")


def test_the_users_settings_hold_for_questions_too() -> None:
    """Where to, other headers, and no key in plain text to another machine."""
    inquiry = asked(base_url="https://near.example:8443", headers={"X-Tenant": "me"})
    shake = inquiry.handshake("s3cret")
    assert shake.url == "https://near.example:8443/voices?page=None"
    assert shake.headers == {"X-Tenant": "me", "Authorization": "s3cret"}
    with pytest.raises(InsecureEndpoint, match="unencrypted"):
        asked(base_url="ws://near.example").handshake("s3cret")


def test_a_provider_without_a_list() -> None:
    """Nothing is asked."""
    with pytest.raises(ConfigError, match="no list of its voices") as caught:
        asked(Toy(shape=SEQUENTIAL))
    assert caught.value.provider == "toy"
    with pytest.raises(RemoteProtocolError, match="does not ask"):
        Toy().decode_voices(b"")


def test_a_client_that_takes_nothing_new() -> None:
    """A closed one answers no question; a full one does: it needs no seat."""
    harness = Harness(SEQUENTIAL, LEAN, routes=[Route(adapter=Choir(shape=SEQUENTIAL))])
    harness.mux.drain(harness.now)
    with pytest.raises(ClosedError):
        harness.mux.inquire()
    full = attrs.evolve(LEAN, pool=PoolLimits(max_size=1, max_waiting=1))
    harness = Harness(SEQUENTIAL, full, routes=[Route(adapter=Choir(shape=SEQUENTIAL))])
    harness.speak("One. ")
    with pytest.raises(PoolFull):
        harness.speak("Two. ")
    assert not harness.mux.inquire().over


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (Closed(None), ConnectionLost, "before the answer did"),
        (TruncatedAudio("cut"), TruncatedAudio, "cut"),
        (DialFailure(status=404), Error, "404"),
        (DialFailure(error=ConnectionLost("no")), ConnectionLost, "no"),
    ],
)
def test_a_request_that_fails(fault: Any, kind: type[Error], says: str) -> None:
    """It is not tried again; the error says who and when."""
    inquiry = asked()
    inquiry.handshake(None)
    inquiry.message(b"ev", False)
    inquiry.lost(fault)
    assert inquiry.over
    for _ in range(2):
        with pytest.raises(kind, match=says) as caught:
            inquiry.result()
    assert (caught.value.provider, caught.value.phase) == ("toy", "dial")


class Choosy(Choir):
    """Takes every refusal for one of its voice."""

    def verdict(self, fault: DialFailure | Closed | Failed, busy: bool) -> Verdict:
        return Verdict(Scope.CONNECTION, InvalidVoice("the server refused the settings"))


@pytest.mark.parametrize(
    ("status", "kind"), [(400, ConfigError), (404, NotFoundError), (422, ConfigError)]
)
def test_a_refusal_is_of_no_setting(status: int, kind: type[Error]) -> None:
    """There is no voice in the question; the server's own words are told."""
    inquiry = asked(Choosy(shape=SEQUENTIAL))
    inquiry.handshake(None)
    inquiry.lost(DialFailure(status=status, body="no such list"))
    with pytest.raises(kind) as caught:
        inquiry.result()
    assert type(caught.value) is kind
    assert str(caught.value) == f"toy: the server answered HTTP {status}: no such list"


@pytest.mark.parametrize("refreshable", [True, False])
def test_a_key_is_fetched_anew_once(refreshable: bool) -> None:
    """Where it can be; what a second one brings counts."""
    inquiry = asked(refreshable=refreshable)
    for _ in range(1 + refreshable):
        assert not inquiry.over
        inquiry.handshake("old")
        inquiry.lost(DialFailure(status=401))
    assert inquiry.over
    with pytest.raises(AuthError):
        inquiry.result()


def test_a_fresh_key_may_be_the_right_one() -> None:
    """And nothing of the refusal is in the answer."""
    inquiry = asked(refreshable=True)
    inquiry.handshake("old")
    inquiry.message(b"go away", False)
    inquiry.lost(DialFailure(status=403))
    answer(inquiry, b"eve")
    assert [voice.id for voice in inquiry.result()] == ["eve"]


@pytest.mark.parametrize(
    ("body", "says"), [(b"fault", "cannot be read.*LookupError"), (b"rubbish", "that is no list")]
)
def test_an_answer_that_cannot_be_read(body: bytes, says: str) -> None:
    """Whatever the decoder raises."""
    inquiry = asked()
    answer(inquiry, body)
    with pytest.raises(RemoteProtocolError, match=says):
        inquiry.result()


@pytest.mark.parametrize("pages", [["two", "two"], [str(n) for n in range(200)]])
def test_an_answer_without_an_end(pages: list[str]) -> None:
    """Pages that lead back, or on and on."""
    inquiry = asked()
    for page in pages:
        if not inquiry.over:
            answer(inquiry, b"eve >" + page.encode())
    with pytest.raises(RemoteProtocolError, match="does not come to its end"):
        inquiry.result()


def test_an_answer_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the limit is not kept."""
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    inquiry = asked()
    answer(inquiry, b"0123456789", b"0123456789", b"0123456789")
    assert len(inquiry._body) <= 20
    with pytest.raises(RemoteProtocolError, match="more than 10 bytes"):
        inquiry.result()


def test_an_adapter_that_cannot_ask() -> None:
    """Its own errors come through; others lose the variables in which the key is."""

    def fail(page: str | None) -> Handshake | None:
        raise KeyError(page)

    with pytest.raises(ConfigError, match=r"could not ask.*KeyError") as caught:
        asked(Choir(shape=SEQUENTIAL, pages=fail))
    assert caught.value.__context__ is caught.value.__cause__ is None

    def refuse(page: str | None) -> Handshake | None:
        raise ConfigError("not here")

    with pytest.raises(ConfigError, match="not here"):
        asked(Choir(shape=SEQUENTIAL, pages=refuse))


def test_an_adapter_that_cannot_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs this question, and says of which kind its fault was."""

    def fail(*_: object) -> Verdict:
        raise LookupError

    inquiry = asked()
    inquiry.handshake(None)
    monkeypatch.setattr(Choir, "verdict", fail)
    inquiry.lost(DialFailure(status=500))
    with pytest.raises(ConnectionLost, match=r"judged.*LookupError"):
        inquiry.result()
