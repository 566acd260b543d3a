"""
What connections count for, in sums that are kept and not made.

A pool may have a thousand connections. Whoever decides something looks at sums; a `Share` is what
one connection adds to them. It is written anew after each input that changed the connection
(`Pool.changed`), so that no decision has to go through them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add, sub
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .states import ConnectionState

if TYPE_CHECKING:
    from .connection import Connection


class Share(NamedTuple):
    """What a connection adds to the sums, and all of them together."""

    free: int = 0
    """Seats for speeches that begin now."""
    supply: int = 0
    """Those, and the seats of a connection that is being dialled or watched."""
    spare: int = 0
    """The same, but for what is to be replaced."""
    held: int = 0
    """Seats behind a barrier."""
    bearable: int = 0
    """Speeches that may begin one after the other even if each is interrupted."""
    muted: int = 0
    """Generations that nobody listens to."""
    coming: int = 0
    idle: int = 0
    retirable: int = 0
    """Whether it may be told to take nothing new."""
    draining: int = 0
    closing: int = 0

    @property
    def warm(self) -> int:
        return self.coming + self.idle

    def leaves_more_than(self, old: Share) -> bool:
        """Return whether there is more to take than before for somebody who needs the room."""
        more = self.free > old.free or self.idle > old.idle
        return more or self.retirable > old.retirable

    def plus(self, change: Iterable[int]) -> Share:
        return _share(Share, map(add, self, change))

    def less(self, old: Share) -> tuple[int, ...]:
        return tuple(map(sub, self, old))


_share = tuple.__new__
NOTHING = Share()
_Key = TypeVar("_Key")


def share_of(conn: Connection) -> Share:
    """Return what *conn* counts for as it is now."""
    state, traits = conn.state, conn.plan.traits
    if state is ConnectionState.CLOSED:
        return NOTHING
    if state is ConnectionState.CLOSING:
        return Share(muted=conn.muted, closing=True)
    if conn.coming:
        bearable = min(traits.seats, traits.max_muted or traits.seats)
        seats = traits.seats
        return Share(supply=seats, spare=seats, bearable=bearable, coming=True)
    free = conn.free_seats
    supply = traits.seats if conn.watched else free
    return Share(
        free=free,
        supply=supply,
        # What will have all its seats soon is as good as new, however old.
        spare=0 if conn.outdated and supply == free else supply,
        held=traits.seats if state is ConnectionState.BARRIER else 0,
        bearable=free if traits.max_muted is None else conn.bearable,
        muted=conn.muted if conn.generations else 0,
        idle=conn.idle,
        retirable=conn.retirable,
        draining=state is ConnectionState.DRAINING,
    )


class Crowd:
    """Connections that share a limit: all of a client, or those with one provider's key."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.sums = NOTHING
        self.idle: dict[Connection, None] = {}
        """Those with nothing on them."""

    def count(self, conn: Connection, share: Share, change: Iterable[int]) -> None:
        """*conn* counts for *share* from now on, which is a *change*."""
        self.sums = self.sums.plus(change)
        if share.idle != conn.share.idle:
            mark(self.idle, conn, share.idle > 0)


def mark(among: dict[_Key, None], key: _Key, there: bool) -> None:
    """Have *key* among others or not; its place among them stays."""
    if there:
        among[key] = None
    else:
        among.pop(key, None)
