from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from galaxytl.data import DataError, Splits, split_indices, splits
from galaxytl.data.splits import cut_places, describe_leaks, leaks
from galaxytl.trial import TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")
LABELS = np.repeat(np.arange(10), 100)

choices = st.fixed_dictionaries(
    {
        "test_fraction": st.sampled_from([0.3, 0.5]),
        "validation_fraction": st.sampled_from([0.0, 0.2]),
        "stratified": st.booleans(),
        "split_seed": st.integers(0, 2**32 - 1),
        "max_images": st.sampled_from([0, 250]),
    }
)


def twin_groups(pairs: int, size: int = 2, seed: int = 0, labels: np.ndarray = LABELS) -> np.ndarray:
    """(N,): `pairs` groups of `size` rows of one class, the rest alone; numbered by their first row."""
    rng = np.random.default_rng(seed)
    groups = np.arange(len(labels))
    for number in range(pairs):
        rows = rng.choice(np.flatnonzero(labels == number % 10), size, replace=False)
        groups[rows] = groups[rows].min()
    return groups


def test_seventy_thirty_and_no_row_twice() -> None:
    splits = split_indices(LABELS, SPEC)
    assert splits.sizes() == {"train": 700, "validation": 0, "test": 300}
    assert np.array_equal(splits.all(), np.arange(1000))


@settings(max_examples=50)
@given(choices, st.lists(st.integers(40, 60), min_size=10, max_size=10), st.integers(1, 4))
def test_every_split_keeps_its_promises(changes: dict[str, float], counts: list[int], size: int) -> None:
    """Of shuffled labels, with galaxies of some `size` images or, of one, without twins."""
    spec, seed = SPEC.replace(**changes), int(changes["split_seed"])
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), counts))
    groups = twin_groups(40, size, seed, labels)
    largest = np.bincount(groups).max()
    splits = split_indices(labels, spec, groups)
    rows, number = splits.all(), spec.max_images or len(labels)
    assert len(rows) == len(set(rows)) == number
    assert np.abs(np.bincount(labels[rows]) - np.array(counts) * number / sum(counts)).max() < 1
    assert leaks(splits, groups) == {}
    assert set(labels[splits.train]) == set(labels[splits.test]) == set(range(10))
    validation = spec.validation_fraction * (1 - spec.test_fraction)
    for part, share in ((splits.test, spec.test_fraction), (splits.validation, validation)):
        assert np.array_equal(part, np.sort(part))
        uneven = np.bincount(labels[part], minlength=10) - np.bincount(labels[rows]) * share
        assert abs(uneven.sum()) <= (10 if spec.stratified else 1) * largest / 2 + 2
        assert not spec.stratified or np.abs(uneven).max() <= largest + 2
    # Validation comes out of the train part, a subset before the groups, and only what was torn changes sides.
    bare = spec.replace(validation_fraction=0.0, seed=7, shuffle_seed=3, backbone="VGG16", learning_rate=0.1)
    plain, grouped = split_indices(labels, bare), split_indices(labels, bare, groups)
    assert np.array_equal(plain.all(), rows)
    assert np.array_equal(grouped.test, splits.test)
    assert np.array_equal(grouped.train, np.sort(np.r_[splits.train, splits.validation]))
    assert np.isin(groups[np.setxor1d(plain.test, grouped.test)], leaks(plain, groups).get("train/test", [])).all()
    assert not np.array_equal(split_indices(labels, bare.replace(split_seed=seed ^ 1), groups).test, splits.test)


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (np.r_[LABELS[:900], 9], {}, r"at least 2 images to be split; class 9 has 1. No option"),
        (np.r_[LABELS[:900], 9, 9], {"validation_fraction": 0.1}, "at least 3 images"),
        (np.r_[LABELS[:900], 9, 9], {}, "class 9, 2 images, out of it. Try --set stratified=true"),
        (
            np.repeat(np.arange(10), 2),
            {"stratified": True, "test_fraction": 0.05},
            "test part would have 1 of 20 images; stratified, .* each of the 10 classes. Try --set test_fraction=0.5",
        ),
        (  # no class of the data is small: the validation part is
            np.repeat([0, 1, 2, 3, 5, 6, 7, 8, 9], 10),
            {"stratified": True, "validation_fraction": 0.1},
            "validation part would have 7 of 63 images; .* the 9 classes. Try --set validation_fraction=0.15",
        ),
        (LABELS, {"max_images": 12}, "max_images must be 0 .all. or at least 30, three a class; got 12"),
    ],
)
def test_classes_too_small_to_split(labels: np.ndarray, changes: dict[str, object], message: str) -> None:
    seeds = 5  # enough for an unstratified split to leave a class of two out at least once

    def split_all() -> None:
        for seed in range(seeds):
            split_indices(labels, SPEC.replace(split_seed=seed, **changes))

    with pytest.raises(DataError, match=message):
        split_all()


