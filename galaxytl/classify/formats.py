"""The result as a file: CSV, Parquet or HDF5, by the end of its name. What reads it needs nothing of this project.

    with writer_of(path, facts) as writer: writer.write(table)

CSV and Parquet have a column p_NAME for each class, and c_NAME where there are calibrated probabilities; HDF5 has
`probabilities` (N, C). Embeddings are `embedding` (HDF5 (N, D), Parquet lists), and e0, e1, ... in CSV.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from galaxytl.classify.predictions import CALIBRATED, EMBEDDING, PROBABILITIES
from galaxytl.system.command import UsageError

CHUNK: Final = 4096
"""Rows of an HDF5 dataset that are stored together."""


@dataclass(frozen=True)
class Facts:
    """What a result says of itself."""

    class_names: tuple[str, ...]
    model: dict[str, Any]
    """Name and SHA-256 of its file, the trial, and what it was trained on."""


class Writer(Protocol):
    """Writes rows, each a pyarrow.Table of the same columns."""

    def write(self, table: Any) -> None: ...

    def close(self) -> None: ...


def writer_of(out: Path, path: Path, facts: Facts) -> Writer:
    """Return what writes to `path` as the name of `out` says. Raises UsageError for one that says nothing known."""
    return FORMATS[ending_of(out)](path, facts)


def ending_of(out: Path) -> str:
    """Return the end of a result's name. Raises UsageError."""
    if (ending := out.suffix.lower()) not in FORMATS:
        raise UsageError(f"--to must name a file that ends with {', '.join(FORMATS)}; got '{out}'")
    return ending


def column_names(class_names: Sequence[str]) -> list[str]:
    """Return what columns of the classes are called, behind p_ or c_: small letters, digits and _; or the numbers of
    the classes, where two names would be one.

    >>> column_names(["Edge-on Galaxies with Bulge", "Merging"]), column_names(["a b", "a-b"])
    (['edge_on_galaxies_with_bulge', 'merging'], ['0', '1'])
    """
    names = [re.sub(r"\W+", "_", name.lower()).strip("_") for name in class_names]
    return names if len(set(names)) == len(names) and all(names) else [str(i) for i in range(len(names))]


def _flat(table: Any, facts: Facts, *, embeddings: bool) -> Any:
    """Return a table with a column a class, and a feature where asked, in place of lists."""
    import pyarrow as pa

    names = column_names(facts.class_names)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        if name in (PROBABILITIES, CALIBRATED):
            letter = "p" if name == PROBABILITIES else "c"
            values = _matrix(table[name])
            columns |= {f"{letter}_{of_class}": pa.array(values[:, i]) for i, of_class in enumerate(names)}
        elif name == EMBEDDING and embeddings:
            columns |= {f"e{i}": pa.array(values) for i, values in enumerate(_matrix(table[name]).T)}
        else:
            columns[name] = table[name]
    return pa.table(columns)


def _matrix(column: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    column = column.combine_chunks()
    return np.asarray(column.flatten(), np.float32).reshape(len(column), -1)


class CSVFile:
    def __init__(self, path: Path, facts: Facts) -> None:
        self._path, self._facts, self._writer = path, facts, None

    def write(self, table: Any) -> None:
        import pyarrow.csv as pc

        flat = _flat(table, self._facts, embeddings=True)
        if self._writer is None:
            self._writer = pc.CSVWriter(self._path, flat.schema)
        self._writer.write(flat)  # type: ignore[attr-defined]

    def close(self) -> None:
        if self._writer:
            self._writer.close()


class ParquetFile:
    def __init__(self, path: Path, facts: Facts) -> None:
        self._path, self._facts, self._writer = path, facts, None

    def write(self, table: Any) -> None:
        import pyarrow.parquet as pq

        said = {"class_names": list(self._facts.class_names), "model": self._facts.model}
        flat = _flat(table, self._facts, embeddings=False).replace_schema_metadata({"galaxytl": json.dumps(said)})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, flat.schema)
        self._writer.write_table(flat)  # type: ignore[attr-defined]

    def close(self) -> None:
        if self._writer:
            self._writer.close()


class HDF5File:
    def __init__(self, path: Path, facts: Facts) -> None:
        import h5py

        self._file = h5py.File(path, "w", locking=False)
        self._file.attrs["class_names"] = list(facts.class_names)
        self._file.attrs["model"] = json.dumps(facts.model)

    def write(self, table: Any) -> None:
        for name in table.column_names:
            is_matrix = name in (PROBABILITIES, CALIBRATED, EMBEDDING)
            values: Any = _matrix(table[name]) if is_matrix else table[name].to_numpy()
            self._append(name, values)

    def _append(self, name: str, values: Any) -> None:
        import h5py

        if name not in self._file:
            kind = h5py.string_dtype() if values.dtype.kind in "OU" else values.dtype
            shape = values.shape[1:]
            settings = {"maxshape": (None, *shape), "chunks": (max(1, CHUNK // max(1, *shape, 1)), *shape)}
            self._file.create_dataset(name, (0, *shape), kind, **settings)
        dataset = self._file[name]
        dataset.resize(len(dataset) + len(values), axis=0)
        dataset[len(dataset) - len(values) :] = (
            ["" if value is None else value for value in values] if (values.dtype.kind == "O") else values
        )

    def close(self) -> None:
        self._file.close()


FORMATS: Final[dict[str, Callable[[Path, Facts], Writer]]] = {
    ".csv": CSVFile,
    ".parquet": ParquetFile,
    ".h5": HDF5File,
    ".hdf5": HDF5File,
}
