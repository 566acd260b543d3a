"""What every adapter promises before any network: its traits, its options, its frames."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator

import attrs
import pytest

from ..adapter import (
    Closed,
    DialFailure,
    Flush,
    Frame,
    Generation,
    Input,
    Traits,
)
from ..audio import FORMATS, AudioFormat
from ..errors import Error, InvalidFormat, InvalidVoice
from ..settings import Interrupt
from .suite import Suite, case

__all__ = ["FormRules"]

SECRET = "sk-5ecret-0123456789"
ID, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
EVIL_VOICES = ("../x", "a\r\nb", "a b", "", "a/b", "a&b=c")

Steps = list[list[Frame]]


class FormRules(Suite):
    """The part of the contract that is about what an adapter says."""

    # --- traits -----------------------------------------------------------------------------------

    @case("traits: policies")
    def test_policies(self) -> None:
        """The default is one of them; a generation without an id cannot be muted."""
        traits = self.traits
        assert traits.interrupt in traits.policies
        assert len(set(traits.policies)) == len(traits.policies)
        assert Interrupt.DISCARD in traits.policies, "giving up a connection is always possible"
        assert traits.ids or Interrupt.MUTE not in traits.policies

    @case("traits: seats")
    def test_seats_and_slots(self) -> None:
        """Who sits counts; several at once need ids; muted ones need slots beside the seats."""
        traits = self.traits
        assert 1 <= traits.seats <= traits.slots
        assert traits.ids or traits.seats == traits.slots == 1
        if traits.max_muted is not None:
            assert traits.ids and traits.slots >= traits.seats + traits.max_muted

    @case("traits: times")
    def test_times(self) -> None:
        """All are positive, and a keepalive comes before what it prevents."""
        traits = self.traits
        for name, value in attrs.asdict(traits, recurse=False).items():
            if isinstance(value, float):
                assert value > 0, name
        if traits.max_idle is not None and traits.max_age is not None:
            assert traits.max_idle <= traits.max_age
        if traits.source_pause is not None and traits.generation_keepalive is not None:
            assert traits.generation_keepalive < traits.source_pause
        assert traits.max_text is None or traits.max_text > 0
        assert traits.max_message >= 1024 * 1024

    @case("traits: names")
    def test_names(self) -> None:
        """The key has a variable, and formats are spelled as everywhere."""
        traits = self.traits
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", traits.key_variable)
        assert traits.formats and len(set(traits.formats)) == len(traits.formats)
        for name in traits.formats:
            assert AudioFormat.parse(name).name == name
        assert not (traits.voice_required and traits.voice is not None)

    @case("traits: class")
    def test_traits_belong_to_the_class(self) -> None:
        """What an instance's own options make of them is another value; both are frozen."""
        before = attrs.asdict(type(self.adapter).traits)
        assert isinstance(self.traits, Traits)
        assert self.adapter.tuned() == self.adapter.tuned()
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            self.traits.seats = 7  # type: ignore[misc]
        assert attrs.asdict(type(self.adapter).traits) == before

    @case("traits: kept")
    def test_traits_have_frames(self) -> None:
        """What a trait says is sent, is sent: keepalives, a second step, a flush, a cancel."""
        traits, gen = self.traits, self.generation()
        assert traits.generation_keepalive is None or list(self.adapter.keepalive(gen))
        assert traits.connection_keepalive is None or list(self.adapter.keepalive(None))
        assert traits.release_after is None or list(self.adapter.release(gen))
        assert (traits.flush is Flush.MESSAGE) == bool(list(self.adapter.flush(gen)))
        assert traits.interrupt is not Interrupt.CANCEL or list(self.adapter.interrupt(gen))

    # --- options ----------------------------------------------------------------------------------

    @case("options: formats")
    def test_formats(self) -> None:
        """Each that is promised can be had, the first is the default, and no other can."""
        plain = self.make(format=None)
        assert plain.options().format.name == self.traits.formats[0]
        for name in FORMATS:
            other = self.make(format=name)
            if name in self.traits.formats:
                assert other.options().format.name == name
            else:
                with pytest.raises(InvalidFormat):
                    other.options()

    @case("options: voices")
    def test_voices(self) -> None:
        """What could break out of a URL or a header is refused before there is one."""
        for voice in EVIL_VOICES:
            with pytest.raises(InvalidVoice):
                self.make(voice=voice).options()

    @case("options: default voice")
    def test_a_voice_that_is_needed(self) -> None:
        """Where there is no default, its absence is told by name."""
        none = self.make(voice=None)
        if self.traits.voice_required:
            with pytest.raises(InvalidVoice, match="voice="):
                none.options()
        else:
            assert none.options().voice == self.traits.voice

    @case("options: frozen")
    def test_adapters_are_frozen_values(self) -> None:
        """Equal if their options are, usable in sets, and nothing can be changed."""
        twin = self.make()
        assert twin == self.adapter and hash(twin) == hash(self.adapter)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            twin.voice = "other"  # type: ignore[misc]

    @case("options: pool key")
    def test_pool_keys(self) -> None:
        """Hashable, equal for equal options, and another where a connection opens otherwise."""
        options = self.adapter.options()
        key = self.adapter.pool_key(options)
        assert isinstance(key, Hashable)
        assert {key: 1}[self.make().pool_key(options)] == 1
        changes: list[dict[str, object]] = [{"format": name} for name in self.traits.formats]
        changes += [{"voice": "other-voice"}, {"language": "fr"}, {"model": "other"}]
        changes.append({**self.other})
        opened: dict[object, Hashable] = {}
        for change in changes:
            try:
                other = self.make(**change)
                shake = other.handshake(other.options(), None)
            except Error:
                continue  # not an option of this provider
            how = shake.url, tuple(shake.headers.items()), shake.subprotocols, shake.first_frames
            opened[how] = other.pool_key(other.options())
        assert len(set(opened.values())) == len(opened), "a connection would be shared wrongly"

    # --- the handshake ----------------------------------------------------------------------------

    @case("handshake: form")
    def test_handshake(self) -> None:
        """An encrypted URL in ASCII, headers that are headers, and the key is in there once."""
        shake = self.adapter.handshake(self.adapter.options(), SECRET)
        assert re.fullmatch(r"(wss|https)://[A-Za-z0-9.-]+(:[0-9]+)?/[!-~]*", shake.url)
        if self.http:
            assert not self.traits.reusable and self.traits.input is Input.WHOLE, (
                "a request says all at once, and serves one generation"
            )
        for name, value in shake.headers.items():
            assert re.fullmatch(r"[A-Za-z0-9-]+", name) and re.fullmatch(r"[ -~]+", value)
        everything = [shake.url, *shake.headers.values(), *shake.subprotocols, *shake.first_frames]
        assert sum(SECRET in str(part) for part in everything) == 1

    @case("handshake: secrecy")
    def test_no_repr_shows_the_key(self) -> None:
        """Not the handshake's, wherever the provider wants its key, nor any other."""
        options = self.adapter.options()
        shake = self.adapter.handshake(options, SECRET)
        for thing in (shake, attrs.evolve(shake), self.adapter, options, self.generation()):
            assert SECRET not in repr(thing) and SECRET not in str(thing)

    @case("handshake: no key")
    def test_no_key_no_trace_of_one(self) -> None:
        """Without a key nothing says None."""
        shake = self.adapter.handshake(self.adapter.options(), None)
        assert "None" not in f"{shake.url}{shake.headers}{shake.first_frames}"

    # --- one generation ---------------------------------------------------------------------------

    @classmethod
    def generation(cls, id: str = ID) -> Generation:
        return Generation(id, cls.adapter.options())

    def life(self, gen: Generation, *, interrupted: bool) -> Iterator[list[Frame]]:
        """Yield the frames of one generation as the core asks for them, step by step."""
        adapter = self.adapter
        yield [*adapter.open(gen), *adapter.text(gen, "Hello")]
        yield list(adapter.text(gen, "there."))
        yield list(adapter.flush(gen))
        yield list(adapter.keepalive(gen))
        yield list(adapter.text(gen, 'Née <break time="1s"/> "q" \\ 😀'))
        if interrupted:
            yield list(adapter.interrupt(gen))
        else:
            gen.ended = True
            yield list(adapter.end(gen))
            yield list(adapter.release(gen))

    def frames_of(self, id: str, *, interrupted: bool) -> list[Frame]:
        gen = self.generation(id)
        steps = list(self.life(gen, interrupted=interrupted))
        assert gen.ended is not interrupted and gen.id == id, "the core keeps these"
        return [frame for step in steps for frame in step]

    @case("frames: form")
    def test_frames_are_messages(self) -> None:
        """Text or bytes, never empty; what begins like JSON is JSON."""
        frames = self.frames_of(ID, interrupted=False) + self.frames_of(ID, interrupted=True)
        frames += [*self.adapter.keepalive(None), *self.adapter.shutdown()]
        frames += self.adapter.handshake(self.adapter.options(), SECRET).first_frames
        for frame in frames:
            assert type(frame) in (str, bytes) and frame
            if isinstance(frame, str):
                frame.encode()  # a lone surrogate cannot be sent
                if frame[0] in "{[":
                    json.loads(frame)

    @case("frames: text")
    def test_text_is_sent_as_it_is(self) -> None:
        """What is written is somewhere in the frames, quoted by JSON or not."""
        for piece in ("Hello", "there.", ' say  "é😀"\n'):
            gen = self.generation()
            list(self.adapter.open(gen))
            frames = "".join(map(_readable, self.adapter.text(gen, piece)))
            assert piece in frames, "an adapter must not change the text"

    @case("frames: ids")
    def test_ids(self) -> None:
        """Where audio names its generation so do the frames; elsewhere none does."""
        for interrupted in (False, True):
            one = list(self.life(self.generation(ID), interrupted=interrupted))
            two = list(self.life(self.generation(OTHER), interrupted=interrupted))
            for mine, theirs in zip(one, two, strict=True):
                # A keepalive of the connection may do for its generations.
                different = not set(mine) & set(theirs)
                assert different if self.traits.ids else mine == theirs

    @case("frames: opening")
    def test_a_generation_begins_with_its_opening(self) -> None:
        """No later step repeats it, so an end or an interrupt never goes ahead of it."""
        gen = self.generation()
        opening, awake = list(self.adapter.open(gen)), list(self.adapter.keepalive(gen))
        first = self.life(self.generation(), interrupted=False)
        assert next(first)[: len(opening)] == opening
        for step in first:
            # The shortest of openings may be no more than a keepalive.
            assert not any(frame in opening and frame not in awake for frame in step)

    @case("frames: end")
    def test_the_end_is_said_once(self) -> None:
        """And an interruption after it does not say it again."""
        gen = self.generation()
        gen.ended = True
        end = list(self.adapter.end(gen))
        assert end or self.traits.input is Input.WHOLE, "somebody has to say the text is over"
        assert not any(frame in end for frame in self.adapter.interrupt(gen))

    @case("frames: apart")
    def test_two_generations_do_not_affect_each_other(self) -> None:
        """Interleaved or one after the other, each says the same."""
        a = self.life(self.generation(ID), interrupted=True)
        b = self.life(self.generation(OTHER), interrupted=False)
        mixed_a: Steps = []
        mixed_b: Steps = []
        for step in a:
            mixed_a.append(step)
            mixed_b.append(next(b))
        mixed_b += b
        assert mixed_a == list(self.life(self.generation(ID), interrupted=True))
        assert mixed_b == list(self.life(self.generation(OTHER), interrupted=False))

    # --- verdicts ---------------------------------------------------------------------------------

    @case("verdicts")
    def test_there_is_a_verdict_on_everything(self) -> None:
        """Any status, any close code, any words: an error of ours, fit to print."""
        words = ["", "no such voice", "API key", "setup", "\x1b[2J\r\n" + "x" * 9999, "é😀"]
        statuses = (None, 0, 100, 200, 302, *range(400, 430), 500, 502, 503, 504, 999)
        codes = (None, 0, *range(1000, 1016), 3000, *range(4000, 4600, 1), 4999)
        faults: list[DialFailure | Closed] = [
            DialFailure(status=status, body=body, headers={"retry-after": "x"})
            for status in statuses
            for body in words
        ]
        faults += [Closed(code, reason) for code in codes for reason in words]
        for fault in faults:
            for busy in (True, False):
                error = self.adapter.verdict(fault, busy).error
                assert isinstance(error, Error)
                assert error.message.isprintable() and len(error.message) < 300
                assert error.retry_after is None or error.retry_after > 0


def _readable(frame: Frame) -> str:
    """Return what is in *frame*, JSON's quotes and escapes undone."""
    if isinstance(frame, bytes):
        return frame.decode("utf-8", "replace")
    try:
        return " ".join(_texts(json.loads(frame)))
    except ValueError:
        return frame


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
