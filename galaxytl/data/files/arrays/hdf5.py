"""HDF5 with images in a dataset (N, H, W, 3) uint8 or the like, their labels in another, and what is known beside them.

Galaxy10_DECals.h5 has `images`, `ans`, and the sky columns; so has what is written here.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import columns, containers, tables
from galaxytl.data.files.arrays.chunks import slabs
from galaxytl.data.files.arrays.hdf5_layout import LARGEST_CHUNK, hdf5_lock, never_written, opened, texts, values
from galaxytl.data.files.arrays.hdf5_names import in_hdf5
from galaxytl.data.files.arrays.stacks import Stack, stack_of
from galaxytl.data.files.containers import ID_COLUMN, NAME_ATTRIBUTE, SKY_COLUMNS, SPLIT_COLUMN, Batches, Rows
from galaxytl.data.files.pictures import GZIP_LEVEL
from galaxytl.data.files.tables import KEPT_COLUMNS, VOTES_COLUMN
from galaxytl.data.findings import Finding, on_rows
from galaxytl.system.locations import DataError, Location, StoredFile
from galaxytl.system.prefetch import ahead
from galaxytl.trial.reading import Reading

CLASSES_ATTRIBUTE: Final = "class_names"
"""Of the root: the names of the classes, in the order of their numbers; `galaxytl.data.files.classes` reads it."""
VOTES_ATTRIBUTE: Final = "shares_of"
"""Of the votes in a copy: where the names of their columns are."""
LEAST_CHUNK: Final = 256
"""Bytes."""
MOST_DATASETS: Final = 1000
"""At the root of a file that are looked at."""
MOST_BYTES, MOST_RATIO, TEXT_BYTES = 64 * 2**20, 32, 256
"""Of a column beside the images: bytes, or bytes for each of the file; and bytes for each text."""


class HDF5Source:
    """A file with a dataset of images; Galaxy10_DECals.h5 calls it `images`, and the labels `ans`."""

    declared_fingerprint: str | None = None

    def __init__(self, location: Location, scratch: Path, reading: Reading) -> None:
        self.files = [location.stored()]
        self._scratch = scratch
        with self._opened() as file:
            found = _datasets(file, reading, location)
            shown = {name: f"{dataset.shape} {dataset.dtype}" for name, dataset in found.items()}
            likely = {name: shown[name] for name, dataset in found.items() if len(dataset.shape or ()) in (3, 4)}
            self._name = columns.column_for("image", "HDF5", reading.image_column, likely, shown, location)
            images = found.pop(self._name)
            self._stack = _checked_stack(images, self._name, self.files[0])
            beside = _Beside(file, found, len(images), self.files[0])
            labels, known = beside.choice(reading, shown, self._name)
            table = beside.table({*labels, *known.values()})
            self.columns = columns.known_columns(table, known, location)
            notes = (tables.guess_note(self._name, labels, known, ("images", "ans")), self._stack.note)
            said = tables.Said(self._stack.shape, beside.names(images, labels), beside.votes(), notes)
            self.classes = tables.classes_of(table, labels, reading, said, location)
            self.declared_name = _name(file)
            label = {"label was": found[labels[0]]} if labels else {}
            self.findings = _unwritten({"pixels were": images} | label)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    def batches(self) -> Batches:
        location = self.files[0].location
        with contextlib.ExitStack() as closing:
            images = opened(closing.enter_context(self._opened()), self._name, location)
            pieces = ahead(slabs(images, location.open, self._scratch))
            for piece in closing.enter_context(contextlib.closing(pieces)):
                yield from containers.in_batches(self._stack.images(piece))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        import h5py

        file = self.files[0]
        with containers.as_data_error(file, "HDF5"), contextlib.ExitStack() as closing:
            raw = closing.enter_context(file.location.open())  # refuses what is not HDF5's business: no permission
            place = file.location.local if file.location.is_local else raw
            # Shared and read-only file systems refuse locks.
            settings = {"locking": False} if file.location.is_local else {}
            try:
                opened = h5py.File(place, "r", **settings)
            except OSError as error:
                if "locking flag" not in str(error):
                    raise
                opened = h5py.File(place, "r")  # this process has it open, as a notebook may: with locks, as is usual
            yield closing.enter_context(opened)


class HDF5Writer:
    """Writes a file with Galaxy10's columns, one image a chunk, so that a reader of one image reads no other."""

    def __init__(self, path: Path, rows: Rows, is_zipped: bool) -> None:
        import h5py

        self._is_zipped = is_zipped
        self._row = 0
        self._file = h5py.File(path, "w", locking=False)
        self._file.attrs[NAME_ATTRIBUTE] = rows.dataset_name
        if rows.classes.known:
            self._file.attrs[CLASSES_ATTRIBUTE] = list(rows.classes.known)
        self._creating = threading.Lock()  # images are encoded by several threads
        self._images: Any = None
        self._number = len(rows.labels)
        self._file["ans"] = rows.labels.astype(np.min_scalar_type(len(rows.classes.names)))
        for name in SKY_COLUMNS:
            self._file[name] = np.asarray(rows.columns[name], np.float64)
        self._write_beside(rows, path)

    def _write_beside(self, rows: Rows, path: Path) -> None:
        """Write the votes, and the columns that not every dataset has."""
        kept = [name for name in rows.columns if name not in tables.ALWAYS_READ]
        tables.check_kept(kept, ("images", "ans", VOTES_COLUMN, CLASSES_ATTRIBUTE), path.name)
        if kept:
            self._file.attrs[KEPT_COLUMNS] = kept
        if rows.classes.votes is not None:
            self._file[VOTES_COLUMN] = rows.classes.votes
            self._file[VOTES_COLUMN].attrs[VOTES_ATTRIBUTE] = CLASSES_ATTRIBUTE
        for name in (*kept, *(name for name in (ID_COLUMN, SPLIT_COLUMN) if name in rows.columns)):
            values = rows.columns[name]
            self._file[name] = values.astype(object) if values.dtype.kind == "U" else values

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        with self._creating:
            if self._images is None:
                self._create(image.shape)
        if image.shape != self._images.shape[1:]:
            first, other = ("x".join(map(str, shape)) for shape in (self._images.shape[1:], image.shape))
            raise DataError(
                f"images in HDF5 must have one shape; the first has {first}, another {other}. Convert to Parquet: "
                "--to FOLDER/ or --to FILE.parquet"
            )
        content = np.ascontiguousarray(image)
        return zlib.compress(content.data, GZIP_LEVEL) if self._is_zipped else content.tobytes()

    def _create(self, shape: tuple[int, ...]) -> None:
        filters = {"compression": "gzip", "compression_opts": GZIP_LEVEL} if self._is_zipped else {}
        self._images = self._file.create_dataset(
            "images", (self._number, *shape), np.uint8, chunks=(1, *shape), **filters
        )

    def write(self, cells: Sequence[bytes]) -> None:
        for cell in cells:
            with hdf5_lock():
                self._images.id.write_direct_chunk((self._row, 0, 0, 0), cell)
            self._row += 1

    def __enter__(self) -> HDF5Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._file.close()
            return
        with contextlib.suppress(OSError, RuntimeError):  # the first error is the one to tell
            self._file.close()


