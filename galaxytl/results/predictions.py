"""What a trained network says of each image that it is scored on: probabilities/<trial_id>.parquet, beside the rows.

    store_probabilities(out, storage, name_of(spec), Probabilities(rows, labels, values))
    found = read_probabilities(folder, result)            # read_validation: on the validation part

One row an image: `row` of the dataset, true `label`, float32 `p0`..`p9`. Of a trial that is scored on the test part and
has a validation part, <trial_id>.validation.parquet has what it says of that one: what is fitted or chosen after the
training, like a temperature or an ensemble, must not see the test part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.results.storage import PATIENCE, Storage, with_retries
from galaxytl.system.files import FULL, write_atomically
from galaxytl.system.inside import OutsideError, inside
from galaxytl.system.parquet_layout import SMALL_PAGE, UNREADABLE, check_layout, check_types, first_line, num_rows
from galaxytl.trial import TrialResult, TrialSpec

ENDINGS: Final = {"scored": ".parquet", "validation": ".validation.parquet"}
"""Of the part that a trial is scored on, and of the validation part where that is another one."""
MOST_COLUMNS: Final = 66
"""Row, label, and a probability a class."""
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


def names_of(spec: TrialSpec) -> tuple[str, ...]:
    """Return the files of a trial, relative to the results folder, whether they are there or not."""
    return tuple(name_of(spec, part) for part in ENDINGS)


def name_of(spec: TrialSpec, part: str = "scored") -> str:
    """Return the name of a trial's file for one of ENDINGS, relative to the results folder."""
    return f"probabilities/{spec.trial_id}{ENDINGS[part]}"


def store_probabilities(out: Path, storage: str, name: str, found: Probabilities) -> None:
    """Write the file `name` (`name_of`).

    The file is complete before the trial has a row, so that a row's files are there. Where the disk of the results
    folder `out` is full, and results are kept at a `storage`, straight there; else it raises ResultsFull.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"row": found.rows, "label": found.labels}
    columns |= {f"p{i}": p for i, p in enumerate(found.values.T.astype(np.float32))}
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


def validation_accuracy(result: TrialResult) -> float | None:
    """Return what the trial had right of its validation part after its last epoch; None where no validation part was
    watched."""
    if result.curves_on != "validation" or not result.history:
        return None
    found = result.history[-1].get("val_accuracy")
    return found if found is not None and 0 <= found <= 1 else None


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
    totals = found.values.sum(axis=1, dtype=np.float64)
    wrong = ~((np.abs(totals - 1) <= SUM_TOLERANCE) & (found.values >= 0).all(axis=1))  # NaN is wrong too
    if wrong.any():
        raise PredictionsError(f"{what} must be from 0 to 1 and sum to 1; {wrong.sum():,} images' are not")


def _read(path: Path, result: TrialResult, what: str) -> Probabilities:
    trial_id, num_images = result.trial_id, sum(result.num_images.values())
    if not path.is_file():
        raise PredictionsError(f"the {what} of trial {trial_id} are not there ({path})")
    try:
        table = _table(path, num_images)
        rows, labels = (table.column(name).to_numpy().astype(np.int64) for name in ("row", "label"))
        classes = [name for name in table.column_names if name.startswith("p")]
        probabilities = np.stack([table.column(name).to_numpy() for name in classes], axis=1)
        if not len(rows):
            raise ValueError("they are of no image")
        if labels.min() < 0 or labels.max() >= len(classes):
            raise ValueError(f"labels must be 0 to {len(classes) - 1}; got {labels.min()} to {labels.max()}")
    except UNREADABLE as error:
        raise PredictionsError(f"the {what} of trial {trial_id} cannot be read: {first_line(error)}") from error
    order = np.argsort(rows)
    return Probabilities(rows[order], labels[order], probabilities[order])


def _table(path: Path, num_images: int) -> Any:
    """Read the columns of a trial's probabilities; looked at before they are read, whatever they are said to be.

    num_images: that its row speaks of; 0 where that is not known. Raises ValueError."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # only a search with two trials needs it
    import pyarrow.types as kinds

    with pa.OSFile(str(path)) as raw, pq.ParquetFile(raw) as file:
        schema, count = file.schema_arrow, num_rows(file)
        names = ["row", "label", *(name for name in schema.names if re.fullmatch(r"p\d+", name))]
        if len(names) > MOST_COLUMNS or count > (num_images or MOST_IMAGES):
            raise ValueError(f"there may be {num_images or MOST_IMAGES:,} rows; got {count:,} of {len(names)} columns")
        check_types(schema, {n: kinds.is_floating if n.startswith("p") else kinds.is_integer for n in names})
        check_layout(file, raw, names, SMALL_PAGE)
        table = file.read(columns=names)
    if any(column.null_count for column in table.columns):
        raise ValueError("every image must have all of its numbers")
    return table
