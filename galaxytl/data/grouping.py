"""Which images stay on one side of every split: those of one galaxy, or with one value in a column, or both.

groups = groups_of(dataset, spec)                # (N,) int64, or None where the spec asks for none
splits = split_indices(dataset.labels, spec, groups)
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import sky
from galaxytl.data.dataset import Dataset
from galaxytl.data.scan import Progress
from galaxytl.system.locations import DataError
from galaxytl.trial import TrialSpec


def groups_of(dataset: Dataset, spec: TrialSpec, on_progress: Progress | None = None) -> NDArray[np.int64] | None:
    """Return (N,) int64: images that stay together have one number, the first of their rows; None where the spec asks
    for no groups."""
    galaxies = sky.groups(dataset, on_progress) if spec.group_by_sky else None
    if not spec.group_by:
        return galaxies
    of_column = equal_values(dataset.columns[spec.group_by])
    if galaxies is None:
        return of_column
    rows = np.arange(len(dataset))
    return sky.connected(np.column_stack([np.r_[rows, rows], np.r_[galaxies, of_column]]), len(rows))


def checked_groups(dataset: Dataset, spec: TrialSpec) -> NDArray[np.int64] | None:
    """Return what `groups_of` does. Raises DataError where these are not the groups of the spec's fingerprint."""
    groups = groups_of(dataset, spec)
    if groups is not None and groups_fingerprint(groups) != spec.groups_fingerprint:
        what = "positions (ra, dec)" if not spec.group_by else f"values of '{spec.group_by}'"
        raise DataError(f"{dataset.uri} must have the {what} that the sweep saw; it has others")
    return groups


def groups_fingerprint(groups: NDArray[np.int64]) -> str:
    """Return 64 hexadecimal digits: the SHA-256 of `groups` (N,)."""
    return hashlib.sha256(np.ascontiguousarray(groups, "<i8").tobytes()).hexdigest()


def equal_values(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return (N,) int64: for each value the first row that has it; one that is not known is like no other."""
    _, first, same = np.unique(values, return_index=True, return_inverse=True)
    return np.where(is_missing(values), np.arange(len(values)), first[same.reshape(-1)])


def is_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (N,): whether a value of a column is not known, which is NaN of a number and "" of a text."""
    return np.asarray(values == "") if values.dtype.kind in "UO" else np.isnan(values)
