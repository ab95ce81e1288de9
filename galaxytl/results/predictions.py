"""What a trained network says of each image that it is scored on: probabilities/<trial_id>.parquet, beside the rows.

    store_probabilities(out, storage, name_of(spec), Probabilities(rows, labels, values, votes))
    found = read_probabilities(folder, result)            # read_validation: on the validation part

One row an image: `row` of the dataset, true `label`, float32 `p0`, `p1`, ..., one a class, of a trial that was trained
towards votes these as float32 `v0`, `v1`, ... (its labels are the leading classes), and what the dataset's catalogue
knows of the image (`columns_to_keep`): float64, or text. Of a trial that is scored on the test part and has a
validation part, <trial_id>.validation.parquet has what it says of that one: what is fitted or chosen after the
training, like a temperature or an ensemble, must not see the test part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.results.ranking import validation_accuracy
from galaxytl.results.storage import PATIENCE, Storage, with_retries
from galaxytl.system.files import FULL, write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.system.inside import OutsideError, inside
from galaxytl.system.parquet_layout import SMALL_PAGE, UNREADABLE, check_layout, check_types, first_line, num_rows
from galaxytl.trial import TrialResult, TrialSpec
from galaxytl.trial.reading import MOST_ASKED
from galaxytl.trial.rules import MOST_CLASSES

ENDINGS: Final = {"scored": ".parquet", "validation": ".validation.parquet"}
"""Of the part that a trial is scored on, and of the validation part where that is another one."""
CATALOGUE_COLUMNS: Final = ("id", "ra", "dec", "redshift")
"""Of a dataset, kept where any image has a value: ra and dec in degrees."""
MOST_COLUMNS: Final = 2 + 2 * MOST_CLASSES + len(CATALOGUE_COLUMNS) + MOST_ASKED
"""Row, label, a probability and a vote a class, and what is kept of the catalogue."""
MOST_NUMBERS: Final = 2**28
"""That are read of a file: a gigabyte, as float32."""
MOST_IMAGES: Final = 1_000_000
"""That are read where a row does not say how many it was scored on."""
SUM_TOLERANCE: Final = 1e-3
"""By which an image's probabilities may miss 1: they are stored as float32."""
LARGEST_CHANGE: Final = 0.05
"""Of accuracy, between the last epoch's watch over the validation part and what is stored of it: another batch size
rounds otherwise. One image is always let pass."""


class PredictionsError(ValueError):
    """A trial's probabilities are not there, or are not what its row says; the message says which."""


class NotStoredError(PredictionsError):
    """There is no file of a trial's validation part: versions that stored none have trained it."""


class ResultsFull(OSError):
    """There is no room in the results folder, which is no trial's fault: the next would end like this one."""


@dataclass(frozen=True, eq=False)
class Probabilities:
    """What a trial says of each class of each image of one part, ordered by `rows`."""

    rows: NDArray[np.int64]
    """(N,) of the dataset."""
    labels: NDArray[np.int64]
    """(N,) true classes."""
    values: NDArray[np.floating]
    """(N, C), float32 where they are read."""
    votes: NDArray[np.float32] | None = None
    """(N, C) fractions, where the trial was trained towards votes."""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """(N,) each, of the dataset's catalogue; none where they are read: `read_descriptions` reads them."""

    @property
    def targets(self) -> NDArray[Any]:
        """What the trial was trained towards: the labels (N,), or the votes (N, C)."""
        return self.labels if self.votes is None else self.votes

    @property
    def losses(self) -> NDArray[np.float64]:
        """(N,) cross-entropies towards the targets, in nats, of which the row's loss is the mean."""
        return cross_entropies(self.values, self.targets)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) most probable classes; of equal ones the first."""
        return self.values.argmax(axis=1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable class is the true one."""
        return self.predicted == self.labels

    def has_images_of(self, other: Probabilities) -> bool:
        """Return whether it is of the same images, which have the same classes."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.labels, other.labels)


def cross_entropies(probabilities: NDArray[np.floating], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return those (N,) of probabilities (N, C), in nats, towards labels (N,) or votes (N, C)."""
    is_soft = targets.ndim == 2
    chosen = probabilities if is_soft else probabilities[np.arange(len(targets)), targets]
    logarithms = np.log(np.maximum(chosen.astype(np.float64), np.finfo(np.float64).tiny))
    return np.asarray(-(targets * logarithms).sum(axis=1) if is_soft else -logarithms)


