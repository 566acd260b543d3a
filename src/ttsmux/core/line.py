"""
Who waits in a lane, first come, first served.

Nothing that is done for each input goes through all of them: thousands may wait.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .speech import Speech

_DEAD = 64


class Line:
    """
    Speeches that wait for a connection of one lane.

    Each has a *place*, a number that is lower the sooner it is its turn, whichever the lane.
    """

    def __init__(self) -> None:
        self.urgent: dict[Speech, int] = {}
        """Those with something to say."""
        self.hopeful: OrderedDict[Speech, int] = OrderedDict()
        """Those without text yet: a connection is dialled for them, not reserved."""
        self.newcomers: dict[Speech, None] = {}
        """Those of them of which nothing is spoken yet."""
        self.unasked: dict[Speech, None] = {}
        """Those who have yet to say whether they wait for as long as their provider asks for."""
        self._at: dict[int, Speech] = {}
        """All of them by their places."""
        # Heaps of the places of the urgent; one that was left is dropped when it comes up.
        self._order: list[int] = []
        self._ready: list[int] = []
        self._resting: list[tuple[float, int]] = []
        """Those that are begun again later, by the time."""
        self._left = 0
        """Places, at most, that are still in a heap although nobody has them."""
        self._failed = 0
        """Dials that those who wait have waited for."""
        self._failed_at: deque[float] = deque()
        """When; of the last of them, as many as somebody may have to count."""
        self._most_patient = 0
        self._patience: list[tuple[int, int]] = []
        """A heap of all: at how many of those dials each has something to decide."""

    def __len__(self) -> int:
        return len(self._at)

    def __bool__(self) -> bool:
        return bool(self._at)

    def __iter__(self) -> Iterator[Speech]:
        """Go through all of them in the order of their turns."""
        return chain(sorted(self.urgent, key=self.urgent.__getitem__), self.hopeful)

    @property
    def refusable(self) -> list[Speech]:
        """
        Those who hear at once that there is nothing to wait for.

        Not who is between two generations: all that it had to say is spoken, perhaps it is over.
        """
        if not self.urgent and not self.newcomers:
            return []
        return [*sorted(self.urgent, key=self.urgent.__getitem__), *self.newcomers]

    @property
    def first(self) -> Speech | None:
        """Who of the urgent comes first, resting or not."""
        return self._top(self._order)

    @property
    def ready(self) -> Speech | None:
        """Who takes the next seat."""
        return self._top(self._ready)

    def _top(self, heap: list[int]) -> Speech | None:
        while heap:
            if (speech := self._at.get(heap[0])) is not None:
                return speech
            heapq.heappop(heap)
        return None

    @property
    def turn(self) -> tuple[bool, float]:
        """The place of this line among those of all lanes: urgent ones come first."""
        if (first := self.first) is not None:
            return False, self.urgent[first]
        return True, next(iter(self.hopeful.values()), float("inf"))

    def hope(self, speech: Speech, place: int) -> None:
        """Wait for text."""
        self.hopeful[speech] = place
        self._at[place] = speech
        if not speech.under_way:
            self.newcomers[speech] = self.unasked[speech] = None
        self._bear(speech, place)

    def join(self, speech: Speech, place: int, now: float) -> None:
        """Wait for a seat."""
        self._hope_no_more(speech)
        self.urgent[speech] = place
        self._at[place] = speech
        self.unasked[speech] = None
        self._bear(speech, place)
        heapq.heappush(self._order, place)
        if speech.not_before > now:
            heapq.heappush(self._resting, (speech.not_before, place))
        else:
            heapq.heappush(self._ready, place)

    def leave(self, speech: Speech) -> bool:
        """Wait no more; tell whether *speech* did."""
        if not self._hope_no_more(speech):
            if speech not in self.urgent:
                return False
            self._tell(speech)
            del self._at[self.urgent.pop(speech)]
            self.unasked.pop(speech, None)
            self._left += 1
        if self._left > len(self._at) + _DEAD:
            self._clear_out()
        return True

    def _hope_no_more(self, speech: Speech) -> bool:
        if speech not in self.hopeful:
            return False
        self._tell(speech)
        del self._at[self.hopeful.pop(speech)]
        self.newcomers.pop(speech, None)
        self.unasked.pop(speech, None)
        self._left += 1
        return True

    def _clear_out(self) -> None:
        """Drop the places that were left."""
        at, self._left = self._at, 0
        self._patience = [entry for entry in self._patience if entry[1] in at]
        self._order = [place for place in self._order if place in at]
        self._ready = [place for place in self._ready if place in at]
        self._resting = [entry for entry in self._resting if entry[1] in at]
        heapq.heapify(self._patience)
        heapq.heapify(self._order)
        heapq.heapify(self._ready)
        heapq.heapify(self._resting)

    # --- a provider that asks to be left alone ----------------------------------------------------

    def ask_all(self) -> None:
        """It asks for more time than before: whoever could wait for that is to be asked again."""
        self.unasked = dict.fromkeys(self.refusable)

    def ask(self) -> list[Speech]:
        """Return those who are to be asked now, and not again."""
        asked, self.unasked = self.unasked, {}
        return list(asked)

    # --- dials that fail --------------------------------------------------------------------------

    def dial_failed(self, now: float) -> list[Speech]:
        """
        Count a dial that all of them have waited for; return who has to decide, by their turns.

        The others count it for themselves when they leave, or when they are asked.
        """
        self._failed += 1
        self._failed_at.append(now)
        if len(self._failed_at) > self._most_patient:
            self._failed_at.popleft()
        found = []
        while self._patience and self._patience[0][0] <= self._failed:
            _, place = heapq.heappop(self._patience)
            if (speech := self._at.get(place)) is not None:
                found.append((speech not in self.urgent, place, speech))
        found.sort()
        for _, place, speech in found:
            self._tell(speech)
            heapq.heappush(self._patience, (self._failed + 1, place))  # if it stays
        return [speech for _, _, speech in found]

    def missed(self, speech: Speech) -> list[float]:
        """Return when dials failed that *speech* has waited for and not counted yet."""
        number = self._failed - speech.dials_counted
        if number == 0 or not (speech in self.urgent or speech in self.hopeful):
            return []
        return list(self._failed_at)[-number:]

    def _bear(self, speech: Speech, place: int) -> None:
        speech.dials_counted, patience = self._failed, speech.patience
        self._most_patient = max(self._most_patient, patience)
        heapq.heappush(self._patience, (self._failed + patience, place))

    def _tell(self, speech: Speech) -> None:
        if speech.dials_counted != self._failed:
            speech.dials_failed(self.missed(speech))
            speech.dials_counted = self._failed

    # --- rests ------------------------------------------------------------------------------------

    def wake(self, now: float) -> None:
        """Have those be ready who have rested for long enough."""
        while (alarm := self.next_alarm) is not None and alarm <= now:
            _, place = heapq.heappop(self._resting)
            heapq.heappush(self._ready, place)

    @property
    def next_alarm(self) -> float | None:
        """When somebody has rested for long enough."""
        while self._resting:
            due, place = self._resting[0]
            if place in self._at:
                return due
            heapq.heappop(self._resting)
        return None
