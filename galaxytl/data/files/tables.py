"""What stands beside the images in a file that holds them itself, HDF5, npz or Parquet: which classes its labels say.

classes_of(pyarrow_table, ["label"], reading, Said(names, shape=(69, 69, 3)), where)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import galaxy10_sdss
from galaxytl.data.files import columns
from galaxytl.data.files.classes import Classes, of_labels, unknown_classes
from galaxytl.data.files.containers import ID_COLUMN, SKY_COLUMNS, SPLIT_COLUMN
from galaxytl.data.files.fingerprint import GALAXY10_SHAPE
from galaxytl.system.locations import DataError
from galaxytl.trial.reading import Reading

VOTES_COLUMN: Final = "votes"
"""Of a copy that `convert` wrote: the fractions of votes, a number a class."""
KEPT_COLUMNS: Final = "kept_columns"
"""What a copy that `convert` wrote says of itself: names of the columns that its user asked for."""
ALWAYS_READ: Final = (*SKY_COLUMNS, ID_COLUMN, SPLIT_COLUMN)


def guess_note(image: str, labels: Sequence[str], known: Mapping[str, str], usual: tuple[str, str]) -> str:
    """Return what was guessed of the names of columns, for people; usual: names of the image and label column that need
    no word."""
    parts = [f"the images by the column {image}"] if image != usual[0] else []
    parts += [f"the labels by the column {labels[0]}"] if labels and list(labels) != [usual[1]] else []
    parts += [text] if (text := columns.guesses(known)) else []
    return f"it is read so: {', '.join(parts)}" if parts else ""


def label_columns(reading: Reading) -> tuple[str, ...]:
    """Return the columns of labels that are looked for, "" for one that is found by its name; () where none is."""
    return (reading.label_columns or ("",)) if reading.wants_labels else ()


def table_of(found: Mapping[str, Any], num_rows: int) -> Any:
    """Return columns of so many rows as a pyarrow.Table, which has them where there is no column, too."""
    import pyarrow as pa

    return pa.table(dict(found) or {"": pa.nulls(num_rows)})


@dataclass(frozen=True)
class Said:
    """What a file says of its classes beside the labels."""

    shape: tuple[int, ...]
    """Of its first image."""
    names: tuple[str, ...] = ()
    votes: NDArray[np.float32] | None = None
    """(N, C), of a copy that `convert` wrote: shares, of classes that have names."""
    notes: tuple[str, ...] = ()
    """What is to be known of how the file was read."""


def classes_of(table: Any, labels: Sequence[str], reading: Reading, said: Said, where: object) -> Classes:
    """Return the classes that columns of a pyarrow.Table say: one of numbers or texts, or of lists of votes; or several
    of votes; of a Reading that wants no labels, unknown ones. The names that the user gives come first. Raises
    DataError."""
    if not reading.wants_labels:
        return unknown_classes(table.num_rows)
    names = reading.class_names or said.names
    column = table[labels[0]]
    notes = [*said.notes, *_overruled(reading.class_names, said.names)]
    if len(labels) > 1:
        found = columns.votes_of(table, labels, where)
    elif said.votes is not None and reading.class_names:
        found = columns.of_votes(said.votes, names, where)
    elif said.votes is not None and not reading.label_columns:
        found = replace(_of_column(column, names, reading, said, where), known=names, votes=said.votes)
    elif str(column.type).startswith("fixed_size_list"):
        found = _of_matrix(_matrix(column), names, where)
    else:
        found = _of_column(column, names, reading, said, f"{where}, column {labels[0]}")
    return replace(found, note="; ".join(text for text in (*notes, found.note) if text))


def _overruled(names: tuple[str, ...], said: tuple[str, ...]) -> list[str]:
    differs = names and said and names != said
    return [f"--class-names names other classes than the file, which says {', '.join(said)[:1000]}"] if differs else []


def _of_column(column: Any, names: tuple[str, ...], reading: Reading, said: Said, where: object) -> Classes:
    if not (reading.class_names or _is_number(column.type)):
        names = ()  # texts name themselves
    found = columns.labels_of(column, names, where, assumed=said.shape == GALAXY10_SHAPE)
    if not found.known and _is_galaxy10_sdss(found.labels, said.shape):
        return of_labels(found.labels, galaxy10_sdss.CLASS_NAMES, where)
    return found


def _is_number(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind))


def _is_galaxy10_sdss(labels: NDArray[np.int64], shape: tuple[int, ...]) -> bool:
    side = galaxy10_sdss.IMAGE_SIDE
    is_so_large = shape == (side, side, 3) and len(labels) == galaxy10_sdss.NUM_IMAGES
    return is_so_large and len(np.unique(labels)) == len(galaxy10_sdss.CLASS_NAMES) == labels.max() + 1


def _matrix(column: Any) -> NDArray[np.float64]:
    column = column.combine_chunks()
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float64).reshape(len(column), -1)


def _of_matrix(rows: NDArray[np.float64], names: tuple[str, ...], where: object) -> Classes:
    """Return the classes of a row of numbers (N, C) an image: votes, or where each has a single 1 among zeros, the
    class that it stands at."""
    if ((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all():
        return of_labels(rows.argmax(axis=1).astype(np.int64), names, where)
    if names and len(names) != rows.shape[1]:
        raise DataError(f"{where}: votes must be for {len(names)} classes; got {rows.shape[1]} numbers an image")
    return columns.of_votes(rows.astype(np.float32), names or [f"class {n}" for n in range(rows.shape[1])], where)


def check_kept(kept: Sequence[str], reserved: Sequence[str], where: object) -> None:
    """Raise DataError for columns that cannot stand under their names in a copy."""
    if taken := [name for name in kept if name in reserved]:
        raise DataError(
            f"{where}: a copy has something else under the name {taken[0]}; leave it out of --columns, or rename it in "
            "the source"
        )