def names_of(spec: TrialSpec) -> tuple[str, ...]:
    """Return the files of a trial, relative to the results folder, whether they are there or not."""
    return tuple(name_of(spec, part) for part in ENDINGS)


def name_of(spec: TrialSpec, part: str = "scored") -> str:
    """Return the name of a trial's file for one of ENDINGS, relative to the results folder."""
    return f"probabilities/{spec.trial_id}{ENDINGS[part]}"


def columns_to_keep(columns: Mapping[str, NDArray[Any]], asked: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return, of a dataset's columns, those that are stored beside its probabilities: CATALOGUE_COLUMNS of which
    anything is known, and what is `asked` for. One that is called like a column of ours gets data_ before its name."""
    known = [n for n in CATALOGUE_COLUMNS if n in columns and _is_known(columns[n])]
    names = [name for name in dict.fromkeys((*known, *asked)) if name in columns]
    return {f"data_{n}" if re.fullmatch(r"row|label|[pv]\d+", n) else n: columns[n] for n in names}


def _is_known(values: NDArray[Any]) -> bool:
    return bool((values != "").any() if values.dtype.kind in "UO" else not np.isnan(values).all())


def store_probabilities(out: Path, storage: str, name: str, found: Probabilities) -> None:
    """Write the file `name` (`name_of`).

    The file is complete before the trial has a row, so that a row's files are there. Where the disk of the results
    folder `out` is full, and results are kept at a `storage`, straight there; else it raises ResultsFull.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, NDArray[Any]] = {"row": found.rows, "label": found.labels}
    columns |= {f"p{i}": p for i, p in enumerate(found.values.T.astype(np.float32))}
    columns |= {} if found.votes is None else {f"v{i}": v for i, v in enumerate(found.votes.T)}
    columns |= found.columns
    table = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), table)
    content = table.getvalue().to_pybytes()
    try:
        write_atomically(out / name, content)
    except OSError as error:
        if error.errno not in FULL:
            raise
        if not storage:
            trial_id = Path(name).name.partition(".")[0]
            what = f"{error.strerror}: the probabilities of trial {trial_id} could not be written"
            how = "make room, and the same command goes on"
            raise ResultsFull(error.errno, f"{what}; {how}", str(out / name)) from error
        with_retries(lambda: Storage(storage).put(name, content), PATIENCE)


def read_probabilities(folder: Path, result: TrialResult) -> Probabilities:
    """Return those of a COMPLETE trial on the part that it is scored on. Raises PredictionsError, also where they are
    no probabilities, or not of as many images as the row says."""
    found = read_scored(folder, result)
    _check(found, result, result.num_images.get(result.spec.scored_on, 0))
    return found


def read_validation(folder: Path, result: TrialResult) -> Probabilities:
    """Return those of a COMPLETE trial on its validation part, where it is scored on the test part. Raises
    NotStoredError where there are none, as of an earlier version, and PredictionsError."""
    stem = (result.probabilities or name_of(result.spec)).removesuffix(ENDINGS["scored"])
    path = _path(folder, stem + ENDINGS["validation"], result)
    if not path.exists():
        raise NotStoredError(f"the validation probabilities of trial {result.trial_id} are not there ({path})")
    found = _read(path, result, "validation probabilities")
    _check(found, result, result.num_images.get("validation", 0))
    accuracy = validation_accuracy(result)
    if accuracy is not None and abs(accuracy - found.right.mean()) > max(LARGEST_CHANGE, 1.5 / len(found.rows)):
        raise PredictionsError(
            f"the validation probabilities of trial {result.trial_id} give accuracy {found.right.mean():.3f}, "
            f"its last epoch {accuracy:.3f}"
        )
    return found


