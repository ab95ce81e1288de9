"""Intervals and tests against published numbers, and against what statsmodels has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from analysis.statistics.intervals import Pairs, Share, difference, holm, mcnemar

AIRWAYS = Pairs(1, 1, 7, 12)
"""Bentur et al. 2009, in Fagerland, Lydersen and Laake 2014."""
RESPONSES = Pairs(59, 6, 16, 80)
"""Cavo et al. 2012, in the same."""


@pytest.mark.parametrize(("right", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_is_of_at_least_one_image(right: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"got {right} of {total}"):
        Share(right, total)


def test_the_difference_of_unpaired_shares_is_newcombes_own_example() -> None:
    found = difference(Share(56, 70), Share(48, 80))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize(("pairs", "low", "high"), [(AIRWAYS, -0.507, -0.026), (RESPONSES, -0.1186, -0.0046)])
def test_the_difference_of_paired_shares_is_as_published(pairs: Pairs, low: float, high: float) -> None:
    digits = 5e-4 if pairs is AIRWAYS else 5e-5
    assert (pairs.interval.low, pairs.interval.high) == pytest.approx((low, high), abs=digits)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
@settings(max_examples=50)
def test_exchanging_the_two_turns_all_round(counts: tuple[int, int, int, int]) -> None:
    pairs, back = Pairs(*counts), Pairs(counts[0], counts[2], counts[1], counts[3])

    assert (pairs.interval.low, pairs.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    assert -1 <= pairs.interval.low <= pairs.first.value - pairs.second.value <= pairs.interval.high <= 1
    assert mcnemar(pairs) == pytest.approx(mcnemar(back))
    assert counts[1] != counts[2] or mcnemar(pairs) == 1.0


def test_pairing_narrows_the_interval_of_classifiers_that_agree() -> None:
    pairs = Pairs(60, 9, 4, 27)
    unpaired = difference(pairs.first, pairs.second)
    assert unpaired.low < pairs.interval.low < 0.05 < pairs.interval.high < unpaired.high


def test_mcnemars_exact_p_value_is_of_the_images_that_only_one_has_right() -> None:
    assert mcnemar(RESPONSES) == pytest.approx(2 * 110_056 / 2**22)  # 6 or fewer of 22, on either side
    assert mcnemar(Pairs(0, 16, 6, 0)) == mcnemar(RESPONSES)
    assert mcnemar(Pairs(45, 15, 5, 35)) == pytest.approx(0.0414, abs=5e-5)


def test_pairs_are_counted_image_by_image() -> None:
    first = np.array([True, True, True, False, False, False])
    second = np.array([True, False, False, True, False, False])
    assert Pairs.of(first, second) == Pairs(both=1, first_only=2, second_only=1, neither=2)


COUNTS = ((0, 1), (1, 1), (0, 5), (3, 5), (5, 5), (7, 40), (2500, 5321), (5321, 5321))


@pytest.mark.parametrize("count", COUNTS)
def test_the_interval_of_a_share_is_wilsons(count: tuple[int, int]) -> None:
    expected = proportion_confint(*count, method="wilson")
    interval = Share(*count).interval
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)
    assert (interval.low == 0, interval.high == 1) == (
        count[0] == 0,
        count[0] == count[1],
    )


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
    assert holm([]) == ()
