"""What a trial says of each image, from the class probabilities that lie beside its row.

first, second = read_predictions(folder, best), read_predictions(folder, runner_up)
pairs = paired(first, second)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import Pairs
from galaxytl.data.parquet_layout import SMALL_PAGE, UNREADABLE, check_layout, num_rows
from galaxytl.inside import OutsideError, inside
from galaxytl.trial import TrialResult

MOST_COLUMNS = 66
"""Row, label, and a probability a class."""
MOST_IMAGES = 1_000_000
"""That are read where a row does not say how many it was scored on."""


class PredictionsError(ValueError):
    """A trial's probabilities are not there, or are not what its row says; the message says which."""


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
    """(N,) cross-entropies in nats: of the true class's probability, as `galaxytl.metrics` has them."""
    num_classes: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable class is the true one."""
        return self.predicted == self.labels


def read_predictions(folder: Path, result: TrialResult) -> Predictions:
    """Of a COMPLETE trial whose row lies in `folder`. Raises PredictionsError."""
    try:
        path = inside(folder, result.probabilities or f"probabilities/{result.trial_id}.parquet")
    except OutsideError as error:
        raise PredictionsError(f"the probabilities of trial {result.trial_id} cannot be read: {error}") from error
    found = _read(path, result.trial_id, sum(result.num_images.values()))
    accuracy = result.metrics["accuracy"]
    if round(accuracy * len(found.rows)) != np.count_nonzero(found.right):
        raise PredictionsError(
            f"the probabilities of trial {result.trial_id} give accuracy {found.right.mean():.3f}, "
            f"its row says {accuracy:.3f}"
        )
    return found


def _read(path: Path, trial_id: str, num_images: int) -> Predictions:
    if not path.is_file():
        raise PredictionsError(f"the probabilities of trial {trial_id} are not there ({path})")
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
        raise PredictionsError(f"the probabilities of trial {trial_id} cannot be read: {_first_line(error)}") from error
    order = np.argsort(rows)
    true = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0].astype(np.float64)
    losses = -np.log(np.maximum(true, np.finfo(np.float64).tiny))
    return Predictions(rows[order], labels[order], probabilities.argmax(axis=1)[order], losses[order], len(classes))


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
