from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from galaxytl.data import DataError, split_indices
from galaxytl.trial import TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")
LABELS = np.repeat(np.arange(10), 100)


def test_seventy_thirty_and_no_row_twice() -> None:
    splits = split_indices(LABELS, SPEC)
    assert splits.sizes() == {"train": 700, "validation": 0, "test": 300}
    assert np.array_equal(splits.all(), np.arange(1000))


def test_validation_comes_out_of_the_train_part() -> None:
    without, with_validation = (split_indices(LABELS, SPEC.replace(validation_fraction=f)) for f in (0.0, 0.2))
    assert np.array_equal(without.test, with_validation.test)
    together = np.sort(np.concatenate([with_validation.train, with_validation.validation]))
    assert np.array_equal(together, without.train)
    assert len(with_validation.validation) == 140


def test_split_follows_its_own_seed_only() -> None:
    same = split_indices(LABELS, SPEC.replace(seed=7, shuffle_seed=3, backbone="VGG16", learning_rate=0.1))
    assert np.array_equal(split_indices(LABELS, SPEC).test, same.test)
    assert not np.array_equal(split_indices(LABELS, SPEC.replace(split_seed=1)).test, same.test)


def test_stratified_keeps_the_shares() -> None:
    splits = split_indices(LABELS, SPEC.replace(stratified=True))
    assert np.bincount(LABELS[splits.test]).tolist() == [30] * 10


def test_subset_is_stratified_and_stays_in_the_dataset() -> None:
    splits = split_indices(LABELS, SPEC.replace(max_images=200, stratified=True))
    assert np.bincount(LABELS[splits.all()]).tolist() == [20] * 10
    assert all(a < b for a, b in pairwise(splits.all()))


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (np.r_[LABELS[:900], 9], {}, r"at least 2 images to be split; class 9 \(Edge-on with Bulge\) has 1"),
        (np.r_[LABELS[:900], 9, 9], {"validation_fraction": 0.1}, "at least 3 images"),
        (np.r_[LABELS[:900], 9, 9], {}, "out of it. Try --set stratified=true"),
        (
            np.repeat(np.arange(10), 2),
            {"stratified": True, "test_fraction": 0.05},
            "cannot be split by a share of 0.05",
        ),
        (LABELS, {"max_images": 12}, "max_images must be 0 .all. or at least 30; got 12"),
    ],
)
def test_classes_too_small_to_split(labels: np.ndarray, changes: dict[str, object], message: str) -> None:
    seeds = 5  # enough for an unstratified split to leave a class of two out at least once

    def split_all() -> None:
        for seed in range(seeds):
            split_indices(labels, SPEC.replace(split_seed=seed, **changes))

    with pytest.raises(DataError, match=message):
        split_all()
