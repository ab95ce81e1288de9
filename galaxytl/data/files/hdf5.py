"""HDF5 in the layout of Galaxy10_DECals.h5: `images` (N, 256, 256, 3) uint8, `ans` (N,), and the sky columns."""

from __future__ import annotations

import contextlib
import math
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import classes, containers
from galaxytl.data.files.chunks import slabs
from galaxytl.data.files.containers import NAME_ATTRIBUTE, NAMES_SHOWN, SKY_COLUMNS, Batches, Rows
from galaxytl.data.files.fingerprint import GALAXY10_SHAPE
from galaxytl.data.files.hdf5_layout import LARGEST_CHUNK, hdf5_lock, never_written, opened, texts, values
from galaxytl.data.files.pictures import GZIP_LEVEL, check_shape
from galaxytl.data.findings import Finding, on_rows
from galaxytl.system.locations import DataError, Location, StoredFile
from galaxytl.system.prefetch import ahead
from galaxytl.trial.reading import Reading

CLASSES_ATTRIBUTE: Final = "class_names"
"""Of the root: the names of the classes, in the order of their numbers; `galaxytl.data.files.classes` reads it."""
LEAST_CHUNK: Final = 256
"""Bytes."""


class HDF5Source:
    """A file in the layout of Galaxy10_DECals.h5: `images` (N, H, W, 3) uint8, `ans` (N,), and the sky columns."""

    declared_fingerprint: str | None = None

    def __init__(self, location: Location, scratch: Path, reading: Reading) -> None:
        self.files = [location.stored()]
        self._scratch = scratch
        with self._opened() as file:
            columns = _columns(file, location)
            images, ans = columns["images"], columns["ans"]
            _check_images(images, self.files[0])
            containers.check_label_type(ans.dtype, ans.shape, len(images), location)
            labels = containers.check_labels(np.asarray(values(ans, "ans", location)), len(images), location)
            names = reading.class_names or classes.in_hdf5(file, columns, labels, location)
            assumed = tuple(images.shape[1:]) == GALAXY10_SHAPE
            self.classes = classes.of_labels(labels, names, location, assumed=assumed)
            self.columns = {name: _column(location, columns, name, len(images)) for name in SKY_COLUMNS}
            self.declared_name = _name(file)
            self.findings = _unwritten(columns)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    def batches(self) -> Batches:
        location = self.files[0].location
        with contextlib.ExitStack() as closing:
            images = opened(closing.enter_context(self._opened()), "images", location)
            pieces = ahead(slabs(images, location.open, self._scratch))
            for piece in closing.enter_context(contextlib.closing(pieces)):
                yield from containers.in_batches(piece)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        import h5py

        file = self.files[0]
        with containers.as_data_error(file, "HDF5"), contextlib.ExitStack() as closing:
            raw = closing.enter_context(file.location.open())  # refuses what is not HDF5's business: no permission
            place = file.location.local if file.location.is_local else raw
            # Shared and read-only file systems refuse locks.
            settings = {"locking": False} if file.location.is_local else {}
            yield closing.enter_context(h5py.File(place, "r", **settings))


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


def _columns(file: Any, location: Location) -> dict[str, Any]:
    """Return the columns of an open h5py file by name. Raises DataError unless they are there, and lie in this file."""
    import h5py

    columns, names = {}, list(file)  # `in file` would follow links
    for name in ("images", "ans", *SKY_COLUMNS):
        if name in names:
            columns[name] = opened(file, name, location)
            if not isinstance(columns[name], h5py.Dataset):
                raise DataError(f"{location}: '{name}' must be a dataset; it is a group")
        elif name in ("images", "ans"):
            found = ", ".join(sorted(names)[:NAMES_SHOWN]) or "nothing"
            raise DataError(f"{location} must hold the columns images and ans; '{name}' is missing, found {found}")
    return columns


def _check_images(images: Any, file: StoredFile) -> None:
    """Check before they are read: their shape, how many they are, and that no chunk is out of proportion to an
    image."""
    where = file.location
    with containers.about(where):
        check_shape((images.shape or ())[1:], images.dtype)
    containers.check_number(len(images), file.size, where)
    parts = images.chunks or (LEAST_CHUNK, 1)
    if math.prod(parts) < LEAST_CHUNK or math.prod(parts[1:]) > LARGEST_CHUNK // 16:
        rule = f"chunks of images must have {LEAST_CHUNK} bytes or more, and at most 8 MiB an image"
        raise DataError(f"{where}: {rule}; they are {parts}. h5repack -l images:CHUNK=1x256x256x3 OLD NEW")


def _name(file: Any) -> str | None:
    if NAME_ATTRIBUTE not in file.attrs:
        return None
    return next(iter(texts(file.attrs.get_id(NAME_ATTRIBUTE), 1)), None)


def _unwritten(columns: Mapping[str, Any]) -> tuple[Finding, ...]:
    parts = (("images", "pixels were"), ("ans", "label was"))
    rows = [(never_written(columns[name]), what) for name, what in parts]
    cause = "never written, as when the program that wrote the file was killed"
    return tuple(
        on_rows("unwritten", f"whose {what} {cause}", found, harmful=True) for found, what in rows if found.size
    )


def _column(where: Location, columns: Mapping[str, Any], name: str, length: int) -> NDArray[np.float64]:
    if name not in columns:
        return np.full(length, np.nan)
    column = columns[name]
    if column.dtype.kind not in "biuf":
        raise DataError(f"{where}: column {name} must hold numbers; got {column.dtype}")
    if column.shape != (length,):
        raise DataError(f"{where}: column {name} must have one value an image, {length}; got shape {column.shape}")
    return np.asarray(values(column, name, where), dtype=np.float64)
