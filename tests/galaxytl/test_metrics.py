from __future__ import annotations

import math

import numpy as np
import pytest

from galaxytl.metrics import evaluate


def one_hot(predicted: list[int], num_classes: int = 10) -> np.ndarray:
    return np.eye(num_classes)[predicted]


def test_perfect_prediction() -> None:
    labels = np.arange(10)
    metrics, confusion = evaluate(labels, one_hot(list(range(10))))
    assert metrics["accuracy"] == metrics["f1_weighted"] == metrics["cohen_kappa"] == 1
    assert metrics["loss"] == 0
    assert np.array_equal(confusion, np.eye(10))


def test_one_class_predictor_obeys_the_papers_identity() -> None:
    """With class share p: accuracy p, weighted precision p^2, weighted F1 2 p^2 / (1 + p)."""
    labels = np.array([7] * 157 + [0] * 843)
    metrics, confusion = evaluate(labels, one_hot([7] * 1000))
    p = 0.157
    assert metrics["accuracy"] == pytest.approx(p)
    assert metrics["precision_weighted"] == pytest.approx(p**2)
    assert round(metrics["precision_weighted"], 3) == 0.025
    assert metrics["f1_weighted"] == pytest.approx(2 * p**2 / (1 + p))
    assert round(metrics["f1_weighted"], 3) == 0.043
    assert metrics["top_predicted_share"] == 1
    assert metrics["top_predicted_class"] == 7
    assert metrics["cohen_kappa"] == 0
    assert confusion[0][7] == 843


def test_hand_counted_scores() -> None:
    metrics, confusion = evaluate(np.array([0, 0, 0, 1]), one_hot([0, 0, 1, 1], 2))
    assert metrics["accuracy"] == 0.75
    assert metrics["precision_macro"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["recall_weighted"] == pytest.approx(0.75)
    assert metrics["f1_weighted"] == pytest.approx(0.75 * 0.8 + 0.25 * 2 / 3)
    assert metrics["majority_share"] == 0.75
    assert confusion == ((2, 1), (0, 1))


def test_loss_is_the_mean_cross_entropy() -> None:
    metrics, _ = evaluate(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]]))
    assert metrics["loss"] == pytest.approx(-(math.log(0.5) + math.log(0.25)) / 2)


def test_one_class_only_has_a_defined_kappa() -> None:
    assert evaluate(np.zeros(5, np.int64), one_hot([0] * 5))[0]["cohen_kappa"] == 0
