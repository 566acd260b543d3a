"""
Messages as a provider should not send them: mutations of good ones, and some that are worse.

Most mutations of JSON still parse, so that they reach what lies behind the parser.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterator, Sequence

import attrs

from .bench import Message

__all__ = ["HOSTILE", "Raw", "is_json", "like", "mutations", "parsed", "poisoned", "raw", "shapes"]

Path = tuple[str | int, ...]

_LEAVES = [
    "null", "true", "false", "0", "-0", "-1", "1e308", "1e999", "-1e999", "1e-999", "1.5", "1008",
    "1" * 19, "9" * 40, "9" * 5000, "-" + "9" * 5000, "0." + "1" * 5000, '""', '"a"', '" "',
    '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\n\\t\\u001b[2J"', '"é😀"', '"AAE="', '"AA="',
    '"=AAA"', '"x\\u00e9"', '"' + "x" * 300 + '"', "[]", "[[]]", "{}", '{"message":null}',
    '{"start":0,"end":"x"}', "[1]", "[null,null]", "[[1,2,3]]", '{"a":{"a":{"a":{}}}}',
    "[" * 50 + "]" * 50, '{"a":1,"a":2}', '"error"', '"audio"', '"text"',
]  # fmt: skip
_BROKEN = [
    b"NaN", b"-Infinity", b"01", b"'", b'"\xff"', b'"\xed\xa0\x80"', b"\xff", b"\0",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"{", b"[" * 2000,
    b'"\\x"', b'"\n"', b",", b"tru",
]  # fmt: skip
_NAMES = ("message", "code", "error", "type", "id", "new")

HOSTILE = (
    b"", b" \n", b"\xef\xbb\xbf{}", b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000, b"9" * 5000, bytes(range(256)), b"\0" * 1000,
)  # fmt: skip
"""Those that a fuzzer finds too seldom."""


_POISON = (
    b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"9" * 5000, b"NaN", b'"\xff"', b'"\\ud800"', b'"\xed\xa0\x80"',
)  # fmt: skip
_PLACE = "here-is-the-place"


@attrs.frozen
class Raw:
    """A message as it came: its bytes, and whether it was a text message."""

    data: bytes = attrs.field(repr=lambda data: repr(data[:80]))
    text: bool


def raw(message: Message) -> Raw:
    """Return *message* as it comes over the wire."""
    if isinstance(message, str):
        return Raw(message.encode(), True)
    return Raw(message, False)


def parsed(message: Message) -> object:
    """Return *message* as JSON, or None where it is none; bytes are JSON if they are an object."""
    try:
        found: object = json.loads(message)
    except ValueError:
        return None
    return found if isinstance(message, str) or isinstance(found, dict) else None


def like(message: Message, data: bytes) -> Raw:
    """Return *data* as a message of the kind of *message*, and a line where that is one."""
    if isinstance(message, str):
        return Raw(data, True)
    return Raw(data + b"\n" if message.endswith(b"\n") else data, False)


def is_json(data: bytes) -> bool:
    """Tell whether *data* is JSON by its grammar."""
    try:
        json.loads(data)
    except ValueError as exc:
        return "Exceeds the limit" in str(exc)  # grammar it is; Python will not make an int of it
    except RecursionError:
        return False
    return True


def mutations(messages: Sequence[Message], count: int, seed: str) -> Iterator[Raw]:
    """Yield *count* mutations of *messages*, the same for the same *seed*."""
    rng = random.Random(f"{seed} {count}")
    good = [(message, parsed(message)) for message in messages]
    words = sorted({word for _, value in good for word in _strings(value)})
    for _ in range(count):
        message, value = rng.choice(good)
        if value is None:
            plain = raw(message)
            yield Raw(_scratched(plain.data, rng), plain.text)
        else:
            data = _render(value, rng, rng.choice((0.02, 0.1, 0.3)), words)
            yield like(message, _broken(data.encode(), rng))


def _strings(value: object) -> Iterator[str]:
    """Yield the short strings and the names in *value*: what a decoder may compare with."""
    match value:
        case str() if len(value) <= 40:
            yield value
        case dict():
            for name, item in value.items():
                yield name
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)


def _render(value: object, rng: random.Random, odds: float, words: Sequence[str]) -> str:
    """Write *value* as JSON; anything in it may come out as something else."""
    if rng.random() < odds:
        return _leaf(rng, words)
    if isinstance(value, dict):
        pairs = [f"{json.dumps(k)}:{_render(v, rng, odds, words)}" for k, v in value.items()]
        if pairs and rng.random() < odds:
            pairs.pop(rng.randrange(len(pairs)))
        if rng.random() < odds:
            name = rng.choice([*value, *words, *_NAMES])
            pairs.append(f"{json.dumps(name)}:{_leaf(rng, words)}")
        rng.shuffle(pairs)
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        items = [_render(item, rng, odds, words) for item in value]
        if items and rng.random() < odds:
            items.pop()
        return "[" + ",".join(items) + "]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def _leaf(rng: random.Random, words: Sequence[str]) -> str:
    if words and rng.random() < 0.2:
        return json.dumps(rng.choice(words))
    return rng.choice(_LEAVES)


def _broken(data: bytes, rng: random.Random) -> bytes:
    """Break one in eight."""
    match rng.randrange(16):
        case 0:
            at = rng.randrange(len(data) + 1)
            return data[:at] + rng.choice(_BROKEN) + data[at:]
        case 1:
            return data[: rng.randrange(len(data) + 1)]
    return data


def _scratched(data: bytes, rng: random.Random) -> bytes:
    """Change a byte, cut, repeat or put something in; one in four stays as it is."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[at:]
        case 2:
            return data[:at] + rng.choice(_BROKEN) + data[at:]
        case 3:
            return data[:at] + data[rng.randrange(len(data) + 1) :]
        case 4 | 5 if data:
            at = rng.randrange(min(len(data), 64))
            return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
    return data


