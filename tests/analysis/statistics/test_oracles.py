"""Tests and intervals against those that statsmodels and SciPy have."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import boschloo_exact
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from analysis.statistics.boschloo import boschloo
from analysis.statistics.intervals import Pairs, Share, difference, holm, mcnemar

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
