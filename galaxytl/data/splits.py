"""The paper's 70 % train / 30 % test; validation comes out of the train part, never out of the test part.

    splits = split_indices(dataset.labels, spec)
    leaks(splits, sky.groups(dataset))               # galaxies on both sides; none with
    splits = split_indices(dataset.labels, spec, sky.groups(dataset))

The paper's split was hardly stratified: its VGG16 OFF row (accuracy 0.157, precision 0.025 = 0.157^2) predicts one
class with a test share of 0.157, and the largest class of the whole dataset has a share of 0.149.

Where a dataset has a split of its own that is to be kept, `galaxytl.data.official` tells the part of each row; in
cross-validation `galaxytl.data.folds` makes the test part.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.folds import Fold, fold_of
from galaxytl.system.cache import cache_dir, keep, read_own
from galaxytl.system.locations import DataError
from galaxytl.trial import SpecError, TrialSpec, seed_for

Indices = NDArray[np.int64]
Parts = NDArray[np.int8]
SUBSET = "subset"
"""Of the dataset, `max_images` of it: the part that is split further."""
OFFICIAL_PARTS = ("train", "validation", "test")
"""Parts of a dataset's own split, by their numbers."""
PREVENTED = "--group-by-sky prevents it"
MOST_CUTS: Final = 100
"""In the cache, the newest: of Galaxy10's 17,736 images 71 kB each."""


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


