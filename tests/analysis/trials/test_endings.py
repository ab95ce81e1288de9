"""Kinds of failure."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, precision_score

from analysis.trials.endings import Ending, ending_of, is_one_class_row, one_class_scores
from analysis.trials.paper import TABLE_1
from galaxytl.results.collapse import cohen_kappa, top_share
from galaxytl.trial import FAILED, PRUNED
from tests.analysis.collapsing import guessing, one_class
from tests.analysis.fakes import make_confusion, make_result

Confusion = tuple[tuple[int, ...], ...]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, Ending.LEARNED),
        ({"confusion": one_class()}, Ending.ONE_CLASS),
        ({"confusion": guessing()}, Ending.CHANCE),
        ({"status": FAILED, "message": "diverged: the loss became nan in epoch 3/20"}, Ending.DIVERGED),
        ({"status": FAILED, "message": "out of memory"}, Ending.FAILED),
        ({"status": PRUNED, "message": "stopped by ASHA"}, Ending.FAILED),
        ({"confusion": ()}, Ending.FAILED),
    ],
)
def test_each_kind_is_known(changes: dict[str, object], kind: Ending) -> None:
    assert ending_of(make_result(**changes)) is kind
    assert kind.is_collapse == (kind in {Ending.ONE_CLASS, Ending.CHANCE, Ending.DIVERGED})


def test_one_class_begins_at_95_percent() -> None:
    assert top_share(((95, 3), (0, 2))) == 0.95
    nearly, just = ((90, 8), (4, 0)), ((93, 3), (4, 0))
    assert ending_of(make_result(confusion=just)) is Ending.ONE_CLASS
    assert ending_of(make_result(confusion=nearly)) is Ending.CHANCE


@pytest.mark.parametrize(
    ("confusion", "kind"),
    [
        (((95, 0), (0, 5)), Ending.LEARNED),  # perfect, on data of which one class is 95 %
        (((950, 0), (25, 25)), Ending.LEARNED),  # half of the rare class is right
        (((950, 0), (50, 0)), Ending.ONE_CLASS),
        (((940, 10), (46, 4)), Ending.ONE_CLASS),  # kappa 0.11, and significant
        (((0, 0, 0), (0, 90, 10), (0, 0, 0)), Ending.CHANCE),  # one true class: nothing is told apart
    ],
)
def test_whether_one_class_is_a_collapse_depends_on_the_truth(confusion: Confusion, kind: Ending) -> None:
    assert ending_of(make_result(confusion=confusion)) is kind


def test_the_share_of_one_class_can_be_another() -> None:
    result = make_result(confusion=((88, 6), (6, 0)))
    assert ending_of(result, 0.95) is Ending.CHANCE
    assert ending_of(result, 0.9) is Ending.ONE_CLASS


def test_kappa_and_its_error_under_the_null() -> None:
    confusion = make_confusion(0.4)
    truth = np.repeat(np.arange(10), np.sum(confusion, axis=1))
    predicted = np.concatenate([np.repeat(np.arange(10), row) for row in confusion])
    assert cohen_kappa(confusion)[0] == pytest.approx(cohen_kappa_score(truth, predicted))

    random = np.random.default_rng(0)
    shuffled = [random.permutation(predicted[::10]) for _ in range(2000)]
    counts = [np.bincount(10 * truth[::10] + own, minlength=100).reshape(10, 10).tolist() for own in shuffled]
    kappas, errors = np.array([cohen_kappa(own) for own in counts]).T
    assert kappas.std() == pytest.approx(errors.mean(), rel=0.06)
    assert np.mean(kappas > 1.96 * errors) == pytest.approx(0.025, abs=0.012)
    assert cohen_kappa(((50, 0), (0, 0))) == (0.0, 0.0)  # one class says nothing


@pytest.mark.parametrize("share", [0.08, 0.148, 0.5])
def test_one_class_scores_are_scikit_learns(share: float) -> None:
    truth = np.arange(1000) >= 1000 * share
    named = np.zeros(1000, bool)
    expected = (
        float(np.mean(truth == named)),
        precision_score(truth, named, average="weighted", zero_division=0),
        f1_score(truth, named, average="weighted", zero_division=0),
    )
    assert one_class_scores(share) == pytest.approx(expected)
    assert is_one_class_row(*(round(score, 3) for score in expected))


def test_of_the_papers_two_rows_one_is_of_one_class() -> None:
    rows = {cell.imagenet: cell for cell in TABLE_1 if cell.backbone == "VGG16"}
    off, on = rows["OFF"], rows["ON"]

    assert is_one_class_row(off.accuracy.value, off.precision.value, off.f1.value)
    assert not is_one_class_row(on.accuracy.value, on.precision.value, on.f1.value)
    assert not is_one_class_row(0.157, 0.025, 0.047)
