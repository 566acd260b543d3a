"""A key is in the upgrade request and nowhere else."""

from __future__ import annotations

import itertools
import json
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import websocket

import ttsmux
from tests.transports.peers import TEXT as TEXT_FRAME
from tests.transports.peers import Listener, Peer, closing
from tests.transports.peers import frame as framed
from ttsmux.adapter import Handshake, Options
from ttsmux.client.options import find_adapter
from ttsmux.redaction import LOGGERS, MASK, Carried, basic

from .scripts import LONG
from .stage import PROVIDERS, RUNTIMES, World, events, facts_of, patient, play

TESTS = Path(__file__).parents[1]
CANARY = "canary-5c1f-sings-in-the-coal-mine"
TEXT = "nightingale"
"""A spoken word is as private as a key."""

# (name, what the client is given, what the simulator is given)
RUNS = [
    ("success", {}, {}),
    ("faults", {}, {"faults": ["reset@request:1,chunk:0", "badb64@request:2,chunk:0"]}),
    ("refused", {}, {"faults": ["status=401"]}),
    ("away", {}, {"faults": ["status=503"]}),
    ("broken", {}, {"faults": ["refuse"]}),
    ("wrong key", {}, {"key": "another-key-altogether"}),
    ("nobody", {"base_url": "ws://127.0.0.1:1"}, {}),
    ("no TLS", {"base_url": "wss"}, {}),
    ("proxy", {"proxy": "http://127.0.0.1:1", "base_url": "wss://tts.example"}, {}),
    # Over HTTP it is dialled in time, and nothing is answered.
    ("late", {"timeouts": patient(dial=0.05, first_audio=0.05)}, {"handshake_ms": 60_000}),
    ("midway", {}, {"faults": ["close=1011@request:1,chunk:2"]}),
    ("with a key that newlines end", {"api_key": lambda: CANARY + "\r\nX-Evil: 1"}, {}),
    ("bytes", {"api_key": lambda: CANARY.encode()}, {}),
    ("password", {"base_url": f"ws://me:{CANARY}@127.0.0.1:1"}, {}),
    ("proxied", {"proxy": f"http://me:{CANARY}@127.0.0.1:1", "base_url": "wss://tts.example"}, {}),
    ("header", {"headers": {"X-Key": CANARY}}, {"faults": ["status=403"]}),
]


