"""Parquet as Hugging Face's `datasets` has it: `image` struct{bytes, path}, `label`, and the sky columns."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import classes, containers
from galaxytl.data.files.containers import NAME_ATTRIBUTE, NAMES_SHOWN, SKY_COLUMNS, Batches, Images, Rows
from galaxytl.data.files.fingerprint import GALAXY10_SHAPE
from galaxytl.data.files.manifest import Manifest, Shard, check_rows, check_shards, read_manifest
from galaxytl.data.files.pictures import MOST_BYTES, decode, png
from galaxytl.data.findings import Finding
from galaxytl.system.locations import DataError, Location, StoredFile
from galaxytl.system.parquet_layout import LARGE_PAGE, SMALL_PAGE, check_layout, num_rows
from galaxytl.system.prefetch import ahead
from galaxytl.system.process import usable_cpus
from galaxytl.system.strict_json import read_json
from galaxytl.trial import MOST_CLASSES
from galaxytl.trial.reading import Reading

PARQUET_KEY: Final = b"galaxytl"
"""Of a file's metadata: a JSON object with dataset_name."""
PICTURES: Final = "image.bytes"
"""A path within a file's schema."""
PICTURES_HELD: Final = 64 * 2**20
"""Bytes of encoded pictures held at a time, where no single one has more."""
READ_BUFFER: Final = 8 * 2**20
"""Bytes of a column read at a time; without it pyarrow reads all of a row group's."""
ROW_GROUP: Final = 32
"""Images that a reader of one image must fetch: 4 MB."""
SHARD: Final = re.compile(r"(.*?)-(\d{5,})-of-(\d{5,})(?:-[0-9a-f]+)?\.parquet", re.IGNORECASE)
"""Names of shards as `datasets` and TensorFlow write them: train-00000-of-00004.parquet."""


class ParquetSource:
    """Parquet files in the Hugging Face layout, in order of their names: `image` struct{bytes, path}, `label`."""

    def __init__(self, location: Location, _scratch: Path, reading: Reading) -> None:
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
        labels = containers.check_labels(labels, len(labels), location)
        said = {str(f.location): classes.in_parquet(t.schema.metadata) for f, t in zip(self.files, tables, strict=True)}
        names = {place: found for place, found in said.items() if found}
        self.declared_name = _declared_name(tables[0])
        said_names = reading.class_names or classes.agreed(names, location)
        assumed = _has_galaxy10_size(self.files[0])
        self.classes = classes.of_labels(labels, said_names, location, assumed=assumed)
        self.columns = {name: np.concatenate([_column(table, name) for table in tables]) for name in SKY_COLUMNS}
        self.findings = (*_missing_shards(location, self.files), *(_unfinished(location) if is_folder else ()))
        self.declared_fingerprint: str | None = None
        if manifest:
            self._take(manifest, location, [table.num_rows for table in tables])

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    def _take(self, manifest: Manifest, location: Location, rows: list[int]) -> None:
        check_rows(location, manifest, rows)
        counts = containers.class_counts(self.classes)
        if list(counts.values()) != list(manifest.class_counts.values()):
            raise DataError(f"{location}: the labels must be those that manifest.json counts; got {counts} a class")
        self.declared_name, self.declared_fingerprint = manifest.dataset_name, manifest.fingerprint

    def batches(self) -> Batches:
        with contextlib.ExitStack() as closing:
            pool = closing.enter_context(ThreadPoolExecutor(usable_cpus()))  # Pillow decodes without Python's lock
            yield from closing.enter_context(contextlib.closing(ahead(self._decoded(pool))))

    def _decoded(self, pool: ThreadPoolExecutor) -> Iterator[Images]:
        for file in self.files:
            row = 0
            for cells in _pictures(file):
                decode = functools.partial(_decode, file.location)
                yield list(pool.map(decode, cells, range(row, row + len(cells))))
                row += len(cells)


def _has_galaxy10_size(file: StoredFile) -> bool:
    """Return whether the first picture of a file has Galaxy10's sides."""
    with contextlib.closing(_pictures(file, 1)) as pictures:
        cells = next(pictures, [None])
    with contextlib.suppress(DataError):
        return decode((cells[0] or {}).get("bytes") or b"").shape == GALAXY10_SHAPE
    return False


