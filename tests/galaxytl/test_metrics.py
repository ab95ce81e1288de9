from __future__ import annotations

import math

import numpy as np
import pytest

from galaxytl.metrics import evaluate


def one_hot(predicted: list[int], num_classes: int = 10) -> np.ndarray:
    return np.eye(num_classes)[predicted]


def test_perfect_prediction() -> None:
    metrics, confusion = evaluate(np.arange(10), one_hot(list(range(10))))
    assert metrics["accuracy"] == metrics["f1_weighted"] == metrics["cohen_kappa"] == 1
    assert metrics["loss"] == 0
    assert np.array_equal(confusion, np.eye(10))


def test_one_class_predictor_obeys_the_papers_identity() -> None:
    """With class share p: accuracy p, weighted precision p^2, weighted F1 2 p^2 / (1 + p)."""
    p, labels = 0.157, np.array([7] * 157 + [0] * 843)
    metrics, confusion = evaluate(labels, one_hot([7] * 1000))
    scores = {"accuracy": p, "precision_weighted": p**2, "f1_weighted": 2 * p**2 / (1 + p), "cohen_kappa": 0}
    assert {name: metrics[name] for name in scores} == pytest.approx(scores)
    assert (metrics["top_predicted_share"], metrics["top_predicted_class"]) == (1, 7)
    assert (confusion[0][7], confusion[7][0]) == (843, 0)


def test_hand_counted_scores() -> None:
    metrics, confusion = evaluate(np.array([0, 0, 0, 1]), one_hot([0, 0, 1, 1], 2))
    assert metrics["accuracy"] == metrics["recall_weighted"] == metrics["majority_share"] == 0.75
    assert metrics["precision_macro"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["f1_weighted"] == pytest.approx(0.75 * 0.8 + 0.25 * 2 / 3)
    assert metrics["cohen_kappa"] == pytest.approx((0.75 - 0.5) / (1 - 0.5))
    assert confusion == ((2, 1), (0, 1))


def test_loss_is_the_mean_cross_entropy() -> None:
    metrics, _ = evaluate(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]]))
    assert metrics["loss"] == pytest.approx(-(math.log(0.5) + math.log(0.25)) / 2)


def test_one_class_only_has_a_defined_kappa() -> None:
    assert evaluate(np.zeros(5, np.int64), one_hot([0] * 5))[0]["cohen_kappa"] == 0
