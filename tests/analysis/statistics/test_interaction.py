"""The exact test of an interaction: its level, symmetries, and what it says where other tests say nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, norm

from analysis.statistics.interaction import Cells, interaction
from analysis.statistics.intervals import Share


def cells(*counts: int, total: int = 5) -> Cells:
    return Cells(*(Share(count, total) for count in counts))


def test_a_change_that_works_only_with_another_is_found_among_rates_of_0_and_1() -> None:
    """And one that works only without it, and two of which either is enough."""
    for counts in ((5, 5, 5, 0), (5, 0, 5, 5), (5, 0, 0, 0)):
        assert interaction(cells(*counts)) == pytest.approx(0.0025, abs=1e-4)
    assert cells(5, 5, 5, 0).value == -1
    assert cells(5, 0, 0, 0).value == 1


def test_effects_that_add_up_are_no_interaction() -> None:
    assert interaction(cells(5, 0, 5, 0)) == 1
    assert interaction(cells(5, 5, 5, 5)) == 1
    assert interaction(cells(10, 6, 7, 3, total=10)) > 0.9


def test_neither_the_order_of_the_changes_nor_what_counts_as_a_collapse_matters() -> None:
    table = Cells(Share(5, 6), Share(2, 3), Share(4, 5), Share(1, 4))
    swapped = Cells(table.neither, table.second, table.first, table.both)
    turned = Cells(*(Share(share.total - share.right, share.total) for share in table.shares))

    assert interaction(swapped) == pytest.approx(interaction(table))
    assert interaction(turned) == pytest.approx(interaction(table))


@pytest.mark.parametrize("totals", [(3, 3, 3, 3), (5, 3, 4, 3)])
def test_it_errs_at_most_at_its_level_at_any_rates_that_add_up(totals: tuple[int, int, int, int]) -> None:
    """Exactly, by all tables, at rates that the test's own grid does not have."""
    tables = list(itertools.product(*(range(total + 1) for total in totals)))
    p_values = np.array([interaction(Cells(*map(Share, table, totals))) for table in tables])
    numbers = np.random.default_rng(0)
    for level in (0.01, 0.05, 0.1):
        rejected = np.array(tables)[p_values <= level]
        for p, q, r in numbers.uniform(size=(200, 3)):
            if 0 <= (s := q + r - p) <= 1 and len(rejected):
                chance = np.prod([binom.pmf(rejected[:, i], totals[i], rate) for i, rate in enumerate((p, q, r, s))], 0)
                assert chance.sum() <= level * 1.02


def test_with_many_trials_it_is_the_normal_test_of_four_shares() -> None:
    for total, nearness in ((20, 0.08), (400, 0.005)):
        for counts in ((15, 10, 14, 4), (18, 12, 10, 1), (18, 4, 12, 14)):
            rates = np.array(counts) / 20
            z = abs(rates[0] - rates[1] - rates[2] + rates[3]) / np.sqrt((rates * (1 - rates) / total).sum())
            scaled = cells(*(count * total // 20 for count in counts), total=total)
            assert interaction(scaled) == pytest.approx(2 * norm.sf(z), abs=nearness)
