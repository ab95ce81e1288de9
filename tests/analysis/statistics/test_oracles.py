"""Tests and intervals against those that statsmodels and SciPy have."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import boschloo_exact
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from statsmodels.stats.weightstats import CompareMeans, ttest_ind, ttost_ind

from analysis.statistics.boschloo import boschloo
from analysis.statistics.equivalence import equivalence_over_seeds
from analysis.statistics.intervals import Pairs, Share, difference, holm, mcnemar
from analysis.statistics.seeds import difference_over_seeds

COUNTS = ((0, 1), (1, 1), (0, 5), (3, 5), (5, 5), (7, 40), (2500, 5321), (5321, 5321))


@pytest.mark.parametrize("count", COUNTS)
def test_the_interval_of_a_share_is_wilsons(count: tuple[int, int]) -> None:
    expected = proportion_confint(*count, method="wilson")
    interval = Share(*count).interval
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    for first, second in itertools.product(COUNTS, COUNTS):
        expected = confint_proportions_2indep(*first, *second, method="newcomb", compare="diff")
        interval = difference(Share(*first), Share(*second))
        assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("table", [(10, 0, 0, 5), (10, 7, 0, 5), (4000, 130, 90, 1101), (1, 2, 9, 3)])
def test_mcnemars_p_value_is_the_exact_one(table: tuple[int, int, int, int]) -> None:
    expected = their_mcnemar(np.reshape(table, (2, 2)), exact=True).pvalue
    assert mcnemar(Pairs(*table)) == pytest.approx(expected, abs=1e-12)


def test_holms_p_values_are_theirs() -> None:
    rng = np.random.default_rng(4)
    for size in (1, 2, 9):
        p_values = [*rng.random(size) ** 3, 0.0, 1.0, 0.02, 0.02]
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@pytest.mark.parametrize("table", [(5, 5, 0, 3), (5, 5, 2, 3), (3, 10, 4, 5)])
def test_boschloos_p_value_is_scipys(table: tuple[int, int, int, int]) -> None:
    first, first_total, second, second_total = table
    counts = [[first, second], [first_total - first, second_total - second]]
    assert boschloo(*table) == pytest.approx(boschloo_exact(counts, n=256).pvalue, rel=1e-3)


SEEDS = (
    ([0.81, 0.79, 0.80], [0.74, 0.77, 0.75]),
    ([0.5, 0.52, 0.49, 0.51, 0.50], [0.5, 0.38, 0.62, 0.45, 0.55]),
    ([0.801, 0.799, 0.800], [0.8005, 0.7995, 0.8002]),
)


@pytest.mark.parametrize(("first", "second"), SEEDS)
def test_differences_over_as_many_seeds_each_are_welchs(first: list[float], second: list[float]) -> None:
    """Without a variance over images; with other numbers of seeds ours has fewer degrees of freedom, on purpose."""
    _, p_value, degrees = ttest_ind(first, second, usevar="unequal")
    found = difference_over_seeds(first, second)
    assert (found.p_value, found.degrees_of_freedom) == pytest.approx((p_value, degrees))
    interval = CompareMeans.from_data(first, second).tconfint_diff(usevar="unequal")
    assert (found.interval.low, found.interval.high) == pytest.approx(interval)


@pytest.mark.parametrize(("first", "second"), SEEDS)
def test_equivalence_over_as_many_seeds_each_is_theirs(first: list[float], second: list[float]) -> None:
    p_value, *_ = ttost_ind(first, second, -0.02, 0.02, usevar="unequal")
    assert equivalence_over_seeds(first, second, margin=0.02).p_value == pytest.approx(p_value)
