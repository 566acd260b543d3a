"""Errors: one tree, facts as attributes, and copies that can be told apart."""

import copy
import pickle
import re
import traceback

import pytest

import ttsmux
from ttsmux import errors
from ttsmux.errors import (
    ConfigError,
    ConnectionLost,
    ConnectTimeout,
    DeadlineExceeded,
    Delivered,
    Error,
    GenerationError,
    HandshakeError,
    ProxyError,
    RateLimitError,
    SpeechTimeout,
    TLSError,
    WrongType,
    without_frames,
)

CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, Exception)
]


def drawn() -> dict[str, str | None]:
    """Read the tree in the docstring as {class: base}."""
    assert errors.__doc__ is not None
    tree: dict[str, str | None] = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"    ((?:│   |    )*(?:[├└]── )?)(\w+)", line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            tree[found[2]] = above[depth - 1] if depth else None
    return tree


def test_every_error_is_drawn_in_the_docstring() -> None:
    """And nothing else is."""
    assert set(drawn()) == {kind.__name__ for kind in CLASSES}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class is in it, under its base."""
    tree = {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}
    assert drawn() == tree | {"Error": None}


def test_every_error_is_one_of_ours() -> None:
    """`except ttsmux.Error` catches all, and all can be named there."""
    assert all(issubclass(kind, Error) for kind in CLASSES)
    assert all(getattr(ttsmux, kind.__name__) is kind for kind in CLASSES)


def test_some_errors_are_also_what_python_calls_them() -> None:
    """For programs that catch those."""
    assert issubclass(ConfigError, ValueError)
    assert issubclass(SpeechTimeout, TimeoutError)
    assert issubclass(WrongType, TypeError)


@pytest.mark.parametrize(
    ("value", "given"), [(5, "int"), (None, "None"), (b"sk-1", "bytes"), (Error, "the class Error")]
)
def test_a_wrong_type_is_told_and_not_the_value(value: object, given: str) -> None:
    """The value may be a key."""
    error = WrongType.of("api_key", "a str", value)
    assert str(error) == f"api_key takes a str, not {given}"
    assert (error.phase, error.retryable) == ("config", False)


def test_facts_are_attributes() -> None:
    """With defaults that say that nothing is known."""
    error = Error("it broke")
    assert (error.message, error.provider, error.phase) == ("it broke", None, None)
    assert (error.attempt, error.retryable, error.retry_after) == (0, False, None)
    assert error.delivered == Delivered(bytes=0, seconds=0.0, characters=0)
    error = RateLimitError("slow down", provider="toy", phase="dial", retry_after=2.5)
    assert (error.provider, error.phase, error.retry_after) == ("toy", "dial", 2.5)


def test_some_errors_know_more() -> None:
    """What the peer said, in its own terms."""
    lost = ConnectionLost("gone", code=1011, reason="oops", provider="toy", phase="speak")
    assert (lost.code, lost.reason, lost.provider, lost.phase) == (1011, "oops", "toy", "speak")
    assert (ConnectionLost("gone").code, ConnectionLost("gone").reason) == (None, "")
    assert HandshakeError("no", status=503, phase="dial").status == 503
    assert HandshakeError("no").status is None
    assert GenerationError("no", code="bad_voice", provider="toy").code == "bad_voice"
    assert GenerationError("no").code is None


def test_the_sentence_names_the_provider_where_there_is_one() -> None:
    """Also where it is found out later."""
    error = Error("it broke")
    assert str(error) == "it broke"
    error.provider = "toy"
    assert str(error) == "toy: it broke"


def test_what_may_be_tried_again_is_told_by_the_class() -> None:
    """And can be said otherwise for one."""
    retryable = {kind.__name__ for kind in CLASSES if kind("x").retryable}
    assert retryable == {
        "AtCapacity",
        "CircuitOpen",
        "ConcurrencyLimitError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionLost",
        "DNSError",
        "EmptyAudio",
        "FirstAudioTimeout",
        "HandshakeError",
        "PoolFull",
        "PoolTimeout",
        "RateLimitError",
        "RemoteProtocolError",
        "SpeechTimeout",
        "StallTimeout",
        "TruncatedAudio",
    }
    assert not TLSError("x").retryable and not ProxyError("x").retryable
    assert not DeadlineExceeded("x").retryable
    assert TLSError("x", retryable=True).retryable
    assert not ConnectTimeout("x", retryable=False).retryable


def full(kind: type[Error]) -> Error:
    """Return an error with all its facts set."""
    error = kind("it broke", provider="toy", phase="speak", retryable=True, retry_after=1.5)
    error.attempt = 2
    error.delivered = Delivered(48_000, 1.0, 15)
    for name, fact in (("code", 1011), ("reason", "oops"), ("status", 503)):
        if hasattr(error, name):
            setattr(error, name, fact)
    return error


@pytest.mark.parametrize("kind", CLASSES)
def test_a_copy_is_a_twin_with_a_fate_of_its_own(kind: type[Error]) -> None:
    """One lost connection hits several speeches, and each had delivered something else."""
    error = full(kind)
    error.__cause__ = OSError("torn")
    twin = error.copy()
    assert type(twin) is kind and twin is not error
    assert (vars(twin), str(twin), twin.args) == (vars(error), str(error), error.args)
    assert twin.__cause__ is error.__cause__
    twin.delivered = Delivered(2, 0.1, 1)
    twin.provider = "other"
    assert (error.delivered, error.provider) == (Delivered(48_000, 1.0, 15), "toy")


def test_a_copy_has_its_own_traceback() -> None:
    """Two tasks that raise twins do not mix their stories."""
    error = Error("it broke")
    twin = error.copy()
    with pytest.raises(Error):
        raise error
    assert error.__traceback__ is not None and twin.__traceback__ is None
    assert "it broke" in "".join(traceback.format_exception(twin))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_errors_cross_process_boundaries_whole(kind: type[Error], protocol: int) -> None:
    """A worker process hands its exceptions on by pickle, with all their facts."""
    error = full(kind)
    for sent in (error, error.copy()):
        twin = pickle.loads(pickle.dumps(sent, protocol))
        assert type(twin) is kind
        assert (vars(twin), str(twin), twin.args) == (vars(error), str(error), error.args)


def test_errors_can_be_copied_by_the_standard_library() -> None:
    """Test tools and futures do so."""
    error = full(HandshakeError)
    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is HandshakeError
        assert vars(twin) == vars(error)


def tangled(key: str) -> Error:
    """Return an error that others led to, in all the ways there are; each has seen *key*."""

    def group(inside: str) -> None:
        try:
            raise KeyError("one")
        except KeyError as exc:
            raise ExceptionGroup("several", [exc, OSError("two")]) from None

    def cause(inside: str) -> None:
        try:
            group(inside)
        finally:
            raise LookupError("in the way")

    try:
        try:
            cause(key)
        except LookupError as exc:
            raise Error("it broke") from exc
    except Error as exc:
        exc.__cause__.__cause__ = exc  # type: ignore[union-attr]
        return exc


def test_an_error_without_frames_shows_no_variables() -> None:
    """Wherever in the chain the frames were; what was said stays."""

    def report(exc: BaseException) -> str:
        whole = traceback.TracebackException.from_exception(exc, capture_locals=True)
        return "".join(whole.format())

    error = tangled("sk-1")
    assert "inside = 'sk-1'" in report(error)
    assert without_frames(error) is error
    told = report(error)
    assert "sk-1" not in told and "File " not in told
    assert "it broke" in told and "in the way" in told
    [one, two] = error.__cause__.__context__.exceptions  # type: ignore[union-attr]
    assert (str(one), str(two)) == ("'one'", "two")
    assert one.__traceback__ is None
