"""Training images blended in pairs, and their targets with them.

    pairs = pairs_of(spec, 3, len(images), train)              # of epoch 3
    BlendedImages(images, pairs)[rows], BlendedTargets(targets, pairs)[rows]

mixup (Zhang et al. 2018, "mixup: Beyond empirical risk minimization", eq. 1) and CutMix (Yun et al. 2019, eq. 1 and 2)
with share ~ Beta(alpha, alpha), drawn for each image:

    mixup     share * image + (1 - share) * partner
    cutmix    image, but for a rectangle with sides sqrt(1 - share) of the image's, at a uniform place within it, which
              is the partner's; in whole pixels, and `share` is then what of the area is left to the image
    targets   share * target + (1 - share) * partner's target

Where Yun et al. put the rectangle's centre anywhere and cut off what sticks out, Keras's layer, and so this, keeps it
inside. A partner is the image that a permutation of the train part puts in an image's place: each image is the partner
of one. Keras's layers (MixUp, CutMix; 3.15.1) permute the batch and draw by it, so what an image is blended with would
depend on the batch's size; tests compare their formulas with these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.learning.augmentation.images import drawn
from galaxytl.trial import TrialSpec

PARTNERS, SHARES, PLACES = 12, 13, 14
"""Streams of random numbers, after those of `images`."""


@dataclass(frozen=True)
class Pairs:
    """With what each of N images is blended in an epoch; those outside the train part with themselves."""

    partners: NDArray[np.int64]
    """(N,) rows."""
    shares: NDArray[np.float32]
    """(N,): what is left of the image itself."""
    boxes: NDArray[np.int64] | None = None
    """(N, 4): of the partner's rectangle the first row and the one after the last, likewise columns; None: mixup."""


@dataclass(frozen=True)
class BlendedImages:
    """Like the array of its images, (N, S, S, 3), each blended with its partner when it is read by `images[rows]`."""

    images: Any
    pairs: Pairs

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape)

    @property
    def dtype(self) -> Any:
        return self.images.dtype

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        own, others = self.images[rows], self.images[self.pairs.partners[rows]]
        if self.pairs.boxes is None:
            shares = self.pairs.shares[rows][:, None, None, None]
            return np.rint(shares * own + (1 - shares) * others).astype(np.uint8)
        found = own.copy()
        for result, other, (top, bottom, left, right) in zip(found, others, self.pairs.boxes[rows], strict=True):
            result[top:bottom, left:right] = other[top:bottom, left:right]
        return found


@dataclass(frozen=True)
class BlendedTargets:
    """Like an array of votes, (N, C) fractions that add up to 1."""

    targets: Any
    """(N, C), likewise."""
    pairs: Pairs

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.targets.shape)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        shares = self.pairs.shares[rows][:, None]
        blended = shares * self.targets[rows] + (1 - shares) * self.targets[self.pairs.partners[rows]]
        return np.asarray(blended, np.float32)


@dataclass(frozen=True)
class OneHot:
    """Like an array of votes, (N, C), that all are for the images' classes."""

    labels: NDArray[np.int64]
    num_classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.labels), self.num_classes

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self.labels[rows][:, None] == np.arange(self.num_classes), np.float32)


def pairs_of(spec: TrialSpec, number: int, num_images: int, train: NDArray[np.int64], side: int) -> Pairs:
    """Return what epoch `number` blends, of images with `side` pixels of which the rows `train` are trained on."""
    alpha = spec.mixup or spec.cutmix
    partners, shares = np.arange(num_images), np.ones(num_images, np.float32)
    partners[train] = drawn(spec, PARTNERS, number).permutation(train)
    drawn_shares = drawn(spec, SHARES, number).beta(alpha, alpha, size=num_images)
    if spec.mixup:
        shares[train] = drawn_shares[train]
        return Pairs(partners, shares)
    places = drawn(spec, PLACES, number).uniform(size=(num_images, 2))
    boxes = _boxes(drawn_shares, places, side)
    areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    shares[train] = (1 - areas / side**2)[train]
    return Pairs(partners, shares, boxes)


def _boxes(shares: NDArray[np.float64], places: NDArray[np.float64], side: int) -> NDArray[np.int64]:
    """Return rectangles (N, 4) as `Pairs` has them; places (N, 2) are of 0 to 1, in what room there is."""
    length = np.sqrt(1 - shares) * side
    starts = places * (side - length)[:, None]
    ends = starts + length[:, None]
    return np.stack([starts[:, 0], ends[:, 0], starts[:, 1], ends[:, 1]], axis=1).round().astype(np.int64)
