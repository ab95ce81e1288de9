"""The end of a run: parts become the result, and the images that could not be read a list beside it.

summary = summary_of(parts, class_names)
write_unreadable(parts, summary, unreadable_file(out)); write_result(parts, out, facts)
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.classify.formats import Facts, writer_of
from galaxytl.classify.parts import Parts
from galaxytl.classify.predictions import REASON
from galaxytl.system.files import sync, write_atomically

UNFINISHED: Final = "unfinished"


@dataclass(frozen=True)
class Summary:
    """What came out."""

    class_names: tuple[str, ...]
    rows: NDArray[np.int64]
    """(n,) of the images that could be read."""
    classes: NDArray[np.int64]
    """(n,)."""
    probabilities: NDArray[np.float64]
    """(n,) of these classes."""
    unreadable: int
    """Images that could not be read."""
    reason: str
    """Why the first of them could not; "" where there is none."""

    @property
    def counts(self) -> Counter[int]:
        """Class -> images."""
        return Counter(self.classes.tolist())


def unreadable_file(out: Path) -> Path:
    """Return where the images are listed that could not be read."""
    return out.with_name(f"{out.stem}.unreadable.csv")


def summary_of(parts: Parts, class_names: tuple[str, ...]) -> Summary:
    """Return what is in the parts."""
    names = ("row", "class", "probability", REASON)
    found: list[list[NDArray[Any]]] = []
    unreadable, reason = 0, ""
    for table in parts.tables():
        good = _readable(table)
        found.append([good[name].to_numpy() for name in names[:3]])
        if len(good) < len(table):
            unreadable += len(table) - len(good)
            reason = reason or table[REASON].drop_null()[0].as_py()
    rows, classes, probabilities = (np.concatenate(values) for values in zip(*found, strict=True))
    return Summary(class_names, rows, classes, probabilities, unreadable, reason)


def write_result(parts: Parts, out: Path, facts: Facts) -> None:
    """Write the result at `out`, whole or not at all."""
    path = parts.folder / UNFINISHED
    writer = writer_of(out, path, facts)
    try:
        for table in parts.tables():
            if len(good := _readable(table).drop_columns([REASON])):
                writer.write(good)
    finally:
        writer.close()
    sync([path])
    os.replace(path, out)
    sync([out.absolute().parent])


def _readable(table: Any) -> Any:
    import pyarrow.compute as pc

    return table.filter(pc.is_null(table[REASON]))


def write_unreadable(parts: Parts, summary: Summary, path: Path) -> None:
    """Write the images that could not be read, and why; none, and none of an earlier run, where there is no such."""
    import pyarrow.compute as pc

    if not summary.unreadable:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "file", "reason"))
    for table in parts.tables():
        for one in table.filter(pc.is_valid(table[REASON])).to_pylist():
            writer.writerow((one["row"], one.get("file", one.get("id", "")), one[REASON]))
    write_atomically(path, text.getvalue().encode())
