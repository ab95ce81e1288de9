"""Whether an exported model says what its trial said: on the dataset's own images, before any resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import Dataset
from galaxytl.results.predictions import Probabilities

NUM_IMAGES: Final = 64
BATCH_BYTES: Final = 2**24
TOLERANCE: Final = 1e-5
"""Of a probability, where the same device computes in float32."""
LARGEST: Final = (0.001, 0.02)
"""Of a probability, beyond which a model is not its trial's: other devices round otherwise; in float32, and in 16
bits."""


@dataclass(frozen=True)
class Check:
    """How a model's probabilities differ from its trial's."""

    num_images: int
    difference: float
    """The largest, of a probability."""

    @property
    def is_equal(self) -> bool:
        return self.difference <= TOLERANCE

    def __str__(self) -> str:
        rule = f"at most {TOLERANCE:g} is rounding" if self.is_equal else f"more than {TOLERANCE:g}"
        return f"{self.num_images} raw images: probabilities differ from the trial's by {self.difference:.1e} ({rule})"


def compare(dataset: Dataset, scored: Probabilities, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> Check:
    """Run a model on the first images that its trial was scored on, as the dataset has them."""
    rows = scored.rows[:NUM_IMAGES]
    images, differences = raw_images(dataset, rows), list[float]()
    for shape in {image.shape for image in images}:  # those of one size together, some megabytes at once
        which = [i for i, image in enumerate(images) if image.shape == shape]
        number = max(1, BATCH_BYTES // math.prod(shape))
        for part in (which[start : start + number] for start in range(0, len(which), number)):
            found = run(np.stack([images[i] for i in part]))
            differences.append(float(np.abs(found - scored.values[part]).max()))
    largest = float(np.max(differences))
    return Check(len(images), largest if math.isfinite(largest) else math.inf)  # NaN differs from everything


def raw_images(dataset: Dataset, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Return the images (H, W, 3) of some rows, sorted, in their own sizes."""
    wanted, start, images = set(rows.tolist()), 0, list[NDArray[np.uint8]]()
    for batch in dataset.source.batches():
        images += [np.asarray(image) for row, image in enumerate(batch, start) if row in wanted]
        start += len(batch)
        if start > rows[-1]:
            break
    return images
