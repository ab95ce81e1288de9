"""The content fingerprint: the same images and labels have the same fingerprint in whatever file they lie.

fingerprint = ContentHash(); fingerprint.add(images); ...; fingerprint.hexdigest(labels)
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


class ContentHash:
    """SHA-256 over the SHA-256 of each image's pixels, in order, then the labels as little-endian int64.

    Hashing image by image makes the value independent of how the images arrive: one at a time, or in any batches.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, images: NDArray[np.uint8]) -> None:
        """Take the next images, (n, H, W, 3) uint8."""
        for image in images:
            self._hash.update(hashlib.sha256(np.ascontiguousarray(image).data).digest())

    def hexdigest(self, labels: NDArray[np.integer]) -> str:
        """64 hexadecimal digits, once every image was added; labels (N,)."""
        complete = self._hash.copy()
        complete.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
        return complete.hexdigest()
