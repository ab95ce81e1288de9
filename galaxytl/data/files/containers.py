"""What a container of galaxies is: how its images are read and written, and what is checked in each.

    source.labels, source.columns; for images in source.batches(): ...
    with writer: writer.write(list(pool.map(writer.encode, images)))

A source knows its labels and yields its images once, in order and in the pieces in which they are stored. Everything
else (fingerprint, node-local copy) is made from such a pass, so a new container needs these few methods and no more.
"""

from __future__ import annotations

import contextlib
import functools
import math
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.classes import Classes
from galaxytl.data.findings import Finding
from galaxytl.system.locations import DataError, StoredFile, explained
from galaxytl.system.parquet_layout import UNREADABLE
from galaxytl.system.process import usable_cpus

SKY_COLUMNS: Final = ("ra", "dec", "redshift", "pxscale")
"""Degrees, degrees, dimensionless, arcseconds a pixel; NaN where unknown."""
NAME_ATTRIBUTE: Final = "dataset_name"
"""What the galaxies of a file are, where `convert` wrote it: of HDF5's root, or of a JSON object in Parquet."""
ID_COLUMN: Final = "id"
"""What the dataset calls each image, as text: a number of its catalogue, or a path; not there where it says nothing."""
SPLIT_COLUMN: Final = "split"
"""The part that the dataset itself puts each image into, "train", "validation" or "test"; not there where it does not.
Copies that `convert` writes have the paper's there, which is none of the dataset's own."""
PARTS: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a dataset calls the parts of its own split, in small letters -> the part."""
BATCH = 64
"""Images that are read at a time: 12.6 MB of Galaxy10's."""
BATCH_BYTES: Final = 64 * 2**20
LEAST_BYTES: Final = 64
"""That an image takes in a file: of one colour it has 190 in gzip's best case, and 300 as a PNG."""
FEW_IMAGES: Final = 10_000
"""So many are believed whatever a file's size: some may be equal, or never written."""
NAMES_SHOWN: Final = 20

Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""(H, W, 3) each, of any size; also an array (n, H, W, 3), where all have one."""
Batches = Generator[Images, None, None]
Cell = Callable[[], NDArray[np.uint8]]
"""Gives the pixels (H, W, 3) of one image, in any thread; raises DataError where it cannot be read."""
Columns = Mapping[str, NDArray[Any]]
"""One value an image, (N,): numbers as float64, NaN where unknown; texts as str, "" where unknown."""


class Source(Protocol):
    @property
    def classes(self) -> Classes: ...

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def columns(self) -> Columns:
        """SKY_COLUMNS at least."""
        ...

    def batches(self) -> Batches:
        """Return all images in order, at most BATCH of them, and BATCH_BYTES unless a single one has more, a batch."""
        ...

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with how it is stored."""
        ...


class FileSource(Source, Protocol):
    """A source in files, which may say what they hold. It is made from a Location, a folder for temporary files and a
    Reading; raises DataError where these are no dataset."""

    @property
    def files(self) -> Sequence[StoredFile]: ...

    @property
    def declared_name(self) -> str | None: ...

    @property
    def declared_fingerprint(self) -> str | None: ...


@runtime_checkable
class OneByOne(Protocol):
    """A source of which each image is decoded by itself, so that one that cannot be read hides no other."""

    def cells(self, start: int) -> Iterator[Cell]:
        """Return what decodes the images, in order, from row `start` on."""
        ...


def cells_of(source: Source, start: int = 0) -> Generator[Cell, None, None]:
    """Yield what decodes the images of a source, in order, from row `start` on. Of images that lie in one array it is
    the array that cannot be read: that raises DataError here."""
    if isinstance(source, OneByOne):
        yield from source.cells(start)
        return
    row = 0
    with contextlib.closing(source.batches()) as batches:
        for batch in batches:
            for image in batch[max(0, start - row) :]:
                yield functools.partial(_as_it_is, image)
            row += len(batch)


def threads_of(source: Source) -> int:
    """Return how many images of a source are read at a time: one a core, or so many as it says."""
    return int(getattr(source, "threads", 0)) or usable_cpus()


def _as_it_is(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image


@dataclass(frozen=True)
class ArraySource:
    """Arrays already on disk or in memory: `images` (N, H, W, 3) uint8, which may be a memory map."""

    images: NDArray[np.uint8]
    classes: Classes
    columns: Columns
    files: Sequence[StoredFile] = ()
    findings: tuple[Finding, ...] = ()
    declared_name: str | None = None
    declared_fingerprint: str | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    def batches(self) -> Batches:
        return in_batches(self.images)


def in_batches(images: NDArray[np.uint8]) -> Batches:
    """Yield images (N, H, W, 3) in their order, a batch at a time."""
    step = max(1, min(BATCH, BATCH_BYTES // max(1, math.prod(images.shape[1:]))))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def of_bounded_size(images: Generator[NDArray[np.uint8], None, None]) -> Generator[list[NDArray[np.uint8]], None, None]:
    """Yield images (H, W, 3) in their order, a batch at a time; closes `images`."""
    batch: list[NDArray[np.uint8]] = []
    held = 0
    with contextlib.closing(images):
        for image in images:
            if batch and (len(batch) >= BATCH or held + image.nbytes > BATCH_BYTES):
                yield batch
                batch, held = [], 0
            batch.append(image)
            held += image.nbytes
    yield batch


@dataclass(frozen=True)
class Rows:
    """What stands beside the images, one value an image."""

    dataset_name: str
    classes: Classes
    columns: Columns
    split: Sequence[str | None]
    """ "train" or "test"."""

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels


class Writer(Protocol):
    def encode(self, image: NDArray[np.uint8]) -> bytes: ...

    def write(self, cells: Sequence[bytes]) -> None:
        """Take the next images, encoded."""
        ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, *exception: object) -> None: ...


def check_number(num_images: int, size: int, where: object) -> None:
    """Raise DataError for more images than a file of `size` bytes can hold: all that is read grows with them."""
    if num_images > max(FEW_IMAGES, size // LEAST_BYTES):
        rule = f"a file of {size:,} bytes can hold at most {max(FEW_IMAGES, size // LEAST_BYTES):,} images"
        raise DataError(f"{where}: {rule}, as each takes some {LEAST_BYTES} bytes or more; it says {num_images:,}")


def class_counts(found: Classes) -> dict[str, int]:
    """Return images of each class, by its name where that is known, else by its number."""
    names = found.names if found.known else [str(label) for label in range(len(found.names))]
    return dict(zip(names, np.bincount(found.labels, minlength=len(names)).tolist(), strict=True))


def unknown_columns(num_images: int) -> dict[str, NDArray[Any]]:
    """Return SKY_COLUMNS without any value."""
    return {name: np.full(num_images, np.nan) for name in SKY_COLUMNS}


@contextlib.contextmanager
def as_data_error(file: StoredFile, kind: str) -> Iterator[None]:
    """Turn a container library's error into one that says which file is damaged."""
    place = file.location
    try:
        yield
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{place} cannot be read: {error}") from error
    except (*UNREADABLE, OverflowError, tarfile.TarError, zlib.error) as error:
        if not place.is_local and "AWS Error" in str(error):
            raise explained(place, error) from error
        what = "is empty" if file.size == 0 else f"cannot be read as {kind} ({file.size:,} bytes)"
        advice = "It may be truncated or of another kind; fetch or copy it again."
        raise DataError(f"{place} {what}: {error}. {advice}") from error


@contextlib.contextmanager
def about(where: object) -> Iterator[None]:
    """Have a DataError begin with what it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
