"""The eight symmetries of the square: rotations by 90 degrees and mirror images, which move pixels and make up none.

    for seen in symmetries(images): ...     # the first is `images` themselves

An image of a galaxy shows it from an arbitrary side, so none of the eight is the right one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NUM_WAYS = 8


def turn(images: NDArray[np.uint8], way: int) -> NDArray[np.uint8]:
    """Return images (n, S, S, 3), mirrored from way 4 on, then rotated by `way` quarters of a turn; 0 leaves them."""
    mirrored = images[:, :, ::-1] if way >= 4 else images
    return np.rot90(mirrored, way, axes=(1, 2))


def symmetries(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield square images (n, S, S, 3) in the eight ways in which a square is laid on itself; the first is as it is."""
    for way in range(NUM_WAYS):
        yield turn(images, way)
