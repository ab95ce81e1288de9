"""Parquet with pictures inside, as Hugging Face's `datasets` has it: `image` struct{bytes, path}, `label`, and what is
known beside them; also with other names, plain bytes, or within a column of structs ("features.image").
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import classes, columns, containers, tables
from galaxytl.data.files.containers import (
    NAME_ATTRIBUTE,
    PARTS,
    SKY_COLUMNS,
    SPLIT_COLUMN,
    Batches,
    Cell,
    Images,
    Rows,
)
from galaxytl.data.files.manifest import Manifest, Shard, check_rows, check_shards, read_manifest
from galaxytl.data.files.pictures import MOST_BYTES, decode, png
from galaxytl.data.files.tables import KEPT_COLUMNS, VOTES_COLUMN, Said
from galaxytl.data.findings import Finding
from galaxytl.system.locations import DataError, Location, StoredFile
from galaxytl.system.parquet_layout import LARGE_PAGE, SMALL_PAGE, check_layout, num_rows
from galaxytl.system.prefetch import ahead
from galaxytl.system.process import usable_cpus
from galaxytl.system.strict_json import read_json
from galaxytl.trial.reading import Reading

PARQUET_KEY: Final = b"galaxytl"
"""Of a file's metadata: a JSON object with dataset_name."""
OFFICIAL_SPLIT: Final = "official_split"
"""Column of a copy: the dataset's own split, beside the paper's, which is called `split`."""
LONGEST_TEXT: Final = 4 * columns.LONGEST_TEXT
"""Bytes of a text beside the images."""
PICTURES_HELD: Final = 64 * 2**20
"""Bytes of encoded pictures held at a time, where no single one has more."""
READ_BUFFER: Final = 8 * 2**20
"""Bytes of a column read at a time; without it pyarrow reads all of a row group's."""
ROW_GROUP: Final = 32
"""Images that a reader of one image must fetch: 4 MB."""
SHARD: Final = re.compile(r"(.*?)-(\d{5,})-of-(\d{5,})(?:-[0-9a-f]+)?\.parquet", re.IGNORECASE)
"""Names of shards as `datasets` and TensorFlow write them: train-00000-of-00004.parquet."""


class ParquetSource:
    """Parquet files of pictures and labels, in order of the files' names."""

    def __init__(self, location: Location, _scratch: Path, reading: Reading) -> None:
        is_folder = location.kind() == "folder"
        manifest = read_manifest(location) if is_folder else None
        self.files = location.files(".parquet") if is_folder else [location.stored()]
        if manifest:
            check_shards(location, manifest, self.files)
        if not self.files:
            raise DataError(f"{location} must hold Parquet files (*.parquet); it has none")
        with ThreadPoolExecutor(min(8, len(self.files))) as pool:  # a remote file takes a few round trips
            shards = list(pool.map(functools.partial(_small_columns, reading), self.files))
        self._layout = layout = shards[0][0]
        tables_read = [table for _, table in shards]
        _check_same_columns(self.files, shards)
        table = _joined(tables_read, location)
        self.declared_name = layout.declared.get(NAME_ATTRIBUTE)
        self.columns = columns.known_columns(table, layout.known, location)
        if SPLIT_COLUMN not in layout.known and not layout.is_copy and (parts := _parts_of(self.files)):
            self.columns[SPLIT_COLUMN] = np.repeat(parts, [table.num_rows for table in tables_read])
        said = {str(file.location): shard.class_names for file, (shard, _) in zip(self.files, shards, strict=True)}
        names = classes.agreed({place: found for place, found in said.items() if found}, location)
        said_so = Said(_first_shape(self.files[0], layout), names, _votes(table), layout.notes)
        self.classes = tables.classes_of(table, layout.labels, reading, said_so, location)
        self.findings = (*_missing_shards(location, self.files), *(_unfinished(location) if is_folder else ()))
        self.declared_fingerprint: str | None = None
        if manifest:
            self._take(manifest, location, [table.num_rows for table in tables_read])

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    def _take(self, manifest: Manifest, location: Location, rows: list[int]) -> None:
        check_rows(location, manifest, rows)
        counts = containers.class_counts(self.classes) if self._layout.labels else manifest.class_counts
        if list(counts.values()) != list(manifest.class_counts.values()):
            raise DataError(f"{location}: the labels must be those that manifest.json counts; got {counts} a class")
        self.declared_name, self.declared_fingerprint = manifest.dataset_name, manifest.fingerprint

    def batches(self) -> Batches:
        with contextlib.ExitStack() as closing:
            pool = closing.enter_context(ThreadPoolExecutor(usable_cpus()))  # Pillow decodes without Python's lock
            yield from closing.enter_context(contextlib.closing(ahead(self._decoded(pool))))

    def cells(self, start: int) -> Iterator[Cell]:
        row = 0  # of all files
        for file in self.files:
            first = row
            with contextlib.closing(_pictures(file, self._layout.picture)) as pictures:
                for cell in itertools.chain.from_iterable(pictures):
                    if row >= start:
                        yield functools.partial(_decode, file.location, cell, row - first)
                    row += 1

    def _decoded(self, pool: ThreadPoolExecutor) -> Iterator[Images]:
        for file in self.files:
            row = 0
            for cells in _pictures(file, self._layout.picture):
                decode = functools.partial(_decode, file.location)
                yield list(pool.map(decode, cells, range(row, row + len(cells))))
                row += len(cells)


