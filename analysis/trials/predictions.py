"""What a trial says of each image: the losses, and the right answers that two trials are compared by.

first, second = read_predictions(folder, best), read_predictions(folder, runner_up)
pairs = paired(first, second)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import Pairs
from galaxytl.results.predictions import PredictionsError, read_scored
from galaxytl.trial import TrialResult


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
    """(N,) cross-entropies in nats, of which the row's loss is the mean: towards the targets, labels or votes."""
    num_classes: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable class is the true one."""
        return self.predicted == self.labels


def read_predictions(folder: Path, result: TrialResult) -> Predictions:
    """Read the predictions of a COMPLETE trial whose row lies in `folder`. Raises PredictionsError."""
    found = read_scored(folder, result)
    return Predictions(found.rows, found.labels, found.predicted, found.losses, found.values.shape[1])


def same_images(first: Predictions, second: Predictions) -> bool:
    return np.array_equal(first.rows, second.rows) and np.array_equal(first.labels, second.labels)


def paired(first: Predictions, second: Predictions) -> Pairs:
    """Pair two trials image by image. Raises PredictionsError where the two are of different images."""
    if not same_images(first, second):
        raise PredictionsError("the probabilities of the two trials are of different images")
    return Pairs.of(first.right, second.right)
