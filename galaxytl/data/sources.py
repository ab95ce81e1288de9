"""Files that hold galaxies: the Galaxy10 HDF5 layout, the Hugging Face Parquet layout, the simulator's folder.

A source knows its labels and yields its images once, in order and in the pieces in which they are stored. Everything
else (fingerprint, node-local copy) is made from such a pass, so a new container needs these few methods and no more.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import zlib
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.chunks import IMAGES_AT_A_TIME as BATCH
from galaxytl.data.chunks import slabs
from galaxytl.data.galaxy10 import IMAGE_SIDE, NUM_CLASSES
from galaxytl.data.locations import DataError, Location, StoredFile, explained, locate
from galaxytl.data.manifest import Manifest, check_rows, check_shards, read_manifest
from galaxytl.data.prefetch import ahead
from galaxytl.process import usable_cpus

__all__ = [
    "SKY_COLUMNS",
    "ArraySource",
    "DataError",
    "FileSource",
    "HDF5Source",
    "ParquetSource",
    "Source",
    "open_files",
]

SKY_COLUMNS = ("ra", "dec", "redshift", "pxscale")
"""Degrees, degrees, dimensionless, arcseconds a pixel; NaN where unknown."""
NAME_ATTRIBUTE = "dataset_name"
"""Of an HDF5 file's root: what its galaxies are, where `convert` wrote it."""
PARQUET_KEY = b"galaxytl"
"""Of a Parquet file's metadata: a JSON object with dataset_name."""
READ_BUFFER = 8 * 2**20  # bytes of a column read at a time; without it pyarrow reads all of a row group's


Batches = Generator[NDArray[np.uint8], None, None]


class Source(Protocol):
    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def columns(self) -> Mapping[str, NDArray[np.float64]]: ...

    def batches(self) -> Batches:
        """All images in order, (n, 256, 256, 3) uint8 a batch."""
        ...


class FileSource(Source, Protocol):
    """A source in files, which may say what they hold."""

    @property
    def files(self) -> list[StoredFile]: ...

    @property
    def declared_name(self) -> str | None: ...

    @property
    def declared_fingerprint(self) -> str | None: ...


def open_files(uri: str, scratch: Path) -> FileSource:
    """The source that a path or URI names. scratch: a folder for temporary files.

    Raises DataError when nothing is there, or not a dataset.
    """
    location = locate(uri)
    kind = location.kind()
    if kind == "nothing":
        _bucket_must_exist(location)
        rule = "--data must be 'simulated', an HDF5 file or a folder of Parquet files"
        raise DataError(f"{rule}; {location} does not exist")
    is_parquet = kind == "folder" or location.path.endswith(".parquet")
    return ParquetSource(location) if is_parquet else HDF5Source(location, scratch)


def _bucket_must_exist(location: Location) -> None:
    bucket = location.path.split("/")[0]
    if location.uri.startswith("s3://") and location.path != bucket:
        place = replace(location, uri=f"s3://{bucket}", path=bucket)
        if place.kind() != "nothing":
            return
    if location.uri.startswith("s3://"):
        raise explained(location, OSError("NO_SUCH_BUCKET"))


class HDF5Source:
    """A file in the layout of Galaxy10_DECals.h5: `images` (N, 256, 256, 3) uint8, `ans` (N,), and the sky columns."""

    declared_fingerprint: str | None = None

    def __init__(self, location: Location, scratch: Path) -> None:
        self.files = [location.stored()]
        self._scratch = scratch
        with self._opened() as file:
            for name in ("images", "ans"):
                if name not in file:
                    found = ", ".join(sorted(file)) or "nothing"
                    raise DataError(
                        f"{location} must hold the columns images and ans; '{name}' is missing, found {found}"
                    )
            images = file["images"]
            self.labels = check_labels(np.asarray(file["ans"][()]), len(images), location)
            check_images(images.shape[1:], images.dtype, location)
            self.columns = {name: _hdf5_column(location, file, name, len(images)) for name in SKY_COLUMNS}
            declared = file.attrs.get(NAME_ATTRIBUTE)
            self.declared_name = None if declared is None else str(declared)

    def batches(self) -> Batches:
        location = self.files[0].location
        with contextlib.ExitStack() as closing:
            images = closing.enter_context(self._opened())["images"]
            pieces = ahead(slabs(images, location.open, self._scratch))
            for piece in closing.enter_context(contextlib.closing(pieces)):
                yield from (piece[start : start + BATCH] for start in range(0, len(piece), BATCH))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        import h5py

        file = self.files[0]
        with _as_data_error(file, "HDF5"), contextlib.ExitStack() as closing:
            raw = closing.enter_context(file.location.open())  # refuses what is not HDF5's business: no permission
            place = file.location.local if file.location.is_local else raw
            # Shared and read-only file systems refuse locks.
            settings = {"locking": False} if file.location.is_local else {}
            yield closing.enter_context(h5py.File(place, "r", **settings))


