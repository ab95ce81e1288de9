"""How much memory does a command take? The peaks of the processes that it starts: driver, workers, and all together.

    python benchmarks/memory.py make paper

The driver is the largest process that is started first hand, or is `python -m sweep.run`; a worker the largest that Ray
names "ray::...". Both are what Linux itself keeps as the most that was ever resident (VmHWM). Together: the most memory
that all had at one moment of their own (RssAnon), looked at twice a second. Pages that processes share count in each:
of mapped files, but not in what all had together; and what workers still share with the process that they are forks of.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from harness.processes import megabytes

SECONDS = 0.5
"""From one look to the next. A process that lives shorter may not be seen."""


@dataclass
class Peaks:
    """In units of 1024 kB; NaN where there was no such process."""

    driver: float = math.nan
    worker: float = math.nan
    together: float = 0.0

    def __str__(self) -> str:
        worker = "no worker" if math.isnan(self.worker) else f"a worker {self.worker:,.0f}"
        return f"driver {self.driver:,.0f}, {worker}, together {self.together:,.0f} MB"

    def look(self, root: int) -> None:
        """Look at the processes that `root` has started, and those that they have."""
        own = 0.0
        for pid, parent in descendants(root).items():
            peak, anonymous = megabytes(pid, "VmHWM"), megabytes(pid, "RssAnon")
            own += 0.0 if math.isnan(anonymous) else anonymous
            if parent == root or "-m\0sweep.run" in _command(pid):
                self.driver = _larger(self.driver, peak)
            elif _command(pid).startswith("ray::"):
                self.worker = _larger(self.worker, peak)
        self.together = max(self.together, own)


def _larger(one: float, other: float) -> float:
    return other if math.isnan(one) or other > one else one


def descendants(root: int) -> dict[int, int]:
    """Return the processes below `root`, each with its parent."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])  # after its name
    found: dict[int, int] = {}
    level = {root}
    while level := {pid for pid, parent in parents.items() if parent in level and pid not in found}:
        found |= {pid: parents[pid] for pid in level}
    return found


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


@contextlib.contextmanager
def watched_memory() -> Iterator[Peaks]:
    """Give the peaks of what this process starts meanwhile; they are whole at the end."""
    peaks, stop = Peaks(), Event()

    def watch() -> None:
        while not stop.wait(SECONDS):
            peaks.look(os.getpid())

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def main() -> int:
    if not sys.argv[1:]:
        sys.exit("error: a command is needed, like python benchmarks/memory.py make paper; got none")
    with watched_memory() as peaks:
        status = subprocess.run(sys.argv[1:], check=False).returncode
    print(f"memory: {peaks}")
    return status


if __name__ == "__main__":
    sys.exit(main())
