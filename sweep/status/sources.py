"""What a sweep has left where its results are, read without touching it: rows, lease, and what the driver says.

    files = read_files("results/lr")                       # a folder, or where --storage keeps a copy of it
    files.rows, files.lease, files.beat, files.progress

Raises UsageError where no sweep has been, DataError and StorageError where a storage does not answer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from galaxytl.results.rows import FILE_NAME as ROWS
from galaxytl.results.rows import Rows, read_results, rows_files
from galaxytl.results.search.asked_file import FILE_NAME as ASKED
from galaxytl.results.storage import Storage
from galaxytl.results.stored_rows import FOLDER, read_rows
from galaxytl.results.sweep_file import Shard, read_shards, shard_folders, shard_number
from galaxytl.system.command import UsageError
from galaxytl.system.credentials import without_secrets
from galaxytl.system.inside import inside, no_link
from galaxytl.system.strict_json import LARGEST
from sweep.results.lease import BEAT_SECONDS, BEATS_AT_STORAGE, BEATS_OF_THE_DEAD, Values, in_folder, in_storage
from sweep.results.lease import FILE_NAME as LEASE
from sweep.results.progress_file import FILE_NAME as PROGRESS
from sweep.results.progress_file import Progress, ProgressError, read_progress

SIGNS: Final = (ROWS, LEASE, PROGRESS, ASKED)
"""Files of which a sweep's folder has one at least."""
DOUBT: Final = 2.0
"""So many times as long as a driver that takes over waits, as clocks of two machines differ."""


@dataclass(frozen=True)
class ShardFiles:
    """What was read of a shard."""

    shard: Shard
    lease: Values | None
    beat: float | None
    progress: Progress | None
    """These as in `Files`."""


@dataclass(frozen=True)
class Files:
    """What was read."""

    place: str
    """The folder or URI, as it may be shown."""
    rows: Rows
    lease: Values | None
    """None where no driver has left one; without values where it cannot be read."""
    beat: float | None
    """Seconds since the lease was written; None where that cannot be known."""
    patience: float
    """Seconds without a beat after which a driver is taken for gone."""
    progress: Progress | None
    problems: tuple[str, ...]
    """A sentence for each thing that could not be read."""
    shards: tuple[ShardFiles, ...] = ()
    """Those that have begun, the last that began last."""


def read_files(place: str) -> Files:
    """Read a results folder, or the copy of one. Raises UsageError for what is neither, OutsideError for links."""
    if "://" in place and not place.startswith("file://"):
        return _of_storage(place)
    folder = Path(place.removeprefix("file://")).expanduser()
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"a results folder must exist; '{folder}' {what}. Pass what the sweep was given as --out")
    if (folder / FOLDER).is_dir() and not (folder / ROWS).exists():
        return _of_storage(str(folder))
    begun = read_shards(folder)
    shards = [*_preparing(folder, begun), *begun]
    if not (shards or rows_files(folder) or any((folder / name).is_file() for name in SIGNS)):
        raise UsageError(_nothing_in(str(folder), _nearby(folder)))
    for name in SIGNS:
        inside(folder, name)
    rows = _checked(read_results(folder), folder / ROWS)
    progress, problem = _progress_in(_content(folder / PROGRESS))
    patience = DOUBT * BEATS_OF_THE_DEAD * BEAT_SECONDS
    lease, beat = _lease_in(folder)
    problems = (*rows.problems, *problem)
    of_shards = tuple(_of_shard(folder, shard) for shard in shards)
    return Files(str(folder), rows, lease, beat, patience, progress, problems, of_shards)


def _preparing(out: Path, begun: Sequence[Shard]) -> list[Shard]:
    """Return those that a driver leads and that have not yet written what they take on: of no trial."""
    numbers = {one.which for one in begun}
    found = []
    for path in shard_folders(out):
        lease, _ = _lease_in(path)
        if lease and not lease.get("ended") and (which := shard_number(path)) and which not in numbers:
            found.append(Shard(which, "", (), ()))
    return found


def _lease_in(folder: Path) -> tuple[Values | None, float | None]:
    """Return a lease, and the seconds since it was written."""
    path = folder / LEASE
    modified = path.stat().st_mtime if path.exists() else None
    return in_folder(folder).read(), _since(modified)


def _of_shard(out: Path, shard: Shard) -> ShardFiles:
    folder = shard.which.folder(out)
    lease, beat = _lease_in(folder)
    progress, _ = _progress_in(_content(folder / PROGRESS))
    return ShardFiles(shard, lease, beat, progress)


def _of_storage(uri: str) -> Files:
    storage = Storage(uri)
    lease, lines = in_storage(storage).read(), read_rows(storage)
    content, modified = storage.get(PROGRESS), storage.modified(LEASE)
    if lease is None and not lines and content is None:
        raise UsageError(_nothing_in(str(storage), ". Pass the URI of the sweep's own folder, below --storage"))
    rows = _rows_of(lines, str(storage))
    progress, problem = _progress_in(content)
    patience = DOUBT * BEATS_AT_STORAGE * BEAT_SECONDS
    place = without_secrets(str(storage))
    return Files(place, rows, lease, _since(modified), patience, progress, (*rows.problems, *problem))


def _rows_of(lines: Sequence[bytes], place: str) -> Rows:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ROWS).write_bytes(b"".join(line + b"\n" for line in lines))
        rows = read_results(folder)
    problems = tuple(problem.replace(name, place) for problem in rows.problems)
    return _checked(Rows(rows.results, problems, rows.num_newer, rows.replaced), f"{place}/{ROWS}")


def _checked(rows: Rows, path: Path | str) -> Rows:
    """Return the rows. Raises UsageError where there are lines, and no row among them."""
    if rows.results or not rows.problems:
        return rows
    if rows.num_newer:
        raise UsageError(f"rows must be of this version or an earlier one; {rows.problems[0]}")
    raise UsageError(
        f"a sweep's {ROWS} must hold rows; '{path}' holds none that can be read: {rows.problems[0]}. Copy it again, "
        "or have the sweep's command run again"
    )


def _nothing_in(place: str, hint: str) -> str:
    return f"a results folder must hold {ROWS}, which a sweep writes; '{place}' holds none{hint}"


def _nearby(folder: Path) -> str:
    found = sorted(path.parent for name in (ROWS, LEASE) for path in folder.glob(f"*/{name}"))
    return f". Did you mean '{found[0]}'?" if found else ". Pass what the sweep was given as --out"


def _content(path: Path) -> bytes | None:
    try:
        with open(path, "rb", opener=no_link) as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        return None


def _progress_in(content: bytes | None) -> tuple[Progress | None, tuple[str, ...]]:
    if content is None:
        return None, ()
    try:
        return read_progress(content), ()
    except ProgressError as error:
        return None, (f"what runs just now is not known: {error}",)


def _since(modified: float | None) -> float | None:
    """Return the age of a file; a clock that is a little ahead of this one makes none negative."""
    return None if modified is None else max(0.0, time.time() - modified)
