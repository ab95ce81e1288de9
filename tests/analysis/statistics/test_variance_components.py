"""Variance components against statsmodels, against planted variances, and what cannot be estimated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.statistics.variance_components import components, corrected_mean

RNG = np.random.default_rng(9)


def planted(splits: int, seeds: int, between: float, within: float, rng: np.random.Generator = RNG) -> np.ndarray:
    return 0.7 + rng.normal(0, between, (splits, 1)) + rng.normal(0, within, (splits, seeds))


def test_balanced_components_are_those_of_a_mixed_model() -> None:
    from statsmodels.regression.mixed_linear_model import MixedLM  # a second that other tests need not wait for

    scores = 100 * planted(8, 4, 0.05, 0.02)  # in percent: theirs warns of variances that are small numbers
    model = MixedLM(scores.ravel(), np.ones(scores.size), np.repeat(np.arange(8), 4)).fit(reml=True)
    found = components(scores.tolist())
    assert found.between == pytest.approx(float(np.squeeze(model.cov_re)), rel=1e-3)
    assert found.within == pytest.approx(model.scale, rel=1e-3)
    assert found.mean == pytest.approx(model.fe_params[0])


def test_planted_variances_come_out_on_average_also_of_unequal_numbers_of_seeds() -> None:
    draws = [planted(6, 5, 0.04, 0.03) for _ in range(1000)]
    found = [components([row[: 2 + n % 4] for n, row in enumerate(scores)]) for scores in draws]
    assert np.mean([one.between for one in found]) == pytest.approx(0.04**2, rel=0.08)
    assert np.mean([one.within for one in found]) == pytest.approx(0.03**2, rel=0.05)


def test_splits_that_add_nothing_are_found_to_at_the_level() -> None:
    p_values = [components(planted(4, 3, 0.0, 0.03).tolist()).p_value for _ in range(500)]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert components([[0.5, 0.5], [0.6, 0.6]]).p_value == 0.0


def test_one_seed_a_split_says_nothing_of_seeds() -> None:
    found = components([[0.5], [0.6], [0.7]])
    assert found.between == pytest.approx(0.01)
    assert math.isnan(found.within)
    assert math.isnan(found.p_value)


def test_the_correction_widens_the_interval_by_the_ratio_of_the_parts() -> None:
    values, ratio = [0.10, 0.12, 0.09, 0.13], 3 / 7
    found = corrected_mean(values, ratio)
    error = np.std(values, ddof=1) * math.sqrt(1 / 4 + ratio)
    assert found.value == pytest.approx(0.11)
    assert found.interval.high - found.value == pytest.approx(3.182446 * error, rel=1e-5)
    assert corrected_mean([0.1, 0.1], ratio).p_value == 0.0
    assert corrected_mean([0.0, 0.0], ratio).p_value == 1.0


@pytest.mark.parametrize("groups", [[[0.5, 0.6]], [[0.5], []], [[0.5], [math.nan]]])
def test_what_cannot_be_estimated_is_refused(groups: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="got"):
        components(groups)
