"""Augmented views that are made once of each training image, so that what is frozen is computed once for each.

    rows = view_rows(spec, splits)              # every image as it is, and K views of those to train on
    inputs = ViewedImages(images, spec)[rows]
    chosen = view_of_epoch(spec, 3, num_images)       # (N,): which of its views epoch 3 reads of each image

Image i of N has the places i * (K + 1), where it is as it is, and the K after that, its views: such a place is a *row*
here. With K = 0 places are rows of the dataset.

A view is drawn as an epoch's image is (`images`), from the shuffle seed, the view's number and the image's row; but no
two of up to eight views of an image are the same symmetry. With eight, view k is symmetry k: then drawing one of the
views in each epoch is drawing one of the eight symmetries, as without views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import Splits
from galaxytl.learning.augmentation.images import SYMMETRIES, Changes, changes, drawn
from galaxytl.learning.augmentation.symmetries import NUM_WAYS
from galaxytl.trial import TrialSpec

CHOSEN = 15
"""Stream of random numbers, after those of `mixing`."""
FURTHER = 100
"""Keeps a view's streams apart from an epoch's."""


def makers(spec: TrialSpec) -> list[str]:
    """Return what views are made by: other versions may draw or interpolate otherwise; nothing where there are none."""
    return [version("numpy"), version("scipy")] if spec.views else []


def view_rows(spec: TrialSpec, splits: Splits) -> NDArray[np.int64]:
    """Return the places, ascending, of all images of the splits as they are, and of the views of the train part; in
    cross-validation of all images, which the folds train on in turn: they share them."""
    plain = splits.all() * (spec.views + 1)
    viewed = splits.all() if spec.num_folds else splits.train
    views = viewed[:, None] * (spec.views + 1) + np.arange(1, spec.views + 1)
    return np.sort(np.concatenate([plain, views.ravel()]))


def view_of_epoch(spec: TrialSpec, number: int, num_images: int) -> NDArray[np.int64]:
    """Return which view, 0 to K - 1, epoch `number` reads of each image (N,)."""
    return drawn(spec, CHOSEN, number).integers(spec.views, size=num_images)


@dataclass(frozen=True)
class ViewedImages:
    """Like an array of N * (K + 1) images: each as it is, and its views. They are made when they are read."""

    images: NDArray[np.uint8]
    spec: TrialSpec

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.images) * (self.spec.views + 1), *self.images.shape[1:])

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return self.images.dtype

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        owners, numbers = np.divmod(rows, self.spec.views + 1)
        found = self.images[owners].copy()
        for number in np.unique(numbers[numbers > 0]):
            chosen = numbers == number
            found[chosen] = self._changes[int(number) - 1].applied(found[chosen], owners[chosen])
        return found

    @cached_property
    def _changes(self) -> list[Changes]:
        """Of each view: all are drawn when the first one is read."""
        num_images, views = len(self.images), range(self.spec.views)
        ways = _ways(self.spec, num_images) if self.spec.augmentation else dict.fromkeys(views)
        return [changes(self.spec, k, num_images, ways[k], FURTHER) for k in views]


def _ways(spec: TrialSpec, num_images: int) -> Mapping[int, NDArray[np.int64] | None]:
    """Return the symmetries (N,) of each view: eight are in their order, others in one of each image's own."""
    if spec.views == NUM_WAYS:
        return {k: np.full(num_images, k) for k in range(spec.views)}
    orders = np.tile(np.arange(NUM_WAYS), (num_images, 1))
    orders = drawn(spec, SYMMETRIES + FURTHER, 0).permuted(orders, axis=1)
    return {k: orders[:, k % NUM_WAYS] for k in range(spec.views)}


@dataclass(frozen=True)
class DrawnViews:
    """Like the array of its inputs, but that at some places another place is read."""

    inputs: Any
    places: NDArray[np.int64]
    """(n,): of each place of the inputs, the one that is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape)

    @property
    def dtype(self) -> Any:
        return self.inputs.dtype

    def __getitem__(self, rows: NDArray[np.int64]) -> Any:
        return self.inputs[self.places[rows]]


def drawn_views(inputs: Any, spec: TrialSpec, number: int, rows: NDArray[np.int64], num_images: int) -> DrawnViews:
    """Return inputs, which are those of `rows` (`view_rows`, or all places), as epoch `number` reads them: for each
    image, where it has views, one of these."""
    owners = rows // (spec.views + 1)
    wanted = owners * (spec.views + 1) + 1 + view_of_epoch(spec, number, num_images)[owners]
    found = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    return DrawnViews(inputs, np.where(rows[found] == wanted, found, np.arange(len(rows))))
