"""The parts of k-fold cross-validation: each image is in the test part of one fold, and trains the others.

    rest, test = fold_of(rows, labels, groups, Fold(num_folds=5, fold=0, seed=7))

scikit-learn's StratifiedKFold, and where images stay together its StratifiedGroupKFold: folds are always made class by
class, as there, since a fold is small. Which of the folds is asked for changes nothing of the others.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galaxytl.system.locations import DataError

Indices = NDArray[np.int64]
Numbers = NDArray[np.int16]


@dataclass(frozen=True)
class Fold:
    """Fold number `fold`, from 0, of `num_folds`, drawn by `seed`."""

    num_folds: int
    fold: int
    seed: int


def fold_of(rows: Indices, labels: Indices, groups: Indices, fold: Fold) -> tuple[Indices, Indices]:
    """Return the `rows` (n,) of a dataset without the fold, and the fold, each in ascending order. `labels` and
    `groups` (N,) are of all its rows; rows of one group are in one fold.

    Raises DataError where a class has fewer images, or groups of them, than there are folds, and where groups leave a
    class out of a fold.
    """
    own_labels, own_groups = np.ascontiguousarray(labels[rows]), np.ascontiguousarray(groups[rows])
    _check(own_labels, own_groups, fold.num_folds)
    numbers = _numbers(own_labels.tobytes(), own_groups.tobytes(), fold.num_folds, fold.seed)
    _check_coverage(own_labels, numbers, fold)
    return rows[numbers != fold.fold], rows[numbers == fold.fold]


@functools.lru_cache(maxsize=4)  # all folds of one sweep are asked for, and groups take a while
def _numbers(labels: bytes, groups: bytes, num_folds: int, seed: int) -> Numbers:
    """Return (n,): the number of each row's fold.

    Rows that are alone in their group are dealt out apart from the others, unless that leaves a class out of a fold:
    StratifiedGroupKFold takes a millisecond a group, and of a survey's thousands of galaxies few were taken twice."""
    classes, together = np.frombuffer(labels, np.int64), np.frombuffer(groups, np.int64)
    _, places, sizes = np.unique(together, return_inverse=True, return_counts=True)
    grouped = sizes[places.reshape(-1)] > 1
    if grouped.any() and all(_is_enough(classes[part], num_folds) for part in (grouped, ~grouped)):
        numbers = np.zeros(len(classes), np.int16)
        for part in (grouped, ~grouped):
            numbers[part] = _dealt(classes[part], together[part], num_folds, seed)
        if _covers(classes, numbers, num_folds):
            return numbers
    return _dealt(classes, together, num_folds, seed)


def _is_enough(classes: Indices, num_folds: int) -> bool:
    """Return whether scikit-learn would take them: some class must have an image for each fold."""
    return bool(np.bincount(classes, minlength=1).max() >= num_folds)


def _covers(classes: Indices, numbers: Numbers, num_folds: int) -> bool:
    """Return whether each class is in each fold."""
    pairs = np.unique(np.column_stack([classes, numbers]), axis=0)
    return len(pairs) == num_folds * len(np.unique(classes))


def _dealt(classes: Indices, together: Indices, num_folds: int, seed: int) -> Numbers:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # take a second to import

    is_grouped = len(np.unique(together)) < len(together)
    splitter = (StratifiedGroupKFold if is_grouped else StratifiedKFold)(num_folds, shuffle=True, random_state=seed)
    numbers = np.zeros(len(classes), np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class with fewer images than folds, which is checked elsewhere
        for number, (_, test) in enumerate(splitter.split(np.zeros(len(classes)), classes, together)):
            numbers[test] = number
    return numbers


def _check(labels: Indices, groups: Indices, num_folds: int) -> None:
    """Check that each class can be in each fold."""
    classes, places = np.unique(labels, return_inverse=True)
    pairs = np.unique(np.column_stack([places.reshape(-1), groups]), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=len(classes))
    smallest = int(np.argmin(counts))
    if counts[smallest] < num_folds:
        found, label = int(counts[smallest]), int(classes[smallest])
        images = int(np.sum(labels == label))
        have = f"{images}" if images == found else f"{images}, which count as {found}"
        fewer = f"Try --folds {found}" if found > 1 else "Leave out --folds"
        raise DataError(
            f"each class must have at least one image for each of the {num_folds} folds; class {label} has {have}. "
            f"{fewer}, or take more images."
        )


def _check_coverage(labels: Indices, numbers: Numbers, fold: Fold) -> None:
    """Check that groups have left each class in the fold, and in the rest."""
    inside = numbers == fold.fold
    for name, part in (("test part", inside), ("train part", ~inside)):
        if (missing := np.setdiff1d(labels, labels[part])).size:
            raise DataError(
                f"every class must be in the {name} of each fold; images that stay together left class "
                f"{int(missing[0])} out of fold {fold.fold} of {fold.num_folds}. Take fewer folds, another split_seed, "
                "or groups of fewer images."
            )
