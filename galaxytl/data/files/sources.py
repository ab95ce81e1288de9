"""Files that hold galaxies: the Galaxy10 HDF5 layout, the Hugging Face Parquet layout, the simulator's folder.

A source knows its labels and yields its images once, in order and in the pieces in which they are stored. Everything
else (fingerprint, node-local copy) is made from such a pass, so a new container needs these few methods and no more.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import classes
from galaxytl.data.classes import Classes
from galaxytl.data.files.chunks import IMAGES_AT_A_TIME as BATCH
from galaxytl.data.files.chunks import slabs
from galaxytl.data.files.hdf5_layout import LARGEST_CHUNK, never_written, opened, texts, values
from galaxytl.data.files.manifest import Manifest, check_rows, check_shards, read_manifest
from galaxytl.data.files.pictures import MOST_BYTES, check_shape, decode
from galaxytl.data.findings import Finding, on_rows
from galaxytl.data.galaxy10 import CLASS_NAMES, NUM_CLASSES
from galaxytl.system.locations import DataError, Location, StoredFile, explained, locate
from galaxytl.system.parquet_layout import LARGE_PAGE, SMALL_PAGE, UNREADABLE, check_layout, num_rows
from galaxytl.system.prefetch import ahead
from galaxytl.system.process import usable_cpus
from galaxytl.system.strict_json import read_json

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
CLASSES_ATTRIBUTE = "class_names"
"""Of an HDF5 file's root: the names of its classes, in the order of their numbers; `galaxytl.data.classes` reads it."""
PARQUET_KEY = b"galaxytl"
"""Of a Parquet file's metadata: a JSON object with dataset_name."""
LEAST_BYTES = 64
"""That an image takes in a file: of one colour it has 190 in gzip's best case, and 300 as a PNG."""
FEW_IMAGES = 10_000
"""So many are believed whatever a file's size: some may be equal, or never written."""
LEAST_CHUNK = 256
NAMES_SHOWN = 20
PICTURES = "image.bytes"
"""A path within a Parquet file's schema."""
PICTURES_HELD = 64 * 2**20  # bytes of encoded pictures held at a time, where no single one has more
READ_BUFFER = 8 * 2**20  # bytes of a column read at a time; without it pyarrow reads all of a row group's


Batches = Generator[NDArray[np.uint8], None, None]


