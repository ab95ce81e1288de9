"""Training images as an epoch sees them: turned and mirrored, moved, enlarged or shrunk, made brighter or darker.

    images = augmented(images, spec, 3)     # as epoch 3 sees them; rows are read, and changed, by images[rows]

What is done to an image depends on the spec's shuffle seed, the epoch and the image's row in the dataset, and on
nothing else: not on the trials that read the same images, nor on the order and the size of the batches, nor on the
backend. So the random numbers are NumPy's, drawn for all rows at once, and the pixels are computed on the CPU by
libraries that give the same everywhere. Keras's layers (RandomTranslation, RandomZoom, RandomBrightness; 3.15.1) draw
by the batch, and what they interpolate rounds otherwise on another backend; the formulas are theirs, and tests compare
with them:

    zoom         z = 1 + uniform(-zoom, zoom) of the image's side is seen, about its centre: below 1 it is enlarged
    shift        it is then moved by uniform(-shift, shift) of its side to the right, and as much, drawn anew, down
    brightness   uniform(-brightness, brightness) * 255 is added to each value, which stays within 0 and 255

Zoom and shift are one bilinear interpolation. What comes into view from outside is the image mirrored at its edge
(Keras's default, "reflect"): of a galaxy amid the sky that is more sky, without the black border that no telescope has
seen, and by which a network could tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.learning.augmentation.symmetries import NUM_WAYS, turn
from galaxytl.trial import TrialSpec, seed_for

SYMMETRIES, SHIFT, ZOOM, BRIGHTNESS = 8, 9, 10, 11
"""Streams of random numbers, kept apart from those that order the batches (`examples.epoch_order`)."""
LARGEST = 255


@dataclass(frozen=True)
class Changes:
    """What is done to each of N images, in this order; None: nothing of the kind."""

    ways: NDArray[np.int64] | None = None
    """(N,): 0 to 7, of the symmetries."""
    zooms: NDArray[np.float32] | None = None
    """(N,): the share of the side that is seen."""
    shifts: NDArray[np.float32] | None = None
    """(N, 2): shares of the side, down and to the right."""
    brightness: NDArray[np.float32] | None = None
    """(N,): what is added."""

    def applied(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the changed ones of images (n, S, S, 3), which are these rows."""
        if self.ways is not None:
            images = _turned(images, self.ways[rows])
        if self.zooms is not None or self.shifts is not None:
            zooms = np.ones(len(rows)) if self.zooms is None else self.zooms[rows]
            shifts = np.zeros((len(rows), 2)) if self.shifts is None else self.shifts[rows]
            images = _placed(images, zooms.astype(np.float64), shifts.astype(np.float64))
        if self.brightness is not None:
            brighter = images + self.brightness[rows][:, None, None, None]
            images = np.rint(np.clip(brighter, 0, LARGEST)).astype(np.uint8)
        return images


@dataclass(frozen=True)
class AugmentedImages:
    """Like the array of its images, (N, S, S, 3), each changed in its own way when it is read by `images[rows]`."""

    images: NDArray[np.uint8]
    changes: Changes

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return self.images.dtype

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.changes.applied(self.images[rows], rows)


def augmented(images: NDArray[np.uint8], spec: TrialSpec, number: int) -> AugmentedImages:
    """Return the images (N, S, S, 3) of a dataset as epoch `number` (from 1) trains on them, before they are blended
    (`mixing`)."""
    ways = drawn(spec, SYMMETRIES, number).integers(NUM_WAYS, size=len(images)) if spec.augmentation else None
    return AugmentedImages(images, changes(spec, number, len(images), ways))


def changes(spec: TrialSpec, number: int, num_images: int, ways: NDArray[np.int64] | None, further: int = 0) -> Changes:
    """Return the changes of an epoch, or of a view whose streams are `further` ones, with these symmetries."""

    def uniform(stream: int, width: float, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        random = drawn(spec, stream + further, number)
        return random.uniform(-width, width, shape).astype(np.float32) if width else None

    zooms = uniform(ZOOM, spec.zoom, (num_images,))
    return Changes(
        ways,
        None if zooms is None else 1 + zooms,
        uniform(SHIFT, spec.shift, (num_images, 2)),
        uniform(BRIGHTNESS, spec.brightness * LARGEST, (num_images,)),
    )


def drawn(spec: TrialSpec, stream: int, number: int) -> np.random.Generator:
    """Return the random numbers of one stream for one epoch, or one view."""
    return np.random.default_rng([seed_for(spec, "shuffle"), stream, number])


def _turned(images: NDArray[np.uint8], ways: NDArray[np.int64]) -> NDArray[np.uint8]:
    found = np.empty(images.shape, images.dtype)
    for way in np.unique(ways):
        found[ways == way] = turn(images[ways == way], int(way))
    return found


def _placed(images: NDArray[np.uint8], zooms: NDArray[Any], shifts: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images (n, S, S, 3), zoomed about their centres and then shifted.

    SciPy wants where in the image a pixel of the result comes from: zoom * (place - shift - centre) + centre."""
    from scipy import ndimage  # a quarter of a second, which a sweep's driver need not wait for

    found = np.empty(images.shape, images.dtype)
    side = images.shape[1]
    centre = (side - 1) / 2
    for image, zoom, shift, result in zip(images, zooms, shifts, found, strict=True):
        offset = centre - zoom * (shift * side + centre)
        for colour in range(images.shape[3]):
            ndimage.affine_transform(
                image[:, :, colour], (zoom, zoom), offset, output=result[:, :, colour], order=1, mode="reflect"
            )
    return found
