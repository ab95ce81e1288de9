"""Whether one change of a rate hangs on another, exactly, for rates that are 0 or 1 in most samples.

    cells = Cells(Share(5, 5), Share(5, 5), Share(5, 5), Share(0, 5))
    cells.value, interaction(cells)          # -1.0, 0.0005: the first change works with the second alone

Four rates, of two things that are each left or changed. No interaction means that the first change lowers the rate
by as much with the second as without it: it is one of differences of rates, which samples of nothing or all have,
where odds ratios are infinite. The usual tests cannot be had here. Breslow and Day's is of large counts; Zelen's exact
one (1971, Biometrika 58, 129) conditions on margins that, in such samples, leave one table. So the test is
unconditional, as Boschloo's: of all tables that are as extreme as the one found, the largest probability at any rates
without an interaction. Extreme is a large |difference of differences| in units of its standard error, with half a
success and half a failure added to each sample, so that rates of 0 and 1 have one.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import Share

STEPS: Final = 20
"""Of the grid of rates, from 0 to 1, at which probabilities are computed; the largest counts. With four times as many
p-values grow by less than a fiftieth of themselves."""
TOLERANCE: Final = 1e-9
MOST_TABLES: Final = 2_000_000
"""Of more the exact test would take gigabytes, and the normal one is near it."""


@dataclass(frozen=True)
class Cells:
    """How many of each sample: with neither changed, the first alone, the second alone, both."""

    neither: Share
    first: Share
    second: Share
    both: Share

    @property
    def shares(self) -> tuple[Share, Share, Share, Share]:
        return self.neither, self.first, self.second, self.both

    @property
    def alone(self) -> float:
        """By how much the first change lowers the rate, without the second."""
        return self.neither.value - self.first.value

    @property
    def together(self) -> float:
        """By how much it does with the second."""
        return self.second.value - self.both.value

    @property
    def value(self) -> float:
        """The interaction, -2 to 2: above 0, the first change removes less with the second than without it."""
        return self.alone - self.together


def interaction(cells: Cells) -> float:
    """Return the two-sided p-value that there is no interaction: the exact one, or, of samples that have more than
    MOST_TABLES tables, that of the same number of standard errors of a normal one."""
    a, b, c, d = (share.total for share in cells.shares)
    extreme = _extreme(cells)
    if math.prod(total + 1 for total in (a, b, c, d)) > MOST_TABLES:
        return 2 * NormalDist().cdf(-extreme)
    return _p_value(a, b, c, d, round(extreme, 9))


def _extreme(cells: Cells) -> float:
    """Return |difference of differences| in standard errors."""
    rates = [(share.right + 0.5) / (share.total + 1) for share in cells.shares]
    variance = sum(rate * (1 - rate) / share.total for rate, share in zip(rates, cells.shares, strict=True))
    return abs(cells.value) / math.sqrt(variance)


@functools.lru_cache(maxsize=8)
def _extremes(a: int, b: int, c: int, d: int) -> NDArray[np.float64]:
    """Return the same of all tables: (a + 1, b + 1, c + 1, d + 1)."""
    counts = np.meshgrid(*(np.arange(total + 1) for total in (a, b, c, d)), indexing="ij", sparse=True)
    rates = [(count + 0.5) / (total + 1) for count, total in zip(counts, (a, b, c, d), strict=True)]
    variance = sum(rate * (1 - rate) / total for rate, total in zip(rates, (a, b, c, d), strict=True))
    observed = [count / total for count, total in zip(counts, (a, b, c, d), strict=True)]
    return np.asarray(np.abs(observed[0] - observed[1] - observed[2] + observed[3]) / np.sqrt(variance))


@functools.lru_cache(maxsize=1024)
def _p_value(a: int, b: int, c: int, d: int, extreme: float) -> float:
    """Return the largest probability of tables that are at least so extreme, at rates p, q, r and q + r - p."""
    found = (_extremes(a, b, c, d) >= extreme - TOLERANCE).astype(float)
    for total in (a, b, c):  # each turns the first axis, of counts, into the last, of rates
        found = np.tensordot(found, _probabilities(total), axes=(0, 1))
    p, q, r = np.indices((STEPS + 1,) * 3)
    s = q + r - p
    possible = (s >= 0) & (s <= STEPS)
    return float(min(1.0, (found[:, possible] * _probabilities(d)[s[possible]].T).sum(axis=0).max()))


@functools.cache
def _probabilities(total: int) -> NDArray[np.float64]:
    """Return those of each count, at each rate: (STEPS + 1, total + 1)."""
    from scipy.stats import binom  # half a second that `--help` need not wait for

    return np.asarray(binom.pmf(np.arange(total + 1), total, np.linspace(0, 1, STEPS + 1)[:, None]))
