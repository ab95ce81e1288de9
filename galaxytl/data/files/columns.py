"""What the columns of a table hold, which has a row an image: classes, votes, and what is known beside them.

    label = column_for("label", "catalogue", "", table.column_names, shown, where)
    classes_of(table, [label], reading.class_names, where), known_columns(table, known_names(table.column_names))

It works on Arrow's columns, so that a table of ten million rows needs no Python object a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.classes import Classes, of_coded, of_labels
from galaxytl.data.files.containers import ID_COLUMN, PARTS, SKY_COLUMNS, SPLIT_COLUMN, unknown_columns
from galaxytl.system.foreign_text import did_you_mean, visible
from galaxytl.system.locations import DataError
from galaxytl.system.parquet_layout import first_line
from galaxytl.trial.rules import MOST_CLASSES

What = Literal["image", "label"]
Kind = Literal["catalogue", "HDF5", "npz", "Parquet"]


@dataclass(frozen=True)
class Names:
    """What a column may be called, in small letters, where nobody says it."""

    sure: tuple[str, ...]
    """Win over all others, the first over the second."""
    likely: tuple[str, ...]
    """Where only one column has such a name."""


_PATHS: Final = (
    *("file_name", "filename", "file", "file_path", "filepath", "image_path", "image_file", "image_file_name"),
    *("img_path", "image", "img", "image_name"),
)
_ARRAYS: Final = ("images", "image", "img", "x", "data")
_LABELS: Final = ("label", "class", "labels", "class_name", "class_label", "classes", "target", "targets", "ans")
NAMES: Final[Mapping[tuple[Kind, What], Names]] = {
    ("catalogue", "image"): Names(("path", "file_loc"), _PATHS),
    ("catalogue", "label"): Names(("label", "class"), _LABELS),
    ("HDF5", "image"): Names(("images",), _ARRAYS),
    ("HDF5", "label"): Names(("ans",), (*_LABELS, "y")),
    ("npz", "image"): Names(("images",), _ARRAYS),
    ("npz", "label"): Names(("labels",), (*_LABELS, "y")),
    ("Parquet", "image"): Names(("image",), _ARRAYS),
    ("Parquet", "label"): Names(("label",), (*_LABELS, "y")),
}
"""Of images and labels. In a catalogue x and y are rather places in a picture."""
KNOWN_NAMES: Final = {
    "id": ("id", "id_str", "iauname", "image_id", "objid", "object_id", "galaxy_id", "dr7objid", "dr8objid"),
    "ra": ("ra", "raj2000", "ra_deg", "_raj2000"),
    "dec": ("dec", "dej2000", "decj2000", "dec_deg", "_dej2000"),
    "redshift": ("redshift", "z_spec", "zspec", "specz"),
    "pxscale": ("pxscale", "pixscale", "pixel_scale"),
    "split": ("split",),
}
"""What is known of an image -> names of its column in small letters, the likeliest first."""
MISSING: Final = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "<NA>", "--")
"""Texts that stand for no value, as NumPy, pandas and astropy write them."""
LONGEST_TEXT: Final = 500
"""Letters of an id: NumPy gives each row the room of the longest."""
EXACT: Final = 2**53
"""Whole numbers above it are not all numbers of 64 bits with a point: identifiers are kept as texts."""
SLICE: Final = 2**16
WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.0*)?")
NUMBER: Final = re.compile(r"-?[0-9]*\.?[0-9]+(e[-+]?[0-9]+)?")
COLUMNS_SHOWN: Final = 40


def column_for(
    what: What, kind: Kind, asked: str, candidates: Iterable[str], everything: Mapping[str, str], where: object
) -> str:
    """Return the column that has the image or the label in a file of this kind: the one that was asked for; else one
    whose name is sure; else the only one with a likely name; else, of images but in a catalogue, the only candidate.

    candidates: columns that can be it by what they hold; everything: all of the file -> what they hold, for people.
    The last part of a nested column's name counts, whatever its capitals. Raises DataError where there is none, or
    several.
    """
    if asked:
        return asked_column(asked, list(everything), where)
    names, found = NAMES[kind, what], list(candidates)
    matches = [name for name in found if _last(name) in (*names.sure, *names.likely)]
    for sure in names.sure:
        same = [name for name in matches if _last(name) == sure]
        if sure in same or len(same) == 1:
            return sure if sure in same else same[0]
    if not matches and what == "image" and kind != "catalogue":  # whose columns of paths look like any other
        matches = found
    if len(matches) == 1:
        return matches[0]
    may = f"it may be any of {_shown(matches)}" if matches else "none was recognised"
    shown = _shown([f"{name} {held}".rstrip() for name, held in everything.items()]) or "nothing"
    raise DataError(
        f"{where} must say which column has the {what}s; {may}. Name it with --{what}-column; it has {shown}"
    )


def asked_column(asked: str, found: Sequence[str], where: object) -> str:
    """Return the column that the user names, if its capitals are others, too. Raises DataError."""
    same = [name for name in found if _key(name) == _key(asked)]
    if asked in found or len(same) == 1:
        return asked if asked in found else same[0]
    raise DataError(f"{where} has no column '{asked}'.{did_you_mean(asked, found)} Its columns are {_shown(found)}")


def _key(name: str) -> str:
    return name.strip().lower()


def _last(name: str) -> str:
    return _key(name.rpartition(".")[2])


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - COLUMNS_SHOWN:,} more" if len(names) > COLUMNS_SHOWN else ""
    return ", ".join(visible(name)[:60] for name in names[:COLUMNS_SHOWN]) + more


def known_names(found: Sequence[str], extra: Sequence[str], where: object) -> dict[str, str]:
    """Return what the dataset knows of each image (SKY_COLUMNS, "id", "split", and the `extra` columns) -> the column
    that has it; nothing of what has none. Raises DataError for an extra column that is not there."""
    lower = {_key(name): name for name in reversed(found)}
    likely = {what: next((lower[n] for n in names if n in lower), None) for what, names in KNOWN_NAMES.items()}
    known = {what: name for what, name in likely.items() if name is not None}
    return known | {name: asked_column(name, found, where) for name in extra if name not in known}


def guesses(known: Mapping[str, str]) -> str:
    """Return which columns were taken for something that they are not called, like "ra by the column RAJ2000"."""
    return ", ".join(
        f"{what} by the column {visible(name)}" for what, name in known.items() if _key(name) != _key(what)
    )


def known_columns(table: Any, known: Mapping[str, str], where: object) -> dict[str, NDArray[Any]]:
    """Return SKY_COLUMNS, and beside them the other columns of `known_names`, (N,) each, of a pyarrow.Table: float64
    with NaN, or str with "", where a value is unknown. A split that names other parts than PARTS is left out."""
    columns = unknown_columns(table.num_rows)
    for what, name in known.items():
        if what in SKY_COLUMNS:
            columns[what] = numbers(table[name], f"{where}, column {name}")
        elif what != SPLIT_COLUMN:
            column = table[name]
            columns[what] = texts(column, f"{where}, column {name}") if what == ID_COLUMN else _either(column, where)
        elif (parts := _parts(table[name], where)) is not None:
            columns[what] = parts
    return columns


def _parts(column: Any, where: object) -> NDArray[Any] | None:
    said, part_of_row = np.unique(texts(column, where), return_inverse=True)
    parts = [PARTS.get(text.lower(), None if text else "") for text in said.tolist()]
    return None if None in parts or not any(parts) else np.array(parts)[part_of_row]


def _either(column: Any, where: object) -> NDArray[Any]:
    """Return the numbers of a column, or its texts where it has other things or numbers too long for float64."""
    import pyarrow as pa

    column = plain(column)
    if _is_text(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            try:
                return _floats(column)
            except pa.ArrowInvalid:
                return texts(column, where)
    kinds = pa.types
    if kinds.is_integer(column.type) and _largest(column) > EXACT:
        return texts(column, where)
    is_number = kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_boolean(column.type)
    return numbers(column, where) if is_number or kinds.is_decimal(column.type) else texts(column, where)


def _largest(column: Any) -> int:
    import pyarrow.compute as pc

    ends = pc.min_max(column).as_py()
    return max(abs(ends["min"] or 0), abs(ends["max"] or 0))


def numbers(column: Any, where: object) -> NDArray[np.float64]:
    """Return a column as (N,) float64, NaN where unknown; raises DataError where it has no numbers."""
    import pyarrow as pa

    try:
        return _floats(plain(column))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where} must hold numbers: {first_line(error)}. Cast it to float64, or rename it") from error


def _floats(column: Any) -> NDArray[np.float64]:
    import pyarrow as pa

    values = column.cast(pa.float64(), safe=False).to_numpy()
    return np.asarray(values, np.float64)


def texts(column: Any, where: object) -> NDArray[Any]:
    """Return a column as (N,) str, "" where unknown; whole numbers without a point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = plain(column)
    try:
        if pa.types.is_floating(column.type) and pc.all(pc.equal(column, pc.round(column))).as_py() is not False:
            column = column.cast(pa.int64()) if _largest(column) <= EXACT else column
        column = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where} must hold texts or numbers: {first_line(error)}") from error
    longest = pc.max(pc.utf8_length(column)).as_py() or 0
    if longest > LONGEST_TEXT:
        raise DataError(f"{where} must hold texts of at most {LONGEST_TEXT} letters; one has {longest:,}")
    found = np.empty(len(column), f"<U{max(1, longest)}")
    for start in range(0, len(column), SLICE):  # the texts of a slice are Python's for a moment
        found[start : start + SLICE] = pc.fill_null(column.slice(start, SLICE), "").to_numpy(zero_copy_only=False)
    return found


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def plain(column: Any) -> Any:
    """Return a column without its dictionary, and null where a text stands for no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_text(column.type):
        return column
    column = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    return pc.if_else(
        pc.is_in(column, pa.array(MISSING, pa.large_string())), pa.scalar(None, pa.large_string()), column
    )


def classes_of(
    table: Any, columns: Sequence[str], names: Sequence[str], where: object, *, assumed: bool = False
) -> Classes:
    """Return the classes that one column of a pyarrow.Table says, or the votes of several; see `labels_of`."""
    if len(columns) > 1:
        return votes_of(table, columns, where)
    return labels_of(table[columns[0]], names, f"{where}, column {columns[0]}", assumed=assumed)


def labels_of(column: Any, names: Sequence[str], where: object, *, assumed: bool = False) -> Classes:
    """Return the classes of a column (N,) of whole numbers, texts or truth values, with a value in each row.

    Numbers from 0 without a gap are the labels, and so are all where `names` has a name for each, or where the file has
    Galaxy10's own layout (`assumed`). Other numbers are numbered anew, and name their classes. Texts are numbered in
    the order of `names`, else sorted. Raises DataError.
    """
    values, codes = _coded(column, where)
    if missing := np.flatnonzero(codes < 0).tolist():
        raise DataError(
            f"{where}: every image must have a label; {len(missing):,} of {len(codes):,} rows have none, the first is "
            f"row {missing[0]:,} (the first of all is row 0). Leave these rows out, or give them a label"
        )
    whole = _whole_numbers(values, where)
    if whole is None:
        said = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        return of_coded(said, codes, names, where)
    if (least := min(whole)) < 0:
        row = int(np.argmax(codes == whole.index(least)))
        raise DataError(
            f"{where}: labels must be whole numbers from 0; got {least} in row {row:,} (the first of all is row 0). "
            "Where it stands for no label, leave these rows out"
        )
    different = sorted(set(whole))
    gapless = different == list(range(len(different)))
    is_named = bool(names) and (max(whole) < len(names) or len(different) != len(names))
    if gapless or is_named or (assumed and max(whole) < MOST_CLASSES):
        return of_labels(np.array(whole, np.int64)[codes], names, where, assumed=assumed)
    ranks = np.searchsorted(different, whole)[codes]
    return of_labels(ranks, names, where) if names else of_coded([str(value) for value in whole], codes, (), where)


def _coded(column: Any, where: object) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the different values of a column, and for each row (N,) which of them it has, -1 for none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):
        raise DataError(f"{where} must have a row for each image; it has none")
    column = column if pa.types.is_dictionary(column.type) else plain(column)
    try:
        chunks = column.dictionary_encode().unify_dictionaries().chunks
    except pa.ArrowNotImplementedError as error:
        raise DataError(f"{where} must hold numbers or texts; got type {str(column.type)[:60]}") from error
    codes = np.concatenate([np.asarray(pc.fill_null(chunk.indices, -1), np.int64) for chunk in chunks])
    used, inverse = np.unique(codes, return_inverse=True)
    if len(used) > MOST_CLASSES + len(MISSING):
        raise DataError(
            f"{where} must hold at most {MOST_CLASSES:,} classes; it has {len(used):,} different values. Where it has "
            "shares of votes, name the columns of all answers, with commas between them"
        )
    found = chunks[0].dictionary.take(pa.array(used[used >= 0])).to_pylist()
    said = [value.strip() if isinstance(value, str) else value for value in found]
    values = list(dict.fromkeys(value for value in said if not _is_missing(value)))
    number = [-1 if _is_missing(value) else values.index(value) for value in said]
    return values, np.array([*([-1] if used[0] < 0 else []), *number], np.int64)[inverse]


def _is_missing(value: Any) -> bool:
    return value is None or str(value).strip() in MISSING


def _whole_numbers(values: Sequence[Any], where: object) -> list[int] | None:
    """Return the values as whole numbers; None where one is no number, or is written as a name is ("007"). Raises
    DataError for numbers that are not whole."""
    said = [str(value) for value in values]
    if all(WHOLE.fullmatch(text) for text in said):
        return [int(text.partition(".")[0]) for text in said]
    if all(NUMBER.fullmatch(text) for text in said) and (
        broken := [text for text in said if not WHOLE.fullmatch(text) and not text.isdecimal()]
    ):
        raise DataError(
            f"{where}: labels must be whole numbers or texts; got {broken[0]}. Where these are shares of votes, name "
            "the columns of all answers, with commas between them"
        )
    return None


def votes_of(table: Any, columns: Sequence[str], where: object) -> Classes:
    """Return classes whose votes are these columns of a pyarrow.Table: counts, or shares in any unit, which become
    shares of 1 in each row (N, C). The label is the class with the most, the first of several.

    Classes are called as the columns, without the words that all of their names begin or end with. Raises DataError
    where a row has a negative number, no number, or nothing but zeros.
    """
    votes: NDArray[np.float32] = np.empty((table.num_rows, len(columns)), np.float32)
    for number, name in enumerate(columns):
        votes[:, number] = numbers(table[name], f"{where}, column {name}")
    return of_votes(votes, class_names_of(columns), where)


def of_votes(votes: NDArray[np.float32], names: Sequence[str], where: object) -> Classes:
    """Return classes with these names (C,), whose votes are counts or shares (N, C); see `votes_of`."""
    with np.errstate(invalid="ignore"):
        total = votes.sum(axis=1)
        bad = np.flatnonzero(~((votes >= 0).all(axis=1) & (total > 0) & np.isfinite(total)))
    if bad.size:
        got = ", ".join(f"{value:g}" for value in votes[bad[0]][:10])
        raise DataError(
            f"{where}: votes must be numbers from 0, and not all 0; {bad.size:,} of {len(votes):,} rows have others, "
            f"the first is row {bad[0]:,} ({got}; the first of all is row 0). Leave these rows out"
        )
    votes = votes / total[:, np.newaxis]
    place = of_labels(np.arange(len(names)), names, where)  # Galaxy10's own classes have other numbers
    found = of_labels(votes.argmax(axis=1).astype(np.int64), names, where)
    known = place.known or tuple(names)
    moved = np.zeros((len(votes), len(known)), np.float32)
    moved[:, place.labels] = votes
    return replace(found, known=known, votes=moved)


def class_names_of(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns without the words that all of them begin or end with; as they are where nothing or a
    mere number would be left of one.

    >>> class_names_of(["smooth-or-featured_smooth_fraction", "smooth-or-featured_featured-or-disk_fraction"])
    ('smooth', 'featured-or-disk')
    """
    words = [re.findall(r"[^_\-.: ]+[_\-.: ]*", name) or [name] for name in columns]
    for end, rest in ((0, slice(1, None)), (-1, slice(-1))):
        while min(map(len, words)) > 1 and len({name[end] for name in words}) == 1:
            words = [name[rest] for name in words]
    short = tuple("".join(name).rstrip("_-.: ") for name in words)
    return tuple(columns) if any(not re.search(r"[^\W\d_]", name) for name in short) else short
