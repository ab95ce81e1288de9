"""What to do where a file or folder may not be read or written: whose it is, and who this is. Standard library only."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path


def advice(error: BaseException) -> str:
    """A sentence about the PermissionError that `error` is or came of; "" where there is none."""
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
    """Of what was denied; libraries say it in their text."""
    if isinstance(denied.filename, str | os.PathLike):
        return os.fspath(denied.filename)
    quoted = re.search(r"'(/[^']*)'", str(denied))
    return quoted[1] if quoted else ""


def _nearest(name: str) -> Path | None:
    """The path, or of the folders that it lies in the innermost that can be looked at."""
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
