"""Time that passes only where somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """In place of the module `time` in one other module; `pauses` are what was slept there, seconds."""

    def __init__(self, on_sleep: Callable[[], object] = lambda: None) -> None:
        """on_sleep: called whenever somebody has slept."""
        self.now, self.pauses, self._on_sleep = 0.0, list[float](), on_sleep

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        self._on_sleep()
