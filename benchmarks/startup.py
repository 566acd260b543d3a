"""
What a program pays before it speaks: imports in fresh interpreters, and what an install brings.

CPU of the process, user and system, less that of an interpreter that does nothing: it is steadier
than the time that passes. Each statement is run many times a round, one after the other.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from email.parser import HeaderParser
from pathlib import Path

import attrs

from .figures import Bound

ROOT = Path(__file__).parent.parent
CASE, SIZE_CASE = "start-up", "installed size"
TIMES = 10
MOST_OTHERS, MOST_MB = 13, 9.0

_MADE = "('xai', voice='eve', language='en', api_key='k')"


@attrs.frozen
class Start:
    """What a program begins with, and whom it is compared with."""

    name: str
    kind: str
    statement: str
    of: str | None = None
    python: str = sys.executable


WIRE_TASKS, WIRE_THREADS = "asyncio, anyio and websockets", "ssl and websocket-client"
MADE_TASKS, MADE_THREADS = "ttsmux, an AsyncClient made", "ttsmux, a Client made"
STARTS = (
    Start("ttsmux", "own", "import ttsmux"),
    Start(MADE_TASKS, "own", f"import ttsmux; ttsmux.AsyncClient{_MADE}", WIRE_TASKS),
    Start(MADE_THREADS, "own", f"import ttsmux; ttsmux.Client{_MADE}.close()", WIRE_THREADS),
    Start(WIRE_TASKS, "raw", "import ssl, anyio._backends._asyncio, websockets.client"),
    Start(WIRE_THREADS, "raw", "import ssl, websocket"),
)
FIGURE = "CPU ms"
BOUNDS = (
    Bound(case=CASE, name=MADE_TASKS, figure=FIGURE, of=WIRE_TASKS, limit=1.3),
    Bound(case=CASE, name=MADE_THREADS, figure=FIGURE, of=WIRE_THREADS, limit=1.3),
    Bound(case=SIZE_CASE, name="ttsmux", figure="other distributions", limit=MOST_OTHERS),
    Bound(case=SIZE_CASE, name="ttsmux", figure="MB", limit=MOST_MB),
)


def cpu_of(python: str, statement: str) -> float:
    """Return the CPU seconds of a fresh interpreter that runs *statement*."""
    # Where Python may not keep what it compiles, modules that no install has compiled, such as
    # ours in a checkout, would be compiled each time, and the others not.
    keeping = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [python, "-c", f"{statement}\nimport os; os._exit(0)"],
        cwd=tempfile.gettempdir(),
        env=keeping,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, statement)
    return used.ru_utime + used.ru_stime


def measure(starts: Sequence[Start], times: int = TIMES) -> dict[str, dict[str, float]]:
    """Measure one round: the median of *times* runs of each, less the bare interpreter's."""
    pythons = {start.python for start in starts}
    bare: dict[str, list[float]] = {python: [] for python in pythons}
    found: dict[str, list[float]] = {start.name: [] for start in starts}
    for _ in range(times):
        for python in pythons:
            bare[python].append(cpu_of(python, "pass"))
        for start in starts:
            found[start.name].append(cpu_of(start.python, start.statement))
    return {start.name: figures(found[start.name], bare[start.python]) for start in starts}


def figures(found: Sequence[float], bare: Sequence[float]) -> dict[str, float]:
    """Return the figures of one statement, from CPU seconds with it and without."""
    alone = statistics.median(bare)
    return {
        FIGURE: 1000 * (statistics.median(found) - alone),
        "with the interpreter, ms": 1000 * statistics.median(found),
    }


def installed(requirements: Sequence[str]) -> dict[str, float]:
    """Install *requirements* into a fresh virtual environment and weigh it."""
    with tempfile.TemporaryDirectory() as directory:
        python = make(Path(directory), requirements)
        return weigh(site_packages(python), own=names_of(requirements))


def make(directory: Path, requirements: Sequence[str]) -> str:
    """Make a virtual environment with *requirements*, or bring it up to them; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = str(directory / ("Scripts" if os.name == "nt" else "bin") / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *requirements], check=True, cwd=ROOT)
    return python


def site_packages(python: str) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", code], text=True).strip())


def names_of(requirements: Sequence[str]) -> set[str]:
    """Return the names of *requirements*; a path stands for this project."""
    found = set()
    for requirement in requirements:
        name = "ttsmux" if requirement in (".", str(ROOT)) else requirement
        for mark in "[=<>!~; ":
            name = name.partition(mark)[0]
        found.add(name.lower())
    return found


def weigh(directory: Path, *, own: set[str]) -> dict[str, float]:
    """Count the distributions in *directory* but *own* and the installer's, and all their bytes."""
    others, size = set(), 0
    for info in directory.glob("*.dist-info"):
        metadata = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        name = str(metadata["Name"]).lower()
        if name in ("pip", "setuptools", "wheel"):
            continue
        if name not in own:
            others.add(name)
        size += _bytes(info)
    return {"other distributions": len(others), "MB": size / 1e6}


def _bytes(info: Path) -> int:
    """Sum the files that *info* records, but what Python compiled."""
    total = 0
    for line in (info / "RECORD").read_text(encoding="utf-8").splitlines():
        file = info.parent / line.rsplit(",", 2)[0].strip('"')
        if file.suffix != ".pyc" and file.exists():
            total += file.stat().st_size
    return total


def starts_of(peers: Mapping[str, tuple[str, str]]) -> list[Start]:
    """Return all starts, and those of peers: by name, their Python and their statement."""
    others = [Start(name, "peer", each[1], None, each[0]) for name, each in peers.items()]
    return [*STARTS, *(start for start in others if start.statement)]
