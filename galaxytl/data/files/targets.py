"""Where a converted copy is written: whole under its name, or not there at all.

    with staged(location, cache, is_folder=True) as staging:
        ...  # write staging.path; call staging.file_done(name) after each file of a folder

Local copies are written in a hidden folder beside their place and renamed. Remote ones are written file by file in the
cache and sent off; a folder's manifest goes last, and `unfinished.json` lies in the folder until then.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from galaxytl.data.files.manifest import NAME, UNFINISHED
from galaxytl.system.files import FULL, sync
from galaxytl.system.locations import DataError, Location

OWNER = "owner.lock"  # in each staging folder; who writes there holds a lock on it until the process ends


@dataclass(frozen=True)
class Staging:
    path: Path
    """To be written: a file, or a folder that is to be made."""
    file_done: Callable[[str], None]
    """To be called with the name of each complete file of a folder, which may then disappear."""


def is_taken(location: Location) -> bool:
    """Return whether anything lies there but an empty folder or what a killed conversion left."""
    kind = location.kind()
    if kind != "folder":
        return kind == "file"
    if location.is_local:
        return any(location.local.iterdir())
    names = {file.location.path.removeprefix(location.path + "/") for file in location.files()}
    return bool(names) and (NAME in names or UNFINISHED not in names)


@contextlib.contextmanager
def staged(location: Location, cache: Path, is_folder: bool) -> Iterator[Staging]:
    """Give room to write a copy that gets its name `location` when the block ends without an error.

    Raises DataError when there is no room or no right to write.
    """
    place = location.local.parent if location.is_local else cache / "scratch"
    try:
        place.mkdir(parents=True, exist_ok=True)
        name = location.path.rstrip("/").rpartition("/")[2]
        with _own_folder(place, f".{name}.converting-") as folder:
            copy = folder / "content"
            with _put_there(copy, location) if location.is_local else _sent_off(copy, location, is_folder) as staging:
                yield staging
    except (OSError, RuntimeError) as error:
        raise _explained(location, place, error) from error


@contextlib.contextmanager
def _own_folder(place: Path, prefix: str) -> Iterator[Path]:
    """Give a new folder, gone at the end of the block; those of processes that were killed are removed first."""
    for left in place.glob(f"{glob.escape(prefix)}*/{OWNER}"):
        with contextlib.suppress(OSError), left.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its owner lives
            shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=place, prefix=prefix))
    try:
        with (folder / OWNER).open("wb") as lock:
            with contextlib.suppress(OSError):  # a file system without locks: left-overs stay there
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _put_there(copy: Path, location: Location) -> Iterator[Staging]:
    yield Staging(copy, lambda name: None)
    sync([*copy.rglob("*"), copy])  # of a file, itself
    if is_taken(location):
        raise DataError(f"{location} must not be there while it is converted to; it appeared meanwhile. Try again")
    copy.rename(location.local)
    sync([location.local.parent])


@contextlib.contextmanager
def _sent_off(copy: Path, location: Location, is_folder: bool) -> Iterator[Staging]:
    if not is_folder:
        _reach(location)
        yield Staging(copy, lambda name: None)
        _send(copy, location)
        return
    location.child(UNFINISHED).write(BytesIO(b"{}"))
    for left in location.files(".parquet"):  # of a conversion that was killed: is_taken saw its mark
        left.location.delete()
    yield Staging(copy, lambda name: _send(copy / name, location.child(name)))
    _send(copy / NAME, location.child(NAME))
    location.child(UNFINISHED).delete()


def _reach(location: Location) -> None:
    """Fail now rather than after the work where nothing can be written."""
    probe = replace(location, uri=f"{location.uri}.unfinished", path=f"{location.path}.unfinished")
    probe.write(BytesIO(b"{}"))
    probe.delete()


def _send(file: Path, location: Location) -> None:
    with file.open("rb") as content:
        location.write(content)
    if (found := location.stored().size) != file.stat().st_size:
        sent = f"{file.stat().st_size:,}"
        raise DataError(f"{location} must have the {sent} bytes that were sent; it has {found:,}. Try again")
    file.unlink()


def _explained(location: Location, place: Path, error: Exception) -> DataError:
    is_full = getattr(error, "errno", None) in FULL or re.search(
        r"No space left|Disk quota|errno = 28", f"{error} {error.__cause__} {error.__context__}"
    )
    if is_full:
        free = shutil.disk_usage(place).free
        return DataError(
            f"there must be room for {location}; the disk of {place} is full ({free / 1e6:,.0f} MB free). Nothing was "
            "left there. Free some space, or convert to another disk"
        )
    return DataError(f"{location} cannot be written: {error}")
