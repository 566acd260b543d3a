"""What every adapter promises of the list of its provider's voices, where there is one."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from ..errors import ConfigError, RemoteProtocolError
from .cases import Stage
from .rules import SECRET
from .suite import Suite, case
from .world import KEY, World, provider_of

__all__ = ["VoiceCases", "VoiceRules"]

RUBBISH = (b"", b"null", b"[]", b"{}", b'{"voices":7}', b"\xff\xfe", b"<html>", b"[" * 100_000)


class VoiceRules(Suite):
    """The part that needs no network."""

    @case("voices: asked")
    def test_voices_are_asked_for_with_a_get(self) -> None:
        """Over HTTPS, with the key in a header and never in the URL."""
        asked = self.adapter.list_voices(SECRET)
        if asked is None:
            return
        assert urlsplit(asked.url).scheme == "https"
        assert SECRET not in asked.url
        assert any(SECRET in value for value in asked.headers.values())
        assert not asked.first_frames and not asked.subprotocols

    @case("voices: rubbish")
    def test_rubbish_is_no_list_of_voices(self) -> None:
        """Whatever answers, it is a list, or a `RemoteProtocolError`."""
        for body in RUBBISH:
            with pytest.raises(RemoteProtocolError):
                self.adapter.decode_voices(body)


class VoiceCases(Suite):
    """The part that needs a client and the simulated provider."""

    @case("voices")
    def test_a_list_of_voices(self, stage: Stage) -> None:
        """The provider's list has a voice that can be spoken with; without one it is said so."""
        voice = provider_of(self.simulated()).default_voice

        async def script(w: World) -> None:
            if self.adapter.list_voices(KEY) is None:
                with pytest.raises(ConfigError, match="no list"):
                    await w.voices()
                assert not w.sim.dials
                return
            ids = [found.id for found in await w.voices()]
            assert voice in ids
            assert len(set(ids)) == len(ids), "a voice is listed twice"
            w.no_complaints()

        stage.play(script)
