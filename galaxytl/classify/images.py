"""The images that are to be classified: whatever a dataset may lie in, but without labels, and single pictures.

images = open_images("folder/", ImagesAlone(), cache_dir(), progress)
with contextlib.closing(batches(images, Size(224), 64, (0, len(images)))) as found:
    for batch in found: batch.pixels, batch.unreadable
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.dataset import open_files, open_source
from galaxytl.data.download import presets
from galaxytl.data.files import pictures
from galaxytl.data.files.catalogue import above, is_catalogue
from galaxytl.data.files.classes import unknown_classes
from galaxytl.data.files.containers import BATCH_BYTES, ID_COLUMN, Cell, Source, cells_of, threads_of, unknown_columns
from galaxytl.data.files.contents import Contents, look_at
from galaxytl.data.files.fits import ENDINGS, with_cutouts
from galaxytl.data.files.listed import ListedSource
from galaxytl.data.hot_copy import Size
from galaxytl.data.progress import Reporter
from galaxytl.system.credentials import without_secrets
from galaxytl.system.locations import DataError, Location, locate
from galaxytl.system.prefetch import ahead, in_order
from galaxytl.trial.reading import AS_FOUND, ImagesAlone

NAMES_AT_A_TIME: Final = 10_000
"""Of files that are hashed: each is a text of Python's for a moment."""
MOST_UNREADABLE: Final = 1000
"""In a batch, so that it ends where nothing can be read."""
GONE: Final = (errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT)
"""What reading a file says whose disk is on another machine, which does not answer."""
SIMULATED: Final = "simulated"


@dataclass(frozen=True)
class Images:
    """Images of any sizes, and what is known of each."""

    uri: str
    """For people: without a password."""
    source: Source
    reading: ImagesAlone

    def __len__(self) -> int:
        return len(self.source.labels)

    @property
    def files(self) -> Any:
        """(N,) names of files, an Arrow array, of images of which each is one; else None."""
        return self.source.names if isinstance(self.source, ListedSource) else None

    @cached_property
    def columns(self) -> dict[str, Any]:
        """What is known of each image (N,): file, id, ra, dec, as far as it is, and the columns that were asked for."""
        import pyarrow as pa

        known = self.source.columns
        found: dict[str, Any] = {}
        if self.files is not None:
            found["file"] = self.files
        if ID_COLUMN in known and (self.files is None or not _are_equal(known[ID_COLUMN], self.files)):
            found[ID_COLUMN] = pa.array(known[ID_COLUMN].astype(object), pa.large_string())
        found |= {name: known[name] for name in ("ra", "dec") if not np.isnan(known[name]).all()}
        return found | {name: known[name] for name in self.reading.columns if name not in found}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how they are read."""
        return tuple(finding.message for finding in self.source.findings)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of where they lie and how they are read: of names, not of pixels, which would have to be read."""
        state = hashlib.sha256(json.dumps([self.uri, len(self), astuple(self.reading)]).encode())
        if isinstance(self.source, ListedSource):
            for start in range(0, len(self), NAMES_AT_A_TIME):
                state.update("\0".join(self.source.names[start : start + NAMES_AT_A_TIME].to_pylist()).encode())
            if self.source.states is not None:
                state.update(self.source.states.tobytes())
        else:
            files = getattr(self.source, "files", ())
            state.update(repr([(file.location.uri, file.size, file.modified) for file in files]).encode())
        return state.hexdigest()


def _are_equal(texts: NDArray[Any], names: Any) -> bool:
    """Return whether an array and an Arrow array hold the same texts; a few of them are Python's at a time."""
    parts = (slice(start, start + NAMES_AT_A_TIME) for start in range(0, len(texts), NAMES_AT_A_TIME))
    return all(texts[part].tolist() == names[part].to_pylist() for part in parts)


def open_images(uri: str, reading: ImagesAlone, cache: Path, progress: Reporter) -> Images:
    """Open `simulated[:N[:SEED]]`, a dataset's name, or what lies at a path or URI, without reading an image. Raises
    DataError where nothing is there, or nothing that can be read."""
    if uri.partition(":")[0] == SIMULATED and not Path(uri).exists():
        return Images(uri, open_source(uri, cache, progress.update, AS_FOUND).source, reading)
    uri = presets.located(uri, reading, progress)[0]
    location = locate(uri)
    if location.kind() == "nothing":
        raise DataError(f"there must be images to classify; {location} does not exist")
    what = look_at(location)
    source = _single(location, reading) if _is_picture(what) else open_files(uri, cache / "scratch", reading)
    return Images(without_secrets(uri), source, reading)


