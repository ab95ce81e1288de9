"""NumPy's .npz with `images` and `labels`, as `numpy.savez` or `savez_compressed` write it; no object is unpickled.

The images are read as a stream, a batch at a time, so that neither their number nor how well they compress decides the
memory that they take.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from galaxytl.data.files import columns, containers, tables
from galaxytl.data.files.arrays.stacks import stack_of
from galaxytl.data.files.containers import BATCH, BATCH_BYTES, Batches
from galaxytl.data.findings import Finding
from galaxytl.system.arrays import DAMAGED
from galaxytl.system.locations import DataError, Location
from galaxytl.system.prefetch import ahead
from galaxytl.trial.reading import Reading

CLASS_NAMES: Final = ("class_names", "label_names", "classes")
"""Arrays that may have the names of the classes, where they are texts."""
MOST_ARRAYS: Final = 1000
MOST_BYTES, MOST_RATIO = 64 * 2**20, 32
"""Of an array beside the images: bytes, or bytes for each of the file."""


class NpzSource:
    """An archive of arrays: `images` (N, H, W, 3) or the like, `labels` (N,), and what is known beside them."""

    declared_fingerprint: str | None = None
    declared_name: str | None = None
    findings: tuple[Finding, ...] = ()

    def __init__(self, location: Location, _scratch: Path, reading: Reading) -> None:
        self.files = [location.stored()]
        with self._opened() as archive:
            headers = _headers(archive)
            shown = {name: f"{shape} {kind}" for name, (shape, _, kind) in headers.items()}
            likely = {name: shown[name] for name, (shape, _, _) in headers.items() if len(shape) in (3, 4)}
            self._name = columns.column_for("image", "npz", reading.image_column, likely, shown, location)
            shape, is_fortran, kind = headers[self._name]
            if is_fortran:
                rule = f"{self._name} must be in C order; write it anew: numpy.ascontiguousarray({self._name})"
                raise DataError(f"{location}: {rule}")
            containers.check_number((shape or (0,))[0], self.files[0].size, location)
            self._shape, self._stack = shape, stack_of(shape, kind, location)
            beside = {name: shown[name] for name, (other, _, _) in headers.items() if other[:1] == shape[:1]}
            del beside[self._name]
            asked = tables.label_columns(reading)
            labels = [columns.column_for("label", "npz", name, beside, shown, location) for name in asked]
            known = columns.known_names(list(beside), reading.extra_columns, location)
            table = self._table(archive, headers, {*labels, *known.values()})
            self.columns = columns.known_columns(table, known, location)
            notes = (tables.guess_note(self._name, labels, known, ("images", "labels")), self._stack.note)
            said = tables.Said(self._stack.shape, self._class_names(archive, headers, {*labels}), notes=notes)
            self.classes = tables.classes_of(table, labels, reading, said, location)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    def batches(self) -> Batches:
        with contextlib.closing(ahead(self._read())) as batches:
            yield from batches

    def _read(self) -> Iterator[NDArray[np.uint8]]:
        size = math.prod(self._shape[1:])
        step = max(1, min(BATCH, BATCH_BYTES // (3 * size)))
        with self._opened() as archive, archive.open(f"{self._name}.npy") as stream:
            _header(stream)
            for start in range(0, self._shape[0], step):
                number = min(step, self._shape[0] - start)
                content = stream.read(number * size)
                if len(content) < number * size:
                    raise ValueError(f"{self._name} is cut off")
                yield self._stack.images(np.frombuffer(content, np.uint8).reshape(number, *self._shape[1:]))
            if stream.read(1):  # also has the archive compare its check sum
                raise ValueError(f"{self._name} is longer than it says")

    def _class_names(self, archive: Any, headers: dict[str, Any], others: Iterable[str]) -> tuple[str, ...]:
        for name in CLASS_NAMES:
            if name in headers and name not in others and headers[name][2].kind in "US":
                return tuple(_texts(self._array(archive, headers, name)))
        return ()

    def _table(self, archive: Any, headers: dict[str, Any], names: Iterable[str]) -> Any:
        found = {name: self._column(self._array(archive, headers, name), name) for name in names}
        return tables.table_of(found, self._shape[0])

    def _column(self, array: NDArray[Any], name: str) -> Any:
        import pyarrow as pa

        if array.shape[:1] != self._shape[:1] or array.ndim > 2:
            rule = f"column {name} must have one value an image, {self._shape[0]}"
            raise DataError(f"{self.files[0].location}: {rule}; got shape {array.shape}")
        if array.ndim == 2:
            return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
        return pa.array(_texts(array) if array.dtype.kind in "US" else array)

    def _array(self, archive: Any, headers: dict[str, Any], name: str) -> NDArray[Any]:
        shape, _, kind = headers[name]
        where = self.files[0].location
        if kind.kind not in "biufUS":
            advice = f"Objects are not read, as they may be programs: save {name}.astype(str)"
            raise DataError(f"{where}: {name} must hold numbers or texts; got {kind}. {advice}")
        if math.prod(shape) * kind.itemsize > max(MOST_BYTES, MOST_RATIO * self.files[0].size):
            raise DataError(f"{where}: {name} must be in proportion to the file; got {shape} {kind}")
        with archive.open(f"{name}.npy") as stream:
            return np.asarray(npy.read_array(stream, allow_pickle=False))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        file = self.files[0]
        with containers.as_data_error(file, ".npz"), file.location.open() as raw:
            try:
                with zipfile.ZipFile(raw) as archive:
                    yield archive
            except DataError:
                raise
            except DAMAGED as error:
                raise ValueError(str(error)) from error


def _texts(array: NDArray[Any]) -> list[str]:
    return list((np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array).tolist())


def _headers(archive: zipfile.ZipFile) -> dict[str, tuple[tuple[int, ...], bool, Any]]:
    """Return the shape, whether it is in Fortran's order, and the type of each array by its name."""
    found = {}
    for part in archive.infolist()[:MOST_ARRAYS]:
        if part.filename.endswith(".npy"):
            with archive.open(part) as stream:
                found[part.filename.removesuffix(".npy")] = _header(stream)
    return found


def _header(stream: Any) -> tuple[tuple[int, ...], bool, Any]:
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in read:
        raise ValueError(f"arrays must be of NumPy's format 1.0 or 2.0; got {version}")
    return read[version](stream)
