"""The node-local hot copy: every image resized once to the size that trials use, uint8, memory-mapped.

Owner: the cache folder of the node (`galaxytl.system.cache`). Key: content fingerprint, image size, Pillow's version.
Lifetime: until the cache is over its limit and no process uses it. Derivation: at 224 px a trial of 20 epochs reads
each image 20 times; decoding it each time costs 2 ms (PNG), mapping it 0.01 ms (`benchmarks/bench_data.py`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from galaxytl.data.files.containers import Source
from galaxytl.data.files.fingerprint import ContentChangedError, ContentHash, check_content
from galaxytl.system import cache as cache_of_node
from galaxytl.system.process import usable_cpus

FORMAT = 1  # of the folder; raised when older copies must not be read


@dataclass(frozen=True)
class Size:
    """The square that every image becomes, and how: scaled to it, whatever its sides ("resize"); or its largest centred
    square is, so that nothing is distorted ("crop")."""

    pixels: int
    """A side."""
    fit: Literal["resize", "crop"] = "resize"

    def __str__(self) -> str:
        return f"{self.pixels}px" if self.fit == "resize" else f"{self.pixels}px-{self.fit}"

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8 as (pixels, pixels, 3) uint8, bilinear with antialiasing (Pillow's)."""
        height, width, _ = image.shape
        if self.fit == "crop":
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            image = image[top : top + side, left : left + side]
        if image.shape[:2] == (self.pixels, self.pixels):
            return image
        found = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(found.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class HotCopy:
    """A dataset at one image size. `images` (N, S, S, 3) uint8, memory-mapped read-only; `labels` (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def hot_copy(
    source: Source,
    fingerprint: str,
    size: Size,
    cache: Path,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> HotCopy:
    """Return the copy of `source` at one size in `cache`; where that cannot be used, in the memory of this process.

    Raises ContentChangedError when the source's content no longer has `fingerprint`.
    """
    folder = cache / "images" / f"{fingerprint[:32]}-{size}-pillow{version('pillow')}-v{FORMAT}"
    num_bytes = len(source.labels) * size.pixels**2 * 3
    try:
        cache_of_node.built_once(folder, functools.partial(_build, source, fingerprint, size, on_progress), num_bytes)
    except cache_of_node.CacheFull as error:
        print(f"the cache {cache} cannot be used ({error}): the images are kept in memory", flush=True)
        images = np.empty((len(source.labels), size.pixels, size.pixels, 3), np.uint8)
        _fill(images, source, fingerprint, size, on_progress)
        return HotCopy(images, np.array(source.labels))
    labels = np.load(folder / "labels.npy")
    if not np.array_equal(labels, source.labels):  # a note or a manifest, by which this copy was found, is not true
        raise ContentChangedError(f"the labels are not those that were seen with the content {fingerprint[:12]}")
    return HotCopy(np.load(folder / "images.npy", mmap_mode="r"), labels)


def _build(
    source: Source,
    fingerprint: str,
    size: Size,
    on_progress: Callable[[str, int, int], None] | None,
    folder: Path,
) -> None:
    count = len(source.labels)
    images = cache_of_node.create_array(folder / "images.npy", np.uint8, (count, size.pixels, size.pixels, 3))
    _fill(images, source, fingerprint, size, on_progress)
    images.flush()
    np.save(folder / "labels.npy", source.labels)
    manifest = {"format": FORMAT, "fingerprint": fingerprint, "image_size": size.pixels, "num_images": count}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _fill(
    images: NDArray[np.uint8],
    source: Source,
    fingerprint: str,
    size: Size,
    on_progress: Callable[[str, int, int], None] | None,
) -> None:
    """Write every image of `source` into `images` (N, S, S, 3), resized; raises DataError when they are others."""
    count = len(images)
    content = ContentHash()
    done = 0
    with ThreadPoolExecutor(usable_cpus()) as pool:  # Pillow and hashlib work without holding Python's lock
        for batch in source.batches():
            resized = pool.map(size.of, batch)
            content.add(batch)
            for row, image in enumerate(resized, start=done):
                images[row] = image
            done += len(batch)
            if on_progress:
                on_progress(f"resizing to {size.pixels} px", done, count)
    check_content(content.hexdigest(source.classes), fingerprint, "the dataset")