def _first_shape(file: StoredFile, layout: _Layout) -> tuple[int, ...]:
    """Return the shape of the first picture of a file; () where it is none."""
    with contextlib.closing(_pictures(file, layout.picture, 1)) as pictures:
        cells = next(pictures, [None])
    with contextlib.suppress(DataError):
        return decode(cells[0] or b"").shape
    return ()


def _pictures(file: StoredFile, column: str, most: int = containers.BATCH) -> Generator[list[bytes | None], None, None]:
    """Yield the encoded pictures in a file's column, a path like image.bytes, `most` at a time, and no more than fit
    into memory."""
    import pyarrow.compute as pc

    cells: list[bytes | None] = []
    held = 0
    with _opened(file, buffer_size=READ_BUFFER) as (parquet, stream):
        largest = check_layout(parquet, stream, [column], LARGE_PAGE)  # no cell is larger than a page
        rows = max(1, min(most, PICTURES_HELD // max(1, largest)))
        for batch in parquet.iter_batches(batch_size=rows, columns=[column], use_threads=False):
            found = _innermost(batch.column(0), column)
            longest = pc.max(pc.binary_length(found)).as_py() or 0
            if longest > MOST_BYTES:
                rule = f"a picture must have at most {MOST_BYTES:,} bytes"
                raise DataError(f"{file.location}: {rule}; one has {longest:,}")
            for cell in found.to_pylist():
                cells.append(cell)
                held += len(cell or b"")
                if len(cells) == most or held > PICTURES_HELD:
                    yield cells
                    cells, held = [], 0
    if cells:
        yield cells


def _innermost(column: Any, path: str) -> Any:
    """Return what lies at a path in a column of structs, of which nothing else was read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for part in path.split(".")[1:]:
        column = pc.struct_field(column, part) if pa.types.is_struct(column.type) else column
    return column


class ParquetWriter:
    """Writes `folder`/`names[0]`, ..., each with `rows_per_file` images, the last with the rest."""

    encode = staticmethod(png)

    def __init__(
        self, folder: Path, names: Sequence[str], rows: Rows, rows_per_file: int, on_file: Callable[[str], None]
    ) -> None:
        """on_file: called with the name of each file when it is complete."""
        self._folder, self._names, self._rows, self._rows_per_file = folder, names, rows, rows_per_file
        self._on_file = on_file
        self._schema = _schema_of(rows)
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
        votes = self._rows.classes.votes
        if votes is not None:
            columns[VOTES_COLUMN] = [
                dict(zip(self._rows.classes.known, row, strict=True)) for row in votes[part].tolist()
            ]
        for name, values in self._rows.columns.items():
            columns[OFFICIAL_SPLIT if name == SPLIT_COLUMN else name] = values[part]
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


def _schema_of(rows: Rows) -> Any:
    """Return the Arrow schema; its `huggingface` metadata makes `datasets` decode images and name the classes, where
    these are known."""
    import pyarrow as pa

    names, votes = rows.classes.known, rows.classes.votes
    kept = [name for name in rows.columns if name not in tables.ALWAYS_READ]
    tables.check_kept(kept, ("image", "label", VOTES_COLUMN, OFFICIAL_SPLIT), rows.dataset_name)
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {"image": picture, "label": pa.int64(), **dict.fromkeys(SKY_COLUMNS, pa.float64()), "split": pa.string()}
    if votes is not None:
        kinds[VOTES_COLUMN] = pa.struct([(name, pa.float32()) for name in names])
    for name in rows.columns:
        if name not in SKY_COLUMNS:
            is_text = rows.columns[name].dtype.kind in "UO"
            kinds[OFFICIAL_SPLIT if name == SPLIT_COLUMN else name] = pa.string() if is_text else pa.float64()
    features: dict[str, Any] = {name: _feature(kind) for name, kind in kinds.items()}
    features["image"] = {"_type": "Image"}
    if names:
        features["label"] = {"names": list(names), "_type": "ClassLabel"}
    declared = {NAME_ATTRIBUTE: rows.dataset_name} | ({KEPT_COLUMNS: kept} if kept else {})
    metadata = {
        b"huggingface": json.dumps({"info": {"features": features}}).encode(),
        PARQUET_KEY: json.dumps(declared).encode(),
    }
    return pa.schema(list(kinds.items()), metadata=metadata)


def _feature(kind: Any) -> dict[str, Any]:
    """Return what `datasets` calls a type."""
    if _is_struct(kind):
        return {field.name: _feature(field.type) for field in kind.fields}
    return {"dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}


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


@dataclass(frozen=True)
class _Layout:
    """Which columns of a Parquet file are read, by their paths in its schema."""

    picture: str
    """Encoded pictures: a path like image.bytes."""
    labels: tuple[str, ...]
    known: dict[str, str]
    """What is known of the images -> its column."""
    declared: dict[str, Any]
    """What a copy that `convert` wrote says of itself; empty of other files."""
    class_names: tuple[str, ...]
    votes: tuple[str, ...]
    """The column of votes of such a copy."""
    notes: tuple[str, ...]

    @property
    def is_copy(self) -> bool:
        return bool(self.declared)

    @property
    def small(self) -> list[str]:
        return list(dict.fromkeys((*self.labels, *self.known.values(), *self.votes)))


def _layout_of(schema: Any, reading: Reading, where: Location) -> _Layout:
    """Return what is to be read of a file with this Arrow schema; raises DataError where it is not there."""
    kinds = _leaves(schema)
    declared = _declared(schema)
    pictures = {name: kind for name, kind in kinds.items() if _picture_path(name, kind)}
    shown = {name: str(kind)[:60] for name, kind in kinds.items()}
    image = columns.column_for("image", "Parquet", reading.image_column, pictures, shown, where)
    if not (picture := _picture_path(image, kinds[image])):
        rule = "must hold encoded pictures: struct with `bytes`, or binary"
        raise DataError(f"{where}: column {image} {rule}; got {shown[image]}. Cast it: table.cast(schema) in pyarrow")
    likely = {name: kind for name, kind in shown.items() if name not in pictures and _is_flat(kinds[name])}
    asked = tables.label_columns(reading)
    labels = tuple(columns.column_for("label", "Parquet", name, likely, shown, where) for name in asked)
    extra = tuple(dict.fromkeys((*reading.extra_columns, *declared.get(KEPT_COLUMNS, ()))))
    known = columns.known_names(list(likely), extra, where)
    if declared:
        known = {what: name for what, name in known.items() if what != SPLIT_COLUMN}
        known |= {SPLIT_COLUMN: OFFICIAL_SPLIT} if OFFICIAL_SPLIT in kinds else {}
    if wrong := [name for name in labels if name not in likely]:
        raise DataError(f"{where}: column {wrong[0]} must hold numbers or texts; got {shown[wrong[0]]}")
    names = tuple(classes.in_parquet(schema.metadata, labels[0])) if labels else ()
    has_votes = declared and VOTES_COLUMN in schema.names and reading.wants_labels
    votes = (VOTES_COLUMN,) if has_votes and not reading.label_columns else ()
    notes = (tables.guess_note(image, labels, known, ("image", "label")),)
    return _Layout(picture, labels, known, declared, names, votes, notes)


def _leaves(schema: Any) -> dict[str, Any]:
    """Return path -> type of the columns, and of the fields of those that are structs without a picture."""
    found = {}
    for field in schema:
        if _picture_path(field.name, field.type) or not _is_struct(field.type):
            found[field.name] = field.type
        else:
            found |= {f"{field.name}.{inner.name}": inner.type for inner in field.type.fields}
    return found


def _is_struct(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_struct(kind))


def _picture_path(name: str, kind: Any) -> str:
    """Return where the bytes of pictures lie in a column of this type; "" where it has none."""
    import pyarrow.types as kinds

    if kinds.is_binary(kind) or kinds.is_large_binary(kind):
        return name
    if not _is_struct(kind) or kind.get_field_index("bytes") < 0:
        return ""
    return f"{name}.bytes" if _picture_path("bytes", kind.field("bytes").type) else ""


def _is_flat(kind: Any) -> bool:
    """Return whether a column has one number or text a row, or a truth value, or a time."""
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        return _is_flat(kind.value_type)
    return bool(kinds.is_primitive(kind) or kinds.is_decimal(kind) or kinds.is_null(kind) or _is_text(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _small_columns(reading: Reading, file: StoredFile) -> tuple[_Layout, Any]:
    """Read all columns of a Parquet file that trials use, but the images, as a pyarrow.Table with their paths as
    names."""
    import pyarrow.parquet as pq

    with _opened(file, pre_buffer=True) as (parquet, stream):
        schema = parquet.schema_arrow
        layout = _layout_of(schema, reading, file.location)
        check_layout(parquet, stream, layout.small, SMALL_PAGE)
        containers.check_number(num_rows(parquet), file.size, file.location)
        kinds = _leaves(schema)
        # One long text may stand in any number of rows: as a dictionary it is held once, and can be looked at.
        texts = [name for name in layout.small if name in kinds and _is_text(kinds[name])]
        again = pq.ParquetFile(stream, metadata=parquet.metadata, read_dictionary=texts, pre_buffer=True)
        read = again.read(columns=layout.small, use_threads=False)
        found = {name: _column(read, name) for name in layout.small}
        for name, column in found.items():
            _check_texts(column, f"{file.location}, column {name}")
        return layout, tables.table_of(found, num_rows(parquet))


def _column(table: Any, path: str) -> Any:
    return table[path] if path in table.column_names else _innermost(table[path.partition(".")[0]], path)


def _check_texts(column: Any, where: object) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = column.chunks if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type) else ()
    longest = max((pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in chunks), default=0)
    if longest > LONGEST_TEXT:
        raise DataError(f"{where} must hold texts of at most {LONGEST_TEXT:,} bytes; one has {longest:,}")


def _check_same_columns(files: Sequence[StoredFile], shards: Sequence[tuple[_Layout, Any]]) -> None:
    found = [{layout.picture: "pictures"} | {f.name: str(f.type) for f in table.schema} for layout, table in shards]
    for file, columns_of_file in zip(files, found, strict=True):
        if columns_of_file != found[0]:
            wanted = f"{files[0].location} has {found[0]}"
            raise DataError(f"all files must have the same columns; {wanted}, {file.location} has {columns_of_file}")


def _joined(parts: Sequence[Any], where: Location) -> Any:
    import pyarrow as pa

    table = pa.concat_tables(parts)
    if not table.num_rows:
        raise DataError(f"{where} must hold at least one image; it holds none")
    return table


def _votes(table: Any) -> NDArray[np.float32] | None:
    """Return the votes (N, C) of a copy, which are fields of structs."""
    if VOTES_COLUMN not in table.column_names or not _is_struct(table[VOTES_COLUMN].type):
        return None
    return np.stack([np.asarray(part, np.float32) for part in table[VOTES_COLUMN].combine_chunks().flatten()], axis=1)


def _parts_of(files: Sequence[StoredFile]) -> list[str]:
    """Return the part that each file's name, or its folder's, says that it has; [] where not all say one, or the same
    one."""
    parts = []
    for file in files:
        folder, name = file.location.path.rpartition("/")[::2]
        said = (re.split(r"[-_.]", name)[0].lower(), folder.rpartition("/")[2].lower())
        parts.append(next((PARTS[text] for text in said if text in PARTS), ""))
    return parts if all(parts) and len(set(parts)) > 1 else []


def _declared(schema: Any) -> dict[str, Any]:
    try:
        found = read_json((schema.metadata or {})[PARQUET_KEY])
        name, kept = str(found[NAME_ATTRIBUTE]), [str(column) for column in found.get(KEPT_COLUMNS, ())]
        return {NAME_ATTRIBUTE: name, KEPT_COLUMNS: kept}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _decode(place: Location, data: bytes | None, row: int) -> NDArray[np.uint8]:
    where = f"{place}, row {row}"
    if not data:
        raise DataError(
            f"{where}: there must be the bytes of a picture; it has none. Where it has the path of one, as `datasets` "
            "exports folders of images, give that folder itself as --data"
        )
    with containers.about(where):
        return decode(data)