class ParquetSource:
    """Parquet files in the Hugging Face layout, in order of their names: `image` struct{bytes, path}, `label`."""

    def __init__(self, location: Location) -> None:
        is_folder = location.kind() == "folder"
        manifest = read_manifest(location) if is_folder else None
        self.files = location.files(".parquet") if is_folder else [location.stored()]
        if manifest:
            check_shards(location, manifest, self.files)
        if not self.files:
            raise DataError(f"{location} must hold Parquet files (*.parquet); it has none")
        with ThreadPoolExecutor(min(8, len(self.files))) as pool:  # a remote file takes a few round trips
            tables = list(pool.map(_small_columns, self.files))
        _check_same_columns(self.files, tables)
        labels = np.concatenate([table["label"].to_numpy() for table in tables])
        self.labels = check_labels(labels, len(labels), location)
        self.columns = {
            name: np.concatenate([_parquet_column(table, name) for table in tables]) for name in SKY_COLUMNS
        }
        self.declared_name = _declared_name(tables[0])
        self.declared_fingerprint: str | None = None
        if manifest:
            self._take(manifest, location, [table.num_rows for table in tables])

    def _take(self, manifest: Manifest, location: Location, rows: list[int]) -> None:
        check_rows(location, manifest, rows)
        counts = np.bincount(self.labels, minlength=NUM_CLASSES).tolist()
        if counts != list(manifest.class_counts.values()):
            raise DataError(f"{location}: the labels must be those that manifest.json counts; got {counts} a class")
        self.declared_name, self.declared_fingerprint = manifest.dataset_name, manifest.fingerprint

    def batches(self) -> Batches:
        with contextlib.ExitStack() as closing:
            pool = closing.enter_context(ThreadPoolExecutor(usable_cpus()))  # Pillow decodes without Python's lock
            yield from closing.enter_context(contextlib.closing(ahead(self._decoded(pool))))

    def _decoded(self, pool: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
        for file in self.files:
            row = 0
            with _opened_parquet(file, buffer_size=READ_BUFFER) as parquet:
                for batch in parquet.iter_batches(batch_size=BATCH, columns=["image"], use_threads=False):
                    cells = batch.column("image").to_pylist()
                    decode = functools.partial(_decode, file.location)
                    yield np.stack(list(pool.map(decode, cells, range(row, row + len(cells)))))
                    row += len(cells)


@dataclass(frozen=True)
class ArraySource:
    """Arrays already on disk or in memory: `images` (N, 256, 256, 3) uint8, which may be a memory map."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]

    def batches(self) -> Batches:
        for start in range(0, len(self.images), BATCH):
            yield self.images[start : start + BATCH]


def check_labels(labels: NDArray[Any], num_images: int, where: object) -> NDArray[np.int64]:
    if num_images == 0:
        raise DataError(f"{where} must hold at least one image; it holds none")
    if labels.shape != (num_images,):
        raise DataError(f"{where} must hold one label an image: {num_images} images, labels of shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where}: labels must be whole numbers from 0 to {NUM_CLASSES - 1}; got type {labels.dtype}")
    bad = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
    if bad.size:
        row = int(bad[0])
        rule = f"labels must be 0 to {NUM_CLASSES - 1}"
        raise DataError(f"{where}: {rule}; got {labels[row]} at image {row} ({bad.size} such labels)")
    return labels.astype(np.int64)


def check_images(shape: tuple[int, ...], dtype: np.dtype[Any], where: object) -> None:
    if tuple(shape) != (IMAGE_SIDE, IMAGE_SIDE, 3) or dtype != np.uint8:
        wanted = f"{IMAGE_SIDE} x {IMAGE_SIDE} x 3 of type uint8"
        found = " x ".join(map(str, shape)) or "single numbers"
        raise DataError(f"{where}: images must be {wanted}; got {found} of type {dtype}")


@contextlib.contextmanager
def _as_data_error(file: StoredFile, kind: str) -> Iterator[None]:
    """Turns a container library's error into one that says which file is damaged."""
    place = file.location
    try:
        yield
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{place} cannot be read: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, zlib.error) as error:
        if not place.is_local and "AWS Error" in str(error):
            raise explained(place, error) from error
        what = "is empty" if file.size == 0 else f"cannot be read as {kind} ({file.size:,} bytes)"
        advice = "It may be truncated or of another kind; fetch or copy it again."
        raise DataError(f"{place} {what}: {error}. {advice}") from error


