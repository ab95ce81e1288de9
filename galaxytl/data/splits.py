"""The paper's 70 % train / 30 % test; validation comes out of the train part, never out of the test part.

    splits = split_indices(dataset.labels, spec)
    leaks(splits, sky.groups(dataset))               # galaxies on both sides; none with
    splits = split_indices(dataset.labels, spec, sky.groups(dataset))

The paper's split was hardly stratified: its VGG16 OFF row (accuracy 0.157, precision 0.025 = 0.157^2) predicts one
class with a test share of 0.157, and the largest class of the whole dataset has a share of 0.149.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def split_indices(labels: NDArray[np.int64], spec: TrialSpec, groups: Indices | None = None) -> Splits:
    """Split the rows of `labels` (N,) as `spec` says; equal for all specs that agree on the split's fields.

    With `groups` (N,), rows of one number end up in one part. It is the split without groups, in which each group
    that it tears apart is moved to one side: no other row changes sides, and the sizes (of each class, if stratified)
    stay within half of the largest such group, unless that would leave a class out.

    Raises DataError when a class would have no image in the train or the test part.
    """
    seed = seed_for(spec, "split")
    rows = _subset(labels, spec.max_images, seed)
    if groups is None:
        groups = np.arange(len(labels))
    _check_class_sizes(labels[rows], groups[rows], parts=3 if spec.validation_fraction else 2)
    train, test = _cut(rows, labels, spec.test_fraction, spec.stratified, seed)
    _check_group_sizes(groups[rows], len(test))
    train, test = _mended(train, test, labels, groups, spec.stratified)
    validation = np.empty(0, np.int64)
    if spec.validation_fraction:
        train, validation = _cut(train, labels, spec.validation_fraction, spec.stratified, seed + 1)
        train, validation = _mended(train, validation, labels, groups, spec.stratified)
    _check_coverage(labels, rows, {"train": train, "test": test})
    return Splits(np.sort(train), np.sort(validation), np.sort(test))


def leaks(splits: Splits, groups: Indices) -> dict[str, Indices]:
    """Parts that share groups ("train/test", ...) -> the numbers of those groups; empty where there are none.

    `groups` (N,) holds a number for each row of the dataset.
    """
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    shared = {
        f"{one}/{other}": np.intersect1d(groups[parts[one]], groups[parts[other]])
        for one, other in itertools.combinations(parts, 2)
    }
    return {sides: found for sides, found in shared.items() if found.size}


def describe_leaks(found: Mapping[str, Indices]) -> list[str]:
    """A sentence for each pair of parts in `leaks`, for people."""
    advice = "--group-by-sky prevents it"
    return [
        f"{len(torn)} {'galaxy has' if len(torn) == 1 else 'galaxies have'} images on both sides of the {sides} split; "
        + advice
        for sides, torn in found.items()
    ]


def _subset(labels: NDArray[np.int64], max_images: int, seed: int) -> Indices:
    rows = np.arange(len(labels))
    if not max_images or max_images >= len(labels):
        return rows
    if max_images < 3 * NUM_CLASSES:
        raise DataError(f"max_images must be 0 (all) or at least {3 * NUM_CLASSES}; got {max_images}")
    return _cut(rows, labels, max_images / len(labels), True, seed)[1]


def _mended(
    kept: Indices, cut: Indices, labels: NDArray[np.int64], groups: Indices, stratified: bool
) -> tuple[Indices, Indices]:
    """Both parts, each group that lies in both moved to one of them, the largest first.

    To the side that leaves every class on both sides; then to the one that keeps each class's share, if stratified;
    then to the one that keeps the sizes.
    """
    rows = np.concatenate([kept, cut])
    in_cut = np.arange(len(rows)) >= len(kept)
    total, wanted = _class_counts(labels[rows]), _class_counts(labels[cut])

    def cost(counts: Indices) -> tuple[int, int, int]:
        lost = np.sum((total > 0) & ((counts == 0) | (counts == total)))
        uneven = np.abs(counts - wanted).sum() if stratified else 0
        return int(lost), int(uneven), abs(int(counts.sum() - wanted.sum()))

    torn = np.intersect1d(groups[kept], groups[cut])
    members = [np.flatnonzero(groups[rows] == group) for group in torn]
    for places in sorted(members, key=len, reverse=True):
        in_cut[places] = False
        without = _class_counts(labels[rows[in_cut]])
        in_cut[places] = cost(without + _class_counts(labels[rows[places]])) < cost(without)
    return rows[~in_cut], rows[in_cut]


def _class_counts(labels: NDArray[np.int64]) -> Indices:
    return np.bincount(labels, minlength=NUM_CLASSES)


def _cut(
    rows: Indices, labels: NDArray[np.int64], share: float, stratified: bool, seed: int
) -> tuple[Indices, Indices]:
    classes = labels[rows] if stratified else None
    from sklearn.model_selection import train_test_split  # takes a second to import

    try:
        kept, cut = train_test_split(rows, test_size=share, random_state=seed, stratify=classes)
    except ValueError as error:
        counts = _class_counts(labels[rows])
        smallest = int(np.argmin(counts))
        raise DataError(
            f"{len(rows)} images cannot be split by a share of {share:g} with every class on both sides: "
            f"class {smallest} ({CLASS_NAMES[smallest]}) has {counts[smallest]}. Take more images or another share. "
            f"({error})"
        ) from error
    return kept, cut


def _check_class_sizes(labels: NDArray[np.int64], groups: Indices, parts: int) -> None:
    for label in np.unique(labels):
        images = int(np.sum(labels == label))
        galaxies = len(np.unique(groups[labels == label]))
        if galaxies < parts:
            found = f"{images}" if galaxies == images else f"{images}, which show {galaxies}"
            raise DataError(
                f"each class must have at least {parts} images to be split; "
                f"class {label} ({CLASS_NAMES[label]}) has {found}"
            )


def _check_group_sizes(groups: Indices, test_size: int) -> None:
    largest = int(np.unique(groups, return_counts=True)[1].max())
    if largest > max(test_size, 1):
        raise DataError(
            f"images of one galaxy must fit into the test part, {test_size} images; {largest} images have equal pixels "
            "or one position. If the file says the same position of all, write NaN there, or split without groups."
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