def _datasets(file: Any, reading: Reading, where: Location) -> dict[str, Any]:
    """Return the datasets of an open h5py file by name: those at its root, and those that the user names.

    Raises DataError where one that may be needed does not lie in this file, or cannot be read in bounds.
    """
    import h5py

    asked = (reading.image_column, *reading.label_columns, *reading.extra_columns, *_kept(file))
    both = [names for (kind, _), names in columns.NAMES.items() if kind == "HDF5"]
    likely = [*(names.sure + names.likely for names in both), *columns.KNOWN_NAMES.values()]
    needed = {*asked, *itertools.chain(*likely)}
    names = itertools.islice(file, MOST_DATASETS)
    found = {}
    for name in dict.fromkeys((*names, *filter(None, asked))):
        try:
            item = opened(file, name, where)
        except KeyError:  # a link that leads nowhere, or what the user names is not there
            continue
        except DataError:
            if name in needed or name.lower() in needed:
                raise
            continue
        if isinstance(item, h5py.Dataset) and item.shape:
            found[name] = item
    return found


def _checked_stack(images: Any, name: str, file: StoredFile) -> Stack:
    """Return how images lie in a dataset, checked before they are read: their shape, how many they are, and that no
    chunk is out of proportion to an image."""
    where = file.location
    containers.check_number(len(images), file.size, where)
    stack = stack_of(images.shape, images.dtype, where)
    parts = images.chunks or images.shape
    image = math.prod(images.shape[1:])
    if math.prod(parts) < min(LEAST_CHUNK, image) or math.prod(parts[1:]) > LARGEST_CHUNK // 16:
        rule = f"chunks of images must have {LEAST_CHUNK} bytes or a whole image, and at most 8 MiB an image"
        whole = "x".join(map(str, (1, *images.shape[1:])))
        raise DataError(f"{where}: {rule}; they are {parts}. h5repack -l {name}:CHUNK={whole} OLD NEW")
    return stack


