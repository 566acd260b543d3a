"""
Speak with an installed wheel and nothing else: no extras, no checkout, no test packages.

Run by the package session of the noxfile; exits with a traceback where something is missing.
"""

import asyncio
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import ttsmux
from ttsmux.simulate import Simulator

OPTIONS = {"voice": "eve", "language": "en"}


def speak_from_threads(url: str) -> bytes:
    with ttsmux.Client("xai", base_url=url, **OPTIONS) as tts:
        return tts.speak("Hello there.").read()


async def speak_from_tasks(url: str) -> bytes:
    async with ttsmux.AsyncClient("xai", base_url=url, **OPTIONS) as tts:
        return await tts.speak("Hello there.").read()


def check_command_without_its_extra(*arguments: str) -> None:
    command = Path(sysconfig.get_path("scripts"), "ttsmux")
    done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=120)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == 2, (arguments, done)
    assert "\n" not in said, said
    assert "pip install 'ttsmux[cli]'" in said, said


def main() -> None:
    home = Path(ttsmux.__file__).resolve()
    assert home.is_relative_to(Path(sys.prefix).resolve()), f"not the wheel: {home}"
    assert ttsmux.__version__ == version("ttsmux")
    assert (home.parent / "py.typed").exists()
    with Simulator("xai") as simulator:
        heard = {
            "Client": speak_from_threads(simulator.url),
            "AsyncClient": asyncio.run(speak_from_tasks(simulator.url)),
        }
    for client, audio in heard.items():
        assert len(audio) > 0, f"{client} heard nothing"
        print(f"{client}: {len(audio)} bytes")
    check_command_without_its_extra("say", "Hello there.")


if __name__ == "__main__":
    main()
