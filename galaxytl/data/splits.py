"""The paper's 70 % train / 30 % test; validation comes out of the train part, never out of the test part.

    splits = split_indices(dataset.labels, spec)

The paper's split was hardly stratified: its VGG16 OFF row (accuracy 0.157, precision 0.025 = 0.157^2) predicts one
class with a test share of 0.157, and the largest class of the whole dataset has a share of 0.149.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from galaxytl.data.galaxy10 import CLASS_NAMES, NUM_CLASSES
from galaxytl.data.sources import DataError
from galaxytl.trial import TrialSpec, seed_for

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Row numbers of the dataset, each part in ascending order, no row in two parts."""

    train: Indices
    validation: Indices
    test: Indices

    def all(self) -> Indices:
        return np.sort(np.concatenate([self.train, self.validation, self.test]))

    def sizes(self) -> dict[str, int]:
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


def split_indices(labels: NDArray[np.int64], spec: TrialSpec) -> Splits:
    """Split the rows of `labels` (N,) as `spec` says; equal for all specs that agree on the split's fields.

    Raises DataError when a class would have no image in the train or the test part.
    """
    seed = seed_for(spec, "split")
    rows = _subset(labels, spec.max_images, seed)
    _check_class_sizes(labels[rows], parts=3 if spec.validation_fraction else 2)
    train, test = _cut(rows, labels, spec.test_fraction, spec.stratified, seed)
    validation = np.empty(0, np.int64)
    if spec.validation_fraction:
        train, validation = _cut(train, labels, spec.validation_fraction, spec.stratified, seed + 1)
    _check_coverage(labels, rows, {"train": train, "test": test})
    return Splits(np.sort(train), np.sort(validation), np.sort(test))


def _subset(labels: NDArray[np.int64], max_images: int, seed: int) -> Indices:
    rows = np.arange(len(labels))
    if not max_images or max_images >= len(labels):
        return rows
    if max_images < 3 * NUM_CLASSES:
        raise DataError(f"max_images must be 0 (all) or at least {3 * NUM_CLASSES}; got {max_images}")
    return _cut(rows, labels, max_images / len(labels), True, seed)[1]


def _cut(
    rows: Indices, labels: NDArray[np.int64], share: float, stratified: bool, seed: int
) -> tuple[Indices, Indices]:
    classes = labels[rows] if stratified else None
    try:
        kept, cut = train_test_split(rows, test_size=share, random_state=seed, stratify=classes)
    except ValueError as error:
        counts = np.bincount(labels[rows], minlength=NUM_CLASSES)
        smallest = int(np.argmin(counts))
        raise DataError(
            f"{len(rows)} images cannot be split by a share of {share:g} with every class on both sides: "
            f"class {smallest} ({CLASS_NAMES[smallest]}) has {counts[smallest]}. Take more images or another share. "
            f"({error})"
        ) from error
    return kept, cut


def _check_class_sizes(labels: NDArray[np.int64], parts: int) -> None:
    for label in np.unique(labels):
        count = int(np.sum(labels == label))
        if count < parts:
            raise DataError(
                f"each class must have at least {parts} images to be split; "
                f"class {label} ({CLASS_NAMES[label]}) has {count}"
            )


def _check_coverage(labels: NDArray[np.int64], rows: Indices, parts: dict[str, Indices]) -> None:
    for name, part in parts.items():
        missing = np.setdiff1d(labels[rows], labels[part])
        if missing.size:
            label = int(missing[0])
            raise DataError(
                f"every class must be in the {name} part; the random split left class {label} "
                f"({CLASS_NAMES[label]}) out of it. Try --set stratified=true, or another --set split_seed=..."
            )
