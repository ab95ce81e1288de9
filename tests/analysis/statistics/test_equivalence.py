"""Two one-sided tests against SciPy's, and how many seeds tell a difference from none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.equivalence import equivalence_over_seeds, seeds_needed
from analysis.statistics.seeds import difference_over_seeds

FIRST, SECOND = [0.800, 0.806, 0.803, 0.799], [0.801, 0.795, 0.797, 0.804]


@pytest.mark.parametrize("shift", [0.0, 0.012, -0.012, 0.05])
def test_it_is_the_larger_of_two_one_sided_t_tests(shift: float) -> None:
    first, second = np.array(FIRST) + shift, np.array(SECOND)
    found = equivalence_over_seeds(list(first), list(second), margin=0.02)
    low = stats.ttest_ind(first + 0.02, second, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(first - 0.02, second, equal_var=False, alternative="less").pvalue
    assert found.p_value == pytest.approx(max(low, high))
    assert found.margin == 0.02


def test_no_difference_and_too_few_seeds_part_ways() -> None:
    """Neither is told from 0; of one, 0.02 is rejected on either side, of the other not."""
    scattered = [0.80, 0.86, 0.83, 0.79]
    for first, is_equivalent in ((FIRST, True), (scattered, False)):
        assert difference_over_seeds(first, SECOND).p_value > 0.05
        assert (equivalence_over_seeds(first, SECOND).p_value < 0.05) == is_equivalent
    assert equivalence_over_seeds(FIRST, SECOND, image_variance=0.015**2).p_value > 0.05


def test_the_level_is_held_at_the_margin() -> None:
    """Settings that differ by just the margin are called equivalent in at most 5 % of 2,000 samples."""
    rng, images = np.random.default_rng(1), 0.004
    first, second = rng.normal(0.02, 0.006, (2000, 5)), rng.normal(0, 0.006, (2000, 5))
    first += rng.normal(0, images, (2000, 1))
    found = [equivalence_over_seeds(*pair, images**2).p_value for pair in zip(first, second, strict=True)]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_a_margin_is_above_0() -> None:
    with pytest.raises(ValueError, match="above 0; got 0"):
        equivalence_over_seeds(FIRST, SECOND, margin=0)


@pytest.mark.parametrize(("scatter", "expected"), [(0.0, 3), (0.01, 6), (0.02, 17), (0.04, 64), (0.5, None)])
def test_seeds_needed(scatter: float, expected: int | None) -> None:
    """As tables of the t test's power have them (Cohen 1988, table 2.4.1: 17 at an effect of 1, 64 at one of 0.5)."""
    assert seeds_needed((scatter, scatter)) == expected


def test_no_number_of_seeds_makes_up_for_few_images() -> None:
    assert seeds_needed((0.001, 0.001), image_variance=0.01**2) is None