@dataclass(frozen=True)
class _Beside:
    """What stands beside the images of an open h5py file."""

    file: Any
    datasets: dict[str, Any]
    number: int
    """Images."""
    stored: StoredFile

    @property
    def where(self) -> Location:
        return self.stored.location

    @property
    def has_votes(self) -> bool:
        """Whether it is a copy with votes: others may call anything so."""
        return VOTES_COLUMN in self.datasets and VOTES_ATTRIBUTE in self.datasets[VOTES_COLUMN].attrs

    def choice(self, reading: Reading, shown: Mapping[str, str], image: str) -> tuple[list[str], dict[str, str]]:
        """Return the columns of labels, and what is known of the images -> its column."""
        likely = {name: shown[name] for name in self.datasets if not self.has_votes or name != VOTES_COLUMN}
        asked = tables.label_columns(reading)
        names = {name: kind for name, kind in shown.items() if name != image}
        labels = [columns.column_for("label", "HDF5", name, likely, names, self.where) for name in asked]
        extra = tuple(dict.fromkeys((*reading.extra_columns, *_kept(self.file))))
        return labels, columns.known_names(list(self.datasets), extra, self.where)

    def table(self, names: Iterable[str]) -> Any:
        """Return columns of numbers or texts as a pyarrow.Table; a dataset (N, C) is a column of lists."""
        return tables.table_of({name: self._column(name) for name in names}, self.number)

    def names(self, images: Any, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the names of classes that the file says."""
        label = self.datasets[labels[0]] if labels else None
        if label is None or len(labels) > 1 or label.dtype.kind not in "iufb":
            return ()
        numbers = np.asarray(self._values(labels[0]))
        numbers = numbers if numbers.ndim == 1 else numbers.argmax(axis=1)
        skip = {*labels, *_kept(self.file)}
        return in_hdf5(self.file, {"images": images, "ans": label}, numbers, self.where, skip)

    def votes(self) -> NDArray[np.float32] | None:
        """Return the votes (N, C) of a copy."""
        if not self.has_votes:
            return None
        return np.asarray(self._values(VOTES_COLUMN), np.float32)

    def _values(self, name: str) -> NDArray[Any]:
        dataset, number = self.datasets[name], self.number
        if dataset.shape[0] != number or len(dataset.shape) > 2:
            rule = f"column {name} must have one value an image, {number}"
            raise DataError(f"{self.where}: {rule}; got shape {dataset.shape}")
        if dataset.nbytes > max(MOST_BYTES, MOST_RATIO * self.stored.size):
            raise DataError(
                f"{self.where}: column {name} must be in proportion to the file; got {dataset.nbytes:,} bytes"
            )
        return np.asarray(values(dataset, name, self.where))

    def _column(self, name: str) -> Any:
        import pyarrow as pa

        dataset, number = self.datasets[name], self.number
        if dataset.dtype.kind in "SO" and len(dataset.shape) == 1:
            found = texts(dataset, number, max(MOST_BYTES, TEXT_BYTES * number))
            if len(found) == number:
                return pa.array(found, pa.string())
        if dataset.dtype.kind not in "biuf":
            raise DataError(f"{self.where}: column {name} must hold numbers or texts; got {dataset.dtype}")
        read = self._values(name)
        if read.ndim == 1:
            return pa.array(read)
        return pa.FixedSizeListArray.from_arrays(pa.array(read.reshape(-1)), read.shape[1])


def _kept(file: Any) -> tuple[str, ...]:
    """Return the further columns that a copy says that it has."""
    if KEPT_COLUMNS not in file.attrs or NAME_ATTRIBUTE not in file.attrs:
        return ()
    return tuple(texts(file.attrs.get_id(KEPT_COLUMNS), MOST_DATASETS))


def _name(file: Any) -> str | None:
    if NAME_ATTRIBUTE not in file.attrs:
        return None
    return next(iter(texts(file.attrs.get_id(NAME_ATTRIBUTE), 1)), None)


def _unwritten(datasets: Mapping[str, Any]) -> tuple[Finding, ...]:
    rows = [(never_written(dataset), what) for what, dataset in datasets.items()]
    cause = "never written, as when the program that wrote the file was killed"
    return tuple(
        on_rows("unwritten", f"whose {what} {cause}", found, harmful=True) for found, what in rows if found.size
    )