def _hdf5_column(where: Location, file: Any, name: str, length: int) -> NDArray[np.float64]:
    if name not in file:
        return np.full(length, np.nan)
    try:
        values = np.asarray(file[name][()], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: column {name} must hold numbers; got {file[name].dtype}") from error
    if values.shape != (length,):
        raise DataError(f"{where}: column {name} must have one value an image, {length}; got shape {values.shape}")
    return values


@contextlib.contextmanager
def _opened_parquet(file: StoredFile, **settings: Any) -> Iterator[Any]:
    import pyarrow.parquet as pq

    place = file.location
    with _as_data_error(file, "Parquet"), contextlib.ExitStack() as closing:
        stream = closing.enter_context(place.filesystem.open_input_file(place.path))
        yield closing.enter_context(pq.ParquetFile(stream, **settings))


def _small_columns(file: StoredFile) -> Any:
    """All columns of a Parquet file that trials use, but the images."""
    with _opened_parquet(file, pre_buffer=True) as parquet:
        names = parquet.schema_arrow.names
        for name in ("image", "label"):
            if name not in names:
                where = file.location
                raise DataError(f"{where} must hold the columns image and label; '{name}' is missing, found {names}")
        return parquet.read(columns=["label", *(name for name in SKY_COLUMNS if name in names)], use_threads=False)


def _check_same_columns(files: list[StoredFile], tables: list[Any]) -> None:
    columns = [{field.name: str(field.type) for field in table.schema} for table in tables]
    for file, found in zip(files, columns, strict=True):
        if found != columns[0]:
            wanted = f"{files[0].location} has {columns[0]}"
            raise DataError(f"all files must have the same columns; {wanted}, {file.location} has {found}")


def _parquet_column(table: Any, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    try:
        return table[name].to_numpy().astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name} must hold numbers; got {table[name].type}") from error


def _declared_name(table: Any) -> str | None:
    try:
        return str(json.loads((table.schema.metadata or {})[PARQUET_KEY])[NAME_ATTRIBUTE])
    except (KeyError, ValueError, TypeError):
        return None


def _decode(place: Location, cell: Any, row: int) -> NDArray[np.uint8]:
    from PIL import Image

    where = f"{place}, row {row}"
    if not isinstance(cell, dict) or not cell.get("bytes"):
        raise DataError(f"{where}: image must be a struct with the encoded picture in `bytes`; got {str(cell)[:60]}")
    data: bytes = cell["bytes"]
    if data[:4] == b"\x89PNG" and data[24:25] == b"\x10":  # Pillow would drop the lower byte and say nothing
        check_images((IMAGE_SIDE, IMAGE_SIDE, 3), np.dtype(np.uint16), where)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "TIFF")) as picture:
            if picture.size == (IMAGE_SIDE, IMAGE_SIDE):
                pixels = np.asarray(picture)
            else:  # told by its header: a picture of a million by a million pixels is not unpacked
                pixels = np.broadcast_to(np.uint8(0), (picture.height, picture.width, len(picture.getbands())))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Warning) as error:
        raise DataError(f"{where}: the picture cannot be decoded: {error}") from error
    check_images(pixels.shape, pixels.dtype, where)
    return pixels
