"""The content fingerprint: the same images and labels have the same fingerprint in whatever file they lie.

fingerprint = ContentHash(); fingerprint.add(images); ...; fingerprint.hexdigest(classes)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.classes import Classes
from galaxytl.data.galaxy10 import IMAGE_SIDE
from galaxytl.system.locations import DataError

GALAXY10_SHAPE: Final = (IMAGE_SIDE, IMAGE_SIDE, 3)


class ContentChangedError(DataError):
    """What is read is not what an earlier look at the same dataset saw."""


def check_fingerprint(text: object, where: object) -> str:
    """Return the text, if it is one; it becomes part of paths in the cache. Raises DataError otherwise."""
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{64}", text):
        raise DataError(f"{where}: fingerprint must have 64 hexadecimal digits; got {str(text)[:80]!r}")
    return text


def check_content(found: str, expected: str, where: object) -> None:
    """Raise ContentChangedError unless the fingerprint of what was read is the expected one."""
    if found != expected:
        raise ContentChangedError(
            f"{where} changed while it was in use: its content was {expected[:12]}, now it is {found[:12]}. "
            "Run the command again to start from the new content. If it says so each time, the file is damaged, and a "
            "filter such as LZF does not notice: fetch or copy it again."
        )


def image_digest(image: NDArray[np.uint8]) -> bytes:
    """Return the SHA-256 of the pixels of an image (H, W, 3); of another shape than Galaxy10's, of its sides before
    them, so that images of other sides with the same bytes differ."""
    digest = hashlib.sha256()
    if image.shape != GALAXY10_SHAPE:
        digest.update("x".join(map(str, image.shape)).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


class ContentHash:
    """SHA-256 over the `image_digest` of each image, in order, the labels as little-endian int64, and then, where the
    classes are not Galaxy10's, their names as JSON, and, where there are votes, their fractions as little-endian
    float32.

    Hashing image by image makes the value independent of how the images arrive: one at a time, or in any batches.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, images: Iterable[NDArray[np.uint8]]) -> None:
        """Take the next images, (H, W, 3) uint8 each."""
        for image in images:
            self.add_digest(image_digest(image))

    def add_digest(self, digest: bytes) -> None:
        """Take the next image by its `image_digest`."""
        self._hash.update(digest)

    def hexdigest(self, classes: Classes) -> str:
        """Return 64 hexadecimal digits, once every image was added."""
        complete = self._hash.copy()
        complete.update(np.ascontiguousarray(classes.labels, dtype="<i8").tobytes())
        if classes.own:
            complete.update(json.dumps(classes.own).encode())
        if classes.votes is not None:
            complete.update(np.ascontiguousarray(classes.votes, dtype="<f4").tobytes())
        return complete.hexdigest()