@settings(max_examples=40, deadline=None)
@given(
    choices,
    st.sampled_from([0.05, 0.3]),
    st.sampled_from([0.0, 0.1]),
    st.lists(st.integers(0, 9), min_size=10, max_size=10).filter(any),
)
def test_the_option_that_is_named_helps(
    changes: dict[str, Any], test: float, validation: float, counts: list[int]
) -> None:
    labels = np.repeat(np.arange(10), counts)
    spec = SPEC.replace(**{**changes, "test_fraction": test, "validation_fraction": validation, "max_images": 0})
    if problem := why_not(labels, spec):
        named = dict(re.findall(r"--set (\w+)=(\S+?)\.?(?= |$)", problem))
        assert named or "No option helps: take more images" in problem
        assert not any(f"class {label} " in problem for label in range(10) if not counts[label])
        changes = {name: json.loads(text) for name, text in named.items()}
        assert not named or not why_not(labels, spec.replace(**changes))


def why_not(labels: np.ndarray, spec: TrialSpec) -> str:
    """Why they cannot be split; empty where they can."""
    try:
        split_indices(labels, spec)
    except DataError as error:
        return str(error)
    return ""


@settings(max_examples=25)
@given(st.integers(100, 1000), st.floats(0.1, 0.9), st.integers(0, 100))
def test_a_number_of_images_takes_the_rows_that_the_share_took(total: int, share: float, seed: int) -> None:
    """Which old results had, except where rounding the share gave an image too many."""
    rows, labels = np.arange(total), np.arange(total) % 10
    number = round(share * total)
    if min(number, total - number) < 10:
        return
    cut = [
        train_test_split(rows, test_size=size, random_state=seed, stratify=labels)[1]
        for size in (number, number / total)
    ]
    assert len(cut[0]) == number
    assert len(cut[1]) > number or np.array_equal(*cut)


def test_large_groups_keep_the_sizes_within_half_of_the_largest() -> None:
    for seed in range(5):
        groups = twin_groups(10, size=60, seed=seed)
        splits = split_indices(LABELS, SPEC.replace(split_seed=seed), groups)
        assert leaks(splits, groups) == {}
        assert abs(len(splits.test) - 300) <= 30


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
        (np.zeros(1000, np.int64), "must fit into the test part, 300 images; 1000 images have equal pixels or one"),
        (
            np.r_[np.tile(np.arange(2), 450), np.arange(100) + 900],
            "must fit into the test part, 300 images; 450 images",
        ),
    ],
)
def test_groups_too_large_to_split(groups: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_indices(LABELS, SPEC, groups)


# --- kept in the cache

OF_FIFTY = np.arange(50) % 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    return tmp_path / "splits"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("size", [0.3, 0.29, 0.01, 17])
@pytest.mark.parametrize("classes", [None, OF_FIFTY])
def test_a_cut_is_scikit_learns_the_first_time_and_without_it_later(
    size: float | int, classes: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if size == 0.01 and classes is not None:
        size = 0.06  # one of each class
    wanted = train_test_split(np.arange(50), test_size=size, random_state=4, stratify=classes)
    first = cut_places(50, size, 4, classes)
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    for kept, cut in (first, cut_places(50, size, 4, classes)):
        assert np.array_equal(kept, wanted[0])
        assert np.array_equal(cut, wanted[1])
        assert kept.dtype == cut.dtype == np.int64
    with pytest.raises(ImportError):  # of another cut nothing is known
        cut_places(50, size, 5, classes)


@pytest.mark.parametrize("classes", [OF_FIFTY, None])
def test_cuts_of_other_classes_and_numbers_are_others(classes: np.ndarray | None, folder: Path) -> None:
    for number, size, seed in ((50, 0.3, 4), (50, 0.3, 5), (50, 0.4, 4), (48, 0.3, 4)):
        cut_places(number, size, seed, None if classes is None else classes[:number])
    cut_places(50, 0.3, 4, np.flip(OF_FIFTY))
    assert len(list(folder.iterdir())) == 5


@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"abc", np.arange(49, dtype="<u4").tobytes()])
def test_a_damaged_file_is_not_believed(content: bytes, folder: Path) -> None:
    kept, _ = cut_places(50, 0.3, 4, None)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert np.array_equal(cut_places(50, 0.3, 4, None)[0], kept)
    assert file.read_bytes() == whole


def test_the_newest_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MOST_CUTS", 2)
    for seed in range(4):
        cut_places(50, 0.3, seed, None)
        for file in folder.iterdir():
            os.utime(file, (file.stat().st_mtime - 10,) * 2)
    assert len(list(folder.iterdir())) == 2
    before = {file.name for file in folder.iterdir()}
    cut_places(50, 0.3, 3, None)
    assert {file.name for file in folder.iterdir()} == before
