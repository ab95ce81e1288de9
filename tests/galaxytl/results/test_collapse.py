"""A collapsed trial is told from one that is slow, one that is unsure and one that answers otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from galaxytl.results.collapse import (
    CONSTANT_SHARE,
    TOLERANCE,
    best_answer,
    is_constant,
    loss_of_ignoring,
    why_collapsed,
)

IGNORING = 2.21
COLLAPSED = {"epoch": 1, "val_top_share": 1.0, "val_loss": IGNORING + 0.5 * TOLERANCE}
LEARNING = {"epoch": 1, "val_top_share": 0.4, "val_loss": 1.64}


def test_the_best_answer_that_is_the_same_for_all_has_the_least_loss() -> None:
    """On the labels that training saw: the entropy of their shares. Every other constant answer is worse."""
    labels = np.repeat(np.arange(10), np.arange(1, 11))
    found = loss_of_ignoring(labels, labels, np.ones(10))
    shares = np.arange(1, 11) / 55
    assert found == pytest.approx(-(shares * np.log(shares)).sum())
    rng = np.random.default_rng(0)
    for answer in rng.dirichlet(50 * shares, size=20):
        assert -np.log(answer)[labels].mean() > found


def test_the_loss_of_ignoring_follows_training_and_its_weights() -> None:
    """Watched labels of other shares; balanced weights, with which all classes are as likely; a class never seen."""
    labels, watched = np.array([0, 0, 0, 1]), np.array([1, 1, 0, 0])
    assert loss_of_ignoring(labels, watched, np.ones(2)) == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    labels, balanced = np.repeat(np.arange(10), np.arange(1, 11)), 55 / (10 * np.arange(1, 11))
    assert loss_of_ignoring(labels, labels, balanced) == pytest.approx(math.log(10))
    assert loss_of_ignoring(np.array([0, 1]), np.array([2]), np.ones(3)) == math.inf


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_best_answer_has_the_least_training_loss_whatever_that_is(smoothing: float, gamma: float) -> None:
    """A class that no image has gets nothing, unless the targets are smoothed."""
    shares = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
    targets, best = shares * (1 - smoothing) + smoothing / 5, best_answer(shares, smoothing, gamma)

    def loss(answer: np.ndarray) -> float:
        known = targets > 0
        return float(-(targets * (1 - answer) ** gamma)[known] @ np.log(answer[known]))

    assert best.sum() == pytest.approx(1)
    assert (best[4] > 0) == (smoothing > 0)
    assert gamma > 0 or best == pytest.approx(targets)
    rng, count = np.random.default_rng(0), np.count_nonzero(best)
    for scale in (20, 2000):
        for answer in rng.dirichlet(scale * best[:count], 20):
            assert loss(np.append(answer, [0.0] * (5 - count))) > loss(best)


def test_the_watched_loss_of_ignoring_is_the_plain_one_of_what_training_comes_to() -> None:
    labels, watched = np.array([0, 0, 0, 1]), np.array([0, 1, 2])
    assert loss_of_ignoring(labels, watched, np.ones(3), 0.3) == pytest.approx(
        -(math.log(0.75 * 0.7 + 0.1) + math.log(0.25 * 0.7 + 0.1) + math.log(0.1)) / 3
    )
    assert loss_of_ignoring(labels, watched, np.ones(3), 0.0, 2.0) == math.inf
    even = np.array([0, 1, 2])
    assert loss_of_ignoring(even, even, np.ones(3), 0.0, 2.0) == pytest.approx(math.log(3))
    votes = np.eye(3)[labels]
    assert loss_of_ignoring(votes, np.eye(3)[:2], np.ones(3), 0.1, 2.0) == pytest.approx(
        loss_of_ignoring(labels, watched[:2], np.ones(3), 0.1, 2.0)
    )
    focal, plain = (loss_of_ignoring(labels, labels, np.ones(2), 0.0, gamma) for gamma in (2.0, 0.0))
    assert focal > plain + TOLERANCE


def test_the_loss_of_ignoring_is_towards_votes_where_there_are_some() -> None:
    votes, watched = np.array([[1, 0, 0], [0.5, 0.5, 0]]), np.array([[0, 1, 0], [0.5, 0.5, 0]])
    found = loss_of_ignoring(votes, watched, np.ones(3))
    assert found == pytest.approx(-(0.25 * math.log(0.75) + 0.75 * math.log(0.25)))
    assert loss_of_ignoring(votes, np.array([[0.9, 0, 0.1]]), np.ones(3)) == math.inf
    labels, watched = np.array([0, 0, 1, 2]), np.array([0, 2, 2])
    wanted = loss_of_ignoring(labels, watched, np.ones(3))
    assert loss_of_ignoring(np.eye(3)[labels], np.eye(3)[watched], np.ones(3)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"val_top_share": CONSTANT_SHARE}, True),
        ({"val_top_share": 0.99}, False),  # tells some images apart
        ({"val_loss": IGNORING - 0.9 * TOLERANCE}, True),
        ({"val_loss": IGNORING - 2 * TOLERANCE}, False),  # better than ignoring the image
        ({"val_loss": IGNORING + 2 * TOLERANCE}, False),  # one class, on its way
        ({"val_loss": math.nan}, False),
        ({"val_loss": math.inf}, False),
    ],
)
def test_one_class_and_the_loss_of_ignoring_the_image_are_both_wanted(
    changed: dict[str, float], expected: bool
) -> None:
    assert is_constant({**COLLAPSED, **changed}, IGNORING) == expected


def test_it_ends_after_so_many_epochs_in_a_row() -> None:
    assert why_collapsed([COLLAPSED] * 2, IGNORING, 3) == ""
    assert why_collapsed([COLLAPSED, COLLAPSED, LEARNING, COLLAPSED, COLLAPSED], IGNORING, 3) == ""
    assert why_collapsed([COLLAPSED] * 3 + [LEARNING], IGNORING, 3) == ""
    assert why_collapsed([], IGNORING, 1) == ""
    what = "collapsed: one class whatever the image, and the loss of ignoring it (2.21 nats)"
    assert why_collapsed([LEARNING] + [COLLAPSED] * 3, IGNORING, 3) == f"{what}, for 3 epochs in a row"
    assert why_collapsed([COLLAPSED], IGNORING, 1).endswith("for an epoch")
    assert why_collapsed([COLLAPSED] * 100, IGNORING, 0) == ""
    assert why_collapsed([], IGNORING, 0) == ""
