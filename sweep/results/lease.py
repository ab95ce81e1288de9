"""One driver at a time: a lease with a heartbeat, kept beside what it is of.

    with Lease(in_folder(out)) as lease:     # raises LeaseError while another driver shows signs of life
        lease.check()                        # before each row: raises LeaseError when another has taken over

A driver counts beats where its lease is kept: in lease.json of a results folder, or at a storage.
Whoever comes later watches whether they go on, by its own clock, so that no clock is compared with another host's. A
driver that was suspended for so long that another took over finds the other's name there, and writes no more.

A lease is written over only where it is still as it was read: of drivers that come at once one is the first, however
long their writes take, and a late beat changes nothing. Each takeover has a generation, one more than the one before.
A look at the lease does not keep a write from coming late; so rows are written under the lock under which a folder's
lease changes hands, and to pieces of a generation that is closed at a storage (`galaxytl.results.stored_rows`).

Where a network drive keeps no locks (NFS with `nolock`) a folder's row may still come late: one, as its driver looks
again before the next. Rows name no generation to be refused by: they are merged between folders, where numbers mean
others, and this one is of a finished trial. It stays, `rows_file` says so, and readers take one row a trial.

A driver that ends with an error before it has written anything gives the lease back to the one before: it may live.
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

from galaxytl.results.history import operation
from galaxytl.results.rows import locked_rows
from galaxytl.results.storage import Storage, StorageError
from galaxytl.results.stored_rows import newest_generation
from galaxytl.system.command import UsageError
from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.system.inside import no_link
from galaxytl.system.locations import DataError
from galaxytl.system.strict_json import JsonError, read_json

FILE_NAME: Final = "lease.json"
BEAT_SECONDS = 5.0
"""Between two signs of life of a driver."""
BEATS_OF_THE_DEAD: Final = 3
"""When so many beats have not come, a driver is taken for dead."""
LOOKS_A_BEAT: Final = 5
"""Of who watches whether a driver lives. It counts them, not the time: it may itself be held up."""
BEATS_AT_STORAGE: Final = 12
"""At a storage: one that does not answer for a moment, through three tries of a request, changes no driver."""
LARGEST: Final = 2**20
"""Bytes of a lease; most are the command's."""
MOST_TAKEOVERS: Final = 10**12
"""Generation of a lease: a larger one is a stranger's."""
MOST_SAID: Final = 100
"""Letters of a lease's value that a message shows."""
MOST_PID: Final = 2**31 - 1

Values = Mapping[str, Any]
"""Of a lease: owner, host, processes, pid, command, generation (0 in old folders), beat, and "ended" when its driver is
through. No two that are ever written are equal."""


class LeaseError(UsageError):
    """Another driver leads; the message says which, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where a lease is kept, and what it is of."""

    read: Callable[[], Values | None]
    """None where there is no lease; what is no lease is one without values."""
    replace: Callable[[Values | None, Values], bool]
    """Write the second where the first is what is there, as `read` gives it, and nobody can write between; False where
    it is not. Readers see the lease before or the one after."""
    rule: str
    """What one driver at a time may do: "may write to a results folder"."""
    what: str
    """That folder, or storage."""
    option: str
    """Chooses another."""
    errors: tuple[type[Exception], ...] = (OSError,)
    """What `read` and `replace` raise where they cannot."""
    may_be_away: bool = False
    """Whether a driver goes on while they cannot: then it looks at its beats alone, and need not wait for an answer."""
    beats_of_the_dead: int = BEATS_OF_THE_DEAD
    newest_generation: Callable[[], int] = lambda: 0
    """Of what has been written under leases here: one may be lost."""


def in_folder(folder: Path, option: str = "--out") -> Place:
    """Return the lease of a results folder, or of a shard's. option: chooses another."""
    path = folder / FILE_NAME

    def read() -> Values | None:
        try:
            with open(path, "rb", opener=no_link) as file:  # a pipe put there would be waited for
                return _values(file.read(LARGEST + 1))
        except FileNotFoundError:
            return None

    def replace(expected: Values | None, values: Values) -> bool:
        with locked_rows(folder):  # who writes rows has written them, or looks at the lease when we are through
            is_expected = read() == expected
            if is_expected:
                write_atomically(path, _content(values))
            return is_expected

    return Place(read, replace, "may write to a results folder", str(folder), option)


def in_storage(storage: Storage) -> Place:
    """Return the lease of the results at a storage."""

    def read() -> Values | None:
        return _values(storage.get(FILE_NAME))

    def replace(expected: Values | None, values: Values) -> bool:
        return storage.replace(FILE_NAME, lambda there: _values(there) == expected, _content(values))

    return Place(
        read,
        replace,
        "may write to the results at a storage",
        str(storage),
        "--out NAME",
        (DataError, StorageError),
        may_be_away=True,
        beats_of_the_dead=BEATS_AT_STORAGE,
        newest_generation=lambda: newest_generation(storage),
    )


def _content(values: Values) -> bytes:
    return json.dumps(values, indent=1).encode()


def _values(content: bytes | None) -> Values | None:
    """Parse a lease; of what a power failure left, or what is not ours, there is none."""
    if content is None:
        return None
    try:
        values = read_json(content) if len(content) <= LARGEST else {}
    except JsonError:
        return {}
    return values if isinstance(values, dict) else {}


