"""Training images, turned and mirrored: an image of a galaxy shows it from an arbitrary side, so none is the right one.

    images = augmented(images, spec, 3)     # as epoch 3 sees them; rows are read, and turned, by images[rows]

The eight symmetries of the square, rotations by 90 degrees and mirror images, move pixels and make up none. Which of
them an image gets depends on the spec's shuffle seed, the epoch and the image's row in the dataset, and on nothing
else: not on the trials that read the same images, nor on the order and the size of the batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galaxytl.trial import TrialSpec, seed_for

NUM_WAYS = 8
STREAM = 8  # keeps these random numbers apart from those that order the batches (`examples.epoch_order`)


@dataclass(frozen=True)
class AugmentedImages:
    """Like the array of its images, (N, S, S, 3), each turned in its own way when it is read by `images[rows]`."""

    images: NDArray[np.uint8]
    ways: NDArray[np.int64]
    """(N,): 0 to 7 for each image."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return self.images.dtype

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        images, ways = self.images[rows], self.ways[rows]
        found = np.empty(images.shape, images.dtype)
        for way in np.unique(ways):
            found[ways == way] = turn(images[ways == way], int(way))
        return found


def augmented(images: NDArray[np.uint8], spec: TrialSpec, number: int) -> AugmentedImages:
    """Return the images (N, S, S, 3) of a dataset as epoch `number` (from 1) trains on them."""
    random = np.random.default_rng([seed_for(spec, "shuffle"), STREAM, number])
    return AugmentedImages(images, random.integers(NUM_WAYS, size=len(images)))


def turn(images: NDArray[np.uint8], way: int) -> NDArray[np.uint8]:
    """Return images (n, S, S, 3), mirrored from way 4 on, then rotated by `way` quarters of a turn; 0 leaves them."""
    mirrored = images[:, :, ::-1] if way >= 4 else images
    return np.rot90(mirrored, way, axes=(1, 2))
