"""A catalogue: a table with a row an image, and the path of its picture; CSV, JSON lines, Parquet or a FITS table.

    source = read_catalogue(locate("catalogue.csv"), scratch, reading)
    source = read_catalogue(locate("folder"), scratch, reading)    # Hugging Face's imagefolder: folder/metadata.csv, or
                                                                   # folder/train/metadata.csv and test/metadata.csv
Paths are relative to the catalogue's folder, or whole, or URIs. Only the columns that are needed are read, as Arrow's:
no row becomes an object of Python, so that ten million rows fit.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from galaxytl.data.files.classes import unknown_classes
from galaxytl.data.files.columns import (
    MISSING,
    NAMES,
    asked_column,
    classes_of,
    column_for,
    guesses,
    known_columns,
    known_names,
    plain,
    texts,
)
from galaxytl.data.files.containers import ID_COLUMN, PARTS, SKY_COLUMNS, SPLIT_COLUMN
from galaxytl.data.files.contents import HEAD, Contents, kind_of
from galaxytl.data.files.fits import with_cutouts
from galaxytl.data.files.listed import ListedSource
from galaxytl.data.findings import Finding, on_rows
from galaxytl.system.foreign_text import visible
from galaxytl.system.locations import DataError, Location, StoredFile, explained
from galaxytl.system.parquet_layout import SMALL_PAGE, UNREADABLE, check_layout, first_line, num_rows
from galaxytl.trial.reading import Reading

CSV: Final = r"\.(csv|tsv|tab)(\.gz)?$"
"""What the names of CSV files end with."""
METADATA: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Catalogues of Hugging Face's imagefolder, which lie beside the pictures."""
DELIMITERS: Final = b",;\t|"
SAMPLE: Final = 2**16
"""Bytes in which a CSV's delimiter is looked for."""
BLOCK: Final = 2**22
"""Bytes of a CSV that are parsed at a time: no row has more."""
LISTED: Final = 10_000
"""Files of a folder that are listed, beside ten for each row: further ones are no pictures of this catalogue."""
MOST_ROWS: Final = 2**27
"""A packed file may hold any number."""


@dataclass(frozen=True)
class Part:
    """One file of a catalogue."""

    file: StoredFile
    folder: str = ""
    """That its paths are relative to, below the catalogue's."""

    @property
    def split(self) -> str:
        """The part of the dataset's own split that its folder is called after."""
        return PARTS.get(self.folder.lower(), "")


@dataclass(frozen=True)
class Format:
    """How a file of a catalogue is read."""

    names: Callable[[StoredFile], list[str]]
    """Gives the names of its columns."""
    table: Callable[[StoredFile, Mapping[str, Any]], Any]
    """Gives a pyarrow.Table of columns (name -> Arrow's type for what is written as text)."""


@dataclass(frozen=True)
class Choice:
    """The columns of a catalogue that are read."""

    image: str
    labels: tuple[str, ...]
    known: dict[str, str]
    """What is known of each image -> its column."""

    @property
    def types(self) -> dict[str, Any]:
        """Names of columns -> Arrow's type for what is written as text."""
        import pyarrow as pa

        few = pa.dictionary(pa.int32(), pa.string())
        wanted = {name: pa.float64() if what in SKY_COLUMNS else pa.string() for what, name in self.known.items()}
        wanted |= dict.fromkeys(self.labels, few if len(self.labels) == 1 else pa.float64())
        return wanted | {self.image: pa.string()}


def is_catalogue(what: Contents) -> bool:
    """Return whether a file lists pictures by their paths, or a folder has a catalogue of those in it."""
    place = what.location
    if what.is_folder:
        return bool(_metadata(place) or ((first := _first_parquet(what)) and _has_only_texts(first)))
    if what.kind == "Parquet":
        return _has_only_texts(place)
    if what.kind == "FITS":
        return _is_fits_table(place)
    return what.kind in ("", "gzip") and bool(re.search(rf"{CSV}|\.jsonl$", place.path.lower()))


def _first_parquet(what: Contents) -> Location | None:
    if not what.has("parquet"):
        return None
    return next((what.location.child(n) for n in what.location.names() if n.lower().endswith(".parquet")), None)


def _has_only_texts(place: Location) -> bool:
    """Return whether a Parquet file has no column that could hold pictures, but one with texts."""
    import pyarrow.parquet as pq

    try:
        with place.filesystem.open_input_file(place.path) as stream:
            kinds = [field.type for field in pq.read_schema(stream)]
    except UNREADABLE:
        return False
    return not any(map(_holds_bytes, kinds)) and any("string" in str(kind) for kind in kinds)