def split_indices(
    labels: NDArray[np.int64], spec: TrialSpec, groups: Indices | None = None, official: Parts | None = None
) -> Splits:
    """Split the rows of `labels` (N,) as `spec` says; equal for all specs that agree on the split's fields.

    With `groups` (N,), rows of one number end up in one part. It is the split without groups, in which each group
    that it tears apart is moved to one side: no other row changes sides, and the sizes (of each class, if stratified)
    stay within half of the largest such group, unless that would leave a class out.

    Of a spec with folds the test part is one of them, class by class also where the spec is not stratified: the folds'
    test parts are disjoint, and together all rows. The validation part is cut from the rest, as without folds.

    With `official` (N,), places in OFFICIAL_PARTS, the train and test parts are those, and so is the validation part,
    where the spec asks for one and there is one; else it is cut from the train part. Groups then change sides between
    train and validation alone.

    Raises DataError when a class would have no image in the train or the test part, or a stratified part fewer images
    than there are classes; with the option that helps, if one does.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    try:
        return _split(labels, spec, groups, official)
    except _LeftOut as problem:
        helps = _helpful_options(labels, spec, groups, official, problem.part)
        other = "leave out --split official" if official is not None else "take more images"
        raise DataError(f"{problem} {f'Try {helps}' if helps else f'No option helps: {other}'}.") from problem


class _LeftOut(ValueError):
    """Says which classes a part would be without."""

    def __init__(self, part: str, text: str) -> None:
        super().__init__(text)
        self.part = part


def _split(labels: NDArray[np.int64], spec: TrialSpec, groups: Indices, official: Parts | None) -> Splits:
    """Do as `split_indices`, without advice: raises _LeftOut."""
    seed = seed_for(spec, "split")
    rows = _subset(labels, spec.max_images, seed)
    if official is None:
        train, test = _with_test(rows, labels, spec, groups)
        validation = np.empty(0, np.int64)
    else:
        train, validation, test = (rows[official[rows] == part] for part in range(len(OFFICIAL_PARTS)))
    if spec.validation_fraction:
        if not len(validation):
            train, validation = _cut("validation", train, labels, spec.validation_fraction, spec.stratified, seed + 1)
        train, validation = _mended(train, validation, labels, groups, spec.stratified)
        if not len(validation):
            raise _too_large(groups[train], "validation part", spec)
    else:
        validation = validation[:0]
    _check_coverage(labels, rows, {"train": train, "test": test})
    return Splits(np.sort(train), np.sort(validation), np.sort(test))


def _with_test(rows: Indices, labels: NDArray[np.int64], spec: TrialSpec, groups: Indices) -> tuple[Indices, Indices]:
    """Return the rows without the test part, and that part."""
    number = math.ceil(len(rows) / spec.num_folds if spec.num_folds else spec.test_fraction * len(rows))
    if np.unique(groups[rows], return_counts=True)[1].max() > max(number, 1):
        raise _too_large(groups[rows], f"test part, {number} images", spec)
    if spec.num_folds:
        return fold_of(rows, labels, groups, Fold(spec.num_folds, spec.fold, seed_for(spec, "split")))
    _check_class_sizes(labels[rows], groups[rows], parts=3 if spec.validation_fraction else 2)
    train, test = _cut("test", rows, labels, spec.test_fraction, spec.stratified, seed_for(spec, "split"))
    return _mended(train, test, labels, groups, spec.stratified)


def _helpful_options(
    labels: NDArray[np.int64], spec: TrialSpec, groups: Indices, official: Parts | None, part: str
) -> str:
    """Return the options of the first other split that can be made: each is tried; "" where none can."""
    for changes in _other_splits(spec, len(labels), part):
        with contextlib.suppress(_LeftOut, DataError, SpecError):
            _split(labels, spec.replace(**changes), groups, official)
            return " ".join(f"--set {name}={str(value).lower()}" for name, value in changes.items())
    return ""


def _other_splits(spec: TrialSpec, num_images: int, part: str) -> Iterator[dict[str, Any]]:
    """Yield changes of one field of the spec, the nearest first, those of the `part` that misses a class before the
    others; then of two."""
    stratified: list[dict[str, Any]] = [] if spec.stratified else [{"stratified": True}]
    shares = [round(0.05 * number, 2) for number in range(1, 17)]
    larger: list[dict[str, Any]] = []
    larger += ({"validation_fraction": share} for share in shares if 0 < spec.validation_fraction < share)
    nearest = sorted(shares, key=lambda share: abs(share - spec.test_fraction))
    tests: list[dict[str, Any]] = [] if spec.num_folds else [{"test_fraction": share} for share in nearest]
    yield from stratified
    yield from [{"max_images": 0}] if part == SUBSET else []
    yield from [*tests, *larger] if part == "test" else [*larger, *tests]
    sizes = [{"max_images": spec.max_images * number} for number in range(2, 1 + num_images // (spec.max_images or 1))]
    yield from [*sizes[:8], {"max_images": 0}] if spec.max_images else []
    yield {"validation_fraction": 0.0}
    yield from (one | other for one, other in itertools.product(stratified or larger, [*larger, *tests]))
    yield from ({"split_seed": seed} for seed in range(20) if not spec.stratified)


def leaks(splits: Splits, groups: Indices) -> dict[str, Indices]:
    """Return parts that share groups ("train/test", ...) -> the numbers of those groups; empty where there are none.

    `groups` (N,) holds a number for each row of the dataset.
    """
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    shared = {
        f"{one}/{other}": np.intersect1d(groups[parts[one]], groups[parts[other]])
        for one, other in itertools.combinations(parts, 2)
    }
    return {sides: found for sides, found in shared.items() if found.size}


def describe_leaks(
    found: Mapping[str, Indices], names: tuple[str, str] = ("galaxy", "galaxies"), is_official: bool = False
) -> list[str]:
    """Return a sentence for each pair of parts in `leaks`, for people. names: of one group, and of several."""
    sentences = []
    for sides, torn in found.items():
        is_kept = is_official and sides.endswith("/test")
        advice = "that is the dataset's own split, which --split official keeps" if is_kept else PREVENTED
        what = f"{len(torn):,} {f'{names[0]} has' if len(torn) == 1 else f'{names[1]} have'}"
        sentences.append(f"{what} images on both sides of the {sides} split; {advice}")
    return sentences


def _subset(labels: NDArray[np.int64], max_images: int, seed: int) -> Indices:
    rows = np.arange(len(labels))
    if not max_images or max_images >= len(labels):
        return rows
    if max_images < (least := 3 * len(np.unique(labels))):
        raise DataError(f"max_images must be 0 (all) or at least {least}, three a class; got {max_images}")
    return _cut(SUBSET, rows, labels, max_images, True, seed)[1]


def _mended(
    kept: Indices, cut: Indices, labels: NDArray[np.int64], groups: Indices, stratified: bool
) -> tuple[Indices, Indices]:
    """Return both parts, each group that lies in both moved to one of them, the largest first.

    To the side that leaves every class on both sides; then to the one that keeps each class's share, if stratified;
    then to the one that keeps the sizes.
    """
    rows = np.concatenate([kept, cut])
    in_cut = np.arange(len(rows)) >= len(kept)
    num_classes = int(labels[rows].max()) + 1
    total, wanted = _class_counts(labels[rows], num_classes), _class_counts(labels[cut], num_classes)

    def cost(counts: Indices) -> tuple[int, int, int]:
        lost = np.sum((total > 0) & ((counts == 0) | (counts == total)))
        uneven = np.abs(counts - wanted).sum() if stratified else 0
        return int(lost), int(uneven), abs(int(counts.sum() - wanted.sum()))

    counts = wanted
    for places in sorted(_torn(groups[rows], in_cut), key=len, reverse=True):
        without = counts - _class_counts(labels[rows[places[in_cut[places]]]], num_classes)
        within = without + _class_counts(labels[rows[places]], num_classes)
        in_cut[places] = moved = cost(within) < cost(without)
        counts = within if moved else without
    return rows[~in_cut], rows[in_cut]


def _torn(groups: Indices, in_cut: NDArray[np.bool_]) -> list[Indices]:
    """Return the places, in `groups` (n,), of each group that has rows on both sides, by the groups' numbers."""
    torn = np.flatnonzero(np.isin(groups, np.intersect1d(groups[in_cut], groups[~in_cut])))
    places = torn[np.argsort(groups[torn], kind="stable")]
    return np.split(places, np.flatnonzero(np.diff(groups[places])) + 1)


