"""Files of this machine: written whole or not at all, what to do where one may not be read or written, and which file
system a folder lies on.

    write_atomically(path, content)
    advice(error)              # "... belongs to user root (0) (mode 0755), and this is user me (1000): have ..."

Standard library only.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FULL = (errno.ENOSPC, errno.EDQUOT)
"""`errno` of an OSError that says that a disk, or a user's share of it, is full."""

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""`errno` of an OSError that says that this user may not read or write there."""

MOUNTS: Final = Path("/proc/self/mountinfo")
OVER_A_NETWORK: Final = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs"),
    *("lustre", "gpfs", "beegfs", "beegfs_nodev", "orangefs", "pvfs2", "wekafs"),
)
"""Types of file systems that lie on other machines, as Linux calls them; those of FUSE are told by their programs."""
PROGRAMS: Final = ("sshfs", "glusterfs", "s3fs", "goofys", "gcsfuse", "rclone", "juicefs", "ceph", "davfs")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def sync(paths: Iterable[Path]) -> None:
    """Force files and folders to disk, in this order: so that no name outlives its content after a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def advice(error: BaseException) -> str:
    """Return a sentence about the PermissionError that `error` is or came of; "" where there is none."""
    denied = _denied(error)
    if denied is None:
        return ""
    place = _nearest(_name(denied))
    whose = f"{_described(place)}, and this" if place else "This"
    return (
        f"{whose} is user {_user(os.geteuid())}: have its owner run chmod (files want r and w, folders x too), "
        "or an administrator chown, or choose another place, as with --out"
    )


def _denied(error: BaseException | None) -> PermissionError | None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, PermissionError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _name(denied: PermissionError) -> str:
    """Return the name of what was denied; libraries say it in their text."""
    if isinstance(denied.filename, str | os.PathLike):
        return os.fspath(denied.filename)
    quoted = re.search(r"'(/[^']*)'", str(denied))
    return quoted[1] if quoted else ""


def _nearest(name: str) -> Path | None:
    """Return the path, or of the folders that it lies in the innermost that can be looked at."""
    if not name:
        return None
    path = Path(name).absolute()
    for place in (path, *path.parents):
        try:
            place.lstat()
        except OSError:
            continue
        return place
    return None


def _described(place: Path) -> str:
    found = place.lstat()
    return f"{str(place)!r} belongs to user {_user(found.st_uid)} (mode {stat.S_IMODE(found.st_mode):04o})"


def _user(number: int) -> str:
    try:
        return f"{pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:
        return f"{number}"


def network_file_system(folder: Path) -> str:
    """Return the type of the network's file system that the folder lies on, or will lie on; "" for any other, and where
    the system does not say."""
    try:
        table = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    kind = file_system_type(table, os.path.realpath(folder))
    return kind if kind in OVER_A_NETWORK or kind.removeprefix("fuse.").startswith(PROGRAMS) else ""


def file_system_type(table: str, path: str) -> str:
    """Return the type of the file system that holds an absolute path without links, from the lines of
    /proc/self/mountinfo (`man 5 proc`): that with the longest mount point above it, of equal ones the last, which hides
    the others. "" where no line fits."""
    longest, kind = "", ""
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if len(place) >= len(longest) and (path == place or path.startswith(place.rstrip("/") + "/")):
            longest, kind = place, after.split(" ")[0]
    return kind
