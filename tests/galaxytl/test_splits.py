from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from galaxytl.data import DataError, Splits, split_indices
from galaxytl.data.splits import describe_leaks, leaks
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


def twin_groups(pairs: int, size: int = 2, seed: int = 0) -> np.ndarray:
    """(1000,): `pairs` groups of `size` rows of one class, the rest alone; numbered by their first row."""
    rng = np.random.default_rng(seed)
    groups = np.arange(1000)
    for number in range(pairs):
        rows = rng.choice(100, size, replace=False) + 100 * (number % 10)
        groups[rows] = groups[rows].min()
    return groups


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together(seed: int, stratified: bool) -> None:
    groups = twin_groups(120)
    spec = SPEC.replace(split_seed=seed, stratified=stratified, validation_fraction=0.2)
    assert len(leaks(split_indices(LABELS, spec), groups)["train/test"]) > 20
    splits = split_indices(LABELS, spec, groups)
    largest = np.unique(groups, return_counts=True)[1].max()
    assert leaks(splits, groups) == {}
    assert np.array_equal(splits.all(), np.arange(1000))
    for part, share in ((splits.test, 0.3), (splits.validation, 0.14)):
        uneven = np.bincount(LABELS[part], minlength=10) - 100 * share
        assert abs(uneven.sum()) <= (10 if stratified else 1) * largest / 2 + 1
        assert not stratified or np.abs(uneven).max() <= largest


def test_large_groups_keep_the_sizes_within_half_of_the_largest() -> None:
    for seed in range(5):
        groups = twin_groups(10, size=60, seed=seed)
        splits = split_indices(LABELS, SPEC.replace(split_seed=seed), groups)
        assert leaks(splits, groups) == {}
        assert abs(len(splits.test) - 300) <= 30


def test_without_twins_grouping_changes_nothing() -> None:
    spec = SPEC.replace(validation_fraction=0.1)
    plain, grouped = split_indices(LABELS, spec), split_indices(LABELS, spec, np.arange(1000))
    assert all(np.array_equal(getattr(plain, part), getattr(grouped, part)) for part in plain.sizes())


def test_only_torn_groups_change_sides() -> None:
    groups = twin_groups(120)
    plain, grouped = split_indices(LABELS, SPEC), split_indices(LABELS, SPEC, groups)
    moved = np.setxor1d(plain.test, grouped.test)
    assert np.isin(groups[moved], leaks(plain, groups)["train/test"]).all()


def test_a_subset_is_taken_before_the_groups() -> None:
    groups = twin_groups(120)
    spec = SPEC.replace(max_images=300)
    assert np.array_equal(split_indices(LABELS, spec, groups).all(), split_indices(LABELS, spec).all())
    assert leaks(split_indices(LABELS, spec, groups), groups) == {}


def test_leaks_are_counted_and_described() -> None:
    splits = Splits(np.array([0, 1, 2]), np.array([3]), np.array([4, 5, 6]))
    groups = np.array([0, 1, 1, 0, 0, 5, 5, 1])  # row 7 is in no part
    found = leaks(splits, groups)
    assert {sides: torn.tolist() for sides, torn in found.items()} == {
        "train/validation": [0],
        "train/test": [0],
        "validation/test": [0],
    }
    assert describe_leaks({"train/test": np.array([4, 9])}) == [
        "2 galaxies have images on both sides of the train/test split; --group-by-sky prevents it"
    ]


def test_no_class_is_lost_to_the_groups() -> None:
    labels = np.r_[LABELS[:900], 9, 9, 9, 9]  # two galaxies of class 9, two images each
    groups = np.arange(904)
    groups[[901, 903]] = 900, 902
    for seed in range(8):
        splits = split_indices(labels, SPEC.replace(split_seed=seed, stratified=True), groups)
        assert leaks(splits, groups) == {}
        assert np.bincount(labels[splits.test])[9] == 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(1000, np.int64), r"class 0 \(Disturbed\) has 100, which show 1"),
        (
            np.r_[np.tile(np.arange(2), 450), np.arange(100) + 900],
            "must fit into the test part, 300 images; 450 images",
        ),
    ],
)
def test_groups_too_large_to_split(groups: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_indices(LABELS, SPEC, groups)
