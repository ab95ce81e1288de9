"""Exact tests that a rate is above or below a stated one, and how many trials decide that.

    p_not_below(Share(0, 6), 0.5)        # 0.0156: 0 of 6 where the rate is at least one half
    p_not_above(Share(6, 6), 0.5)        # 0.0156: 6 of 6 where it is at most one half
    fewest_below(0.05, 0.5, 0.025, 0.8)  # trials with which the first is at most 0.025 four times in five

One-sided binomial tests: what they reject lies outside the one-sided bounds of Clopper and Pearson (1934, Biometrika
26, 404), whose level is held at every number of trials. That of Wilson's interval is held on the average only: it takes
0 of 4, which one half gives in 6 % of cases, for a rate below one half at 2.5 %.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np

from analysis.statistics.intervals import Share

MOST: Final = 60
"""Trials that are thought of; who would train more?"""


@functools.cache
def p_not_below(share: Share, rate: float) -> float:
    """Return the p-value that the rate behind `share` is at least `rate`."""
    from scipy.stats import binom

    return float(binom.cdf(share.right, share.total, rate))


def p_not_above(share: Share, rate: float) -> float:
    """Return the p-value that the rate behind `share` is at most `rate`."""
    return p_not_below(Share(share.total - share.right, share.total), 1 - rate)


@functools.cache
def fewest_below(true_rate: float, rate: float, level: float, power: float) -> int | None:
    """Return the fewest trials with which `true_rate` is found to be below `rate`, at this level and with this power;
    None where MOST do not do."""
    from scipy.stats import binom

    for total in range(1, MOST + 1):
        rejected = binom.cdf(np.arange(total + 1), total, rate) <= level
        if binom.pmf(np.arange(total + 1), total, true_rate)[rejected].sum() >= power:
            return total
    return None


def fewest_above(true_rate: float, rate: float, level: float, power: float) -> int | None:
    """Return the fewest trials with which `true_rate` is found to be above `rate`; otherwise as `fewest_below`."""
    return fewest_below(1 - true_rate, 1 - rate, level, power)
