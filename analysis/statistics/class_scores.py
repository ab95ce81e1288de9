"""Scores of a confusion matrix that count every class alike, with their intervals: recalls, balanced accuracy, MCC.

    recalls(confusion)[4].interval          # of the fifth class; None where it has no images
    balanced_accuracy(confusion)            # the mean of the recalls
    matthews(confusion)                     # 0 at chance level, 1 where all is right
    resampled(confusion).balanced.interval  # over images

A confusion matrix (C, C) holds counts, true classes in rows and predicted ones in columns. It knows nothing of which
image is which, and that is enough: each of its N images falls into one of C x C places, so that a resample of images is
a multinomial draw of N from its shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.bootstrap import NUM_RESAMPLES, SEED, Replicates
from analysis.statistics.intervals import Share, Z

Floats = NDArray[np.float64]
Counts = Sequence[Sequence[int]] | NDArray[np.int64]
HELD_CELLS: Final = 4_000_000
"""Numbers that resamples hold at a time: 2000 of 40 x 40 classes."""
MOST_CELLS, FEWEST_RESAMPLES = 40_000_000, 200
"""Numbers in all resamples together, unless these then were too few: of more than 140 classes there are fewer."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Balanced accuracy and Matthews' correlation, each with its resamples over images."""

    balanced: Replicates
    matthews: Replicates


def recalls(confusion: Counts) -> tuple[Share | None, ...]:
    """Return the share of each class's images that are named right, with Wilson's interval; None for a class without
    images, of which there is nothing to recall."""
    counts = np.asarray(confusion, np.int64)
    pairs = zip(np.diagonal(counts).tolist(), counts.sum(axis=1).tolist(), strict=True)
    return tuple(Share(right, total) if total else None for right, total in pairs)


def balanced_accuracy(confusion: Counts) -> float:
    """Return the mean recall of the classes that have images: 1 / (number of them) for a network that always names one
    of them, however common that one is. As scikit-learn's `balanced_accuracy_score`."""
    return float(_balanced(np.asarray(confusion, np.float64)[None])[0])


def matthews(confusion: Counts) -> float:
    """Return the correlation of the true with the predicted classes: Matthews 1975 (Biochim. Biophys. Acta 405, 442)
    for any number of classes (Gorodkin 2004, Comput. Biol. Chem. 28, 367), as scikit-learn's `matthews_corrcoef`.

    It is 0 where it is undefined: where all images are of one class, or all predictions.
    """
    return float(_matthews(np.asarray(confusion, np.float64)[None])[0])


def resampled(confusion: Counts, num_resamples: int = NUM_RESAMPLES) -> ClassScores:
    """Return both scores with resamples over the N images; the same again for the same matrix.

    A class that a resample has no image of counts nowhere in it.
    """
    counts = np.asarray(confusion, np.int64)
    total, size = int(counts.sum()), counts.size
    rng = np.random.default_rng(SEED)
    num_resamples = min(num_resamples, max(FEWEST_RESAMPLES, MOST_CELLS // size))
    balanced, correlations = [], []
    step = max(1, HELD_CELLS // size)
    for start in range(0, num_resamples, step):
        number = min(step, num_resamples - start)
        drawn = rng.multinomial(total, counts.ravel() / total, size=number).reshape(number, *counts.shape)
        balanced.append(_balanced(drawn))
        correlations.append(_matthews(drawn))
    return ClassScores(
        Replicates(balanced_accuracy(counts), np.concatenate(balanced)),
        Replicates(matthews(counts), np.concatenate(correlations)),
    )


def variance_of(share: Share) -> float:
    """Return the variance over images of a share, from its Wilson interval: above 0 where all or none are right."""
    return ((share.interval.high - share.interval.low) / (2 * Z)) ** 2


def _balanced(confusions: NDArray[np.floating] | NDArray[np.int64]) -> Floats:
    """(B,) of confusion matrices (B, C, C), each of one image or more."""
    right, total = np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(axis=2)
    shares = np.divide(right, total, out=np.zeros(total.shape), where=total > 0)
    return np.asarray(shares.sum(axis=1) / (total > 0).sum(axis=1), np.float64)


def _matthews(confusions: NDArray[np.floating] | NDArray[np.int64]) -> Floats:
    """(B,) of confusion matrices (B, C, C)."""
    counts = confusions.astype(np.float64)
    true, predicted = counts.sum(axis=2), counts.sum(axis=1)
    total, right = true.sum(axis=1), np.trace(counts, axis1=1, axis2=2)
    of_true, of_predicted = (total**2 - (sums**2).sum(axis=1) for sums in (true, predicted))
    both = np.sqrt(of_true * of_predicted)
    return np.divide(right * total - (true * predicted).sum(axis=1), both, out=np.zeros(len(both)), where=both > 0)
