"""Scores of a confusion matrix that count every class alike, with their intervals: recalls, balanced accuracy, MCC.

    recalls(confusion)[4].interval      # of the fifth class; None where it has no images
    balanced_accuracy(confusion)        # the mean of the recalls, with its interval over images
    matthews(confusion)                 # 0 at chance level, 1 where all is right

A confusion matrix (C, C) holds counts, true classes in rows and predicted ones in columns. It knows nothing of which
image is which, and that is enough: each of its N images falls into one of C x C places. The intervals are normal ones
of counts to which some are added (after Agresti and Coull 1998, Am. Stat. 52, 119). Percentiles of resampled images
cover 0.91 to 0.94 instead of 0.95 where a class has few of them, and have no width where all are right; these cover
0.935 and more with 60, 300 and 5,321 images of 3 or 10 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import Interval, Share, Z

Floats = NDArray[np.float64]
Counts = Sequence[Sequence[int]] | NDArray[np.int64]
SMALLEST: Final = 1e-12
"""Of a spread of classes: what rounding leaves of 0 is less."""


@dataclass(frozen=True)
class ClassScore:
    """`interval` of 95 % and `variance` are over images."""

    value: float
    interval: Interval
    variance: float


def recalls(confusion: Counts) -> tuple[Share | None, ...]:
    """Return the share of each class's images that are named right, with Wilson's interval; None for a class without
    images, of which there is nothing to recall."""
    counts = np.asarray(confusion, np.int64)
    pairs = zip(np.diagonal(counts).tolist(), counts.sum(axis=1).tolist(), strict=True)
    return tuple(Share(right, total) if total else None for right, total in pairs)


def balanced_accuracy(confusion: Counts) -> ClassScore:
    """Return the mean recall of the classes that have images: 1 / (number of them) for a network that always names one
    of them, however common that one is. As scikit-learn's `balanced_accuracy_score`.

    For the variance each class has one image more that is named right and one that is not.
    """
    counts = np.asarray(confusion, np.float64)
    right, total = (part[counts.sum(axis=1) > 0] for part in (np.diagonal(counts), counts.sum(axis=1)))
    shares = (right + 1) / (total + 2)
    value, variance = float((right / total).mean()), float((shares * (1 - shares) / total).sum()) / len(total) ** 2
    return ClassScore(value, _around(value, variance, 0.0), variance)


def matthews(confusion: Counts) -> ClassScore:
    """Return the correlation of the true with the predicted classes: Matthews 1975 (Biochim. Biophys. Acta 405, 442)
    for any number of classes (Gorodkin 2004, Comput. Biol. Chem. 28, 367), as scikit-learn's `matthews_corrcoef`.

    It is 0 where it is undefined: where all images are of one class, or all predictions. The interval is around that of
    the counts with Z^2 images more, half of them right and half of any other class.
    """
    counts = np.asarray(confusion, np.float64)
    size = len(counts)
    value, _ = _correlation(counts)
    if size < 2:
        return ClassScore(value, Interval(value, value), 0.0)
    added = np.where(np.eye(size, dtype=bool), 0.5, 0.5 / (size - 1))
    centre, variance = _correlation(counts + Z**2 * added * counts.sum(axis=1, keepdims=True) / counts.sum())
    return ClassScore(value, _around(centre, variance, -1.0), variance)


def _around(centre: float, variance: float, least: float) -> Interval:
    half = Z * variance**0.5
    return Interval(max(least, centre - half), min(1.0, centre + half))


def _correlation(counts: Floats) -> tuple[float, float]:
    """Return Matthews' correlation of counts (C, C), and its variance by the delta method: of the multinomial shares q
    the variance of the gradient, sum(q g^2) - sum(q g)^2, over N. Both 0 where it is undefined."""
    shares = counts / counts.sum()
    true, predicted = shares.sum(axis=1), shares.sum(axis=0)
    of_true, of_predicted = 1 - (true**2).sum(), 1 - (predicted**2).sum()
    if min(of_true, of_predicted) < SMALLEST:
        return 0.0, 0.0
    value = (np.trace(shares) - true @ predicted) / np.sqrt(of_true * of_predicted)
    slopes = (np.eye(len(counts)) - predicted[:, None] - true) / np.sqrt(of_true * of_predicted)
    slopes += value * (true[:, None] / of_true + predicted / of_predicted)
    variance = ((shares * slopes**2).sum() - (shares * slopes).sum() ** 2) / counts.sum()
    return float(value), max(0.0, float(variance))
