"""What a worker writes, at the storage: it trains in a folder of its own machine, whose files follow to the storage.

    mirror = mirror_at("s3://bucket/sweeps/paper")
    mirror.fetch(group.specs, say)             # their checkpoints, wherever they were trained before
    train(group, replace(workplace, out=mirror.out), watcher)      # whose `checkpoint` is partial(mirror.follow, say)
    mirror.push(say)                           # before a row is told of: what it names is there

An epoch's checkpoints are at the storage before those of the next are written: of a worker that dies, another repeats
no more than of one on a shared folder. Where the storage does not answer, `say` is told, and training waits for it, but
not for long: then it goes on, and a thread stores the newest when the storage is back, but not over that of a machine
that has come further with the trial meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock, Thread

from galaxytl.results.checkpoints import checkpoint_path, num_epochs
from galaxytl.results.models import model_name
from galaxytl.results.predictions import names_of
from galaxytl.results.storage import PATIENCE, Storage, StorageError, in_parallel, with_retries
from galaxytl.system.cache import cache_dir, is_own
from galaxytl.system.files import FULL
from galaxytl.system.locations import DataError
from galaxytl.trial import TrialSpec

LOOK_SECONDS = 0.5
WAIT_SECONDS = 60.0
"""For which training waits for a storage that does not answer. A machine that is cut off trains nothing meanwhile that
another one, which goes on with its trial, repeats."""
Say = Callable[[DataError], object]
FOLLOWING = ("checkpoints/*.npz", "models/*.npz", "probabilities/*.parquet", "errors/*.txt", "thumbnails.parquet")
"""What trials write into their results folder."""


@functools.cache
def mirror_at(uri: str) -> Mirror:
    """Return this process's only one for a storage."""
    return Mirror(Storage(uri))


class Mirror:
    """Lives as long as its process; what a killed one left is removed by the next on the machine."""

    def __init__(self, storage: Storage, folder: Path | None = None) -> None:
        """folder: to make the mirror's own folder in (default: the node's cache)."""
        self._storage = storage
        self.out = _own_folder(folder or cache_dir() / "mirrors")
        self._pushed: dict[str, tuple[int, int]] = {}
        """Time and size of each file when it was read for the storage."""
        self._pushing = Lock()
        self._is_away = False
        self._in_doubt = False
        """Whether the last push failed: this machine may have been cut off, and others have its trials now."""
        self._gone_on: set[str] = set()
        """Checkpoints of trials that others went on with."""
        Thread(target=self._store_what_is_left, daemon=True).start()

    def fetch(self, specs: Sequence[TrialSpec], say: Say = lambda _: None) -> None:
        """Get the trials' checkpoints: those at the storage, for the trials may have gone on elsewhere. Raises
        StorageError when the storage is away, or this machine's disk full, for long."""
        paths = [checkpoint_path(self.out, spec) for spec in specs]
        with self._pushing:
            with_retries(lambda: in_parallel(self._fetch, paths), PATIENCE, say)

    def _fetch(self, path: Path) -> None:
        self._gone_on.discard(self._name(path))
        with _full_disk_is_waited_for():
            if self._storage.get_file(self._name(path), path):
                self._pushed[self._name(path)] = _stamp(path)

    def follow(self, say: Say = lambda _: None) -> None:
        """Store what was written since. Wait for a storage that does not answer, unless that was in vain before."""
        if not self._is_away:
            try:
                with_retries(self._push, WAIT_SECONDS, say)
            except (StorageError, OSError):
                self._is_away = True

    def push(self, say: Say = lambda _: None) -> None:
        """Return when the storage has all that was written. Raises StorageError when it is away for long."""
        with_retries(self._push, PATIENCE, say)

    def forget(self, specs: Sequence[TrialSpec]) -> None:
        """Remove what this machine holds of trials that are finished."""
        for spec in specs:
            checkpoint_path(self.out, spec).unlink(missing_ok=True)
            for name in (*names_of(spec), model_name(spec)):
                (self.out / name).unlink(missing_ok=True)

    def _push(self) -> None:
        with self._pushing:
            try:
                in_parallel(self._push_file, list(self._files()))
            except DataError:
                self._in_doubt = True
                raise
            self._in_doubt = False

    def _push_file(self, path: Path) -> None:
        name = self._name(path)
        with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
            stamp = _stamp(path)
            if self._pushed.get(name) == stamp or name in self._gone_on:
                return
            if self._in_doubt and self._is_behind(path):
                self._gone_on.add(name)
                return
            self._storage.put_file(name, path)
            self._pushed[name] = stamp

    def _is_behind(self, path: Path) -> bool:
        """Return whether the storage has a checkpoint of a later epoch."""
        stored = self._storage.get(self._name(path)) if path.parent.name == "checkpoints" else None
        return stored is not None and num_epochs(stored) > num_epochs(path.read_bytes())

    def _files(self) -> Iterator[Path]:
        for pattern in FOLLOWING:
            for path in sorted(self.out.glob(pattern)):
                if not path.name.startswith("."):
                    yield path

    def _name(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()

    def _store_what_is_left(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            if self._is_away:
                self._is_away = False  # before the files are listed: what is written from now on is `follow`'s
                try:
                    self._push()
                except (DataError, OSError):  # the next look tries again; `push` says what is wrong
                    self._is_away = True


@contextlib.contextmanager
def _full_disk_is_waited_for() -> Iterator[None]:
    """Turn an error about a full disk into one that is waited for: others on the machine may make room."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DataError(f"this machine's disk must have room for checkpoints: {error}") from error


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _own_folder(base: Path) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    if not is_own(base):  # a link that another user put there would have folders of this one removed
        base = Path(tempfile.gettempdir(), f"galaxytl-mirrors-{uuid.uuid4().hex}")
        base.mkdir(0o700)
    for left in base.iterdir():
        process = left.name.partition("-")[0]
        if process.isdecimal() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with _full_disk_is_waited_for():
        return Path(tempfile.mkdtemp(dir=base, prefix=f"{os.getpid()}-"))
