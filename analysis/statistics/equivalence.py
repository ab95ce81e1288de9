"""Whether a difference is too small to matter, which is more than that none was found.

    equivalence_over_seeds([0.80, 0.81, 0.80], [0.80, 0.80, 0.81], image_variance=2e-6).p_value
    seeds_needed((0.02, 0.02), image_variance=2e-5)      # that tell a difference of MARGIN from none

Two one-sided tests (TOST; Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15, 657), each at the level: that
the difference is not as low as -margin, and not as high as +margin. They reject where the interval at 90 % lies within.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analysis.statistics.seeds import MIN_SEEDS, Spread, critical_ratio, estimate_of, spread_of

MARGIN: Final = 0.02
"""The smallest difference of interest, of accuracies and other shares of images: two images in a hundred. It is our
choice: about the scatter from seed to seed of such networks (0.01 to 0.05), below each difference that the paper's text
draws a conclusion from, and what one retraining may move anyway, so that nobody would choose a network for less."""
POWER: Final = 0.8
MOST_SEEDS: Final = 100
"""More are not asked for."""
MANY: Final = 1e4  # degrees of freedom of a t that is normal


@dataclass(frozen=True)
class Equivalence:
    """`p_value` that a difference is as large as `margin`, on either side."""

    margin: float
    p_value: float


def equivalence_over_seeds(
    first: Sequence[float], second: Sequence[float], image_variance: float = 0.0, margin: float = MARGIN
) -> Equivalence:
    """Return whether the means of `first` (S1,) and `second` (S2,) over seeds are equal but for less than `margin`.

    `image_variance` is the variance over images of their difference. Raises ValueError as `difference_over_seeds`, and
    for a margin that is not above 0.
    """
    value = sum(first) / max(1, len(first)) - sum(second) / max(1, len(second))
    return equivalence_of(value, [spread_of(first), spread_of(second)], image_variance, margin)


def equivalence_of(
    value: float, spreads: Sequence[Spread], image_variance: float, margin: float = MARGIN
) -> Equivalence:
    """Return that of a sum of means over seeds, each with its spread; the larger of two one-sided p-values."""
    if not margin > 0:
        raise ValueError(f"a smallest difference of interest is above 0; got {margin}")
    to_the_margin = margin - abs(value)
    half = estimate_of(to_the_margin, spreads, image_variance).p_value / 2
    return Equivalence(margin, half if to_the_margin > 0 else 1 - half)


def seeds_needed(scatters: Sequence[float], image_variance: float = 0.0, margin: float = MARGIN) -> int | None:
    """Return the fewest seeds of each setting that tell a difference of `margin` from none, in 0.8 of cases.

    `scatters` are the settings' standard deviations from seed to seed. None where MOST_SEEDS would not do, as where the
    images vary too much. The power is the noncentral t's (Owen 1968, Technometrics 10, 445), with degrees of freedom
    that the images, whose variance is known, raise. It rises with the seeds, so that halving finds the fewest.
    """
    numbers = range(MIN_SEEDS, MOST_SEEDS + 1)
    index = bisect.bisect_left(numbers, POWER, key=lambda seeds: _power(seeds, scatters, image_variance, margin))
    return numbers[index] if index < len(numbers) else None


def _power(seeds: int, scatters: Sequence[float], image_variance: float, margin: float) -> float:
    from scipy.special import nctdtr

    spreads = [Spread(scatter**2 / seeds, seeds - 1) for scatter in scatters]
    variance = sum(spread.variance for spread in spreads) + image_variance
    if not variance:
        return 1.0
    squares = sum((spread.variance / variance) ** 2 / spread.degrees_of_freedom for spread in spreads)
    degrees = min(1 / squares, MANY) if squares else MANY
    return float(1 - nctdtr(degrees, margin / math.sqrt(variance), critical_ratio(spreads, image_variance)))