def poisoned(messages: Sequence[Message]) -> Iterator[Raw]:
    """Yield each JSON message with each of its fields made hostile."""
    for message in messages:
        value = parsed(message)
        if not isinstance(value, dict):
            continue
        for name in value:
            for poison in _POISON:
                holed = json.dumps({**value, name: _PLACE}).encode()
                yield like(message, holed.replace(f'"{_PLACE}"'.encode(), poison))


Shape = Callable[[int], Raw]
"""Makes a message of about so many bytes."""


def shapes(messages: Sequence[Message]) -> Iterator[tuple[str, Shape]]:
    """Yield for each string and list in the messages what makes it longer, and its name."""
    seen: set[str] = set()
    for message in messages:
        value = parsed(message)
        if value is None:
            kind = "text" if isinstance(message, str) else "binary"
            if kind not in seen:
                seen.add(kind)
                yield kind, functools.partial(_longer, message)
        lists = [".".join(map(str, path)) for path, leaf in _leaves(value, ()) if _is_list(leaf)]
        if lists and (name := f"{' and '.join(lists)}: together") not in seen:
            seen.add(name)
            yield name, functools.partial(_with_long_lists, message, value)
        for path, leaf in _leaves(value, ()):
            for what, grown in _growths(leaf):
                name = f"{'.'.join(map(str, path))}: {what}"
                if name not in seen:
                    seen.add(name)
                    yield name, functools.partial(_with, message, value, path, grown)


def _with_long_lists(message: Message, value: object, size: int) -> Raw:
    """Lengthen all lists at once: those of equal length may have to stay so."""
    length = sum(len(json.dumps(leaf)) for _, leaf in _leaves(value, ()) if _is_list(leaf))
    times = max(1, size // length)

    def grown(part: object) -> object:
        match part:
            case list():
                return part * times
            case dict():
                return {name: grown(item) for name, item in part.items()}
        return part

    return like(message, json.dumps(grown(value)).encode())


def _longer(message: Message, size: int) -> Raw:
    one = raw(message)
    return Raw(one.data + one.data[-1:] * size, one.text)


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    match value:
        case str():
            yield path, value
        case list():
            yield path, value
            if value:
                yield from _leaves(value[0], (*path, 0))
        case dict():
            for name, item in value.items():
                yield from _leaves(item, (*path, name))


def _is_list(leaf: object) -> bool:
    return isinstance(leaf, list) and bool(leaf)


def _growths(leaf: object) -> Iterator[tuple[str, Callable[[int], object]]]:
    if isinstance(leaf, str):
        for what, unit in (("letters", "x"), ("base64", "AAAA"), ("no base64", "?"), ("é", "é")):
            yield what, functools.partial(_repeated, unit)
    elif isinstance(leaf, list) and leaf:
        yield "items", functools.partial(_multiplied, leaf)


def _repeated(unit: str, size: int) -> str:
    return unit * (size // len(unit.encode()))


def _multiplied(items: list[object], size: int) -> list[object]:
    return items * max(1, size // len(json.dumps(items)))


def _with(
    message: Message, value: object, path: Path, grown: Callable[[int], object], size: int
) -> Raw:
    long = json.dumps(_replaced(value, path, grown(size)), ensure_ascii=False)
    return like(message, long.encode())


def _replaced(value: object, path: Path, leaf: object) -> object:
    if not path:
        return leaf
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {k: _replaced(v, rest, leaf) if k == head else v for k, v in value.items()}
    assert isinstance(value, list), "the path leads here"
    return [_replaced(v, rest, leaf) if i == head else v for i, v in enumerate(value)]
