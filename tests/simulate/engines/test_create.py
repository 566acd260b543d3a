"""Which engine one gets."""

import pytest

from ttsmux.simulate.engines import EngineUnavailable, create_engine, espeak

NOTHING = (espeak.Source("nowhere", "/nonexistent/libespeak-ng.so"),)


def test_tone_is_always_there():
    """It needs nothing, says what it is and may be closed twice."""
    engine = create_engine("tone")
    assert engine.name == "tone"
    assert "not speech" in engine.describe()
    engine.close()
    engine.close()


def test_auto_falls_back_to_tone(monkeypatch: pytest.MonkeyPatch):
    """Where no espeak-ng works, the simulators beep."""
    monkeypatch.setattr(espeak, "find_sources", lambda: NOTHING)
    assert create_engine().name == "tone"


@pytest.mark.parametrize("sources", [(), NOTHING])
def test_espeak_by_name_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, sources: tuple[espeak.Source, ...]
):
    """Who asks for espeak gets espeak or an error, never beeps."""
    monkeypatch.setattr(espeak, "find_sources", lambda: sources)
    with pytest.raises(EngineUnavailable, match=r"pip install 'ttsmux\[local\]'"):
        create_engine("espeak")


def test_other_names_are_refused():
    """A misspelt engine is an error of the caller."""
    with pytest.raises(ValueError, match="'flute'"):
        create_engine("flute")
