"""Exact tests of one rate: against SciPy's, at their level, and with the power that is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from analysis.statistics.intervals import Share
from analysis.statistics.rates import fewest_above, fewest_below, p_not_above, p_not_below


@pytest.mark.parametrize(
    ("right", "total", "rate"), [(0, 4, 0.5), (3, 9, 0.5), (5, 5, 0.5), (2, 7, 1 / 3), (6, 8, 2 / 3)]
)
def test_they_are_scipys(right: int, total: int, rate: float) -> None:
    share = Share(right, total)
    assert p_not_below(share, rate) == pytest.approx(binomtest(right, total, rate, alternative="less").pvalue)
    assert p_not_above(share, rate) == pytest.approx(binomtest(right, total, rate, alternative="greater").pvalue)


@pytest.mark.parametrize("rate", [1 / 3, 0.5, 2 / 3])
def test_no_number_of_trials_exceeds_the_level(rate: float) -> None:
    for total in range(1, 30):
        chances = binom.pmf(np.arange(total + 1), total, rate)
        for p_value in (p_not_below, p_not_above):
            rejected = [p_value(Share(k, total), rate) <= 0.05 for k in range(total + 1)]
            assert chances[rejected].sum() <= 0.05


def test_the_fewest_trials_have_the_power_and_one_less_has_not() -> None:
    def power(total: int) -> float:
        rejected = [p_not_below(Share(k, total), 0.5) <= 0.025 for k in range(total + 1)]
        return float(binom.pmf(np.arange(total + 1), total, 0.1)[rejected].sum())

    fewest = fewest_below(0.1, 0.5, 0.025, 0.8)
    assert fewest == fewest_above(0.9, 0.5, 0.025, 0.8) == min(n for n in range(1, 60) if power(n) >= 0.8)
    assert fewest_below(0.5, 0.5, 0.025, 0.8) is None
    assert fewest_below(0.45, 0.5, 0.025, 0.8) is None
