"""The node's cache folder: entries that are built once, used by many processes, and removed when room is needed.

    folder = built_once(cache, cache / "images" / key, build, size=n_bytes)

An entry is a folder. It is built under another name, by one process at a time, and gets its name when it is
complete: nobody sees half of it, and a killed builder leaves nothing that is used. Opening an entry marks it used now
and holds a shared lock on it until `release`, or until the process ends. When a new entry needs room, the least
recently used ones that nobody holds go.

The CRC-32 of an entry's files lies beside them: one that a disk, a full or a broken one, has damaged since would be
trained on in silence, and is rebuilt. Each process looks once, and again at files that were touched since: that reads
what training reads anyway, and counts at 4 GB a second on one core.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import shutil
import stat
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import DTypeLike

from galaxytl.system.command import UsageError
from galaxytl.system.files import DENIED, FULL, network_file_system, sync, write_atomically
from galaxytl.system.strict_json import read_json

DEFAULT_LIMIT_GB = 50.0
"""Gigabytes (1e9 bytes). All of Galaxy10 at 224 px takes 2.7, its VGG16 features 1.8, its ResNet50 features 7.1."""

MOST_GB = 1e9
SLOW = "each epoch's images and activations are read over it, and its locks may not hold"
LOCAL_DISK = "Set GALAXYTL_CACHE_DIR to a folder on a disk of this machine"
WAY_OUT = "Set GALAXYTL_CACHE_DIR to a folder that you may write to"

ANOTHERS = "another user put it there, and whether it is true cannot be known"
LARGEST_NOTE = 16 * 2**20
"""Bytes of a file that is read whole. The structure of the largest network has 0.1 MB."""
SEAL = ".crc32"
BLOCK = 2**20
USED = ".used"  # in each entry: its time of modification is the time of last use, and users hold a shared lock on it


class CacheFull(OSError):
    """There is no room on the cache's disk for an entry, or no right to it: it must be done without."""


_held: dict[Path, int] = {}  # entries that this process uses: their open USED files
_intact: dict[Path, tuple[tuple[int, int, int], ...]] = {}
"""Entries that this process found intact, and the state of their files then."""


def cache_dir() -> Path:
    """Return $GALAXYTL_CACHE_DIR, else galaxytl/ in the user's cache folder. Everything in it can be made again.

    Raises UsageError where it is in the home of a user who has none."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(os.environ.get("GALAXYTL_CACHE_DIR") or Path(base) / "galaxytl").expanduser()
    except RuntimeError:
        raise UsageError(f"the cache's folder must be known, and this user has no home folder. {WAY_OUT}") from None


def check_cache() -> None:
    """Raise UsageError, before anything is begun, where the cache cannot be used, or its limit is none."""
    folder = cache_dir()
    limit_bytes()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in FULL:  # then entries are kept in memory
            raise UsageError(f"the cache's folder must be one; got {folder}: {error.strerror}. {WAY_OUT}") from error
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the cache's folder must be one that you may write to; got {folder}. {WAY_OUT}")


def network_note() -> str:
    """Return what is wrong where the cache lies on another machine; "" where it does not."""
    kind = network_file_system(cache_dir())
    if not kind:
        return ""
    return f"the cache's folder, {cache_dir()}, lies on a network's file system ({kind}): {SLOW}. {LOCAL_DISK}"


def limit_bytes() -> int:
    """Return what the cache may take: $GALAXYTL_CACHE_GB gigabytes. Raises UsageError when that is no positive
    number."""
    text = os.environ.get("GALAXYTL_CACHE_GB") or str(DEFAULT_LIMIT_GB)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < MOST_GB:
        raise UsageError(f"GALAXYTL_CACHE_GB must be a positive number of gigabytes; got '{text}'")
    return int(gigabytes * 1e9)


def is_own(path: Path) -> bool:
    """Return whether this user, or root, put there what is called `path`: in a folder that many may write to, what
    others put there would be taken for what was computed. A link counts as itself."""
    return os.lstat(path).st_uid in (os.geteuid(), 0)


@contextlib.contextmanager
def opened_own(path: Path) -> Iterator[BinaryIO]:
    """Open a file of the cache. Raises OSError where there is none, where it is a link, and where it is another
    user's."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_uid not in (os.geteuid(), 0):
            _tell_once(path)
            raise PermissionError(errno.EACCES, ANOTHERS, str(path))
        yield file


