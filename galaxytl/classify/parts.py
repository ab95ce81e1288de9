"""What is done so far, beside the result: OUT.parts/, from which a run that was killed goes on.

    with open_parts(Path("classes.csv"), Asked(...)) as parts:      # one run at a time
        parts.add(table)                                            # rows from parts.stop on
        for table in parts.tables(): ...

A part is a Parquet file called after its rows, written whole or not at all; asked.json says of which images, by which
model and with which options. The folder goes when the result is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from galaxytl.system.command import UsageError
from galaxytl.system.files import write_atomically
from galaxytl.system.parquet_layout import UNREADABLE
from galaxytl.system.strict_json import read_json

FORMAT: Final = 1
"""Of the folder; raised when an older program would misread it."""
ASKED, LOCK = "asked.json", "lock"
PART: Final = re.compile(r"(\d{12})-(\d{12})\.parquet")
ROWS_HELD: Final = 8192
"""Of a part at most: 32 MB of embeddings of 1,024 numbers."""
SECONDS_HELD: Final = 30.0
"""After which a part is written: so much work a kill costs."""


@dataclass(frozen=True)
class Work:
    """What a folder of parts is of."""

    model: str
    """SHA-256 of its file."""
    model_name: str
    images: str
    """Their fingerprint."""
    images_uri: str
    options: list[str]
    """Those that change what is said of an image, like --tta."""


class Parts:
    """The rows that are done, in an order without gaps from row 0 on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = _checked(folder)
        self._pending: list[Any] = []
        self._since = time.monotonic()

    @property
    def stop(self) -> int:
        """The first row that is not done."""
        done = int(PART.fullmatch(self._files[-1].name)[2]) if self._files else 0  # type: ignore[index]
        return done + sum(map(len, self._pending))

    def add(self, table: Any) -> None:
        """Take the next rows, which are on disk when enough of them, or of time, have come together."""
        self._pending.append(table)
        if sum(map(len, self._pending)) >= ROWS_HELD or time.monotonic() - self._since >= SECONDS_HELD:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._pending:
            table = pa.concat_tables(self._pending, promote_options="default")
            stop = self.stop
            path = self.folder / f"{stop - len(table):012d}-{stop:012d}.parquet"
            content = pa.BufferOutputStream()
            pq.write_table(table, content)
            write_atomically(path, content.getvalue().to_pybytes())
            self._files.append(path)
        self._pending, self._since = [], time.monotonic()

    def tables(self) -> Iterator[Any]:
        """Yield the rows as pyarrow.Tables, once they were flushed."""
        import pyarrow.parquet as pq

        for file in self._files:
            yield pq.read_table(file, partitioning=None)


def _checked(folder: Path) -> list[Path]:
    """Return the parts that follow each other from row 0 on; remove others, and what a killed run left of one."""
    import pyarrow.parquet as pq

    files: list[Path] = []
    stop = 0
    for file in sorted(folder.iterdir()):
        match = PART.fullmatch(file.name)
        if match and int(match[1]) == stop:
            with contextlib.suppress(*UNREADABLE):
                if pq.read_metadata(file).num_rows == int(match[2]) - stop:
                    files.append(file)
                    stop = int(match[2])
                    continue
        if match or file.name.startswith(".writing-"):
            file.unlink()
    return files


def folder_of(out: Path) -> Path:
    """Return where the parts of a result lie."""
    return out.with_name(f"{out.name}.parts")


@contextlib.contextmanager
def open_parts(out: Path, work: Work) -> Iterator[Parts]:
    """Hold the parts of a result, for this process alone. What is held is written at the end, however that comes.

    Raises UsageError where another run holds them, and where they are of other work.
    """
    folder = folder_of(out)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{out} must be written by one run at a time; another one is at work in {folder}") from None
    try:
        _check(folder, out, work)
        parts = Parts(folder)
        try:
            yield parts
        finally:
            parts.flush()
        shutil.rmtree(folder)
    finally:
        lock.release()


def _check(folder: Path, out: Path, work: Work) -> None:
    """Raise UsageError unless the folder is new, or of this work."""
    file = folder / ASKED
    values = {"format": FORMAT, **dataclasses.asdict(work)}
    if not file.exists():
        if strangers := [one.name for one in folder.iterdir() if one.name != LOCK and not one.name.startswith(".")]:
            raise UsageError(f"{folder} must be free for parts of {out}; it holds {strangers[0]}: name another --to")
        write_atomically(file, json.dumps(values, indent=1).encode())
        return
    try:
        found = read_json(file.read_bytes())
        differs = [name for name in ("format", "model", "images", "options") if found[name] != values[name]]
        said = {name: str(found[f"{name}_{part}"]) for name, part in (("model", "name"), ("images", "uri"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} cannot be understood ({error}); remove {folder} to start anew") from error
    if differs:
        options = " ".join(map(str, found["options"])) if isinstance(found["options"], list) else ""
        what = {"model": f"another model, {said['model']}", "images": f"other images, {said['images']}"}
        what["options"] = f"other options, {options or 'no --tta and no --embeddings'}"
        raise UsageError(
            f"{folder} must be of this model, these images and these options, to go on from; it is of "
            f"{what.get(differs[0], 'another version')}: remove it to start anew, or name another --to"
        )
