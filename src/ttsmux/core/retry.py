"""When to try again, as pure arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings import RetryPolicy

if TYPE_CHECKING:
    from random import Random


def backoff(
    policy: RetryPolicy, failures: int, rng: Random, retry_after: float | None = None
) -> float:
    """
    Return the seconds to wait after the *failures*-th failure in a row (counted from 1).

    Full jitter: uniform in [0, min(cap, base · 2^(failures - 1))], because clients that failed
    together must not come back together. What the provider asked for is never undercut.
    """
    ceiling = min(policy.cap, policy.base * 2.0 ** min(failures - 1, 30))
    wait = rng.uniform(0.0, ceiling)
    return wait if retry_after is None else max(wait, retry_after)


def patience(policy: RetryPolicy, jitter: float, failures: int, rng: Random) -> float:
    """
    Return the seconds to wait with a spare after the *failures*-th failed dial in a row.

    Longer than `backoff`, for nobody waits for it: in the upper half of [0, min(breaker_cap,
    2 · jitter · 2^(failures - 1))], *jitter* being what a lost spare is put off by at most. So
    those who were spread out over that time stay spread out.
    """
    first = max(policy.base, 2.0 * jitter)
    ceiling = min(policy.breaker_cap, first * 2.0 ** min(failures - 1, 30))
    return rng.uniform(ceiling / 2, ceiling)


def pause(policy: RetryPolicy, pauses: int, rng: Random) -> float:
    """
    Return for how many seconds to leave a provider alone that has failed for long, after *pauses*.

    Each is twice as long as the one before, `breaker_base` at first and `breaker_cap` at most. A
    fifth of it is left to chance: those who gave up together return apart.
    """
    seconds = min(policy.breaker_cap, policy.breaker_base * 2.0 ** min(pauses, 30))
    return seconds * rng.uniform(0.8, 1.2)
