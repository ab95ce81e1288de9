"""What a trial says of each image, from the class probabilities that lie beside its row.

first, second = read_predictions(folder, best), read_predictions(folder, runner_up)
pairs = paired(first, second)
probabilities = read_probabilities(folder, best)      # of all classes; read_validation: on the validation part
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import Pairs
from galaxytl.system.inside import OutsideError, inside
from galaxytl.system.parquet_layout import SMALL_PAGE, UNREADABLE, check_layout, num_rows
from galaxytl.trial import TrialResult

VALIDATION_ENDING = ".validation.parquet"
"""Of the file beside a trial's own, as `galaxytl.results.predictions` names it."""
MOST_COLUMNS = 66
"""Row, label, and a probability a class."""
MOST_IMAGES = 1_000_000
"""That are read where a row does not say how many it was scored on."""
SUM_TOLERANCE = 1e-3
"""By which an image's probabilities may miss 1: they are stored as float32."""
LARGEST_CHANGE = 0.05
"""Of accuracy, between the last epoch's watch over the validation part and what is stored of it: another batch size
rounds otherwise. One image is always let pass."""


class PredictionsError(ValueError):
    """A trial's probabilities are not there, or are not what its row says; the message says which."""


class NotStoredError(PredictionsError):
    """There is no file of a trial's validation part: versions that stored none have trained it."""


@dataclass(frozen=True)
class Predictions:
    """Of one trial on the part that it is scored on, ordered by `rows`."""

    rows: NDArray[np.int64]
    """(N,) of the dataset."""
    labels: NDArray[np.int64]
    """(N,) true classes."""
    predicted: NDArray[np.int64]
    """(N,) most probable classes."""
    losses: NDArray[np.float64]
    """(N,) cross-entropies in nats: of the true class's probability, as `galaxytl.train.metrics` has them."""
    num_classes: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable class is the true one."""
        return self.predicted == self.labels


@dataclass(frozen=True, eq=False)
class Probabilities:
    """What a trial says of each class of each image of one part, ordered by `rows`."""

    rows: NDArray[np.int64]
    """(N,) of the dataset."""
    labels: NDArray[np.int64]
    """(N,) true classes."""
    values: NDArray[np.floating]
    """(N, C), as they are stored: float32 of a sweep's."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) most probable classes; of equal ones the first."""
        return self.values.argmax(axis=1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable class is the true one."""
        return self.predicted == self.labels

    def has_images_of(self, other: Probabilities) -> bool:
        """Whether it is of the same images, which have the same classes."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.labels, other.labels)


def read_predictions(folder: Path, result: TrialResult) -> Predictions:
    """Of a COMPLETE trial whose row lies in `folder`. Raises PredictionsError."""
    found = _scored(folder, result)
    true = np.take_along_axis(found.values, found.labels[:, None], axis=1)[:, 0].astype(np.float64)
    losses = -np.log(np.maximum(true, np.finfo(np.float64).tiny))
    return Predictions(found.rows, found.labels, found.predicted, losses, found.values.shape[1])


def read_probabilities(folder: Path, result: TrialResult) -> Probabilities:
    """Return those of a COMPLETE trial on the part that it is scored on. Raises PredictionsError, also where they are
    no probabilities, or not of as many images as the row says."""
    found = _scored(folder, result)
    _check(found, result, result.num_images.get(result.spec.scored_on, 0))
    return found


def read_validation(folder: Path, result: TrialResult) -> Probabilities:
    """Return those of a COMPLETE trial on its validation part, where it is scored on the test part. Raises
    NotStoredError where there are none, as of an earlier version, and PredictionsError."""
    name = _name(result).removesuffix(".parquet") + VALIDATION_ENDING
    path = _path(folder, name, result)
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


def _scored(folder: Path, result: TrialResult) -> Probabilities:
    found = _read(_path(folder, _name(result), result), result, "probabilities")
    accuracy = result.metrics["accuracy"]
    if round(accuracy * len(found.rows)) != np.count_nonzero(found.right):
        raise PredictionsError(
            f"the probabilities of trial {result.trial_id} give accuracy {found.right.mean():.3f}, "
            f"its row says {accuracy:.3f}"
        )
    return found


def _name(result: TrialResult) -> str:
    return result.probabilities or f"probabilities/{result.trial_id}.parquet"


def _path(folder: Path, name: str, result: TrialResult) -> Path:
    try:
        return inside(folder, name)
    except OutsideError as error:
        raise PredictionsError(f"the probabilities of trial {result.trial_id} cannot be read: {error}") from error


def _check(found: Probabilities, result: TrialResult, num_images: int) -> None:
    """Whether they are probabilities of `num_images` different images; 0: their number is not known."""
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
        raise PredictionsError(f"the {what} of trial {trial_id} cannot be read: {_first_line(error)}") from error
    order = np.argsort(rows)
    return Probabilities(rows[order], labels[order], probabilities[order])


def _table(path: Path, num_images: int) -> Any:
    """The columns of a trial's probabilities; looked at before they are read, whatever they are said to be.

    num_images: that its row speaks of; 0 where that is not known. Raises ValueError."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # only a search with two trials needs it
    import pyarrow.types as kinds

    with pa.OSFile(str(path)) as raw, pq.ParquetFile(raw) as file:
        schema, count = file.schema_arrow, num_rows(file)
        names = ["row", "label", *(name for name in schema.names if re.fullmatch(r"p\d+", name))]
        if len(names) > MOST_COLUMNS or count > (num_images or MOST_IMAGES):
            raise ValueError(f"there may be {num_images or MOST_IMAGES:,} rows; got {count:,} of {len(names)} columns")
        for name in names:
            is_right = kinds.is_floating if name.startswith("p") else kinds.is_integer
            if not is_right(kind := schema.field(name).type):
                raise ValueError(f"column {name} must not be of type {str(kind)[:60]}")
        check_layout(file, raw, names, SMALL_PAGE)
        table = file.read(columns=names)
    if any(column.null_count for column in table.columns):
        raise ValueError("every image must have all of its numbers")
    return table


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]


def same_images(first: Predictions, second: Predictions) -> bool:
    return np.array_equal(first.rows, second.rows) and np.array_equal(first.labels, second.labels)


def paired(first: Predictions, second: Predictions) -> Pairs:
    """Raises PredictionsError where the two are of different images."""
    if not same_images(first, second):
        raise PredictionsError("the probabilities of the two trials are of different images")
    return Pairs.of(first.right, second.right)
