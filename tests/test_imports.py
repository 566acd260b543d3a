"""
What a program imports that does one thing with the package: no more than that takes.

No times: what is imported is the same on every machine, and so is who pays for it. Each program
runs in an interpreter of its own; those that speak do so to a simulator in this process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import ttsmux
from ttsmux.adapters import OURS
from ttsmux.simulate import Simulator

NAMES = "import sys\nbefore = set(sys.modules)\n{}\nprint(*set(sys.modules) - before)"

LOOK = "import ttsmux"
CATCH = "import ttsmux; ttsmux.Error; ttsmux.Secret; ttsmux.Timeouts()"
THREADS = """
import ttsmux
with ttsmux.Client("xai", api_key="a-key", base_url=sys.argv[1]) as tts:
    assert tts.speak("Hello there.").read()
    assert tts.speak(iter(["Hello ", "again."])).read()
"""
TASKS = """
import {0}, ttsmux
async def main():
    async with ttsmux.AsyncClient("xai", api_key="a-key", base_url=sys.argv[1]) as tts:
        assert await tts.speak("Hello there.").read()
        assert await tts.speak(iter(["Hello ", "again."])).read()
{0}.run(main{1})
"""
PATHS = {
    "a look": LOOK,
    "errors and settings": CATCH,
    "threads": THREADS,
    "asyncio": TASKS.format("asyncio", "()"),
    "trio": TASKS.format("trio", ""),
}
SPEAKING = ("threads", "asyncio", "trio")

# What is installed and not Python's own. typing_extensions is msgspec's, and before 3.13 anyio's.
VALUES = {"attr", "attrs"}
DECODING = {"msgspec", "pybase64", "typing_extensions"}
LOOPS = {"anyio", "sniffio", "websockets"}
OTHERS: Mapping[str, set[str]] = {
    "a look": set(),
    "errors and settings": VALUES,
    "threads": VALUES | DECODING | {"h11", "websocket"},
    "asyncio": VALUES | DECODING | LOOPS,
    "trio": VALUES | DECODING | LOOPS | {"idna", "outcome", "sortedcontainers", "trio"},
}

NEVER = {
    "ttsmux.cli": "a program that is called, not imported",
    "ttsmux.simulate": "a server, for tests",
    "ttsmux.testing": "for who writes an adapter",
    "ttsmux.transports.http": "speaks over HTTP, with httpx: when somebody does",
    "ttsmux.transports._requests": "the same",
    "urllib.request": "tells of the system's proxies: where the environment names one",
    "http.client": "comes with it",
    "multiprocessing": "nobody needs processes",
    "unittest": "nobody tests",
}
THREADED = {
    "ttsmux.client.sync": "is the other side",
    "ttsmux.client._threads": "is the other side",
    "ttsmux.transports.websocket_client": "is the other side",
    "ttsmux.transports._exchange": "asks for tunnels, with h11: where there is a proxy",
}
LOOPED = {
    "ttsmux.client.aio": "is the other side",
    "ttsmux.client._tasks": "is the other side",
    "ttsmux.transports.websockets": "is the other side",
    "asyncio": "threads have no loop",
    "concurrent.futures": "comes with asyncio",
    "subprocess": "comes with asyncio",
    "email": "comes with importlib.metadata",
    "importlib.metadata": "reads what every package registers: for an adapter of somebody else's",
}
UNWANTED: Mapping[str, Mapping[str, str]] = {
    "a look": NEVER | THREADED | LOOPED,
    "errors and settings": NEVER | THREADED | LOOPED,
    "threads": NEVER | LOOPED,
    "asyncio": NEVER | THREADED | {"ttsmux.transports._trio": "is for another loop"},
    "trio": NEVER | THREADED | {"ttsmux.transports._asyncio": "is for another loop"},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Simulator("xai") as simulator:
        yield simulator.url


def imported(code: str, url: str, **variables: str) -> set[str]:
    """Return the modules that *code* imports, each by its full name."""
    # No proxy, as on most machines; where there is one, more is imported.
    own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-W", "error", "-c", NAMES.format(code), url]
    done = subprocess.run(
        command, env=own | variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def found(url: str) -> Mapping[str, set[str]]:
    return {path: imported(code, url) for path, code in PATHS.items()}


def packages(modules: set[str]) -> set[str]:
    """Return those that are neither Python's nor ours."""
    tops = {name.partition(".")[0] for name in modules}
    # `platform` and `copy` look for Java, which brings no module but its name.
    return tops - set(sys.stdlib_module_names) - {"ttsmux", "org"}


