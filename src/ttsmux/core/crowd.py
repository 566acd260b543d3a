"""
What connections count for, in sums that are kept and not made.

A pool may have a thousand connections. Whoever decides something looks at sums; a `Share` is what
one connection adds to them. It is written anew after each input that changed the connection
(`Pool.changed`), so that no decision has to go through them all.
"""

from __future__ import annotations

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


NOTHING = Share()
_Key = TypeVar("_Key")


def share_of(conn: Connection) -> Share:
    """Return what *conn* counts for as it is now."""
    if conn.state is ConnectionState.CLOSED:
        return NOTHING
    traits, coming = conn.plan.traits, conn.coming
    free, bearable = conn.free_seats, conn.bearable
    supply = traits.seats if coming or conn.watched else free
    if coming:
        bearable = min(traits.seats, traits.max_muted or traits.seats)
    return Share(
        free=free,
        supply=supply,
        # What will have all its seats soon is as good as new, however old.
        spare=0 if conn.outdated and supply == free else supply,
        held=traits.seats if conn.state is ConnectionState.BARRIER else 0,
        bearable=bearable,
        muted=conn.muted,
        coming=coming,
        idle=conn.idle,
        retirable=conn.retirable,
        draining=conn.state is ConnectionState.DRAINING,
        closing=conn.state is ConnectionState.CLOSING,
    )


class Crowd:
    """Connections that share a limit: all of a client, or those with one provider's key."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.sums = NOTHING
        self.idle: dict[Connection, None] = {}
        """Those with nothing on them."""

    def count(self, conn: Connection, share: Share) -> None:
        """Put *share* in the place of what *conn* has counted for so far."""
        self.sums = replaced(self.sums, conn.share, share)
        mark(self.idle, conn, conn.idle)


def replaced(sums: Share, old: Share, new: Share) -> Share:
    """Return *sums* with *new* in the place of *old*."""
    if old == new:
        return sums
    return Share(*map(add, sums, map(sub, new, old)))


def mark(among: dict[_Key, None], key: _Key, there: bool) -> None:
    """Have *key* among others or not; its place among them stays."""
    if there:
        among[key] = None
    else:
        among.pop(key, None)
