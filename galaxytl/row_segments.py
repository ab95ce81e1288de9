"""The rows of a results folder at a storage: pieces of its trials.jsonl, numbered in the order of their writing.

    lines = read_rows(storage)               # of all pieces; each line once
    writer = RowWriter(storage, folder)      # of the one driver: takes over the lines, pushes what is appended

The local file is written first and forced to disk; a piece follows within a second or two, or when the storage is back.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path

from galaxytl.data.cache import write_atomically
from galaxytl.inside import inside
from galaxytl.results import FILE_NAME
from galaxytl.storage import Storage, each
from galaxytl.trial import FAILED

FOLDER = "rows"
MANY = 64
"""So many pieces become one when a driver begins. A reader of 10,000 trials then needs few requests."""
JOINS = 5
"""So often, at most, the pieces are listed again by a reader that finds one gone: a driver that begins has joined it
to others."""


def read_rows(storage: Storage) -> list[bytes]:
    """The lines of all pieces, without their ends. Raises DataError."""
    for _ in range(JOINS):
        pieces = each(storage.get, storage.names(FOLDER))
        if None not in pieces:
            break
    lines = [line for piece in pieces for line in (piece or b"").split(b"\n") if line]
    return list(dict.fromkeys(lines))  # a piece and the one that it was joined into may both be there


def merged(stored: list[bytes], content: bytes) -> bytes:
    """The stored lines, then those of a file's content that are not among them; without the half line of a killed
    driver, and without rows of trials that another has finished meanwhile: a trial has one."""
    known = set(stored)
    own = [line for line in content.split(b"\n")[:-1] if line and line not in known]
    ends = dict(map(_end, stored)) if own else {}
    lines = [*stored, *(line for line in own if not _is_told(*_end(line), ends))]
    return b"".join(line + b"\n" for line in lines)


def _is_told(trial_id: str, status: str, ends: Mapping[str, str]) -> bool:
    """Whether these tell as much of a trial: a FAILED one may be COMPLETE since."""
    return trial_id in ends and (status == FAILED or ends[trial_id] != FAILED)


def _end(line: bytes) -> tuple[str, str]:
    """Trial and status of a row; of what is none, itself."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        row = json.loads(line)
        return str(row["trial_id"]), str(row["status"])
    return line.decode(errors="replace"), ""


class RowWriter:
    """Brings a folder's rows and the storage's together, then pushes what is appended to the folder's file."""

    def __init__(self, storage: Storage, folder: Path) -> None:
        """Raises DataError."""
        self._storage, self._path = storage, folder / FILE_NAME
        names = storage.names(FOLDER)
        self._number = 1 + max((_number(name) for name in names), default=0)
        stored = read_rows(storage)
        if len(names) > MANY:
            self._join(names, stored)
        self._at = self._merge(stored)

    def _join(self, names: list[str], lines: list[bytes]) -> None:
        self._put(b"".join(line + b"\n" for line in lines))
        each(self._storage.delete, names)

    def _merge(self, stored: list[bytes]) -> int:
        """Have the stored lines in the folder's file, then its own that the storage lacks; where those begin."""
        content = self._path.read_bytes() if self._path.exists() else b""
        both = merged(stored, content)
        if both != content:
            write_atomically(self._path, both)
        return sum(len(line) + 1 for line in stored)

    def push(self) -> bool:
        """Store the rows appended since the last push; False where there are none. Raises DataError."""
        if not self._path.exists():
            return False
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        if new:
            self._put(new)
            self._at += len(new)
        return bool(new)

    def _put(self, content: bytes) -> None:
        self._storage.put(f"{FOLDER}/{self._number:06d}-{uuid.uuid4().hex[:8]}.jsonl", content)
        self._number += 1


def _number(name: str) -> int:
    digits = name.removeprefix(f"{FOLDER}/").partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def fetch_results(storage: Storage, folder: Path) -> None:
    """Have in `folder` what an analysis reads of the results at a storage. Raises DataError, and StorageError and
    OutsideError for names that lead elsewhere."""
    lines = read_rows(storage)
    write_atomically(folder / FILE_NAME, b"".join(line + b"\n" for line in lines))
    others = [name for name in storage.names("") if not name.startswith((f"{FOLDER}/", "checkpoints/", "ray/"))]
    each(lambda name: storage.get_file(name, inside(folder, name)), others)
