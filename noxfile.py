"""
Everything CI runs, by session: ``nox -l`` lists them, ``nox -s tests -- tests/core`` runs a part.

Interpreters that are missing are skipped; CI makes that an error. Sessions install the project in
editable mode, so that ``nox -R`` sees the present sources; only ``package`` looks at what ships.
"""

import os
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "tests", "coverage", "docs", "package"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
OLDEST = PYTHONS[0]

# Else each worker, and each process that a test starts, compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What one test does a number of times is done a tenth as often where a tenth of the tests is run:
# mutated messages (2,000), orders of three speeches' messages (5,775).
TENTH = {"TTSMUX_FUZZ": "200", "TTSMUX_ORDERS": "577"}

# Whose clients speak through our simulators, and what they are called. The versions are in
# tests/clients/constraints.txt.
CLIENTS = {
    "elevenlabs": ["elevenlabs"],
    "gradium": ["gradium"],
    "kugelaudio": ["kugelaudio"],
    "livekit": [
        "livekit-agents",
        "livekit-plugins-elevenlabs",
        "livekit-plugins-gradium",
        "livekit-plugins-xai",
    ],
    "pipecat": ["pipecat-ai[elevenlabs,gradium,xai]"],
}

BENCHMARKS = {"performance": ["--check"], "barge_in": ["--check"], "growth": []}
"""Those of benchmarks/, and what each is told beside the rounds."""


def group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, name)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """
    Run the tests; arguments after -- go to pytest.

    What is counted (every point of cancellation, thousands of schedules, fifty barge-ins, planted
    bugs of the core, texts that hypothesis draws) is counted on the oldest Python. The others do a
    tenth of it, each another one: what the core and the adapters make of an input, without clock,
    socket or thread, does not hang on the interpreter; what does, the tests of the clients, their
    transports and the command line, runs whole on each. `matrix` leaves nothing out.
    """
    suite(session, tenth=session.python != OLDEST)


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """Run all of the tests on every Python, as before a release."""
    suite(session, tenth=False)


def suite(session: nox.Session, *, tenth: bool) -> None:
    session.install("-e", ".[cli,local,trio]", *group("test"))
    session.run("python", "--version")
    # More than a core or two can do, but many tests wait for something.
    words = ["-n", "4", *(["--tenth"] if tenth else []), *session.posargs]
    session.run("pytest", *words, env=TENTH if tenth else {})


@nox.session
def demo(session: nox.Session) -> None:
    """Speak to simulated providers, into WAV files in demo/, with the Python that runs nox."""
    session.install("-e", ".[cli,local]")
    session.run("ttsmux", "demo", "--out", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """
    Measure ttsmux beside others, check the bounds, leave the figures in benchmarks/results.

    An hour, on a quiet machine; on a busy one the neighbours are measured, too. After -- a name of
    BENCHMARKS runs that one; --peers adds other people's clients, in environments of their own;
    the rest goes to them all.
    """
    session.install("-e", ".", *group("bench"))
    peers = ["--peers"] if "--peers" in session.posargs else []
    named = [name for name in BENCHMARKS if name in session.posargs]
    rest = [word for word in session.posargs if word not in (*named, *peers)]
    for name in named or BENCHMARKS:
        arguments = [*(rest or ["--rounds", "5", *BENCHMARKS[name]])]
        arguments += peers if name == "performance" else []
        out = ("--out", "benchmarks/results")
        session.run("python", "-m", f"benchmarks.{name}", *out, *arguments)


@nox.session(python=OLDEST)
def contract(session: nox.Session) -> None:
    """Give every adapter 200,000 mutated messages, and three speeches' in every order there is."""
    session.install("-e", ".[cli,local,trio]", *group("test"))
    env = {"TTSMUX_FUZZ": "200000", "TTSMUX_ORDERS": "all"}
    own = ["-k", "mutated or every_order", "--timeout=900"]
    own += ["tests/adapters/test_contract.py", "tests/testing", "tests/thirdparty"]
    session.run("pytest", "-n", "4", *(session.posargs or own), env=env)


@nox.session(python=OLDEST)
def coverage(session: nox.Session) -> None:
    """Require every branch of the core and of the adapters, by their own tests."""
    session.install("-e", ".[cli,local,trio]", *group("test"))
    # Counting takes time, so what the tests session does thousands of times is done less often:
    # what is counted, schedules, mutated messages. Some tests count by themselves, lines with the
    # one hook that there is, or how often a character is looked at, and others do what small ones
    # do with a thousand clients or a book: they would add nothing.
    themselves = "reach_every_line or linear_time or costs_as_much or costs_the_same"
    large = "a_thousand_clients or a_book or read_alike"
    few = ["--tenth", "--schedules=800", "-k", f"not ({themselves} or {large})", "--timeout=600"]
    own = [*few, "tests/core", "tests/text", "tests/adapters"]
    session.run("coverage", "erase")
    pytest = ("pytest", "-n", "4", *(session.posargs or own))
    session.run("coverage", "run", "-m", *pytest, env=TENTH)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=100")


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Check style, formatting, types and the direction of imports."""
    session.install("-e", ".[cli,otel,testing,trio]", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", "--strict")
    session.run("lint-imports")


@nox.session(python=OLDEST)
@nox.parametrize("client", [nox.param(client, id=client) for client in CLIENTS])
def clients(session: nox.Session, client: str) -> None:
    """Have other people's clients speak through the simulators, in an environment each."""
    directory = Path("tests", "clients")
    pins = ["--constraint", str(directory / "constraints.txt")]
    session.install("-e", ".", *group("clients"), *CLIENTS[client], *pins)
    session.run("pytest", str(directory / f"test_{client}.py"), *session.posargs)


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """Build the documentation into site/."""
    session.install("-e", ".[testing]", *group("docs"))
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # the theme advertises its successor, at length
    session.run("mkdocs", "build", "--strict", *session.posargs, env=quiet)


@nox.session(python=OLDEST)
def package(session: nox.Session) -> None:
    """Build the wheel and speak with nothing but it, far away from the sources."""
    session.install(*group("package"))
    with tempfile.TemporaryDirectory() as directory:
        dist, clean, elsewhere = (Path(directory, name) for name in ("dist", "clean", "elsewhere"))
        elsewhere.mkdir()
        # Source archive first, wheel from it: a file that the archive forgot shows here.
        session.run("python", "-m", "build", "--outdir", str(dist))
        (wheel,) = dist.glob("*.whl")
        session.run("virtualenv", "--quiet", str(clean))
        python = str(clean / ("Scripts" if os.name == "nt" else "bin") / "python")
        session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
        with session.chdir(elsewhere):
            session.run(python, "-c", "import ttsmux", external=True)
            for part in ("weight.py", "smoke.py"):
                session.run(python, "-I", str(ROOT / "tests" / "package" / part), external=True)
            # And with somebody else's adapter, which is found once its package is installed.
            stranger = str(ROOT / "tests" / "thirdparty")
            session.run(python, "-m", "pip", "install", "--quiet", stranger, external=True)
            smoke = ROOT / "tests" / "package" / "stranger.py"
            session.run(python, "-I", str(smoke), external=True)
