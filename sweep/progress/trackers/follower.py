"""Trackers follow the rows of a sweep, each in a thread of its own.

    with following(addresses, sweep, folder.file.lines, say):
        ...                            # the sweep; it waits for no tracker

What a tracker has is asked whenever it is opened, and what it lacks is written: after it was away, at the next start,
or when it is new to a sweep that has long ended.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread
from typing import Final

from galaxytl.results.rows import results_in, takes_place
from galaxytl.system.credentials import without_secrets
from galaxytl.trial import TrialResult
from sweep.progress.trackers.addresses import Address
from sweep.progress.trackers.runs import ParentRun, Tracker, child_run, row_digest

LOOK_SECONDS: Final = 1.0
LONGEST_PAUSE: Final = 30.0
PATIENCE: Final = 20.0
"""Seconds that the end of a sweep waits for a tracker of which no sign comes; for one that writes, until it has all."""
IMPATIENCE: Final = 2.0
"""The same, where the sweep ends in an error or by Ctrl-C."""


@contextlib.contextmanager
def following(
    addresses: Sequence[Address], sweep: ParentRun, lines: Callable[[], Sequence[bytes]], say: Callable[[str], object]
) -> Iterator[None]:
    """Have the trackers follow meanwhile. lines: all rows as they stand in the file. say: is told when one is away."""
    followers = [Follower(address, sweep, lines, say) for address in addresses]
    patience = IMPATIENCE
    try:
        yield
        patience = PATIENCE
    finally:
        for follower in followers:
            follower.stop()
        for follower in followers:
            follower.close(patience)


class Rows:
    """The row of each trial, of lines to which some are added now and then."""

    def __init__(self) -> None:
        self.lines: dict[str, bytes] = {}
        self.status: dict[str, str] = {}
        self._num_lines, self._last = 0, b""

    def take(self, lines: Sequence[bytes]) -> list[str]:
        """Return the trials whose row has come since the last time; all, where the file was made anew meanwhile."""
        number = self._num_lines
        if len(lines) < number or (number and lines[number - 1] != self._last):
            self.lines, self.status, number = {}, {}, 0
        new = dict.fromkeys(self._new(lines[number:]))
        self._num_lines, self._last = len(lines), lines[-1] if lines else b""
        return list(new)

    def _new(self, lines: Sequence[bytes]) -> Iterator[str]:
        for line in lines:
            for result in results_in(line):
                if isinstance(result, TrialResult) and takes_place(result, self.status.get(result.trial_id)):
                    self.lines[result.trial_id], self.status[result.trial_id] = line, result.status
                    yield result.trial_id


class Follower:
    """Keeps one tracker up to date."""

    def __init__(
        self, address: Address, sweep: ParentRun, lines: Callable[[], Sequence[bytes]], say: Callable[[str], object]
    ) -> None:
        self._address, self._sweep, self._lines, self._say = address, sweep, lines, say
        self._rows = Rows()
        self._waiting: dict[str, None] = {}
        """Trials that may not be there yet, in the order of their rows."""
        self._there: dict[str, str] = {}
        """What the tracker has, as `Tracker.rows` gives it."""
        self._tracker: Tracker | None = None
        self._is_away = self._is_closed = False
        self._stop, self._give_up = Event(), Event()
        self._sign = time.monotonic()
        """When something last succeeded."""
        self._thread = Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have it end, once all is written."""
        self._sign = time.monotonic()
        self._stop.set()

    def close(self, patience: float) -> None:
        """Wait until it has ended; no longer than so many seconds after its last sign."""
        while self._thread.is_alive() and time.monotonic() - self._sign < patience:
            self._thread.join(0.1)
        self._give_up.set()
        if self._is_closed and self._tracker:
            self._say(f"Tracked   {without_secrets(self._tracker.place)}")
        else:
            number = len(self._waiting)
            lacks = f"{self._address} lacks {number} trials" if number else f"{self._address} was not told of the end"
            self._say(f"note: {lacks}; the same command brings it up to date")

    def _follow(self) -> None:
        pause = 0.0
        while True:
            is_last = self._stop.wait(pause)
            try:
                self._catch_up()
                if is_last and self._tracker:
                    self._tracker.close(Counter(self._rows.status.values()))
                    self._is_closed = True
            except Exception as error:  # whatever its library raises: no tracker is worth a sweep
                self._note_away(error)
                pause = min(max(2 * pause, LOOK_SECONDS), LONGEST_PAUSE) * random.uniform(0.8, 1.2)
            else:
                self._note_back()
                pause = LOOK_SECONDS
            if is_last or self._give_up.is_set():
                return

    def _catch_up(self) -> None:
        self._waiting.update(dict.fromkeys(self._rows.take(self._lines())))
        if self._tracker is None:
            tracker = self._address.open(self._sweep)
            self._there = tracker.rows()
            self._tracker = tracker
        for trial_id in list(self._waiting):
            if self._give_up.is_set():
                return
            self._write(trial_id, self._rows.lines[trial_id], self._tracker)
            del self._waiting[trial_id]
            self._sign = time.monotonic()

    def _write(self, trial_id: str, line: bytes, tracker: Tracker) -> None:
        if self._there.get(trial_id) == row_digest(line):
            return
        result = next(r for r in results_in(line) if isinstance(r, TrialResult) and r.trial_id == trial_id)
        child = child_run(result, line)
        tracker.write(child)
        self._there[trial_id] = child.row

    def _note_away(self, error: Exception) -> None:
        self._tracker = None  # what it has by then is asked again
        if not self._is_away:
            self._is_away = True
            reason = without_secrets(" ".join(str(error).split()))[:300].rstrip(".")
            self._say(f"note: {self._address} cannot be written to just now; the sweep goes on. {reason}")

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._say(f"{self._address} answers again; it has all rows")