class Records(logging.Handler):
    """Keeps everything that a record could show, at any level."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.getMessage()} {record.__dict__!r}")
        if record.exc_info and record.exc_info[1] is not None:
            self.said.append(shown(record.exc_info[1]))


@pytest.fixture
def records() -> Iterator[Records]:
    """Of every logger that there is, at DEBUG, with the trace of websocket-client on."""
    handler = Records()
    names = {"", "ttsmux", "asyncio", "trio", *LOGGERS, *logging.getLogger().manager.loggerDict}
    loggers = [logging.getLogger(name) for name in sorted(names)]
    before = [(logger.level, logger.disabled) for logger in loggers]
    websocket.enableTrace(True, handler=logging.NullHandler(), level="DEBUG")
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.disabled = False
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    websocket.enableTrace(False)
    for logger, (level, disabled) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.disabled = disabled


_LIBRARIES = {"h11", "httpcore", "httpx", "websocket", "websockets"}


def shown(exc: BaseException) -> str:
    """Return all that a report of *exc* could hold: variables of frames, causes, attributes."""
    lines = [str(exc), repr(exc), repr(exc.args), repr(vars(exc))]
    lines += traceback.format_exception(exc)
    lines += traceback.TracebackException.from_exception(exc, capture_locals=True).format()
    seen: set[int] = set()
    todo: list[BaseException | None] = [exc]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        lines += [str(one), repr(one), repr(vars(one))]
        held = {type(value).__module__.partition(".")[0] for value in vars(one).values()}
        assert not held & _LIBRARIES, f"{one!r} holds on to a request"
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
        for frame, _ in traceback.walk_tb(one.__traceback__):
            # Of anybody's frames but the test's own.
            if not frame.f_code.co_filename.startswith(str(TESTS)):
                lines += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
    return "\n".join(lines)


def _held(thing: object) -> dict[str, object]:
    """Return the attributes of *thing*, whether it has a dictionary or not."""
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    found = {name: getattr(thing, name, None) for name in names if not name.startswith("__")}
    return {**found, **getattr(thing, "__dict__", {})}


async def listed(w: World) -> str:
    """Ask for voices; return what that shows."""
    try:
        return repr(await w.voices())
    except ttsmux.Error as exc:
        return shown(exc)


ALL = [p for p in PROVIDERS if ":" not in p]
# Tasks on one loop stand for those on the others, over HTTP: what differs is below httpx.
SURFACES = [(p, runtime) for p in ALL for runtime in RUNTIMES] + [
    (f"{p}:rest", runtime) for p in ALL for runtime in RUNTIMES[:2]
]


@pytest.mark.parametrize(("provider", "runtime"), SURFACES)
@pytest.mark.parametrize(("client", "simulator"), [r[1:] for r in RUNS], ids=[r[0] for r in RUNS])
def test_the_key_is_shown_nowhere(
    runtime: str, provider: str, client: dict, simulator: dict, records: Records
) -> None:
    """Not in an error, a variable of ours that a report would print, a repr, or a log record."""

    provider, _, rest = provider.partition(":")

    async def script(w: World) -> None:
        changes = {}
        if client.get("base_url") == "wss":
            changes["base_url"] = w.sim.url.replace("ws:", "wss:")
        adapter = find_adapter(provider)(voice=w.sim.default_voice).rest() if rest else None
        w.client = w.make_client(adapter, **changes)
        for n in range(2):
            await w.speak(f"{TEXT} {n}").rest()
        (await w.speak(f"{TEXT} {LONG}").rest()).interrupt()
        said = [await listed(w)]
        for take in w.takes:
            public = [repr(take.speech), repr(take.speech.metrics), repr(take.speech._core)]
            public.append(take.speech.explain())
            if take.error is not None:
                assert isinstance(take.error, ttsmux.Error), facts_of(take.error)
                public += [str(take.error), repr(take.error)]
                said.append(shown(take.error))
            assert not any(TEXT in text for text in public)
            said += public
        engine = w.client._engine
        said += map(repr, (w.client, vars(w.client), engine, vars(engine), w.client.pool_stats()))
        said += map(repr, (vars(engine.mux), vars(engine.mux._pool), engine.configuration.routes))
        said += [repr(engine.configuration), repr(w.takes[0].speech.format)]
        for conn in engine.mux._pool.connections:
            said += [repr(conn), repr(_held(conn)), repr(conn.handle), repr(_held(conn.handle))]
        for text in said:
            assert CANARY not in text
        if "api_key" in client:
            assert len([take.error for take in w.takes if take.error]) == 3
            assert all(take.error for take in w.takes), "a header was smuggled in"
            assert not events(w.sim.log, "open")

    if provider == "sm":  # it has no base64 to spoil
        simulator = {name: _without_base64(value) for name, value in simulator.items()}
    settings = {"api_key": CANARY, "retry": ttsmux.RetryPolicy(attempts=2, base=0.001), **client}
    if settings.get("base_url") == "wss":
        del settings["base_url"]  # it is not known yet
    play(runtime, provider, script, client=settings, **simulator)
    assert records.said, "nothing was logged: this test looks at nothing"
    for text in records.said:
        assert CANARY not in text
        if "'name': 'ttsmux'" in text:
            assert TEXT not in text


def _without_base64(value: Any) -> Any:
    return [one for one in value if "badb64" not in one] if isinstance(value, list) else value


def reads(secret: str | None) -> None:
    raise LookupError("it went wrong inside")


@attrs.frozen(kw_only=True)
class Choosy(ttsmux.Gradium):
    """An adapter that finds something wrong when it has the key in its hand."""

    how: str = "ours"

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        if self.how == "ours":
            raise ttsmux.ConfigError("not like this", phase="dial")
        try:
            reads(secret)
        except LookupError as exc:
            if self.how == "caused":
                raise ttsmux.ConfigError("not like this", phase="dial") from exc
            raise KeyError("somewhere in there")  # noqa: B904 - as it happens to people


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("ours", ttsmux.ConfigError),
        ("caused", ttsmux.ConfigError),
        ("theirs", ttsmux.ConnectError),
    ],
)
def test_an_error_of_the_dial_does_not_carry_its_frames(
    runtime: str, how: str, kind: type[ttsmux.Error]
) -> None:
    """Nor those of what led to it: reports show variables, and those of a dial hold the key."""

    async def script(w: World) -> None:
        w.client = w.make_client(Choosy(voice="v", how=how))
        take = (await w.speak(TEXT).rest()).failed(kind)
        assert take.error is not None
        assert CANARY not in shown(take.error)
        if how != "ours":
            assert "it went wrong inside" in shown(take.error), "what happened is still told"

    play(runtime, "gradium", script, client={"api_key": CANARY})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_variables_of_a_callable_key_are_not_shown(runtime: str) -> None:
    """It has the key in its hand when it fails."""

    def vault() -> str:
        reads(CANARY)
        raise AssertionError

    async def script(w: World) -> None:
        take = (await w.speak(TEXT).rest()).failed(ttsmux.AuthError, phase="dial")
        assert take.error is not None
        assert CANARY not in shown(take.error)
        assert "api_key raised LookupError" in str(take.error)
        assert isinstance(take.error.__cause__, LookupError)
        unlisted = await listed(w)
        assert "api_key raised LookupError" in unlisted and CANARY not in unlisted

    play(runtime, "xai", script, client={"api_key": vault})


# --- a peer that repeats what it was sent ---------------------------------------------------------

KEYS = {"key": "canary-key-77ad-of-the-client", "header": "canary-header-3fe1-of-the-client"}
PASSWORD = "canary-password-0c9b-of-the-client"
SECRETS = (*KEYS.values(), PASSWORD, basic("me", PASSWORD))


def seen(shown: str) -> list[str]:
    """Return the secrets of which so much is in *shown* that it tells, in capitals or not."""
    # The first word of a canary says nothing, and so do eight characters of what all have.
    return [secret for secret in SECRETS if secret[:16].lower() in shown.lower()]


@attrs.frozen
class Way:
    """How a peer repeats it: a refusal, an answer over HTTP, a message or the reason of a close."""

    kind: str
    code: object = None
    shape: str = ""


REFUSALS = [
    *(Way("refusal", code, "text") for code in (301, 400, 401, 404, 429, 500)),
    *(Way("refusal", code, "flat") for code in (400, 401, 403, 422, 503)),
    *(Way("refusal", code, shape) for code in (400, 401) for shape in ("detail", "nested")),
]
ANSWERS = [*REFUSALS, Way("type"), Way("body")]
MESSAGES = [
    *REFUSALS,
    *(Way("close", code) for code in (1000, 1008, 1011, 1013, 4001, 4500)),
    *(Way("error", code) for code in (400, 401, 1008, 1011, "words")),
    Way("nonsense"),
    Way("cut"),
]


class Echo:
    """Answers with what it was sent: the head of the request, its query, and the first message."""

    def __init__(self) -> None:
        self.way = Way("")
        self.front = ""
        """Said before it, so that what is too long is cut off in the middle of a secret."""

    def __call__(self, peer: Peer) -> None:
        head = peer.head()
        if self.way.kind in ("refusal", "type", "body"):
            size = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            body = peer.read(int(size[1])) if size else b""
            self._answer(peer, self._words(head, body))
        else:
            peer.upgrade(head=head)
            _, first = peer.receive()
            # Of what it makes nothing of a client hears no more than that it is over.
            peer.send(self._message(self._words(head, first)) + closing(1011))
            peer.until_hung_up()

    def _words(self, head: bytes, body: bytes) -> str:
        words = (head + b" " + body).decode("latin-1").split()
        # First of all what matters: of the rest clients read no more than the beginning.
        return self.front + " ".join([word for word in words if "canary" in word] + words)

    def _answer(self, peer: Peer, words: str) -> None:
        status, kind = self.way.code or 200, "application/json"
        match self.way:
            case Way(kind="type"):
                kind, body = words[:200].replace(";", " "), ""
            case Way(shape="text"):
                kind, body = "text/plain", words
            case Way(shape="detail"):
                body = json.dumps({"detail": {"status": words, "message": words}})
            case Way(shape="nested"):
                body = json.dumps({"error": {"code": words, "message": words}})
            case _:
                body = json.dumps(dict.fromkeys(("error", "error_code", "detail"), words))
        lines = (
            f"HTTP/1.1 {status} So",
            f"Content-Type: {kind}",
            f"Location: https://elsewhere.example/?{words}",
            f"Retry-After: {words}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        peer.send("\r\n".join([*lines, "", body]).encode("latin-1"))

    def _message(self, words: str) -> bytes:
        match self.way:
            case Way(kind="close", code=int() as code):
                return closing(code, words.encode()[:123])
            case Way(kind="error", code=code):
                names = ("error", "message", "detail", "error_code", "request_id")
                code = words if code == "words" else code
                said = {**dict.fromkeys(names, words), "type": "error", "code": code}
            case Way(kind="nonsense"):
                said = {"type": [words], "audio": [words], "error": {"message": words}}
            case _:
                return framed(TEXT_FRAME, b'{"audio": "' + words.encode())
        return framed(TEXT_FRAME, json.dumps(said).encode())


FRONTS = ("", "x" * 20, "x" * 150)
SHAPES = [(p, {}) for p in PROVIDERS] + [
    *((f"{p}:rest", {}) for p in ALL),
    *(("sm", {"auth": place}) for place in ("query-token", "first-message", "header-bearer")),
    ("sm:rest", {"auth": "query-api-key"}),
]


Found = dict[tuple[Way, str], str]
"""By the way, and what was said in front of it: all that was shown."""


async def repeated(w: World, echo: Echo, port: int, provider: str, options: dict) -> Found:
    """Have it all repeated, in every way there is."""
    provider, _, endpoint = provider.partition(":")
    rest = endpoint == "rest"
    known = {"endpoint": endpoint} if endpoint and not rest else {}
    adapter = find_adapter(provider)(voice=w.sim.default_voice, **known, **options)
    adapter = adapter.rest() if rest else adapter
    found: Found = {}
    for way, front in itertools.product(ANSWERS if rest else MESSAGES, FRONTS):
        echo.way, echo.front = way, front
        w.client = w.make_client(adapter, base_url=f"ws://me:{PASSWORD}@127.0.0.1:{port}")
        take = await w.speak(TEXT).rest()
        speech, engine = take.speech, w.client._engine
        told = [repr(speech), speech.explain(), repr(speech.metrics), repr(speech._core)]
        told += [repr(w.client), repr(vars(engine.mux._pool)), repr(w.client.pool_stats())]
        if take.error is not None:
            told += [str(take.error), repr(take.error), shown(take.error)]
        if way in ANSWERS:
            told.append(await listed(w))
        found[way, front] = "\n".join(told)
        client, w.client = w.client, None
        await w.stage.close(client)
    return found


def echoed(runtime: str, provider: str, options: dict) -> Found:
    found: Found = {}
    echo = Echo()

    async def script(w: World) -> None:
        w.client = None
        found.update(await repeated(w, echo, listener.port, provider, options))

    client = {
        "api_key": KEYS["key"],
        "headers": {"X-Key": KEYS["header"]},
        "retry": ttsmux.RetryPolicy(attempts=1),
    }
    with Listener(echo) as listener:
        play(runtime, provider.partition(":")[0], script, client=client)
    return found


@pytest.mark.counted
@pytest.mark.parametrize(("provider", "options"), SHAPES)
@pytest.mark.parametrize("runtime", RUNTIMES[:2])
def test_what_a_peer_repeats_is_shown_nowhere(
    runtime: str, provider: str, options: dict, records: Records
) -> None:
    """Whichever way it does, and wherever its words are cut off."""
    found = echoed(runtime, provider, options)
    assert {key: secrets for key, text in found.items() if (secrets := seen(text))} == {}
    assert any(MASK in text for text in found.values())
    for text in records.said:
        assert not seen(text)


@pytest.mark.counted
@pytest.mark.parametrize(("provider", "options"), SHAPES)
def test_what_a_peer_repeats_would_be_shown(
    provider: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above looks at something: without the masking nearly every way shows a secret."""
    monkeypatch.setattr(Carried, "clean", lambda self, error: None)
    found = echoed("threads", provider, options)
    ways = {way for way, _ in found}
    loud = {way for (way, _), text in found.items() if seen(text)}
    assert len(ways - loud) <= 3, ways - loud
    secrets = {secret for text in found.values() for secret in seen(text)}
    assert secrets >= set(KEYS.values())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_a_callable_key_says_itself_is_told_without_the_keys_it_has_given(
    runtime: str,
) -> None:
    """It is the program's own exception, and the cause unless it shows a key that was sent."""
    words = iter([CANARY, LookupError(f"no more {CANARY}"), LookupError("the vault is shut")])

    def vault() -> str:
        if isinstance(given := next(words), str):
            return given
        raise given

    async def script(w: World) -> None:
        take = (await w.speak(TEXT).rest()).failed(ttsmux.AuthError)
        assert take.error is not None and take.error.__cause__ is None
        assert "api_key raised LookupError" in str(take.error)
        assert "it came of LookupError: no more ***" in shown(take.error)
        assert CANARY not in shown(take.error)
        take = (await w.speak(TEXT).rest()).failed(ttsmux.AuthError)
        assert take.error is not None and str(take.error.__cause__) == "the vault is shut"

    play(runtime, "xai", script, client={"api_key": vault}, faults=["status=401"])


