"""
The waterfall of a speech, as text: what its time went for.

Plain ASCII of at most 80 columns, for a terminal, a log or a bug report; no word of what was said.
The time until the first audio and the time after it have a scale each: the one is what a listener
waits for, the other is as long as the speech.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from .metrics import DIAL, IN_LINE, REQUEST, Metrics, Phase, Timeline

_WIDTH = 80
_LABEL, _NUMBER = 13, 12
_WORTH = 0.001
"""Seconds of a dial that are worth a word."""
_BAR = _WIDTH - _LABEL - _NUMBER - 2


def explain(
    name: str, state: str, times: Timeline, metrics: Metrics, pausing: float, now: float
) -> str:
    """
    Say how the speech called *name* has spent its time until *now*, or until it ended.

    *pausing*: for how long it has been without text that is yet to come.
    """
    phases = times.phases(now)
    before = [phase for phase in phases if not phase.heard]
    after = [phase for phase in phases if phase.heard]
    lines = [f"{name}: {state}"[:_WIDTH], ""]
    unheard = "so far" if times.ended_at is None else "in all"
    lines += _waterfall(before, "first audio" if after else unheard, metrics)
    if after:
        lines += ["", *_waterfall(after, "in all", metrics)]
    lines.append("")
    for label, fact in _facts(metrics, times.dialled_early, pausing):
        first, *rest = textwrap.wrap(fact, _WIDTH - _LABEL)
        lines += [f"{label:<{_LABEL}}{first}", *(" " * _LABEL + line for line in rest)]
    return "\n".join(lines)


def _waterfall(phases: Sequence[Phase], sum_of: str, metrics: Metrics) -> Iterator[str]:
    """Draw *phases* below one another, and say what they add up to, counted from `speak()`."""
    begin, end = phases[0].begin, phases[-1].end
    for phase in phases:
        if phase.seconds > 0.0 or phase.name not in IN_LINE:
            # Between rounded instants, so that what is shown adds up to the sum that is shown.
            shown = round(phase.end * 1000) - round(phase.begin * 1000)
            bar = _bar(phase.begin - begin, phase.end - begin, end - begin)
            yield f"{phase.name:<{_LABEL}}{_milliseconds(shown)}  {bar}".rstrip()
        if phase.name in (DIAL, REQUEST):
            for part, seconds in _parts(metrics):
                yield f"  {part:<{_LABEL - 2}}{_milliseconds(round(seconds * 1000))}"
    yield f"{sum_of:<{_LABEL}}{_milliseconds(round(end * 1000))}"


def _parts(metrics: Metrics) -> Iterator[tuple[str, float]]:
    """Go through the parts of the dial, the last of which is the rest, if it is worth a word."""
    yield from metrics.dial_parts.items()
    rest = (metrics.connect or 0.0) - (metrics.setup or 0.0) - sum(metrics.dial_parts.values())
    if metrics.dial_parts and rest >= _WORTH:  # which a request has none of
        yield "other", rest


def _bar(begin: float, end: float, whole: float) -> str:
    if end <= begin:
        return ""
    left, right = round(begin / whole * _BAR), round(end / whole * _BAR)
    width = max(right - left, 1)  # what took any time at all is seen
    return " " * min(left, _BAR - width) + "#" * width


def _milliseconds(number: int) -> str:
    return f"{number:>{_NUMBER - 3},} ms"


def _facts(metrics: Metrics, early: float, pausing: float) -> Iterator[tuple[str, str]]:
    """Say what a waterfall does not show, each with a label."""
    if metrics.ttfa is not None:
        yield "ttfa", f"{metrics.ttfa * 1000:,.0f} ms from the first text sent to audio in hand"
    if metrics.connect is not None:
        dialled = f"dialled in {metrics.connect * 1000:,.0f} ms"
        if early >= _WORTH:
            dialled += f", {early * 1000:,.0f} ms of it before there was text"
        yield "connection", "open before" if metrics.connection_reused else dialled
    yield "attempts", f"{metrics.attempts}"
    audio = f"{metrics.audio_seconds:.2f} s handed out"
    if metrics.leading_silence is not None:
        audio += f", {metrics.leading_silence * 1000:,.0f} ms of silence at the start"
    yield "audio", audio
    if metrics.gaps:
        longest = f"the longest {metrics.longest_gap * 1000:,.0f} ms"
        yield "gaps", f"{metrics.gaps}: {metrics.gap_seconds * 1000:,.0f} ms in all, {longest}"
    else:
        yield "gaps", "none"
    waited = f"{metrics.text_wait * 1000:,.0f} ms"
    if pausing >= _WORTH:
        waited += f", {pausing * 1000:,.0f} ms of it until now: it waits for write() or end()"
    yield "text wait", waited
    sent, heard, wasted = (
        metrics.characters,
        metrics.characters_delivered,
        metrics.characters_wasted,
    )
    yield "characters", f"{sent:,} sent, {heard:,} heard, {wasted:,} wasted"
    if metrics.usage:
        yield "usage", ", ".join(f"{name} {amount:g}" for name, amount in metrics.usage.items())