def read_scored(folder: Path, result: TrialResult) -> Probabilities:
    """Return what `read_probabilities` does, looking at no more than whether their accuracy is the row's."""
    found = _read(_path(folder, result.probabilities or name_of(result.spec), result), result, "probabilities")
    accuracy = result.metrics["accuracy"]
    if round(accuracy * len(found.rows)) != np.count_nonzero(found.right):
        raise PredictionsError(
            f"the probabilities of trial {result.trial_id} give accuracy {found.right.mean():.3f}, "
            f"its row says {accuracy:.3f}"
        )
    return found


@dataclass(frozen=True)
class CatalogueEntry:
    """What the catalogue says of an image: `ra` and `dec` in degrees, NaN where it says nothing."""

    id: str = ""
    ra: float = math.nan
    dec: float = math.nan

    def __str__(self) -> str:
        place = [f"{name} {value:.5f}" for name, value in (("ra", self.ra), ("dec", self.dec)) if math.isfinite(value)]
        position = f"({', '.join(place)})" if place else ""
        return f"{self.id} {position}".strip()


def read_descriptions(folder: Path, result: TrialResult, rows: Iterable[int]) -> dict[int, str]:
    """Return what the catalogue calls these images of the scored part, by row: "J0012 (ra 3.1, dec -0.25)"; without
    those of which it says nothing, as the files of earlier versions do. Raises PredictionsError."""
    return {row: str(entry) for row, entry in read_catalogue(folder, result, rows).items()}


def read_catalogue(folder: Path, result: TrialResult, rows: Iterable[int]) -> dict[int, CatalogueEntry]:
    """Return `read_descriptions` field by field."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    path = _path(folder, result.probabilities or name_of(result.spec), result)
    types = {"row": kinds.is_integer, "id": _is_dictionary, "ra": kinds.is_floating, "dec": kinds.is_floating}
    try:
        # A dictionary, as one long text in a file may stand for those of all rows.
        texts = {"id"} & set(pq.read_schema(path).names)
        with pa.OSFile(str(path)) as raw, pq.ParquetFile(raw, read_dictionary=list(texts)) as file:
            names = [name for name in types if name in file.schema_arrow.names]
            if num_rows(file) > (sum(result.num_images.values()) or MOST_IMAGES):
                raise ValueError(f"it has {num_rows(file):,} rows")
            check_types(file.schema_arrow, {name: types[name] for name in names})
            check_layout(file, raw, names, SMALL_PAGE)
            table = file.read(columns=names)
            chosen = np.flatnonzero(np.isin(table.column("row").to_numpy(), list(rows)))
            found = {one["row"]: _entry(one) for one in table.take(chosen).to_pylist()}
    except UNREADABLE as error:
        what = f"what the catalogue says of the images of trial {result.trial_id}"
        raise PredictionsError(f"{what} cannot be read: {first_line(error)}") from error
    return {row: entry for row, entry in found.items() if str(entry)}


def _is_dictionary(kind: Any) -> bool:
    import pyarrow.types as kinds

    return kinds.is_dictionary(kind) and kinds.is_string(kind.value_type)


def _entry(image: Mapping[str, Any]) -> CatalogueEntry:
    """Return what is said of an image; of 0 degrees too."""
    places = ((math.nan if image.get(name) is None else float(image[name])) for name in ("ra", "dec"))
    return CatalogueEntry(visible(str(image.get("id") or "")[:60]), *places)


def _path(folder: Path, name: str, result: TrialResult) -> Path:
    try:
        return inside(folder, name)
    except OutsideError as error:
        raise PredictionsError(f"the probabilities of trial {result.trial_id} cannot be read: {error}") from error


def _check(found: Probabilities, result: TrialResult, num_images: int) -> None:
    """Raise PredictionsError unless they are probabilities of `num_images` different images; 0: of any number."""
    what = f"the probabilities of trial {result.trial_id}"
    if num_images and len(found.rows) != num_images:
        raise PredictionsError(f"{what} are of {len(found.rows):,} images, its row speaks of {num_images:,}")
    if (np.diff(found.rows) == 0).any():
        raise PredictionsError(f"{what} name an image twice")
    for name, values in (("probabilities", found.values), ("votes", found.votes)):
        if values is not None and (wrong := ~_are_shares(values)).any():
            raise PredictionsError(
                f"the {name} of trial {result.trial_id} must be from 0 to 1 and sum to 1; "
                f"{wrong.sum():,} images' are not"
            )


def _are_shares(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return of each image (N, C) whether its numbers are none below 0, and sum to 1; NaN does not."""
    totals = values.sum(axis=1, dtype=np.float64)
    return np.asarray((np.abs(totals - 1) <= SUM_TOLERANCE) & (values >= 0).all(axis=1))


