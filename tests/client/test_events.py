"""Events as log lines: silent until somebody listens."""

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from ttsmux.client import events
from ttsmux.core.effects import Event

OPENED = Event("connection.opened", {"provider": "toy", "connection": 3, "seats": 1})
RETRIED = Event("speech.retried", {"speech": 1, "error": "ConnectionLost"})
FAILED = Event("speech.failed", {"speech": 1, "error": "ConnectionLost"})


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    logger = logging.getLogger("ttsmux")
    before = logger.level
    yield
    logger.setLevel(before)
    structlog.contextvars.clear_contextvars()


def run(code: str) -> tuple[str, str]:
    """Run *code* in an interpreter of its own."""
    head = (
        "import logging, sys\n"
        "from ttsmux.client import events\n"
        "from ttsmux.core.effects import Event\n"
        "failed = Event('speech.failed', {'speech': 1})\n"
        "opened = Event('connection.opened', {'seats': 1})\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", head + code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout, done.stderr


def test_a_program_that_configures_nothing_hears_nothing() -> None:
    """Not even a warning, which `logging` prints as a last resort."""
    assert run("events.log([failed, opened])\n") == ("", "")


def test_structlog_is_imported_for_the_first_event_that_is_wanted() -> None:
    """Programs that never have one do not pay for it."""
    out, err = run(
        "logging.getLogger('ttsmux').setLevel(logging.ERROR)\n"
        "events.log([failed, opened])\n"
        "print('structlog' in sys.modules)\n"
        "logging.getLogger('ttsmux').setLevel(logging.DEBUG)\n"
        "events.log([opened])\n"
        "print('structlog' in sys.modules)\n"
    )
    assert (out.split(), err) == (["False", "True"], "")


def test_a_program_that_configures_logging_reads_lines() -> None:
    """In its own format, by its own level."""
    out, err = run(
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout,\n"
        "                    format='%(levelname)s %(name)s %(message)s %(speech)s')\n"
        "events.log([failed, opened])\n"
    )
    assert (out, err) == ("WARNING ttsmux speech.failed 1\n", "")


def test_an_event_is_a_name_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    """The name is the message, and each field is one of the record's."""
    caplog.set_level(logging.DEBUG, "ttsmux")
    events.log([OPENED])
    [record] = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == (
        "ttsmux",
        logging.DEBUG,
        "connection.opened",
    )
    assert {name: getattr(record, name) for name in OPENED.fields} == OPENED.fields


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (logging.DEBUG, ["connection.opened", "speech.retried", "speech.failed"]),
        (logging.INFO, ["speech.retried", "speech.failed"]),
        (logging.WARNING, ["speech.failed"]),
        (logging.ERROR, []),
    ],
)
def test_only_the_levels_that_are_wanted_are_logged(
    caplog: pytest.LogCaptureFixture, wanted: int, names: list[str]
) -> None:
    """What goes well is for debugging; what a speech got over is information."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(wanted, "ttsmux")
    events.log([OPENED, RETRIED, FAILED])
    assert [record.getMessage() for record in caplog.records] == names


def test_no_events_are_no_lines(caplog: pytest.LogCaptureFixture) -> None:
    """The usual case."""
    caplog.set_level(logging.DEBUG, "ttsmux")
    events.log([])
    assert caplog.records == []


def test_what_a_program_bound_goes_with_our_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A request id, so that the lines of one request are found."""
    caplog.set_level(logging.DEBUG, "ttsmux")
    structlog.contextvars.bind_contextvars(request="r-1")
    events.log([FAILED])
    [record] = caplog.records
    assert (record.request, record.error) == ("r-1", "ConnectionLost")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["name", "message", "args", "module", "thread", "asctime"])
def test_what_a_program_bound_may_be_named_like_a_part_of_a_record(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """`logging` forbids it with a KeyError, in the middle of a speech."""
    caplog.set_level(logging.DEBUG, "ttsmux")
    structlog.contextvars.bind_contextvars(**{name: "Bob"})
    events.log([FAILED])
    [record] = caplog.records
    assert (record.name, record.getMessage()) == ("ttsmux", "speech.failed")
    assert getattr(record, f"{name}_") == "Bob"


def test_an_exception_that_is_bound_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """`exc_info` is no field: `logging` takes it for itself."""
    caplog.set_level(logging.DEBUG, "ttsmux")
    error = ValueError("torn")
    structlog.contextvars.bind_contextvars(exc_info=error)
    events.log([FAILED])
    [record] = caplog.records
    assert record.exc_info is not None and record.exc_info[1] is error


def test_lines_go_to_the_standard_tree() -> None:
    """A handler of the program's own gets them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("ttsmux")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        events.log([OPENED, FAILED])
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == "speech.failed\n"
