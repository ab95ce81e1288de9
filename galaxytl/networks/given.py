"""Features that another program computed: a file with a row of numbers an image stands for a frozen network.

    features = given_features(Path("zoobot.npy"), ids, num_rows=17736)
    features.values, features.fingerprint           # (N, D) float32 in the dataset's order; SHA-256 of them

An .npy has the rows alone, in the dataset's order. An .npz (`features`, `ids`) and a Parquet file (a column of lists,
or columns like feature_0, feature_1; a column of ids) may say which image each row is of: then they are brought into
the dataset's order. What is hashed is float32 in that order, so that equal features in other files are the same trials.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.columns import KNOWN_NAMES, texts
from galaxytl.networks.blocks import Structure
from galaxytl.system.arrays import DAMAGED, opened_npz
from galaxytl.system.locations import DataError
from galaxytl.system.parquet_layout import LARGE_PAGE, UNREADABLE, check_layout
from galaxytl.trial import TrialSpec

KINDS: Final = (".npy", ".npz", ".parquet")
ID_NAMES: Final = (*KNOWN_NAMES["id"], "ids")
NPY: Final = b"\x93NUMPY"
"""How such a file begins."""
ROWS_AT_ONCE: Final = 4096
NUMBERED: Final = re.compile(r"(.*?)_?([0-9]{1,6})")
"""Names of the columns of one table of numbers: feature_0, feat_001, pc12."""


@dataclass(frozen=True)
class Features:
    """Of all images of a dataset, in its order."""

    path: Path
    values: NDArray[np.float32]
    """(N, D)"""
    fingerprint: str
    order: str
    """For people: how it is known which row is of which image."""

    def structure(self, backbone: str, image_size: int) -> Structure:
        """Return the network that gives them: one without blocks, whose input is its output."""
        return Structure(backbone, image_size, (), (), self.values.shape[1:], self.fingerprint)

    def __str__(self) -> str:
        number, width = self.values.shape
        return f"{self.path}: {number:,} rows of {width:,} numbers, fingerprint {self.fingerprint[:12]}; {self.order}"


def trial_features(spec: TrialSpec, path: Path | None, ids: NDArray[Any] | None, num_rows: int) -> Features:
    """Return the features that a trial is trained on. Raises DataError, also where the file holds others than the
    trial's sweep saw."""
    if path is None:
        raise DataError(f"a trial on {spec.backbone} needs the file of its features: give --features FILE")
    features = given_features(path, ids, num_rows)
    if features.fingerprint != spec.weights_fingerprint:
        wanted, found = spec.weights_fingerprint[:12], features.fingerprint[:12]
        raise DataError(f"{path} must hold the features {wanted} that the sweep saw; it holds {found}")
    return features


