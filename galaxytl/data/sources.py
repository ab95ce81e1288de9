"""Files that hold galaxies: the Galaxy10 HDF5 layout, the Hugging Face Parquet layout, the simulator's folder.

A source knows its labels and yields its images once, in order and in the pieces in which they are stored. Everything
else (fingerprint, node-local copy) is made from such a pass, so a new container needs these few methods and no more.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.galaxy10 import IMAGE_SIDE, NUM_CLASSES

SKY_COLUMNS = ("ra", "dec", "redshift", "pxscale")
"""Degrees, degrees, dimensionless, arcseconds a pixel; NaN where unknown."""

BATCH = 64  # images read at a time where the container has no chunks of its own: 12.6 MB


class DataError(ValueError):
    """A dataset that cannot be used; the message gives the rule, what was found, and what to do."""


class Source(Protocol):
    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def columns(self) -> Mapping[str, NDArray[np.float64]]: ...

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        """All images in order, (n, 256, 256, 3) uint8 a batch."""
        ...


class HDF5Source:
    """A file in the layout of Galaxy10_DECals.h5: `images` (N, 256, 256, 3) uint8, `ans` (N,), and the sky columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open_hdf5(path) as file:
            for name in ("images", "ans"):
                if name not in file:
                    found = ", ".join(sorted(file)) or "nothing"
                    raise DataError(f"{path} must hold the columns images and ans; '{name}' is missing, found {found}")
            images = file["images"]
            self.labels = check_labels(_read(path, file["ans"]), len(images), path)
            check_images(images.shape[1:], images.dtype, path)
            self.columns = {n: _column(path, file, n, len(images)) for n in SKY_COLUMNS}
            self._step = images.chunks[0] if images.chunks and images.chunks[0] > 1 else BATCH

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        with _open_hdf5(self.path) as file:
            images = file["images"]
            for start in range(0, len(images), self._step):
                yield _read(self.path, images, slice(start, start + self._step))


class ParquetSource:
    """Parquet files in the Hugging Face layout, in order of their names: `image` struct{bytes, path}, `label`."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else [folder]
        if not self.files:
            raise DataError(f"{folder} must hold Parquet files (*.parquet); it has none")
        tables = [self._columns_of(file) for file in self.files]
        labels = np.concatenate([table["label"].to_numpy(zero_copy_only=False) for table in tables])
        self.labels = check_labels(labels, len(labels), folder)
        self.columns = {n: np.concatenate([_parquet_column(table, n) for table in tables]) for n in SKY_COLUMNS}

    def _columns_of(self, path: Path) -> Any:
        import pyarrow.parquet as pq

        with _as_data_error(path, "Parquet"), pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in ("image", "label"):
                if name not in names:
                    raise DataError(f"{path} must hold the columns image and label; '{name}' is missing, found {names}")
            return file.read(columns=["label", *(n for n in SKY_COLUMNS if n in names)])

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        import pyarrow.parquet as pq

        for path in self.files:
            row = 0
            with _as_data_error(path, "Parquet"), pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH, columns=["image"]):
                    cells = batch.column("image").to_pylist()
                    yield np.stack([_decode(cell, path, row + i) for i, cell in enumerate(cells)])
                    row += len(cells)


@dataclass(frozen=True)
class ArraySource:
    """Arrays already on disk or in memory: `images` (N, 256, 256, 3) uint8, which may be a memory map."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(self.images), BATCH):
            yield self.images[start : start + BATCH]


def check_labels(labels: NDArray[Any], num_images: int, where: Path) -> NDArray[np.int64]:
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


def _open_hdf5(path: Path) -> Any:
    import h5py

    with path.open("rb"):  # a plain OSError for what is not HDF5's business: missing, no permission
        pass
    with _as_data_error(path, "HDF5"):
        return h5py.File(path, "r", locking=False)  # shared and read-only file systems refuse locks


def _read(path: Path, dataset: Any, rows: slice = slice(None)) -> Any:
    with _as_data_error(path, "HDF5"):
        return dataset[rows]


@contextlib.contextmanager
def _as_data_error(path: Path, kind: str) -> Iterator[None]:
    """Turns a container library's error into one that says which file is damaged."""
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError) as error:
        size = path.stat().st_size
        what = "is empty" if size == 0 else f"cannot be read as {kind} ({size:,} bytes)"
        advice = "It may be truncated or of another kind; fetch or copy it again."
        raise DataError(f"{path} {what}: {error}. {advice}") from error


def _column(path: Path, file: Any, name: str, length: int) -> NDArray[np.float64]:
    if name not in file:
        return np.full(length, np.nan)
    values = np.asarray(_read(path, file[name]), dtype=np.float64)
    if values.shape != (length,):
        raise DataError(f"{path}: column {name} must have one value an image, {length}; got shape {values.shape}")
    return values


def _parquet_column(table: Any, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return table[name].to_numpy(zero_copy_only=False).astype(np.float64)


def _decode(cell: Any, path: Path, row: int) -> NDArray[np.uint8]:
    from PIL import Image

    where = f"{path}, row {row}"
    if not isinstance(cell, dict) or not cell.get("bytes"):
        raise DataError(f"{where}: image must be a struct with the encoded picture in `bytes`; got {str(cell)[:60]}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of some damage
            picture = np.asarray(Image.open(io.BytesIO(cell["bytes"])))
    except (OSError, SyntaxError, ValueError, Warning) as error:
        raise DataError(f"{where}: the picture cannot be decoded: {error}") from error
    check_images(picture.shape, picture.dtype, where)
    return picture