def _pictures(file: StoredFile, most: int = containers.BATCH) -> Generator[list[Any], None, None]:
    """Yield the cells of a file's column of images, `most` at a time, and no more than fit into memory."""
    import pyarrow.compute as pc

    cells: list[Any] = []
    held = 0
    with _opened(file, buffer_size=READ_BUFFER) as (parquet, stream):
        largest = check_layout(parquet, stream, [PICTURES], LARGE_PAGE)  # no cell is larger than a page
        rows = max(1, min(most, PICTURES_HELD // max(1, largest)))
        for batch in parquet.iter_batches(batch_size=rows, columns=[PICTURES], use_threads=False):
            longest = pc.max(pc.binary_length(pc.struct_field(batch.column(0), "bytes"))).as_py() or 0
            if longest > MOST_BYTES:
                rule = f"a picture must have at most {MOST_BYTES:,} bytes"
                raise DataError(f"{file.location}: {rule}; one has {longest:,}")
            for cell in batch.column(0).to_pylist():
                cells.append(cell)
                held += len((cell or {}).get("bytes") or b"")
                if len(cells) == most or held > PICTURES_HELD:
                    yield cells
                    cells, held = [], 0
    if cells:
        yield cells


class ParquetWriter:
    """Writes `folder`/`names[0]`, ..., each with `rows_per_file` images, the last with the rest."""

    encode = staticmethod(png)

    def __init__(
        self, folder: Path, names: Sequence[str], rows: Rows, rows_per_file: int, on_file: Callable[[str], None]
    ) -> None:
        """on_file: called with the name of each file when it is complete."""
        self._folder, self._names, self._rows, self._rows_per_file = folder, names, rows, rows_per_file
        self._on_file = on_file
        self._schema = _schema_of(rows.dataset_name, rows.classes.known)
        self._digits = len(str(len(rows.labels) - 1))
        self._pending: list[bytes] = []
        self._row = 0
        self._file: Any = None
        self.shards: list[Shard] = []

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
            self._close()
        elif self._file is not None:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                self._file.close()

    def write(self, cells: Sequence[bytes]) -> None:
        for cell in cells:
            self._pending.append(cell)
            in_file = self._row % self._rows_per_file + len(self._pending)
            if len(self._pending) == ROW_GROUP or in_file == self._rows_per_file:
                self._flush()

    def _flush(self) -> None:
        """Write the pending images as a row group."""
        if not self._pending:
            return
        if self._file is None:
            self._open(self._folder / self._names[len(self.shards)])
        self._file.write_table(self._table(), row_group_size=ROW_GROUP)
        self._row += len(self._pending)
        self._pending = []
        if self._row % self._rows_per_file == 0:
            self._close()

    def _table(self) -> Any:
        import pyarrow as pa

        part = slice(self._row, self._row + len(self._pending))
        paths = (f"{row:0{self._digits}d}.png" for row in range(part.start, part.stop))
        columns: dict[str, Any] = {
            "image": [{"bytes": c, "path": path} for c, path in zip(self._pending, paths, strict=True)]
        }
        columns |= {"label": self._rows.labels[part], "split": list(self._rows.split[part])}
        columns |= {name: self._rows.columns[name][part] for name in SKY_COLUMNS}
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        return pa.table(arrays, schema=self._schema)

    def _open(self, path: Path) -> None:
        import pyarrow.parquet as pq

        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"compression": "none", "use_dictionary": False, "write_statistics": ["label"]}
        self._file = pq.ParquetWriter(path, self._schema, **settings)

    def _close(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        name = self._names[len(self.shards)]
        rows = self._row - sum(shard.rows for shard in self.shards)
        self.shards.append(Shard(name, rows, (self._folder / name).stat().st_size))
        self._on_file(name)


def _schema_of(dataset_name: str, class_names: Sequence[str]) -> Any:
    """Return the Arrow schema; its `huggingface` metadata makes `datasets` decode images and name the classes, where
    these are known."""
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {"image": picture, "label": pa.int64(), **dict.fromkeys(SKY_COLUMNS, pa.float64()), "split": pa.string()}
    label = {"names": list(class_names), "_type": "ClassLabel"} if class_names else {"dtype": "int64", "_type": "Value"}
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": label}
    features |= {name: {"dtype": "float64", "_type": "Value"} for name in SKY_COLUMNS}
    features["split"] = {"dtype": "string", "_type": "Value"}
    metadata = {
        b"huggingface": json.dumps({"info": {"features": features}}).encode(),
        PARQUET_KEY: json.dumps({NAME_ATTRIBUTE: dataset_name}).encode(),
    }
    return pa.schema(list(kinds.items()), metadata=metadata)


def _missing_shards(folder: Location, files: Sequence[StoredFile]) -> tuple[Finding, ...]:
    """Return a finding for each set of shards that is not complete by its own names."""
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
    """Return a finding where a folder holds what a download or a copy of a Parquet file left."""
    names = [file.location.uri.rpartition("/")[2] for file in folder.files()]
    left = [name for name in names if re.search(r"\.parquet\.(?!crc$)", name.lower())]
    message = f"{len(left)} unfinished or packed Parquet files are left out, such as '{left[0]}'" if left else ""
    return (Finding("unfinished_files", True, message, len(left)),) if left else ()


@contextlib.contextmanager
def _opened(file: StoredFile, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """Open a ParquetFile, and the pyarrow file that it reads."""
    import pyarrow.parquet as pq

    place = file.location
    with containers.as_data_error(file, "Parquet"), contextlib.ExitStack() as closing:
        stream = closing.enter_context(place.filesystem.open_input_file(place.path))
        yield closing.enter_context(pq.ParquetFile(stream, **settings)), stream


def _small_columns(file: StoredFile) -> Any:
    """Read all columns of a Parquet file that trials use, but the images."""
    with _opened(file, pre_buffer=True) as (parquet, stream):
        where, schema = file.location, parquet.schema_arrow
        for name in ("image", "label"):
            if name not in schema.names:
                found = schema.names[:NAMES_SHOWN]
                raise DataError(f"{where} must hold the columns image and label; '{name}' is missing, found {found}")
        wanted = ["label", *(name for name in SKY_COLUMNS if name in schema.names)]
        check_layout(parquet, stream, wanted, SMALL_PAGE)
        _check_types(schema, wanted, where)
        containers.check_number(num_rows(parquet), file.size, where)
        return parquet.read(columns=wanted, use_threads=False)


def _check_types(schema: Any, columns: Sequence[str], where: Location) -> None:
    """Raise DataError for columns of other types than can be used, which might be of any size."""
    import pyarrow.types as kinds

    image, label = schema.field("image").type, schema.field("label").type
    inner = image.field("bytes").type if kinds.is_struct(image) and image.get_field_index("bytes") >= 0 else None
    if inner is None or not (kinds.is_binary(inner) or kinds.is_large_binary(inner)):
        rule = "image must be a struct with the encoded picture in `bytes`, of type binary or large_binary"
        raise DataError(f"{where}: {rule}; got {str(image)[:60]}. Cast it: table.cast(schema) in pyarrow")
    if not kinds.is_integer(label):
        rule = f"labels must be whole numbers from 0 to {MOST_CLASSES - 1}"
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


def _column(table: Any, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].to_numpy(), np.float64)


def _declared_name(table: Any) -> str | None:
    try:
        return str(read_json((table.schema.metadata or {})[PARQUET_KEY])[NAME_ATTRIBUTE])
    except (KeyError, ValueError, TypeError):
        return None


def _decode(place: Location, cell: Any, row: int) -> NDArray[np.uint8]:
    where = f"{place}, row {row}"
    if not isinstance(cell, dict) or not cell.get("bytes"):
        raise DataError(f"{where}: image must be a struct with the encoded picture in `bytes`; got {str(cell)[:60]}")
    with containers.about(where):
        return decode(cell["bytes"])