def _is_picture(what: Contents) -> bool:
    """Return whether a file is one picture, or FITS that is no catalogue of others."""
    if what.is_folder:
        return False
    name = what.location.path.lower()
    if what.kind == "FITS" or name.endswith(ENDINGS):
        return not is_catalogue(what)
    return what.kind in pictures.FORMATS or name.endswith(pictures.ENDINGS)


def _single(location: Location, reading: ImagesAlone) -> ListedSource:
    import pyarrow as pa

    names = pa.array([location.path.rpartition("/")[2]], pa.large_string())
    source = ListedSource(above(location), names, unknown_classes(1), unknown_columns(1))
    if reading.columns:
        raise DataError(f"--columns goes with images that have columns; {location} is a picture")
    return with_cutouts(source, reading)


@dataclass(frozen=True)
class Batch:
    """Images from row `first` to `stop`."""

    first: int
    stop: int
    pixels: NDArray[np.uint8]
    """(n, S, S, 3) of those that can be read, in order."""
    unreadable: dict[int, str] = field(default_factory=dict)
    """Row -> why that image cannot be read."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) rows of `pixels`."""
        return np.setdiff1d(np.arange(self.first, self.stop), np.fromiter(self.unreadable, np.int64))


def batches(images: Images, size: Size, number: int, rows: tuple[int, int]) -> Generator[Batch, None, None]:
    """Yield the images from the first of `rows` up to the second, resized as for training, with `number` of them that
    can be read in each batch but the last; made ahead, in threads. Raises DataError where the file of all images is
    damaged, or their server does not answer."""
    with contextlib.closing(ahead(_batches(images, size, number, rows))) as found:
        yield from found


def _batches(images: Images, size: Size, number: int, rows: tuple[int, int]) -> Generator[Batch, None, None]:
    pixels: list[NDArray[np.uint8]] = []
    unreadable: dict[int, str] = {}
    start, stop = rows
    first = row = start
    cells = itertools.islice(cells_of(images.source, start), stop - start)
    with contextlib.closing(_resized(cells, size, threads_of(images.source))) as found:
        for row, image in enumerate(found, start):
            if isinstance(image, str):
                unreadable[row] = image
            else:
                pixels.append(image)
            if len(pixels) == number or len(unreadable) == MOST_UNREADABLE:
                yield Batch(first, row + 1, _stacked(pixels, size), unreadable)
                first, pixels, unreadable = row + 1, [], {}
    if pixels or unreadable:
        yield Batch(first, row + 1, _stacked(pixels, size), unreadable)


def _stacked(pixels: list[NDArray[np.uint8]], size: Size) -> NDArray[np.uint8]:
    return np.stack(pixels) if pixels else np.empty((0, size.pixels, size.pixels, 3), np.uint8)


def _resized(cells: Any, size: Size, threads: int) -> Generator[NDArray[np.uint8] | str, None, None]:
    """Yield the images (S, S, 3) in order, or why one cannot be read; so many are decoded ahead as fit into memory if
    they are as large as the largest."""
    largest = 1

    def most() -> int:
        return min(4 * threads, BATCH_BYTES // largest)

    def resized(cell: Cell) -> tuple[NDArray[np.uint8] | str, int]:
        try:
            image = cell()
        except DataError as error:
            if _is_of_server(error):
                raise
            return str(error), 0
        return size.of(image), image.nbytes

    with (
        ThreadPoolExecutor(threads) as pool,  # Pillow decodes and resizes without Python's lock
        contextlib.closing(in_order(pool, resized, cells, most)) as found,
    ):
        for image, num_bytes in found:
            largest = max(largest, num_bytes)
            yield image


def _is_of_server(error: DataError) -> bool:
    """Return whether a server, or a disk as a whole, failed rather than a file: what follows would not be read, too."""
    cause = error.__cause__  # of a damaged picture another DataError; pyarrow gives what a storage says no number
    return type(cause) is OSError and cause.errno in (None, *GONE)


def pixels_of(images: Images, size: Size, rows: Sequence[int]) -> NDArray[np.uint8]:
    """Return the images of some rows (n,), (n, S, S, 3), which were read before. Raises DataError."""
    wanted = set(rows)
    found: dict[int, NDArray[np.uint8]] = {}
    with contextlib.closing(cells_of(images.source)) as cells:
        for row, cell in enumerate(cells):
            if row in wanted:
                found[row] = size.of(cell())
                if len(found) == len(wanted):
                    break
    return np.stack([found[row] for row in rows])
