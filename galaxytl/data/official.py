"""The split that a dataset itself has, for trials that keep it (`--split official`).

parts = official_parts(dataset)                  # (N,) int8, places in OFFICIAL_PARTS
splits = split_indices(dataset.labels, spec, groups, parts)
"""

from __future__ import annotations

import hashlib

import numpy as np

from galaxytl.data.dataset import Dataset
from galaxytl.data.files.containers import PARTS, SPLIT_COLUMN
from galaxytl.data.splits import OFFICIAL_PARTS, Parts
from galaxytl.system.locations import DataError
from galaxytl.trial import TrialSpec


def official_parts(dataset: Dataset) -> Parts:
    """Return (N,) int8, the place of each image's part in OFFICIAL_PARTS. Raises DataError where the dataset has no
    split, no train or test part, or images in no part."""
    if SPLIT_COLUMN not in dataset.columns:
        raise DataError(
            f"--split official keeps the split that a dataset has; {dataset.uri} has none. It comes from folders "
            "train/, validation/ and test/, from names of Parquet files like test-00000-of-00001.parquet, or from a "
            "column 'split'. Leave --split out for a split of our own"
        )
    names, which = np.unique(dataset.columns[SPLIT_COLUMN].astype(str), return_inverse=True)
    numbers = np.array([_number(name) for name in names], np.int8)[which.reshape(-1)]
    _check(dataset, numbers)
    return numbers


def checked_parts(dataset: Dataset, spec: TrialSpec) -> Parts | None:
    """Return the parts where the spec keeps them, else None. Raises DataError where they are not those of the spec's
    fingerprint."""
    if not spec.official_split:
        return None
    parts = official_parts(dataset)
    if parts_fingerprint(parts) != spec.official_split:
        raise DataError(f"{dataset.uri} must have the split of its own that the sweep saw; it has another")
    return parts


def parts_fingerprint(parts: Parts) -> str:
    """Return 64 hexadecimal digits: the SHA-256 of the parts (N,)."""
    return hashlib.sha256(parts.tobytes()).hexdigest()


def _number(name: str) -> int:
    """Return the place of a part in OFFICIAL_PARTS; -1 of what is none."""
    part = PARTS.get(name.strip().lower())
    return OFFICIAL_PARTS.index(part) if part else -1


def _check(dataset: Dataset, numbers: Parts) -> None:
    if (outside := np.flatnonzero(numbers < 0)).size:
        value = dataset.columns[SPLIT_COLUMN][outside[0]]
        raise DataError(
            f"--split official wants every image of {dataset.uri} in train, validation or test; {outside.size:,} are "
            f"in none, the first is image {outside[0]} with '{str(value)[:60]}'"
        )
    for part in ("train", "test"):
        if not (numbers == OFFICIAL_PARTS.index(part)).any():
            there = ", ".join(name for i, name in enumerate(OFFICIAL_PARTS) if (numbers == i).any())
            raise DataError(
                f"--split official wants a {part} part; {dataset.uri} has {there} alone. Leave --split out for a split "
                "of our own"
            )
