"""The clock of a discrete-event simulation: what is planned happens in the order of its time."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

Event = TypeVar("Event")


class Events(Generic[Event]):
    """Events by time; those of one time in the order in which they were planned. More may be planned on the way.

    >>> events = Events[str]()
    >>> events.plan(2, "end")
    >>> events.plan(0, "begin")
    >>> while events:
    ...     print(*events.next())
    0 begin
    2 end
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Event]] = []
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self._heap)

    def plan(self, time: float, event: Event) -> None:
        """Have `event` happen at `time`, which is not before now."""
        heapq.heappush(self._heap, (time, self._number, event))
        self._number += 1

    def next(self) -> tuple[float, Event]:
        """Return the next event with its time, which is now."""
        time, _, event = heapq.heappop(self._heap)
        return time, event
