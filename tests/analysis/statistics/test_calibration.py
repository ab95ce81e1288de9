"""Calibration of made-up networks whose calibration is known, and the temperature against a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from analysis.statistics.calibration import bins_of, brier, error_by_chance
from galaxytl.results.temperature import TEMPERATURES, fit_temperature, nll, tempered
from tests.analysis.fakes import Numbers


def calibrated(num_images: int, num_classes: int = 10, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Probabilities (N, C), and labels that are drawn from them."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_images, num_classes))
    probabilities = tempered(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1.0)
    labels = (rng.random((num_images, 1)) > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return probabilities, labels


def test_the_error_is_the_mean_distance_of_confidence_and_share_right() -> None:
    """Four images at 0.9 of which two are right, and one at 0.6 that is: (4 x 0.4 + 1 x 0.4) / 5."""
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    bins = bins_of(probabilities, np.array([0, 0, 1, 1, 1]))

    assert bins.error == pytest.approx((4 * 0.4 + 0.4) / 5)
    assert bins.overconfidence == pytest.approx((4 * 0.4 - 0.4) / 5)
    assert bins.counts.sum() == 5
    assert np.flatnonzero(bins.counts).tolist() == [8, 13]


def test_a_bin_holds_its_upper_end_and_certainty_is_in_the_last() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.51, 0.49]])
    assert bins_of(probabilities, np.zeros(3, np.int64), 2).counts.tolist() == [1, 2]


def test_a_calibrated_network_shows_the_error_that_chance_gives_and_a_sure_one_more() -> None:
    probabilities, labels = calibrated(4000)
    by_chance = error_by_chance(probabilities)

    assert by_chance.min() < bins_of(probabilities, labels).error < by_chance.max()
    assert bins_of(tempered(probabilities, 0.4), labels).error > 5 * by_chance.max()


def test_few_images_show_an_error_where_there_is_none() -> None:
    few, many = (error_by_chance(calibrated(number)[0]).mean() for number in (40, 4000))
    assert few > 0.08
    assert 0 < many < 0.02
    drawn = [bins_of(*calibrated(40, seed=seed)).error for seed in range(200)]
    assert few == pytest.approx(np.mean(drawn), rel=0.1)  # of other images


def test_a_network_that_is_sure_and_right_has_no_error_by_chance() -> None:
    assert error_by_chance(np.eye(3)).tolist() == [0.0] * 200


def test_brier_and_nll_are_scikit_learns() -> None:
    probabilities, labels = calibrated(300, 4)
    assert brier(probabilities, labels) == pytest.approx(
        brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
    )
    assert nll(probabilities, labels) == pytest.approx(log_loss(labels, probabilities))
    assert brier(np.array([[0.0, 1.0]]), np.array([0])) == 2
    assert nll(np.full((2, 10), 0.1), np.array([3, 4])) == pytest.approx(math.log(10))
    assert math.isfinite(nll(np.array([[0.0, 1.0]]), np.array([0])))


def test_towards_votes_brier_nll_and_temperature_are_best_at_the_votes() -> None:
    rng = np.random.default_rng(0)
    votes = rng.dirichlet(np.ones(5), 300)
    one_hot = np.eye(5)[votes.argmax(axis=1)]
    assert brier(votes, votes) == 0
    assert nll(votes, votes) == pytest.approx(-(votes * np.log(votes)).sum(axis=1).mean())
    assert nll(votes, one_hot) == pytest.approx(nll(votes, votes.argmax(axis=1)))
    assert brier(votes, one_hot) == pytest.approx(brier(votes, votes.argmax(axis=1)))
    assert fit_temperature(tempered(votes, 0.5), votes).value == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_the_temperature_undoes_what_was_done_to_calibrated_logits(factor: float) -> None:
    probabilities, labels = calibrated(20_000)
    assert fit_temperature(tempered(probabilities, factor), labels).value == pytest.approx(1 / factor, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_the_best_of_a_grid(seed: int) -> None:
    probabilities, labels = calibrated(60, 3, seed)
    probabilities = tempered(probabilities, 0.5).astype(np.float32)
    grid = np.geomspace(*TEMPERATURES, 4000)
    best = grid[np.argmin([nll(tempered(probabilities, t), labels) for t in grid])]
    assert fit_temperature(probabilities, labels).value == pytest.approx(best, rel=2e-3)


def test_without_a_best_temperature_it_is_1_or_at_the_end() -> None:
    assert fit_temperature(np.full((5, 4), 0.25), np.zeros(5, np.int64)).value == 1
    right = fit_temperature(np.full((5, 2), (0.7, 0.3)), np.zeros(5, np.int64))
    assert right.is_at_end
    assert right.value == pytest.approx(TEMPERATURES[0], rel=0.01)


def test_tempering_changes_no_prediction_and_sums_to_1() -> None:
    probabilities, _ = calibrated(100)
    for temperature in TEMPERATURES:
        found = tempered(probabilities, temperature)
        assert np.array_equal(found.argmax(axis=1), probabilities.argmax(axis=1))
        assert np.allclose(found.sum(axis=1), 1)
