"""The bootstrap against scikit-learn's scores, against theory, and by its coverage of a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from analysis.statistics.bootstrap import Draws, Replicates, draws_of, mean_of
from tests.analysis.fake_predictions import LABELS, predicted_with


def test_each_resample_has_as_many_images_as_there_are() -> None:
    weights = Draws.of(50, num_resamples=20).weights

    assert weights.shape == (20, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights == Draws.of(50, num_resamples=20).weights).all()
    assert (weights != Draws.of(50, num_resamples=20, seed=1).weights).any()


def test_resampled_scores_are_scikit_learns() -> None:
    """Also where a class is never predicted, or a resample lacks one."""
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(0, 5, 40), rng.integers(0, 3, 40)
    draws = Draws.of(40, num_resamples=30)

    found = draws.scores(labels, predicted, num_classes=10)

    assert found.accuracy.value == pytest.approx(accuracy_score(labels, predicted))
    assert found.f1.value == pytest.approx(f1_score(labels, predicted, average="weighted", zero_division=0))
    for weights, accuracy, f1 in zip(draws.weights, found.accuracy.resampled, found.f1.resampled, strict=True):
        rows = np.repeat(np.arange(40), weights.astype(int))
        assert accuracy == pytest.approx(accuracy_score(labels[rows], predicted[rows]))
        expected = f1_score(labels[rows], predicted[rows], average="weighted", zero_division=0)
        assert f1 == pytest.approx(expected)


def test_the_spread_is_that_of_a_share() -> None:
    right = np.arange(1000) < 300
    found = Draws.of(1000).means(right)
    assert found.resampled.std() == pytest.approx((0.3 * 0.7 / 1000) ** 0.5, rel=0.06)
    assert found.interval.low == pytest.approx(0.3 - 1.96 * 0.01449, abs=0.003)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """300 samples of 100 images whose paired difference of accuracies is 0.1 in truth."""
    rng = np.random.default_rng(11)
    draws = Draws.of(100, num_resamples=300)
    covered = 0
    for _ in range(300):
        hard = rng.random(100)
        first, second = hard < 0.7, (hard + 0.1 * (rng.random(100) < 0.5) < 0.65)
        covered += (0.7 - (0.65 - 0.05)) in (draws.means(first) - draws.means(second)).interval
    assert 0.91 <= covered / 300 <= 0.98


def test_the_p_value_agrees_with_the_interval() -> None:
    draws = draws_of(1000)
    score = {a: draws.scores(LABELS, predicted_with(a, seed=1), 10).accuracy for a in (0.5, 0.52, 0.7)}

    for better in (0.52, 0.7):
        difference = score[better] - score[0.5]
        assert (0 in difference.interval) == (difference.p_value > 0.05)
    assert (score[0.7] - score[0.5]).p_value == pytest.approx(2 / 2001)
    assert (score[0.5] - score[0.5]).p_value == 1.0


def test_the_mean_over_seeds_varies_with_images_alone() -> None:
    """Seeds that predict the same of each image do not lower its variance; seeds that scatter do not raise it."""
    one = draws_of(1000).scores(LABELS, predicted_with(0.5), 10).accuracy
    assert (mean_of([one]).resampled == one.resampled).all()
    assert mean_of([one, one]).variance == pytest.approx(one.variance) == pytest.approx(0.5 * 0.5 / 1000, rel=0.1)
    shifted = Replicates(one.value + 0.2, one.resampled + 0.2)
    assert mean_of([one, shifted]).value == pytest.approx(0.6)
    assert mean_of([one, shifted]).variance == pytest.approx(one.variance)
    assert (one * -2).variance == pytest.approx(4 * one.variance)
