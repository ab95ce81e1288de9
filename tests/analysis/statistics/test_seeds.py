"""Means over seeds against SciPy's t tests where images add nothing, and against planted truths where they do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import Z
from analysis.statistics.seeds import (
    SeedEstimate,
    Spread,
    difference_over_seeds,
    estimate_of,
    mean_over_seeds,
    paired_over_seeds,
)

FIRST, SECOND = [0.81, 0.79, 0.83, 0.80], [0.74, 0.79, 0.75, 0.81]


def assert_agrees(found: SeedEstimate, oracle: object) -> None:
    interval = oracle.confidence_interval(0.95)  # type: ignore[attr-defined]
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-9)  # type: ignore[attr-defined]
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert found.degrees_of_freedom == pytest.approx(oracle.df)  # type: ignore[attr-defined]


def test_without_images_it_is_students_t() -> None:
    assert_agrees(difference_over_seeds(FIRST, SECOND), stats.ttest_ind(FIRST, SECOND, equal_var=False))
    assert_agrees(difference_over_seeds(FIRST[:2], SECOND[:2]), stats.ttest_ind(FIRST[:2], SECOND[:2], equal_var=False))
    assert_agrees(paired_over_seeds(FIRST, SECOND), stats.ttest_rel(FIRST, SECOND))
    assert_agrees(mean_over_seeds(FIRST), stats.ttest_1samp(FIRST, 0.0))


def test_more_seeds_of_one_setting_do_not_make_up_for_few_of_the_other() -> None:
    many = list(np.linspace(0.74, 0.81, 12))
    found = difference_over_seeds(FIRST, many)
    welch = stats.ttest_ind(FIRST, many, equal_var=False)
    assert found.degrees_of_freedom == 6 < welch.df
    assert found.p_value > welch.pvalue


def test_images_widen_it_and_are_all_that_counts_where_seeds_do_not_scatter() -> None:
    alone, both = difference_over_seeds(FIRST, SECOND), difference_over_seeds(FIRST, SECOND, 1e-4)
    assert both.interval.high - both.value == pytest.approx(math.hypot(alone.interval.high - alone.value, Z * 0.01))
    assert both.p_value > alone.p_value
    equal = difference_over_seeds([0.8] * 3, [0.78] * 5, 1e-4)
    assert equal.p_value == pytest.approx(2 * stats.norm.sf(2.0))
    assert equal.interval.low == pytest.approx(0.02 - Z * 0.01)
    assert paired_over_seeds([0.8] * 3, [0.78] * 3, 1e-4).p_value == pytest.approx(2 * stats.norm.sf(2.0))


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.02, 0.3, 1.0, 1e6])
def test_the_p_value_is_at_the_level_where_the_interval_ends_at_0(value: float) -> None:
    spreads, images = [Spread(1e-4, 2), Spread(3e-4, 4)], 2e-4
    half = estimate_of(0.0, spreads, images).interval.high
    assert estimate_of(half, spreads, images).p_value == pytest.approx(0.05)
    found = estimate_of(value, spreads, images)
    assert 0 <= found.p_value <= 1
    assert (found.p_value < 0.05) == (0 not in found.interval)


def test_nothing_that_varies_leaves_the_value_alone() -> None:
    assert difference_over_seeds([0.5] * 3, [0.5] * 3).p_value == 1.0
    known = difference_over_seeds([0.5] * 3, [0.25] * 3)
    assert (known.interval.low, known.interval.high, known.p_value) == (0.25, 0.25, 0.0)


@pytest.mark.parametrize(
    ("first", "second", "variance", "words"),
    [
        ([0.8], FIRST, 0.0, "needs two seeds; got 1"),
        ([], FIRST, 0.0, "needs two seeds; got 0"),
        ([0.8, math.nan, 0.9], FIRST, 0.0, "finite number; got .*nan"),
        (FIRST, [0.8, math.inf], 0.0, "finite number"),
        (FIRST, SECOND, -1e-9, "at least 0"),
        (FIRST, SECOND, math.nan, "at least 0"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_no_sample_is_refused(first: list[float], second: list[float], variance: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        difference_over_seeds(first, second, variance)


def test_pairs_are_of_the_same_seeds() -> None:
    with pytest.raises(ValueError, match="got 4 and 3"):
        paired_over_seeds(FIRST, SECOND[:3])


@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 5), (10, 10), (3, 10)])
@pytest.mark.parametrize("scatter", [(0.012, 0.012), (0.055, 0.055), (0.055, 0.005)])
def test_intervals_cover_what_seeds_and_images_both_move(seeds: tuple[int, int], scatter: tuple[float, float]) -> None:
    """The truth is a difference of 0; of 1,500 simulated samples, three standard errors are 0.017."""
    rng, images = np.random.default_rng(7), 0.008
    first, second = (rng.normal(0, sd, (1500, n)) for sd, n in zip(scatter, seeds, strict=True))
    moved = first + rng.normal(0, images, (1500, 1))
    found = [difference_over_seeds(*pair, images**2).interval for pair in zip(moved, second, strict=True)]
    assert sum(0 in interval for interval in found) / 1500 > 0.94 - 0.017
