"""The exact test against SciPy's, under the null hypothesis, and the seeds that its rule wants."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, boschloo_exact

from analysis.statistics.boschloo import Wanted, boschloo, fewest_seeds
from analysis.statistics.intervals import Share, difference


@pytest.mark.parametrize("table", [(5, 5, 0, 3), (3, 3, 0, 3), (5, 5, 2, 3), (7, 12, 1, 9), (4, 5, 2, 5), (0, 4, 0, 6)])
def test_it_is_scipys(table: tuple[int, int, int, int]) -> None:
    first, first_total, second, second_total = table
    rows = [[first, second], [first_total - first, second_total - second]]

    assert boschloo(*table) == pytest.approx(boschloo_exact(rows, n=128).pvalue, rel=1e-3)
    assert boschloo(*table) == boschloo(second, second_total, first, first_total)
    with pytest.raises(ValueError, match="got 5 and 0"):
        boschloo(1, 5, 0, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("totals", [(5, 3), (20, 10)])
def test_p_values_keep_their_level_where_nothing_differs(share: float, totals: tuple[int, int]) -> None:
    """Over 2,000 simulated experiments no level is exceeded by more than chance."""
    random = np.random.default_rng(1)
    counts = random.binomial(totals, share, size=(2000, 2))
    p_values = np.array([boschloo(int(a), totals[0], int(b), totals[1]) for a, b in counts])

    for level in (0.01, 0.05, 0.1, 0.2, 0.5):
        assert np.mean(p_values <= level) <= level + 3 * np.sqrt(level * (1 - level) / 2000)


@pytest.mark.parametrize("total", [5, 20])
def test_intervals_cover_at_their_rate_on_the_average(total: int) -> None:
    """Wilson's and Newcombe's, computed by all outcomes: 0.95 on the average over the shares, never far below."""
    shares = np.linspace(0.02, 0.98, 49)
    intervals = [Share(k, total).interval for k in range(total + 1)]
    of_one = [sum(binom.pmf(k, total, p) for k, own in enumerate(intervals) if p in own) for p in shares]
    assert np.mean(of_one) == pytest.approx(0.95, abs=0.02)
    assert min(of_one) > 0.8

    of_difference = np.zeros((7, 7))
    some = shares[::8]
    chances = binom.pmf(np.arange(total + 1)[:, None], total, some)
    for a, b in np.ndindex(total + 1, total + 1):
        interval = difference(Share(a, total), Share(b, total))
        covered = [[p - q in interval for q in some] for p in some]
        of_difference += covered * np.outer(chances[a], chances[b])
    assert of_difference.mean() == pytest.approx(0.96, abs=0.02)
    assert of_difference.min() > 0.88


@pytest.mark.parametrize("shares", [(0.95, 0.05), (0.9, 0.3), (0.6, 0.5), (0.9, 0.625)])
def test_the_fewest_seeds_are_those_of_the_whole_rule(shares: tuple[float, float]) -> None:
    """By all tables, with the p-values of `boschloo` themselves."""

    def whole_power(seeds: int) -> float:
        tested = seeds - seeds // 2
        first, second = (binom.pmf(range(n + 1), n, p) for n, p in zip((seeds, tested), shares, strict=True))
        return sum(
            first[a] * second[b]
            for a, b in np.ndindex(seeds + 1, tested + 1)
            if a / seeds >= 0.5 > b / tested and boschloo(a, seeds, b, tested) <= 0.025
        )

    wanted = Wanted(level=0.025, most=24)
    enough = (seeds for seeds in range(3, 25) if whole_power(seeds) >= 0.8)
    assert fewest_seeds(*shares, wanted) == next(enough, None)