def _holds_bytes(kind: Any) -> bool:
    return "binary" in str(kind) or any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))


def read_catalogue(location: Location, _scratch: Path, reading: Reading) -> ListedSource:
    """Return the source of the pictures that a catalogue names; raises DataError where it is none that can be used.

    Whether the files are there is found when they are looked at: `ListedSource.files`.
    """
    is_folder = location.kind() == "folder"
    parts = _parts(location, is_folder)
    choice = _choice(_format(parts[0]).names(parts[0].file), reading, location)
    tables = [_table(part, choice) for part in parts]
    table = _together(tables, location)
    names = _paths(table[choice.image], location)
    root = location if is_folder else above(location)
    if is_folder:
        _check_inside(names, location)
    is_known = reading.wants_labels
    classes = (
        classes_of(table, choice.labels, reading.class_names, location) if is_known else unknown_classes(len(names))
    )
    columns = known_columns(table, choice.known, location)
    columns.setdefault(ID_COLUMN, texts(names, location))
    if any(part.split for part in parts):
        columns.setdefault(SPLIT_COLUMN, np.repeat([part.split for part in parts], list(map(len, tables))))
    note = "; ".join(filter(None, (_guesses(choice, reading), classes.note)))
    beside = [part.file for part in parts]
    source = ListedSource(root, names, replace(classes, note=note), columns, findings=_repeated(names), beside=beside)
    return with_cutouts(replace(source, states=_states(names, root)), reading)


def above(location: Location) -> Location:
    """Return the folder of a file."""
    folder, slash, _ = location.uri.rpartition("/")
    return replace(location, uri=folder or slash or ".", path=location.path.rpartition("/")[0])


def _parts(location: Location, is_folder: bool) -> list[Part]:
    if not is_folder:
        return [Part(location.stored())]
    return _metadata(location) or [Part(file) for file in location.files(".parquet")]


def _metadata(location: Location) -> list[Part]:
    """Return the catalogues of Hugging Face's imagefolder: in the folder, or in those of the parts of its split."""
    folders = ["", *(part for part in PARTS if location.child(part).kind() == "folder")]
    found = []
    for folder in folders:
        places = [location.child(f"{folder}/{name}".lstrip("/")) for name in METADATA]
        found += [Part(place.stored(), folder) for place in places if place.kind() == "file"][:1]
    return found


def _choice(found: list[str], reading: Reading, where: Location) -> Choice:
    shown = dict.fromkeys(found, "")
    image = column_for("image", "catalogue", reading.image_column, found, shown, where)
    labels = tuple(asked_column(name, found, where) for name in reading.label_columns)
    if reading.wants_labels:
        labels = labels or (column_for("label", "catalogue", "", found, shown, where),)
    choice = Choice(image, labels, known_names(found, reading.extra_columns, where))
    if twice := [name for name in choice.types if found.count(name) > 1]:
        raise DataError(f"{where} must have columns of different names; {found.count(twice[0])} are called {twice[0]}")
    return choice


def _guesses(choice: Choice, reading: Reading) -> str:
    """Return which columns were chosen, where nobody named them, by other names than the first that is expected."""
    usual = NAMES["catalogue", "image"].sure[0], NAMES["catalogue", "label"].sure[0]
    image = {"images": choice.image} if not reading.image_column and choice.image != usual[0] else {}
    label = (
        {"classes": choice.labels[0]} if not reading.label_columns and choice.labels[:1] not in ((), usual[1:]) else {}
    )
    return guesses(image | label | choice.known)


def _table(part: Part, choice: Choice) -> Any:
    """Return the columns of one part, the paths relative to the catalogue's folder."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _format(part).table(part.file, choice.types)
    if not part.folder:
        return table
    folder, slash = (pa.scalar(text, pa.large_string()) for text in (part.folder, "/"))
    paths = pc.binary_join_element_wise(folder, plain(table[choice.image]), slash)
    return table.set_column(table.column_names.index(choice.image), choice.image, paths)


def _together(tables: list[Any], where: Location) -> Any:
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"columns must be of one type in all files of {where}: {first_line(error)}") from error


def _paths(column: Any, where: Location) -> Any:
    """Return an Arrow array of the paths in a column; raises DataError where it has none in a row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):
        raise DataError(f"{where} must have a row for each image; it has none")
    if not re.search("string|null", str(column.type)):
        raise DataError(
            f"{where}: the column of the images must hold the paths of their files; got type {column.type}. Name "
            "another with --image-column"
        )
    column = plain(column).cast(pa.large_string())
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(
            f"{where}: every row must have the path of a picture; {column.null_count:,} of {len(column):,} have none, "
            f"the first is row {row:,} (the first of all is row 0). Leave these rows out"
        )
    return pc.replace_substring_regex(column, r"^(\./)+", "").combine_chunks()


