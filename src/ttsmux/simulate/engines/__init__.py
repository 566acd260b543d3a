"""
The voices of the provider simulators.

A simulator needs sound to send. Two engines make it: ``tone`` writes every word as a row of
beeps which `decode` reads back, and needs nothing; ``espeak`` speaks, with a library the user
installs. Both answer one blocking call with one `Utterance`. Pacing, chunking, codecs and
everything a provider would do with the sound is for the simulators to decide.
"""

from ttsmux.simulate.engines.model import (
    RATES,
    Engine,
    EngineFailed,
    EngineTimeout,
    EngineUnavailable,
    Utterance,
    Word,
)

__all__ = [
    "RATES",
    "Engine",
    "EngineFailed",
    "EngineTimeout",
    "EngineUnavailable",
    "Utterance",
    "Word",
    "create_engine",
]


def create_engine(name: str = "auto") -> Engine:
    """
    Return the engine called *name*: ``tone``, ``espeak`` or ``auto``.

    ``auto`` is espeak-ng if some copy of it works here, else tone. Both ``auto`` and ``espeak``
    start the speaking process to be sure, so they block for a moment. The caller must
    `close` what it gets. Raises `EngineUnavailable` if espeak was asked for by name and
    cannot be had.
    """
    check_engine_name(name)
    match name:
        case "tone":
            return _tone()
        case "espeak":
            return _espeak()
    try:
        return _espeak()
    except EngineUnavailable:
        return _tone()


def check_engine_name(name: str) -> None:
    """Raise ValueError for a name that no engine has."""
    if name not in ("tone", "espeak", "auto"):
        raise ValueError(f"no engine is called {name!r}; there are tone, espeak and auto")


# The engines are imported when asked for: the espeak worker imports this package too, in a
# process of its own where start-up time is what the first utterance waits for.


def _tone() -> Engine:
    from ttsmux.simulate.engines.tone import ToneEngine

    return ToneEngine()


def _espeak() -> Engine:
    from ttsmux.simulate.engines.espeak import EspeakEngine

    engine = EspeakEngine()
    try:
        engine.start()
    except BaseException:
        engine.close()
        raise
    return engine
