"""Scores that count every class alike: against scikit-learn, against resampled images, and where they are undefined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef, recall_score

from analysis.statistics.class_scores import balanced_accuracy, matthews, recalls, resampled, variance_of
from analysis.statistics.intervals import Share
from tests.analysis.fakes import COUNTS, Numbers


def images_of(confusion: Numbers) -> tuple[Numbers, Numbers]:
    """A confusion matrix's true and predicted classes (N,)."""
    true, predicted = np.indices(confusion.shape)
    return tuple(np.repeat(classes.ravel(), confusion.ravel()) for classes in (true, predicted))  # type: ignore[return-value]


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_scores_are_scikit_learns(num_classes: int) -> None:
    confusion = np.random.default_rng(num_classes).poisson(3, (num_classes, num_classes)) + 7 * np.eye(num_classes)
    confusion = confusion.astype(np.int64)
    labels, predicted = images_of(confusion)

    assert balanced_accuracy(confusion) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert matthews(confusion) == pytest.approx(matthews_corrcoef(labels, predicted))
    found = [share.value for share in recalls(confusion) if share]
    assert found == pytest.approx(recall_score(labels, predicted, average=None))


def test_one_class_for_everything_scores_one_over_the_classes_and_no_correlation() -> None:
    collapsed = np.zeros((10, 10), np.int64)
    collapsed[:, 2] = COUNTS

    assert balanced_accuracy(collapsed) == pytest.approx(0.1)
    assert matthews(collapsed) == 0
    assert resampled(collapsed, 50).matthews.interval.high == 0


def test_a_class_without_images_has_no_recall_and_counts_nowhere() -> None:
    confusion = [[8, 2, 0], [0, 0, 0], [0, 5, 5]]

    assert recalls(confusion) == (Share(8, 10), None, Share(5, 10))
    assert balanced_accuracy(confusion) == pytest.approx(0.65)
    labels, predicted = images_of(np.array(confusion))
    assert matthews(confusion) == pytest.approx(matthews_corrcoef(labels, predicted))


def test_one_image_and_one_class_are_defined() -> None:
    assert (balanced_accuracy([[1]]), matthews([[1]])) == (1.0, 0.0)
    assert balanced_accuracy([[0, 0], [1, 0]]) == 0


def test_resampled_matrices_scatter_as_resampled_images_do() -> None:
    confusion = np.array([[50, 10, 0], [6, 20, 4], [1, 2, 7]])
    labels, predicted = images_of(confusion)
    rng = np.random.default_rng(1)
    draws = rng.integers(len(labels), size=(400, len(labels)))
    expected = [
        (balanced_accuracy_score(labels[d], predicted[d]), matthews_corrcoef(labels[d], predicted[d])) for d in draws
    ]
    found = resampled(confusion)

    for replicates, values in zip((found.balanced, found.matthews), np.transpose(expected), strict=True):
        assert replicates.resampled.std() == pytest.approx(values.std(), rel=0.12)
        assert replicates.value in replicates.interval
    assert np.array_equal(found.balanced.resampled, resampled(confusion).balanced.resampled)


def test_many_classes_are_resampled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.statistics.class_scores.HELD_CELLS", 30)
    assert len(resampled(np.eye(3, dtype=np.int64) * 9, 10).balanced.resampled) == 10


def test_of_very_many_classes_there_are_fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.statistics.class_scores.MOST_CELLS", 9 * 300)
    assert len(resampled(np.eye(3, dtype=np.int64)).balanced.resampled) == 300


def test_the_variance_of_a_share_is_the_binomial_one_and_not_0_where_all_are_right() -> None:
    assert variance_of(Share(500, 1000)) == pytest.approx(0.25 / 1000, rel=0.01)
    assert variance_of(Share(20, 20)) > 1e-4
