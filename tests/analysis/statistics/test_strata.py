"""The stratified test against SciPy's of one table, under its null hypothesis, and against what a stratum explains."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from analysis.statistics.strata import association, stratified


@pytest.mark.parametrize("table", [(5, 5, 0, 3), (3, 4, 2, 9), (0, 4, 0, 6), (1, 6, 5, 7)])
def test_of_one_stratum_it_is_fishers(table: tuple[int, int, int, int]) -> None:
    first, first_total, second, second_total = table
    rows = [[first, first_total - first], [second, second_total - second]]
    sides = [fisher_exact(rows, alternative=side).pvalue for side in ("less", "greater")]
    assert stratified([table]) == pytest.approx(min(1.0, 2 * min(sides)))
    assert stratified([table, (3, 3, 0, 0), (0, 0, 1, 2)]) == pytest.approx(
        stratified([table])
    )  # one group says nothing


def test_what_the_strata_explain_is_no_difference() -> None:
    assert stratified([(9, 9, 1, 1), (0, 1, 0, 9)]) == 1
    assert stratified([(4, 4, 0, 4), (4, 4, 0, 4)]) < 0.001


def test_where_both_groups_are_alike_in_every_stratum_the_level_is_held() -> None:
    """Strata of rates 0.9 and 0.1, of which the first group has mostly the one and the second mostly the other."""
    random = np.random.default_rng(0)
    totals, rates = np.array([[8, 2], [2, 8]]), np.array([[0.9, 0.9], [0.1, 0.1]])
    found = [
        stratified([(a, 8, b, 2), (c, 2, d, 8)]) for (a, b), (c, d) in random.binomial(totals, rates, (1000, 2, 2))
    ]
    assert np.mean(np.array(found) <= 0.05) <= 0.05


def test_what_goes_with_the_groups_is_told_from_what_does_not() -> None:
    assert association("aaaaa", "bbbbb") < 0.01
    assert association("aaaab", "abbbb") < 0.1
    assert association("aabb", "aabb") == pytest.approx(1)
    assert association("aaa", "aa") == association("", "ab") == 1
    assert association(range(6), range(6, 9)) > 0.1  # a value of its own for each says nothing