class Lease:
    """Use as a context manager; it beats in a thread of its own."""

    def __init__(
        self, place: Place, note: Callable[[str], object] = lambda _: None, beat_seconds: float | None = None
    ) -> None:
        """`note` is told why it takes a while."""
        self._place, self._note, self._beat_seconds = place, note, beat_seconds or BEAT_SECONDS
        self._own: dict[str, Any] = {
            "owner": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "processes": process_table(),
            "pid": os.getpid(),
            "command": without_secrets(shlex.join(sys.argv)),
            "generation": 0,
            "beat": 0,
        }
        self._before: Values | None = None
        """What is written over when this one is taken."""
        self._is_free = False
        """Whether nobody leads, as far as `wait` knows."""
        self._is_used = False
        self._taken_by: Values | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    @property
    def generation(self) -> int:
        return int(self._own["generation"])

    def wait(self) -> None:
        """Return when nobody leads, as far as can be seen; raises LeaseError when another does. Takes nothing."""
        self._before = self._place.read()
        if self._before is not None and not is_dead(self._before):
            self._before = self._watch(self._before)
        self._is_free = True

    def __enter__(self) -> Lease:
        while not (self._is_free and self._take()):
            self.wait()
        self._thread.start()
        return self

    def _take(self) -> bool:
        """Take the lease; False where what `wait` saw is there no more."""
        self._own["generation"] = 1 + max(_generation(self._before), self._place.newest_generation())
        try:
            with operation("take", self._place.what, owner=self._own["owner"], generation=self.generation) as note:
                is_taken = self._place.replace(self._before, self._own)
                note(outcome="ok" if is_taken else "fail")
        except BaseException:
            self._give_back()  # what was asked for may have been done
            raise
        self._is_free = is_taken
        return is_taken

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None and not self._is_used:
            self._give_back()
            return
        with contextlib.suppress(*self._place.errors):
            self._look({"ended": True})

    def _give_back(self) -> None:
        """Give the lease back to the one before, which goes on if it lives."""
        with contextlib.suppress(*self._place.errors), operation("give back", self._place.what):
            now = self._place.read()
            if now and now.get("owner") == self._own["owner"]:
                before = self._before or {**self._own, "ended": True}
                self._place.replace(now, {**before, "generation": _generation(now) + 1})

    def check(self) -> None:
        """Raise LeaseError when another driver leads."""
        self._is_used = True
        if self._place.may_be_away:
            self.stop_if_lost()
        else:
            self.confirm()

    def confirm(self) -> None:
        """Do as `check`, wherever the lease is kept; raises what reading it raises."""
        self._look()
        self.stop_if_lost()

    def stop_if_lost(self) -> None:
        """Raise LeaseError when another driver is known to lead; reads nothing, so that it can be asked often."""
        if self._taken_by:
            other, place = _driver(self._taken_by), self._place
            raise LeaseError(
                f"one driver at a time {place.rule}; {other} has taken {place.what} over, "
                "as this one was suspended or cut off for long. It stops here; what it had finished is kept"
            )

    def _look(self, sign: Values | None = None) -> bool:
        """See who leads and, if it is this driver, leave a sign of life there, if one is given; whether it was left."""
        with operation("look", self._place.what) as note:
            now = self._place.read()
            note(owner=(now or {}).get("owner"))
        late = (self._before or {}).get("owner")  # without conditions, a beat may come after it was taken for dead
        if now and now.get("owner") not in (self._own["owner"], late or self._own["owner"]):
            self._taken_by = now
            return False
        self._own["generation"] = max(self.generation, _generation(now))  # another had taken over, and given back
        if sign is None:
            return False
        what = "release" if "ended" in sign else "renew"
        with operation(what, self._place.what, generation=self.generation) as note:
            is_left = self._place.replace(now, {**self._own, **sign})
            note(outcome="ok" if is_left else "fail")
        return is_left

    def _watch(self, holder: Values) -> Values | None:
        """Return the lease of `holder` when it is dead, or what is there by then; raises LeaseError when it beats."""
        seconds = self._place.beats_of_the_dead * self._beat_seconds
        self._note(
            f"note: {self._place.what} was led by {_driver(holder)}: watching for {seconds:g} s whether it lives"
        )
        for _ in range(LOOKS_A_BEAT * self._place.beats_of_the_dead):
            time.sleep(self._beat_seconds / LOOKS_A_BEAT)
            now: Values | None = holder
            with contextlib.suppress(*self._place.errors):  # what is not seen is not written over
                now = self._place.read()
            if now is None or is_dead(now):
                return now
            if now != holder:
                raise self._in_use(now)
        return holder

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
                self._look({"beat": beats})


def _generation(holder: Values | None) -> int:
    number = (holder or {}).get("generation")
    return number if isinstance(number, int) and 0 <= number <= MOST_TAKEOVERS else 0


def is_dead(holder: Values) -> bool:
    """Return whether a driver has surely ended; of one among other processes nothing is sure."""
    if holder.get("ended"):
        return True
    if holder.get("processes") != process_table():
        return False
    pid = holder.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid <= MOST_PID:
        return False  # os.kill takes 0 and what is negative for groups of processes
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@functools.cache
def process_table() -> str:
    """Name where a pid names one process: on a host since its start, in a container. Several may have one host name."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def _driver(holder: Values) -> str:
    """Name a driver for people; a lease may be a stranger's."""
    pid, host = (visible(str(holder.get(name, "(unknown)")))[:MOST_SAID] for name in ("pid", "host"))
    return f"process {pid} on {host}"
