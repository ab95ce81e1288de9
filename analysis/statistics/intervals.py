"""How sure a share of images is: intervals of one share and of the difference of two, and a test that they differ.

    Share(40, 63).interval                       # Interval(low=0.511, high=0.743)
    pairs = Pairs.of(first_right, second_right)  # of two classifiers on the same images
    pairs.interval, mcnemar(pairs)

Nothing here is random: no bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
Z: Final = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class Interval:
    """Both ends, which belong to it."""

    low: float
    high: float

    def within(self, low: float, high: float) -> Interval:
        """Return what of it lies from `low` to `high`, beyond which the number cannot lie."""
        return Interval(max(self.low, low), min(self.high, high))

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"


@dataclass(frozen=True)
class Share:
    """`right` of `total` images, of which there is at least one. Raises ValueError."""

    right: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.total or self.total < 1:
            raise ValueError(f"a share is of at least one image; got {self.right} of {self.total}")

    def __str__(self) -> str:
        return f"{self.right} of {self.total}"

    @property
    def value(self) -> float:
        return self.right / self.total

    @property
    def variance(self) -> float:
        """Over images, from the interval: above 0 where all or none are right."""
        return ((self.interval.high - self.interval.low) / (2 * Z)) ** 2

    @property
    def text(self) -> str:
        """The value with its interval, as in "0.600 [0.400 to 0.800]"."""
        return f"{self.value:.3f} [{self.interval}]"

    @property
    def interval(self) -> Interval:
        """The score interval of Wilson 1927 (JASA 22, 209): all shares that a score test does not reject.

        Unlike the textbook's value +- z * error it stays within 0 and 1, and with few images and near 0 and 1 it is
        near its coverage too: on the average over shares. Next to 0 and 1 there are shares that it covers with 0.83
        only, however many the images (Brown, Cai and DasGupta 2001, Statistical Science 16, 101); of one image with
        0.79, of two with 0.82. What must hold a level at every share is tested exactly instead
        (`analysis.statistics.rates`).
        """
        n, square = self.total, Z * Z
        centre = (self.right + square / 2) / (n + square)
        half = Z * math.sqrt(self.right * (n - self.right) / n + square / 4) / (n + square)
        low = centre - half if self.right else 0.0  # what rounding leaves of it would shut out a share of 0
        high = centre + half if self.right < n else 1.0
        return Interval(low, high).within(0.0, 1.0)


@dataclass(frozen=True)
class Pairs:
    """Images by which of two classifiers has them right: the paired 2 x 2 table."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @classmethod
    def of(cls, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Pairs:
        """Count `first` (N,) and `second` (N,): whether each has the image right, in the same order."""
        counts = (first & second, first & ~second, ~first & second, ~first & ~second)
        return cls(*(int(np.count_nonzero(found)) for found in counts))

    @property
    def total(self) -> int:
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def first(self) -> Share:
        return Share(self.both + self.first_only, self.total)

    @property
    def second(self) -> Share:
        return Share(self.both + self.second_only, self.total)

    @property
    def interval(self) -> Interval:
        """Of first - second: method 10 of Newcombe 1998 (Statistics in Medicine 17, 2635), for paired shares."""
        return _square_and_add(self.first, self.second, self._correlation)

    @property
    def _correlation(self) -> float:
        """Newcombe's phi: where it is positive, its numerator is taken half the number of images nearer to 0."""
        margins = (self.first.right, self.second.right)
        product = math.prod(margins) * math.prod(self.total - margin for margin in margins)
        if not product:
            return 0.0
        numerator = self.both * self.neither - self.first_only * self.second_only
        if numerator > 0:
            return max(0.0, numerator - self.total / 2) / math.sqrt(product)
        return numerator / math.sqrt(product)


def difference(first: Share, second: Share) -> Interval:
    """Return the interval of first - second for shares of different images: method 10 of Newcombe 1998 (Statistics in
    Medicine 17, 873).

    For shares of the same images it is too wide where the classifiers mostly have the same ones right. On the average
    over both shares it covers 0.945 of one trial each and 0.95 or more of several; next to 0 and 1 there are shares
    that it covers with 0.79 of one trial, with 0.83 of three and 0.86 of ten.
    """
    return _square_and_add(first, second, 0.0)


def _square_and_add(first: Share, second: Share, correlation: float) -> Interval:
    """Join the distances from the shares to the ends of their Wilson intervals as one joins errors."""
    own, other = first.interval, second.interval

    def joined(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))

    middle = first.value - second.value
    low = middle - joined(first.value - own.low, other.high - second.value)
    high = middle + joined(own.high - first.value, second.value - other.low)
    return Interval(low, high).within(-1.0, 1.0)


def binomial_variance(share: float, num_images: int) -> float:
    """Return the variance of a share of so many images; 0 where their number is not known."""
    return share * (1 - share) / num_images if num_images else 0.0


def mcnemar(pairs: Pairs) -> float:
    """Return the two-sided exact p-value of McNemar's test (1947, Psychometrika 12, 153) that both are right equally
    often.

    Only images that one of them has right say anything: were the two equally good, each would be as likely the one.
    """
    from scipy.stats import binomtest  # half a second that `--help` need not wait for

    decided = pairs.first_only + pairs.second_only
    return float(binomtest(pairs.first_only, decided, 0.5).pvalue) if decided else 1.0


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values (1979, Scand. J. Stat. 6, 65), in the order given: each is compared with the
    level that the whole family is to keep, whatever the tests have to do with one another.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return tuple(adjusted)
