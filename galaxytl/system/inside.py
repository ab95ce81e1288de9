"""Files inside a folder, and nothing outside it, whoever has filled the folder: results, reports, a storage's copy.

    check_links(Path("results/paper"))                            # before anything in it is read or written
    path = inside(Path("results/paper"), "probabilities/0f3a.parquet")
    with open(path, "ab", opener=no_link) as file: ...            # for what is appended to, not replaced

A results folder may itself be a link, to a large disk: its user made that. A link in it may be of who sent it, and what
is written through it lands where that one likes. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from galaxytl.system.foreign_text import visible

NAMES_ANOTHER: Final = bytes.fromhex("d9d505f920a163d7")
"""Ends a rollback journal of SQLite that names a further file, the journal of a transaction of several databases. No
study's is; and SQLite, when it opens the database, removes a file so named that is none (pager.c)."""
WAY_OUT = "Remove it, or put the whole folder elsewhere: that one may be a link"


class OutsideError(OSError):
    """A file of a folder would lie outside it; the message says which and what to do."""


def inside(folder: Path, name: str) -> Path:
    """Return the file called `name`, like "errors/0f3a.txt", in `folder`. Raises OutsideError for a name that leads out
    of it (with "..", from the root), for one that cannot be shown, and where the file or a folder on the way is a
    link."""
    parts = name.split("/")
    if visible(name) != name or not set(parts).isdisjoint(("", ".", "..")):
        raise OutsideError(f"a file of {folder} must have a name below it, like errors/0f3a.txt; got '{visible(name)}'")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise OutsideError(f"files of {folder} must lie in it; {path} is a link. {WAY_OUT}")
    return path


def check_links(folder: Path) -> None:
    """Raise OutsideError where something in `folder`, or in a folder in it, is a link that leads out of it, a journal
    of SQLite that does, or no file at all (a pipe would be waited for). Links of Optuna's journals stay inside."""
    if not folder.is_dir():
        return
    root = folder.resolve()
    for entry in _entries(folder):
        if entry.is_symlink():
            if not Path(entry.path).resolve().is_relative_to(root):
                raise OutsideError(f"files of {folder} must lie in it; {visible(entry.path)} is a link. {WAY_OUT}")
        elif not (entry.is_file() or entry.is_dir()):
            raise OutsideError(f"{folder} must hold files and folders; {visible(entry.path)} is neither. Remove it")
        elif entry.name.endswith("-journal") and entry.is_file():
            check_journal(Path(entry.path))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of the folder, and of those in it: results lie no deeper."""
    with os.scandir(folder) as found:
        for entry in found:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(PermissionError), os.scandir(entry) as below:  # nothing is read there either
                    yield from below


def check_journal(path: Path) -> None:
    """Raise OutsideError where this rollback journal names a further file."""
    if path.is_file():
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(NAMES_ANOTHER)))
            if file.read() == NAMES_ANOTHER:
                raise OutsideError(f"a study's journal names no further file; {visible(str(path))} does. Remove it")


def no_link(path: str, flags: int) -> int:
    """Open a file for `open`; raises OutsideError where it is a link, which nobody can put there in between, and where
    it is no file. New files have the mode that `open` gives them."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        if os.path.islink(path):
            raise OutsideError(f"results must lie in their own folder; {visible(path)} is a link. {WAY_OUT}") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OutsideError(f"results are files; {visible(path)} is none. Remove it")
    return descriptor