# --- several providers ----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class NearGradium(ttsmux.Gradium):
    """Gradium at another address, as only an adapter can say where there are several."""

    port: int = 0

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return attrs.evolve(_gradium(self, options, secret), url=f"ws://127.0.0.1:{self.port}/")


@attrs.frozen(kw_only=True)
class NearXAI(ttsmux.XAI):
    """The same of xAI."""

    port: int = 0

    def handshake(self, options: Options, secret: str | None) -> Handshake:
        return attrs.evolve(_xai(self, options, secret), url=f"ws://127.0.0.1:{self.port}/")


_gradium, _xai = ttsmux.Gradium.handshake, ttsmux.XAI.handshake


class Deaf:
    """Keeps what it is asked, and has no time."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    def __call__(self, peer: Peer) -> None:
        self.heads.append(peer.head())
        peer.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", [str, ttsmux.Secret, "callable"])
def test_each_key_goes_to_its_own_provider(runtime: str, kind: Any) -> None:
    """Two providers, and each hears of one key only; the error of neither has any."""
    keys = {"gradium": f"{CANARY}-of-gradium", "xai": f"{CANARY}-of-xai"}
    given = {
        name: (lambda key=key: key) if kind == "callable" else kind(key)
        for name, key in keys.items()
    }
    gradium, xai = Deaf(), Deaf()

    async def script(w: World) -> None:
        w.client = w.stage.client(
            [NearGradium(voice="v", port=one.port), NearXAI(port=two.port)],
            api_key=given,
            retry=ttsmux.RetryPolicy(attempts=2, base=0.001),
            pool=ttsmux.PoolLimits(min_idle=0),
            fallback=None,  # HTTP is where the real ones are
        )
        take = await w.speak(TEXT).rest()
        assert isinstance(take.error, ttsmux.ConnectError)
        assert CANARY not in shown(take.error)
        assert CANARY not in repr(w.client._engine.configuration)

    with Listener(gradium) as one, Listener(xai) as two:
        play(runtime, "gradium", script)
    for deaf, own in ((gradium, "gradium"), (xai, "xai")):
        assert deaf.heads, f"nobody asked {own}"
        for head in deaf.heads:
            assert keys[own].encode() in head
            assert head.count(CANARY.encode()) == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_provider_without_a_key_in_the_mapping_gets_none_of_another(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, before anything is dialled."""
    monkeypatch.delenv("XAI_API_KEY", raising=False)

    async def script(w: World) -> None:
        with pytest.raises(ttsmux.AuthError, match="pass api_key= or set XAI_API_KEY") as caught:
            w.stage.client([ttsmux.Gradium(voice="v"), ttsmux.XAI()], api_key={"gradium": CANARY})
        assert caught.value.provider == "xai"
        assert CANARY not in str(caught.value) + repr(caught.value)

    play(runtime, "gradium", script)


@pytest.mark.parametrize("make", [ttsmux.Client, ttsmux.AsyncClient])
@pytest.mark.parametrize(
    "settings",
    [{"base_url": "ws://tts.example"}, {"pitch": 1}, {"voice": "a b"}, {"interrupt": "stop"}],
)
def test_a_client_that_is_refused_does_not_repeat_its_key(make: Any, settings: dict) -> None:
    """The variables of the call itself are the caller's, who has the key anyway."""
    with pytest.raises(ttsmux.ConfigError) as caught:
        make("xai", api_key=CANARY, **settings)
    lines = [str(caught.value), repr(caught.value), repr(vars(caught.value))]
    assert CANARY not in "".join([*lines, *traceback.format_exception(caught.value)])


def test_a_secret_does_not_print_itself() -> None:
    secret = ttsmux.Secret(CANARY)
    assert repr(secret) == str(secret) == f"{secret}" == "Secret(***)"
    assert secret.reveal() == CANARY
