"""One pass over the images of a dataset, and all that is made in it: what tells each image apart, and its copies in the
sizes that trials use.

    scan = read_images(source, [Copy(array, resize)])      # fills `array` (N, S, S, 3)
    scan.fingerprint(source.classes)                       # of all images and labels
    remember(scan, cache, fingerprint); remembered(cache, fingerprint, source.classes)

Decoding is most of the work, and what lies at a server is waited for: so whoever opens a dataset for the first time
has all of it made at once, and later commands read no image.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import containers
from galaxytl.data.files.classes import Classes
from galaxytl.data.files.containers import BATCH_BYTES, OneByOne, Source, threads_of
from galaxytl.data.files.fingerprint import ContentHash, image_digest
from galaxytl.system.arrays import DAMAGED, opened_npz
from galaxytl.system.cache import keep, opened_own
from galaxytl.system.prefetch import in_order

FORMAT = 2  # of the cached file; raised when older ones must not be read

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many images are done, and of how many."""


@dataclass(frozen=True)
class Scan:
    """What one pass over the images tells of each."""

    digests: NDArray[np.uint8]
    """(N, 32): `image_digest` of each."""
    one_colour: NDArray[np.bool_]
    """(N,): every pixel equals the first."""
    black: NDArray[np.bool_]
    """(N,): every pixel is 0."""
    sides: NDArray[np.int32] | None = None
    """(N, 2) height and width in pixels; None where the scan was remembered, which keeps none."""

    def fingerprint(self, classes: Classes) -> str:
        """Return the content fingerprint of these images with the labels of `classes`."""
        content = ContentHash()
        content.add_digest(self.digests.tobytes())  # of one after another
        return content.hexdigest(classes)


@dataclass(frozen=True)
class Copy:
    """Where a pass writes each image as it is at another size."""

    images: NDArray[np.uint8]
    """(N, S, S, 3), to be filled."""
    resize: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    """Gives (S, S, 3) of an image (H, W, 3); called by several threads at a time."""


def read_images(
    source: Source, copies: Sequence[Copy] = (), on_progress: Progress | None = None, doing: str = "reading images"
) -> Scan:
    """Read every image once, and fill the copies; raises DataError when one cannot be read."""
    count = len(source.labels)
    flags = np.empty((2, count), np.bool_)
    scan = Scan(np.empty((count, 32), np.uint8), flags[0], flags[1], np.empty((count, 2), np.int32))

    def look(row: int, image: NDArray[np.uint8]) -> int:
        _look(scan, row, image)
        for copy in copies:
            copy.images[row] = copy.resize(image)
        return image.nbytes

    threads = threads_of(source)
    with (
        # Pillow and hashlib work without Python's lock; one more than cores, as some thread waits for it, or for a disk
        ThreadPoolExecutor(threads + 1) as pool,
        contextlib.closing(_looks(source, look, pool, 4 * threads)) as looks,
    ):
        for done, _ in enumerate(looks, 1):
            if on_progress and (done % containers.BATCH == 0 or done == count):
                on_progress(doing, done, count)
    return scan


def _looks(
    source: Source, look: Callable[[int, NDArray[np.uint8]], int], pool: ThreadPoolExecutor, most: int
) -> Generator[int, None, None]:
    """Yield what `look` returns of each image, its bytes, in order. What is decoded by itself is looked at in the same
    thread, while it is in the processor's cache: `most` at a time, and so many as fit into memory."""
    if not isinstance(source, OneByOne):
        row = 0
        with contextlib.closing(source.batches()) as batches:
            for batch in batches:
                yield from pool.map(look, range(row, row + len(batch)), batch)
                row += len(batch)
        return
    largest = 1
    numbered = enumerate(source.cells(0))
    read = in_order(pool, lambda item: look(item[0], item[1]()), numbered, lambda: min(most, BATCH_BYTES // largest))
    with contextlib.closing(read):
        for num_bytes in read:
            largest = max(largest, num_bytes)
            yield num_bytes


def _look(scan: Scan, row: int, image: NDArray[np.uint8]) -> None:
    """Write down what this image (H, W, 3) tells."""
    assert scan.sides is not None
    scan.sides[row] = image.shape[:2]
    scan.digests[row] = np.frombuffer(image_digest(image), np.uint8)
    first = image[0, 0]
    scan.one_colour[row] = (image[0] == first).all() and (image == first).all()  # one line tells of most images
    scan.black[row] = scan.one_colour[row] and not first.any()


def scan_path(cache: Path, fingerprint: str) -> Path:
    """Return where the scan of the images with this fingerprint is remembered.

    Owner: the node's cache folder. Key: content fingerprint. Lifetime: until removed by the user; 0.6 MB in full.
    Only what the pixels tell is kept: the fingerprint does not cover positions. Derivation: hashing all 17,736 images
    takes 6 s, and decoding them from PNG half a minute more; with the file, a trial waits some milliseconds.
    """
    return cache / "scans" / f"{fingerprint}-v{FORMAT}.npz"


def remember(scan: Scan, cache: Path, fingerprint: str) -> None:
    """Write the scan of the images with this fingerprint, if there is room for it."""
    content = io.BytesIO()
    np.savez(content, digests=scan.digests, one_colour=scan.one_colour, black=scan.black)
    keep(scan_path(cache, fingerprint), content.getvalue())


def remembered(cache: Path, fingerprint: str, classes: Classes) -> Scan | None:
    """Load a scan; None where nothing is there, or something damaged: it is made again. Also where the labels are not
    those of the fingerprint, which a manifest or a note may claim: reading the images anew tells."""
    count = len(classes.labels)
    try:
        with opened_own(scan_path(cache, fingerprint)) as file, opened_npz(file) as found:
            known = Scan(found["digests"], found["one_colour"], found["black"])
    except DAMAGED:
        return None
    shapes = (known.digests.shape, known.one_colour.shape, known.black.shape)
    right = shapes == ((count, 32), (count,), (count,)) and known.digests.dtype == np.uint8
    return known if right and known.fingerprint(classes) == fingerprint else None