def _check_inside(names: Any, folder: Location) -> None:
    """Raise DataError where a folder's own catalogue, or a link in it, leads out of the folder: who made it would
    choose which of its reader's files are read."""
    import pyarrow.compute as pc

    outside = pc.match_substring_regex(names, r"(^|/)\.\.(/|$)|^/|://")
    if (row := pc.index(outside, True).as_py()) >= 0:
        raise DataError(
            f"the catalogue in {folder} must name files in it; got {visible(names[row].as_py())}. Where the files are "
            "yours, name the catalogue itself: it may lead anywhere"
        )
    if folder.is_local:
        for _ in folder.names():  # which looks at every link
            pass


def _repeated(names: Any) -> tuple[Finding, ...]:
    """Return a finding where a path is named again."""
    codes = np.asarray(names.dictionary_encode().indices)  # numbered in the order of their first rows
    again = np.flatnonzero(codes[1:] <= np.maximum.accumulate(codes)[:-1]) + 1
    return (on_rows("repeated_paths", "of a file that an earlier row names", again, False),) if again.size else ()


def _format(part: Part) -> Format:
    """Return how a file is read: by its first bytes if these say it, else by its name."""
    place = part.file.location
    with place.open() as file:
        kind = kind_of(file.read(HEAD))
    return FORMATS.get(kind) or FORMATS["jsonl" if place.path.lower().endswith(".jsonl") else "csv"]


def _states(names: Any, root: Location) -> Any:
    """Return bytes and times (N, 2) of the files by listing a folder of another machine, 1000 an answer: asking for
    each takes as long as an answer. None where the files, or many others, lie elsewhere, and where one is not there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if root.is_local or pc.any(pc.match_substring_regex(names, r"(^|/)\.?\.?/|://")).as_py():
        return None
    listed = list(itertools.islice(root.entries(), LISTED + 10 * len(names)))
    rows = pc.index_in(names, pa.array([name for name, _, _ in listed], pa.large_string()))
    if rows.null_count:
        return None
    return np.array([state for _, *state in listed], np.int64)[rows.to_numpy()]


@contextlib.contextmanager
def _explained(file: StoredFile, kind: str) -> Iterator[None]:
    """Turn an error of pyarrow's into one that says what the file must be."""
    place = file.location
    try:
        yield
    except DataError:
        raise
    except UNREADABLE as error:
        if isinstance(error, UnicodeError) or "UTF8" in str(error):
            raise _no_text(place, first_line(error)) from error
        if not place.is_local and isinstance(error, OSError):
            raise explained(place, error) from error
        raise DataError(f"{place} cannot be read as {kind}: {first_line(error)}") from error


def _no_text(place: Location, why: str) -> DataError:
    return DataError(
        f"{place} must be text in UTF-8; got other bytes ({why}). Save it as UTF-8: iconv -f LATIN1 -t UTF-8 turns "
        "what older programs write"
    )


def _unpacked(file: StoredFile) -> Any:
    """Return a stream of a file's content, packed by gzip or not."""
    place = file.location
    with place.open() as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return place.filesystem.open_input_stream(place.path, compression="gzip" if packed else None)


def _csv(file: StoredFile, **chosen: Any) -> Generator[Any, None, None]:
    """Yield the record batches of a CSV file, at least one."""
    import pyarrow as pa
    import pyarrow.csv as pc

    with _explained(file, "CSV"):
        with _unpacked(file) as stream:
            head = stream.read(SAMPLE)
        if b"\0" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise _no_text(file.location, f"it begins with {head[:16]!r}")
        line = head.lstrip(b"\r\n").partition(b"\n")[0]
        delimiter = chr(max(DELIMITERS, key=lambda byte: line.count(bytes([byte]))))
        settings = {
            "read_options": pc.ReadOptions(block_size=BLOCK, use_threads=False),
            "parse_options": pc.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            "convert_options": pc.ConvertOptions(null_values=list(MISSING), **chosen),
        }
        try:
            with _unpacked(file) as stream, pc.open_csv(stream, **settings) as batches:
                yield pa.RecordBatch.from_pylist([], batches.schema)
                yield from batches
        except pa.ArrowInvalid:
            with _unpacked(file) as stream:
                pc.read_csv(stream, **settings)  # its error tells the row
            raise