def read_own(path: Path) -> bytes:
    """Read a small file of the cache. Raises OSError as `opened_own`, and where it is large."""
    with opened_own(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_NOTE:
            raise OSError(errno.EFBIG, f"it must have at most {LARGEST_NOTE:,} bytes", str(path))
        return file.read()


@functools.cache
def _tell_once(path: Path) -> None:
    print(f"{path} is done without: {ANOTHERS}", flush=True)


def keep(path: Path, content: bytes) -> None:
    """Write what can be found out again: where there is no room for it, or no right, it will be."""
    with contextlib.suppress(OSError):
        write_atomically(path, content)


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Return a writable memory map of a new .npy file whose disk space is taken now.

    Raises OSError when the disk has no room: writing to a map of a sparse file would kill the process instead.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def built_once(
    folder: Path,
    build: Callable[[Path], None],
    size: int = 0,
    is_complete: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """Return the entry `folder`, in use by this process, after `build(unfinished)` made it if it was not complete.

    size: bytes that building it will take; room for them is made first, in the cache that holds `folder`'s parent.
    Raises CacheFull where its disk has none, and where it is another user's that this one may not read.
    """
    if ".." in folder.parts:
        raise ValueError(f"an entry of the cache must lie in it; got {folder}")
    with _told_if_unusable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        while not (_is_sound(folder, is_complete) and _hold(folder)):
            with FileLock(folder.parent / f".{folder.name}.lock"):
                if not _is_sound(folder, is_complete):
                    _build(folder, build, size)
                    if not _is_sound(folder, is_complete):  # not again and again
                        raise OSError(errno.EIO, "what was just written reads back differently", str(folder))
    return folder


def _build(folder: Path, build: Callable[[Path], None], size: int) -> None:
    _discard(folder)
    if folder.exists():
        raise PermissionError(errno.EACCES, "it is damaged, and another user's")
    make_room(folder.parent.parent, size)
    with _unfinished(folder) as unfinished:
        build(unfinished)
        _finish(unfinished, folder)


def _finish(unfinished: Path, folder: Path) -> None:
    (unfinished / USED).touch()
    seal(unfinished)
    sync([*unfinished.iterdir(), unfinished])
    unfinished.rename(folder)


@contextlib.contextmanager
def draft(kind: Path) -> Iterator[Path]:
    """Give a folder in `kind` to build an entry in whose name only its content tells; gone afterwards unless
    `name_draft` gave it one. Those of killed processes go first.

    Raises OSError where there is no room, or no right. Who makes one makes room first.
    """
    kind.mkdir(parents=True, exist_ok=True)
    with FileLock(kind / ".drafts.lock"):  # nobody finds one that is not held yet
        for left in kind.glob(".draft-*"):
            _remove_unless_held(left)
        folder = kind / f".draft-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        descriptor = os.open(folder / USED, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def name_draft(unfinished: Path, folder: Path) -> None:
    """Make a complete draft the entry `folder`, unless that is there; raises OSError where it cannot be."""
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not _is_sound(folder, Path.is_dir):
            _discard(folder)
            _finish(unfinished, folder)


@contextlib.contextmanager
def taking_turns(path: Path | None) -> Iterator[None]:
    """Let one process at a time into a block in which `path` is made: others wait, and find it there. In a folder that
    is another user's each makes it, and without a path."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(path.with_suffix(".lock")))
        yield


def _is_sound(folder: Path, is_complete: Callable[[Path], bool]) -> bool:
    """Tell whether an entry is whole. Raises PermissionError where that cannot be known: it is no damage that another
    user may read it alone, or put it there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in (folder.parent, folder, *folder.iterdir()):
            if not is_own(path) or (path.is_symlink() and path != folder.parent):
                raise PermissionError(errno.EACCES, f"{path.name}: {ANOTHERS}")
            if path.exists() and not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, f"{path.name} may not be read")
    return is_complete(folder) and is_intact(folder)


def seal(folder: Path) -> None:
    """Note what the files of `folder` hold; of a copy of another entry, anew."""
    files = [path for path in sorted(folder.iterdir()) if path.name != SEAL and path.stat().st_size]
    found = {path.name: _checksum(path) for path in files}
    (folder / SEAL).write_text(json.dumps(found))


def is_intact(folder: Path) -> bool:
    """Return whether the files of `folder` are as they were sealed; True where there is no seal to tell.

    Raises PermissionError where this user may not read them."""
    try:
        sums = read_json((folder / SEAL).read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    if not isinstance(sums, dict):
        return False
    try:
        state = tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in ((folder / name).stat() for name in sums))
        if _intact.get(folder) != state:
            if any(_checksum(folder / name) != value for name, value in sums.items()):
                return False
            _intact[folder] = state
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return value


def _discard(folder: Path) -> None:
    """Remove what is there under the name of an entry, if something is: it is damaged."""
    if folder.exists():
        print(f"{folder} is damaged: it is rebuilt", flush=True)
    if folder in _held:
        os.close(_held.pop(folder))
    shutil.rmtree(folder, ignore_errors=True)


def release() -> None:
    """Let go of every entry that this process uses: from now on it may be removed to make room. What is mapped already
    stays readable, for a removed file lives as long as its maps."""
    while _held:
        os.close(_held.popitem()[1])


def entries(cache: Path) -> list[Path]:
    """Return every complete entry of the cache, the least recently used first."""
    return sorted((used.parent for used in cache.glob(f"*/[!.]*/{USED}")), key=_last_use)


def make_room(cache: Path, size: int) -> list[Path]:
    """Remove least recently used entries that no process holds until `size` more bytes fit the limit; those removed."""
    total = sum(_size(entry) for entry in entries(cache))
    removed = []
    for entry in entries(cache):
        if total + size <= limit_bytes():
            break
        entry_size = _size(entry)
        if _remove_unless_held(entry):
            total -= entry_size
            removed.append(entry)
    return removed


@contextlib.contextmanager
def _told_if_unusable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL + DENIED or isinstance(error, CacheFull):
            raise
        way_out = f". {WAY_OUT}" if error.errno in DENIED else ""
        raise CacheFull(error.errno, f"{error.strerror}, for what is cached{way_out}", str(folder)) from error


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Give a folder to build in, gone afterwards unless it was renamed to `folder`, whose lock the caller holds.

    Who may read it is for the umask to say: `tempfile` would make it this user's alone."""
    for left in folder.parent.glob(f".{folder.name}.building-*"):
        shutil.rmtree(left, ignore_errors=True)  # of a builder that was killed: we hold its lock
    unfinished = folder.with_name(f".{folder.name}.building-{uuid.uuid4().hex[:8]}")
    unfinished.mkdir()
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _hold(folder: Path) -> bool:
    """Mark `folder` used, by this process until it ends; False when it was removed meanwhile."""
    if folder in _held:
        if folder.is_dir():
            with contextlib.suppress(PermissionError):
                os.utime(_held[folder])
            return True
        os.close(_held.pop(folder))
    try:
        descriptor = _open_mark(folder)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not folder.is_dir():
        os.close(descriptor)
        return False
    with contextlib.suppress(PermissionError):  # another user's: it is held, but looks as if it had not been used
        os.utime(descriptor)
    _held[folder] = descriptor
    return True


def _open_mark(folder: Path) -> int:
    """Open the mark of an entry, to lock it: of another user's, which can only be read, to read it."""
    try:
        return os.open(folder / USED, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        return os.open(folder / USED, os.O_RDONLY | os.O_NOFOLLOW)


def _remove_unless_held(entry: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        try:
            descriptor = os.open(entry / USED, os.O_RDWR | os.O_NOFOLLOW)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            return False  # another user's, or a link that somebody put there
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = entry.with_name(f".{entry.name}.building-{uuid.uuid4().hex[:8]}")
            entry.rename(gone)  # at once: a reader finds all of it or nothing
            shutil.rmtree(gone, ignore_errors=True)
        except (BlockingIOError, PermissionError):
            return False
        finally:
            os.close(descriptor)
    return True


def _size(entry: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(file.stat().st_blocks * 512 for file in entry.iterdir())
    return 0


def _last_use(entry: Path) -> float:
    with contextlib.suppress(OSError):
        return (entry / USED).stat().st_mtime
    return 0.0