@pytest.mark.parametrize("path", PATHS)
def test_no_package_is_imported_that_the_path_does_not_use(
    found: Mapping[str, set[str]], path: str
) -> None:
    """Of those that are installed with it; a new one has to be let in here, with a reason."""
    assert packages(found[path]) <= OTHERS[path]


@pytest.mark.parametrize("path", SPEAKING)
def test_the_packages_that_are_let_in_are_used(found: Mapping[str, set[str]], path: str) -> None:
    """But for those that only some versions of the others import."""
    sometimes = {"idna", "outcome", "sniffio", "sortedcontainers", "typing_extensions"}
    assert OTHERS[path] - sometimes <= packages(found[path])


@pytest.mark.parametrize(
    ("path", "module"), [(path, name) for path, names in UNWANTED.items() for name in names]
)
def test_no_module_is_imported_that_the_path_does_not_use(
    found: Mapping[str, set[str]], path: str, module: str
) -> None:
    """Each has its reason."""
    assert module not in found[path], UNWANTED[path][module]


def test_the_modules_that_are_unwanted_are_called_so() -> None:
    """A name that nothing has any more would be unwanted for ever, and nobody the wiser."""
    root = Path(ttsmux.__file__).parent
    ours = {name for names in UNWANTED.values() for name in names if name.startswith("ttsmux.")}
    files = {name: root.joinpath(*name.split(".")[1:]) for name in ours}
    assert not [
        name for name, p in files.items() if not (p.is_dir() or p.with_suffix(".py").is_file())
    ]


def test_a_look_imports_of_ours_the_version_alone(found: Mapping[str, set[str]]) -> None:
    """All else when it is first named."""
    assert {name for name in found["a look"] if name.startswith("ttsmux")} == {
        "ttsmux",
        "ttsmux._version",
    }


@pytest.mark.parametrize("path", SPEAKING)
def test_no_adapter_is_imported_but_the_one_that_speaks(
    found: Mapping[str, set[str]], path: str
) -> None:
    """Nor what those need."""
    begins = tuple(f"ttsmux.adapters.{under}{name}" for name in OURS for under in ("", "_"))
    own = tuple(f"ttsmux.adapters.{under}xai" for under in ("", "_"))
    adapters = {name for name in found[path] if name.startswith(begins)}
    assert adapters and all(name.startswith(own) for name in adapters)


def test_what_is_imported_later_is_imported_where_it_is_used(url: str) -> None:
    """The other half: what the lists keep out is there for who asks for it."""
    proxy = {"https_proxy": "http://127.0.0.1:9"}
    assert "urllib.request" in imported(PATHS["threads"], url, **proxy)
    assert "urllib.request" in imported(PATHS["asyncio"], url, **proxy)
    over_http = THREADS.replace('Client("xai", ', "Client(ttsmux.XAIRest(), ")
    assert {"httpx", "ttsmux.transports.http"} <= imported(over_http, url)
    over_http = PATHS["asyncio"].replace('AsyncClient("xai", ', "AsyncClient(ttsmux.XAIRest(), ")
    spoken = imported(over_http, url)
    assert {"httpx", "ttsmux.transports.http"} <= spoken
    assert "websocket" not in spoken and "ttsmux.transports._trio" not in spoken


@pytest.mark.parametrize(
    ("path", "import_", "package"),
    [
        ("a look", "import attrs", "attrs"),
        ("threads", "import httpx", "httpx"),
        ("asyncio", "import websocket", "websocket"),
        ("asyncio", "import structlog", "structlog"),
    ],
)
def test_the_lists_catch_what_does_not_belong(
    url: str, path: str, import_: str, package: str
) -> None:
    """If somebody imports it on the way."""
    assert package in packages(imported(f"{import_}\n{PATHS[path]}", url)) - OTHERS[path]