def _csv_names(file: StoredFile) -> list[str]:
    with contextlib.closing(_csv(file)) as batches:
        return list(next(batches).schema.names)


def _csv_table(file: StoredFile, types: Mapping[str, Any]) -> Any:
    return _gathered(file, _csv(file, include_columns=list(types), column_types=dict(types)))


def _gathered(file: StoredFile, batches: Iterator[Any]) -> Any:
    """Return a pyarrow.Table of batches; raises DataError for more rows than can be used."""
    import pyarrow as pa

    found, rows = [], 0
    for batch in batches:
        found.append(batch)
        rows += len(batch)
        if rows > MOST_ROWS:
            raise DataError(f"{file.location} must have at most {MOST_ROWS:,} rows; it has more")
    return pa.Table.from_batches(found)


def _json(file: StoredFile, schema: Any = None) -> Generator[Any, None, None]:
    """Yield the record batches of a file with a JSON object a line; of all columns, or of those of a schema."""
    import pyarrow.json as pj

    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore" if schema else "infer")
    read = pj.ReadOptions(block_size=BLOCK, use_threads=False)
    with (
        _explained(file, "JSON lines"),
        _unpacked(file) as stream,
        pj.open_json(stream, read, parse) as batches,
    ):
        yield from batches


def _json_names(file: StoredFile) -> list[str]:
    return list(_json_schema(file).names)


def _json_schema(file: StoredFile) -> Any:
    with contextlib.closing(_json(file)) as batches:
        return next(batches).schema


def _json_table(file: StoredFile, types: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    schema = _json_schema(file)
    for name in types:
        asked_column(name, schema.names, file.location)
    return _gathered(file, _json(file, pa.schema([schema.field(name) for name in types])))


@contextlib.contextmanager
def _parquet(file: StoredFile) -> Iterator[tuple[Any, Any]]:
    import pyarrow.parquet as pq

    place = file.location
    with (
        _explained(file, "Parquet"),
        place.filesystem.open_input_file(place.path) as stream,
        pq.ParquetFile(stream) as parquet,
    ):
        yield parquet, stream


def _parquet_names(file: StoredFile) -> list[str]:
    with _parquet(file) as (parquet, _):
        return list(parquet.schema_arrow.names)


def _parquet_table(file: StoredFile, types: Mapping[str, Any]) -> Any:
    with _parquet(file) as (parquet, stream):
        for name in types:
            asked_column(name, parquet.schema_arrow.names, file.location)
        check_layout(parquet, stream, list(types), SMALL_PAGE)
        if num_rows(parquet) > MOST_ROWS:
            raise DataError(f"{file.location} must have at most {MOST_ROWS:,} rows; it has {num_rows(parquet):,}")
        return parquet.read(columns=list(types), use_threads=False)


@contextlib.contextmanager
def _first_table(place: Location) -> Iterator[Any]:
    """Open the first extension of a FITS file without an image; raises ValueError where that is no table."""
    from astropy.io import fits

    with place.open() as file, fits.open(file, memmap=place.is_local) as hdus:
        if len(hdus) < 2 or hdus[0].header["NAXIS"] or type(hdus[1]) not in (fits.BinTableHDU, fits.TableHDU):
            raise ValueError("its first extension must be a table, and its primary one empty")
        yield hdus[1]


def _is_fits_table(place: Location) -> bool:
    try:
        with _first_table(place):
            return True
    except UNREADABLE:
        return False


def _fits_names(file: StoredFile) -> list[str]:
    with _explained(file, "a FITS table"), _first_table(file.location) as table:
        return list(table.columns.names)


def _fits_table(file: StoredFile, types: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    with _explained(file, "a FITS table"), _first_table(file.location) as table:
        columns = {name: np.asarray(table.data[name]) for name in types}
        native = {name: values.astype(values.dtype.newbyteorder("=")) for name, values in columns.items()}
        return pa.table({name: pa.array(values) for name, values in native.items()})


FORMATS: Final = {
    "csv": Format(_csv_names, _csv_table),
    "jsonl": Format(_json_names, _json_table),
    "FITS": Format(_fits_names, _fits_table),
    "Parquet": Format(_parquet_names, _parquet_table),
}
