"""Scores that count every class alike: against scikit-learn, intervals that cover, and where they are undefined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef, recall_score

from analysis.statistics.class_scores import balanced_accuracy, matthews, recalls
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

    assert balanced_accuracy(confusion).value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert matthews(confusion).value == pytest.approx(matthews_corrcoef(labels, predicted))
    found = [share.value for share in recalls(confusion) if share]
    assert found == pytest.approx(recall_score(labels, predicted, average=None))


def test_one_class_for_everything_scores_one_over_the_classes_and_no_correlation() -> None:
    collapsed = np.zeros((10, 10), np.int64)
    collapsed[:, 2] = COUNTS

    assert balanced_accuracy(collapsed).value == pytest.approx(0.1)
    assert matthews(collapsed).value == 0
    assert 0 in matthews(collapsed).interval


def test_a_class_without_images_has_no_recall_and_counts_nowhere() -> None:
    confusion = [[8, 2, 0], [0, 0, 0], [0, 5, 5]]

    assert recalls(confusion) == (Share(8, 10), None, Share(5, 10))
    assert balanced_accuracy(confusion).value == pytest.approx(0.65)
    labels, predicted = images_of(np.array(confusion))
    assert matthews(confusion).value == pytest.approx(matthews_corrcoef(labels, predicted))


def test_one_image_and_one_class_are_defined() -> None:
    assert (balanced_accuracy([[1]]).value, matthews([[1]]).value) == (1.0, 0.0)
    assert balanced_accuracy([[0, 0], [1, 0]]).value == 0
    for score in (balanced_accuracy([[1]]), matthews([[1]]), matthews([[5, 0], [0, 0]]), matthews([[0, 5], [0, 0]])):
        assert np.isfinite([score.variance, score.interval.low, score.interval.high]).all()
        assert score.value in score.interval


def test_where_all_are_right_the_interval_still_has_a_width() -> None:
    for score in (balanced_accuracy, matthews):
        assert score(np.eye(2, dtype=np.int64) * 10).interval.high == 1
        assert 0.6 < score(np.eye(2, dtype=np.int64) * 10).interval.low < 0.9


def test_the_variances_are_those_of_resampled_images() -> None:
    confusion = np.array([[100, 500, 0], [60, 200, 40], [10, 20, 70]])
    draws = np.random.default_rng(1).multinomial(1000, confusion.ravel() / 1000, size=400).reshape(-1, 3, 3)
    for score in (balanced_accuracy, matthews):
        assert score(confusion).variance ** 0.5 == pytest.approx(np.std([score(d).value for d in draws]), rel=0.12)


@pytest.mark.parametrize("recall", [0.3, 0.9])
def test_intervals_cover_though_a_class_is_rare(recall: float) -> None:
    """Of 300 images the rarest class has 5. Percentiles of resampled images cover 0.91 here."""
    shares = np.array([0.016, 0.06, *[0.1155] * 8])
    truth = shares[:, None] * np.where(np.eye(10, dtype=bool), recall, (1 - recall) / 9)
    draws = np.random.default_rng(2).multinomial(300, truth.ravel(), size=600).reshape(-1, 10, 10)
    whole = matthews((truth * 1e9).astype(np.int64)).value
    for score, value in ((balanced_accuracy, recall), (matthews, whole)):
        assert np.mean([value in score(drawn).interval for drawn in draws]) >= 0.93


def test_the_variance_of_a_share_is_the_binomial_one_and_not_0_where_all_are_right() -> None:
    assert Share(500, 1000).variance == pytest.approx(0.25 / 1000, rel=0.01)
    assert Share(20, 20).variance > 1e-4