def given_features(path: Path, ids: NDArray[Any] | None, num_rows: int) -> Features:
    """Return the features in a file, checked, in the order of a dataset of so many rows, which have these ids (None:
    it has none). Raises DataError."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(
            f"--features must be a file that can be read here, and on each node; got {path}: {error.strerror}"
        ) from error
    known = None if ids is None else tuple(map(str, ids.tolist()))
    return _given(path, known, num_rows, (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))


@functools.lru_cache(maxsize=1)  # one group after the other reads them
def _given(path: Path, ids: tuple[str, ...] | None, num_rows: int, _state: tuple[int, ...]) -> Features:
    values, own = _read(path)
    if values.ndim != 2 or not values.shape[1]:
        raise DataError(f"{path} must hold a row of numbers an image, (N, D); got the shape {values.shape}")
    if values.dtype.kind != "f" or values.dtype.itemsize not in (2, 4, 8):
        raise DataError(f"{path} must hold float32, float16 or float64; got {values.dtype}: write it with .astype")
    if len(values) != num_rows:
        raise DataError(f"{path} must have a row for each of the dataset's {num_rows:,} images; it has {len(values):,}")
    rows, order = _order(path, own, ids)
    values = _as_float32(values if rows is None else values[rows])
    digest = hashlib.sha256(f"{values.shape}".encode())
    for start, part in _parts(values):
        if not (finite := np.isfinite(part).all(axis=1)).all():
            row = start + int(np.argmin(finite))
            raise DataError(f"{path} must hold finite numbers, as float32 too; those of image {row} are not")
        digest.update(np.ascontiguousarray(part, "<f4").tobytes())
    return Features(path, values, digest.hexdigest(), order)


def _as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the same array where it is one of float32 already: it stays mapped from its file."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        return values.astype(np.float32, copy=False)


def _parts(values: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for start in range(0, len(values), ROWS_AT_ONCE):
        yield start, values[start : start + ROWS_AT_ONCE]


def _order(path: Path, own: NDArray[Any] | None, ids: tuple[str, ...] | None) -> tuple[NDArray[np.int64] | None, str]:
    """Return which row of the file each image has, None where it is the image's own number, and how that is known.
    Raises DataError."""
    if own is None or ids is None:
        lacking = "the file" if own is None else "the dataset"
        return None, f"taken to be in the dataset's order, which cannot be checked, as {lacking} has no ids"
    names = tuple(map(str, own.tolist()))
    if names == ids:
        return None, "in the dataset's order, by their ids"
    for where, found in ((path, names), ("the dataset", ids)):
        if len(set(found)) < len(found):
            twice = next(name for name in found if found.count(name) > 1)
            raise DataError(f"to bring {path} into the dataset's order, ids must differ; {where} has {twice} twice")
    places = {name: row for row, name in enumerate(names)}
    if missing := [name for name in ids if name not in places]:
        raise DataError(
            f"{path} must have a row for each id of the dataset; {len(missing):,} are not in it, like {missing[0]}"
        )
    return np.array([places[name] for name in ids], np.int64), "brought into the dataset's order by their ids"


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the numbers in a file, and the ids of its rows where it has any. Raises DataError."""
    readers = {".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise DataError(f"--features must be a file of a kind that can be read, {', '.join(KINDS)}; got {path}")
    try:
        return readers[path.suffix.lower()](path)
    except DataError:
        raise
    except (*DAMAGED, *UNREADABLE) as error:
        raise DataError(f"{path} must be whole, and of the kind that its name says; it is not: {error}") from error


def _read_npy(path: Path) -> tuple[NDArray[Any], None]:
    with path.open("rb") as file:
        if (magic := file.read(len(NPY))) and magic != NPY:  # NumPy would take it for a pickle, and advise to load that
            raise DataError(f"{path} must be written by numpy.save, as its name says; it is another kind of file")
    return np.load(path, mmap_mode="r", allow_pickle=False), None


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with opened_npz(path) as arrays:
        tables = [name for name in arrays if arrays[name].ndim == 2]
        if len(tables) != 1:
            raise DataError(f"{path} must have one array of two dimensions; got {', '.join(tables) or 'none'}")
        own = next((name for name in ID_NAMES if name in arrays), None)
        return arrays[tables[0]], None if own is None else _as_texts(arrays[own], len(arrays[tables[0]]), path)


def _as_texts(ids: NDArray[Any], num_rows: int, path: Path) -> NDArray[Any]:
    if ids.shape != (num_rows,) or ids.dtype.kind not in "iuUS":
        raise DataError(f"{path} must have one id a row, texts or whole numbers; got {ids.shape} of {ids.dtype}")
    return np.char.decode(ids, "utf-8", "replace") if ids.dtype.kind == "S" else ids.astype(str)


def _read_parquet(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(str(path)) as stream:
        file = pq.ParquetFile(stream)
        schema = file.schema_arrow
        names = _columns_of_numbers(schema, path)
        own = next((name for known in ID_NAMES for name in schema.names if name.lower() == known), None)
        wanted = [*names, *([own] if own else [])]
        check_layout(file, stream, wanted, LARGE_PAGE)
        table = file.read(wanted)
    if pa.types.is_floating(table[names[0]].type):
        values = np.stack([table[name].to_numpy() for name in names], axis=1)
    else:
        values = _of_lists(table[names[0]].combine_chunks(), f"{path}, column {names[0]}")
    return values, texts(table[own], f"{path}, column {own}") if own else None


def _columns_of_numbers(schema: Any, path: Path) -> list[str]:
    """Return the column of lists, or the columns of one name and numbers from 0 or 1, that hold the features. Others
    stand beside them: a label among the features would tell the answer."""
    import pyarrow.types as kinds

    def is_list(kind: Any) -> bool:
        return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))

    lists = [field.name for field in schema if is_list(field.type) and kinds.is_floating(field.type.value_type)]
    if len(lists) == 1:
        return lists
    numbered: dict[str, dict[int, str]] = {}
    for field in schema:
        if kinds.is_floating(field.type) and (found := NUMBERED.fullmatch(field.name)):
            numbered.setdefault(found[1], {})[int(found[2])] = field.name
    tables = [columns for columns in numbered.values() if set(columns) in _counted(len(columns))]
    if lists or len(tables) != 1:
        raise DataError(
            f"{path} must have one column of lists of floats, or columns of floats of one name and numbers, like "
            f"feature_0, feature_1; its columns are {', '.join(schema.names[:20])}"
        )
    return [name for _, name in sorted(tables[0].items())]


def _counted(number: int) -> tuple[set[int], set[int]]:
    return set(range(number)), set(range(1, number + 1))


def _of_lists(column: Any, where: str) -> NDArray[Any]:
    """Return a column of lists of one length as (N, D). Raises DataError."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column)
    ends = pc.min_max(lengths).as_py()
    if lengths.null_count:
        raise DataError(f"{where} must have a list in each row; {lengths.null_count:,} have none")
    if ends["min"] != ends["max"] or not ends["max"]:
        raise DataError(f"{where} must have lists of one length; got from {ends['min']} to {ends['max']} numbers")
    return pc.list_flatten(column).to_numpy(zero_copy_only=False).reshape(len(column), ends["max"])
