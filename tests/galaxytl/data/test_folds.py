"""The folds of cross-validation: each image is tested once, class by class, and groups stay together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.data import DataError, Splits, split_indices
from galaxytl.data.splits import leaks
from galaxytl.trial import TrialSpec
from tests.galaxytl.data.test_splits import twin_groups

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", num_folds=5)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 40))


def folds_of(labels: np.ndarray, spec: TrialSpec, groups: np.ndarray | None = None) -> list[Splits]:
    return [split_indices(labels, spec.replace(fold=fold), groups) for fold in range(spec.num_folds)]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 7),
    st.integers(0, 1000),
    st.sampled_from([0, 250]),
    st.sampled_from([0.0, 0.1]),
    st.lists(st.integers(30, 60), min_size=10, max_size=10),
    st.integers(1, 4),
)
def test_each_image_is_tested_once(
    num_folds: int, seed: int, max_images: int, validation: float, counts: list[int], size: int
) -> None:
    """Of shuffled labels, with galaxies of some `size` images or, of one, without twins."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), counts))
    groups = twin_groups(20, size, seed, labels)
    spec = SPEC.replace(num_folds=num_folds, split_seed=seed, max_images=max_images, validation_fraction=validation)
    found = folds_of(labels, spec, groups)
    tested = np.concatenate([splits.test for splits in found])
    assert len(tested) == len(set(tested)) == (max_images or len(labels))
    for splits in found:
        assert np.array_equal(splits.all(), np.sort(tested))  # of the rest nothing is left out
        assert leaks(splits, groups) == {}
        assert bool(len(splits.validation)) == bool(validation)
        uneven = np.bincount(labels[splits.test]) - np.bincount(labels[tested]) / num_folds
        assert np.abs(uneven).max() <= 2 * size + 1
    # the rest of the spec, the other folds among it, changes nothing of a fold; another split_seed does
    alike = spec.replace(fold=1, test_fraction=0.5, stratified=True, seed=3, validation_fraction=0.0)
    assert np.array_equal(split_indices(labels, alike, groups).test, found[1].test)
    assert not np.array_equal(split_indices(labels, alike.replace(split_seed=seed + 1), groups).test, found[1].test)


def test_groups_of_one_image_change_nothing() -> None:
    for plain, grouped in zip(folds_of(LABELS, SPEC), folds_of(LABELS, SPEC, np.arange(len(LABELS))), strict=True):
        assert np.array_equal(plain.test, grouped.test)


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        (np.r_[LABELS, 10, 10], None, r"each of the 5 folds; class 10 has 2. Try --folds 2, or take more images"),
        (np.r_[LABELS, 10], None, r"class 10 has 1. Leave out --folds"),
        (
            np.r_[LABELS, [10] * 8],
            np.r_[np.arange(len(LABELS)), [400, 401, 402, 403] * 2],
            "class 10 has 8, which count as 4. Try --folds 4",
        ),
        (LABELS, np.arange(400) // 100, "must fit into the test part, 80 images; 100 images have"),
    ],
)
def test_what_cannot_be_folded(labels: np.ndarray, groups: np.ndarray | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_indices(labels, SPEC, groups)
