"""
Speak with an adapter of somebody else's package, by its name, with installed packages and no more.

Run by the package session of the noxfile, once tests/thirdparty is installed.
"""

import sys
from pathlib import Path

import ttsmux
from ttsmux.simulate import Simulator


def main() -> None:
    with Simulator("warble") as simulator:
        with ttsmux.Client("warble", base_url=simulator.url) as tts:
            audio = tts.speak("Hello there.").read()
        assert len(audio) > 0, "nothing was heard"
        assert not [one for one in simulator.log if one["event"] == "violation"]
    import warble

    home = Path(str(warble.__file__)).resolve()
    assert home.is_relative_to(Path(sys.prefix).resolve()), f"not what was installed: {home}"
    print(f"warble: {len(audio)} bytes")


if __name__ == "__main__":
    main()