def _class_counts(labels: NDArray[np.int64], num_classes: int) -> Indices:
    return np.bincount(labels, minlength=num_classes)


def _cut(
    part: str, rows: Indices, labels: NDArray[np.int64], size: float | int, stratified: bool, seed: int
) -> tuple[Indices, Indices]:
    """Return the rows without the `part`, and the part: a share (float) of them, rounded up, or so many (int)."""
    number = size if isinstance(size, int) else math.ceil(size * len(rows))
    _check_cut(part, len(rows), number, labels[rows] if stratified else None)
    kept, cut = cut_places(len(rows), size, seed, labels[rows] if stratified else None)
    return rows[kept], rows[cut]


def cut_places(number: int, size: float | int, seed: int, classes: NDArray[np.int64] | None) -> tuple[Indices, Indices]:
    """Cut `number` places in two, as scikit-learn does: gives those that are kept, and those cut off, a share (float)
    of them, rounded up, or so many (int). With `classes` (number,) each side gets its share of each.

    Importing scikit-learn takes a second or two, and a sweep asks for the same cuts each time it starts: they are kept
    in the cache, in files named after all that a cut depends on.
    """
    told = json.dumps([number, size, seed, *(version(name) for name in ("scikit-learn", "numpy"))]).encode()
    digest = hashlib.sha256(told + (b"" if classes is None else np.ascontiguousarray(classes).tobytes())).hexdigest()
    path = cache_dir() / "splits" / f"{digest}.u4"
    num_kept = number - (size if isinstance(size, int) else math.ceil(size * number))
    order = _read_order(path, number)
    if order is None:
        from sklearn.model_selection import train_test_split

        kept, cut = train_test_split(np.arange(number), test_size=size, random_state=seed, stratify=classes)
        order, num_kept = np.concatenate([kept, cut]), len(kept)
        keep(path, order.astype("<u4").tobytes())
        _remove_oldest(path.parent)
    return order[:num_kept], order[num_kept:]


def _read_order(path: Path, number: int) -> Indices | None:
    """Read a file; return None where there is none, or it holds anything but each place once."""
    with contextlib.suppress(OSError, ValueError):
        order = np.frombuffer(read_own(path), "<u4").astype(np.int64)
        if np.array_equal(np.sort(order), np.arange(number)):
            return order
    return None


def _remove_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another process removes them too
        for path in sorted(folder.glob("*.u4"), key=lambda path: path.stat().st_mtime)[:-MOST_CUTS]:
            path.unlink()


def _check_cut(part: str, num_rows: int, number: int, labels: NDArray[np.int64] | None) -> None:
    """Check that `number` of `num_rows` images can go to the part; stratified, each class (`labels`) wants one a
    side."""
    classes, counts = (np.zeros(1, np.int64), [2]) if labels is None else np.unique(labels, return_counts=True)
    of_classes = f"; stratified, it wants one of each of the {len(classes)} classes" if labels is not None else ""
    others = "rest" if part == SUBSET else "train part"
    for name, images in ((part if part == SUBSET else f"{part} part", number), (others, num_rows - number)):
        if images < len(classes):
            raise _LeftOut(part, f"the {name} would have {images} of {num_rows} images{of_classes}.")
    if min(counts) < 2:
        label = int(classes[np.argmin(counts)])
        raise _LeftOut(
            part,
            f"class {label} has 1 of the {num_rows} images, and would be missing in the {part} or the {others}.",
        )


def _check_class_sizes(labels: NDArray[np.int64], groups: Indices, parts: int) -> None:
    for label in np.unique(labels):
        images = int(np.sum(labels == label))
        galaxies = len(np.unique(groups[labels == label]))
        if galaxies < parts:
            found = f"{images}" if galaxies == images else f"{images}, which count as {galaxies}"
            raise _LeftOut(
                "validation" if parts == 3 else "test",
                f"each class must have at least {parts} images to be split; class {label} has {found}.",
            )


def _too_large(groups: Indices, part: str, spec: TrialSpec) -> DataError:
    """Return the error of a group that has more images than the part, of rows with these groups (n,)."""
    largest = int(np.unique(groups, return_counts=True)[1].max())
    reasons = [*(["equal pixels or one position"] if spec.group_by_sky or not spec.group_by else [])]
    reasons += [f"one value of '{spec.group_by}'"] if spec.group_by else []
    advice = "If the file says the same position of all, write NaN there, or split without groups"
    if spec.group_by:
        advice = "Group by a column with more values, leave it empty where it is not known, or split without groups"
    return DataError(
        f"images that stay together must fit into the {part}; {largest} images have {' or '.join(reasons)}. {advice}."
    )


def _check_coverage(labels: NDArray[np.int64], rows: Indices, parts: dict[str, Indices]) -> None:
    for name, part in parts.items():
        missing = np.setdiff1d(labels[rows], labels[part])
        if missing.size:
            label = int(missing[0])
            raise _LeftOut(
                name,
                f"every class must be in the {name} part; the split left class {label}, "
                f"{np.sum(labels[rows] == label)} images, out of it.",
            )
