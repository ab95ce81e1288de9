from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn_metrics

from galaxytl.learning.metrics import evaluate


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


def test_of_votes_the_loss_is_towards_them_and_another_score_that_of_the_leading_class() -> None:
    """All else is as with labels; votes themselves are the best answer, with their entropy as its loss."""
    rng = np.random.default_rng(0)
    votes, probabilities = rng.dirichlet(np.ones(4), 30), rng.dirichlet(np.ones(4), 30)
    labels = votes.argmax(axis=1)
    (found, confusion), (plain, same) = evaluate(labels, probabilities, votes), evaluate(labels, probabilities)
    assert confusion == same
    assert found["loss"] == pytest.approx(-(votes * np.log(probabilities)).sum(axis=1).mean())
    assert found["leading_class_loss"] == plain["loss"] != found["loss"]
    assert {**found, "loss": plain["loss"]} == {**plain, "leading_class_loss": plain["loss"]}
    best = evaluate(labels, votes, votes)[0]
    assert best["loss"] == pytest.approx(-(votes * np.log(votes)).sum(axis=1).mean())
    assert evaluate(labels, np.eye(4)[labels], np.eye(4)[labels])[0]["loss"] == 0


def test_one_class_only_has_a_defined_kappa() -> None:
    assert evaluate(np.zeros(5, np.int64), one_hot([0] * 5))[0]["cohen_kappa"] == 0


@pytest.mark.filterwarnings("ignore:.*single label was found:UserWarning")
@settings(max_examples=40)  # scikit-learn takes 30 ms for each
@given(st.data(), st.integers(1, 12), st.integers(2, 5))
def test_every_score_is_scikit_learns(data: st.DataObject, num_images: int, num_classes: int) -> None:
    """Of few images of several classes: classes without images or predictions, one class only, ties."""
    labels = data.draw(arrays.arrays(np.int64, num_images, elements=st.integers(0, num_classes - 1)))
    counts = data.draw(arrays.arrays(np.int64, (num_images, num_classes), elements=st.integers(1, 3)))
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)

    metrics, confusion = evaluate(labels, probabilities)

    truth = {"accuracy": sklearn_metrics.accuracy_score(labels, predicted)}
    for name in ("precision", "recall", "f1"):
        score = getattr(sklearn_metrics, f"{name}_score")
        for average in ("weighted", "macro"):
            truth[f"{name}_{average}"] = score(labels, predicted, average=average, zero_division=0)
    truth["loss"] = sklearn_metrics.log_loss(labels, probabilities, labels=range(num_classes))
    if len(np.union1d(labels, predicted)) > 1:  # else kappa is undefined
        truth["cohen_kappa"] = sklearn_metrics.cohen_kappa_score(labels, predicted)
    assert {name: metrics[name] for name in truth} == pytest.approx(truth)
    known = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(num_classes))
    assert np.array_equal(confusion, known)
    assert metrics["majority_share"] == known.sum(axis=1).max() / num_images
    assert metrics["top_predicted_share"] == known[:, int(metrics["top_predicted_class"])].sum() / num_images


def test_a_class_without_images_counts_nowhere_until_it_is_predicted() -> None:
    labels = np.array([0, 1, 3, 3])
    perfect, _ = evaluate(labels, one_hot([0, 1, 3, 3], 4))
    once, _ = evaluate(labels, one_hot([0, 1, 3, 2], 4))
    assert (perfect["f1_macro"], perfect["precision_macro"], perfect["recall_macro"]) == (1, 1, 1)
    assert once["recall_macro"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)


def test_an_image_without_a_largest_probability_has_no_score() -> None:
    with pytest.raises(ValueError, match="got NaN for 1 of 2 images"):
        evaluate(np.array([0, 1]), np.array([[0.5, 0.5], [math.nan, 0.5]]))
