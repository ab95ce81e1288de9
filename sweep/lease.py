"""One driver at a time: a lease with a heartbeat, kept beside what it is of.

    with Lease(in_folder(out)) as lease:     # raises LeaseError while another driver shows signs of life
        lease.check()                        # before each row: raises LeaseError when another has taken over

A driver counts beats where its lease is kept: in lease.json of a results folder, in an attribute of an Optuna study.
Whoever comes later watches whether they go on, by its own clock, so that no clock is compared with another host's. A
driver that was suspended for so long that another took over finds the other's name there, and writes no more.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from galaxytl.command import UsageError
from galaxytl.credentials import without_secrets
from galaxytl.data import DataError
from galaxytl.storage import Storage

FILE_NAME: Final = "lease.json"
BEAT_SECONDS = 5.0
"""Between two signs of life of a driver."""
BEATS_OF_THE_DEAD: Final = 3
"""When so many beats have not come, a driver is taken for dead."""
LOOKS_A_BEAT: Final = 5
"""Of who watches whether a driver lives. It counts them, not the time: it may itself be held up."""
BEATS_AT_STORAGE: Final = 12
"""At a storage: there a beat of one that was cut off may still be under way, through three tries of a request, and be
written over the lease of who has taken over."""
SETTLE_SECONDS: Final = 0.2
"""Of drivers that come at once, the one that wrote last leads: the others look again after this."""
CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while a laptop sleeps, where there is such a clock."""

Values = Mapping[str, Any]
"""Of a lease: owner, host, processes, pid, command, beat, and "ended" when its driver is through."""


class LeaseError(UsageError):
    """Another driver leads; the message says which, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where a lease is kept, and what it is of."""

    read: Callable[[], Values | None]
    """None where there is no lease; what is no lease is one without values."""
    write: Callable[[Values], None]
    """Whole: readers see the lease before or the one after."""
    rule: str
    """What one driver at a time may do: "may write to a results folder"."""
    what: str
    """That folder, or study."""
    option: str
    """Chooses another."""
    errors: tuple[type[Exception], ...] = (OSError,)
    """What `read` and `write` raise where they cannot."""
    may_be_away: bool = False
    """Whether a driver goes on while they cannot: then it looks at its beats alone, and need not wait for an answer."""
    beats_of_the_dead: int = BEATS_OF_THE_DEAD


def in_folder(folder: Path) -> Place:
    """The lease of a results folder."""
    path = folder / FILE_NAME

    def read() -> Values | None:
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:  # what a power failure left, or not ours
            return {}
        return values if isinstance(values, dict) else {}

    def write(values: Values) -> None:
        unfinished = path.with_name(f".{FILE_NAME}.{values['owner']}")
        try:
            unfinished.write_text(json.dumps(values, indent=1))
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)  # what a full disk left

    return Place(read, write, "may write to a results folder", str(folder), "--out")


def in_storage(storage: Storage) -> Place:
    """The lease of the results at a storage."""

    def read() -> Values | None:
        content = storage.get(FILE_NAME)
        try:
            values = None if content is None else json.loads(content)
        except ValueError:
            return {}
        return values if isinstance(values, dict | None) else {}

    def write(values: Values) -> None:
        storage.put(FILE_NAME, json.dumps(values, indent=1).encode())

    rule, what = "may write to the results at a storage", str(storage)
    return Place(read, write, rule, what, "--out NAME", (DataError,), True, BEATS_AT_STORAGE)


class Lease:
    """Use as a context manager; it beats in a thread of its own."""

    def __init__(
        self, place: Place, note: Callable[[str], object] = lambda _: None, beat_seconds: float | None = None
    ) -> None:
        """`note` is told why it takes a while."""
        self._place, self._note, self._beat_seconds = place, note, beat_seconds or BEAT_SECONDS
        self._own = {
            "owner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "processes": process_table(),
            "pid": os.getpid(),
            "command": without_secrets(shlex.join(sys.argv)),
            "beat": 0,
        }
        self._taken_by: Values | None = None
        self._succeeded = ""
        """The owner that was taken for dead: one suspended between look and beat may write itself once more."""
        self._looked_at = -float("inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lease:
        holder = self._place.read()
        if holder is not None and not is_dead(holder):
            self._watch(holder)
            self._succeeded = holder.get("owner", "")
        self._place.write(self._own)
        time.sleep(SETTLE_SECONDS)
        self._look()
        if self._taken_by:
            raise self._in_use(self._taken_by)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(*self._place.errors):
            self._look()
            if not self._taken_by:
                self._place.write({**self._own, "ended": True})

    def check(self) -> None:
        """Before something is written: raises LeaseError when another driver leads. Looks again after a fifth of a beat
        only: rows come by the hundred, and no driver is taken for dead within it."""
        if self._place.may_be_away:
            self.stop_if_lost()
        else:
            self.confirm()

    def confirm(self) -> None:
        """As `check`, wherever the lease is kept; raises what reading it raises."""
        if time.clock_gettime(CLOCK) - self._looked_at > self._beat_seconds / 5:
            self._look()
        self.stop_if_lost()

    def stop_if_lost(self) -> None:
        """Raises LeaseError when another driver is known to lead; reads nothing, so that it can be asked often."""
        if self._taken_by:
            other, place = _driver(self._taken_by), self._place
            raise LeaseError(
                f"one driver at a time {place.rule}; {other} has taken {place.what} over, "
                "as this one was suspended or cut off for long. It stops here; what it had finished is kept"
            )

    def _look(self) -> None:
        now = time.clock_gettime(CLOCK)
        holder = self._place.read()
        owner = holder.get("owner") if holder else None
        if owner and owner == self._succeeded:
            self._place.write(self._own)
        elif holder and owner != self._own["owner"]:
            self._taken_by = holder
        self._looked_at = now

    def _watch(self, holder: Values) -> None:
        """Returns when `holder` is dead; raises LeaseError when it beats."""
        seconds = self._place.beats_of_the_dead * self._beat_seconds
        self._note(
            f"note: {self._place.what} was led by {_driver(holder)}: watching for {seconds:g} s whether it lives"
        )
        for _ in range(LOOKS_A_BEAT * self._place.beats_of_the_dead):
            time.sleep(self._beat_seconds / LOOKS_A_BEAT)
            now = self._place.read()
            if now is None or is_dead(now):
                return
            if now != holder:
                raise self._in_use(now)

    def _in_use(self, holder: Values) -> LeaseError:
        return LeaseError(
            f"one driver at a time {self._place.rule}; {self._place.what} is led by {_driver(holder)}. "
            f"Wait for it, stop it, or choose another {self._place.option}"
        )

    def _beat(self) -> None:
        beats = 0
        while not (self._taken_by or self._stop.wait(self._beat_seconds)):
            beats += 1
            with contextlib.suppress(*self._place.errors):
                self._look()
                if not self._taken_by:
                    self._place.write({**self._own, "beat": beats})


def is_dead(holder: Values) -> bool:
    """Whether a driver has surely ended; of one among other processes nothing is sure."""
    if holder.get("ended"):
        return True
    if holder.get("processes") != process_table():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@functools.cache
def process_table() -> str:
    """Where a pid names one process: on a host since its start, in a container. Several may have one host name."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def _driver(holder: Values) -> str:
    return f"process {holder.get('pid', '(unknown)')} on {holder.get('host', '(unknown)')}"
