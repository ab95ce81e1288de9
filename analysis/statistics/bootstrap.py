"""Percentile bootstrap of scores over images.

    draws = draws_of(5321)                              # the same resampled images for all that is compared
    on = draws.scores(labels, predicted, num_classes=10)      # of one trial: a Replicates of accuracy, and one of F1
    (on.f1 - off.f1).interval                           # of these two networks
    (mean_of(ons) - mean_of(offs)).variance             # over images, for `seeds`

Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. Trials that are compared are resampled with the
same images, so that what is difficult for both stays so in their difference. How much seeds differ is not resampled: of
two or three there is too little to draw from (`seeds` has Student's t for them).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import CONFIDENCE, Interval

NUM_RESAMPLES: Final = 2000
SEED: Final = 0
"""Of all resampling, so that a report comes out the same again."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Replicates:
    """A number as it was found, and as each resample (B,) has it."""

    value: float
    resampled: Floats

    def __add__(self, other: Replicates) -> Replicates:
        return Replicates(self.value + other.value, self.resampled + other.resampled)

    def __sub__(self, other: Replicates) -> Replicates:
        return Replicates(self.value - other.value, self.resampled - other.resampled)

    def __mul__(self, number: float) -> Replicates:
        return Replicates(self.value * number, self.resampled * number)

    def __truediv__(self, number: float) -> Replicates:
        return Replicates(self.value / number, self.resampled / number)

    @property
    def variance(self) -> float:
        """Over images."""
        return float(self.resampled.var(ddof=1))

    @property
    def interval(self) -> Interval:
        """From percentile to percentile of the resamples."""
        tail = 100 * (1 - CONFIDENCE) / 2
        low, high = np.percentile(self.resampled, (tail, 100 - tail))
        return Interval(float(low), float(high))

    @property
    def p_value(self) -> float:
        """Two-sided, that the number is 0: twice the share of resamples beyond 0. It agrees with the interval; 1 is
        added above and below (Davison and Hinkley 1997, section 4.2), so that it is never 0."""
        number = len(self.resampled)
        below, above = np.count_nonzero(self.resampled <= 0), np.count_nonzero(self.resampled >= 0)
        return min(1.0, 2 * (1 + int(min(below, above))) / (number + 1))


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one trial."""

    accuracy: Replicates
    f1: Replicates
    """Weighted by class size; a class that is never predicted counts as 0, as in `galaxytl.learning.metrics`."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Resamples of N images: `weights` (B, N) says how often each image is in each."""

    weights: NDArray[np.float32]

    @classmethod
    def of(cls, num_images: int, num_resamples: int = NUM_RESAMPLES, seed: int = SEED) -> Draws:
        """Draw N numbers of N with replacement, B times. Counted in float32, which is exact up to 2**24 images."""
        rng = np.random.default_rng(seed)
        weights = np.empty((num_resamples, num_images), np.float32)
        for row in weights:
            row[:] = np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
        return cls(weights)

    def means(self, values: NDArray[np.floating] | NDArray[np.bool_]) -> Replicates:
        """Return the mean of values (N,) over images."""
        sums = self.weights @ values.astype(np.float32)
        return Replicates(float(np.mean(values)), sums.astype(np.float64) / len(values))

    def scores(self, labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> Scores:
        """Score `predicted` (N,) against `labels` (N,).

        Both scores need only the confusion matrix, and of that only pairs of classes that occur: one product of the
        weights (B, N) with a 0/1 matrix (N, pairs) gives it for all resamples.
        """
        pairs, which = np.unique(labels * num_classes + predicted, return_inverse=True)
        members = np.zeros((len(labels), len(pairs)), np.float32)
        members[np.arange(len(labels)), which] = 1
        counted = np.zeros((len(self.weights) + 1, num_classes**2))
        counted[0, pairs] = members.sum(axis=0)
        counted[1:, pairs] = self.weights @ members
        accuracy, f1 = _scores_of(counted.reshape(-1, num_classes, num_classes))
        return Scores(*(Replicates(float(score[0]), score[1:]) for score in (accuracy, f1)))


@functools.lru_cache(maxsize=2)
def draws_of(num_images: int) -> Draws:
    """Return draws of NUM_RESAMPLES, which are cached: all trials of a report mostly have one test part. 43 MB for
    5,321 images."""
    return Draws.of(num_images)


def _scores_of(confusions: Floats) -> tuple[Floats, Floats]:
    """Return the accuracies and weighted F1 (B,) of confusion matrices (B, C, C), rows true."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    true, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    both = true + predicted
    f1 = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    total = true.sum(axis=1)
    return right.sum(axis=1) / total, (true * f1).sum(axis=1) / total


def mean_of(seeds: Sequence[Replicates]) -> Replicates:
    """Return the mean over seeds, of one seed or more, all resampled with the same images.

    The seeds are as they are: its variance is over images alone, and does not say how much another seed would differ.
    """
    return functools.reduce(operator.add, seeds) / len(seeds)
