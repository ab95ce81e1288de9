"""What a sweep keeps: rows and checkpoints in its results folder and, with --storage, where they outlive the machine.

    with lead(out, "s3://bucket/sweeps/paper", say) as folder:
        folder.append(result)
        folder.drop_checkpoint(result.spec)

The driver's rows are in the folder, on disk, before anything else happens; a thread stores them within a second. Where
the storage does not answer the sweep goes on, says so, and stores them when it is back.

A shard's driver leads a folder of its own in the results folder (`sweep.results.shards`), and reads the rows of all.
"""

from __future__ import annotations

import contextlib
import functools
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from galaxytl.results.checkpoints import checkpoint_path
from galaxytl.results.history import operation
from galaxytl.results.rows import FILE_NAME, Rows, append_results, read_results, rows_files
from galaxytl.results.search.asked_file import FILE_NAME as ASKED
from galaxytl.results.search.asked_file import Asked, append_asked, read_asked
from galaxytl.results.storage import LONGEST_PAUSE, PATIENCE, Storage, StorageError, with_retries
from galaxytl.results.stored_rows import (
    ASKED_FOLDER,
    FOLDER,
    RowWriter,
    Sealed,
    merge_lines,
    read_rows,
    trials_of,
)
from galaxytl.results.sweep_file import FILE_NAME as SWEEP_FILE
from galaxytl.results.sweep_file import ShardNumber
from galaxytl.system.locations import DataError
from galaxytl.trial import TrialResult, TrialSpec
from sweep.results.lease import Lease, LeaseError, in_folder, in_storage
from sweep.results.progress_file import FILE_NAME as PROGRESS
from sweep.results.rows_file import GoneError, RowsFile
from sweep.results.shards import refuse_others

PUSH_SECONDS = 1.0
PROGRESS_SECONDS = 5.0
"""Between two writings of what runs just now."""
LOSS_SECONDS = 60.0
"""Between two looks at whether the storage has lost rows."""
STUDY, DESCRIPTION, LOG = "study.db", "search.json", "sweep.log"


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended."""

    status: int
    """The command's exit status."""
    trial_ids: tuple[str, ...] = ()
    """Its trials: the folder may hold others."""


@contextlib.contextmanager
def lead(
    out: Path, uri: str, say: Callable[[str], object], shard: ShardNumber | None = None
) -> Iterator[ResultsFolder]:
    """Lead the folder, for the one driver that does, and the results at `uri` where that is not ""; or, beside other
    shards, that of a shard, which has no `uri`.

    Raises LeaseError where another leads, StorageError at the start where the storage cannot be used, and at the end
    where it lacks rows.
    """
    storage = _usable(uri, say) if uri else None
    home = shard.folder(out) if shard else out
    if shard:
        home.mkdir(exist_ok=True)
    leases = [
        Lease(in_folder(home, "--shard" if shard else "--out"), say),
        *([Lease(in_storage(storage), say)] if storage else []),
    ]
    for lease in leases:
        lease.wait()  # nothing is taken before all are free: where one cannot be, whoever leads goes on
    with contextlib.ExitStack() as held:
        for lease in leases:
            held.enter_context(lease)
        refuse_others(out, shard, say)
        folder = ResultsFolder(out, leases, home)
        folder.file = held.enter_context(RowsFile(home, folder.check, say, of_shard=shard is not None))
        if not storage:
            yield folder
            return
        folder.storing = _Storing(folder.file, folder.lines, storage, leases[-1], say)
        try:
            yield folder
        except BaseException:
            folder.close(LONGEST_PAUSE)  # the error, or Ctrl-C, is what the user waits for
            raise
        folder.close(PATIENCE)


def _usable(uri: str, say: Callable[[str], object]) -> Storage:
    storage = Storage(uri)
    storage.check()
    if storage.unconditional:
        say(
            f"note: {storage} cannot be written to on a condition: {storage.unconditional}. Two drivers that come at "
            "once are told apart by waiting for longer than a write took; one whose writes come later still may lead "
            "beside the other for a while, and some trials be trained twice"
        )
    return storage


@contextlib.contextmanager
def read_only(out: Path, uri: str) -> Iterator[ResultsFolder]:
    """Open the folder for who only reads the rows: a driver may be writing them. Raises StorageError."""
    with as_storage_error():
        stored = read_rows(Storage(uri)) if uri else []
    if not stored:
        yield ResultsFolder(out)
        return
    with tempfile.TemporaryDirectory() as folder:
        here = b"\n".join(path.read_bytes() for path in rows_files(out))
        (Path(folder) / FILE_NAME).write_bytes(merge_lines(stored, here))
        yield ResultsFolder(Path(folder))


@contextlib.contextmanager
def as_storage_error() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise StorageError(f"the results at --storage must be readable: {error}") from error


