"""Means over seeds and their differences: the seed is the unit, and the images that all seeds share add their variance.

    difference_over_seeds([0.81, 0.79, 0.80], [0.74, 0.77, 0.75], image_variance=2e-5).interval

A setting is scored by S seeds on one test part of N images. Its mean score would be another one with other seeds, and
with other images. The scatter of the seeds says the first, as variance s^2 / S; it says nothing of the second, since
all seeds have the same images. So the variance over images, of the seeds' mean (or of the difference of two such
means), is added. What a seed does to one image and not to the others is in both, so intervals are a little wide where
seeds scatter less than images do.

The scatter of few seeds is hardly known, and Student's t makes up for it: with Welch's degrees of freedom (1947,
Biometrika 34, 28; Satterthwaite 1946, Biometrics Bulletin 2, 110). The variance over thousands of images is known, and
is joined by the squares of the two half widths, t for the seeds and normal for the images (Howe 1974, JASA 69, 789;
Graybill and Wang 1980, JASA 75, 869). One t for both parts, with degrees of freedom that the images have raised, covers
less than it says at two and three seeds, where the two settings scatter differently.

How often all this errs and covers, `benchmarks/bench_verdicts.py` prints: it holds its level, but for three seeds
against five or ten where the three scatter more, which err in 6 to 7 % at a level of 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import Interval, Z

MIN_SEEDS: Final = 3
"""Of each setting, from which on a claim about settings is decided: of two seeds t's quantile is 12.7, and whether they
happen to lie close together decides everything."""
LARGEST_Z: Final = 12.0  # of a p-value of 4e-33; smaller ones are said to be this


@dataclass(frozen=True)
class SeedEstimate:
    """A number over seeds, its interval at 95 %, and the two-sided p-value that it is 0."""

    value: float
    interval: Interval
    p_value: float
    degrees_of_freedom: float
    """Of the seeds' scatter; infinite where they do not scatter."""


@dataclass(frozen=True)
class Spread:
    """A variance of a mean over seeds, and by how many degrees of freedom it is known."""

    variance: float
    degrees_of_freedom: float

    def __mul__(self, factor: float) -> Spread:
        """Return that of the mean times `factor`."""
        return Spread(self.variance * factor**2, self.degrees_of_freedom)


def mean_over_seeds(values: Sequence[float], image_variance: float = 0.0) -> SeedEstimate:
    """Return the mean of `values` (S,), one a seed, with `image_variance`, the variance over images of that mean.

    Raises ValueError for fewer than two seeds, for a value that is not finite, and for a variance below 0.
    """
    return estimate_of(float(np.mean(values)), [spread_of(values)], image_variance)


def difference_over_seeds(first: Sequence[float], second: Sequence[float], image_variance: float = 0.0) -> SeedEstimate:
    """Return the mean of `first` (S1,) minus that of `second` (S2,), whose seeds have nothing to do with each other.

    `image_variance` is the variance over images of the difference of the two means. Raises as `mean_over_seeds`.
    """
    spreads = [spread_of(first), spread_of(second)]
    return estimate_of(float(np.mean(first) - np.mean(second)), spreads, image_variance)


def paired_over_seeds(first: Sequence[float], second: Sequence[float], image_variance: float = 0.0) -> SeedEstimate:
    """Return the mean of `first` minus `second` (S,), seed by seed: both in the same order of the same seeds.

    Raises as `mean_over_seeds`, and for two lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"seeds are paired one with one; got {len(first)} and {len(second)}")
    return mean_over_seeds(list(np.subtract(first, second)), image_variance)


def spread_of(values: Sequence[float]) -> Spread:
    """Return how far the mean of `values` (S,) spreads. Raises as `mean_over_seeds`."""
    numbers = _checked(values)
    return Spread(float(numbers.var(ddof=1)) / len(numbers), len(numbers) - 1)


def estimate_of(value: float, spreads: Sequence[Spread], image_variance: float = 0.0) -> SeedEstimate:
    """Return `value`, a sum of means over seeds of which each has its spread, with its interval and p-value.

    Without spreads it is of networks as they are, and only their images vary. Where neither seeds nor images vary the
    interval is the value alone, and the p-value 1 or 0: nothing random is left.
    """
    if not (math.isfinite(image_variance) and image_variance >= 0):
        raise ValueError(f"a variance over images is a number of at least 0; got {image_variance}")
    seeds = Spread(sum(spread.variance for spread in spreads), _joint_degrees(spreads))
    half = _half_width(seeds, image_variance, Z)
    p_value = _p_value(abs(value), seeds, image_variance)
    return SeedEstimate(value, Interval(value - half, value + half), p_value, seeds.degrees_of_freedom)


def critical_ratio(spreads: Sequence[Spread], image_variance: float = 0.0) -> float:
    """Return how many standard errors a sum of means must be from 0 for a p-value below the level."""
    found = estimate_of(0.0, spreads, image_variance)
    error = math.sqrt(sum(spread.variance for spread in spreads) + image_variance)
    return found.interval.high / error if error else 0.0


def _joint_degrees(spreads: Sequence[Spread]) -> float:
    """Return Satterthwaite's: the square of the sum over the sum of squares, each by its degrees of freedom; at most
    what as many settings have, each of as few seeds as the one of the fewest. Without that limit three seeds are told
    from ten of equal mean and scatter too often."""
    total = sum(spread.variance for spread in spreads)
    squares = sum((spread.variance / total) ** 2 / spread.degrees_of_freedom for spread in spreads if total)
    limit = len(spreads) * min((spread.degrees_of_freedom for spread in spreads), default=math.inf)
    return min(1 / squares, limit) if squares else math.inf


def _half_width(seeds: Spread, image_variance: float, z: float) -> float:
    """Return half the width of the interval that a normal number leaves beyond `z` on each side as often as this leaves
    the truth."""
    from scipy.special import ndtr, stdtrit  # half a second that `--help` need not wait for

    of_seeds = (
        -float(stdtrit(seeds.degrees_of_freedom, ndtr(-z))) * math.sqrt(seeds.variance) if seeds.variance else 0.0
    )
    return math.hypot(of_seeds, z * math.sqrt(image_variance))


def _p_value(size: float, seeds: Spread, image_variance: float) -> float:
    """Return the p-value of the interval that ends at 0."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, stdtr

    if not seeds.variance and not image_variance:
        return 0.0 if size else 1.0
    if not image_variance:
        return float(2 * stdtr(seeds.degrees_of_freedom, -size / math.sqrt(seeds.variance)))
    largest = _half_width(seeds, image_variance, LARGEST_Z)
    z = brentq(lambda z: _half_width(seeds, image_variance, z) - min(size, largest), 0.0, LARGEST_Z)
    return float(2 * ndtr(-z))


def _checked(values: Sequence[float]) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if len(numbers) < 2:
        raise ValueError(f"a scatter over seeds needs two seeds; got {len(numbers)}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"each seed has a finite number; got {[float(number) for number in numbers]}")
    return numbers
