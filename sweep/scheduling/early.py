"""Ray that starts, or is connected to, while its sweep is still planned, and ends with it. No ray is imported before.

    with early(where) as where:
        where.early.begin()                             # once the dataset is open: from here on Ray starts
        ...                                             # the split, the weights, the plan
        run_trials(work, workplace, where, reporter)    # waits for what is left of the start

Until `begin` there is no thread and no process. Whatever ends the block, Ray has ended when the block has: an error,
and Ctrl-C, wait for the start that is under way, as one that is cut off would leave processes behind.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from sweep.scheduling.resources import Available, Where


class StartedEarly:
    """A cluster, or the connection to one, that a thread starts and ends. Linux kills Ray's processes with the thread
    that made them (PR_SET_PDEATHSIG, which Ray sets), not only with the process: so one thread does both."""

    def __init__(self, address: str | None, log: Path) -> None:
        self.made = time.monotonic()
        self._address, self._log = address, log
        self._thread: Thread | None = None
        self._is_up, self._ends = Event(), Event()
        self._available: Available | None = None
        self._error: BaseException | None = None
        self._notes: list[str] = []

    def begin(self) -> None:
        """Start Ray, where it has not been begun; returns at once."""
        if self._thread is None and not self._ends.is_set():
            from sweep.scheduling.cluster import cluster  # imports ray: here, as two threads that import can meet

            start = functools.partial(cluster, self._address, self._log, self._notes.append)
            self._thread = Thread(target=self._hold, args=[start], name="Ray, started early")
            self._thread.start()

    def _hold(self, start: Callable[[], contextlib.AbstractContextManager[Available]]) -> None:
        try:
            with start() as self._available:
                self._is_up.set()
                self._ends.wait()
        except BaseException as error:  # for the thread that waits for Ray
            self._error = error
        finally:
            self._is_up.set()

    @property
    def is_begun(self) -> bool:
        """Whether Ray starts, runs or has ended: `available` tells of it."""
        return self._thread is not None

    @property
    def is_free(self) -> bool:
        """Whether Ray starts or runs, for a round of trials by `cluster`."""
        return self.is_begun and not self._ends.is_set()

    def available(self) -> Available:
        """Wait until Ray is there; return its resources then, also when it has ended. Raises what
        `sweep.scheduling.cluster` raises."""
        self._is_up.wait()
        if self._available is None:
            raise self._error or RuntimeError("Ray, which was started early, has ended")
        return self._available

    @contextlib.contextmanager
    def cluster(self, note: Callable[[str], object]) -> Iterator[Available]:
        """Wait until Ray is there; give its resources; end it. Does and raises what `sweep.scheduling.cluster` does."""
        try:
            self.available()
            for text in self._notes:
                note(text)

            from sweep.scheduling.cluster import available_now

            yield available_now()  # nodes may have come while the sweep was planned
        finally:
            self.end()
            if self._error and self._available is not None:
                raise self._error  # of the shutdown

    def end(self) -> None:
        """End Ray, where it was begun, and wait until it has ended."""
        self._ends.set()
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # Ctrl-C came before it ran: it ends by itself
                self._thread.join()


@contextlib.contextmanager
def early(where: Where) -> Iterator[Where]:
    """Give `where` with a Ray, here or at its address, that can be begun, and ends with the block."""
    started = StartedEarly(where.address, where.log)
    try:
        yield replace(where, early=started)
    finally:
        started.end()