class ResultsFolder:
    """A results folder, its copy where there is one, and the leases without which nothing is written."""

    def __init__(self, out: Path, leases: Sequence[Lease] = (), home: Path | None = None) -> None:
        """home: where the driver's own files are, rows and progress (default: `out`)."""
        self.out, self.home, self.leases = out, home or out, list(leases)
        self.file: RowsFile | None = None
        """Of the driver."""
        self.storing: _Storing | None = None
        self.asked_lines: list[bytes] = []
        """Of the driver of a search: all that it has asked for, as it stands in the folder."""

    @property
    def is_shared(self) -> bool:
        """Whether other drivers write to it at the same time: shards."""
        return self.home != self.out

    def lines(self) -> Sequence[bytes]:
        """Return all rows as they stand in files, for the driver of all trials: those of shards, which have ended, and
        its own."""
        return (*self._of_shards, *(self.file.lines() if self.file else ()))

    @functools.cached_property
    def _of_shards(self) -> tuple[bytes, ...]:
        paths = [path for path in rows_files(self.out) if path.parent != self.out]
        return tuple(line for path in paths for line in path.read_bytes().split(b"\n") if line)

    def rows(self) -> Rows:
        """Read the rows. Raises LeaseError, and GoneError where the folder has gone."""
        if self.file:
            self.file.look()
        with operation("read", str(self.out)) as note:
            rows = read_results(self.out)
            note(trials=lambda: list(rows.by_id()))
        return rows

    def stop_if_lost(self) -> None:
        """Raise LeaseError when another driver is known to lead, GoneError when the folder is known to have gone."""
        for lease in self.leases:
            lease.stop_if_lost()
        if self.file:
            self.file.stop_if_gone()

    def append(self, *results: TrialResult) -> None:
        """Append rows. Raises LeaseError, and writes nothing, where another driver has taken over; GoneError."""
        trials = [result.trial_id for result in results]
        with operation("append", str(self.out), (LeaseError,), trials=trials):
            if self.file:
                self.file.append(*results)
            else:
                append_results(self.out, *results, check=self.check)

    def asked(self) -> Asked:
        """Return what earlier drivers of the search have asked for; from now on the storage gets it too. Raises
        StorageError."""
        if self.storing:
            self.storing.take_over_asked(self.asked_lines)
        with contextlib.suppress(FileNotFoundError):
            self.asked_lines += [line for line in (self.out / ASKED).read_bytes().split(b"\n") if line]
        return read_asked(self.out)

    def append_asked(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append the lines. Raises LeaseError, and writes nothing, where another driver has taken over; GoneError."""
        if self.file:
            self.file.look()
        self.asked_lines += append_asked(self.out, lines, self.check)

    def check(self) -> None:
        """Check the leases before something is written. Raises LeaseError."""
        for lease in self.leases:
            lease.check()

    def drop_checkpoint(self, spec: TrialSpec) -> None:
        self.drop([_checkpoint(spec)])

    def drop(self, names: Iterable[str]) -> None:
        """Remove files of no more use from the folder, and from the storage."""
        for name in names:
            (self.out / name).unlink(missing_ok=True)
            if self.storing:
                self.storing.dropped.append(name)

    def has(self, name: str) -> bool:
        """Return whether a file is in the folder, or at the storage. Where that does not answer, it is taken for there:
        a worker has stored what a row names before it tells of the row."""
        if (self.out / name).exists() or not self.storing:
            return (self.out / name).exists()
        try:
            return name in self.storing.names(str(Path(name).parent))
        except StorageError:
            return True

    def stored_names(self, folder: str) -> list[str]:
        """Return the names of the files below a folder at the storage; none where there is no storage. Raises
        StorageError."""
        return self.storing.names(folder) if self.storing else []

    def hand_on_checkpoint(self, spec: TrialSpec, to: TrialSpec) -> None:
        """Have `to`, the same trial scored on another part, begin where `spec` has ended, if that is known."""
        with contextlib.suppress(FileNotFoundError):
            checkpoint_path(self.out, spec).replace(checkpoint_path(self.out, to))
        if self.storing:
            self.storing.copy(_checkpoint(spec), _checkpoint(to))

    def close(self, patience: float) -> None:
        if self.storing:
            self.storing.close(patience)


def _checkpoint(spec: TrialSpec) -> str:
    return checkpoint_path(Path(), spec).as_posix()


class _Storing:
    """Keeps the storage's copy of a driver's folder up to date, in a thread of its own."""

    def __init__(
        self,
        file: RowsFile,
        lines: Callable[[], Sequence[bytes]],
        storage: Storage,
        lease: Lease,
        say: Callable[[str], object],
    ) -> None:
        """`lines`: all rows, with those of shards; `lease`: of the storage."""
        self._file, self._storage, self._lease, self._say = file, storage, lease, say
        self._out = out = file.folder
        self.dropped: list[str] = []
        """Files that are of no more use at the storage."""
        self._lines: dict[str, Callable[[], Sequence[bytes]]] = {FOLDER: lines}
        """What the driver knows, by the folder of its pieces."""
        self._writers: dict[str, RowWriter] = {}
        with as_storage_error():
            self._writers[FOLDER] = self._writer(FOLDER)
            for name in (STUDY, DESCRIPTION):
                if not (out / name).exists():
                    storage.get_file(name, out / name)
        self._looked_at = self._shown_at = time.monotonic()
        self._said: dict[str, bytes] = {}
        """What the driver last stored of itself, by name."""
        self._is_away = False
        self._stop = Event()
        self._thread = Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _writer(self, pieces_in: str) -> RowWriter:
        with operation("read", str(self._storage)) as note, self._file.changing():
            writer = RowWriter(self._storage, self._out, self._lease.generation, pieces_in)
            note(trials=lambda: trials_of(writer.stored))
        return writer

    def take_over_asked(self, lines: list[bytes]) -> None:
        with as_storage_error():
            writer = self._writer(ASKED_FOLDER)
        self._lines[ASKED_FOLDER] = lambda: tuple(lines)
        self._writers = {ASKED_FOLDER: writer, **self._writers}  # a trial's row comes after what asked for it

    def names(self, folder: str) -> list[str]:
        with as_storage_error():
            return self._storage.names(folder)

    def copy(self, name: str, new: str) -> None:
        with contextlib.suppress(StorageError):  # without it the training is repeated
            with_retries(lambda: self._storage.copy(name, new), LONGEST_PAUSE)

    def close(self, patience: float) -> None:
        """Store what is left. Raises StorageError where that cannot be done."""
        if self._is_away:
            self._say(f"note: the last rows wait for the storage; Ctrl-C leaves them in {self._out}")
        self._stop.set()
        self._thread.join()
        try:
            with_retries(self._push_all, patience, self._say_away)
        except StorageError as error:
            raise StorageError(
                f"{self._storage} lacks the last rows: {error}. They are in {self._out / 'trials.jsonl'}; "
                "the same command stores them"
            ) from error

    def _follow(self) -> None:
        pause = PUSH_SECONDS
        while not self._stop.wait(pause):
            try:
                self._push()
            except LeaseError:
                return  # the driver hears of it with its next epoch or row
            except (DataError, StorageError, OSError) as error:  # the last, of this machine: its disk may be full
                self._say_away(error)
                pause = min(2 * pause, LONGEST_PAUSE) * random.uniform(0.8, 1.2)
            else:
                pause = PUSH_SECONDS
                if self._is_away:
                    self._say(f"{self._storage} answers again; it has all rows")
                    self._is_away = False

    def _say_away(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            away = "the storage does not answer" if isinstance(error, DataError) else "nothing can be stored just now"
            self._say(f"note: {away}; trials go on, and their rows wait in {self._out}. {error}")

    def _push(self) -> None:
        self._lease.confirm()  # or a driver that wakes would store its rows over another's
        unneeded = list(self.dropped)  # before the rows are read: those of these trials are among them
        self._push_rows()
        for name in unneeded:
            self._storage.delete(name)
            self.dropped.remove(name)
        if time.monotonic() - self._shown_at >= PROGRESS_SECONDS:
            self._push_progress()
        if time.monotonic() - self._looked_at > LOSS_SECONDS:
            self._store_lost()
            self._looked_at = time.monotonic()

    def _push_rows(self) -> None:
        for pieces_in in tuple(self._writers):
            try:
                self._writers[pieces_in].push(self._lines[pieces_in]())
            except Sealed as error:
                self._take_back(pieces_in, error)

    def _push_progress(self) -> None:
        """Store what the driver says of itself, where it says something new."""
        self._shown_at = time.monotonic()
        for name in (PROGRESS, SWEEP_FILE):
            with contextlib.suppress(FileNotFoundError):
                if (content := (self._out / name).read_bytes()) != self._said.get(name):
                    self._storage.put(name, content)
                    self._said[name] = content

    def _take_back(self, pieces_in: str, error: Sealed) -> None:
        """Take the pieces back: who has closed them has then failed, and given the lease back. This driver goes on."""
        self._lease.confirm()
        if self._lease.generation <= self._writers[pieces_in].generation:
            raise LeaseError(f"one driver at a time may write to the results at a storage; {error}") from error
        with contextlib.suppress(GoneError):  # then it has said so, and the rows are known
            self._file.look()
        self._writers[pieces_in] = self._writer(pieces_in)
        self._writers[pieces_in].push(self._lines[pieces_in]())

    def _store_lost(self) -> None:
        lost = [writer.forget_lost() for writer in self._writers.values()]
        if any(lost):
            self._push_rows()
            self._say(f"note: rows had vanished at {self._storage} while the sweep runs; they were stored again")

    def _push_all(self) -> None:
        self._push()
        self._store_lost()
        self._push_progress()
        for name in (DESCRIPTION, LOG):
            if (self._out / name).exists():
                self._storage.put_file(name, self._out / name)