def _read(path: Path, result: TrialResult, what: str) -> Probabilities:
    trial_id, num_images = result.trial_id, sum(result.num_images.values())
    if not path.is_file():
        raise PredictionsError(f"the {what} of trial {trial_id} are not there ({path})")
    try:
        table = _table(path, num_images, "pv" if result.spec.targets == "votes" else "p")
        rows, labels = (table.column(name).to_numpy().astype(np.int64) for name in ("row", "label"))
        probabilities, votes = (_stacked(table, letter) for letter in "pv")
        if not len(rows):
            raise ValueError("they are of no image")
        num_classes = probabilities.shape[1]
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(f"labels must be 0 to {num_classes - 1}; got {labels.min()} to {labels.max()}")
        if result.spec.targets == "votes" and votes.shape != probabilities.shape:
            raise ValueError(f"there must be votes of each of {num_classes} classes; got {votes.shape[1]}")
    except UNREADABLE as error:
        raise PredictionsError(f"the {what} of trial {trial_id} cannot be read: {first_line(error)}") from error
    order = np.argsort(rows)
    of_votes = votes[order] if votes.shape[1] else None
    return Probabilities(rows[order], labels[order], probabilities[order], of_votes)


def _stacked(table: Any, letter: str) -> NDArray[Any]:
    """Return the columns of a letter, in the order of their classes: (N, C), or (N, 0) where there are none."""
    names = sorted((name for name in table.column_names if re.fullmatch(rf"{letter}\d+", name)), key=_number)
    return np.stack([table.column(name).to_numpy() for name in names], axis=1) if names else np.empty((len(table), 0))


def _number(name: str) -> int:
    return int(name[1:])


def _table(path: Path, num_images: int, letters: str) -> Any:
    """Read row, label, and the columns of these letters, of a trial's probabilities; looked at before they are read,
    whatever they are said to be.

    num_images: that its row speaks of; 0 where that is not known. Raises ValueError."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # only a search with two trials needs it
    import pyarrow.types as kinds

    with pa.OSFile(str(path)) as raw, pq.ParquetFile(raw) as file:
        schema, count = file.schema_arrow, num_rows(file)
        numbers = [name for name in schema.names if re.fullmatch(rf"[{letters}]\d+", name)]
        names, most = ["row", "label", *numbers], num_images or MOST_IMAGES
        if len(schema.names) > MOST_COLUMNS or count > most or count * len(names) > MOST_NUMBERS:
            rule = f"there may be {most:,} rows, and {MOST_NUMBERS:,} numbers"
            raise ValueError(f"{rule}; got {count:,} of {len(schema.names):,} columns")
        check_types(
            schema, {"row": kinds.is_integer, "label": kinds.is_integer} | dict.fromkeys(numbers, kinds.is_floating)
        )
        check_layout(file, raw, names, SMALL_PAGE)
        table = file.read(columns=names)
    if any(column.null_count for column in table.columns):
        raise ValueError("every image must have all of its numbers")
    return table
