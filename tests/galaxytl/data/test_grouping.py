from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxytl.data import DataError, Dataset, grouping, official, split_indices
from galaxytl.data.files.classes import Classes
from galaxytl.data.files.containers import ArraySource, unknown_columns
from galaxytl.data.splits import leaks
from galaxytl.trial import TrialSpec
from sweep import prepare

SPEC = TrialSpec(dataset="mine", dataset_fingerprint="0f3a", num_classes=2, validation_fraction=0.2)
LABELS = np.arange(100) % 2
OWN = np.repeat(["train", "val", "Testing "], (60, 20, 20))


def dataset_with(tmp_path: Path, **columns: Any) -> Dataset:
    """100 different images of two classes, with these columns."""
    images = np.arange(100, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8)
    given = {**unknown_columns(100), **columns}
    return Dataset("mine", "mine", "0" * 64, ArraySource(images, Classes(LABELS, ("a", "b")), given), tmp_path)


def groups_of(dataset: Dataset, **fields: Any) -> list[int]:
    groups = grouping.groups_of(dataset, SPEC.replace(**fields))
    assert groups is not None
    return groups.tolist()


def test_equal_values_stay_together_and_unknown_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, plates = np.full(100, ""), np.full(100, np.nan)
    tiles[[3, 7, 9]], plates[[1, 2]] = ["x", "y", "x"], 5.0
    dataset = dataset_with(tmp_path, tile=tiles, plate=plates)
    assert groups_of(dataset, group_by="tile") == [3 if row == 9 else row for row in range(100)]
    assert groups_of(dataset, group_by="plate") == [1 if row == 2 else row for row in range(100)]
    monkeypatch.setattr(grouping.sky, "groups", lambda *_: np.array([*range(9), 2, *range(10, 100)]))
    both = groups_of(dataset, group_by="tile", group_by_sky=True)
    assert (both[2], both[3], both[9]) == (2, 2, 2)  # 9 is of 2's galaxy, and has 3's value
    assert grouping.groups_of(dataset, SPEC) is None
    with pytest.raises(DataError, match="must have the values of 'tile' that the sweep saw; it has others"):
        grouping.checked_groups(dataset, SPEC.replace(group_by="tile", groups_fingerprint="0" * 64))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_column_of_one_value_is_refused(tmp_path: Path, share: float) -> None:
    """Also under the dataset's own split, where all would move to the train part."""
    values = np.where(np.arange(100) < 100 * share, "x", "").astype(str)
    groups = grouping.equal_values(values)
    spec = SPEC.replace(group_by="tile")
    with pytest.raises(DataError, match=f"test part, 30 images; {100 * share:.0f} images have one value of 'tile'"):
        split_indices(LABELS, spec, groups)
    parts = official.official_parts(dataset_with(tmp_path, split=np.repeat(["train", "test"], 50)))
    with pytest.raises(DataError, match=r"fit into the validation part; 50 images have one value of 'tile'"):
        split_indices(LABELS, spec, groups, parts)


def test_many_groups_take_no_time() -> None:
    """Each of 100,000 groups is torn: seconds, where they were looked for one by one."""
    labels, groups = np.arange(200_000) % 2, np.arange(200_000) // 2
    splits = split_indices(labels, SPEC, groups)
    assert leaks(splits, groups) == {}
    assert abs(len(splits.test) - 60_000) <= 1


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({}, (60, 20, 20)),
        ({"validation_fraction": 0.0}, (60, 0, 20)),
        ({"split_seed": 3, "test_fraction": 0.5}, (60, 20, 20)),
    ],
)
def test_the_own_split_is_kept(tmp_path: Path, fields: dict[str, Any], sizes: tuple[int, ...]) -> None:
    parts = official.official_parts(dataset_with(tmp_path, split=OWN))
    splits = split_indices(LABELS, SPEC.replace(**fields), None, parts)
    assert np.isin(splits.test, range(80, 100)).all()
    assert (splits.train < 60).all()
    assert tuple(splits.sizes().values()) == sizes
    few = split_indices(LABELS, SPEC.replace(max_images=50), None, parts)
    assert (len(few.all()), set(few.test) - set(splits.test)) == (50, set())
    if not fields:
        torn = np.arange(100)
        torn[[1, 61, 81]] = 1  # in all three parts
        grouped = split_indices(LABELS, SPEC, torn, parts)
        assert np.array_equal(grouped.test, splits.test)
        assert set(leaks(grouped, torn)) <= {"train/test", "validation/test"}


def test_a_validation_part_is_cut_where_the_dataset_has_none(tmp_path: Path) -> None:
    parts = official.official_parts(dataset_with(tmp_path, split=np.repeat(["train", "test"], 50)))
    splits = split_indices(LABELS, SPEC, None, parts)
    assert splits.sizes() == {"train": 40, "validation": 10, "test": 50}
    assert (splits.validation < 50).all()
    with pytest.raises(DataError, match=r"every class must be in the test part; .* No option helps: leave out --split"):
        split_indices(np.r_[LABELS[:50], np.zeros(50, np.int64)], SPEC, None, parts)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (None, "mine has none. It comes from folders train/, validation/ and test/, from names of"),
        (np.repeat(["train", "validation"], 50), "wants a test part; mine has train, validation alone. Leave"),
        (np.repeat(["test", "validation"], 50), "wants a train part"),
        (np.repeat(["train", "test", ""], (50, 40, 10)), "10 are in none, the first is image 90 with ''"),
    ],
)
def test_what_is_no_split(tmp_path: Path, own: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        official.official_parts(dataset_with(tmp_path, **({} if own is None else {"split": own})))


def test_what_a_sweep_says_of_them_and_a_worker_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare.sky, "groups", lambda *_: np.arange(100))
    tiles = np.array([*(["x"] * 2), *([""] * 78), "x", *map(str, range(19))])  # in the train and in the test part
    dataset = dataset_with(tmp_path, split=OWN, tile=tiles)
    own = official.parts_fingerprint(official.official_parts(dataset))
    spec = SPEC.replace(validation_fraction=0.0, group_by="tile", official_split=own)
    checked = prepare.check_splits(dataset, [spec], lambda *_: None)
    assert checked.split_texts() == [
        "the dataset's own: 60 train, 20 test images; those with one value of 'tile' stay together"
    ]
    assert checked.notes == (
        "78 images have no value of 'tile': each is taken to be like no other",
        "1 group of one 'tile' has images on both sides of the train/test split; that is the dataset's own split, "
        "which --split official keeps",
        "20 images of the dataset's own validation part are not used: --set validation_fraction=0.1 asks for a "
        "validation part",
    )
    (ready,) = checked.specs
    assert grouping.checked_groups(dataset, ready) is not None
    assert official.checked_parts(dataset, ready) is not None
    with pytest.raises(DataError, match="must have the split of its own that the sweep saw; it has another"):
        official.checked_parts(dataset, ready.replace(official_split="0" * 64))
