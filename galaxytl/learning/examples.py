"""What a trial is trained on: inputs with their labels, the order in which epochs read them, and what each counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.trial import TrialSpec, seed_for


@dataclass(frozen=True)
class Examples:
    """Inputs (N, ...), labels (N,), votes where there are any, and which rows of them to train on, to watch after each
    epoch, and to score the trained network on."""

    inputs: Any
    """An array, or what gives rows of one by `inputs[rows]` and has its `shape` and `dtype`."""
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    watched: NDArray[np.int64]
    scored: NDArray[np.int64]
    votes: Any = None
    """(N, C) fractions that add up to 1, where they are trained towards in place of the labels; those are the leading
    classes then. An array, or what gives rows of one."""
    augmented: Callable[[int], Any] | None = None
    """Gives the inputs of an epoch (from 1) where training sees others in each (`galaxytl.learning.augmentation`)."""
    blended: Callable[[int], Any] | None = None
    """Gives the votes of an epoch, where training blends its images, of which each has its own."""

    def targets(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return what the network is to answer of some rows (n,): their labels (n,), or their votes (n, C)."""
        return self.labels[rows] if self.votes is None else self.votes[rows]

    @property
    def only_watched(self) -> Examples:
        """To score the rows that are watched and not scored: the validation part's, of a trial that is scored on the
        test part; none where there is no such part."""
        return replace(self, scored=np.setdiff1d(self.watched, self.scored))

    def in_epoch(self, number: int) -> Examples:
        """Return these with the inputs, and the targets, that epoch `number` trains on."""
        seen = replace(self, inputs=self.augmented(number)) if self.augmented else self
        if self.blended is None:
            return seen
        votes = self.blended(number)
        return replace(seen, votes=votes, labels=_leading(votes, self.labels, self.train))


def _leading(targets: Any, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels (N,), but of `rows` the classes that have the most of their targets (N, C); of equals the first."""
    found = labels.copy()
    for start in range(0, len(rows), 4096):  # memory stays bounded
        part = rows[start : start + 4096]
        found[part] = targets[part].argmax(axis=1)
    return found


def epoch_order(spec: TrialSpec, number: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `rows` in the order in which epoch `number` (from 1) reads them: equal for equal shuffle seeds."""
    return np.random.default_rng([seed_for(spec, "shuffle"), number]).permutation(rows)


def class_weights(spec: TrialSpec, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what an image of each class counts in the training loss, (C,), given the labels (n,) of all to train on.

    "balanced" is scikit-learn's rule, after King & Zeng (2001): n / (number of classes * images of this class); a class
    without images counts nothing.
    """
    if spec.class_weighting == "none":
        return np.ones(spec.num_classes, np.float32)
    counts = np.bincount(labels, minlength=spec.num_classes)
    weights = np.zeros(spec.num_classes, np.float32)
    weights[counts > 0] = len(labels) / (np.count_nonzero(counts) * counts[counts > 0])
    return weights
