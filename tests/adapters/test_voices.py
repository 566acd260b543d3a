"""How providers are asked for their voices, and what they answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

import ttsmux
from ttsmux.adapter import Adapter, Voice, VoicePage
from ttsmux.errors import RemoteProtocolError

SECRET = "sk-5ecret"
# Either surface of a provider has the same list.
ADAPTERS: dict[str, tuple[Adapter, ...]] = {
    "xai": (ttsmux.XAI(), ttsmux.XAIRest()),
    "elevenlabs": (ttsmux.ElevenLabs(voice="v"), ttsmux.ElevenLabsRest(voice="v")),
    "kugelaudio": (ttsmux.KugelAudio(voice="7"), ttsmux.KugelAudioRest(voice="7")),
}
EACH = [(name, adapter) for name, pair in ADAPTERS.items() for adapter in pair]
HEADERS = {
    "xai": {"Authorization": f"Bearer {SECRET}"},
    "elevenlabs": {"xi-api-key": SECRET},
    "kugelaudio": {"X-API-Key": SECRET},
}
URLS = {
    "xai": ("https://api.x.ai/v1/tts/voices", "https://api.x.ai/v1/tts/voices"),
    "elevenlabs": (
        "https://api.elevenlabs.io/v2/voices?page_size=100&include_total_count=false",
        "https://api.elevenlabs.io/v2/voices"
        "?page_size=100&include_total_count=false&next_page_token=a%2Fb",
    ),
    "kugelaudio": (
        "https://api.kugelaudio.com/v1/voices?limit=100&offset=0",
        "https://api.kugelaudio.com/v1/voices?limit=100&offset=100",
    ),
}


def read(name: str, answer: object) -> VoicePage:
    return ADAPTERS[name][0].decode_voices(json.dumps(answer).encode())


@pytest.mark.parametrize(("name", "adapter"), EACH)
def test_the_first_page_is_asked_for(name: str, adapter: Adapter) -> None:
    shake = adapter.list_voices(SECRET)
    assert shake is not None
    assert (shake.url, shake.headers) == (URLS[name][0], HEADERS[name])
    bare = adapter.list_voices(None)
    assert bare is not None and bare.headers == {}


@pytest.mark.parametrize(("name", "adapter"), EACH)
def test_another_page_is_asked_for(name: str, adapter: Adapter) -> None:
    """A token is quoted: it comes from the server, and goes into a URL."""
    shake = adapter.list_voices(SECRET, "a/b" if name == "elevenlabs" else "100")
    assert shake is not None and shake.url == URLS[name][1]


def test_regions_have_hosts_of_their_own() -> None:
    eleven = ttsmux.ElevenLabs(voice="v", region="eu").list_voices(SECRET)
    assert eleven is not None and eleven.url.startswith("https://api.eu.residency.elevenlabs.io/")
    kugel = ttsmux.KugelAudio(voice="7").list_voices("eu-" + SECRET)
    assert kugel is not None and kugel.url.startswith("https://api.eu.kugelaudio.com/")
    assert kugel.headers == HEADERS["kugelaudio"], "the prefix is not the server's business"


@pytest.mark.parametrize("adapter", [ttsmux.Gradium(voice="v"), ttsmux.SM()])
def test_providers_without_a_list_that_is_documented(adapter: Adapter) -> None:
    assert adapter.list_voices(SECRET) is None


def test_xai() -> None:
    """docs.x.ai, voice API reference: all at once; a language is not always said."""
    answer = {"voices": [{"voice_id": "eve", "name": "Eve", "language": "en"}, {"voice_id": "ara"}]}
    assert read("xai", answer) == VoicePage(
        voices=(Voice(id="eve", name="Eve", languages=("en",)), Voice(id="ara", name="ara"))
    )


def test_elevenlabs() -> None:
    """elevenlabs.io/docs, list voices (v2): a voice is verified for a language and a model."""
    answer = {
        "voices": [
            {
                "voice_id": "21m00Tcm4TlvDq8ikWAM",
                "name": "Rachel",
                "category": "premade",
                "description": "calm\nand clear",
                "labels": {"accent": "American"},
                "verified_languages": [
                    {"language": "en", "model_id": "eleven_v3"},
                    {"language": "en", "model_id": "eleven_flash_v2_5"},
                    {"language": "de", "model_id": "eleven_v3"},
                ],
            }
        ],
        "has_more": True,
        "total_count": 0,
        "next_page_token": "t2",
    }
    rachel = Voice(
        id="21m00Tcm4TlvDq8ikWAM",
        name="Rachel",
        languages=("en", "de"),
        description="calm and clear",
    )
    assert read("elevenlabs", answer) == VoicePage(voices=(rachel,), next="t2")
    for last in ({"has_more": False}, {"next_page_token": None}, {"next_page_token": ""}):
        assert read("elevenlabs", {**answer, **last}).next is None


def test_kugelaudio() -> None:
    """docs.kugelaudio.com, endpoints/voices: the next page begins behind this one."""
    emma = {
        "id": 1071,
        "name": "Emma",
        "description": "Warm, friendly female voice",
        "supported_languages": ["en", "de"],
    }
    page = read("kugelaudio", {"voices": [emma], "total": 83, "limit": 1, "offset": 20})
    assert page.next == "21"
    assert page.voices == (
        Voice(
            id="1071",
            name="Emma",
            languages=("en", "de"),
            description="Warm, friendly female voice",
        ),
    )
    assert read("kugelaudio", {"voices": [emma], "total": 21, "offset": 20}).next is None
    # Nor does one lead on that has nothing on it, whatever it says of a total.
    assert read("kugelaudio", {"voices": [], "total": 83, "offset": 20}).next is None


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{}", b"[]", b'{"voices":{}}', b'{"voices":[{}]}', b"\xff", b"[" * 100_000],
)
def test_what_is_no_list(name: str, body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not the JSON it should be"):
        ADAPTERS[name][0].decode_voices(body)


ODD: tuple[Any, ...] = (None, 7, ["en", 7, None, ""], {"en": 1}, "\u202e\n", [{"language": 7}, 3])


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ADAPTERS)
def test_what_only_people_read_may_be_anything(name: str, odd: Any) -> None:
    """It is left out; the voice is there all the same, and no line of it breaks a terminal."""
    id = 7 if name == "kugelaudio" else "7"
    names = ("name", "description", "language", "verified_languages", "supported_languages")
    voice = {"id": id, "voice_id": str(id), **dict.fromkeys(names, odd)}
    (found,) = read(name, {"voices": [voice]}).voices
    assert (found.id, found.name, found.description) == ("7", "7", None)
    assert all(line and line.isprintable() for line in found.languages)