class Source(Protocol):
    @property
    def classes(self) -> Classes: ...

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def columns(self) -> Mapping[str, NDArray[np.float64]]: ...

    def batches(self) -> Batches:
        """All images in order, (n, 256, 256, 3) uint8 a batch."""
        ...

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with how it is stored."""
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
    is_parquet = kind == "folder" or location.path.lower().endswith(".parquet")
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
            columns = _hdf5_columns(file, location)
            images, ans = columns["images"], columns["ans"]
            _check_hdf5_images(images, self.files[0])
            check_label_type(ans.dtype, ans.shape, len(images), location)
            labels = check_labels(np.asarray(values(ans, "ans", location)), len(images), location)
            self.classes = classes.of_labels(labels, classes.in_hdf5(file, columns, labels, location), location)
            self.columns = {name: _hdf5_column(location, columns, name, len(images)) for name in SKY_COLUMNS}
            self.declared_name = _hdf5_name(file)
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
        labels = check_labels(labels, len(labels), location)
        names = {str(f.location): found for f, t in zip(self.files, tables, strict=True) if (found := _names(t))}
        self.classes = classes.of_labels(labels, classes.agreed(names, location), location)
        self.columns = {
            name: np.concatenate([_parquet_column(table, name) for table in tables]) for name in SKY_COLUMNS
        }
        self.findings = (*_missing_shards(location, self.files), *(_unfinished(location) if is_folder else ()))
        self.declared_name = _declared_name(tables[0])
        self.declared_fingerprint: str | None = None
        if manifest:
            self._take(manifest, location, [table.num_rows for table in tables])

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    def _take(self, manifest: Manifest, location: Location, rows: list[int]) -> None:
        check_rows(location, manifest, rows)
        counts = class_counts(self.classes)
        if list(counts.values()) != list(manifest.class_counts.values()):
            raise DataError(f"{location}: the labels must be those that manifest.json counts; got {counts} a class")
        self.declared_name, self.declared_fingerprint = manifest.dataset_name, manifest.fingerprint

    def batches(self) -> Batches:
        with contextlib.ExitStack() as closing:
            pool = closing.enter_context(ThreadPoolExecutor(usable_cpus()))  # Pillow decodes without Python's lock
            yield from closing.enter_context(contextlib.closing(ahead(self._decoded(pool))))

    def _decoded(self, pool: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
        for file in self.files:
            row = 0
            for cells in _pictures(file):
                decode = functools.partial(_decode, file.location)
                yield np.stack(list(pool.map(decode, cells, range(row, row + len(cells)))))
                row += len(cells)


def _pictures(file: StoredFile) -> Iterator[list[Any]]:
    """The cells of a Parquet file's column of images, at most BATCH at a time, and no more than fit into memory."""
    import pyarrow.compute as pc

    cells: list[Any] = []
    held = 0
    with _opened_parquet(file, buffer_size=READ_BUFFER) as (parquet, stream):
        largest = check_layout(parquet, stream, [PICTURES], LARGE_PAGE)  # no cell is larger than a page
        rows = max(1, min(BATCH, PICTURES_HELD // max(1, largest)))
        for batch in parquet.iter_batches(batch_size=rows, columns=[PICTURES], use_threads=False):
            longest = pc.max(pc.binary_length(pc.struct_field(batch.column(0), "bytes"))).as_py() or 0
            if longest > MOST_BYTES:
                rule = f"a picture must have at most {MOST_BYTES:,} bytes"
                raise DataError(f"{file.location}: {rule}; one has {longest:,}")
            for cell in batch.column(0).to_pylist():
                cells.append(cell)
                held += len((cell or {}).get("bytes") or b"")
                if len(cells) == BATCH or held > PICTURES_HELD:
                    yield cells
                    cells, held = [], 0
    if cells:
        yield cells


@dataclass(frozen=True)
class ArraySource:
    """Arrays already on disk or in memory: `images` (N, 256, 256, 3) uint8, which may be a memory map."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    findings: tuple[Finding, ...] = ()

    @property
    def classes(self) -> Classes:
        return Classes(self.labels, CLASS_NAMES)

    def batches(self) -> Batches:
        for start in range(0, len(self.images), BATCH):
            yield self.images[start : start + BATCH]


def check_label_type(kind: Any, shape: tuple[int, ...] | None, num_images: int, where: object) -> None:
    """Before they are read."""
    if num_images == 0:
        raise DataError(f"{where} must hold at least one image; it holds none")
    if shape != (num_images,):
        raise DataError(f"{where} must hold one label an image: {num_images} images, labels of shape {shape}")
    if kind.kind not in "iu":
        raise DataError(f"{where}: labels must be whole numbers from 0 to {NUM_CLASSES - 1}; got type {kind}")


def check_number(num_images: int, size: int, where: object) -> None:
    """Raises DataError for more images than a file of `size` bytes can hold: all that is read grows with them."""
    if num_images > max(FEW_IMAGES, size // LEAST_BYTES):
        rule = f"a file of {size:,} bytes can hold at most {max(FEW_IMAGES, size // LEAST_BYTES):,} images"
        raise DataError(f"{where}: {rule}, as each takes some {LEAST_BYTES} bytes or more; it says {num_images:,}")


def check_labels(labels: NDArray[Any], num_images: int, where: object) -> NDArray[np.int64]:
    check_label_type(labels.dtype, labels.shape, num_images, where)
    bad = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
    if bad.size:
        row = int(bad[0])
        rule = f"labels must be 0 to {NUM_CLASSES - 1}"
        raise DataError(f"{where}: {rule}; got {labels[row]} at image {row} ({bad.size} such labels)")
    return labels.astype(np.int64)


def class_counts(found: Classes) -> dict[str, int]:
    """Images of each class, by its name where that is known, else by its number."""
    counts = np.bincount(found.labels, minlength=NUM_CLASSES).tolist()
    names = found.names if found.known else map(str, range(NUM_CLASSES))
    return dict(zip(names, counts, strict=True))


def _hdf5_columns(file: Any, location: Location) -> dict[str, Any]:
    """The columns of an open h5py file by name. Raises DataError unless they are there, and lie in this file."""
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


def _check_hdf5_images(images: Any, file: StoredFile) -> None:
    """Before they are read: their shape, how many they are, and that no chunk is out of proportion to an image."""
    where = file.location
    with _about(where):
        check_shape((images.shape or ())[1:], images.dtype)
    check_number(len(images), file.size, where)
    parts = images.chunks or (LEAST_CHUNK, 1)
    if math.prod(parts) < LEAST_CHUNK or math.prod(parts[1:]) > LARGEST_CHUNK // 16:
        rule = f"chunks of images must have {LEAST_CHUNK} bytes or more, and at most 8 MiB an image"
        raise DataError(f"{where}: {rule}; they are {parts}. h5repack -l images:CHUNK=1x256x256x3 OLD NEW")


def _hdf5_name(file: Any) -> str | None:
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


SHARD: Final = re.compile(r"(.*?)-(\d{5,})-of-(\d{5,})(?:-[0-9a-f]+)?\.parquet", re.IGNORECASE)
"""Names of shards as `datasets` and TensorFlow write them: train-00000-of-00004.parquet."""


def _missing_shards(folder: Location, files: Sequence[StoredFile]) -> tuple[Finding, ...]:
    """A finding for each set of shards that is not complete by its own names."""
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    for file in files:
        if match := SHARD.fullmatch(file.location.path):
            found[match[1], int(match[3])].add(int(match[2]))
    findings = []
    for (stem, total), numbers in found.items():
        if missing := sorted(set(range(total)) - numbers):
            name = stem.rpartition("/")[2]
            message = f"{len(missing)} of the {total} shards of '{name}' are missing, the first is number {missing[0]}"
            chosen = "; one file was named, which is one of them" if folder.path == files[0].location.path else ""
            findings.append(Finding("missing_shards", not chosen, message + chosen, len(missing)))
    return tuple(findings)


def _unfinished(folder: Location) -> tuple[Finding, ...]:
    """A finding where a folder holds what a download or a copy of a Parquet file left."""
    names = [file.location.uri.rpartition("/")[2] for file in folder.files()]
    left = [name for name in names if re.search(r"\.parquet\.(?!crc$)", name.lower())]
    message = f"{len(left)} unfinished or packed Parquet files are left out, such as '{left[0]}'" if left else ""
    return (Finding("unfinished_files", True, message, len(left)),) if left else ()


def _names(table: Any) -> list[str]:
    return classes.in_parquet(table.schema.metadata)


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
    except (*UNREADABLE, OverflowError, zlib.error) as error:
        if not place.is_local and "AWS Error" in str(error):
            raise explained(place, error) from error
        what = "is empty" if file.size == 0 else f"cannot be read as {kind} ({file.size:,} bytes)"
        advice = "It may be truncated or of another kind; fetch or copy it again."
        raise DataError(f"{place} {what}: {error}. {advice}") from error


def _hdf5_column(where: Location, columns: Mapping[str, Any], name: str, length: int) -> NDArray[np.float64]:
    if name not in columns:
        return np.full(length, np.nan)
    column = columns[name]
    if column.dtype.kind not in "biuf":
        raise DataError(f"{where}: column {name} must hold numbers; got {column.dtype}")
    if column.shape != (length,):
        raise DataError(f"{where}: column {name} must have one value an image, {length}; got shape {column.shape}")
    return np.asarray(values(column, name, where), dtype=np.float64)


@contextlib.contextmanager
def _opened_parquet(file: StoredFile, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """A ParquetFile, and the pyarrow file that it reads."""
    import pyarrow.parquet as pq

    place = file.location
    with _as_data_error(file, "Parquet"), contextlib.ExitStack() as closing:
        stream = closing.enter_context(place.filesystem.open_input_file(place.path))
        yield closing.enter_context(pq.ParquetFile(stream, **settings)), stream


def _small_columns(file: StoredFile) -> Any:
    """All columns of a Parquet file that trials use, but the images."""
    with _opened_parquet(file, pre_buffer=True) as (parquet, stream):
        where, schema = file.location, parquet.schema_arrow
        for name in ("image", "label"):
            if name not in schema.names:
                found = schema.names[:NAMES_SHOWN]
                raise DataError(f"{where} must hold the columns image and label; '{name}' is missing, found {found}")
        wanted = ["label", *(name for name in SKY_COLUMNS if name in schema.names)]
        check_layout(parquet, stream, wanted, SMALL_PAGE)
        _check_parquet_types(schema, wanted, where)
        check_number(num_rows(parquet), file.size, where)
        return parquet.read(columns=wanted, use_threads=False)


def _check_parquet_types(schema: Any, columns: Sequence[str], where: Location) -> None:
    """Raises DataError for columns of other types than can be used, which might be of any size."""
    import pyarrow.types as kinds

    image, label = schema.field("image").type, schema.field("label").type
    inner = image.field("bytes").type if kinds.is_struct(image) and image.get_field_index("bytes") >= 0 else None
    if inner is None or not (kinds.is_binary(inner) or kinds.is_large_binary(inner)):
        rule = "image must be a struct with the encoded picture in `bytes`, of type binary or large_binary"
        raise DataError(f"{where}: {rule}; got {str(image)[:60]}. Cast it: table.cast(schema) in pyarrow")
    if not kinds.is_integer(label):
        rule = f"labels must be whole numbers from 0 to {NUM_CLASSES - 1}"
        raise DataError(f"{where}: {rule}; got type {str(label)[:60]}")
    for name in columns:
        kind = schema.field(name).type
        if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind) or kinds.is_null(kind)):
            raise DataError(f"{where}: column {name} must hold numbers; got {str(kind)[:60]}. Cast it to float64")


def _check_same_columns(files: list[StoredFile], tables: list[Any]) -> None:
    columns = [{field.name: str(field.type) for field in table.schema} for table in tables]
    for file, found in zip(files, columns, strict=True):
        if found != columns[0]:
            wanted = f"{files[0].location} has {columns[0]}"
            raise DataError(f"all files must have the same columns; {wanted}, {file.location} has {found}")


def _parquet_column(table: Any, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].to_numpy(), np.float64)


def _declared_name(table: Any) -> str | None:
    try:
        return str(read_json((table.schema.metadata or {})[PARQUET_KEY])[NAME_ATTRIBUTE])
    except (KeyError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def _about(where: object) -> Iterator[None]:
    """Has a DataError begin with what it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _decode(place: Location, cell: Any, row: int) -> NDArray[np.uint8]:
    where = f"{place}, row {row}"
    if not isinstance(cell, dict) or not cell.get("bytes"):
        raise DataError(f"{where}: image must be a struct with the encoded picture in `bytes`; got {str(cell)[:60]}")
    with _about(where):
        return decode(cell["bytes"])
